//! Keeps pools on the primary.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgConnection};

use crate::servers::{Servers, takes_writes};

/// How often the primary is asked whether it still is one: what a promotion costs on top of itself, at most.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long it may take to answer.
const LOOK_LIMIT: Duration = Duration::from_secs(2);
/// For how long after a change idle connections are looked through for ones that lead to the old primary. Longer than any statement of
/// ours may run, so that those which were busy then are met too.
const SWEEP_FOR: Duration = Duration::from_secs(60);

/// Follows the primary among several servers and takes pools along.
pub struct Follower {
    servers: Servers,
    pools: Mutex<Vec<PgPool>>,
}

impl Follower {
    /// A follower without pools.
    pub fn new(servers: Servers) -> Self {
        Follower {
            servers,
            pools: Mutex::new(Vec::new()),
        }
    }

    /// Takes this pool along from now on. Its options stay what they are, but for host and port.
    pub fn take_along(&self, pool: PgPool) {
        self.pools().push(pool);
    }

    /// Follows until every pool is closed. With one server there is nothing to follow, and it returns at once.
    pub async fn run(&self) {
        if self.servers.are_several() {
            self.follow().await;
        }
    }

    async fn follow(&self) {
        let mut watched: Option<(PgConnectOptions, PgConnection)> = None;
        let mut sweep_until = Instant::now();
        let mut last_complaint = None;
        while !self.open_pools().is_empty() {
            if let Some((_, connection)) = &mut watched
                && !is_primary(connection).await
            {
                watched = None;
            }
            if watched.is_none() {
                match self
                    .servers
                    .connect_to_primary()
                    .await
                    .map_err(|error| error.to_string())
                {
                    Ok(found) => {
                        last_complaint = None;
                        if self.move_pools(&found.0) {
                            sweep_until = Instant::now() + SWEEP_FOR;
                        }
                        watched = Some(found);
                    }
                    Err(reason) if last_complaint.as_ref() != Some(&reason) => {
                        tracing::warn!(reason, "Postgres has no primary; looking again each second");
                        last_complaint = Some(reason);
                    }
                    Err(_) => {}
                }
            }
            if Instant::now() < sweep_until {
                self.sweep().await;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Whether any pool was elsewhere.
    fn move_pools(&self, server: &PgConnectOptions) -> bool {
        let mut moved = false;
        for pool in self.open_pools() {
            let options = pool.connect_options();
            if (options.get_host(), options.get_port()) == (server.get_host(), server.get_port()) {
                continue;
            }
            let options = PgConnectOptions::clone(&options);
            pool.set_connect_options(options.host(server.get_host()).port(server.get_port()));
            moved = true;
        }
        if moved {
            metrics::counter!("sagaline_postgres_primary_changes_total").increment(1);
            tracing::warn!(
                host = server.get_host(),
                port = server.get_port(),
                "Postgres has another primary"
            );
        }
        moved
    }

    /// Closes idle connections to servers that are there and take no writes. Those to servers that are gone fail by themselves.
    async fn sweep(&self) {
        for pool in self.open_pools() {
            let idle: Vec<_> = std::iter::from_fn(|| pool.try_acquire()).collect();
            for mut connection in idle {
                if !is_primary(&mut connection).await {
                    connection.close_on_drop();
                }
            }
        }
    }

    /// The pools that are still in use.
    fn open_pools(&self) -> Vec<PgPool> {
        let mut pools = self.pools();
        pools.retain(|pool| !pool.is_closed());
        pools.clone()
    }

    fn pools(&self) -> std::sync::MutexGuard<'_, Vec<PgPool>> {
        // A list that is only pushed to and filtered is never half changed.
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn is_primary(connection: &mut PgConnection) -> bool {
    let asked = tokio::time::timeout(LOOK_LIMIT, takes_writes(connection)).await;
    matches!(asked, Ok(Ok(true)))
}
