//! A call whose network changes under it.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::Lab;
use crate::{Process, until};

/// A call between two hosts of a laboratory, which both hear a tone.
pub struct Talk {
    pub lab: Lab,
    alice: Process,
    bob: Process,
    _server: Process,
    _daemons: (Process, Process),
}

/// One end.
pub const ENDS: [&str; 2] = ["ha", "hb"];
/// What has to be heard after a change: packets of two seconds. The statistics before it lack a second at most.
const HEARD: u64 = 100;

impl Talk {
    pub fn begin((lab, server, daemons): (Lab, Process, (Process, Process))) -> Self {
        let verb = |host: &str, args: &[&str]| {
            let mut command = lab.starling(host);
            command.arg("call").args(args).args(["--json", "--audio-in", "tone", "--audio-out", "none"]);
            command.args(["--stats", &lab.file(&format!("{host}.jsonl")).to_string_lossy()]);
            Process::start(&mut command)
        };
        let bob = verb("hb", &["answer", "--auto", "--count", "1"]);
        bob.wait_for("readiness", |e| e["type"] == "call.ready");
        let alice = verb("ha", &["start", "@bob"]);
        for end in [&alice, &bob] {
            end.wait_for("the connection", |e| e["call"]["state"] == "connected");
        }
        let talk = Self { lab, alice, bob, _server: server, _daemons: daemons };
        talk.hear_more();
        talk
    }

    fn stats(&self, host: &str) -> Option<Value> {
        let text = std::fs::read_to_string(self.lab.file(&format!("{host}.jsonl"))).ok()?;
        serde_json::from_str(text.lines().rev().find(|line| line.ends_with('}'))?).ok()
    }

    fn packets(&self, host: &str) -> u64 {
        self.stats(host).and_then(|stats| stats["routes"][0]["audio"]["packets"].as_u64()).unwrap_or(0)
    }

    /// Waits until both ends have heard the other for two seconds more.
    pub fn hear_more(&self) {
        let before = ENDS.map(|host| self.packets(host));
        until("sound at both ends", || {
            ENDS.iter().zip(before).all(|(host, before)| self.packets(host) > before + HEARD).then_some(())
        });
    }

    /// Changes the network, and waits until both hear one another again. Gives how long one of them has heard nothing, at most.
    pub fn change(self, what: &str, change: impl FnOnce(&Lab)) -> Duration {
        let began = Instant::now();
        change(&self.lab);
        self.hear_more();
        let silence = began.elapsed().saturating_sub(Duration::from_secs(1));
        println!("{what}: silent for {silence:.1?} at most, then by {:?}", self.path("ha"));
        self.end();
        silence
    }

    /// How sound goes, if that is known.
    pub fn path(&self, host: &str) -> Option<String> {
        Some(self.stats(host)?["routes"][0]["path"].as_str()?.to_owned())
    }

    /// The caller hangs up.
    pub fn end(mut self) {
        assert_eq!(self.alice.terminate(), 0);
        assert_eq!(self.bob.wait(), 0);
    }
}
