//! Jobs of kind `call`: one question, one answer, paid for like any other call.

use super::stand::{Engine, Setup, project};
use skep_api::{CallMessage, CallRequest, DispatchRequest, JobView};
use skep_db::Tx;
use skep_gateway::Sums;
use skep_testkit::{TestStore, on_both_engines};
use skep_types::{
    AttemptState, DeliveryState, FailureClass, JobId, JobKind, JobState, MicroUsd, Role, Tier,
};

on_both_engines!(
    a_call_is_answered_and_accounted_for,
    a_call_that_cannot_be_paid_waits_for_money,
    a_cancelled_call_is_settled_all_the_same,
    a_provider_in_trouble_uses_up_no_attempt,
    a_question_that_cannot_be_asked_is_refused,
    an_answer_that_does_not_do_has_one_class,
    asking_twice_with_one_key_is_one_call,
    many_calls_run_through,
);

/// A model that answers by the first words of what it is asked.
const ANSWERS: &str = r#"
version = 1
[[conversation]]
name = "capital"
when = { first_user_text = { contains = "capital" }, system = { contains = "brief" } }
[[conversation.turn]]
reply = { blocks = [{ text = "Paris" }] }
[[conversation.turn]]
reply = { blocks = [{ text = "Since 987, with gaps." }] }

[[conversation]]
name = "number"
when = { first_user_text = { contains = "number" }, system = { contains = "JSON Schema" } }
[[conversation.turn]]
reply = { blocks = [{ text = "```json\n{\"number\": 7}\n```" }] }

[[conversation]]
name = "words"
when = { first_user_text = { contains = "words" } }
[[conversation.turn]]
reply = { blocks = [{ text = "seven" }] }

[[conversation]]
name = "wrong"
when = { first_user_text = { contains = "wrong" } }
[[conversation.turn]]
reply = { blocks = [{ text = "{\"number\": \"seven\"}" }] }

[[conversation]]
name = "cut"
when = { first_user_text = { contains = "cut" } }
[[conversation.turn]]
reply = { blocks = [{ text = "{\"number\":" }], stop_reason = "max_tokens" }

[[conversation]]
name = "refusal"
when = { first_user_text = { contains = "refuse" } }
[[conversation.turn]]
reply = { blocks = [{ text = "no" }], stop_reason = "refusal" }

[[conversation]]
name = "silence"
when = { first_user_text = { contains = "silence" } }
[[conversation.turn]]
reply = { blocks = [{ text = "  " }] }

[[conversation]]
name = "other"
when = { first_user_text = { contains = "other" } }
[[conversation.turn]]
reply = { blocks = [{ text = "here" }], model = "somebody-else" }

[[conversation]]
name = "slow"
when = { first_user_text = { contains = "slow" } }
[[conversation.turn]]
delay_ms = 600000
reply = { blocks = [{ text = "at last" }] }

[[conversation]]
name = "busy"
when = { first_user_text = { contains = "busy" } }
[[conversation.turn]]
fault = { times = 1, status = 429, error = "rate_limit_error", message = "slow down", retry_after_s = 1 }
reply = { blocks = [{ text = "now" }] }

[[conversation]]
name = "down"
when = { first_user_text = { contains = "down" } }
[[conversation.turn]]
fault = { times = 1, status = 529, error = "overloaded_error", message = "no room" }
reply = { blocks = [{ text = "up again" }] }

[[conversation]]
name = "barred"
when = { first_user_text = { contains = "barred" } }
[[conversation.turn]]
fault = { times = 9, status = 401, error = "authentication_error", message = "who are you" }
reply = { blocks = [{ text = "never" }] }
"#;

fn setup() -> Setup {
    Setup::new()
        .own_loop("asker", Role::Observer, "stub-large")
        .script(ANSWERS)
}

fn asked(prompt: &str) -> CallRequest {
    CallRequest {
        prompt: prompt.to_owned(),
        model: Some("stub-large".to_owned()),
        ..CallRequest::default()
    }
}

/// A question whose answer has a number in it.
fn numbered(prompt: &str) -> CallRequest {
    CallRequest {
        schema: Some(serde_json::json!({
            "type": "object",
            "properties": { "number": { "type": "integer" } },
            "required": ["number"],
            "additionalProperties": false,
        })),
        ..asked(prompt)
    }
}

async fn run(engine: &Engine, request: CallRequest) -> anyhow::Result<JobView> {
    let job = engine.director.dispatch_call(request).await?;
    engine.at_rest(&job.id).await
}

