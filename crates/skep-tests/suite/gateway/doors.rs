//! Who may call what: nothing leaves for whom the door stays shut.

use super::stand::{Reply, Stand, job_id, open_key, request, short_stream, write};
use super::upstream::Plan;
use anyhow::Context as _;
use bytes::Bytes;
use http::{Method, StatusCode};
use skep_db::{Tx, params};
use skep_gateway::{NewKey, limits};
use skep_stdx::Secret;
use skep_testkit::{TestStore, on_both_engines};
use skep_types::{Fence, Tier};

on_both_engines!(
    a_body_that_is_no_request_is_refused,
    a_dead_store_lets_nothing_through,
    a_key_ends,
    a_stale_fence_opens_nothing,
    a_tier_holds_back_what_is_remote,
    models_are_known_and_allowed,
    too_large_is_refused,
    what_has_no_bound_is_refused,
);

/// Every refusal: status, type, code, and words of the message.
fn check(reply: &Reply, status: u16, kind: &str, code: &str, words: &[&str]) -> anyhow::Result<()> {
    let (found, message, found_code) = reply.error()?;
    assert_eq!(
        (reply.status.as_u16(), found.as_str(), found_code.as_deref()),
        (status, kind, Some(code)),
        "{message}"
    );
    for word in words {
        assert!(message.contains(word), "{word:?} is not in: {message}");
    }
    Ok(())
}

async fn a_key_ends(store: TestStore) -> anyhow::Result<()> {
    let stand = Stand::new(&store).await?;
    let body = request("large", 10, true);
    let unknown = Secret::new(format!("skep_{}", "0".repeat(64)));
    for key in [
        unknown,
        Secret::new("sk-ant-somebody-else"),
        Secret::new(""),
    ] {
        let reply = stand.messages(&key, &body).await?;
        check(
            &reply,
            401,
            "authentication_error",
            "key_unknown",
            &["x-api-key"],
        )?;
    }
    let (id, revoked) = stand.mint(open_key()).await?;
    let again = id.clone();
    let revoke = async move |tx: &mut Tx<'_>| skep_gateway::revoke(tx, &id).await;
    assert!(write(stand.db(), revoke).await?);
    let revoke = async move |tx: &mut Tx<'_>| skep_gateway::revoke(tx, &again).await;
    assert!(
        !write(stand.db(), revoke).await?,
        "a second time changes nothing"
    );
    let reply = stand.messages(&revoked, &body).await?;
    check(
        &reply,
        401,
        "authentication_error",
        "key_revoked",
        &["revoked"],
    )?;

    let mut new = open_key();
    let now = write(stand.db(), async |tx: &mut Tx<'_>| tx.now_ms().await).await?;
    new.expires_at_ms = Some(now + 1_000);
    let (_, expiring) = stand.mint(new).await?;
    stand
        .upstream
        .plan(Plan::stream().chunk(short_stream()).end());
    store.clock.advance_ms(999);
    assert_eq!(
        stand.messages(&expiring, &body).await?.status,
        StatusCode::OK
    );
    store.clock.advance_ms(1);
    let reply = stand.messages(&expiring, &body).await?;
    check(
        &reply,
        401,
        "authentication_error",
        "key_expired",
        &["expired"],
    )?;
    let reasons: Vec<_> = stand.payloads("model_call_refused").await?;
    let reasons: Vec<_> = reasons.iter().map(|event| &event["reason"]).collect();
    assert_eq!(reasons, ["key_revoked", "key_expired"]);
    assert_eq!(stand.upstream.seen().len(), 1);
    Ok(())
}

async fn a_stale_fence_opens_nothing(store: TestStore) -> anyhow::Result<()> {
    let stand = Stand::new(&store).await?;
    let job = job_id();
    let grant = |job: skep_types::JobId, fence: Fence| {
        write(stand.db(), async move |tx: &mut Tx<'_>| {
            skep_authority::grant(tx, &[(&job, fence)], "node").await
        })
    };
    let fence = Fence(1);
    grant(job.clone(), fence).await?;
    let mut new = open_key();
    new.job = Some((job.clone(), fence));
    let (_, key) = stand.mint(new).await?;
    let body = request("large", 10, true);
    stand
        .upstream
        .plan(Plan::stream().chunk(short_stream()).end());
    assert_eq!(stand.messages(&key, &body).await?.status, StatusCode::OK);

    grant(job.clone(), Fence(2)).await?;
    let reply = stand.messages(&key, &body).await?;
    check(
        &reply,
        403,
        "permission_error",
        "stale_fence",
        &["taken over"],
    )?;
    let headers = [("x-api-key", key.reveal())];
    let count = stand
        .post("/v1/messages/count_tokens", &headers, &body)
        .await?;
    check(&count, 403, "permission_error", "stale_fence", &[])?;
    let list = stand
        .send(Method::GET, "/v1/models", &headers, Bytes::new())
        .await?;
    check(&list, 403, "permission_error", "stale_fence", &[])?;
    assert_eq!(stand.upstream.seen().len(), 1);

    let revoke = async move |tx: &mut Tx<'_>| skep_gateway::revoke_of_job(tx, &job).await;
    assert_eq!(write(stand.db(), revoke).await?, 1);
    let reply = stand.messages(&key, &body).await?;
    check(&reply, 401, "authentication_error", "key_revoked", &[])
}

