//! Adding devices whose accounts have accepted an invitation: one commit adds many, each by a key package that its device has made for this group.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use mls_rs::{
    ExtensionList, MlsMessage,
    extension::{ExtensionType, built_in::RatchetTreeExt},
    group::{
        GroupContext, Roster,
        proposal::{AddProposal, Proposal},
    },
    mls_rules::{ProposalBundle, ProposalInfo},
};
use mls_rs_core::{extension::Extension, group::Capabilities};
use starling_keys::{AccountId, Certificate, DeviceId, MAX_DEVICES};
use starling_wire::{
    Policy,
    limits::{MAX_ADD_PACKAGE, MAX_ADDS},
};

use super::{
    CLOCK_MARGIN, Expected, GroupError, GroupId, LiveGroup, Mls, certificate,
    door::DOORS,
    policy::{Denied, POLICY, REASONS, RULES, admits, members},
    time,
};

/// A leaf that lists this extension follows commits that add devices. In a key package it has the id of the group that its device may be added to:
/// what was made for others, or is given away at a home, adds nobody (private use).
pub(super) const ADDS: ExtensionType = ExtensionType::new(0xf5d5);

/// A device that a commit adds, and the welcome for it alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcomed {
    /// Its account.
    pub account: AccountId,
    /// The device.
    pub device: DeviceId,
    /// An `MLSMessage`, without the group's tree.
    pub welcome: Vec<u8>,
}

/// Whether a key package's extensions say that its device may be added to a group.
fn are_for(extensions: &ExtensionList, group: &[u8]) -> bool {
    extensions.get(ADDS).is_some_and(|extension| extension.extension_data[..] == *group)
}

/// Whether a device knows all that members of a group with rules have to.
fn knows_groups(capabilities: &Capabilities) -> bool {
    let knows = |extension| capabilities.extensions.contains(extension);
    [DOORS, POLICY, RULES, ADDS].iter().all(knows) && capabilities.proposals.contains(&REASONS)
}

/// The devices that a commit adds; none if it is another commit.
///
/// # Errors
/// If there is anything else in a commit that adds devices.
pub(super) fn added_by(proposals: &ProposalBundle) -> Result<Option<Vec<AddProposal>>, Denied> {
    if proposals.add_proposals().is_empty() {
        return Ok(None);
    }
    let add = |info: ProposalInfo<Proposal>| match (info.is_by_reference(), info.proposal) {
        (false, Proposal::Add(add)) => Ok(*add),
        _ => Err(Denied::Malformed),
    };
    proposals.clone().into_proposals().map(add).collect::<Result<_, _>>().map(Some)
}

/// Whether a member may add these devices: all of accounts that the policy has. Who has let in the accounts has decided that; who adds them needs the
/// same role.
pub(super) fn check_devices(
    policy: &Policy,
    context: &GroupContext,
    roster: &Roster<'_>,
    author: &AccountId,
    added: &[AddProposal],
) -> Result<(), Denied> {
    let invite = policy.permissions().invite;
    if policy.rules.is_none() || policy.role(author.as_bytes()).is_none_or(|role| role > invite) {
        return Err(Denied::Role);
    }
    // Programs of before, which are members, take such a commit for none.
    if !roster.members_iter().all(|member| member.capabilities.extensions.contains(&ADDS)) {
        return Err(Denied::OldGroup);
    }
    let (mut devices, mut of_account) = (BTreeSet::new(), BTreeMap::<AccountId, usize>::new());
    for (_, member) in members(roster) {
        devices.insert(member.device());
        *of_account.entry(member.account()).or_default() += 1;
    }
    if added.len() > MAX_ADDS || devices.len() + added.len() > policy.most_leaves() {
        return Err(Denied::Full);
    }
    for add in added {
        let device = certificate(add.signing_identity()).ok_or(Denied::NotAMember)?;
        if !are_for(&add.key_package_extensions(), &context.group_id) || !knows_groups(&add.capabilities()) {
            return Err(Denied::Malformed);
        }
        if !admits(policy, &device) {
            let is_member = policy.role(device.account().as_bytes()).is_some();
            return Err(if is_member { Denied::Tombstone } else { Denied::NotAMember });
        }
        let count = of_account.entry(device.account()).or_default();
        *count += 1;
        if *count > MAX_DEVICES {
            return Err(Denied::Full);
        }
        // Who is there comes again by the door, in place of its own leaf.
        if !devices.insert(device.device()) {
            return Err(Denied::Malformed);
        }
    }
    Ok(())
}

