//! Several devices of one account, between real programs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::{io::Write, process::Stdio};

use serde_json::Value;
use starling_media::audio;
use starling_tests::{Process, World, until};

/// Runs a verb with something on its standard input; its exit code and standard error.
fn with_input(world: &World, who: &str, args: &[&str], input: &str) -> (i32, String) {
    let mut command = world.starling(who);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// What somebody's conversation says of the other's devices: what has happened, in the order in which it has.
fn device_lines(world: &World, who: &str, with: &str) -> Vec<Value> {
    let output = world.run(who, &["history", with, "--json", "--limit", "50"]);
    let lines = String::from_utf8(output.stdout).unwrap();
    let messages = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    messages.filter(|m| !m["device_note"].is_null()).map(|m| m["device_note"].clone()).collect()
}

/// Alice with two devices, and bob.
fn three() -> World {
    let world = World::of_friends();
    world.link("alice", "laptop");
    world
}

fn says(world: &World, who: &str, to: &str, text: &str) {
    world.json(who, &["send", to, text, "--wait", "delivered"]);
}

/// Waits until a conversation has these texts.
fn sees(world: &World, who: &str, with: &str, texts: &[&str]) {
    until(&format!("{texts:?} at {who}"), || (world.texts(who, with, 50) == texts).then_some(()));
}

#[test]
fn what_is_set_on_one_device_is_set_on_the_others() {
    let world = three();
    let status = |who: &str| world.json(who, &["rpc", "status"]);
    let running = ["alice", "bob"].map(|who| world.daemon(who));
    world.json("alice", &["chats", "pin", "@bob"]);
    world.json("alice", &["profile", "username", "alice.first"]);
    let sent = world.json("alice", &["send", "@bob", "hi", "--wait", "delivered"]);
    // The other one was not there, and the home has it all; then both are.
    let laptop = world.daemon("laptop");
    sees(&world, "laptop", "@bob", &["hi"]);
    until("the pin, the user name and the message's state", || {
        let message = world.json("laptop", &["history", "@bob", "--limit", "1"]);
        let pinned = world.json("laptop", &["chats", "show", "@bob"])["pinned"] == true;
        let delivered = message["state"] == "delivered" && message["from"]["device"] == sent["from"]["device"];
        (pinned && delivered && status("laptop")["username"] == "alice.first").then_some(())
    });
    world.json("laptop", &["chats", "pin", "@bob", "--undo"]);
    world.json("laptop", &["profile", "username", "alice.second"]);
    world.json("laptop", &["profile", "name", "Alice the second"]);
    until("what the laptop has set", || {
        let pinned = world.json("alice", &["chats", "show", "@bob"])["pinned"] == true;
        let named = |who: &str| status(who)["name"] == "Alice the second" && status(who)["username"] == "alice.second";
        (!pinned && named("alice") && named("laptop")).then_some(())
    });
    // A restart takes nothing back.
    drop((running, laptop));
    let _again = ["alice", "laptop"].map(|who| world.daemon(who));
    until("both are online", || {
        let online = |who: &str| status(who)["rendezvous"][0]["registered"] == true;
        (online("alice") && online("laptop")).then_some(())
    });
    for who in ["alice", "laptop"] {
        assert_eq!(status(who)["username"], "alice.second", "{who}");
    }
}

#[test]
fn a_second_device_is_linked_talks_and_is_removed() {
    let world = three();
    let accounts = ["alice", "laptop"].map(|who| world.json(who, &["whoami"])["account"].clone());
    assert_eq!(accounts[0], accounts[1]);
    // None of them runs at the same time: all of it waits at the rendezvous.
    for (who, to, text) in
        [("bob", "@alice", "to both"), ("laptop", "@bob", "from the laptop"), ("alice", "@bob", "from the first")]
    {
        world.json(who, &["send", to, text, "--wait", "sent"]);
    }
    let all = ["to both", "from the laptop", "from the first"];
    for (who, with) in [("alice", "@bob"), ("laptop", "@bob"), ("bob", "@alice")] {
        sees(&world, who, with, &all);
    }
    // Now all do.
    let _running = ["alice", "laptop", "bob"].map(|who| world.daemon(who));
    let news = world.listen("laptop", "now");
    news.wait_for("the listener", |e| e["type"] == "stream.ready");
    says(&world, "bob", "@alice", "at once");
    news.wait_for("the message", |e| e["message"]["text"] == "at once");
    says(&world, "alice", "@bob", "and this");
    let own = news.wait_for("our own", |e| e["message"]["text"] == "and this");
    assert_eq!(own["message"]["from"]["self"], true);
    // A contact that one makes is the other's.
    world.person("carol");
    let invite = world.json("laptop", &["invite"]);
    world.json("carol", &["contacts", "add", invite["link"].as_str().unwrap()]);
    for who in ["alice", "laptop"] {
        until(&format!("carol at {who}"), || {
            let contacts = world.json(who, &["rpc", "contacts"]);
            contacts.as_array().unwrap().iter().any(|c| c["name"] == "carol" && c["state"] == "active").then_some(())
        });
    }
    let _carol = world.daemon("carol");
    says(&world, "carol", "@alice", "hi");
    sees(&world, "alice", "@carol", &["hi"]);
    sees(&world, "laptop", "@carol", &["hi"]);
    // Removed, it hears nothing more.
    let devices = world.json("alice", &["rpc", "device.list"]);
    let laptop = devices.as_array().unwrap().iter().find(|d| d["this"] == false).unwrap()["device"].clone();
    let laptop = &laptop.as_str().unwrap()[..10];
    world.json("alice", &["device", "remove", laptop]);
    until("a group without it", || {
        let known = world.json("bob", &["rpc", "contacts"]);
        (known[0]["devices"].as_array().unwrap().len() == 1).then_some(())
    });
    says(&world, "bob", "@alice", "not for the laptop");
    let why = until("a refusal", || {
        let (exit, why) = world.error("laptop", &["send", "@bob", "hello?"]);
        (exit != 0).then_some(why)
    });
    assert!(why.contains("no longer one of its account"), "{why}");
    let listed = world.run("laptop", &["device", "list"]);
    assert!(String::from_utf8_lossy(&listed.stderr).contains("no longer one of its account"));
    assert!(!world.texts("laptop", "@bob", 50).iter().any(|t| t == "not for the laptop"));
}

#[test]
fn a_wrong_code_links_nothing_and_says_so() {
    let world = World::new();
    world.person("alice");
    let _alice = world.daemon("alice");
    let offered = world.json("alice", &["rpc", "device.link"]);
    let (code, home) = (offered["code"].as_str().unwrap(), offered["rendezvous"].as_str().unwrap());
    let place = code.split('-').next().unwrap();
    let (exit, why) = world.error("other", &["device", "join", &format!("{place}-zoo-zoo"), "--rendezvous", home]);
    assert!(exit != 0 && why.contains("wrong"), "{exit}: {why}");
    // There is no second guess.
    let (exit, _) = world.error("other", &["device", "join", code, "--rendezvous", home]);
    assert_ne!(exit, 0);
    // A code for a device makes no contact, and the other way round.
    world.person("bob");
    let offered = world.json("alice", &["rpc", "device.link"]);
    let (exit, why) = world.error("bob", &["contacts", "add", offered["code"].as_str().unwrap()]);
    assert!(exit != 0 && why.contains("device"), "{exit}: {why}");
    let invite = world.json("alice", &["rpc", "code.open"]);
    let (exit, why) = world.error("other", &["device", "join", invite["code"].as_str().unwrap(), "--rendezvous", home]);
    assert!(exit != 0 && why.contains("contact"), "{exit}: {why}");
    assert!(!world.dir.path().join("profiles/other").exists());
    let devices = world.json("alice", &["rpc", "device.list"]);
    assert_eq!(devices.as_array().map(Vec::len), Some(1), "{devices}");
}

/// A running command of calls, with a tone for a microphone.
fn call(world: &World, who: &str, args: &[&str]) -> Process {
    let mut command = world.starling(who);
    Process::start(command.args(["call"]).args(args).args(["--audio-in", "tone", "--json"]))
}

fn is(event: &Value, state: &str) -> bool {
    event["call"]["state"] == state
}

#[test]
fn a_call_rings_on_all_devices_and_moves_from_one_to_another() {
    let world = three();
    let _running = ["alice", "laptop", "bob"].map(|who| world.daemon(who));
    let rings = ["alice", "laptop"].map(|who| world.listen(who, "now"));
    for news in &rings {
        news.wait_for("the listener", |e| e["type"] == "stream.ready");
    }
    let mut bob = call(&world, "bob", &["start", "@alice", "--audio-out", "none"]);
    for news in &rings {
        news.wait_for("the ring", |e| e["type"] == "call.incoming" && e["call"]["moved"] == false);
    }
    // Answered on one, it stops on the other.
    let wav = |name: &str| world.dir.path().join(name).to_string_lossy().into_owned();
    let mut laptop = call(&world, "laptop", &["answer", "--audio-out", &wav("laptop.wav")]);
    let first = laptop.wait_for("the connection", |e| is(e, "connected"));
    let theirs = bob.wait_for("the connection", |e| is(e, "connected"));
    assert_eq!(first["call"]["emoji"], theirs["call"]["emoji"]);
    rings[0].wait_for("the end of ringing", |e| is(e, "ended") && e["call"]["reason"] == "elsewhere");
    heard_on(&world, "laptop");
    // Taken over by the other.
    until("a call elsewhere", || {
        let calls = world.json("alice", &["rpc", "call.elsewhere"]);
        (calls.as_array().unwrap().len() == 1).then_some(())
    });
    let mut alice = call(&world, "alice", &["take", "--audio-out", &wav("alice.wav")]);
    let second = alice.wait_for("the connection", |e| is(e, "connected"));
    let ended = laptop.wait_for("the end there", |e| is(e, "ended"));
    assert_eq!(ended["call"]["reason"], "elsewhere");
    assert_eq!(laptop.wait(), 0);
    // Another connection has another authentication string, the same on both sides.
    assert_ne!(first["call"]["emoji"], second["call"]["emoji"]);
    let theirs = bob.wait_for("the new one", |e| is(e, "connected") && e["call"]["emoji"] != first["call"]["emoji"]);
    assert_eq!(second["call"]["emoji"], theirs["call"]["emoji"]);
    heard_on(&world, "alice");
    heard_on(&world, "bob");
    // And handed back.
    world.json("alice", &["rpc", "call.transfer", &serde_json::json!({ "call": second["call"]["id"] }).to_string()]);
    rings[1].wait_for("the ring", |e| e["type"] == "call.incoming" && e["call"]["moved"] == true);
    let laptop = call(&world, "laptop", &["answer", "--audio-out", "none"]);
    laptop.wait_for("the connection", |e| is(e, "connected"));
    let ended = alice.wait_for("the end there", |e| is(e, "ended"));
    assert_eq!(ended["call"]["reason"], "elsewhere");
    assert_eq!(alice.wait(), 0);
    heard_on(&world, "bob");
    assert_eq!(bob.terminate(), 0);
    let ended = laptop.wait_for("the end", |e| is(e, "ended"));
    assert_eq!(ended["call"]["reason"], "hung_up");
    for (who, other) in [("alice", "@bob"), ("laptop", "@bob"), ("bob", "@alice")] {
        let note = until("the note", || {
            let note = world.json(who, &["history", other, "--limit", "1"])["call"].clone();
            (note["reason"] == "hung_up").then_some(note)
        });
        assert!(note["duration_ms"].as_u64().unwrap() > 1_000, "{who}: {note}");
    }
    for name in ["laptop.wav", "alice.wav"] {
        let sound = audio::file::read(world.dir.path().join(name).as_path()).unwrap();
        assert!(audio::level(&sound[sound.len() / 2..]) > 0.05, "{name} is silent");
    }
}

/// Waits for a second of sound in a call.
fn heard_on(world: &World, who: &str) {
    let id = world.json(who, &["rpc", "call.list"])[0]["id"].as_str().unwrap().to_owned();
    let params = serde_json::json!({ "call": id }).to_string();
    let packets = || {
        let stats = world.json(who, &["rpc", "call.stats", &params]);
        stats["routes"][0]["audio"]["packets"].as_u64()
    };
    let before = packets().unwrap_or(0);
    until("a second of sound", || packets().filter(|now| *now > before + 50));
}

#[test]
fn contacts_see_devices_come_and_go_and_a_recovery_with_the_phrase_removes_all_others() {
    let world = World::new();
    let made = world.json("alice", &["init", "--name", "alice", "--rendezvous", &world.address]);
    let phrase = made["recovery_phrase"].as_str().unwrap();
    world.person("bob");
    world.befriend("alice", "bob");
    world.json("bob", &["contacts", "verify", "@alice", "--yes"]);
    let _bob = world.daemon("bob");
    let news = world.listen("bob", "now");
    news.wait_for("the listener", |e| e["type"] == "stream.ready");
    world.link("alice", "laptop");
    let joined = news.wait_for("the device", |e| e["type"] == "contact.devices");
    assert_eq!(joined["device_note"]["change"], "joined");
    assert_ne!(joined["device_note"]["name"], "", "{joined}");
    let contact = || world.json("bob", &["rpc", "contacts"])[0].clone();
    assert_eq!((&contact()["verified"], &contact()["key_changed"]), (&true.into(), &false.into()));
    let before = world.json("alice", &["device", "list"]);
    assert_ne!(before["name"], "");

    // The wrong phrase changes nothing; the right one is given while the device runs, or not.
    let _alice = world.daemon("alice");
    let other = starling_keys::RecoveryPhrase::generate();
    let (exit, why) = with_input(&world, "alice", &["device", "recover", "--json"], &other.words());
    assert!(exit != 0 && why.contains("another account"), "{exit}: {why}");
    let (exit, why) = with_input(&world, "alice", &["device", "recover", "--json"], phrase);
    assert_eq!(exit, 0, "{why}");
    let alarm = news.wait_for("the alarm", |e| e["device_note"]["change"] == "recovered");
    assert_eq!(alarm["type"], "contact.devices");
    until("the end of the verification", || (contact()["key_changed"] == true).then_some(()));
    assert_eq!(contact()["devices"].as_array().map(Vec::len), Some(1));
    let changes: Vec<Value> = device_lines(&world, "bob", "@alice").iter().map(|note| note["change"].clone()).collect();
    assert_eq!(changes, ["joined", "recovered"]);
    until("a refusal", || {
        let (exit, why) = world.error("laptop", &["send", "@bob", "hello?"]);
        (exit != 0 && why.contains("no longer one of its account")).then_some(())
    });
    world.json("bob", &["contacts", "verify", "@alice", "--yes"]);
    says(&world, "bob", "@alice", "welcome back");
    assert!(!world.texts("laptop", "@bob", 50).iter().any(|t| t == "welcome back"));
}
