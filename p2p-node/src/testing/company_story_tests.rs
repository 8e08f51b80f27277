//! Seeded stories of groups: ten accounts with one to three devices each, that write, invite, remove and leave, link and remove devices, while processes
//! are killed and the server comes and goes; in some of them the server shows each device another log, and one member's program is a modified one. Of these
//! every second one has two servers, of which one may lie, and accounts that are recovered with the phrase. Afterwards all who are in the group have the
//! same members and read each other; nobody else reads anything.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use starling_keys::{AccountId, AccountKey};
use starling_wire::{
    Beacon, LogContent, LogVerb, Role, SealedBeacon, Text, limits::MAX_ITEM_BEACONS, rendezvous::LogRequest,
};

use super::{
    epoch_tests::{append_in, candidate},
    forgetful::{Lies, forgetful},
    liar::{Liar, Showing, Shown},
    servers::At,
    world::{Who, World},
};
use crate::{
    Origin,
    api::types::{ChatId, Standing},
    engine::{AccountCommand, ConversationCommand, GroupCommand},
    home::Pending,
};

struct Story {
    world: World,
    chat: ChatId,
    /// The first device of each account; after a recovery the one that has recovered it.
    people: Vec<Who>,
    /// Devices that were linked, or that a recovery has removed, with their account's place in `people`.
    linked: Vec<(Who, usize)>,
    /// Those of them that were removed again.
    removed: BTreeSet<Who>,
    /// There are two servers, and accounts are recovered.
    is_wide: bool,
    seed: u64,
    recoveries: usize,
    written: usize,
    /// The one whose program is modified, if there is one.
    mallory: Option<Who>,
    /// What it has seen and made, to be sent again.
    beacons: Vec<SealedBeacon>,
    commits: Vec<Bytes>,
}

/// Other winners to each, repeated and reordered. Messages go into the log alone, so all of them come in the end.
fn policy(showing: Showing) -> Shown {
    let Showing { author, reader, is_commit, die } = showing;
    match (is_commit, author == reader, die % 16) {
        (true, true, 0..14) => Shown::Now,
        (true, false, 0..8) | (false, _, 0..10) => Shown::Now,
        (_, _, 14) => Shown::Twice,
        _ => Shown::Later,
    }
}

/// The same; and some of what is kept from a reader stays hidden from it, or comes with its end cut off.
fn harsher_policy(showing: Showing) -> Shown {
    let own = showing.author == showing.reader;
    match showing.die / 16 % 16 {
        0 | 1 if !own => Shown::Never,
        2 if !own => Shown::Cut,
        _ => policy(showing),
    }
}

/// The homes of an account in a story with two servers.
fn homes(of: u64) -> &'static [At] {
    [&[0][..], &[1, 0], &[1], &[0, 1]][(of % 4) as usize]
}

/// What the first of two servers says of accounts and inboxes.
fn lies(seed: u64) -> Lies {
    let often = |n: u64| u32::try_from(seed / n % 3).unwrap();
    Lies {
        old_chain: 8 * often(2),
        no_chain: 2 * often(3),
        no_door: 8 * often(5),
        dropped_item: 2 * often(7),
        repeated_item: 4 * often(11),
    }
}

/// Who is not honest.
#[derive(Clone, Copy, Default)]
struct Attackers {
    /// The program of one member is modified.
    member: bool,
    /// The server shows each device another log.
    server: bool,
}

