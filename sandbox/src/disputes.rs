//! What buyers and banks do to payments afterwards: disputes, and refunds that fail days later.

use axum::extract::{Path, Query, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::Refusal;
use crate::gate::{self, refuse};
use crate::journal::Line;
use crate::model::{Intent, RefundStatus};
use crate::render;
use crate::server::Shared;
use crate::store::Store;
use crate::webhook::About;

/// What Stripe takes for a dispute, in minor units.
const FEE: i64 = 1_500;
/// How long one has to answer: three weeks, as with most banks.
const DUE_AFTER_S: i64 = 21 * 24 * 60 * 60;

/// A payment that its buyer has taken to the bank.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Dispute {
    pub id: String,
    pub intent: String,
    pub charge: String,
    pub amount: i64,
    pub currency: String,
    pub created: i64,
    pub status: DisputeStatus,
}

/// Where a dispute stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DisputeStatus {
    /// The bank has taken the money, and waits for an answer.
    NeedsResponse,
    /// The bank has given it back.
    Won,
    /// The buyer keeps it.
    Lost,
}

impl DisputeStatus {
    fn as_str(self) -> &'static str {
        match self {
            DisputeStatus::NeedsResponse => "needs_response",
            DisputeStatus::Won => "won",
            DisputeStatus::Lost => "lost",
        }
    }
}

impl Dispute {
    /// What has gone for good, or as long as it goes on: with Stripe's fee, which is given back with the rest.
    pub fn withdrawn(&self) -> i64 {
        match self.status {
            DisputeStatus::NeedsResponse | DisputeStatus::Lost => self.amount + FEE,
            DisputeStatus::Won => 0,
        }
    }

    /// As Stripe writes it.
    pub fn render(&self) -> Value {
        let mut movements = vec![self.movement("withdrawal", -self.amount, FEE)];
        if self.status == DisputeStatus::Won {
            movements.insert(0, self.movement("reversal", self.amount, -FEE));
        }
        json!({
            "id": self.id,
            "object": "dispute",
            "amount": self.amount,
            "balance_transactions": movements,
            "charge": self.charge,
            "created": self.created,
            "currency": self.currency,
            "enhanced_eligibility_types": [],
            "evidence": evidence(),
            "evidence_details": {
                "due_by": self.created + DUE_AFTER_S,
                "enhanced_eligibility": {},
                "has_evidence": false,
                "past_due": false,
                "submission_count": 0,
            },
            "is_charge_refundable": false,
            "livemode": false,
            "metadata": {},
            "payment_intent": self.intent,
            "payment_method_details": {
                "card": { "brand": "visa", "case_type": "chargeback", "network": "visa", "network_reason_code": "10.4" },
                "type": "card",
            },
            "reason": "fraudulent",
            "status": self.status.as_str(),
        })
    }

    fn movement(&self, what: &str, amount: i64, fee: i64) -> Value {
        json!({
            "id": format!("txn_{}_{what}", self.id),
            "object": "balance_transaction",
            "amount": amount,
            "available_on": self.created,
            "balance_type": "payments",
            "created": self.created,
            "currency": self.currency,
            "description": format!("Chargeback {what} for {}", self.charge),
            "exchange_rate": null,
            "fee": fee,
            "fee_details": [{ "amount": fee, "application": null, "currency": self.currency, "description": "Dispute fee", "type": "stripe_fee" }],
            "net": amount - fee,
            "reporting_category": "dispute",
            "source": self.id,
            "status": "pending",
            "type": "adjustment",
        })
    }
}

/// Nobody has said anything yet.
fn evidence() -> Value {
    const EMPTY: [&str; 27] = [
        "access_activity_log",
        "billing_address",
        "cancellation_policy",
        "cancellation_policy_disclosure",
        "cancellation_rebuttal",
        "customer_communication",
        "customer_email_address",
        "customer_name",
        "customer_purchase_ip",
        "customer_signature",
        "duplicate_charge_documentation",
        "duplicate_charge_explanation",
        "duplicate_charge_id",
        "product_description",
        "receipt",
        "refund_policy",
        "refund_policy_disclosure",
        "refund_refusal_explanation",
        "service_date",
        "service_documentation",
        "shipping_address",
        "shipping_carrier",
        "shipping_date",
        "shipping_documentation",
        "shipping_tracking_number",
        "uncategorized_file",
        "uncategorized_text",
    ];
    let mut evidence: serde_json::Map<String, Value> =
        EMPTY.iter().map(|name| ((*name).to_owned(), Value::Null)).collect();
    evidence.insert("enhanced_evidence".to_owned(), json!({}));
    Value::Object(evidence)
}

