//! Groups that are given up, and replaced: all devices end in the same one, whoever gives up what, and whichever welcomes are lost.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::{
    epoch_tests::group,
    world::{Who, World},
};
use crate::{
    conversation::{fork::limits::BEHIND_FOR_MS, limits::MAX_GROUPS_PER_CHAT},
    mls::GroupId,
};

/// Two accounts with so many devices each: each device with somebody on the other side.
fn devices(world: &mut World, more: usize) -> Vec<(Who, Who)> {
    let (alice, bob) = world.friends();
    let mut devices = vec![(alice, bob), (bob, alice)];
    for (who, other) in [(alice, bob), (bob, alice)] {
        for _ in 0..more {
            devices.push((world.linked(who), other));
            world.pass(60_000);
        }
    }
    devices
}

/// A device gives up the group that it writes in, if it has one now.
fn give_up(world: &mut World, (who, other): (Who, Who)) {
    let chat = world.chat_id(who, other);
    world.begin_modified(who, |engine, turn| {
        if let Some(id) = engine.active_group(chat) {
            engine.conversations.abandon_group(turn, id);
        }
    });
}

/// All write, and have what all have written; and all write in one group.
fn end_together(world: &mut World, devices: &[(Who, Who)], seed: u64) -> GroupId {
    let mut written = Vec::new();
    for n in 0..2 {
        for (who, other) in devices {
            let text = format!("at last {n} {who}");
            world.say(*who, *other, &text);
            written.push(text);
        }
        world.pass(60_000);
    }
    let mut groups: Vec<GroupId> = Vec::new();
    for (who, other) in devices {
        let seen = world.seen(*who, *other);
        let lacks = |text: &&String| !seen.iter().any(|line| line.contains(text.as_str()));
        let missing: Vec<&String> = written.iter().filter(lacks).collect();
        assert!(missing.is_empty(), "seed {seed}: {who} lacks {missing:?}");
        groups.push(group(world, *who, *other));
    }
    groups.dedup();
    assert_eq!(groups.len(), 1, "seed {seed}: {groups:?}");
    groups[0]
}

#[test]
fn ten_devices_that_give_a_group_up_at_once_end_in_one() {
    for seed in 0..2 {
        let mut world = World::new(4_000 + seed);
        world.direct = seed % 2 == 0;
        let devices = devices(&mut world, 4);
        let before = end_together(&mut world, &devices, seed);
        for device in &devices {
            give_up(&mut world, *device);
        }
        world.pass(60_000);
        assert_ne!(end_together(&mut world, &devices, seed), before);
        for (who, other) in devices {
            let chat = world.chat_id(who, other);
            world.begin_modified(who, |engine, _| {
                let groups = &engine.conversations.chats.get(&chat).unwrap().row.groups;
                assert!(groups.len() <= MAX_GROUPS_PER_CHAT);
            });
        }
    }
}

#[test]
fn devices_that_give_a_group_up_in_turn_end_in_one() {
    for seed in 0..4 {
        let mut world = World::new(4_010 + seed);
        let devices = devices(&mut world, 1);
        for _ in 0..6 {
            let device = devices[world.one_of(devices.len())];
            give_up(&mut world, device);
            for _ in 0..world.one_of(30) {
                world.step();
            }
        }
        world.pass(60_000);
        end_together(&mut world, &devices, seed);
    }
}

#[test]
fn whoever_writes_in_a_group_that_others_have_given_up_is_met_in_another() {
    let mut world = World::new(4_020);
    let devices = devices(&mut world, 1);
    let before = end_together(&mut world, &devices, 0);
    // A member has one device believe that the group was replaced by one that nobody else knows of.
    let (fooled, other) = devices[2];
    let (mallory, _) = devices[1];
    let chat = world.chat_id(mallory, fooled);
    world.swallows_items = true;
    world.begin_modified(mallory, |engine, turn| {
        let id = engine.active_group(chat).unwrap();
        assert_eq!(engine.conversations.abandon_alone(turn, id), Some(chat));
    });
    world.settle();
    let device = world.of(fooled).device;
    world.begin_modified(mallory, |engine, _| {
        engine.homes.outbound_items.retain(|_, item| item.row.device == device.as_bytes());
    });
    world.stop_swallowing();
    world.pass(10_000);
    assert_ne!(group(&mut world, fooled, other), before);
    for (who, other) in [devices[0], devices[3]] {
        assert_eq!(group(&mut world, who, other), before);
    }
    for (who, other) in devices.clone() {
        world.say(who, other, &format!("apart {who}"));
    }
    world.pass(BEHIND_FOR_MS + 60_000);
    end_together(&mut world, &devices, 0);
    for (who, other) in devices.clone() {
        let apart = world.seen(who, other).iter().filter(|line| line.contains("apart")).count();
        assert_eq!(apart, devices.len(), "{who}");
    }
}
