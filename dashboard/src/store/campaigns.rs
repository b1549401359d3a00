//! Campaigns and their items.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{PgExecutor, PgPool, Row};
use uuid::Uuid;
use workflows::ids::{SagaId, Timestamp};

use crate::campaigns::decide::{Counts, Phase};
use crate::campaigns::plan::Plan;

/// A campaign.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// Its number.
    pub id: i64,
    /// When it was made.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: String,
    /// Why.
    pub reason: String,
    /// What was searched for; empty: see `parent`.
    pub search: String,
    /// It retries the failed items of this one.
    pub parent: Option<i64>,
    /// What it does.
    pub plan: Plan,
    /// Where it is.
    pub phase: Phase,
    /// Why.
    pub note: String,
    /// Since when.
    pub changed_at: Timestamp,
    /// How often it was started or resumed.
    pub round: i32,
    /// The last saga that was frozen.
    pub frozen_to: Option<SagaId>,
    /// The rate limit's place.
    pub paid_until_ms: i64,
    /// The database's time when this was read.
    pub now_ms: i64,
}

/// One saga of a campaign.
#[derive(Clone, Debug)]
pub struct Item {
    /// Its place.
    pub ordinal: i32,
    /// The saga.
    pub saga: SagaId,
    /// Where its journal ended when it was frozen.
    pub seq: u64,
    /// The step that had failed.
    pub step: Option<String>,
    /// How.
    pub code: Option<String>,
}

/// An item whose command was given.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The item.
    pub item: Item,
    /// Where its saga's journal ended when it was last looked at.
    pub seen_seq: u64,
    /// It has failed since, and tries again by itself.
    pub struggling: bool,
    /// With the failure that it was taken in for.
    pub again: bool,
}

/// What became of an item.
#[derive(Clone, Debug)]
pub struct Change {
    /// Its place.
    pub ordinal: i32,
    /// Where it is now.
    pub state: &'static str,
    /// In words.
    pub outcome: String,
    /// The failure has come back.
    pub again: bool,
    /// The saga's journal's end.
    pub seen_seq: u64,
}

/// What the dry run found of an item.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Its place.
    pub ordinal: i32,
    /// It can be done.
    pub ready: bool,
    /// In words.
    pub outcome: String,
    /// The workflow.
    pub workflow: String,
    /// The failed step.
    pub step: Option<String>,
    /// Its error.
    pub code: Option<String>,
    /// Steps whose effects are there.
    pub effects: Vec<String>,
    /// The money it is about.
    pub money_cents: Option<i64>,
}

/// Adds a campaign.
pub async fn insert(
    db: impl PgExecutor<'_>,
    by: &str,
    reason: &str,
    search: &str,
    parent: Option<i64>,
    plan: &Plan,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(
        "insert into ops.campaigns (created_by, reason, search, parent_id, plan) values ($1, $2, $3, $4, $5) returning id",
    )
    .bind(by)
    .bind(reason)
    .bind(search)
    .bind(parent)
    .bind(Json(plan))
    .fetch_one(db)
    .await
}

/// One campaign.
pub async fn get(pool: &PgPool, id: i64) -> Result<Option<Campaign>, sqlx::Error> {
    let row =
        sqlx::query("select *, (extract(epoch from now()) * 1000)::bigint as now_ms from ops.campaigns where id = $1")
            .bind(id)
            .fetch_optional(pool)
            .await?;
    row.as_ref().map(campaign).transpose()
}

/// Campaigns, the newest first, before `before`.
pub async fn list(pool: &PgPool, before: i64, limit: i64) -> Result<Vec<Campaign>, sqlx::Error> {
    let rows = sqlx::query(
        "select *, (extract(epoch from now()) * 1000)::bigint as now_ms from ops.campaigns where id < $1 \
         order by id desc limit $2",
    )
    .bind(before)
    .bind(limit)
    .fetch_all(pool)
    .await?;
    rows.iter().map(campaign).collect()
}

