//! Placeholder for the crate's contract.

pub mod metrics;
