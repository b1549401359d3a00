//! Objects as Stripe writes them (API version 2026-09-30.endive): every field of Stripe's is there, most of them empty.

use serde_json::{Value, json};

use crate::model::{Failure, Fixed, Intent, IntentStatus, Refund, RefundStatus};

/// The API version whose shapes these are; it is the one that async-stripe asks for.
pub(crate) const API_VERSION: &str = "2026-09-30.endive";

pub(crate) fn intent(intent: &Intent) -> Value {
    let Intent { fixed, standing } = intent;
    let automatic = fixed
        .automatic_methods
        .then(|| json!({ "allow_redirects": "never", "enabled": true }));
    json!({
        "id": fixed.id,
        "object": "payment_intent",
        "allowed_payment_method_types": null,
        "amount": fixed.amount,
        "amount_capturable": 0,
        "amount_details": { "tip": {} },
        "amount_received": standing.captured,
        "application": null,
        "application_fee_amount": null,
        "automatic_payment_methods": automatic,
        "canceled_at": standing.canceled_at,
        "cancellation_reason": standing.cancellation_reason,
        "capture_method": "automatic_async",
        "client_secret": fixed.client_secret,
        "confirmation_method": "automatic",
        "created": fixed.created,
        "currency": fixed.currency,
        "customer": null,
        "customer_account": null,
        "description": fixed.description,
        "excluded_payment_method_types": null,
        "last_payment_error": standing.error.as_deref().map(|failure| last_error(failure, standing.charge.as_deref())),
        "latest_charge": standing.charge,
        "livemode": false,
        "managed_payments": { "enabled": false },
        "metadata": fixed.metadata,
        "next_action": next_action(fixed, standing.status),
        "on_behalf_of": null,
        "payment_method": standing.payment_method,
        "payment_method_configuration_details": null,
        "payment_method_options": { "card": { "installments": null, "mandate_options": null, "network": null, "request_three_d_secure": "automatic" } },
        "payment_method_types": ["card"],
        "processing": (standing.status == IntentStatus::Processing).then(|| json!({ "type": "card", "card": {} })),
        "receipt_email": fixed.receipt_email,
        "review": null,
        "setup_future_usage": null,
        "shipping": null,
        "source": null,
        "statement_descriptor": null,
        "statement_descriptor_suffix": null,
        "status": standing.status.as_str(),
        "transfer_data": null,
        "transfer_group": null,
    })
}

pub(crate) fn refund(refund: &Refund) -> Value {
    let mut rendered = json!({
        "id": refund.id,
        "object": "refund",
        "amount": refund.amount,
        "balance_transaction": null,
        "charge": refund.charge,
        "created": refund.created,
        "currency": refund.currency,
        "customer": null,
        "customer_account": null,
        "destination_details": { "card": { "reference_status": "pending", "reference_type": "acquirer_reference_number", "type": "refund" }, "type": "card" },
        "metadata": refund.metadata,
        "payment_intent": refund.intent,
        "payment_method": null,
        "reason": refund.reason,
        "receipt_number": null,
        "source_transfer_reversal": null,
        "status": refund.status.as_str(),
        "transfer_reversal": null,
    });
    if refund.status == RefundStatus::Failed {
        rendered["failure_reason"] = "lost_or_stolen_card".into();
    }
    rendered
}

/// A page of a list.
pub(crate) fn list(url: &str, data: Vec<Value>, has_more: bool) -> Value {
    json!({ "object": "list", "url": url, "has_more": has_more, "data": data })
}

/// A page of a search.
pub(crate) fn search(url: &str, data: Vec<Value>, next_page: Option<String>) -> Value {
    json!({ "object": "search_result", "url": url, "has_more": next_page.is_some(), "next_page": next_page, "data": data })
}

/// An event about `object`.
pub(crate) fn event(id: &str, kind: &str, created: i64, object: Value, idempotency_key: Option<&str>) -> Value {
    json!({
        "id": id,
        "object": "event",
        "api_version": API_VERSION,
        "created": created,
        "data": { "object": object },
        "livemode": false,
        "pending_webhooks": 1,
        "request": { "id": null, "idempotency_key": idempotency_key },
        "type": kind,
    })
}

fn next_action(fixed: &Fixed, status: IntentStatus) -> Option<Value> {
    let action = || json!({ "type": "use_stripe_sdk", "use_stripe_sdk": { "type": "three_d_secure_redirect", "source": fixed.id } });
    (status == IntentStatus::RequiresAction).then(action)
}

fn last_error(failure: &Failure, charge: Option<&str>) -> Value {
    let mut error = json!({
        "code": failure.code,
        "doc_url": format!("https://stripe.com/docs/error-codes/{}", failure.code.replace('_', "-")),
        "message": failure.message,
        "type": "card_error",
    });
    if let Some(decline_code) = &failure.decline_code {
        error["decline_code"] = decline_code.clone().into();
    }
    if let Some(charge) = charge {
        error["charge"] = charge.into();
    }
    error
}
