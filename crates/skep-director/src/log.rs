//! What workers and checks write, kept up to a limit. Untrusted text: stored, cut, never obeyed.

use crate::limits::LINE_BYTES_MAX;
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

/// Writes both streams of `process` to `log` as they come, up to `bytes_max` and without the
/// secrets of `redactor`, and shows each line of its standard output to `on_line`. Returns when
/// both streams have ended, which may be before the process has.
pub(crate) async fn capture(
    process: &mut FencedProcess,
    log: &Path,
    bytes_max: u64,
    redactor: &Redactor,
    mut on_line: impl FnMut(&str) + Send,
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
    let mut written = 0_u64;
    while let Some((stream, line)) = lines.recv().await {
        let line = redactor.redact(&line);
        if stream == Stream::Out {
            on_line(line.trim_end_matches('\n'));
        }
        if written < bytes_max {
            let room = usize::try_from(bytes_max - written).unwrap_or(usize::MAX);
            let kept = &line.as_bytes()[..line.len().min(room)];
            file.write_all(kept).await?;
            written += kept.len() as u64;
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
