//! An engine over a home of its own, as the binary puts it together, and a project to work on.

use anyhow::Context as _;
use skep_api::{DispatchRequest, EventView, JobSubmitted, JobSummary, JobView, VerdictView};
use skep_db::{Db, SchemaPart, Tx};
use skep_director::{
    Director, DirectorError, DirectorOptions, EngineConfig, EngineError, Home, JobQuery,
    ModelFacts, NodeOptions, ToolchainConfig, WorkerConfig,
};
use skep_gateway::{
    Gateway, GatewayConfig, GatewayOptions, GatewayTables, KeyStatus, Locality, Timeouts,
};
use skep_ledger::{LedgerError, LedgerKey, SealerService};
use skep_stdx::{OsEntropy, SharedClock, SharedEntropy, SystemClock};
use skep_testkit::{
    Meeting, SourceRepository, TestStore, processes_marked, skep_binary, worker_script,
};
use skep_types::{
    DeliveryState, Finding, FindingOutcome, JobId, JobState, LandingState, NodeId, Role,
};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The longest wait for anything, in seconds. Generous: a test that gets here has failed.
const WAIT_S: u64 = 60;

/// The check of the project. It fails at base and passes once `add` adds.
pub(super) const CHECK: &str = "python3 -m unittest -q";

/// The steps of a worker that does the work and says so.
pub(super) const FIX: &str = r#"
sed -i 's/a - b/a + b/' bees/calc.py
save 'fix: add adds'
contract DONE "$(ran 'python3 -m unittest -q' 2 0 0)"
"#;

const CALC: &str = "def add(a, b):\n    return a - b\n\n\ndef double(a):\n    return a * 2\n";

const TEST: &str = "import unittest

from bees import calc


class Calc(unittest.TestCase):
    def test_add(self):
        self.assertEqual(calc.add(1, 2), 3)

    def test_double(self):
        self.assertEqual(calc.double(2), 4)
";

/// Three models of three families, all answered by the script; one passes for remote.
const TABLES: &str = r#"
[provider.script]
api = "replay"
script = "SCRIPT"

[provider.far]
api = "replay"
script = "SCRIPT"
locality = "remote"

[model.far-large]
provider = "far"
family = "far"
context_tokens = 200000
output_tokens_max = 1000
price = { input = 1.0, output = 2.0 }

[model.stub-large]
provider = "script"
family = "stub"
context_tokens = 200000
output_tokens_max = 1000
price = { input = 1.0, output = 2.0 }

[model.other-large]
provider = "script"
family = "other"
context_tokens = 200000
output_tokens_max = 1000
price = { input = 1.0, output = 2.0 }
"#;

/// A script that answers nobody.
const NO_SCRIPT: &str = r#"
version = 1
[[conversation]]
name = "nobody"
when = { model = "no such model" }
[[conversation.turn]]
reply = { blocks = [{ text = "nothing" }] }
"#;

/// The tables of every crate, in the order of their layers.
pub(crate) const SCHEMA: [SchemaPart; 6] = [
    skep_authority::SCHEMA,
    skep_ledger::SCHEMA,
    skep_queue::SCHEMA,
    skep_topic::SCHEMA,
    skep_gateway::SCHEMA,
    skep_director::SCHEMA,
];

/// A Python project with a test that fails: `bees/calc.py`, `test_calc.py`, `README.md`.
pub(super) fn project() -> anyhow::Result<SourceRepository> {
    SourceRepository::new(&[
        ("README.md", "# Bees\n"),
        ("bees/__init__.py", ""),
        ("bees/calc.py", CALC),
        ("test_calc.py", TEST),
    ])
}

/// A request for the repair of the project.
pub(super) fn request(project: &SourceRepository) -> DispatchRequest {
    DispatchRequest {
        instruction: "Make `add` add.".to_owned(),
        repo: Some(project.text_path()),
        checks: vec![CHECK.to_owned()],
        ..DispatchRequest::default()
    }
}

/// What an engine is configured with.
#[derive(Clone)]
pub(super) struct Setup {
    pub(super) workers: BTreeMap<String, WorkerConfig>,
    pub(super) engine: EngineConfig,
    pub(super) script: String,
    pub(super) toolchain: ToolchainConfig,
}

impl Setup {
    pub(super) fn new() -> Self {
        Self {
            workers: BTreeMap::new(),
            engine: EngineConfig::default(),
            script: NO_SCRIPT.to_owned(),
            toolchain: ToolchainConfig::default(),
        }
    }

