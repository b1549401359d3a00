//! What campaigns and comparisons ask of the engine's tables.

use sqlx::{PgPool, Row};
use uuid::Uuid;
use workflows::event::Event;
use workflows::ids::SagaId;
use workflows::state::State;

use crate::limits::{PASSED_AMONG, PASSED_ASKED};

/// A saga's state.
pub struct Current {
    /// The saga.
    pub id: SagaId,
    /// Its journal's end.
    pub seq: u64,
    /// Its definition.
    pub definition_id: i64,
    /// Where it stands.
    pub state: State,
}

/// Where these sagas' journals end; those that aren't there are left out.
pub async fn seqs(pool: &PgPool, ids: &[Uuid]) -> Result<Vec<(SagaId, u64)>, sqlx::Error> {
    let rows: Vec<(Uuid, i64)> = sqlx::query_as("select id, seq from saga.sagas where id = any($1) order by id")
        .bind(ids)
        .fetch_all(pool)
        .await?;
    Ok(rows
        .into_iter()
        .map(|(id, seq)| (SagaId(id), seq.unsigned_abs()))
        .collect())
}

/// These sagas; those that aren't there are left out.
pub async fn current(pool: &PgPool, ids: &[Uuid]) -> Result<Vec<Current>, sqlx::Error> {
    let rows = sqlx::query("select id, seq, definition_id, state from saga.sagas where id = any($1)")
        .bind(ids)
        .fetch_all(pool)
        .await?;
    rows.iter().map(saga).collect()
}

/// Of these sagas, those whose journal doesn't end where `seqs` says; None: it isn't there any more.
pub async fn changed(pool: &PgPool, ids: &[Uuid], seqs: &[i64]) -> Result<Vec<(SagaId, Option<Current>)>, sqlx::Error> {
    let rows = sqlx::query(
        "select w.saga_id, s.id, s.seq, s.definition_id, s.state from unnest($1::uuid[], $2::bigint[]) as w (saga_id, seq) \
         left join saga.sagas s on s.id = w.saga_id where s.seq is distinct from w.seq",
    )
    .bind(ids)
    .bind(seqs)
    .fetch_all(pool)
    .await?;
    rows.iter()
        .map(|row| {
            let there: Option<Uuid> = row.try_get("id")?;
            let current = there.map(|_| saga(row)).transpose()?;
            Ok((SagaId(row.try_get("saga_id")?), current))
        })
        .collect()
}

/// The journal entries of these numbers, one of each saga; those that aren't there are left out.
pub async fn entries(pool: &PgPool, ids: &[Uuid], seqs: &[i64]) -> Result<Vec<(SagaId, Event)>, sqlx::Error> {
    let rows = sqlx::query(
        "select j.saga_id, j.event from unnest($1::uuid[], $2::bigint[]) as w (saga_id, seq) \
         join saga.journal j on j.saga_id = w.saga_id and j.seq = w.seq",
    )
    .bind(ids)
    .bind(seqs)
    .fetch_all(pool)
    .await?;
    rows.iter()
        .map(|row| {
            let event =
                serde_json::from_str(row.try_get("event")?).map_err(|error| sqlx::Error::Decode(error.into()))?;
            Ok((SagaId(row.try_get("saga_id")?), event))
        })
        .collect()
}

/// The newest saga of a workflow, other than `except`, whose step has succeeded at running; among the newest [`PASSED_AMONG`].
pub async fn last_passed(
    pool: &PgPool,
    workflow: &str,
    step: &str,
    except: SagaId,
) -> Result<Option<SagaId>, sqlx::Error> {
    let found: Option<Uuid> = sqlx::query_scalar(
        "select asked.id from \
           (select newest.id from (select id, workflow, failure_step from saga.sagas order by id desc limit $4) as newest \
            where newest.workflow = $1 and newest.failure_step is distinct from $2 and newest.id <> $3 \
            order by newest.id desc limit $5) as asked \
         where exists (select from saga.journal j \
                       where j.saga_id = asked.id and j.step = $2 and j.kind = 'step_succeeded') \
         order by asked.id desc limit 1",
    )
    .bind(workflow)
    .bind(step)
    .bind(except.0)
    .bind(PASSED_AMONG)
    .bind(PASSED_ASKED)
    .fetch_optional(pool)
    .await?;
    Ok(found.map(SagaId))
}

fn saga(row: &sqlx::postgres::PgRow) -> Result<Current, sqlx::Error> {
    let state = State::decode(row.try_get("state")?).map_err(|error| sqlx::Error::Decode(error.into()))?;
    Ok(Current {
        id: SagaId(row.try_get("id")?),
        seq: row.try_get::<i64, _>("seq")?.unsigned_abs(),
        definition_id: row.try_get("definition_id")?,
        state,
    })
}
