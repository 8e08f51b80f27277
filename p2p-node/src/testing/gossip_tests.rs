//! What members of a group pass on to one another: with the log there, and without.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use bytes::Bytes;
use starling_wire::{Batch, Body, Clock, Event, EventId, GossipKey, Role, Text};

use super::world::{Who, World};
use crate::{
    api::types::{
        Audience, ChatId, DeliveryState, DurableEventKind, GroupSetting, Message, MessageId, TransientEvent, Via,
    },
    conversation::gossip::limits::{
        APPEND_FOR_OTHERS_MS, GOSSIP_GRACE_MS, GOSSIP_REPEAT_MS, GROUP_TYPING_EVERY_MS, GROUP_TYPING_MS,
        MAX_GOSSIP_AGAIN,
    },
    engine::{AccountCommand, ConversationCommand, GroupCommand, PresenceCommand},
};

/// A group of so many people, who pass on what is written in it. The first is a contact of each of the others.
fn gossiping(seed: u64, count: usize) -> (World, Vec<Who>, ChatId) {
    let mut world = World::new(seed);
    world.gossip.on = true;
    let people = world.company(count);
    let chat = world.group_of(&people);
    // The topic of the epoch before is left, and who has come is known to all.
    world.pass(2 * GOSSIP_GRACE_MS);
    (world, people, chat)
}

/// The home goes away, and everybody has noticed.
fn lose_home(world: &mut World) {
    world.stop_server();
    world.pass(20_000);
}

/// What everybody comes to see once all is well again, which has to be the same.
fn agreed(world: &mut World, people: &[Who], chat: ChatId) -> Vec<String> {
    world.gossip.half.clear();
    world.heal();
    world.pass(2 * APPEND_FOR_OTHERS_MS);
    let seen = |who: Who| -> Vec<(MessageId, String)> {
        let all = world.messages_in(who, chat);
        assert!(all.iter().all(|m| m.own || m.via == Via::Log), "{who}: something is not final: {all:?}");
        all.into_iter().map(|m| (m.id, m.text)).collect()
    };
    let first = seen(people[0]);
    for who in &people[1..] {
        assert_eq!(seen(*who), first, "{who}");
    }
    for who in people {
        let state = world.engine(*who).conversations.chats.get(&chat).unwrap();
        assert!(state.provisional.is_empty(), "{who}");
    }
    first.into_iter().map(|(_, text)| text).collect()
}

/// A message as somebody sees it.
fn message(world: &World, who: Who, chat: ChatId, text: &str) -> Message {
    let all = world.messages_in(who, chat);
    let mut found: Vec<Message> = all.into_iter().filter(|m| m.text == text).collect();
    assert_eq!(found.len(), 1, "{text} at {who}");
    found.remove(0)
}

#[test]
fn members_go_on_while_the_home_is_away_and_its_log_has_all_of_it_later() {
    let (mut world, people, chat) = gossiping(1, 3);
    let (alice, bob, carol) = (people[0], people[1], people[2]);
    world.say_in(alice, chat, "with the log").unwrap();
    world.pass(5_000);
    assert_eq!(message(&world, carol, chat, "with the log").via, Via::Log);
    lose_home(&mut world);
    // Bob and carol are no contacts.
    world.say_in(bob, chat, "from bob").unwrap();
    world.say_in(carol, chat, "from carol").unwrap();
    world.say_in(alice, chat, "from alice").unwrap();
    world.pass(2_000);
    for who in &people {
        assert_eq!(world.texts_in(*who, chat), ["with the log", "from bob", "from carol", "from alice"], "{who}");
    }
    assert_eq!(message(&world, carol, chat, "from bob").via, Via::Gossip);
    let own = message(&world, bob, chat, "from bob");
    assert_eq!((own.via, own.state), (Via::Own, DeliveryState::Queued), "no log has it");
    // It survives a restart.
    world.kill(carol);
    world.start(carol);
    assert_eq!(world.texts_in(carol, chat), ["with the log", "from bob", "from carol", "from alice"]);
    let texts = agreed(&mut world, &people, chat);
    assert_eq!(texts, ["with the log", "from bob", "from carol", "from alice"]);
    assert_eq!(message(&world, bob, chat, "from bob").state, DeliveryState::Delivered);
    // Each was told of once.
    let told = world.durable_events(alice);
    let new = told.iter().filter(|e| e.kind == DurableEventKind::New && e.chat == Some(chat)).count();
    assert_eq!(new, 4, "{told:?}");
}

