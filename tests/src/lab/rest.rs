//! What a program costs that nobody uses: how often it wakes up, and what it sends and receives.

use std::{
    fs,
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use super::Lab;
use crate::{Process, run_to_end};

/// Between two looks at a program.
const LOOK: Duration = Duration::from_millis(20);
/// What a program does within so short a time it has woken up for once: an answer comes, and is acknowledged a moment later.
const QUIET: Duration = Duration::from_millis(300);

/// What a program did at rest, in a minute.
#[derive(Clone, Copy, Debug)]
pub struct AtRest {
    /// How often it has woken up.
    pub wakeups: f64,
    /// Packets that came in and went out.
    pub packets: f64,
}

/// How often the threads of a program have waited for something.
fn waits(pid: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().filter_map(Result::ok);
    let of = |text: String| {
        let line = text.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.and_then(|number| number.trim().parse::<u64>().ok())
    };
    // A thread may end meanwhile.
    tasks.filter_map(|task| fs::read_to_string(task.path().join("status")).ok().and_then(of)).sum()
}

/// How often a program wakes up within a time.
fn wakeups(pid: u32, time: Duration) -> u32 {
    let (began, mut before) = (Instant::now(), waits(pid));
    let (mut wakeups, mut active) = (0, None::<Instant>);
    while began.elapsed() < time {
        // This is the measurement itself.
        sleep(LOOK);
        let (now, waits) = (Instant::now(), waits(pid));
        if waits != before {
            let goes_on = active.is_some_and(|last| now - last < QUIET);
            wakeups += u32::from(!goes_on);
            active = Some(now);
        }
        before = waits;
    }
    wakeups
}

impl Lab {
    /// Counts the packets of IPv4 that come in at a device of a host and go out there.
    pub fn count_packets(&self, host: &str, device: &str) {
        self.must(host, "nft add table ip counted");
        self.must(host, "nft add counter ip counted seen");
        for (hook, side) in [("input", "iifname"), ("output", "oifname")] {
            self.must(host, &format!("nft add chain ip counted {hook} {{ type filter hook {hook} priority 0 ; }}"));
            self.must(host, &format!("nft add rule ip counted {hook} {side} {device} counter name seen"));
        }
    }

    /// Counts the packets of IPv4 that come in at a host and match an expression of nftables.
    pub fn count_incoming(&self, host: &str, matching: &str) {
        self.must(host, "nft add table ip counted");
        self.must(host, "nft add counter ip counted seen");
        self.must(host, "nft add chain ip counted input { type filter hook input priority 0 ; }");
        self.must(host, &format!("nft add rule ip counted input {matching} counter name seen"));
    }

    /// How many packets were counted at a host.
    pub fn counted(&self, host: &str) -> u64 {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.ns(host), "nft", "list", "counter", "ip", "counted", "seen"]);
        let text = String::from_utf8(run_to_end(&mut command).stdout).unwrap();
        let number = text.lines().find_map(|line| line.trim().strip_prefix("packets ")?.split(' ').next());
        number.and_then(|number| number.parse().ok()).expect("a counter")
    }

    /// What the only program of a host does within a time, whose packets are counted.
    pub fn at_rest(&self, host: &str, process: &Process, time: Duration) -> AtRest {
        let packets = self.counted(host);
        let wakeups = wakeups(process.id(), time);
        let packets = self.counted(host) - packets;
        let minutes = time.as_secs_f64() / 60.0;
        AtRest { wakeups: f64::from(wakeups) / minutes, packets: packets as f64 / minutes }
    }
}
