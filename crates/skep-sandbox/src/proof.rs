//! What a fence is, measured from inside it, and whether that is what its level promises.
//!
//! Invariant: nothing here is assumed. The launcher reads each value in the process that becomes
//! the worker, after the last wall is up; the engine compares and refuses to go on otherwise.

use crate::channel::Measured;
use crate::error::SandboxError;
use crate::level::IsolationLevel;
use serde::{Deserialize, Serialize};

/// The namespaces that a fence of level `namespaces` has to itself, as `/proc/self/ns` names them.
pub const NAMESPACE_KINDS: &[&str] = &["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"];

/// The user and group id of a worker at level `namespaces`.
pub const INSIDE_ID: u32 = 1000;

/// One namespace by its kind and inode number, which is what makes two of them the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespaceId {
    /// The kind, as in `net`.
    pub kind: String,
    /// The inode number.
    pub inode: u64,
}

/// What the launcher read from inside, just before the worker's program began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FenceProof {
    /// The level that was asked for and held.
    pub level: IsolationLevel,
    /// The Landlock version of the kernel, from 1; 0 is none.
    pub landlock_abi: i32,
    /// A directory that could be opened before Landlock was refused after it.
    pub landlock_files: bool,
    /// A loopback port other than the gateway's was refused by Landlock. Only level `landlock`
    /// needs that; the network namespace holds it at the other.
    pub landlock_network: bool,
    /// The worker's namespaces that are not the engine's.
    pub namespaces: Vec<NamespaceId>,
    /// A seccomp filter is in force.
    pub seccomp: bool,
    /// No program can gain privileges.
    pub no_new_privs: bool,
    /// The worker's user id, as it sees it.
    pub uid: u32,
    /// The worker's group id, as it sees it.
    pub gid: u32,
    /// Every capability that is effective, permitted, inheritable or ambient, as a hexadecimal
    /// mask; `0` is none.
    pub capabilities: String,
    /// The capabilities that an executed file could still grant if privileges could be gained, as
    /// a hexadecimal mask.
    pub bounding: String,
    /// What this fence does not hold, by name; [`gap_description`] says what each means.
    pub gaps: Vec<String>,
}

impl FenceProof {
    /// The launcher's measurements beside the engine's own namespaces.
    pub(crate) fn of(
        level: IsolationLevel,
        has_gateway: bool,
        measured: Measured,
        own: &[NamespaceId],
    ) -> Self {
        let gaps = gaps(level, has_gateway, &measured);
        let namespaces = measured
            .namespaces
            .into_iter()
            .filter(|namespace| !own.contains(namespace))
            .collect();
        Self {
            level,
            landlock_abi: measured.landlock_abi,
            landlock_files: measured.landlock_files,
            landlock_network: measured.landlock_network,
            namespaces,
            seccomp: measured.seccomp,
            no_new_privs: measured.no_new_privs,
            uid: measured.uid,
            gid: measured.gid,
            capabilities: measured.capabilities,
            bounding: measured.bounding,
            gaps,
        }
    }

    /// Whether the measured values are what the level promises.
    ///
    /// # Errors
    /// [`SandboxError::ProofMismatch`] with the first difference.
    pub fn verify(&self, level: IsolationLevel) -> Result<(), SandboxError> {
        match self.first_difference(level) {
            None => Ok(()),
            Some(what) => Err(SandboxError::ProofMismatch { level, what }),
        }
    }

    fn first_difference(&self, level: IsolationLevel) -> Option<String> {
        let promises = [
            (self.level == level, "the level is another one"),
            (self.no_new_privs, "privileges can be gained"),
            (self.seccomp, "no seccomp filter is in force"),
            (self.capabilities == "0", "capabilities are left"),
            (self.landlock_files, "landlock does not hold files"),
        ];
        if let Some((_, what)) = promises.iter().find(|(holds, _)| !holds) {
            return Some((*what).to_owned());
        }
        match level {
            IsolationLevel::Namespaces => self.first_shared_namespace(),
            IsolationLevel::Landlock => {
                (!self.landlock_network).then(|| "landlock does not hold the network".to_owned())
            }
        }
    }

    fn first_shared_namespace(&self) -> Option<String> {
        if self.uid != INSIDE_ID || self.gid != INSIDE_ID {
            return Some(format!(
                "the worker is user {} of group {}",
                self.uid, self.gid
            ));
        }
        if self.bounding != "0" {
            return Some("the bounding set is not empty".to_owned());
        }
        NAMESPACE_KINDS
            .iter()
            .find(|kind| !self.namespaces.iter().any(|ns| ns.kind == **kind))
            .map(|kind| format!("the {kind} namespace is the engine's own"))
    }
}

