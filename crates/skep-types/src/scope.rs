//! Which paths of a repository a worker may change.
//!
//! A scope is a list of globs relative to the repository's root. `*` and `?` stay inside one path
//! component, `**` crosses them, `{a,b}` is short for two globs, and a glob without wildcards names
//! a file or a whole directory. Nothing named `.git` is ever inside a scope.
//!
//! Invariant: a path that two scopes both allow makes [`Scope::overlaps`] true; the reverse need
//! not hold, so two live workers are sometimes kept apart without need, never together by mistake.

use globset::{GlobBuilder, GlobMatcher};
use std::fmt;
use std::path::{Component, Path, PathBuf};

/// A scope with more globs than this, after `{a,b}` is written out, is refused.
pub const SCOPE_GLOBS_MAX: usize = 256;

/// A longer glob is refused, in bytes; no file system has longer paths.
pub const GLOB_BYTES_MAX: usize = 4096;

/// The paths that a worker may change.
#[derive(Debug, Clone)]
pub struct Scope {
    globs: Vec<String>,
    rules: Vec<Rule>,
}

/// Why a glob cannot be part of a scope. The message completes "failed to read the scope: ".
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScopeError {
    /// The glob is an empty string.
    Empty,
    /// The glob starts at the root of the file system or in a home directory.
    Absolute(String),
    /// The glob has a `.`, `..` or empty component.
    NotNormal(String),
    /// The glob names git's own directory.
    GitDirectory(String),
    /// The glob uses something scopes do not have.
    Unsupported {
        /// The glob.
        glob: String,
        /// What it uses, as in `a backslash`.
        what: &'static str,
    },
    /// The glob does not parse.
    Malformed {
        /// The glob.
        glob: String,
        /// What the parser says.
        reason: String,
    },
    /// There are more globs than [`SCOPE_GLOBS_MAX`], or one is longer than [`GLOB_BYTES_MAX`].
    TooLarge,
}

impl Scope {
    /// Reads globs. An empty list is the whole repository.
    pub fn parse<S: AsRef<str>>(globs: &[S]) -> Result<Self, ScopeError> {
        let globs: Vec<String> = if globs.is_empty() {
            vec!["**".to_owned()]
        } else {
            globs.iter().map(|glob| glob.as_ref().to_owned()).collect()
        };
        let mut rules = Vec::new();
        for glob in &globs {
            if glob.len() > GLOB_BYTES_MAX {
                return Err(ScopeError::TooLarge);
            }
            for plain in expand_braces(glob)? {
                rules.push(Rule::parse(glob, &plain)?);
                if rules.len() > SCOPE_GLOBS_MAX {
                    return Err(ScopeError::TooLarge);
                }
            }
        }
        Ok(Self { globs, rules })
    }

    /// The globs as they were given, or `**` for the whole repository.
    pub fn globs(&self) -> &[String] {
        &self.globs
    }

    /// Whether a path relative to the repository's root may be changed. A path that is absolute,
    /// climbs out, is empty or passes through `.git` never may.
    pub fn allows(&self, path: impl AsRef<Path>) -> bool {
        let Some(parts) = normal_components(path.as_ref()) else {
            return false;
        };
        let path = parts.join("/");
        self.rules.iter().any(|rule| rule.matches(&path))
    }

    /// Whether some path may be inside both scopes. Says yes where it is not sure.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.rules
            .iter()
            .any(|a| other.rules.iter().any(|b| meet(&a.parts, &b.parts)))
    }

    /// The smallest set of directories that holds every path the scope may allow, including paths
    /// that do not exist yet, sorted; `.` is the repository's root. `is_directory` tells whether a
    /// path relative to the root is a directory now, which decides what a glob without wildcards
    /// names. A directory in the answer may not exist yet.
    pub fn directories(&self, is_directory: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
        let mut found: Vec<PathBuf> = self
            .rules
            .iter()
            .map(|rule| rule.directory(&is_directory))
            .collect();
        found.sort();
        let mut smallest: Vec<PathBuf> = Vec::new();
        for directory in found {
            if !smallest.iter().any(|kept| directory.starts_with(kept)) {
                smallest.push(directory);
            }
        }
        for directory in &mut smallest {
            if directory.as_os_str().is_empty() {
                directory.push(".");
            }
        }
        smallest
    }
}

