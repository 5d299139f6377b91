//! `skep run`: an instruction for an agent, from the command line to its account.

use super::order::{self, Order};
use super::{Session, absolute, amount};
use crate::account;
use crate::cli::Run;
use crate::failure::{Exit, Failure};
use skep_api::{DispatchRequest, JobView, Waiver};
use skep_director::limits::INSTRUCTION_BYTES_MAX;
use std::io::Read as _;
use std::path::Path;

/// Runs the job.
pub(crate) async fn run(session: &Session, arguments: &Run) -> Result<Exit, Failure> {
    let order = Order::Agent(Box::new(request(arguments)?));
    order::carry_out(session, order, arguments.detach, finished).await
}

fn finished(session: &Session, job: &JobView) -> Result<(), Failure> {
    account::print(&session.printer, job)
}

/// What the arguments ask for.
pub(super) fn request(run: &Run) -> Result<DispatchRequest, Failure> {
    let repo = run.repo.as_deref().map(absolute).transpose()?;
    Ok(DispatchRequest {
        instruction: instruction(run)?,
        kind: run.kind,
        repo,
        base: run.base.clone(),
        target_branch: run.target_branch.clone(),
        scope: run.scope.clone(),
        role: run.role,
        tier: run.tier,
        worker: run.worker.clone(),
        harness: run.harness.clone(),
        model: run.model.clone(),
        checks: run.check.clone(),
        budget_micro_usd: amount(run.budget_usd)?,
        timeout_seconds: run.timeout,
        gate: run.gate,
        reviewer: run.reviewer.clone(),
        waive_tests: run.waive_tests.clone(),
        waivers: run
            .waive
            .iter()
            .map(|text| waiver(text))
            .collect::<Result<_, _>>()?,
        project: run.project.clone(),
        owner: run.owner.clone(),
        idempotency_key: run.idempotency_key.clone(),
        flow: super::turn::flow(&run.turn)?,
    })
}

fn waiver(text: &str) -> Result<Waiver, Failure> {
    match text.split_once('=') {
        Some((finding, reason)) if !finding.trim().is_empty() && !reason.trim().is_empty() => {
            Ok(Waiver {
                finding: finding.trim().to_owned(),
                reason: reason.trim().to_owned(),
            })
        }
        _ => Err(Failure::usage(
            "waiver_malformed",
            format!("`{text}` is not a waiver"),
            "write the finding's rule and a reason, as in `--waive runner_files=\"the fix is in conftest.py\"`",
        )),
    }
}

fn instruction(run: &Run) -> Result<String, Failure> {
    let text = match (&run.instruction, &run.instruction_file) {
        (Some(text), _) => text.clone(),
        (None, Some(path)) => instruction_file(path)?,
        (None, None) => String::new(),
    };
    if text.trim().is_empty() {
        return Err(Failure::usage(
            "instruction_empty",
            "the instruction is empty",
            "say what is to be done, as in `skep run \"Fix the failing test in parser.rs\" --repo .`",
        ));
    }
    if text.len() > INSTRUCTION_BYTES_MAX {
        return Err(too_long());
    }
    Ok(text)
}

fn instruction_file(path: &Path) -> Result<String, Failure> {
    let unreadable = |error: std::io::Error| {
        Failure::usage(
            "instruction_unreadable",
            format!("the instruction {} cannot be read: {error}", path.display()),
            "give a readable file with UTF-8 text, or `-` for the standard input",
        )
    };
    // One byte more than allowed tells a text that is too long from one that just fits.
    let bytes_max = u64::try_from(INSTRUCTION_BYTES_MAX).unwrap_or(u64::MAX) + 1;
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        std::io::stdin()
            .lock()
            .take(bytes_max)
            .read_to_end(&mut bytes)
            .map_err(unreadable)?;
    } else {
        let file = std::fs::File::open(path).map_err(unreadable)?;
        file.take(bytes_max)
            .read_to_end(&mut bytes)
            .map_err(unreadable)?;
    }
    if bytes.len() > INSTRUCTION_BYTES_MAX {
        return Err(too_long());
    }
    String::from_utf8(bytes).map_err(|error| unreadable(std::io::Error::other(error)))
}

fn too_long() -> Failure {
    Failure::usage(
        "instruction_too_long",
        format!(
            "the instruction is longer than {} kB",
            INSTRUCTION_BYTES_MAX / 1_024
        ),
        "put the material into a file of the repository and name it in the instruction",
    )
}
