//! `skep up`: the server, until it is stopped.

use super::Session;
use crate::cli::Up;
use crate::config::Secrets;
use crate::engine::{OpenHome, RunningHome, ServedHome, this_node};
use crate::failure::{Exit, Failure};
use crate::home_lock::HomeLock;
use crate::output::{Printer, Tone};
use skep_api::ServerView;
use skep_director::Home;
use skep_http::{LocalToken, listen_on_loopback};
use skep_stdx::OsEntropy;
use std::net::SocketAddr;

/// Runs the server until a signal asks it to stop or its engine cannot go on.
pub(crate) async fn up(session: &Session, arguments: &Up) -> Result<Exit, Failure> {
    let home = session.home()?;
    let config = session.config(&home)?;
    session.announce(&config, &home);
    // Taken before anything is made: an address that cannot be had changes nothing.
    let listener = listen_on_loopback(arguments.listen.unwrap_or(config.server.listen)).await?;
    let address = listener.local_addr().map_err(|error| {
        Failure::unreachable(
            "listen_failed",
            format!("the address of the listener is not known: {error}"),
            "start it again",
        )
    })?;
    let lock = HomeLock::take(&home).map_err(|error| error.failure(&home))?;
    let token = LocalToken::load_or_make(&home.token(), &OsEntropy)?;
    let mut node = this_node();
    if !arguments.role.is_empty() {
        node.roles = arguments.role.iter().copied().collect();
    }
    let open = OpenHome::open_as(&home, lock, &config, Secrets::Needed, node).await?;
    let view = view(&home, address, &token);
    let marker = home.up_marker();
    // It is there if the server before this one did not stop in order.
    if marker.exists() {
        open.count_restart("up").await;
    }
    mark(&marker)?;
    let mut running =
        RunningHome::start(ServedHome::serve(open)?, Some((listener, token.secret))).await?;
    if let Err(failure) = print(&session.printer, &view) {
        running.stop().await;
        return Err(failure);
    }
    let mut signals = session.signals.clone();
    let outcome = tokio::select! {
        number = signals.asked() => Ok(Exit::Signal(number)),
        failure = running.engine_ended() => Err(failure),
    };
    session.printer.note("stopping; once more to stop at once");
    running.stop().await;
    if outcome.is_ok() {
        // If it stays, the next start counts one restart too many.
        drop(std::fs::remove_file(marker));
    }
    outcome
}

fn mark(marker: &std::path::Path) -> Result<(), Failure> {
    std::fs::write(marker, b"").map_err(|error| {
        Failure::unreachable(
            "home_unwritable",
            format!("the file {} cannot be written: {error}", marker.display()),
            "check that the home is writable and the disk not full, then `skep doctor`",
        )
    })
}

fn view(home: &Home, address: SocketAddr, token: &LocalToken) -> ServerView {
    ServerView {
        address: format!("http://{address}"),
        home: home.root().display().to_string(),
        socket: home.socket().display().to_string(),
        token_file: home.token().display().to_string(),
        token: token.fresh.then(|| token.secret.reveal().to_owned()),
    }
}

fn print(printer: &Printer, view: &ServerView) -> Result<(), Failure> {
    if printer.json() {
        return printer.document(view);
    }
    let label = |text: &str| printer.painted(&format!("{text:<9}"), Tone::Quiet);
    printer.line(&format!(
        "{}{}",
        label("address"),
        printer.painted(&view.address, Tone::Strong)
    ))?;
    printer.line(&format!("{}{}", label("home"), view.home))?;
    match &view.token {
        Some(token) => {
            printer.line(&format!("{}{token}", label("token")))?;
            printer.line(&format!(
                "{}shown once; it lies in {}",
                label(""),
                view.token_file
            ))?;
        }
        None => printer.line(&format!("{}in {}", label("token"), view.token_file))?,
    }
    printer.note("\nnext, in another terminal:\n  skep run \"INSTRUCTION\" --repo DIR\n  skep job list\n\nCtrl-C stops it; what is under way is taken up at the next start.");
    Ok(())
}
