//! The HTTP edge: who gets in at which door, and what the answers look like.

mod server;

use server::{Answer, Request, TestServer};
use skep_api::route::{Access, ROUTES, Route, Verb};
use skep_api::{Client, ClientError, DispatchRequest};
use std::future::Future;
use std::os::unix::fs::PermissionsExt as _;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};

fn run<F: Future<Output = anyhow::Result<()>>>(test: F) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?
        .block_on(test)
}

/// A path that the route takes, whose job or topic does not exist.
fn path_of(route: &Route) -> String {
    let mut path = route.path.to_owned();
    for parameter in ["{id}", "{topic}", "{group}", "{message}", "{number}"] {
        path = path.replace(parameter, "7");
    }
    // With a limit the events are one page, which ends.
    if path == "/api/v1/events" {
        format!("{path}?limit=5")
    } else {
        path
    }
}

fn request_of(server: &TestServer, route: &Route) -> Request {
    let request = server.request(route.verb.as_str(), &path_of(route));
    if route.verb == Verb::Post {
        request.body("{}")
    } else {
        request
    }
}

const GATEWAY_ROUTES: [(&str, &str); 3] = [
    ("POST", "/v1/messages"),
    ("POST", "/v1/messages/count_tokens"),
    ("GET", "/v1/models"),
];

#[test]
fn every_route_opens_for_its_own_credential_only() -> anyhow::Result<()> {
    run(async {
        let server = TestServer::start().await?;
        for route in ROUTES {
            let request = || request_of(&server, route);
            let name = format!("{} {}", route.verb.as_str(), route.path);
            let without = request().answer().await?;
            let with_key = request().bearer(&server.virtual_key).answer().await?;
            let with_key_header = request()
                .header("x-api-key", server.virtual_key.reveal())
                .answer()
                .await?;
            let with_token = request().bearer(&server.token).answer().await?;
            assert!(
                ![401, 403].contains(&with_token.status),
                "{name}: {with_token:?}"
            );
            match route.access {
                Access::Open => {
                    for answer in [&without, &with_key, &with_key_header, &with_token] {
                        assert_eq!(answer.status, 200, "{name}: {answer:?}");
                    }
                }
                Access::Token => {
                    assert_refused(&without, 401, "token_missing", &name)?;
                    assert_refused(&with_key, 401, "token_refused", &name)?;
                    assert_refused(&with_key_header, 401, "token_missing", &name)?;
                }
            }
        }
        server.stop().await;
        Ok(())
    })
}

