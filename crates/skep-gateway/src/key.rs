//! Virtual keys: the credentials of jobs and of everything else that calls a model here.
//!
//! Owns `virtual_key`. Invariant: a secret leaves [`mint`] once and is stored nowhere; what is
//! stored is its SHA-256, which is enough because the secret is 256 random bits. A key that was
//! revoked, has expired or whose fence is stale opens nothing.

use crate::budget::{Sums, create_key_budget};
use crate::digest::{hex, sha256};
use crate::event::{KeyMinted, KeyRevoked};
use crate::limits::KEYS_PAGE_MAX;
use crate::reservation::Spender;
use skep_db::{DbError, Row, Tx, params};
use skep_ledger::append;
use skep_stdx::{Entropy, ManualClock, Secret};
use skep_types::{AttemptId, Fence, JobId, KeyId, MicroUsd, Tier};

/// What every secret starts with.
const SECRET_PREFIX: &str = "skep_";
const SECRET_BYTES: usize = 32;

/// A key to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKey {
    /// The job it works for and the fence it must hold, for an agent's key.
    pub job: Option<(JobId, Fence)>,
    /// The attempt its calls are charged to.
    pub attempt: Option<AttemptId>,
    /// The project its calls are charged to.
    pub project: Option<String>,
    /// The worker its calls are charged to.
    pub worker: Option<String>,
    /// The models it may use; empty: every configured one.
    pub models: Vec<String>,
    /// The highest tier of data that its session has received.
    pub tier: Tier,
    /// A limit of its own, beside those of everything it belongs to.
    pub limit: Option<MicroUsd>,
    /// When it stops to work, in milliseconds since 1970.
    pub expires_at_ms: Option<i64>,
}

/// A key as the list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyStatus {
    /// Its id.
    pub id: KeyId,
    /// The job it works for.
    pub job: Option<JobId>,
    /// The attempt its calls are charged to.
    pub attempt: Option<AttemptId>,
    /// The project its calls are charged to.
    pub project: Option<String>,
    /// The worker its calls are charged to.
    pub worker: Option<String>,
    /// The models it may use; empty: every configured one.
    pub models: Vec<String>,
    /// The highest tier of data that its session has received.
    pub tier: Tier,
    /// When it was made, in milliseconds since 1970.
    pub created_at_ms: i64,
    /// When it stops to work.
    pub expires_at_ms: Option<i64>,
    /// When it was revoked.
    pub revoked_at_ms: Option<i64>,
    /// Its own limit.
    pub limit: Option<MicroUsd>,
    /// What all its calls together have spent and hold.
    pub sums: Sums,
}

/// Makes a key. The secret is given out here and nowhere else.
pub async fn mint(
    tx: &mut Tx<'_>,
    entropy: &dyn Entropy,
    new: &NewKey,
) -> Result<(KeyId, Secret), DbError> {
    let now = tx.now_ms().await?;
    let id = KeyId::new(&ManualClock::at(now), entropy);
    let mut random = [0; SECRET_BYTES];
    entropy.fill(&mut random);
    let secret = Secret::new(format!("{SECRET_PREFIX}{}", hex(&random)));
    let (job, fence) = new.job.clone().unzip();
    let sql = "INSERT INTO virtual_key (id, secret_sha256, job_id, attempt_id, fence, project,
            worker, models, tier, created_at, expires_at)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
    let row = params![
        id.as_str(),
        sha256(secret.reveal().as_bytes()),
        job.as_ref().map(JobId::as_str),
        new.attempt.as_ref().map(AttemptId::as_str),
        fence.map(|fence| fence.0),
        new.project.clone(),
        new.worker.clone(),
        models_text(&new.models),
        new.tier.as_str(),
        now,
        new.expires_at_ms
    ];
    tx.execute(sql, row).await?;
    if let Some(limit) = new.limit {
        create_key_budget(tx, &id, limit).await?;
    }
    let event = KeyMinted {
        key: id.clone(),
        job: job.clone(),
        attempt: new.attempt.clone(),
        fence,
        tier: new.tier.as_str(),
        models: new.models.len(),
        limit_micro_usd: new.limit,
        expires_at: new.expires_at_ms,
    };
    append(tx, subject(&id, job.as_ref()), &event).await?;
    Ok((id, secret))
}

