//! Forks: servers that give members different winners, and members who tell of commits that nobody else has followed.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::{cell::Cell, rc::Rc};

use bytes::Bytes;
use starling_wire::{Beacon, LogVerb, SealedBeacon, direct::DirectFrame, rendezvous::LogRequest};

use super::{
    epoch_tests::{begin_renewal, candidate, go_on, group},
    liar::{Liar, Showing, Shown},
    world::{Who, World},
};
use crate::{api::types::DurableEventKind, home::Pending, mls::PAST_EPOCHS, net::NetEvent};

/// Two people whose server shows each of them some commits alone, while they are not connected. Both renew their keys so often.
fn split(seed: u64, liar: Liar, times: usize) -> (World, Who, Who) {
    let mut world = World::new(seed);
    world.liar = Some(liar);
    let (alice, bob) = world.friends();
    world.direct = false;
    world.pass(5_000);
    for _ in 0..times {
        begin_renewal(&mut world, alice, bob);
        begin_renewal(&mut world, bob, alice);
        world.pass(10_000);
    }
    assert_eq!(world.epoch(alice, bob), world.epoch(bob, alice));
    assert_ne!(
        log_address(&mut world, alice, bob),
        log_address(&mut world, bob, alice),
        "they are in different epochs"
    );
    (world, alice, bob)
}

/// Shows commits to those of whom that is true, and all else as it is.
pub fn showing(is_shown: impl Fn(&Showing) -> bool + 'static) -> Liar {
    Liar::new(1, move |s| if s.is_commit && !is_shown(&s) { Shown::Never } else { Shown::Now })
}

pub fn own_winners() -> Liar {
    showing(|s| s.author == s.reader)
}

/// The log that somebody writes into.
pub fn log_address(world: &mut World, who: Who, other: Who) -> [u8; 32] {
    let id = group(world, who, other);
    world.log_address(who, id)
}

/// Each writes something that only the own epoch can read.
pub fn write_apart(world: &mut World, who: &[(Who, Who)]) {
    for (from, to) in who {
        world.say(*from, *to, &format!("into a fork from {from}"));
    }
    world.pass(30_000);
}

/// All are in one epoch, and have what each has written in the fork, once.
pub fn are_together(world: &mut World, who: &[(Who, Who)], seed: u64) {
    let logs: Vec<[u8; 32]> = who.iter().map(|(a, b)| log_address(world, *a, *b)).collect();
    assert!(logs.iter().all(|log| *log == logs[0]), "seed {seed}");
    for (reader, other) in who {
        let mut texts: Vec<String> = world.messages(*reader, *other).into_iter().map(|m| m.text).collect();
        texts.retain(|text| text.contains("into a fork"));
        texts.sort();
        let mut all: Vec<String> = who.iter().map(|(from, _)| format!("into a fork from {from}")).collect();
        all.sort();
        assert_eq!(texts, all, "seed {seed}, {reader}");
    }
}

#[test]
fn members_whom_a_server_has_split_come_together_when_they_are_connected() {
    for seed in 0..4 {
        let times = 1 + seed as usize % PAST_EPOCHS;
        let (mut world, alice, bob) = split(700 + seed, own_winners(), times);
        let before = group(&mut world, alice, bob);
        let both = [(alice, bob), (bob, alice)];
        write_apart(&mut world, &both);
        world.direct = true;
        world.pass(30_000);
        are_together(&mut world, &both, seed);
        go_on(&mut world, alice, bob);
        assert_eq!(group(&mut world, alice, bob), before, "no other group was needed");
        for who in [alice, bob] {
            let told = world.durable_events(who).into_iter().filter(|n| n.kind == DurableEventKind::ChatSplit).count();
            assert_eq!(told, 1, "each user is told once");
        }
    }
}

#[test]
fn who_has_followed_another_commit_goes_back_to_his_own_if_that_comes_first() {
    for seed in 0..2 {
        let (mut world, alice, bob) = split(710 + seed, showing(|s| s.author != s.reader), 1);
        let before = group(&mut world, alice, bob);
        let both = [(alice, bob), (bob, alice)];
        write_apart(&mut world, &both);
        world.direct = true;
        world.pass(30_000);
        are_together(&mut world, &both, seed);
        go_on(&mut world, alice, bob);
        assert_eq!(group(&mut world, alice, bob), before);
    }
}

