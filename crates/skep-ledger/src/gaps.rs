//! Event numbers that were drawn and have not appeared, on PostgreSQL.
//!
//! A number is drawn before its transaction commits, so a higher one can be visible first. The
//! sealer must look again for the lower one, and for no other, or it would read what it has
//! sealed again and again. A transaction has its own number (xid) before it draws an event's, so a
//! gap is closed for good once every transaction has ended that began before the gap was seen.
//!
//! Invariant: every event number up to the head's last one is sealed, in a gap, or will never
//! appear.

use crate::limits::GAPS_MAX;

/// One stretch of missing numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) first: i64,
    pub(crate) last: i64,
    /// When every transaction below this number has ended, the gap is closed. 0: not known yet.
    ended_below: i64,
}

/// The gaps below a head, in ascending order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Gaps(Vec<Gap>);

/// What one look at the store knows about transactions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Transactions {
    /// Every transaction with a lower number had ended when the look was taken.
    pub(crate) ended_below: i64,
    /// The looking transaction's own number, drawn after every earlier look had ended.
    pub(crate) own: i64,
}

impl Gaps {
    #[cfg(test)]
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn ranges(&self) -> &[Gap] {
        &self.0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether they are ascending stretches of numbers below `last_event`.
    pub(crate) fn lie_below(&self, last_event: i64) -> bool {
        let mut free = 1;
        self.0.iter().all(|gap| {
            let fits = (free..=gap.last).contains(&gap.first) && gap.last < last_event;
            free = gap.last.saturating_add(2);
            fits && gap.ended_below >= 0
        })
    }

    /// The gaps after a look that found the events `seen` (ascending) when `last_event` was the
    /// highest known. `None`: there would be too many; fewer events have to be taken.
    pub(crate) fn after(&self, last_event: i64, seen: &[i64], now: Transactions) -> Option<Self> {
        let mut gaps = Vec::new();
        for gap in &self.0 {
            if gap.ended_below != 0 && gap.ended_below <= now.ended_below {
                continue;
            }
            let ended_below = match gap.ended_below {
                0 => now.own,
                known => known,
            };
            let within = seen.partition_point(|id| *id < gap.first)
                ..seen.partition_point(|id| *id <= gap.last);
            split(gap.first, gap.last, &seen[within], ended_below, &mut gaps);
        }
        let new = &seen[seen.partition_point(|id| *id <= last_event)..];
        let old = gaps.len();
        if let Some(highest) = new.last() {
            split(last_event + 1, *highest, new, 0, &mut gaps);
        }
        (gaps.len() <= GAPS_MAX || gaps.len() == old).then_some(Self(gaps))
    }

    /// 24 bytes for each gap: first, last and mark as 64-bit big-endian numbers.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        self.0
            .iter()
            .flat_map(|gap| [gap.first, gap.last, gap.ended_below])
            .flat_map(i64::to_be_bytes)
            .collect()
    }

    /// The gaps that `bytes` hold, if they are whole.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (numbers, rest) = bytes.as_chunks::<8>();
        let numbers: Vec<i64> = numbers.iter().map(|n| i64::from_be_bytes(*n)).collect();
        let (gaps, odd) = numbers.as_chunks::<3>();
        (rest.is_empty() && odd.is_empty()).then(|| {
            Self(
                gaps.iter()
                    .map(|[first, last, ended_below]| Gap {
                        first: *first,
                        last: *last,
                        ended_below: *ended_below,
                    })
                    .collect(),
            )
        })
    }
}

/// What is left of `first..=last` without `seen`.
fn split(first: i64, last: i64, seen: &[i64], ended_below: i64, gaps: &mut Vec<Gap>) {
    let mut next = first;
    for id in seen.iter().copied().chain([last + 1]) {
        if next < id {
            gaps.push(Gap {
                first: next,
                last: id - 1,
                ended_below,
            });
        }
        next = id + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gaps(list: &[(i64, i64, i64)]) -> Gaps {
        let gap = |(first, last, ended_below): &(i64, i64, i64)| Gap {
            first: *first,
            last: *last,
            ended_below: *ended_below,
        };
        Gaps(list.iter().map(gap).collect())
    }

    fn now(ended_below: i64, own: i64) -> Transactions {
        Transactions { ended_below, own }
    }

    #[test]
    fn a_look_fills_marks_and_closes_gaps() {
        // Gaps and highest event before, what is seen, transactions, gaps after.
        type Case<'a> = (
            &'a [(i64, i64, i64)],
            i64,
            &'a [i64],
            (i64, i64),
            &'a [(i64, i64, i64)],
        );
        let cases: &[Case<'_>] = &[
            (&[], 0, &[], (5, 6), &[]),
            (&[], 0, &[1, 2, 3], (5, 6), &[]),
            (&[], 0, &[2, 5], (5, 6), &[(1, 1, 0), (3, 4, 0)]),
            // Seen for the second time, a gap gets its mark.
            (&[(3, 4, 0)], 5, &[], (5, 6), &[(3, 4, 6)]),
            // It keeps the mark until all before it have ended.
            (&[(3, 4, 6)], 5, &[], (5, 8), &[(3, 4, 6)]),
            (&[(3, 4, 6)], 5, &[], (6, 8), &[]),
            // It is filled from either side and in the middle.
            (
                &[(3, 7, 6)],
                9,
                &[3, 5, 10],
                (5, 8),
                &[(4, 4, 6), (6, 7, 6)],
            ),
            (&[(3, 4, 0)], 9, &[3, 4, 12], (5, 8), &[(10, 11, 0)]),
            // What is seen in a closing gap is taken, the rest never comes.
            (&[(3, 5, 6)], 9, &[4], (6, 8), &[]),
        ];
        for (before, last, seen, (ended, own), after) in cases {
            let found = gaps(before).after(*last, seen, now(*ended, *own));
            assert_eq!(found, Some(gaps(after)), "{before:?} {last} {seen:?}");
        }
    }

    #[test]
    fn bytes_come_back() {
        let some = gaps(&[(1, 2, 0), (5, 5, i64::MAX)]);
        assert_eq!(Gaps::from_bytes(&some.to_bytes()), Some(some.clone()));
        assert_eq!(Gaps::from_bytes(&some.to_bytes()[1..]), None);
        assert_eq!(Gaps::from_bytes(&some.to_bytes()[8..]), None);
    }

    #[test]
    fn there_are_never_more_than_fit() {
        let odd = |count: i64| (1..=count).map(|n| 2 * n).collect::<Vec<i64>>();
        let most = i64::try_from(GAPS_MAX).unwrap();
        assert!(Gaps::new().after(0, &odd(most), now(1, 2)).is_some());
        assert!(Gaps::new().after(0, &odd(most + 1), now(1, 2)).is_none());
    }
}
