//! Server-sent events out of bytes in any chunking.
//!
//! Owns the unfinished line and the unfinished event. Invariant: the events are a function of the
//! bytes alone, however they were cut. The parser only reads; whoever relays the bytes relays the
//! ones that came. Format: WHATWG HTML, section 9.2 "Server-sent events".

use crate::limits::{SSE_EVENT_BYTES_MAX, SSE_LINE_BYTES_MAX};

/// One dispatched event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SseEvent {
    /// The `event` field, `message` where the stream gave none.
    pub event: String,
    /// The `data` lines joined by line feeds, byte for byte.
    pub data: Vec<u8>,
    /// The last `id` field seen on the stream so far.
    pub id: Option<String>,
}

/// How much of an unfinished line and event is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SseLimits {
    /// One line without its end, in bytes.
    pub line_bytes_max: usize,
    /// The joined data of one event, in bytes.
    pub event_bytes_max: usize,
}

impl Default for SseLimits {
    fn default() -> Self {
        Self {
            line_bytes_max: SSE_LINE_BYTES_MAX,
            event_bytes_max: SSE_EVENT_BYTES_MAX,
        }
    }
}

/// Why a stream can no longer be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SseError {
    /// A line has no end within the limit.
    #[error("line of the event stream is longer than {max} bytes")]
    LineTooLong {
        /// The limit in bytes.
        max: usize,
    },
    /// An event has no end within the limit.
    #[error("event of the event stream is larger than {max} bytes")]
    EventTooLarge {
        /// The limit in bytes.
        max: usize,
    },
}

/// An incremental parser. Feed it every chunk in order; after an error it stays in error.
#[derive(Debug, Default)]
pub struct SseParser {
    limits: SseLimits,
    line: Vec<u8>,
    /// A carriage return ended the last line, so a line feed that follows belongs to it.
    after_carriage_return: bool,
    /// The first line is behind, and with it the place of a byte order mark.
    started: bool,
    event: Option<String>,
    data: Vec<u8>,
    has_data: bool,
    id: Option<String>,
    failed: Option<SseError>,
}

impl SseParser {
    /// A parser at the start of a stream.
    pub fn new(limits: SseLimits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// Reads the next bytes and hands every finished event to `on_event`, in order.
    ///
    /// # Errors
    /// A line or an event over the limit. Events before it were handed over.
    pub fn feed(
        &mut self,
        mut bytes: &[u8],
        mut on_event: impl FnMut(SseEvent),
    ) -> Result<(), SseError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        while !bytes.is_empty() {
            if std::mem::take(&mut self.after_carriage_return) && bytes[0] == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let end = bytes.iter().position(|b| matches!(b, b'\n' | b'\r'));
            let part = &bytes[..end.unwrap_or(bytes.len())];
            if self.line.len() + part.len() > self.limits.line_bytes_max {
                return Err(self.fail(SseError::LineTooLong {
                    max: self.limits.line_bytes_max,
                }));
            }
            let Some(end) = end else {
                self.line.extend_from_slice(part);
                return Ok(());
            };
            self.after_carriage_return = bytes[end] == b'\r';
            let finished = if self.line.is_empty() {
                self.end_line(part)
            } else {
                self.line.extend_from_slice(part);
                let line = std::mem::take(&mut self.line);
                let finished = self.end_line(&line);
                // The allocation is kept: the next chunk is likely to end inside a line again.
                self.line = line;
                self.line.clear();
                finished
            };
            match finished {
                Ok(Some(event)) => on_event(event),
                Ok(None) => {}
                Err(error) => return Err(self.fail(error)),
            }
            bytes = &bytes[end + 1..];
        }
        Ok(())
    }

    /// Whether bytes were read that belong to no dispatched event: the stream was cut there.
    pub fn is_inside_event(&self) -> bool {
        !self.line.is_empty() || self.has_data || self.event.is_some()
    }

    fn fail(&mut self, error: SseError) -> SseError {
        self.failed = Some(error);
        error
    }

    fn end_line(&mut self, line: &[u8]) -> Result<Option<SseEvent>, SseError> {
        let line = if std::mem::replace(&mut self.started, true) {
            line
        } else {
            line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line)
        };
        if line.is_empty() {
            return Ok(self.dispatch());
        }
        let (field, value) = match line.iter().position(|b| *b == b':') {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &b""[..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => {
                let joined = self.data.len() + usize::from(self.has_data) + value.len();
                if joined > self.limits.event_bytes_max {
                    return Err(SseError::EventTooLarge {
                        max: self.limits.event_bytes_max,
                    });
                }
                if self.has_data {
                    self.data.push(b'\n');
                }
                self.data.extend_from_slice(value);
                self.has_data = true;
            }
            b"event" => self.event = Some(String::from_utf8_lossy(value).into_owned()),
            b"id" if !value.contains(&0) => {
                self.id = Some(String::from_utf8_lossy(value).into_owned());
            }
            // A comment (empty field), `retry`, or a field nobody has defined.
            _ => {}
        }
        Ok(None)
    }

