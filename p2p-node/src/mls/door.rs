//! Entering a group by an external commit, with nobody else online.

use mls_rs::{
    MlsMessage,
    extension::{ExtensionType, built_in::RatchetTreeExt},
    group::{
        Roster,
        proposal::{CustomProposal, Proposal},
    },
    identity::SigningIdentity,
    mls_rules::ProposalBundle,
};
use starling_keys::MAX_DEVICES;
use starling_wire::Reasons;

use super::{
    Expected, GroupError, GroupId, LiveGroup, Mls, certificate,
    policy::{Denied, POLICY, REASONS, context_of},
    time,
};

/// A leaf that names this extension as one that it knows follows external commits (private use). Programs of version 0.1 do not.
pub(super) const DOORS: ExtensionType = ExtensionType::new(0xf5d0);

/// The place of an external commit among rivals: after those of members, whose leaves are all lower.
pub const AFTER_MEMBERS: u32 = u32::MAX;

/// Whether somebody may come into a group by an external commit with these proposals. This follows from the group's state alone, for every member.
pub(super) fn may_enter(newcomer: &SigningIdentity, roster: &Roster<'_>, proposals: &ProposalBundle) -> bool {
    let Some(newcomer) = certificate(newcomer) else { return false };
    let mut proposals = proposals.clone().into_proposals();
    // Nobody is removed: a device that has lost its state gets another group.
    let enters = matches!(proposals.next().map(|p| p.proposal), Some(Proposal::ExternalInit(_)));
    let all_follow = roster.members_iter().all(|member| member.capabilities.extensions.contains(&DOORS));
    let members = roster.members_iter().filter_map(|member| certificate(&member.signing_identity));
    let (mut own_devices, mut is_there) = (0, false);
    for member in members {
        own_devices += usize::from(member.account() == newcomer.account());
        is_there |= member.device() == newcomer.device();
    }
    enters && proposals.next().is_none() && all_follow && !is_there && (1..MAX_DEVICES).contains(&own_devices)
}

/// A group that this device has prepared to enter.
pub struct Entered {
    /// The group in the epoch that the commit begins.
    pub live: LiveGroup,
    /// The commit.
    pub commit: Vec<u8>,
}

impl LiveGroup {
    /// Whether the member at a leaf follows those who enter, and what a group's policy needs: one that does not, or does not any more, would shut the door
    /// behind it, or keep others from commits. The rules do not see the leaf that a commit brings.
    pub(super) fn follows_newcomers(&self, leaf: u32) -> bool {
        let Ok(member) = self.group.roster().member_with_index(leaf) else { return false };
        let knows_groups =
            || member.capabilities.extensions.contains(&POLICY) && member.capabilities.proposals.contains(&REASONS);
        member.capabilities.extensions.contains(&DOORS) && (!self.has_policy() || knows_groups())
    }

    /// What a newcomer enters the current epoch with: an `MLSMessage` with the `GroupInfo` and its tree. `None` if a member would not follow it.
    ///
    /// # Errors
    /// If the library refuses.
    pub fn door(&self) -> Result<Option<Vec<u8>>, GroupError> {
        let roster = self.group.roster();
        if !roster.members_iter().all(|member| member.capabilities.extensions.contains(&DOORS)) {
            return Ok(None);
        }
        Ok(Some(self.group.group_info_message_allowing_ext_commit(true)?.to_bytes()?))
    }
}

impl Mls {
    /// Prepares to enter the group `id`, from `epoch` on, at this time (milliseconds since 1970), and says `note` to its members. `info` comes from
    /// [`LiveGroup::door`] of anybody who could seal a door. A leaf of this device that is there is replaced, where the group has a policy.
    ///
    /// # Errors
    /// If it is not such a group as is expected; if this device may not enter it.
    pub fn enter(
        &self,
        info: &[u8],
        (id, epoch): (&GroupId, u64),
        expected: Expected,
        note: Vec<u8>,
        now_ms: u64,
    ) -> Result<Entered, GroupError> {
        self.enter_with(info, (id, epoch), expected, (note, None), now_ms)
    }

    /// The same, with the reasons of the commit, if it needs some.
    pub(super) fn enter_with(
        &self,
        info: &[u8],
        (id, epoch): (&GroupId, u64),
        expected: Expected,
        (note, reasons): (Vec<u8>, Option<Reasons>),
        now_ms: u64,
    ) -> Result<Entered, GroupError> {
        let info = MlsMessage::from_bytes(info)?;
        if info.group_id() != Some(&id[..]) {
            return Err(GroupError::Malformed);
        }
        let extensions = info.as_group_info().map(|info| &info.group_context().extensions);
        if extensions.is_some_and(|extensions| context_of(extensions) == Err(Denied::NewGroup)) {
            return Err(GroupError::Newer);
        }
        let own = if expected.has_policy() { self.own_leaf(&info) } else { None };
        let builder = self.client.external_commit_builder()?.commit_time(time(now_ms)).with_authenticated_data(note);
        let builder = if let Some(leaf) = own { builder.with_removal(leaf) } else { builder };
        let builder = match reasons {
            Some(reasons) => builder.with_custom_proposal(CustomProposal::new(REASONS, reasons.to_bytes())),
            None => builder,
        };
        let (group, commit) = builder.build(info)?;
        let live = self.live(group);
        if live.id() != id || epoch.checked_add(1) != Some(live.epoch()) || !expected.is_met(&live) {
            return Err(GroupError::Malformed);
        }
        Ok(Entered { live, commit: commit.to_bytes()? })
    }

    /// The leaf that this device has in the tree of a group's door.
    fn own_leaf(&self, info: &MlsMessage) -> Option<u32> {
        let tree: RatchetTreeExt = info.as_group_info()?.extensions().get_as().ok()??;
        let (own, _) = self.client.signing_identity().ok()?;
        let of_device = |member: &mls_rs::group::Member| member.signing_identity.signature_key == own.signature_key;
        tree.tree_data.roster().members_iter().find(of_device).map(|member| member.index)
    }
}
