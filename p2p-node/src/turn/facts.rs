//! Facts: what happened in one capability and means something to others.
//!
//! A capability does not call another when something happens to it: it emits a fact through the turn. What follows from each is in the table of
//! the engine (`engine/facts.rs`), within the turn and after the input that the fact came from: it is committed with it.

use starling_keys::{AccountId, DeviceId};

use crate::{mls::GroupId, net::HomeId};

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// A home is connected, and nothing was asked of it yet.
    HomeUp(HomeId),
    /// A home has registered us, or knows us and our newest device list.
    HomeRegistered(HomeId),
    /// What a home has refused for a time may be asked for again.
    HomeRetry(HomeId),
    /// A home is not connected any more.
    HomeDown(HomeId),
    /// Something waits for inboxes at a home.
    ParcelsWait(HomeId),
    /// A stream to a device is there.
    LinkUp(DeviceId),
    /// A stream to a device has ended.
    LinkDown(DeviceId),
    /// An account, ours or a contact's, has another list of devices.
    DevicesChanged(AccountId),
    /// A device has joined our account.
    OwnDeviceAdded(DeviceId),
    /// A device of our account was removed.
    OwnDeviceRemoved(DeviceId),
    /// This device is not part of its account any more.
    AccountSuperseded,
    /// Something that the account's snapshot says of contacts has changed.
    ContactsChanged,
    /// Somebody was blocked or removed: nothing more goes to them.
    ContactUnlinked(AccountId),
    /// Whom or which servers we want to be connected to may be others, or are to be found elsewhere.
    ReachChanged,
    /// An invite with this token was used for the last time.
    InviteUsed(Vec<u8>),
    /// A group of a conversation cannot be read, and was given up.
    GroupDamaged,
    /// The log of a group that we have made is there.
    LogOpened(GroupId),
}
