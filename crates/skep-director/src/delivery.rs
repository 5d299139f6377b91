//! Delivery: the account of an ended job reaches its reader, by the topic `reports`. A machine of
//! its own: the message commits with the job's last state, and nothing here can undo a landing.
//!
//! The one group so far is `home`, whose place for a report is a file in the home, written whole or
//! not at all and read back. Written again it has the same content, so that it may be written again
//! after a crash.

use crate::account;
use crate::context::Context;
use crate::error::{DirectorError, describe};
use crate::event::{self, ReportDelivered};
use crate::record;
use serde::{Deserialize, Serialize};
use serde_json::json;
use skep_db::{DbError, Tx};
use skep_topic::{
    Delivery, Failure, FinishError, Group, GroupName, Message, Payload, Reader, Readers, Topic,
    Topics,
};
use skep_types::{DeliveryState, FailureClass, JobId, JobState};
use std::path::Path;
use std::sync::LazyLock;

/// The topic of reports.
pub(crate) const REPORTS: &str = "reports";
/// The group that keeps a file of each report in the home.
const HOME_GROUP: &str = "home";

/// Reports delivered in one turn.
const REPORTS_MAX: i64 = 64;
/// How long one turn may take before its reports are handed out again, in milliseconds.
const LEASE_MS: i64 = 60_000;
/// Reports waiting and none delivered for this long is an alarm, in milliseconds.
const SILENT_AFTER_MS: i64 = 10 * 60_000;
/// More than one, so that jobs that end at once do not wait for each other's commit.
const PARTITIONS: i64 = 4;

/// What a message says: which job ended, and how. The account itself is read when it is delivered,
/// so that it is the newest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReportDue {
    job: JobId,
    number: i64,
    state: JobState,
    failure: Option<FailureClass>,
}

/// The topics of the engine itself, to produce to: a declaration without a store.
static OWN: LazyLock<Topics> = LazyLock::new(|| Topics::new(vec![topic()]).unwrap_or_default());

/// What the topic is.
pub(crate) fn topic() -> Topic {
    Topic {
        partitions: PARTITIONS,
        silent_after_ms: Some(SILENT_AFTER_MS),
        readers: Readers::Running(vec![Group::new(HOME_GROUP)]),
        schema: Some(json!({
            "type": "object",
            "required": ["job", "number", "state", "failure"],
            "properties": {
                "job": { "type": "string" },
                "number": { "type": "integer" },
                "state": { "enum": JobState::WORDS },
                "failure": { "type": ["string", "null"] },
            },
        })),
        ..Topic::new(REPORTS)
    }
}

/// The group that reads reports into the home.
pub(crate) fn home_group() -> GroupName {
    GroupName::new(REPORTS, HOME_GROUP)
}

/// Puts the report of an ended job on its way, with the change that ended it.
pub(crate) async fn report_due(tx: &mut Tx<'_>, job: &JobId) -> Result<(), DirectorError> {
    let Some(ended) = skep_queue::job(tx, job).await? else {
        return Err(DirectorError::incomplete("the job that ended is not there"));
    };
    let due = ReportDue {
        job: job.clone(),
        number: ended.number,
        state: ended.state,
        failure: ended.failure,
    };
    let text = serde_json::to_vec(&due).unwrap_or_default();
    let message = Message::new(text).with_key(job.as_str());
    let produced = OWN.produce(tx, REPORTS, message).await;
    let produced = produced.map_err(|e| DirectorError::outside("put a report on its way", e))?;
    record::put_delivery(tx, job, &produced.id).await?;
    Ok(())
}

/// Where the report of a job stands.
pub(crate) async fn state(
    tx: &mut Tx<'_>,
    row: &record::DeliveryRow,
) -> Result<DeliveryState, DbError> {
    if row.place.is_some() {
        return Ok(DeliveryState::Delivered);
    }
    let Some(message) = &row.message else {
        return Ok(DeliveryState::Pending);
    };
    let item = skep_topic::item(tx, &home_group(), message).await?;
    // Only a dismissed message leaves the topic without its report having been put anywhere.
    let kept = skep_topic::message(tx, message).await?.is_some();
    Ok(match item {
        Some(item) if kept => item.state,
        Some(_) | None => DeliveryState::Dismissed,
    })
}

/// How many reports can be delivered now; what waits for its time is not among them.
pub(crate) async fn due(tx: &mut Tx<'_>) -> Result<i64, DbError> {
    let unsent = record::unsent_deliveries(tx, REPORTS_MAX).await?.len();
    let due = skep_topic::deliverable(tx, &home_group()).await?;
    Ok(due + i64::try_from(unsent).unwrap_or(i64::MAX))
}

