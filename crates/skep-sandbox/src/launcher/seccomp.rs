//! The third wall: system calls that no agent's work needs and that other walls have been climbed
//! with. A list of what is refused; everything else is left to the walls that know paths and ports.
//!
//! Invariant: calls that are newer than this list do not exist in a fence ([`CALL_REVIEWED_MAX`]),
//! nor do those of other ABIs of the same machine, so the list cannot be walked around.

use crate::error::{Refusal, Step};
use crate::level::IsolationLevel;
use crate::remedy;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, sock_filter,
};
use std::collections::BTreeMap;

/// The highest system call number that has been looked at: `file_setattr`, Linux 6.17. Numbers from
/// 424 on are the same on every architecture. The x32 ABI sets bit 30, so it is above this too.
const CALL_REVIEWED_MAX: u32 = 469;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Installs the filters of a level. The last thing before the command: needs `no_new_privs`.
pub(super) fn install(level: IsolationLevel) -> Result<(), Refusal> {
    for filter in filters(level).map_err(|error| refusal(&error))? {
        seccompiler::apply_filter(&filter).map_err(|error| refusal(&error))?;
    }
    Ok(())
}

fn refusal(error: &dyn std::error::Error) -> Refusal {
    let mut refusal = Refusal::new(Step::Seccomp, error.to_string(), None);
    refusal.hint = Some(remedy::SECCOMP.to_owned());
    refusal
}

/// One filter for each answer a refused call gets. The kernel runs all and takes the strictest.
fn filters(level: IsolationLevel) -> Result<[BpfProgram; 3], BackendError> {
    let mut refused = Rules::new();
    for call in REFUSED.iter().chain(REFUSED_HERE) {
        refused.insert(*call, Vec::new());
    }
    refused.insert(libc::SYS_clone, namespace_flags()?);
    refused.insert(libc::SYS_ioctl, terminal_injection()?);
    let families = match level {
        IsolationLevel::Namespaces => families_of_a_namespace()?,
        IsolationLevel::Landlock => {
            refuse_without_namespaces(&mut refused)?;
            families_of_the_host()?
        }
    };
    Ok([
        missing_calls(),
        compile(refused, libc::EPERM)?,
        compile(families, libc::EAFNOSUPPORT)?,
    ])
}

fn compile(rules: Rules, errno: i32) -> Result<BpfProgram, BackendError> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let answer = SeccompAction::Errno(errno.unsigned_abs());
    SeccompFilter::new(rules, SeccompAction::Allow, answer, arch)?.try_into()
}

/// Calls that answer as on a kernel that does not have them, which every program is ready for:
/// `clone3`, whose flags lie in memory where no filter can see them; io_uring, which does many
/// calls' work without making them; and everything newer than this list.
fn missing_calls() -> BpfProgram {
    const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    const NOT_BELOW: u32 = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;
    const EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
    const MISSING: &[u32] = &[
        425, // io_uring_setup
        426, // io_uring_enter
        427, // io_uring_register
        435, // clone3
    ];
    let instruction = |code: u32, jump: usize, value: u32| sock_filter {
        code: u16::try_from(code).unwrap_or(0),
        jt: u8::try_from(jump).unwrap_or(0),
        jf: 0,
        k: value,
    };
    // Jumps count from the instruction that follows; the refusal stands last.
    let mut program = vec![
        instruction(LOAD, 0, 0),
        instruction(NOT_BELOW, MISSING.len() + 1, CALL_REVIEWED_MAX + 1),
    ];
    for (index, call) in MISSING.iter().enumerate() {
        program.push(instruction(EQUAL, MISSING.len() - index, *call));
    }
    let absent = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs();
    program.push(instruction(RETURN, 0, libc::SECCOMP_RET_ALLOW));
    program.push(instruction(RETURN, 0, absent));
    program
}

