//! Reply templates: text that may use what a tool printed or what the task said.
//!
//! `{{tool_result[0]}}`, `{{tool_result[0]:REGEX}}` with one group, `{{instruction}}`,
//! `{{instruction:REGEX}}`. Any other `{{` is plain text, because replies hold source code.

use crate::script::matcher::Quoted;
use regex_lite::Regex;
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::fmt;

/// Text with holes.
#[derive(Debug)]
pub(crate) struct Template(Vec<Part>);

#[derive(Debug)]
enum Part {
    Text(String),
    Hole(Source, Option<Regex>),
}

#[derive(Debug, Clone, Copy)]
enum Source {
    ToolResult(usize),
    Instruction,
}

/// What the holes are filled with.
pub(crate) struct Material<'a> {
    /// The texts of the last message's tool results, in order.
    pub(crate) tool_results: Vec<&'a str>,
    /// The text of the first message.
    pub(crate) instruction: &'a str,
}

impl Template {
    /// Reads a template from a script's text.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find("{{") {
            let (before, inside) = (&rest[..at], &rest[at + 2..]);
            let Some((source, name)) = Source::at_start_of(inside)? else {
                plain.push_str(&rest[..at + 2]);
                rest = inside;
                continue;
            };
            plain.push_str(before);
            let body = &inside[name..];
            let end = closing(body).ok_or_else(|| format!("`{{{{{inside}` has no `}}}}`"))?;
            let pattern = match body[..end].strip_prefix(':') {
                Some(pattern) => Some(one_group(pattern)?),
                None if end == 0 => None,
                None => return Err(format!("`{}` is not `:REGEX`", &body[..end])),
            };
            parts.push(Part::Text(std::mem::take(&mut plain)));
            parts.push(Part::Hole(source, pattern));
            rest = &body[end + 2..];
        }
        plain.push_str(rest);
        parts.push(Part::Text(plain));
        Ok(Self(parts))
    }

    /// The text with its holes filled; the error names the hole that cannot be.
    pub(crate) fn fill(&self, material: &Material<'_>) -> Result<String, String> {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Text(plain) => text.push_str(plain),
                Part::Hole(source, pattern) => {
                    text.push_str(source.take(pattern.as_ref(), material)?);
                }
            }
        }
        Ok(text)
    }
}

impl Source {
    /// The source that `inside`, the text after `{{`, starts with, and the length of its name.
    fn at_start_of(inside: &str) -> Result<Option<(Self, usize)>, String> {
        const RESULT: &str = "tool_result[";
        const INSTRUCTION: &str = "instruction";
        if let Some(rest) = inside.strip_prefix(INSTRUCTION) {
            let named = rest.starts_with(':') || rest.starts_with("}}");
            return Ok(named.then_some((Self::Instruction, INSTRUCTION.len())));
        }
        let Some(rest) = inside.strip_prefix(RESULT) else {
            return Ok(None);
        };
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        match (rest[..digits].parse(), rest[digits..].starts_with(']')) {
            (Ok(index), true) => Ok(Some((Self::ToolResult(index), RESULT.len() + digits + 1))),
            _ => Err(format!("`{{{{{RESULT}` is followed by no number and `]`")),
        }
    }

    fn take<'a>(self, pattern: Option<&Regex>, material: &Material<'a>) -> Result<&'a str, String> {
        let text = match self {
            Self::Instruction => material.instruction,
            Self::ToolResult(index) => material.tool_results.get(index).ok_or_else(|| {
                let count = material.tool_results.len();
                format!("`{self}` does not exist: the last message has {count} tool results")
            })?,
        };
        let Some(pattern) = pattern else {
            return Ok(text);
        };
        let group = pattern.captures(text).and_then(|captures| captures.get(1));
        group.map(|group| group.as_str()).ok_or_else(|| {
            let pattern = pattern.as_str();
            format!(
                "`{self}` should match {pattern:?} with its group, but it is {}",
                Quoted(text)
            )
        })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ToolResult(index) => write!(f, "tool_result[{index}]"),
            Self::Instruction => f.write_str("instruction"),
        }
    }
}

/// Where the `}}` that closes a hole stands: the last two of the first run of them, so that a
/// pattern may end in a brace.
fn closing(body: &str) -> Option<usize> {
    let mut at = body.find("}}")?;
    while body[at + 2..].starts_with('}') {
        at += 1;
    }
    Some(at)
}

