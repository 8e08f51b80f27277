//! Doors: how a new device comes into the groups of its account, and what others make of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;

use bytes::Bytes;
use starling_keys::{
    DeviceId, DeviceKey,
    chain::{Joining, Rights, SignWith},
};
use starling_wire::{
    Door, LogVerb,
    rendezvous::{LogEntry, LogRequest, Response, ResponseBody},
};

use super::{
    epoch_tests::{append, begin_renewal, candidate, go_on, group},
    world::{Who, World},
};
use crate::{
    conversation::{door::limits::DOOR_AGAIN_MS, group::LogKeys},
    engine::AccountCommand,
    home::Pending,
    mls::{GroupId, modified},
    store::OfferedDoor,
};

/// The way into the group of two people's conversation, as one of them would write it.
pub(super) fn way_in(world: &mut World, who: Who, other: Who) -> Door {
    let (chat, mut door) = (world.chat_id(who, other), None);
    world.begin_modified(who, |engine, turn| {
        let (id, mls) = (engine.active_group(chat).unwrap(), engine.mls.clone());
        door = engine.conversations.open(turn, &mls, id).unwrap().unwrap().way_in().unwrap();
    });
    door.expect("no door")
}

/// The secret of the door of a group.
fn door_secret(world: &mut World, who: Who, id: GroupId) -> Vec<u8> {
    let mut secret = Vec::new();
    world.begin_modified(who, |engine, _| {
        secret.clone_from(&engine.conversations.groups.get(&id).unwrap().row.door.as_ref().unwrap().secret);
    });
    secret
}

/// The devices in the group that somebody writes into.
fn members(world: &mut World, who: Who, other: Who) -> BTreeSet<DeviceId> {
    let (chat, mut members) = (world.chat_id(who, other), BTreeSet::new());
    world.begin_modified(who, |engine, _| {
        let id = engine.active_group(chat).unwrap();
        members = engine.conversations.groups.get(&id).unwrap().members.iter().map(|m| m.device).collect();
    });
    members
}

/// The key of somebody's device, and what its leaf shows.
fn stolen_key(world: &mut World, who: Who) -> (DeviceKey, Vec<u8>) {
    let (device, chain, mut seed) = (world.of(who).device, world.chain(who), [0; 32]);
    world.begin_modified(who, |engine, _| seed = *engine.account.identity.device_key.seed());
    (DeviceKey::from_seed(&seed), chain.path_to(&device).unwrap().to_bytes())
}

/// All of these are in one epoch of one group with nobody else, and read what each writes and what was written before.
fn all_agree(world: &mut World, all: &[(Who, Who)]) {
    let mut written = Vec::new();
    for (who, other) in all {
        let text = format!("from {who} at {}", world.now.wall_ms);
        world.say(*who, *other, &text);
        written.push(text);
    }
    world.pass(60_000);
    let devices: BTreeSet<DeviceId> = all.iter().map(|(who, _)| world.of(*who).device).collect();
    let (first, to) = all[0];
    let (expected, epoch) = (group(world, first, to), world.epoch(first, to));
    for (who, other) in all {
        let texts: Vec<String> = world.messages(*who, *other).into_iter().map(|m| m.text).collect();
        for text in &written {
            assert_eq!(texts.iter().filter(|seen| *seen == text).count(), 1, "{who}: {text} in {texts:?}");
        }
        assert_eq!((group(world, *who, *other), world.epoch(*who, *other)), (expected, epoch), "{who}");
        assert_eq!(members(world, *who, *other), devices, "{who}");
    }
}

#[test]
fn a_new_device_comes_into_the_group_that_is_there_and_leaves_nothing_in_inboxes_of_contacts() {
    for direct in [true, false] {
        let mut world = World::new(1_000);
        let (alice, bob) = world.friends();
        world.direct = direct;
        world.pass(5_000);
        let before = group(&mut world, alice, bob);
        world.appended.clear();
        let phone = world.linked(bob);
        world.pass(2_000);
        assert_eq!(group(&mut world, phone, alice), before);
        let contact = world.of(alice).device;
        assert!(world.appended.iter().all(|item| item.device != contact.as_bytes()[..]), "nothing for the contact");
        all_agree(&mut world, &[(alice, bob), (bob, alice), (phone, alice)]);
        assert_eq!(group(&mut world, phone, alice), before);
        // The next one comes in, too, and so do those of the other side; keys are renewed as before.
        let (tablet, laptop) = (world.linked(bob), world.linked(alice));
        world.pass(5_000);
        begin_renewal(&mut world, phone, alice);
        world.pass(5_000);
        let all = [(alice, bob), (bob, alice), (phone, alice), (tablet, alice), (laptop, bob)];
        all_agree(&mut world, &all);
        assert_eq!(group(&mut world, tablet, alice), before);
    }
}