/// Refused at every level.
const REFUSED: &[i64] = &[
    // The shape of the file tree.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    467, // open_tree_attr
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_fanotify_init,
    // Files by number rather than by path.
    libc::SYS_open_by_handle_at,
    // Other namespaces.
    libc::SYS_unshare,
    libc::SYS_setns,
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    // Keys, which are held for a user and not for a namespace.
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    // Large parts of the kernel that an agent has no work in.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_vhangup,
    460, // lsm_set_self_attr
    // The machine itself.
    libc::SYS_kexec_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_reboot,
    libc::SYS_acct,
    libc::SYS_syslog,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
];

/// Refused where the architecture has them.
#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: &[i64] = &[
    libc::SYS_kexec_file_load,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
    libc::SYS_uselib,
    libc::SYS__sysctl,
];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_HERE: &[i64] = &[];

/// `clone` with a flag that makes a namespace.
fn namespace_flags() -> Result<Vec<SeccompRule>, BackendError> {
    [
        libc::CLONE_NEWNS,
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWNET,
        libc::CLONE_NEWIPC,
        libc::CLONE_NEWUTS,
        libc::CLONE_NEWCGROUP,
    ]
    .into_iter()
    .map(|flag| {
        let flag = u64::from(flag.unsigned_abs());
        rule(&[(0, SeccompCmpOp::MaskedEq(flag), flag)])
    })
    .collect()
}

/// Typing into a terminal on behalf of its user (`TIOCSTI`), and the console's own way to paste.
fn terminal_injection() -> Result<Vec<SeccompRule>, BackendError> {
    const TIOCLINUX: u64 = 0x541c;
    [libc::TIOCSTI, TIOCLINUX]
        .into_iter()
        .map(|request| rule(&[(1, SeccompCmpOp::Eq, request)]))
        .collect()
}

/// Inside a network namespace: Unix, IPv4, IPv6, and of netlink only the routing tables, which
/// the resolver asks. Others reach past the namespace (vsock) or into old corners of the kernel.
fn families_of_a_namespace() -> Result<Rules, BackendError> {
    let families = [
        libc::AF_UNIX,
        libc::AF_INET,
        libc::AF_INET6,
        libc::AF_NETLINK,
    ];
    let mut rules = vec![rule(&none_of(0, &families))?];
    rules.push(rule(&[
        (0, SeccompCmpOp::Eq, word(libc::AF_NETLINK)),
        (2, SeccompCmpOp::Ne, word(libc::NETLINK_ROUTE)),
    ])?);
    Ok(Rules::from([
        (libc::SYS_socket, rules),
        (
            libc::SYS_socketpair,
            vec![rule(&none_of(0, &[libc::AF_UNIX]))?],
        ),
    ]))
}

/// On the host's own network: TCP, whose ports Landlock holds. It does not hold Multipath TCP and
/// its kin, which are streams of another protocol, so those are refused here.
fn families_of_the_host() -> Result<Rules, BackendError> {
    let mut socket = vec![
        rule(&none_of(0, &[libc::AF_INET, libc::AF_INET6]))?,
        rule(&none_of(2, &[0, libc::IPPROTO_TCP]))?,
    ];
    // A pair of datagram sockets can still send to any Unix socket by its path; streams cannot.
    let mut pair = vec![rule(&none_of(0, &[libc::AF_UNIX]))?];
    for kind in 0..=TYPE_MASK {
        let is_kind = [(1, SeccompCmpOp::MaskedEq(TYPE_MASK), kind)];
        if kind != word(libc::SOCK_STREAM) {
            socket.push(rule(&is_kind)?);
            if kind != word(libc::SOCK_SEQPACKET) {
                pair.push(rule(&is_kind)?);
            }
        }
    }
    Ok(Rules::from([
        (libc::SYS_socket, socket),
        (libc::SYS_socketpair, pair),
    ]))
}

/// The part of a socket's type that is the type; the rest are flags.
const TYPE_MASK: u64 = 0xf;

