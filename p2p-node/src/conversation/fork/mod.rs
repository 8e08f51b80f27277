//! Forks: a server that gives two members different winners splits a group. Each is in an epoch that the other has not, until they compare what
//! they have followed, and all go on from the commit that comes first in an order that is the same for everybody.

mod announce;
mod apart;
mod beacons;
mod fits;
mod gone;
mod heal;
mod inbox_items;
mod left;
pub(crate) mod limits;
mod parents;
mod past;
mod removals;
mod told;

pub use apart::Apart;
pub use beacons::Teller;
pub use inbox_items::InboxAnswers;
pub use parents::commit_hash;

use std::collections::{BTreeMap, BTreeSet};

use starling_keys::{AccountId, DeviceId, StorageKey};

use self::limits::{BEACON_WORK_MS, MAX_BEACON_WORK, MAX_OWED_BACKOFF, OWED_LIFE_MS};
use super::limits::REENTER_MS;
use crate::{
    conversation::group::{GroupEntry, GroupId, GroupMember},
    mls::PAST_EPOCHS,
};

/// What a group keeps in memory of forks.
#[derive(Default)]
pub struct Forks {
    /// How often each device, or a log, has made us judge or send a commit, since a time.
    work: BTreeMap<Option<DeviceId>, u32>,
    since_ms: u64,
    /// Messages that cannot be read make us ask not before this time.
    ask_at: u64,
    /// Since when members write in epochs that we do not come to, in steady time.
    behind_since: Option<u64>,
    /// A commit counts that this device cannot follow, in this run: it has to come in again.
    pub is_stuck: bool,
    /// A log is asked to take what we have followed.
    pub announcing: bool,
    /// What members have told of before the log was read.
    told: told::ToldCommits,
    /// Until when devices of an account that enter again wait for what they lack, in steady time, and how often they have come.
    owed: BTreeMap<AccountId, (u64, u32)>,
    /// The newest epoch that each member has shown to be in, as it is here: who has come to it has followed what we have.
    heard: BTreeMap<DeviceId, u64>,
}

impl Forks {
    /// The group has come to another epoch, in which these are. Who is not in it any more is not where this device is, and keeps it from nobody.
    pub fn moved(&mut self, members: &[GroupMember]) {
        (self.behind_since, self.is_stuck) = (None, false);
        let there: BTreeSet<&DeviceId> = members.iter().map(|member| &member.device).collect();
        self.heard.retain(|device, _| there.contains(device));
    }

    /// When a device of an account that has entered again is given what it has not acknowledged, in steady time: all write that again, so more and more
    /// seldom for who comes again and again.
    pub(in crate::conversation) fn owe(&mut self, account: AccountId, now: u64) -> u64 {
        self.owed.retain(|_, (until, _)| until.saturating_add(OWED_LIFE_MS) > now);
        let (until, times) = self.owed.entry(account).or_insert((now, 0));
        if *until > now {
            return *until;
        }
        (*until, *times) = (now + (REENTER_MS << *times), (*times + 1).min(MAX_OWED_BACKOFF));
        now
    }

    /// A member has written in an epoch, or says that it has followed what leads to it.
    pub(in crate::conversation) fn note_heard(&mut self, device: DeviceId, epoch: u64) {
        let newest = self.heard.entry(device).or_default();
        *newest = epoch.max(*newest);
    }

    /// The newest epoch that a member has shown to be in; 0 of one that has shown nothing.
    pub(in crate::conversation) fn newest_of(&self, device: &DeviceId) -> u64 {
        self.heard.get(device).copied().unwrap_or_default()
    }

    /// The devices that have shown to be where the group is in an epoch, or to have been shortly before.
    fn heard_lately(&self, epoch: u64) -> impl Iterator<Item = DeviceId> {
        let since = epoch.saturating_sub(PAST_EPOCHS as u64);
        self.heard.iter().filter(move |(_, heard)| **heard >= since).map(|(device, _)| *device)
    }

    /// A device is at another place.
    fn not_here(&mut self, device: &DeviceId) {
        self.heard.remove(device);
    }

    /// How many devices something is kept of.
    #[cfg(test)]
    pub fn size(&self) -> usize {
        self.work.len() + self.heard.len() + self.owed.len()
    }

    /// Whether a device that is a member, or a log, may make us do work now, in steady time.
    fn may_work(&mut self, from: Option<DeviceId>, now: u64) -> bool {
        if self.since_ms.saturating_add(BEACON_WORK_MS) <= now {
            self.work.clear();
            self.since_ms = now;
        }
        let done = self.work.entry(from).or_default();
        *done = done.saturating_add(1);
        *done <= MAX_BEACON_WORK
    }
}

/// How beacons of an epoch are sealed.
struct BeaconKey {
    key: StorageKey,
    place: Vec<u8>,
}

impl BeaconKey {
    /// By the exporter secret of the epoch.
    fn new(group: &GroupId, epoch: u64, secret: &[u8]) -> Option<Self> {
        let key = StorageKey::from_bytes(secret.try_into().ok()?).derive("beacons");
        Some(Self { key, place: [&group[..], &epoch.to_be_bytes()].concat() })
    }

    /// The key of an epoch of a group that is the current one, or is kept.
    fn of(entry: &GroupEntry, epoch: u64) -> Option<Self> {
        let current = entry.current_log().filter(|log| log.epoch == epoch).map(|log| &log.secret);
        let secret = current.or_else(|| entry.parent(epoch).map(|mark| &mark.secret))?;
        Self::new(&entry.id, epoch, secret)
    }
}

#[cfg(test)]
mod tests {
    use starling_keys::{AccountKey, DeviceKey};

    use super::*;

    #[test]
    fn who_is_not_in_a_group_any_more_is_not_known_to_be_there() {
        let member = |by: u8| GroupMember {
            account: AccountKey::from_seed(&[by; 32]).id(),
            device: DeviceKey::from_seed(&[by; 32]).id(),
        };
        let (alice, bob) = (member(1), member(2));
        let mut forks = Forks::default();
        forks.note_heard(alice.device, 3);
        forks.note_heard(bob.device, 3);
        forks.moved(&[alice]);
        assert_eq!(forks.heard_lately(4).collect::<Vec<_>>(), [alice.device]);
        assert_eq!(forks.newest_of(&bob.device), 0);
    }
}
