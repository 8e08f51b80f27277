//! The groups of direct conversations: another one where none fits.

use std::collections::HashMap;

use starling_keys::{AccountId, RendezvousAddr};

use super::{Meeting, limits::ENTERED_AT_ONCE};
use crate::{
    api::types::ChatId,
    contacts::connect::{Connect, ConnectTarget},
    conversation::{GroupEntry, GroupState},
    limits::REACH_TIMEOUT_MS,
    net::HomeId,
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
            let chat = self.cx.chat_with(turn, account);
            let home = homes.iter().map(|home| home.peer).find(|home| self.cx.homes.answers(home));
            match home.filter(|_| self.cx.conversations.chats.may_enter(chat)) {
                Some(home) => self.cx.conversations.enter_in_turn(chat, home),
                None => self.connect_again(turn, account, homes)?,
            }
        }
        self.enter_groups(turn)
    }

    /// Makes a contact's conversation usable again.
    fn connect_again(
        &mut self,
        turn: &mut Turn<'_>,
        account: AccountId,
        homes: Vec<RendezvousAddr>,
    ) -> Result<(), EngineError> {
        let chat = self.cx.chat_with(turn, account);
        let whom = ConnectTarget::Account(account);
        if self.cx.conversations.regroup.stranded.is_moving(chat) {
            let homes = homes.into_iter().filter(|home| !self.cx.homes.is_lost(&home.peer)).collect();
            let connect = Connect::to(whom, homes, turn.now() + REACH_TIMEOUT_MS);
            return self.connect(turn, Connect { moves: true, ..connect });
        }
        self.connect(turn, Connect::to(whom, homes, turn.now() + 86_400_000))
    }

    /// Enters groups that wait for it, in their order, and not many at once at a server: the first can be used while the others follow.
    pub(crate) fn enter_groups(&mut self, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        if self.cx.conversations.entering.waiting().next().is_none() {
            return Ok(());
        }
        let mut asked: HashMap<HomeId, usize> = HashMap::new();
        let to_enter = |connect: &&Connect| match connect.whom {
            ConnectTarget::Account(account) if connect.asked => self
                .cx
                .conversations
                .chats
                .direct_with(&account)
                .is_some_and(|chat| self.cx.conversations.chats.may_enter(chat)),
            _ => false,
        };
        let lookups = self.cx.contacts.connects.values().filter(to_enter).filter_map(|connect| connect.homes.first());
        for home in lookups.map(|home| home.peer).chain(self.cx.conversations.entering.asked()) {
            *asked.entry(home).or_default() += 1;
        }
        let mut next = self.cx.conversations.entering.waiting().collect::<Vec<_>>();
        next.retain(|(_, home)| {
            let asked = asked.entry(*home).or_default();
            *asked += 1;
            *asked <= ENTERED_AT_ONCE
        });
        for (place, _) in next {
            self.cx.conversations.entering.take_turn(&place);
            let chat = place.1;
            if !self.cx.conversations.chats.may_enter(chat) {
                // Others have made another group meanwhile.
                continue;
            }
            let account = self.cx.conversations.chats.direct_account(chat);
            let person = account.and_then(|account| Some((account, self.cx.contacts.people.get(&account)?)));
            if let Some((account, homes)) = person.map(|(account, person)| (account, person.homes())) {
                self.connect_again(turn, account, homes)?;
            }
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
