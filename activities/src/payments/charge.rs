//! `payments.charge`: takes a booking's money, once per key.

use std::sync::Arc;

use async_trait::async_trait;

use super::classify::{CallError, Verdict, classify};
use super::contract::{CODES, Charged, PaymentInput, SAME_KEY_CODES};
use super::store::{self, Payment, Status};
use super::{Payments, Unconfirmed, failure_json, is_spent, provider_error, settled, unanswered, unknown};
use crate::activity::TaskContext;
use crate::typed::{Failure, TypedActivity};

pub(super) struct Charge(pub Arc<Payments>);

#[async_trait]
impl TypedActivity for Charge {
    type Input = PaymentInput;
    type Output = Charged;
    const NAME: &'static str = "payments.charge";
    const CODES: &'static [&'static str] = CODES;

    async fn run(&self, context: &TaskContext, input: PaymentInput) -> Result<Charged, Failure> {
        input.check()?;
        self.0.charge(context, &input).await
    }
}

impl Payments {
    async fn charge(&self, context: &TaskContext, input: &PaymentInput) -> Result<Charged, Failure> {
        let key = &context.key;
        let mut payment = store::begin(&self.pool, key, input).await.map_err(unanswered)?;
        if payment.status == Status::New
            && let Some(found) = self.found_by_metadata(context, input).await?
        {
            payment = found;
        }
        if let Some(answer) = settled(&payment) {
            return answer;
        }
        if payment.status == Status::Pending {
            return self.look(&payment, Unconfirmed::Surprising).await;
        }
        let intent = match &payment.intent_id {
            Some(intent) => intent.clone(),
            None => match self.provider.create(input, key).await {
                Ok(intent) => intent.id.as_str().to_owned(),
                Err(error) => return self.not_created(&payment, &error).await,
            },
        };
        match store::confirming(&self.pool, key, &intent).await.map_err(unanswered)? {
            Some(claimed) => self.confirm(&claimed).await,
            None => self.closed_meanwhile(&payment, &intent).await,
        }
    }

    /// Pays the intent, which the row now permits.
    async fn confirm(&self, payment: &Payment) -> Result<Charged, Failure> {
        let Some(intent) = payment.intent_id.as_deref() else {
            return Err(unknown("the payment's intent is not known"));
        };
        let error = match self.provider.confirm(intent, &payment.key).await {
            Ok(intent) => return self.conclude(payment, &intent, Unconfirmed::Surprising).await,
            Err(error) => error,
        };
        match classify(&error) {
            // Declined: Stripe has taken the payment method off the intent, which can't be paid any more.
            verdict @ (Verdict::Retryable { .. } | Verdict::Permanent { .. }) if is_decline(&error) => {
                self.fail(payment, verdict.into_failure()).await
            }
            // Not done, and the next attempt goes on with this very intent.
            Verdict::Retryable { code, message, details } if SAME_KEY_CODES.contains(&code) => Err(Failure::Failed {
                code,
                message,
                retryable: true,
                details,
            }),
            // Not done. But a twin of this request may be on its way, so the intent is closed before that is said.
            verdict @ (Verdict::Retryable { .. } | Verdict::Permanent { .. }) => {
                self.close(payment, verdict.into_failure()).await
            }
            Verdict::Unknown { message } => {
                if is_spent(&error) {
                    self.note(store::confirm_spent(&self.pool, &payment.key).await);
                }
                Err(unknown(message))
            }
            Verdict::OtherState => self.look(payment, Unconfirmed::Surprising).await,
        }
    }

    /// No intent came of it, or at least none that anybody knows and could confirm.
    async fn not_created(&self, payment: &Payment, error: &CallError) -> Result<Charged, Failure> {
        let failure = match classify(error) {
            // Stripe repeats such an answer for the same key. Nothing was confirmed, so a new key is safe.
            Verdict::Unknown { .. } if is_spent(error) => provider_error(),
            verdict => verdict.into_failure(),
        };
        match &failure {
            Failure::Unknown { .. } | Failure::Pending { .. } => return Err(failure),
            Failure::Failed { code, .. } if SAME_KEY_CODES.contains(code) => return Err(failure),
            Failure::Failed { .. } => {}
        }
        match store::abandon(&self.pool, &payment.key, &failure_json(&failure)).await {
            Ok(true) => Err(failure),
            Ok(false) => {
                self.reread(payment, "another attempt at this payment is under way")
                    .await
            }
            Err(error) => Err(unanswered(error)),
        }
    }

    /// The row was closed while the intent was being made. Nobody will confirm it; it is cancelled only for tidiness.
    async fn closed_meanwhile(&self, payment: &Payment, intent: &str) -> Result<Charged, Failure> {
        let answer = self
            .reread(payment, "another attempt at this payment has gone further")
            .await;
        if matches!(answer, Err(Failure::Failed { .. }))
            && let Err(error) = self.provider.cancel(intent).await
        {
            tracing::debug!(%error, intent, "an intent that nobody will confirm stays open");
        }
        answer
    }

    async fn reread(&self, payment: &Payment, otherwise: &str) -> Result<Charged, Failure> {
        let now = store::read(&self.pool, &payment.key).await.map_err(unanswered)?;
        now.as_ref()
            .and_then(settled)
            .unwrap_or_else(|| Err(unknown(otherwise)))
    }

    /// Asks Stripe where the payment stands.
    pub(super) async fn look(&self, payment: &Payment, unconfirmed: Unconfirmed) -> Result<Charged, Failure> {
        let Some(intent) = payment.intent_id.as_deref() else {
            return Err(unknown("the payment's intent is not known"));
        };
        match self.provider.retrieve(intent).await {
            Ok(intent) => self.conclude(payment, &intent, unconfirmed).await,
            Err(error) => Err(unknown(error)),
        }
    }
}

fn is_decline(error: &CallError) -> bool {
    matches!(error, CallError::Refused { status: 402, .. })
}
