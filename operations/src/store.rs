//! The SQL of alerts and of wanted workers, in the schema `ops`.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{PgExecutor, PgPool};
use uuid::Uuid;

use crate::rules::{Rule, Standing};
use crate::scale::Wanted;

/// Tasks of a queue that wait in Postgres and are counted, at most.
const HELD_MAX: i64 = 100_000;

/// A rule's row.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct RuleRow {
    /// The rule.
    pub name: String,
    standing: String,
    since: Option<DateTime<Utc>>,
    alert_id: Option<Uuid>,
}

impl RuleRow {
    /// How it stands.
    pub fn standing(&self) -> Standing {
        match (self.standing.as_str(), self.since, self.alert_id) {
            ("pending", Some(since), _) => Standing::Pending { since },
            ("firing", _, Some(alert)) => Standing::Firing { alert },
            ("recovering", Some(since), Some(alert)) => Standing::Recovering { alert, since },
            _ => Standing::Quiet,
        }
    }
}

/// How rules stand, by column.
#[derive(Debug, Default)]
#[allow(missing_docs)]
pub struct Judged {
    pub name: Vec<String>,
    pub standing: Vec<&'static str>,
    pub since: Vec<Option<DateTime<Utc>>>,
    pub alert_id: Vec<Option<Uuid>>,
    pub metric: Vec<&'static str>,
    pub value: Vec<Option<f64>>,
    pub rule: Vec<String>,
}

impl Judged {
    /// One more.
    pub fn push(&mut self, rule: &Rule, standing: Standing, value: Option<f64>) {
        let (word, since) = match standing {
            Standing::Quiet => ("quiet", None),
            Standing::Pending { since } => ("pending", Some(since)),
            Standing::Firing { .. } => ("firing", None),
            Standing::Recovering { since, .. } => ("recovering", Some(since)),
        };
        self.name.push(rule.name.clone());
        self.rule.push(rule.to_string());
        self.standing.push(word);
        self.since.push(since);
        self.alert_id.push(standing.alert());
        self.metric.push(rule.metric.as_str());
        self.value.push(value);
    }
}

/// Alerts that begin, by column.
#[derive(Debug, Default)]
#[allow(missing_docs)]
pub struct Raised {
    pub id: Vec<Uuid>,
    pub name: Vec<String>,
    pub metric: Vec<&'static str>,
    pub value: Vec<f64>,
    pub threshold: Vec<f64>,
}

/// Sagas to be started, by column.
#[derive(Debug, Default)]
#[allow(missing_docs)]
pub struct Wishes {
    pub id: Vec<Uuid>,
    pub workflow: Vec<&'static str>,
    pub input: Vec<Value>,
}

/// The time, if nobody else is judging until the transaction ends.
pub async fn lock(executor: impl PgExecutor<'_>) -> Result<Option<DateTime<Utc>>, sqlx::Error> {
    sqlx::query_scalar("select clock_timestamp() from ops.watch where id for update skip locked")
        .fetch_optional(executor)
        .await
}

/// How all rules stand.
pub async fn rules(executor: impl PgExecutor<'_>) -> Result<Vec<RuleRow>, sqlx::Error> {
    sqlx::query_as("select name, standing, since, alert_id from ops.alert_rules")
        .fetch_all(executor)
        .await
}

/// Writes how rules stand.
pub async fn judged(executor: impl PgExecutor<'_>, judged: &Judged, now: DateTime<Utc>) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into ops.alert_rules (name, standing, since, alert_id, metric, value, rule, judged_at)
         select j.name, j.standing, j.since, j.alert_id, j.metric, j.value, j.rule, $8
         from unnest($1::text[], $2::text[], $3::timestamptz[], $4::uuid[], $5::text[], $6::double precision[], $7::text[])
           as j (name, standing, since, alert_id, metric, value, rule)
         on conflict (name) do update set standing = excluded.standing, since = excluded.since, alert_id = excluded.alert_id,
             metric = excluded.metric, value = excluded.value, rule = excluded.rule, judged_at = excluded.judged_at",
    )
    .bind(&judged.name)
    .bind(&judged.standing)
    .bind(&judged.since)
    .bind(&judged.alert_id)
    .bind(&judged.metric)
    .bind(&judged.value)
    .bind(&judged.rule)
    .bind(now)
    .execute(executor)
    .await
    .map(drop)
}

/// Removes rules that there are no more; gives the alerts that end with them.
pub async fn forget_rules(executor: impl PgExecutor<'_>, known: &[String]) -> Result<Vec<Uuid>, sqlx::Error> {
    let alerts: Vec<Option<Uuid>> =
        sqlx::query_scalar("delete from ops.alert_rules where name <> all($1) returning alert_id")
            .bind(known)
            .fetch_all(executor)
            .await?;
    Ok(alerts.into_iter().flatten().collect())
}

