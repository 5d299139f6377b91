//! Limits on spending, and the sums that are held against them.
//!
//! Owns `budget`, and reads the sums of `budget_window`, which `reservation` moves. Invariant: a
//! limit changes only here, and every change of one is on the ledger.

use crate::config::{BudgetConfig, BudgetScope, OnExhaust, Period};
use crate::event::{BudgetChanged, BudgetCreated, BudgetRetired};
use crate::window::Window;
use skep_db::{DbError, Row, Tx, params};
use skep_ledger::{HOME, append};
use skep_stdx::{Entropy, ManualClock};
use skep_types::{BudgetId, JobId, KeyId, MicroUsd};

/// The name of the budgets that jobs and keys bring with them.
const OWN_NAME: &str = "own";

/// One limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    /// Its id.
    pub id: BudgetId,
    /// Its name in the configuration; `own` for the budget of a job or key.
    pub name: String,
    /// What it applies to.
    pub scope: BudgetScope,
    /// No window's sums pass this.
    pub limit: MicroUsd,
    /// When it starts again.
    pub period: Period,
    /// What happens to work that reaches it.
    pub on_exhaust: OnExhaust,
}

/// What one window holds. The three are separate, and their total never passes the limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Sums {
    /// Settled with known usage.
    #[serde(rename = "spent_micro_usd")]
    pub spent: MicroUsd,
    /// The worst case of the calls under way.
    #[serde(rename = "reserved_micro_usd")]
    pub reserved: MicroUsd,
    /// The worst case of calls whose end is unknown.
    #[serde(rename = "unconfirmed_micro_usd")]
    pub unconfirmed: MicroUsd,
}

impl Sums {
    /// All three together.
    pub fn total(&self) -> MicroUsd {
        self.spent
            .saturating_add(self.reserved)
            .saturating_add(self.unconfirmed)
    }

    pub(crate) fn read(row: &Row) -> Result<Self, DbError> {
        Ok(Self {
            spent: MicroUsd(row.get("spent_micro_usd")?),
            reserved: MicroUsd(row.get("reserved_micro_usd")?),
            unconfirmed: MicroUsd(row.get("unconfirmed_micro_usd")?),
        })
    }
}

/// A budget with the window it is in now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetStatus {
    /// The budget.
    pub budget: Budget,
    /// What its current window holds; `None` where every job has sums of its own.
    pub sums: Option<Sums>,
    /// When the next window begins, in milliseconds since 1970; `None`: never.
    pub renews_at_ms: Option<i64>,
}

/// Why a limit was not raised.
#[derive(Debug, thiserror::Error)]
pub enum RaiseError {
    /// There is no such budget in force.
    #[error("raise budget {id}: it is not in force")]
    Unknown {
        /// The id.
        id: BudgetId,
    },
    /// The new limit is not above the old one.
    #[error("raise budget {id}: {limit} is not above its limit of {current}")]
    NotHigher {
        /// The id.
        id: BudgetId,
        /// The limit that was asked for.
        limit: MicroUsd,
        /// The limit in force.
        current: MicroUsd,
    },
    /// The store failed.
    #[error("raise the budget")]
    Db(#[from] DbError),
}

impl RaiseError {
    /// The stable code for users and scripts.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "budget_not_found",
            Self::NotHigher { .. } => "budget_not_higher",
            Self::Db(_) => "database_unavailable",
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { .. } => Some("`skep budget list` shows the budgets in force".into()),
            Self::NotHigher { .. } => {
                Some("to lower a limit, change it in the configuration".into())
            }
            Self::Db(_) => None,
        }
    }
}

/// Brings the budgets of the configuration into force and retires those no longer in it.
///
/// A limit that was raised stays raised until the configuration says another number than before.
/// A budget whose scope or period changed is another budget, with sums of its own.
pub async fn sync_budgets(
    tx: &mut Tx<'_>,
    entropy: &dyn Entropy,
    configured: &[BudgetConfig],
) -> Result<(), DbError> {
    let now = tx.now_ms().await?;
    let sql = "SELECT id, name, scope, limit_micro_usd, configured_micro_usd, period, on_exhaust,
            retired_at
        FROM budget WHERE configured_micro_usd IS NOT NULL ORDER BY id";
    let known = tx
        .query(sql, &[])
        .await?
        .iter()
        .map(Configured::read)
        .collect::<Result<Vec<_>, _>>()?;
    for gone in &known {
        let budget = &gone.budget;
        if gone.in_force && !configured.iter().any(|config| budget.is_of(config)) {
            let sql = "UPDATE budget SET retired_at = ?2 WHERE id = ?1";
            tx.execute(sql, params![budget.id.as_str(), now]).await?;
            let budget = budget.id.clone();
            append(tx, HOME, &BudgetRetired { budget }).await?;
        }
    }
    for config in configured {
        if let Some(found) = known.iter().find(|known| known.budget.is_of(config)) {
            update(tx, found, config).await?;
        } else {
            let id = BudgetId::new(&ManualClock::at(now), entropy);
            let budget = Budget::from_config(id, config);
            // Another node that starts at the same time may have been first.
            insert(tx, &budget, Some(config.limit)).await?;
        }
    }
    Ok(())
}