/// Those who met again before the loss was noticed gave each other nothing of it.
#[test]
fn what_is_written_before_the_loss_of_the_home_is_noticed_reaches_all() {
    for seed in 20..24 {
        let (mut world, people, chat) = gossiping(seed, 3);
        let carol = people[2];
        // What she writes is lost with her connections to the others and to the home; the others are there again before she knows that this is not.
        world.gossip.half = [carol].into();
        world.pass(1_000);
        let texts = vec![Text { text: "there?".into(), ..Text::default() }];
        let _answer = world.begin(carol, |reply| ConversationCommand::Send { chat, texts, reply });
        world.gossip.half.clear();
        world.meet_on_topics();
        world.stop_server();
        world.pass(40_000);
        for who in &people {
            assert_eq!(world.texts_in(*who, chat), ["there?"], "seed {seed}: {who}");
        }
    }
}

#[test]
fn two_halves_of_the_members_go_on_apart_and_have_one_history_after() {
    let (mut world, people, chat) = gossiping(2, 4);
    lose_home(&mut world);
    world.gossip.half = people[..2].iter().copied().collect();
    world.pass(1_000);
    for round in 0..3 {
        for who in &people {
            world.say_in(*who, chat, &format!("{round} from {who}")).unwrap();
            world.pass(1_000);
        }
    }
    for who in &people {
        assert_eq!(world.texts_in(*who, chat).len(), 6, "{who} sees what its half writes");
    }
    assert_eq!(agreed(&mut world, &people, chat).len(), 12);
}

#[test]
fn what_is_lost_doubled_and_overtaken_is_in_every_history_once() {
    for seed in 0..3 {
        let (mut world, people, chat) = gossiping(10 + seed, 4);
        (world.gossip.lost, world.gossip.doubled, world.gossip.reordered) = (30, 30, true);
        for n in 0..30 {
            if n == 10 {
                lose_home(&mut world);
            }
            if n == 20 {
                world.start_server();
            }
            let who = people[world.one_of(people.len())];
            world.say_in(who, chat, &format!("{n}")).unwrap();
            world.pass(300);
        }
        assert_eq!(agreed(&mut world, &people, chat).len(), 30, "{seed}");
    }
}

#[test]
fn who_comes_while_the_home_is_away_is_given_what_was_written_before() {
    let (mut world, people, chat) = gossiping(3, 3);
    let (alice, bob, carol) = (people[0], people[1], people[2]);
    world.kill(carol);
    lose_home(&mut world);
    world.say_in(alice, chat, "one").unwrap();
    world.say_in(bob, chat, "two").unwrap();
    world.pass(20_000);
    world.start(carol);
    // What gossipsub has passed on a moment ago it does not pass on again.
    world.pass(GOSSIP_REPEAT_MS + 5_000);
    assert_eq!(world.texts_in(carol, chat), ["one", "two"]);
    // Also from somebody who has not written it.
    world.kill(bob);
    world.kill(carol);
    world.start(carol);
    world.pass(20_000);
    assert_eq!(agreed(&mut world, &people, chat), ["one", "two"]);
}

#[test]
fn who_comes_late_is_given_all_that_was_written_also_if_it_is_much() {
    let (mut world, people, chat) = gossiping(21, 3);
    let (alice, bob, carol) = (people[0], people[1], people[2]);
    world.kill(carol);
    lose_home(&mut world);
    let many = MAX_GOSSIP_AGAIN + 6;
    for n in 0..many {
        world.say_in(bob, chat, &format!("{n}")).unwrap();
    }
    world.pass(GOSSIP_REPEAT_MS);
    assert_eq!(world.texts_in(alice, chat).len(), many);
    world.kill(bob);
    world.start(carol);
    world.pass(GOSSIP_REPEAT_MS);
    assert_eq!(world.texts_in(carol, chat).len(), many);
    // Then there is rest.
    world.pass(2 * GOSSIP_REPEAT_MS);
    let published = world.gossip.published.len();
    world.pass(4 * GOSSIP_REPEAT_MS);
    assert_eq!(world.gossip.published.len(), published);
    world.start(bob);
    assert_eq!(agreed(&mut world, &people, chat).len(), many);
}

#[test]
fn any_member_appends_what_its_author_cannot() {
    let (mut world, people, chat) = gossiping(4, 3);
    let (alice, bob, carol) = (people[0], people[1], people[2]);
    lose_home(&mut world);
    world.say_in(bob, chat, "last words").unwrap();
    world.pass(2_000);
    world.kill(bob);
    world.start_server();
    world.pass(APPEND_FOR_OTHERS_MS + 30_000);
    for who in [alice, carol] {
        assert_eq!(message(&world, who, chat, "last words").via, Via::Log, "{who}");
    }
    // Bob finds it in the log.
    world.start(bob);
    world.pass(10_000);
    assert_eq!(message(&world, bob, chat, "last words").state, DeliveryState::Delivered);
    assert_eq!(agreed(&mut world, &people, chat), ["last words"]);
}

