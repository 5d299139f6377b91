//! The simulator can fail: each defect is found, with the model and by the other rules alone.

use super::{Failure, Mutation, Options, Rule, replay, simulate};
use skep_testkit::Backend;

/// Seeds in which every defect must show. The rarest, starts under a rate that outlive a jump of
/// the clock, first show in the 101st.
const SEEDS: u64 = 128;

fn run<T>(future: impl Future<Output = anyhow::Result<T>>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(future).unwrap()
}

fn options(mutation: Option<Mutation>, model: bool, shorten: bool) -> Options {
    Options {
        backend: Backend::Sqlite,
        mutation,
        model,
        shorten,
    }
}

fn find(mutation: Mutation, model: bool, shorten: bool) -> Failure {
    let options = options(Some(mutation), model, shorten);
    run(simulate(1, SEEDS, &options)).failure.unwrap()
}

/// The defect is found with the model, and without it by `rule`.
#[track_caller]
fn check(mutation: Mutation, rule: Rule) {
    find(mutation, true, false);
    let alone = find(mutation, false, false);
    assert_eq!(alone.violation.rule, rule, "{alone:?}");
}

macro_rules! found {
    ($($name:ident: $mutation:ident by $rule:ident,)+) => { $(
        #[test]
        fn $name() { check(Mutation::$mutation, Rule::$rule); }
    )+ };
}

found! {
    a_claim_that_ignores_the_lease: ClaimIgnoresLease by OneHolder,
    a_write_that_skips_the_fence: WriteSkipsFence by OldFenceRefused,
    a_reconciliation_that_forgets: ReconcileForgets by LeaseEnds,
    a_lease_that_outlives_a_jump: LeaseOutlivesJump by LeaseEnds,
    a_key_that_is_not_kept: EnqueueForgetsKey by OneJobPerKey,
    a_key_that_takes_any_request: KeyTakesAnyRequest by OneJobPerKey,
    a_key_that_stands_for_no_job: KeyMissesName by StoreAnswers,
    a_singleton_that_is_not_alone: EnqueueForgetsSingleton by OneJobPerName,
    a_debounce_that_is_made_again: EnqueueForgetsDebounce by OneJobPerName,
    an_answer_before_the_commit: AnswersBeforeCommit by NothingLost,
    an_ended_job_that_is_lost: LosesEndedJob by NothingLost,
    a_done_job_that_runs_again: DoneIsNotFinal by EventsGiveRow,
    a_change_without_an_event: ChangesWithoutEvent by EventsGiveRow,
    a_fence_that_outlives_its_lease: FenceOutlivesLease by FenceNeedsLease,
    a_wake_that_is_lost: WakeIsLost by NothingStuck,
    an_attempt_that_is_left_open: LeavesAttemptOpen by EventsGiveRow,
    a_batch_that_is_made_in_part: BatchMakesSome by NothingLeft,
    a_batch_that_skips_the_fence: BatchSkipsFence by OldFenceRefused,
    a_batch_answered_out_of_order: BatchMixesAnswers by OldFenceRefused,
    a_claim_of_a_paused_queue: ClaimIgnoresPause by PausedWaits,
    a_resumption_that_is_lost: ResumeIsLost by PauseStands,
    a_claim_that_knows_no_limits: ClaimIgnoresLimits by WithinLimits,
    a_claim_that_knows_no_keys: ClaimIgnoresKeys by WithinLimits,
    a_claim_that_knows_no_rates: ClaimIgnoresRates by WithinRates,
    a_rate_that_outlives_a_jump: RateOutlivesJump by NothingStuck,
    a_limit_that_is_one_less: LimitIsOneLess by NothingStuck,
}

/// Taking a lease back too early loses nothing, and neither does a start that is not put off or
/// goes beyond the limit that is heard of several, so only the model sees it.
#[test]
fn what_comes_too_early() {
    for mutation in [
        Mutation::ReconcileIsHasty,
        Mutation::GivesBackWork,
        Mutation::PutOffIsLost,
        Mutation::KeyHearsLargest,
    ] {
        let found = find(mutation, true, false);
        assert_eq!(found.violation.rule, Rule::AsTheModel);
    }
}

#[test]
fn every_defect_has_a_test() {
    assert_eq!(Mutation::ALL.len(), 30);
}

#[test]
fn a_failing_history_is_made_short() {
    let found = find(Mutation::ClaimIgnoresLease, false, true);
    assert_eq!(found.violation.rule, Rule::OneHolder);
    // Ask, claim, move on with the lease kept, claim again; and what the draw put between them.
    assert!(found.shortest.len() <= 6, "{found:#?}");
}

#[test]
fn a_seed_is_one_history() {
    let told = |seed| {
        let mut lines = Vec::new();
        let well = run(replay(seed, &options(None, true, false), &mut |line| {
            lines.push(line.to_owned());
        }));
        assert!(well, "{lines:#?}");
        lines
    };
    assert_eq!(told(7), told(7));
    assert_ne!(told(7), told(8));
}
