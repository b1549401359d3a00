//! The API's description: routes from utoipa, schemas from the types' own `JsonSchema`
//! (OpenAPI 3.1 schemas are JSON Schema 2020-12, so one derive serves both).

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};
use utoipa::OpenApi;
use workflows::definition::Definition;
use workflows::event::CommandEvent;

use super::Items;
use super::problem::ProblemDetails;
use super::sagas::{BulkAnswer, SignalAnswer, SignalBody};
use super::schedules::BackfillBody;
use crate::client::{
    BULK_STARTS_MAX, DefinitionDetail, DefinitionSummary, Firing, JournalItem, Page, SagaDetail, SagaSummary, Schedule,
    ScheduleSpec, StartRequest,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Sagaline engine",
        description = "Start, watch and command sagas; deploy workflows; plan schedules. Instants in answers are \
                       milliseconds since the Unix epoch on the database's clock. Errors are RFC 9457 problem details \
                       whose `type` is `urn:sagaline:problem:<code>`."
    ),
    tags(
        (name = "sagas", description = "Runs of workflows"),
        (name = "workflows", description = "Definitions"),
        (name = "schedules", description = "Sagas started by the clock"),
        (name = "operations", description = "Health and metrics")
    )
)]
struct Head;

/// Title and tags.
pub(super) fn head() -> utoipa::openapi::OpenApi {
    Head::openapi()
}

/// The description with every schema that it refers to.
pub(super) fn complete(description: utoipa::openapi::OpenApi) -> Value {
    let mut description = serde_json::to_value(description).expect("a description is plain data");
    let schemas = schemas();
    description["components"]["schemas"] = Value::Object(schemas);
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
    root(
        "StartBody",
        one_or_many(generator.subschema_for::<StartRequest>(), bulk(&mut generator)),
    );
    root("BulkBody", bulk(&mut generator));
    root(
        "StartAnswer",
        one_or_many(
            generator.subschema_for::<SagaDetail>(),
            generator.subschema_for::<BulkAnswer>(),
        ),
    );
    root("SagaPage", Page::<SagaSummary>::json_schema(&mut generator));
    root("Journal", Items::<JournalItem>::json_schema(&mut generator));
    root(
        "DefinitionList",
        Items::<DefinitionSummary>::json_schema(&mut generator),
    );
    root("ScheduleList", Items::<Schedule>::json_schema(&mut generator));
    root("FiringList", Items::<Firing>::json_schema(&mut generator));
    generator.subschema_for::<ProblemDetails>();
    generator.subschema_for::<web::health::Standing>();
    generator.subschema_for::<SignalBody>();
    generator.subschema_for::<SignalAnswer>();
    generator.subschema_for::<CommandEvent>();
    generator.subschema_for::<Definition>();
    generator.subschema_for::<DefinitionDetail>();
    generator.subschema_for::<ScheduleSpec>();
    generator.subschema_for::<BackfillBody>();
    roots.extend(generator.take_definitions(true));
    roots
}

fn bulk(generator: &mut SchemaGenerator) -> schemars::Schema {
    let item = generator.subschema_for::<StartRequest>();
    schemars::json_schema!({"type": "array", "items": item, "minItems": 1, "maxItems": BULK_STARTS_MAX})
}

fn one_or_many(one: schemars::Schema, many: schemars::Schema) -> schemars::Schema {
    let either = json!([one, many]);
    schemars::json_schema!({"anyOf": either})
}
