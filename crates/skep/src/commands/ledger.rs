//! `skep ledger`: read, verify and export the record of everything that happened.

use super::Session;
use crate::cli::{Ledger, LedgerExport, LedgerTail};
use crate::failure::{Exit, Failure};
use crate::output::{Printer, Tone, cut, one_line, table_columns};
use crate::reach::Reach;
use skep_api::{EventView, LedgerExportHead, LedgerView};
use skep_stdx::{Clock as _, SystemClock};
use std::io::Write as _;
use std::path::Path;

/// Entries read at once.
const PAGE: i64 = 500;
/// How an entry's hash is made, for whoever writes a verifier.
const ENTRY_HASH: &str = "SHA-256 over these fields in this order, each preceded by its length in bytes as a 64-bit big-endian number, integers as 64-bit big-endian two's complement: the words skep-ledger-entry-v1, the hash of the entry before (32 zero bytes before the first), seq, event_id, at, kind, version, subject, SHA-256 of the payload's bytes";

/// Runs one of the commands.
pub(crate) async fn ledger(session: &Session, command: &Ledger) -> Result<Exit, Failure> {
    let reach = session.reach().await?;
    match command {
        Ledger::Tail(arguments) => tail(session, &reach, arguments).await,
        Ledger::Verify => verify(&session.printer, &reach.verify_ledger().await?),
        Ledger::Export(arguments) => export(session, &reach, arguments).await,
    }
}

fn verify(printer: &Printer, view: &LedgerView) -> Result<Exit, Failure> {
    if printer.json() {
        printer.document(view)?;
    } else if view.ok {
        let ok = printer.painted("ok", Tone::Good);
        let waiting = match view.unsealed {
            0 => String::new(),
            count => format!(", {count} wait for their seal"),
        };
        printer.line(&format!(
            "ledger: {ok}, {} events{waiting}, head {}",
            view.events, view.head
        ))?;
    } else {
        let bad = printer.painted("bad", Tone::Bad);
        let at = view.first_bad_seq.unwrap_or_default();
        let reason = view.reason.as_deref().unwrap_or("it does not hold");
        printer.line(&format!(
            "ledger: {bad} at event {at}: {}",
            one_line(reason)
        ))?;
        printer.note("what stands before that event holds; compare with an export or a backup");
    }
    Ok(if view.ok {
        Exit::Done
    } else {
        Exit::Unsuccessful
    })
}

async fn tail(session: &Session, reach: &Reach, arguments: &LedgerTail) -> Result<Exit, Failure> {
    let subject = arguments.subject.as_deref();
    let events = match arguments.cursor {
        Some(after) => reach.events(after, subject, arguments.limit).await?,
        None => newest(reach, subject, arguments.limit).await?,
    };
    for event in &events {
        print_event(&session.printer, event)?;
    }
    if !arguments.follow {
        return Ok(Exit::Done);
    }
    let after = events
        .last()
        .map_or(arguments.cursor.unwrap_or(0), |last| last.seq);
    follow(session, reach, after, subject).await
}

async fn follow(
    session: &Session,
    reach: &Reach,
    after: i64,
    subject: Option<&str>,
) -> Result<Exit, Failure> {
    let Reach::Holder(client) = reach else {
        return Err(Failure::unreachable(
            "server_unreachable",
            "nobody runs this home, so nothing new can happen",
            "start a server with `skep up`",
        ));
    };
    let mut events = client.event_stream(after, subject).await?;
    while let Some(event) = events.next().await? {
        print_event(&session.printer, &event)?;
    }
    Ok(Exit::Done)
}

/// The newest `limit` events. Sequence numbers have no gaps, so without a subject the last one
/// says where to start; a subject's events are read through.
async fn newest(
    reach: &Reach,
    subject: Option<&str>,
    limit: i64,
) -> Result<Vec<EventView>, Failure> {
    if subject.is_none() {
        let last = last_seq(reach).await?;
        return reach.events((last - limit).max(0), None, limit).await;
    }
    let kept = usize::try_from(limit).unwrap_or(usize::MAX);
    let (mut newest, mut after) = (Vec::new(), 0);
    loop {
        let page = reach.events(after, subject, PAGE).await?;
        let Some(last) = page.last() else {
            return Ok(newest);
        };
        after = last.seq;
        newest.extend(page);
        newest.drain(..newest.len().saturating_sub(kept));
    }
}

