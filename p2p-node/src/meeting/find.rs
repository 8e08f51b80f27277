//! Finding a contact by what people call them.

use starling_keys::{AccountId, Invite};

use super::Meeting;
use crate::api::{
    error::{NodeError, Unfound},
    types::{ChatId, Contact},
};

impl Meeting<'_> {
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
        match self.cx.contacts.named(name).as_slice() {
            [] => Err(Unfound::Name { name: name.to_owned(), close: self.cx.contacts.called_like(name) }.into()),
            [one] => contact(*one).ok_or_else(|| Unfound::Name { name: name.to_owned(), close: Vec::new() }.into()),
            several => {
                let chats =
                    several.iter().filter_map(|account| self.cx.conversations.chats.direct_with(account)).collect();
                Err(Unfound::Several { name: name.to_owned(), chats }.into())
            }
        }
    }

    /// The contact of a direct conversation.
    fn contact_in(&self, chat: ChatId) -> Option<Contact> {
        let mut others = self.cx.conversations.chats.get(&chat)?.roster.others();
        let account = others.find(|account| self.cx.conversations.chats.direct_with(account) == Some(chat))?;
        self.contact(account)
    }

    pub(crate) fn contact(&self, account: AccountId) -> Option<Contact> {
        let person = self.cx.contacts.people.get(&account)?;
        let links: Vec<bool> = self
            .cx
            .delivery
            .links
            .iter()
            .filter(|(d, link)| !link.silent && self.cx.contacts.owners.get(d) == Some(account))
            .map(|(_, l)| l.relayed)
            .collect();
        Some(Contact {
            account,
            chat: self.cx.conversations.chats.direct_with(&account)?,
            name: person.name().to_owned(),
            own_name: person.row.name.clone(),
            username: person.row.username.clone(),
            found_as: person.row.found_as.clone(),
            state: person.state(),
            verified: person.row.verified,
            key_changed: person.row.key_changed,
            bot: person.row.bot,
            devices: person.list.iter().flat_map(|l| &l.devices).map(|d| d.id).collect(),
            last_seen_ms: person.row.last_seen_ms,
            availability: person.presence.availability,
            typing: person.presence.typing_until.is_some(),
            relayed: if links.is_empty() { None } else { Some(links.iter().all(|r| *r)) },
        })
    }
}
