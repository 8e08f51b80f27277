//! Finding a contact by what people call them.

use starling_keys::{AccountId, Invite};

use super::Meeting;
use crate::{
    api::{
        error::{NodeError, Unfound},
        types::{ChatId, Contact, Request},
    },
    turn::{EngineError, Turn},
};

impl Meeting<'_> {
    /// The contact that `who` means: a name, with or without `@`, an account, the id of a conversation, with or without `id:`, an address or an
    /// invite.
    pub(super) fn find_contact(&self, turn: &Turn<'_>, who: &str) -> Result<Result<Contact, NodeError>, EngineError> {
        match self.known(who) {
            Err(NodeError::Unfound(why)) => Ok(Err(self.asking(turn, who, why)?.into())),
            found => Ok(found),
        }
    }

    /// Why nobody was found whom `who` means: there may be somebody who asks to be a contact.
    fn asking(&self, turn: &Turn<'_>, who: &str, why: Unfound) -> Result<Unfound, EngineError> {
        let name = match &why {
            Unfound::Name { name, .. } => name.as_str(),
            Unfound::Address => who,
            Unfound::Conversation { .. } | Unfound::Several { .. } | Unfound::Asks { .. } => return Ok(why),
        };
        let by_invite = || who.parse().ok().map(|invite: Invite| invite.address.account);
        let account: Option<AccountId> =
            by_invite().or_else(|| starling_text::unquoted(who).to_lowercase().parse().ok());
        let is_meant = |request: &Request| match &account {
            Some(account) => request.account == *account,
            None => starling_text::same(&request.name, name),
        };
        let asking: Vec<Request> = self.requests(turn)?.into_iter().filter(is_meant).collect();
        let Some(first) = asking.first() else { return Ok(why) };
        let name = match account {
            Some(account) if first.name.is_empty() => account.to_string(),
            Some(_) => first.name.clone(),
            None => name.to_owned(),
        };
        Ok(Unfound::Asks { name, accounts: asking.iter().map(|request| request.account).collect() })
    }

    /// The same of those that are known: contacts, those that we have asked, and those that were blocked.
    fn known(&self, who: &str) -> Result<Contact, NodeError> {
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
            [] => Err(self.nobody(name).into()),
            [one] => contact(*one).ok_or_else(|| self.nobody(name).into()),
            several => {
                let chats =
                    several.iter().filter_map(|account| self.cx.conversations.chats.direct_with(account)).collect();
                Err(Unfound::Several { name: name.to_owned(), chats }.into())
            }
        }
    }

    fn nobody(&self, name: &str) -> Unfound {
        let contacts = &self.cx.contacts;
        let (close, asked) = (contacts.called_like(name), contacts.has_asked_nameless());
        Unfound::Name { name: name.to_owned(), close, asked }
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
