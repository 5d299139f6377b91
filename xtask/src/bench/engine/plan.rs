//! How long and how often: the whole run, and the quick one that only proves that every part works.

use crate::options::Options;

/// The lengths of one run.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// Whether the figures only prove that the stand works.
    pub(super) quick: bool,
    /// How often each figure is taken.
    pub(super) repetitions: usize,
    /// One measurement of throughput, in seconds.
    pub(super) seconds: u64,
    /// Before a Node driver's clock starts, and a Python driver's, whose workers start slowly.
    pub(super) warm_up_s: [u64; 2],
    /// The sustained run of ours, and of a peer, in seconds.
    pub(super) sustained_s: [u64; 2],
    /// One sample of the sustained run, in seconds.
    pub(super) sample_s: u64,
    /// One measurement beside a pinned snapshot, in seconds.
    pub(super) pinned_s: u64,
    /// One measurement of the pick-up latency, in seconds.
    pub(super) pickup_s: u64,
    /// Jobs that wait while one is claimed.
    pub(super) backlog_jobs: u64,
    /// Claims that are timed beside them.
    pub(super) backlog_claims: u64,
    /// Finished jobs at which the cost of a job is measured.
    pub(super) growth_sizes: Vec<u64>,
    /// Jobs that one such measurement is taken over.
    pub(super) growth_window: u64,
    /// Jobs of the measurement that the gate holds.
    pub(super) gate_jobs: u64,
    /// How long an idle server is watched, in seconds.
    pub(super) idle_s: u64,
    /// Whether what the gate measures becomes what it accepts.
    pub(super) accept: bool,
}

impl Plan {
    /// The plan that the command line asks for.
    pub(super) fn of(options: &Options) -> Self {
        let mut plan = if options.quick {
            Self::quick()
        } else {
            Self::whole()
        };
        plan.accept = options.engine.accept;
        if let Some(minutes) = options.engine.minutes {
            plan.sustained_s[0] = u64::from(minutes) * 60;
        }
        if options.engine.full {
            plan.growth_sizes.push(10_000_000);
        }
        plan
    }

    fn whole() -> Self {
        Self {
            quick: false,
            repetitions: 3,
            seconds: 15,
            warm_up_s: [5, 8],
            sustained_s: [600, 180],
            sample_s: 60,
            pinned_s: 40,
            pickup_s: 30,
            backlog_jobs: 1_000_000,
            backlog_claims: 1_000,
            growth_sizes: vec![10_000, 100_000, 1_000_000],
            growth_window: 20_000,
            gate_jobs: 8_192,
            idle_s: 30,
            accept: false,
        }
    }

    fn quick() -> Self {
        Self {
            quick: true,
            repetitions: 1,
            seconds: 2,
            warm_up_s: [1, 4],
            sustained_s: [6, 4],
            sample_s: 2,
            pinned_s: 3,
            pickup_s: 3,
            backlog_jobs: 5_000,
            backlog_claims: 50,
            growth_sizes: vec![2_000, 10_000],
            growth_window: 1_000,
            // The same as in the whole run: the gate compares bytes to the last digit but one.
            gate_jobs: 8_192,
            idle_s: 5,
            accept: false,
        }
    }
}
