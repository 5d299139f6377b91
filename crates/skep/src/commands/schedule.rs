//! `skep schedule`: make schedules, look at them, stop and start them.

mod shown;
mod work;

use super::Session;
use super::order::Order;
use crate::cli::schedule::{Schedule, ScheduleAdd, ScheduleHistory, ScheduleNext, TimingArguments};
use crate::config::Secrets;
use crate::engine::OpenHome;
use crate::failure::{Exit, Failure};
use crate::reach::{Door, Reach};
use skep_api::{Page, PauseRequest, PrecheckRequest, ScheduleRequest, ScheduleView};
use skep_stdx::{Clock as _, SystemClock};
use skep_types::{FiringState, ScheduleState};

/// Runs one of the commands.
pub(crate) async fn schedule(session: &Session, command: &Schedule) -> Result<Exit, Failure> {
    match command {
        Schedule::Add(arguments) => add(session, arguments).await?,
        Schedule::List => list(session).await?,
        Schedule::Show(named) => {
            let found = session.reach().await?.schedule(&named.name).await?;
            if session.printer.json() {
                session.printer.document(&found)?;
            } else {
                shown::schedule(&session.printer, &found)?;
            }
        }
        Schedule::Next(arguments) => next(session, arguments).await?,
        Schedule::Pause(arguments) => {
            let request = PauseRequest {
                reason: arguments.reason.clone(),
            };
            let reach = session.reach().await?;
            let changed = reach.pause_schedule(&arguments.name, request).await?;
            print_changed(session, &reach, &changed, "is paused")?;
        }
        Schedule::Resume(named) => {
            let reach = session.reach().await?;
            let changed = reach.resume_schedule(&named.name).await?;
            print_changed(session, &reach, &changed, "fires again")?;
        }
        Schedule::Run(named) => run_now(session, &named.name).await?,
        Schedule::Remove(named) => {
            let reach = session.reach().await?;
            let changed = reach.remove_schedule(&named.name).await?;
            print_changed(
                session,
                &reach,
                &changed,
                "is gone; its history stays under its id",
            )?;
        }
        Schedule::History(arguments) => history(session, arguments).await?,
    }
    Ok(Exit::Done)
}

async fn add(session: &Session, arguments: &ScheduleAdd) -> Result<(), Failure> {
    let request = request(arguments)?;
    let home = session.home()?;
    let config = session.config(&home)?;
    session.announce(&config, &home);
    let reach = match Door::find(&home).await? {
        Door::Holder(client) => Reach::Holder(client),
        Door::Lock(lock) => {
            let open = OpenHome::open(&home, lock, &config, Secrets::Left).await?;
            Reach::Direct(Box::new(open))
        }
    };
    let added = reach.add_schedule(request).await?;
    for warning in &added.warnings {
        session.printer.warning(warning);
    }
    print_changed(session, &reach, &added, "is added")
}

fn request(arguments: &ScheduleAdd) -> Result<ScheduleRequest, Failure> {
    let (when, zone) = timing(&arguments.timing)?;
    let (job, call, shell) = match work::order(arguments)? {
        Order::Agent(request) => (Some(*request), None, None),
        Order::Call(request) => (None, Some(*request), None),
        Order::Shell(request) => (None, None, Some(*request)),
    };
    Ok(ScheduleRequest {
        name: arguments.name.clone(),
        when,
        zone,
        jitter_s: arguments.jitter,
        overlap: arguments.overlap,
        overlap_max: arguments.overlap_max,
        catch_up: arguments.catch_up,
        catch_up_max: arguments.catch_up_max,
        catch_up_window_s: arguments.catch_up_window,
        pause_after: arguments.pause_after,
        precheck: arguments.precheck.clone().map(|command| PrecheckRequest {
            command,
            nothing_to_do: arguments.precheck_nothing,
            seconds_max: arguments.precheck_limit,
        }),
        owner: arguments.owner.clone(),
        job,
        call,
        shell,
    })
}

