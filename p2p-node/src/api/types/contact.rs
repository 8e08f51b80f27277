//! People.

use starling_keys::{AccountId, DeviceId};
use starling_wire::Availability;

use super::{ChatId, stored_enum};

stored_enum! {
    /// What somebody is to us.
    ContactState {
        /// A contact.
        #[default]
        Active = 0,
        /// We have asked; they have not answered.
        Outgoing = 1,
        /// Blocked by us.
        Blocked = 2,
        /// Removed by us; asking again is a new request.
        Removed = 3,
    }
}

stored_enum! {
    /// Who may see something.
    Audience {
        /// Contacts.
        #[default]
        Contacts = 0,
        /// Everyone (whom we talk to).
        Everyone = 1,
        /// Nobody.
        Nobody = 2,
    }
}

impl Audience {
    /// Whether somebody may see it, by the stored number.
    pub(crate) fn allows(stored: u32) -> bool {
        Self::from_stored(stored) != Self::Nobody
    }
}

/// Somebody we know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// The account.
    pub account: AccountId,
    /// The conversation with them.
    pub chat: ChatId,
    /// The name to show: the one that the user gave, else their own.
    pub name: String,
    /// The name that they give themselves.
    pub own_name: String,
    /// The user name that they say they have; empty if they do not say.
    pub username: String,
    /// The user name by which a rendezvous has led to them, which may lead to anybody, until they say themselves that it is theirs; empty otherwise.
    pub found_as: String,
    /// What they are to us.
    pub state: ContactState,
    /// Safety numbers were compared.
    pub verified: bool,
    /// Their key or devices have changed since; sending waits.
    pub key_changed: bool,
    /// A program.
    pub bot: bool,
    /// Their devices.
    pub devices: Vec<DeviceId>,
    /// Last sign of life, milliseconds since 1970; 0 if not known.
    pub last_seen_ms: u64,
    /// Whether they are there now, if they show it.
    pub availability: Option<Availability>,
    /// They are typing now.
    pub typing: bool,
    /// Connected to one of their devices: directly (`Some(false)`) or through a relay.
    pub relayed: Option<bool>,
}

/// Somebody who asks to be a contact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The account.
    pub account: AccountId,
    /// The name that they give themselves.
    pub name: String,
    /// A few words.
    pub greeting: String,
    /// When it came, milliseconds since 1970.
    pub at_ms: u64,
}
