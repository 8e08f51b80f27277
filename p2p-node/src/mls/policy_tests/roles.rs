//! What roles may do to the members of a group, and who goes out of it.

use super::*;

#[test]
fn what_a_role_may_do_is_what_others_take_from_it() {
    let newcomer = account();
    let roles = [Role::Admin, Role::Moderator, Role::Member, Role::Reader, Role::Admin];
    let company = Company::of(&roles);
    let victim = |at: usize| *company.others[at].0.id().as_bytes();
    let since = company.group.epoch() + 2;
    let invites = |at: usize, role| {
        let by = *company.others[at].0.id().as_bytes();
        let account = *newcomer.id().as_bytes();
        vec![says(&company.with(|p| p.add(PolicyMember { account, role, by, since })))]
    };
    let expelled = |account: [u8; 32]| {
        let leaf = leaf_of(&company.group, AccountId::from_bytes(&account).unwrap());
        vec![says(&company.with(|p| p.remove(&account))), removes(leaf)]
    };
    let renamed = || vec![says(&company.with(|p| p.name = "mine".into()))];
    let promoted = |account: [u8; 32], to: Role| {
        let change = |p: &mut Policy| p.members.iter_mut().filter(|m| m.account == account).for_each(|m| m.role = to);
        vec![says(&company.with(change))]
    };
    for (at, role) in roles.iter().enumerate().take(4) {
        let is_admin = *role == Role::Admin;
        assert_eq!(company.takes(at, renamed()), is_admin, "{role:?} renames");
        assert_eq!(company.takes(at, invites(at, Role::Member)), is_admin, "{role:?} invites");
        assert!(!company.takes(at, invites(at, Role::Owner)), "{role:?} invites an owner");
        assert!(!company.takes(at, invites(at, Role::Admin)), "{role:?} invites an equal");
        assert!(!company.takes(at, promoted(victim(at), Role::Owner)), "{role:?} makes itself an owner");
        assert!(!company.takes(at, expelled(*company.owner.id().as_bytes())), "{role:?} removes the owner");
        assert!(!company.takes(at, expelled(victim(4))), "{role:?} removes an admin");
    }
    assert!(company.takes(0, expelled(victim(2))), "an admin removes a member");
    assert!(company.takes(0, promoted(victim(2), Role::Moderator)));
    assert!(!company.takes(0, promoted(victim(2), Role::Admin)), "nobody makes an equal but an owner");
    assert!(!company.takes(1, expelled(victim(2))), "a moderator removes nobody yet");
}

#[test]
fn a_commit_that_says_one_thing_and_does_another_is_void() {
    let company = Company::of(&[Role::Admin, Role::Member, Role::Member]);
    let (bob, carol) = (company.others[1].0.id(), company.others[2].0.id());
    let leaf = leaf_of(&company.group, bob);
    let without_bob = company.with(|p| p.remove(bob.as_bytes()));
    let forgotten = Policy { removed: Vec::new(), ..without_bob.clone() };
    let elsewhere = company.with(|p| p.conversation = [9; 16]);
    let grown = company.with(|p| p.large = true);
    let ownerless = company.with(|p| p.members.iter_mut().for_each(|m| m.role = Role::Member));
    let early = company.with(|p| p.members.iter_mut().for_each(|m| m.since += 1));
    let unreasoned = company.with(|p| {
        p.bury(Tombstone { account: *bob.as_bytes(), device: [3; 32], staying: Vec::new() });
    });
    let mut beside = extensions_with(&PolicyContext { policy: without_bob.clone(), authors: None });
    beside.set(Extension::new(ExtensionType::new(0xf5ff), vec![1]));
    let garbage = |kind: u16| Proposal::Custom(CustomProposal::new(ProposalType::new(kind), vec![1; 40]));
    for proposals in [
        vec![says(&without_bob)],
        vec![removes(leaf)],
        vec![says(&company.policy()), removes(leaf)],
        vec![says(&without_bob), removes(leaf), removes(leaf_of(&company.group, carol))],
        vec![says(&forgotten), removes(leaf)],
        vec![says(&elsewhere)],
        vec![says(&grown)],
        vec![says(&ownerless)],
        vec![says(&early)],
        vec![says(&unreasoned)],
        vec![Proposal::GroupContextExtensions(ExtensionList::new())],
        vec![garbage(0xf5d2)],
        vec![says(&without_bob), removes(leaf), garbage(0xf5d2)],
    ] {
        assert!(!company.takes(0, proposals.clone()), "{proposals:?}");
    }
    assert!(company.takes(0, vec![says(&without_bob), removes(leaf)]));
    assert!(!company.forged(0, vec![says(&without_bob), removes(leaf)]).is_empty());
}

