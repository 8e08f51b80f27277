//! Doors: through the log of one, new devices of a group's accounts enter the group with nobody else online. Whoever has made the group or has begun
//! an epoch writes the way into it there, sealed under a secret that comes from the group's first epoch: who was removed since, and so is in no later
//! group, does not know it.

mod added;
mod enter;
mod entered;
mod entering;
pub(crate) mod limits;
pub(super) mod parts;
mod prepare;
mod shut;
mod unlisted;

use std::collections::BTreeSet;

use bytes::Bytes;
use starling_keys::DeviceId;
use starling_wire::{Door, LogVerb, limits::MAX_LARGE};

pub use entering::Entering;

use super::{
    Conversations, Groups,
    context::Context,
    group::{GroupEntry, GroupId, LogKeys},
    group_state::{Newcomer, OpenGroup},
    limits::MAX_DIRECT_CHAIN,
    outbox::LOST_EPOCH,
    regroup::mend_after_ms,
};
use crate::{
    api::types::{Attempt, ChatId},
    contacts::Directory,
    home::{LogPending, Pending, Refused},
    limits::{DOOR_WAIT_MS, DOOR_WAITS_DEVICES, DOORS_EVERY, RETRY_REFUSED_MS},
    mls::{GroupError, LiveGroup},
    store::DoorRow,
    turn::{EngineError, EventFact, Fact, Turn},
};

/// The label under which the secret of a group's door leaves it.
const EXPORT: &str = "starling door v1";

/// The door of a group that was made or joined now: `due` if this device is to write the way into it. None if its first epoch is over.
pub(super) fn of_new_group(live: &LiveGroup, due: bool) -> Result<Option<DoorRow>, GroupError> {
    if live.epoch() != 1 {
        return Ok(None);
    }
    Ok(Some(DoorRow { secret: live.export(EXPORT)?.to_vec(), due, sequence: 0 }))
}

/// The secret of the door that begins with the epoch of a group.
fn secret_of(live: &LiveGroup) -> Result<Vec<u8>, GroupError> {
    Ok(live.export(EXPORT)?.to_vec())
}

/// Somebody is gone who knows the door of a group, or has come in by a link and does not know it: there is another one from this epoch on.
pub(super) fn renew(group: &mut OpenGroup<'_>) -> Result<(), GroupError> {
    let secret = secret_of(&group.state.live)?;
    group.entry.note_past_door();
    // In its log there is none yet: nobody could come in, however long its author stays away.
    group.entry.door_waits_until = None;
    let due = group.entry.row.door.as_ref().is_some_and(|door| door.due);
    group.entry.row.door = Some(DoorRow { secret, due, sequence: 0 });
    group.entry.touch();
    Ok(())
}

impl GroupEntry {
    /// The group is in another epoch: this device is to write the way into it, or another is.
    pub(super) fn write_door(&mut self, due: bool) {
        (self.door_waits_until, self.door_is_old) = (None, false);
        if let Some(door) = &mut self.row.door {
            door.due = due;
        }
    }

    /// A member has added devices: they are in the group, and have yet to find its tree.
    pub(super) fn note_added(&mut self, now: u64) {
        self.door_is_read_until = now + DOOR_WAIT_MS;
    }

    /// Remembers whether a device is to be given later what it lacks.
    pub(in crate::conversation) fn note_owed(&mut self, device: &DeviceId, is_owed: bool) {
        let of_device = |owed: &Vec<u8>| owed[..] == device.as_bytes()[..];
        if self.row.owed.iter().any(of_device) == is_owed {
            return;
        }
        match is_owed {
            true => self.row.owed.push(device.as_bytes().to_vec()),
            false => self.row.owed.retain(|owed| !of_device(owed)),
        }
        self.touch();
    }

    /// Whether its log is at its home.
    pub(super) fn has_log(&self) -> bool {
        !self.row.ours || self.row.log_opened
    }

    /// Whether the way into the current epoch is still to be written.
    pub fn has_door_to_write(&self) -> bool {
        self.has_log() && !self.row.dead && self.row.door.as_ref().is_some_and(|door| door.due)
    }
}

