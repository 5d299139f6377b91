//! No secret in any answer, event, row or line of the log.

use super::stand::{PROVIDER_KEY, Stand, open_key, request, short_stream, write};
use super::upstream::Plan;
use http::StatusCode;
use skep_db::{Tx, Value};
use skep_stdx::Secret;
use skep_testkit::{TestStore, on_both_engines};
use std::io::Write;
use std::sync::{Arc, Mutex, OnceLock};
use tracing_subscriber::fmt::MakeWriter;

on_both_engines!(nothing_shows_a_secret);

/// The log of this process, from its first use on.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// One log for both engines' tests, which may run in one process.
fn log() -> &'static Log {
    static LOG: OnceLock<Log> = OnceLock::new();
    LOG.get_or_init(|| {
        let log = Log::default();
        tracing_subscriber::fmt()
            .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
            .with_writer(log.clone())
            .init();
        log
    })
}

async fn nothing_shows_a_secret(store: TestStore) -> anyhow::Result<()> {
    let log = log();
    let stand = Stand::new(&store).await?;
    let (id, key) = stand.mint(open_key()).await?;
    let mut answers = String::new();
    stand
        .upstream
        .plan(Plan::stream().chunk(short_stream()).end());
    stand.upstream.plan(Plan::json("401 No", &[], "{}"));
    stand.upstream.plan(Plan::stream().cut());
    for model in ["large", "large", "large", "unknown", "dead", "unpriced"] {
        let reply = stand.messages(&key, &request(model, 10, true)).await?;
        answers.push_str(&format!("{:?} {:?}", reply.headers, reply.body));
    }
    let last = if key.reveal().ends_with('0') {
        '1'
    } else {
        '0'
    };
    let wrong = Secret::new(format!("{}{last}", &key.reveal()[..68]));
    for secret in [&wrong, &Secret::new("sk-ant-own-login-of-somebody")] {
        let reply = stand.messages(secret, &request("large", 10, true)).await?;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
        answers.push_str(&format!("{:?} {:?}", reply.headers, reply.body));
    }
    answers.push_str(&format!(
        "{:?} {:?}",
        stand.keys().await?,
        stand.gateway.config()
    ));
    let events = stand.ledgered.events().await?;
    let events: String = events
        .iter()
        .map(|e| String::from_utf8_lossy(&e.payload))
        .collect();
    let rows = async |tx: &mut Tx<'_>| {
        let mut rows = tx.query("SELECT * FROM virtual_key", &[]).await?;
        rows.extend(tx.query("SELECT * FROM model_call", &[]).await?);
        Ok(rows)
    };
    let rows = write(stand.db(), rows).await?;
    let rows: String = rows.iter().flat_map(|row| row.values()).map(text).collect();
    let log = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    assert!(log.contains("call refused"), "the log is being read");
    assert!(events.contains(id.as_str()) && rows.contains(id.as_str()));
    for (place, text) in [
        ("answers", &answers),
        ("events", &events),
        ("rows", &rows),
        ("log", &log),
    ] {
        for secret in [
            key.reveal(),
            &key.reveal()["skep_".len()..],
            PROVIDER_KEY,
            "own-login",
        ] {
            assert!(!text.contains(secret), "a secret is in the {place}");
        }
    }
    Ok(())
}

fn text(value: &Value) -> String {
    match value {
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        other @ (Value::Null | Value::Int(_) | Value::Real(_) | Value::Text(_)) => {
            format!("{other:?}")
        }
    }
}
