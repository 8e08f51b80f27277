//! Programs of different versions: groups with members whose programs are older, and what a newer program has written.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use starling_wire::{Body, Event, Role, Text};

use super::world::{Who, World};
use crate::{
    api::{
        error::{NodeError, NotAllowed},
        problem::ChatProblem,
        types::{AuditAction, ChatId, GroupSetting, OldProgram, Standing},
    },
    engine::{AccountCommand, ConversationCommand, GroupCommand},
    mls::modified::{formerly, set_older},
    store::{HeldEventRow, Reading as _, UNREADABLE},
};

impl World {
    /// Somebody runs a program of before there were rules in policies, as far as others see it; or updates it.
    fn run_version(&mut self, who: Who, older: bool) {
        set_older(self.of(who).device, older);
        self.kill(who);
        self.start(who);
        self.settle();
    }

    fn outdated(&self, who: Who, chat: ChatId) -> Vec<OldProgram> {
        self.group_seen(who, chat).unwrap().outdated
    }

    fn slow(&mut self, who: Who, chat: ChatId) -> Result<(), NodeError> {
        let settings = vec![(GroupSetting::SlowMode, 5)];
        self.call(who, |reply| GroupCommand::Set { chat, settings, reply })
    }

    fn problem_in(&self, who: Who, chat: ChatId) -> Option<ChatProblem> {
        let engine = self.engine(who);
        let chats = engine.conversations.chat_list(engine.directory());
        chats.into_iter().find(|found| found.id == chat).and_then(|found| found.problem)
    }

    fn has_rules(&self, who: Who, chat: ChatId) -> bool {
        self.group_seen(who, chat).unwrap().rules.is_some()
    }
}

/// What somebody reads of the conversation with another.
fn texts(world: &mut World, who: Who, other: Who) -> Vec<String> {
    world.messages(who, other).into_iter().map(|message| message.text).collect()
}

/// A group of an older version, whose members all have older programs.
fn old_group(world: &mut World, count: usize) -> (Vec<Who>, ChatId) {
    let people = world.company(count);
    for who in &people {
        world.run_version(*who, true);
    }
    world.pass(5_000);
    let chat = formerly(|| world.group_of(&people));
    (people, chat)
}

#[test]
fn a_group_is_raised_by_itself_once_the_last_program_in_it_is_updated() {
    let mut world = World::new(1);
    let (people, chat) = old_group(&mut world, 3);
    assert_eq!(world.standing(people[2], chat), Some(Standing::Member));
    world.wish_role(people[0], chat, people[1], Role::Admin).unwrap();
    world.pass(10_000);
    for who in &people[..2] {
        world.run_version(*who, false);
    }
    world.pass(30_000);
    let last = (world.of(people[2]).account, world.of(people[2]).device);
    for who in &people[..2] {
        assert!(!world.has_rules(*who, chat));
        let outdated = world.outdated(*who, chat);
        assert_eq!(outdated.iter().map(|old| (old.account, old.device)).collect::<Vec<_>>(), [last], "{who}");
        let Err(NodeError::NotAllowed(NotAllowed::OldPrograms(named))) = world.slow(*who, chat) else {
            panic!("not refused")
        };
        assert_eq!(named, outdated);
    }
    // Meanwhile all goes on.
    for (n, who) in people.iter().enumerate() {
        world.say_in(*who, chat, &format!("from {n}")).unwrap();
        world.pass(5_000);
    }
    world.run_version(people[2], false);
    world.pass(60_000);
    for who in &people {
        assert!(world.has_rules(*who, chat) && world.outdated(*who, chat).is_empty(), "{who}");
        assert_eq!(world.texts_in(*who, chat), ["from 0", "from 1", "from 2"]);
        let log = world.call(*who, |reply| GroupCommand::Audit(chat, reply)).unwrap();
        let actions: Vec<AuditAction> = log.entries.into_iter().map(|entry| entry.action).collect();
        assert_eq!((actions, log.missing), (vec![AuditAction::Raised], 0), "{who}");
        assert_eq!(world.epoch_in(*who, chat), world.epoch_in(people[0], chat));
    }
    assert_eq!(world.group_seen(people[2], chat).unwrap().members.len(), 3);
    world.slow(people[1], chat).unwrap();
    world.pass(10_000);
    let rules = world.group_seen(people[2], chat).unwrap().rules.unwrap();
    assert_eq!((rules.slow_mode, rules.audit.count), (5, 2));
}

