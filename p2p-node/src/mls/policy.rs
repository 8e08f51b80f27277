//! What the policy of a group allows, as every member enforces it: from the group's state and the commit alone. A sender asks the same functions first.

use std::collections::BTreeSet;

use mls_rs::{
    ExtensionList,
    extension::ExtensionType,
    group::{Roster, proposal::ProposalType},
};
use mls_rs_core::extension::Extension;
use starling_keys::{AccountId, Certificate, DeviceChain, DeviceId};
use starling_wire::{
    CommitAuthors, LEAVE_DOMAIN, Leave, Policy, PolicyContext, PolicyError, PolicyMember, Reasons, Role, Tombstone,
};

use super::{
    community::check_carried,
    permissions::{check_raised, check_rules},
    rules::certificate,
};

/// The group context's extension that has the policy (private use).
pub(super) const POLICY: ExtensionType = ExtensionType::new(0xf5d1);
/// No extension of any group: a leaf that lists it knows the policy's version [`starling_wire::POLICY_WITH_RULES`] (private use).
pub(super) const RULES: ExtensionType = ExtensionType::new(0xf5d3);
/// No extension of any group: a leaf that lists it follows a commit that raises a group to that version (private use).
pub(super) const RAISES: ExtensionType = ExtensionType::new(0xf5d4);
/// The proposal that has a commit's reasons (private use).
pub(super) const REASONS: ProposalType = ProposalType::new(0xf5d2);

/// Why the policy of a group does not allow something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The policy cannot be read, or a commit has what no commit may have.
    #[error("not what a group's commit may be")]
    Malformed,
    /// Whoever does it is none of the group's accounts.
    #[error("not a member of the group")]
    NotAMember,
    /// The role is too low.
    #[error("the role is too low for that")]
    Role,
    /// Somebody who was removed was added as if nothing had been.
    #[error("the account was removed from the group")]
    Removed,
    /// The group would be left without an owner.
    #[error("the group would be left without an owner")]
    NoOwner,
    /// A device that its account has removed, or that got in by one.
    #[error("the device was removed from its account")]
    Tombstone,
    /// A reason does not show what it is given for.
    #[error("a commit's reasons do not show what it does")]
    Reason,
    /// Others have to commit first.
    #[error("the account has made too many of the last commits")]
    TooSoon,
    /// It would have too many devices.
    #[error("the group has no room for more devices")]
    Full,
    /// The account is banned.
    #[error("the account is banned from the group")]
    Banned,
    /// The link does not lead into the group: it is none of the group's any more, or somebody has to approve.
    #[error("the link does not lead into the group (any more)")]
    Link,
    /// There are as many links as can be.
    #[error("the group has too many links")]
    TooManyLinks,
    /// As many accounts are banned as can be.
    #[error("too many accounts are banned")]
    TooManyBans,
    /// The group is of a version that does not know this.
    #[error("the group is of an older version, which does not know this")]
    OldGroup,
    /// A device of the group has a program that could not go on in it.
    #[error("a device of the group has an older program, which could not go on in it")]
    OldProgram,
    /// The group is of a version that is not known here.
    #[error("the group is of a newer version: this program has to be updated")]
    NewGroup,
    /// It is a channel, and who is in it is decided in its community.
    #[error("who is in a channel is decided in its community")]
    Community,
    /// A statement of a community is missing, does not count, or says something else.
    #[error("a statement of a community does not count")]
    Statement,
    /// The policy does not say of the audit log what it has to.
    #[error("a commit leaves out what it does in the audit log")]
    Audit,
}

impl From<PolicyError> for Denied {
    fn from(error: PolicyError) -> Self {
        match error {
            PolicyError::Malformed => Self::Malformed,
            PolicyError::Newer => Self::NewGroup,
        }
    }
}

/// The policy in a group's context, and what stands with it: none in a direct conversation.
///
/// # Errors
/// If there is one that cannot be read.
pub(super) fn context_of(extensions: &ExtensionList) -> Result<Option<PolicyContext>, Denied> {
    let Some(extension) = extensions.get(POLICY) else { return Ok(None) };
    Ok(Some(PolicyContext::from_bytes(&extension.extension_data)?))
}