impl ScopeError {
    /// The stable code of this error.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Empty
            | Self::Absolute(_)
            | Self::NotNormal(_)
            | Self::Unsupported { .. }
            | Self::Malformed { .. } => "scope_invalid",
            Self::GitDirectory(_) => "scope_git_directory",
            Self::TooLarge => "scope_too_large",
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Empty => "leave the scope out to allow the whole repository".to_owned(),
            Self::Absolute(_) | Self::NotNormal(_) => {
                "write globs relative to the repository's root, as in `src/**`".to_owned()
            }
            Self::GitDirectory(_) => "no worker may change git's own directory".to_owned(),
            Self::Unsupported { .. } | Self::Malformed { .. } => {
                "a glob knows `*`, `?`, `**`, `[ab]` and `{a,b}`".to_owned()
            }
            Self::TooLarge => format!("use at most {SCOPE_GLOBS_MAX} globs, or wider ones"),
        })
    }
}

impl fmt::Display for ScopeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a glob is empty"),
            Self::Absolute(glob) => write!(f, "`{glob}` is not relative to the repository"),
            Self::NotNormal(glob) => write!(f, "`{glob}` has a `.`, `..` or empty component"),
            Self::GitDirectory(glob) => write!(f, "`{glob}` names git's own directory"),
            Self::Unsupported { glob, what } => write!(f, "`{glob}` uses {what}"),
            Self::Malformed { glob, reason } => write!(f, "`{glob}` is no glob: {reason}"),
            Self::TooLarge => write!(
                f,
                "it has more than {SCOPE_GLOBS_MAX} globs, or one of over {GLOB_BYTES_MAX} bytes"
            ),
        }
    }
}

impl std::error::Error for ScopeError {}

/// One glob without braces.
#[derive(Debug, Clone)]
struct Rule {
    matcher: GlobMatcher,
    parts: Vec<Part>,
    is_literal: bool,
}

#[derive(Debug, Clone)]
enum Part {
    Literal(String),
    Wild(GlobMatcher),
    AnyDepth,
}

impl Rule {
    fn parse(glob: &str, plain: &str) -> Result<Self, ScopeError> {
        let path = validate(glob, plain)?;
        let is_literal = !path.contains(['*', '?', '[']);
        let mut parts = Vec::new();
        for part in path.split('/') {
            parts.push(match part {
                "**" => Part::AnyDepth,
                part if part.contains(['*', '?', '[']) => Part::Wild(compile(glob, part)?),
                part => Part::Literal(part.to_owned()),
            });
        }
        if is_literal {
            parts.push(Part::AnyDepth);
        }
        Ok(Self {
            matcher: compile(glob, &path)?,
            parts,
            is_literal,
        })
    }

    fn matches(&self, path: &str) -> bool {
        self.matcher.is_match(path) || (self.is_literal && self.covers_by_name(path))
    }

    /// Whether `path` lies in the directory that this literal glob names.
    fn covers_by_name(&self, path: &str) -> bool {
        path.strip_prefix(self.matcher.glob().glob())
            .is_some_and(|rest| rest.starts_with('/'))
    }

    fn directory(&self, is_directory: &impl Fn(&Path) -> bool) -> PathBuf {
        let mut directory = PathBuf::new();
        for part in &self.parts {
            match part {
                Part::Literal(name) => directory.push(name),
                Part::Wild(_) | Part::AnyDepth => break,
            }
        }
        if self.is_literal && !is_directory(&directory) {
            directory.pop();
        }
        directory
    }
}

/// The plain glob without a leading `./` or trailing slash, once it is known to be well formed.
fn validate(glob: &str, plain: &str) -> Result<String, ScopeError> {
    let unsupported = |what| {
        Err(ScopeError::Unsupported {
            glob: glob.to_owned(),
            what,
        })
    };
    if plain.trim().is_empty() {
        return Err(ScopeError::Empty);
    }
    if plain.starts_with(['/', '~']) {
        return Err(ScopeError::Absolute(glob.to_owned()));
    }
    if plain.starts_with('!') {
        return unsupported("`!`, but a scope only adds paths");
    }
    if plain.contains('\\') {
        return unsupported("a backslash");
    }
    if plain.contains(char::is_control) {
        return unsupported("a control character");
    }
    check_classes(glob, plain)?;
    if plain == "." || plain == "./" {
        return Ok("**".to_owned());
    }
    let relative = plain.strip_prefix("./").unwrap_or(plain);
    // A trailing slash says "this directory", so everything in it.
    let path = match relative.strip_suffix('/') {
        Some(directory) => format!("{directory}/**"),
        None => relative.to_owned(),
    };
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(ScopeError::NotNormal(glob.to_owned()));
    }
    if path.split('/').any(is_git) {
        return Err(ScopeError::GitDirectory(glob.to_owned()));
    }
    Ok(path)
}

