//! The account of a run, from what the store holds when nobody works any more.

use anyhow::{Context as _, ensure};
use serde_json::Value;
use skep_db::{Db, Tx};
use skep_ledger::{LedgerPublicKey, SealedEvent};
use skep_types::JobId;
use std::collections::{BTreeMap, BTreeSet};

/// Events read at a time.
const PAGE: i64 = 1_000;

/// What the ledger says of one job.
#[derive(Debug, Default)]
struct Life {
    queued: u32,
    ends: Vec<String>,
    reports: u32,
    /// The fence of every claim, in order.
    fences: Vec<i64>,
    /// The fence that the job was ended with, where the event says it.
    ended_with: Option<i64>,
}

impl Life {
    fn add(&mut self, event: &SealedEvent) -> anyhow::Result<()> {
        let payload: Value = serde_json::from_slice(&event.payload)?;
        let to = payload["to"].as_str().unwrap_or_default();
        match event.kind.as_str() {
            "job_queued" => self.queued += 1,
            "report_delivered" => self.reports += 1,
            "job_claimed" => self
                .fences
                .push(payload["fence"].as_i64().context("a claim has a fence")?),
            "job_finished" | "job_advanced" | "job_cancelled" | "lease_lost"
                if ["done", "failed", "cancelled", "quarantined", "skipped"].contains(&to) =>
            {
                self.ends.push(to.to_owned());
                self.ended_with = payload["fence"].as_i64();
            }
            _ => {}
        }
        Ok(())
    }

    /// Asked for once, done once, by whoever claimed it last, and no fence given out twice.
    fn is_once(&self) -> bool {
        self.queued == 1
            && self.ends == ["done"]
            && self.fences.is_sorted_by(|one, next| one < next)
            && self.ended_with == self.fences.last().copied()
    }
}

/// Fails unless every job of `acknowledged` was done exactly once, there is no other, none is live,
/// and the ledger is whole. With `reported` the report of each was delivered exactly once, too.
pub(super) async fn settle(
    db: &Db,
    key: LedgerPublicKey,
    acknowledged: &BTreeSet<JobId>,
    reported: bool,
) -> anyhow::Result<()> {
    let report = skep_ledger::verify(db, key).await?;
    ensure!(
        report.first_bad.is_none() && report.unsealed == 0,
        "the ledger does not verify: {report:?}"
    );
    let live = number(db, "SELECT COUNT(*) AS n FROM job").await?;
    ensure!(live == 0, "{live} jobs are still live");
    let lives = lives(db).await?;
    let known: BTreeSet<&str> = acknowledged.iter().map(JobId::as_str).collect();
    let lost: Vec<_> = known
        .iter()
        .filter(|id| !lives.contains_key(**id))
        .collect();
    ensure!(lost.is_empty(), "acknowledged and not there: {lost:?}");
    let strange: Vec<_> = lives
        .keys()
        .filter(|id| !known.contains(id.as_str()))
        .collect();
    ensure!(
        strange.is_empty(),
        "there and never acknowledged: {strange:?}"
    );
    for (id, life) in &lives {
        ensure!(life.is_once(), "{id} was not done exactly once: {life:?}");
        let reports = u32::from(reported);
        ensure!(life.reports == reports, "{id} was reported: {life:?}");
    }
    let sql = "SELECT COUNT(*) AS n FROM job_history WHERE state = 'done'";
    let done = number(db, sql).await?;
    ensure!(
        usize::try_from(done)? == known.len(),
        "{done} rows of {} jobs",
        known.len()
    );
    Ok(())
}

/// One number that the store answers under the name `n`.
pub(super) async fn number(db: &Db, sql: &'static str) -> anyhow::Result<i64> {
    let read = async move |tx: &mut Tx<'_>| tx.query_one(sql, &[]).await?.get("n");
    Ok(db.read("number", read).await?)
}

/// What the ledger says of every job.
async fn lives(db: &Db) -> anyhow::Result<BTreeMap<String, Life>> {
    let mut lives: BTreeMap<String, Life> = BTreeMap::new();
    let mut after = 0;
    loop {
        let page = db.read("tail", async move |tx: &mut Tx<'_>| {
            skep_ledger::tail(tx, after, PAGE).await
        });
        let page = page.await?;
        let Some(last) = page.last() else {
            return Ok(lives);
        };
        after = last.seq;
        for event in page
            .iter()
            .filter(|event| event.subject.parse::<JobId>().is_ok())
        {
            lives.entry(event.subject.clone()).or_default().add(event)?;
        }
    }
}
