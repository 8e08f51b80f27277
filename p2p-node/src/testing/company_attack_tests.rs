//! Attacks on groups by members with modified programs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use bytes::Bytes;
use starling_keys::AccountKey;
use starling_wire::{
    Beacon, Candidate, Door, LogContent, LogVerb, MAX_AUTHORS, Policy, Role, SealedBeacon, rendezvous::LogRequest,
};

use super::{
    epoch_tests::{append_in, candidate},
    world::{Who, World},
};
use crate::{
    Origin,
    api::types::{ChatId, DurableEventKind, Standing},
    conversation::group::LogKeys,
    engine::GroupCommand,
    home::Pending,
};

const HOUR_MS: u64 = 3_600_000;

/// A group of these people, in which all are: each has come in by the door, with an epoch of its own.
fn group_by_door(world: &mut World, people: &[Who]) -> ChatId {
    let chat = world.found(people[0], &people[1..]);
    world.pass(2_000);
    // Nobody is there who could add them.
    world.direct = false;
    world.pass(1_000);
    for who in &people[1..] {
        world.accept(*who, chat).unwrap();
        world.pass(30_000);
    }
    world.direct = true;
    world.pass(5_000);
    chat
}

/// Commits that somebody makes and does not follow, one from each epoch that its program keeps, as beacons; and the logs that it may write in.
fn rivals(world: &mut World, mallory: Who, chat: ChatId) -> (Vec<SealedBeacon>, Vec<LogKeys>) {
    let (mut beacons, mut logs) = (Vec::new(), Vec::new());
    world.begin_modified(mallory, |engine, turn| {
        let (id, mls, now) = (engine.active_group(chat).unwrap(), engine.mls.clone(), turn.agreed_ms());
        let mut group = engine.conversations.open(turn, &mls, id).unwrap().unwrap();
        for (epoch, commit) in group.other_commits(turn, &mls, now).unwrap() {
            beacons.extend(group.entry.beacon(epoch, &Beacon::Commit(commit)));
        }
        logs.extend(group.entry.logs.iter().filter_map(LogKeys::of));
    });
    (beacons, logs)
}

/// Writes beacons into logs.
fn write(world: &mut World, mallory: Who, chat: ChatId, beacons: &[SealedBeacon], logs: &[LogKeys]) {
    world.modified(mallory, |engine, turn| {
        let ids = engine.conversations.chats.get(&chat).unwrap().row.groups.clone();
        let home = engine.conversations.groups.home_of(ids[0].as_slice().try_into().unwrap()).unwrap();
        for keys in logs {
            let content = |beacon: &SealedBeacon| {
                LogContent::Beacon(SealedBeacon { group: Bytes::new(), ..beacon.clone() }).to_bytes()
            };
            let entries = beacons.iter().map(|beacon| keys.seal_entry(&content(beacon))).collect();
            let request = LogRequest { entries, insist: true, ..LogRequest::default() };
            engine.homes.request_log(turn, home, keys, LogVerb::Append, request, Pending::Nothing);
        }
    });
}

/// All of these are in one epoch, have these members, and read each other; nobody else does.
fn go_on(world: &mut World, chat: ChatId, there: &[Who], gone: &[Who]) {
    for who in there {
        world.say_in(*who, chat, &format!("after all, from {who}")).unwrap();
        world.pass(30_000);
    }
    for who in there {
        assert_eq!(world.epoch_in(*who, chat).unwrap(), world.epoch_in(there[0], chat).unwrap(), "{who}");
        assert_eq!(world.group_seen(*who, chat).unwrap().members.len(), there.len(), "{who}");
        for other in there {
            let text = format!("after all, from {other}");
            assert_eq!(world.texts_in(*who, chat).iter().filter(|t| **t == text).count(), 1, "{who}: {text}");
        }
    }
    for who in gone {
        assert!(!world.texts_in(*who, chat).iter().any(|text| text.starts_with("after all")), "{who} reads on");
    }
}

#[test]
fn who_was_removed_does_not_undo_that_by_a_commit_of_before() {
    let mut world = World::new(31);
    let people = world.company(3);
    let (alice, mallory, carol) = (people[0], people[1], people[2]);
    let chat = group_by_door(&mut world, &people);
    let (beacons, logs) = rivals(&mut world, mallory, chat);
    assert!(beacons.len() > 1);
    world.wish_out(alice, chat, mallory).unwrap();
    world.pass(5_000);
    assert_eq!(world.standing(mallory, chat), Some(Standing::Removed));
    write(&mut world, mallory, chat, &beacons, &logs);
    world.pass(120_000);
    go_on(&mut world, chat, &[alice, carol], &[mallory]);
}