#[test]
fn a_neighbour_that_floods_is_not_believed_and_keeps_nobody_from_being_heard() {
    let (mut world, people, chat) = gossiping(5, 3);
    let (alice, bob, carol) = (people[0], people[1], people[2]);
    lose_home(&mut world);
    world.say_in(carol, chat, "before").unwrap();
    world.pass(1_000);
    let (_, topic, envelope) = world.gossip.published.last().cloned().unwrap();
    let (rejected, taken) = (world.gossip.rejected, world.gossip.taken);
    let false_key = GossipKey::from_secret(&[9; 32]);
    for n in 0..500_u64 {
        // What no member has made, what was there before, and what is none of this topic.
        world.bring(bob, alice, topic, false_key.seal(&n.to_be_bytes()).unwrap());
        world.bring(bob, alice, topic, envelope.clone());
        world.bring(bob, alice, false_key.topic(), Bytes::from_static(b"nothing"));
    }
    world.pass(1_000);
    assert_eq!((world.gossip.rejected - rejected, world.gossip.taken - taken), (500, 0));
    world.say_in(carol, chat, "after").unwrap();
    world.pass(1_000);
    assert_eq!(world.texts_in(alice, chat), ["before", "after"]);
    assert_eq!(agreed(&mut world, &people, chat), ["before", "after"]);
}

#[test]
fn what_was_written_in_an_earlier_epoch_is_not_taken_again() {
    let (mut world, people, chat) = gossiping(6, 3);
    let (alice, bob, carol) = (people[0], people[1], people[2]);
    world.say_in(bob, chat, "once").unwrap();
    world.pass(5_000);
    let old = world.gossip.published.last().cloned().unwrap();
    world.wish_role(alice, chat, carol, Role::Admin).unwrap();
    world.pass(5_000);
    let topics = |world: &World, who: Who| world.people[who].topics.clone();
    assert!(topics(&world, carol).contains(&old.1), "the topic before is kept for a time");
    world.pass(2 * GOSSIP_GRACE_MS);
    assert!(!topics(&world, carol).contains(&old.1));
    assert_eq!(topics(&world, carol).len(), 1);
    let taken = world.gossip.taken;
    for topic in [old.1, *topics(&world, carol).first().unwrap()] {
        world.bring(bob, carol, topic, old.2.clone());
    }
    world.pass(1_000);
    assert_eq!(world.gossip.taken, taken);
    assert_eq!(agreed(&mut world, &people, chat), ["once"]);
}

#[test]
fn what_a_removed_member_has_made_is_opened_by_nobody() {
    let (mut world, people, chat) = gossiping(7, 3);
    let (alice, bob, carol) = (people[0], people[1], people[2]);
    // Bob writes where nobody hears him, and is removed meanwhile.
    lose_home(&mut world);
    world.apart.insert(bob);
    world.pass(1_000);
    world.say_in(bob, chat, "kept for later").unwrap();
    let (_, topic, envelope) = world.gossip.published.last().cloned().unwrap();
    world.kill(bob);
    world.start_server();
    world.pass(5_000);
    world.wish_out(alice, chat, bob).unwrap();
    world.pass(5_000);
    for who in [alice, carol] {
        assert!(!world.people[who].topics.contains(&topic), "the topic that he knows was left at once");
    }
    let taken = world.gossip.taken;
    // He brings it himself, and so does somebody who may not have heard.
    world.bring(bob, alice, topic, envelope.clone());
    world.bring(carol, alice, topic, envelope);
    world.pass(1_000);
    assert_eq!(world.gossip.taken, taken);
    assert!(world.texts_in(alice, chat).is_empty());
    world.start(bob);
    world.pass(30_000);
    assert!(world.texts_in(alice, chat).is_empty() && world.texts_in(carol, chat).is_empty());
    // Of what is written now he gets nothing.
    world.apart.clear();
    world.say_in(alice, chat, "without him").unwrap();
    world.pass(5_000);
    assert!(!world.texts_in(bob, chat).contains(&"without him".to_owned()));
}

