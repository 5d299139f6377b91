//! Bytes go through as they are, in both directions, as soon as they come.

use super::stand::{Stand, open_key, request, short_stream, stream_of};
use super::upstream::Plan;
use bytes::{Bytes, BytesMut};
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use skep_testkit::{TestStore, on_both_engines};
use std::sync::Arc;
use tokio::sync::Semaphore;

on_both_engines!(
    a_json_answer_is_identical,
    a_request_goes_through_byte_for_byte,
    a_stream_in_odd_chunks_is_identical,
    a_stream_is_not_held_back,
    counting_tokens_passes_through,
    models_are_listed_and_other_routes_are_not,
);

async fn a_request_goes_through_byte_for_byte(store: TestStore) -> anyhow::Result<()> {
    let stand = Stand::new(&store).await?;
    let key = stand.key().await?;
    let body = "{ \"max_tokens\" : 7,\"future_field\":{\"a\":[1.0,1e2,null]},\n\"model\":\t\"same\" ,\"messages\":[ ],\"text\":\"\\u00e9 \u{e9}\" } \n";
    let renamed = body.replace("\"same\"", "\"large\"");
    let sent_on = body.replace("\"same\"", "\"large-1\"");
    for (body, expected) in [(body, body), (&renamed, &sent_on)] {
        stand
            .upstream
            .plan(Plan::stream().chunk(short_stream()).end());
        let headers = [
            ("authorization", &*format!("Bearer {}", key.reveal())),
            ("anthropic-version", "2023-06-01"),
            ("anthropic-beta", "one-2026,two-2026"),
            ("x-claude-code-session-id", "session"),
            ("content-type", "application/json"),
            ("user-agent", "bee/1.0"),
        ];
        let reply = stand.post("/v1/messages?beta=true", &headers, body).await?;
        assert_eq!(reply.status, StatusCode::OK);
        let seen = stand.upstream.seen().pop().unwrap();
        assert_eq!(seen.target, "POST /far/v1/messages?beta=true");
        assert_eq!(String::from_utf8(seen.body.clone())?, expected);
        for (name, value) in &headers[1..] {
            assert_eq!(seen.header(name), Some(*value), "{name}");
        }
        assert_eq!(seen.header("x-api-key"), Some(super::stand::PROVIDER_KEY));
        assert_eq!(seen.header("authorization"), None);
    }
    Ok(())
}

async fn a_stream_in_odd_chunks_is_identical(store: TestStore) -> anyhow::Result<()> {
    let stand = Stand::new(&store).await?;
    let key = stand.key().await?;
    let unknown =
        "event: future_event\ndata: {\"type\":\"future_event\",\"x\":[1]}\n\n: a comment\r\n\r\n";
    let [start, text, end] = stream_of(
        "large-1",
        r#"{"input_tokens":1,"output_tokens":1,"new":{}}"#,
        2,
    );
    let stream = [unknown, &start, &text, unknown, &end, unknown].concat();
    for size in [1, 7, 64, stream.len()] {
        stand
            .upstream
            .plan(Plan::stream().chunks(&stream, size).end());
        let reply = stand.messages(&key, &request("large", 10, true)).await?;
        assert_eq!(
            reply.body.as_deref(),
            Some(stream.as_bytes()),
            "chunks of {size}"
        );
        assert_eq!(
            reply.header("content-type"),
            Some("text/event-stream; charset=utf-8")
        );
        assert!(
            reply
                .header("x-skep-call-id")
                .is_some_and(|id| id.starts_with("call_"))
        );
    }
    Ok(())
}

