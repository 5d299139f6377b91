//! Nodes on [machines of their own](super::host): homes, one shared folder, one repository, one
//! store; jobs that can be held where a test wants them; and what must be true in the end.

use super::host::Hosts;
use anyhow::Context as _;
use serde_json::Value;
use skep_api::{Client, DispatchRequest, EventView, JobView};
use skep_db::{Db, DbOptions, Location, Tx, params};
use skep_stdx::Secret;
use skep_testkit::{SourceRepository, processes_end, skep_binary, worker_script};
use skep_types::{JobId, JobState, LandingState};
use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

/// The longest wait for anything, and for the next event, in seconds. Generous: a test that gets here has failed.
pub(super) const WAIT_S: u64 = 120;
const TABLES: &str = r#"
[engine]
slots = 2

[provider.script]
api = "replay"
script = "replay.toml"

[model.stub-large]
provider = "script"
family = "stub"
context_tokens = 200000
output_tokens_max = 1000
price = { input = 1.0, output = 2.0 }

[worker.loop]
harness = "skep"
model = "stub-large"
"#;

/// A model that has a command run, which may be held, and then writes the note.
const SCRIPT: &str = r#"
version = 1
[[conversation]]
name = "builder"
[[conversation.turn]]
reply = { blocks = [{ tool = "run", input = { command = "HOLD" } }] }
[[conversation.turn]]
reply = { blocks = [{ tool = "write", input = { path = "note-1.txt", content = "{{instruction}}\n" } }] }
[[conversation.turn]]
reply = { blocks = [{ tool = "finish", input = { status = "DONE", summary = "noted", commit = "feat: note 1", files_changed = ["note-1.txt"], tests_run = [{ command = "true", passed = 0, failed = 0, skipped = 0, exit_code = 0 }] } }] }
"#;

/// Everything that outlives an engine.
pub(super) struct Site {
    hosts: Hosts,
    names: Vec<String>,
    pub(super) project: SourceRepository,
    folder: tempfile::TempDir,
    /// What stands in the command line of every process of a worker or check.
    mark: String,
    db: Db,
    /// What the engine of each start has said.
    logs: Mutex<Vec<(String, watch::Receiver<String>)>>,
}

impl Site {
    /// Homes on machines of these names; none where there can be no such machines.
    pub(super) async fn new(names: &[&str]) -> anyhow::Result<Option<Self>> {
        let Some(hosts) = Hosts::make(names)? else {
            return Ok(None);
        };
        let project = SourceRepository::new(&[("README.md", "# Bees\n")])?;
        let options = DbOptions {
            location: Location::Postgres(Secret::new(hosts.database_address()?)),
            schema: crate::director::SCHEMA.to_vec(),
            clock: None,
            before_commit: None,
        };
        let site = Self {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            mark: format!("mark-{}", project.beside().display()),
            folder: tempfile::tempdir()?,
            db: Db::open(options).await?,
            logs: Mutex::default(),
            hosts,
            project,
        };
        for name in names {
            site.furnish(name)?;
        }
        Ok(Some(site))
    }

    fn furnish(&self, name: &str) -> anyhow::Result<()> {
        let (home, doors) = (self.home(name), self.doors(name));
        std::fs::create_dir_all(&home)?;
        std::fs::create_dir_all(&doors)?;
        std::fs::create_dir_all(self.shared())?;
        let steps = format!(
            r#"
(setsid sh -c 'sleep 600; : {mark}' > /dev/null 2>&1 &) &
number=$(head -n 1 "$SKEP_INSTRUCTION_FILE" | tr -dc 0-9)
{hold}
echo "$SKEP_JOB_ID" > note-$number.txt
save "feat: note $number"
contract DONE "$(ran true 0 0 0)"
"#,
            mark = self.mark,
            hold = self.hold("work-$number"),
        );
        let command = serde_json::to_string(&worker_script(&steps))?;
        let config = format!(
            "{TABLES}
[worker.noter]
harness = \"exec\"
command = {command}

[toolchain]
read_only = [{doors:?}]

[database]
url = {url:?}

[cluster]
shared = {shared:?}
",
            url = self.hosts.database_url(),
            shared = self.shared(),
        );
        std::fs::write(home.join("skep.toml"), config)?;
        let hold = self.hold("work-1").replace('"', "\\\"");
        std::fs::write(home.join("replay.toml"), SCRIPT.replace("HOLD", &hold))?;
        Ok(())
    }

