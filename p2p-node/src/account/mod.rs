//! Our account: its devices, how another one is linked, and the snapshot that a restored one reads.

mod announcing;
pub mod codes;
pub mod commands;
pub mod devices;
mod homes;
mod identity;
pub(crate) mod limits;
pub mod link;
pub mod packages;
pub mod pending;
pub mod recovery;
mod registration;
mod rivals;
mod snapshot;
pub mod storage;
mod synced;
mod username;

use std::collections::{BTreeMap, BTreeSet};

use starling_keys::{AccountId, DeviceChain, DeviceId, Invite, InviteToken};
use starling_wire::{Profile, SettingKind};

pub use identity::Identity;
pub use synced::{group_subject, subject_group};

use crate::{
    api::{Reply, types::Audience},
    home::Homes,
    net::HomeId,
    store::{META, Reading, SettingsRow, Store},
    turn::{EngineError, Turn},
};

/// What belongs to our account: its identity and settings, changes to its devices that are under way, short codes, the snapshot.
pub struct Account {
    pub identity: Identity,
    pub settings: SettingsRow,
    pub synced: synced::Synced,
    pub own_devices: devices::OwnDevices,
    /// Short codes that we have opened.
    pub codes: Vec<codes::OpenCode>,
    /// Short codes of others that we try.
    pub used_codes: Vec<codes::UsedCode>,
    /// Devices that ask to join, over codes that we have opened.
    pub candidates: Vec<link::Candidate>,
    /// Who waits for a user name.
    pub name_reply: Option<Reply<()>>,
    /// Questions what homes store.
    pub storage: BTreeMap<u64, storage::StorageQuery>,
    /// When the snapshot is to be stored at our homes, in steady time.
    pub snapshot_due: Option<u64>,
    /// Homes that have told this device, which was made from the phrase, that they have no snapshot.
    pub no_snapshot_at: BTreeSet<HomeId>,
}

impl Account {
    /// Loads it from the profile.
    pub fn load(store: &Store, read: &impl Reading) -> Result<Self, EngineError> {
        Ok(Self {
            identity: Identity::load(store, read)?,
            settings: read.get(META, b"settings")?.unwrap_or_default(),
            synced: synced::Synced::load(read)?,
            own_devices: devices::OwnDevices::stored(read.get(META, b"device_changes")?.unwrap_or_default()),
            codes: Vec::new(),
            used_codes: Vec::new(),
            candidates: Vec::new(),
            name_reply: None,
            storage: BTreeMap::new(),
            snapshot_due: None,
            no_snapshot_at: BTreeSet::new(),
        })
    }

    /// Writes what has changed in this turn.
    pub fn save(&mut self, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        if std::mem::take(&mut self.identity.dirty) {
            turn.put(META, b"identity", &self.identity.row)?;
            if self.identity.root.is_none() {
                turn.forget_root();
            }
        }
        if std::mem::take(&mut self.own_devices.dirty) {
            turn.put(META, b"device_changes", &self.own_devices.changes)?;
        }
        Ok(())
    }

    /// When something is due, in steady time.
    pub fn next_due(&self) -> Option<u64> {
        let codes = self.codes.iter().map(|c| if c.code.is_none() { c.gives_up_at } else { c.expires_ms });
        let used = self.used_codes.iter().map(|c| c.gives_up_at);
        codes.chain(used).chain(self.snapshot_due).chain(self.own_devices.next_due()).min()
    }

    /// Gives up what has waited for too long.
    pub fn on_time(&mut self, turn: &mut Turn<'_>, homes: &mut Homes) {
        self.expire_codes(turn, homes);
        self.expire_device_changes(turn);
        self.expire_left_homes(turn);
    }

    pub fn id(&self) -> AccountId {
        self.identity.account
    }

    /// What contacts see of us.
    pub fn profile(&self) -> Profile {
        // A name that nobody has changed is older than every other.
        let named = self.synced.get(SettingKind::Name).map_or((1, 0), starling_wire::Setting::stamp);
        let row = &self.identity.row;
        Profile { name: row.name.clone(), bot: row.bot, named: Some(named), username: row.username.clone() }
    }

    /// The address that leads to us.
    pub fn own_invite(&self, token: Option<InviteToken>) -> Invite {
        Invite { address: starling_keys::Address { account: self.id(), homes: self.identity.homes.clone() }, token }
    }

    /// Whether its user hides when they are here.
    pub fn is_unseen(&self) -> bool {
        !Audience::allows(self.settings.last_seen)
    }

    /// This device.
    pub fn device(&self) -> DeviceId {
        self.identity.device_key.id()
    }

    /// Whether another device is on the account's list.
    pub fn has_other(&self, device: &DeviceId) -> bool {
        *device != self.device() && self.list().is_some_and(|l| l.device(device).is_some())
    }

    /// Another device of ours shows that it runs.
    pub fn note_heard(&mut self, turn: &Turn<'_>, device: DeviceId) {
        if self.list().is_some_and(|list| list.device(&device).is_some()) {
            self.own_devices.heard.insert(device, turn.wall());
        }
    }

    /// Our own device list, once there is one.
    pub fn list(&self) -> Option<&DeviceChain> {
        self.identity.list.as_ref()
    }
}
