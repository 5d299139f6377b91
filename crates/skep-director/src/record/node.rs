//! The nodes of the store.

use skep_db::{DbError, Row, Tx, params};
use skep_types::NodeId;

/// One engine of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NodeRow {
    pub(crate) id: NodeId,
    pub(crate) host: String,
    /// Words of [`NodeRole`](crate::NodeRole), separated by commas.
    pub(crate) roles: String,
    pub(crate) slots: i64,
    pub(crate) version: String,
    pub(crate) shared_id: String,
    pub(crate) draining: bool,
    pub(crate) started_at: i64,
    pub(crate) seen_at: i64,
    pub(crate) left_at: Option<i64>,
}

impl NodeRow {
    fn from_row(row: &Row) -> Result<Self, DbError> {
        Ok(Self {
            id: row.parse("id")?,
            host: row.get("host")?,
            roles: row.get("roles")?,
            slots: row.get("slots")?,
            version: row.get("version")?,
            shared_id: row.get("shared_id")?,
            draining: row.get("draining")?,
            started_at: row.get("started_at")?,
            seen_at: row.get("seen_at")?,
            left_at: row.get("left_at")?,
        })
    }
}

/// Writes a node down that starts; whether it is drained stays as it was.
pub(crate) async fn put_node(tx: &mut Tx<'_>, node: &NodeRow) -> Result<(), DbError> {
    let sql = "INSERT INTO node (id, host, roles, slots, version, shared_id, draining, started_at,
            seen_at, left_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, ?7, ?7, NULL)
        ON CONFLICT (id) DO UPDATE SET host = excluded.host, roles = excluded.roles,
            slots = excluded.slots, version = excluded.version, shared_id = excluded.shared_id,
            started_at = excluded.started_at, seen_at = excluded.seen_at, left_at = NULL";
    let values = params![
        node.id.as_str(),
        &node.host,
        &node.roles,
        node.slots,
        &node.version,
        &node.shared_id,
        node.started_at,
    ];
    tx.execute(sql, values).await.map(|_| ())
}

/// The nodes, the newest start first, up to `limit`.
pub(crate) async fn nodes(tx: &mut Tx<'_>, limit: i64) -> Result<Vec<NodeRow>, DbError> {
    let sql = "SELECT * FROM node ORDER BY started_at DESC, id LIMIT ?1";
    let rows = tx.query(sql, params![limit]).await?;
    rows.iter().map(NodeRow::from_row).collect()
}

/// The node with this id.
pub(crate) async fn node(tx: &mut Tx<'_>, id: &NodeId) -> Result<Option<NodeRow>, DbError> {
    let sql = "SELECT * FROM node WHERE id = ?1";
    let row = tx.query_opt(sql, params![id.as_str()]).await?;
    row.as_ref().map(NodeRow::from_row).transpose()
}

/// Whether the node is to take no more work.
pub(crate) async fn is_draining(tx: &mut Tx<'_>, id: &NodeId) -> Result<bool, DbError> {
    let sql = "SELECT draining FROM node WHERE id = ?1";
    let row = tx.query_opt(sql, params![id.as_str()]).await?;
    row.map_or(Ok(false), |row| row.get("draining"))
}

/// Sets whether the node is to take more work. `false`: it was so already.
pub(crate) async fn set_draining(
    tx: &mut Tx<'_>,
    id: &NodeId,
    draining: bool,
) -> Result<bool, DbError> {
    let sql = "UPDATE node SET draining = ?2 WHERE id = ?1 AND draining <> ?2";
    Ok(tx.execute(sql, params![id.as_str(), draining]).await? > 0)
}

/// Notes that the node lives.
pub(crate) async fn node_seen(tx: &mut Tx<'_>, id: &NodeId) -> Result<(), DbError> {
    let now = tx.now_ms().await?;
    let sql = "UPDATE node SET seen_at = ?2 WHERE id = ?1";
    tx.execute(sql, params![id.as_str(), now]).await.map(|_| ())
}

/// Notes that the node has stopped in good order.
pub(crate) async fn node_left(tx: &mut Tx<'_>, id: &NodeId) -> Result<(), DbError> {
    let now = tx.now_ms().await?;
    let sql = "UPDATE node SET left_at = ?2, seen_at = ?2 WHERE id = ?1";
    tx.execute(sql, params![id.as_str(), now]).await.map(|_| ())
}
