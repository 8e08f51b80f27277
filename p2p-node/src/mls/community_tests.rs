//! What statements of a community do in its channels, and what they cannot do.

use starling_keys::{AccountKey, RecoveryPhrase};
use starling_wire::{ChannelEntry, ChannelOf, GroupKind, LEAVE_DOMAIN, Leave, MAX_GROUP_ACCOUNTS, STATEMENT_STEPS};

use super::{super::policy::check_change, *};

const COMMUNITY: [u8; 16] = [9; 16];
const GROUP: [u8; 16] = [2; 16];
const PLACE: Place<'static> = Place { group: &GROUP, epoch: 7 };

struct Person {
    account: AccountKey,
    key: DeviceKey,
    certificate: Certificate,
}

impl Person {
    fn new() -> Self {
        let (account, key) = (RecoveryPhrase::generate().account_key(), DeviceKey::generate());
        let certificate = Certificate::issue(&account, key.id(), 1);
        Self { account, key, certificate }
    }

    fn id(&self) -> [u8; 32] {
        *self.account.id().as_bytes()
    }

    fn states(&self, number: u64, members: &[(&Person, Role)]) -> Statement {
        state(COMMUNITY, number, roster(members), (&self.certificate, &self.key))
    }
}

fn roster(members: &[(&Person, Role)]) -> Vec<([u8; 32], Role)> {
    let mut roster: Vec<_> = members.iter().map(|(person, role)| (person.id(), *role)).collect();
    roster.sort_unstable();
    roster
}

/// A group of a kind with these members.
fn group(kind: GroupKind, members: &[(&Person, Role)]) -> Policy {
    let owner = members[0].0.id();
    let mut policy = Policy::new([1; 16], "news".into(), owner).with_rules(kind);
    let member = |(account, role)| PolicyMember { account, role, by: owner, since: 0 };
    policy.members = roster(members).into_iter().map(member).collect();
    policy
}

/// A channel of the community for these roles and those above, in which statements up to a number have counted.
fn channel(lowest: Role, number: u64, members: &[(&Person, Role)]) -> Policy {
    let mut policy = group(GroupKind::Channel, members);
    let of = ChannelOf { community: COMMUNITY, lowest, numbers: [number; 3] };
    policy.rules.as_mut().unwrap().channel_of = Some(of);
    policy
}

fn roles(policy: &Policy, people: &[&Person]) -> Vec<Option<Role>> {
    people.iter().map(|person| policy.role(&person.id())).collect()
}

#[test]
fn a_channel_gets_the_members_and_roles_that_are_stated() {
    let [owner, admin, bob, carol] = [(); 4].map(|()| Person::new());
    let before = channel(Role::Reader, 3, &[(&owner, Role::Owner), (&admin, Role::Admin), (&bob, Role::Member)]);
    let now = [(&owner, Role::Owner), (&admin, Role::Admin), (&carol, Role::Moderator)];
    let after = carried(&before, &admin.states(4, &now), 7).unwrap();
    let expected = [Some(Role::Owner), Some(Role::Admin), None, Some(Role::Moderator)];
    assert_eq!(roles(&after, &[&owner, &admin, &bob, &carol]), expected);
    assert_eq!(after.removed, [bob.id()]);
    let member = after.member(&carol.id()).unwrap();
    assert_eq!((member.by, member.since), (admin.id(), 8));
    assert_eq!(after.channel_of().unwrap().numbers, [3, 4, 4], "admins decide nothing of admins");
    // Any member commits just that, and gives nothing else as a reason.
    let reasons = Reasons { statement: Some(admin.states(4, &now)), ..Reasons::default() };
    let carries = |after: &Policy| check_change(&before, after, bob.account.id(), &reasons, PLACE);
    assert_eq!(carries(&after), Ok(()));
    let mut more = after.clone();
    more.topic = "mine".into();
    assert_eq!(carries(&more), Err(Denied::Statement));
    assert_eq!(carries(&before), Err(Denied::Statement));
    assert_eq!(check_change(&before, &after, bob.account.id(), &Reasons::default(), PLACE), Err(Denied::Community));
    // What is said again changes nothing.
    assert_eq!(carried(&after, &admin.states(4, &now), 8), None);
}

#[test]
fn a_channel_for_some_roles_has_those_alone() {
    let [owner, bob] = [(); 2].map(|()| Person::new());
    let before = channel(Role::Moderator, 1, &[(&owner, Role::Owner)]);
    let with = |role| owner.states(2, &[(&owner, Role::Owner), (&bob, role)]);
    assert_eq!(carried(&before, &with(Role::Member), 7), None);
    let after = carried(&before, &with(Role::Moderator), 7).unwrap();
    assert_eq!(after.role(&bob.id()), Some(Role::Moderator));
    let later = owner.states(3, &[(&owner, Role::Owner), (&bob, Role::Member)]);
    assert_eq!(carried(&after, &later, 8).unwrap().role(&bob.id()), None);
}

