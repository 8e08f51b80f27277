//! Reading: MLS messages in, events into the timeline.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use starling_keys::{AccountId, Certificate, DeviceChain, DeviceId};
use starling_wire::{Batch, Body, EventId, Policy, direct::Entry};

use super::limits::{MAX_FUTURE, SEEN_HASHES};
use crate::{
    api::types::{Attempt, ChatId, ChatKind, Via},
    conversation::{
        Conversations, GroupEntry,
        context::Context,
        group::GroupId,
        place::{Place, next_place},
    },
    events::At,
    limits::MAX_CLOCK_AHEAD_MS,
    mls::Processed,
    turn::{EngineError, EventFact, Fact, Turn},
};

/// What a message was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Nothing that counts now.
    Nothing,
    /// Events of this account that are numbered.
    Events(AccountId),
    /// Receipts of this account alone.
    Receipts(AccountId),
    /// One of ours.
    Own,
    /// A commit.
    Commit,
    /// What goes with commits: a part of one, or what members have followed; or what stands behind one.
    BesideCommits,
}

/// Hashes of the newest messages that were processed, so that copies are dropped before they are decrypted.
#[derive(Default)]
pub struct SeenMessages {
    hashes: BTreeSet<[u8; 16]>,
    by_age: VecDeque<[u8; 16]>,
}

impl SeenMessages {
    /// Whether these bytes are new. They are remembered, for as long as [`SEEN_HASHES`] others have not come after them.
    pub fn insert(&mut self, bytes: &[u8]) -> bool {
        let hash = short_hash(bytes);
        if !self.hashes.insert(hash) {
            return false;
        }
        self.by_age.push_back(hash);
        if self.by_age.len() > SEEN_HASHES
            && let Some(oldest) = self.by_age.pop_front()
        {
            self.hashes.remove(&oldest);
        }
        true
    }

    /// Whether these bytes were processed.
    pub fn contains(&self, bytes: &[u8]) -> bool {
        self.hashes.contains(&short_hash(bytes))
    }

    /// These bytes count as new again.
    pub fn forget(&mut self, bytes: &[u8]) {
        self.hashes.remove(&short_hash(bytes));
    }
}

pub(super) fn short_hash(bytes: &[u8]) -> [u8; 16] {
    let mut hash = [0; 16];
    hash.copy_from_slice(&blake3::hash(bytes).as_bytes()[..16]);
    hash
}

impl Conversations {
    pub(crate) fn on_direct_entry(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        device: DeviceId,
        entry: &Entry,
    ) -> Result<(), EngineError> {
        let Ok(group) = GroupId::try_from(&*entry.group) else {
            return Ok(());
        };
        let via = if cx.links.is_relayed(&device) { Via::Relay } else { Via::Direct };
        self.on_message(turn, cx, group, Some(device), via, &entry.message).map(drop)
    }

    /// An MLS message, from a stream or a log.
    pub(crate) fn on_message(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        id: GroupId,
        from: Option<DeviceId>,
        via: Via,
        message: &Bytes,
    ) -> Result<Taken, EngineError> {
        let Some(chat) = self.admit(turn, cx, id, from, message) else { return Ok(Taken::Nothing) };
        let Some(mut group) = self.open(turn, cx.mls, id)? else {
            return Ok(Taken::Nothing);
        };
        match group.process(message) {
            Processed::Application { sender, data, epoch } => match Batch::decode(&data, sender.device().tag()) {
                Ok(batch) => {
                    let late = group.late_policy(turn, cx.mls, epoch)?.filter(|_| via == Via::Log);
                    self.heard_in(chat, id, sender.device(), epoch);
                    let numbered = batch.events.iter().any(|e| e.id.sequence != 0);
                    if numbered && via == Via::Log {
                        self.keep_recent((chat, id, epoch), sender.device(), (&batch, message));
                    }
                    self.on_batch(turn, cx, (chat, id), &sender, (via, late.map(|policy| (epoch, policy))), batch)?;
                    let account = sender.account();
                    return Ok(if numbered { Taken::Events(account) } else { Taken::Receipts(account) });
                }
                Err(error) => tracing::warn!(%error, "a member sent what cannot be read"),
            },
            // Commits count only where they stand in a log.
            Processed::Commit => return Ok(Taken::Commit),
            Processed::Future => {
                if group.entry.future.len() < MAX_FUTURE {
                    group.entry.future.push_back((from, message.clone()));
                }
                // It must be taken again once we are there.
                self.seen.forget(message);
                self.read_log_again(turn, cx, id);
                if let Some(device) = from {
                    self.fall_behind(turn, device, id)?;
                }
            }
            Processed::Own => return Ok(Taken::Own),
            Processed::Duplicate => {
                if let Some(device) = from {
                    turn.facts([EventFact::AckDue { device, chat, group: id }]);
                }
            }
            processed @ (Processed::TooOld | Processed::Garbage) => {
                tracing::debug!(?processed, "a message that cannot be read");
                if let Some(device) = from {
                    // It may be one of an epoch that we come to, or come back to, when a fork is healed.
                    self.seen.forget(message);
                    self.groups.suspect_fork(turn, device, id);
                }
            }
        }
        Ok(Taken::Nothing)
    }

