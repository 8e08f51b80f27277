//! Finding contacts by what people call them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::world::{Who, World};
use crate::{
    api::{
        error::{NodeError, NotAllowed, Unfound},
        types::{Contact, GroupKind},
    },
    engine::{ContactCommand, GroupCommand},
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
    let nobody = |name: &str, close| Unfound::Name { name: name.into(), close, asked: false };
    assert_eq!(why(&mut world, "bobby"), nobody("bobby", vec!["bob".into()]));
    assert_eq!(why(&mut world, "@xx"), nobody("xx", Vec::new()));
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

/// `from` asks `who` to become a contact, as anybody may who knows the address.
fn asks(world: &mut World, from: Who, who: Who) {
    let mut invite = world.invite(who);
    invite.token = None;
    drop(world.add(from, &invite));
    world.pass(10_000);
}

#[test]
fn who_asks_to_be_a_contact_is_said_to_ask_until_they_are_accepted() {
    let (mut world, ..) = world();
    let dave = world.person("dave");
    world.pass(5_000);
    asks(&mut world, dave, 0);
    let account = world.of(dave).account;
    let address = world.invite(dave).to_string();
    for (who, name) in
        [("dave", "dave"), ("@Dave", "Dave"), (account.to_string().as_str(), "dave"), (address.as_str(), "dave")]
    {
        assert_eq!(why(&mut world, who), Unfound::Asks { name: name.into(), accounts: vec![account] }, "{who}");
    }
    assert!(matches!(why(&mut world, "davina"), Unfound::Name { asked: false, .. }));
    world.call(0, |reply| ContactCommand::Accept(account, reply)).unwrap();
    assert_eq!(find(&mut world, "dave").unwrap().account, account);
}

#[test]
fn who_was_asked_and_has_not_accepted_is_no_contact_yet() {
    let (mut world, ..) = world();
    let dave = world.person("dave");
    world.pass(5_000);
    asks(&mut world, 0, dave);
    let account = world.of(dave).account;
    // What they are called is known when they have accepted.
    assert!(matches!(why(&mut world, "dave"), Unfound::Name { asked: true, .. }));
    let name = find(&mut world, &account.to_string()).unwrap().name;
    let kind = GroupKind::Group;
    let made = world.call(0, |reply| GroupCommand::New { name: "ops".into(), kind, invite: vec![account], reply });
    assert_eq!(made, Err(NotAllowed::NotAccepted { name }.into()));
    rename(&mut world, dave, "dave");
    assert_eq!(find(&mut world, "dave").unwrap().account, account);
    assert!(matches!(why(&mut world, "xx"), Unfound::Name { asked: false, .. }), "all have names");
}
