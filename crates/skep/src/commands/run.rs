//! `skep run`: one job to its end, with whoever holds the home, or as its holder.

use super::{Session, amount};
use crate::account;
use crate::cli::Run;
use crate::config::{Config, Secrets};
use crate::engine::{OpenHome, RunningHome, ServedHome};
use crate::failure::{Exit, Failure};
use crate::home_lock::HomeLock;
use crate::progress::Follower;
use crate::reach::{Door, Reach};
use skep_api::{Client, DispatchRequest, JobSubmitted, JobView, Waiver};
use skep_director::Home;
use skep_director::limits::INSTRUCTION_BYTES_MAX;
use skep_types::JobState;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

/// How often a holder that has nobody to follow looks whether jobs are left, in milliseconds.
const LIVE_POLL_MS: u64 = 250;

/// Runs the job.
pub(crate) async fn run(session: &Session, arguments: &Run) -> Result<Exit, Failure> {
    let request = request(arguments)?;
    let home = session.home()?;
    let config = session.config(&home)?;
    session.announce(&config, &home);
    match Door::find(&home).await? {
        Door::Holder(client) => with_holder(session, &client, request, arguments.detach).await,
        Door::Lock(lock) if arguments.detach => {
            let open = OpenHome::open(&home, lock, &config, Secrets::Left).await?;
            let submitted = Reach::Direct(Box::new(open)).dispatch(request).await?;
            session.printer.warning(
                "nobody runs this home: the job waits for the next `skep up` or `skep run`",
            );
            print_submitted(session, &submitted)
        }
        Door::Lock(lock) => as_holder(session, &home, lock, &config, request).await,
    }
}

async fn with_holder(
    session: &Session,
    client: &Client,
    request: DispatchRequest,
    detach: bool,
) -> Result<Exit, Failure> {
    let submitted = client.dispatch(&request).await?;
    if detach {
        return print_submitted(session, &submitted);
    }
    let mut signals = session.signals.clone();
    let job = tokio::select! {
        job = followed(session, client, &submitted) => job?,
        _ = signals.asked() => return Err(interrupted(&submitted, "goes on in the server")),
    };
    finished(session, &job)
}

async fn as_holder(
    session: &Session,
    home: &Home,
    lock: HomeLock,
    config: &Config,
    request: DispatchRequest,
) -> Result<Exit, Failure> {
    let open = OpenHome::open(home, lock, config, Secrets::Needed).await?;
    // Asked before anything runs, so that a refused request starts no engine, and after everything
    // that can fail at the start, so that a start that fails leaves no job.
    let served = ServedHome::serve(open)?;
    let submitted = served.director().dispatch(request).await?;
    let client = Client::at_socket(home.socket());
    let mut running = RunningHome::start(served, None).await?;
    let outcome = work(session, &mut running, &client, &submitted).await;
    running.stop().await;
    finished(session, &outcome?)
}

/// Follows the job to its end, then whatever else this home has to do.
async fn work(
    session: &Session,
    running: &mut RunningHome,
    client: &Client,
    submitted: &JobSubmitted,
) -> Result<JobView, Failure> {
    let director = running.director().clone();
    let mut signals = session.signals.clone();
    let mut is_followed = false;
    loop {
        let one_round = async {
            if !is_followed {
                followed(session, client, submitted).await?;
            }
            while director.live_jobs().await? > 0 {
                tokio::time::sleep(Duration::from_millis(LIVE_POLL_MS)).await;
            }
            Ok::<(), Failure>(())
        };
        tokio::select! {
            ended = one_round => ended?,
            _ = signals.asked() => {
                let becomes = "is taken up by the next `skep up` or `skep run`";
                return Err(interrupted(submitted, becomes));
            }
            failure = running.engine_ended() => return Err(failure),
        }
        is_followed = true;
        if running.may_leave().await? {
            // Read now: the job's report may have been delivered since it ended.
            return Ok(director.job(submitted.id.as_str()).await?);
        }
    }
}

async fn followed(
    session: &Session,
    client: &Client,
    submitted: &JobSubmitted,
) -> Result<JobView, Failure> {
    for warning in &submitted.warnings {
        session.printer.warning(warning);
    }
    session
        .printer
        .note(&format!("job {} ({})", submitted.number, submitted.id));
    Follower::new(client, &session.printer, &submitted.id)
        .follow()
        .await?;
    Ok(client.job(submitted.id.as_str()).await?)
}

fn finished(session: &Session, job: &JobView) -> Result<Exit, Failure> {
    if session.printer.json() {
        session.printer.document(job)?;
    } else {
        account::print(&session.printer, job)?;
    }
    Ok(if job.state == JobState::Done {
        Exit::Done
    } else {
        Exit::Unsuccessful
    })
}

fn print_submitted(session: &Session, submitted: &JobSubmitted) -> Result<Exit, Failure> {
    if session.printer.json() {
        session.printer.document(submitted)?;
        return Ok(Exit::Done);
    }
    for warning in &submitted.warnings {
        session.printer.warning(warning);
    }
    let JobSubmitted {
        id, number, state, ..
    } = submitted;
    session
        .printer
        .line(&format!("job {number} is {state} ({id})"))?;
    session
        .printer
        .note(&format!("see it with `skep job show {number}`"));
    Ok(Exit::Done)
}

fn interrupted(submitted: &JobSubmitted, what_becomes: &str) -> Failure {
    let number = submitted.number;
    Failure::unsuccessful(
        "interrupted",
        format!("interrupted before job {number} ended; it {what_becomes}"),
        format!(
            "`skep job show {number}` says where it stands, `skep job cancel {number}` ends it"
        ),
    )
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

/// The server may have another current folder.
pub(super) fn absolute(path: &Path) -> Result<String, Failure> {
    let unusable = |reason: &str| {
        Failure::usage(
            "repo_unusable",
            format!("the repository {} cannot be used: {reason}", path.display()),
            "give `--repo` the folder of a git repository",
        )
    };
    let path = std::path::absolute(path).map_err(|error| unusable(&error.to_string()))?;
    path.into_os_string()
        .into_string()
        .map_err(|_| unusable("its path is not UTF-8"))
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
