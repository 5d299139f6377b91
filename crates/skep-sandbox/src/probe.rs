//! What this machine can do for a fence, for `skep doctor`: each primitive tried for real in a
//! launcher, with the reason and the remedy where one is missing.

use crate::channel::{Order, Report};
use crate::error::SandboxError;
use crate::level::IsolationLevel;
use crate::process::Launcher;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// One thing a fence is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Primitive {
    /// Its name, as in `user_namespace`.
    pub name: String,
    /// Whether it can be had here, as this user.
    pub available: bool,
    /// What the system said.
    pub reason: Option<String>,
    /// What to do about it, if it cannot be had.
    pub remedy: Option<String>,
}

/// What this machine can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// Every primitive, in the order in which a fence needs it.
    pub primitives: Vec<Primitive>,
}

/// The primitives that level `landlock` is made of; the default level needs everything but
/// `landlock_network`.
const WITHOUT_NAMESPACES: &[&str] = &["landlock", "landlock_network", "seccomp"];

impl Probe {
    /// Whether every primitive of a level is there.
    pub fn supports(&self, level: IsolationLevel) -> bool {
        !self.primitives.is_empty() && self.missing(level).next().is_none()
    }

    /// The primitives that a level lacks here.
    pub fn missing(&self, level: IsolationLevel) -> impl Iterator<Item = &Primitive> {
        self.primitives.iter().filter(move |primitive| {
            let needed = match level {
                IsolationLevel::Namespaces => primitive.name != "landlock_network",
                IsolationLevel::Landlock => WITHOUT_NAMESPACES.contains(&primitive.name.as_str()),
            };
            needed && !primitive.available
        })
    }
}

/// Tries every primitive with `launcher`, the program whose `main` calls
/// [`crate::launcher_main`].
///
/// # Errors
/// When the launcher cannot be started or does not answer.
pub async fn probe(launcher: &Path) -> Result<Probe, SandboxError> {
    let mut launcher = Launcher::start(launcher, false)?;
    launcher.order(&Order::Probe).await?;
    match launcher.report().await? {
        (Report::Probed(primitives), _) => Ok(Probe { primitives }),
        _ => Err(SandboxError::LauncherLost("answered out of turn")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe_with(missing: &[&str]) -> Probe {
        let primitives = ["user_namespace", "landlock", "landlock_network", "seccomp"]
            .iter()
            .map(|name| Primitive {
                name: (*name).to_owned(),
                available: !missing.contains(name),
                reason: None,
                remedy: None,
            })
            .collect();
        Probe { primitives }
    }

    #[test]
    fn a_level_needs_exactly_its_own_primitives() {
        let cases: &[(&[&str], bool, bool)] = &[
            (&[], true, true),
            (&["user_namespace"], false, true),
            (&["landlock_network"], true, false),
            (&["landlock"], false, false),
            (&["seccomp"], false, false),
        ];
        for (missing, namespaces, landlock) in cases {
            let probe = probe_with(missing);
            assert_eq!(
                probe.supports(IsolationLevel::Namespaces),
                *namespaces,
                "{missing:?}"
            );
            assert_eq!(
                probe.supports(IsolationLevel::Landlock),
                *landlock,
                "{missing:?}"
            );
        }
    }
}
