//! The result contract: what a worker says it did. A claim, never evidence.
//!
//! The same document for every harness; `docs/reference/result-contract.schema.json` is its JSON
//! Schema, generated from here. All keys are present, arrays may be empty.

use crate::text_enum::text_enum;
use serde::{Deserialize, Serialize};

/// A contract larger than this is malformed, in bytes.
pub const CONTRACT_BYTES_MAX: usize = 256 * 1024;

text_enum! {
    /// What the worker says about the work as a whole.
    ContractStatus, "contract status" {
        /// All of it is done.
        Done => "DONE",
        /// Some of it is done.
        Partial => "PARTIAL",
        /// It cannot go on without something; `blocked_on` says what.
        Blocked => "BLOCKED",
        /// It could not be done.
        Failed => "FAILED",
    }
}

/// The result contract.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResultContract {
    /// The worker's word on the whole.
    pub status: ContractStatus,
    /// One paragraph for people.
    pub summary: String,
    /// Every path that differs from the base commit.
    pub files_changed: Vec<FileChanged>,
    /// Every commit on top of the base commit, oldest first.
    pub commits: Vec<CommitMade>,
    /// Every test command that was run, with the last result of each.
    pub tests_run: Vec<TestRun>,
    /// Where the work departs from the instruction.
    pub deviations: Vec<Deviation>,
    /// What is left to do.
    pub follow_ups: Vec<FollowUp>,
    /// What the work waits for, with status `BLOCKED`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked_on: Option<String>,
}

/// One changed file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileChanged {
    /// Relative to the repository's root, with forward slashes.
    pub path: String,
    /// Lines added.
    pub added: i64,
    /// Lines deleted.
    pub deleted: i64,
}

/// One commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommitMade {
    /// The full object name, or an unambiguous prefix of at least seven characters.
    pub sha: String,
    /// The first line of its message.
    pub subject: String,
}

/// One test command and its last result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestRun {
    /// The command line as it was run.
    pub command: String,
    /// Tests that passed.
    pub passed: i64,
    /// Tests that failed.
    pub failed: i64,
    /// Tests that were skipped.
    pub skipped: i64,
    /// The command's exit code.
    pub exit_code: i64,
}

/// One departure from the instruction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deviation {
    /// What is different.
    pub what: String,
    /// Why.
    pub why: String,
}

/// One thing left to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FollowUp {
    /// What to do, in one line.
    pub title: String,
    /// `low`, `medium` or `high`.
    pub severity: String,
}

impl ResultContract {
    /// The JSON Schema of the contract (draft 2020-12), as committed and served.
    pub fn json_schema() -> serde_json::Value {
        use serde_json::json;
        let text = json!({"type": "string"});
        let count = json!({"type": "integer", "minimum": 0});
        let object = |properties: serde_json::Value| {
            let required: Vec<String> = properties
                .as_object()
                .map(|p| p.keys().filter(|k| *k != "blocked_on").cloned().collect())
                .unwrap_or_default();
            json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
        };
        let list = |item: serde_json::Value| json!({"type": "array", "items": item});
        let mut schema = object(json!({
            "status": {"enum": ContractStatus::WORDS},
            "summary": text,
            "files_changed": list(object(json!({"path": text, "added": count, "deleted": count}))),
            "commits": list(object(json!({"sha": {"type": "string", "pattern": "^[0-9a-f]{7,64}$"}, "subject": text}))),
            "tests_run": list(object(json!({"command": text, "passed": count, "failed": count, "skipped": count, "exit_code": {"type": "integer"}}))),
            "deviations": list(object(json!({"what": text, "why": text}))),
            "follow_ups": list(object(json!({"title": text, "severity": {"enum": ["low", "medium", "high"]}}))),
            "blocked_on": text,
        }));
        if let Some(fields) = schema.as_object_mut() {
            fields.insert(
                "$schema".to_owned(),
                json!("https://json-schema.org/draft/2020-12/schema"),
            );
            fields.insert("title".to_owned(), json!("Skep result contract"));
        }
        schema
    }
}
