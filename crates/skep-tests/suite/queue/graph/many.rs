//! Many at once: thousands of nodes in a bounded number of statements, and parents that end at
//! the same moment.

use super::Garden;
use skep_db::Tx;
use skep_queue::graph::{GraphNode, enqueue_graph};
use skep_queue::{Advance, JobFilter, Lease};
use skep_testkit::{TestStore, on_both_engines};
use skep_types::JobState;
use std::collections::BTreeMap;

on_both_engines!(
    a_large_graph_is_enqueued_in_few_statements,
    a_skip_over_a_thousand_nodes_takes_few_statements,
    one_parent_releases_a_thousand_children_in_few_statements,
    parents_that_end_at_once_lose_no_release,
);

/// What a step of a graph may take besides the event that each job gets, however many there are.
const STATEMENTS_MAX: u64 = 40;

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

async fn a_large_graph_is_enqueued_in_few_statements(store: TestStore) -> anyhow::Result<()> {
    let garden = Garden::open(&store).await?;
    let nodes: Vec<GraphNode> = (0..10_000_usize)
        .map(|n| {
            let (near, far) = (
                format!("n{}", n.saturating_sub(100)),
                format!("n{}?", n / 2),
            );
            let after = [near.as_str(), far.as_str()];
            garden.graph_node(&format!("n{n}"), if n < 100 { &[] } else { &after })
        })
        .collect();
    // One event says that it was asked for, another that it waits.
    let events = count(nodes.len() + nodes.len() - 100);
    let statements = garden
        .hive
        .db
        .write("graph", async move |tx: &mut Tx<'_>| {
            let before = tx.statements();
            let enqueued = enqueue_graph(tx, &nodes).await?;
            assert_eq!(enqueued.len(), nodes.len());
            Ok::<_, skep_queue::graph::GraphError>(tx.statements() - before)
        })
        .await?;
    assert!(statements <= events + STATEMENTS_MAX, "{statements}");
    Ok(())
}

/// Ends a claimed job; how many statements that took.
async fn statements_of_end(garden: &Garden, lease: Lease, to: JobState) -> anyhow::Result<u64> {
    let write = async move |tx: &mut Tx<'_>| {
        let before = tx.statements();
        skep_queue::advance(tx, &lease, to, Advance::default()).await?;
        Ok::<_, skep_queue::AdvanceError>(tx.statements() - before)
    };
    Ok(garden.hive.db.write("end", write).await?)
}

async fn states(garden: &Garden) -> anyhow::Result<BTreeMap<JobState, usize>> {
    let read = async |tx: &mut Tx<'_>| {
        let mut states = BTreeMap::new();
        let mut cursor = None;
        loop {
            let page = skep_queue::jobs(tx, &JobFilter::default(), cursor, 500).await?;
            for job in page.items {
                *states.entry(job.state).or_default() += 1;
            }
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok::<_, skep_db::DbError>(states);
            }
        }
    };
    Ok(garden.hive.db.read("states", read).await?)
}

async fn one_parent_releases_a_thousand_children_in_few_statements(
    store: TestStore,
) -> anyhow::Result<()> {
    let mut garden = Garden::open(&store).await?;
    let mut nodes = vec![garden.graph_node("top", &[])];
    nodes.extend((0..1_000).map(|n| garden.graph_node(&format!("n{n}"), &["top"])));
    garden.enqueue(nodes).await?;
    garden.claim_all().await?;
    let lease = garden.lease("top")?;
    let statements = statements_of_end(&garden, lease, JobState::Done).await?;
    assert!(statements <= 1_000 + STATEMENTS_MAX, "{statements}");
    let found = states(&garden).await?;
    assert_eq!(
        found,
        BTreeMap::from([(JobState::Queued, 1_000), (JobState::Done, 1)])
    );
    Ok(())
}

