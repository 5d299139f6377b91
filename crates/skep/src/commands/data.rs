//! `skep data`: everything of a home in one file and back, and questions in SQL.

mod export;
mod files;
mod import;
mod query;

use super::Session;
use crate::cli::Data;
use crate::failure::{Exit, Failure};
use crate::output::Printer;
use skep_db::{ArchiveError, Progress};
use skep_stdx::Stopwatch;
use std::path::Path;
use std::time::Duration;

/// The name of the standard input and output.
const STANDARD: &str = "-";
/// How often progress is shown, in milliseconds; what is done by then shows none.
const PROGRESS_MS: u64 = 1_000;
/// Where progress is not one line that changes, every how many of these it is told.
const PROGRESS_EVERY: u64 = 10;

/// Runs one of the commands.
pub(crate) async fn data(session: &Session, command: &Data) -> Result<Exit, Failure> {
    match command {
        Data::Export(arguments) => export::export(session, arguments).await,
        Data::Import(arguments) => import::import(session, arguments).await,
        Data::Query(arguments) => query::query(session, arguments).await,
    }
}

/// Awaits `work` and shows how many rows are done while it takes its time.
async fn showing<T>(
    printer: &Printer,
    progress: &Progress,
    total: Option<u64>,
    work: impl Future<Output = T>,
) -> T {
    let watch = Stopwatch::start();
    let mut work = std::pin::pin!(work);
    let (mut ticks, mut shown) = (0, false);
    loop {
        tokio::select! {
            done = &mut work => {
                if shown && printer.live() {
                    printer.clear_live_line();
                }
                return done;
            }
            () = tokio::time::sleep(Duration::from_millis(PROGRESS_MS)) => {
                let of = total.map_or_else(String::new, |total| format!(" of {total}"));
                let text = format!("{} rows{of}, {}s", progress.rows(), watch.elapsed().as_secs());
                if printer.live() {
                    printer.live_line(&text);
                } else if ticks % PROGRESS_EVERY == 0 {
                    printer.note(&text);
                }
                shown = true;
                ticks += 1;
            }
        }
    }
}

/// The failure of an archive, about this file.
fn archive_failure(error: &ArchiveError, file: &Path) -> Failure {
    let shown = if file == Path::new(STANDARD) {
        String::new()
    } else {
        format!(" ({})", file.display())
    };
    import::arrival_failure(error).unwrap_or_else(|| {
        let message = format!("failed to {}{shown}", crate::failure::with_causes(error));
        if matches!(error, ArchiveError::Db(_) | ArchiveError::Interrupted) {
            return Failure::unreachable(error.code(), message, error.hint());
        }
        Failure::usage(error.code(), message, error.hint())
    })
}

fn join_failure(error: &tokio::task::JoinError) -> Failure {
    Failure::unreachable(
        "thread_failed",
        format!("a thread ended by a defect: {error}"),
        "run the command again",
    )
}
