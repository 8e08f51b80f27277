//! `kill -9` of each side at each step of a link: before and after every commit that the old device and the new one make, and of the server at some
//! moments. Afterwards the device is on the account's list and has everything, or is not on it and the link is made again; no other device is.
//!
//! `STARLING_LINK_KILLS=1` tries every point of both devices, `=4` each fourth of them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use starling_tests::{PATIENCE, Process, World, until};

/// A link has come to its end by then.
const LINK: Duration = Duration::from_millis(1500);
/// Moments of a link at which the server is killed.
const SERVER_KILLS: u32 = 2;
/// All of a conversation.
const HISTORY: usize = 10_000;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Victim {
    /// The device that joins, from its first commit on, and as a daemon until it has what is written after it came.
    New,
    /// The device that links it.
    Old,
}

/// Alice's first device and bob, who write, and devices that are linked.
struct Links {
    world: World,
    alice: Process,
    _bob: Process,
    written: Vec<String>,
    tried: u32,
}

impl Links {
    fn new() -> Self {
        let world = World::of_friends();
        let (alice, _bob) = (world.daemon("alice"), world.daemon("bob"));
        Self { world, alice, _bob, written: Vec::new(), tried: 0 }
    }

    /// What counts the points that are passed (see `store/kill_point.rs`).
    fn counter(&self) -> PathBuf {
        self.world.dir.path().join("kill-point")
    }

    /// A program that may be killed at a point.
    fn mortal(&self, profile: &str, args: &[&str]) -> Process {
        let log = self.world.dir.path().join(format!("{profile}.log"));
        let log = fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
        let mut command = self.world.starling(profile);
        Process::start(command.args(args).arg("--json").env("STARLING_KILL_POINT", self.counter()).stderr(log))
    }

    fn write(&mut self, from: &str, to: &str, text: String) {
        // A device that is new may not know its contacts yet.
        let start = Instant::now();
        loop {
            let sent = self.world.run(from, &["send", to, &text]);
            if sent.status.success() {
                break;
            }
            assert!(start.elapsed() < PATIENCE, "{text}: {}", String::from_utf8_lossy(&sent.stderr));
        }
        self.written.push(text);
    }

    /// What is killed has removed the counter.
    fn was_killed(&self) -> bool {
        !self.counter().exists()
    }

    /// Links a device while one of the two is killed at a point. `false` if that was never come to.
    fn link_and_kill(&mut self, profile: &str, victim: Victim, point: u64) -> bool {
        if victim == Victim::Old {
            self.alice.terminate();
            self.alice = self.mortal("alice", &["daemon"]);
            self.alice.wait_for("the daemon", |line| line["type"] == "daemon.ready");
        }
        let case = format!("{victim:?} at {point}");
        self.write("bob", "@alice", format!("{case}: before"));
        let (link, code, home) = self.world.linking("alice", &["--yes", "--history", "all"]);
        fs::write(self.counter(), point.to_string()).unwrap();
        let args = ["device", "join", &code, "--rendezvous", &home];
        let mut join = match victim {
            Victim::New => self.mortal(profile, &args),
            Victim::Old => self.world.joining(profile, &args[2..]),
        };
        // Who links it hears of it, while the others write.
        self.write("bob", "@alice", format!("{case}: meanwhile"));
        self.tried += 1;
        let joined = self.outcome(&mut join, victim);
        if joined && victim == Victim::New && !self.was_killed() {
            self.first_run(profile, &case);
        }
        let killed = self.was_killed();
        if killed && victim == Victim::Old {
            self.alice.kill();
            self.alice = self.world.daemon("alice");
        }
        let _ = fs::remove_file(self.counter());
        drop(link);
        if !joined {
            self.get_in(profile);
        }
        killed
    }

