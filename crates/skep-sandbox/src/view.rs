//! What a worker can see and what it may do there: one list, from which the mounts are made and,
//! as a second wall, the Landlock rules.
//!
//! Invariant: both walls are built from [`grants`], so they cannot disagree.

use crate::level::IsolationLevel;
use crate::spec::{FencePaths, FenceSpec};
use std::path::{Path, PathBuf};

/// What may be done with a path and everything below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rights {
    /// Read and execute.
    Read,
    /// Read; nothing in it can be executed.
    ReadData,
    /// Everything except device files.
    Write,
    /// Write, but nothing in it can be executed.
    WriteData,
    /// A device file: read and write, nothing else.
    Device,
}

impl Rights {
    pub(crate) const fn writes(self) -> bool {
        matches!(self, Self::Write | Self::WriteData)
    }
}

/// One path that the worker gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Grant {
    /// Where it is on the host.
    pub(crate) host: PathBuf,
    /// Where the worker sees it.
    pub(crate) inside: PathBuf,
    pub(crate) rights: Rights,
    /// How the host path may be opened.
    pub(crate) origin: Origin,
}

/// Who chose a path, and so how far it is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The system's or the operator's: symbolic links are followed, a missing one is passed over.
    System,
    /// The attempt's: a symbolic link anywhere in it is refused, because what is in the work tree
    /// is whatever was committed.
    Attempt,
    /// As `Attempt`, but passed over when it is missing: a checkout for a check has no git
    /// directory, and so nothing to protect there.
    AttemptIfThere,
    /// A directory of the scope: as `Attempt`, and made when it is missing.
    Scope,
}

impl Origin {
    pub(crate) const fn may_be_missing(self) -> bool {
        matches!(self, Self::System | Self::AttemptIfThere)
    }
}

/// System trees, readable where they exist.
pub(crate) const SYSTEM_TREES: &[&str] = &[
    "/usr", "/bin", "/lib", "/lib32", "/lib64", "/libx32", "/sbin",
];

/// The parts of `/etc` that programs need and that tell nothing about the machine's users.
pub(crate) const ETC_ENTRIES: &[&str] = &[
    "alternatives",
    "ca-certificates",
    "debian_version",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "magic",
    "mime.types",
    "os-release",
    "pki",
    "protocols",
    "services",
    "ssl",
    "terminfo",
    "timezone",
];

/// The device files.
pub(crate) const DEVICES: &[&str] = &["full", "null", "random", "urandom", "zero"];

/// Facts about the machine that language runtimes read, for the level whose `/proc` is the host's.
const PROC_FACTS: &[&str] = &[
    "/proc/cpuinfo",
    "/proc/filesystems",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/sys/kernel/osrelease",
    "/proc/sys/kernel/pid_max",
    "/proc/sys/vm/overcommit_memory",
    "/proc/uptime",
    "/proc/version",
];

/// Everything the worker gets, outer paths before inner ones. The spec is a checked one.
pub(crate) fn grants(spec: &FenceSpec) -> Vec<Grant> {
    let mut list = system_grants(spec.level);
    list.extend(root_grants(spec));
    list.extend(attempt_grants(spec));
    list
}

fn system_grants(level: IsolationLevel) -> Vec<Grant> {
    let same = |path: &str, rights| Grant {
        host: PathBuf::from(path),
        inside: PathBuf::from(path),
        rights,
        origin: Origin::System,
    };
    let mut list: Vec<Grant> = SYSTEM_TREES
        .iter()
        .map(|tree| same(tree, Rights::Read))
        .collect();
    for entry in ETC_ENTRIES {
        list.push(same(&format!("/etc/{entry}"), Rights::ReadData));
    }
    for device in DEVICES {
        list.push(same(&format!("/dev/{device}"), Rights::Device));
    }
    if level == IsolationLevel::Landlock {
        // A namespace gets its own of these; without one the host's have to do.
        for path in [
            "/etc/group",
            "/etc/hosts",
            "/etc/nsswitch.conf",
            "/etc/passwd",
        ] {
            list.push(same(path, Rights::ReadData));
        }
        list.extend(PROC_FACTS.iter().map(|path| same(path, Rights::ReadData)));
    }
    list
}

/// Toolchain roots and object stores, without those that another path already shows.
fn root_grants(spec: &FenceSpec) -> Vec<Grant> {
    let mut shown: Vec<&Path> = SYSTEM_TREES.iter().map(Path::new).collect();
    let mut list = Vec::new();
    let stores = spec
        .object_stores
        .iter()
        .map(|path| (path, Rights::ReadData));
    let tools = spec.read_only.iter().map(|path| (path, Rights::Read));
    let mut roots: Vec<_> = tools.chain(stores).collect();
    roots.sort_by_key(|(path, _)| path.components().count());
    for (path, rights) in roots {
        if !shown.iter().any(|above| path.starts_with(above)) {
            shown.push(path);
            list.push(Grant {
                host: path.clone(),
                inside: path.clone(),
                rights,
                origin: Origin::System,
            });
        }
    }
    list
}

fn attempt_grants(spec: &FenceSpec) -> Vec<Grant> {
    let host = FencePaths::on_host(&spec.attempt_dir);
    let inside = spec.paths();
    let grant = |host: PathBuf, inside: PathBuf, rights, origin| Grant {
        host,
        inside,
        rights,
        origin,
    };
    let attempt = |host: &Path, inside: &Path, rights| {
        grant(host.to_owned(), inside.to_owned(), rights, Origin::Attempt)
    };
    let git_rights = if spec.git_writable {
        Rights::Write
    } else {
        Rights::Read
    };
    let mut list = vec![
        attempt(&host.repo, &inside.repo, Rights::Read),
        attempt(&host.git, &inside.git, git_rights),
        attempt(&host.home, &inside.home, Rights::Write),
        attempt(&host.tmp, &inside.tmp, Rights::Write),
        attempt(&host.target, &inside.target, Rights::Write),
        attempt(&host.input, &inside.input, Rights::ReadData),
        attempt(&host.output, &inside.output, Rights::WriteData),
        grant(
            spec.launcher.clone(),
            spec.launcher_inside(),
            Rights::Read,
            Origin::System,
        ),
    ];
    for directory in &spec.writable {
        list.push(grant(
            host.repo.join(directory),
            inside.repo.join(directory),
            Rights::Write,
            Origin::Scope,
        ));
    }
    if spec.level == IsolationLevel::Namespaces {
        // Paths below a writable one that stay read-only: only a mount can take a right back.
        if spec.git_writable {
            let info = "objects/info";
            list.push(attempt(
                &host.git.join(info),
                &inside.git.join(info),
                Rights::Read,
            ));
        }
        if spec.writable.iter().any(|path| path.as_os_str().is_empty()) {
            list.push(grant(
                host.repo.join(".git"),
                inside.repo.join(".git"),
                Rights::ReadData,
                Origin::AttemptIfThere,
            ));
        }
    }
    list
}
