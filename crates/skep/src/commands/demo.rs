//! `skep demo`: the main job, end to end, without a key.

use super::Session;
use crate::cli::Demo;
use crate::config::{Config, Secrets};
use crate::demo::{Cast, Outcome, Scene};
use crate::engine::{OpenHome, RunningHome, ServedHome};
use crate::failure::{Exit, Failure};
use crate::output::{Tone, table_columns};
use crate::progress::Seen;
use crate::reach::Door;
use crate::table::{Align, Cell, Table};
use skep_api::{JobSubmitted, JobView};
use skep_director::{Director, Home, JobQuery};
use skep_stdx::{Entropy as _, OsEntropy, Stopwatch};
use skep_types::{JobId, JobState, Purpose, Verdict};
use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

/// The longest the demonstration may take before it says what it hangs on, in milliseconds.
const DEMO_MS_MAX: u64 = 600_000;
/// Events read at a time.
const EVENTS_MAX: i64 = 200;

/// Runs the demonstration.
pub(crate) async fn demo(session: &Session, arguments: &Demo) -> Result<Exit, Failure> {
    let watch = Stopwatch::start();
    let folder = folder(session, arguments)?;
    let home = match &session.global.home {
        Some(_) => session.home()?,
        None => Home::at(folder.join("home")),
    };
    let scene = Scene::set(folder).await?;
    let config = Config::load(Some(&scene.config), home.root())?;
    session
        .printer
        .note(&format!("repository: {}", scene.repo.display()));
    let Door::Lock(lock) = Door::find(&home).await? else {
        return Err(Failure::usage(
            "home_in_use",
            format!("{} is in use by a server", home.root().display()),
            "leave `--home` out: the demonstration makes a home of its own",
        ));
    };
    let open = OpenHome::open(&home, lock, &config, Secrets::Needed).await?;
    let mut running = RunningHome::start(ServedHome::serve(open)?, None).await?;
    let director = running.director().clone();
    let mut signals = session.signals.clone();
    let deadline = Duration::from_millis(DEMO_MS_MAX);
    let outcome = tokio::select! {
        outcome = play(session, &director, &scene, &watch) => outcome,
        _ = signals.asked() => Err(Failure::unsuccessful("interrupted", "the demonstration was interrupted", "run it again")),
        failure = running.engine_ended() => Err(failure),
        () = tokio::time::sleep(deadline) => Err(Failure::unsuccessful(
            "demo_hangs",
            "the demonstration did not end in ten minutes",
            format!("`skep --home {} job list` shows what it hangs on", home.root().display()),
        )),
    };
    running.stop().await;
    let outcome = outcome?;
    if session.printer.json() {
        session.printer.document(&outcome)?;
    } else {
        print(session, &home, &scene, &outcome)?;
    }
    Ok(if outcome.ok {
        Exit::Done
    } else {
        Exit::Unsuccessful
    })
}

/// The folder asked for, a folder in the home asked for, or a new one among temporary files.
fn folder(session: &Session, arguments: &Demo) -> Result<PathBuf, Failure> {
    let mut random = [0; 4];
    OsEntropy.fill(&mut random);
    let name = format!("skep-demo-{:08x}", u32::from_le_bytes(random));
    let chosen = match (&arguments.dir, &session.global.home) {
        (Some(dir), _) => dir.clone(),
        (None, Some(_)) => session.home()?.root().join(name),
        (None, None) => std::env::temp_dir().join(name),
    };
    let unusable = |reason: String| {
        Failure::usage(
            "folder_unusable",
            reason,
            "name a new or empty folder with `--dir`",
        )
    };
    let chosen = std::path::absolute(&chosen).map_err(|e| unusable(e.to_string()))?;
    let is_taken = std::fs::read_dir(&chosen).is_ok_and(|mut entries| entries.next().is_some());
    if is_taken {
        return Err(unusable(format!("{} is not empty", chosen.display())));
    }
    Ok(chosen)
}

/// Asks for every job, tells what happens, and reads the end off the documents.
async fn play(
    session: &Session,
    director: &Director,
    scene: &Scene,
    watch: &Stopwatch,
) -> Result<Outcome, Failure> {
    let mut names: HashMap<JobId, String> = HashMap::new();
    for Cast { worker, request } in scene.cast() {
        let JobSubmitted { id, number, .. } = director.dispatch(request).await?;
        names.insert(id, format!("{number} {worker}"));
    }
    follow(session, director, names, watch).await?;
    let page = director
        .jobs(&JobQuery {
            limit: Some(EVENTS_MAX),
            ..JobQuery::default()
        })
        .await?;
    let mut jobs = Vec::new();
    for summary in page.items.iter().rev() {
        jobs.push(director.job(summary.id.as_str()).await?);
    }
    let ledger = director.verify_ledger().await?;
    Ok(Outcome::of(
        scene.repo.display().to_string(),
        jobs,
        &ledger,
        watch.elapsed_ms(),
    ))
}

