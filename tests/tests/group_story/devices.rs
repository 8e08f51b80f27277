//! Devices that are killed while they do something, and what is asked of them.

use std::{
    collections::BTreeMap,
    process::Stdio,
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use serde_json::Value;
use starling_tests::{Process, World, run_to_end, until};

/// Who is there: five accounts, of which the first two have another device.
pub const PEOPLE: [&str; 5] = ["alice", "bob", "carol", "dave", "eve"];
/// The other devices, each with that of its account.
pub const OTHERS: [(&str, &str); 2] = [("alice", "laptop"), ("bob", "tablet")];

pub struct Devices {
    pub world: World,
    running: BTreeMap<&'static str, Process>,
    random: StdRng,
    /// So many times one was killed.
    pub kills: usize,
    began: Instant,
}

impl Devices {
    /// All of them, running; everybody is a contact of alice, and of nobody else.
    pub fn new(seed: u64) -> Self {
        let (world, running, random) = (World::new(), BTreeMap::new(), StdRng::seed_from_u64(seed));
        let mut devices = Self { world, running, random, kills: 0, began: Instant::now() };
        for who in PEOPLE {
            devices.world.person(who);
            devices.start(who);
        }
        for (who, other) in OTHERS {
            devices.world.link(who, other);
            devices.start(other);
        }
        for who in &PEOPLE[1..] {
            devices.world.befriend("alice", who);
        }
        until("the contacts on the other device", || {
            // It may have heard that they ask, and not yet that they were accepted.
            (devices.lines("laptop", &["contacts", "list"]).iter().filter(|c| c["state"] == "active").count() == 4)
                .then_some(())
        });
        devices
    }

    pub fn start(&mut self, who: &'static str) {
        self.running.insert(who, self.world.daemon(who));
    }

    /// Ends a program as users do.
    pub fn stop(&mut self, who: &'static str) {
        self.running.remove(who).unwrap().terminate();
    }

    /// `kill -9`, and a new start.
    pub fn kill(&mut self, who: &'static str) {
        self.running.remove(who).unwrap().kill();
        self.start(who);
        self.kills += 1;
    }

    /// A verb that must work. While it is under way another device is killed, or none; afterwards, perhaps, the one that has done it: what it has said
    /// to be done is done.
    pub fn does(&mut self, who: &'static str, args: &[&str]) -> Value {
        let others: Vec<&'static str> = self.running.keys().copied().filter(|other| *other != who).collect();
        let other = others.choose(&mut self.random).copied().filter(|_| self.random.random_range(0..2) == 0);
        let after = Duration::from_millis(self.random.random_range(0..400));
        let start = self.world.starter();
        let output = std::thread::scope(|scope| {
            let command = move || run_to_end(start.starling(who).args(args).arg("--json").stdin(Stdio::null()));
            let verb = scope.spawn(command);
            if let Some(other) = other {
                // The random point at which it is killed: in what the verb sets off, or before that.
                std::thread::sleep(after);
                self.kill(other);
            }
            verb.join().unwrap()
        });
        if self.running.contains_key(who) && self.random.random_range(0..4) == 0 {
            self.kill(who);
        }
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{who}: {args:?} with {other:?} killed: {error}");
        println!("{:6.1} s  {who}: {}", self.began.elapsed().as_secs_f64(), args.join(" "));
        let line = output.stdout.split(|byte| *byte == b'\n').next().unwrap();
        serde_json::from_slice(line).unwrap_or_default()
    }

    /// Writes something, which is stored when this returns; its id.
    pub fn says(&mut self, who: &'static str, chat: &str, text: &str, more: &[&str]) -> String {
        let sent = self.does(who, &[&["send", chat, text, "--wait", "sent"], more].concat());
        sent["id"].as_str().unwrap().to_owned()
    }

    /// All that a verb prints.
    pub fn lines(&self, who: &str, args: &[&str]) -> Vec<Value> {
        let output = self.world.run(who, &[args, &["--json"]].concat());
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    pub fn show(&self, who: &str, group: &str) -> Value {
        self.lines(who, &["group", "show", group]).into_iter().next().unwrap_or_default()
    }

    /// What a device is in the group of a name; empty if it has not heard of it yet.
    pub fn standing(&self, who: &str, name: &str) -> String {
        let groups = self.lines(who, &["group", "list"]);
        let found = groups.iter().find(|group| group["name"] == name);
        found.map(|group| group["standing"].as_str().unwrap_or_default().to_owned()).unwrap_or_default()
    }

    /// Waits until devices are something in the group of a name.
    pub fn stand(&self, all: &[&str], name: &str, expected: &str) {
        for who in all {
            until(&format!("{who} is {expected} in {name}"), || (self.standing(who, name) == expected).then_some(()));
        }
    }

    /// Waits until `group show` of devices fits.
    pub fn show_that(&self, all: &[&str], group: &str, what: &str, fits: impl Fn(&Value) -> bool) {
        for who in all {
            until(&format!("{what} at {who}"), || fits(&self.show(who, group)).then_some(()));
        }
    }

    /// Waits until devices have a text.
    pub fn have(&self, all: &[&str], group: &str, text: &str) {
        for who in all {
            let has = || self.world.texts(who, group, 1_000).iter().any(|has| has == text);
            until(&format!("“{text}” at {who}"), || has().then_some(()));
        }
    }

    /// A verb that must not work, and how it ends.
    pub fn may_not(&self, who: &str, args: &[&str], expected: i32) {
        let (exit, error) = self.world.error(who, args);
        assert_eq!(exit, expected, "{who}: {args:?}: {error}");
    }
}
