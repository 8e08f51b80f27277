//! What others see of the account, and where it meets them.

use super::{ASKS_OTHERS, Done, requests};
use crate::objects::{Audience, Privacy, Storage, words};

requests! {
    /// Sets the name that others see.
    SetName = "profile.name" -> Done => {
        /// The name.
        name: String,
    }

    /// Sets the name by which others can find the account at its rendezvous.
    SetUsername = "profile.username" -> Done, within |_| ASKS_OTHERS => {
        /// The user name: 2 to 32 of `a-z 0-9 . _ -`, a letter or digit first.
        name: String,
    }

    /// Sets the rendezvous servers of the account.
    SetRendezvous = "profile.rendezvous" -> Done => {
        /// Their addresses.
        rendezvous: Vec<String>,
        /// A token for registration there, from their operator.
        token: Option<String>,
    }

    /// Sets who may see what; what is left out stays as it is.
    #[derive(Default)]
    SetPrivacy = "profile.privacy" -> Privacy => {
        /// When the account was there last.
        last_seen: Option<Audience>,
        /// That it has read a message.
        receipts: Option<Audience>,
        /// That it is typing.
        typing: Option<Audience>,
    }

    /// Lists what the account's rendezvous servers store for it: the logs of its conversations.
    ListStorage = "profile.storage" -> Storage, within |_| ASKS_OTHERS => {}

    /// Deletes what this device does not need of the logs of a conversation.
    DeleteStorage = "profile.delete_storage" -> Storage, within |_| ASKS_OTHERS => {
        /// The id of those logs, as the list has it.
        id: String,
    }

    /// Shows contacts whether the user is there.
    SetAvailability = "availability" -> Done => {
        /// Whether.
        availability: Availability,
    }
}

words! {
    /// Whether the user is there.
    Availability {
        /// There.
        Online = "online",
        /// Doing something else.
        Away = "away",
    }
}
