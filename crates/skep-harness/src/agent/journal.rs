//! What a run leaves behind while it runs: events for the engine, a transcript for people.
//!
//! Owns the transcript file. Invariant: events hold no text of anybody; the transcript holds all of
//! it, with the key taken out, up to its limit.

use crate::event::HarnessEvent;
use crate::limits::TRANSCRIPT_BYTES_MAX;
use serde::Serialize;
use skep_stdx::Redactor;
use skep_wire::Message;
use std::fs::File;
use std::io::{self, Write};

pub(crate) struct Journal<'a> {
    events: &'a mut dyn Write,
    transcript: File,
    transcript_bytes: u64,
    redactor: Redactor,
    /// An event could not be written: whoever started this run is gone.
    unheard: bool,
    messages_written: usize,
}

/// One line of the transcript.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Entry<'a> {
    /// What stands before the conversation.
    Start {
        model: &'a str,
        system: &'a str,
        tools: &'a serde_json::value::RawValue,
    },
    /// One turn.
    Message {
        #[serde(flatten)]
        message: &'a Message,
    },
    /// A try of a model call that failed.
    Retry { detail: &'a str },
    /// The end, and why.
    End { detail: &'a str },
    /// The limit was reached.
    Full { bytes: u64 },
}

impl<'a> Journal<'a> {
    pub(crate) fn new(events: &'a mut dyn Write, transcript: File, redactor: Redactor) -> Self {
        Self {
            events,
            transcript,
            transcript_bytes: 0,
            redactor,
            unheard: false,
            messages_written: 0,
        }
    }

    pub(crate) fn event(&mut self, event: &HarnessEvent) {
        self.unheard |= write_event(self.events, event).is_err();
    }

    pub(crate) fn is_unheard(&self) -> bool {
        self.unheard
    }

    /// Adds a line to the transcript. A transcript that cannot be written is no reason to stop.
    pub(crate) fn note(&mut self, entry: &Entry<'_>) {
        if self.transcript_bytes >= TRANSCRIPT_BYTES_MAX {
            return;
        }
        let Ok(line) = serde_json::to_string(entry) else {
            return;
        };
        self.write_line(&line);
        if self.transcript_bytes >= TRANSCRIPT_BYTES_MAX {
            let bytes = TRANSCRIPT_BYTES_MAX;
            let full = serde_json::to_string(&Entry::Full { bytes }).unwrap_or_default();
            self.write_line(&full);
        }
    }

    /// Adds the messages that are not in the transcript yet.
    pub(crate) fn note_messages(&mut self, messages: &[Message]) {
        for message in messages.iter().skip(self.messages_written) {
            self.note(&Entry::Message { message });
        }
        self.messages_written = messages.len();
    }

    /// `text` without the key.
    pub(crate) fn redact(&self, text: &str) -> String {
        self.redactor.redact(text)
    }

    fn write_line(&mut self, line: &str) {
        // What a model wrote is kept as it came, line breaks between its JSON tokens included; as
        // white space they may be spaces, and inside strings JSON has none.
        let mut line = self.redactor.redact(line).replace(['\n', '\r'], " ");
        line.push('\n');
        self.transcript_bytes += line.len() as u64;
        if let Err(error) = self.transcript.write_all(line.as_bytes()) {
            tracing::warn!(%error, "failed to write the transcript");
        }
    }
}

/// Writes one event as one line and flushes it.
pub(crate) fn write_event(events: &mut dyn Write, event: &HarnessEvent) -> io::Result<()> {
    let mut line = serde_json::to_vec(event)?;
    line.push(b'\n');
    events.write_all(&line)?;
    events.flush()
}
