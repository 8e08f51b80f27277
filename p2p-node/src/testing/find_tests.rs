//! Finding contacts by what people call them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::world::{Who, World};
use crate::{
    api::{
        error::{NodeError, Unfound},
        types::Contact,
    },
    engine::ContactCommand,
};

fn find(world: &mut World, who: &str) -> Result<Contact, NodeError> {
    world.call(0, |reply| ContactCommand::Find(who.into(), reply))
}

fn why(world: &mut World, who: &str) -> Unfound {
    match find(world, who) {
        Err(NodeError::Unfound(why)) => why,
        other => panic!("{who} was looked for: {other:?}"),
    }
}

fn rename(world: &mut World, other: Who, name: &str) {
    let account = world.of(other).account;
    world.call(0, |reply| ContactCommand::Rename(account, name.into(), reply)).unwrap();
}

/// Alice, who is the first, with Bob and Carol.
fn world() -> (World, Who, Who) {
    let mut world = World::new(31);
    let (alice, bob) = world.friends();
    let carol = world.person("carol");
    let invite = world.invite(alice);
    let mut added = world.add(carol, &invite);
    world.pass(5_000);
    added.try_recv().unwrap().unwrap();
    (world, bob, carol)
}

#[test]
fn a_contact_is_found_by_name_account_conversation_and_address() {
    let (mut world, bob, _) = world();
    let (account, chat) = (world.of(bob).account, world.chat_id(0, bob));
    let address = world.invite(bob).to_string();
    let quoted = format!("“{account}”");
    for who in ["bob", "@bob", "BOB", &account.to_string(), &chat.to_string(), &format!("id:{chat}"), &address, &quoted]
    {
        assert_eq!(find(&mut world, who).unwrap().account, account, "{who}");
    }
    rename(&mut world, bob, "Ångström");
    assert_eq!(find(&mut world, "ångström").unwrap().account, account);
}

#[test]
fn the_exact_name_comes_before_one_that_differs_in_case_alone() {
    let (mut world, bob, carol) = world();
    rename(&mut world, bob, "sam");
    rename(&mut world, carol, "Sam");
    for (who, name) in [(bob, "sam"), (carol, "Sam")] {
        assert_eq!(find(&mut world, name).unwrap().account, world.of(who).account);
    }
    assert!(matches!(why(&mut world, "SAM"), Unfound::Several { chats, .. } if chats.len() == 2));
}

#[test]
fn who_is_not_found_is_told_who_may_be_meant() {
    let (mut world, bob, carol) = world();
    assert_eq!(why(&mut world, "bobby"), Unfound::Name { name: "bobby".into(), close: vec!["bob".into()] });
    assert_eq!(why(&mut world, "@xx"), Unfound::Name { name: "xx".into(), close: Vec::new() });
    assert_eq!(why(&mut world, "id:abc"), Unfound::Conversation { id: "abc".into() });
    let own = world.invite(0).to_string();
    assert_eq!(why(&mut world, &own), Unfound::Address);
    rename(&mut world, carol, "bob");
    let mut chats = vec![world.chat_id(0, bob), world.chat_id(0, carol)];
    let Unfound::Several { chats: mut found, .. } = why(&mut world, "bob") else { panic!("one was found") };
    chats.sort();
    found.sort();
    assert_eq!(found, chats);
    // A removed contact does not make a name ambiguous.
    let account = world.of(carol).account;
    world.call(0, |reply| ContactCommand::Remove(account, reply)).unwrap();
    assert_eq!(find(&mut world, "bob").unwrap().account, world.of(bob).account);
}
