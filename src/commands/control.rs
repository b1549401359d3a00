//! The operators' command line: a client of mission control's API, with a token.
//!
//! What it prints is the API's JSON, or a table of some of it; what went wrong is the API's problem, in its own words.

use std::io::{BufRead, IsTerminal, Write};
use std::time::Duration;

use anyhow::{Context, bail};
use chrono::{DateTime, Utc};
use clap::Args;
use reqwest::{Method, StatusCode, header};
use serde_json::Value;

use crate::cli::{Global, set};
use crate::output::{self, Output};
use crate::settings::{Flags, Secret, Settings};

/// The most pages of a list that one command fetches: at 500 a page, more than anybody reads.
const PAGES_MAX: usize = 200;
/// How long a request may take: longer than the server's statements.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How long a file may take: a hundred thousand rows over a slow line.
const DOWNLOAD_TIMEOUT: Duration = Duration::from_secs(600);

/// The server said that this may not be done.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotAllowed(String);

/// Where mission control is, and who asks.
#[derive(Clone, Debug, Default, Args)]
pub struct Server {
    /// Mission control, as http://host:3002 [env: SAGALINE_SERVER].
    #[arg(long, value_name = "URL", global = true)]
    server: Option<String>,
    /// A token of mission control; better in the environment, where others don't see it [env: SAGALINE_TOKEN].
    #[arg(long, value_name = "TOKEN", global = true, hide_default_value = true)]
    token: Option<String>,
}

/// How sure somebody is.
#[derive(Clone, Debug, Args)]
pub struct Sure {
    /// Don't ask before doing it.
    #[arg(long, short)]
    yes: bool,
}

impl Sure {
    /// Asks on a terminal; without one, only `--yes` will do.
    pub fn ask(&self, question: &str) -> anyhow::Result<()> {
        if self.yes {
            return Ok(());
        }
        let stdin = std::io::stdin();
        if !stdin.is_terminal() {
            bail!("{question} Say --yes: there is no terminal to ask on");
        }
        eprint!("{question} [y/N] ");
        std::io::stderr().flush()?;
        let mut line = String::new();
        stdin.lock().read_line(&mut line)?;
        match line.trim() {
            "y" | "Y" | "yes" => Ok(()),
            _other => bail!("nothing was done"),
        }
    }
}

/// A client of mission control's API.
pub struct Client {
    http: reqwest::Client,
    base: String,
    token: Secret,
}

/// An answer with its `ETag`.
pub struct Tagged {
    /// The body.
    pub body: Value,
    /// The saga's place in its journal.
    pub tag: Option<String>,
}

impl Server {
    fn flags(&self) -> Flags {
        let mut flags = set("operator.server", self.server.as_ref());
        flags.extend(set("operator.token", self.token.as_ref()));
        flags
    }

    fn settings(&self, global: &Global) -> anyhow::Result<Settings> {
        Ok(Settings::load(global.config.clone(), self.flags())?)
    }

    /// A client, which needs both settings.
    pub fn client(&self, global: &Global) -> anyhow::Result<Client> {
        let settings = self.settings(global)?;
        settings.require(&["operator.server", "operator.token"])?;
        Client::new(&settings)
    }

    /// A client if a server is set; none: the engine's own API is meant.
    pub fn client_if_set(&self, global: &Global) -> anyhow::Result<Option<Client>> {
        let settings = self.settings(global)?;
        if settings.operator_server.is_none() {
            return Ok(None);
        }
        settings.require(&["operator.token"])?;
        Client::new(&settings).map(Some)
    }
}

impl Client {
    fn new(settings: &Settings) -> anyhow::Result<Client> {
        let http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            // A token is for this server only.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .context("making the HTTP client")?;
        let base = settings.operator_server.clone().context("SAGALINE_SERVER is not set")?;
        let token = settings.operator_token.clone().context("SAGALINE_TOKEN is not set")?;
        Ok(Client { http, base, token })
    }

