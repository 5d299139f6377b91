//! The account: exact to the millionth, and never past a limit, however many call at once.

use super::stand::{
    SHORT_COST, Stand, job_cost, job_id, limited_key, open_key, request, short_stream, stream_of,
    write,
};
use super::upstream::Plan;
use futures_util::future::join_all;
use http::StatusCode;
use skep_db::Tx;
use skep_gateway::{
    BudgetConfig, BudgetScope, NewKey, OnExhaust, Period, RaiseError, Sums, Timeouts,
};
use skep_stdx::OsEntropy;
use skep_testkit::{TestStore, on_both_engines};
use skep_types::{AttemptId, MicroUsd, TokenCounts};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Semaphore;

on_both_engines!(
    a_call_is_charged_to_every_budget_that_applies,
    a_job_has_its_own_budget_and_bill,
    a_raised_limit_stays_until_the_file_says_otherwise,
    a_refusal_says_which_budget_and_when_it_renews,
    another_model_is_never_silent,
    as_many_as_fit_are_admitted_and_no_more,
    every_usage_costs_what_the_price_book_says,
    many_calls_end_with_an_exact_sum,
    more_than_the_worst_case_is_recorded_truthfully,
);

/// The worst case of `request("large", 10, true)`: 107 bytes at the price of an hour's cache write.
fn worst() -> i64 {
    let sent = request("large-1", 10, true).len();
    i64::try_from(sent).unwrap() * 6 + 10 * 15 + 3
}

