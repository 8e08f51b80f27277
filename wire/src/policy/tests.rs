//! Policies and their encodings.

use super::*;
use crate::CommitAuthors;

fn policy() -> Policy {
    let mut policy = Policy::new([1; 16], "ops".into(), [5; 32]);
    for n in [7, 3, 9] {
        policy.add(PolicyMember { account: [n; 32], role: Role::Member, by: [5; 32], since: 2 });
    }
    policy.remove(&[7; 32]);
    policy.bury(Tombstone { account: [3; 32], device: [4; 32], staying: vec![[1; 32], [2; 32]] });
    policy
}

#[test]
fn a_policy_is_read_back() {
    let policy = policy();
    assert_eq!(Policy::from_bytes(&policy.to_bytes()), Ok(policy.clone()));
    assert_eq!(policy.members.iter().map(|m| m.account[0]).collect::<Vec<_>>(), [3, 5, 9]);
    assert_eq!((policy.role(&[5; 32]), policy.role(&[7; 32])), (Some(Role::Owner), None));
    let authors = [None, Some(CommitAuthors::default()), Some(CommitAuthors::default().with(&[3; 32]))];
    for authors in authors {
        let context = PolicyContext { policy: policy.clone(), authors };
        assert_eq!(PolicyContext::from_bytes(&context.to_bytes()), Ok(context.clone()));
        // Without the record it is another version, whose rules are others.
        assert_eq!(Policy::from_bytes(&context.to_bytes()).is_ok(), context.authors.is_none());
    }
}

#[test]
fn a_policy_that_is_not_in_order_is_refused() {
    let broken: [fn(&mut Policy); 6] = [
        |p| p.members.reverse(),
        |p| p.members.iter_mut().for_each(|m| m.role = Role::Admin),
        |p| p.removed.push([3; 32]),
        |p| p.name.clear(),
        |p| p.topic = "x".repeat(MAX_TOPIC + 1),
        |p| {
            for n in 10..50 {
                p.add(PolicyMember { account: [n; 32], role: Role::Member, by: [5; 32], since: 2 });
            }
        },
    ];
    for change in broken {
        let mut policy = policy();
        change(&mut policy);
        assert_eq!(Policy::from_bytes(&policy.to_bytes()), Err(PolicyError::Malformed));
    }
    let versions = [(2, PolicyError::Malformed), (3, PolicyError::Malformed), (4, PolicyError::Newer)];
    for (version, error) in versions {
        let other = [&policy().to_bytes()[..], &[0x08, version]].concat();
        assert_eq!(Policy::from_bytes(&other), Err(error));
        assert_eq!(PolicyContext::from_bytes(&other), Err(error));
    }
    // A newer version may have all but its number in another way.
    assert_eq!(PolicyContext::from_bytes(&[0x08, 9, 0x10, 1]), Err(PolicyError::Newer));
}

fn with_rules() -> Policy {
    let mut policy = policy().with_rules(GroupKind::Group);
    let rules = policy.rules.as_mut().unwrap();
    rules.ban([7; 32]);
    rules.ban([6; 32]);
    let link = JoinLink { id: [1; 16], key: [2; 32], expires: 5, uses: Some(3), approve: true, by: [5; 32] };
    rules.links = vec![link.clone(), JoinLink { id: [2; 16], uses: None, ..link }];
    rules.slow_mode = 30;
    policy
}

#[test]
fn rules_are_read_back() {
    let policy = with_rules();
    let rules = policy.rules.clone().unwrap();
    assert_eq!(Policy::from_bytes(&policy.to_bytes()), Ok(policy.clone()));
    for authors in [CommitAuthors::default(), CommitAuthors::default().with(&[3; 32])] {
        let context = PolicyContext { policy: policy.clone(), authors: Some(authors.clone()) };
        assert_eq!(PolicyContext::from_bytes(&context.to_bytes()), Ok(context.clone()));
        assert_eq!(Policy::from_bytes(&context.to_bytes()).is_ok(), authors.accounts() == 0);
    }
    assert_eq!((policy.version(), rules.bans.clone()), (POLICY_WITH_RULES, vec![[6; 32], [7; 32]]));
    assert!(policy.bans(&[7; 32]) && !policy.bans(&[3; 32]));
    let mut rules = rules;
    for setting in GroupSetting::ALL {
        assert_eq!(GroupSetting::from_number(setting.number()), Some(setting));
        assert_eq!(GroupSetting::from_name(setting.name()), Some(setting));
        rules.set(setting, 1).unwrap();
        assert_eq!(rules.value(setting), 1);
        assert_eq!((rules.set(setting, u32::MAX), rules.value(setting)), (None, 1));
    }
    assert_eq!(rules.permissions.mention_all, Role::Admin);
    assert_eq!(rules.set(GroupSetting::Post, Role::Reader.rank().into()), None, "readers read");
    assert_eq!(rules.set(GroupSetting::Comment, Role::Reader.rank().into()), Some(()), "and may comment");
}

