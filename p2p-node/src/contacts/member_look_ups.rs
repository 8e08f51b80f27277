//! When the chains of members of groups that are no contacts are looked up. These accounts tell us nothing but in groups; so a device that one of
//! them has removed would stay in a group where nobody is whom the account tells that. A few are looked up now and then, whatever the number of
//! groups: in a large group each member looks up others of them, and whoever finds a removal commits it for all.

use std::collections::BTreeMap;

use starling_keys::{AccountId, DeviceId};

use super::limits::{FIRST_LOOK_UP_MS, LOOK_UPS_AT_ONCE, LOOK_UPS_EVERY_MS};
use crate::mls::GroupId;

/// When the next ones are looked up, and when each was.
#[derive(Default)]
pub struct MemberLookUps {
    /// In steady time; none while there is nobody to look up.
    due: Option<u64>,
    /// Those that were looked up in this run: when last, in steady time, and how often.
    asked: BTreeMap<AccountId, (u64, usize)>,
}

impl MemberLookUps {
    /// Whether there is somebody to look up, as far as is known.
    pub(crate) fn has_begun(&self) -> bool {
        self.due.is_some()
    }

    /// There is somebody to look up now. Devices that have started together do not ask together.
    pub(crate) fn begin(&mut self, now: u64, device: &DeviceId) {
        let spread = u64::from(device.tag()[0]) * LOOK_UPS_EVERY_MS / 256;
        self.due.get_or_insert(now + FIRST_LOOK_UP_MS + spread);
    }

    pub(super) fn next_due(&self) -> Option<u64> {
        self.due
    }

    pub(crate) fn is_due(&self, now: u64) -> bool {
        self.due.is_some_and(|due| due <= now)
    }

    /// Those of `all` that are looked up now, and how often each was before: those for whom that is longest ago. Each device begins with others.
    pub(crate) fn take(
        &mut self,
        now: u64,
        device: &DeviceId,
        all: &BTreeMap<AccountId, GroupId>,
    ) -> Vec<(AccountId, usize)> {
        self.due = (!all.is_empty()).then_some(now + LOOK_UPS_EVERY_MS);
        self.asked.retain(|account, _| all.contains_key(account));
        let last = |account: &AccountId| self.asked.get(account).map(|(at, _)| *at);
        let place = |account: &AccountId| *blake3::keyed_hash(device.as_bytes(), account.as_bytes()).as_bytes();
        let mut next: Vec<AccountId> = all.keys().copied().collect();
        next.sort_by_cached_key(|account| (last(account), place(account)));
        next.truncate(LOOK_UPS_AT_ONCE);
        let note = |account: AccountId| {
            let (at, times) = self.asked.entry(account).or_insert((now, 0));
            let before = *times;
            (*at, *times) = (now, before + 1);
            (account, before)
        };
        next.into_iter().map(note).collect()
    }
}

#[cfg(test)]
mod tests {
    use starling_keys::{AccountKey, DeviceKey};

    use super::*;

    #[test]
    fn a_few_are_looked_up_at_a_time_and_each_in_its_turn() {
        let device = DeviceKey::from_seed(&[1; 32]).id();
        let account = |n: u8| AccountKey::from_seed(&[n; 32]).id();
        let all: BTreeMap<AccountId, GroupId> = (1..=9).map(|n| (account(n), [n; 16])).collect();
        let mut look_ups = MemberLookUps::default();
        assert!(!look_ups.is_due(u64::MAX), "there was nobody");
        look_ups.begin(1, &device);
        assert!(!look_ups.is_due(FIRST_LOOK_UP_MS) && look_ups.is_due(1 + FIRST_LOOK_UP_MS + LOOK_UPS_EVERY_MS));
        let first: Vec<_> = (2..5).map(|now| look_ups.take(now, &device, &all)).collect();
        assert!(first.iter().all(|asked| asked.len() == LOOK_UPS_AT_ONCE));
        assert_eq!(look_ups.next_due(), Some(4 + LOOK_UPS_EVERY_MS));
        let once = first.iter().flatten().filter(|(_, before)| *before == 0).count();
        assert_eq!(once, all.len(), "nobody is asked for twice before all were");
        assert!(look_ups.take(5, &device, &BTreeMap::new()).is_empty());
        assert!(!look_ups.has_begun());
    }
}
