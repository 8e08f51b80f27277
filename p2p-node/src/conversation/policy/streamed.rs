//! Invitations on direct streams, which cost no work. Whoever gets one says that it has come; of whom that is not heard, as of older programs, is told in
//! its inbox. Nothing of it is stored: after a start all who are not known to know are told in their inboxes.

use std::collections::BTreeMap;

use starling_keys::{AccountId, DeviceId};
use starling_wire::{
    direct::{DirectFrame, Offered},
    inbox::GroupOffer,
};

use super::{Policies, PolicyEntry, limits::OFFERED_WITHIN_MS, offers::hash_of};
use crate::{
    api::types::ChatId,
    contacts::Person,
    conversation::{Conversations, context::Context},
    net::NetCommand,
    store::InvitedRow,
    turn::{Effect, EngineError, Turn},
};

/// Devices that were told a way into a group on their streams, and have not said that it has come.
#[derive(Default)]
pub(super) struct Streamed {
    /// The hash of the way, and until when each is waited for, in steady time.
    told: BTreeMap<DeviceId, (Vec<u8>, u64)>,
}

impl Streamed {
    /// When the first of them is not waited for any more, in steady time.
    pub(super) fn due(&self) -> Option<u64> {
        self.told.values().map(|(_, until)| *until).min()
    }

    fn awaits(&self, device: &DeviceId, way: &[u8]) -> bool {
        self.told.get(device).is_some_and(|(told, _)| told[..] == *way)
    }

    /// Tells a device a way on its stream, or goes on waiting for it as `before`. `false` if it is to be told in its inbox.
    pub(super) fn tell(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &Context<'_>,
        before: &Self,
        (device, offer, way): (DeviceId, &GroupOffer, &[u8]),
    ) -> bool {
        let until = match before.told.get(&device).filter(|_| before.awaits(&device, way)) {
            Some((_, until)) if *until <= turn.now() => return false,
            Some((_, until)) => *until,
            None if !is_reached(cx, &device, offer) => return false,
            None => {
                let frame = DirectFrame { offer: Some(Box::new(offer.clone())), ..DirectFrame::default() };
                turn.emit(Effect::Net(NetCommand::Direct(device, frame)));
                turn.now() + OFFERED_WITHIN_MS
            }
        };
        self.told.insert(device, (way.to_vec(), until));
        true
    }
}

/// Whether a device has a stream, and no older way into the group is on its way to its inbox: that would be read after this one.
fn is_reached(cx: &Context<'_>, device: &DeviceId, offer: &GroupOffer) -> bool {
    let key = [&device.as_bytes()[..], &offer.group[..]].concat();
    cx.links.is_connected(device) && !cx.links.is_silent(device) && !cx.homes.outbound_items.contains_key(&key)
}

impl PolicyEntry {
    /// Whether it is time to tell somebody the way into the group.
    pub(super) fn has_ways_to_tell(&self, now: u64) -> bool {
        self.has_untold || self.streamed.due().is_some_and(|at| at <= now)
    }
}

impl Policies {
    /// The log of a group is there: who was invited is told the way in.
    pub(in crate::conversation) fn log_opened(&mut self, chat: &ChatId) {
        if let Some(entry) = self.of.get_mut(chat) {
            entry.has_untold = !entry.row.invited.is_empty();
        }
    }
}

impl Conversations {
    /// A device of a contact has told a way into a group on its stream: it is told that this has come.
    pub(crate) fn on_direct_offer(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        (account, device): (AccountId, DeviceId),
        offer: &GroupOffer,
    ) -> Result<(), EngineError> {
        if account == cx.dir.account.id() || !cx.dir.person(&account).is_some_and(Person::is_linked) {
            return Ok(());
        }
        if let Err(error) = self.on_offer(turn, cx, account, offer)? {
            tracing::debug!(%error, "a way into a group was dropped");
        }
        let offered = Offered { way: hash_of(offer).into() };
        let frame = DirectFrame { offered: Some(Box::new(offered)), ..DirectFrame::default() };
        turn.emit(Effect::Net(NetCommand::Direct(device, frame)));
        Ok(())
    }

    /// A device says that a way into a group has come, by its hash.
    pub(crate) fn on_offer_heard(&mut self, account: &AccountId, device: &DeviceId, way: &[u8]) {
        let awaits = |(_, entry): &(&ChatId, &PolicyEntry)| entry.streamed.awaits(device, way);
        let chats: Vec<ChatId> = self.policies.of.iter().filter(awaits).map(|(chat, _)| *chat).collect();
        for chat in chats {
            let Some(entry) = self.policies.of.get_mut(&chat) else { continue };
            entry.streamed.told.remove(device);
            let is_told = |row: &&mut InvitedRow| row.account[..] == account.as_bytes()[..] && row.offered[..] == *way;
            for row in entry.row.invited.iter_mut().filter(is_told) {
                row.told.push(device.as_bytes().to_vec());
            }
            entry.dirty = true;
        }
    }
}
