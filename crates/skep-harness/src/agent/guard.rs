//! The loop guards: what ends a run that gets nowhere.
//!
//! Owns the calls seen since the last change and the count of idle steps. Invariant: a run has at
//! most `steps_max` model calls, and every early end has a reason and a class.

use crate::event::EndReason;
use crate::task::AgentLimits;
use skep_types::FailureClass;
use std::collections::{BTreeMap, BTreeSet};

/// Why a run ends without a contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stop {
    pub(crate) reason: EndReason,
    pub(crate) class: FailureClass,
    /// For the transcript and standard error; may hold a provider's words.
    pub(crate) detail: String,
}

impl Stop {
    pub(crate) fn new(reason: EndReason, class: FailureClass, detail: impl Into<String>) -> Self {
        Self {
            reason,
            class,
            detail: detail.into(),
        }
    }
}

/// What the guards think of a call before it is carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Not often enough to mention.
    Fine,
    /// The next equal call ends the run.
    LastWarning,
    /// This one ends it.
    TooOften(Stop),
}

#[derive(Debug)]
pub(crate) struct Guard {
    repeated_calls_max: u32,
    idle_steps_max: u32,
    since_change: BTreeMap<String, u32>,
    succeeded: BTreeSet<String>,
    step_had_news: bool,
    idle_steps: u32,
}

impl Guard {
    pub(crate) fn new(limits: &AgentLimits) -> Self {
        Self {
            repeated_calls_max: limits.repeated_calls_max.max(2),
            idle_steps_max: limits.idle_steps_max.max(1),
            since_change: BTreeMap::new(),
            succeeded: BTreeSet::new(),
            step_had_news: false,
            idle_steps: 0,
        }
    }

    /// A call is about to be made; `call` is the digest of its name and input.
    pub(crate) fn before_call(&mut self, call: &str) -> Repeat {
        let count = self.since_change.entry(call.to_owned()).or_default();
        *count += 1;
        if *count >= self.repeated_calls_max {
            return Repeat::TooOften(Stop::new(
                EndReason::RepeatedCall,
                FailureClass::Stalled,
                format!("the same call came {count} times while nothing changed"),
            ));
        }
        if *count + 1 == self.repeated_calls_max {
            return Repeat::LastWarning;
        }
        Repeat::Fine
    }

    /// A call has ended. `changed` means that it may have changed a file, so that any other call
    /// may now have another result; for itself it goes on counting.
    pub(crate) fn after_call(&mut self, call: &str, ok: bool, changed: bool) {
        if changed {
            self.since_change.retain(|other, _| other == call);
        }
        if ok && self.succeeded.insert(call.to_owned()) {
            self.step_had_news = true;
        }
    }

    /// A step has ended.
    pub(crate) fn after_step(&mut self) -> Result<(), Stop> {
        if std::mem::take(&mut self.step_had_news) {
            self.idle_steps = 0;
            return Ok(());
        }
        self.idle_steps += 1;
        if self.idle_steps < self.idle_steps_max {
            return Ok(());
        }
        Err(Stop::new(
            EndReason::NoProgress,
            FailureClass::Stalled,
            format!("nothing new happened in {} steps", self.idle_steps),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard() -> Guard {
        Guard::new(&AgentLimits {
            repeated_calls_max: 3,
            idle_steps_max: 2,
            ..AgentLimits::default()
        })
    }

    #[test]
    fn the_third_equal_call_ends_the_run_unless_something_changed() {
        let mut guard = guard();
        assert_eq!(guard.before_call("a"), Repeat::Fine);
        assert_eq!(guard.before_call("b"), Repeat::Fine);
        assert_eq!(guard.before_call("a"), Repeat::LastWarning);
        guard.after_call("edit", true, true);
        assert_eq!(guard.before_call("a"), Repeat::Fine);
        assert_eq!(guard.before_call("a"), Repeat::LastWarning);
        let Repeat::TooOften(stop) = guard.before_call("a") else {
            panic!("the third call must end the run");
        };
        assert_eq!(stop.reason, EndReason::RepeatedCall);
        assert_eq!(stop.class, FailureClass::Stalled);
    }

    #[test]
    fn a_command_that_may_change_files_excuses_others_and_not_itself() {
        let mut guard = guard();
        for _ in 0..2 {
            guard.before_call("test");
            guard.after_call("test", true, true);
        }
        assert_eq!(guard.before_call("sed"), Repeat::Fine);
        guard.after_call("sed", true, true);
        for expected in [Repeat::Fine, Repeat::LastWarning] {
            assert_eq!(guard.before_call("test"), expected);
            guard.after_call("test", true, true);
        }
        assert!(matches!(guard.before_call("test"), Repeat::TooOften(_)));
    }

    #[test]
    fn steps_without_news_end_the_run() {
        let mut guard = guard();
        guard.after_call("a", true, false);
        assert!(guard.after_step().is_ok());
        guard.after_call("a", true, false);
        assert!(guard.after_step().is_ok());
        guard.after_call("b", true, false);
        assert!(guard.after_step().is_ok());
        guard.after_call("c", false, false);
        assert!(guard.after_step().is_ok());
        let stop = guard.after_step().unwrap_err();
        assert_eq!(stop.reason, EndReason::NoProgress);
    }
}
