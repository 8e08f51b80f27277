//! Groups whose commits and doors do not fit an entry of a log.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use bytes::Bytes;
use starling_wire::{
    LogContent, MAX_GROUP_ACCOUNTS, PartNames, Piece, Role, cut,
    limits::{MAX_LARGE, MAX_LOG_PARTS_KIB},
    rendezvous::{LogRequest, Request, RequestBody},
};

use super::{
    epoch_tests::{append_as, append_in},
    world::{Who, World},
};
use crate::{
    api::types::{ChatId, NewJoinLink, Standing},
    conversation::group::LogKeys,
    engine::{GroupCommand, Input},
    limits::{DOOR_WAIT_MS, DOOR_WAITS_DEVICES, DOORS_EVERY, REMOVED_AT_ONCE, WHOLE_BYTES},
};

/// A commit of somebody that its program neither keeps nor follows.
fn spare_commit(world: &mut World, who: Who, chat: ChatId) -> Bytes {
    let mut made = None;
    world.begin_modified(who, |engine, turn| {
        let (id, mls, now) = (engine.active_group(chat).unwrap(), engine.mls.clone(), turn.agreed_ms());
        let mut group = engine.conversations.open(turn, &mls, id).unwrap().unwrap();
        made = group.commits_in_a_row(1, now).unwrap().pop().map(|(_, commit)| commit);
    });
    made.unwrap()
}

fn epoch(world: &World, who: Who, chat: ChatId) -> u64 {
    world.epoch_in(who, chat).unwrap().0
}

/// How many parts somebody has read in the logs of a group that it follows.
fn parts_read(world: &World, who: Who, chat: ChatId) -> u32 {
    let engine = world.engine(who);
    let id = engine.active_group(chat).unwrap();
    engine.conversations.groups.get(&id).unwrap().logs.iter().map(|log| log.parts_kib).sum()
}

/// The keys of the log of a group's door.
fn door_keys(world: &World, who: Who, chat: ChatId) -> LogKeys {
    let engine = world.engine(who);
    let id = engine.active_group(chat).unwrap();
    let door = engine.conversations.groups.get(&id).unwrap().row.door.as_ref().unwrap();
    LogKeys::of_secret(&door.secret).unwrap()
}

/// What is in the log of a group's door, as who knows its secret reads it: doors, and parts of some.
fn door_pieces(world: &World, who: Who, chat: ChatId) -> Vec<Vec<u8>> {
    let keys = door_keys(world, who, chat);
    world.stored_in_log(&keys.key).iter().filter_map(|sealed| keys.open_entry(sealed)).collect()
}

#[test]
fn what_does_not_fit_an_entry_goes_in_parts() {
    let mut world = World::new(50);
    let people = world.company(16);
    let (alice, bob) = (people[0], people[1]);
    let chat = world.group_of(&people);
    world.pass(60_000);
    let topic = "x".repeat(1_024);
    world.call(alice, |reply| GroupCommand::SetTopic { chat, topic: topic.clone(), reply }).unwrap();
    world.pass(5_000);
    for who in &people {
        assert_eq!(world.standing(*who, chat), Some(Standing::Member), "{who}");
        assert_eq!(world.epoch_in(*who, chat), world.epoch_in(alice, chat), "{who}");
        assert_eq!(world.group_seen(*who, chat).unwrap().topic, topic, "{who}");
    }
    assert!(parts_read(&world, bob, chat) > 0, "the commit with the topic has no {WHOLE_BYTES} bytes");
    world.say_in(bob, chat, "all here").unwrap();
    world.pass(5_000);
    assert!(people.iter().all(|who| world.texts_in(*who, chat) == ["all here"]));
    // Of all the doors that were written the last ones are left.
    let pieces = door_pieces(&world, alice, chat);
    let names = pieces.iter().filter(|piece| {
        let piece = Bytes::copy_from_slice(piece);
        matches!(Piece::from_bytes(&piece), Some(Ok(Piece::Names(_))))
    });
    assert!((1..=4).contains(&names.count()), "{} entries", pieces.len());
}