/// Takes active campaigns in hand, or keeps them so; those that others hold are passed over.
pub async fn hold(pool: &PgPool, holder: Uuid, lease_seconds: f64, limit: i64) -> Result<Vec<Campaign>, sqlx::Error> {
    let rows = sqlx::query(
        "update ops.campaigns set holder = $1, held_until = now() + $2 * interval '1 second' \
         where id in (select id from ops.campaigns where active and (held_until < now() or holder = $1) \
                      order by id limit $3 for update skip locked) \
         returning *, (extract(epoch from now()) * 1000)::bigint as now_ms",
    )
    .bind(holder)
    .bind(lease_seconds)
    .bind(limit)
    .fetch_all(pool)
    .await?;
    rows.iter().map(campaign).collect()
}

/// Lets go of what a runner that leaves has in hand, so that others needn't wait.
pub async fn let_go(pool: &PgPool, holder: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query("update ops.campaigns set holder = null, held_until = '-infinity' where active and holder = $1")
        .bind(holder)
        .execute(pool)
        .await?;
    Ok(())
}

/// The runner's change of phase: nothing happens if somebody has changed it since, or another runner holds it.
pub async fn enter(
    db: impl PgExecutor<'_>,
    id: i64,
    holder: Uuid,
    from: Phase,
    to: Phase,
    note: &str,
    active: bool,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(
        "update ops.campaigns set phase = $4, note = $5, active = $6, changed_at = now() \
         where id = $1 and holder = $2 and phase = $3",
    )
    .bind(id)
    .bind(holder)
    .bind(from.as_str())
    .bind(to.as_str())
    .bind(note)
    .bind(active)
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Nothing is left to watch of a campaign that sends nothing.
pub async fn rest(pool: &PgPool, id: i64, holder: Uuid, phase: Phase) -> Result<(), sqlx::Error> {
    sqlx::query("update ops.campaigns set active = false where id = $1 and holder = $2 and phase = $3")
        .bind(id)
        .bind(holder)
        .bind(phase.as_str())
        .execute(pool)
        .await?;
    Ok(())
}

/// A person's change of phase, from one of `from`. `begins`: a new round, with a canary of its own.
pub async fn steer(
    db: impl PgExecutor<'_>,
    id: i64,
    from: &[Phase],
    to: Phase,
    note: &str,
    begins: bool,
) -> Result<bool, sqlx::Error> {
    let from: Vec<&str> = from.iter().map(|phase| phase.as_str()).collect();
    let done = sqlx::query(
        "update ops.campaigns set phase = $3, note = $4, changed_at = now(), active = active or $5, \
             round = round + case when $5 then 1 else 0 end \
         where id = $1 and phase = any($2)",
    )
    .bind(id)
    .bind(from)
    .bind(to.as_str())
    .bind(note)
    .bind(begins)
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Adds frozen sagas and remembers how far that is; a saga that is there already is passed over.
pub async fn freeze(pool: &PgPool, id: i64, holder: Uuid, sagas: &[(SagaId, u64)]) -> Result<(), sqlx::Error> {
    let ids: Vec<Uuid> = sagas.iter().map(|(saga, _)| saga.0).collect();
    let seqs: Vec<i64> = sagas.iter().map(|(_, seq)| signed(*seq)).collect();
    sqlx::query(
        "with held as (update ops.campaigns set frozen_to = ($3::uuid[])[array_length($3::uuid[], 1)] \
                       where id = $1 and holder = $2 and phase = 'freezing' returning id), \
              last as (select coalesce(max(ordinal), 0) as ordinal from ops.campaign_items where campaign_id = $1) \
         insert into ops.campaign_items (campaign_id, ordinal, saga_id, seq, seen_seq) \
         select held.id, last.ordinal + f.place::int, f.saga_id, f.seq, f.seq \
         from held, last, unnest($3::uuid[], $4::bigint[]) with ordinality as f (saga_id, seq, place) \
         on conflict do nothing",
    )
    .bind(id)
    .bind(holder)
    .bind(ids)
    .bind(seqs)
    .execute(pool)
    .await?;
    Ok(())
}

/// How many sagas are frozen.
pub async fn frozen(pool: &PgPool, id: i64) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("select coalesce(max(ordinal), 0)::bigint from ops.campaign_items where campaign_id = $1")
        .bind(id)
        .fetch_one(pool)
        .await
}

/// The sagas of a campaign's failed items behind `after`, by id.
pub async fn failed_sagas(pool: &PgPool, id: i64, after: Uuid, limit: i64) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar(
        "select saga_id from ops.campaign_items where campaign_id = $1 and state = 'failed' and saga_id > $2 \
         order by saga_id limit $3",
    )
    .bind(id)
    .bind(after)
    .bind(limit)
    .fetch_all(pool)
    .await
}

