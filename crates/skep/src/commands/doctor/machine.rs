//! What the machine offers: a writable home, disk, git, the parts of a fence, agent programs.

use super::{fail, ok, warn};
use rustix::fs::{Access, access, statvfs};
use skep_api::DoctorCheck;
use skep_director::Home;
use skep_sandbox::{IsolationLevel, Primitive, Probe};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// With less free space than this a few attempts may fill the disk, in bytes.
const DISK_WARN_BYTES: u64 = 5 * 1024 * 1024 * 1024;
/// With less free space than this the store may fail to grow, in bytes.
const DISK_FAIL_BYTES: u64 = 256 * 1024 * 1024;
/// The first git whose `merge-tree --write-tree` makes a merge without a work tree.
const GIT_MIN: (u32, u32) = (2, 38);
/// The longest wait for `git --version`, in milliseconds.
const GIT_MS: u64 = 10_000;
/// Programs that later versions drive as workers; `exec` drives any.
const AGENT_PROGRAMS: [&str; 4] = ["claude", "codex", "opencode", "gemini"];

/// Whether the home can be used, or made.
pub(super) fn home(home: &Home) -> DoctorCheck {
    let root = home.root();
    let shown = root.display();
    let remedy = "choose a folder that this user can write with `--home` or SKEP_HOME";
    let metadata = match std::fs::metadata(root) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let parent = nearest_folder(root);
            return match access(&parent, Access::WRITE_OK | Access::EXEC_OK) {
                Ok(()) => ok(
                    "home",
                    format!("{shown} is not there yet; the first run makes it"),
                ),
                Err(error) => fail(
                    "home",
                    format!("{shown} cannot be made: {}: {error}", parent.display()),
                    remedy,
                ),
            };
        }
        Err(error) => return fail("home", format!("{shown}: {error}"), remedy),
    };
    if !metadata.is_dir() {
        return fail("home", format!("{shown} is not a folder"), remedy);
    }
    if let Err(error) = access(root, Access::WRITE_OK | Access::READ_OK | Access::EXEC_OK) {
        return fail(
            "home",
            format!("{shown} cannot be written: {error}"),
            remedy,
        );
    }
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let remedy = format!("chmod 700 {shown}");
        return warn(
            "home",
            format!("{shown} can be read by others (mode {mode:03o})"),
            remedy,
        );
    }
    ok("home", format!("{shown} is writable"))
}

/// Whether there is room for attempts.
pub(super) fn disk(home: &Home) -> DoctorCheck {
    let folder = nearest_folder(home.root());
    let free = match statvfs(&folder) {
        Ok(disk) => disk.f_bavail.saturating_mul(disk.f_frsize),
        Err(error) => {
            let found = format!("free space of {} is not known: {error}", folder.display());
            return warn("disk", found, "check the file system the home is on");
        }
    };
    let found = format!("{:.1} GB free", to_gigabytes(free));
    let remedy = "free some space, or put the home on a larger disk with `--home`; every attempt has a checkout and a target folder of its own";
    if free < DISK_FAIL_BYTES {
        fail("disk", found, remedy)
    } else if free < DISK_WARN_BYTES {
        warn("disk", found, remedy)
    } else {
        ok("disk", found)
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "one decimal of a size for people"
)]
fn to_gigabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e9
}

/// Whether git is there and new enough.
pub(super) async fn git() -> DoctorCheck {
    let remedy = format!("install git {}.{} or newer", GIT_MIN.0, GIT_MIN.1);
    let command = tokio::process::Command::new("git")
        .arg("--version")
        .kill_on_drop(true)
        .output();
    let output = match tokio::time::timeout(Duration::from_millis(GIT_MS), command).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => return fail("git", format!("git cannot be run: {error}"), remedy),
        Err(_) => return fail("git", "git does not answer", remedy),
    };
    let text = String::from_utf8_lossy(&output.stdout);
    match version(&text) {
        Some(found) if found >= GIT_MIN => ok("git", text.trim()),
        Some(_) => fail("git", format!("{} is too old", text.trim()), remedy),
        None => fail(
            "git",
            format!("`git --version` says `{}`", text.trim()),
            remedy,
        ),
    }
}

/// The first two numbers of a version text.
fn version(text: &str) -> Option<(u32, u32)> {
    let word = text
        .split_whitespace()
        .find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    let mut numbers = word.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Whether the configured fence can be had, and what each of its parts says.
pub(super) async fn fence(level: IsolationLevel) -> Vec<DoctorCheck> {
    let launcher = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("skep"));
    let remedy = "run `skep doctor` as the user that runs the engine, on Linux 5.19 or newer";
    match skep_sandbox::probe(&launcher).await {
        Ok(probe) => fence_checks(&probe, level),
        Err(error) => {
            let found = format!(
                "the fence cannot be tried: {}",
                crate::failure::with_causes(&error)
            );
            vec![fail("fence", found, remedy)]
        }
    }
}

