//! Fetches a package's published source, once, with the ordinary clients and the machine's own
//! registry settings. What was fetched stays in the target folder; its checksum was compared by
//! the client before anything was kept.

use super::case::{Case, Ecosystem};
use super::{fresh, tools};
use crate::machine::Workspace;
use crate::process;
use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder of the package's source, as published.
pub(super) fn fetch(workspace: &Workspace, case: &Case, place: &Path) -> Result<PathBuf> {
    let name = format!("{}-{}", case.package, case.version);
    let kept = place.join("source").join(&name);
    if kept.is_dir() {
        return Ok(kept);
    }
    let scratch = fresh(place.join("fetch").join(&name))?;
    let fetched = match case.ecosystem {
        Ecosystem::Rust => crate_source(workspace, case, &scratch)?,
        Ecosystem::Python => python_source(case, place, &scratch)?,
    };
    std::fs::create_dir_all(place.join("source"))?;
    // Moved when it is complete: half a package is never taken for one.
    std::fs::rename(&fetched, &kept)
        .with_context(|| format!("failed to keep {}", kept.display()))?;
    std::fs::remove_dir_all(&scratch)?;
    Ok(kept)
}

/// An empty package that depends on the crate, so that cargo fetches and checks it.
fn crate_source(workspace: &Workspace, case: &Case, scratch: &Path) -> Result<PathBuf> {
    let Case {
        package,
        version,
        sha256,
        ..
    } = case;
    let manifest = format!(
        "[package]\nname = \"fetch\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
         [dependencies]\n{package} = \"={version}\"\n\n[workspace]\n"
    );
    let lock = format!(
        "version = 4\n\n[[package]]\nname = \"fetch\"\nversion = \"0.0.0\"\ndependencies = [\n \"{package}\",\n]\n\n\
         [[package]]\nname = \"{package}\"\nversion = \"{version}\"\n\
         source = \"registry+https://github.com/rust-lang/crates.io-index\"\nchecksum = \"{sha256}\"\n"
    );
    std::fs::create_dir(scratch.join("src"))?;
    for (name, text) in [
        ("Cargo.toml", &*manifest),
        ("Cargo.lock", &*lock),
        ("src/lib.rs", ""),
    ] {
        std::fs::write(scratch.join(name), text)?;
    }
    let mut vendor = workspace.cargo();
    vendor
        .args([
            "vendor",
            "--quiet",
            "--locked",
            "--versioned-dirs",
            "vendor",
        ])
        .current_dir(scratch);
    process::output(&mut vendor).context("failed to fetch the crate")?;
    let fetched = scratch.join(format!("vendor/{package}-{version}"));
    std::fs::remove_file(fetched.join(".cargo-checksum.json"))?;
    stand_alone(&fetched.join("Cargo.toml"))?;
    // A job cannot make one, because it lies outside its scope.
    let mut lock = workspace.cargo();
    lock.args(["generate-lockfile", "--offline"])
        .current_dir(&fetched);
    process::output(&mut lock)?;
    Ok(fetched)
}

/// Says that the package belongs to no workspace: it is built in a folder below ours.
fn stand_alone(manifest: &Path) -> Result<()> {
    let text = std::fs::read_to_string(manifest)?;
    std::fs::write(manifest, format!("{text}\n[workspace]\n"))?;
    Ok(())
}

fn python_source(case: &Case, place: &Path, scratch: &Path) -> Result<PathBuf> {
    let Case {
        package,
        version,
        sha256,
        ..
    } = case;
    let requirements = scratch.join("requirements.txt");
    std::fs::write(
        &requirements,
        format!("{package}=={version} --hash=sha256:{sha256}\n"),
    )?;
    let mut pip = Command::new(tools::python_with("pip", place)?);
    pip.args([
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--no-binary",
        ":all:",
    ])
    .args([
        "--require-hashes",
        "--requirement",
        "requirements.txt",
        "--dest",
        "archive",
    ])
    .current_dir(scratch);
    process::output(&mut pip).context("failed to fetch the package")?;
    let archive = scratch.join(format!("archive/{package}-{version}.tar.gz"));
    if !archive.is_file() {
        bail!("pip fetched no {}", archive.display());
    }
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--gzip", "--no-same-owner", "--file"])
        .arg(&archive)
        .current_dir(scratch);
    process::output(&mut tar)?;
    Ok(scratch.join(format!("{package}-{version}")))
}
