//! The texts of a request: none empty where one is needed, none too long, none that a store could
//! not hold.

use crate::error::DirectorError;
use crate::limits::{
    CHECK_BYTES_MAX, CHECKS_MAX, INSTRUCTION_BYTES_MAX, SCOPE_GLOBS_MAX, WAIVER_BYTES_MAX,
    WAIVERS_MAX,
};
use skep_api::DispatchRequest;
use skep_types::JobKind;

/// Texts that no part of a request may hold, and sizes that none may have.
pub(super) fn check_text(request: &DispatchRequest) -> Result<(), DirectorError> {
    let single = [
        Some(&request.instruction),
        request.repo.as_ref(),
        request.base.as_ref(),
        request.target_branch.as_ref(),
    ];
    let waivers = request.waivers.iter().flat_map(|w| [&w.finding, &w.reason]);
    let waivers = waivers.chain(&request.waive_tests);
    let lists = request
        .scope
        .iter()
        .chain(&request.checks)
        .chain(waivers.clone());
    if single
        .into_iter()
        .flatten()
        .chain(lists)
        .any(|text| text.contains('\0'))
    {
        return Err(DirectorError::usage(
            "bad_text",
            "the request holds a zero byte",
            "a request is text; leave the zero byte out",
        ));
    }
    if let Some(long) = waivers
        .map(String::len)
        .find(|bytes| *bytes > WAIVER_BYTES_MAX)
    {
        return Err(DirectorError::usage(
            "bad_text",
            format!("a waiver has {long} bytes; the limit is {WAIVER_BYTES_MAX}"),
            "say in a sentence why the finding is acceptable",
        ));
    }
    check_sizes(request)
}

fn check_sizes(request: &DispatchRequest) -> Result<(), DirectorError> {
    let usage = |code, message: &str, hint: &str| DirectorError::usage(code, message, hint);
    if request.instruction.trim().is_empty() {
        return Err(usage(
            "instruction_empty",
            "the instruction is empty",
            "say in a sentence what is to be done",
        ));
    }
    if request.instruction.len() > INSTRUCTION_BYTES_MAX {
        return Err(usage(
            "instruction_too_large",
            &format!(
                "the instruction has {} bytes; the limit is {INSTRUCTION_BYTES_MAX}",
                request.instruction.len()
            ),
            "put the material into a file of the repository and name the file in the instruction",
        ));
    }
    if request.kind.is_some_and(|kind| kind != JobKind::Agent) {
        return Err(usage(
            "kind_unavailable",
            "an instruction is for a job of kind `agent`",
            "`skep call` asks a model, `skep shell` runs a command, and a node of a plan says `call` or `shell`; leave the kind out",
        ));
    }
    if request.checks.len() > CHECKS_MAX
        || request
            .checks
            .iter()
            .any(|check| check.trim().is_empty() || check.len() > CHECK_BYTES_MAX)
    {
        return Err(usage(
            "bad_check",
            &format!(
                "a job has at most {CHECKS_MAX} checks, none of them empty or over {CHECK_BYTES_MAX} bytes"
            ),
            "put long checks into a script of the repository",
        ));
    }
    if request.scope.len() > SCOPE_GLOBS_MAX || request.waivers.len() > WAIVERS_MAX {
        return Err(usage(
            "too_many_globs",
            &format!("a job has at most {SCOPE_GLOBS_MAX} scope globs and {WAIVERS_MAX} waivers"),
            "name directories instead of files, as in `src/**`",
        ));
    }
    Ok(())
}
