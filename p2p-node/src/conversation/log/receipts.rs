//! Receipts in logs: for those who are not connected.

use starling_keys::DeviceId;
use starling_wire::{Clock, Delivered, LogVerb, Receipt, rendezvous::LogRequest};

use crate::{
    api::types::{Audience, ChatId},
    contacts::Directory,
    conversation::{Chats, Conversations, context::Context, group::GroupId},
    home::{Appended, LogPending},
    limits::RECEIPT_DELAY_MS,
    net::HomeId,
    turn::{EngineError, Turn},
};

impl Conversations {
    /// What could not be told while a home was not up.
    pub(crate) fn receipts_up(&mut self, turn: &mut Turn<'_>, dir: Directory<'_>, home: HomeId) {
        let has_others = !dir.account.other_devices().is_empty();
        let due = turn.now() + RECEIPT_DELAY_MS;
        for group in self.groups.groups_at(home) {
            let chat = self.groups.get(&group).and_then(|g| g.row.chat.as_slice().try_into().ok());
            if let Some(state) = chat.and_then(|c| self.chats.get_mut(&ChatId(c)))
                && (state.roster.devices().any(|d| d.told < d.received)
                    || state.row.read_logged < state.row.read_told
                    || has_others && state.row.delivered_logged < state.roster.progress().delivered)
            {
                state.receipt_due = Some(due);
            }
        }
    }
}

impl Chats {
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
        let missing = self.gossip.take_missing(&chat);
        if !acknowledges && missing.is_empty() {
            return Ok(());
        }
        let Some(group) = self.active_group(cx.dir, chat) else {
            return Ok(());
        };
        if self.usable(turn, cx, group).is_none() || self.has_revoked_member(cx.dir, chat, group) {
            // When the home comes back, everything untold is told.
            return Ok(());
        }
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
        let appended = Appended { place, epoch, items: Vec::new(), told, read, delivered, replaced };
        cx.homes.request_log(turn, home, &keys, LogVerb::Append, request, LogPending::Append(appended));
        Ok(())
    }
}
