//! System calls as a hostile program makes them: by number, with whatever arguments.
#![expect(
    unsafe_code,
    reason = "the calls that a fence refuses have no safe wrappers"
)]

use landlock::{ABI, Access, AccessFs, Ruleset, RulesetAttr};
use std::error::Error;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

/// Makes one system call.
pub(crate) fn call(number: i64, arguments: [u64; 6]) -> io::Result<i64> {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: the callers pass null or out-of-range pointers, which the kernel answers with an
    // error, or numbers; and this process does nothing after the call but say how it went.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// `clone` with the flags of a fork and `flags`; the child ends at once.
pub(crate) fn clone_with(flags: i32) -> io::Result<()> {
    let flags = i64::from(flags | libc::SIGCHLD);
    // SAFETY: without CLONE_VM the child has a copy of this single thread's memory and stack, and
    // ends at once.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    if pid == 0 {
        // SAFETY: ends the child without running anything of its parent's.
        unsafe { libc::_exit(0) }
    }
    if pid < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// The address of `text`, which ends with a zero.
pub(crate) fn address(text: &std::ffi::CStr) -> u64 {
    text.as_ptr().addr() as u64
}

/// Stacks this many Landlock layers that allow everything, then becomes the command: the kernel
/// allows 16, so a fence below 16 of them cannot have its own.
pub(crate) fn stacked(count: usize, command: &[&str]) -> Result<ExitCode, Box<dyn Error>> {
    for _ in 0..count {
        Ruleset::default()
            .handle_access(AccessFs::from_all(ABI::V1) & AccessFs::MakeBlock)?
            .create()?
            .restrict_self()?;
    }
    let (program, arguments) = command.split_first().ok_or("no command")?;
    Err(Command::new(program).args(arguments).exec().into())
}
