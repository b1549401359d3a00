//! `/v1/workflows`: deploy and look at definitions.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use workflows::definition::Definition;

use super::extract::{self, NamePath, VersionPath};
use super::problem::{ApiError, ProblemDetails};
use super::{DEFINITION_BODY_BYTES_MAX, Items, Ops};
use crate::client::ClientError;

/// Store a workflow's version, in JSON or YAML. The same one again is no error; another one under the same version is.
///
/// All that is wrong with a definition is listed at once, each with a JSON Pointer to its place.
#[utoipa::path(post, path = "/v1/workflows", tag = "workflows",
    request_body(content(
        (ref("#/components/schemas/Definition") = "application/json"),
        (String = "application/yaml"))),
    responses(
        (status = 200, description = "It was there already", body = ref("#/components/schemas/DefinitionSummary")),
        (status = 201, description = "Deployed", body = ref("#/components/schemas/DefinitionSummary")),
        (status = "default", description = "A problem", body = ref("#/components/schemas/ProblemDetails"), content_type = "application/problem+json")))]
pub async fn deploy(State(ops): State<Ops>, headers: HeaderMap, body: Bytes) -> Result<Response, ApiError> {
    extract::limit(&body, DEFINITION_BODY_BYTES_MAX)?;
    let definition = read(&headers, &body)?;
    let deployed = ops.client.deploy(definition).await?;
    let status = if deployed.created {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let location = format!(
        "/v1/workflows/{}/{}",
        deployed.definition.name, deployed.definition.version
    );
    Ok((status, [(header::LOCATION, location)], axum::Json(deployed.definition)).into_response())
}

fn read(headers: &HeaderMap, body: &Bytes) -> Result<Definition, ApiError> {
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    if !content_type.to_ascii_lowercase().contains("yaml") {
        return extract::json(headers, body);
    }
    let text = std::str::from_utf8(body)
        .map_err(|error| ProblemDetails::malformed("", format!("the body is not UTF-8: {error}")))?;
    // The parser bounds nesting and the repetition of aliases by itself.
    extract::from_deserializer(serde_yaml_ng::Deserializer::from_str(text))
}

/// Every workflow's versions.
#[utoipa::path(get, path = "/v1/workflows", tag = "workflows",
    responses(
        (status = 200, description = "By name and version", body = ref("#/components/schemas/DefinitionList")),
        (status = "default", description = "A problem", body = ref("#/components/schemas/ProblemDetails"), content_type = "application/problem+json")))]
pub async fn list(State(ops): State<Ops>) -> Result<Response, ApiError> {
    Ok(axum::Json(Items {
        items: ops.client.definitions().await?,
    })
    .into_response())
}

/// A workflow's newest version.
#[utoipa::path(get, path = "/v1/workflows/{name}", tag = "workflows",
    params(("name" = String, Path, description = "The workflow's name")),
    responses(
        (status = 200, description = "The definition", body = ref("#/components/schemas/DefinitionDetail")),
        (status = "default", description = "A problem", body = ref("#/components/schemas/ProblemDetails"), content_type = "application/problem+json")))]
pub async fn newest(State(ops): State<Ops>, NamePath(name): NamePath) -> Result<Response, ApiError> {
    one(&ops, &name, None).await
}

/// One of a workflow's versions.
#[utoipa::path(get, path = "/v1/workflows/{name}/{version}", tag = "workflows",
    params(
        ("name" = String, Path, description = "The workflow's name"),
        ("version" = u32, Path, description = "Its version")),
    responses(
        (status = 200, description = "The definition", body = ref("#/components/schemas/DefinitionDetail")),
        (status = "default", description = "A problem", body = ref("#/components/schemas/ProblemDetails"), content_type = "application/problem+json")))]
pub async fn version(
    State(ops): State<Ops>,
    NamePath(name): NamePath,
    VersionPath(version): VersionPath,
) -> Result<Response, ApiError> {
    one(&ops, &name, Some(version)).await
}

async fn one(ops: &Ops, name: &str, version: Option<u32>) -> Result<Response, ApiError> {
    let found = ops.client.definition(name, version).await?;
    let found = found.ok_or_else(|| ClientError::NotFound {
        what: match version {
            Some(version) => format!("version {version} of workflow {name:?}"),
            None => format!("workflow {name:?}"),
        },
    })?;
    Ok(axum::Json(found).into_response())
}
