//! Nodes that die or are cut off from the store: their jobs are done once all the same, elsewhere
//! or where they are, and who comes back with an old fence changes nothing.

use super::site::{Door, Engine, Site, Visitor};
use skep_api::EventView;
use skep_testkit::{Backend, run_on};
use skep_types::{JobId, JobState};

/// A node that only works.
pub(super) const WORKER: &[&str] = &["--role", "worker"];
/// One that seals the ledger too, so that its events can be followed while it is alone.
const SEALING: &[&str] = &["--role", "worker", "--role", "engine"];

/// A scenario on machines of these names. Where there can be none, nothing is tested.
pub(super) fn on(
    names: &'static [&'static str],
    test: impl AsyncFnOnce(&Site) -> anyhow::Result<()>,
) {
    run_on(Backend::Sqlite, async |_| {
        let Some(site) = Site::new(names).await? else {
            return Ok(());
        };
        test(&site).await.map_err(|error| site.explained(error))
    });
}

/// Waits until the job's first worker has come to the door and its start is on record, as `engine`
/// can see.
pub(super) async fn at_work(engine: &Engine, door: &Door, job: &JobId) -> anyhow::Result<Visitor> {
    let held = door.visitor().await?;
    engine.event(job, "fence_proved", 1).await?;
    Ok(held)
}

#[test]
fn a_machine_that_dies_loses_no_work() {
    on(&["oak", "elm"], async |site| {
        let oak = site.up("oak", SEALING).await?;
        let door = site.close("oak", "work-1")?;
        let jobs = [site.submit(&oak, "noter", 1).await?];
        let held = at_work(&oak, &door, &jobs[0]).await?;
        oak.kill().await?;
        drop(held);
        site.assert_no_process().await?;
        site.let_leases_lapse("oak").await?;
        let elm = site.up("elm", &[]).await?;
        let views = site.finish(&elm, &jobs).await?;
        assert_eq!(views[0].attempts.len(), 2, "{views:#?}");
        // It comes back, and has nothing more to do with it.
        let oak = site.up("oak", WORKER).await?;
        site.finish(&elm, &jobs).await?;
        oak.stop().await?;
        elm.stop().await
    });
}

/// One worker asks its model and another one ends while their machine is cut off: nobody spends
/// without the store, so the call is made again, and the result waits for the store.
#[test]
fn a_short_cut_costs_nothing() {
    on(&["oak", "elm"], async |site| {
        let elm = site.up("elm", &["--role", "engine"]).await?;
        let oak = site.up("oak", WORKER).await?;
        let doors = [site.close("oak", "work-1")?, site.close("oak", "work-2")?];
        let asks = site.submit(&elm, "loop", 1).await?;
        let ends = site.submit(&elm, "noter", 2).await?;
        let held = [
            at_work(&elm, &doors[0], &asks).await?,
            at_work(&elm, &doors[1], &ends).await?,
        ];
        site.cut("oak")?;
        drop(held);
        // Long enough for whoever does not wait to have given up.
        oak.says("call not admitted").await?;
        site.join("oak")?;
        for view in site.finish(&elm, &[asks, ends]).await? {
            assert_eq!(view.attempts.len(), 1, "{view:#?}");
        }
        oak.stop().await?;
        elm.stop().await
    });
}

/// Lets `elm` do what `oak` holds and cannot be reached for; the job is reported then.
async fn take_over(site: &Site, job: &JobId) -> anyhow::Result<Engine> {
    site.cut("oak")?;
    site.let_leases_lapse("oak").await?;
    let elm = site.up("elm", &[]).await?;
    elm.event(job, "report_delivered", 1).await?;
    Ok(elm)
}

fn assert_stale(refused: &EventView) {
    assert_eq!(refused.payload["reason"], "stale", "{refused:?}");
    assert_eq!(refused.payload["fence"], 1, "{refused:?}");
}

#[test]
fn an_old_fence_hands_in_nothing() {
    on(&["oak", "elm"], async |site| {
        let oak = site.up("oak", SEALING).await?;
        let door = site.close("oak", "work-1")?;
        let job = site.submit(&oak, "noter", 1).await?;
        let held = at_work(&oak, &door, &job).await?;
        let elm = take_over(site, &job).await?;
        // It ends while nobody can be told, and hands in when the link is back.
        drop(held);
        site.assert_no_process().await?;
        site.join("oak")?;
        assert_stale(&elm.event(&job, "transition_refused", 1).await?);
        let views = site.finish(&elm, &[job]).await?;
        assert_eq!(views[0].attempts.len(), 2, "{views:#?}");
        oak.stop().await?;
        elm.stop().await
    });
}

#[test]
fn an_old_fence_lands_nothing() {
    on(&["oak", "elm"], async |site| {
        let oak = site.up("oak", &[]).await?;
        let first = site.submit(&oak, "noter", 2).await?;
        site.finish(&oak, std::slice::from_ref(&first)).await?;
        // The target has moved, so that the check runs twice: on the result and on the merge.
        let door = site.close("oak", "check-1")?;
        let job = site.submit(&oak, "noter", 1).await?;
        drop(door.visitor().await?);
        oak.event(&job, "verdict_found", 1).await?;
        let held = door.visitor().await?;
        let elm = take_over(site, &job).await?;
        drop(held);
        site.assert_no_process().await?;
        site.join("oak")?;
        assert_stale(&elm.event(&job, "transition_refused", 1).await?);
        site.finish(&elm, &[first, job]).await?;
        oak.stop().await?;
        elm.stop().await
    });
}

