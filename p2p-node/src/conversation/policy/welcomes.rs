//! What devices are told that wait to be added to a group: that they are in it, are to go on waiting, or are not added.

use bytes::Bytes;
use starling_keys::DeviceId;
use starling_wire::{
    direct::DirectFrame,
    inbox::{GroupWelcome, InboxBody},
};

use super::items::own_body;
use crate::{
    conversation::{Conversations, GroupEntry, context::Context, group::GroupId},
    net::NetCommand,
    turn::{Effect, EngineError, Turn},
};

fn say(turn: &mut Turn<'_>, device: DeviceId, added: GroupWelcome) {
    let frame = DirectFrame { added: Some(Box::new(added)), ..DirectFrame::default() };
    turn.emit(Effect::Net(NetCommand::Direct(device, frame)));
}

/// Tells a device that it is not added to a group: it is to enter by the door.
pub(super) fn refuse_to_add(turn: &mut Turn<'_>, device: DeviceId, (conversation, group): (&[u8], &[u8])) {
    let (conversation, group) = (Bytes::copy_from_slice(conversation), Bytes::copy_from_slice(group));
    say(turn, device, GroupWelcome { conversation, group, ..GroupWelcome::default() });
}

/// Tells devices that they are added soon: so many wait that it takes several commits.
pub(super) fn keep_waiting<'a>(
    turn: &mut Turn<'_>,
    devices: impl Iterator<Item = &'a DeviceId>,
    (conversation, group): (&[u8], &[u8]),
) {
    let (conversation, group) = (Bytes::copy_from_slice(conversation), Bytes::copy_from_slice(group));
    let soon = GroupWelcome { conversation, group, waits: true, ..GroupWelcome::default() };
    devices.for_each(|device| say(turn, *device, soon.clone()));
}

impl Conversations {
    /// Leaves the welcomes for those whom the last commit of this device has added.
    pub(in crate::conversation) fn leave_welcomes(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        id: GroupId,
    ) -> Result<(), EngineError> {
        let has_some = |entry: &GroupEntry| !entry.welcomes.is_empty();
        if !self.groups.get(&id).is_some_and(has_some) {
            return Ok(());
        }
        let Some(entry) = self.groups.get_mut(&id) else { return Ok(()) };
        let welcomes = std::mem::take(&mut entry.welcomes);
        let Some(chat) = entry.chat() else { return Ok(()) };
        for (epoch, welcomed) in welcomes {
            let log = self.groups.get(&id).and_then(|entry| entry.logs.iter().find(|log| log.epoch + 1 == epoch));
            let (log, sequence) = log.map(|log| (Bytes::copy_from_slice(&log.secret), log.cursor)).unwrap_or_default();
            let added = GroupWelcome {
                conversation: Bytes::copy_from_slice(&chat.0),
                group: Bytes::copy_from_slice(&id),
                epoch,
                message: welcomed.welcome.into(),
                log,
                sequence,
                waits: false,
            };
            // On a stream it costs no work, and comes at once.
            if cx.links.is_connected(&welcomed.device) {
                say(turn, welcomed.device, added);
                continue;
            }
            let body = InboxBody { added: Some(added), ..own_body(cx.dir) };
            self.leave_for(turn, cx, (welcomed.account, &[welcomed.device]), id, &body)?;
        }
        Ok(())
    }
}
