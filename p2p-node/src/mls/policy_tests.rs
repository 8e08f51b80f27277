//! What a group's policy lets members do, as all others judge it.

use mls_rs::{
    Client, ExtensionList, Group, MlsMessage,
    client_builder::MlsConfig,
    group::proposal::{CustomProposal, Proposal},
};
use starling_keys::{
    AccountId, AccountKey, Certificate, DeviceChain, DeviceKey, JoinSecret, RecoveryPhrase,
    chain::{Joining, Rights, SignWith},
};
use starling_wire::{
    AuditAction, AuditHead, ChannelOf, GroupKind, GroupRules, GroupSetting, JOIN_DOMAIN, JoinLink, JoinProof, Joiner,
    LEAVE_DOMAIN, Leave, MAX_AUTHORS, MAX_GROUP_ACCOUNTS, Permissions, Policy, PolicyContext, PolicyMember, Reasons,
    Role, Statement,
};

use super::{
    super::{
        ByLink, Expected, GroupError, Judged, KeyPackages, LiveGroup, Mls, audit_of,
        community::{carried, state},
        modified,
    },
    *,
};

const NOW_MS: u64 = 1_800_000_000_000;
const GROUP: &[u8; 16] = b"the group's name";
const TALK: [u8; 16] = [7; 16];

fn account() -> AccountKey {
    RecoveryPhrase::generate().account_key()
}

fn device(account: &AccountKey) -> (Mls, DeviceKey) {
    let key = DeviceKey::generate();
    (Mls::new(&Certificate::issue(account, key.id(), 1), &key, KeyPackages::default()).unwrap(), key)
}

fn member(account: &AccountKey, role: Role, by: &AccountKey) -> PolicyMember {
    PolicyMember { account: *account.id().as_bytes(), role, by: *by.id().as_bytes(), since: 0 }
}

fn enter(group: &LiveGroup, mls: &Mls) -> Option<(LiveGroup, Vec<u8>)> {
    let door = group.door().unwrap().unwrap();
    let entered = mls.enter(&door, (GROUP, group.epoch()), Expected::Group(TALK), Vec::new(), NOW_MS).ok()?;
    Some((entered.live, entered.commit))
}

fn follow(group: &LiveGroup, commit: &[u8]) -> LiveGroup {
    let Judged::Valid(next, _) = group.judge(commit) else { panic!("not valid") };
    *next
}

fn is_void(group: &LiveGroup, commit: &[u8]) -> bool {
    matches!(group.judge(commit), Judged::Void)
}

/// A group of an owner, and of others with these roles, each with one device.
struct Company {
    owner: AccountKey,
    group: LiveGroup,
    others: Vec<(AccountKey, DeviceKey, LiveGroup)>,
}

impl Company {
    fn of(roles: &[Role]) -> Self {
        Self::made(roles, |policy| policy)
    }

    /// One of a group with rules.
    fn with_rules(roles: &[Role]) -> Self {
        Self::made(roles, |policy| policy.with_rules(GroupKind::Group))
    }

    fn made(roles: &[Role], rules: impl FnOnce(Policy) -> Policy) -> Self {
        let owner = account();
        let accounts: Vec<AccountKey> = roles.iter().map(|_| account()).collect();
        let mut policy = rules(Policy::new(TALK, "ops".into(), *owner.id().as_bytes()));
        for (account, role) in accounts.iter().zip(roles) {
            policy.add(member(account, *role, &owner));
        }
        let mut group = device(&owner).0.create_with(GROUP, &policy, NOW_MS).unwrap();
        let mut others: Vec<(AccountKey, DeviceKey, LiveGroup)> = Vec::new();
        for account in accounts {
            let (mls, key) = device(&account);
            let (live, commit) = enter(&group, &mls).unwrap();
            group = follow(&group, &commit);
            for (_, _, other) in &mut others {
                *other = follow(other, &commit);
            }
            others.push((account, key, live));
        }
        Self { owner, group, others }
    }

    fn policy(&self) -> Policy {
        self.group.policy().unwrap()
    }

