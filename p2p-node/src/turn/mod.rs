//! The driver: what waits is handled in one transaction, and only then do the effects leave.

mod engine;

pub(crate) use engine::{ChatState, first_time};
pub use engine::{Effect, Engine, EngineError, Input, Now};
