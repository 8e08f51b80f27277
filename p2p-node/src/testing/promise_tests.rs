//! What is promised of delivery, of removed devices and of what a server keeps, whatever happens meanwhile.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;

use starling_keys::DeviceId;
use starling_wire::{
    Text,
    rendezvous::{Refusal, Refused, ResponseBody},
};

use super::world::{Who, World};
use crate::{
    api::{
        error::{NodeError, Unreachable},
        types::DurableEventKind,
    },
    engine::{AccountCommand, ConversationCommand},
};

const HOUR: u64 = 3_600_000;

fn texts(world: &mut World, who: Who, other: Who) -> Vec<String> {
    world.messages(who, other).into_iter().map(|m| m.text).collect()
}

fn remove(world: &mut World, by: Who, device: DeviceId) -> Result<(), NodeError> {
    world.call(by, |reply| AccountCommand::RemoveDevice(device, reply))
}

#[test]
fn a_message_reaches_every_listed_device_when_another_one_is_removed() {
    for seed in 0..4 {
        let mut world = World::new(9_100 + seed);
        let (alice, bob) = world.friends();
        let laptop = world.linked(alice);
        world.pass(60_000);
        let tablet = world.linked(alice);
        world.pass(60_000);
        let phone = world.linked(bob);
        world.pass(60_000);
        world.kill(tablet);
        let device = world.of(tablet).device;
        remove(&mut world, alice, device).unwrap();
        let mut expected = Vec::new();
        for n in 0..20 {
            let (who, to) = if n % 2 == 0 { (laptop, bob) } else { (bob, alice) };
            world.say(who, to, &n.to_string());
            expected.push(n.to_string());
            world.pass(100);
        }
        world.pass(2 * HOUR);
        for (who, other) in [(alice, bob), (laptop, bob), (bob, alice), (phone, alice)] {
            assert_eq!(texts(&mut world, who, other), expected, "seed {seed}, {who}");
        }
    }
}

/// A story with several devices on both sides, whose lists change while everybody writes.
struct Changing {
    world: World,
    /// The devices of both sides that run or can run.
    sides: [Vec<Who>; 2],
    gone: Vec<Who>,
    /// Who has written what, and the devices on both lists as the author knew them.
    written: Vec<(Who, String, Vec<DeviceId>)>,
}

impl Changing {
    fn new(seed: u64) -> Self {
        let mut world = World::new(seed);
        let (alice, bob) = world.friends();
        Self { world, sides: [vec![alice], vec![bob]], gone: Vec::new(), written: Vec::new() }
    }

    fn one_of(&mut self, side: usize) -> Who {
        let at = self.world.one_of(self.sides[side].len());
        self.sides[side][at]
    }

    fn write(&mut self, side: usize) {
        let (who, other) = (self.one_of(side), self.sides[1 - side][0]);
        if !self.world.is_running(who) || !self.world.knows(who, other) {
            return;
        }
        let (chat, text) = (self.world.chat_id(who, other), format!("{who}-{}", self.written.len()));
        let accounts = [side, 1 - side].map(|s| self.sides[s][0]).map(|w| self.world.of(w).account);
        let devices = accounts.iter().flat_map(|a| self.world.listed(who, *a)).collect();
        let texts = vec![Text { text: text.clone(), ..Text::default() }];
        let mut sent = self.world.begin(who, |reply| ConversationCommand::Send { chat, texts, reply });
        self.world.all_at_once(who);
        if matches!(sent.try_recv(), Ok(Ok(_))) {
            self.written.push((who, text, devices));
        }
    }

    fn remove(&mut self, side: usize) {
        let (by, which) = (self.one_of(side), self.one_of(side));
        if by == which || !self.world.is_running(by) || self.sides[side][0] == which {
            return;
        }
        let (device, account) = (self.world.of(which).device, self.world.of(which).account);
        drop(self.world.begin(by, |reply| AccountCommand::RemoveDevice(device, reply)));
        self.world.all_at_once(by);
        // Begun is done, sooner or later.
        if !self.world.listed(by, account).contains(&device) {
            self.sides[side].retain(|w| *w != which);
            self.gone.push(which);
        }
    }