    /// The conversation of a message that is one of its group, and new.
    fn admit(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        id: GroupId,
        from: Option<DeviceId>,
        message: &Bytes,
    ) -> Option<ChatId> {
        let Some(entry) = self.groups.get_mut(&id) else {
            tracing::debug!(group = id[0], "a message of a group that we have not joined (yet)");
            if let Some(device) = from {
                self.note_elsewhere(turn, cx, device, id);
            }
            return None;
        };
        let chat = entry.row.chat.as_slice().try_into().map(ChatId).ok()?;
        // Not from somebody who is not in this conversation.
        if let Some(device) = from
            && !entry.has_member(&device)
        {
            return None;
        }
        let is_dead = entry.row.dead;
        if self.chats.is_group_chat(chat) && !self.policies.is_in(&chat) {
            // What stands behind the commit that has removed us is not for us, though it is of our epoch.
            return None;
        }
        if message.len() > starling_wire::limits::MAX_ENTRY || self.is_outdated_group(id) {
            return None;
        }
        if let Some(device) = from {
            if is_dead { self.note_elsewhere(turn, cx, device, id) } else { self.note_together(chat, &device) }
        }
        if !self.seen.insert(message) {
            if let Some(device) = from {
                turn.facts([EventFact::AckDue { device, chat, group: id }]);
            }
            return None;
        }
        Some(chat)
    }

    /// Messages that came before the commit that leads to their epoch.
    pub(crate) fn retry_future(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        id: GroupId,
    ) -> Result<(), EngineError> {
        let Some(entry) = self.groups.get_mut(&id) else {
            return Ok(());
        };
        for (from, message) in std::mem::take(&mut entry.future) {
            self.on_message(turn, cx, id, from, Via::Direct, &message)?;
        }
        Ok(())
    }

    /// What kind of conversation a batch is for, if its sender counts there.
    pub(super) fn kind_for(&self, cx: &Context<'_>, chat: ChatId, sender: &Certificate) -> Option<ChatKind> {
        let device = sender.device();
        let state = self.chats.get(&chat)?;
        if !state.roster.accounts().any(|account| account == sender.account()) {
            tracing::warn!("a message of an account that is not in the conversation was dropped");
            return None;
        }
        let own = sender.account() == cx.dir.account.id();
        let lacks_it = |list: &DeviceChain| list.device(&device).is_none();
        let given_up = if state.kind() == ChatKind::Group {
            cx.dir.list_of(&sender.account()).is_some_and(|list| list.has_removed(&device))
        } else if own {
            cx.dir.account.list().is_some_and(lacks_it)
        } else {
            // A device that its account has given up may be somebody else's now.
            let person = cx.dir.contacts.people.get(&sender.account());
            person.and_then(|p| p.list.as_ref()).is_some_and(lacks_it)
        };
        if given_up {
            tracing::warn!(own, "a message of a device that its account has given up was dropped");
        }
        Some(state.kind()).filter(|_| !given_up)
    }

