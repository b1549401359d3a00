//! Whole journals, for rebuilding and auditing.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::{PgPool, Row};
use uuid::Uuid;
use workflows::event::Event;
use workflows::ids::{SagaId, Timestamp};

/// The journals of these sagas, each oldest first.
pub async fn load_journals(
    pool: &PgPool,
    sagas: &[Uuid],
) -> Result<BTreeMap<SagaId, Vec<(Timestamp, Event)>>, sqlx::Error> {
    let rows = sqlx::query("select saga_id, at, event from saga.journal where saga_id = any($1) order by saga_id, seq")
        .bind(sagas)
        .fetch_all(pool)
        .await?;
    let mut journals: BTreeMap<SagaId, Vec<(Timestamp, Event)>> = BTreeMap::new();
    for row in &rows {
        let event = serde_json::from_str(row.try_get(2)?).map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
        let at = row.try_get::<DateTime<Utc>, _>(1)?.into();
        journals.entry(SagaId(row.try_get(0)?)).or_default().push((at, event));
    }
    Ok(journals)
}