    fn step(&mut self) {
        let side = self.world.one_of(2);
        match self.world.one_of(14) {
            0 if self.sides[side].len() < 3
                && self.world.server_runs()
                && self.world.is_running(self.sides[side][0]) =>
            {
                let who = self.world.link_within(self.sides[side][0], 400);
                self.sides[side].extend(who);
            }
            1 => self.remove(side),
            2 => {
                let who = self.one_of(side);
                if self.world.is_running(who) { self.world.kill(who) } else { self.world.start(who) }
            }
            3 => self.world.direct = !self.world.direct,
            4 if self.world.server_runs() => self.world.stop_server(),
            4 => self.world.start_server(),
            5 | 6 => {
                let ms = [100, 2_000, 40_000, HOUR][self.world.one_of(4)];
                self.world.pass(ms);
            }
            7..=9 => {
                for _ in 0..self.world.one_of(40) {
                    self.world.step();
                }
            }
            _ => self.write(side),
        }
    }

    /// Every device that was on the lists of an author when a message was written, and still is, has it, once.
    fn check(mut self, seed: u64) {
        for who in self.gone.clone() {
            self.world.kill(who);
        }
        for who in self.sides.concat() {
            if !self.world.is_running(who) {
                self.world.start(who);
            }
        }
        self.world.direct = true;
        self.world.start_server();
        self.world.pass(24 * HOUR);
        for side in 0..2 {
            for who in self.sides[side].clone() {
                let other = self.sides[1 - side][0];
                let mut seen: BTreeMap<String, u32> = BTreeMap::new();
                for text in texts(&mut self.world, who, other) {
                    *seen.entry(text).or_default() += 1;
                }
                let device = self.world.of(who).device;
                for (author, text, devices) in &self.written {
                    let counted = seen.get(text).copied().unwrap_or_default();
                    let due = devices.contains(&device) && !self.gone.contains(author);
                    assert!(counted == 1 || (counted == 0 && !due), "seed {seed}: {who} has {text} {counted} times");
                }
            }
        }
    }
}

#[test]
fn a_message_reaches_every_listed_device_while_lists_change() {
    let rounds = std::env::var("STARLING_WORLD_ROUNDS").ok().and_then(|r| r.parse().ok()).unwrap_or(12);
    let first: u64 = std::env::var("STARLING_WORLD_FIRST").ok().and_then(|r| r.parse().ok()).unwrap_or(0);
    for seed in first..first + rounds {
        story(seed);
    }
}

pub fn story(seed: u64) {
    let mut story = Changing::new(9_200 + seed);
    for _ in 0..120 {
        story.step();
    }
    story.check(seed);
}

#[test]
fn a_removal_that_was_reported_is_final_though_the_remover_is_killed_at_once() {
    let mut world = World::new(9_300);
    let (alice, bob) = world.friends();
    let laptop = world.linked(alice);
    world.pass(60_000);
    let device = world.of(laptop).device;
    // The moment of the answer: nothing that follows from it has happened.
    let mut removed = world.begin(alice, |reply| AccountCommand::RemoveDevice(device, reply));
    while removed.try_recv().is_err() {
        assert!(world.step(), "no answer");
    }
    world.kill(alice);
    world.start(alice);
    world.pass(1_000);
    world.say(bob, alice, "not for the lost one");
    world.pass(HOUR);
    assert!(texts(&mut world, laptop, bob).is_empty());
    assert_eq!(texts(&mut world, alice, bob), ["not for the lost one"]);
    let news = world.durable_events(alice);
    assert_eq!(news.iter().filter(|n| n.kind == DurableEventKind::DeviceRemoved).count(), 1);
}

#[test]
fn a_removal_is_reported_only_when_a_home_has_the_list() {
    let mut world = World::new(9_301);
    let (alice, bob) = world.friends();
    let laptop = world.linked(alice);
    world.pass(60_000);
    let device = world.of(laptop).device;
    // The home refuses for a while.
    world.lie = Some(Box::new(|who, response| {
        if who == 0 && matches!(response.body, Some(ResponseBody::Done(_))) {
            let refused = Refused { reason: Refusal::RateLimited.into(), retry_after_ms: 1_000, work_bits: 0 };
            response.body = Some(ResponseBody::Refused(refused));
        }
    }));
    let refused = remove(&mut world, alice, device).unwrap_err();
    let pending = |error: &NodeError| matches!(error, NodeError::Unreachable(Unreachable::DeviceChangePending { .. }));
    assert!(pending(&refused), "{refused}");
    // What was begun is gone on with, by itself and after a restart.
    world.kill(alice);
    world.lie = None;
    world.start(alice);
    world.pass(120_000);
    assert_eq!(world.contact(bob, alice).unwrap().devices.len(), 1);
    world.say(bob, alice, "not for the lost one");
    world.pass(HOUR);
    assert!(texts(&mut world, laptop, bob).is_empty());
}