/// Refuses a class that could match a slash: it would cross components where `*` does not.
fn check_classes(glob: &str, plain: &str) -> Result<(), ScopeError> {
    let mut rest = plain;
    while let Some(open) = rest.find('[') {
        let class = &rest[open + 1..];
        let Some(close) = class.find(']') else {
            break;
        };
        let members = &class[..close];
        let crosses = members.starts_with(['!', '^'])
            || members.contains('/')
            || members
                .as_bytes()
                .windows(3)
                .any(|range| range[1] == b'-' && (range[0]..=range[2]).contains(&b'/'));
        if crosses {
            return Err(ScopeError::Unsupported {
                glob: glob.to_owned(),
                what: "a character class that could match `/`",
            });
        }
        rest = &class[close + 1..];
    }
    Ok(())
}

fn compile(glob: &str, text: &str) -> Result<GlobMatcher, ScopeError> {
    GlobBuilder::new(text)
        .literal_separator(true)
        .backslash_escape(false)
        .build()
        .map(|compiled| compiled.compile_matcher())
        .map_err(|error| ScopeError::Malformed {
            glob: glob.to_owned(),
            reason: error.kind().to_string(),
        })
}

/// Writes out every `{a,b}`, nested ones too.
fn expand_braces(glob: &str) -> Result<Vec<String>, ScopeError> {
    let mut done = Vec::new();
    let mut open = vec![glob.to_owned()];
    while let Some(text) = open.pop() {
        if done.len() + open.len() > SCOPE_GLOBS_MAX {
            return Err(ScopeError::TooLarge);
        }
        match first_group(glob, &text)? {
            None => done.push(text),
            Some((start, end, choices)) => {
                for choice in choices.iter().rev() {
                    open.push(format!("{}{choice}{}", &text[..start], &text[end..]));
                }
            }
        }
    }
    Ok(done)
}

/// The first brace group: where it starts and ends, and its choices.
type Group<'a> = Option<(usize, usize, Vec<&'a str>)>;

fn first_group<'a>(glob: &str, text: &'a str) -> Result<Group<'a>, ScopeError> {
    let malformed = |reason: &str| ScopeError::Malformed {
        glob: glob.to_owned(),
        reason: reason.to_owned(),
    };
    let (mut start, mut depth, mut in_class) = (0, 0_usize, false);
    let mut choice_start = 0;
    let mut choices = Vec::new();
    for (at, letter) in text.char_indices() {
        match letter {
            '[' if !in_class => in_class = true,
            ']' => in_class = false,
            _ if in_class => {}
            '{' => {
                depth += 1;
                if depth == 1 {
                    (start, choice_start) = (at, at + 1);
                }
            }
            ',' if depth == 1 => {
                choices.push(&text[choice_start..at]);
                choice_start = at + 1;
            }
            '}' if depth == 0 => return Err(malformed("a `}` without its `{`")),
            '}' => {
                depth -= 1;
                if depth == 0 {
                    choices.push(&text[choice_start..at]);
                    return Ok(Some((start, at + 1, choices)));
                }
            }
            _ => {}
        }
    }
    if depth > 0 {
        return Err(malformed("a `{` without its `}`"));
    }
    Ok(None)
}

/// Whether some path may match both lists of components: the usual table over their suffixes, so
/// that many `**` cost a product and not a power.
fn meet(a: &[Part], b: &[Part]) -> bool {
    // `row[j]` answers for `a[i + 1..]` and `b[j..]`; the last row is the empty rest of `a`.
    let is_any_depth = |part: &Part| matches!(part, Part::AnyDepth);
    let mut row: Vec<bool> = (0..=b.len())
        .map(|j| b[j..].iter().all(is_any_depth))
        .collect();
    for part in a.iter().rev() {
        let below = row.clone();
        row[b.len()] = is_any_depth(part) && below[b.len()];
        for (j, other) in b.iter().enumerate().rev() {
            row[j] = if is_any_depth(part) || is_any_depth(other) {
                below[j] || row[j + 1]
            } else {
                below[j + 1] && may_equal(part, other)
            };
        }
    }
    row[0]
}

