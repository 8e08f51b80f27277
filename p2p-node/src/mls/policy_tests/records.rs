//! What stands in the audit log, and who has said it.

use super::*;

#[test]
fn every_change_stands_in_the_audit_log_or_is_void() {
    let company = Company::with_rules(&[Role::Admin, Role::Member]);
    let (admin, bob) = (company.others[0].0.id(), company.others[1].0.id());
    let before = company.policy();
    let head = before.rules.as_ref().unwrap().audit;
    let first = before.first_audit_entries().iter().fold(AuditHead::default(), AuditHead::with);
    assert_eq!((head, head.count, head.at), (first, 3, NOW_MS));
    let group = company.changes(Some(0), |p| p.remove(bob.as_bytes())).unwrap();
    let after = group.policy().unwrap();
    let entries = audit_of(&before, &after, admin, group.epoch());
    assert_eq!(entries.iter().map(|e| e.action.clone()).collect::<Vec<_>>(), [AuditAction::Removed(*bob.as_bytes())]);
    assert_eq!((entries[0].by, entries[0].epoch), (*admin.as_bytes(), group.epoch()));
    assert_eq!(entries.iter().fold(head, AuditHead::with), after.rules.unwrap().audit);
    // A commit that changes something and does not say so, or says something else.
    let silent = company.with(|p| p.topic = "anything".into());
    assert!(!company.takes(0, vec![says(&silent)]));
    let mut false_one = silent.clone();
    false_one.rules.as_mut().unwrap().audit = AuditHead { count: head.count + 1, hash: [7; 32], at: NOW_MS };
    assert!(!company.takes(0, vec![says(&false_one)]));
    let mut forgets = before.clone();
    forgets.rules.as_mut().unwrap().audit = AuditHead::default();
    assert!(!company.takes(0, vec![says(&forgets)]));
}

#[test]
fn who_leaves_is_told_from_who_was_removed_in_the_audit_log() {
    let company = Company::with_rules(&[Role::Member, Role::Member]);
    let (bob, key, _) = &company.others[0];
    let (epoch, account) = (company.group.epoch(), *bob.id().as_bytes());
    let signature = key.sign(LEAVE_DOMAIN, &Leave::statement(&account, GROUP, epoch));
    let leave = Leave { account, device: *key.id().as_bytes(), group: *GROUP, epoch, signature };
    let before = company.policy();
    for (reasons, action) in [
        (Reasons { leaves: vec![leave], ..Reasons::default() }, AuditAction::Left(account)),
        (Reasons::default(), AuditAction::Removed(account)),
    ] {
        let change = Change { policy: company.with(|p| p.remove(&account)), reasons };
        let (commit, _) = company.group.prepare_change(&change, NOW_MS, Vec::new()).unwrap();
        let after = follow(&company.others[1].2, &commit);
        let entries = audit_of(&before, &after.policy().unwrap(), company.owner.id(), after.epoch());
        assert_eq!((entries.len(), &entries[0].action), (1, &action));
    }
}

#[test]
fn what_a_community_states_any_member_carries_into_its_channels() {
    let of = ChannelOf { community: [9; 16], lowest: Role::Reader, numbers: [1; 3] };
    let company = Company::made(&[Role::Admin, Role::Member, Role::Member], |policy| {
        let mut policy = policy.with_rules(GroupKind::Channel);
        policy.rules.as_mut().unwrap().channel_of = Some(of);
        policy
    });
    let [bob, carol] = [1, 2].map(|at: usize| company.others[at].0.id());
    let key = DeviceKey::generate();
    let certificate = Certificate::issue(&company.owner, key.id(), 1);
    let (before, epoch) = (company.policy(), company.group.epoch());
    let mut roster = before.roster();
    roster.retain(|(account, _)| account != carol.as_bytes());
    let statement = state([9; 16], 2, roster, (&certificate, &key));
    let policy = carried(&before, &statement, epoch).unwrap();
    let carries = |policy: Policy, statement: &Statement| {
        let reasons = Reasons { statement: Some(statement.clone()), ..Reasons::default() };
        company.others[1].2.prepare_change(&Change { policy, reasons }, NOW_MS, Vec::new())
    };
    let (commit, _) = carries(policy.clone(), &statement).unwrap();
    let group = follow(&company.group, &commit);
    let after = group.policy().unwrap();
    assert_eq!((group.members().len(), after.role(carol.as_bytes())), (3, None));
    let Judged::Removed(removal) = company.others[2].2.judge(&commit) else { panic!("she is not removed") };
    assert_eq!(removal.policy, after);
    // In the audit log stands who has said it, not who has carried it on.
    let entries = audit_of(&before, &after, bob, group.epoch());
    assert_eq!(entries.iter().map(|e| &e.action).collect::<Vec<_>>(), [&AuditAction::Removed(*carol.as_bytes())]);
    assert_eq!(entries[0].by, *company.owner.id().as_bytes());
    let forged = Statement { signature: [3; 64], ..statement };
    assert!(carries(policy, &forged).is_err());
    assert!(company.changes(Some(0), |p| p.remove(carol.as_bytes())).is_none());
}