#[test]
fn who_was_removed_comes_back_only_if_that_is_said() {
    let company = Company::of(&[Role::Admin, Role::Member]);
    let bob = company.others[1].0.id();
    let change = Change { policy: company.with(|p| p.remove(bob.as_bytes())), reasons: Reasons::default() };
    let (commit, group) = company.group.prepare_change(&change, NOW_MS, Vec::new()).unwrap();
    let Judged::Removed(removal) = company.others[1].2.judge(&commit) else { panic!("it is not removed") };
    assert_eq!(removal.policy.removed, [*bob.as_bytes()]);
    assert_eq!(removal.author.map(|author| author.account()), Some(company.owner.id()));
    let admin = follow(&company.others[0].2, &commit);
    assert_eq!((group.members().len(), admin.members().len()), (2, 2));
    // Not by its own key, whatever it kept.
    let (account, key, _) = &company.others[1];
    assert!(
        enter(&group, &Mls::new(&Certificate::issue(account, key.id(), 1), key, KeyPackages::default()).unwrap())
            .is_none()
    );
    let (_, entry) = rogue(account, key, &group);
    assert!(is_void(&group, &entry) && is_void(&admin, &entry));
    // A policy that lets it in and still remembers it as removed is none.
    let owner = *company.owner.id().as_bytes();
    let again = PolicyMember { account: *bob.as_bytes(), role: Role::Member, by: owner, since: group.epoch() + 1 };
    let mut policy = group.policy().unwrap();
    policy.add(again);
    let both = Policy { removed: vec![*bob.as_bytes()], ..policy.clone() };
    assert!(!both.is_in_order());
    let change = Change { policy, reasons: Reasons::default() };
    let (commit, group) = group.prepare_change(&change, NOW_MS, Vec::new()).unwrap();
    follow(&admin, &commit);
    assert!(enter(&group, &device(account).0).is_some());
}

#[test]
fn who_leaves_says_so_itself_and_any_member_sees_to_it() {
    let company = Company::of(&[Role::Member, Role::Member]);
    let (bob, key, _) = &company.others[0];
    let leave = |epoch: u64, group: [u8; 16]| {
        let account = *bob.id().as_bytes();
        let signature = key.sign(LEAVE_DOMAIN, &Leave::statement(&account, &group, epoch));
        Leave { account, device: *key.id().as_bytes(), group, epoch, signature }
    };
    let epoch = company.group.epoch();
    let says_so = leave(epoch, *GROUP);
    let by_carol = |leave: Leave| {
        let policy = company.with(|p| p.remove(bob.id().as_bytes()));
        let reasons = Reasons { leaves: vec![leave], ..Reasons::default() };
        company.others[1].2.prepare_change(&Change { policy, reasons }, NOW_MS, Vec::new())
    };
    let (commit, _) = by_carol(says_so.clone()).unwrap();
    assert_eq!(follow(&company.group, &commit).members().len(), 2);
    let forged = Leave { signature: [1; 64], ..says_so.clone() };
    for leave in [leave(epoch + 1, *GROUP), leave(epoch, [1; 16]), forged] {
        assert!(by_carol(leave).is_err());
    }
    // Of somebody who was let in again later, what was said before does not count.
    let place = Place { group: GROUP, epoch };
    let member = *company.policy().member(bob.id().as_bytes()).unwrap();
    assert!(super::says_so(&says_so, &member, place));
    assert!(!super::says_so(&says_so, &PolicyMember { since: epoch + 1, ..member }, place));
}

#[test]
fn all_owners_may_leave_and_somebody_becomes_the_owner() {
    let company = Company::of(&[Role::Admin, Role::Member]);
    let before = company.policy();
    let (owner, admin, bob) = (company.owner.id(), company.others[0].0.id(), company.others[1].0.id());
    let place = Place { group: GROUP, epoch: company.group.epoch() };
    let key = DeviceKey::generate();
    let (account, device, epoch) = (*owner.as_bytes(), *key.id().as_bytes(), place.epoch);
    let signature = key.sign(LEAVE_DOMAIN, &Leave::statement(&account, GROUP, epoch));
    let reasons =
        Reasons { leaves: vec![Leave { account, device, group: *GROUP, epoch, signature }], ..Reasons::default() };
    let mut after = before.clone();
    let_leave(&mut after, owner.as_bytes());
    assert_eq!(after.role(admin.as_bytes()), Some(Role::Owner));
    // Whoever commits it.
    assert_eq!(check_change(&before, &after, bob, &reasons, place), Ok(()));
    // It is nobody else, and not more than one.
    let mut other = before.clone();
    other.remove(owner.as_bytes());
    other.members.iter_mut().find(|m| m.account == *bob.as_bytes()).unwrap().role = Role::Owner;
    assert!(check_change(&before, &other, bob, &reasons, place).is_err());
    after.members.iter_mut().for_each(|m| m.role = Role::Owner);
    assert!(check_change(&before, &after, bob, &reasons, place).is_err());
}
