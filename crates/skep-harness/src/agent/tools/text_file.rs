//! Text files in and out, with the limits and the words that `read`, `edit` and `search` share.
//!
//! Owns nothing. Invariant: what is edited is text from its first to its last byte, so that an edit
//! never changes a byte it was not asked to.

use crate::agent::workspace::{Place, Refusal};
use crate::limits::FILE_BYTES_MAX;
use std::fs;
use std::io;

/// How much of a file is looked at to tell text from binary, in bytes, as git does it.
const SNIFF_BYTES: usize = 8_000;

/// Whether bytes look like no text.
pub(super) fn is_binary(bytes: &[u8]) -> bool {
    bytes[..bytes.len().min(SNIFF_BYTES)].contains(&0)
}

/// The bytes of a regular file within the size limit that is not binary.
pub(super) fn load(place: &Place) -> Result<Vec<u8>, Refusal> {
    let shown = place.relative.display();
    let metadata = fs::metadata(&place.absolute).map_err(|error| missing(place, &error))?;
    if metadata.is_dir() {
        return Err(Refusal::plain(format!("{shown} is a folder; use `list`")));
    }
    if !metadata.is_file() {
        return Err(Refusal::plain(format!("{shown} is no regular file")));
    }
    if metadata.len() > FILE_BYTES_MAX {
        return Err(Refusal::plain(format!(
            "{shown} has {} bytes; the limit is {FILE_BYTES_MAX}. Use `search`, or `run` with sed or head",
            metadata.len()
        )));
    }
    let bytes =
        fs::read(&place.absolute).map_err(|error| Refusal::io("read", &place.relative, &error))?;
    if is_binary(&bytes) {
        return Err(Refusal::plain(format!(
            "{shown} is a binary file of {} bytes",
            bytes.len()
        )));
    }
    Ok(bytes)
}

/// The same, as text. UTF-8 only: another encoding would not survive an edit.
pub(super) fn load_text(place: &Place) -> Result<String, Refusal> {
    String::from_utf8(load(place)?).map_err(|error| {
        Refusal::plain(format!(
            "{} is not UTF-8 (from byte {}); use `run` with a program that knows its encoding",
            place.relative.display(),
            error.utf8_error().valid_up_to()
        ))
    })
}

/// Writes in place, so that mode and owner stay.
pub(super) fn store(place: &Place, content: &[u8]) -> Result<(), Refusal> {
    fs::write(&place.absolute, content)
        .map_err(|error| Refusal::io("write", &place.relative, &error))
}

fn missing(place: &Place, error: &io::Error) -> Refusal {
    if error.kind() != io::ErrorKind::NotFound {
        return Refusal::io("open", &place.relative, error);
    }
    let wanted = place.relative.file_name().unwrap_or_default();
    let siblings = place.absolute.parent().map(fs::read_dir);
    let similar = match siblings {
        Some(Ok(entries)) => entries
            .flatten()
            .map(|entry| entry.file_name())
            .find(|name| {
                let stem = |n: &std::ffi::OsStr| {
                    std::path::Path::new(n)
                        .file_stem()
                        .map(std::ffi::OsStr::to_owned)
                };
                name.eq_ignore_ascii_case(wanted) || stem(name) == stem(wanted)
            }),
        _ => None,
    };
    let hint = similar.map_or_else(String::new, |name| {
        format!("; there is `{}` beside it", name.display())
    });
    Refusal::plain(format!("{} does not exist{hint}", place.relative.display()))
}