#[test]
fn two_removals_in_one_second_both_stand() {
    let mut world = World::new(9_302);
    let (alice, _) = world.friends();
    let others: Vec<Who> = (0..3)
        .map(|_| {
            let who = world.linked(alice);
            world.pass(60_000);
            who
        })
        .collect();
    let [second, third, fourth] = [others[0], others[1], others[2]];
    let (device_a, device_b) = (world.of(third).device, world.of(fourth).device);
    let mut one = world.begin(alice, |reply| AccountCommand::RemoveDevice(device_a, reply));
    let mut other = world.begin(second, |reply| AccountCommand::RemoveDevice(device_b, reply));
    world.all_at_once(alice);
    world.all_at_once(second);
    let mut done = [false, false];
    while done != [true, true] {
        assert!(world.step(), "no answer");
        for (waits, (done, who)) in [&mut one, &mut other].into_iter().zip(done.iter_mut().zip([alice, second])) {
            if !*done && let Ok(answer) = waits.try_recv() {
                answer.unwrap();
                *done = true;
                // The second remover does not live on.
                if who == second {
                    world.kill(second);
                }
            }
        }
    }
    world.pass(120_000);
    world.start(second);
    world.pass(120_000);
    for who in [alice, second] {
        assert_eq!(world.call(who, AccountCommand::Devices).unwrap().len(), 2, "{who}");
    }
}

#[test]
fn what_everybody_has_is_gone_from_the_server_within_a_minute() {
    for (seed, restarts) in [(0, false), (1, true), (2, true)] {
        let mut world = World::new(9_400 + seed);
        let (alice, bob) = world.friends();
        world.pass(60_000);
        let before = world.entries_at_server();
        world.direct = false;
        world.kill(alice);
        // More than enough for several epochs, and some in each.
        for n in 0..700 {
            world.say(bob, alice, &n.to_string());
            if restarts && n % 200 == 100 {
                world.kill(bob);
                world.start(bob);
            }
            if n % 50 == 0 {
                world.pass(3_000);
            }
        }
        world.pass(60_000);
        assert!(world.entries_at_server() >= 700);
        if restarts {
            // He is away when she fetches them, and the server starts again.
            world.kill(bob);
            world.stop_server();
            world.start_server();
        }
        world.start(alice);
        world.pass(60_000);
        if restarts {
            world.start(bob);
            world.pass(60_000);
        }
        assert_eq!(world.messages(alice, bob).len(), 700);
        let after = world.entries_at_server();
        // A commit for each epoch, until their logs expire.
        assert!(after <= before + 4, "seed {seed}: {before} before, {after} after");
    }
}

#[test]
fn entries_whose_answer_was_lost_are_gone_in_the_end() {
    for seed in 0..6 {
        let mut world = World::new(9_500 + seed);
        let (alice, bob) = world.friends();
        let laptop = world.linked(alice);
        world.pass(60_000);
        let before = world.entries_at_server();
        world.kill(alice);
        world.kill(laptop);
        for n in 0..30 {
            world.say(bob, alice, &n.to_string());
            for _ in 0..world.one_of(6) {
                world.step();
            }
            match world.one_of(4) {
                0 => {
                    world.stop_server();
                    world.start_server();
                }
                1 => {
                    world.kill(bob);
                    world.start(bob);
                }
                _ => world.pass(2_500),
            }
        }
        world.start(alice);
        world.pass(20_000);
        world.stop_server();
        world.start_server();
        world.start(laptop);
        world.pass(180_000);
        let after = world.entries_at_server();
        assert!(after <= before + 4, "seed {seed}: {before} before, {after} after");
        for who in [alice, laptop] {
            assert_eq!(world.messages(who, bob).len(), 30, "seed {seed}");
        }
    }
}

#[test]
fn a_server_that_was_a_home_learns_where_we_are_though_we_are_killed_at_once() {
    let mut world = World::new(9_600);
    let (alice, bob) = world.friends();
    // The world has one server; the other home is never there.
    let elsewhere = world.home.to_string().replace("/udp/1/", "/udp/2/");
    let other = format!("{}{}", &elsewhere[..elsewhere.rfind('/').unwrap() + 1], world.other_peer());
    let homes = vec![other.parse().unwrap()];
    world.stop_server();
    world.call(alice, |reply| AccountCommand::SetHomes { homes, token: String::new(), reply }).unwrap();
    world.kill(alice);
    world.kill(bob);
    world.start(alice);
    world.start_server();
    world.pass(60_000);
    assert_eq!(world.homes_at_server(alice), [other]);
}
