//! What the screen knows, as types that can be tested without a terminal. The JSON of the node becomes these types in `wire`, and nowhere
//! else.

mod call;
mod history;
mod kept;
mod list;
mod message;
mod numbers;
mod people;
pub mod wire;

pub use self::{
    call::{CallNews, CallState, CallStats, Recording},
    history::{History, Inserted, Wants},
    kept::{Draft, Kept, KeptChat, Mode, Place},
    list::{ChatList, ListRow},
    message::{Delivery, Message, Via},
    numbers::Numbers,
    people::{Chat, Contact, ContactRequest, ContactState, Home, OwnDevice, Path, Presence, Status},
};