/// Writes alerts that begin.
pub async fn raise(executor: impl PgExecutor<'_>, raised: &Raised, now: DateTime<Utc>) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into ops.alerts (id, name, metric, value, threshold, raised_at)
         select r.id, r.name, r.metric, r.value, r.threshold, $6
         from unnest($1::uuid[], $2::text[], $3::text[], $4::double precision[], $5::double precision[])
           as r (id, name, metric, value, threshold)",
    )
    .bind(&raised.id)
    .bind(&raised.name)
    .bind(&raised.metric)
    .bind(&raised.value)
    .bind(&raised.threshold)
    .bind(now)
    .execute(executor)
    .await
    .map(drop)
}

/// Writes alerts that end.
pub async fn end(executor: impl PgExecutor<'_>, alerts: &[Uuid], now: DateTime<Utc>) -> Result<(), sqlx::Error> {
    sqlx::query("update ops.alerts set ended_at = $2 where id = any($1) and ended_at is null")
        .bind(alerts)
        .bind(now)
        .execute(executor)
        .await
        .map(drop)
}

/// Forgets alerts that ended before this.
pub async fn forget_alerts(executor: impl PgExecutor<'_>, before: DateTime<Utc>) -> Result<(), sqlx::Error> {
    sqlx::query("delete from ops.alerts where raised_at < $1 and ended_at < $1")
        .bind(before)
        .execute(executor)
        .await
        .map(drop)
}

/// How many workers are wanted, by target.
pub async fn wanted(executor: impl PgExecutor<'_>) -> Result<BTreeMap<String, Wanted>, sqlx::Error> {
    let rows: Vec<(String, i32, DateTime<Utc>)> = sqlx::query_as("select name, replicas, since from ops.scale_targets")
        .fetch_all(executor)
        .await?;
    let wanted = |(name, replicas, since)| {
        let replicas = u32::try_from(replicas).unwrap_or_default();
        (name, Wanted { replicas, since })
    };
    Ok(rows.into_iter().map(wanted).collect())
}

/// Writes how many are wanted from now on; gives the decision's number.
pub async fn want(
    executor: impl PgExecutor<'_>,
    changes: &[(String, u32)],
    now: DateTime<Utc>,
) -> Result<i64, sqlx::Error> {
    let (names, replicas): (Vec<&str>, Vec<i32>) = changes
        .iter()
        .map(|(name, replicas)| (name.as_str(), i32::try_from(*replicas).unwrap_or(i32::MAX)))
        .unzip();
    sqlx::query_scalar(
        "with decision as materialized (select nextval('ops.scale_decisions') as number), written as (
             insert into ops.scale_targets (name, replicas, decision, since)
             select w.name, w.replicas, d.number, $3 from unnest($1::text[], $2::integer[]) as w (name, replicas), decision d
             on conflict (name) do update set replicas = excluded.replicas, decision = excluded.decision, since = excluded.since
         )
         select number from decision",
    )
    .bind(names)
    .bind(replicas)
    .bind(now)
    .fetch_one(executor)
    .await
}

/// Those of the targets about which nothing newer than this decision was decided.
pub async fn current(pool: &PgPool, decision: i64, names: &[String]) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar("select name from ops.scale_targets where name = any($2) and decision = $1")
        .bind(decision)
        .bind(names)
        .fetch_all(pool)
        .await
}

/// Notes that the scaler has carried out a decision.
pub async fn applied(pool: &PgPool, decision: i64, names: &[String]) -> Result<(), sqlx::Error> {
    sqlx::query("update ops.scale_targets set applied = $1, applied_at = now() where name = any($2) and decision = $1")
        .bind(decision)
        .bind(names)
        .execute(pool)
        .await
        .map(drop)
}

/// Writes sagas that are to be started.
pub async fn wish(executor: impl PgExecutor<'_>, wishes: &Wishes) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into ops.watch_outbox (id, workflow, input)
         select w.id, w.workflow, w.input from unnest($1::uuid[], $2::text[], $3::jsonb[]) as w (id, workflow, input)",
    )
    .bind(&wishes.id)
    .bind(&wishes.workflow)
    .bind(&wishes.input)
    .execute(executor)
    .await
    .map(drop)
}

/// Sagas that are to be started, the oldest first.
pub async fn wishes(pool: &PgPool, limit: i64) -> Result<Vec<(Uuid, String, Value)>, sqlx::Error> {
    sqlx::query_as("select id, workflow, input from ops.watch_outbox order by created_at, id limit $1")
        .bind(limit)
        .fetch_all(pool)
        .await
}

/// Removes those that the engine has.
pub async fn told(pool: &PgPool, ids: &[Uuid]) -> Result<(), sqlx::Error> {
    sqlx::query("delete from ops.watch_outbox where id = any($1)")
        .bind(ids)
        .execute(pool)
        .await
        .map(drop)
}

/// How long messages of the engine have waited to be published, in seconds.
pub async fn outbox_seconds(pool: &PgPool) -> Result<f64, sqlx::Error> {
    sqlx::query_scalar("select coalesce(extract(epoch from now() - min(created_at)), 0)::float8 from saga.outbox")
        .fetch_one(pool)
        .await
}

