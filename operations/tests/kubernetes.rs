//! The scaler for Kubernetes, against an API server that answers as Kubernetes' reference says
//! (<https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/deployment-v1/>, `scale`) and records what it was asked.
#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use operations::kubernetes::Kubernetes;
use operations::scaler::{ScaleError, Scaler};
use serde_json::{Value, json};

/// What it was asked: the request's line, its type and its body.
type Asked = Arc<Mutex<Vec<(String, String, Value)>>>;

#[derive(Clone)]
struct Api {
    asked: Asked,
    answer: fn(&Value) -> Response,
}

async fn serve(answer: fn(&Value) -> Response) -> (Kubernetes, Asked) {
    // The TLS library wants one to be named, even where no TLS is spoken.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let api = Api {
        asked: Asked::default(),
        answer,
    };
    let asked = api.asked.clone();
    let router = Router::new().fallback(take).with_state(api);
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let mut config = kube::Config::new(url.parse().unwrap());
    "shop".clone_into(&mut config.default_namespace);
    (Kubernetes::with(config).unwrap(), asked)
}

async fn take(State(api): State<Api>, request: Request) -> Response {
    let line = format!("{} {}", request.method(), request.uri());
    let kind = request
        .headers()
        .get("content-type")
        .map(|kind| kind.to_str().unwrap().to_owned());
    let body: Bytes = axum::body::to_bytes(request.into_body(), 1_000_000).await.unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    let answer = (api.answer)(&body);
    api.asked.lock().unwrap().push((line, kind.unwrap_or_default(), body));
    answer
}

/// A `Scale` with so many replicas.
fn scale(replicas: &Value) -> Response {
    Json(json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {
            "name": "worker-seats", "namespace": "shop", "uid": "1d5f7b0c-0000-4000-8000-000000000001", "resourceVersion": "4711",
            "creationTimestamp": "2026-11-01T08:00:00Z"
        },
        "spec": { "replicas": replicas },
        "status": { "replicas": 2, "selector": "app=worker-seats" }
    }))
    .into_response()
}

/// A `Status`, as failures are.
fn status(code: u16, reason: &str) -> Response {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": format!("said {reason}"),
        "reason": reason, "code": code
    });
    (StatusCode::from_u16(code).unwrap(), Json(body)).into_response()
}

#[tokio::test]
async fn the_deployments_scale_is_patched() {
    let (kubernetes, asked) = serve(|body| scale(&body["spec"]["replicas"])).await;
    kubernetes.set("worker-seats", 10).await.unwrap();
    let asked = asked.lock().unwrap().clone();
    let [(line, kind, body)] = asked.as_slice() else {
        panic!("{asked:?}")
    };
    let path = line.split('?').next().unwrap();
    assert_eq!(
        path,
        "PATCH /apis/apps/v1/namespaces/shop/deployments/worker-seats/scale"
    );
    assert_eq!(kind, "application/merge-patch+json");
    assert_eq!(body, &json!({"spec": {"replicas": 10}}));
}

#[tokio::test]
async fn what_passes_is_told_apart_from_what_does_not() {
    let outcome = async |answer: fn(&Value) -> Response| {
        let (kubernetes, _) = serve(answer).await;
        kubernetes.set("worker-seats", 10).await
    };
    type Answer = fn(&Value) -> Response;
    let refusals: [Answer; 4] = [
        |_| status(403, "Forbidden"),
        |_| status(404, "NotFound"),
        |_| status(422, "Invalid"),
        // An admission controller has another limit than we.
        |_| scale(&json!(5)),
    ];
    for answer in refusals {
        let refused = outcome(answer).await;
        assert!(matches!(refused, Err(ScaleError::Refused(_))), "{refused:?}");
    }
    let passing: [Answer; 5] = [
        |_| status(409, "Conflict"),
        |_| status(429, "TooManyRequests"),
        |_| status(500, "InternalError"),
        |_| (StatusCode::BAD_GATEWAY, "<html>").into_response(),
        |_| "not JSON".into_response(),
    ];
    for answer in passing {
        let away = outcome(answer).await;
        assert!(matches!(away, Err(ScaleError::Away(_))), "{away:?}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_away() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let kubernetes = Kubernetes::with(kube::Config::new(url.parse().unwrap())).unwrap();
    let away = kubernetes.set("worker-seats", 1).await;
    assert!(matches!(away, Err(ScaleError::Away(_))), "{away:?}");
}
