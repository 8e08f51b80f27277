//! Members that are apart: nothing leads from where one of them is to where the other is. The fork is older than the states that are kept, or one has
//! entered by a commit that the other was not shown. One of them gives in: it asks the other for the way into its epoch, and enters the group there.
//!
//! Whoever is in a place that a device of higher standing shares stays there, so all come to where the first of them is, in whatever order they meet. A
//! way counts only from owners, and from admins where all owners are still who they were: a member could otherwise lead others into a group of its own.

use std::{cmp::Reverse, collections::BTreeMap};

use bytes::Bytes;
use starling_keys::{AccountId, Certificate, DeviceChain, DeviceId};
use starling_wire::{
    Door, Policy, Role,
    direct::{self as wire, DirectFrame, Way},
    limits::{MAX_ENTRY, MAX_FRAME_SEEKS},
};

use super::beacons::{Teller, send};
use crate::{
    api::types::ChatId,
    contacts::Directory,
    conversation::{
        Conversations, Groups,
        context::Context,
        group::{GroupEntry, GroupId},
    },
    limits::{MAX_SEEKS, SEEK_AFTER_MS, SEEK_AGAIN_MS},
    mls::LiveGroup,
    net::NetCommand,
    turn::{Effect, EngineError, Turn},
};

/// Members that this device is apart from, by group.
#[derive(Default, Debug)]
pub struct Apart {
    of: BTreeMap<GroupId, BTreeMap<DeviceId, Seek>>,
}

/// What this device does to come to where a member is.
#[derive(Clone, Copy, Debug)]
struct Seek {
    /// When it asks next, in steady time.
    at: u64,
    /// How often it has asked.
    asked: u32,
    why: Why,
}

/// Why one of two devices gives in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Why {
    /// Neither has a standing that counts: only the group's door may lead to the other.
    ByDoor,
    /// What this device has entered by came after what the others have followed.
    Outrun,
    /// The other is of higher standing.
    Follows,
}

/// Which of two devices leads the other: the one of the account with the higher role, then of the one that was let in earlier. The least is first.
type Standing = (Role, u64, AccountId, DeviceId);

impl Apart {
    /// When something is to be asked, in steady time.
    pub fn next_due(&self) -> Option<u64> {
        self.of.values().flat_map(BTreeMap::values).map(|seek| seek.at).min()
    }

    /// A group was entered again, or is not there any more.
    pub(in crate::conversation) fn forget(&mut self, id: &GroupId) {
        self.of.remove(id);
    }

    fn note(&mut self, id: GroupId, device: DeviceId, at: u64, why: Why) {
        let seeks = self.of.entry(id).or_default();
        if seeks.len() < MAX_SEEKS || seeks.contains_key(&device) {
            let seek = seeks.entry(device).or_insert(Seek { at, asked: 0, why });
            // What is sure does not wait for what was not.
            seek.at = if seek.asked == 0 { seek.at.min(at) } else { seek.at };
            seek.why = seek.why.max(why);
        }
    }

    fn take_due(&mut self, now: u64) -> Vec<(GroupId, DeviceId, Seek)> {
        let mut due = Vec::new();
        for (id, seeks) in &mut self.of {
            due.extend(seeks.extract_if(.., |_, seek| seek.at <= now).map(|(device, seek)| (*id, device, seek)));
        }
        self.of.retain(|_, seeks| !seeks.is_empty());
        // Who leads is asked first.
        due.sort_by_key(|(_, _, seek)| (seek.asked >= 2, Reverse(seek.why)));
        due
    }
}

/// Says something on the stream to a device that is connected.
pub(super) fn say(turn: &mut Turn<'_>, device: DeviceId, apart: wire::Apart) {
    let frame = DirectFrame { apart: Some(Box::new(apart)), ..DirectFrame::default() };
    turn.emit(Effect::Net(NetCommand::Direct(device, frame)));
}

