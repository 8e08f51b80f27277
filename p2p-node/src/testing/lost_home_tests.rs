//! Homes that die: an account with two loses nothing, whichever dies, and in whatever order.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};

use starling_keys::AccountKey;
use starling_wire::rendezvous::{Refusal, Refused, Response, ResponseBody};

use super::{
    epoch_tests::group,
    servers::At,
    world::{Treatment, Who, World},
};
use crate::{
    Origin,
    api::types::{ContactState, DeliveryState},
    conversation::limits::MAX_GROUPS_PER_CHAT,
    engine::ContactCommand,
    home::limits::{HOME_LOST_AFTER_MS, HOME_LOST_LONG_MS, SLOW_HOME_LOST_AFTER_MS},
    mls::GroupId,
    net::NetEvent,
};

/// Within this time something that waits for a home that has died is stored at another.
const MOVED_MS: u64 = HOME_LOST_AFTER_MS + 1_000;

/// Two contacts with the same two homes, in different orders if `crossed`, who are never connected with each other. The log is at the first one of
/// Bob's.
fn apart(seed: u64, crossed: bool) -> (World, Who, Who) {
    let mut world = World::new(seed);
    world.add_server();
    world.direct = false;
    let alice = world.person_at("alice", &[0, 1]);
    let bob = world.person_at("bob", if crossed { &[1, 0] } else { &[0, 1] });
    let invite = world.invite(alice);
    let mut added = world.add(bob, &invite);
    world.pass(5_000);
    added.try_recv().expect("no answer").unwrap();
    world.pass(60_000);
    (world, alice, bob)
}

/// Where the log is that somebody writes into.
fn log_home(world: &mut World, who: Who, other: Who) -> At {
    let id = group(world, who, other);
    let home = world.engine(who).conversations.groups.home_of(id).unwrap();
    world.servers.iter().position(|server| server.address.peer == home).unwrap()
}

/// The groups that somebody has of the conversation with another.
fn groups(world: &World, who: Who, other: Who) -> BTreeSet<GroupId> {
    let chat = world.chat_id(who, other);
    let row = &world.engine(who).conversations.chats.get(&chat).unwrap().row;
    row.groups.iter().map(|id| GroupId::try_from(id.as_slice()).unwrap()).collect()
}

fn state(world: &mut World, who: Who, other: Who, text: &str) -> DeliveryState {
    world.messages(who, other).into_iter().find(|message| message.text == text).unwrap().state
}

/// What somebody has of another, in order and as often as it is there.
fn received(world: &mut World, who: Who, other: Who) -> Vec<String> {
    world.messages(who, other).into_iter().filter(|message| !message.own).map(|message| message.text).collect()
}

/// Both write, and have it; both write in one group.
fn go_on(world: &mut World, alice: Who, bob: Who) {
    for (n, (who, other)) in [(alice, bob), (bob, alice), (alice, bob)].into_iter().enumerate() {
        let text = format!("going on {n} at {}", world.now.steady_ms);
        world.say(who, other, &text);
        world.pass(30_000);
        assert_eq!(received(world, other, who).iter().filter(|had| **had == text).count(), 1, "{text}");
    }
    assert_eq!(group(world, alice, bob), group(world, bob, alice));
    for (who, other) in [(alice, bob), (bob, alice)] {
        let mut seen = BTreeMap::<String, u32>::new();
        received(world, who, other).into_iter().for_each(|text| *seen.entry(text).or_default() += 1);
        assert!(seen.values().all(|times| *times == 1), "{seen:?}");
    }
}

