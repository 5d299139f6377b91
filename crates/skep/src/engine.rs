//! The wiring: store, ledger, gateway, director and server put together over one home.
//!
//! Invariant: everything here lives under the home's lock, and the lock goes last.

use crate::config::{Config, Secrets};
use crate::failure::{Failure, failed_to, with_causes};
use crate::home_lock::HomeLock;
use crate::output;
use crate::store::{ledger_failed, open_ledger_key, open_store, store_failed};
use skep_api::{LedgerEntries, LedgerHeadView};
use skep_db::Db;
use skep_director::{Director, DirectorOptions, EngineError, Home, ModelFacts, NodeOptions};
use skep_gateway::{Gateway, GatewayConfig, GatewayOptions, GatewayTables, Locality, Timeouts};
use skep_http::{Server, ServerOptions, Services, listen_on_socket, serve_gateway};
use skep_ledger::{LedgerKey, SealerService};
use skep_stdx::{Clock as _, OsEntropy, Secret, SharedClock, SharedEntropy, SystemClock};
use skep_topic::{RestartWatch, alarm};
use skep_types::{NodeId, NodeRole};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The version of the program.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The longest wait for the engine to end its work when it stops, in milliseconds: a little more
/// than the engine itself allows for its running steps.
const ENGINE_STOP_MS: u64 = skep_director::limits::DRAIN_MS + 5_000;
/// The longest wait for model calls to be settled when the engine has stopped, in milliseconds; a
/// call that takes longer is reconciled at the next start.
const GATEWAY_STOP_MS: u64 = 2_000;

/// How often the model calls of nodes that are gone are given up, in milliseconds: their money is
/// held until then.
const CALLS_UPKEEP_MS: u64 = 30_000;

/// An open home in which nothing runs.
pub(crate) struct OpenHome {
    pub(crate) director: Director,
    home: Home,
    db: Db,
    gateway: Arc<Gateway>,
    ledger_key: LedgerKey,
    entropy: SharedEntropy,
    roles: BTreeSet<NodeRole>,
    /// Declared last, so that it is given back after the store was closed.
    _lock: HomeLock,
}

impl OpenHome {
    /// A part of the ledger as it was hashed.
    pub(crate) async fn ledger_entries(
        &self,
        after: i64,
        limit: i64,
    ) -> Result<LedgerEntries, Failure> {
        skep_http::ledger_entries(&self.db, self.ledger_key.public(), after, limit)
            .await
            .map_err(|error| store_failed(&error))
    }

    /// The signed end of the ledger.
    pub(crate) async fn ledger_head(&self) -> Result<LedgerHeadView, Failure> {
        skep_http::ledger_head(&self.db, self.ledger_key.public())
            .await
            .map_err(|error| store_failed(&error))
    }

    /// The store and the key of its ledger, for who goes on under another one.
    pub(crate) const fn ledger(&self) -> (&Db, &LedgerKey) {
        (&self.db, &self.ledger_key)
    }

    /// Counts that `child` was started again after an end that was not in order, and raises an
    /// alarm if that was too often: on stderr, in a file of the home, and in the store.
    pub(crate) async fn count_restart(&self, child: &str) {
        let watch = RestartWatch::at(self.home.root().to_owned());
        let counted = match watch.count(child, SystemClock.now_ms(), output::alert) {
            Ok(restarts) => alarm::restart_counted(&self.db, child, restarts).await,
            Err(error) => return output::alert(&format!("restarts cannot be counted: {error}")),
        };
        if let Err(error) = counted {
            tracing::error!(error = with_causes(&error), "an alarm was not recorded");
        }
    }

    /// Opens what the lock guards. With [`Secrets::Left`] no model can be called.
    pub(crate) async fn open(
        home: &Home,
        lock: HomeLock,
        config: &Config,
        secrets: Secrets,
    ) -> Result<Self, Failure> {
        Self::open_as(home, lock, config, secrets, this_node()).await
    }