#[test]
fn in_channels_few_write_and_whoever_writes_may_answer() {
    let of = Permissions::of;
    assert_eq!((of(GroupKind::Group).post, of(GroupKind::Channel).post), (Role::Member, Role::Admin));
    let mut permissions = of(GroupKind::Channel);
    assert_eq!((permissions.to_write(false), permissions.to_write(true)), (Role::Admin, Role::Admin));
    permissions.comment = Role::Reader;
    assert_eq!((permissions.to_write(false), permissions.to_write(true)), (Role::Admin, Role::Reader));
    permissions.comment = Role::Owner;
    assert_eq!(permissions.to_write(true), Role::Admin);
}

#[test]
fn rules_that_are_not_in_order_are_refused() {
    let broken: [fn(&mut GroupRules); 9] = [
        |r| r.bans.reverse(),
        |r| r.bans = vec![[3; 32]],
        |r| r.bans = (100..=u8::MAX).map(|n| [n; 32]).collect(),
        |r| r.links.reverse(),
        |r| r.links[0].uses = Some(0),
        |r| r.links = (0..17).map(|n| JoinLink { id: [n; 16], ..r.links[0].clone() }).collect(),
        |r| r.permissions.post = Role::Reader,
        |r| r.slow_mode = MAX_SLOW_MODE + 1,
        |r| r.audit.hash = [1; 32],
    ];
    for change in broken {
        let mut policy = with_rules();
        change(policy.rules.as_mut().unwrap());
        assert_eq!(Policy::from_bytes(&policy.to_bytes()), Err(PolicyError::Malformed));
    }
}

#[test]
fn what_a_change_does_stands_in_the_audit_log() {
    let before = with_rules();
    let mut after = before.clone();
    after.topic = "what runs".into();
    after.remove(&[9; 32]);
    after.members.iter_mut().for_each(|m| m.role = Role::Owner);
    after.add(PolicyMember { account: [8; 32], role: Role::Member, by: [5; 32], since: 4 });
    let rules = after.rules.as_mut().unwrap();
    rules.unban(&[6; 32]);
    rules.ban([9; 32]);
    rules.set(GroupSetting::SlowMode, 60).unwrap();
    rules.links.remove(0);
    rules.audit.at = 1_000;
    let entries = before.audit_entries(&after, &[], [5; 32], 4);
    let actions: Vec<AuditAction> = entries.iter().map(|entry| entry.action.clone()).collect();
    assert_eq!(
        actions,
        [
            AuditAction::Topic("what runs".into()),
            AuditAction::Removed([9; 32]),
            AuditAction::Role([3; 32], Role::Owner),
            AuditAction::Invited([8; 32]),
            AuditAction::Banned([9; 32]),
            AuditAction::Unbanned([6; 32]),
            AuditAction::Setting(GroupSetting::SlowMode, 60),
            AuditAction::LinkEnded([1; 16]),
        ]
    );
    let left = before.audit_entries(&after, &[[9; 32]], [5; 32], 4);
    assert_eq!(left[1].action, AuditAction::Left([9; 32]));
    let (mut head, mut other) = (AuditHead::default(), AuditHead::default());
    for entry in &entries {
        assert_eq!(AuditEntry::from_bytes(&entry.to_bytes()), Ok(entry.clone()));
        head = head.with(entry);
    }
    for entry in entries.iter().rev() {
        other = other.with(entry);
    }
    assert_eq!((head.count, head.at), (8, 1_000));
    assert!(head.hash != other.hash, "their order counts");
    assert!(before.audited_changes(&before, &[]).is_empty());
    let first = after.first_audit_entries();
    assert_eq!((first[0].by, &first[0].action, first.len()), ([5; 32], &AuditAction::Made, 3));
}

