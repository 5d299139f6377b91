//! Effects: done once whatever dies in between, and never done by who lost the right to it.

use super::Stand;
use skep_db::{Db, DbError, DbOptions, Location, Tx};
use skep_ledger::LedgerKey;
use skep_stdx::{ManualClock, Secret, SeededEntropy};
use skep_testkit::{TestStore, on_both_engines};
use skep_topic::effect::{Done, Effect, EffectError, Refusal, run, state};
use skep_types::{EffectState, Fence, JobId};
use std::cell::RefCell;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

on_both_engines!(
    a_doer_that_dies_is_followed_by_one_that_looks_first,
    a_key_stands_for_one_request,
    a_stale_fence_does_nothing,
    an_effect_is_performed_once,
    two_at_once_do_not_both_perform,
    what_cannot_be_read_back_is_unknown_and_is_looked_for,
    what_certainly_failed_may_be_run_again,
);

fn effect(key: &str) -> Effect {
    Effect {
        kind: "ring_bell",
        key: key.to_owned(),
        request: b"ring it".to_vec(),
        authority: None,
        holder: "node".to_owned(),
    }
}

/// A world in which a bell is rung or not.
#[derive(Default)]
struct World {
    rings: RefCell<Vec<String>>,
    looks: RefCell<usize>,
}

impl World {
    async fn ring(&self, key: &str) -> Result<(), Refusal> {
        self.rings.borrow_mut().push(key.to_owned());
        Ok(())
    }

    async fn look(&self, key: &str) -> Result<Option<String>, String> {
        *self.looks.borrow_mut() += 1;
        let rung = self.rings.borrow().iter().any(|rung| rung == key);
        Ok(rung.then(|| format!("rung {key}")))
    }
}

async fn run_in(world: &World, db: &Db, key: &str) -> Result<Done, EffectError> {
    run(db, effect(key), || world.ring(key), || world.look(key)).await
}

async fn state_of(db: &Db, key: &'static str) -> Result<Option<EffectState>, DbError> {
    db.read("state", async move |tx: &mut Tx<'_>| {
        state(tx, "ring_bell", key).await
    })
    .await
}

