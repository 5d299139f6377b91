//! What a worker is told: the task as it was given, and after a failed verification what was
//! found. Findings and diffs are data in it, fenced off as such.

use crate::context::Context;
use crate::error::DirectorError;
use crate::limits::FINDINGS_BYTES_MAX;
use crate::record::{Dispatch, VerdictRow};
use crate::review;
use skep_types::FindingOutcome;
use std::fmt::Write as _;

/// The instruction for the next attempt at `dispatch`.
pub(crate) async fn instruction(
    context: &Context,
    dispatch: &Dispatch,
    last_verdict: Option<&VerdictRow>,
) -> Result<String, DirectorError> {
    if dispatch.reviews.is_some() {
        return review::instruction(context, dispatch).await;
    }
    let mut text = dispatch.instruction.clone();
    let (reviews, job) = (context.db.clone(), dispatch.job.clone());
    let reviews = reviews
        .read("reviews", async move |tx: &mut skep_db::Tx<'_>| {
            crate::record::reviews(tx, &job).await
        })
        .await?;
    if let Some(verdict) = last_verdict {
        let contradicted: Vec<_> = verdict
            .findings
            .iter()
            .filter(|f| f.outcome == FindingOutcome::Contradicted)
            .collect();
        if !contradicted.is_empty() {
            text.push_str("\n\n## Findings on your last result\n\nThe engine checked your result against the evidence and found it INVALID. Your commits so far are in the repository. Repair what is listed, then finish with a contract that claims only what you saw.\n");
            let end = text.len() + FINDINGS_BYTES_MAX;
            for (number, finding) in contradicted.iter().enumerate() {
                let line = format!(
                    "\n- {}: {}\n  evidence: {}",
                    finding.rule, finding.claim, finding.evidence
                );
                if text.len() + line.len() > end {
                    let left = contradicted.len() - number;
                    // Writing to a String cannot fail.
                    let _ = write!(text, "\n- and {left} more");
                    break;
                }
                text.push_str(&line);
            }
            text.push('\n');
        }
    }
    if let Some(defects) = reviews
        .iter()
        .rev()
        .find(|r| r.verdict.is_some())
        .and_then(review::defects)
    {
        let _ = write!(
            text,
            "\n\n## Defects found by the reviewer\n\nYour commits so far are in the repository. Repair these:\n\n{defects}"
        );
    }
    Ok(text)
}
