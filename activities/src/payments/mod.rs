//! Taking and returning money through Stripe: `payments.charge`, its probe `payments.lookup`, its fence
//! `payments.cancel` and its compensation `payments.refund`.
//!
//! A charge is two calls: create an unconfirmed payment intent under the task's idempotency key, then confirm that
//! intent. An intent can be paid once, whatever happens; what must be ruled out is a second intent for the same booking.
//!
//! **The fence.** The row of `ticketing.payments` is written around the calls. A confirmation is sent only after the row
//! says `confirming`. So whoever gives up on a payment first tries to close the row: while it is still `new`, that
//! alone makes certain that nobody will ever confirm, without a word to Stripe, which may be down. Once it is `confirming`,
//! the intent itself is cancelled at Stripe: then no late confirmation can succeed, and if it had been paid, Stripe says so.
//!
//! **Failed means never.** A definite failure lets the engine charge again under a new key, so it is only reported when
//! this key's intent can no longer be paid: declined (Stripe detaches the payment method), cancelled, or never to be confirmed.
//! The exceptions are [`contract::SAME_KEY_CODES`], after which the engine goes on with the same key.
//!
//! **Past the key's lifetime** (24 hours) Stripe would take the same request for a new one. The row knows the intent's
//! id, so it is looked up by that; where there is no row any more, by its metadata ([`PaymentsConfig::key_lifetime`]).
//!
//! **Given back by parts.** `payments.give_back` is the refunds' of confirmed bookings, on a queue of their own: an event that is called off
//! must not stand in the way of those who pay.
//!
//! **The ledger** is written by the same statement as the row that says so, for all payments that are made at that moment ([`gathered`]).
//!
//! No transaction is open across a call to Stripe.

pub mod classify;
pub mod contract;
pub mod provider;
pub mod transport;

mod charge;
mod dispute;
mod gathered;
mod give_back;
mod reconcile;
mod refund;
mod settle;
mod store;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use sqlx::PgPool;
use stripe_shared::{PaymentIntent, PaymentIntentStatus};

use crate::activity::{Registry, TaskContext};
use crate::seats::store::returns::RefundKey;
use crate::typed::{Failure, Typed};
use classify::{CallError, Verdict};
use contract::{CODES, Charged, PaymentInput};
use gathered::Gathered;
use provider::Provider;
use store::refunds::Given;
use store::{Payment, Status, StoreError};

pub use transport::ConfigError;

/// The queue of the payment activities.
pub const QUEUE: &str = "payments";
/// The queue of the activities that give money back for confirmed bookings.
pub const REFUNDS_QUEUE: &str = "refunds";
/// How long until a payment that waits for a bank or a buyer is looked at again; a webhook usually comes first.
const PENDING_CHECK_AFTER: Duration = Duration::from_secs(10);

/// How to reach Stripe.
#[derive(Clone)]
pub struct PaymentsConfig {
    /// The secret key.
    pub api_key: String,
    /// Stripe's or the sandbox's, e.g. `https://api.stripe.com`.
    pub base_url: String,
    /// How long one call may take; past it its outcome is unknown.
    pub timeout: Duration,
    /// How long connecting may take; past it nothing was sent.
    pub connect_timeout: Duration,
    /// How long Stripe remembers an idempotency key: 24 hours, less a margin.
    pub key_lifetime: Duration,
}

impl PaymentsConfig {
    /// Stripe or a sandbox at `base_url`.
    pub fn new(api_key: impl Into<String>, base_url: impl Into<String>) -> Self {
        PaymentsConfig {
            api_key: api_key.into(),
            base_url: base_url.into(),
            // Stripe's own client libraries wait longer, but a buyer is watching, and an unknown outcome is looked up.
            timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(3),
            key_lifetime: Duration::from_secs(23 * 60 * 60),
        }
    }
}

impl std::fmt::Debug for PaymentsConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PaymentsConfig")
            .field("api_key", &"[redacted]")
            .field("base_url", &self.base_url)
            .field("timeout", &self.timeout)
            .field("connect_timeout", &self.connect_timeout)
            .field("key_lifetime", &self.key_lifetime)
            .finish()
    }
}

