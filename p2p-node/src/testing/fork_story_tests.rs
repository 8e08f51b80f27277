//! Seeded stories of forks: a server that shows each device another log, and a member whose program is a modified one, while everybody writes,
//! renews keys, comes and goes. Once the honest devices are connected they are in one epoch and have one history.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use bytes::Bytes;
use starling_wire::{Beacon, LogContent, SealedBeacon, Text, direct::DirectFrame, limits::MAX_ITEM_BEACONS};

use super::{
    epoch_tests::{append, begin_renewal, candidate, commit_adding, group, unlisted_device},
    liar::{Liar, Showing, Shown},
    world::{Who, World},
};
use crate::{
    conversation::{
        GroupEntry,
        fork::limits::{BEACON_ITEM_AFTER_MS, BEACON_ITEM_EVERY_MS},
        limits::MAX_FUTURE,
    },
    engine::ConversationCommand,
    mls::{GroupId, PAST_EPOCHS},
    net::NetEvent,
};

const HOUR: u64 = 3_600_000;

/// Other winners to each, withheld, repeated, reordered, cut in the middle.
pub(super) fn policy(showing: Showing) -> Shown {
    let Showing { author, reader, is_commit, die } = showing;
    match (is_commit, author == reader, die % 32) {
        (true, true, 0..28) => Shown::Now,
        (true, true, _) => Shown::Later,
        (true, false, 0..8) => Shown::Now,
        (true, false, 8..20) => Shown::Later,
        (true, false, 20..22) => Shown::Twice,
        (true, false, _) | (false, _, 0..3) => Shown::Never,
        (false, _, 3) => Shown::Cut,
        (false, _, 4..6) => Shown::Twice,
        (false, _, 6..12) => Shown::Later,
        (false, ..) => Shown::Now,
    }
}

struct Story {
    world: World,
    /// All devices, each with somebody on the other side.
    devices: Vec<(Who, Who)>,
    /// The one whose program is modified, if there is one.
    mallory: Option<(Who, Who)>,
    written: Vec<String>,
    /// Beacons that were seen, to be sent again.
    seen: Vec<SealedBeacon>,
    /// Commits that the modified program has made, to be put into logs.
    commits: Vec<Bytes>,
}

impl Story {
    /// With five devices on each side, or with few.
    fn new(seed: u64, many: bool) -> Self {
        let mut world = World::new(seed);
        world.liar = Some(Liar::new(seed, policy));
        // The log is at the lying server; Alice's home may be an honest one.
        let home = if seed % 5 < 2 { world.add_server() } else { 0 };
        let (alice, bob) = world.friends_at(home, 0);
        let mut devices = vec![(alice, bob), (bob, alice)];
        let more = if many { [4, 4] } else { [seed.is_multiple_of(2).into(), seed.is_multiple_of(4).into()] };
        for ((who, other), count) in [(alice, bob), (bob, alice)].into_iter().zip(more) {
            for _ in 0..count {
                let linked = world.linked(who);
                world.pass(60_000);
                devices.push((linked, other));
            }
        }
        let mallory = seed.is_multiple_of(3).then_some((bob, alice));
        Self { world, devices, mallory, written: Vec::new(), seen: Vec::new(), commits: Vec::new() }
    }

    fn one(&mut self) -> (Who, Who) {
        let at = self.world.one_of(self.devices.len());
        self.devices[at]
    }

    fn write(&mut self) {
        let (who, other) = self.one();
        if !self.world.is_running(who) || !self.world.knows(who, other) {
            return;
        }
        let (chat, text) = (self.world.chat_id(who, other), format!("{who}-{}", self.written.len()));
        let texts = vec![Text { text: text.clone(), ..Text::default() }];
        let mut sent = self.world.begin(who, |reply| ConversationCommand::Send { chat, texts, reply });
        self.world.all_at_once(who);
        if matches!(sent.try_recv(), Ok(Ok(_))) {
            self.written.push(text);
        }
    }