impl Store {
    /// The buyer goes to the bank, which takes the money back at once.
    pub fn open_dispute(&mut self, intent: &Intent, now: i64) {
        let dispute = Dispute {
            id: format!("du_1{}", self.chaos.letters(23)),
            intent: intent.fixed.id.clone(),
            charge: intent.standing.charge.as_deref().unwrap_or_default().to_owned(),
            amount: intent.standing.captured,
            currency: intent.fixed.currency.clone(),
            created: now,
            status: DisputeStatus::NeedsResponse,
        };
        self.save_dispute(dispute.clone());
        self.emit("charge.dispute.created", About::Dispute(dispute.clone()), now);
        self.emit("charge.dispute.funds_withdrawn", About::Dispute(dispute), now);
    }

    /// The bank decides.
    fn decide(&mut self, id: &str, is_won: bool, now: i64) -> Result<Value, Refusal> {
        let found = self.disputes.get(id).cloned();
        let mut dispute = found.ok_or_else(|| Refusal::no_such(404, "dispute", "dispute", id))?;
        if dispute.status != DisputeStatus::NeedsResponse {
            return Err(Refusal::invalid(
                "dispute_closed",
                "dispute",
                "This dispute is already closed.",
            ));
        }
        dispute.status = if is_won {
            DisputeStatus::Won
        } else {
            DisputeStatus::Lost
        };
        self.save_dispute(dispute.clone());
        self.emit("charge.dispute.closed", About::Dispute(dispute.clone()), now);
        if is_won {
            self.emit("charge.dispute.funds_reinstated", About::Dispute(dispute.clone()), now);
        }
        Ok(dispute.render())
    }

    /// The buyer's bank doesn't take a refund: the money is ours again.
    fn fail_refund(&mut self, id: &str, now: i64) -> Result<Value, Refusal> {
        let found = self.refund(id).cloned();
        let mut refund = found.ok_or_else(|| Refusal::no_such(404, "refund", "id", id))?;
        if refund.status != RefundStatus::Succeeded {
            return Err(Refusal::invalid(
                "refund_failed",
                "id",
                "This refund has failed before.",
            ));
        }
        refund.status = RefundStatus::Failed;
        let mut intent = self.find(&refund.intent, "payment_intent")?;
        intent.standing.refunded -= refund.amount;
        self.save(intent);
        self.save_refund(refund.clone());
        let rendered = render::refund(&refund);
        self.emit("refund.failed", About::Refund(refund), now);
        Ok(rendered)
    }
}

#[derive(Deserialize)]
pub(crate) struct Decision {
    #[serde(default)]
    won: bool,
}

/// `GET /v1/disputes/{id}`.
pub(crate) async fn retrieve(State(shared): State<Shared>, Path(id): Path<String>) -> Response {
    gate::read_latency(&shared).await;
    match shared.store().disputes.get(&id) {
        Some(dispute) => gate::json(200, dispute.render().to_string()),
        None => refuse(&Refusal::no_such(404, "dispute", "dispute", &id)),
    }
}

/// `POST /_sandbox/disputes/{id}/decide`, with `?won=true` for us.
pub(crate) async fn decide(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    Query(decision): Query<Decision>,
) -> Response {
    changed(&shared, |store| store.decide(&id, decision.won, gate::now()))
}

/// `POST /_sandbox/refunds/{id}/fail`.
pub(crate) async fn fail_refund(State(shared): State<Shared>, Path(id): Path<String>) -> Response {
    changed(&shared, |store| store.fail_refund(&id, gate::now()))
}

fn changed(shared: &Shared, change: impl FnOnce(&mut Store) -> Result<Value, Refusal>) -> Response {
    let changed = {
        let mut store = shared.store();
        store.attribute_events_to(None);
        let changed = change(&mut store);
        store.commit();
        changed
    };
    match changed {
        Ok(object) => {
            shared.after_change();
            gate::json(200, object.to_string())
        }
        Err(refusal) => refuse(&refusal),
    }
}

impl Store {
    fn save_dispute(&mut self, dispute: Dispute) {
        self.write(&Line::Dispute(dispute.clone()));
        self.put_dispute(dispute);
    }

    pub(crate) fn put_dispute(&mut self, dispute: Dispute) {
        self.disputed.insert(dispute.intent.clone(), dispute.id.clone());
        self.disputes.insert(dispute.id.clone(), dispute);
    }
}
