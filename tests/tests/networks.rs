//! Servers that die: how soon everything works again.
//!
//! What is promised is 10 s after the restart of a server; the limits here leave room for a busy machine.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

use std::{
    process::Command,
    time::{Duration, Instant},
};

use serde_json::Value;
use starling_tests::{World, program, run_to_end, until};

/// How long a server that was killed is away: the length of the fault.
const AWAY: Duration = Duration::from_secs(1);

/// The devices that the server has a session with, and their connections.
fn sessions(world: &World) -> (u64, u64) {
    let mut ask = Command::new(program("starling-rendezvous"));
    let output = run_to_end(ask.args(["admin", "status", "--data-dir"]).arg(world.dir.path().join("rendezvous")));
    let status: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (status["sessions"].as_u64().unwrap_or(0), status["connections"].as_u64().unwrap_or(0))
}

/// Kills the server, and starts it again where it was.
fn kill_and_restart(world: &mut World) {
    world.rendezvous.as_mut().unwrap().kill();
    std::thread::sleep(AWAY);
    world.restart_rendezvous();
}

#[test]
fn devices_that_wait_for_nothing_are_back_soon_after_their_server_was_killed() {
    let mut world = World::new();
    let names = ["ann", "ben", "cem", "dov", "eve"];
    let mut daemons = Vec::new();
    for name in names {
        world.person(name);
        daemons.push(world.daemon(name));
    }
    until("the sessions", || (sessions(&world).0 == names.len() as u64).then_some(()));
    kill_and_restart(&mut world);
    let back = Instant::now();
    until("the sessions", || (sessions(&world).0 == names.len() as u64).then_some(()));
    let took = back.elapsed();
    println!("all are back after {took:.1?}");
    assert!(took <= Duration::from_secs(12), "{took:?}");
}

#[test]
fn what_is_sent_after_the_server_was_killed_and_came_back_is_stored_and_delivered() {
    let mut world = World::of_friends();
    let _alice = world.daemon("alice");
    until("the rendezvous", || (sessions(&world).0 == 1).then_some(()));
    kill_and_restart(&mut world);
    let sent = Instant::now();
    world.json("alice", &["send", "@bob", "after the crash", "--wait", "sent"]);
    let took = sent.elapsed();
    println!("stored after {took:.1?}");
    assert!(took <= Duration::from_secs(10), "{took:?}");
    let bob = world.listen("bob", "all");
    bob.wait_for("the message", |e| e["message"]["text"] == "after the crash");
}