#[test]
fn a_commit_that_a_server_keeps_from_a_member_comes_from_another_one() {
    let mut world = World::new(720);
    world.liar = Some(own_winners());
    let (alice, bob) = world.friends();
    let epoch = world.epoch(alice, bob);
    for n in 1..=3 {
        begin_renewal(&mut world, alice, bob);
        world.pass(10_000);
        assert_eq!((world.epoch(alice, bob), world.epoch(bob, alice)), (epoch + n, epoch + n));
    }
    go_on(&mut world, alice, bob);
}

#[test]
fn who_is_connected_with_nobody_learns_in_the_log_that_was_left_where_the_others_are() {
    for follows_alice in [true, false] {
        let mut world = World::new(730);
        let (mut alice, mut bob, mut laptop) = (0, 1, 2);
        world.liar = Some(showing(move |s| match s.reader {
            2 => (s.author == 0) == follows_alice,
            reader => s.author == reader,
        }));
        (alice, bob) = {
            let friends = world.friends();
            assert_eq!(friends, (alice, bob));
            friends
        };
        laptop = {
            let linked = world.linked(alice);
            assert_eq!(linked, laptop);
            linked
        };
        world.pass(120_000);
        (world.direct, world.apart) = (false, [laptop].into());
        world.pass(5_000);
        let before = group(&mut world, alice, bob);
        begin_renewal(&mut world, alice, bob);
        begin_renewal(&mut world, bob, alice);
        world.pass(10_000);
        let all = [(alice, bob), (bob, alice), (laptop, bob)];
        write_apart(&mut world, &all);
        assert_ne!(log_address(&mut world, alice, bob), log_address(&mut world, bob, alice));
        world.direct = true;
        world.pass(120_000);
        are_together(&mut world, &all, u64::from(follows_alice));
        assert_eq!(group(&mut world, laptop, bob), before);
    }
}

#[test]
fn a_fork_that_is_older_than_what_is_kept_ends_in_another_group() {
    let (mut world, alice, bob) = split(740, own_winners(), PAST_EPOCHS + 2);
    let both = [(alice, bob), (bob, alice)];
    write_apart(&mut world, &both);
    world.direct = true;
    world.pass(600_000);
    are_together(&mut world, &both, 0);
    go_on(&mut world, alice, bob);
}

#[test]
fn who_is_kept_behind_for_longer_than_commits_are_kept_gets_another_group() {
    let mut world = World::new(745);
    world.liar = Some(own_winners());
    let (alice, bob) = world.friends();
    world.direct = false;
    world.pass(5_000);
    for _ in 0..PAST_EPOCHS + 2 {
        begin_renewal(&mut world, alice, bob);
        world.pass(10_000);
    }
    let both = [(alice, bob), (bob, alice)];
    write_apart(&mut world, &both);
    world.heal();
    world.pass(900_000);
    are_together(&mut world, &both, 0);
    go_on(&mut world, alice, bob);
}

#[test]
fn a_fork_is_healed_though_members_are_killed_at_any_moment() {
    for at in (0..24).step_by(2) {
        let (mut world, alice, bob) = split(750, own_winners(), 2);
        let both = [(alice, bob), (bob, alice)];
        write_apart(&mut world, &both);
        world.direct = true;
        world.say(alice, bob, "and now");
        for _ in 0..at {
            world.step();
        }
        let dead = [alice, bob][at / 2 % 2];
        world.kill(dead);
        world.start(dead);
        world.pass(60_000);
        are_together(&mut world, &both, at as u64);
    }
}

#[test]
fn a_commit_shows_that_a_server_has_shown_its_author_other_entries() {
    for lies in [false, true] {
        let mut world = World::new(755);
        let lying = Rc::new(Cell::new(false));
        let is_lying = lying.clone();
        world.liar = Some(Liar::new(1, move |s: Showing| {
            if is_lying.get() && !s.is_commit && s.author != s.reader { Shown::Cut } else { Shown::Now }
        }));
        let (alice, bob) = world.friends();
        world.direct = false;
        world.pass(5_000);
        lying.set(lies);
        world.say(bob, alice, "cut short");
        world.pass(5_000);
        lying.set(false);
        world.say(bob, alice, "whole");
        begin_renewal(&mut world, bob, alice);
        world.pass(10_000);
        assert_eq!(world.epoch(alice, bob), world.epoch(bob, alice));
        let told = world.durable_events(alice).into_iter().filter(|n| n.kind == DurableEventKind::ChatSplit).count();
        assert_eq!(told, usize::from(lies));
    }
}