#[test]
fn what_waits_for_a_home_that_has_died_is_stored_at_the_other_and_what_it_had_follows() {
    for seed in 0..4 {
        let (mut world, alice, bob) = apart(5_000 + seed, seed % 2 == 1);
        let lost = log_home(&mut world, bob, alice);
        world.kill(alice);
        world.say(bob, alice, "stored");
        world.pass(5_000);
        assert_eq!(state(&mut world, bob, alice, "stored"), DeliveryState::Sent);
        world.kill_server(lost);
        world.say(bob, alice, "waits");
        world.pass(HOME_LOST_AFTER_MS - 100);
        assert_eq!(state(&mut world, bob, alice, "waits"), DeliveryState::Queued);
        world.pass(1_100);
        assert_eq!(state(&mut world, bob, alice, "waits"), DeliveryState::Sent);
        assert_ne!(log_home(&mut world, bob, alice), lost);
        // It is there though Bob is gone when she comes.
        world.kill(bob);
        world.start(alice);
        world.pass(20_000);
        assert_eq!(received(&mut world, alice, bob), ["stored", "waits"]);
        world.start(bob);
        world.pass(20_000);
        assert_eq!(state(&mut world, bob, alice, "stored"), DeliveryState::Delivered);
        world.revive_server(lost);
        world.pass(60_000);
        go_on(&mut world, alice, bob);
    }
}

#[test]
fn what_a_dead_home_has_stored_is_sent_again_by_the_other_though_nothing_new_is_written() {
    let (mut world, alice, bob) = apart(5_010, false);
    world.kill(alice);
    world.say(bob, alice, "stored");
    world.pass(5_000);
    let before = group(&mut world, bob, alice);
    world.kill_server(0);
    world.pass(HOME_LOST_LONG_MS - 1_000);
    assert_eq!(group(&mut world, bob, alice), before, "a server that is back soon has it still");
    world.pass(3_000);
    assert_eq!(log_home(&mut world, bob, alice), 1);
    world.kill(bob);
    world.start(alice);
    world.pass(10_000);
    assert_eq!(received(&mut world, alice, bob), ["stored"]);
}

#[test]
fn a_device_made_from_the_phrase_waits_for_the_home_that_has_the_contacts() {
    let (mut world, alice, bob) = apart(5_015, false);
    world.kill(alice);
    world.kill_server(0);
    let root = AccountKey::from_seed(&world.phrases[&world.people[alice].account].seed());
    let homes = world.servers.iter().map(|server| server.address.clone()).collect();
    let restored = world.profile_at("alice", Origin::Restored(root), homes);
    world.pass(20_000);
    world.revive_server(0);
    world.pass(60_000);
    assert!(world.knows(restored, bob));
    assert!(!world.has_root(restored));
}

#[test]
fn nothing_moves_for_a_home_without_logs_or_one_that_is_back_soon_or_while_nothing_waits() {
    let (mut world, alice, bob) = apart(5_020, false);
    let before = group(&mut world, bob, alice);
    world.kill(alice);
    world.kill_server(1);
    world.say(bob, alice, "by the first");
    world.pass(600_000);
    world.revive_server(1);
    world.pass(60_000);
    for _ in 0..5 {
        world.kill_server(0);
        world.say(bob, alice, "waits");
        world.pass(HOME_LOST_AFTER_MS - 1_000);
        world.revive_server(0);
        world.pass(1_000);
    }
    world.start(alice);
    world.pass(60_000);
    assert_eq!(received(&mut world, alice, bob).len(), 6);
    world.kill_server(0);
    world.pass(3_600_000);
    assert_eq!(groups(&world, bob, alice), [before].into());
    assert_eq!(groups(&world, alice, bob), [before].into());
}

