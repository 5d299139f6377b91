//! Matchers: what a named field of a request must say, and the difference if it does not.

use super::normalise::{Normaliser, normalise};
use crate::limits::MISMATCH_QUOTE_BYTES_MAX;
use regex_lite::Regex;
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// A test of one text, after normalising.
#[derive(Debug)]
pub(crate) struct Matcher {
    test: Test,
    normalisers: Vec<Normaliser>,
}

#[derive(Debug)]
enum Test {
    Equals(String),
    Contains(Vec<String>),
    Matches(Regex),
}

/// One text or several.
#[derive(Debug)]
pub(crate) struct Texts(Vec<String>);

/// A regular expression of a script.
#[derive(Debug)]
pub(crate) struct Pattern(Regex);

/// The three forms of a test as a script has them; one of them is given.
pub(crate) type Forms = (Option<String>, Option<Texts>, Option<Pattern>);

impl Matcher {
    /// A matcher of the one test that is given.
    pub(crate) fn of(forms: Forms, mut normalisers: Vec<Normaliser>) -> Result<Self, &'static str> {
        normalisers.sort_unstable();
        normalisers.dedup();
        let normalised = |text: &String| normalise(text, &normalisers);
        let test = match forms {
            (Some(text), None, None) => Test::Equals(normalised(&text)),
            (None, Some(Texts(texts)), None) => {
                Test::Contains(texts.iter().map(normalised).collect())
            }
            (None, None, Some(Pattern(pattern))) => Test::Matches(pattern),
            _ => return Err("exactly one of `equals`, `contains` and `matches` is needed"),
        };
        Ok(Self { test, normalisers })
    }

    /// What is wrong with `found` as the value of `field`, in words; `None` if nothing is.
    pub(crate) fn difference(&self, field: &str, found: &str) -> Option<String> {
        let found = normalise(found, &self.normalisers);
        let expected = match &self.test {
            Test::Equals(text) if *text == found => return None,
            Test::Equals(text) => format!("equal {}", Quoted::around(text, &found)),
            Test::Contains(texts) => {
                let missing = texts.iter().find(|text| !found.contains(text.as_str()))?;
                format!("contain {}", Quoted(missing))
            }
            Test::Matches(pattern) if pattern.is_match(&found) => return None,
            Test::Matches(pattern) => format!("match {}", Quoted(pattern.as_str())),
        };
        let found = match &self.test {
            Test::Equals(text) => Quoted::around(&found, text),
            Test::Contains(_) | Test::Matches(_) => Quoted(&found).to_string(),
        };
        let normalisers: Vec<&str> = self.normalisers.iter().map(|n| n.as_str()).collect();
        let after = if normalisers.is_empty() {
            String::new()
        } else {
            format!(" after normalising {}", normalisers.join(", "))
        };
        Some(format!(
            "`{field}` should {expected}, but{after} it is {found}"
        ))
    }
}

/// A text in quotes, cut to the limit.
pub(crate) struct Quoted<'a>(pub(crate) &'a str);

impl Quoted<'_> {
    /// `text` from a little before the place where it starts to differ from `other`.
    fn around(text: &str, other: &str) -> String {
        const CONTEXT_BYTES: usize = 40;
        let same = text
            .bytes()
            .zip(other.bytes())
            .take_while(|(a, b)| a == b)
            .count();
        let start = text.floor_char_boundary(same.saturating_sub(CONTEXT_BYTES));
        if start == 0 {
            return Quoted(text).to_string();
        }
        format!("(from byte {start}) {}", Quoted(&text[start..]))
    }
}

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.0[..self.0.floor_char_boundary(MISMATCH_QUOTE_BYTES_MAX)];
        write!(f, "{shown:?}")?;
        if shown.len() < self.0.len() {
            write!(f, " and {} bytes more", self.0.len() - shown.len())?;
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Matcher {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MatcherVisitor)
    }
}

struct MatcherVisitor;

impl<'de> Visitor<'de> for MatcherVisitor {
    type Value = Matcher;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, or a table with `equals`, `contains` or `matches`")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Matcher, E> {
        let forms = (Some(text.to_owned()), None, None);
        Matcher::of(forms, Vec::new()).map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Matcher, A::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Shape {
            equals: Option<String>,
            contains: Option<Texts>,
            matches: Option<Pattern>,
            #[serde(default)]
            normalise: Vec<Normaliser>,
        }
        let shape = Shape::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
        let forms = (shape.equals, shape.contains, shape.matches);
        Matcher::of(forms, shape.normalise).map_err(A::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextsVisitor;
        impl<'de> Visitor<'de> for TextsVisitor {
            type Value = Texts;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of texts")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Texts, E> {
                Ok(Texts(vec![text.to_owned()]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Texts, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = seq.next_element()? {
                    texts.push(text);
                }
                Ok(Texts(texts))
            }
        }
        deserializer.deserialize_any(TextsVisitor)
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Regex::new(&text)
            .map(Pattern)
            .map_err(|error| D::Error::custom(format!("not a regular expression: {error}")))
    }
}