#[test]
fn a_link_is_used_up_and_ends_with_whoever_could_know_it() {
    let mut policy = with_rules();
    let open = JoinLink { id: [0; 16], key: [3; 32], expires: 0, uses: Some(2), approve: false, by: [5; 32] };
    let rules = policy.rules.as_mut().unwrap();
    rules.add_link(open.clone());
    rules.add_link(JoinLink { id: [9; 16], approve: true, by: [9; 32], ..open });
    assert!(policy.is_in_order());
    let rules = policy.rules.as_mut().unwrap();
    rules.use_link(&[2; 16]);
    rules.use_link(&[0; 16]);
    assert_eq!((rules.link(&[2; 16]).unwrap().uses, rules.link(&[0; 16]).unwrap().uses), (None, Some(1)));
    let ids = |policy: &Policy| policy.rules.as_ref().unwrap().links.iter().map(|link| link.id[0]).collect::<Vec<_>>();
    let mut used = policy.clone();
    used.rules.as_mut().unwrap().use_link(&[0; 16]);
    assert_eq!(ids(&used), [1, 2, 9]);
    let mut buried = policy.clone();
    buried.bury(Tombstone { account: [9; 32], device: [1; 32], staying: Vec::new() });
    assert_eq!(ids(&buried), [1, 2, 9], "the way in that needs no approval is the one that it could read");
    let mut removed = policy.clone();
    removed.remove(&[9; 32]);
    assert_eq!(ids(&removed), [1, 2], "nor does what it has made count any more");
    let mut nobody = policy.clone();
    nobody.remove(&[77; 32]);
    assert_eq!(nobody, policy);
}

#[test]
fn the_secrets_of_a_link_are_apart() {
    let key = [7; 32];
    assert_ne!(JoinLink::log_secret(&key), JoinLink::box_secret(&key));
    assert_ne!(JoinLink::id_of(&key), JoinLink::id_of(&[8; 32]));
}

#[test]
fn no_account_fills_the_place_of_others() {
    let mut policy = policy();
    for n in 0..=u8::MAX {
        policy.bury(Tombstone { account: [3; 32], device: [n; 32], staying: Vec::new() });
    }
    policy.bury(Tombstone { account: [9; 32], device: [1; 32], staying: Vec::new() });
    assert_eq!(policy.tombstones.len(), MAX_ACCOUNT_TOMBSTONES + 1);
    let mut fuller = policy.clone();
    fuller.tombstones.insert(0, Tombstone { account: [3; 32], device: [0; 32], staying: Vec::new() });
    assert_eq!(Policy::from_bytes(&fuller.to_bytes()), Err(PolicyError::Malformed));
    policy.remove(&[3; 32]);
    assert_eq!(policy.tombstones.len(), 1, "who is gone needs none");
    policy.removed = (50..=u8::MAX).chain([0]).map(|n| [n; 32]).collect();
    policy.removed.sort_unstable();
    for n in 60..=u8::MAX {
        policy.add(PolicyMember { account: [n; 32], role: Role::Member, by: [5; 32], since: 2 });
        policy.remove(&[n; 32]);
        assert!(policy.is_in_order() && policy.removed.contains(&[n; 32]));
    }
}

#[test]
fn a_group_always_has_an_owner() {
    let policy = policy();
    assert_eq!(policy.heir(&[]), None);
    assert_eq!(policy.heir(&[[3; 32]]), None);
    assert_eq!(policy.heir(&[[5; 32]]), Some([3; 32]));
    assert_eq!(policy.heir(&[[3; 32], [5; 32]]), Some([9; 32]));
    assert_eq!(policy.heir(&[[3; 32], [5; 32], [9; 32]]), None);
}

