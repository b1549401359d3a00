//! Kubernetes: a target is a Deployment of the same name, whose `scale` subresource is patched.
//!
//! The account needs to `patch` `deployments/scale`, and nothing else.

use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, Config};
use serde_json::json;

use crate::scaler::{ScaleError, Scaler};

/// How long the API server may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Deployments of one namespace.
pub struct Kubernetes {
    deployments: Api<Deployment>,
}

impl Kubernetes {
    /// As the service account of this pod, or as the kubeconfig of this machine says; in the namespace that they name, unless another is.
    ///
    /// # Errors
    /// If there is neither.
    pub async fn new(namespace: Option<&str>) -> Result<Kubernetes, ScaleError> {
        let config = Config::infer().await;
        let mut config = config.map_err(|error| ScaleError::Refused(error.to_string()))?;
        if let Some(namespace) = namespace {
            namespace.clone_into(&mut config.default_namespace);
        }
        Kubernetes::with(config)
    }

    /// With this configuration.
    ///
    /// # Errors
    /// If it makes no client.
    pub fn with(mut config: Config) -> Result<Kubernetes, ScaleError> {
        config.connect_timeout = Some(TIMEOUT);
        config.read_timeout = Some(TIMEOUT);
        config.write_timeout = Some(TIMEOUT);
        let client = Client::try_from(config).map_err(|error| ScaleError::Refused(error.to_string()))?;
        Ok(Kubernetes {
            deployments: Api::default_namespaced(client),
        })
    }
}

#[async_trait]
impl Scaler for Kubernetes {
    async fn set(&self, target: &str, replicas: u32) -> Result<(), ScaleError> {
        let patch = Patch::Merge(json!({ "spec": { "replicas": replicas } }));
        let parameters = PatchParams::default();
        let patched = self.deployments.patch_scale(target, &parameters, &patch);
        let patched = tokio::time::timeout(TIMEOUT, patched).await;
        let patched = patched.map_err(|_| ScaleError::Away(format!("no answer within {TIMEOUT:?}")))?;
        let scale = patched.map_err(failure)?;
        let set = scale.spec.and_then(|spec| spec.replicas);
        if set.and_then(|set| u32::try_from(set).ok()) == Some(replicas) {
            return Ok(());
        }
        Err(ScaleError::Refused(format!(
            "{replicas} replicas were asked for, and it says {set:?}"
        )))
    }
}

/// Conflicts, too many requests and what is the server's own fault pass; what it says of us does not.
fn failure(error: kube::Error) -> ScaleError {
    match &error {
        kube::Error::Api(status) if matches!(status.code, 400..=499) && !matches!(status.code, 408 | 409 | 429) => {
            ScaleError::Refused(format!("{} ({})", status.message, status.code))
        }
        _ => ScaleError::Away(error.to_string()),
    }
}
