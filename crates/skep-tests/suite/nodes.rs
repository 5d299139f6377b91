//! Several engines on one PostgreSQL store: they share the work, one takes over what another left,
//! and who does not share its folder does not join.

mod flap;
mod host;
mod link;
mod site;

use crate::cli::program::{Ran, Server, Stage};
use anyhow::Context as _;
use serde_json::Value;
use skep_api::Client;
use skep_db::{Db, Tx, params};
use skep_testkit::{Backend, TestStore, run_on};
use std::time::Duration;

/// Workers that need no model: one is done at once, one never is.
const WORKERS: &str = r#"
[worker.quick]
harness = "exec"
role = "observer"
command = ["true"]

[worker.waiting]
harness = "exec"
role = "observer"
command = ["sh", "-c", "sleep 86391"]

[engine]
slots = 2
rework_rounds_max = 0
"#;

/// The longest wait for the next event, in seconds. Generous: a test that gets here has failed.
const WAIT_S: u64 = 90;

/// Machines with homes of their own, one repository and one store.
struct Cluster {
    stage: Stage,
    db: Db,
    address: String,
}

impl Cluster {
    async fn new(store: &TestStore) -> anyhow::Result<Self> {
        let stage = Stage::new()?;
        stage.repository("repository")?;
        let address = store
            .postgres_url()
            .ok_or_else(|| anyhow::anyhow!("several nodes need PostgreSQL"))?;
        Ok(Self {
            stage,
            db: store.open(&[], None).await?,
            address,
        })
    }

    /// A home whose node shares `shared` with the others.
    fn home(&self, name: &str, shared: &str) -> anyhow::Result<()> {
        let (shared, url) = (self.stage.path(shared), &self.address);
        let config = format!(
            "{WORKERS}\n[database]\nurl = \"{url}\"\n[cluster]\nshared = \"{}\"\n",
            shared.display()
        );
        std::fs::create_dir_all(&shared)?;
        self.stage.write(&format!("{name}/skep.toml"), config)?;
        Ok(())
    }

    fn up(&self, home: &str, more: &[&str]) -> anyhow::Result<Server> {
        let mut arguments = vec!["--home", home];
        arguments.extend(more);
        self.stage.up_with(&arguments)
    }

    fn run(&self, home: &str, arguments: &[&str]) -> anyhow::Result<Ran> {
        let mut all = vec!["--home", home];
        all.extend(arguments);
        self.stage.run(&all)
    }

    fn json(&self, home: &str, arguments: &[&str]) -> anyhow::Result<Value> {
        let mut arguments = arguments.to_vec();
        arguments.push("--json");
        let ran = self.run(home, &arguments)?;
        anyhow::ensure!(ran.code == Some(0), "{ran:?}");
        ran.json()
    }

    /// Submits an observer's job; the answer is its id.
    fn submit(&self, home: &str, worker: &str) -> anyhow::Result<String> {
        let job = self.json(
            home,
            &[
                "run",
                "Look",
                "--repo",
                "repository",
                "--gate",
                "G0",
                "--worker",
                worker,
                "--detach",
            ],
        )?;
        Ok(job["id"].as_str().unwrap_or_default().to_owned())
    }

    /// The node of a home, as the list of another one shows it.
    fn node(&self, from: &str, id: &str) -> anyhow::Result<Value> {
        let list = self.json(from, &["node", "list"])?;
        let items = list["items"].as_array().cloned().unwrap_or_default();
        let found = items.into_iter().find(|node| node["id"] == id);
        found.ok_or_else(|| anyhow::anyhow!("no node {id} in {list:#}"))
    }

    fn node_id(&self, home: &str) -> anyhow::Result<String> {
        let id = std::fs::read_to_string(self.stage.path(home).join("node"))?;
        Ok(id.trim().to_owned())
    }

