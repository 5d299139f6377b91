//! Artifacts: what a job left for others, by reference. The bytes lie where `place` says; this
//! row says which bytes they are.

use super::set;
use crate::change::lock;
use crate::error::AdvanceError;
use crate::event::{ArtifactLeft, note};
use crate::lease::{Lease, current};
use crate::limits::NODE_NAME_BYTES_MAX;
use skep_db::{DbError, Row, Tx, params};
use skep_types::{JobId, Tier};

/// An artifact to be put on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewArtifact {
    /// Its name; one that [`is_artifact_name`] takes.
    pub name: String,
    /// SHA-256 of its bytes, in hexadecimal.
    pub digest: String,
    /// Its size.
    pub bytes: i64,
    /// Where its bytes lie, as whoever stored them calls it.
    pub place: String,
    /// What its data is.
    pub tier: Tier,
}

/// An artifact of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// The job that left it.
    pub job: JobId,
    /// What was put on record.
    pub artifact: NewArtifact,
}

/// Whether `text` can name an artifact: it becomes the name of a file, on any system.
pub fn is_artifact_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    !text.is_empty()
        && text.len() <= NODE_NAME_BYTES_MAX
        && text.chars().all(plain)
        && !text.starts_with(['.', '-'])
}

/// Puts what a job left on record, in the place of what an earlier attempt of it left. Demands
/// the current fence; counts, sizes and names were checked by whoever stored the bytes.
pub async fn put_artifacts(
    tx: &mut Tx<'_>,
    lease: &Lease,
    artifacts: &[NewArtifact],
) -> Result<(), AdvanceError> {
    let job = lock(tx, &lease.job).await?;
    current(job, lease).map_err(|current| AdvanceError::Stale { current })?;
    let job = lease.job.as_str();
    tx.execute("DELETE FROM artifact WHERE job = ?1", params![job])
        .await?;
    for artifact in artifacts {
        let sql = "INSERT INTO artifact (job, name, digest, bytes, place, tier)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let row = params![
            job,
            &artifact.name,
            &artifact.digest,
            artifact.bytes,
            &artifact.place,
            artifact.tier.as_str(),
        ];
        tx.execute(sql, row).await?;
        let event = ArtifactLeft {
            fence: lease.fence,
            digest: artifact.digest.clone(),
            bytes: artifact.bytes,
        };
        note(tx, &lease.job, &event).await?;
    }
    Ok(())
}

/// The artifacts of `jobs`, by job and name; each job has a bounded number.
pub async fn artifacts(tx: &mut Tx<'_>, jobs: &[JobId]) -> Result<Vec<Artifact>, DbError> {
    let ids: Vec<&str> = jobs.iter().map(JobId::as_str).collect();
    let sql = format!(
        "SELECT job, name, digest, bytes, place, tier FROM artifact
        WHERE job IN {} ORDER BY job, name",
        set::ids(tx.engine())
    );
    let rows = tx.query(&sql, &[set::list(&ids)]).await?;
    rows.iter().map(from_row).collect()
}

fn from_row(row: &Row) -> Result<Artifact, DbError> {
    Ok(Artifact {
        job: row.parse("job")?,
        artifact: NewArtifact {
            name: row.get("name")?,
            digest: row.get("digest")?,
            bytes: row.get("bytes")?,
            place: row.get("place")?,
            tier: row.parse("tier")?,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_plain_file_name() {
        for name in ["report.txt", "a", "A-1_b.tar.gz"] {
            assert!(is_artifact_name(name), "{name}");
        }
        let long = "x".repeat(NODE_NAME_BYTES_MAX + 1);
        for name in [
            "", ".", "..", ".hidden", "-x", "a/b", "a b", "a\0", "\u{e9}", &long,
        ] {
            assert!(!is_artifact_name(name), "{name}");
        }
    }
}
