//! Reading an archive: all of it is looked at, and its digest compared, before any of it is used.

use super::error::ArchiveError;
use super::line::{FileLine, Line, TableLine, decode_bytes};
use super::{End, FORMAT, Head, Origin, VERSION};
use crate::limits::ARCHIVE_LINE_BYTES_MAX;
use crate::migrate::hexadecimal;
use ring::digest::{Context, SHA256};
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::os::unix::fs::FileExt as _;
use std::path::{Component, Path};
use std::sync::Arc;

/// A whole archive whose digest holds.
#[derive(Debug, Clone)]
pub struct Archive {
    file: Arc<File>,
    head: Head,
    end: End,
    sections: Vec<Section>,
    files: Vec<ArchiveFile>,
}

/// One table of an archive.
#[derive(Debug, Clone)]
pub(super) struct Section {
    pub(super) table: TableLine,
    /// The table's own line, as it is hashed.
    pub(super) text: String,
    pub(super) rows: u64,
    /// Where the first row begins.
    offset: u64,
    /// The number of the first row's line.
    pub(super) line: u64,
}

/// A file or folder of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveFile {
    /// Its path below the home: relative, and without steps upwards.
    pub path: String,
    /// The rights of owner, group and others; `None` for a folder.
    pub mode: Option<u32>,
    /// Its length.
    pub bytes: u64,
    offset: u64,
    line: u64,
}

impl Archive {
    /// Reads `file` through and holds it against its digest and counts. Blocks on the disk. The
    /// file must be one that can be read at any place, which a pipe cannot.
    pub fn open(file: File) -> Result<Self, ArchiveError> {
        let file = Arc::new(file);
        let mut lines = Lines::at(&file, 0, 1);
        let mut text = String::new();
        let head = read_head(&mut lines, &mut text)?;
        let mut check = Check {
            whole: Context::new(&SHA256),
            content: Context::new(&SHA256),
            sections: Vec::new(),
            files: Vec::new(),
            bytes_left: 0,
        };
        check.hash(&text, false);
        loop {
            if !lines.next(&mut text)? {
                return Err(ArchiveError::Truncated {
                    lines: lines.number - 1,
                });
            }
            if let Some(end) = check.take(&text, &lines)? {
                check.compare(&end)?;
                if lines.next(&mut text)? {
                    return Err(changed("the end"));
                }
                return Ok(Self {
                    file,
                    head,
                    end,
                    sections: check.sections,
                    files: check.files,
                });
            }
        }
    }

    /// Who wrote it, and of what.
    pub const fn origin(&self) -> &Origin {
        &self.head.origin
    }

    /// The engine that it was read from: `sqlite` or `postgres`.
    pub fn engine(&self) -> &str {
        &self.head.engine
    }

    /// Rows of all tables.
    pub const fn rows(&self) -> u64 {
        self.end.rows
    }

    /// Rows by table, in the order of the archive.
    pub fn tables(&self) -> &[(String, u64)] {
        &self.end.tables
    }

    /// The digest of the tables, the same on both engines.
    pub fn content_sha256(&self) -> &str {
        &self.end.content_sha256
    }

    /// Its files and folders, each folder before what lies in it.
    pub fn files(&self) -> &[ArchiveFile] {
        &self.files
    }

    /// Writes a file's bytes to `out`. Blocks on the disk.
    pub fn copy(&self, file: &ArchiveFile, out: &mut impl Write) -> Result<(), ArchiveError> {
        let mut lines = Lines::at(&self.file, file.offset, file.line);
        let (mut text, mut left) = (String::new(), file.bytes);
        while left > 0 {
            let whole = lines.next(&mut text)?;
            let bytes = match serde_json::from_str(&text) {
                Ok(Line::Bytes(bytes)) if whole => decode_bytes(&bytes),
                Ok(_) | Err(_) => None,
            };
            let bytes = bytes.ok_or_else(|| changed(&file.path))?;
            out.write_all(&bytes).map_err(|source| ArchiveError::Io {
                action: "write a file of",
                source,
            })?;
            left = left.saturating_sub(bytes.len() as u64);
        }
        Ok(())
    }

    pub(super) const fn head(&self) -> &Head {
        &self.head
    }

    pub(super) fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// The lines of a section's rows.
    pub(super) fn rows_of(&self, section: &Section) -> Lines {
        Lines::at(&self.file, section.offset, section.line)
    }
}

fn read_head(lines: &mut Lines, text: &mut String) -> Result<Head, ArchiveError> {
    // A first line that is no text, or too long for one, is not this format's either.
    let first = lines.next(text).unwrap_or(false);
    let document: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    if !first || document.get("format").and_then(|word| word.as_str()) != Some(FORMAT) {
        return Err(ArchiveError::Foreign);
    }
    let version = document.get("version").and_then(serde_json::Value::as_i64);
    match version {
        Some(version) if version > VERSION => Err(ArchiveError::NewerFormat {
            version,
            known: VERSION,
        }),
        _ => serde_json::from_value(document).map_err(|error| ArchiveError::Line {
            line: 1,
            reason: error.to_string(),
        }),
    }
}

/// The first reading: digests, counts, and where everything lies.
struct Check {
    whole: Context,
    content: Context,
    sections: Vec<Section>,
    files: Vec<ArchiveFile>,
    /// What is still to come of the file that was begun last.
    bytes_left: u64,
}

