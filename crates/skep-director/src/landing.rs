//! Landing: the one place that moves a target branch, and only by compare-and-swap.
//!
//! The intent (old tip, prebuilt new tip) is on record before the swap, so that a lander that was
//! killed in between finds out what happened by looking at the target. A job is done when its
//! commit was read back from there.

mod target;
mod turn;

pub(crate) use turn::Turns;

use crate::check::{CheckPlan, run_checks};
use crate::context::Context;
use crate::engine::{StepFailure, advance, finish};
use crate::error::{DirectorError, describe};
use crate::event::{self, LandingHeld, LandingIntended, LandingReadBack};
use crate::limits::LANDING_TRIES_MAX;
use crate::record::{self, Dispatch, LandingRow, VerdictRow, put_landing};
use crate::review;
use crate::running::Signal;
use crate::verify::{Next, decide, record_checks, record_verdict};
use skep_db::{DbError, Tx};
use skep_queue::{Claim, Lease};
use skep_types::{ContractStatus, Finding, FindingOutcome, JobState, LandingState, Verdict};
use std::path::Path;
use target::{Merge, Target};
use tokio::sync::watch;
use turn::Turn;

/// Records that a result has passed its gate and waits to be landed.
pub(crate) async fn pend(tx: &mut Tx<'_>, dispatch: &Dispatch) -> Result<(), DirectorError> {
    let Some(target) = &dispatch.target_branch else {
        return Ok(());
    };
    let row = LandingRow {
        job: dispatch.job.clone(),
        state: LandingState::Pending,
        target: target.clone(),
        old_commit: None,
        commit: None,
        read_back_at: None,
        reason: None,
    };
    Ok(put_landing(tx, &row).await?)
}

/// Lands the verified result of the claimed job.
pub(crate) async fn run(
    context: &Context,
    claim: &Claim,
    signal: &watch::Receiver<Signal>,
) -> Result<(), StepFailure> {
    let lease = Lease {
        job: claim.job.id.clone(),
        fence: claim.fence,
    };
    let job = lease.job.clone();
    let (dispatch, landing, verdicts, reviews) = context
        .db
        .read("landing", async move |tx: &mut Tx<'_>| {
            let dispatch = record::dispatch(tx, &job).await?;
            Ok::<_, DbError>((
                dispatch,
                record::landing(tx, &job).await?,
                record::verdicts(tx, &job).await?,
                record::reviews(tx, &job).await?,
            ))
        })
        .await?;
    let invalid = verdicts.iter().filter(|v| v.result == Verdict::Invalid);
    let invalid_rounds = i64::try_from(invalid.count()).unwrap_or(i64::MAX);
    let verified = verdicts
        .into_iter()
        .rev()
        .find(|v| v.result == Verdict::Valid);
    let incomplete = || DirectorError::incomplete("there is no verified commit to land");
    let verified = verified.ok_or_else(incomplete)?;
    // Whatever led here: what the gate has not let through does not land.
    if !review::has_passed(&dispatch, verified.commit.as_deref(), &reviews) {
        return Err(DirectorError::incomplete("the commit has not passed its review").into());
    }
    let (Some(tip), Some(repo), Some(vault), Some(branch)) = (
        verified.commit.clone(),
        &dispatch.repo,
        &dispatch.vault,
        &dispatch.target_branch,
    ) else {
        return Err(incomplete().into());
    };
    let target = Target::new(repo, vault, branch);
    let lander = Lander {
        context,
        lease,
        number: claim.job.number,
        dispatch: &dispatch,
        verified: &verified,
        vault: Path::new(vault),
        target,
        tip,
        invalid_rounds,
        signal,
    };
    lander.land(landing).await
}

/// How one try ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tried {
    /// The job has left this claim.
    Settled,
    /// The target moved in between; what was planned is void.
    Moved,
}

struct Lander<'a> {
    context: &'a Context,
    lease: Lease,
    number: i64,
    dispatch: &'a Dispatch,
    verified: &'a VerdictRow,
    /// There is one for each repository, whichever of its work trees a job named.
    vault: &'a Path,
    target: Target<'a>,
    tip: String,
    /// How many results of this job were found INVALID before.
    invalid_rounds: i64,
    signal: &'a watch::Receiver<Signal>,
}

