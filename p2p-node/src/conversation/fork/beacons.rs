//! Beacons: what devices tell each other of the commits that they have followed, and what follows from it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use starling_keys::{AccountId, DeviceId};
use starling_wire::{Beacon, MAX_BEACON_PATH, SealedBeacon, direct::DirectFrame, limits::MAX_FRAME_BEACONS};

use super::{
    BeaconKey,
    heal::Weighed,
    limits::{ASK_AGAIN_MS, BEHIND_FOR_MS},
    parents::commit_hash,
    told::Told,
};
use crate::{
    api::types::{ChatId, DurableEventKind},
    contacts::Directory,
    conversation::{
        Conversations, Groups,
        context::Context,
        group::{GroupEntry, GroupId, GroupMember},
        group_state::Followed,
    },
    net::NetCommand,
    store::EventLogRow,
    turn::{Effect, EngineError, Turn},
};

/// By what we know that a commit was followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Teller {
    /// A member that is connected says that it has followed it.
    Device(DeviceId),
    /// A member has left word in our inbox.
    Inbox(DeviceId),
    /// A member has put it into a log of the group.
    Log,
    /// It is the first valid one in the log of its epoch, and we have followed what we were told before we had read that.
    Winner,
}

impl Teller {
    pub(super) fn device(self) -> Option<DeviceId> {
        match self {
            Self::Device(device) | Self::Inbox(device) => Some(device),
            Self::Log | Self::Winner => None,
        }
    }
}

impl GroupEntry {
    /// A beacon about an epoch, sealed; none if the epoch is not kept.
    pub(crate) fn beacon(&self, epoch: u64, beacon: &Beacon) -> Option<SealedBeacon> {
        let BeaconKey { key, place } = BeaconKey::of(self, epoch)?;
        let sealed = key.seal(&place, &beacon.to_bytes()).into();
        Some(SealedBeacon { group: Bytes::copy_from_slice(&self.id), epoch, sealed, complete: false })
    }

    /// What we have followed, as far as it is kept.
    pub(crate) fn beacons(&self) -> impl Iterator<Item = SealedBeacon> {
        self.row.parents.iter().filter_map(|mark| {
            let hash = mark.hash.as_slice().try_into().ok()?;
            let beacon = self.beacon(mark.epoch, &Beacon::Followed(hash))?;
            Some(SealedBeacon { complete: true, ..beacon })
        })
    }

    /// A commit from an epoch is valid: if it stands in the log of that epoch, no other one is waited for there.
    fn note_winner(&mut self, from: Teller, epoch: u64) {
        if let Some(mark) = self.parent_mut(epoch).filter(|_| from == Teller::Winner) {
            mark.told = false;
            self.touch();
        }
    }

    /// Opens a beacon of a member.
    pub(super) fn open_beacon(&self, beacon: &SealedBeacon) -> Option<Beacon> {
        let BeaconKey { key, place } = BeaconKey::of(self, beacon.epoch)?;
        let plain = key.open(&place, &beacon.sealed).ok()?;
        Beacon::from_bytes(Bytes::copy_from_slice(&plain)).ok()
    }
}

/// Sends beacons to a device that is connected.
pub(super) fn send(turn: &mut Turn<'_>, device: DeviceId, beacons: Vec<SealedBeacon>) {
    if !beacons.is_empty() {
        let frame = DirectFrame { beacons, ..DirectFrame::default() };
        turn.emit(Effect::Net(NetCommand::Direct(device, frame)));
    }
}