    fn dispatch(&mut self) -> Option<SseEvent> {
        let event = self.event.take();
        if !std::mem::take(&mut self.has_data) {
            return None;
        }
        Some(SseEvent {
            event: event
                .filter(|name| !name.is_empty())
                .unwrap_or_else(|| "message".to_owned()),
            data: std::mem::take(&mut self.data),
            id: self.id.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(chunks: &[&[u8]]) -> Vec<SseEvent> {
        let mut parser = SseParser::default();
        let mut events = Vec::new();
        for chunk in chunks {
            parser.feed(chunk, |event| events.push(event)).unwrap();
        }
        events
    }

    fn check(stream: &str, expected: &[(&str, &str)]) {
        let found = parse(&[stream.as_bytes()]);
        let found: Vec<_> = found
            .iter()
            .map(|e| (e.event.as_str(), std::str::from_utf8(&e.data).unwrap()))
            .collect();
        assert_eq!(found, expected, "{stream:?}");
    }

    #[test]
    fn the_examples_of_the_standard() {
        check(
            "data: YHOO\ndata: +2\ndata: 10\n\n",
            &[("message", "YHOO\n+2\n10")],
        );
        check(
            ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
            &[
                ("message", "first event"),
                ("message", "second event"),
                ("message", " third event"),
            ],
        );
        check(
            "data\n\ndata\ndata\n\ndata:",
            &[("message", ""), ("message", "\n")],
        );
        check(
            "data:test\n\ndata: test\n\n",
            &[("message", "test"), ("message", "test")],
        );
    }

    #[test]
    fn every_line_end_counts_and_names_do_not_outlive_their_event() {
        check(
            "event: a\r\ndata: 1\r\n\r\ndata: 2\r\rdata: 3\n\n",
            &[("a", "1"), ("message", "2"), ("message", "3")],
        );
        check("event: without data\n\ndata: x\n\n", &[("message", "x")]);
        check(
            "\u{feff}data: after the mark\n\n",
            &[("message", "after the mark")],
        );
        check("retry: 10\nunknown: y\ndata: x\n\n", &[("message", "x")]);
    }

    #[test]
    fn ids_last_and_bytes_that_are_not_text_survive() {
        let events = parse(&[b"id: 7\ndata: \xff\xfe\n\n", b"data: b\n\n"]);
        assert_eq!(events[0].data, b"\xff\xfe");
        assert_eq!(events[1].id.as_deref(), Some("7"));
    }

    #[test]
    fn a_cut_stream_is_seen() {
        let mut parser = SseParser::default();
        parser.feed(b"data: 1\n\n", |_| {}).unwrap();
        assert!(!parser.is_inside_event());
        parser
            .feed(b"data: 2\n", |_| panic!("not finished"))
            .unwrap();
        assert!(parser.is_inside_event());
    }

    #[test]
    fn limits_hold_and_the_error_stays() {
        let limits = SseLimits {
            line_bytes_max: 10,
            event_bytes_max: 12,
        };
        let mut parser = SseParser::new(limits);
        assert_eq!(
            parser.feed(b"data: 123456789", |_| {}),
            Err(SseError::LineTooLong { max: 10 })
        );
        assert_eq!(
            parser.feed(b"\n\n", |_| {}),
            Err(SseError::LineTooLong { max: 10 })
        );
        let mut parser = SseParser::new(limits);
        assert_eq!(
            parser.feed(b"data:12345\ndata:12345\ndata:1\n", |_| {}),
            Err(SseError::EventTooLarge { max: 12 })
        );
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_events(
            lines in proptest::collection::vec(("(data|event|id|:|other)?:? ?[a-z\u{e9}\u{1f41d} ]{0,8}", "(\r\n|\n|\r|\n\n|\r\n\r\n|\r\r)"), 0..20),
            cuts in proptest::collection::vec(0_usize..400, 0..30),
        ) {
            let stream: Vec<u8> = lines.iter().flat_map(|(line, end)| [line.as_bytes(), end.as_bytes()].concat()).collect();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(stream.len())).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let chunks: Vec<&[u8]> = cuts.windows(2).map(|w| &stream[w[0]..w[1]]).collect();
            let bytewise: Vec<&[u8]> = stream.chunks(1).collect();
            let whole = parse(&[&stream]);
            prop_assert_eq!(&parse(&chunks), &whole);
            prop_assert_eq!(&parse(&bytewise), &whole);
        }
    }
}
