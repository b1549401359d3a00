//! `payments.refund`: makes certain that no money is held, whatever became of the charge.
//!
//! Refunds are for all that is left of the payment, and Stripe never gives back more than it took: so a second one
//! is refused (`charge_already_refunded`), even under another key, and finding that out is success.

use std::sync::Arc;

use async_trait::async_trait;

use super::classify::{CallError, Verdict, classify};
use super::contract::{CODES, PaymentInput, Refunded};
use super::settle::Settled;
use super::store::{self, Payment, Status};
use super::{Payments, is_spent, unanswered, unknown};
use crate::activity::TaskContext;
use crate::typed::{Failure, TypedActivity};

pub(super) struct Refund(pub Arc<Payments>);

#[async_trait]
impl TypedActivity for Refund {
    type Input = PaymentInput;
    type Output = Refunded;
    const NAME: &'static str = "payments.refund";
    const CODES: &'static [&'static str] = CODES;

    async fn run(&self, context: &TaskContext, input: PaymentInput) -> Result<Refunded, Failure> {
        input.check()?;
        let payments = &self.0;
        if let Some(intent) = &input.payment_id {
            payments.adopt_if_unknown(context, &input, intent).await?;
        }
        match payments.settle(context, &input).await {
            Ok(Settled::NeverCharged) => Ok(Refunded {
                payment_id: input.payment_id,
                refund_id: None,
                refunded_cents: 0,
            }),
            Ok(Settled::Charged(payment)) => payments.refund(&payment, &input).await,
            // A compensation is not pending but not done yet.
            Err(Failure::Pending { details, .. }) => {
                Err(Failure::retryable("payment_processing", "the bank is still at the payment").with(details))
            }
            Err(failure) => Err(failure),
        }
    }
}

impl Payments {
    /// The saga knows of a payment that the database has lost.
    async fn adopt_if_unknown(&self, context: &TaskContext, input: &PaymentInput, intent: &str) -> Result<(), Failure> {
        if store::read(&self.pool, &context.key)
            .await
            .map_err(unanswered)?
            .is_some()
        {
            return Ok(());
        }
        match self.provider.retrieve(intent).await {
            Ok(intent) => self.adopt(context, input, &intent).await.map(drop),
            Err(error) => Err(classify(&error).into_failure()),
        }
    }

    async fn refund(&self, payment: &Payment, input: &PaymentInput) -> Result<Refunded, Failure> {
        let Some(intent) = payment.intent_id.as_deref() else {
            return Err(unknown("the payment's intent is not known"));
        };
        if payment.status == Status::Refunded {
            return Ok(done(intent, payment.refund_id.as_deref(), payment.refunded_cents));
        }
        let key = format!("{}/refund/{}", payment.key, payment.refund_attempt);
        match self.provider.refund(intent, input, &key).await {
            Ok(refund) if is_good(&refund) => {
                let mut given = vec![(refund.id.as_str().to_owned(), refund.amount)];
                // What else has gone back, by parts.
                if payment.refunded_cents > 0 {
                    given = good(&self.provider.refunds(intent).await.map_err(unknown)?);
                }
                store::refunded(&self.pool, &payment.key, &given)
                    .await
                    .map_err(unanswered)?;
                Ok(done(intent, Some(refund.id.as_str()), refund.amount))
            }
            Ok(refund) => {
                self.next_attempt(payment).await?;
                let why = refund
                    .failure_reason
                    .as_deref()
                    .or(refund.status.as_deref())
                    .unwrap_or("unknown");
                Err(Failure::retryable("refund_failed", format!("the refund failed: {why}")))
            }
            Err(error) => self.not_refunded(payment, intent, &error).await,
        }
    }

    async fn not_refunded(&self, payment: &Payment, intent: &str, error: &CallError) -> Result<Refunded, Failure> {
        match classify(error) {
            Verdict::OtherState => self.refunded_already(payment, intent).await,
            Verdict::Unknown { message } => {
                if is_spent(error) {
                    self.next_attempt(payment).await?;
                }
                Err(unknown(message))
            }
            verdict @ (Verdict::Retryable { .. } | Verdict::Permanent { .. }) => {
                self.next_attempt(payment).await?;
                Err(verdict.into_failure())
            }
        }
    }

    /// Somebody refunded it before: an earlier attempt whose answer was lost, or a person.
    async fn refunded_already(&self, payment: &Payment, intent: &str) -> Result<Refunded, Failure> {
        let refunds = self.provider.refunds(intent).await.map_err(unknown)?;
        let given = good(&refunds);
        let cents: i64 = given.iter().map(|(_, cents)| cents).sum();
        match given.first() {
            Some((latest, _)) if cents >= payment.amount_cents => {
                store::refunded(&self.pool, &payment.key, &given)
                    .await
                    .map_err(unanswered)?;
                Ok(done(intent, Some(latest.as_str()), cents))
            }
            Some(_) | None => {
                self.next_attempt(payment).await?;
                let message = format!(
                    "the payment can't be refunded; {cents} of {} cents were",
                    payment.amount_cents
                );
                Err(Failure::retryable("refund_failed", message))
            }
        }
    }

    /// Stripe repeats an answered failure for the same key.
    async fn next_attempt(&self, payment: &Payment) -> Result<(), Failure> {
        store::next_refund_attempt(&self.pool, &payment.key, payment.refund_attempt)
            .await
            .map_err(unanswered)
    }
}

/// Those that give the money back, and how much each.
fn good(refunds: &[stripe_shared::Refund]) -> Vec<(String, i64)> {
    let good = refunds.iter().filter(|refund| is_good(refund));
    good.map(|refund| (refund.id.as_str().to_owned(), refund.amount))
        .collect()
}

/// A pending refund is on its way; Stripe sends it again by itself.
pub(super) fn is_good(refund: &stripe_shared::Refund) -> bool {
    matches!(refund.status.as_deref(), Some("succeeded" | "pending"))
}

fn done(intent: &str, refund: Option<&str>, cents: i64) -> Refunded {
    Refunded {
        payment_id: Some(intent.to_owned()),
        refund_id: refund.map(str::to_owned),
        refunded_cents: cents,
    }
}
