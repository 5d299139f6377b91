//! What a replay remembers between requests: the bodies of earlier turns, to measure what a cache
//! would have held, and how often a fault has already happened.
//!
//! Invariant: bounded in turns and bytes; the oldest go first. Forgetting costs only a cache miss
//! in the measured usage, or a fault that happens once more.

use crate::limits::{REPLAY_BODIES_BYTES_MAX, REPLAY_TURNS_MAX};
use bytes::Bytes;
use std::collections::{HashMap, VecDeque};

/// One turn of one conversation: the script's conversation, the digest of what began it, the turn.
pub(crate) type TurnKey = (usize, Vec<u8>, usize);

/// The memory of one script.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    turns: HashMap<TurnKey, TurnMemory>,
    order: VecDeque<TurnKey>,
    bytes: usize,
}

#[derive(Debug, Default)]
struct TurnMemory {
    body: Bytes,
    faults: u32,
}

impl Memory {
    /// How many bytes at the start of `body` were also at the start of the turn before it.
    pub(crate) fn common_prefix(
        &self,
        (conversation, start, turn): &TurnKey,
        body: &[u8],
    ) -> usize {
        let before = turn.checked_sub(1);
        let before = before.and_then(|turn| self.turns.get(&(*conversation, start.clone(), turn)));
        before.map_or(0, |before| {
            let pairs = before.body.iter().zip(body);
            pairs.take_while(|(a, b)| a == b).count()
        })
    }

    /// Keeps the body of a turn.
    pub(crate) fn keep(&mut self, key: &TurnKey, body: Bytes) {
        self.bytes += body.len();
        let turn = self.turn(key);
        let replaced = std::mem::replace(&mut turn.body, body);
        self.bytes -= replaced.len();
        while self.bytes > REPLAY_BODIES_BYTES_MAX || self.order.len() > REPLAY_TURNS_MAX {
            let Some(oldest) = self.order.pop_front() else {
                return;
            };
            let gone = self.turns.remove(&oldest).unwrap_or_default();
            self.bytes -= gone.body.len();
        }
    }

    /// Whether a fault that happens `times` times happens now; counts it.
    pub(crate) fn fault_is_due(&mut self, key: &TurnKey, times: u32) -> bool {
        let turn = self.turn(key);
        let due = turn.faults < times;
        turn.faults += u32::from(due);
        due
    }

    fn turn(&mut self, key: &TurnKey) -> &mut TurnMemory {
        if !self.turns.contains_key(key) {
            self.order.push_back(key.clone());
        }
        self.turns.entry(key.clone()).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(turn: usize) -> TurnKey {
        (0, b"start".to_vec(), turn)
    }

    #[test]
    fn the_prefix_is_that_of_the_turn_before() {
        let mut memory = Memory::default();
        memory.keep(&key(0), Bytes::from_static(b"abcd]}"));
        assert_eq!(memory.common_prefix(&key(0), b"abcd"), 0);
        assert_eq!(memory.common_prefix(&key(1), b"abcd,e]}"), 4);
        assert_eq!(memory.common_prefix(&key(2), b"abcd"), 0);
        assert_eq!(memory.common_prefix(&(1, b"start".to_vec(), 1), b"abcd"), 0);
    }

    #[test]
    fn a_fault_happens_as_often_as_it_says() {
        let mut memory = Memory::default();
        let due: Vec<bool> = (0..3).map(|_| memory.fault_is_due(&key(0), 2)).collect();
        assert_eq!(due, [true, true, false]);
        assert!(memory.fault_is_due(&key(1), 1));
    }

    #[test]
    fn the_oldest_go_when_there_is_too_much() {
        let mut memory = Memory::default();
        let half = Bytes::from(vec![b'x'; REPLAY_BODIES_BYTES_MAX / 2]);
        for turn in 0..3 {
            memory.keep(&key(turn), half.clone());
        }
        assert_eq!(memory.common_prefix(&key(1), b"x"), 0);
        assert_eq!(memory.common_prefix(&key(3), b"x"), 1);
        assert_eq!(memory.bytes, 2 * half.len());
        for turn in 0..2 * REPLAY_TURNS_MAX {
            memory.keep(&key(turn), Bytes::new());
        }
        assert!(memory.turns.len() <= REPLAY_TURNS_MAX && memory.bytes == 0);
    }
}
