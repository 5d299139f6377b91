//! The director's rows, and the only SQL of this crate.

mod asked;
mod call;
mod dead;
mod delivery;
mod dispatch;
mod home;
mod landing;
mod leftover;
mod node;
mod result;
mod review;
mod schedule;
mod shell;
mod verdict;

pub(crate) use asked::{Asked, asked};
pub(crate) use call::{AnswerRow, CallRow, Question, call, latest_answer, put_answer, put_call};
pub(crate) use dead::{
    DeadQuery, DeadRow, DeadState, clear_dead, dead, dead_classes, dead_letters, put_death,
    set_dead,
};
pub(crate) use delivery::{DeliveryRow, delivery, put_delivery, put_place, unsent_deliveries};
pub(crate) use dispatch::{
    Dispatch, clear_reason, dispatch, pin_base, put_dispatch, put_reason, reason,
};
pub(crate) use home::move_home;
pub(crate) use landing::{LandingRow, landing, landings_intended, landings_under_way, put_landing};
pub(crate) use leftover::{LeftoverRow, leftovers, put_leftover};
pub(crate) use node::{
    NodeRow, is_draining, node, node_left, node_seen, nodes, put_node, set_draining,
};
pub(crate) use result::{ResultRow, latest_result, put_result, results};
pub(crate) use review::{ReviewRow, finish_review, put_review, review, reviews};
pub(crate) use schedule::{Precheck, Template, forget_template, put_template, template};
pub(crate) use shell::{RunRow, ShellRow, latest_run, pin_shell, put_run, put_shell, shell};
pub(crate) use verdict::{CheckRow, VerdictRow, check_runs, put_check_run, put_verdict, verdicts};

use skep_db::DbError;

/// Reads a JSON column that this crate wrote itself.
fn json<T: serde::de::DeserializeOwned>(column: &str, text: &str) -> Result<T, DbError> {
    serde_json::from_str(text).map_err(|_| DbError::Column {
        column: column.to_owned(),
        found: "a document of another shape",
    })
}

/// Writes a JSON column. The types written have no map with keys that are not text, so this
/// cannot fail; an empty column would be read back as an error.
fn to_json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