impl Story {
    fn new(seed: u64, count: usize, attackers: Attackers) -> Self {
        let mut world = World::new(seed);
        let is_wide = (attackers.member || attackers.server) && !seed.is_multiple_of(2);
        world.liar = attackers.server.then(|| Liar::new(seed, if is_wide { harsher_policy } else { policy }));
        if is_wide {
            world.add_server();
        }
        if attackers.server {
            // The founder is no new account of the server: what goes into logs that it keeps from others counts, too.
            world.config.limits.account_bytes *= 64;
            world.config.limits.conversation_bytes *= 16;
            world.config.limits.log_entries *= 16;
            world.config.limits.log_bytes *= 16;
            world.reload_server();
        }
        let people = match is_wide {
            false => world.company(count),
            true => world.company_at((0..count as u64).map(|n| homes(seed / 2 + n))),
        };
        // Some have several devices before the group is made.
        let mut linked = Vec::new();
        for (at, who) in people.iter().copied().enumerate() {
            if world.one_of(3) == 0 {
                linked.push((world.linked(who), at));
                world.pass(20_000);
            }
        }
        let invited = 1 + world.one_of(count - 1);
        let chat = world.found(people[0], &people[1..=invited]);
        world.pass(2_000);
        let mallory = attackers.member.then_some(people[1]);
        if is_wide && attackers.server {
            world.lie = Some(forgetful(seed, lies(seed / 2)));
        }
        let (removed, beacons, commits) = (BTreeSet::new(), Vec::new(), Vec::new());
        let mut story = Self {
            world,
            chat,
            people,
            linked,
            removed,
            is_wide,
            seed,
            recoveries: 0,
            written: 0,
            mallory,
            beacons,
            commits,
        };
        for at in 1..=invited {
            let who = story.people[at];
            story.wish(who, |chat| GroupCommand::Accept(chat, tokio::sync::oneshot::channel().0));
        }
        story
    }

    fn devices(&self) -> Vec<Who> {
        let linked = self.linked.iter().map(|(device, _)| *device).filter(|device| !self.removed.contains(device));
        self.people.iter().copied().chain(linked).collect()
    }

    fn any(&mut self) -> Who {
        let devices = self.devices();
        devices[self.world.one_of(devices.len())]
    }

    /// The place of somebody's account.
    fn account(&mut self) -> usize {
        self.world.one_of(self.people.len())
    }

    /// A user wants something; it happens when the world goes on.
    fn wish(&mut self, who: Who, command: impl FnOnce(ChatId) -> GroupCommand) {
        if self.world.is_running(who) {
            let chat = self.chat;
            drop(self.world.begin::<(), _>(who, |_| command(chat)));
        }
    }

    fn write(&mut self) {
        let who = self.any();
        self.write_on(who);
    }

    fn write_on(&mut self, who: Who) {
        let chat = self.chat;
        if !self.world.is_running(who) {
            return;
        }
        let texts = vec![Text { text: format!("{who}-{}", self.written), ..Text::default() }];
        let mut sent = self.world.begin(who, |reply| ConversationCommand::Send { chat, texts, reply });
        self.world.all_at_once(who);
        self.written += usize::from(matches!(sent.try_recv(), Ok(Ok(_))));
    }

    fn step(&mut self) {
        let (who, other) = (self.any(), self.account());
        let account = self.world.of(self.people[other]).account;
        let reply = || tokio::sync::oneshot::channel().0;
        let most = if self.mallory.is_some() { 48 } else { 40 };
        match self.world.one_of(if self.is_wide { most + 4 } else { most }) {
            at if at >= most => self.lose(other, at - most),
            40.. => self.attack(),
            0..16 => self.write(),
            16..19 => self.wish(who, |chat| GroupCommand::Invite { chat, accounts: vec![account], reply: reply() }),
            19 | 20 => self.wish(who, |chat| GroupCommand::Remove { chat, account, reply: reply() }),
            21..25 => self.wish(who, |chat| GroupCommand::Accept(chat, reply())),
            25 => self.wish(who, |chat| GroupCommand::Leave(chat, reply())),
            26 | 27 => {
                let role = Role::ALL[self.world.one_of(5)];
                self.wish(who, |chat| GroupCommand::SetRole { chat, account, role, reply: reply() });
            }
            28 => self.wish(who, |chat| GroupCommand::Rename { chat, name: "other".into(), reply: reply() }),
            29..31 => {
                self.world.kill(who);
            }
            31..34 => {
                if !self.world.is_running(who) {
                    self.world.start(who);
                }
            }
            34 if self.is_wide => {
                let at = self.world.one_of(2);
                self.world.kill_server(at);
            }
            34 if self.world.server_runs() => self.world.stop_server(),
            34..36 => self.world.start_server(),
            36 => self.link(other),
            37 => self.unlink(),
            _ => {
                let ms = [100, 2_000, 30_000][self.world.one_of(3)];
                self.world.pass(ms);
            }
        }
        for _ in 0..self.world.one_of(12) {
            self.world.step();
        }
    }

