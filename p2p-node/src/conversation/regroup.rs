//! Conversations whose group does not fit the devices of its members, and which group of several is to be trusted.

use std::collections::{BTreeMap, BTreeSet};

use starling_keys::DeviceId;

use super::limits::{JOIN_WITHIN_MS, MEND_AFTER_MS, MEND_AGAIN_MS, NO_GROUP_AGAIN_MS};
use crate::{
    api::types::ChatId,
    contacts::{Directory, Person},
    conversation::{
        ChatState, Chats, Conversations, GroupEntry, GroupState, Groups,
        context::Context,
        group::{GroupId, GroupMember},
        group_store,
        outbox::{LOST_EPOCH, OutItem},
        replace::Replacing,
        stranded::Stranded,
    },
    roster::Roster,
    turn::{EngineError, Turn},
};

/// Conversations that get another group.
#[derive(Default)]
pub struct Regroup {
    /// Conversations whose devices or groups have changed.
    pub look: Look,
    /// Until when a new device of ours, which enters one group after the other, is waited for in those that lack it; in steady time.
    pub(super) newcomer_until: u64,
    /// When a conversation gets another group, and how often it got one.
    due: BTreeMap<ChatId, (u64, u32)>,
    pub(super) replacing: Replacing,
    pub(crate) stranded: Stranded,
}

/// Conversations whose groups are looked at after the turn's inputs.
#[derive(Default)]
pub struct Look {
    all: bool,
    chats: BTreeSet<ChatId>,
}

impl Look {
    /// Looks at all of them.
    pub fn all(&mut self) {
        self.all = true;
    }

    /// Looks at one.
    pub fn at(&mut self, chat: ChatId) {
        self.chats.insert(chat);
    }

    /// Looks at some.
    pub fn at_each(&mut self, chats: impl IntoIterator<Item = ChatId>) {
        self.chats.extend(chats);
    }
}

impl Regroup {
    /// No conversation gets another group any more.
    pub fn stop(&mut self) {
        self.due.clear();
        self.replacing.stop();
        self.stranded.stop();
    }

    /// A conversation needs another group now, whenever the last was tried.
    pub(super) fn begin_again(&mut self, chat: ChatId) {
        self.due.remove(&chat);
        self.look.at(chat);
    }

    pub fn next_due(&self) -> Option<u64> {
        self.due.values().map(|(due, _)| *due).chain(self.replacing.next_due()).chain(self.stranded.next_due()).min()
    }
}

impl Conversations {
    /// Whoever speaks in an older group long after a newer one was made may not be able to join that one: it is written to only if there is no
    /// other, until they are heard in it.
    pub(crate) fn note_unjoined_groups(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        chat: ChatId,
        spoken: GroupId,
    ) -> Result<(), EngineError> {
        let (wall, groups) = (turn.wall(), self.chats.get(&chat).map(|c| c.row.groups.clone()).unwrap_or_default());
        let Some(at) = groups.iter().position(|g| g[..] == spoken) else { return Ok(()) };
        let mut changed = false;
        for id in groups[at + 1..].iter().filter_map(|g| GroupId::try_from(g.as_slice()).ok()) {
            let Some(entry) = self.groups.get_mut(&id) else { continue };
            let old = entry.row.updated_ms.saturating_add(JOIN_WITHIN_MS) < wall;
            // Where what they said in it may not have been read yet, nothing follows.
            if !entry.row.confirmed && !entry.row.unjoined && entry.read.caught_up && old {
                tracing::warn!("the other side does not seem to have joined a newer group");
                entry.row.unjoined = true;
                entry.touch();
                changed = true;
            }
        }
        if !changed {
            return Ok(());
        }
        self.regroup.look.at(chat);
        self.renew_outbox(turn, cx, chat)
    }

    /// Whether a group has a device that its account has given up: nothing more is sent into it.
    pub(crate) fn has_revoked_member(&self, dir: Directory<'_>, chat: ChatId, group: GroupId) -> bool {
        let state = self.chats.get(&chat);
        let group = self.groups.get(&group);
        state
            .zip(group)
            .is_some_and(|(state, group)| self.chats.roster_diff(&self.policies, dir, &state.roster, group).0)
    }

    /// Whether the group that a conversation uses fits the devices of its members.
    fn fits(&self, dir: Directory<'_>, chat: ChatId) -> bool {
        let group = self.active_group(dir, chat).and_then(|g| self.groups.get(&g));
        let state = self.chats.get(&chat).filter(|_| !self.has_unreplaced(chat));
        let fits =
            |state: &ChatState, group| self.chats.roster_diff(&self.policies, dir, &state.roster, group) == (false, 0);
        state.zip(group).is_some_and(|(state, group)| !group.row.unjoined && fits(state, group))
    }

