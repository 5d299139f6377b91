//! Rust source split into code, comments and string literals, without parsing it.
//!
//! A scanner over bytes: each view has the length and the lines of the file, with everything that
//! belongs to another view blanked out, so that a rule about code is not fooled by a comment and a
//! rule about SQL looks at strings only.

/// The three views of one source file.
#[derive(Debug)]
pub(crate) struct RustText {
    /// Code: comments and the insides of literals are spaces; quotes stay.
    pub(crate) code: String,
    /// Comments with their slashes.
    pub(crate) comments: String,
    /// String literals in order.
    pub(crate) literals: Vec<Literal>,
    /// The number of lines before the file's own test module, or all of them.
    pub(crate) product_lines: usize,
}

/// One string literal.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Literal {
    /// Where its first quote stands in the file, in bytes.
    pub(crate) at: usize,
    /// The line of the first quote, from 1.
    pub(crate) line: usize,
    /// What stands between the quotes, escapes untouched.
    pub(crate) text: String,
}

impl RustText {
    /// Splits `source`.
    pub(crate) fn of(source: &str) -> Self {
        let mut scanner = Scanner {
            source,
            code: blank(source),
            comments: blank(source),
            literals: Vec::new(),
        };
        scanner.scan();
        // Only whole characters are copied into the views, so both are UTF-8.
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let code = text(scanner.code);
        Self {
            product_lines: product_lines(&code),
            code,
            comments: text(scanner.comments),
            literals: scanner.literals,
        }
    }

    /// The line, from 1, of a byte of the file.
    pub(crate) fn line_of(&self, at: usize) -> usize {
        line_of(&self.code, at)
    }

    /// The literals before the file's own test module.
    pub(crate) fn product_literals(&self) -> impl Iterator<Item = &Literal> {
        self.literals
            .iter()
            .filter(|literal| literal.line <= self.product_lines)
    }
}

struct Scanner<'a> {
    source: &'a str,
    code: Vec<u8>,
    comments: Vec<u8>,
    literals: Vec<Literal>,
}

impl Scanner<'_> {
    fn scan(&mut self) {
        let mut at = 0;
        while at < self.source.len() {
            let rest = &self.source[at..];
            at = if rest.starts_with("//") {
                self.comment(
                    at,
                    rest.find('\n').map_or(self.source.len(), |end| at + end),
                )
            } else if rest.starts_with("/*") {
                self.comment(at, at + block_comment_length(rest))
            } else if let Some(hashes) = self.raw_string_hashes(at) {
                let quote = at + rest.find('"').unwrap_or(0);
                let end = format!("\"{}", "#".repeat(hashes));
                let inside = &self.source[quote + 1..];
                let length = inside.find(&end).unwrap_or(inside.len());
                self.copy_code(at, quote);
                self.literal(quote, length, end.len())
            } else if let Some(inside) = rest.strip_prefix('"') {
                self.literal(at, string_length(inside), 1)
            } else if let Some(length) = char_literal_length(rest) {
                at + length
            } else {
                let next = at + rest.chars().next().map_or(1, char::len_utf8);
                self.copy_code(at, next);
                next
            };
        }
    }

    fn copy_code(&mut self, from: usize, to: usize) {
        self.code[from..to].copy_from_slice(&self.source.as_bytes()[from..to]);
    }

    fn comment(&mut self, from: usize, to: usize) -> usize {
        self.comments[from..to].copy_from_slice(&self.source.as_bytes()[from..to]);
        to
    }

    fn literal(&mut self, quote: usize, length: usize, end_length: usize) -> usize {
        let inside = quote + 1..quote + 1 + length;
        let end = (inside.end + end_length).min(self.source.len());
        self.literals.push(Literal {
            at: quote,
            line: line_of(self.source, quote),
            text: self.source[inside.clone()].to_owned(),
        });
        self.copy_code(quote, quote + 1);
        self.copy_code(inside.end, end);
        end
    }

    /// The number of `#` where `at` is the `r` of a raw string.
    fn raw_string_hashes(&self, at: usize) -> Option<usize> {
        let rest = self.source[at..].strip_prefix('r')?;
        let before = self.source[..at].chars().next_back();
        // `br"…"` and `cr"…"` are raw strings as well; `var"` is not a token.
        let prefix = matches!(before, Some('b' | 'c'));
        if !prefix && before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            return None;
        }
        let hashes = rest.bytes().take_while(|byte| *byte == b'#').count();
        rest[hashes..].starts_with('"').then_some(hashes)
    }
}

