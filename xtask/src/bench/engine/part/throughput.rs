//! Lifecycles a second, for a moment and for long.

use super::super::figure::{Figure, Group, Runs, greatest, least};
use super::super::peer::{BULLMQ, CELERY, GRAPHILE, PGBOSS, PROCRASTINATE, Peer};
use super::super::stand::{Contender, PeerStore, Stand};
use super::super::store::Fsync;
use super::{Asked, SIXTEEN, Shape, asked, commit_ms, ours, peer_rate};
use crate::report::number;
use anyhow::Result;

const ONE_EACH: Shape = (128, 1);
/// What suits the peers that have batches best.
const HUNDRED: Shape = (8, 100);
/// The shape of the long runs, for all.
const LONG: Shape = HUNDRED;

const CEILING_SHARE: f64 = 0.7;
const SQLITE_SIXTEEN: f64 = 20_000.0;
const SUSTAINED: f64 = 10_000.0;
const PINNED: f64 = 5_000.0;

const CELERY_DEFAULT: &str = r#"{"workers": 4, "processes": 1, "celery": {}}"#;
const CELERY_TUNED: &str = r#"{"workers": 4, "processes": 1,
    "celery": {"worker_prefetch_multiplier": 128, "task_ignore_result": true}}"#;
const CELERY_SAFE: &str = r#"{"workers": 4, "processes": 1,
    "celery": {"worker_prefetch_multiplier": 1, "task_acks_late": true}}"#;
const PROCRASTINATE_WORKERS: &str = r#"{"workers": 2}"#;

/// The peers on PostgreSQL, with the settings of their drivers.
const POSTGRES_PEERS: [(&Peer, &str); 3] = [
    (&GRAPHILE, "{}"),
    (&PGBOSS, "{}"),
    (&PROCRASTINATE, PROCRASTINATE_WORKERS),
];

pub(super) fn sqlite(stand: &mut Stand) -> Result<Vec<Group>> {
    let both = [
        PeerStore::Redis(Fsync::Always),
        PeerStore::Redis(Fsync::EverySecond),
    ];
    let mut contenders = vec![
        rate(stand, "skep", "sqlite", ONE_EACH, ""),
        rate(
            stand,
            "skep, no payload, no result",
            "sqlite",
            ONE_EACH,
            "--bare",
        ),
    ];
    for store in both {
        contenders.push(peer_rate(&BULLMQ, "", asked(stand, store, ONE_EACH, "{}")));
    }
    for store in both {
        for (variant, further) in [
            ("", CELERY_DEFAULT),
            (" tuned", CELERY_TUNED),
            (" safe", CELERY_SAFE),
        ] {
            let asked = asked(stand, store, ONE_EACH, further);
            contenders.push(peer_rate(&CELERY, variant, asked));
        }
    }
    let on_postgres = asked(stand, PeerStore::Postgres, ONE_EACH, PROCRASTINATE_WORKERS);
    contenders.push(peer_rate(&PROCRASTINATE, "", on_postgres));
    let all = stand.measure(stand.plan.repetitions, &contenders)?;
    let mut one = Group::of(
        title("SQLite FULL", ONE_EACH),
        "1/s",
        true,
        &all,
        "/per_second",
    );
    ceiling(&mut one, &all);
    events(&mut one, &all);

    let mut contenders = vec![
        rate(stand, "skep", "sqlite", SIXTEEN, ""),
        rate(
            stand,
            "skep, no payload, no result",
            "sqlite",
            SIXTEEN,
            "--bare",
        ),
    ];
    for store in both {
        contenders.push(peer_rate(&BULLMQ, "", asked(stand, store, SIXTEEN, "{}")));
    }
    let all = stand.measure(stand.plan.repetitions, &contenders)?;
    let mut sixteen = Group::of(
        title("SQLite FULL", SIXTEEN),
        "1/s",
        true,
        &all,
        "/per_second",
    );
    for figure in &mut sixteen.ours {
        *figure = figure
            .clone()
            .target(SQLITE_SIXTEEN, format!("at least {SQLITE_SIXTEEN}"));
    }
    Ok(vec![one, sixteen])
}

pub(super) fn postgres(stand: &mut Stand) -> Result<Vec<Group>> {
    let mut groups = Vec::new();
    for shape in [ONE_EACH, SIXTEEN, HUNDRED] {
        let mut contenders = vec![rate(stand, "skep", "postgres", shape, "")];
        for (peer, further) in POSTGRES_PEERS {
            let asked = asked(stand, PeerStore::Postgres, shape, further);
            contenders.push(peer_rate(peer, "", asked));
        }
        let all = stand.measure(stand.plan.repetitions, &contenders)?;
        let title = title("PostgreSQL", shape);
        let mut group = Group::of(title, "1/s", true, &all, "/per_second");
        if shape == SIXTEEN {
            events(&mut group, &all);
        }
        groups.push(group);
    }
    Ok(groups)
}

