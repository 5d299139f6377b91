//! Delivery: the account of an ended job reaches its owner. A reconciler: it takes no input, can
//! be repeated, and runs on a timer and on a poke.
//!
//! The place of a report is a file in the home, written whole or not at all.

use crate::account;
use crate::director::Context;
use crate::error::{DirectorError, describe};
use crate::event::{self, ReportDelivered};
use crate::limits::POLL_MS;
use crate::record::{DeliveryRow, open_deliveries, put_delivery};
use skep_db::Tx;
use skep_types::{DeliveryState, JobId};
use std::sync::Arc;
use std::time::Duration;

/// The topic that is woken when a report is due.
pub(crate) const TOPIC: &str = "delivery";

/// Reports delivered in one turn.
const REPORTS_MAX: i64 = 64;

/// Delivers until the task is ended.
pub(crate) async fn run(context: Arc<Context>) {
    let mut due = context.db.listen(TOPIC);
    loop {
        if let Err(error) = reconcile(&context).await {
            tracing::error!(error = describe(&error), "reports were not delivered");
        }
        tokio::select! {
            _ = due.changed() => {}
            () = tokio::time::sleep(Duration::from_millis(POLL_MS * 5)) => {}
        }
    }
}

/// Delivers what is due.
pub(crate) async fn reconcile(context: &Context) -> Result<(), DirectorError> {
    let jobs = context
        .db
        .read("due reports", async |tx: &mut Tx<'_>| {
            open_deliveries(tx, REPORTS_MAX).await
        })
        .await?;
    for job in jobs {
        deliver(context, &job).await?;
    }
    Ok(())
}

async fn deliver(context: &Context, job: &JobId) -> Result<(), DirectorError> {
    let mut view = account::job(context, job.as_str()).await?;
    let place = context.home.reports().join(format!("{}.json", view.number));
    view.delivery.state = DeliveryState::Delivered;
    view.delivery.place = Some(place.to_string_lossy().into_owned());
    set(context, job, DeliveryState::Delivering, None).await?;
    skep_stdx::crash::point("delivery.begun");
    let text = serde_json::to_vec_pretty(&view).unwrap_or_default();
    let partial = place.with_extension("json.partial");
    let failed = |e| DirectorError::outside("write a report", e);
    tokio::fs::write(&partial, text).await.map_err(failed)?;
    tokio::fs::rename(&partial, &place).await.map_err(failed)?;
    skep_stdx::crash::point("delivery.written");
    set(context, job, DeliveryState::Delivered, view.delivery.place).await
}

async fn set(
    context: &Context,
    job: &JobId,
    state: DeliveryState,
    place: Option<String>,
) -> Result<(), DirectorError> {
    let row = DeliveryRow {
        job: job.clone(),
        state,
        place,
    };
    context
        .db
        .write("delivery", async move |tx: &mut Tx<'_>| {
            put_delivery(tx, &row).await?;
            if row.state == DeliveryState::Delivered {
                let event = ReportDelivered {
                    job: row.job.clone(),
                };
                event::append(tx, row.job.as_str(), &event).await?;
            }
            Ok(())
        })
        .await
}