async fn every_usage_costs_what_the_price_book_says(store: TestStore) -> anyhow::Result<()> {
    let stand = Stand::new(&store).await?;
    // Usage as the provider's stream gives it, its output, and the bill in millionths.
    let golden = [
        (r#"{"input_tokens":10,"output_tokens":1}"#, 5, 10 * 3 + 5 * 15),
        (r#"{"input_tokens":0,"output_tokens":1,"cache_read_input_tokens":1}"#, 0, 1 + 15),
        (
            r#"{"input_tokens":12,"cache_creation_input_tokens":300,"cache_read_input_tokens":4000,"cache_creation":{"ephemeral_5m_input_tokens":100,"ephemeral_1h_input_tokens":200},"output_tokens":1,"service_tier":"standard"}"#,
            25,
            36 + 1_200 + 375 + 1_200 + 375,
        ),
        (
            r#"{"input_tokens":3,"cache_creation_input_tokens":1001,"cache_read_input_tokens":null,"output_tokens":2}"#,
            7,
            9 + 3_754 + 105,
        ),
    ];
    let mut total = 0;
    let (id, key) = stand.mint(open_key()).await?;
    for (usage, output, micro) in golden {
        let stream = stream_of("large-1", usage, output).concat();
        stand.upstream.plan(Plan::stream().chunks(stream, 13).end());
        let reply = stand.messages(&key, &request("large", 100_000, true)).await?;
        assert_eq!(reply.status, StatusCode::OK);
        total += micro;
        let sums = stand.sums(&id).await?;
        assert_eq!(sums, Sums { spent: MicroUsd(total), ..Sums::default() }, "{usage}");
    }
    let settled = stand.payloads("model_call_settled").await?;
    assert_eq!(settled[2]["tokens"]["cache_write_1h"], 200);
    assert_eq!(settled[2]["cost_micro_usd"], 3_186);
    let books = stand.payloads("model_call_admitted").await?;
    assert_eq!(books[0]["price_book"], stand.gateway.config().price_book());
    Ok(())
}

async fn as_many_as_fit_are_admitted_and_no_more(store: TestStore) -> anyhow::Result<()> {
    const CALLS: usize = 200;
    const FIT: usize = 37;
    let worst = worst();
    let limit = worst * i64::try_from(FIT)? + worst - 1;
    let more = format!(
        "[budget.all]\nscope = \"all\"\nlimit_usd = {}.{:06}\nperiod = \"month\"\n",
        limit / 1_000_000,
        limit % 1_000_000
    );
    let stand = Stand::with(&store, &more, Timeouts::default()).await?;
    let (id, key) = stand.mint(limited_key(limit + 1)).await?;
    let gate = Arc::new(Semaphore::new(0));
    stand.upstream.otherwise(Plan::stream().gate(&gate).chunk(short_stream()).end());
    let body = request("large", 10, true);
    let done = AtomicBool::new(false);
    let calls = async {
        let calls = (0..CALLS).map(|_| async {
            let reply = stand.messages(&key, &body).await;
            // The refused ones answer while the gate is still shut.
            if reply.as_ref().is_ok_and(|reply| reply.status != StatusCode::OK) {
                gate.add_permits(1);
            }
            reply
        });
        let replies = join_all(calls).await;
        done.store(true, Ordering::SeqCst);
        replies
    };
    let watching = async {
        let (mut looks, mut most) = (0, MicroUsd::ZERO);
        while !done.load(Ordering::SeqCst) {
            for sums in [stand.budget("all").await?, stand.sums(&id).await?] {
                most = most.max(sums.total());
                assert!(sums.total() <= MicroUsd(limit), "{sums:?} of {limit}");
            }
            looks += 1;
        }
        anyhow::Ok((looks, most))
    };
    let (replies, watched) = tokio::join!(calls, watching);
    let (looks, most) = watched?;
    let mut admitted = 0;
    for reply in replies {
        let reply = reply?;
        match reply.status {
            StatusCode::OK => admitted += 1,
            status => assert_eq!(status, StatusCode::TOO_MANY_REQUESTS),
        }
    }
    assert_eq!(admitted, FIT);
    assert_eq!(stand.upstream.seen().len(), FIT, "the refused ones never left");
    assert!(looks > 1 && most >= MicroUsd(worst), "{looks} looks saw {most}");
    let spent = MicroUsd(SHORT_COST.0 * i64::try_from(FIT)?);
    let expected = Sums { spent, ..Sums::default() };
    assert_eq!((stand.budget("all").await?, stand.sums(&id).await?), (expected, expected));
    Ok(())
}

async fn many_calls_end_with_an_exact_sum(store: TestStore) -> anyhow::Result<()> {
    const CALLS: usize = 120;
    let limit = worst() * 9;
    let stand = Stand::new(&store).await?;
    let (id, key) = stand.mint(limited_key(limit)).await?;
    stand.upstream.otherwise(Plan::stream().chunk(short_stream()).end());
    let body = request("large", 10, true);
    let calls = (0..CALLS).map(|_| stand.messages(&key, &body));
    let replies = join_all(calls).await;
    let answered = replies.iter().filter(|r| r.as_ref().is_ok_and(|r| r.status == StatusCode::OK));
    let answered = answered.count();
    assert_eq!(stand.upstream.seen().len(), answered);
    let sums = stand.sums(&id).await?;
    // The upstream's own meter: every call it answered cost the same.
    let spent = MicroUsd(SHORT_COST.0 * i64::try_from(answered)?);
    assert_eq!(sums, Sums { spent, ..Sums::default() });
    assert!((1..=CALLS).contains(&answered) && spent <= MicroUsd(limit), "{answered}");
    Ok(())
}

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
    stand.upstream.otherwise(Plan::stream().chunk(short_stream()).end());
    let body = request("large", 10, true);
    for key in [&bees, &bees, &other] {
        assert_eq!(stand.messages(key, &body).await?.status, StatusCode::OK);
    }
    for (name, calls) in [("all", 3), ("bees", 2), ("wasps", 0), ("fixer", 2)] {
        let expected = MicroUsd(SHORT_COST.0 * calls);
        assert_eq!(stand.budget(name).await?.spent, expected, "{name}");
    }
    assert!(stand.budget("each").await.is_err(), "every job has sums of its own");
    let budgets = stand.payloads("model_call_admitted").await?;
    let sets: Vec<_> = budgets.iter().map(|e| e["budgets"].as_array().unwrap().len()).collect();
    assert_eq!(sets, [5, 5, 2]);
    let wasps = NewKey {
        project: Some("wasps".to_owned()),
        ..open_key()
    };
    let (_, wasps) = stand.mint(wasps).await?;
    let refused = stand.messages(&wasps, &body).await?;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(stand.budget("all").await?.reserved, MicroUsd::ZERO, "all or none is reserved");
    Ok(())
}

async fn a_refusal_says_which_budget_and_when_it_renews(store: TestStore) -> anyhow::Result<()> {
    let more = "[budget.daily]\nscope = \"all\"\nlimit_usd = 0.0009\nperiod = \"day\"\non_exhaust = \"refuse\"\n";
    let stand = Stand::with(&store, more, Timeouts::default()).await?;
    let key = stand.key().await?;
    stand.upstream.otherwise(Plan::stream().chunk(short_stream()).end());
    let body = request("large", 10, true);
    assert_eq!(stand.messages(&key, &body).await?.status, StatusCode::OK);
    // 900 less 105 is less than the worst case of 795.
    store.clock.set_ms(1_767_225_600_000 + 86_400_000 - 90_500);
    let reply = stand.messages(&key, &body).await?;
    let day = stand.budget("daily").await?;
    assert_eq!(reply.status, StatusCode::OK, "it fits exactly or not: {day:?}");
    let reply = stand.messages(&key, &body).await?;
    assert_eq!(reply.status, StatusCode::TOO_MANY_REQUESTS);
    let (kind, message, code) = reply.error()?;
    assert_eq!((kind.as_str(), code.as_deref()), ("billing_error", Some("budget_exceeded")));
    for word in ["`daily`", "per day", "$0.00", "2026-01-02T00:00:00Z"] {
        assert!(message.contains(word), "{word} is not in: {message}");
    }
    assert_eq!(reply.header("x-should-retry"), Some("false"));
    assert_eq!(reply.header("retry-after"), Some("91"));
    assert_eq!(reply.header("x-skep-on-exhaust"), Some("refuse"));
    let refused = stand.payloads("model_call_refused").await?;
    assert_eq!(refused[0]["worst_micro_usd"], worst());
    store.clock.set_ms(1_767_225_600_000 + 86_400_000);
    assert_eq!(stand.messages(&key, &body).await?.status, StatusCode::OK, "a new day");
    assert_eq!(stand.budget("daily").await?.spent, SHORT_COST);
    Ok(())
}

async fn a_job_has_its_own_budget_and_bill(store: TestStore) -> anyhow::Result<()> {
    let stand = Stand::new(&store).await?;
    let (job, attempt) = (job_id(), AttemptId::new(&skep_stdx::SystemClock, &OsEntropy));
    let limit = MicroUsd(worst() + SHORT_COST.0 - 1);
    let (for_budget, for_fence) = (job.clone(), job.clone());
    let create = async move |tx: &mut Tx<'_>| {
        skep_gateway::create_job_budget(tx, &for_budget, limit).await
    };
    let budget = write(stand.db(), create).await?;
    let raise = async move |tx: &mut Tx<'_>| skep_authority::raise(tx, &for_fence, "node").await;
    let fence = write(stand.db(), raise).await?;
    let new = NewKey {
        job: Some((job.clone(), fence)),
        attempt: Some(attempt.clone()),
        ..open_key()
    };
    let (_, key) = stand.mint(new).await?;
    stand.upstream.otherwise(Plan::stream().chunk(short_stream()).end());
    let body = request("large", 10, true);
    assert_eq!(stand.messages(&key, &body).await?.status, StatusCode::OK);
    let refused = stand.messages(&key, &body).await?;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    let message = refused.error()?.1;
    assert!(message.contains("the job's own budget"), "{message}");
    assert_eq!((refused.header("retry-after"), refused.header("x-skep-on-exhaust")), (None, Some("pause")));

    let lower = budget.clone();
    let raise = async move |tx: &mut Tx<'_>| {
        match skep_gateway::raise(tx, &lower, limit).await {
            Err(RaiseError::NotHigher { .. }) => Ok(()),
            other => panic!("{other:?}"),
        }
    };
    write(stand.db(), raise).await?;
    let raised = MicroUsd(limit.0 + 1);
    let again = job.clone();
    let raise = async move |tx: &mut Tx<'_>| {
        skep_gateway::raise_job_budget(tx, &again, raised).await.map_err(|e| panic!("{e}"))
    };
    assert_eq!(write(stand.db(), raise).await?, budget);
    assert_eq!(stand.messages(&key, &body).await?.status, StatusCode::OK, "raised, it goes on");

    let used = job_cost(stand.db(), &job).await?;
    assert_eq!((used.calls, used.cost, used.unconfirmed), (2, MicroUsd(210), MicroUsd::ZERO));
    let tokens = TokenCounts { input: 20, output: 10, ..TokenCounts::default() };
    assert_eq!(used.tokens, tokens);
    let models = async move |tx: &mut Tx<'_>| {
        let usage = skep_gateway::attempt_usage(tx, &attempt).await?;
        Ok((usage, skep_gateway::attempt_models(tx, &attempt).await?))
    };
    let (usage, models) = write(stand.db(), models).await?;
    assert_eq!(usage, used);
    assert_eq!((models[0].requested.as_str(), models[0].actual.as_deref()), ("large", Some("large-1")));
    assert!(!models[0].substituted && models.len() == 1);
    Ok(())
}