#[test]
fn parts_that_are_missing_late_or_changed_make_no_commit() {
    let mut world = World::new(51);
    let people = world.company(4);
    let (alice, bob, carol, dave) = (people[0], people[1], people[2], people[3]);
    let there = [bob, carol, dave];
    let chat = world.group_of(&people);
    world.pass(30_000);
    let before = epoch(&world, bob, chat);
    world.kill(carol);
    let commit = spare_commit(&mut world, alice, chat);
    let parts = cut(&commit, commit.len() / 3 + 1);
    let names = |parts: &[Bytes]| LogContent::LargeCandidate(PartNames::of(parts));
    let garbage = Bytes::from(vec![7; 5_000]);
    let append = |world: &mut World, candidate: bool, content: &LogContent| {
        assert!(append_in(world, alice, chat, candidate, content));
    };
    // What is named before it stands there is not there: for nobody, also for who reads the log later.
    append(&mut world, true, &names(&parts));
    append(&mut world, false, &LogContent::Part(parts[0].clone()));
    append(&mut world, true, &names(&parts));
    append(&mut world, false, &LogContent::Part(parts[2].clone()));
    for _ in 0..3 {
        append(&mut world, false, &LogContent::Part(garbage.clone()));
    }
    append(&mut world, true, &names(&[garbage.clone(), garbage.clone()]));
    append(&mut world, true, &names(&[parts[0].clone(), parts[0].clone(), parts[2].clone()]));
    append(&mut world, true, &names(&[parts[2].clone(), garbage, parts[0].clone()]));
    append(&mut world, true, &names(&parts));
    world.pass(20_000);
    // Half a commit holds nobody up.
    world.say_in(bob, chat, "still here").unwrap();
    world.pass(20_000);
    assert_eq!(world.texts_in(dave, chat), ["still here"]);
    assert_eq!([epoch(&world, bob, chat), epoch(&world, dave, chat)], [before; 2]);
    // Parts that were read are kept over a restart.
    world.kill(dave);
    append(&mut world, false, &LogContent::Part(parts[1].clone()));
    world.start(dave);
    world.pass(20_000);
    assert_eq!([epoch(&world, bob, chat), epoch(&world, dave, chat)], [before; 2]);
    append(&mut world, true, &names(&parts));
    world.pass(60_000);
    world.start(carol);
    world.pass(60_000);
    for who in there {
        assert!(epoch(&world, who, chat) > before, "{who}");
        assert_eq!(world.epoch_in(who, chat), world.epoch_in(bob, chat), "{who}");
        assert_eq!(world.texts_in(who, chat), ["still here"], "{who}");
    }
    world.say_in(carol, chat, "after it").unwrap();
    world.pass(20_000);
    assert!(there.iter().all(|who| world.texts_in(*who, chat).last().unwrap() == "after it"));
}

#[test]
fn parts_that_their_author_can_delete_count_for_nobody() {
    let mut world = World::new(54);
    let people = world.company(3);
    let chat = world.group_of(&people);
    let (part, before) = (Bytes::from(vec![1; 64]), world.epoch_in(people[1], chat));
    let (content, names) = (LogContent::Part(part.clone()), LogContent::LargeCandidate(PartNames::of(&[part])));
    for content in [&content, &names] {
        assert!(append_as(&mut world, (people[2], chat), content, &LogRequest::default()));
    }
    world.pass(5_000);
    assert_eq!(parts_read(&world, people[1], chat), 0);
    assert_eq!(world.epoch_in(people[1], chat), before);
    assert!(append_in(&mut world, people[2], chat, false, &content));
    world.pass(5_000);
    assert_eq!(parts_read(&world, people[1], chat), 1);
}