/// A context's extensions with a policy, and nothing else.
pub(super) fn extensions_with(context: &PolicyContext) -> ExtensionList {
    let mut extensions = ExtensionList::new();
    extensions.set(Extension::new(POLICY, context.to_bytes()));
    extensions
}

/// Whether a device may be in a group with this policy.
pub fn admits(policy: &Policy, device: &Certificate) -> bool {
    let account = device.account();
    let way: Vec<DeviceId> = device.way().collect();
    let is_broken = |(at, device): (usize, &DeviceId)| {
        let Some(buried) = policy.tombstone(account.as_bytes(), device.as_bytes()) else { return false };
        // A path through a removed device counts only if it goes on with one that stays.
        !way.get(at + 1).is_some_and(|next| buried.staying.contains(next.as_bytes()))
    };
    policy.role(account.as_bytes()).is_some() && !way.iter().enumerate().any(is_broken)
}

/// The tombstone of a device, by the chain that has removed it.
pub fn tombstone_by(chain: &DeviceChain, device: &DeviceId) -> Option<Tombstone> {
    if !chain.has_removed(device) {
        return None;
    }
    let mut staying = BTreeSet::new();
    for other in &chain.devices {
        let Some(path) = chain.path_to(&other.id) else { continue };
        let way: Vec<DeviceId> = path.signers().chain([other.id]).collect();
        let next = way.iter().position(|d| d == device).and_then(|at| way.get(at + 1));
        staying.extend(next.map(|next| *next.as_bytes()));
    }
    let (account, device) = (*chain.account.as_bytes(), *device.as_bytes());
    Some(Tombstone { account, device, staying: staying.into_iter().collect() })
}

/// Where a commit stands: the group, and the epoch that it ends.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    pub group: &'a [u8],
    pub epoch: u64,
}

/// Whether an account may change a group's policy in this way, for these reasons.
///
/// # Errors
/// Why not.
pub fn check_change(
    before: &Policy,
    after: &Policy,
    author: AccountId,
    reasons: &Reasons,
    place: Place<'_>,
) -> Result<(), Denied> {
    let Some(role) = before.role(author.as_bytes()) else { return Err(Denied::NotAMember) };
    let is_of_same_kind = (after.conversation, after.large) == (before.conversation, before.large);
    if !is_of_same_kind || !after.is_in_order() {
        return Err(Denied::Malformed);
    }
    if before.is_raised_by(after) {
        return check_raised(before, after, reasons);
    }
    if let Some(statement) = reasons.statement.as_ref().filter(|_| before.channel_of().is_some()) {
        return check_carried(before, after, (statement, reasons), place);
    }
    let is_channel = before.channel_of().is_some();
    let permissions = before.permissions();
    let says_otherwise = (&before.name, &before.topic) != (&after.name, &after.topic);
    if says_otherwise && role > permissions.settings {
        return Err(Denied::Role);
    }
    let gone = gone(before, after);
    // Where all owners leave, somebody has to be one.
    let heir = before.heir(&gone);
    for member in &after.members {
        match before.member(&member.account) {
            Some(was) if heir == Some(was.account) && *member == heir_of(was) => {}
            Some(was) if is_channel && was.role != member.role => return Err(Denied::Community),
            None if is_channel => return Err(Denied::Community),
            Some(was) => check_role(was, member, (author, role))?,
            None => check_added(member, (author, role), permissions.invite, place)?,
        }
    }
    for member in before.members.iter().filter(|m| gone.contains(&m.account)) {
        let may_remove = role <= permissions.remove && role.is_above(member.role);
        // From a channel of a community nobody is removed but with a ban: the next statement would bring them back.
        let stays_out = !is_channel || after.bans(&member.account);
        match check_gone(member, (author, may_remove && stays_out), reasons, place) {
            Err(Denied::Role) if may_remove => return Err(Denied::Community),
            checked => checked?,
        }
    }
    if after.removed != removed_after(before, after) {
        return Err(Denied::Removed);
    }
    check_rules(before, after, author, role)?;
    check_buried(before, after, reasons)
}

