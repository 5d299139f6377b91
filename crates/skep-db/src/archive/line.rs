//! The lines of an archive and what they mean.

use super::catalogue::{Column, ColumnKind};
use crate::Value;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

/// A line that is not a row.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Line {
    /// A table begins; its rows follow.
    Table(TableLine),
    /// A folder, empty as far as this line says.
    Folder(FolderLine),
    /// A file begins; its bytes follow.
    File(FileLine),
    /// Some of the file's bytes, in base64.
    Bytes(String),
    /// The last line.
    End(super::End),
}

/// A table and its columns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TableLine {
    pub(super) name: String,
    pub(super) columns: Vec<Column>,
    /// The column that counts by itself, and the number it gives next.
    pub(super) next: Option<(String, i64)>,
}

/// A folder below the home.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FolderLine {
    pub(super) path: String,
}

/// A file below the home.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileLine {
    pub(super) path: String,
    /// The rights of its owner, group and others, as a number.
    pub(super) mode: u32,
    pub(super) bytes: u64,
}

/// One row as text, without a line end.
pub(super) fn encode_row(values: &[Value]) -> Result<String, serde_json::Error> {
    let cells: Vec<Json> = values.iter().map(encode).collect();
    serde_json::to_string(&cells)
}

fn encode(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Int(int) => Json::from(*int),
        // JSON has no infinities and no NaN; they go as words. SQLite stores no negative zero.
        Value::Real(real) => serde_json::Number::from_f64(*real + 0.0)
            .map_or_else(|| Json::from(real.to_string()), Json::Number),
        Value::Text(text) => Json::from(text.as_str()),
        Value::Bytes(bytes) => Json::from(STANDARD.encode(bytes)),
    }
}

/// The values of a row of these columns; the error says what is wrong with it.
pub(super) fn decode_row(line: &str, columns: &[Column]) -> Result<Vec<Value>, String> {
    let cells: Vec<Json> = serde_json::from_str(line).map_err(|error| error.to_string())?;
    if cells.len() != columns.len() {
        return Err(format!(
            "{} values for {} columns",
            cells.len(),
            columns.len()
        ));
    }
    cells
        .into_iter()
        .zip(columns)
        .map(|(cell, column)| {
            decode(cell, column.kind).ok_or_else(|| {
                format!(
                    "the value of {} is not of type {:?}",
                    column.name, column.kind
                )
            })
        })
        .collect()
}

fn decode(cell: Json, kind: ColumnKind) -> Option<Value> {
    Some(match (cell, kind) {
        (Json::Null, _) => Value::Null,
        (Json::Number(number), ColumnKind::Integer) => Value::Int(number.as_i64()?),
        (Json::Number(number), ColumnKind::Real) => Value::Real(number.as_f64()?),
        (Json::String(word), ColumnKind::Real) => Value::Real(word.parse().ok()?),
        (Json::String(text), ColumnKind::Text) => Value::Text(text),
        (Json::String(text), ColumnKind::Bytes) => Value::Bytes(STANDARD.decode(text).ok()?),
        (
            Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Array(_) | Json::Object(_),
            _,
        ) => {
            return None;
        }
    })
}

pub(super) fn encode_bytes(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

pub(super) fn decode_bytes(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: Value, kind: ColumnKind, text: &str) {
        let column = Column {
            name: "x".to_owned(),
            kind,
        };
        let line = encode_row(std::slice::from_ref(&value)).unwrap();
        assert_eq!(line, text);
        let back = decode_row(&line, &[column]).unwrap();
        assert_eq!(format!("{back:?}"), format!("{:?}", [value]));
    }

    #[test]
    fn every_value_reads_back_exactly() {
        use ColumnKind::{Bytes, Integer, Real, Text};
        for kind in [Integer, Real, Text, Bytes] {
            check(Value::Null, kind, "[null]");
        }
        check(Value::Int(i64::MAX), Integer, "[9223372036854775807]");
        check(Value::Int(i64::MIN), Integer, "[-9223372036854775808]");
        check(Value::Real(0.1), Real, "[0.1]");
        check(Value::Real(5e-324), Real, "[5e-324]");
        check(Value::Real(f64::NEG_INFINITY), Real, "[\"-inf\"]");
        check(Value::Real(f64::NAN), Real, "[\"NaN\"]");
        check(
            Value::Text("a\0b\n\u{2028}\u{1f41d}".to_owned()),
            Text,
            "[\"a\\u0000b\\n\u{2028}\u{1f41d}\"]",
        );
        check(Value::Bytes(vec![0, 255, 10]), Bytes, "[\"AP8K\"]");
        check(Value::Bytes(Vec::new()), Bytes, "[\"\"]");
    }

    #[test]
    fn a_negative_zero_is_a_zero() {
        let line = encode_row(&[Value::Real(-0.0)]).unwrap();
        assert_eq!(line, "[0.0]");
    }

    #[test]
    fn a_value_of_another_type_is_refused() {
        let column = |kind| Column {
            name: "x".to_owned(),
            kind,
        };
        for (line, kind) in [
            ("[1.5]", ColumnKind::Integer),
            ("[9223372036854775808]", ColumnKind::Integer),
            ("[true]", ColumnKind::Integer),
            ("[1]", ColumnKind::Text),
            ("[\"%\"]", ColumnKind::Bytes),
            ("[1,2]", ColumnKind::Integer),
            ("[1", ColumnKind::Integer),
        ] {
            assert!(decode_row(line, &[column(kind)]).is_err(), "{line}");
        }
    }
}