    fn home(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn shared(&self) -> PathBuf {
        self.folder.path().join("shared")
    }

    /// What fences of this machine see, and of no other.
    fn doors(&self, name: &str) -> PathBuf {
        self.folder.path().join("doors").join(name)
    }

    /// Lines of shell that wait at a closed [`Door`] of the machine that they run on.
    fn hold(&self, place: &str) -> String {
        let wait = |name: &String| {
            let door = self.doors(name).join(place).display().to_string();
            format!("if [ -p \"{door}\" ]; then cat \"{door}\"; fi")
        };
        self.names.iter().map(wait).collect::<Vec<_>>().join("; ")
    }

    /// A door that is closed for whoever comes to `place` on that machine.
    pub(super) fn close(&self, name: &str, place: &str) -> anyhow::Result<Door> {
        let path = self.doors(name).join(place);
        let made = std::process::Command::new("mkfifo")
            .arg("--mode=644")
            .arg(&path)
            .status()?;
        anyhow::ensure!(made.success(), "failed to make {}", path.display());
        Ok(Door { path })
    }

    /// Takes the turn to land in the repository, as another node would.
    pub(super) fn take_turn(&self) -> anyhow::Result<Turn> {
        let mut vaults = std::fs::read_dir(self.shared().join("vaults"))?;
        let vault = vaults.next().context("the repository has a vault")??;
        let file = std::fs::File::options()
            .write(true)
            .open(vault.path().join("skep-turn"))?;
        file.lock()?;
        Ok(Turn(file))
    }

    /// See [`Hosts::cut`].
    pub(super) fn cut(&self, name: &str) -> anyhow::Result<()> {
        self.hosts.cut(name)
    }

    /// See [`Hosts::join`].
    pub(super) fn join(&self, name: &str) -> anyhow::Result<()> {
        self.hosts.join(name)
    }

    /// The id of a machine's node.
    pub(super) fn node(&self, name: &str) -> anyhow::Result<String> {
        let id = std::fs::read_to_string(self.home(name).join("node"))?;
        Ok(id.trim().to_owned())
    }

    /// As if a lease's time had passed for all that a machine's node holds.
    pub(super) async fn let_leases_lapse(&self, name: &str) -> anyhow::Result<u64> {
        let node = self.node(name)?;
        let lapse = async move |tx: &mut Tx<'_>| {
            let sql = "UPDATE job SET lease_until_ms = 1 WHERE lease_node = ?1";
            tx.execute(sql, params![node.as_str()]).await
        };
        Ok(self.db.write("lapse", lapse).await?)
    }

