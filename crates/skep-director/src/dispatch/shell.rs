//! A command becomes a job: what it may read and write is settled, and its repository is pinned.
//!
//! A command observes. Whatever it writes is thrown away with its folder; what it leaves is an exit
//! code and an output.

use super::base::{Pins, pin};
use super::call::timeout_ms;
use super::overlap::parse_scope;
use super::{PinAt, Prepared, request_digest};
use crate::context::Context;
use crate::error::DirectorError;
use crate::event::{self, ShellDispatched};
use crate::limits::{
    COMMAND_BYTES_MAX, COMMAND_WORDS_MAX, SCOPE_GLOBS_MAX, SHELL_ATTEMPTS_MAX, SHELL_OUTPUT_BYTES,
    SHELL_OUTPUT_BYTES_MAX,
};
use crate::record::{Asked, ShellRow, put_shell};
use skep_api::{DispatchRequest, JobSubmitted, ShellRequest};
use skep_db::Tx;
use skep_queue::NewJob;
use skep_types::{JobId, JobKind, Purpose, Role, Tier};

/// What a command without a repository belongs to when nothing is said.
const PROJECT: &str = "shell";

/// Checks `request`, completes it, writes it down and queues it.
pub(crate) async fn dispatch(
    context: &Context,
    request: ShellRequest,
) -> Result<JobSubmitted, DirectorError> {
    let prepared = prepare(context, request, PinAt::Dispatch, &mut Pins::default()).await?;
    let warnings = prepared.warnings.clone();
    let submitted = context
        .db
        .write("dispatch shell", async move |tx: &mut Tx<'_>| {
            prepared.put(tx).await
        })
        .await?;
    Ok(JobSubmitted {
        warnings,
        ..submitted
    })
}

/// The job and its record, complete, and what its owner should know; nothing is written.
pub(crate) async fn prepare(
    context: &Context,
    request: ShellRequest,
    at: PinAt,
    pins: &mut Pins,
) -> Result<Prepared, DirectorError> {
    check_text(&request)?;
    let scope = parse_scope(&request.scope)?;
    let pinned = match &request.repo {
        None => None,
        Some(repo) => {
            let place = DispatchRequest {
                repo: Some(repo.clone()),
                base: request.base.clone(),
                ..DispatchRequest::default()
            };
            Some(pin(context, &place, Role::Observer, pins).await?)
        }
    };
    let output_bytes_max = output_bytes_max(request.output_bytes_max)?;
    let longest = i64::try_from(context.engine.attempt_seconds_max * 1_000).unwrap_or(i64::MAX);
    let tier = request.tier.unwrap_or(Tier::Sensitive);
    let job = JobId::new(&*context.clock, &*context.entropy);
    let text = |path: &std::path::Path| path.to_string_lossy().into_owned();
    let idempotency_digest = request_digest(&request);
    let row = ShellRow {
        job: job.clone(),
        command: request.command,
        repo: pinned.as_ref().map(|pinned| text(&pinned.repo)),
        vault: pinned.as_ref().map(|pinned| text(&pinned.vault)),
        base_commit: pinned
            .as_ref()
            .filter(|_| at == PinAt::Dispatch)
            .map(|pinned| pinned.base.clone()),
        base_from: pinned.as_ref().map(|pinned| pinned.from.clone()),
        scope: if request.scope.is_empty() {
            Vec::new()
        } else {
            scope.globs().to_vec()
        },
        tier,
        timeout_ms: timeout_ms(request.timeout_seconds)?.unwrap_or(longest),
        output_bytes_max,
    };
    let project = pinned.as_ref().map(|pinned| pinned.project.clone());
    let new_job = NewJob {
        id: job,
        kind: JobKind::Shell,
        purpose: Purpose::Requested,
        owner: request.owner.unwrap_or_else(|| context.owner.clone()),
        project: request
            .project
            .or(project)
            .unwrap_or_else(|| PROJECT.to_owned()),
        tier,
        priority: request.flow.priority.unwrap_or(0),
        run_at_ms: request.flow.start_at,
        attempts_max: SHELL_ATTEMPTS_MAX,
        parent: None,
        idempotency_key: request.idempotency_key,
        idempotency_digest,
        flow: crate::queue::flow(&request.flow, JobKind::Shell.as_str()),
    };
    let warnings = pinned.map(|pinned| pinned.warnings).unwrap_or_default();
    Ok(Prepared {
        new_job,
        record: Asked::Shell(Box::new(row)),
        warnings,
    })
}

/// How much of the output is kept, in bytes.
fn output_bytes_max(asked_for: Option<i64>) -> Result<i64, DirectorError> {
    match asked_for {
        None => Ok(SHELL_OUTPUT_BYTES),
        Some(bytes) if (1..=SHELL_OUTPUT_BYTES_MAX).contains(&bytes) => Ok(bytes),
        Some(bytes) => Err(DirectorError::usage(
            "bad_output_limit",
            format!("an output of {bytes} bytes cannot be kept"),
            format!("give from 1 to {SHELL_OUTPUT_BYTES_MAX} bytes"),
        )),
    }
}

/// Writes the record of a command that was just queued, and its event.
pub(super) async fn write(tx: &mut Tx<'_>, row: &ShellRow) -> Result<(), DirectorError> {
    put_shell(tx, row).await?;
    let dispatched = ShellDispatched {
        job: row.job.clone(),
        tier: row.tier.as_str(),
        base_commit: row.base_commit.clone(),
        words: row.command.len(),
        command_bytes: row.command.iter().map(String::len).sum(),
        timeout_ms: row.timeout_ms,
        output_bytes_max: row.output_bytes_max,
    };
    event::append(tx, row.job.as_str(), &dispatched).await
}

fn check_text(request: &ShellRequest) -> Result<(), DirectorError> {
    let usage = |code, message: &str, hint: &str| Err(DirectorError::usage(code, message, hint));
    if request
        .command
        .first()
        .is_none_or(|program| program.is_empty())
    {
        return usage(
            "command_missing",
            "there is no command",
            "give a program and its arguments after `--`, as in `skep shell -- ls -l`",
        );
    }
    let bytes: usize = request.command.iter().map(String::len).sum();
    if request.command.len() > COMMAND_WORDS_MAX || bytes > COMMAND_BYTES_MAX {
        return usage(
            "command_too_large",
            &format!(
                "a command has at most {COMMAND_WORDS_MAX} words and {COMMAND_BYTES_MAX} bytes"
            ),
            "put a long command into a script of the repository",
        );
    }
    let texts = request.command.iter().chain(&request.scope);
    if texts
        .chain(&request.repo)
        .chain(&request.base)
        .any(|text| text.contains('\0'))
    {
        return usage(
            "bad_text",
            "the request holds a zero byte",
            "a request is text; leave the zero byte out",
        );
    }
    if request.scope.len() > SCOPE_GLOBS_MAX {
        return usage(
            "too_many_globs",
            &format!("a job has at most {SCOPE_GLOBS_MAX} scope globs"),
            "name directories instead of files, as in `src/**`",
        );
    }
    if request.repo.is_none() && (request.base.is_some() || !request.scope.is_empty()) {
        return usage(
            "repo_missing",
            "a base or a scope is of a repository, and none is named",
            "name it with --repo DIR; without one the command has an empty folder to itself",
        );
    }
    Ok(())
}
