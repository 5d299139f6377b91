//! `search`: lines that match a regular expression.

use super::list::sorted;
use super::text_file::is_binary;
use crate::agent::workspace::{Place, Refusal, Workspace, is_skipped};
use crate::limits::{
    PATTERN_BYTES_MAX, SEARCH_BYTES_MAX, SEARCH_FILE_BYTES_MAX, SEARCH_LINE_BYTES_MAX,
    SEARCH_MATCHES_MAX, WALK_DEPTH_MAX, WALK_ENTRIES_MAX,
};
use globset::{Glob, GlobMatcher};
use regex_lite::Regex;
use serde::Deserialize;
use std::fs;
use std::path::Path;

/// Lines around a match at most.
const CONTEXT_MAX: usize = 10;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    pattern: String,
    path: Option<String>,
    glob: Option<String>,
    context: Option<usize>,
}

pub(super) fn search(workspace: &Workspace, input: &Input) -> Result<String, Refusal> {
    let mut search = Search {
        pattern: pattern(&input.pattern)?,
        glob: input.glob.as_deref().map(glob).transpose()?,
        context: input.context.unwrap_or(0).min(CONTEXT_MAX),
        found: String::new(),
        matches: 0,
        bytes: 0,
        entries: 0,
        left_out: Vec::new(),
    };
    let place = workspace.to_read(input.path.as_deref().unwrap_or("."))?;
    let metadata = fs::metadata(&place.absolute)
        .map_err(|error| Refusal::io("search", &place.relative, &error))?;
    if metadata.is_dir() {
        search.folder(&place, 0);
    } else {
        search.file(&place, metadata.len());
    }
    Ok(search.finish())
}

fn pattern(text: &str) -> Result<Regex, Refusal> {
    if text.len() > PATTERN_BYTES_MAX {
        return Err(Refusal::plain(format!(
            "the pattern is longer than {PATTERN_BYTES_MAX} bytes"
        )));
    }
    Regex::new(text).map_err(|error| Refusal::plain(format!("the pattern is not valid: {error}")))
}

/// A glob without a slash is meant for names at any depth.
fn glob(text: &str) -> Result<GlobMatcher, Refusal> {
    let text = if text.contains('/') {
        text.to_owned()
    } else {
        format!("**/{text}")
    };
    let glob = Glob::new(&text)
        .map_err(|error| Refusal::plain(format!("the glob is not valid: {error}")))?;
    Ok(glob.compile_matcher())
}

struct Search {
    pattern: Regex,
    glob: Option<GlobMatcher>,
    context: usize,
    found: String,
    matches: usize,
    bytes: u64,
    entries: usize,
    /// Why the result may be incomplete.
    left_out: Vec<String>,
}

impl Search {
    fn is_full(&self) -> bool {
        self.matches >= SEARCH_MATCHES_MAX
            || self.bytes >= SEARCH_BYTES_MAX
            || self.entries >= WALK_ENTRIES_MAX
    }

