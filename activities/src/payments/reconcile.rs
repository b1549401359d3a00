//! `payments.reconcile` compares our ledger with Stripe's lists; `payments.check_difference` looks at one difference again.
//!
//! Stripe's payments and refunds of the time in question are read page by page, each compared with the ledger by one statement; afterwards
//! what the ledger has of that time, and was in no list, is asked for by its id. How far it is stands in a row, so a crash costs a page. A
//! task does pages for a minute and is then *pending*: the next goes on at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use stripe_shared::{PaymentIntent, Refund};
use uuid::Uuid;

use super::classify::{CallError, classify};
use super::contract::CODES;
use super::refund::is_good;
use super::store::reconcile::{self, Found, Phase, Run};
use super::{Payments, unanswered, unknown};
use crate::activity::TaskContext;
use crate::typed::{Failure, TypedActivity};

/// A task begins no other page after this time, a fifth of what its attempt may take.
const TASK_TIME: Duration = Duration::from_secs(60);
/// Entries of ours that are asked for one by one, in one statement's answer.
const UNSEEN_PAGE: i64 = 100;
/// Of them, so many at a time: far below the hundred a second that Stripe allows.
const ASKED_AT_ONCE: usize = 8;
/// Until the next task goes on.
const NEXT_TASK_AFTER: Duration = Duration::from_millis(100);
/// Differences of one run that become items for operators: more of them are one problem, such as the key of another account. The run then
/// reads the lists to their end, but asks for nothing one by one any more.
pub(super) const DIFFERENCES_MAX: i64 = 1_000;
/// Our ledger and Stripe disagree. An operator has to see to it.
const DIFFERENCE: &str = "difference";

/// What `payments.reconcile` needs.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReconcileInput {
    /// The run: the saga.
    pub reconciliation_id: Uuid,
    /// What came about so many hours ago, or later,…
    pub from_hours: u32,
    /// …and so many hours ago at the latest: what is younger may be on its way.
    pub until_hours: u32,
}

/// What `payments.reconcile` gives.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Reconciled {
    /// Stripe's payments that were compared.
    pub payments: i64,
    /// Stripe's refunds.
    pub refunds: i64,
    /// What did not agree.
    pub differences: i64,
}

/// What `payments.check_difference` needs.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct CheckInput {
    /// The payment's or the refund's id at Stripe.
    pub reference: String,
}

/// The two agree.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Checked {
    /// On so much, in minor units.
    pub cents: i64,
}

pub(super) struct Reconcile(pub Arc<Payments>);

#[async_trait]
impl TypedActivity for Reconcile {
    type Input = ReconcileInput;
    type Output = Reconciled;
    const NAME: &'static str = "payments.reconcile";
    const CODES: &'static [&'static str] = CODES;

    async fn run(&self, _: &TaskContext, input: ReconcileInput) -> Result<Reconciled, Failure> {
        if input.from_hours <= input.until_hours {
            return Err(Failure::invalid_input(
                "/fromHours",
                "must be longer ago than untilHours",
            ));
        }
        let payments = &self.0;
        let (from, until) = (i64::from(input.from_hours), i64::from(input.until_hours));
        let mut run = reconcile::begin(&payments.pool, input.reconciliation_id, from, until)
            .await
            .map_err(unanswered)?;
        let began = Instant::now();
        while began.elapsed() < TASK_TIME {
            run = match run.phase {
                Phase::Payments => payments.compare_payments(&run).await?,
                Phase::Refunds => payments.compare_refunds(&run).await?,
                Phase::Ours => payments.ask_for_ours(&run).await?,
                Phase::Done => {
                    return Ok(Reconciled {
                        payments: run.payments,
                        refunds: run.refunds,
                        differences: run.differences,
                    });
                }
            };
        }
        Err(Failure::Pending {
            check_after: NEXT_TASK_AFTER,
            details: json!({"payments": run.payments, "refunds": run.refunds, "differences": run.differences}),
        })
    }
}

pub(super) struct CheckDifference(pub Arc<Payments>);

