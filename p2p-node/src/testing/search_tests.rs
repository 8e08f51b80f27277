//! Searching what people have written.

use super::world::{Who, World};
use crate::{
    engine::ConversationCommand,
    timeline::search::{Scan, Search},
};

/// What somebody finds.
fn found(world: &mut World, who: Who, search: &Search) -> Vec<String> {
    let chats = world.call(who, ConversationCommand::List).unwrap().iter().map(|chat| chat.id).collect();
    let store = world.store(who);
    let mut scan = Scan::new(search, chats).unwrap();
    while scan.step(&store).unwrap() {}
    scan.into_found().into_iter().map(|message| message.text).collect()
}

fn words(words: &str) -> Search {
    Search { words: words.into(), limit: 50, ..Search::default() }
}

#[test]
fn all_words_have_to_be_there_in_any_case_and_the_newest_come_first() {
    let mut world = World::new(95);
    let (alice, bob) = world.friends();
    for (who, to, text) in [
        (alice, bob, "The Tea is ready"),
        (bob, alice, "is it green tea?"),
        (alice, bob, "coffee, too"),
        (bob, alice, "TEA, please: I am ready"),
    ] {
        world.say(who, to, text);
        world.pass(1_000);
    }
    assert_eq!(found(&mut world, alice, &words("ready  tea")), ["TEA, please: I am ready", "The Tea is ready"]);
    let limited = Search { limit: 1, ..words("tea") };
    assert_eq!(found(&mut world, bob, &limited), ["TEA, please: I am ready"]);
    let by_alice = Search { author: Some(world.of(alice).account), ..words("tea") };
    assert_eq!(found(&mut world, bob, &by_alice), ["The Tea is ready"]);
    let since = Search { since_ms: world.messages(alice, bob)[1].sent_ms(), ..words("tea") };
    assert_eq!(found(&mut world, alice, &since), ["TEA, please: I am ready", "is it green tea?"]);
    let nowhere = Search { chat: Some(crate::api::types::ChatId([9; 16])), ..words("tea") };
    assert!(found(&mut world, alice, &nowhere).is_empty());
}

#[test]
fn the_newest_of_several_conversations_come_first() {
    let mut world = World::new(96);
    let (alice, bob) = world.friends();
    let carol = world.person("carol");
    let invite = world.invite(carol);
    let _added = world.add(alice, &invite);
    world.pass(5_000);
    for (to, text) in [(bob, "tea 1"), (carol, "tea 2"), (bob, "tea 3"), (carol, "tea 4")] {
        world.say(alice, to, text);
        world.pass(1_000);
    }
    assert_eq!(found(&mut world, alice, &words("tea")), ["tea 4", "tea 3", "tea 2", "tea 1"]);
    assert_eq!(found(&mut world, alice, &Search { limit: 3, ..words("tea") }), ["tea 4", "tea 3", "tea 2"]);
}

#[test]
fn more_messages_than_one_step_looks_through_are_found() {
    let mut world = World::new(97);
    let (alice, bob) = world.friends();
    world.say(alice, bob, "needle in the hay");
    world.pass(1_000);
    let chat = world.chat(alice, bob);
    for _ in 0..5 {
        let texts = vec![starling_wire::Text { text: "hay".into(), ..Default::default() }; 250];
        world.call(alice, |reply| ConversationCommand::Send { chat, texts, reply }).unwrap();
        world.pass(1_000);
    }
    assert_eq!(found(&mut world, alice, &words("needle")), ["needle in the hay"]);
    assert_eq!(found(&mut world, alice, &Search { limit: 2_000, ..words("hay") }).len(), 1_000, "bounded");
}

#[test]
fn a_search_for_nothing_or_for_far_too_much_is_refused() {
    for bad in ["", "  \n", &"a ".repeat(65)] {
        assert!(Scan::new(&words(bad), vec![]).is_err());
    }
}