    /// A path of the server's as an address.
    pub fn address(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, String)],
        body: Option<&Value>,
        if_match: Option<&str>,
    ) -> anyhow::Result<Tagged> {
        let mut url = reqwest::Url::parse(&format!("{}/api{path}", self.base))?;
        url.query_pairs_mut().extend_pairs(query);
        let mut request = self.http.request(method, url).bearer_auth(self.token.reveal());
        if let Some(body) = body {
            request = request
                .header(header::CONTENT_TYPE, "application/json")
                .body(body.to_string());
        }
        if let Some(tag) = if_match {
            request = request.header(header::IF_MATCH, tag);
        }
        let answer = request
            .send()
            .await
            .with_context(|| format!("asking mission control at {}", self.base))?;
        let status = answer.status();
        let tag = answer
            .headers()
            .get(header::ETAG)
            .and_then(|tag| tag.to_str().ok())
            .map(str::to_owned);
        let text = answer.text().await.context("reading mission control's answer")?;
        if status.is_success() {
            let body =
                serde_json::from_str(&text).context("mission control's answer is not JSON: is this its address?")?;
            return Ok(Tagged { body, tag });
        }
        Err(refused(status, &text))
    }

    /// Reads.
    pub async fn get(&self, path: &str, query: &[(&str, String)]) -> anyhow::Result<Tagged> {
        self.send(Method::GET, path, query, None, None).await
    }

    /// Reads what is no JSON, or large, piece by piece.
    pub async fn download(
        &self,
        path: &str,
        query: &[(&str, String)],
        mut each: impl FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut url = reqwest::Url::parse(&format!("{}/api{path}", self.base))?;
        url.query_pairs_mut().extend_pairs(query);
        let request = self
            .http
            .get(url)
            .bearer_auth(self.token.reveal())
            .timeout(DOWNLOAD_TIMEOUT);
        let mut answer = request
            .send()
            .await
            .with_context(|| format!("asking mission control at {}", self.base))?;
        let status = answer.status();
        if !status.is_success() {
            return Err(refused(status, &answer.text().await.unwrap_or_default()));
        }
        while let Some(part) = answer.chunk().await.context("reading mission control's answer")? {
            each(&part)?;
        }
        Ok(())
    }

    /// Does something.
    pub async fn post(&self, path: &str, body: &Value, if_match: Option<&str>) -> anyhow::Result<Value> {
        Ok(self.send(Method::POST, path, &[], Some(body), if_match).await?.body)
    }

    /// What would come of it; nothing is done.
    pub async fn dry_run(&self, saga: &str, wish: &Value) -> anyhow::Result<Tagged> {
        self.send(Method::POST, &format!("{saga}/dry-run"), &[], Some(wish), None)
            .await
    }

    /// The items of a list: page after page, by the parameter that takes a page's `next`, up to `limit`.
    pub async fn list(
        &self,
        path: &str,
        query: &[(&str, String)],
        next: &'static str,
        limit: usize,
    ) -> anyhow::Result<Vec<Value>> {
        let mut items: Vec<Value> = Vec::new();
        let mut query = query.to_vec();
        for _ in 0..PAGES_MAX {
            let mut page = self.get(path, &query).await?.body;
            if let Value::Array(found) = page["items"].take() {
                items.extend(found);
            }
            let cursor = match &page["next"] {
                Value::Null => break,
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            if items.len() >= limit {
                break;
            }
            query.retain(|(name, _)| *name != next);
            query.push((next, cursor));
        }
        items.truncate(limit);
        Ok(items)
    }
}

/// A problem of the API's, in its own words.
fn refused(status: StatusCode, text: &str) -> anyhow::Error {
    let problem: Value = serde_json::from_str(text).unwrap_or_default();
    let detail = problem["detail"]
        .as_str()
        .map_or_else(|| format!("HTTP {status}"), plain);
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => NotAllowed(detail).into(),
        _other => anyhow::anyhow!(detail),
    }
}

/// A column: its heading, and where its text is in an item, as a JSON Pointer.
pub type Column = (&'static str, &'static str);

