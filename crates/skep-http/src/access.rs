//! Who may ask: the server's own names on every route, the token on the API.
//!
//! A browser that was lured to another site reaches a loopback port under that site's name (DNS
//! rebinding) or with that site's Origin. Neither is a name of this server, so neither gets in,
//! whatever credential it carries.

use crate::error::Refusal;
use crate::token::TokenCheck;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::uri::Authority;
use http::{HeaderMap, StatusCode, Uri, header};
use std::net::IpAddr;
use std::sync::Arc;

/// Lets a request through only under a name of this server, and from a page of this server if it
/// comes from a page at all.
pub(crate) async fn own_names_only(request: Request, next: Next) -> Response {
    match check_names(request.headers(), request.uri()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

/// Lets a request through only with the token of this home.
pub(crate) async fn token_only(
    State(token): State<Arc<TokenCheck>>,
    request: Request,
    next: Next,
) -> Response {
    match presented_token(request.headers()) {
        Some(presented) if token.accepts(presented) => next.run(request).await,
        Some(_) => unauthorized(
            "token_refused",
            "the credential is not the local token of this home",
        ),
        None => unauthorized("token_missing", "this route needs the local token"),
    }
}

fn unauthorized(code: &'static str, message: &'static str) -> Response {
    let hint = "send `Authorization: Bearer TOKEN`; the token is in the file `token` in the home, and virtual keys open gateway routes only";
    Refusal::new(StatusCode::UNAUTHORIZED, code, message, hint).into_response()
}

fn presented_token(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim_start())
}

fn check_names(headers: &HeaderMap, uri: &Uri) -> Result<(), Refusal> {
    let host = only(headers, header::HOST).and_then(|text| text.parse::<Authority>().ok());
    let host = host.filter(is_own).ok_or_else(|| {
        Refusal::new(
            StatusCode::FORBIDDEN,
            "host_refused",
            "the Host header is not a name of this server",
            "use http://127.0.0.1:PORT or http://localhost:PORT",
        )
    })?;
    // The absolute form of a request names its host a second time.
    if uri.authority().is_some_and(|named| *named != host) {
        return Err(Refusal::malformed(
            "the request line and the Host header name different hosts",
        ));
    }
    if !headers.contains_key(header::ORIGIN) {
        return Ok(());
    }
    let origin = only(headers, header::ORIGIN).and_then(|text| text.parse::<Uri>().ok());
    let same = origin.is_some_and(|origin| {
        matches!(origin.scheme_str(), Some("http" | "https")) && origin.authority() == Some(&host)
    });
    if same {
        Ok(())
    } else {
        Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "origin_refused",
            "the request comes from a page of another site",
            "open the page under the same address as the server, or call from a program",
        ))
    }
}

/// The header's value, if there is exactly one.
fn only(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

/// Loopback only: the server listens nowhere else, and a literal address cannot be rebound.
fn is_own(authority: &Authority) -> bool {
    if authority.as_str().contains('@') {
        return false;
    }
    let host = authority.host();
    let literal = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host);
    host.eq_ignore_ascii_case("localhost")
        || literal
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(hosts: &[&str], origins: &[&str], uri: &str) -> Result<(), String> {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(header::HOST, host.parse().expect("a header value"));
        }
        for origin in origins {
            headers.append(header::ORIGIN, origin.parse().expect("a header value"));
        }
        let answer = check_names(&headers, &uri.parse().expect("a target"));
        answer.map_err(|refusal| format!("{refusal:?}"))
    }

    #[test]
    fn only_own_names_get_in() {
        for host in [
            "localhost",
            "LOCALHOST:7575",
            "127.0.0.1:7575",
            "127.8.9.1",
            "[::1]:7575",
        ] {
            assert_eq!(check(&[host], &[], "/"), Ok(()), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.nip.io",
            "user@localhost",
            "10.0.0.1:7575",
            "[::2]",
            "0.0.0.0",
            "",
        ] {
            let answer = check(&[host], &[], "/").expect_err(host);
            assert!(answer.contains("host_refused"), "{host}: {answer}");
        }
        assert!(check(&[], &[], "/").is_err(), "no Host at all");
        assert!(
            check(&["localhost", "localhost"], &[], "/").is_err(),
            "two of them"
        );
        assert!(check(&["localhost"], &[], "http://evil.example/").is_err());
        assert_eq!(check(&["localhost"], &[], "http://localhost/"), Ok(()));
    }

    #[test]
    fn a_page_gets_in_only_under_the_address_it_was_loaded_from() {
        let host = "localhost:7575";
        assert_eq!(check(&[host], &["http://localhost:7575"], "/"), Ok(()));
        for origin in [
            "null",
            "http://evil.example",
            "http://localhost:3000",
            "http://localhost",
            "file://localhost:7575",
            "http://127.0.0.1:7575",
        ] {
            let answer = check(&[host], &[origin], "/").expect_err(origin);
            assert!(answer.contains("origin_refused"), "{origin}: {answer}");
        }
        let twice = ["http://localhost:7575", "http://localhost:7575"];
        assert!(check(&[host], &twice, "/").is_err(), "two of them");
    }
}
