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
/// `go_to` jumps in one saga's life, so that a definition cannot loop for ever.
pub const JUMPS_MAX: u32 = 1_000;
/// Nodes passed in one transition.
pub const NODES_PER_TRANSITION_MAX: usize = 10_000;
