//! Which conversations other accounts take part in, and what is known of the members of one.

use std::collections::BTreeMap;

use rand::RngExt;
use starling_keys::{AccountId, DeviceList, Verified};

use super::{ChatState, Conversations, roster::Roster};
use crate::{
    api::types::{ChatId, ChatKind},
    contacts::Person,
    engine::Engine,
    turn::Turn,
};

/// The conversations of each account but ours.
#[derive(Default)]
pub struct Memberships(BTreeMap<AccountId, Vec<(ChatKind, ChatId)>>);

impl Conversations {
    /// Adds a conversation.
    pub fn insert(&mut self, state: ChatState) {
        for account in state.roster.others() {
            self.memberships.0.entry(account).or_default().push((state.kind(), state.id));
        }
        self.chats.insert(state.id, state);
    }

    /// The conversations that another account takes part in.
    pub fn of<'a>(&'a self, account: &AccountId) -> impl Iterator<Item = ChatId> + use<'a> {
        self.memberships.0.get(account).into_iter().flatten().map(|(_, chat)| *chat)
    }

    /// The direct conversation with another account.
    pub fn direct_with(&self, account: &AccountId) -> Option<ChatId> {
        let of = self.memberships.0.get(account)?;
        of.iter().find(|(kind, _)| *kind == ChatKind::Direct).map(|(_, chat)| *chat)
    }
}

impl Engine {
    /// The direct conversation with an account, made if needed.
    pub(crate) fn chat_with(&mut self, turn: &mut Turn<'_>, account: AccountId) -> ChatId {
        if let Some(chat) = self.conversations.direct_with(&account) {
            return chat;
        }
        let id = ChatId(turn.rng().random());
        self.conversations.insert(ChatState::new(id, ChatKind::Direct, Roster::of(self.account.id(), &[account])));
        id
    }

    /// Every contact has a conversation: makes those that are missing among the contacts of this turn.
    pub(crate) fn make_direct_chats(&mut self, turn: &mut Turn<'_>) {
        for account in self.contacts.people.touched() {
            self.chat_with(turn, account);
        }
    }

    /// What we know of the other members of a conversation; nothing of those who are no contacts.
    pub(crate) fn people_in<'a>(&'a self, state: &'a ChatState) -> impl Iterator<Item = &'a Person> {
        state.roster.others().filter_map(|account| self.contacts.people.get(&account))
    }

    /// Whether somebody in a conversation is one whom we exchange messages with.
    pub(crate) fn is_reachable(&self, chat: ChatId) -> bool {
        let state = self.conversations.chats.get(&chat);
        state.is_some_and(|state| self.people_in(state).any(Person::is_linked))
    }

    /// What a conversation is called here.
    pub(crate) fn chat_name(&self, state: &ChatState) -> String {
        self.people_in(state).map(Person::name).collect::<Vec<_>>().join(", ")
    }

    /// The members' accounts with their device lists, as far as these are known.
    pub(crate) fn device_lists<'a>(
        &'a self,
        roster: &'a Roster,
    ) -> impl Iterator<Item = (AccountId, Option<&'a Verified<DeviceList>>)> {
        let own = self.account.id();
        roster.accounts().map(move |account| {
            let of_contact = || self.contacts.people.get(&account).and_then(|p| p.list.as_ref());
            (account, if account == own { self.account.list() } else { of_contact() })
        })
    }
}
