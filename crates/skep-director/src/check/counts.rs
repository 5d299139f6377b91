//! Test counts as the runner itself printed them: cargo, nextest, pytest and unittest.

/// What a runner counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TestCounts {
    pub(crate) passed: i64,
    pub(crate) failed: i64,
    pub(crate) skipped: i64,
}

/// The counts in `output`, or nothing where no known runner printed any.
pub(crate) fn test_counts(output: &str) -> Option<TestCounts> {
    cargo(output)
        .or_else(|| pytest(output))
        .or_else(|| unittest(output))
}

/// `test result: ok. 3 passed; 0 failed; 1 ignored; …`, once for each test binary.
fn cargo(output: &str) -> Option<TestCounts> {
    let mut total: Option<TestCounts> = None;
    for line in output
        .lines()
        .filter_map(|line| line.trim().strip_prefix("test result: "))
    {
        let sum = total.get_or_insert_default();
        sum.passed += before_word(line, "passed").unwrap_or(0);
        sum.failed += before_word(line, "failed").unwrap_or(0);
        sum.skipped += before_word(line, "ignored").unwrap_or(0);
    }
    total
}

/// `=== 1 failed, 3 passed, 2 skipped in 0.12s ===`; the last such line counts.
fn pytest(output: &str) -> Option<TestCounts> {
    let line = output
        .lines()
        .rev()
        .map(|line| line.trim_matches(['=', ' ']))
        .find(|line| {
            line.contains(" in ") && (line.contains(" passed") || line.contains(" failed"))
        })?;
    Some(TestCounts {
        passed: before_word(line, "passed").unwrap_or(0),
        failed: before_word(line, "failed").unwrap_or(0)
            + before_word(line, "error")
                .or_else(|| before_word(line, "errors"))
                .unwrap_or(0),
        skipped: before_word(line, "skipped").unwrap_or(0),
    })
}

/// `Ran 5 tests in 0.001s`, then `OK (skipped=1)` or `FAILED (failures=1, errors=1)`.
fn unittest(output: &str) -> Option<TestCounts> {
    let mut lines = output
        .lines()
        .map(str::trim)
        .skip_while(|line| !line.starts_with("Ran "));
    let ran: i64 = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let verdict = lines.find(|line| line.starts_with("OK") || line.starts_with("FAILED"))?;
    let field = |name: &str| {
        verdict
            .split(['(', ')', ',', ' '])
            .find_map(|part| {
                part.strip_prefix(name)?
                    .strip_prefix('=')?
                    .parse::<i64>()
                    .ok()
            })
            .unwrap_or(0)
    };
    let failed = field("failures") + field("errors");
    let skipped = field("skipped");
    Some(TestCounts {
        passed: ran - failed - skipped,
        failed,
        skipped,
    })
}

/// The number before `word`, as in `3 passed;`.
fn before_word(line: &str, word: &str) -> Option<i64> {
    let words: Vec<&str> = line
        .split([' ', ',', ';'])
        .filter(|w| !w.is_empty())
        .collect();
    let at = words.iter().position(|w| *w == word)?;
    words.get(at.checked_sub(1)?)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_runner_is_read() {
        let counts = |passed, failed, skipped| {
            Some(TestCounts {
                passed,
                failed,
                skipped,
            })
        };
        for (output, expected) in [
            ("nothing", None),
            (
                "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out\n\ntest result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured",
                counts(4, 2, 1),
            ),
            (
                "==== 1 failed, 3 passed, 2 skipped in 0.12s ====",
                counts(3, 1, 2),
            ),
            ("....\n4 passed in 0.01s\n", counts(4, 0, 0)),
            ("=== 2 passed, 1 error in 0.1s ===", counts(2, 1, 0)),
            ("Ran 5 tests in 0.001s\n\nOK (skipped=1)", counts(4, 0, 1)),
            (
                "Ran 5 tests in 0.001s\n\nFAILED (failures=1, errors=1)",
                counts(3, 2, 0),
            ),
            ("Ran 1 test in 0.000s\n\nOK", counts(1, 0, 0)),
        ] {
            assert_eq!(test_counts(output), expected, "{output}");
        }
    }
}