impl Conversations {
    /// Tells a device that was connected now what we have followed in the groups that it is in.
    pub(crate) fn beacons_to(&mut self, turn: &mut Turn<'_>, cx: &mut Context<'_>, device: DeviceId) {
        let mut beacons = Vec::new();
        let mut chats: BTreeSet<ChatId> = self.chats.chats_of(cx.dir, &device).into_iter().collect();
        // An account takes no part in a conversation where no device of it is, as after a recovery; but it may be elsewhere.
        if let Some(account) = cx.dir.account_of(&device) {
            chats.extend(self.policies.groups_of(&account));
        }
        for chat in chats {
            let groups = self.chats.get(&chat).map(|state| state.row.groups.as_slice()).unwrap_or_default();
            let ids = groups.iter().filter_map(|id| GroupId::try_from(id.as_slice()).ok());
            let entries = ids.filter_map(|id| self.groups.get(&id));
            let shared = entries.filter(|entry| !entry.row.dead && self.is_of_group(cx.dir, entry, &device));
            for entry in shared {
                // Those of one group go together.
                if beacons.len() + entry.row.parents.len() > MAX_FRAME_BEACONS {
                    send(turn, device, std::mem::take(&mut beacons));
                }
                beacons.extend(entry.beacons());
                // What is apart for long is found, too.
                if entry.row.parents.is_empty() && self.has_policy(entry.id) {
                    let here = entry.beacon(entry.epoch(), &Beacon::Behind);
                    beacons.extend(here.map(|beacon| SealedBeacon { complete: true, ..beacon }));
                }
            }
        }
        send(turn, device, beacons);
        self.tell_left_to(turn, cx, device);
    }

    /// Tells a member one thing about an epoch, the way that it has told us something.
    pub(super) fn tell(&mut self, turn: &mut Turn<'_>, to: Teller, (id, epoch): (GroupId, u64), beacon: &Beacon) {
        let Some(sealed) = self.groups.get(&id).and_then(|entry| entry.beacon(epoch, beacon)) else { return };
        match to {
            Teller::Device(device) => send(turn, device, vec![sealed]),
            Teller::Inbox(device) => self.inbox_answers.push(device, sealed),
            Teller::Log | Teller::Winner => {}
        }
    }

    /// A member writes in an epoch that we have not come to. If neither a log nor a member leads us there for long, they have forgotten the way: we
    /// can go on with them only in another group.
    pub(in crate::conversation) fn fall_behind(
        &mut self,
        turn: &mut Turn<'_>,
        device: DeviceId,
        id: GroupId,
    ) -> Result<(), EngineError> {
        self.groups.suspect_fork(turn, device, id);
        let Some(entry) = self.groups.get_mut(&id).filter(|entry| !entry.row.dead) else { return Ok(()) };
        let since = *entry.forks.behind_since.get_or_insert(turn.now());
        if since.saturating_add(BEHIND_FOR_MS) >= turn.now() {
            return Ok(());
        }
        entry.forks.behind_since = None;
        tracing::warn!("the members of a group are in an epoch that nothing leads to");
        self.abandon_alone(turn, id);
        self.groups.report_split(turn, id)
    }

    /// A device says on its stream what it has followed.
    pub(crate) fn on_direct_beacons(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        device: DeviceId,
        beacons: &[SealedBeacon],
    ) -> Result<(), EngineError> {
        let beacons = &beacons[..beacons.len().min(MAX_FRAME_BEACONS)];
        self.answer_about_gone(turn, cx, device, beacons);
        for (id, surely) in self.split_groups(cx.dir, device, beacons) {
            if self.has_policy(id) {
                self.on_apart(turn, cx, (id, device), surely)?;
            } else if surely {
                tracing::warn!("a group was split in an epoch that is not kept");
                self.abandon_group(turn, id);
                self.groups.report_split(turn, id)?;
            }
        }
        for beacon in beacons {
            let Ok(id) = GroupId::try_from(&*beacon.group) else { continue };
            if self.groups.get(&id).is_some_and(|entry| self.may_tell(cx.dir, entry, &device)) {
                self.on_beacon(turn, cx, Teller::Device(device), id, beacon)?;
            }
        }
        Ok(())
    }

    /// Whether a device's beacons about a group are listened to: it is a member, or one of a member's account that may have entered without our
    /// having followed it.
    fn may_tell(&self, dir: Directory<'_>, entry: &GroupEntry, device: &DeviceId) -> bool {
        let is_listed = |account: &AccountId| dir.list_of(account).is_some_and(|list| list.device(device).is_some());
        self.is_of_group(dir, entry, device) || entry.members.iter().any(|member| is_listed(&member.account))
    }