impl GroupEntry {
    /// Whether this device is, or was, in an epoch with this secret.
    fn has_been_in(&self, epoch: u64, secret: &[u8]) -> bool {
        let logs = self.logs.iter().map(|log| (log.epoch, &log.secret));
        let mut known = logs.chain(self.row.parents.iter().map(|mark| (mark.epoch, &mark.secret)));
        known.any(|(at, known)| at == epoch && known == secret)
    }
}

impl Conversations {
    /// Where a device stands in a group that has a policy; none if it is of no account of it.
    fn standing_of(&self, dir: Directory<'_>, chat: &ChatId, device: &DeviceId) -> Option<Standing> {
        let own = (*device == dir.account.device()).then(|| dir.account.id());
        let account = own.or_else(|| dir.account_of(device))?;
        let member = self.policies.policy(chat)?.member(account.as_bytes())?;
        Some((member.role, member.since, account, *device))
    }

    /// Whether a device leads where this one is, and all that are known to be there with it.
    pub(super) fn leads(&self, dir: Directory<'_>, entry: &GroupEntry, device: &DeviceId) -> bool {
        let Some(chat) = entry.chat() else { return false };
        let Some(theirs) = self.standing_of(dir, &chat, device).filter(|standing| standing.0 <= Role::Admin) else {
            return false;
        };
        let ours = entry.forks.heard_lately(entry.epoch()).chain([dir.account.device()]);
        ours.filter_map(|device| self.standing_of(dir, &chat, &device)).min().is_some_and(|first| theirs < first)
    }

    /// Whether a device is of an account of a group, as its policy says: it may have entered by what we were not shown.
    pub(super) fn is_of_group(&self, dir: Directory<'_>, entry: &GroupEntry, device: &DeviceId) -> bool {
        let role = || self.policies.policy(&entry.chat()?)?.role(dir.account_of(device)?.as_bytes());
        entry.has_member(device) || role().is_some()
    }

    /// A member shares no epoch with us, `surely` or as far as we have come. Of a group with a policy one of the two gives in.
    pub(super) fn on_apart(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        (id, device): (GroupId, DeviceId),
        surely: bool,
    ) -> Result<(), EngineError> {
        let Some(entry) = self.groups.get_mut(&id).filter(|entry| !entry.row.dead) else { return Ok(()) };
        entry.forks.not_here(&device);
        let chat = entry.chat();
        if surely {
            tracing::warn!("a group was split in an epoch that is not kept");
            self.groups.report_split_once(turn, id)?;
        }
        let Some(entry) = self.groups.get(&id) else { return Ok(()) };
        let leads_us = self.leads(cx.dir, entry, &device);
        let counts = |device: &DeviceId| {
            chat.and_then(|chat| self.standing_of(cx.dir, &chat, device))
                .is_some_and(|standing| standing.0 <= Role::Admin)
        };
        let (we_count, they_count) = (counts(&cx.dir.account.device()), counts(&device));
        let at = turn.now() + if surely { 0 } else { SEEK_AFTER_MS };
        if leads_us {
            self.apart.note(id, device, at, Why::Follows);
        } else if we_count {
            // It asks us, once it knows where we are.
            let Some(entry) = self.groups.get_mut(&id) else { return Ok(()) };
            if entry.forks.may_work(Some(device), turn.now()) {
                let beacons = entry.beacons().collect();
                send(turn, device, beacons);
            }
        } else if surely && !they_count {
            self.apart.note(id, device, turn.now() + SEEK_AGAIN_MS, Why::ByDoor);
        }
        Ok(())
    }

    /// Others have gone on by a commit that this device cannot follow, as it was not in the epoch before it: where it is it stays alone.
    pub(super) fn on_outrun(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        id: GroupId,
        from: Teller,
    ) -> Result<(), EngineError> {
        match from.device().filter(|device| cx.links.is_connected(device) && self.has_policy(id)) {
            Some(device) => self.apart.note(id, device, turn.now(), Why::Outrun),
            None => self.go_on_elsewhere(turn, cx, id)?,
        }
        Ok(())
    }