/// Prints a list: as JSON, or as a table of these columns; an empty one is `[]`.
pub fn print_items(output: Output, columns: &[Column], items: &[Value]) -> anyhow::Result<()> {
    match output {
        Output::Json => output::print_text(&serde_json::to_string_pretty(items)?),
        Output::Jsonl => items.iter().try_for_each(|item| output::print_text(&item.to_string())),
        Output::Table => {
            let headings: Vec<&str> = columns.iter().map(|(heading, _)| *heading).collect();
            let cells = |item: &Value| columns.iter().map(|(_, at)| cell(item, at)).collect::<Vec<String>>();
            output::print_text(&output::table(&headings, items.iter().map(cells)))
        }
    }
}

/// Prints one thing: as JSON, or these of its fields, one a line, and below them its sentences.
pub fn print_item(output: Output, fields: &[Column], item: &Value) -> anyhow::Result<()> {
    output::print_one(output, item, |item| {
        let width = fields
            .iter()
            .map(|(heading, _)| heading.len())
            .max()
            .unwrap_or_default();
        let line = |(heading, at): &Column| format!("{heading:width$}  {}", cell(item, at));
        let mut lines: Vec<String> = fields.iter().map(line).collect();
        let sentences = item["standing"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str);
        lines.extend(sentences.map(plain));
        lines.join("\n")
    })
}

/// A value of an item as a table shows it.
pub fn cell(item: &Value, pointer: &str) -> String {
    match item.pointer(pointer) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => {
            let now = std::io::stdout().is_terminal().then(chrono::Utc::now);
            now.and_then(|now| ago(text, now)).unwrap_or_else(|| plain(text))
        }
        // Names within may be anybody's.
        Some(other) => plain(&other.to_string()),
    }
}

/// How long ago an instant was, or in how long it is, for people at a terminal; none: it is no instant. Elsewhere instants stay as they are, since
/// what reads them there is a program.
fn ago(text: &str, now: DateTime<Utc>) -> Option<String> {
    let at = DateTime::parse_from_rfc3339(text).ok()?.to_utc();
    let span = (now - at).abs().to_std().ok()?;
    let words = humantime::format_duration(Duration::from_secs(span.as_secs())).to_string();
    let words: Vec<&str> = words.split(' ').take(2).collect();
    Some(if at <= now {
        format!("{} ago", words.join(" "))
    } else {
        format!("in {}", words.join(" "))
    })
}

/// A name as one segment of a path: what would end the segment is percent-encoded, so that a name can't lead elsewhere.
pub fn segment(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~');
    name.bytes()
        .map(|byte| match plain(byte) {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02X}"),
        })
        .collect()
}

/// What workers and users wrote, without what a terminal would obey.
pub fn plain(text: &str) -> String {
    let bidi = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}');
    text.chars()
        .map(|c| if c.is_control() || bidi(c) { '\u{fffd}' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};

    use super::{ago, plain, segment};

    #[test]
    fn instants_are_relative_for_people() {
        let now: DateTime<Utc> = "2026-12-01T10:00:00Z".parse().expect("an instant");
        let check = |text, expected: Option<&str>| assert_eq!(ago(text, now).as_deref(), expected, "{text}");
        check("2026-12-01T08:58:30.250Z", Some("1h 1m ago"));
        check("2026-12-01T10:00:00+00:00", Some("0s ago"));
        check("2026-12-02T11:00:00Z", Some("in 1day 1h"));
        check("2026-12-01", None);
        check("bank_down", None);
    }

    #[test]
    fn a_name_stays_within_its_segment() {
        assert_eq!(segment("nightly-2_a"), "nightly-2_a");
        assert_eq!(segment("../sagas?x=é"), "%2E%2E%2Fsagas%3Fx%3D%C3%A9");
    }

    #[test]
    fn a_terminal_obeys_nothing_of_what_is_shown() {
        assert_eq!(plain("a\u{1b}[2Jb\u{202e}c\n"), "a\u{fffd}[2Jb\u{fffd}c\u{fffd}");
    }
}
