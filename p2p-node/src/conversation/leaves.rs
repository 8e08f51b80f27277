//! What the leaves of a group say of the programs of its devices: which are older than this one, and whether the group can be raised to the version
//! of policies that this one knows.

use starling_keys::{AccountId, DeviceId};
use starling_wire::POLICY_WITH_RULES;

use super::{ChatState, Conversations, GroupEntry, context::Context, group::GroupId};
use crate::{
    api::types::{ChatId, OldProgram},
    contacts::Directory,
    mls::LiveGroup,
    store::LeavesRow,
    turn::{EngineError, Turn},
};

impl GroupEntry {
    /// Notes what the leaves of its epoch say.
    pub(super) fn note_leaves(&mut self, live: &LiveGroup) {
        self.row.leaves = Some(LeavesRow {
            version: POLICY_WITH_RULES,
            outdated: live.outdated().iter().flat_map(|device| *device.as_bytes()).collect(),
            can_be_raised: live.can_be_raised(),
            is_newer: live.is_newer(),
        });
        self.touch();
    }

    /// Whether that is known: an older program has not written it, or has written what it knew of.
    fn knows_leaves(&self) -> bool {
        self.row.leaves.as_ref().is_some_and(|leaves| leaves.version == POLICY_WITH_RULES)
    }

    /// The devices in it whose programs are older than this one.
    pub(crate) fn outdated(&self) -> impl Iterator<Item = DeviceId> {
        let devices = self.row.leaves.as_ref().map(|leaves| leaves.outdated.as_slice()).unwrap_or_default();
        devices.chunks(32).filter_map(|device| DeviceId::from_stored(device).ok())
    }

    /// Whether it is of an older version, and all its devices follow a commit that raises it.
    pub(crate) fn can_be_raised(&self) -> bool {
        self.row.leaves.as_ref().is_some_and(|leaves| leaves.can_be_raised)
    }

    /// Whether it is of a newer version than this program knows: nothing that stands in its log can be judged here.
    pub(crate) fn is_newer(&self) -> bool {
        self.row.leaves.as_ref().is_some_and(|leaves| leaves.is_newer)
    }
}

impl Conversations {
    /// Looks at the leaves of a group that another version of this program has written.
    pub(super) fn look_at_leaves(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        id: GroupId,
    ) -> Result<(), EngineError> {
        if self.groups.get(&id).is_none_or(|group| group.row.dead || group.knows_leaves()) {
            return Ok(());
        }
        if let Some(group) = self.open(turn, cx.mls, id)? {
            group.entry.note_leaves(&group.state.live);
        }
        Ok(())
    }

    /// Whether this program has to be updated before a conversation can be read, or entered.
    pub(crate) fn needs_update(&self, chat: ChatId) -> bool {
        let is_newer = |(_, group): (usize, &GroupEntry)| !group.row.dead && group.is_newer();
        let has_newer = |state: &ChatState| !state.unreadable.is_empty() || self.groups.groups_of(state).any(is_newer);
        self.policies.is_too_new(&chat) || self.chats.get(&chat).is_some_and(has_newer)
    }

    /// The devices of a group's accounts whose programs have to be updated: those that keep it from the present version, and, where it is of that,
    /// those that cannot come in, as far as that is known of contacts. The leaf of this device may only have to say that its program was updated.
    pub(crate) fn old_programs(&self, dir: Directory<'_>, chat: ChatId) -> Vec<OldProgram> {
        let Some(policy) = self.policies.policy(&chat) else { return Vec::new() };
        let Some(group) = self.active_group(dir, chat).and_then(|id| self.groups.get(&id)) else { return Vec::new() };
        if policy.rules.is_none() {
            let outdated: Vec<DeviceId> = group.outdated().collect();
            let others = group.members.iter().filter(|member| member.device != dir.account.device());
            let members = others.filter(|member| outdated.contains(&member.device));
            return members.map(|member| self.old_program(dir, member.account, member.device)).collect();
        }
        let accounts = policy.members.iter().filter_map(|member| AccountId::from_bytes(&member.account).ok());
        let outside =
            accounts.flat_map(|account| self.outdated_of(dir, account).into_iter().map(move |d| (account, d)));
        let waits = outside.filter(|(_, device)| !group.has_member(device));
        waits.map(|(account, device)| self.old_program(dir, account, device)).collect()
    }

    /// The devices of a contact that are older in the conversation with it.
    fn outdated_of(&self, dir: Directory<'_>, account: AccountId) -> Vec<DeviceId> {
        if account == dir.account.id() || dir.person(&account).is_none() {
            return Vec::new();
        }
        let is_used = |(_, group): &(usize, &GroupEntry)| !group.row.dead && group.row.confirmed;
        let state = self.chats.direct_with(&account).and_then(|chat| self.chats.get(&chat));
        let newest = state.and_then(|state| self.groups.groups_of(state).filter(is_used).last());
        let Some((_, group)) = newest else { return Vec::new() };
        let is_theirs = |device: &DeviceId| group.members.iter().any(|m| m.account == account && m.device == *device);
        group.outdated().filter(is_theirs).collect()
    }

    fn old_program(&self, dir: Directory<'_>, account: AccountId, device: DeviceId) -> OldProgram {
        let label = self.authors.label(account, device.tag()).map(|label| label.name.clone()).unwrap_or_default();
        OldProgram { account, name: dir.name_of(&account), own: account == dir.account.id(), device, label }
    }
}
