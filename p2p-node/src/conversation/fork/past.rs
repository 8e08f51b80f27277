//! What comes late of an epoch that is over: what its author might do follows from the policy of that epoch. Who that is the library has found out: it
//! takes nothing from a leaf that has another key now.

use starling_wire::Policy;

use crate::{
    conversation::{
        group_state::OpenGroup,
        group_store::{epoch_key, value},
    },
    mls::{LiveGroup, Mls},
    store::{PARENTS, ParentRow, Reading},
    turn::{EngineError, Turn},
};

impl OpenGroup<'_> {
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
