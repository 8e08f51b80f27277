//! What devices say that they have of ours: of an outbox entry that everybody has nothing is kept.

use std::collections::BTreeSet;

use starling_keys::{AccountId, DeviceId};
use starling_wire::{Clock, direct::Ack};

use super::{
    Chats, Conversations, GroupEntry,
    context::Context,
    group::GroupId,
    outbox::{LOST_EPOCH, OutItem, outbox_key},
};
use crate::{
    api::types::{ChatId, DeliveryState},
    contacts::Directory,
    events::delivered_upto,
    store::{DeviceRow, OUTBOX},
    turn::{EngineError, EventFact, Turn},
};

impl Conversations {
    /// A device says on its stream what it has.
    pub(crate) fn on_ack(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        device: DeviceId,
        ack: &Ack,
    ) -> Result<(), EngineError> {
        let Some(entry) = GroupId::try_from(&ack.group[..]).ok().and_then(|g| self.groups.get(&g)) else {
            return Ok(());
        };
        let id = entry.id;
        let Ok(chat) = entry.row.chat.as_slice().try_into() else {
            return Ok(());
        };
        if !entry.has_member(&device) {
            return Ok(());
        }
        if !cx.dir.account.has_other(&device) {
            self.confirm_group(turn, cx, id)?;
        }
        self.acknowledged(turn, cx, ChatId(chat), device, (ack.upto, Clock(ack.clock)))
    }

    /// A device has all our events of a chat up to a number, whose event has this clock, if that is not zero.
    pub(crate) fn acknowledged(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        chat: ChatId,
        device: DeviceId,
        (upto, clock): (u64, Clock),
    ) -> Result<(), EngineError> {
        let Some(account) = self.account_in(cx.dir, chat, &device) else {
            return Ok(());
        };
        let own = account == cx.dir.account.id();
        let Some(state) = self.chats.get_mut(&chat) else {
            return Ok(());
        };
        if state.has_not(upto, clock) {
            // It was written by a copy of this profile, and what it has under our numbers is not ours.
            return self.chats.outdated(turn, cx, Some(chat).filter(|_| !own));
        }
        let delivered_before = state.roster.progress().delivered;
        if state.roster.device(&device).is_some_and(|d| upto <= d.acked) {
            return Ok(());
        }
        state.roster.device_mut(account, &device).acked = upto;
        turn.facts([EventFact::Acknowledged { chat, device, upto }]);
        let delivered_now = state.roster.progress().delivered;
        let mut ids = Vec::new();
        if delivered_now > delivered_before {
            let from = state.outbox.partition_point(|i| i.last <= delivered_before);
            for item in state.outbox.iter().skip(from).take_while(|i| i.first <= delivered_now) {
                ids.extend(item.ids_between(delivered_before, delivered_now));
            }
        }
        let mut sent = Vec::new();
        if !own && state.row.sent_upto < upto {
            // A member of a group may say so before the answer of its log is here, which then says nothing new.
            let before = state.row.sent_upto.max(delivered_now);
            let from = state.outbox.partition_point(|i| i.last <= before);
            for item in state.outbox.iter().skip(from).take_while(|i| i.first <= upto) {
                sent.extend(item.ids_between(before, upto));
            }
            state.row.sent_upto = upto;
            state.dirty = true;
        }
        turn.state_event(chat, sent, DeliveryState::Sent)?;
        turn.state_event(chat, ids, DeliveryState::Delivered)?;
        if delivered_now > delivered_before {
            self.chats.tell_delivered(turn, cx, chat);
        }
        self.clear_outbox(turn, cx, chat)
    }

    /// The account of a device that is in a conversation: in a group it need not be a contact's.
    fn account_in(&self, dir: Directory<'_>, chat: ChatId, device: &DeviceId) -> Option<AccountId> {
        let in_group = || {
            let group = self.groups.get(&self.active_group(dir, chat)?)?;
            group.members.iter().find(|m| m.device == *device).map(|m| m.account)
        };
        if self.chats.is_group_chat(chat) { in_group() } else { dir.account_of(device) }
    }

