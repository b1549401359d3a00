//! ClickHouse, over HTTP with the crate `clickhouse`, in plain `RowBinary` without the tables' own types before it: Debian's 18.16 knows no other.
//!
//! A fact that comes twice is two rows of the same sorting key, of which `final` leaves one, whether they have been merged yet or not: the key ends
//! with the fact's id. Times are numbers (milliseconds since 1970): 18.16 has no instants finer than a second, and each server a time zone of its own.

use std::fmt;
use std::str::FromStr;

use ::clickhouse::sql::Identifier;
use ::clickhouse::{Client, Row};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Cleared, Count, Step, StoreError, Time, Took};
use crate::fact::{self, Fact};
use crate::limits::{CLICKHOUSE_READ_LIMIT, CLICKHOUSE_WRITE_LIMIT, FACTS_KEPT_DAYS};

/// Where ClickHouse speaks HTTP, unless the URL says another port.
const PORT: u16 = 8123;
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
const HOUR_MS: i64 = 60 * 60 * 1_000;
const MINUTE_MS: i64 = 60 * 1_000;

/// What `system` is made of.
const SYSTEM: &str = "analytics.system-metrics";

const TABLES: [&str; 2] = [
    "create table if not exists facts (
         id String, at_ms Int64, kind String, event_id String, user_id String, visitor String, currency String,
         cents Int64, millis Int64, bucket Int32, data String
     ) engine = ReplacingMergeTree() partition by intDiv(at_ms, 86400000) order by (kind, event_id, at_ms, id)",
    // Of facts that are gone: once more is the same once more.
    "create table if not exists history (
         hour_ms Int64, kind String, event_id String, currency String, bucket Int32, facts Int64, cents Int64, millis Int64
     ) engine = ReplacingMergeTree() partition by intDiv(hour_ms, 31536000000)
       order by (hour_ms, kind, event_id, currency, bucket)",
];

/// A server, and how it is reached.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    url: String,
    database: String,
    user: String,
    password: String,
}

impl FromStr for Address {
    type Err = String;

    /// `clickhouse://user:password@host:port/database`; `clickhouses://` by TLS.
    fn from_str(text: &str) -> Result<Address, String> {
        let (scheme, rest) = text.split_once("://").ok_or("it is no URL")?;
        let web = match scheme {
            "clickhouse" => "http",
            "clickhouses" => "https",
            other => {
                return Err(format!(
                    "it must begin with clickhouse:// or clickhouses://, not {other}://"
                ));
            }
        };
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (credentials, place) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
        if place.is_empty() || place.contains(|character: char| character.is_whitespace() || "/?#".contains(character))
        {
            return Err("it names no host: clickhouse://user:password@host:8123/database".to_owned());
        }
        // An IPv6 address has colons of its own, within brackets.
        let has_port = place.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
        let place = if has_port {
            place.to_owned()
        } else {
            format!("{place}:{PORT}")
        };
        let port = place.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
        if !matches!(port, Some(Ok(_))) {
            return Err("its port is no number".to_owned());
        }
        let is_name = |name: &str| {
            name.chars()
                .all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
        };
        if !is_name(database) {
            return Err("its database may have letters, digits and _ in its name".to_owned());
        }
        let or = |text: &str, default: &str| {
            if text.is_empty() {
                default.to_owned()
            } else {
                plain(text)
            }
        };
        Ok(Address {
            url: format!("{web}://{place}"),
            database: or(database, "default"),
            user: or(user, "default"),
            password: plain(password),
        })
    }
}

/// Without its percent-encoding.
fn plain(text: &str) -> String {
    percent_encoding::percent_decode_str(text)
        .decode_utf8_lossy()
        .into_owned()
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.url, self.database)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

/// ClickHouse. Cheap to clone.
#[derive(Clone)]
pub struct ClickHouse {
    client: Client,
    address: Address,
}

#[derive(Row, Serialize)]
struct FactRow<'a> {
    id: &'a str,
    at_ms: i64,
    kind: &'a str,
    event_id: &'a str,
    user_id: &'a str,
    visitor: &'a str,
    currency: &'a str,
    cents: i64,
    millis: i64,
    bucket: i32,
    data: String,
}