#[test]
fn what_its_author_may_not_write_any_more_is_not_shown() {
    let (mut world, people, chat) = gossiping(20, 3);
    let (alice, bob, carol) = (people[0], people[1], people[2]);
    lose_home(&mut world);
    world.apart.insert(bob);
    world.pass(1_000);
    world.say_in(bob, chat, "in vain").unwrap();
    let (_, topic, envelope) = world.gossip.published.last().cloned().unwrap();
    world.kill(bob);
    world.start_server();
    world.pass(5_000);
    let settings = vec![(GroupSetting::Post, Role::Admin.rank().into())];
    world.call(alice, |reply| GroupCommand::Set { chat, settings, reply }).unwrap();
    world.pass(5_000);
    // Carol, who may not have heard of that, brings what he wrote before.
    let taken = world.gossip.taken;
    world.bring(carol, alice, topic, envelope);
    world.pass(1_000);
    assert_eq!(world.gossip.taken, taken + 1, "the topic before is kept for a time");
    assert!(world.texts_in(alice, chat).is_empty());
    assert!(world.engine(alice).conversations.chats.get(&chat).unwrap().provisional.is_empty());
}

#[test]
fn of_two_messages_with_one_number_one_is_shown() {
    let (mut world, people, chat) = gossiping(22, 3);
    let (alice, bob) = (people[0], people[1]);
    lose_home(&mut world);
    let mut made = None;
    world.begin_modified(bob, |engine, turn| {
        let (id, mls, now) = (engine.active_group(chat).unwrap(), engine.mls.clone(), turn.agreed_ms());
        let device = engine.account.device().tag();
        let event = |(text, after): (&str, u64)| Event {
            id: EventId { clock: Clock::at(now + after), device, sequence: 1_000 },
            body: Body::Text(Text { text: text.into(), ..Text::default() }),
        };
        let batch = Batch { events: [("this", 0), ("that", 1)].map(event).to_vec(), ..Batch::default() };
        let mut group = engine.conversations.open(turn, &mls, id).unwrap().unwrap();
        let message = group.encrypt(&batch.encode()).unwrap();
        let keys = group.entry.current_keys().unwrap();
        made = keys.gossip.seal(&keys.seal_entry(&message)).map(|envelope| (keys.gossip.topic(), envelope));
    });
    let (topic, envelope) = made.unwrap();
    world.bring(bob, alice, topic, envelope);
    world.pass(1_000);
    assert_eq!(world.texts_in(alice, chat), ["this"]);
}

#[test]
fn a_message_that_does_not_come_to_count_is_marked() {
    let (mut world, people, chat) = gossiping(8, 3);
    let (alice, bob, carol) = (people[0], people[1], people[2]);
    lose_home(&mut world);
    world.say_in(bob, chat, "too late").unwrap();
    world.pass(2_000);
    assert_eq!(message(&world, carol, chat, "too late").state, DeliveryState::Delivered);
    world.kill(bob);
    // He is removed before anybody appends it.
    world.start_server();
    world.pass(3_000);
    world.wish_out(alice, chat, bob).unwrap();
    world.pass(10_000);
    for who in [alice, carol] {
        let shown = message(&world, who, chat, "too late");
        assert_eq!((shown.via, shown.state), (Via::Gossip, DeliveryState::Failed), "{who}");
        let told = world.durable_events(who).into_iter().filter(|e| e.kind == DurableEventKind::State);
        assert!(told.into_iter().any(|e| e.message == Some(shown.id) && e.state == DeliveryState::Failed));
    }
    // It stays so.
    world.pass(2 * APPEND_FOR_OTHERS_MS);
    world.kill(carol);
    world.start(carol);
    world.pass(10_000);
    assert_eq!(message(&world, carol, chat, "too late").state, DeliveryState::Failed);
    // Nothing of it takes the place of what others pass on.
    assert_eq!(world.engine(carol).conversations.gossip_kept(&chat), 0);
}

#[test]
fn a_message_whose_epoch_has_ended_counts_when_its_author_writes_it_again() {
    let (mut world, people, chat) = gossiping(9, 3);
    let (alice, bob, carol) = (people[0], people[1], people[2]);
    lose_home(&mut world);
    world.say_in(bob, chat, "in between").unwrap();
    world.pass(2_000);
    world.kill(bob);
    world.start_server();
    world.pass(3_000);
    world.wish_role(alice, chat, carol, Role::Admin).unwrap();
    world.pass(5_000);
    assert_eq!(message(&world, carol, chat, "in between").via, Via::Gossip);
    assert_eq!(message(&world, carol, chat, "in between").state, DeliveryState::Delivered, "he may be back soon");
    // After a time it is marked, until he is back.
    world.pass(700_000);
    assert_eq!(message(&world, carol, chat, "in between").state, DeliveryState::Failed);
    assert_eq!(world.engine(carol).conversations.gossip_kept(&chat), 0);
    world.start(bob);
    world.pass(30_000);
    let told = world.durable_events(carol);
    let shown = message(&world, carol, chat, "in between").id;
    let new = told.iter().filter(|e| e.kind == DurableEventKind::New && e.message == Some(shown)).count();
    assert_eq!(new, 1, "it is told of once: {told:?}");
    for who in [alice, carol] {
        let shown = message(&world, who, chat, "in between");
        assert_eq!((shown.via, shown.state), (Via::Log, DeliveryState::Delivered), "{who}");
    }
    assert_eq!(agreed(&mut world, &people, chat), ["in between"]);
}

