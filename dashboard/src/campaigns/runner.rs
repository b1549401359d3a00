//! Runs campaigns: asks the pure part what is next and does it, for many sagas at a time.
//!
//! Any replica may run one, one at a time: it holds a lease on the campaign's row. What it was about to do is written down
//! first (`claimed`), and each command names the journal entry it is given at, so whoever takes over can tell by the saga's
//! journal whether a command was carried out, and none is carried out twice.

use std::collections::HashMap;
use std::time::Instant;

use futures::future::join_all;
use orchestrator::EngineError;
use orchestrator::store::reads;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use workflows::event::{CommandEvent, Event};
use workflows::ids::SagaId;

use super::assess::{self, Outcome};
use super::decide::{Next, Phase, decide};
use crate::app::Mission;
use crate::error::PageError;
use crate::limits::{
    CAMPAIGN_IDLE_TICK, CAMPAIGN_IN_FLIGHT_MAX, CAMPAIGN_ITEMS_MAX, CAMPAIGN_LEASE, CAMPAIGN_SEND_MAX, CAMPAIGN_TICK,
    CAMPAIGN_TURN, CAMPAIGNS_PER_RUNNER, DRY_RUN_CHUNK, FORGET_INTERVAL, FREEZE_CHUNK, KEEP_ITEMS, OUTCOME_MAX,
};
use crate::pages::search;
use crate::pages::text::shortened;
use crate::store::campaigns::{self as store, Campaign, Change, Item, Sent, Verdict};
use crate::store::{audit, sagas};

/// Runs campaigns until `stop`. One in each orchestrator process; they share the work.
pub async fn run(mission: Mission, stop: CancellationToken) {
    let runner = Runner::new(mission);
    let mut forgot_at = Instant::now();
    loop {
        if forgot_at.elapsed() >= FORGET_INTERVAL {
            forgot_at = Instant::now();
            if let Err(error) = store::forget_items(&runner.mission.pool, KEEP_ITEMS.as_secs_f64()).await {
                tracing::warn!(%error, "old campaigns' items were not forgotten");
            }
        }
        let pause = match stop.run_until_cancelled(runner.tick()).await {
            Some(Ok(true)) => CAMPAIGN_TICK,
            Some(Ok(false)) => CAMPAIGN_IDLE_TICK,
            Some(Err(error)) => {
                tracing::warn!(%error, "campaigns could not be looked at; trying again");
                CAMPAIGN_IDLE_TICK
            }
            None => break,
        };
        if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            break;
        }
    }
    if let Err(error) = store::let_go(&runner.mission.pool, runner.holder).await {
        tracing::debug!(%error, "others take over when the lease has run out");
    }
}

/// One of those who run campaigns.
pub struct Runner {
    mission: Mission,
    holder: Uuid,
}

impl Runner {
    /// A runner of this process.
    pub fn new(mission: Mission) -> Runner {
        Runner {
            mission,
            holder: Uuid::now_v7(),
        }
    }

    /// A turn for each campaign that is to be run and that nobody else has in hand. False: there was none.
    pub async fn tick(&self) -> Result<bool, PageError> {
        let lease = CAMPAIGN_LEASE.as_secs_f64();
        let held = store::hold(&self.mission.pool, self.holder, lease, CAMPAIGNS_PER_RUNNER).await?;
        for campaign in &held {
            if let Err(error) = self.turn(campaign).await {
                tracing::warn!(campaign = campaign.id, %error, "a campaign could not be gone on with; trying again");
            }
        }
        Ok(!held.is_empty())
    }

    async fn turn(&self, campaign: &Campaign) -> Result<(), PageError> {
        match campaign.phase {
            Phase::Freezing => self.freeze(campaign).await,
            Phase::Planning => self.dry_run(campaign).await,
            Phase::Canary | Phase::Running => self.send_on(campaign).await,
            Phase::Planned | Phase::Paused | Phase::Stopped | Phase::Aborted | Phase::Finished => {
                self.look(campaign).await?;
                let (seen, _) = store::counts(&self.mission.pool, campaign.id, campaign.round).await?;
                if seen.unsettled == 0 {
                    store::rest(&self.mission.pool, campaign.id, self.holder, campaign.phase).await?;
                }
                Ok(())
            }
        }
    }

    async fn enter(&self, campaign: &Campaign, phase: Phase, why: &str) -> Result<(), PageError> {
        let pool = &self.mission.pool;
        let active = !matches!(phase, Phase::Planned | Phase::Finished);
        let mut transaction = pool.begin().await?;
        let (from, holder) = (campaign.phase, self.holder);
        if store::enter(&mut *transaction, campaign.id, holder, from, phase, why, active).await? {
            let details = json!({"campaign": campaign.id, "phase": phase, "why": why});
            audit::done(&mut *transaction, "(campaigns)", &format!("campaign {phase}"), details).await?;
            transaction.commit().await?;
            tracing::info!(campaign = campaign.id, %phase, why, "a campaign goes over to another phase");
        }
        Ok(())
    }

