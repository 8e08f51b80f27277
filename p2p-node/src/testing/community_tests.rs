//! Communities: their channels have their members and roles, whoever is there to see to it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use starling_wire::{ChannelEntry, Reasons, Role, Statement};

use super::world::{Who, World};
use crate::{
    NewChannel,
    api::{
        error::{GroupRefusal, NodeError, NotAllowed},
        types::{ChatId, GroupKind, Standing},
    },
    engine::GroupCommand,
    mls::{
        community::{carried, state},
        policy::{Change, Place, check_change},
    },
};

impl World {
    fn channel(&mut self, who: Who, community: ChatId, name: &str, lowest: Role) -> Result<ChatId, NodeError> {
        let channel = NewChannel { community, name: name.into(), kind: GroupKind::Group, lowest };
        let made = self.call(who, |reply| GroupCommand::NewChannel(channel, reply));
        self.pass(90_000);
        made
    }

    /// The accounts of a group with their roles, as somebody sees them.
    fn roles_in(&self, who: Who, chat: ChatId) -> Vec<(String, Role)> {
        let mut roles: Vec<_> =
            self.group_seen(who, chat).unwrap().members.into_iter().map(|m| (m.account.to_string(), m.role)).collect();
        roles.sort();
        roles
    }

    fn role_in(&mut self, who: Who, chat: ChatId, of: Who) -> Option<Role> {
        let account = self.of(of).account;
        self.group_seen(who, chat)?.members.into_iter().find(|m| m.account == account).map(|m| m.role)
    }
}

fn refused<T>(why: GroupRefusal) -> Result<T, NodeError> {
    Err(NotAllowed::Group(why).into())
}

/// A community of these people with a channel for all, and one for moderators.
fn community(world: &mut World, people: &[Who]) -> [ChatId; 3] {
    let community = world.kind_of(GroupKind::Community, people);
    let general = world.channel(people[0], community, "general", Role::Reader).unwrap();
    let staff = world.channel(people[0], community, "staff", Role::Moderator).unwrap();
    [community, general, staff]
}

#[test]
fn who_joins_a_community_is_in_its_open_channels_and_in_those_for_its_role() {
    let mut world = World::new(61);
    let people = world.company(4);
    let [club, general, staff] = community(&mut world, &people[..3]);
    for who in &people[1..3] {
        assert_eq!(world.standing(*who, general), Some(Standing::Member), "{who}");
        assert_eq!(world.standing(*who, staff), None, "{who}");
    }
    assert_eq!(world.group_seen(people[1], general).unwrap().community(), Some(club));
    assert_eq!(world.group_seen(people[1], club).unwrap().channels().count(), 2);
    world.say_in(people[1], general, "hello").unwrap();
    world.wish_in(people[0], club, &[people[3]]).unwrap();
    world.pass(20_000);
    world.accept(people[3], club).unwrap();
    world.pass(120_000);
    assert_eq!(world.standing(people[3], general), Some(Standing::Member));
    world.say_in(people[3], general, "I am new").unwrap();
    world.pass(10_000);
    for who in &people[..3] {
        assert_eq!(world.texts_in(*who, general), ["hello", "I am new"], "{who}");
    }
    // Roles go with it: who becomes a moderator comes into the other channel, and who is none any more goes.
    world.wish_role(people[0], club, people[1], Role::Moderator).unwrap();
    world.pass(120_000);
    assert_eq!(world.standing(people[1], staff), Some(Standing::Member));
    assert_eq!(world.role_in(people[2], general, people[1]), Some(Role::Moderator));
    world.say_in(people[1], staff, "among us").unwrap();
    world.wish_role(people[0], club, people[1], Role::Member).unwrap();
    world.pass(120_000);
    assert_eq!(world.standing(people[1], staff), Some(Standing::Removed));
    assert_eq!(world.role_in(people[2], general, people[1]), Some(Role::Member));
    world.say_in(people[0], staff, "without them").unwrap();
    world.pass(10_000);
    assert_eq!(world.texts_in(people[1], staff), ["among us"]);
}

#[test]
fn who_is_in_a_channel_is_decided_in_the_community_alone() {
    let mut world = World::new(62);
    let people = world.company(3);
    let [club, general, _] = community(&mut world, &people);
    assert_eq!(world.wish_out(people[0], general, people[2]), refused(GroupRefusal::Community));
    assert_eq!(world.wish_role(people[0], general, people[2], Role::Admin), refused(GroupRefusal::Community));
    assert_eq!(world.channel(people[2], club, "mine", Role::Reader).map(drop), refused(GroupRefusal::Role));
    assert_eq!(
        world.channel(people[0], general, "within", Role::Reader).map(drop),
        refused(GroupRefusal::NotACommunity)
    );
    world.leave(people[2], club).unwrap();
    world.pass(120_000);
    for chat in [club, general] {
        assert_eq!(world.standing(people[2], chat), Some(Standing::Left));
        assert_eq!(world.group_seen(people[1], chat).unwrap().members.len(), 2);
    }
}

