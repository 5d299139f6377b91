//! The page of one run. Every number in it was measured by that run.

use super::figure::{Figure, Group, greatest, least, median};
use super::peer::{Contract, PEERS, SKEP};
use super::plan::Plan;
use super::stand::Stand;
use super::store::{POSTGRES_SETTINGS, REDIS_SETTINGS, file_system};
use crate::machine;
use crate::options::Options;
use crate::report::number;

const HEAD: &str = "# The engine\n\nWhat the queue does, beside other queues, in one run on one \
    machine. Written by the command; a figure that misses its target stays.\n";

/// A busier machine than this while nothing of the run was at work makes figures doubtful.
const BUSY_SHARE_MAX: f64 = 0.1;

/// The page.
pub(super) fn text(stand: &Stand, groups: &[Group], options: &Options) -> String {
    let mut text = HEAD.to_owned();
    text.push_str(&format!(
        "\n    cargo xtask bench engine{}\n\n",
        flags(options)
    ));
    if stand.plan.quick {
        text.push_str(
            "**Quick form.** It proves that every part of the stand works. Its figures are of \
             seconds, taken once, and say nothing of the engine.\n\n",
        );
    }
    text.push_str(&machine_part(stand));
    text.push_str(&commits_part(stand));
    for group in groups {
        text.push_str(&group_part(group));
    }
    text.push_str(&contracts_part());
    text.push_str(&settings_part(stand));
    text.push_str(&shape_part(&stand.plan));
    text
}

fn flags(options: &Options) -> String {
    let engine = &options.engine;
    let mut flags = String::new();
    for (given, flag) in [
        (options.quick, " --quick"),
        (engine.full, " --full"),
        (engine.accept, " --accept"),
    ] {
        flags.push_str(if given { flag } else { "" });
    }
    if let Some(part) = &engine.only {
        flags.push_str(&format!(" --only {part}"));
    }
    if let Some(minutes) = engine.minutes {
        flags.push_str(&format!(" --minutes {minutes}"));
    }
    flags
}

fn machine_part(stand: &Stand) -> String {
    let percent = |value: Option<f64>| value.map_or("?".to_owned(), |v| number(v * 100.0));
    let doubtful = stand
        .busy
        .iter()
        .filter(|share| **share > BUSY_SHARE_MAX)
        .count();
    format!(
        "Machine: {}; stores on {}.\n\nOthers on it: before each of the {} measurements the cores \
         were watched while nothing of this run was at work: {} % busy at the median, {} % at \
         most, over {} % before {doubtful} of them.\n\n",
        machine::description(),
        file_system(&std::env::temp_dir()),
        stand.busy.len(),
        percent(median(&stand.busy)),
        percent(greatest(&stand.busy)),
        number(BUSY_SHARE_MAX * 100.0),
    )
}

fn commits_part(stand: &Stand) -> String {
    let mut text = String::from(
        "## One durable commit in this run\n\nOne caller, nobody else at the store; taken again \
         after every round.\n\n| What | Median | Min | Max | Taken |\n|---|---:|---:|---:|---:|\n",
    );
    for (what, times) in &stand.commits {
        text.push_str(&format!(
            "| {what} | {} | {} | {} | {} |\n",
            milliseconds(median(times)),
            milliseconds(least(times)),
            milliseconds(greatest(times)),
            times.len(),
        ));
    }
    text.push_str(
        "\nOurs is the median of a hundred commits each time, Redis and the bare disk are single \
         writes.\n",
    );
    text
}

fn milliseconds(value: Option<f64>) -> String {
    value.map_or("none".to_owned(), |value| format!("{value:.3} ms"))
}

fn group_part(group: &Group) -> String {
    let mut text = format!(
        "\n## {}\n\n| Queue | Median ({}) | Min | Max | Runs | Skep is | Target | Met |\n\
         |---|---:|---:|---:|---:|---:|---|---|\n",
        capitalized(&group.title),
        group.unit,
    );
    for figure in &group.ours {
        text.push_str(&figure_row(group, figure, ""));
    }
    for figure in &group.theirs {
        let ratio = group.ratio(figure);
        let ratio = ratio.map_or(String::new(), times);
        text.push_str(&figure_row(group, figure, &ratio));
    }
    let notes = group.ours.iter().chain(&group.theirs);
    for figure in notes.filter(|figure| !figure.note.is_empty()) {
        text.push_str(&format!("\n{}: {}.\n", figure.who, figure.note));
    }
    for remark in &group.remarks {
        text.push_str(&format!("\n{remark}\n"));
    }
    text
}