    /// Writes the sagas down that the search finds, chunk by chunk.
    async fn freeze(&self, campaign: &Campaign) -> Result<(), PageError> {
        let pool = &self.mission.pool;
        let began = Instant::now();
        let mut last = campaign.frozen_to;
        let mut count = u32::try_from(store::frozen(pool, campaign.id).await?).unwrap_or(u32::MAX);
        while began.elapsed() < CAMPAIGN_TURN {
            let limit = FREEZE_CHUNK.min(CAMPAIGN_ITEMS_MAX.saturating_sub(count));
            let found = match self.find(campaign, last, limit).await {
                Err(error @ (PageError::Slow | PageError::Invalid(_))) => {
                    return self.enter(campaign, Phase::Aborted, &error.to_string()).await;
                }
                found => found?,
            };
            let Some((saga, _)) = found.last() else {
                let why = if limit == 0 {
                    format!("more than {CAMPAIGN_ITEMS_MAX} sagas match: the first ones were taken")
                } else {
                    format!("{count} sagas match")
                };
                return self.enter(campaign, Phase::Planning, &why).await;
            };
            last = Some(*saga);
            count += u32::try_from(found.len()).unwrap_or(u32::MAX);
            store::freeze(pool, campaign.id, self.holder, &found).await?;
        }
        Ok(())
    }

    /// The next sagas behind `last` with their journals' ends; none: that was all.
    async fn find(
        &self,
        campaign: &Campaign,
        last: Option<SagaId>,
        limit: u32,
    ) -> Result<Vec<(SagaId, u64)>, PageError> {
        let pool = &self.mission.pool;
        if limit == 0 {
            return Ok(Vec::new());
        }
        if let Some(parent) = campaign.parent {
            let after = last.map_or(Uuid::nil(), |saga| saga.0);
            let ids = store::failed_sagas(pool, parent, after, i64::from(limit)).await?;
            return Ok(sagas::seqs(pool, &ids).await?);
        }
        // As of then, however long this takes.
        let search = search::parse(&campaign.search, campaign.created_at).map_err(PageError::Invalid)?;
        if let Some(saga) = search.saga {
            let ids = if last.is_none() { vec![saga.0] } else { Vec::new() };
            return Ok(sagas::seqs(pool, &ids).await?);
        }
        let mut filter = search.filter;
        filter.after = last;
        let found = reads::list(pool, &filter, limit).await?;
        Ok(found.into_iter().map(|saga| (saga.id, saga.seq)).collect())
    }

    /// Runs the command on each frozen saga's state, chunk by chunk, and writes nothing but the verdicts.
    async fn dry_run(&self, campaign: &Campaign) -> Result<(), PageError> {
        let pool = &self.mission.pool;
        let began = Instant::now();
        while began.elapsed() < CAMPAIGN_TURN {
            let items = store::items(pool, campaign.id, &["frozen"], DRY_RUN_CHUNK).await?;
            if items.is_empty() {
                let (seen, _) = store::counts(pool, campaign.id, campaign.round).await?;
                let why = format!("{}; the dry run found {} to be doable", campaign.note, seen.ready);
                return self.enter(campaign, Phase::Planned, &why).await;
            }
            let known = self.current(&items).await?;
            let mut verdicts = Vec::with_capacity(items.len());
            for item in items {
                verdicts.push(self.verdict(campaign, &item, known.get(&item.saga)).await?);
            }
            store::judge(pool, campaign.id, &verdicts).await?;
        }
        Ok(())
    }

    async fn verdict(
        &self,
        campaign: &Campaign,
        item: &Item,
        current: Option<&sagas::Current>,
    ) -> Result<Verdict, PageError> {
        let excluded = |why: &str| Verdict {
            ordinal: item.ordinal,
            outcome: why.to_owned(),
            ..Verdict::default()
        };
        let Some(current) = current else {
            return Ok(excluded("it is not there any more"));
        };
        if current.seq != item.seq {
            return Ok(excluded("it moved on after it was found"));
        }
        let definition = self.mission.engine.definitions().by_id(current.definition_id).await?;
        let now = self.mission.engine.now();
        let found = assess::assess(&definition.compiled, item.saga, &current.state, &campaign.plan, now);
        let (ready, outcome) = match found.verdict {
            Ok(words) => (true, words),
            Err(words) => (false, words),
        };
        Ok(Verdict {
            ordinal: item.ordinal,
            ready,
            outcome: cut(&outcome),
            workflow: definition.name().to_owned(),
            step: found.step,
            code: found.code,
            effects: found.effects,
            money_cents: found.money_cents,
        })
    }