/// Another node's lander has moved the branch and not yet the work tree, which looks as if its user
/// had changed it: whoever lands next waits for its turn and does not look.
#[test]
fn nodes_land_in_turns() {
    on(&["oak"], async |site| {
        let oak = site.up("oak", &[]).await?;
        let first = site.submit(&oak, "noter", 1).await?;
        site.finish(&oak, std::slice::from_ref(&first)).await?;
        let turn = site.take_turn()?;
        let old = site.project.tip("main")?;
        site.project.write("other.txt", "of another node\n")?;
        let new = site.project.commit("other")?;
        let bring = |from: &str, to: &str| site.project.git(&["read-tree", "-m", "-u", from, to]);
        bring(&new, &old)?;
        let second = site.submit(&oak, "noter", 2).await?;
        while !turn.is_waited_for()? {
            let view = oak.client().job(second.as_str()).await?;
            anyhow::ensure!(view.state != JobState::WaitingHuman, "{view:#?}");
        }
        bring(&old, &new)?;
        drop(turn);
        site.finish(&oak, &[first, second]).await?;
        oak.stop().await
    });
}

#[test]
fn an_old_fence_spends_nothing() {
    on(&["oak", "elm"], async |site| {
        let oak = site.up("oak", SEALING).await?;
        let door = site.close("oak", "work-1")?;
        let job = site.submit(&oak, "loop", 1).await?;
        let held = at_work(&oak, &door, &job).await?;
        let elm = take_over(site, &job).await?;
        // Its command ends and it asks its model again.
        drop(held);
        site.join("oak")?;
        let is_old = |event: &EventView| event.payload["fence"] == 1;
        // The gateway refuses it, or the node ends it first.
        let ended = elm.until("the old worker is told", |event| {
            event.kind == "model_call_refused" && is_old(event)
        });
        tokio::select! {
            refused = ended => drop(refused?),
            ended = oak.says("a step was left") => ended?,
        }
        let views = site.finish(&elm, std::slice::from_ref(&job)).await?;
        assert_eq!(views[0].attempts.len(), 2, "{views:#?}");
        let events = elm.client().events(0, None, 500).await?.items;
        let admitted = events
            .iter()
            .filter(|event| event.kind == "model_call_admitted" && is_old(event));
        assert_eq!(admitted.count(), 1, "before it was cut off, and no more");
        oak.stop().await?;
        elm.stop().await
    });
}

#[test]
fn who_asks_a_node_without_a_store_is_told_so() {
    on(&["oak"], async |site| {
        let oak = site.up("oak", &[]).await?;
        let first = site.submit(&oak, "noter", 1).await?;
        site.finish(&oak, std::slice::from_ref(&first)).await?;
        site.cut("oak")?;
        let asked = [&["job", "list"][..], &["shell", "--detach", "--", "true"]];
        let [read, write] = asked.map(|asked| site.document("oak", asked));
        let answers = tokio::try_join!(read, write)?;
        for answer in [answers.0, answers.1] {
            let error = &answer["error"];
            assert_eq!(error["code"], "database_failed", "{answer}");
            assert!(error["hint"].is_string(), "{answer}");
        }
        site.join("oak")?;
        let second = site.submit(&oak, "noter", 2).await?;
        site.finish(&oak, &[first, second]).await?;
        oak.stop().await
    });
}

#[test]
fn a_drained_machine_finishes_what_it_runs() {
    on(&["oak", "elm"], async |site| {
        let oak = site.up("oak", SEALING).await?;
        let door = site.close("oak", "work-1")?;
        let mut jobs = vec![site.submit(&oak, "noter", 1).await?];
        let held = at_work(&oak, &door, &jobs[0]).await?;
        let elm = site.up("elm", &[]).await?;
        let node = site.node("oak")?;
        let state = async || -> anyhow::Result<_> {
            let nodes = elm.client().nodes().await?.items;
            Ok(nodes.into_iter().find(|found| found.id == node))
        };
        let drained = elm.client().drain_node(&node).await?;
        assert_eq!((drained.state.as_str(), drained.running), ("draining", 1));
        for number in 2..=4 {
            jobs.push(site.submit(&oak, "noter", number).await?);
        }
        let views = site.finish_others(&elm, &jobs[1..]).await?;
        let by_elm =
            |event: &EventView| event.payload["node"] == site.node("elm").unwrap_or_default();
        for view in views {
            let claimed = elm.event(&view.id, "job_claimed", 1).await?;
            assert!(by_elm(&claimed), "{claimed:?}");
        }
        drop(held);
        site.finish(&elm, &jobs).await?;
        let claimed = elm.event(&jobs[0], "job_claimed", 1).await?;
        assert_eq!(claimed.payload["node"], node, "{claimed:?}");
        assert_eq!(
            state().await?.map(|node| node.state),
            Some("drained".to_owned())
        );
        oak.stop().await?;
        assert_eq!(
            state().await?.map(|node| node.state),
            Some("left".to_owned())
        );
        elm.stop().await
    });
}
