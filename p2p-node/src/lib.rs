//! The Starling engine.
pub mod mls;
pub mod store;
