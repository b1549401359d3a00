//! The keys that sign tickets: in the database, so that all gateways have the same, and a ticket outlives them all.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::PgPool;
use tickets::{TicketKey, TicketKeys};
use tokio::sync::Mutex;
use uuid::Uuid;

use super::store;

/// How long keys are believed to be all there are.
const FRESH_FOR: Duration = Duration::from_secs(60);

/// The keys as they were a moment ago.
#[derive(Default)]
pub struct Keys(Mutex<Option<(Arc<TicketKeys>, Instant)>>);

impl Keys {
    /// All keys; the first gateway that is asked makes the first one.
    pub async fn get(&self, pool: &PgPool) -> Result<Arc<TicketKeys>, sqlx::Error> {
        let mut known = self.0.lock().await;
        if let Some((keys, at)) = known.as_ref()
            && at.elapsed() < FRESH_FOR
        {
            return Ok(Arc::clone(keys));
        }
        let mut rows = store::keys(pool).await?;
        if rows.is_empty() {
            store::add_first_key(pool, &Uuid::new_v4().simple().to_string(), &rand::random::<[u8; 32]>()).await?;
            // Another gateway may have been faster: its key is the one.
            rows = store::keys(pool).await?;
        }
        let keys = rows
            .into_iter()
            .filter_map(|(id, seed)| Some(TicketKey::new(id, seed.as_slice().try_into().ok()?)))
            .collect();
        let keys = TicketKeys::new(keys).ok_or(sqlx::Error::RowNotFound)?;
        let keys = Arc::new(keys);
        *known = Some((Arc::clone(&keys), Instant::now()));
        Ok(keys)
    }
}
