//! Messages to conversations that have no group (any more) to encrypt them for: they wait for one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use starling_keys::DeviceChain;
use starling_wire::{
    Text,
    rendezvous::{Refusal, Refused, ResponseBody},
};

use crate::{
    api::{
        error::{NodeError, NotAllowed, Unreachable},
        types::{DeliveryState, Message},
    },
    calls::CallRequest,
    conversation::{
        commands::ConversationCommand,
        limits::{MAX_OUTBOX, OUTBOX_LIFE_MS},
    },
    engine::AccountCommand,
    testing::{
        engine_tests::setup,
        world::{Who, World},
    },
};

/// Two friends of whom the second is away, and whose server has lost all that it had.
fn away_where_the_server_forgets(seed: u64) -> (World, Who, Who) {
    let mut world = World::new(seed);
    let (alice, bob) = world.friends();
    world.say(bob, alice, "before");
    world.pass(10_000);
    world.kill(alice);
    world.forget_everything();
    world.pass(10_000);
    (world, bob, alice)
}

fn texts(messages: Vec<Message>) -> Vec<String> {
    messages.into_iter().map(|message| message.text).collect()
}

#[test]
fn what_is_written_after_the_server_has_lost_its_data_waits_for_who_is_away() {
    for seed in 0..5 {
        let (mut world, bob, alice) = away_where_the_server_forgets(600 + seed);
        for n in 0..4 {
            world.say(bob, alice, &format!("waiting {n}"));
            world.pass(5_000);
        }
        assert!(world.messages(bob, alice)[1..].iter().all(|m| m.state == DeliveryState::Queued));
        // What waits survives the process, and others are added to it.
        world.kill(bob);
        world.start(bob);
        world.pass(5_000);
        world.say(bob, alice, "waiting 4");
        let ids: Vec<_> = world.messages(bob, alice).into_iter().map(|m| m.id).collect();
        world.heal();
        let expected = ["before", "waiting 0", "waiting 1", "waiting 2", "waiting 3", "waiting 4"];
        let read = world.messages(alice, bob);
        assert_eq!(read.iter().map(|m| m.id).collect::<Vec<_>>(), ids, "seed {seed}");
        assert_eq!(texts(read), expected, "seed {seed}");
        assert!(world.messages(bob, alice).iter().all(|m| m.state == DeliveryState::Delivered), "seed {seed}");
    }
}

#[test]
fn a_call_does_not_wait_for_a_group() {
    let (mut world, bob, alice) = away_where_the_server_forgets(610);
    world.say(bob, alice, "the server does not know the log");
    world.pass(5_000);
    let chat = world.chat(bob, alice);
    let refused = world.call(bob, |reply| CallRequest::Start { chat, setup: setup(), reply });
    let not_ready = |e: &NodeError| matches!(e, NodeError::Unreachable(Unreachable::Conversation { .. }));
    assert!(refused.as_ref().is_err_and(not_ready), "{refused:?}");
}

#[test]
fn what_waits_for_a_group_counts_as_what_waits_for_others() {
    let (mut world, bob, alice) = away_where_the_server_forgets(611);
    world.say(bob, alice, "the server does not know the log");
    world.pass(5_000);
    let chat = world.chat(bob, alice);
    world.modified(bob, |engine, _| {
        let state = engine.conversations.chats.get_mut(&chat).unwrap();
        let waiting = state.outbox.back().unwrap().clone();
        state.outbox.extend(std::iter::repeat_n(waiting, MAX_OUTBOX - 2));
    });
    world.say(bob, alice, "the last that there is room for");
    let texts = vec![Text { text: "one too many".into(), ..Text::default() }];
    let refused = world.call(bob, |reply| ConversationCommand::Send { chat, texts, reply }).err();
    assert!(matches!(refused, Some(NodeError::NotAllowed(NotAllowed::OutboxFull { .. }))), "{refused:?}");
}

#[test]
fn the_first_message_after_a_restore_waits_for_the_conversation() {
    let mut world = World::new(612);
    let (alice, bob) = world.friends();
    world.pass(10_000);
    world.kill(bob);
    // The server does not say what bob's devices are, for now.
    let account = world.of(bob).account;
    world.lie = Some(Box::new(move |_, response| {
        let is_bobs = |list: &[u8]| DeviceChain::from_bytes(list).is_ok_and(|list| list.account == account);
        if matches!(&response.body, Some(ResponseBody::DeviceList(list)) if is_bobs(list)) {
            let refused = Refused { reason: Refusal::RateLimited.into(), retry_after_ms: 1_000, work_bits: 0 };
            response.body = Some(ResponseBody::Refused(refused));
        }
    }));
    let again = world.restored(alice);
    world.pass(10_000);
    world.say(again, bob, "I am back");
    world.say(again, bob, "on another device");
    world.kill(again);
    world.start(again);
    world.pass(10_000);
    world.lie = None;
    world.kill(alice);
    world.pass(180_000);
    world.start(bob);
    world.pass(180_000);
    assert_eq!(texts(world.messages(bob, again)), ["I am back", "on another device"]);
}

#[test]
fn only_messages_are_shown_as_waiting_to_be_sent() {
    let mut world = World::new(640);
    let (alice, bob) = world.friends();
    world.kill(bob);
    world.stop_server();
    world.call(alice, |reply| AccountCommand::SetName("Alice the second".into(), reply)).unwrap();
    world.pass(1_000);
    assert_eq!(world.chat_row(alice, bob).queued, 0, "a name is no message");
    world.say(alice, bob, "one");
    world.say(alice, bob, "two");
    assert_eq!(world.chat_row(alice, bob).queued, 2);
    let chat = world.chat(alice, bob);
    let one = world.messages(alice, bob)[0].id;
    world.call(alice, |reply| ConversationCommand::Delete { chat, message: one, reply }).unwrap();
    world.start_server();
    world.heal();
    assert_eq!(world.chat_row(alice, bob).queued, 0);
}

#[test]
fn what_has_failed_waits_no_longer() {
    let mut world = World::new(641);
    let (alice, bob) = world.friends();
    world.kill(bob);
    world.stop_server();
    world.say(alice, bob, "nobody will fetch this");
    world.pass(OUTBOX_LIFE_MS + 60_000);
    assert_eq!(world.messages(alice, bob)[0].state, DeliveryState::Failed);
    assert_eq!(world.chat_row(alice, bob).queued, 0);
}