/// Sends the reports that were due before there were topics.
pub(crate) async fn adopt(context: &Context) -> Result<(), DirectorError> {
    loop {
        let unsent = async |tx: &mut Tx<'_>| record::unsent_deliveries(tx, REPORTS_MAX).await;
        let jobs = context.db.read("unsent reports", unsent).await?;
        if jobs.is_empty() {
            return Ok(());
        }
        let send = async move |tx: &mut Tx<'_>| {
            for job in &jobs {
                report_due(tx, job).await?;
            }
            Ok::<_, DirectorError>(())
        };
        context.db.write("send reports", send).await?;
    }
}

/// Starts the reader of the group `home`.
pub(crate) async fn reader(context: &Context) -> Result<Reader, DbError> {
    let (topics, db) = (&context.topics, context.db.clone());
    let holder = context.node.to_string();
    let entropy = context.entropy.clone();
    Reader::start(topics, db, home_group(), holder, LEASE_MS, entropy).await
}

/// Delivers until the task is ended.
pub(crate) async fn run(context: &Context, mut reader: Reader) {
    loop {
        match turn(context, &reader).await {
            Ok(0) => reader.wait().await,
            Ok(_) => {}
            Err(error) => {
                tracing::error!(error = describe(&error), "reports were not delivered");
                reader.wait().await;
                // What was fetched, perhaps without an answer, would wait for the end of its lease.
                while let Err(error) = reader.give_back().await {
                    tracing::error!(error = describe(&error), "reports were not given back");
                    reader.wait().await;
                }
            }
        }
    }
}

async fn turn(context: &Context, reader: &Reader) -> Result<usize, DirectorError> {
    let deliveries = reader.fetch(REPORTS_MAX).await?;
    for delivery in &deliveries {
        deliver(context, reader, delivery).await?;
    }
    Ok(deliveries.len())
}

async fn deliver(
    context: &Context,
    reader: &Reader,
    delivery: &Delivery,
) -> Result<(), DirectorError> {
    skep_stdx::crash::point("delivery.begun");
    let effect = write_report(context, delivery).await;
    if let Err(failure) = &effect {
        tracing::error!(message = %delivery.id(), ?failure, "a report was not delivered");
    }
    skep_stdx::crash::point("delivery.written");
    let message = delivery.id().clone();
    let commit = async move |tx: &mut Tx<'_>, (job, place): &(JobId, String)| {
        // A job that was started again may have ended again: then this is not its newest report.
        let row = record::delivery(tx, job).await?;
        if row.is_some_and(|row| row.message.as_ref() == Some(&message)) {
            record::put_place(tx, job, place).await?;
        }
        let event = ReportDelivered { job: job.clone() };
        event::append(tx, job.as_str(), &event).await
    };
    reader.answer(delivery, effect, commit).await.map(|_| ())
}

/// The effect: the file of the report, read back.
async fn write_report(context: &Context, delivery: &Delivery) -> Result<(JobId, String), Failure> {
    let due = parse(delivery)?;
    let mut view = account::job(context, due.job.as_str())
        .await
        .map_err(|error| match error {
            DirectorError::NotFound { .. } => Failure::Poison(describe(&error)),
            DirectorError::Usage { .. }
            | DirectorError::Policy { .. }
            | DirectorError::Conflict { .. }
            | DirectorError::Db(_)
            | DirectorError::Outside { .. } => Failure::Transient(describe(&error)),
        })?;
    let file = context.home.reports().join(format!("{}.json", view.number));
    let place = file.to_string_lossy().into_owned();
    view.delivery.state = DeliveryState::Delivered;
    view.delivery.place = Some(place.clone());
    let text = serde_json::to_vec_pretty(&view).map_err(|e| Failure::Poison(e.to_string()))?;
    put_file(&file, &text)
        .await
        .map_err(|e| Failure::Transient(e.to_string()))?;
    Ok((due.job, place))
}

fn parse(delivery: &Delivery) -> Result<ReportDue, Failure> {
    match &delivery.payload {
        Payload::Inline(text) => {
            serde_json::from_slice(text).map_err(|error| Failure::Poison(error.to_string()))
        }
        Payload::Spilled(_) => Err(Failure::Poison("a report is never spilled".to_owned())),
    }
}

async fn put_file(file: &Path, text: &[u8]) -> std::io::Result<()> {
    let partial = file.with_extension("json.partial");
    tokio::fs::write(&partial, text).await?;
    tokio::fs::rename(&partial, file).await?;
    if tokio::fs::read(file).await? == text {
        return Ok(());
    }
    Err(std::io::Error::other("the report is not what was written"))
}

impl From<FinishError> for DirectorError {
    fn from(error: FinishError) -> Self {
        Self::outside("answer for a report", error)
    }
}
