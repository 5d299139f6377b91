//! A home, a project, and the `skep` binary that works on them and can be killed.

use super::fake_clock::FakeClock;
use crate::director::SCHEMA;
use anyhow::Context as _;
use skep_api::{Client, EventStream, JobSubmitted, JobView, PlanView};
use skep_db::{Db, DbOptions, Location, Tx};
use skep_gateway::Sums;
use skep_stdx::Secret;
use skep_testkit::{
    SourceRepository, TestStore, processes_end, processes_marked, skep_binary, worker_script,
};
use skep_types::{FiringState, JobId, JobKind, JobState, LandingState};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// The longest wait for anything, in seconds. Generous: a test that gets here has failed.
const WAIT_S: u64 = 120;

/// The variable that arms a crash point.
const CRASH_VARIABLE: &str = "SKEP_CRASH_AT";

/// The variable that the address of the test's database is handed over in.
const DATABASE_VARIABLE: &str = "SKEP_TEST_DATABASE";

const TABLES: &str = r#"
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

/// A model that writes one file and hands in, or, without tools, answers in a word.
const SCRIPT: &str = r#"
version = 1
[[conversation]]
name = "call"
when = { tools = { exclude = ["write"] } }
[[conversation.turn]]
reply = { blocks = [{ text = "noted" }] }

[[conversation]]
name = "builder"
[[conversation.turn]]
reply = { blocks = [{ tool = "write", input = { path = "note-1.txt", content = "{{instruction}}\n" } }] }
[[conversation.turn]]
reply = { blocks = [{ tool = "finish", input = { status = "DONE", summary = "noted", commit = "feat: note 1", files_changed = ["note-1.txt"], tests_run = [{ command = "true", passed = 0, failed = 0, skipped = 0, exit_code = 0 }] } }] }
"#;

/// What an `exec` worker does: one file for each job, named by its instruction, and a process that
/// would outlive it.
fn steps(mark: &str) -> String {
    format!(
        r#"
(setsid sh -c 'sleep 600; : {mark}' > /dev/null 2>&1 &) &
number=$(head -n 1 "$SKEP_INSTRUCTION_FILE" | tr -dc 0-9)
base() {{ git rev-parse HEAD~1; }}
echo "$SKEP_JOB_ID" > note-$number.txt
cp note-$number.txt "$SKEP_ARTIFACTS_DIR"
save "feat: note $number"
contract DONE "$(ran true 0 0 0)"
"#
    )
}

/// The configuration `tables` with this store and no other.
fn on(store: &TestStore, tables: &str) -> String {
    let end = tables.find("\n[database]").unwrap_or(tables.len());
    let database = match store.postgres_address() {
        Some(_) => format!("\n[database]\nurl = {{ env = \"{DATABASE_VARIABLE}\" }}\n"),
        None => String::new(),
    };
    format!("{}{database}", &tables[..end])
}

/// Everything that outlives an engine.
pub(crate) struct Site<'a> {
    store: &'a TestStore,
    pub(super) project: SourceRepository,
    /// What stands in the command line of every process of a worker or check.
    mark: String,
    home: PathBuf,
    skep: PathBuf,
    clock: Option<FakeClock>,
}

impl<'a> Site<'a> {
    /// The same site, its processes under `clock`.
    pub(super) fn under(mut self, clock: &FakeClock) -> Self {
        self.clock = Some(clock.clone());
        self
    }

    pub(crate) fn new(store: &'a TestStore) -> anyhow::Result<Self> {
        Self::made(store, store.folder().join("home"), "")
    }

    /// A site whose home is to be made at `home`, as on a disk of its own.
    pub(super) fn at(store: &'a TestStore, home: PathBuf) -> anyhow::Result<Self> {
        Self::made(store, home, "")
    }

    /// One whose engine runs `slots` jobs at a time, and has a worker that never ends.
    pub(super) fn with_slots(store: &'a TestStore, slots: u32) -> anyhow::Result<Self> {
        let home = store.folder().join("home");
        Self::made(
            store,
            home,
            &format!(
                "
[engine]
slots = {slots}
"
            ),
        )
    }

