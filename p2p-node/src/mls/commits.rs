//! Which commits count in a group with a policy: what its tree shows of their authors, what they bring, and whether the policy allows that.

use std::collections::BTreeSet;

use mls_rs::{
    ExtensionList,
    group::{GroupContext, Member, Roster, proposal::Proposal},
    identity::SigningIdentity,
    mls_rules::ProposalBundle,
};
use starling_keys::{AccountId, Certificate, MAX_DEVICES};
use starling_wire::{CommitAuthors, JoinProof, Leave, Policy, PolicyContext, Reasons, Tombstone};

use super::{
    adds::{added_by, check_devices},
    community::check_stated,
    join::joined,
    pace::{Kind, is_too_soon},
    permissions::check_audit,
    policy::{Denied, Place, RAISES, REASONS, admits, authors_after, check_change, context_of, members},
    rules::certificate,
};

/// A commit that the policy allows.
pub(super) struct Allowed {
    pub author: AccountId,
    pub kind: Kind,
    /// What it makes of the group's context.
    pub brings: Option<PolicyContext>,
    /// What follows from it for the policy, where it does not bring that.
    pub joins: Option<Policy>,
}

/// Whether an account may make a commit of this kind now, or has to let others commit first; and if it may, [`authors_after`] it.
pub(super) fn check_pace(
    before: &PolicyContext,
    roster: &Roster<'_>,
    author: &AccountId,
    kind: Kind,
) -> Result<Option<CommitAuthors>, Denied> {
    let Some(authors) = &before.authors else { return Ok(None) };
    let accounts: BTreeSet<AccountId> = members(roster).map(|(_, device)| device.account()).collect();
    match is_too_soon(authors, accounts.len(), author, kind) {
        true => Err(Denied::TooSoon),
        false => Ok(authors_after(before, author)),
    }
}

/// Whether the program at a leaf, as that says itself, follows a commit that raises a group to the version with rules.
pub(super) fn follows_raises(member: &Member) -> bool {
    member.capabilities.extensions.contains(&RAISES)
}

/// Whether all leaves do. Who does not could not read the policy after it, and would be left behind.
pub(super) fn all_follow_raises(roster: &Roster<'_>) -> bool {
    roster.members_iter().all(|member| follows_raises(&member))
}

/// What a commit brings as the context of the next epoch; it may bring nothing beside it.
fn brought(extensions: &ExtensionList) -> Result<PolicyContext, Denied> {
    let context = context_of(extensions)?.ok_or(Denied::Malformed)?;
    if extensions.len() == 1 { Ok(context) } else { Err(Denied::Malformed) }
}

/// What a member's commit proposes that adds nobody.
#[derive(Default)]
struct Proposed {
    /// Leaves that go.
    removed: BTreeSet<u32>,
    /// The context of the next epoch.
    brings: Option<PolicyContext>,
    reasons: Option<Reasons>,
}

impl Proposed {
    fn by(proposals: &ProposalBundle) -> Result<Self, Denied> {
        let mut proposed = Self::default();
        for info in proposals.clone().into_proposals() {
            // By reference would need what only some have got.
            if info.is_by_reference() {
                return Err(Denied::Malformed);
            }
            match info.proposal {
                Proposal::Remove(remove) if proposed.removed.insert(remove.to_remove()) => {}
                Proposal::GroupContextExtensions(extensions) if proposed.brings.is_none() => {
                    proposed.brings = Some(brought(&extensions)?);
                }
                Proposal::Custom(custom) if custom.proposal_type() == REASONS && proposed.reasons.is_none() => {
                    proposed.reasons = Some(Reasons::from_bytes(custom.data()).map_err(|_| Denied::Malformed)?);
                }
                _ => return Err(Denied::Malformed),
            }
        }
        Ok(proposed)
    }
}

