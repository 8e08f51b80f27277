//! `kill -9` of each side at each step of a link: before and after every commit that the old device, the new one and the server make. Afterwards the
//! device is on the account's list and has everything, or is not on it and the link is made again; no other device is.
//!
//! `STARLING_LINK_KILLS=1` tries every point of all three, `=4` each fourth of them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::{fs, path::PathBuf, time::Instant};

use serde_json::Value;
use starling_tests::{Process, World, until, until_none};

/// Says where the counter is that the programs count down (see the crate `kill-point`).
const KILL_POINT: &str = "STARLING_KILL_POINT";
/// At about so many points of a link the server is killed unless a step is given: it takes all others seconds to notice each time.
const SERVER_KILLS: u64 = 4;
/// More points than there are in a link: nobody is killed.
const NEVER: u64 = 1_000_000;
/// All of a conversation.
const HISTORY: usize = 10_000;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Victim {
    /// The device that joins, from its first commit on, and as a daemon until it has what is written after it came.
    New,
    /// The device that links it.
    Old,
    /// The rendezvous, until the new device has, as a daemon, what is written after it came.
    Server,
}

/// Alice's first device and bob, who write, and devices that are linked.
struct Links {
    world: World,
    alice: Process,
    _bob: Process,
    written: Vec<String>,
    tried: u32,
    /// The server runs again after it was killed.
    is_server_back: bool,
}

/// What counts the points that are passed.
fn counter(world: &World) -> PathBuf {
    world.dir.path().join("kill-point")
}

/// Starts the server again as one that may be killed at a point.
fn start_mortal_server(world: &mut World) {
    let counter = counter(world);
    world.restart_rendezvous_with(&[(KILL_POINT, counter.to_str().unwrap())]);
}

impl Links {
    fn new(victim: Victim) -> Self {
        let mut world = World::of_friends();
        if victim == Victim::Server {
            start_mortal_server(&mut world);
        }
        let (alice, _bob) = (world.daemon("alice"), world.daemon("bob"));
        Self { world, alice, _bob, written: Vec::new(), tried: 0, is_server_back: false }
    }

    fn counter(&self) -> PathBuf {
        counter(&self.world)
    }

    /// A program that may be killed at a point.
    fn mortal(&self, profile: &str, args: &[&str]) -> Process {
        let log = self.world.dir.path().join(format!("{profile}.log"));
        let log = fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
        let mut command = self.world.starling(profile);
        Process::start(command.args(args).arg("--json").env(KILL_POINT, self.counter()).stderr(log))
    }

    fn write(&mut self, from: &str, to: &str, text: String) {
        // A device that is new may not know its contacts yet.
        until_none(&text, || {
            let sent = self.world.run(from, &["send", to, &text]);
            (!sent.status.success()).then(|| String::from_utf8_lossy(&sent.stderr).into_owned())
        });
        self.written.push(text);
    }

    /// What is killed has removed the counter.
    fn was_killed(&self) -> bool {
        !self.counter().exists()
    }

    /// Nobody is killed any more. What is left of the count, or nothing if somebody was killed.
    fn disarm(&self) -> Option<u64> {
        let left = fs::read_to_string(self.counter()).ok().and_then(|text| text.parse().ok());
        // Of a program that comes to its point now and this test, only one removes it.
        fs::remove_file(self.counter()).ok().map(|()| left.unwrap_or_default())
    }

    /// Starts the server that was killed again.
    fn revive_server(&mut self) {
        start_mortal_server(&mut self.world);
        self.is_server_back = true;
        // Who owes nothing notices half a minute later, unless asked.
        for who in ["alice", "bob"] {
            assert!(self.world.run(who, &["whoami"]).status.success());
        }
    }

    /// Links a device while somebody is killed at a point. What is left of the count if that was never come to.
    fn link_and_kill(&mut self, profile: &str, victim: Victim, point: u64) -> Option<u64> {
        if victim == Victim::Old {
            self.alice.terminate();
            self.alice = self.mortal("alice", &["daemon"]);
            self.alice.wait_for("the daemon", |line| line["type"] == "daemon.ready");
        }
        let case = format!("{victim:?} at {point}");
        self.write("bob", "@alice", format!("{case}: before"));
        let (link, code, home) = self.world.linking("alice", &["--yes", "--history", "all"]);
        self.is_server_back = false;
        fs::write(self.counter(), point.to_string()).unwrap();
        let args = ["device", "join", &code, "--rendezvous", &home];
        let mut join = match victim {
            Victim::New => self.mortal(profile, &args),
            Victim::Old | Victim::Server => self.world.joining(profile, &args[2..]),
        };
        // Who links it hears of it, while the others write.
        self.write("bob", "@alice", format!("{case}: meanwhile"));
        self.tried += 1;
        let joined = self.outcome(&mut join, victim);
        if joined && victim != Victim::Old && !self.was_killed() {
            self.first_run(profile, victim, &case);
        }
        let left = self.disarm();
        if left.is_none() {
            match victim {
                Victim::Old => {
                    self.alice.kill();
                    self.alice = self.world.daemon("alice");
                }
                Victim::Server if !self.is_server_back => self.revive_server(),
                Victim::New | Victim::Server => {}
            }
        }
        drop(link);
        if !joined {
            self.get_in(profile);
        }
        left
    }

