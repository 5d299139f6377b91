//! Effects on the world outside, each once: planned, performed, read back, recorded.
//!
//! A row says what is to be done before it is done, under a key that names it. Whoever finds a row
//! whose doer has died looks first whether the effect is there, and does it only if it is not. What
//! was read back is `done`; what may or may not have happened is `unknown`, never forgotten.

use crate::event::{EffectChanged, record};
use crate::finish::cut;
use crate::limits::{
    EFFECT_LEASE_MS, EFFECT_PERFORM_MS, KEY_BYTES_MAX, OUTCOME_BYTES_MAX, WHY_BYTES_MAX,
};
use skep_authority::AuthorityError;
use skep_db::{Db, DbError, Row, Tx, params};
use skep_ledger::Digest;
use skep_types::{EffectState, Fence, JobId};
use std::time::Duration;

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    /// What kind of effect, a word as in `open_pull_request`.
    pub kind: &'static str,
    /// What makes it this one: the same key is the same effect, for ever.
    pub key: String,
    /// The whole request; its SHA-256 is kept, so that one key stands for one request.
    pub request: Vec<u8>,
    /// The job it belongs to and the fence of its claim, which has to be current.
    pub authority: Option<(JobId, Fence)>,
    /// Who does it; the same after a restart, see [`take_back`].
    pub holder: String,
}

/// What performing an effect comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// It certainly did not happen.
    Failed(String),
    /// It may or may not have happened.
    Unknown(String),
}

/// An effect that has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// What was read back, as `read_back` gave it.
    pub outcome: String,
    /// Whether this call performed it; otherwise an earlier one did.
    pub performed: bool,
}

/// Why an effect has not happened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EffectError {
    /// The key stands for another request.
    #[error("perform {kind}: its key was used for another request")]
    Conflict {
        /// The effect's kind.
        kind: &'static str,
    },
    /// Somebody else is at it.
    #[error("perform {kind}: somebody else is at it until {until_ms}")]
    UnderWay {
        /// The effect's kind.
        kind: &'static str,
        /// When their lease ends, in milliseconds since 1970.
        until_ms: i64,
    },
    /// The job's fence is not current: nothing was done.
    #[error("perform {kind}")]
    Stale {
        /// The effect's kind.
        kind: &'static str,
        /// The fence's own word.
        #[source]
        source: AuthorityError,
    },
    /// It certainly did not happen; it may be run again.
    #[error("perform {kind}: {why}")]
    Failed {
        /// The effect's kind.
        kind: &'static str,
        /// What its doer said.
        why: String,
    },
    /// It may or may not have happened; the next run looks first.
    #[error("learn whether {kind} has happened: {why}")]
    Unknown {
        /// The effect's kind.
        kind: &'static str,
        /// What its doer or the look said.
        why: String,
    },
    /// A field is out of its bounds.
    #[error("perform {kind}: its key must hold 1 to 500 bytes of text")]
    Key {
        /// The effect's kind.
        kind: &'static str,
    },
    /// The store failed.
    #[error("record an effect")]
    Db(#[from] DbError),
}

impl EffectError {
    /// The stable code for users and scripts.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Conflict { .. } => "effect_conflict",
            Self::UnderWay { .. } => "effect_under_way",
            Self::Stale { .. } => "stale_fence",
            Self::Failed { .. } => "effect_failed",
            Self::Unknown { .. } => "effect_unknown",
            Self::Key { .. } => "effect_key_invalid",
            Self::Db(_) => "database_failed",
        }
    }

    /// What to do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Conflict { .. } | Self::Key { .. } => "give another request another key",
            Self::UnderWay { .. } => "wait until their lease ends",
            Self::Stale { .. } => {
                "the job was cancelled, ended or taken over; look at `skep job show`"
            }
            Self::Failed { .. } => "mend the cause and run it again",
            Self::Unknown { .. } => "run it again: it looks before it acts",
            Self::Db(_) => "`skep doctor` says what is wrong",
        }
    }
}