#[test]
fn what_is_forged_old_or_not_for_this_channel_counts_for_nothing() {
    let [owner, admin, bob, carol, mallory] = [(); 5].map(|()| Person::new());
    let members = [(&owner, Role::Owner), (&admin, Role::Admin), (&bob, Role::Member), (&carol, Role::Moderator)];
    let before = channel(Role::Reader, 5, &members);
    let without_bob = [(&owner, Role::Owner), (&admin, Role::Admin), (&carol, Role::Moderator)];
    let counts = |statement: &Statement| carried(&before, statement, 7).is_some();
    let good = admin.states(6, &without_bob);
    assert!(counts(&good) && counts(&carol.states(6, &without_bob)) && counts(&owner.states(6, &without_bob)));
    assert!(!counts(&admin.states(4, &without_bob)), "older");
    assert!(!counts(&admin.states(6 + STATEMENT_STEPS[1], &without_bob)), "it would use up the numbers");
    assert!(!counts(&bob.states(6, &without_bob)) && !counts(&mallory.states(6, &without_bob)), "by nobody");
    let elsewhere = state([8; 16], 6, roster(&without_bob), (&admin.certificate, &admin.key));
    assert!(!counts(&elsewhere), "of another community");
    assert!(
        !counts(&Statement { number: 7, ..good.clone() }) && !counts(&Statement { signature: [1; 64], ..good.clone() })
    );
    let foreign = state(COMMUNITY, 6, roster(&without_bob), (&admin.certificate, &bob.key));
    assert!(!counts(&foreign), "by another key");
    // Who is no admin any more, and who is gone, has nothing to say.
    for now in [Some(Role::Member), None] {
        let mut later = before.clone();
        match now {
            Some(role) => later.members.iter_mut().filter(|m| m.account == admin.id()).for_each(|m| m.role = role),
            None => later.remove(&admin.id()),
        }
        assert_eq!(carried(&later, &good, 7), None);
    }
    // Nor has a device that its account has removed.
    let mut buried = before.clone();
    let device = *admin.key.id().as_bytes();
    buried.bury(starling_wire::Tombstone { account: admin.id(), device, staying: Vec::new() });
    assert_eq!(carried(&buried, &good, 7), None);
}

#[test]
fn nobody_acts_on_an_equal_or_a_higher_role_by_a_statement() {
    let [owner, admin, other, carol] = [(); 4].map(|()| Person::new());
    let members = [(&owner, Role::Owner), (&admin, Role::Admin), (&other, Role::Admin), (&carol, Role::Moderator)];
    let before = channel(Role::Reader, 5, &members);
    let alone = carried(&before, &admin.states(6, &[(&admin, Role::Owner)]), 7).unwrap();
    let expected = [Some(Role::Owner), Some(Role::Admin), Some(Role::Admin), None];
    assert_eq!(roles(&alone, &[&owner, &admin, &other, &carol]), expected);
    assert_eq!(carried(&before, &carol.states(6, &[(&carol, Role::Owner)]), 7), None);
    // Owners make others owners, and step back themselves.
    let all = [(&owner, Role::Admin), (&admin, Role::Owner), (&other, Role::Admin), (&carol, Role::Moderator)];
    let after = carried(&before, &owner.states(6, &all), 7).unwrap();
    assert_eq!(roles(&after, &[&owner, &admin]), [Some(Role::Admin), Some(Role::Owner)]);
    let two = [(&owner, Role::Owner), (&admin, Role::Owner)];
    let gone = carried(&channel(Role::Reader, 5, &two), &owner.states(6, &[(&owner, Role::Owner)]), 7);
    assert_eq!(gone, None, "no owner ends another's");
    assert_eq!(carried(&before, &owner.states(6, &[(&owner, Role::Reader), (&carol, Role::Moderator)]), 7), None);
}

#[test]
fn what_only_owners_decide_counts_also_after_a_newer_statement_of_an_admin() {
    let [owner, admin, other, bob] = [(); 4].map(|()| Person::new());
    let members = [(&owner, Role::Owner), (&admin, Role::Admin), (&other, Role::Admin), (&bob, Role::Member)];
    let before = channel(Role::Reader, 5, &members);
    // The owner removes an admin, and after that the other admin removes bob.
    let first = owner.states(6, &[(&owner, Role::Owner), (&admin, Role::Admin), (&bob, Role::Member)]);
    let second = admin.states(7, &[(&owner, Role::Owner), (&admin, Role::Admin)]);
    let after = carried(&before, &second, 7).unwrap();
    assert_eq!(roles(&after, &[&other, &bob]), [Some(Role::Admin), None]);
    let both = carried(&after, &first, 8).unwrap();
    assert_eq!(roles(&both, &[&other, &bob]), [None, None], "and bob does not come back");
    let other_way = carried(&carried(&before, &first, 7).unwrap(), &second, 8).unwrap();
    assert_eq!(other_way.roster(), both.roster());
}

