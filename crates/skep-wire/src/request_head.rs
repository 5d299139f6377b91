//! What a gateway must know of a Messages request before it forwards the body untouched.
//!
//! One pass over the bytes; no document is built and nothing is copied but a few short strings.
//! Invariant: two readers of one body cannot disagree about it. Duplicate keys where something is
//! read, wrong types, trailing bytes and nesting beyond the parser's 128 levels are errors, so a
//! body that the upstream might understand differently is never forwarded.
//!
//! Fields: the vendor's API reference, "Create a Message", with its beta parameters.

use crate::limits::MODEL_NAME_BYTES_MAX;
use crate::request_walk::{Facts, Root};
use serde::de::Deserializer as _;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

/// The head of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHead {
    /// The model that is asked for.
    pub model: String,
    /// Where the model's string literal stands in the body, quotes included; for [`rewrite_model`].
    pub model_span: Range<usize>,
    /// Whether the answer is to be an event stream.
    pub stream: bool,
    /// The cap on output tokens; a count request has none.
    pub max_tokens: Option<i64>,
    /// Inline images. A small file can cost thousands of tokens, so each needs an allowance of its own.
    pub inline_images: u32,
    /// Everything whose cost the bytes of the body do not bound, without repetition.
    pub unbounded: BTreeSet<Unbounded>,
    /// The `service_tier` that is asked for; it may change the price.
    pub service_tier: Option<String>,
    /// The `speed` that is asked for; it may change the price.
    pub speed: Option<String>,
    /// The `inference_geo` that is asked for; it may change the price.
    pub inference_geo: Option<String>,
}

/// A part of a request whose cost the bytes of the body do not bound.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unbounded {
    /// An image or document that the vendor fetches.
    UrlSource,
    /// A file stored at the vendor.
    StoredFile,
    /// An inline PDF: each page is read as text and as an image, and pages may share their bytes.
    Pdf,
    /// A source of a type that is not known here.
    UnknownSource(String),
    /// A tool that runs at the vendor, by its type: fees of its own and inner model turns.
    ServerTool(String),
    /// Tools of remote servers, called from the vendor's side.
    McpServers,
    /// A container at the vendor.
    Container,
    /// A summary written by the vendor, which is a model call of its own.
    Compaction,
    /// Other models that may answer instead.
    Fallbacks,
    /// History that is stored at the vendor.
    Thread,
}

impl Unbounded {
    /// Whether the model's context window still bounds the input: the part adds input to this one
    /// model call and nothing else.
    pub const fn is_within_context_window(&self) -> bool {
        match self {
            Self::UrlSource | Self::StoredFile | Self::Pdf | Self::Thread => true,
            Self::UnknownSource(_)
            | Self::ServerTool(_)
            | Self::McpServers
            | Self::Container
            | Self::Compaction
            | Self::Fallbacks => false,
        }
    }
}

impl fmt::Display for Unbounded {
    /// Completes "the request holds …".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UrlSource => f.write_str("a source given by URL"),
            Self::StoredFile => f.write_str("a file stored at the provider"),
            Self::Pdf => f.write_str("a PDF document"),
            Self::UnknownSource(kind) => write!(f, "a source of the unknown type `{kind}`"),
            Self::ServerTool(kind) => write!(f, "the provider-side tool `{kind}`"),
            Self::McpServers => f.write_str("`mcp_servers`"),
            Self::Container => f.write_str("a `container`"),
            Self::Compaction => f.write_str("provider-side compaction"),
            Self::Fallbacks => f.write_str("`fallbacks` to other models"),
            Self::Thread => f.write_str("a `thread` stored at the provider"),
        }
    }
}

