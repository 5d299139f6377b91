//! `skep node`: who works on this store; draining a node and letting it work again.

use super::Session;
use crate::cli::Node;
use crate::failure::{Exit, Failure};
use crate::output::table_columns;
use crate::table::{Align, Table};
use skep_api::NodeView;

/// Runs one of the commands.
pub(crate) async fn node(session: &Session, command: &Node) -> Result<Exit, Failure> {
    match command {
        Node::List => list(session).await?,
        Node::Drain(node) => set_draining(session, &node.node, true).await?,
        Node::Resume(node) => set_draining(session, &node.node, false).await?,
    }
    Ok(Exit::Done)
}

async fn list(session: &Session) -> Result<(), Failure> {
    let page = session.reach().await?.nodes().await?;
    if session.printer.json() {
        return session.printer.document(&page);
    }
    if page.items.is_empty() {
        session
            .printer
            .note("no engine has worked on this store yet");
        return Ok(());
    }
    for line in table(&page.items).lines(&session.printer, table_columns()) {
        session.printer.line(&line)?;
    }
    Ok(())
}

async fn set_draining(session: &Session, node: &str, draining: bool) -> Result<(), Failure> {
    let reach = session.reach().await?;
    let node = reach.set_node_draining(node, draining).await?;
    if session.printer.json() {
        return session.printer.document(&node);
    }
    let state = match (draining, node.running) {
        (true, 0) => "is drained: it runs nothing and takes nothing".to_owned(),
        (true, running) => format!("takes nothing more and finishes {running}"),
        (false, _) => "works again".to_owned(),
    };
    session
        .printer
        .line(&format!("node {} on {} {state}", node.id, node.host))
}

fn table(nodes: &[NodeView]) -> Table<'static> {
    let mut table = Table::new(&[
        ("NODE", Align::Left),
        ("HOST", Align::Flexible),
        ("STATE", Align::Left),
        ("ROLES", Align::Left),
        ("RUNNING", Align::Right),
    ]);
    for node in nodes {
        let roles = if node.roles.len() == 4 {
            "all".to_owned()
        } else {
            node.roles.join(" ")
        };
        table.row(vec![
            node.id.as_str().into(),
            node.host.as_str().into(),
            node.state.as_str().into(),
            roles.into(),
            format!("{}/{}", node.running, node.slots).into(),
        ]);
    }
    table
}