#[test]
fn a_home_that_says_that_it_is_restarted_is_waited_for_as_long_as_it_says() {
    let (mut world, alice, bob) = apart(5_140, false);
    let before = group(&mut world, bob, alice);
    world.kill(alice);
    let home = world.servers[0].address.peer;
    // Its clients are to come after 10 to 20 s.
    let restart = |world: &mut World, text: &str| {
        let drain = Response { id: 0, body: Some(ResponseBody::Drain(10_000)) };
        world.tell(bob, NetEvent::Home(home, drain));
        world.settle();
        world.kill_server(0);
        world.say(bob, alice, text);
        world.pass(20_000 + HOME_LOST_AFTER_MS - 500);
        assert_eq!(state(world, bob, alice, text), DeliveryState::Queued);
    };
    restart(&mut world, "to the same");
    world.revive_server(0);
    world.pass(1_000);
    assert_eq!(state(&mut world, bob, alice, "to the same"), DeliveryState::Sent);
    assert_eq!(groups(&world, bob, alice), [before].into());
    restart(&mut world, "it does not come");
    world.pass(MOVED_MS);
    assert_eq!(state(&mut world, bob, alice, "it does not come"), DeliveryState::Sent);
    assert_eq!(log_home(&mut world, bob, alice), 1);
}

#[test]
fn a_home_that_does_not_answer_at_all_is_lost_at_once_and_one_that_is_slow_after_some_seconds() {
    for (seed, is_slow) in [(0, false), (1, true)] {
        let (mut world, alice, bob) = apart(5_150 + seed, false);
        world.kill(alice);
        world.treats = Some(Box::new(|at, _| (at == 0).then_some(Treatment::Silence)));
        world.say(bob, alice, "waits");
        world.settle();
        let home = world.servers[0].address.peer;
        world.tell(bob, if is_slow { NetEvent::HomeSlow(home, true) } else { NetEvent::HomeSilent(home, true) });
        if is_slow {
            world.pass(SLOW_HOME_LOST_AFTER_MS - 100);
            assert_eq!(state(&mut world, bob, alice, "waits"), DeliveryState::Queued);
            assert_eq!(log_home(&mut world, bob, alice), 0);
        }
        world.pass(1_100);
        assert_eq!(state(&mut world, bob, alice, "waits"), DeliveryState::Sent);
        assert_eq!(log_home(&mut world, bob, alice), 1);
    }
}

#[test]
fn our_own_network_that_is_gone_is_no_dead_home() {
    let (mut world, alice, bob) = apart(5_030, false);
    let before = group(&mut world, bob, alice);
    world.kill(alice);
    for at in [0, 1] {
        world.kill_server(at);
        world.pass(3_000);
    }
    world.say(bob, alice, "waits");
    world.pass(600_000);
    // The second is there before the first.
    world.revive_server(1);
    world.pass(HOME_LOST_AFTER_MS - 500);
    world.revive_server(0);
    world.pass(60_000);
    assert_eq!(groups(&world, bob, alice), [before].into());
    world.start(alice);
    world.pass(10_000);
    assert_eq!(received(&mut world, alice, bob), ["waits"]);
}

#[test]
fn homes_may_die_in_turn() {
    for seed in 0..4 {
        let (mut world, alice, bob) = apart(5_040 + seed, seed % 2 == 1);
        world.kill(alice);
        let mut texts = Vec::new();
        for n in 0..4 {
            let lost = log_home(&mut world, bob, alice);
            world.kill_server(lost);
            for part in ["first", "second"] {
                let text = format!("{part} {n}");
                world.say(bob, alice, &text);
                world.pass(MOVED_MS / 2 + 500);
                texts.push(text);
            }
            // A conversation that has moved lately waits a while for the next time.
            world.pass(300_000);
            assert_eq!(state(&mut world, bob, alice, &format!("second {n}")), DeliveryState::Sent, "seed {seed}, {n}");
            world.revive_server(lost);
            world.pass(30_000);
        }
        // Those that are there last have all.
        world.kill(bob);
        world.start(alice);
        world.pass(30_000);
        assert_eq!(received(&mut world, alice, bob), texts, "seed {seed}");
        world.start(bob);
        world.pass(30_000);
        go_on(&mut world, alice, bob);
    }
}

