//! Who is out of a group where one member is, and in it where another is: a fork has kept the removal, or the word of leaving, from one of them. They tell
//! each other when they meet.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use starling_keys::{AccountId, DeviceId};
use starling_wire::{LEAVE_DOMAIN, Leave, Role, SealedBeacon, direct as wire, limits::MAX_FRAME_SEEKS};

use super::{
    apart::say,
    beacons::send,
    limits::{LEFT_ALONE_MS, MAX_SHOWN_WAITING, SEEK_AFTER_MS},
};
use crate::{
    api::types::ChatId,
    contacts::Directory,
    conversation::{
        Conversations,
        context::Context,
        group::{GroupEntry, GroupId},
        limits::REENTER_MS,
    },
    store::StandingRow,
    turn::{EngineError, Turn},
};

/// Devices that are in groups where nobody who leads is, of accounts that are not in these where this device is, and were not removed from them: since when
/// that is known, in steady time. Whoever has let them in may do it again, where it has come to.
#[derive(Default)]
pub struct Strangers(BTreeMap<(GroupId, DeviceId), u64>);

impl Strangers {
    fn note(&mut self, stranger: (GroupId, DeviceId), now: u64) {
        self.0.retain(|_, since| since.saturating_add(2 * REENTER_MS) > now);
        if self.0.len() < MAX_SHOWN_WAITING {
            self.0.entry(stranger).or_insert(now);
        }
    }

    /// Whether a device has asked for the way into a group for so long that nobody is going to let it in.
    pub(super) fn asks_in_vain(&self, stranger: (GroupId, DeviceId), now: u64) -> bool {
        let asked = self.0.get(&stranger).map(|since| now.saturating_sub(*since));
        asked.is_some_and(|asked| (REENTER_MS..2 * REENTER_MS).contains(&asked))
    }
}

/// Accounts that lead in groups, and say that they have left them as of epochs that this device has not come to; and when it is looked whether these are
/// all who lead, in steady time.
#[derive(Default)]
pub struct Departed(BTreeMap<GroupId, (u64, BTreeSet<AccountId>)>);

impl Departed {
    fn note(&mut self, id: GroupId, account: AccountId, now: u64) {
        let (at, departed) = self.0.entry(id).or_default();
        if departed.insert(account) {
            *at = now + LEFT_ALONE_MS;
        }
    }

    pub(super) fn forget(&mut self, id: &GroupId) {
        self.0.remove(id);
    }

    pub(super) fn next_due(&self) -> Option<u64> {
        self.0.values().map(|(at, _)| *at).min()
    }

    /// The groups in which it is to be looked at now, and who has departed from them.
    fn take_due(&mut self, now: u64) -> Vec<(GroupId, BTreeSet<AccountId>)> {
        let due = self.0.iter_mut().filter(|(_, (at, _))| *at <= now);
        due.map(|(id, (at, departed))| {
            *at = now + LEFT_ALONE_MS;
            (*id, departed.clone())
        })
        .collect()
    }
}

/// Whether a device has told all that it has followed in a group, and nothing of it was followed here. It may also be ahead.
fn shows_elsewhere(entry: &GroupEntry, beacons: &[SealedBeacon]) -> bool {
    let mut of_group = beacons.iter().filter(|beacon| beacon.complete && beacon.group[..] == entry.id[..]).peekable();
    of_group.peek().is_some() && !of_group.any(|beacon| entry.open_beacon(beacon).is_some())
}

impl GroupEntry {
    /// Whether a device whose account was removed may have been let in again by a commit that this device has not read yet, by what it tells of the
    /// group: it has followed one from where this device is, or is further on, and the log was not read to its end since this device has started.
    fn may_be_back(&self, beacons: &[SealedBeacon]) -> bool {
        beacons.iter().filter(|beacon| beacon.group[..] == self.id[..]).any(|beacon| {
            let follows_from_here = beacon.epoch == self.epoch() && self.open_beacon(beacon).is_some();
            follows_from_here || (beacon.epoch > self.epoch() && !self.read.caught_up)
        })
    }
}

