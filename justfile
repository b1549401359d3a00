# Recipes for daily work; `just` lists them. Each is a plain command that can be typed as well.

_default:
    @just --list

# The whole platform, seeded with the demo event
dev *args:
    cargo run --release -- dev {{args}}

# All tests
test *args:
    cargo test --workspace {{args}}

# Format and lint, as CI does
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings

# Everything CI does
ci:
    bash .ci/run

# The reference workload through real processes
bench sagas="20000" concurrency="256":
    cargo run --release -- bench saga --sagas {{sagas}} --concurrency {{concurrency}}

# An on-sale through the whole platform
rush seats="5000" buyers="50000":
    cargo run --release -- bench rush --seats {{seats}} --buyers {{buyers}}

# Write migrations/schema.sql anew, after a migration was added
schema:
    UPDATE_SCHEMA=1 cargo test --test house schema

# Our own crates' documentation
doc:
    cargo doc --workspace --no-deps --open

# Dependencies: licences, bans, sources, advisories
deny:
    cargo deny check
