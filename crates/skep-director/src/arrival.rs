//! Putting in order what was moved here from another store.
//!
//! A store that arrives has no engine: whatever a row says about a lease, nobody who could renew
//! it works on *this* store. And paths of the home it came from are paths of this home.

use crate::error::DirectorError;
use crate::event::{DataImported, append};
use crate::limits::NODES_MAX;
use crate::{heartbeat, record};
use skep_db::Tx;
use skep_queue::JobFilter;
use skep_types::{JobState, NodeId};
use std::collections::BTreeSet;
use std::path::Path;

/// Jobs looked at at once.
const PAGE: i64 = 500;

/// What was put in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Arrival {
    /// Leases taken back: jobs that were under way when the store was read.
    pub leases_taken_back: usize,
    /// Paths of the earlier home that now name this one.
    pub paths_moved: u64,
}

/// What the import is recorded as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arriving<'a> {
    /// The engine that the archive was read from.
    pub engine: &'static str,
    /// Rows of all tables.
    pub rows: u64,
    /// The digest of the archive's tables.
    pub content_sha256: &'a str,
}

/// Takes back every lease, so that the next engine starts where the earlier one was interrupted,
/// notes that every node has left, moves the paths of the earlier home to this one, and records the
/// import on the ledger. In the transaction of the import.
pub async fn arrive(
    tx: &mut Tx<'_>,
    arriving: &Arriving<'_>,
    homes: Option<(&Path, &Path)>,
) -> Result<Arrival, DirectorError> {
    let mut arrival = Arrival::default();
    for node in nodes(tx).await? {
        loop {
            let taken = heartbeat::reconcile_once(tx, Some(&node)).await?;
            if taken == 0 {
                break;
            }
            arrival.leases_taken_back += taken;
        }
        while skep_queue::schedule::release_checks(tx, &node).await? > 0 {}
        record::node_left(tx, &node).await?;
    }
    if let Some((earlier, here)) = homes.filter(|(earlier, here)| earlier != here) {
        arrival.paths_moved = record::move_home(tx, earlier, here).await?;
    }
    let event = DataImported {
        engine: arriving.engine,
        rows: i64::try_from(arriving.rows).unwrap_or(i64::MAX),
        content_sha256: arriving.content_sha256.to_owned(),
        leases_taken_back: arrival.leases_taken_back,
    };
    append(tx, skep_ledger::HOME, &event).await?;
    Ok(arrival)
}

/// Every node that the store knows of, and every one that holds a job.
async fn nodes(tx: &mut Tx<'_>) -> Result<BTreeSet<NodeId>, DirectorError> {
    let filter = JobFilter {
        states: JobState::ALL
            .iter()
            .copied()
            .filter(|state| !state.is_terminal())
            .collect(),
        ..JobFilter::default()
    };
    let known = record::nodes(tx, NODES_MAX).await?;
    let mut nodes: BTreeSet<NodeId> = known.into_iter().map(|node| node.id).collect();
    let mut cursor = None;
    loop {
        let page = skep_queue::jobs(tx, &filter, cursor, PAGE).await?;
        nodes.extend(
            page.items
                .into_iter()
                .filter_map(|job| Some(job.held?.node)),
        );
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(nodes);
        }
    }
}
