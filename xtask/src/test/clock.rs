//! The library that shows a process another clock, which some tests put under whole engines.

use super::cluster::install_debian_package;
use crate::machine;
use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};

/// The variable that tells tests where it is.
pub(crate) const VARIABLE: &str = "SKEP_TEST_FAKETIME";

/// Where distributions keep libraries; in one of its folders, or in it.
const LIBRARIES: [&str; 2] = ["/usr/lib", "/usr/lib64"];
const FILE: &str = "faketime/libfaketime.so.1";

/// The library, installed first where that is possible.
pub(crate) fn find_or_install() -> Result<PathBuf> {
    if let Some(found) = find() {
        return Ok(found);
    }
    if machine::current_user()?.uid != 0 || machine::program("apt-get").is_none() {
        bail!("no libfaketime on this machine: install your distribution's `libfaketime` package");
    }
    install_debian_package("libfaketime")?;
    find().with_context(|| format!("the package `libfaketime` brought no `{FILE}`"))
}

fn find() -> Option<PathBuf> {
    LIBRARIES.iter().find_map(|libraries| {
        let below = std::fs::read_dir(libraries).into_iter().flatten();
        let below = below.flatten().map(|entry| entry.path());
        std::iter::once(Path::new(libraries).to_owned())
            .chain(below)
            .map(|folder| folder.join(FILE))
            .find(|file| file.is_file())
    })
}
