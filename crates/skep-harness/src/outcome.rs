//! What became of a run, from its exit, its events and the files it left. Pure.
//!
//! Owns nothing. Invariant: a contract is complete and of the exact shape, or it is missing and the
//! error says why. Nothing is filled in, nothing is guessed from what the process printed.

use crate::event::{EndReason, HarnessEvent, RefusedBy};
use skep_types::contract::CONTRACT_BYTES_MAX;
use skep_types::{FailureClass, ResultContract, TokenCounts};

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessExit {
    /// The exit code, unless a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
}

/// What became of a run.
#[derive(Debug)]
pub struct RunOutcome {
    /// The contract, or why there is none.
    pub contract: Result<ResultContract, ContractError>,
    /// Why the run did not succeed, as far as the run itself can tell. The verdict is not here.
    pub failure: Option<FailureClass>,
    /// Which guard ended the own loop.
    pub end_reason: Option<EndReason>,
    /// How the process ended.
    pub exit: ProcessExit,
    /// The session, where the harness has one.
    pub session_id: Option<String>,
    /// The models that answered, in the order of their first answer.
    pub models: Vec<String>,
    /// Model calls.
    pub model_calls: u32,
    /// What they used, by the harness's own account; the gateway's counts.
    pub tokens: TokenCounts,
    /// Tool calls.
    pub tool_calls: u32,
    /// Every refusal, in order, with the tool that met it.
    pub refusals: Vec<(String, RefusedBy)>,
}

