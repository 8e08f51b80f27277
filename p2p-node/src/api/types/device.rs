//! Devices of our account and of contacts, and the history that they copy.

use std::{fmt, str::FromStr};

use starling_keys::{DeviceId, chain::Rights};

use super::{InvalidId, stored_enum};

stored_enum! {
    /// What has happened to the devices of a contact.
    DeviceChange {
        /// One has joined the account.
        #[default]
        Joined = 0,
        /// One was removed from it.
        Left = 1,
        /// One has taken the place of all others, with the account's recovery phrase: somebody else may be there.
        Recovered = 2,
        /// Somebody who may change the account has written a history of it that contradicts the one known for long.
        Forked = 3,
    }
}

impl DeviceChange {
    /// Whether the user should make sure who is there.
    pub fn is_alarm(self) -> bool {
        matches!(self, Self::Recovered | Self::Forked)
    }
}

stored_enum! {
    /// How far the copying of the history from another device is.
    CopyPhase {
        /// There is none, or it was given up.
        #[default]
        None = 0,
        /// The user of the other device is to agree.
        Wished = 1,
        /// Page after page.
        Copying = 2,
        /// All is there. Messages that the other device still gets alone, as their authors do not know of this one yet, follow.
        Following = 3,
        /// It is done.
        Done = 4,
        /// The other device has taken its permission back, or is no device of the account any more.
        Refused = 5,
    }
}

impl CopyPhase {
    /// Whether something is still to come.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Wished | Self::Copying | Self::Following)
    }
}

/// What somebody who may change our account has done to it, and has hidden from its home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HiddenChange {
    /// `joined`, `left`, `recovered`, `changed` (rights or homes), or `forked` (a second history).
    pub change: String,
    /// The device that it is about.
    pub device: DeviceId,
    /// The device whose key has signed it; `None` for the recovery phrase.
    pub by: Option<DeviceId>,
    /// What the device is called, by its own word; empty if that is not known.
    pub name: String,
}

impl fmt::Display for HiddenChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = self.by.map_or_else(|| "-".to_owned(), |by| by.to_string());
        write!(f, "{} {} {by} {}", self.change, self.device, self.name)
    }
}

impl FromStr for HiddenChange {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let mut parts = text.splitn(4, ' ');
        let (Some(change), Some(device), Some(by)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(InvalidId);
        };
        Ok(Self {
            change: change.to_owned(),
            device: device.parse().map_err(|_| InvalidId)?,
            by: by.parse().ok(),
            name: parts.next().unwrap_or_default().to_owned(),
        })
    }
}

/// A device that was removed from our account has removed another, with a history from before its own removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusedRemoval {
    /// The device that was removed: whoever has its key has signed this.
    pub by: DeviceId,
    /// The device that it has tried to remove.
    pub device: DeviceId,
    /// Both removals count, as they were made at about the same time; else only its own does.
    pub stands: bool,
}

impl fmt::Display for RefusedRemoval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{}", self.by, self.device, if self.stands { " stands" } else { "" })
    }
}

impl FromStr for RefusedRemoval {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let mut parts = text.split(' ');
        let mut id = || parts.next().ok_or(InvalidId)?.parse().map_err(|_| InvalidId);
        Ok(Self { by: id()?, device: id()?, stands: parts.next() == Some("stands") })
    }
}

/// What a device that was removed from our account has tried since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// It has written to a conversation, or to a device of ours.
    Write,
    /// It has rung, or said something else of a call.
    Call,
    /// It has entered a conversation.
    Enter,
    /// It has removed another device, which does not count.
    Remove,
    /// It has linked another device, which is none of the account.
    Link,
}

impl Attempt {
    /// Its name in what is stored, and for programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Call => "call",
            Self::Enter => "enter",
            Self::Remove => "remove",
            Self::Link => "link",
        }
    }

    /// Its number in what is stored, and in what contacts are told.
    pub(crate) fn number(self) -> u32 {
        match self {
            Self::Write => 1,
            Self::Call => 2,
            Self::Enter => 3,
            Self::Remove => 4,
            Self::Link => 5,
        }
    }

    /// The attempt with a number; `None` if a newer version has made it up.
    pub(crate) fn from_number(number: u32) -> Option<Self> {
        [Self::Write, Self::Call, Self::Enter, Self::Remove, Self::Link].into_iter().find(|a| a.number() == number)
    }
}

/// What a timeline says of a contact's device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceNote {
    /// What has happened.
    pub change: DeviceChange,
    /// What the device is called, by the account's word; empty if that is not known.
    pub name: String,
    /// What the device is, by the account's word: an operating system, for example.
    pub system: String,
}

/// A device of our account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// The device.
    pub id: DeviceId,
    /// When it joined, milliseconds since 1970.
    pub added_ms: u64,
    /// What it is called; empty if that is not known here.
    pub name: String,
    /// What it is: an operating system, for example; empty if that is not known here.
    pub system: String,
    /// What it may do to the account.
    pub rights: Rights,
    /// The device that has linked it; `None` if that was done with the phrase.
    pub linked_by: Option<DeviceId>,
    /// It is this one.
    pub this: bool,
    /// When it was last heard of, milliseconds since 1970; `None` if it was not since this node was started.
    pub heard_ms: Option<u64>,
    /// Connected to it: directly (`Some(false)`) or through a relay.
    pub relayed: Option<bool>,
    /// The conversations that it can use.
    pub conversations: Usable,
}

/// How many of the conversations with contacts a device of ours can use: those of which it has entered the group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usable {
    /// How many it can use, as far as is known here.
    pub ready: usize,
    /// How many there are.
    pub total: usize,
}

/// The copying of the history to this device, as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryCopy {
    /// The device that it comes from.
    pub source: DeviceId,
    /// How far it is.
    pub phase: CopyPhase,
    /// About how many messages there are; 0 before the first have come.
    pub total: u64,
    /// How many of them were gone through.
    pub walked: u64,
    /// How many were new here.
    pub copied: u64,
    /// When it began, milliseconds since 1970; 0 before.
    pub started_ms: u64,
    /// When everything was there, milliseconds since 1970; 0 before.
    pub complete_ms: u64,
}

/// What is copied between this device and others of the account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryState {
    /// To this device, now or last.
    pub copy: Option<HistoryCopy>,
    /// Devices that may copy from this one.
    pub granted: Vec<DeviceId>,
    /// Devices that wish to.
    pub wishes: Vec<DeviceId>,
    /// Devices that this one may copy from.
    pub offers: Vec<DeviceId>,
}