/// The tasks that wait in Postgres because the workers of their queue don't keep up, [`HELD_MAX`] of each queue at most. More workers would
/// not help those whose queue an operator has paused or limited.
pub async fn held_back(pool: &PgPool, queues: &[&str]) -> Result<BTreeMap<String, u64>, sqlx::Error> {
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "select q.queue, held.tasks from saga.held_queues q cross join lateral (
             select count(*) as tasks from (select from saga.held_tasks h where h.queue = q.queue limit $2) first) held
         where q.queue = any($1)
           and not exists (select from saga.queues said where said.queue = q.queue and (said.paused or said.rate is not null))",
    )
    .bind(queues)
    .bind(HELD_MAX)
    .fetch_all(pool)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(queue, tasks)| (queue, tasks.unsigned_abs()))
        .collect())
}

/// How long ago the oldest saga began that waits for an operator, in seconds.
pub async fn oldest_stuck_seconds(pool: &PgPool) -> Result<f64, sqlx::Error> {
    sqlx::query_scalar(
        "select coalesce(extract(epoch from now() - min(created_at)), 0)::float8
         from (select created_at from saga.sagas where status = 'failed' and ended_at is null order by id limit 1) as oldest",
    )
    .fetch_one(pool)
    .await
}

/// The minutes whose metrics were published last, and what time it is.
#[derive(Clone, Copy, Debug, sqlx::FromRow)]
pub struct Published {
    /// Of `analytics.booking-metrics`.
    pub booking_minute: Option<DateTime<Utc>>,
    /// Of `analytics.system-metrics`.
    pub system_minute: Option<DateTime<Utc>>,
    /// The time.
    pub now: DateTime<Utc>,
}

/// Which minutes' metrics were published.
pub async fn published(pool: &PgPool) -> Result<Option<Published>, sqlx::Error> {
    sqlx::query_as("select booking_minute, system_minute, clock_timestamp() as now from ops.watch where id")
        .fetch_optional(pool)
        .await
}

/// Notes that a minute's bookings are published; false: another process did.
pub async fn publish_bookings(executor: impl PgExecutor<'_>, minute: DateTime<Utc>) -> Result<bool, sqlx::Error> {
    let noted = sqlx::query(
        "update ops.watch set booking_minute = $1 where id and (booking_minute is null or booking_minute < $1)",
    )
    .bind(minute)
    .execute(executor)
    .await?;
    Ok(noted.rows_affected() > 0)
}

/// Notes that the system's state of a minute is published; false: another process did.
pub async fn publish_system(executor: impl PgExecutor<'_>, minute: DateTime<Utc>) -> Result<bool, sqlx::Error> {
    let noted = sqlx::query(
        "update ops.watch set system_minute = $1 where id and (system_minute is null or system_minute < $1)",
    )
    .bind(minute)
    .execute(executor)
    .await?;
    Ok(noted.rows_affected() > 0)
}

/// How a rule stands, for those who look.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct RuleStanding {
    /// Its name.
    pub name: String,
    /// As the settings have it.
    pub rule: String,
    /// `quiet`, `pending`, `firing` or `recovering`.
    pub standing: String,
    /// Since when, where it matters.
    pub since: Option<DateTime<Utc>>,
    /// What it is about.
    pub metric: String,
    /// The metric's value; none: it can't be told.
    pub value: Option<f64>,
    /// When it was looked at last.
    pub judged_at: DateTime<Utc>,
}

/// How all rules stand, by name.
pub async fn rule_standings(pool: &PgPool) -> Result<Vec<RuleStanding>, sqlx::Error> {
    sqlx::query_as("select name, rule, standing, since, metric, value, judged_at from ops.alert_rules order by name")
        .fetch_all(pool)
        .await
}

/// How many workers are wanted, for those who look.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct TargetStanding {
    /// The target.
    pub name: String,
    /// How many.
    pub replicas: i32,
    /// Since when.
    pub since: DateTime<Utc>,
    /// When the scaler was told; none: not yet of this decision.
    pub told_at: Option<DateTime<Utc>>,
}

/// How many workers of each kind are wanted, by name.
pub async fn target_standings(pool: &PgPool) -> Result<Vec<TargetStanding>, sqlx::Error> {
    sqlx::query_as(
        "select name, replicas, since, case when applied = decision then applied_at end as told_at
         from ops.scale_targets order by name",
    )
    .fetch_all(pool)
    .await
}

/// An alert, for those who look.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Alert {
    /// What is it called.
    pub name: String,
    /// What it is about.
    pub metric: String,
    /// The metric's value when it was raised.
    pub value: f64,
    /// Above which it was.
    pub threshold: f64,
    /// When.
    pub raised_at: DateTime<Utc>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
}

/// The latest alerts, newest first.
pub async fn alerts(pool: &PgPool, limit: i64) -> Result<Vec<Alert>, sqlx::Error> {
    sqlx::query_as(
        "select name, metric, value, threshold, raised_at, ended_at from ops.alerts order by raised_at desc limit $1",
    )
    .bind(limit)
    .fetch_all(pool)
    .await
}
