//! What the user says about somebody: declined, renamed, verified, trusted, blocked, removed.

use starling_keys::AccountId;

use super::Meeting;
use crate::{
    account::commands::checked_name,
    api::{
        error::{Invalid, NodeError, NotFound},
        types::{ContactState, DurableEventKind, TransientEvent},
    },
    contacts::Person,
    conversation::group::GroupId,
    store::{REQUESTS, Reading, RequestRow},
    turn::{EngineError, Fact, Turn},
};

impl Meeting<'_> {
    fn change(
        &mut self,
        turn: &mut Turn<'_>,
        account: AccountId,
        change: impl FnOnce(&mut Person),
    ) -> Result<(), NodeError> {
        let person = self.cx.contacts.people.get_mut(&account).ok_or(NotFound::Contact)?;
        change(person);
        person.dirty = true;
        turn.fact(Fact::ReachChanged);
        turn.transient_event(TransientEvent::Net);
        Ok(())
    }

    pub(super) fn decline(
        &mut self,
        turn: &mut Turn<'_>,
        account: AccountId,
    ) -> Result<Result<(), NodeError>, EngineError> {
        turn.delete(REQUESTS, &self.cx.store.name("request", account.as_bytes()))?;
        if !self.cx.contacts.people.contains_key(&account) {
            self.sync().said_of(turn, account)?;
        }
        Ok(Ok(()))
    }

    pub(super) fn rename(
        &mut self,
        turn: &mut Turn<'_>,
        account: AccountId,
        alias: &str,
    ) -> Result<Result<(), NodeError>, EngineError> {
        let result = checked_alias(alias).and_then(|alias| self.change(turn, account, |p| p.row.alias = alias));
        turn.fact(Fact::ContactsChanged);
        if result.is_ok() {
            self.sync().said_of(turn, account)?;
        }
        Ok(result)
    }

    pub(super) fn set_verified(
        &mut self,
        turn: &mut Turn<'_>,
        account: AccountId,
        verified: bool,
    ) -> Result<Result<(), NodeError>, EngineError> {
        let result = self.change(turn, account, |p| {
            p.row.verified = verified;
            p.trust();
        });
        self.trusted(turn, account, result)
    }

    /// Goes on with somebody whose devices were all replaced.
    pub(super) fn trust(
        &mut self,
        turn: &mut Turn<'_>,
        account: AccountId,
    ) -> Result<Result<(), NodeError>, EngineError> {
        let result = self.change(turn, account, |p| {
            p.trust();
            p.row.verified = false;
        });
        self.trusted(turn, account, result)
    }

    /// The user trusts the devices that somebody has: what waited for that goes to them.
    fn trusted(
        &mut self,
        turn: &mut Turn<'_>,
        account: AccountId,
        result: Result<(), NodeError>,
    ) -> Result<Result<(), NodeError>, EngineError> {
        turn.fact(Fact::ContactsChanged);
        if result.is_ok() {
            self.sync().said_of(turn, account)?;
            let chat = self.cx.chat_with(turn, account);
            self.cx.renew_outbox(turn, chat)?;
            self.reconnect(turn, account)?;
        }
        Ok(result)
    }

    pub(super) fn block(
        &mut self,
        turn: &mut Turn<'_>,
        account: AccountId,
    ) -> Result<Result<(), NodeError>, EngineError> {
        let result = self.change(turn, account, |p| p.row.state = ContactState::Blocked.stored());
        if result.is_ok() {
            turn.fact(Fact::ContactUnlinked(account));
            turn.account_event(DurableEventKind::Blocked, account, "")?;
            self.sync().said_of(turn, account)?;
            self.decline_offers_of(turn, account)?;
            return Ok(result);
        }
        let request = self.cx.store.name("request", account.as_bytes());
        let met_as = self.cx.contacts.acquaintance_name(&account).map(str::to_owned);
        if met_as.is_none() && turn.get::<RequestRow>(REQUESTS, &request)?.is_none() {
            return Ok(result);
        }
        // A stranger who asked, or is in a group with us: kept as a blocked contact, so that they cannot ask again.
        let mut person = Person::new(&account, turn.wall());
        let name = met_as.filter(|name| !name.is_empty());
        person.row.name = name.unwrap_or_else(|| account.to_string()[..8].to_owned());
        person.row.state = ContactState::Blocked.stored();
        self.cx.contacts.people.insert(account, person);
        self.cx.contacts.note_chain_change();
        turn.delete(REQUESTS, &request)?;
        self.sync().said_of(turn, account)?;
        Ok(Ok(()))
    }

    /// Nothing that somebody has invited us into waits any more.
    fn decline_offers_of(&mut self, turn: &mut Turn<'_>, account: AccountId) -> Result<(), EngineError> {
        let (conversations, mut cx) = self.cx.conversing();
        conversations.decline_offers_of(turn, &mut cx, &account)
    }

    pub(super) fn unblock(
        &mut self,
        turn: &mut Turn<'_>,
        account: AccountId,
    ) -> Result<Result<(), NodeError>, EngineError> {
        match self.cx.contacts.people.get(&account).map(Person::state) {
            Some(ContactState::Blocked) => {}
            Some(_) => return Ok(Err(Invalid::NotBlocked.into())),
            None => return Ok(Err(NotFound::Contact.into())),
        }
        // A stranger who was blocked is a stranger again. A device that was linked meanwhile is in no conversation with them, but knows where a
        // contact is found.
        let groups = self.groups_with(&account);
        let known = self.cx.contacts.people.get(&account).is_some_and(|person| !person.homes().is_empty());
        let state = if groups.is_empty() && !known { ContactState::Removed } else { ContactState::Active };
        turn.fact(Fact::ContactsChanged);
        let result = self.change(turn, account, |p| p.row.state = state.stored());
        self.read_logs_with(turn, account);
        self.sync().said_of(turn, account)?;
        self.reconnect(turn, account)?;
        Ok(result)
    }

    /// The groups of the conversation with somebody.
    fn groups_with(&self, account: &AccountId) -> Vec<GroupId> {
        let conversations = &self.cx.conversations;
        let chat = conversations.chats.direct_with(account).and_then(|chat| conversations.chats.get(&chat));
        let groups = chat.into_iter().flat_map(|chat| &chat.row.groups);
        groups.filter_map(|group| GroupId::try_from(group.as_slice()).ok()).collect()
    }

    /// Reads the logs of the conversation with a contact, from where they were left.
    pub(crate) fn read_logs_with(&mut self, turn: &mut Turn<'_>, account: AccountId) {
        for group in self.groups_with(&account) {
            self.cx.read_logs(turn, group);
        }
    }

    /// Messages are exchanged with a contact again: makes another group if devices were linked or removed meanwhile, on either side.
    pub(crate) fn reconnect(&mut self, turn: &mut Turn<'_>, account: AccountId) -> Result<(), EngineError> {
        turn.fact(Fact::DevicesChanged(account));
        self.regroup(turn)
    }

    pub(super) fn remove_contact(
        &mut self,
        turn: &mut Turn<'_>,
        account: AccountId,
    ) -> Result<Result<(), NodeError>, EngineError> {
        let result = self.change(turn, account, |p| p.row.state = ContactState::Removed.stored());
        if result.is_ok() {
            turn.fact(Fact::ContactUnlinked(account));
            self.sync().said_of(turn, account)?;
        }
        Ok(result)
    }
}

/// An alias may be empty: then the name shows that they give themselves.
pub(super) fn checked_alias(alias: &str) -> Result<String, NodeError> {
    if alias.is_empty() { Ok(String::new()) } else { checked_name(alias) }
}
