//! One job from the command line to its end, with whoever holds the home, or as its holder.

use super::Session;
use crate::config::{Config, Secrets};
use crate::engine::{OpenHome, RunningHome, ServedHome};
use crate::failure::{Exit, Failure};
use crate::home_lock::HomeLock;
use crate::progress::Follower;
use crate::reach::Door;
use skep_api::{CallRequest, Client, DispatchRequest, JobSubmitted, JobView, ShellRequest};
use skep_director::{Director, Home};
use skep_types::JobState;
use std::time::Duration;

/// How often a holder that has nobody to follow looks whether jobs are left, in milliseconds.
const LIVE_POLL_MS: u64 = 250;

/// What is to be done, of whichever kind.
pub(crate) enum Order {
    /// By an agent.
    Agent(Box<DispatchRequest>),
    /// By one model call.
    Call(Box<CallRequest>),
    /// By one command.
    Shell(Box<ShellRequest>),
}

/// How the account of a job is printed for people.
pub(crate) type Print = fn(&Session, &JobView) -> Result<(), Failure>;

impl Order {
    /// Submits it to the server.
    async fn send(&self, client: &Client) -> Result<JobSubmitted, Failure> {
        Ok(match self {
            Self::Agent(request) => client.dispatch(request).await?,
            Self::Call(request) => client.dispatch_call(request).await?,
            Self::Shell(request) => client.dispatch_shell(request).await?,
        })
    }

    /// Submits it to the use cases of this process.
    async fn give(self, director: &Director) -> Result<JobSubmitted, Failure> {
        Ok(match self {
            Self::Agent(request) => director.dispatch(*request).await?,
            Self::Call(request) => director.dispatch_call(*request).await?,
            Self::Shell(request) => director.dispatch_shell(*request).await?,
        })
    }
}

/// Submits `order` and, unless it is to be left there, follows it to its end. The exit code says
/// whether the job is done.
pub(crate) async fn carry_out(
    session: &Session,
    order: Order,
    detach: bool,
    print: Print,
) -> Result<Exit, Failure> {
    let home = session.home()?;
    let config = session.config(&home)?;
    session.announce(&config, &home);
    match Door::find(&home).await? {
        Door::Holder(client) => with_holder(session, &client, order, detach, print).await,
        Door::Lock(lock) if detach => {
            let open = OpenHome::open(&home, lock, &config, Secrets::Left).await?;
            let submitted = order.give(&open.director).await?;
            session.printer.warning(
                "nobody runs this home: the job waits for the next `skep up` or `skep run`",
            );
            print_submitted(session, &submitted)
        }
        Door::Lock(lock) => as_holder(session, &home, lock, &config, order, print).await,
    }
}

async fn with_holder(
    session: &Session,
    client: &Client,
    order: Order,
    detach: bool,
    print: Print,
) -> Result<Exit, Failure> {
    let submitted = order.send(client).await?;
    if detach {
        return print_submitted(session, &submitted);
    }
    let mut signals = session.signals.clone();
    let job = tokio::select! {
        job = followed(session, client, &submitted) => job?,
        _ = signals.asked() => return Err(interrupted(&submitted, "goes on in the server")),
    };
    finished(session, &job, print)
}

async fn as_holder(
    session: &Session,
    home: &Home,
    lock: HomeLock,
    config: &Config,
    order: Order,
    print: Print,
) -> Result<Exit, Failure> {
    let open = OpenHome::open(home, lock, config, Secrets::Needed).await?;
    // Asked before anything runs, so that a refused request starts no engine, and after everything
    // that can fail at the start, so that a start that fails leaves no job.
    let served = ServedHome::serve(open)?;
    let submitted = order.give(served.director()).await?;
    let client = Client::at_socket(home.socket());
    let mut running = RunningHome::start(served, None).await?;
    let outcome = work(session, &mut running, &client, &submitted).await;
    running.stop().await;
    finished(session, &outcome?, print)
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

fn finished(session: &Session, job: &JobView, print: Print) -> Result<Exit, Failure> {
    if session.printer.json() {
        session.printer.document(job)?;
    } else {
        print(session, job)?;
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
