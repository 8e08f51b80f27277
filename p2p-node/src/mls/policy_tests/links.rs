//! Links: who makes them, and who comes in by one.

use super::*;

#[test]
fn links_are_made_by_who_may_invite_and_used_up_by_nobody_else() {
    let company = Company::with_rules(&[Role::Admin, Role::Member]);
    let (admin, bob) = (*company.others[0].0.id().as_bytes(), *company.others[1].0.id().as_bytes());
    let key = [2; 32];
    let link = |by| JoinLink { id: JoinLink::id_of(&key), key, expires: 0, uses: Some(2), approve: false, by };
    let put = |p: &mut Policy, link: JoinLink| p.rules.as_mut().unwrap().links = vec![link];
    assert!(company.changes(Some(1), |p| put(p, link(bob))).is_none());
    assert!(company.changes(Some(0), |p| put(p, link(bob))).is_none(), "in somebody else's name");
    let mut company = company;
    company.group = company.changes(Some(0), |p| put(p, link(admin))).unwrap();
    let policy = company.policy();
    let place = Place { group: GROUP, epoch: company.group.epoch() };
    let checked = |by: &[u8; 32], change: &dyn Fn(&mut Policy)| {
        let mut after = policy.clone();
        change(&mut after);
        check_change(&policy, &after, AccountId::from_bytes(by).unwrap(), &Reasons::default(), place)
    };
    let used = JoinLink { uses: Some(1), ..link(admin) };
    assert_eq!(checked(&admin, &|p| put(p, used.clone())), Err(Denied::Malformed));
    assert_eq!(checked(&admin, &|p| p.rules.as_mut().unwrap().links.clear()), Ok(()));
    assert_eq!(checked(&bob, &|p| p.rules.as_mut().unwrap().links.clear()), Err(Denied::Role));
    let other = JoinLink { id: [1; 16], ..link(admin) };
    assert_eq!(checked(&admin, &|p| p.rules.as_mut().unwrap().add_link(other.clone())), Err(Denied::Malformed));
}

/// A link of the owner of a group, which all members have heard of.
fn linked(company: &mut Company, with: impl FnOnce(&mut JoinLink)) -> JoinSecret {
    let secret = JoinSecret::generate();
    let (key, by) = (secret.public(), *company.owner.id().as_bytes());
    let mut link = JoinLink { id: JoinLink::id_of(&key), key, expires: 0, uses: None, approve: false, by };
    with(&mut link);
    commits(company, |p| p.rules.as_mut().unwrap().add_link(link));
    secret
}

/// The owner changes the policy, and all members follow.
fn commits(company: &mut Company, change: impl FnOnce(&mut Policy)) {
    let change = Change { policy: company.with(change), reasons: Reasons::default() };
    let (commit, after) = company.group.prepare_change(&change, NOW_MS, Vec::new()).unwrap();
    for (_, _, other) in &mut company.others {
        if let Judged::Valid(next, _) = other.judge(&commit) {
            *other = *next;
        }
    }
    company.group = after;
}

fn join(group: &LiveGroup, mls: &Mls, secret: &JoinSecret) -> Result<(LiveGroup, Vec<u8>), GroupError> {
    let door = group.door()?.unwrap();
    let by = ByLink { conversation: TALK, secret };
    let entered = mls.enter_by_link(&door, (GROUP, group.epoch()), &by, Vec::new(), NOW_MS)?;
    Ok((entered.live, entered.commit))
}

/// What a link that does not lead in says.
fn refusal(group: &LiveGroup, account: &AccountKey, secret: &JoinSecret) -> Denied {
    match join(group, &device(account).0, secret) {
        Err(GroupError::Link(denied)) => denied,
        other => panic!("{:?}", other.map(|(live, _)| live)),
    }
}

/// Who comes in with a program without rules, and shows this proof.
fn forged_entry(account: &AccountKey, key: &DeviceKey, group: &LiveGroup, proof: JoinProof) -> Vec<u8> {
    let reasons = Reasons { join: Some(proof), ..Reasons::default() };
    let proposal = CustomProposal::new(REASONS, reasons.to_bytes());
    let client = modified::in_groups(account, key);
    let builder = client.external_commit_builder().unwrap().with_custom_proposal(proposal);
    let door = MlsMessage::from_bytes(&group.door().unwrap().unwrap()).unwrap();
    builder.build(door).unwrap().1.to_bytes().unwrap()
}

fn proof(secret: &JoinSecret, (group, epoch): (&[u8], u64), account: &AccountKey, key: &DeviceKey) -> JoinProof {
    let (account, device) = (account.id(), key.id());
    let joiner = Joiner { group, epoch, account: account.as_bytes(), device: device.as_bytes() };
    let link = JoinLink::id_of(&secret.public());
    let signature = secret.sign(JOIN_DOMAIN, &JoinProof::statement(joiner, &link, NOW_MS));
    JoinProof { link, at: NOW_MS, signature }
}

