//! People.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ASKS_OTHERS, Done, requests};
use crate::objects::{AccountId, Contact, Request, Time};

/// How long an invite is good unless it is said otherwise: a week, in milliseconds.
pub const INVITE_LIFETIME_MS: u64 = 7 * 86_400_000;
/// The longest that an invite can be good: a year, in milliseconds.
pub const MAX_INVITE_LIFETIME_MS: u64 = 365 * 86_400_000;

requests! {
    /// All contacts, with those that were asked, blocked or removed.
    #[derive(Default)]
    List = "contacts" -> Vec<Contact> => {
        /// With the safety numbers, which take a millisecond or two each to compute: yes unless it is false.
        safety_numbers: Option<bool>,
    }

    /// One contact.
    #[derive(Default)]
    Find = "contacts.find" -> Contact => {
        /// A name, with or without `@`, an account, an address or invite, or the id of a conversation, with or without `id:`.
        who: String,
        /// With the safety number, which takes a millisecond or two to compute: no unless it is true.
        safety_number: Option<bool>,
    }

    /// Those who ask to be a contact.
    Requests = "requests" -> Vec<Request> => {}

    /// Asks somebody to be a contact. With an invite that is still good, both are contacts at once.
    #[derive(Default)]
    Add = "contacts.add" -> Account, within |_| ASKS_OTHERS => {
        /// Their invite or address.
        invite: Option<String>,
        /// Instead of it: their user name …
        username: Option<String>,
        /// … at this rendezvous.
        rendezvous: Option<String>,
        /// A few words to them.
        greeting: Option<String>,
        /// The name to show for them.
        name: Option<String>,
    }

    /// Accepts a request.
    Accept = "contacts.accept" -> Done => {
        /// Whose.
        account: AccountId,
    }

    /// Declines a request.
    Decline = "contacts.decline" -> Done => {
        /// Whose.
        account: AccountId,
    }

    /// Gives a contact a name that only this account sees.
    Rename = "contacts.rename" -> Done => {
        /// The contact.
        account: AccountId,
        /// The name; empty for the one that they give themselves.
        name: String,
    }

    /// Notes that the user has compared safety numbers with a contact, or takes that back.
    Verify = "contacts.verify" -> Done => {
        /// The contact.
        account: AccountId,
        /// Whether the numbers are the same; the default is true. What is given has to be one of the two: `null` says neither.
        #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "super::not_null")]
        verified: Option<bool>,
    }

    /// Accepts the devices that a contact has now.
    Trust = "contacts.trust" -> Done => {
        /// The contact.
        account: AccountId,
    }

    /// Blocks an account.
    Block = "contacts.block" -> Done => {
        /// The account.
        account: AccountId,
    }

    /// Takes that back.
    Unblock = "contacts.unblock" -> Done => {
        /// The account.
        account: AccountId,
    }

    /// Removes a contact.
    Remove = "contacts.remove" -> Done => {
        /// The contact.
        account: AccountId,
    }

    /// Makes an invite: a link that makes whoever has it a contact at once.
    #[derive(Default)]
    Invite = "invite" -> Invitation => {
        /// How many may use it; the default is 1.
        uses: Option<u32>,
        /// How long it is good, in milliseconds; the default is a week, the most a year.
        lifetime_ms: Option<u64>,
    }

    /// Makes a short code to read out: one person can use it, within ten minutes and while this node runs.
    OpenCode = "code.open" -> Code, within |_| ASKS_OTHERS => {
        /// The code ends with this connection.
        while_connected: Option<bool>,
    }

    /// Uses the short code of somebody else.
    UseCode = "code.use" -> Account, within |_| ASKS_OTHERS => {
        /// The code.
        code: String,
        /// Their rendezvous; the default is the one of this account.
        rendezvous: Option<String>,
    }
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Account {
    /// Its id.
    pub account: AccountId,
}

/// An invite.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Invitation {
    /// The link.
    pub link: String,
    /// Until when it is good.
    pub expires_at: Time,
    /// How many may use it.
    pub uses: u32,
}

/// A short code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Code {
    /// The code.
    pub code: String,
}
