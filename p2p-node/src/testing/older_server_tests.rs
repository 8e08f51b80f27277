//! A server of an older version, which does not know what this version asks for: users learn that, and nothing is lost.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::world::World;
use crate::{HomeProblem, net::ConnectionProblem};

#[test]
fn what_waits_at_an_older_server_goes_on_when_it_is_updated() {
    let mut world = World::new(61);
    let (alice, bob) = world.friends();
    world.direct = false;
    world.cut(alice, bob);
    world.older_servers = true;
    world.stop_server();
    world.start_server();
    let carol = world.person("carol");
    world.say(alice, bob, "for later");
    world.pass(120_000);
    for who in [alice, bob, carol] {
        assert_eq!(world.home_problem(who), Some(HomeProblem::Connection(ConnectionProblem::OlderVersion)));
    }
    assert_eq!(world.chat_row(alice, bob).queued, 1);
    assert!(world.seen(bob, alice).is_empty());
    world.older_servers = false;
    world.stop_server();
    world.start_server();
    world.pass(60_000);
    assert_eq!(world.home_problem(alice), None);
    assert_eq!(world.seen(bob, alice), ["alice: for later"]);
    assert_eq!(world.seen(alice, bob), ["alice: for later [Delivered]"]);
    // One that was new at the older server is registered now.
    let invite = world.invite(carol);
    drop(world.add(bob, &invite));
    world.pass(10_000);
    assert!(world.knows(carol, bob) && world.knows(bob, carol));
}
