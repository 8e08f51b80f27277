//! Forks that a log's home makes among members who are never connected: another home is honest.
#![allow(clippy::unwrap_used, reason = "tests")]

use bytes::Bytes;
use starling_wire::{Beacon, SealedBeacon, inbox::InboxBody};

use super::{
    epoch_tests::{begin_renewal, go_on, group},
    fork_tests::{are_together, log_address, own_winners, showing, write_apart},
    world::{Who, World},
};
use crate::{
    api::types::DurableEventKind,
    conversation::fork::limits::{BEACON_ITEM_AFTER_MS, BEACON_ITEM_EVERY_MS, MAX_BEACON_ANSWERS},
    mls::PAST_EPOCHS,
};

const DAY: u64 = 86_400_000;

/// Two people without any direct connection: the first has an honest home, the second a lying one, with the log.
fn apart(seed: u64) -> (World, Who, Who) {
    let mut world = World::new(seed);
    let honest = world.add_server();
    let (alice, bob) = world.friends_at(honest, 0);
    world.pass(60_000);
    world.direct = false;
    world.pass(5_000);
    (world, alice, bob)
}

fn splits(world: &World, who: Who) -> usize {
    world.durable_events(who).into_iter().filter(|n| n.kind == DurableEventKind::ChatSplit).count()
}

/// A commit of each, of which the server shows its author the own one alone.
fn split(world: &mut World, alice: Who, bob: Who, times: usize) {
    for _ in 0..times {
        begin_renewal(world, alice, bob);
        begin_renewal(world, bob, alice);
        world.pass(10_000);
    }
    assert_ne!(log_address(world, alice, bob), log_address(world, bob, alice), "they are in different epochs");
}

#[test]
fn members_whom_a_log_home_has_split_come_together_through_inboxes_elsewhere() {
    for seed in 0..6 {
        let (mut world, alice, bob) = apart(800 + seed);
        world.liar = Some(own_winners());
        let before = group(&mut world, alice, bob);
        split(&mut world, alice, bob, 1 + seed as usize % PAST_EPOCHS);
        let both = [(alice, bob), (bob, alice)];
        write_apart(&mut world, &both);
        world.pass(BEACON_ITEM_AFTER_MS + 2 * BEACON_ITEM_EVERY_MS);
        are_together(&mut world, &both, seed);
        go_on(&mut world, alice, bob);
        assert_eq!(group(&mut world, alice, bob), before, "no other group was needed");
        assert_eq!((splits(&world, alice), splits(&world, bob)), (1, 1), "each user is told once");
    }
}

#[test]
fn a_fork_is_found_though_the_log_home_keeps_back_inboxes_too() {
    for seed in 0..2 {
        let (mut world, alice, bob) = apart(810 + seed);
        (world.liar, world.swallows_items) = (Some(own_winners()), true);
        split(&mut world, alice, bob, 1);
        world.pass(BEACON_ITEM_AFTER_MS + 10_000);
        assert_eq!(splits(&world, alice), 1);
    }
}

#[test]
fn a_commit_that_a_log_home_keeps_from_a_member_comes_through_its_own_home() {
    let (mut world, alice, bob) = apart(820);
    world.liar = Some(showing(move |s| s.reader == bob));
    let epoch = world.epoch(alice, bob);
    begin_renewal(&mut world, bob, alice);
    world.pass(10_000);
    assert_eq!((world.epoch(alice, bob), world.epoch(bob, alice)), (epoch, epoch + 1));
    world.pass(2 * BEACON_ITEM_AFTER_MS + 60_000);
    assert_eq!(world.epoch(alice, bob), epoch + 1);
    go_on(&mut world, alice, bob);
}

#[test]
fn a_fork_that_is_older_than_what_is_kept_is_found_through_inboxes() {
    let (mut world, alice, bob) = apart(830);
    world.liar = Some(own_winners());
    split(&mut world, alice, bob, PAST_EPOCHS + 1);
    world.pass(BEACON_ITEM_AFTER_MS + BEACON_ITEM_EVERY_MS);
    assert_eq!(splits(&world, alice), 1);
}

#[test]
fn nothing_is_left_in_inboxes_by_members_who_write_or_meet_or_have_one_home() {
    let (mut world, alice, bob) = apart(840);
    world.appended.clear();
    for _ in 0..3 {
        begin_renewal(&mut world, alice, bob);
        go_on(&mut world, alice, bob);
        world.pass(BEACON_ITEM_AFTER_MS + 10_000);
    }
    world.direct = true;
    begin_renewal(&mut world, bob, alice);
    world.pass(BEACON_ITEM_AFTER_MS + 10_000);
    assert_eq!(world.appended.len(), 0);
    let mut world = World::new(841);
    let (alice, bob) = world.friends();
    world.pass(60_000);
    world.direct = false;
    world.appended.clear();
    begin_renewal(&mut world, alice, bob);
    world.pass(BEACON_ITEM_AFTER_MS + 10_000);
    assert_eq!(world.appended.len(), 0);
}