/// Registers `payments.charge`, `payments.lookup`, `payments.cancel` and `payments.refund`.
///
/// # Errors
/// If the base URL or the key can't be used.
pub fn register_payments(registry: &mut Registry, config: PaymentsConfig, pool: PgPool) -> Result<(), ConfigError> {
    let core = Arc::new(Payments::new(&config, pool)?);
    registry
        .single(QUEUE, Arc::new(Typed(charge::Charge(core.clone()))))
        .single(QUEUE, Arc::new(Typed(settle::Lookup(core.clone()))))
        .single(QUEUE, Arc::new(Typed(settle::Cancel(core.clone()))))
        .single(QUEUE, Arc::new(Typed(refund::Refund(core))));
    Ok(())
}

/// Registers `payments.give_back`, `payments.reconcile`, `payments.check_difference`, `payments.note_dispute` and `payments.check_dispute`.
///
/// # Errors
/// If the base URL or the key can't be used.
pub fn register_refunds(registry: &mut Registry, config: PaymentsConfig, pool: PgPool) -> Result<(), ConfigError> {
    let core = Arc::new(Payments::new(&config, pool)?);
    registry
        .single(REFUNDS_QUEUE, Arc::new(Typed(give_back::GiveBack(core.clone()))))
        .single(REFUNDS_QUEUE, Arc::new(Typed(reconcile::Reconcile(core.clone()))))
        .single(REFUNDS_QUEUE, Arc::new(Typed(reconcile::CheckDifference(core.clone()))))
        .single(REFUNDS_QUEUE, Arc::new(Typed(dispute::NoteDispute(core.clone()))))
        .single(REFUNDS_QUEUE, Arc::new(Typed(dispute::CheckDispute(core))));
    Ok(())
}

/// What the activities share.
struct Payments {
    provider: Provider,
    pool: PgPool,
    key_lifetime: Duration,
    /// The keys of payments that were made just now.
    paid: Gathered<String>,
    /// Refunds that were made just now.
    given_back: Gathered<Given>,
    /// The same, for the bookings' side.
    told_back: Gathered<RefundKey>,
}

/// How [`Payments::conclude`] is to take an intent that nobody has confirmed (yet).
#[derive(Clone, Copy)]
enum Unconfirmed {
    /// Somebody asked whether there is an effect; there is none, and the same key may be used again.
    Absent,
    /// It was confirmed just now, so this makes no sense.
    Surprising,
}

impl Payments {
    fn new(config: &PaymentsConfig, pool: PgPool) -> Result<Self, ConfigError> {
        Ok(Payments {
            provider: Provider::new(config)?,
            pool,
            key_lifetime: config.key_lifetime,
            paid: Gathered::default(),
            given_back: Gathered::default(),
            told_back: Gathered::default(),
        })
    }

    /// Writes down where an intent stands, and says what that means for the step.
    async fn conclude(
        &self,
        payment: &Payment,
        intent: &PaymentIntent,
        unconfirmed: Unconfirmed,
    ) -> Result<Charged, Failure> {
        match &intent.status {
            PaymentIntentStatus::Succeeded => {
                self.paid(&payment.key).await?;
                Ok(Charged::succeeded(intent.id.as_str(), intent.amount_received))
            }
            PaymentIntentStatus::Processing | PaymentIntentStatus::RequiresAction => {
                let secret = intent.client_secret.as_deref();
                let secret = secret.filter(|_| intent.status == PaymentIntentStatus::RequiresAction);
                store::pending(&self.pool, &payment.key, secret)
                    .await
                    .map_err(unanswered)?;
                Err(pending(intent))
            }
            // It was being closed because Stripe had failed, and the answer to that was lost as well.
            PaymentIntentStatus::Canceled if payment.confirm_spent => self.fail(payment, provider_error()).await,
            PaymentIntentStatus::Canceled => {
                self.note(store::canceled(&self.pool, &payment.key).await);
                Err(intent_canceled())
            }
            PaymentIntentStatus::RequiresPaymentMethod => {
                let failure = match intent.last_payment_error.as_deref() {
                    Some(error) => classify::declined(error).into_failure(),
                    None => Failure::permanent("invalid_payment_method", "the payment has no payment method"),
                };
                match payment.status {
                    // The buyer has been given the means to try another card by himself, so this is not the end yet.
                    Status::Pending => self.close(payment, failure).await,
                    Status::New
                    | Status::Confirming
                    | Status::Succeeded
                    | Status::Refunded
                    | Status::Failed
                    | Status::Canceled => self.fail(payment, failure).await,
                }
            }
            PaymentIntentStatus::RequiresConfirmation => match (unconfirmed, payment.confirm_spent) {
                (Unconfirmed::Absent, false) => Err(not_charged(true)),
                // Stripe would repeat its error for the same key: make an end, so that a new one can be used.
                (Unconfirmed::Absent, true) => self.close(payment, provider_error()).await,
                (Unconfirmed::Surprising, _) => Err(unknown("the payment was confirmed, and yet is not")),
            },
            other => Err(unknown(format!(
                "the payment has the unexpected status {}",
                other.as_str()
            ))),
        }
    }

