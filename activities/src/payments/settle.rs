//! `payments.lookup` finds out whether a payment was made; `payments.cancel` makes certain, one way or the other.

use std::sync::Arc;

use async_trait::async_trait;
use stripe_shared::PaymentIntentStatus;

use super::classify::{Verdict, classify};
use super::contract::{CODES, Charged, PaymentInput};
use super::store::{self, Payment, Status};
use super::{Payments, Unconfirmed, not_charged, pending, settled, unanswered, unknown};
use crate::activity::TaskContext;
use crate::typed::{Failure, TypedActivity};

pub(super) struct Lookup(pub Arc<Payments>);

#[async_trait]
impl TypedActivity for Lookup {
    type Input = PaymentInput;
    type Output = Charged;
    const NAME: &'static str = "payments.lookup";
    const CODES: &'static [&'static str] = CODES;

    async fn run(&self, context: &TaskContext, input: PaymentInput) -> Result<Charged, Failure> {
        input.check()?;
        let payments = &self.0;
        let Some(payment) = payments.known(context, &input).await? else {
            return Err(not_charged(true));
        };
        if let Some(answer) = settled(&payment) {
            return answer;
        }
        match payment.status {
            // Nobody has confirmed. Charging again under the same key finds the same intent, if there is one.
            Status::New => Err(not_charged(true)),
            Status::Confirming
            | Status::Pending
            | Status::Succeeded
            | Status::Refunded
            | Status::Failed
            | Status::Canceled => payments.look(&payment, Unconfirmed::Absent).await,
        }
    }
}

pub(super) struct Cancel(pub Arc<Payments>);

#[async_trait]
impl TypedActivity for Cancel {
    type Input = PaymentInput;
    type Output = Charged;
    const NAME: &'static str = "payments.cancel";
    const CODES: &'static [&'static str] = CODES;

    async fn run(&self, context: &TaskContext, input: PaymentInput) -> Result<Charged, Failure> {
        input.check()?;
        match self.0.settle(context, &input).await? {
            Settled::Charged(payment) => {
                let intent = payment.intent_id.as_deref().unwrap_or_default();
                Ok(Charged::succeeded(intent, payment.amount_cents))
            }
            Settled::NeverCharged => Err(not_charged(false)),
        }
    }
}

/// What is certain of a payment.
pub(super) enum Settled {
    /// It was made.
    Charged(Payment),
    /// It was not, and never will be.
    NeverCharged,
}

impl Payments {
    /// The payment, if anything is known of it.
    pub(super) async fn known(&self, context: &TaskContext, input: &PaymentInput) -> Result<Option<Payment>, Failure> {
        let known = store::read(&self.pool, &context.key).await.map_err(unanswered)?;
        match known {
            Some(payment) if payment.status != Status::New => Ok(Some(payment)),
            unconfirmed => Ok(self.found_by_metadata(context, input).await?.or(unconfirmed)),
        }
    }

    /// Makes certain that a payment either was made or never will be.
    pub(super) async fn settle(&self, context: &TaskContext, input: &PaymentInput) -> Result<Settled, Failure> {
        self.known(context, input).await?;
        let payment = store::fence(&self.pool, &context.key, input)
            .await
            .map_err(unanswered)?;
        match payment.status {
            Status::Succeeded | Status::Refunded => Ok(Settled::Charged(payment)),
            Status::Failed | Status::Canceled => Ok(Settled::NeverCharged),
            Status::Confirming | Status::Pending => self.settle_at_stripe(payment).await,
            Status::New => Err(unknown("the payment could not be fenced")),
        }
    }

    /// A confirmation may be under way, so the intent itself has to be closed.
    async fn settle_at_stripe(&self, payment: Payment) -> Result<Settled, Failure> {
        let Some(intent) = payment.intent_id.as_deref() else {
            return Err(unknown("the payment's intent is not known"));
        };
        let error = match self.provider.cancel(intent).await {
            Ok(_) => {
                self.note(store::canceled(&self.pool, &payment.key).await);
                return Ok(Settled::NeverCharged);
            }
            Err(error) => error,
        };
        if classify(&error) != Verdict::OtherState {
            return Err(unknown(error));
        }
        let found = self.provider.retrieve(intent).await.map_err(unknown)?;
        match &found.status {
            PaymentIntentStatus::Succeeded => {
                self.paid(&payment.key).await?;
                Ok(Settled::Charged(payment))
            }
            PaymentIntentStatus::Canceled => {
                self.note(store::canceled(&self.pool, &payment.key).await);
                Ok(Settled::NeverCharged)
            }
            // The bank can't be stopped; it will be over soon.
            PaymentIntentStatus::Processing => Err(pending(&found)),
            other => Err(unknown(format!(
                "the payment could not be cancelled while {}",
                other.as_str()
            ))),
        }
    }
}
