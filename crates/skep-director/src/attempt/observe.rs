//! What a worker prints, turned into events: every tool call is on the ledger, without its text.

use super::guard::Pulse;
use crate::context::Context;
use crate::error::describe;
use crate::event::{self, ToolCalled};
use crate::limits::TOOL_EVENTS_MAX;
use crate::liveness::Life;
use skep_db::{Db, Tx};
use skep_harness::{HarnessEvent, HarnessKind, LineReader};
use skep_queue::Lease;
use skep_types::AttemptId;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Tool names that may stand on the ledger. Any other comes from the model's own words.
const TOOLS: &[&str] = &["read", "list", "search", "edit", "write", "run", "finish"];

/// Events kept for the outcome of one attempt; the loop's own guards end it long before.
const EVENTS_KEPT_MAX: usize = 10_000;

/// Events that wait for their transaction.
const EVENTS_WAITING_MAX: usize = 1024;

/// Reads a worker's lines.
pub(crate) struct Observer {
    reader: LineReader,
    events: Vec<HarnessEvent>,
    recorded: i64,
    lease: Lease,
    attempt: AttemptId,
    pulse: Pulse,
    sender: mpsc::Sender<ToolCalled>,
    writer: JoinHandle<()>,
}

impl Observer {
    pub(crate) fn new(
        context: &Context,
        lease: &Lease,
        attempt: &AttemptId,
        kind: HarnessKind,
        pulse: Pulse,
    ) -> Self {
        let (sender, receiver) = mpsc::channel(EVENTS_WAITING_MAX);
        let writer = skep_stdx::spawn(
            "tool-events",
            write(context.db.clone(), lease.clone(), receiver),
        );
        Self {
            reader: LineReader::new(kind),
            events: Vec::new(),
            recorded: 0,
            lease: lease.clone(),
            attempt: attempt.clone(),
            pulse,
            sender,
            writer,
        }
    }

    /// Takes in one line of standard output.
    pub(crate) fn line(&mut self, line: &str) {
        self.pulse.note(Life::seen);
        for event in self.reader.read_line(line) {
            self.look(&event);
            if let Some(called) = self.tool_called(&event)
                && self.recorded < TOOL_EVENTS_MAX
                && self.sender.try_send(called).is_ok()
            {
                self.recorded += 1;
            }
            // Plain output is in the log; keeping it twice would let a worker fill the memory.
            let is_passing = matches!(
                event,
                HarnessEvent::Output { .. } | HarnessEvent::ToolStarted { .. }
            );
            if !is_passing && self.events.len() < EVENTS_KEPT_MAX {
                self.events.push(event);
            }
        }
    }

    /// What an event says about whether the worker lives.
    fn look(&self, event: &HarnessEvent) {
        // Which call of a turn an event is about: its tool and its input.
        let named = |name: &str, input: &str| format!("{name} {input}");
        match event {
            HarnessEvent::ToolStarted {
                name,
                input_sha256,
                timeout_ms,
            } => {
                let timeout_ms = timeout_ms.map(|ms| i64::try_from(ms).unwrap_or(i64::MAX));
                let name = named(name, input_sha256);
                self.pulse
                    .note(|life, now_ms| life.opened(now_ms, &name, timeout_ms));
            }
            HarnessEvent::ToolCalled {
                name, input_sha256, ..
            } => {
                let name = named(name, input_sha256);
                self.pulse.note(|life, now_ms| life.closed(now_ms, &name));
            }
            HarnessEvent::SessionStarted { .. }
            | HarnessEvent::ModelCalled { .. }
            | HarnessEvent::Finished { .. }
            | HarnessEvent::Ended { .. }
            | HarnessEvent::Output { .. } => {}
        }
    }

    /// Every event, once all of them are on the ledger.
    pub(crate) async fn finish(self) -> Vec<HarnessEvent> {
        drop(self.sender);
        // The writer logs its own failures; a panic in it loses events, not the result.
        drop(self.writer.await);
        self.events
    }

    fn tool_called(&self, event: &HarnessEvent) -> Option<ToolCalled> {
        let HarnessEvent::ToolCalled {
            name,
            ok,
            exit_code,
            duration_ms,
            output_bytes,
            refused_by,
            ..
        } = event
        else {
            return None;
        };
        Some(ToolCalled {
            job: self.lease.job.clone(),
            attempt: self.attempt.clone(),
            fence: self.lease.fence,
            tool: TOOLS
                .iter()
                .find(|tool| *tool == name)
                .copied()
                .unwrap_or("other"),
            ok: *ok,
            exit_code: exit_code.map(i64::from),
            duration_ms: *duration_ms,
            output_bytes: i64::try_from(*output_bytes).unwrap_or(i64::MAX),
            refused_by: refused_by.map(skep_harness::RefusedBy::as_str),
        })
    }
}

/// Whether a wall of the fence, or the scope, refused what a tool tried.
pub(crate) fn is_refusal(event: &HarnessEvent) -> bool {
    matches!(
        event,
        HarnessEvent::ToolCalled {
            refused_by: Some(_),
            ..
        }
    )
}

/// Writes events as they come, as many as wait in one transaction.
async fn write(db: Db, lease: Lease, mut receiver: mpsc::Receiver<ToolCalled>) {
    let mut batch = Vec::new();
    while receiver.recv_many(&mut batch, EVENTS_WAITING_MAX).await > 0 {
        let (events, lease) = (std::mem::take(&mut batch), lease.clone());
        let written = db
            .write("tool calls", async move |tx: &mut Tx<'_>| {
                skep_authority::demand(tx, &lease.job, lease.fence)
                    .await
                    .map_err(|e| crate::DirectorError::outside("show the current fence", e))?;
                for called in &events {
                    event::append(tx, lease.job.as_str(), called).await?;
                }
                Ok::<_, crate::DirectorError>(())
            })
            .await;
        if let Err(error) = written {
            tracing::error!(error = describe(&error), "tool calls were not recorded");
        }
    }
}
