//! Holding money back for calls under way.
//!
//! Works on `budget_window` and `reservation`. Invariant: spent + reserved + unconfirmed of a window
//! never passes its budget's limit by a reservation, because the rows of a set are locked in id
//! order, all checked, and only then all raised, in one transaction.

use crate::budget::{Budget, Sums};
use crate::config::{BudgetScope, Period};
use crate::window::Window;
use skep_db::{DbError, Tx, params};
use skep_types::{BudgetId, CallId, JobId, KeyId, MicroUsd};

/// Who spends, as far as budgets go.
#[derive(Debug, Clone)]
pub(crate) struct Spender {
    pub(crate) key: KeyId,
    pub(crate) job: Option<JobId>,
    pub(crate) project: Option<String>,
    pub(crate) worker: Option<String>,
}

/// One budget of a set, its row locked until the transaction ends.
#[derive(Debug, Clone)]
pub(crate) struct LockedBudget {
    pub(crate) budget: Budget,
    pub(crate) window: Window,
    pub(crate) sums: Sums,
    subject: String,
}

impl LockedBudget {
    pub(crate) fn id(&self) -> BudgetId {
        self.budget.id.clone()
    }

    pub(crate) fn remaining(&self) -> MicroUsd {
        MicroUsd((self.budget.limit.0.saturating_sub(self.sums.total().0)).max(0))
    }
}

/// Every budget that applies to `spender`, locked in id order.
pub(crate) async fn lock_set(
    tx: &mut Tx<'_>,
    spender: &Spender,
) -> Result<Vec<LockedBudget>, DbError> {
    let now = tx.now_ms().await?;
    // A scope is never empty, so an absent project, worker or job matches nothing.
    let scope = |scope: Option<BudgetScope>| scope.map_or(String::new(), |s| s.to_string());
    let sql = "SELECT id, name, scope, limit_micro_usd, period, on_exhaust FROM budget
        WHERE retired_at IS NULL AND scope IN ('all', 'job', ?1, ?2, ?3, ?4) ORDER BY id";
    let scopes = params![
        scope(spender.project.clone().map(BudgetScope::Project)),
        scope(spender.worker.clone().map(BudgetScope::Worker)),
        scope(spender.job.clone().map(BudgetScope::Job)),
        scope(Some(BudgetScope::Key(spender.key.clone()))),
    ];
    let rows = tx.query(sql, scopes).await?;
    let mut set = Vec::with_capacity(rows.len());
    for row in &rows {
        let budget = Budget::read(row)?;
        let window = Window::at(budget.period, now);
        let subject = budget.subject(spender);
        let sums = lock_window(tx, &budget.id, &subject, window.start_ms).await?;
        set.push(LockedBudget {
            budget,
            window,
            sums,
            subject,
        });
    }
    Ok(set)
}

/// Takes `amount` from every budget of the locked set for `call`, whose row exists.
pub(crate) async fn reserve(
    tx: &mut Tx<'_>,
    call: &CallId,
    set: &[LockedBudget],
    amount: MicroUsd,
) -> Result<(), DbError> {
    for locked in set {
        let id = locked.budget.id.as_str();
        let start = locked.window.start_ms;
        let sql = "UPDATE budget_window SET reserved_micro_usd = reserved_micro_usd + ?4
            WHERE budget_id = ?1 AND subject = ?2 AND window_start = ?3";
        tx.execute(sql, params![id, &locked.subject, start, amount.0])
            .await?;
        let sql = "INSERT INTO reservation
                (call_id, budget_id, subject, window_start, amount_micro_usd)
            VALUES (?1, ?2, ?3, ?4, ?5)";
        let row = params![call.as_str(), id, &locked.subject, start, amount.0];
        tx.execute(sql, row).await?;
    }
    Ok(())
}

/// A change of one window's sums, as the end of calls makes it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Change {
    pub(crate) spent: i64,
    pub(crate) reserved: i64,
    pub(crate) unconfirmed: i64,
}

/// Which window.
pub(crate) type WindowKey = (String, String, i64);

/// Changes the sums of one window. Callers with several go in the order of their keys.
pub(crate) async fn change(
    tx: &mut Tx<'_>,
    (budget, subject, start): &WindowKey,
    by: Change,
) -> Result<(), DbError> {
    let sql = "UPDATE budget_window SET spent_micro_usd = spent_micro_usd + ?4,
            reserved_micro_usd = reserved_micro_usd + ?5,
            unconfirmed_micro_usd = unconfirmed_micro_usd + ?6
        WHERE budget_id = ?1 AND subject = ?2 AND window_start = ?3";
    let values = params![
        budget,
        subject,
        *start,
        by.spent,
        by.reserved,
        by.unconfirmed
    ];
    tx.execute(sql, values).await?;
    Ok(())
}

async fn lock_window(
    tx: &mut Tx<'_>,
    budget: &BudgetId,
    subject: &str,
    start: i64,
) -> Result<Sums, DbError> {
    let sql = "SELECT spent_micro_usd, reserved_micro_usd, unconfirmed_micro_usd
        FROM budget_window WHERE budget_id = ?1 AND subject = ?2 AND window_start = ?3 /*lock*/";
    let key = params![budget.as_str(), subject, start];
    if let Some(row) = tx.query_opt(sql, key).await? {
        return Sums::read(&row);
    }
    let insert = "INSERT INTO budget_window (budget_id, subject, window_start, spent_micro_usd,
            reserved_micro_usd, unconfirmed_micro_usd)
        VALUES (?1, ?2, ?3, 0, 0, 0) ON CONFLICT DO NOTHING";
    tx.execute(insert, key).await?;
    Sums::read(&tx.query_one(sql, key).await?)
}

impl Budget {
    /// Whose sums these are within the budget: a job's (or that of a key without a job) where each
    /// has its own, else nobody's in particular.
    fn subject(&self, spender: &Spender) -> String {
        let unit = || {
            let job = spender.job.as_ref().map(JobId::as_str);
            job.unwrap_or(spender.key.as_str()).to_owned()
        };
        match (&self.scope, self.period) {
            (BudgetScope::Job(_) | BudgetScope::Key(_), _) => String::new(),
            (BudgetScope::EachJob, _) | (_, Period::Job) => unit(),
            (BudgetScope::All | BudgetScope::Project(_) | BudgetScope::Worker(_), _) => {
                String::new()
            }
        }
    }
}