    /// Looks for conversations whose group lacks a device, or has one too many. Gives those that get another one now, as nobody else has made it.
    pub(crate) fn regroups_due(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
    ) -> Result<Vec<ChatId>, EngineError> {
        if cx.counters.row.superseded || cx.counters.row.outdated {
            // Also what came to be due after it was stopped.
            self.regroup.stop();
            return Ok(Vec::new());
        }
        let look = std::mem::take(&mut self.regroup.look);
        let chats: Vec<ChatId> =
            if look.all { self.chats.keys().copied().collect() } else { look.chats.into_iter().collect() };
        if !chats.is_empty() {
            self.readdress_outboxes(turn, cx, &chats)?;
            self.read_waiting_logs(turn, cx, &chats);
            if cx.dir.account.list().is_some() {
                self.compare_rosters(turn, cx.dir, &chats);
            }
        }
        let due = self.regroup.due.iter().filter(|(_, (at, _))| *at <= turn.now()).map(|(id, _)| *id);
        let mut due: Vec<ChatId> = due.collect();
        if self.regroup.newcomer_until > turn.now() {
            due.retain(|chat| !self.wait_for_newcomer(cx.dir, *chat));
        }
        due.extend(self.regroup.replacing.take_due(turn.now()));
        Ok(due)
    }

    /// Leaves a group as it is for now, if all that it lacks are devices, as a new one of ours still enters groups. Gives whether it does.
    fn wait_for_newcomer(&mut self, dir: Directory<'_>, chat: ChatId) -> bool {
        let group = self.active_group(dir, chat).and_then(|id| self.groups.get(&id));
        let state = self.chats.get(&chat).filter(|_| !self.has_unreplaced(chat));
        let lacks = |(state, group): (&ChatState, &GroupEntry)| {
            !group.row.unjoined && !self.chats.roster_diff(&self.policies, dir, &state.roster, group).0
        };
        let waits = state.zip(group).is_some_and(lacks);
        let until = self.regroup.newcomer_until;
        if let Some((at, _)) = self.regroup.due.get_mut(&chat).filter(|_| waits) {
            *at = until;
        }
        waits
    }

    fn compare_rosters(&mut self, turn: &Turn<'_>, dir: Directory<'_>, chats: &[ChatId]) {
        let later = turn.now() + mend_after_ms(dir);
        for chat in chats.iter().filter_map(|chat| self.chats.get(chat)).filter(|chat| !chat.is_group()) {
            if self.fits(dir, chat.id) {
                self.regroup.due.remove(&chat.id);
                continue;
            }
            let can = |p: &Person| p.is_linked() && !p.row.key_changed && !p.homes().is_empty();
            if dir.people(chat.roster.others()).all(can) {
                // A device of ours that is to hear nothing more is not waited for.
                let is_removed = |m: &GroupMember| {
                    m.account == dir.account.id() && dir.account.list().is_some_and(|l| l.has_removed(&m.device))
                };
                // Also where an older group is written to, as the newer one has such a device: the older one lacks devices.
                let voids = |active| {
                    let since = self.groups.groups_of(chat).skip_while(move |(_, group)| group.id != active);
                    since.into_iter().any(|(_, group)| group.row.exposed || group.members.iter().any(is_removed))
                };
                let due = match self.active_group(dir, chat.id) {
                    Some(active) if voids(active) => turn.now(),
                    Some(_) => later,
                    // One is made at once; if that fails, it is tried again.
                    None => turn.now() + NO_GROUP_AGAIN_MS,
                };
                // One that was tried keeps its time: it would else be tried again and again.
                let (at, tries) = self.regroup.due.entry(chat.id).or_insert((due, 0));
                *at = if *tries == 0 { due.min(*at) } else { *at };
            }
        }
    }

    /// Groups were made for those of these conversations for which that was possible; the others are tried again later.
    pub(crate) fn regrouped(&mut self, turn: &Turn<'_>, dir: Directory<'_>, due: Vec<ChatId>) {
        for chat in due {
            if self.fits(dir, chat) {
                self.regroup.due.remove(&chat);
                continue;
            }
            let writes = self.writes(dir, chat);
            if let Some((at, tries)) = self.regroup.due.get_mut(&chat).filter(|(at, _)| *at <= turn.now()) {
                *at = turn.now() + if writes { MEND_AGAIN_MS } else { no_group_again_ms(*tries) };
            }
        }
    }

    /// A conversation has another group.
    pub(crate) fn add_group(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        chat: ChatId,
        group: (GroupEntry, GroupState),
    ) -> Result<(), EngineError> {
        let entry = &group.0;
        let id = entry.id;
        tracing::debug!(
            group = id[0],
            members = entry.members.len(),
            confirmed = entry.row.confirmed,
            ours = entry.row.ours,
            "a conversation has another group"
        );
        self.groups.insert_group(group);
        let Some(state) = self.chats.get_mut(&chat) else {
            return Ok(());
        };
        if state.row.groups.is_empty() {
            state.row.entered_ms = turn.agreed_ms();
        }
        state.row.groups.push(id.to_vec());
        state.dirty = true;
        for old in self.surplus_groups(cx.dir, chat) {
            group_store::delete(turn, &old)?;
            self.groups.remove_group(cx.mls, &old);
            if let Some(state) = self.chats.get_mut(&chat) {
                state.row.groups.retain(|g| g[..] != old);
            }
        }
        self.regroup.look.at(chat);
        self.renew_outbox(turn, cx, chat)
    }