    /// Which node holds the job.
    async fn holder(&self, job: &str) -> anyhow::Result<Option<String>> {
        let job = job.to_owned();
        let row = self
            .db
            .read("holder", async move |tx: &mut Tx<'_>| {
                let sql = "SELECT lease_node FROM job_all WHERE id = ?1";
                tx.query_one(sql, params![job.as_str()]).await
            })
            .await?;
        Ok(row.get("lease_node")?)
    }

    /// As if a lease's time had passed for all that `node` holds.
    async fn let_leases_lapse(&self, node: &str) -> anyhow::Result<()> {
        let node = node.to_owned();
        self.db
            .write("lapse", async move |tx: &mut Tx<'_>| {
                let sql = "UPDATE job SET lease_until_ms = 1 WHERE lease_node = ?1";
                tx.execute(sql, params![node.as_str()]).await
            })
            .await?;
        Ok(())
    }
}

impl Cluster {
    /// Asks again after each event of the store, as the node of `home` tells of it, until there is
    /// an answer. What is waited for comes about with an event.
    async fn until<T>(
        &self,
        home: &str,
        what: &str,
        mut ask: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
    ) -> anyhow::Result<T> {
        let client = Client::at_socket(self.stage.path(home).join("skep.sock"));
        let mut events = client.event_stream(0, None).await?;
        loop {
            if let Some(answer) = ask().await? {
                return Ok(answer);
            }
            let next = tokio::time::timeout(Duration::from_secs(WAIT_S), events.next()).await;
            let event = next.with_context(|| format!("{what} did not come about"))??;
            event.with_context(|| format!("the events ended before {what}"))?;
        }
    }
}

#[test]
fn nodes_share_the_work_of_a_store() {
    run_on(Backend::Postgres, async |store| {
        let cluster = Cluster::new(&store).await?;
        cluster.home("a", "shared")?;
        cluster.home("b", "shared")?;
        let (_a, _b) = (cluster.up("a", &[])?, cluster.up("b", &[])?);
        let nodes = [cluster.node_id("a")?, cluster.node_id("b")?];
        let jobs: Vec<String> = (0..4)
            .map(|_| cluster.submit("a", "waiting"))
            .collect::<Result<_, _>>()?;
        // Two slots each: four jobs that do not end are held by both.
        cluster
            .until("a", "four held jobs", async || {
                let mut held = Vec::new();
                for job in &jobs {
                    held.extend(cluster.holder(job).await?);
                }
                let of = |node: &String| held.iter().filter(|holder| *holder == node).count();
                Ok((of(&nodes[0]) == 2 && of(&nodes[1]) == 2).then_some(()))
            })
            .await?;
        // A cancel through one node reaches what runs on the other.
        for job in &jobs {
            cluster.json("b", &["job", "cancel", job])?;
        }
        for _ in 0..6 {
            cluster.submit("b", "quick")?;
        }
        cluster
            .until("a", "an empty queue", async || {
                let live = cluster.json("a", &["queue", "list"])?;
                Ok((live["items"] == serde_json::json!([])).then_some(()))
            })
            .await?;
        assert_eq!(cluster.run("b", &["ledger", "verify"])?.code, Some(0));
        Ok(())
    });
}

#[test]
fn a_dead_nodes_work_goes_on_elsewhere() {
    run_on(Backend::Postgres, async |store| {
        let cluster = Cluster::new(&store).await?;
        cluster.home("a", "shared")?;
        cluster.home("b", "shared")?;
        let a = cluster.up("a", &[])?;
        let job = cluster.submit("a", "waiting")?;
        let held = async || Ok(cluster.holder(&job).await?);
        let first = cluster.until("a", "a claim", held).await?;
        assert_eq!(first, cluster.node_id("a")?);
        let (code, _) = a.end("KILL")?;
        assert_eq!(code, None);
        let _b = cluster.up("b", &[])?;
        cluster.let_leases_lapse(&first).await?;
        let second = cluster.node_id("b")?;
        cluster
            .until("b", "the other node's claim", async || {
                let holder = cluster.holder(&job).await?;
                Ok((holder.as_ref() == Some(&second)).then_some(()))
            })
            .await?;
        let view = cluster.json("b", &["job", "show", &job])?;
        let attempts = view["attempts"].as_array().cloned().unwrap_or_default();
        assert_eq!(attempts.len(), 2, "{view:#}");
        assert_eq!(attempts[0]["state"], "lost", "{view:#}");
        // The dead one comes back: what it held is no longer its own.
        let _a = cluster.up("a", &[])?;
        assert_eq!(cluster.holder(&job).await?, Some(second));
        cluster.json("a", &["job", "cancel", &job])?;
        Ok(())
    });
}

