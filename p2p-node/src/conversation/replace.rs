//! Groups that are given up, and those that replace them: how all devices of a conversation come to one group again.
//!
//! A group that replaces what was given up says so in its welcome, of *all* groups that its maker has, whichever of them others still write in. So what
//! can be written in is the same for every device that has got the same welcomes, in whatever order: the groups that no welcome replaces. A welcome
//! names only groups that were there before, so it is never everything that is replaced. Of several that are left, made at the same time, all write
//! in the same one ([`Conversations::active_group`]): the one with the lowest id of those that have all devices, as soon as both sides have written;
//! and it is never among those that are dropped where there are too many ([`Conversations::surplus_groups`]). A device that has not got a welcome, or
//! has given up by itself what others write in, learns that from what they write, and replaces that, too.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use starling_keys::DeviceId;

use super::{
    Chats, Conversations,
    context::Context,
    group::GroupId,
    limits::{MAX_GROUPS_PER_CHAT, MAX_REPLACED_GROUPS, MEND_AGAIN_MS, REGROUP_TURN_MS},
};
use crate::{
    api::types::ChatId,
    contacts::Directory,
    conversation::fork::limits::BEHIND_FOR_MS,
    home::Homes,
    turn::{Fact, Turn},
};

/// What was given up and is to be replaced.
#[derive(Default)]
pub struct Replacing {
    /// Given up in this turn.
    given_up: Vec<(ChatId, GroupId)>,
    /// When it is this device's turn to make another group, in steady time: all that have given up the same one would else make one each.
    turns: BTreeMap<ChatId, u64>,
    /// Groups in which members write and which cannot be written in here, by member, and when that becomes too long.
    elsewhere: BTreeMap<ChatId, BTreeMap<DeviceId, (GroupId, u64)>>,
    /// Those for which it was too long: the next group replaces them.
    apart: BTreeMap<ChatId, BTreeSet<GroupId>>,
}

impl Replacing {
    /// When the next turn is.
    pub fn next_due(&self) -> Option<u64> {
        self.turns.values().min().copied()
    }

    /// Nothing is replaced any more.
    pub fn stop(&mut self) {
        self.turns.clear();
    }

    /// The conversations whose turn has come.
    pub fn take_due(&mut self, now: u64) -> Vec<ChatId> {
        self.turns.extract_if(.., |_, at| *at <= now).map(|(chat, _)| chat).collect()
    }

    /// Whether a conversation has to wait for this device's turn.
    pub fn waits(&self, chat: ChatId, now: u64) -> bool {
        self.turns.get(&chat).is_some_and(|at| *at > now)
    }

    /// Whether members write in a group that another has to replace.
    pub fn is_apart(&self, chat: ChatId) -> bool {
        self.apart.contains_key(&chat)
    }
}

/// The place of a device among those that may replace a group, in an order that is another for each group.
pub(super) fn place_among(group: &GroupId, device: &DeviceId, others: impl Iterator<Item = DeviceId>) -> usize {
    let key = |device: &DeviceId| *blake3::hash(&[&group[..], device.as_bytes()].concat()).as_bytes();
    let own = key(device);
    others.filter(|other| key(other) < own).count()
}

impl Conversations {
    /// Gives a group up that nobody can go on in. Others may do the same now, so another is made in turn.
    pub(crate) fn abandon_group(&mut self, turn: &mut Turn<'_>, id: GroupId) {
        if let Some(chat) = self.abandon_alone(turn, id) {
            self.regroup.replacing.given_up.push((chat, id));
        }
    }

    /// Gives a group up that this device cannot go on in, though others do: it makes another at once. Gives the conversation.
    pub(crate) fn abandon_alone(&mut self, turn: &mut Turn<'_>, id: GroupId) -> Option<ChatId> {
        if self.has_policy(id) {
            // Nobody makes another group of one with a policy: this device enters it again.
            turn.fact(Fact::GroupLost(id));
            return None;
        }
        let entry = self.groups.get_mut(&id).filter(|entry| !entry.row.dead)?;
        tracing::warn!("nobody can go on in a group: it is replaced");
        (entry.row.dead, entry.row.unreplaced) = (true, true);
        entry.touch();
        let chat = entry.chat();
        self.regroup.look.at_each(chat);
        turn.fact(Fact::GroupAbandoned);
        chat
    }

    /// Finds out when it is this device's turn to replace what was given up.
    pub(crate) fn take_turns(&mut self, turn: &Turn<'_>, dir: Directory<'_>) {
        for (chat, group) in std::mem::take(&mut self.regroup.replacing.given_up) {
            let Some(state) = self.chats.get(&chat) else { continue };
            let lists = dir.device_lists(state.roster.accounts()).filter_map(|(_, list)| list);
            let devices = lists.flat_map(|list| list.devices.iter().map(|device| device.id));
            // Between two, both make one, and use the same.
            let is_for_two = self.groups.get(&group).is_some_and(|group| group.members.len() <= 2);
            let place = if is_for_two { 0 } else { place_among(&group, &dir.account.device(), devices) };
            let at = turn.now() + REGROUP_TURN_MS * place as u64;
            self.regroup.replacing.turns.entry(chat).or_insert(at);
        }
    }

    /// Whether others may still write into a group that we have given up or have not got, though we have one that we can write in.
    pub(super) fn has_unreplaced(&self, chat: ChatId) -> bool {
        let state = self.chats.get(&chat);
        let given_up = |state| self.groups.groups_of(state).any(|(_, group)| group.row.unreplaced);
        state.is_some_and(given_up) || self.regroup.replacing.is_apart(chat)
    }

