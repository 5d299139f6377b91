//! What jobs and attempts have used, read from the calls they made.

use crate::limits::MODELS_OF_JOB_MAX;
use skep_db::{DbError, Row, Tx, Value, params};
use skep_types::{AttemptId, JobId, MicroUsd, TokenCounts};

/// What a number of calls used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// How many calls were let through.
    pub calls: i64,
    /// What the settled ones cost.
    pub cost: MicroUsd,
    /// The worst case of those under way.
    pub reserved: MicroUsd,
    /// The worst case of those whose end is unknown.
    pub unconfirmed: MicroUsd,
    /// What their providers reported.
    pub tokens: TokenCounts,
}

/// Which model answered for which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelAnswered {
    /// The configured model that was asked for.
    pub requested: String,
    /// The model that answered, in the provider's words; `None` if no answer named one.
    pub actual: Option<String>,
    /// Whether that is another model than the one that was asked for.
    pub substituted: bool,
    /// In how many calls.
    pub calls: i64,
}

const USAGE: &str = "SELECT COUNT(*) AS calls,
        CAST(COALESCE(SUM(cost_micro_usd), 0) AS BIGINT) AS cost,
        CAST(COALESCE(SUM(CASE state WHEN 'reserved' THEN reserved_micro_usd ELSE 0 END), 0)
            AS BIGINT) AS reserved,
        CAST(COALESCE(SUM(CASE state WHEN 'unconfirmed' THEN reserved_micro_usd ELSE 0 END), 0)
            AS BIGINT) AS unconfirmed,
        CAST(COALESCE(SUM(input_tokens), 0) AS BIGINT) AS input,
        CAST(COALESCE(SUM(cache_read_tokens), 0) AS BIGINT) AS cache_read,
        CAST(COALESCE(SUM(cache_write_tokens), 0) AS BIGINT) AS cache_write,
        CAST(COALESCE(SUM(cache_write_1h_tokens), 0) AS BIGINT) AS cache_write_1h,
        CAST(COALESCE(SUM(output_tokens), 0) AS BIGINT) AS output
    FROM model_call";

const ANSWERED: &str = "SELECT model_requested, model_upstream, model_actual, COUNT(*) AS calls
    FROM model_call";

/// What `job` has used in all its attempts.
pub async fn job_cost(tx: &mut Tx<'_>, job: &JobId) -> Result<Usage, DbError> {
    usage(
        tx,
        &format!("{USAGE} WHERE job_id = ?1"),
        params![job.as_str()],
    )
    .await
}

/// What one attempt has used.
pub async fn attempt_usage(tx: &mut Tx<'_>, attempt: &AttemptId) -> Result<Usage, DbError> {
    usage(
        tx,
        &format!("{USAGE} WHERE attempt_id = ?1"),
        params![attempt.as_str()],
    )
    .await
}

/// How alive an attempt is, by the calls it makes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Activity {
    /// How long ago its last call began or ended, in milliseconds; `None` if it made none.
    pub idle_ms: Option<i64>,
    /// For how long a call under way may still take, in milliseconds; `None` if there is none.
    pub open_ms: Option<i64>,
}

/// When an attempt last began or ended a call, by the store's clock.
pub async fn attempt_activity(tx: &mut Tx<'_>, attempt: &AttemptId) -> Result<Activity, DbError> {
    let now = tx.now_ms().await?;
    let sql = "SELECT MAX(started_at) AS began, MAX(ended_at) AS ended,
            MAX(CASE state WHEN 'reserved' THEN deadline_at END) AS open_until
        FROM model_call WHERE attempt_id = ?1";
    let row = tx.query_one(sql, params![attempt.as_str()]).await?;
    let (began, ended): (Option<i64>, Option<i64>) = (row.get("began")?, row.get("ended")?);
    let open_until: Option<i64> = row.get("open_until")?;
    Ok(Activity {
        idle_ms: began.max(ended).map(|last| (now - last).max(0)),
        open_ms: open_until.map(|until| until - now).filter(|left| *left > 0),
    })
}

/// Which models answered an attempt's calls, the most used first.
pub async fn attempt_models(
    tx: &mut Tx<'_>,
    attempt: &AttemptId,
) -> Result<Vec<ModelAnswered>, DbError> {
    let sql = format!(
        "{ANSWERED} WHERE attempt_id = ?1 GROUP BY model_requested, model_upstream, model_actual
        ORDER BY COUNT(*) DESC, model_requested, model_actual LIMIT ?2"
    );
    let rows = tx
        .query(&sql, params![attempt.as_str(), MODELS_OF_JOB_MAX])
        .await?;
    rows.iter().map(ModelAnswered::read).collect()
}

/// Whether `actual`, as an answer names it, is the model `upstream` that was asked for: the same
/// name, or the dated snapshot that an undated or `-latest` name stands for.
pub(crate) fn is_same_model(upstream: &str, actual: &str) -> bool {
    let family = upstream.strip_suffix("-latest").unwrap_or(upstream);
    if actual == upstream || actual == family {
        return true;
    }
    let snapshot = actual
        .strip_prefix(family)
        .and_then(|rest| rest.strip_prefix('-'));
    snapshot.is_some_and(|date| date.len() == 8 && date.bytes().all(|b| b.is_ascii_digit()))
}

async fn usage(tx: &mut Tx<'_>, sql: &str, filter: &[Value]) -> Result<Usage, DbError> {
    let row = tx.query_one(sql, filter).await?;
    Ok(Usage {
        calls: row.get("calls")?,
        cost: MicroUsd(row.get("cost")?),
        reserved: MicroUsd(row.get("reserved")?),
        unconfirmed: MicroUsd(row.get("unconfirmed")?),
        tokens: TokenCounts {
            input: row.get("input")?,
            cache_read: row.get("cache_read")?,
            cache_write: row.get("cache_write")?,
            cache_write_1h: row.get("cache_write_1h")?,
            output: row.get("output")?,
        },
    })
}

impl ModelAnswered {
    fn read(row: &Row) -> Result<Self, DbError> {
        let upstream: String = row.get("model_upstream")?;
        let actual: Option<String> = row.get("model_actual")?;
        Ok(Self {
            requested: row.get("model_requested")?,
            substituted: actual
                .as_deref()
                .is_some_and(|a| !is_same_model(&upstream, a)),
            actual,
            calls: row.get("calls")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_the_model_and_a_sibling_is_not() {
        for (upstream, actual, same) in [
            ("sonnet-5", "sonnet-5", true),
            ("sonnet-5", "sonnet-5-20261007", true),
            ("sonnet-5-latest", "sonnet-5-20261007", true),
            ("sonnet-5-latest", "sonnet-5", true),
            ("sonnet-5", "sonnet-5-5", false),
            ("sonnet-5", "sonnet-5-5-20261007", false),
            ("sonnet-5", "haiku-5", false),
            ("sonnet-5-20261007", "sonnet-5-20261107", false),
            ("sonnet-5", "", false),
        ] {
            assert_eq!(is_same_model(upstream, actual), same, "{upstream} {actual}");
        }
    }
}
