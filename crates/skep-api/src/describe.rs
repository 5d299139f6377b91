//! JSON Schema (draft 2020-12) for the documents, by a table that the compiler holds against the
//! types: a field that is missing from a table, or has another type there, does not compile.
//!
//! What the compiler cannot see (serde attributes) is held by tests over serialised examples.

use serde_json::{Map, Value, json};
use skep_types::{
    AlarmKind, AttemptId, AttemptState, CatchUp, ContractStatus, DeadReason, DeliveryState,
    EdgeWhen, FailureClass, Fence, FindingOutcome, FiringCause, FiringState, Gate, JobId, JobKind,
    JobState, LandingState, MicroUsd, Overlap, Purpose, ResultContract, Role, ScheduleId,
    ScheduleState, SlotShift, Tier, Verdict,
};
use std::collections::BTreeMap;

/// Where a reference to a document leads, in an OpenAPI file.
const COMPONENTS: &str = "#/components/schemas/";

/// The documents that were described so far, by name.
#[derive(Debug, Default)]
pub struct SchemaBook(BTreeMap<&'static str, Value>);

impl SchemaBook {
    /// The schemas by name.
    pub fn into_components(self) -> Map<String, Value> {
        self.0
            .into_iter()
            .map(|(name, schema)| (name.to_owned(), schema))
            .collect()
    }

    /// A reference to the document `name`, which `schema` describes if it is not yet known.
    pub(crate) fn refer(
        &mut self,
        name: &'static str,
        schema: impl FnOnce(&mut Self) -> Value,
    ) -> Value {
        if !self.0.contains_key(name) {
            // Entered before it is described, so that a document may contain itself.
            self.0.insert(name, Value::Null);
            let schema = schema(self);
            self.0.insert(name, schema);
        }
        json!({ "$ref": format!("{COMPONENTS}{name}") })
    }
}

/// A type that has a schema.
pub trait Describe {
    /// What stands where a value of this type stands: a reference for a document, the schema
    /// itself for a word or a number.
    fn describe(book: &mut SchemaBook) -> Value;
}

/// One document of the route table.
#[derive(Debug, Clone, Copy)]
pub struct Document(fn(&mut SchemaBook) -> Value);

impl Document {
    /// The document that `T` is.
    pub const fn of<T: Describe>() -> Self {
        Self(T::describe)
    }

    /// Its schema; what it contains goes into `book`.
    pub fn schema(self, book: &mut SchemaBook) -> Value {
        (self.0)(book)
    }
}

/// Describes a struct. `always` fields are in every document, `sometimes` fields may be absent,
/// `hidden` fields are never printed. The closure below the schema is never called: it is there so
/// that the compiler compares the table with the type.
macro_rules! describe {
    ($name:ident, $about:literal,
        always { $($always:ident: $always_type:ty),* $(,)? }
        $(sometimes { $($some:ident: $some_type:ty),* $(,)? })?
        $(hidden { $($hidden:ident),* $(,)? })?
    ) => {
        impl $crate::describe::Describe for $name {
            fn describe(book: &mut $crate::describe::SchemaBook) -> serde_json::Value {
                const _: fn(&$name) = |$name { $($always,)* $($($some,)*)? $($($hidden: _,)*)? }| {
                    $(let _: &$always_type = $always;)*
                    $($(let _: &$some_type = $some;)*)?
                };
                book.refer(stringify!($name), |book| {
                    $crate::describe::object(
                        $about,
                        vec![
                            $((stringify!($always), <$always_type as $crate::describe::Describe>::describe(book), true),)*
                            $($((stringify!($some), <$some_type as $crate::describe::Describe>::describe(book), false),)*)?
                        ],
                    )
                })
            }
        }
    };
}

pub(crate) use describe;

/// The schema of an object: fields as name, schema, whether always present.
pub(crate) fn object(about: &str, fields: Vec<(&'static str, Value, bool)>) -> Value {
    let mut required = Vec::new();
    let mut properties = Map::new();
    for (name, schema, always) in fields {
        if always {
            required.push(name);
        }
        properties.insert(name.to_owned(), schema);
    }
    let mut object = Map::new();
    object.insert("type".to_owned(), json!("object"));
    object.insert("description".to_owned(), json!(about));
    object.insert("properties".to_owned(), Value::Object(properties));
    if !required.is_empty() {
        object.insert("required".to_owned(), json!(required));
    }
    Value::Object(object)
}

macro_rules! describe_plainly {
    ($($name:ty => $schema:expr),+ $(,)?) => {
        $(impl Describe for $name {
            fn describe(_: &mut SchemaBook) -> Value { $schema }
        })+
    };
}

macro_rules! describe_words {
    ($($name:ident),+ $(,)?) => {
        $(impl Describe for $name {
            fn describe(book: &mut SchemaBook) -> Value {
                book.refer(stringify!($name), |_| json!({ "type": "string", "enum": $name::WORDS }))
            }
        })+
    };
}

describe_plainly! {
    String => json!({ "type": "string" }),
    bool => json!({ "type": "boolean" }),
    i64 => json!({ "type": "integer", "format": "int64" }),
    f64 => json!({ "type": "number", "format": "double" }),
    Value => json!({}),
    MicroUsd => json!({ "type": "integer", "format": "int64", "description": "millionths of a US dollar" }),
    Fence => json!({ "type": "integer", "format": "int64" }),
    JobId => id_schema(JobId::PREFIX),
    AttemptId => attempt_id_schema(),
    ScheduleId => id_schema(ScheduleId::PREFIX),
}

describe_words! {
    AlarmKind, AttemptState, CatchUp, ContractStatus, DeadReason, DeliveryState, EdgeWhen, FailureClass, FindingOutcome, FiringCause, FiringState, Gate, JobKind, JobState, LandingState, Overlap, Purpose, Role, ScheduleState, SlotShift, Tier, Verdict,
}

fn id_schema(prefix: &str) -> Value {
    // Crockford base32 in lower case: no i, l, o, u.
    json!({ "type": "string", "pattern": format!("^{prefix}[0-9a-hjkmnp-tv-z]{{26}}$") })
}

/// An attempt's id is a job's and a fence.
fn attempt_id_schema() -> Value {
    let prefix = AttemptId::PREFIX;
    json!({
        "type": "string",
        "pattern": format!("^{prefix}[0-9a-hjkmnp-tv-z]{{26}}_[1-9][0-9]*$")
    })
}

impl Describe for ResultContract {
    fn describe(book: &mut SchemaBook) -> Value {
        book.refer("ResultContract", |_| {
            let mut schema = Self::json_schema();
            if let Some(fields) = schema.as_object_mut() {
                // The dialect is declared once, by the file that the schema becomes a part of.
                fields.remove("$schema");
            }
            schema
        })
    }
}

impl<T: Describe> Describe for Vec<T> {
    fn describe(book: &mut SchemaBook) -> Value {
        json!({ "type": "array", "items": T::describe(book) })
    }
}

impl<T: Describe> Describe for Option<T> {
    fn describe(book: &mut SchemaBook) -> Value {
        let mut schema = T::describe(book);
        if let Some(kind) = schema.get_mut("type")
            && kind.is_string()
        {
            let word = kind.take();
            *kind = json!([word, "null"]);
            return schema;
        }
        json!({ "anyOf": [schema, { "type": "null" }] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_optional_value_may_be_null_in_both_notations() {
        let mut book = SchemaBook::default();
        assert_eq!(
            Option::<String>::describe(&mut book),
            json!({ "type": ["string", "null"] })
        );
        assert_eq!(
            Option::<JobState>::describe(&mut book)["anyOf"][1],
            json!({ "type": "null" })
        );
        assert!(book.into_components().contains_key("JobState"));
    }
}
