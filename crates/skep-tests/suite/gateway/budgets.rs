//! Limits: which apply, what they say when they are reached, when they renew or are raised.

use super::stand::{
    SHORT_COST, Stand, job_cost, job_id, limited_key, open_key, request, short_stream, worst, write,
};
use super::upstream::Plan;
use http::StatusCode;
use skep_db::Tx;
use skep_gateway::{BudgetConfig, BudgetScope, NewKey, OnExhaust, Period, RaiseError, Timeouts};
use skep_stdx::OsEntropy;
use skep_testkit::{TestStore, on_both_engines};
use skep_types::{AttemptId, Fence, MicroUsd, TokenCounts};

on_both_engines!(
    a_call_is_charged_to_every_budget_that_applies,
    a_job_has_its_own_budget_and_bill,
    a_raised_limit_stays_until_the_file_says_otherwise,
    a_refusal_says_which_budget_and_when_it_renews,
);

async fn a_call_is_charged_to_every_budget_that_applies(store: TestStore) -> anyhow::Result<()> {
    let more = r#"
        [budget.all]
        scope = "all"
        limit_usd = 1
        period = "month"
        [budget.bees]
        scope = "project:bees"
        limit_usd = 1
        period = "week"
        [budget.wasps]
        scope = "project:wasps"
        limit_usd = 0
        period = "hour"
        [budget.fixer]
        scope = "worker:fixer"
        limit_usd = 1
        period = "hour"
        [budget.each]
        scope = "job"
        limit_usd = 1
        period = "day"
    "#;
    let stand = Stand::with(&store, more, Timeouts::default()).await?;
    let bees = NewKey {
        project: Some("bees".to_owned()),
        worker: Some("fixer".to_owned()),
        ..limited_key(1_000_000)
    };
    let (_, bees) = stand.mint(bees).await?;
    let (_, other) = stand.mint(open_key()).await?;
    stand
        .upstream
        .otherwise(Plan::stream().chunk(short_stream()).end());
    let body = request("large", 10, true);
    for key in [&bees, &bees, &other] {
        assert_eq!(stand.messages(key, &body).await?.status, StatusCode::OK);
    }
    for (name, calls) in [("all", 3), ("bees", 2), ("wasps", 0), ("fixer", 2)] {
        let expected = MicroUsd(SHORT_COST.0 * calls);
        assert_eq!(stand.budget(name).await?.spent, expected, "{name}");
    }
    assert!(
        stand.budget("each").await.is_err(),
        "every job has sums of its own"
    );
    let budgets = stand.payloads("model_call_admitted").await?;
    let sets: Vec<_> = budgets
        .iter()
        .map(|e| e["budgets"].as_array().unwrap().len())
        .collect();
    assert_eq!(sets, [5, 5, 2]);
    let wasps = NewKey {
        project: Some("wasps".to_owned()),
        ..open_key()
    };
    let (_, wasps) = stand.mint(wasps).await?;
    let refused = stand.messages(&wasps, &body).await?;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(
        stand.budget("all").await?.reserved,
        MicroUsd::ZERO,
        "all or none is reserved"
    );
    Ok(())
}

async fn a_refusal_says_which_budget_and_when_it_renews(store: TestStore) -> anyhow::Result<()> {
    let more = "[budget.daily]\nscope = \"all\"\nlimit_usd = 0.0009\nperiod = \"day\"\non_exhaust = \"refuse\"\n";
    let stand = Stand::with(&store, more, Timeouts::default()).await?;
    let key = stand.key().await?;
    stand
        .upstream
        .otherwise(Plan::stream().chunk(short_stream()).end());
    let body = request("large", 10, true);
    assert_eq!(stand.messages(&key, &body).await?.status, StatusCode::OK);
    // 900 less 105 is less than the worst case of 795.
    store.clock.set_ms(1_767_225_600_000 + 86_400_000 - 90_500);
    let reply = stand.messages(&key, &body).await?;
    let day = stand.budget("daily").await?;
    assert_eq!(
        reply.status,
        StatusCode::OK,
        "it fits exactly or not: {day:?}"
    );
    let reply = stand.messages(&key, &body).await?;
    assert_eq!(reply.status, StatusCode::TOO_MANY_REQUESTS);
    let (kind, message, code) = reply.error()?;
    assert_eq!(
        (kind.as_str(), code.as_deref()),
        ("billing_error", Some("budget_exceeded"))
    );
    for word in ["`daily`", "per day", "$0.00", "2026-01-02T00:00:00Z"] {
        assert!(message.contains(word), "{word} is not in: {message}");
    }
    assert_eq!(reply.header("x-should-retry"), Some("false"));
    assert_eq!(reply.header("retry-after"), Some("91"));
    assert_eq!(reply.header("x-skep-on-exhaust"), Some("refuse"));
    let refused = stand.payloads("model_call_refused").await?;
    assert_eq!(refused[0]["worst_micro_usd"], worst().0);
    store.clock.set_ms(1_767_225_600_000 + 86_400_000);
    assert_eq!(
        stand.messages(&key, &body).await?.status,
        StatusCode::OK,
        "a new day"
    );
    assert_eq!(stand.budget("daily").await?.spent, SHORT_COST);
    Ok(())
}

