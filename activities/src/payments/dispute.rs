//! `payments.note_dispute` writes down what Stripe says of a dispute, and the money that moved because of it; `payments.check_dispute` says
//! whether it still waits for an answer.
//!
//! Whatever order Stripe's events come in, each leads to the same question, whose answer is how it stands now. What a bank takes back is an
//! expense, with Stripe's fee; if the dispute is won, both come back.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::DateTime;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use stripe_shared::{Dispute, DisputeStatus};
use uuid::Uuid;

use super::classify::{CallError, classify};
use super::contract::CODES;
use super::store::disputes::{self, Noted};
use super::{Payments, unanswered};
use crate::activity::TaskContext;
use crate::typed::{Failure, TypedActivity};

/// A dispute waits for an answer, which somebody has to give at Stripe.
const DISPUTED: &str = "disputed";
/// Stripe has no such dispute. Permanent.
const UNKNOWN_DISPUTE: &str = "unknown_dispute";

/// What both need.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DisputeInput {
    /// Its id at Stripe.
    pub dispute_id: String,
}

/// How a dispute stands.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Disputed {
    /// In Stripe's words.
    pub status: String,
    /// Whose payment it is about; none: none of ours.
    pub booking_id: Option<Uuid>,
    /// What it is about, in minor units.
    pub amount_cents: i64,
    /// The buyer's reason, in Stripe's words.
    pub reason: String,
    /// Somebody has to answer it.
    pub needs_answer: bool,
    /// It stood differently before.
    pub is_new: bool,
    /// Until when (RFC 3339).
    pub respond_by: Option<String>,
}

pub(super) struct NoteDispute(pub Arc<Payments>);

#[async_trait]
impl TypedActivity for NoteDispute {
    type Input = DisputeInput;
    type Output = Disputed;
    const NAME: &'static str = "payments.note_dispute";
    const CODES: &'static [&'static str] = CODES;

    async fn run(&self, _: &TaskContext, input: DisputeInput) -> Result<Disputed, Failure> {
        self.0.note_dispute(&input).await
    }
}

pub(super) struct CheckDispute(pub Arc<Payments>);

#[async_trait]
impl TypedActivity for CheckDispute {
    type Input = DisputeInput;
    type Output = Disputed;
    const NAME: &'static str = "payments.check_dispute";
    const CODES: &'static [&'static str] = &[DISPUTED];

    async fn run(&self, _: &TaskContext, input: DisputeInput) -> Result<Disputed, Failure> {
        let disputed = self.0.note_dispute(&input).await?;
        if !disputed.needs_answer {
            return Ok(disputed);
        }
        let message = format!(
            "the buyer disputes {} cents ({}): answer it at the payment provider{}, then retry this",
            disputed.amount_cents,
            disputed.reason,
            disputed
                .respond_by
                .as_deref()
                .map_or(String::new(), |until| format!(" by {until}"))
        );
        let details = json!({"bookingId": disputed.booking_id, "respondBy": disputed.respond_by});
        Err(Failure::permanent(DISPUTED, message).with(details))
    }
}

impl Payments {
    async fn note_dispute(&self, input: &DisputeInput) -> Result<Disputed, Failure> {
        let dispute = match self.provider.retrieve_dispute(&input.dispute_id).await {
            Ok(dispute) => dispute,
            Err(CallError::Refused { status: 404, .. }) => {
                let message = format!("the payment provider has no dispute {}", input.dispute_id);
                return Err(Failure::permanent(UNKNOWN_DISPUTE, message));
            }
            Err(error) => return Err(classify(&error).into_failure()),
        };
        let noted = noted(&dispute);
        let known = disputes::note(&self.pool, &noted).await.map_err(unanswered)?;
        Ok(Disputed {
            status: noted.status,
            booking_id: known.booking_id,
            is_new: known.is_new,
            amount_cents: noted.amount_cents,
            reason: noted.reason,
            needs_answer: matches!(
                dispute.status,
                DisputeStatus::NeedsResponse | DisputeStatus::WarningNeedsResponse
            ),
            respond_by: noted.respond_by.map(|at| at.to_rfc3339()),
        })
    }
}

fn noted(dispute: &Dispute) -> Noted {
    let movements = &dispute.balance_transactions;
    let moved = |wanted: fn(i64) -> bool| -> i64 {
        let nets = movements.iter().map(|movement| movement.net);
        nets.filter(|net| wanted(*net)).sum::<i64>().abs()
    };
    Noted {
        dispute_id: dispute.id.as_str().to_owned(),
        intent_id: dispute
            .payment_intent
            .as_ref()
            .map(|intent| intent.id().as_str().to_owned()),
        amount_cents: dispute.amount,
        currency: dispute.currency.to_string(),
        moved_currency: movements.first().map_or_else(
            || dispute.currency.to_string(),
            |movement| movement.currency.to_string(),
        ),
        reason: dispute.reason.clone(),
        status: dispute.status.as_str().to_owned(),
        respond_by: dispute
            .evidence_details
            .due_by
            .and_then(|at| DateTime::from_timestamp(at, 0)),
        opened_at: DateTime::from_timestamp(dispute.created, 0).unwrap_or_default(),
        withdrawn_cents: moved(|net| net < 0),
        reinstated_cents: moved(|net| net > 0),
    }
}
