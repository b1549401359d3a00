//! What the sandbox keeps.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A payment intent: what was set at creation, and where it stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Intent {
    pub fixed: Arc<Fixed>,
    pub standing: Standing,
}

/// What creation set.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Fixed {
    pub id: String,
    pub client_secret: String,
    pub amount: i64,
    pub currency: String,
    pub created: i64,
    pub metadata: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt_email: Option<String>,
    pub automatic_methods: bool,
}

/// Where an intent stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Standing {
    pub status: IntentStatus,
    /// Detached by a decline, as Stripe does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_method: Option<Arc<str>>,
    /// What the payment method does once the buyer or the bank is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charge: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Arc<Failure>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canceled_at: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancellation_reason: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub captured: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub refunded: i64,
    /// How long the requests that changed it were made to wait for their answers.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub waited_ms: i64,
}

/// Why the last attempt at paying failed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub code: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decline_code: Option<String>,
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_method: Option<String>,
}

/// A payment intent's status, in Stripe's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IntentStatus {
    /// It has no payment method, or lost it to a decline.
    RequiresPaymentMethod,
    /// Created, not confirmed.
    RequiresConfirmation,
    /// The buyer must authenticate.
    RequiresAction,
    /// The bank is at it.
    Processing,
    /// Captured.
    Succeeded,
    /// Never to be paid.
    Canceled,
}

impl IntentStatus {
    /// As Stripe writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            IntentStatus::RequiresPaymentMethod => "requires_payment_method",
            IntentStatus::RequiresConfirmation => "requires_confirmation",
            IntentStatus::RequiresAction => "requires_action",
            IntentStatus::Processing => "processing",
            IntentStatus::Succeeded => "succeeded",
            IntentStatus::Canceled => "canceled",
        }
    }
}

/// A refund. The sandbox's refunds succeed at once, and fail when they are told to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Refund {
    pub id: String,
    pub intent: String,
    pub charge: String,
    pub amount: i64,
    pub currency: String,
    pub created: i64,
    pub metadata: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    pub status: RefundStatus,
}

/// A refund's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefundStatus {
    /// The money is on its way back.
    Succeeded,
    /// The buyer's bank did not take it.
    Failed,
}

impl RefundStatus {
    /// As Stripe writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            RefundStatus::Succeeded => "succeeded",
            RefundStatus::Failed => "failed",
        }
    }
}

/// The answer stored under an idempotency key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Stored {
    pub fingerprint: u64,
    pub at: i64,
    pub status: u16,
    pub body: StoredBody,
}

/// An intent is kept as what it was then, which is small, instead of its JSON, which is not.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StoredBody {
    Intent(Intent),
    Json(Arc<str>),
}

fn is_zero(value: &i64) -> bool {
    *value == 0
}
