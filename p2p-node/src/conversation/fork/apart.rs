//! Members that are apart: nothing leads from where one of them is to where the other is. The fork is older than the states that are kept, or one has
//! entered by a commit that the other was not shown. One of them gives in: it asks the other for the way into its epoch, and enters the group there.
//!
//! Only owners and admins lead. Whoever is in a place that a device of higher standing shares stays there. A way counts if nobody is an owner there by the
//! word of somebody who could not make it one, and nobody is there who was removed by its account: a member could otherwise lead others into a group of
//! its own.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, VecDeque},
};

use bytes::Bytes;
use starling_keys::{AccountId, Certificate, DeviceChain, DeviceId};
use starling_wire::{
    Door, Role,
    direct::{self as wire, DirectFrame, Way},
    limits::MAX_FRAME_SEEKS,
};

use super::{
    beacons::{Teller, send},
    fits::fits,
    gone::{Departed, Strangers},
    limits::{MAX_SEEKS, MAX_SHOWN_DOOR, MAX_SHOWN_WAITING, SEEK_AFTER_MS, SEEK_AGAIN_MS, SHOWN_WAY_MS},
    removals::tell_removals,
};
use crate::{
    api::types::ChatId,
    contacts::Directory,
    conversation::{
        Conversations, Groups,
        context::Context,
        group::{GroupEntry, GroupId},
        limits::REENTER_MS,
    },
    mls::LiveGroup,
    net::NetCommand,
    turn::{Effect, EngineError, Turn},
};

/// Members that lead, and that this device is apart from, by group.
#[derive(Default)]
pub struct Apart {
    of: BTreeMap<GroupId, BTreeMap<DeviceId, Seek>>,
    /// Who has shown the way by which this device enters, by group.
    guides: BTreeMap<GroupId, DeviceId>,
    /// Who was shown the way to where this device is, by group.
    shown: BTreeMap<GroupId, Shown>,
    /// Devices that have entered again before they could be owed what they lack, and when they can be, in steady time.
    owed: BTreeMap<(GroupId, DeviceId), u64>,
    /// Those that ask for the way and are of no account of the group.
    pub(super) strangers: Strangers,
    /// Those who led, and have left where this device does not come to.
    pub(super) departed: Departed,
}

/// What this device does to come to where a member is.
#[derive(Clone, Copy, Debug)]
struct Seek {
    /// When it asks next, in steady time.
    at: u64,
    /// How often it has asked.
    asked: u32,
    leader: Standing,
}

/// A device that was shown the way. Of those who enter from one epoch only one is followed, whatever a server says to the others; so they come one
/// after the other.
struct Shown {
    to: DeviceId,
    /// The epoch that the way leads into: once it is over there is another way.
    epoch: u64,
    /// Until when the others wait for the device, in steady time.
    until: u64,
    /// Those who have asked since, in their order.
    waiting: VecDeque<DeviceId>,
}

impl Shown {
    /// Whether the others wait for the device that was shown the way.
    fn holds(&self, epoch: u64, now: u64) -> bool {
        self.epoch == epoch && now < self.until
    }
}

/// Which of two devices leads the other: the one of the account with the higher role, then of the one that was let in earlier. The least is first.
type Standing = (Role, u64, AccountId, DeviceId);

impl Apart {
    /// When something is to be done, in steady time.
    pub fn next_due(&self) -> Option<u64> {
        let seeks = self.of.values().flat_map(BTreeMap::values).map(|seek| seek.at);
        let shown = self.shown.values().filter(|shown| !shown.waiting.is_empty()).map(|shown| shown.until);
        seeks.chain(shown).chain(self.owed.values().copied()).chain(self.departed.next_due()).min()
    }

    /// A group was entered again, or is not there any more.
    pub(in crate::conversation) fn forget(&mut self, id: &GroupId) {
        self.of.remove(id);
        self.guides.remove(id);
        self.shown.remove(id);
        self.owed.retain(|(of, _), _| of != id);
        self.departed.forget(id);
    }

    /// Who has shown the way by which a group is entered.
    pub(in crate::conversation) fn guide(&self, id: &GroupId) -> Option<DeviceId> {
        self.guides.get(id).copied()
    }

