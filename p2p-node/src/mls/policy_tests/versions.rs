//! Groups of older and newer versions.

use super::*;

#[test]
fn any_member_raises_a_group_of_an_older_version_and_does_nothing_else_by_that() {
    let company = Company::of(&[Role::Admin, Role::Reader]);
    let (before, reader) = (company.policy(), company.others[1].0.id());
    assert!(company.group.can_be_raised() && company.group.outdated().is_empty());
    let raised = company.changes(Some(1), |p| *p = p.raised()).unwrap();
    let after = raised.policy().unwrap();
    let rules = after.rules.clone().unwrap();
    assert_eq!((rules.permissions, rules.audit.count, rules.audit.at), (Permissions::FORMER, 1, NOW_MS));
    let entries = audit_of(&before, &after, reader, raised.epoch());
    assert_eq!(
        entries.iter().map(|e| (e.by, e.action.clone())).collect::<Vec<_>>(),
        [(*reader.as_bytes(), AuditAction::Raised)]
    );
    assert_eq!(entries.iter().fold(AuditHead::default(), AuditHead::with), rules.audit);
    assert!(!raised.can_be_raised(), "once");
    let place = Place { group: GROUP, epoch: company.group.epoch() };
    let check = |change: &dyn Fn(&mut Policy)| {
        let mut after = before.raised();
        change(&mut after);
        check_change(&before, &after, company.owner.id(), &Reasons::default(), place)
    };
    assert_eq!(check(&|_| {}), Ok(()));
    let others: [&dyn Fn(&mut Policy); 6] = [
        &|p| p.topic = "anything".into(),
        &|p| p.large = true,
        &|p| p.remove(reader.as_bytes()),
        &|p| p.members.iter_mut().for_each(|m| m.role = Role::Owner),
        &|p| p.rules = Some(GroupRules::new(GroupKind::Group)),
        &|p| p.rules.as_mut().unwrap().ban([7; 32]),
    ];
    for change in others {
        assert!(check(change).is_err());
    }
    let lowered = check_change(&after, &before, company.owner.id(), &Reasons::default(), place);
    assert!(lowered.is_err(), "no group goes back");
}

#[test]
fn no_group_is_raised_while_a_leaf_does_not_follow() {
    let company = Company::of(&[Role::Member, Role::Member]);
    let (account, key, _) = &company.others[0];
    // Its program is one of before.
    let (_, entry) = rogue(account, key, &company.group);
    let group = follow(&company.group, &entry);
    assert_eq!((group.outdated(), group.can_be_raised()), (vec![key.id()], false));
    let change = Change { policy: group.policy().unwrap().raised(), reasons: Reasons::default() };
    assert!(group.prepare_change(&change, NOW_MS, Vec::new()).is_err());
    let mut audited = change.policy.clone();
    let entries = group.policy().unwrap().audit_entries(&audited, &[], *account.id().as_bytes(), group.epoch() + 2);
    audited.rules.as_mut().unwrap().audit = entries.iter().fold(AuditHead::default(), AuditHead::with);
    assert!(!company.takes(0, vec![says(&audited)]), "nor by a program that does not ask");
    let again = Mls::new(&Certificate::issue(account, key.id(), 1), key, KeyPackages::default()).unwrap();
    let (_, commit) = enter(&group, &again).unwrap();
    let group = follow(&group, &commit);
    assert!(group.can_be_raised() && group.prepare_change(&change, NOW_MS, Vec::new()).is_ok());
}

#[test]
fn a_group_of_a_newer_version_is_told_from_garbage() {
    let owner = account();
    let (mls, _) = device(&owner);
    let mut extensions = ExtensionList::new();
    extensions.set(Extension::new(POLICY, vec![0x08, 9, 0x10, 1]));
    let group = mls.client.create_group_with_id(GROUP.to_vec(), extensions, ExtensionList::new(), None).unwrap();
    let door = group.group_info_message_allowing_ext_commit(true).unwrap().to_bytes().unwrap();
    let entered = device(&owner).0.enter(&door, (GROUP, 0), Expected::Group(TALK), Vec::new(), NOW_MS);
    assert!(matches!(entered, Err(GroupError::Newer)));
    let live = mls.live(group);
    assert!(live.is_newer() && !live.can_be_raised() && live.policy().is_none() && !live.may_renew());
}
