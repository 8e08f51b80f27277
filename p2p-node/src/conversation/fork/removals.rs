//! Devices that their accounts have removed, and that are still in a group where a member is: whoever is apart from it does not come there, and tells it
//! what it may not be told by these accounts. Any member removes them then.

use bytes::Bytes;
use starling_keys::{DeviceChain, DeviceId, chain::Summary};
use starling_wire::{
    direct::{self as wire, Removals},
    limits::MAX_FRAME_CHAINS,
};

use super::apart::say;
use crate::{
    conversation::{
        Conversations,
        context::Context,
        group::{GroupEntry, GroupId},
        limits::MAX_DIRECT_CHAIN,
    },
    turn::{Fact, Turn},
};

/// Tells a member of a group what accounts of it have removed; of a long chain the end, which continues what is known of it in most cases.
pub(super) fn tell_removals<'a>(
    turn: &mut Turn<'_>,
    to: DeviceId,
    group: GroupId,
    chains: impl Iterator<Item = &'a DeviceChain>,
) {
    let bytes = |chain: &DeviceChain| -> Bytes {
        if chain.as_bytes().len() <= MAX_DIRECT_CHAIN {
            return Bytes::copy_from_slice(chain.as_bytes());
        }
        chain.encode_from(chain.len().saturating_sub(1)).into()
    };
    let chains: Vec<Bytes> = chains.take(MAX_FRAME_CHAINS).map(bytes).collect();
    if !chains.is_empty() {
        let removals = Some(Removals { group: Bytes::copy_from_slice(&group), chains });
        say(turn, to, wire::Apart { removals, ..wire::Apart::default() });
    }
}

impl Conversations {
    /// A member shows the chains of accounts of a group. They are signed by these: what is true of them counts, whoever has shown it.
    pub(super) fn on_told_removals(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &Context<'_>,
        device: DeviceId,
        told: &Removals,
    ) {
        let Ok(id) = GroupId::try_from(&*told.group) else { return };
        let entry = self.groups.get(&id).filter(|entry| !entry.row.dead);
        let Some(chat) = entry.filter(|entry| self.is_of_group(cx.dir, entry, &device)).and_then(GroupEntry::chat)
        else {
            return;
        };
        // Before signatures are checked.
        if !self.groups.get_mut(&id).is_some_and(|entry| entry.forks.may_work(Some(device), turn.now())) {
            return;
        }
        let Some(policy) = self.policies.policy(&chat) else { return };
        for chain in told.chains.iter().take(MAX_FRAME_CHAINS).filter(|chain| chain.len() <= MAX_DIRECT_CHAIN) {
            let Ok(Summary { account, .. }) = Summary::of(chain) else { continue };
            if account != cx.dir.account.id() && policy.role(account.as_bytes()).is_some() {
                turn.fact(Fact::MemberChain { account, chain: chain.to_vec() });
            }
        }
    }
}
