//! Conversations whose log is at a server that is lost: they move to another home.
//!
//! What waits for that log, or is stored there and nobody is known to have read, would come when the server is back, if ever. So a device that has
//! written such a thing makes another group, whose log is at a home that answers and which replaces the one before: what is not acknowledged goes into
//! it, under the same event ids, so nobody sees it twice. Both sides may do so at the same moment; then all write in the same one of the two
//! (`replace`). Nothing is given up before the other group is there: it is made only if both accounts have a home that answers.

use std::collections::{BTreeMap, BTreeSet};

use starling_keys::DeviceId;

use super::{
    ChatState, Chats, Conversations, GroupEntry, Groups,
    context::Context,
    group::GroupId,
    limits::{MAX_MOVE_AGAIN_MS, MOVE_AGAIN_MS, REGROUP_TURN_MS},
    replace::place_among,
};
use crate::{
    api::types::ChatId,
    contacts::{Directory, Person},
    home::Homes,
    net::HomeId,
    turn::{Schedule, Turn},
};

/// Conversations with something for a log at a lost server.
#[derive(Default)]
pub struct Stranded {
    waiting: BTreeSet<ChatId>,
    /// When each of them moves, in steady time; none while nobody could make a group.
    due: Schedule<ChatId>,
    /// Those that another group is made for, and whether that was begun.
    moving: BTreeMap<ChatId, bool>,
    moved: BTreeMap<ChatId, Moved>,
}

/// How often a conversation has moved lately.
#[derive(Clone, Copy, Default)]
struct Moved {
    times: u32,
    /// It does not move before this time …
    not_before: u64,
    /// … and at this one the moves before are forgotten.
    forgotten: u64,
}

impl Moved {
    /// A server that comes and goes does not make a group each time.
    fn again(self, now: u64) -> Self {
        let times = if self.forgotten <= now { 0 } else { self.times };
        let wait = (MOVE_AGAIN_MS << times.min(16)).min(MAX_MOVE_AGAIN_MS);
        Self { times: times + 1, not_before: now + wait, forgotten: now + wait + MAX_MOVE_AGAIN_MS }
    }
}

impl Stranded {
    /// When the next conversation moves.
    pub fn next_due(&self) -> Option<u64> {
        self.due.next()
    }

    /// Whether a conversation moves to another home: the group that is made for it replaces those that it has.
    pub fn is_moving(&self, chat: ChatId) -> bool {
        self.moving.contains_key(&chat)
    }

    /// Whether a group is to be made for it now; once for each time that it moves.
    pub(super) fn begin_move(&mut self, chat: ChatId) -> bool {
        self.moving.get_mut(&chat).is_some_and(|begun| !std::mem::replace(begun, true))
    }

    /// It has another group, or needs none.
    pub(super) fn end_move(&mut self, chat: ChatId) {
        self.moving.remove(&chat);
    }

    fn forget(&mut self, chat: ChatId) {
        if self.waiting.remove(&chat) {
            self.due.set(chat, None);
            self.moving.remove(&chat);
        }
    }

    /// No conversation moves any more.
    pub(super) fn stop(&mut self) {
        *self = Self::default();
    }
}

impl Conversations {
    /// A server is lost: the conversations with logs there are looked at.
    pub(crate) fn strand(&mut self, home: HomeId) {
        let chats: Vec<ChatId> = self
            .groups
            .groups_at(home)
            .iter()
            .filter_map(|id| self.groups.get(id).and_then(GroupEntry::chat))
            .collect();
        chats.into_iter().for_each(|chat| self.chats.touch(chat));
    }

    /// Another server answers, or does again: what waits for a lost one may move now, or needs to no more.
    pub(crate) fn look_at_stranded(&mut self) {
        let waiting: Vec<ChatId> = self.regroup.stranded.waiting.iter().copied().collect();
        waiting.into_iter().for_each(|chat| self.chats.touch(chat));
    }

    /// Finds out whether a conversation has something for a log at a lost server, and when it moves.
    pub(super) fn look_for_stranded(&mut self, turn: &Turn<'_>, cx: &Context<'_>, chat: ChatId) {
        let Some((group, lost)) = self.stranded_in(cx, chat) else {
            self.regroup.stranded.forget(chat);
            return;
        };
        let due = self.chats.can_move(cx, chat, lost).then(|| turn.now() + self.groups.turn_to_move(cx, group));
        let stranded = &mut self.regroup.stranded;
        stranded.waiting.insert(chat);
        let not_before = stranded.moved.get(&chat).map_or(0, |moved| moved.not_before);
        match due {
            Some(due) if !stranded.due.contains(&chat) => stranded.due.set(chat, Some(due.max(not_before))),
            Some(_) => {}
            None => stranded.due.set(chat, None),
        }
    }

