//! Jitter: how much later than its slot a firing is due, so that many schedules of one minute do
//! not start in one instant.
//!
//! The delay follows from schedule and slot alone. It is the same on every node and after every
//! restart, and it can be printed beforehand.

/// The delay of `slot_ms`, in whole seconds, from 0 up to `jitter_ms`, and always short of
/// `next_slot_ms`: slots come due in their order.
pub(super) fn delay_ms(seed: &str, slot_ms: i64, jitter_ms: i64, next_slot_ms: Option<i64>) -> i64 {
    let room_ms = next_slot_ms.map_or(i64::MAX, |next| next.saturating_sub(slot_ms) - 1);
    let seconds_max = u64::try_from(jitter_ms.min(room_ms) / 1_000).unwrap_or(0);
    let seconds = hash(seed, slot_ms) % (seconds_max + 1);
    i64::try_from(seconds).unwrap_or(0) * 1_000
}

/// FNV-1a over seed and slot (<http://www.isthe.com/chongo/tech/comp/fnv/>), finished by the mixer of
/// SplitMix64 because its low bits alone follow the last byte too closely. Written out, since the
/// standard library's hash may change with the compiler and a slot must keep its delay.
fn hash(seed: &str, slot_ms: i64) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in seed.bytes().chain(slot_ms.to_le_bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn a_delay_keeps_its_bounds_and_its_value() {
        let (one, other) = ("sch_one", "sch_other");
        let mut seen = std::collections::BTreeSet::new();
        for slot in (0..500).map(|minute| minute * 60_000) {
            let delay = delay_ms(one, slot, 30_000, Some(slot + 60_000));
            assert!(
                (0..=30_000).contains(&delay) && delay % 1_000 == 0,
                "{delay}"
            );
            assert_eq!(delay, delay_ms(one, slot, 30_000, Some(slot + 60_000)));
            seen.insert(delay);
        }
        assert_eq!(seen.len(), 31, "every second of the range is used");
        let differing = (0..100).map(|minute| minute * 60_000).filter(|slot| {
            delay_ms(one, *slot, 30_000, None) != delay_ms(other, *slot, 30_000, None)
        });
        assert!(differing.count() > 80);
    }

    #[test]
    fn a_delay_never_reaches_the_next_slot() {
        for minute in 0..500 {
            let slot = minute * 60_000;
            assert!(delay_ms("sch_3", slot, 3_600_000, Some(slot + 60_000)) < 60_000);
        }
        assert_eq!(delay_ms("sch_3", 0, 0, None), 0);
    }
}
