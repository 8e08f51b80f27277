//! Finding a contact by what people call them.

use starling_keys::{AccountId, Invite};

use super::{Contacts, Person};
use crate::{
    api::{
        error::{NodeError, Unfound},
        types::{ChatId, Contact, ContactState},
    },
    engine::Engine,
};

/// Names that are suggested in place of one that nobody has.
const SUGGESTED: usize = 3;
/// So many letters of a name have to be right for that.
const BEGINNING: usize = 2;

impl Engine {
    /// The contact that `who` means: a name, with or without `@`, an account, the id of a conversation, with or without `id:`, an address or an
    /// invite.
    pub(super) fn find_contact(&self, who: &str) -> Result<Contact, NodeError> {
        let contact = |account: AccountId| self.contact(account);
        if let Some(id) = who.strip_prefix("id:") {
            let found = id.parse().ok().and_then(|chat| self.contact_in(chat));
            return found.ok_or_else(|| Unfound::Conversation { id: id.to_owned() }.into());
        }
        if let Ok(invite) = who.parse::<Invite>() {
            return contact(invite.address.account).ok_or_else(|| Unfound::Address.into());
        }
        let id = starling_text::unquoted(who).to_lowercase();
        let by_account = id.parse().ok().and_then(contact);
        if let Some(found) = by_account.or_else(|| id.parse().ok().and_then(|chat| self.contact_in(chat))) {
            return Ok(found);
        }
        let name = who.strip_prefix('@').unwrap_or(who);
        match self.contacts.named(name).as_slice() {
            [] => Err(Unfound::Name { name: name.to_owned(), close: self.contacts.called_like(name) }.into()),
            [one] => contact(*one).ok_or_else(|| Unfound::Name { name: name.to_owned(), close: Vec::new() }.into()),
            several => {
                let chats = several.iter().filter_map(|account| self.conversations.direct_with(account)).collect();
                Err(Unfound::Several { name: name.to_owned(), chats }.into())
            }
        }
    }

    /// The contact with whom a direct conversation is.
    fn contact_in(&self, chat: ChatId) -> Option<Contact> {
        let mut others = self.conversations.chats.get(&chat)?.roster.others();
        let account = others.find(|account| self.conversations.direct_with(account) == Some(chat))?;
        self.contact(account)
    }
}

impl Contacts {
    /// Those with a name: as it is written if anybody has it so, else without regard to case and accents.
    fn named(&self, name: &str) -> Vec<AccountId> {
        let exact: Vec<AccountId> = self.shown(|shown| shown == name).map(|(account, _)| account).collect();
        if !exact.is_empty() {
            return exact;
        }
        self.shown(|shown| starling_text::same(shown, name)).map(|(account, _)| account).collect()
    }

    /// Some names that begin like another.
    fn called_like(&self, name: &str) -> Vec<String> {
        let beginning: String = starling_text::folded(name).chars().take(BEGINNING).collect();
        let like = self.shown(|shown| starling_text::folded(shown).starts_with(&beginning));
        like.take(SUGGESTED).map(|(_, person)| person.name().to_owned()).collect()
    }

    /// Those who were not removed, and whose name fits.
    fn shown(&self, fits: impl Fn(&str) -> bool) -> impl Iterator<Item = (AccountId, &Person)> {
        let people = self.people.iter().filter(|(_, person)| person.state() != ContactState::Removed);
        people.filter(move |(_, person)| fits(person.name())).map(|(account, person)| (*account, person))
    }
}