    /// What becomes of an honest commit of the member at a place, with others; of the owner if none is given.
    fn changes(&self, at: Option<usize>, change: impl FnOnce(&mut Policy)) -> Option<LiveGroup> {
        let (live, other) = match at {
            Some(at) => (&self.others[at].2, &self.group),
            None => (&self.group, &self.others[0].2),
        };
        let change = Change { policy: self.with(change), reasons: Reasons::default() };
        let (commit, after) = live.prepare_change(&change, NOW_MS, Vec::new()).ok()?;
        let theirs = follow(other, &commit);
        assert_eq!(theirs.policy(), after.policy());
        Some(theirs)
    }

    fn with(&self, change: impl FnOnce(&mut Policy)) -> Policy {
        let mut policy = self.policy();
        change(&mut policy);
        policy
    }

    /// A commit of a program without rules in the place of the member: it says what it likes.
    fn forged(&self, at: usize, proposals: Vec<Proposal>) -> Vec<u8> {
        let (account, key, _) = &self.others[at];
        let (mut rogue, entry) = rogue(account, key, &self.group);
        let group = follow(&self.group, &entry);
        assert_eq!(group.epoch(), rogue.current_epoch());
        let proposals = on_record(&group, account, proposals);
        rogue.commit_builder().raw_proposals(proposals).build().unwrap().commit_message.to_bytes().unwrap()
    }

    /// What honest members make of a forged commit.
    fn takes(&self, at: usize, proposals: Vec<Proposal>) -> bool {
        let (account, key, _) = &self.others[at];
        let (mut rogue, entry) = rogue(account, key, &self.group);
        let group = follow(&self.group, &entry);
        let proposals = on_record(&group, account, proposals);
        let commit = rogue.commit_builder().raw_proposals(proposals).build().unwrap().commit_message;
        !is_void(&group, &commit.to_bytes().unwrap())
    }
}

/// The same device with a program without rules, in place of its honest leaf; and the commit by which it is there.
fn rogue(account: &AccountKey, key: &DeviceKey, group: &LiveGroup) -> (Group<impl MlsConfig + use<>>, Vec<u8>) {
    let client = modified::in_groups(account, key);
    let door = group.door().unwrap().unwrap();
    let leaf = members(&group.group.roster()).find(|(_, c)| c.device() == key.id()).map(|(leaf, _)| leaf);
    let builder = client.external_commit_builder().unwrap();
    let builder = if let Some(leaf) = leaf { builder.with_removal(leaf) } else { builder };
    let (rogue, commit) = builder.build(MlsMessage::from_bytes(&door).unwrap()).unwrap();
    (rogue, commit.to_bytes().unwrap())
}

fn says(policy: &Policy) -> Proposal {
    Proposal::GroupContextExtensions(extensions_with(&PolicyContext { policy: policy.clone(), authors: None }))
}

/// The same proposals with the record of authors that a commit of this account leads to.
fn on_record(group: &LiveGroup, author: &AccountKey, proposals: Vec<Proposal>) -> Vec<Proposal> {
    let context = context_of(&group.group.context().extensions).unwrap().unwrap();
    let authors = authors_after(&context, &author.id());
    let with_authors = |proposal| match proposal {
        Proposal::GroupContextExtensions(mut extensions) => {
            // What cannot be read stays as it is.
            let said = extensions.get(POLICY).and_then(|said| Policy::from_bytes(&said.extension_data).ok());
            if let Some(policy) = said {
                let context = PolicyContext { policy, authors: authors.clone() };
                extensions.set(Extension::new(POLICY, context.to_bytes()));
            }
            Proposal::GroupContextExtensions(extensions)
        }
        other => other,
    };
    proposals.into_iter().map(with_authors).collect()
}

fn removes(leaf: u32) -> Proposal {
    Proposal::Remove(mls_rs::group::proposal::RemoveProposal::removing(leaf).unwrap())
}

fn leaf_of(group: &LiveGroup, account: AccountId) -> u32 {
    members(&group.group.roster()).find(|(_, c)| c.account() == account).unwrap().0
}

#[test]
fn ten_accounts_enter_by_the_door_and_read_each_other() {
    let mut company = Company::of(&[Role::Member; 9]);
    assert_eq!(company.group.members().len(), 10);
    let hello = company.others[8].2.encrypt(b"hello").unwrap();
    assert!(matches!(company.group.process(&hello), super::super::Processed::Application { .. }));
    for (_, _, other) in company.others.iter_mut().take(8) {
        assert!(matches!(other.process(&hello), super::super::Processed::Application { .. }));
    }
}