/// Prints what happens until nothing moves any more.
async fn follow(
    session: &Session,
    director: &Director,
    mut names: HashMap<JobId, String>,
    watch: &Stopwatch,
) -> Result<(), Failure> {
    let mut changed = director.listen();
    let mut seen: HashMap<JobId, Seen> = HashMap::new();
    let mut seq = 0;
    loop {
        let events = director.events(seq, None, EVENTS_MAX).await?;
        for event in &events {
            seq = event.seq;
            let Ok(job) = event.subject.parse::<JobId>() else {
                continue;
            };
            if !names.contains_key(&job) {
                let view = director.job(job.as_str()).await?;
                names.insert(job.clone(), format!("{} {}", view.number, view.worker));
            }
            let name = names.get(&job).map_or("", String::as_str);
            if let Some(step) = seen.entry(job).or_default().take(event) {
                let seconds = watch.elapsed_ms() / 100;
                session.printer.note(&format!(
                    "{:>4}.{}s  {name:<11} {step}",
                    seconds / 10,
                    seconds % 10
                ));
            }
        }
        if events.is_empty() {
            if director.live_jobs().await? == 0 {
                return Ok(());
            }
            // The wake is a hint; the timer makes sure that a missed one is no hang.
            drop(tokio::time::timeout(Duration::from_millis(500), changed.changed()).await);
        }
    }
}

fn print(session: &Session, home: &Home, scene: &Scene, outcome: &Outcome) -> Result<(), Failure> {
    let printer = &session.printer;
    let mut table = Table::new(&[
        ("job", Align::Right),
        ("worker", Align::Left),
        ("what happened", Align::Flexible),
        ("state", Align::Left),
        ("cost", Align::Right),
    ]);
    for job in &outcome.jobs {
        let tone = if job.state == JobState::Done {
            Tone::Good
        } else {
            Tone::Attention
        };
        table.row(vec![
            job.number.to_string().into(),
            job.worker.clone().into(),
            story(job).into(),
            Cell::toned(job.state.as_str(), tone),
            job.cost_micro_usd.to_string().into(),
        ]);
    }
    printer.line("")?;
    for line in table.lines(printer, table_columns()) {
        printer.line(&line)?;
    }
    let caught = outcome.caught;
    let ledger = if outcome.ledger.verified {
        "ok"
    } else {
        "BROKEN"
    };
    let root = home.root().display();
    let lines = [
        String::new(),
        format!(
            "caught         {} false claim, {} escape from scope, {} budget overrun",
            caught.false_claims, caught.scope_escapes, caught.budget_stops
        ),
        format!("cost           {} at list price", outcome.cost()),
        format!("ledger verify: {ledger} ({} events)", outcome.ledger.events),
        format!(
            "time           {}.{} s",
            outcome.wall_ms / 1000,
            outcome.wall_ms % 1000 / 100
        ),
        String::new(),
        format!("repository     {}", scene.repo.display()),
        format!("home           {root}"),
        String::new(),
        "Look closer:".to_owned(),
        format!("  skep --home {root} job show 1"),
        format!("  skep --home {root} ledger verify"),
        format!("  git -C {} log --graph --oneline", scene.repo.display()),
        String::new(),
        "With a real model:".to_owned(),
    ];
    for line in lines {
        printer.line(&line)?;
    }
    for line in next_steps() {
        printer.line(&format!("  {line}"))?;
    }
    if !outcome.ok {
        printer.warning("not everything happened that was to happen; the table shows what did");
    }
    Ok(())
}

/// One job in a sentence.
fn story(job: &JobView) -> String {
    if job.purpose == Purpose::Review {
        return "reviewed by a model of another family".to_owned();
    }
    let mut parts = Vec::new();
    if job.attempts.iter().any(|attempt| attempt.refusals > 0) {
        parts.push("write outside its scope refused by the kernel".to_owned());
    }
    let invalid = job
        .verdicts
        .iter()
        .filter(|v| v.result == Verdict::Invalid)
        .count();
    if invalid > 0 {
        parts.push("false claim caught and reworked".to_owned());
    }
    if job.state == JobState::WaitingBudget {
        let limit = job
            .budget_micro_usd
            .map(|b| b.to_string())
            .unwrap_or_default();
        parts.push(format!("stopped before a call that would pass {limit}"));
    }
    if let (Some(commit), JobState::Done) = (&job.landing.commit, job.state) {
        parts.push(format!("landed {}", commit.get(..8).unwrap_or(commit)));
    }
    parts.join("; ")
}

/// The next three commands, by what this machine has.
fn next_steps() -> Vec<String> {
    let has_key = std::env::var_os("ANTHROPIC_API_KEY").is_some_and(|key| !key.is_empty());
    let key = if has_key {
        "ANTHROPIC_API_KEY is set"
    } else {
        "export ANTHROPIC_API_KEY=…"
    };
    let agent = ["claude", "codex", "opencode", "gemini"]
        .into_iter()
        .find(|name| on_path(name));
    let mut lines = vec![
        format!("1. {key}; name it in skep.toml (see skep.example.toml)"),
        "2. skep doctor".to_owned(),
        "3. skep run \"Fix the failing test\" --repo . --check \"cargo test\"".to_owned(),
    ];
    if let Some(agent) = agent {
        lines.push(format!("`{agent}` is installed: a worker with harness = \"exec\" and command = [\"{agent}\", …] runs it"));
    }
    lines
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}
