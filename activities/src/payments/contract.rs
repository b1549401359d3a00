//! What the payment activities take and give.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::typed::Failure;

/// Every code the payment activities fail with.
pub const CODES: &[&str] = &[
    "authentication_required",
    "card_declined",
    "expired_card",
    "fraudulent",
    "insufficient_funds",
    "intent_canceled",
    "invalid_payment_method",
    "invalid_request",
    "not_charged",
    "payment_processing",
    "processing_error",
    "provider_error",
    "provider_unavailable",
    "rate_limited",
    "refund_failed",
];
/// Failures after which the next attempt keeps its key, for the request was not carried out. A definition that charges must list
/// them as its step's `same_key_codes`: they don't close the payment, since the next attempt goes on with it.
pub const SAME_KEY_CODES: &[&str] = &["provider_unavailable", "rate_limited"];
/// Characters of a payment method's id, at most; Stripe's have about thirty.
const PAYMENT_METHOD_CHARS_MAX: usize = 255;
/// What Stripe takes at most, in minor units.
const AMOUNT_CENTS_MAX: i64 = 99_999_999;

/// The input of all four activities; charge, lookup and cancel ignore the last two fields.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PaymentInput {
    /// Whose money.
    pub booking_id: Uuid,
    /// What for.
    pub event_id: String,
    /// How much, in minor units.
    pub amount_cents: i64,
    /// ISO 4217, in lower case.
    pub currency: String,
    /// Stripe's id of the card or whatever it is.
    pub payment_method: String,
    /// Refund: the payment, if it is known that there is one.
    #[serde(default)]
    pub payment_id: Option<String>,
    /// Refund: why.
    #[serde(default)]
    pub reason: Option<String>,
}

/// A payment was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Charged {
    /// The payment intent's id.
    pub payment_id: String,
    /// `succeeded`.
    pub status: &'static str,
    /// How much, in minor units.
    pub amount_cents: i64,
}

/// No money is held any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Refunded {
    /// The payment intent's id, if there was a payment.
    pub payment_id: Option<String>,
    /// The refund's id, if there was something to refund.
    pub refund_id: Option<String>,
    /// How much was given back, in minor units.
    pub refunded_cents: i64,
}

impl Charged {
    pub(super) fn succeeded(payment_id: &str, amount_cents: i64) -> Self {
        Charged {
            payment_id: payment_id.to_owned(),
            status: "succeeded",
            amount_cents,
        }
    }
}

impl PaymentInput {
    /// Checks what the types don't.
    pub(super) fn check(&self) -> Result<(), Failure> {
        if !(1..=AMOUNT_CENTS_MAX).contains(&self.amount_cents) {
            return Err(Failure::invalid_input(
                "/amountCents",
                format!("must be 1 to {AMOUNT_CENTS_MAX}"),
            ));
        }
        if self.currency.len() != 3 || !self.currency.bytes().all(|byte| byte.is_ascii_lowercase()) {
            return Err(Failure::invalid_input("/currency", "must be three lower-case letters"));
        }
        let method = self.payment_method.chars().count();
        if method == 0 || method > PAYMENT_METHOD_CHARS_MAX || self.payment_method.contains('\0') {
            return Err(Failure::invalid_input(
                "/paymentMethod",
                "must be a payment method's id",
            ));
        }
        Ok(())
    }
}
