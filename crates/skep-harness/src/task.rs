//! The task document: what the engine tells the own loop, as `in/task.json`.
//!
//! Owns nothing. Invariant: it holds no secret and nothing that differs between two attempts at one
//! task but the base commit, which never reaches the model.

use crate::limits;
use serde::{Deserialize, Serialize};
use skep_types::Role;
use std::path::PathBuf;

/// The name of the document in the input folder.
pub const TASK_FILE: &str = "task.json";
/// The name of the instruction as text in the input folder.
pub const INSTRUCTION_FILE: &str = "instruction.md";
/// The name of the contract's JSON Schema in the input folder.
pub const CONTRACT_SCHEMA_FILE: &str = "contract.schema.json";
/// The name of the review report's JSON Schema in the input folder of an observer.
pub const REVIEW_SCHEMA_FILE: &str = "review.schema.json";
/// The name of the contract in the output folder.
pub const CONTRACT_FILE: &str = "contract.json";
/// The name of an observer's review report in the output folder.
pub const REVIEW_FILE: &str = "review.json";
/// The name of the own loop's transcript in the output folder.
pub const TRANSCRIPT_FILE: &str = "transcript.jsonl";
/// The folder of stored command output in the output folder.
pub const OUTPUTS_FOLDER: &str = "outputs";

/// One task for the own loop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentTask {
    /// What to do, in the requester's words.
    pub instruction: String,
    /// What the worker may do.
    pub role: Role,
    /// What it may change: globs relative to the repository's root.
    pub scope: Vec<String>,
    /// The commands that the engine will run on the result.
    pub checks: Vec<String>,
    /// The model to ask for at the gateway.
    pub model: String,
    /// The commit the work starts from, as a full object name.
    pub base_commit: String,
    /// The work tree, as the agent sees it.
    pub repo: PathBuf,
    /// The output folder, as the agent sees it.
    pub output: PathBuf,
    /// What the run may not exceed.
    pub limits: AgentLimits,
}

/// The limits of one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentLimits {
    /// Model calls.
    pub steps_max: u32,
    /// Equal calls while nothing has changed.
    pub repeated_calls_max: u32,
    /// Steps in a row without anything new.
    pub idle_steps_max: u32,
    /// The model's context window, in tokens.
    pub context_tokens: i64,
    /// The cap on one answer, in tokens.
    pub output_tokens_max: u32,
    /// The time of a command where the model does not say, in milliseconds.
    pub command_ms: u64,
    /// The longest time of a command, in milliseconds.
    pub command_ms_max: u64,
    /// Tries of one model call after the first.
    pub model_retries_max: u32,
    /// The wait before the first retry, in milliseconds.
    pub retry_base_ms: i64,
    /// Silence inside an answer, in milliseconds.
    pub answer_silence_ms_max: u64,
}

impl Default for AgentLimits {
    fn default() -> Self {
        Self {
            steps_max: limits::STEPS_MAX,
            repeated_calls_max: limits::REPEATED_CALLS_MAX,
            idle_steps_max: limits::IDLE_STEPS_MAX,
            context_tokens: limits::CONTEXT_TOKENS,
            output_tokens_max: limits::OUTPUT_TOKENS_MAX,
            command_ms: limits::COMMAND_MS,
            command_ms_max: limits::COMMAND_MS_MAX,
            model_retries_max: limits::MODEL_RETRIES_MAX,
            retry_base_ms: limits::RETRY_BASE_MS,
            answer_silence_ms_max: limits::ANSWER_SILENCE_MS_MAX,
        }
    }
}
