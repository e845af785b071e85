//! Tests of the crate through its public interface.

mod answers;
mod bounds;
mod conformance;
mod mailbox;
mod recovery;
mod ring;
mod sealed;
mod simulation;
mod world;