impl Lander<'_> {
    /// Lands, or says why the target stays as it is. What an interrupted lander left on record is
    /// looked at before anything is planned anew.
    async fn land(&self, left: Option<LandingRow>) -> Result<(), StepFailure> {
        if let Some(intent) = left.filter(|row| row.state == LandingState::Landing)
            && let (Some(old), Some(new)) = (&intent.old_commit, &intent.commit)
            && self.target.contains(new).await?
        {
            let _turn = self.turn().await?;
            return self.read_back(old, new).await;
        }
        // The first try plans and checks beside other landers and may lose to one of them. After
        // that it has its turn from the beginning, so that only somebody else can still move the
        // target.
        let mut turn = None;
        for _ in 0..LANDING_TRIES_MAX {
            if self.try_once(turn).await? == Tried::Settled {
                return Ok(());
            }
            turn = Some(self.turn().await?);
        }
        self.hold(
            LandingState::Pending,
            "the target kept moving; land again with `skep job retry ID`",
        )
        .await
    }

    /// Waits until no other job lands in the same repository.
    async fn turn(&self) -> Result<Turn, StepFailure> {
        let mut signal = self.signal.clone();
        tokio::select! {
            turn = self.context.landings.wait(self.vault) => {
                turn.map_err(|e| DirectorError::outside("wait for a turn in the repository", e).into())
            }
            _ = signal.wait_for(|s| *s != Signal::Go) => {
                Err(DirectorError::conflict("interrupted", "the landing was interrupted", "").into())
            }
        }
    }

    async fn try_once(&self, turn: Option<Turn>) -> Result<Tried, StepFailure> {
        let old = self.target.tip().await?;
        let title = self.dispatch.instruction.lines().next().unwrap_or_default();
        let message = format!(
            "Merge job {}: {}\n\nSkep-Job: {}\n",
            self.number,
            cut(title),
            self.lease.job
        );
        let new = match self
            .target
            .plan(old.as_deref(), &self.tip, &message)
            .await?
        {
            Merge::Ready(new) => new,
            Merge::Contained => {
                let _turn = self.turn_or(turn).await?;
                // Nothing is swapped, so the work tree is as its user has it and stays so.
                self.read_back(&self.tip, &self.tip).await?;
                return Ok(Tried::Settled);
            }
            Merge::Conflict(files) => {
                let reason = format!("git cannot merge: {files}");
                self.hold(LandingState::Conflict, &reason).await?;
                return Ok(Tried::Settled);
            }
        };
        if new != self.tip && !self.merged_commit_passes(&new).await? {
            return Ok(Tried::Settled);
        }
        let _turn = self.turn_or(turn).await?;
        self.finish_others().await?;
        if let Some(reason) = self.target.obstacle(old.as_deref(), &new).await? {
            self.hold(LandingState::Pending, &reason).await?;
            return Ok(Tried::Settled);
        }
        self.target.bring_objects(&self.lease.job, &new).await?;
        let old = old.unwrap_or_else(|| target::NO_COMMIT.to_owned());
        self.intend(&old, &new).await?;
        skep_stdx::crash::point("landing.intended");
        if !self.target.swap(&old, &new).await? {
            return Ok(Tried::Moved);
        }
        skep_stdx::crash::point("landing.swapped");
        self.read_back(&old, &new).await?;
        Ok(Tried::Settled)
    }

    async fn turn_or(&self, turn: Option<Turn>) -> Result<Turn, StepFailure> {
        match turn {
            Some(turn) => Ok(turn),
            None => self.turn().await,
        }
    }

    /// A lander that was killed after its swap has left the work tree behind its branch, and its
    /// job may be claimed after this one. What it changed is not the user's to clean up.
    async fn finish_others(&self) -> Result<(), StepFailure> {
        let (dispatch, own) = (self.dispatch.clone(), self.lease.job.clone());
        let intents = self
            .context
            .db
            .read("landings under way", async move |tx: &mut Tx<'_>| {
                record::landings_under_way(tx, &dispatch).await
            })
            .await?;
        for intent in intents.iter().filter(|intent| intent.job != own) {
            if let (Some(old), Some(new)) = (&intent.old_commit, &intent.commit)
                && self.target.contains(new).await?
            {
                // A tree that cannot be brought in line is an obstacle, which is looked for next.
                if let Err(error) = self.target.sync_work_tree(old, new).await {
                    tracing::warn!(job = %intent.job, error = describe(&error), "a work tree is behind");
                }
            }
        }
        Ok(())
    }

    /// A merge is a commit nobody has checked yet: the job's checks run on it as well.
    async fn merged_commit_passes(&self, merged: &str) -> Result<bool, StepFailure> {
        let (Some(vault), Some(base)) = (&self.dispatch.vault, &self.dispatch.base_commit) else {
            return Ok(false);
        };
        let plan = CheckPlan {
            vault: Path::new(vault),
            base,
            commit: merged,
            commands: &self.dispatch.checks,
            guarded: &[],
            place: self.context.home.attempts().join(format!(
                "{}-{}-merge",
                self.verified.attempt, self.lease.fence
            )),
            logs: self.context.home.logs().join(self.lease.job.as_str()),
            log_prefix: format!("{}-{}-merge", self.verified.attempt, self.lease.fence),
            canaries: false,
            signal: self.signal.clone(),
        };
        let checks = run_checks(self.context, &plan).await?;
        record_checks(self.context, &self.lease, "merge_check", merged, &checks).await?;
        let Some(red) = checks.iter().find(|check| check.exit_code != Some(0)) else {
            return Ok(true);
        };
        let finding = Finding {
            rule: "merge_check".to_owned(),
            claim: format!(
                "`{}` exits 0 on the merge with {}",
                red.command, self.target.branch
            ),
            evidence: red
                .exit_code
                .map_or("stopped at its limit".to_owned(), |code| {
                    format!("exit {code} at {merged}")
                }),
            outcome: FindingOutcome::Contradicted,
        };
        self.send_back(finding).await?;
        Ok(false)
    }

    /// What was verified alone is wrong together with its target: a round of rework like any
    /// other, and as bounded.
    async fn send_back(&self, finding: Finding) -> Result<(), StepFailure> {
        let mut verdict = self.verified.clone();
        verdict.result = Verdict::Invalid;
        verdict.findings.push(finding);
        let next = decide(
            Verdict::Invalid,
            ContractStatus::Done,
            &verdict.findings,
            self.dispatch,
            self.invalid_rounds + 1,
        );
        let refused = self.row(
            LandingState::Refused,
            None,
            None,
            Some("the merge with the target fails its checks"),
        );
        let lease = self.lease.clone();
        self.context
            .db
            .write("merge check failed", async move |tx: &mut Tx<'_>| {
                record_verdict(tx, &verdict).await?;
                put_landing(tx, &refused).await?;
                if let Next::Fail(class, reason) = &next {
                    let failed = JobState::Failed;
                    return finish(tx, &lease, failed, Some(*class), Some(reason)).await;
                }
                advance(tx, &lease, JobState::Rework, false, None).await
            })
            .await?;
        Ok(())
    }

    async fn intend(&self, old: &str, new: &str) -> Result<(), DirectorError> {
        let row = self.row(LandingState::Landing, Some(old), Some(new), None);
        let event = LandingIntended {
            job: self.lease.job.clone(),
            fence: self.lease.fence,
            old_commit: old.to_owned(),
            new_commit: new.to_owned(),
        };
        let lease = self.lease.clone();
        self.context
            .db
            .write("intend landing", async move |tx: &mut Tx<'_>| {
                skep_authority::demand(tx, &lease.job, lease.fence)
                    .await
                    .map_err(|e| DirectorError::outside("show the current fence", e))?;
                put_landing(tx, &row).await?;
                event::append(tx, lease.job.as_str(), &event).await
            })
            .await
    }

    /// Brings a checked-out target in line, reads the commit back, and ends the job.
    async fn read_back(&self, old: &str, new: &str) -> Result<(), StepFailure> {
        // The branch has moved and that is the landing. A work tree in use by somebody else does
        // not undo it; its user is told how to bring it in line.
        let behind = self.target.sync_work_tree(old, new).await.err().map(|error| {
            format!(
                "landed, but the work tree could not be brought in line ({}); `git read-tree -m -u {old} {new}` there does it",
                describe(&error)
            )
        });
        skep_stdx::crash::point("landing.synced");
        if !self.target.contains(new).await? {
            let reason = "the target was moved away from the landed commit; land again with `skep job retry ID`";
            return self.hold(LandingState::Pending, reason).await;
        }
        let row = self.row(LandingState::Landed, Some(old), Some(new), None);
        let event = LandingReadBack {
            job: self.lease.job.clone(),
            fence: self.lease.fence,
            commit: new.to_owned(),
        };
        let lease = self.lease.clone();
        self.context
            .db
            .write("landed", async move |tx: &mut Tx<'_>| {
                let mut landed = row.clone();
                landed.read_back_at = Some(tx.now_ms().await?);
                put_landing(tx, &landed).await?;
                event::append(tx, lease.job.as_str(), &event).await?;
                finish(tx, &lease, JobState::Done, None, behind.as_deref()).await
            })
            .await?;
        skep_stdx::crash::point("landing.recorded");
        Ok(())
    }

    /// Sets the landing aside until a person has acted.
    async fn hold(&self, state: LandingState, reason: &str) -> Result<(), StepFailure> {
        let row = self.row(state, None, None, Some(reason));
        let event = LandingHeld {
            job: self.lease.job.clone(),
            fence: self.lease.fence,
            state: state.as_str(),
        };
        let (lease, reason) = (self.lease.clone(), reason.to_owned());
        self.context
            .db
            .write("hold landing", async move |tx: &mut Tx<'_>| {
                put_landing(tx, &row).await?;
                record::put_reason(tx, &lease.job, &reason).await?;
                event::append(tx, lease.job.as_str(), &event).await?;
                advance(tx, &lease, JobState::WaitingHuman, false, None).await
            })
            .await?;
        Ok(())
    }

    fn row(
        &self,
        state: LandingState,
        old: Option<&str>,
        new: Option<&str>,
        reason: Option<&str>,
    ) -> LandingRow {
        LandingRow {
            job: self.lease.job.clone(),
            state,
            target: self.target.branch.to_owned(),
            old_commit: old.map(str::to_owned),
            commit: new.map(str::to_owned),
            read_back_at: None,
            reason: reason.map(str::to_owned),
        }
    }
}

/// The first 60 characters of a title: git shows subjects in lines of about 72.
fn cut(title: &str) -> String {
    title.chars().take(60).collect()
}
