//! Our account: its devices, how another one is linked, and the snapshot that a restored one reads.

pub mod codes;
pub mod devices;
mod snapshot;