    /// Another device of ours says on its stream up to which of its events each other account has them.
    pub(crate) fn on_delivered(
        &mut self,
        turn: &mut Turn<'_>,
        dir: Directory<'_>,
        device: DeviceId,
        group: &[u8],
        upto: u64,
    ) -> Result<(), EngineError> {
        if !dir.account.has_other(&device) {
            return Ok(());
        }
        let entry = GroupId::try_from(group).ok().and_then(|g| self.groups.get(&g));
        let Some(chat) = entry.and_then(GroupEntry::chat) else { return Ok(()) };
        let own = dir.account.id();
        let Some((folded, _)) = self.with_fold(turn, dir, chat, |fold| delivered_upto(fold, own, &device, upto)) else {
            return Ok(());
        };
        folded?;
        turn.facts([EventFact::Arrived(chat)]);
        Ok(())
    }

    /// Since which epoch somebody is a member of whom no device is in the group where this device is: they may be where a server has shown them something
    /// else, and are given what was written since when they come.
    fn absent_since(&self, dir: Directory<'_>, chat: ChatId) -> Option<u64> {
        let group = self.groups.get(&self.active_group(dir, chat)?)?;
        let there: BTreeSet<[u8; 32]> = group.members.iter().map(|member| *member.account.as_bytes()).collect();
        let members = self.policies.policy(&chat).into_iter().flat_map(|policy| &policy.members);
        members.filter(|member| !there.contains(&member.account)).map(|member| member.since).min()
    }

    /// Entries that every device on both accounts' lists has are not kept any more.
    pub(crate) fn clear_outbox(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        chat: ChatId,
    ) -> Result<(), EngineError> {
        let Some(state) = self.chats.get(&chat) else {
            return Ok(());
        };
        if self.awaits_a_list(cx.dir, state) {
            return Ok(());
        }
        let absent_since = if state.is_group() { self.absent_since(cx.dir, chat) } else { None };
        let is_for_absent =
            |item: &OutItem| absent_since.is_some_and(|since| item.epoch == LOST_EPOCH || item.epoch >= since);
        let is_done = |item: &&OutItem| !is_for_absent(item) && self.groups.everybody_has(cx.dir, state, item);
        let done = state.outbox.iter().take_while(is_done).count();
        let Some(state) = self.chats.get_mut(&chat) else {
            return Ok(());
        };
        for item in state.outbox.drain(..done) {
            turn.delete(OUTBOX, &outbox_key(chat, item.first))?;
        }
        if state.outbox.is_empty() {
            self.chats.set_problem(turn, chat, None);
        }
        if done > 0 {
            self.trim_chat(turn, cx.homes, chat);
        }
        Ok(())
    }
}

impl Chats {
    /// Tells a conversation soon, through its log, what we have.
    pub(crate) fn schedule_receipt(&mut self, turn: &Turn<'_>, chat: ChatId) {
        if let Some(state) = self.states.get_mut(&chat) {
            state.schedule_receipt(turn.now());
        }
    }

    /// More of ours was delivered: our other devices are told, through the log if not all of them are connected.
    fn tell_delivered(&mut self, turn: &mut Turn<'_>, cx: &Context<'_>, chat: ChatId) {
        let others = cx.dir.account.other_devices();
        if !others.is_empty() {
            turn.facts([EventFact::Delivered(chat)]);
        }
        if others.iter().any(|d| !cx.links.is_connected(&d.id)) {
            self.schedule_receipt(turn, chat);
        }
    }

    /// What a device was told on a stream that has ended may be lost: a receipt in the log is sure.
    pub(crate) fn receipts_of_lost_link(&mut self, turn: &Turn<'_>, dir: Directory<'_>, device: &DeviceId) {
        for chat in self.chats_of(dir, device) {
            if let Some(state) = self.states.get_mut(&chat) {
                let told = |d: &DeviceRow| d.received > 0 && d.told > 0;
                if state.roster.device(device).is_some_and(told) {
                    if let Some(row) = state.roster.known_mut(device) {
                        row.told = 0;
                    }
                    state.schedule_receipt(turn.now());
                }
                if dir.account.has_other(device) && state.row.delivered_logged < state.roster.progress().delivered {
                    state.schedule_receipt(turn.now());
                }
            }
        }
    }
}
