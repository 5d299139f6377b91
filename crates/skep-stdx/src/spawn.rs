//! Named tasks whose panics are reported instead of lost.

use std::future::Future;
use tokio::task::JoinHandle;
use tracing::Instrument as _;

/// Spawns `future` on the current runtime under `name`. A panic inside is logged with the name.
pub fn spawn<F>(name: &'static str, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let guard = PanicReport(name);
    let task = async move {
        let output = future.await;
        drop(guard);
        output
    };
    #[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
    tokio::spawn(task.instrument(tracing::info_span!("task", name)))
}

struct PanicReport(&'static str);

impl Drop for PanicReport {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(task = self.0, "a task panicked");
        }
    }
}
