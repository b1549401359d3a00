//! Every limit of the core, in one place.

/// Nodes in one definition, at most: a node's position fits [`crate::state::NodeIndex`] with room to spare, and a
/// picture of a thousand nodes is already no picture.
pub const NODES_MAX: usize = 1_000;
/// How deep scopes, parallels and choices may be nested: keeps every recursive walk's stack small.
pub const NESTING_MAX: usize = 16;
/// Characters of one CEL expression.
pub const EXPRESSION_CHARS_MAX: usize = 2_048;
/// Bytes of a saga's encoded input.
pub const INPUT_BYTES_MAX: usize = 256 * 1024;
/// Bytes of one encoded activity output or signal payload.
pub const PAYLOAD_BYTES_MAX: usize = 256 * 1024;
/// Bytes of a saga's encoded state: a row that stays workable in Postgres.
pub const STATE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Signals parked at one saga that nobody has waited for yet.
pub const PARKED_SIGNALS_MAX: usize = 100;
/// Nodes passed in one transition.
pub const NODES_PER_TRANSITION_MAX: usize = 10_000;
/// Macros (`map`, `filter`, `all`, `exists`) inside one another in one expression: one level keeps the cost linear
/// in the size of the data.
pub const EXPRESSION_MACRO_DEPTH_MAX: usize = 1;
/// How long past a task's deadline the orchestrator still waits for the worker's own word on it.
pub const ANSWER_GRACE: std::time::Duration = std::time::Duration::from_millis(500);
