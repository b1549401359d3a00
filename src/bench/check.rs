//! The proof at the end of a run: what the callers were told against what the tables say.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use sqlx::PgPool;

use super::load::Ended;

/// Every 20th saga's charge fails for good: so says the reference workload.
pub const DECLINED_EVERY: u64 = 20;
/// The last batches' outbox rows are deleted a little after their messages were acknowledged.
const OUTBOX_EMPTY_LIMIT: Duration = Duration::from_secs(20);
/// Between two looks at the outbox.
const POLL: Duration = Duration::from_millis(50);

/// What the tables say.
#[derive(Debug, PartialEq)]
pub struct Verdict {
    /// Callers who were told `completed` and whose seat isn't theirs.
    pub oversold: u64,
    /// Deadlocks in this database since it was made.
    pub deadlocks: u64,
    /// All that is not as it must be, in words; empty is what one wants.
    pub problems: Vec<String>,
}

/// Makes the seats of the workload, none but those: `S-1..` measured, `W-1..` for warming up, `F-1` for the first saga.
pub async fn make_seats(pool: &PgPool, measured: u64, warm_up: u64) -> anyhow::Result<()> {
    for statement in [
        "drop schema if exists bench cascade",
        "create schema bench",
        "create table bench.seats (id text primary key, status text not null default 'available', booking_id text) \
         with (fillfactor = 70)",
    ] {
        sqlx::query(statement)
            .execute(pool)
            .await
            .context("making the benchmark's table")?;
    }
    for (prefix, count) in [("S", measured), ("W", warm_up), ("F", 1)] {
        sqlx::query("insert into bench.seats (id) select $1 || '-' || n from generate_series(1, $2) n")
            .bind(prefix)
            .bind(i64::try_from(count)?)
            .execute(pool)
            .await
            .context("making the benchmark's seats")?;
    }
    for statement in ["vacuum analyze bench.seats", "checkpoint"] {
        prepare(pool, statement).await;
    }
    Ok(())
}

/// A checkpoint after the warm-up, as a server that has run for a while has had: log files that were written are used
/// again, where a young server fills new ones with zeros first.
pub async fn settle(pool: &PgPool) {
    prepare(pool, "checkpoint").await;
}

/// A database that isn't ours may not let us; the figures are then a little worse, the result is the same.
async fn prepare(pool: &PgPool, statement: &'static str) {
    if let Err(error) = sqlx::query(statement).execute(pool).await {
        tracing::warn!(%error, statement, "the database does not let us prepare it fully");
    }
}

/// Holds the outcomes of sagas `1..=sagas` against the tables.
pub async fn verify(pool: &PgPool, sagas: u64, ended: &[Ended]) -> anyhow::Result<Verdict> {
    let declined = sagas / DECLINED_EVERY;
    let mut problems = Vec::new();
    let mut expect = |what: &str, expected: u64, found: u64| {
        if expected != found {
            problems.push(format!("{what}: expected {expected}, found {found}"));
        }
    };

    let told = |confirmed: bool| ended.iter().filter(|saga| saga.confirmed == confirmed).count() as u64;
    expect("callers told completed", sagas - declined, told(true));
    expect("callers told compensated", declined, told(false));

    expect("seats sold", sagas - declined, seats_with_status(pool, "sold").await?);
    expect(
        "seats available again",
        declined,
        seats_with_status(pool, "available").await?,
    );
    expect("seats still held", 0, seats_with_status(pool, "held").await?);
    expect(
        "seats with a booking though available, or none though not",
        0,
        seats_with_odd_booking(pool).await?,
    );
    expect(
        "compensated sagas that still have their seat",
        0,
        seats_of(pool, ended, false).await?,
    );
    let oversold = told(true).saturating_sub(seats_of(pool, ended, true).await?);
    expect("completed sagas whose seat is not theirs", 0, oversold);

    expect("sagas that have not ended", 0, sagas_not_ended(pool).await?);
    expect("rows left in the outbox", 0, outbox_rows_left(pool).await?);
    let deadlocks = deadlocks(pool).await?;
    expect("deadlocks", 0, deadlocks);
    Ok(Verdict {
        oversold,
        deadlocks,
        problems,
    })
}

async fn seats_with_status(pool: &PgPool, status: &str) -> anyhow::Result<u64> {
    count(
        sqlx::query_scalar("select count(*) from bench.seats where id like 'S-%' and status = $1").bind(status),
        pool,
    )
    .await
}

async fn seats_with_odd_booking(pool: &PgPool) -> anyhow::Result<u64> {
    let query = "select count(*) from bench.seats where (status = 'available') <> (booking_id is null)";
    count(sqlx::query_scalar(query), pool).await
}

/// Sagas of this outcome that have the seat they asked for.
async fn seats_of(pool: &PgPool, ended: &[Ended], confirmed: bool) -> anyhow::Result<u64> {
    let sagas = || ended.iter().filter(|saga| saga.confirmed == confirmed);
    let seats: Vec<String> = sagas().map(|saga| format!("S-{}", saga.n)).collect();
    let bookings: Vec<String> = sagas().map(|saga| saga.id.to_string()).collect();
    let query = "select count(*) from bench.seats s \
                 join unnest($1::text[], $2::text[]) as told (seat_id, booking_id) \
                   on told.seat_id = s.id and told.booking_id = s.booking_id";
    count(sqlx::query_scalar(query).bind(seats).bind(bookings), pool).await
}

async fn sagas_not_ended(pool: &PgPool) -> anyhow::Result<u64> {
    let query = "select count(*) from saga.sagas where workflow = 'reference' and ended_at is null";
    count(sqlx::query_scalar(query), pool).await
}

async fn outbox_rows_left(pool: &PgPool) -> anyhow::Result<u64> {
    let until = Instant::now() + OUTBOX_EMPTY_LIMIT;
    loop {
        let left = count(sqlx::query_scalar("select count(*) from saga.outbox"), pool).await?;
        if left == 0 || Instant::now() >= until {
            return Ok(left);
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn deadlocks(pool: &PgPool) -> anyhow::Result<u64> {
    let query = "select deadlocks from pg_stat_database where datname = current_database()";
    count(sqlx::query_scalar(query), pool).await
}

async fn count(
    query: sqlx::query::QueryScalar<'_, sqlx::Postgres, i64, sqlx::postgres::PgArguments>,
    pool: &PgPool,
) -> anyhow::Result<u64> {
    let number = query.fetch_one(pool).await.context("checking the result")?;
    Ok(u64::try_from(number)?)
}