/// Why there is no contract.
#[derive(Debug, thiserror::Error)]
pub enum ContractError {
    /// The file does not exist.
    #[error("result contract is missing")]
    Missing,
    /// The file is larger than a contract can be.
    #[error("result contract has {bytes} bytes; the limit is {max}")]
    TooLarge {
        /// The file's size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The file is not JSON.
    #[error("result contract is not JSON")]
    NotJson(#[source] serde_json::Error),
    /// A key is missing or unknown, or a value has the wrong type.
    #[error("result contract has the wrong shape")]
    Shape(#[source] serde_json::Error),
    /// A value of the right type that the schema forbids.
    #[error("result contract has a bad value: {problem}")]
    Value {
        /// Which one and why.
        problem: String,
    },
}

impl ContractError {
    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Missing => "contract_missing",
            Self::TooLarge { .. } => "contract_too_large",
            Self::NotJson(_) => "contract_not_json",
            Self::Shape(_) => "contract_shape",
            Self::Value { .. } => "contract_value",
        }
    }
}

/// Reads a contract; `bytes` is the file's content, none if there is no file.
///
/// # Errors
/// Anything but a complete contract and nothing else.
pub fn read_contract(bytes: Option<&[u8]>) -> Result<ResultContract, ContractError> {
    let bytes = bytes.ok_or(ContractError::Missing)?;
    if bytes.len() > CONTRACT_BYTES_MAX {
        return Err(ContractError::TooLarge {
            bytes: bytes.len(),
            max: CONTRACT_BYTES_MAX,
        });
    }
    let contract: ResultContract = serde_json::from_slice(bytes).map_err(|error| {
        if error.is_data() {
            ContractError::Shape(error)
        } else {
            ContractError::NotJson(error)
        }
    })?;
    match forbidden_value(&contract) {
        Some(problem) => Err(ContractError::Value { problem }),
        None => Ok(contract),
    }
}

/// What a run came to.
pub fn outcome(
    exit: ProcessExit,
    events: &[HarnessEvent],
    contract_bytes: Option<&[u8]>,
) -> RunOutcome {
    let contract = read_contract(contract_bytes);
    let mut outcome = RunOutcome {
        failure: None,
        contract,
        end_reason: None,
        exit,
        session_id: None,
        models: Vec::new(),
        model_calls: 0,
        tokens: TokenCounts::default(),
        tool_calls: 0,
        refusals: Vec::new(),
    };
    let mut ended = None;
    for event in events {
        match event {
            HarnessEvent::SessionStarted { session_id } => {
                outcome.session_id = Some(session_id.clone());
            }
            HarnessEvent::ModelCalled { model, tokens, .. } => {
                outcome.model_calls += 1;
                outcome.tokens = outcome.tokens + *tokens;
                outcome.models.extend(
                    model
                        .iter()
                        .filter(|model| !outcome.models.contains(model))
                        .cloned()
                        .collect::<Vec<_>>(),
                );
            }
            HarnessEvent::ToolCalled {
                name, refused_by, ..
            } => {
                outcome.tool_calls += 1;
                outcome
                    .refusals
                    .extend(refused_by.map(|by| (name.clone(), by)));
            }
            HarnessEvent::Ended { reason, class } => {
                outcome.end_reason = Some(*reason);
                ended = Some(*class);
            }
            HarnessEvent::ToolStarted { .. }
            | HarnessEvent::Finished { .. }
            | HarnessEvent::Output { .. } => {}
        }
    }
    outcome.failure = ended.or_else(|| failure_of(exit, &outcome.contract));
    outcome
}

/// The class of a run that did not class itself.
fn failure_of(
    exit: ProcessExit,
    contract: &Result<ResultContract, ContractError>,
) -> Option<FailureClass> {
    match (exit.code, contract) {
        (None, _) => Some(FailureClass::WorkerCrash),
        (Some(0), Ok(_)) => None,
        (Some(0), Err(ContractError::Missing)) => Some(FailureClass::EmptySuccess),
        (Some(0), Err(_)) => Some(FailureClass::InvalidOutput),
        (Some(_), _) => Some(FailureClass::ToolFailure),
    }
}

/// The rules of the schema that the types do not hold.
fn forbidden_value(contract: &ResultContract) -> Option<String> {
    let files = contract.files_changed.iter().find_map(|file| {
        let negative = file.added < 0 || file.deleted < 0;
        negative.then(|| format!("files_changed `{}` has a negative count", file.path))
    });
    let commits = contract.commits.iter().find_map(|commit| {
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        let named = (7..=64).contains(&commit.sha.len()) && commit.sha.bytes().all(hex);
        (!named).then(|| format!("commits `{}` is not a commit's name", commit.sha))
    });
    let tests = contract.tests_run.iter().find_map(|test| {
        let negative = test.passed < 0 || test.failed < 0 || test.skipped < 0;
        negative.then(|| format!("tests_run `{}` has a negative count", test.command))
    });
    let follow_ups = contract.follow_ups.iter().find_map(|follow_up| {
        let known = ["low", "medium", "high"].contains(&follow_up.severity.as_str());
        (!known).then(|| format!("follow_ups severity `{}` is not known", follow_up.severity))
    });
    files.or(commits).or(tests).or(follow_ups)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#"{"status":"DONE","summary":"did it","files_changed":[{"path":"src/a.rs","added":1,"deleted":0}],"commits":[{"sha":"0123abc","subject":"fix: it"}],"tests_run":[{"command":"cargo test","passed":3,"failed":0,"skipped":0,"exit_code":0}],"deviations":[],"follow_ups":[{"title":"more","severity":"low"}]}"#;

    const CLEAN: ProcessExit = ProcessExit {
        code: Some(0),
        signal: None,
    };

    fn check(from: &str, to: &str, code: &str) {
        let bad = WHOLE.replacen(from, to, 1);
        assert_ne!(bad, WHOLE, "{from}");
        let error = read_contract(Some(bad.as_bytes())).unwrap_err();
        assert_eq!(error.code(), code, "{bad}: {error:?}");
        let schema = jsonschema::validator_for(&ResultContract::json_schema()).unwrap();
        if let Ok(value) = serde_json::from_str(&bad) {
            assert!(!schema.is_valid(&value), "the schema takes {bad}");
        }
    }

    #[test]
    fn reader_and_schema_refuse_alike() {
        assert!(read_contract(Some(WHOLE.as_bytes())).is_ok());
        check("\"summary\":\"did it\",", "", "contract_shape");
        check(
            "\"commits\":[{\"sha\":\"0123abc\",\"subject\":\"fix: it\"}],",
            "",
            "contract_shape",
        );
        check("\"DONE\"", "\"done\"", "contract_shape");
        check("\"DONE\"", "\"FINISHED\"", "contract_shape");
        check("\"deviations\":[]", "\"deviations\":null", "contract_shape");
        check(
            "\"deviations\":[]",
            "\"deviations\":[],\"extra\":1",
            "contract_shape",
        );
        check("\"passed\":3", "\"passed\":\"3\"", "contract_shape");
        check("\"passed\":3", "\"passed\":3.5", "contract_shape");
        check("\"passed\":3", "\"passed\":-3", "contract_value");
        check("\"added\":1", "\"added\":-1", "contract_value");
        check("\"0123abc\"", "\"HEAD\"", "contract_value");
        check("\"low\"", "\"urgent\"", "contract_value");
        check("}", "", "contract_not_json");
    }

    #[test]
    fn files_that_are_no_contract_have_their_own_errors() {
        let code = |bytes: Option<&[u8]>| read_contract(bytes).unwrap_err().code();
        assert_eq!(code(None), "contract_missing");
        assert_eq!(code(Some(b"")), "contract_not_json");
        assert_eq!(code(Some(b"All done!")), "contract_not_json");
        assert_eq!(code(Some(b"[]")), "contract_shape");
        assert_eq!(
            code(Some(&vec![b' '; CONTRACT_BYTES_MAX + 1])),
            "contract_too_large"
        );
        let twice = WHOLE.replacen('{', r#"{"status":"FAILED","#, 1);
        assert_eq!(code(Some(twice.as_bytes())), "contract_shape");
        let more = format!("{WHOLE} {WHOLE}");
        assert_eq!(code(Some(more.as_bytes())), "contract_not_json");
    }

    fn failure(exit: ProcessExit, contract: Option<&str>) -> Option<FailureClass> {
        outcome(exit, &[], contract.map(str::as_bytes)).failure
    }

    #[test]
    fn an_exit_code_is_evidence_and_silence_is_a_failure() {
        let failed = ProcessExit {
            code: Some(3),
            signal: None,
        };
        let killed = ProcessExit {
            code: None,
            signal: Some(9),
        };
        assert_eq!(failure(CLEAN, Some(WHOLE)), None);
        assert_eq!(failure(CLEAN, None), Some(FailureClass::EmptySuccess));
        assert_eq!(
            failure(CLEAN, Some("done")),
            Some(FailureClass::InvalidOutput)
        );
        assert_eq!(
            failure(failed, Some(WHOLE)),
            Some(FailureClass::ToolFailure)
        );
        assert_eq!(
            failure(killed, Some(WHOLE)),
            Some(FailureClass::WorkerCrash)
        );
    }

    #[test]
    fn events_add_up_and_a_classed_end_wins_over_the_exit_code() {
        let model_called = |model: &str| HarnessEvent::ModelCalled {
            step: 1,
            model: Some(model.to_owned()),
            tokens: TokenCounts {
                input: 10,
                output: 5,
                ..TokenCounts::default()
            },
            stop_reason: None,
            retries: 0,
            request_bytes: 1,
            duration_ms: 1,
        };
        let events = [
            HarnessEvent::SessionStarted {
                session_id: "s1".to_owned(),
            },
            model_called("a"),
            HarnessEvent::ToolCalled {
                name: "edit".to_owned(),
                ok: false,
                exit_code: None,
                duration_ms: 0,
                input_sha256: String::new(),
                output_bytes: 0,
                refused_by: Some(RefusedBy::Scope),
            },
            model_called("b"),
            model_called("a"),
            HarnessEvent::Output {
                line: "noise".to_owned(),
            },
            HarnessEvent::Ended {
                reason: EndReason::Steps,
                class: FailureClass::Stalled,
            },
        ];
        let exit = ProcessExit {
            code: Some(1),
            signal: None,
        };
        let outcome = outcome(exit, &events, None);
        assert_eq!(outcome.failure, Some(FailureClass::Stalled));
        assert_eq!(outcome.end_reason, Some(EndReason::Steps));
        assert_eq!(outcome.models, ["a", "b"]);
        assert_eq!((outcome.model_calls, outcome.tool_calls), (3, 1));
        assert_eq!((outcome.tokens.input, outcome.tokens.output), (30, 15));
        assert_eq!(outcome.refusals, [("edit".to_owned(), RefusedBy::Scope)]);
        assert_eq!(outcome.session_id.as_deref(), Some("s1"));
    }
}