/// Items in one of these states, by their places, behind `after`.
pub async fn items(pool: &PgPool, id: i64, states: &[&str], limit: i64) -> Result<Vec<Item>, sqlx::Error> {
    let rows = sqlx::query(
        "select ordinal, saga_id, seq, step, code from ops.campaign_items \
         where campaign_id = $1 and state = any($2) order by state, ordinal limit $3",
    )
    .bind(id)
    .bind(states)
    .bind(limit)
    .fetch_all(pool)
    .await?;
    rows.iter().map(item).collect()
}

/// Sent items, with what was last seen of their sagas.
pub async fn sent(pool: &PgPool, id: i64, limit: i64) -> Result<Vec<Sent>, sqlx::Error> {
    let rows = sqlx::query(
        "select ordinal, saga_id, seq, step, code, seen_seq, state, again from ops.campaign_items \
         where campaign_id = $1 and state in ('sent', 'struggling') order by state, ordinal limit $2",
    )
    .bind(id)
    .bind(limit)
    .fetch_all(pool)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(Sent {
                item: item(row)?,
                seen_seq: row.try_get::<i64, _>("seen_seq")?.unsigned_abs(),
                struggling: row.try_get::<&str, _>("state")? == "struggling",
                again: row.try_get("again")?,
            })
        })
        .collect()
}

/// Writes down what the dry run found.
pub async fn judge(pool: &PgPool, id: i64, verdicts: &[Verdict]) -> Result<(), sqlx::Error> {
    let column = |pick: fn(&Verdict) -> &str| verdicts.iter().map(|it| pick(it).to_owned()).collect::<Vec<String>>();
    let effects: Vec<String> = verdicts
        .iter()
        .map(|it| serde_json::json!(it.effects).to_string())
        .collect();
    sqlx::query(
        "update ops.campaign_items i set state = case when v.ready then 'ready' else 'excluded' end, outcome = v.outcome, \
             workflow = v.workflow, step = v.step, code = v.code, effects = v.effects::jsonb, money_cents = v.money_cents \
         from unnest($2::int[], $3::bool[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::bigint[]) \
              as v (ordinal, ready, outcome, workflow, step, code, effects, money_cents) \
         where i.campaign_id = $1 and i.ordinal = v.ordinal and i.state = 'frozen'",
    )
    .bind(id)
    .bind(verdicts.iter().map(|it| it.ordinal).collect::<Vec<i32>>())
    .bind(verdicts.iter().map(|it| it.ready).collect::<Vec<bool>>())
    .bind(column(|it| &it.outcome))
    .bind(column(|it| &it.workflow))
    .bind(verdicts.iter().map(|it| it.step.clone()).collect::<Vec<Option<String>>>())
    .bind(verdicts.iter().map(|it| it.code.clone()).collect::<Vec<Option<String>>>())
    .bind(effects)
    .bind(verdicts.iter().map(|it| it.money_cents).collect::<Vec<Option<i64>>>())
    .execute(pool)
    .await?;
    Ok(())
}

/// Takes the next ready items to be sent, if the campaign is still this runner's and in this phase; the rate is paid for.
pub async fn claim(
    pool: &PgPool,
    campaign: &Campaign,
    holder: Uuid,
    items: u32,
    paid_until_ms: i64,
) -> Result<Vec<Item>, sqlx::Error> {
    let rows = sqlx::query(
        "with held as (update ops.campaigns set paid_until_ms = $4 where id = $1 and holder = $2 and phase = $3 \
                       returning id, round), \
              wanted as (select campaign_id, ordinal from ops.campaign_items where campaign_id = $1 and state = 'ready' \
                         order by ordinal limit $5 for update skip locked) \
         update ops.campaign_items i set state = 'claimed', round = held.round, sent_at = now() \
         from held, wanted where i.campaign_id = held.id and i.campaign_id = wanted.campaign_id and i.ordinal = wanted.ordinal \
         returning i.ordinal, i.saga_id, i.seq, i.step, i.code",
    )
    .bind(campaign.id)
    .bind(holder)
    .bind(campaign.phase.as_str())
    .bind(paid_until_ms)
    .bind(i64::from(items))
    .fetch_all(pool)
    .await?;
    rows.iter().map(item).collect()
}

