//! The device chain: the signed, append-only history of an account's devices and homes.
//!
//! Each [`Entry`] names the hash of what stands before it, so a chain is known by its [`Head`]. It is signed by the account's root, or by a
//! device that was an admin before it. What a chain says is the fold of its entries ([`State`]); whoever holds one takes extensions of it
//! only, and [`DeviceChain::reconcile`] settles the case that two entries were written on one head. A [`LeafPath`] proves that a single
//! device belongs to an account without the rest of the chain.

mod changes;
mod codec;
mod entry;
mod held;
mod order;
mod path;
mod state;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, ops::Deref};

pub use self::{
    changes::{Change, ChangeKind},
    codec::{Summary, UnverifiedChain, count_entries},
    entry::{Entry, Head, Joining, Op, Rights, SignWith, Signer, recovery_hash},
    held::{Age, Held},
    order::{Fork, LateRemoval, Relation},
    path::LeafPath,
    state::{ChainDevice, State},
};
use crate::{AccountId, AccountKey, DeviceId, RendezvousAddr, legacy};

/// An account has at most this many devices: every direct message is encrypted to a tree of both sides' devices.
pub const MAX_DEVICES: usize = 8;
/// An account has at most this many home rendezvous servers.
pub const MAX_HOMES: usize = 4;
/// Entries that a chain can have: ten changes a year for fifty years. A full one takes what removes and recovers, up to [`MAX_LINKS`].
pub const MAX_ORDINARY_LINKS: usize = 480;
/// Entries that a chain can have altogether.
pub const MAX_LINKS: usize = 512;
/// Devices between the root and a device that was linked by one that was linked by one …: a longer path makes every leaf large.
pub const MAX_DEPTH: usize = 32;
/// A device's sealing key (hybrid HPKE public key: 1,216 bytes for ML-KEM-768 + X25519) is at most this long.
pub const MAX_SEAL_KEY: usize = 2048;
/// Seconds after which nothing takes the place of an entry that somebody has held: 7 days.
pub const SETTLED_AFTER_S: u64 = 7 * 86_400;
/// Seconds after which a device whose removal somebody has held removes nobody any more by an entry on an earlier head: 10 minutes. Two admins
/// who remove each other at two homes at once learn of each other long before.
pub const REMOVED_AFTER_S: u64 = 600;

/// Why a chain, an entry or a path was refused.
#[derive(Debug, Clone, Copy, thiserror::Error, PartialEq, Eq)]
pub enum ChainError {
    /// Not an encoded chain at all, or beyond its limits.
    #[error("not a device chain")]
    Malformed,
    /// A signature or countersignature is wrong.
    #[error("a signature in the device chain is wrong")]
    Signature,
    /// It belongs to another account.
    #[error("the device chain is another account's")]
    Account,
    /// Entries that continue a chain that is not known here.
    #[error("entries are missing between the known device chain and this one")]
    Gap,
    /// Its signer was no admin of the account then.
    #[error("an entry of the device chain is signed by a device that may not change it")]
    NotAdmin,
    /// It adds a device that is on the chain, or was removed from it.
    #[error("the device was on the device chain before")]
    KnownDevice,
    /// It concerns a device that is not on the chain.
    #[error("the device is not on the device chain")]
    UnknownDevice,
    /// The account has as many devices as it can have.
    #[error("the account has {MAX_DEVICES} devices, the most it can have")]
    TooManyDevices,
    /// A device would lock the account: it removes itself, or gives up the rights of the last admin.
    #[error("the account would be left without a device that can change it")]
    NoAdminLeft,
    /// The chain has no room for more.
    #[error("the device chain is full")]
    Full,
    /// An entry that cannot stand where it does.
    #[error("an entry of the device chain is out of its place")]
    Place,
}

