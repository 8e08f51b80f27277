//! What the user shows of itself.

use starling_wire::Availability;

use crate::api::types::ChatId;

/// A command about presence. Each is a method of `Node`, documented there, and nobody waits for it.
#[derive(Debug)]
#[allow(missing_docs, reason = "each is a method of `Node`, documented there")]
pub enum PresenceCommand {
    Typing { chat: ChatId, typing: bool },
    SetAvailability(Availability),
}

impl PresenceCommand {
    /// Whether a device that its account has given up may still do this.
    pub(crate) fn is_allowed_after_removal(&self) -> bool {
        match self {
            Self::Typing { .. } | Self::SetAvailability(_) => false,
        }
    }
}
