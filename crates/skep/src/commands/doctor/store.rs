//! Whether the store opens, the ledger holds, and the clock agrees with it.

use super::{check, fail, ok, warn};
use crate::config::{Config, Database};
use crate::failure::Failure;
use crate::reach::Reach;
use skep_api::{CheckState, DoctorCheck};
use skep_director::Home;
use skep_stdx::{Clock as _, SystemClock};

/// 2026-01-01T00:00:00Z, in milliseconds: this program is younger.
const CLOCK_MIN_MS: i64 = 1_767_225_600_000;
/// How far the newest event may lie ahead of the clock, in milliseconds.
const CLOCK_SLACK_MS: i64 = 60_000;

/// The checks of the store, the ledger and the clock.
pub(super) async fn checks(home: &Home, config: &Config) -> Vec<DoctorCheck> {
    let on_sqlite = matches!(config.database(), Ok(Database::Sqlite));
    if on_sqlite && !home.database().exists() {
        let found = "not there yet; the first run makes it";
        return vec![ok("database", found), ok("ledger", found), clock(None)];
    }
    let reach = match Reach::existing(home, config).await {
        Ok(reach) => reach,
        Err(failure) => return vec![failed("database", failure), clock(None)],
    };
    let kind = if on_sqlite { "SQLite" } else { "PostgreSQL" };
    let how = if reach.has_holder() {
        "in use by a server that answers"
    } else {
        "opens"
    };
    let mut checks = vec![ok(
        "database",
        format!("{kind}, {how}; its version is known"),
    )];
    match reach.verify_ledger(&[]).await {
        Ok(view) if view.ok => checks.push(ok("ledger", format!("{} events hold", view.events))),
        Ok(view) => checks.push(fail(
            "ledger",
            format!(
                "event {} is not as it was sealed: {}",
                view.first_bad_seq.unwrap_or_default(),
                view.reason.unwrap_or_default()
            ),
            view.hint.unwrap_or_default(),
        )),
        Err(failure) => checks.push(failed("ledger", failure)),
    }
    checks.push(clock(newest_event_ms(&reach).await));
    checks
}

async fn newest_event_ms(reach: &Reach) -> Option<i64> {
    let events = reach.newest_events(None, 1).await.ok()?;
    events.first().map(|event| event.at)
}

fn clock(newest_event_ms: Option<i64>) -> DoctorCheck {
    let now = SystemClock.now_ms();
    let remedy = "set the machine's clock, and keep it set by NTP";
    let shown = jiff::Timestamp::from_millisecond(now).unwrap_or_default();
    if now < CLOCK_MIN_MS {
        return fail("clock", format!("{shown:.0} is in the past"), remedy);
    }
    if newest_event_ms.is_some_and(|newest| newest > now + CLOCK_SLACK_MS) {
        let found = format!("{shown:.0} is before the newest event of the ledger");
        return warn("clock", found, remedy);
    }
    ok("clock", format!("{shown:.0}"))
}

fn failed(name: &str, failure: Failure) -> DoctorCheck {
    match failure {
        Failure::Shown(body) => check(name, CheckState::Fail, body.message, body.hint),
        Failure::OutputClosed => fail(name, "the output was closed", "run it again"),
    }
}