/// One device of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceEntry {
    /// The device.
    pub id: DeviceId,
    /// What it may do.
    pub rights: Rights,
    /// Seconds since 1970, by the clock of who added it.
    pub added_at: u64,
    /// Who added it; `None` for the root.
    pub linked_by: Option<DeviceId>,
    /// The HPKE public key that inbox entries for this device are sealed to. Empty while it is not known here: the chain has its hash only,
    /// and a device whose removal does not count may be known from its chain alone.
    pub seal_key: Vec<u8>,
}

/// An account's devices and homes as its chain has them at its head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceList {
    /// Whose they are.
    pub account: AccountId,
    /// How many entries the chain has; the version of a list of version 0.1.
    pub version: u64,
    /// Its devices, oldest first.
    pub devices: Vec<DeviceEntry>,
    /// At most [`MAX_HOMES`].
    pub homes: Vec<RendezvousAddr>,
}

impl DeviceList {
    /// The device with this id, if it is one of the account.
    pub fn device(&self, id: &DeviceId) -> Option<&DeviceEntry> {
        self.devices.iter().find(|d| d.id == *id)
    }
}

/// What stands at one place of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Link {
    /// One entry.
    Entry(Box<Entry>),
    /// Removals that contradict one another and were written by admins of the same state; see [`State::apply_removals`]. In the order of
    /// their hashes, at least two.
    Removals(Vec<Entry>),
}

impl Link {
    fn entries(&self) -> &[Entry] {
        match self {
            Self::Entry(entry) => std::slice::from_ref(entry),
            Self::Removals(entries) => entries,
        }
    }

    /// The head of a chain that ends with this.
    fn head(&self, prev: Head) -> Head {
        match self {
            Self::Entry(entry) => entry.hash(),
            Self::Removals(entries) => Head::of_removals(prev, entries),
        }
    }
}

/// A device chain whose signatures were checked, and what follows from it. Derefs to the devices and homes at its head.
#[derive(Clone, Debug)]
pub struct DeviceChain {
    links: Vec<Link>,
    /// The head after each link.
    heads: Vec<Head>,
    state: State,
    list: DeviceList,
    bytes: Vec<u8>,
}

impl PartialEq for DeviceChain {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for DeviceChain {}

impl Deref for DeviceChain {
    type Target = DeviceList;

    fn deref(&self) -> &DeviceList {
        &self.list
    }
}

impl DeviceChain {
    /// The chain of a new account with one device, which is an admin. `recovery` is the hash of the HPKE key that is derived from the root;
    /// `time` is in seconds since 1970.
    pub fn create(root: &AccountKey, time: u64, recovery: [u8; 32], first: &Joining) -> Result<Self, ChainError> {
        let opened = Self::empty(root.id()).append(
            &SignWith::Root(root),
            time,
            Op::Open { recovery, adopted: Vec::new() },
            &[],
        )?;
        opened.add(&SignWith::Root(root), time, first, Rights::Admin)
    }

    /// The chain of an account whose earlier one nobody has any more: it counts before that, as the root has signed it later.
    pub fn restart(root: &AccountKey, time: u64, recovery: [u8; 32], first: &Joining) -> Result<Self, ChainError> {
        let op = Op::Open { recovery, adopted: Vec::new() };
        Self::empty(root.id()).append(&SignWith::Root(root), time, op, &[])?.recover(root, time, first)
    }

    /// The chain of an account of version 0.1, which had a list signed with the root: its devices become admins.
    pub fn adopt(
        root: &AccountKey,
        time: u64,
        recovery: [u8; 32],
        devices: Vec<(DeviceId, Vec<u8>)>,
        homes: &[RendezvousAddr],
    ) -> Result<Self, ChainError> {
        let adopted = devices.iter().map(|(id, key)| (*id, entry::seal_hash(key))).collect();
        let opened =
            Self::empty(root.id()).append(&SignWith::Root(root), time, Op::Open { recovery, adopted }, &devices)?;
        opened.append(&SignWith::Root(root), time, Op::Homes(homes.to_vec()), &[])
    }