/// Revokes `key`; whether it was in force until now.
pub async fn revoke(tx: &mut Tx<'_>, key: &KeyId) -> Result<bool, DbError> {
    let now = tx.now_ms().await?;
    let sql = "UPDATE virtual_key SET revoked_at = ?2 WHERE id = ?1 AND revoked_at IS NULL
        RETURNING id, job_id";
    let rows = tx.query(sql, params![key.as_str(), now]).await?;
    record_revoked(tx, &rows).await?;
    Ok(!rows.is_empty())
}

/// Revokes every key of `job`; how many were in force until now.
pub async fn revoke_of_job(tx: &mut Tx<'_>, job: &JobId) -> Result<usize, DbError> {
    let now = tx.now_ms().await?;
    let sql = "UPDATE virtual_key SET revoked_at = ?2 WHERE job_id = ?1 AND revoked_at IS NULL
        RETURNING id, job_id";
    let rows = tx.query(sql, params![job.as_str(), now]).await?;
    record_revoked(tx, &rows).await?;
    Ok(rows.len())
}

/// Up to `limit` keys after the cursor `after`, oldest first, each with its sums.
pub async fn keys(
    tx: &mut Tx<'_>,
    after: Option<&KeyId>,
    limit: i64,
) -> Result<Vec<KeyStatus>, DbError> {
    let sql = "SELECT k.id, k.job_id, k.attempt_id, k.project, k.worker, k.models, k.tier,
            k.created_at, k.expires_at, k.revoked_at,
            (SELECT limit_micro_usd FROM budget b WHERE b.scope = 'key:' || k.id) AS own_limit,
            c.spent_micro_usd, c.reserved_micro_usd, c.unconfirmed_micro_usd
        FROM (SELECT * FROM virtual_key WHERE id > ?1 ORDER BY id LIMIT ?2) k
        LEFT JOIN (SELECT key_id,
                CAST(SUM(cost_micro_usd) AS BIGINT) AS spent_micro_usd,
                CAST(SUM(CASE state WHEN 'reserved' THEN reserved_micro_usd ELSE 0 END) AS BIGINT)
                    AS reserved_micro_usd,
                CAST(SUM(CASE state WHEN 'unconfirmed' THEN reserved_micro_usd ELSE 0 END)
                    AS BIGINT) AS unconfirmed_micro_usd
            FROM model_call
            WHERE key_id IN (SELECT id FROM virtual_key WHERE id > ?1 ORDER BY id LIMIT ?2)
            GROUP BY key_id) c ON c.key_id = k.id
        ORDER BY k.id";
    let limit = limit.clamp(0, KEYS_PAGE_MAX);
    let cursor = after.map_or("", KeyId::as_str);
    let rows = tx.query(sql, params![cursor, limit]).await?;
    rows.iter().map(KeyStatus::read).collect()
}

/// A key as a call presents it.
#[derive(Debug, Clone)]
pub(crate) struct Credential {
    pub(crate) id: KeyId,
    pub(crate) job: Option<(JobId, Fence)>,
    pub(crate) attempt: Option<AttemptId>,
    pub(crate) project: Option<String>,
    pub(crate) worker: Option<String>,
    pub(crate) models: Vec<String>,
    pub(crate) tier: Tier,
    pub(crate) expires_at_ms: Option<i64>,
    pub(crate) revoked: bool,
}

impl Credential {
    pub(crate) fn job_id(&self) -> Option<&JobId> {
        self.job.as_ref().map(|(job, _)| job)
    }

    pub(crate) fn fence(&self) -> Option<Fence> {
        self.job.as_ref().map(|(_, fence)| *fence)
    }

    /// Whom events about its calls are about.
    pub(crate) fn subject(&self) -> &str {
        subject(&self.id, self.job_id())
    }