async fn a_tier_holds_back_what_is_remote(store: TestStore) -> anyhow::Result<()> {
    let stand = Stand::new(&store).await?;
    stand
        .upstream
        .otherwise(Plan::stream().chunk(short_stream()).end());
    let mut expected = Vec::new();
    for (tier, model, word) in [
        (Tier::Sacred, "large", Some("sacred")),
        (Tier::Sacred, "consented", Some("sacred")),
        (Tier::Sacred, "near", None),
        (Tier::Sensitive, "large", Some("allow_sensitive")),
        (Tier::Sensitive, "consented", None),
        (Tier::Sensitive, "near", None),
        (Tier::Convenience, "large", None),
    ] {
        let (_, key) = stand.mint(NewKey { tier, ..open_key() }).await?;
        let reply = stand.messages(&key, &request(model, 10, true)).await?;
        let headers = [("x-api-key", key.reveal())];
        let body = request(model, 10, false);
        let count = stand
            .post("/v1/messages/count_tokens", &headers, &body)
            .await?;
        match word {
            Some(word) => {
                check(&reply, 403, "permission_error", "tier_not_allowed", &[word])?;
                check(&count, 403, "permission_error", "tier_not_allowed", &[word])?;
            }
            None => {
                assert_eq!(
                    (reply.status, count.status),
                    (StatusCode::OK, StatusCode::OK)
                );
                expected.extend([model, model]);
            }
        }
    }
    let seen = stand.upstream.seen();
    let places: Vec<_> = seen
        .iter()
        .map(|seen| seen.target.split('/').nth(1))
        .collect();
    let expected: Vec<_> = expected
        .iter()
        .map(|m| Some(if *m == "large" { "far" } else { m }))
        .collect();
    assert_eq!(places, expected, "nothing else has left");
    let consented: Vec<_> = stand.payloads("model_call_admitted").await?;
    let consented: Vec<_> = consented.iter().map(|event| &event["consented"]).collect();
    assert_eq!(consented, [false, true, false, false]);
    Ok(())
}

async fn models_are_known_and_allowed(store: TestStore) -> anyhow::Result<()> {
    let stand = Stand::new(&store).await?;
    let mut new = open_key();
    new.models = vec!["large".to_owned(), "near".to_owned()];
    let (_, key) = stand.mint(new).await?;
    let open = stand.key().await?;
    for (key, model, status, kind, code, words) in [
        (
            &key,
            "sonnet",
            404,
            "not_found_error",
            "unknown_model",
            &["`sonnet`", "large, near"][..],
        ),
        // The provider's own name for a model is no name here.
        (
            &open,
            "large-1",
            404,
            "not_found_error",
            "unknown_model",
            &["unpriced"],
        ),
        (
            &key,
            "other",
            403,
            "permission_error",
            "model_not_allowed",
            &["large, near"],
        ),
        (
            &open,
            "chat",
            400,
            "invalid_request_error",
            "format_not_supported",
            &["openai-chat"],
        ),
        (
            &open,
            "unpriced",
            400,
            "invalid_request_error",
            "unknown_price",
            &["`unpriced`"],
        ),
    ] {
        let reply = stand.messages(key, &request(model, 10, true)).await?;
        check(&reply, status, kind, code, words)?;
        assert!(reply.header("x-skep-call-id").is_some());
    }
    assert!(stand.upstream.seen().is_empty());
    Ok(())
}