#[test]
fn both_sides_that_move_at_the_same_moment_end_in_one_group() {
    for seed in 0..8 {
        let (mut world, alice, bob) = apart(5_050 + seed, seed % 2 == 1);
        let before = group(&mut world, bob, alice);
        let lost = log_home(&mut world, bob, alice);
        world.kill_server(lost);
        for n in 0..3 {
            world.say(alice, bob, &format!("alice {n}"));
            world.say(bob, alice, &format!("bob {n}"));
        }
        world.pass(30_000);
        assert_eq!(received(&mut world, alice, bob), ["bob 0", "bob 1", "bob 2"], "seed {seed}");
        assert_eq!(received(&mut world, bob, alice), ["alice 0", "alice 1", "alice 2"], "seed {seed}");
        go_on(&mut world, alice, bob);
        world.revive_server(lost);
        world.pass(600_000);
        go_on(&mut world, alice, bob);
        assert_ne!(group(&mut world, bob, alice), before, "what was given up stays given up");
        assert!(groups(&world, bob, alice).len() <= 3, "seed {seed}");
    }
}

#[test]
fn several_devices_of_both_sides_end_in_one_group() {
    for seed in 0..2 {
        let (mut world, alice, bob) = apart(5_060 + seed, false);
        world.direct = true;
        let (laptop, phone) = (world.linked(alice), world.linked(bob));
        world.pass(60_000);
        world.kill_server(0);
        world.kill(laptop);
        world.kill(phone);
        world.say(alice, bob, "alice");
        world.say(bob, alice, "bob");
        world.pass(60_000);
        for who in [alice, bob] {
            world.kill(who);
        }
        for (who, other, text) in [(laptop, bob, "bob"), (phone, alice, "alice")] {
            world.start(who);
            world.pass(20_000);
            assert_eq!(received(&mut world, who, other), [text], "seed {seed}");
        }
        for who in [alice, bob] {
            world.start(who);
        }
        world.revive_server(0);
        world.pass(60_000);
        go_on(&mut world, alice, bob);
        assert_eq!(group(&mut world, laptop, bob), group(&mut world, phone, alice));
    }
}

#[test]
fn a_sender_that_is_killed_meanwhile_sends_it_by_the_other_home_when_it_starts() {
    for steps in (0..60).step_by(4) {
        let (mut world, alice, bob) = apart(5_070 + steps, false);
        world.kill(alice);
        world.kill_server(0);
        world.say(bob, alice, "waits");
        world.pass(HOME_LOST_AFTER_MS - 1);
        // Somewhere on its way to the other home.
        let end = world.now.steady_ms + 2;
        world.timer(end);
        world.timer(end);
        for _ in 0..steps {
            world.step();
        }
        world.kill(bob);
        world.start(bob);
        world.pass(2 * MOVED_MS + 40_000);
        world.kill(bob);
        world.start(alice);
        world.pass(20_000);
        assert_eq!(received(&mut world, alice, bob), ["waits"], "{steps} steps");
        world.start(bob);
        world.revive_server(0);
        world.pass(60_000);
        go_on(&mut world, alice, bob);
    }
}

#[test]
fn what_others_have_left_at_a_dead_home_is_read_when_it_is_back_though_the_conversation_has_moved() {
    let (mut world, alice, bob) = apart(5_080, false);
    world.kill(bob);
    world.say(alice, bob, "stored, and she goes");
    world.pass(5_000);
    world.kill(alice);
    world.kill_server(0);
    world.start(bob);
    world.say(bob, alice, "waits");
    world.pass(2 * MOVED_MS);
    assert_eq!(log_home(&mut world, bob, alice), 1);
    world.kill(bob);
    world.start(bob);
    world.pass(1_000);
    world.revive_server(0);
    world.pass(10_000);
    assert_eq!(received(&mut world, bob, alice), ["stored, and she goes"]);
    world.start(alice);
    world.pass(60_000);
    go_on(&mut world, alice, bob);
}

