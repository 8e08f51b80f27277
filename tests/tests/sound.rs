//! Real sound devices: the code that talks to them, with a PulseAudio server whose loudspeaker is a null sink and whose microphone its monitor.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::process::{Child, Command, Stdio};

use starling_media::audio::{self, AudioSink, file::FileSink, level, strongest_tone};
use starling_tests::{Process, World, skip, until, until_none};

/// The loudspeaker, and the room that the microphone hears.
const SINKS: [&str; 2] = ["sink_name=speaker", "sink_name=room"];
const NULL_SINK: &str = "module-null-sink";
const FORMAT: &str = "rate=48000 channels=1";

/// A sound server of our own, without hardware.
struct SoundServer {
    child: Child,
    runtime: String,
}

impl SoundServer {
    fn start(world: &World) -> Option<Self> {
        let there = |program: &str| Command::new(program).arg("--version").stdout(Stdio::null()).status().is_ok();
        if !there("pulseaudio") || !there("pacat") {
            skip("pulseaudio and its tools");
            return None;
        }
        let runtime = world.dir.path().to_string_lossy().into_owned();
        let server = Self { child: Self::spawn(&runtime), runtime };
        server.ready();
        Some(server)
    }

    fn spawn(runtime: &str) -> Child {
        Command::new("pulseaudio")
            .args(["-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no", "--log-level=error"])
            .args(SINKS.iter().flat_map(|sink| ["-L".to_owned(), [NULL_SINK, sink, FORMAT].join(" ")]))
            .args(["-L", "module-native-protocol-unix auth-anonymous=1"])
            .env("XDG_RUNTIME_DIR", runtime)
            .env("HOME", runtime)
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    fn ready(&self) {
        until("the sound server", || self.pactl(&["set-default-sink", "speaker"]).then_some(()));
        assert!(self.pactl(&["set-default-source", "room.monitor"]));
    }

    /// As after a crash: all streams are gone.
    fn restart(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.child = Self::spawn(&self.runtime);
        self.ready();
    }

    /// As when the only headset is pulled out and put in again: the server goes on, and has ended all streams.
    fn replug(&self) {
        assert!(self.pactl(&["unload-module", NULL_SINK]));
        for sink in SINKS {
            self.plug(sink);
        }
        self.ready();
    }

    /// Puts in a loudspeaker; the number that it is pulled out by.
    fn plug(&self, sink: &str) -> String {
        let mut command = self.tool("pactl");
        let output = command.args(["load-module", NULL_SINK, sink]).args(FORMAT.split(' ')).output().unwrap();
        assert!(output.status.success(), "{sink}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Streams from microphones that the server has.
    fn recordings(&self) -> String {
        self.list("source-outputs")
    }

    /// What the server has of a kind, one a line.
    fn list(&self, kind: &str) -> String {
        let output = self.tool("pactl").args(["list", "short", kind]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    fn tool(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("XDG_RUNTIME_DIR", &self.runtime).env("HOME", &self.runtime).stderr(Stdio::null());
        command
    }

    fn pactl(&self, args: &[&str]) -> bool {
        self.tool("pactl").args(args).stdout(Stdio::null()).status().is_ok_and(|s| s.success())
    }

    /// What the loudspeaker plays, for a second.
    fn speaker(&self) -> Vec<f32> {
        self.listen("speaker")
    }

    /// Waits until a loudspeaker plays the tone.
    fn plays(&self, sink: &str, what: &str) {
        until(what, || (strongest_tone(&self.listen(sink)).0.abs_diff(600) <= 5).then_some(()));
    }

    /// What a loudspeaker plays, for a second.
    fn listen(&self, sink: &str) -> Vec<f32> {
        let mut command = self.tool("pacat");
        command.arg(format!("--device={sink}.monitor")).args([
            "--record",
            "--rate=48000",
            "--channels=1",
            "--format=s16le",
            "--raw",
        ]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut bytes = vec![0; 96_000 * 3 / 2];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut bytes).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        bytes[48_000..].chunks(2).map(|b| f32::from(i16::from_le_bytes([b[0], b[1]])) / 32_768.0).collect()
    }
}

impl Drop for SoundServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Something like speech: syllables of gliding pitch, four in a second, with pauses between words.
fn speech(path: &std::path::Path) {
    let mut sink = FileSink::create(path).unwrap();
    let mut phase = 0.0f32;
    for n in 0..400usize {
        let mut tick = [0.0; 480];
        for (i, sample) in tick.iter_mut().enumerate() {
            let at = (n * 480 + i) as f32 / 48_000.0;
            let syllable = (at * 4.0).fract();
            let number = (at * 4.0) as usize;
            let speaks = number % 5 != 4;
            let pitch = 100.0 + 25.0 * (number * 7 % 5) as f32 + 60.0 * syllable;
            phase = (phase + pitch / 48_000.0).fract();
            let formant = 2 + number * 3 % 9;
            let voice: f32 = (1..24)
                .map(|h: usize| (phase * h as f32 * std::f32::consts::TAU).sin() / (1.0 + h.abs_diff(formant) as f32))
                .sum();
            let envelope = (syllable * std::f32::consts::PI).sin().powi(2);
            *sample = if speaks { 0.25 * voice * envelope } else { 0.0 };
        }
        sink.play(&tick).unwrap();
    }
    sink.finish().unwrap();
}

#[test]
fn sound_goes_from_a_microphone_to_a_loudspeaker_through_a_call() {
    let world = World::new();
    let Some(mut server) = SoundServer::start(&world) else { return };
    world.person("alice");
    world.person("bob");
    world.befriend("alice", "bob");
    let voice = world.dir.path().join("voice.wav");
    speech(&voice);
    let devices = world.json("alice", &["call", "devices"]);
    assert!(devices["audio"].as_array().unwrap().iter().any(|d| d["output"] == true), "{devices}");
    let call = |audio_in: &str, args: &[&str]| {
        let mut bob = world.starling("bob");
        bob.args([
            "call",
            "answer",
            "--auto",
            "--count",
            "1",
            "--json",
            "--audio-in",
            audio_in,
            "--audio-out",
            "default",
        ]);
        let bob = Process::start(&mut bob);
        bob.wait_for("readiness", |e| e["type"] == "call.ready");
        let mut alice = world.starling("alice");
        let alice = Process::start(alice.args(["call", "start", "@bob", "--json"]).args(args));
        alice.wait_for("the connection", |e| e["call"]["state"] == "connected");
        bob.wait_for("the connection", |e| e["call"]["state"] == "connected");
        (alice, bob)
    };
    // Bob hears a tone by his loudspeaker …
    let (mut alice, mut bob) = call("none", &["--audio-in", "tone:600", "--audio-out", "none"]);
    // A call is connected before its loudspeaker is open.
    until_none("the loudspeaker plays", || {
        let (hertz, amplitude) = strongest_tone(&server.speaker());
        let is_heard = hertz.abs_diff(600) <= 5 && amplitude > 0.1;
        (!is_heard).then(|| format!("{hertz} Hz at {amplitude}"))
    });
    // … also after the sound server was started again, without a word from anybody.
    server.restart();
    server.plays("speaker", "the tone again");
    // … or the loudspeaker was away. That takes no further connection: a server has 64 for all programs.
    let connections = || server.list("clients").lines().count();
    let before = connections();
    server.replug();
    server.plays("speaker", "the tone once more");
    until("as few connections as before", || (connections() <= before).then_some(()));
    // … or another one is the default for a while, as a headset that is put in and pulled out again.
    let headset = server.plug("sink_name=headset");
    assert!(server.pactl(&["set-default-sink", "headset"]));
    server.plays("headset", "the tone in the headset");
    assert!(server.pactl(&["unload-module", &headset]));
    server.ready();
    server.plays("speaker", "the tone without the headset");
    assert_eq!((alice.terminate(), bob.wait()), (0, 0));
    // … and speaks into his microphone; Alice writes down what she hears.
    let heard = world.dir.path().join("heard.wav");
    let (mut alice, mut bob) = call("default", &["--audio-in", "none", "--audio-out", &heard.to_string_lossy()]);
    // A call is connected before its microphone is open.
    until("the microphone", || (!server.recordings().is_empty()).then_some(()));
    // It is pulled out with the loudspeaker, and put in again.
    server.replug();
    until("the microphone again", || (!server.recordings().is_empty()).then_some(()));
    let mut speaks =
        server.tool("pacat").args(["--playback", "--device=room", "--file-format=wav"]).arg(&voice).spawn().unwrap();
    speaks.wait().unwrap();
    // All that was said is written down: the file is as long as what was spoken, and the silence before.
    until("the end of the speech", || {
        let sound = audio::file::read(&heard).unwrap_or_default();
        let last = sound.chunks(4_800).rposition(|chunk| level(chunk) > 0.02)?;
        (sound.len() / 4_800 > last + 10).then_some(())
    });
    assert_eq!((alice.terminate(), bob.wait()), (0, 0));
    let sound = audio::file::read(&heard).unwrap();
    let levels: Vec<f32> = sound.chunks(4_800).map(level).collect();
    let loudest = levels.iter().copied().fold(0.0, f32::max);
    assert!(loudest > 0.02, "the microphone was not heard: {levels:?}");
    assert!(levels.iter().filter(|l| **l > loudest / 6.0).count() > 8, "{levels:?}");
    // No device is left open when the call is over. The server takes a moment to see that.
    until_none("these are left", || Some(server.recordings()).filter(|left| !left.is_empty()));
}