    /// The group that somebody writes into, looked at and nothing else: any turn may give one up, and it may not be replaced yet.
    fn group_of(&self, (who, other): (Who, Who)) -> Option<GroupId> {
        let is_there = self.world.is_running(who) && self.world.knows(who, other);
        is_there.then(|| self.world.engine(who).active_group(self.world.chat_id(who, other)))?
    }

    fn renew(&mut self) {
        let (who, other) = self.one();
        if self.group_of((who, other)).is_some() {
            begin_renewal(&mut self.world, who, other);
        }
    }

    /// What a modified program does: commits that it has not followed itself, in its epoch and from earlier ones, are told of or logged, garbage and
    /// commits that add others are logged, and what was seen is sent again.
    fn attack(&mut self) {
        let Some((mallory, other)) = self.mallory else { return };
        // What is under way may have the group given up: afterwards nothing is until the attack.
        self.world.settle();
        let Some(id) = self.group_of((mallory, other)) else { return };
        let die = self.world.one_of(13);
        if die == 12 {
            // A leaf that no chain has.
            let package = unlisted_device(&mut self.world, mallory);
            let commit = commit_adding(&mut self.world, (mallory, other), &package);
            if self.group_of((mallory, other)).is_none() {
                return;
            }
            append(&mut self.world, mallory, other, true, &candidate(&commit));
            return;
        }
        let (mut made, mut own, mut commits) = (Vec::new(), Vec::new(), Vec::new());
        self.world.begin_modified(mallory, |engine, turn| {
            let (mls, now) = (engine.mls.clone(), turn.agreed_ms());
            let mut group = engine.conversations.open(turn, &mls, id).unwrap().unwrap();
            own = group.entry.beacons().collect();
            for commit in group.other_commits(turn, &mls, now).unwrap() {
                commits.push(commit.1.clone());
                made.extend(group.entry.beacon(commit.0, &Beacon::Commit(commit.1)));
            }
        });
        self.seen.extend(own);
        self.commits.extend(commits);
        if self.group_of((mallory, other)).is_none() {
            return;
        }
        let commit = self.commits.get(self.world.one_of(self.commits.len().max(1))).cloned();
        let beacon = made.get(die % made.len().max(1)).cloned();
        match (die, beacon) {
            (0, _) => append(&mut self.world, mallory, other, true, &candidate(b"garbage")),
            (1, Some(beacon)) => {
                let logged = LogContent::Beacon(SealedBeacon { group: Bytes::new(), ..beacon });
                append(&mut self.world, mallory, other, false, &logged);
            }
            (2, _) => self.send(mallory, self.seen.clone()),
            (3, _) => self.leave(mallory, self.seen.clone()),
            (4, Some(beacon)) => self.leave(mallory, vec![beacon]),
            // Of this epoch or of an earlier one; often several, one after the other.
            (5..8, _) => {
                if let Some(commit) = commit {
                    append(&mut self.world, mallory, other, true, &candidate(&commit));
                }
            }
            (_, Some(beacon)) => self.send(mallory, vec![beacon]),
            _ => {}
        }
    }

    /// The modified program sends beacons to somebody it is connected to.
    fn send(&mut self, mallory: Who, beacons: Vec<SealedBeacon>) {
        let (to, _) = self.one();
        if to == mallory || !self.world.are_connected(mallory, to) {
            return;
        }
        let device = self.world.of(mallory).device;
        let frame = DirectFrame { beacons, ..DirectFrame::default() };
        self.world.tell(to, NetEvent::Direct(device, frame));
    }

    /// The same through an inbox.
    fn leave(&mut self, mallory: Who, mut beacons: Vec<SealedBeacon>) {
        let (to, _) = self.one();
        let device = self.world.of(to).device;
        beacons.truncate(MAX_ITEM_BEACONS);
        if to != mallory {
            self.world.begin_modified(mallory, |engine, turn| {
                let (conversations, mut cx) = engine.conversing();
                conversations.leave_made(turn, &mut cx, device, beacons).unwrap();
            });
        }
    }

