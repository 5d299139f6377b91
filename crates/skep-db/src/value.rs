//! Values that both engines hold alike: 64-bit integers, doubles, text and bytes.
//!
//! Truth values are the integers 0 and 1 in both engines.

use crate::DbError;
use std::sync::Arc;

/// One value of a row or a parameter.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// SQL NULL.
    Null,
    /// BIGINT / INTEGER.
    Int(i64),
    /// DOUBLE PRECISION / REAL.
    Real(f64),
    /// TEXT.
    Text(String),
    /// BYTEA / BLOB.
    Bytes(Vec<u8>),
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}
impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Int(i64::from(value))
    }
}
impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Real(value)
    }
}
impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}
impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}
impl From<&String> for Value {
    fn from(value: &String) -> Self {
        Self::Text(value.clone())
    }
}
impl From<Vec<u8>> for Value {
    fn from(value: Vec<u8>) -> Self {
        Self::Bytes(value)
    }
}
impl From<&[u8]> for Value {
    fn from(value: &[u8]) -> Self {
        Self::Bytes(value.to_vec())
    }
}
impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// A type that a column can be read as.
pub trait FromValue: Sized {
    /// Reads the value; the error names what was found.
    fn from_value(value: &Value) -> Result<Self, &'static str>;
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Int(_) => "an integer",
        Value::Real(_) => "a double",
        Value::Text(_) => "text",
        Value::Bytes(_) => "bytes",
    }
}

macro_rules! from_value {
    ($($type:ty: $variant:ident),+) => {$(
        impl FromValue for $type {
            fn from_value(value: &Value) -> Result<Self, &'static str> {
                match value {
                    Value::$variant(inner) => Ok(inner.clone()),
                    other => Err(kind(other)),
                }
            }
        }
    )+};
}

from_value!(i64: Int, f64: Real, String: Text, Vec<u8>: Bytes);

impl FromValue for bool {
    fn from_value(value: &Value) -> Result<Self, &'static str> {
        i64::from_value(value).map(|int| int != 0)
    }
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: &Value) -> Result<Self, &'static str> {
        match value {
            Value::Null => Ok(None),
            Value::Int(_) | Value::Real(_) | Value::Text(_) | Value::Bytes(_) => {
                T::from_value(value).map(Some)
            }
        }
    }
}

/// The names of an answer's columns, shared by all answers to one statement.
pub(crate) type ColumnNames = Arc<[String]>;

/// One row of an answer.
#[derive(Debug, Clone)]
pub struct Row {
    pub(crate) columns: ColumnNames,
    pub(crate) values: Vec<Value>,
}

impl Row {
    /// The column called `name`.
    pub fn get<T: FromValue>(&self, name: &str) -> Result<T, DbError> {
        let value = self
            .columns
            .iter()
            .position(|c| c == name)
            .map(|i| &self.values[i]);
        let Some(value) = value else {
            return Err(DbError::Column {
                column: name.to_owned(),
                found: "no such column",
            });
        };
        T::from_value(value).map_err(|found| DbError::Column {
            column: name.to_owned(),
            found,
        })
    }

    /// The column called `name`, read from its text form, as with ids and states.
    pub fn parse<T>(&self, name: &str) -> Result<T, DbError>
    where
        T: std::str::FromStr,
    {
        let text: String = self.get(name)?;
        text.parse().map_err(|_| DbError::Column {
            column: name.to_owned(),
            found: "an unknown word",
        })
    }

    /// As [`Row::parse`], where NULL is `None`.
    pub fn parse_opt<T>(&self, name: &str) -> Result<Option<T>, DbError>
    where
        T: std::str::FromStr,
    {
        match self.get::<Option<String>>(name)? {
            None => Ok(None),
            Some(text) => text.parse().map(Some).map_err(|_| DbError::Column {
                column: name.to_owned(),
                found: "an unknown word",
            }),
        }
    }

    /// Every value, in the order of the columns.
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// The column names, in order.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }
}

/// The parameters of a statement: `params![a, b]` is `&[Value; 2]`.
#[macro_export]
macro_rules! params {
    ($($value:expr),* $(,)?) => { &[$($crate::Value::from($value)),*] };
}
