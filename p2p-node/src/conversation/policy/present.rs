//! Who of a group's members takes part in its conversation: accounts that have devices where this device is.

use std::collections::BTreeSet;

use starling_keys::AccountId;

use super::{Policies, PolicyEntry, moved::group_event};
use crate::{
    api::types::{ChatId, ChatKind, DurableEventKind},
    contacts::Directory,
    conversation::{Conversations, group::GroupId, outbox::LOST_EPOCH},
    roster::GroupMember,
    turn::{EngineError, Fact, Turn},
};

impl Policies {
    /// The groups that an account is in by their policies, also those in which no device of it is where this one is.
    pub(in crate::conversation) fn groups_of(&self, account: &AccountId) -> impl Iterator<Item = ChatId> {
        let has_it =
            move |entry: &PolicyEntry| entry.policy.as_ref().is_some_and(|p| p.role(account.as_bytes()).is_some());
        self.of.iter().filter(move |(_, entry)| has_it(entry)).map(|(chat, _)| *chat)
    }
}

impl Conversations {
    /// The accounts with devices in a group take part in the conversation, and no others. Those that are where this device has `entered` again may lack
    /// all that is written again for them; of others that come nobody waits for what was written before.
    pub(super) fn sync_roster(
        &mut self,
        turn: &mut Turn<'_>,
        dir: Directory<'_>,
        (chat, id): (ChatId, GroupId),
        entered: bool,
    ) -> Result<(), EngineError> {
        let Some(group) = self.groups.get(&id) else { return Ok(()) };
        let own = dir.account.id();
        let now: BTreeSet<AccountId> = group.members.iter().map(|m| m.account).filter(|a| *a != own).collect();
        let Some(state) = self.chats.get_mut(&chat) else { return Ok(()) };
        let policy = self.policies.policy(&chat);
        let since = |account: &AccountId| policy.and_then(|policy| policy.member(account.as_bytes()).map(|m| m.since));
        let before: BTreeSet<AccountId> = state.roster.others().collect();
        let first = !state.row.joined;
        state.dirty |= first;
        state.row.joined = true;
        if now == before {
            state.roster.note_since(since);
            return Ok(());
        }
        let (logged, newest, epoch) = (state.row.logged_upto, state.row.newest, group.epoch());
        for account in before.difference(&now) {
            state.roster.remove(account);
        }
        let is_back = |account: &&AccountId| state.roster.join(**account, newest, since(account));
        let back: BTreeSet<AccountId> = now.difference(&before).filter(is_back).copied().collect();
        state.roster.note_since(since);
        let is_new =
            |m: &&GroupMember| now.contains(&m.account) && !before.contains(&m.account) && !back.contains(&m.account);
        for member in group.members.iter().filter(is_new) {
            let row = state.roster.device_mut(member.account, &member.device);
            if !first && !entered {
                (row.acked, row.since_epoch) = (row.acked.max(logged), epoch);
            }
        }
        for account in before.difference(&now) {
            self.chats.memberships.leave(account, chat);
        }
        for account in now.difference(&before) {
            self.chats.memberships.join(*account, ChatKind::Group, chat);
            if !first {
                group_event(turn, DurableEventKind::GroupJoined, chat, account.as_bytes(), "")?;
            }
        }
        self.give_back(turn, (chat, id), &back)?;
        if !first && now.difference(&before).next().is_some() {
            self.introduce_soon(turn, dir, chat);
            self.tell_ways_soon(turn, dir, chat, false);
        }
        turn.fact(Fact::ReachChanged);
        Ok(())
    }

    /// Members have come to where this device is, which they were not before, though they are the same: what they have not acknowledged is written
    /// again, for an account at most once in a while.
    fn give_back(
        &mut self,
        turn: &Turn<'_>,
        (chat, id): (ChatId, GroupId),
        back: &BTreeSet<AccountId>,
    ) -> Result<(), EngineError> {
        for account in back {
            let Some((entry, state)) = self.groups.get_mut(&id).zip(self.chats.get(&chat)) else { return Ok(()) };
            // Where somebody is who is not to read it, all is written when they are gone.
            if !state.acknowledges() || self.policies.is_held(entry) {
                return Ok(());
            }
            let at = entry.forks.owe(*account, turn.now());
            if at <= turn.now() {
                let acked = state.roster.acked_by(account);
                self.chats.lose_items(turn, chat, id, LOST_EPOCH + 1..=u64::MAX, acked)?;
                continue;
            }
            let theirs = entry.members.iter().filter(|member| member.account == *account);
            for device in theirs.map(|member| member.device).collect::<Vec<_>>() {
                self.apart.owe(id, device, at);
                entry.note_owed(&device, true);
            }
        }
        Ok(())
    }
}