    /// Whether a device that asks for the way has to wait for another, which was shown it; it is shown it after that.
    fn has_to_wait(&mut self, (id, device): (GroupId, DeviceId), epoch: u64, now: u64) -> bool {
        let shown = self.shown.get_mut(&id).filter(|shown| shown.to != device && shown.holds(epoch, now));
        let Some(shown) = shown else { return false };
        if !shown.waiting.contains(&device) && shown.waiting.len() < MAX_SHOWN_WAITING {
            shown.waiting.push_back(device);
        }
        true
    }

    fn note_shown(&mut self, (id, to): (GroupId, DeviceId), epoch: u64, now: u64) {
        let mut waiting = self.shown.remove(&id).map(|shown| shown.waiting).unwrap_or_default();
        waiting.retain(|device| *device != to);
        self.shown.insert(id, Shown { to, epoch, until: now + SHOWN_WAY_MS, waiting });
    }

    /// The one that is shown the way next, if those who wait have waited for long enough.
    fn take_waiting(&mut self, id: &GroupId, epoch: u64, now: u64) -> Option<DeviceId> {
        self.shown.get_mut(id).filter(|shown| !shown.holds(epoch, now))?.waiting.pop_front()
    }

    /// Whether members of a group are asked for the way to where they are.
    pub(in crate::conversation) fn seeks(&self, id: &GroupId) -> bool {
        self.of.contains_key(id)
    }

    /// A device that has entered again is given what it lacks at this time, in steady time.
    pub(in crate::conversation) fn owe(&mut self, id: GroupId, device: DeviceId, at: u64) {
        self.owed.insert((id, device), at);
    }

    /// It is given that now.
    pub(in crate::conversation) fn owes_not(&mut self, id: GroupId, device: DeviceId) {
        self.owed.remove(&(id, device));
    }

    /// Of more than are asked at a time those stay that stand highest.
    pub(super) fn note(&mut self, id: GroupId, leader: Standing, at: u64) {
        let seeks = self.of.entry(id).or_default();
        let seek = seeks.entry(leader.3).or_insert(Seek { at, asked: 0, leader });
        // What is sure does not wait for what was not.
        seek.at = if seek.asked > 0 { seek.at } else { seek.at.min(at) };
        if seeks.len() > MAX_SEEKS
            && let Some(last) = seeks.values().map(|seek| seek.leader).max()
        {
            seeks.remove(&last.3);
        }
    }

    fn take_due(&mut self, now: u64) -> Vec<(GroupId, DeviceId, Seek)> {
        let mut due = Vec::new();
        for (id, seeks) in &mut self.of {
            due.extend(seeks.extract_if(.., |_, seek| seek.at <= now).map(|(device, seek)| (*id, device, seek)));
        }
        self.of.retain(|_, seeks| !seeks.is_empty());
        due.sort_by_key(|(_, _, seek)| (seek.asked, seek.leader));
        due
    }

