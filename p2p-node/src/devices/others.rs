//! What the other devices of our account say.

use starling_keys::{AccountId, DeviceChain, DeviceId};
use starling_wire::{
    Clock,
    inbox::{InboxBody, Known},
    rendezvous::RequestBody,
};

use super::AccountDevices;
use crate::{
    account::pending::AccountPending,
    api::{
        problem::ItemRefused,
        types::{Attempt, ContactState, DurableEventKind, TransientEvent},
    },
    contacts::Person,
    limits::{MAX_CLOCK_AHEAD_MS, MAX_CONTACTS},
    store::{ContactRow, REQUESTS, Reading, RequestRow},
    turn::{EngineError, Fact, Turn},
};

impl AccountDevices<'_> {
    /// Takes the chain and the names of devices that an item of another device of ours has. Gives whether what else is in it counts; an error says
    /// why it does not.
    pub(crate) fn on_item_of_own(
        &mut self,
        turn: &mut Turn<'_>,
        device: DeviceId,
        body: &InboxBody,
        list: DeviceChain,
    ) -> Result<Result<bool, ItemRefused>, EngineError> {
        if self.cx.account.is_newer(&list) && !self.on_own_list(turn, list)? {
            return Ok(Ok(false));
        }
        if self.cx.account.list().is_none_or(|l| l.device(&device).is_none()) {
            turn.fact(Fact::RemovedDeviceUsed { device, attempt: Attempt::Write });
            return Ok(Err(ItemRefused::RemovedDevice));
        }
        let account = self.cx.account.id();
        self.cx.take_labels(turn, account, &body.labels)?;
        Ok(Ok(true))
    }

    /// What another device of ours says of people.
    pub(crate) fn on_other_device(
        &mut self,
        turn: &mut Turn<'_>,
        body: &InboxBody,
    ) -> Result<Result<(), ItemRefused>, EngineError> {
        let Some(known) = &body.known else {
            // The contacts of all of us may have changed, too.
            let home = self
                .cx
                .account
                .identity
                .homes
                .iter()
                .map(|h| h.peer)
                .find(|h| self.cx.homes.servers.get(h).is_some_and(|h| h.registered));
            if let Some(home) = home {
                self.cx.homes.request(turn, home, RequestBody::GetSnapshot(true), AccountPending::Snapshot);
            }
            return Ok(Ok(()));
        };
        let account = AccountId::from_bytes(&known.account).ok().filter(|a| *a != self.cx.account.id());
        let Some(account) = account else {
            return Ok(Err(ItemRefused::OwnAccount));
        };
        let their = self.cx.directory().read_chain(&known.device_list).filter(|l| l.account == account);
        let their = their.filter(|l| self.cx.contacts.check_devices(self.cx.account, l).is_ok());
        self.on_known(turn, account, known, their.clone())?;
        self.cx.take_labels(turn, account, &known.labels)?;
        match (&body.welcome, their) {
            (Some(_), Some(list)) => self.meeting().join(turn, body, list, true),
            _ => Ok(Ok(())),
        }
    }

    /// Another device of ours says what somebody is to us.
    fn on_known(
        &mut self,
        turn: &mut Turn<'_>,
        account: AccountId,
        known: &Known,
        list: Option<DeviceChain>,
    ) -> Result<(), EngineError> {
        let state = ContactState::from_stored(known.state);
        let key = self.cx.store.name("request", account.as_bytes());
        let asks = turn.get::<RequestRow>(REQUESTS, &key)?.is_some();
        let was = self.cx.contacts.people.get(&account).map(Person::state);
        if was.is_none() && state == ContactState::Removed {
            turn.delete(REQUESTS, &key)?;
            return Ok(());
        }
        if was.is_none() && self.cx.contacts.people.len() >= MAX_CONTACTS {
            return Ok(());
        }
        let (state, trusted) = self.take_word(turn, account, (was, known), list)?;
        let chat = self.cx.chat_with(turn, account);
        self.sync().apply_settings_about(turn, account)?;
        self.cx.contacts.index(&account);
        turn.fact(Fact::DevicesChanged(account));
        if trusted {
            self.cx.renew_outbox(turn, chat)?;
            self.meeting().reconnect(turn, account)?;
        }
        if talks(state) {
            self.resume_with(turn, account, (was, state))?;
            if asks && let Err(error) = self.meeting().accept(turn, account)? {
                tracing::debug!(%error, "a request that another device has accepted cannot be");
            }
        } else {
            turn.delete(REQUESTS, &key)?;
            if was.is_some_and(talks) {
                turn.fact(Fact::ContactUnlinked(account));
            }
            if state == ContactState::Blocked && was != Some(state) {
                turn.account_event(DurableEventKind::Blocked, account, "")?;
            }
        }
        turn.transient_event(TransientEvent::Net);
        Ok(())
    }

    /// Takes what another device says of somebody, where it counts. Gives what they are to us now, and whether their new devices are trusted.
    fn take_word(
        &mut self,
        turn: &mut Turn<'_>,
        account: AccountId,
        (was, known): (Option<ContactState>, &Known),
        list: Option<DeviceChain>,
    ) -> Result<(ContactState, bool), EngineError> {
        let (now, latest) = (turn.wall(), turn.agreed_ms().saturating_add(MAX_CLOCK_AHEAD_MS));
        let person = self.cx.contacts.people.get_or_insert_with(account, || Person::new(&account, now));
        let named_clock = known.named_clock.min(Clock::at(latest).0);
        person.row.rename(&known.name, (named_clock, known.named_by));
        person.row.bot = known.bot;
        let had = person.list.as_ref().map(DeviceChain::head);
        let same_list = list.as_ref().map(DeviceChain::head) == had;
        if let Some(list) = list {
            let _ = self.cx.contacts.take_chain(turn, account, list)?;
        }
        let person = self.cx.contacts.people.get_or_insert_with(account, || Person::new(&account, now));
        // What was said later here, or by another device, stays.
        let is_later = || known.said_ms <= latest && word_of(known) > word_of(&of_row(&person.row));
        let counts = was.is_none() || is_later();
        let state = if counts { ContactState::from_stored(known.state) } else { person.state() };
        if counts {
            // Nothing that is said later is to be too early.
            person.row.said_ms = known.said_ms.min(latest);
            // They may have answered meanwhile.
            if (was, state) != (Some(ContactState::Active), ContactState::Outgoing) {
                person.row.state = state.stored();
            }
            person.row.alias.clone_from(&known.alias);
            // Numbers were compared for these devices, not for others.
            person.row.key_changed &= !(known.verified && same_list);
            person.row.verified = known.verified;
            person.row.forked &= !known.verified;
        }
        let trusted = counts && person.trusted_elsewhere(&known.trusted);
        if person.list.is_none() {
            person.row.homes = known.homes.iter().filter(|h| h.len() <= 512).take(4).cloned().collect();
        }
        person.dirty = true;
        Ok((state, trusted))
    }

    /// Another device says that messages are exchanged with a contact.
    fn resume_with(
        &mut self,
        turn: &mut Turn<'_>,
        account: AccountId,
        (was, state): (Option<ContactState>, ContactState),
    ) -> Result<(), EngineError> {
        if state == ContactState::Active && !was.is_some_and(talks) {
            turn.account_event(DurableEventKind::ContactAccepted, account, "")?;
        }
        if was.is_some_and(|was| !talks(was)) {
            self.meeting().read_logs_with(turn, account);
            self.meeting().reconnect(turn, account)?;
        }
        Ok(())
    }
}

/// Whether messages are exchanged with somebody.
fn talks(state: ContactState) -> bool {
    matches!(state, ContactState::Active | ContactState::Outgoing)
}

/// What the user has said of somebody, in the order in which words replace one another: of two of one time the same one counts on every device.
fn word_of(known: &Known) -> (u64, u8, bool, &str) {
    let caution = match ContactState::from_stored(known.state) {
        ContactState::Blocked => 2,
        ContactState::Removed => 1,
        // Who was asked may have answered meanwhile.
        ContactState::Active | ContactState::Outgoing => 0,
    };
    (known.said_ms, caution, known.verified, &known.alias)
}

/// The part of a contact's row that [`word_of`] compares.
fn of_row(row: &ContactRow) -> Known {
    Known {
        said_ms: row.said_ms,
        state: row.state,
        verified: row.verified && !row.key_changed,
        alias: row.alias.clone(),
        ..Known::default()
    }
}
