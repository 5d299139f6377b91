//! How fast jobs start where a rate limits them: the same for the model and for the bystander.

use super::room::Turn;
use skep_queue::FlowPolicy;
use skep_queue::flow::Rate;
use std::collections::BTreeMap;

/// When all starts so far are paid for, in microseconds since 1970, by the name of what is limited.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Pace(BTreeMap<String, i64>);

impl Pace {
    /// A clock that was put back keeps nothing waiting for more than one period.
    pub(crate) fn bound(&mut self, policy: &FlowPolicy, now_ms: i64) {
        let queues = policy.queues.iter().map(|(name, l)| (queue(name), l.rate));
        let backends = policy.backends.iter();
        let backends = backends.map(|(name, l)| (backend(name), l.rate));
        for (name, rate) in queues.chain(backends) {
            if let Some(next_us) = self.0.get_mut(&name)
                && let Some(rate) = rate
            {
                *next_us = (*next_us).min((now_ms + rate.per_ms) * 1_000);
            }
        }
    }

    /// Whether one more that takes its turn like this may start now under `policy`.
    pub(crate) fn allows(&self, turn: &Turn, policy: &FlowPolicy, now_ms: i64) -> bool {
        rates(turn, policy).into_iter().all(|(name, rate)| {
            let ahead_us = us_per_start(rate) * (rate.starts - 1);
            let next_us = self.0.get(&name);
            next_us.is_none_or(|next_us| *next_us <= now_ms * 1_000 + ahead_us)
        })
    }

    pub(crate) fn start(&mut self, turn: &Turn, policy: &FlowPolicy, now_ms: i64) {
        for (name, rate) in rates(turn, policy) {
            let next_us = self.0.entry(name).or_default();
            *next_us = (*next_us).max(now_ms * 1_000) + us_per_start(rate);
        }
    }

    pub(crate) const fn rows(&self) -> &BTreeMap<String, i64> {
        &self.0
    }
}

/// The rates that concern a job, by the name of what they limit.
fn rates(turn: &Turn, policy: &FlowPolicy) -> Vec<(String, Rate)> {
    let of_queue = policy.queues.get(&turn.queue).and_then(|limit| limit.rate);
    let of_backend = turn.backend.as_ref().and_then(|name| {
        let rate = policy.backends.get(name)?.rate?;
        Some((backend(name), rate))
    });
    let of_queue = of_queue.map(|rate| (queue(&turn.queue), rate));
    of_queue.into_iter().chain(of_backend).collect()
}

const fn us_per_start(rate: Rate) -> i64 {
    rate.per_ms * 1_000 / rate.starts
}

fn queue(name: &str) -> String {
    format!("queue {name}")
}

fn backend(name: &str) -> String {
    format!("backend {name}")
}
