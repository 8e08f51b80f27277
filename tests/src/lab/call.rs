//! Calls between the two sides of a laboratory.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::Lab;
use crate::{Process, until};

/// What is sent in a call, as `starling call` is told it.
#[derive(Clone, Copy, Debug)]
pub struct CallMedia<'a> {
    /// The pictures that both send.
    pub pictures: &'a str,
    /// The sound that the caller sends: `tone`, or a file.
    pub said: &'a str,
    /// Where the called keeps what arrives of it: `none`, or a file.
    pub heard: &'a str,
}

impl Default for CallMedia<'_> {
    fn default() -> Self {
        Self { pictures: "pattern:320x180@15", said: "tone", heard: "none" }
    }
}

/// A call that has ended.
#[derive(Debug)]
pub struct CallOutcome {
    /// From the answer until sound and pictures were transmitted, as the caller sees it.
    pub connected_after: Duration,
    /// The last statistics of who was called.
    pub stats: Value,
    /// All of them, one a second.
    pub seconds: Vec<Value>,
}

/// Whether a call has shown that it works, by its statistics so far: three seconds of sound, and pictures; or much sound, if none come.
fn is_enough(stats: &Path) -> bool {
    let text = std::fs::read_to_string(stats).unwrap_or_default();
    // The last line may be on its way.
    let last = text.lines().rev().find_map(|line| serde_json::from_str::<Value>(line).ok()).unwrap_or_default();
    let route = &last["routes"][0];
    let packets = route["audio"]["packets"].as_u64().unwrap_or(0);
    packets >= 150 && route["video"]["pattern"]["received"].as_u64() >= Some(30) || packets >= 1_000
}

impl Lab {
    /// A call from one side to the other, with sound and small pictures, until there was enough of them.
    pub fn call(&self) -> CallOutcome {
        self.call_that_ends(CallMedia::default(), &[], |call, stats| {
            until("enough of the call", || is_enough(stats).then_some(()));
            call.terminate()
        })
    }

    /// The same with other sound and pictures, and for a time.
    pub fn call_with(&self, media: CallMedia<'_>, duration: &str) -> CallOutcome {
        self.call_that_ends(media, &["--duration", duration], |call, _| call.wait())
    }

    /// The same, ended by the caller as is said, which gives the exit code.
    fn call_that_ends(
        &self,
        media: CallMedia<'_>,
        more: &[&str],
        end: impl FnOnce(&mut Process, &Path) -> i32,
    ) -> CallOutcome {
        let stats = self.file("stats.jsonl");
        // Those of a call before would be taken for those of this one.
        let _ = std::fs::remove_file(&stats);
        let CallMedia { pictures, said, heard } = media;
        let mut answer = self.starling("hb");
        answer.args(["call", "answer", "--auto", "--count", "1", "--json", "--stats"]).arg(&stats);
        answer.args(["--audio-in", "tone", "--audio-out", heard, "--video-in", pictures]);
        let mut bob = Process::start(&mut answer);
        bob.wait_for("readiness", |e| e["type"] == "call.ready");
        let mut start = self.starling("ha");
        start.args(["call", "start", "@bob", "--json"]).args(more);
        start.args(["--audio-in", said, "--audio-out", "none", "--video-in", pictures]);
        let mut alice = Process::start(&mut start);
        alice.wait_for("the answer", |e| e["call"]["state"] == "connecting");
        let answered = Instant::now();
        alice.wait_for("the connection", |e| e["call"]["state"] == "connected");
        let connected_after = answered.elapsed();
        println!("connected {connected_after:.1?} after the answer");
        assert_eq!((end(&mut alice, &stats), bob.wait()), (0, 0));
        let text = std::fs::read_to_string(&stats).unwrap();
        let seconds: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        CallOutcome { connected_after, stats: seconds.last().unwrap().clone(), seconds }
    }
}