    /// An engine with one worker, `fixer`, that takes these steps.
    pub(super) fn with_fixer(steps: &str) -> Self {
        Self::new().worker("fixer", steps)
    }

    /// Adds a builder that is a few lines of shell.
    pub(super) fn worker(self, name: &str, steps: &str) -> Self {
        self.configured(
            name,
            Role::Builder,
            Some("stub-large"),
            "exec",
            worker_script(steps),
        )
    }

    /// Adds an observer of another family that is a few lines of shell.
    pub(super) fn reviewer(self, name: &str, steps: &str) -> Self {
        self.configured(
            name,
            Role::Observer,
            Some("other-large"),
            "exec",
            worker_script(steps),
        )
    }

    /// Adds a worker that is Skep's own loop.
    pub(super) fn own_loop(self, name: &str, role: Role, model: &str) -> Self {
        self.configured(name, role, Some(model), "skep", Vec::new())
    }

    pub(super) fn configured(
        mut self,
        name: &str,
        role: Role,
        model: Option<&str>,
        harness: &str,
        command: Vec<String>,
    ) -> Self {
        let worker = WorkerConfig {
            harness: harness.to_owned(),
            model: model.map(str::to_owned),
            role,
            command,
            login: "gateway".to_owned(),
        };
        self.workers.insert(name.to_owned(), worker);
        self
    }

    /// Changes how the engine runs.
    pub(super) fn engine(mut self, change: impl FnOnce(&mut EngineConfig)) -> Self {
        change(&mut self.engine);
        self
    }

    /// Adds a command that prepares each repository.
    pub(super) fn prepare(mut self, command: &str) -> Self {
        self.toolchain.prepare.push(command.to_owned());
        self
    }

    /// What the models say.
    pub(super) fn script(mut self, script: &str) -> Self {
        script.clone_into(&mut self.script);
        self
    }
}

/// A running engine. [`Engine::stop`] ends it in order; a new one on the same store goes on.
pub(super) struct Engine {
    pub(super) director: Director,
    pub(super) home: Home,
    pub(super) db: Db,
    key: LedgerKey,
    running: JoinHandle<Result<(), EngineError>>,
    sealer: (watch::Sender<bool>, JoinHandle<Result<(), LedgerError>>),
}

impl Engine {
    pub(super) async fn start(store: &TestStore, setup: &Setup) -> anyhow::Result<Self> {
        Self::start_on(store, setup, false).await
    }

    /// An engine whose store has the clock of the test, which moves only when the test moves it.
    pub(super) async fn start_on_still_clock(
        store: &TestStore,
        setup: &Setup,
    ) -> anyhow::Result<Self> {
        Self::start_on(store, setup, true).await
    }

    async fn start_on(store: &TestStore, setup: &Setup, still: bool) -> anyhow::Result<Self> {
        let (clock, entropy): (SharedClock, SharedEntropy) =
            (Arc::new(SystemClock), Arc::new(OsEntropy));
        let home = Home::at(store.folder().join("home"));
        home.prepare()?;
        let key = LedgerKey::open_or_create(&home.ledger_key())?;
        let sealer = Some(skep_ledger::sealer(key.clone()));
        let db = if still {
            store.open(&SCHEMA, sealer).await?
        } else {
            store.open_on_real_clock(&SCHEMA, sealer).await?
        };
        let config = gateway_config(&home, setup)?;
        let models = model_facts(&config);
        let gateway = Gateway::new(GatewayOptions {
            db: db.clone(),
            node: NodeId::new(&*clock, &*entropy),
            config,
            clock: clock.clone(),
            entropy: entropy.clone(),
            timeouts: Timeouts::default(),
        })?;
        gateway.prepare(true).await?;
        let topics = skep_director::topics(Vec::new())?;
        topics.register(&db).await?;
        let director = Director::new(DirectorOptions {
            home: home.clone(),
            db: db.clone(),
            models,
            workers: setup.workers.clone(),
            engine: setup.engine.clone(),
            flow: Arc::default(),
            node: NodeOptions::all_roles("test".to_owned(), "0.0.0"),
            toolchain: setup.toolchain.clone(),
            clock,
            entropy,
            launcher: skep_binary()?,
            gateway: gateway.clone(),
            serve_gateway: skep_http::serve_gateway(Arc::new(gateway)),
            ledger_public_key: key.public(),
            owner: "ada".to_owned(),
            topics,
            alert: Arc::new(|_| {}),
        });
        let runner = director.clone();
        let running = skep_stdx::spawn("engine", async move { runner.run().await });
        Ok(Self {
            director,
            home,
            sealer: start_sealer(&db, key.clone()),
            db,
            key,
            running,
        })
    }

