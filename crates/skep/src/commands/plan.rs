//! `skep plan`: several jobs in order, from a file; with whoever holds the home, or as its holder.

mod file;
mod kinds;
mod tree;

use super::Session;
use super::absolute;
use crate::cli::{Plan, PlanRun};
use crate::config::{Config, Secrets};
use crate::engine::{OpenHome, RunningHome, ServedHome};
use crate::failure::{Exit, Failure};
use crate::home_lock::HomeLock;
use crate::progress::clock;
use crate::reach::{Door, Reach};
use skep_api::{Client, PlanRequest, PlanView};
use skep_director::Home;
use skep_stdx::Stopwatch;
use skep_types::JobState;
use std::collections::BTreeMap;
use std::time::Duration;

/// How often a plan that is followed is looked at, in milliseconds.
const PLAN_POLL_MS: u64 = 250;

/// Runs one of the commands.
pub(crate) async fn plan(session: &Session, command: &Plan) -> Result<Exit, Failure> {
    match command {
        Plan::Run(arguments) => run(session, arguments).await,
        Plan::Check(arguments) => {
            let request = file::read(&arguments.file)?;
            let home = session.home()?;
            let config = session.config(&home)?;
            let reach = match Door::find(&home).await? {
                Door::Holder(client) => Reach::Holder(client),
                Door::Lock(lock) => {
                    let open = OpenHome::open(&home, lock, &config, Secrets::Left).await?;
                    Reach::Direct(Box::new(open))
                }
            };
            print(session, &reach.check_plan(&request).await?)?;
            Ok(Exit::Done)
        }
        Plan::Show(arguments) => {
            let view = session.reach().await?.plan(&arguments.plan).await?;
            print(session, &view)?;
            Ok(Exit::Done)
        }
    }
}

fn print(session: &Session, view: &PlanView) -> Result<(), Failure> {
    if session.printer.json() {
        return session.printer.document(view);
    }
    for warning in &view.warnings {
        session.printer.warning(warning);
    }
    tree::print(&session.printer, view)
}

async fn run(session: &Session, arguments: &PlanRun) -> Result<Exit, Failure> {
    let mut request = file::read(&arguments.file)?;
    if arguments.idempotency_key.is_some() {
        request
            .idempotency_key
            .clone_from(&arguments.idempotency_key);
    }
    let home = session.home()?;
    let config = session.config(&home)?;
    session.announce(&config, &home);
    match Door::find(&home).await? {
        Door::Holder(client) => with_holder(session, &client, &request, arguments.detach).await,
        Door::Lock(lock) if arguments.detach => {
            let open = OpenHome::open(&home, lock, &config, Secrets::Left).await?;
            let view = Reach::Direct(Box::new(open)).run_plan(&request).await?;
            session.printer.warning(
                "nobody runs this home: the plan waits for the next `skep up` or `skep run`",
            );
            print(session, &view)?;
            Ok(Exit::Done)
        }
        Door::Lock(lock) => as_holder(session, &home, lock, &config, &request).await,
    }
}

async fn with_holder(
    session: &Session,
    client: &Client,
    request: &PlanRequest,
    detach: bool,
) -> Result<Exit, Failure> {
    let view = client.run_plan(request).await?;
    if detach {
        print(session, &view)?;
        return Ok(Exit::Done);
    }
    let mut signals = session.signals.clone();
    let ended = tokio::select! {
        ended = followed(session, client, &view) => ended?,
        _ = signals.asked() => return Err(interrupted(&view, "goes on in the server")),
    };
    finished(session, &ended)
}

async fn as_holder(
    session: &Session,
    home: &Home,
    lock: HomeLock,
    config: &Config,
    request: &PlanRequest,
) -> Result<Exit, Failure> {
    let open = OpenHome::open(home, lock, config, Secrets::Needed).await?;
    // As with a single job: a plan that is refused starts no engine.
    let served = ServedHome::serve(open)?;
    let view = served.director().run_plan(request).await?;
    let client = Client::at_socket(home.socket());
    let mut running = RunningHome::start(served, None).await?;
    let ended = work(session, &mut running, &client, &view).await;
    running.stop().await;
    finished(session, &ended?)
}

/// Follows the plan to its end, then whatever else this home has to do.
async fn work(
    session: &Session,
    running: &mut RunningHome,
    client: &Client,
    view: &PlanView,
) -> Result<PlanView, Failure> {
    let director = running.director().clone();
    let mut signals = session.signals.clone();
    loop {
        let one_round = async {
            let ended = followed(session, client, view).await?;
            while director.live_jobs().await? > 0 {
                tokio::time::sleep(Duration::from_millis(PLAN_POLL_MS)).await;
            }
            Ok::<PlanView, Failure>(ended)
        };
        let ended = tokio::select! {
            ended = one_round => ended?,
            _ = signals.asked() => {
                return Err(interrupted(view, "is taken up by the next `skep up` or `skep run`"));
            }
            failure = running.engine_ended() => return Err(failure),
        };
        if running.may_leave().await? {
            return Ok(ended);
        }
    }
}

/// Says what changes until the plan has ended, or nothing of it moves without a person.
async fn followed(
    session: &Session,
    client: &Client,
    view: &PlanView,
) -> Result<PlanView, Failure> {
    let Some(id) = &view.id else {
        return Ok(view.clone());
    };
    for warning in &view.warnings {
        session.printer.warning(warning);
    }
    let number = view.number.unwrap_or_default();
    session.printer.note(&format!("plan {number} ({id})"));
    let watch = Stopwatch::start();
    let mut seen: BTreeMap<String, JobState> = BTreeMap::new();
    loop {
        let now = client.plan(id.as_str()).await?;
        for node in &now.nodes {
            if seen.insert(node.name.clone(), node.state) == Some(node.state) {
                continue;
            }
            let why = node.state_reason.as_deref();
            let why = why.map_or_else(String::new, |why| format!(": {why}"));
            let time = clock(watch.elapsed().as_secs());
            session
                .printer
                .note(&format!("{time:>6}  {}  {}{why}", node.name, node.state));
        }
        let moves = |state: JobState| !state.is_terminal() && !rests(state);
        let rests_whole = !now.nodes.iter().any(|node| moves(node.state));
        if now.state.is_terminal() || (now.state == JobState::WaitingChildren && rests_whole) {
            return Ok(now);
        }
        tokio::time::sleep(Duration::from_millis(PLAN_POLL_MS)).await;
    }
}

/// Whether a job in this state waits for a person, or for other jobs.
const fn rests(state: JobState) -> bool {
    matches!(
        state,
        JobState::WaitingHuman | JobState::WaitingBudget | JobState::Paused | JobState::Blocked
    )
}

fn finished(session: &Session, view: &PlanView) -> Result<Exit, Failure> {
    if session.printer.json() {
        session.printer.document(view)?;
    } else {
        tree::print(&session.printer, view)?;
    }
    Ok(if view.state == JobState::Done {
        Exit::Done
    } else {
        Exit::Unsuccessful
    })
}

fn interrupted(view: &PlanView, what_becomes: &str) -> Failure {
    let number = view.number.unwrap_or_default();
    Failure::unsuccessful(
        "interrupted",
        format!("interrupted before plan {number} ended; it {what_becomes}"),
        format!(
            "`skep plan show {number}` says where it stands, `skep job cancel {number}` ends it"
        ),
    )
}