    /// The groups that a member shares no epoch with, by all its beacons of them, and whether that is sure: it speaks of epochs that are known here, and
    /// of none of them as a member; so no fork of theirs can be healed by commits. It may also be far ahead, or behind.
    pub(super) fn split_groups(
        &self,
        dir: Directory<'_>,
        device: DeviceId,
        beacons: &[SealedBeacon],
    ) -> BTreeMap<GroupId, bool> {
        let (mut shared, mut apart) = (BTreeSet::new(), BTreeMap::new());
        for beacon in beacons.iter().filter(|beacon| beacon.complete) {
            let entry = GroupId::try_from(&*beacon.group).ok().and_then(|id| self.groups.get(&id));
            let Some(entry) = entry.filter(|entry| self.may_tell(dir, entry, &device)) else { continue };
            if entry.open_beacon(beacon).is_some() {
                shared.insert(entry.id);
            } else {
                *apart.entry(entry.id).or_default() |= BeaconKey::of(entry, beacon.epoch).is_some();
            }
        }
        apart.retain(|id, _| !shared.contains(id));
        apart
    }

    /// A beacon of a group. It counts if it opens under a key of its epoch: so whoever has made it was a member then.
    pub(in crate::conversation) fn on_beacon(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        from: Teller,
        id: GroupId,
        beacon: &SealedBeacon,
    ) -> Result<(), EngineError> {
        let Some(entry) = self.groups.get_mut(&id).filter(|entry| !entry.row.dead) else { return Ok(()) };
        let Some(told) = entry.open_beacon(beacon) else { return Ok(()) };
        let epoch = beacon.epoch;
        let followed = entry.parent(epoch).map(|mark| mark.hash.clone());
        match (told, from.device(), followed) {
            (Beacon::Followed(hash), device, Some(ours)) if hash[..] == ours => {
                let Some(device) = device else { return Ok(()) };
                entry.forks.note_heard(device, epoch + 1);
                let theirs = |m: &GroupMember| m.device == device && m.account != cx.dir.account.id();
                // It has come where we are.
                let joined = epoch + 1 == entry.epoch() && entry.members.iter().any(theirs);
                if joined { self.confirm_group(turn, cx, id) } else { Ok(()) }
            }
            (Beacon::Followed(_), Some(_), Some(_)) => {
                self.send_followed(turn, from, (id, epoch))?;
                // Whoever has lost may have switched before it has shown its commit.
                self.groups.report_fork(turn, (id, epoch))
            }
            (Beacon::Behind, Some(_), Some(_)) => self.send_followed(turn, from, (id, epoch)),
            (Beacon::Followed(_), Some(_), None) => {
                match from {
                    // The log may have what leads there.
                    Teller::Inbox(device) => entry.note_behind(turn, epoch, device),
                    _ => self.tell(turn, from, (id, epoch), &Beacon::Behind),
                }
                Ok(())
            }
            (Beacon::Commit(commit), ..) => self.on_told_commit(turn, cx, from, (id, epoch), &[commit]),
            (Beacon::Path(path), ..) => self.on_told_commit(turn, cx, from, (id, epoch), &path),
            (Beacon::Followed(_) | Beacon::Behind, ..) => Ok(()),
        }
    }

    /// How many of the commits that were followed others are told: where members can be removed, what has become of a rival's author matters.
    pub(super) fn told_commits(&self, id: GroupId) -> usize {
        if self.has_policy(id) { MAX_BEACON_PATH } else { 1 }
    }

    /// Sends a member the commit that we have followed from an epoch.
    fn send_followed(
        &mut self,
        turn: &mut Turn<'_>,
        to: Teller,
        (id, epoch): (GroupId, u64),
    ) -> Result<(), EngineError> {
        let most = self.told_commits(id);
        let Some(entry) = self.groups.get_mut(&id) else { return Ok(()) };
        if !entry.forks.may_work(to.device(), turn.now()) {
            return Ok(());
        }
        if let Some(followed) = entry.followed_from(turn, epoch, most)? {
            self.tell(turn, to, (id, epoch), &followed);
        }
        Ok(())
    }