#[test]
fn who_is_away_finds_few_items_however_often_others_renew_their_keys() {
    let (mut world, alice, bob) = apart(850);
    world.kill(alice);
    world.appended.clear();
    for _ in 0..30 {
        for _ in 0..3 {
            begin_renewal(&mut world, bob, alice);
            world.pass(DAY / 3);
        }
    }
    let left = world.appended.len();
    assert!((2..=5).contains(&left), "{left}");
    assert!(world.appended.iter().all(|append| append.sealed.len() < 3_000), "they are small");
    // Once Alice has written she gets them as before.
    world.start(alice);
    world.pass(60_000);
    go_on(&mut world, alice, bob);
}

/// A modified program leaves beacons in somebody's inbox.
fn leave(world: &mut World, from: Who, to: Who, beacons: Vec<SealedBeacon>) {
    let (id, device) = (group(world, from, to), world.of(to).device);
    world.modified(from, |engine, turn| {
        let (conversations, mut cx) = engine.conversing();
        assert!(conversations.groups.contains_key(&id));
        conversations.leave_made(turn, &mut cx, device, beacons).unwrap();
    });
    world.pass(1_000);
}

#[test]
fn beacons_in_inboxes_that_are_forged_or_come_again_change_nothing_and_cost_little() {
    let (mut world, alice, mallory) = apart(860);
    for _ in 0..2 {
        begin_renewal(&mut world, mallory, alice);
        go_on(&mut world, alice, mallory);
    }
    let (id, epoch) = (group(&mut world, alice, mallory), world.epoch(alice, mallory));
    let (log, mut made) = (log_address(&mut world, alice, mallory), Vec::new());
    world.modified(mallory, |engine, turn| {
        let mls = engine.mls.clone();
        let mut group = engine.conversations.open(turn, &mls, id).unwrap().unwrap();
        let commits = group.other_commits(turn, &mls, turn.agreed_ms()).unwrap();
        let (_, newest) = commits.last().unwrap().clone();
        for epoch in 0..epoch + 2 {
            for beacon in [Beacon::Behind, Beacon::Followed([7; 32]), Beacon::Commit("garbage".into())] {
                made.extend(group.entry.beacon(epoch, &beacon));
            }
            // A commit of another epoch than it is told of.
            made.extend(
                group.entry.beacon(epoch, &Beacon::Commit(newest.clone())).filter(|_| epoch + 1 < group.entry.epoch()),
            );
        }
        // What cannot be opened.
        let stranger = made[0].clone();
        made.push(SealedBeacon { epoch: stranger.epoch + 1, ..stranger.clone() });
        made.push(SealedBeacon { group: [9; 16].to_vec().into(), ..stranger });
    });
    world.appended.clear();
    let mallory_device = *world.of(mallory).device.as_bytes();
    for _ in 0..20 {
        for beacon in made.clone() {
            leave(&mut world, mallory, alice, vec![beacon]);
        }
    }
    let answers = world.appended.iter().filter(|append| append.device[..] == mallory_device).count();
    assert!(answers <= MAX_BEACON_ANSWERS as usize, "{answers}");
    assert_eq!((log_address(&mut world, alice, mallory), world.epoch(alice, mallory)), (log, epoch));
    assert_eq!(
        splits(&world, alice),
        2,
        "Mallory's word is that there are different pasts: that is shown once for each epoch"
    );
    go_on(&mut world, alice, mallory);
}

#[test]
fn beacons_of_nobody_in_the_group_mean_nothing() {
    let (mut world, alice, bob) = apart(870);
    let carol = world.person("carol");
    begin_renewal(&mut world, bob, alice);
    go_on(&mut world, alice, bob);
    let (id, mut made) = (group(&mut world, alice, bob), Vec::new());
    world.modified(bob, |engine, _| {
        let entry = engine.conversations.groups.get(&id).unwrap();
        made.extend(entry.beacon(entry.epoch() - 1, &Beacon::Followed([7; 32])));
    });
    // Carol is no contact of Alice's: her program has the beacon from a modified one of Bob's.
    let (device, account) = (world.of(alice).device, world.of(alice).account);
    let home = world.homes_of(bob, alice)[0].to_string();
    let entry = world.chain(alice).device(&device).cloned().unwrap();
    let body = InboxBody {
        device: Bytes::copy_from_slice(world.of(carol).device.as_bytes()),
        beacons: made,
        ..InboxBody::default()
    };
    let before = splits(&world, alice);
    world.modified(carol, |engine, turn| {
        engine.views().leave_item(turn, &entry, [3; 16], &body, account, &home).unwrap()
    });
    world.pass(10_000);
    assert!(world.appended.iter().any(|append| append.device[..] == *device.as_bytes()));
    assert_eq!(splits(&world, alice), before);
}
