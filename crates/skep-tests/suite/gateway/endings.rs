//! How calls end: well, badly, or unseen. None loses money or the account's truth.

use super::stand::{
    SHORT_COST, Stand, limited_key, request, short_stream, short_timeouts, stream_of, worst, write,
};
use super::upstream::Plan;
use bytes::{Bytes, BytesMut};
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use skep_db::Tx;
use skep_gateway::{Sums, Timeouts};
use skep_testkit::{TestStore, on_both_engines};
use skep_types::{KeyId, MicroUsd, NodeId};
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

on_both_engines!(
    a_call_that_never_ends_is_cut,
    a_client_that_hangs_up_early_is_still_charged_truly,
    a_client_that_hangs_up_on_silence_leaves_it_unconfirmed,
    a_killed_process_leaves_unconfirmed_spending,
    a_lost_call_of_another_node_is_given_up_after_its_deadline,
    a_stream_that_breaks_off_is_unconfirmed,
    an_error_of_the_provider_costs_nothing,
    an_unreachable_provider_costs_nothing,
    silence_is_unconfirmed,
    the_end_is_seen_after_the_account,
);

fn unconfirmed(amount: MicroUsd) -> Sums {
    Sums {
        unconfirmed: amount,
        ..Sums::default()
    }
}

fn spent(amount: MicroUsd) -> Sums {
    Sums {
        spent: amount,
        ..Sums::default()
    }
}

async fn the_end_is_seen_after_the_account(store: TestStore) -> anyhow::Result<()> {
    let stand = Stand::new(&store).await?;
    let (id, key) = stand.mint(limited_key(1_000_000)).await?;
    let gate = Arc::new(Semaphore::new(0));
    let stream = short_stream();
    stand
        .upstream
        .plan(Plan::stream().chunk(&stream).gate(&gate).end());
    let headers = [("x-api-key", key.reveal())];
    let body = Bytes::from(request("large", 10, true));
    let answer = stand
        .start(Method::POST, "/v1/messages", &headers, body)
        .await?;
    let mut body = answer.into_body();
    let mut got = BytesMut::new();
    while got.len() < stream.len() {
        got.extend_from_slice(body.frame().await.unwrap()?.data_ref().unwrap());
    }
    // The message has ended, the connection has not: the account is already right.
    assert_eq!(stand.sums(&id).await?, spent(SHORT_COST));
    gate.add_permits(1);
    body.collect().await?;
    assert_eq!(
        stand.call_events().await?,
        ["model_call_admitted", "model_call_settled"]
    );
    Ok(())
}