#[test]
fn new_contacts_meet_by_either_home() {
    for at in [0, 1] {
        let mut world = World::new(5_090 + at as u64);
        world.add_server();
        world.direct = false;
        let (alice, bob) = (world.person_at("alice", &[0, 1]), world.person_at("bob", &[0, 1]));
        world.pass(10_000);
        let invite = world.invite(alice);
        world.pass(5_000);
        world.kill_server(at);
        let mut added = world.add(bob, &invite);
        world.pass(20_000);
        added.try_recv().expect("no answer").unwrap();
        assert_eq!(world.contact(bob, alice).unwrap().state, ContactState::Active);
        world.say(bob, alice, "to you");
        world.say(alice, bob, "and to you");
        world.pass(30_000);
        world.revive_server(at);
        world.pass(60_000);
        go_on(&mut world, alice, bob);
    }
}

#[test]
fn a_request_that_waits_for_an_inbox_at_a_home_that_has_died_goes_to_the_other() {
    let mut world = World::new(5_100);
    world.add_server();
    world.direct = false;
    let (alice, bob) = (world.person_at("alice", &[0, 1]), world.person_at("bob", &[1]));
    world.pass(10_000);
    let mut invite = world.invite(alice);
    invite.token = None;
    // The first home takes no inbox items before it dies.
    world.swallows_items = true;
    let mut added = world.add(bob, &invite);
    world.pass(2_000);
    added.try_recv().expect("no answer").unwrap();
    world.kill_server(0);
    world.swallows_items = false;
    world.pass(MOVED_MS);
    let account = world.of(bob).account;
    let requests = world.call(alice, ContactCommand::Requests).unwrap();
    assert_eq!(requests.iter().filter(|request| request.account == account).count(), 1);
    world.call(alice, |reply| ContactCommand::Accept(account, reply)).unwrap();
    world.pass(30_000);
    world.revive_server(0);
    world.pass(60_000);
    assert!(world.call(alice, ContactCommand::Requests).unwrap().is_empty());
    go_on(&mut world, alice, bob);
}

#[test]
fn an_invitation_that_a_home_has_taken_before_it_died_is_left_at_the_other() {
    for (seed, restarts) in [(0, false), (1, true)] {
        let mut world = World::new(5_120 + seed);
        world.add_server();
        world.direct = false;
        let (alice, bob) = (world.person_at("alice", &[0, 1]), world.person_at("bob", &[1]));
        world.pass(10_000);
        let invite = world.invite(alice);
        world.pass(5_000);
        world.kill(alice);
        let mut added = world.add(bob, &invite);
        world.pass(5_000);
        added.try_recv().expect("no answer").unwrap();
        world.say(bob, alice, "to you");
        world.pass(5_000);
        world.kill_server(0);
        if restarts {
            world.kill(bob);
            world.start(bob);
        }
        world.pass(HOME_LOST_AFTER_MS + HOME_LOST_LONG_MS + 1_000);
        world.kill(bob);
        world.start(alice);
        world.pass(20_000);
        assert_eq!(received(&mut world, alice, bob), ["to you"]);
        world.start(bob);
        world.revive_server(0);
        world.pass(60_000);
        assert!(world.call(alice, ContactCommand::Requests).unwrap().is_empty());
        go_on(&mut world, alice, bob);
        assert_eq!(groups(&world, bob, alice).len(), 1);
    }
}

#[test]
fn a_home_that_does_not_know_a_contact_is_not_the_last_word() {
    let mut world = World::new(5_130);
    world.add_server();
    let (alice, bob) = (world.person_at("alice", &[0, 1]), world.person_at("bob", &[1]));
    world.pass(10_000);
    let invite = world.invite(alice);
    world.pass(5_000);
    world.lie = Some(Box::new(move |who, response| {
        if who == bob && matches!(response.body, Some(ResponseBody::DeviceList(_))) {
            response.body =
                Some(ResponseBody::Refused(Refused { reason: Refusal::NotFound.into(), ..Refused::default() }));
        }
    }));
    let mut added = world.add(bob, &invite);
    world.pass(5_000);
    added.try_recv().expect("no answer").unwrap();
    assert_eq!(world.contact(alice, bob).unwrap().state, ContactState::Active);
}

