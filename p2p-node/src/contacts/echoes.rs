//! Which device chains were said back to their owners, and when.

use std::collections::BTreeMap;

use starling_keys::{AccountId, DeviceChain, chain::Head};

use super::limits::ECHO_AGAIN_MS;
use crate::api::types::ChatId;

/// The chains that were sent to their owners last: which, and when (steady time).
#[derive(Default)]
pub struct Echoes(BTreeMap<(ChatId, AccountId), (Head, u64)>);

impl Echoes {
    /// Whether a chain is to be sent into a conversation now: not the same again and again.
    pub fn is_due(&mut self, chat: ChatId, chain: &DeviceChain, now: u64) -> bool {
        let last = self.0.get(&(chat, chain.account));
        let due = last.is_none_or(|(head, at)| *head != chain.head() || at.saturating_add(ECHO_AGAIN_MS) <= now);
        if due {
            self.0.insert((chat, chain.account), (chain.head(), now));
        }
        due
    }
}