/// Whether a member's commit may have these proposals.
pub(super) fn check_commit(
    before: &Policy,
    context: &GroupContext,
    roster: &Roster<'_>,
    author: &Member,
    proposals: &ProposalBundle,
) -> Result<Allowed, Denied> {
    let device = certificate(&author.signing_identity).ok_or(Denied::NotAMember)?;
    let author = device.account();
    if let Some(added) = added_by(proposals)? {
        check_devices(before, context, roster, &author, &added)?;
        // It has an end, as who comes in by its own commit has.
        return Ok(Allowed { author, kind: Kind::Bounded, brings: None, joins: None });
    }
    let Proposed { removed, brings, reasons } = Proposed::by(proposals)?;
    let Some(PolicyContext { policy: after, .. }) = &brings else {
        let is_renewal = removed.is_empty() && reasons.is_none();
        return match is_renewal {
            true => Ok(Allowed { author, kind: Kind::Renewal, brings, joins: None }),
            false => Err(Denied::Malformed),
        };
    };
    let reasons = reasons.unwrap_or_default();
    // Nobody comes in who is there.
    if reasons.join.is_some() {
        return Err(Denied::Malformed);
    }
    let devices: Vec<(u32, Certificate)> = members(roster).collect();
    let is_there = |leave: &Leave| {
        let of = |c: &Certificate| *c.account().as_bytes() == leave.account && *c.device().as_bytes() == leave.device;
        devices.iter().any(|(_, c)| of(c))
    };
    if !reasons.leaves.iter().all(is_there) {
        return Err(Denied::Reason);
    }
    if before.is_raised_by(after) && !all_follow_raises(roster) {
        return Err(Denied::OldProgram);
    }
    let place = Place { group: &context.group_id, epoch: context.epoch };
    check_change(before, after, author, &reasons, place)?;
    check_stated(before, after, &device, &reasons, place)?;
    check_audit(before, after, author, &reasons, place)?;
    // Others remember a device because it is there; its own account, because it may know the door.
    let may_be_there = |t: &Tombstone| {
        let is_it = |c: &Certificate| *c.account().as_bytes() == t.account && *c.device().as_bytes() == t.device;
        *author.as_bytes() == t.account || devices.iter().any(|(_, c)| is_it(c))
    };
    let mut new = after.tombstones.iter().filter(|t| before.tombstone(&t.account, &t.device).is_none());
    if !new.all(may_be_there) {
        return Err(Denied::Tombstone);
    }
    // Just those go that may not be there any more.
    let goes: BTreeSet<u32> = devices.iter().filter(|(_, c)| !admits(after, c)).map(|(leaf, _)| *leaf).collect();
    let kind = Kind::of_change(before, after, &author);
    if goes == removed { Ok(Allowed { author, kind, brings, joins: None }) } else { Err(Denied::Malformed) }
}

/// Whether a device may come into a group by an external commit with these proposals, in place of its own leaf if it has one. An account that the
/// policy does not have comes in by a link.
pub(super) fn check_entry(
    policy: &Policy,
    context: &GroupContext,
    roster: &Roster<'_>,
    newcomer: &SigningIdentity,
    proposals: &ProposalBundle,
) -> Result<Allowed, Denied> {
    let newcomer = certificate(newcomer).ok_or(Denied::NotAMember)?;
    let (mut removed, mut proof) = (None, None);
    for info in proposals.clone().into_proposals() {
        match info.proposal {
            Proposal::ExternalInit(_) => {}
            Proposal::Remove(remove) if removed.is_none() => removed = Some(remove.to_remove()),
            Proposal::Custom(custom) if custom.proposal_type() == REASONS && proof.is_none() => {
                proof = Some(link_proof(custom.data())?);
            }
            _ => return Err(Denied::Malformed),
        }
    }
    let of_account = |c: &Certificate| c.account() == newcomer.account();
    let (mut leaves, mut own_devices, mut own) = (0, 0, None);
    for (leaf, member) in members(roster) {
        leaves += 1;
        match member.device() == newcomer.device() {
            // A leaf of somebody else with this device's key is not its own.
            true if !of_account(&member) => return Err(Denied::NotAMember),
            true => own = Some(leaf),
            false => own_devices += usize::from(of_account(&member)),
        }
    }
    if own != removed {
        return Err(Denied::Malformed);
    }
    let place = Place { group: &context.group_id, epoch: context.epoch };
    let joins = match proof {
        // Who is in needs no link.
        Some(_) if policy.role(newcomer.account().as_bytes()).is_some() => return Err(Denied::Malformed),
        Some(proof) => Some(joined(policy, &newcomer, &proof, place)?),
        None => None,
    };
    if !admits(joins.as_ref().unwrap_or(policy), &newcomer) {
        return Err(if policy.role(newcomer.account().as_bytes()).is_some() {
            Denied::Tombstone
        } else {
            Denied::NotAMember
        });
    }
    let has_room = own_devices < MAX_DEVICES && (own.is_some() || leaves < policy.most_leaves());
    let kind = if own.is_some() { Kind::Repeatable } else { Kind::Bounded };
    if has_room { Ok(Allowed { author: newcomer.account(), kind, brings: None, joins }) } else { Err(Denied::Full) }
}

/// The proof of a link, which is all that the reasons of somebody who comes in may have.
fn link_proof(reasons: &[u8]) -> Result<JoinProof, Denied> {
    let reasons = Reasons::from_bytes(reasons).map_err(|_| Denied::Malformed)?;
    let is_alone = reasons.chains.is_empty() && reasons.leaves.is_empty() && reasons.statement.is_none();
    reasons.join.filter(|_| is_alone).ok_or(Denied::Malformed)
}
