//! What an operator can do when this machine refuses a part of a fence.

use crate::error::Refusal;

/// Adds to a refusal what the machine's own switches say about it.
pub(crate) fn with_namespace_hint(mut refusal: Refusal) -> Refusal {
    refusal.hint = Some(for_namespaces());
    refusal
}

/// The switch that keeps user namespaces from ordinary users on this machine, and how to turn it.
pub(crate) fn for_namespaces() -> String {
    for (path, blocking, remedy) in SWITCHES {
        let value = std::fs::read_to_string(path).unwrap_or_default();
        if value.trim() == *blocking {
            return (*remedy).to_owned();
        }
    }
    "inside a container, allow user namespaces and mounts for it (Docker: a seccomp profile with \
     unshare and mount, or `--security-opt seccomp=unconfined`); or ask for isolation level \
     `landlock`"
        .to_owned()
}

/// File, the value that blocks, and what to do about it.
const SWITCHES: &[(&str, &str, &str)] = &[
    (
        "/proc/sys/kernel/unprivileged_userns_clone",
        "0",
        "Debian's switch is off: `sysctl kernel.unprivileged_userns_clone=1`",
    ),
    (
        "/proc/sys/user/max_user_namespaces",
        "0",
        "no user namespace is allowed: `sysctl user.max_user_namespaces=10000`",
    ),
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "Ubuntu restricts user namespaces to programs with an AppArmor profile: add \
         /etc/apparmor.d/skep with `profile skep /path/to/skep flags=(unconfined) { userns, }` \
         and run `apparmor_parser -r` on it, or \
         `sysctl kernel.apparmor_restrict_unprivileged_userns=0`",
    ),
];

/// For a fresh `/proc`.
pub(crate) const PROC: &str = "the machine hides parts of its own /proc, as containers do, and the kernel then allows no \
     fresh one: run the container with an unmasked /proc (Docker: `--security-opt \
     systempaths=unconfined`), or ask for isolation level `landlock`";

/// For Landlock.
pub(crate) const LANDLOCK: &str = "boot a kernel with Landlock (5.19 or newer; 6.7 for level `landlock`) and `landlock` in \
     its `lsm=` list";

/// For seccomp.
pub(crate) const SECCOMP: &str = "boot a kernel with CONFIG_SECCOMP_FILTER";