    /// Whether a device has joined. Most users do not wait until it has noticed that the other one is gone.
    fn outcome(&self, join: &mut Process, victim: Victim) -> bool {
        let is_patient = victim == Victim::New || self.tried % 6 == 1;
        while !is_patient && join.ended().is_none() {
            if self.was_killed() {
                join.kill();
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        join.wait() == 0
    }

    /// The new device's daemon, until it is killed or has what is written now.
    fn first_run(&mut self, profile: &str, case: &str) {
        let daemon = self.mortal(profile, &["daemon"]);
        let text = format!("{case}: to the new one");
        self.write("bob", "@alice", text.clone());
        let deadline = Instant::now() + PATIENCE;
        while !self.was_killed() && !self.world.texts(profile, "@bob", HISTORY).contains(&text) {
            assert!(Instant::now() < deadline, "{text} does not come");
        }
        drop(daemon);
    }

    /// A device whose link was interrupted goes on with what it has kept, or is not on the list and begins again.
    fn get_in(&self, profile: &str) {
        let dir = self.world.dir.path().join("profiles").join(profile);
        for _ in 0..3 {
            if dir.join("profile.redb").exists() {
                return;
            }
            let may_go_on = dir.join("joining/profile.redb").exists();
            if may_go_on && self.world.joining(profile, &[]).wait() == 0 {
                return;
            }
            let (_link, code, home) = self.world.linking("alice", &["--yes", "--history", "all"]);
            if self.world.joining(profile, &[&code, "--rendezvous", &home]).wait() == 0 {
                return;
            }
        }
        panic!("{profile} does not get in");
    }

    /// Both lists and all histories are the same, and both devices can be written to; then the new one is removed again.
    fn all_is_well(&mut self, profile: &str, case: &str) {
        let laptop = self.world.daemon(profile);
        let list = |who: &str| {
            let devices =
                self.world.devices(who).into_iter().map(|device| device["device"].as_str().unwrap().to_owned());
            devices.collect::<Vec<_>>()
        };
        let own = self.world.json(profile, &["rpc", "status"])["device"].as_str().unwrap().to_owned();
        let devices = until(&format!("{case}: the list"), || Some(list("alice")).filter(|l| l.contains(&own)));
        assert_eq!(devices.len(), 2, "{case}: there is a device that nobody has");
        until(&format!("{case}: one list"), || (list(profile) == devices).then_some(()));
        until(&format!("{case}: the list at bob"), || {
            let known = self.world.json("bob", &["rpc", "contacts"])[0]["devices"].clone();
            (known.as_array().unwrap().len() == 2).then_some(())
        });
        self.write("bob", "@alice", format!("{case}: after"));
        self.write(profile, "@bob", format!("{case}: from the new one"));
        let mut expected = self.written.clone();
        expected.sort();
        for (who, with) in [("alice", "@bob"), ("bob", "@alice"), (profile, "@bob")] {
            let start = Instant::now();
            loop {
                let mut texts = self.world.texts(who, with, HISTORY);
                texts.sort();
                if texts == expected {
                    break;
                }
                let lost: Vec<&String> = expected.iter().filter(|text| !texts.contains(text)).collect();
                assert!(start.elapsed() < PATIENCE, "{case}: {who} lacks {lost:?}, and has {texts:?}");
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        drop(laptop);
        // Its home may take it a moment later.
        let removed = self.world.run("alice", &["device", "remove", &own]).status.code();
        assert!(matches!(removed, Some(0 | 3)), "{case}: {removed:?}");
    }

    fn sweep(&mut self, victim: Victim, step: u64) {
        let first = number("STARLING_LINK_KILLS_FIRST", 0);
        for point in (first..).step_by(usize::try_from(step).unwrap()) {
            let start = Instant::now();
            let profile = format!("laptop-{victim:?}-{point}").to_lowercase();
            let killed = self.link_and_kill(&profile, victim, point);
            let case = format!("{victim:?} at {point}");
            self.all_is_well(&profile, &case);
            println!(
                "{case}: {} ({:.1} s)",
                if killed { "killed" } else { "never come to" },
                start.elapsed().as_secs_f32()
            );
            if !killed {
                return;
            }
        }
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn step() -> u64 {
    number("STARLING_LINK_KILLS", 8)
}

#[test]
fn the_new_device_is_killed_at_each_commit_of_a_link() {
    Links::new().sweep(Victim::New, step());
}

#[test]
fn the_old_device_is_killed_at_each_commit_of_a_link() {
    Links::new().sweep(Victim::Old, step());
}

#[test]
fn the_server_is_killed_at_moments_of_a_link() {
    let mut links = Links::new();
    for moment in 0..SERVER_KILLS {
        let after = LINK * (2 * moment + 1) / (2 * SERVER_KILLS);
        let (profile, case) = (format!("laptop-{moment}"), format!("the server after {after:?}"));
        let (link, code, home) = links.world.linking("alice", &["--yes", "--history", "all"]);
        let mut join = links.world.joining(&profile, &[&code, "--rendezvous", &home]);
        // Any moment: which one is the point.
        std::thread::sleep(after);
        links.world.restart_rendezvous();
        // Who owes nothing notices half a minute later, unless asked.
        for who in ["alice", "bob"] {
            assert!(links.world.run(who, &["whoami"]).status.success());
        }
        let joined = join.wait() == 0;
        drop(link);
        if !joined {
            links.get_in(&profile);
        }
        links.all_is_well(&profile, &case);
    }
}
