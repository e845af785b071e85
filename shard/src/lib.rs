//! Placeholder for the crate's contract.

pub mod buffer;
pub mod io;
pub mod limits;
pub mod mailbox;
mod memory;
pub mod metrics;
pub mod sim;
