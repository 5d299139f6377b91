//! Why a call is refused before any byte leaves: the code, the kind of answer, the words.
//!
//! Invariant: a message names what the caller may know (its key's models, budgets, tier) and never
//! a host, a path, a credential or another key's business.

use crate::config::{BudgetScope, OnExhaust, Period, ProviderApi};
use crate::price::NoBound;
use crate::reservation::LockedBudget;
use crate::window::utc;
use skep_types::{BudgetId, MicroUsd, Tier};
use skep_wire::ErrorKind;
use std::fmt;

/// One refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No credential of ours was presented, or one that nobody minted.
    UnknownKey,
    /// The key was revoked.
    RevokedKey,
    /// The key has expired.
    ExpiredKey,
    /// The key's job was cancelled, ended or taken over.
    StaleFence,
    /// No such model is configured.
    UnknownModel { model: String, usable: Vec<String> },
    /// The key does not include the model.
    ModelNotAllowed { model: String, usable: Vec<String> },
    /// The model's provider speaks another format.
    Format { model: String, api: ProviderApi },
    /// The session's data must not go there.
    Tier { model: String, tier: Tier },
    /// The call has no price or no bound.
    NoBound(NoBound),
    /// A budget does not hold the call's worst case.
    Budget(Box<Exhausted>),
}

/// The budget that does not hold a call's worst case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Exhausted {
    pub(crate) id: BudgetId,
    pub(crate) on_exhaust: OnExhaust,
    pub(crate) remaining: MicroUsd,
    pub(crate) worst: MicroUsd,
    pub(crate) renews_at_ms: Option<i64>,
    pub(crate) now_ms: i64,
    name: String,
    scope: BudgetScope,
    period: Period,
    limit: MicroUsd,
}

impl Exhausted {
    pub(crate) fn new(locked: &LockedBudget, worst: MicroUsd, now_ms: i64) -> Self {
        Self {
            id: locked.budget.id.clone(),
            on_exhaust: locked.budget.on_exhaust,
            remaining: locked.remaining(),
            worst,
            renews_at_ms: locked.window.renews_at_ms,
            now_ms,
            name: locked.budget.name.clone(),
            scope: locked.budget.scope.clone(),
            period: locked.budget.period,
            limit: locked.budget.limit,
        }
    }

    /// Whole seconds until the budget renews, rounded up; `None` if it never does.
    pub(crate) fn retry_after_s(&self) -> Option<u64> {
        let wait_ms = self.renews_at_ms?.saturating_sub(self.now_ms).max(0);
        u64::try_from((wait_ms + 999) / 1_000).ok()
    }
}

impl fmt::Display for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.scope {
            BudgetScope::Job(_) => f.write_str("the job's own budget")?,
            BudgetScope::Key(_) => f.write_str("the key's own budget")?,
            BudgetScope::All
            | BudgetScope::Project(_)
            | BudgetScope::Worker(_)
            | BudgetScope::EachJob => write!(f, "budget `{}` (scope {})", self.name, self.scope)?,
        }
        match self.period {
            Period::Job => {}
            period @ (Period::Hour | Period::Day | Period::Week | Period::Month) => {
                write!(f, " per {}", period.as_str())?;
            }
        }
        write!(
            f,
            " has {} left of {}, and this call may cost up to {}",
            self.remaining, self.limit, self.worst
        )?;
        match self.renews_at_ms {
            Some(at) => write!(f, "; it renews at {}", utc(at)),
            None => f.write_str("; it does not renew by itself, but can be raised"),
        }
    }
}

impl Refusal {
    /// The budget that does not hold the call, if that is why.
    pub(crate) fn exhausted(&self) -> Option<&Exhausted> {
        match self {
            Self::Budget(exhausted) => Some(exhausted),
            Self::UnknownKey
            | Self::RevokedKey
            | Self::ExpiredKey
            | Self::StaleFence
            | Self::UnknownModel { .. }
            | Self::ModelNotAllowed { .. }
            | Self::Format { .. }
            | Self::Tier { .. }
            | Self::NoBound(_) => None,
        }
    }

    /// The stable code for users, scripts and the ledger.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::UnknownKey => "key_unknown",
            Self::RevokedKey => "key_revoked",
            Self::ExpiredKey => "key_expired",
            Self::StaleFence => "stale_fence",
            Self::UnknownModel { .. } => "unknown_model",
            Self::ModelNotAllowed { .. } => "model_not_allowed",
            Self::Format { .. } => "format_not_supported",
            Self::Tier { .. } => "tier_not_allowed",
            Self::NoBound(reason) => reason.code(),
            Self::Budget(_) => "budget_exceeded",
        }
    }

    /// The kind of answer that the caller's client understands.
    pub(crate) const fn kind(&self) -> ErrorKind {
        match self {
            Self::UnknownKey | Self::RevokedKey | Self::ExpiredKey => ErrorKind::Authentication,
            Self::StaleFence | Self::ModelNotAllowed { .. } | Self::Tier { .. } => {
                ErrorKind::Permission
            }
            Self::UnknownModel { .. } => ErrorKind::NotFound,
            Self::Format { .. } | Self::NoBound(_) => ErrorKind::InvalidRequest,
            Self::Budget(_) => ErrorKind::Billing,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKey => f.write_str(
                "no valid virtual key was presented (x-api-key, Authorization: Bearer or \
                 x-skep-key); `skep key mint` makes one",
            ),
            Self::RevokedKey => f.write_str("the virtual key was revoked"),
            Self::ExpiredKey => f.write_str("the virtual key has expired"),
            Self::StaleFence => f.write_str(
                "the job of this key was cancelled, has ended or was taken over; its fence is \
                 stale",
            ),
            Self::UnknownModel { model, usable } => {
                write!(f, "model `{model}` is not configured; {}", Usable(usable))
            }
            Self::ModelNotAllowed { model, usable } => {
                write!(
                    f,
                    "this key may not use model `{model}`; {}",
                    Usable(usable)
                )
            }
            Self::Format { model, api } => write!(
                f,
                "model `{model}` is served in the {} format, and a Messages request is not \
                 translated into it",
                api.as_str()
            ),
            Self::Tier { model, tier } => {
                write!(
                    f,
                    "model `{model}` is remote and this session holds {tier} data"
                )?;
                match tier {
                    Tier::Sacred => f.write_str(", which only a local model may see"),
                    Tier::Sensitive | Tier::Convenience => f.write_str(
                        "; its provider needs the recorded consent `allow_sensitive = true`",
                    ),
                }
            }
            Self::NoBound(reason) => reason.fmt(f),
            Self::Budget(exhausted) => exhausted.fmt(f),
        }
    }
}

/// The models that may be named to the caller.
struct Usable<'a>(&'a [String]);

impl fmt::Display for Usable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("this key may use no configured model");
        }
        write!(f, "this key may use: {}", self.0.join(", "))
    }
}