async fn sums(engine: &Engine, job: &JobId) -> anyhow::Result<Sums> {
    let job = job.clone();
    let read = async move |tx: &mut Tx<'_>| skep_gateway::job_budget(tx, &job).await;
    let status = engine.db.read("budget", read).await?;
    let status = status.ok_or_else(|| anyhow::anyhow!("the job has no budget"))?;
    Ok(status.sums.unwrap_or_default())
}

async fn a_call_is_answered_and_accounted_for(store: TestStore) -> anyhow::Result<()> {
    let engine = Engine::start(&store, &setup()).await?;
    let request = CallRequest {
        system: Some("be brief".to_owned()),
        messages: vec![
            CallMessage {
                role: "user".to_owned(),
                text: "The capital of France?".to_owned(),
            },
            CallMessage {
                role: "assistant".to_owned(),
                text: "Paris".to_owned(),
            },
        ],
        worker: Some("asker".to_owned()),
        ..asked("Since when?")
    };
    let view = run(&engine, request).await?;
    assert_eq!((view.kind, view.state), (JobKind::Call, JobState::Done));
    assert_eq!(
        (view.instruction.as_str(), view.worker.as_str()),
        ("Since when?", "asker")
    );
    let call = view
        .call
        .clone()
        .ok_or_else(|| anyhow::anyhow!("{view:#?}"))?;
    let answer = call.answer.ok_or_else(|| anyhow::anyhow!("no answer"))?;
    assert_eq!(answer.text, "Since 987, with gaps.");
    assert_eq!(
        (answer.problem, answer.stop_reason.as_deref()),
        (None, Some("end_turn"))
    );
    let attempt = &view.attempts[0];
    assert_eq!(attempt.state, AttemptState::Succeeded);
    assert_eq!(attempt.harness.as_deref(), Some("call"));
    assert_eq!(attempt.model_requested, attempt.model_actual);

    // Reserved, settled, and on record as a model call like any other.
    let held = sums(&engine, &view.id).await?;
    assert!(held.spent > MicroUsd::ZERO, "{held:?}");
    assert_eq!(held.spent, view.cost_micro_usd);
    assert_eq!(
        (held.reserved, held.unconfirmed),
        (MicroUsd::ZERO, MicroUsd::ZERO)
    );
    let events = engine.events(&view.id).await?;
    let kinds: Vec<&str> = events.iter().map(|event| event.kind.as_str()).collect();
    for kind in [
        "call_dispatched",
        "key_minted",
        "model_call_admitted",
        "model_call_settled",
        "call_answered",
        "key_revoked",
    ] {
        assert_eq!(
            kinds.iter().filter(|k| **k == kind).count(),
            1,
            "{kind}: {kinds:?}"
        );
    }
    // No word of question or answer is on the ledger, and a short answer cannot be guessed from it.
    let ledger = serde_json::to_string(&events)?;
    for word in ["Since", "with gaps", answer.sha256.as_str()] {
        assert!(!ledger.contains(word), "{word}");
    }
    assert_eq!(view.delivery.state, DeliveryState::Delivered);
    assert!(engine.attempt_folders()?.is_empty(), "a call has no folder");
    engine.verify_ledger().await?;
    engine.stop().await
}

async fn an_answer_that_does_not_do_has_one_class(store: TestStore) -> anyhow::Result<()> {
    let engine = Engine::start(&store, &setup()).await?;
    let fits = run(&engine, numbered("a number")).await?;
    assert_eq!(fits.state, JobState::Done, "{fits:#?}");
    let answer = fits.call.and_then(|call| call.answer);
    let value = answer.and_then(|answer| answer.value);
    assert_eq!(
        value,
        Some(serde_json::json!({ "number": 7 })),
        "without its fence of code"
    );

    let barred = FailureClass::Auth;
    let slow = CallRequest {
        timeout_seconds: Some(1),
        ..asked("be slow")
    };
    for (request, class, evidence) in [
        (
            numbered("in words"),
            FailureClass::InvalidOutput,
            "not JSON",
        ),
        (
            numbered("wrong"),
            FailureClass::InvalidOutput,
            "at `/number`",
        ),
        (
            numbered("cut"),
            FailureClass::InvalidOutput,
            "limit of tokens",
        ),
        (
            asked("refuse"),
            FailureClass::ProviderPolicy,
            "refused to answer",
        ),
        (
            asked("silence"),
            FailureClass::EmptySuccess,
            "without a word",
        ),
        (
            asked("other"),
            FailureClass::SilentSubstitution,
            "somebody-else",
        ),
        (asked("barred"), barred, "who are you"),
        (
            asked("nobody knows this"),
            FailureClass::Unknown,
            "no conversation fits",
        ),
        (slow, FailureClass::WallClock, "within 1 s"),
    ] {
        let view = run(&engine, request).await?;
        let reason = view.state_reason.as_deref().unwrap_or_default();
        assert_eq!(view.attempts[0].failure_class, Some(class), "{view:#?}");
        assert_eq!(view.failure_class, Some(class), "{view:#?}");
        assert!(reason.contains(evidence), "{reason}");
        if class == FailureClass::WallClock {
            // A limit may be met again and not be passed; it is tried as often as attempts allow.
            assert_eq!(view.state, JobState::Backoff);
            engine.director.cancel(view.id.as_str()).await?;
        } else {
            assert_eq!(view.state, JobState::Failed);
            assert_eq!(view.attempts.len(), 1, "it is not asked again");
        }
    }
    // An answer that was cut is an answer where no shape was asked for, and it says so.
    let cut = run(&engine, asked("cut")).await?;
    let answer = cut.call.and_then(|call| call.answer);
    let stop = answer.and_then(|answer| answer.stop_reason);
    assert_eq!(
        (cut.state, stop.as_deref()),
        (JobState::Done, Some("max_tokens"))
    );
    engine.stop().await
}

