//! Which of two commits comes first, and how many of them somebody makes in a row.

use super::*;

#[test]
fn of_rivals_the_higher_role_comes_first_then_what_removes_somebody() {
    let company = Company::of(&[Role::Admin, Role::Member]);
    let before = company.policy();
    let (owner, admin, bob) = (company.owner.id(), company.others[0].0.id(), company.others[1].0.id());
    let removed = company.with(|p| p.remove(bob.as_bytes()));
    let buried = company.with(|p| p.bury(Tombstone { account: *bob.as_bytes(), device: [1; 32], staying: Vec::new() }));
    let named = company.with(|p| p.name.push('!'));
    let places = [
        place_of(&before, &removed, &owner, 0),
        place_of(&before, &named, &owner, 0),
        place_of(&before, &removed, &admin, 1),
        place_of(&before, &named, &admin, 1),
        place_of(&before, &buried, &bob, 2),
        ENTRY,
        REENTRY,
        place_of(&before, &before, &owner, 0),
        place_of(&before, &before, &bob, 2),
    ];
    assert!(places.is_sorted_by(|a, b| a < b), "{places:?}");
}

#[test]
fn nobody_commits_without_end() {
    let company = Company::of(&[Role::Member; 3]);
    let [first, second, third] = [0, 1, 2].map(|at| &company.others[at].2);
    // The last two commits are those by which the second and the third have come.
    assert!(first.may_renew() && !second.may_renew() && !third.may_renew());
    assert!(third.prepare_update(NOW_MS, Vec::new()).is_err());
    let (commit, _) = modified::defying(|| third.prepare_update(NOW_MS, Vec::new())).unwrap();
    assert!(is_void(&company.group, &commit) && is_void(first, &commit));
    let (commit, after) = first.prepare_update(NOW_MS, Vec::new()).unwrap();
    let (group, second) = (follow(&company.group, &commit), follow(second, &commit));
    assert!(!after.may_renew() && second.may_renew());
    let (commit, _) = second.prepare_update(NOW_MS, Vec::new()).unwrap();
    assert!(follow(&group, &commit).may_renew());
}

#[test]
fn who_comes_in_again_and_again_is_removed_all_the_same() {
    let company = Company::of(&[Role::Member; 3]);
    let (account, key, _) = &company.others[2];
    let (mut group, mut entered) = (company.group.clone(), 0);
    loop {
        let (_, commit) = rogue(account, key, &group);
        if is_void(&group, &commit) {
            break;
        }
        (group, entered) = (follow(&group, &commit), entered + 1);
    }
    assert_eq!(entered, MAX_AUTHORS - 1, "and once it had come before");
    let mut policy = group.policy().unwrap();
    policy.remove(account.id().as_bytes());
    let change = Change { policy, reasons: Reasons::default() };
    assert!(group.prepare_change(&change, NOW_MS, Vec::new()).is_ok());
}

#[test]
fn a_commit_without_a_path_is_void() {
    let company = Company::of(&[Role::Member, Role::Member]);
    let (account, key, _) = &company.others[0];
    let (mut rogue, entry) = rogue(account, key, &company.group);
    // Another goes first.
    let (commit, _) = follow(&company.others[1].2, &entry).prepare_update(NOW_MS, Vec::new()).unwrap();
    let group = follow(&follow(&company.group, &entry), &commit);
    rogue.process_incoming_message(MlsMessage::from_bytes(&commit).unwrap()).unwrap();
    let commit = |rogue: &Group<_>| {
        let mut rogue = rogue.clone();
        rogue.commit_builder().build().unwrap().commit_message.to_bytes().unwrap()
    };
    let (whole, without) = (commit(&rogue), modified::pathless(|| commit(&rogue)));
    assert!(!is_void(&group, &whole) && is_void(&group, &without));
    assert!(without.len() < whole.len());
}

