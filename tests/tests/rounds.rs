//! Two accounts, on three devices and on two, while devices are linked, removed and killed at random, the server too, and all of them write: ten
//! seconds after the last text all devices have one history, nothing is lost or doubled, and who was removed reads nothing more.
//!
//! `STARLING_ROUNDS=100 STARLING_ROUNDS_SEED=7 STARLING_TEST_LIMIT=3000 cargo test --test rounds -- --nocapture` says what happens in each round,
//! and how long it takes until all agree. A round takes up to ten seconds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use serde_json::Value;
use starling_tests::{Process, World, until, until_none};

/// Devices of an account at a time.
const MOST: usize = 4;
/// After the last text of a round all devices agree within this time. Until patience is over the test goes on, so that what is late can be told
/// from what is lost, and fails at the end.
const CONVERGED: Duration = Duration::from_secs(10);
/// What is looked at of a conversation.
const HISTORY: usize = 100_000;

/// A text that was written, and what its sender knows of it.
#[derive(Clone)]
struct Written {
    text: String,
    /// `send` has said that it is stored.
    certain: bool,
}

/// What a device is doing.
struct Device {
    profile: String,
    /// The other one's name.
    to: &'static str,
    id: String,
    daemon: Mutex<Option<Process>>,
    /// Nothing new is sent meanwhile.
    paused: AtomicBool,
    /// Taken while something is being sent.
    sending: Mutex<()>,
    /// How much had been written when it came.
    since: usize,
}

/// A device that was removed.
struct Removed {
    device: Arc<Device>,
    /// The command has said that it is done, not that it waits for the server.
    done: bool,
    /// How much had been written when it was removed for all.
    since: Option<usize>,
}

struct Rounds {
    world: World,
    random: StdRng,
    devices: Vec<Arc<Device>>,
    removed: Vec<Removed>,
    written: Arc<Mutex<Vec<Written>>>,
    /// How much had been written when all agreed last.
    agreed: usize,
    made: usize,
    /// The longest time until all agreed.
    slowest: Duration,
    /// When it took longer than [`CONVERGED`].
    late: Vec<String>,
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

impl Device {
    fn name(&self) -> &'static str {
        if self.to == "@bob" { "alice" } else { "bob" }
    }
}

/// Writes until it is stopped.
fn write(
    command: impl Fn(&str) -> std::process::Command,
    device: &Device,
    written: &Mutex<Vec<Written>>,
    stop: &AtomicBool,
) {
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        if device.paused.load(Ordering::Relaxed) {
            // Until this test itself lets it go on.
            std::thread::sleep(Duration::from_millis(5));
            continue;
        }
        let _sending = device.sending.lock().unwrap();
        let place = {
            let mut written = written.lock().unwrap();
            let text = format!("{} {} {n}", device.profile, written.len());
            written.push(Written { text, certain: false });
            written.len() - 1
        };
        let text = written.lock().unwrap()[place].text.clone();
        let output = starling_tests::run_to_end(command(&device.profile).args(["send", device.to, &text]));
        written.lock().unwrap()[place].certain = output.status.success();
        n += 1;
    }
}

impl Rounds {
    fn new(seed: u64) -> Self {
        let world = World::of_friends();
        let mut rounds = Self {
            world,
            random: StdRng::seed_from_u64(seed),
            devices: Vec::new(),
            removed: Vec::new(),
            written: Arc::default(),
            agreed: 0,
            made: 0,
            slowest: Duration::ZERO,
            late: Vec::new(),
        };
        for name in ["alice", "bob"] {
            let id = rounds.own_id(name);
            rounds.add(name.to_owned(), name == "alice", id, 0);
        }
        for (by, history) in [(0, true), (0, false), (1, true)] {
            let by = rounds.devices[by].clone();
            rounds.while_all_write(|rounds| drop(rounds.link_by(&by, history)));
            rounds.agree("at the start");
        }
        rounds
    }

