//! What stands in the log of a group's epoch behind the commit that has won there. It counts for nobody: members leave that log some time after they
//! have read the commit, and who reads it later would have what the others lack. Whoever has written it writes it again in a later epoch, under the
//! same event ids, and the copies that members have passed on are shown until then.

use crate::{
    conversation::{
        Conversations,
        context::Context,
        group::{GroupEntry, GroupId},
        outbox::{OutItem, outbox_key},
    },
    store::{OUTBOX, OutboxRow, Reading},
    turn::{EngineError, Turn},
};

impl Conversations {
    /// Whether what is read in the log of an epoch stands behind its winner, in a group that has everything in its logs.
    pub(super) fn is_behind_winner(&self, id: GroupId, epoch: u64) -> bool {
        let entry = self.groups.get(&id).filter(|entry| entry.is_decided(epoch));
        entry.and_then(GroupEntry::chat).is_some_and(|chat| self.chats.is_group_chat(chat))
    }

    /// A message stands behind the winner: it is not taken. If it is one of ours, a server has taken it and kept from us that the winner was there:
    /// it is written again, with what was written after it.
    pub(super) fn pass_over(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        (id, epoch): (GroupId, u64),
        message: &[u8],
    ) -> Result<(), EngineError> {
        let Some(chat) = self.groups.get(&id).and_then(GroupEntry::chat) else { return Ok(()) };
        let Some(state) = self.chats.get(&chat) else { return Ok(()) };
        let may_be = |item: &&OutItem| item.group == id && item.epoch == epoch && item.len == message.len();
        let firsts: Vec<u64> = state.outbox.iter().filter(may_be).map(|item| item.first).collect();
        for first in firsts {
            let row = turn.get::<OutboxRow>(OUTBOX, &outbox_key(chat, first))?;
            if row.is_some_and(|row| row.message[..] == *message) {
                self.chats.lose_items(turn, chat, id, epoch..=epoch, first.saturating_sub(1))?;
                return self.renew_outbox(turn, cx, chat);
            }
        }
        Ok(())
    }
}
