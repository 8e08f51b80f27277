//! A call whose network changes under it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Control, Lab};
use crate::{Process, until};

/// A call between two hosts of a laboratory, which both hear a tone.
pub struct Talk {
    pub lab: Lab,
    alice: Process,
    bob: Process,
    ends: [End; 2],
    pictures: bool,
    _kept: Vec<Process>,
}

/// The hosts of the two ends.
pub const ENDS: [&str; 2] = ["ha", "hb"];
/// Packets of sound that have to come after a change, and how long they take: what was on its way and in the buffer before is less.
const HEARD: u64 = 50;
const TIME_OF_HEARD: Duration = Duration::from_secs(1);
/// The same of pictures.
const SEEN: u64 = 8;
const TIME_OF_SEEN: Duration = Duration::from_millis(500);

/// The call at one end.
struct End {
    control: Control,
    call: Value,
}

/// What an end has received since the call began.
#[derive(Clone, Copy, Default)]
struct Received {
    packets: u64,
    frames: u64,
}

/// How long after a change both ends received again what the other sends.
#[derive(Clone, Copy, Debug)]
pub struct Restored {
    pub sound: Duration,
    /// Nothing for a call without pictures.
    pub pictures: Option<Duration>,
}

impl End {
    fn route(&mut self) -> Value {
        self.control.call("call.stats", &json!({ "call": self.call }))["routes"][0].clone()
    }

    fn received(&mut self) -> Received {
        let route = self.route();
        let number = |kind: &str, what: &str| route[kind][what].as_u64().unwrap_or(0);
        Received { packets: number("audio", "packets"), frames: number("video", "frames") }
    }
}

impl Talk {
    pub fn begin((lab, server, daemons): (Lab, Process, (Process, Process))) -> Self {
        Self::of(lab, false, vec![server, daemons.0, daemons.1])
    }

    /// One in which both also see a pattern.
    pub fn with_pictures((lab, server, daemons): (Lab, Process, (Process, Process))) -> Self {
        Self::of(lab, true, vec![server, daemons.0, daemons.1])
    }

    /// Keeps the processes until it is over.
    pub fn of(lab: Lab, pictures: bool, kept: Vec<Process>) -> Self {
        let video: &[&str] = if pictures { &["--video-in", "pattern:320x180@15"] } else { &[] };
        let verb = |host: &str, args: &[&str]| {
            let mut command = lab.starling(host);
            command.arg("call").args(args).args(["--json", "--audio-in", "tone", "--audio-out", "none"]).args(video);
            Process::start(&mut command)
        };
        let bob = verb("hb", &["answer", "--auto", "--count", "1"]);
        bob.wait_for("readiness", |e| e["type"] == "call.ready");
        let alice = verb("ha", &["start", "@bob"]);
        let end = |host: &str, process: &Process| {
            let connected = process.wait_for("the connection", |e| e["call"]["state"] == "connected");
            End { control: lab.control(host), call: connected["call"]["id"].clone() }
        };
        let ends = [end("ha", &alice), end("hb", &bob)];
        let mut talk = Self { lab, alice, bob, ends, pictures, _kept: kept };
        talk.wait_for_media(Instant::now());
        talk
    }

    /// Waits until both ends have received the other for a while, and says since when.
    fn wait_for_media(&mut self, began: Instant) -> Restored {
        let Self { ends, pictures, .. } = self;
        let before = ends.each_mut().map(End::received);
        let (mut sound, mut seen) = (None, None);
        until("sound and pictures at both ends", || {
            let now = ends.each_mut().map(End::received);
            let both = |enough: fn(&Received, &Received) -> bool| before.iter().zip(&now).all(|(b, n)| enough(b, n));
            if sound.is_none() && both(|before, now| now.packets >= before.packets + HEARD) {
                sound = Some(began.elapsed().saturating_sub(TIME_OF_HEARD));
            }
            if seen.is_none() && both(|before, now| now.frames >= before.frames + SEEN) {
                seen = Some(began.elapsed().saturating_sub(TIME_OF_SEEN));
            }
            let restored = Restored { sound: sound?, pictures: seen };
            (seen.is_some() || !*pictures).then_some(restored)
        })
    }

    /// Changes the network, and waits until both receive one another again.
    pub fn restore(&mut self, change: impl FnOnce(&Lab)) -> Restored {
        let began = Instant::now();
        change(&self.lab);
        self.wait_for_media(began)
    }

    /// How sound goes at both ends: `direct`, `relay`, or null as long as that is not known.
    pub fn paths(&mut self) -> [Value; 2] {
        self.ends.each_mut().map(|end| end.route()["path"].clone())
    }

    /// Hangs up.
    pub fn end(mut self) {
        assert_eq!(self.alice.terminate(), 0);
        assert_eq!(self.bob.wait(), 0);
    }

    /// Changes the network of the call, and ends it. Gives how long one of them has heard nothing, at most.
    pub fn change(mut self, what: &str, change: impl FnOnce(&Lab)) -> Duration {
        let silence = self.restore(change).sound;
        println!("{what}: silent for {silence:.1?} at most, then by {}", self.ends[0].route()["path"]);
        self.end();
        silence
    }
}
