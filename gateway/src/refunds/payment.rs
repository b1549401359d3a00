//! What a buyer is told of a payment: what is still to be done, or why it failed.

use std::fmt;

use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

/// What the buyer has to do before the payment can go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NextAction {
    /// `authenticate`: hand the client secret to the payment provider's library in the browser (`stripe.handleNextAction`).
    #[serde(rename = "type")]
    #[schema(example = "authenticate")]
    pub kind: &'static str,
    /// The payment at the provider.
    #[schema(example = "pi_3MtwBwLkdIwHu7ix28a3tqPa")]
    pub payment_id: String,
    /// For the provider's library, and for nobody else.
    #[schema(value_type = String)]
    pub client_secret: ClientSecret,
}

/// Lets its bearer finish one payment; not shown in logs.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct ClientSecret(pub String);

impl fmt::Debug for ClientSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientSecret(…)")
    }
}

/// Why a payment failed, as far as the buyer may know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct PaymentFailure {
    /// `insufficient_funds`, `expired_card`, `card_details`, `authentication_failed`, `try_again` or `card_declined`.
    #[schema(example = "insufficient_funds")]
    pub code: &'static str,
    /// For the buyer.
    pub message: &'static str,
}

/// What the buyer may know of an error of the payment's step. A card that was reported lost or stolen, or that looks like fraud, is declined
/// like any other: whoever holds it need not learn more.
pub fn visible(code: &str) -> PaymentFailure {
    let (code, message) = match code {
        "insufficient_funds" => ("insufficient_funds", "There isn't enough money on the card."),
        "expired_card" => ("expired_card", "The card has expired."),
        "invalid_payment_method" => (
            "card_details",
            "The card's details aren't right, or it can't be used here.",
        ),
        "authentication_required" => ("authentication_failed", "The bank could not make sure that it is you."),
        "processing_error" | "provider_error" | "provider_unavailable" | "rate_limited" | "payment_processing" => (
            "try_again",
            "The payment could not be carried out. Nothing was charged; try again in a while.",
        ),
        // Fraud, `card_declined`, and whatever is yet to come.
        _ => (
            "card_declined",
            "The bank has declined the card, and doesn't say why. Ask it, or use another card.",
        ),
    };
    PaymentFailure { code, message }
}

/// A published fact as the buyer may see it.
pub fn redacted(topic: &str, data: &Value) -> Value {
    if topic != "payment.failed" {
        return data.clone();
    }
    let seen = visible(data["reason"].as_str().unwrap_or_default());
    let mut data = data.clone();
    if let Some(members) = data.as_object_mut() {
        members.insert("reason".to_owned(), json!(seen.code));
        if let Some(message) = members.get_mut("message") {
            *message = json!(seen.message);
        }
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fraud_looks_like_any_decline() {
        let declined = visible("card_declined");
        for code in ["fraudulent", "stolen_card", "", "something_new"] {
            assert_eq!(visible(code), declined, "{code}");
        }
        let fact = json!({"reason": "fraudulent", "message": "card reported stolen_card", "attempt": 1});
        let seen = redacted("payment.failed", &fact).to_string();
        assert!(!seen.contains("fraud") && !seen.contains("stolen"), "{seen}");
        assert_eq!(redacted("payment.retry", &fact), fact);
    }
}