async fn a_raised_limit_stays_until_the_file_says_otherwise(store: TestStore) -> anyhow::Result<()> {
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
            Ok(budgets.into_iter().map(|s| (s.budget.id, s.budget.limit.0)).collect::<Vec<_>>())
        })
    };
    let first = sync(vec![configured(5, Period::Day)]).await?;
    let id = first[0].0.clone();
    let raised = id.clone();
    let raise = async move |tx: &mut Tx<'_>| {
        skep_gateway::raise(tx, &raised, MicroUsd(9)).await.map_err(|e| panic!("{e}"))
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
    assert!(other.len() == 1 && other[0].0 != id, "another period is another budget");
    Ok(())
}

async fn another_model_is_never_silent(store: TestStore) -> anyhow::Result<()> {
    let stand = Stand::new(&store).await?;
    let (id, key) = stand.mint(open_key()).await?;
    // A model that is not configured is charged as the one asked for; one that is, as itself.
    for (actual, spent, substituted) in [
        ("large-1-20261001", 105, 0),
        ("surprise-9", 210, 1),
        ("other-1", 210 + 1_050, 2),
    ] {
        let stream = stream_of(actual, r#"{"input_tokens":10,"output_tokens":1}"#, 5).concat();
        stand.upstream.plan(Plan::stream().chunk(stream).end());
        let reply = stand.messages(&key, &request("large", 100, true)).await?;
        assert_eq!(reply.header("x-skep-model-actual"), Some(actual));
        assert_eq!(stand.sums(&id).await?.spent, MicroUsd(spent), "{actual}");
        assert_eq!(stand.payloads("model_substituted").await?.len(), substituted, "{actual}");
    }
    let rows = async |tx: &mut Tx<'_>| {
        tx.query("SELECT model_requested, model_actual FROM model_call ORDER BY id", &[]).await
    };
    let rows = write(stand.db(), rows).await?;
    let last = rows.last().unwrap();
    assert_eq!(
        (last.get::<String>("model_requested")?, last.get::<String>("model_actual")?),
        ("large".to_owned(), "other-1".to_owned())
    );
    Ok(())
}

async fn more_than_the_worst_case_is_recorded_truthfully(store: TestStore) -> anyhow::Result<()> {
    let stand = Stand::new(&store).await?;
    let (id, key) = stand.mint(limited_key(1_000)).await?;
    let stream = stream_of("large-1", r#"{"input_tokens":9000,"output_tokens":1}"#, 5).concat();
    stand.upstream.plan(Plan::stream().chunk(stream).end());
    let body = request("large", 10, true);
    assert_eq!(stand.messages(&key, &body).await?.status, StatusCode::OK);
    assert_eq!(stand.sums(&id).await?.spent, MicroUsd(9_000 * 3 + 75));
    let exceeded = stand.payloads("reservation_exceeded").await?;
    assert_eq!((&exceeded[0]["cost_micro_usd"], &exceeded[0]["reserved_micro_usd"]), (&27_075.into(), &worst().into()));
    let refused = stand.messages(&key, &body).await?;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS, "and counts against the limit");
    Ok(())
}
