//! The sandbox's state and what requests do to it. Everything here happens at once, under one lock, in microseconds.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use serde_json::Value;

use crate::cards::{self, Behaviour, Decline};
use crate::chaos::{Chaos, Fate};
use crate::disputes::Dispute;
use crate::error::Refusal;
use crate::journal::{Journal, Line};
use crate::model::{Failure, Fixed, Intent, IntentStatus, Refund, RefundStatus, Standing, Stored, StoredBody};
use crate::webhook::{About, Event};
use crate::{EVENTS_MAX, IDEMPOTENCY_KEYS_MAX, render};

/// What became of an operation, and what else is to become of its answer.
pub(crate) struct Done {
    pub body: StoredBody,
    /// A payment method's own idea of how the request ends.
    pub fate: Option<Fate>,
}

/// An idempotency key.
pub(crate) enum Key {
    InFlight(u64),
    Stored(Stored),
}

pub(crate) struct Store {
    pub chaos: Chaos,
    pub intents: Vec<Intent>,
    pub refunds: Vec<Refund>,
    pub disputes: HashMap<String, Dispute>,
    /// The dispute of an intent.
    pub disputed: HashMap<String, String>,
    pub events: VecDeque<Arc<Event>>,
    /// Events not yet handed to the webhook sender.
    pub outbox: Vec<Arc<Event>>,
    /// Intents that are to be completed by the bank after a while.
    pub processing: Vec<String>,
    index: HashMap<String, usize>,
    refund_index: HashMap<String, usize>,
    refunds_of: HashMap<String, Vec<usize>>,
    keys: HashMap<String, Key>,
    key_order: VecDeque<(i64, String)>,
    /// Bookings whose flaky card has had its first decline.
    declined_once: HashMap<String, ()>,
    journal: Option<Journal>,
    intents_max: usize,
    webhook_key: Option<String>,
}

/// What creates an intent.
pub(crate) struct NewIntent {
    pub amount: i64,
    pub currency: String,
    pub payment_method: Option<String>,
    pub metadata: BTreeMap<String, String>,
    pub description: Option<String>,
    pub receipt_email: Option<String>,
    pub automatic_methods: bool,
}

impl Store {
    pub fn new(chaos: Chaos, intents_max: usize) -> Self {
        Store {
            chaos,
            intents: Vec::new(),
            refunds: Vec::new(),
            disputes: HashMap::new(),
            disputed: HashMap::new(),
            events: VecDeque::new(),
            outbox: Vec::new(),
            processing: Vec::new(),
            index: HashMap::new(),
            refund_index: HashMap::new(),
            refunds_of: HashMap::new(),
            keys: HashMap::new(),
            key_order: VecDeque::new(),
            declined_once: HashMap::new(),
            journal: None,
            intents_max,
            webhook_key: None,
        }
    }

    /// Takes in what a journal says.
    pub fn replay(&mut self, line: Line) {
        match line {
            Line::Intent(intent) => self.put_intent(intent),
            Line::Refund(refund) => self.put_refund(refund),
            Line::Dispute(dispute) => self.put_dispute(dispute),
            Line::Key(key, stored) => self.put_key(key, stored),
        }
    }

