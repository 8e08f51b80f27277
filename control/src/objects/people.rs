//! Contacts, requests, conversations, devices.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AccountId, ChatId, DeviceId, Time};

/// Somebody whom this account knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Contact {
    /// The account.
    pub account: AccountId,
    /// The conversation with them.
    pub chat: ChatId,
    /// The name to show: the one that the user gave, else their own.
    pub name: String,
    /// The name that they give themselves.
    pub own_name: String,
    /// The user name that they say they have, if they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The user name by which a rendezvous has led to them, which may lead to anybody: until they say that it is theirs, or were verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found_as: Option<String>,
    /// What they are to this account.
    pub state: ContactState,
    /// The user has compared safety numbers with them.
    pub verified: bool,
    /// Their devices have changed since: sending waits until the user trusts them again.
    pub key_changed: bool,
    /// It is a program.
    pub bot: bool,
    /// Their devices.
    pub devices: Vec<DeviceId>,
    /// The last sign of life, if one is known.
    pub last_seen: Option<Time>,
    /// Whether they are there now, if they show it.
    pub presence: Option<Presence>,
    /// They are typing now.
    pub typing: bool,
    /// How this device is connected to one of theirs.
    pub path: Path,
    /// The number to compare with theirs, unless the request left it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub safety_number: Option<String>,
}

words! {
    /// What a contact is to this account.
    #[derive(Default)]
    ContactState {
        /// A contact.
        #[default]
        Active = "active",
        /// Was asked, and has not answered.
        Requested = "requested",
        /// Blocked by this account.
        Blocked = "blocked",
        /// Removed by this account.
        Removed = "removed",
    }
}

words! {
    /// Whether somebody is there.
    Presence {
        /// There.
        Online = "online",
        /// Connected, and doing something else.
        Away = "away",
        /// Not connected.
        Offline = "offline",
    }
}

words! {
    /// How devices are connected.
    #[derive(Default)]
    Path {
        /// Not at all.
        #[default]
        None = "none",
        /// Directly.
        Direct = "direct",
        /// Through a relay.
        Relay = "relay",
    }
}

/// A contact that an event is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ContactRef {
    /// The account.
    pub account: AccountId,
    /// Its name, if one is known.
    pub name: Option<String>,
}

/// Somebody who asks to be a contact.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Request {
    /// The account.
    pub account: AccountId,
    /// The name that they give themselves.
    pub name: String,
    /// A few words of theirs.
    pub greeting: String,
    /// When the request came.
    pub at: Time,
}

/// A conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Chat {
    /// Its id.
    pub id: ChatId,
    /// What it is.
    pub kind: ChatKind,
    /// Its name.
    pub name: String,
    /// The account at its other end; empty of a group.
    pub peer: AccountId,
    /// Messages that the user has not read.
    pub unread: u32,
    /// When its newest message was written.
    pub newest: Option<Time>,
    /// It stays at the top of lists.
    pub pinned: bool,
    /// Until when there are no notifications of it.
    pub muted_until: Option<Time>,
    /// It is out of the way.
    pub archived: bool,
    /// Messages that wait to be sent.
    pub queued: u64,
    /// What keeps them from being sent, if anything.
    pub problem: Option<String>,
    /// A name for that, which stays the same: `log_full`, `damaged`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem_code: Option<String>,
    /// The encryption that it uses.
    pub cipher: String,
    /// The clock of the last message that the user has read.
    pub read_clock: u64,
    /// What another device of the account has left unsent, if it was the last to write something; empty if it has cleared that.
    #[serde(default)]
    pub draft: Option<String>,
    /// The folder of lists that it is in; null for none.
    #[serde(default)]
    pub folder: Option<String>,
    /// Its place among those that stand together in a list, from 1, if they are sorted by hand.
    #[serde(default)]
    pub place: Option<u32>,
    /// Its channels are folded away in lists, if it is a community.
    #[serde(default)]
    pub folded: bool,
}

words! {
    /// What a conversation is.
    #[derive(Default)]
    ChatKind {
        /// Of two accounts.
        #[default]
        Direct = "direct",
        /// Of any number of accounts.
        Group = "group",
        /// One in which few write and many read.
        Channel = "channel",
        /// One with channels that have its members and roles.
        Community = "community",
    }
}

impl ChatKind {
    /// Whether it has members with roles.
    pub fn is_group(self) -> bool {
        self != Self::Direct
    }
}

/// The conversation that an event is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChatRef {
    /// Its id.
    pub id: ChatId,
    /// What it is.
    pub kind: ChatKind,
    /// Its name, if it is known.
    pub name: Option<String>,
}

/// What a device may do to its account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Rights {
    /// Links, changes and removes devices.
    Admin,
    /// Reads and writes.
    #[default]
    Member,
    /// A member that does not get what the account knows of its contacts either.
    Bot,
}

/// What a conversation says of a device of a contact: the author of the message is the contact, on this device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeviceNote {
    /// What has happened.
    pub change: DeviceChange,
    /// What the device is called, by the contact's word; empty if that is not known.
    pub name: String,
    /// What it is, by the contact's word: an operating system, for example; empty if that is not known.
    pub system: String,
}

words! {
    /// What has happened to the devices of a contact.
    #[derive(Default)]
    DeviceChange {
        /// One has joined the account.
        #[default]
        Joined = "joined",
        /// One was removed from it.
        Left = "left",
        /// One has taken the place of all others, with the account's recovery phrase: make sure who is there.
        Recovered = "recovered",
        /// Somebody has written a history of the account's devices that contradicts the one known for long: make sure who is there.
        Forked = "forked",
    }
}

/// A device of the account of this profile.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Device {
    /// Its id.
    pub device: DeviceId,
    /// What it is called: the name of its machine; empty if that is not known here.
    #[serde(default)]
    pub name: String,
    /// What it says that it is: an operating system, for example; empty if that is not known here.
    #[serde(default)]
    pub system: String,
    /// When it joined the account.
    pub added_at: Time,
    /// What it may do to the account.
    pub rights: Rights,
    /// The device that has linked it; null if that was done with the recovery phrase.
    pub linked_by: Option<DeviceId>,
    /// It is the device of this profile.
    pub this: bool,
    /// When it was last heard of; null if it was not since this node was started.
    #[serde(default)]
    pub heard_at: Option<Time>,
    /// How this device is connected to it: `direct` or `relay`; null if it is not.
    pub connection: Option<Path>,
    /// How many of the conversations with contacts it can use, as far as is known here: a new device enters one after the other.
    #[serde(default)]
    pub ready: usize,
    /// How many conversations with contacts there are.
    #[serde(default)]
    pub conversations: usize,
}
