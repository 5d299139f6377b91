//! Graphs: whole plans in one transaction, children that start when their parents' ends allow
//! it and are skipped when they do not, and nothing that waits for ever.

mod limits;
mod many;
mod model;
mod parts;
mod retry;

use super::{Hive, attempt_of};
use skep_db::Tx;
use skep_queue::graph::{
    Edge, EdgeParent, EdgePolicy, GraphError, GraphNode, NewArtifact, enqueue_graph,
};
use skep_queue::{Enqueued, Lease, NewJob};
use skep_testkit::{TestStore, on_both_engines};
use skep_types::{JobId, JobState, NodeId, Tier};
use std::collections::BTreeMap;

on_both_engines!(
    a_child_starts_when_the_policies_of_all_its_parents_are_met,
    a_child_that_can_no_longer_start_is_skipped_with_its_reason,
    a_graph_may_come_after_jobs_that_exist,
    a_refused_graph_leaves_nothing,
    a_skip_reaches_as_far_as_success_was_needed,
    an_artifact_is_waited_for_by_name,
    the_order_of_the_whole_graph_is_known,
);

/// A graph on a hive, its jobs by their names.
pub(super) struct Garden {
    pub(super) hive: Hive,
    node: NodeId,
    ids: BTreeMap<String, JobId>,
    leases: BTreeMap<String, Lease>,
}

/// What a node waits for, as a word: `a` for its success, `a?` for any end, `a:x` for its
/// artifact `x`.
pub(super) fn edge(word: &str) -> Edge {
    let (name, policy) = match (word.strip_suffix('?'), word.split_once(':')) {
        (Some(name), _) => (name, EdgePolicy::AnyEnd),
        (None, Some((name, artifact))) => (name, EdgePolicy::Artifact(artifact.to_owned())),
        (None, None) => (word, EdgePolicy::Success),
    };
    Edge {
        parent: EdgeParent::Node(name.to_owned()),
        policy,
    }
}

impl Garden {
    pub(super) async fn open(store: &TestStore) -> anyhow::Result<Self> {
        Self::open_with_ids(store, 1).await
    }

    /// A second garden in a store, with ids of its own.
    pub(super) async fn open_with_ids(store: &TestStore, seed: u64) -> anyhow::Result<Self> {
        let hive = Hive::open_with_ids(store, seed).await?;
        Ok(Self {
            node: hive.node(),
            hive,
            ids: BTreeMap::new(),
            leases: BTreeMap::new(),
        })
    }

    pub(super) fn graph_node(&self, name: &str, after: &[&str]) -> GraphNode {
        GraphNode {
            name: name.to_owned(),
            job: self.hive.new_job(),
            after: after.iter().map(|word| edge(word)).collect(),
        }
    }

    pub(super) async fn enqueue(
        &mut self,
        nodes: Vec<GraphNode>,
    ) -> Result<Vec<Enqueued>, GraphError> {
        for node in &nodes {
            self.ids.insert(node.name.clone(), node.job.id.clone());
        }
        let write = async move |tx: &mut Tx<'_>| enqueue_graph(tx, &nodes).await;
        self.hive.db.write("graph", write).await
    }

    /// Enqueues a graph of names and what each comes after.
    pub(super) async fn plant(&mut self, nodes: &[(&str, &[&str])]) -> anyhow::Result<()> {
        let nodes = nodes
            .iter()
            .map(|(name, after)| self.graph_node(name, after))
            .collect();
        self.enqueue(nodes).await?;
        Ok(())
    }

    pub(super) fn id(&self, name: &str) -> &JobId {
        &self.ids[name]
    }

    /// Claims whatever can be claimed.
    pub(super) async fn claim_all(&mut self) -> anyhow::Result<()> {
        for claim in self.hive.claim(&self.node, 256).await? {
            let found = self.ids.iter().find(|(_, id)| **id == claim.job.id);
            let name = found.map(|(name, _)| name.clone());
            let name = name.unwrap_or_else(|| claim.job.id.to_string());
            attempt_of(&claim)?;
            self.leases.insert(name, claim.lease());
        }
        Ok(())
    }