#[test]
fn a_virtual_key_opens_the_gateway_and_the_token_does_not() -> anyhow::Result<()> {
    run(async {
        let server = TestServer::start().await?;
        for (verb, path) in GATEWAY_ROUTES {
            let request = || server.request(verb, path).body(r#"{"model":"m"}"#);
            for refused in [request(), request().bearer(&server.token)] {
                assert_eq!(refused.answer().await?.status, 401, "{verb} {path}");
            }
            let answer = request().bearer(&server.virtual_key).answer().await?;
            assert_ne!(answer.status, 401, "{verb} {path}: {answer:?}");
        }
        let models = server
            .request("GET", "/v1/models")
            .bearer(&server.virtual_key);
        assert_eq!(models.answer().await?.status, 200);
        server.stop().await;
        Ok(())
    })
}

#[test]
fn no_route_answers_under_a_foreign_name_or_to_a_foreign_page() -> anyhow::Result<()> {
    run(async {
        let server = TestServer::start().await?;
        let mut requests: Vec<Request> = ROUTES
            .iter()
            .map(|route| request_of(&server, route).bearer(&server.token))
            .collect();
        requests.extend(GATEWAY_ROUTES.map(|(verb, path)| {
            server
                .request(verb, path)
                .bearer(&server.virtual_key)
                .body("{}")
        }));
        requests.push(
            server
                .request("GET", "/no/such/route")
                .bearer(&server.token),
        );
        for request in requests {
            let name = format!("{request:?}");
            for host in [Some("evil.example"), Some("evil.example:7575"), None] {
                let answer = request.clone().host(host).answer().await?;
                // Without any Host the HTTP library may refuse before we do.
                if host.is_some() || answer.status != 400 {
                    assert_refused(&answer, 403, "host_refused", &name)?;
                }
            }
            let foreign = request.clone().header("origin", "http://evil.example");
            assert_refused(&foreign.answer().await?, 403, "origin_refused", &name)?;
            let own = format!("http://{}", server.address);
            let answer = request.clone().header("origin", &own).answer().await?;
            assert_ne!(answer.status, 403, "{name}: {answer:?}");
        }
        server.stop().await;
        Ok(())
    })
}

#[test]
fn a_fence_listener_has_gateway_routes_and_nothing_else() -> anyhow::Result<()> {
    run(async {
        let server = TestServer::start().await?;
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let task = skep_http::serve_gateway(server.gateway.clone())(listener);
        for route in ROUTES {
            for secret in [&server.token, &server.virtual_key] {
                let request = Request::to(address, route.verb.as_str(), &path_of(route));
                let answer = request.bearer(secret).body("{}").answer().await?;
                assert_eq!(answer.status, 404, "{}: {answer:?}", route.path);
            }
        }
        let models = Request::to(address, "GET", "/v1/models");
        let answer = models.clone().bearer(&server.virtual_key).answer().await?;
        assert_eq!(answer.status, 200, "{answer:?}");
        let foreign = models
            .bearer(&server.virtual_key)
            .host(Some("evil.example"));
        assert_refused(&foreign.answer().await?, 403, "host_refused", "fence")?;
        // A connection that is open when the task is aborted ends with it. The answer to a later
        // connection says that the earlier one was accepted.
        let mut idle = tokio::net::TcpStream::connect(address).await?;
        Request::to(address, "GET", "/v1/models").answer().await?;
        task.abort();
        drop(task.await);
        drop(idle.read_to_end(&mut Vec::new()).await);
        assert!(
            tokio::net::TcpStream::connect(address).await.is_err(),
            "the listener is gone"
        );
        server.stop().await;
        Ok(())
    })
}

#[test]
fn the_socket_serves_its_owner_without_a_token_and_no_gateway() -> anyhow::Result<()> {
    run(async {
        let server = TestServer::start().await?;
        let mode = std::fs::metadata(&server.socket)?.permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        let client = Client::at_socket(server.socket.clone());
        assert!(client.health().await?.ok);
        assert!(client.jobs(&Default::default()).await?.items.is_empty());
        let error = client.job("7").await.expect_err("there is no job");
        let ClientError::Refused(body) = error else {
            panic!("{error:?}")
        };
        assert_eq!((body.code.as_str(), body.exit), ("not_found", 4));
        let error = client
            .dispatch(&DispatchRequest::default())
            .await
            .expect_err("empty");
        let ClientError::Refused(body) = error else {
            panic!("{error:?}")
        };
        assert_eq!(body.exit, 2, "{body:?}");
        server.stop().await;
        client.health().await.expect_err("nobody listens any more");
        Ok(())
    })
}

#[test]
fn the_typed_client_over_tcp_needs_the_token() -> anyhow::Result<()> {
    run(async {
        let server = TestServer::start().await?;
        let authority = server.address.to_string();
        let client = Client::at_address(authority.clone(), server.token.clone());
        server.append(3).await?;
        let page = client.events(0, Some("home"), 1).await?;
        let payloads: Vec<_> = page
            .items
            .iter()
            .map(|event| &event.payload["bees"])
            .collect();
        assert_eq!(payloads, [3]);
        let ledger = client.verify_ledger().await?;
        assert!(ledger.ok && ledger.events >= 2, "{ledger:?}");
        let entries = client.ledger_entries(0, 100).await?;
        assert_eq!(i64::try_from(entries.items.len())?, ledger.events);
        assert_eq!(
            entries.items.last().map(|entry| &entry.hash),
            Some(&ledger.head)
        );
        let stranger = Client::at_address(authority, server.virtual_key.clone());
        let error = stranger
            .verify_ledger()
            .await
            .expect_err("a virtual key is no token");
        let ClientError::Refused(body) = error else {
            panic!("{error:?}")
        };
        assert_eq!((body.code.as_str(), body.exit), ("token_refused", 3));
        server.stop().await;
        Ok(())
    })
}

#[test]
fn a_stream_resumes_after_the_last_event_that_was_seen() -> anyhow::Result<()> {
    run(async {
        let server = TestServer::start().await?;
        for bees in 1..=3 {
            server.append(bees).await?;
        }
        let request = server
            .request("GET", "/api/v1/events?subject=home&after=0")
            .bearer(&server.token);
        let mut whole = BufReader::new(request.clone().send().await?);
        let (first_id, first) = next_event(&mut whole).await?;
        assert_eq!(first["payload"]["bees"], 1);
        let resumed = request.header("last-event-id", &first_id);
        let mut resumed = BufReader::new(resumed.send().await?);
        assert_eq!(next_event(&mut resumed).await?.1["payload"]["bees"], 2);
        assert_eq!(next_event(&mut resumed).await?.1["payload"]["bees"], 3);
        // What happens now arrives on a stream that is already open.
        server.append(4).await?;
        assert_eq!(next_event(&mut resumed).await?.1["payload"]["bees"], 4);
        let bad = server
            .request("GET", "/api/v1/events")
            .bearer(&server.token);
        let answer = bad.header("last-event-id", "latest").answer().await?;
        assert_refused(&answer, 400, "request_malformed", "Last-Event-ID")?;
        // A server that stops ends its streams instead of waiting for their readers.
        server.stop().await;
        let mut rest = String::new();
        resumed.read_to_string(&mut rest).await?;
        Ok(())
    })
}

#[test]
fn the_same_events_come_as_a_page() -> anyhow::Result<()> {
    run(async {
        let server = TestServer::start().await?;
        for bees in 1..=3 {
            server.append(bees).await?;
        }
        let page = async |query: &str| {
            let path = format!("/api/v1/events?subject=home&{query}");
            let answer = server
                .request("GET", &path)
                .bearer(&server.token)
                .answer()
                .await?;
            anyhow::ensure!(answer.status == 200, "{answer:?}");
            answer.json()
        };
        let first = page("limit=2").await?;
        assert_eq!(first["items"].as_array().map(Vec::len), Some(2));
        let cursor = first["next_cursor"].as_str().expect("a cursor").to_owned();
        let second = page(&format!("limit=2&after={cursor}")).await?;
        assert_eq!(second["items"][0]["payload"]["bees"], 3);
        assert!(second["next_cursor"].is_null());
        server.stop().await;
        Ok(())
    })
}

#[test]
fn malformed_requests_are_told_what_is_wrong() -> anyhow::Result<()> {
    run(async {
        let server = TestServer::start().await?;
        let with_token = |verb: &str, path: &str| server.request(verb, path).bearer(&server.token);
        let too_large = " ".repeat(skep_http::limits::API_BODY_BYTES_MAX + 1);
        let cases = [
            (with_token("GET", "/api/v1/nothing"), 404, "route_not_found"),
            (
                with_token("DELETE", "/api/v1/jobs"),
                405,
                "method_not_allowed",
            ),
            (
                with_token("POST", "/api/v1/jobs").body("{"),
                400,
                "request_malformed",
            ),
            (
                with_token("POST", "/api/v1/jobs").body(r#"{"instructon":"x"}"#),
                400,
                "request_malformed",
            ),
            (
                with_token("POST", "/api/v1/jobs").body(too_large),
                413,
                "body_too_large",
            ),
            (
                with_token("GET", "/api/v1/jobs?state=finished"),
                400,
                "request_malformed",
            ),
            (
                with_token("GET", "/api/v1/jobs?stat=done"),
                400,
                "request_malformed",
            ),
            (with_token("GET", "/api/v1/jobs/7"), 404, "not_found"),
            (
                with_token("POST", "/api/v1/jobs/7/cancel"),
                404,
                "not_found",
            ),
            (with_token("POST", "/api/v1/jobs/7/retry"), 404, "not_found"),
        ];
        for (request, status, code) in cases {
            let mut name = format!("{request:?}");
            name.truncate(200);
            assert_refused(&request.answer().await?, status, code, &name)?;
        }
        server.stop().await;
        Ok(())
    })
}

#[test]
fn the_description_and_the_numbers_are_served() -> anyhow::Result<()> {
    run(async {
        let server = TestServer::start().await?;
        let get = async |path: &str| {
            server
                .request("GET", path)
                .bearer(&server.token)
                .answer()
                .await
        };
        let description = get("/api/v1/openapi.json").await?;
        assert_eq!(description.json()?, skep_api::openapi("0.0.0"));
        assert!(description.head.contains("nosniff"), "{}", description.head);
        let schema = get("/api/v1/contract.schema.json").await?;
        assert_eq!(schema.json()?, skep_types::ResultContract::json_schema());
        let metrics = get("/metrics").await?.body;
        for line in [
            "skep_build_info{version=\"0.0.0\"} 1",
            "skep_live_jobs 0",
            "skep_http_requests_total{surface=\"api\",class=\"2xx\"} 2",
            "skep_http_requests_total{surface=\"gateway\",class=\"4xx\"} 0",
        ] {
            assert!(
                metrics.lines().any(|found| found == line),
                "{line} is not in\n{metrics}"
            );
        }
        server.stop().await;
        Ok(())
    })
}

#[test]
fn only_loopback_is_listened_on() -> anyhow::Result<()> {
    run(async {
        for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
            let error = skep_http::listen_on_loopback(address.parse()?)
                .await
                .expect_err(address);
            let body = error.body();
            assert_eq!((body.code.as_str(), body.exit), ("listen_not_loopback", 3));
        }
        let taken = skep_http::listen_on_loopback("127.0.0.1:0".parse()?).await?;
        let error = skep_http::listen_on_loopback(taken.local_addr()?)
            .await
            .expect_err("taken");
        assert_eq!(error.body().code, "address_in_use");
        Ok(())
    })
}

#[track_caller]
fn assert_refused(answer: &Answer, status: u16, code: &str, name: &str) -> anyhow::Result<()> {
    assert_eq!(answer.status, status, "{name}: {answer:?}");
    assert_eq!(answer.error_code()?, code, "{name}: {answer:?}");
    Ok(())
}

/// The id and the data of the next server-sent event.
async fn next_event(
    stream: &mut BufReader<tokio::net::TcpStream>,
) -> anyhow::Result<(String, serde_json::Value)> {
    let mut id = String::new();
    loop {
        let mut line = String::new();
        anyhow::ensure!(stream.read_line(&mut line).await? > 0, "the stream ended");
        if let Some(value) = line.strip_prefix("id: ") {
            value.trim().clone_into(&mut id);
        }
        if let Some(data) = line.strip_prefix("data: ") {
            return Ok((id, serde_json::from_str(data)?));
        }
    }
}
