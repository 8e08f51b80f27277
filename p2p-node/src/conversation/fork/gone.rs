//! Who is out of a group where one member is, and in it where another is: a fork has kept the removal, or the word of leaving, from one of them. They tell
//! each other when they meet.

use std::collections::BTreeSet;

use bytes::Bytes;
use starling_keys::DeviceId;
use starling_wire::{LEAVE_DOMAIN, Leave, SealedBeacon, direct as wire, limits::MAX_FRAME_SEEKS};

use super::{apart::say, beacons::send};
use crate::{
    api::types::ChatId,
    conversation::{
        Conversations,
        context::Context,
        group::{GroupEntry, GroupId},
    },
    store::StandingRow,
    turn::{EngineError, Turn},
};

impl Conversations {
    /// A device has told of groups as a member: it hears that its account was removed, or that ours has left, where it does not know that.
    pub(super) fn answer_about_gone(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &Context<'_>,
        device: DeviceId,
        beacons: &[SealedBeacon],
    ) {
        let newest = |id: &GroupId| beacons.iter().filter(|b| b.group[..] == id[..]).map(|b| b.epoch).max();
        let ids: BTreeSet<GroupId> = beacons.iter().filter_map(|b| GroupId::try_from(&*b.group).ok()).collect();
        let mut out = Vec::new();
        for id in ids {
            let Some(entry) = self.groups.get(&id) else { continue };
            let Some(chat) = entry.chat().filter(|chat| self.chats.is_group_chat(*chat)) else { continue };
            let account = cx.dir.account_of(&device);
            let policy = self.policies.policy(&chat);
            let was_removed =
                policy.zip(account).is_some_and(|(policy, account)| policy.removed.contains(account.as_bytes()));
            let is_out = !entry.row.dead && was_removed;
            if !is_out && !self.has_left_for_good(entry, &chat) {
                continue;
            }
            if !self.groups.get_mut(&id).is_some_and(|entry| entry.forks.may_work(Some(device), turn.now())) {
                continue;
            }
            if is_out && out.len() < MAX_FRAME_SEEKS {
                out.push(Bytes::copy_from_slice(&id));
            } else if let Some(epoch) = newest(&id).filter(|_| !is_out) {
                self.tell_leave(turn, cx, (id, epoch), &[device]);
            }
        }
        if !out.is_empty() {
            say(turn, device, wire::Apart { out, ..wire::Apart::default() });
        }
    }

    fn has_left_for_good(&self, entry: &GroupEntry, chat: &ChatId) -> bool {
        entry.row.dead && self.policies.standing(chat) == Some(StandingRow::Left)
    }

    /// Tells devices that our account has left a group, as of an epoch there, but of none in which this device was not.
    fn tell_leave(&self, turn: &mut Turn<'_>, cx: &Context<'_>, (id, epoch): (GroupId, u64), devices: &[DeviceId]) {
        let Some(entry) = self.groups.get(&id) else { return };
        let (account, device) = (*cx.dir.account.id().as_bytes(), *cx.dir.account.device().as_bytes());
        let epoch = epoch.min(entry.epoch());
        let statement = Leave::statement(&account, &id, epoch);
        let signature = cx.dir.account.identity.device_key.sign(LEAVE_DOMAIN, &statement);
        let leave: Bytes = Leave { account, device, group: id, epoch, signature }.to_bytes().into();
        for device in devices {
            say(turn, *device, wire::Apart { leave: leave.clone(), ..wire::Apart::default() });
        }
    }

    /// Our account has left a group: members that are connected hear of it, as they may read another log than this device.
    pub(in crate::conversation) fn tell_left(&mut self, turn: &mut Turn<'_>, cx: &Context<'_>, chat: ChatId) {
        let groups = self.chats.get(&chat).map(|state| state.row.groups.clone()).unwrap_or_default();
        for id in groups.iter().filter_map(|id| GroupId::try_from(id.as_slice()).ok()) {
            let devices = self.devices_there(cx, id);
            self.tell_leave(turn, cx, (id, u64::MAX), &devices);
        }
    }

    /// A device is connected now: it hears of groups that our account has left, and that it may be in.
    pub(super) fn tell_left_to(&mut self, turn: &mut Turn<'_>, cx: &Context<'_>, device: DeviceId) {
        let Some(account) = cx.dir.account_of(&device) else { return };
        let may_be_there = |entry: &&GroupEntry| {
            let Some(chat) = entry.chat().filter(|chat| self.has_left_for_good(entry, chat)) else { return false };
            self.policies.policy(&chat).is_some_and(|policy| policy.role(account.as_bytes()).is_some())
        };
        let left: Vec<GroupId> = self.groups.values().filter(may_be_there).map(|entry| entry.id).collect();
        for id in left.into_iter().take(MAX_FRAME_SEEKS) {
            self.tell_leave(turn, cx, (id, u64::MAX), &[device]);
        }
    }

    /// A member says that our account is not in groups any more, where it is. That counts from somebody who leads and could have removed us.
    pub(super) fn on_out(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        device: DeviceId,
        out: &[Bytes],
    ) -> Result<(), EngineError> {
        for id in out.iter().take(MAX_FRAME_SEEKS).filter_map(|id| GroupId::try_from(&**id).ok()) {
            let Some(entry) = self.groups.get(&id).filter(|entry| !entry.row.dead) else { continue };
            let Some((chat, account)) = entry.chat().zip(cx.dir.account_of(&device)) else { continue };
            let Some(policy) = self.policies.policy(&chat).filter(|_| self.leads(cx.dir, entry, &device)) else {
                continue;
            };
            let own = *cx.dir.account.id().as_bytes();
            if policy
                .role(account.as_bytes())
                .zip(policy.role(&own))
                .is_some_and(|(theirs, ours)| theirs.is_above(ours))
            {
                tracing::warn!("this account was removed from a group where others are");
                let mut policy = policy.clone();
                policy.remove(&own);
                self.on_removed(turn, cx, id, &policy)?;
            }
        }
        Ok(())
    }

    /// A member says that its account has left a group. If it has said so as of an epoch that we have not come to, it hears where we are.
    pub(super) fn on_told_leave(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        device: DeviceId,
        leave: &Bytes,
    ) -> Result<(), EngineError> {
        let Ok(leave) = Leave::from_bytes(leave) else { return Ok(()) };
        let Some(entry) = self.groups.get_mut(&leave.group).filter(|e| !e.row.dead && e.has_member(&device)) else {
            return Ok(());
        };
        let Some((chat, account)) = entry.chat().zip(cx.dir.account_of(&device)) else { return Ok(()) };
        if entry.epoch() < leave.epoch && entry.forks.may_work(Some(device), turn.now()) {
            let beacons = entry.beacons().collect();
            send(turn, device, beacons);
            return Ok(());
        }
        self.on_leave(turn, cx.dir, chat, (account, device), &leave)
    }
}