#[derive(Row, Deserialize)]
struct CountRow {
    since_ms: i64,
    kind: String,
    event_id: String,
    currency: String,
    facts: i64,
    cents: i64,
    millis: i64,
}

#[derive(Row, Deserialize)]
struct TookRow {
    since_ms: i64,
    bucket: i32,
    facts: i64,
}

#[derive(Row, Deserialize)]
struct NamedRow {
    name: String,
    number: i64,
}

#[derive(Row, Deserialize)]
struct AtRow {
    at_ms: i64,
    number: i64,
}

#[derive(Row, Deserialize)]
struct TextRow {
    at_ms: i64,
    text: String,
}

#[derive(Row, Deserialize)]
struct NumberRow {
    number: i64,
}

/// No bucket: the fact took no time.
const NO_BUCKET: i32 = -1;

fn instant(ms: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(ms).unwrap_or_default()
}

fn length_ms(step: Step) -> i64 {
    match step {
        Step::Minute => MINUTE_MS,
        Step::Hour => HOUR_MS,
        Step::Day => DAY_MS,
    }
}

/// From the first step that begins in it until before the first that doesn't, in milliseconds.
fn steps(time: Time, step: Step) -> (i64, i64) {
    let length = length_ms(step);
    let up = |at: DateTime<Utc>| at.timestamp_millis().div_euclid(length) * length;
    let next = |at: DateTime<Utc>| {
        let floor = up(at);
        if floor == at.timestamp_millis() {
            floor
        } else {
            floor + length
        }
    };
    (next(time.from), next(time.to))
}

impl ClickHouse {
    /// The server at this address; it is asked when it is first needed.
    pub fn new(address: Address) -> ClickHouse {
        let client = Client::default()
            .with_url(&address.url)
            .with_user(&address.user)
            .with_password(&address.password)
            .with_database(&address.database)
            .with_validation(false)
            // What goes wrong after the first rows would otherwise come as an answer like any other.
            .with_setting("wait_end_of_query", "1");
        ClickHouse { client, address }
    }

    /// Makes the database and the tables, where they are missing.
    pub async fn prepare(&self) -> Result<(), StoreError> {
        let outside = self.client.clone().with_database("default");
        let made = outside
            .query("create database if not exists ?")
            .bind(Identifier(&self.address.database))
            .execute();
        written(made).await?;
        for table in TABLES {
            written(self.client.query(table).execute()).await?;
        }
        Ok(())
    }

