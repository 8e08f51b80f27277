//! Receipts in logs: for those who are not connected. Each says all that its device has and its user has read, so that the newest one is enough. Of a
//! group all members read what each of them says: so there a device says it at a pace that follows from their number, whatever is written.

use starling_keys::{AccountId, DeviceId};
use starling_wire::{Clock, Delivered, LogVerb, Receipt, rendezvous::LogRequest};

use super::limits::{MAX_RECEIPT_PACE_MS, RECEIPT_DELAY_MS, RECEIPT_PACE_MS, RECEIPT_SPREAD_MS};
use crate::{
    api::types::{Audience, ChatId},
    contacts::Directory,
    conversation::{ChatState, Chats, Conversations, GroupEntry, context::Context, group::GroupId},
    home::{Appended, LogPending},
    net::HomeId,
    turn::{EngineError, Turn},
};

/// When a receipt goes to a group's log, in steady time. `place`, of 256, is that of its author among so many accounts, and `last` is when it has
/// appended the one before.
fn due_in_group(now: u64, accounts: u64, place: u8, last: Option<u64>) -> u64 {
    let spread = RECEIPT_SPREAD_MS * accounts * u64::from(place) / 256;
    let pace = (RECEIPT_PACE_MS * accounts * accounts).min(MAX_RECEIPT_PACE_MS);
    (now + RECEIPT_DELAY_MS + spread).max(last.map_or(0, |last| last + pace))
}

impl ChatState {
    /// What we have is told soon, through the log, with all that comes until then.
    pub(in crate::conversation) fn schedule_receipt(&mut self, now: u64) {
        if !self.acknowledges() {
            return;
        }
        let due = if self.is_group() {
            let place = |own: AccountId| blake3::keyed_hash(own.as_bytes(), &self.id.0).as_bytes()[0];
            let (accounts, place) = (self.roster.accounts().count() as u64, self.roster.own().map_or(0, place));
            due_in_group(now, accounts, place, self.receipt_at)
        } else {
            now + RECEIPT_DELAY_MS
        };
        self.receipt_due = Some(self.receipt_due.map_or(due, |known| known.min(due)));
    }
}

impl Conversations {
    /// What could not be told while a home was not up.
    pub(crate) fn receipts_up(&mut self, turn: &Turn<'_>, dir: Directory<'_>, home: HomeId) {
        for group in self.groups.groups_at(home) {
            if let Some(chat) = self.groups.get(&group).and_then(GroupEntry::chat) {
                self.chats.tell_untold(turn, dir, chat);
            }
        }
    }
}

impl Chats {
    /// What no receipt has told in a conversation is told soon, if there is anything.
    pub(super) fn tell_untold(&mut self, turn: &Turn<'_>, dir: Directory<'_>, chat: ChatId) {
        let has_others = !dir.account.other_devices().is_empty();
        if let Some(state) = self.states.get_mut(&chat)
            && (state.roster.devices().any(|d| d.told < d.received)
                || state.row.read_logged < state.row.read_told
                || has_others && state.row.delivered_logged < state.roster.progress().delivered)
        {
            state.schedule_receipt(turn.now());
        }
    }

    pub(super) fn receipt_appended(&mut self, appended: &Appended) {
        let Some(state) = self.states.get_mut(&appended.place.chat) else { return };
        for (device, received) in &appended.told {
            if let Some(row) = state.roster.known_mut(device) {
                row.told = row.told.max(*received);
            }
        }
        state.row.read_logged = state.row.read_logged.max(appended.read);
        state.row.delivered_logged = state.row.delivered_logged.max(appended.delivered);
        state.dirty = true;
    }
}

impl Conversations {
    /// Tells, through the log, what we have of devices that we are not connected to.
    pub(super) fn pump_receipt(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        chat: ChatId,
    ) -> Result<(), EngineError> {
        let Some(state) = self.chats.get_mut(&chat) else {
            return Ok(());
        };
        if state.receipt_due.is_none_or(|due| due > turn.now()) || state.row.outdated {
            return Ok(());
        }
        state.receipt_due = None;
        let acknowledges = state.acknowledges();
        if !acknowledges && !self.gossip.asks_for_missing(&chat) {
            return Ok(());
        }
        let Some(group) = self.active_group(cx.dir, chat) else {
            return Ok(());
        };
        if self.usable(turn, cx, group).is_none() || self.has_revoked_member(cx.dir, chat, group) {
            self.retry_receipt(turn, chat, group);
            return Ok(());
        }
        let missing = self.gossip.take_missing(&chat);
        let Some(state) = self.chats.get_mut(&chat) else {
            return Ok(());
        };
        let known = |row: &crate::store::DeviceRow| Some((DeviceId::from_stored(&row.device).ok()?, row.received));
        let told: Vec<(DeviceId, u64)> = state
            .roster
            .devices()
            .filter(|row| acknowledges && row.told < row.received)
            .filter_map(known)
            .filter(|(device, _)| !cx.links.is_connected(device))
            .collect();
        let read = if Audience::allows(cx.dir.account.settings.receipts) { state.row.read_told } else { 0 };
        // For devices of ours that are not connected.
        let others = cx.dir.account.other_devices();
        let progress = state.roster.progress().delivered;
        let news = others.iter().any(|d| !cx.links.is_connected(&d.id)) && progress > state.row.delivered_logged;
        if told.is_empty() && read <= state.row.read_logged && !news && missing.is_empty() {
            return Ok(());
        }
        if !acknowledges {
            return self.append_receipt(turn, cx, group, Receipt { missing, ..Receipt::default() }, Vec::new());
        }
        // Everything, as it replaces the receipt before it.
        let received = state.roster.devices().filter_map(|row| {
            let device = DeviceId::from_stored(&row.device).ok()?.tag();
            Some(Delivered { device, upto: row.received, clock: Clock(row.received_clock) })
        });
        let this = cx.dir.account.device().tag();
        let own = Delivered { device: this, upto: progress, clock: Clock(0) };
        let delivered = received.chain((!others.is_empty() && progress > 0).then_some(own)).collect();
        let receipt = Receipt { delivered, read: Clock(read), chains: self.chats.known_chains(cx.dir, chat), missing };
        self.append_receipt(turn, cx, group, receipt, told)
    }

