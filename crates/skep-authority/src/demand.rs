//! Asking whether a fence is current.

use skep_db::{DbError, Tx, params};
use skep_types::{Fence, JobId};

/// Why a fence does not give authority.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The fence is not the current one.
    #[error("prove authority over the job: the fence is stale")]
    Stale {
        /// The fence that somebody holds now; `None` if nobody does.
        current: Option<Fence>,
    },
    /// The store failed.
    #[error("read the authority over the job")]
    Db(#[from] DbError),
}

impl AuthorityError {
    /// The stable code for users and scripts.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Stale { .. } => "stale_fence",
            Self::Db(_) => "database_unavailable",
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Stale { .. } => {
                Some("the job was cancelled, ended or taken over; look at `skep job show`".into())
            }
            Self::Db(_) => None,
        }
    }
}

/// Fails unless `fence` is the job's current one and somebody holds it.
///
/// For writing transactions only. The answer holds until the transaction ends: raising or
/// withdrawing the fence waits for it.
pub async fn demand(tx: &mut Tx<'_>, job: &JobId, fence: Fence) -> Result<(), AuthorityError> {
    let sql = "SELECT fence FROM authority WHERE job_id = ?1 /*lock*/";
    let row = tx.query_opt(sql, params![job.as_str()]).await?;
    let current = row.map(|row| row.get("fence").map(Fence)).transpose()?;
    if current == Some(fence) {
        Ok(())
    } else {
        Err(AuthorityError::Stale { current })
    }
}
