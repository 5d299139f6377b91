//! What is promised, part by part: who is measured, how, and what has to be reached.

mod cost;
mod latency;
mod throughput;

use super::figure::{Group, Runs, median};
use super::peer::Peer;
use super::stand::{Asked, Contender, PeerStore, Stand, Work};
use anyhow::Result;

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
        run: throughput::sqlite,
    },
    Part {
        name: "postgres",
        about: "lifecycles a second on PostgreSQL, beside graphile-worker, pg-boss, Procrastinate",
        run: throughput::postgres,
    },
    Part {
        name: "sustained",
        about: "the same for minutes on end",
        run: throughput::sustained,
    },
    Part {
        name: "pinned",
        about: "the same with an old snapshot pinned",
        run: throughput::pinned,
    },
    Part {
        name: "pickup",
        about: "from the acknowledged enqueue to the start, beside graphile-worker",
        run: latency::pickup,
    },
    Part {
        name: "backlog",
        about: "one claim beside many waiting jobs",
        run: latency::backlog,
    },
    Part {
        name: "growth",
        about: "the cost of a job while ever more have finished",
        run: cost::growth,
    },
    Part {
        name: "bytes",
        about: "bytes of a finished job, held by the gate",
        run: cost::bytes,
    },
    Part {
        name: "idle",
        about: "what a server does that has nothing to do",
        run: cost::idle,
    },
];

/// Clients, and jobs in each of their transactions.
type Shape = (u32, u32);
const SIXTEEN: Shape = (64, 16);

fn ours(who: &str, words: String, seconds: u64) -> Contender {
    Contender {
        who: who.to_owned(),
        work: Work::Ours(words, Some(seconds)),
    }
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

/// The median commit that one of the contenders measured right before its repetitions.
fn commit_ms(all: &[Runs], index: usize) -> f64 {
    let times = all.get(index).map(|runs| runs.numbers("/commit_ms"));
    times.and_then(|times| median(&times)).unwrap_or(f64::NAN)
}
