//! What the devices of our account have in common beside its chain: settings, and what the user says of people; and what the account says of itself.

mod known;
mod limits;
mod profile;
mod settings;

use crate::views::Views;

/// Keeps the devices of our account, and what contacts know of it, in step.
pub struct AccountSync<'a> {
    pub cx: Views<'a>,
}
