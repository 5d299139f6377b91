//! The account: exact to the millionth, and never past a limit, however many call at once.

use super::stand::{
    SHORT_COST, Stand, limited_key, open_key, request, short_stream, stream_of, worst, write,
};
use super::upstream::Plan;
use futures_util::future::join_all;
use http::StatusCode;
use skep_db::Tx;
use skep_gateway::{Sums, Timeouts};
use skep_testkit::{TestStore, on_both_engines};
use skep_types::MicroUsd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::{Semaphore, watch};

on_both_engines!(
    another_model_is_never_silent,
    as_many_as_fit_are_admitted_and_no_more,
    every_usage_costs_what_the_price_book_says,
    many_calls_end_with_an_exact_sum,
    more_than_the_worst_case_is_recorded_truthfully,
);

async fn every_usage_costs_what_the_price_book_says(store: TestStore) -> anyhow::Result<()> {
    let stand = Stand::new(&store).await?;
    // Usage as the provider's stream gives it, its output, and the bill in millionths.
    let golden = [
        (
            r#"{"input_tokens":10,"output_tokens":1}"#,
            5,
            10 * 3 + 5 * 15,
        ),
        (
            r#"{"input_tokens":0,"output_tokens":1,"cache_read_input_tokens":1}"#,
            0,
            1 + 15,
        ),
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
        let reply = stand
            .messages(&key, &request("large", 100_000, true))
            .await?;
        assert_eq!(reply.status, StatusCode::OK);
        total += micro;
        let sums = stand.sums(&id).await?;
        assert_eq!(
            sums,
            Sums {
                spent: MicroUsd(total),
                ..Sums::default()
            },
            "{usage}"
        );
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
    let worst = worst().0;
    let limit = worst * i64::try_from(FIT)? + worst - 1;
    let more = format!(
        "[budget.all]\nscope = \"all\"\nlimit_usd = {}.{:06}\nperiod = \"month\"\n",
        limit / 1_000_000,
        limit % 1_000_000
    );
    let stand = Stand::with(&store, &more, Timeouts::default()).await?;
    let (id, key) = stand.mint(limited_key(limit + 1)).await?;
    let gate = Arc::new(Semaphore::new(0));
    stand
        .upstream
        .otherwise(Plan::stream().gate(&gate).chunk(short_stream()).end());
    let body = request("large", 10, true);
    let done = AtomicBool::new(false);
    let refused = watch::channel(0).0;
    let calls = async {
        let calls = (0..CALLS).map(|_| async {
            let reply = stand.messages(&key, &body).await;
            if reply
                .as_ref()
                .is_ok_and(|reply| reply.status != StatusCode::OK)
            {
                refused.send_modify(|count| *count += 1);
            }
            reply
        });
        let replies = join_all(calls).await;
        done.store(true, Ordering::SeqCst);
        replies
    };
    // No call ends before all are decided about.
    let deciding = async {
        let (mut refusals, mut arrivals) = (refused.subscribe(), stand.upstream.arrivals());
        while *refusals.borrow() + *arrivals.borrow() < CALLS {
            tokio::select! {
                changed = refusals.changed() => changed?,
                changed = arrivals.changed() => changed?,
            }
        }
        let under_way = stand.upstream.seen().len();
        gate.add_permits(CALLS);
        anyhow::Ok(under_way)
    };
    let watching = async {
        let (mut looks, mut most) = (0, MicroUsd::ZERO);
        while !done.load(Ordering::SeqCst) {
            for sums in [stand.budget("all").await?, stand.sums_now(&id).await?] {
                most = most.max(sums.total());
                assert!(sums.total() <= MicroUsd(limit), "{sums:?} of {limit}");
            }
            looks += 1;
        }
        anyhow::Ok((looks, most))
    };
    let (replies, watched, under_way) = tokio::join!(calls, watching, deciding);
    let (looks, most) = watched?;
    assert_eq!(under_way?, FIT, "as many as fit, at the same time");
    let mut admitted = 0;
    for reply in replies {
        let reply = reply?;
        match reply.status {
            StatusCode::OK => admitted += 1,
            status => assert_eq!(status, StatusCode::TOO_MANY_REQUESTS),
        }
    }
    assert_eq!(admitted, FIT);
    assert_eq!(
        stand.upstream.seen().len(),
        FIT,
        "the refused ones never left"
    );
    assert!(
        looks > 1 && most >= MicroUsd(worst),
        "{looks} looks saw {most}"
    );
    let spent = MicroUsd(SHORT_COST.0 * i64::try_from(FIT)?);
    let expected = Sums {
        spent,
        ..Sums::default()
    };
    assert_eq!(
        (stand.budget("all").await?, stand.sums(&id).await?),
        (expected, expected)
    );
    Ok(())
}

async fn many_calls_end_with_an_exact_sum(store: TestStore) -> anyhow::Result<()> {
    const CALLS: usize = 120;
    let limit = worst().0 * 9;
    let stand = Stand::new(&store).await?;
    let (id, key) = stand.mint(limited_key(limit)).await?;
    stand
        .upstream
        .otherwise(Plan::stream().chunk(short_stream()).end());
    let body = request("large", 10, true);
    let calls = (0..CALLS).map(|_| stand.messages(&key, &body));
    let replies = join_all(calls).await;
    let answered = replies
        .iter()
        .filter(|r| r.as_ref().is_ok_and(|r| r.status == StatusCode::OK));
    let answered = answered.count();
    assert_eq!(stand.upstream.seen().len(), answered);
    let sums = stand.sums(&id).await?;
    // The upstream's own meter: every call it answered cost the same.
    let spent = MicroUsd(SHORT_COST.0 * i64::try_from(answered)?);
    assert_eq!(
        sums,
        Sums {
            spent,
            ..Sums::default()
        }
    );
    assert!(
        (1..=CALLS).contains(&answered) && spent <= MicroUsd(limit),
        "{answered}"
    );
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
        assert_eq!(
            stand.payloads("model_substituted").await?.len(),
            substituted,
            "{actual}"
        );
    }
    let rows = async |tx: &mut Tx<'_>| {
        tx.query(
            "SELECT model_requested, model_actual FROM model_call ORDER BY id",
            &[],
        )
        .await
    };
    let rows = write(stand.db(), rows).await?;
    let last = rows.last().unwrap();
    assert_eq!(
        (
            last.get::<String>("model_requested")?,
            last.get::<String>("model_actual")?
        ),
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
    assert_eq!(
        (
            &exceeded[0]["cost_micro_usd"],
            &exceeded[0]["reserved_micro_usd"]
        ),
        (&27_075.into(), &worst().0.into())
    );
    let refused = stand.messages(&key, &body).await?;
    assert_eq!(
        refused.status,
        StatusCode::TOO_MANY_REQUESTS,
        "and counts against the limit"
    );
    Ok(())
}
