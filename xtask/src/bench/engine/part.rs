//! What is promised, part by part: who is measured, how, and what has to be reached.

use super::figure::{Figure, Group, Runs, greatest, least};
use super::gate::Bytes;
use super::idle;
use super::peer::{BULLMQ, CELERY, GRAPHILE, PGBOSS, PROCRASTINATE, Peer};
use super::stand::{Asked, Contender, POSTGRES_COMMIT, PeerStore, SQLITE_COMMIT, Stand, Work};
use super::store::Fsync;
use crate::report::number;
use anyhow::{Context as _, Result};
use serde_json::Value;

/// A group of rows that can be asked for alone.
pub(super) struct Part {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) run: fn(&mut Stand) -> Result<Vec<Group>>,
}

/// Every part, in the order of the page.
pub(super) const PARTS: &[Part] = &[
    Part {
        name: "sqlite",
        about: "lifecycles a second on SQLite, beside BullMQ, Celery and Procrastinate",
        run: sqlite,
    },
    Part {
        name: "postgres",
        about: "lifecycles a second on PostgreSQL, beside graphile-worker, pg-boss, Procrastinate",
        run: postgres,
    },
    Part {
        name: "sustained",
        about: "the same for minutes on end",
        run: sustained,
    },
    Part {
        name: "pinned",
        about: "the same with an old snapshot pinned",
        run: pinned,
    },
    Part {
        name: "pickup",
        about: "from the acknowledged enqueue to the start, beside graphile-worker",
        run: pickup,
    },
    Part {
        name: "backlog",
        about: "one claim beside many waiting jobs",
        run: backlog,
    },
    Part {
        name: "growth",
        about: "the cost of a job while ever more have finished",
        run: growth,
    },
    Part {
        name: "bytes",
        about: "bytes of a finished job, held by the gate",
        run: bytes,
    },
    Part {
        name: "idle",
        about: "what a server does that has nothing to do",
        run: idle,
    },
];

/// Clients, and jobs in each of their transactions.
type Shape = (u32, u32);
const ONE_EACH: Shape = (128, 1);
const SIXTEEN: Shape = (64, 16);
/// What suits the peers that have batches best.
const HUNDRED: Shape = (8, 100);

// Targets.
const CEILING_SHARE: f64 = 0.7;
const SQLITE_SIXTEEN: f64 = 20_000.0;
const SUSTAINED: f64 = 10_000.0;
const PINNED: f64 = 5_000.0;
const PICKUP_COMMITS: [f64; 2] = [2.0, 5.0];
const CLAIM_MS: f64 = 10.0;
/// How much more a job may cost at the last size than at the first and still be called flat.
const FLAT: f64 = 1.25;
const IDLE_PERCENT: f64 = 1.0;

const PICKUP_RATE: u32 = 800;