    /// Devices or groups have changed: what waits goes to the devices that are there now, and no longer to those that are not.
    fn readdress_outboxes(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        chats: &[ChatId],
    ) -> Result<(), EngineError> {
        for chat in chats.iter().copied() {
            if self.chats.get(&chat).is_none_or(|state| state.outbox.is_empty()) {
                continue;
            }
            self.clear_outbox(turn, cx, chat)?;
            self.renew_outbox(turn, cx, chat)?;
        }
        Ok(())
    }

    /// Whether a conversation is to get another group now; if so, it is not asked for again soon.
    pub(crate) fn wants_group(&mut self, turn: &mut Turn<'_>, dir: Directory<'_>, chat: ChatId) -> bool {
        if self.chats.get(&chat).is_some_and(|state| state.row.outdated) || self.is_entering(chat) {
            return false;
        }
        if self.regroup.stranded.begin_move(chat) {
            return true;
        }
        if self.regroup.replacing.waits(chat, turn.now()) {
            return false;
        }
        let has_group = self.active_group(dir, chat).is_some() && !self.has_unreplaced(chat);
        let (now, fits, writes) = (turn.now(), self.fits(dir, chat), self.writes(dir, chat));
        let due = self.regroup.due.get_mut(&chat).filter(|(due, _)| !has_group || (*due <= now && !fits));
        let Some((due, tries)) = due else { return !has_group };
        tracing::debug!(has_group, fits, writes, tries = *tries, "a conversation is to have another group");
        *due = now + if writes { MEND_AGAIN_MS << (*tries).min(5) } else { no_group_again_ms(*tries) };
        *tries += 1;
        true
    }

    /// Whether there is a group that is sent into: one with a device that was given up is not, and what is written waits for another.
    fn writes(&self, dir: Directory<'_>, chat: ChatId) -> bool {
        let active = self.active_group(dir, chat).filter(|_| !self.has_unreplaced(chat));
        active.is_some_and(|group| !self.has_revoked_member(dir, chat, group))
    }
}

impl Chats {
    /// How a group differs from the devices of the conversation's members: whether it has others, or may soon have, and how many of theirs it lacks.
    pub(crate) fn roster_diff(
        &self,
        policies: &super::policy::Policies,
        dir: Directory<'_>,
        roster: &Roster,
        group: &GroupEntry,
    ) -> (bool, usize) {
        if group.chat().is_some_and(|chat| self.is_group_chat(chat)) {
            // Who is in it follows from its policy; devices that their accounts have removed are about to be, there, too.
            return (policies.has_removed_device(dir, group), 0);
        }
        let lists: Vec<_> = dir.device_lists(roster.accounts()).collect();
        let listed = |member: &GroupMember| {
            let of = lists.iter().find(|(account, _)| *account == member.account);
            of.is_some_and(|(_, list)| list.is_none_or(|l| l.device(&member.device).is_some()))
        };
        let all = lists.iter().filter_map(|(_, list)| *list).flat_map(|l| &l.devices);
        let has_others = group.row.exposed || !group.members.iter().all(listed);
        (has_others, all.filter(|d| !group.has_member(&d.id)).count())
    }
}

impl Groups {
    /// Whether every other device of all members has our events up to a sequence number, in whatever group they went out. Of an account whose
    /// list of devices is not known those in the group count.
    pub(super) fn everybody_has(&self, dir: Directory<'_>, chat: &ChatState, item: &OutItem) -> bool {
        let (group, upto) = (item.group, item.last);
        let (me, this) = (dir.account.id(), dir.account.device());
        let group = self.entries.get(&group);
        if chat.is_group() {
            let has = |m: &GroupMember| {
                let row = chat.roster.device(&m.device);
                m.device == this
                    || row.is_some_and(|row| {
                        row.acked >= upto || item.epoch != LOST_EPOCH && row.since_epoch > item.epoch
                    })
            };
            return item.last <= chat.row.logged_upto && group.is_some_and(|group| group.members.iter().all(has));
        }
        let has = |device: DeviceId| device == this || chat.roster.device(&device).is_some_and(|r| r.acked >= upto);
        dir.device_lists(chat.roster.accounts()).all(|(account, list)| match (list, group) {
            (Some(list), _) => list.devices.iter().all(|d| has(d.id)),
            (None, Some(group)) => group.members.iter().filter(|m| m.account == account).all(|m| has(m.device)),
            // Nothing is known of them: nobody can have said that they have it.
            (None, None) => account == me,
        })
    }
}

/// After how many milliseconds a group that does not fit is replaced by this device: one of all should be the first.
pub(super) fn mend_after_ms(dir: Directory<'_>) -> u64 {
    MEND_AFTER_MS + u64::from(dir.account.device().tag()[0]) * 100
}

/// After how many milliseconds a group is made again for a conversation that has none, after so many tries: messages may wait for it.
fn no_group_again_ms(tries: u32) -> u64 {
    (NO_GROUP_AGAIN_MS << tries.min(16)).min(24 * MEND_AGAIN_MS)
}
