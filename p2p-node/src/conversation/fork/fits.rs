//! Whether members who are apart may be led to where somebody is.

use starling_keys::Certificate;
use starling_wire::{Policy, Role};

use crate::{mls::policy::admits, store::GoneRow};

/// Whether what a member shows of a group may be where it is. An admin makes no owners. An owner ends no other's: of who is an owner here and not
/// there this device has to have followed, before it came here, that it has ceased to be one. Devices that we know as removed from their accounts
/// have to hear of that first where they still are.
pub(super) fn fits(
    (here, former): (&Policy, &[GoneRow]),
    there: &Policy,
    members: &[Certificate],
    leader: Role,
) -> bool {
    let owners = |policy: &Policy| -> Vec<[u8; 32]> {
        policy.members.iter().filter(|m| m.role == Role::Owner).map(|m| m.account).collect()
    };
    let (ours, theirs) = (owners(here), owners(there));
    let has_ceased = |owner: &[u8; 32]| {
        let is_same = |row: &GoneRow| here.member(owner).is_some_and(|member| member.since == row.since);
        former.iter().any(|row| row.account == owner[..] && is_same(row))
    };
    let keeps_owners = ours.iter().all(|owner| theirs.contains(owner) || has_ceased(owner));
    let makes_none = theirs.iter().all(|owner| ours.contains(owner));
    let mut with_buried = there.clone();
    for buried in here.tombstones.iter().filter(|buried| there.role(&buried.account).is_some()) {
        if there.tombstone(&buried.account, &buried.device).is_none() {
            with_buried.bury(buried.clone());
        }
    }
    keeps_owners && (leader == Role::Owner || makes_none) && members.iter().all(|member| admits(&with_buried, member))
}

#[cfg(test)]
mod tests {
    use starling_wire::PolicyMember;

    use super::*;

    #[test]
    fn an_owner_leads_nobody_to_where_others_are_none_unless_they_have_ceased_to_be() {
        let bob = [2; 32];
        let there = Policy::new([7; 16], "ops".into(), [1; 32]);
        let mut here = there.clone();
        here.members.push(PolicyMember { account: bob, role: Role::Owner, by: [1; 32], since: 3 });
        let fits = |former: &[GoneRow]| fits((&here, former), &there, &[], Role::Owner);
        assert!(!fits(&[]));
        assert!(fits(&[GoneRow { account: bob.to_vec(), since: 3 }]));
        // It was let in anew since.
        assert!(!fits(&[GoneRow { account: bob.to_vec(), since: 2 }]));
    }
}