#[test]
fn an_admin_who_changes_something_again_and_again_lets_others_go_first_in_the_end() {
    let company = Company::of(&[Role::Admin, Role::Member]);
    let mut admin = company.others[0].2.clone();
    let mut group = company.group.clone();
    let topic = |group: &LiveGroup, n: usize| {
        let mut policy = group.policy().unwrap();
        policy.topic = format!("topic {n}");
        Change { policy, reasons: Reasons::default() }
    };
    let mut other = company.others[1].2.clone();
    for n in 0..MAX_AUTHORS {
        assert_eq!(other.is_waited_for(), n >= MAX_AUTHORS / 2);
        let (commit, after) = admin.prepare_change(&topic(&admin, n), NOW_MS, Vec::new()).unwrap();
        (admin, group, other) = (after, follow(&group, &commit), follow(&other, &commit));
    }
    let change = topic(&admin, MAX_AUTHORS);
    assert!(!admin.may_change(&change) && admin.prepare_change(&change, NOW_MS, Vec::new()).is_err());
    let (commit, _) = modified::defying(|| {
        let mut after = admin.clone();
        let context = context_of(&admin.group.context().extensions).unwrap().unwrap();
        let authors = authors_after(&context, &company.others[0].0.id());
        let context = PolicyContext { policy: change.policy.clone(), authors };
        let commit = after.group.change().commit_builder().set_group_context_ext(extensions_with(&context)).unwrap();
        (commit.build().unwrap().commit_message.to_bytes().unwrap(), ())
    });
    assert!(is_void(&group, &commit));
    // Removals are not held up, nor are those who let others come.
    let gone = *company.others[1].0.id().as_bytes();
    let mut policy = admin.policy().unwrap();
    policy.remove(&gone);
    assert!(admin.may_change(&Change { policy, reasons: Reasons::default() }));
    let (commit, _) = other.prepare_update(NOW_MS, Vec::new()).unwrap();
    assert!(follow(&admin, &commit).may_change(&change));
}

/// An owner with members who were away for good could not even remove them, as it had let them in.
#[test]
fn whoever_is_left_alone_removes_those_whom_it_has_let_in() {
    let company = Company::with_rules(&[Role::Member, Role::Member]);
    let (mut group, mut other) = (company.group.clone(), company.others[1].2.clone());
    let change = |group: &LiveGroup, edit: &dyn Fn(&mut Policy)| {
        let mut policy = group.policy().unwrap();
        edit(&mut policy);
        Change { policy, reasons: Reasons::default() }
    };
    for n in 0..MAX_AUTHORS {
        let named = change(&group, &|policy| policy.topic = format!("topic {n}"));
        let (commit, after) = group.prepare_change(&named, NOW_MS, Vec::new()).unwrap();
        (group, other) = (after, follow(&other, &commit));
    }
    let gone = [0, 1].map(|at: usize| *company.others[at].0.id().as_bytes());
    let new = account();
    let named = |policy: &mut Policy| policy.topic = "alone".into();
    let replaces = |policy: &mut Policy| {
        policy.remove(&gone[0]);
        policy.add(member(&new, Role::Member, &company.owner));
    };
    assert!(!group.may_renew() && !group.may_change(&change(&group, &named)));
    assert!(!group.may_change(&change(&group, &replaces)), "nobody takes the place of who goes");
    let removes = change(&group, &|policy| policy.remove(&gone[0]));
    let (commit, group) = group.prepare_change(&removes, NOW_MS, Vec::new()).unwrap();
    assert_eq!(follow(&other, &commit).policy(), group.policy());
    // While others are there, it waits for them with all else.
    assert!(!group.may_change(&change(&group, &named)));
    let removes = change(&group, &|policy| policy.remove(&gone[1]));
    let (_, group) = group.prepare_change(&removes, NOW_MS, Vec::new()).unwrap();
    assert!(group.may_renew() && group.may_change(&change(&group, &named)));
}

#[test]
fn a_group_of_a_program_without_a_record_of_authors_goes_on() {
    let owner = account();
    let policy = Policy::new(TALK, "ops".into(), *owner.id().as_bytes());
    let mut policy = policy;
    let other = account();
    policy.add(member(&other, Role::Member, &owner));
    let (mls, _) = device(&owner);
    let extensions = extensions_with(&PolicyContext { policy, authors: None });
    let group = mls.client.create_group_with_id(GROUP.to_vec(), extensions, ExtensionList::new(), None).unwrap();
    let group = mls.live(group);
    let (inside, commit) = enter(&group, &device(&other).0).unwrap();
    let mut group = follow(&group, &commit);
    for _ in 0..20 {
        assert!(group.may_renew());
        group = group.prepare_update(NOW_MS, Vec::new()).unwrap().1;
    }
    assert!(inside.may_renew() && group.epoch() == 21);
    assert_eq!(context_of(&group.group.context().extensions).unwrap().unwrap().authors, None);
}