async fn what_has_no_bound_is_refused(store: TestStore) -> anyhow::Result<()> {
    let stand = Stand::new(&store).await?;
    let key = stand.key().await?;
    let with = |field: &str| format!(r#"{{"model":"large","max_tokens":5,"messages":[],{field}}}"#);
    for (body, code, word) in [
        (
            r#"{"model":"large","messages":[]}"#.to_owned(),
            "unbounded_call",
            "max_tokens",
        ),
        (
            with(r#""tools":[{"type":"web_search_20250305","name":"s"}]"#),
            "unbounded_call",
            "web_search",
        ),
        (
            with(r#""mcp_servers":[{"url":"https://x"}]"#),
            "unbounded_call",
            "mcp_servers",
        ),
        (with(r#""speed":"fast""#), "unknown_price", "fast"),
    ] {
        let reply = stand.messages(&key, &body).await?;
        check(&reply, 400, "invalid_request_error", code, &[word])?;
    }
    assert!(stand.upstream.seen().is_empty());
    assert_eq!(stand.call_events().await?, ["model_call_refused"; 4]);
    Ok(())
}

async fn a_body_that_is_no_request_is_refused(store: TestStore) -> anyhow::Result<()> {
    let stand = Stand::new(&store).await?;
    let key = stand.key().await?;
    for body in [
        "",
        "{",
        "[]",
        "{\"messages\":[]}",
        "{\"model\":\"large\",\"model\":\"other\",\"max_tokens\":1}",
        "{\"model\":\"large\",\"max_tokens\":-1}",
        "{\"model\":\"large\",\"max_tokens\":1} trailing",
    ] {
        let reply = stand.messages(&key, body).await?;
        check(
            &reply,
            400,
            "invalid_request_error",
            "request_malformed",
            &[],
        )?;
    }
    let invalid = Bytes::from_static(b"{\"model\":\"lar\xff\",\"max_tokens\":1}");
    let headers = [("x-api-key", key.reveal())];
    let reply = stand
        .send(Method::POST, "/v1/messages", &headers, invalid)
        .await?;
    check(
        &reply,
        400,
        "invalid_request_error",
        "request_malformed",
        &[],
    )?;
    assert!(stand.upstream.seen().is_empty());
    Ok(())
}

async fn too_large_is_refused(store: TestStore) -> anyhow::Result<()> {
    let stand = Stand::new(&store).await?;
    let key = stand.key().await?;
    let headers = [("x-api-key", key.reveal())];
    let body = vec![b' '; limits::REQUEST_BODY_BYTES_MAX + 1];
    let gateway = &stand.gateway;
    // Given directly: a client that is still sending would see its connection close first.
    let request = http::Request::post("/v1/messages")
        .header("x-api-key", key.reveal())
        .body(http_body_util::Full::new(Bytes::from(body)))?;
    let answer = gateway.handle(request).await;
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let bomb = "x".repeat(limits::HEADER_BYTES_MAX);
    let headers = [headers[0], ("x-bomb", bomb.as_str())];
    let reply = stand.post("/v1/messages", &headers, "{}").await?;
    check(
        &reply,
        431,
        "invalid_request_error",
        "headers_too_large",
        &[],
    )?;
    assert!(stand.upstream.seen().is_empty());
    Ok(())
}

async fn a_dead_store_lets_nothing_through(store: TestStore) -> anyhow::Result<()> {
    let stand = Stand::new(&store).await?;
    let key = stand.key().await?;
    let body = request("large", 10, true);
    let rename = |from: &'static str, to: &'static str| {
        write(stand.db(), async move |tx: &mut Tx<'_>| {
            tx.batch(&format!("ALTER TABLE {from} RENAME TO {to}"))
                .await
        })
    };
    rename("model_call", "model_call_away").await?;
    let reply = stand.messages(&key, &body).await?;
    check(
        &reply,
        503,
        "api_error",
        "database_unavailable",
        &["nothing was sent"],
    )?;
    assert!(stand.upstream.seen().is_empty());
    rename("model_call_away", "model_call").await?;
    stand
        .upstream
        .plan(Plan::stream().chunk(short_stream()).end());
    assert_eq!(stand.messages(&key, &body).await?.status, StatusCode::OK);
    let count = async |tx: &mut Tx<'_>| {
        tx.query_one(
            "SELECT COUNT(*) AS n FROM model_call WHERE state = ?1",
            params!["settled"],
        )
        .await?
        .get::<i64>("n")
    };
    assert_eq!(write(stand.db(), count).await.context("count")?, 1);
    Ok(())
}
