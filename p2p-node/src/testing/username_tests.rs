//! User names: a server may lead to anybody by a name.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::world::{Who, World};
use crate::{
    api::types::ContactState,
    engine::{AccountCommand, ContactCommand},
};

/// `who` adds the one to whom the server leads by a name, who accepts.
fn add_by_name(world: &mut World, who: Who, name: &str, found: Who) {
    let homes = world.invite(found).address.homes;
    let mut added = world.begin(who, |reply| ContactCommand::Connect {
        account: None,
        name: Some(name.into()),
        homes,
        token: None,
        greeting: String::new(),
        alias: String::new(),
        reply,
    });
    world.pass(5_000);
    added.try_recv().unwrap().unwrap();
    let account = world.of(who).account;
    world.call(found, |reply| ContactCommand::Accept(account, reply)).unwrap();
    world.pass(5_000);
    assert_eq!(world.contact(who, found).unwrap().state, ContactState::Active);
}

#[test]
fn who_is_found_by_a_user_name_has_to_say_that_it_is_theirs() {
    let mut world = World::new(970);
    let [alice, bob, mallory] = ["alice", "bob", "mallory"].map(|name| world.person(name));
    world.pass(2_000);
    for (who, name) in [(bob, "bob"), (mallory, "carol")] {
        world.call(who, |reply| AccountCommand::SetUsername(name.into(), reply)).unwrap();
    }
    add_by_name(&mut world, alice, "bob", bob);
    let contact = world.contact(alice, bob).unwrap();
    assert_eq!((contact.username.as_str(), contact.found_as.as_str()), ("bob", ""));
    // The server leads to somebody else, whose program knows nothing of it.
    world.modified(mallory, |engine, _| engine.account.identity.row.username = "mallory".into());
    add_by_name(&mut world, alice, "carol", mallory);
    let contact = world.contact(alice, mallory).unwrap();
    assert_eq!((contact.username.as_str(), contact.found_as.as_str()), ("mallory", "carol"));
    // A name that is chosen later is told, too.
    world.call(mallory, |reply| AccountCommand::SetUsername("honest".into(), reply)).unwrap();
    world.pass(2_000);
    let contact = world.contact(alice, mallory).unwrap();
    assert_eq!((contact.username.as_str(), contact.found_as.as_str()), ("honest", "carol"));
}