    pub(crate) fn spender(&self) -> Spender {
        Spender {
            key: self.id.clone(),
            job: self.job_id().cloned(),
            project: self.project.clone(),
            worker: self.worker.clone(),
        }
    }

    /// Whether it may use `model`.
    pub(crate) fn allows(&self, model: &str) -> bool {
        self.models.is_empty() || self.models.iter().any(|allowed| allowed == model)
    }
}

/// Whether `text` can be a secret of ours; anything else needs no look into the store.
pub(crate) fn is_well_formed(text: &str) -> bool {
    text.strip_prefix(SECRET_PREFIX).is_some_and(|body| {
        body.len() == 2 * SECRET_BYTES
            && body.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// The key whose secret has this SHA-256.
pub(crate) async fn find(
    tx: &mut Tx<'_>,
    secret_sha256: &[u8],
) -> Result<Option<Credential>, DbError> {
    let sql = "SELECT id, job_id, attempt_id, fence, project, worker, models, tier, expires_at,
            revoked_at
        FROM virtual_key WHERE secret_sha256 = ?1";
    let row = tx.query_opt(sql, params![secret_sha256]).await?;
    row.as_ref().map(Credential::read).transpose()
}

impl Credential {
    fn read(row: &Row) -> Result<Self, DbError> {
        let fence = row.get::<Option<i64>>("fence")?.map(Fence);
        Ok(Self {
            id: row.parse("id")?,
            job: row.parse_opt("job_id")?.zip(fence),
            attempt: row.parse_opt("attempt_id")?,
            project: row.get("project")?,
            worker: row.get("worker")?,
            models: read_models(row)?,
            tier: row.parse("tier")?,
            expires_at_ms: row.get("expires_at")?,
            revoked: row.get::<Option<i64>>("revoked_at")?.is_some(),
        })
    }
}

impl KeyStatus {
    fn read(row: &Row) -> Result<Self, DbError> {
        let sum = |column| Ok::<_, DbError>(MicroUsd(row.get::<Option<i64>>(column)?.unwrap_or(0)));
        Ok(Self {
            id: row.parse("id")?,
            job: row.parse_opt("job_id")?,
            attempt: row.parse_opt("attempt_id")?,
            project: row.get("project")?,
            worker: row.get("worker")?,
            models: read_models(row)?,
            tier: row.parse("tier")?,
            created_at_ms: row.get("created_at")?,
            expires_at_ms: row.get("expires_at")?,
            revoked_at_ms: row.get("revoked_at")?,
            limit: row.get::<Option<i64>>("own_limit")?.map(MicroUsd),
            sums: Sums {
                spent: sum("spent_micro_usd")?,
                reserved: sum("reserved_micro_usd")?,
                unconfirmed: sum("unconfirmed_micro_usd")?,
            },
        })
    }
}

fn subject<'a>(key: &'a KeyId, job: Option<&'a JobId>) -> &'a str {
    job.map_or(key.as_str(), JobId::as_str)
}

fn models_text(models: &[String]) -> String {
    serde_json::Value::from(models).to_string()
}

fn read_models(row: &Row) -> Result<Vec<String>, DbError> {
    let text: String = row.get("models")?;
    serde_json::from_str(&text).map_err(|_| DbError::Column {
        column: "models".to_owned(),
        found: "text that is not a list of names",
    })
}

async fn record_revoked(tx: &mut Tx<'_>, rows: &[Row]) -> Result<(), DbError> {
    for row in rows {
        let key: KeyId = row.parse("id")?;
        let job: Option<JobId> = row.parse_opt("job_id")?;
        let event = KeyRevoked {
            key: key.clone(),
            job: job.clone(),
        };
        append(tx, subject(&key, job.as_ref()), &event).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_form_is_looked_up() {
        let good = format!("skep_{}", "0a".repeat(32));
        assert!(is_well_formed(&good));
        for bad in [
            "",
            "skep_",
            "sk-ant-1",
            &good[1..],
            &good[..68],
            &format!("{good}0"),
            &good.replace('a', "A"),
        ] {
            assert!(!is_well_formed(bad), "{bad}");
        }
    }
}
