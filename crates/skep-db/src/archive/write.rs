//! Writing an archive line by line, with both digests and the counts kept on the way.

use super::error::ArchiveError;
use super::line::{FileLine, FolderLine, Line, TableLine, encode_bytes, encode_row};
use super::{End, Head, Progress};
use crate::Value;
use crate::limits::ARCHIVE_CHUNK_BYTES;
use crate::migrate::hexadecimal;
use ring::digest::{Context, SHA256};
use std::io::{self, BufWriter, Read, Write};

/// An archive under way. Its tables are in; files may follow; [`finish`](Self::finish) makes it
/// whole.
pub struct ArchiveWriter<W: Write> {
    out: BufWriter<W>,
    whole: Context,
    content: Context,
    bytes: u64,
    tables: Vec<(String, u64)>,
    files: u64,
    progress: Progress,
}

/// What a finished archive holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Rows of all tables.
    pub rows: u64,
    /// Rows by table, in the order of the archive.
    pub tables: Vec<(String, u64)>,
    /// Files, folders not counted.
    pub files: u64,
    /// The archive's own length in bytes.
    pub bytes: u64,
    /// The digest of the tables, the same on both engines.
    pub content_sha256: String,
}

impl<W: Write> ArchiveWriter<W> {
    pub(super) fn new(out: W, progress: Progress) -> Self {
        Self {
            out: BufWriter::new(out),
            whole: Context::new(&SHA256),
            content: Context::new(&SHA256),
            bytes: 0,
            tables: Vec::new(),
            files: 0,
            progress,
        }
    }

    pub(super) fn head(&mut self, head: &Head) -> Result<(), ArchiveError> {
        let text = serde_json::to_string(head).map_err(io_error)?;
        self.line(&text, false)
    }

    pub(super) fn table(&mut self, table: TableLine) -> Result<(), ArchiveError> {
        self.tables.push((table.name.clone(), 0));
        let text = serde_json::to_string(&Line::Table(table)).map_err(io_error)?;
        self.line(&text, true)
    }

    /// Rows of the table that was begun last.
    pub(super) fn rows<'r>(
        &mut self,
        rows: impl ExactSizeIterator<Item = &'r [Value]>,
    ) -> Result<(), ArchiveError> {
        let count = rows.len();
        for row in rows {
            self.line(&encode_row(row).map_err(io_error)?, true)?;
        }
        if let Some((_, total)) = self.tables.last_mut() {
            *total += count as u64;
        }
        self.progress.add(count);
        Ok(())
    }

    /// Adds a folder, by its path below the home.
    pub fn folder(&mut self, path: &str) -> Result<(), ArchiveError> {
        let path = path.to_owned();
        self.other(&Line::Folder(FolderLine { path }))
    }

    /// Adds a file, by its path below the home: the next `bytes` bytes of `content`.
    pub fn file(
        &mut self,
        path: &str,
        mode: u32,
        bytes: u64,
        content: impl Read,
    ) -> Result<(), ArchiveError> {
        self.files += 1;
        self.other(&Line::File(FileLine {
            path: path.to_owned(),
            mode,
            bytes,
        }))?;
        let (mut content, mut left) = (content.take(bytes), bytes);
        let mut chunk = Vec::with_capacity(ARCHIVE_CHUNK_BYTES);
        while left > 0 {
            chunk.clear();
            let limit = ARCHIVE_CHUNK_BYTES as u64;
            let read = content.by_ref().take(limit).read_to_end(&mut chunk);
            let read = read.map_err(ArchiveError::write)?;
            if read == 0 {
                let reason = format!("{path} became shorter while it was read");
                return Err(ArchiveError::write(io::Error::other(reason)));
            }
            left -= read as u64;
            self.other(&Line::Bytes(encode_bytes(&chunk)))?;
        }
        Ok(())
    }

    /// Writes counts and digests and hands the output back, flushed.
    pub fn finish(mut self) -> Result<(W, Written), ArchiveError> {
        let content_sha256 = self.content_sha256();
        let written = Written {
            rows: self.tables.iter().map(|(_, rows)| rows).sum(),
            tables: self.tables.clone(),
            files: self.files,
            bytes: 0,
            content_sha256: content_sha256.clone(),
        };
        let end = Line::End(End {
            tables: self.tables.clone(),
            rows: written.rows,
            files: self.files,
            content_sha256,
            sha256: hexadecimal(self.whole.clone().finish().as_ref()),
        });
        self.other(&end)?;
        let bytes = self.bytes;
        let out = self
            .out
            .into_inner()
            .map_err(|error| ArchiveError::write(error.into_error()))?;
        Ok((out, Written { bytes, ..written }))
    }

    pub(super) fn content_sha256(&self) -> String {
        hexadecimal(self.content.clone().finish().as_ref())
    }

    fn other(&mut self, line: &Line) -> Result<(), ArchiveError> {
        let text = serde_json::to_string(line).map_err(io_error)?;
        self.line(&text, false)
    }

    fn line(&mut self, text: &str, is_content: bool) -> Result<(), ArchiveError> {
        for part in [text.as_bytes(), b"\n"] {
            self.out.write_all(part).map_err(ArchiveError::write)?;
            self.whole.update(part);
            if is_content {
                self.content.update(part);
            }
            self.bytes += part.len() as u64;
        }
        Ok(())
    }
}

fn io_error(error: serde_json::Error) -> ArchiveError {
    ArchiveError::write(error.into())
}
