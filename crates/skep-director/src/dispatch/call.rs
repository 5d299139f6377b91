//! A question becomes a job: who is asked is known, may see the data, and has a bounded answer.

use super::{Prepared, check_model, request_digest};
use crate::config::WorkerConfig;
use crate::context::Context;
use crate::error::DirectorError;
use crate::event::{self, CallDispatched};
use crate::limits::{
    CALL_ATTEMPTS_MAX, CALL_BYTES_MAX, CALL_MESSAGES_MAX, CALL_OUTPUT_TOKENS, CALL_SECONDS,
    SCHEMA_BYTES_MAX, TIMEOUT_SECONDS_MAX,
};
use crate::record::{Asked, CallRow, Question, put_call};
use skep_api::{CallMessage, CallRequest, JobSubmitted};
use skep_db::Tx;
use skep_queue::NewJob;
use skep_types::{JobId, JobKind, Purpose, Role, Tier};

/// Whose account a call is charged to when no worker is named.
const NO_WORKER: &str = "call";

/// What a call belongs to when nothing is said.
const PROJECT: &str = "calls";

/// Checks `request`, completes it, writes it down and queues it.
pub(crate) async fn dispatch(
    context: &Context,
    request: CallRequest,
) -> Result<JobSubmitted, DirectorError> {
    let prepared = prepare(context, request)?;
    context
        .db
        .write("dispatch call", async move |tx: &mut Tx<'_>| {
            prepared.put(tx).await
        })
        .await
}

/// The job and its record, complete; nothing is written.
pub(crate) fn prepare(context: &Context, request: CallRequest) -> Result<Prepared, DirectorError> {
    check_text(&request)?;
    let tier = request.tier.unwrap_or(Tier::Sensitive);
    let (worker, model) = choose_model(context, &request)?;
    let asked = WorkerConfig {
        role: Role::Observer,
        ..WorkerConfig::ad_hoc("skep", &model)
    };
    check_model(context, &asked, tier)?;
    let longest = context.models.get(&model).and_then(|m| m.output_tokens_max);
    let longest = longest.unwrap_or(i64::MAX);
    let max_output_tokens = match request.max_output_tokens {
        None => CALL_OUTPUT_TOKENS.min(longest),
        Some(wanted) if (1..=longest).contains(&wanted) => wanted,
        Some(wanted) => {
            return Err(DirectorError::usage(
                "bad_output_limit",
                format!("an answer of {wanted} tokens is not possible with `{model}`"),
                format!("give from 1 to {longest}"),
            ));
        }
    };
    check_temperature(request.temperature)?;
    if let Some(schema) = &request.schema {
        check_schema(schema)?;
    }
    let job = JobId::new(&*context.clock, &*context.entropy);
    let idempotency_digest = request_digest(&request);
    let mut messages = request.messages;
    messages.push(CallMessage {
        role: "user".to_owned(),
        text: request.prompt,
    });
    let row = CallRow {
        job: job.clone(),
        question: Question {
            system: request.system.filter(|text| !text.is_empty()),
            messages,
            max_output_tokens,
            temperature: request.temperature,
            schema: request.schema,
        },
        model,
        worker,
        tier,
        budget: request.budget_micro_usd.or(context.engine.job_budget()),
        timeout_ms: timeout_ms(request.timeout_seconds)?.unwrap_or(CALL_SECONDS * 1_000),
    };
    let new_job = NewJob {
        id: job,
        kind: JobKind::Call,
        purpose: Purpose::Requested,
        owner: request.owner.unwrap_or_else(|| context.owner.clone()),
        project: request.project.unwrap_or_else(|| PROJECT.to_owned()),
        tier,
        priority: request.flow.priority.unwrap_or(0),
        run_at_ms: request.flow.start_at,
        attempts_max: CALL_ATTEMPTS_MAX,
        parent: None,
        idempotency_key: request.idempotency_key,
        idempotency_digest,
        flow: crate::queue::flow(&request.flow, JobKind::Call.as_str()),
    };
    Ok(Prepared {
        new_job,
        record: Asked::Call(Box::new(row)),
        warnings: Vec::new(),
    })
}

/// Writes the record of a call that was just queued, its budget and its event.
pub(super) async fn write(tx: &mut Tx<'_>, row: &CallRow) -> Result<(), DirectorError> {
    put_call(tx, row).await?;
    if let Some(limit) = row.budget {
        skep_gateway::create_job_budget(tx, &row.job, limit).await?;
    }
    let bytes = row.question.messages.iter().map(|m| m.text.len());
    let dispatched = CallDispatched {
        job: row.job.clone(),
        tier: row.tier.as_str(),
        messages: row.question.messages.len(),
        message_bytes: bytes.sum(),
        max_output_tokens: row.question.max_output_tokens,
        has_schema: row.question.schema.is_some(),
        budget_micro_usd: row.budget.map(|b| b.0),
        timeout_ms: row.timeout_ms,
    };
    event::append(tx, row.job.as_str(), &dispatched).await
}