/// The greatest sequence number, by doubling and halving: a few dozen reads of one row instead of
/// the whole chain.
pub(crate) async fn last_seq(reach: &Reach) -> Result<i64, Failure> {
    let exists =
        async |seq: i64| Ok::<_, Failure>(!reach.events(seq - 1, None, 1).await?.is_empty());
    let mut missing = 1;
    while exists(missing).await? {
        missing *= 2;
    }
    let mut there = missing / 2;
    while missing - there > 1 {
        let middle = there + (missing - there) / 2;
        if exists(middle).await? {
            there = middle;
        } else {
            missing = middle;
        }
    }
    Ok(there)
}

fn print_event(printer: &Printer, event: &EventView) -> Result<(), Failure> {
    if printer.json() {
        return printer.document(event);
    }
    let at = jiff::Timestamp::from_millisecond(event.at).unwrap_or_default();
    let line = format!(
        "{:>6}  {at:.3}  {:<22}  {}",
        event.seq,
        one_line(&event.kind),
        one_line(&event.subject)
    );
    let payload = one_line(&event.payload.to_string());
    let columns = table_columns();
    printer.line(&cut(&line, columns))?;
    let indent = " ".repeat(PAYLOAD_INDENT);
    let payload = cut(&payload, columns - PAYLOAD_INDENT);
    printer.line(&format!(
        "{indent}{}",
        printer.painted(&payload, Tone::Quiet)
    ))
}

/// Where the second line of an event starts, in columns: below its time.
const PAYLOAD_INDENT: usize = 8;

async fn export(
    session: &Session,
    reach: &Reach,
    arguments: &LedgerExport,
) -> Result<Exit, Failure> {
    let mut out = match &arguments.output {
        Some(path) => Out::File(new_file(path)?, path),
        None => Out::Standard(&session.printer),
    };
    let mut page = reach.ledger_entries(0, PAGE).await?;
    out.line(&LedgerExportHead {
        format: "skep-ledger-export".to_owned(),
        version: 1,
        exported_at: SystemClock.now_ms(),
        public_key: page.public_key,
        entry_hash: ENTRY_HASH.to_owned(),
    })?;
    let mut count = 0;
    loop {
        for entry in &page.items {
            out.line(entry)?;
            count += 1;
        }
        match (&page.next_cursor, page.items.last()) {
            (Some(_), Some(last)) => page = reach.ledger_entries(last.seq, PAGE).await?,
            _ => break,
        }
    }
    out.end()?;
    session.printer.note(&format!("{count} events exported"));
    Ok(Exit::Done)
}

enum Out<'a> {
    Standard(&'a Printer),
    File(std::io::BufWriter<std::fs::File>, &'a Path),
}

impl Out<'_> {
    fn line(&mut self, document: &impl serde::Serialize) -> Result<(), Failure> {
        match self {
            Self::Standard(printer) => printer.document(document),
            Self::File(file, path) => {
                let line = serde_json::to_string(document).map_err(std::io::Error::from);
                let written = line.and_then(|line| writeln!(file, "{line}"));
                written.map_err(|error| unwritable(path, &error))
            }
        }
    }

    fn end(self) -> Result<(), Failure> {
        match self {
            Self::Standard(_) => Ok(()),
            Self::File(file, path) => {
                let written = file
                    .into_inner()
                    .map_err(std::io::IntoInnerError::into_error);
                let written = written.and_then(|file| file.sync_all());
                written.map_err(|error| unwritable(path, &error))
            }
        }
    }
}

fn new_file(path: &Path) -> Result<std::io::BufWriter<std::fs::File>, Failure> {
    let file = std::fs::File::create_new(path).map_err(|error| unwritable(path, &error))?;
    Ok(std::io::BufWriter::new(file))
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::usage(
        "output_unwritable",
        format!("the file {} cannot be written: {error}", path.display()),
        "name a file that does not exist yet, in a folder that this user can write",
    )
}
