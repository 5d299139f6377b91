//! What an answer is worth. Pure: the answer and the question, nothing else.
//!
//! Every answer that is not one has exactly one failure class, and the words that say why.

use crate::limits::ANSWER_ERROR_BYTES_MAX;
use crate::record::Question;
use jsonschema::{PatternOptions, Validator};
use serde_json::Value;
use skep_gateway::DirectAnswer;
use skep_types::{AttemptState, FailureClass};
use skep_wire::{ErrorDetail, StopReason, failure_class};

/// How many misfits of one answer are told.
const MISFITS_MAX: usize = 4;

/// What a call came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Judged {
    pub(crate) end: End,
    /// What the model said, also where it does not do.
    pub(crate) text: String,
    /// Why it does not do.
    pub(crate) problem: Option<String>,
    pub(crate) stop_reason: Option<String>,
}

/// What that means for the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// There is an answer.
    Done,
    /// A budget does not hold the call; it can be made when the budget is raised.
    Parked,
    /// There is none.
    Failed(FailureClass),
}

impl End {
    /// Whether the attempt uses up one of the job's: the provider's troubles do not.
    pub(crate) const fn counts(self) -> bool {
        !matches!(
            self,
            Self::Parked | Self::Failed(FailureClass::RateLimit | FailureClass::ProviderOutage)
        )
    }

    pub(crate) const fn attempt_state(self) -> AttemptState {
        match self {
            Self::Done => AttemptState::Succeeded,
            Self::Parked => AttemptState::Parked,
            Self::Failed(_) => AttemptState::Failed,
        }
    }

    pub(crate) const fn failure(self) -> Option<FailureClass> {
        match self {
            Self::Done => None,
            Self::Parked => Some(FailureClass::BudgetExceeded),
            Self::Failed(class) => Some(class),
        }
    }
}

impl Judged {
    /// No answer at all.
    pub(crate) fn failed(class: FailureClass, problem: &str) -> Self {
        Self::without_text(End::Failed(class), problem)
    }

    /// No answer for now: there is no money for it.
    pub(crate) fn parked(problem: &str) -> Self {
        Self::without_text(End::Parked, problem)
    }

    fn without_text(end: End, problem: &str) -> Self {
        Self {
            end,
            text: String::new(),
            problem: Some(problem.replace('\0', "\\0")),
            stop_reason: None,
        }
    }
}

/// Judges an answer that came back.
pub(crate) fn judge(answer: &DirectAnswer, question: &Question) -> Judged {
    let Some(body) = &answer.body else {
        let words = "the provider's answer broke off";
        return Judged::failed(FailureClass::ProviderOutage, words);
    };
    if answer.status != 200 {
        return refused(answer, body);
    }
    let Some(message) = Message::read(body) else {
        let words = "the provider's answer is not a message";
        return Judged::failed(FailureClass::ProviderOutage, words);
    };
    let problem = misfit(answer, &message, question);
    let (class, problem) = problem.unzip();
    Judged {
        end: class.map_or(End::Done, End::Failed),
        text: message.text,
        problem: problem.map(|words| in_short(&words)),
        stop_reason: message.stop_reason.map(|stop| in_short(stop.as_str())),
    }
}

/// An error, the provider's or the gateway's own.
fn refused(answer: &DirectAnswer, body: &[u8]) -> Judged {
    let detail = ErrorDetail::parse(body);
    let class = match answer.code.as_deref() {
        Some("stale_fence") => FailureClass::LeaseLost,
        _ => failure_class(Some(answer.status), detail.as_ref()),
    };
    let words = detail.map_or_else(
        || "without an error document".to_owned(),
        |detail| format!("{}: {}", detail.kind, detail.message),
    );
    let words = format!("the provider answered {}, {words}", answer.status);
    Judged::failed(class, &in_short(&words))
}

/// Why a message does not answer the question.
fn misfit(
    answer: &DirectAnswer,
    message: &Message,
    question: &Question,
) -> Option<(FailureClass, String)> {
    if answer.substituted {
        let actual = answer.model_actual.as_deref().unwrap_or("another model");
        let words = format!("`{actual}` answered, which was not asked");
        return Some((FailureClass::SilentSubstitution, words));
    }
    match &message.stop_reason {
        Some(StopReason::Refusal) => {
            let words = "the model, or a filter on it, refused to answer".to_owned();
            return Some((FailureClass::ProviderPolicy, words));
        }
        Some(StopReason::ContextWindow) => {
            let words = "question and answer do not fit the model's window".to_owned();
            return Some((FailureClass::ContextOverflow, words));
        }
        Some(
            StopReason::EndTurn
            | StopReason::ToolUse
            | StopReason::MaxTokens
            | StopReason::StopSequence
            | StopReason::PauseTurn
            | StopReason::Other(_),
        )
        | None => {}
    }
    if message.text.trim().is_empty() {
        let words = "the model answered without a word".to_owned();
        return Some((FailureClass::EmptySuccess, words));
    }
    let schema = question.schema.as_ref()?;
    let words = match value_of(&message.text) {
        Err(error) if message.stop_reason == Some(StopReason::MaxTokens) => {
            format!("the answer was cut at its limit of tokens: {error}")
        }
        Err(error) => format!("the answer is not JSON: {error}"),
        Ok(value) => misfits(schema, &value)?,
    };
    Some((FailureClass::InvalidOutput, words))
}

/// The answer as JSON; one code fence around all of it is taken off, since models put it there.
pub(crate) fn value_of(text: &str) -> Result<Value, serde_json::Error> {
    let bare = text.trim();
    let inner = bare
        .strip_prefix("```json")
        .or_else(|| bare.strip_prefix("```"))
        .and_then(|rest| rest.strip_suffix("```"));
    serde_json::from_str(inner.unwrap_or(bare).trim())
}

/// Where and why `value` does not fit `schema`.
fn misfits(schema: &Value, value: &Value) -> Option<String> {
    let validator = match validator(schema) {
        Ok(validator) => validator,
        Err(error) => return Some(format!("the schema cannot be used: {error}")),
    };
    let found: Vec<String> = validator
        .iter_errors(value)
        .take(MISFITS_MAX)
        .map(|error| format!("at `{}`: {error}", error.instance_path()))
        .collect();
    (!found.is_empty()).then(|| format!("the answer does not fit its schema {}", found.join("; ")))
}

/// A validator of `schema`. Patterns run in linear time, because model and schema are both foreign,
/// and a reference leads nowhere but into the schema itself.
pub(crate) fn validator(schema: &Value) -> Result<Validator, String> {
    jsonschema::options()
        .with_pattern_options(PatternOptions::regex())
        .build(schema)
        .map_err(|error| in_short(&error.to_string()))
}

struct Message {
    text: String,
    stop_reason: Option<StopReason>,
}

impl Message {
    fn read(body: &[u8]) -> Option<Self> {
        let body: Value = serde_json::from_slice(body).ok()?;
        let blocks = body.get("content")?.as_array()?;
        let texts = blocks
            .iter()
            .filter(|block| block["type"] == "text")
            .filter_map(|block| block["text"].as_str());
        let text: String = texts.collect();
        let stop = body["stop_reason"].as_str().map(str::to_owned);
        Some(Self {
            // A zero byte is no text for every store.
            text: text.replace('\0', "\u{fffd}"),
            stop_reason: stop.map(StopReason::from),
        })
    }
}

fn in_short(text: &str) -> String {
    let text = text.replace('\0', "\\0");
    let end = text.floor_char_boundary(ANSWER_ERROR_BYTES_MAX);
    text[..end].to_owned()
}
