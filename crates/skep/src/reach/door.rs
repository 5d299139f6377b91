//! The door of a home: whoever holds it, or the lock while nobody does.

use crate::failure::Failure;
use crate::home_lock::{HomeLock, LockError};
use skep_api::{Client, ClientError};
use skep_director::Home;
use skep_stdx::Stopwatch;
use std::time::Duration;

/// The longest wait for a holder that has the lock and does not answer yet, in milliseconds.
const HOLDER_START_MS: u64 = 10_000;
/// How often it is asked, in milliseconds.
const HOLDER_POLL_MS: u64 = 50;

/// Either a holder that answers, or the lock.
pub(crate) enum Door {
    /// Somebody holds the home and answers on its socket.
    Holder(Client),
    /// Nobody does; now this process.
    Lock(HomeLock),
}

impl Door {
    /// Finds the holder, or takes the lock. A holder that has just started is waited for.
    pub(crate) async fn find(home: &Home) -> Result<Self, Failure> {
        let waited = Stopwatch::start();
        loop {
            let client = Client::at_socket(home.socket());
            let silence = match client.health().await {
                Ok(_) => return Ok(Self::Holder(client)),
                Err(error @ ClientError::Refused(_)) => return Err(error.into()),
                Err(error) => error,
            };
            match HomeLock::take(home) {
                Ok(lock) => return Ok(Self::Lock(lock)),
                Err(LockError::Held { holder }) => {
                    if waited.elapsed() > Duration::from_millis(HOLDER_START_MS) {
                        let by = holder.map_or_else(String::new, |id| format!(" (process {id})"));
                        return Err(Failure::unreachable(
                            "holder_silent",
                            format!(
                                "the holder of {}{by} does not answer: {}",
                                home.root().display(),
                                silence.body().message
                            ),
                            "wait until it has started or ended; a process that hangs has to be stopped",
                        ));
                    }
                }
                Err(error @ LockError::Unusable { .. }) => return Err(error.failure(home)),
            }
            tokio::time::sleep(Duration::from_millis(HOLDER_POLL_MS)).await;
        }
    }
}