    fn made(store: &'a TestStore, home: PathBuf, more: &str) -> anyhow::Result<Self> {
        let project = SourceRepository::new(&[("README.md", "# Bees\n")])?;
        let mark = format!("mark-{}", project.beside().display());
        std::fs::create_dir(&home)?;
        let command = serde_json::to_string(&worker_script(&steps(&mark)))?;
        let mut tables =
            format!("{TABLES}\n[worker.noter]\nharness = \"exec\"\ncommand = {command}\n");
        let sleeper = serde_json::to_string(&["sh", "-c", &format!("sleep 86399; : {mark}")])?;
        tables += &format!("\n[worker.sleeper]\nharness = \"exec\"\ncommand = {sleeper}\n{more}");
        std::fs::write(home.join("skep.toml"), on(store, &tables))?;
        std::fs::write(home.join("replay.toml"), SCRIPT)?;
        Ok(Self {
            store,
            project,
            mark,
            home,
            skep: skep_binary()?,
            clock: None,
        })
    }

    /// The binary with nothing of this process's surroundings but the search path.
    fn command(&self, arguments: &[&str]) -> anyhow::Result<Command> {
        let errors = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.errors())?;
        let mut command = Command::new(&self.skep);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("USER", "ada")
            .current_dir(self.store.folder())
            .arg("--home")
            .arg(&self.home)
            .args(["--json", "--no-color"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors)
            .kill_on_drop(true);
        if let Some(url) = self.store.postgres_url() {
            command.env(DATABASE_VARIABLE, url);
        }
        if let Some(clock) = &self.clock {
            clock.rule(&mut command);
        }
        Ok(command)
    }

    /// Carries everything to `store` with the command line of the home that nobody holds, and goes
    /// on there: in the same home where the engines differ, otherwise in a new one.
    pub(crate) async fn move_to(self, store: &'a TestStore) -> anyhow::Result<Self> {
        let file = self.store.folder().join("everything.jsonl");
        let file = file.to_string_lossy();
        let same_home = self.store.backend != store.backend;
        let with: &[&str] = if same_home {
            &[]
        } else {
            &["--files", "--with-keys"]
        };
        self.succeed(&[&["data", "export", &file][..], with].concat())
            .await?;
        let tables = std::fs::read_to_string(self.home.join("skep.toml"))?;
        let script = std::fs::read(self.home.join("replay.toml"))?;
        let mut moved = Self { store, ..self };
        if !same_home {
            moved.home = store.folder().join("elsewhere");
            std::fs::create_dir(&moved.home)?;
        }
        std::fs::write(moved.home.join("skep.toml"), on(store, &tables))?;
        std::fs::write(moved.home.join("replay.toml"), script)?;
        let import = ["data", "import", &file];
        // Killed at the last instant, an import leaves a store that takes the same one again.
        let mut killed = moved.command(&import)?;
        let killed = killed.env(CRASH_VARIABLE, "archive.loaded").output();
        let status = within("it dies", killed).await??.status;
        anyhow::ensure!(died(status), "it ended by itself: {status}");
        moved.succeed(&import).await?;
        Ok(moved)
    }

    /// Runs a command to its end, which is to be a good one.
    async fn succeed(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let output = within("it ends", self.command(arguments)?.output()).await??;
        let said = String::from_utf8_lossy(&output.stdout);
        let error = || self.explained(anyhow::anyhow!("{arguments:?}: {}: {said}", output.status));
        output.status.success().then_some(()).ok_or_else(error)
    }

    /// Where every process of this site writes its errors.
    fn errors(&self) -> PathBuf {
        self.store.folder().join("stderr.txt")
    }

    /// `error` with what the processes said.
    pub(super) fn explained(&self, error: anyhow::Error) -> anyhow::Error {
        let said = std::fs::read_to_string(self.errors()).unwrap_or_default();
        error.context(format!("the processes said:\n{said}"))
    }

    /// What a command prints with `--json`, whether or not it succeeds.
    pub(super) async fn document(&self, arguments: &[&str]) -> anyhow::Result<serde_json::Value> {
        let output = within("a command ends", self.command(arguments)?.output()).await??;
        let said = String::from_utf8_lossy(&output.stdout);
        serde_json::from_str(&said)
            .with_context(|| format!("failed to read what {arguments:?} says: {said}"))
            .map_err(|error| self.explained(error))
    }