    fn step(&mut self) {
        match self.world.one_of(18) {
            16 if self.world.swallows_items => self.world.stop_swallowing(),
            16 => self.world.swallows_items = true,
            17 => self.world.pass(BEACON_ITEM_AFTER_MS + BEACON_ITEM_EVERY_MS),
            0 => {
                let (who, _) = self.one();
                if self.world.is_running(who) { self.world.kill(who) } else { self.world.start(who) }
            }
            1 | 2 => self.world.direct = !self.world.direct,
            3 => {
                let (who, _) = self.one();
                self.world.apart = if self.world.apart.is_empty() { [who].into() } else { [].into() };
            }
            4..=6 => {
                let ms = [100, 2_000, 40_000][self.world.one_of(3)];
                self.world.pass(ms);
            }
            7 | 8 => {
                for _ in 0..self.world.one_of(40) {
                    self.world.step();
                }
            }
            9 => self.attack(),
            10..=12 => self.renew(),
            _ => self.write(),
        }
    }

    /// What all see in the end.
    fn check(mut self, seed: u64) {
        for (who, _) in self.devices.clone() {
            if !self.world.is_running(who) {
                self.world.start(who);
            }
        }
        (self.world.direct, self.world.apart) = (true, [].into());
        self.world.stop_swallowing();
        for n in 0..2 {
            self.world.pass(2 * HOUR);
            for (who, other) in self.devices.clone() {
                let text = format!("at last {n} {who}");
                self.world.say(who, other, &text);
                self.written.push(text);
            }
        }
        self.world.pass(2 * HOUR);
        self.written.sort();
        let (mut logs, mut histories) = (Vec::new(), Vec::new());
        for (who, other) in self.devices.clone() {
            let mut texts: Vec<String> = self.world.messages(who, other).into_iter().map(|m| m.text).collect();
            histories.push(texts.clone());
            texts.sort();
            assert_eq!(texts, self.written, "seed {seed}: {who}");
            let id = group(&mut self.world, who, other);
            logs.push((id, self.world.log_address(who, id)));
            self.world.begin_modified(who, |engine, _| engine.conversations.groups.values().for_each(is_bounded));
        }
        logs.dedup();
        histories.dedup();
        assert_eq!((logs.len(), histories.len()), (1, 1), "seed {seed}: {logs:?} {histories:?}");
    }
}

/// What forks have a device keep.
fn is_bounded(entry: &GroupEntry) {
    assert!(entry.row.parents.len() <= PAST_EPOCHS && entry.future.len() <= MAX_FUTURE);
    assert!(entry.forks.size() <= 3 * (entry.members.len() + 1), "{}", entry.forks.size());
}

/// Some of the seeds, so that several tests share the work.
fn tell(part: u64) {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse().ok());
    let rounds: u64 = number("STARLING_FORK_ROUNDS").unwrap_or(50);
    let first: u64 = number("STARLING_FORK_FIRST").unwrap_or(0) + part * rounds;
    for seed in first..first + rounds {
        story(seed);
    }
}

/// With few devices.
pub fn story(seed: u64) {
    let mut story = Story::new(20_000 + seed, false);
    for _ in 0..60 {
        story.step();
    }
    story.check(seed);
}

#[test]
fn honest_devices_end_in_one_epoch_with_one_history_whatever_a_server_and_a_member_do() {
    tell(0);
}

#[test]
fn honest_devices_end_in_one_epoch_with_one_history_second_part() {
    tell(1);
}

#[test]
fn honest_devices_end_in_one_epoch_with_one_history_third_part() {
    tell(2);
}

#[test]
fn honest_devices_end_in_one_epoch_with_one_history_fourth_part() {
    tell(3);
}

#[test]
fn ten_devices_of_which_one_is_modified_end_in_one_epoch_with_one_history() {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse().ok());
    let first: u64 = number("STARLING_FORK_FIRST").unwrap_or(0);
    for seed in first..first + number("STARLING_FORK_TEN").unwrap_or(1) {
        let mut story = Story::new(60_000 + 3 * seed, true);
        for _ in 0..80 {
            story.step();
        }
        story.check(seed);
    }
}
