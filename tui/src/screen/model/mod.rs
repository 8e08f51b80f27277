//! What the screen knows, as types that can be tested without a terminal. The JSON of the node becomes these types here, and nowhere else.

mod kept;
mod numbers;

pub use self::{
    kept::{Draft, Kept, KeptChat, Mode, Place},
    numbers::Numbers,
};