#[test]
fn a_drained_node_takes_nothing_more() {
    run_on(Backend::Postgres, async |store| {
        let cluster = Cluster::new(&store).await?;
        cluster.home("a", "shared")?;
        cluster.home("b", "shared")?;
        let (a, _b) = (cluster.up("a", &[])?, cluster.up("b", &[])?);
        let (id_a, id_b) = (cluster.node_id("a")?, cluster.node_id("b")?);
        // Through the other node, as an operator would from anywhere.
        let drained = cluster.json("b", &["node", "drain", &id_a])?;
        assert_eq!(drained["state"], "drained", "{drained:#}");
        let jobs: Vec<String> = (0..3)
            .map(|_| cluster.submit("a", "waiting"))
            .collect::<Result<_, _>>()?;
        cluster
            .until("a", "two held jobs", async || {
                Ok((cluster.node("a", &id_b)?["running"] == 2).then_some(()))
            })
            .await?;
        assert_eq!(cluster.node("b", &id_a)?["running"], 0);
        // It stays so over a restart, until it is told otherwise.
        a.end("TERM")?;
        assert_eq!(cluster.node("b", &id_a)?["state"], "left");
        let _a = cluster.up("a", &[])?;
        assert_eq!(cluster.node("b", &id_a)?["state"], "drained");
        cluster.json("b", &["node", "resume", &id_a])?;
        cluster
            .until("b", "the third job", async || {
                Ok((cluster.node("b", &id_a)?["running"] == 1).then_some(()))
            })
            .await?;
        for job in &jobs {
            cluster.json("a", &["job", "cancel", job])?;
        }
        let refused = cluster.run("a", &["node", "drain", "nobody"])?;
        assert_eq!(refused.code, Some(4), "{refused:?}");
        Ok(())
    });
}

#[test]
fn a_node_with_another_folder_does_not_join() {
    run_on(Backend::Postgres, async |store| {
        let cluster = Cluster::new(&store).await?;
        cluster.home("a", "shared")?;
        cluster.home("c", "elsewhere")?;
        let _a = cluster.up("a", &[])?;
        // The key of the ledger lies in the shared folder too: with another one nothing is sealed.
        std::fs::copy(
            cluster.stage.path("shared/ledger.key"),
            cluster.stage.path("elsewhere/ledger.key"),
        )?;
        let refused = cluster.run("c", &["up", "--listen", "127.0.0.1:0"])?;
        assert!(
            refused.stderr.contains("[shared_folder_differs]"),
            "{refused:?}"
        );
        assert_eq!(refused.code, Some(5), "{refused:?}");
        Ok(())
    });
}

#[test]
fn a_node_does_what_its_roles_say() {
    run_on(Backend::Postgres, async |store| {
        let cluster = Cluster::new(&store).await?;
        cluster.home("a", "shared")?;
        cluster.home("b", "shared")?;
        let _front = cluster.up("a", &["--role", "web", "--role", "engine"])?;
        let job = cluster.submit("a", "quick")?;
        let standing = cluster.json("a", &["queue", "list"])?;
        assert_eq!(standing["items"][0]["ready"], 1, "{standing:#}");
        let worker = cluster.up("b", &["--role", "worker"])?;
        let id = cluster.node_id("b")?;
        assert_eq!(
            cluster.node("a", &id)?["roles"],
            serde_json::json!(["worker"])
        );
        cluster
            .until("a", "the end of the job", async || {
                let state = cluster.json("a", &["job", "show", &job])?["state"].clone();
                Ok((state != "queued" && state != "running").then_some(()))
            })
            .await?;
        // A worker listens for nobody but its own fences and its own home.
        let address = worker.view["address"].as_str().unwrap_or_default();
        let port = address.rsplit(':').next().unwrap_or_default().parse()?;
        let met = tokio::net::TcpStream::connect(("127.0.0.1", port)).await;
        assert!(met.is_err(), "somebody answers at {address}");
        Ok(())
    });
}
