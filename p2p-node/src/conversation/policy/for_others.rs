//! What any member commits for others: devices that their accounts have removed, accounts that leave, links whose time is over.

use bytes::Bytes;
use starling_keys::{AccountId, DeviceId};
use starling_wire::{Policy, Reasons};

use super::{Policies, PolicyEntry};
use crate::{
    contacts::Directory,
    conversation::{Conversations, GroupEntry, group::GroupMember},
    mls::policy::{Change, Place, check_change, let_leave, may_bury, removed_after, tombstone_by},
    store::IntentKind,
};

/// Makes a change larger, if the larger one is allowed.
fn take_if_possible(before: &Policy, change: &mut Change, with: Change, (own, place): (AccountId, Place<'_>)) {
    if check_change(before, &with.policy, own, &with.reasons, place).is_ok() {
        *change = with;
    }
}

impl Policies {
    /// Whether a group has a device that its account has removed, and that goes with a commit which any member may make; or an account that was removed
    /// where we were.
    pub(in crate::conversation) fn has_removed_device(&self, dir: Directory<'_>, group: &GroupEntry) -> bool {
        let entry = group.chat().and_then(|chat| self.of.get(&chat));
        let Some((policy, entry)) = entry.and_then(|entry| Some((entry.policy.as_ref()?, entry))) else { return false };
        if entry.is_held_by(group.members.iter().map(|m| m.account)) {
            return true;
        }
        // Asked in each turn, for whatever is written: all members are looked at when something has changed.
        let from = (dir.chains_known(), entry.changes);
        if let Some((known, found)) = group.has_removed.get()
            && known == from
        {
            return found;
        }
        let goes = |m: &GroupMember| dir.list_of(&m.account).is_some_and(|chain| may_bury(policy, chain, &m.device));
        let found = group.members.iter().any(goes);
        group.has_removed.set(Some((from, found)));
        found
    }
}

impl Conversations {
    /// What any member commits for others: devices that their accounts have removed, and accounts that leave; and those who may, the end of links whose
    /// time is over.
    pub(super) fn wanted_by_others(
        &self,
        dir: Directory<'_>,
        entry: &PolicyEntry,
        group: &GroupEntry,
        now_ms: u64,
    ) -> Change {
        let place = Place { group: &group.id, epoch: group.epoch() };
        let before = entry.policy.clone().unwrap_or_else(empty);
        let mut change = Change { policy: before.clone(), reasons: Reasons::default() };
        let buried = entry.row.intents.iter().filter(|intent| intent.kind() == IntentKind::Bury);
        let own = dir.account.id();
        let buried = buried.filter_map(|intent| DeviceId::from_bytes(&intent.device).ok());
        let buried = buried.map(|device| GroupMember { account: own, device });
        // A commit does not remove its own author.
        let others = group.members.iter().copied().filter(|m| m.device != dir.account.device());
        for leave in entry.leaves() {
            let is_in =
                |m: &GroupMember| *m.device.as_bytes() == leave.device && *m.account.as_bytes() == leave.account;
            if leave.account == *own.as_bytes() || !group.members.iter().any(is_in) {
                continue;
            }
            let mut with = change.clone();
            let_leave(&mut with.policy, &leave.account);
            with.policy.removed = removed_after(&before, &with.policy);
            with.reasons.leaves.push(leave);
            take_if_possible(&before, &mut change, with, (own, place));
        }
        for member in others.chain(buried) {
            let chain = dir.list_of(&member.account).filter(|chain| may_bury(&change.policy, chain, &member.device));
            let Some(chain) = chain else { continue };
            let Some(tombstone) = tombstone_by(chain, &member.device) else { continue };
            let bytes = Bytes::copy_from_slice(chain.as_bytes());
            let is_given = change.reasons.chains.contains(&bytes);
            if !(is_given || change.reasons.has_room_for(&bytes)) {
                continue;
            }
            let mut with = change.clone();
            with.reasons.chains.extend((!is_given).then_some(bytes));
            with.policy.bury(tombstone);
            take_if_possible(&before, &mut change, with, (own, place));
        }
        // Nobody judges by a clock: those who may end a link at any time end it when its time is over.
        let mut with = change.clone();
        if let Some(rules) = &mut with.policy.rules {
            rules.links.retain(|link| link.expires == 0 || link.expires > now_ms);
        }
        if with.policy != change.policy {
            take_if_possible(&before, &mut change, with, (own, place));
        }
        // A group is raised by a commit that does nothing else.
        if group.can_be_raised() && change.policy == before && change.reasons.is_empty() {
            let with = Change { policy: before.raised(), reasons: Reasons::default() };
            take_if_possible(&before, &mut change, with, (own, place));
        }
        change
    }
}

fn empty() -> Policy {
    Policy::new([0; 16], String::new(), [0; 32])
}