    /// Whether it answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        read(self.client.query("select 1").execute()).await
    }

    /// Writes facts. Which of them were new, it doesn't know.
    pub async fn record(&self, facts: &[Fact]) -> Result<u64, StoreError> {
        written(async {
            let mut insert = self.client.insert::<FactRow<'_>>("facts").await?;
            for fact in facts {
                let text = |text: &Option<String>| text.as_deref().unwrap_or_default().to_owned();
                let (event, user, visitor, currency) = (
                    text(&fact.event_id),
                    text(&fact.user_id),
                    text(&fact.visitor),
                    text(&fact.currency),
                );
                let millis = fact.took.and_then(|took| i64::try_from(took.as_millis()).ok());
                let row = FactRow {
                    id: &fact.id,
                    at_ms: fact.at.timestamp_millis(),
                    kind: &fact.kind,
                    event_id: &event,
                    user_id: &user,
                    visitor: &visitor,
                    currency: &currency,
                    cents: fact.cents.unwrap_or_default(),
                    millis: millis.unwrap_or_default(),
                    bucket: fact.took.map_or(NO_BUCKET, fact::bucket),
                    data: fact.data.to_string(),
                };
                insert.write(&row).await?;
            }
            insert.end().await
        })
        .await?;
        Ok(facts.len() as u64)
    }

    /// Rolls up the days whose facts go, and drops them. Who does it at the same time writes the same rows.
    pub async fn clear_away(&self, now: DateTime<Utc>) -> Result<Cleared, StoreError> {
        let kept = now.timestamp_millis().div_euclid(DAY_MS) - i64::try_from(FACTS_KEPT_DAYS).unwrap_or(i64::MAX) - 1;
        let days = self
            .client
            .query("select distinct intDiv(at_ms, 86400000) as number from facts where at_ms < ? order by number")
            .bind(kept.saturating_mul(DAY_MS))
            .fetch_all::<NumberRow>();
        let days = read(days).await?;
        // The oldest first: what is in `history` counts until before the first day that has facts.
        for NumberRow { number: day } in &days {
            let rolled = self
                .client
                .query(
                    "insert into history
                     select intDiv(at_ms, 3600000) * 3600000, kind, event_id, currency, bucket, toInt64(count()), sum(cents), sum(millis)
                     from facts final where at_ms >= ? and at_ms < ?
                     group by intDiv(at_ms, 3600000) * 3600000, kind, event_id, currency, bucket",
                )
                .bind(day * DAY_MS)
                .bind((day + 1) * DAY_MS)
                .execute();
            written(rolled).await?;
            written(
                self.client
                    .query("alter table facts drop partition ?")
                    .bind(day)
                    .execute(),
            )
            .await?;
        }
        Ok(Cleared {
            days: days.len() as u64,
            rows: 0,
        })
    }

    /// What happened, by step; with these events alone, if some are named.
    pub async fn counts(&self, step: Step, time: Time, events: Option<&[String]>) -> Result<Vec<Count>, StoreError> {
        let (from, to) = steps(time, step);
        let found = self.count_rows(length_ms(step), (from, to), "event_id", events).await?;
        Ok(found)
    }

    /// What happened, whatever it was about.
    pub async fn kind_counts(&self, step: Step, time: Time) -> Result<Vec<Count>, StoreError> {
        let (from, to) = steps(time, step);
        self.count_rows(length_ms(step), (from, to), "''", None).await
    }

    /// What happened with these events in all that time.
    pub async fn event_totals(&self, time: Time, events: &[String]) -> Result<Vec<Count>, StoreError> {
        let (from, to) = steps(time, Step::Hour);
        // Longer than any time that is asked about: one step.
        let mut counts = self
            .count_rows(i64::MAX / 4, (from, to), "event_id", Some(events))
            .await?;
        for count in &mut counts {
            count.since = time.from;
        }
        Ok(counts)
    }

    /// `about` is ours, never anybody's text.
    async fn count_rows(
        &self,
        length: i64,
        (from, to): (i64, i64),
        about: &str,
        events: Option<&[String]>,
    ) -> Result<Vec<Count>, StoreError> {
        if events.is_some_and(<[String]>::is_empty) {
            return Ok(Vec::new());
        }
        let of = if events.is_some() { "has(?, event_id)" } else { "1" };
        let text = format!(
            "select toInt64(intDiv(at, ?) * ?) as since_ms, kind, {about} as event, currency, toInt64(sum(n)) as facts,
                    toInt64(sum(c)) as cents, toInt64(sum(m)) as millis
             from (
                 select at_ms as at, kind, event_id, currency, toInt64(1) as n, cents as c, millis as m
                 from facts final where at_ms >= ? and at_ms < ? and {of}
                 union all
                 select hour_ms as at, kind, event_id, currency, facts as n, cents as c, millis as m
                 from history final where hour_ms >= ? and hour_ms < ? and {of}
                     and hour_ms < (select if(count() = 0, toInt64(9223372036854775807), toInt64(intDiv(min(at_ms), 86400000) * 86400000)) from facts)
             )
             group by since_ms, kind, event, currency order by since_ms, kind, event, currency"
        );
        let mut query = self.client.query(&text).bind(length).bind(length).bind(from).bind(to);
        query = match events {
            Some(events) => query.bind(events).bind(from).bind(to).bind(events),
            None => query.bind(from).bind(to),
        };
        let rows = read(query.fetch_all::<CountRow>()).await?;
        let count = |row: CountRow| Count {
            since: instant(row.since_ms),
            kind: row.kind,
            event_id: row.event_id,
            currency: row.currency,
            facts: row.facts,
            cents: row.cents,
            millis: row.millis,
        };
        Ok(rows.into_iter().map(count).collect())
    }

    /// How many of each of these kinds there were, by the minute.
    pub async fn kinds(&self, time: Time, kinds: &[&str]) -> Result<Vec<i64>, StoreError> {
        let (from, to) = steps(time, Step::Minute);
        let rows = self
            .client
            .query(
                "select kind as name, toInt64(count()) as number from facts final
                 where has(?, kind) and at_ms >= ? and at_ms < ? group by kind",
            )
            .bind(kinds)
            .bind(from)
            .bind(to)
            .fetch_all::<NamedRow>();
        let rows = read(rows).await?;
        let number = |kind: &&str| rows.iter().find(|row| row.name == *kind).map_or(0, |row| row.number);
        Ok(kinds.iter().map(number).collect())
    }

    /// The events with the most bookings begun.
    pub async fn popular(&self, step: Step, time: Time, limit: i64) -> Result<Vec<(String, i64)>, StoreError> {
        let (from, to) = steps(time, step);
        let counts = self.count_rows(i64::MAX / 4, (from, to), "event_id", None);
        let mut bookings: Vec<(String, i64)> = Vec::new();
        for count in counts.await? {
            if count.kind != "booking.initiated" || count.event_id.is_empty() {
                continue;
            }
            // By currency, of which an event has one.
            match bookings.last_mut().filter(|(event, _)| *event == count.event_id) {
                Some((_, number)) => *number += count.facts,
                None => bookings.push((count.event_id, count.facts)),
            }
        }
        bookings.sort_by(|(a, most), (b, more)| more.cmp(most).then_with(|| a.cmp(b)));
        bookings.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(bookings)
    }

    /// How many users did something.
    pub async fn active_users(&self, time: Time) -> Result<i64, StoreError> {
        let (from, to) = steps(time, Step::Minute);
        let row = self
            .client
            .query(
                "select toInt64(uniqExact(user_id)) as number from facts where user_id <> '' and at_ms >= ? and at_ms < ?",
            )
            .bind(from)
            .bind(to)
            .fetch_one::<NumberRow>();
        Ok(read(row).await?.number)
    }

    /// The same by step.
    pub async fn active_by(&self, step: Step, time: Time) -> Result<Vec<(DateTime<Utc>, i64)>, StoreError> {
        let ((from, to), length) = (steps(time, Step::Minute), length_ms(step));
        let rows = self
            .client
            .query(
                "select toInt64(intDiv(at_ms, ?) * ?) as at, toInt64(uniqExact(user_id)) as number from facts
                 where user_id <> '' and at_ms >= ? and at_ms < ? group by at order by at",
            )
            .bind(length)
            .bind(length)
            .bind(from)
            .bind(to)
            .fetch_all::<AtRow>();
        let rows = read(rows).await?;
        Ok(rows.into_iter().map(|row| (instant(row.at_ms), row.number)).collect())
    }

    /// How far visitors came.
    pub async fn funnel(&self, time: Time, events: Option<&[String]>) -> Result<Vec<(String, i64)>, StoreError> {
        let (from, to) = (day(time.from), day(time.to));
        let of = match events {
            Some([]) => return Ok(Vec::new()),
            Some(_) => "has(?, event_id)",
            None => "1",
        };
        let text = format!(
            "select kind as name, toInt64(uniqExact(intDiv(at_ms, 86400000), event_id, visitor)) as number from facts
             where visitor <> '' and at_ms >= ? and at_ms < ? and {of} group by kind order by kind"
        );
        let mut query = self.client.query(&text).bind(from).bind(to);
        if let Some(events) = events {
            query = query.bind(events);
        }
        let rows = read(query.fetch_all::<NamedRow>()).await?;
        Ok(rows.into_iter().map(|row| (row.name, row.number)).collect())
    }

    /// How long bookings took.
    pub async fn took(&self, step: Step, time: Time) -> Result<Vec<Took>, StoreError> {
        let ((from, to), length) = (steps(time, step), length_ms(step));
        let rows = self
            .client
            .query(
                "select toInt64(intDiv(at, ?) * ?) as since_ms, bucket, toInt64(sum(n)) as facts
                 from (
                     select at_ms as at, bucket, toInt64(1) as n from facts final where bucket >= 0 and at_ms >= ? and at_ms < ?
                     union all
                     select hour_ms as at, bucket, facts as n from history final where bucket >= 0 and hour_ms >= ? and hour_ms < ?
                         and hour_ms < (select if(count() = 0, toInt64(9223372036854775807), toInt64(intDiv(min(at_ms), 86400000) * 86400000)) from facts)
                 )
                 group by since_ms, bucket order by since_ms, bucket",
            )
            .bind(length)
            .bind(length)
            .bind(from)
            .bind(to)
            .bind(from)
            .bind(to)
            .fetch_all::<TookRow>();
        let took = |row: TookRow| Took {
            since: instant(row.since_ms),
            bucket: row.bucket,
            facts: row.facts,
        };
        Ok(read(rows).await?.into_iter().map(took).collect())
    }

    /// How the system was.
    pub async fn system(&self, time: Time, limit: i64) -> Result<Vec<(DateTime<Utc>, Value)>, StoreError> {
        let rows = self
            .client
            .query(
                "select at_ms, data as text from facts final where kind = ? and at_ms >= ? and at_ms < ? order by at_ms limit ?",
            )
            .bind(SYSTEM)
            .bind(time.from.timestamp_millis())
            .bind(time.to.timestamp_millis())
            .bind(limit)
            .fetch_all::<TextRow>();
        let told = |row: TextRow| (instant(row.at_ms), serde_json::from_str(&row.text).unwrap_or_default());
        Ok(read(rows).await?.into_iter().map(told).collect())
    }
}