    /// What every process of this site has written to its errors.
    pub(super) fn said(&self) -> String {
        std::fs::read_to_string(self.errors()).unwrap_or_default()
    }

    /// Submits the job that notes `number`. Every job starts from
    /// the first commit, so that all but the first have to be merged.
    pub(crate) async fn submit(&self, worker: &str, number: u32) -> anyhow::Result<JobId> {
        let answer = self.ask(worker, number).await?;
        let submitted: JobSubmitted = serde_json::from_value(answer.clone())
            .with_context(|| format!("failed to submit a job: {answer}"))
            .map_err(|error| self.explained(error))?;
        Ok(submitted.id)
    }

    /// As [`Site::submit`]; the answer is the document, which may be a refusal.
    pub(super) async fn ask(&self, worker: &str, number: u32) -> anyhow::Result<serde_json::Value> {
        let (instruction, file) = (format!("Note {number}"), format!("note-{number}.txt"));
        match worker {
            "call" => {
                let arguments = ["call", &instruction, "--detach", "--model", "stub-large"];
                return self.document(&arguments).await;
            }
            "shell" => {
                let steps = format!(
                    "setsid sh -c 'sleep 600; : {}' > /dev/null 2>&1 & echo noted",
                    self.mark
                );
                let arguments = ["shell", "--detach", "--", "/bin/sh", "-c", &steps];
                return self.document(&arguments).await;
            }
            _ => {}
        }
        let repo = self.project.text_path();
        let base = self.project.git(&["rev-list", "--max-parents=0", "main"])?;
        let arguments = [
            "run",
            &instruction,
            "--detach",
            "--repo",
            &repo,
            "--base",
            &base,
            "--worker",
            worker,
            "--scope",
            &file,
            "--check",
            "true",
            "--check",
            &format!("test -e {file}; : {}", self.mark),
        ];
        self.document(&arguments).await
    }

    /// Makes a schedule of the job that notes `number`, in the home, which nobody holds. It has
    /// been due for a moment when an engine starts.
    pub(super) async fn schedule(&self, number: u32, precheck: Option<&str>) -> anyhow::Result<()> {
        let (instruction, file) = (format!("Note {number}"), format!("note-{number}.txt"));
        let repo = self.project.text_path();
        let mut arguments = vec!["schedule", "add", "noting", "--every", "1h"];
        if let Some(command) = precheck {
            arguments.extend(["--precheck", command]);
        }
        let check = format!("test -e {file}; : {}", self.mark);
        let job = [
            "--",
            &instruction,
            "--repo",
            &repo,
            "--worker",
            "noter",
            "--scope",
            &file,
        ];
        arguments.extend(job.into_iter().chain(["--check", &check]));
        let output = within("a schedule is taken", self.command(&arguments)?.output()).await??;
        anyhow::ensure!(
            output.status.success(),
            "failed to add a schedule: {}",
            String::from_utf8_lossy(&output.stdout)
        );
        // As if it had been added an hour ago, when its clock stood there.
        let sql = "UPDATE schedule SET anchor_ms = anchor_ms - 3600000,
            cursor_ms = cursor_ms - 3600000, due_ms = due_ms - 3600000";
        let earlier = async move |tx: &mut Tx<'_>| tx.execute(sql, &[]).await;
        let changed = self.db().await?.write("earlier", earlier).await?;
        anyhow::ensure!(changed == 1, "there is one schedule");
        Ok(())
    }

    /// Makes a schedule of a command that does nothing, by a cron line in a time zone, in the home,
    /// which nobody holds.
    pub(super) async fn schedule_shell(&self, cron: &str, zone: &str) -> anyhow::Result<()> {
        let when = ["schedule", "add", "noting", "--cron", cron, "--tz", zone];
        self.succeed(&[&when[..], &["--shell", "--", "/bin/true"]].concat())
            .await
    }