#[test]
fn nobody_uses_up_the_numbers_of_those_above_in_a_channel() {
    let [owner, admin, moderator, bob] = [(); 4].map(|()| Person::new());
    let members = [(&owner, Role::Owner), (&admin, Role::Admin), (&moderator, Role::Moderator), (&bob, Role::Member)];
    let before = channel(Role::Reader, 5, &members);
    let without_bob = &members[..3];
    let (mut policy, mut number) = (before.clone(), 5_u64);
    // A moderator removes somebody and lets them in again, as far ahead as counts.
    for members in [without_bob, &members[..]].repeat(10) {
        let Some((after, at)) = (0..=60).rev().find_map(|bits| {
            let at = number + (1_u64 << bits);
            Some((carried(&policy, &moderator.states(at, members), 7)?, at))
        }) else {
            break;
        };
        (policy, number) = (after, at);
    }
    assert!(number <= 5 + STATEMENT_STEPS[2]);
    // Those above are heard as soon as they say something newer, and after that the moderators are again.
    let with_bob = carried(&policy, &admin.states(number + 1, &members), 8).unwrap_or(policy);
    let after = carried(&with_bob, &admin.states(number + 2, without_bob), 9).unwrap();
    assert_eq!(after.role(&bob.id()), None);
    assert!(carried(&after, &moderator.states(number + 3, &members), 10).is_some());
    let far = carried(&before, &admin.states(5 + STATEMENT_STEPS[1], without_bob), 7).unwrap();
    assert_eq!(carried(&far, &admin.states(6 + STATEMENT_STEPS[1], &members), 8), None);
    assert!(carried(&far, &owner.states(6 + STATEMENT_STEPS[1], &members), 8).is_some());
}

#[test]
fn whoever_runs_ahead_in_a_community_does_not_cut_off_its_channels() {
    let [owner, moderator, bob] = [(); 3].map(|()| Person::new());
    let members = [(&owner, Role::Owner), (&moderator, Role::Moderator), (&bob, Role::Member)];
    let mut community = group(GroupKind::Community, &members);
    community.conversation = COMMUNITY;
    let mut channel = channel(Role::Reader, 0, &members);
    // Says the same again, with a higher number each time; and nobody has carried that on.
    let (mut number, mut said) = (0_u64, 0);
    for _ in 0..8 {
        for bits in (0..=60).rev() {
            let statement = moderator.states(number + (1_u64 << bits), &members);
            let mut after = community.clone();
            after.rules.as_mut().unwrap().community.as_mut().unwrap().state(Role::Moderator, statement.clone());
            let reasons = Reasons { statement: Some(statement.clone()), ..Reasons::default() };
            if check_stated(&community, &after, &moderator.certificate, &reasons, PLACE).is_ok() {
                (community, number, said) = (after, statement.number, said + 1);
                break;
            }
        }
    }
    assert!(said > 0 && number <= STATEMENT_STEPS[2]);
    let last = community.community().unwrap().newest().unwrap();
    if let Some(after) = carried(&channel, last, 7) {
        assert_eq!((after.roster(), after.channel_of().unwrap().numbers), (channel.roster(), [0, 0, number]));
        assert_eq!(carried(&after, last, 8), None, "once");
        channel = after;
    }
    let without = owner.states(number + 1, &[(&owner, Role::Owner), (&bob, Role::Member)]);
    assert_eq!(carried(&channel, &without, 8).unwrap().role(&moderator.id()), None, "who did that goes");
}

#[test]
fn who_is_to_go_goes_also_where_there_is_no_room_for_who_comes() {
    let people: Vec<Person> = (0..MAX_GROUP_ACCOUNTS + 2).map(|_| Person::new()).collect();
    let role = |at: usize| if at < 2 { Role::Owner } else { Role::Member };
    let members = |places: &[usize]| places.iter().map(|at| (&people[*at], role(*at))).collect::<Vec<_>>();
    let first: Vec<usize> = (0..MAX_GROUP_ACCOUNTS).collect();
    let before = channel(Role::Reader, 5, &members(&first));
    // The second owner has left the community, and is in the channel still.
    let now: Vec<usize> = [0].into_iter().chain(3..MAX_GROUP_ACCOUNTS + 2).collect();
    let statement = people[0].states(6, &members(&now));
    let after = carried(&before, &statement, 7).unwrap();
    assert_eq!((after.members.len(), after.role(&people[2].id())), (MAX_GROUP_ACCOUNTS - 1, None));
    assert_eq!(carried(&after, &statement, 8), None);
    // As soon as there is room they come.
    let mut left = after.clone();
    left.remove(&people[1].id());
    let all = carried(&left, &statement, 9).unwrap();
    assert_eq!(all.roster(), statement.members);
}

