//! The end of a worker: what it left is taken in, and what that means for its job.

use super::{After, Ended, Worker, leftover, parse_oid};
use crate::artifact::{self, StoreError};
use crate::context::Context;
use crate::engine::{StepFailure, advance, finish};
use crate::error::{DirectorError, describe};
use crate::event::{self, ResultRecorded};
use crate::limits::{CONTRACT_ERROR_BYTES_MAX, RETRY};
use crate::liveness::Reason;
use crate::record::{self, LeftoverRow, ResultRow, put_result};
use crate::running::Signal;
use crate::verify::record_missing;
use skep_db::Tx;
use skep_harness::RunOutcome;
use skep_queue::graph::{self, NewArtifact};
use skep_queue::{AttemptEnd, Claim, Lease};
use skep_sandbox::AttemptRepository;
use skep_stdx::{Entropy, Redactor};
use skep_types::{AttemptId, AttemptState, FailureClass, JobState, Role};
use std::path::Path;

/// What an attempt leaves besides its result.
struct Left {
    /// For the jobs that wait for it.
    artifacts: Vec<NewArtifact>,
    /// For whoever looks at why it failed.
    kept: Option<LeftoverRow>,
}

impl Worker<'_> {
    /// Imports the tip, and records result, end of the attempt and next state together.
    pub(super) async fn take_in(
        &self,
        folder: &Path,
        repository: &AttemptRepository,
        ended: Ended,
        proof: String,
        redactor: &Redactor,
    ) -> Result<After, StepFailure> {
        let Ended {
            outcome,
            refusals,
            ended_for,
        } = ended;
        let failure = ended_for.map(Reason::class).or(outcome.failure);
        let imported = self.import(repository).await?;
        skep_stdx::crash::point("attempt.imported");
        let mut end = match End::of(&outcome, failure, imported.as_ref().err()) {
            // Nobody raises the budget of a review; the job it is about asks a person instead.
            End::Parked(class) if self.dispatch.reviews.is_some() => End::Failed(class),
            end @ (End::Contract | End::Parked(_) | End::Failed(_)) => end,
        };
        // A worker that ran out of disk has not failed; one that left a contract is judged by it.
        if matches!(end, End::Failed(_))
            && let Some(shortage) = crate::room::shortage(&self.context.home)
        {
            return Err(shortage.refusal().into());
        }
        let mut refused = None;
        let mut artifacts = Vec::new();
        if end == End::Contract {
            match artifact::store(self.context, folder, redactor, self.dispatch.tier) {
                Ok(stored) => artifacts = stored,
                Err(StoreError::Failed(error)) => return Err(error.into()),
                Err(StoreError::Refused(why)) => {
                    end = End::Failed(FailureClass::InvalidOutput);
                    refused = Some(why);
                }
            }
        }
        let contract = outcome.contract.as_ref();
        let error = contract.err().map(|error| in_short(&describe(error)));
        let row = ResultRow {
            attempt: self.attempt.clone(),
            job: self.lease.job.clone(),
            fence: self.lease.fence,
            contract_error: error
                .or_else(|| imported.as_ref().err().cloned())
                .or(refused),
            tip_commit: imported.ok(),
            contract: contract
                .ok()
                .and_then(|contract| serde_json::to_string(contract).ok()),
            report: report(folder, redactor),
            exit_code: outcome.exit.code.map(i64::from),
            isolation: proof,
            refusals,
        };
        let status = contract.ok().map(|contract| contract.status.as_str());
        let recorded = recorded(&row, status);
        let kept = match end {
            End::Failed(_) => Some(self.keep(folder, row.tip_commit.clone(), redactor).await),
            End::Contract | End::Parked(_) => None,
        };
        let left = Left { artifacts, kept };
        self.record_end(row, recorded, end, outcome.session_id, left)
            .await
    }

    /// The commit the worker left, in the engine's vault; or why it was not taken.
    async fn import(
        &self,
        repository: &AttemptRepository,
    ) -> Result<Result<String, String>, DirectorError> {
        let dispatch = self.dispatch;
        let incomplete = || DirectorError::incomplete("the record names no base");
        let base = dispatch.base_commit.as_deref().ok_or_else(incomplete)?;
        if dispatch.role != Role::Builder {
            let seen = dispatch.reviewed_commit.as_deref().unwrap_or(base);
            return Ok(Ok(seen.to_owned()));
        }
        let vault = dispatch.vault.as_deref().ok_or_else(incomplete)?;
        let git = repository.attempt_dir.join("git");
        let (vault, base) = (Path::new(vault), parse_oid(base)?);
        let tip = skep_sandbox::import_tip(vault, &git, &repository.branch, &base).await;
        Ok(tip
            .map(|tip| tip.to_string())
            .map_err(|error| describe(&error)))
    }

    async fn record_end(
        &self,
        row: ResultRow,
        recorded: ResultRecorded,
        end: End,
        session_id: Option<String>,
        left: Left,
    ) -> Result<After, StepFailure> {
        let (lease, attempt) = (self.lease.clone(), self.attempt.clone());
        let delay_ms = self.retry_delay_ms(end);
        let reason = row.contract_error.clone();
        self.context
            .db
            .write("attempt ended", async move |tx: &mut Tx<'_>| {
                put_result(tx, &row).await?;
                graph::put_artifacts(tx, &lease, &left.artifacts)
                    .await
                    .map_err(|e| DirectorError::outside("record the artifacts", e))?;
                event::append(tx, lease.job.as_str(), &recorded).await?;
                if let Some(kept) = &left.kept {
                    leftover::record(tx, kept).await?;
                }
                // What answered is the gateway's word, not the worker's.
                let answered = skep_gateway::attempt_models(tx, &attempt).await?;
                let attempt_end = AttemptEnd {
                    state: end.attempt_state(),
                    failure_class: end.failure(),
                    model_actual: answered.into_iter().find_map(|model| model.actual),
                    session_id: session_id.clone(),
                    counts_as_attempt: end.counts(),
                };
                skep_queue::attempt_ended(tx, &lease, &attempt, &attempt_end)
                    .await
                    .map_err(|e| DirectorError::outside("record the attempt's end", e))?;
                let reason = reason.as_deref();
                match (end, delay_ms) {
                    (End::Contract, _) => {
                        record::clear_reason(tx, &lease.job).await?;
                        advance(tx, &lease, JobState::Verifying, true, None).await
                    }
                    (End::Parked(class), _) => {
                        record::put_reason(tx, &lease.job, BUDGET_USED_UP).await?;
                        advance(tx, &lease, JobState::WaitingBudget, false, Some(class)).await
                    }
                    (End::Failed(class), Some(delay_ms)) => {
                        back_off(tx, &lease, class, delay_ms, reason.unwrap_or_default()).await
                    }
                    (End::Failed(class), None) => {
                        record_missing(tx, &lease, &attempt, reason).await?;
                        finish(tx, &lease, JobState::Failed, Some(class), reason).await
                    }
                }
            })
            .await?;
        skep_stdx::crash::point("attempt.recorded");
        Ok(match end {
            End::Contract => After::Verify,
            End::Parked(_) | End::Failed(_) => After::Left,
        })
    }

    /// When to try again what failed for a passing reason; nothing where a retry cannot help.
    fn retry_delay_ms(&self, end: End) -> Option<i64> {
        let job = &self.claim.job;
        let can_help = matches!(end, End::Failed(class) if class.is_transient());
        // The provider's troubles use up no attempts, however long they last.
        let may_try = !end.counts() || job.attempts_used + 1 < job.attempts_max;
        (can_help && may_try).then(|| retry_delay_ms(self.claim, &*self.context.entropy))
    }

    /// The worker was ended by a cancel or a stop; its attempt counts for nothing. What a person
    /// cancels is kept as far as it got.
    pub(super) async fn stopped(
        &self,
        folder: &Path,
        repository: &AttemptRepository,
        how: Signal,
        redactor: &Redactor,
    ) -> Result<After, StepFailure> {
        match how {
            Signal::Stopping => interrupted(self.context, self.lease, self.attempt).await?,
            Signal::Cancelled => {
                let tip = self.import(repository).await?.ok();
                let kept = self.keep(folder, tip, redactor).await;
                self.context
                    .db
                    .write("keep what is left", async move |tx: &mut Tx<'_>| {
                        leftover::record(tx, &kept).await
                    })
                    .await?;
            }
            Signal::LeaseLost | Signal::Go => {}
        }
        Ok(After::Left)
    }
}

