//! The planner's settings of our sessions.

use sqlx::postgres::PgConnectOptions;

/// Plans that use indexes, whatever the statistics say.
///
/// A statement is planned when a connection first uses it, which is often before its tables have grown or were analysed: to a
/// small table Postgres prefers reading the whole of it, or hashing it, and the plan stays until the table is analysed. At the
/// opening of a sale that means thousands of seats read for every claim of two. All of our statements but reports go by keys,
/// for which nested loops over indexes are right at any size.
pub fn index_plans(options: PgConnectOptions) -> PgConnectOptions {
    options.options([
        ("enable_seqscan", "off"),
        ("enable_hashjoin", "off"),
        ("enable_mergejoin", "off"),
        ("enable_material", "off"),
        ("jit", "off"),
    ])
}

/// Back to Postgres' own judgement, for reports, whose statements are planned with their parameters and read much of a table.
pub fn default_plans(options: PgConnectOptions) -> PgConnectOptions {
    options.options([
        ("enable_seqscan", "on"),
        ("enable_hashjoin", "on"),
        ("enable_mergejoin", "on"),
        ("enable_material", "on"),
    ])
}
