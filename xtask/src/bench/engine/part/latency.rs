//! Pick-up, and claims beside a backlog.

use super::super::figure::{Group, greatest};
use super::super::peer::GRAPHILE;
use super::super::stand::{Contender, PeerStore, Stand, Work};
use super::{Asked, asked, commit_ms, ours, peer_rate};
use crate::report::number;
use anyhow::Result;

const PICKUP_COMMITS: [f64; 2] = [2.0, 5.0];
const PICKUP_RATE: u32 = 800;
const CLAIM_MS: f64 = 10.0;

pub(super) fn pickup(stand: &mut Stand) -> Result<Vec<Group>> {
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
    let commits = [commit_ms(&all, 0), commit_ms(&all, 1)];
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

pub(super) fn backlog(stand: &mut Stand) -> Result<Vec<Group>> {
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