#[test]
fn who_has_followed_the_commit_of_somebody_removed_comes_back() {
    followed(32);
}

/// In these orders of events one of hers is among the commits that lead to the removal.
#[test]
fn who_has_followed_the_commit_of_somebody_removed_comes_back_over_her_own() {
    for seed in [48, 50, 65, 71, 94] {
        followed(seed);
    }
}

fn followed(seed: u64) {
    let mut world = World::new(seed);
    let people = world.company(3);
    let (alice, mallory, carol) = (people[0], people[1], people[2]);
    world.befriend(mallory, carol);
    let chat = world.group_of(&people);
    let begun = world.epoch_in(carol, chat).unwrap().0;
    // Each renews its keys: what mallory makes beside that stands before what carol has made.
    world.pass(8 * 86_400_000);
    world.say_in(carol, chat, "good morning").unwrap();
    world.pass(60_000);
    assert!(world.epoch_in(carol, chat).unwrap().0 >= begun + 3);
    let (beacons, _) = rivals(&mut world, mallory, chat);
    // It is the first that carol hears when she is back: she does not know of the removal.
    world.kill(carol);
    world.wish_out(alice, chat, mallory).unwrap();
    world.pass(5_000);
    world.start(carol);
    let device = world.of(mallory).device;
    world.begin_modified(carol, |engine, turn| {
        let (conversations, mut cx) = engine.conversing();
        conversations.on_direct_beacons(turn, &mut cx, device, &beacons).unwrap();
    });
    assert!(world.durable_events(carol).iter().any(|event| event.kind == DurableEventKind::ChatSplit));
    // What she writes there is written again where alice is, with no key that she has used there before.
    world.say_in(carol, chat, "in between").unwrap();
    world.pass(120_000);
    go_on(&mut world, chat, &[alice, carol], &[mallory]);
    let read = world.texts_in(alice, chat);
    assert_eq!(read.iter().filter(|text| *text == "in between").count(), 1, "{read:?}");
}

#[test]
fn what_was_done_in_an_epoch_that_is_left_is_done_again() {
    let mut world = World::new(33);
    let people = world.company(4);
    let (alice, bob, carol, dave) = (people[0], people[1], people[2], people[3]);
    let chat = world.group_of(&people);
    world.wish_role(alice, chat, bob, Role::Admin).unwrap();
    world.pass(5_000);
    // The owner has made a commit that nobody has heard of; an admin's change is done meanwhile.
    let (mut beacons, logs) = rivals(&mut world, alice, chat);
    // From the newest epoch: in those before bob is no admin.
    beacons.drain(..beacons.len() - 1);
    world.wish_out(bob, chat, dave).unwrap();
    world.pass(5_000);
    assert_eq!(world.standing(dave, chat), Some(Standing::Removed));
    write(&mut world, alice, chat, &beacons, &logs);
    world.pass(120_000);
    // Her own program has not kept what she has made: she is alone, until she comes in again.
    for who in [bob, carol] {
        assert_eq!(world.epoch_in(who, chat).unwrap(), world.epoch_in(bob, chat).unwrap());
        let seen = world.group_seen(who, chat).unwrap();
        assert!(!seen.members.iter().any(|m| m.name == "p3"), "{who}: {seen:?} {:?}", world.durable_events(who));
    }
    world.say_in(bob, chat, "without dave").unwrap();
    world.pass(30_000);
    assert_eq!(world.texts_in(carol, chat), ["without dave"]);
    assert!(world.texts_in(dave, chat).is_empty());
}

#[test]
fn commits_that_nobody_can_judge_do_not_empty_a_group() {
    let mut world = World::new(37);
    let people = world.company(4);
    let (alice, mallory) = (people[0], people[1]);
    let chat = world.group_of(&people);
    // From epochs in which others have come in: they cannot tell what these are.
    let (beacons, logs) = rivals(&mut world, mallory, chat);
    write(&mut world, mallory, chat, &beacons, &logs);
    world.pass(60_000);
    world.say_in(alice, chat, "is anybody there?").unwrap();
    world.pass(600_000);
    let there: Vec<usize> =
        people.iter().filter(|who| **who != mallory).map(|who| world.epoch_in(*who, chat).unwrap().1).collect();
    assert!(there.iter().all(|devices| *devices == there[0]), "{there:?}");
    for who in [people[2], people[3]] {
        assert_eq!(world.texts_in(who, chat), ["is anybody there?"], "{who}");
    }
}