    pub(super) fn lease(&self, name: &str) -> anyhow::Result<Lease> {
        let lease = self.leases.get(name).cloned();
        lease.ok_or_else(|| anyhow::anyhow!("{name} was not claimed"))
    }

    /// Claims what can be claimed and ends the job in `state`.
    pub(super) async fn end(&mut self, name: &str, state: JobState) -> anyhow::Result<()> {
        self.claim_all().await?;
        self.hive.advance(&self.lease(name)?, state).await?;
        Ok(())
    }

    /// Puts an artifact of a claimed job on record.
    pub(super) async fn leave(&mut self, name: &str, artifact: &str) -> anyhow::Result<()> {
        self.claim_all().await?;
        let lease = self.lease(name)?;
        let artifacts = [NewArtifact {
            name: artifact.to_owned(),
            digest: "00".repeat(32),
            bytes: 7,
            place: "anywhere".to_owned(),
            tier: Tier::Sensitive,
        }];
        let write = async move |tx: &mut Tx<'_>| {
            skep_queue::graph::put_artifacts(tx, &lease, &artifacts).await
        };
        Ok(self.hive.db.write("artifacts", write).await?)
    }

    pub(super) async fn state(&self, name: &str) -> anyhow::Result<JobState> {
        Ok(self.hive.job(self.id(name)).await?.state)
    }

    /// Fails unless the jobs stand as told, as in `a done, b queued`; queued jobs must not have
    /// been claimed.
    pub(super) async fn assert_states(&self, expected: &str) -> anyhow::Result<()> {
        for words in expected.split(", ") {
            let (name, state) = words
                .split_once(' ')
                .ok_or_else(|| anyhow::anyhow!("no state: {words}"))?;
            let found = self.state(name).await?;
            assert_eq!(found.as_str(), state, "{name} of {expected}");
        }
        Ok(())
    }

    /// Which parent a job was skipped for and in which state that was, as its event says.
    async fn cause(&self, name: &str) -> anyhow::Result<(JobId, JobState)> {
        let events = self.hive.events_of(self.id(name)).await?;
        let last = events
            .iter()
            .rfind(|event| event.kind == "job_skipped")
            .ok_or_else(|| anyhow::anyhow!("{name} was not skipped"))?;
        let event: skep_queue::event::JobSkipped = serde_json::from_slice(&last.payload)?;
        let cause = event.cause.ok_or_else(|| anyhow::anyhow!("no cause"))?;
        Ok((cause, event.state))
    }
}

async fn a_child_starts_when_the_policies_of_all_its_parents_are_met(
    store: TestStore,
) -> anyhow::Result<()> {
    let mut garden = Garden::open(&store).await?;
    garden
        .plant(&[
            ("end", &["left", "right?"]),
            ("left", &["top"]),
            ("right", &["top"]),
            ("top", &[]),
        ])
        .await?;
    garden
        .assert_states("top queued, left blocked, right blocked, end blocked")
        .await?;
    garden.end("top", JobState::Done).await?;
    garden
        .assert_states("top done, left queued, right queued, end blocked")
        .await?;
    garden.end("right", JobState::Failed).await?;
    garden.assert_states("end blocked").await?;
    garden.end("left", JobState::Done).await?;
    garden.assert_states("end queued").await?;
    garden.end("end", JobState::Done).await?;
    let kinds = garden.hive.kinds_of(garden.id("left")).await?;
    let expected = [
        "job_queued",
        "job_waits",
        "job_advanced",
        "job_claimed",
        "attempt_ended",
        "job_advanced",
    ];
    assert_eq!(kinds, expected);
    Ok(())
}