impl Conversations {
    /// A device has told of groups as a member: it hears that its account was removed, or that ours has left, where it does not know that. Who is no member
    /// where we are is to ask us for the way, if we lead; and hears in the end that there is none.
    pub(super) fn answer_about_gone(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &Context<'_>,
        device: DeviceId,
        beacons: &[SealedBeacon],
    ) {
        let is_own = cx.dir.account.has_other(&device);
        let newest = |id: &GroupId| beacons.iter().filter(|b| b.group[..] == id[..]).map(|b| b.epoch).max();
        let ids: BTreeSet<GroupId> = beacons.iter().filter_map(|b| GroupId::try_from(&*b.group).ok()).collect();
        let (mut out, mut come) = (Vec::new(), Vec::new());
        for id in ids {
            let Some(entry) = self.groups.get(&id) else { continue };
            let Some(chat) = entry.chat().filter(|chat| self.chats.is_group_chat(*chat)) else { continue };
            let account = cx.dir.account_of(&device);
            let policy = self.policies.policy(&chat);
            let was_removed = self.was_removed(cx.dir, entry, &device);
            let is_out = !entry.row.dead && was_removed;
            if is_out && entry.may_be_back(beacons) {
                continue;
            }
            let is_elsewhere = !entry.row.dead
                && self.may_lead(cx.dir, entry)
                && self.is_stranger(cx.dir, entry, &device)
                && shows_elsewhere(entry, beacons);
            if !is_out && !is_elsewhere && !self.has_left_for_good(entry, &chat) {
                continue;
            }
            let is_left = !is_out && !is_elsewhere;
            let role = policy.zip(account).and_then(|(policy, account)| policy.role(account.as_bytes()));
            if !self.groups.get_mut(&id).is_some_and(|entry| entry.forks.may_work(Some(device), turn.now())) {
                continue;
            }
            if is_out && out.len() < MAX_FRAME_SEEKS {
                out.push(Bytes::copy_from_slice(&id));
            } else if is_elsewhere && come.len() < MAX_FRAME_SEEKS {
                self.apart.strangers.note((id, device), turn.now());
                come.push(Bytes::copy_from_slice(&id));
            } else if let Some(epoch) = newest(&id).filter(|_| is_left && (is_own || role.is_some())) {
                // Who could remove us, and our own devices, hear it as of where they are, others as of where we were.
                let epoch = if is_own || role.is_some_and(|role| role <= Role::Admin) { epoch } else { u64::MAX };
                self.tell_leave(turn, cx, (id, epoch), device);
            }
        }
        if !out.is_empty() || !come.is_empty() {
            say(turn, device, wire::Apart { out, come, ..wire::Apart::default() });
        }
    }

    /// Whether a device is of an account that was removed from a group, or has left it.
    pub(super) fn was_removed(&self, dir: Directory<'_>, entry: &GroupEntry, device: &DeviceId) -> bool {
        let policy = entry.chat().and_then(|chat| self.policies.policy(&chat));
        policy.zip(dir.account_of(device)).is_some_and(|(policy, account)| policy.removed.contains(account.as_bytes()))
    }

    /// Whether a device is of an account that is not in a group, and was not removed from it.
    pub(super) fn is_stranger(&self, dir: Directory<'_>, entry: &GroupEntry, device: &DeviceId) -> bool {
        let policy = entry.chat().and_then(|chat| self.policies.policy(&chat));
        policy.zip(dir.account_of(device)).is_some_and(|(policy, account)| {
            policy.role(account.as_bytes()).is_none() && !policy.removed.contains(account.as_bytes())
        })
    }

    fn has_left_for_good(&self, entry: &GroupEntry, chat: &ChatId) -> bool {
        entry.row.dead && self.policies.standing(chat) == Some(StandingRow::Left)
    }

    /// Tells a device that our account has left a group, as of an epoch there, but of none in which this device was not.
    fn tell_leave(&self, turn: &mut Turn<'_>, cx: &Context<'_>, (id, epoch): (GroupId, u64), to: DeviceId) {
        let Some(entry) = self.groups.get(&id) else { return };
        let (account, device) = (*cx.dir.account.id().as_bytes(), *cx.dir.account.device().as_bytes());
        let epoch = epoch.min(entry.epoch());
        let member = entry.chat().and_then(|chat| self.policies.policy(&chat)?.member(&account));
        if member.is_some_and(|member| member.since > epoch) {
            // It would be about an earlier membership.
            return;
        }
        let statement = Leave::statement(&account, &id, epoch);
        let signature = cx.dir.account.identity.device_key.sign(LEAVE_DOMAIN, &statement);
        let leave: Bytes = Leave { account, device, group: id, epoch, signature }.to_bytes().into();
        say(turn, to, wire::Apart { leave, ..wire::Apart::default() });
    }

    /// A device is connected now: it hears of groups that our account has left, and that it may be in.
    pub(super) fn tell_left_to(&mut self, turn: &mut Turn<'_>, cx: &Context<'_>, device: DeviceId) {
        let Some(account) = cx.dir.account_of(&device) else { return };
        let is_own = cx.dir.account.has_other(&device);
        let may_be_there = |entry: &&GroupEntry| {
            let Some(chat) = entry.chat().filter(|chat| self.has_left_for_good(entry, chat)) else { return false };
            is_own || self.policies.policy(&chat).is_some_and(|policy| policy.role(account.as_bytes()).is_some())
        };
        let left: Vec<GroupId> = self.groups.values().filter(may_be_there).map(|entry| entry.id).collect();
        for id in left {
            self.tell_leave(turn, cx, (id, u64::MAX), device);
        }
    }

