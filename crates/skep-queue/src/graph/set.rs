//! Sets of ids and rows as one parameter, so that a statement is one text however many there are.

use serde::Serialize;
use skep_db::{Engine, Value};

/// The ids of parameter `?1`, for `IN`.
pub(super) const fn ids(engine: Engine) -> &'static str {
    match engine {
        Engine::Sqlite => "(SELECT value FROM json_each(?1))",
        Engine::Postgres => "(SELECT jsonb_array_elements_text(CAST(CAST(?1 AS TEXT) AS jsonb)))",
    }
}

/// The rows of parameter `?1`, for `FROM`: `x.value->>'field'` is a field.
pub(super) const fn rows(engine: Engine) -> &'static str {
    match engine {
        Engine::Sqlite => "json_each(?1) AS x",
        Engine::Postgres => "jsonb_array_elements(CAST(CAST(?1 AS TEXT) AS jsonb)) AS x(value)",
    }
}

/// The parameter for [`ids`] or [`rows`]. What is written are texts and integers, which always
/// have a form in JSON.
pub(super) fn list<T: Serialize>(items: &[T]) -> Value {
    serde_json::to_string(items).unwrap_or_default().into()
}
