//! Rows of the account, its settings and counters.

use prost::Message;
use starling_keys::chain::Held;

/// Proves that the key fits.
#[derive(Clone, PartialEq, Message)]
pub struct Check {
    /// Always true.
    #[prost(bool, tag = "1")]
    pub ok: bool,
}

/// Who this profile is. `META/identity`.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct IdentityRow {
    /// Seed of the account's root key in a profile of version 0.1, until a home has a chain with this device.
    #[prost(bytes = "vec", tag = "1")]
    pub account_seed: Vec<u8>,
    /// Device key seed.
    #[prost(bytes = "vec", tag = "2")]
    pub device_seed: Vec<u8>,
    /// HPKE secret key that inbox items are sealed to.
    #[prost(bytes = "vec", tag = "3")]
    pub seal_secret: Vec<u8>,
    /// Our device chain; in a profile of version 0.1 the signed device list.
    #[prost(bytes = "vec", tag = "5")]
    pub device_list: Vec<u8>,
    /// Display name.
    #[prost(string, tag = "6")]
    pub name: String,
    /// This profile is a program.
    #[prost(bool, tag = "7")]
    pub bot: bool,
    /// Token for registering at a rendezvous that asks for one.
    #[prost(string, tag = "8")]
    pub registration_token: String,
    /// Username that the profile wants or has at its homes.
    #[prost(string, tag = "9")]
    pub username: String,
    /// HPKE public key that inbox items are sealed to.
    #[prost(bytes = "vec", tag = "10")]
    pub seal_public: Vec<u8>,
    /// When this device was made, in seconds since 1970.
    #[prost(uint64, tag = "11")]
    pub created_at: u64,
    /// A profile of version 0.1 that was linked and is not one of the account's devices yet.
    #[prost(bool, tag = "12")]
    pub joins: bool,
    /// Not used since version 0.1.
    #[prost(uint64, tag = "13")]
    pub joins_version: u64,
    /// What certifies this device: its path in the chain. Empty in a profile of version 0.1.
    #[prost(bytes = "vec", tag = "14")]
    pub certificate: Vec<u8>,
    /// Since when the entries of the chain are known.
    #[prost(message, repeated, tag = "15")]
    pub held: Vec<HeldRow>,
    /// The HPKE public key that is derived from the root: what a recovered device is to read is sealed to it.
    #[prost(bytes = "vec", tag = "16")]
    pub recovery_public: Vec<u8>,
    /// How often the key for announcements on a LAN was renewed.
    #[prost(uint32, tag = "17")]
    pub lan_generation: u32,
    /// The seed of the root of a restored account, until a home has a chain with this device: sealed with a key that is not in this file.
    #[prost(bytes = "vec", tag = "18")]
    pub sealed_root: Vec<u8>,
}

/// Since when a number of entries of a device chain are known.
#[derive(Clone, PartialEq, Message)]
pub struct HeldRow {
    /// How many entries.
    #[prost(uint32, tag = "1")]
    pub length: u32,
    /// Seconds since 1970.
    #[prost(uint64, tag = "2")]
    pub since: u64,
}

impl HeldRow {
    /// What is to be stored.
    pub fn of(held: &Held) -> Vec<Self> {
        held.marks().iter().map(|(length, since)| Self { length: *length, since: *since }).collect()
    }

    /// What was stored.
    pub fn held(rows: &[Self]) -> Held {
        Held::from_marks(rows.iter().map(|row| (row.length, row.since)))
    }
}

/// Our home rendezvous servers. `META/homes`.
#[derive(Clone, PartialEq, Message)]
pub struct HomesRow {
    /// Addresses.
    #[prost(string, repeated, tag = "1")]
    pub homes: Vec<String>,
}

impl Drop for JoiningRow {
    fn drop(&mut self) {
        use zeroize::Zeroize;
        self.device_seed.zeroize();
        self.seal_secret.zeroize();
    }
}

impl Drop for IdentityRow {
    fn drop(&mut self) {
        use zeroize::Zeroize;
        self.account_seed.zeroize();
        self.device_seed.zeroize();
        self.seal_secret.zeroize();
    }
}

/// What the user has set. `META/settings`.
#[derive(Clone, PartialEq, Message)]
pub struct SettingsRow {
    /// [`crate::Audience`] for last seen.
    #[prost(uint32, tag = "1")]
    pub last_seen: u32,
    /// … for read receipts.
    #[prost(uint32, tag = "2")]
    pub receipts: u32,
    /// … for typing.
    #[prost(uint32, tag = "3")]
    pub typing: u32,
    /// Peers on the same LAN are not looked for.
    #[prost(bool, tag = "4")]
    pub no_mdns: bool,
}

