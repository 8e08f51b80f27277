//! How somebody becomes a contact and how they cease to be one: addresses and invites, requests, and the groups of direct conversations.

mod commands;
mod connect;
mod decisions;
mod find;
mod groups;
mod invites;
mod join;
pub(crate) mod limits;
mod pending;
mod requests;

pub use requests::ShownInvite;

use crate::{sync::AccountSync, views::Views};

/// Makes contacts, and conversations with them.
pub struct Meeting<'a> {
    pub cx: Views<'a>,
}

impl Meeting<'_> {
    fn sync(&mut self) -> AccountSync<'_> {
        AccountSync { cx: self.cx.reborrow() }
    }
}
