//! The conversations themselves: what is written in them and by whom, without the groups that encrypt it.

use std::ops::{Deref, DerefMut};

use super::{ChatState, membership::Memberships};
use crate::{api::types::ChatId, turn::Tracked};

/// All conversations, by their ids. Their methods stand in the files of what they are about.
#[derive(Default)]
pub struct Chats {
    pub(super) states: Tracked<ChatId, ChatState>,
    pub memberships: Memberships,
}

impl Deref for Chats {
    type Target = Tracked<ChatId, ChatState>;

    fn deref(&self) -> &Self::Target {
        &self.states
    }
}

impl DerefMut for Chats {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.states
    }
}