#[test]
fn whoever_commits_without_end_is_removed_all_the_same() {
    commits_without_end(group_by_door, 3);
}

/// After one commit that has added all nobody else is on record, so that nobody is waited for.
#[test]
fn whoever_commits_without_end_where_all_were_added_is_removed_all_the_same() {
    commits_without_end(|world, people| world.group_of(people), MAX_AUTHORS as u64 + 3);
}

fn commits_without_end(group: impl Fn(&mut World, &[Who]) -> ChatId, most: u64) {
    let mut world = World::new(40);
    let people = world.company(5);
    let (alice, mallory) = (people[0], people[2]);
    let chat = group(&mut world, &people);
    let begun = world.epoch_in(alice, chat).unwrap().0;
    // Her program has written what follows her commit before anybody has seen that.
    world.begin_modified(mallory, |engine, turn| {
        let (id, mls, now) = (engine.active_group(chat).unwrap(), engine.mls.clone(), turn.agreed_ms());
        let home = engine.conversations.groups.home_of(id).unwrap();
        let mut group = engine.conversations.open(turn, &mls, id).unwrap().unwrap();
        let commits = group.commits_in_a_row(40, now).unwrap();
        assert_eq!(commits.len(), 40);
        for (keys, commit) in commits {
            let content = LogContent::Candidate(Candidate { commit }).to_bytes();
            let entries = vec![keys.seal_entry(&content)];
            let request = LogRequest { entries, candidate: true, insist: true, ..LogRequest::default() };
            assert!(engine.homes.request_log(turn, home, &keys, LogVerb::Append, request, Pending::Nothing));
        }
    });
    world.wish_out(alice, chat, mallory).unwrap();
    world.pass(60_000);
    assert_eq!(world.group_seen(alice, chat).unwrap().members.len(), 4);
    let epoch = world.epoch_in(alice, chat).unwrap().0;
    assert!(epoch <= begun + most, "{} commits", epoch - begun);
    let there: Vec<Who> = people.iter().copied().filter(|who| *who != mallory).collect();
    go_on(&mut world, chat, &there, &[mallory]);
}

#[test]
fn an_owner_who_changes_much_is_not_held_up_while_others_are_there() {
    let mut world = World::new(41);
    let people = world.company(3);
    let (alice, bob) = (people[0], people[1]);
    let chat = world.group_of(&people);
    for n in 0..20 {
        let role = if n % 2 == 0 { Role::Admin } else { Role::Member };
        world.wish_role(alice, chat, bob, role).unwrap();
        world.pass(20_000);
        let seen = world.group_seen(alice, chat).unwrap();
        assert!(seen.members.iter().any(|m| m.account == world.of(bob).account && m.role == role), "{n}: {seen:?}");
    }
    go_on(&mut world, chat, &people, &[]);
}

#[test]
fn who_recovers_by_the_phrase_is_in_its_groups_again_and_its_old_devices_are_not() {
    for (seed, at) in [(42, 0), (43, 1)] {
        let mut world = World::new(seed);
        let people = world.company(4);
        let chat = world.group_of(&people);
        world.say_in(people[at], chat, "before").unwrap();
        world.pass(30_000);
        let account = world.of(people[at]).account;
        let root = AccountKey::from_seed(&world.phrases[&account].seed());
        let again = world.profile(&format!("p{at}"), Origin::Restored(root));
        world.pass(HOUR_MS);
        assert_eq!(world.standing(again, chat), Some(Standing::Member), "p{at}");
        let there: Vec<Who> = people.iter().map(|who| if *who == people[at] { again } else { *who }).collect();
        go_on(&mut world, chat, &there, &[people[at]]);
    }
}