#[test]
fn a_device_that_dies_at_any_moment_of_its_entry_comes_in() {
    for steps in (0..60).step_by(3) {
        let mut world = World::new(1_010 + steps);
        let (alice, bob) = world.friends();
        world.direct = steps % 2 == 0;
        world.pass(5_000);
        let phone = world.begin_linking(bob);
        for _ in 0..steps {
            world.step();
        }
        world.kill(phone);
        begin_renewal(&mut world, alice, bob);
        world.pass(5_000);
        world.start(phone);
        world.pass(120_000);
        all_agree(&mut world, &[(alice, bob), (bob, alice), (phone, alice)]);
    }
}

#[test]
fn devices_that_enter_at_once_are_all_in_one_group() {
    for seed in 0..6 {
        let mut world = World::new(1_080 + seed);
        let (alice, bob) = world.friends();
        world.direct = seed % 2 == 0;
        world.pass(5_000);
        let before = group(&mut world, alice, bob);
        let (phone, laptop) = (world.begin_linking(bob), world.begin_linking(alice));
        for _ in 0..world.one_of(30) {
            world.step();
        }
        begin_renewal(&mut world, alice, bob);
        world.pass(60_000);
        all_agree(&mut world, &[(alice, bob), (bob, alice), (phone, alice), (laptop, bob)]);
        assert_eq!(group(&mut world, phone, alice), before, "seed {seed}");
    }
}

#[test]
fn a_device_that_was_removed_does_not_come_in_with_what_it_knows_of_doors() {
    let mut world = World::new(1_100);
    let (alice, bob) = world.friends();
    let phone = world.linked(bob);
    world.pass(10_000);
    let old = group(&mut world, alice, bob);
    let (secret, (key, path)) = (door_secret(&mut world, phone, old), stolen_key(&mut world, phone));
    let device = world.of(phone).device;
    world.call(bob, |reply| AccountCommand::RemoveDevice(device, reply)).unwrap();
    world.pass(30_000);
    let new = group(&mut world, alice, bob);
    assert_ne!(new, old, "its door has another secret");
    assert_ne!(door_secret(&mut world, alice, new), secret);
    // It looks behind the door that it knows for the new group, too.
    let (chat, home) = (world.chat_id(phone, alice), world.home.to_string());
    world.modified(phone, |engine, turn| {
        let state = engine.conversations.chats.get_mut(&chat).unwrap();
        state.row.groups.clear();
        state.row.door = Some(OfferedDoor { group: new.to_vec(), secret, home, ..OfferedDoor::default() });
        let (conversations, mut cx) = engine.conversing();
        conversations.enter(turn, &mut cx, chat).unwrap();
    });
    world.pass(60_000);
    all_agree(&mut world, &[(alice, bob), (bob, alice)]);
    // Even if somebody has told it the way in: it is in for a moment, nothing is written there, and all go on in another group.
    let door = way_in(&mut world, alice, bob);
    let commit = modified::entering_as(&path, &key, &door.info, None);
    append(&mut world, alice, bob, true, &candidate(&commit));
    world.pass(120_000);
    all_agree(&mut world, &[(alice, bob), (bob, alice)]);
    assert_ne!(group(&mut world, alice, bob), new);
    assert!(entries_in(&mut world, alice, new).is_none_or(|cursor| cursor == 0));
}

#[test]
fn a_device_that_was_removed_before_it_has_entered_does_not_enter() {
    for is_late in [false, true] {
        let mut world = World::new(1_130 + u64::from(is_late));
        let (alice, bob) = world.friends();
        world.pass(10_000);
        let before = group(&mut world, alice, bob);
        // It is let in, and reads the way into the group.
        let door = way_in(&mut world, alice, bob);
        let (ghost, _) = world.let_in(bob, false);
        world.pass(2_000);
        let path = world.chain(bob).path_to(&ghost.id()).unwrap().to_bytes();
        if is_late {
            world.kill(alice);
        }
        let device = ghost.id();
        world.call(bob, |reply| AccountCommand::RemoveDevice(device, reply)).unwrap();
        world.pass(2_000);
        let (commit, home) = (modified::entering_as(&path, &ghost.key, &door.info, None), world.home_id());
        world.modified(bob, |engine, turn| {
            let keys = LogKeys::of_secret(&door.secret).unwrap();
            let entries = vec![keys.seal_entry(&candidate(&commit).to_bytes())];
            let request = LogRequest { entries, candidate: true, insist: true, ..LogRequest::default() };
            assert!(engine.homes.request_log(turn, home, &keys, LogVerb::Append, request, Pending::Nothing));
        });
        if is_late {
            world.start(alice);
        }
        world.say(alice, bob, "not for ghosts");
        for _ in 0..60 {
            world.pass(1_000);
            for who in [alice, bob] {
                let mut groups = world.engine(who).conversations.groups.values();
                assert!(groups.all(|group| !group.has_member(&ghost.id())), "{who}");
            }
        }
        all_agree(&mut world, &[(alice, bob), (bob, alice)]);
        assert_ne!(group(&mut world, alice, bob), before, "its door is known to a stranger");
    }
}

