//! The documents of the kinds of job beside `agent`: one model call, one command.
//!
//! A job of such a kind is a [`JobView`](crate::JobView) like any other; what only its kind has
//! stands there as [`CallView`] or [`ShellView`].

use crate::describe::describe;
use crate::queue::FlowRequest;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use skep_types::{MicroUsd, Tier};

/// What `skep call` asks for: `POST /api/v1/calls`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CallRequest {
    /// The question, as the last message of the user.
    pub prompt: String,
    /// What was said before it, oldest first.
    pub messages: Vec<CallMessage>,
    /// The instructions that stand before every message.
    pub system: Option<String>,
    /// The model; the worker's when absent.
    pub model: Option<String>,
    /// The configured worker whose model answers and whose budget pays.
    pub worker: Option<String>,
    /// The longest answer, in tokens.
    pub max_output_tokens: Option<i64>,
    /// How freely the model chooses its words, from 0 to 1; its own default when absent.
    pub temperature: Option<f64>,
    /// A JSON Schema that the answer must fit.
    pub schema: Option<Value>,
    /// The most this job may spend.
    pub budget_micro_usd: Option<MicroUsd>,
    /// The longest the call may take, in seconds.
    pub timeout_seconds: Option<i64>,
    /// The tier of the data; `sensitive` when absent.
    pub tier: Option<Tier>,
    /// The account the cost is charged to; `calls` when absent.
    pub project: Option<String>,
    /// On whose authority; the user who runs the engine when absent.
    pub owner: Option<String>,
    /// Submitting the same key again returns the earlier job.
    pub idempotency_key: Option<String>,
    /// How the job takes its turn.
    pub flow: FlowRequest,
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallMessage {
    /// `user` or `assistant`.
    pub role: String,
    /// What is said.
    pub text: String,
}

/// What a call was asked with, and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CallView {
    /// The model that was asked.
    pub model: String,
    /// The longest answer, in tokens.
    pub max_output_tokens: i64,
    /// How freely the model chose its words.
    pub temperature: Option<f64>,
    /// The JSON Schema that the answer must fit.
    pub schema: Option<Value>,
    /// The newest answer; one that does not fit is kept as evidence.
    pub answer: Option<AnswerView>,
}

/// What a model answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AnswerView {
    /// Its words, untrusted text.
    pub text: String,
    /// The same as JSON, where a schema was asked for and the answer fits it.
    pub value: Option<Value>,
    /// Why it does not fit.
    pub problem: Option<String>,
    /// Why the model stopped; `max_tokens` means that the answer was cut.
    pub stop_reason: Option<String>,
    /// The model that answered, in the provider's words.
    pub model_actual: Option<String>,
    /// SHA-256 of the text, in hexadecimal.
    pub sha256: String,
    /// How long the provider took, in milliseconds.
    pub provider_ms: i64,
}

/// What `skep shell` asks for: `POST /api/v1/shells`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ShellRequest {
    /// The program and its arguments; no shell reads them.
    pub command: Vec<String>,
    /// The repository's folder; an empty folder when absent.
    pub repo: Option<String>,
    /// The commit, branch or tag to lay out; the repository's `HEAD` when absent.
    pub base: Option<String>,
    /// Globs of the laid out repository that the command may write to; nothing when empty. What it
    /// writes is thrown away with the folder.
    pub scope: Vec<String>,
    /// The longest the command may take, in seconds.
    pub timeout_seconds: Option<i64>,
    /// The most the command may write to its output, in bytes.
    pub output_bytes_max: Option<i64>,
    /// The tier of the data; `sensitive` when absent.
    pub tier: Option<Tier>,
    /// The account the job belongs to; the repository's folder name, or `shell`, when absent.
    pub project: Option<String>,
    /// On whose authority; the user who runs the engine when absent.
    pub owner: Option<String>,
    /// Submitting the same key again returns the earlier job.
    pub idempotency_key: Option<String>,
    /// How the job takes its turn.
    pub flow: FlowRequest,
}

/// What a command was asked with, and what the engine measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShellView {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// The newest run that came to an end.
    pub run: Option<ShellRun>,
}

/// One run of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShellRun {
    /// The exit code, unless a signal or a limit ended it.
    pub exit_code: Option<i64>,
    /// The signal that ended it.
    pub signal: Option<i64>,
    /// The limit that ended it: `time` or `output`.
    pub limit: Option<String>,
    /// How long it took, in milliseconds.
    pub duration_ms: i64,
    /// What it wrote to both streams, in bytes, as far as it was read.
    pub output_bytes: i64,
    /// SHA-256 of that, in hexadecimal, in order of arrival.
    pub output_sha256: String,
    /// The end of it, untrusted text; `skep job log` has more.
    pub tail: String,
    /// The isolation that was applied and proved.
    pub isolation: Option<String>,
}

describe! { CallRequest, "One model call: who is asked, what, and within which limits.",
    always { prompt: String }
    sometimes {
        messages: Vec<CallMessage>, system: Option<String>, model: Option<String>,
        worker: Option<String>, max_output_tokens: Option<i64>, temperature: Option<f64>,
        schema: Option<Value>, budget_micro_usd: Option<MicroUsd>, timeout_seconds: Option<i64>,
        tier: Option<Tier>, project: Option<String>, owner: Option<String>,
        idempotency_key: Option<String>, flow: FlowRequest,
    }
}

describe! { CallMessage, "One message of a conversation.",
    always { role: String, text: String }
}

describe! { CallView, "What a call was asked with, and what came of it.",
    always {
        model: String, max_output_tokens: i64, temperature: Option<f64>, schema: Option<Value>,
        answer: Option<AnswerView>,
    }
}

describe! { AnswerView, "What a model answered; untrusted text.",
    always {
        text: String, value: Option<Value>, problem: Option<String>, stop_reason: Option<String>,
        model_actual: Option<String>, sha256: String, provider_ms: i64,
    }
}

describe! { ShellRequest, "One command for the inside of a fence.",
    always { command: Vec<String> }
    sometimes {
        repo: Option<String>, base: Option<String>, scope: Vec<String>,
        timeout_seconds: Option<i64>, output_bytes_max: Option<i64>, tier: Option<Tier>,
        project: Option<String>, owner: Option<String>, idempotency_key: Option<String>,
        flow: FlowRequest,
    }
}

describe! { ShellView, "What a command was asked with, and what the engine measured.",
    always { command: Vec<String>, run: Option<ShellRun> }
}

describe! { ShellRun, "One run of a command, as the engine measured it.",
    always {
        exit_code: Option<i64>, signal: Option<i64>, limit: Option<String>, duration_ms: i64,
        output_bytes: i64, output_sha256: String, tail: String, isolation: Option<String>,
    }
}
