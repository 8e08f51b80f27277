//! Beacons through inboxes: members who are not connected compare what they have followed through homes that do not have the group's log. A fork that
//! the log's home makes is found as soon as one of these is honest. Members who write in the same epoch need none of it.

use std::collections::BTreeMap;

use bytes::Bytes;
use starling_keys::{AccountId, DeviceEntry, DeviceId, RendezvousAddr};
use starling_wire::{Beacon, SealedBeacon, inbox::InboxBody, limits::MAX_ITEM_BEACONS};

use super::{
    beacons::{Teller, send},
    limits::{BEACON_ITEM_AFTER_MS, BEACON_ITEM_EVERY_MS, BEACON_WORK_MS, MAX_BEACON_ANSWERS},
};
use crate::{
    api::types::ChatId,
    contacts::Directory,
    conversation::{
        Chats, Conversations, Groups,
        context::Context,
        group::{GroupEntry, GroupId, GroupMember},
    },
    home::{Recipient, Sealing},
    net::HomeId,
    store::{BehindRow, DeviceRow},
    turn::{EngineError, Turn},
};

/// Bytes of commits in one item; sealed and signed it has to fit into an inbox.
const ITEM_BYTES: usize = 96 * 1024;

/// What an item is about: one that waits is replaced by a later one of the same kind.
#[derive(Clone, Copy)]
enum Kind {
    Followed,
    Answer,
}

impl Kind {
    /// The place of an item in what waits for a device at a home.
    fn place(self, home: &HomeId) -> [u8; 16] {
        let kind = match self {
            Self::Followed => "beacons",
            Self::Answer => "answers to beacons",
        };
        let mut place = [0; 16];
        place.copy_from_slice(&blake3::hash(&[kind.as_bytes(), &home[..]].concat()).as_bytes()[..16]);
        place
    }
}

/// Answers to beacons that members have left in our inbox.
#[derive(Default)]
pub struct InboxAnswers {
    /// What they are answered in this turn.
    waiting: BTreeMap<DeviceId, Vec<SealedBeacon>>,
    /// How many were left for each device, since a steady time.
    left: BTreeMap<DeviceId, u32>,
    since_ms: u64,
}

impl InboxAnswers {
    /// Answers a device with one more beacon.
    pub(super) fn push(&mut self, device: DeviceId, sealed: SealedBeacon) {
        self.waiting.entry(device).or_default().push(sealed);
    }

    /// Whether a device may be answered through its inbox once more.
    fn may_answer(&mut self, device: DeviceId, now: u64) -> bool {
        if self.since_ms.saturating_add(BEACON_WORK_MS) <= now {
            self.left.clear();
            self.since_ms = now;
        }
        let count = self.left.entry(device).or_default();
        *count = count.saturating_add(1);
        *count <= MAX_BEACON_ANSWERS
    }
}

impl GroupEntry {
    /// When beacons are to be left in inboxes, or a member is to be asked for a commit, by the clock.
    pub fn items_due_ms(&self) -> Option<u64> {
        let newest = self.row.parents.last().map(|mark| mark.leave_at_ms).filter(|at| *at > 0);
        let behind = self.row.behind.as_ref().map(|behind| behind.ask_at_ms);
        newest.into_iter().chain(behind).min().filter(|_| !self.row.dead)
    }

    /// A member has left word that it has followed a commit from the epoch in which we still are. The log may have it, too.
    pub(super) fn note_behind(&mut self, turn: &Turn<'_>, epoch: u64, device: DeviceId) {
        if self.row.behind.as_ref().is_none_or(|behind| behind.epoch != epoch) {
            let (device, ask_at_ms) = (device.as_bytes().to_vec(), turn.wall() + BEACON_ITEM_AFTER_MS);
            self.row.behind = Some(BehindRow { epoch, device, ask_at_ms });
            self.touch();
        }
    }

    /// The member to be asked for a commit, if that is due and still needed.
    fn take_behind(&mut self, wall_ms: u64) -> Option<DeviceId> {
        let behind = self.row.behind.take_if(|behind| behind.ask_at_ms <= wall_ms)?;
        self.touch();
        DeviceId::from_bytes(&behind.device).ok().filter(|_| behind.epoch == self.epoch())
    }
}

/// When beacons may be left for a device again, by the clock.
fn free_ms(row: Option<&DeviceRow>) -> u64 {
    let Some(row) = row.filter(|row| row.beacons_left_ms > 0) else { return 0 };
    row.beacons_left_ms.saturating_add(BEACON_ITEM_EVERY_MS << (3 * row.beacons_left.saturating_sub(1).min(8)))
}