    fn folder(&mut self, folder: &Place, depth: usize) {
        if depth >= WALK_DEPTH_MAX {
            let reason = format!("{} lies too deep", folder.relative.display());
            self.left_out.push(reason);
            return;
        }
        for entry in sorted(&folder.absolute).unwrap_or_default() {
            if self.is_full() {
                return;
            }
            self.entries += 1;
            let place = Place {
                absolute: entry.path(),
                relative: folder.relative.join(entry.file_name()),
            };
            // Symlinks are not followed: what they lead to is found under its own name, or is not
            // part of the repository.
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && is_skipped(&entry.file_name().to_string_lossy()) => {}
                Ok(kind) if kind.is_dir() => self.folder(&place, depth + 1),
                Ok(kind) if kind.is_file() && self.wants(&place.relative) => {
                    let bytes = entry.metadata().map_or(0, |metadata| metadata.len());
                    self.file(&place, bytes);
                }
                _ => {}
            }
        }
    }

    fn wants(&self, relative: &Path) -> bool {
        // `.git` is a file where the git directory lies elsewhere.
        relative != Path::new(".git")
            && self
                .glob
                .as_ref()
                .is_none_or(|glob| glob.is_match(relative))
    }

    fn file(&mut self, place: &Place, bytes: u64) {
        if bytes > SEARCH_FILE_BYTES_MAX {
            let reason = format!("{} has {bytes} bytes", place.relative.display());
            self.left_out.push(reason);
            return;
        }
        self.bytes += bytes;
        let Ok(content) = fs::read(&place.absolute) else {
            return;
        };
        if is_binary(&content) {
            return;
        }
        let text = String::from_utf8_lossy(&content);
        let lines: Vec<&str> = text.lines().collect();
        self.lines(&place.relative, &lines);
    }

    fn lines(&mut self, relative: &Path, lines: &[&str]) {
        let mut shown_to = 0;
        for (index, line) in lines.iter().enumerate() {
            if !self.pattern.is_match(line) {
                continue;
            }
            self.matches += 1;
            let from = index.saturating_sub(self.context).max(shown_to);
            let to = (index + self.context + 1).min(lines.len());
            if self.context > 0 && from > shown_to && shown_to > 0 {
                self.found += "--\n";
            }
            for (number, line) in lines.iter().enumerate().take(to).skip(from) {
                self.show(relative, number + 1, line, number == index);
            }
            shown_to = shown_to.max(to);
            if self.matches >= SEARCH_MATCHES_MAX {
                return;
            }
        }
    }

    fn show(&mut self, relative: &Path, number: usize, line: &str, is_match: bool) {
        let end = line.floor_char_boundary(SEARCH_LINE_BYTES_MAX);
        let cut = if end < line.len() { " [cut]" } else { "" };
        let mark = if is_match { ':' } else { '-' };
        let path = relative.display();
        self.found += &format!("{path}{mark}{number}{mark}{}{cut}\n", &line[..end]);
    }

    fn finish(mut self) -> String {
        if self.is_full() {
            self.left_out.push(format!(
                "the search stopped after {} matches in {} files and folders; narrow it",
                self.matches, self.entries
            ));
        }
        if self.matches == 0 {
            self.found += "[no match]\n";
        }
        const SHOWN: usize = 5;
        for reason in self.left_out.iter().take(SHOWN) {
            self.found += &format!("[left out: {reason}]\n");
        }
        if self.left_out.len() > SHOWN {
            self.found += &format!("[left out: {} more]\n", self.left_out.len() - SHOWN);
        }
        self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::tools::fixture::Fixture;

    fn check(input: &str, expected: &str) {
        let fixture = Fixture::new(&["**"]);
        fixture.file(
            "src/a.rs",
            "fn one() {}\nfn two() {}\n// end\nfn three() {}\n",
        );
        fixture.file("src/b.py", "def one(): pass\n");
        fixture.file("target/c.rs", "fn one() {}\n");
        fixture.bytes("bin", b"fn one\0");
        fixture.file(
            "long",
            &format!("one{}\n", "x".repeat(SEARCH_LINE_BYTES_MAX)),
        );
        let reply = fixture.reading("search", input);
        assert_eq!(reply.text, expected, "{input}");
    }

    #[test]
    fn matches_come_with_their_places() {
        check(
            r#"{"pattern":"fn (one|three)"}"#,
            "src/a.rs:1:fn one() {}\nsrc/a.rs:4:fn three() {}\n",
        );
        check(
            r#"{"pattern":"one\\(","glob":"*.py"}"#,
            "src/b.py:1:def one(): pass\n",
        );
        check(
            r#"{"pattern":"one\\(","glob":"src/*.rs"}"#,
            "src/a.rs:1:fn one() {}\n",
        );
        check(
            r#"{"pattern":"end","path":"src","context":1}"#,
            "src/a.rs-2-fn two() {}\nsrc/a.rs:3:// end\nsrc/a.rs-4-fn three() {}\n",
        );
        check(
            r#"{"pattern":"one|three","path":"src/a.rs","context":1}"#,
            "src/a.rs:1:fn one() {}\nsrc/a.rs-2-fn two() {}\nsrc/a.rs-3-// end\nsrc/a.rs:4:fn three() {}\n",
        );
        check(r#"{"pattern":"nowhere"}"#, "[no match]\n");
        let long = format!(
            "long:1:one{} [cut]\n",
            "x".repeat(SEARCH_LINE_BYTES_MAX - 3)
        );
        check(r#"{"pattern":"onex"}"#, &long);
    }

    #[test]
    fn bad_input_is_answered() {
        let fixture = Fixture::new(&["**"]);
        for (input, expected) in [
            (r#"{"pattern":"("}"#, "the pattern is not valid"),
            (r#"{"pattern":"x","glob":"{"}"#, "the glob is not valid"),
            (r#"{"pattern":"x","path":"no"}"#, "failed to search no"),
            (r#"{"pattern":"x","path":".."}"#, "outside the repository"),
        ] {
            let reply = fixture.reading("search", input);
            assert!(
                !reply.ok && reply.text.contains(expected),
                "{input}: {reply:?}"
            );
        }
        let long = format!(r#"{{"pattern":"{}"}}"#, "x".repeat(PATTERN_BYTES_MAX + 1));
        assert!(
            fixture
                .reading("search", &long)
                .text
                .contains("longer than")
        );
    }

    #[test]
    fn limits_are_said() {
        let fixture = Fixture::new(&["**"]);
        fixture.file("many", &"one\n".repeat(SEARCH_MATCHES_MAX + 5));
        fixture.bytes(
            "huge",
            &vec![b'x'; usize::try_from(SEARCH_FILE_BYTES_MAX).unwrap() + 1],
        );
        let reply = fixture.reading("search", r#"{"pattern":"one"}"#);
        assert!(
            reply.text.contains("[left out: huge has 1048577 bytes]"),
            "{}",
            reply.text
        );
        assert!(
            reply.text.contains("the search stopped after 200 matches"),
            "{}",
            reply.text
        );
        assert_eq!(reply.text.matches("many:").count(), SEARCH_MATCHES_MAX);
    }
}