#[test]
fn a_large_group_has_room_for_more_and_its_policy_fits() {
    let account = |n: u16| {
        let mut account = [0xa5; 32];
        account[..2].copy_from_slice(&n.to_be_bytes());
        account
    };
    let policy = Policy::new([1; 16], "x".repeat(MAX_GROUP_NAME), account(0)).with_rules(GroupKind::Group);
    let mut policy = Policy { large: true, ..policy };
    policy.topic = "x".repeat(MAX_TOPIC);
    for n in 1..u16::try_from(MAX_LARGE_GROUP_ACCOUNTS).unwrap() {
        policy.add(PolicyMember { account: account(n), role: Role::Reader, by: account(0), since: u64::MAX });
    }
    policy.removed = (2_000..2_000 + MAX_GROUP_TOMBSTONES as u16).map(account).collect();
    for n in 0..MAX_GROUP_TOMBSTONES as u16 {
        policy.bury(Tombstone { account: account(n), device: [7; 32], staying: (1..=4).map(|d| [d; 32]).collect() });
    }
    let rules = policy.rules.as_mut().unwrap();
    rules.bans = (2_000..2_000 + MAX_GROUP_BANS as u16).map(account).collect();
    let link = |n| JoinLink { id: [n; 16], key: [n; 32], expires: u64::MAX, uses: None, approve: true, by: [n; 32] };
    rules.links = (0..MAX_JOIN_LINKS as u8).map(link).collect();
    let context = PolicyContext { policy: policy.clone(), authors: Some(CommitAuthors::default()) };
    assert_eq!(PolicyContext::from_bytes(&context.to_bytes()), Ok(context.clone()));
    let small = PolicyContext { policy: Policy { large: false, ..policy.clone() }, ..context.clone() };
    assert_eq!(PolicyContext::from_bytes(&small.to_bytes()), Err(PolicyError::Malformed));
    let ruleless = PolicyContext { policy: Policy { rules: None, ..policy.clone() }, ..context };
    assert_eq!(PolicyContext::from_bytes(&ruleless.to_bytes()), Err(PolicyError::Malformed));
    policy.add(PolicyMember { account: account(5_000), role: Role::Reader, by: account(0), since: 1 });
    assert_eq!(Policy::from_bytes(&policy.to_bytes()), Err(PolicyError::Malformed));
}

#[test]
fn a_policy_that_no_commit_may_bring_leaves_room_for_what_follows_from_others() {
    let account = |n: u16| {
        let mut account = [0xa5; 32];
        account[..2].copy_from_slice(&n.to_be_bytes());
        account
    };
    let mut policy = Policy::new([1; 16], "ops".into(), account(0)).with_rules(GroupKind::Group);
    for n in 1..MAX_GROUP_ACCOUNTS as u16 {
        policy.add(PolicyMember { account: account(n), role: Role::Member, by: account(0), since: 2 });
    }
    // As many devices were removed as can be, each of which has linked others.
    let mut biggest = policy.clone();
    for n in 0..MAX_GROUP_TOMBSTONES as u16 {
        let staying = (1..=8).map(|d| [d; 32]).collect();
        let tombstone = Tombstone { account: account(n % 32), device: account(n), staying };
        let mut after = biggest.clone();
        after.bury(tombstone);
        if !after.is_in_order() {
            break;
        }
        biggest = after;
    }
    assert!(biggest.tombstones.len() > 100 && biggest.tombstones.len() < MAX_GROUP_TOMBSTONES);
    // A byte more is too much, and up to there all can read it, whoever makes the next commits.
    while biggest.topic.len() < MAX_TOPIC {
        let longer = Policy { topic: format!("{}x", biggest.topic), ..biggest.clone() };
        if !longer.is_in_order() {
            break;
        }
        biggest = longer;
    }
    let mut authors = CommitAuthors::default();
    for n in 0..32 {
        let context = PolicyContext { policy: biggest.clone(), authors: Some(authors.clone()) };
        assert_eq!(PolicyContext::from_bytes(&context.to_bytes()), Ok(context));
        authors = authors.with(&account(n));
    }
    // Groups without rules are as large as they could be before, and no larger.
    policy.rules = None;
    for n in 0..MAX_GROUP_TOMBSTONES as u16 {
        let staying = (1..=8).map(|d| [d; 32]).collect();
        policy.bury(Tombstone { account: account(n % 32), device: account(n), staying });
    }
    assert_eq!(Policy::from_bytes(&policy.to_bytes()), Err(PolicyError::Malformed));
}

