//! The engine's figures beside its peers', measured in one run.
//!
//! What is promised is in [`part`], a function for each group of rows; the peers and their settings
//! are in [`peer`]. Our side is the benchmark `engine` of `skep-tests`, theirs are the drivers in
//! `bench/peers`. Both print JSON, both use the servers that are started here, and every repetition
//! of one is followed by the same repetition of the others, so that what happens to the machine
//! happens to all. Decision record 024 says why it is measured so.

mod figure;
mod gate;
mod idle;
mod install;
mod ours;
mod page;
mod part;
mod peer;
mod plan;
mod probe;
mod stand;
mod store;

use crate::machine::Workspace;
use crate::options::{Options, Usage};
use crate::report::{Report, say};
use anyhow::{Context as _, Result};
use figure::Group;
use part::PARTS;
use plan::Plan;
use stand::Stand;

/// The page of a whole run.
const PAGE: &str = "docs/benchmarks/engine.md";

/// Measures what was asked for, and writes the page: a whole run in its place, any other below the
/// target folder.
pub(super) fn run(options: &Options) -> Result<Report> {
    let only = options.engine.only.as_deref();
    if let Some(only) = only
        && PARTS.iter().all(|part| part.name != only)
    {
        return Err(Usage::unknown("part", only, PARTS.iter().map(|part| part.name)).into());
    }
    let workspace = Workspace::find()?;
    let plan = Plan::of(options);
    let mut stand = Stand::build(&workspace, plan)?;
    let mut groups: Vec<Group> = Vec::new();
    for part in PARTS {
        if only.is_none_or(|only| only == part.name) {
            say(&format!("== {}: {}", part.name, part.about));
            groups.extend((part.run)(&mut stand)?);
        }
    }
    let whole = only.is_none() && !options.quick;
    let page = if whole {
        workspace.root.join(PAGE)
    } else {
        workspace.target.join("xtask/engine.md")
    };
    let text = page::text(&stand, &groups, options);
    if let Some(folder) = page.parent() {
        std::fs::create_dir_all(folder).context("failed to make the page's folder")?;
    }
    std::fs::write(&page, text).with_context(|| format!("failed to write {}", page.display()))?;
    say(&format!("wrote {}", page.display()));
    Ok(Report::of(groups.iter().flat_map(Group::rows).collect()))
}
