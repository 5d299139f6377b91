//! What each run of a schedule does: the request, as it would be dispatched, and the pre-check.

use super::{json, to_json};
use crate::dispatch::Wish;
use skep_db::{DbError, Row, Tx, params};
use skep_types::{JobKind, ScheduleId};

/// The request behind a schedule.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Template {
    pub(crate) schedule: ScheduleId,
    /// It carries the schedule's owner.
    pub(crate) wish: Wish,
    pub(crate) precheck: Option<Precheck>,
}

/// What is run before the request is dispatched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Precheck {
    pub(crate) command: String,
    /// The exit code that means that there is nothing to do.
    pub(crate) nothing_to_do: i64,
    pub(crate) seconds_max: i64,
}

impl Template {
    fn from_row(row: &Row) -> Result<Self, DbError> {
        let command: Option<String> = row.get("precheck")?;
        let precheck = match command {
            None => None,
            Some(command) => Some(Precheck {
                command,
                nothing_to_do: row.get("precheck_nothing_to_do")?,
                seconds_max: row.get("precheck_seconds_max")?,
            }),
        };
        Ok(Self {
            schedule: row.parse("schedule_id")?,
            wish: wish(row.parse("kind")?, &row.get::<String>("request")?)?,
            precheck,
        })
    }
}

/// The request of a row, in the shape of its kind.
fn wish(kind: JobKind, request: &str) -> Result<Wish, DbError> {
    Ok(match kind {
        JobKind::Agent => Wish::Agent(json("request", request)?),
        JobKind::Call => Wish::Call(json("request", request)?),
        JobKind::Shell => Wish::Shell(json("request", request)?),
        JobKind::Pipeline => {
            return Err(DbError::Column {
                column: "kind".to_owned(),
                found: "a kind that no schedule starts",
            });
        }
    })
}

/// Writes the template of a schedule.
pub(crate) async fn put_template(tx: &mut Tx<'_>, t: &Template) -> Result<(), DbError> {
    let sql = "INSERT INTO schedule_template (schedule_id, kind, request, precheck,
            precheck_nothing_to_do, precheck_seconds_max)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let precheck = t.precheck.as_ref();
    let request = match &t.wish {
        Wish::Agent(request) => to_json(request),
        Wish::Call(request) => to_json(request),
        Wish::Shell(request) => to_json(request),
    };
    let row = params![
        t.schedule.as_str(),
        t.wish.kind().as_str(),
        request,
        precheck.map(|check| check.command.as_str()),
        precheck.map(|check| check.nothing_to_do),
        precheck.map(|check| check.seconds_max),
    ];
    tx.execute(sql, row).await.map(|_| ())
}

/// The template of a schedule, until it is forgotten.
pub(crate) async fn template(
    tx: &mut Tx<'_>,
    schedule: &ScheduleId,
) -> Result<Option<Template>, DbError> {
    let sql = "SELECT * FROM schedule_template WHERE schedule_id = ?1";
    let row = tx.query_opt(sql, params![schedule.as_str()]).await?;
    row.as_ref().map(Template::from_row).transpose()
}

/// Forgets the template of a schedule that is gone.
pub(crate) async fn forget_template(tx: &mut Tx<'_>, schedule: &ScheduleId) -> Result<(), DbError> {
    let sql = "DELETE FROM schedule_template WHERE schedule_id = ?1";
    tx.execute(sql, params![schedule.as_str()])
        .await
        .map(|_| ())
}
