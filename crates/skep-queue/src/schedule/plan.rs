//! What the passage of time makes of a schedule: which slot is fired, which are missed, when it is
//! due again. Pure: the time is a parameter.

use super::jitter;
use super::timing::{Slot, Timing};
use crate::limits::{LATE_MS, PLAN_SLOTS_MAX};
use skep_types::{CatchUp, FiringCause, Overlap};
use std::collections::VecDeque;

/// What decides when a schedule fires.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// What the jitter follows from: the schedule's id.
    pub seed: String,
    /// Its timing.
    pub timing: Timing,
    /// From where an interval counts.
    pub anchor_ms: i64,
    /// How much later than its slot a firing may be due, at the most.
    pub jitter_ms: i64,
    /// What to do about slots that passed.
    pub catch_up: CatchUp,
    /// With `all`: how many of them are fired.
    pub catch_up_max: i64,
    /// With `all`: how old a slot may be.
    pub catch_up_window_ms: i64,
}

/// A slot and when it is to be fired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// The slot.
    pub slot: Slot,
    /// The slot and its jitter.
    pub due_ms: i64,
}

/// Slots that nobody could fire and that are let go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missed {
    /// The first of them.
    pub first_ms: i64,
    /// The last.
    pub last_ms: i64,
    /// How many.
    pub count: i64,
}

/// One step along the time line; the next one starts at its cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What is let go.
    pub missed: Option<Missed>,
    /// What is fired, and why.
    pub fire: Option<(i64, FiringCause)>,
    /// Every slot up to here is accounted for.
    pub cursor_ms: i64,
    /// When the first slot after the cursor is due.
    pub due_ms: Option<i64>,
}

/// What the overlap policy makes of a firing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It starts.
    Start,
    /// It waits for the runs that are under way.
    Wait,
    /// It is passed over.
    Skip,
    /// It starts, and the runs that are under way are cancelled.
    Replace,
}

/// The first slot after `after_ms` and when it is due.
pub fn next_due(rules: &Rules, after_ms: i64) -> Option<Due> {
    let slot = rules.timing.next(rules.anchor_ms, after_ms)?;
    Some(due(rules, slot))
}

/// The next `count` slots after `after_ms`.
pub fn preview(rules: &Rules, after_ms: i64, count: usize) -> Vec<Due> {
    let first = next_due(rules, after_ms);
    std::iter::successors(first, |due| next_due(rules, due.slot.at_ms))
        .take(count)
        .collect()
}

/// The step from `cursor_ms` at `now_ms`. Nothing is due: the step has neither a firing nor missed
/// slots. At most [`PLAN_SLOTS_MAX`] slots are looked at; a step that stops there fires none and
/// the next one goes on.
pub fn plan(rules: &Rules, cursor_ms: i64, now_ms: i64) -> Step {
    let kept_max = match rules.catch_up {
        CatchUp::All => usize::try_from(rules.catch_up_max.max(1)).unwrap_or(1),
        CatchUp::None | CatchUp::Last => 1,
    };
    let mut kept: VecDeque<Due> = VecDeque::new();
    let mut missed = None;
    let mut looked_at = 0;
    let mut next = next_due(rules, cursor_ms);
    while let Some(due) = next.filter(|due| due.due_ms <= now_ms && looked_at < PLAN_SLOTS_MAX) {
        kept.push_back(due);
        if kept.len() > kept_max
            && let Some(oldest) = kept.pop_front()
        {
            let_go(&mut missed, oldest);
        }
        looked_at += 1;
        next = next_due(rules, due.slot.at_ms);
    }
    let is_whole = looked_at < PLAN_SLOTS_MAX;
    while is_whole && let Some(due) = kept.pop_front_if(|due| !is_caught_up(rules, *due, now_ms)) {
        let_go(&mut missed, due);
    }
    let fire = kept.front().filter(|_| is_whole).map(|due| {
        let is_late = now_ms - due.due_ms > LATE_MS;
        let cause = if is_late {
            FiringCause::CatchUp
        } else {
            FiringCause::Slot
        };
        (due.slot.at_ms, cause)
    });
    let cursor_ms = fire
        .map(|(slot_ms, _)| slot_ms)
        .or(missed.map(|missed: Missed| missed.last_ms))
        .unwrap_or(cursor_ms);
    Step {
        missed,
        fire,
        cursor_ms,
        due_ms: next_due(rules, cursor_ms).map(|due| due.due_ms),
    }
}

/// What `overlap` makes of a firing while `active` runs are under way and `waiting` ones wait.
pub const fn admit(overlap: Overlap, overlap_max: i64, active: i64, waiting: i64) -> Admission {
    if active == 0 && waiting == 0 {
        return Admission::Start;
    }
    match overlap {
        Overlap::Skip => Admission::Skip,
        Overlap::QueueOne if waiting == 0 => Admission::Wait,
        Overlap::QueueOne => Admission::Skip,
        Overlap::Allow if active < overlap_max => Admission::Start,
        Overlap::Allow => Admission::Skip,
        Overlap::CancelRunning => Admission::Replace,
    }
}

fn due(rules: &Rules, slot: Slot) -> Due {
    let delay_ms = if rules.jitter_ms == 0 {
        0
    } else {
        let next = rules.timing.next(rules.anchor_ms, slot.at_ms);
        let next_ms = next.map(|next| next.at_ms);
        jitter::delay_ms(&rules.seed, slot.at_ms, rules.jitter_ms, next_ms)
    };
    Due {
        slot,
        due_ms: slot.at_ms + delay_ms,
    }
}

/// Whether a slot that has passed is still fired.
const fn is_caught_up(rules: &Rules, due: Due, now_ms: i64) -> bool {
    let age_ms = now_ms - due.due_ms;
    match rules.catch_up {
        CatchUp::None => age_ms <= LATE_MS,
        CatchUp::Last => true,
        CatchUp::All => age_ms <= LATE_MS || age_ms <= rules.catch_up_window_ms,
    }
}

fn let_go(missed: &mut Option<Missed>, due: Due) {
    let at_ms = due.slot.at_ms;
    let range = missed.get_or_insert(Missed {
        first_ms: at_ms,
        last_ms: at_ms,
        count: 0,
    });
    range.last_ms = at_ms;
    range.count += 1;
}

#[cfg(test)]
mod tests;
