//! What workers and checks write, kept up to a limit. Untrusted text: stored, cut, never obeyed.

use crate::limits::LINE_BYTES_MAX;
use ring::digest::{Context as Hasher, SHA256};
use skep_sandbox::FencedProcess;
use skep_stdx::Redactor;
use std::io;
use std::path::Path;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWriteExt as _, BufReader};
use tokio::sync::mpsc;

/// Which stream a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Out,
    Err,
}

/// Lines that wait for the writer; a worker that prints faster is held back by its pipe.
const LINES_WAITING_MAX: usize = 256;

/// What happens when a process has written as much as is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AtLimit {
    /// The rest is read and let go.
    Cut,
    /// Reading ends.
    Stop,
}

/// What was read of a process.
pub(crate) struct Captured {
    /// What the digest on the ledger begins with, so that it says nothing without it.
    pub(crate) salt: Vec<u8>,
    /// Of what was read, in order of arrival.
    pub(crate) digest: Hasher,
    /// How much that was.
    pub(crate) bytes: u64,
    /// Whether it was more than is kept.
    pub(crate) is_over: bool,
}

impl Captured {
    pub(crate) fn new(salt: Vec<u8>) -> Self {
        Self {
            salt,
            digest: Hasher::new(&SHA256),
            bytes: 0,
            is_over: false,
        }
    }
}

/// Writes both streams of `process` to `log` as they come, up to `bytes_max` and without the
/// secrets of `redactor`, and shows each line to `on_line`. Returns when both streams have ended,
/// which may be before the process has.
pub(crate) async fn capture(
    process: &mut FencedProcess,
    log: &Path,
    (bytes_max, at_limit): (u64, AtLimit),
    redactor: &Redactor,
    captured: &mut Captured,
    mut on_line: impl FnMut(Stream, &str) + Send,
) -> io::Result<()> {
    if let Some(folder) = log.parent() {
        tokio::fs::create_dir_all(folder).await?;
    }
    let mut file = tokio::fs::OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .open(log)
        .await?;
    let (sender, mut lines) = mpsc::channel(LINES_WAITING_MAX);
    let out = process
        .stdout()
        .map(|s| skep_stdx::spawn("worker-stdout", read(s, Stream::Out, sender.clone())));
    let err = process
        .stderr()
        .map(|s| skep_stdx::spawn("worker-stderr", read(s, Stream::Err, sender.clone())));
    drop(sender);
    while let Some((stream, line)) = lines.recv().await {
        let line = redactor.redact(&line);
        on_line(stream, line.trim_end_matches('\n'));
        captured.digest.update(line.as_bytes());
        let room = usize::try_from(bytes_max.saturating_sub(captured.bytes)).unwrap_or(usize::MAX);
        captured.bytes += line.len() as u64;
        file.write_all(&line.as_bytes()[..line.len().min(room)])
            .await?;
        captured.is_over = captured.bytes > bytes_max;
        if captured.is_over && at_limit == AtLimit::Stop {
            return file.flush().await;
        }
    }
    for reader in [out, err].into_iter().flatten() {
        // A reader that panicked has ended its stream; what came before is kept.
        drop(reader.await);
    }
    file.flush().await
}

/// Sends every line of `stream`; a line beyond the limit is sent in parts.
async fn read(
    stream: impl AsyncRead + Unpin + Send,
    which: Stream,
    sender: mpsc::Sender<(Stream, String)>,
) {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        let available = match reader.fill_buf().await {
            Ok([]) | Err(_) => break,
            Ok(bytes) => bytes,
        };
        let newline = available.iter().position(|b| *b == b'\n');
        let take = newline.map_or(available.len(), |at| at + 1);
        line.extend_from_slice(&available[..take]);
        reader.consume(take);
        if newline.is_some() || line.len() >= LINE_BYTES_MAX {
            let text = String::from_utf8_lossy(&std::mem::take(&mut line)).into_owned();
            if sender.send((which, text)).await.is_err() {
                return;
            }
        }
    }
    if !line.is_empty() {
        // The receiver outlives the readers; were it gone, nobody would want the rest.
        drop(
            sender
                .send((which, String::from_utf8_lossy(&line).into_owned()))
                .await,
        );
    }
}

/// The last `bytes_max` bytes of the file at `path`, as text.
pub(crate) fn tail(path: &Path, bytes_max: usize) -> io::Result<String> {
    use std::io::{Read as _, Seek as _, SeekFrom};
    let mut file = std::fs::File::open(path)?;
    let length = file.metadata()?.len();
    let skip = length.saturating_sub(u64::try_from(bytes_max).unwrap_or(u64::MAX));
    file.seek(SeekFrom::Start(skip))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
