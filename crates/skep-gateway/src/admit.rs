//! Letting a call through: one transaction that decides everything before any byte leaves.
//!
//! Key, expiry, fence, model, tier, price and every budget are read and decided together, and the
//! decision is on the ledger with it. Invariant: a call that goes to a provider has a row in
//! `model_call` whose worst case is reserved in every budget that applies.

use crate::config::{GatewayConfig, Locality, ModelConfig, ProviderConfig};
use crate::event::{ModelCallAdmitted, ModelCallRefused, TokenCountAdmitted};
use crate::key::{Credential, find};
use crate::limits::{CALL_MS_MAX, DRAIN_MS, RESERVATION_GRACE_MS};
use crate::price::{NoBound, WorstCase};
use crate::refusal::{Exhausted, Refusal};
use crate::reservation::{LockedBudget, lock_set, reserve};
use skep_authority::AuthorityError;
use skep_db::{DbError, Tx, params};
use skep_ledger::append;
use skep_types::{CallId, MicroUsd, NodeId, Tier};
use std::sync::Arc;

/// A call as far as it is known without the store.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) call: CallId,
    pub(crate) secret_sha256: Vec<u8>,
    pub(crate) config: Arc<GatewayConfig>,
    /// The model's name as the request has it.
    pub(crate) model: String,
    pub(crate) charge: Charge,
    pub(crate) request_sha256: Vec<u8>,
    pub(crate) request_bytes: i64,
    /// The process that makes the call.
    pub(crate) holder: NodeId,
}

/// Whether the call costs money.
#[derive(Debug, Clone)]
pub(crate) enum Charge {
    /// It does; its bound, or why there is none.
    Model(Result<WorstCase, NoBound>),
    /// It only counts tokens: free, never stopped by a budget.
    TokenCount,
}

/// A call that may go to its provider.
#[derive(Debug, Clone)]
pub(crate) struct Admitted {
    /// Where it goes.
    pub(crate) model: ModelConfig,
    /// Its worst case; `None` for a token count.
    pub(crate) reserved: Option<MicroUsd>,
}

/// Decides about a call and records the decision.
pub(crate) async fn admit(
    tx: &mut Tx<'_>,
    asked: &Asked,
) -> Result<Result<Admitted, Refusal>, DbError> {
    let Some(key) = find(tx, &asked.secret_sha256).await? else {
        // Nobody to whom the refusal could be charged: no event, or anybody could fill the ledger.
        return Ok(Err(Refusal::UnknownKey));
    };
    let decided = match decide(tx, asked, &key).await? {
        Ok((model, provider)) => match &asked.charge {
            Charge::Model(bound) => charge(tx, asked, &key, (model, provider), bound).await?,
            Charge::TokenCount => Ok(count(tx, asked, &key, (model, provider)).await?),
        },
        Err(refusal) => Err(refusal),
    };
    if let Err(refusal) = &decided {
        record_refusal(tx, asked, &key, refusal).await?;
    }
    Ok(decided)
}

type Route<'a> = (&'a ModelConfig, &'a ProviderConfig);

/// The key behind a secret, if it is in force and its fence current; for routes that call nobody.
pub(crate) async fn authenticate(
    tx: &mut Tx<'_>,
    secret_sha256: &[u8],
) -> Result<Result<Credential, Refusal>, DbError> {
    let Some(key) = find(tx, secret_sha256).await? else {
        return Ok(Err(Refusal::UnknownKey));
    };
    Ok(in_force(tx, &key).await?.map(|()| key))
}

async fn in_force(tx: &mut Tx<'_>, key: &Credential) -> Result<Result<(), Refusal>, DbError> {
    if key.revoked {
        return Ok(Err(Refusal::RevokedKey));
    }
    let now = tx.now_ms().await?;
    if key.expires_at_ms.is_some_and(|at| at <= now) {
        return Ok(Err(Refusal::ExpiredKey));
    }
    if let Some((job, fence)) = &key.job {
        match skep_authority::demand(tx, job, *fence).await {
            Ok(()) => {}
            Err(AuthorityError::Stale { .. }) => return Ok(Err(Refusal::StaleFence)),
            Err(AuthorityError::Db(error)) => return Err(error),
        }
    }
    Ok(Ok(()))
}

async fn decide<'a>(
    tx: &mut Tx<'_>,
    asked: &'a Asked,
    key: &Credential,
) -> Result<Result<Route<'a>, Refusal>, DbError> {
    if let Err(refusal) = in_force(tx, key).await? {
        return Ok(Err(refusal));
    }
    let name = || asked.model.clone();
    let Some((model, provider)) = asked.config.model(&asked.model) else {
        return Ok(Err(Refusal::UnknownModel {
            model: name(),
            usable: usable(&asked.config, key),
        }));
    };
    if !key.allows(&model.name) {
        return Ok(Err(Refusal::ModelNotAllowed {
            model: name(),
            usable: usable(&asked.config, key),
        }));
    }
    if !provider.api.speaks_messages() {
        return Ok(Err(Refusal::Format {
            model: name(),
            api: provider.api,
        }));
    }
    if !tier_allows(key.tier, provider) {
        return Ok(Err(Refusal::Tier {
            model: name(),
            tier: key.tier,
        }));
    }
    Ok(Ok((model, provider)))
}

/// The configured models that `key` may use.
pub(crate) fn usable(config: &GatewayConfig, key: &Credential) -> Vec<String> {
    let names = config.models().map(|model| &model.name);
    names.filter(|name| key.allows(name)).cloned().collect()
}