    fn empty(account: AccountId) -> Self {
        let list = DeviceList { account, version: 0, devices: Vec::new(), homes: Vec::new() };
        Self { links: Vec::new(), heads: Vec::new(), state: State::default(), list, bytes: Vec::new() }
    }

    /// The chain with one more entry.
    ///
    /// # Errors
    /// Why the signer cannot do this now. Signatures are made, not checked, here.
    fn append(
        &self,
        signer: &SignWith<'_>,
        time: u64,
        op: Op,
        seal_keys: &[(DeviceId, Vec<u8>)],
    ) -> Result<Self, ChainError> {
        let entry = Entry::sign(signer, self.account, self.len(), self.head(), time, op)?;
        let mut links = self.links.clone();
        links.push(Link::Entry(Box::new(entry)));
        let known = self.seal_keys().chain(seal_keys.iter().cloned()).collect();
        Self::build(self.account, links, known)
    }

    /// Adds a device, which has asked for it.
    pub fn add(&self, signer: &SignWith<'_>, time: u64, joining: &Joining, rights: Rights) -> Result<Self, ChainError> {
        joining.verify(&self.account)?;
        let op = Op::Add { device: joining.device, seal: joining.seal_hash(), rights, proof: joining.proof };
        self.append(signer, time, op, &[(joining.device, joining.seal_key.clone())])
    }

    /// Removes a device. Devices that it has linked stay.
    pub fn remove(&self, signer: &SignWith<'_>, time: u64, device: DeviceId) -> Result<Self, ChainError> {
        let keep: Vec<DeviceId> = self.devices.iter().map(|d| d.id).filter(|d| *d != device).collect();
        self.remove_keeping(signer, time, device, &keep)
    }

    /// Removes a device, and with it those that it has linked, directly or not, and that are not kept.
    pub fn remove_keeping(
        &self,
        signer: &SignWith<'_>,
        time: u64,
        device: DeviceId,
        keep: &[DeviceId],
    ) -> Result<Self, ChainError> {
        let staying = self.state.staying(&device, keep);
        self.append(signer, time, Op::Remove { device, staying }, &[])
    }

    /// Gives a device other rights.
    pub fn set_rights(
        &self,
        signer: &SignWith<'_>,
        time: u64,
        device: DeviceId,
        rights: Rights,
    ) -> Result<Self, ChainError> {
        self.append(signer, time, Op::Rights { device, rights }, &[])
    }

    /// Moves to other homes.
    pub fn set_homes(&self, signer: &SignWith<'_>, time: u64, homes: &[RendezvousAddr]) -> Result<Self, ChainError> {
        self.append(signer, time, Op::Homes(homes.to_vec()), &[])
    }

    /// Replaces all devices by one.
    pub fn recover(&self, root: &AccountKey, time: u64, joining: &Joining) -> Result<Self, ChainError> {
        joining.verify(&self.account)?;
        let op = Op::Recover { device: joining.device, seal: joining.seal_hash(), proof: joining.proof };
        self.append(&SignWith::Root(root), time, op, &[(joining.device, joining.seal_key.clone())])
    }

    /// Checks that the links follow one another, and folds them. Costs no signature.
    fn build(account: AccountId, links: Vec<Link>, seal_keys: Vec<(DeviceId, Vec<u8>)>) -> Result<Self, ChainError> {
        if links.is_empty() || links.len() > MAX_LINKS {
            return Err(if links.is_empty() { ChainError::Malformed } else { ChainError::Full });
        }
        let (mut state, mut heads) = (State::default(), Vec::with_capacity(links.len()));
        let mut head = Head::NONE;
        for (seq, link) in links.iter().enumerate() {
            let seq = u32::try_from(seq).map_err(|_| ChainError::Full)?;
            match link {
                Link::Entry(entry) if entry.seq != seq || entry.prev != head => return Err(ChainError::Place),
                Link::Entry(entry) => state.apply(entry)?,
                Link::Removals(entries) => state.apply_removals(seq, entries)?,
            }
            head = link.head(head);
            heads.push(head);
        }
        let devices = state
            .devices()
            .iter()
            .map(|d| {
                let key = seal_keys.iter().find(|(id, key)| *id == d.id && entry::seal_hash(key) == d.seal);
                DeviceEntry {
                    id: d.id,
                    rights: d.rights,
                    added_at: d.added_at,
                    linked_by: state.linked_by(&d.id),
                    seal_key: key.map(|(_, key)| key.clone()).unwrap_or_default(),
                }
            })
            .collect();
        let list = DeviceList { account, version: links.len() as u64, devices, homes: state.homes().to_vec() };
        let mut chain = Self { links, heads, state, list, bytes: Vec::new() };
        chain.bytes = chain.encode_from(0);
        Ok(chain)
    }