/// Accounts that a policy does not have any more.
pub(super) fn gone(before: &Policy, after: &Policy) -> Vec<[u8; 32]> {
    before.members.iter().map(|m| m.account).filter(|account| after.member(account).is_none()).collect()
}

/// A member that becomes the owner as all owners leave.
fn heir_of(member: &PolicyMember) -> PolicyMember {
    PolicyMember { role: Role::Owner, ..*member }
}

/// Takes out accounts that leave; if no owner is left, one of those that stay becomes it.
pub fn let_leave(policy: &mut Policy, account: &[u8; 32]) {
    let heir = policy.heir(&[*account]);
    policy.remove(account);
    if let Some(member) = policy.members.iter_mut().find(|m| Some(m.account) == heir) {
        *member = heir_of(member);
    }
}

/// The accounts that are remembered as removed after a change: those that go with it, and those from before that nobody has let in again.
pub fn removed_after(before: &Policy, after: &Policy) -> Vec<[u8; 32]> {
    let mut expected = before.clone();
    expected.removed.retain(|account| after.member(account).is_none());
    expected.remove_all(&gone(before, after));
    expected.removed
}

/// A member that stays: only its role may be another.
fn check_role(was: &PolicyMember, is: &PolicyMember, (author, role): (AccountId, Role)) -> Result<(), Denied> {
    if was == is {
        return Ok(());
    }
    if (was.by, was.since) != (is.by, is.since) {
        return Err(Denied::Malformed);
    }
    let own = was.account == *author.as_bytes();
    // Owners make others owners, and step back themselves; that there is one left is a property of every policy.
    let allowed = match role {
        Role::Owner => own || was.role != Role::Owner,
        Role::Admin => !own && role.is_above(was.role) && role.is_above(is.role),
        Role::Moderator | Role::Member | Role::Reader => false,
    };
    if allowed { Ok(()) } else { Err(Denied::Role) }
}

/// A member that is new.
fn check_added(
    member: &PolicyMember,
    (author, role): (AccountId, Role),
    may_invite: Role,
    place: Place<'_>,
) -> Result<(), Denied> {
    if AccountId::from_bytes(&member.account).is_err()
        || member.by != *author.as_bytes()
        || Some(member.since) != place.epoch.checked_add(1)
    {
        return Err(Denied::Malformed);
    }
    // Members let in others like themselves, where they may let in anybody.
    let is_equal = role == Role::Member && member.role == Role::Member;
    if role <= may_invite && (role.is_above(member.role) || is_equal) { Ok(()) } else { Err(Denied::Role) }
}

/// A member that is not there any more: somebody above it has removed it, or it has left.
fn check_gone(
    member: &PolicyMember,
    (author, may_remove): (AccountId, bool),
    reasons: &Reasons,
    place: Place<'_>,
) -> Result<(), Denied> {
    if member.account == *author.as_bytes() {
        return Err(Denied::Malformed);
    }
    let leaves = || reasons.leaves.iter().any(|leave| leave.account == member.account && says_so(leave, member, place));
    if may_remove || leaves() { Ok(()) } else { Err(Denied::Role) }
}

/// Whether a word of leaving is one of this member, in this group. That its device is in the group is checked where the tree is known.
pub fn says_so(leave: &Leave, member: &PolicyMember, place: Place<'_>) -> bool {
    let Ok(device) = DeviceId::from_bytes(&leave.device) else { return false };
    let statement = Leave::statement(&leave.account, &leave.group, leave.epoch);
    leave.account == member.account
        && leave.group == *place.group
        && (member.since..=place.epoch).contains(&leave.epoch)
        && device.verify(LEAVE_DOMAIN, &statement, &leave.signature)
}

