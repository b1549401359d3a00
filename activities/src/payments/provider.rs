//! The calls to Stripe that payments are made of, as async-stripe's typed requests.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use stripe_client_core::{IdempotencyKey, RequestStrategy, StripeRequest};
use stripe_core::dispute::RetrieveDispute;
use stripe_core::payment_intent::{
    CancelPaymentIntent, ConfirmPaymentIntent, CreatePaymentIntent, CreatePaymentIntentAutomaticPaymentMethods,
    CreatePaymentIntentAutomaticPaymentMethodsAllowRedirects, ListPaymentIntent, RetrievePaymentIntent,
    SearchPaymentIntent,
};
use stripe_core::refund::{CreateRefund, CreateRefundReason, ListRefund, RetrieveRefund};
use stripe_shared::{Dispute, PaymentIntent, Refund};
use stripe_types::{Currency, RangeBoundsTs, RangeQueryTs};

use super::PaymentsConfig;
use super::classify::CallError;
use super::contract::PaymentInput;
use super::transport::{ConfigError, Transport};

/// Refunds of one payment that are looked at; ours makes one, people a few.
const REFUNDS_MAX: i64 = 100;

/// Objects on a page of a list: Stripe's limit.
const PAGE: i64 = 100;

/// Stripe, as far as payments need it.
#[derive(Clone)]
pub struct Provider {
    transport: Transport,
}

impl Provider {
    /// As configured.
    ///
    /// # Errors
    /// If the base URL or the key can't be used.
    pub fn new(config: &PaymentsConfig) -> Result<Self, ConfigError> {
        Ok(Provider {
            transport: Transport::new(config)?,
        })
    }

    /// Makes an unconfirmed intent, or gives the one that was made under this key before.
    pub async fn create(&self, input: &PaymentInput, key: &str) -> Result<PaymentIntent, CallError> {
        create_request(input, key)?
            .customize()
            .request_strategy(strategy(key)?)
            .send(&self.transport)
            .await
    }

    /// Pays an intent.
    pub async fn confirm(&self, intent: &str, key: &str) -> Result<PaymentIntent, CallError> {
        let request = ConfirmPaymentIntent::new(intent).customize();
        request
            .request_strategy(strategy(&format!("{key}/confirm"))?)
            .send(&self.transport)
            .await
    }

    /// Where an intent stands.
    pub async fn retrieve(&self, intent: &str) -> Result<PaymentIntent, CallError> {
        RetrievePaymentIntent::new(intent)
            .customize()
            .send(&self.transport)
            .await
    }

    /// Makes certain that an intent is never paid. Without a key: it is idempotent by nature, and an error that was
    /// stored under a key would stand in the way of trying again.
    pub async fn cancel(&self, intent: &str) -> Result<PaymentIntent, CallError> {
        CancelPaymentIntent::new(intent).customize().send(&self.transport).await
    }

    /// The intent that carries this key in its metadata.
    pub async fn find(&self, key: &str) -> Result<Option<PaymentIntent>, CallError> {
        let quoted = key.replace('\\', "\\\\").replace('\'', "\\'");
        let request = SearchPaymentIntent::new(format!("metadata['key']:'{quoted}'")).limit(1);
        let found = request.customize().send(&self.transport).await?;
        Ok(found.data.into_iter().next())
    }

    /// Refunds what is left of a payment.
    pub async fn refund(&self, intent: &str, input: &PaymentInput, key: &str) -> Result<Refund, CallError> {
        let request = refund_request(intent, input, key).customize();
        request.request_strategy(strategy(key)?).send(&self.transport).await
    }

    /// Refunds a part of a payment. What carries this refund's id has been given back by it.
    pub async fn refund_part(&self, intent: &str, part: &Part<'_>, key: &str) -> Result<Refund, CallError> {
        let request = part_request(intent, part).customize();
        request.request_strategy(strategy(key)?).send(&self.transport).await
    }