/// How many entries somebody has read in the current log of a group; none if the group is forgotten.
fn entries_in(world: &mut World, who: Who, id: GroupId) -> Option<u64> {
    let mut cursor = None;
    world.begin_modified(who, |engine, _| {
        let entry = engine.conversations.groups.get(&id);
        cursor = entry.and_then(|entry| entry.current_log()).map(|log| log.cursor);
    });
    cursor
}

#[test]
fn a_device_that_its_account_does_not_list_reads_nothing_and_holds_nothing_up() {
    for direct in [true, false] {
        let mut world = World::new(1_110);
        let (alice, mallory) = world.friends();
        let phone = world.linked(mallory);
        world.direct = direct;
        world.pass(10_000);
        let before = group(&mut world, alice, mallory);
        // Mallory signs a device into a chain that nobody is shown, and lets it in.
        let (ghost, chain) = (DeviceKey::from_seed(&[66; 32]), world.chain(mallory));
        let joining = Joining::sign(&ghost, &chain.account, b"seal key of the ghost".to_vec());
        let mut hidden = None;
        world.begin_modified(mallory, |engine, turn| {
            let key = SignWith::Device(&engine.account.identity.device_key);
            hidden = Some(chain.add(&key, turn.agreed_ms() / 1000, &joining, Rights::Admin).unwrap());
        });
        let path = hidden.unwrap().path_to(&ghost.id()).unwrap().to_bytes();
        let door = way_in(&mut world, mallory, alice);
        let commit = modified::entering_as(&path, &ghost, &door.info, None);
        append(&mut world, mallory, alice, true, &candidate(&commit));
        for (who, other) in [(alice, mallory), (mallory, alice), (phone, alice)] {
            world.say(who, other, "not for ghosts");
        }
        world.pass(180_000);
        all_agree(&mut world, &[(alice, mallory), (mallory, alice), (phone, alice)]);
        assert_ne!(group(&mut world, alice, mallory), before);
        for (who, other) in [(alice, mallory), (mallory, alice), (phone, alice)] {
            let seen = world.seen(who, other).into_iter().filter(|line| line.contains("not for ghosts"));
            assert_eq!(seen.count(), 3, "{who}");
            assert!(entries_in(&mut world, who, before).is_none_or(|cursor| cursor == 0), "{who} has written to it");
        }
    }
}

#[test]
fn external_commits_that_may_not_be_change_nothing() {
    let mut world = World::new(1_120);
    let (alice, bob) = world.friends();
    let phone = world.linked(bob);
    let carol = world.person("carol");
    world.pass(10_000);
    let all = [(alice, bob), (bob, alice), (phone, alice)];
    let (before, epoch) = (group(&mut world, alice, bob), world.epoch(alice, bob));
    let door = way_in(&mut world, phone, alice);
    let (stranger, strangers) = stolen_key(&mut world, carol);
    let (bobs, of_bob) = stolen_key(&mut world, bob);
    let other = DeviceKey::generate();
    let commits = [
        // A stranger who has stolen the keys of the log and of the door.
        modified::entering_as(&strangers, &stranger, &door.info, None),
        modified::entering_as(&strangers, &stranger, &door.info, Some(0)),
        // A key that nobody has certified, with the path of one that somebody has.
        modified::entering_as(&of_bob, &other, &door.info, None),
        modified::entering_as(&strangers, &other, &door.info, None),
        // A member once more, in the place of its own leaf.
        modified::entering_as(&of_bob, &bobs, &door.info, Some(0)),
        door.info.to_vec(),
    ];
    for commit in commits {
        append(&mut world, bob, alice, true, &candidate(&commit));
    }
    world.pass(30_000);
    assert_eq!((group(&mut world, alice, bob), world.epoch(alice, bob)), (before, epoch));
    all_agree(&mut world, &all);
    // A new device of hers that removes somebody else by it.
    let tablet = DeviceKey::generate();
    let chain = world.chain(alice);
    let joining = Joining::sign(&tablet, &chain.account, b"seal key of the tablet".to_vec());
    let mut path = Vec::new();
    world.begin_modified(alice, |engine, turn| {
        let key = SignWith::Device(&engine.account.identity.device_key);
        let with = chain.add(&key, turn.agreed_ms() / 1000, &joining, Rights::Member).unwrap();
        path = with.path_to(&tablet.id()).unwrap().to_bytes();
    });
    for leaf in 0..3 {
        let commit = modified::entering_as(&path, &tablet, &door.info, Some(leaf));
        append(&mut world, alice, bob, true, &candidate(&commit));
    }
    world.pass(30_000);
    assert_eq!((group(&mut world, alice, bob), world.epoch(alice, bob)), (before, epoch));
    all_agree(&mut world, &all);
}

