//! What a turn costs: work is proportional to what happened, not to how much there is.
#![allow(clippy::unwrap_used, reason = "tests")]

use starling_wire::Text;

use super::world::{Who, World};
use crate::engine::ConversationCommand;

fn say(world: &mut World, who: Who, to: Who, text: &str) {
    let chat = world.chat_id(who, to);
    let texts = vec![Text { text: text.into(), ..Text::default() }];
    world.call(who, |reply| ConversationCommand::Send { chat, texts, reply }).unwrap();
}

/// What somebody's engine looks at while messages go both ways, beside so many other contacts with conversations.
fn visits_beside(contacts: u32) -> u64 {
    let mut world = World::new(11);
    let (alice, bob) = world.friends();
    world.fill(alice, contacts);
    world.pass(20_000);
    let before = world.visits(alice);
    for n in 0..30 {
        say(&mut world, alice, bob, &format!("to bob {n}"));
        say(&mut world, bob, alice, &format!("to alice {n}"));
    }
    world.pass(10_000);
    world.visits(alice) - before
}

#[test]
fn messages_cost_the_same_beside_thousands_of_other_conversations() {
    let (alone, beside) = (visits_beside(0), visits_beside(2_000));
    assert!(beside <= alone + alone / 10, "{beside} values were looked at beside 2,000 contacts, {alone} without");
}