    /// The conversations that move now.
    pub(crate) fn take_stranded(&mut self, turn: &Turn<'_>, cx: &Context<'_>) -> bool {
        let mut any = false;
        for chat in self.regroup.stranded.due.take_due(turn.now()) {
            if !self.stranded_in(cx, chat).is_some_and(|(_, lost)| self.chats.can_move(cx, chat, lost)) {
                continue;
            }
            tracing::debug!("the home of a conversation's log is lost: it moves to another");
            let stranded = &mut self.regroup.stranded;
            let moved = stranded.moved.get(&chat).copied().unwrap_or_default().again(turn.now());
            stranded.moved.insert(chat, moved);
            stranded.moving.insert(chat, false);
            // Should it come to nothing.
            stranded.due.set(chat, Some(moved.not_before));
            any = true;
        }
        any
    }

    /// If a conversation has something for a log at a lost server and a device that is not connected: its group, and the server.
    fn stranded_in(&self, cx: &Context<'_>, chat: ChatId) -> Option<(GroupId, HomeId)> {
        if cx.homes.lost().is_empty() || cx.counters.row.superseded || cx.counters.row.outdated {
            return None;
        }
        // A group stays where it is: its members need not have each other's homes.
        let state = self.chats.get(&chat).filter(|state| !state.row.outdated && !state.is_group())?;
        let upto = state.outbox.back()?.last;
        let group = self.active_group(cx.dir, chat)?;
        let home = self.groups.home_of(group).filter(|home| cx.homes.is_lost(home))?;
        let waits = upto > state.row.logged_upto || cx.homes.is_lost_for_long(&home);
        let trusted = |person: &Person| person.is_linked() && !person.row.key_changed;
        let can = waits && cx.dir.people(state.roster.others()).all(trusted);
        (can && lacks_somebody(cx, state, upto)).then_some((group, home))
    }
}

impl Chats {
    /// A device is not connected any more while a server is lost: what it has not acknowledged may have no other way to it.
    pub(crate) fn strand_with(&mut self, dir: Directory<'_>, homes: &Homes, device: &DeviceId) {
        if homes.lost().is_empty() {
            return;
        }
        for chat in self.chats_of(dir, device) {
            if self.states.get(&chat).is_some_and(|state| !state.outbox.is_empty()) {
                self.states.touch(chat);
            }
        }
    }

    /// Whether another group could be made: it needs a home of ours, and one of each other member's.
    fn can_move(&self, cx: &Context<'_>, chat: ChatId, lost: HomeId) -> bool {
        let Some(state) = self.states.get(&chat) else { return false };
        let answers = |home: &HomeId| *home != lost && cx.homes.answers(home);
        let own = cx.dir.account.identity.homes.iter().any(|h| answers(&h.peer) && cx.homes.is_registered(&h.peer));
        let theirs = |person: &Person| person.homes().iter().any(|home| answers(&home.peer));
        own && state.roster.others().next().is_some() && cx.dir.people(state.roster.others()).all(theirs)
    }
}

impl Groups {
    /// How long this device waits for others that may move the conversation, too: of those that are connected with it one is the first.
    fn turn_to_move(&self, cx: &Context<'_>, group: GroupId) -> u64 {
        let Some(entry) = self.entries.get(&group).filter(|entry| entry.members.len() > 2) else { return 0 };
        let others = entry.members.iter().map(|member| member.device).filter(|device| is_there(cx, device));
        REGROUP_TURN_MS * place_among(&group, &cx.dir.account.device(), others) as u64
    }
}

fn is_there(cx: &Context<'_>, device: &DeviceId) -> bool {
    cx.links.is_connected(device) && !cx.links.is_silent(device)
}

/// Whether a device of a conversation's accounts lacks something of ours up to a number, and is not connected.
fn lacks_somebody(cx: &Context<'_>, state: &ChatState, upto: u64) -> bool {
    let this = cx.dir.account.device();
    let lacks = |device: &DeviceId| {
        let has = state.roster.device(device).is_some_and(|row| row.acked >= upto);
        *device != this && !has && !is_there(cx, device)
    };
    let lists = cx.dir.device_lists(state.roster.accounts()).filter_map(|(_, list)| list);
    lists.flat_map(|list| &list.devices).any(|device| lacks(&device.id))
}