/// The model of the request, else of its worker, else of the worker `default`, else the only one.
fn choose_model(
    context: &Context,
    request: &CallRequest,
) -> Result<(String, String), DirectorError> {
    let worker = match &request.worker {
        Some(name) => {
            let found = context.workers.get(name).ok_or_else(|| {
                DirectorError::usage(
                    "unknown_worker",
                    format!("there is no worker `{name}`"),
                    "leave --worker out and name a --model",
                )
            })?;
            Some((name.clone(), found))
        }
        None if request.model.is_none() => context
            .workers
            .get("default")
            .map(|worker| ("default".to_owned(), worker)),
        None => None,
    };
    let only = || (context.models.len() == 1).then(|| context.models.keys().next().cloned())?;
    let of_worker = || worker.as_ref().and_then(|(_, found)| found.model.clone());
    let model = request.model.clone().or_else(of_worker).or_else(only);
    let name = worker.map_or_else(|| NO_WORKER.to_owned(), |(name, _)| name);
    match model {
        Some(model) => Ok((name, model)),
        None => Err(DirectorError::usage(
            "model_missing",
            "no model was chosen",
            format!(
                "name one with --model: {}",
                context
                    .models
                    .keys()
                    .cloned()
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
        )),
    }
}

fn check_text(request: &CallRequest) -> Result<(), DirectorError> {
    let usage = |code, message: String, hint: &str| Err(DirectorError::usage(code, message, hint));
    if request.prompt.trim().is_empty() {
        let hint = "say what is to be answered";
        return usage("prompt_empty", "the prompt is empty".to_owned(), hint);
    }
    if request.messages.len() >= CALL_MESSAGES_MAX {
        return usage(
            "too_many_messages",
            format!("a call has at most {CALL_MESSAGES_MAX} messages"),
            "leave out what the model need not read again",
        );
    }
    for message in &request.messages {
        if !["user", "assistant"].contains(&message.role.as_str()) || message.text.is_empty() {
            return usage(
                "bad_message",
                format!("a message of `{}` cannot be sent", in_short(&message.role)),
                "a message has the role `user` or `assistant`, and a text",
            );
        }
    }
    let texts = request.messages.iter().map(|message| &message.text);
    let texts: Vec<&String> = texts
        .chain(&request.system)
        .chain([&request.prompt])
        .collect();
    if texts.iter().any(|text| text.contains('\0')) {
        return usage(
            "bad_text",
            "the request holds a zero byte".to_owned(),
            "a request is text; leave the zero byte out",
        );
    }
    let bytes: usize = texts.iter().map(|text| text.len()).sum();
    if bytes > CALL_BYTES_MAX {
        return usage(
            "prompt_too_large",
            format!("the call has {bytes} bytes of text; the limit is {CALL_BYTES_MAX}"),
            "give it to an agent, which can read files",
        );
    }
    Ok(())
}

fn in_short(text: &str) -> String {
    text.chars().take(40).collect()
}

fn check_temperature(temperature: Option<f64>) -> Result<(), DirectorError> {
    if temperature.is_none_or(|degree| (0.0..=1.0).contains(&degree)) {
        return Ok(());
    }
    Err(DirectorError::usage(
        "bad_temperature",
        "the temperature is not from 0 to 1",
        "give a number from 0 to 1, or leave it out",
    ))
}

fn check_schema(schema: &serde_json::Value) -> Result<(), DirectorError> {
    let bytes = schema.to_string().len();
    let problem = if bytes > SCHEMA_BYTES_MAX {
        Some(format!(
            "it has {bytes} bytes; the limit is {SCHEMA_BYTES_MAX}"
        ))
    } else {
        crate::call::validator(schema).err()
    };
    match problem {
        None => Ok(()),
        Some(problem) => Err(DirectorError::usage(
            "bad_schema",
            format!("the answer's schema cannot be used: {problem}"),
            "give a JSON Schema that refers to nothing outside itself",
        )),
    }
}

/// The limit of one attempt, in milliseconds, where one was asked for.
pub(crate) fn timeout_ms(seconds: Option<i64>) -> Result<Option<i64>, DirectorError> {
    match seconds {
        None => Ok(None),
        Some(seconds) if (1..=TIMEOUT_SECONDS_MAX).contains(&seconds) => Ok(Some(seconds * 1_000)),
        Some(seconds) => Err(DirectorError::usage(
            "bad_timeout",
            format!("a limit of {seconds} s is not possible"),
            format!("give from 1 to {TIMEOUT_SECONDS_MAX} seconds"),
        )),
    }
}
