//! The gateway's ledger payloads: ids, numbers and configured names, never text of a request, of
//! an answer, or a name that a provider made up.

use serde::Serialize;
use skep_ledger::Payload;
use skep_types::{AttemptId, BudgetId, CallId, Fence, JobId, KeyId, MicroUsd, TokenCounts};

macro_rules! payload {
    ($(#[$meta:meta])* $name:ident, $kind:literal { $($field:ident: $type:ty),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Serialize)]
        pub(crate) struct $name { $(pub(crate) $field: $type),* }
        impl Payload for $name {
            const KIND: &'static str = $kind;
            const VERSION: i64 = 1;
        }
    };
}

payload!(
    /// A key was made.
    KeyMinted, "key_minted" {
        key: KeyId, job: Option<JobId>, attempt: Option<AttemptId>, fence: Option<Fence>,
        tier: &'static str, models: usize, limit_micro_usd: Option<MicroUsd>, expires_at: Option<i64>,
    }
);
payload!(
    /// A key opens nothing any more.
    KeyRevoked, "key_revoked" { key: KeyId, job: Option<JobId> }
);
payload!(
    /// A limit came into force.
    BudgetCreated, "budget_created" {
        budget: BudgetId, limit_micro_usd: MicroUsd, period: &'static str, on_exhaust: &'static str,
    }
);
payload!(
    /// A limit was changed.
    BudgetChanged, "budget_changed" {
        budget: BudgetId, from_micro_usd: MicroUsd, limit_micro_usd: MicroUsd,
    }
);
payload!(
    /// A limit is no longer in force.
    BudgetRetired, "budget_retired" { budget: BudgetId }
);
payload!(
    /// A call may go to its provider; its worst case is reserved.
    ModelCallAdmitted, "model_call_admitted" {
        call: CallId, key: KeyId, attempt: Option<AttemptId>, fence: Option<Fence>,
        model: String, provider: String, locality: &'static str, tier: &'static str,
        consented: bool, reserved_micro_usd: MicroUsd, budgets: Vec<BudgetId>,
        price_book: String, request_bytes: i64,
    }
);
payload!(
    /// A request to count tokens may go to its provider; it costs nothing and still carries data.
    TokenCountAdmitted, "token_count_admitted" {
        call: CallId, key: KeyId, attempt: Option<AttemptId>, fence: Option<Fence>,
        model: String, provider: String, locality: &'static str, tier: &'static str,
        consented: bool, request_bytes: i64,
    }
);
payload!(
    /// A call was refused before any byte left.
    ModelCallRefused, "model_call_refused" {
        call: CallId, key: KeyId, attempt: Option<AttemptId>, fence: Option<Fence>,
        reason: &'static str, budget: Option<BudgetId>, remaining_micro_usd: Option<MicroUsd>,
        worst_micro_usd: Option<MicroUsd>,
    }
);
payload!(
    /// A call ended and its usage is known.
    ModelCallSettled, "model_call_settled" {
        call: CallId, cost_micro_usd: MicroUsd, reserved_micro_usd: MicroUsd, tokens: TokenCounts,
        http_status: Option<i64>,
    }
);
payload!(
    /// A call ended and what it cost is not known; it keeps its whole reservation.
    ModelCallUnconfirmed, "model_call_unconfirmed" {
        call: CallId, unconfirmed_micro_usd: MicroUsd, reason: &'static str,
        http_status: Option<i64>,
    }
);
payload!(
    /// A call ended without having cost anything.
    ModelCallReleased, "model_call_released" {
        call: CallId, reason: &'static str, http_status: Option<i64>,
    }
);
payload!(
    /// A call cost more than its worst case. The bound is wrong, or the provider is.
    ReservationExceeded, "reservation_exceeded" {
        call: CallId, cost_micro_usd: MicroUsd, reserved_micro_usd: MicroUsd,
    }
);
payload!(
    /// Another model answered than the one that was asked for; the call's row holds its name.
    ModelSubstituted, "model_substituted" { call: CallId, model: String }
);