/// Writes down what became of items that are in one of the states `from`.
pub async fn settle(pool: &PgPool, id: i64, from: &[&str], changes: &[Change]) -> Result<(), sqlx::Error> {
    if changes.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "update ops.campaign_items i set state = c.state, outcome = c.outcome, again = c.again, \
             seen_seq = greatest(i.seen_seq, c.seen_seq), \
             sent_at = case when c.state in ('ready', 'excluded') then null else i.sent_at end \
         from unnest($3::int[], $4::text[], $5::text[], $6::bool[], $7::bigint[]) \
              as c (ordinal, state, outcome, again, seen_seq) \
         where i.campaign_id = $1 and i.ordinal = c.ordinal and i.state = any($2)",
    )
    .bind(id)
    .bind(from)
    .bind(changes.iter().map(|it| it.ordinal).collect::<Vec<i32>>())
    .bind(changes.iter().map(|it| it.state).collect::<Vec<&str>>())
    .bind(changes.iter().map(|it| it.outcome.clone()).collect::<Vec<String>>())
    .bind(changes.iter().map(|it| it.again).collect::<Vec<bool>>())
    .bind(changes.iter().map(|it| signed(it.seen_seq)).collect::<Vec<i64>>())
    .execute(pool)
    .await?;
    Ok(())
}

/// Items that took longer than the campaign has patience have failed.
pub async fn give_up(pool: &PgPool, id: i64, patience_seconds: u32) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update ops.campaign_items set state = 'failed', outcome = 'not past its step in time' \
         where campaign_id = $1 and state in ('sent', 'struggling') and sent_at < now() - $2 * interval '1 second'",
    )
    .bind(id)
    .bind(f64::from(patience_seconds))
    .execute(pool)
    .await?;
    Ok(())
}

/// How many items are where, in this round and in all; and how many the dry run found to be doable.
pub async fn counts(pool: &PgPool, id: i64, round: i32) -> Result<(Counts, u64), sqlx::Error> {
    let row = sqlx::query(
        "select count(*) filter (where state = 'ready') as ready, \
                count(*) filter (where state in ('claimed', 'sent', 'struggling')) as unsettled, \
                count(*) filter (where state in ('claimed', 'sent') and round = $2) as waiting, \
                count(*) filter (where state = 'struggling' and round = $2) as struggling, \
                count(*) filter (where state = 'passed' and round = $2) as passed, \
                count(*) filter (where state = 'failed' and round = $2) as failed, \
                count(*) filter (where again and state in ('struggling', 'failed') and round = $2) as same, \
                count(*) filter (where state not in ('frozen', 'excluded')) as doable \
         from ops.campaign_items where campaign_id = $1",
    )
    .bind(id)
    .bind(round)
    .fetch_one(pool)
    .await?;
    let count = |name: &str| row.try_get::<i64, _>(name).map(i64::unsigned_abs);
    let counts = Counts {
        ready: count("ready")?,
        unsettled: count("unsettled")?,
        waiting: count("waiting")?,
        struggling: count("struggling")?,
        passed: count("passed")?,
        failed: count("failed")?,
        same: count("same")?,
    };
    Ok((counts, count("doable")?))
}

/// Forgets the items of one campaign that has been over for so long; the campaign itself stays. Gives how many there were.
pub async fn forget_items(pool: &PgPool, keep_seconds: f64) -> Result<u64, sqlx::Error> {
    let done = sqlx::query(
        "delete from ops.campaign_items where campaign_id = \
           (select c.id from ops.campaigns c where c.phase in ('aborted', 'finished') and not c.active \
              and c.changed_at < now() - $1 * interval '1 second' \
              and exists (select 1 from ops.campaign_items i where i.campaign_id = c.id) order by c.id limit 1)",
    )
    .bind(keep_seconds)
    .execute(pool)
    .await?;
    Ok(done.rows_affected())
}

/// Items in the same state for the same reason.
#[derive(Clone, Debug, sqlx::FromRow, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Group {
    /// Where they are.
    pub state: String,
    /// The workflow.
    pub workflow: String,
    /// Where it had failed.
    pub step: String,
    /// How.
    pub code: String,
    /// In words.
    pub outcome: String,
    /// How many.
    pub items: i64,
    /// Their money.
    pub money_cents: i64,
}