#[test]
fn who_has_left_or_is_banned_is_not_brought_back() {
    let [owner, bob, carol] = [(); 3].map(|()| Person::new());
    let members = [(&owner, Role::Owner), (&bob, Role::Member), (&carol, Role::Member)];
    let mut before = channel(Role::Reader, 5, &members);
    before.remove(&bob.id());
    before.remove(&carol.id());
    before.rules.as_mut().unwrap().ban(carol.id());
    assert_eq!(carried(&before, &owner.states(5, &members), 7), None);
    let after = carried(&before, &owner.states(6, &members), 7).unwrap();
    assert_eq!(roles(&after, &[&bob, &carol]), [Some(Role::Member), None]);
    // Moderators ban from a channel; to remove is the community's.
    let before = channel(Role::Reader, 5, &members);
    let changed = |ban: bool| {
        let mut after = before.clone();
        after.remove(&carol.id());
        if ban {
            after.rules.as_mut().unwrap().ban(carol.id());
        }
        check_change(&before, &after, owner.account.id(), &Reasons::default(), PLACE)
    };
    assert_eq!((changed(true), changed(false)), (Ok(()), Err(Denied::Community)));
}

#[test]
fn whoever_changes_a_community_says_so_to_its_channels() {
    let [owner, admin, bob] = [(); 3].map(|()| Person::new());
    let members = [(&owner, Role::Owner), (&admin, Role::Admin), (&bob, Role::Member)];
    let mut before = group(GroupKind::Community, &members);
    before.conversation = COMMUNITY;
    let without_bob = [(&owner, Role::Owner), (&admin, Role::Admin)];
    let after = |statement: Option<(Role, Statement)>| {
        let mut after = before.clone();
        after.remove(&bob.id());
        let reasons = Reasons { statement: statement.clone().map(|(_, s)| s), ..Reasons::default() };
        if let Some((role, statement)) = statement {
            after.rules.as_mut().unwrap().community.as_mut().unwrap().state(role, statement);
        }
        (after, reasons)
    };
    let checked = |by: &Person, statement: Option<(Role, Statement)>| {
        let (after, reasons) = after(statement);
        check_stated(&before, &after, &by.certificate, &reasons, PLACE)
    };
    let says = |by: &Person, number| Some((Role::Admin, by.states(number, &without_bob)));
    assert_eq!(checked(&admin, says(&admin, 1)), Ok(()));
    for statement in [None, says(&admin, 0), says(&owner, 1), Some((Role::Owner, admin.states(1, &without_bob)))] {
        assert_eq!(checked(&admin, statement), Err(Denied::Statement));
    }
    assert_eq!(checked(&admin, Some((Role::Admin, admin.states(1, &members)))), Err(Denied::Statement), "not true");
    // Only who has said so itself leaves without one.
    let left = |by: &DeviceKey| {
        let (account, device) = (bob.id(), *by.id().as_bytes());
        let signature = bob.key.sign(LEAVE_DOMAIN, &Leave::statement(&account, &GROUP, PLACE.epoch));
        let leave = Leave { account, device, group: GROUP, epoch: PLACE.epoch, signature };
        let reasons = Reasons { leaves: vec![leave], ..Reasons::default() };
        check_stated(&before, &after(None).0, &admin.certificate, &reasons, PLACE)
    };
    assert_eq!((left(&bob.key), left(&admin.key)), (Ok(()), Err(Denied::Statement)));
    // A change of anything else needs none, and channels are added by admins.
    let mut named = before.clone();
    named.topic = "all".into();
    assert_eq!(check_stated(&before, &named, &bob.certificate, &Reasons::default(), PLACE), Ok(()));
    let mut listed = before.clone();
    let entry = ChannelEntry { conversation: [3; 16], group: [4; 16], lowest: Role::Reader };
    listed.rules.as_mut().unwrap().community.as_mut().unwrap().add(entry);
    let adds = |by: &Person| check_change(&before, &listed, by.account.id(), &Reasons::default(), PLACE);
    assert_eq!((adds(&admin), adds(&bob)), (Ok(()), Err(Denied::Role)));
    let mut moved = listed.clone();
    moved.rules.as_mut().unwrap().community.as_mut().unwrap().channels[0].group = [5; 16];
    let moves = check_change(&listed, &moved, owner.account.id(), &Reasons::default(), PLACE);
    assert_eq!(moves, Err(Denied::Malformed));
}