fn timing(arguments: &TimingArguments) -> Result<(String, Option<String>), Failure> {
    let when = match (&arguments.cron, &arguments.every) {
        (Some(line), _) => line.clone(),
        (None, Some(length)) => format!("every {length}"),
        (None, None) => {
            return Err(Failure::usage(
                "timing_missing",
                "it is not said when the schedule fires",
                "give `--cron \"0 7 * * 1-5\"` or `--every 15m`",
            ));
        }
    };
    Ok((when, arguments.tz.clone()))
}

async fn list(session: &Session) -> Result<(), Failure> {
    let page = match session.reach().await {
        Ok(reach) => reach.schedules().await?,
        // A home that nobody has made holds no schedules, which is what a list says best.
        Err(Failure::Shown(body)) if body.code == "home_not_found" => Page {
            items: Vec::new(),
            next_cursor: None,
        },
        Err(failure) => return Err(failure),
    };
    if session.printer.json() {
        return session.printer.document(&page);
    }
    if page.items.is_empty() {
        session.printer.note("no schedules");
        return Ok(());
    }
    shown::list(&session.printer, &page.items)?;
    for found in page
        .items
        .iter()
        .filter(|found| found.state == ScheduleState::AutoPaused)
    {
        session.printer.warning(&format!(
            "{} paused itself: {}; `skep schedule history {0}` shows why, `skep schedule resume {0}` \
             starts it again",
            found.name,
            found.state_reason.as_deref().unwrap_or("too many failures"),
        ));
    }
    Ok(())
}

async fn next(session: &Session, arguments: &ScheduleNext) -> Result<(), Failure> {
    let preview = match &arguments.name {
        Some(name) => {
            let reach = session.reach().await?;
            reach.schedule_next(name, arguments.count).await?
        }
        None => {
            let (when, zone) = timing(&arguments.timing)?;
            let zone = zone.as_deref().unwrap_or("UTC");
            let from = arguments.from.unwrap_or_else(|| SystemClock.now_ms());
            skep_director::preview(&when, zone, from, Some(arguments.count))?
        }
    };
    if session.printer.json() {
        return session.printer.document(&preview);
    }
    shown::preview(&session.printer, &preview)
}

async fn run_now(session: &Session, name: &str) -> Result<(), Failure> {
    let reach = session.reach().await?;
    let firing = reach.run_schedule(name).await?;
    if session.printer.json() {
        return session.printer.document(&firing);
    }
    let what = match (firing.state, firing.job_number) {
        (FiringState::Running, Some(number)) => format!("job {number} is queued"),
        (FiringState::Waiting, _) => "the run waits for the end of an earlier one".to_owned(),
        (FiringState::Checking, _) => "the pre-check comes first".to_owned(),
        (state, _) => format!("the run is {}", state.as_str().replace('_', " ")),
    };
    session.printer.line(&what)?;
    if !reach.has_holder() {
        session
            .printer
            .note("nobody runs this home: it waits for the next `skep up` or `skep run`");
    }
    Ok(())
}

async fn history(session: &Session, arguments: &ScheduleHistory) -> Result<(), Failure> {
    let reach = session.reach().await?;
    let page = reach
        .firings(
            &arguments.name,
            arguments.page.cursor.as_deref(),
            arguments.page.limit,
        )
        .await?;
    if session.printer.json() {
        return session.printer.document(&page);
    }
    if page.items.is_empty() {
        session.printer.note("no time of it has come yet");
        return Ok(());
    }
    shown::history(&session.printer, &page.items)?;
    if let Some(cursor) = &page.next_cursor {
        session
            .printer
            .note(&format!("more with `--cursor {cursor}`"));
    }
    Ok(())
}

fn print_changed(
    session: &Session,
    reach: &Reach,
    changed: &ScheduleView,
    what: &str,
) -> Result<(), Failure> {
    if session.printer.json() {
        return session.printer.document(changed);
    }
    session.printer.line(&format!(
        "schedule {} {what} ({})",
        changed.name, changed.id
    ))?;
    if let Some(next) = &changed.next {
        session.printer.line(&format!("next run {}", next.local))?;
    }
    if changed.state == ScheduleState::Active && !reach.has_holder() {
        session
            .printer
            .note("nobody runs this home: it fires while `skep up` runs");
    }
    Ok(())
}