#[async_trait]
impl TypedActivity for CheckDifference {
    type Input = CheckInput;
    type Output = Checked;
    const NAME: &'static str = "payments.check_difference";
    const CODES: &'static [&'static str] = &[DIFFERENCE];

    async fn run(&self, _: &TaskContext, input: CheckInput) -> Result<Checked, Failure> {
        let payments = &self.0;
        let theirs = payments.theirs(&input.reference).await?;
        let found = [theirs];
        let differ = reconcile::differ(&payments.pool, &found).await.map_err(unanswered)?;
        match differ.first() {
            None => {
                reconcile::settle(&payments.pool, &input.reference)
                    .await
                    .map_err(unanswered)?;
                Ok(Checked {
                    cents: found[0].cents.unwrap_or_default(),
                })
            }
            Some(difference) => {
                let said = |cents: Option<i64>| cents.map_or("nothing".to_owned(), |cents| format!("{cents} cents"));
                let message = format!(
                    "{}: the provider says {}, our ledger {}",
                    input.reference,
                    said(difference.theirs_cents),
                    said(difference.ours_cents)
                );
                Err(Failure::permanent(DIFFERENCE, message))
            }
        }
    }
}

impl Payments {
    async fn compare_payments(&self, run: &Run) -> Result<Run, Failure> {
        let page = self
            .provider
            .payments_between(run.from_at, run.until_at, run.cursor.as_deref());
        let (page, has_more) = page.await.map_err(unknown)?;
        let found: Vec<Found> = page.iter().map(of_payment).collect();
        self.page_done(run, &found, has_more).await
    }

    async fn compare_refunds(&self, run: &Run) -> Result<Run, Failure> {
        let page = self
            .provider
            .refunds_between(run.from_at, run.until_at, run.cursor.as_deref());
        let (page, has_more) = page.await.map_err(unknown)?;
        let found: Vec<Found> = page.iter().map(of_refund).collect();
        self.page_done(run, &found, has_more).await
    }

    async fn page_done(&self, run: &Run, found: &[Found], has_more: bool) -> Result<Run, Failure> {
        reconcile::compare(&self.pool, run, found, has_more)
            .await
            .map_err(unanswered)
    }

    /// What our ledger has of that time and no list had: from before or after it by Stripe's clock, or not there at all.
    async fn ask_for_ours(&self, run: &Run) -> Result<Run, Failure> {
        if run.differences > DIFFERENCES_MAX {
            tracing::error!(run = %run.id, differences = run.differences, "our ledger and the provider's lists have little in common");
            return self.page_done(run, &[], false).await;
        }
        let unseen = reconcile::unseen(&self.pool, run, UNSEEN_PAGE)
            .await
            .map_err(unanswered)?;
        let count = unseen.len();
        let asked = unseen
            .into_iter()
            .map(|reference| async move { self.theirs(&reference).await });
        let found: Vec<Found> = futures::stream::iter(asked)
            .buffered(ASKED_AT_ONCE)
            .try_collect()
            .await?;
        self.page_done(run, &found, i64::try_from(count) == Ok(UNSEEN_PAGE))
            .await
    }

    /// What Stripe says of a payment or a refund.
    async fn theirs(&self, reference: &str) -> Result<Found, Failure> {
        let found = if reference.starts_with("re_") || reference.starts_with("pyr_") {
            self.provider
                .retrieve_refund(reference)
                .await
                .map(|refund| of_refund(&refund))
        } else {
            self.provider
                .retrieve(reference)
                .await
                .map(|intent| of_payment(&intent))
        };
        match found {
            Ok(found) => Ok(found),
            Err(CallError::Refused { status: 404, .. }) => Ok(Found {
                reference: reference.to_owned(),
                booking_id: None,
                cents: None,
            }),
            Err(error) => Err(classify(&error).into_failure()),
        }
    }
}

fn of_payment(intent: &PaymentIntent) -> Found {
    Found {
        reference: intent.id.as_str().to_owned(),
        booking_id: intent.metadata.get("bookingId").and_then(|id| id.parse().ok()),
        cents: (intent.amount_received > 0).then_some(intent.amount_received),
    }
}

fn of_refund(refund: &Refund) -> Found {
    let booking = refund.metadata.as_ref().and_then(|metadata| metadata.get("bookingId"));
    Found {
        reference: refund.id.as_str().to_owned(),
        booking_id: booking.and_then(|id| id.parse().ok()),
        cents: is_good(refund).then_some(refund.amount),
    }
}
