//! Placeholder for the crate's contract.
