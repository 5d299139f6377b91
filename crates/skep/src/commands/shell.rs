//! `skep shell`: one command inside a fence, from the command line to its output.

use super::order::{self, Order};
use super::turn::flow;
use super::{Session, absolute};
use crate::account;
use crate::cli::ShellCommand;
use crate::failure::{Exit, Failure};
use skep_api::{JobView, ShellRequest};

/// Runs the command.
pub(crate) async fn shell(session: &Session, arguments: &ShellCommand) -> Result<Exit, Failure> {
    let order = Order::Shell(Box::new(request(arguments)?));
    order::carry_out(session, order, arguments.detach, finished).await
}

/// The end of the output on stdout, and how it ended on stderr.
fn finished(session: &Session, job: &JobView) -> Result<(), Failure> {
    match job.shell.as_ref().and_then(|shell| shell.run.as_ref()) {
        Some(run) => account::print_run(&session.printer, job, run),
        None => account::print(&session.printer, job),
    }
}

/// The request that the arguments make.
pub(super) fn request(shell: &ShellCommand) -> Result<ShellRequest, Failure> {
    Ok(ShellRequest {
        command: shell.command.clone(),
        repo: shell.repo.as_deref().map(absolute).transpose()?,
        base: shell.base.clone(),
        scope: shell.scope.clone(),
        timeout_seconds: shell.timeout,
        output_bytes_max: shell.output_bytes_max,
        tier: shell.tier,
        project: shell.record.project.clone(),
        owner: shell.record.owner.clone(),
        idempotency_key: shell.record.idempotency_key.clone(),
        flow: flow(&shell.turn)?,
    })
}
