//! What the engine and a launcher say to each other, and the socket they say it on.
//!
//! The socket is a pair of `SOCK_SEQPACKET` ends: a message is whole or not there, and the end of
//! the other side shows as an empty message. The launcher, the init process and the worker-to-be
//! share one end in turn; the engine has the other. Orders may be larger than a message, so they
//! come in pieces, each led by one byte that says whether more follows.
//!
//! Invariant: the engine's end is never in a process of the fence, so when the engine dies, in any
//! way, the launcher sees the end of the socket.

use crate::error::Refusal;
use crate::limits::{MESSAGE_BYTES_MAX, ORDER_BYTES_MAX};
use crate::probe::Primitive;
use crate::proof::NamespaceId;
use crate::spec::{FenceSpec, FencedCommand};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What the engine orders.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Build this fence and wait. `gateway_port` is the port of the engine's own listener, at the
    /// level without a network namespace.
    Raise {
        /// The fence.
        spec: Box<FenceSpec>,
        /// The port the worker may connect to.
        gateway_port: Option<u16>,
    },
    /// Prepare this command and report what was measured.
    Run(FencedCommand),
    /// The proof is good: become the command.
    Go,
    /// Try every primitive and report.
    Probe,
}

/// What a launcher reports.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    /// The process that everything in the fence descends from is there; comes with its pidfd.
    Supervised,
    /// The fence stands; comes with the gateway's listener if one was made inside.
    Raised,
    /// What was measured in the process that becomes the worker.
    Proved(Measured),
    /// The command runs; comes with the pidfd of its process.
    Started,
    /// Everything is dead; how the worker ended.
    Ended(ExitStatus),
    /// A step could not be taken. Nothing runs.
    Refused(Refusal),
    /// What this machine can do.
    Probed(Vec<Primitive>),
}

/// The launcher's measurements, before the engine compares them with its own.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) landlock_abi: i32,
    pub(crate) landlock_files: bool,
    pub(crate) landlock_network: bool,
    pub(crate) namespaces: Vec<NamespaceId>,
    pub(crate) seccomp: bool,
    pub(crate) no_new_privs: bool,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) capabilities: String,
    pub(crate) bounding: String,
    pub(crate) processes_limited: bool,
}

/// How a worker ended: a code, or the signal that killed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitStatus {
    /// The exit code, if it exited.
    pub code: Option<i32>,
    /// The signal, if one killed it.
    pub signal: Option<i32>,
}

impl ExitStatus {
    /// Whether the worker exited with code 0.
    pub fn success(self) -> bool {
        self.code == Some(0)
    }

    /// How a worker ends that is killed from outside.
    pub(crate) const KILLED: Self = Self {
        code: None,
        signal: Some(libc::SIGKILL),
    };
}

/// A fresh pair of ends: the engine's and the launcher's.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

const MORE: u8 = 1;
const LAST: u8 = 0;

/// An order as the messages that carry it.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] when it is too large or not representable.
pub(crate) fn order_messages(order: &Order) -> io::Result<Vec<Vec<u8>>> {
    let bytes = serde_json::to_vec(order).map_err(|error| invalid(&error.to_string()))?;
    if bytes.len() > ORDER_BYTES_MAX {
        return Err(invalid("the order is too large"));
    }
    let pieces: Vec<&[u8]> = bytes.chunks(MESSAGE_BYTES_MAX - 1).collect();
    let last = pieces.len().saturating_sub(1);
    Ok(pieces
        .into_iter()
        .enumerate()
        .map(|(index, piece)| {
            let lead = if index == last { LAST } else { MORE };
            [&[lead], piece].concat()
        })
        .collect())
}

/// Waits for the next order. `None` when the engine is gone.
pub(crate) fn receive_order(socket: BorrowedFd<'_>) -> io::Result<Option<Order>> {
    let mut bytes = Vec::new();
    let mut buffer = vec![0; MESSAGE_BYTES_MAX];
    loop {
        let (length, _) = receive(socket, &mut buffer, RecvFlags::empty())?;
        match buffer.get(..length).and_then(<[u8]>::split_first) {
            None => return Ok(None),
            Some((lead, piece)) => {
                bytes.extend_from_slice(piece);
                if *lead == LAST {
                    return decode(&bytes).map(Some);
                }
            }
        }
        if bytes.len() > ORDER_BYTES_MAX {
            return Err(invalid("the order is too large"));
        }
    }
}