    /// What a modified program does: garbage, commits that it has not followed itself, of its epoch and of earlier ones, and beacons of them are logged
    /// and left in inboxes, commits follow one another without end, and what was seen comes again.
    fn attack(&mut self) {
        let (Some(mallory), chat) = (self.mallory, self.chat) else { return };
        self.world.settle();
        let is_in =
            |story: &Self| story.world.is_running(mallory) && story.world.engine(mallory).active_group(chat).is_some();
        if !is_in(self) {
            return;
        }
        let mut made = Vec::new();
        let (mut own, mut commits) = (Vec::new(), Vec::new());
        self.world.begin_modified(mallory, |engine, turn| {
            let (mls, now) = (engine.mls.clone(), turn.agreed_ms());
            let id = engine.active_group(chat).unwrap();
            let Some(mut group) = engine.conversations.open(turn, &mls, id).unwrap() else { return };
            own = group.entry.beacons().collect();
            for commit in group.other_commits(turn, &mls, now).unwrap_or_default() {
                commits.push(commit.1.clone());
                made.extend(group.entry.beacon(commit.0, &Beacon::Commit(commit.1)));
            }
        });
        self.beacons.extend(own);
        self.commits.extend(commits);
        if !is_in(self) {
            return;
        }
        let commit = self.commits.get(self.world.one_of(self.commits.len().max(1))).cloned();
        match (self.world.one_of(7), made.pop(), commit) {
            (6, ..) => self.commit_without_end(mallory),
            (0, ..) => {
                append_in(&mut self.world, mallory, chat, true, &candidate(b"garbage"));
            }
            (1, Some(beacon), _) => {
                let logged = LogContent::Beacon(SealedBeacon { group: Bytes::new(), ..beacon });
                append_in(&mut self.world, mallory, chat, false, &logged);
            }
            (2, beacon, _) => {
                let mut beacons: Vec<_> = beacon.into_iter().chain(self.beacons.iter().rev().cloned()).collect();
                beacons.truncate(MAX_ITEM_BEACONS);
                let to = self.any();
                let device = self.world.of(to).device;
                if to != mallory {
                    self.world.begin_modified(mallory, |engine, turn| {
                        let (conversations, mut cx) = engine.conversing();
                        conversations.leave_made(turn, &mut cx, device, beacons).unwrap();
                    });
                }
            }
            (_, _, Some(commit)) => {
                append_in(&mut self.world, mallory, chat, true, &candidate(&commit));
            }
            _ => {}
        }
    }

    /// What follows its commit is there before anybody has seen that.
    fn commit_without_end(&mut self, mallory: Who) {
        let chat = self.chat;
        self.world.begin_modified(mallory, |engine, turn| {
            let (mls, now) = (engine.mls.clone(), turn.agreed_ms());
            let id = engine.active_group(chat).unwrap();
            let home = engine.conversations.groups.home_of(id).unwrap();
            let Some(mut group) = engine.conversations.open(turn, &mls, id).unwrap() else { return };
            for (keys, commit) in group.commits_in_a_row(6, now).unwrap_or_default() {
                let entries = vec![keys.seal_entry(&candidate(&commit).to_bytes())];
                let request = LogRequest { entries, candidate: true, insist: true, ..LogRequest::default() };
                engine.homes.request_log(turn, home, &keys, LogVerb::Append, request, Pending::Nothing);
            }
        });
    }

