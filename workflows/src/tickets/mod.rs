//! The ticket workflows.
