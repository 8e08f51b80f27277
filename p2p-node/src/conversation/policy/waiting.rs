//! Devices that wait to be added to a group by this one: how many one commit adds, when, and what becomes of those that cannot be added.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use starling_keys::{AccountId, DeviceId, MAX_DEVICES};
use starling_wire::Policy;

use super::limits::{ADD_AFTER_MS, ADD_WITHIN_MS, MAX_WAITING_DEVICES, TELL_TO_WAIT_MS, adds_at_once};
use crate::conversation::limits::REGROUP_TURN_MS;

/// Devices that wait to be added to a group by this one.
#[derive(Default)]
pub(super) struct Waiting {
    /// Their accounts and key packages.
    pub(super) devices: BTreeMap<DeviceId, (AccountId, Bytes)>,
    /// Since when the first of them waits, in steady time.
    since: u64,
    /// When they are added, in steady time.
    at: Option<u64>,
    /// So many at most are tried by one commit, as more could not be added by one.
    fewer: Option<usize>,
    /// When they were told to go on waiting, in steady time.
    told_at: Option<u64>,
    /// Devices whose key packages could not be used: nobody makes this one try again and again.
    unusable: BTreeSet<DeviceId>,
}

impl Waiting {
    /// When they are added, in steady time.
    pub(super) fn due(&self) -> Option<u64> {
        self.at
    }

    /// How many accounts wait.
    pub(super) fn accounts(&self) -> usize {
        self.devices.values().map(|(account, _)| account).collect::<BTreeSet<_>>().len()
    }

    /// An account does not wait any more.
    pub(super) fn forget(&mut self, account: &AccountId) {
        self.devices.retain(|_, (of, _)| of != account);
    }

    /// Whether one more device can wait.
    pub(super) fn takes(&self, account: &AccountId, device: &DeviceId) -> bool {
        let of_account = self.devices.iter().filter(|(other, (of, _))| of == account && *other != device).count();
        of_account < MAX_DEVICES && self.devices.len() < MAX_WAITING_DEVICES && !self.unusable.contains(device)
    }

    /// One more device waits: `last` if nobody else is waited for; so many turns after others were asked for the same.
    pub(super) fn take(
        &mut self,
        now: u64,
        (account, device): (AccountId, DeviceId),
        package: Bytes,
        (last, turns): (bool, u64),
    ) {
        if self.devices.is_empty() {
            self.since = now;
        }
        self.devices.insert(device, (account, package));
        let at = match (turns, last) {
            (0, true) => now,
            (0, false) => (now + ADD_AFTER_MS).min(self.since + ADD_WITHIN_MS),
            // Others may be added earlier, and this one with them.
            (turns, _) => self.at.unwrap_or(now + turns * REGROUP_TURN_MS),
        };
        self.at = Some(at);
    }

    /// The devices that one commit adds, with their key packages: so many of so many bytes at most.
    pub(super) fn batch(&self, (most, most_bytes): (usize, usize)) -> Vec<(DeviceId, Bytes)> {
        let mut bytes = 0;
        let fits = |(_, (_, package)): &(&DeviceId, &(AccountId, Bytes))| {
            bytes += package.len();
            bytes <= most_bytes
        };
        let batch = self.devices.iter().take(self.fewer.unwrap_or(most).min(most)).take_while(fits);
        batch.map(|(device, (_, package))| (*device, package.clone())).collect()
    }

    /// Those who are not to be added, or are there, do not wait. Who has come while others were added waits for more, as those did, but where there are
    /// as many as one commit adds.
    pub(super) fn settle(&mut self, now: u64, policy: &Policy, here: &BTreeSet<DeviceId>) {
        let before = self.devices.len();
        self.devices.retain(|device, (account, _)| policy.role(account.as_bytes()).is_some() && !here.contains(device));
        match self.devices.len() {
            0 => self.at = None,
            left if left < before.min(adds_at_once(here.len())) => {
                (self.since, self.at) = (now, Some(now + ADD_AFTER_MS))
            }
            _ => {}
        }
    }

    /// A commit adds some. Gives whether the others are to be told that the next ones add them: by then they would have gone to the door.
    pub(super) fn added(&mut self, now: u64, count: usize) -> bool {
        self.fewer = None;
        let is_told = self.told_at.is_some_and(|told_at| now < told_at + TELL_TO_WAIT_MS);
        let tells = self.devices.len() > count && !is_told;
        if tells {
            self.told_at = Some(now);
        }
        tells
    }

    /// Some cannot be added by one commit: in the next turn half of them are tried, so that one that cannot be used keeps no others out. Gives the one
    /// that cannot be added even alone, which does not wait any more.
    pub(super) fn try_fewer(&mut self, now: u64, batch: &[(DeviceId, Bytes)]) -> Option<DeviceId> {
        self.at = Some(now + 1);
        let [(device, _)] = batch else {
            self.fewer = Some(batch.len() / 2);
            return None;
        };
        self.fewer = None;
        self.give_up(*device);
        Some(*device)
    }