    /// When the home comes back, or another epoch begins, everything untold is told; where the home only takes nothing for now, after that.
    fn retry_receipt(&mut self, turn: &Turn<'_>, chat: ChatId, group: GroupId) {
        let retry_at = self.groups.get(&group).map_or(0, |entry| entry.append.retry_at);
        if retry_at > turn.now()
            && let Some(state) = self.chats.get_mut(&chat)
        {
            state.receipt_due = Some(retry_at);
        }
    }

    /// A modified program asks for what it likes.
    #[cfg(test)]
    pub(crate) fn ask_falsely(&mut self, turn: &mut Turn<'_>, cx: &mut Context<'_>, id: GroupId, receipt: Receipt) {
        let _ = self.append_receipt(turn, cx, id, receipt, Vec::new());
    }

    pub(super) fn append_receipt(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        group: GroupId,
        receipt: Receipt,
        told: Vec<(DeviceId, u64)>,
    ) -> Result<(), EngineError> {
        let id = starling_wire::EventId {
            clock: cx.counters.clock.tick(turn.agreed_ms()),
            device: cx.dir.account.device().tag(),
            sequence: 0,
        };
        let this = cx.dir.account.device().tag();
        let delivered = receipt.delivered.iter().find(|d| d.device == this).map_or(0, |d| d.upto);
        let read = receipt.read.0;
        let body = starling_wire::Body::Receipt(receipt);
        let events = vec![starling_wire::Event { id, body }];
        let batch = starling_wire::Batch { events, ..starling_wire::Batch::default() };
        let Some(home) = self.usable(turn, cx, group) else { return Ok(()) };
        let Some(mut open) = self.open(turn, cx.mls, group)? else {
            return Ok(());
        };
        let message = open.encrypt(&batch.encode())?;
        let (epoch, keys) = (open.entry.epoch(), open.entry.current_keys());
        let Some((keys, place)) = keys.zip(self.groups.log_place(group, epoch)) else {
            return Ok(());
        };
        let replaced = self.logged.replaced_receipts(&place);
        let request = LogRequest {
            entries: vec![keys.seal_entry(&message)],
            sequences: replaced.iter().flat_map(|(_, sequences)| sequences).copied().collect(),
            receipt: true,
            ..LogRequest::default()
        };
        let (chat, now) = (place.chat, turn.now());
        let appended = Appended { place, epoch, items: Vec::new(), told, read, delivered, replaced };
        if cx.homes.request_log(turn, home, &keys, LogVerb::Append, request, LogPending::Append(appended))
            && let Some(state) = self.chats.get_mut(&chat)
        {
            state.receipt_at = Some(now);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_members_of_a_group_say_in_a_second_is_bounded_whatever_their_number() {
        for accounts in [2, 4, 16, 32] {
            // Somebody writes all the time.
            let (mut last, mut said) = (None, 0);
            while last.is_none_or(|last| last < 600_000) {
                (last, said) = (Some(due_in_group(last.unwrap_or(0), accounts, 128, last)), said + 1);
            }
            let read_a_second = said * accounts * accounts / 600;
            assert!(read_a_second <= 110, "{read_a_second} by {accounts}");
        }
        // Where little is written the author soon knows who has it.
        assert!((0..=255).all(|place| due_in_group(5, 16, place, None) < 1_000));
        assert!((0..=255).all(|place| due_in_group(60_000, 32, place, Some(5)) < 62_000));
        assert_eq!(due_in_group(1_000, 16, 0, Some(900)), 900 + MAX_RECEIPT_PACE_MS);
        assert!(due_in_group(1_000, 4, 255, Some(900)) < 2_000);
    }
}