async fn a_skip_over_a_thousand_nodes_takes_few_statements(store: TestStore) -> anyhow::Result<()> {
    let mut garden = Garden::open(&store).await?;
    let mut nodes = vec![garden.graph_node("n0", &[])];
    // A chain, which is the deepest a skip can reach, with a job at each node that runs anyway.
    for n in 1..1_000_usize {
        nodes.push(garden.graph_node(&format!("n{n}"), &[&format!("n{}", n - 1)]));
        nodes.push(garden.graph_node(&format!("clean{n}"), &[&format!("n{n}?")]));
    }
    garden.enqueue(nodes).await?;
    garden.claim_all().await?;
    let lease = garden.lease("n0")?;
    let statements = statements_of_end(&garden, lease, JobState::Failed).await?;
    assert!(statements <= 2 * 999 + STATEMENTS_MAX, "{statements}");
    let found = states(&garden).await?;
    let expected = [
        (JobState::Queued, 999),
        (JobState::Skipped, 999),
        (JobState::Failed, 1),
    ];
    assert_eq!(found, BTreeMap::from(expected));
    Ok(())
}

/// Parents share their children crosswise, so that every end touches what others touch as well.
async fn parents_that_end_at_once_lose_no_release(store: TestStore) -> anyhow::Result<()> {
    const PARENTS: usize = 60;
    let mut garden = Garden::open(&store).await?;
    let whole = garden.hive.enqueue_any().await?;
    garden.claim_all().await?;
    let mut nodes: Vec<GraphNode> = (0..PARENTS)
        .map(|n| garden.graph_node(&format!("p{n}"), &[]))
        .collect();
    for n in 0..PARENTS {
        let after: Vec<String> = (0..10)
            .map(|k| format!("p{}", (n + k * 7) % PARENTS))
            .collect();
        let after: Vec<&str> = after.iter().map(String::as_str).collect();
        nodes.push(garden.graph_node(&format!("c{n}"), &after));
        nodes.push(garden.graph_node(&format!("d{n}"), &[&format!("c{n}")]));
        nodes.push(garden.graph_node(
            &format!("e{n}"),
            &[&format!("d{n}?"), &format!("c{}?", (n + 1) % PARENTS)],
        ));
    }
    let all: Vec<String> = (0..PARENTS).map(|n| format!("p{n}")).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    nodes.push(garden.graph_node("last", &all));
    for node in &mut nodes {
        node.job.parent = Some(whole.clone());
    }
    garden.enqueue(nodes).await?;
    garden.claim_all().await?;
    let mut ends = Vec::new();
    for n in 0..PARENTS {
        let (hive, lease) = (garden.hive.clone(), garden.lease(&format!("p{n}"))?);
        // Of the parents 3 and 33 one fails, of the others none.
        let to = if n == 3 {
            JobState::Failed
        } else {
            JobState::Done
        };
        ends.push(skep_stdx::spawn("end", async move {
            hive.advance(&lease, to).await.map(|_| ())
        }));
    }
    for end in ends {
        end.await??;
    }
    for n in 0..PARENTS {
        let is_child_of_3 = (0..10).any(|k| (n + k * 7) % PARENTS == 3);
        let (c, d) = if is_child_of_3 {
            ("skipped", "skipped")
        } else {
            ("queued", "blocked")
        };
        garden.assert_states(&format!("c{n} {c}, d{n} {d}")).await?;
    }
    garden.assert_states("last skipped").await?;
    // Everything else runs to its end, again all at once, and nothing is left waiting.
    loop {
        let claims = garden.hive.claim(&garden.node, 256).await?;
        if claims.is_empty() {
            break;
        }
        let mut ends = Vec::new();
        for claim in claims {
            let (hive, lease) = (garden.hive.clone(), claim.lease());
            ends.push(skep_stdx::spawn("end", async move {
                hive.advance(&lease, JobState::Done).await.map(|_| ())
            }));
        }
        for end in ends {
            end.await??;
        }
    }
    let mut found = states(&garden).await?;
    assert_eq!(found.remove(&JobState::Running), Some(1), "the whole");
    assert_eq!(found.remove(&JobState::Failed), Some(1));
    let left: Vec<_> = found.keys().copied().collect();
    assert_eq!(left, [JobState::Done, JobState::Skipped]);
    Ok(())
}
