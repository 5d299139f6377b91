//! What bounds a graph and a tree.

use super::Garden;
use skep_queue::graph::{Edge, EdgeParent, EdgePolicy};
use skep_queue::limits::{GRAPH_LEVELS_MAX, GRAPH_NODES_MAX, TREE_DEPTH_MAX, TREE_JOBS_MAX};
use skep_queue::{EnqueueError, NewJob};
use skep_testkit::{TestStore, on_both_engines};

on_both_engines!(
    a_graph_has_so_many_nodes,
    a_tree_is_so_deep,
    a_tree_is_so_wide,
    graphs_that_follow_one_another_are_so_deep,
);

async fn a_graph_has_so_many_nodes(store: TestStore) -> anyhow::Result<()> {
    let mut garden = Garden::open(&store).await?;
    let nodes = (0..=GRAPH_NODES_MAX)
        .map(|n| garden.graph_node(&format!("n{n}"), &[]))
        .collect();
    let refused = garden.enqueue(nodes).await.map_err(|error| error.code());
    assert_eq!(refused, Err("graph_too_wide"));
    Ok(())
}

async fn a_tree_is_so_deep(store: TestStore) -> anyhow::Result<()> {
    let mut garden = Garden::open(&store).await?;
    let mut parent = garden.hive.enqueue_any().await?;
    for generation in 0..TREE_DEPTH_MAX {
        // By itself and as a graph: both count.
        let new = NewJob {
            parent: Some(parent),
            ..garden.hive.new_job()
        };
        parent = new.id.clone();
        if generation % 2 == 0 {
            garden.hive.enqueue(new).await?;
        } else {
            let mut node = garden.graph_node("node", &[]);
            node.job = new;
            garden.enqueue(vec![node]).await?;
        }
    }
    let new = NewJob {
        parent: Some(parent),
        ..garden.hive.new_job()
    };
    let mut node = garden.graph_node("node", &[]);
    node.job = new.clone();
    let refused = garden.enqueue(vec![node]).await;
    assert_eq!(refused.map_err(|e| e.code()), Err("graph_too_deep"));
    let refused = garden.hive.enqueue(new).await;
    assert!(
        matches!(refused, Err(EnqueueError::TooDeep { depth: 17 })),
        "{refused:?}"
    );
    Ok(())
}

async fn a_tree_is_so_wide(store: TestStore) -> anyhow::Result<()> {
    let mut garden = Garden::open(&store).await?;
    let root = garden.hive.enqueue_any().await?;
    let part = NewJob {
        parent: Some(root.clone()),
        ..garden.hive.new_job()
    };
    let below = part.id.clone();
    garden.hive.enqueue(part).await?;
    // What the limit counts is a number in a row; writing it saves fifty thousand jobs.
    let row = root.clone();
    garden
        .hive
        .db
        .write("grow", async move |tx: &mut skep_db::Tx<'_>| {
            let sql = "UPDATE job_tree SET jobs = ?2 WHERE job = ?1";
            tx.execute(sql, skep_db::params![row.as_str(), TREE_JOBS_MAX - 1])
                .await
        })
        .await?;
    let mut part = async |parent: &skep_types::JobId, name: &str| {
        let mut node = garden.graph_node(name, &[]);
        node.job.parent = Some(parent.clone());
        let enqueued = garden.enqueue(vec![node]).await;
        enqueued.map(|_| ()).map_err(|error| error.code())
    };
    assert_eq!(part(&below, "last").await, Ok(()));
    assert_eq!(part(&below, "more").await, Err("graph_too_wide"));
    assert_eq!(part(&root, "more").await, Err("graph_too_wide"));
    Ok(())
}

async fn graphs_that_follow_one_another_are_so_deep(store: TestStore) -> anyhow::Result<()> {
    let mut garden = Garden::open(&store).await?;
    let length = usize::try_from(GRAPH_LEVELS_MAX)?;
    let names: Vec<String> = (0..length).map(|n| format!("n{n}")).collect();
    let mut nodes = vec![garden.graph_node(&names[0], &[])];
    for pair in names.windows(2) {
        nodes.push(garden.graph_node(&pair[1], &[&pair[0]]));
    }
    garden.enqueue(nodes).await?;
    let mut next = garden.graph_node("next", &[]);
    next.after.push(Edge {
        parent: EdgeParent::Job(garden.id(&names[length - 1]).clone()),
        policy: EdgePolicy::Success,
    });
    let refused = garden
        .enqueue(vec![next])
        .await
        .map_err(|error| error.code());
    assert_eq!(refused, Err("graph_too_deep"));
    Ok(())
}
