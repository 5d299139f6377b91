//! The progress of one job, drawn from its ledger events: on a terminal one line that changes,
//! otherwise a line for every step.
//!
//! Owns nothing but its own counts. What it says is what the ledger says; it decides nothing.

use crate::failure::Failure;
use crate::output::Printer;
use serde_json::Value;
use skep_api::{Client, ClientError, EventStream, EventView};
use skep_stdx::Stopwatch;
use skep_types::{JobId, JobState, MicroUsd};
use std::time::Duration;

/// How often the line on a terminal is drawn anew, in milliseconds.
const TICK_MS: u64 = 1_000;
/// How often a broken stream is opened again before the job is given up.
const RECONNECTS_MAX: u32 = 20;
/// The wait before a stream is opened again, in milliseconds.
const RECONNECT_MS: u64 = 500;
/// How long the report of an ended job is waited for, in milliseconds; it is a file in the home.
const REPORT_MS: u64 = 3_000;

/// Follows a job until it has ended or waits for a person.
pub(crate) struct Follower<'a> {
    client: &'a Client,
    printer: &'a Printer,
    job: &'a JobId,
    seen: Seen,
    watch: Stopwatch,
}

/// What the events said so far.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The newest event.
    seq: i64,
    state: Option<JobState>,
    attempts: i64,
    tool_calls: i64,
    refusals: i64,
    model_calls: i64,
    cost: MicroUsd,
    reported: bool,
}

impl<'a> Follower<'a> {
    /// A follower of `job`, which `client`'s server runs.
    pub(crate) fn new(client: &'a Client, printer: &'a Printer, job: &'a JobId) -> Self {
        Self {
            client,
            printer,
            job,
            seen: Seen::default(),
            watch: Stopwatch::start(),
        }
    }

    /// Reads events until the job has ended, its report is there, or it waits for a person.
    pub(crate) async fn follow(&mut self) -> Result<(), Failure> {
        let result = self.read_to_end().await;
        if self.printer.live() {
            self.printer.clear_live_line();
        }
        result
    }

    async fn read_to_end(&mut self) -> Result<(), Failure> {
        let mut reconnects = 0;
        loop {
            match self.read_stream(&mut reconnects).await {
                Ok(Ended::ByItself) => return Ok(()),
                // A server that is stopped ends its streams; another may already be starting.
                Ok(Ended::StreamGone) => {}
                Err(error) if reconnects >= RECONNECTS_MAX => return Err(error.into()),
                Err(error @ ClientError::Refused(_)) => return Err(error.into()),
                Err(_) => {}
            }
            reconnects += 1;
            tokio::time::sleep(Duration::from_millis(RECONNECT_MS)).await;
        }
    }

    async fn read_stream(&mut self, reconnects: &mut u32) -> Result<Ended, ClientError> {
        let subject = Some(self.job.as_str());
        let mut events = self.client.event_stream(self.seen.seq, subject).await?;
        let mut tick = tokio::time::interval(Duration::from_millis(TICK_MS));
        loop {
            tokio::select! {
                event = events.next() => match event? {
                    Some(event) => {
                        *reconnects = 0;
                        self.take(&event);
                    }
                    None => return Ok(Ended::StreamGone),
                },
                _ = tick.tick() => self.draw(),
            }
            // The events of a job that was tried again hold an earlier end; its state does not.
            if self.seen.state.is_some_and(rests)
                && rests(self.client.job(self.job.as_str()).await?.state)
            {
                return self.read_report(&mut events).await;
            }
        }
    }

    /// The report follows the end by a moment, and the account says where it is.
    async fn read_report(&mut self, events: &mut EventStream) -> Result<Ended, ClientError> {
        let deadline = Duration::from_millis(REPORT_MS);
        let watch = Stopwatch::start();
        let ended = self.seen.state.is_some_and(JobState::is_terminal);
        while ended && !self.seen.reported {
            let Some(left) = deadline.checked_sub(watch.elapsed()) else {
                break;
            };
            match tokio::time::timeout(left, events.next()).await {
                Ok(event) => match event? {
                    Some(event) => self.take(&event),
                    None => break,
                },
                Err(_) => break,
            }
        }
        Ok(Ended::ByItself)
    }