    /// The groups that a new one of a conversation replaces, whoever joins it: those that we cannot go on in; all, if that is what it is made for.
    pub(crate) fn replaced_by(&self, dir: Directory<'_>, chat: ChatId) -> Vec<GroupId> {
        let moves = self.regroup.stranded.is_moving(chat);
        let all = moves || self.has_unreplaced(chat) || self.active_group(dir, chat).is_none();
        let groups = self.chats.get(&chat).map(|state| state.row.groups.as_slice()).unwrap_or_default();
        let ids = groups.iter().filter_map(|id| GroupId::try_from(id.as_slice()).ok());
        // The one that this device was to enter, too.
        let door = self.chats.get(&chat).and_then(|state| state.row.door.as_ref());
        let door = door.and_then(|door| GroupId::try_from(door.group.as_slice()).ok());
        let known = ids.filter(|id| all || self.groups.get(id).is_none_or(|group| group.row.dead));
        known.chain(self.regroup.replacing.apart.get(&chat).into_iter().flatten().copied()).chain(door).collect()
    }

    /// A group was made whose welcome says that it replaces these.
    pub(crate) fn note_replaced(&mut self, homes: &Homes, chat: ChatId, replaced: &[GroupId]) {
        self.give_up_replaced(homes, chat, replaced.iter().copied());
        self.regroup.stranded.end_move(chat);
        self.regroup.replacing.apart.remove(&chat);
        self.regroup.replacing.turns.remove(&chat);
    }

    /// A device of a conversation's accounts has made another group, in place of these.
    pub(crate) fn on_replaced(&mut self, homes: &Homes, chat: ChatId, replaced: &[Bytes]) {
        let ids = replaced.iter().take(MAX_REPLACED_GROUPS).filter_map(|id| GroupId::try_from(&id[..]).ok());
        self.give_up_replaced(homes, chat, ids);
    }

    fn give_up_replaced(&mut self, homes: &Homes, chat: ChatId, replaced: impl Iterator<Item = GroupId>) {
        for id in replaced {
            if let Some(apart) = self.regroup.replacing.apart.get_mut(&chat) {
                apart.remove(&id);
            }
            let answers = self.groups.home_of(id).is_some_and(|home| homes.answers(&home));
            let Some(group) = self.groups.get_mut(&id) else {
                self.chats.remember_replaced(chat, id);
                continue;
            };
            if group.chat() == Some(chat) {
                tracing::debug!(group = id[0], "a group was replaced by another");
                group.row.unreplaced = false;
                group.row.left |= !answers && !group.row.dead;
                group.give_up();
            }
        }
        self.regroup.replacing.apart.retain(|_, groups| !groups.is_empty());
        self.regroup.replacing.elsewhere.remove(&chat);
    }

    /// A connected member writes in a group that we can't write in: its welcome has not come, or we have given the group up. If that goes on for long,
    /// the member has not learned of the one that we write in, though it was made for it, too: both go on in another.
    pub(super) fn note_elsewhere(&mut self, turn: &mut Turn<'_>, cx: &Context<'_>, device: DeviceId, id: GroupId) {
        let known = self.groups.get(&id).and_then(super::GroupEntry::chat);
        let of_contact = || {
            let account = cx.dir.account_of(&device).filter(|account| *account != cx.dir.account.id())?;
            self.chats.direct_with(&account)
        };
        let Some(chat) = known.or_else(of_contact) else { return };
        // One that lacks a device is replaced by itself.
        let active = self.active_group(cx.dir, chat).and_then(|active| self.groups.get(&active));
        if !active.is_some_and(|active| active.has_member(&device)) {
            return;
        }
        let now = turn.now();
        let (group, due) = *self
            .regroup
            .replacing
            .elsewhere
            .entry(chat)
            .or_default()
            .entry(device)
            .or_insert((id, now + BEHIND_FOR_MS));
        if due > now {
            return;
        }
        // Whoever goes on like this has us make another group seldom.
        self.regroup.replacing.elsewhere.entry(chat).or_default().insert(device, (id, now + MEND_AGAIN_MS));
        let apart = self.regroup.replacing.apart.entry(chat).or_default();
        if apart.len() < MAX_GROUPS_PER_CHAT {
            tracing::warn!("a member writes in a group that we have not got: another replaces it");
            apart.insert(group);
            self.regroup.replacing.given_up.push((chat, group));
            self.regroup.look.at(chat);
            turn.fact(Fact::GroupAbandoned);
        }
    }

    /// A member writes in a group that we can write in.
    pub(super) fn note_together(&mut self, chat: ChatId, device: &DeviceId) {
        if let Some(devices) = self.regroup.replacing.elsewhere.get_mut(&chat) {
            devices.remove(device);
        }
    }
}

impl Chats {
    /// Its welcome may come later than that of the group that replaces it.
    fn remember_replaced(&mut self, chat: ChatId, id: GroupId) {
        let Some(state) = self.states.get_mut(&chat) else { return };
        if state.row.replaced.iter().any(|known| known[..] == id) {
            return;
        }
        if state.row.replaced.len() >= MAX_REPLACED_GROUPS {
            state.row.replaced.remove(0);
        }
        state.row.replaced.push(id.to_vec());
        state.dirty = true;
    }

    /// Whether a group was replaced before its welcome was read.
    pub(crate) fn was_replaced(&self, chat: ChatId, id: &GroupId) -> bool {
        self.states.get(&chat).is_some_and(|state| state.row.replaced.iter().any(|known| known[..] == *id))
    }
}