fn ours(who: &str, words: String, seconds: u64) -> Contender {
    Contender {
        who: who.to_owned(),
        work: Work::Ours(words, Some(seconds)),
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

/// A peer's throughput in a shape.
fn peer_rate(peer: &'static Peer, variant: &str, asked: Asked) -> Contender {
    let fsync = match asked.store {
        PeerStore::Redis(fsync) => format!(", appendfsync {}", fsync.word()),
        PeerStore::Postgres | PeerStore::PinnedPostgres => String::new(),
    };
    Contender {
        who: format!("{}{variant}{fsync}", peer.name),
        work: Work::Peer(peer, asked),
    }
}

fn asked(stand: &Stand, store: PeerStore, shape: Shape, further: &'static str) -> Asked {
    Asked {
        mode: "throughput",
        store,
        clients: shape.0,
        batch: shape.1,
        seconds: stand.plan.seconds,
        sample: stand.plan.seconds,
        rate: 0,
        further,
    }
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

const CELERY_DEFAULT: &str = r#"{"workers": 4, "processes": 1, "celery": {}}"#;
const CELERY_TUNED: &str = r#"{"workers": 4, "processes": 1,
    "celery": {"worker_prefetch_multiplier": 128, "task_ignore_result": true}}"#;
const CELERY_SAFE: &str = r#"{"workers": 4, "processes": 1,
    "celery": {"worker_prefetch_multiplier": 1, "task_acks_late": true}}"#;
const PROCRASTINATE_WORKERS: &str = r#"{"workers": 2}"#;

fn sqlite(stand: &mut Stand) -> Result<Vec<Group>> {
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
    ceiling(stand, &mut one);
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

/// The bound of closed-loop clients: three commits to a lifecycle.
fn ceiling(stand: &Stand, group: &mut Group) {
    let commit = stand.commit_ms(SQLITE_COMMIT);
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
        "The bound knows only the disk: at this run's median commit of {} ms it is {} a second, at \
         4 ms it would be {}. The median above is {} of the latter.",
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

fn postgres(stand: &mut Stand) -> Result<Vec<Group>> {
    let mut groups = Vec::new();
    for shape in [ONE_EACH, SIXTEEN, HUNDRED] {
        let mut contenders = vec![rate(stand, "skep", "postgres", shape, "")];
        for peer in [&GRAPHILE, &PGBOSS] {
            contenders.push(peer_rate(
                peer,
                "",
                asked(stand, PeerStore::Postgres, shape, "{}"),
            ));
        }
        if shape != HUNDRED {
            let asked = asked(stand, PeerStore::Postgres, shape, PROCRASTINATE_WORKERS);
            contenders.push(peer_rate(&PROCRASTINATE, "", asked));
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

fn sustained(stand: &mut Stand) -> Result<Vec<Group>> {
    let [our_s, their_s] = stand.plan.sustained_s;
    let sample = stand.plan.sample_s;
    let words = rate_words("postgres", SIXTEEN, our_s, sample, "");
    let mut contenders = vec![ours("skep", words, our_s)];
    for peer in [&GRAPHILE, &PGBOSS] {
        let asked = Asked {
            seconds: their_s,
            sample,
            ..asked(stand, PeerStore::Postgres, SIXTEEN, "{}")
        };
        contenders.push(peer_rate(peer, "", asked));
    }
    let all = stand.measure(1, &contenders)?;
    let title =
        format!("sustained on PostgreSQL, 64 clients, 16 jobs each, {our_s} s, peers {their_s} s");
    let mut group = Group::of(title, "1/s", true, &all, "/per_second");
    add_lowest(&mut group, &all, SUSTAINED, sample);
    Ok(vec![group])
}

fn pinned(stand: &mut Stand) -> Result<Vec<Group>> {
    let seconds = stand.plan.pinned_s;
    let sample = (seconds / 4).max(1);
    let words = rate_words("postgres", SIXTEEN, seconds, sample, "--pinned");
    let mut contenders = vec![ours("skep", words, seconds)];
    for (peer, further) in [
        (&GRAPHILE, "{}"),
        (&PGBOSS, "{}"),
        (&PROCRASTINATE, PROCRASTINATE_WORKERS),
    ] {
        let asked = Asked {
            seconds,
            sample,
            ..asked(stand, PeerStore::PinnedPostgres, SIXTEEN, further)
        };
        contenders.push(peer_rate(peer, "", asked));
    }
    let all = stand.measure(stand.plan.repetitions, &contenders)?;
    let title = "the same with an old snapshot pinned in the same database";
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

fn pickup(stand: &mut Stand) -> Result<Vec<Group>> {
    let seconds = stand.plan.pickup_s;
    let mut contenders: Vec<Contender> = ["sqlite", "postgres"]
        .into_iter()
        .map(|engine| {
            let words = format!(
                "pickup --engine {engine} --rate {PICKUP_RATE} --seconds {seconds} --slots 64"
            );
            ours(&format!("skep on {engine}"), words, seconds)
        })
        .collect();
    for (variant, further) in [("", "{}"), (" unbatched", r#"{"batching": false}"#)] {
        let asked = Asked {
            mode: "pickup",
            seconds,
            rate: PICKUP_RATE,
            ..asked(stand, PeerStore::Postgres, (24, 1), further)
        };
        contenders.push(peer_rate(&GRAPHILE, variant, asked));
    }
    let all = stand.measure(stand.plan.repetitions, &contenders)?;
    let commits = [
        stand.commit_ms(SQLITE_COMMIT),
        stand.commit_ms(POSTGRES_COMMIT),
    ];
    let mut groups = Vec::new();
    for (share, bound) in [("p50", PICKUP_COMMITS[0]), ("p99", PICKUP_COMMITS[1])] {
        let title = format!("pick-up at {PICKUP_RATE} jobs a second, {share}");
        let mut group = Group::of(title, "ms", false, &all, &format!("/after_ack_ms/{share}"));
        for (figure, commit) in group.ours.iter_mut().zip(commits) {
            let text = format!("at most {} ({bound} commits)", number(bound * commit));
            *figure = figure.clone().target(bound * commit, text);
        }
        groups.push(group);
    }
    for share in ["p50", "p99"] {
        let title = format!("the same from the call of the enqueue on, {share}");
        let pointer = format!("/after_call_ms/{share}");
        groups.push(Group::of(title, "ms", false, &all, &pointer));
    }
    if let Some(last) = groups.last_mut() {
        for runs in &all {
            if let Some(unstarted) = greatest(&runs.numbers("/unstarted")).filter(|n| *n > 0.0) {
                let (who, unstarted) = (&runs.who, number(unstarted));
                last.remarks.push(format!(
                    "{who}: up to {unstarted} jobs had not started at the end."
                ));
            }
        }
    }
    Ok(groups)
}

fn backlog(stand: &mut Stand) -> Result<Vec<Group>> {
    let (jobs, claims) = (stand.plan.backlog_jobs, stand.plan.backlog_claims);
    let contenders = ["sqlite", "postgres"].into_iter().map(|engine| Contender {
        who: format!("skep on {engine}"),
        work: Work::Ours(
            format!("backlog --engine {engine} --jobs {jobs} --claims {claims}"),
            None,
        ),
    });
    let contenders: Vec<Contender> = contenders.collect();
    let all = stand.measure(stand.plan.repetitions, &contenders)?;
    let mut groups = Vec::new();
    for (what, pointer) in [
        ("one job, p50", "/one_ms/p50"),
        ("one job, p99", "/one_ms/p99"),
        ("16 jobs, p99", "/many_ms/p99"),
    ] {
        let title = format!("a claim of {what}, with {jobs} jobs waiting");
        let mut group = Group::of(title, "ms", false, &all, pointer);
        if pointer == "/one_ms/p99" {
            for figure in &mut group.ours {
                *figure = figure.clone().target(CLAIM_MS, format!("under {CLAIM_MS}"));
            }
        }
        groups.push(group);
    }
    let title = format!("enqueues a second while they were put in, {jobs} jobs in all");
    groups.push(Group::of(title, "1/s", true, &all, "/fill_per_second"));
    Ok(groups)
}

fn growth(stand: &mut Stand) -> Result<Vec<Group>> {
    let sizes: Vec<String> = stand.plan.growth_sizes.iter().map(u64::to_string).collect();
    let (window, (clients, claim)) = (stand.plan.growth_window, SIXTEEN);
    let contenders = ["sqlite", "postgres"].into_iter().map(|engine| Contender {
        who: format!("skep on {engine}"),
        work: Work::Ours(
            format!(
                "growth --engine {engine} --sizes {} --window {window} --clients {clients} \
                 --claim {claim}",
                sizes.join(",")
            ),
            None,
        ),
    });
    let contenders: Vec<Contender> = contenders.collect();
    let all = stand.measure(1, &contenders)?;
    let mut groups = Vec::new();
    for (what, unit, pointer) in [
        ("time", "us", "us_per_job"),
        ("bytes written", "B", "written_per_job"),
        ("bytes on disk", "B", "disk_per_job"),
    ] {
        let mut group = Group {
            title: format!("{what} of a job at {} finished jobs", sizes.join(", ")),
            unit,
            more_is_better: false,
            ours: Vec::new(),
            theirs: Vec::new(),
            remarks: Vec::new(),
        };
        for runs in &all {
            let at = |index: usize| runs.numbers(&format!("/rows/{index}/{pointer}"));
            let values: Vec<f64> = (0..sizes.len()).flat_map(at).collect();
            for (size, value) in sizes.iter().zip(&values) {
                let who = format!("{}, {size} finished", runs.who);
                group.ours.push(Figure::once(&who, *value));
            }
            if let (Some(first), Some(last), "us_per_job") =
                (values.first(), values.last(), pointer)
            {
                let who = format!("{}, last size divided by first", runs.who);
                let figure = Figure::once(&who, last / first);
                group.ours.push(
                    figure
                        .target(FLAT, format!("at most {FLAT}"))
                        .noted("a factor"),
                );
            }
        }
        groups.push(group);
    }
    Ok(groups)
}

fn bytes(stand: &mut Stand) -> Result<Vec<Group>> {
    let mut written = gate_group("bytes written for a finished job, one client, 16 jobs each");
    let mut disk = gate_group("bytes on disk for a finished job, one client, 16 jobs each");
    for engine in ["sqlite", "postgres"] {
        let jobs = stand.plan.gate_jobs;
        let words = format!("bytes --engine {engine} --claim 16 --jobs {jobs}");
        let document = stand.ours(&words, None)?;
        stand.postgres.sweep()?;
        let number = |name: &str| {
            document
                .get(name)
                .and_then(Value::as_f64)
                .context("no bytes")
        };
        let bytes = Bytes {
            written_per_job: number("written_per_job")?,
            disk_per_job: number("disk_per_job")?,
        };
        if stand.plan.accept {
            stand.gate.accept(engine, bytes)?;
        }
        let limit = stand.gate.limit(engine);
        let who = format!("skep on {engine}");
        for (group, value, limit) in [
            (
                &mut written,
                bytes.written_per_job,
                limit.map(|l| l.written_per_job),
            ),
            (&mut disk, bytes.disk_per_job, limit.map(|l| l.disk_per_job)),
        ] {
            let figure = Figure::once(&who, value);
            group.ours.push(match limit {
                Some(limit) => figure.target(limit, format!("gate: at most {limit:.0}")),
                None => figure.noted("nothing is accepted yet: --accept does"),
            });
        }
    }
    Ok(vec![written, disk])
}

fn gate_group(title: &str) -> Group {
    Group {
        title: title.to_owned(),
        unit: "B",
        more_is_better: false,
        ours: Vec::new(),
        theirs: Vec::new(),
        remarks: Vec::new(),
    }
}

fn idle(stand: &mut Stand) -> Result<Vec<Group>> {
    let seconds = stand.plan.idle_s;
    let group = |title: String, unit| Group {
        unit,
        title,
        ..gate_group("")
    };
    let mut processor = group(
        format!("idle for {seconds} s: processor time"),
        "% of a core",
    );
    let mut written = group(format!("idle for {seconds} s: bytes sent to the disk"), "B");
    for (engine, postgres) in [("sqlite", None), ("postgres", Some(&stand.postgres))] {
        let idle = idle::watch(&stand.product, postgres, seconds)?;
        let who = format!("skep up on {engine}");
        let percent = Figure::once(&who, idle.processor_percent);
        processor
            .ours
            .push(percent.target(IDLE_PERCENT, format!("under {IDLE_PERCENT}")));
        let changed = if idle.changed_files.is_empty() {
            "no file of the home changed".to_owned()
        } else {
            format!("changed: {}", idle.changed_files.join(", "))
        };
        let bytes = Figure::once(&who, idle.written_bytes).target(0.0, "none");
        written.ours.push(bytes.noted(&changed));
        if let Some([alone, beside]) = idle.wal_bytes {
            let figure = Figure::once("PostgreSQL's log beside skep up", beside);
            let note = format!("{alone} with nobody there");
            written.ours.push(
                figure
                    .target(alone, "what the server writes alone")
                    .noted(&note),
            );
        }
    }
    stand.postgres.sweep()?;
    Ok(vec![processor, written])
}
