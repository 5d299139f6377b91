//! `skep doctor`: every check of the installation in one command, each with its remedy.
//!
//! Contacts no model provider and makes no home. It opens the store only where there is one, and
//! through its holder if somebody holds it.

mod machine;
mod settings;
mod store;

use super::Session;
use crate::config::Config;
use crate::engine::VERSION;
use crate::failure::{Exit, Failure};
use crate::output::{Printer, Tone, table_columns, width, without_controls, wrapped};
use skep_api::{CheckState, DoctorCheck, DoctorView};
use skep_director::Home;

/// Runs every check and prints what it found; exit code 1 when one failed.
pub(crate) async fn doctor(session: &Session) -> Result<Exit, Failure> {
    let home = session.home()?;
    let (config, config_check) = settings::configuration(session, &home);
    let checks = check_all(&home, &config, config_check).await;
    let view = DoctorView {
        ok: checks.iter().all(|check| check.state != CheckState::Fail),
        version: VERSION.to_owned(),
        home: home.root().display().to_string(),
        checks,
    };
    if session.printer.json() {
        session.printer.document(&view)?;
    } else {
        print(&session.printer, &view)?;
    }
    Ok(if view.ok {
        Exit::Done
    } else {
        Exit::Unsuccessful
    })
}

/// In the order in which a finding explains the ones below it.
async fn check_all(home: &Home, config: &Config, config_check: DoctorCheck) -> Vec<DoctorCheck> {
    let mut checks = vec![machine::home(home), machine::disk(home), config_check];
    checks.extend(store::checks(home, config).await);
    checks.push(machine::git().await);
    checks.extend(machine::fence(config.engine.isolation).await);
    checks.extend(settings::toolchain(config));
    checks.push(settings::providers(config));
    checks.push(settings::secrets(config));
    checks.push(settings::workers(config));
    checks.push(machine::agent_programs());
    checks
}

fn ok(name: &str, found: impl Into<String>) -> DoctorCheck {
    check(name, CheckState::Ok, found, None)
}

fn warn(name: &str, found: impl Into<String>, remedy: impl Into<String>) -> DoctorCheck {
    check(name, CheckState::Warn, found, Some(remedy.into()))
}

fn fail(name: &str, found: impl Into<String>, remedy: impl Into<String>) -> DoctorCheck {
    check(name, CheckState::Fail, found, Some(remedy.into()))
}

fn check(
    name: &str,
    state: CheckState,
    found: impl Into<String>,
    remedy: Option<String>,
) -> DoctorCheck {
    DoctorCheck {
        name: name.to_owned(),
        state,
        found: found.into(),
        remedy,
    }
}

fn print(printer: &Printer, view: &DoctorView) -> Result<(), Failure> {
    let name_columns = view
        .checks
        .iter()
        .map(|check| width(&check.name))
        .max()
        .unwrap_or(0);
    let indent = " ".repeat(STATE_COLUMNS + name_columns + 2);
    let room = table_columns().saturating_sub(indent.len());
    for check in &view.checks {
        let tone = match check.state {
            CheckState::Ok => Tone::Good,
            CheckState::Warn => Tone::Attention,
            CheckState::Fail => Tone::Bad,
        };
        let state = printer.painted(&format!("{:<STATE_COLUMNS$}", check.state.as_str()), tone);
        let name = format!("{:<name_columns$}  ", check.name);
        let mut lead = format!("{state}{name}");
        for line in wrapped(&without_controls(&check.found), room) {
            printer.line(format!("{lead}{line}").trim_end())?;
            lead.clone_from(&indent);
        }
        let remedy = check
            .remedy
            .as_ref()
            .map(|remedy| format!("do: {}", without_controls(remedy)));
        for line in remedy.iter().flat_map(|remedy| wrapped(remedy, room)) {
            printer.line(&format!("{indent}{}", printer.painted(&line, Tone::Strong)))?;
        }
    }
    let count = |state| {
        view.checks
            .iter()
            .filter(|check| check.state == state)
            .count()
    };
    let summary = format!(
        "{} ok, {} warnings, {} failed",
        count(CheckState::Ok),
        count(CheckState::Warn),
        count(CheckState::Fail)
    );
    printer.note(&format!("\n{summary}"));
    Ok(())
}

/// The width of the state and the space after it, in columns.
const STATE_COLUMNS: usize = 6;
