//! `skep ledger`: read, verify and export the record of everything that happened.

mod export;
mod rekey;

use super::Session;
use crate::cli::{Ledger, LedgerTail, LedgerVerify};
use crate::failure::{Exit, Failure};
use crate::output::{Printer, Tone, cut, one_line, table_columns};
use crate::reach::Reach;
use skep_api::{EventView, KeyChangeView, LedgerView};
use skep_ledger::{Anchor, AnchorError};

/// Runs one of the commands.
pub(crate) async fn ledger(session: &Session, command: &Ledger) -> Result<Exit, Failure> {
    match command {
        Ledger::Tail(arguments) => tail(session, &session.reach().await?, arguments).await,
        Ledger::Verify(arguments) => match &arguments.export {
            Some(file) => export::verify(session, file, arguments),
            None => {
                let anchors = anchors(arguments)?;
                let view = session.reach().await?.verify_ledger(&anchors).await?;
                print_verified(&session.printer, &view)
            }
        },
        Ledger::Head => head(&session.printer, &session.reach().await?).await,
        Ledger::Export(arguments) => export::write(session, arguments).await,
        Ledger::Rekey(arguments) => rekey::rekey(session, arguments.reason).await,
    }
}

async fn head(printer: &Printer, reach: &Reach) -> Result<Exit, Failure> {
    let head = reach.ledger_head().await?;
    if printer.json() {
        printer.document(&head)?;
    } else {
        printer.line(&head.anchor)?;
        printer.note(&format!("signed by the key {}", head.public_key));
    }
    Ok(Exit::Done)
}

fn anchors(arguments: &LedgerVerify) -> Result<Vec<Anchor>, Failure> {
    let read = |text: &String| {
        text.parse().map_err(|error: AnchorError| {
            let message = format!("failed to {error}");
            Failure::usage("anchor_malformed", message, "`skep ledger head` prints one")
        })
    };
    arguments.anchor.iter().map(read).collect()
}

fn print_verified(printer: &Printer, view: &LedgerView) -> Result<Exit, Failure> {
    let waiting = match view.unsealed {
        0 => String::new(),
        count => format!(", {count} wait for their seal"),
    };
    let good = format!("{} events{waiting}, head {}", view.events, view.head);
    let bad = view.first_bad_seq.map(|seq| Bad {
        place: format!("event {seq}"),
        fault: view.fault.as_deref().unwrap_or_default(),
        reason: view.reason.as_deref().unwrap_or("it does not hold"),
        hint: view.hint.as_deref().unwrap_or_default(),
    });
    if printer.json() {
        printer.document(view)?;
    } else {
        print_outcome(printer, "ledger", &good, &view.key_changes, bad.as_ref())?;
    }
    Ok(exit(view.ok))
}

/// What a verification found wrong first.
struct Bad<'a> {
    place: String,
    fault: &'a str,
    reason: &'a str,
    hint: &'a str,
}

fn print_outcome(
    printer: &Printer,
    what: &str,
    good: &str,
    key_changes: &[KeyChangeView],
    bad: Option<&Bad<'_>>,
) -> Result<(), Failure> {
    match bad {
        None => {
            let ok = printer.painted("ok", Tone::Good);
            printer.line(&format!("{what}: {ok}, {good}"))?;
        }
        Some(bad) => {
            let label = printer.painted("bad", Tone::Bad);
            let (place, fault) = (&bad.place, bad.fault);
            let reason = one_line(bad.reason);
            printer.line(&format!("{what}: {label} at {place} ({fault}): {reason}"))?;
            printer.note(bad.hint);
        }
    }
    for change in key_changes {
        let (seq, reason, key) = (change.seq, &change.reason, &change.new_key);
        let key = key.get(..16).unwrap_or(key);
        printer.line(&format!(
            "key changed at event {seq}, {reason}: from there on {key}…"
        ))?;
    }
    Ok(())
}

const fn exit(ok: bool) -> Exit {
    if ok { Exit::Done } else { Exit::Unsuccessful }
}

async fn tail(session: &Session, reach: &Reach, arguments: &LedgerTail) -> Result<Exit, Failure> {
    let subject = arguments.subject.as_deref();
    let events = match arguments.cursor {
        Some(after) => reach.events(after, subject, arguments.limit).await?,
        None => reach.newest_events(subject, arguments.limit).await?,
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
