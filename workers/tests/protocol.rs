//! docs/protocol.schema.json is what the protocol's types say. `UPDATE_SCHEMA=1 cargo test -p workers --test protocol` writes it anew.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use serde_json::json;
use workflows::protocol::{PROTOCOL_VERSION, ResultEnvelope, TaskEnvelope, WorkerNotice};

#[test]
fn the_published_schema_is_that_of_the_types() {
    let mut generator = schemars::SchemaGenerator::default();
    generator.subschema_for::<TaskEnvelope>();
    generator.subschema_for::<ResultEnvelope>();
    generator.subschema_for::<WorkerNotice>();
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": format!("Sagaline's task protocol, version {PROTOCOL_VERSION}"),
        "description": "Messages on `sagaline.tasks.<queue>` are a TaskEnvelope, messages on `sagaline.results` a ResultEnvelope, messages on `sagaline.workers` a WorkerNotice.",
        "anyOf": [{"$ref": "#/$defs/TaskEnvelope"}, {"$ref": "#/$defs/ResultEnvelope"}, {"$ref": "#/$defs/WorkerNotice"}],
        "$defs": generator.take_definitions(true),
    });
    // The order of an object's members is nobody's concern, and depends on what else serde_json was built for.
    schema.sort_all_objects();
    let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/protocol.schema.json");
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let published = std::fs::read_to_string(&path).unwrap();
    assert_eq!(
        published, text,
        "docs/protocol.schema.json is out of date; UPDATE_SCHEMA=1 writes it anew"
    );
}