/// Somebody types in a group, or stops.
fn types(world: &mut World, who: Who, chat: ChatId, typing: bool) {
    drop(world.begin::<(), _>(who, |_| PresenceCommand::Typing { chat, typing }));
    world.pass(500);
}

/// Who was shown to somebody as typing in a group, or as having stopped, since this was asked last.
fn typing_seen(world: &mut World, who: Who, people: &[Who], chat: ChatId) -> Vec<(Who, bool)> {
    let live = std::mem::take(&mut world.of(who).live);
    let accounts: Vec<_> = people.iter().map(|who| world.of(*who).account).collect();
    let shown = live.into_iter().filter_map(|event| match event {
        TransientEvent::Typing { chat: of, typing, member: Some(member) } if of == chat => {
            let at = accounts.iter().position(|account| *account == member).expect("a member");
            Some((people[at], typing))
        }
        TransientEvent::Typing { .. } => panic!("typing of nobody, or elsewhere"),
        _ => None,
    });
    shown.collect()
}

#[test]
fn typing_is_shown_to_the_others_and_stands_in_no_log() {
    let (mut world, people, chat) = gossiping(31, 3);
    let (alice, bob, carol) = (people[0], people[1], people[2]);
    for who in &people {
        world.of(*who).live.clear();
    }
    types(&mut world, bob, chat, true);
    // Carol and bob are no contacts.
    assert_eq!(typing_seen(&mut world, carol, &people, chat), [(bob, true)]);
    assert_eq!(typing_seen(&mut world, alice, &people, chat), [(bob, true)]);
    assert!(typing_seen(&mut world, bob, &people, chat).is_empty());
    // It is not said again at once, ends by itself, and at once with a message.
    types(&mut world, bob, chat, true);
    assert!(typing_seen(&mut world, carol, &people, chat).is_empty());
    world.pass(GROUP_TYPING_MS);
    assert_eq!(typing_seen(&mut world, carol, &people, chat), [(bob, false)]);
    types(&mut world, bob, chat, true);
    world.say_in(bob, chat, "that").unwrap();
    world.pass(1_000);
    assert_eq!(typing_seen(&mut world, carol, &people, chat), [(bob, true), (bob, false)]);
    let seen = world.group_seen(carol, chat).unwrap();
    let online: Vec<_> = seen.members.iter().filter(|member| member.online).map(|member| member.account).collect();
    assert!(online.contains(&world.of(bob).account), "who has written is there");
    assert_eq!(world.texts_in(carol, chat), ["that"]);
    assert_eq!(world.gossip.rejected, 0);
}

#[test]
fn typing_is_not_shown_of_who_hides_it_may_not_write_or_is_gone() {
    let (mut world, people, chat) = gossiping(32, 3);
    let (alice, bob, carol) = (people[0], people[1], people[2]);
    world.of(alice).live.clear();
    let typing = Some(Audience::Nobody.stored());
    world.call(bob, |reply| AccountCommand::SetPrivacy { last_seen: None, receipts: None, typing, reply }).unwrap();
    types(&mut world, bob, chat, true);
    world.wish_role(alice, chat, carol, Role::Reader).unwrap();
    world.pass(2 * GOSSIP_GRACE_MS);
    types(&mut world, carol, chat, true);
    assert!(typing_seen(&mut world, alice, &people, chat).is_empty());
    world.wish_role(alice, chat, carol, Role::Member).unwrap();
    world.pass(2 * GOSSIP_GRACE_MS);
    types(&mut world, carol, chat, true);
    assert_eq!(typing_seen(&mut world, alice, &people, chat), [(carol, true)]);
    // What was passed on is a replay when it comes again, also from another neighbour and after the others have forgotten it.
    let (_, topic, envelope) = world.gossip.published.last().cloned().unwrap();
    world.kill(alice);
    world.start(alice);
    world.pass(200_000);
    world.of(alice).live.clear();
    world.bring(bob, alice, topic, envelope);
    world.pass(GROUP_TYPING_EVERY_MS);
    assert!(typing_seen(&mut world, alice, &people, chat).is_empty());
}
