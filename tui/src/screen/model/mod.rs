//! What the screen knows beyond the objects of the control interface, as types that can be tested without a terminal.

mod call;
mod directory;
pub mod group;
mod history;
mod kept;
mod list;
mod members;
mod message;
mod notes;
mod numbers;
mod order;
mod people;
mod settings;

pub use self::{
    call::CallState,
    directory::{Directory, Freshness},
    history::{History, Inserted, Wants},
    kept::{Draft, Kept, KeptChat, Mode, Place},
    list::{ChatList, ListRow, ListSources},
    members::Members,
    message::{Message, page},
    notes::{Notes, YOU},
    numbers::Numbers,
    order::ActivityOrder,
    people::several,
    settings::{Field, SettingsForm, and_above, span},
};