    /// A member has followed what cannot be followed here: where it leads, we go to where it is.
    pub(super) fn on_unfollowed(&mut self, turn: &Turn<'_>, cx: &Context<'_>, id: GroupId, from: Teller) {
        let Some(entry) = self.groups.get(&id) else { return };
        if let Some(device) = from.device().filter(|device| self.leads(cx.dir, entry, device)) {
            self.apart.note(id, device, turn.now(), Why::Follows);
        }
    }

    /// Asks members for the way to where they are.
    pub(crate) fn seek_on_time(&mut self, turn: &mut Turn<'_>, cx: &mut Context<'_>) -> Result<(), EngineError> {
        for (id, device, mut seek) in self.apart.take_due(turn.now()) {
            let Some(entry) = self.groups.get(&id).filter(|entry| !entry.row.dead) else { continue };
            if seek.why == Why::Follows && !self.leads(cx.dir, entry, &device) {
                continue;
            }
            let rests_until = entry.chat().map_or(0, |chat| self.policies.rests_until(&chat));
            if rests_until > turn.now() {
                seek.at = rests_until;
                self.apart.of.entry(id).or_default().insert(device, seek);
                continue;
            }
            if seek.why == Why::ByDoor || seek.asked >= 2 {
                // It does not answer, or nobody leads: what is left, if nobody else is asked, is the way that is written for newcomers.
                if !self.apart.of.contains_key(&id) {
                    self.go_on_elsewhere(turn, cx, id)?;
                }
                continue;
            }
            let somebody_leads =
                self.apart.of.get(&id).is_some_and(|seeks| seeks.values().any(|s| s.why == Why::Follows));
            if seek.why != Why::Follows && somebody_leads {
                continue;
            }
            if cx.links.is_connected(&device) {
                say(turn, device, wire::Apart { seeks: vec![Bytes::copy_from_slice(&id)], ..wire::Apart::default() });
                (seek.asked, seek.at) = (seek.asked + 1, turn.now() + SEEK_AGAIN_MS);
                self.apart.of.entry(id).or_default().insert(device, seek);
            }
        }
        Ok(())
    }

    /// A member says on its stream what it needs to come to where we are, or shows us the way to where it is.
    pub(crate) fn on_direct_apart(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        device: DeviceId,
        apart: wire::Apart,
    ) -> Result<(), EngineError> {
        self.on_seeks(turn, cx, device, &apart.seeks)?;
        self.on_out(turn, cx, device, &apart.out)?;
        self.on_told_leave(turn, cx, device, &apart.leave)?;
        apart.way.map_or(Ok(()), |way| self.on_way(turn, cx, device, way))
    }

    fn on_seeks(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        device: DeviceId,
        seeks: &[Bytes],
    ) -> Result<(), EngineError> {
        for id in seeks.iter().take(MAX_FRAME_SEEKS).filter_map(|id| GroupId::try_from(&**id).ok()) {
            let Some(entry) = self.groups.get(&id).filter(|entry| !entry.row.dead) else { continue };
            if !self.may_come_in(cx.dir, entry, &device) {
                continue;
            }
            let Some(group) = self.open(turn, cx.mls, id)? else { continue };
            if !group.entry.forks.may_work(Some(device), turn.now()) {
                continue;
            }
            let Some((door, secret)) = group.way_in()?.zip(group.entry.row.door.as_ref().map(|d| d.secret.clone()))
            else {
                continue;
            };
            let door = door.to_bytes();
            if door.len() > MAX_ENTRY {
                tracing::debug!("the way into a group is too large to be shown");
                continue;
            }
            let way = Way { group: Bytes::copy_from_slice(&id), secret: secret.into(), door: door.into() };
            say(turn, device, wire::Apart { way: Some(way), ..wire::Apart::default() });
        }
        Ok(())
    }

