//! An account's reaction to a message. It has one at most: the latest counts.

use starling_wire::{EventId, Reaction};

use super::{At, Fold, Kind, Refusal, Target, handed::is_handed};
use crate::{
    api::types::DurableEventKind,
    store::{EventRow, ReactionRow, StoreError},
};

impl Kind for Reaction {
    fn target(&self) -> Option<EventId> {
        Some(self.target)
    }

    fn authorize(&self, _: &At<'_>, target: Option<&Target>) -> Result<(), Refusal> {
        if !self.emoji.is_empty() && !starling_text::is_one_emoji(&self.emoji) {
            return Err(Refusal::NotAnEmoji);
        }
        match target {
            Some(Target::Message { row, .. }) if row.deleted => Err(Refusal::Deleted),
            Some(Target::Note) => Err(Refusal::NotAMessage),
            _ => Ok(()),
        }
    }

    fn fold(&self, fold: &mut Fold<'_>, at: &At<'_>, target: Option<Target>) -> Result<(), StoreError> {
        let reaction = ReactionRow {
            account: at.origin.account.as_bytes().to_vec(),
            emoji: self.emoji.clone(),
            clock: at.id.clock.0,
            device: at.id.device.to_vec(),
        };
        match target {
            Some(Target::Message { mut row, .. }) => {
                if is_handed(&row) {
                    let kept = reaction.clone();
                    fold.keep_early(self.target, |row| {
                        set(&mut row.reactions, kept);
                    })?;
                }
                if apply(&mut row, reaction) {
                    fold.draft.put(self.target, row);
                    fold.draft.tell(DurableEventKind::Reaction, self.target);
                }
            }
            _ => fold.keep_early(self.target, |row| {
                set(&mut row.reactions, reaction);
            })?,
        }
        Ok(())
    }
}

/// Sets, changes or removes a reaction; `false` if the message is deleted, or a later reaction of its account is there.
pub fn apply(row: &mut EventRow, reaction: ReactionRow) -> bool {
    !row.deleted && set(&mut row.reactions, reaction)
}

/// In the order in which they were set. One that was removed stays, without an emoji: an older one may be still to come.
fn set(reactions: &mut Vec<ReactionRow>, new: ReactionRow) -> bool {
    let order = |r: &ReactionRow| (r.clock, r.device.clone());
    if reactions.iter().any(|r| r.account == new.account && order(r) >= order(&new)) {
        return false;
    }
    reactions.retain(|r| r.account != new.account);
    let at = reactions.partition_point(|r| order(r) < order(&new));
    reactions.insert(at, new);
    true
}