    fn take(&mut self, event: &EventView) {
        let step = self.seen.take(event);
        if !self.printer.talks() {
            return;
        }
        if self.printer.live() {
            self.draw();
        } else if let Some(step) = step {
            let seconds = self.watch.elapsed().as_secs();
            self.printer.note(&format!("{:>6}  {step}", clock(seconds)));
        }
    }

    fn draw(&self) {
        if !self.printer.live() {
            return;
        }
        let state = self.seen.state.map_or("queued", JobState::as_str);
        let clock = clock(self.watch.elapsed().as_secs());
        let counts = self.seen.counts();
        self.printer
            .live_line(&format!("{clock}  {state}  {counts}"));
    }
}

/// How reading a stream came to its end.
enum Ended {
    /// There is nothing more to follow.
    ByItself,
    /// The server closed it.
    StreamGone,
}

/// States that do not change without a person.
const fn rests(state: JobState) -> bool {
    state.is_terminal()
        || matches!(
            state,
            JobState::Draft
                | JobState::WaitingHuman
                | JobState::WaitingBudget
                | JobState::WaitingCallback
                | JobState::Paused
        )
}

impl Seen {
    /// Takes an event in; the line that a person should see for it, if any.
    pub(crate) fn take(&mut self, event: &EventView) -> Option<String> {
        self.seq = event.seq;
        let payload = &event.payload;
        let text = |name: &str| payload.get(name).and_then(Value::as_str);
        let number = |name: &str| payload.get(name).and_then(Value::as_i64);
        match event.kind.as_str() {
            "job_queued" => {
                self.state = Some(JobState::Queued);
                Some("queued".to_owned())
            }
            "job_retried" => {
                self.state = Some(JobState::Queued);
                Some("queued again".to_owned())
            }
            "job_cancelled" => {
                self.state = Some(JobState::Cancelled);
                Some("cancelled".to_owned())
            }
            "job_claimed" | "job_advanced" | "lease_lost" => self.take_transition(payload),
            "fence_proved" => Some(format!("fence closed: {}", text("level")?)),
            "tool_called" => {
                self.tool_calls += 1;
                self.refusals += i64::from(text("refused_by").is_some());
                let by = text("refused_by")?;
                Some(format!("a {} call was refused by the {by}", text("tool")?))
            }
            "model_call_settled" => {
                self.model_calls += 1;
                self.cost = self
                    .cost
                    .saturating_add(MicroUsd(number("cost_micro_usd")?));
                None
            }
            "result_recorded" => {
                let status = text("contract_status").unwrap_or("missing");
                let counts = self.counts();
                let comma = if counts.is_empty() { "" } else { ", " };
                Some(format!(
                    "the worker ended: contract {status}{comma}{counts}"
                ))
            }
            "check_run" => {
                let exit =
                    number("exit_code").map_or("no exit code".to_owned(), |c| format!("exit {c}"));
                let what = match text("purpose") {
                    Some("merge_check") => "check of the merge",
                    _ => "check",
                };
                Some(format!("{what} {}: {exit}", number("place")?))
            }
            "verdict_found" => Some(format!("verdict {}", text("result")?)),
            "review_requested" => Some("a review was asked for".to_owned()),
            "review_received" => Some(format!("review: {}", text("verdict")?)),
            "landing_held" => Some(format!("landing {}", text("state")?)),
            "landing_read_back" => Some(format!("landed as {}", short(text("commit")?))),
            "report_delivered" => {
                self.reported = true;
                None
            }
            _ => None,
        }
    }

    fn take_transition(&mut self, payload: &Value) -> Option<String> {
        let to: JobState = payload.get("to")?.as_str()?.parse().ok()?;
        let starts_attempt = payload.get("attempt").is_some_and(Value::is_string);
        let changed = self.state != Some(to);
        self.state = Some(to);
        if to == JobState::Running && starts_attempt {
            self.attempts += 1;
            return Some(format!("running: attempt {}", self.attempts));
        }
        let failure = payload.get("failure").and_then(Value::as_str);
        let why = failure.map_or_else(String::new, |class| format!(": {class}"));
        changed.then(|| format!("{to}{why}"))
    }

