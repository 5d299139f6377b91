//! Ctrl-C and SIGTERM: the first asks for an orderly stop, the second ends the process at once.

use crate::failure::{Exit, Failure};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// Tells whether the process was asked to stop.
#[derive(Debug, Clone)]
pub(crate) struct Signals(watch::Receiver<Option<u8>>);

impl Signals {
    /// Takes over both signals. Called inside the runtime.
    pub(crate) fn install() -> Result<Self, Failure> {
        let unavailable = |error: std::io::Error| {
            Failure::unreachable(
                "signals_unavailable",
                format!("signals cannot be received: {error}"),
                "raise the limit of open files (`ulimit -n`)",
            )
        };
        let interrupt = signal(SignalKind::interrupt()).map_err(unavailable)?;
        let terminate = signal(SignalKind::terminate()).map_err(unavailable)?;
        let (asked, receiver) = watch::channel(None);
        skep_stdx::spawn("signals", receive(interrupt, terminate, asked));
        Ok(Self(receiver))
    }

    /// Waits for the first signal and gives its number.
    pub(crate) async fn asked(&mut self) -> u8 {
        match self.0.wait_for(Option::is_some).await.map(|number| *number) {
            Ok(Some(number)) => number,
            // The receiving task is gone with its runtime, and with it everybody who waits.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }
}

async fn receive(mut interrupt: Signal, mut terminate: Signal, asked: watch::Sender<Option<u8>>) {
    loop {
        let kind = tokio::select! {
            Some(()) = interrupt.recv() => SignalKind::interrupt(),
            Some(()) = terminate.recv() => SignalKind::terminate(),
            else => return,
        };
        let number = u8::try_from(kind.as_raw_value()).unwrap_or_default();
        if asked.send_replace(Some(number)).is_some() {
            leave(Exit::Signal(number));
        }
    }
}

/// Leaves without a shutdown. Workers end with their parent by the kernel's doing, the store is
/// safe at any instant, and the next start takes up what was left.
#[expect(
    clippy::disallowed_methods,
    clippy::exit,
    reason = "somebody who asks twice does not want to wait for the shutdown"
)]
fn leave(exit: Exit) {
    std::process::exit(i32::from(exit.code()));
}