    /// A member says that our account is not in groups any more, where it is. That counts from somebody who leads and could have removed us. Who was
    /// known to be where we are may have removed us since: the log says more of it, so that is read before, and the member is asked once more.
    pub(super) fn on_out(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        device: DeviceId,
        out: &[Bytes],
    ) -> Result<(), EngineError> {
        for id in out.iter().take(MAX_FRAME_SEEKS).filter_map(|id| GroupId::try_from(&**id).ok()) {
            let Some(entry) = self.groups.get_mut(&id).filter(|entry| !entry.row.dead) else { continue };
            let was_here = entry.forks.heard_lately(entry.epoch()).any(|heard| heard == device);
            // Where it is we are not, and what it has shown before holds us no longer.
            entry.forks.not_here(&device);
            let Some(entry) = self.groups.get(&id) else { continue };
            let Some((chat, account)) = entry.chat().zip(cx.dir.account_of(&device)) else { continue };
            let Some((policy, leader)) = self.policies.policy(&chat).zip(self.leader(cx.dir, entry, &device)) else {
                continue;
            };
            let own = *cx.dir.account.id().as_bytes();
            let (theirs, ours) = (policy.role(account.as_bytes()), policy.role(&own));
            if !theirs.zip(ours).is_some_and(|(theirs, ours)| theirs.is_above(ours)) {
                continue;
            }
            if was_here {
                self.apart.note(id, leader, turn.now() + SEEK_AFTER_MS);
                continue;
            }
            tracing::warn!("this account was removed from a group where others are");
            let mut policy = policy.clone();
            policy.remove(&own);
            self.on_removed(turn, cx, id, &policy)?;
        }
        Ok(())
    }

    /// A member says that its account has left a group. If it has said so as of an epoch that we have not come to, it hears where we are. Another device
    /// of ours need not be in the group where this one is: then this one says it.
    pub(super) fn on_told_leave(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        device: DeviceId,
        leave: &Bytes,
    ) -> Result<(), EngineError> {
        let Ok(leave) = Leave::from_bytes(leave) else { return Ok(()) };
        let is_own = cx.dir.account.has_other(&device);
        let Some(entry) = self.groups.get_mut(&leave.group).filter(|e| !e.row.dead) else { return Ok(()) };
        let is_member = entry.has_member(&device);
        if !is_own && !is_member {
            return Ok(());
        }
        let Some((chat, account)) = entry.chat().zip(cx.dir.account_of(&device)) else { return Ok(()) };
        if entry.epoch() < leave.epoch && entry.forks.may_work(Some(device), turn.now()) {
            let beacons = entry.beacons().collect();
            send(turn, device, beacons);
            let role = self.policies.policy(&chat).and_then(|policy| policy.role(account.as_bytes()));
            if !is_own && leave.account == *account.as_bytes() && role.is_some_and(|role| role <= Role::Admin) {
                self.apart.departed.note(leave.group, account, turn.now());
            }
            return Ok(());
        }
        if is_member {
            return self.on_leave(turn, cx.dir, chat, (account, device), &leave);
        }
        self.leave_as_told(turn, cx, chat, device, &leave)
    }

    /// All who lead here have left where nothing leads to from here: our user is out until somebody there removes our account and invites it again.
    pub(super) fn leave_the_departed(&mut self, turn: &mut Turn<'_>, cx: &mut Context<'_>) -> Result<(), EngineError> {
        for (id, departed) in self.apart.departed.take_due(turn.now()) {
            let chat = self.groups.get(&id).filter(|entry| !entry.row.dead).and_then(GroupEntry::chat);
            let Some(policy) = chat.and_then(|chat| self.policies.policy(&chat)) else {
                self.apart.departed.forget(&id);
                continue;
            };
            let mut leaders = policy.members.iter().filter(|member| member.role <= Role::Admin);
            let has_left = |account: &[u8; 32]| departed.iter().any(|departed| departed.as_bytes() == account);
            // What is not read may lead there.
            let is_read =
                self.usable(turn, cx, id).is_some() && self.groups.get(&id).is_some_and(|entry| entry.read.caught_up);
            if is_read && leaders.all(|leader| has_left(&leader.account)) {
                tracing::warn!("all who lead in a group have left it where nothing leads to");
                let mut policy = policy.clone();
                policy.remove(cx.dir.account.id().as_bytes());
                self.apart.departed.forget(&id);
                self.on_removed(turn, cx, id, &policy)?;
            }
        }
        Ok(())
    }
}