#[test]
fn endless_parts_fill_nobodys_profile() {
    let mut world = World::new(52);
    let people = world.company(3);
    let chat = world.group_of(&people);
    for n in 0..4_u8 {
        let content = LogContent::Part(Bytes::from(vec![n; 64]));
        assert!(append_in(&mut world, people[2], chat, false, &content));
    }
    world.begin_modified(people[1], |engine, _| {
        let id = engine.active_group(chat).unwrap();
        let group = engine.conversations.groups.get_mut(&id).unwrap();
        let current = group.epoch();
        // As many as there may be of the largest ones leave room for those.
        for _ in 0..512 {
            assert!(group.count_part(current, 1));
        }
        assert!(group.count_part(current, MAX_LARGE));
        while group.count_part(current, 1) {}
    });
    assert!(append_in(&mut world, people[2], chat, false, &LogContent::Part(Bytes::from("one more"))));
    world.pass(5_000);
    assert_eq!(parts_read(&world, people[1], chat), MAX_LOG_PARTS_KIB);
    world.say_in(people[2], chat, "enough").unwrap();
    world.pass(5_000);
    assert_eq!(world.texts_in(people[1], chat), ["enough"]);
}

#[test]
fn more_accounts_than_fit_an_entry_are_in_a_group() {
    let mut world = World::new(53);
    let people = world.company(MAX_GROUP_ACCOUNTS + 8);
    let (alice, bob) = (people[0], people[1]);
    let chat = world.group_of(&people[..2]);
    world.wish_in(alice, chat, &people[2..]).unwrap();
    world.pass(10_000);
    for who in &people[2..] {
        world.accept(*who, chat).unwrap();
    }
    for _ in 0..20 {
        world.pass(30_000);
    }
    for who in &people {
        assert_eq!(world.epoch_in(*who, chat), world.epoch_in(alice, chat), "{who}");
        assert_eq!(world.epoch_in(*who, chat).unwrap().1, people.len(), "{who}");
    }
    // They go in several commits, in which others have something to say, too.
    let (there, gone) = people.split_at(people.len() - REMOVED_AT_ONCE - 4);
    for who in gone {
        world.wish_out(alice, chat, *who).unwrap();
    }
    world.wish_role(alice, chat, bob, Role::Admin).unwrap();
    world.pass(120_000);
    world.say_in(bob, chat, "fewer").unwrap();
    world.pass(20_000);
    for who in there {
        assert_eq!(world.epoch_in(*who, chat).unwrap().1, there.len(), "{who}");
        assert_eq!(world.texts_in(*who, chat), ["fewer"], "{who}");
    }
    assert!(gone.iter().all(|who| world.texts_in(*who, chat).is_empty()));
}

#[test]
fn those_who_come_at_once_read_the_doors_once() {
    let mut world = World::new(55);
    let people = world.company(6);
    let chat = world.found(people[0], &people[1..]);
    world.pass(5_000);
    let door = door_keys(&world, people[0], chat).address;
    world.asked = Some(Vec::new());
    let accepting: Vec<_> =
        people[1..].iter().map(|who| world.begin(*who, |reply| GroupCommand::Accept(chat, reply))).collect();
    world.pass(60_000);
    drop(accepting);
    let asked = world.asked.take().unwrap();
    let of_door = |request: &LogRequest| request.address[..] == door;
    let reads = asked.into_iter().filter_map(|request| match request.body {
        Some(RequestBody::LogRead(read)) if of_door(&read) => Some(read.after),
        _ => None,
    });
    let (first, again): (Vec<u64>, Vec<u64>) = reads.partition(|after| *after == 0);
    // More often than that each reads it on from there.
    assert!(
        first.len() < people.len(),
        "{} times from its beginning, {} times on from there",
        first.len(),
        again.len()
    );
    for who in &people {
        assert_eq!(world.epoch_in(*who, chat).unwrap().1, people.len(), "{who}");
    }
}

