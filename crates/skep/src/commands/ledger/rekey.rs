//! `skep ledger rekey`: going on under another signing key, on record.
//!
//! The record commits first; then the key files change places. A process that dies between the two
//! leaves the new key as `ledger.key.next`, and the same command finishes its work.

use crate::cli::RekeyReason;
use crate::commands::Session;
use crate::engine::OpenHome;
use crate::failure::{Exit, Failure, failed_to};
use crate::reach::Reach;
use skep_api::KeyChangeView;
use skep_director::{Home, key_change};
use skep_ledger::{Fault, KeyChange, LedgerError, LedgerKey, SealerService, check_key};
use std::fs::File;
use std::io;

/// Goes on under another key.
pub(super) async fn rekey(session: &Session, reason: RekeyReason) -> Result<Exit, Failure> {
    let home = session.home()?;
    let Reach::Direct(open) = session.reach().await? else {
        return Err(Failure::usage(
            "home_in_use",
            "somebody runs this home, and would go on with the old key",
            "stop it first, and with PostgreSQL every other node too",
        ));
    };
    let next = finish_earlier(&home, &open).await?;
    let change = match next {
        Some(change) => change,
        None => begin(&home, &open, reason.into()).await?,
    };
    let printer = &session.printer;
    if printer.json() {
        printer.document(&change)?;
    } else {
        let (seq, key) = (change.seq, &change.new_key);
        printer.line(&format!(
            "from event {seq} on the ledger is signed by {key}"
        ))?;
        printer.note("note the key down elsewhere; whoever verifies an export asks for it");
    }
    Ok(Exit::Done)
}

impl From<RekeyReason> for skep_ledger::RekeyReason {
    fn from(reason: RekeyReason) -> Self {
        match reason {
            RekeyReason::Lost => Self::Lost,
            RekeyReason::Exposed => Self::Exposed,
            RekeyReason::Planned => Self::Planned,
        }
    }
}

async fn begin(
    home: &Home,
    open: &OpenHome,
    reason: skep_ledger::RekeyReason,
) -> Result<KeyChangeView, Failure> {
    let (db, current) = open.ledger();
    let report = skep_ledger::verify(db, current.public()).await;
    let report = report.map_err(|error| failed(&error))?;
    let is_lost = reason == skep_ledger::RekeyReason::Lost;
    let (old, new) = match report.first_bad.as_ref().map(|bad| bad.fault) {
        None if is_lost => {
            return Err(Failure::usage(
                "ledger_key_not_lost",
                "the key of this home is the one that signed the ledger",
                "say `--reason planned` or `--reason exposed` to make another",
            ));
        }
        None => {
            let next = LedgerKey::open_or_create(&home.next_ledger_key());
            (
                Some(current.public()),
                next.map_err(|error| key_failed(&error))?,
            )
        }
        // The key file that is there now is another one than that which is lost.
        Some(Fault::Signature) if is_lost => (None, current.clone()),
        Some(fault) => {
            let bad = report.first_bad.map(|bad| (bad.seq, bad.reason));
            let (seq, reason) = bad.unwrap_or_default();
            return Err(Failure::unsuccessful(
                "ledger_bad",
                format!("event {seq} is not as it was sealed: {reason}"),
                fault.hint(),
            ));
        }
    };
    let record = skep_ledger::rekey(db, old, new.clone(), reason).await;
    let record = record.map_err(|error| failed(&error))?;
    // What waited for the old key on PostgreSQL is sealed with the new one.
    let sealed = SealerService::new(db.clone(), new).seal_pending().await;
    sealed.map_err(|error| failed(&error))?;
    let change = KeyChange {
        seq: record.old_seq + 1,
        record,
    };
    if !is_lost {
        swap_files(home, change.record.old_seq)?;
    }
    Ok(key_change(&change))
}

/// Puts the next key in its place if an earlier run has committed its record and gone no further.
async fn finish_earlier(home: &Home, open: &OpenHome) -> Result<Option<KeyChangeView>, Failure> {
    let Ok(next) = LedgerKey::open(&home.next_ledger_key()) else {
        return Ok(None);
    };
    let (db, _) = open.ledger();
    match check_key(db, next.public()).await {
        Err(LedgerError::ForeignHead { .. }) => return Ok(None),
        checked => checked.map_err(|error| failed(&error))?,
    }
    let report = skep_ledger::verify(db, next.public()).await;
    let report = report.map_err(|error| failed(&error))?;
    let Some(change) = report.key_changes.last() else {
        return Ok(None);
    };
    swap_files(home, change.record.old_seq)?;
    Ok(Some(key_change(change)))
}

/// Keeps the old key beside the new one. There is a key in its place at every instant.
fn swap_files(home: &Home, old_seq: i64) -> Result<(), Failure> {
    let swap = || -> io::Result<()> {
        match std::fs::hard_link(home.ledger_key(), home.old_ledger_key(old_seq)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        std::fs::rename(home.next_ledger_key(), home.ledger_key())?;
        match home.ledger_key().parent() {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    };
    swap().map_err(|error| {
        Failure::unreachable(
            "ledger_key_unavailable",
            format!("the key files cannot change places: {error}"),
            "the ledger goes on under `ledger.key.next` already: run the same command again",
        )
    })
}

fn failed(error: &LedgerError) -> Failure {
    let hint = "`skep ledger verify` says what is wrong".to_owned();
    let message = failed_to(error);
    Failure::unreachable(error.code(), message, error.hint().unwrap_or(hint))
}

fn key_failed(error: &skep_ledger::KeyError) -> Failure {
    let hint = "`skep doctor` checks the home".to_owned();
    let message = failed_to(error);
    Failure::unreachable(error.code(), message, error.hint().unwrap_or(hint))
}
