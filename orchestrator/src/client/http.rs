//! The engine over its HTTP API.

use std::time::Duration;

use async_trait::async_trait;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::json;
use workflows::definition::Definition;
use workflows::event::{CommandEvent, Signal};
use workflows::ids::{SagaId, Timestamp};

use super::*;
use crate::api::{BulkAnswer, Items, ProblemDetails, SignalAnswer};

/// How long an answer may take beyond what the request itself waits for: the engine answers within milliseconds,
/// unless Postgres is restarting.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// How long connecting may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// The engine over its HTTP API. Cheap to clone; connections are kept and shared.
#[derive(Clone, Debug)]
pub struct HttpClient {
    base: String,
    http: reqwest::Client,
}

impl HttpClient {
    /// A client of the orchestrator at `base`, e.g. `http://orchestrator:3002`. Doesn't connect yet.
    pub fn new(base: &str) -> Result<HttpClient, ClientError> {
        let url = reqwest::Url::parse(base)
            .map_err(|error| ClientError::invalid("", format!("{base:?} is not the orchestrator's URL: {error}")))?;
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_WITHIN)
            .build()
            .map_err(unreachable_engine)?;
        Ok(HttpClient {
            base: url.as_str().trim_end_matches('/').to_owned(),
            http,
        })
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("{}{path}", self.base))
            .timeout(ANSWER_WITHIN)
    }

    fn start_call(&self, request: &StartRequest) -> RequestBuilder {
        let mut call = self.request(Method::POST, "/v1/sagas").json(request);
        if let Some(wait) = request.wait {
            let wait = wait.min(WAIT_MAX);
            call = call.header("prefer", prefer(wait)).timeout(ANSWER_WITHIN + wait);
        }
        if let Some(traceparent) = &request.traceparent {
            call = call.header("traceparent", traceparent);
        }
        call
    }

    /// The saga that a start is answered with, and whether it had been started before.
    async fn answered_start<T: DeserializeOwned>(&self, call: RequestBuilder) -> Result<(T, bool), ClientError> {
        let response = self.send(call).await?;
        let replayed = response
            .headers()
            .get("idempotency-replayed")
            .is_some_and(|value| value == "true");
        Ok((response.json().await.map_err(unreachable_engine)?, replayed))
    }

    /// The answer, if it is one of success; else the problem it describes.
    async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let response = request.send().await.map_err(unreachable_engine)?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let body = response.bytes().await.map_err(unreachable_engine)?;
        match serde_json::from_slice::<ProblemDetails>(&body) {
            Ok(problem) => Err(problem.into()),
            Err(_) => Err(ClientError::Unavailable {
                message: format!("HTTP {status} without problem details"),
            }),
        }
    }

    async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ClientError> {
        self.send(request).await?.json().await.map_err(unreachable_engine)
    }

    /// Like [`Self::json`], but a thing that is not there is no error.
    async fn maybe<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<Option<T>, ClientError> {
        match self.json(request).await {
            Ok(found) => Ok(Some(found)),
            Err(ClientError::NotFound { what: _ }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn unreachable_engine(error: reqwest::Error) -> ClientError {
    let mut message = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        message.push_str(": ");
        message.push_str(&cause.to_string());
        source = cause.source();
    }
    ClientError::Unavailable { message }
}

/// A name as one segment of a path.
fn segment(name: &str) -> String {
    name.bytes().fold(String::with_capacity(name.len()), |mut path, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => path.push(char::from(byte)),
            _ => path.push_str(&format!("%{byte:02X}")),
        }
        path
    })
}

#[async_trait]
impl EngineClient for HttpClient {
    async fn start(&self, request: StartRequest) -> Result<Started, ClientError> {
        let (saga, replayed) = self.answered_start(self.start_call(&request)).await?;
        Ok(Started { saga, replayed })
    }

    async fn start_brief(&self, request: StartRequest) -> Result<StartedBrief, ClientError> {
        let call = self.start_call(&request).header("prefer", "return=minimal");
        let (saga, replayed) = self.answered_start(call).await?;
        Ok(StartedBrief { saga, replayed })
    }

    async fn start_bulk(&self, requests: Vec<StartRequest>) -> Result<Vec<Result<Started, ClientError>>, ClientError> {
        let answer: BulkAnswer = self
            .json(self.request(Method::POST, "/v1/sagas:bulk").json(&requests))
            .await?;
        Ok(answer.items.into_iter().map(|item| item.into_result()).collect())
    }

    async fn used_keys(&self, keys: Vec<String>) -> Result<HashSet<String>, ClientError> {
        let used: Items<String> = self
            .json(self.request(Method::POST, "/v1/keys:used").json(&keys))
            .await?;
        Ok(used.items.into_iter().collect())
    }

    async fn get(&self, saga: SagaId) -> Result<Option<SagaDetail>, ClientError> {
        self.maybe(self.request(Method::GET, &format!("/v1/sagas/{saga}")))
            .await
    }

    async fn journal(&self, saga: SagaId, after: u64, limit: u32) -> Result<Vec<JournalItem>, ClientError> {
        let call = self.request(Method::GET, &format!("/v1/sagas/{saga}/journal"));
        let items: Items<JournalItem> = self
            .json(call.query(&[("after", after), ("limit", u64::from(limit))]))
            .await?;
        Ok(items.items)
    }

