//! The program's log: to stderr, at the level of `SKEP_LOG`, without secrets.

use crate::output::KnownSecrets;
use std::io::{self, IsTerminal as _, Write};
use std::sync::PoisonError;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// The variable that sets the level, as in `info` or `skep_director=debug,warn`.
pub(crate) const LEVEL_VARIABLE: &str = "SKEP_LOG";
const LEVEL: &str = "warn";

/// Starts the log. A level that cannot be read is the default level.
pub(crate) fn start(secrets: KnownSecrets, colour: bool) {
    let filter = std::env::var(LEVEL_VARIABLE)
        .ok()
        .and_then(|directives| EnvFilter::try_new(directives).ok())
        .unwrap_or_else(|| EnvFilter::new(LEVEL));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colour && io::stderr().is_terminal())
        .with_writer(Redacting(secrets));
    // Only a second start in one process could fail, and there is none.
    drop(log.try_init());
}

struct Redacting(KnownSecrets);

impl<'a> MakeWriter<'a> for Redacting {
    type Writer = RedactingWriter<'a>;

    fn make_writer(&'a self) -> RedactingWriter<'a> {
        RedactingWriter(&self.0)
    }
}

/// Writes one event at a time, which is how the formatter hands them over.
struct RedactingWriter<'a>(&'a KnownSecrets);

impl Write for RedactingWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let secrets = self.0.read().unwrap_or_else(PoisonError::into_inner);
        io::stderr()
            .lock()
            .write_all(secrets.redact(&text).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().lock().flush()
    }
}