    /// Whether a device may enter a group: its account is in it, has listed it, and has not removed it.
    fn may_come_in(&self, dir: Directory<'_>, entry: &GroupEntry, device: &DeviceId) -> bool {
        let Some(account) = dir.account_of(device) else { return false };
        let policy = entry.chat().and_then(|chat| self.policies.policy(&chat));
        let is_listed = dir.list_of(&account).is_some_and(|list| list.device(device).is_some());
        is_listed
            && policy.is_some_and(|policy| {
                policy.role(account.as_bytes()).is_some()
                    && policy.tombstone(account.as_bytes(), device.as_bytes()).is_none()
            })
    }

    /// A member shows us the way to where it is, as we have asked. Where a device is that was removed from its account we do not go: the member has yet to
    /// hear of that.
    fn on_way(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        device: DeviceId,
        way: Way,
    ) -> Result<(), EngineError> {
        let Ok(id) = GroupId::try_from(&*way.group) else { return Ok(()) };
        let seek = self.apart.of.get(&id).and_then(|seeks| seeks.get(&device));
        if seek.is_none_or(|seek| seek.asked == 0) {
            return Ok(());
        }
        let Some(entry) = self.groups.get(&id).filter(|entry| !entry.row.dead) else { return Ok(()) };
        let leads = self.leads(cx.dir, entry, &device);
        let door = Door::from_bytes(way.door).ok().filter(|_| way.secret.len() == 32);
        let Some(door) = door.filter(|door| !entry.has_been_in(door.epoch, &door.secret)) else {
            self.apart.of.entry(id).or_default().remove(&device);
            return Ok(());
        };
        let here = entry.chat().and_then(|chat| self.policies.policy(&chat)).cloned();
        let role =
            here.as_ref().zip(cx.dir.account_of(&device)).and_then(|(here, account)| here.role(account.as_bytes()));
        let chains: BTreeMap<AccountId, DeviceChain> = here
            .iter()
            .flat_map(|here| &here.members)
            .filter_map(|member| AccountId::from_bytes(&member.account).ok())
            .filter_map(|account| Some((account, cx.dir.list_of(&account)?.clone())))
            .collect();
        let fits = |there: &LiveGroup| {
            let is_removed = |member: &Certificate| {
                chains.get(&member.account()).is_some_and(|chain| chain.has_removed(&member.device()))
            };
            let policies = here.as_ref().zip(there.policy());
            policies.is_some_and(|(here, there)| may_lead(here, &there, role.filter(|_| leads)))
                && !there.members().iter().any(is_removed)
        };
        if self.enter_by_way(turn, cx, (id, way.secret.to_vec()), &door, fits)? {
            self.apart.forget(&id);
        }
        Ok(())
    }
}

/// Whether what a member shows of a group may be where it is: nobody has become an owner there by the word of somebody who could not make it one; by the
/// word of somebody who does not lead, no admin either.
fn may_lead(here: &Policy, there: &Policy, leader: Option<Role>) -> bool {
    let of = |policy: &Policy, least: Role| -> Vec<([u8; 32], Role)> {
        policy.members.iter().filter(|m| m.role <= least).map(|m| (m.account, m.role)).collect()
    };
    let same = |least| of(here, least) == of(there, least);
    match leader {
        Some(Role::Owner) => true,
        Some(_) => same(Role::Owner),
        None => same(Role::Admin),
    }
}

impl Groups {
    /// Tells the user that a conversation was split, once for what is followed now.
    fn report_split_once(&mut self, turn: &mut Turn<'_>, id: GroupId) -> Result<(), EngineError> {
        let newest = self.get(&id).and_then(|entry| entry.row.parents.last()).map(|mark| mark.epoch);
        newest.map_or(Ok(()), |epoch| self.report_fork(turn, (id, epoch)))
    }
}