    /// Stops the engine and waits until nothing of it runs any more.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        self.director.stop();
        let limit = Duration::from_secs(WAIT_S);
        tokio::time::timeout(limit, self.running)
            .await
            .context("the engine did not stop")???;
        self.sealer.0.send_replace(true);
        Ok(self.sealer.1.await??)
    }

    pub(super) async fn dispatch(
        &self,
        request: DispatchRequest,
    ) -> Result<JobSubmitted, DirectorError> {
        self.director.dispatch(request).await
    }

    /// Dispatches a job and waits until it has come to rest.
    pub(super) async fn run(&self, request: DispatchRequest) -> anyhow::Result<JobView> {
        let job = self.dispatch(request).await?;
        self.at_rest(&job.id).await
    }

    /// The job once it has ended and its report was delivered, or waits for somebody.
    pub(super) async fn at_rest(&self, job: &JobId) -> anyhow::Result<JobView> {
        self.until(job, "the job comes to rest", |view| {
            if view.state.is_terminal() {
                return view.delivery.state == DeliveryState::Delivered;
            }
            matches!(
                view.state,
                JobState::WaitingHuman | JobState::WaitingBudget | JobState::Backoff
            )
        })
        .await
    }

    /// The job as soon as `holds` does, looked at whenever the ledger has grown.
    pub(super) async fn until(
        &self,
        job: &JobId,
        what: &str,
        holds: impl Fn(&JobView) -> bool,
    ) -> anyhow::Result<JobView> {
        let mut grown = self.director.listen();
        let waited = tokio::time::timeout(Duration::from_secs(WAIT_S), async {
            loop {
                grown.mark_unchanged();
                let view = self.director.job(job.as_str()).await?;
                if holds(&view) {
                    return anyhow::Ok(view);
                }
                grown.changed().await?;
            }
        });
        match waited.await {
            Ok(view) => view,
            Err(_) => {
                let view = self.director.job(job.as_str()).await?;
                let shown = serde_json::to_string_pretty(&view)?;
                anyhow::bail!("not within {WAIT_S} s: {what}; the job is\n{shown}")
            }
        }
    }

    /// The job once the worker of its newest attempt runs, if that is attempt `number`, from 1.
    pub(super) async fn working(&self, job: &JobId, number: usize) -> anyhow::Result<JobView> {
        self.until(job, "the worker runs", |view| {
            view.attempts.len() == number
                && view.attempts[number - 1].state == skep_types::AttemptState::Running
        })
        .await
    }

    /// Meets the running worker of the newest attempt, which comes with `meet NAME`.
    pub(super) async fn meet(&self, view: &JobView, name: &str) -> anyhow::Result<()> {
        let attempt = view.attempts.last().context("there is no attempt")?;
        let folder = self.home.attempts().join(attempt.id.as_str());
        let limit = Duration::from_secs(WAIT_S);
        tokio::time::timeout(limit, Meeting::at(&folder, name)?.wait())
            .await
            .with_context(|| format!("nobody came to {name}"))?
    }

    /// Seals what has just been committed and may still wait for it.
    pub(super) async fn seal(&self) -> anyhow::Result<()> {
        let sealer = SealerService::new(self.db.clone(), self.key.clone());
        sealer.seal_pending().await?;
        Ok(())
    }

    /// Every event about a job, oldest first.
    pub(super) async fn events(&self, job: &JobId) -> anyhow::Result<Vec<EventView>> {
        self.seal().await?;
        Ok(self.director.events(0, Some(job.as_str()), 500).await?)
    }

    /// The kinds of a job's events, oldest first.
    pub(super) async fn kinds(&self, job: &JobId) -> anyhow::Result<Vec<String>> {
        let events = self.events(job).await?;
        Ok(events.into_iter().map(|event| event.kind).collect())
    }

    /// Every job there is, newest first.
    pub(super) async fn jobs(&self) -> anyhow::Result<Vec<JobSummary>> {
        Ok(self.director.jobs(&JobQuery::default()).await?.items)
    }

    /// Every virtual key that was ever made.
    pub(super) async fn keys(&self) -> anyhow::Result<Vec<KeyStatus>> {
        let read = async |tx: &mut Tx<'_>| skep_gateway::keys(tx, None, 100).await;
        Ok(self.db.read("keys", read).await?)
    }

    /// What the worker of the newest attempt wrote.
    pub(super) async fn log(&self, job: &JobId) -> anyhow::Result<String> {
        Ok(self.director.job_log(job.as_str(), None).await?.text)
    }

    /// What lies in the folder of attempts.
    pub(super) fn attempt_folders(&self) -> anyhow::Result<Vec<PathBuf>> {
        std::fs::read_dir(self.home.attempts())?
            .map(|entry| Ok(entry?.path()))
            .collect()
    }

    /// Fails unless the whole ledger holds.
    pub(super) async fn verify_ledger(&self) -> anyhow::Result<()> {
        let ledger = self.director.verify_ledger().await?;
        anyhow::ensure!(ledger.ok && ledger.events > 0, "{ledger:?}");
        Ok(())
    }
}

