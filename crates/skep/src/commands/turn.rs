//! The flags that say how a job takes its turn.

use crate::cli::{TurnArguments, duration_seconds};
use crate::failure::Failure;
use skep_api::{DebounceRequest, FlowKeyRequest, FlowRequest};
use skep_stdx::{Clock as _, SystemClock};

/// A debounced start is put off by at most this many times its quiet time.
const DEBOUNCE_WAITS: i64 = 10;

/// What the flags ask of the queue.
pub(crate) fn flow(turn: &TurnArguments) -> Result<FlowRequest, Failure> {
    let start_at = turn.delay.map(|seconds| {
        let delay_ms = seconds.saturating_mul(1_000);
        SystemClock.now_ms().saturating_add(delay_ms)
    });
    Ok(FlowRequest {
        queue: turn.queue.clone(),
        priority: turn.priority,
        start_at,
        key: turn.limit_key.as_deref().map(key).transpose()?,
        singleton: turn.singleton.clone(),
        debounce: turn
            .debounce
            .as_deref()
            .map(|text| debounce(text, turn.debounce_max))
            .transpose()?,
    })
}

fn key(text: &str) -> Result<FlowKeyRequest, Failure> {
    let parsed = text
        .rsplit_once('=')
        .and_then(|(name, count)| Some((name, count.parse().ok()?)));
    match parsed {
        Some((name, running_max)) => Ok(FlowKeyRequest {
            name: name.to_owned(),
            running_max,
        }),
        None => Err(Failure::usage(
            "bad_limit_key",
            format!("`{text}` names no key and count"),
            "write `--limit-key customer-7=2`: at most two jobs with that key run at a time",
        )),
    }
}

fn debounce(text: &str, wait_seconds_max: Option<i64>) -> Result<DebounceRequest, Failure> {
    let parsed = text
        .rsplit_once('=')
        .and_then(|(name, time)| Some((name, duration_seconds(time).ok()?)));
    match parsed {
        Some((name, quiet_seconds)) => Ok(DebounceRequest {
            name: name.to_owned(),
            quiet_seconds,
            wait_seconds_max: wait_seconds_max
                .unwrap_or_else(|| quiet_seconds.saturating_mul(DEBOUNCE_WAITS)),
        }),
        None => Err(Failure::usage(
            "bad_debounce",
            format!("`{text}` names no request and time"),
            "write `--debounce push-main=30s`: the job starts when none has come for 30 seconds",
        )),
    }
}