#[test]
fn nobody_enters_who_is_not_in_the_policy() {
    let company = Company::of(&[Role::Member]);
    let mallory = account();
    assert!(enter(&company.group, &device(&mallory).0).is_none());
    let (_, commit) = rogue(&mallory, &DeviceKey::generate(), &company.group);
    assert!(is_void(&company.group, &commit));
    assert!(is_void(&company.others[0].2, &commit));
}

#[test]
fn a_device_enters_again_in_place_of_its_own_leaf_and_of_no_other() {
    let company = Company::of(&[Role::Member, Role::Member]);
    let (account, key, _) = &company.others[0];
    let again = Mls::new(&Certificate::issue(account, key.id(), 1), key, KeyPackages::default()).unwrap();
    let (live, commit) = enter(&company.group, &again).unwrap();
    assert_eq!((live.members().len(), follow(&company.group, &commit).members().len()), (3, 3));
    // Its other device does not take its place, nor does one of another account.
    for (account, key) in [(account, &DeviceKey::generate()), (&company.others[1].0, &company.others[1].1)] {
        let client = modified::in_groups(account, key);
        let door = company.group.door().unwrap().unwrap();
        let foreign = leaf_of(&company.group, company.others[0].0.id());
        let builder = client.external_commit_builder().unwrap().with_removal(foreign);
        if let Ok((_, commit)) = builder.build(MlsMessage::from_bytes(&door).unwrap()) {
            assert!(is_void(&company.group, &commit.to_bytes().unwrap()));
        }
    }
}

#[test]
fn a_policy_group_and_a_direct_one_are_never_taken_for_each_other() {
    let company = Company::of(&[Role::Member]);
    let door = company.group.door().unwrap().unwrap();
    let (account, ..) = &company.others[0];
    let accounts = [company.owner.id(), account.id()];
    let (laptop, _) = device(account);
    let epoch = (GROUP, company.group.epoch());
    assert!(laptop.enter(&door, epoch, Expected::Direct(accounts), Vec::new(), NOW_MS).is_err());
    assert!(laptop.enter(&door, epoch, Expected::Group([8; 16]), Vec::new(), NOW_MS).is_err());
    assert!(laptop.enter(&door, epoch, Expected::Group(TALK), Vec::new(), NOW_MS).is_ok());
    // Nobody is added by others.
    let package: bytes::Bytes = laptop.key_package(false, NOW_MS).unwrap().into();
    assert!(company.group.commit_adding(&package, NOW_MS).is_err());
}

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

/// A chain with a first device and one that it has linked.
struct Chained {
    root: AccountKey,
    first: DeviceKey,
    linked: DeviceKey,
    chain: DeviceChain,
}

impl Chained {
    fn new() -> Self {
        let (root, first, linked) = (account(), DeviceKey::generate(), DeviceKey::generate());
        let joining = |key: &DeviceKey| Joining::sign(key, &root.id(), vec![1; 32]);
        let chain = DeviceChain::create(&root, 1, [0; 32], &joining(&first)).unwrap();
        let chain = chain.add(&SignWith::Device(&first), 2, &joining(&linked), Rights::Admin).unwrap();
        Self { root, first, linked, chain }
    }

    fn mls(&self, key: &DeviceKey) -> Mls {
        let certificate = Certificate::from(&self.chain.path_to(&key.id()).unwrap());
        Mls::new(&certificate, key, KeyPackages::default()).unwrap()
    }
}