    /// Writes down that a payment was made, with all others that are made at this moment. Unless that is written it isn't said,
    /// for nobody would look again, and the ledger would go without it.
    async fn paid(&self, key: &str) -> Result<(), Failure> {
        let write = |keys: Vec<String>| async move { store::succeeded(&self.pool, &keys).await };
        self.paid
            .write(key.to_owned(), write)
            .await
            .map_err(|error| unanswered_text(&error))
    }

    /// Cancels a payment whose confirmation may still be under way, and only then reports `failure`.
    async fn close(&self, payment: &Payment, failure: Failure) -> Result<Charged, Failure> {
        let Some(intent) = payment.intent_id.as_deref() else {
            return self.fail(payment, failure).await;
        };
        match self.provider.cancel(intent).await {
            Ok(_) => self.fail(payment, failure).await,
            Err(error) => match classify::classify(&error) {
                Verdict::OtherState => match self.provider.retrieve(intent).await {
                    Ok(found) if found.status == PaymentIntentStatus::Canceled => self.fail(payment, failure).await,
                    Ok(found) if found.status == PaymentIntentStatus::Succeeded => {
                        self.paid(&payment.key).await?;
                        Ok(Charged::succeeded(found.id.as_str(), found.amount_received))
                    }
                    Ok(found) if found.status == PaymentIntentStatus::Processing => Err(pending(&found)),
                    Ok(found) => Err(unknown(format!(
                        "the payment cannot be cancelled while {}",
                        found.status.as_str()
                    ))),
                    Err(error) => Err(unknown(error)),
                },
                Verdict::Retryable { .. } | Verdict::Permanent { .. } | Verdict::Unknown { .. } => {
                    // Whoever looks next must not take it for untouched.
                    self.note(store::confirm_spent(&self.pool, &payment.key).await);
                    Err(unknown(error))
                }
            },
        }
    }

    /// Writes down a definite failure and reports it.
    async fn fail(&self, payment: &Payment, failure: Failure) -> Result<Charged, Failure> {
        self.note(store::failed(&self.pool, &payment.key, &failure_json(&failure)).await);
        Err(failure)
    }

    /// An intent of a payment of which the database knows nothing any more, if its key may have expired.
    async fn found_by_metadata(&self, context: &TaskContext, input: &PaymentInput) -> Result<Option<Payment>, Failure> {
        if !self.key_may_have_expired(context) {
            return Ok(None);
        }
        match self.provider.find(&context.key).await.map_err(unknown)? {
            Some(intent) => self.adopt(context, input, &intent).await.map(Some),
            None => Ok(None),
        }
    }

    /// Takes an intent found at Stripe into the database.
    async fn adopt(
        &self,
        context: &TaskContext,
        input: &PaymentInput,
        intent: &PaymentIntent,
    ) -> Result<Payment, Failure> {
        let booking = intent.metadata.get("bookingId").map(String::as_str);
        if booking != Some(input.booking_id.to_string().as_str()) {
            return Err(Failure::invalid_input(
                "/paymentId",
                "this payment belongs to another booking",
            ));
        }
        store::adopt(&self.pool, &context.key, input, intent.id.as_str())
            .await
            .map_err(unanswered)
    }

