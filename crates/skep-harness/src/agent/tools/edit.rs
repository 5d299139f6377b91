//! `edit`: one exact piece of text for another.

use super::text_file;
use crate::agent::workspace::{Refusal, Workspace};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    path: String,
    old: String,
    new: String,
    #[serde(default)]
    all: bool,
}

pub(super) fn edit(workspace: &Workspace, input: &Input) -> Result<String, Refusal> {
    let place = workspace.to_write(&input.path)?;
    if input.old.is_empty() {
        return Err(Refusal::plain("`old` is empty; use `write` for a new file"));
    }
    if input.old == input.new {
        return Err(Refusal::plain("`old` and `new` are equal"));
    }
    let text = text_file::load_text(&place)?;
    let lines: Vec<usize> = text
        .match_indices(&input.old)
        .map(|(at, _)| line_of(&text, at))
        .collect();
    match lines.as_slice() {
        [] => return Err(Refusal::plain(not_found(&text, &input.old))),
        [_, _, ..] if !input.all => {
            return Err(Refusal::plain(format!(
                "`old` occurs {} times, at lines {}; add lines around it, or set `all`",
                lines.len(),
                shown(&lines)
            )));
        }
        _ => {}
    }
    text_file::store(&place, text.replace(&input.old, &input.new).as_bytes())?;
    Ok(format!("replaced at line {}", shown(&lines)))
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

fn shown(lines: &[usize]) -> String {
    const SHOWN: usize = 10;
    let mut text: Vec<String> = lines.iter().take(SHOWN).map(usize::to_string).collect();
    if lines.len() > SHOWN {
        text.push("…".to_owned());
    }
    text.join(", ")
}

/// Says what is nearest to the text that is not there.
fn not_found(text: &str, old: &str) -> String {
    if text.contains('\r') && !old.contains('\r') && text.replace("\r\n", "\n").contains(old) {
        return "`old` does not occur: the lines of this file end in \\r\\n; put \\r\\n into `old` and `new`".to_owned();
    }
    let squeezed = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let first = old.lines().map(squeezed).find(|line| !line.is_empty());
    let near = first.and_then(|first| {
        text.lines()
            .position(|line| squeezed(line) == first)
            .map(|index| index + 1)
    });
    match near {
        Some(line) => format!(
            "`old` does not occur. Its first line is like line {line}, so white space or a later line differs; read the file from there"
        ),
        None => "`old` does not occur; read the file again".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use crate::agent::tools::fixture::Fixture;
    use crate::event::RefusedBy;

    const TEXT: &str = "fn a() {\n    one();\n}\nfn b() {\n    one();\n}\n";

    async fn check(input: &str, reply: &str, after: &str) {
        let fixture = Fixture::new(&["src/**"]);
        fixture.file("src/a.rs", TEXT);
        let found = fixture.effect("edit", input).await;
        assert_eq!(found.text, reply, "{input}");
        assert_eq!(fixture.content("src/a.rs"), after, "{input}");
        assert_eq!((found.ok, found.changed), (after != TEXT, after != TEXT));
    }

    #[tokio::test]
    async fn one_place_or_all_of_them() {
        check(
            r#"{"path":"src/a.rs","old":"fn a() {\n    one","new":"fn a() {\n    two"}"#,
            "replaced at line 1",
            &TEXT.replacen("one", "two", 1),
        )
        .await;
        check(
            r#"{"path":"src/a.rs","old":"one();","new":"","all":true}"#,
            "replaced at line 2, 5",
            &TEXT.replace("one();", ""),
        )
        .await;
    }

    #[tokio::test]
    async fn what_does_not_fit_changes_nothing_and_says_why() {
        check(
            r#"{"path":"src/a.rs","old":"one","new":"two"}"#,
            "`old` occurs 2 times, at lines 2, 5; add lines around it, or set `all`",
            TEXT,
        )
        .await;
        check(r#"{"path":"src/a.rs","old":"fn b() {\n  one();","new":"x"}"#, "`old` does not occur. Its first line is like line 4, so white space or a later line differs; read the file from there", TEXT).await;
        check(
            r#"{"path":"src/a.rs","old":"three","new":"x"}"#,
            "`old` does not occur; read the file again",
            TEXT,
        )
        .await;
        check(
            r#"{"path":"src/a.rs","old":"","new":"x"}"#,
            "`old` is empty; use `write` for a new file",
            TEXT,
        )
        .await;
        check(
            r#"{"path":"src/a.rs","old":"one","new":"one"}"#,
            "`old` and `new` are equal",
            TEXT,
        )
        .await;
    }

    #[tokio::test]
    async fn other_line_ends_and_encodings_are_named() {
        let fixture = Fixture::new(&["**"]);
        fixture.file("dos", "a\r\nb\r\n");
        let reply = fixture
            .effect("edit", r#"{"path":"dos","old":"a\nb","new":"c"}"#)
            .await;
        assert!(reply.text.contains("end in \\r\\n"), "{reply:?}");
        fixture.bytes("latin1", b"caf\xe9 one");
        let reply = fixture
            .effect("edit", r#"{"path":"latin1","old":"one","new":"two"}"#)
            .await;
        assert!(reply.text.contains("not UTF-8 (from byte 3)"), "{reply:?}");
    }

    #[tokio::test]
    async fn the_scope_refuses_before_the_kernel() {
        let fixture = Fixture::new(&["src/**"]);
        fixture.file("b.rs", "one");
        let reply = fixture
            .effect("edit", r#"{"path":"b.rs","old":"one","new":"two"}"#)
            .await;
        assert_eq!(reply.refused_by, Some(RefusedBy::Scope));
        assert_eq!(
            reply.text,
            "refused by the scope: b.rs is not covered by src/**"
        );
        assert_eq!(fixture.content("b.rs"), "one");
    }
}