impl OpenGroup<'_> {
    /// Whether nobody is known to wait for the way into an epoch that has just begun, in a group whose doors are large: everybody who was let in has come,
    /// there is no other way to come than to be let in, and nobody was added of late, who is in it before it has read the tree.
    pub(super) fn door_can_wait(&self) -> bool {
        let members = &self.entry.members;
        let is_read = self.entry.door_is_read_until > self.now;
        if is_read || members.len() <= DOOR_WAITS_DEVICES || self.entry.epoch().is_multiple_of(DOORS_EVERY) {
            return false;
        }
        // That a link has ended is written behind the door, and by nobody else.
        if !self.entry.row.links.is_empty() {
            return false;
        }
        let Some(policy) = self.policy().filter(|policy| policy.large) else { return false };
        let is_closed = policy.rules.as_ref().is_some_and(|rules| rules.links.is_empty() && rules.community.is_none());
        let there: BTreeSet<&[u8; 32]> = members.iter().map(|member| member.account.as_bytes()).collect();
        is_closed && policy.members.iter().all(|member| there.contains(&member.account))
    }

    /// The way into the current epoch; none if a member would not follow who enters.
    pub fn way_in(&self) -> Result<Option<Door>, GroupError> {
        let secret = self.entry.current_log().and_then(|log| log.secret.as_slice().try_into().ok());
        let parts = secret.zip(self.state.live.door()?);
        Ok(parts.map(|(secret, info)| Door { epoch: self.entry.epoch(), secret, info: info.into() }))
    }
}

impl Conversations {
    /// Whether the members of a group know all devices of ours: each is in it, and has shown our chain as it came.
    pub(crate) fn knows_our_devices(&self, dir: Directory<'_>, group: &GroupEntry) -> bool {
        let chain = dir.account.list().filter(|chain| chain.as_bytes().len() <= MAX_DIRECT_CHAIN);
        chain.is_some_and(|chain| chain.devices.iter().all(|device| group.has_member(&device.id)))
    }

    /// A device was removed from our account here. Where it has not entered yet, it may know the door, and the way into the current epoch: that ends by a
    /// commit of ours, which leads into an epoch without a way in, and other groups take the place of these.
    pub(crate) fn shut_doors(&mut self, turn: &Turn<'_>, device: &DeviceId) {
        self.bury_own(turn, device);
        let of_two = |group: &GroupEntry| !group.chat().is_some_and(|chat| self.chats.is_group_chat(chat));
        let is_open = |group: &&GroupEntry| {
            group.row.door.is_some() && !group.row.dead && !group.has_member(device) && of_two(group)
        };
        let ids: Vec<GroupId> = self.groups.values().filter(is_open).map(|group| group.id).collect();
        for id in ids {
            let Some(group) = self.groups.get_mut(&id) else { continue };
            tracing::debug!(group = id[0], "a removed device may know the door of a group");
            // The others follow us into the one that takes its place: they may not know of the removal yet.
            (group.row.door, group.row.exposed, group.row.unreplaced) = (None, true, true);
            // It renews its keys at once.
            group.row.updated_ms = 0;
            group.touch();
            if let Some(chat) = group.chat() {
                self.regroup.begin_again(chat);
            }
        }
    }

    /// Devices have come into a group at once.
    pub(super) fn let_all_in(
        &mut self,
        turn: &mut Turn<'_>,
        dir: Directory<'_>,
        id: GroupId,
        newcomers: Vec<Newcomer>,
    ) -> Result<(), EngineError> {
        newcomers.into_iter().try_for_each(|newcomer| self.let_in(turn, dir, id, newcomer))
    }