/// Fails unless the job is done and its commit is the tip of `branch`.
pub(super) fn assert_landed(view: &JobView, project: &SourceRepository, branch: &str) {
    let shown = || serde_json::to_string_pretty(view).unwrap_or_default();
    assert_eq!(view.state, JobState::Done, "{}", shown());
    assert_eq!(view.landing.state, LandingState::Landed, "{}", shown());
    assert!(view.landing.read_back_at.is_some(), "{}", shown());
    assert_eq!(view.landing.target.as_deref(), Some(branch));
    assert_eq!(view.landing.commit, project.tip(branch).ok(), "{}", shown());
    assert_eq!((&view.failure_class, &view.state_reason), (&None, &None));
}

/// Fails unless the branch has the base commits only and the work tree is as it was.
pub(super) fn assert_untouched(project: &SourceRepository) -> anyhow::Result<()> {
    assert_eq!(project.subjects("main")?, ["base"]);
    assert_eq!(project.status()?, "");
    Ok(())
}

/// The rules that the newest verdict found contradicted.
pub(super) fn contradicted(view: &JobView) -> BTreeSet<&str> {
    rules_of(view.verdict.as_ref(), FindingOutcome::Contradicted)
}

/// The rules of a verdict's findings with this outcome.
pub(super) fn rules_of(verdict: Option<&VerdictView>, outcome: FindingOutcome) -> BTreeSet<&str> {
    verdict
        .into_iter()
        .flat_map(|verdict| &verdict.findings)
        .filter(|finding| finding.outcome == outcome)
        .map(|finding| finding.rule.as_str())
        .collect()
}

/// The findings of a rule in the newest verdict.
pub(super) fn findings<'a>(view: &'a JobView, rule: &str) -> Vec<&'a Finding> {
    let verdict = view.verdict.iter();
    verdict
        .flat_map(|verdict| &verdict.findings)
        .filter(|finding| finding.rule == rule)
        .collect()
}

/// Fails if a process with this mark is left.
pub(super) fn assert_no_process(mark: &str) -> anyhow::Result<()> {
    let left = processes_marked(mark)?;
    anyhow::ensure!(left.is_empty(), "left behind: {left:?}");
    Ok(())
}

fn gateway_config(home: &Home, setup: &Setup) -> anyhow::Result<GatewayConfig> {
    let script = home.root().join("replay.toml");
    std::fs::write(&script, &setup.script)?;
    let text = TABLES.replace("SCRIPT", &script.to_string_lossy());
    let tables: GatewayTables = toml::from_str(&text)?;
    Ok(tables.resolve(|_| Err("no secret is needed here".to_owned()))?)
}

fn model_facts(config: &GatewayConfig) -> BTreeMap<String, ModelFacts> {
    let facts = config.models().filter_map(|model| {
        let (_, provider) = config.model(&model.name)?;
        let facts = ModelFacts {
            family: model.family.clone(),
            local: provider.locality == Locality::Local,
            sensitive_allowed: provider.allow_sensitive,
            context_tokens: model.context_tokens.unwrap_or_default(),
            output_tokens_max: model.output_tokens_max,
        };
        Some((model.name.clone(), facts))
    });
    facts.collect()
}

fn start_sealer(
    db: &Db,
    key: LedgerKey,
) -> (watch::Sender<bool>, JoinHandle<Result<(), LedgerError>>) {
    let (stop, mut stopped) = watch::channel(false);
    let service = SealerService::new(db.clone(), key);
    let sealer = skep_stdx::spawn("sealer", async move {
        let stop = async move {
            // An error means that nobody can ask any more.
            drop(stopped.wait_for(|stopped| *stopped).await);
        };
        service.run(stop).await
    });
    (stop, sealer)
}
