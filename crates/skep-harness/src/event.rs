//! What a harness says while it runs, one event a line, and how the engine reads it.
//!
//! Owns nothing. Invariant: an event holds names, sizes, digests, codes and durations, never the
//! text of a file, of a model or of a tool; [`HarnessEvent::Output`] alone carries the words of a
//! process, for the log of the attempt and nowhere else. A line is never fatal.

use crate::launch::HarnessKind;
use crate::limits::OUTPUT_LINE_BYTES_MAX;
use serde::{Deserialize, Serialize};
use skep_types::{FailureClass, TokenCounts};

/// One thing that happened inside a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum HarnessEvent {
    /// The agent is up.
    SessionStarted {
        /// What a later run would resume.
        session_id: String,
    },
    /// A model call has ended, well or not.
    ModelCalled {
        /// The number of the step, from 1.
        step: u32,
        /// The model that answered; none if none did.
        model: Option<String>,
        /// What the answering try used, as the provider said it.
        tokens: TokenCounts,
        /// Why the model stopped.
        stop_reason: Option<String>,
        /// Tries before the last one.
        retries: u32,
        /// The request, in bytes.
        request_bytes: u64,
        /// All tries and waits together, in milliseconds.
        duration_ms: i64,
    },
    /// A tool call has begun.
    ToolStarted {
        /// The tool's name, as the model wrote it, cut to 64 bytes.
        name: String,
        /// SHA-256 of the input's JSON text, in hex; with the name, which call of the turn it is.
        input_sha256: String,
        /// After how long the tool itself ends the call, in milliseconds, where it does.
        timeout_ms: Option<u64>,
    },
    /// A tool call has ended, well or not.
    ToolCalled {
        /// The tool's name, as the model wrote it, cut to 64 bytes.
        name: String,
        /// Whether the tool did what it was asked to. A command that ran is ok whatever its code.
        ok: bool,
        /// The command's exit code.
        exit_code: Option<i32>,
        /// In milliseconds.
        duration_ms: i64,
        /// SHA-256 of the input's JSON text, in hex.
        input_sha256: String,
        /// What the model was given back, in bytes.
        output_bytes: u64,
        /// Which wall refused the call.
        refused_by: Option<RefusedBy>,
    },
    /// The agent has called `finish`.
    Finished {
        /// Whether the contract lies in its place.
        contract_written: bool,
    },
    /// The run ended without a contract.
    Ended {
        /// Which guard or wall ended it.
        reason: EndReason,
        /// What the engine counts it as.
        class: FailureClass,
    },
    /// A line of output that is no event.
    Output {
        /// The line, cut to a limit.
        line: String,
    },
}

/// Which wall refused a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RefusedBy {
    /// The tool, because the scope's globs do not cover the path.
    Scope,
    /// The operating system: read-only, access denied, not permitted.
    Kernel,
    /// The tool, because nobody may do this: leave the repository, touch `.git`, use another
    /// role's tool.
    Policy,
}

impl RefusedBy {
    /// The one spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scope => "scope",
            Self::Kernel => "kernel",
            Self::Policy => "policy",
        }
    }
}

/// Why the own loop ended a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// The task or the environment could not be read.
    Setup,
    /// The model could not be reached, or refused.
    ModelCall,
    /// The model declined to go on.
    Refusal,
    /// The conversation no longer fits the window.
    ContextWindow,
    /// The number of steps is used up.
    Steps,
    /// The same call came too often while nothing changed.
    RepeatedCall,
    /// Nothing new happened for too many steps.
    NoProgress,
    /// The model stopped without calling `finish`.
    NoFinish,
    /// Events can no longer be written: nobody is listening.
    Unheard,
}

/// Reads a harness's standard output line by line.
#[derive(Debug)]
pub struct LineReader {
    kind: HarnessKind,
}

impl LineReader {
    /// A reader for the output of `kind`.
    pub fn new(kind: HarnessKind) -> Self {
        Self { kind }
    }

    /// The events of one line, without its end. A line that is none is kept as
    /// [`HarnessEvent::Output`].
    pub fn read_line(&mut self, line: &str) -> Vec<HarnessEvent> {
        if line.trim().is_empty() {
            return Vec::new();
        }
        let event = match self.kind {
            HarnessKind::Skep => serde_json::from_str(line).ok(),
            HarnessKind::Exec => None,
        };
        vec![event.unwrap_or_else(|| HarnessEvent::Output { line: cut(line) })]
    }
}

fn cut(line: &str) -> String {
    let end = line.floor_char_boundary(OUTPUT_LINE_BYTES_MAX);
    if end == line.len() {
        return line.to_owned();
    }
    format!("{}[… {} bytes cut]", &line[..end], line.len() - end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: HarnessKind, line: &str, expected: &[HarnessEvent]) {
        assert_eq!(LineReader::new(kind).read_line(line), expected, "{line}");
    }

    fn output(line: &str) -> HarnessEvent {
        HarnessEvent::Output {
            line: line.to_owned(),
        }
    }

    #[test]
    fn events_read_back_and_everything_else_is_output() {
        let event = HarnessEvent::ToolCalled {
            name: "edit".to_owned(),
            ok: false,
            exit_code: None,
            duration_ms: 3,
            input_sha256: "00".to_owned(),
            output_bytes: 40,
            refused_by: Some(RefusedBy::Kernel),
        };
        let line = serde_json::to_string(&event).unwrap();
        assert!(line.contains(r#""event":"tool_called""#), "{line}");
        assert!(line.contains(r#""refused_by":"kernel""#), "{line}");
        check(HarnessKind::Skep, &line, std::slice::from_ref(&event));
        check(HarnessKind::Exec, &line, &[output(&line)]);
        let later = line.replacen('{', r#"{"new_field":1,"#, 1);
        check(HarnessKind::Skep, &later, &[event]);
        for odd in [
            r#"{"event":"of_next_year","x":1}"#,
            "{",
            "plain words",
            "[1]",
            "null",
        ] {
            check(HarnessKind::Skep, odd, &[output(odd)]);
        }
        check(HarnessKind::Skep, " \r", &[]);
        let ended = r#"{"event":"ended","reason":"no_progress","class":"stalled"}"#;
        check(
            HarnessKind::Skep,
            ended,
            &[HarnessEvent::Ended {
                reason: EndReason::NoProgress,
                class: FailureClass::Stalled,
            }],
        );
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let line = "\u{e9}".repeat(OUTPUT_LINE_BYTES_MAX);
        let events = LineReader::new(HarnessKind::Exec).read_line(&line);
        let [HarnessEvent::Output { line: kept }] = events.as_slice() else {
            panic!("{events:?}");
        };
        assert!(kept.ends_with("bytes cut]"));
        assert!(kept.len() < OUTPUT_LINE_BYTES_MAX + 100);
    }
}
