//! A month of a real orchestrator, replayed: the short form. The long one is
//! `cargo xtask chaos month`.

#[path = "month/scenario.rs"]
mod scenario;

use scenario::{Month, Outcome};
use skep_testkit::{Backend, TestStore, on_both_engines};

/// Jobs and days of the short form.
const SHORT: Month = Month {
    seed: 7,
    jobs: 260,
    days: 3,
};

on_both_engines!(a_short_month_reproduces_its_own_statistics);

async fn a_short_month_reproduces_its_own_statistics(store: TestStore) -> anyhow::Result<()> {
    let outcome = scenario::run(&store, &SHORT).await?;
    assert_eq!(outcome.stored, outcome.planned);
    // One seed, one history, whichever engine keeps it and however often.
    let other = TestStore::new(Backend::Sqlite).await?;
    let again = scenario::run(&other, &SHORT).await?;
    assert_eq!(
        (again.head, again.events),
        (outcome.head.clone(), outcome.events)
    );
    check_not_empty(&outcome);
    Ok(())
}

/// Everything that a month is made of was there.
fn check_not_empty(outcome: &Outcome) {
    for word in [
        "done",
        "failed",
        "rate_limit",
        "lost",
        "worker_crash",
        "hour 09",
    ] {
        let found = outcome.stored.iter().find(|(name, _)| name.contains(word));
        assert!(found.is_some_and(|(_, count)| *count > 0), "{word}");
    }
    let table = outcome.table();
    assert_eq!(table.lines().count(), 11);
    for line in table.lines() {
        assert!(line.chars().count() <= 100, "{line}");
    }
}

#[test]
fn another_seed_is_another_month() {
    let head = |seed| {
        let month = Month {
            seed,
            jobs: 40,
            days: 1,
        };
        skep_testkit::run_on(Backend::Sqlite, async move |store| {
            let one = scenario::run(&store, &month).await?;
            let other = Month {
                seed: seed + 1,
                ..month
            };
            let store = TestStore::new(Backend::Sqlite).await?;
            let two = scenario::run(&store, &other).await?;
            anyhow::ensure!(one.head != two.head);
            Ok(())
        });
    };
    head(1);
}

#[test]
fn the_whole_month_has_its_mix() {
    let plan = scenario::plan(&Month::WHOLE, 0);
    let counts = scenario::counts(&plan);
    let expected = [2_826, 605, 456, 444, 434, 162, 76, 45, 31];
    assert_eq!(counts.iter().map(|(_, n)| *n).collect::<Vec<_>>(), expected);
    assert_eq!(expected.iter().sum::<i64>(), 5_079);
}