fn blank(source: &str) -> Vec<u8> {
    let keep_line = |byte| if byte == b'\n' { b'\n' } else { b' ' };
    source.bytes().map(keep_line).collect()
}

fn block_comment_length(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        let tail = &rest.as_bytes()[at..];
        if tail.starts_with(b"/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if tail.starts_with(b"*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// The bytes before the closing quote of an ordinary string.
fn string_length(inside: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in inside.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at,
            _ => {}
        }
    }
    inside.len()
}

/// The whole length of a character literal; `None` for a lifetime.
fn char_literal_length(rest: &str) -> Option<usize> {
    let inside = rest.strip_prefix('\'')?;
    let first = inside.chars().next()?;
    if first == '\\' {
        // The escaped character may itself be a quote.
        return Some(inside.get(2..)?.find('\'')? + 4);
    }
    inside[first.len_utf8()..]
        .starts_with('\'')
        .then_some(first.len_utf8() + 2)
}

/// rustfmt puts `#[cfg(test)]` of the file's own test module at the start of a line.
fn product_lines(code: &str) -> usize {
    let lines: Vec<&str> = code.lines().collect();
    let opens_module = |after: &[&str]| {
        let mut items = after.iter().filter(|line| !line.trim().is_empty());
        items
            .find(|line| !line.starts_with("#["))
            .is_some_and(|line| line.starts_with("mod ") || line.starts_with("pub(crate) mod "))
    };
    let marks =
        |index: &usize| lines[*index] == "#[cfg(test)]" && opens_module(&lines[index + 1..]);
    (0..lines.len()).find(marks).unwrap_or(lines.len())
}

fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at.min(text.len())]
        .iter()
        .filter(|byte| **byte == b'\n')
        .count()
        + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: &str, code: &str, comments: &str, literals: &[&str]) {
        let text = RustText::of(source);
        assert_eq!(text.code, code);
        assert_eq!(text.comments, comments);
        let found: Vec<&str> = text.literals.iter().map(|l| l.text.as_str()).collect();
        assert_eq!(found, literals);
    }

    #[test]
    fn views_keep_the_length_and_the_lines() {
        check(
            "let a = \"x // y\"; // z",
            "let a = \"      \";     ",
            "                  // z",
            &["x // y"],
        );
        check(
            "f('\"', '\\'', 'a')",
            "f(   ,     ,    )",
            "                 ",
            &[],
        );
        check(
            "fn f<'a>(x: &'a str)",
            "fn f<'a>(x: &'a str)",
            "                    ",
            &[],
        );
        check(
            "/* /* */ \" */ x",
            "              x",
            "/* /* */ \" */  ",
            &[],
        );
        check(
            "r#\"a \"b\" c\"# d",
            "r#\"       \"# d",
            "              ",
            &["a \"b\" c"],
        );
        check("\"a\\\"b\"", "\"    \"", "      ", &["a\\\"b"]);
    }

    #[test]
    fn characters_of_many_bytes_pass_through() {
        let text = RustText::of("// caf\u{e9} \u{2026}\nlet a = '\u{2026}'; \"\u{e9}\"");
        assert_eq!(text.comments.lines().next(), Some("// caf\u{e9} \u{2026}"));
        assert_eq!(text.literals[0].line, 2);
        assert_eq!(text.code.len(), text.comments.len());
    }

    #[test]
    fn the_test_module_is_not_product() {
        let text = RustText::of("fn a() {}\n\n#[cfg(test)]\nmod tests {\n    \"x\";\n}\n");
        assert_eq!(text.product_lines, 2);
        assert_eq!(text.product_literals().count(), 0);
        assert_eq!(RustText::of("#[cfg(test)]\nfn a() {}\n").product_lines, 2);
    }
}
