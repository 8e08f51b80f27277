//! A thief has a copy of a device's directory, with all its keys. Once the device was removed, the copy reads nothing new, writes, changes, enters
//! and rings nothing, and what the owner's devices show is right. Where its server does not know of the removal, what it does counts nowhere, and its
//! owner is shown that it does it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::{fs, path::Path, process::Stdio};

use serde_json::Value;
use starling_tests::{Process, World, until, until_none};

/// Devices, and whom they write to. Those that write to the same are of one account.
type People = [(&'static str, &'static str)];

/// Copies the files of a profile, without what leads to the node that runs here.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            copy(&from, &to);
        } else if kind.is_file() && entry.file_name() != "lock" && entry.file_name() != "control-socket" {
            fs::copy(from, to).unwrap();
        }
    }
}

fn ids(devices: &[Value]) -> Vec<String> {
    let mut ids: Vec<String> = devices.iter().map(|device| device["device"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids
}

/// All write, and what they write is delivered.
fn all_write(world: &World, people: &People, when: &str, written: &mut Vec<String>) {
    for (who, to) in people {
        let text = format!("{when} {who}");
        world.json(who, &["send", to, &text, "--wait", "delivered"]);
        written.push(text);
    }
}

/// What `history --json` prints on a device, without lines about devices, and without what differs between devices: how a message came, and what it
/// is called for short.
fn history(world: &World, who: &str, with: &str) -> Vec<Value> {
    let output = world.run(who, &["history", with, "--json", "--limit", "1000"]);
    let lines = String::from_utf8(output.stdout).unwrap();
    let mut lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    lines.retain(|line| line["device_note"].is_null());
    for line in &mut lines {
        line.as_object_mut().unwrap().retain(|key, _| key != "via" && key != "handle");
    }
    lines
}

fn texts(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["text"].as_str().unwrap()).collect()
}

/// What keeps all from having what was written and nothing else, in one order, and the devices of an account from printing the same.
fn difference(world: &World, people: &People, written: &[String]) -> Option<String> {
    let views: Vec<_> = people.iter().map(|(who, with)| (*who, *with, history(world, who, with))).collect();
    for (who, _, lines) in &views {
        let (mut has, mut expected) = (texts(lines), written.iter().map(String::as_str).collect::<Vec<_>>());
        has.sort_unstable();
        expected.sort_unstable();
        if has != expected {
            return Some(format!("{who} has {lines:#?} of {written:?}"));
        }
    }
    for (who, with, lines) in &views {
        for (other, with_too, theirs) in &views {
            if texts(lines) != texts(theirs) {
                return Some(format!("{who} has {:?}, {other} has {:?}", texts(lines), texts(theirs)));
            }
            let differs = lines.iter().zip(theirs).find(|(line, their)| with == with_too && line != their);
            if let Some((line, their)) = differs {
                return Some(format!("{who} has {line}, {other} has {their}"));
            }
        }
    }
    None
}

/// Waits until all have what was written, and nothing else.
fn all_have(world: &World, people: &People, written: &[String]) {
    until_none("not all have what was written", || difference(world, people, written));
}

/// Waits until somebody knows of no such device of alice any more.
fn knows_of_removal(world: &World, who: &str, device: &str) {
    until(&format!("the removal, at {who}"), || {
        let devices = world.json(who, &["rpc", "contacts"])[0]["devices"].clone();
        (!devices.as_array().unwrap().contains(&device.into())).then_some(())
    });
}

/// Waits until alice is told of what a device has tried; what that is.
fn tried(world: &World, device: &str) -> String {
    let events = world.listen("alice", "all");
    let event = events.wait_for("what the stolen device has tried", |event| {
        event["type"] == "device.tried" && event["device"] == device
    });
    event["attempt"].as_str().unwrap().to_owned()
}

#[test]
fn a_stolen_profile_is_worth_nothing_once_its_device_was_removed() {
    let world = World::of_friends();
    let (alice, bob) = (world.daemon("alice"), world.daemon("bob"));
    let stolen = world.link("alice", "laptop");
    let _phone = world.link("alice", "phone");
    let _tablet = world.link("bob", "tablet");
    let mut laptop = world.daemon("laptop");
    let honest = ["phone", "tablet"].map(|profile| world.daemon(profile));
    let everybody = [("alice", "@bob"), ("phone", "@bob"), ("bob", "@alice"), ("tablet", "@alice")];
    let mut written = Vec::new();
    all_write(&world, &everybody, "before", &mut written);
    until("the texts on the laptop", || {
        written.iter().all(|text| world.texts("laptop", "@bob", 100).contains(text)).then_some(())
    });

    // The thief copies the directory of a device that was switched off for a moment.
    laptop.kill();
    let profiles = world.dir.path().join("profiles");
    copy(&profiles.join("laptop"), &profiles.join("thief"));
    let laptop = world.daemon("laptop");
    all_write(&world, &everybody, "after the theft", &mut written);
    world.json("alice", &["device", "remove", &stolen]);
    knows_of_removal(&world, "bob", &stolen);
    let rings = world.listen("bob", "now");
    rings.wait_for("the listener", |event| event["type"] == "stream.ready");
    all_write(&world, &everybody, "secret", &mut written);

    let thief = world.daemon("thief");
    // It hears from its home that it is out; until then what it writes is queued, and goes nowhere.
    until("a refusal", || {
        (!world.run("thief", &["send", "@bob", "queued by the thief"]).status.success()).then_some(())
    });
    for attempt in [
        &["send", "@bob", "by the thief"][..],
        &["call", "start", "@bob", "--audio-in", "tone", "--duration", "1s"],
        &["device", "remove", ids(&world.devices("phone")).iter().find(|id| **id != stolen).unwrap()],
        &["device", "link", "--yes"],
        &["profile", "name", "thief"],
        &["invite"],
    ] {
        let output = world.run("thief", &[attempt, &["--json"]].concat());
        assert!(!output.status.success(), "{attempt:?} works: {}", String::from_utf8_lossy(&output.stdout));
    }
    all_write(&world, &everybody, "later", &mut written);
    let read = world.texts("thief", "@bob", 1_000);
    let secret: Vec<&String> =
        read.iter().filter(|text| text.starts_with("secret") || text.starts_with("later")).collect();
    assert!(secret.is_empty(), "the thief reads {secret:?}");
    let read = world.texts("laptop", "@bob", 1_000);
    assert!(!read.iter().any(|text| text.starts_with("secret") || text.starts_with("later")));
    // What was written last comes after a ring would have come.
    loop {
        let event = rings.json();
        assert_ne!(event["type"], "call.incoming", "the thief rings");
        if event["message"]["text"] == "later tablet" {
            break;
        }
    }

    let own = ids(&world.devices("alice"));
    assert_eq!((own.len(), ids(&world.devices("phone"))), (2, own.clone()));
    assert!(!own.contains(&stolen));
    for who in ["bob", "tablet"] {
        let mut known = world.json(who, &["rpc", "contacts"])[0]["devices"].clone();
        known.as_array_mut().unwrap().sort_by_key(ToString::to_string);
        assert_eq!(known, Value::from(own.clone()), "as {who} sees it");
    }
    all_have(&world, &everybody, &written);
    for (who, with) in everybody {
        assert_eq!(world.json(who, &["rpc", "contacts"])[0]["name"], if with == "@bob" { "bob" } else { "alice" });
    }
    drop((alice, bob, laptop, honest, thief));
}

/// Alice has removed a stolen device while it was switched off. Nobody but her device knows that, and it is off now: the server has died before it
/// could store the removal, and is back.
struct Unknown {
    world: World,
    stolen: String,
    written: Vec<String>,
}

const ALICE_AND_BOB: [(&str, &str); 2] = [("alice", "@bob"), ("bob", "@alice")];

impl Unknown {
    fn new() -> Self {
        let mut world = World::of_friends();
        let kill_point = world.dir.path().join("kill-point");
        world.restart_rendezvous_with(&[("STARLING_KILL_POINT", kill_point.to_str().unwrap())]);
        let (alice, bob) = (world.daemon("alice"), world.daemon("bob"));
        let stolen = world.link("alice", "thief");
        let mut written = Vec::new();
        all_write(&world, &ALICE_AND_BOB, "before", &mut written);
        until("the texts on the device", || {
            let texts = world.texts("thief", "@bob", 100);
            written.iter().all(|text| texts.contains(text)).then_some(())
        });
        // It has said that it has them, so that it has nothing to say of its own accord when it is started next.
        world.json("thief", &["contacts", "list"]);
        drop(bob);
        // From now on the server stores nothing.
        fs::write(&kill_point, "0").unwrap();
        let mut command = world.starling("alice");
        let removal = Process::start(command.args(["device", "remove", &stolen, "--json"]).stderr(Stdio::null()));
        until("the removal", || (!ids(&world.devices("alice")).contains(&stolen)).then_some(()));
        until("the end of the server", || (!kill_point.exists()).then_some(()));
        drop((removal, alice));
        world.restart_rendezvous();
        Self { world, stolen, written }
    }

    /// The stolen device is started, and its server takes it for one of the account's.
    fn thief(&self) -> Process {
        let thief = self.world.daemon("thief");
        until("the registration of the stolen device", || {
            (self.world.json("thief", &["rpc", "status"])["rendezvous"][0]["registered"] == true).then_some(())
        });
        thief
    }

    /// Waits until what the stolen device has for others is at the server.
    fn waits_until_sent(&self) {
        until("the end of what is sent", || {
            (self.world.json("thief", &["rpc", "flush"])["owes"] == false).then_some(())
        });
    }

    /// Alice and bob are back: she is shown what was tried, and nothing of it counts.
    fn sees_the_attempt(mut self, attempt: &str) {
        let world = &self.world;
        let _alice = world.daemon("alice");
        assert_eq!(tried(world, &self.stolen), attempt);
        let _bob = world.daemon("bob");
        knows_of_removal(world, "bob", &self.stolen);
        all_write(world, &ALICE_AND_BOB, "after", &mut self.written);
        all_have(world, &ALICE_AND_BOB, &self.written);
        assert!(!ids(&world.devices("alice")).contains(&self.stolen));
        let contact = world.json("alice", &["rpc", "contacts"])[0].clone();
        assert_eq!(contact["name"], "bob", "{contact}");
    }
}

#[test]
fn an_owner_is_shown_that_a_stolen_device_writes_before_its_removal_is_known() {
    let unknown = Unknown::new();
    let _thief = unknown.thief();
    unknown.world.json("thief", &["send", "@bob", "by the thief", "--wait", "sent"]);
    unknown.sees_the_attempt("write");
}

#[test]
fn an_owner_is_shown_that_a_stolen_device_calls_before_its_removal_is_known() {
    let unknown = Unknown::new();
    let _thief = unknown.thief();
    let mut command = unknown.world.starling("thief");
    let args = ["call", "start", "@bob", "--audio-in", "tone", "--audio-out", "none", "--json"];
    let call = Process::start(command.args(args));
    call.wait_for("the call", |event| event["call"]["state"] == "ringing");
    unknown.waits_until_sent();
    unknown.sees_the_attempt("call");
}

/// Its word about a contact goes to the other devices of its account alone.
#[test]
fn an_owner_is_shown_that_a_stolen_device_writes_to_the_owners_devices_before_its_removal_is_known() {
    let unknown = Unknown::new();
    let _thief = unknown.thief();
    unknown.world.json("thief", &["contacts", "rename", "@bob", "robert"]);
    unknown.waits_until_sent();
    unknown.sees_the_attempt("write");
}

#[test]
fn an_owner_is_shown_that_a_stolen_device_removes_another_where_the_server_has_forgotten_its_removal() {
    let mut world = World::of_friends();
    let alice = world.daemon("alice");
    let stolen = world.link("alice", "thief");
    let phone = world.link("alice", "phone");
    let honest = world.daemon("phone");
    until("the phone, on the stolen device", || ids(&world.devices("thief")).contains(&phone).then_some(()));
    world.json("alice", &["device", "remove", &stolen]);
    until("the removal, on the phone", || (!ids(&world.devices("phone")).contains(&stolen)).then_some(()));
    drop((alice, honest));
    world.rendezvous = None;
    fs::remove_file(world.dir.path().join("rendezvous/rendezvous.redb")).unwrap();
    world.restart_rendezvous();
    world.json("thief", &["device", "remove", &phone]);
    let _running = ["alice", "phone"].map(|who| world.daemon(who));
    assert_eq!(tried(&world, &stolen), "remove");
    for who in ["alice", "phone"] {
        until(&format!("one list, on {who}"), || {
            let own = ids(&world.devices(who));
            (own.len() == 2 && own.contains(&phone) && !own.contains(&stolen)).then_some(())
        });
    }
}

#[test]
fn an_owner_is_shown_that_a_stolen_device_links_another_where_the_server_has_forgotten_its_removal() {
    let mut world = World::of_friends();
    let alice = world.daemon("alice");
    let stolen = world.link("alice", "thief");
    until("the device", || ids(&world.devices("alice")).contains(&stolen).then_some(()));
    world.json("alice", &["device", "remove", &stolen]);
    drop(alice);
    world.rendezvous = None;
    fs::remove_file(world.dir.path().join("rendezvous/rendezvous.redb")).unwrap();
    world.restart_rendezvous();
    let ghost = world.link("thief", "ghost");
    let _alice = world.daemon("alice");
    assert_eq!(tried(&world, &stolen), "link");
    until("one device", || {
        let own = ids(&world.devices("alice"));
        (own.len() == 1 && !own.contains(&stolen) && !own.contains(&ghost)).then_some(())
    });
}
