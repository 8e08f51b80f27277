//! What comes late of an epoch that is over: who has written it, and what that member might do, follow from the ratchet tree and the policy of that epoch.

use starling_wire::Policy;

use crate::{
    conversation::{
        group_state::OpenGroup,
        group_store::{epoch_key, value},
    },
    mls::{LiveGroup, Mls, Processed},
    store::{PARENTS, ParentRow, Reading},
    turn::{EngineError, Turn},
};

impl OpenGroup<'_> {
    /// What came out of a message, with who has sent it, also where that device has no leaf any more or another has its place.
    pub(in crate::conversation) fn with_sender(
        &mut self,
        turn: &Turn<'_>,
        mls: &Mls,
        processed: Processed,
    ) -> Result<Processed, EngineError> {
        let Processed::Past { leaf, data, epoch } = processed else { return Ok(processed) };
        let sender = match self.past(turn, mls, epoch)? {
            Some(past) => past.member_at(leaf),
            // It is not kept where leaves stay as they are, or where it is too large.
            None => self.state.live.member_at(leaf),
        };
        Ok(sender.map_or(Processed::Garbage, |sender| Processed::Application { sender, data, epoch }))
    }

    /// The policy by which counts what stands in the log of an epoch that is over, up to the commit: as long as a commit was followed that was not found
    /// there.
    pub(in crate::conversation) fn late_policy(
        &mut self,
        turn: &Turn<'_>,
        mls: &Mls,
        epoch: u64,
    ) -> Result<Option<Policy>, EngineError> {
        if !self.entry.is_unread(epoch) {
            return Ok(None);
        }
        Ok(self.past(turn, mls, epoch)?.and_then(LiveGroup::policy))
    }

    /// The group in an epoch that is over, if that is kept.
    fn past(&mut self, turn: &Turn<'_>, mls: &Mls, epoch: u64) -> Result<Option<&LiveGroup>, EngineError> {
        let secret = self.entry.parent(epoch).map(|mark| mark.secret.clone());
        let Some(secret) = secret.filter(|_| self.state.live.has_policy()) else { return Ok(None) };
        if self.state.past.as_ref().is_none_or(|(of, _)| *of != secret) {
            let row = turn.get::<ParentRow>(PARENTS, &epoch_key(&self.entry.id, epoch))?;
            let Some(row) = row.filter(|row| !row.state.is_empty()) else { return Ok(None) };
            let current = self.state.live.value()?;
            let loaded = mls.load(&self.entry.id, value(&row.state, &[]));
            self.state.live.reset_value(current);
            match loaded {
                Ok(past) => self.state.past = Some((secret, past)),
                Err(error) => {
                    tracing::error!(%error, "the state of an earlier epoch is damaged");
                    return Ok(None);
                }
            }
        }
        Ok(self.state.past.as_ref().map(|(_, past)| past))
    }
}