fn gaps(level: IsolationLevel, has_gateway: bool, measured: &Measured) -> Vec<String> {
    let without_namespaces = level == IsolationLevel::Landlock;
    let abi = measured.landlock_abi;
    [
        ("memory_per_process", true),
        ("disk_space", true),
        ("process_count", !measured.processes_limited),
        ("mode_and_times", without_namespaces),
        ("names_and_sizes", without_namespaces),
        ("git_info", without_namespaces),
        ("signals", without_namespaces && abi < 6),
        ("device_control", without_namespaces && abi < 5),
        ("gateway_port", without_namespaces && has_gateway),
        ("port_on_every_host", without_namespaces && has_gateway),
        ("launcher_killed", without_namespaces),
        ("superuser", measured.uid == 0),
    ]
    .into_iter()
    .filter(|(_, is_open)| *is_open)
    .map(|(name, _)| name.to_owned())
    .collect()
}

/// What a gap in a [`FenceProof`] means, in one sentence.
pub fn gap_description(name: &str) -> Option<&'static str> {
    GAPS.iter()
        .find(|(known, _)| *known == name)
        .map(|(_, description)| *description)
}

/// Every gap by name.
pub const GAPS: &[(&str, &str)] = &[
    (
        "memory_per_process",
        "memory is limited for each process, not for all of them together",
    ),
    (
        "disk_space",
        "the attempt's own directories may fill the disk they lie on",
    ),
    (
        "process_count",
        "the number of processes is not limited, because the kernel exempts the superuser",
    ),
    (
        "mode_and_times",
        "mode and times of files of the same user can be changed anywhere (chmod, utimensat)",
    ),
    (
        "names_and_sizes",
        "names, sizes and owners of files can be asked for anywhere (stat)",
    ),
    (
        "git_info",
        "the attempt's alternates can be edited; the import notices and refuses",
    ),
    ("signals", "processes of the same user can be signalled"),
    (
        "device_control",
        "device files that can be read can be controlled (ioctl)",
    ),
    (
        "gateway_port",
        "the gateway's port is on the machine's own loopback, so other local users reach it too",
    ),
    (
        "port_on_every_host",
        "the worker can connect to the gateway's port number on any host, because landlock knows \
         ports and not hosts",
    ),
    (
        "launcher_killed",
        "a process that detached itself survives if the launcher alone is killed by force",
    ),
    (
        "superuser",
        "the worker has the superuser's id, though none of its capabilities",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn proof(level: IsolationLevel) -> FenceProof {
        FenceProof {
            level,
            landlock_abi: 7,
            landlock_files: true,
            landlock_network: true,
            namespaces: NAMESPACE_KINDS
                .iter()
                .map(|kind| NamespaceId {
                    kind: (*kind).to_owned(),
                    inode: 1,
                })
                .collect(),
            seccomp: true,
            no_new_privs: true,
            uid: INSIDE_ID,
            gid: INSIDE_ID,
            capabilities: "0".to_owned(),
            bounding: "0".to_owned(),
            gaps: Vec::new(),
        }
    }

    #[test]
    fn each_missing_wall_is_named() {
        type Change = fn(&mut FenceProof);
        let namespaces: &[(&str, Change)] = &[
            ("privileges", |p| p.no_new_privs = false),
            ("seccomp", |p| p.seccomp = false),
            ("capabilities", |p| p.capabilities = "400".to_owned()),
            ("bounding", |p| p.bounding = "1".to_owned()),
            ("landlock", |p| p.landlock_files = false),
            ("user 0", |p| p.uid = 0),
            ("group 0", |p| p.gid = 0),
            ("net namespace", |p| {
                p.namespaces.retain(|n| n.kind != "net");
            }),
            ("level", |p| p.level = IsolationLevel::Landlock),
        ];
        for (word, change) in namespaces {
            let mut measured = proof(IsolationLevel::Namespaces);
            assert!(measured.verify(IsolationLevel::Namespaces).is_ok());
            change(&mut measured);
            let error = measured.verify(IsolationLevel::Namespaces).unwrap_err();
            assert!(error.to_string().contains(word), "{word}: {error}");
        }
        let mut alone = proof(IsolationLevel::Landlock);
        alone.namespaces.clear();
        alone.uid = 0;
        assert!(alone.verify(IsolationLevel::Landlock).is_ok());
        alone.landlock_network = false;
        assert!(alone.verify(IsolationLevel::Landlock).is_err());
    }
}