/// What namespaces hold at the other level.
fn refuse_without_namespaces(rules: &mut Rules) -> Result<(), BackendError> {
    for call in REFUSED_WITHOUT_NAMESPACES {
        rules.insert(*call, Vec::new());
    }
    // A connection by the first data (TCP Fast Open) never passes Landlock's check of `connect`.
    for (call, flags) in [
        (libc::SYS_sendto, 3),
        (libc::SYS_sendmsg, 2),
        (libc::SYS_sendmmsg, 3),
    ] {
        let fast_open = word(libc::MSG_FASTOPEN);
        let connects = rule(&[(flags, SeccompCmpOp::MaskedEq(fast_open), fast_open)])?;
        rules.insert(call, vec![connects]);
    }
    // Limits and priority of other processes: these take a process number, and 0 is oneself.
    for call in [
        libc::SYS_prlimit64,
        libc::SYS_sched_setaffinity,
        libc::SYS_sched_setattr,
        libc::SYS_sched_setparam,
        libc::SYS_sched_setscheduler,
    ] {
        rules.insert(call, vec![rule(&[(0, SeccompCmpOp::Ne, 0)])?]);
    }
    for call in [libc::SYS_setpriority, libc::SYS_ioprio_set] {
        rules.insert(call, vec![rule(&[(1, SeccompCmpOp::Ne, 0)])?]);
    }
    Ok(())
}

/// Attributes of files, which Landlock does not hold, and System V's IPC, which has no paths.
const REFUSED_WITHOUT_NAMESPACES: &[i64] = &[
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    463, // setxattrat
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    466, // removexattrat
    469, // file_setattr
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_shmctl,
    libc::SYS_semget,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_semctl,
    libc::SYS_msgget,
    libc::SYS_msgsnd,
    libc::SYS_msgrcv,
    libc::SYS_msgctl,
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
];

type Condition = (u8, SeccompCmpOp, u64);

/// A rule that matches when every condition on an argument holds. Arguments are compared as the
/// 32-bit numbers that the kernel takes them for.
fn rule(conditions: &[Condition]) -> Result<SeccompRule, BackendError> {
    let conditions = conditions
        .iter()
        .map(|(argument, comparison, value)| {
            SeccompCondition::new(
                *argument,
                SeccompCmpArgLen::Dword,
                comparison.clone(),
                *value,
            )
        })
        .collect::<Result<_, _>>()?;
    SeccompRule::new(conditions)
}

fn none_of(argument: u8, values: &[i32]) -> Vec<Condition> {
    values
        .iter()
        .map(|value| (argument, SeccompCmpOp::Ne, word(*value)))
        .collect()
}

fn word(value: i32) -> u64 {
    u64::from(value.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_levels_compile_and_fit() {
        for level in IsolationLevel::ALL {
            for program in filters(*level).unwrap() {
                assert!(program.len() < seccompiler_limit(), "{}", program.len());
            }
        }
    }

    const fn seccompiler_limit() -> usize {
        // BPF_MAXINSNS of the kernel.
        4096
    }

    /// Runs the hand-written program on a call number, as the kernel would.
    fn answer(program: &BpfProgram, call: u32) -> u32 {
        let mut at = 0;
        loop {
            let instruction = &program[at];
            let taken = match u32::from(instruction.code) {
                0x20 => false,
                0x35 => call >= instruction.k,
                0x15 => call == instruction.k,
                0x06 => return instruction.k,
                other => panic!("instruction {other:#x}"),
            };
            at += 1 + usize::from(if taken {
                instruction.jt
            } else {
                instruction.jf
            });
        }
    }

    #[test]
    fn missing_calls_are_the_listed_ones_and_all_newer_ones() {
        let program = missing_calls();
        let absent = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs();
        for call in [425, 426, 427, 435, 470, 1000, 0x4000_0000, u32::MAX] {
            assert_eq!(answer(&program, call), absent, "{call}");
        }
        for call in [0, 1, 56, 424, 428, 434, 436, 469] {
            assert_eq!(answer(&program, call), libc::SECCOMP_RET_ALLOW, "{call}");
        }
    }
}
