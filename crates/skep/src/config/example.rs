//! `skep.example.toml` and `docs/reference/config.md`, printed from the table of keys.

use super::keys::{Key, SECTIONS, Section};
use crate::output::wrapped;
use std::fmt::Write as _;

/// Comments of the example are broken at this width, in columns.
const COMMENT_COLUMNS: usize = 96;

const EXAMPLE_HEAD: &str = "\
# The configuration of Skep, complete and commented.
#
# Copy it to `skep.toml` in the home (`skep doctor` says where that is) or next to where you call
# skep, and keep what you need: every table may be left out. Unknown keys are errors. Secrets are
# never written here, only where they are.
";

/// The example file: every key, with what holds when it is left out.
pub(crate) fn example() -> String {
    let mut text = EXAMPLE_HEAD.to_owned();
    for section in SECTIONS {
        text.push('\n');
        comment(&mut text, section.about);
        // Writing to a String cannot fail.
        let _ = writeln!(text, "[{}]", section.heading);
        for key in section.keys {
            comment(&mut text, key.about);
            comment(&mut text, &rule(key));
            let mark = if is_for_another_kind(key) { "# " } else { "" };
            let _ = writeln!(text, "{mark}{} = {}", name(section, key), key.example);
        }
    }
    text
}

/// The reference page.
pub(crate) fn reference() -> String {
    let mut text = "\
# Configuration

`skep.toml` is read from `--config FILE`, else from the home, else from the current folder; the
first one found is the only one. Unknown keys are errors that name the nearest known key, with the
line. Secrets are never literal: `{ env = \"NAME\" }` names an environment variable,
`{ file = \"path\" }` a file; relative paths start at the configuration's own folder, `~` is the
user's home.

[`skep.example.toml`](../../skep.example.toml) holds every key with its default.
"
    .to_owned();
    for section in SECTIONS {
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "\n## `[{}]`\n\n{}\n\n| Key | Value | Default | Meaning |\n|---|---|---|---|\n",
            section.path, section.about
        );
        for key in section.keys {
            let _ = writeln!(
                text,
                "| `{}` | `{}` | {} | {} |",
                name(section, key),
                key.shape.replace('|', "\\|"),
                key.default
                    .map_or("must be there".to_owned(), |default| default
                        .replace('|', "\\|")),
                key.about,
            );
        }
    }
    text
}

fn name(section: &Section, key: &Key) -> &'static str {
    key.path[section.path.len()..].trim_start_matches('.')
}

fn rule(key: &Key) -> String {
    match key.default {
        Some(default) => format!("Left out: {default}."),
        None => "Must be there.".to_owned(),
    }
}

/// Keys of the example that only another kind of provider, worker or store takes, or that name a
/// file which has to be there.
fn is_for_another_kind(key: &Key) -> bool {
    matches!(
        key.path,
        "provider.NAME.script" | "worker.NAME.command" | "cluster.shared" | "topic.NAME.schema"
    )
}

fn comment(text: &mut String, about: &str) {
    for line in wrapped(about, COMMENT_COLUMNS) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "# {line}");
    }
}
