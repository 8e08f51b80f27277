//! Processes that are frozen keep their connections: what is shown of them is true all the same.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod terminal;

use starling_tests::{Process, World, until};
use terminal::Terminal;

/// A process that goes on when the test ends, also by a failure: it has to be able to end.
struct Frozen<'a>(&'a Process);

impl<'a> Frozen<'a> {
    fn new(process: &'a Process) -> Self {
        process.signal("STOP");
        Self(process)
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        self.0.signal("CONT");
    }
}

#[test]
fn a_frozen_rendezvous_is_not_shown_as_connected() {
    let world = World::new();
    world.person("alice");
    let _daemon = world.daemon("alice");
    let home = || world.json("alice", &["whoami"])["rendezvous"][0].clone();
    until("the rendezvous", || (home()["registered"] == true).then_some(()));
    let screen = Terminal::start(&world, "alice", 80, 24);
    screen.sees("online");
    let frozen = Frozen::new(world.rendezvous.as_ref().unwrap());
    // The first answer is true already.
    let home_now = home();
    assert_eq!((&home_now["connected"], &home_now["registered"]), (&false.into(), &false.into()), "{home_now}");
    let doctor = world.run("alice", &["doctor", "--json"]);
    assert_eq!(doctor.status.code(), Some(1), "{}", String::from_utf8_lossy(&doctor.stdout));
    screen.waits("what is true", |text| !text.contains("online"));
    drop(frozen);
    until("the rendezvous", || (home()["registered"] == true).then_some(()));
    screen.sees("online");
}

#[test]
fn a_contact_whose_program_is_frozen_is_not_shown_as_online() {
    let world = World::of_friends();
    let bob = world.daemon("bob");
    let screen = Terminal::start(&world, "alice", 80, 24);
    screen.sees("direct");
    let presence = || world.json("alice", &["contacts", "list"])["presence"].clone();
    until("bob", || (presence() == "online").then_some(()));
    let frozen = Frozen::new(&bob);
    until("what is true", || (presence() == "offline").then_some(()));
    drop(frozen);
    until("bob", || (presence() == "online").then_some(()));
}