/// A ratio, with digits where it is small.
fn times(ratio: f64) -> String {
    if ratio < 0.1 {
        format!("{ratio:.4} x")
    } else {
        format!("{} x", number(ratio))
    }
}

fn figure_row(group: &Group, figure: &Figure, ratio: &str) -> String {
    let cell = |value: Option<f64>| value.map_or("none".to_owned(), number);
    let met = match figure.met(group.more_is_better) {
        None => "",
        Some(true) => "yes",
        Some(false) => "**no**",
    };
    format!(
        "| {} | {} | {} | {} | {} | {ratio} | {} | {met} |\n",
        figure.who,
        cell(figure.median()),
        cell(least(&figure.samples)),
        cell(greatest(&figure.samples)),
        figure.samples.len(),
        figure
            .target
            .as_ref()
            .map_or("", |target| target.text.as_str()),
    )
}

fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |first| {
        first.to_uppercase().chain(chars).collect()
    })
}

fn contracts_part() -> String {
    let mut text = String::from(
        "\n## What each of them promises\n\nA lifecycle is the same for all: 200 bytes in, claimed, \
         worked on by code that does nothing, 100 bytes out, each step acknowledged. What the \
         acknowledgements are worth is not.\n\n| Queue | Its word on an enqueue | What holds a \
         claim | Its word on a completion | What is left |\n|---|---|---|---|---|\n",
    );
    let mut row = |name: &str, contract: &Contract| {
        text.push_str(&format!(
            "| {name} | {} | {} | {} | {} |\n",
            contract.enqueue, contract.claim, contract.complete, contract.history
        ));
    };
    row("Skep", &SKEP);
    for peer in PEERS {
        row(peer.name, &peer.contract);
    }
    text
}

fn settings_part(stand: &Stand) -> String {
    let versions: Vec<String> = stand
        .versions
        .iter()
        .map(|(name, version)| format!("{name} {version}"))
        .collect();
    let mut text = format!(
        "\n## Settings\n\nVersions: {}.\n\nThe servers are private to the run, on the real disk, \
         the same for ours and for theirs.\n\n- PostgreSQL: fsync = on, {}, otherwise as it comes, \
         over a Unix socket.\n- Redis: {REDIS_SETTINGS}, over a Unix socket.\n- Skep: SQLite with \
         synchronous FULL and a write-ahead log; on PostgreSQL its own pool. The program, not a \
         server: the callers are tasks of one process.\n\n| Queue | Set to | As documented in \
         |\n|---|---|---|\n",
        versions.join(", "),
        POSTGRES_SETTINGS.trim().replace('\n', ", "),
    );
    for peer in PEERS {
        text.push_str(&format!(
            "| {} | {} | {} |\n",
            peer.name, peer.settings, peer.source
        ));
    }
    text
}

fn shape_part(plan: &Plan) -> String {
    format!(
        "\n## How it is measured\n\n- Throughput: {} s after a warm-up, {} times, in turns. Our \
         clients enqueue, claim and finish in a closed loop. A peer has as many producers, its own \
         worker, and at most 5000 jobs waiting, which lets its batches fill; what counts is what \
         its store says is done.\n- Pick-up: arrivals at a fixed rate that wait for nobody. The \
         clock starts when the enqueue is acknowledged and stops when the job's code begins; ours \
         is claimed by the loop of the director, woken by the queue.\n- Backlog: jobs of eight \
         projects and five priorities; one claimer, nobody else.\n- Growth: 64 clients, claims of \
         16; the cost is of the last jobs before each size. Bytes written are the position of \
         PostgreSQL's log, and on SQLite what the process hands to the kernel, which is the log \
         and the pages copied from it.\n- Idle: a fresh home, watched after five seconds.\n\nWhy \
         so: [decision record 024](../decisions/024-the-engine-is-measured-beside-its-peers.md).\n",
        plan.seconds, plan.repetitions,
    )
}
