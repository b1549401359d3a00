//! The API's description: routes from utoipa, schemas from the types' own `JsonSchema` (OpenAPI 3.1 schemas are JSON Schema
//! 2020-12, so one derive serves both).

use std::sync::Arc;

use axum::Router;
use axum::http::header;
use axum::routing::get;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};
use utoipa::OpenApi;
use workflows::ids::SagaId;

use super::{Items, Outcome, campaigns, places, sagas, trail, users};
use crate::app::Mission;
use crate::comparison::Compared;
use crate::queue_control::Standing;
use crate::store::approvals::Approval;
use crate::store::audit::Entry;
use crate::store::campaigns::ItemRow;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Sagaline mission control",
        description = "What operators see and do, for programs: with a token's role, its redaction, a second person where one is needed, \
                       and the audit trail. Errors are RFC 9457 problem details whose `type` is `urn:sagaline:problem:<code>`."
    ),
    servers((url = "/api")),
    tags(
        (name = "sagas", description = "Runs of workflows, and what can be done to them"),
        (name = "campaigns", description = "Repairs of many sagas at once"),
        (name = "approvals", description = "What waits for a second person"),
        (name = "places", description = "Queues, workers and schedules"),
        (name = "reports", description = "How sales go, and what is out of the ordinary"),
        (name = "users", description = "Who may come in, and what they may do"),
        (name = "audit", description = "Who did what, and why")
    )
)]
struct Head;

/// Title and tags.
pub(super) fn head() -> utoipa::openapi::OpenApi {
    Head::openapi()
}

/// `/openapi.json`, the one route that does not describe itself.
pub(super) fn route(description: Arc<str>) -> Router<Mission> {
    let serve = move || async move { ([(header::CONTENT_TYPE, "application/json")], description.to_string()) };
    Router::new().route("/openapi.json", get(serve))
}

/// The description with every schema that it refers to, and the token that each request needs.
pub(super) fn complete(description: utoipa::openapi::OpenApi) -> Value {
    let mut description = serde_json::to_value(description).expect("a description is plain data");
    let bearer = json!({"type": "http", "scheme": "bearer", "description": "A token of mission control, `sgl_…`"});
    description["components"] = json!({"schemas": schemas(), "securitySchemes": {"token": bearer}});
    description["security"] = json!([{"token": []}]);
    description
}

fn schemas() -> Map<String, Value> {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = SchemaGenerator::new(settings);
    let mut roots = Map::new();
    let mut root = |name: &str, schema: schemars::Schema| {
        roots.insert(name.to_owned(), schema.to_value());
    };
    root("Problem", problem());
    root(
        "Journal",
        Items::<sagas::JournalEntry, u64>::json_schema(&mut generator),
    );
    root("Stuck", Items::<trail::StuckGroup>::json_schema(&mut generator));
    root("ApprovalPage", Items::<Approval>::json_schema(&mut generator));
    root("AuditPage", Items::<Entry>::json_schema(&mut generator));
    root(
        "CampaignPage",
        Items::<campaigns::CampaignItem>::json_schema(&mut generator),
    );
    root("CampaignItems", Items::<ItemRow, i32>::json_schema(&mut generator));
    root("Queues", Items::<Standing>::json_schema(&mut generator));
    root("Schedules", Items::<places::ScheduleItem>::json_schema(&mut generator));
    root("Firings", Items::<places::FiringItem>::json_schema(&mut generator));
    root("Users", Items::<users::UserItem>::json_schema(&mut generator));
    generator.subschema_for::<analytics::report::Report>();
    generator.subschema_for::<crate::reports::Alerts>();
    generator.subschema_for::<users::NewUser>();
    generator.subschema_for::<users::UserWish>();
    generator.subschema_for::<users::Invited>();
    generator.subschema_for::<SagaId>();
    generator.subschema_for::<sagas::SagaPage>();
    generator.subschema_for::<sagas::SagaDetail>();
    generator.subschema_for::<sagas::SagaGraph>();
    generator.subschema_for::<sagas::Wish>();
    generator.subschema_for::<sagas::DryRun>();
    generator.subschema_for::<sagas::Pending>();
    generator.subschema_for::<Outcome>();
    generator.subschema_for::<Compared>();
    generator.subschema_for::<campaigns::New>();
    generator.subschema_for::<campaigns::Why>();
    generator.subschema_for::<campaigns::CampaignDetail>();
    generator.subschema_for::<trail::Decided>();
    generator.subschema_for::<places::Workers>();
    generator.subschema_for::<places::ScheduleWish>();
    generator.subschema_for::<places::QueueWish>();
    roots.extend(generator.take_definitions(true));
    roots
}

/// As [`super::problem`] writes it.
fn problem() -> schemars::Schema {
    json_schema!({
        "description": "RFC 9457 problem details",
        "type": "object",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": {"type": "string", "description": "`urn:sagaline:problem:<code>`"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string", "description": "What was wrong, and what to do"},
            "expected": {"type": "integer", "description": "For `moved-on`: where the saga was expected"},
            "current": {"type": "integer", "description": "For `moved-on`: where it is"}
        }
    })
}