pub(super) fn sustained(stand: &mut Stand) -> Result<Vec<Group>> {
    let [our_s, their_s] = stand.plan.sustained_s;
    let sample = stand.plan.sample_s;
    let store = PeerStore::Postgres;
    let contenders = long(stand, [our_s, their_s], sample, store);
    let all = stand.measure(1, &contenders)?;
    let title = format!(
        "{} for {our_s} s, peers for {their_s} s",
        title("PostgreSQL", LONG)
    );
    let mut group = Group::of(title, "1/s", true, &all, "/per_second");
    add_lowest(&mut group, &all, SUSTAINED, sample);
    Ok(vec![group])
}

pub(super) fn pinned(stand: &mut Stand) -> Result<Vec<Group>> {
    let seconds = stand.plan.pinned_s;
    let sample = (seconds / 4).max(1);
    let contenders = long(stand, [seconds; 2], sample, PeerStore::PinnedPostgres);
    let all = stand.measure(stand.plan.repetitions, &contenders)?;
    let title = format!("{}, an old snapshot pinned", title("PostgreSQL", LONG));
    let mut group = Group::of(title, "1/s", true, &all, "/per_second");
    add_lowest(&mut group, &all, PINNED, sample);
    if let Some(dead) = all
        .first()
        .and_then(|runs| greatest(&runs.numbers("/dead_rows")))
    {
        let dead = number(dead);
        group.remarks.push(format!(
            "Dead rows of ours at the end of a run: up to {dead}."
        ));
    }
    Ok(vec![group])
}

/// Ours and every peer on PostgreSQL in the shape of the long runs.
fn long(
    stand: &Stand,
    [our_s, their_s]: [u64; 2],
    sample: u64,
    store: PeerStore,
) -> Vec<Contender> {
    let pinned = if store == PeerStore::PinnedPostgres {
        "--pinned"
    } else {
        ""
    };
    let words = rate_words("postgres", LONG, our_s, sample, pinned);
    let mut contenders = vec![ours("skep", words, our_s)];
    for (peer, further) in POSTGRES_PEERS {
        let asked = Asked {
            seconds: their_s,
            sample,
            ..asked(stand, store, LONG, further)
        };
        contenders.push(peer_rate(peer, "", asked));
    }
    contenders
}

/// The lowest sample of our series carries the target, and every series is shown.
fn add_lowest(group: &mut Group, all: &[Runs], target: f64, sample: u64) {
    for runs in all {
        let series = runs.series("/series");
        let shown: Vec<String> = series.iter().map(|rate| number(*rate)).collect();
        let who = &runs.who;
        group
            .remarks
            .push(format!("{who}, by {sample} s: {}.", shown.join(", ")));
        if let (true, Some(lowest)) = (runs.ours, least(&series)) {
            let figure = Figure::once(&format!("{who}, lowest {sample} s"), lowest);
            group
                .ours
                .push(figure.target(target, format!("at least {target}")));
        }
    }
}

/// Our throughput in a shape.
fn rate(stand: &Stand, who: &str, engine: &str, shape: Shape, further: &str) -> Contender {
    let seconds = stand.plan.seconds;
    let words = rate_words(engine, shape, seconds, seconds, further);
    ours(who, words, seconds)
}

fn rate_words(engine: &str, shape: Shape, seconds: u64, sample: u64, further: &str) -> String {
    let (clients, claim) = shape;
    format!(
        "throughput --engine {engine} --clients {clients} --claim {claim} --seconds {seconds} \
         --sample {sample} {further}"
    )
}

fn title(engine: &str, shape: Shape) -> String {
    let (clients, batch) = shape;
    let jobs = if batch == 1 {
        "one job each".to_owned()
    } else {
        format!("{batch} jobs each")
    };
    format!("lifecycles a second, {engine}, {clients} clients, {jobs}")
}

/// The bound of closed-loop clients: three commits to a lifecycle, as long as they took right
/// before each repetition.
fn ceiling(group: &mut Group, all: &[Runs]) {
    let commit = commit_ms(all, 0);
    let bound = |commit_ms: f64| CEILING_SHARE * f64::from(ONE_EACH.0) / (3.0 * commit_ms / 1e3);
    let target = bound(commit);
    for figure in &mut group.ours {
        let text = format!("at least {} (70 % of clients / 3 commits)", number(target));
        *figure = figure.clone().target(target, text);
    }
    let Some(ours) = group.ours.first().and_then(Figure::median) else {
        return;
    };
    // What a slower disk would leave as the bound; said because the formula has no processor.
    let slow = bound(4.0);
    group.remarks.push(format!(
        "The bound knows only the disk: at the median commit of {} ms, measured right before each \
         repetition, it is {} a second; at 4 ms it would be {}, and the median above is {} times \
         that.",
        number(commit),
        number(target),
        number(slow),
        number(ours / slow),
    ));
}

/// Says how many ledger events a job wrote.
fn events(group: &mut Group, all: &[Runs]) {
    let ours = all.iter().find(|runs| runs.ours);
    let events = ours
        .map(|runs| runs.numbers("/events_per_job"))
        .unwrap_or_default();
    group.remarks.push(match events.first() {
        Some(events) => format!(
            "The ledger is on: {} rows of events a job.",
            number(*events)
        ),
        None => "The ledger is on; its events have no row each to be counted.".to_owned(),
    });
}
