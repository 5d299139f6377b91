//! The nodes of a store: who is there, what each does, and who is being drained.
//!
//! A node is an engine over a home of its own. Several of them work on one PostgreSQL store if they
//! share a folder for what all of them must see. Nothing here gives authority over a job: that is
//! the queue's lease and its fence, so a node that is cut off or comes back does no harm.

use crate::context::Context;
use crate::engine::EngineError;
use crate::error::{DirectorError, describe};
use crate::event::{self, NodeDraining, NodeJoined, NodeLeft, NodeResumed};
use crate::limits::{LEASE_MS, NODES_MAX};
use crate::record::{self, NodeRow};
use skep_api::{NodeView, Page};
use skep_db::{Engine, Tx};
use skep_ledger::HOME;
use skep_types::{NodeId, NodeRole};
use std::collections::BTreeSet;

/// What a node is and does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeOptions {
    /// The machine's name, for people.
    pub host: String,
    /// The program's version, for people.
    pub version: &'static str,
    /// What it does.
    pub roles: BTreeSet<NodeRole>,
}

impl NodeOptions {
    /// A node that does everything.
    pub fn all_roles(host: String, version: &'static str) -> Self {
        Self {
            host,
            version,
            roles: NodeRole::ALL.iter().copied().collect(),
        }
    }
}

/// Enters this node among those of the store.
///
/// Refused while another node lives that shares another folder: what one of them verified the
/// other could not land.
pub(crate) async fn join(context: &Context) -> Result<(), EngineError> {
    let shared_id = context
        .home
        .shared_id(&*context.entropy)
        .map_err(EngineError::Shared)?;
    let words: Vec<&str> = context.options.roles.iter().map(|r| r.as_str()).collect();
    let row = NodeRow {
        id: context.node.clone(),
        host: context.options.host.clone(),
        roles: words.join(","),
        slots: context.engine.slots,
        version: context.options.version.to_owned(),
        shared_id,
        draining: false,
        started_at: 0,
        seen_at: 0,
        left_at: None,
    };
    context
        .db
        .write("join", async move |tx: &mut Tx<'_>| {
            let mut row = row.clone();
            row.started_at = tx.now_ms().await?;
            for other in record::nodes(tx, NODES_MAX).await? {
                let lives = lives(&other, row.started_at) && other.id != row.id;
                if lives && other.shared_id != row.shared_id {
                    return Err(EngineError::NotShared { host: other.host });
                }
            }
            record::put_node(tx, &row).await?;
            let event = NodeJoined {
                node: row.id.clone(),
                slots: row.slots,
                roles: row.roles.clone(),
            };
            event::append(tx, HOME, &event)
                .await
                .map_err(EngineError::Join)
        })
        .await
}

/// Notes that this node lives, where there can be others who want to know.
pub(crate) async fn seen(context: &Context) -> Result<(), DirectorError> {
    if context.db.engine() == Engine::Sqlite {
        return Ok(());
    }
    let node = context.node.clone();
    let write = async move |tx: &mut Tx<'_>| record::node_seen(tx, &node).await;
    Ok(context.db.write("node seen", write).await?)
}

/// Notes that this node has stopped in good order.
pub(crate) async fn leave(context: &Context) {
    let node = context.node.clone();
    let left = context
        .db
        .write("leave", async move |tx: &mut Tx<'_>| {
            record::node_left(tx, &node).await?;
            event::append(tx, HOME, &NodeLeft { node: node.clone() }).await
        })
        .await;
    if let Err(error) = left {
        tracing::warn!(error = describe(&error), "the node's end was not recorded");
    }
}

/// The nodes of the store.
pub(crate) async fn nodes(context: &Context) -> Result<Page<NodeView>, DirectorError> {
    let items = context
        .db
        .read("nodes", async |tx: &mut Tx<'_>| {
            let mut views = Vec::new();
            for row in record::nodes(tx, NODES_MAX).await? {
                views.push(view(tx, row).await?);
            }
            Ok::<_, DirectorError>(views)
        })
        .await?;
    Ok(Page {
        items,
        next_cursor: None,
    })
}

/// Lets a node finish what it runs and take nothing more, or work again.
pub(crate) async fn set_draining(
    context: &Context,
    reference: &str,
    draining: bool,
) -> Result<NodeView, DirectorError> {
    let reference = reference.to_owned();
    let own = context.node.clone();
    context
        .db
        .write("drain node", async move |tx: &mut Tx<'_>| {
            let row = find(tx, &reference, &own).await?;
            if record::set_draining(tx, &row.id, draining).await? {
                let node = row.id.clone();
                if draining {
                    event::append(tx, HOME, &NodeDraining { node }).await?;
                } else {
                    event::append(tx, HOME, &NodeResumed { node }).await?;
                }
            }
            tx.wake(skep_queue::TOPIC);
            view(tx, NodeRow { draining, ..row }).await
        })
        .await
}

/// The node of that id or host name; `here` is this one.
async fn find(tx: &mut Tx<'_>, reference: &str, own: &NodeId) -> Result<NodeRow, DirectorError> {
    let not_found = || DirectorError::NotFound {
        noun: "node",
        reference: reference.chars().take(64).collect(),
    };
    if reference == "here" {
        return record::node(tx, own).await?.ok_or_else(not_found);
    }
    if let Ok(id) = reference.parse::<NodeId>() {
        return record::node(tx, &id).await?.ok_or_else(not_found);
    }
    let mut named = record::nodes(tx, NODES_MAX).await?;
    named.retain(|row| row.host == reference);
    match (named.pop(), named.is_empty()) {
        (Some(row), true) => Ok(row),
        (Some(_), false) => Err(DirectorError::usage(
            "node_ambiguous",
            format!("several nodes are on `{reference}`"),
            "name one by its id: `skep node list`",
        )),
        (None, _) => Err(not_found()),
    }
}

/// A node that has not been seen for as long as a lease lasts holds nothing any more.
const fn lives(row: &NodeRow, now_ms: i64) -> bool {
    row.left_at.is_none() && now_ms.saturating_sub(row.seen_at) < LEASE_MS
}

async fn view(tx: &mut Tx<'_>, row: NodeRow) -> Result<NodeView, DirectorError> {
    let running = skep_queue::held_by(tx, &row.id).await?;
    let state = match (row.left_at, row.draining, running) {
        (Some(_), ..) => "left",
        // On SQLite there is one node, and whoever answers is it.
        _ if tx.engine() == Engine::Postgres && !lives(&row, tx.now_ms().await?) => "silent",
        (None, true, 0) => "drained",
        (None, true, _) => "draining",
        (None, false, _) => "working",
    };
    Ok(NodeView {
        id: row.id.as_str().to_owned(),
        host: row.host,
        state: state.to_owned(),
        roles: row.roles.split(',').map(str::to_owned).collect(),
        slots: row.slots,
        running,
        version: row.version,
        started_at: row.started_at,
        seen_at: row.seen_at,
    })
}
