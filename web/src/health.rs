//! Whether a process can do its work: what it depends on, each asked at most once a second, however many want to know.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::{Duration, Instant};

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::Mutex;
use utoipa::ToSchema;

/// How long a dependency may take to answer before it counts as down: less than the time-out of Kubernetes' probes.
pub const PROBE_LIMIT: Duration = Duration::from_secs(1);
/// How long an answer is good for: load balancers ask often, and from everywhere.
pub const PROBED_FOR: Duration = Duration::from_secs(1);

/// How a dependency answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DependencyState {
    /// It does.
    Up,
    /// It doesn't.
    Down,
}

/// Something that a process, or what it begins, can't do without.
#[derive(Clone, Debug, Serialize, ToSchema, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Dependency {
    /// How it answers.
    pub state: DependencyState,
    /// How long it took to find out, in milliseconds.
    pub latency_ms: f64,
    /// What is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl Dependency {
    /// Whether it answers.
    pub fn is_up(&self) -> bool {
        self.state == DependencyState::Up
    }

    /// One that is not there yet.
    pub fn missing(problem: &str) -> Dependency {
        Dependency {
            state: DependencyState::Down,
            latency_ms: 0.0,
            problem: Some(problem.to_owned()),
        }
    }
}

/// Whether a process can do its work, and what it depends on.
#[derive(Clone, Debug, Default, Serialize, ToSchema, JsonSchema)]
pub struct Standing {
    /// What it can't do without is up, and it is not about to stop.
    pub ready: bool,
    /// It works, but something that others wait for is down.
    pub degraded: bool,
    /// It is about to stop.
    pub draining: bool,
    /// What it depends on, by name.
    pub dependencies: BTreeMap<String, Dependency>,
}

impl Standing {
    /// Of a process with these dependencies, which can't do without those that are named.
    pub fn of(dependencies: BTreeMap<String, Dependency>, needed: &[&str], draining: bool) -> Standing {
        let is_up = |name: &&str| dependencies.get(*name).is_some_and(Dependency::is_up);
        Standing {
            ready: !draining && needed.iter().all(is_up),
            degraded: dependencies.values().any(|dependency| !dependency.is_up()),
            draining,
            dependencies,
        }
    }
}

impl IntoResponse for Standing {
    fn into_response(self) -> Response {
        let status = match self.ready {
            true => StatusCode::OK,
            false => StatusCode::SERVICE_UNAVAILABLE,
        };
        (status, Json(self)).into_response()
    }
}

/// What was found last, and when.
pub struct Recent<T>(Mutex<Option<(Instant, T)>>);

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Recent(Mutex::default())
    }
}

impl<T: Clone> Recent<T> {
    /// What was found at most a moment ago; whoever comes when that is over looks, and the others wait for it.
    pub async fn get(&self, look: impl Future<Output = T>) -> T {
        let mut found = self.0.lock().await;
        if let Some((_, known)) = found.as_ref().filter(|(at, _)| at.elapsed() < PROBED_FOR) {
            return known.clone();
        }
        let known = look.await;
        *found = Some((Instant::now(), known.clone()));
        known
    }
}

/// Asks a dependency. The causes go to the log; outsiders get to know that, not why. `gauge` is 1 while it is up, else 0.
pub async fn probe<T, E: Display>(
    gauge: &'static str,
    name: &str,
    question: impl Future<Output = Result<T, E>>,
) -> Dependency {
    let asked = Instant::now();
    let problem = match tokio::time::timeout(PROBE_LIMIT, question).await {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => {
            tracing::warn!(dependency = name, %error, "a dependency is not available");
            Some("not available".to_owned())
        }
        Err(_) => Some(format!("no answer within {} s", PROBE_LIMIT.as_secs_f64())),
    };
    let latency_ms = (asked.elapsed().as_secs_f64() * 10_000.0).round() / 10.0;
    let is_up = if problem.is_none() { 1.0 } else { 0.0 };
    metrics::gauge!(gauge, "dependency" => name.to_owned()).set(is_up);
    Dependency {
        state: match problem {
            None => DependencyState::Up,
            Some(_) => DependencyState::Down,
        },
        latency_ms,
        problem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_process_is_ready_with_what_it_needs_and_degraded_without_the_rest() {
        let up = probe("sagaline_dependency_up", "a", async { Ok::<_, String>(()) }).await;
        let down = probe("sagaline_dependency_up", "b", async { Err::<(), _>("secret words") }).await;
        assert_eq!(down.problem.as_deref(), Some("not available"));
        let both = BTreeMap::from([("a".to_owned(), up), ("b".to_owned(), down)]);
        let standing = |needed: &[&str], draining| {
            let Standing { ready, degraded, .. } = Standing::of(both.clone(), needed, draining);
            (ready, degraded)
        };
        assert_eq!(standing(&["a"], false), (true, true));
        assert_eq!(standing(&["a", "b"], false), (false, true));
        assert_eq!(standing(&["a"], true), (false, true));
        assert_eq!(standing(&["nobody knows it"], false), (false, true));
    }

    #[tokio::test]
    async fn what_was_found_a_moment_ago_is_not_asked_again() {
        let recent = Recent::default();
        assert_eq!(recent.get(async { 1 }).await, 1);
        assert_eq!(recent.get(async { 2 }).await, 1);
    }
}