async fn a_stream_is_not_held_back(store: TestStore) -> anyhow::Result<()> {
    let stand = Stand::new(&store).await?;
    let key = stand.key().await?;
    let gate = Arc::new(Semaphore::new(0));
    let [start, text, end] = stream_of("large-1", r#"{"input_tokens":1,"output_tokens":1}"#, 2);
    let plan = Plan::stream()
        .chunk(&start)
        .chunk(&text)
        .gate(&gate)
        .chunk(&end)
        .end();
    stand.upstream.plan(plan);
    let body = Bytes::from(request("large", 10, true));
    let headers = [("x-api-key", key.reveal())];
    let answer = stand
        .start(Method::POST, "/v1/messages", &headers, body)
        .await?;
    let mut body = answer.into_body();
    let mut got = BytesMut::new();
    // The gate is shut: what arrives now cannot have waited for the rest.
    while got.len() < start.len() + text.len() {
        let frame = body.frame().await.unwrap()?;
        got.extend_from_slice(frame.data_ref().unwrap());
    }
    gate.add_permits(1);
    got.extend_from_slice(&body.collect().await?.to_bytes());
    assert_eq!(got, [start, text, end].concat().as_bytes());
    Ok(())
}

async fn a_json_answer_is_identical(store: TestStore) -> anyhow::Result<()> {
    let stand = Stand::new(&store).await?;
    let key = stand.key().await?;
    let body = "{\"id\":\"msg_1\", \"type\":\"message\",\"model\":\"large-1\",\n\"content\":[],\"stop_reason\":\"end_turn\",\"usage\":{\"input_tokens\":10,\"output_tokens\":5},\"future\":1.50}\n";
    stand.upstream.plan(Plan::json(
        "200 OK",
        &["request-id: req_1", "set-cookie: a=b"],
        body,
    ));
    let reply = stand.messages(&key, &request("large", 10, false)).await?;
    assert_eq!(reply.body.as_deref(), Some(body.as_bytes()));
    assert_eq!(reply.header("request-id"), Some("req_1"));
    assert_eq!(reply.header("set-cookie"), None);
    assert_eq!(reply.header("x-skep-model-actual"), Some("large-1"));
    Ok(())
}

async fn counting_tokens_passes_through(store: TestStore) -> anyhow::Result<()> {
    let more = "[budget.nothing]\nscope = \"all\"\nlimit_usd = 0\nperiod = \"day\"\n";
    let stand = Stand::with(&store, more, skep_gateway::Timeouts::default()).await?;
    let key = stand.key().await?;
    stand
        .upstream
        .plan(Plan::json("200 OK", &[], "{\"input_tokens\":12}"));
    let body = "{\"model\":\"large\",\"messages\":[]}";
    let headers = [("x-api-key", key.reveal())];
    let reply = stand
        .post("/v1/messages/count_tokens", &headers, body)
        .await?;
    assert_eq!(reply.json()?["input_tokens"], 12);
    let seen = stand.upstream.seen().pop().unwrap();
    assert_eq!(seen.target, "POST /far/v1/messages/count_tokens");
    assert_eq!(seen.body, b"{\"model\":\"large-1\",\"messages\":[]}");
    assert_eq!(stand.call_events().await?, ["token_count_admitted"]);
    // The budget that lets it through holds nothing for a call that costs.
    let reply = stand.messages(&key, &request("large", 10, true)).await?;
    assert_eq!(reply.status, StatusCode::TOO_MANY_REQUESTS);
    Ok(())
}

async fn models_are_listed_and_other_routes_are_not(store: TestStore) -> anyhow::Result<()> {
    let stand = Stand::new(&store).await?;
    let mut new = open_key();
    new.models = vec!["near".to_owned(), "large".to_owned(), "gone".to_owned()];
    let (_, key) = stand.mint(new).await?;
    let headers = [("x-api-key", key.reveal())];
    let get = async |method: Method, path: &str, headers: &[(&str, &str)]| {
        stand.send(method, path, headers, Bytes::new()).await
    };
    let list = get(Method::GET, "/v1/models?limit=1000", &headers)
        .await?
        .json()?;
    let ids: Vec<_> = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| &m["id"])
        .collect();
    assert_eq!(ids, ["large", "near"]);
    assert_eq!(
        (&list["first_id"], &list["last_id"]),
        (&"large".into(), &"near".into())
    );
    let refused = get(Method::GET, "/v1/models", &[]).await?;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    assert_eq!(get(Method::HEAD, "/", &[]).await?.status, StatusCode::OK);
    for (method, path) in [
        (Method::GET, "/v1/messages"),
        (Method::POST, "/v1/complete"),
        (Method::POST, "/v1/messages/../../api/v1/jobs"),
        (Method::GET, "/api/v1/jobs"),
        (Method::POST, "/v1/messages/"),
    ] {
        let reply = get(method, path, &headers).await?;
        assert_eq!(reply.status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(reply.error()?.0, "not_found_error", "{path}");
    }
    assert!(stand.upstream.seen().is_empty());
    Ok(())
}