async fn a_stream_that_breaks_off_is_unconfirmed(store: TestStore) -> anyhow::Result<()> {
    let stand = Stand::new(&store).await?;
    let [start, text, end] = stream_of("large-1", r#"{"input_tokens":10,"output_tokens":1}"#, 5);
    let error = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n";
    let nearly = &end[..end.len() - 1];
    let late_error = [&start, error].concat();
    let garbage = [&start, "event: message_delta\ndata: {\n\n", &end].concat();
    for (plan, whole, reason) in [
        (Plan::stream().chunk(&start).cut(), false, "broke_off"),
        (
            Plan::stream().chunk(&start).chunk(&text).end(),
            true,
            "truncated",
        ),
        (
            Plan::stream()
                .chunk(&start)
                .chunk(&text)
                .chunk(nearly)
                .end(),
            true,
            "truncated",
        ),
        (
            Plan::stream().chunk(&late_error).end(),
            true,
            "provider_error",
        ),
        (Plan::stream().chunk(&garbage).end(), true, "unreadable"),
        (
            Plan::json("200 OK", &[], "<html>busy</html>"),
            true,
            "unreadable",
        ),
    ] {
        let (id, key) = stand.mint(limited_key(1_000_000)).await?;
        stand.upstream.plan(plan);
        let reply = stand.messages(&key, &request("large", 10, true)).await?;
        assert_eq!(
            (reply.status, reply.body.is_some()),
            (StatusCode::OK, whole)
        );
        stand.gateway.idle().await;
        assert_eq!(stand.sums(&id).await?, unconfirmed(worst()));
        let events = stand.payloads("model_call_unconfirmed").await?;
        assert_eq!(events.last().unwrap()["reason"], reason);
    }
    Ok(())
}

async fn an_error_of_the_provider_costs_nothing(store: TestStore) -> anyhow::Result<()> {
    let stand = Stand::new(&store).await?;
    let body = "{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"},\"request_id\":\"req_1\"}";
    let early = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n";
    for (plan, status, expected) in [
        (
            Plan::json(
                "529 Overloaded",
                &["retry-after: 7", "x-should-retry: true"],
                body,
            ),
            529,
            body,
        ),
        (
            Plan::json(
                "500 Oops",
                &["retry-after: 7", "x-should-retry: true"],
                "<html>",
            ),
            500,
            "<html>",
        ),
        (
            Plan::json("400 Bad", &["retry-after: 7", "x-should-retry: true"], body),
            400,
            body,
        ),
        (Plan::stream().chunk(early).end(), 200, early),
    ] {
        let (id, key) = stand.mint(limited_key(1_000_000)).await?;
        stand.upstream.plan(plan);
        let reply = stand.messages(&key, &request("large", 10, true)).await?;
        assert_eq!(reply.status.as_u16(), status);
        assert_eq!(reply.body.as_deref(), Some(expected.as_bytes()));
        if status != 200 {
            assert_eq!(reply.header("retry-after"), Some("7"));
            assert_eq!(reply.header("x-should-retry"), Some("true"));
        }
        assert_eq!(stand.sums(&id).await?, Sums::default());
    }
    let (id, key) = stand.mint(limited_key(1_000_000)).await?;
    stand.upstream.plan(Plan::json(
        "302 Found",
        &["location: http://127.0.0.1:1/"],
        "",
    ));
    let reply = stand.messages(&key, &request("large", 10, true)).await?;
    assert_eq!(
        (reply.status, reply.header("location")),
        (StatusCode::BAD_GATEWAY, None)
    );
    assert_eq!(stand.sums(&id).await?, Sums::default());
    assert_eq!(stand.payloads("model_call_released").await?.len(), 5);
    Ok(())
}

async fn an_unreachable_provider_costs_nothing(store: TestStore) -> anyhow::Result<()> {
    let stand = Stand::new(&store).await?;
    let (id, key) = stand.mint(limited_key(1_000_000)).await?;
    let reply = stand.messages(&key, &request("dead", 10, true)).await?;
    assert_eq!(reply.status, StatusCode::BAD_GATEWAY);
    let (kind, message, code) = reply.error()?;
    assert_eq!(
        (kind.as_str(), code.as_deref()),
        ("api_error", Some("provider_unreachable"))
    );
    assert!(
        message.contains("`dead`") && !message.contains("127.0.0.1"),
        "{message}"
    );
    assert_eq!(stand.sums(&id).await?, Sums::default());
    Ok(())
}