async fn a_provider_in_trouble_uses_up_no_attempt(store: TestStore) -> anyhow::Result<()> {
    let engine = Engine::start(&store, &setup()).await?;
    for (prompt, class) in [
        ("busy", FailureClass::RateLimit),
        ("down", FailureClass::ProviderOutage),
    ] {
        let job = engine.director.dispatch_call(asked(prompt)).await?;
        let view = engine.until(&job.id, "it is set aside", |view| {
            view.attempts.len() == 1 && view.state == JobState::Backoff
        });
        let view = view.await?;
        assert_eq!(view.failure_class, Some(class));
        let held = sums(&engine, &job.id).await?;
        assert_eq!(held.total(), MicroUsd::ZERO, "a refusal costs nothing");
        let view = engine.until(&job.id, "it is answered", |view| {
            view.state == JobState::Done
        });
        let view = view.await?;
        assert_eq!(view.attempts.len(), 2);
        let events = engine.events(&job.id).await?;
        let ends: Vec<_> = events
            .iter()
            .filter(|event| event.kind == "attempt_ended")
            .map(|event| event.payload["counted"].as_bool())
            .collect();
        assert_eq!(ends, [Some(false), Some(true)]);
        let set_aside = events.iter().find(|event| event.payload["to"] == "backoff");
        let set_aside = set_aside.ok_or_else(|| anyhow::anyhow!("{events:?}"))?;
        if class == FailureClass::RateLimit {
            let due = set_aside.payload["run_at_ms"].as_i64().unwrap_or_default();
            assert!(
                due - set_aside.at >= 900,
                "as long as the provider asked for"
            );
        }
    }
    engine.stop().await
}

async fn a_call_that_cannot_be_paid_waits_for_money(store: TestStore) -> anyhow::Result<()> {
    let engine = Engine::start(&store, &setup()).await?;
    let request = CallRequest {
        system: Some("be brief".to_owned()),
        budget_micro_usd: Some(MicroUsd(1)),
        ..asked("The capital of France?")
    };
    let view = run(&engine, request).await?;
    assert_eq!(view.state, JobState::WaitingBudget, "{view:#?}");
    assert_eq!(view.failure_class, Some(FailureClass::BudgetExceeded));
    assert_eq!(view.attempts[0].state, AttemptState::Parked);
    assert_eq!(sums(&engine, &view.id).await?.total(), MicroUsd::ZERO);
    let raised = skep_api::RetryRequest {
        budget_micro_usd: Some(MicroUsd(1_000_000)),
    };
    engine.director.retry(view.id.as_str(), raised).await?;
    let view = engine.until(&view.id, "it is answered", |view| {
        view.state == JobState::Done
    });
    let view = view.await?;
    let text = view
        .call
        .and_then(|call| call.answer)
        .map(|answer| answer.text);
    assert_eq!(text.as_deref(), Some("Paris"));
    engine.stop().await
}

async fn a_cancelled_call_is_settled_all_the_same(store: TestStore) -> anyhow::Result<()> {
    let engine = Engine::start(&store, &setup()).await?;
    let job = engine.director.dispatch_call(asked("be slow")).await?;
    engine.working(&job.id, 1).await?;
    engine.director.cancel(job.id.as_str()).await?;
    let view = engine.at_rest(&job.id).await?;
    assert_eq!(view.state, JobState::Cancelled);
    assert_eq!(view.attempts[0].state, AttemptState::Cancelled);
    // The gateway listens for a while, and then holds what the call may have cost.
    let view = engine.until(&job.id, "the call is ended", |view| {
        view.unconfirmed_micro_usd > MicroUsd::ZERO
    });
    view.await?;
    let held = sums(&engine, &job.id).await?;
    assert_eq!(held.reserved, MicroUsd::ZERO);
    assert!(held.unconfirmed > MicroUsd::ZERO);
    engine.stop().await
}

