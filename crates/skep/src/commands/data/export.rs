//! `skep data export`: everything of a home into one file.

use super::{STANDARD, archive_failure, files, showing};
use crate::cli::DataExport;
use crate::commands::Session;
use crate::config::{Config, Database};
use crate::engine::VERSION;
use crate::failure::{Exit, Failure};
use crate::home_lock::{HomeLock, LockError};
use crate::output::{bytes, quantity};
use crate::store::{self, SCHEMA};
use serde_json::json;
use skep_db::{Db, Location, Origin, Progress, Written};
use skep_director::Home;
use skep_stdx::{Clock as _, SystemClock};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Exports the home.
pub(crate) async fn export(session: &Session, arguments: &DataExport) -> Result<Exit, Failure> {
    let home = session.home()?;
    let config = session.config(&home)?;
    let home = home.with_shared(config.shared());
    if !home.root().is_dir() {
        return Err(Failure::not_found(
            "home_not_found",
            format!("there is no Skep home at {}", home.root().display()),
            "`--home` or SKEP_HOME choose another",
        ));
    }
    let source = Source::open(&home, &config).await?;
    if source.is_held() && arguments.files {
        return Err(Failure::usage(
            "home_in_use",
            format!(
                "files of {} may change while its server runs",
                home.root().display()
            ),
            "stop the server first, or leave out `--files`",
        ));
    }
    let out = Out::create(&arguments.file)?;
    let written = write(session, arguments, &home, &source, out).await;
    if written.is_err() && arguments.file != Path::new(STANDARD) {
        // A file that is not whole would be refused by an import; better that there is none.
        drop(std::fs::remove_file(&arguments.file));
    }
    report(session, arguments, &home, &source, &written?)
}

async fn write(
    session: &Session,
    arguments: &DataExport,
    home: &Home,
    source: &Source,
    out: Out,
) -> Result<Written, Failure> {
    let origin = Origin {
        product: VERSION.to_owned(),
        exported_at_ms: SystemClock.now_ms(),
        home: home.shared().to_str().map(str::to_owned),
    };
    let progress = Progress::default();
    let failed = |error| archive_failure(&error, &arguments.file);
    let work = source.db.export(&SCHEMA, origin, progress.clone(), out);
    let writer = showing(&session.printer, &progress, None, work).await;
    let mut writer = writer.map_err(failed)?;
    let (home, files, keys) = (home.clone(), arguments.files, arguments.with_keys);
    let finished = tokio::task::spawn_blocking(move || {
        files::add(&home, files, keys, &mut writer)?;
        Ok::<_, Failure>(writer.finish())
    });
    let finished = finished
        .await
        .map_err(|error| super::join_failure(&error))?;
    let (mut out, written) = finished?.map_err(failed)?;
    out.sync().map_err(|source| {
        failed(skep_db::ArchiveError::Io {
            action: "write",
            source,
        })
    })?;
    Ok(written)
}

fn report(
    session: &Session,
    arguments: &DataExport,
    home: &Home,
    source: &Source,
    written: &Written,
) -> Result<Exit, Failure> {
    let printer = &session.printer;
    let left = files::left(home, arguments.files, arguments.with_keys)?;
    if arguments.file != Path::new(STANDARD) && printer.json() {
        let left: Vec<_> = left.iter().map(|left| {
            json!({ "path": left.path, "about": left.about, "files": left.files, "bytes": left.bytes })
        }).collect();
        printer.document(&json!({
            "file": arguments.file.display().to_string(),
            "rows": written.rows,
            "tables": written.tables.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
            "files": written.files,
            "bytes": written.bytes,
            "content_sha256": written.content_sha256,
            "server_was_running": source.is_held(),
            "left_in_home": left,
        }))?;
    }
    printer.note(&format!(
        "exported {}, {} and {}: {}",
        quantity(written.rows, "row"),
        quantity(written.files, "file"),
        bytes(written.bytes),
        written.content_sha256
    ));
    if source.is_held() {
        printer.warning("a server runs on this home: what it does from now on is not in the file");
    }
    if arguments.with_keys {
        printer.warning(
            "the file holds the ledger's key and the API token: keep it as secret as they are",
        );
    }
    if !left.is_empty() {
        printer.note("left in the home, to be copied by hand if the home is another one:");
    }
    for left in left {
        printer.note(&format!(
            "  {:<11} {} ({}, {})",
            left.path,
            left.about,
            quantity(left.files, "file"),
            bytes(left.bytes)
        ));
    }
    Ok(Exit::Done)
}

/// The store that is read.
struct Source {
    db: Db,
    /// Held while nobody else holds the home, so that nothing starts meanwhile.
    lock: Option<HomeLock>,
}

impl Source {
    /// Opens the store: for itself when nobody holds the home, otherwise to read it beside whoever
    /// does.
    async fn open(home: &Home, config: &Config) -> Result<Self, Failure> {
        let database = config.database()?;
        if matches!(database, Database::Sqlite) && !home.database().is_file() {
            return Err(Failure::not_found(
                "store_not_found",
                format!("{} holds no data yet", home.root().display()),
                "`skep run` and `skep up` make it; `--home` chooses another home",
            ));
        }
        match HomeLock::take(home) {
            Ok(lock) => Ok(Self {
                db: store::open_settled(home, config).await?,
                lock: Some(lock),
            }),
            Err(LockError::Held { .. }) => {
                let location = match database {
                    Database::Sqlite => Location::Sqlite(home.database()),
                    Database::Postgres(address) => Location::Postgres(address),
                };
                Ok(Self {
                    db: Db::open_read_only(location, &SCHEMA).await?,
                    lock: None,
                })
            }
            Err(error @ LockError::Unusable { .. }) => Err(error.failure(home)),
        }
    }

    const fn is_held(&self) -> bool {
        self.lock.is_none()
    }
}

/// A new file for its owner only, or the standard output.
enum Out {
    File(File),
    Standard(io::Stdout),
}

impl Out {
    fn create(path: &Path) -> Result<Self, Failure> {
        if path == Path::new(STANDARD) {
            return Ok(Self::Standard(io::stdout()));
        }
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path);
        file.map(Self::File).map_err(|error| {
            Failure::usage(
                "output_unwritable",
                format!("the file {} cannot be written: {error}", path.display()),
                "name a file that does not exist yet, in a folder that this user can write",
            )
        })
    }

    fn sync(&mut self) -> io::Result<()> {
        match self {
            Self::File(file) => file.sync_all(),
            Self::Standard(out) => out.flush(),
        }
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.write(bytes),
            Self::Standard(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File(file) => file.flush(),
            Self::Standard(out) => out.flush(),
        }
    }
}