#[test]
fn who_is_removed_from_a_community_is_out_of_all_channels_whoever_is_there() {
    let mut world = World::new(63);
    let people = world.company(4);
    let [club, general, staff] = community(&mut world, &people);
    world.wish_role(people[0], club, people[1], Role::Moderator).unwrap();
    world.pass(90_000);
    assert_eq!(world.leave(people[1], general), refused(GroupRefusal::Community), "who leads is in all channels");
    world.say_in(people[2], general, "hello").unwrap();
    world.pass(10_000);
    // The owner is gone as soon as others know of it: they carry it on.
    let account = world.of(people[2]).account;
    let _answer = world.begin(people[0], |reply| GroupCommand::Remove { chat: club, account, reply });
    let is_known = |world: &World| world.group_seen(people[1], club).unwrap().members.len() == 3;
    while !is_known(&world) && world.step() {}
    assert!(is_known(&world));
    world.kill(people[0]);
    world.pass(90_000);
    world.say_in(people[1], general, "without them").unwrap();
    world.say_in(people[1], staff, "nor here").unwrap();
    world.pass(60_000);
    for chat in [club, general] {
        assert_eq!(world.standing(people[2], chat), Some(Standing::Removed));
        assert_eq!(world.role_in(people[3], chat, people[2]), None);
    }
    assert_eq!(world.texts_in(people[2], general), ["hello"]);
    assert_eq!(world.texts_in(people[3], general), ["hello", "without them"]);
}

#[test]
fn who_was_away_while_somebody_was_removed_takes_nothing_from_them() {
    let mut world = World::new(64);
    let people = world.company(3);
    let [club, general, _] = community(&mut world, &people);
    world.kill(people[1]);
    world.kill(people[2]);
    world.wish_out(people[0], club, people[2]).unwrap();
    world.pass(60_000);
    world.kill(people[0]);
    for who in [people[2], people[1]] {
        world.start(who);
        world.pass(60_000);
    }
    assert!(world.say_in(people[2], general, "am I here?").is_err());
    world.say_in(people[1], general, "alone").unwrap();
    world.pass(30_000);
    world.start(people[0]);
    world.pass(60_000);
    for who in &people[..2] {
        assert_eq!(world.texts_in(*who, general), ["alone"], "{who}");
        assert_eq!(world.roles_in(*who, general), world.roles_in(*who, club), "{who}");
    }
    assert_eq!(world.standing(people[2], general), Some(Standing::Removed));
}

/// Whether the members of a channel would take a commit of somebody that carries a statement.
fn can_carry(world: &mut World, who: Who, channel: ChatId, statement: &Statement) -> bool {
    let mut can = false;
    world.begin_modified(who, |engine, turn| {
        let (id, mls) = (engine.active_group(channel).unwrap(), engine.mls.clone());
        let own = engine.account.id();
        let group = engine.conversations.open(turn, &mls, id).unwrap().unwrap();
        let (before, epoch) = (group.policy().unwrap(), group.entry.epoch());
        // What no honest program makes of a statement is tried as the removal of somebody.
        let mut wanted = before.clone();
        wanted.remove(&before.members.iter().find(|m| m.account != *own.as_bytes()).unwrap().account);
        let after = carried(&before, statement, epoch).unwrap_or(wanted);
        let reasons = Reasons { statement: Some(statement.clone()), ..Reasons::default() };
        can = check_change(&before, &after, own, &reasons, Place { group: &id, epoch }).is_ok();
    });
    can
}

#[test]
fn forged_old_and_foreign_statements_change_no_channel() {
    let mut world = World::new(65);
    let people = world.company(4);
    let [club, general, _] = community(&mut world, &people[..3]);
    world.wish_role(people[0], club, people[1], Role::Admin).unwrap();
    world.pass(90_000);
    let newest = |world: &World| {
        let rules = world.group_seen(people[0], club).unwrap().rules.unwrap();
        rules.community.unwrap().newest().unwrap().clone()
    };
    let old = newest(&world);
    world.wish_in(people[0], club, &[people[3]]).unwrap();
    world.pass(20_000);
    world.accept(people[3], club).unwrap();
    world.pass(120_000);
    let now = newest(&world);
    assert!(now.number > old.number);
    let roles = world.roles_in(people[0], general);
    assert_eq!(roles.len(), 4);
    // By the admin, as a program of its own makes them.
    let (mut signed, mut foreign) = (None, None);
    world.begin_modified(people[1], |engine, _| {
        let identity = &engine.account.identity;
        let by = (&identity.certificate, &identity.device_key);
        let members: Vec<_> = now.members.iter().copied().filter(|(_, role)| *role <= Role::Admin).collect();
        signed = Some(state(now.community, now.number + 1, members.clone(), by));
        foreign = Some(state([7; 16], now.number + 1, members, by));
    });
    let (signed, foreign) = (signed.unwrap(), foreign.unwrap());
    let forged = Statement { members: old.members.clone(), ..signed.clone() };
    for statement in [&old, &foreign, &forged] {
        assert!(!can_carry(&mut world, people[2], general, statement), "{}", statement.number);
    }
    assert!(can_carry(&mut world, people[2], general, &signed));
    // It counts no more once the admin is none.
    world.wish_role(people[0], club, people[1], Role::Member).unwrap();
    world.pass(90_000);
    assert!(!can_carry(&mut world, people[2], general, &signed));
    world.pass(60_000);
    for who in &people {
        assert_eq!(world.roles_in(*who, general), world.roles_in(*who, club), "{who}");
        assert_eq!(world.roles_in(*who, general).len(), 4, "{who}");
    }
}

