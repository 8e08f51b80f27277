//! Calls between real programs over real sockets: a pattern and a tone go in, and what comes out is checked.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::{path::Path, process::Command};

use serde_json::Value;
use starling_media::{
    audio::{self, strongest_tone},
    video::{mp4, pattern::PatternSeen},
};
use starling_tests::{Process, World, until};

/// Runs a call verb in the background, with JSON.
fn call(command: &mut Command, args: &[&str]) -> Process {
    command.arg("call").args(args).arg("--json").env("STARLING_LOG", "off");
    Process::start(command)
}

/// The last line of a statistics file, if there is one.
fn last_stats(path: &Path) -> Option<Value> {
    let text = std::fs::read_to_string(path).ok()?;
    serde_json::from_str(text.lines().last()?).ok()
}

/// What a video file holds of the pattern.
fn pattern_in(path: &Path) -> PatternSeen {
    let mut seen = PatternSeen::default();
    mp4::frames(path, |frame| {
        seen.saw(frame);
    })
    .unwrap();
    seen
}

/// The amplitude of a tone in the middle one of its pieces of 100 ms: where a busy machine leaves a gap, the phase changes, and over the
/// whole the tone would cancel itself.
fn loudness_of(sound: &[f32], hertz: f32) -> f32 {
    let mut pieces: Vec<f32> = sound.chunks_exact(4_800).map(|p| audio::amplitude_of(p, hertz)).collect();
    pieces.sort_by(f32::total_cmp);
    pieces[pieces.len() / 2]
}

fn tone_in(path: &Path) -> (u32, f32) {
    let sound = audio::file::read(path).unwrap();
    // From the middle: the beginning is silence until it is connected.
    let middle = sound.len() / 2;
    strongest_tone(&sound[middle..(middle + 48_000).min(sound.len())])
}