/// How many doors requests write into the log of these keys, and the bytes of all that they write there.
fn doors_written(asked: Vec<Request>, keys: &LogKeys) -> (usize, usize) {
    let to_door = asked.into_iter().filter_map(|request| match request.body {
        Some(RequestBody::LogAppend(append)) if append.address[..] == keys.address => Some(append.entries),
        _ => None,
    });
    let entries: Vec<Bytes> = to_door.flatten().collect();
    let pieces = entries.iter().filter_map(|sealed| Piece::from_bytes(&keys.open_entry(sealed)?.into()));
    let doors = pieces.filter(|piece| matches!(piece, Ok(Piece::Names(_)))).count();
    (doors, entries.iter().map(Bytes::len).sum())
}

#[test]
fn of_commits_that_follow_one_another_few_write_a_door_where_nobody_waits_for_one() {
    let mut world = World::new(56);
    let people = world.company(DOOR_WAITS_DEVICES + 2);
    let (alice, last) = (people[0], *people.last().unwrap());
    let chat = world.group_of(&people[..people.len() - 1]);
    world.pass(120_000);
    let keys = door_keys(&world, alice, chat);
    let before = epoch(&world, alice, chat);
    world.asked = Some(Vec::new());
    for n in 0..12 {
        world.call(alice, |reply| GroupCommand::SetTopic { chat, topic: format!("{n}"), reply }).unwrap();
        world.pass(2_000);
    }
    world.pass(2 * DOOR_WAIT_MS);
    let commits = epoch(&world, alice, chat) - before;
    assert!(commits >= 12, "{commits} commits");
    let (doors, bytes) = doors_written(world.asked.replace(Vec::new()).unwrap(), &keys);
    let most = 3 + usize::try_from(commits / DOORS_EVERY).unwrap();
    assert!((1..=most).contains(&doors), "{doors} doors of {bytes} bytes in {commits} epochs");
    // The last of them leads in; and who is invited is waited for: that door is written at once.
    world.wish_in(alice, chat, &[last]).unwrap();
    world.pass(5_000);
    let (doors, _) = doors_written(world.asked.take().unwrap(), &keys);
    assert!(doors >= 1, "somebody waits before it");
    world.accept(last, chat).unwrap();
    world.pass(20_000);
    assert_eq!(world.standing(last, chat), Some(Standing::Member));
    assert_eq!(world.epoch_in(last, chat), world.epoch_in(alice, chat));
}

/// A group of so many that its doors wait, and all of them.
fn group_with_waiting_doors(world: &mut World) -> (ChatId, Vec<Who>) {
    let people = world.company(DOOR_WAITS_DEVICES + 2);
    let chat = world.group_of(&people);
    world.pass(120_000);
    (chat, people)
}

/// Somebody changes the topic, so that an epoch begins whose door is not written at once for its number; what was asked for from then on is noted.
fn begin_epoch_without_door(world: &mut World, who: Who, chat: ChatId) {
    loop {
        world.asked = Some(Vec::new());
        let topic = epoch(world, who, chat).to_string();
        world.call(who, |reply| GroupCommand::SetTopic { chat, topic, reply }).unwrap();
        world.pass(2_000);
        if !epoch(world, who, chat).is_multiple_of(DOORS_EVERY) {
            break;
        }
    }
}

#[test]
fn after_a_removal_the_new_door_is_written_at_once() {
    let mut world = World::new(57);
    let (chat, people) = group_with_waiting_doors(&mut world);
    begin_epoch_without_door(&mut world, people[0], chat);
    if (epoch(&world, people[0], chat) + 1).is_multiple_of(DOORS_EVERY) {
        begin_epoch_without_door(&mut world, people[0], chat);
    }
    world.asked = Some(Vec::new());
    world.wish_out(people[0], chat, *people.last().unwrap()).unwrap();
    world.pass(5_000);
    // The log of before leads nowhere any more.
    let keys = door_keys(&world, people[0], chat);
    let (doors, _) = doors_written(world.asked.take().unwrap(), &keys);
    assert!(doors >= 1);
}