    /// Starts an engine, waits until the schedule's run has ended, stops the engine in order, and
    /// fails unless one slot was fired, one job was made of it, and that was done exactly once.
    pub(super) async fn finish_schedule(&self) -> anyhow::Result<()> {
        let engine = self.up().await?;
        let mut events = engine.client.event_stream(0, None).await?;
        let ended = async {
            loop {
                let event = events.next().await?.context("the stream ended")?;
                if event.kind == "schedule_firing_ended" {
                    return anyhow::Ok(());
                }
            }
        };
        let ended = within("the run ends", ended).await;
        ended.map_err(|error| self.explained(error))??;
        let firings = engine.client.firings("noting", None, None).await?.items;
        let [firing] = firings.as_slice() else {
            anyhow::bail!("one slot was due: {firings:#?}");
        };
        anyhow::ensure!(firing.state == FiringState::Succeeded, "{firing:#?}");
        let jobs = engine
            .client
            .jobs(&skep_api::JobListQuery::default())
            .await?;
        let [job] = jobs.items.as_slice() else {
            anyhow::bail!("one job was to be made: {jobs:#?}");
        };
        anyhow::ensure!(firing.job.as_ref() == Some(&job.id), "{firing:#?}");
        let views = self
            .finish_with(&engine, std::slice::from_ref(&job.id))
            .await;
        views.map_err(|error| self.explained(error))?;
        engine.stop().await?;
        self.assert_no_process().await
    }

    /// Runs a command that prints one document, while nobody holds the home.
    pub(super) async fn answer<T: serde::de::DeserializeOwned>(
        &self,
        arguments: &[&str],
    ) -> anyhow::Result<T> {
        let output = within("a command", self.command(arguments)?.output()).await??;
        let said = String::from_utf8_lossy(&output.stdout);
        serde_json::from_str(&said)
            .with_context(|| format!("failed to run {arguments:?}: {said}"))
            .map_err(|error| self.explained(error))
    }

    /// Submits a plan of two jobs, the second after the artifact of the first.
    pub(super) async fn submit_plan(&self) -> anyhow::Result<PlanView> {
        let file = self.store.folder().join("plan.toml");
        let plan = format!(
            r#"
title = "Two notes"
repo = "{}"
worker = "noter"
checks = ["true"]

[[node]]
name = "one"
instruction = "Note 1"
scope = ["note-1.txt"]
artifacts = ["note-1.txt"]

[[node]]
name = "two"
instruction = "Note 2"
scope = ["note-2.txt"]
after = [{{ node = "one", artifact = "note-1.txt" }}]
"#,
            self.project.text_path()
        );
        std::fs::write(&file, plan)?;
        let file = file.to_string_lossy().into_owned();
        self.answer(&["plan", "run", "--detach", &file]).await
    }

    /// Runs a command that is to die at `point`, while nobody holds the home.
    pub(super) async fn die_in(&self, arguments: &[&str], point: &str) -> anyhow::Result<()> {
        let mut command = self.command(arguments)?;
        let mut process = command.env(CRASH_VARIABLE, point).spawn()?;
        let status = within("the command dies", process.wait()).await??;
        anyhow::ensure!(died(status), "it ended by itself: {status}");
        Ok(())
    }

    /// What the job's own budget holds.
    pub(super) async fn sums(&self, job: &JobId) -> anyhow::Result<Sums> {
        let db = self.db().await?;
        let job = job.clone();
        let read = async move |tx: &mut Tx<'_>| skep_gateway::job_budget(tx, &job).await;
        let status = db.read("budget", read).await?;
        let status = status.context("the job has no budget")?;
        status.sums.context("the budget has no sums")
    }

    /// The API of whichever engine runs.
    pub(super) fn client(&self) -> Client {
        Client::at_socket(self.home.join("skep.sock"))
    }

    /// The key of the ledger.
    pub(super) fn ledger_key(&self) -> PathBuf {
        self.home.join("ledger.key")
    }

    /// The store of the home; of a SQLite one nobody may hold it.
    pub(super) async fn db(&self) -> anyhow::Result<Db> {
        let location = match self.store.postgres_address() {
            Some(address) => Location::Postgres(Secret::new(address)),
            None => Location::Sqlite(self.home.join("skep.db")),
        };
        let options = DbOptions {
            location,
            schema: SCHEMA.to_vec(),
            clock: None,
            before_commit: None,
        };
        Ok(Db::open(options).await?)
    }

