//! The route table as an OpenAPI 3.1 description, committed at `openapi/skep.json` and served.

use crate::describe::{Describe as _, SchemaBook};
use crate::document::ErrorDocument;
use crate::route::{Access, Answer, Place, ROUTES, Route, Verb};
use serde_json::{Map, Value, json};

/// The description of the whole API.
pub fn openapi(version: &str) -> Value {
    let mut book = SchemaBook::default();
    let mut paths = Map::new();
    for route in ROUTES {
        let verb = route.verb.as_str().to_ascii_lowercase();
        let operation = operation(route, &mut book);
        let path = paths
            .entry(route.path)
            .or_insert_with(|| Value::Object(Map::new()));
        path[verb] = operation;
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Skep",
            "version": version,
            "description": "The local API of one Skep home. Amounts are millionths of a US dollar, times are milliseconds since 1970 UTC. The gateway routes under /v1 follow the model vendors' own descriptions and take a virtual key instead of the token.",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "http://127.0.0.1:7575" }],
        "security": [{ "token": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer", "description": "The content of the file `token` in the home." },
            },
            "schemas": book.into_components(),
        },
    })
}

fn operation(route: &Route, book: &mut SchemaBook) -> Value {
    let mut operation = json!({
        "operationId": route.operation.as_str(),
        "summary": route.summary,
    });
    if route.access == Access::Open {
        operation["security"] = json!([]);
    }
    if !route.parameters.is_empty() {
        operation["parameters"] = route
            .parameters
            .iter()
            .map(|parameter| {
                json!({
                    "name": parameter.name,
                    "in": match parameter.place {
                        Place::Path => "path",
                        Place::Query => "query",
                        Place::Header => "header",
                    },
                    "required": parameter.place == Place::Path,
                    "description": parameter.about,
                    "schema": parameter.shape.schema(book),
                })
            })
            .collect();
    }
    if let Some(request) = route.request {
        operation["requestBody"] = json!({
            "required": true,
            "content": { "application/json": { "schema": request.schema(book) } },
        });
    }
    operation["responses"] = responses(route, book);
    operation
}

fn responses(route: &Route, book: &mut SchemaBook) -> Value {
    let content = match route.answer {
        Answer::Json(document) => {
            json!({ "application/json": { "schema": document.schema(book) } })
        }
        Answer::Text(media_type) => json!({ media_type: { "schema": { "type": "string" } } }),
        Answer::JsonOrEvents(document) => {
            let item = document.schema(book);
            json!({
                "application/json": { "schema": {
                    "type": "object",
                    "properties": {
                        "items": { "type": "array", "items": item },
                        "next_cursor": { "type": ["string", "null"] },
                    },
                    "required": ["items", "next_cursor"],
                } },
                "text/event-stream": { "schema": { "type": "string", "description": "`id` is the sequence number, `event` the kind, `data` the event as one line of JSON." } },
            })
        }
    };
    let mut responses = Map::new();
    responses.insert(
        "200".to_owned(),
        json!({ "description": "As asked for.", "content": content }),
    );
    for (status, description) in refusals(route) {
        let schema = ErrorDocument::describe(book);
        responses.insert(
            status.to_owned(),
            json!({ "description": description, "content": { "application/json": { "schema": schema } } }),
        );
    }
    Value::Object(responses)
}

/// Which errors a route has; the status carries the exit code of the command line.
fn refusals(route: &Route) -> Vec<(&'static str, &'static str)> {
    let mut refusals = Vec::new();
    if !route.parameters.is_empty() || route.request.is_some() {
        refusals.push(("400", "The request cannot be carried out as it stands."));
    }
    if route.access == Access::Token {
        refusals.push(("401", "The token is missing or wrong."));
    }
    refusals.push((
        "403",
        "A policy forbids it, or the Host or Origin is not the server's own.",
    ));
    if route.parameters.iter().any(|p| p.place == Place::Path) {
        refusals.push(("404", "There is no such thing."));
    }
    if route.verb == Verb::Post {
        refusals.push(("409", "It is not in a state that allows it."));
    }
    refusals.push((
        "503",
        "The server, or a part it needs, is not able to answer now.",
    ));
    refusals
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{ErrorBody, JobSubmitted, JobView};
    use serde::{Serialize, de::DeserializeOwned};
    use std::collections::BTreeSet;

    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(reference)) = fields.get("$ref") {
                    found.insert(reference.clone());
                }
                fields.values().for_each(|field| references(field, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    #[test]
    fn every_reference_leads_to_a_schema() {
        let description = openapi("1.2.3");
        let mut found = BTreeSet::new();
        references(&description, &mut found);
        assert!(found.len() > 20, "{found:?}");
        for reference in found {
            let schema = description.pointer(reference.trim_start_matches('#'));
            assert!(schema.is_some_and(Value::is_object), "{reference}");
        }
    }

    /// Reads a document, prints it again, and holds the printed fields against its schema.
    fn check<T: Serialize + DeserializeOwned>(name: &str, document: Value, absent: &[&str]) {
        let read: T = serde_json::from_value(document).unwrap_or_else(|e| panic!("{name}: {e}"));
        let printed = serde_json::to_value(&read).expect("a document prints");
        let schema = &openapi("1.2.3")["components"]["schemas"][name];
        let keys = |value: &Value| -> BTreeSet<String> {
            value.as_object().expect(name).keys().cloned().collect()
        };
        let mut expected = keys(&schema["properties"]);
        for key in absent {
            assert!(expected.remove(*key), "{name} has no {key}");
        }
        assert_eq!(keys(&printed), expected, "{name}");
        for key in schema["required"].as_array().expect(name) {
            assert!(
                printed.get(key.as_str().expect(name)).is_some(),
                "{name}: {key}"
            );
        }
    }

    const JOB: &str = "job_01jgfjjz000000000000000000";

    #[test]
    fn printed_documents_have_the_fields_of_their_schemas() {
        check::<JobSubmitted>(
            "JobSubmitted",
            json!({ "id": JOB, "number": 1, "state": "queued" }),
            &["warnings"],
        );
        check::<ErrorBody>(
            "ErrorBody",
            json!({ "code": "c", "message": "m", "exit": 3 }),
            &[],
        );
        check::<JobView>(
            "JobView",
            json!({
                "id": JOB, "number": 1, "kind": "agent", "purpose": "requested", "state": "done",
                "instruction": "x", "scope": [], "role": "builder", "tier": "sensitive",
                "worker": "w", "owner": "o", "project": "p", "checks": [], "gate": "G1",
                "waivers": [], "created_at": 1, "cost_micro_usd": 0, "unconfirmed_micro_usd": 0,
                "tokens": { "input": 0, "cache_read": 0, "cache_write": 0, "output": 0 },
                "attempts": [], "verdicts": [], "reviews": [],
                "landing": { "state": "none" }, "delivery": { "state": "pending" },
            }),
            &["call", "shell"],
        );
    }
}
