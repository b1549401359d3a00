//! The payment methods the sandbox knows: Stripe's test ones, and a few of its own for faults that Stripe cannot be
//! asked for.

/// What confirming a payment with a method leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// The money is captured.
    Succeeds,
    /// The money is captured, and the buyer disputes that at once.
    Disputed,
    /// The card is declined.
    Declines(Decline),
    /// The buyer must authenticate first (`POST /_sandbox/payment_intents/{id}/complete`), then this happens.
    NeedsAction(Option<Decline>),
    /// The bank takes its time ([`crate::Switches::processing_ms`]), then this happens.
    Processes(Option<Decline>),
    /// The first payment of a booking (`metadata[bookingId]`) is declined with `processing_error`, later ones succeed.
    DeclinesOnce,
    /// 429, always, and nothing done.
    RateLimited,
    /// Captured, then answered with a 500.
    CapturedButServerError,
    /// Captured, and never answered.
    CapturedButTimesOut,
    /// Captured, and the connection cut instead of an answer.
    CapturedButCut,
}

/// A decline in Stripe's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decline {
    /// The error's code.
    pub code: &'static str,
    /// The issuer's reason.
    pub decline_code: Option<&'static str>,
    /// For people.
    pub message: &'static str,
}

const fn declined(decline_code: &'static str, message: &'static str) -> Decline {
    Decline {
        code: "card_declined",
        decline_code: Some(decline_code),
        message,
    }
}

/// Declined without a reason given.
pub const GENERIC: Decline = declined("generic_decline", "Your card was declined.");
const INSUFFICIENT_FUNDS: Decline = declined("insufficient_funds", "Your card has insufficient funds.");
const LOST: Decline = declined("lost_card", "Your card was declined.");
const STOLEN: Decline = declined("stolen_card", "Your card was declined.");
const FRAUDULENT: Decline = declined("fraudulent", "Your card was declined.");
const VELOCITY: Decline = declined(
    "card_velocity_exceeded",
    "Your card was declined for making repeated attempts too frequently.",
);
const TRY_AGAIN: Decline = declined("try_again_later", "Your card was declined. Try again in a little bit.");
const NOT_AUTHENTICATED: Decline = Decline {
    code: "payment_intent_authentication_failure",
    decline_code: None,
    message: "We are unable to authenticate your payment method.",
};
const EXPIRED: Decline = Decline {
    code: "expired_card",
    decline_code: Some("expired_card"),
    message: "Your card has expired.",
};
const INCORRECT_CVC: Decline = Decline {
    code: "incorrect_cvc",
    decline_code: Some("incorrect_cvc"),
    message: "Your card's security code is incorrect.",
};
const PROCESSING: Decline = Decline {
    code: "processing_error",
    decline_code: Some("processing_error"),
    message: "An error occurred while processing your card. Try again in a little bit.",
};

impl Decline {
    /// What [`Behaviour::DeclinesOnce`] declines with.
    pub const ONCE: Decline = PROCESSING;
    /// What a refused authentication leads to.
    pub const NOT_AUTHENTICATED: Decline = NOT_AUTHENTICATED;
}

/// Cards that succeed.
pub const SUCCEEDING: &[&str] = &[
    "pm_card_visa",
    "pm_card_visa_debit",
    "pm_card_mastercard",
    "pm_card_mastercard_debit",
    "pm_card_mastercard_prepaid",
    "pm_card_amex",
    "pm_card_discover",
    "pm_card_diners",
    "pm_card_jcb",
    "pm_card_unionpay",
    "pm_card_us",
    "pm_card_bypassPending",
];

/// Everything else.
pub const SPECIAL: &[(&str, Behaviour)] = &[
    ("pm_card_createDispute", Behaviour::Disputed),
    ("pm_card_chargeDeclined", Behaviour::Declines(GENERIC)),
    ("pm_card_visa_chargeDeclined", Behaviour::Declines(GENERIC)),
    ("pm_card_chargeCustomerFail", Behaviour::Declines(GENERIC)),
    (
        "pm_card_chargeDeclinedInsufficientFunds",
        Behaviour::Declines(INSUFFICIENT_FUNDS),
    ),
    (
        "pm_card_visa_chargeDeclinedInsufficientFunds",
        Behaviour::Declines(INSUFFICIENT_FUNDS),
    ),
    ("pm_card_chargeDeclinedLostCard", Behaviour::Declines(LOST)),
    ("pm_card_visa_chargeDeclinedLostCard", Behaviour::Declines(LOST)),
    ("pm_card_chargeDeclinedStolenCard", Behaviour::Declines(STOLEN)),
    ("pm_card_visa_chargeDeclinedStolenCard", Behaviour::Declines(STOLEN)),
    ("pm_card_chargeDeclinedFraudulent", Behaviour::Declines(FRAUDULENT)),
    ("pm_card_radarBlock", Behaviour::Declines(FRAUDULENT)),
    (
        "pm_card_chargeDeclinedVelocityLimitExceeded",
        Behaviour::Declines(VELOCITY),
    ),
    (
        "pm_card_visa_chargeDeclinedVelocityLimitExceeded",
        Behaviour::Declines(VELOCITY),
    ),
    ("pm_card_chargeDeclinedExpiredCard", Behaviour::Declines(EXPIRED)),
    ("pm_card_chargeDeclinedIncorrectCvc", Behaviour::Declines(INCORRECT_CVC)),
    ("pm_card_chargeDeclinedProcessingError", Behaviour::Declines(PROCESSING)),
    ("pm_card_authenticationRequired", Behaviour::NeedsAction(None)),
    ("pm_card_threeDSecure2Required", Behaviour::NeedsAction(None)),
    (
        "pm_card_authenticationRequiredChargeDeclinedInsufficientFunds",
        Behaviour::NeedsAction(Some(INSUFFICIENT_FUNDS)),
    ),
    ("pm_sandbox_processing", Behaviour::Processes(None)),
    (
        "pm_sandbox_processingFails",
        Behaviour::Processes(Some(INSUFFICIENT_FUNDS)),
    ),
    ("pm_sandbox_tryAgainLater", Behaviour::Declines(TRY_AGAIN)),
    ("pm_sandbox_flaky", Behaviour::DeclinesOnce),
    ("pm_sandbox_rateLimited", Behaviour::RateLimited),
    ("pm_sandbox_serverError", Behaviour::CapturedButServerError),
    ("pm_sandbox_timeout", Behaviour::CapturedButTimesOut),
    ("pm_sandbox_lostAnswer", Behaviour::CapturedButCut),
];

/// What a payment method does; none: there is no such method.
pub fn behaviour(payment_method: &str) -> Option<Behaviour> {
    if SUCCEEDING.contains(&payment_method) {
        return Some(Behaviour::Succeeds);
    }
    SPECIAL
        .iter()
        .find(|(name, _)| *name == payment_method)
        .map(|(_, behaviour)| *behaviour)
}
