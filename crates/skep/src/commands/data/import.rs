//! `skep data import`: one file into an empty store.

use super::{STANDARD, archive_failure, files, showing};
use crate::cli::DataImport;
use crate::commands::Session;
use crate::failure::{Exit, Failure, failed_to, with_causes};
use crate::home_lock::HomeLock;
use crate::output::quantity;
use crate::store;
use serde_json::json;
use skep_db::{Archive, ArchiveError, Db, Imported, Progress, Tx};
use skep_director::{Arrival, Arriving, DirectorError, Home};
use skep_ledger::{KeyError, LedgerError, LedgerKey, VerifyReport};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Imports into the home.
pub(crate) async fn import(session: &Session, arguments: &DataImport) -> Result<Exit, Failure> {
    let home = session.home()?;
    let config = session.config(&home)?;
    let home = home.with_shared(config.shared());
    // Held to the end: nobody starts on what has half arrived.
    let _lock = HomeLock::take(&home).map_err(|error| error.failure(&home))?;
    let archive = read(&home, &arguments.file).await?;
    let files_written = files::put(&home, &archive)?;
    let key = ledger_key(&home, &archive)?;
    let options = store::store_options(&home, &config, &key)?;

    let progress = Progress::default();
    let arrive = arrival(&home, &archive, &key);
    let work = Db::import(
        options,
        archive.clone(),
        arguments.replace_zero,
        progress.clone(),
        arrive,
    );
    let total = Some(archive.rows());
    let imported = showing(&session.printer, &progress, total, work).await;
    let (db, imported) = imported.map_err(|error| archive_failure(&error, &arguments.file))?;
    let ledger = settle(&db, key).await?;
    report(session, &archive, &imported, files_written, &ledger)
}

/// Everything that the archive was checked for is still undone when this fails.
async fn read(home: &Home, path: &Path) -> Result<Archive, Failure> {
    let (home, path) = (home.clone(), path.to_owned());
    let read = tokio::task::spawn_blocking(move || {
        let failed = |error| archive_failure(&error, &path);
        let io = |source| {
            failed(ArchiveError::Io {
                action: "read",
                source,
            })
        };
        let file = if path == Path::new(STANDARD) {
            spool(&home).map_err(io)?
        } else {
            File::open(&path).map_err(io)?
        };
        Archive::open(file).map_err(failed)
    });
    read.await.map_err(|error| super::join_failure(&error))?
}

/// Copies the standard input into a file without a name: an archive is read twice, first to be
/// held against its digest.
fn spool(home: &Home) -> io::Result<File> {
    let path = home.root().join(format!("import-{}", std::process::id()));
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)?;
    std::fs::remove_file(&path)?;
    io::copy(&mut io::stdin().lock(), &mut file)?;
    Ok(file)
}

fn ledger_key(home: &Home, archive: &Archive) -> Result<LedgerKey, Failure> {
    let path = home.ledger_key();
    match LedgerKey::open(&path) {
        Ok(key) => Ok(key),
        Err(KeyError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            let from = archive.origin().home.as_deref().unwrap_or("the other home");
            Err(Failure::usage(
                "ledger_key_missing",
                format!(
                    "{} is not there, and the archive was written without keys",
                    path.display()
                ),
                format!(
                    "copy {} of {from} there with mode 600, or export with `--with-keys`",
                    files::LEDGER_KEY
                ),
            ))
        }
        Err(error) => {
            let hint = error
                .hint()
                .unwrap_or_else(|| "`skep doctor` checks the home".to_owned());
            let message = failed_to(&error);
            Err(Failure::usage(error.code(), message, hint))
        }
    }
}

/// Why arrived data could not be put in order.
#[derive(Debug, thiserror::Error)]
enum ArriveError {
    #[error("go on with the ledger")]
    Ledger(#[from] LedgerError),
    #[error("put the jobs in order")]
    Director(#[from] DirectorError),
}

/// What is done with arrived data, in the transaction that brings it.
fn arrival(
    home: &Home,
    archive: &Archive,
    key: &LedgerKey,
) -> impl AsyncFn(&mut Tx<'_>) -> Result<Arrival, ArriveError> + Send + 'static {
    let engine = match archive.engine() {
        "postgres" => "postgres",
        _ => "sqlite",
    };
    let (rows, digest) = (archive.rows(), archive.content_sha256().to_owned());
    let earlier = archive.origin().home.clone().map(PathBuf::from);
    let (here, key) = (home.shared().to_owned(), key.clone());
    async move |tx: &mut Tx<'_>| {
        skep_ledger::take_over(tx, &key).await?;
        let arriving = Arriving {
            engine,
            rows,
            content_sha256: &digest,
        };
        let homes = earlier.as_deref().map(|earlier| (earlier, here.as_path()));
        Ok(skep_director::arrive(tx, &arriving, homes).await?)
    }
}

/// The failure of an arrival, with its own code and hint.
pub(super) fn arrival_failure(error: &ArchiveError) -> Option<Failure> {
    let ArchiveError::Arrival(source) = error else {
        return None;
    };
    match source.downcast_ref::<ArriveError>()? {
        ArriveError::Ledger(error @ LedgerError::ForeignHead { .. }) => Some(Failure::usage(
            error.code(),
            "the key in this home is not the one that signed the ledger in the archive",
            format!(
                "put the {} of the exported home in its place; nothing was imported",
                files::LEDGER_KEY
            ),
        )),
        ArriveError::Ledger(_) | ArriveError::Director(_) => None,
    }
}

/// Seals what the import recorded and goes over the whole chain.
async fn settle(db: &Db, key: LedgerKey) -> Result<VerifyReport, Failure> {
    let public = key.public();
    let failed = |error: LedgerError| {
        Failure::unreachable(
            error.code(),
            format!(
                "everything was imported; then Skep failed to {}",
                with_causes(&error)
            ),
            "run `skep ledger verify`",
        )
    };
    store::seal(db, key).await.map_err(failed)?;
    skep_ledger::verify(db, public).await.map_err(failed)
}

fn report(
    session: &Session,
    archive: &Archive,
    imported: &Imported<Arrival>,
    files_written: u64,
    ledger: &VerifyReport,
) -> Result<Exit, Failure> {
    let printer = &session.printer;
    let ok = ledger.first_bad.is_none();
    if printer.json() {
        printer.document(&json!({
            "rows": imported.rows,
            "files": files_written,
            "content_sha256": archive.content_sha256(),
            "texts_replaced": imported.texts_replaced,
            "leases_taken_back": imported.arrival.leases_taken_back,
            "paths_moved": imported.arrival.paths_moved,
            "ledger_ok": ok,
            "ledger_events": ledger.events,
        }))?;
    }
    printer.note(&format!(
        "imported {} and {}: {}",
        quantity(imported.rows, "row"),
        quantity(files_written, "file"),
        archive.content_sha256()
    ));
    if imported.arrival.leases_taken_back > 0 {
        printer.note(&format!(
            "{} was under way: the next `skep up` goes on with it",
            quantity(imported.arrival.leases_taken_back as u64, "job")
        ));
    }
    if imported.texts_replaced > 0 {
        printer.warning(&format!(
            "zero characters were replaced in {}",
            quantity(imported.texts_replaced, "text")
        ));
    }
    if ok {
        return Ok(Exit::Done);
    }
    printer.warning("the ledger came as it was and does not hold: see `skep ledger verify`");
    Ok(Exit::Unsuccessful)
}