    /// Somebody writes on a device, and removes it before all have read that; or loses all of them, and uses the phrase.
    fn lose(&mut self, at: usize, how: usize) {
        match how {
            0 if self.recoveries < 2 => self.recover(at),
            0 => {}
            _ => {
                let of_account = |(device, of): &&(Who, usize)| *of == at && !self.removed.contains(device);
                let Some((device, _)) = self.linked.iter().copied().find(|linked| of_account(&linked)) else { return };
                for _ in 0..how {
                    self.write_on(device);
                }
                self.remove(device, at);
            }
        }
    }

    /// The phrase is used, while the other devices of the account run, or after they were lost.
    fn recover(&mut self, at: usize) {
        let (before, account) = (self.people[at], self.world.of(self.people[at]).account);
        let others = self.linked.iter().filter(|(_, of)| *of == at).map(|(device, _)| *device);
        let lost: Vec<Who> = others.chain([before]).collect();
        if self.world.one_of(2) == 0 {
            lost.iter().for_each(|who| self.world.kill(*who));
        }
        let root = AccountKey::from_seed(&self.world.phrases[&account].seed());
        let name = self.world.of(before).name.clone();
        let homes = homes(self.seed / 2 + at as u64).iter().map(|at| self.world.servers[*at].address.clone()).collect();
        self.people[at] = self.world.profile_at(&name, Origin::Restored(root), homes);
        self.linked.push((before, at));
        self.removed.extend(lost);
        self.recoveries += 1;
    }

    fn link(&mut self, at: usize) {
        let who = self.people[at];
        let count = self.linked.iter().filter(|(_, of)| *of == at).count();
        if self.world.is_running(who)
            && self.world.server_runs()
            && count < 2
            && let Some(device) = self.world.link_within(who, 400)
        {
            self.linked.push((device, at));
        }
    }

    fn unlink(&mut self) {
        let there: Vec<(Who, usize)> =
            self.linked.iter().copied().filter(|(device, _)| !self.removed.contains(device)).collect();
        if there.is_empty() {
            return;
        }
        let (device, at) = there[self.world.one_of(there.len())];
        self.remove(device, at);
    }

    fn remove(&mut self, device: Who, at: usize) {
        let by = self.people[at];
        if !self.world.is_running(by) {
            return;
        }
        let id = self.world.of(device).device;
        drop(self.world.begin(by, |reply| AccountCommand::RemoveDevice(id, reply)));
        self.removed.insert(device);
    }