#[test]
fn whoever_has_a_link_comes_in_and_all_come_to_the_same() {
    let mut company = Company::with_rules(&[Role::Member]);
    let secret = linked(&mut company, |link| link.uses = Some(2));
    let dave = account();
    let (mls, _) = device(&dave);
    let before = company.policy();
    assert!(enter(&company.group, &mls).is_none(), "not by the door alone");
    let (live, commit) = join(&company.group, &mls, &secret).unwrap();
    let group = follow(&company.group, &commit);
    let theirs = follow(&company.others[0].2, &commit);
    let after = group.policy().unwrap();
    assert_eq!((Some(&after), Some(&after)), (live.policy().as_ref(), theirs.policy().as_ref()));
    let owner = *company.owner.id().as_bytes();
    let member = PolicyMember { account: *dave.id().as_bytes(), role: Role::Member, by: owner, since: group.epoch() };
    assert_eq!(after.member(dave.id().as_bytes()), Some(&member));
    let id = JoinLink::id_of(&secret.public());
    assert_eq!(after.rules.as_ref().unwrap().link(&id).unwrap().uses, Some(1));
    let entries = audit_of(&before, &after, dave.id(), group.epoch());
    let actions: Vec<AuditAction> = entries.iter().map(|entry| entry.action.clone()).collect();
    assert_eq!(actions, [AuditAction::Invited(member.account), AuditAction::LinkUsed(id)]);
    assert!(group.came_by_link(&before) && live.came_by_link(&before) && !company.group.came_by_link(&before));
    // Its other device comes by the door, and uses nothing up.
    let (phone, _) = device(&dave);
    assert!(join(&group, &phone, &secret).is_err());
    let (live, commit) = enter(&group, &phone).unwrap();
    assert_eq!(live.policy(), follow(&group, &commit).policy());
    assert_eq!(live.policy().unwrap().rules.unwrap().link(&id).unwrap().uses, Some(1));
    assert!(!live.came_by_link(&after));
}

#[test]
fn two_who_use_a_link_for_the_last_time_do_not_both_come_in() {
    let mut company = Company::with_rules(&[Role::Member]);
    let secret = linked(&mut company, |link| link.uses = Some(1));
    let (dave, eve) = (account(), account());
    let (_, first) = join(&company.group, &device(&dave).0, &secret).unwrap();
    let (_, second) = join(&company.group, &device(&eve).0, &secret).unwrap();
    for member in [&company.group, &company.others[0].2] {
        let after = follow(member, &first);
        assert!(is_void(&after, &second));
        assert_eq!(refusal(&after, &eve, &secret), Denied::Link);
        assert!(after.policy().unwrap().rules.unwrap().links.is_empty());
    }
}

#[test]
fn a_link_that_ended_or_is_for_others_leads_nobody_in() {
    let mut company = Company::with_rules(&[Role::Admin, Role::Member]);
    let (dave, bob) = (account(), company.others[1].0.id());
    let expired = linked(&mut company, |link| link.expires = NOW_MS);
    let approved = linked(&mut company, |link| link.approve = true);
    let open = linked(&mut company, |_| {});
    assert_eq!(refusal(&company.group, &dave, &expired), Denied::Link);
    assert_eq!(refusal(&company.group, &dave, &approved), Denied::Link);
    assert_eq!(refusal(&company.group, &dave, &JoinSecret::generate()), Denied::Link);
    commits(&mut company, |p| p.rules.as_mut().unwrap().ban(*dave.id().as_bytes()));
    assert_eq!(refusal(&company.group, &dave, &open), Denied::Banned);
    let key = DeviceKey::generate();
    let place = (&GROUP[..], company.group.epoch());
    let by_other_device = forged_entry(&dave, &key, &company.group, proof(&open, place, &dave, &key));
    assert!(is_void(&company.group, &by_other_device) && is_void(&company.others[0].2, &by_other_device));
    // With somebody who could know them they end; what needs approval stays.
    let before = company.policy();
    commits(&mut company, |p| p.remove(bob.as_bytes()));
    let links: Vec<[u8; 16]> = company.policy().rules.unwrap().links.iter().map(|link| link.id).collect();
    assert_eq!(links, [JoinLink::id_of(&approved.public())]);
    assert_eq!(refusal(&company.group, &account(), &open), Denied::Link);
    assert_eq!(refusal(&company.group, &company.others[1].0, &open), Denied::Link);
    // And nobody keeps them in the same commit.
    let mut kept = before.clone();
    kept.remove(bob.as_bytes());
    kept.rules.as_mut().unwrap().links = before.rules.as_ref().unwrap().links.clone();
    let place = Place { group: GROUP, epoch: company.group.epoch() - 1 };
    let checked = check_change(&before, &kept, company.owner.id(), &Reasons::default(), place);
    assert_eq!(checked, Err(Denied::Malformed));
}

