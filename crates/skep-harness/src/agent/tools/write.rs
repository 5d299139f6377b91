//! `write`: a whole file.

use super::text_file;
use crate::agent::workspace::{Refusal, Workspace};
use crate::limits::WRITE_BYTES_MAX;
use serde::Deserialize;
use std::fs;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    path: String,
    content: String,
}

pub(super) fn write(workspace: &Workspace, input: &Input) -> Result<String, Refusal> {
    let place = workspace.to_write(&input.path)?;
    if input.content.len() > WRITE_BYTES_MAX {
        return Err(Refusal::plain(format!(
            "the content has {} bytes; the limit is {WRITE_BYTES_MAX}",
            input.content.len()
        )));
    }
    if place.absolute.is_dir() {
        let message = format!("{} is a folder", place.relative.display());
        return Err(Refusal::plain(message));
    }
    let existed = place.absolute.exists();
    if let Some(folder) = place.absolute.parent() {
        fs::create_dir_all(folder)
            .map_err(|error| Refusal::io("make the folder of", &place.relative, &error))?;
    }
    text_file::store(&place, input.content.as_bytes())?;
    let done = if existed { "replaced" } else { "made" };
    Ok(format!("{done} {}", place.relative.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::tools::fixture::Fixture;
    use crate::event::RefusedBy;

    #[tokio::test]
    async fn files_are_made_with_their_folders_and_replaced() {
        let fixture = Fixture::new(&["src/**"]);
        let input = r#"{"path":"src/new/a.rs","content":"one\n"}"#;
        let reply = fixture.effect("write", input).await;
        assert_eq!(
            (reply.text.as_str(), reply.changed),
            ("made src/new/a.rs", true)
        );
        let reply = fixture.effect("write", &input.replace("one", "two")).await;
        assert_eq!(reply.text, "replaced src/new/a.rs");
        assert_eq!(fixture.content("src/new/a.rs"), "two\n");
    }

    #[tokio::test]
    async fn walls_and_limits_refuse() {
        let fixture = Fixture::new(&["src/**"]);
        fixture.file("src/a.rs", "");
        let large = format!(
            r#"{{"path":"src/b","content":"{}"}}"#,
            "x".repeat(WRITE_BYTES_MAX + 1)
        );
        for (input, by, expected) in [
            (
                r#"{"path":"b.rs","content":""}"#,
                Some(RefusedBy::Scope),
                "refused by the scope",
            ),
            (
                r#"{"path":"../b.rs","content":""}"#,
                Some(RefusedBy::Policy),
                "outside the repository",
            ),
            (
                r#"{"path":".git/hooks/x","content":""}"#,
                Some(RefusedBy::Policy),
                "`.git`",
            ),
            (
                r#"{"path":"src","content":""}"#,
                Some(RefusedBy::Scope),
                "refused by the scope",
            ),
            (
                r#"{"path":"src/a.rs/b","content":""}"#,
                None,
                "failed to make the folder of src/a.rs/b",
            ),
            (large.as_str(), None, "the limit is"),
        ] {
            let reply = fixture.effect("write", input).await;
            let shown = &input[..input.len().min(60)];
            assert!(
                !reply.ok && reply.text.contains(expected),
                "{shown}: {reply:?}"
            );
            assert_eq!(reply.refused_by, by, "{shown}");
        }
    }
}
