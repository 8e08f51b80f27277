//! What people say of themselves.

use starling_keys::AccountId;
use starling_wire::{EventId, Profile};

use super::Contacts;
use crate::{
    api::types::{ContactState, DurableEventKind, TransientEvent},
    turn::{EngineError, Fact, Turn},
};

impl Contacts {
    /// Somebody gives themselves a name, and takes us for a contact.
    pub fn on_profile(
        &mut self,
        turn: &mut Turn<'_>,
        account: AccountId,
        Profile { name, bot, named, username }: Profile,
        event: EventId,
    ) -> Result<(), EngineError> {
        let Some(person) = self.people.get_mut(&account) else {
            return Ok(());
        };
        let named = named.unwrap_or((event.clock.0, u64::from_be_bytes(event.device)));
        let renamed = person.row.rename(&name, named);
        person.row.bot = bot;
        if username == person.row.found_as {
            person.row.found_as.clear();
        }
        person.row.username = username;
        person.dirty = true;
        if person.state() == ContactState::Outgoing {
            person.row.state = ContactState::Active.stored();
            turn.fact(Fact::ReachChanged);
            turn.fact(Fact::ContactsChanged);
            turn.account_event(DurableEventKind::ContactAccepted, account, "")?;
        } else if renamed {
            turn.transient_event(TransientEvent::Net);
        }
        Ok(())
    }
}