#[test]
fn that_a_link_has_ended_is_said_without_waiting_for_a_door() {
    let mut world = World::new(58);
    let (chat, people) = group_with_waiting_doors(&mut world);
    let alice = people[0];
    let wanted = NewJoinLink::default();
    let link = world.call(alice, |reply| GroupCommand::NewLink { chat, wanted, reply }).unwrap().id;
    world.pass(10_000);
    if (epoch(&world, alice, chat) + 1).is_multiple_of(DOORS_EVERY) {
        begin_epoch_without_door(&mut world, alice, chat);
    }
    let links = |world: &World| {
        let engine = world.engine(alice);
        let id = engine.active_group(chat).unwrap();
        engine.conversations.groups.get(&id).unwrap().row.links.len()
    };
    assert_eq!(links(&world), 1);
    world.call(alice, |reply| GroupCommand::EndLink { chat, link, reply }).unwrap();
    world.pass(5_000);
    assert_eq!(links(&world), 0, "it stands in the link's log");
}

#[test]
fn who_was_away_does_not_write_the_way_into_an_epoch_that_is_over() {
    let mut world = World::new(59);
    let people = world.company(3);
    let chat = world.group_of(&people);
    world.pass(60_000);
    // Its program ends before the door is written.
    world.begin_modified(people[1], |engine, _| {
        let id = engine.active_group(chat).unwrap();
        let entry = engine.conversations.groups.get_mut(&id).unwrap();
        entry.row.door.as_mut().unwrap().due = true;
        entry.touch();
    });
    world.kill(people[1]);
    world.call(people[0], |reply| GroupCommand::SetTopic { chat, topic: "on".into(), reply }).unwrap();
    world.pass(10_000);
    let keys = door_keys(&world, people[0], chat);
    world.asked = Some(Vec::new());
    world.start(people[1]);
    world.pass(10_000);
    assert_eq!(epoch(&world, people[0], chat), epoch(&world, people[1], chat));
    let asked = world.asked.take().unwrap();
    let is_door = |request: &&Request| match &request.body {
        Some(RequestBody::LogAppend(append)) => append.address[..] == keys.address,
        _ => false,
    };
    assert_eq!(asked.iter().filter(is_door).count(), 0);
}

#[test]
fn a_door_that_waits_is_written_before_the_program_ends() {
    let mut world = World::new(60);
    let (chat, people) = group_with_waiting_doors(&mut world);
    let alice = people[0];
    begin_epoch_without_door(&mut world, alice, chat);
    let keys = door_keys(&world, alice, chat);
    let (doors, _) = doors_written(world.asked.replace(Vec::new()).unwrap(), &keys);
    assert_eq!(doors, 0, "another epoch may begin");
    world.turn(alice, vec![Input::Stop]);
    world.settle();
    world.kill(alice);
    let (doors, _) = doors_written(world.asked.take().unwrap(), &keys);
    assert_eq!(doors, 1);
    // It leads in, with its author away for good.
    let laptop = world.linked(people[1]);
    world.pass(60_000);
    assert_eq!(world.epoch_in(laptop, chat), world.epoch_in(people[1], chat));
}

#[test]
fn who_finds_an_older_door_waits_for_that_of_now() {
    let mut world = World::new(61);
    let (chat, people) = group_with_waiting_doors(&mut world);
    let alice = people[0];
    begin_epoch_without_door(&mut world, alice, chat);
    world.asked = Some(Vec::new());
    let keys = door_keys(&world, alice, chat);
    let laptop = world.linked(people[1]);
    // The next commits come before each door, so it is there after more than the time for which a device tries at first.
    for n in 0..2 {
        world.pass(20_000);
        let topic = format!("again {n}");
        world.call(alice, |reply| GroupCommand::SetTopic { chat, topic, reply }).unwrap();
    }
    world.pass(40_000);
    assert_eq!(world.epoch_in(laptop, chat), world.epoch_in(alice, chat));
    let is_read = |request: &&Request| match &request.body {
        Some(RequestBody::LogRead(read)) => read.address[..] == keys.address && read.after == 0,
        _ => false,
    };
    assert_eq!(world.asked.take().unwrap().iter().filter(is_read).count(), 1, "all doors are read once");
}
