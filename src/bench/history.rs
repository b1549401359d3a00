//! Tables as they are after years: ended sagas with their journals, copied from ones that were really run.

use anyhow::Context as _;
use sqlx::PgPool;

/// Ended sagas that are copied.
const MODELS: i64 = 100;

/// Adds so many ended sagas, each a millisecond younger than the one before, from a day ago on.
pub async fn add(pool: &PgPool, ended: u64) -> anyhow::Result<()> {
    let ended = i64::try_from(ended)?;
    let mut transaction = pool.begin().await?;
    for statement in [
        // A table, so that both inserts copy the same ones.
        "create temp table models on commit drop as \
         select row_number() over (order by id) - 1 as model, * from saga.sagas where ended_at is not null \
         order by id limit $1",
        "insert into saga.sagas (id, workflow, definition_id, status, business_key, tags, state, seq, created_at, \
                                 updated_at, ended_at, failure_code, failure_step) \
         select saga.first_id_at(now() - interval '1 day' + n * interval '1 millisecond'), workflow, definition_id, \
                status, business_key, tags, state, seq, created_at, updated_at, ended_at, failure_code, failure_step \
         from generate_series(1, $1) n join models on model = n % (select count(*) from models)",
        "insert into saga.journal (saga_id, seq, at, kind, step, event, facts) \
         select saga.first_id_at(now() - interval '1 day' + n * interval '1 millisecond'), j.seq, j.at, j.kind, \
                j.step, j.event, j.facts \
         from generate_series(1, $1) n join models on model = n % (select count(*) from models) \
           join saga.journal j on j.saga_id = models.id",
    ] {
        let bound = if statement.starts_with("create") { MODELS } else { ended };
        sqlx::query(statement)
            .bind(bound)
            .execute(&mut *transaction)
            .await
            .context("adding ended sagas")?;
    }
    transaction.commit().await?;
    for statement in ["vacuum analyze saga.sagas", "vacuum analyze saga.journal"] {
        sqlx::query(statement).execute(pool).await.context("vacuuming")?;
    }
    Ok(())
}