#[test]
fn what_takes_rules_waits_for_them_where_all_programs_are_new() {
    let mut world = World::new(2);
    let (people, chat) = old_group(&mut world, 2);
    for who in &people {
        world.run_version(*who, false);
    }
    // Before anybody had time to raise the group, or after it.
    let mut noted = world.slow(people[0], chat);
    for _ in 0..100 {
        if noted.is_ok() {
            break;
        }
        world.pass(500);
        noted = world.slow(people[0], chat);
    }
    noted.unwrap();
    world.pass(30_000);
    for who in &people {
        assert_eq!(world.group_seen(*who, chat).unwrap().rules.map(|rules| rules.slow_mode), Some(5), "{who}");
    }
}

#[test]
fn whoever_dies_while_it_raises_a_group_has_not_raised_another() {
    for seed in 3..11 {
        let mut world = World::new(seed);
        let (people, chat) = old_group(&mut world, 3);
        for who in &people {
            world.run_version(*who, false);
        }
        for round in 0..40 {
            world.pass(250);
            let victim = people[round % 3];
            if round % 4 == 0 {
                world.kill(victim);
                world.start(victim);
            }
        }
        world.pass(120_000);
        let log = world.call(people[0], |reply| GroupCommand::Audit(chat, reply)).unwrap();
        assert_eq!(log.entries.iter().filter(|entry| entry.action == AuditAction::Raised).count(), 1, "seed {seed}");
        for who in &people {
            assert_eq!(world.epoch_in(*who, chat), world.epoch_in(people[0], chat), "seed {seed}, {who}");
            assert_eq!(world.call(*who, |reply| GroupCommand::Audit(chat, reply)).unwrap(), log, "seed {seed}, {who}");
        }
    }
}

#[test]
fn an_older_program_that_is_invited_is_named_until_it_has_come() {
    let mut world = World::new(12);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.run_version(bob, true);
    world.befriend(alice, bob);
    let chat = world.found(alice, &[bob]);
    world.pass(10_000);
    let device = world.of(bob).device;
    assert_eq!(world.outdated(alice, chat).iter().map(|old| old.device).collect::<Vec<_>>(), [device]);
    assert!(world.has_rules(alice, chat));
    // The same device comes in by itself after the update.
    world.run_version(bob, false);
    world.pass(30_000);
    assert!(world.outdated(alice, chat).is_empty(), "its leaf says so where they write to each other");
    world.accept(bob, chat).unwrap();
    world.pass(30_000);
    assert_eq!(world.standing(bob, chat), Some(Standing::Member));
}

/// Somebody's program is updated, and knows the one event that it has kept: as a message that says this.
fn update(world: &mut World, who: Who, says: &str) {
    let store = world.store(who);
    world.kill(who);
    let txn = store.begin().unwrap();
    let (mut rows, text) = (Vec::new(), Text { text: says.into(), ..Text::default() });
    txn.each::<HeldEventRow>(UNREADABLE, |key, row| {
        rows.push((key.to_vec(), row?));
        Ok(())
    })
    .unwrap();
    assert_eq!(rows.len(), 1);
    for (key, row) in rows {
        let body = Event::encode_body(&Body::Text(text.clone()));
        txn.put(UNREADABLE, &key, &HeldEventRow { body, ..row }).unwrap();
    }
    txn.commit().unwrap();
    drop(store);
    world.start(who);
    world.pass(5_000);
}

#[test]
fn an_event_of_a_newer_version_is_kept_and_taken_after_the_update() {
    let mut world = World::new(13);
    let (alice, bob) = world.friends();
    world.say(alice, bob, "before");
    world.pass(5_000);
    let chat = world.chat(bob, alice);
    let of_alice = world.chat(alice, bob);
    world.modified(alice, |engine, turn| {
        let (conversations, mut cx) = engine.conversing();
        // What is said in it no program of today knows.
        conversations.chats.announce(turn, &mut cx, of_alice, Body::Unknown(bytes::Bytes::new()));
    });
    world.pass(10_000);
    world.say(alice, bob, "after");
    world.pass(5_000);
    assert_eq!(texts(&mut world, bob, alice), ["before", "after"]);
    assert_eq!(world.problem_in(bob, chat), Some(ChatProblem::NeedsUpdate));
    world.kill(bob);
    world.start(bob);
    world.pass(5_000);
    assert_eq!(world.problem_in(bob, chat), Some(ChatProblem::NeedsUpdate), "it is kept");
    update(&mut world, bob, "from the future");
    assert_eq!(texts(&mut world, bob, alice), ["before", "from the future", "after"]);
    assert_eq!(world.problem_in(bob, chat), None);
}

