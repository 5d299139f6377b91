//! Which headers pass, in both directions.
//!
//! Headers are an open list: everything passes but what belongs to one connection, what would
//! hide the answer from the meter, and credentials. Invariant: a virtual key never reaches a
//! provider and a provider's key never reaches a client.

use crate::limits::{HEADER_BYTES_MAX, HEADERS_MAX};
use http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, SET_COOKIE,
    TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use skep_stdx::Secret;

/// The header of the virtual key where a client's own credential travels in the usual one.
const SKEP_KEY: &str = "x-skep-key";
const API_KEY: &str = "x-api-key";
const GOOGLE_KEY: &str = "x-goog-api-key";
/// Headers that only this gateway gives or takes.
const OWN_PREFIX: &str = "x-skep-";

/// Headers that belong to one connection (RFC 9110, section 7.6.1).
fn is_hop_by_hop(name: &HeaderName) -> bool {
    [CONNECTION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE].contains(name)
        || [
            "keep-alive",
            "proxy-authenticate",
            "proxy-authorization",
            "proxy-connection",
        ]
        .contains(&name.as_str())
}

/// Header names that the message's own `connection` header declares to be of one connection.
fn declared(headers: &HeaderMap) -> Vec<String> {
    headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect()
}

/// Whether a request's headers are more than any client sends.
pub(crate) fn are_too_large(headers: &HeaderMap) -> bool {
    let bytes: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    headers.len() > HEADERS_MAX || bytes > HEADER_BYTES_MAX
}

/// The credential that a request presents.
pub(crate) fn credential(headers: &HeaderMap) -> Option<Secret> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = || {
        let (scheme, token) = text(AUTHORIZATION.as_str())?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    };
    text(SKEP_KEY)
        .or_else(|| text(API_KEY).filter(|key| !key.is_empty()))
        .or_else(bearer)
        .map(Secret::new)
}

/// The values of every `anthropic-beta` header, joined by commas.
pub(crate) fn betas(headers: &HeaderMap) -> String {
    let values = headers.get_all("anthropic-beta").iter();
    let texts: Vec<&str> = values.filter_map(|value| value.to_str().ok()).collect();
    texts.join(",")
}

/// What of a request's headers goes to the provider, with `api_key` in the credential's place.
pub(crate) fn to_provider(headers: &HeaderMap, api_key: Option<&HeaderValue>) -> HeaderMap {
    let declared = declared(headers);
    let passes = |name: &HeaderName| {
        let text = name.as_str();
        !is_hop_by_hop(name)
            && ![
                AUTHORIZATION,
                COOKIE,
                EXPECT,
                HOST,
                CONTENT_LENGTH,
                ACCEPT_ENCODING,
            ]
            .contains(name)
            && ![API_KEY, GOOGLE_KEY].contains(&text)
            && !text.starts_with(OWN_PREFIX)
            && !declared.iter().any(|other| other == text)
    };
    let mut passed = copy(headers, passes);
    // An answer that is packed could be relayed but not metered.
    passed.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if let Some(key) = api_key {
        passed.insert(API_KEY, key.clone());
    }
    passed
}

/// What of an answer's headers goes to the client.
pub(crate) fn to_client(headers: &HeaderMap) -> HeaderMap {
    let declared = declared(headers);
    copy(headers, |name| {
        !is_hop_by_hop(name)
            && *name != SET_COOKIE
            && !name.as_str().starts_with(OWN_PREFIX)
            && !declared.iter().any(|other| other == name.as_str())
    })
}

fn copy(headers: &HeaderMap, passes: impl Fn(&HeaderName) -> bool) -> HeaderMap {
    let mut passed = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers.iter().filter(|(name, _)| passes(name)) {
        passed.append(name.clone(), value.clone());
    }
    passed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in list {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    fn shown(map: &HeaderMap) -> Vec<String> {
        let mut lines: Vec<String> = map
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        lines.sort();
        lines
    }

    #[test]
    fn a_request_loses_its_credentials_and_what_belongs_to_its_connection() {
        let passed = to_provider(
            &headers(&[
                ("x-api-key", "virtual"),
                ("authorization", "Bearer virtual"),
                ("x-skep-key", "virtual"),
                ("x-goog-api-key", "virtual"),
                ("cookie", "a=b"),
                ("host", "127.0.0.1"),
                ("content-length", "3"),
                ("accept-encoding", "gzip"),
                ("connection", "keep-alive, X-Once"),
                ("keep-alive", "5"),
                ("x-once", "1"),
                ("transfer-encoding", "chunked"),
                ("anthropic-version", "2023-06-01"),
                ("anthropic-beta", "one"),
                ("anthropic-beta", "two,three"),
                ("x-claude-code-session-id", "s"),
            ]),
            Some(&HeaderValue::from_static("real")),
        );
        assert_eq!(
            shown(&passed),
            [
                "accept-encoding: identity",
                "anthropic-beta: one",
                "anthropic-beta: two,three",
                "anthropic-version: 2023-06-01",
                "x-api-key: real",
                "x-claude-code-session-id: s",
            ]
        );
    }

    #[test]
    fn an_answer_keeps_everything_but_connection_and_cookies() {
        let passed = to_client(&headers(&[
            ("content-type", "text/event-stream"),
            ("request-id", "req_1"),
            ("retry-after", "3"),
            ("connection", "close"),
            ("transfer-encoding", "chunked"),
            ("set-cookie", "__cf=1"),
            ("x-skep-call-id", "forged"),
        ]));
        assert_eq!(
            shown(&passed),
            [
                "content-type: text/event-stream",
                "request-id: req_1",
                "retry-after: 3"
            ]
        );
    }

    #[test]
    fn the_credential_is_found_in_every_place() {
        for (list, expected) in [
            (&[("x-api-key", "a")][..], Some("a")),
            (&[("authorization", "Bearer b")], Some("b")),
            (&[("authorization", "bearer  b ")], Some("b")),
            (
                &[("x-skep-key", "c"), ("authorization", "Bearer own-login")],
                Some("c"),
            ),
            (
                &[("x-api-key", ""), ("authorization", "Bearer b")],
                Some("b"),
            ),
            (&[("authorization", "Basic b")], None),
            (&[], None),
        ] {
            let found = credential(&headers(list));
            assert_eq!(found.as_ref().map(Secret::reveal), expected, "{list:?}");
        }
    }

    #[test]
    fn a_header_bomb_is_seen() {
        let mut map = headers(&[("a", "b")]);
        assert!(!are_too_large(&map));
        map.insert(
            "x",
            HeaderValue::from_bytes(&vec![b'x'; HEADER_BYTES_MAX]).unwrap(),
        );
        assert!(are_too_large(&map));
        let mut many = HeaderMap::new();
        for _ in 0..=HEADERS_MAX {
            many.append("x", HeaderValue::from_static("y"));
        }
        assert!(are_too_large(&many));
    }
}