    /// Everything, as journal lines.
    pub fn lines(&self) -> impl Iterator<Item = Line> + '_ {
        let intents = self.intents.iter().cloned().map(Line::Intent);
        let refunds = self.refunds.iter().cloned().map(Line::Refund);
        let keys = self.key_order.iter().filter_map(|(_, key)| match self.keys.get(key) {
            Some(Key::Stored(stored)) => Some(Line::Key(key.clone(), stored.clone())),
            Some(Key::InFlight(_)) | None => None,
        });
        let disputes = self.disputes.values().cloned().map(Line::Dispute);
        intents.chain(refunds).chain(disputes).chain(keys)
    }

    pub fn keep_journal(&mut self, journal: Journal) {
        self.journal = Some(journal);
    }

    /// Writes what changed. Call before answering.
    pub fn commit(&mut self) {
        if let Some(journal) = &mut self.journal {
            journal.commit();
        }
    }

    /// What is known under an idempotency key that has not expired.
    pub fn key(&mut self, key: &str, now: i64) -> Option<&Key> {
        let lifetime = i64::try_from(self.chaos.switches.idempotency_lifetime_s).unwrap_or(i64::MAX);
        let expired = |at: i64| now.saturating_sub(at) >= lifetime;
        if matches!(self.keys.get(key), Some(Key::Stored(stored)) if expired(stored.at)) {
            self.keys.remove(key);
        }
        self.keys.get(key)
    }

    /// Takes an idempotency key for a request that now begins.
    pub fn take_key(&mut self, key: &str, fingerprint: u64) {
        self.keys.insert(key.to_owned(), Key::InFlight(fingerprint));
        self.webhook_key = None;
    }

    /// Gives a key back that no answer is stored under.
    pub fn release_key(&mut self, key: &str) {
        if matches!(self.keys.get(key), Some(Key::InFlight(_))) {
            self.keys.remove(key);
        }
    }

    /// Stores an answer under its key.
    pub fn store_answer(&mut self, key: &str, stored: Stored) {
        self.write(&Line::Key(key.to_owned(), stored.clone()));
        self.put_key(key.to_owned(), stored);
    }

    /// Names the key that the events of the next operation are attributed to.
    pub fn attribute_events_to(&mut self, key: Option<&str>) {
        self.webhook_key = key.map(str::to_owned);
    }

    pub fn intent(&self, id: &str) -> Option<&Intent> {
        self.index.get(id).map(|at| &self.intents[*at])
    }

    pub fn position(&self, id: &str) -> Option<usize> {
        self.index.get(id).copied()
    }

    pub fn refund(&self, id: &str) -> Option<&Refund> {
        self.refund_index.get(id).map(|at| &self.refunds[*at])
    }

    pub fn refund_position(&self, id: &str) -> Option<usize> {
        self.refund_index.get(id).copied()
    }

    /// The refunds of an intent, oldest first, by position.
    pub fn refunds_of(&self, intent: &str) -> &[usize] {
        self.refunds_of.get(intent).map_or(&[], Vec::as_slice)
    }

    pub fn create(&mut self, new: NewIntent, confirm: bool, now: i64) -> Result<Done, Refusal> {
        if self.intents.len() >= self.intents_max {
            let message = format!(
                "The sandbox is full: it keeps {} payment intents at most.",
                self.intents_max
            );
            return Err(Refusal::new(503, "api_error", None, message));
        }
        let method = new.payment_method.as_deref().map(known_method).transpose()?;
        let id = loop {
            let id = format!("pi_3{}", self.chaos.letters(23));
            if !self.index.contains_key(&id) {
                break id;
            }
        };
        let status = match method {
            Some(_) => IntentStatus::RequiresConfirmation,
            None => IntentStatus::RequiresPaymentMethod,
        };
        let fixed = Arc::new(Fixed {
            client_secret: format!("{id}_secret_{}", self.chaos.letters(25)),
            id: id.clone(),
            amount: new.amount,
            currency: new.currency,
            created: now,
            metadata: new.metadata,
            description: new.description,
            receipt_email: new.receipt_email,
            automatic_methods: new.automatic_methods,
        });
        let standing = Standing {
            status,
            payment_method: new.payment_method.map(Arc::from),
            charge: None,
            error: None,
            canceled_at: None,
            cancellation_reason: None,
            captured: 0,
            refunded: 0,
            waited_ms: 0,
        };
        let intent = Intent { fixed, standing };
        self.save(intent.clone());
        self.emit("payment_intent.created", About::Intent(intent.clone()), now);
        if confirm {
            self.confirm(&id, None, now)
        } else {
            Ok(Done {
                body: StoredBody::Intent(intent),
                fate: None,
            })
        }
    }

    pub fn confirm(&mut self, id: &str, payment_method: Option<&str>, now: i64) -> Result<Done, Refusal> {
        let mut intent = self.find(id, "intent")?;
        let standing = &mut intent.standing;
        match standing.status {
            IntentStatus::RequiresConfirmation | IntentStatus::RequiresPaymentMethod | IntentStatus::RequiresAction => {
            }
            IntentStatus::Processing | IntentStatus::Succeeded | IntentStatus::Canceled => {
                return Err(unexpected_state("confirm", &intent));
            }
        }
        if let Some(method) = payment_method {
            known_method(method)?;
            standing.payment_method = Some(Arc::from(method));
        }
        let Some(method) = standing.payment_method.clone() else {
            return Err(unexpected_state("confirm", &intent));
        };
        let mut behaviour = known_method(&method)?;
        let decline_rate = self.chaos.switches.decline_rate;
        if behaviour == Behaviour::Succeeds && self.chaos.happens(decline_rate) {
            behaviour = Behaviour::Declines(cards::GENERIC);
        }
        match behaviour {
            Behaviour::Succeeds => Ok(self.capture(intent, now, None)),
            Behaviour::Disputed => {
                let done = self.capture(intent, now, None);
                let captured = self.find(id, "intent")?;
                self.open_dispute(&captured, now);
                Ok(done)
            }
            Behaviour::CapturedButServerError => Ok(self.capture(intent, now, Some(Fate::ErrorAfterwards))),
            Behaviour::CapturedButTimesOut => Ok(self.capture(intent, now, Some(Fate::NeverAnswered))),
            Behaviour::CapturedButCut => Ok(self.capture(intent, now, Some(Fate::Cut))),
            Behaviour::RateLimited => Err(Refusal::rate_limited()),
            Behaviour::Declines(decline) => Err(self.decline(intent, decline, now)),
            Behaviour::DeclinesOnce => {
                let booking = intent
                    .fixed
                    .metadata
                    .get("bookingId")
                    .cloned()
                    .unwrap_or_else(|| id.to_owned());
                match self.declined_once.insert(booking, ()) {
                    None => Err(self.decline(intent, Decline::ONCE, now)),
                    Some(()) => Ok(self.capture(intent, now, None)),
                }
            }
            Behaviour::NeedsAction(_) => {
                intent.standing.status = IntentStatus::RequiresAction;
                Ok(self.moved(intent, "payment_intent.requires_action", now))
            }
            Behaviour::Processes(_) => {
                intent.standing.status = IntentStatus::Processing;
                self.processing.push(id.to_owned());
                Ok(self.moved(intent, "payment_intent.processing", now))
            }
        }
    }

    /// The buyer has authenticated, or refused to; the bank is done.
    pub fn complete(&mut self, id: &str, authenticated: bool, now: i64) -> Result<Done, Refusal> {
        let intent = self.find(id, "intent")?;
        let method = intent.standing.payment_method.as_deref().and_then(cards::behaviour);
        match (intent.standing.status, method) {
            (IntentStatus::RequiresAction, Some(Behaviour::NeedsAction(then))) => {
                let decline = if authenticated {
                    then
                } else {
                    Some(Decline::NOT_AUTHENTICATED)
                };
                Ok(self.end(intent, decline, now))
            }
            (IntentStatus::Processing, Some(Behaviour::Processes(then))) => Ok(self.end(intent, then, now)),
            _ => Err(unexpected_state("complete", &intent)),
        }
    }

    pub fn cancel(&mut self, id: &str, reason: Option<&str>, now: i64) -> Result<Done, Refusal> {
        let mut intent = self.find(id, "intent")?;
        match intent.standing.status {
            IntentStatus::RequiresPaymentMethod | IntentStatus::RequiresConfirmation | IntentStatus::RequiresAction => {
            }
            IntentStatus::Processing | IntentStatus::Succeeded | IntentStatus::Canceled => {
                return Err(unexpected_state("cancel", &intent));
            }
        }
        intent.standing.status = IntentStatus::Canceled;
        intent.standing.canceled_at = Some(now);
        intent.standing.cancellation_reason = reason.map(Arc::from);
        Ok(self.moved(intent, "payment_intent.canceled", now))
    }

    pub fn create_refund(
        &mut self,
        id: &str,
        amount: Option<i64>,
        reason: Option<String>,
        metadata: BTreeMap<String, String>,
        now: i64,
    ) -> Result<Value, Refusal> {
        let mut intent = self.find(id, "payment_intent")?;
        let charge = intent.standing.charge.clone();
        let (IntentStatus::Succeeded, Some(charge)) = (intent.standing.status, charge) else {
            let message = format!("This PaymentIntent ({id}) does not have a successful charge to refund.");
            return Err(Refusal::new(
                400,
                "invalid_request_error",
                Some("payment_intent_unexpected_state"),
                message,
            ));
        };
        if self.disputed.contains_key(id) {
            let message = format!("Charge {charge} has been charged back; cannot issue a refund.");
            return Err(Refusal::new(
                400,
                "invalid_request_error",
                Some("charge_disputed"),
                message,
            ));
        }
        let left = intent.standing.captured - intent.standing.refunded;
        if left == 0 {
            let message = format!("Charge {charge} has already been refunded.");
            return Err(Refusal::new(
                400,
                "invalid_request_error",
                Some("charge_already_refunded"),
                message,
            ));
        }
        let amount = amount.unwrap_or(left);
        if amount <= 0 || amount > left {
            let message = format!(
                "Refund amount ({amount}) must be positive and at most the unrefunded amount on the charge ({left})"
            );
            return Err(Refusal::invalid("parameter_invalid_integer", "amount", message));
        }
        let refund = Refund {
            id: format!("re_3{}", self.chaos.letters(23)),
            intent: id.to_owned(),
            charge: charge.to_string(),
            amount,
            currency: intent.fixed.currency.clone(),
            created: now,
            metadata,
            reason,
            status: RefundStatus::Succeeded,
        };
        intent.standing.refunded += amount;
        self.save(intent);
        self.save_refund(refund.clone());
        let rendered = render::refund(&refund);
        self.emit("refund.created", About::Refund(refund), now);
        Ok(rendered)
    }

    pub(crate) fn find(&self, id: &str, param: &str) -> Result<Intent, Refusal> {
        self.intent(id)
            .cloned()
            .ok_or_else(|| Refusal::no_such(404, "payment_intent", param, id))
    }

    fn end(&mut self, intent: Intent, decline: Option<Decline>, now: i64) -> Done {
        match decline {
            None => self.capture(intent, now, None),
            Some(decline) => {
                let id = intent.fixed.id.clone();
                self.decline(intent, decline, now);
                let declined = self.intent(&id).cloned().expect("it was saved just now");
                Done {
                    body: StoredBody::Intent(declined),
                    fate: None,
                }
            }
        }
    }

    fn capture(&mut self, mut intent: Intent, now: i64, fate: Option<Fate>) -> Done {
        intent.standing.status = IntentStatus::Succeeded;
        intent.standing.captured = intent.fixed.amount;
        intent.standing.charge = Some(self.charge_id());
        intent.standing.error = None;
        let done = self.moved(intent, "payment_intent.succeeded", now);
        Done { fate, ..done }
    }

    fn decline(&mut self, mut intent: Intent, decline: Decline, now: i64) -> Refusal {
        let charge = self.charge_id();
        let method = intent.standing.payment_method.take();
        intent.standing.status = IntentStatus::RequiresPaymentMethod;
        intent.standing.charge = Some(charge.clone());
        intent.standing.error = Some(Arc::new(Failure {
            code: decline.code.to_owned(),
            decline_code: decline.decline_code.map(str::to_owned),
            message: decline.message.to_owned(),
            payment_method: method.map(|method| method.to_string()),
        }));
        let rendered = render::intent(&intent);
        self.moved(intent, "payment_intent.payment_failed", now);
        let mut refusal = Refusal::new(402, "card_error", Some(decline.code), decline.message);
        refusal.decline_code = decline.decline_code.map(str::to_owned);
        refusal.charge = Some(charge.to_string());
        refusal.intent = Some(rendered);
        refusal
    }

    fn moved(&mut self, intent: Intent, event: &'static str, now: i64) -> Done {
        self.save(intent.clone());
        self.emit(event, About::Intent(intent.clone()), now);
        Done {
            body: StoredBody::Intent(intent),
            fate: None,
        }
    }

    /// Notes on the intent that a request changed how long the answer takes.
    pub fn waits(&mut self, done: &mut Done, answer_takes: std::time::Duration) {
        let waited_ms = i64::try_from(answer_takes.as_millis()).unwrap_or(i64::MAX);
        if waited_ms == 0 {
            return;
        }
        if let StoredBody::Intent(intent) = &mut done.body {
            intent.standing.waited_ms = intent.standing.waited_ms.saturating_add(waited_ms);
            self.save(intent.clone());
        }
    }

    fn charge_id(&mut self) -> Arc<str> {
        Arc::from(format!("ch_3{}", self.chaos.letters(23)))
    }

    pub(crate) fn save(&mut self, intent: Intent) {
        self.write(&Line::Intent(intent.clone()));
        self.put_intent(intent);
    }

    pub(crate) fn save_refund(&mut self, refund: Refund) {
        self.write(&Line::Refund(refund.clone()));
        self.put_refund(refund);
    }

    /// Has a line written by the next [`Self::commit`].
    pub(crate) fn write(&mut self, line: &Line) {
        if let Some(journal) = &mut self.journal {
            journal.push(line);
        }
    }

    pub(crate) fn emit(&mut self, kind: &'static str, about: About, now: i64) {
        let id = format!("evt_3{}", self.chaos.letters(23));
        let event = Arc::new(Event {
            id,
            kind,
            created: now,
            about,
            key: self.webhook_key.clone(),
        });
        if self.events.len() >= EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(event.clone());
        self.outbox.push(event);
    }

    fn put_intent(&mut self, intent: Intent) {
        match self.index.get(&intent.fixed.id) {
            Some(at) => self.intents[*at] = intent,
            None => {
                self.index.insert(intent.fixed.id.clone(), self.intents.len());
                self.intents.push(intent);
            }
        }
    }

    fn put_refund(&mut self, refund: Refund) {
        if let Some(at) = self.refund_index.get(&refund.id).copied() {
            self.refunds[at] = refund;
            return;
        }
        let at = self.refunds.len();
        self.refunds_of.entry(refund.intent.clone()).or_default().push(at);
        self.refund_index.insert(refund.id.clone(), at);
        self.refunds.push(refund);
    }

    fn put_key(&mut self, key: String, stored: Stored) {
        self.key_order.push_back((stored.at, key.clone()));
        self.keys.insert(key, Key::Stored(stored));
        while self.key_order.len() > IDEMPOTENCY_KEYS_MAX {
            let Some((at, oldest)) = self.key_order.pop_front() else {
                break;
            };
            // A key that was used again after it expired has a later place in the order.
            if matches!(self.keys.get(&oldest), Some(Key::Stored(stored)) if stored.at == at) {
                self.keys.remove(&oldest);
            }
        }
    }
}

fn known_method(payment_method: &str) -> Result<Behaviour, Refusal> {
    cards::behaviour(payment_method)
        .ok_or_else(|| Refusal::no_such(400, "PaymentMethod", "payment_method", payment_method))
}

fn unexpected_state(what: &str, intent: &Intent) -> Refusal {
    let status = intent.standing.status.as_str();
    let message = format!("You cannot {what} this PaymentIntent because it has a status of {status}.");
    let mut refusal = Refusal::new(
        400,
        "invalid_request_error",
        Some("payment_intent_unexpected_state"),
        message,
    );
    refusal.intent = Some(render::intent(intent));
    refusal
}