/// When the day of this moment begins.
fn day(at: DateTime<Utc>) -> i64 {
    at.timestamp_millis().div_euclid(DAY_MS) * DAY_MS
}

/// Within the time that a question may take.
async fn read<T>(asked: impl Future<Output = Result<T, ::clickhouse::error::Error>>) -> Result<T, StoreError> {
    match tokio::time::timeout(CLICKHOUSE_READ_LIMIT, asked).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(StoreError::Late(CLICKHOUSE_READ_LIMIT)),
    }
}

/// Within the time that a write may take. What was written all the same is written again, and counts once.
async fn written<T>(asked: impl Future<Output = Result<T, ::clickhouse::error::Error>>) -> Result<T, StoreError> {
    match tokio::time::timeout(CLICKHOUSE_WRITE_LIMIT, asked).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(StoreError::Late(CLICKHOUSE_WRITE_LIMIT)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn addresses_are_read_and_shown_without_their_password() {
        let address: Address = "clickhouse://ana:s%40cret@ch.example:8124/shop".parse().unwrap();
        assert_eq!((address.user.as_str(), address.password.as_str()), ("ana", "s@cret"));
        assert_eq!(address.to_string(), "http://ch.example:8124/shop");
        assert!(!format!("{address:?}").contains("s@cret"));
        let short: Address = "clickhouses://[::1]".parse().unwrap();
        assert_eq!(short.to_string(), "https://[::1]:8123/default");
        for wrong in [
            "postgres://host/x",
            "clickhouse://",
            "clickhouse://host:port/x",
            "clickhouse://host/a b",
            "clickhouse://host/x?y",
            "nothing",
        ] {
            assert!(wrong.parse::<Address>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn time_is_asked_for_by_the_steps_that_begin_in_it() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let time = Time {
            from: at("2026-11-24T12:00:01Z"),
            to: at("2026-11-24T12:02:00Z"),
        };
        let (from, to) = steps(time, Step::Minute);
        assert_eq!(
            (instant(from), instant(to)),
            (at("2026-11-24T12:01:00Z"), at("2026-11-24T12:02:00Z"))
        );
    }
}