/// The device that may be added to a group by a key package; none if the package is not for that. Whether its signatures are right is seen when it is
/// used.
pub fn device_added_by(package: &[u8], group: &GroupId) -> Option<Certificate> {
    if package.len() > MAX_ADD_PACKAGE {
        return None;
    }
    let message = MlsMessage::from_bytes(package).ok()?;
    let package = message.as_key_package().filter(|package| are_for(&package.extensions, group))?;
    certificate(package.signing_identity())
}

impl LiveGroup {
    /// Whether all members follow commits that add devices.
    pub fn takes_adds(&self) -> bool {
        self.group.roster().members_iter().all(|member| member.capabilities.extensions.contains(&ADDS))
    }

    /// A commit at this time (milliseconds since 1970) that adds the devices of these key packages, and says `note` to the members: the commit's
    /// bytes, the group as it will be, and the welcomes. This group stays as it is.
    ///
    /// # Errors
    /// If the policy does not allow it, or one of the packages cannot be used.
    pub fn prepare_adds(
        &self,
        packages: &[Bytes],
        now_ms: u64,
        note: Vec<u8>,
    ) -> Result<(Vec<u8>, LiveGroup, Vec<Welcomed>), GroupError> {
        let mut after = self.clone();
        let mut commit = after.group.change().commit_builder().commit_time(time(now_ms)).authenticated_data(note);
        let mut devices = Vec::new();
        for package in packages {
            let message = MlsMessage::from_bytes(package)?;
            let device = message.as_key_package().and_then(|package| certificate(package.signing_identity()));
            devices.push(device.ok_or(GroupError::Certificate)?);
            commit = commit.add_member(message)?;
        }
        let commit = commit.build()?;
        let bytes = commit.commit_message.to_bytes()?;
        after.group.change().apply_pending_commit()?;
        after.senders.clear();
        if commit.welcome_messages.len() != devices.len() {
            return Err(GroupError::Malformed);
        }
        let mut welcomes = Vec::new();
        for (device, message) in devices.iter().zip(&commit.welcome_messages) {
            let (account, device) = (device.account(), device.device());
            welcomes.push(Welcomed { account, device, welcome: message.to_bytes()? });
        }
        Ok((bytes, after, welcomes))
    }
}

impl Mls {
    /// A key package of this device, made at this time (milliseconds since 1970), by which it may be added to a group.
    ///
    /// # Errors
    /// If the library refuses.
    pub fn package_for(&self, group: &GroupId, now_ms: u64) -> Result<Vec<u8>, GroupError> {
        let mut extensions = ExtensionList::new();
        extensions.set(Extension::new(ADDS, group.to_vec()));
        let from = time(now_ms) - CLOCK_MARGIN;
        let package = self.client.generate_key_package_message(extensions, ExtensionList::new(), Some(from))?;
        Ok(package.to_bytes()?)
    }

    /// Joins a group to which this device was added, by a member who may do that. `info` has the tree: it comes from a door of the epoch that the
    /// welcome leads into.
    ///
    /// # Errors
    /// If the welcome is not for this device, or not into the epoch of the door; if it is not such a group as is expected.
    pub fn join_added(
        &self,
        welcome: &[u8],
        info: &[u8],
        id: &GroupId,
        expected: Expected,
    ) -> Result<LiveGroup, GroupError> {
        let info = MlsMessage::from_bytes(info)?;
        let extensions = info.as_group_info().ok_or(GroupError::Malformed)?.extensions();
        let tree: Option<RatchetTreeExt> = extensions.get_as().map_err(|_| GroupError::Malformed)?;
        let tree = tree.ok_or(GroupError::Malformed)?.tree_data;
        // As of other welcomes, no time is given.
        let (group, joined) = self.client.join_group(Some(tree), &MlsMessage::from_bytes(welcome)?, None)?;
        let live = self.live(group);
        let author = live.member_at(joined.sender).ok_or(GroupError::Certificate)?;
        let may_add = live.policy().is_some_and(|policy| {
            let invite = policy.permissions().invite;
            policy.role(author.account().as_bytes()).is_some_and(|role| role <= invite)
        });
        if live.id() != id || !expected.is_met(&live) || !may_add {
            return Err(GroupError::Malformed);
        }
        Ok(live)
    }
}

#[cfg(test)]
#[path = "adds_tests.rs"]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests;