/// Counters that must not go back. `META/counters`.
#[derive(Clone, PartialEq, Message)]
pub struct CountersRow {
    /// The hybrid logical clock.
    #[prost(uint64, tag = "1")]
    pub clock: u64,
    /// Sequence number of the newest durable event.
    #[prost(uint64, tag = "2")]
    pub last_event: u64,
    /// Version of the account snapshot at the home.
    #[prost(uint64, tag = "3")]
    pub snapshot: u64,
    /// When this profile last ran, in milliseconds since 1970.
    #[prost(uint64, tag = "4")]
    pub last_run_ms: u64,
    /// The contacts have changed since our home has taken a snapshot of them.
    #[prost(bool, tag = "5")]
    pub snapshot_pending: bool,
    /// The account was restored on another device: this one is no part of it any more.
    #[prost(bool, tag = "6")]
    pub superseded: bool,
    /// A device was linked, and is to be told when our home has a snapshot of all contacts; or this one was, and is to tell the others.
    #[prost(bool, tag = "7")]
    pub greeting_pending: bool,
    /// Another device of the account has events of this one that are not here: this profile is an older copy of a device that went on.
    #[prost(bool, tag = "8")]
    pub outdated: bool,
    /// How often this profile was opened.
    #[prost(uint64, tag = "9")]
    pub runs: u64,
}

/// A device that has asked to join an account, until it is one of its devices. `META/joining`.
#[derive(Clone, PartialEq, Message)]
pub struct JoiningRow {
    /// Seed of its key.
    #[prost(bytes = "vec", tag = "1")]
    pub device_seed: Vec<u8>,
    /// Its sealing key …
    #[prost(bytes = "vec", tag = "2")]
    pub seal_secret: Vec<u8>,
    /// … and what others seal to.
    #[prost(bytes = "vec", tag = "3")]
    pub seal_public: Vec<u8>,
    /// The rendezvous at which it has asked.
    #[prost(string, tag = "4")]
    pub home: String,
    /// What was offered: a [`starling_wire::link::LinkOffer`].
    #[prost(bytes = "vec", tag = "5")]
    pub offer: Vec<u8>,
}

/// Changes to our account's devices and homes that others have to learn of. `META/device_changes`.
#[derive(Clone, PartialEq, Message)]
pub struct DeviceChangesRow {
    /// Devices that the user has taken off the account's list here: no list that has them counts.
    #[prost(message, repeated, tag = "1")]
    pub removed: Vec<RemovedRow>,
    /// Contacts and our other devices have to be told of our list once a home has it.
    #[prost(bool, tag = "2")]
    pub list_pending: bool,
    /// Servers that were our homes, and have not been told where we have moved.
    #[prost(message, repeated, tag = "3")]
    pub left_homes: Vec<LeftHomeRow>,
    /// What devices that were removed have tried to do to others later; the user was warned of it.
    #[prost(message, repeated, tag = "4")]
    pub refused: Vec<RefusedRow>,
    /// When devices that were removed were last seen to be used, as the user was told.
    #[prost(message, repeated, tag = "5")]
    pub tried: Vec<TriedRow>,
    /// What contacts have said lately of the use of such devices, as the user was told.
    #[prost(message, repeated, tag = "6")]
    pub heard: Vec<DeviceUseRow>,
}

/// Snapshots of the account that this device could not read. `META/unreadable_snapshots`.
#[derive(Clone, PartialEq, Message)]
pub struct UnreadableSnapshotsRow {
    /// The first ones that it has met.
    #[prost(message, repeated, tag = "1")]
    pub snapshots: Vec<UnreadableSnapshot>,
}

/// One of them, as a home had it.
#[derive(Clone, PartialEq, Message)]
pub struct UnreadableSnapshot {
    /// The address of the home.
    #[prost(string, tag = "1")]
    pub home: String,
    /// Its version there.
    #[prost(uint64, tag = "2")]
    pub version: u64,
    /// The snapshot, sealed.
    #[prost(bytes = "vec", tag = "3")]
    pub sealed: Vec<u8>,
    /// When it was read, milliseconds since 1970.
    #[prost(uint64, tag = "4")]
    pub at_ms: u64,
}

/// A device that was removed from its account was used, and somebody was told: the user, of one of ours; its owner, of one of a contact's.
#[derive(Clone, PartialEq, Message)]
pub struct DeviceUseRow {
    /// The device.
    #[prost(bytes = "vec", tag = "1")]
    pub device: Vec<u8>,
    /// What it has tried, as its number.
    #[prost(uint32, tag = "2")]
    pub attempt: u32,
    /// When that was told, milliseconds since 1970.
    #[prost(uint64, tag = "3")]
    pub at_ms: u64,
    /// Of one of ours: the contact who has said so.
    #[prost(bytes = "vec", tag = "4")]
    pub by: Vec<u8>,
}

