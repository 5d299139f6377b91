//! The route table: every route of the server except the gateway's, which belong to the model
//! vendors. The server mounts from it, `openapi` describes from it, the access tests walk it.

mod operation;
mod parameter;
mod table;

pub use operation::Operation;
pub use table::ROUTES;

use crate::describe::Document;
use crate::document::JobSubmitted;

/// The verb of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Reads.
    Get,
    /// Changes.
    Post,
}

impl Verb {
    /// The verb as HTTP spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
        }
    }
}

/// Who may call a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody who reaches the server under one of its own names.
    Open,
    /// Holders of the local token, and the home's owner over its socket.
    Token,
}

/// Where a parameter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the path.
    Path,
    /// In the query.
    Query,
    /// In a header.
    Header,
}

/// One parameter.
#[derive(Debug, Clone, Copy)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// Where it stands.
    pub place: Place,
    /// The shape of its value.
    pub shape: Document,
    /// What it does.
    pub about: &'static str,
}

/// What a route answers with status 200.
#[derive(Debug, Clone, Copy)]
pub enum Answer {
    /// One JSON document.
    Json(Document),
    /// A JSON page of documents, or the same documents as server-sent events.
    JsonOrEvents(Document),
    /// Text of this media type.
    Text(&'static str),
}

/// One route.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// The verb.
    pub verb: Verb,
    /// The path, with parameters in braces.
    pub path: &'static str,
    /// What it does.
    pub operation: Operation,
    /// What it does, in one line.
    pub summary: &'static str,
    /// Who may call it.
    pub access: Access,
    /// What it takes besides a body.
    pub parameters: &'static [Parameter],
    /// The body it takes.
    pub request: Option<Document>,
    /// What it answers.
    pub answer: Answer,
}

impl Route {
    const fn get(
        operation: Operation,
        path: &'static str,
        summary: &'static str,
        answer: Answer,
    ) -> Self {
        Self {
            verb: Verb::Get,
            path,
            operation,
            summary,
            access: Access::Token,
            parameters: &[],
            request: None,
            answer,
        }
    }

    const fn post(
        operation: Operation,
        path: &'static str,
        summary: &'static str,
        request: Option<Document>,
    ) -> Self {
        Self {
            verb: Verb::Post,
            request,
            ..Self::get(
                operation,
                path,
                summary,
                Answer::Json(Document::of::<JobSubmitted>()),
            )
        }
    }

    const fn answering(self, answer: Answer) -> Self {
        Self { answer, ..self }
    }

    const fn open(self) -> Self {
        Self {
            access: Access::Open,
            ..self
        }
    }

    const fn with(self, parameters: &'static [Parameter]) -> Self {
        Self { parameters, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_stands_once_and_names_its_parameters() {
        for (place, route) in ROUTES.iter().enumerate() {
            for other in &ROUTES[place + 1..] {
                assert_ne!(route.operation, other.operation);
                assert_ne!(
                    (route.verb.as_str(), route.path),
                    (other.verb.as_str(), other.path)
                );
            }
            let named = route.path.matches('{').count();
            let listed = route
                .parameters
                .iter()
                .filter(|p| p.place == Place::Path)
                .count();
            assert_eq!(named, listed, "{}", route.path);
            for parameter in route.parameters.iter().filter(|p| p.place == Place::Path) {
                assert!(
                    route.path.contains(&format!("{{{}}}", parameter.name)),
                    "{}",
                    route.path
                );
            }
        }
    }

    #[test]
    fn only_the_two_health_routes_are_open() {
        let open: Vec<_> = ROUTES
            .iter()
            .filter(|r| r.access == Access::Open)
            .map(|r| r.path)
            .collect();
        assert_eq!(open, ["/healthz", "/readyz"]);
    }
}