    async fn current(&self, items: &[Item]) -> Result<HashMap<SagaId, sagas::Current>, PageError> {
        let ids: Vec<Uuid> = items.iter().map(|item| item.saga.0).collect();
        let found = sagas::current(&self.mission.pool, &ids).await?;
        Ok(found.into_iter().map(|saga| (saga.id, saga)).collect())
    }

    /// Looks at what was sent, then sends what the plan allows now.
    async fn send_on(&self, campaign: &Campaign) -> Result<(), PageError> {
        let pool = &self.mission.pool;
        let began = Instant::now();
        let mut paid_until_ms = campaign.paid_until_ms;
        self.look(campaign).await?;
        while began.elapsed() < CAMPAIGN_TURN {
            let (seen, doable) = store::counts(pool, campaign.id, campaign.round).await?;
            let elapsed = i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX);
            let now_ms = campaign.now_ms.saturating_add(elapsed);
            match decide(campaign.phase, &campaign.plan, doable, seen, now_ms, paid_until_ms) {
                Next::Wait => return Ok(()),
                Next::Enter { phase, why } => return self.enter(campaign, phase, &why).await,
                Next::Send {
                    items,
                    paid_until_ms: paid,
                } => {
                    paid_until_ms = paid;
                    if !self.send(campaign, items, paid).await? {
                        return Ok(());
                    }
                }
            }
            self.observe(campaign).await?;
        }
        Ok(())
    }

    /// Gives the next items' commands. False: the campaign isn't ours any more, or the engine has enough for now.
    async fn send(&self, campaign: &Campaign, items: u32, paid_until_ms: i64) -> Result<bool, PageError> {
        let pool = &self.mission.pool;
        let claimed = store::claim(pool, campaign, self.holder, items, paid_until_ms).await?;
        if claimed.is_empty() {
            return Ok(false);
        }
        let mut changes = Vec::with_capacity(claimed.len());
        let mut given = Vec::with_capacity(claimed.len());
        for (item, command) in self.commands(campaign, claimed).await? {
            match command {
                Ok(command) => given.push((item, command)),
                Err(why) => changes.push(change(&item, "excluded", why)),
            }
        }
        // All at once: the engine takes them into one batch.
        let answers = join_all(given.into_iter().map(async |(item, command)| {
            let event = CommandEvent {
                command,
                by: signature(campaign),
                reason: campaign.reason.clone(),
            };
            let answer = self.mission.engine.command(item.saga, event, Some(item.seq)).await;
            (item, answer)
        }));
        let mut all_known = true;
        for (item, answer) in answers.await {
            match answer {
                Ok(applied) if applied.changed => changes.push(change(&item, "sent", "its command was given")),
                Ok(_) => changes.push(change(&item, "excluded", "it would change nothing")),
                Err(EngineError::Refused(refused)) => changes.push(change(&item, "excluded", refused.to_string())),
                Err(EngineError::UnknownSaga(_)) => changes.push(change(&item, "excluded", "it is not there any more")),
                // What came of it is found out by the journal: see `resolve`.
                Err(error) => {
                    all_known = false;
                    tracing::debug!(saga = %item.saga, %error, "an item's command was not answered");
                }
            }
        }
        store::settle(pool, campaign.id, &["claimed"], &changes).await?;
        Ok(all_known)
    }

    /// The command for each; those with a patch depend on where their sagas stand.
    async fn commands(
        &self,
        campaign: &Campaign,
        items: Vec<Item>,
    ) -> Result<Vec<(Item, Result<workflows::event::Command, String>)>, PageError> {
        let action = &campaign.plan.action;
        if action.patch().is_none() {
            return Ok(items.into_iter().map(|item| (item, Ok(action.command()))).collect());
        }
        let known = self.current(&items).await?;
        let mut commands = Vec::with_capacity(items.len());
        for item in items {
            let command = match known.get(&item.saga) {
                Some(current) if current.seq == item.seq => {
                    let definition = self.mission.engine.definitions().by_id(current.definition_id).await?;
                    let now = self.mission.engine.now();
                    assess::command(&definition.compiled, item.saga, &current.state, action, now)
                }
                Some(_) | None => Err("it moved on before its turn".to_owned()),
            };
            commands.push((item, command));
        }
        Ok(commands)
    }

    /// Finds out what came of everything that was sent.
    async fn look(&self, campaign: &Campaign) -> Result<(), PageError> {
        self.resolve(campaign).await?;
        self.observe(campaign).await?;
        store::give_up(&self.mission.pool, campaign.id, campaign.plan.patience_seconds).await?;
        Ok(())
    }

    /// Items whose command was about to be given, by somebody who died or had no answer: their journals say whether it was.
    async fn resolve(&self, campaign: &Campaign) -> Result<(), PageError> {
        let pool = &self.mission.pool;
        let limit = i64::from(CAMPAIGN_SEND_MAX) * 4;
        let items = store::items(pool, campaign.id, &["claimed"], limit).await?;
        if items.is_empty() {
            return Ok(());
        }
        let ids: Vec<Uuid> = items.iter().map(|item| item.saga.0).collect();
        let next: Vec<i64> = items.iter().map(|item| signed(item.seq + 1)).collect();
        let ends: HashMap<SagaId, u64> = sagas::seqs(pool, &ids).await?.into_iter().collect();
        let entries: HashMap<SagaId, Event> = sagas::entries(pool, &ids, &next).await?.into_iter().collect();
        let ours = signature(campaign);
        let changes: Vec<Change> = items
            .iter()
            .map(|item| match (ends.get(&item.saga), entries.get(&item.saga)) {
                (_, Some(Event::Command(command))) if command.by == ours => {
                    change(item, "sent", "its command was given")
                }
                (Some(end), None) if *end == item.seq => change(item, "ready", "its command was not given yet"),
                (Some(_), _) => change(item, "excluded", "it moved on before its turn"),
                (None, _) => change(item, "excluded", "it is not there any more"),
            })
            .collect();
        store::settle(pool, campaign.id, &["claimed"], &changes).await?;
        Ok(())
    }

    /// Looks at the sagas that have moved since the last look.
    async fn observe(&self, campaign: &Campaign) -> Result<(), PageError> {
        let pool = &self.mission.pool;
        let sent = store::sent(pool, campaign.id, i64::from(CAMPAIGN_IN_FLIGHT_MAX)).await?;
        if sent.is_empty() {
            return Ok(());
        }
        let ids: Vec<Uuid> = sent.iter().map(|it| it.item.saga.0).collect();
        let seen: Vec<i64> = sent.iter().map(|it| signed(it.seen_seq)).collect();
        let changed: HashMap<SagaId, Option<sagas::Current>> =
            sagas::changed(pool, &ids, &seen).await?.into_iter().collect();
        let mut changes = Vec::new();
        for it in &sent {
            match changed.get(&it.item.saga) {
                None => {}
                Some(None) => changes.push(change(&it.item, "passed", "ended and forgotten")),
                Some(Some(current)) => {
                    let definition = self.mission.engine.definitions().by_id(current.definition_id).await?;
                    let (action, step) = (&campaign.plan.action, it.item.step.as_deref());
                    let outcome = assess::judge(&definition.compiled, current.id, &current.state, action, step);
                    changes.push(told(it, outcome, current.seq));
                }
            }
        }
        store::settle(pool, campaign.id, &["sent", "struggling"], &changes).await?;
        Ok(())
    }
}