async fn a_child_that_can_no_longer_start_is_skipped_with_its_reason(
    store: TestStore,
) -> anyhow::Result<()> {
    let states = [JobState::Failed, JobState::Cancelled, JobState::Quarantined];
    for (seed, state) in (1..).zip(states) {
        let mut garden = Garden::open_with_ids(&store, seed).await?;
        garden
            .plant(&[("a", &[]), ("b", &[]), ("c", &["a", "b"])])
            .await?;
        garden.end("b", state).await?;
        garden.assert_states("a running, c skipped").await?;
        let expected = (garden.id("b").clone(), state);
        assert_eq!(garden.cause("c").await?, expected);
        assert_eq!(garden.hive.places(garden.id("c")).await?, (0, 1));
        garden.end("a", JobState::Done).await?;
        garden.assert_states("a done, c skipped").await?;
    }
    Ok(())
}

async fn a_skip_reaches_as_far_as_success_was_needed(store: TestStore) -> anyhow::Result<()> {
    let mut garden = Garden::open(&store).await?;
    garden
        .plant(&[
            ("build", &[]),
            ("test", &["build"]),
            ("deploy", &["test"]),
            ("clean", &["deploy?", "test?"]),
            ("report", &["clean"]),
            ("other", &[]),
            ("never", &["clean", "deploy:x"]),
        ])
        .await?;
    garden.end("build", JobState::Failed).await?;
    garden
        .assert_states(
            "test skipped, deploy skipped, clean queued, report blocked, other running, never skipped",
        )
        .await?;
    let expected = (garden.id("test").clone(), JobState::Skipped);
    assert_eq!(garden.cause("deploy").await?, expected);
    garden.end("clean", JobState::Done).await?;
    garden.assert_states("report queued").await
}

async fn an_artifact_is_waited_for_by_name(store: TestStore) -> anyhow::Result<()> {
    let mut garden = Garden::open(&store).await?;
    garden
        .plant(&[
            ("maker", &[]),
            ("reader", &["maker:report.txt"]),
            ("other", &["maker:other.txt"]),
            ("both", &["maker:report.txt", "maker:other.txt"]),
        ])
        .await?;
    garden.leave("maker", "old.txt").await?;
    garden.leave("maker", "report.txt").await?;
    garden.end("maker", JobState::Done).await?;
    garden
        .assert_states("reader queued, other skipped, both skipped")
        .await?;
    let expected = (garden.id("maker").clone(), JobState::Done);
    assert_eq!(garden.cause("other").await?, expected);
    let jobs = [garden.id("maker").clone()];
    let read = async move |tx: &mut Tx<'_>| skep_queue::graph::artifacts(tx, &jobs).await;
    let found = garden.hive.db.read("artifacts", read).await?;
    let names: Vec<_> = found.iter().map(|a| a.artifact.name.as_str()).collect();
    assert_eq!(names, ["report.txt"], "a later result replaces an earlier");
    // One that failed leaves nothing that a success would have promised.
    let mut garden = Garden::open_with_ids(&store, 2).await?;
    garden
        .plant(&[("maker", &[]), ("reader", &["maker:report.txt"])])
        .await?;
    garden.leave("maker", "report.txt").await?;
    garden.end("maker", JobState::Failed).await?;
    garden.assert_states("reader skipped").await
}