/// The homes of an account, without one.
fn homes_without(dir: Directory<'_>, account: &AccountId, home: Option<HomeId>) -> Vec<RendezvousAddr> {
    let own = *account == dir.account.id();
    let all = if own {
        dir.account.identity.homes.clone()
    } else {
        dir.list_of(account).map(|l| l.homes.clone()).unwrap_or_default()
    };
    all.into_iter().filter(|address| Some(address.peer) != home).collect()
}

impl Conversations {
    /// A member has written in an epoch.
    pub(in crate::conversation) fn heard_in(&mut self, chat: ChatId, id: GroupId, device: DeviceId, epoch: u64) {
        if let Some(entry) = self.groups.get_mut(&id) {
            entry.forks.note_heard(device, epoch);
        }
        self.chats.answers_again(chat, &device);
    }

    /// Leaves in inboxes what is due.
    pub(in crate::conversation) fn leave_beacons(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        id: GroupId,
    ) -> Result<(), EngineError> {
        let now = turn.wall();
        let Some(entry) = self.groups.get_mut(&id).filter(|g| g.items_due_ms().is_some_and(|due| due <= now)) else {
            return Ok(());
        };
        if let Some(device) = entry.take_behind(now) {
            let epoch = entry.epoch();
            self.tell(turn, Teller::Inbox(device), (id, epoch), &Beacon::Behind);
            self.leave_answers(turn, cx)?;
        }
        let Some(entry) = self.groups.get_mut(&id) else { return Ok(()) };
        let Some(mark) = entry.row.parents.last_mut().filter(|mark| (1..=now).contains(&mark.leave_at_ms)) else {
            return Ok(());
        };
        mark.leave_at_ms = 0;
        entry.touch();
        let Some(chat) = entry.chat() else { return Ok(()) };
        let beacons: Vec<SealedBeacon> =
            entry.beacons().map(|beacon| SealedBeacon { complete: false, ..beacon }).collect();
        let epoch = entry.epoch();
        let is_heard = |device: &DeviceId| entry.forks.heard.get(device).is_some_and(|heard| *heard >= epoch);
        let missed = |m: &&GroupMember| !is_heard(&m.device) && !cx.links.is_connected(&m.device);
        let members: Vec<GroupMember> = entry.members.iter().filter(missed).copied().collect();
        let home = self.groups.home_of(id);
        let mut later: Option<u64> = None;
        for member in members {
            let homes = homes_without(cx.dir, &member.account, home);
            if member.device == cx.dir.account.device() || homes.is_empty() {
                continue;
            }
            let Some(state) = self.chats.get_mut(&chat) else { continue };
            let free = free_ms(state.roster.device(&member.device));
            if free > now {
                later = Some(later.map_or(free, |later| later.min(free)));
                continue;
            }
            let row = state.roster.device_mut(member.account, &member.device);
            (row.beacons_left, row.beacons_left_ms) = (row.beacons_left.saturating_add(1), now);
            state.dirty = true;
            leave(turn, cx, member, Kind::Followed, &homes, &beacons)?;
        }
        let mark = self.groups.get_mut(&id).and_then(|entry| entry.row.parents.last_mut());
        if let Some((mark, later)) = mark.zip(later) {
            mark.leave_at_ms = later;
        }
        Ok(())
    }

    /// A device of somebody that we exchange messages with has left beacons in our inbox. They may be old, or come again: what they do not show of a
    /// group means nothing.
    pub(crate) fn on_left_beacons(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        device: DeviceId,
        beacons: &[SealedBeacon],
    ) -> Result<(), EngineError> {
        let beacons = &beacons[..beacons.len().min(MAX_ITEM_BEACONS)];
        for beacon in beacons {
            let Ok(id) = GroupId::try_from(&*beacon.group) else { continue };
            let Some(entry) = self.groups.get(&id).filter(|entry| entry.has_member(&device)) else { continue };
            if let Some(chat) = entry.chat() {
                self.chats.answers_again(chat, &device);
            }
            self.on_beacon(turn, cx, Teller::Inbox(device), id, beacon)?;
        }
        // A fork that is older than what is kept is healed where the two are connected.
        let complete: Vec<SealedBeacon> =
            beacons.iter().map(|beacon| SealedBeacon { complete: true, ..beacon.clone() }).collect();
        for id in self.split_groups(cx.dir, device, &complete).into_iter().filter_map(|(id, sure)| sure.then_some(id)) {
            if let Some(epoch) = self.groups.get(&id).and_then(|entry| entry.row.parents.last()).map(|mark| mark.epoch)
            {
                self.groups.report_fork(turn, (id, epoch))?;
            }
        }
        self.leave_answers(turn, cx)
    }

