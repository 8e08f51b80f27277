//! Which of its groups a conversation is written in.

use starling_wire::Role;

use super::limits::MAX_GROUPS_PER_CHAT;
use crate::{
    api::{
        error::{NodeError, NotFound, Unreachable},
        problem::ChatProblem,
        types::ChatId,
    },
    contacts::Directory,
    conversation::{
        ChatState, Chats, Conversations, GroupEntry, Groups, context::Context, group::GroupId, policy::Policies,
    },
    roster::Roster,
    turn::{EngineError, Turn},
};

impl Conversations {
    /// Whether what is written to a chat can be encrypted now: a call cannot wait for a group.
    pub(crate) fn check_has_group(&self, dir: Directory<'_>, chat: ChatId) -> Result<(), NodeError> {
        if self.active_group(dir, chat).is_some() {
            return Ok(());
        }
        let state = self.chats.get(&chat).ok_or(NotFound::Chat)?;
        let name = self.name_of(dir, state);
        match state.problem {
            Some(ChatProblem::Damaged) => Err(Unreachable::DamagedConversation { name }.into()),
            _ => Err(Unreachable::Conversation { name }.into()),
        }
    }

    /// The group that we write to: one that fits the devices of all members, rather lacking some of them than with somebody else's in it; of
    /// those that lack the fewest the confirmed one with the lowest id, so that all choose the same, else the newest.
    pub(crate) fn active_group(&self, dir: Directory<'_>, chat: ChatId) -> Option<GroupId> {
        let state = self.chats.get(&chat)?;
        let usable = self.groups.groups_of(state).filter(|(_, group)| !group.row.dead);
        usable
            .min_by_key(|(at, group)| self.chats.rank(&self.policies, dir, &state.roster, (*at, group)))
            .map(|(_, group)| group.id)
    }

    /// The group that we write to, with its encryption state loaded: those that are damaged are given up.
    pub(crate) fn readable_group(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        chat: ChatId,
    ) -> Result<Option<GroupId>, EngineError> {
        while let Some(group) = self.active_group(cx.dir, chat) {
            if self.open(turn, cx.mls, group)?.is_some() {
                return Ok(Some(group));
            }
        }
        Ok(None)
    }

    /// Whether the user may do something in a chat now that takes a role in a group, or one above it, and whether that can be encrypted.
    pub(super) fn ready_to(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        chat: ChatId,
        lowest: Role,
    ) -> Result<Result<(), NodeError>, EngineError> {
        // Looked at once for all that is written in a turn.
        if self.chats.get(&chat).is_some_and(|state| state.pending.is_empty()) {
            self.readable_group(turn, cx, chat)?;
        }
        Ok(self.check_may(cx.dir, chat, lowest))
    }

    /// Groups beyond what is kept for one conversation: never the newest, which others may be about to join, nor the one that is written to; and of the
    /// rest those that lack the most devices and have the highest ids, which nobody prefers who has the others.
    pub(crate) fn surplus_groups(&self, dir: Directory<'_>, chat: ChatId) -> Vec<GroupId> {
        let Some(state) = self.chats.get(&chat) else { return Vec::new() };
        let mut older: Vec<_> = self.groups.groups_of(state).collect();
        older.pop();
        let active = self.active_group(dir, chat);
        older.sort_by_cached_key(|(_, group)| {
            (
                group.row.dead,
                Some(group.id) != active,
                self.chats.roster_diff(&self.policies, dir, &state.roster, group),
                group.id,
            )
        });
        older.into_iter().skip(MAX_GROUPS_PER_CHAT - 1).map(|(_, group)| group.id).collect()
    }
}

impl Groups {
    /// The groups of a conversation that are there, oldest first.
    pub(crate) fn groups_of<'a>(&'a self, state: &'a ChatState) -> impl Iterator<Item = (usize, &'a GroupEntry)> {
        let ids = state.row.groups.iter().filter_map(|g| GroupId::try_from(g.as_slice()).ok());
        ids.filter_map(|g| self.entries.get(&g)).enumerate()
    }
}

impl Chats {
    /// The order of preference among a conversation's groups; the least is written to.
    fn rank(
        &self,
        policies: &Policies,
        dir: Directory<'_>,
        roster: &Roster,
        (at, group): (usize, &GroupEntry),
    ) -> impl Ord {
        let age = if group.row.confirmed { 0 } else { usize::MAX - at };
        let (strangers, lacks) = self.roster_diff(policies, dir, roster, group);
        (strangers, group.row.unjoined, lacks, !group.row.confirmed, age, group.id)
    }
}
