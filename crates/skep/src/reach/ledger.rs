//! The ledger, through the holder or directly.

use super::Reach;
use crate::failure::Failure;
use skep_api::{EventView, LedgerEntries, LedgerHeadView, LedgerView};
use skep_ledger::Anchor;

impl Reach {
    pub(crate) async fn events(
        &self,
        after: i64,
        subject: Option<&str>,
        limit: i64,
    ) -> Result<Vec<EventView>, Failure> {
        Ok(match self {
            Self::Holder(client) => client.events(after, subject, limit).await?.items,
            Self::Direct(open) => open.director.events(after, subject, limit).await?,
        })
    }

    pub(crate) async fn newest_events(
        &self,
        subject: Option<&str>,
        limit: i64,
    ) -> Result<Vec<EventView>, Failure> {
        Ok(match self {
            Self::Holder(client) => client.newest_events(subject, limit).await?.items,
            Self::Direct(open) => open.director.newest_events(subject, limit).await?,
        })
    }

    pub(crate) async fn ledger_entries(
        &self,
        after: i64,
        limit: i64,
    ) -> Result<LedgerEntries, Failure> {
        match self {
            Self::Holder(client) => Ok(client.ledger_entries(after, limit).await?),
            Self::Direct(open) => open.ledger_entries(after, limit).await,
        }
    }

    pub(crate) async fn ledger_head(&self) -> Result<LedgerHeadView, Failure> {
        match self {
            Self::Holder(client) => Ok(client.ledger_head().await?),
            Self::Direct(open) => open.ledger_head().await,
        }
    }

    pub(crate) async fn verify_ledger(&self, anchors: &[Anchor]) -> Result<LedgerView, Failure> {
        Ok(match self {
            Self::Holder(client) => {
                let anchors: Vec<String> = anchors.iter().map(Anchor::to_string).collect();
                client.verify_ledger_with(&anchors).await?
            }
            Self::Direct(open) => open.director.verify_ledger_with(anchors.to_vec()).await?,
        })
    }
}
