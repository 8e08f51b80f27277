//! Who is added to a group by whom, as all others judge it.

use mls_rs::{Group, client_builder::MlsConfig, group::proposal::CustomProposal};
use starling_keys::{AccountKey, DeviceKey, RecoveryPhrase};
use starling_wire::{GroupKind, GroupSetting, MAX_AUTHORS, PolicyContext, PolicyMember, Reasons, Role};

use super::{
    super::{
        Judged, KeyPackages, modified,
        policy::{Change, extensions_with},
    },
    *,
};

const NOW_MS: u64 = 1_800_000_000_000;
const GROUP: &GroupId = b"the group's name";
const TALK: [u8; 16] = [7; 16];

fn account() -> AccountKey {
    RecoveryPhrase::generate().account_key()
}

fn device(account: &AccountKey) -> Mls {
    let key = DeviceKey::generate();
    Mls::new(&Certificate::issue(account, key.id(), 1), &key, KeyPackages::default()).unwrap()
}

/// A group of an owner's device alone, whose policy has other accounts with this role.
fn group_of(others: &[&AccountKey], role: Role) -> (AccountKey, LiveGroup) {
    let owner = account();
    let policy = Policy::new(TALK, "ops".into(), *owner.id().as_bytes()).with_rules(GroupKind::Group);
    let mut policy = Policy { large: true, ..policy };
    for other in others {
        policy.add(PolicyMember { account: *other.id().as_bytes(), role, by: *owner.id().as_bytes(), since: 0 });
    }
    let live = device(&owner).create_with(GROUP, &policy, NOW_MS).unwrap();
    (owner, live)
}

fn package(mls: &Mls) -> Bytes {
    mls.package_for(GROUP, NOW_MS).unwrap().into()
}

fn enter(group: &LiveGroup, mls: &Mls) -> (LiveGroup, LiveGroup) {
    let door = group.door().unwrap().unwrap();
    let entered = mls.enter(&door, (GROUP, group.epoch()), Expected::Group(TALK), Vec::new(), NOW_MS).unwrap();
    (follow(group, &entered.commit), entered.live)
}

fn follow(group: &LiveGroup, commit: &[u8]) -> LiveGroup {
    let Judged::Valid(next, by) = group.judge(commit) else { panic!("not valid") };
    assert!(next.epoch() == group.epoch() + 1 && by.author.is_some());
    *next
}

fn is_void(group: &LiveGroup, commit: &[u8]) -> bool {
    matches!(group.judge(commit), Judged::Void)
}

/// A member with a program without rules, which knows such commits; and the group with it.
fn rogue(group: &LiveGroup, account: &AccountKey) -> (Group<impl MlsConfig + use<>>, LiveGroup) {
    let client = modified::with_adds(account, &DeviceKey::generate());
    let door = MlsMessage::from_bytes(&group.door().unwrap().unwrap()).unwrap();
    let (rogue, commit) = client.external_commit_builder().unwrap().build(door).unwrap();
    (rogue, follow(group, &commit.to_bytes().unwrap()))
}

/// Its commit that adds these devices, and what else it says.
fn forged(rogue: &mut Group<impl MlsConfig>, packages: &[Bytes], others: Vec<Proposal>) -> Vec<u8> {
    let mut commit = rogue.commit_builder().commit_time(time(NOW_MS)).raw_proposals(others);
    for package in packages {
        commit = commit.add_member(MlsMessage::from_bytes(package).unwrap()).unwrap();
    }
    let bytes = commit.build().unwrap().commit_message.to_bytes().unwrap();
    rogue.clear_pending_commit();
    bytes
}

