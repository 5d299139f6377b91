//! `skep topic`: look at topics, produce messages, decide about dead letters.

use super::Session;
use super::job::age;
use crate::cli::{Topic, TopicDead, TopicDrain, TopicProduce, TopicTail};
use crate::failure::{Exit, Failure};
use crate::output::{Printer, Tone, one_line, table_columns};
use crate::reach::Reach;
use crate::table::{Align, Cell, Table};
use skep_api::{
    DeadMessageView, GroupView, MessageView, MessagesChanged, ProduceMessage, TopicView,
};
use skep_stdx::{Clock as _, SystemClock};
use std::io::Read as _;
use std::path::Path;

/// The largest payload that is read from a file, in bytes: what one request may hold.
const FILE_BYTES_MAX: u64 = 768 * 1024;
/// The widest key in a table, in columns: the payload needs the room.
const KEY_COLUMNS_MAX: usize = 30;

/// Runs one of the commands.
pub(crate) async fn topic(session: &Session, command: &Topic) -> Result<Exit, Failure> {
    // Read before anything is opened: a file that is not there changes nothing.
    if let Topic::Produce(arguments) = command {
        produce(session, arguments).await?;
        return Ok(Exit::Done);
    }
    let printer = &session.printer;
    let reach = session.reach().await?;
    match command {
        Topic::List => list(printer, &reach).await?,
        Topic::Show(arguments) => {
            let topic = reach.topic(&arguments.topic).await?;
            if printer.json() {
                printer.document(&topic)?;
            } else {
                show(printer, &topic)?;
            }
        }
        Topic::Tail(arguments) => tail(printer, &reach, arguments).await?,
        Topic::Dead(arguments) => dead(printer, &reach, arguments).await?,
        Topic::Replay(arguments) => {
            let group = arguments.group.as_deref();
            let changed = reach.replay_message(&arguments.message, group).await?;
            print_changed(printer, &changed, "is delivered once more")?;
        }
        Topic::Dismiss(arguments) => {
            let group = arguments.group.as_deref();
            let changed = reach.dismiss_message(&arguments.message, group).await?;
            print_changed(printer, &changed, "is dismissed")?;
        }
        Topic::Drain(arguments) => drain(printer, &reach, arguments).await?,
        Topic::Produce(_) => {}
    }
    Ok(Exit::Done)
}

async fn list(printer: &Printer, reach: &Reach) -> Result<(), Failure> {
    let page = reach.topics().await?;
    if printer.json() {
        return printer.document(&page);
    }
    print_lines(printer, &groups(&page.items, SystemClock.now_ms()))
}

async fn tail(printer: &Printer, reach: &Reach, arguments: &TopicTail) -> Result<(), Failure> {
    let (partition, limit) = (arguments.partition, Some(arguments.limit));
    let page = reach
        .messages(&arguments.topic, partition, arguments.cursor, limit)
        .await?;
    if printer.json() {
        return printer.document(&page);
    }
    if page.items.is_empty() {
        printer.note("no messages");
        return Ok(());
    }
    print_lines(printer, &messages(&page.items, SystemClock.now_ms()))
}

async fn dead(printer: &Printer, reach: &Reach, arguments: &TopicDead) -> Result<(), Failure> {
    let (group, limit) = (arguments.group.as_deref(), Some(arguments.limit));
    let page = reach.dead_messages(&arguments.topic, group, limit).await?;
    if printer.json() {
        return printer.document(&page);
    }
    if page.items.is_empty() {
        printer.note("no dead letters");
        return Ok(());
    }
    print_lines(printer, &letters(&page.items, SystemClock.now_ms()))?;
    printer.note("once more with `skep topic replay MESSAGE`, all with `skep topic drain TOPIC`");
    Ok(())
}

async fn drain(printer: &Printer, reach: &Reach, arguments: &TopicDrain) -> Result<(), Failure> {
    let (group, limit) = (arguments.group.as_deref(), Some(arguments.limit));
    let changed = reach
        .drain_dead_messages(&arguments.topic, group, limit)
        .await?;
    if printer.json() {
        return printer.document(&changed);
    }
    let (count, group) = (changed.messages.len(), &changed.group);
    printer.line(&format!(
        "dead letters of {group} delivered once more: {count}"
    ))?;
    if changed.more {
        printer.note("there are more: call it again");
    }
    Ok(())
}

async fn produce(session: &Session, arguments: &TopicProduce) -> Result<(), Failure> {
    let payload = match (&arguments.payload, &arguments.file) {
        (Some(payload), _) => payload.clone(),
        (None, Some(file)) => read(file)?,
        (None, None) => String::new(),
    };
    let message = ProduceMessage {
        payload,
        key: arguments.key.clone(),
        dedup_id: arguments.dedup_id.clone(),
        spill: arguments.spill,
    };
    let reach = session.reach().await?;
    let produced = reach.produce(&arguments.topic, message).await?;
    if session.printer.json() {
        return session.printer.document(&produced);
    }
    let earlier = if produced.created {
        ""
    } else {
        " was produced before"
    };
    session
        .printer
        .line(&format!("{}{earlier}", produced.message))
}