    fn seek_again(&mut self, id: GroupId, device: DeviceId, seek: Seek) {
        self.of.entry(id).or_default().insert(device, seek);
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

    /// Where a device stands that leads: where this one is, and all that are known to be there with it, stand lower.
    pub(super) fn leader(&self, dir: Directory<'_>, entry: &GroupEntry, device: &DeviceId) -> Option<Standing> {
        let chat = entry.chat()?;
        let theirs = self.standing_of(dir, &chat, device).filter(|standing| standing.0 <= Role::Admin)?;
        let ours = entry.forks.heard_lately(entry.epoch()).chain([dir.account.device()]);
        let first = ours.filter_map(|device| self.standing_of(dir, &chat, &device)).min()?;
        (theirs < first).then_some(theirs)
    }

    /// The same; and of all that may lead others, where nothing leads on from where this device is.
    fn leader_on(&self, dir: Directory<'_>, entry: &GroupEntry, device: &DeviceId) -> Option<Standing> {
        let theirs = || self.standing_of(dir, &entry.chat()?, device).filter(|standing| standing.0 <= Role::Admin);
        self.leader(dir, entry, device).or_else(|| theirs().filter(|_| self.is_stuck(entry)))
    }

    /// Whether this device is one that leads others.
    pub(super) fn may_lead(&self, dir: Directory<'_>, entry: &GroupEntry) -> bool {
        let own = entry.chat().and_then(|chat| self.standing_of(dir, &chat, &dir.account.device()));
        own.is_some_and(|standing| standing.0 <= Role::Admin)
    }

    /// Whether a device is of an account of a group, as its policy says: it may have entered by what we were not shown.
    pub(super) fn is_of_group(&self, dir: Directory<'_>, entry: &GroupEntry, device: &DeviceId) -> bool {
        let role = || self.policies.policy(&entry.chat()?)?.role(dir.account_of(device)?.as_bytes());
        entry.has_member(device) || role().is_some()
    }

    /// A member shares no epoch with us, `surely` or as far as we have come. One of the two gives in, if one of them leads.
    pub(super) fn on_apart(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        (id, device): (GroupId, DeviceId),
        surely: bool,
    ) -> Result<(), EngineError> {
        let Some(entry) = self.groups.get_mut(&id).filter(|entry| !entry.row.dead) else { return Ok(()) };
        entry.forks.not_here(&device);
        if surely {
            tracing::warn!("a group was split in an epoch that is not kept");
            self.groups.report_split_once(turn, id)?;
        }
        let Some(entry) = self.groups.get(&id) else { return Ok(()) };
        let at = turn.now() + if surely { 0 } else { SEEK_AFTER_MS };
        if let Some(leader) = self.leader_on(cx.dir, entry, &device) {
            self.apart.note(id, leader, at);
        } else if self.may_lead(cx.dir, entry) {
            // It asks us, once it knows where we are.
            let Some(entry) = self.groups.get_mut(&id) else { return Ok(()) };
            if entry.forks.may_work(Some(device), turn.now()) {
                let beacons = entry.beacons().collect();
                send(turn, device, beacons);
            }
        }
        Ok(())
    }

    /// A member has followed what this device cannot follow, as it was not in the epoch before it: it has entered by another commit.
    pub(super) fn on_outrun(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        id: GroupId,
        from: Teller,
    ) -> Result<(), EngineError> {
        let Some(device) = from.device().filter(|device| cx.links.is_connected(device) && self.has_policy(id)) else {
            return self.go_on_elsewhere(turn, cx, id);
        };
        if let Some(entry) = self.groups.get_mut(&id) {
            entry.forks.not_here(&device);
        }
        let Some(entry) = self.groups.get(&id) else { return Ok(()) };
        let rests = entry.chat().is_some_and(|chat| self.policies.rests_until(&chat) > turn.now());
        if !rests {
            // Where the server is honest the group's door is the shorter way.
            return self.go_on_elsewhere(turn, cx, id);
        }
        if let Some(leader) = self.leader_on(cx.dir, entry, &device) {
            self.apart.note(id, leader, turn.now());
        } else if self.may_lead(cx.dir, entry) {
            say(turn, device, wire::Apart { come: vec![Bytes::copy_from_slice(&id)], ..wire::Apart::default() });
        }
        Ok(())
    }

    /// A member has followed what cannot be followed here: where it leads, we go to where it is.
    pub(super) fn on_unfollowed(&mut self, turn: &Turn<'_>, cx: &Context<'_>, id: GroupId, device: Option<DeviceId>) {
        if let Some((entry, device)) = self.groups.get_mut(&id).zip(device) {
            entry.forks.not_here(&device);
        }
        let Some((entry, device)) = self.groups.get(&id).filter(|entry| !entry.row.dead).zip(device) else { return };
        if let Some(leader) = self.leader_on(cx.dir, entry, &device) {
            self.apart.note(id, leader, turn.now());
        }
    }

    /// Asks members for the way to where they are; and gives those what they lack that have come again.
    pub(crate) fn seek_on_time(&mut self, turn: &mut Turn<'_>, cx: &mut Context<'_>) -> Result<(), EngineError> {
        let mut asked = BTreeSet::new();
        for (id, device, mut seek) in self.apart.take_due(turn.now()) {
            let Some(entry) = self.groups.get(&id).filter(|entry| !entry.row.dead) else { continue };
            if self.leader_on(cx.dir, entry, &device).is_none() {
                continue;
            }
            let rests_until = entry.chat().map_or(0, |chat| self.policies.rests_until(&chat));
            seek.at = turn.now() + SEEK_AGAIN_MS;
            if rests_until > turn.now() {
                seek.at = rests_until;
            } else if cx.links.is_connected(&device) {
                // Of several the next is asked if the one that stands highest has not shown the way.
                if asked.insert(id) {
                    let seeks = vec![Bytes::copy_from_slice(&id)];
                    say(turn, device, wire::Apart { seeks, ..wire::Apart::default() });
                    seek.asked = seek.asked.saturating_add(1);
                }
            } else {
                // It says where it is when it is there again.
                continue;
            }
            self.apart.seek_again(id, device, seek);
        }
        self.leave_the_departed(turn, cx)?;
        let held: Vec<GroupId> = self.apart.shown.keys().copied().collect();
        for id in held {
            self.show_way_to_next(turn, cx, id)?;
        }
        let due: Vec<(GroupId, DeviceId)> =
            self.apart.owed.extract_if(.., |_, at| *at <= turn.now()).map(|(owed, _)| owed).collect();
        for (id, device) in due {
            self.give_what_it_lacks(turn, cx, id, device)?;
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
        if let Some(removals) = &apart.removals {
            self.on_told_removals(turn, cx, device, removals);
        }
        for id in apart.come.iter().take(MAX_FRAME_SEEKS).filter_map(|id| GroupId::try_from(&**id).ok()) {
            let is_member = self.groups.get(&id).is_some_and(|entry| self.is_of_group(cx.dir, entry, &device));
            if is_member && self.groups.get_mut(&id).is_some_and(|entry| entry.forks.may_work(Some(device), turn.now()))
            {
                self.on_unfollowed(turn, cx, id, Some(device));
            }
        }
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
            if self.is_stuck(entry) {
                // Nobody comes in here: we go to where it is.
                if let Some(leader) = self.leader_on(cx.dir, entry, &device) {
                    self.apart.note(id, leader, turn.now());
                }
                continue;
            }
            let may_come = self.may_come_in(cx.dir, entry, &device);
            let was_removed = self.was_removed(cx.dir, entry, &device);
            // Who has not read what the others have followed knows of nobody whom they have let in.
            let knows = entry.read.caught_up && self.usable(turn, cx, id).is_some();
            let is_stranger = knows && self.is_stranger(cx.dir, entry, &device);
            // Before the state is loaded.
            let Some(entry) = self.groups.get_mut(&id) else { continue };
            if !entry.forks.may_work(Some(device), turn.now()) {
                continue;
            }
            // Where we are it is not.
            entry.forks.not_here(&device);
            let epoch = entry.epoch();
            if was_removed || is_stranger && self.apart.strangers.asks_in_vain((id, device), turn.now()) {
                say(turn, device, wire::Apart { out: vec![Bytes::copy_from_slice(&id)], ..wire::Apart::default() });
            }
            if may_come && !self.apart.has_to_wait((id, device), epoch, turn.now()) {
                self.show_way(turn, cx, id, device)?;
            }
        }
        Ok(())
    }

    /// Shows a device the way to where we are.
    fn show_way(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        id: GroupId,
        device: DeviceId,
    ) -> Result<(), EngineError> {
        let Some(group) = self.open(turn, cx.mls, id)? else { return Ok(()) };
        let secret = group.entry.row.door.as_ref().map(|door| door.secret.clone());
        let Some((door, secret)) = group.way_in()?.zip(secret) else { return Ok(()) };
        let epoch = door.epoch;
        let door = door.to_bytes();
        if door.len() > MAX_SHOWN_DOOR {
            tracing::debug!("the way into a group is too large to be shown");
            return Ok(());
        }
        let way = Way { group: Bytes::copy_from_slice(&id), secret: secret.into(), door: door.into() };
        say(turn, device, wire::Apart { way: Some(way), ..wire::Apart::default() });
        self.apart.note_shown((id, device), epoch, turn.now());
        Ok(())
    }

    /// Whoever was shown the way has come, or has had its time: the next one is shown it, if there is one.
    pub(in crate::conversation) fn show_way_to_next(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        id: GroupId,
    ) -> Result<(), EngineError> {
        loop {
            let Some(entry) = self.groups.get(&id).filter(|entry| !entry.row.dead) else {
                self.apart.shown.remove(&id);
                return Ok(());
            };
            let Some(device) = self.apart.take_waiting(&id, entry.epoch(), turn.now()) else { return Ok(()) };
            let is_here = entry.forks.heard_lately(entry.epoch()).any(|heard| heard == device);
            if !is_here && cx.links.is_connected(&device) && self.may_come_in(cx.dir, entry, &device) {
                self.show_way(turn, cx, id, device)?;
            }
        }
    }

    /// Whether a device may enter a group: its account is in it and has listed it, and no device that has let it in was removed.
    fn may_come_in(&self, dir: Directory<'_>, entry: &GroupEntry, device: &DeviceId) -> bool {
        let Some(account) = dir.account_of(device) else { return false };
        let Some(policy) = entry.chat().and_then(|chat| self.policies.policy(&chat)) else { return false };
        let Some(path) = dir.list_of(&account).and_then(|chain| chain.path_to(device)) else { return false };
        let is_buried = |device: &DeviceId| policy.tombstone(account.as_bytes(), device.as_bytes()).is_some();
        policy.role(account.as_bytes()).is_some() && !path.signers().chain([*device]).any(|device| is_buried(&device))
    }

    /// A member shows us the way to where it is, as we have asked.
    fn on_way(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        device: DeviceId,
        way: Way,
    ) -> Result<(), EngineError> {
        let Ok(id) = GroupId::try_from(&*way.group) else { return Ok(()) };
        let asked = self.apart.of.get(&id).and_then(|seeks| seeks.get(&device)).is_some_and(|seek| seek.asked > 0);
        let Some(entry) = self.groups.get(&id).filter(|entry| asked && !entry.row.dead) else { return Ok(()) };
        let Some((role, _, by, _)) = self.leader_on(cx.dir, entry, &device) else { return Ok(()) };
        let door = Door::from_bytes(way.door).ok().filter(|_| way.secret.len() == 32);
        let Some(door) = door.filter(|door| !entry.has_been_in(door.epoch, &door.secret)) else {
            self.apart.of.entry(id).or_default().remove(&device);
            return Ok(());
        };
        let Some(here) = entry.chat().and_then(|chat| self.policies.policy(&chat)).cloned() else { return Ok(()) };
        let members = here.members.iter().filter_map(|member| AccountId::from_bytes(&member.account).ok());
        let chains: BTreeMap<AccountId, DeviceChain> =
            members.filter_map(|account| Some((account, cx.dir.list_of(&account)?.clone()))).collect();
        let former = entry.chat().map(|chat| self.policies.former_owners(&chat).to_vec()).unwrap_or_default();
        let (own, not_heard_of) = (cx.dir.account.id(), RefCell::new(BTreeSet::new()));
        let fits = |there: &LiveGroup| {
            let members = there.members();
            let is_removed = |member: &&Certificate| {
                chains.get(&member.account()).is_some_and(|chain| chain.has_removed(&member.device()))
            };
            not_heard_of.borrow_mut().extend(members.iter().filter(is_removed).map(Certificate::account));
            not_heard_of.borrow().is_empty()
                && there.policy().is_some_and(|policy| fits((&here, &former[..]), &policy, &members, (own, role, by)))
        };
        let begun = self.enter_by_way(turn, cx, (id, way.secret.to_vec()), &door, fits)?;
        tell_removals(turn, device, id, not_heard_of.into_inner().iter().filter_map(|account| chains.get(account)));
        if begun {
            self.apart.guides.insert(id, device);
        }
        // If it comes to nothing, it is asked again; where it does not fit, not soon.
        if let Some(seek) = self.apart.of.get_mut(&id).and_then(|seeks| seeks.get_mut(&device)).filter(|_| !begun) {
            seek.at = turn.now() + REENTER_MS;
        }
        Ok(())
    }
}

impl Groups {
    /// Tells the user that a conversation was split, once for what is followed now.
    fn report_split_once(&mut self, turn: &mut Turn<'_>, id: GroupId) -> Result<(), EngineError> {
        let newest = self.get(&id).and_then(|entry| entry.row.parents.last()).map(|mark| mark.epoch);
        newest.map_or(Ok(()), |epoch| self.report_fork(turn, (id, epoch)))
    }
}