/// Sends a report, with a descriptor if one goes with it.
pub(crate) fn send_report(
    socket: BorrowedFd<'_>,
    report: &Report,
    descriptor: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let bytes = serde_json::to_vec(report).map_err(|error| invalid(&error.to_string()))?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors: Vec<BorrowedFd<'_>> = descriptor.into_iter().collect();
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(invalid("no room for the descriptor"));
    }
    sendmsg(
        socket,
        &[IoSlice::new(&bytes)],
        &mut ancillary,
        SendFlags::NOSIGNAL,
    )?;
    Ok(())
}

/// Sends one message of an order without waiting.
pub(crate) fn try_send(socket: BorrowedFd<'_>, message: &[u8]) -> io::Result<()> {
    rustix::net::send(socket, message, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)?;
    Ok(())
}

/// Takes the next report without waiting. `None` when the launcher is gone.
pub(crate) fn try_receive_report(
    socket: BorrowedFd<'_>,
) -> io::Result<Option<(Report, Option<OwnedFd>)>> {
    let mut buffer = vec![0; MESSAGE_BYTES_MAX];
    let (length, descriptor) = receive(socket, &mut buffer, RecvFlags::DONTWAIT)?;
    if length == 0 {
        return Ok(None);
    }
    let report = decode(&buffer[..length])?;
    Ok(Some((report, descriptor)))
}

fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    flags: RecvFlags,
) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let mut slices = [IoSliceMut::new(buffer)];
        match recvmsg(
            socket.as_fd(),
            &mut slices,
            &mut ancillary,
            flags | RecvFlags::CMSG_CLOEXEC,
        ) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other?,
        }
    };
    let mut descriptor = None;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(mut descriptors) = message {
            descriptor = descriptors.next();
        }
    }
    Ok((received.bytes, descriptor))
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    serde_json::from_slice(bytes).map_err(|error| invalid(&error.to_string()))
}

fn invalid(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, reason.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    #[test]
    fn a_large_order_arrives_whole_and_the_end_is_seen() {
        let (engine, launcher) = pair().unwrap();
        let command = FencedCommand {
            argv: vec!["x".repeat(300_000)],
            env: vec![("A".to_owned(), "b".to_owned())],
            cwd: PathBuf::from("/"),
        };
        let messages = order_messages(&Order::Run(command.clone())).unwrap();
        assert!(messages.len() > 4);
        let reader = std::thread::spawn(move || {
            let first = receive_order(launcher.as_fd()).unwrap();
            let second = receive_order(launcher.as_fd()).unwrap();
            (first, second.is_none())
        });
        for message in &messages {
            rustix::net::send(engine.as_fd(), message, SendFlags::empty()).unwrap();
        }
        drop(engine);
        let (order, ended) = reader.join().unwrap();
        assert!(matches!(order, Some(Order::Run(found)) if found == command));
        assert!(ended);
    }

    #[test]
    fn an_order_past_its_limit_is_refused() {
        let command = FencedCommand {
            argv: vec!["x".repeat(ORDER_BYTES_MAX)],
            env: Vec::new(),
            cwd: PathBuf::from("/"),
        };
        assert!(order_messages(&Order::Run(command)).is_err());
    }

    #[test]
    fn a_descriptor_travels_with_its_report() {
        let (engine, launcher) = pair().unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        send_report(launcher.as_fd(), &Report::Raised, Some(reader.as_fd())).unwrap();
        let (report, descriptor) = try_receive_report(engine.as_fd()).unwrap().unwrap();
        assert!(matches!(report, Report::Raised));
        std::io::Write::write_all(&mut &writer, b"through").unwrap();
        drop((reader, writer));
        let mut text = String::new();
        std::io::Read::read_to_string(&mut std::fs::File::from(descriptor.unwrap()), &mut text)
            .unwrap();
        assert_eq!(text, "through");
    }
}
