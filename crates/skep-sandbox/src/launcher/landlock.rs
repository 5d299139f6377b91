//! The second wall, and at level `landlock` the first: what may be opened, and where to connect.
//!
//! Invariant: what is asked for is enforced in full or the fence does not stand. What is asked for
//! depends on the kernel's version, but never falls below what the level needs.

use super::root::{OWN_TREES, is_directory, open_source};
use crate::error::{AtStep, Refusal, Step};
use crate::level::IsolationLevel;
use crate::remedy;
use crate::spec::FenceSpec;
use crate::sys;
use crate::view::{Grant, Origin, Rights, grants};
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath,
    Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

/// The newest version whose rights this module knows and tests; a newer kernel is asked for these.
const ABI_KNOWN: i32 = 7;

/// The version a level needs: 2 lets files move between directories (without it no build works);
/// 4 brings TCP ports, which without a network namespace are the only wall there is.
pub(super) const fn abi_needed(level: IsolationLevel) -> i32 {
    match level {
        IsolationLevel::Namespaces => 2,
        IsolationLevel::Landlock => 4,
    }
}

/// Restricts this process and everything it will start.
pub(super) fn restrict(spec: &FenceSpec, gateway_port: Option<u16>) -> Result<(), Refusal> {
    let kernel = sys::landlock_abi();
    if kernel < abi_needed(spec.level) {
        let mut refusal = Refusal::new(
            Step::Landlock,
            format!(
                "the kernel has version {kernel}, the level needs {}",
                abi_needed(spec.level)
            ),
            None,
        );
        refusal.hint = Some(remedy::LANDLOCK.to_owned());
        return Err(refusal);
    }
    let abi = ABI::from(kernel.min(ABI_KNOWN));
    let rules = ruleset(spec.level, abi).map_err(|error| refusal(&error))?;
    let rules = add_files(rules, spec, abi)?;
    let rules = add_ports(rules, gateway_port).map_err(|error| refusal(&error))?;
    let status = rules.restrict_self().map_err(|error| refusal(&error))?;
    if status.ruleset == RulesetStatus::FullyEnforced {
        Ok(())
    } else {
        Err(Refusal::new(Step::Landlock, "not enforced in full", None))
    }
}

fn ruleset(level: IsolationLevel, abi: ABI) -> Result<RulesetCreated, RulesetError> {
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(abi))?;
    if level == IsolationLevel::Landlock {
        rules = rules.handle_access(AccessNet::from_all(abi))?;
    }
    if abi >= ABI::V6 {
        rules = rules.scope(Scope::from_all(abi))?;
    }
    rules.create()
}

fn add_files(
    mut rules: RulesetCreated,
    spec: &FenceSpec,
    abi: ABI,
) -> Result<RulesetCreated, Refusal> {
    for (path, rights, file) in open_all(spec)? {
        let mut access = access(rights, abi);
        if !is_directory(file.as_fd()).at(Step::Landlock, &path.display().to_string())? {
            access &= AccessFs::from_file(abi);
        }
        rules = rules
            .add_rule(PathBeneath::new(file, access))
            .map_err(|error| refusal(&error))?;
    }
    Ok(rules)
}

fn add_ports(rules: RulesetCreated, port: Option<u16>) -> Result<RulesetCreated, RulesetError> {
    match port {
        Some(port) => rules.add_rule(NetPort::new(port, AccessNet::ConnectTcp)),
        None => Ok(rules),
    }
}

/// Every path that gets a rule, opened from inside.
fn open_all(spec: &FenceSpec) -> Result<Vec<(PathBuf, Rights, OwnedFd)>, Refusal> {
    let mut all = grants(spec);
    if spec.level == IsolationLevel::Namespaces {
        all.extend(OWN_TREES.iter().map(|(path, rights)| Grant {
            host: PathBuf::from(path),
            inside: PathBuf::from(path),
            rights: *rights,
            origin: Origin::System,
        }));
    }
    let mut opened = Vec::new();
    for grant in all {
        // From here on the inside path is the only one there is. At level `landlock` it is the
        // host's, so a link in the work tree must not lead a rule out of it.
        let grant = Grant {
            host: grant.inside.clone(),
            ..grant
        };
        let attempt_dir = match spec.level {
            IsolationLevel::Namespaces => std::path::Path::new(crate::spec::INSIDE_ROOT),
            IsolationLevel::Landlock => &spec.attempt_dir,
        };
        match open_source(&grant, attempt_dir) {
            Ok(file) => opened.push((grant.inside, grant.rights, file)),
            Err(rustix::io::Errno::NOENT) if grant.origin.may_be_missing() => {}
            Err(errno) => {
                return Err(errno).at(Step::Path, &grant.inside.display().to_string());
            }
        }
    }
    Ok(opened)
}

fn access(rights: Rights, abi: ABI) -> BitFlags<AccessFs> {
    let never = AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev;
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let wanted = match rights {
        Rights::Read => read | AccessFs::Execute,
        Rights::ReadData => read,
        Rights::Write => AccessFs::from_all(abi) & !never,
        Rights::WriteData => AccessFs::from_all(abi) & !(never | AccessFs::Execute),
        Rights::Device => {
            AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::IoctlDev
        }
    };
    wanted & AccessFs::from_all(abi)
}

fn refusal(error: &RulesetError) -> Refusal {
    let mut refusal = Refusal::new(Step::Landlock, error.to_string(), None);
    refusal.hint = Some(remedy::LANDLOCK.to_owned());
    refusal
}
