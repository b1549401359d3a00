//! Workflow definitions.

use chrono::{DateTime, Utc};
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{PgPool, Row};
use workflows::definition::Definition;
use workflows::ids::Timestamp;

/// A stored definition.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredDefinition {
    /// What sagas refer to it by.
    pub id: i64,
    /// SHA-256 of its canonical JSON.
    pub hash: String,
    /// When it was deployed.
    pub created_at: Timestamp,
    /// The definition.
    pub definition: Definition,
}

/// Stores a definition unless its version is there; gives what is there then, and whether it is new.
pub async fn insert(
    pool: &PgPool,
    definition: &Definition,
    hash: &str,
) -> Result<(StoredDefinition, bool), sqlx::Error> {
    let inserted = sqlx::query(
        "insert into saga.definitions (name, version, hash, body) values ($1, $2, $3, $4) \
         on conflict (name, version) do nothing returning id, hash, body, created_at",
    )
    .bind(&definition.name)
    .bind(i32::try_from(definition.version).unwrap_or(i32::MAX))
    .bind(hash)
    .bind(Json(definition))
    .fetch_optional(pool)
    .await?;
    match inserted {
        Some(row) => Ok((stored(&row)?, true)),
        None => {
            let found = by_version(pool, &definition.name, definition.version).await?;
            found.map(|found| (found, false)).ok_or(sqlx::Error::RowNotFound)
        }
    }
}

/// One version.
pub async fn by_version(pool: &PgPool, name: &str, version: u32) -> Result<Option<StoredDefinition>, sqlx::Error> {
    let row = sqlx::query("select id, hash, body, created_at from saga.definitions where name = $1 and version = $2")
        .bind(name)
        .bind(i32::try_from(version).unwrap_or(i32::MAX))
        .fetch_optional(pool)
        .await?;
    row.as_ref().map(stored).transpose()
}

/// One definition.
pub async fn by_id(pool: &PgPool, id: i64) -> Result<Option<StoredDefinition>, sqlx::Error> {
    let row = sqlx::query("select id, hash, body, created_at from saga.definitions where id = $1")
        .bind(id)
        .fetch_optional(pool)
        .await?;
    row.as_ref().map(stored).transpose()
}

/// Everything stored after definition `id` (0: everything), oldest first.
pub async fn after(pool: &PgPool, id: i64) -> Result<Vec<StoredDefinition>, sqlx::Error> {
    let rows = sqlx::query("select id, hash, body, created_at from saga.definitions where id > $1 order by id")
        .bind(id)
        .fetch_all(pool)
        .await?;
    rows.iter().map(stored).collect()
}

fn stored(row: &PgRow) -> Result<StoredDefinition, sqlx::Error> {
    let Json(definition) = row.try_get("body")?;
    Ok(StoredDefinition {
        id: row.try_get("id")?,
        hash: row.try_get("hash")?,
        created_at: row.try_get::<DateTime<Utc>, _>("created_at")?.into(),
        definition,
    })
}
