//! Who is alive, and who does what only one should do.

use sqlx::PgPool;
use uuid::Uuid;

/// Says that this instance is alive.
pub async fn heartbeat(pool: &PgPool, instance: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into saga.instances (id) values ($1) on conflict (id) do update set seen_at = clock_timestamp()",
    )
    .bind(instance)
    .execute(pool)
    .await?;
    Ok(())
}

/// This instance has left: what it left behind is anybody's at once.
pub async fn leave(pool: &PgPool, instance: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query("delete from saga.instances where id = $1")
        .bind(instance)
        .execute(pool)
        .await?;
    sqlx::query("delete from saga.leases where holder = $1")
        .bind(instance)
        .execute(pool)
        .await?;
    Ok(())
}

/// Forgets instances that have been silent for a day.
pub async fn forget_silent(pool: &PgPool) -> Result<(), sqlx::Error> {
    sqlx::query("delete from saga.instances where seen_at < now() - interval '1 day'")
        .execute(pool)
        .await?;
    Ok(())
}

/// Takes or renews a lease; false: somebody else holds it.
pub async fn hold_lease(pool: &PgPool, name: &str, instance: Uuid, seconds: f64) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(
        "insert into saga.leases as l (name, holder, held_until)
         values ($1, $2, clock_timestamp() + make_interval(secs => $3))
         on conflict (name) do update set holder = excluded.holder, held_until = excluded.held_until
         where l.holder = excluded.holder or l.held_until < clock_timestamp()",
    )
    .bind(name)
    .bind(instance)
    .bind(seconds)
    .execute(pool)
    .await?;
    Ok(done.rows_affected() == 1)
}