const fn tier_allows(tier: Tier, provider: &ProviderConfig) -> bool {
    match (provider.locality, tier) {
        (Locality::Local, _) | (Locality::Remote, Tier::Convenience) => true,
        (Locality::Remote, Tier::Sensitive) => provider.allow_sensitive,
        (Locality::Remote, Tier::Sacred) => false,
    }
}

/// Whether a recorded consent is what let the call through.
fn consented(key: &Credential, provider: &ProviderConfig) -> bool {
    provider.locality == Locality::Remote && key.tier == Tier::Sensitive
}

async fn charge(
    tx: &mut Tx<'_>,
    asked: &Asked,
    key: &Credential,
    (model, provider): Route<'_>,
    bound: &Result<WorstCase, NoBound>,
) -> Result<Result<Admitted, Refusal>, DbError> {
    let worst = match bound {
        Ok(worst) => worst.cost,
        Err(reason) => return Ok(Err(Refusal::NoBound(reason.clone()))),
    };
    let set = lock_set(tx, &key.spender()).await?;
    let now = tx.now_ms().await?;
    if let Some(locked) = set.iter().find(|locked| locked.remaining() < worst) {
        let exhausted = Exhausted::new(locked, worst, now);
        return Ok(Err(Refusal::Budget(Box::new(exhausted))));
    }
    insert_call(tx, asked, key, (model, provider), worst).await?;
    reserve(tx, &asked.call, &set, worst).await?;
    let event = ModelCallAdmitted {
        call: asked.call.clone(),
        key: key.id.clone(),
        attempt: key.attempt.clone(),
        fence: key.fence(),
        model: model.name.clone(),
        provider: provider.name.clone(),
        locality: provider.locality.as_str(),
        tier: key.tier.as_str(),
        consented: consented(key, provider),
        reserved_micro_usd: worst,
        budgets: set.iter().map(LockedBudget::id).collect(),
        price_book: asked.config.price_book.clone(),
        request_bytes: asked.request_bytes,
    };
    append(tx, key.subject(), &event).await?;
    Ok(Ok(admitted(model, Some(worst))))
}

async fn count(
    tx: &mut Tx<'_>,
    asked: &Asked,
    key: &Credential,
    (model, provider): Route<'_>,
) -> Result<Admitted, DbError> {
    let event = TokenCountAdmitted {
        call: asked.call.clone(),
        key: key.id.clone(),
        attempt: key.attempt.clone(),
        fence: key.fence(),
        model: model.name.clone(),
        provider: provider.name.clone(),
        locality: provider.locality.as_str(),
        tier: key.tier.as_str(),
        consented: consented(key, provider),
        request_bytes: asked.request_bytes,
    };
    append(tx, key.subject(), &event).await?;
    Ok(admitted(model, None))
}

fn admitted(model: &ModelConfig, reserved: Option<MicroUsd>) -> Admitted {
    Admitted {
        model: model.clone(),
        reserved,
    }
}

async fn insert_call(
    tx: &mut Tx<'_>,
    asked: &Asked,
    key: &Credential,
    (model, provider): Route<'_>,
    reserved: MicroUsd,
) -> Result<(), DbError> {
    let now = tx.now_ms().await?;
    let longest = i64::try_from(CALL_MS_MAX + DRAIN_MS).unwrap_or(i64::MAX);
    let deadline = now
        .saturating_add(longest)
        .saturating_add(RESERVATION_GRACE_MS);
    let sql = "INSERT INTO model_call (id, key_id, job_id, attempt_id, fence, project, worker,
            tier, provider, model_requested, model_upstream, price_book, state,
            reserved_micro_usd, cost_micro_usd, input_tokens, cache_read_tokens,
            cache_write_tokens, cache_write_1h_tokens, output_tokens, request_sha256,
            request_bytes, holder, deadline_at, started_at)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, 'reserved',
            ?13, 0, 0, 0, 0, 0, 0, ?14, ?15, ?16, ?17, ?18)";
    let row = params![
        asked.call.as_str(),
        key.id.as_str(),
        key.job_id().map(|job| job.as_str().to_owned()),
        key.attempt
            .as_ref()
            .map(|attempt| attempt.as_str().to_owned()),
        key.fence().map(|fence| fence.0),
        key.project.clone(),
        key.worker.clone(),
        key.tier.as_str(),
        &provider.name,
        &model.name,
        &model.upstream,
        &asked.config.price_book,
        reserved.0,
        asked.request_sha256.as_slice(),
        asked.request_bytes,
        asked.holder.as_str(),
        deadline,
        now
    ];
    tx.execute(sql, row).await?;
    Ok(())
}

async fn record_refusal(
    tx: &mut Tx<'_>,
    asked: &Asked,
    key: &Credential,
    refusal: &Refusal,
) -> Result<(), DbError> {
    let exhausted = refusal.exhausted();
    let event = ModelCallRefused {
        call: asked.call.clone(),
        key: key.id.clone(),
        attempt: key.attempt.clone(),
        fence: key.fence(),
        reason: refusal.code(),
        budget: exhausted.map(|e| e.id.clone()),
        remaining_micro_usd: exhausted.map(|e| e.remaining),
        worst_micro_usd: exhausted.map(|e| e.worst),
    };
    append(tx, key.subject(), &event).await?;
    Ok(())
}