    /// Whether the saga is so old that a key of its may have been forgotten: its id says when it began.
    fn key_may_have_expired(&self, context: &TaskContext) -> bool {
        let began = context.saga.0.get_timestamp().map(|at| at.to_unix().0);
        let now = u64::try_from(chrono::Utc::now().timestamp()).unwrap_or(0);
        began.is_none_or(|began| now.saturating_sub(began) >= self.key_lifetime.as_secs())
    }

    /// For writes whose loss another look at Stripe makes good.
    fn note(&self, written: Result<(), StoreError>) {
        if let Err(error) = written {
            tracing::warn!(%error, "where a payment stands could not be written down");
        }
    }
}

/// What a payment that has ended answers, however often one asks.
fn settled(payment: &Payment) -> Option<Result<Charged, Failure>> {
    match payment.status {
        Status::New | Status::Confirming | Status::Pending => None,
        Status::Succeeded | Status::Refunded => {
            let intent = payment.intent_id.as_deref().unwrap_or_default();
            Some(Ok(Charged::succeeded(intent, payment.amount_cents)))
        }
        Status::Failed => Some(Err(failure_from_json(payment.failure.as_ref()))),
        Status::Canceled => Some(Err(intent_canceled())),
    }
}

/// Without the client secret, which is the buyer's: all of this is kept in the saga's journal.
fn pending(intent: &PaymentIntent) -> Failure {
    let details = json!({
        "paymentId": intent.id.as_str(),
        "status": intent.status.as_str(),
    });
    Failure::Pending {
        check_after: PENDING_CHECK_AFTER,
        details,
    }
}

fn not_charged(retryable: bool) -> Failure {
    let (code, details) = ("not_charged", Value::Null);
    Failure::Failed {
        code,
        message: "nothing was charged".to_owned(),
        retryable,
        details,
    }
}

fn intent_canceled() -> Failure {
    Failure::permanent("intent_canceled", "the payment was cancelled before it was made")
}

fn provider_error() -> Failure {
    Failure::retryable(
        "provider_error",
        "the payment provider answered with an error of its own",
    )
}

fn unknown(why: impl std::fmt::Display) -> Failure {
    Failure::Unknown {
        message: why.to_string(),
    }
}

/// Nothing can be said without the database: an earlier attempt may have got through.
fn unanswered(error: StoreError) -> Failure {
    unanswered_text(&error.to_string())
}

fn unanswered_text(error: &str) -> Failure {
    Failure::Unknown {
        message: format!("the payments' database did not answer: {error}"),
    }
}

fn failure_json(failure: &Failure) -> Value {
    match failure {
        Failure::Failed {
            code,
            message,
            retryable,
            details,
        } => {
            json!({ "code": code, "message": message, "retryable": retryable, "details": details })
        }
        Failure::Unknown { message } => json!({ "code": "provider_error", "message": message, "retryable": true }),
        Failure::Pending { .. } => json!({ "code": "provider_error", "message": "pending", "retryable": true }),
    }
}

fn failure_from_json(stored: Option<&Value>) -> Failure {
    let text = |name: &str| stored.and_then(|failure| failure[name].as_str()).unwrap_or_default();
    let code = CODES
        .iter()
        .find(|code| **code == text("code"))
        .copied()
        .unwrap_or("card_declined");
    Failure::Failed {
        code,
        message: text("message").to_owned(),
        retryable: stored.is_some_and(|failure| failure["retryable"] == true),
        details: stored.map(|failure| failure["details"].clone()).unwrap_or_default(),
    }
}

/// Whether Stripe answered with an error of its own, which it repeats for the same key.
fn is_spent(error: &CallError) -> bool {
    match error {
        CallError::Refused { status, .. } | CallError::Unreadable { status, .. } => *status >= 500,
        CallError::NotSent(_) | CallError::TimedOut | CallError::Cut(_) | CallError::Request(_) => false,
    }
}
