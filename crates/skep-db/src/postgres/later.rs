//! Statements whose answers nobody waits for: they go out ahead of the next one that somebody
//! waits for, or of the COMMIT, in one round trip.
//!
//! Invariant: what comes behind them is sent only when all of them are on their way. One that the
//! server refuses has made it give the transaction up, so a COMMIT behind it commits nothing.

use super::statement::Prepared;
use crate::given::Kept;
use deadpool_postgres::ClientWrapper;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use tokio_postgres::Error;

/// A statement that waits for the next one.
pub(super) struct Later {
    pub(super) statement: Prepared,
    pub(super) given: Kept,
}

/// Why what was sent together did not all succeed.
pub(super) enum Refused<T> {
    /// The last one failed, those ahead of it did not.
    Last(Error),
    /// The one at `place` failed, before any other.
    Ahead {
        place: usize,
        error: Error,
        /// What became of the last one; `None` when it was not sent.
        last: Option<Result<T, Error>>,
    },
}

impl Later {
    /// Of one statement only: see `Session::execute_later`.
    async fn execute(&self, client: &ClientWrapper) -> Result<u64, Error> {
        let mut changed = 0;
        for piece in self.given.given().for_postgres() {
            changed += self.statement.execute(client, &piece).await?;
        }
        Ok(changed)
    }
}

/// Sends all of `later` and then `last`, and waits for every answer. A future of the driver sends
/// when it is polled for the first time.
pub(super) async fn send<T>(
    client: &ClientWrapper,
    later: &[Later],
    last: impl Future<Output = Result<T, Error>>,
) -> Result<T, Refused<T>> {
    let mut last = pin!(last);
    if later.is_empty() {
        return last.await.map_err(Refused::Last);
    }
    let mut ahead: Vec<Option<Pin<Box<_>>>> = later
        .iter()
        .map(|later| Some(Box::pin(later.execute(client))))
        .collect();
    let mut refused: Option<(usize, Error)> = None;
    let (mut is_last_sent, mut answer) = (false, None);
    poll_fn(move |context| {
        for (place, waiting) in ahead.iter_mut().enumerate() {
            let Some(Poll::Ready(outcome)) = waiting.as_mut().map(|it| it.as_mut().poll(context))
            else {
                continue;
            };
            *waiting = None;
            if let (Err(error), None) = (outcome, &refused) {
                refused = Some((place, error));
            }
        }
        if is_last_sent || refused.is_none() {
            is_last_sent = true;
            if answer.is_none() {
                match last.as_mut().poll(context) {
                    Poll::Ready(outcome) => answer = Some(outcome),
                    Poll::Pending => return Poll::Pending,
                }
            }
            if ahead.iter().any(Option::is_some) {
                return Poll::Pending;
            }
        }
        let last = answer.take();
        Poll::Ready(match (refused.take(), last) {
            (Some((place, error)), last) => Err(Refused::Ahead { place, error, last }),
            (None, Some(outcome)) => outcome.map_err(Refused::Last),
            (None, None) => unreachable!("the last one is answered when nothing was refused"),
        })
    })
    .await
}
