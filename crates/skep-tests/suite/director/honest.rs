//! Work that is done and said to be done, all the way.

use super::stand::{
    CHECK, Engine, FIX, Setup, assert_landed, assert_no_process, contradicted, project, request,
};
use skep_api::JobView;
use skep_testkit::{TestStore, on_both_engines};
use skep_types::{AttemptState, MicroUsd, Role, Verdict};

on_both_engines!(
    a_command_does_the_whole_path,
    a_command_leaves_no_process_behind,
    the_model_that_answered_is_on_record,
    the_own_loop_does_the_whole_path,
);

/// The events of a job that goes straight through, in order.
const STRAIGHT: &[&str] = &[
    "job_queued",
    "budget_created",
    "job_dispatched",
    "job_claimed",
    "key_minted",
    "attempt_started",
    "fence_proved",
    "key_revoked",
    "result_recorded",
    "attempt_ended",
    "job_advanced",
    "check_run",
    "verdict_found",
    "job_advanced",
    "landing_intended",
    "landing_read_back",
    "job_advanced",
    "report_delivered",
];

/// A model that reads, mends, tests and hands in.
pub(super) const MENDS: &str = r#"
version = 1
[[conversation]]
name = "builder"
when = { model = "stub-large", tools = { include = ["edit"] } }
[[conversation.turn]]
expect = { last_user_text = { contains = "Make `add` add." } }
reply = { blocks = [{ text = "I look first." }, { tool = "read", input = { path = "bees/calc.py" } }] }
[[conversation.turn]]
expect = { tool_result = [{ tool = "read", contains = "a - b" }] }
reply = { blocks = [{ tool = "edit", input = { path = "bees/calc.py", old = "a - b", new = "a + b" } }] }
[[conversation.turn]]
expect = { tool_result = [{ tool = "edit", is_error = false }] }
reply = { blocks = [{ tool = "run", input = { command = "python3 -m unittest -q" } }] }
[[conversation.turn]]
expect = { tool_result = [{ tool = "run", contains = "OK" }] }
reply = { blocks = [{ tool = "finish", input = { status = "DONE", summary = "add adds", commit = "fix: add adds", files_changed = ["bees/calc.py"], tests_run = [{ command = "python3 -m unittest -q", passed = 2, failed = 0, skipped = 0, exit_code = 0 }] } }] }
"#;

/// Fails unless the one attempt of a job left nothing behind but its result.
async fn assert_clean(engine: &Engine, view: &JobView) -> anyhow::Result<()> {
    assert_eq!(engine.attempt_folders()?, Vec::<std::path::PathBuf>::new());
    let keys = engine.keys().await?;
    assert_eq!(keys.len(), view.attempts.len(), "{keys:?}");
    assert!(
        keys.iter().all(|key| key.revoked_at_ms.is_some()),
        "{keys:?}"
    );
    engine.verify_ledger().await
}

async fn a_command_does_the_whole_path(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let engine = Engine::start(&store, &Setup::with_fixer(FIX)).await?;
    let view = engine.run(request(&project)).await?;
    assert_landed(&view, &project, "main");
    let landed = project.committed("main", "bees/calc.py")?;
    assert!(landed.contains("a + b"), "{landed}");
    assert_eq!(project.read("bees/calc.py")?.trim_end(), landed);
    assert_eq!(project.subjects("main")?, ["base", "fix: add adds"]);
    assert_eq!(project.status()?, "");

    let verdict = view.verdict.as_ref().map(|verdict| verdict.result);
    assert_eq!(verdict, Some(Verdict::Valid));
    let [attempt] = view.attempts.as_slice() else {
        anyhow::bail!("{:?}", view.attempts);
    };
    assert_eq!(attempt.state, AttemptState::Succeeded);
    assert_eq!(attempt.harness.as_deref(), Some("exec"));
    assert_eq!(attempt.isolation.as_deref(), Some("namespaces"));
    assert_eq!(engine.kinds(&view.id).await?, STRAIGHT);
    assert_clean(&engine, &view).await?;

    let place = view.delivery.place.as_deref().unwrap_or_default();
    let report: JobView = serde_json::from_slice(&std::fs::read(place)?)?;
    assert_eq!(report, view, "the report is the account");
    engine.stop().await
}

