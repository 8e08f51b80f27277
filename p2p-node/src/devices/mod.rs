//! The devices of our account: the chain that lists them, the homes that know it, the snapshot that they share, and what each says to the others. And what devices
//! of contacts say of the chains of both.

mod chain;
mod commands;
mod contacts;
mod direct;
mod echo;
mod homes;
mod limits;
mod others;
mod pending;
mod recovery;
mod registration;
mod shown;
mod snapshot;
mod storage;
mod tried;
mod unreadable;
mod uses;

use crate::{history::History, linking::Linking, meeting::Meeting, sync::AccountSync, views::Views};

/// Keeps the account's devices, and its homes, in agreement about the account.
pub struct AccountDevices<'a> {
    pub cx: Views<'a>,
    /// What a new device may copy.
    pub history: &'a mut History,
}

impl AccountDevices<'_> {
    fn sync(&mut self) -> AccountSync<'_> {
        AccountSync { cx: self.cx.reborrow() }
    }

    fn meeting(&mut self) -> Meeting<'_> {
        Meeting { cx: self.cx.reborrow() }
    }

    fn linking(&mut self) -> Linking<'_> {
        Linking { cx: self.cx.reborrow(), history: self.history }
    }
}