/// Who the journals name for a campaign's commands; also how its own are known.
pub fn signature(campaign: &Campaign) -> String {
    format!("{} (campaign {})", campaign.created_by, campaign.id)
}

fn change(item: &Item, state: &'static str, outcome: impl Into<String>) -> Change {
    // Not looked at yet, even if it has moved: its own command may have ended it.
    Change {
        ordinal: item.ordinal,
        state,
        outcome: cut(&outcome.into()),
        again: false,
        seen_seq: item.seq,
    }
}

fn told(sent: &Sent, outcome: Outcome, seen_seq: u64) -> Change {
    let same = |code: &str| sent.item.code.as_deref() == Some(code);
    let (state, outcome, again) = match outcome {
        // Until it is past its step: another attempt in flight is no success.
        Outcome::Waiting if sent.struggling => ("struggling", "tries again by itself".to_owned(), sent.again),
        Outcome::Waiting => ("sent", "its command was given".to_owned(), false),
        Outcome::Struggling(code) => ("struggling", format!("tries again by itself after {code}"), same(&code)),
        Outcome::Passed(words) => ("passed", words, false),
        Outcome::Failed { step, code } => {
            let again = same(&code) && sent.item.step.as_deref() == Some(step.as_str());
            ("failed", format!("{step}: {code}"), again)
        }
    };
    Change {
        ordinal: sent.item.ordinal,
        state,
        outcome: cut(&outcome),
        again,
        seen_seq,
    }
}

fn cut(text: &str) -> String {
    shortened(&orchestrator::text::clean(text), OUTCOME_MAX)
}

fn signed(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}