#[test]
fn many_are_added_by_one_commit_and_all_read_each_other() {
    let accounts: Vec<AccountKey> = (0..5).map(|_| account()).collect();
    let (_, group) = group_of(&accounts.iter().collect::<Vec<_>>(), Role::Member);
    let (group, other) = enter(&group, &device(&accounts[0]));
    let new: Vec<Mls> = accounts[1..].iter().map(device).collect();
    let packages: Vec<Bytes> = new.iter().map(package).collect();
    let (commit, after, welcomes) = group.prepare_adds(&packages, NOW_MS, Vec::new()).unwrap();
    let mut members = vec![after, follow(&other, &commit)];
    let door = members[0].door().unwrap().unwrap();
    for ((mls, account), welcomed) in new.iter().zip(&accounts[1..]).zip(&welcomes) {
        assert_eq!(welcomed.account, account.id());
        // It is small, and for this device alone.
        assert!(welcomed.welcome.len() < 4 * 1024);
        let stranger = device(account);
        assert!(stranger.join_added(&welcomed.welcome, &door, GROUP, Expected::Group(TALK)).is_err());
        assert!(mls.join_added(&welcomed.welcome, &door, GROUP, Expected::Group([8; 16])).is_err());
        // Another epoch has another tree.
        assert!(
            mls.join_added(&welcomed.welcome, &group.door().unwrap().unwrap(), GROUP, Expected::Group(TALK)).is_err()
        );
        members.push(mls.join_added(&welcomed.welcome, &door, GROUP, Expected::Group(TALK)).unwrap());
    }
    assert!(members.iter().all(|member| member.members().len() == 6 && member.policy() == members[0].policy()));
    let secret = *members[0].export("a label").unwrap();
    assert!(members.iter().all(|member| *member.export("a label").unwrap() == secret));
    // Those who were added commit like others.
    let (commit, renewed) = members[4].prepare_update(NOW_MS, Vec::new()).unwrap();
    for (at, member) in members.iter().enumerate().filter(|(at, _)| *at != 4) {
        assert_eq!(follow(member, &commit).export("x").unwrap(), renewed.export("x").unwrap(), "{at}");
    }
}

/// Who is added is not on record: nobody has to wait for it. So a member can renew its keys as often in a row as anybody could come in again, and no
/// more.
#[test]
fn where_all_were_added_everybody_may_commit_and_nobody_without_end() {
    let accounts: Vec<AccountKey> = (0..4).map(|_| account()).collect();
    let (_, group) = group_of(&accounts.iter().collect::<Vec<_>>(), Role::Member);
    let new: Vec<Mls> = accounts.iter().map(device).collect();
    let packages: Vec<Bytes> = new.iter().map(package).collect();
    let (_, mut group, welcomes) = group.prepare_adds(&packages, NOW_MS, Vec::new()).unwrap();
    let door = group.door().unwrap().unwrap();
    let join = |(mls, welcomed): (&Mls, &Welcomed)| {
        mls.join_added(&welcomed.welcome, &door, GROUP, Expected::Group(TALK)).unwrap()
    };
    let members: Vec<LiveGroup> = new.iter().zip(&welcomes).map(join).collect();
    assert!(group.may_renew() && members.iter().all(LiveGroup::may_renew));
    let (mut member, mut other, mut made) = (members[0].clone(), members[1].clone(), 0);
    while member.may_renew() {
        let (commit, after) = member.prepare_update(NOW_MS, Vec::new()).unwrap();
        (group, other) = (follow(&group, &commit), follow(&other, &commit));
        (member, made) = (after, made + 1);
    }
    assert_eq!(made, MAX_AUTHORS);
    let (commit, _) = modified::defying(|| member.prepare_update(NOW_MS, Vec::new())).unwrap();
    assert!(is_void(&group, &commit) && is_void(&other, &commit));
    assert!(other.is_waited_for());
    let mut policy = group.policy().unwrap();
    policy.remove(accounts[0].id().as_bytes());
    let change = Change { policy, reasons: Reasons::default() };
    let (commit, _) = group.prepare_change(&change, NOW_MS, Vec::new()).unwrap();
    assert_eq!(follow(&other, &commit).policy().map(|policy| policy.members.len()), Some(4));
}

#[test]
fn only_who_may_invite_adds_others() {
    let (plain, new) = (account(), account());
    let (_, group) = group_of(&[&plain, &new], Role::Member);
    let (mut rogue, group) = rogue(&group, &plain);
    let packages = [package(&device(&new))];
    assert!(is_void(&group, &forged(&mut rogue, &packages, Vec::new())));
    // Where members may invite, the same counts.
    let mut policy = group.policy().unwrap();
    let rank = u32::from(Role::Member.rank());
    policy.rules.as_mut().unwrap().set(GroupSetting::Invite, rank).unwrap();
    let change = Change { policy, reasons: Reasons::default() };
    let (commit, group) = group.prepare_change(&change, NOW_MS, Vec::new()).unwrap();
    rogue.process_incoming_message(MlsMessage::from_bytes(&commit).unwrap()).unwrap();
    follow(&group, &forged(&mut rogue, &packages, Vec::new()));
}

