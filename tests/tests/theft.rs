//! A thief has a copy of a device's directory, with all its keys. Once the device was removed, the copy reads nothing new, writes, changes, enters and
//! rings nothing, and what the owner's devices show is right.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::{fs, path::Path};

use serde_json::Value;
use starling_tests::{World, until};

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
    let all_write = |when: &str, written: &mut Vec<String>| {
        for (who, to) in everybody {
            let text = format!("{when} {who}");
            world.json(who, &["send", to, &text, "--wait", "delivered"]);
            written.push(text);
        }
    };
    all_write("before", &mut written);
    until("the texts on the laptop", || {
        written.iter().all(|text| world.texts("laptop", "@bob", 100).contains(text)).then_some(())
    });

    // The thief copies the directory of a device that was switched off for a moment.
    laptop.kill();
    let profiles = world.dir.path().join("profiles");
    copy(&profiles.join("laptop"), &profiles.join("thief"));
    let laptop = world.daemon("laptop");
    all_write("after the theft", &mut written);
    world.json("alice", &["device", "remove", &stolen]);
    until("the removal, at the other account", || {
        let devices = world.json("bob", &["rpc", "contacts"])[0]["devices"].clone();
        (!devices.as_array().unwrap().contains(&stolen.as_str().into())).then_some(())
    });
    let rings = world.listen("bob", "now");
    rings.wait_for("the listener", |event| event["type"] == "stream.ready");
    all_write("secret", &mut written);

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
    all_write("later", &mut written);
    let read = world.texts("thief", "@bob", 1_000);
    let secret: Vec<&String> =
        read.iter().filter(|text| text.starts_with("secret") || text.starts_with("later")).collect();
    assert!(secret.is_empty(), "the thief reads {secret:?}");
    let read = world.texts("laptop", "@bob", 1_000);
    assert!(!read.iter().any(|text| text.starts_with("secret") || text.starts_with("later")));
    while let Some(line) = rings.try_line() {
        let event: Value = serde_json::from_str(&line).unwrap();
        assert_ne!(event["type"], "call.incoming", "the thief rings");
    }

    let own = ids(&world.devices("alice"));
    assert_eq!((own.len(), ids(&world.devices("phone"))), (2, own.clone()));
    assert!(!own.contains(&stolen));
    for who in ["bob", "tablet"] {
        let mut known = world.json(who, &["rpc", "contacts"])[0]["devices"].clone();
        known.as_array_mut().unwrap().sort_by_key(ToString::to_string);
        assert_eq!(known, Value::from(own.clone()), "as {who} sees it");
    }
    for (who, with) in everybody {
        let texts = until(&format!("everything at {who}"), || {
            let texts = world.texts(who, with, 1_000);
            written.iter().all(|text| texts.contains(text)).then_some(texts)
        });
        assert!(!texts.iter().any(|text| text.contains("thief")), "{who}: {texts:?}");
        assert_eq!(world.json(who, &["rpc", "contacts"])[0]["name"], if with == "@bob" { "bob" } else { "alice" });
    }
    drop((alice, bob, laptop, honest, thief));
}
