//! The ledger: read by pages or as it grows, with its proofs, and verified.

use super::Client;
use super::path::with_query;
use crate::client_error::ClientError;
use crate::document::{EventView, LedgerView, Page};
use crate::event_stream::EventStream;
use crate::installation::{LedgerEntries, LedgerHeadView};
use crate::route::Verb;
use bytes::Bytes;

impl Client {
    /// A page of ledger events after a sequence number, oldest first.
    pub async fn events(
        &self,
        after: i64,
        subject: Option<&str>,
        limit: i64,
    ) -> Result<Page<EventView>, ClientError> {
        let (after, limit) = (after.to_string(), limit.to_string());
        let path = with_query(
            "/api/v1/events",
            &[
                ("after", Some(&after)),
                ("subject", subject),
                ("limit", Some(&limit)),
            ],
        );
        self.get(&path).await
    }

    /// The newest ledger events, oldest first.
    pub async fn newest_events(
        &self,
        subject: Option<&str>,
        limit: i64,
    ) -> Result<Page<EventView>, ClientError> {
        let limit = limit.to_string();
        let path = with_query(
            "/api/v1/events",
            &[
                ("newest", Some("true")),
                ("subject", subject),
                ("limit", Some(&limit)),
            ],
        );
        self.get(&path).await
    }

    /// The ledger as it grows, from after a sequence number on.
    pub async fn event_stream(
        &self,
        after: i64,
        subject: Option<&str>,
    ) -> Result<EventStream, ClientError> {
        let after = after.to_string();
        let path = with_query(
            "/api/v1/events",
            &[("after", Some(&after)), ("subject", subject)],
        );
        let answer = self
            .send(Verb::Get, &path, Bytes::new(), "text/event-stream")
            .await?;
        if answer.status().is_success() {
            Ok(EventStream::new(self.0.to_string(), answer.into_body()))
        } else {
            Err(self.refusal(answer).await)
        }
    }

    /// A part of the ledger with everything that its hashes cover.
    pub async fn ledger_entries(
        &self,
        after: i64,
        limit: i64,
    ) -> Result<LedgerEntries, ClientError> {
        let (after, limit) = (after.to_string(), limit.to_string());
        let path = with_query(
            "/api/v1/ledger/entries",
            &[("after", Some(&after)), ("limit", Some(&limit))],
        );
        self.get(&path).await
    }

    /// The signed end of the ledger's chain.
    pub async fn ledger_head(&self) -> Result<LedgerHeadView, ClientError> {
        self.get("/api/v1/ledger/head").await
    }

    /// Recomputes the ledger's chain.
    pub async fn verify_ledger(&self) -> Result<LedgerView, ClientError> {
        self.verify_ledger_with(&[]).await
    }

    /// Recomputes the ledger's chain, in which every anchor (`SEQ:HASH`) has to be.
    pub async fn verify_ledger_with(&self, anchors: &[String]) -> Result<LedgerView, ClientError> {
        let anchors = anchors.join(",");
        let anchor = (!anchors.is_empty()).then_some(anchors.as_str());
        let path = with_query("/api/v1/ledger/verify", &[("anchor", anchor)]);
        self.get(&path).await
    }
}
