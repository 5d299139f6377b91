//! `skep ledger export` and the verification of what it wrote, for which the file is enough.

use super::{Bad, anchors, exit, print_outcome};
use crate::cli::{LedgerExport, LedgerVerify};
use crate::commands::Session;
use crate::failure::{Exit, Failure};
use crate::output::Printer;
use crate::reach::Reach;
use skep_api::{LedgerEntry, LedgerExportView, LedgerHeadView};
use skep_director::key_change;
use skep_ledger::{
    BadLine, ExportEntry, ExportReport, Exporter, LedgerHead, LedgerPublicKey, verify_export,
};
use skep_stdx::Stopwatch;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::Path;
use std::time::Duration;

/// Entries read at once.
const PAGE: i64 = 500;
/// Work shorter than this shows no progress, in milliseconds.
const PROGRESS_AFTER_MS: u64 = 1_000;
/// Entries between two looks at the clock.
const PROGRESS_ENTRIES: i64 = 500;

/// Writes the export to a new file or to the standard output.
pub(super) async fn write(session: &Session, arguments: &LedgerExport) -> Result<Exit, Failure> {
    let file = arguments.output.as_deref().unwrap_or(&arguments.file);
    let reach = session.reach().await?;
    if file == Path::new("-") {
        let mut out = BufWriter::new(io::stdout().lock());
        let count = copy(&session.printer, &reach, &mut out).await?;
        session.printer.note(&format!("{count} events exported"));
        return Ok(Exit::Done);
    }
    let new = File::create_new(file).map_err(|error| unwritable(file, &error))?;
    let mut out = BufWriter::new(new);
    let written = match copy(&session.printer, &reach, &mut out).await {
        Ok(count) => out
            .into_inner()
            .map_err(io::IntoInnerError::into_error)
            .and_then(|file| file.sync_all())
            .map(|()| count)
            .map_err(|error| unwritable(file, &error)),
        Err(failure) => Err(failure),
    };
    match written {
        Ok(count) => {
            let name = file.display();
            session
                .printer
                .note(&format!("{count} events exported to {name}"));
            Ok(Exit::Done)
        }
        Err(failure) => {
            // Half an export would be taken for a whole one that was cut.
            drop(std::fs::remove_file(file));
            Err(failure)
        }
    }
}

/// Everything up to the head that is read first; what is sealed meanwhile is left for later.
async fn copy(printer: &Printer, reach: &Reach, out: &mut impl Write) -> Result<i64, Failure> {
    let head = reach.ledger_head().await?;
    let mut progress = Progress::new(printer, head.seq);
    let (key, head) = signed(&head)?;
    let mut export = Exporter::begin(out, key, head)?;
    while export.wants_more() {
        let page = reach.ledger_entries(export.written(), PAGE).await?;
        if page.items.is_empty() {
            progress.end();
            return Err(Failure::unsuccessful(
                "ledger_incomplete",
                format!("event {} of the ledger is missing", export.written() + 1),
                "`skep ledger verify` says what is wrong",
            ));
        }
        for entry in page.items {
            export.entry(&exported(entry)?)?;
        }
        progress.at(export.written());
    }
    progress.end();
    let count = export.written();
    export.end()?;
    Ok(count)
}

fn signed(head: &LedgerHeadView) -> Result<(LedgerPublicKey, LedgerHead), Failure> {
    let key = head.public_key.parse().map_err(|_| unreadable("the key"))?;
    let hash = head.hash.parse().map_err(|_| unreadable("the head"))?;
    let (seq, signature) = (head.seq, head.signature.clone());
    Ok((
        key,
        LedgerHead {
            seq,
            hash,
            signature,
        },
    ))
}

fn exported(entry: LedgerEntry) -> Result<ExportEntry, Failure> {
    let digest = entry.payload_digest.parse();
    let digest = digest.map_err(|_| unreadable("an event"))?;
    Ok(ExportEntry {
        seq: entry.seq,
        event_id: entry.event_id,
        at: entry.at,
        kind: entry.kind,
        version: entry.version,
        subject: entry.subject,
        payload_digest: entry.payload.is_none().then_some(digest),
        payload: entry.payload,
        hash: entry.hash.parse().map_err(|_| unreadable("an event"))?,
    })
}