    /// Starts an engine that is to die at `point`, and waits until it has.
    pub(crate) async fn die_at(&self, point: &str) -> anyhow::Result<()> {
        let mut command = self.command(&["up", "--listen", "127.0.0.1:0"])?;
        let mut engine = command.env(CRASH_VARIABLE, point).spawn()?;
        let ended = within("the engine dies", engine.wait()).await;
        let status = ended.map_err(|error| self.explained(error))??;
        anyhow::ensure!(died(status), "it ended by itself: {status}");
        self.assert_no_process().await
    }

    /// Starts an engine.
    pub(super) async fn up(&self) -> anyhow::Result<Engine> {
        let mut process = self.command(&["up", "--listen", "127.0.0.1:0"])?.spawn()?;
        let output = process.stdout.take().context("it has an output")?;
        let mut line = String::new();
        let mut output = BufReader::new(output);
        let read = within("the server is up", output.read_line(&mut line)).await;
        read.map_err(|error| self.explained(error))??;
        if !line.contains("\"socket\"") {
            let error = anyhow::anyhow!("the server did not start: {line}");
            return Err(self.explained(error));
        }
        Ok(Engine {
            client: self.client(),
            process,
        })
    }

    /// How many workers run.
    pub(super) fn processes(&self) -> anyhow::Result<usize> {
        Ok(processes_marked(&self.mark)?.len())
    }

    /// Fails if a process of a worker or a check outlives its engine.
    pub(super) async fn assert_no_process(&self) -> anyhow::Result<()> {
        processes_end(&self.mark).await
    }

    /// Starts an engine, waits until the job has ended and was reported, and stops it.
    pub(super) async fn reported(&self, job: &str) -> anyhow::Result<JobView> {
        let engine = self.up().await?;
        let mut events = engine.client.event_stream(0, Some(job)).await?;
        let reported = async {
            while let Some(event) = events.next().await? {
                if event.kind == "report_delivered" {
                    return anyhow::Ok(());
                }
            }
            anyhow::bail!("the stream ended")
        };
        let ended = within("the job is reported", reported).await;
        let view = engine.client.job(job).await?;
        ended.with_context(|| format!("{view:#?}"))??;
        engine.stop().await?;
        Ok(view)
    }

    /// Starts an engine, waits until each job was reported, stops the engine in order, and fails
    /// unless each was done exactly once. The jobs as they are then.
    pub(crate) async fn finish(&self, jobs: &[JobId]) -> anyhow::Result<Vec<JobView>> {
        let engine = self.up().await?;
        let views = self.finish_with(&engine, jobs).await;
        let views = views.map_err(|error| self.explained(error))?;
        engine.stop().await?;
        self.assert_no_process().await?;
        let attempts = self.home.join("attempts");
        anyhow::ensure!(
            std::fs::read_dir(attempts)?.count() == 0,
            "an attempt's folder is left"
        );
        let status = self.project.status()?;
        anyhow::ensure!(
            status.is_empty(),
            "the work tree is not as its branch: {status}"
        );
        Ok(views)
    }

    /// As [`Site::finish`], with an engine that runs already and goes on.
    pub(super) async fn finish_with(
        &self,
        engine: &Engine,
        jobs: &[JobId],
    ) -> anyhow::Result<Vec<JobView>> {
        let mut events = engine.client.event_stream(0, None).await?;
        let mut open: BTreeSet<&str> = jobs.iter().map(JobId::as_str).collect();
        let reported = async {
            while !open.is_empty() {
                let event = events.next().await?.context("the stream ended")?;
                if event.kind == "report_delivered" {
                    open.remove(event.subject.as_str());
                }
            }
            anyhow::Ok(())
        };
        let ended = within("every job is reported", reported).await;
        let mut views = Vec::new();
        for job in jobs {
            views.push(engine.client.job(job.as_str()).await?);
        }
        ended.with_context(|| format!("{views:#?}"))??;
        for view in &views {
            self.assert_done_once(engine, view)
                .await
                .with_context(|| format!("{view:#?}"))?;
        }
        let ledger = engine.client.verify_ledger().await?;
        anyhow::ensure!(ledger.ok, "{ledger:?}");
        Ok(views)
    }

