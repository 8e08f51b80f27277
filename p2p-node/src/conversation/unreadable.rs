//! Events of kinds that a newer version has made up. They are kept as they are, unshown, and taken as if they came now once this program was updated:
//! so nothing is lost but what is beyond the bounds.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use starling_wire::{Body, Event, EventId, Permissions, Role};

use super::limits::{MAX_UNREADABLE, MAX_UNREADABLE_BYTES};
use crate::{
    api::types::{ChatId, TransientEvent},
    conversation::{Chats, send::timeline_key},
    events::At,
    store::{HeldEventRow, Reading, StoreError, UNREADABLE},
    turn::{EngineError, Turn},
};

/// What is kept in each conversation, with sizes in bytes. What this program knows, as it was updated, is among those that wait until they are due.
pub(super) fn load(
    read: &impl Reading,
    held: &mut BTreeMap<ChatId, BTreeSet<EventId>>,
) -> Result<BTreeMap<ChatId, BTreeMap<EventId, usize>>, StoreError> {
    let mut unreadable: BTreeMap<ChatId, BTreeMap<EventId, usize>> = BTreeMap::new();
    read.each::<HeldEventRow>(UNREADABLE, |key, row| {
        let chat = key.get(..16).and_then(|id| id.try_into().ok()).map(ChatId);
        let id = key.get(16..).and_then(EventId::from_bytes);
        let (Some(chat), Some(id)) = (chat, id) else { return Err(StoreError::Damaged(UNREADABLE.name())) };
        let body = row?.body;
        match Event::decode_body(&body) {
            Ok(Body::Unknown(_)) => drop(unreadable.entry(chat).or_default().insert(id, body.len())),
            _ => drop(held.entry(chat).or_default().insert(id)),
        }
        Ok(())
    })?;
    Ok(unreadable)
}

/// Whether one more event of a device may be kept: each device may have as much as is left free, so that nobody takes the room of others.
fn has_room(kept: &BTreeMap<EventId, usize>, device: [u8; 8], len: usize) -> bool {
    let own = || kept.iter().filter(move |(id, _)| id.device == device).map(|(_, len)| *len);
    let (left, bytes_left) = (
        MAX_UNREADABLE.saturating_sub(kept.len()),
        MAX_UNREADABLE_BYTES.saturating_sub(kept.values().sum::<usize>() + len),
    );
    own().count() < left && own().sum::<usize>() + len <= bytes_left
}

impl Chats {
    /// Keeps an event that this program cannot read, with what its sender may do now. One without a number says something about now, and is lost.
    pub(super) fn keep_unreadable(
        &mut self,
        turn: &mut Turn<'_>,
        chat: ChatId,
        at: &At<'_>,
        (event, role, permissions): (&Bytes, Option<Role>, Permissions),
    ) -> Result<(), EngineError> {
        let Some(state) = self.states.get_mut(&chat).filter(|_| at.id.sequence != 0 && !event.is_empty()) else {
            return Ok(());
        };
        if !has_room(&state.unreadable, at.id.device, event.len()) {
            tracing::warn!("an event of a newer version is lost: too many are kept");
            return Ok(());
        }
        let row = HeldEventRow {
            account: at.origin.account.as_bytes().to_vec(),
            device: at.origin.device.as_bytes().to_vec(),
            via: at.origin.via.stored(),
            body: event.to_vec(),
            role: role.map(|role| role.rank().into()),
            permissions: permissions.to_ranks(),
        };
        turn.put(UNREADABLE, &timeline_key(chat, at.id), &row)?;
        if state.unreadable.is_empty() {
            tracing::warn!("an event of a newer version is kept until this program is updated");
            turn.transient_event(TransientEvent::Net);
        }
        state.unreadable.insert(at.id, event.len());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use starling_wire::Clock;

    use super::*;

    /// What is kept of a device that goes on until there is no room for it.
    fn flood(kept: &mut BTreeMap<EventId, usize>, device: [u8; 8], len: usize) -> usize {
        let mut count = 0;
        while has_room(kept, device, len) {
            count += 1;
            kept.insert(EventId { clock: Clock(count), device, sequence: count }, len);
        }
        usize::try_from(count).unwrap_or_default()
    }

    #[test]
    fn a_device_that_floods_takes_the_room_of_nobody() {
        let mut kept = BTreeMap::new();
        assert_eq!(flood(&mut kept, [1; 8], 100), MAX_UNREADABLE / 2);
        assert_eq!(flood(&mut kept, [2; 8], 100), MAX_UNREADABLE / 4);
        let mut large = BTreeMap::new();
        let len = MAX_UNREADABLE_BYTES / 16;
        assert_eq!(flood(&mut large, [1; 8], len), 8);
        assert_eq!(flood(&mut large, [2; 8], len), 4);
        assert!(has_room(&large, [3; 8], 100), "others are kept");
    }
}