fn read(file: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let read = if file == Path::new("-") {
        std::io::stdin()
            .take(FILE_BYTES_MAX + 1)
            .read_to_string(&mut text)
    } else {
        std::fs::File::open(file)
            .and_then(|open| open.take(FILE_BYTES_MAX + 1).read_to_string(&mut text))
    };
    let reason = match read {
        Ok(bytes) if bytes as u64 > FILE_BYTES_MAX => "it is too large".to_owned(),
        Ok(_) => return Ok(text),
        Err(error) => error.to_string(),
    };
    Err(Failure::usage(
        "payload_unreadable",
        format!("the payload {} cannot be read: {reason}", file.display()),
        "name a text file of at most 768 KiB; what is larger goes by its path",
    ))
}

fn print_lines(printer: &Printer, table: &Table<'_>) -> Result<(), Failure> {
    for line in table.lines(printer, table_columns()) {
        printer.line(&line)?;
    }
    Ok(())
}

fn print_changed(printer: &Printer, changed: &MessagesChanged, what: &str) -> Result<(), Failure> {
    if printer.json() {
        return printer.document(changed);
    }
    for message in &changed.messages {
        printer.line(&format!("{message} {what}"))?;
    }
    Ok(())
}

/// One line for each group, and for each topic without one.
fn groups(topics: &[TopicView], now_ms: i64) -> Table<'_> {
    let mut table = Table::new(&[
        ("TOPIC", Align::Flexible),
        ("GROUP", Align::Left),
        ("LAG", Align::Right),
        ("OLDEST", Align::Right),
        ("DEAD", Align::Right),
        ("DELIVERED", Align::Right),
        ("KEPT", Align::Right),
    ]);
    for topic in topics {
        let kept = topic.kept.to_string();
        if topic.groups.is_empty() {
            let mut row: Vec<Cell> = vec![topic.name.as_str().into()];
            row.extend(["-"; 5].map(Cell::from));
            row.push(kept.as_str().into());
            table.row(row);
        }
        for group in &topic.groups {
            let mut row: Vec<Cell> = vec![topic.name.as_str().into(), group.name.as_str().into()];
            row.extend(standing(group, now_ms));
            row.push(kept.as_str().into());
            table.row(row);
        }
    }
    table
}

fn standing(group: &GroupView, now_ms: i64) -> [Cell; 4] {
    let tone = if group.blocked > 0 {
        Tone::Bad
    } else {
        Tone::Plain
    };
    let oldest = group.oldest_unread_at.map(|at| age(now_ms - at));
    [
        group.lag.to_string().into(),
        oldest.unwrap_or_else(|| "-".to_owned()).into(),
        Cell::toned(&group.blocked.to_string(), tone),
        group.delivered.to_string().into(),
    ]
}

fn show(printer: &Printer, topic: &TopicView) -> Result<(), Failure> {
    let mut lines = vec![
        ("topic", topic.name.clone()),
        ("readers", topic.readers.clone()),
        ("partitions", topic.partitions.to_string()),
        (
            "kept",
            format!(
                "{} of {} messages, {} bytes",
                topic.kept, topic.produced, topic.bytes
            ),
        ),
        ("retention", format!("{} at least", age(topic.retention_ms))),
        (
            "payload",
            format!("{} bytes at most", topic.payload_bytes_max),
        ),
    ];
    if let Some(ms) = topic.silent_after_ms {
        lines.push((
            "alarm",
            format!("after {} with input and no output", age(ms)),
        ));
    }
    if !topic.from_ledger.is_empty() {
        lines.push(("fed from", topic.from_ledger.join(", ")));
    }
    if !topic.declared {
        lines.push(("declared", "no longer: it takes no messages".to_owned()));
    }
    for (name, text) in lines {
        let label = printer.painted(&format!("{name:<12}"), Tone::Quiet);
        printer.line(&format!("{label}{text}"))?;
    }
    if !topic.groups.is_empty() {
        printer.line("")?;
        print_lines(
            printer,
            &groups(std::slice::from_ref(topic), SystemClock.now_ms()),
        )?;
    }
    Ok(())
}

fn messages(messages: &[MessageView], now_ms: i64) -> Table<'_> {
    let mut table = Table::new(&[
        ("MESSAGE", Align::Left),
        ("AGE", Align::Right),
        ("BYTES", Align::Right),
        ("KEY", Align::Left),
        ("PAYLOAD", Align::Flexible),
    ]);
    for message in messages {
        let payload = match (&message.payload, &message.reference) {
            (Some(text), _) => one_line(text),
            (None, Some(place)) => format!("spilled to {place}"),
            (None, None) => String::new(),
        };
        table.row(vec![
            message.id.as_str().into(),
            age(now_ms - message.produced_at).into(),
            message.bytes.to_string().into(),
            crate::output::cut(message.key.as_deref().unwrap_or("-"), KEY_COLUMNS_MAX).into(),
            payload.into(),
        ]);
    }
    table
}

fn letters(letters: &[DeadMessageView], now_ms: i64) -> Table<'_> {
    let mut table = Table::new(&[
        ("MESSAGE", Align::Left),
        ("GROUP", Align::Left),
        ("AGE", Align::Right),
        ("REASON", Align::Left),
        ("TRIES", Align::Right),
        ("WHY", Align::Flexible),
    ]);
    for letter in letters {
        table.row(vec![
            letter.message.as_str().into(),
            letter.group.as_str().into(),
            age(now_ms - letter.since).into(),
            letter.reason.as_str().into(),
            letter.tries.to_string().into(),
            one_line(letter.why.as_deref().unwrap_or("-")).into(),
        ]);
    }
    table
}
