//! Rate limits by the generic cell rate algorithm (ITU-T I.371): one number per limit, the time at
//! which the line of its starts would be drained, instead of a bucket that must be refilled.

use crate::flow::{FlowPolicy, Rate};
use skep_db::{DbError, Tx, params};
use std::collections::HashMap;

/// The rate limits of a policy, as they stand during one claim.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    now_us: i64,
    limits: HashMap<String, Limited>,
}

#[derive(Debug, Clone, Copy)]
struct Limited {
    rate: Rate,
    /// When all starts so far are paid for, in microseconds since 1970.
    next_us: i64,
    changed: bool,
}

impl Limited {
    const fn us_per_start(&self) -> i64 {
        let us = self.rate.per_ms.saturating_mul(1_000) / at_least_one(self.rate.starts);
        at_least_one(us)
    }

    /// A start may be paid for ahead, up to as many as the rate has in one period.
    const fn allows(&self, now_us: i64) -> bool {
        let ahead = self.us_per_start().saturating_mul(self.rate.starts - 1);
        self.next_us <= now_us.saturating_add(ahead)
    }

    fn start(&mut self, now_us: i64) {
        self.next_us = self.next_us.max(now_us).saturating_add(self.us_per_start());
        self.changed = true;
    }
}

const fn at_least_one(value: i64) -> i64 {
    if value < 1 { 1 } else { value }
}

impl Rates {
    /// The limits of `policy`, with nothing started yet.
    pub(crate) fn of(policy: &FlowPolicy, now_ms: i64) -> Self {
        let queues = policy.queues.iter().map(|(name, l)| (queue(name), l.rate));
        let backends = policy
            .backends
            .iter()
            .map(|(name, l)| (backend(name), l.rate));
        let limited = |rate| Limited {
            rate,
            next_us: 0,
            changed: false,
        };
        Self {
            now_us: now_ms.saturating_mul(1_000),
            limits: queues
                .chain(backends)
                .filter_map(|(name, rate)| Some((name, limited(rate?))))
                .collect(),
        }
    }

    /// The limits of `policy` as they stand in the store.
    pub(crate) async fn read(
        tx: &mut Tx<'_>,
        policy: &FlowPolicy,
        now_ms: i64,
    ) -> Result<Self, DbError> {
        let mut rates = Self::of(policy, now_ms);
        for (name, limited) in &mut rates.limits {
            let sql = "SELECT next_us FROM queue_rate WHERE name = ?1";
            if let Some(row) = tx.query_opt(sql, params![name]).await? {
                // A clock that was set back must not keep the line closed for more than a period.
                let furthest = now_ms.saturating_add(limited.rate.per_ms);
                let (next_us, furthest) = (row.get("next_us")?, furthest.saturating_mul(1_000));
                limited.next_us = furthest.min(next_us);
                limited.changed = furthest < next_us;
            }
        }
        Ok(rates)
    }

    /// Writes down what was started.
    pub(crate) async fn write(&self, tx: &mut Tx<'_>) -> Result<(), DbError> {
        for (name, limited) in self.limits.iter().filter(|(_, limited)| limited.changed) {
            let sql = "INSERT INTO queue_rate (name, next_us) VALUES (?1, ?2)
                ON CONFLICT (name) DO UPDATE SET next_us = excluded.next_us";
            tx.execute_later(sql, params![name, limited.next_us])
                .await?;
        }
        Ok(())
    }

    /// Whether a job of this queue and backend may start now.
    pub(crate) fn allows(&self, queue_name: &str, backend_name: Option<&str>) -> bool {
        self.limits.is_empty()
            || names(queue_name, backend_name)
                .iter()
                .filter_map(|name| self.limits.get(name))
                .all(|limited| limited.allows(self.now_us))
    }

    /// Counts a start.
    pub(crate) fn start(&mut self, queue_name: &str, backend_name: Option<&str>) {
        if self.limits.is_empty() {
            return;
        }
        for name in names(queue_name, backend_name) {
            if let Some(limited) = self.limits.get_mut(&name) {
                limited.start(self.now_us);
            }
        }
    }
}

fn names(queue_name: &str, backend_name: Option<&str>) -> Vec<String> {
    let mut names = vec![queue(queue_name)];
    names.extend(backend_name.map(backend));
    names
}

fn queue(name: &str) -> String {
    format!("queue {name}")
}

fn backend(name: &str) -> String {
    format!("backend {name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limited(starts: i64, per_ms: i64) -> Limited {
        Limited {
            rate: Rate { starts, per_ms },
            next_us: 0,
            changed: false,
        }
    }

    /// How many starts the limit lets through when asked without end at each of these times.
    fn let_through(mut limit: Limited, times_ms: &[i64]) -> Vec<i64> {
        let mut counts = Vec::new();
        for time in times_ms {
            let (mut count, now_us) = (0, time * 1_000);
            while limit.allows(now_us) {
                limit.start(now_us);
                count += 1;
            }
            counts.push(count);
        }
        counts
    }

    #[test]
    fn a_period_lets_its_starts_through_and_no_more() {
        for (starts, per_ms, times, expected) in [
            (
                3,
                300,
                &[1_000, 1_000, 1_100, 1_250, 1_300][..],
                &[3, 0, 1, 1, 1][..],
            ),
            (1, 1_000, &[5_000, 5_999, 6_000], &[1, 0, 1]),
            (5, 1_000, &[10_000, 60_000], &[5, 5]),
        ] {
            assert_eq!(
                let_through(limited(starts, per_ms), times),
                expected,
                "{starts}/{per_ms}"
            );
        }
    }
}
