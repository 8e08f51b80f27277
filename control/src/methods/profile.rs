//! What others see of the account, and where it meets them.

use super::{ASKS_OTHERS, Done, requests};
use crate::objects::{Audience, Privacy, words};

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