#[test]
fn a_link_of_somebody_who_may_not_invite_any_more_leads_nobody_in() {
    let mut company = Company::with_rules(&[Role::Admin, Role::Member]);
    let admin = *company.others[0].0.id().as_bytes();
    let secret = JoinSecret::generate();
    let key = secret.public();
    let link = JoinLink { id: JoinLink::id_of(&key), key, expires: 0, uses: None, approve: false, by: admin };
    company.group = company.changes(Some(0), |p| p.rules.as_mut().unwrap().add_link(link)).unwrap();
    assert!(join(&company.group, &device(&account()).0, &secret).is_ok());
    let lower =
        |p: &mut Policy| p.members.iter_mut().filter(|m| m.account == admin).for_each(|m| m.role = Role::Member);
    commits(&mut company, lower);
    assert_eq!(refusal(&company.group, &account(), &secret), Denied::Link);
}

#[test]
fn a_proof_is_worth_nothing_for_others_elsewhere_or_later() {
    let mut company = Company::with_rules(&[Role::Member]);
    let secret = linked(&mut company, |_| {});
    let (dave, eve) = (account(), account());
    let [daves, eves] = [(); 2].map(|()| DeviceKey::generate());
    let here = (&GROUP[..], company.group.epoch());
    let replayed = [
        proof(&secret, here, &eve, &eves),
        proof(&secret, here, &dave, &eves),
        proof(&secret, (&b"another group's."[..], here.1), &dave, &daves),
        proof(&secret, (&GROUP[..], here.1 - 1), &dave, &daves),
        JoinProof { at: NOW_MS + 1, ..proof(&secret, here, &dave, &daves) },
        JoinProof { signature: [7; 64], ..proof(&secret, here, &dave, &daves) },
        JoinProof { link: JoinLink::id_of(&secret.public()), ..proof(&JoinSecret::generate(), here, &dave, &daves) },
    ];
    for proof in replayed {
        let commit = forged_entry(&dave, &daves, &company.group, proof.clone());
        assert!(is_void(&company.group, &commit) && is_void(&company.others[0].2, &commit), "{proof:?}");
    }
    // Nor does a member who is there use one.
    let proof = proof(&secret, here, &company.others[0].0, &company.others[0].1);
    let reasons = Reasons { join: Some(proof.clone()), ..Reasons::default() };
    let custom = Proposal::Custom(CustomProposal::new(REASONS, reasons.to_bytes()));
    assert!(!company.takes(0, vec![custom.clone()]));
    assert!(!company.takes(0, vec![says(&company.policy()), custom]));
}

#[test]
fn a_group_takes_no_more_accounts_by_a_link_than_it_can_have() {
    let mut company = Company::with_rules(&[Role::Member]);
    let secret = linked(&mut company, |_| {});
    let (owner, since) = (*company.owner.id().as_bytes(), company.group.epoch() + 1);
    commits(&mut company, |p| {
        while p.members.len() < MAX_GROUP_ACCOUNTS {
            p.add(PolicyMember { account: *account().id().as_bytes(), role: Role::Member, by: owner, since });
        }
    });
    assert_eq!(refusal(&company.group, &account(), &secret), Denied::Full);
}

#[test]
fn a_link_leads_to_no_policy_that_is_too_large_to_be_read() {
    let (owner, secret) = (account(), JoinSecret::generate());
    let (key, by) = (secret.public(), *owner.id().as_bytes());
    let mut policy = Policy::new(TALK, "ops".into(), by).with_rules(GroupKind::Group);
    for n in 1..=20 {
        policy.add(PolicyMember { account: [n; 32], role: Role::Member, by, since: 0 });
    }
    'full: for n in 1..=20 {
        for device in 0..8 {
            let staying = (1..=8).map(|d| [d; 32]).collect();
            let mut after = policy.clone();
            after.bury(Tombstone { account: [n; 32], device: [device; 32], staying });
            if !after.is_in_order() {
                break 'full;
            }
            policy = after;
        }
    }
    policy.tombstones.pop();
    let link = JoinLink { id: JoinLink::id_of(&key), key, expires: 0, uses: None, approve: false, by };
    policy.rules.as_mut().unwrap().add_link(link);
    let with_room = policy.clone();
    loop {
        let longer = Policy { topic: format!("{}x", policy.topic), ..policy.clone() };
        if !longer.is_in_order() {
            break;
        }
        policy = longer;
    }
    let (dave, device) = (account(), DeviceKey::generate());
    let certificate = Certificate::issue(&dave, device.id(), 1);
    let place = Place { group: GROUP, epoch: 7 };
    let proof = proof(&secret, (&GROUP[..], 7), &dave, &device);
    assert!(joined(&with_room, &certificate, &proof, place).is_ok());
    assert_eq!(joined(&policy, &certificate, &proof, place), Err(Denied::Full));
}