#[test]
fn a_device_that_its_account_has_removed_goes_for_good_and_who_was_linked_by_it_stays_if_that_is_said() {
    let bob = Chained::new();
    let owner = account();
    let mut policy = Policy::new(TALK, "ops".into(), *owner.id().as_bytes());
    policy.add(member(&bob.root, Role::Member, &owner));
    let group = device(&owner).0.create_with(GROUP, &policy, NOW_MS).unwrap();
    let (_, commit) = enter(&group, &bob.mls(&bob.first)).unwrap();
    let group = follow(&group, &commit);
    let (linked, commit) = enter(&group, &bob.mls(&bob.linked)).unwrap();
    let group = follow(&group, &commit);
    // The linked device removes the one that has linked it, and stays.
    let removed = bob.chain.remove(&SignWith::Device(&bob.linked), 3, bob.first.id()).unwrap();
    let tombstone = tombstone_by(&removed, &bob.first.id()).unwrap();
    assert_eq!(tombstone.staying, [*bob.linked.id().as_bytes()]);
    let with = |chain: &DeviceChain, tombstone: &Tombstone| {
        let mut policy = group.policy().unwrap();
        policy.bury(tombstone.clone());
        let chains = vec![bytes::Bytes::copy_from_slice(chain.as_bytes())];
        Change { policy, reasons: Reasons { chains, ..Reasons::default() } }
    };
    let (commit, after) = group.prepare_change(&with(&removed, &tombstone), NOW_MS, Vec::new()).unwrap();
    let linked = follow(&linked, &commit);
    assert_eq!((after.members().len(), linked.members().len()), (2, 2));
    // Its key is worth nothing any more, and who it links now does not get in.
    assert!(enter(&after, &bob.mls(&bob.first)).is_none());
    let accomplice = DeviceKey::generate();
    let joining = Joining::sign(&accomplice, &bob.root.id(), vec![1; 32]);
    let rival = bob.chain.add(&SignWith::Device(&bob.first), 3, &joining, Rights::Admin).unwrap();
    let path = Certificate::from(&rival.path_to(&accomplice.id()).unwrap());
    assert!(enter(&after, &Mls::new(&path, &accomplice, KeyPackages::default()).unwrap()).is_none());
    // Nor does it get the other out by a chain in which it was the faster.
    let rival = bob.chain.remove(&SignWith::Device(&bob.first), 3, bob.linked.id()).unwrap();
    let mut policy = after.policy().unwrap();
    policy.bury(tombstone_by(&rival, &bob.linked.id()).unwrap());
    let chains = vec![bytes::Bytes::copy_from_slice(rival.as_bytes())];
    let change = Change { policy, reasons: Reasons { chains, ..Reasons::default() } };
    assert!(after.prepare_change(&change, NOW_MS, Vec::new()).is_err());
    // A tombstone that leaves the linked one out, and one that the chain does not show, are void.
    let harsh = Tombstone { staying: Vec::new(), ..tombstone.clone() };
    assert!(group.prepare_change(&with(&removed, &harsh), NOW_MS, Vec::new()).is_err());
    assert!(group.prepare_change(&with(&bob.chain, &tombstone), NOW_MS, Vec::new()).is_err());
}

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

#[test]
fn members_remember_no_devices_that_were_never_there() {
    let bob = Chained::new();
    let owner = account();
    let mut policy = Policy::new(TALK, "ops".into(), *owner.id().as_bytes());
    policy.add(member(&bob.root, Role::Member, &owner));
    let group = device(&owner).0.create_with(GROUP, &policy, NOW_MS).unwrap();
    let (inside, commit) = enter(&group, &bob.mls(&bob.first)).unwrap();
    let group = follow(&group, &commit);
    let removed = bob.chain.remove(&SignWith::Device(&bob.first), 3, bob.linked.id()).unwrap();
    let mut policy = group.policy().unwrap();
    policy.bury(tombstone_by(&removed, &bob.linked.id()).unwrap());
    let chains = vec![bytes::Bytes::copy_from_slice(removed.as_bytes())];
    let change = Change { policy, reasons: Reasons { chains, ..Reasons::default() } };
    // Its own account does: the device may know the door.
    assert!(group.prepare_change(&change, NOW_MS, Vec::new()).is_err());
    let (commit, _) = inside.prepare_change(&change, NOW_MS, Vec::new()).unwrap();
    assert_eq!(follow(&group, &commit).policy().unwrap().tombstones.len(), 1);
}

#[test]
fn garbage_in_the_place_of_a_policy_makes_no_group() {
    let owner = account();
    let client: Client<_> = modified::in_groups(&owner, &DeviceKey::generate());
    let mut extensions = ExtensionList::new();
    extensions.set(Extension::new(POLICY, vec![0xff; 30]));
    let group = client.create_group_with_id(GROUP.to_vec(), extensions, ExtensionList::new(), None).unwrap();
    let door = group.group_info_message_allowing_ext_commit(true).unwrap().to_bytes().unwrap();
    let (mls, _) = device(&owner);
    assert!(mls.enter(&door, (GROUP, 0), Expected::Group(TALK), Vec::new(), NOW_MS).is_err());
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
        let commit = after.group.commit_builder().set_group_context_ext(extensions_with(&context)).unwrap();
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
