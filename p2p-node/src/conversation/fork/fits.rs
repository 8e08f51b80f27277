//! Whether members who are apart may be led to where somebody is.

use starling_keys::{AccountId, Certificate};
use starling_wire::{Policy, Role};

use crate::{mls::policy::admits, store::GoneRow};

/// Whether what a member shows of a group may be where it is. An admin makes no owners. An owner ends no other's: of who is an owner here and not
/// there this device has to have followed, before it came here, that it has ceased to be one, or is led by it; but not where its own account stands
/// before that one: there the other is led, and each would go to where the other was. Devices that we know as removed from their accounts have to hear
/// of that first where they still are.
pub(super) fn fits(
    (here, former): (&Policy, &[GoneRow]),
    there: &Policy,
    members: &[Certificate],
    (own, role, leader): (AccountId, Role, AccountId),
) -> bool {
    let owners = |policy: &Policy| -> Vec<[u8; 32]> {
        policy.members.iter().filter(|m| m.role == Role::Owner).map(|m| m.account).collect()
    };
    let (ours, theirs) = (owners(here), owners(there));
    let has_ceased = |owner: &[u8; 32]| {
        let is_same = |row: &GoneRow| here.member(owner).is_some_and(|member| member.since == row.since);
        let leads = owner == leader.as_bytes() && is_before(there, &leader, &own);
        leads || former.iter().any(|row| row.account == owner[..] && is_same(row))
    };
    let keeps_owners = ours.iter().all(|owner| theirs.contains(owner) || has_ceased(owner));
    let makes_none = theirs.iter().all(|owner| ours.contains(owner));
    let mut with_buried = there.clone();
    for buried in here.tombstones.iter().filter(|buried| there.role(&buried.account).is_some()) {
        if there.tombstone(&buried.account, &buried.device).is_none() {
            with_buried.bury(buried.clone());
        }
    }
    keeps_owners && (role == Role::Owner || makes_none) && members.iter().all(|member| admits(&with_buried, member))
}

/// Whether an account stands before another in a group, as who leads does.
fn is_before(policy: &Policy, first: &AccountId, then: &AccountId) -> bool {
    let standing = |account: &AccountId| policy.member(account.as_bytes()).map(|m| (m.role, m.since, *account));
    standing(first).zip(standing(then)).is_some_and(|(first, then)| first < then)
}

#[cfg(test)]
mod tests {
    use starling_keys::AccountKey;
    use starling_wire::PolicyMember;

    use super::*;

    #[test]
    fn an_owner_leads_nobody_to_where_others_are_none_unless_they_have_ceased_to_be() {
        let (alice, bob) = (AccountKey::from_seed(&[1; 32]).id(), AccountKey::from_seed(&[2; 32]).id());
        let there = Policy::new([7; 16], "ops".into(), *alice.as_bytes());
        let mut here = there.clone();
        let member = PolicyMember { account: *bob.as_bytes(), role: Role::Owner, by: *alice.as_bytes(), since: 3 };
        here.members.push(member);
        let carol = AccountKey::from_seed(&[3; 32]).id();
        let fits = |there: &Policy, own, leader, former: &[GoneRow]| {
            fits((&here, former), there, &[], (own, Role::Owner, leader))
        };
        let led_by = |leader, former: &[GoneRow]| fits(&there, carol, leader, former);
        let row = |since| GoneRow { account: bob.as_bytes().to_vec(), since };
        assert!(!led_by(alice, &[]));
        assert!(led_by(alice, &[row(3)]));
        // It was let in anew since.
        assert!(!led_by(alice, &[row(2)]));
        // It says so itself, where it stands before the one that it leads.
        let member = |account: &AccountId, role| PolicyMember {
            account: *account.as_bytes(),
            role,
            by: *alice.as_bytes(),
            since: 3,
        };
        let mut with_both = there.clone();
        with_both.members.extend([member(&bob, Role::Admin), member(&carol, Role::Member)]);
        assert!(fits(&with_both, carol, bob, &[]));
        assert!(!fits(&with_both, carol, alice, &[]));
        assert!(!fits(&with_both, alice, bob, &[]), "it is led by her there");
        assert!(!fits(&there, carol, bob, &[]), "it is nobody there");
    }
}