/// A device that was removed from our account was used.
#[derive(Clone, PartialEq, Message)]
pub struct TriedRow {
    /// The device.
    #[prost(bytes = "vec", tag = "1")]
    pub device: Vec<u8>,
    /// When the user was told, milliseconds since 1970.
    #[prost(uint64, tag = "2")]
    pub at_ms: u64,
}

/// A device that was removed from our account has tried to remove another.
#[derive(Clone, PartialEq, Message)]
pub struct RefusedRow {
    /// The device that was removed.
    #[prost(bytes = "vec", tag = "1")]
    pub by: Vec<u8>,
    /// The one that it has tried to remove.
    #[prost(bytes = "vec", tag = "2")]
    pub device: Vec<u8>,
    /// It has removed it.
    #[prost(bool, tag = "3")]
    pub stands: bool,
}

/// The history that this device copies from another of its account. `META/history_copy`.
#[derive(Clone, PartialEq, Message)]
pub struct HistoryCopyRow {
    /// The device that has it.
    #[prost(bytes = "vec", tag = "1")]
    pub source: Vec<u8>,
    /// Its permission; 0 until it gives one.
    #[prost(uint64, tag = "2")]
    pub grant: u64,
    /// Where the next page begins, as the source has named it; empty for the first page.
    #[prost(bytes = "vec", tag = "3")]
    pub before: Vec<u8>,
    /// The number to ask for changes since.
    #[prost(uint64, tag = "4")]
    pub changes: u64,
    /// About how many messages there are.
    #[prost(uint64, tag = "5")]
    pub total: u64,
    /// How many of them were gone through.
    #[prost(uint64, tag = "6")]
    pub walked: u64,
    /// How many were new here.
    #[prost(uint64, tag = "7")]
    pub copied: u64,
    /// [`crate::CopyPhase`].
    #[prost(uint32, tag = "8")]
    pub phase: u32,
    /// When the first page came, milliseconds since 1970.
    #[prost(uint64, tag = "9")]
    pub started_ms: u64,
    /// When all was there, milliseconds since 1970; 0 before.
    #[prost(uint64, tag = "10")]
    pub complete_ms: u64,
    /// The device that has linked this one, if it was never heard whether it lets its history be copied: if it does, that is what its user has wished.
    #[prost(bytes = "vec", tag = "11")]
    pub expected_from: Vec<u8>,
}

/// What this device lacks of a group that another one of its account was in before. `META/history_group/` and the conversation.
#[derive(Clone, PartialEq, Message)]
pub struct GroupHistoryRow {
    /// The MLS group.
    #[prost(bytes = "vec", tag = "1")]
    pub group: Vec<u8>,
    /// The first epoch that this device is in.
    #[prost(uint64, tag = "2")]
    pub epoch: u64,
    /// What is stamped earlier is not wanted.
    #[prost(fixed64, tag = "3")]
    pub since: u64,
    /// The devices that were there before, and have not given all that they have.
    #[prost(bytes = "vec", repeated, tag = "4")]
    pub sources: Vec<Vec<u8>>,
    /// The one of them that has given pages …
    #[prost(bytes = "vec", tag = "5")]
    pub from: Vec<u8>,
    /// … and where the next one begins, as it has named it.
    #[prost(bytes = "vec", tag = "6")]
    pub before: Vec<u8>,
    /// When it was first wanted, milliseconds since 1970.
    #[prost(uint64, tag = "7")]
    pub at_ms: u64,
}

/// Devices of the account that may copy the history of this one. `META/history_grants`.
#[derive(Clone, PartialEq, Message)]
pub struct HistoryGrantsRow {
    /// One for each device.
    #[prost(message, repeated, tag = "1")]
    pub grants: Vec<HistoryGrantRow>,
}

/// A device may copy the history.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct HistoryGrantRow {
    /// The device.
    #[prost(bytes = "vec", tag = "1")]
    pub device: Vec<u8>,
    /// The number of the permission.
    #[prost(uint64, tag = "2")]
    pub grant: u64,
    /// When it was given, milliseconds since 1970.
    #[prost(uint64, tag = "3")]
    pub at_ms: u64,
    /// It has everything that was there; changes may follow.
    #[prost(bool, tag = "4")]
    pub complete: bool,
}