#[test]
fn a_pattern_and_a_tone_arrive_whole() {
    let world = World::of_friends();
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
        &["start", "@bob", "--video-in", "pattern", "--audio-in", "tone"]
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
    // Four seconds of sound, and two of pictures and a bit.
    let has_enough = |who: &str| {
        let route = &last_stats(&dir.join(format!("{who}.jsonl")))?["routes"][0];
        let sound = route["audio"]["packets"].as_u64() > Some(200);
        (sound && route["video"]["pattern"]["received"].as_u64() > Some(75)).then_some(())
    };
    until("sound and pictures at both", || has_enough("alice").and(has_enough("bob")));
    assert_eq!((alice.terminate(), bob.wait()), (0, 0));
    let ended = alice.wait_for("the end", |e| e["call"]["state"] == "ended");
    assert_eq!(ended["call"]["reason"], "hung_up");
    bob.wait_for("the end", |e| e["call"]["state"] == "ended");
    for (who, size, hertz) in [("alice", 180, 700), ("bob", 360, 440)] {
        let stats = last_stats(&dir.join(format!("{who}.jsonl"))).expect("no statistics");
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

const QUIET: [&str; 4] = ["--audio-in", "tone", "--audio-out", "none"];

fn stats_of_alice(world: &World) -> std::path::PathBuf {
    world.dir.path().join("stats.jsonl")
}

/// Bob answers everything, Alice calls, and they are connected.
fn connected(world: &World, extra: &[&str]) -> (Process, Process) {
    let stats = stats_of_alice(world);
    let stats = &*stats.to_string_lossy();
    let mut args = vec!["answer", "--auto"];
    args.extend(QUIET);
    args.extend(extra);
    let bob = call(&mut world.starling("bob"), &args);
    bob.wait_for("readiness", |e| e["type"] == "call.ready");
    let mut args = vec!["start", "@bob"];
    args.extend(QUIET);
    args.extend(extra);
    args.extend(["--stats", stats]);
    let alice = call(&mut world.starling("alice"), &args);
    alice.wait_for("the connection", |e| e["call"]["state"] == "connected");
    bob.wait_for("the connection", |e| e["call"]["state"] == "connected");
    (alice, bob)
}

#[test]
fn a_relayed_call_shows_no_address_and_works() {
    let world = World::of_friends();
    let stats = stats_of_alice(&world);
    let (mut alice, _bob) = connected(&world, &["--relay-only", "--video-in", "pattern:320x180@30"]);
    until("sound and pictures", || {
        let route = &last_stats(&stats)?["routes"][0];
        let sound = route["audio"]["packets"].as_u64() > Some(20);
        (sound && route["video"]["pattern"]["received"].as_u64() > Some(10)).then_some(())
    });
    assert_eq!(alice.terminate(), 0);
    let stats = last_stats(&stats).unwrap();
    assert_eq!(stats["routes"][0]["path"], "relay", "{stats:#}");
}

#[test]
fn a_network_that_loses_a_fifth_of_all_carries_a_call() {
    let world = World::of_friends();
    let stats = stats_of_alice(&world);
    let file = stats.to_string_lossy().into_owned();
    let start = |who: &str, verb: &[&str], seed: u8| {
        let mut command = world.starling(who);
        command.env("STARLING_TEST_LINK", format!("loss=0.2,delay=25,seed={seed}"));
        call(&mut command, &[verb, &QUIET, &["--video-in", "pattern:320x180@30"]].concat())
    };
    let bob = start("bob", &["answer", "--auto"], 1);
    bob.wait_for("readiness", |e| e["type"] == "call.ready");
    let mut alice = start("alice", &["start", "@bob", "--stats", &file], 2);
    for side in [&alice, &bob] {
        side.wait_for("the connection", |e| e["call"]["state"] == "connected");
    }
    // Ten seconds of pictures, and of sound that was lost and is heard: in each of the ways, so that neither hides that the other is broken.
    until("pictures and sound", || {
        let route = &last_stats(&stats)?["routes"][0];
        let sound = &route["audio"];
        let brought_back = sound["by_fec"].as_u64()? + sound["by_dred"].as_u64()?;
        (sound["again"].as_u64()? > 10 && brought_back > 10 && route["video"]["pattern"]["received"].as_u64()? > 300)
            .then_some(())
    });
    assert_eq!(alice.terminate(), 0);
    let stats = last_stats(&stats).unwrap();
    let pattern = &stats["routes"][0]["video"]["pattern"];
    assert_eq!(pattern["out_of_order"], 0, "{stats:#}");
    // At so few bits a number is unreadable now and then, in a picture that is whole.
    assert!(pattern["bad"].as_u64() <= Some(3), "{stats:#}");
}

#[test]
fn a_call_outlives_the_rendezvous() {
    let mut world = World::of_friends();
    let stats = stats_of_alice(&world);
    let (mut alice, bob) = connected(&world, &[]);
    world.rendezvous = None;
    let heard = || last_stats(&stats)?["routes"][0]["audio"]["packets"].as_u64();
    let before = heard().unwrap_or(0);
    until("four seconds of sound", || heard().filter(|now| *now > before + 200));
    // The hang-up reaches the other side without a server, too.
    assert_eq!(alice.terminate(), 0);
    let ended = bob.wait_for("the end", |e| e["call"]["state"] == "ended");
    assert_eq!(ended["call"]["reason"], "hung_up");
}

#[test]
fn who_is_killed_is_noticed_and_no_call_is_left() {
    let world = World::of_friends();
    let (alice, mut bob) = connected(&world, &[]);
    bob.kill();
    alice.wait_for("the interruption", |e| e["call"]["state"] == "interrupted");
    let ended = alice.wait_for("the end", |e| e["call"]["state"] == "ended");
    assert_eq!(ended["call"]["reason"], "lost");
    let mut alice = alice;
    assert_eq!(alice.wait(), 3);
}

#[test]
fn a_call_whose_command_is_killed_is_not_left_to_the_daemon() {
    let world = World::of_friends();
    let _daemon = world.daemon("alice");
    let (mut alice, bob) = connected(&world, &[]);
    alice.kill();
    // Her microphone is off at once; after a while nobody has come back.
    let id = world.json("bob", &["rpc", "call.list"])[0]["id"].as_str().unwrap().to_owned();
    let params = serde_json::json!({ "call": id }).to_string();
    until("silence", || {
        let stats = world.json("bob", &["rpc", "call.stats", &params]);
        (stats["routes"][0]["state"]["microphone"] == false).then_some(())
    });
    let ended = bob.wait_for("the end", |e| e["call"]["state"] == "ended");
    assert_eq!(ended["call"]["reason"], "hung_up");
    assert_eq!(world.json("alice", &["rpc", "call.list"]), Value::Array(vec![]));
}

#[test]
fn a_call_is_declined_with_a_word_or_missed() {
    let world = World::of_friends();
    let (_alice, _bob) = (world.daemon("alice"), world.daemon("bob"));
    let news = world.listen("bob", "now");
    news.wait_for("readiness", |e| e["type"] == "stream.ready");
    let mut args = vec!["start", "@bob"];
    args.extend(QUIET);
    let mut alice = call(&mut world.starling("alice"), &args);
    news.wait_for("the ring", |e| e["type"] == "call.incoming");
    world.run("bob", &["call", "hangup", "--message", "in a meeting"]);
    let ended = alice.wait_for("the end", |e| e["call"]["state"] == "ended");
    assert_eq!((&ended["call"]["reason"], &ended["call"]["text"]), (&"declined".into(), &"in a meeting".into()));
    assert_eq!(alice.wait(), 6);
    // The second time she gives up.
    let mut alice = call(&mut world.starling("alice"), &args);
    news.wait_for("the ring", |e| e["type"] == "call.incoming");
    assert_eq!(alice.terminate(), 130);
    let missed = news.wait_for("the note", |e| e["type"] == "call.ended" && e["call"]["reason"] == "cancelled");
    assert_eq!(missed["message"]["from"]["name"], "alice");
    let chats = world.json("bob", &["rpc", "chats"]);
    assert_eq!(chats[0]["unread"], 1, "{chats}");
    assert_eq!(world.json("bob", &["rpc", "call.list"]), Value::Array(vec![]));
}

#[test]
fn both_call_at_once_and_talk() {
    let world = World::of_friends();
    let (_alice, _bob) = (world.daemon("alice"), world.daemon("bob"));
    let start = |who: &str, other: &str| {
        let mut args = vec!["start", other];
        args.extend(QUIET);
        call(&mut world.starling(who), &args)
    };
    let (alice, bob) = (start("alice", "@bob"), start("bob", "@alice"));
    let a = alice.wait_for("the connection", |e| e["call"]["state"] == "connected");
    let b = bob.wait_for("the connection", |e| e["call"]["state"] == "connected");
    assert_eq!(a["call"]["emoji"], b["call"]["emoji"]);
    for who in ["alice", "bob"] {
        assert_eq!(world.json(who, &["rpc", "call.list"]).as_array().unwrap().len(), 1);
    }
}

#[test]
fn a_recording_begins_when_the_other_side_agrees_and_holds_both() {
    let world = World::of_friends();
    let file = world.dir.path().join("talk.mp4");
    let record = file.to_string_lossy().into_owned();
    let mut answer = vec!["answer", "--auto", "--count", "1", "--allow-recording", "--video-in", "pattern:320x180@30"];
    answer.extend(["--audio-in", "tone:880", "--audio-out", "none"]);
    let mut bob = call(&mut world.starling("bob"), &answer);
    bob.wait_for("readiness", |e| e["type"] == "call.ready");
    let mut start = vec!["start", "@bob", "--record", &record];
    start.extend(QUIET);
    let mut alice = call(&mut world.starling("alice"), &start);
    bob.wait_for("the question", |e| e["call"]["recorded"] == "asked");
    alice.wait_for("consent", |e| e["call"]["recording"] == "yes");
    // A fragment is written each second: what is there survives a crash.
    until("two fragments", || mp4::frames(&file, |_| {}).ok().filter(|n| *n > 25));
    assert_eq!(alice.terminate(), 0);
    assert_eq!(bob.wait(), 0);
    let sound = audio::file::read(&file).unwrap();
    let middle = &sound[sound.len() / 4..sound.len() * 3 / 4];
    for hertz in [440.0, 880.0] {
        let amplitude = loudness_of(middle, hertz);
        assert!(amplitude > 0.1, "{hertz} Hz at {amplitude}");
    }
    let seen = pattern_in(&file);
    assert!(seen.received > 20 && seen.out_of_order == 0, "{seen:?}");
    // Both have it in writing, by whom it was said.
    for (who, other) in [("alice", "@bob"), ("bob", "@alice")] {
        let notes = world.run(who, &["history", other, "--limit", "10", "--json"]).stdout;
        let said: Vec<(Value, Value)> = notes
            .split(|b| *b == b'\n')
            .filter_map(|line| serde_json::from_slice::<Value>(line).ok())
            .filter(|m| !m["call"]["recording"].is_null())
            .map(|m| (m["from"]["self"].clone(), m["call"]["recording"].clone()))
            .collect();
        let ours = who == "alice";
        assert_eq!(said[..2], [(ours.into(), "asked".into()), ((!ours).into(), "agreed".into())], "{who}: {said:?}");
    }
}

#[test]
fn nothing_is_recorded_without_consent_and_consent_can_be_taken_back() {
    let world = World::of_friends();
    let dir = world.dir.path();
    let (alice, bob) = connected(&world, &[]);
    let path = |name: &str| dir.join(name).to_string_lossy().into_owned();
    let (no, yes) = (path("no.ogg"), path("yes.ogg"));
    assert!(world.run("alice", &["call", "record", &no]).status.success());
    bob.wait_for("the question", |e| e["call"]["recorded"] == "asked");
    // Before she has asked it is "no", too, and before he has answered his events say "asked" whatever else has changed.
    alice.wait_for("the question", |e| e["call"]["recording"] == "asked");
    assert!(world.run("bob", &["call", "consent", "no"]).status.success());
    bob.wait_for("the answer", |e| e["call"]["recorded"] == "no");
    alice.wait_for("the answer", |e| e["call"]["recording"] == "no");
    assert!(world.run("alice", &["call", "record", &yes]).status.success());
    bob.wait_for("the question", |e| e["call"]["recorded"] == "asked");
    assert!(world.run("bob", &["call", "consent", "yes"]).status.success());
    alice.wait_for("the answer", |e| e["call"]["recording"] == "yes");
    until("sound in the file", || audio::file::read(Path::new(&yes)).ok().filter(|s| s.len() > 48_000));
    assert!(world.run("bob", &["call", "consent", "no"]).status.success());
    alice.wait_for("the end of it", |e| e["call"]["recording"] == "no");
    let length = |name: &str| audio::file::read(Path::new(name)).map(|s| s.len()).unwrap_or(0);
    let recorded = until("a complete file", || {
        let bytes = std::fs::read(&yes).ok()?;
        // The flag of the last page (RFC 3533).
        let last = bytes.windows(4).rposition(|w| w == b"OggS")?;
        (bytes.get(last + 5)? & 4 != 0).then(|| length(&yes))
    });
    assert!(recorded > 48_000);
    assert!(!Path::new(&no).exists());
    // A bad name is told before anybody is asked.
    for bad in [path("no/such/place.ogg"), path("talk.txt"), yes] {
        assert_ne!(world.run("alice", &["call", "record", &bad]).status.code(), Some(0), "{bad}");
    }
}

/// A process that stands still, as on a laptop whose lid is closed.
fn signal(process: &Process, name: &str) {
    let status = Command::new("kill").args([name, &process.id().to_string()]).status().unwrap();
    assert!(status.success());
}

#[test]
fn a_laptop_that_slept_for_a_while_is_back_in_the_call() {
    let world = World::of_friends();
    let stats = stats_of_alice(&world);
    let (mut alice, bob) = connected(&world, &[]);
    signal(&bob, "-STOP");
    alice.wait_for("the interruption", |e| e["call"]["state"] == "interrupted");
    signal(&bob, "-CONT");
    alice.wait_for("the connection again", |e| e["call"]["state"] == "connected");
    let heard = || last_stats(&stats)?["routes"][0]["audio"]["packets"].as_u64();
    let before = heard().unwrap_or(0);
    until("two seconds of sound", || heard().filter(|now| *now > before + 100));
    assert_eq!(alice.terminate(), 0);
}

#[test]
fn a_laptop_that_slept_too_long_finds_its_call_over() {
    let world = World::of_friends();
    let (mut alice, bob) = connected(&world, &[]);
    signal(&bob, "-STOP");
    let ended = alice.wait_for("the end", |e| e["call"]["state"] == "ended");
    assert_eq!(ended["call"]["reason"], "lost");
    assert_eq!(alice.wait(), 3);
    signal(&bob, "-CONT");
    bob.wait_for("the end", |e| e["call"]["state"] == "ended");
}