fn one_group(pattern: &str) -> Result<Regex, String> {
    let regex =
        Regex::new(pattern).map_err(|error| format!("not a regular expression: {error}"))?;
    match regex.captures_len() {
        2 => Ok(regex),
        _ => Err(format!(
            "{pattern:?} should have exactly one group in parentheses"
        )),
    }
}

/// A value of a tool's input whose texts are templates.
#[derive(Debug)]
pub(crate) enum Input {
    Text(Template),
    List(Vec<Self>),
    Table(Vec<(String, Self)>),
    Plain(Value),
}

/// The fields of a tool's input, in the order of the script.
#[derive(Debug, Default)]
pub(crate) struct Fields(pub(crate) Vec<(String, Input)>);

impl Input {
    /// The value with its templates filled.
    pub(crate) fn fill(&self, material: &Material<'_>) -> Result<Value, String> {
        match self {
            Self::Text(template) => template.fill(material).map(Value::String),
            Self::List(items) => items.iter().map(|item| item.fill(material)).collect(),
            Self::Table(fields) => fill_fields(fields, material).map(Value::Object),
            Self::Plain(value) => Ok(value.clone()),
        }
    }
}

/// The object of these fields, their templates filled.
pub(crate) fn fill_fields(
    fields: &[(String, Input)],
    material: &Material<'_>,
) -> Result<Map<String, Value>, String> {
    let filled = fields
        .iter()
        .map(|(name, value)| Ok((name.clone(), value.fill(material)?)));
    filled.collect()
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Input::deserialize(deserializer)? {
            Input::Table(fields) => Ok(Self(fields)),
            Input::Text(_) | Input::List(_) | Input::Plain(_) => {
                Err(D::Error::custom("a tool's input is a table"))
            }
        }
    }
}

impl<'de> Deserialize<'de> for Input {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(InputVisitor)
    }
}

struct InputVisitor;

impl<'de> Visitor<'de> for InputVisitor {
    type Value = Input;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text, a number, true or false, a list or a table")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Input, E> {
        Template::parse(text).map(Input::Text).map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Input, E> {
        Ok(Input::Plain(number.into()))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Input, E> {
        Ok(Input::Plain(number.into()))
    }

    fn visit_bool<E: Error>(self, truth: bool) -> Result<Input, E> {
        Ok(Input::Plain(truth.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Input, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Input::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Input, A::Error> {
        let mut fields = Vec::new();
        while let Some((name, value)) = map.next_entry::<String, Input>()? {
            // How the TOML reader hands over a date.
            if name.starts_with("$__toml") {
                return Err(A::Error::custom("a date is written as text, in quotes"));
            }
            fields.push((name, value));
        }
        Ok(Input::Table(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(template: &str) -> Result<String, String> {
        let material = Material {
            tool_results: vec!["HEAD is now at 1a2b3c4", "exit code: 0"],
            instruction: "Fix `add` in crate bees",
        };
        Template::parse(template)?.fill(&material)
    }

    #[test]
    fn holes_are_filled_and_other_braces_stay() {
        for (template, expected) in [
            ("plain", "plain"),
            ("{{tool_result[1]}}!", "exit code: 0!"),
            ("at {{tool_result[0]:at ([0-9a-f]{7})}}", "at 1a2b3c4"),
            (
                "{{tool_result[0]:([0-9a-f]{7}}})",
                "{{tool_result[0]:([0-9a-f]{7}}})",
            ),
            ("{{instruction:crate (\\w+)}}", "bees"),
            ("{{instruction}}", "Fix `add` in crate bees"),
            ("format!(\"{{}} {{x}}\")", "format!(\"{{}} {{x}}\")"),
            ("{{instructions}}", "{{instructions}}"),
        ] {
            match fill(template) {
                Ok(filled) => assert_eq!(filled, expected, "{template}"),
                Err(_) => assert_eq!(template, expected, "{template}"),
            }
        }
    }

    #[test]
    fn what_cannot_be_filled_is_named() {
        for (template, expected) in [
            ("{{tool_result[7]}}", "the last message has 2 tool results"),
            ("{{tool_result[0]:(nothing)}}", "HEAD is now at"),
            ("{{tool_result[0]:nogroup}}", "exactly one group"),
            ("{{tool_result[0]:(a)(b)}}", "exactly one group"),
            ("{{tool_result[0]:(}}", "not a regular expression"),
            ("{{tool_result[x]}}", "no number"),
            ("{{tool_result[0]", "has no `}}`"),
            ("{{tool_result[0] }}", "is not `:REGEX`"),
        ] {
            let error = fill(template).unwrap_err();
            assert!(error.contains(expected), "{template}: {error}");
        }
    }
}