/// The log with the door of two people's group, and the entry there that led into an epoch which has ended since.
fn old_door(world: &mut World, who: Who, other: Who) -> ([u8; 32], Bytes) {
    let id = group(world, who, other);
    let keys = LogKeys::of_secret(&door_secret(world, who, id)).unwrap();
    let old = keys.seal_entry(&way_in(world, who, other).to_bytes());
    begin_renewal(world, who, other);
    world.pass(5_000);
    (keys.address, old)
}

/// Instead of what is in a log, this entry is shown.
fn shows_instead(response: &mut Response, address: [u8; 32], sealed: &Bytes) {
    if let Some(ResponseBody::Page(page)) = &mut response.body
        && page.address == address[..]
    {
        page.entries = vec![LogEntry { sequence: 1, sealed: sealed.clone(), stays: false }];
    }
}

#[test]
fn a_server_that_shows_an_old_door_keeps_nobody_out() {
    for seed in 0..4 {
        let mut world = World::new(1_130 + seed);
        let (alice, bob) = world.friends();
        world.direct = seed % 2 == 0;
        world.pass(5_000);
        let (address, old) = old_door(&mut world, alice, bob);
        // It takes the commit that leads on from there, or says what it has.
        let takes = seed >= 2;
        world.lie = Some(Box::new(move |who, response| {
            shows_instead(response, address, &old);
            if takes && who == 2 && matches!(response.body, Some(ResponseBody::Behind(_))) {
                response.body = Some(ResponseBody::Appended(1));
            }
        }));
        let phone = world.linked(bob);
        assert_eq!(phone, 2);
        for (who, other) in [(alice, bob), (bob, alice)] {
            world.say(who, other, "meanwhile");
        }
        world.pass(300_000);
        world.lie = None;
        world.direct = true;
        world.pass(300_000);
        all_agree(&mut world, &[(alice, bob), (bob, alice), (phone, alice)]);
    }
}

#[test]
fn a_server_that_goes_away_while_a_device_enters_is_waited_for() {
    let mut world = World::new(1_150);
    let (alice, bob) = world.friends();
    world.pass(5_000);
    let (address, old) = old_door(&mut world, alice, bob);
    // A way in that leads nowhere: it is looked at again after a while.
    world.lie = Some(Box::new(move |_, response| shows_instead(response, address, &old)));
    let phone = world.begin_linking(bob);
    while world
        .engine(phone)
        .conversations
        .entering
        .next_due()
        .is_none_or(|due| due > world.now.steady_ms + DOOR_AGAIN_MS)
    {
        assert!(world.step(), "it does not look at the door again");
    }
    world.lie = None;
    world.stop_server();
    // No timer goes off again and again.
    world.pass(3_600_000);
    world.start_server();
    world.pass(300_000);
    all_agree(&mut world, &[(alice, bob), (bob, alice), (phone, alice)]);
}

#[test]
fn a_contact_makes_nobody_give_up_a_group_with_others() {
    let mut world = World::new(1_140);
    let (alice, bob) = world.friends();
    let mallory = world.person("mallory");
    let invite = world.invite(alice);
    let mut added = world.add(mallory, &invite);
    world.pass(5_000);
    added.try_recv().unwrap().unwrap();
    let (before, own) = (group(&mut world, alice, bob), group(&mut world, mallory, alice));
    let chat = world.chat_id(mallory, alice);
    // The group that replaces theirs is said to replace the other one, too.
    world.modified(mallory, |engine, turn| {
        let state = engine.conversations.chats.get_mut(&chat).unwrap();
        state.row.groups.insert(0, before.to_vec());
        engine.conversations.abandon_group(turn, own);
    });
    world.pass(60_000);
    go_on(&mut world, mallory, alice);
    assert_ne!(group(&mut world, alice, mallory), own);
    go_on(&mut world, alice, bob);
    assert_eq!(group(&mut world, alice, bob), before);
}