    fn seal_keys(&self) -> impl Iterator<Item = (DeviceId, Vec<u8>)> + '_ {
        self.devices.iter().filter(|d| !d.seal_key.is_empty()).map(|d| (d.id, d.seal_key.clone()))
    }

    /// This chain, with the sealing keys that `other` has.
    #[must_use]
    pub fn with_keys_of(mut self, other: &Self) -> Self {
        let mut changed = false;
        for (listed, device) in self.list.devices.iter_mut().zip(self.state.devices()) {
            let key = other.device(&device.id).map(|d| &d.seal_key);
            if let Some(key) = key.filter(|key| listed.seal_key.is_empty() && entry::seal_hash(key) == device.seal) {
                listed.seal_key.clone_from(key);
                changed = true;
            }
        }
        if changed {
            self.bytes = self.encode_from(0);
        }
        self
    }

    /// How many entries it has.
    pub fn len(&self) -> u32 {
        self.links.len() as u32
    }

    /// Whether it has no entries: a list of version 0.1, which was signed by the root and is not a chain yet.
    pub fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// The hash of all of it.
    pub fn head(&self) -> Head {
        self.heads.last().copied().unwrap_or(Head::NONE)
    }

    /// The hash of its first `length` entries, if it has so many.
    pub fn head_at(&self, length: u32) -> Option<Head> {
        match length {
            0 => Some(Head::NONE),
            n => self.heads.get(n as usize - 1).copied(),
        }
    }

    /// What follows from it.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Encoded: the entries, and the sealing keys of the devices.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether it says that a device of the account is an admin.
    pub fn is_admin(&self, device: &DeviceId) -> bool {
        self.device(device).is_some_and(|d| d.rights == Rights::Admin)
    }

    /// Whether a device was removed from it.
    pub fn has_removed(&self, device: &DeviceId) -> bool {
        self.state.has_removed(device)
    }

    /// Whether the first `length` entries have removed a device from the account.
    pub fn had_removed(&self, length: u32, device: &DeviceId) -> bool {
        Self::fold(&self.links[..self.links.len().min(length as usize)]).has_removed(device)
    }

    /// When a device was removed by name first, in seconds since 1970 by the clock of who did it; `None` if none has.
    pub fn removed_at(&self, device: &DeviceId) -> Option<u64> {
        let removals = self.entries().filter(|entry| entry.removal().is_some_and(|(_, gone)| gone == *device));
        removals.map(|entry| entry.time).min()
    }

    /// The devices that a device has removed, and those that these have removed before.
    pub fn removed_by(&self, device: &DeviceId) -> BTreeSet<DeviceId> {
        let mut found = BTreeSet::new();
        let mut next = vec![*device];
        while let Some(by) = next.pop() {
            let removed = self.entries().filter_map(Entry::removal).filter(|(signer, _)| *signer == by);
            next.extend(removed.map(|(_, device)| device).filter(|device| found.insert(*device)));
        }
        found
    }