    /// The devices of an account, as one of them sees them.
    fn list(&self, profile: &str) -> Vec<Value> {
        let lines = String::from_utf8(self.world.run(profile, &["device", "list", "--json"]).stdout).unwrap();
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn own_id(&self, profile: &str) -> String {
        let list = self.list(profile);
        let own = list.iter().find(|device| device["this"] == true).unwrap();
        own["device"].as_str().unwrap().to_owned()
    }

    fn add(&mut self, profile: String, of_alice: bool, id: String, since: usize) {
        let daemon = Mutex::new(Some(self.world.daemon(&profile)));
        let to = if of_alice { "@bob" } else { "@alice" };
        let (paused, sending) = (AtomicBool::new(false), Mutex::default());
        self.devices.push(Arc::new(Device { profile, to, id, daemon, paused, sending, since }));
    }

    fn any(&mut self, fits: impl Fn(&Device) -> bool) -> Option<Arc<Device>> {
        let fitting: Vec<_> = self.devices.iter().filter(|device| fits(device)).cloned().collect();
        fitting.choose(&mut self.random).cloned()
    }

    /// Lets the devices write while something happens.
    fn while_all_write(&mut self, happens: impl FnOnce(&mut Self)) {
        let stop = Arc::new(AtomicBool::new(false));
        let writers: Vec<JoinHandle<()>> = self.devices.iter().map(|device| self.writer(device, &stop)).collect();
        happens(self);
        stop.store(true, Ordering::Relaxed);
        writers.into_iter().for_each(|writer| writer.join().unwrap());
    }

    fn writer(&self, device: &Arc<Device>, stop: &Arc<AtomicBool>) -> JoinHandle<()> {
        let (device, written, stop) = (device.clone(), self.written.clone(), stop.clone());
        let start = self.world.starter();
        std::thread::spawn(move || write(|profile| start.starling(profile), &device, &written, &stop))
    }

    /// Links another device, or does nothing where there are enough.
    fn link(&mut self) -> String {
        let Some(by) = self.any(|_| true) else { return String::new() };
        if self.devices.iter().filter(|d| d.to == by.to).count() >= MOST {
            return "nobody is linked: enough devices".into();
        }
        let history = self.random.random_range(0..2) == 0;
        self.link_by(&by, history)
    }

    /// A device links another, which may copy what that one has.
    fn link_by(&mut self, by: &Device, history: bool) -> String {
        self.made += 1;
        let profile = format!("{}-{}", by.name(), self.made);
        let args = if history { &["--yes", "--history", "all"][..] } else { &["--yes"] };
        let id = self.world.link_with(&by.profile, &profile, args);
        let with = if history { " with the history" } else { "" };
        let since = if history { by.since } else { self.written.lock().unwrap().len() };
        self.add(profile.clone(), by.to == "@bob", id, since);
        format!("{} links {profile}{with}", by.profile)
    }

    /// Removes a device by another of its account.
    fn remove(&mut self) -> String {
        let Some(gone) = self.any(|device| device.profile.contains('-')) else { return "nobody can be removed".into() };
        let Some(by) = self.any(|d| d.to == gone.to && d.id != gone.id) else { return String::new() };
        let output = self.world.run(&by.profile, &["device", "remove", &gone.id]);
        let code = output.status.code().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(code == 0 || code == 3, "{} removes {}: {code} {error}", by.profile, gone.profile);
        if code == 3 && self.list(&by.profile).iter().any(|device| device["device"] == gone.id.as_str()) {
            return format!("{} cannot remove {}: {error}", by.profile, gone.profile);
        }
        gone.paused.store(true, Ordering::Relaxed);
        drop(gone.sending.lock().unwrap());
        // What it wrote last may count or not, but for all the same.
        let (mut written, own) = (self.written.lock().unwrap(), format!("{} ", gone.profile));
        let last = &mut written[self.agreed..];
        last.iter_mut().filter(|w| w.text.starts_with(&own)).for_each(|w| w.certain = false);
        drop(written);
        self.devices.retain(|device| device.id != gone.id);
        let said = format!("{} removes {} ({code})", by.profile, gone.profile);
        self.removed.push(Removed { device: gone, done: code == 0, since: None });
        said
    }

    /// `kill -9` of a device, in whatever it does, and a new start.
    fn kill(&mut self) -> String {
        let Some(device) = self.any(|_| true) else { return String::new() };
        let mut daemon = device.daemon.lock().unwrap();
        daemon.as_mut().unwrap().kill();
        device.paused.store(true, Ordering::Relaxed);
        // What was being sent goes on as a node of its own.
        drop(device.sending.lock().unwrap());
        *daemon = Some(self.world.daemon(&device.profile));
        device.paused.store(false, Ordering::Relaxed);
        format!("{} is killed", device.profile)
    }

    fn kill_server(&mut self) -> String {
        self.world.restart_rendezvous();
        "the server is killed".into()
    }

    fn texts(&self, device: &Device) -> Vec<String> {
        self.world.texts(&device.profile, device.to, HISTORY)
    }

    /// What keeps the devices from having one history, if anything does.
    fn difference(&self) -> Option<String> {
        let written = self.written.lock().unwrap().clone();
        let newest = self.devices.iter().map(|d| d.since).max().unwrap_or_default();
        let place = |text: &String| written.iter().position(|w| w.text == *text);
        let mut common: Option<(String, Vec<String>)> = None;
        for device in &self.devices {
            let seen = self.texts(device);
            let known: BTreeSet<&String> = seen.iter().collect();
            if known.len() != seen.len() {
                return Some(format!("{} has something twice", device.profile));
            }
            if let Some(lost) = written[device.since..].iter().find(|w| w.certain && !known.contains(&w.text)) {
                return Some(format!("{} lacks “{}”", device.profile, lost.text));
            }
            let late: Vec<String> = seen.into_iter().filter(|text| place(text).is_none_or(|at| at >= newest)).collect();
            match &common {
                None => common = Some((device.profile.clone(), late)),
                Some((first, expected)) if *expected != late => {
                    let only =
                        |a: &[String], b: &[String]| a.iter().filter(|t| !b.contains(t)).cloned().collect::<Vec<_>>();
                    let (here, there) = (only(expected, &late), only(&late, expected));
                    return Some(format!("only {first} has {here:?}; only {} has {there:?}", device.profile));
                }
                Some(_) => {}
            }
        }
        None
    }

    /// Waits until all devices have one history; how long that took.
    ///
    /// The time begins when the last `send` has ended, and so has each `device link`, `device remove` and start of a daemon. It has in it what a
    /// daemon that was just started needs to reach its server, and what all need to notice that the server was killed: a user waits for that, too. It
    /// ends when the look begins that finds no difference. That look itself is not counted: it starts a process for each device, one after the other,
    /// which takes seconds on a slow machine. A look before it ends at the first difference, so the result is late by at most the time of one look
    /// and a pause.
    fn agree(&mut self, what: &str) -> Duration {
        self.agreed = self.written.lock().unwrap().len();
        let (start, mut took) = (Instant::now(), Duration::ZERO);
        until_none(what, || {
            took = start.elapsed();
            self.difference()
        });
        self.slowest = self.slowest.max(took);
        if took > CONVERGED {
            self.late.push(format!("{what}: {:.1} s", took.as_secs_f64()));
        }
        took
    }

    /// What `history --json` prints on a device of the messages that all have, without what differs between devices: how one came, and
    /// what it is called for short. That a message was delivered is told by the device that wrote it: one that was removed may have told
    /// some of the others only.
    fn history(&self, device: &Device, newest: usize) -> Vec<Value> {
        let args = ["history", device.to, "--json", "--limit", &HISTORY.to_string()];
        let output = String::from_utf8(self.world.run(&device.profile, &args).stdout).unwrap();
        let mut lines: Vec<Value> = output.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let all: BTreeSet<String> = self.written.lock().unwrap()[newest..].iter().map(|w| w.text.clone()).collect();
        lines.retain(|line| all.contains(line["text"].as_str().unwrap()));
        let gone: BTreeSet<&str> = self.removed.iter().map(|removed| removed.device.id.as_str()).collect();
        for line in &mut lines {
            let untold = gone.contains(line["from"]["device"].as_str().unwrap());
            line.as_object_mut()
                .unwrap()
                .retain(|key, _| key != "via" && key != "handle" && !(untold && key == "state"));
        }
        lines
    }

    /// The devices of an account print the same, whatever they are asked; the accounts differ in whose a message is.
    fn histories_are_equal(&self) {
        let newest = self.devices.iter().map(|d| d.since).max().unwrap_or_default();
        for to in ["@bob", "@alice"] {
            until_none(&format!("histories with {to}"), || self.unequal(to, newest));
        }
    }

    /// The first line in which the devices of an account differ.
    fn unequal(&self, to: &str, newest: usize) -> Option<String> {
        let own: Vec<&Arc<Device>> = self.devices.iter().filter(|device| device.to == to).collect();
        let first = self.history(own[0], newest);
        own[1..].iter().find_map(|device| {
            let view = self.history(device, newest);
            let at = (0..view.len().max(first.len())).find(|at| view.get(*at) != first.get(*at));
            let none = || first.is_empty().then_some(0);
            let at = at.or_else(none)?;
            let line = |view: &[Value]| view.get(at).map_or("nothing".to_owned(), Value::to_string);
            Some(format!("line {at}: {} has {}, {} has {}", own[0].profile, line(&first), device.profile, line(&view)))
        })
    }

    /// Those who were removed read nothing of what is written now.
    fn nothing_is_read_after_a_removal(&mut self, round: u64) {
        for removed in self.removed.iter().filter(|removed| !removed.done && removed.since.is_none()) {
            // What waits for the server is done soon: until then it may still read.
            let other = &removed.device.to[1..];
            until("the removal, at the other account", || {
                let contacts = self.world.json(other, &["rpc", "contacts"]);
                let devices = contacts[0]["devices"].as_array().unwrap();
                (!devices.contains(&removed.device.id.as_str().into())).then_some(())
            });
        }
        for device in self.devices.clone() {
            let text = format!("{} after round {round}", device.profile);
            let sent = self.world.run(&device.profile, &["send", device.to, &text]);
            self.written.lock().unwrap().push(Written { text, certain: sent.status.success() });
        }
        self.agree(&format!("after round {round}"));
        for Removed { device, since, .. } in &mut self.removed {
            let upto = *since.get_or_insert(self.written.lock().unwrap().len() - self.devices.len());
            let secret: Vec<String> = self.written.lock().unwrap()[upto..].iter().map(|w| w.text.clone()).collect();
            let read = self.world.texts(&device.profile, device.to, HISTORY);
            let leaked: Vec<&String> = read.iter().filter(|text| secret.contains(text)).collect();
            assert!(leaked.is_empty(), "{} was removed and reads {leaked:?}", device.profile);
        }
    }
}

#[test]
fn devices_are_linked_removed_and_killed_while_all_write() {
    let (count, seed) = (number("STARLING_ROUNDS", 3), number("STARLING_ROUNDS_SEED", 1));
    let mut rounds = Rounds::new(seed);
    for round in 0..count {
        let mut said = Vec::new();
        rounds.while_all_write(|rounds| {
            for _ in 0..2 {
                said.push(match rounds.random.random_range(0..8) {
                    0..3 => rounds.link(),
                    3..5 => rounds.remove(),
                    5..7 => rounds.kill(),
                    _ => rounds.kill_server(),
                });
            }
        });
        let took = rounds.agree(&format!("seed {seed}, round {round}, {said:?}"));
        let texts = rounds.written.lock().unwrap().len();
        println!("round {round}: {}; {texts} texts; all agree after {:.1} s", said.join(", "), took.as_secs_f64());
        rounds.nothing_is_read_after_a_removal(round);
    }
    rounds.histories_are_equal();
    println!("the slowest agreement took {:.1} s", rounds.slowest.as_secs_f64());
    let late = rounds.late.join("\n");
    assert!(late.is_empty(), "all agree, but not within {CONVERGED:?} after the last text:\n{late}");
}