/// What a reviewer wrote. A zero byte is no text for every store, and no report either.
fn report(folder: &Path, redactor: &Redactor) -> Option<String> {
    let bytes = read_limited(&folder.join("out/review.json"), redactor)?;
    let text = String::from_utf8(bytes).ok()?;
    (!text.contains('\0')).then_some(text)
}

/// What the ledger holds of a result.
fn recorded(row: &ResultRow, contract_status: Option<&'static str>) -> ResultRecorded {
    ResultRecorded {
        job: row.job.clone(),
        attempt: row.attempt.clone(),
        fence: row.fence,
        tip_commit: row.tip_commit.clone(),
        contract_status,
        exit_code: row.exit_code,
        refusals: row.refusals,
    }
}

/// Queues a job again whose attempt this engine ends because it stops.
pub(crate) async fn interrupted(
    context: &Context,
    lease: &Lease,
    attempt: &AttemptId,
) -> Result<(), DirectorError> {
    let (lease, attempt) = (lease.clone(), attempt.clone());
    context
        .db
        .write("attempt interrupted", async move |tx: &mut Tx<'_>| {
            end_lost(tx, &lease, &attempt).await?;
            advance(tx, &lease, JobState::Queued, false, None).await
        })
        .await
}

/// Said of a job that waits for money.
const BUDGET_USED_UP: &str =
    "the budget is used up; raise it with `skep job retry ID --budget-usd X`";