    /// A device cannot be added.
    fn give_up(&mut self, device: DeviceId) {
        self.devices.remove(&device);
        if self.unusable.len() < MAX_WAITING_DEVICES {
            self.unusable.insert(device);
        }
        if self.devices.is_empty() {
            self.at = None;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use starling_keys::{AccountKey, DeviceKey};
    use starling_wire::{PolicyMember, Role, limits::MAX_ADDS};

    use super::*;

    fn member(n: u8) -> (AccountId, DeviceId) {
        (AccountKey::from_seed(&[n; 32]).id(), DeviceKey::generate().id())
    }

    #[test]
    fn who_waits_is_added_with_those_who_come_soon_after() {
        let mut waiting = Waiting::default();
        let package = Bytes::from(vec![0; 100]);
        let mut at = Vec::new();
        for n in 0..20_u8 {
            waiting.take(1_000 + 100 * u64::from(n), member(n), package.clone(), (false, 0));
            at.push(waiting.due().unwrap());
        }
        assert_eq!(at[..3], [1_000, 1_100, 1_200].map(|at| at + ADD_AFTER_MS));
        assert_eq!(at[19], 1_000 + ADD_WITHIN_MS, "nobody waits for ever");
        // Nobody else is waited for.
        waiting.take(1_500, member(20), package.clone(), (true, 0));
        assert_eq!(waiting.due(), Some(1_500));
        // Another device of the account was asked first.
        let mut other = Waiting::default();
        other.take(1_000, member(0), package, (true, 1));
        assert_eq!(other.due(), Some(1_000 + REGROUP_TURN_MS));
    }

    #[test]
    fn who_comes_while_others_are_added_waits_for_more() {
        let mut waiting = Waiting::default();
        let accounts: Vec<(AccountId, DeviceId)> = (0..3).map(member).collect();
        let mut policy = Policy::new([1; 16], "ops".into(), *accounts[0].0.as_bytes());
        for (account, device) in &accounts {
            waiting.take(1_000, (*account, *device), Bytes::from_static(b"a package"), (false, 0));
        }
        for (account, _) in &accounts[1..] {
            let account = *account.as_bytes();
            policy.add(PolicyMember { account, role: Role::Member, by: account, since: 0 });
        }
        let here: BTreeSet<DeviceId> = [accounts[0].1].into();
        waiting.settle(5_000, &policy, &here);
        assert_eq!((waiting.devices.len(), waiting.due()), (2, Some(5_000 + ADD_AFTER_MS)));
        waiting.settle(6_000, &policy, &here);
        assert_eq!(waiting.due(), Some(5_000 + ADD_AFTER_MS), "nobody was added");
        waiting.settle(7_000, &policy, &accounts.iter().map(|(_, device)| *device).collect());
        assert_eq!(waiting.due(), None);
    }

    #[test]
    fn what_one_commit_adds_and_what_waits_is_bounded() {
        let mut waiting = Waiting::default();
        let (account, _) = member(0);
        for n in 0..100_u8 {
            let package = Bytes::from(vec![0; 1_000 + usize::from(n)]);
            waiting.take(0, member(n), package, (false, 0));
        }
        assert_eq!(waiting.batch((MAX_ADDS, usize::MAX)).len(), MAX_ADDS);
        let batch = waiting.batch((MAX_ADDS, 10_000));
        assert!((1..10).contains(&batch.len()));
        assert!(waiting.batch((MAX_ADDS, 10)).is_empty());
        batch.iter().for_each(|(device, _)| waiting.give_up(*device));
        assert!(!waiting.takes(&account, &batch[0].0), "it is not tried again");
        waiting.forget(&account);
        for _ in 0..MAX_DEVICES {
            let device = DeviceKey::generate().id();
            assert!(waiting.takes(&account, &device));
            waiting.take(0, (account, device), Bytes::from("a package"), (false, 0));
        }
        assert!(!waiting.takes(&account, &DeviceKey::generate().id()));
    }

    #[test]
    fn one_package_that_cannot_be_used_is_found_by_trying_half_as_many() {
        let (mut waiting, mut now, mut refused) = (Waiting::default(), 0, Vec::new());
        (0..12).for_each(|n| waiting.take(0, member(n), Bytes::from_static(b"a package"), (false, 0)));
        let (unusable, mut attempts) = (*waiting.devices.keys().nth(7).unwrap(), 0);
        while let Some(due) = waiting.due() {
            now = now.max(due);
            let batch = waiting.batch((MAX_ADDS, usize::MAX));
            attempts += 1;
            match batch.iter().any(|(device, _)| *device == unusable) {
                true => {
                    refused.extend(waiting.try_fewer(now, &batch));
                    assert_ne!(waiting.due(), Some(now), "anything else has its turn before the next attempt");
                }
                false => {
                    waiting.added(now, batch.len());
                    waiting.devices.retain(|device, _| !batch.iter().any(|(added, _)| added == device));
                    waiting.at = waiting.at.filter(|_| !waiting.devices.is_empty());
                }
            }
        }
        assert_eq!(refused, [unusable]);
        assert!(waiting.devices.is_empty() && attempts <= 12, "{attempts}");
        assert!(!waiting.takes(&member(0).0, &unusable));
    }

    #[test]
    fn who_waits_is_told_so_now_and_then() {
        let mut waiting = Waiting::default();
        (0..3).for_each(|n| waiting.take(0, member(n), Bytes::from_static(b"a package"), (false, 0)));
        assert!(!waiting.added(1_000, 3), "nobody waits any more");
        assert!(waiting.added(1_000, 2) && !waiting.added(1_500, 2));
        assert!(waiting.added(1_000 + TELL_TO_WAIT_MS, 2));
    }

    #[test]
    fn a_commit_adds_more_where_more_are_there_and_never_more_than_others_take() {
        let at_once: Vec<usize> = [0, 1, 128, 256, 512, 2_000].map(adds_at_once).to_vec();
        assert!(at_once.is_sorted() && at_once[0] > 0);
        assert!(at_once.iter().all(|count| *count <= MAX_ADDS));
        let (mut there, mut commits) = (1, 0);
        while there < 500 {
            there += adds_at_once(there);
            commits += 1;
        }
        assert!(commits <= 24, "{commits} commits for 500 devices");
    }
}
