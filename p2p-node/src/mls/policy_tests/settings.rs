//! Settings and bans: who changes them.

use super::*;

fn set(policy: &mut Policy, setting: GroupSetting, value: u32) {
    policy.rules.as_mut().unwrap().set(setting, value).unwrap();
}

fn role_of(role: Role) -> u32 {
    role.rank().into()
}

#[test]
fn settings_are_changed_by_whom_they_name_and_nobody_takes_from_higher_roles() {
    let company = Company::with_rules(&[Role::Admin, Role::Moderator, Role::Member]);
    assert!(company.changes(Some(0), |p| set(p, GroupSetting::SlowMode, 30)).is_some());
    assert!(company.changes(Some(1), |p| set(p, GroupSetting::SlowMode, 30)).is_none());
    assert!(company.changes(Some(0), |p| set(p, GroupSetting::Post, role_of(Role::Admin))).is_some());
    assert!(company.changes(Some(0), |p| set(p, GroupSetting::Invite, role_of(Role::Owner))).is_none());
    assert!(company.changes(Some(2), |p| p.topic = "mine".into()).is_none());
    let mut company = company;
    let group = company.changes(None, |p| {
        set(p, GroupSetting::Invite, role_of(Role::Owner));
        set(p, GroupSetting::Settings, role_of(Role::Member));
    });
    company.group = group.unwrap();
    assert!(company.policy().rules.unwrap().permissions.settings == Role::Member);
    // What is for owners alone stays theirs.
    let policy = company.policy();
    let admin = company.others[0].0.id();
    let place = Place { group: GROUP, epoch: company.group.epoch() };
    let allows = |change: &dyn Fn(&mut Policy)| {
        let mut after = policy.clone();
        change(&mut after);
        check_change(&policy, &after, admin, &Reasons::default(), place)
    };
    assert_eq!(allows(&|p| set(p, GroupSetting::Invite, role_of(Role::Member))), Err(Denied::Role));
    assert_eq!(allows(&|p| set(p, GroupSetting::History, 1)), Ok(()));
    assert_eq!(allows(&|p| p.rules = None), Err(Denied::Malformed));
    assert_eq!(allows(&|p| p.large = true), Err(Denied::Malformed), "a group is large from the beginning, or never");
    assert_eq!(allows(&|p| p.rules.as_mut().unwrap().kind = GroupKind::Channel), Err(Denied::Malformed));
}

#[test]
fn moderators_remove_and_ban_lower_roles_and_nobody_lets_in_who_is_banned() {
    let company = Company::with_rules(&[Role::Moderator, Role::Member, Role::Admin]);
    let [moderator, bob, admin] = [0, 1, 2].map(|at: usize| company.others[at].0.id());
    let ban = |p: &mut Policy, account: AccountId| {
        p.remove(account.as_bytes());
        p.rules.as_mut().unwrap().ban(*account.as_bytes());
    };
    assert!(company.changes(Some(0), |p| p.remove(bob.as_bytes())).is_some());
    assert!(company.changes(Some(0), |p| ban(p, admin)).is_none());
    assert!(company.changes(Some(1), |p| ban(p, moderator)).is_none());
    assert!(company.changes(Some(1), |p| p.rules.as_mut().unwrap().ban(*account().id().as_bytes())).is_none());
    let group = company.changes(Some(0), |p| ban(p, bob)).unwrap();
    let policy = group.policy().unwrap();
    let place = Place { group: GROUP, epoch: group.epoch() };
    let by = *company.owner.id().as_bytes();
    let mut again = policy.clone();
    again.add(PolicyMember { account: *bob.as_bytes(), role: Role::Member, by, since: group.epoch() + 1 });
    let checked = |after: &Policy| check_change(&policy, after, company.owner.id(), &Reasons::default(), place);
    assert_eq!(checked(&again), Err(Denied::Malformed), "not even by an owner");
    again.rules.as_mut().unwrap().unban(bob.as_bytes());
    assert_eq!(checked(&again), Ok(()));
    assert!(enter(&group, &device(&company.others[1].0).0).is_none());
}