/// Devices that were removed from their accounts: those from before, and those that the chains show.
fn check_buried(before: &Policy, after: &Policy, reasons: &Reasons) -> Result<(), Denied> {
    let mut expected = before.clone();
    expected.remove_all(&gone(before, after));
    let is_new = |t: &&Tombstone| before.tombstone(&t.account, &t.device).is_none();
    let new: Vec<&Tombstone> = after.tombstones.iter().filter(is_new).collect();
    if !new.is_empty() {
        let chains: Vec<DeviceChain> =
            reasons.chains.iter().filter_map(|chain| DeviceChain::from_bytes(chain).ok()).collect();
        for tombstone in new {
            let shown = chains.iter().filter(|chain| *chain.account.as_bytes() == tombstone.account);
            if !shown.into_iter().any(|chain| shows(before, chain, tombstone)) {
                return Err(Denied::Reason);
            }
            expected.bury(tombstone.clone());
        }
    }
    if expected.tombstones == after.tombstones { Ok(()) } else { Err(Denied::Tombstone) }
}

/// Whether a chain shows that a device was removed. A device that the group knows as removed cannot have written it: a rival of the chain, in which it
/// removes others, has not got its own removal.
fn shows(before: &Policy, chain: &DeviceChain, tombstone: &Tombstone) -> bool {
    let account = *chain.account.as_bytes();
    let removed = |device: &[u8; 32]| DeviceId::from_bytes(device).is_ok_and(|device| chain.has_removed(&device));
    let mut earlier = before.tombstones.iter().filter(|t| t.account == account);
    let device = DeviceId::from_bytes(&tombstone.device).ok();
    before.role(&account).is_some()
        && earlier.all(|t| removed(&t.device))
        && device.and_then(|device| tombstone_by(chain, &device)).as_ref() == Some(tombstone)
}

/// Whether a group can know a device as removed, by the chain of its account that is known here.
pub fn may_bury(policy: &Policy, chain: &DeviceChain, device: &DeviceId) -> bool {
    tombstone_by(chain, device).is_some_and(|tombstone| {
        let is_known = |policy: &Policy| policy.tombstone(&tombstone.account, &tombstone.device).is_some();
        let mut after = policy.clone();
        after.bury(tombstone.clone());
        !is_known(policy) && is_known(&after) && shows(policy, chain, &tombstone)
    })
}

/// What a commit by an account makes of the record of authors. Groups of before there was one have none.
pub(super) fn authors_after(before: &PolicyContext, author: &AccountId) -> Option<CommitAuthors> {
    before.authors.as_ref().map(|authors| authors.with(author.as_bytes()))
}

/// What a commit of a member changes.
#[derive(Clone)]
pub struct Change {
    pub policy: Policy,
    pub reasons: Reasons,
}

/// The devices in a tree.
pub(super) fn members(roster: &Roster<'_>) -> impl Iterator<Item = (u32, Certificate)> {
    roster.members_iter().filter_map(|m| certificate(&m.signing_identity).map(|c| (m.index, c)))
}

/// The place of a commit by which a device comes into a group with a policy for the first time.
pub const ENTRY: u32 = 0xf000_0000;
/// That of one by which a device comes in again, in place of its own leaf.
pub const REENTRY: u32 = 0xf100_0000;
/// Of those that renew keys, and change nothing else. They come last, as any member can make as many as it likes.
const RENEWAL: u32 = 0xfe00_0000;

/// The leaf of the author of a member's commit, from the commit's place.
pub fn author_of_place(place: u32) -> Option<u32> {
    (![ENTRY, REENTRY, super::AFTER_MEMBERS].contains(&place)).then_some(place & 0x00ff_ffff)
}

/// The place of a member's commit among its rivals, the least first: the higher role, then what removes somebody, then the lower leaf; then come
/// [`ENTRY`], [`REENTRY`], and what changes nothing. Nobody removes an equal or higher role: so what removes a rival's author by role stands before the
/// rival.
pub(super) fn place_of(before: &Policy, after: &Policy, author: &AccountId, leaf: u32) -> u32 {
    let role = before.role(author.as_bytes()).unwrap_or(Role::Reader).rank();
    let buries = after.tombstones.iter().any(|t| before.tombstone(&t.account, &t.device).is_none());
    let removes = buries || !gone(before, after).is_empty();
    let class = u32::from(role) << 1 | u32::from(!removes);
    let leaf = leaf.min(0x00ff_ffff);
    if before == after { RENEWAL | leaf } else { class << 24 | leaf }
}

#[cfg(test)]
#[path = "policy_tests/mod.rs"]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests;