/// What the end of a worker means for its job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// There is a contract to verify.
    Contract,
    /// A budget is used up; the work can go on when it is raised.
    Parked(FailureClass),
    /// There is nothing to verify.
    Failed(FailureClass),
}

impl End {
    fn of(
        outcome: &RunOutcome,
        failure: Option<FailureClass>,
        import_error: Option<&String>,
    ) -> Self {
        match failure {
            Some(FailureClass::BudgetExceeded) => Self::Parked(FailureClass::BudgetExceeded),
            _ if outcome.contract.is_ok() && import_error.is_none() => Self::Contract,
            _ if outcome.contract.is_ok() => Self::Failed(FailureClass::InvalidOutput),
            Some(class) => Self::Failed(class),
            None if outcome.exit.code == Some(0) => Self::Failed(FailureClass::EmptySuccess),
            None => Self::Failed(FailureClass::WorkerCrash),
        }
    }

    /// Whether the attempt uses up one of the job's.
    const fn counts(self) -> bool {
        !matches!(
            self,
            Self::Parked(_) | Self::Failed(FailureClass::RateLimit | FailureClass::ProviderOutage)
        )
    }

    const fn attempt_state(self) -> AttemptState {
        match self {
            Self::Contract => AttemptState::Succeeded,
            Self::Parked(_) => AttemptState::Parked,
            Self::Failed(_) => AttemptState::Failed,
        }
    }

    const fn failure(self) -> Option<FailureClass> {
        match self {
            Self::Contract => None,
            Self::Parked(class) | Self::Failed(class) => Some(class),
        }
    }
}

/// Ends an attempt that was interrupted by no fault of its own; it counts for nothing.
pub(crate) async fn end_lost(
    tx: &mut Tx<'_>,
    lease: &Lease,
    attempt: &AttemptId,
) -> Result<(), DirectorError> {
    let end = AttemptEnd {
        state: AttemptState::Lost,
        failure_class: None,
        model_actual: None,
        session_id: None,
        counts_as_attempt: false,
    };
    skep_queue::attempt_ended(tx, lease, attempt, &end)
        .await
        .map_err(|e| DirectorError::outside("record the attempt's end", e))
}

/// Ends an attempt whose step could not be finished.
pub(crate) async fn end_failed(
    tx: &mut Tx<'_>,
    lease: &Lease,
    attempt: &AttemptId,
    class: FailureClass,
) -> Result<(), DirectorError> {
    let open = skep_queue::attempts(tx, &lease.job)
        .await?
        .iter()
        .any(|a| a.id == *attempt && !a.state.is_terminal());
    if !open {
        return Ok(());
    }
    let end = AttemptEnd {
        state: AttemptState::Failed,
        failure_class: Some(class),
        model_actual: None,
        session_id: None,
        counts_as_attempt: true,
    };
    skep_queue::attempt_ended(tx, lease, attempt, &end)
        .await
        .map_err(|e| DirectorError::outside("record the attempt's end", e))
}

/// How long a job that failed for a passing reason waits: longer with every claim.
pub(crate) fn retry_delay_ms(claim: &Claim, entropy: &dyn Entropy) -> i64 {
    let retry = u32::try_from(claim.fence.0 - 1).unwrap_or(0);
    RETRY.delay_ms(retry, entropy)
}

/// Sets a job aside until its next try.
pub(crate) async fn back_off(
    tx: &mut Tx<'_>,
    lease: &Lease,
    class: FailureClass,
    delay_ms: i64,
    reason: &str,
) -> Result<(), DirectorError> {
    let now = tx.now_ms().await?;
    record::put_reason(tx, &lease.job, reason).await?;
    let how = skep_queue::Advance {
        keep_lease: false,
        failure: Some(class),
        run_at_ms: Some(now + delay_ms),
    };
    skep_queue::advance(tx, lease, JobState::Backoff, how)
        .await
        .map(|_| ())
        .map_err(|e| DirectorError::outside("set the job aside", e))
}

/// What is wrong with a contract, as it is shown: it quotes what the worker wrote, which may be
/// long, or hold a zero byte, which is no text for every store.
fn in_short(error: &str) -> String {
    let text = error.replace('\0', "\\0");
    match text.floor_char_boundary(CONTRACT_ERROR_BYTES_MAX) {
        end if end < text.len() => format!("{} [...]", &text[..end]),
        _ => text,
    }
}

/// Reads a file the worker wrote: a plain file, up to the contract's limit and one byte more, so
/// that the reader sees that it is too large. Never through a link, and without its key.
pub(super) fn read_limited(path: &Path, redactor: &Redactor) -> Option<Vec<u8>> {
    use std::io::Read as _;
    let is_file = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file());
    if !is_file {
        return None;
    }
    let mut bytes = Vec::new();
    let limit = skep_types::contract::CONTRACT_BYTES_MAX as u64 + 1;
    std::fs::File::open(path)
        .ok()?
        .take(limit)
        .read_to_end(&mut bytes)
        .ok()?;
    Some(match String::from_utf8(bytes) {
        Ok(text) => redactor.redact(&text).into_bytes(),
        Err(error) => error.into_bytes(),
    })
}