async fn silence_is_unconfirmed(store: TestStore) -> anyhow::Result<()> {
    let stand = Stand::with(&store, "", short_timeouts()).await?;
    let never = Arc::new(Semaphore::new(0));
    let [start, ..] = stream_of("large-1", r#"{"input_tokens":10,"output_tokens":1}"#, 5);
    let (id, key) = stand.mint(limited_key(1_000_000)).await?;
    stand
        .upstream
        .plan(Plan::stream().chunk(&start).gate(&never).end());
    let reply = stand.messages(&key, &request("large", 10, true)).await?;
    assert_eq!(
        (reply.status, reply.body),
        (StatusCode::OK, None),
        "cut, not ended"
    );
    assert_eq!(stand.sums(&id).await?, unconfirmed(worst()));

    let (id, key) = stand.mint(limited_key(1_000_000)).await?;
    stand.upstream.plan(Plan::silent(&never));
    let reply = stand.messages(&key, &request("large", 10, true)).await?;
    assert_eq!(reply.status, StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(reply.error()?.0, "timeout_error");
    assert_eq!(stand.sums(&id).await?, unconfirmed(worst()));

    let (id, key) = stand.mint(limited_key(1_000_000)).await?;
    let open = Arc::new(Semaphore::new(1));
    stand.upstream.plan(Plan::silent(&open));
    let reply = stand.messages(&key, &request("large", 10, true)).await?;
    assert_eq!(reply.error()?.2.as_deref(), Some("provider_broke_off"));
    assert_eq!(stand.sums(&id).await?, unconfirmed(worst()));
    let reasons = stand.payloads("model_call_unconfirmed").await?;
    let reasons: Vec<_> = reasons.iter().map(|event| &event["reason"]).collect();
    assert_eq!(reasons, ["silent", "no_answer", "broke_off"]);
    Ok(())
}

async fn a_call_that_never_ends_is_cut(store: TestStore) -> anyhow::Result<()> {
    let timeouts = Timeouts {
        call: short_timeouts().idle,
        ..Timeouts::default()
    };
    let stand = Stand::with(&store, "", timeouts).await?;
    let never = Arc::new(Semaphore::new(0));
    let [start, ..] = stream_of("large-1", r#"{"input_tokens":10,"output_tokens":1}"#, 5);
    let (id, key) = stand.mint(limited_key(1_000_000)).await?;
    stand
        .upstream
        .plan(Plan::stream().chunk(&start).gate(&never).end());
    let reply = stand.messages(&key, &request("large", 10, true)).await?;
    assert_eq!(reply.body, None, "cut, not ended");
    assert_eq!(stand.sums(&id).await?, unconfirmed(worst()));
    Ok(())
}

/// Sends a request, waits for `until` in the answer, and hangs up.
async fn hang_up_after(stand: &Stand, key: &str, until: &str) -> anyhow::Result<()> {
    let body = request("large", 10, true);
    let mut connection = TcpStream::connect(stand.address).await?;
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: gateway\r\nx-api-key: {key}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    connection.write_all(head.as_bytes()).await?;
    let mut got = Vec::new();
    while !String::from_utf8_lossy(&got).contains(until) {
        anyhow::ensure!(connection.read_buf(&mut got).await? > 0, "the answer ended");
    }
    Ok(())
}

async fn a_client_that_hangs_up_early_is_still_charged_truly(
    store: TestStore,
) -> anyhow::Result<()> {
    let stand = Stand::new(&store).await?;
    let [start, text, end] = stream_of("large-1", r#"{"input_tokens":10,"output_tokens":1}"#, 5);
    let (id, key) = stand.mint(limited_key(1_000_000)).await?;
    let gate = Arc::new(Semaphore::new(0));
    stand.upstream.plan(
        Plan::stream()
            .chunk(&start)
            .gate(&gate)
            .chunk(&text)
            .chunk(&end)
            .end(),
    );
    hang_up_after(&stand, key.reveal(), "message_start").await?;
    gate.add_permits(1);
    stand.gateway.idle().await;
    assert_eq!(stand.sums(&id).await?, spent(SHORT_COST));
    Ok(())
}

async fn a_client_that_hangs_up_on_silence_leaves_it_unconfirmed(
    store: TestStore,
) -> anyhow::Result<()> {
    let timeouts = Timeouts {
        drain: short_timeouts().drain,
        ..Timeouts::default()
    };
    let stand = Stand::with(&store, "", timeouts).await?;
    let never = Arc::new(Semaphore::new(0));
    let [start, ..] = stream_of("large-1", r#"{"input_tokens":10,"output_tokens":1}"#, 5);
    let (id, key) = stand.mint(limited_key(1_000_000)).await?;
    stand
        .upstream
        .plan(Plan::stream().chunk(&start).gate(&never).end());
    hang_up_after(&stand, key.reveal(), "message_start").await?;
    stand.gateway.idle().await;
    assert_eq!(stand.sums(&id).await?, unconfirmed(worst()));
    let events = stand.payloads("model_call_unconfirmed").await?;
    assert_eq!(events[0]["reason"], "client_gone");

    // Gone while more is on its way than the connection holds.
    let (id, key) = stand.mint(limited_key(1_000_000)).await?;
    let flood = Plan::stream()
        .chunk(&start)
        .chunks(": waggle\n\n".repeat(1_000_000), 65_536);
    stand.upstream.plan(flood.gate(&never).end());
    hang_up_after(&stand, key.reveal(), "waggle").await?;
    stand.gateway.idle().await;
    assert_eq!(stand.sums(&id).await?, unconfirmed(worst()));

    // Gone before the provider has begun to answer.
    let (id, key) = stand.mint(limited_key(1_000_000)).await?;
    stand.upstream.plan(Plan::silent(&never));
    let headers = [("x-api-key", key.reveal())];
    let body = Bytes::from(request("large", 10, true));
    let before = stand.upstream.seen().len();
    tokio::select! {
        _ = stand.start(Method::POST, "/v1/messages", &headers, body) => panic!("no answer was planned"),
        arrived = stand.upstream.wait_for(before + 1) => arrived?,
    }
    stand.gateway.idle().await;
    assert_eq!(stand.sums(&id).await?, unconfirmed(worst()));
    Ok(())
}

async fn reconcile(stand: &Stand, only: Option<NodeId>) -> anyhow::Result<(usize, MicroUsd)> {
    let found = write(stand.db(), async move |tx: &mut Tx<'_>| {
        skep_gateway::reconcile(tx, only.as_ref()).await
    });
    let found = found.await?;
    Ok((found.calls, found.unconfirmed))
}

/// Nothing ends by itself, so that only the death of the process ends the calls.
fn patient() -> Timeouts {
    Timeouts {
        drain: Timeouts::default().call,
        ..Timeouts::default()
    }
}

/// Starts calls that the provider never answers, one per key, and kills the gateway under them.
async fn kill_under_calls(stand: &mut Stand, count: usize) -> anyhow::Result<Vec<KeyId>> {
    let never = Arc::new(Semaphore::new(0));
    stand.upstream.otherwise(Plan::silent(&never));
    let mut ids = Vec::new();
    for arrived in 1..=count {
        let (id, key) = stand.mint(limited_key(1_000_000)).await?;
        ids.push(id);
        let headers = [("x-api-key", key.reveal())];
        let body = Bytes::from(request("large", 10, true));
        tokio::select! {
            _ = stand.start(Method::POST, "/v1/messages", &headers, body) => panic!("no answer was planned"),
            seen = stand.upstream.wait_for(arrived) => seen?,
        }
    }
    stand.kill();
    Ok(ids)
}

async fn a_killed_process_leaves_unconfirmed_spending(store: TestStore) -> anyhow::Result<()> {
    let more = "[budget.all]\nscope = \"all\"\nlimit_usd = 1\nperiod = \"day\"\n";
    let mut stand = Stand::with(&store, more, patient()).await?;
    let ids = kill_under_calls(&mut stand, 3).await?;
    let all = MicroUsd(worst().0 * 3);
    assert_eq!(
        stand.budget("all").await?.reserved,
        all,
        "nobody has ended them"
    );
    assert_eq!(
        reconcile(&stand, Some(stand.node.clone())).await?,
        (0, MicroUsd::ZERO),
        "its own are alive"
    );

    // Another process takes the home over.
    let next = NodeId::new(&skep_stdx::SystemClock, &skep_stdx::OsEntropy);
    assert_eq!(reconcile(&stand, Some(next.clone())).await?, (3, all));
    assert_eq!(
        stand.budget("all").await?,
        unconfirmed(all),
        "never free money"
    );
    for id in &ids {
        assert_eq!(stand.sums(id).await?, unconfirmed(worst()));
    }
    assert_eq!(
        reconcile(&stand, Some(next)).await?,
        (0, MicroUsd::ZERO),
        "once"
    );
    let events = stand.payloads("model_call_unconfirmed").await?;
    assert_eq!(events.len(), 3);
    assert!(events.iter().all(|event| event["reason"] == "process_lost"));
    Ok(())
}

async fn a_lost_call_of_another_node_is_given_up_after_its_deadline(
    store: TestStore,
) -> anyhow::Result<()> {
    let mut stand = Stand::with(&store, "", patient()).await?;
    let ids = kill_under_calls(&mut stand, 1).await?;
    assert_eq!(
        reconcile(&stand, None).await?,
        (0, MicroUsd::ZERO),
        "it may still be alive"
    );
    store.clock.advance_ms(2 * 3_600_000);
    assert_eq!(reconcile(&stand, None).await?, (1, worst()));
    assert_eq!(stand.sums(&ids[0]).await?, unconfirmed(worst()));
    Ok(())
}
