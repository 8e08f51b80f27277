//! Calls between real programs over real sockets: a pattern and a tone go in, and what comes out is checked.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::{path::Path, process::Command};

use serde_json::Value;
use starling_media::{
    audio::{self, strongest_tone},
    video::{file, pattern::PatternSeen},
};
use starling_tests::{Process, World};

/// Runs a call verb in the background, with JSON.
fn call(command: &mut Command, args: &[&str]) -> Process {
    command.arg("call").args(args).arg("--json").env("STARLING_LOG", "off");
    Process::start(command)
}

/// The last line of a statistics file.
fn last_stats(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap();
    serde_json::from_str(text.lines().last().expect("no statistics")).unwrap()
}

/// What a video file holds of the pattern.
fn pattern_in(path: &Path) -> PatternSeen {
    let mut seen = PatternSeen::default();
    file::frames(path, |frame| {
        seen.saw(frame);
    })
    .unwrap();
    seen
}

fn tone_in(path: &Path) -> (u32, f32) {
    let sound = audio::file::read(path).unwrap();
    // From the middle: the beginning is silence until it is connected.
    let middle = sound.len() / 2;
    strongest_tone(&sound[middle..(middle + 48_000).min(sound.len())])
}

#[test]
fn a_pattern_and_a_tone_arrive_whole() {
    let world = World::new();
    world.person("alice");
    world.person("bob");
    world.befriend("alice", "bob");
    let dir = world.dir.path().to_owned();
    let file = |name: &str| dir.join(name).to_string_lossy().into_owned();
    let mut bob = call(
        &mut world.starling("bob"),
        &["answer", "--auto", "--count", "1", "--audio-in", "tone:700", "--audio-out", &file("bob.wav")]
            .into_iter()
            .chain(["--video-in", "pattern:320x180@30", "--video-out", &file("bob.mp4"), "--stats", &file("bob.jsonl")])
            .collect::<Vec<_>>(),
    );
    bob.wait_for("readiness", |e| e["type"] == "call.ready");
    let mut alice = call(
        &mut world.starling("alice"),
        &["start", "@bob", "--video-in", "pattern", "--audio-in", "tone", "--duration", "5s"]
            .into_iter()
            .chain([
                "--video-out",
                &file("alice.mp4"),
                "--audio-out",
                &file("alice.wav"),
                "--stats",
                &file("alice.jsonl"),
            ])
            .collect::<Vec<_>>(),
    );
    let connected = alice.wait_for("the connection", |e| e["call"]["state"] == "connected");
    let incoming = bob.wait_for("the ring", |e| e["type"] == "call.incoming");
    assert_eq!((incoming["call"]["video"].clone(), incoming["chat"]["name"].clone()), (true.into(), "alice".into()));
    let both = bob.wait_for("the connection", |e| e["call"]["state"] == "connected");
    // Nobody is between them.
    assert!(!connected["call"]["emoji"].as_str().unwrap().is_empty());
    assert_eq!(connected["call"]["emoji"], both["call"]["emoji"]);
    let ended = alice.wait_for("the end", |e| e["call"]["state"] == "ended");
    assert_eq!(ended["call"]["reason"], "hung_up");
    bob.wait_for("the end", |e| e["call"]["state"] == "ended");
    assert_eq!((alice.wait(), bob.wait()), (0, 0));
    for (who, size, hertz) in [("alice", 180, 700), ("bob", 360, 440)] {
        let stats = last_stats(&dir.join(format!("{who}.jsonl")));
        let route = &stats["routes"][0];
        assert_eq!(route["path"], "direct", "{stats:#}");
        assert_eq!(
            (route["video"]["pattern"]["bad"].as_u64(), route["video"]["pattern"]["out_of_order"].as_u64()),
            (Some(0), Some(0))
        );
        assert_eq!(route["audio"]["lost"], 0, "{stats:#}");
        assert_eq!(route["video"]["height"], size);
        let seen = pattern_in(&dir.join(format!("{who}.mp4")));
        assert!(seen.received > 60 && seen.bad == 0 && seen.out_of_order == 0, "{who}: {seen:?}");
        let (heard, amplitude) = tone_in(&dir.join(format!("{who}.wav")));
        assert!(heard.abs_diff(hertz) <= 5 && amplitude > 0.15, "{who} heard {heard} Hz at {amplitude}");
    }
    // Both timelines keep it.
    for who in ["alice", "bob"] {
        let other = if who == "alice" { "@bob" } else { "@alice" };
        let note = world.json(who, &["history", other, "--limit", "1"]);
        assert_eq!(note["call"]["reason"], "hung_up", "{note}");
        assert!(note["call"]["duration_ms"].as_u64().unwrap() > 3_000, "{note}");
    }
}