async fn an_effect_is_performed_once(store: TestStore) -> anyhow::Result<()> {
    let stand = Stand::open(&store, vec![]).await?;
    let world = World::default();
    assert_eq!(state_of(&stand.db, "a").await?, None);
    for performed in [true, false, false] {
        let done = run_in(&world, &stand.db, "a").await?;
        assert_eq!(
            (done.outcome.as_str(), done.performed),
            ("rung a", performed)
        );
    }
    assert!(run_in(&world, &stand.db, "b").await?.performed);
    assert_eq!(*world.rings.borrow(), ["a", "b"]);
    assert_eq!(
        *world.looks.borrow(),
        2,
        "what is recorded is not looked at again"
    );
    let changes = stand.events("effect_changed").await?;
    let first: Vec<String> = changes
        .iter()
        .take(3)
        .map(|event| String::from_utf8_lossy(&event.payload).into_owned())
        .collect();
    for (payload, word) in first.iter().zip(["planned", "started", "done"]) {
        assert!(
            payload.contains(&format!(r#""state":"{word}""#)),
            "{payload}"
        );
        assert!(!payload.contains("ring it"), "{payload}");
    }
    Ok(())
}

async fn a_key_stands_for_one_request(store: TestStore) -> anyhow::Result<()> {
    let stand = Stand::open(&store, vec![]).await?;
    let world = World::default();
    run_in(&world, &stand.db, "a").await?;
    let other = Effect {
        request: b"break it".to_vec(),
        ..effect("a")
    };
    let refused = run(&stand.db, other, || world.ring("a"), || world.look("a")).await;
    assert!(
        matches!(refused, Err(EffectError::Conflict { .. })),
        "{refused:?}"
    );
    let empty = run_in(&world, &stand.db, "").await;
    assert!(matches!(empty, Err(EffectError::Key { .. })), "{empty:?}");
    Ok(())
}

async fn a_stale_fence_does_nothing(store: TestStore) -> anyhow::Result<()> {
    let stand = Stand::open(&store, vec![]).await?;
    let world = World::default();
    let job = JobId::new(&ManualClock::at(1), &SeededEntropy::new(1));
    let (old, current) = (Fence(1), Fence(2));
    for fence in [old, current] {
        let job = job.clone();
        let grant =
            async move |tx: &mut Tx<'_>| skep_authority::grant(tx, &[(&job, fence)], "node").await;
        stand.db.write("grant", grant).await?;
    }
    let with = |fence| Effect {
        authority: Some((job.clone(), fence)),
        ..effect("a")
    };
    let refused = run(&stand.db, with(old), || world.ring("a"), || world.look("a")).await;
    assert!(
        matches!(refused, Err(EffectError::Stale { .. })),
        "{refused:?}"
    );
    assert_eq!(state_of(&stand.db, "a").await?, None);
    assert_eq!(world.rings.borrow().len(), 0);
    run(
        &stand.db,
        with(current),
        || world.ring("a"),
        || world.look("a"),
    )
    .await?;
    assert_eq!(world.rings.borrow().len(), 1);
    let events = stand.events("effect_changed").await?;
    assert!(events.iter().all(|event| event.subject == job.as_str()));
    Ok(())
}

async fn two_at_once_do_not_both_perform(store: TestStore) -> anyhow::Result<()> {
    let stand = Stand::open(&store, vec![]).await?;
    let world = World::default();
    let inner = async {
        // While the first is at it.
        let second = run_in(&world, &stand.db, "a").await;
        assert!(
            matches!(second, Err(EffectError::UnderWay { .. })),
            "{second:?}"
        );
        world.ring("a").await
    };
    run(&stand.db, effect("a"), || inner, || world.look("a")).await?;
    assert_eq!(world.rings.borrow().len(), 1);
    Ok(())
}

async fn what_certainly_failed_may_be_run_again(store: TestStore) -> anyhow::Result<()> {
    let stand = Stand::open(&store, vec![]).await?;
    let world = World::default();
    let fails = async || Err(Refusal::Failed("no rope".to_owned()));
    let failed = run(&stand.db, effect("a"), fails, || world.look("a")).await;
    assert!(
        matches!(failed, Err(EffectError::Failed { .. })),
        "{failed:?}"
    );
    assert_eq!(state_of(&stand.db, "a").await?, Some(EffectState::Failed));
    assert!(run_in(&world, &stand.db, "a").await?.performed);
    assert_eq!(state_of(&stand.db, "a").await?, Some(EffectState::Done));
    Ok(())
}

async fn what_cannot_be_read_back_is_unknown_and_is_looked_for(
    store: TestStore,
) -> anyhow::Result<()> {
    let stand = Stand::open(&store, vec![]).await?;
    let world = World::default();
    // It happens, and neither the answer nor the look comes through.
    let lost = async || {
        world.ring("a").await?;
        Err(Refusal::Unknown("the line broke".to_owned()))
    };
    let blind = async || Err("the line is broken".to_owned());
    let unknown = run(&stand.db, effect("a"), lost, blind).await;
    assert!(
        matches!(unknown, Err(EffectError::Unknown { .. })),
        "{unknown:?}"
    );
    assert_eq!(state_of(&stand.db, "a").await?, Some(EffectState::Unknown));
    // Still blind: nothing is done.
    let unknown = run(&stand.db, effect("a"), || world.ring("a"), blind).await;
    assert!(
        matches!(unknown, Err(EffectError::Unknown { .. })),
        "{unknown:?}"
    );
    let done = run_in(&world, &stand.db, "a").await?;
    assert_eq!((done.outcome.as_str(), done.performed), ("rung a", false));
    assert_eq!(world.rings.borrow().len(), 1);
    // It is said to be done, and is not there.
    let nothing = run(&stand.db, effect("b"), async || Ok(()), || world.look("b")).await;
    assert!(
        matches!(nothing, Err(EffectError::Unknown { .. })),
        "{nothing:?}"
    );
    Ok(())
}

/// The crash points of an effect, each with how often the bell has rung when the doer has died.
const POINTS: [(&str, usize); 2] = [("effect.started", 0), ("effect.performed", 1)];

async fn a_doer_that_dies_is_followed_by_one_that_looks_first(
    store: TestStore,
) -> anyhow::Result<()> {
    let stand = Stand::open(&store, vec![]).await?;
    for (point, rung) in POINTS {
        let bell = store.folder().join(point);
        let died = child(&store, point, &bell)?;
        let said = String::from_utf8_lossy(&died.stderr);
        assert_eq!(died.status.signal(), Some(6), "{point}: {said}");
        assert_eq!(rings(&bell), rung, "{point}");
        // Its lease holds for a while; at the start of the same doer it ends.
        let early = ring_file(&stand.db, point, &bell).await;
        assert!(
            matches!(early, Err(EffectError::UnderWay { .. })),
            "{early:?}"
        );
        let take_back = async |tx: &mut Tx<'_>| skep_topic::effect::take_back(tx, "node").await;
        assert_eq!(stand.db.write("take back", take_back).await?, 1);
        let done = ring_file(&stand.db, point, &bell).await?;
        assert_eq!(done.performed, rung == 0, "{point}");
        assert_eq!(rings(&bell), 1, "{point}");
    }
    assert_eq!(stand.ledger.verify().await?.first_bad, None);
    Ok(())
}

fn rings(bell: &Path) -> usize {
    std::fs::read_to_string(bell).map_or(0, |text| text.lines().count())
}

/// Rings a bell that is a file: one line for each time.
async fn ring_file(db: &Db, point: &str, bell: &Path) -> Result<Done, EffectError> {
    let ring = async || {
        use std::io::Write as _;
        let file = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(bell);
        let rung = file.and_then(|mut file| writeln!(file, "rung"));
        rung.map_err(|error| Refusal::Unknown(error.to_string()))
    };
    let look = async || Ok((rings(bell) > 0).then(|| "rung".to_owned()));
    run(db, effect(point), ring, look).await
}

const STORE_VARIABLE: &str = "SKEP_TEST_EFFECT_STORE";
const BELL_VARIABLE: &str = "SKEP_TEST_EFFECT_BELL";
const KEY_VARIABLE: &str = "SKEP_TEST_EFFECT_KEY";

fn child(store: &TestStore, point: &str, bell: &Path) -> anyhow::Result<std::process::Output> {
    let place = match (store.postgres_address(), store.sqlite_file()) {
        (Some(address), _) => address.to_owned(),
        (None, Some(file)) => file.display().to_string(),
        (None, None) => anyhow::bail!("it is neither engine"),
    };
    let arguments = [
        "--exact",
        "topic::effect::doer_process",
        "--ignored",
        "--nocapture",
    ];
    let output = Command::new(std::env::current_exe()?)
        .args(arguments)
        .env(STORE_VARIABLE, place)
        .env(BELL_VARIABLE, bell)
        .env(KEY_VARIABLE, store.folder().join("ledger.key"))
        .env(skep_stdx::crash::CRASH_VARIABLE, point)
        .output()?;
    Ok(output)
}

#[test]
#[ignore = "the child process of another test"]
fn doer_process() -> anyhow::Result<()> {
    let (place, bell) = (
        std::env::var(STORE_VARIABLE)?,
        std::env::var(BELL_VARIABLE)?,
    );
    let point = std::env::var(skep_stdx::crash::CRASH_VARIABLE)?;
    let key = LedgerKey::open_or_create(Path::new(&std::env::var(KEY_VARIABLE)?))?;
    let location = if Path::new(&place).is_absolute() {
        Location::Sqlite(PathBuf::from(place))
    } else {
        Location::Postgres(Secret::new(place))
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let db = Db::open(DbOptions {
            location,
            schema: vec![
                skep_authority::SCHEMA,
                skep_ledger::SCHEMA,
                skep_topic::SCHEMA,
            ],
            clock: Some(std::sync::Arc::new(ManualClock::at(1_767_225_600_000))),
            before_commit: Some(skep_ledger::sealer(key)),
        })
        .await?;
        ring_file(&db, &point, Path::new(&bell)).await?;
        Ok(())
    })
}