/// Somebody writes what no program of today knows.
fn say_unknown(world: &mut World, who: Who, chat: ChatId) {
    world.modified(who, |engine, turn| {
        let (conversations, mut cx) = engine.conversing();
        conversations.chats.announce(turn, &mut cx, chat, Body::Unknown(bytes::Bytes::new()));
    });
    world.pass(10_000);
}

#[test]
fn a_kept_event_is_judged_by_what_its_sender_was_when_it_came() {
    let mut world = World::new(14);
    let people = world.company(3);
    let (alice, bob, carol) = (people[0], people[1], people[2]);
    let chat = world.group_of(&people);
    say_unknown(&mut world, bob, chat);
    assert_eq!(world.problem_in(carol, chat), Some(ChatProblem::NeedsUpdate));
    // Whose program knew it has it from a member.
    world.wish_out(alice, chat, bob).unwrap();
    world.pass(30_000);
    let members = world.group_seen(carol, chat).unwrap().members;
    assert_eq!(members.len(), 2);
    update(&mut world, carol, "from a member");
    assert_eq!(world.texts_in(carol, chat), ["from a member"]);
}

#[test]
fn who_was_a_reader_has_written_nothing_by_a_kept_event() {
    let mut world = World::new(15);
    let people = world.company(3);
    let (alice, bob, carol) = (people[0], people[1], people[2]);
    let chat = world.group_of(&people);
    world.wish_role(alice, chat, bob, Role::Reader).unwrap();
    world.pass(30_000);
    say_unknown(&mut world, bob, chat);
    assert_eq!(world.problem_in(carol, chat), Some(ChatProblem::NeedsUpdate));
    world.wish_role(alice, chat, bob, Role::Admin).unwrap();
    world.pass(30_000);
    update(&mut world, carol, "from an admin of later");
    assert!(world.texts_in(carol, chat).is_empty());
}

#[test]
fn what_a_removed_device_has_written_beyond_its_end_is_not_taken_after_the_update() {
    let mut world = World::new(16);
    let (alice, bob) = world.friends();
    let laptop = world.linked(alice);
    world.pass(10_000);
    world.say(laptop, bob, "before");
    world.pass(5_000);
    let (of_laptop, of_bob) = (world.chat(laptop, bob), world.chat(bob, alice));
    // What it writes now bob has, and nobody else.
    world.stop_server();
    world.apart = [alice].into();
    world.cut(alice, laptop);
    world.cut(alice, bob);
    say_unknown(&mut world, laptop, of_laptop);
    assert_eq!(world.problem_in(bob, of_bob), Some(ChatProblem::NeedsUpdate));
    world.kill(laptop);
    world.start_server();
    world.apart = [].into();
    world.pass(60_000);
    let device = world.of(laptop).device;
    world.call(alice, |reply| AccountCommand::RemoveDevice(device, reply)).unwrap();
    world.pass(60_000);
    update(&mut world, bob, "beyond its end");
    for (who, to) in [(alice, bob), (bob, alice)] {
        assert_eq!(texts(&mut world, who, to), ["before"], "{who}");
    }
}

#[test]
fn what_is_kept_goes_with_the_history_that_its_user_clears() {
    let mut world = World::new(17);
    let (alice, bob) = world.friends();
    let (of_alice, of_bob) = (world.chat(alice, bob), world.chat(bob, alice));
    say_unknown(&mut world, alice, of_alice);
    assert_eq!(world.problem_in(bob, of_bob), Some(ChatProblem::NeedsUpdate));
    world.call(bob, |reply| ConversationCommand::ClearChat(of_bob, reply)).unwrap();
    assert_eq!(world.problem_in(bob, of_bob), None);
    world.kill(bob);
    world.start(bob);
    world.pass(5_000);
    assert_eq!(world.problem_in(bob, of_bob), None);
    world.say(alice, bob, "after");
    world.pass(5_000);
    assert_eq!(texts(&mut world, bob, alice), ["after"]);
}