/// Performs an effect unless it has happened: plan in a transaction, perform outside, read back,
/// record. `read_back` answers what is there (`None` if the effect is not), and has to see the
/// effect as soon as `perform` has returned; `perform` is given up on after [`EFFECT_PERFORM_MS`].
///
/// # Errors
/// [`EffectError`].
pub async fn run<P, R>(
    db: &Db,
    effect: Effect,
    perform: impl FnOnce() -> P,
    read_back: impl Fn() -> R,
) -> Result<Done, EffectError>
where
    P: Future<Output = Result<(), Refusal>>,
    R: Future<Output = Result<Option<String>, String>>,
{
    let kind = effect.kind;
    if effect.key.is_empty() || effect.key.len() > KEY_BYTES_MAX || effect.key.contains('\0') {
        return Err(EffectError::Key { kind });
    }
    let taken = match take(db, &effect).await? {
        Taken::Done(outcome) => {
            return Ok(Done {
                outcome,
                performed: false,
            });
        }
        Taken::Mine(taken) => taken,
    };
    skep_stdx::crash::point("effect.started");
    if taken.look_first {
        match read_back().await {
            Ok(Some(outcome)) => return record_done(db, effect, taken, outcome, false).await,
            Ok(None) => {}
            // Nothing was done by this call, and what an earlier one did is not known.
            Err(why) => return give_up(db, effect, taken, Refusal::Unknown(why)).await,
        }
    }
    let limit = Duration::from_millis(EFFECT_PERFORM_MS);
    let performed = tokio::time::timeout(limit, perform()).await;
    skep_stdx::crash::point("effect.performed");
    match performed {
        Ok(Err(Refusal::Failed(why))) => {
            return give_up(db, effect, taken, Refusal::Failed(why)).await;
        }
        Ok(Ok(()) | Err(Refusal::Unknown(_))) | Err(_) => {}
    }
    match read_back().await {
        Ok(Some(outcome)) => record_done(db, effect, taken, outcome, true).await,
        Ok(None) => {
            let why = match performed {
                Ok(Ok(())) => "it was performed and cannot be read back".to_owned(),
                Ok(Err(Refusal::Unknown(why) | Refusal::Failed(why))) => why,
                Err(_) => "it took too long".to_owned(),
            };
            give_up(db, effect, taken, Refusal::Unknown(why)).await
        }
        Err(why) => give_up(db, effect, taken, Refusal::Unknown(why)).await,
    }
}

/// Ends the leases of `holder`, a doer that starts again. The answer is how many.
///
/// # Errors
/// What the store says.
pub async fn take_back(tx: &mut Tx<'_>, holder: &str) -> Result<u64, DbError> {
    let sql = "UPDATE effect SET holder = NULL WHERE holder IS NOT NULL AND holder = ?1";
    tx.execute(sql, params![holder]).await
}

/// Where an effect stands; `None` if it was never planned.
///
/// # Errors
/// What the store says.
pub async fn state(tx: &mut Tx<'_>, kind: &str, key: &str) -> Result<Option<EffectState>, DbError> {
    let sql = "SELECT state FROM effect WHERE kind = ?1 AND effect_key = ?2";
    let row = tx.query_opt(sql, params![kind, key]).await?;
    row.map(|row| row.parse("state")).transpose()
}

enum Taken {
    /// It has happened.
    Done(String),
    /// This call may do it.
    Mine(Mine),
}

#[derive(Clone, Copy)]
struct Mine {
    /// The number of this try, which guards what is written about it.
    tries: i64,
    /// Whether an earlier try may have done it.
    look_first: bool,
}

async fn take(db: &Db, effect: &Effect) -> Result<Taken, EffectError> {
    let effect = effect.clone();
    db.write("plan an effect", async move |tx: &mut Tx<'_>| {
        let kind = effect.kind;
        if let Some((job, fence)) = &effect.authority {
            let demanded = skep_authority::demand(tx, job, *fence).await;
            demanded.map_err(|source| EffectError::Stale { kind, source })?;
        }
        let row = plan(tx, &effect).await?;
        if row.get::<Vec<u8>>("request_digest")? != Digest::of(&effect.request).0 {
            return Err(EffectError::Conflict { kind });
        }
        let state: EffectState = row.parse("state")?;
        let now = tx.now_ms().await?;
        let until_ms: i64 = row.get("due_ms")?;
        match state {
            EffectState::Done => return Ok(Taken::Done(row.get("outcome")?)),
            EffectState::Planned | EffectState::Failed | EffectState::Unknown => {}
            EffectState::Started => {
                let held = row.get::<Option<String>>("holder")?.is_some();
                if held && until_ms > now {
                    return Err(EffectError::UnderWay { kind, until_ms });
                }
            }
        }
        // Even after a try that certainly failed: the one before it may have happened late.
        let tries = row.get::<i64>("tries")? + 1;
        let look_first = tries > 1;
        let (job, fence) = authority(&effect);
        let sql = "UPDATE effect SET state = 'started', tries = ?3, holder = ?4, due_ms = ?5,
                job_id = ?6, fence = ?7, changed_at_ms = ?8 WHERE kind = ?1 AND effect_key = ?2";
        let until_ms = now.saturating_add(EFFECT_LEASE_MS);
        let (job_id, holder) = (job.as_ref().map(JobId::as_str), effect.holder.as_str());
        let number = fence.map(|fence| fence.0);
        tx.execute(
            sql,
            params![
                kind,
                &effect.key,
                tries,
                holder,
                until_ms,
                job_id,
                number,
                now
            ],
        )
        .await?;
        record_change(tx, &effect, EffectState::Started, tries).await?;
        Ok(Taken::Mine(Mine { tries, look_first }))
    })
    .await
}

