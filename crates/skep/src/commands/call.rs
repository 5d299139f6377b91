//! `skep call`: one question for a model, from the command line to its answer.

use super::order::{self, Order};
use super::turn::flow;
use super::{Session, amount};
use crate::account;
use crate::cli::Call;
use crate::failure::{Exit, Failure};
use serde::de::DeserializeOwned;
use skep_api::{CallMessage, CallRequest, JobView};
use skep_director::limits::CALL_BYTES_MAX;
use skep_types::JobState;
use std::io::Read as _;
use std::path::Path;

/// Makes the call.
pub(crate) async fn call(session: &Session, arguments: &Call) -> Result<Exit, Failure> {
    let order = Order::Call(Box::new(request(arguments)?));
    order::carry_out(session, order, arguments.detach, finished).await
}

/// The answer and nothing else; the whole account where there is none.
fn finished(session: &Session, job: &JobView) -> Result<(), Failure> {
    let answer = job.call.as_ref().and_then(|call| call.answer.as_ref());
    match answer {
        Some(answer) if job.state == JobState::Done => {
            account::print_answer(&session.printer, answer)
        }
        _ => account::print(&session.printer, job),
    }
}

/// The request that the arguments make.
pub(super) fn request(call: &Call) -> Result<CallRequest, Failure> {
    let prompt = match (&call.prompt, &call.prompt_file) {
        (Some(text), _) => text.clone(),
        (None, Some(path)) => text_of("question", path)?,
        (None, None) => String::new(),
    };
    let messages: Option<Vec<CallMessage>> = document_of("messages", call.messages.as_deref())?;
    Ok(CallRequest {
        prompt,
        messages: messages.unwrap_or_default(),
        system: call.system.clone(),
        model: call.model.clone(),
        worker: call.worker.clone(),
        max_output_tokens: call.max_output_tokens,
        temperature: call.temperature,
        schema: document_of("schema", call.schema.as_deref())?,
        budget_micro_usd: amount(call.budget_usd)?,
        timeout_seconds: call.timeout,
        tier: call.tier,
        project: call.record.project.clone(),
        owner: call.record.owner.clone(),
        idempotency_key: call.record.idempotency_key.clone(),
        flow: flow(&call.turn)?,
    })
}

fn document_of<T: DeserializeOwned>(what: &str, path: Option<&Path>) -> Result<Option<T>, Failure> {
    let Some(path) = path else { return Ok(None) };
    let text = text_of(what, path)?;
    serde_json::from_str(&text)
        .map(Some)
        .map_err(|error| unreadable(what, path, &error.to_string()))
}

/// A file, or the standard input, as text; one byte more than a call takes is read, so that the
/// engine sees that it is too long.
fn text_of(what: &str, path: &Path) -> Result<String, Failure> {
    let bytes_max = u64::try_from(CALL_BYTES_MAX).unwrap_or(u64::MAX) + 1;
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin()
            .lock()
            .take(bytes_max)
            .read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(bytes_max).read_to_string(&mut text))
    };
    read.map_err(|error| unreadable(what, path, &error.to_string()))?;
    Ok(text)
}

fn unreadable(what: &str, path: &Path, reason: &str) -> Failure {
    Failure::usage(
        "file_unreadable",
        format!("the {what} {} cannot be read: {reason}", path.display()),
        "give a readable file with UTF-8 text, or `-` for the standard input",
    )
}
