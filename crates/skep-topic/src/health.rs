//! Whether a stage that has input gives something out: a pure judgement over what is seen of it.
//!
//! A reader can be alive, take every message and produce nothing, for hours. So the judgement looks
//! at outputs alone, and a dead letter is none.

/// What was known of a stage when it was looked at before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Known {
    /// The outputs that were counted.
    pub(crate) output: i64,
    /// The inputs that had been given up on.
    pub(crate) blocked: i64,
    /// Since when it owes an output.
    pub(crate) waiting_since_ms: Option<i64>,
}

/// What is seen of a stage now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Its outputs, ever.
    pub(crate) output: i64,
    /// Inputs that wait for it.
    pub(crate) waiting: i64,
    /// Inputs that it has given up on.
    pub(crate) blocked: i64,
    /// When the oldest waiting input came, where that is known.
    pub(crate) oldest_ms: Option<i64>,
}

/// What is known afterwards, and whether the stage is silent.
pub(crate) fn judge(known: Known, seen: Seen, now_ms: i64, silent_after_ms: i64) -> (Known, bool) {
    let gave = seen.output > known.output;
    // What was given up on since the last output is an input without an output too; what a person
    // has dismissed or replayed meanwhile is not.
    let blocked = if gave {
        seen.blocked
    } else {
        known.blocked.min(seen.blocked)
    };
    let owes = seen.waiting > 0 || seen.blocked > blocked;
    let waiting_since_ms = match (owes, gave, known.waiting_since_ms) {
        (false, ..) => None,
        (true, false, Some(since)) => Some(since),
        (true, true, _) => Some(now_ms),
        (true, false, None) => Some(seen.oldest_ms.unwrap_or(now_ms).min(now_ms)),
    };
    let silent = waiting_since_ms.is_some_and(|since| now_ms - since >= silent_after_ms);
    let known = Known {
        output: seen.output.max(known.output),
        blocked,
        waiting_since_ms,
    };
    (known, silent)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 60;

    /// `(now, output, waiting, blocked)` seen one after another, and whether each is silent.
    fn check(name: &str, looks: &[(i64, i64, i64, i64, bool)]) {
        let mut known = Known::default();
        for (now, output, waiting, blocked, expected) in looks {
            let seen = Seen {
                output: *output,
                waiting: *waiting,
                blocked: *blocked,
                oldest_ms: None,
            };
            let (next, silent) = judge(known, seen, *now, HOUR);
            assert_eq!(silent, *expected, "{name} at {now}: {next:?}");
            known = next;
        }
    }

    #[test]
    fn silence_is_input_without_output_for_the_declared_time() {
        check(
            "nothing to do",
            &[(0, 0, 0, 0, false), (500, 0, 0, 0, false)],
        );
        check(
            "stuck",
            &[
                (0, 0, 3, 0, false),
                (59, 0, 4, 0, false),
                (60, 0, 4, 0, true),
                (61, 1, 3, 0, false),
            ],
        );
        check(
            "slow, with a backlog",
            &[
                (0, 0, 9, 0, false),
                (50, 1, 9, 0, false),
                (100, 2, 9, 0, false),
                (161, 2, 9, 0, true),
            ],
        );
        check(
            "makes dead letters of everything",
            &[
                (0, 0, 2, 0, false),
                (30, 0, 0, 2, false),
                (60, 0, 0, 2, true),
            ],
        );
        check(
            "an old dead letter is no new input",
            &[
                (0, 0, 1, 0, false),
                (1, 1, 0, 1, false),
                (500, 1, 0, 1, false),
            ],
        );
        check(
            "dismissed, then quiet",
            &[
                (0, 0, 0, 2, false),
                (60, 0, 0, 2, true),
                (61, 0, 0, 0, false),
                (200, 0, 0, 0, false),
            ],
        );
    }

    #[test]
    fn the_time_runs_from_the_oldest_input() {
        let seen = Seen {
            output: 0,
            waiting: 1,
            blocked: 0,
            oldest_ms: Some(100),
        };
        assert!(!judge(Known::default(), seen, 100 + HOUR - 1, HOUR).1);
        assert!(judge(Known::default(), seen, 100 + HOUR, HOUR).1);
    }
}
