//! What contacts' devices are called, and the lines about them in the conversations with them.

use starling_keys::{
    AccountId, DeviceChain,
    chain::{Change, ChangeKind, Summary},
};
use starling_wire::{Clock, Devices, EventId};

use super::AccountDevices;
use crate::{
    api::types::{ChatId, DeviceChange},
    contacts::Directory,
    conversation::Conversations,
    events,
    limits::MAX_CLOCK_AHEAD_MS,
    turn::{EngineError, EventFact, Turn},
    views::Views,
};

impl AccountDevices<'_> {
    /// An account, ours or a contact's, has sent a device chain.
    pub(crate) fn on_device_list(
        &mut self,
        turn: &mut Turn<'_>,
        from: AccountId,
        devices: &Devices,
    ) -> Result<(), EngineError> {
        let account = Summary::of(&devices.list).map_or(from, |summary| summary.account);
        if account == self.cx.account.id() {
            self.on_own_chain_shown(turn, from, devices);
            return Ok(());
        }
        if account != from {
            return Ok(());
        }
        if !self.cx.contacts.people.contains_key(&from) {
            // A group has brought us together.
            if self.cx.conversations.policies.has_account(&from) {
                self.cx.contacts.on_member_chain(turn, from, &devices.list);
                return self.cx.take_labels(turn, from, &devices.labels);
            }
            return Ok(());
        }
        self.cx.contacts.on_newer_list(turn, self.cx.account, from, &devices.list)?;
        self.cx.take_labels(turn, from, &devices.labels)
    }

    /// The chain of a contact says something else of their devices: the conversation with them says what.
    pub(crate) fn show_contact_devices(
        &mut self,
        turn: &mut Turn<'_>,
        account: AccountId,
        withdrawn: &[Change],
        changes: &[Change],
    ) -> Result<(), EngineError> {
        let chat = self.cx.chat_with(turn, account);
        let Views { account: own, contacts, conversations, .. } = self.cx.reborrow();
        let dir = Directory { account: own, contacts };
        for change in withdrawn {
            let at = events::devices::place_of(change);
            if let Some((done, _)) =
                conversations.with_fold(turn, dir, chat, |fold| events::devices::withdraw(fold, at))
            {
                done?;
            }
        }
        for change in changes {
            let author = conversations.authors.author(turn, dir, account, &change.device)?;
            let what = match change.kind {
                ChangeKind::Joined => DeviceChange::Joined,
                ChangeKind::Left => DeviceChange::Left,
                ChangeKind::Recovered => DeviceChange::Recovered,
            };
            let at = in_time(turn, events::devices::place_of(change));
            put(conversations, turn, dir, (chat, at, author, what))?;
        }
        turn.fact(EventFact::Arrived(chat).into());
        Ok(())
    }

    /// The chain of a contact has two ends: the conversation with them says so.
    pub(crate) fn show_fork(&mut self, turn: &mut Turn<'_>, chain: &DeviceChain) -> Result<(), EngineError> {
        let account = chain.account;
        let mut tag = [0; 8];
        tag.copy_from_slice(&chain.head().0[..8]);
        let chat = self.cx.chat_with(turn, account);
        let Views { account: own, contacts, conversations, .. } = self.cx.reborrow();
        let dir = Directory { account: own, contacts };
        let clock = Clock::at(chain.newest_time().saturating_mul(1000));
        let at = in_time(turn, EventId { clock, device: tag, sequence: 0 });
        let author = conversations.authors.author_with_tag(turn, dir, account, [0; 8])?;
        put(conversations, turn, dir, (chat, at, author, DeviceChange::Forked))?;
        turn.fact(EventFact::Arrived(chat).into());
        Ok(())
    }
}

/// Where a line stands: where its entry says, or here and now if that is ahead of the time. A contact's clock pins no line to the end.
fn in_time(turn: &Turn<'_>, at: EventId) -> EventId {
    let now = turn.latest_ms();
    match at.clock.ms() > now.saturating_add(MAX_CLOCK_AHEAD_MS) {
        true => EventId { clock: Clock(Clock::at(now).0 | (at.clock.0 & 0xffff)), ..at },
        false => at,
    }
}

/// Writes a line about a device of `author` into a conversation.
fn put(
    conversations: &mut Conversations,
    turn: &Turn<'_>,
    dir: Directory<'_>,
    (chat, at, author, what): (ChatId, EventId, u32, DeviceChange),
) -> Result<(), EngineError> {
    let done = conversations.with_fold(turn, dir, chat, |fold| events::devices::put(fold, at, author, what));
    Ok(done.map_or(Ok(()), |(done, _)| done)?)
}