/// Somebody with a modified program lists a group as a channel of a community, or lists it no more.
fn list(world: &mut World, who: Who, community: ChatId, listed: ChatId, add: bool) {
    world.begin_modified(who, |engine, turn| {
        let (id, mls, now) = (engine.active_group(community).unwrap(), engine.mls.clone(), turn.agreed_ms());
        let entry =
            ChannelEntry { conversation: listed.0, group: engine.active_group(listed).unwrap(), lowest: Role::Reader };
        let mut group = engine.conversations.open(turn, &mls, id).unwrap().unwrap();
        let mut policy = group.policy().unwrap();
        let channels = policy.rules.as_mut().unwrap().community.as_mut().unwrap();
        match add {
            true => channels.add(entry),
            false => channels.channels.retain(|channel| *channel != entry),
        }
        group.prepare_change(now, &Change { policy, reasons: Reasons::default() }).unwrap();
        group.entry.append.committing = true;
        engine.conversations.groups.touch(id);
    });
    world.pass(60_000);
}

#[test]
fn a_group_that_is_no_channel_of_a_community_is_not_touched_by_it() {
    let mut world = World::new(67);
    let people = world.company(4);
    let [club, ..] = community(&mut world, &people);
    let ops = world.group_of(&people[..3]);
    world.wish_role(people[0], club, people[1], Role::Admin).unwrap();
    world.pass(90_000);
    list(&mut world, people[1], club, ops, true);
    assert_eq!(world.group_seen(people[0], club).unwrap().channels().count(), 3);
    world.leave(people[2], club).unwrap();
    world.pass(60_000);
    list(&mut world, people[1], club, ops, false);
    assert_eq!(world.group_seen(people[0], club).unwrap().channels().count(), 2);
    for who in &people[..3] {
        assert_eq!(world.standing(*who, ops), Some(Standing::Member), "{who}");
    }
    assert_eq!(world.standing(people[3], ops), None);
}

#[test]
fn a_channel_that_was_ended_is_over_for_all() {
    let mut world = World::new(66);
    let people = world.company(2);
    let [club, general, _] = community(&mut world, &people);
    let remove = |world: &mut World, who| {
        world.call(who, |reply| GroupCommand::RemoveChannel { chat: club, channel: general, reply })
    };
    assert_eq!(remove(&mut world, people[1]), refused(GroupRefusal::Role));
    remove(&mut world, people[0]).unwrap();
    world.pass(60_000);
    for who in &people {
        assert_eq!(world.standing(*who, general), Some(Standing::Left), "{who}");
        assert_eq!(world.group_seen(*who, club).unwrap().channels().count(), 1, "{who}");
    }
}

/// It took up to ten seconds: those who could tell the ways waited for one another.
#[test]
fn channels_are_joined_within_two_seconds_where_members_are_online() {
    for seed in [70, 71, 72] {
        let mut world = World::new(seed);
        let people = world.company(4);
        let [club, general, staff] = community(&mut world, &people[..3]);
        world.wish_in(people[0], club, &[people[3]]).unwrap();
        world.pass(10_000);
        world.accept(people[3], club).unwrap();
        world.pass(2_000);
        assert_eq!(world.standing(people[3], general), Some(Standing::Member), "seed {seed}");
        world.wish_role(people[0], club, people[1], Role::Moderator).unwrap();
        world.pass(2_000);
        assert_eq!(world.standing(people[1], staff), Some(Standing::Member), "seed {seed}");
        let wanted =
            NewChannel { community: club, name: "news".into(), kind: GroupKind::Channel, lowest: Role::Reader };
        let news = world.call(people[0], |reply| GroupCommand::NewChannel(wanted, reply)).unwrap();
        world.pass(2_000);
        for who in &people {
            assert_eq!(world.standing(*who, news), Some(Standing::Member), "seed {seed}");
        }
    }
}