#[test]
fn a_full_policy_fits() {
    let mut policy = policy();
    policy.members.clear();
    for n in 0..MAX_GROUP_ACCOUNTS as u8 {
        policy.add(PolicyMember { account: [n; 32], role: Role::Owner, by: [5; 32], since: u64::MAX });
    }
    policy.removed = (100..=u8::MAX).map(|n| [n; 32]).collect();
    policy.tombstones.clear();
    for n in 0..=u8::MAX {
        policy.bury(Tombstone { account: [n % 32; 32], device: [n; 32], staying: vec![[n; 32]] });
    }
    assert_eq!(policy.tombstones.len(), MAX_GROUP_TOMBSTONES);
    let mut rules = GroupRules::new(GroupKind::Channel);
    rules.bans = (100..100 + MAX_GROUP_BANS as u8).map(|n| [n; 32]).collect();
    let link = |n| JoinLink { id: [n; 16], key: [n; 32], expires: u64::MAX, uses: None, approve: true, by: [n; 32] };
    rules.links = (0..MAX_JOIN_LINKS as u8).map(link).collect();
    policy.rules = Some(rules);
    let authors = (0..=u8::MAX).fold(CommitAuthors::default(), |authors, n| authors.with(&[n; 32]));
    let context = PolicyContext { policy, authors: Some(authors) };
    assert_eq!(PolicyContext::from_bytes(&context.to_bytes()), Ok(context));
}

fn stated(number: u64, certificate: usize) -> Statement {
    let members = vec![([1; 32], Role::Owner), ([2; 32], Role::Member)];
    Statement { community: [1; 16], number, members, certificate: vec![6; certificate], signature: [9; 64] }
}

#[test]
fn a_community_and_its_channels_are_read_back() {
    let mut policy = policy().with_rules(GroupKind::Community);
    let community = policy.rules.as_mut().unwrap().community.as_mut().unwrap();
    for n in [3, 1, 2] {
        community.add(ChannelEntry { conversation: [n; 16], group: [n; 16], lowest: Role::Reader });
    }
    community.state(Role::Admin, stated(4, 100));
    community.state(Role::Owner, stated(5, 100));
    community.state(Role::Moderator, stated(6, 100));
    assert_eq!(Policy::from_bytes(&policy.to_bytes()), Ok(policy.clone()));
    let community = policy.community().unwrap();
    let roles: Vec<Role> = community.statements.iter().map(|(role, _)| *role).collect();
    assert_eq!((roles, community.number()), (vec![Role::Owner, Role::Moderator], 6));
    assert!(!policy.is_stated());
    let mut channel = policy.clone();
    channel.rules = Some(GroupRules {
        channel_of: Some(ChannelOf { community: [1; 16], lowest: Role::Moderator, numbers: [3, 5, 4] }),
        ..GroupRules::new(GroupKind::Channel)
    });
    assert_eq!(Policy::from_bytes(&channel.to_bytes()), Ok(channel.clone()));
    assert_eq!(channel.channel_of().unwrap().newest(), 5);
    for large in [&policy, &channel] {
        let large =
            PolicyContext { policy: Policy { large: true, ..large.clone() }, authors: Some(CommitAuthors::default()) };
        assert_eq!(PolicyContext::from_bytes(&large.to_bytes()), Err(PolicyError::Malformed));
    }
    let broken: [fn(&mut GroupRules); 4] = [
        |r| r.community = None,
        |r| r.kind = GroupKind::Group,
        |r| r.community.as_mut().unwrap().channels.reverse(),
        |r| r.community.as_mut().unwrap().statements.push((Role::Member, stated(9, 1))),
    ];
    for change in broken {
        let mut policy = policy.clone();
        change(policy.rules.as_mut().unwrap());
        assert_eq!(Policy::from_bytes(&policy.to_bytes()), Err(PolicyError::Malformed));
    }
    assert!(Statement::from_bytes(&stated(1, 5_000).to_bytes()).is_err());
    let reversed = Statement { members: stated(1, 1).members.into_iter().rev().collect(), ..stated(1, 1) };
    assert!(Statement::from_bytes(&reversed.to_bytes()).is_err());
}

#[test]
fn a_policy_is_raised_once_and_says_so_in_its_log() {
    let before = policy();
    let after = before.raised();
    assert!(before.is_raised_by(&after) && !after.is_raised_by(&after) && !after.is_raised_by(&before));
    assert_eq!((after.raised(), after.permissions()), (after.clone(), before.permissions()));
    assert_eq!(Policy::from_bytes(&after.to_bytes()), Ok(after.clone()));
    assert_eq!(Policy { rules: None, ..after.clone() }, before, "nothing else changes");
    assert_eq!(before.audited_changes(&after, &[]), [AuditAction::Raised]);
    let entry = AuditEntry { epoch: 3, at: 4, by: [5; 32], action: AuditAction::Raised };
    assert_eq!(AuditEntry::from_bytes(&entry.to_bytes()), Ok(entry));
}