    async fn assert_done_once(&self, engine: &Engine, view: &JobView) -> anyhow::Result<()> {
        anyhow::ensure!(view.state == JobState::Done, "it is {}", view.state);
        anyhow::ensure!(view.state_reason.is_none(), "{:?}", view.state_reason);
        let events = engine.client.events(0, Some(view.id.as_str()), 500).await?;
        let count = |kind: &str| events.items.iter().filter(|e| e.kind == kind).count();
        for kind in ["job_queued", "report_delivered"] {
            anyhow::ensure!(count(kind) == 1, "{} times {kind}", count(kind));
        }
        let counted = events
            .items
            .iter()
            .filter(|event| event.kind == "attempt_ended" && event.payload["counted"] == true);
        anyhow::ensure!(counted.count() == 1, "a dead engine used up an attempt");
        let report = self.home.join(format!("reports/{}.json", view.number));
        let report: JobView = serde_json::from_slice(&std::fs::read(report)?)?;
        anyhow::ensure!(report == *view, "the report is another: {report:#?}");
        match view.kind {
            JobKind::Agent | JobKind::Pipeline => {
                anyhow::ensure!(count("landing_read_back") == 1, "it was not read back once");
                self.assert_landed_once(view)
            }
            JobKind::Call => {
                let answer = view.call.as_ref().and_then(|call| call.answer.as_ref());
                anyhow::ensure!(answer.is_some_and(|a| a.text == "noted"), "{answer:?}");
                anyhow::ensure!(count("call_answered") == 1, "it was answered twice");
                Ok(())
            }
            JobKind::Shell => {
                let run = view.shell.as_ref().and_then(|shell| shell.run.as_ref());
                anyhow::ensure!(run.is_some_and(|r| r.tail == "noted\n"), "{run:?}");
                anyhow::ensure!(count("shell_ended") == 1, "it was run to its end twice");
                Ok(())
            }
        }
    }

    fn assert_landed_once(&self, view: &JobView) -> anyhow::Result<()> {
        anyhow::ensure!(
            view.landing.state == LandingState::Landed,
            "{:?}",
            view.landing
        );
        let number = view.instruction.trim_start_matches("Note ");
        let subject = format!("feat: note {number}");
        let subjects = self.project.subjects("main")?;
        let landed = subjects.iter().filter(|found| **found == subject).count();
        anyhow::ensure!(landed == 1, "landed {landed} times: {subjects:?}");
        self.project.read(&format!("note-{number}.txt"))?;
        Ok(())
    }
}

/// A running engine. Dropping it kills it.
pub(super) struct Engine {
    client: Client,
    process: Child,
}

impl Engine {
    /// Its API.
    pub(super) const fn client(&self) -> &Client {
        &self.client
    }

    /// The ledger from its beginning, as it grows.
    pub(super) async fn events(&self) -> anyhow::Result<EventStream> {
        Ok(self.client.event_stream(0, None).await?)
    }

    /// `kill -9`.
    pub(super) async fn kill(mut self) -> anyhow::Result<()> {
        self.process.start_kill()?;
        let status = within("it dies", self.process.wait()).await??;
        anyhow::ensure!(died(status), "it ended by itself: {status}");
        Ok(())
    }

    /// Whether it still runs.
    pub(super) fn is_up(&mut self) -> anyhow::Result<bool> {
        Ok(self.process.try_wait()?.is_none())
    }

    /// Stops it in order.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        let id = self.process.id().context("it runs")?;
        let told = Command::new("kill").arg(id.to_string()).status().await?;
        anyhow::ensure!(told.success(), "kill {id}: {told}");
        within("it stops", self.process.wait()).await??;
        Ok(())
    }
}

/// Whether a signal ended it.
fn died(status: ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt as _;
    status.signal().is_some()
}

async fn within<T>(what: &str, wait: impl Future<Output = T>) -> anyhow::Result<T> {
    tokio::time::timeout(Duration::from_secs(WAIT_S), wait)
        .await
        .with_context(|| format!("not within {WAIT_S} s: {what}"))
}