    /// A modified program leaves whatever it likes.
    #[cfg(test)]
    pub(crate) fn leave_made(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        device: DeviceId,
        beacons: Vec<SealedBeacon>,
    ) -> Result<(), EngineError> {
        self.inbox_answers = InboxAnswers { waiting: BTreeMap::from([(device, beacons)]), ..InboxAnswers::default() };
        self.leave_answers(turn, cx)
    }

    /// Answers those who have left beacons: on a stream, if there is one by now.
    fn leave_answers(&mut self, turn: &mut Turn<'_>, cx: &mut Context<'_>) -> Result<(), EngineError> {
        for (device, beacons) in std::mem::take(&mut self.inbox_answers.waiting) {
            if cx.links.is_connected(&device) {
                send(turn, device, beacons);
                continue;
            }
            let Some(account) = cx.dir.account_of(&device) else { continue };
            if !self.inbox_answers.may_answer(device, turn.now()) {
                tracing::debug!("beacons are not answered: there were too many");
                continue;
            }
            let log = beacons.first().and_then(|beacon| GroupId::try_from(&*beacon.group).ok());
            let log = log.and_then(|id| self.groups.home_of(id));
            let mut homes = homes_without(cx.dir, &account, log);
            if homes.is_empty() {
                // It may be honest about inboxes.
                homes = homes_without(cx.dir, &account, None);
            }
            leave(turn, cx, GroupMember { account, device }, Kind::Answer, &homes, &beacons)?;
        }
        Ok(())
    }
}

impl Chats {
    /// A device is there: beacons may be left for it as often as before.
    fn answers_again(&mut self, chat: ChatId, device: &DeviceId) {
        let Some(state) = self.states.get_mut(&chat) else { return };
        if state.roster.device(device).is_some_and(|row| row.beacons_left > 0)
            && let Some(row) = state.roster.known_mut(device)
        {
            row.beacons_left = 0;
            state.dirty = true;
        }
    }
}

impl Groups {
    /// A group has come to an epoch: members who are not heard there will find in their inboxes what we have followed, if they have a home that has
    /// nothing to do with the log.
    pub(in crate::conversation) fn plan_items(&mut self, turn: &Turn<'_>, cx: &Context<'_>, id: GroupId) {
        let home = self.home_of(id);
        let me = cx.dir.account.device();
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let reachable = |m: &GroupMember| m.device != me && !homes_without(cx.dir, &m.account, home).is_empty();
        if !entry.members.iter().any(reachable) {
            return;
        }
        if let Some(mark) = entry.row.parents.last_mut() {
            mark.leave_at_ms = turn.wall() + BEACON_ITEM_AFTER_MS;
            entry.touch();
        }
    }
}

/// Leaves beacons in the inboxes of a device.
fn leave(
    turn: &mut Turn<'_>,
    cx: &mut Context<'_>,
    to: GroupMember,
    kind: Kind,
    homes: &[RendezvousAddr],
    beacons: &[SealedBeacon],
) -> Result<(), EngineError> {
    let listed: Option<&DeviceEntry> = cx.dir.list_of(&to.account).and_then(|list| list.device(&to.device));
    let Some(device) = listed.filter(|_| cx.dir.may_talk(&to.device)) else { return Ok(()) };
    let mut bytes = 0;
    let fits = |beacon: &&SealedBeacon| {
        bytes += beacon.sealed.len();
        bytes <= ITEM_BYTES
    };
    let body = InboxBody {
        device: Bytes::copy_from_slice(cx.dir.account.device().as_bytes()),
        beacons: beacons.iter().take(MAX_ITEM_BEACONS).filter(fits).cloned().collect(),
        ..InboxBody::default()
    };
    if body.beacons.is_empty() {
        return Ok(());
    }
    let sealing = Sealing { mls: cx.mls, key: &cx.dir.account.identity.device_key };
    for home in homes {
        let address = home.to_string();
        let recipient = Recipient { account: to.account, device, home: &address };
        cx.homes.leave_item(turn, &sealing, &recipient, kind.place(&home.peer), &body)?;
    }
    Ok(())
}
