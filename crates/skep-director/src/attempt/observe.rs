//! What a worker prints, turned into events: every tool call is on the ledger, without its text.

use crate::director::Context;
use crate::error::describe;
use crate::event::{self, ToolCalled};
use crate::limits::TOOL_EVENTS_MAX;
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
    sender: mpsc::Sender<ToolCalled>,
    writer: JoinHandle<()>,
}

impl Observer {
    pub(crate) fn new(
        context: &Context,
        lease: &Lease,
        attempt: &AttemptId,
        kind: HarnessKind,
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
            sender,
            writer,
        }
    }

    /// Takes in one line of standard output.
    pub(crate) fn line(&mut self, line: &str) {
        for event in self.reader.read_line(line) {
            if let Some(called) = self.tool_called(&event)
                && self.recorded < TOOL_EVENTS_MAX
                && self.sender.try_send(called).is_ok()
            {
                self.recorded += 1;
            }
            // Plain output is in the log; keeping it twice would let a worker fill the memory.
            let is_output = matches!(event, HarnessEvent::Output { .. });
            if !is_output && self.events.len() < EVENTS_KEPT_MAX {
                self.events.push(event);
            }
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
