//! Named crash points: a test sets `SKEP_CRASH_AT=name` (or `name:3` for the third passage) and
//! the process dies there as if by `kill -9`. Without the variable a point costs one load.
//!
//! `docs/reference/crash-points.md` lists every name; `cargo xtask tidy` keeps the list true.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// The environment variable that arms one crash point.
pub const CRASH_VARIABLE: &str = "SKEP_CRASH_AT";

struct Armed {
    name: String,
    passages_left: AtomicU32,
}

static ARMED: OnceLock<Option<Armed>> = OnceLock::new();

/// Dies here, without any cleanup, when this point is armed and its passage has come.
pub fn point(name: &'static str) {
    let Some(armed) = ARMED.get_or_init(|| std::env::var(CRASH_VARIABLE).ok().map(parse)) else {
        return;
    };
    if armed.name == name && armed.passages_left.fetch_sub(1, Ordering::SeqCst) == 1 {
        // `abort` raises SIGABRT: no destructor runs and no buffer is flushed, as with SIGKILL.
        std::process::abort();
    }
}

fn parse(text: String) -> Armed {
    match text
        .rsplit_once(':')
        .map(|(name, count)| (name.to_owned(), count.parse()))
    {
        Some((name, Ok(count))) => Armed {
            name,
            passages_left: AtomicU32::new(count),
        },
        _ => Armed {
            name: text,
            passages_left: AtomicU32::new(1),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_follows_the_last_colon() {
        let armed = parse("land.after_swap:3".to_owned());
        assert_eq!(armed.name, "land.after_swap");
        assert_eq!(armed.passages_left.load(Ordering::SeqCst), 3);
        assert_eq!(
            parse("plain".to_owned())
                .passages_left
                .load(Ordering::SeqCst),
            1
        );
    }
}