#[test]
fn a_forged_door_ends_no_membership() {
    let mut world = World::new(34);
    let people = world.company(3);
    let chat = world.found(people[0], &people[1..]);
    world.pass(2_000);
    world.accept(people[1], chat).unwrap();
    world.pass(10_000);
    // Who knows the door writes one that leads into a group of its own, of the same name, in which she is not.
    world.modified(people[1], |engine, turn| {
        let (id, mls) = (engine.active_group(chat).unwrap(), engine.mls.clone());
        let entry = engine.conversations.groups.get(&id).unwrap();
        let keys = LogKeys::of_secret(&entry.row.door.as_ref().unwrap().secret).unwrap();
        let home = engine.conversations.groups.home_of(id).unwrap();
        let policy = Policy::new(chat.0, "ops".into(), *engine.account.id().as_bytes());
        let info = mls.create_with(&id, &policy, turn.agreed_ms()).unwrap().door().unwrap().unwrap();
        mls.forget(&id);
        let door = Door { epoch: u64::MAX - 1, secret: [7; 32], info: info.into() };
        let entries = vec![keys.seal_entry(&door.to_bytes())];
        let request = LogRequest { entries, insist: true, ..LogRequest::default() };
        assert!(engine.homes.request_log(turn, home, &keys, LogVerb::Append, request, Pending::Nothing));
    });
    world.pass(10_000);
    // Nobody is there who could add her.
    world.direct = false;
    world.pass(1_000);
    world.accept(people[2], chat).unwrap();
    world.pass(60_000);
    world.direct = true;
    go_on(&mut world, chat, &people, &[]);
}

#[test]
fn owners_who_leave_at_once_leave_a_group_that_goes_on() {
    let mut world = World::new(35);
    let people = world.company(4);
    let (alice, bob) = (people[0], people[1]);
    let chat = world.group_of(&people);
    world.wish_role(alice, chat, bob, Role::Owner).unwrap();
    world.pass(5_000);
    // Neither has heard of the other.
    let mut answers: Vec<_> =
        [alice, bob].into_iter().map(|who| world.begin(who, |reply| GroupCommand::Leave(chat, reply))).collect();
    world.pass(300_000);
    assert!(answers.iter_mut().all(|answer| matches!(answer.try_recv(), Ok(Ok(())))));
    for who in &people[2..] {
        let seen = world.group_seen(*who, chat).unwrap();
        assert_eq!(seen.members.len(), 2, "{seen:?}");
        assert_eq!(seen.members.iter().filter(|m| m.role == Role::Owner).count(), 1, "{seen:?}");
    }
    go_on(&mut world, chat, &people[2..], &[alice, bob]);
}

#[test]
fn who_leaves_while_it_is_about_to_come_in_again_stays_out() {
    let mut world = World::new(38);
    let people = world.company(3);
    let (alice, bob) = (people[0], people[1]);
    let chat = world.group_of(&people);
    // The server is away: neither comes about before the other.
    world.stop_server();
    world.modified(bob, |engine, turn| {
        let id = engine.active_group(chat).unwrap();
        let (conversations, mut cx) = engine.conversing();
        conversations.enter_again(turn, &mut cx, id).unwrap();
    });
    world.leave(bob, chat).unwrap();
    world.start_server();
    world.pass(120_000);
    assert_eq!(world.standing(bob, chat), Some(Standing::Left));
    assert_eq!(world.epoch_in(bob, chat), None);
    assert_eq!(world.group_seen(alice, chat).unwrap().members.len(), 2);
    go_on(&mut world, chat, &[alice, people[2]], &[bob]);
}

#[test]
fn who_has_declined_is_told_once_more_when_invited_again() {
    let mut world = World::new(39);
    let people = world.company(3);
    let (alice, bob) = (people[0], people[1]);
    let chat = world.group_of(&[alice, people[2]]);
    world.wish_in(alice, chat, &[bob]).unwrap();
    world.pass(10_000);
    assert_eq!(world.standing(bob, chat), Some(Standing::Invited));
    world.call(bob, |reply| GroupCommand::Decline(chat, reply)).unwrap();
    world.pass(10_000);
    world.wish_in(alice, chat, &[bob]).unwrap();
    world.pass(10_000);
    assert_eq!(world.standing(bob, chat), Some(Standing::Invited));
}

/// Members pass over what ends nothing, but the server stores no commit of somebody who has not read it.
#[test]
fn garbage_where_commits_stand_keeps_nobody_out_who_comes_by_the_door() {
    let mut world = World::new(5_190);
    let people = world.company(4);
    let (mallory, dave) = (people[1], people[3]);
    let chat = world.found(people[0], &people[1..]);
    world.pass(2_000);
    // Nobody is there who could add them.
    world.direct = false;
    world.pass(1_000);
    for who in &people[1..3] {
        world.accept(*who, chat).unwrap();
        world.pass(30_000);
    }
    assert!(append_in(&mut world, mallory, chat, true, &candidate(b"garbage")));
    world.accept(dave, chat).unwrap();
    world.pass(600_000);
    assert_eq!(world.standing(dave, chat), Some(Standing::Member));
    go_on(&mut world, chat, &people, &[]);
}