    /// The same with a say in what this node does.
    pub(crate) async fn open_as(
        home: &Home,
        lock: HomeLock,
        config: &Config,
        secrets: Secrets,
        node: NodeOptions,
    ) -> Result<Self, Failure> {
        let roles = node.roles.clone();
        let home = &home.clone().with_shared(config.shared());
        home.prepare().map_err(|error| {
            Failure::unreachable(
                "shared_folder_unusable",
                format!(
                    "the folder {} cannot be used: {error}",
                    home.shared().display()
                ),
                "`shared` of [cluster] names a folder that this user can write",
            )
        })?;
        let clock: SharedClock = Arc::new(SystemClock);
        let entropy: SharedEntropy = Arc::new(OsEntropy);
        let configured = config.gateway(secrets)?;
        let models = model_facts(&configured);
        let ledger_key = open_ledger_key(home)?;
        let db = open_store(home, config, &ledger_key).await?;
        let gateway_config = match secrets {
            Secrets::Needed => configured,
            // Whoever only reads needs no provider, and no script that may be gone.
            Secrets::Left => GatewayTables::default()
                .resolve(|_| Err(String::new()))
                .unwrap_or(configured),
        };
        let gateway = Arc::new(open_gateway(&db, gateway_config, &clock, &entropy)?);
        let topics = config.topics()?;
        topics
            .register(&db)
            .await
            .map_err(|error| Failure::usage(error.code(), failed_to(&error), error.hint()))?;
        let director = Director::new(DirectorOptions {
            home: home.clone(),
            db: db.clone(),
            models,
            workers: config.workers.clone(),
            engine: config.engine.clone(),
            flow: Arc::new(config.flow()?),
            node,
            toolchain: config.toolchain.clone(),
            clock,
            entropy: entropy.clone(),
            launcher: launcher()?,
            gateway: (*gateway).clone(),
            serve_gateway: serve_gateway(gateway.clone()),
            ledger_public_key: ledger_key.public(),
            owner: owner(),
            topics,
            alert: Arc::new(output::alert),
        });
        Ok(Self {
            director,
            home: home.clone(),
            db,
            gateway,
            ledger_key,
            entropy,
            roles,
            _lock: lock,
        })
    }
}

/// A home whose socket is served while nothing runs yet. A job asked for now is not left behind
/// by a start that fails, because what fails at a start has succeeded by then.
pub(crate) struct ServedHome {
    open: OpenHome,
    server: Server,
}

impl ServedHome {
    /// Serves the socket of an open home.
    pub(crate) fn serve(open: OpenHome) -> Result<Self, Failure> {
        let server = serve_socket(&open)?;
        Ok(Self { open, server })
    }

    /// The use cases.
    pub(crate) const fn director(&self) -> &Director {
        &self.open.director
    }
}

/// A home whose engine runs and whose socket is served.
pub(crate) struct RunningHome {
    open: OpenHome,
    server: Option<Server>,
    engine: JoinHandle<Result<(), EngineError>>,
    upkeep: Option<Upkeep>,
}

impl RunningHome {
    /// Starts the engine, serves the port too if one is given with its token, and waits until the
    /// engine takes work. Fails as the engine does if it cannot start.
    pub(crate) async fn start(
        served: ServedHome,
        port: Option<(TcpListener, Secret)>,
    ) -> Result<Self, Failure> {
        let ServedHome { open, mut server } = served;
        skep_ledger::check_key(&open.db, open.ledger_key.public())
            .await
            .map_err(|error| ledger_failed(&error))?;
        // SQLite has one process at a time; on PostgreSQL other nodes have calls of their own.
        let is_only_holder = open.db.engine() == skep_db::Engine::Sqlite;
        let keeps_order = open.roles.contains(&NodeRole::Engine);
        let upkeep = (keeps_order && !is_only_holder).then(|| start_upkeep(&open));
        open.gateway
            .prepare(is_only_holder)
            .await
            .map_err(|error| store_failed(&error))?;
        let services = Services {
            api: open.roles.contains(&NodeRole::Web),
            gateway: open.roles.contains(&NodeRole::Gateway),
        };
        if let Some((listener, token)) = port.filter(|_| !services.is_none()) {
            server.serve_network(listener, &token, services);
        }
        let director = open.director.clone();
        let runner = director.clone();
        let engine = skep_stdx::spawn("engine", async move { runner.run().await });
        let mut running = Self {
            open,
            server: Some(server),
            engine,
            upkeep,
        };
        let failure = tokio::select! {
            () = director.started() => return Ok(running),
            failure = running.engine_ended() => failure,
        };
        running.stop().await;
        Err(failure)
    }

    /// The use cases.
    pub(crate) const fn director(&self) -> &Director {
        &self.open.director
    }

    /// Waits for the engine to end by itself, which it does only when it cannot go on.
    pub(crate) async fn engine_ended(&mut self) -> Failure {
        engine_failure((&mut self.engine).await)
    }

    /// Closes the socket and says whether nothing is left to do. Whoever submitted a job before
    /// the socket closed is still served: then it opens again.
    pub(crate) async fn may_leave(&mut self) -> Result<bool, Failure> {
        if let Some(server) = self.server.take() {
            server.stop().await;
        }
        if self.open.director.live_jobs().await? == 0 {
            return Ok(true);
        }
        self.server = Some(serve_socket(&self.open)?);
        Ok(false)
    }

    /// Stops everything in order: engine, open answers, model calls, sealer, store, lock.
    pub(crate) async fn stop(mut self) {
        self.open.director.stop();
        if !self.engine.is_finished() && within(ENGINE_STOP_MS, &mut self.engine).await.is_none() {
            tracing::warn!("the engine did not stop in time; the next start takes up its work");
        }
        if let Some(server) = self.server {
            server.stop().await;
        }
        if within(GATEWAY_STOP_MS, self.open.gateway.idle())
            .await
            .is_none()
        {
            tracing::warn!("model calls are still under way; the next start accounts for them");
        }
        if let Some(upkeep) = self.upkeep {
            upkeep.calls.abort();
            upkeep.stop.send_replace(true);
            drop(within(GATEWAY_STOP_MS, upkeep.sealer).await);
        }
        // Nobody listens any more; a socket that stays behind is removed by the next holder.
        drop(std::fs::remove_file(self.open.home.socket()));
    }
}

