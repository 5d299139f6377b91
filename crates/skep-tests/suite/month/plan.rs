//! Everything that will happen, drawn from the seed before anything does.

use super::Month;
use super::dice::Dice;
use super::mix::{
    ATTEMPTS_MAX, HOURS, LASTING, LIMITED, LIMITS_IN_TEN_DAYS, PASSING, RESTART_DAYS,
    RETRIED_PER_MILLE, SORTS, STALL_MS, SUCCESS_PER_MILLE, shares,
};
use skep_types::FailureClass;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// A month before it happens.
pub(crate) struct Plan {
    pub(super) seed: u64,
    /// By the time they are asked for.
    pub(crate) jobs: Vec<PlannedJob>,
    /// When the engine is killed and started again, in milliseconds since 1970.
    pub(super) restarts: Vec<i64>,
}

/// A job before it is asked for.
pub(crate) struct PlannedJob {
    /// Its place among the kinds.
    pub(crate) sort: usize,
    /// When it is asked for, in milliseconds since 1970.
    pub(super) at_ms: i64,
    /// People wait for some.
    pub(super) priority: i64,
    /// What happens to it, one after another; the last ends it.
    pub(super) tries: Vec<Try>,
}

/// One run of a worker.
#[derive(Debug, Clone, Copy)]
pub(super) struct Try {
    pub(super) run_ms: i64,
    pub(super) ends: Ends,
}

/// How a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ends {
    Well,
    /// A failure that another try may outlive.
    Passing(FailureClass),
    /// A failure that ends the job.
    Lasting(FailureClass),
    /// A provider's limit, over after this time.
    Limited {
        stall_ms: i64,
    },
}

impl PlannedJob {
    /// Whether it ends well.
    pub(super) fn succeeds(&self) -> bool {
        self.tries
            .last()
            .is_some_and(|last| last.ends == Ends::Well)
    }
}

impl Plan {
    pub(super) fn of(month: &Month, start_ms: i64) -> Self {
        let dice = Dice::of(month.seed);
        let mut sorts: Vec<usize> = shares(month.jobs)
            .iter()
            .enumerate()
            .flat_map(|(sort, count)| (0..*count).map(move |_| sort))
            .collect();
        dice.shuffle(&mut sorts);
        let mut arrivals: Vec<i64> = sorts
            .iter()
            .map(|_| start_ms + arrival(&dice, month.days))
            .collect();
        arrivals.sort_unstable();
        let mut fails = failing(month.jobs);
        dice.shuffle(&mut fails);
        let jobs = sorts.iter().zip(arrivals).zip(fails);
        let mut jobs: Vec<PlannedJob> = jobs
            .map(|((sort, at_ms), fails)| PlannedJob {
                sort: *sort,
                at_ms,
                priority: if dice.happens(150) { 10 } else { 0 },
                tries: tries(&dice, *sort, fails),
            })
            .collect();
        let end = start_ms + month.days * DAY_MS;
        limit(&dice, &mut jobs, start_ms, end);
        let restarts = (1..=month.days / RESTART_DAYS)
            .map(|n| start_ms + n * RESTART_DAYS * DAY_MS - dice.between(0, DAY_MS));
        Self {
            seed: month.seed,
            restarts: restarts.collect(),
            jobs,
        }
    }
}

/// When a job is asked for, in milliseconds from the start.
fn arrival(dice: &Dice, days: i64) -> i64 {
    let hour = i64::try_from(dice.weighted(&HOURS)).unwrap_or(0);
    dice.between(0, days) * DAY_MS + hour * HOUR_MS + dice.between(0, HOUR_MS)
}

/// Exactly as many failing jobs as the published share.
fn failing(jobs: i64) -> Vec<bool> {
    let fail = (jobs * (1_000 - SUCCESS_PER_MILLE) + 500) / 1_000;
    (0..jobs).map(|place| place < fail).collect()
}

fn tries(dice: &Dice, sort: usize, fails: bool) -> Vec<Try> {
    let (low, high) = SORTS[sort].seconds;
    let run = |ends| Try {
        run_ms: dice.length(low * 1_000, high * 1_000),
        ends,
    };
    let passing = || run(Ends::Passing(dice.one_of(&PASSING)));
    // What a provider caused never makes the queue give a job up.
    let own = || run(Ends::Passing(dice.one_of(&PASSING[1..])));
    match (fails, dice.happens(500)) {
        // Half of the jobs that fail do so at once, the others in all of their tries.
        (true, true) => vec![run(Ends::Lasting(dice.one_of(&LASTING)))],
        (true, false) => (0..ATTEMPTS_MAX).map(|_| own()).collect(),
        (false, _) if dice.happens(RETRIED_PER_MILLE) => {
            let before = dice.between(1, ATTEMPTS_MAX);
            let mut tries: Vec<Try> = (0..before).map(|_| passing()).collect();
            tries.push(run(Ends::Well));
            tries
        }
        (false, _) => vec![run(Ends::Well)],
    }
}

/// Lets the jobs that come after a limit's moment meet it, up to four each time.
fn limit(dice: &Dice, jobs: &mut [PlannedJob], start_ms: i64, end_ms: i64) {
    let limits = (end_ms - start_ms) / DAY_MS * LIMITS_IN_TEN_DAYS / 10;
    for _ in 0..limits.max(1) {
        let at = dice.between(start_ms, end_ms);
        let met = dice.between(1, 5);
        let after = jobs
            .iter_mut()
            .filter(|job| job.sort == LIMITED && job.at_ms >= at);
        for job in after.take(usize::try_from(met).unwrap_or(1)) {
            job.tries.insert(
                0,
                Try {
                    run_ms: dice.between(1_000, 30_000),
                    ends: Ends::Limited {
                        stall_ms: dice.between(STALL_MS.0, STALL_MS.1),
                    },
                },
            );
        }
    }
}