/// Gives `job` a budget of its own, for its whole life. A job has one; a second is a constraint
/// error.
pub async fn create_job_budget(
    tx: &mut Tx<'_>,
    job: &JobId,
    limit: MicroUsd,
) -> Result<BudgetId, DbError> {
    let id = own_id(job.as_str(), JobId::PREFIX)?;
    create_own(tx, id, BudgetScope::Job(job.clone()), limit).await
}

/// Gives `key` a budget of its own, for its whole life.
pub(crate) async fn create_key_budget(
    tx: &mut Tx<'_>,
    key: &KeyId,
    limit: MicroUsd,
) -> Result<BudgetId, DbError> {
    let id = own_id(key.as_str(), KeyId::PREFIX)?;
    create_own(tx, id, BudgetScope::Key(key.clone()), limit).await
}

/// Raises the budget that `job` brought with it, or gives it one. The same limit again is no
/// change.
pub async fn raise_job_budget(
    tx: &mut Tx<'_>,
    job: &JobId,
    limit: MicroUsd,
) -> Result<BudgetId, RaiseError> {
    let Some(status) = job_budget(tx, job).await? else {
        return Ok(create_job_budget(tx, job, limit).await?);
    };
    let id = status.budget.id;
    if status.budget.limit != limit {
        raise(tx, &id, limit).await?;
    }
    Ok(id)
}

/// Raises a limit, for the current window and all later ones.
pub async fn raise(tx: &mut Tx<'_>, id: &BudgetId, limit: MicroUsd) -> Result<(), RaiseError> {
    let sql = "SELECT limit_micro_usd FROM budget WHERE id = ?1 AND retired_at IS NULL /*lock*/";
    let row = tx.query_opt(sql, params![id.as_str()]).await?;
    let Some(row) = row else {
        return Err(RaiseError::Unknown { id: id.clone() });
    };
    let current = MicroUsd(row.get("limit_micro_usd")?);
    if limit <= current {
        return Err(RaiseError::NotHigher {
            id: id.clone(),
            limit,
            current,
        });
    }
    set_limit(tx, id, current, limit).await?;
    Ok(())
}

/// The budgets of the configuration that are in force, by name, each with its current window.
pub async fn budgets(tx: &mut Tx<'_>) -> Result<Vec<BudgetStatus>, DbError> {
    let sql = "SELECT id, name, scope, limit_micro_usd, period, on_exhaust FROM budget
        WHERE retired_at IS NULL AND configured_micro_usd IS NOT NULL ORDER BY name";
    let rows = tx.query(sql, &[]).await?;
    let mut list = Vec::with_capacity(rows.len());
    for row in &rows {
        list.push(status(tx, Budget::read(row)?).await?);
    }
    Ok(list)
}

/// The budget that `job` brought with it, if it did.
pub async fn job_budget(tx: &mut Tx<'_>, job: &JobId) -> Result<Option<BudgetStatus>, DbError> {
    let sql = "SELECT id, name, scope, limit_micro_usd, period, on_exhaust FROM budget
        WHERE id = ?1 AND retired_at IS NULL";
    let id = own_id(job.as_str(), JobId::PREFIX)?;
    match tx.query_opt(sql, params![id.as_str()]).await? {
        None => Ok(None),
        Some(row) => Ok(Some(status(tx, Budget::read(&row)?).await?)),
    }
}

impl Budget {
    fn from_config(id: BudgetId, config: &BudgetConfig) -> Self {
        Self {
            id,
            name: config.name.clone(),
            scope: config.scope.clone(),
            limit: config.limit,
            period: config.period,
            on_exhaust: config.on_exhaust,
        }
    }

    fn is_of(&self, config: &BudgetConfig) -> bool {
        (&self.name, &self.scope, self.period) == (&config.name, &config.scope, config.period)
    }

    pub(crate) fn read(row: &Row) -> Result<Self, DbError> {
        Ok(Self {
            id: row.parse("id")?,
            name: row.get("name")?,
            scope: row.parse("scope")?,
            limit: MicroUsd(row.get("limit_micro_usd")?),
            period: row.parse("period")?,
            on_exhaust: row.parse("on_exhaust")?,
        })
    }

    fn created(&self) -> BudgetCreated {
        BudgetCreated {
            budget: self.id.clone(),
            limit_micro_usd: self.limit,
            period: self.period.as_str(),
            on_exhaust: self.on_exhaust.as_str(),
        }
    }

