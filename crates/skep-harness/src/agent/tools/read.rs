//! `read`: lines of a text file, numbered.

use super::text_file;
use crate::agent::workspace::{Refusal, Workspace};
use crate::limits::{READ_BYTES_MAX, READ_LINE_BYTES_MAX};
use serde::Deserialize;
use std::fmt::Write as _;

/// Lines where the model does not say.
const LINES: usize = 800;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    path: String,
    offset: Option<usize>,
    limit: Option<usize>,
}

pub(super) fn read(workspace: &Workspace, input: &Input) -> Result<String, Refusal> {
    let place = workspace.to_read(&input.path)?;
    let bytes = text_file::load(&place)?;
    let text = String::from_utf8_lossy(&bytes);
    let total = text.lines().count();
    if total == 0 {
        return Ok("[the file is empty]".to_owned());
    }
    let first = input.offset.unwrap_or(1).max(1);
    if first > total {
        return Err(Refusal::plain(format!(
            "{} has {total} lines; offset {first} is behind its end",
            place.relative.display()
        )));
    }
    let limit = input.limit.unwrap_or(LINES).max(1);
    let mut shown = String::new();
    let mut next = first;
    for line in text.lines().skip(first - 1).take(limit) {
        let line = numbered(next, line);
        if !shown.is_empty() && shown.len() + line.len() > READ_BYTES_MAX {
            break;
        }
        shown += &line;
        next += 1;
    }
    if next <= total {
        let _ = write!(
            shown,
            "[lines {first} to {} of {total}; go on with offset {next}]",
            next - 1
        );
    }
    if matches!(text, std::borrow::Cow::Owned(_)) {
        shown += "\n[the file is not UTF-8; unreadable bytes are shown as \u{fffd}]";
    }
    Ok(shown)
}

fn numbered(number: usize, line: &str) -> String {
    let end = line.floor_char_boundary(READ_LINE_BYTES_MAX);
    if end == line.len() {
        return format!("{number}\t{line}\n");
    }
    let cut = line.len() - end;
    format!(
        "{number}\t{} [{cut} bytes of this line cut]\n",
        &line[..end]
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::tools::fixture::Fixture;

    fn check(input: &str, expected: &str) {
        let fixture = Fixture::new(&["**"]);
        fixture.file("a.txt", "one\ntwo\r\nthree");
        fixture.file("empty", "");
        fixture.file("long.txt", &"x".repeat(READ_LINE_BYTES_MAX + 7));
        fixture.file("many.txt", &"0123456789\n".repeat(10_000));
        fixture.bytes("binary", b"ELF\0\x01");
        fixture.bytes("latin1.txt", b"caf\xe9\n");
        let reply = fixture.reading("read", input);
        assert!(reply.text.contains(expected), "{input}: {reply:?}");
    }

    #[test]
    fn lines_are_numbered_and_windows_say_how_to_go_on() {
        check(r#"{"path":"a.txt"}"#, "1\tone\n2\ttwo\n3\tthree\n");
        check(
            r#"{"path":"a.txt","offset":2,"limit":1}"#,
            "2\ttwo\n[lines 2 to 2 of 3; go on with offset 3]",
        );
        check(
            r#"{"path":"a.txt","offset":4}"#,
            "a.txt has 3 lines; offset 4 is behind its end",
        );
        check(r#"{"path":"empty"}"#, "[the file is empty]");
        check(r#"{"path":"long.txt"}"#, "x [7 bytes of this line cut]");
        check(
            r#"{"path":"many.txt"}"#,
            "[lines 1 to 800 of 10000; go on with offset 801]",
        );
        check(
            r#"{"path":"many.txt","limit":9999}"#,
            "of 10000; go on with offset",
        );
        check(r#"{"path":"latin1.txt"}"#, "not UTF-8");
    }

    #[test]
    fn what_is_no_text_is_named() {
        check(r#"{"path":"binary"}"#, "binary is a binary file of 5 bytes");
        check(r#"{"path":"."}"#, "is a folder; use `list`");
        check(
            r#"{"path":"A.TXT"}"#,
            "A.TXT does not exist; there is `a.txt` beside it",
        );
        check(r#"{"path":"no/such"}"#, "no/such does not exist");
        check(r#"{"path":"../x"}"#, "outside the repository");
        check(
            r#"{}"#,
            "the input of `read` is not valid: missing field `path`",
        );
        check(r#"{"path":1}"#, "the input of `read` is not valid");
        check(r#"{"path":"a.txt","line":1}"#, "unknown field `line`");
    }
}
