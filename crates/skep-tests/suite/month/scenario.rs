//! A month of jobs: planned from a seed, replayed through the queue, and held against itself.
//!
//! The mix, the number of jobs and days, the share that succeeds and how often a provider's limit
//! stalls work are those that the author of such a system published; what was not published
//! (lengths, hours, classes of failure) is assumed, see `mix.rs`.

mod account;
mod dice;
mod mix;
mod plan;
mod replay;

use plan::Plan;
use skep_db::{Engine, SchemaPart};
use skep_ledger::{LedgerKey, SealerService};
use skep_stdx::Clock as _;
use skep_testkit::TestStore;
use std::collections::BTreeMap;

const SCHEMA: [SchemaPart; 3] = [
    skep_authority::SCHEMA,
    skep_ledger::SCHEMA,
    skep_queue::SCHEMA,
];

/// What is replayed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Month {
    /// What everything is drawn from.
    pub(crate) seed: u64,
    /// How many jobs.
    pub(crate) jobs: i64,
    /// In how many days.
    pub(crate) days: i64,
}

impl Month {
    /// The published size.
    pub(crate) const WHOLE: Self = Self {
        seed: 1,
        jobs: mix::JOBS,
        days: mix::DAYS,
    };
}

/// What came of it.
pub(crate) struct Outcome {
    /// The figures of the plan and of the replay's own watch.
    pub(crate) planned: BTreeMap<String, i64>,
    /// The same figures, asked of the store in SQL.
    pub(crate) stored: BTreeMap<String, i64>,
    /// The ledger's last hash.
    pub(crate) head: String,
    /// How many events it chains.
    pub(crate) events: i64,
    rows: Vec<account::Row>,
}

impl Outcome {
    /// The month as people read it: a line for each kind of job.
    pub(crate) fn table(&self) -> String {
        account::table(&self.rows)
    }
}

/// The plan of a month that begins at `start_ms`.
pub(crate) fn plan(month: &Month, start_ms: i64) -> Plan {
    Plan::of(month, start_ms)
}

/// How many jobs of each kind a plan has.
pub(crate) fn counts(plan: &Plan) -> Vec<(&'static str, i64)> {
    let count = |sort| plan.jobs.iter().filter(|job| job.sort == sort).count();
    mix::SORTS
        .iter()
        .enumerate()
        .map(|(place, sort)| (sort.name, i64::try_from(count(place)).unwrap_or(i64::MAX)))
        .collect()
}

/// Replays a month on an empty store.
pub(crate) async fn run(store: &TestStore, month: &Month) -> anyhow::Result<Outcome> {
    let key = LedgerKey::open_or_create(&store.folder().join("month.key"))?;
    let before_commit = Some(skep_ledger::sealer(key.clone()));
    let db = store.open(&SCHEMA, before_commit).await?;
    let plan = Plan::of(month, store.clock.now_ms());
    let seen = replay::replay(&db, &store.clock, &plan).await?;
    if db.engine() == Engine::Postgres {
        SealerService::new(db.clone(), key.clone())
            .seal_pending()
            .await?;
    }
    let ledger = skep_ledger::verify(&db, key.public()).await?;
    anyhow::ensure!(ledger.first_bad.is_none(), "{ledger:?}");
    Ok(Outcome {
        planned: account::planned(&plan, &seen),
        stored: account::stored(&db).await?,
        head: ledger.head_hash.to_string(),
        events: ledger.events,
        rows: account::rows(&plan, &seen),
    })
}