    /// The program on a machine.
    fn command(&self, name: &str, arguments: &[&str]) -> anyhow::Result<Command> {
        let mut command = Command::from(self.hosts.command(name, skep_binary()?));
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("USER", "ada")
            .env("SKEP_LOG", "info")
            .current_dir(self.folder.path())
            .arg("--home")
            .arg(self.home(name))
            .args(["--json", "--no-color"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        Ok(command)
    }

    /// `error` with what the engines have said.
    pub(super) fn explained(&self, error: anyhow::Error) -> anyhow::Error {
        let logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        let said = logs
            .iter()
            .map(|(name, log)| format!("{name} said:\n{}\n", *log.borrow()));
        error.context(said.collect::<String>())
    }

    /// What a command prints on a machine, whether or not it succeeds.
    pub(super) async fn document(&self, name: &str, arguments: &[&str]) -> anyhow::Result<Value> {
        let output = within("a command ends", self.command(name, arguments)?.output()).await??;
        let said = String::from_utf8_lossy(&output.stdout);
        serde_json::from_str(&said).with_context(|| format!("{arguments:?}: {said}"))
    }

    /// Starts an engine and waits until it is ready.
    pub(super) async fn up(&self, name: &str, more: &[&str]) -> anyhow::Result<Engine> {
        let arguments = [&["up", "--listen", "127.0.0.1:0"], more].concat();
        let mut process = self.command(name, &arguments)?.spawn()?;
        let errors = process.stderr.take().context("it has errors")?;
        let (log, said) = watch::channel(String::new());
        self.logs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((name.to_owned(), said.clone()));
        drop(skep_stdx::spawn("log", async move {
            let mut lines = BufReader::new(errors).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                log.send_modify(|text| text.push_str(&format!("{line}\n")));
            }
        }));
        let output = process.stdout.take().context("it has an output")?;
        let (mut output, mut line) = (BufReader::new(output), String::new());
        within("the server is up", output.read_line(&mut line)).await??;
        anyhow::ensure!(line.contains("\"socket\""), "it did not start: {line}");
        Ok(Engine {
            client: Client::at_socket(self.home(name).join("skep.sock")),
            process,
            said,
        })
    }

    /// Submits the job that notes `number`. Every job starts from the first commit, so that all but
    /// the first are merged. Its check stops at the door `check-NUMBER`.
    pub(super) async fn submit(
        &self,
        engine: &Engine,
        worker: &str,
        number: u32,
    ) -> anyhow::Result<JobId> {
        let file = format!("note-{number}.txt");
        let hold = self.hold(&format!("check-{number}"));
        let base = self.project.git(&["rev-list", "--max-parents=0", "main"])?;
        let request = DispatchRequest {
            instruction: format!("Note {number}"),
            repo: Some(self.project.text_path()),
            base: Some(base),
            worker: Some(worker.to_owned()),
            checks: vec![
                "true".to_owned(),
                format!("{hold}; test -e {file}; : {}", self.mark),
            ],
            scope: vec![file],
            ..DispatchRequest::default()
        };
        Ok(engine.client.dispatch(&request).await?.id)
    }

    /// As [`Site::finish_others`], and nothing is left of any job.
    pub(super) async fn finish(
        &self,
        engine: &Engine,
        jobs: &[JobId],
    ) -> anyhow::Result<Vec<JobView>> {
        let views = self.finish_others(engine, jobs).await?;
        self.assert_no_process().await?;
        Ok(views)
    }

    /// Waits until each job was reported, and fails unless each was done and landed exactly once,
    /// each with one attempt that counts.
    pub(super) async fn finish_others(
        &self,
        engine: &Engine,
        jobs: &[JobId],
    ) -> anyhow::Result<Vec<JobView>> {
        let mut open: BTreeSet<&str> = jobs.iter().map(JobId::as_str).collect();
        let reported = engine
            .until("every job is reported", |event| {
                if event.kind == "report_delivered" {
                    open.remove(event.subject.as_str());
                }
                open.is_empty()
            })
            .await;
        let mut views = Vec::new();
        for job in jobs {
            views.push(engine.client.job(job.as_str()).await?);
        }
        reported.with_context(|| format!("{views:#?}"))?;
        for view in &views {
            let once = self.assert_done_once(engine, view).await;
            once.with_context(|| format!("{view:#?}"))?;
        }
        let ledger = engine.client.verify_ledger().await?;
        anyhow::ensure!(ledger.ok, "{ledger:?}");
        let status = self.project.status()?;
        anyhow::ensure!(status.is_empty(), "the work tree differs: {status}");
        Ok(views)
    }

    async fn assert_done_once(&self, engine: &Engine, view: &JobView) -> anyhow::Result<()> {
        anyhow::ensure!(view.state == JobState::Done, "it is {}", view.state);
        anyhow::ensure!(
            view.landing.state == LandingState::Landed,
            "{:?}",
            view.landing
        );
        let events = engine.client.events(0, Some(view.id.as_str()), 500).await?;
        let count = |kind: &str| events.items.iter().filter(|e| e.kind == kind).count();
        for kind in ["job_queued", "landing_read_back", "report_delivered"] {
            anyhow::ensure!(count(kind) == 1, "{} times {kind}", count(kind));
        }
        let ended = events
            .items
            .iter()
            .filter(|event| event.kind == "job_advanced" && event.payload["to"] == "done");
        anyhow::ensure!(ended.count() == 1, "it did not end once: {events:#?}");
        let counted = events
            .items
            .iter()
            .filter(|event| event.kind == "attempt_ended" && event.payload["counted"] == true);
        anyhow::ensure!(counted.count() == 1, "an attempt was used up: {events:#?}");
        let number = view.instruction.trim_start_matches("Note ");
        let subject = format!("feat: note {number}");
        let subjects = self.project.subjects("main")?;
        let landed = subjects.iter().filter(|found| **found == subject).count();
        anyhow::ensure!(landed == 1, "landed {landed} times: {subjects:?}");
        self.project.read(&format!("note-{number}.txt"))?;
        Ok(())
    }

    /// Fails if a process of a worker or a check is left on any machine.
    pub(super) async fn assert_no_process(&self) -> anyhow::Result<()> {
        processes_end(&self.mark).await
    }
}

/// The turn to land. Dropped, it is the next one's.
pub(super) struct Turn(std::fs::File);

impl Turn {
    /// Whether somebody waits for it, as the kernel's list of locks says.
    pub(super) fn is_waited_for(&self) -> anyhow::Result<bool> {
        let file = format!(":{} ", self.0.metadata()?.ino());
        let locks = std::fs::read_to_string("/proc/locks")?;
        Ok(locks
            .lines()
            .any(|line| line.contains("-> ") && line.contains(&file)))
    }
}

/// A place where a worker or a check on one machine waits for the test.
pub(super) struct Door {
    path: PathBuf,
}

/// Who waits at a door. Dropped, it goes on.
pub(super) struct Visitor(#[expect(dead_code, reason = "open as long as it waits")] std::fs::File);

impl Door {
    /// Waits until somebody has come.
    pub(super) async fn visitor(&self) -> anyhow::Result<Visitor> {
        let path = self.path.clone();
        // It opens for writing once somebody opened it for reading.
        let come =
            tokio::task::spawn_blocking(move || std::fs::OpenOptions::new().write(true).open(path));
        let visitor = within("somebody comes to the door", come).await;
        if visitor.is_err() {
            // Nobody came: who waits here is let go.
            std::fs::File::open(&self.path)?;
        }
        Ok(Visitor(visitor???))
    }
}

/// A running engine. Dropping it kills it.
pub(super) struct Engine {
    client: Client,
    process: Child,
    said: watch::Receiver<String>,
}

impl Engine {
    pub(super) const fn client(&self) -> &Client {
        &self.client
    }

    /// Reads the ledger from its beginning, as it grows, until `done` says so.
    pub(super) async fn until(
        &self,
        what: &str,
        mut done: impl FnMut(&EventView) -> bool,
    ) -> anyhow::Result<EventView> {
        let mut events = self.client.event_stream(0, None).await?;
        loop {
            let event = within(what, events.next()).await??;
            let event = event.with_context(|| format!("the stream ended before {what}"))?;
            if done(&event) {
                return Ok(event);
            }
        }
    }

    /// Waits for the `count`-th event of a kind about a job.
    pub(super) async fn event(
        &self,
        job: &JobId,
        kind: &str,
        mut count: u32,
    ) -> anyhow::Result<EventView> {
        let found = self.until(kind, |event| {
            count -= u32::from(event.subject == job.as_str() && event.kind == kind);
            count == 0
        });
        found.await
    }

    /// Waits until its log has `text`.
    pub(super) async fn says(&self, text: &str) -> anyhow::Result<()> {
        let mut said = self.said.clone();
        let found = said.wait_for(|said| said.contains(text));
        within(text, found)
            .await?
            .map(drop)
            .context(text.to_owned())
    }

    /// `kill -9`.
    pub(super) async fn kill(mut self) -> anyhow::Result<()> {
        self.process.start_kill()?;
        within("it dies", self.process.wait()).await??;
        Ok(())
    }

    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        let id = self.process.id().context("it runs")?;
        let told = Command::new("kill").arg(id.to_string()).status().await?;
        anyhow::ensure!(told.success(), "kill {id}: {told}");
        within("it stops", self.process.wait()).await??;
        Ok(())
    }
}

async fn within<T>(what: &str, wait: impl Future<Output = T>) -> anyhow::Result<T> {
    tokio::time::timeout(Duration::from_secs(WAIT_S), wait)
        .await
        .with_context(|| format!("not within {WAIT_S} s: {what}"))
}
