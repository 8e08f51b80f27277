//! Devices that have entered a group before we know from their account that they are its own: what they write is read when the account has said so.
//! A device that it never lists holds nothing up for long, and nothing is written into a group that it is in.

use super::limits::UNLISTED_DEVICE_MS;
use crate::{
    api::types::ChatId,
    contacts::Directory,
    conversation::{
        ChatState, Chats, Conversations,
        context::Context,
        group::{GroupEntry, GroupId, GroupMember},
    },
    turn::Turn,
};

impl Conversations {
    /// Whether the logs of a group are not read now, as it has a device that its account has not listed. The wait ends by itself.
    pub(in crate::conversation) fn waits_for_devices(
        &mut self,
        turn: &Turn<'_>,
        dir: Directory<'_>,
        id: GroupId,
    ) -> bool {
        let Some(group) = self.groups.get(&id) else { return false };
        let (is_unlisted, waits_until) = (self.chats.has_unlisted_member(dir, group), group.read.waits_until);
        let until = is_unlisted.then(|| waits_until.unwrap_or(turn.now() + UNLISTED_DEVICE_MS));
        if until != waits_until
            && let Some(group) = self.groups.get_mut(&id)
        {
            group.read.waits_until = until;
        }
        until.is_some_and(|until| until > turn.now())
    }

    /// The wait for a device of a group may be over.
    pub(in crate::conversation) fn end_wait(&mut self, turn: &mut Turn<'_>, cx: &mut Context<'_>, id: GroupId) {
        let is_over = |until: &u64| *until != 0 && *until <= turn.now();
        if let Some(group) = self.groups.get_mut(&id)
            && group.read.waits_until.is_some_and(|until| is_over(&until))
        {
            tracing::warn!("a device in a group is not one that its account lists");
            group.read.waits_until = Some(0);
            let chat = group.chat();
            self.regroup.look.at_each(chat);
            self.read_log_again(turn, cx, id);
        }
    }

    /// Whether a device has entered one of a conversation's groups that its account may be about to list: what is written meanwhile is not for the
    /// others alone, and is kept until that is known.
    pub(in crate::conversation) fn awaits_a_list(&self, dir: Directory<'_>, state: &ChatState) -> bool {
        let waits = |group: &GroupEntry| {
            let is_over = group.row.dead || group.read.waits_until == Some(0);
            !is_over && self.chats.has_unlisted_member(dir, group)
        };
        self.groups.groups_of(state).any(|(_, group)| waits(group))
    }

    /// Reads the logs of groups of these conversations whose devices are all known now.
    pub(in crate::conversation) fn read_waiting_logs(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        chats: &[ChatId],
    ) {
        let is_known =
            |group: &GroupEntry| group.read.waits_until.is_some() && !self.chats.has_unlisted_member(cx.dir, group);
        let groups =
            chats.iter().filter_map(|chat| self.chats.get(chat)).flat_map(|state| self.groups.groups_of(state));
        let ids: Vec<GroupId> = groups.filter(|(_, group)| is_known(group)).map(|(_, group)| group.id).collect();
        for id in ids {
            if let Some(group) = self.groups.get_mut(&id) {
                group.read.waits_until = None;
            }
            self.read_log_again(turn, cx, id);
        }
    }
}

impl Chats {
    /// Whether a group has a device of which its account's chain, as we know it, says nothing (yet).
    fn has_unlisted_member(&self, dir: Directory<'_>, group: &GroupEntry) -> bool {
        if group.chat().is_some_and(|chat| self.is_group_chat(chat)) {
            // It has shown its path, and its account says so in its own time.
            return false;
        }
        let is_unlisted = |member: &GroupMember| {
            let chain = dir.list_of(&member.account).filter(|chain| !chain.is_empty());
            chain.is_some_and(|chain| chain.device(&member.device).is_none() && !chain.has_removed(&member.device))
        };
        group.members.iter().any(is_unlisted)
    }
}
