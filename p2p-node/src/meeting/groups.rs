//! The groups of direct conversations: another one where none fits.

use starling_keys::{AccountId, RendezvousAddr};

use super::Meeting;
use crate::{
    api::types::ChatId,
    contacts::connect::{Connect, ConnectTarget},
    conversation::{GroupEntry, GroupState},
    turn::{EngineError, Turn},
};

impl Meeting<'_> {
    /// Makes a group with every contact that has none, or none whose members fit: after a restore, when a log was lost, when devices have changed.
    pub(crate) fn regroup(&mut self, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        let pending: Vec<AccountId> = self
            .cx
            .contacts
            .connects
            .values()
            .filter_map(|c| if let ConnectTarget::Account(account) = c.whom { Some(account) } else { None })
            .collect();
        let (conversations, cx) = self.cx.conversing();
        conversations.take_turns(turn, cx.dir);
        let mut missing: Vec<(AccountId, Vec<RendezvousAddr>)> = self
            .cx
            .contacts
            .people
            .iter()
            .filter(|(account, person)| person.is_linked() && !pending.contains(account))
            .map(|(account, person)| (*account, person.homes()))
            .filter(|(_, homes)| !homes.is_empty())
            .collect();
        missing.retain(|(account, _)| {
            let chat = self.cx.chat_with(turn, *account);
            let (conversations, cx) = self.cx.conversing();
            conversations.wants_group(turn, cx.dir, chat)
        });
        for (account, homes) in missing {
            self.connect(turn, Connect::to(ConnectTarget::Account(account), homes, turn.now() + 86_400_000))?;
        }
        Ok(())
    }

    pub(crate) fn add_group(
        &mut self,
        turn: &mut Turn<'_>,
        chat: ChatId,
        group: (GroupEntry, GroupState),
    ) -> Result<(), EngineError> {
        let (conversations, mut cx) = self.cx.conversing();
        conversations.add_group(turn, &mut cx, chat, group)
    }
}
