//! One line for each way a call can end.

use super::*;

fn refused(status: u16, kind: &str, code: &str, decline_code: &str, more: &str) -> CallError {
    let field = |name: &str, value: &str| match value {
        "" => String::new(),
        value => format!(r#""{name}": "{value}","#),
    };
    let (code, decline_code) = (field("code", code), field("decline_code", decline_code));
    let json = format!(r#"{{"error": {{{code} {decline_code} {more} "type": "{kind}"}}}}"#);
    let answer: stripe_shared::Error =
        miniserde::json::from_str(&json).unwrap_or_else(|_| panic!("not Stripe's: {json}"));
    CallError::Refused {
        status,
        error: answer.error,
    }
}

/// `retry code`, `never code`, `unknown` or `look`.
fn say(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Retryable { code, .. } => format!("retry {code}"),
        Verdict::Permanent { code, .. } => format!("never {code}"),
        Verdict::Unknown { .. } => "unknown".to_owned(),
        Verdict::OtherState => "look".to_owned(),
    }
}

#[test]
fn what_comes_of_the_connection() {
    let table = [
        (
            CallError::NotSent("connection refused".into()),
            "retry provider_unavailable",
        ),
        (CallError::TimedOut, "unknown"),
        (CallError::Cut("reset".into()), "unknown"),
        (CallError::Request("bad header".into()), "never invalid_request"),
        (
            CallError::Unreadable {
                status: 200,
                message: "{".into(),
            },
            "unknown",
        ),
        (
            CallError::Unreadable {
                status: 404,
                message: "<html>".into(),
            },
            "unknown",
        ),
        (
            CallError::Unreadable {
                status: 429,
                message: "slow down".into(),
            },
            "retry rate_limited",
        ),
        (
            CallError::Unreadable {
                status: 502,
                message: "<html>".into(),
            },
            "unknown",
        ),
        (
            CallError::Unreadable {
                status: 504,
                message: "".into(),
            },
            "unknown",
        ),
    ];
    for (error, expected) in table {
        assert_eq!(say(&classify(&error)), expected, "{error}");
    }
}

#[test]
fn what_stripe_says() {
    const INVALID: &str = "invalid_request_error";
    const METHOD: &str = r#""param": "payment_method","#;
    // status, type, code, more → what it means
    let table = [
        (400, INVALID, "parameter_missing", "", "never invalid_request"),
        (400, INVALID, "parameter_unknown", "", "never invalid_request"),
        (400, INVALID, "amount_too_small", "", "never invalid_request"),
        (400, INVALID, "amount_too_large", "", "never invalid_request"),
        (400, INVALID, "", "", "never invalid_request"),
        (400, INVALID, "a_code_yet_to_come", "", "never invalid_request"),
        (400, INVALID, "resource_missing", METHOD, "never invalid_payment_method"),
        (
            404,
            INVALID,
            "resource_missing",
            r#""param": "intent","#,
            "never invalid_request",
        ),
        (
            400,
            INVALID,
            "payment_method_unactivated",
            "",
            "never invalid_payment_method",
        ),
        (
            400,
            INVALID,
            "payment_method_unexpected_state",
            "",
            "never invalid_payment_method",
        ),
        (
            400,
            INVALID,
            "payment_method_unsupported_type",
            "",
            "never invalid_payment_method",
        ),
        (
            400,
            INVALID,
            "payment_method_not_available",
            "",
            "never invalid_payment_method",
        ),
        (
            400,
            INVALID,
            "payment_method_invalid_parameter",
            "",
            "never invalid_payment_method",
        ),
        (
            400,
            INVALID,
            "payment_method_restricted",
            "",
            "never invalid_payment_method",
        ),
        (
            400,
            INVALID,
            "payment_method_currency_mismatch",
            "",
            "never invalid_payment_method",
        ),
        (
            400,
            INVALID,
            "payment_intent_incompatible_payment_method",
            "",
            "never invalid_payment_method",
        ),
        (400, INVALID, "token_already_used", "", "never invalid_payment_method"),
        (
            400,
            INVALID,
            "authentication_required",
            "",
            "never authentication_required",
        ),
        (
            400,
            INVALID,
            "payment_intent_authentication_failure",
            "",
            "never authentication_required",
        ),
        (
            400,
            INVALID,
            "payment_intent_action_required",
            "",
            "never authentication_required",
        ),
        (400, INVALID, "payment_intent_unexpected_state", "", "look"),
        (400, INVALID, "intent_invalid_state", "", "look"),
        (400, INVALID, "status_transition_invalid", "", "look"),
        (400, INVALID, "charge_already_refunded", "", "look"),
        (400, INVALID, "charge_already_captured", "", "look"),
        (400, INVALID, "charge_disputed", "", "never refund_failed"),
        (400, INVALID, "refund_disputed_payment", "", "never refund_failed"),
        (400, INVALID, "charge_not_refundable", "", "never refund_failed"),
        (400, INVALID, "balance_insufficient", "", "retry refund_failed"),
        (400, INVALID, "lock_timeout", "", "retry rate_limited"),
        (400, INVALID, "rate_limit", "", "retry rate_limited"),
        (
            400,
            INVALID,
            "payment_intent_rate_limit_exceeded",
            "",
            "retry rate_limited",
        ),
        (401, INVALID, "", "", "retry provider_error"),
        (403, INVALID, "secret_key_required", "", "retry provider_error"),
        (409, "idempotency_error", "idempotency_key_in_use", "", "unknown"),
        (409, INVALID, "", "", "unknown"),
        (400, "idempotency_error", "", "", "never invalid_request"),
        (429, INVALID, "rate_limit", "", "retry rate_limited"),
        (429, INVALID, "lock_timeout", "", "retry rate_limited"),
        (
            429,
            "card_error",
            "card_decline_rate_limit_exceeded",
            "",
            "retry rate_limited",
        ),
        (400, "api_error", "", "", "unknown"),
        (400, "a_type_yet_to_come", "", "", "unknown"),
        (500, "api_error", "", "", "unknown"),
        (500, "card_error", "card_declined", "", "unknown"),
        (502, "api_error", "", "", "unknown"),
        (503, INVALID, "", "", "unknown"),
        (504, "api_error", "", "", "unknown"),
    ];
    for (status, kind, code, more, expected) in table {
        let error = refused(status, kind, code, "", more);
        assert_eq!(say(&classify(&error)), expected, "{status} {kind} {code} {more}");
    }
}

#[test]
fn what_the_issuer_says() {
    const TRY_LATER: &str = r#""advice_code": "try_again_later","#;
    const NEVER_AGAIN: &str = r#""advice_code": "do_not_try_again","#;
    const ASK_THE_BUYER: &str = r#""advice_code": "confirm_card_data","#;
    // code, decline code, advice → what it means
    let table = [
        ("card_declined", "generic_decline", "", "never card_declined"),
        ("card_declined", "do_not_honor", "", "never card_declined"),
        ("card_declined", "call_issuer", "", "never card_declined"),
        ("card_declined", "card_velocity_exceeded", "", "never card_declined"),
        ("card_declined", "transaction_not_allowed", "", "never card_declined"),
        ("card_declined", "a_reason_yet_to_come", "", "never card_declined"),
        ("card_declined", "", "", "never card_declined"),
        ("", "", "", "never card_declined"),
        ("card_declined", "insufficient_funds", "", "never insufficient_funds"),
        (
            "card_declined",
            "withdrawal_count_limit_exceeded",
            "",
            "never insufficient_funds",
        ),
        ("insufficient_funds", "", "", "never insufficient_funds"),
        ("expired_card", "expired_card", "", "never expired_card"),
        ("expired_card", "", "", "never expired_card"),
        ("card_declined", "fraudulent", "", "never fraudulent"),
        ("card_declined", "lost_card", "", "never fraudulent"),
        ("card_declined", "stolen_card", "", "never fraudulent"),
        ("card_declined", "pickup_card", "", "never fraudulent"),
        ("card_declined", "restricted_card", "", "never fraudulent"),
        ("card_declined", "security_violation", "", "never fraudulent"),
        ("card_declined", "merchant_blacklist", "", "never fraudulent"),
        ("card_declined", "highest_risk_level", "", "never fraudulent"),
        (
            "card_declined",
            "authentication_required",
            "",
            "never authentication_required",
        ),
        ("authentication_required", "", "", "never authentication_required"),
        (
            "payment_intent_authentication_failure",
            "",
            "",
            "never authentication_required",
        ),
        ("incorrect_cvc", "incorrect_cvc", "", "never invalid_payment_method"),
        ("incorrect_number", "", "", "never invalid_payment_method"),
        ("invalid_expiry_year", "", "", "never invalid_payment_method"),
        (
            "card_declined",
            "card_not_supported",
            "",
            "never invalid_payment_method",
        ),
        (
            "card_declined",
            "currency_not_supported",
            "",
            "never invalid_payment_method",
        ),
        ("processing_error", "processing_error", "", "retry processing_error"),
        ("processing_error", "", "", "retry processing_error"),
        ("card_declined", "issuer_not_available", "", "retry processing_error"),
        ("card_declined", "reenter_transaction", "", "retry processing_error"),
        ("card_declined", "try_again_later", "", "retry processing_error"),
        ("card_declined", "approve_with_id", "", "retry processing_error"),
        // The issuer's advice decides.
        ("card_declined", "generic_decline", TRY_LATER, "retry card_declined"),
        (
            "card_declined",
            "insufficient_funds",
            TRY_LATER,
            "retry insufficient_funds",
        ),
        (
            "card_declined",
            "try_again_later",
            NEVER_AGAIN,
            "never processing_error",
        ),
        (
            "card_declined",
            "issuer_not_available",
            ASK_THE_BUYER,
            "never processing_error",
        ),
    ];
    for (code, decline_code, advice, expected) in table {
        let error = refused(402, "card_error", code, decline_code, advice);
        assert_eq!(say(&classify(&error)), expected, "{code} {decline_code} {advice}");
    }
}

#[test]
fn every_verdicts_code_is_announced() {
    let kinds = ["card_error", "invalid_request_error", "api_error", "idempotency_error"];
    for status in [400, 401, 402, 403, 404, 409, 429, 500] {
        for kind in kinds {
            match classify(&refused(status, kind, "", "", "")).into_failure() {
                Failure::Failed { code, .. } => assert!(super::super::contract::CODES.contains(&code), "{code}"),
                Failure::Unknown { .. } | Failure::Pending { .. } => {}
            }
        }
    }
}
