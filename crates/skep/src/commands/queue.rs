//! `skep queue`: how the queues stand; pausing and resuming them.

use super::Session;
use crate::cli::{Queue, QueueReference};
use crate::failure::{Exit, Failure};
use crate::output::table_columns;
use crate::table::{Align, Table};
use skep_api::QueueView;

/// Runs one of the commands.
pub(crate) async fn queue(session: &Session, command: &Queue) -> Result<Exit, Failure> {
    match command {
        Queue::List => list(session).await?,
        Queue::Pause(queue) => set_paused(session, queue, true).await?,
        Queue::Resume(queue) => set_paused(session, queue, false).await?,
    }
    Ok(Exit::Done)
}

async fn list(session: &Session) -> Result<(), Failure> {
    let page = session.reach().await?.queues().await?;
    if session.printer.json() {
        return session.printer.document(&page);
    }
    if page.items.is_empty() {
        session.printer.note("no live jobs, and no queue is paused");
        return Ok(());
    }
    for line in table(&page.items).lines(&session.printer, table_columns()) {
        session.printer.line(&line)?;
    }
    Ok(())
}

async fn set_paused(
    session: &Session,
    reference: &QueueReference,
    paused: bool,
) -> Result<(), Failure> {
    let name = reference.queue.as_deref().unwrap_or("*");
    let queue = session
        .reach()
        .await?
        .set_queue_paused(name, paused)
        .await?;
    if session.printer.json() {
        return session.printer.document(&queue);
    }
    let whose = if name == "*" {
        "every queue".to_owned()
    } else {
        format!("queue {name}")
    };
    let becomes = match (paused, queue.paused) {
        (true, _) => "is paused: what runs goes on, nothing new starts",
        (false, false) => "goes on",
        (false, true) => "is still paused with all queues: `skep queue resume --all`",
    };
    session.printer.line(&format!("{whose} {becomes}"))
}

fn table(queues: &[QueueView]) -> Table<'static> {
    let mut table = Table::new(&[
        ("QUEUE", Align::Left),
        ("STATE", Align::Left),
        ("READY", Align::Right),
        ("LATER", Align::Right),
        ("RUNNING", Align::Right),
        ("WAITING", Align::Right),
    ]);
    for queue in queues {
        table.row(vec![
            queue.queue.as_str().into(),
            (if queue.paused { "paused" } else { "open" }).into(),
            queue.ready.to_string().into(),
            queue.later.to_string().into(),
            queue.running.to_string().into(),
            queue.waiting.to_string().into(),
        ]);
    }
    table
}
