//! User names: a server may lead to anybody by a name.
#![allow(clippy::unwrap_used, reason = "tests")]

use prost::Message as _;
use starling_keys::AccountId;

use super::world::{Who, World};
use crate::{
    api::{
        error::{Invalid, NodeError, Unreachable},
        problem::HomeProblem,
        types::ContactState,
    },
    engine::{AccountCommand, ContactCommand},
    net::ConnectionProblem,
};

/// `who` asks the server of another for the one with a user name.
fn look_up(world: &mut World, who: Who, name: &str, home_of: Who) -> Result<AccountId, NodeError> {
    let homes = world.invite(home_of).address.homes;
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
    added.try_recv().unwrap()
}

/// Whether a text is in what servers were asked.
fn was_told(world: &mut World, text: &str) -> bool {
    let asked = world.asked.take().unwrap();
    assert!(!asked.is_empty());
    let has = |bytes: Vec<u8>| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    asked.into_iter().any(|request| has(request.encode_to_vec()))
}

/// `who` adds the one to whom the server leads by a name, who accepts.
fn add_by_name(world: &mut World, who: Who, name: &str, found: Who) {
    look_up(world, who, name, found).unwrap();
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

#[test]
fn no_server_is_told_a_user_name() {
    let mut world = World::new(971);
    world.asked = Some(Vec::new());
    let [alice, bob] = ["alice", "bob"].map(|name| world.person(name));
    world.pass(2_000);
    world.call(bob, |reply| AccountCommand::SetUsername("bellwether".into(), reply)).unwrap();
    assert!(look_up(&mut world, alice, "bellwethers", bob).is_err());
    add_by_name(&mut world, alice, "bellwether", bob);
    // It is claimed again at each start.
    world.kill(bob);
    world.start(bob);
    world.pass(5_000);
    assert!(!was_told(&mut world, "bellwether"));
    // What can be no name is asked of nobody: a server can't tell.
    for given in ["Bellwether", "b", "bell wether", ".bell"] {
        let refused = look_up(&mut world, alice, given, bob);
        assert_eq!(refused, Err(Invalid::Username { given: given.into() }.into()));
    }
}

#[test]
fn a_server_that_would_have_to_see_user_names_is_told_none_and_has_them_once_it_is_updated() {
    let mut world = World::new(972);
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| world.person(name));
    world.pass(2_000);
    world.call(bob, |reply| AccountCommand::SetUsername("bellwether".into(), reply)).unwrap();
    let restart = |world: &mut World, nameless: bool| {
        world.stop_server();
        world.nameless_servers = nameless;
        world.start_server();
        world.pass(60_000);
    };
    restart(&mut world, true);
    world.asked = Some(Vec::new());
    assert_eq!(world.home_problem(bob), Some(HomeProblem::WouldSeeUsername));
    assert_eq!(world.home_problem(alice), None);
    let refused = world.call(carol, |reply| AccountCommand::SetUsername("caroline".into(), reply));
    assert_eq!(refused, Err(Unreachable::OlderHome.into()));
    let refused = look_up(&mut world, alice, "bellwether", bob);
    assert_eq!(refused, Err(Unreachable::TheirHome { problem: ConnectionProblem::OlderVersion.into() }.into()));
    assert!(!was_told(&mut world, "bellwether"));
    restart(&mut world, false);
    assert_eq!(world.home_problem(bob), None);
    add_by_name(&mut world, alice, "bellwether", bob);
}
