//! `payments.give_back`: gives back a part of a payment, or all of it, once for each refund.
//!
//! The refund's id, not the attempt's key, is what makes it one: its row counts how often Stripe was asked and how often Stripe answered
//! that nothing was done. Where the two differ an answer was lost, and the payment's refunds are looked through for this id before Stripe
//! is asked again: a part, unlike the whole, could go back twice.

use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use uuid::Uuid;

use super::classify::{Verdict, classify};
use super::contract::{CODES, Refunded};
use super::provider::{Part, REFUND_ID};
use super::refund::is_good;
use super::store::refunds::{self, Begun, Given, Wish};
use super::{Payments, unanswered, unanswered_text, unknown};
use crate::activity::TaskContext;
use crate::seats::store::returns::{self, RefundKey};
use crate::typed::{Failure, TypedActivity};

/// What `payments.give_back` needs.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GiveBackInput {
    /// The refund: the same one gives money back once.
    pub refund_id: Uuid,
    /// Whose money.
    pub booking_id: Uuid,
    /// What it was for.
    pub event_id: String,
    /// How much, in minor units.
    pub amount_cents: i64,
}

pub(super) struct GiveBack(pub Arc<Payments>);

#[async_trait]
impl TypedActivity for GiveBack {
    type Input = GiveBackInput;
    type Output = Refunded;
    const NAME: &'static str = "payments.give_back";
    const CODES: &'static [&'static str] = CODES;

    async fn run(&self, _: &TaskContext, input: GiveBackInput) -> Result<Refunded, Failure> {
        if input.amount_cents <= 0 {
            return Err(Failure::invalid_input("/amountCents", "must be more than nothing"));
        }
        let refunded = self.0.give_back(&input).await?;
        self.0.money_is_back(&input).await?;
        Ok(refunded)
    }
}

impl Payments {
    async fn give_back(&self, input: &GiveBackInput) -> Result<Refunded, Failure> {
        let wish = Wish {
            refund_id: input.refund_id,
            booking_id: input.booking_id,
            amount_cents: input.amount_cents,
        };
        let Some(begun) = refunds::begin(&self.pool, &wish).await.map_err(unanswered)? else {
            return match self.covered(&wish).await? {
                Some(refunded) => Ok(refunded),
                None => Err(self.impossible(&wish).await?),
            };
        };
        if begun.amount_cents != input.amount_cents {
            return Err(Failure::invalid_input(
                "/amountCents",
                "this refund was begun with another amount",
            ));
        }
        if let Some(provider_id) = &begun.provider_id {
            return Ok(done(&begun, provider_id));
        }
        // Asked before, and not refused: it may have been done.
        if begun.asked - 1 > begun.refused
            && let Some(provider_id) = self.found(&begun, input).await?
        {
            return self.given(&begun, input, provider_id).await;
        }
        let part = Part {
            refund_id: input.refund_id,
            booking_id: input.booking_id,
            event_id: &input.event_id,
            amount_cents: input.amount_cents,
        };
        let key = format!("refund/{}/{}", input.refund_id, begun.refused + 1);
        match self.provider.refund_part(&begun.intent_id, &part, &key).await {
            Ok(refund) if is_good(&refund) => self.given(&begun, input, refund.id.as_str().to_owned()).await,
            Ok(refund) => {
                self.not_done(input, &begun).await?;
                let why = refund.failure_reason.as_deref().or(refund.status.as_deref());
                let message = format!("the refund failed: {}", why.unwrap_or("unknown"));
                Err(Failure::retryable("refund_failed", message))
            }
            Err(error) => match classify(&error) {
                // Even after a 500, which may have been carried out all the same: the next attempt looks first.
                Verdict::Unknown { message } => Err(unknown(message)),
                Verdict::OtherState => match self.found(&begun, input).await? {
                    Some(provider_id) => self.given(&begun, input, provider_id).await,
                    None => {
                        self.not_done(input, &begun).await?;
                        // Whoever gave the rest back may not have written that down yet.
                        let message = format!("there is not so much left of the payment: {error}");
                        let covered = self.covered(&wish).await?;
                        covered.ok_or_else(|| Failure::retryable("refund_failed", message))
                    }
                },
                verdict @ (Verdict::Retryable { .. } | Verdict::Permanent { .. }) => {
                    self.not_done(input, &begun).await?;
                    Err(verdict.into_failure())
                }
            },
        }
    }

    /// The refund of this id, if Stripe has it.
    async fn found(&self, begun: &Begun, input: &GiveBackInput) -> Result<Option<String>, Failure> {
        let refunds = self.provider.refunds(&begun.intent_id).await.map_err(unknown)?;
        let ours = input.refund_id.to_string();
        let mut good = refunds.iter().filter(|refund| is_good(refund));
        let found = good.find(|refund| {
            let id = refund.metadata.as_ref().and_then(|metadata| metadata.get(REFUND_ID));
            id.is_some_and(|id| *id == ours)
        });
        Ok(found.map(|refund| refund.id.as_str().to_owned()))
    }

    /// The booking's own compensation has given the whole payment back, this refund's part with it: a booking whose confirmation's answer
    /// was lost may be compensated while it is refunded.
    async fn covered(&self, wish: &Wish) -> Result<Option<Refunded>, Failure> {
        let covering = refunds::covering(&self.pool, wish).await.map_err(unanswered)?;
        Ok(covering.map(|payment| Refunded {
            payment_id: payment.intent_id,
            refund_id: payment.refund_id,
            refunded_cents: wish.amount_cents,
        }))
    }

    /// Writes down that money went back, with all that goes back at this moment: here and in the ledger.
    async fn given(&self, begun: &Begun, input: &GiveBackInput, provider_id: String) -> Result<Refunded, Failure> {
        let refunded = done(begun, &provider_id);
        let given = Given {
            refund_id: input.refund_id,
            provider_id,
        };
        let write = |given: Vec<Given>| async move { refunds::given(&self.pool, &given).await };
        self.given_back
            .write(given, write)
            .await
            .map_err(|error| unanswered_text(&error))?;
        Ok(refunded)
    }

    /// Tells the booking's side, likewise: it counts what is done.
    async fn money_is_back(&self, input: &GiveBackInput) -> Result<(), Failure> {
        let key = RefundKey {
            event_id: input.event_id.clone(),
            booking_id: input.booking_id,
            refund_id: input.refund_id,
        };
        let write = |keys: Vec<RefundKey>| async move { returns::money_is_back(&self.pool, &keys).await };
        self.told_back
            .write(key, write)
            .await
            .map_err(|error| unanswered_text(&error))
    }

    /// Stripe has answered that it did nothing, and may repeat that for the same key.
    async fn not_done(&self, input: &GiveBackInput, begun: &Begun) -> Result<(), Failure> {
        refunds::refused(&self.pool, input.refund_id, begun.asked)
            .await
            .map_err(unanswered)
    }

    /// Why a refund can't be begun.
    async fn impossible(&self, wish: &Wish) -> Result<Failure, Failure> {
        let left = refunds::left(&self.pool, wish.booking_id).await.map_err(unanswered)?;
        Ok(match left {
            None => Failure::permanent("not_charged", "there is no payment of this booking"),
            Some(left) => {
                let wanted = wish.amount_cents;
                Failure::permanent(
                    "refund_failed",
                    format!("{wanted} cents can't go back: {left} are left"),
                )
            }
        })
    }
}

fn done(begun: &Begun, provider_id: &str) -> Refunded {
    Refunded {
        payment_id: Some(begun.intent_id.clone()),
        refund_id: Some(provider_id.to_owned()),
        refunded_cents: begun.amount_cents,
    }
}
