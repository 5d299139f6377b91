//! The one door for model calls: virtual keys, budgets, the price book, and the providers behind.
//!
//! A call is let through by one transaction that checks its key, fence, model, data tier and price
//! and reserves its worst case in every budget that applies; then its body goes to the provider
//! byte for byte, the answer comes back byte for byte, and a second transaction replaces the
//! reservation by what was really used. What happened to a call is never in doubt: it is settled,
//! released, or unconfirmed with its whole reservation.
//!
//! Knows nothing of jobs and harnesses but the ids that a key carries.

mod account;
mod admit;
mod answer;
mod body;
mod budget;
mod call;
mod client;
mod config;
mod decimal;
mod digest;
mod direct;
mod event;
mod gateway;
mod headers;
mod key;
pub mod limits;
mod price;
mod refusal;
mod relay;
mod replay;
mod reservation;
mod schema;
mod script;
mod settle;
mod tables;
mod timeouts;
mod upstream;
mod window;

pub use account::{
    Activity, ModelAnswered, Usage, attempt_activity, attempt_models, attempt_usage, job_cost,
};
pub use body::{RelayError, ReplyBody};
pub use budget::{
    Budget, BudgetStatus, RaiseError, Sums, budgets, create_job_budget, job_budget, raise,
    raise_job_budget, sync_budgets,
};
pub use config::{
    BudgetConfig, BudgetScope, ConfigError, GatewayConfig, Locality, ModelConfig, OnExhaust,
    Period, ProviderApi, ProviderConfig,
};
pub use direct::{
    Admission, DirectAnswer, DirectAsk, DirectCall, DirectError, DirectRefusal, Unsettled,
};
pub use gateway::{Gateway, GatewayOptions};
pub use key::{KeyStatus, NewKey, keys, mint, revoke, revoke_of_job};
pub use price::Price;
pub use schema::SCHEMA;
pub use script::{Script, ScriptError};
pub use settle::{Reconciled, reconcile};
pub use tables::{BudgetTable, GatewayTables, ModelTable, PriceTable, ProviderTable, SecretSource};
pub use timeouts::Timeouts;
pub use upstream::StartError;
