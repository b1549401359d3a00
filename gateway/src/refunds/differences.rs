//! Puts each difference between the payment provider's lists and our ledger in front of an operator: starts its saga, which waits among the
//! stuck ones unless the two agree by now.

use std::time::Duration;

use orchestrator::client::StartRequest;
use serde_json::json;
use workflows::tickets::reconciliation;

use super::store::differences::{self, Due};
use crate::app::App;
use crate::limits::{DIFFERENCES_BATCH_MAX, DIFFERENCES_LEASE};

/// How the keys begin under which differences' sagas are started.
pub const DIFFERENCE_KEYS: &str = "payment-difference/";
/// How often it is looked for them: they are found once a day.
pub const EVERY: Duration = Duration::from_secs(10);

/// Starts the sagas of what was found.
pub async fn report(app: &App) -> Result<(), sqlx::Error> {
    let due = differences::claim(app.pool(), DIFFERENCES_BATCH_MAX, DIFFERENCES_LEASE).await?;
    if due.is_empty() {
        return Ok(());
    }
    let requests = due.iter().map(request).collect();
    let open: Vec<&str> = match app.engine().start_bulk(requests).await {
        Ok(started) => due.iter().zip(started).filter_map(|(item, started)| match started {
            Ok(_) => Some(item.reference.as_str()),
            Err(error) => {
                tracing::error!(reference = item.reference, %error, "a difference of payments could not be reported");
                None
            }
        }),
        Err(error) => {
            tracing::warn!(%error, "differences of payments can't be reported; will try again");
            return Ok(());
        }
    }
    .collect();
    metrics::counter!("sagaline_payment_differences_total").increment(open.len() as u64);
    differences::open(app.pool(), &open).await
}

fn request(item: &Due) -> StartRequest {
    StartRequest {
        workflow: reconciliation::DIFFERENCE.to_owned(),
        input: json!({
            "reference": item.reference, "kind": item.kind, "bookingId": item.booking_id,
            "oursCents": item.ours_cents, "theirsCents": item.theirs_cents,
        }),
        idempotency_key: Some(format!("{DIFFERENCE_KEYS}{}/{}", item.reference, item.found_by)),
        ..StartRequest::default()
    }
}
