//! The other devices of our account that are not in a group yet, or were left behind there: they come in by themselves, and have to know a way that
//! does not end before.

use starling_keys::DeviceId;
use starling_wire::inbox::GroupOffer;

use super::offers::{Answer, hash_of};
use crate::{
    api::types::ChatId,
    conversation::{Conversations, GroupEntry, context::Context},
    store::{InvitedRow, StandingRow},
    turn::{EngineError, Turn},
};

impl Conversations {
    /// The devices of ours that are not in a group that this one is in are told the way that leads there now, each once: theirs may end. So are those
    /// that are in it, and so far behind that its logs may be deleted: they have to enter it again, and the door that they know may be no more; and
    /// those that were added and have shown nothing yet, which may have to enter by it.
    pub(super) fn tell_way_to_own(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        chat: ChatId,
    ) -> Result<(), EngineError> {
        let Some(entry) = self.policies.of.get(&chat).filter(|entry| entry.standing() == StandingRow::Member) else {
            return Ok(());
        };
        let group = self.active_group(cx.dir, chat).and_then(|id| self.groups.get(&id));
        let others = cx.dir.account.other_devices();
        let others = others.iter().map(|device| device.id);
        let is_outside =
            |group: &GroupEntry, device: &DeviceId| !group.has_member(device) || group.may_be_left_behind(device);
        let outside: Vec<DeviceId> =
            others.filter(|device| group.is_some_and(|group| is_outside(group, device))).collect();
        let Some(offer) = self.way_into(cx.dir, chat).filter(|_| !outside.is_empty()) else { return Ok(()) };
        let hash = hash_of(&offer);
        let known = entry.row.told_own.as_ref().filter(|row| row.offered == hash);
        let is_told =
            |device: &DeviceId| known.is_some_and(|row| row.told.iter().any(|told| told[..] == device.as_bytes()[..]));
        let untold: Vec<DeviceId> = outside.into_iter().filter(|device| !is_told(device)).collect();
        let offer = GroupOffer { answer: Answer::Inside.number(), ..offer };
        if !untold.is_empty() && self.offer_to(turn, cx, (cx.dir.account.id(), &untold), &offer)? {
            self.note_told_own(chat, hash, &untold);
        }
        Ok(())
    }

    /// Devices of ours know a way into a group.
    pub(super) fn note_told_own(&mut self, chat: ChatId, hash: Vec<u8>, devices: &[DeviceId]) {
        let Some(entry) = self.policies.of.get_mut(&chat) else { return };
        let known = entry.row.told_own.take().filter(|row| row.offered == hash);
        let mut row = known.unwrap_or_else(|| InvitedRow { offered: hash, ..InvitedRow::default() });
        row.told.extend(devices.iter().map(|device| device.as_bytes().to_vec()));
        (entry.row.told_own, entry.dirty) = (Some(row), true);
    }
}
