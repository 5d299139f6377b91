//! The client's side of `/api/v1/events`: server-sent events, one ledger event each.
//!
//! Reads what the server of the same version writes: `id`, `event` and one `data` line; comments
//! keep the connection alive. The format is the WHATWG HTML standard's, section 9.2.

use crate::client::within;
use crate::client_error::ClientError;
use crate::document::EventView;
use crate::limits;
use bytes::Buf as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

/// A stream of ledger events. Dropping it closes the connection.
#[derive(Debug)]
pub struct EventStream {
    endpoint: String,
    body: Incoming,
    /// What has arrived and is not yet a whole line.
    rest: Vec<u8>,
    /// The data of the event that is arriving.
    data: Option<EventView>,
}

impl EventStream {
    pub(crate) const fn new(endpoint: String, body: Incoming) -> Self {
        Self {
            endpoint,
            body,
            rest: Vec::new(),
            data: None,
        }
    }

    /// The next event; `None` when the server ended the stream.
    pub async fn next(&mut self) -> Result<Option<EventView>, ClientError> {
        loop {
            while let Some(line) = take_line(&mut self.rest) {
                if let Some(event) = self.read_line(&line)? {
                    return Ok(Some(event));
                }
            }
            if self.rest.len() > limits::EVENT_BYTES_MAX {
                return Err(self.malformed("an event longer than the limit".to_owned()));
            }
            match within(limits::STREAM_SILENCE_MS, self.body.frame()).await {
                None => {
                    let seconds = limits::STREAM_SILENCE_MS / 1_000;
                    return Err(ClientError::Timeout {
                        endpoint: self.endpoint.clone(),
                        seconds,
                    });
                }
                Some(None) => return Ok(None),
                Some(Some(Err(source))) => {
                    return Err(ClientError::Broken {
                        endpoint: self.endpoint.clone(),
                        source: source.into(),
                    });
                }
                Some(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        self.rest.extend_from_slice(data.chunk());
                    }
                }
            }
        }
    }

    fn read_line(&mut self, line: &[u8]) -> Result<Option<EventView>, ClientError> {
        if line.is_empty() {
            return Ok(self.data.take());
        }
        if let Some(data) = line.strip_prefix(b"data:") {
            let event = serde_json::from_slice(data);
            self.data = Some(event.map_err(|error| self.malformed(error.to_string()))?);
        }
        Ok(None)
    }

    fn malformed(&self, reason: String) -> ClientError {
        ClientError::Malformed {
            endpoint: self.endpoint.clone(),
            reason,
        }
    }
}

/// Takes the first whole line off the front, without its end.
fn take_line(rest: &mut Vec<u8>) -> Option<Vec<u8>> {
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    let mut line: Vec<u8> = rest.drain(..=end).collect();
    line.pop();
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_by_either_mark_and_a_part_waits() {
        let mut rest = b"id: 1\r\ndata: {}\n\npart".to_vec();
        assert_eq!(take_line(&mut rest), Some(b"id: 1".to_vec()));
        assert_eq!(take_line(&mut rest), Some(b"data: {}".to_vec()));
        assert_eq!(take_line(&mut rest), Some(Vec::new()));
        assert_eq!(take_line(&mut rest), None);
        assert_eq!(rest, b"part");
    }
}
