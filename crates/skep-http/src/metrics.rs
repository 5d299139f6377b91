//! `/metrics`: the few numbers there are, in the Prometheus text format 0.0.4.

use crate::server::Shared;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

const SURFACES: [&str; 3] = ["api", "gateway", "open"];
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Counters since the start.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    requests: [[AtomicU64; CLASSES.len()]; SURFACES.len()],
    connections: AtomicI64,
}

/// Counts one open connection as long as it lives.
pub(crate) struct Connection(Arc<Metrics>);

impl Metrics {
    pub(crate) fn connection(self: &Arc<Self>) -> Connection {
        self.connections.fetch_add(1, Ordering::Relaxed);
        Connection(self.clone())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts every request by surface and class of status.
pub(crate) async fn count(
    State(metrics): State<Arc<Metrics>>,
    request: Request,
    next: Next,
) -> Response {
    let surface = surface(request.uri().path());
    let answer = next.run(request).await;
    let class = usize::from(answer.status().as_u16() / 100).saturating_sub(1);
    if let Some(counter) = metrics.requests[surface].get(class) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
    answer
}

fn surface(path: &str) -> usize {
    if path.starts_with("/api/") || path == "/metrics" {
        0
    } else if ["/v1/", "/v1beta/", "/k/"]
        .iter()
        .any(|prefix| path.starts_with(prefix))
    {
        1
    } else {
        2
    }
}

/// The whole text. `live_jobs` is absent when the store does not answer.
pub(crate) fn text(shared: &Shared, live_jobs: Option<i64>) -> String {
    let mut text = String::new();
    let mut metric = |name: &str, kind: &str, about: &str, samples: &[(String, String)]| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "# HELP {name} {about}\n# TYPE {name} {kind}");
        for (labels, value) in samples {
            let _ = writeln!(text, "{name}{labels} {value}");
        }
    };
    let plain = |value: String| [(String::new(), value)];
    metric(
        "skep_build_info",
        "gauge",
        "The version of the program.",
        &[(
            format!("{{version=\"{}\"}}", shared.version),
            "1".to_owned(),
        )],
    );
    metric(
        "skep_uptime_seconds",
        "gauge",
        "Seconds since the server was made.",
        &plain(format!("{:.3}", shared.uptime.elapsed().as_secs_f64())),
    );
    if let Some(live) = live_jobs {
        metric(
            "skep_live_jobs",
            "gauge",
            "Jobs that can still move by themselves.",
            &plain(live.to_string()),
        );
    }
    metric(
        "skep_http_connections",
        "gauge",
        "Open connections, those of attempts not included.",
        &plain(
            shared
                .metrics
                .connections
                .load(Ordering::Relaxed)
                .to_string(),
        ),
    );
    metric(
        "skep_http_requests_total",
        "counter",
        "Requests by surface and class of status.",
        &request_samples(&shared.metrics),
    );
    text
}

fn request_samples(metrics: &Metrics) -> Vec<(String, String)> {
    let rows = SURFACES.iter().zip(&metrics.requests);
    rows.flat_map(|(surface, counters)| {
        CLASSES.iter().zip(counters).map(move |(class, counter)| {
            let labels = format!("{{surface=\"{surface}\",class=\"{class}\"}}");
            (labels, counter.load(Ordering::Relaxed).to_string())
        })
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_belongs_to_one_surface() {
        for (path, expected) in [
            ("/api/v1/jobs", "api"),
            ("/metrics", "api"),
            ("/v1/messages", "gateway"),
            ("/k/sk-x/v1/messages", "gateway"),
            ("/healthz", "open"),
            ("/v1", "open"),
        ] {
            assert_eq!(SURFACES[surface(path)], expected, "{path}");
        }
    }
}