async fn a_job_has_its_own_budget_and_bill(store: TestStore) -> anyhow::Result<()> {
    let stand = Stand::new(&store).await?;
    let job = job_id();
    let fence = Fence(1);
    let attempt = AttemptId::of(&job, fence);
    let limit = MicroUsd(worst().0 + SHORT_COST.0 - 1);
    let (for_budget, for_fence) = (job.clone(), job.clone());
    let create =
        async move |tx: &mut Tx<'_>| skep_gateway::create_job_budget(tx, &for_budget, limit).await;
    let budget = write(stand.db(), create).await?;
    let grant = async move |tx: &mut Tx<'_>| {
        skep_authority::grant(tx, &[(&for_fence, fence)], "node").await
    };
    write(stand.db(), grant).await?;
    let new = NewKey {
        job: Some((job.clone(), fence)),
        attempt: Some(attempt.clone()),
        ..open_key()
    };
    let (_, key) = stand.mint(new).await?;
    stand
        .upstream
        .otherwise(Plan::stream().chunk(short_stream()).end());
    let body = request("large", 10, true);
    assert_eq!(stand.messages(&key, &body).await?.status, StatusCode::OK);
    let refused = stand.messages(&key, &body).await?;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    let message = refused.error()?.1;
    assert!(message.contains("the job's own budget"), "{message}");
    assert_eq!(
        (
            refused.header("retry-after"),
            refused.header("x-skep-on-exhaust")
        ),
        (None, Some("pause"))
    );

    let lower = budget.clone();
    let raise = async move |tx: &mut Tx<'_>| match skep_gateway::raise(tx, &lower, limit).await {
        Err(RaiseError::NotHigher { .. }) => Ok(()),
        other => panic!("{other:?}"),
    };
    write(stand.db(), raise).await?;
    let raised = MicroUsd(limit.0 + 1);
    let again = job.clone();
    let raise = async move |tx: &mut Tx<'_>| {
        skep_gateway::raise_job_budget(tx, &again, raised)
            .await
            .map_err(|e| panic!("{e}"))
    };
    assert_eq!(write(stand.db(), raise).await?, budget);
    assert_eq!(
        stand.messages(&key, &body).await?.status,
        StatusCode::OK,
        "raised, it goes on"
    );

    let used = job_cost(stand.db(), &job).await?;
    assert_eq!(
        (used.calls, used.cost, used.unconfirmed),
        (2, MicroUsd(210), MicroUsd::ZERO)
    );
    let tokens = TokenCounts {
        input: 20,
        output: 10,
        ..TokenCounts::default()
    };
    assert_eq!(used.tokens, tokens);
    let models = async move |tx: &mut Tx<'_>| {
        let usage = skep_gateway::attempt_usage(tx, &attempt).await?;
        Ok((usage, skep_gateway::attempt_models(tx, &attempt).await?))
    };
    let (usage, models) = write(stand.db(), models).await?;
    assert_eq!(usage, used);
    assert_eq!(
        (models[0].requested.as_str(), models[0].actual.as_deref()),
        ("large", Some("large-1"))
    );
    assert!(!models[0].substituted && models.len() == 1);
    Ok(())
}

async fn a_raised_limit_stays_until_the_file_says_otherwise(
    store: TestStore,
) -> anyhow::Result<()> {
    let stand = Stand::new(&store).await?;
    let configured = |limit: i64, period: Period| BudgetConfig {
        name: "daily".to_owned(),
        scope: BudgetScope::All,
        limit: MicroUsd(limit),
        period,
        on_exhaust: OnExhaust::Pause,
    };
    let sync = |list: Vec<BudgetConfig>| {
        write(stand.db(), async move |tx: &mut Tx<'_>| {
            skep_gateway::sync_budgets(tx, &OsEntropy, &list).await?;
            let budgets = skep_gateway::budgets(tx).await?;
            Ok(budgets
                .into_iter()
                .map(|s| (s.budget.id, s.budget.limit.0))
                .collect::<Vec<_>>())
        })
    };
    let first = sync(vec![configured(5, Period::Day)]).await?;
    let id = first[0].0.clone();
    let raised = id.clone();
    let raise = async move |tx: &mut Tx<'_>| {
        skep_gateway::raise(tx, &raised, MicroUsd(9))
            .await
            .map_err(|e| panic!("{e}"))
    };
    write(stand.db(), raise).await?;
    for (list, expected) in [
        (vec![configured(5, Period::Day)], vec![(id.clone(), 9)]),
        (vec![configured(7, Period::Day)], vec![(id.clone(), 7)]),
        (vec![], vec![]),
        (vec![configured(7, Period::Day)], vec![(id.clone(), 7)]),
    ] {
        assert_eq!(sync(list.clone()).await?, expected, "{list:?}");
    }
    let other = sync(vec![configured(7, Period::Week)]).await?;
    assert!(
        other.len() == 1 && other[0].0 != id,
        "another period is another budget"
    );
    Ok(())
}
