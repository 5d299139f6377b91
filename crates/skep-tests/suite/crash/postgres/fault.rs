//! What is done to the server while work goes on.

use super::within;
use anyhow::Context as _;
use skep_testkit::{PrivateServer, ServerSession, TestStore};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Connections that a private server takes: room for two nodes, and few enough to be taken quickly.
const CONNECTIONS_MAX: u32 = 40;
/// Readers that scan at the same time.
const READERS: usize = 4;
/// Rounds of one strike that ends backends, and of one that takes connections away.
const KILLS: u32 = 5;
/// Answers that one strike loses.
const LOST_ANSWERS: i64 = 12;
const KILL_PAUSE: Duration = Duration::from_millis(20);

/// What strikes and is over again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strike {
    /// The server is stopped at once and started again.
    Restart,
    /// Every other backend is ended, a few times.
    KillBackends,
    /// Somebody else has every connection of the server.
    TakeConnections,
    /// What is committed is not answered: the server waits for a standby that there is not, and
    /// its backends are ended meanwhile.
    LoseAnswers,
}

/// A server that may be stopped.
pub(super) struct Target(PrivateServer);

impl Target {
    /// A server, and a store on it.
    pub(super) async fn new() -> anyhow::Result<(Self, TestStore)> {
        let server = PrivateServer::start(CONNECTIONS_MAX)?;
        let store = TestStore::on_server(&server).await?;
        Ok((Self(server), store))
    }

    /// Strikes, lets it last for `outage`, and puts it right again.
    pub(super) async fn strike(&mut self, how: Strike, outage: Duration) -> anyhow::Result<()> {
        match how {
            Strike::Restart => {
                self.stop_server()?;
                tokio::time::sleep(outage).await;
                self.start_server()
            }
            Strike::KillBackends => {
                let killer = ServerSession::open(&self.0.address()).await?;
                for _ in 0..KILLS {
                    killer.run(KILL_OTHERS).await?;
                    tokio::time::sleep(KILL_PAUSE).await;
                }
                Ok(())
            }
            Strike::TakeConnections => {
                let taken = self.take_connections().await?;
                tokio::time::sleep(outage).await;
                drop(taken);
                Ok(())
            }
            Strike::LoseAnswers => self.lose_answers().await,
        }
    }

    pub(super) fn stop_server(&mut self) -> anyhow::Result<()> {
        tokio::task::block_in_place(|| self.0.stop_at_once())
    }

    pub(super) fn start_server(&mut self) -> anyhow::Result<()> {
        tokio::task::block_in_place(|| self.0.start_again())
    }

    async fn lose_answers(&self) -> anyhow::Result<()> {
        let killer = ServerSession::open(&self.0.address()).await?;
        set_standby(&killer, "nobody").await?;
        let some = async {
            let mut ended = 0;
            while ended < LOST_ANSWERS {
                ended += killer.number(KILL_COMMITTED).await?;
                tokio::time::sleep(KILL_PAUSE).await;
            }
            anyhow::Ok(())
        };
        let lost = within("answers are lost", some).await;
        set_standby(&killer, "").await?;
        lost?
    }

    /// Takes what is free, and then what others have, until nobody else has any.
    async fn take_connections(&self) -> anyhow::Result<Vec<ServerSession>> {
        let address = format!("{} application_name=taker", self.0.address());
        let mut taken = ServerSession::open_all(&address).await?;
        let others = "SELECT COUNT(*) FROM pg_stat_activity
            WHERE backend_type = 'client backend' AND application_name <> 'taker'";
        let all = async {
            loop {
                let first = taken.first().context("no connection was free")?;
                if first.number(others).await? == 0 {
                    return anyhow::Ok(());
                }
                first.run(KILL_OTHER_NAMES).await?;
                taken.extend(ServerSession::open_all(&address).await?);
            }
        };
        within("every connection is taken", all).await??;
        Ok(taken)
    }
}

/// Names the standby that every commit waits for.
async fn set_standby(session: &ServerSession, name: &str) -> anyhow::Result<()> {
    let set = format!("ALTER SYSTEM SET synchronous_standby_names = '{name}'");
    session.run(&set).await?;
    session.run("SELECT pg_reload_conf()").await?;
    Ok(())
}

/// Who waits there has committed already.
const KILL_COMMITTED: &str = "SELECT COUNT(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE wait_event = 'SyncRep'";
const KILL_OTHERS: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
const KILL_OTHER_NAMES: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE backend_type = 'client backend' AND application_name <> 'taker'";

/// Somebody who stays in a transaction: the server keeps every row version that it could still see.
pub(super) async fn pin(store: &TestStore) -> anyhow::Result<ServerSession> {
    let session = ServerSession::open(store.postgres_address().context("PostgreSQL")?).await?;
    session
        .run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT COUNT(*) FROM job_all")
        .await?;
    Ok(session)
}

/// Readers that scan every table of the queue and the ledger, over and over.
pub(super) struct Readers {
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<anyhow::Result<u64>>>,
}

impl Readers {
    pub(super) async fn start(store: &TestStore) -> anyhow::Result<Self> {
        let address = store.postgres_address().context("PostgreSQL")?;
        let (stop, stopped) = watch::channel(false);
        let mut tasks = Vec::new();
        for _ in 0..READERS {
            let session = ServerSession::open(address).await?;
            let stopped = stopped.clone();
            tasks.push(skep_stdx::spawn("reader", async move {
                let mut scans = 0;
                while !*stopped.borrow() {
                    session.run(SCAN).await?;
                    scans += 1;
                }
                Ok(scans)
            }));
        }
        Ok(Self { stop, tasks })
    }

    /// Ends them; the answer is how many scans they made.
    pub(super) async fn stop(self) -> anyhow::Result<u64> {
        self.stop.send_replace(true);
        let mut scans = 0;
        for task in self.tasks {
            scans += task.await??;
        }
        Ok(scans)
    }
}

const SCAN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ;
    SELECT state, COUNT(*), MAX(changed_at_ms) FROM job_all GROUP BY state;
    SELECT COUNT(*), MAX(length(payload)) FROM ledger_event;
    SELECT COUNT(*) FROM attempt JOIN job_all ON job_all.id = attempt.job_id;
    COMMIT";
