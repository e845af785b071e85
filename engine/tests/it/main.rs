//! The engine from outside, as its shard uses it.

#[cfg(test)]
mod crash;