    /// Whether a device has joined. Most users do not wait until it has noticed that the other one is gone; a server is started again.
    fn outcome(&mut self, join: &mut Process, victim: Victim) -> bool {
        let is_patient = victim == Victim::New || (victim == Victim::Old && self.tried % 6 == 1);
        if !is_patient {
            let ended_or_killed = || (join.ended().is_some() || self.was_killed()).then_some(());
            until("the end of the link, or of who is killed", ended_or_killed);
            if join.ended().is_none() {
                if victim == Victim::Old {
                    join.kill();
                    return false;
                }
                self.revive_server();
            }
        }
        join.wait() == 0
    }

    /// The new device's daemon, until somebody is killed or it has what is written now.
    fn first_run(&mut self, profile: &str, victim: Victim, case: &str) {
        let daemon = if victim == Victim::New { self.mortal(profile, &["daemon"]) } else { self.world.daemon(profile) };
        let text = format!("{case}: to the new one");
        self.write("bob", "@alice", text.clone());
        let comes = || self.world.texts(profile, "@bob", HISTORY).contains(&text);
        until(&text, || (self.was_killed() || comes()).then_some(()));
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
        // Not two others: the device of the case before may have been one.
        let is_known =
            |known: &Value| devices.iter().all(|device| known.as_array().unwrap().contains(&device.as_str().into()));
        until(&format!("{case}: the list at bob"), || {
            let known = self.world.json("bob", &["rpc", "contacts"])[0]["devices"].clone();
            (known.as_array().unwrap().len() == 2 && is_known(&known)).then_some(())
        });
        self.write("bob", "@alice", format!("{case}: after"));
        self.write(profile, "@bob", format!("{case}: from the new one"));
        let mut expected = self.written.clone();
        expected.sort();
        for (who, with) in [("alice", "@bob"), ("bob", "@alice"), (profile, "@bob")] {
            until_none(case, || {
                let mut texts = self.world.texts(who, with, HISTORY);
                texts.sort();
                let lost: Vec<&String> = expected.iter().filter(|text| !texts.contains(text)).collect();
                (texts != expected).then(|| format!("{who} lacks {lost:?}, and has {texts:?}"))
            });
        }
        drop(laptop);
        // Its home may take it a moment later.
        let removed = self.world.run("alice", &["device", "remove", &own]).status.code();
        assert!(matches!(removed, Some(0 | 3)), "{case}: {removed:?}");
    }

    /// How many points the server passes during a link in which nobody is killed.
    fn points_of_server(&mut self) -> u64 {
        let left = self.link_and_kill("laptop-whole", Victim::Server, NEVER).unwrap();
        self.all_is_well("laptop-whole", "nobody is killed");
        println!("the server passes {} points", NEVER - left);
        NEVER - left
    }

    fn sweep(&mut self, victim: Victim, step: u64) {
        let first = number("STARLING_LINK_KILLS_FIRST", 0);
        for point in (first..).step_by(usize::try_from(step).unwrap()) {
            let start = Instant::now();
            let profile = format!("laptop-{victim:?}-{point}").to_lowercase();
            let killed = self.link_and_kill(&profile, victim, point).is_none();
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
    Links::new(Victim::New).sweep(Victim::New, step());
}

#[test]
fn the_old_device_is_killed_at_each_commit_of_a_link() {
    Links::new(Victim::Old).sweep(Victim::Old, step());
}

#[test]
fn the_server_is_killed_at_each_commit_of_a_link() {
    let mut links = Links::new(Victim::Server);
    let step = match number("STARLING_LINK_KILLS", 0) {
        // An odd one comes to points before commits and after them.
        0 => (links.points_of_server() / SERVER_KILLS) | 1,
        step => step,
    };
    links.sweep(Victim::Server, step);
}
