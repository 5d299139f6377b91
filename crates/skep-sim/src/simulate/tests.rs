//! The simulator can fail: each defect is found, with the model and by the other rules alone.

use super::{Failure, Mutation, Options, Rule, simulate};
use skep_testkit::Backend;

/// Seeds in which every defect must show. The slowest needs a few dozen.
const SEEDS: u64 = 400;

fn find(mutation: Option<Mutation>, model: bool) -> Option<Failure> {
    let options = Options {
        backend: Backend::Sqlite,
        mutation,
        model,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let outcome = runtime.block_on(simulate(1, SEEDS, &options)).unwrap();
    outcome.failure
}

#[track_caller]
fn check(mutation: Mutation, rule: Option<Rule>) {
    let found = find(Some(mutation), true).unwrap();
    assert!(found.shortest.len() < found.steps, "{found:?}");
    let Some(rule) = rule else { return };
    let alone = find(Some(mutation), false).unwrap();
    assert_eq!(alone.violation.rule, rule, "{alone:?}");
}