impl Check {
    fn hash(&mut self, text: &str, is_content: bool) {
        for part in [text.as_bytes(), b"\n"] {
            self.whole.update(part);
            if is_content {
                self.content.update(part);
            }
        }
    }

    /// Takes a line in; gives the last one back.
    fn take(&mut self, text: &str, lines: &Lines) -> Result<Option<End>, ArchiveError> {
        let number = lines.number - 1;
        let wrong = |reason: &str| ArchiveError::Line {
            line: number,
            reason: reason.to_owned(),
        };
        if text.starts_with('[') {
            let section = self.sections.last_mut();
            let section = section.filter(|_| self.files.is_empty());
            section.ok_or_else(|| wrong("a row of no table"))?.rows += 1;
            self.hash(text, true);
            return Ok(None);
        }
        let line: Line = serde_json::from_str(text).map_err(|error| {
            if lines.is_last {
                ArchiveError::Truncated { lines: number - 1 }
            } else {
                wrong(&error.to_string())
            }
        })?;
        let is_content = matches!(line, Line::Table(_));
        if !matches!(line, Line::Bytes(_)) && self.bytes_left > 0 {
            return Err(wrong("the file before it is too short"));
        }
        match line {
            Line::Table(table) => self.sections.push(Section {
                table,
                text: text.to_owned(),
                rows: 0,
                offset: lines.offset,
                line: lines.number,
            }),
            Line::Folder(folder) => self.files.push(entry(&folder.path, None, lines)?),
            Line::File(file) => {
                self.bytes_left = file.bytes;
                self.files.push(entry(&file.path, Some(&file), lines)?);
            }
            Line::Bytes(bytes) => {
                let bytes = decode_bytes(&bytes).ok_or_else(|| wrong("not base64"))?;
                let left = self.bytes_left.checked_sub(bytes.len() as u64);
                self.bytes_left = left.ok_or_else(|| wrong("more bytes than the file has"))?;
            }
            Line::End(end) => return Ok(Some(end)),
        }
        self.hash(text, is_content);
        Ok(None)
    }

    fn compare(&self, end: &End) -> Result<(), ArchiveError> {
        let digest = |context: &Context| hexadecimal(context.clone().finish().as_ref());
        if digest(&self.whole) != end.sha256 || digest(&self.content) != end.content_sha256 {
            return Err(changed("its digest"));
        }
        let counts = self.sections.iter().map(|s| (&s.table.name, s.rows));
        let told = end.tables.iter().map(|(name, rows)| (name, *rows));
        let files = self.files.iter().filter(|file| file.mode.is_some()).count() as u64;
        let rows: u64 = self.sections.iter().map(|section| section.rows).sum();
        if !counts.eq(told) || rows != end.rows || files != end.files {
            return Err(changed("a count"));
        }
        Ok(())
    }
}

fn entry(path: &str, file: Option<&FileLine>, lines: &Lines) -> Result<ArchiveFile, ArchiveError> {
    let plain = Path::new(path)
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    if path.is_empty() || !plain {
        return Err(ArchiveError::Line {
            line: lines.number - 1,
            reason: "a path that leads out of the home".to_owned(),
        });
    }
    Ok(ArchiveFile {
        path: path.to_owned(),
        mode: file.map(|file| file.mode & 0o777),
        bytes: file.map_or(0, |file| file.bytes),
        offset: lines.offset,
        line: lines.number,
    })
}

fn changed(what: &str) -> ArchiveError {
    ArchiveError::Changed {
        what: what.to_owned(),
    }
}

/// The lines of a file from a place on.
pub(super) struct Lines {
    input: BufReader<At>,
    /// Where the next line begins.
    offset: u64,
    /// The number of the next line.
    number: u64,
    /// Whether the line that was read last had no end.
    is_last: bool,
}

impl Lines {
    fn at(file: &Arc<File>, offset: u64, number: u64) -> Self {
        Self {
            input: BufReader::new(At {
                file: Arc::clone(file),
                offset,
            }),
            offset,
            number,
            is_last: false,
        }
    }

    /// Reads a line into `text`, without its end; `false` when there is none left.
    pub(super) fn next(&mut self, text: &mut String) -> Result<bool, ArchiveError> {
        let mut bytes = std::mem::take(text).into_bytes();
        bytes.clear();
        let mut limited = self.input.by_ref().take(ARCHIVE_LINE_BYTES_MAX);
        let read = limited
            .read_until(b'\n', &mut bytes)
            .map_err(ArchiveError::read)?;
        let wrong = |reason: &str| ArchiveError::Line {
            line: self.number,
            reason: reason.to_owned(),
        };
        self.is_last = bytes.pop_if(|byte| *byte == b'\n').is_none();
        if self.is_last && read as u64 == ARCHIVE_LINE_BYTES_MAX {
            return Err(wrong("it is too long"));
        }
        *text = String::from_utf8(bytes).map_err(|_| wrong("it is not text"))?;
        self.offset += read as u64;
        self.number += u64::from(read > 0);
        Ok(read > 0)
    }
}

/// Reads a shared file from a place of its own.
struct At {
    file: Arc<File>,
    offset: u64,
}

impl Read for At {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}