    /// A commit was followed from an epoch by somebody else, and others after it.
    pub(in crate::conversation) fn on_told_commit(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        from: Teller,
        (id, epoch): (GroupId, u64),
        path: &[Bytes],
    ) -> Result<(), EngineError> {
        let told = Told { from, group: id, epoch, path: path.to_vec() };
        if self.keeps_told(turn, cx, &told) { Ok(()) } else { self.weigh_told(turn, cx, &told) }
    }

    /// Looks at such a commit now, whether the log of its epoch was read or not.
    pub(super) fn weigh_told(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        told: &Told,
    ) -> Result<(), EngineError> {
        let (from, id, epoch) = (told.from, told.group, told.epoch);
        let Some((commit, then)) = told.path.split_first() else { return Ok(()) };
        let Some(entry) = self.groups.get_mut(&id) else { return Ok(()) };
        let hash = commit_hash(commit);
        if entry.parent(epoch).is_some_and(|mark| mark.hash == hash) {
            entry.note_winner(from, epoch);
            return Ok(());
        }
        if !entry.forks.may_work(from.device(), turn.now()) {
            tracing::debug!("a commit that others have followed is not looked at: there were too many");
            return Ok(());
        }
        if epoch == entry.epoch() {
            return self.follow_told(turn, cx, told, commit);
        }
        let Some(mut group) = self.open(turn, cx.mls, id)? else { return Ok(()) };
        let weighed = group.weigh(turn, cx.mls, epoch, (commit, then))?;
        if !matches!(weighed, Weighed::Void) {
            group.entry.note_winner(from, epoch);
        }
        match (weighed, from.device()) {
            (Weighed::Void, _) => {}
            (Weighed::Loses(_) | Weighed::Outlived(_), Some(_)) => {
                self.send_followed(turn, from, (id, epoch))?;
                self.groups.report_fork(turn, (id, epoch))?;
            }
            (Weighed::Loses(other) | Weighed::Outlived(other), None) => group.entry.announce_in(epoch, &other),
            (Weighed::Wins(winner), _) => {
                let newcomers = winner.newcomers.clone();
                let lost = group.switch(turn, epoch, *winner)?;
                if let Teller::Device(device) = from {
                    group.entry.forks.note_heard(device, epoch + 1);
                }
                self.let_all_in(turn, cx.dir, id, newcomers)?;
                self.on_switched(turn, cx, told, &lost)?;
                self.groups.report_fork(turn, (id, epoch))?;
                self.ask_for_next(turn, from, id);
            }
            // In a group of many a single member's word is not enough to leave what the others have followed, unless it leads.
            (Weighed::Lost, device @ Some(_)) if self.has_policy(id) => self.on_unfollowed(turn, cx, id, device),
            (Weighed::Lost, Some(_)) => self.go_on_elsewhere(turn, cx, id)?,
            (Weighed::Apart, _) => self.on_outrun(turn, cx, id, from)?,
            (Weighed::Lost, None) => {}
            (Weighed::Removed(Some(policy)), Some(_)) if self.has_policy(id) => {
                self.on_removed(turn, cx, id, &policy)?
            }
            // Whether that counts its log says: the group that we are in has members who have not followed it.
            (Weighed::Removed(_), _) => {}
        }
        Ok(())
    }

    /// A member is in the epoch that this commit leads to, and we are in the one before. Should its log say otherwise, we learn it there.
    fn follow_told(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        told: &Told,
        commit: &Bytes,
    ) -> Result<(), EngineError> {
        let (from, id, epoch) = (told.from, told.group, told.epoch);
        let Some(mut group) = self.open(turn, cx.mls, id)? else { return Ok(()) };
        match group.follow(turn, cx.mls, (commit, true))? {
            followed @ (Followed::Yes | Followed::With(..) | Followed::Differently) => {
                tracing::debug!(epoch, "a commit that was not read in its log is followed");
                let differs = matches!(followed, Followed::Differently | Followed::With(_, true));
                if let Teller::Device(device) = from {
                    group.entry.forks.note_heard(device, epoch + 1);
                }
                group.entry.read_on(epoch);
                if let Followed::With(newcomers, _) = followed {
                    self.let_all_in(turn, cx.dir, id, newcomers)?;
                }
                self.on_epoch(turn, cx, id)?;
                self.read_to_end(turn, cx, (id, epoch));
                self.ask_for_next(turn, from, id);
                if differs {
                    self.groups.report_fork(turn, (id, epoch))?;
                }
            }
            Followed::Void => {}
            Followed::Removed(policy) => self.on_removed(turn, cx, id, &policy)?,
            // If it stands in the log, that says so.
            Followed::Lost if self.has_policy(id) => self.on_unfollowed(turn, cx, id, from.device()),
            Followed::Lost => self.go_on_elsewhere(turn, cx, id)?,
        }
        Ok(())
    }