async fn a_question_that_cannot_be_asked_is_refused(store: TestStore) -> anyhow::Result<()> {
    let engine = Engine::start(&store, &setup()).await?;
    let with = |change: fn(&mut CallRequest)| {
        let mut request = asked("The capital?");
        change(&mut request);
        request
    };
    for (code, exit, request) in [
        ("prompt_empty", 2, asked("  ")),
        ("bad_text", 2, asked("zero \0 byte")),
        ("prompt_too_large", 2, asked(&"x".repeat(300_000))),
        (
            "unknown_model",
            2,
            with(|r| r.model = Some("nobody".to_owned())),
        ),
        (
            "unknown_worker",
            2,
            with(|r| r.worker = Some("nobody".to_owned())),
        ),
        ("model_missing", 2, with(|r| r.model = None)),
        ("bad_temperature", 2, with(|r| r.temperature = Some(1.5))),
        (
            "bad_output_limit",
            2,
            with(|r| r.max_output_tokens = Some(0)),
        ),
        (
            "bad_output_limit",
            2,
            with(|r| r.max_output_tokens = Some(1_001)),
        ),
        ("bad_timeout", 2, with(|r| r.timeout_seconds = Some(0))),
        (
            "bad_schema",
            2,
            with(|r| r.schema = Some(serde_json::json!({ "type": 7 }))),
        ),
        (
            "bad_schema",
            2,
            with(|r| r.schema = Some(serde_json::json!({ "$ref": "https://example.invalid/s" }))),
        ),
        (
            "bad_message",
            2,
            with(|r| {
                r.messages = vec![CallMessage {
                    role: "system".to_owned(),
                    text: "obey".to_owned(),
                }];
            }),
        ),
        (
            "tier_refused",
            3,
            with(|r| {
                r.model = Some("far-large".to_owned());
                r.tier = Some(Tier::Sacred);
            }),
        ),
    ] {
        let refused = engine.director.dispatch_call(request).await;
        let refused = refused.map_err(|error| error.body());
        let Err(body) = refused else {
            anyhow::bail!("{code} was taken");
        };
        assert_eq!(
            (body.code.as_str(), body.exit),
            (code, exit),
            "{}",
            body.message
        );
        assert!(body.hint.is_some(), "{code}");
    }
    assert!(engine.jobs().await?.is_empty(), "nothing was written");
    // An instruction is an agent's; the error says which command asks a model.
    let project = project()?;
    let instruction = DispatchRequest {
        kind: Some(JobKind::Call),
        ..super::stand::request(&project)
    };
    let refused = engine.dispatch(instruction).await.map_err(|e| e.body());
    let hint = refused.err().and_then(|body| body.hint).unwrap_or_default();
    assert!(hint.contains("skep call"), "{hint}");
    engine.stop().await
}

async fn asking_twice_with_one_key_is_one_call(store: TestStore) -> anyhow::Result<()> {
    let engine = Engine::start(&store, &setup()).await?;
    let request = CallRequest {
        idempotency_key: Some("monday".to_owned()),
        ..numbered("a number")
    };
    let first = engine.director.dispatch_call(request.clone()).await?;
    let again = engine.director.dispatch_call(request.clone()).await?;
    assert_eq!(first.id, again.id);
    let other = CallRequest {
        temperature: Some(0.1),
        ..request
    };
    let refused = engine.director.dispatch_call(other).await;
    let code = refused.map_err(|error| error.body().code).err();
    assert_eq!(code.as_deref(), Some("idempotency_conflict"));
    engine.at_rest(&first.id).await?;
    engine.stop().await
}

/// More calls than slots: every one is answered once, and every one is paid for once.
async fn many_calls_run_through(store: TestStore) -> anyhow::Result<()> {
    const CALLS: usize = 60;
    let engine = Engine::start(&store, &setup()).await?;
    let mut jobs = Vec::new();
    for _ in 0..CALLS {
        let job = engine.director.dispatch_call(numbered("a number")).await?;
        jobs.push(job.id);
    }
    for job in &jobs {
        let view = engine.at_rest(job).await?;
        assert_eq!((view.state, view.attempts.len()), (JobState::Done, 1));
        let held = sums(&engine, job).await?;
        assert_eq!(held.total(), held.spent);
    }
    engine.verify_ledger().await?;
    engine.stop().await
}
