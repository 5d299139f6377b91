//! Ways out through sockets, and the one that is open: the gateway.

use crate::stage::{Stage, User, everywhere, refusal_in};
use skep_sandbox::IsolationLevel;
use std::io::ErrorKind;
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};

/// Somebody outside on every kind of socket, who must not be reached.
struct Neighbours {
    tcp: TcpListener,
    udp: UdpSocket,
    unix: UnixListener,
    datagram: UnixDatagram,
    hidden: UnixListener,
}

impl Neighbours {
    fn new(stage: &Stage, name: &str) -> Self {
        let abstract_name = SocketAddr::from_abstract_name(name).unwrap();
        let neighbours = Self {
            tcp: TcpListener::bind("127.0.0.1:0").unwrap(),
            udp: UdpSocket::bind("127.0.0.1:0").unwrap(),
            unix: UnixListener::bind(stage.outside.join("stream")).unwrap(),
            datagram: UnixDatagram::bind(stage.outside.join("datagram")).unwrap(),
            hidden: UnixListener::bind_addr(&abstract_name).unwrap(),
        };
        for path in ["stream", "datagram"] {
            let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
            std::fs::set_permissions(stage.outside.join(path), open).unwrap();
        }
        neighbours
    }

    /// The ways to them.
    fn ways(&self, stage: &Stage, name: &str) -> Vec<(&'static str, String)> {
        let tcp = self.tcp.local_addr().unwrap().to_string();
        vec![
            ("tcp", tcp.clone()),
            ("multipath_tcp", tcp.clone()),
            ("fast_open", tcp),
            ("udp", self.udp.local_addr().unwrap().to_string()),
            ("unix", stage.outside.join("stream").display().to_string()),
            ("abstract", name.to_owned()),
            (
                "unix_by_pair",
                stage.outside.join("datagram").display().to_string(),
            ),
        ]
    }

    /// How many have been reached since the last time this was asked.
    fn reached(&self) -> usize {
        self.tcp.set_nonblocking(true).unwrap();
        self.udp.set_nonblocking(true).unwrap();
        self.unix.set_nonblocking(true).unwrap();
        self.datagram.set_nonblocking(true).unwrap();
        self.hidden.set_nonblocking(true).unwrap();
        let mut byte = [0];
        let answers = [
            self.tcp.accept().map(drop),
            self.udp.recv(&mut byte).map(drop),
            self.unix.accept().map(drop),
            self.datagram.recv(&mut byte).map(drop),
            self.hidden.accept().map(drop),
        ];
        answers
            .into_iter()
            .filter(|answer| match answer {
                Ok(()) => true,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
                    false
                }
            })
            .count()
    }
}

#[tokio::test]
async fn nobody_but_the_gateway_can_be_reached() {
    for (level, user) in everywhere() {
        let mut stage = Stage::new(level, user).await;
        stage.spec.gateway = true;
        let name = format!("skep-test-{}-{level}-{user:?}", std::process::id());
        let neighbours = Neighbours::new(&stage, &name);
        let program = stage.spec.launcher_inside().display().to_string();
        for (way, to) in neighbours.ways(&stage, &name) {
            let unfenced = refusal_in(&stage.unfenced(&["escape", way, &to]));
            let has_protocol =
                unfenced != Some(libc::EPROTONOSUPPORT) && unfenced != Some(libc::ENOPROTOOPT);
            if has_protocol {
                assert_eq!(unfenced, None, "{way} works without a fence");
                assert_eq!(neighbours.reached(), 1, "{way} arrives without a fence");
            }
            let outcome = stage.run(&[&program, "escape", way, &to]);
            // A datagram to nobody is no error; that it did not arrive is what counts.
            if way != "udp" {
                assert!(outcome.refusal().is_some(), "{level} {user:?} {way} {to}");
            }
            assert_eq!(neighbours.reached(), 0, "{level} {user:?} {way} {to}");
        }
    }
}

#[tokio::test]
async fn the_gateway_answers_from_inside() {
    for (level, user) in everywhere() {
        let mut stage = Stage::new(level, user).await;
        stage.spec.gateway = true;
        let program = stage.spec.launcher_inside().display().to_string();
        for _ in 0..2 {
            let script = format!("'{program}' escape http \"$SKEP_GATEWAY_URL\"");
            assert_eq!(stage.shell(&script), "done\n", "{level} {user:?}");
        }
        stage.spec.gateway = false;
        let url = stage.shell("echo \"[$SKEP_GATEWAY_URL]\"");
        assert_eq!(url, "[]\n");
    }
}

#[tokio::test]
async fn only_the_families_of_a_level_exist() {
    const NETLINK_AND_OTHERS: &[(&str, i32)] = &[
        ("vsock", libc::AF_VSOCK),
        ("packet", libc::AF_PACKET),
        ("alg", libc::AF_ALG),
        ("bluetooth", libc::AF_BLUETOOTH),
        ("xdp", libc::AF_XDP),
    ];
    for (level, user) in everywhere() {
        let stage = Stage::new(level, user).await;
        let program = stage.spec.launcher_inside().display().to_string();
        let ask = |family: i32| {
            stage
                .run(&[&program, "escape", "family", &family.to_string()])
                .refusal()
        };
        for (name, family) in NETLINK_AND_OTHERS {
            assert_eq!(ask(*family), Some(libc::EAFNOSUPPORT), "{level} {name}");
        }
        let datagrams_and_local = [
            libc::AF_INET,
            libc::AF_INET6,
            libc::AF_UNIX,
            libc::AF_NETLINK,
        ];
        for family in datagrams_and_local {
            let expected = match level {
                IsolationLevel::Namespaces => None,
                IsolationLevel::Landlock => Some(libc::EAFNOSUPPORT),
            };
            assert_eq!(ask(family), expected, "{level} family {family}");
        }
    }
}

/// Tests of servers need a loopback; a namespace has one of its own.
#[tokio::test]
async fn a_namespace_has_a_loopback_of_its_own() {
    let stage = Stage::new(IsolationLevel::Namespaces, User::Own).await;
    let script = "import socket, threading
server = socket.create_server(('127.0.0.1', 0))
threading.Thread(target=lambda: server.accept()[0].sendall(b'hello')).start()
print(socket.create_connection(server.getsockname()).recv(5).decode())";
    let outcome = stage.run(&["/usr/bin/python3", "-c", script]);
    assert_eq!(outcome.stdout(), "hello\n", "{}", outcome.0);
}
