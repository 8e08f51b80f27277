//! Linking devices, when several people or programs do it at the same time, and when somebody gives up.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::process::Stdio;

use serde_json::Value;
use starling_tests::{Process, World};

/// A device links another; gives the process, the code and the rendezvous.
fn linking(world: &World, who: &str, args: &[&str]) -> (Process, String, String) {
    let mut command = world.starling(who);
    command.args(["device", "link", "--json"]).args(args).stderr(Stdio::null());
    let process = Process::start(&mut command);
    let offered = process.json();
    let text = |field: &str| offered[field].as_str().unwrap().to_owned();
    (process, text("code"), text("rendezvous"))
}

fn joining(world: &World, who: &str, code: &str, home: &str) -> Process {
    let mut command = world.starling(who);
    Process::start(command.args(["device", "join", code, "--rendezvous", home, "--json"]).stderr(Stdio::null()))
}

/// The rights of a device on the list of another.
fn rights(world: &World, on: &str, device: &Value) -> String {
    let lines = String::from_utf8(world.run(on, &["device", "list", "--json"]).stdout).unwrap();
    let list: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let found = list.iter().find(|entry| entry["device"] == *device);
    found.unwrap_or_else(|| panic!("{device} is not on the list: {lines}"))["rights"].as_str().unwrap().to_owned()
}

#[test]
fn two_devices_that_are_linked_at_once_get_the_rights_of_their_own_code() {
    let world = World::new();
    world.person("alice");
    let _daemon = world.daemon("alice");
    let (as_bot, bot_code, home) = linking(&world, "alice", &["--yes", "--rights", "bot"]);
    let (as_member, member_code, _) = linking(&world, "alice", &["--yes", "--rights", "member"]);
    let (member, bot) = (joining(&world, "tablet", &member_code, &home), joining(&world, "robot", &bot_code, &home));
    let (member, bot) = (member.json(), bot.json());
    assert_eq!(as_member.json()["device"], member["device"]);
    assert_eq!(as_bot.json()["device"], bot["device"]);
    assert_eq!(rights(&world, "alice", &member["device"]), "member");
    assert_eq!(rights(&world, "alice", &bot["device"]), "bot");
}

#[test]
fn two_admins_link_devices_at_once() {
    let world = World::new();
    world.person("alice");
    world.link("alice", "laptop");
    let (_one, _other) = (world.daemon("alice"), world.daemon("laptop"));
    let (by_one, code_of_one, home) = linking(&world, "alice", &["--yes"]);
    let (by_other, code_of_other, _) = linking(&world, "laptop", &["--yes"]);
    let joining = [joining(&world, "tablet", &code_of_one, &home), joining(&world, "phone", &code_of_other, &home)];
    let joined = joining.map(|process| process.json()["device"].clone());
    assert_eq!(by_one.json()["device"], joined[0]);
    assert_eq!(by_other.json()["device"], joined[1]);
    for device in &joined {
        assert_eq!(rights(&world, "laptop", device), "admin");
    }
}

#[test]
fn a_code_ends_with_the_command_that_has_made_it() {
    let world = World::new();
    world.person("alice");
    let _daemon = world.daemon("alice");
    // More than a rendezvous gives at a time.
    for _ in 0..5 {
        let (mut link, code, home) = linking(&world, "alice", &["--yes"]);
        link.kill();
        starling_tests::until("the code, withdrawn", || {
            let output = world.run("tablet", &["device", "join", &code, "--rendezvous", &home]);
            assert!(!output.status.success());
            let error = String::from_utf8(output.stderr).unwrap();
            assert!(!error.contains("Say yes"), "{error}");
            error.contains("no such code").then_some(())
        });
    }
}