    /// Who has gone on before us may be further ahead.
    fn ask_for_next(&mut self, turn: &mut Turn<'_>, from: Teller, id: GroupId) {
        let epoch = self.groups.get(&id).map(GroupEntry::epoch);
        if let Some(epoch) = epoch {
            self.tell(turn, from, (id, epoch), &Beacon::Behind);
        }
    }
}

impl Conversations {
    /// Tells the members of a group that are connected what we have followed.
    pub(in crate::conversation) fn tell_beacons(&self, turn: &mut Turn<'_>, cx: &Context<'_>, id: GroupId) {
        let Some(entry) = self.groups.get(&id).filter(|entry| !entry.row.dead) else { return };
        let beacons: Vec<SealedBeacon> = entry.beacons().collect();
        for device in self.devices_there(cx, id) {
            send(turn, device, beacons.clone());
        }
    }

    /// The devices of a group that are connected; also those that have entered it by what we were not shown.
    pub(super) fn devices_there(&self, cx: &Context<'_>, id: GroupId) -> Vec<DeviceId> {
        let Some(entry) = self.groups.get(&id) else { return Vec::new() };
        let policy = entry.chat().and_then(|chat| self.policies.policy(&chat));
        let members = policy.iter().flat_map(|policy| &policy.members);
        let accounts = members.filter_map(|member| AccountId::from_bytes(&member.account).ok());
        let listed = accounts.filter_map(|a| cx.dir.list_of(&a)).flat_map(|list| &list.devices).map(|d| d.id);
        let all: BTreeSet<DeviceId> = entry.members.iter().map(|member| member.device).chain(listed).collect();
        all.into_iter().filter(|device| cx.links.is_connected(device)).collect()
    }
}

impl Groups {
    /// A member has sent what cannot be read here: it may be in an epoch that we have not.
    pub(in crate::conversation) fn suspect_fork(&mut self, turn: &mut Turn<'_>, device: DeviceId, id: GroupId) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if entry.row.dead || entry.forks.ask_at > turn.now() {
            return;
        }
        entry.forks.ask_at = turn.now() + ASK_AGAIN_MS;
        let asked = entry.beacon(entry.epoch(), &Beacon::Behind);
        let asked = asked.map(|beacon| SealedBeacon { complete: true, ..beacon });
        let beacons: Vec<SealedBeacon> = entry.beacons().chain(asked).collect();
        send(turn, device, beacons);
    }

    /// Members were shown different things in an epoch, or have followed different commits from it: the user is told once.
    pub(in crate::conversation) fn report_fork(
        &mut self,
        turn: &mut Turn<'_>,
        (id, epoch): (GroupId, u64),
    ) -> Result<(), EngineError> {
        let Some(entry) = self.entries.get_mut(&id) else { return Ok(()) };
        let mark = entry.parent_mut(epoch).filter(|mark| !mark.reported);
        if mark.map(|mark| mark.reported = true).is_none() {
            return Ok(());
        }
        entry.touch();
        self.report_split(turn, id)
    }

    /// Tells the user that a conversation was split.
    fn report_split(&self, turn: &mut Turn<'_>, id: GroupId) -> Result<(), EngineError> {
        let Some(entry) = self.entries.get(&id) else { return Ok(()) };
        turn.durable_event(EventLogRow {
            kind: DurableEventKind::ChatSplit.stored(),
            chat: entry.row.chat.clone(),
            text: entry.row.home.clone(),
            ..EventLogRow::default()
        })
    }
}
