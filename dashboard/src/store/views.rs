//! Kept searches.

use sqlx::{PgExecutor, PgPool};

use crate::limits::VIEWS_MAX;

/// Characters of a name, as in the table's check.
pub const NAME_MAX: usize = 80;

/// A kept search.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct View {
    /// Its name.
    pub name: String,
    /// The search.
    pub search: String,
}

/// All of them, by name.
pub async fn all(pool: &PgPool) -> Result<Vec<View>, sqlx::Error> {
    sqlx::query_as("select name, search from ops.views order by name limit $1")
        .bind(VIEWS_MAX)
        .fetch_all(pool)
        .await
}

/// Keeps one, in place of another of that name; false: there are too many.
pub async fn save(db: impl PgExecutor<'_>, name: &str, search: &str, operator: &str) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(
        "insert into ops.views (name, search, saved_by) select $1, $2, $3 \
         where (select count(*) from (select 1 from ops.views order by name limit $4) as kept) < $4 \
            or exists (select from ops.views where name = $1) \
         on conflict (name) do update set search = excluded.search, saved_by = excluded.saved_by, saved_at = now()",
    )
    .bind(name)
    .bind(search)
    .bind(operator)
    .bind(VIEWS_MAX)
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Forgets one; gives its search. None: there is none of that name.
pub async fn delete(db: impl PgExecutor<'_>, name: &str) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar("delete from ops.views where name = $1 returning search")
        .bind(name)
        .fetch_optional(db)
        .await
}

/// The search of one, which stays as it is until the transaction ends.
pub async fn lock(db: impl PgExecutor<'_>, name: &str) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar("select search from ops.views where name = $1 for update")
        .bind(name)
        .fetch_optional(db)
        .await
}
