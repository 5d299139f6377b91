//! The disk can be told from an honest one.

use super::{Outcome, Sync, cut, fail};

fn run(future: impl Future<Output = anyhow::Result<Outcome>>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(future).unwrap()
}

#[test]
fn an_honest_disk_loses_nothing_that_was_answered() {
    let outcome = run(cut(1, 60, Sync::Honest));
    assert_eq!(outcome.failure, None);
    assert!(outcome.acknowledged > 1_000, "{outcome:?}");
}

#[test]
fn a_disk_that_lies_is_found_out() {
    for sync in [Sync::Lies, Sync::LiesAboutTheLog] {
        let outcome = run(cut(1, 60, sync));
        let (_, why) = outcome.failure.unwrap();
        assert!(outcome.cuts < 60, "{sync:?}: {why}");
    }
}

#[test]
fn the_open_store_outlives_every_error_of_the_disk() {
    let outcome = run(fail(1, 40));
    assert_eq!(outcome.failure, None);
    assert!(outcome.lost_commits > 40, "{outcome:?}");
}

#[test]
fn a_seed_is_one_chain() {
    let (one, other) = (run(cut(5, 20, Sync::Honest)), run(cut(5, 20, Sync::Honest)));
    assert_eq!(one.acknowledged, other.acknowledged);
    assert_eq!(one.lost_commits, other.lost_commits);
}
