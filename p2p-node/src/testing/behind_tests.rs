//! What stands in a log behind the commit that has won there counts for nobody, whenever it is read, and its author writes it again.
#![allow(clippy::unwrap_used, reason = "tests")]

use bytes::Bytes;
use starling_wire::{Batch, Body, Event, EventId, LogContent, LogVerb, Text, rendezvous::LogRequest};

use super::{
    liar::{Liar, Shown},
    world::{Who, World},
};
use crate::{
    api::types::{ChatId, DeliveryState},
    conversation::group::{GroupId, LogKeys},
    engine::GroupCommand,
    home::Pending,
};

/// A message that a modified program has encrypted for the log of an epoch, and has not sent.
struct KeptBack {
    id: GroupId,
    keys: LogKeys,
    message: Bytes,
}

/// Somebody encrypts a message in the current epoch of a group, with the next number, and keeps it back.
fn keep_back(world: &mut World, who: Who, chat: ChatId, text: &str) -> KeptBack {
    let mut kept = None;
    world.begin_modified(who, |engine, turn| {
        let (mls, now) = (engine.mls.clone(), turn.agreed_ms());
        let id = engine.active_group(chat).unwrap();
        let sequence = engine.conversations.chats.get(&chat).unwrap().row.last_sequence + 1;
        let clock = engine.counters.clock.tick(now);
        let event = Event {
            id: EventId { clock, device: engine.account.device().tag(), sequence },
            body: Body::Text(Text { text: text.into(), ..Text::default() }),
        };
        let batch = Batch { events: vec![event], ..Batch::default() }.encode();
        let mut group = engine.conversations.open(turn, &mls, id).unwrap().unwrap();
        let (message, keys) = (group.encrypt(&batch).unwrap(), group.entry.current_keys().unwrap());
        engine.conversations.groups.touch(id);
        kept = Some(KeptBack { id, keys, message });
    });
    kept.unwrap()
}

/// It sends it now, wherever the group is.
fn send(world: &mut World, who: Who, KeptBack { id, keys, message }: KeptBack) {
    world.modified(who, |engine, turn| {
        let home = engine.conversations.groups.home_of(id).unwrap();
        let entries = vec![keys.seal_entry(&LogContent::Message(message).to_bytes())];
        let request = LogRequest { entries, insist: true, ..LogRequest::default() };
        assert!(engine.homes.request_log(turn, home, &keys, LogVerb::Append, request, Pending::Nothing));
    });
}

fn set_topic(world: &mut World, who: Who, chat: ChatId, topic: &str) {
    let topic = topic.to_owned();
    world.call(who, |reply| GroupCommand::SetTopic { chat, topic, reply }).unwrap();
    world.pass(10_000);
}

/// Those who were there have left the log when the message comes into it, and carol reads it whole: none of them has what another has not.
#[test]
fn what_is_appended_behind_a_commit_counts_for_nobody_whenever_it_is_read() {
    for epochs in 1..=3 {
        let mut world = World::new(5_900 + epochs);
        let people = world.company(4);
        let (alice, bob, carol, mallory) = (people[0], people[1], people[2], people[3]);
        let chat = world.group_of(&people);
        world.pass(60_000);
        world.kill(carol);
        let kept = keep_back(&mut world, mallory, chat, "behind");
        for n in 0..epochs {
            set_topic(&mut world, alice, chat, &format!("topic {n}"));
        }
        send(&mut world, mallory, kept);
        world.pass(10_000);
        world.start(carol);
        world.pass(60_000);
        for who in [alice, bob, carol] {
            assert!(world.texts_in(who, chat).is_empty(), "{who}, after {epochs} epochs");
        }
        // The number was not taken by anybody.
        world.say_in(mallory, chat, "in time").unwrap();
        world.pass(10_000);
        for who in [alice, bob, carol, mallory] {
            assert_eq!(world.texts_in(who, chat), ["in time"], "{who}, after {epochs} epochs");
        }
    }
}

/// Bob's home keeps from him what others have written, and says that it has taken what he writes.
#[test]
fn what_a_home_has_taken_behind_a_commit_that_it_kept_back_is_written_again() {
    let mut world = World::new(5_910);
    world.liar = Some(Liar::new(1, |_| Shown::Now));
    let people = world.company(3);
    let (alice, bob, carol) = (people[0], people[1], people[2]);
    let chat = world.group_of(&people);
    world.pass(60_000);
    // Nor does a member tell him.
    world.direct = false;
    world.pass(5_000);
    world.liar.as_mut().unwrap().shows(move |s| if s.reader == bob { Shown::Later } else { Shown::Now });
    set_topic(&mut world, alice, chat, "other");
    assert_ne!(world.epoch_in(bob, chat), world.epoch_in(alice, chat));
    world.say_in(bob, chat, "late").unwrap();
    world.pass(10_000);
    world.liar.as_mut().unwrap().relent();
    world.say_in(alice, chat, "go on").unwrap();
    world.pass(60_000);
    for who in people {
        assert_eq!(world.texts_in(who, chat), ["late", "go on"], "{who}");
    }
    assert_eq!(world.epoch_in(bob, chat), world.epoch_in(carol, chat));
    assert!(world.messages_in(bob, chat).iter().all(|message| message.state != DeliveryState::Failed));
}