    /// A device has entered a group: its members learn of it, and what waits is encrypted again, so that it can read that, too.
    pub(super) fn let_in(
        &mut self,
        turn: &mut Turn<'_>,
        dir: Directory<'_>,
        id: GroupId,
        newcomer: Newcomer,
    ) -> Result<(), EngineError> {
        let chat = self.groups.get(&id).and_then(GroupEntry::chat);
        if let Some(chat) = chat.filter(|chat| self.chats.is_group_chat(*chat)) {
            self.let_into_group(turn, chat, id, &newcomer)?;
            self.note_newcomer(chat, &newcomer);
            // Who comes again may have missed commits.
            self.hand_on_soon(turn, dir, id);
            turn.fact(Fact::DeviceJoined { account: newcomer.account, device: newcomer.device });
        } else if let Some(chat) = chat {
            // It may be one that its account has removed, or has not listed yet.
            self.regroup.look.at(chat);
            self.waits_for_devices(turn, dir, id);
            self.chats.lose_items(turn, chat, id, LOST_EPOCH + 1..=u64::MAX, 0)?;
            if newcomer.account != dir.account.id() {
                // So that it learns, too, what we have, and that we are there.
                self.chats.lose_receipts(turn, chat);
            }
        }
        if newcomer.account == dir.account.id() {
            if dir.account.list().is_some_and(|list| list.has_removed(&newcomer.device)) {
                turn.fact(Fact::RemovedDeviceUsed { device: newcomer.device, attempt: Attempt::Enter });
            }
            self.entering.note_entered(newcomer.device);
            self.regroup.newcomer_until = turn.now() + mend_after_ms(dir);
        }
        let now_s = turn.agreed_ms() / 1000;
        if dir.person(&newcomer.account).is_some_and(|person| person.has_removed_before(&newcomer.device, now_s)) {
            let (account, device) = (newcomer.account, newcomer.device);
            turn.fact(Fact::RefusedDeviceUsed { account, device, attempt: Attempt::Enter });
        }
        if let Some(devices) = newcomer.devices {
            turn.facts([EventFact::DeviceList { account: newcomer.account, devices }]);
        }
        Ok(())
    }

    /// A device has entered a group: it has nothing to do with what stands in the logs of the epochs before. If it was there already, it may have been
    /// where it could not read them: what it has not acknowledged is written again, at most once in a while.
    fn let_into_group(
        &mut self,
        turn: &Turn<'_>,
        chat: ChatId,
        id: GroupId,
        newcomer: &Newcomer,
    ) -> Result<(), EngineError> {
        let Some(entry) = self.groups.get_mut(&id) else { return Ok(()) };
        let epoch = entry.epoch();
        let owed_at = newcomer.again.then(|| entry.forks.owe(newcomer.account, turn.now()));
        let Some(state) = self.chats.get_mut(&chat) else { return Ok(()) };
        if !state.roster.accounts().any(|account| account == newcomer.account) {
            // It comes with its account.
            return Ok(());
        }
        let logged = state.row.logged_upto;
        // Where nobody says what it has got, all that is kept would be written again, by everybody.
        let owed_at = owed_at.filter(|_| state.acknowledges());
        let row = state.roster.device_mut(newcomer.account, &newcomer.device);
        match owed_at {
            Some(at) if at <= turn.now() => {
                let acked = row.acked;
                entry.note_owed(&newcomer.device, false);
                self.apart.owes_not(id, newcomer.device);
                return self.chats.lose_items(turn, chat, id, LOST_EPOCH + 1..=u64::MAX, acked);
            }
            Some(at) => {
                self.apart.owe(id, newcomer.device, at);
                entry.note_owed(&newcomer.device, true);
                return Ok(());
            }
            None => {}
        }
        (row.since_epoch, row.acked) = (epoch, row.acked.max(logged));
        state.dirty = true;
        Ok(())
    }

    /// A device that has entered again is given what it has not acknowledged.
    pub(super) fn give_what_it_lacks(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        id: GroupId,
        device: DeviceId,
    ) -> Result<(), EngineError> {
        let Some(entry) = self.groups.get_mut(&id) else { return Ok(()) };
        entry.note_owed(&device, false);
        let Some(chat) = entry.chat().filter(|_| !entry.row.dead && entry.has_member(&device)) else { return Ok(()) };
        let acked = self.chats.get(&chat).and_then(|state| state.roster.device(&device)).map_or(0, |row| row.acked);
        self.chats.lose_items(turn, chat, id, LOST_EPOCH + 1..=u64::MAX, acked)?;
        self.renew_outbox(turn, cx, chat)
    }

    /// The program ends: doors that wait for the end of other changes are written now, as nobody else writes them.
    pub(crate) fn hasten_doors(&mut self) {
        let waits = |group: &&GroupEntry| group.door_waits_until.is_some() && group.has_door_to_write();
        let ids: Vec<GroupId> = self.groups.values().filter(waits).map(|group| group.id).collect();
        for id in ids {
            if let Some(entry) = self.groups.get_mut(&id) {
                entry.door_waits_until = None;
            }
        }
    }

