//! A store that is carried to another one goes on there: nothing lost, nothing doubled.

use super::*;
use crate::crash::site::Site;
use crate::queue::{Hive, succeeded};
use crate::schema::PARTS;
use skep_director::{Arrival, Arriving};
use skep_types::{AttemptState, JobState};

in_every_direction!(
    an_engine_goes_on_where_another_was_killed,
    every_lease_is_taken_back_on_arrival,
    the_ledger_goes_on_with_its_key,
    what_waited_for_its_seal_is_sealed_on_arrival,
);

async fn an_engine_goes_on_where_another_was_killed(
    from: TestStore,
    to: TestStore,
) -> anyhow::Result<()> {
    let site = Site::new(&from)?;
    let verifying = site.submit("noter", 1).await?;
    site.die_at("verify.gathered").await?;
    // Both are claimed by the next engine, which dies while the first worker is at it.
    let running = site.submit("noter", 2).await?;
    site.die_at("attempt.started").await?;
    let waiting = site.submit("noter", 3).await?;

    let moved = site.move_to(&to).await?;
    let views = moved.finish(&[verifying, running, waiting]).await?;
    let numbers: Vec<i64> = views.iter().map(|view| view.number).collect();
    assert_eq!(numbers, [1, 2, 3]);
    for view in &views {
        let kept = view
            .attempts
            .iter()
            .filter(|a| a.state != AttemptState::Lost);
        assert_eq!(kept.count(), 1, "{:#?}", view.attempts);
    }
    // The numbers go on where they were.
    let next = moved.submit("noter", 4).await?;
    assert_eq!(moved.finish(&[next]).await?[0].number, 4);
    Ok(())
}

/// As the product imports.
async fn arrive(hive: &Hive, to: &TestStore, path: &Path) -> anyhow::Result<(Db, Arrival)> {
    let key = hive.ledger.key.clone();
    let before_commit = Some(skep_ledger::sealer(key.clone()));
    let archive = Archive::open(File::open(path)?)?;
    let digest = archive.content_sha256().to_owned();
    let (db, imported) = Db::import(
        to.options(PARTS, before_commit),
        archive,
        false,
        Progress::default(),
        async move |tx: &mut Tx<'_>| {
            let arriving = Arriving {
                engine: "sqlite",
                rows: 1,
                content_sha256: &digest,
            };
            let failed = std::io::Error::other::<skep_ledger::LedgerError>;
            skep_ledger::take_over(tx, &key).await.map_err(failed)?;
            skep_director::arrive(tx, &arriving, None)
                .await
                .map_err(std::io::Error::other)
        },
    )
    .await?;
    Ok((db, imported.arrival))
}

async fn every_lease_is_taken_back_on_arrival(
    from: TestStore,
    to: TestStore,
) -> anyhow::Result<()> {
    let hive = Hive::open_with(&from, PARTS, 1).await?;
    let (here, there) = (hive.node(), hive.node());
    let running = hive.enqueue_any().await?;
    let verifying = hive.enqueue_any().await?;
    let waiting = hive.enqueue_any().await?;
    let done = hive.enqueue_any().await?;
    let mut leases = Vec::new();
    for node in [&here, &there, &here, &there] {
        leases.push(hive.claim_one(node).await?);
    }
    for (claim, to) in leases.iter().zip([
        None,
        Some(JobState::Verifying),
        Some(JobState::WaitingHuman),
        Some(JobState::Done),
    ]) {
        let Some(to) = to else { continue };
        let attempt = crate::queue::attempt_of(claim)?;
        hive.started(&claim.lease(), &attempt).await?;
        hive.ended(&claim.lease(), &attempt, succeeded()).await?;
        if to == JobState::Verifying {
            hive.advance_as(&claim.lease(), to, crate::queue::KEEP)
                .await?;
        } else {
            hive.advance(&claim.lease(), to).await?;
        }
    }
    let queued = hive.enqueue_any().await?;
    hive.ledger.events().await?;
    let path = from.folder().join("archive");
    export(&hive.db, PARTS, &path).await?;

    let (db, arrival) = arrive(&hive, &to, &path).await?;
    assert_eq!(arrival.leases_taken_back, 2);
    // The leases would have held for long by the clock of the new store, and nobody waits for it.
    to.clock.set_ms(0);
    let copy = hive.on(&to, db);
    for (job, state) in [
        (&running, JobState::Queued),
        (&verifying, JobState::Verifying),
        (&waiting, JobState::WaitingHuman),
        (&done, JobState::Done),
        (&queued, JobState::Queued),
    ] {
        let found = copy.job(job).await?;
        assert_eq!((found.state, found.held), (state, None));
    }
    // Whoever was at a job has no authority over it here, and each is given out once.
    to.clock.set_ms(skep_stdx::Clock::now_ms(&from.clock));
    for claim in &leases {
        assert!(!copy.is_current(&claim.lease()).await?);
    }
    let mut given: Vec<_> = copy
        .claim(&copy.node(), 10)
        .await?
        .into_iter()
        .map(|claim| (claim.job.id, claim.found))
        .collect();
    given.sort();
    let mut expected = vec![
        (running, JobState::Queued),
        (verifying, JobState::Verifying),
        (queued, JobState::Queued),
    ];
    expected.sort();
    assert_eq!(given, expected);
    assert!(copy.claim(&copy.node(), 10).await?.is_empty());
    Ok(())
}

async fn the_ledger_goes_on_with_its_key(from: TestStore, to: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open_with(&from, PARTS, 1).await?;
    for _ in 0..40 {
        hive.enqueue_any().await?;
    }
    let before = hive.ledger.events().await?;
    let path = from.folder().join("archive");
    export(&hive.db, PARTS, &path).await?;
    let (db, _) = arrive(&hive, &to, &path).await?;
    let copy = hive.on(&to, db);
    copy.enqueue_any().await?;
    let after = copy.ledger.events().await?;
    assert_eq!(after[..before.len()], before);
    let kinds: Vec<&str> = after[before.len()..]
        .iter()
        .map(|e| e.kind.as_str())
        .collect();
    assert_eq!(kinds, ["data_imported", "job_queued"]);
    let report = copy.ledger.verify().await?;
    assert!(report.first_bad.is_none(), "{report:?}");
    assert_eq!(report.events, i64::try_from(after.len())?);
    Ok(())
}

async fn what_waited_for_its_seal_is_sealed_on_arrival(
    from: TestStore,
    to: TestStore,
) -> anyhow::Result<()> {
    let hive = Hive::open_with(&from, PARTS, 1).await?;
    let path = from.folder().join("archive");
    for round in [3, 40] {
        for _ in 0..round {
            hive.enqueue_any().await?;
        }
        if round == 3 {
            hive.ledger.events().await?;
        }
    }
    // On PostgreSQL nobody has sealed the later forty; on SQLite their commits did.
    export(&hive.db, PARTS, &path).await?;
    let (db, _) = arrive(&hive, &to, &path).await?;
    let copy = hive.on(&to, db);
    assert_eq!(copy.ledger.events().await?.len(), 44);
    copy.enqueue_any().await?;
    assert_eq!(copy.ledger.events().await?.len(), 45);
    let report = copy.ledger.verify().await?;
    assert!(
        report.first_bad.is_none() && report.unsealed == 0,
        "{report:?}"
    );
    Ok(())
}