async fn a_graph_may_come_after_jobs_that_exist(store: TestStore) -> anyhow::Result<()> {
    let mut garden = Garden::open(&store).await?;
    garden
        .plant(&[
            ("live", &[]),
            ("good", &[]),
            ("bad", &[]),
            ("gone", &["bad"]),
        ])
        .await?;
    garden.end("good", JobState::Done).await?;
    garden.end("bad", JobState::Failed).await?;
    let after = |garden: &Garden, names: &[(&str, EdgePolicy)]| -> Vec<Edge> {
        let edges = names.iter().map(|(name, policy)| Edge {
            parent: EdgeParent::Job(garden.id(name).clone()),
            policy: policy.clone(),
        });
        edges.collect()
    };
    let cases: &[(&str, &[(&str, EdgePolicy)])] = &[
        (
            "waits",
            &[("live", EdgePolicy::Success), ("good", EdgePolicy::Success)],
        ),
        (
            "starts",
            &[("good", EdgePolicy::Success), ("bad", EdgePolicy::AnyEnd)],
        ),
        (
            "skips",
            &[("live", EdgePolicy::Success), ("bad", EdgePolicy::Success)],
        ),
        ("skips-too", &[("gone", EdgePolicy::Success)]),
    ];
    let mut nodes = Vec::new();
    for (name, parents) in cases {
        let mut node = garden.graph_node(name, &[]);
        node.after = after(&garden, parents);
        nodes.push(node);
    }
    nodes.push(garden.graph_node("behind", &["skips?"]));
    let states: Vec<_> = garden
        .enqueue(nodes)
        .await?
        .iter()
        .map(|enqueued| enqueued.state.as_str())
        .collect();
    assert_eq!(
        states,
        ["blocked", "queued", "skipped", "skipped", "queued"]
    );
    garden.end("live", JobState::Done).await?;
    garden.assert_states("waits queued").await
}

async fn a_refused_graph_leaves_nothing(store: TestStore) -> anyhow::Result<()> {
    let mut garden = Garden::open(&store).await?;
    let mut unknown = garden.graph_node("a", &[]);
    unknown.after.push(Edge {
        parent: EdgeParent::Job(garden.hive.new_job().id),
        policy: EdgePolicy::Success,
    });
    let keyed = GraphNode {
        job: NewJob {
            idempotency_key: Some("key".to_owned()),
            ..garden.hive.new_job()
        },
        ..garden.graph_node("a", &[])
    };
    let tireless = GraphNode {
        job: NewJob {
            attempts_max: 0,
            ..garden.hive.new_job()
        },
        ..garden.graph_node("a", &[])
    };
    let cases = [
        (Vec::new(), "graph_empty"),
        (vec![unknown], "graph_unknown_parent"),
        (vec![keyed], "job_invalid"),
        (vec![tireless], "job_invalid"),
        (vec![garden.graph_node("a", &["a"])], "graph_cycle"),
        (vec![garden.graph_node("a", &["b"])], "graph_unknown_parent"),
        (vec![garden.graph_node("a/b", &[])], "graph_bad_name"),
        (
            vec![
                garden.graph_node("a", &[]),
                garden.graph_node("b", &["a:../x"]),
            ],
            "graph_bad_name",
        ),
        (
            vec![
                garden.graph_node("a", &["b"]),
                garden.graph_node("b", &["a"]),
            ],
            "graph_cycle",
        ),
    ];
    for (nodes, code) in cases {
        let refused = garden.enqueue(nodes).await;
        let found = refused.map_err(|error| error.code());
        assert_eq!(found.map(|_| ()), Err(code));
    }
    let page = garden
        .hive
        .db
        .read("jobs", async |tx: &mut Tx<'_>| {
            skep_queue::jobs(tx, &skep_queue::JobFilter::default(), None, 10).await
        })
        .await?;
    assert_eq!(page.items, []);
    Ok(())
}

async fn the_order_of_the_whole_graph_is_known(store: TestStore) -> anyhow::Result<()> {
    let mut garden = Garden::open(&store).await?;
    garden
        .plant(&[
            ("a", &[]),
            ("b", &["a"]),
            ("c", &["b?"]),
            ("d", &["a"]),
            ("e", &[]),
        ])
        .await?;
    for (name, expected) in [
        ("a", "b c d"),
        ("b", "a c"),
        ("c", "a b"),
        ("d", "a"),
        ("e", ""),
    ] {
        let job = garden.id(name).clone();
        let read = async move |tx: &mut Tx<'_>| skep_queue::graph::ordered_with(tx, &job).await;
        let ordered = garden.hive.db.read("ordered", read).await?;
        let names: Vec<_> = garden
            .ids
            .iter()
            .filter(|(_, id)| ordered.contains(*id))
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(names.join(" "), expected, "{name}");
    }
    Ok(())
}