    fn event_subject(&self) -> &str {
        match &self.scope {
            BudgetScope::Job(job) => job.as_str(),
            BudgetScope::Key(key) => key.as_str(),
            BudgetScope::All
            | BudgetScope::Project(_)
            | BudgetScope::Worker(_)
            | BudgetScope::EachJob => HOME,
        }
    }
}

async fn status(tx: &mut Tx<'_>, budget: Budget) -> Result<BudgetStatus, DbError> {
    let window = Window::at(budget.period, tx.now_ms().await?);
    let shared = match (&budget.scope, budget.period) {
        (BudgetScope::Job(_) | BudgetScope::Key(_), _) => true,
        (BudgetScope::EachJob, _) | (_, Period::Job) => false,
        (BudgetScope::All | BudgetScope::Project(_) | BudgetScope::Worker(_), _) => true,
    };
    let sql = "SELECT spent_micro_usd, reserved_micro_usd, unconfirmed_micro_usd
        FROM budget_window WHERE budget_id = ?1 AND subject = '' AND window_start = ?2";
    let row = tx
        .query_opt(sql, params![budget.id.as_str(), window.start_ms])
        .await?;
    let sums = row
        .as_ref()
        .map(Sums::read)
        .transpose()?
        .unwrap_or_default();
    Ok(BudgetStatus {
        budget,
        sums: shared.then_some(sums),
        renews_at_ms: window.renews_at_ms,
    })
}

async fn create_own(
    tx: &mut Tx<'_>,
    id: BudgetId,
    scope: BudgetScope,
    limit: MicroUsd,
) -> Result<BudgetId, DbError> {
    let budget = Budget {
        id,
        name: OWN_NAME.to_owned(),
        scope,
        limit,
        period: Period::Job,
        on_exhaust: OnExhaust::Pause,
    };
    if insert(tx, &budget, None).await? {
        return Ok(budget.id);
    }
    Err(DbError::Constraint {
        constraint: format!("one budget of its own for {}", budget.scope),
    })
}

/// The budget of a job or key has its id with another prefix: one of each, found without a search.
fn own_id(owner: &str, prefix: &str) -> Result<BudgetId, DbError> {
    let body = owner.strip_prefix(prefix).unwrap_or(owner);
    let id = format!("{}{body}", BudgetId::PREFIX);
    id.parse().map_err(|_| DbError::Column {
        column: "budget.id".to_owned(),
        found: "an owner whose id has another form",
    })
}

async fn insert(
    tx: &mut Tx<'_>,
    budget: &Budget,
    configured: Option<MicroUsd>,
) -> Result<bool, DbError> {
    let sql = "INSERT INTO budget (id, name, scope, limit_micro_usd, configured_micro_usd, period,
            on_exhaust, created_at)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING";
    let row = params![
        budget.id.as_str(),
        &budget.name,
        budget.scope.to_string(),
        budget.limit.0,
        configured.map(|limit| limit.0),
        budget.period.as_str(),
        budget.on_exhaust.as_str(),
        tx.now_ms().await?
    ];
    let made = tx.execute(sql, row).await? == 1;
    if made {
        append(tx, budget.event_subject(), &budget.created()).await?;
    }
    Ok(made)
}

/// A row that the configuration made, now or earlier.
struct Configured {
    budget: Budget,
    limit_in_file: MicroUsd,
    in_force: bool,
}

impl Configured {
    fn read(row: &Row) -> Result<Self, DbError> {
        Ok(Self {
            budget: Budget::read(row)?,
            limit_in_file: MicroUsd(row.get("configured_micro_usd")?),
            in_force: row.get::<Option<i64>>("retired_at")?.is_none(),
        })
    }
}

async fn update(tx: &mut Tx<'_>, found: &Configured, config: &BudgetConfig) -> Result<(), DbError> {
    let budget = &found.budget;
    let sql = "UPDATE budget SET configured_micro_usd = ?2, on_exhaust = ?3, retired_at = NULL
        WHERE id = ?1";
    let values = params![
        budget.id.as_str(),
        config.limit.0,
        config.on_exhaust.as_str()
    ];
    tx.execute(sql, values).await?;
    if config.limit != found.limit_in_file && config.limit != budget.limit {
        set_limit(tx, &budget.id, budget.limit, config.limit).await?;
    }
    if !found.in_force {
        append(tx, HOME, &budget.created()).await?;
    }
    Ok(())
}

async fn set_limit(
    tx: &mut Tx<'_>,
    id: &BudgetId,
    from: MicroUsd,
    limit: MicroUsd,
) -> Result<(), DbError> {
    let sql = "UPDATE budget SET limit_micro_usd = ?2 WHERE id = ?1";
    tx.execute(sql, params![id.as_str(), limit.0]).await?;
    let event = BudgetChanged {
        budget: id.clone(),
        from_micro_usd: from,
        limit_micro_usd: limit,
    };
    append(tx, HOME, &event).await?;
    Ok(())
}
