//! Files that a call reads and writes, between real programs: all of them are checked before anybody hears it ring.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Stdio},
};

use starling_media::audio::{self, strongest_tone};
use starling_tests::{Process, World};

/// Seconds of a tone as a WAV file whose header was written before its length was known, as `ffmpeg -f wav -` does it.
fn streamed_wav(hertz: f32, seconds: usize) -> Vec<u8> {
    let mut bytes = b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
    bytes.extend(16_000u32.to_le_bytes());
    bytes.extend(32_000u32.to_le_bytes());
    bytes.extend(b"\x02\0\x10\0data\xff\xff\xff\xff");
    for i in 0..seconds * 16_000 {
        let sample = 8_000.0 * (std::f32::consts::TAU * hertz * i as f32 / 16_000.0).sin();
        bytes.extend((sample as i16).to_le_bytes());
    }
    bytes
}

/// The strongest tone in the second half of a file: the beginning is silence until it is connected.
fn tone_in(path: &Path) -> u32 {
    let sound = audio::file::read(path).unwrap();
    strongest_tone(&sound[sound.len() / 2..]).0
}

#[test]
fn sound_from_a_stream_and_from_a_pipe_is_played() {
    let world = World::of_friends();
    let dir = world.dir.path().to_owned();
    let (stream, heard, told) = (dir.join("stream.wav"), dir.join("heard.wav"), dir.join("told.wav"));
    fs::write(&stream, streamed_wav(700.0, 3)).unwrap();
    let mut bob = world.starling("bob");
    bob.args(["call", "answer", "--auto", "--count", "1", "--json", "--audio-in"]).arg(&stream);
    let mut bob = Process::start(bob.arg("--audio-out").arg(&heard));
    bob.wait_for("readiness", |e| e["type"] == "call.ready");
    let mut cat = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut pipe = cat.stdin.take().unwrap();
    let writer = std::thread::spawn(move || std::io::Write::write_all(&mut pipe, &streamed_wav(440.0, 3)).unwrap());
    let mut alice = world.starling("alice");
    alice.args(["call", "start", "@bob", "--duration", "4s", "--audio-in", "/dev/stdin", "--audio-out"]).arg(&told);
    let done = alice.stdin(cat.stdout.take().unwrap()).output().unwrap();
    writer.join().unwrap();
    cat.wait().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(bob.wait(), 0);
    assert!(tone_in(&heard).abs_diff(440) <= 5, "bob heard {} Hz", tone_in(&heard));
    assert!(tone_in(&told).abs_diff(700) <= 5, "alice heard {} Hz", tone_in(&told));
}

#[test]
fn files_that_cannot_be_used_are_refused_before_it_rings() {
    let world = World::of_friends();
    let dir = world.dir.path().to_owned();
    let at = |name: &str| dir.join(name).to_string_lossy().into_owned();
    let (sound, link, hard) = (at("a.wav"), at("link.wav"), at("hard.wav"));
    fs::write(&sound, streamed_wav(440.0, 1)).unwrap();
    symlink(&sound, &link).unwrap();
    fs::hard_link(&sound, &hard).unwrap();
    let pictures = at("a.y4m");
    let mut y4m = b"YUV4MPEG2 W16 H16 F30:1\nFRAME\n".to_vec();
    y4m.extend([128; 384]);
    fs::write(&pictures, &y4m).unwrap();
    let missing = at("none/x.wav");
    let before = fs::read(&sound).unwrap();
    for args in [
        vec!["--audio-in", &sound, "--audio-out", &sound],
        vec!["--audio-in", &sound, "--audio-out", &link],
        vec!["--audio-in", &link, "--audio-out", &hard],
        vec!["--audio-in", &sound, "--stats", &hard],
        vec!["--video-in", &pictures, "--video-out", &pictures],
        vec!["--audio-in", "none", "--video-in", &pictures, "--stats", &pictures],
        vec!["--audio-out", &missing],
        vec!["--audio-in", &missing],
        vec!["--video-out", "/proc/nothing/x.mp4"],
        vec!["--stats", &missing],
        vec!["--record", "/nowhere/x.mp4"],
        vec!["--record", &sound],
    ] {
        for verb in [vec!["call", "start", "@bob"], vec!["call", "answer", "--auto", "--count", "1"]] {
            let all: Vec<&str> = verb.into_iter().chain(args.iter().copied()).collect();
            let output = world.run("alice", &all);
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(2), "{all:?}: {error}");
        }
    }
    assert_eq!(fs::read(&sound).unwrap(), before);
    assert_eq!(fs::read(&pictures).unwrap(), y4m);
    // Nothing rang: a call would be kept in the history.
    let history = world.run("alice", &["history", "@bob", "--json"]);
    let history = String::from_utf8_lossy(&history.stdout).into_owned();
    assert!(!history.contains("\"call\""), "{history}");
}
