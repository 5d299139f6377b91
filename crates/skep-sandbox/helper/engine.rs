//! An engine with one fence.

use crate::say;
use serde::{Deserialize, Serialize};
use skep_sandbox::{
    ExitStatus, FenceProof, FenceSpec, FencedCommand, FencedProcess, SandboxError, prepare,
};
use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::ExitCode;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt};

/// What to run. `SKEP_GATEWAY_URL` is added to the environment when the spec has a gateway.
#[derive(Deserialize)]
struct Request {
    spec: FenceSpec,
    command: FencedCommand,
}

/// How it went, as one JSON document.
#[derive(Default, Serialize)]
struct Outcome {
    error: Option<String>,
    message: Option<String>,
    hint: Option<String>,
    proof: Option<FenceProof>,
    status: Option<ExitStatus>,
    stdout: String,
    stderr: String,
}

/// Runs a command in a fence to its end and prints how it went.
pub(crate) fn run() -> Result<ExitCode, Box<dyn Error>> {
    let outcome = runtime()?.block_on(async {
        match run_one(read_request()?).await {
            Ok(outcome) => Ok::<_, Box<dyn Error>>(outcome),
            Err(error) => Ok(Outcome {
                error: Some(error.code().to_owned()),
                message: Some(error.to_string()),
                hint: error.hint(),
                ..Outcome::default()
            }),
        }
    })?;
    say(&serde_json::to_string(&outcome)?);
    Ok(ExitCode::SUCCESS)
}

async fn run_one(request: Request) -> Result<Outcome, SandboxError> {
    let mut process = start(request).await?;
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let (out, err) = (process.stdout(), process.stderr());
    let read_out = async {
        if let Some(mut out) = out {
            let _ = out.read_to_end(&mut stdout).await;
        }
    };
    let read_err = async {
        if let Some(mut err) = err {
            let _ = err.read_to_end(&mut stderr).await;
        }
    };
    tokio::join!(read_out, read_err);
    let status = process.wait().await?;
    Ok(Outcome {
        proof: Some(process.proof().clone()),
        status: Some(status),
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
        ..Outcome::default()
    })
}

/// Starts a command in a fence, passes its output on, and stays until it is killed.
pub(crate) fn hold() -> Result<ExitCode, Box<dyn Error>> {
    runtime()?.block_on(async {
        let mut process = start(read_request()?).await?;
        if let Some(out) = process.stdout() {
            let mut lines = tokio::io::BufReader::new(out).lines();
            while let Some(line) = lines.next_line().await? {
                say(&line);
            }
        }
        std::future::pending::<()>().await;
        Ok(ExitCode::SUCCESS)
    })
}

async fn start(request: Request) -> Result<FencedProcess, SandboxError> {
    let fence = prepare(&request.spec).await?;
    let mut command = request.command;
    if let Some(url) = fence.gateway_url() {
        let variable = ("SKEP_GATEWAY_URL".to_owned(), url.to_owned());
        command.env.push(variable);
    }
    let mut process = fence.start(command).await?;
    if let Some(listener) = process.gateway_listener() {
        std::thread::spawn(move || answer(&listener));
    }
    Ok(process)
}

/// Answers every connection as the gateway would a request it knows.
fn answer(listener: &TcpListener) {
    if listener.set_nonblocking(false).is_err() {
        return;
    }
    while let Ok((mut stream, _)) = listener.accept() {
        let mut request = [0; 4096];
        if stream.read(&mut request).is_ok_and(|length| length > 0) {
            let _ = stream.write_all(
                b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\ngateway",
            );
        }
    }
}

fn read_request() -> Result<Request, SandboxError> {
    serde_json::from_reader(std::io::stdin()).map_err(|error| SandboxError::Launcher(error.into()))
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
}

/// Starts the same command again and again and prints the times from the call of `start` until
/// the launcher has reported that the command runs.
pub(crate) fn measure(level: &str, times: usize) -> Result<ExitCode, Box<dyn Error>> {
    let home = std::env::temp_dir().join(format!("skep-measure-{}", std::process::id()));
    let result = runtime()?.block_on(measure_in(&home, level, times));
    std::fs::remove_dir_all(&home)?;
    result
}

async fn measure_in(
    home: &std::path::Path,
    level: &str,
    times: usize,
) -> Result<ExitCode, Box<dyn Error>> {
    skep_sandbox::create_directories(home)?;
    std::fs::create_dir_all(home.join("git/objects/info"))?;
    let spec = FenceSpec {
        level: level.parse().map_err(|error| format!("{error}"))?,
        attempt_dir: home.to_owned(),
        writable: vec!["src".into()],
        git_writable: true,
        read_only: Vec::new(),
        object_stores: Vec::new(),
        gateway: true,
        limits: skep_sandbox::ProcessLimits::default(),
        launcher: std::env::current_exe()?,
    };
    let mut taken = Vec::new();
    for _ in 0..times {
        let command = FencedCommand {
            argv: vec!["/bin/true".to_owned()],
            env: Vec::new(),
            cwd: spec.paths().repo,
        };
        let watch = skep_stdx::Stopwatch::start();
        let mut process = skep_sandbox::start(&spec, command).await?;
        taken.push(watch.elapsed());
        process.wait().await?;
    }
    taken.sort();
    let at = |part: usize| taken.get(taken.len() * part / 100).map(Duration::as_micros);
    say(&format!(
        "{{\"level\":{level:?},\"times\":{times},\"median_us\":{:?},\"p90_us\":{:?}}}",
        at(50).unwrap_or(0),
        at(90).unwrap_or(0)
    ));
    Ok(ExitCode::SUCCESS)
}