    /// All are there again, and those who were invited and want to come have come.
    fn end(&mut self) {
        if let Some(liar) = &mut self.world.liar {
            liar.relent();
        }
        self.world.lie = None;
        self.world.heal();
        // What lies in the logs is compared through inboxes after hours.
        let pause = if self.mallory.is_some() || self.world.liar.is_some() { 2 * 3_600_000 } else { 120_000 };
        for _ in 0..3 {
            self.world.pass(pause);
        }
        // A process that was killed before its home has taken a removal has removed nobody: the chain has the device. It has none that a recovery has
        // made of which the next one was told nothing.
        for (device, at) in &self.linked {
            let id = self.world.of(*device).device;
            if self.world.chain(self.people[*at]).device(&id).is_some() {
                self.removed.remove(device);
            }
        }
        let (chat, devices) = (self.chat, self.devices());
        // What the modified program makes of all this is its own affair.
        let is_honest = |who: &Who| Some(*who) != self.mallory;
        let members: Vec<Who> = devices.iter().copied().filter(is_honest).collect();
        let members: Vec<Who> =
            members.into_iter().filter(|who| self.world.standing(*who, chat) == Some(Standing::Member)).collect();
        let epochs: BTreeMap<Who, Option<(u64, usize)>> =
            members.iter().map(|who| (*who, self.world.epoch_in(*who, chat))).collect();
        let policies: BTreeSet<Vec<(AccountId, Role)>> = members
            .iter()
            .map(|who| self.world.group_seen(*who, chat).unwrap().members.iter().map(|m| (m.account, m.role)).collect())
            .collect();
        assert!(epochs.values().collect::<BTreeSet<_>>().len() <= 1, "several epochs: {epochs:?}");
        assert!(policies.len() <= 1, "several policies: {policies:?}");
        let mut said = Vec::new();
        for who in &members {
            let text = format!("end {who}");
            if self.world.say_in(*who, chat, &text).is_ok() {
                said.push(text);
            }
            self.world.pass(2_000);
        }
        self.world.pass(30_000);
        for who in 0..self.world.how_many() {
            if !self.world.is_running(who) || Some(who) == self.mallory {
                continue;
            }
            let read: Vec<String> =
                self.world.texts_in(who, chat).into_iter().filter(|text| text.starts_with("end")).collect();
            if members.contains(&who) {
                assert_eq!(read.iter().collect::<BTreeSet<_>>(), said.iter().collect(), "{who} of {members:?}");
                assert_eq!(read.len(), said.len(), "{who} reads something twice");
            } else {
                assert!(read.is_empty(), "{who} is none of {members:?} and reads {read:?}");
            }
        }
        // Whoever is in the policy with a device is a member, and the accounts of the others are not in the tree.
        if let Some(first) = members.first() {
            let seen = self.world.group_seen(*first, chat).unwrap();
            let devices: usize = seen.members.iter().map(|m| m.devices as usize).sum();
            let modified = usize::from(self.mallory.is_some());
            assert!((members.len()..=members.len() + modified).contains(&devices), "{seen:?}, {members:?}");
        }
    }
}

fn rounds() -> u64 {
    std::env::var("STARLING_GROUP_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(6)
}

/// Accounts in a story, three to ten: each of eight stories that follow one another has another number.
fn accounts(seed: u64) -> usize {
    3 + (seed * 5 % 8) as usize
}

/// Those of a hostile member and a lying server, among the first eighty, that do not end yet as they should.
const OPEN: [u64; 4] = [1, 15, 21, 33];

const BOTH: Attackers = Attackers { member: true, server: true };

/// The seeds from the first one on.
fn seeds() -> impl Iterator<Item = u64> {
    std::env::var("STARLING_GROUP_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(0)..
}

/// Tells stories of so many accounts.
fn tell(first: u64, accounts: impl Fn(u64) -> usize, attackers: Attackers) {
    tell_of(seeds(), first, accounts, attackers);
}

/// Tells the first of the stories with these seeds.
fn tell_of(seeds: impl Iterator<Item = u64>, first: u64, accounts: impl Fn(u64) -> usize, attackers: Attackers) {
    for seed in seeds.zip(0..rounds()).map(|(seed, _)| seed) {
        eprintln!("seed {seed}");
        let mut story = Story::new(first + seed, accounts(seed), attackers);
        for _ in 0..80 {
            story.step();
        }
        story.end();
    }
}

#[test]
fn a_company_story_ends_with_one_group_and_one_history() {
    tell(0, accounts, Attackers::default());
}

#[test]
fn a_company_with_a_hostile_member_ends_with_one_group() {
    tell(31_000, accounts, Attackers { member: true, server: false });
}

#[test]
fn a_company_with_a_lying_server_ends_with_one_group() {
    tell(32_000, |seed| 3 + (seed % 5) as usize, Attackers { member: false, server: true });
}

#[test]
fn a_company_with_a_hostile_member_and_a_lying_server_ends_with_one_group() {
    tell_of(seeds().filter(|seed| !OPEN.contains(seed)), 30_000, |seed| 3 + (seed % 5) as usize, BOTH);
}

#[test]
#[ignore = "open: somebody ends alone in these"]
fn open_stories_of_a_hostile_member_and_a_lying_server_end_with_one_group() {
    tell_of(OPEN.into_iter(), 30_000, |seed| 3 + (seed % 5) as usize, BOTH);
}