    /// What there is to count so far; a worker without a model has no calls.
    fn counts(&self) -> String {
        let mut parts = Vec::new();
        if self.attempts > 1 {
            parts.push(format!("attempt {}", self.attempts));
        }
        if self.model_calls > 0 {
            parts.push(counted(self.model_calls, "model call"));
            parts.push(self.cost.to_string());
        }
        if self.tool_calls > 0 {
            parts.push(counted(self.tool_calls, "tool call"));
        }
        if self.refusals > 0 {
            parts.push(format!("{} refused", self.refusals));
        }
        parts.join(", ")
    }
}

/// `1 tool call`, `2 tool calls`.
pub(crate) fn counted(count: i64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// Seconds as a person reads them: `42s`, `3m 07s`, `2h 05m`.
pub(crate) fn clock(seconds: u64) -> String {
    match (seconds / 3_600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m {s:02}s"),
        (h, m, _) => format!("{h}h {m:02}m"),
    }
}

/// The beginning of an object name, as git shows it.
pub(crate) fn short(commit: &str) -> &str {
    commit.get(..12).unwrap_or(commit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(seq: i64, kind: &str, payload: Value) -> EventView {
        EventView {
            seq,
            at: 0,
            kind: kind.to_owned(),
            version: 1,
            subject: "job_x".to_owned(),
            payload,
            hash: String::new(),
        }
    }

    #[test]
    fn events_become_lines_and_counts() {
        let mut seen = Seen::default();
        let steps = [
            ("job_queued", json!({}), Some("queued")),
            (
                "job_claimed",
                json!({"from": "queued", "to": "running", "attempt": "att_1"}),
                Some("running: attempt 1"),
            ),
            (
                "fence_proved",
                json!({"level": "namespaces"}),
                Some("fence closed: namespaces"),
            ),
            (
                "tool_called",
                json!({"tool": "read", "refused_by": null}),
                None,
            ),
            (
                "tool_called",
                json!({"tool": "write", "refused_by": "kernel"}),
                Some("a write call was refused by the kernel"),
            ),
            ("model_call_settled", json!({"cost_micro_usd": 1500}), None),
            (
                "result_recorded",
                json!({"contract_status": "DONE"}),
                Some(
                    "the worker ended: contract DONE, 1 model call, $0.0015, 2 tool calls, 1 refused",
                ),
            ),
            (
                "job_advanced",
                json!({"from": "running", "to": "verifying"}),
                Some("verifying"),
            ),
            (
                "job_claimed",
                json!({"from": "verifying", "to": "verifying", "attempt": null}),
                None,
            ),
            (
                "check_run",
                json!({"place": 1, "purpose": "check", "exit_code": 0}),
                Some("check 1: exit 0"),
            ),
            (
                "verdict_found",
                json!({"result": "VALID"}),
                Some("verdict VALID"),
            ),
            (
                "landing_read_back",
                json!({"commit": "0123456789abcdef"}),
                Some("landed as 0123456789ab"),
            ),
            (
                "job_advanced",
                json!({"from": "landing", "to": "done"}),
                Some("done"),
            ),
            ("something_new", json!({}), None),
            ("report_delivered", json!({}), None),
        ];
        for (seq, (kind, payload, line)) in (1..).zip(steps) {
            assert_eq!(
                seen.take(&event(seq, kind, payload)).as_deref(),
                line,
                "{kind}"
            );
        }
        assert_eq!(seen.state, Some(JobState::Done));
        assert!(seen.reported && seen.seq == 15);
    }

    #[test]
    fn following_ends_where_nothing_moves_by_itself() {
        assert!(rests(JobState::Done) && rests(JobState::WaitingHuman) && rests(JobState::Paused));
        assert!(
            !rests(JobState::Backoff) && !rests(JobState::InReview) && !rests(JobState::Rework)
        );
    }

    #[test]
    fn times_are_read_by_people() {
        assert_eq!(
            [clock(9), clock(187), clock(7_500)],
            ["9s", "3m 07s", "2h 05m"]
        );
    }
}
