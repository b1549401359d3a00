//! What every way in which a call to Stripe can fail means. The one place that decides it.
//!
//! Sources: Stripe's pages on error types and codes, decline codes, idempotent requests and low-level error handling.
//! There, a 500's outcome is indeterminate, and so is a connection that broke; a 409 means that the same request is being
//! worked on; a 429 and what is refused with a 4xx was not done.

use serde_json::{Value, json};
use stripe_shared::ApiErrors;
use stripe_shared::api_errors::{ApiErrorsCode, ApiErrorsType};

use crate::typed::Failure;

/// Why a call did not bring what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No connection came about, so nothing was sent.
    #[error("cannot connect to the payment provider: {0}")]
    NotSent(String),
    /// No answer in time.
    #[error("the payment provider did not answer in time")]
    TimedOut,
    /// The connection broke after the request was, perhaps in part, sent.
    #[error("the connection to the payment provider broke: {0}")]
    Cut(String),
    /// Stripe said no.
    #[error("the payment provider answered with {status} {}: {}", code(error), error.message.as_deref().unwrap_or("no message"))]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Stripe's error.
        error: Box<ApiErrors>,
    },
    /// An answer that is not in Stripe's words.
    #[error("the payment provider's answer ({status}) makes no sense: {message}")]
    Unreadable {
        /// The HTTP status.
        status: u16,
        /// Its beginning, or what is wrong with it.
        message: String,
    },
    /// The request could not even be made.
    #[error("not a possible request: {0}")]
    Request(String),
}

/// What that means.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It was not done, and may be another time.
    Retryable {
        /// One of [`super::contract::CODES`].
        code: &'static str,
        /// For people.
        message: String,
        /// What Stripe said in detail.
        details: Value,
    },
    /// It was not done, and would not be another time.
    Permanent {
        /// One of [`super::contract::CODES`].
        code: &'static str,
        /// For people.
        message: String,
        /// What Stripe said in detail.
        details: Value,
    },
    /// Nobody can tell whether it was done.
    Unknown {
        /// For people.
        message: String,
    },
    /// It was not done because the object is in another state than expected; look at it.
    OtherState,
}

impl Verdict {
    /// As an activity reports it. [`Verdict::OtherState`] becomes unknown: whoever gets it should have looked.
    pub fn into_failure(self) -> Failure {
        match self {
            Verdict::Retryable { code, message, details } => Failure::Failed {
                code,
                message,
                retryable: true,
                details,
            },
            Verdict::Permanent { code, message, details } => Failure::Failed {
                code,
                message,
                retryable: false,
                details,
            },
            Verdict::Unknown { message } => Failure::Unknown { message },
            Verdict::OtherState => Failure::Unknown {
                message: "the payment is in an unexpected state".to_owned(),
            },
        }
    }
}

/// What a failed call means.
pub fn classify(error: &CallError) -> Verdict {
    let message = error.to_string();
    let retryable = |code, message| Verdict::Retryable {
        code,
        message,
        details: Value::Null,
    };
    match error {
        CallError::NotSent(_) => retryable("provider_unavailable", message),
        CallError::TimedOut | CallError::Cut(_) => Verdict::Unknown { message },
        CallError::Unreadable { status: 429, .. } => retryable("rate_limited", message),
        // Something between us and Stripe; who knows what it passed on.
        CallError::Unreadable { .. } => Verdict::Unknown { message },
        CallError::Request(_) => Verdict::Permanent {
            code: "invalid_request",
            message,
            details: Value::Null,
        },
        CallError::Refused { status, error } => refused(*status, error, message),
    }
}

fn refused(status: u16, error: &ApiErrors, message: String) -> Verdict {
    let details = details(error);
    match (status, &error.type_) {
        // The same request is being worked on; or ours came in the way of another one, and may have been cut short.
        (409, _) => Verdict::Unknown { message },
        (429, _) => Verdict::Retryable {
            code: "rate_limited",
            message,
            details,
        },
        (500.., _) => Verdict::Unknown { message },
        // A wrong or revoked key: nothing was done, and an operator can mend it.
        (401 | 403, _) => Verdict::Retryable {
            code: "provider_error",
            message,
            details,
        },
        (_, ApiErrorsType::CardError) => declined(error),
        (_, ApiErrorsType::InvalidRequestError) => invalid(error, message, details),
        // This key was used for something else: our mistake, nothing was done.
        (_, ApiErrorsType::IdempotencyError) => Verdict::Permanent {
            code: "invalid_request",
            message,
            details,
        },
        (_, ApiErrorsType::ApiError) => Verdict::Unknown { message },
        // Types that are yet to come.
        (_, _) => Verdict::Unknown { message },
    }
}