/// Why a body is not a request that can be forwarded.
#[derive(Debug, thiserror::Error)]
pub enum RequestHeadError {
    /// Not JSON, not an object, a wrong type, a duplicate key, or nested too deeply.
    #[error("request body is malformed")]
    Malformed(#[source] serde_json::Error),
    /// There is no `model`.
    #[error("request body has no `model`")]
    NoModel,
    /// The `model` is empty or longer than any model's name.
    #[error("`model` is empty or longer than {max} bytes")]
    ModelName {
        /// The limit in bytes.
        max: usize,
    },
}

/// Reads the head of the Messages request `body`.
///
/// # Errors
/// The body is no object of the expected types, or names no model.
pub fn read_head(body: &[u8]) -> Result<RequestHead, RequestHeadError> {
    let mut facts = Facts::default();
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let root = Root {
        body,
        facts: &mut facts,
    };
    deserializer
        .deserialize_map(root)
        .and_then(|()| deserializer.end())
        .map_err(RequestHeadError::Malformed)?;
    let (model, model_span) = facts.model.ok_or(RequestHeadError::NoModel)?;
    if model.is_empty() || model.len() > MODEL_NAME_BYTES_MAX {
        return Err(RequestHeadError::ModelName {
            max: MODEL_NAME_BYTES_MAX,
        });
    }
    Ok(RequestHead {
        model,
        model_span,
        stream: facts.stream,
        max_tokens: facts.max_tokens,
        inline_images: facts.inline_images,
        unbounded: facts.unbounded,
        service_tier: facts.service_tier,
        speed: facts.speed,
        inference_geo: facts.inference_geo,
    })
}

/// `body` with the string literal at `span` (as in [`RequestHead::model_span`]) replaced by `new`;
/// every other byte stays.
pub fn rewrite_model(body: &[u8], span: Range<usize>, new: &str) -> Vec<u8> {
    let literal = serde_json::Value::from(new).to_string();
    let mut rewritten = Vec::with_capacity(body.len() - span.len() + literal.len());
    rewritten.extend_from_slice(&body[..span.start]);
    rewritten.extend_from_slice(literal.as_bytes());
    rewritten.extend_from_slice(&body[span.end..]);
    rewritten
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(body: &str) -> RequestHead {
        read_head(body.as_bytes()).unwrap_or_else(|error| panic!("{body}: {error:?}"))
    }

    #[test]
    fn the_head_is_read_whatever_the_order_and_spacing() {
        let body = "{ \"messages\" : [], \"max_tokens\":7,\n\"stream\" : true, \"m\\u006fdel\" :\t\"stub\\u002dlarge\" }";
        let head = head(body);
        assert_eq!(head.model, "stub-large");
        assert_eq!(&body[head.model_span.clone()], "\"stub\\u002dlarge\"");
        assert!(head.stream);
        assert_eq!(head.max_tokens, Some(7));
        assert!(head.unbounded.is_empty());
        let rewritten = rewrite_model(body.as_bytes(), head.model_span, "new \"name\"");
        let rewritten = String::from_utf8(rewritten).unwrap();
        assert_eq!(
            rewritten,
            body.replace("\"stub\\u002dlarge\"", "\"new \\\"name\\\"\"")
        );
        assert_eq!(
            read_head(rewritten.as_bytes()).unwrap().model,
            "new \"name\""
        );
    }

    #[test]
    fn what_prices_depend_on_is_read() {
        let head = head(
            r#"{"model":"m","service_tier":"auto","speed":"fast","inference_geo":"us","stream":false}"#,
        );
        assert_eq!(head.service_tier.as_deref(), Some("auto"));
        assert_eq!(head.speed.as_deref(), Some("fast"));
        assert_eq!(head.inference_geo.as_deref(), Some("us"));
        assert_eq!((head.stream, head.max_tokens), (false, None));
    }

    fn check_unbounded(fields: &str, expected: &[Unbounded], images: u32) {
        let body = format!(r#"{{"model":"m",{fields}}}"#);
        let head = head(&body);
        let found: Vec<_> = head.unbounded.into_iter().collect();
        assert_eq!(found, expected, "{fields}");
        assert_eq!(head.inline_images, images, "{fields}");
    }

    fn in_a_message(block: &str) -> String {
        format!(r#""messages":[{{"role":"user","content":[{block}]}}]"#)
    }

    #[test]
    fn what_the_bytes_do_not_bound_is_named() {
        use Unbounded::*;
        let check = |block: &str, expected: &[Unbounded], images: u32| {
            check_unbounded(&in_a_message(block), expected, images);
            let nested =
                format!(r#"{{"content":[{block}],"type":"tool_result","tool_use_id":"t"}}"#);
            check_unbounded(&in_a_message(&nested), expected, images);
        };
        check(r#"{"type":"text","text":"source url file"}"#, &[], 0);
        check(
            r#"{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AA=="}}"#,
            &[],
            1,
        );
        check(
            r#"{"source":{"url":"http://x","type":"url"},"type":"image"}"#,
            &[UrlSource],
            1,
        );
        check(
            r#"{"type":"document","source":{"type":"url","url":"http://x"}}"#,
            &[UrlSource],
            0,
        );
        check(
            r#"{"type":"document","source":{"type":"file","file_id":"f"}}"#,
            &[StoredFile],
            0,
        );
        check(
            r#"{"type":"document","source":{"type":"text","media_type":"text/plain","data":"x"}}"#,
            &[],
            0,
        );
        check(
            r#"{"type":"document","source":{"data":"x","media_type":"application/pdf","type":"base64"}}"#,
            &[Pdf],
            0,
        );
        check(
            r#"{"type":"document","source":{"type":"content","content":[{"type":"image","source":{"type":"url","url":"x"}}]}}"#,
            &[UrlSource],
            1,
        );
        check(
            r#"{"type":"document","source":{"type":"new"}}"#,
            &[UnknownSource("new".into())],
            0,
        );
        check(
            r#"{"type":"container_upload","file_id":"f"}"#,
            &[StoredFile, Container],
            0,
        );
        check(
            r#"{"type":"tool_use","id":"1","name":"n","input":{"type":"image","source":{"type":"url"}}}"#,
            &[],
            0,
        );
    }

    #[test]
    fn fields_and_tools_at_the_vendor_are_named() {
        use Unbounded::*;
        check_unbounded(
            r#""tools":[{"name":"a","input_schema":{"type":"object"}},{"type":"custom","name":"b"},{"type":"bash_20250124","name":"bash"}]"#,
            &[],
            0,
        );
        check_unbounded(
            r#""tools":[{"name":"s","type":"web_search_20250305"},{"type":"code_execution_20250825","name":"c"}]"#,
            &[
                ServerTool("code_execution_20250825".into()),
                ServerTool("web_search_20250305".into()),
            ],
            0,
        );
        check_unbounded(
            r#""tools":[{"type":"mcp_toolset"}],"mcp_servers":[{"type":"url"}]"#,
            &[ServerTool("mcp_toolset".into()), McpServers],
            0,
        );
        check_unbounded(
            r#""mcp_servers":[],"container":null,"fallbacks":[]"#,
            &[],
            0,
        );
        check_unbounded(r#""container":"c_1""#, &[Container], 0);
        check_unbounded(r#""container":{"skills":[]}"#, &[Container], 0);
        check_unbounded(
            r#""fallbacks":[{"model":"other"}],"thread":{"id":"t"},"compaction":{"type":"auto"}"#,
            &[Compaction, Fallbacks, Thread],
            0,
        );
        check_unbounded(
            r#""context_management":{"edits":[{"type":"clear_tool_uses_20250919"}]}"#,
            &[],
            0,
        );
        check_unbounded(
            r#""context_management":{"edits":[{"trigger":{"type":"x"},"type":"compact_20260112"}]}"#,
            &[Compaction],
            0,
        );
        check_unbounded(
            r#""system":[{"type":"text","text":"x"}],"unknown_field":{"type":7,"type":8}"#,
            &[],
            0,
        );
        assert!(UrlSource.is_within_context_window());
        assert!(!ServerTool("web_search".into()).is_within_context_window());
    }

    #[test]
    fn bodies_that_two_readers_might_read_differently_are_refused() {
        let deep = |n: usize| format!(r#"{{"model":"m","x":{}1{}}}"#, "[".repeat(n), "]".repeat(n));
        assert!(read_head(deep(100).as_bytes()).is_ok());
        for body in [
            "",
            "null",
            "[]",
            "\"model\"",
            "{",
            r#"{"model":"m"} {}"#,
            r#"{"model":"m",}"#,
            "\u{feff}{\"model\":\"m\"}",
            r#"{"model":"m","model":"n"}"#,
            r#"{"model":"m","mod\u0065l":"n"}"#,
            r#"{"model":"m","stream":true,"stream":false}"#,
            r#"{"model":"m","max_tokens":1,"max_tokens":2}"#,
            r#"{"model":"m","tools":[],"tools":[]}"#,
            r#"{"model":"m","other":1,"other":2}"#,
            r#"{"model":7}"#,
            r#"{"model":null}"#,
            r#"{"model":["m"]}"#,
            r#"{"model":"m","stream":"true"}"#,
            r#"{"model":"m","stream":null}"#,
            r#"{"model":"m","max_tokens":"7"}"#,
            r#"{"model":"m","max_tokens":7.5}"#,
            r#"{"model":"m","max_tokens":-1}"#,
            r#"{"model":"m","max_tokens":99999999999999999999}"#,
            r#"{"model":"m","speed":1}"#,
            r#"{"model":"m","tools":[{"type":"custom","type":"web_search_1"}]}"#,
            r#"{"model":"m","tools":[{"type":["web_search_1"]}]}"#,
            &deep(1_000),
            &deep(1_000_000),
        ] {
            let shown = &body[..body.len().min(80)];
            let found = read_head(body.as_bytes());
            assert!(
                matches!(found, Err(RequestHeadError::Malformed(_))),
                "{shown}: {found:?}"
            );
        }
        assert!(matches!(
            read_head(b"{\"model\":\"\xff\"}"),
            Err(RequestHeadError::Malformed(_))
        ));
        assert!(matches!(read_head(b"{}"), Err(RequestHeadError::NoModel)));
        for name in [String::new(), "m".repeat(MODEL_NAME_BYTES_MAX + 1)] {
            let body = format!(r#"{{"model":"{name}"}}"#);
            let found = read_head(body.as_bytes());
            assert!(
                matches!(found, Err(RequestHeadError::ModelName { .. })),
                "{found:?}"
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn any_model_can_be_put_in_and_nothing_else_moves(name in "\\PC{1,40}", before in "[a-z]{0,9}", space in "[ \n\t]{0,3}") {
            let body = format!(r#"{{"{before}x":[1,{{"model":"inner"}}],{space}"model"{space}:{space}"old"{space},"stream":true}}"#);
            let span = head(&body).model_span;
            let rewritten = String::from_utf8(rewrite_model(body.as_bytes(), span.clone(), &name)).unwrap();
            let found = head(&rewritten);
            proptest::prop_assert_eq!(&found.model, &name);
            proptest::prop_assert_eq!(&rewritten[..span.start], &body[..span.start]);
            proptest::prop_assert_eq!(&rewritten[found.model_span.end..], &body[span.end..]);
        }

        #[test]
        fn no_bytes_bring_it_down(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..60), at in 0_usize..200) {
            let _ = read_head(&bytes);
            let mut body = br#"{"model":"m","messages":[{"role":"user","content":[{"type":"image","source":{"type":"url"}}]}],"tools":[{"type":"x"}]}"#.to_vec();
            let at = at.min(body.len());
            body.splice(at..at, bytes);
            if let Ok(head) = read_head(&body) {
                proptest::prop_assert!(body[head.model_span].starts_with(b"\""));
            }
        }
    }
}
