//! What a member's events may be for them to count, as the conversation's policy has it.

use starling_keys::AccountId;
use starling_wire::{Body, Event, Permissions, Policy, Role};

use super::{
    ChatState, Conversations,
    group::{GroupEntry, GroupId},
    policy::{may_send, slow_ms},
};
use crate::api::types::{ChatId, ChatKind};

/// What an account may write in a conversation.
pub(super) struct Allowed {
    account: AccountId,
    kind: ChatKind,
    role: Option<Role>,
    permissions: Permissions,
    /// So long it waits between two messages in slow mode; 0 if it need not.
    slow_ms: u64,
    /// The epoch of the group: with each the pace begins anew.
    epoch: u64,
}

/// Why an event counts for nobody.
#[derive(Debug, thiserror::Error)]
pub(super) enum Void {
    /// The policy does not let its author write it.
    #[error("its sender may not send it")]
    NotAllowed,
    /// Slow mode does not.
    #[error("it came too soon in slow mode")]
    TooSoon,
}

impl Conversations {
    /// What the policy of a conversation lets an account write now; of what comes `late` the epoch and the policy that it had then.
    pub(super) fn allowed(
        &self,
        account: AccountId,
        (chat, group): (ChatId, GroupId),
        kind: ChatKind,
        late: Option<&(u64, Policy)>,
    ) -> Allowed {
        let policy = late.map(|(_, policy)| policy).or_else(|| self.policies.policy(&chat));
        let role = policy.and_then(|policy| policy.role(account.as_bytes()));
        let current = || self.groups.get(&group).map_or(0, GroupEntry::epoch);
        Allowed {
            account,
            kind,
            role,
            permissions: policy.map_or(Permissions::FORMER, Policy::permissions),
            slow_ms: policy.filter(|_| kind == ChatKind::Group).map_or(0, |policy| slow_ms(policy, role)),
            epoch: late.map_or_else(current, |(epoch, _)| *epoch),
        }
    }
}

impl Allowed {
    /// Takes note of an event in the order in which they count.
    ///
    /// # Errors
    /// If it counts for nobody.
    pub(super) fn take(&self, state: &mut ChatState, event: &Event) -> Result<(), Void> {
        if !may_send(self.kind, self.role, self.permissions, &event.body) {
            return Err(Void::NotAllowed);
        }
        let is_slowed = self.slow_ms > 0 && matches!(event.body, Body::Text(_));
        if is_slowed && !state.roster.keeps_pace(self.account, self.epoch, event.id.clock.ms(), self.slow_ms) {
            return Err(Void::TooSoon);
        }
        Ok(())
    }
}