fn invalid(error: &ApiErrors, message: String, details: Value) -> Verdict {
    use ApiErrorsCode as Code;
    let permanent = |code| Verdict::Permanent {
        code,
        message: message.clone(),
        details: details.clone(),
    };
    match &error.code {
        Some(
            Code::PaymentIntentUnexpectedState
            | Code::IntentInvalidState
            | Code::StatusTransitionInvalid
            | Code::ChargeAlreadyRefunded
            | Code::ChargeAlreadyCaptured,
        ) => Verdict::OtherState,
        Some(Code::LockTimeout | Code::RateLimit | Code::PaymentIntentRateLimitExceeded) => Verdict::Retryable {
            code: "rate_limited",
            message,
            details,
        },
        Some(Code::ResourceMissing) if error.param.as_deref() == Some("payment_method") => {
            permanent("invalid_payment_method")
        }
        Some(
            Code::PaymentMethodUnactivated
            | Code::PaymentMethodUnexpectedState
            | Code::PaymentMethodUnsupportedType
            | Code::PaymentMethodNotAvailable
            | Code::PaymentMethodInvalidParameter
            | Code::PaymentMethodInvalidParameterTestmode
            | Code::PaymentMethodRestricted
            | Code::PaymentMethodCurrencyMismatch
            | Code::PaymentIntentIncompatiblePaymentMethod
            | Code::ExpiredPaymentMethod
            | Code::TokenAlreadyUsed,
        ) => permanent("invalid_payment_method"),
        Some(
            Code::AuthenticationRequired | Code::PaymentIntentAuthenticationFailure | Code::PaymentIntentActionRequired,
        ) => permanent("authentication_required"),
        Some(Code::RefundDisputedPayment | Code::ChargeDisputed | Code::ChargeNotRefundable) => {
            permanent("refund_failed")
        }
        // The account's balance does not cover a refund; it will when more tickets are sold.
        Some(Code::BalanceInsufficient) => Verdict::Retryable {
            code: "refund_failed",
            message,
            details,
        },
        Some(_) | None => permanent("invalid_request"),
    }
}

/// What a card's decline means, whether it is a call's error or an intent's `last_payment_error`.
pub fn declined(error: &ApiErrors) -> Verdict {
    let message = error
        .message
        .clone()
        .unwrap_or_else(|| "the card was declined".to_owned());
    let details = details(error);
    let (code, retryable) = decline(error);
    // The issuer's own advice goes above the reason.
    let retryable = match error.advice_code.as_deref() {
        Some("do_not_try_again" | "confirm_card_data") => false,
        Some("try_again_later") => true,
        Some(_) | None => retryable,
    };
    if retryable {
        Verdict::Retryable { code, message, details }
    } else {
        Verdict::Permanent { code, message, details }
    }
}

/// The code for a decline, and whether it is worth another attempt with the same card.
fn decline(error: &ApiErrors) -> (&'static str, bool) {
    match error.decline_code.as_deref() {
        Some(
            "processing_error" | "issuer_not_available" | "reenter_transaction" | "try_again_later" | "approve_with_id",
        ) => ("processing_error", true),
        Some("insufficient_funds" | "withdrawal_count_limit_exceeded") => ("insufficient_funds", false),
        Some("expired_card") => ("expired_card", false),
        Some(
            "fraudulent" | "lost_card" | "stolen_card" | "pickup_card" | "merchant_blacklist" | "restricted_card"
            | "security_violation" | "highest_risk_level",
        ) => ("fraudulent", false),
        Some(
            "authentication_required"
            | "authentication_not_handled"
            | "offline_pin_required"
            | "online_or_offline_pin_required",
        ) => ("authentication_required", false),
        Some(
            "incorrect_cvc"
            | "invalid_cvc"
            | "incorrect_number"
            | "invalid_number"
            | "invalid_expiry_month"
            | "invalid_expiry_year"
            | "incorrect_zip"
            | "incorrect_address"
            | "incorrect_pin"
            | "invalid_pin"
            | "invalid_account"
            | "new_account_information_available"
            | "card_not_supported"
            | "currency_not_supported",
        ) => ("invalid_payment_method", false),
        // Whatever else an issuer may say, and the many ways of saying nothing: generic_decline, do_not_honor, ….
        Some(_) => ("card_declined", false),
        None => by_code(error),
    }
}

fn by_code(error: &ApiErrors) -> (&'static str, bool) {
    use ApiErrorsCode as Code;
    match &error.code {
        Some(Code::ProcessingError | Code::PaymentMethodProviderTimeout) => ("processing_error", true),
        Some(Code::InsufficientFunds) => ("insufficient_funds", false),
        Some(Code::ExpiredCard | Code::ExpiredPaymentMethod) => ("expired_card", false),
        Some(Code::AuthenticationRequired | Code::PaymentIntentAuthenticationFailure | Code::AuthenticationFailure) => {
            ("authentication_required", false)
        }
        Some(
            Code::IncorrectCvc
            | Code::InvalidCvc
            | Code::IncorrectNumber
            | Code::InvalidNumber
            | Code::InvalidExpiryMonth
            | Code::InvalidExpiryYear
            | Code::IncorrectZip
            | Code::IncorrectAddress
            | Code::InvalidCardType,
        ) => ("invalid_payment_method", false),
        Some(_) | None => ("card_declined", false),
    }
}

fn details(error: &ApiErrors) -> Value {
    json!({
        "type": error.type_.as_str(),
        "code": error.code.as_ref().map(ApiErrorsCode::as_str),
        "declineCode": error.decline_code,
        "adviceCode": error.advice_code,
        "param": error.param,
    })
}

fn code(error: &ApiErrors) -> &str {
    error
        .code
        .as_ref()
        .map_or_else(|| error.type_.as_str(), ApiErrorsCode::as_str)
}

#[cfg(test)]
mod tests;
