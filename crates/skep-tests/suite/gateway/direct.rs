//! Calls that the process makes itself: admitted in its own transaction, settled in its own, and
//! accounted for whatever becomes of the one who asked.

use super::stand::{Stand, limited_key, open_key, request, short_timeouts, worst, write};
use super::upstream::Plan;
use bytes::Bytes;
use skep_db::{DbError, Tx};
use skep_gateway::{Admission, DirectAnswer, DirectCall, DirectRefusal, NewKey, Sums};
use skep_testkit::{TestStore, on_both_engines};
use skep_types::MicroUsd;
use std::sync::Arc;
use tokio::sync::Semaphore;

on_both_engines!(
    a_call_is_settled_in_the_callers_transaction,
    a_call_that_is_refused_sends_nothing,
    a_caller_that_leaves_is_accounted_for,
    an_answer_that_is_dropped_is_settled_all_the_same,
    what_the_caller_takes_back_is_not_admitted,
);

const ANSWER: &str = r#"{"type":"message","id":"msg_1","role":"assistant","model":"large-1","content":[{"type":"text","text":"zzz"}],"stop_reason":"end_turn","usage":{"input_tokens":10,"output_tokens":5}}"#;

const COST: MicroUsd = MicroUsd(10 * 3 + 5 * 15);

/// The worst case of such a call: `false` has a letter more than `true`.
fn reserved() -> MicroUsd {
    MicroUsd(worst().0 + 6)
}

fn answer() -> Plan {
    Plan::json("200 OK", &["content-type: application/json"], ANSWER)
}

fn call(stand: &Stand) -> anyhow::Result<DirectCall> {
    let body = Bytes::from(request("large", 10, false));
    Ok(stand.gateway.direct(body)?)
}

async fn admit(
    stand: &Stand,
    call: &DirectCall,
    key: NewKey,
) -> anyhow::Result<Result<Admission, DirectRefusal>> {
    let ask = call.ask();
    write(stand.db(), async move |tx: &mut Tx<'_>| {
        ask.admit(tx, &key).await
    })
    .await
}

async fn answered(stand: &Stand) -> anyhow::Result<DirectAnswer> {
    let call = call(stand)?;
    let admitted = admit(stand, &call, open_key()).await?;
    let Ok(admission) = admitted else {
        anyhow::bail!("it was refused");
    };
    Ok(call.run(admission).await)
}

/// What all keys together have spent and hold.
async fn sums(stand: &Stand) -> anyhow::Result<Sums> {
    let keys = stand.keys().await?;
    let mut all = Sums::default();
    for key in keys {
        all.spent = all.spent.saturating_add(key.sums.spent);
        all.reserved = all.reserved.saturating_add(key.sums.reserved);
        all.unconfirmed = all.unconfirmed.saturating_add(key.sums.unconfirmed);
    }
    Ok(all)
}

async fn a_call_is_settled_in_the_callers_transaction(store: TestStore) -> anyhow::Result<()> {
    let stand = Stand::new(&store).await?;
    stand.upstream.plan(answer());
    let answer = answered(&stand).await?;
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.body.as_deref(),
        Some(ANSWER.as_bytes()),
        "byte for byte"
    );
    assert_eq!(answer.model_actual.as_deref(), Some("large-1"));
    assert!(!answer.substituted);
    let held = sums(&stand).await?;
    assert_eq!(
        (held.spent, held.reserved),
        (MicroUsd::ZERO, reserved()),
        "not settled yet"
    );

    // A transaction that is taken back settles nothing; one that commits settles once.
    let account = answer.account.clone();
    let undone = write(stand.db(), async move |tx: &mut Tx<'_>| {
        account.settle(tx).await?;
        Err::<(), _>(DbError::Unavailable("changed its mind".into()))
    });
    assert!(undone.await.is_err());
    assert_eq!(sums(&stand).await?.reserved, reserved());
    for _ in 0..2 {
        let account = answer.account.clone();
        let settle = async move |tx: &mut Tx<'_>| account.settle(tx).await;
        write(stand.db(), settle).await?;
    }
    answer.account.settled();
    let held = sums(&stand).await?;
    assert_eq!(
        (held.spent, held.reserved, held.unconfirmed),
        (COST, MicroUsd::ZERO, MicroUsd::ZERO)
    );
    stand.gateway.idle().await;
    assert_eq!(sums(&stand).await?.spent, COST);
    Ok(())
}

async fn an_answer_that_is_dropped_is_settled_all_the_same(store: TestStore) -> anyhow::Result<()> {
    let stand = Stand::new(&store).await?;
    stand.upstream.plan(answer());
    drop(answered(&stand).await?);
    stand.gateway.idle().await;
    let held = sums(&stand).await?;
    assert_eq!(
        (held.spent, held.reserved, held.unconfirmed),
        (COST, MicroUsd::ZERO, MicroUsd::ZERO)
    );
    Ok(())
}

async fn a_caller_that_leaves_is_accounted_for(store: TestStore) -> anyhow::Result<()> {
    let stand = Stand::with(&store, "", short_timeouts()).await?;
    let gate = Arc::new(Semaphore::new(0));
    stand.upstream.plan(Plan::silent(&gate));
    let call = call(&stand)?;
    let Ok(admission) = admit(&stand, &call, open_key()).await? else {
        anyhow::bail!("it was refused");
    };
    assert!(sums(&stand).await?.reserved > MicroUsd::ZERO);
    // Before it could be polled even once: the call was admitted, and is ended.
    drop(call.run(admission));
    stand.gateway.idle().await;
    let held = sums(&stand).await?;
    assert_eq!(
        (held.spent, held.reserved),
        (MicroUsd::ZERO, MicroUsd::ZERO),
        "{held:?}"
    );
    gate.add_permits(1);
    Ok(())
}

async fn a_call_that_is_refused_sends_nothing(store: TestStore) -> anyhow::Result<()> {
    let stand = Stand::new(&store).await?;
    let cases = [
        ("budget_exceeded", limited_key(1), "large"),
        (
            "model_not_allowed",
            NewKey {
                models: vec!["other".to_owned()],
                ..open_key()
            },
            "large",
        ),
        ("unknown_model", open_key(), "nobody"),
    ];
    for (code, key, model) in cases {
        let body = Bytes::from(request(model, 10, false));
        let call = stand.gateway.direct(body)?;
        let refusal = admit(&stand, &call, key).await?.err();
        assert_eq!(
            refusal.as_ref().map(|refusal| refusal.code),
            Some(code),
            "{refusal:?}"
        );
    }
    assert!(
        stand
            .gateway
            .direct(Bytes::from_static(b"no request"))
            .is_err()
    );
    assert!(stand.upstream.seen().is_empty());
    assert_eq!(sums(&stand).await?.total(), MicroUsd::ZERO);
    Ok(())
}

async fn what_the_caller_takes_back_is_not_admitted(store: TestStore) -> anyhow::Result<()> {
    let stand = Stand::new(&store).await?;
    let call = call(&stand)?;
    let ask = call.ask();
    let key = open_key();
    let undone = write(stand.db(), async move |tx: &mut Tx<'_>| {
        let admitted = ask.admit(tx, &key).await?;
        assert!(admitted.is_ok());
        Err::<(), _>(DbError::Unavailable("changed its mind".into()))
    });
    assert!(undone.await.is_err());
    assert!(
        stand.keys().await?.is_empty(),
        "neither key nor reservation is left"
    );
    Ok(())
}