async fn the_own_loop_does_the_whole_path(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let setup = Setup::new()
        .own_loop("fixer", Role::Builder, "stub-large")
        .script(MENDS);
    let engine = Engine::start(&store, &setup).await?;
    let view = engine.run(request(&project)).await?;
    assert_landed(&view, &project, "main");
    assert!(view.cost_micro_usd > MicroUsd::ZERO, "{view:?}");
    assert_eq!(view.unconfirmed_micro_usd, MicroUsd::ZERO);
    let tokens = &view.tokens;
    assert!(tokens.input > 0 && tokens.output > 0, "{tokens:?}");
    let [attempt] = view.attempts.as_slice() else {
        anyhow::bail!("{:?}", view.attempts);
    };
    assert_eq!(attempt.model_requested.as_deref(), Some("stub-large"));
    assert_eq!(attempt.model_actual.as_deref(), Some("stub-large"));
    assert_eq!(attempt.cost_micro_usd, view.cost_micro_usd);
    let events = engine.events(&view.id).await?;
    let tools: Vec<_> = events
        .iter()
        .filter(|event| event.kind == "tool_called")
        .filter_map(|event| event.payload["tool"].as_str())
        .collect();
    assert_eq!(tools, ["read", "edit", "run", "finish"]);
    let settled = events
        .iter()
        .filter(|event| event.kind == "model_call_settled");
    assert_eq!(settled.count(), 4, "{:?}", engine.kinds(&view.id).await?);
    assert_clean(&engine, &view).await?;
    engine.stop().await
}

/// What a worker says about its model is a claim; the gateway saw the answer.
async fn the_model_that_answered_is_on_record(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let script = r#"
version = 1
[[conversation]]
name = "another"
[[conversation.turn]]
reply = { model = "somebody-else", blocks = [{ text = "hello" }] }
"#;
    let steps = format!(
        r#"python3 - <<'END'
import json, os, urllib.request
body = {{"model": "stub-large", "max_tokens": 10, "messages": [{{"role": "user", "content": "hi"}}]}}
call = urllib.request.Request(os.environ["ANTHROPIC_BASE_URL"] + "/v1/messages", json.dumps(body).encode(),
    {{"x-api-key": os.environ["ANTHROPIC_API_KEY"], "content-type": "application/json"}})
print(urllib.request.urlopen(call).read())
END
{FIX}"#
    );
    let engine = Engine::start(&store, &Setup::with_fixer(&steps).script(script)).await?;
    let view = engine.run(request(&project)).await?;
    let log = engine.log(&view.id).await?;
    assert!(log.contains("hello"), "{log}");
    let actual = view
        .attempts
        .first()
        .and_then(|a| a.model_actual.as_deref());
    assert_eq!(actual, Some("somebody-else"), "{view:?}");
    assert!(view.cost_micro_usd > MicroUsd::ZERO, "{view:?}");
    engine.stop().await
}

async fn a_command_leaves_no_process_behind(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let mark = format!("mark-{}", project.beside().display());
    let steps = format!(
        "setsid sh -c 'sleep 600; : {mark}' > /dev/null 2>&1 &
        (setsid sh -c 'sleep 600; : {mark}' > /dev/null 2>&1 & ) &
        {FIX}"
    );
    let engine = Engine::start(&store, &Setup::with_fixer(&steps)).await?;
    let view = engine.run(request(&project)).await?;
    assert_landed(&view, &project, "main");
    assert_eq!(contradicted(&view).len(), 0);
    assert_eq!(view.checks, [CHECK]);
    assert_no_process(&mark)?;
    engine.stop().await
}
