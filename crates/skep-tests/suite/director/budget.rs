//! Budgets of jobs: reached, never passed, raised.

use super::honest::MENDS;
use super::stand::{Engine, Setup, assert_landed, assert_untouched, project, request};
use skep_api::RetryRequest;
use skep_db::Tx;
use skep_gateway::Sums;
use skep_testkit::{TestStore, on_both_engines};
use skep_types::{AttemptState, FailureClass, Gate, JobId, JobState, MicroUsd, Role};

on_both_engines!(a_budget_is_reached_and_raised, a_limit_cannot_be_lowered);

async fn sums(engine: &Engine, job: &JobId) -> anyhow::Result<(MicroUsd, Sums)> {
    let job = job.clone();
    let read = async move |tx: &mut Tx<'_>| skep_gateway::job_budget(tx, &job).await;
    let status = engine.db.read("budget", read).await?;
    let status = status.ok_or_else(|| anyhow::anyhow!("the job has no budget"))?;
    Ok((status.budget.limit, status.sums.unwrap_or_default()))
}

async fn a_budget_is_reached_and_raised(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let setup = Setup::new()
        .own_loop("fixer", Role::Builder, "stub-large")
        .script(MENDS);
    let engine = Engine::start(&store, &setup).await?;
    // What the first call of such a job holds at most: too little for that call and the next.
    let mut probe = request(&project);
    probe.target_branch = Some("probe".to_owned());
    probe.base = Some("main".to_owned());
    let probe = engine.run(probe).await?;
    let admitted = engine.events(&probe.id).await?;
    let admitted = admitted
        .iter()
        .find(|event| event.kind == "model_call_admitted");
    let first = admitted.and_then(|event| event.payload["reserved_micro_usd"].as_i64());
    let first = MicroUsd(first.ok_or_else(|| anyhow::anyhow!("no call was admitted"))?);

    let mut tight = request(&project);
    tight.budget_micro_usd = Some(first);
    let view = engine.run(tight).await?;
    assert_eq!(view.state, JobState::WaitingBudget, "{view:#?}");
    assert_eq!(view.failure_class, Some(FailureClass::BudgetExceeded));
    assert_eq!(view.attempts[0].state, AttemptState::Parked);
    let reason = view.state_reason.as_deref().unwrap_or_default();
    assert!(reason.contains("--budget-usd"), "{reason}");
    let (limit, held) = sums(&engine, &view.id).await?;
    assert_eq!(limit, first);
    assert!(
        held.spent > MicroUsd::ZERO && held.total() <= limit,
        "{held:?}"
    );
    assert_eq!(held.spent, view.cost_micro_usd);
    assert_eq!(
        (held.reserved, held.unconfirmed),
        (MicroUsd::ZERO, MicroUsd::ZERO)
    );
    assert_untouched(&project)?;
    let kinds = engine.kinds(&view.id).await?;
    assert!(
        kinds.iter().any(|kind| kind == "model_call_refused"),
        "{kinds:?}"
    );

    let spent = held.spent;
    let raised = RetryRequest {
        budget_micro_usd: Some(MicroUsd(first.0 * 20)),
    };
    engine.director.retry(view.id.as_str(), raised).await?;
    let view = engine.until(&view.id, "it goes on to its end", |view| {
        view.state.is_terminal()
    });
    let view = view.await?;
    assert_landed(&view, &project, "main");
    let (limit, held) = sums(&engine, &view.id).await?;
    assert_eq!(limit, MicroUsd(first.0 * 20));
    assert!(held.total() <= limit && held.spent > spent, "{held:?}");
    assert_eq!(held.spent, view.cost_micro_usd);
    engine.verify_ledger().await?;
    engine.stop().await
}

async fn a_limit_cannot_be_lowered(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let engine = Engine::start(&store, &Setup::with_fixer("contract BLOCKED ''")).await?;
    let mut asked = request(&project);
    asked.checks = vec!["true".to_owned()];
    asked.gate = Some(Gate::G0);
    let view = engine.run(asked).await?;
    assert_eq!(view.state, JobState::WaitingHuman);
    let lower = RetryRequest {
        budget_micro_usd: Some(MicroUsd(1)),
    };
    let refused = engine.director.retry(view.id.as_str(), lower).await;
    let Err(error) = refused.map_err(|error| error.body()) else {
        anyhow::bail!("a lower limit was taken");
    };
    assert_eq!((error.code.as_str(), error.exit), ("budget_not_raised", 2));
    assert!(error.hint.is_some());
    let after = engine.director.job(view.id.as_str()).await?;
    assert_eq!(after, view, "nothing was changed");
    engine.stop().await
}
