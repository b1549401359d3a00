//! Connection strings of one or several servers.

use std::str::FromStr;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection};

/// How long a server may take to say whether it takes writes.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// Servers in one connection string, at most: each is asked when the primary is looked for.
const SERVERS_MAX: usize = 16;
/// libpq's name for the kind of server that is wanted.
const TARGET: &str = "target_session_attrs";

/// The servers of a connection string, at least one.
#[derive(Clone, Debug)]
pub struct Servers {
    all: Vec<PgConnectOptions>,
}

/// Why a connection string can't be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadServers(String);

/// No server takes writes.
#[derive(Debug, thiserror::Error)]
#[error("no server takes writes: {0}")]
pub struct NoPrimary(String);

impl Servers {
    /// The first one named.
    pub fn first(&self) -> &PgConnectOptions {
        &self.all[0]
    }

    /// Whether there is a choice.
    pub fn are_several(&self) -> bool {
        self.all.len() > 1
    }

    /// The same servers, with something set for each.
    #[must_use]
    pub fn map(self, set: impl Fn(PgConnectOptions) -> PgConnectOptions) -> Self {
        Servers {
            all: self.all.into_iter().map(set).collect(),
        }
    }

    /// Asks all of them at once; the first that takes writes. A lone server isn't asked.
    ///
    /// # Errors
    /// If none does, with what each said.
    pub async fn primary(&self) -> Result<PgConnectOptions, NoPrimary> {
        if !self.are_several() {
            return Ok(self.first().clone());
        }
        let (server, connection) = self.connect_to_primary().await?;
        // Not held against it should it not say goodbye.
        let _ = tokio::time::timeout(ANSWER_LIMIT, connection.close()).await;
        Ok(server)
    }

    /// The same with the connection by which it was found.
    pub(crate) async fn connect_to_primary(&self) -> Result<(PgConnectOptions, PgConnection), NoPrimary> {
        let mut asked: FuturesUnordered<_> = self
            .all
            .iter()
            .map(|server| async move { (server, connect(server).await) })
            .collect();
        let mut reasons = Vec::new();
        while let Some((server, answer)) = asked.next().await {
            match answer {
                Ok(connection) => return Ok((server.clone(), connection)),
                Err(reason) => reasons.push(format!("{}:{}: {reason}", server.get_host(), server.get_port())),
            }
        }
        reasons.sort();
        Err(NoPrimary(reasons.join("; ")))
    }
}

/// A connection to a server that takes writes.
async fn connect(server: &PgConnectOptions) -> Result<PgConnection, String> {
    let asking = async {
        let mut connection = server.connect().await.map_err(|error| error.to_string())?;
        match takes_writes(&mut connection).await {
            Ok(true) => Ok(connection),
            Ok(false) => Err("it is a standby, or takes no writes".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    };
    let too_late = |_| format!("no answer within {} s", ANSWER_LIMIT.as_secs());
    tokio::time::timeout(ANSWER_LIMIT, asking).await.map_err(too_late)?
}

/// What libpq asks for `target_session_attrs=read-write`.
pub(crate) async fn takes_writes(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("select not pg_is_in_recovery() and current_setting('default_transaction_read_only') = 'off'")
        .fetch_one(connection)
        .await
}

impl FromStr for Servers {
    type Err = BadServers;

    fn from_str(text: &str) -> Result<Self, BadServers> {
        let bad = |what: &str| BadServers(what.to_owned());
        let (scheme, rest) = text
            .split_once("://")
            .filter(|(scheme, _)| ["postgres", "postgresql"].contains(scheme))
            .ok_or_else(|| bad("it must begin with postgres://"))?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        // A password may hold an @ that somebody forgot to encode; hosts never do.
        let (user, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let user = if user.is_empty() {
            String::new()
        } else {
            format!("{user}@")
        };
        let rest = without_target(rest)?;
        let hosts: Vec<&str> = hosts.split(',').collect();
        if hosts.len() > SERVERS_MAX {
            return Err(BadServers(format!(
                "it names {} servers, {SERVERS_MAX} at most are looked at",
                hosts.len()
            )));
        }
        if hosts.len() > 1 && hosts.iter().any(|host| host.is_empty()) {
            return Err(bad("one of its hosts is empty"));
        }
        let parse = |host: &&str| {
            PgConnectOptions::from_str(&format!("{scheme}://{user}{host}{rest}"))
                .map_err(|error| BadServers(format!("host {host:?}: {error}")))
        };
        Ok(Servers {
            all: hosts.iter().map(parse).collect::<Result<_, _>>()?,
        })
    }
}

/// Path and query less `target_session_attrs`, which may only ask for what we always want.
fn without_target(rest: &str) -> Result<String, BadServers> {
    let Some((path, query)) = rest.split_once('?') else {
        return Ok(rest.to_owned());
    };
    let mut kept = Vec::new();
    for pair in query.split('&') {
        match pair.split_once('=') {
            Some((TARGET, "read-write" | "primary")) => {}
            Some((TARGET, other)) => {
                return Err(BadServers(format!(
                    "{TARGET} is {other:?}, but every process of ours writes: use read-write"
                )));
            }
            _ => kept.push(pair),
        }
    }
    if kept.is_empty() {
        return Ok(path.to_owned());
    }
    Ok(format!("{path}?{}", kept.join("&")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn places(text: &str) -> Vec<String> {
        let servers: Servers = text.parse().unwrap();
        let place = |server: &PgConnectOptions| {
            format!(
                "{}@{}:{}/{}",
                server.get_username(),
                server.get_host(),
                server.get_port(),
                server.get_database().unwrap_or("-")
            )
        };
        servers.all.iter().map(place).collect()
    }

    #[test]
    fn reads_one_server_and_several() {
        assert_eq!(places("postgres://ada@one/sales"), ["ada@one:5432/sales"]);
        assert_eq!(
            places(
                "postgresql://ada:p%2Cw@one,two:5433,[::1]:5434/sales?target_session_attrs=read-write&application_name=x"
            ),
            ["ada@one:5432/sales", "ada@two:5433/sales", "ada@[::1]:5434/sales"]
        );
        assert_eq!(
            places("postgres://ada:a@b@one:1,two:2/s?target_session_attrs=primary").len(),
            2
        );
    }

    #[test]
    fn says_what_is_wrong() {
        let many = format!("postgres://{}", vec!["h"; 17].join(","));
        for (text, word) in [
            ("mysql://one/x", "postgres://"),
            ("postgres://one,,two/x", "empty"),
            ("postgres://one:x,two/x", "one:x"),
            ("postgres://one,two/x?target_session_attrs=any", "read-write"),
            (&many, "17 servers"),
        ] {
            let error = text.parse::<Servers>().unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