    /// Who of the account answers for what a removed device has left: who has removed it, or, if that was removed too, who has removed that one,
    /// and so on. `None` if it was not removed, or by the root.
    pub fn answers_for(&self, removed: &DeviceId) -> Option<DeviceId> {
        let (mut seen, mut next) = (BTreeSet::from([*removed]), vec![*removed]);
        loop {
            let by: BTreeSet<DeviceId> =
                self.entries().filter_map(Entry::removal).filter(|(_, d)| next.contains(d)).map(|(by, _)| by).collect();
            if let Some(listed) = by.iter().find(|by| self.device(by).is_some()) {
                return Some(*listed);
            }
            next = by.into_iter().filter(|by| seen.insert(*by)).collect();
            if next.is_empty() {
                return None;
            }
        }
    }

    /// Whether the account was recovered after the first entries of this.
    pub fn recovered_since(&self, length: u32) -> bool {
        let newer = self.links.iter().skip(length as usize).flat_map(Link::entries);
        newer.into_iter().any(|e| matches!(e.op, Op::Recover { .. }))
    }

    /// Whether a device belongs to the account, or did until its last recovery: if that came right after another, as when the device that was
    /// recovered first was lost before it has done anything, until the first of them.
    pub fn belonged_until_recovery(&self, device: &DeviceId) -> bool {
        let recovers = |link: &Link| link.entries().iter().any(|e| matches!(e.op, Op::Recover { .. }));
        let only_moves = |link: &Link| link.entries().iter().all(|e| matches!(e.op, Op::Homes { .. }));
        let mut belonged = self.device(device).is_some();
        let mut next = self.links.iter().rposition(recovers);
        while let Some(at) = next.filter(|_| !belonged) {
            belonged = Self::fold(&self.links[..at]).devices().iter().any(|d| d.id == *device);
            let before = self.links[..at].iter().rposition(|link| !only_moves(link));
            next = before.filter(|before| recovers(&self.links[*before]));
        }
        belonged
    }

    /// Whether the device that a path leads to may belong to the account, or may have until its last recovery, in entries that this chain
    /// lacks: of all on the way those that this chain knows do, or did until then.
    pub fn may_lack(&self, path: &LeafPath) -> bool {
        let is_known = |device: &DeviceId| self.entries().any(|entry| entry.introduces(device));
        let mut on_the_way = path.signers().chain([path.device()]);
        path.account() == self.account && on_the_way.all(|d| !is_known(&d) || self.belonged_until_recovery(&d))
    }

    /// The proof that a device belongs to the account; `None` if it does not.
    pub fn path_to(&self, device: &DeviceId) -> Option<LeafPath> {
        LeafPath::find(self, device)
    }

    /// Its entries, oldest first, with the removals of one place one after the other.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.links.iter().flat_map(Link::entries)
    }

    /// Reads what a profile or a server has stored. Signatures are not checked again: only what was checked is stored.
    pub fn from_stored(bytes: &[u8]) -> Result<Self, ChainError> {
        if Summary::of(bytes).is_err() {
            return Self::from_list(bytes);
        }
        Self::decode(bytes, None)
    }

    /// Reads a list of version 0.1, and checks its signatures.
    pub fn from_list(bytes: &[u8]) -> Result<Self, ChainError> {
        let list = legacy::read_list(bytes).map_err(|_| ChainError::Malformed)?;
        Ok(Self { bytes: bytes.to_vec(), list: list.clone(), ..Self::empty(list.account) })
    }

    /// Reads a whole chain, and checks every signature.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ChainError> {
        UnverifiedChain::read(bytes, None)?.verify()
    }

    /// Reads a chain, or the end of one that is `known`, of the same account, and checks the signatures of what is new.
    ///
    /// # Errors
    /// [`ChainError::Gap`] if it continues another chain than the known one.
    pub fn read(bytes: &[u8], known: &Self) -> Result<Self, ChainError> {
        let chain = UnverifiedChain::read(bytes, Some(known))?;
        if chain.claimed().account == known.account { chain.verify() } else { Err(ChainError::Account) }
    }
}