/// A device that was taken off our account's list.
#[derive(Clone, PartialEq, Message)]
pub struct RemovedRow {
    /// The device.
    #[prost(bytes = "vec", tag = "1")]
    pub device: Vec<u8>,
    /// A home has a list without it.
    #[prost(bool, tag = "2")]
    pub published: bool,
}

/// A server that was our home.
#[derive(Clone, PartialEq, Message)]
pub struct LeftHomeRow {
    /// Its address.
    #[prost(string, tag = "1")]
    pub address: String,
    /// It is not tried any more after this time, milliseconds since 1970.
    #[prost(uint64, tag = "2")]
    pub until_ms: u64,
}

/// A key package's secrets.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct KeyPackageRow {
    /// As mls-rs encodes it.
    #[prost(bytes = "vec", tag = "1")]
    pub data: Vec<u8>,
    /// It is the last-resort one, and stays when it is used.
    #[prost(bool, tag = "2")]
    pub last_resort: bool,
}

/// What a restored device reads: the account's contacts.
#[derive(Clone, PartialEq, Message)]
pub struct SnapshotRow {
    /// The contacts.
    #[prost(message, repeated, tag = "1")]
    pub contacts: Vec<SnapshotContact>,
    /// The account's display name.
    #[prost(string, tag = "2")]
    pub name: String,
    /// What the devices agree on.
    #[prost(message, repeated, tag = "3")]
    pub settings: Vec<starling_wire::Setting>,
    /// What its devices are called.
    #[prost(message, repeated, tag = "4")]
    pub devices: Vec<starling_wire::DeviceLabel>,
    /// The ways into the account's groups.
    #[prost(message, repeated, tag = "5")]
    pub groups: Vec<starling_wire::inbox::GroupOffer>,
    /// The proof that its writer belongs to the account ([`starling_keys::chain::LeafPath`]): who reads it may have been given an old chain.
    #[prost(bytes = "vec", tag = "6")]
    pub writer: Vec<u8>,
}

/// One contact in a snapshot.
#[derive(Clone, PartialEq, Message)]
pub struct SnapshotContact {
    /// Account key.
    #[prost(bytes = "vec", tag = "1")]
    pub account: Vec<u8>,
    /// Where their devices are found.
    #[prost(string, repeated, tag = "2")]
    pub homes: Vec<String>,
    /// How many entries of their device chain are known: a shorter one is a roll-back.
    #[prost(uint64, tag = "7")]
    pub version: u64,
    /// The head after those (32 bytes); empty if there is no chain.
    #[prost(bytes = "vec", tag = "8")]
    pub head: Vec<u8>,
    /// Name that the contact gives itself.
    #[prost(string, tag = "3")]
    pub name: String,
    /// Name that the user gives.
    #[prost(string, tag = "4")]
    pub alias: String,
    /// [`crate::ContactState`].
    #[prost(uint32, tag = "5")]
    pub state: u32,
    /// The user has compared safety numbers.
    #[prost(bool, tag = "6")]
    pub verified: bool,
    /// The way into the group with them: its id (16 bytes) and the secret of its door (32); empty if it has none.
    #[prost(bytes = "vec", tag = "9")]
    pub door: Vec<u8>,
    /// The rendezvous with that group's logs.
    #[prost(string, tag = "10")]
    pub door_home: String,
}

/// What is known of networks that the machine was in, of those that were measured last at the end.
#[derive(Clone, PartialEq, Message)]
pub struct KnownNetworksRow {
    /// One for each network.
    #[prost(message, repeated, tag = "1")]
    pub networks: Vec<KnownNetworkRow>,
}

/// What is known of a network.
#[derive(Clone, PartialEq, Message)]
pub struct KnownNetworkRow {
    /// What tells it, and the internet protocol that this is about, from others (16 bytes).
    #[prost(bytes = "vec", tag = "1")]
    pub network: Vec<u8>,
    /// For so many seconds connections over datagrams may be silent there.
    #[prost(uint32, tag = "2")]
    pub rest_s: u32,
    /// When that was found, in seconds since 1970.
    #[prost(uint64, tag = "3")]
    pub measured_s: u64,
}

/// Where servers were reached last, those whose address has changed last at the end.
#[derive(Clone, PartialEq, Message)]
pub struct ServerAddressesRow {
    /// One for each name.
    #[prost(message, repeated, tag = "1")]
    pub servers: Vec<ServerAddress>,
}

/// Where a server was reached.
#[derive(Clone, PartialEq, Message)]
pub struct ServerAddress {
    /// Its name in DNS.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The IP address.
    #[prost(string, tag = "2")]
    pub address: String,
}