    fn on_batch(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        (chat, group): (ChatId, GroupId),
        sender: &Certificate,
        (via, late): (Via, Option<(u64, Policy)>),
        batch: Batch,
    ) -> Result<(), EngineError> {
        let device = sender.device();
        let own = sender.account() == cx.dir.account.id();
        let Some(kind) = self.kind_for(cx, chat, sender) else {
            self.refuse_batch(turn, cx, chat, sender, &batch);
            return Ok(());
        };
        if kind != ChatKind::Group && !own {
            self.confirm_group(turn, cx, group)?;
            self.note_unjoined_groups(turn, cx, chat, group)?;
        }
        let allowed = self.allowed(sender.account(), (chat, group), kind, late.as_ref());
        let reads_late = kind == ChatKind::Group && self.groups.get(&group).is_some_and(GroupEntry::has_unread_logs);
        let latest = turn.latest_ms();
        let origin = self.authors.origin_of(turn, cx.dir, sender, via)?;
        let (mut numbered, mut copied, mut before) = (false, false, batch.before);
        let (mut confirmed, mut void) = (Vec::new(), Vec::new());
        for event in batch.events {
            cx.counters.clock.observe(event.id.clock, latest, MAX_CLOCK_AHEAD_MS);
            let Some(state) = self.chats.get_mut(&chat) else { return Ok(()) };
            if event.id.sequence != 0 {
                numbered = true;
                let from = (batch.floor, reads_late);
                let place = next_place(state, sender, &event.id, from, std::mem::take(&mut before));
                copied |= place == Place::Contradicts;
                if place != Place::New {
                    continue;
                }
            }
            if let Err(why) = allowed.take(state, &event) {
                tracing::warn!(%why, "an event is void");
                void.push(event.id);
                continue;
            }
            self.take_event(turn, cx.dir, chat, &At { id: event.id, body: &event.body, origin: &origin })?;
            if self.chats.get(&chat).is_some_and(|state| state.provisional.contains(&event.id)) {
                confirmed.push(event.id);
            }
        }
        self.gossip_confirmed(turn, chat, &confirmed)?;
        if own {
            // Another device of ours may have copied it here before it was judged.
            self.mark_void(turn, chat, &void)?;
        }
        turn.facts([EventFact::Arrived(chat)]);
        if copied {
            tracing::warn!("a device has sent two events with one number: it is there twice, or was put back");
            if own {
                turn.fact(Fact::OwnDeviceCopied(device));
            }
        }
        if numbered {
            turn.facts([EventFact::AckDue { device, chat, group }]);
        }
        Ok(())
    }

    /// Nothing of a device that its account has given up is taken: its owner is to know that it was used.
    fn refuse_batch(&self, turn: &mut Turn<'_>, cx: &Context<'_>, chat: ChatId, sender: &Certificate, batch: &Batch) {
        let (account, device, attempt) = (sender.account(), sender.device(), attempt_of(batch));
        if account == cx.dir.account.id() {
            turn.fact(Fact::RemovedDeviceUsed { device, attempt });
        } else if self.wrote_after_removal(cx, chat, sender, batch) {
            turn.fact(Fact::RefusedDeviceUsed { account, device, attempt });
        }
    }

    /// Whether a device that its account has removed has written something since. What it wrote before may come late: it ends where the account says
    /// that the device's events end; until that is said, the clocks tell.
    fn wrote_after_removal(&self, cx: &Context<'_>, chat: ChatId, sender: &Certificate, batch: &Batch) -> bool {
        let device = sender.device();
        let list = cx.dir.list_of(&sender.account()).filter(|list| list.has_removed(&device));
        let Some(list) = list else { return false };
        // The second in which it was removed is not over before the next.
        let removed_ms = list.removed_at(&device).map_or(0, |at| at.saturating_add(1).saturating_mul(1000));
        let row = self.chats.get(&chat).and_then(|state| state.roster.device(&device)).filter(|row| row.is_cut);
        let is_after = |id: &EventId| match row {
            Some(row) => !row.counts(id.sequence),
            None => id.clock.ms() >= removed_ms,
        };
        batch.events.iter().any(|event| event.id.sequence != 0 && is_after(&event.id))
    }

    /// A group in which a device of the other account has spoken is one that it is in.
    pub(crate) fn confirm_group(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        id: GroupId,
    ) -> Result<(), EngineError> {
        let Some(entry) = self.groups.get_mut(&id).filter(|g| !g.row.confirmed) else {
            return Ok(());
        };
        (entry.row.confirmed, entry.row.unjoined) = (true, false);
        entry.touch();
        if let Ok(chat) = entry.row.chat.as_slice().try_into() {
            self.renew_outbox(turn, cx, ChatId(chat))?;
        }
        Ok(())
    }
}

/// What a device that was removed wants with what it has sent. Receipts go out by themselves, but from a program that knows nothing of its removal,
/// or ignores it.
fn attempt_of(batch: &Batch) -> Attempt {
    let calls = batch.events.iter().any(|event| matches!(event.body, Body::Call(_)));
    if calls { Attempt::Call } else { Attempt::Write }
}
