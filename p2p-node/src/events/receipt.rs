//! What a device has received, and how far its user has read.

use starling_keys::{AccountId, DeviceId};
use starling_wire::{Clock, Delivered, Receipt};

use super::{Ahead, At, Fold, Kind, Refusal, Summary, Target, handed::is_handed, summary};
use crate::{
    store::{EventRow, StoreError},
    turn::EventFact,
};

/// Most messages of ours that are reported as read at once; of more, the newest.
const MAX_READ_AT_ONCE: usize = 2_000;

impl Kind for Receipt {
    /// It is about its sender alone.
    fn authorize(&self, _: &At<'_>, _: Option<&Target>) -> Result<(), Refusal> {
        Ok(())
    }

    fn ahead(&self) -> Ahead {
        Ahead::Fold
    }

    fn fold(&self, fold: &mut Fold<'_>, at: &At<'_>, _: Option<Target>) -> Result<(), StoreError> {
        if at.origin.is_here() {
            return read_upto(fold, self.read);
        }
        let (chat, from) = (fold.chat, at.origin.account);
        fold.facts.extend(self.chains.iter().map(|chain| EventFact::KnownChain { chat, from, chain: *chain }));
        if !self.missing.is_empty() {
            let (device, missing) = (at.origin.device, self.missing.clone());
            fold.facts.push(EventFact::Missing { chat, device, missing });
        }
        let this = fold.this;
        if let Some(Delivered { upto, clock, .. }) =
            self.delivered.iter().filter(|d| d.device == this).max_by_key(|d| d.upto).copied()
        {
            fold.facts.push(EventFact::Receipt { chat: fold.chat, device: at.origin.device, upto, clock });
        }
        // Nobody has read what was written after the receipt, or what is still to be written.
        let read = self.read.min(at.id.clock).min(fold.latest());
        if at.origin.own {
            if let Some(sent) = self.delivered.iter().find(|d| d.device == at.origin.device.tag()) {
                delivered_upto(fold, at.origin.account, &at.origin.device, sent.upto)?;
            }
            // Another device of ours has read this.
            return read_upto(fold, read);
        }
        let Some(before) = fold.roster.note_read(at.origin.account, read.0) else { return Ok(()) };
        let rows = fold.between(Clock(before), read, MAX_READ_AT_ONCE)?;
        for (id, row) in rows {
            if fold.authors.is_own(row.author) {
                fold.draft.tell_read(id);
            }
        }
        Ok(())
    }
}

/// Another device of ours says up to which of its events each other account has them.
pub fn delivered_upto(fold: &mut Fold<'_>, own: AccountId, device: &DeviceId, upto: u64) -> Result<(), StoreError> {
    let Some(before) = fold.roster.note_delivered(own, device, upto) else { return Ok(()) };
    let (latest, tag) = (fold.latest(), device.tag());
    // Mostly these are the newest messages.
    for limit in [32, MAX_READ_AT_ONCE] {
        let rows = fold.between(Clock::default(), latest, limit)?;
        if rows.len() >= limit
            && limit < MAX_READ_AT_ONCE
            && !rows.iter().any(|(id, _)| id.device == tag && id.sequence <= before)
        {
            continue;
        }
        let now = rows.iter().filter(|(id, _)| id.device == tag && id.sequence > before && id.sequence <= upto);
        for (id, _) in now {
            fold.draft.tell_delivered(*id);
        }
        break;
    }
    Ok(())
}

/// Our account has read up to a clock: what is unread lies beyond.
pub fn read_upto(fold: &mut Fold<'_>, upto: Clock) -> Result<(), StoreError> {
    let (before, newest) = (Clock(fold.counters.read), Clock(fold.counters.newest));
    if upto <= before && (fold.counters.unread == 0 || before < newest) {
        return Ok(());
    }
    let read = upto.max(before);
    let unread = if read >= newest {
        0
    } else {
        let rows = fold.between(before, read, usize::MAX)?;
        let counted = |row: &EventRow| !fold.authors.is_own(row.author) && counts(row);
        let read_now = rows.iter().filter(|(_, row)| counted(row)).count();
        fold.counters.unread.saturating_sub(read_now.try_into().unwrap_or(u32::MAX))
    };
    (fold.counters.read, fold.counters.unread, fold.changed) = (read.0, unread, true);
    Ok(())
}

/// Whether somebody else's row is one that counts as unread.
pub(super) fn counts(row: &EventRow) -> bool {
    if is_handed(row) {
        return false;
    }
    match summary(row) {
        Some(Summary::Message(_)) => true,
        Some(Summary::Call(note)) => note.is_missed(),
        Some(Summary::Device(change)) => change.is_alarm(),
        None => false,
    }
}