/// The effect's row, locked; made if there is none.
async fn plan(tx: &mut Tx<'_>, effect: &Effect) -> Result<Row, DbError> {
    let now = tx.now_ms().await?;
    let sql = "INSERT INTO effect (kind, effect_key, state, request_digest, due_ms, tries,
            planned_at_ms, changed_at_ms) VALUES (?1, ?2, 'planned', ?3, ?4, 0, ?4, ?4)
        ON CONFLICT DO NOTHING";
    let digest = Digest::of(&effect.request);
    let row = params![effect.kind, &effect.key, &digest.0[..], now];
    if tx.execute(sql, row).await? == 1 {
        record_change(tx, effect, EffectState::Planned, 0).await?;
    }
    let sql = "SELECT state, request_digest, holder, due_ms, tries, outcome FROM effect
        WHERE kind = ?1 AND effect_key = ?2 /*lock*/";
    tx.query_one(sql, params![effect.kind, &effect.key]).await
}

async fn record_done(
    db: &Db,
    effect: Effect,
    mine: Mine,
    outcome: String,
    performed: bool,
) -> Result<Done, EffectError> {
    let outcome = cut(&outcome, OUTCOME_BYTES_MAX).to_owned();
    let kept = outcome.clone();
    // What was read back is true whoever reads it: neither fence nor try is asked for.
    db.write("record an effect", async move |tx: &mut Tx<'_>| {
        let now = tx.now_ms().await?;
        let sql = "UPDATE effect SET state = 'done', outcome = ?3, holder = NULL, why = NULL,
                changed_at_ms = ?4 WHERE kind = ?1 AND effect_key = ?2 AND state <> 'done'";
        let row = params![effect.kind, &effect.key, &kept, now];
        if tx.execute(sql, row).await? == 1 {
            record_change(tx, &effect, EffectState::Done, mine.tries).await?;
        }
        Ok::<_, DbError>(())
    })
    .await?;
    Ok(Done { outcome, performed })
}

async fn give_up(
    db: &Db,
    effect: Effect,
    mine: Mine,
    refusal: Refusal,
) -> Result<Done, EffectError> {
    let kind = effect.kind;
    let (state, why) = match &refusal {
        Refusal::Failed(why) => (EffectState::Failed, why.clone()),
        Refusal::Unknown(why) => (EffectState::Unknown, why.clone()),
    };
    db.write("record an effect", async move |tx: &mut Tx<'_>| {
        let now = tx.now_ms().await?;
        // A later try knows better.
        let sql = "UPDATE effect SET state = ?4, why = ?5, holder = NULL, changed_at_ms = ?6
            WHERE kind = ?1 AND effect_key = ?2 AND tries = ?3 AND state = 'started'";
        let why = cut(&why, WHY_BYTES_MAX);
        let row = params![
            effect.kind,
            &effect.key,
            mine.tries,
            state.as_str(),
            why,
            now
        ];
        if tx.execute(sql, row).await? == 1 {
            record_change(tx, &effect, state, mine.tries).await?;
        }
        Ok::<_, DbError>(())
    })
    .await?;
    Err(match refusal {
        Refusal::Failed(why) => EffectError::Failed { kind, why },
        Refusal::Unknown(why) => EffectError::Unknown { kind, why },
    })
}

fn authority(effect: &Effect) -> (Option<JobId>, Option<Fence>) {
    match &effect.authority {
        Some((job, fence)) => (Some(job.clone()), Some(*fence)),
        None => (None, None),
    }
}

async fn record_change(
    tx: &mut Tx<'_>,
    effect: &Effect,
    state: EffectState,
    tries: i64,
) -> Result<(), DbError> {
    let (job, fence) = authority(effect);
    let subject = job
        .as_ref()
        .map_or(skep_ledger::HOME, JobId::as_str)
        .to_owned();
    let event = EffectChanged {
        effect: effect.kind.to_owned(),
        key_sha256: Digest::of(effect.key.as_bytes()).to_string(),
        state,
        tries,
        job,
        fence,
    };
    record(tx, &subject, &event).await
}