fn fence_checks(probe: &Probe, level: IsolationLevel) -> Vec<DoctorCheck> {
    let missing: Vec<&Primitive> = probe.missing(level).collect();
    let whole = if probe.supports(level) {
        ok("fence", format!("level `{level}` can be had"))
    } else {
        let other = [IsolationLevel::Namespaces, IsolationLevel::Landlock]
            .into_iter()
            .find(|other| *other != level && probe.supports(*other));
        let other = other.map_or_else(
            || "no level can be had here: no job can run".to_owned(),
            |other| format!("mend what is missing, or set `isolation = \"{other}\"` under [engine] and read what that level leaves open"),
        );
        fail("fence", format!("level `{level}` cannot be had"), other)
    };
    let works: Vec<String> = probe
        .primitives
        .iter()
        .filter(|primitive| primitive.available)
        .map(|primitive| primitive.name.replace('_', " "))
        .collect();
    let mut checks = vec![
        whole,
        ok("fence parts", format!("these work: {}", works.join(", "))),
    ];
    for primitive in probe
        .primitives
        .iter()
        .filter(|primitive| !primitive.available)
    {
        let name = format!("fence {}", primitive.name.replace('_', " "));
        let found = primitive
            .reason
            .clone()
            .unwrap_or_else(|| "cannot be had".to_owned());
        let remedy = primitive
            .remedy
            .clone()
            .unwrap_or_else(|| "use a newer kernel".to_owned());
        if missing.iter().any(|needed| needed.name == primitive.name) {
            checks.push(fail(&name, found, remedy));
        } else {
            checks.push(warn(
                &name,
                format!("{found}; level `{level}` does not need it"),
                remedy,
            ));
        }
    }
    checks
}

/// Which agent programs are on the path. None is needed.
pub(super) fn agent_programs() -> DoctorCheck {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found: Vec<&str> = AGENT_PROGRAMS
        .into_iter()
        .filter(|name| std::env::split_paths(&path).any(|folder| is_program(&folder.join(name))))
        .collect();
    if found.is_empty() {
        ok(
            "agent programs",
            format!("none of {}; none is needed", AGENT_PROGRAMS.join(", ")),
        )
    } else {
        ok("agent programs", found.join(", "))
    }
}

fn is_program(path: &Path) -> bool {
    path.is_file() && access(path, Access::EXEC_OK).is_ok()
}

/// The path itself if it is there, else the nearest folder above it that is.
fn nearest_folder(path: &Path) -> PathBuf {
    path.ancestors()
        .find(|folder| folder.is_dir())
        .map_or_else(|| "/".into(), Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use skep_api::CheckState;

    #[test]
    fn versions_are_read_as_vendors_write_them() {
        assert_eq!(version("git version 2.47.3\n"), Some((2, 47)));
        assert_eq!(version("git version 2.39.5 (Apple Git-154)"), Some((2, 39)));
        assert_eq!(version("git version 2.9.windows.1"), Some((2, 9)));
        assert_eq!(version("nothing"), None);
        assert!((2, 9) < GIT_MIN && (3, 0) >= GIT_MIN);
    }

    fn primitive(name: &str, available: bool) -> Primitive {
        let (reason, remedy) = match available {
            true => (None, None),
            false => (Some("no".to_owned()), Some("mend it".to_owned())),
        };
        Primitive {
            name: name.to_owned(),
            available,
            reason,
            remedy,
        }
    }

    #[test]
    fn a_missing_part_fails_only_the_level_that_needs_it() {
        let probe = Probe {
            primitives: vec![
                primitive("user_namespace", false),
                primitive("landlock", true),
                primitive("landlock_network", true),
                primitive("seccomp", true),
            ],
        };
        let states = |level| -> Vec<CheckState> {
            fence_checks(&probe, level)
                .into_iter()
                .map(|check| check.state)
                .collect()
        };
        use CheckState::{Fail, Ok, Warn};
        assert_eq!(states(IsolationLevel::Namespaces), [Fail, Ok, Fail]);
        assert_eq!(states(IsolationLevel::Landlock), [Ok, Ok, Warn]);
        let whole = &fence_checks(&probe, IsolationLevel::Namespaces)[0];
        assert!(
            whole
                .remedy
                .as_ref()
                .is_some_and(|r| r.contains("isolation = \"landlock\""))
        );
    }
}