/// Mallory tells Alice of a commit of hers that no log has, before Alice has read the log, where garbage and a commit of her laptop stand.
#[test]
fn a_commit_that_a_member_tells_of_alone_splits_nobody() {
    for seed in 0..2 {
        let mut world = World::new(770 + seed);
        let (alice, mallory) = world.friends();
        let laptop = world.linked(alice);
        world.pass(120_000);
        (world.direct, world.apart) = (false, [laptop].into());
        world.pass(5_000);
        let (id, epoch) = (group(&mut world, alice, mallory), world.epoch(alice, mallory));
        let mut told = None;
        world.begin_modified(mallory, |engine, turn| {
            let (mls, now) = (engine.mls.clone(), turn.agreed_ms());
            let mut group = engine.conversations.open(turn, &mls, id).unwrap().unwrap();
            let (epoch, commit) = group.other_commits(turn, &mls, now).unwrap().pop().unwrap();
            told = group.entry.beacon(epoch, &Beacon::Commit(commit));
            let keys = group.entry.current_keys().unwrap();
            let home = engine.conversations.groups.home_of(id).unwrap();
            let entries = vec![keys.seal_entry(&candidate(b"garbage").to_bytes())];
            let request = LogRequest { entries, candidate: true, insist: true, ..LogRequest::default() };
            engine.homes.request_log(turn, home, &keys, LogVerb::Append, request, Pending::Nothing);
        });
        world.answer_all();
        begin_renewal(&mut world, laptop, mallory);
        world.answer_all();
        let device = world.of(mallory).device;
        let frame = DirectFrame { beacons: vec![told.unwrap()], ..DirectFrame::default() };
        world.tell(alice, NetEvent::Direct(device, frame));
        world.all_at_once(alice);
        assert_eq!(world.epoch(alice, mallory), epoch + 1);
        world.pass(60_000);
        assert_eq!(world.log_address(alice, id), world.log_address(laptop, id), "seed {seed}");
    }
}

/// Somebody sends beacons on the stream to another, whatever they say.
fn send_beacons(world: &mut World, from: Who, to: Who, beacons: Vec<SealedBeacon>) {
    let device = world.of(from).device;
    let frame = DirectFrame { beacons, ..DirectFrame::default() };
    world.tell(to, NetEvent::Direct(device, frame));
    world.settle();
}

#[test]
fn beacons_that_are_forged_repeated_or_damaged_change_nothing() {
    let (mut world, alice, mallory) = split(760, own_winners(), 2);
    world.direct = true;
    world.pass(30_000);
    let id = group(&mut world, alice, mallory);
    let (log, epoch) = (log_address(&mut world, alice, mallory), world.epoch(alice, mallory));
    let mut true_ones = Vec::new();
    let mut made = Vec::new();
    world.begin_modified(mallory, |engine, turn| {
        let entry = engine.conversations.groups.get(&id).unwrap();
        true_ones = entry.beacons().collect();
        for epoch in 0..epoch + 2 {
            for beacon in [Beacon::Behind, Beacon::Followed([7; 32]), Beacon::Commit(Bytes::from("garbage"))] {
                made.extend(entry.beacon(epoch, &beacon));
            }
        }
        // A commit of another epoch than it is told of.
        let mls = engine.mls.clone();
        let mut group = engine.conversations.open(turn, &mls, id).unwrap().unwrap();
        let (_, commit) = group.other_commits(turn, &mls, turn.agreed_ms()).unwrap().pop().unwrap();
        made.extend((0..epoch).filter_map(|epoch| group.entry.beacon(epoch, &Beacon::Commit(commit.clone()))));
    });
    assert!(!true_ones.is_empty() && !made.is_empty());
    let damaged = true_ones.iter().map(|beacon| {
        let mut sealed = beacon.sealed.to_vec();
        *sealed.last_mut().unwrap() ^= 1;
        SealedBeacon { sealed: sealed.into(), ..beacon.clone() }
    });
    let elsewhere = true_ones.iter().map(|beacon| SealedBeacon { epoch: beacon.epoch + 1, ..beacon.clone() });
    let strange = true_ones.iter().map(|beacon| SealedBeacon { group: Bytes::from_static(&[9; 16]), ..beacon.clone() });
    let all: Vec<SealedBeacon> =
        true_ones.iter().cloned().chain(damaged).chain(elsewhere).chain(strange).chain(made).collect();
    for _ in 0..100 {
        send_beacons(&mut world, mallory, alice, all.clone());
    }
    world.pass(30_000);
    assert_eq!((log_address(&mut world, alice, mallory), world.epoch(alice, mallory)), (log, epoch));
    assert_eq!(group(&mut world, alice, mallory), id);
    go_on(&mut world, alice, mallory);
}
