//! What every step works in: the store, the configuration, and what this process knows of itself.
//!
//! Invariant: whatever decides about a job lies in the store. What stands here beside it, the memory
//! of claims, who runs, whose turn it is, may be lost with the process.

use crate::config::{EngineConfig, ModelFacts, ToolchainConfig, WorkerConfig};
use crate::director::{Alert, DirectorOptions, ServeGateway};
use crate::limits::LEASE_MS;
use crate::node::NodeOptions;
use crate::running::Running;
use crate::{Home, landing};
use skep_db::Db;
use skep_db::limits::POSTGRES_RECONNECT_MS;
use skep_gateway::Gateway;
use skep_ledger::LedgerPublicKey;
use skep_queue::{ClaimMemory, FlowPolicy};
use skep_sandbox::FencePaths;
use skep_stdx::{SharedClock, SharedEntropy};
use skep_topic::Topics;
use skep_types::{NodeId, NodeRole};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// What every step works in.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) home: Home,
    pub(crate) db: Db,
    pub(crate) models: BTreeMap<String, ModelFacts>,
    pub(crate) workers: BTreeMap<String, WorkerConfig>,
    pub(crate) engine: EngineConfig,
    pub(crate) flow: Arc<FlowPolicy>,
    pub(crate) claims: Arc<ClaimMemory>,
    pub(crate) toolchain: ToolchainConfig,
    pub(crate) clock: SharedClock,
    pub(crate) entropy: SharedEntropy,
    pub(crate) launcher: PathBuf,
    pub(crate) gateway: Gateway,
    pub(crate) serve_gateway: ServeGateway,
    pub(crate) ledger_public_key: LedgerPublicKey,
    pub(crate) owner: String,
    pub(crate) topics: Topics,
    pub(crate) alert: Alert,
    pub(crate) node: NodeId,
    pub(crate) options: NodeOptions,
    /// Whether the engine has joined the others, put in order what an earlier one left, and reads
    /// its topics.
    pub(crate) started: watch::Sender<bool>,
    pub(crate) running: Running,
    /// Held while a builder's scope is compared with those of the live ones and taken. One process
    /// holds a home, and only its jobs share its vaults; on PostgreSQL two transactions would not
    /// see each other's job.
    pub(crate) scopes: Arc<tokio::sync::Mutex<()>>,
    pub(crate) landings: landing::Turns,
}

impl Context {
    /// The context of a director that runs nothing yet.
    pub(crate) fn new(options: DirectorOptions) -> Self {
        let node = options.home.node_id(&*options.clock, &*options.entropy);
        Self {
            home: options.home,
            db: options.db,
            models: options.models,
            workers: options.workers,
            engine: options.engine,
            flow: options.flow,
            claims: Arc::default(),
            toolchain: options.toolchain,
            clock: options.clock,
            entropy: options.entropy,
            launcher: options.launcher,
            gateway: options.gateway,
            serve_gateway: options.serve_gateway,
            ledger_public_key: options.ledger_public_key,
            owner: options.owner,
            topics: options.topics,
            alert: options.alert,
            node,
            options: options.node,
            running: Running::default(),
            started: watch::Sender::new(false),
            scopes: Arc::default(),
            landings: landing::Turns::default(),
        }
    }

    /// The same for a step: what it has done is worth waiting for the store as long as its claim
    /// may last without one.
    pub(crate) fn for_steps(&self) -> Self {
        let lease = Duration::from_millis(LEASE_MS.unsigned_abs());
        Self {
            db: self.db.patient(lease),
            ..self.clone()
        }
    }

    /// The store for what must not be held up by it, in a step too.
    pub(crate) fn impatient_db(&self) -> Db {
        self.db
            .patient(Duration::from_millis(POSTGRES_RECONNECT_MS))
    }

    /// Whether this node does that.
    pub(crate) fn has_role(&self, role: NodeRole) -> bool {
        self.options.roles.contains(&role)
    }

    /// The configured toolchain folders that exist, `~` resolved.
    pub(crate) fn toolchain_roots(&self) -> Vec<PathBuf> {
        let user_home = std::env::var_os("HOME").map(PathBuf::from);
        self.toolchain
            .read_only
            .iter()
            .filter_map(|text| match (text.strip_prefix("~/"), &user_home) {
                (Some(rest), Some(home)) => Some(home.join(rest)),
                (Some(_), None) => None,
                (None, _) => Some(PathBuf::from(text)),
            })
            .filter(|path| path.exists())
            .collect()
    }

    /// The environment of a command inside a fence: private folders, toolchains, and no network.
    pub(crate) fn tool_environment(&self, paths: &FencePaths) -> Vec<(String, String)> {
        skep_sandbox::toolchain_environment(&self.toolchain_roots(), paths)
    }
}
