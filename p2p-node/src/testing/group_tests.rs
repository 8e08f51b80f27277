//! Encryption states of groups: loaded when they are needed, and what becomes of one that cannot be read.
#![allow(clippy::unwrap_used, reason = "tests")]

use starling_wire::Text;

use super::{
    engine_tests::setup,
    world::{Who, World},
};
use crate::{
    api::error::{NodeError, Unreachable},
    calls::CallRequest,
    conversation::{
        commands::ConversationCommand,
        limits::{MAX_LOADED_GROUPS, STATE_MESSAGES, STATE_WITHIN_MS},
    },
    store::{GROUPS, LOGS, MLS, MlsRow, Reading, Table, prefix},
};

/// Alice with Bob and Carol as contacts.
fn alice_and_two_others(seed: u64) -> (World, Who, Who, Who) {
    let mut world = World::new(seed);
    let (alice, bob) = world.friends();
    let carol = world.person("carol");
    let invite = world.invite(alice);
    let mut added = world.add(carol, &invite);
    world.pass(5_000);
    added.try_recv().unwrap().unwrap();
    world.say(alice, bob, "hello bob");
    world.say(alice, carol, "hello carol");
    world.pass(10_000);
    (world, alice, bob, carol)
}

#[test]
fn a_start_loads_no_encryption_state_and_few_stay_loaded() {
    let (mut world, alice, bob, carol) = alice_and_two_others(21);
    world.kill(alice);
    // Where nobody and nothing can be reached.
    world.stop_server();
    world.direct = false;
    world.start(alice);
    world.settle();
    assert_eq!(world.loaded_groups(alice), 0);
    for other in [bob, carol, bob] {
        world.say(alice, other, "are you there?");
        assert!((1..=MAX_LOADED_GROUPS).contains(&world.loaded_groups(alice)));
    }
    world.start_server();
    world.direct = true;
    world.pass(60_000);
    assert!(world.seen(bob, alice).iter().any(|line| line.contains("are you there?")));
    assert!(world.seen(carol, alice).iter().any(|line| line.contains("are you there?")));
}

/// The stored encryption state of the only group of somebody.
fn stored_state(world: &World, who: Who) -> MlsRow {
    let store = world.store(who);
    let rows = store.read().unwrap().range::<MlsRow>(MLS, prefix(b""), usize::MAX, false).unwrap();
    assert_eq!(rows.len(), 1);
    rows[0].1.clone()
}

fn texts(world: &mut World, who: Who, other: Who) -> Vec<String> {
    world.messages(who, other).into_iter().map(|m| m.text).collect()
}

#[test]
fn a_message_writes_no_encryption_state_and_a_quiet_group_soon_does() {
    let mut world = World::new(24);
    let (alice, bob) = world.friends();
    world.pass(2 * STATE_WITHIN_MS);
    world.say(alice, bob, "this one reserves keys for those after it");
    let before = [stored_state(&world, alice), stored_state(&world, bob)];
    assert_eq!(before[0].reserved, STATE_MESSAGES);
    world.say(alice, bob, "this one uses one of them");
    assert!([stored_state(&world, alice), stored_state(&world, bob)] == before);
    world.pass(2 * STATE_WITHIN_MS);
    assert!(stored_state(&world, alice) != before[0] && stored_state(&world, bob) != before[1]);
}

/// A key that is used twice is refused as a message that was there already: the second would not come.
#[test]
fn no_key_is_used_again_after_a_crash_wherever_between_two_writes_of_the_state() {
    for (seed, crashing) in [(25, 0), (26, 1), (27, 2)] {
        let mut world = World::new(seed);
        let (alice, bob) = world.friends();
        world.pass(2 * STATE_WITHIN_MS);
        let mut expected = Vec::new();
        for round in 0..2 * STATE_MESSAGES {
            for n in 0..=round % (STATE_MESSAGES + 2) {
                let text = format!("{round}, {n}");
                world.say(alice, bob, &text);
                expected.push(text);
            }
            for who in [alice, bob].into_iter().filter(|who| crashing == 2 || [alice, bob][crashing] == *who) {
                world.kill(who);
                world.start(who);
            }
            world.pass(3_000);
        }
        world.pass(60_000);
        for (who, other) in [(alice, bob), (bob, alice)] {
            assert_eq!(texts(&mut world, who, other), expected, "seed {seed}");
        }
    }
}

fn has(seen: &[String], text: &str) -> bool {
    seen.iter().any(|line| line.contains(text))
}

/// Damages a row of Alice's group with Bob while her node does not run, and he has written into it.
fn damaged(table: Table, seed: u64) -> (World, Who, Who, Who) {
    let (mut world, alice, bob, carol) = alice_and_two_others(seed);
    world.kill(alice);
    world.say(bob, alice, "into the group that is damaged");
    world.pass(10_000);
    world.damage_group(alice, bob, table);
    world.start(alice);
    (world, alice, bob, carol)
}

/// What is damaged is replaced, and the others go on.
fn is_replaced(table: Table, seed: u64) -> (World, Who, Who) {
    let (mut world, alice, bob, carol) = damaged(table, seed);
    let chat = world.chat_id(alice, bob);
    let texts = vec![Text { text: "for the group that replaces it".into(), ..Text::default() }];
    let mut sent = world.begin(alice, |reply| ConversationCommand::Send { chat, texts, reply });
    let mut called = world.begin(alice, |reply| CallRequest::Start { chat, setup: setup(), reply });
    world.all_at_once(alice);
    assert!(sent.try_recv().unwrap().is_ok(), "it waits");
    let refused = called.try_recv().unwrap();
    let damaged = |e: &NodeError| matches!(e, NodeError::Unreachable(Unreachable::DamagedConversation { .. }));
    assert!(refused.as_ref().is_err_and(damaged), "{refused:?}");
    world.say(alice, carol, "the others go on");
    world.pass(120_000);
    world.say(alice, bob, "in another group");
    world.pass(60_000);
    assert!(has(&world.seen(carol, alice), "the others go on"));
    assert!(has(&world.seen(bob, alice), "for the group that replaces it"));
    assert!(has(&world.seen(bob, alice), "in another group"));
    // And that is all as it should be after another start.
    world.kill(alice);
    world.start(alice);
    world.say(alice, bob, "still there?");
    world.pass(60_000);
    assert!(has(&world.seen(bob, alice), "still there?"));
    (world, alice, bob)
}

#[test]
fn a_group_whose_encryption_state_is_damaged_is_replaced_for_both_sides() {
    for seed in [22, 25, 26, 27] {
        let (mut world, alice, bob) = is_replaced(MLS, seed);
        assert!(has(&world.seen(alice, bob), "into the group that is damaged"), "seed {seed}");
        world.say(bob, alice, "where you can read");
        world.pass(60_000);
        assert!(has(&world.seen(alice, bob), "where you can read"), "seed {seed}");
    }
}

#[test]
fn a_group_whose_row_is_damaged_is_replaced_and_the_others_go_on() {
    is_replaced(GROUPS, 23);
}

#[test]
fn the_log_of_a_group_is_found_again_by_its_encryption_state() {
    let (mut world, alice, bob, _) = damaged(LOGS, 24);
    let epoch = world.epoch(bob, alice);
    world.pass(60_000);
    assert!(has(&world.seen(alice, bob), "into the group that is damaged"));
    world.say(alice, bob, "as before");
    world.pass(60_000);
    assert!(has(&world.seen(bob, alice), "as before"));
    assert_eq!(world.epoch(bob, alice), epoch, "it is the same group");
}
