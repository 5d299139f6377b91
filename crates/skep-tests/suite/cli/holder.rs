//! Who holds a home: one server, its signals, its address, its folder, its socket.

use super::program::{self, Ran, Stage, is_root};
use super::{assert_human_error, assert_json_error, check_error};
use std::process::Stdio;

#[test]
fn one_home_has_one_server() -> anyhow::Result<()> {
    let stage = Stage::new()?;
    let server = stage.up()?;
    let token = server.view["token"]
        .as_str()
        .expect("the first start shows the token")
        .to_owned();
    assert!(token.starts_with("skep_local_"), "{token}");
    check_error(&stage, &["up", "--listen", "127.0.0.1:0"], 2, "home_in_use")?;
    // A client of the running server, which answers from the same store.
    check_error(&stage, &["job", "show", "7"], 4, "not_found")?;
    let verified = stage.run(&["ledger", "verify"])?;
    assert_eq!(verified.code, Some(0), "{verified:?}");
    assert!(verified.stdout.starts_with("ledger: ok"), "{verified:?}");
    assert_eq!(server.end("INT")?, (Some(130), String::new()));
    assert!(
        !stage.home().join("skep.sock").exists(),
        "an orderly end removes the socket"
    );
    let second = stage.up()?;
    assert!(
        second.view.get("token").is_none(),
        "a token is shown once: {}",
        second.view
    );
    let stored = std::fs::read_to_string(stage.home().join("token"))?;
    assert_eq!(stored.trim(), token);
    assert_eq!(second.end("TERM")?, (Some(143), String::new()));
    Ok(())
}

#[test]
fn a_killed_server_leaves_nothing_that_stops_the_next_one() -> anyhow::Result<()> {
    let stage = Stage::new()?;
    let server = stage.up()?;
    assert_eq!(server.end("KILL")?.0, None);
    assert!(
        stage.home().join("skep.sock").exists(),
        "nobody was there to remove it"
    );
    let list = stage.run(&["job", "list", "--json"])?;
    assert_eq!(list.code, Some(0), "{list:?}");
    stage.up()?.end("TERM")?;
    Ok(())
}

#[test]
fn listening_for_other_machines_is_refused() -> anyhow::Result<()> {
    let stage = Stage::new()?;
    check_error(
        &stage,
        &["up", "--listen", "0.0.0.0:0"],
        3,
        "listen_not_loopback",
    )?;
    assert!(!stage.home().exists(), "nothing was made");
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    check_error(&stage, &["up", "--listen", &address], 2, "address_in_use")?;
    assert!(!stage.home().exists(), "nothing was made");
    Ok(())
}

#[test]
fn a_home_that_cannot_be_written_is_said_so() -> anyhow::Result<()> {
    let stage = Stage::new()?;
    std::fs::create_dir(stage.home())?;
    std::fs::set_permissions(
        stage.home(),
        std::os::unix::fs::PermissionsExt::from_mode(0o555),
    )?;
    let run = |arguments: &[&str]| -> anyhow::Result<Ran> {
        let mut command = match is_root() {
            true => stage.unprivileged(arguments)?,
            false => stage.command(arguments),
        };
        Ok(command.output()?.into())
    };
    for arguments in [
        &["up", "--listen", "127.0.0.1:0"][..],
        &["run", "x", "--repo", "."],
        &["job", "show", "1"],
    ] {
        assert_human_error(&run(arguments)?, 2, "home_not_writable");
        let mut arguments = arguments.to_vec();
        arguments.push("--json");
        assert_json_error(&run(&arguments)?, 2, "home_not_writable")?;
    }
    let doctor = run(&["doctor", "--json"])?;
    let checks = doctor.json()?["checks"].clone();
    assert_eq!(
        (&checks[0]["name"], &checks[0]["state"]),
        (&"home".into(), &"fail".into())
    );
    assert_eq!(doctor.code, Some(1));
    assert_eq!(
        std::fs::read_dir(stage.home())?.count(),
        0,
        "nothing was made"
    );
    Ok(())
}

/// Opens the home and its socket to everybody, as a careless user might, and connects as another
/// user: the server looks at who it is.
#[test]
fn another_user_is_not_served_on_the_socket() -> anyhow::Result<()> {
    if !is_root() {
        // Only root can become another user; the suite is run as root for this.
        return Ok(());
    }
    let stage = Stage::new()?;
    let server = stage.up()?;
    program::open_to_all(&stage.home())?;
    let socket = stage.home().join("skep.sock");
    std::fs::set_permissions(&socket, std::os::unix::fs::PermissionsExt::from_mode(0o666))?;
    let ask = "import socket, sys\n\
        s = socket.socket(socket.AF_UNIX)\n\
        s.connect(sys.argv[1])\n\
        try:\n    s.sendall(b'GET /healthz HTTP/1.1\\r\\nhost: localhost\\r\\nconnection: close\\r\\n\\r\\n')\n    print(s.recv(12))\n\
        except OSError as error:\n    print(type(error).__name__)\n";
    let asked = |user: &str| -> anyhow::Result<String> {
        program::open_to_all(&stage.path("."))?;
        let output = std::process::Command::new("setpriv")
            .args([
                &format!("--reuid={user}"),
                &format!("--regid={user}"),
                "--clear-groups",
            ])
            .args(["/usr/bin/env", "python3", "-c", ask])
            .arg(&socket)
            .env("PATH", "/usr/bin:/bin")
            .stderr(Stdio::inherit())
            .output()?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    assert_eq!(asked("0")?, "b'HTTP/1.1 200'");
    let answer = asked("65534")?;
    let is_closed = ["b''", "BrokenPipeError", "ConnectionResetError"].contains(&answer.as_str());
    assert!(is_closed, "{answer}");
    server.end("TERM")?;
    Ok(())
}