fn may_equal(a: &Part, b: &Part) -> bool {
    match (a, b) {
        (Part::Literal(a), Part::Literal(b)) => a == b,
        (Part::Literal(name), Part::Wild(glob)) | (Part::Wild(glob), Part::Literal(name)) => {
            glob.is_match(name)
        }
        (Part::Wild(_), Part::Wild(_)) | (Part::AnyDepth, _) | (_, Part::AnyDepth) => true,
    }
}

fn normal_components(path: &Path) -> Option<Vec<&str>> {
    let mut parts = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => {
                let part = part.to_str()?;
                if is_git(part) {
                    return None;
                }
                parts.push(part);
            }
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    (!parts.is_empty()).then_some(parts)
}

/// Git treats every spelling of `.git` as its own on file systems that fold case.
fn is_git(part: &str) -> bool {
    part.eq_ignore_ascii_case(".git")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(globs: &[&str]) -> Scope {
        Scope::parse(globs).unwrap()
    }

    #[test]
    fn globs_allow_what_they_say_and_nothing_else() {
        let cases: &[(&[&str], &[&str], &[&str])] = &[
            (
                &[],
                &["a", "a/b/c.rs"],
                &[".git/config", "a/.git/x", "a/.GIT/x", "/a", "../a", "", "."],
            ),
            (
                &["src/*.rs"],
                &["src/a.rs"],
                &["src/a/b.rs", "src/a.rs/x", "a.rs", "src"],
            ),
            (
                &["src/**"],
                &["src/a", "src/a/b"],
                &["src", "srca/b", "tests/a"],
            ),
            (&["src/"], &["src/a", "src/a/b"], &["src", "srca/b"]),
            (&["./src/**"], &["src/a"], &["a"]),
            (&["src"], &["src", "src/a/b"], &["srca", "src2/a", "a/src"]),
            (&["**/*.md"], &["a.md", "x/y/a.md"], &["a.rs"]),
            (
                &["{src,tests/{a,b}}/**", "Cargo.toml"],
                &["src/x", "tests/a/x", "Cargo.toml"],
                &["tests/c/x", "Cargo.lock"],
            ),
            (&["a{,b}.rs"], &["a.rs", "ab.rs"], &["ac.rs"]),
            (&["src/[ab].rs"], &["src/a.rs"], &["src/c.rs", "src//.rs"]),
            (&["*"], &["a"], &["a/b"]),
            (&["."], &["a", "a/b"], &[]),
        ];
        for (globs, allowed, refused) in cases {
            let scope = scope(globs);
            for path in *allowed {
                assert!(scope.allows(path), "{globs:?} should allow {path:?}");
            }
            for path in *refused {
                assert!(!scope.allows(path), "{globs:?} should refuse {path:?}");
            }
        }
    }

    #[test]
    fn what_is_no_scope_is_refused_with_a_code() {
        let cases = [
            ("", "scope_invalid"),
            ("  ", "scope_invalid"),
            ("/etc/**", "scope_invalid"),
            ("~/x", "scope_invalid"),
            ("../x", "scope_invalid"),
            ("src/../../x", "scope_invalid"),
            ("a//b", "scope_invalid"),
            ("a/./b", "scope_invalid"),
            ("{src,..}/x", "scope_invalid"),
            ("{src,}/x", "scope_invalid"),
            ("!src/**", "scope_invalid"),
            ("src\\a", "scope_invalid"),
            ("a[", "scope_invalid"),
            ("a[!b]c", "scope_invalid"),
            ("a[+-9]c", "scope_invalid"),
            ("a[/]c", "scope_invalid"),
            ("{a", "scope_invalid"),
            ("a}", "scope_invalid"),
            ("a\nb", "scope_invalid"),
            (".git", "scope_git_directory"),
            (".git/hooks/**", "scope_git_directory"),
            ("src/.Git/**", "scope_git_directory"),
            ("{.git,src}/**", "scope_git_directory"),
            (
                "{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}",
                "scope_too_large",
            ),
        ];
        for (glob, code) in cases {
            let error = Scope::parse(&[glob]).err();
            assert_eq!(
                error.as_ref().map(ScopeError::code),
                Some(code),
                "{glob:?}: {error:?}"
            );
        }
    }

    #[test]
    fn the_directories_hold_every_path_that_may_be_allowed() {
        let is_directory = |path: &Path| ["src", "docs"].iter().any(|d| path == Path::new(d));
        let cases: &[(&[&str], &[&str])] = &[
            (&[], &["."]),
            (&["README.md"], &["."]),
            (&["README.md", "src/**"], &["."]),
            (&["src/**"], &["src"]),
            (&["src"], &["src"]),
            (&["src/lib.rs"], &["src"]),
            (&["src/a/**", "src/*.rs"], &["src"]),
            (
                &["src/a/**", "src-b/**", "src/b/*.rs"],
                &["src/a", "src/b", "src-b"],
            ),
            (&["crates/*/src/lib.rs"], &["crates"]),
            (&["{src,tests}/**"], &["src", "tests"]),
            (&["new/part/"], &["new/part"]),
            (&["**/*.rs"], &["."]),
        ];
        for (globs, expected) in cases {
            let found = scope(globs).directories(is_directory);
            let expected: Vec<PathBuf> = expected.iter().map(PathBuf::from).collect();
            assert_eq!(found, expected, "{globs:?}");
        }
    }

    #[test]
    fn disjoint_scopes_are_told_apart() {
        let cases = [
            ("src/**", "tests/**", false),
            ("src/**", "src/a/b.rs", true),
            ("src", "src/a/b.rs", true),
            ("src/*.rs", "src/*.py", true),
            ("src/a*.rs", "src/b.rs", false),
            ("**/*.rs", "docs/*.md", true),
            ("**/*.rs", "docs/**", true),
            ("a/*/c", "a/b/d", false),
            ("{a,b}/**", "{c,d}/**", false),
            ("{a,b}/**", "{c,b}/x", true),
            ("**", "x", true),
            ("src/lib.rs", "src/main.rs", false),
        ];
        for (a, b, expected) in cases {
            assert_eq!(scope(&[a]).overlaps(&scope(&[b])), expected, "{a} {b}");
            assert_eq!(scope(&[b]).overlaps(&scope(&[a])), expected, "{b} {a}");
        }
    }

    /// Every pair of globs over a small alphabet, against every path over the same alphabet: a
    /// shared path must show as an overlap, and must lie in one of the directories.
    #[test]
    fn no_shared_path_escapes_the_overlap_test_or_the_directories() {
        let words = ["a", "ab", "*", "a*", "?", "**", "[ab]"];
        let mut globs = Vec::new();
        for first in words {
            globs.push(first.to_owned());
            for second in words {
                globs.push(format!("{first}/{second}"));
                globs.push(format!("{first}/b/{second}"));
            }
        }
        let names = ["a", "b", "ab", "abc"];
        let mut paths = Vec::new();
        for first in names {
            paths.push(first.to_owned());
            for second in names {
                paths.push(format!("{first}/{second}"));
                for third in names {
                    paths.push(format!("{first}/{second}/{third}"));
                }
            }
        }
        let scopes: Vec<Scope> = globs.iter().map(|glob| scope(&[glob])).collect();
        let mut shared_paths = 0;
        for a in &scopes {
            let directories = a.directories(|_| false);
            for path in paths.iter().filter(|path| a.allows(path)) {
                let inside = directories
                    .iter()
                    .any(|d| d == Path::new(".") || Path::new(path).starts_with(d));
                // A literal glob that names a directory is covered by its parent here, because
                // nothing exists; its own subtree is the one thing that may lie deeper.
                assert!(
                    inside,
                    "{:?} allows {path} outside {directories:?}",
                    a.globs()
                );
                for b in scopes.iter().filter(|b| b.allows(path)) {
                    shared_paths += 1;
                    assert!(
                        a.overlaps(b),
                        "{:?} {:?} share {path}",
                        a.globs(),
                        b.globs()
                    );
                }
            }
        }
        assert!(
            shared_paths > 10_000,
            "the enumeration is too thin: {shared_paths}"
        );
    }
}