    async fn signal(&self, saga: SagaId, signal: Signal) -> Result<SignalReceipt, ClientError> {
        let call = self
            .request(Method::POST, &format!("/v1/sagas/{saga}/signals"))
            .json(&signal);
        let answer: SignalAnswer = self.json(call).await?;
        Ok(answer.receipt)
    }

    async fn command_at(
        &self,
        saga: SagaId,
        command: CommandEvent,
        expected_seq: Option<u64>,
    ) -> Result<SagaDetail, ClientError> {
        let mut call = self
            .request(Method::POST, &format!("/v1/sagas/{saga}/commands"))
            .json(&command);
        if let Some(seq) = expected_seq {
            call = call.header("if-match", format!("\"{seq}\""));
        }
        self.json(call).await
    }

    async fn wait(&self, saga: SagaId, until: Until, timeout: Duration) -> Result<Option<SagaDetail>, ClientError> {
        let wait = timeout.min(WAIT_MAX);
        let call = self.request(Method::GET, &format!("/v1/sagas/{saga}"));
        let call = call.query(&[("until", until.as_str())]);
        self.maybe(call.header("prefer", prefer(wait)).timeout(ANSWER_WITHIN + wait))
            .await
    }

    async fn list(&self, filter: ListFilter) -> Result<Page<SagaSummary>, ClientError> {
        let mut query: Vec<(&str, String)> = Vec::new();
        query.extend(
            filter
                .status
                .iter()
                .map(|status| ("status", status.as_str().to_owned())),
        );
        query.extend(filter.workflow.map(|workflow| ("workflow", workflow)));
        query.extend(filter.business_key.map(|key| ("businessKey", key)));
        query.extend(filter.tag.map(|(name, value)| ("tag", format!("{name}={value}"))));
        query.extend(filter.created_after.map(|at| ("createdAfter", at.to_rfc3339())));
        query.extend(filter.created_before.map(|at| ("createdBefore", at.to_rfc3339())));
        query.extend(filter.cursor.map(|cursor| ("cursor", cursor)));
        query.extend(filter.limit.map(|limit| ("limit", limit.to_string())));
        self.json(self.request(Method::GET, "/v1/sagas").query(&query)).await
    }

    async fn deploy(&self, definition: Definition) -> Result<Deployed, ClientError> {
        let response = self
            .send(self.request(Method::POST, "/v1/workflows").json(&definition))
            .await?;
        let created = response.status() == StatusCode::CREATED;
        Ok(Deployed {
            definition: response.json().await.map_err(unreachable_engine)?,
            created,
        })
    }

    async fn definitions(&self) -> Result<Vec<DefinitionSummary>, ClientError> {
        let items: Items<DefinitionSummary> = self.json(self.request(Method::GET, "/v1/workflows")).await?;
        Ok(items.items)
    }

    async fn definition(&self, name: &str, version: Option<u32>) -> Result<Option<DefinitionDetail>, ClientError> {
        let path = match version {
            Some(version) => format!("/v1/workflows/{}/{version}", segment(name)),
            None => format!("/v1/workflows/{}", segment(name)),
        };
        self.maybe(self.request(Method::GET, &path)).await
    }

    async fn schedules(&self) -> Result<Vec<Schedule>, ClientError> {
        let items: Items<Schedule> = self.json(self.request(Method::GET, "/v1/schedules")).await?;
        Ok(items.items)
    }

    async fn schedule(&self, name: &str) -> Result<Option<Schedule>, ClientError> {
        self.maybe(self.request(Method::GET, &format!("/v1/schedules/{}", segment(name))))
            .await
    }

    async fn create_schedule(&self, spec: ScheduleSpec) -> Result<Schedule, ClientError> {
        self.json(self.request(Method::POST, "/v1/schedules").json(&spec)).await
    }

    async fn pause_schedule(&self, name: &str, paused: bool) -> Result<Schedule, ClientError> {
        let verb = if paused { "pause" } else { "resume" };
        self.json(self.request(Method::POST, &format!("/v1/schedules/{}/{verb}", segment(name))))
            .await
    }

    async fn run_schedule(&self, name: &str) -> Result<Firing, ClientError> {
        self.json(self.request(Method::POST, &format!("/v1/schedules/{}/run", segment(name))))
            .await
    }

    async fn backfill_schedule(&self, name: &str, from: Timestamp, to: Timestamp) -> Result<Vec<Firing>, ClientError> {
        let call = self.request(Method::POST, &format!("/v1/schedules/{}/backfill", segment(name)));
        let items: Items<Firing> = self
            .json(call.json(&json!({"from": from.to_rfc3339(), "to": to.to_rfc3339()})))
            .await?;
        Ok(items.items)
    }

    async fn firings(&self, name: &str, limit: u32) -> Result<Vec<Firing>, ClientError> {
        let call = self.request(Method::GET, &format!("/v1/schedules/{}/firings", segment(name)));
        let items: Items<Firing> = self.json(call.query(&[("limit", limit)])).await?;
        Ok(items.items)
    }

    async fn delete_schedule(&self, name: &str) -> Result<(), ClientError> {
        self.send(self.request(Method::DELETE, &format!("/v1/schedules/{}", segment(name))))
            .await?;
        Ok(())
    }
}

fn prefer(wait: Duration) -> String {
    // Whole seconds, rounded up: the preference knows nothing finer.
    format!("wait={}", wait.as_secs() + u64::from(wait.subsec_nanos() > 0))
}
