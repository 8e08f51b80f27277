//! Messages that a member with a modified program makes.

use bytes::Bytes;

use super::group_state::OpenGroup;
use crate::mls::GroupError;

impl OpenGroup<'_> {
    /// A message with the key of a generation that so many others are before, which are never sent. The state stays as it is: two messages that are
    /// made so, one after the other, are of one generation.
    pub fn encrypt_ahead(&self, generations: u32, batch: &[u8]) -> Result<Bytes, GroupError> {
        let mut live = self.state.live.clone();
        live.pass_over(generations)?;
        Ok(live.encrypt(batch)?.into())
    }
}