#[test]
fn nobody_is_added_whom_the_group_does_not_have_or_who_has_not_agreed() {
    let (admin, new) = (account(), account());
    let (_, group) = group_of(&[&admin, &new], Role::Admin);
    let (mut rogue, group) = rogue(&group, &admin);
    let honest = device(&new);
    let agreed = package(&honest);
    let mut is_void_with = |packages: &[Bytes], others| is_void(&group, &forged(&mut rogue, packages, others));
    // Somebody else's device; what was made for another group, or to be given away.
    assert!(is_void_with(&[package(&device(&account()))], Vec::new()));
    assert!(is_void_with(&[honest.package_for(&[9; 16], NOW_MS).unwrap().into()], Vec::new()));
    assert!(is_void_with(&[honest.key_package(false, NOW_MS).unwrap().into()], Vec::new()));
    assert!(is_void_with(&[agreed.clone(), package(&device(&account()))], Vec::new()), "one of two");
    // A program that does not know groups.
    let older = modified::in_groups(&new, &DeviceKey::generate());
    let mut extensions = ExtensionList::new();
    extensions.set(Extension::new(ADDS, GROUP.to_vec()));
    let from = Some(time(NOW_MS) - CLOCK_MARGIN);
    let older = older.generate_key_package_message(extensions, ExtensionList::new(), from).unwrap();
    assert!(is_void_with(&[older.to_bytes().unwrap().into()], Vec::new()));
    // More devices than an account can have.
    let devices: Vec<Bytes> = (0..=MAX_DEVICES).map(|_| package(&device(&new))).collect();
    assert!(is_void_with(&devices, Vec::new()));
    // Nothing else is in such a commit.
    let reasons = Proposal::Custom(CustomProposal::new(REASONS, Reasons::default().to_bytes()));
    assert!(is_void_with(std::slice::from_ref(&agreed), vec![reasons]));
    let says = extensions_with(&PolicyContext { policy: group.policy().unwrap(), authors: None });
    assert!(is_void_with(std::slice::from_ref(&agreed), vec![Proposal::GroupContextExtensions(says)]));
    let after = follow(&group, &forged(&mut rogue, std::slice::from_ref(&agreed), Vec::new()));
    // Who is there is not added once more.
    assert!(after.prepare_adds(&[package(&honest)], NOW_MS, Vec::new()).is_err());
}

#[test]
fn who_is_banned_is_not_added() {
    let (admin, new) = (account(), account());
    let (_, group) = group_of(&[&admin, &new], Role::Admin);
    let (mut rogue, group) = rogue(&group, &admin);
    let agreed = package(&device(&new));
    let mut policy = group.policy().unwrap();
    policy.remove(new.id().as_bytes());
    policy.rules.as_mut().unwrap().ban(*new.id().as_bytes());
    let change = Change { policy, reasons: Reasons::default() };
    let (commit, group) = group.prepare_change(&change, NOW_MS, Vec::new()).unwrap();
    rogue.process_incoming_message(MlsMessage::from_bytes(&commit).unwrap()).unwrap();
    assert!(is_void(&group, &forged(&mut rogue, std::slice::from_ref(&agreed), Vec::new())));
    assert!(group.prepare_adds(&[agreed], NOW_MS, Vec::new()).is_err());
}

#[test]
fn no_commit_adds_more_than_the_bound() {
    let admin = account();
    let accounts: Vec<AccountKey> = (0..=MAX_ADDS).map(|_| account()).collect();
    let all: Vec<&AccountKey> = accounts.iter().chain([&admin]).collect();
    let (_, group) = group_of(&all, Role::Admin);
    let (mut rogue, group) = rogue(&group, &admin);
    let packages: Vec<Bytes> = accounts.iter().map(|account| package(&device(account))).collect();
    assert!(is_void(&group, &forged(&mut rogue, &packages, Vec::new())));
    assert!(group.prepare_adds(&packages, NOW_MS, Vec::new()).is_err());
    let next = follow(&group, &forged(&mut rogue, &packages[1..], Vec::new()));
    assert_eq!(next.members().len(), 2 + MAX_ADDS);
}

#[test]
fn nobody_is_added_where_somebody_would_not_follow() {
    let (older, new) = (account(), account());
    let (_, group) = group_of(&[&older, &new], Role::Admin);
    // A member with a program that does not know such commits.
    let client = modified::in_groups(&older, &DeviceKey::generate());
    let door = MlsMessage::from_bytes(&group.door().unwrap().unwrap()).unwrap();
    let (mut other, commit) = client.external_commit_builder().unwrap().build(door).unwrap();
    let group = follow(&group, &commit.to_bytes().unwrap());
    let packages = [package(&device(&new))];
    assert!(group.prepare_adds(&packages, NOW_MS, Vec::new()).is_err());
    assert!(is_void(&group, &forged(&mut other, &packages, Vec::new())));
    // Who was invited comes in by the door.
    let (group, _) = enter(&group, &device(&new));
    assert_eq!(group.members().len(), 3);
}