/// A campaign's items by state and reason, the largest groups first.
pub async fn groups(pool: &PgPool, id: i64, limit: i64) -> Result<Vec<Group>, sqlx::Error> {
    sqlx::query_as(
        "select state, workflow, coalesce(step, '') as step, coalesce(code, '') as code, outcome, count(*) as items, \
                coalesce(sum(money_cents), 0)::bigint as money_cents \
         from ops.campaign_items where campaign_id = $1 group by 1, 2, 3, 4, 5 order by items desc, 1, 2, 3, 4, 5 limit $2",
    )
    .bind(id)
    .bind(limit)
    .fetch_all(pool)
    .await
}

/// How many items are in a state.
#[derive(Clone, Debug, sqlx::FromRow, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StateCount {
    /// The state.
    pub state: String,
    /// How many.
    pub items: i64,
    /// Their money.
    pub money_cents: i64,
    /// How many of them have effects already.
    pub with_effects: i64,
}

/// A campaign's items by state.
pub async fn states(pool: &PgPool, id: i64) -> Result<Vec<StateCount>, sqlx::Error> {
    sqlx::query_as(
        "select state, count(*) as items, coalesce(sum(money_cents), 0)::bigint as money_cents, \
                count(*) filter (where effects <> '[]') as with_effects \
         from ops.campaign_items where campaign_id = $1 group by state order by state",
    )
    .bind(id)
    .fetch_all(pool)
    .await
}

/// An item, for people.
#[derive(Clone, Debug, sqlx::FromRow, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ItemRow {
    /// Its place.
    pub ordinal: i32,
    /// The saga.
    pub saga_id: Uuid,
    /// Where it is.
    pub state: String,
    /// The workflow.
    pub workflow: String,
    /// Where it had failed.
    pub step: Option<String>,
    /// How.
    pub code: Option<String>,
    /// In words.
    pub outcome: String,
    /// Steps whose effects were there.
    pub effects: Value,
    /// The money it is about.
    pub money_cents: Option<i64>,
    /// When its command was given.
    pub sent_at: Option<DateTime<Utc>>,
}

/// Items behind `after`, of this state if one is given.
pub async fn item_rows(
    pool: &PgPool,
    id: i64,
    state: Option<&str>,
    after: i32,
    limit: i64,
) -> Result<Vec<ItemRow>, sqlx::Error> {
    sqlx::query_as(
        "select ordinal, saga_id, state, workflow, step, code, outcome, effects, money_cents, sent_at \
         from ops.campaign_items where campaign_id = $1 and ordinal > $2 and ($3::text is null or state = $3) \
         order by ordinal limit $4",
    )
    .bind(id)
    .bind(after)
    .bind(state)
    .bind(limit)
    .fetch_all(pool)
    .await
}

fn item(row: &PgRow) -> Result<Item, sqlx::Error> {
    Ok(Item {
        ordinal: row.try_get("ordinal")?,
        saga: SagaId(row.try_get("saga_id")?),
        seq: row.try_get::<i64, _>("seq")?.unsigned_abs(),
        step: row.try_get("step")?,
        code: row.try_get("code")?,
    })
}

fn campaign(row: &PgRow) -> Result<Campaign, sqlx::Error> {
    let phase: &str = row.try_get("phase")?;
    Ok(Campaign {
        id: row.try_get("id")?,
        created_at: row.try_get::<DateTime<Utc>, _>("created_at")?.into(),
        created_by: row.try_get("created_by")?,
        reason: row.try_get("reason")?,
        search: row.try_get("search")?,
        parent: row.try_get("parent_id")?,
        plan: row.try_get::<Json<Plan>, _>("plan")?.0,
        phase: phase
            .parse()
            .map_err(|error: String| sqlx::Error::Decode(error.into()))?,
        note: row.try_get("note")?,
        changed_at: row.try_get::<DateTime<Utc>, _>("changed_at")?.into(),
        round: row.try_get("round")?,
        frozen_to: row.try_get::<Option<Uuid>, _>("frozen_to")?.map(SagaId),
        paid_until_ms: row.try_get("paid_until_ms")?,
        now_ms: row.try_get("now_ms")?,
    })
}

fn signed(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}