#[test]
fn homes_that_come_and_go_make_few_groups() {
    let (mut world, alice, bob) = apart(5_110, false);
    world.kill(alice);
    let mut seen = groups(&world, bob, alice);
    let mut texts = Vec::new();
    for n in 0..180 {
        // Each for long enough to be taken for lost.
        let lost = n % 2;
        world.kill_server(lost);
        texts.push(format!("{n}"));
        world.say(bob, alice, &texts[n]);
        world.pass(15_000);
        world.revive_server(lost);
        world.pass(5_000);
        seen.extend(groups(&world, bob, alice));
    }
    // An hour of that.
    assert!((2..=10).contains(&seen.len()), "{} groups", seen.len());
    assert!(groups(&world, bob, alice).len() <= MAX_GROUPS_PER_CHAT);
    world.start(alice);
    world.pass(600_000);
    assert_eq!(received(&mut world, alice, bob), texts);
    go_on(&mut world, alice, bob);
}

/// Two people whose homes die and come back, at random; who come and go, too.
struct Dying {
    world: World,
    people: [Who; 2],
    written: [Vec<String>; 2],
}

impl Dying {
    fn step(&mut self) {
        let side = self.world.one_of(2);
        let (who, other) = (self.people[side], self.people[1 - side]);
        match self.world.one_of(12) {
            0 | 1 => {
                let at = self.world.one_of(2);
                if self.world.runs(at) { self.world.kill_server(at) } else { self.world.revive_server(at) }
            }
            2 if self.world.is_running(who) => self.world.kill(who),
            2 => self.world.start(who),
            3 => self.world.direct = !self.world.direct,
            4..=6 => {
                let ms = [100, 5_000, 12_000, 40_000, 90_000, 3_600_000][self.world.one_of(6)];
                self.world.pass(ms);
            }
            7 | 8 => {
                for _ in 0..self.world.one_of(40) {
                    self.world.step();
                }
            }
            _ if self.world.is_running(who) => {
                let text = format!("{who}-{}", self.written[side].len());
                self.world.say(who, other, &text);
                self.written[side].push(text);
            }
            _ => {}
        }
    }
}

pub fn story(seed: u64) {
    let (world, alice, bob) = apart(5_200 + seed, seed % 2 == 1);
    let mut story = Dying { world, people: [alice, bob], written: Default::default() };
    for _ in 0..100 {
        story.step();
    }
    // One of the homes is never back. The time is for what a conversation that has moved often waits before it moves again.
    let Dying { mut world, people, written } = story;
    let lost = world.one_of(2);
    world.kill_server(lost);
    world.revive_server(1 - lost);
    for who in people {
        if !world.is_running(who) {
            world.start(who);
        }
    }
    world.direct = seed.is_multiple_of(3);
    world.pass(4 * 3_600_000);
    for (side, texts) in written.into_iter().enumerate() {
        let (author, reader) = (people[side], people[1 - side]);
        assert_eq!(received(&mut world, reader, author), texts, "seed {seed}: of {side}");
    }
    world.revive_server(lost);
    world.direct = false;
    world.pass(600_000);
    go_on(&mut world, alice, bob);
}

#[test]
fn nothing_is_lost_whichever_homes_die_and_in_whatever_order() {
    let rounds = std::env::var("STARLING_WORLD_ROUNDS").ok().and_then(|r| r.parse().ok()).unwrap_or(12);
    let first: u64 = std::env::var("STARLING_WORLD_FIRST").ok().and_then(|r| r.parse().ok()).unwrap_or(0);
    for seed in first..first + rounds {
        story(seed);
    }
}