fn serve_socket(open: &OpenHome) -> Result<Server, Failure> {
    let socket = listen_on_socket(&open.home.socket())?;
    let mut server = Server::new(ServerOptions {
        director: open.director.clone(),
        gateway: open.gateway.clone(),
        db: open.db.clone(),
        ledger_key: open.ledger_key.public(),
        entropy: open.entropy.clone(),
        version: VERSION,
    });
    server.serve_socket(socket);
    Ok(server)
}

async fn within<F: Future>(limit_ms: u64, future: F) -> Option<F::Output> {
    tokio::time::timeout(Duration::from_millis(limit_ms), future)
        .await
        .ok()
}

fn engine_failure(ended: Result<Result<(), EngineError>, tokio::task::JoinError>) -> Failure {
    let hint = "`skep doctor` says what is wrong";
    match ended {
        Ok(Ok(())) => Failure::unreachable("engine_stopped", "the engine stopped", hint),
        Ok(Err(error @ EngineError::TopicWithoutReader(_))) => {
            Failure::usage(error.code(), failed_to(&error), error.hint())
        }
        Ok(Err(error)) => Failure::unreachable(error.code(), failed_to(&error), error.hint()),
        Err(error) => Failure::unreachable(
            "engine_failed",
            format!("the engine ended by a defect: {error}"),
            "start it again; what was under way is taken up",
        ),
    }
}

fn open_gateway(
    db: &Db,
    config: GatewayConfig,
    clock: &SharedClock,
    entropy: &SharedEntropy,
) -> Result<Gateway, Failure> {
    let gateway = Gateway::new(GatewayOptions {
        db: db.clone(),
        node: NodeId::new(clock.as_ref(), entropy.as_ref()),
        config,
        clock: clock.clone(),
        entropy: entropy.clone(),
        timeouts: Timeouts::default(),
    });
    gateway.map_err(|error| {
        let hint = "`skep doctor` checks every provider of the configuration";
        Failure::usage(error.code(), failed_to(&error), hint)
    })
}

/// What one node at least does for all of a PostgreSQL store.
struct Upkeep {
    stop: watch::Sender<bool>,
    /// Seals the ledger.
    sealer: JoinHandle<()>,
    /// Gives up the model calls of nodes that are gone.
    calls: JoinHandle<()>,
}

fn start_upkeep(open: &OpenHome) -> Upkeep {
    let (stop, mut stopped) = watch::channel(false);
    let service = SealerService::new(open.db.clone(), open.ledger_key.clone());
    let sealer = skep_stdx::spawn("sealer", async move {
        let stop = async move {
            let _ = stopped.wait_for(|stopped| *stopped).await;
        };
        if let Err(error) = service.run(stop).await {
            tracing::error!(
                error = with_causes(&error),
                "the ledger is no longer sealed"
            );
        }
    });
    let gateway = Arc::clone(&open.gateway);
    let calls = skep_stdx::spawn("calls", async move {
        loop {
            tokio::time::sleep(Duration::from_millis(CALLS_UPKEEP_MS)).await;
            if let Err(error) = gateway.prepare(false).await {
                tracing::error!(
                    error = with_causes(&error),
                    "calls of nodes that are gone were not given up"
                );
            }
        }
    });
    Upkeep {
        stop,
        sealer,
        calls,
    }
}

fn model_facts(config: &GatewayConfig) -> BTreeMap<String, ModelFacts> {
    config
        .models()
        .filter_map(|model| {
            let (_, provider) = config.model(&model.name)?;
            let facts = ModelFacts {
                family: model.family.clone(),
                local: provider.locality == Locality::Local,
                sensitive_allowed: provider.allow_sensitive,
                context_tokens: model.context_tokens.unwrap_or_default(),
                output_tokens_max: model.output_tokens_max,
            };
            Some((model.name.clone(), facts))
        })
        .collect()
}

/// This machine and this program, doing everything.
pub(crate) fn this_node() -> NodeOptions {
    let host = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    NodeOptions::all_roles(host, VERSION)
}

fn launcher() -> Result<std::path::PathBuf, Failure> {
    std::env::current_exe().map_err(|error| {
        Failure::unreachable(
            "launcher_unknown",
            format!("the path of this program is not known: {error}"),
            "mount /proc, which holds it",
        )
    })
}

/// Whoever starts the engine, as the authority of jobs that name none.
fn owner() -> String {
    ["USER", "LOGNAME"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()))
        .unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()))
}