fn unreadable(what: &str) -> Failure {
    Failure::unreachable(
        "answer_malformed",
        format!("the server answers {what} of the ledger in a form that is not known"),
        "use the same version of skep on both sides",
    )
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    Failure::usage(
        "output_unwritable",
        format!("the file {} cannot be written: {error}", path.display()),
        "name a file that does not exist yet, in a folder that this user can write",
    )
}

/// Verifies an export; needs no home.
pub(super) fn verify(
    session: &Session,
    file: &Path,
    arguments: &LedgerVerify,
) -> Result<Exit, Failure> {
    let key = arguments.key.as_deref().map(str::parse).transpose();
    let key: Option<LedgerPublicKey> = key.map_err(|error: skep_ledger::KeyError| {
        let message = format!("failed to {error}");
        let hint = "`skep ledger head` prints the key of a home";
        Failure::usage(error.code(), message, hint)
    })?;
    let (named, anchors) = (key.is_some(), anchors(arguments)?);
    let mut progress = Progress::new(&session.printer, 0);
    let told = |seq| progress.at(seq);
    let read = if file == Path::new("-") {
        verify_export(io::stdin().lock(), key, anchors, told)
    } else {
        File::open(file).and_then(|file| verify_export(BufReader::new(file), key, anchors, told))
    };
    progress.end();
    let report = read.map_err(|error| {
        Failure::usage(
            "export_unreadable",
            format!("the file {} cannot be read: {error}", file.display()),
            "name a file that `skep ledger export` wrote",
        )
    })?;
    print(&session.printer, &report, named)
}

fn print(printer: &Printer, report: &ExportReport, named: bool) -> Result<Exit, Failure> {
    let view = view(report);
    if printer.json() {
        printer.document(&view)?;
        return Ok(exit(view.ok));
    }
    let good = format!("{} events, head {}", view.events, view.head);
    let bad = report.first_bad.as_ref().map(|bad| Bad {
        place: format!("line {}, event {}", bad.line, bad.seq),
        fault: bad.fault.as_str(),
        reason: &bad.reason,
        hint: hint(bad),
    });
    print_outcome(printer, "export", &good, &view.key_changes, bad.as_ref())?;
    if let (true, false, Some(key)) = (view.ok, named, &view.public_key) {
        printer.note(&format!(
            "signed by the key that the export names, {key}; `--key` compares it with one that you \
             know"
        ));
    }
    Ok(exit(view.ok))
}

fn view(report: &ExportReport) -> LedgerExportView {
    let bad = report.first_bad.as_ref();
    LedgerExportView {
        ok: bad.is_none(),
        events: report.events,
        purged: report.purged,
        head: report.end.to_string(),
        public_key: report.public_key.map(|key| key.to_string()),
        key_changes: report.key_changes.iter().map(key_change).collect(),
        first_bad_line: bad.map(|bad| bad.line),
        first_bad_seq: bad.map(|bad| bad.seq),
        fault: bad.map(|bad| bad.fault.as_str().to_owned()),
        reason: bad.map(|bad| bad.reason.clone()),
        hint: bad.map(|bad| hint(bad).to_owned()),
    }
}

fn hint(bad: &BadLine) -> &'static str {
    if bad.fault == skep_ledger::Fault::Signature {
        "it was signed with another key than was asked for, or changed after it was signed"
    } else {
        bad.fault.hint()
    }
}

/// One line on a terminal that counts, for work that takes its time.
struct Progress<'a> {
    printer: &'a Printer,
    watch: Stopwatch,
    total: i64,
    told: i64,
    shown: bool,
}

impl<'a> Progress<'a> {
    fn new(printer: &'a Printer, total: i64) -> Self {
        Self {
            printer,
            watch: Stopwatch::start(),
            total,
            told: 0,
            shown: false,
        }
    }

    fn at(&mut self, count: i64) {
        if count < self.told + PROGRESS_ENTRIES || !self.printer.live() {
            return;
        }
        self.told = count;
        if self.watch.elapsed() < Duration::from_millis(PROGRESS_AFTER_MS) {
            return;
        }
        self.shown = true;
        self.printer.live_line(&match self.total {
            0 => format!("{count} events"),
            total => format!("{count} of {total} events"),
        });
    }

    fn end(&mut self) {
        if std::mem::take(&mut self.shown) {
            self.printer.clear_live_line();
        }
    }
}