    /// Whether doors that take their time are on their way to their homes.
    pub(crate) fn writes_large_doors(&self) -> bool {
        self.groups.values().any(|group| group.writing_door && group.members.len() > DOOR_WAITS_DEVICES)
    }

    /// Writes the way into the current epoch of a group, if this device is to do that.
    pub(super) fn write_door(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        id: GroupId,
    ) -> Result<(), EngineError> {
        let is_due = |entry: &GroupEntry| entry.door_waits_until.is_none_or(|until| until <= turn.now());
        let writes = |entry: &GroupEntry| entry.has_door_to_write() && !entry.writing_door && is_due(entry);
        if !self.groups.get(&id).is_some_and(writes) {
            return Ok(());
        }
        let Some(home) = self.usable(turn, cx, id) else { return Ok(()) };
        let takes = cx.homes.servers.get(&home).and_then(|home| home.hello.as_ref()).is_some_and(|h| h.candidates);
        if !takes {
            return Ok(());
        }
        let may_have_parts = self.may_have_parts(id);
        // One into an epoch that is over would be a megabyte for nobody, and in large groups takes the place of others.
        let is_old = |entry: &GroupEntry| entry.door_is_old && !entry.read.caught_up;
        if may_have_parts && self.groups.get(&id).is_some_and(is_old) {
            return Ok(());
        }
        let Some(group) = self.open(turn, cx.mls, id)? else { return Ok(()) };
        let secret = group.entry.row.door.as_ref().map(|door| door.secret.clone()).unwrap_or_default();
        let way_in = group.way_in()?.map(|door| (door.epoch, Bytes::from(door.to_bytes())));
        let way_in = way_in.filter(|(_, door)| door.len() <= MAX_LARGE);
        let keys = LogKeys::of_secret(&secret);
        let Some(((mut keys, (epoch, door)), parent)) = keys.zip(way_in).zip(group.entry.known_keys()) else {
            // A member would not follow who enters.
            group.entry.write_door(false);
            group.entry.touch();
            return Ok(());
        };
        keys.parent = Some(parent.key);
        (group.entry.writing_door, group.entry.door_refused) = (true, false);
        let (requests, count) = parts::appends(&keys, &secret, &door, may_have_parts);
        let mut requests = requests.into_iter().peekable();
        while let Some(request) = requests.next() {
            let pending = match requests.peek() {
                Some(_) => LogPending::DoorParts(id),
                None => LogPending::Door(id, epoch, count),
            };
            cx.homes.request_log(turn, home, &keys, LogVerb::Append, request, pending);
        }
        Ok(())
    }
}

impl Groups {
    /// The way into an epoch is written, as so many entries up to the one with this number: the one before it is not needed any more.
    pub(super) fn door_written(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        (id, epoch): (GroupId, u64),
        (sequence, count): (u64, u64),
        is_large: bool,
    ) {
        let home = self.home_of(id);
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.writing_door = false;
        if std::mem::take(&mut entry.door_refused) {
            // It lacks parts.
            entry.append.retry_at = entry.append.retry_at.max(turn.now() + RETRY_REFUSED_MS);
            return;
        }
        let is_current = entry.epoch() == epoch;
        let Some(door) = &mut entry.row.door else { return };
        door.due &= !is_current;
        let before = std::mem::replace(&mut door.sequence, sequence);
        let keys = LogKeys::of_secret(&door.secret);
        let trim = parts::trim(&door.secret, before, (sequence, count), is_large);
        entry.touch();
        if let Some(((home, keys), request)) = home.zip(keys).zip(trim) {
            cx.homes.request_log(turn, home, &keys, LogVerb::Trim, request, Pending::Nothing);
        }
    }

    /// A part of a way in was refused, of which more are on their way.
    pub(super) fn door_refused(&mut self, id: GroupId) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.door_refused = true;
        }
    }

    /// It is not written, or only later.
    pub(super) fn door_not_written(&mut self, id: GroupId, refused: Option<&Refused>) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        (entry.writing_door, entry.door_refused) = (false, false);
        match refused {
            Some(refused) if !refused.is_busy() => {
                // New devices are then let in by another group.
                entry.write_door(false);
                entry.touch();
            }
            Some(refused) => entry.append.retry_at = entry.append.retry_at.max(refused.again_at),
            None => {}
        }
    }
}