    /// A page of the payments that were begun from … until …, latest first, and whether there are more behind it.
    pub async fn payments_between(
        &self,
        from: DateTime<Utc>,
        until: DateTime<Utc>,
        after: Option<&str>,
    ) -> Result<(Vec<PaymentIntent>, bool), CallError> {
        let mut request = ListPaymentIntent::new().created(between(from, until)).limit(PAGE);
        if let Some(after) = after {
            request = request.starting_after(after);
        }
        let page = request.customize().send(&self.transport).await?;
        Ok((page.data, page.has_more))
    }

    /// The same of refunds.
    pub async fn refunds_between(
        &self,
        from: DateTime<Utc>,
        until: DateTime<Utc>,
        after: Option<&str>,
    ) -> Result<(Vec<Refund>, bool), CallError> {
        let mut request = ListRefund::new().created(between(from, until)).limit(PAGE);
        if let Some(after) = after {
            request = request.starting_after(after);
        }
        let page = request.customize().send(&self.transport).await?;
        Ok((page.data, page.has_more))
    }

    /// One refund.
    pub async fn retrieve_refund(&self, refund: &str) -> Result<Refund, CallError> {
        RetrieveRefund::new(refund).customize().send(&self.transport).await
    }

    /// One dispute.
    pub async fn retrieve_dispute(&self, dispute: &str) -> Result<Dispute, CallError> {
        RetrieveDispute::new(dispute).customize().send(&self.transport).await
    }

    /// A payment's refunds, latest first.
    pub async fn refunds(&self, intent: &str) -> Result<Vec<Refund>, CallError> {
        let request = ListRefund::new().payment_intent(intent).limit(REFUNDS_MAX);
        Ok(request.customize().send(&self.transport).await?.data)
    }
}

fn between(from: DateTime<Utc>, until: DateTime<Utc>) -> RangeQueryTs {
    RangeQueryTs::Bounds(RangeBoundsTs {
        gt: None,
        gte: Some(from.timestamp()),
        lt: Some(until.timestamp()),
        lte: None,
    })
}

fn create_request(input: &PaymentInput, key: &str) -> Result<CreatePaymentIntent, CallError> {
    let Ok(currency) = input.currency.parse::<Currency>();
    let methods = CreatePaymentIntentAutomaticPaymentMethods {
        // Cards only need no page to come back to.
        allow_redirects: Some(CreatePaymentIntentAutomaticPaymentMethodsAllowRedirects::Never),
        enabled: true,
    };
    Ok(CreatePaymentIntent::new(input.amount_cents, currency)
        .automatic_payment_methods(methods)
        .payment_method(input.payment_method.as_str())
        .metadata(metadata(input, key)))
}

fn refund_request(intent: &str, input: &PaymentInput, key: &str) -> CreateRefund {
    CreateRefund::new()
        .payment_intent(intent)
        .reason(CreateRefundReason::RequestedByCustomer)
        .metadata(metadata(input, key))
}

/// A part of a payment that goes back.
pub struct Part<'a> {
    /// The refund.
    pub refund_id: uuid::Uuid,
    /// The booking.
    pub booking_id: uuid::Uuid,
    /// The event.
    pub event_id: &'a str,
    /// How much, in minor units.
    pub amount_cents: i64,
}

/// The name under which a refund carries our id for it.
pub(super) const REFUND_ID: &str = "refundId";

fn part_request(intent: &str, part: &Part<'_>) -> CreateRefund {
    let metadata = HashMap::from([
        ("bookingId".to_owned(), part.booking_id.to_string()),
        ("eventId".to_owned(), part.event_id.to_owned()),
        (REFUND_ID.to_owned(), part.refund_id.to_string()),
    ]);
    CreateRefund::new()
        .payment_intent(intent)
        .amount(part.amount_cents)
        .reason(CreateRefundReason::RequestedByCustomer)
        .metadata(metadata)
}

fn metadata(input: &PaymentInput, key: &str) -> HashMap<String, String> {
    HashMap::from([
        ("bookingId".to_owned(), input.booking_id.to_string()),
        ("eventId".to_owned(), input.event_id.clone()),
        ("key".to_owned(), key.to_owned()),
    ])
}

fn strategy(key: &str) -> Result<RequestStrategy, CallError> {
    let key = IdempotencyKey::new(key).map_err(|error| CallError::Request(error.to_string()))?;
    Ok(RequestStrategy::Idempotent(key))
}
