//! What the configuration says: is it sound, can its secrets be had, does what it names exist.

use super::super::Session;
use super::{check, fail, ok, warn};
use crate::config::{Config, ConfigError, FILE_NAME, Secrets};
use skep_api::{CheckState, DoctorCheck};
use skep_director::Home;
use std::path::Path;

/// The configuration, or the defaults and what is wrong with the file.
pub(super) fn configuration(session: &Session, home: &Home) -> (Config, DoctorCheck) {
    let name = "configuration";
    let loaded = Config::load(session.global.config.as_deref(), home.root());
    let loaded = loaded.and_then(|config| config.gateway(Secrets::Left).map(|_| config));
    match loaded {
        Ok(config) => {
            let check = match &config.file {
                Some(file) => ok(name, file.display().to_string()),
                None => warn(
                    name,
                    "there is none: no provider, no model, no worker",
                    format!(
                        "copy skep.example.toml to {} and keep what you need",
                        home.root().join(FILE_NAME).display()
                    ),
                ),
            };
            (config, check)
        }
        Err(error) => (Config::default(), refused(name, &error)),
    }
}

fn refused(name: &str, error: &ConfigError) -> DoctorCheck {
    let body = error.body();
    check(name, CheckState::Fail, body.message, body.hint)
}

/// Whether the folders that fences are to show exist.
pub(super) fn toolchain(config: &Config) -> Vec<DoctorCheck> {
    let name = "toolchain";
    let roots = &config.toolchain.read_only;
    if roots.is_empty() {
        return vec![ok(name, "no folders besides the system's")];
    }
    let (there, missing): (Vec<&String>, Vec<&String>) = roots
        .iter()
        .partition(|root| config.located(Path::new(root)).exists());
    let list = |roots: &[&String]| {
        roots
            .iter()
            .map(|root| root.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let mut checks = Vec::new();
    if !there.is_empty() {
        checks.push(ok(name, list(&there)));
    }
    if !missing.is_empty() {
        checks.push(warn(
            name,
            format!("not there: {}", list(&missing)),
            "install the toolchain, or take the folder out of `read_only` under [toolchain]",
        ));
    }
    checks
}

/// Whether a model can be asked at all.
pub(super) fn providers(config: &Config) -> DoctorCheck {
    let name = "providers";
    let count = config.gateway.provider.len();
    if count == 0 {
        return warn(
            name,
            "none: only workers that need no model can run",
            "add a [provider.NAME] and a [model.NAME] to the configuration",
        );
    }
    let missing: Vec<String> = config
        .gateway
        .provider
        .values()
        .filter_map(|provider| Some(config.located(provider.script.as_deref()?)))
        .filter(|script| !script.is_file())
        .map(|script| script.display().to_string())
        .collect();
    if !missing.is_empty() {
        return fail(
            name,
            format!("scripts that are not there: {}", missing.join(", ")),
            "put the script there, or take its [provider.NAME] out of the configuration",
        );
    }
    let without_price: Vec<&str> = config
        .gateway
        .model
        .iter()
        .filter(|(_, model)| model.price.is_none())
        .map(|(name, _)| name.as_str())
        .collect();
    if !without_price.is_empty() {
        return warn(
            name,
            format!(
                "models without a price are never called: {}",
                without_price.join(", ")
            ),
            "add `price = { input = …, output = … }` to each [model.NAME]",
        );
    }
    let names: Vec<&str> = config.gateway.provider.keys().map(String::as_str).collect();
    ok(
        name,
        format!(
            "{}; {} models",
            names.join(", "),
            config.gateway.model.len()
        ),
    )
}

/// Whether every secret is where the file says; none is shown.
pub(super) fn secrets(config: &Config) -> DoctorCheck {
    let name = "secrets";
    let mut missing = Vec::new();
    let mut count = 0;
    for (provider, table) in &config.gateway.provider {
        let Some(source) = &table.api_key else {
            continue;
        };
        count += 1;
        if let Err(reason) = config.fetch(source) {
            missing.push(format!("provider {provider}: {reason}"));
        }
    }
    if let Err(error) = config.database() {
        missing.push(error.to_string());
    }
    if missing.is_empty() {
        return ok(name, format!("{count} of {count} can be read"));
    }
    fail(
        name,
        missing.join("; "),
        "set the variable or write the file; a server starts only when every secret is there",
    )
}

/// Whether somebody can work.
pub(super) fn workers(config: &Config) -> DoctorCheck {
    let name = "workers";
    if config.workers.is_empty() {
        return warn(
            name,
            "none: a job has nobody who does it",
            "add a [worker.NAME] to the configuration",
        );
    }
    let names: Vec<String> = config
        .workers
        .iter()
        .map(|(name, worker)| format!("{name} ({})", worker.harness))
        .collect();
    ok(name, names.join(", "))
}
