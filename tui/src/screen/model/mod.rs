//! What the screen knows beyond the objects of the control interface, as types that can be tested without a terminal.

mod call;
mod directory;
mod history;
mod kept;
mod list;
mod message;
mod numbers;

pub use self::{
    call::CallState,
    directory::{Directory, Freshness},
    history::{History, Inserted, Wants},
    kept::{Draft, Kept, KeptChat, Mode, Place},
    list::{ChatList, ListRow},
    message::{Message, page},
    numbers::Numbers,
};
