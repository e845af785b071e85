//! Tests of the crate through its public interface.

mod admin;
mod answers;
mod bounds;
mod compaction;
mod conformance;
mod full;
mod group_bounds;
mod group_configs;
mod group_offsets;
mod group_records;
mod group_types;
mod lags;
mod mailbox;
mod paces;
mod quotas;
mod recovery;
mod rewritten;
mod ring;
mod sealed;
mod silence;
mod simulation;
mod superblock;
mod world;
