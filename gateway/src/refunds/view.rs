//! A refund as the buyer sees it.

use chrono::{DateTime, SecondsFormat, Utc};
use orchestrator::client::SagaDetail;
use serde::Serialize;
use utoipa::ToSchema;
use workflows::state::Status;

use super::store::Given;
use crate::money::Cents;

/// A refund.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Refund {
    /// Its id.
    #[schema(format = "uuid")]
    pub refund_id: String,
    /// Where it stands.
    pub status: RefundStatus,
    /// The seats that were given back.
    pub seat_ids: Vec<String>,
    /// What they were worth; left out until that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>, multiple_of = 0.01, example = json!(350.00))]
    pub amount: Option<Cents>,
    /// When the seats were given back.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = "date-time")]
    pub returned_at: Option<String>,
    /// When the money went back.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = "date-time")]
    pub refunded_at: Option<String>,
}

/// Where a refund stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RefundStatus {
    /// The seats are being given back.
    Returning,
    /// The seats are given back; the money follows.
    Refunding,
    /// The money is on its way to the buyer's bank.
    Refunded,
}

impl Refund {
    /// As its saga says; what it has not decided yet is left out.
    pub fn of_saga(saga: &SagaDetail) -> Refund {
        let view = &saga.view;
        let step = |name: &str| view.steps.iter().find(|step| step.name == name);
        let returned = step("return_seats").filter(|step| step.standing == "present");
        let is_refunded =
            view.status == Status::Completed || step("give_back").is_some_and(|step| step.standing == "present");
        let texts = |value: &serde_json::Value| -> Vec<String> {
            let items = value.as_array().into_iter().flatten();
            items.filter_map(|it| it.as_str().map(str::to_owned)).collect()
        };
        Refund {
            refund_id: saga.id.to_string(),
            status: match (returned, is_refunded) {
                (_, true) => RefundStatus::Refunded,
                (Some(_), false) => RefundStatus::Refunding,
                (None, false) => RefundStatus::Returning,
            },
            seat_ids: texts(match returned {
                Some(step) => &step.output["seatIds"],
                None => &view.input["seatIds"],
            }),
            amount: returned.and_then(|step| Cents::new(step.output["amountCents"].as_i64()?)),
            returned_at: None,
            refunded_at: None,
        }
    }

    /// As the booking's side knows it.
    pub fn of_row(given: &Given) -> Refund {
        let text = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Millis, true);
        let is_refunded = given.refunded_at.is_some() || given.amount_cents == 0;
        Refund {
            refund_id: given.refund_id.to_string(),
            status: if is_refunded {
                RefundStatus::Refunded
            } else {
                RefundStatus::Refunding
            },
            seat_ids: given.seat_ids.clone(),
            amount: Cents::new(given.amount_cents),
            returned_at: Some(text(given.returned_at)),
            refunded_at: given.refunded_at.map(text),
        }
    }
}
