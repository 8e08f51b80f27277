//! All becomes quiet: who is in a group then has one epoch, one roster, one policy and one audit log.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;

use bytes::Bytes;
use starling_keys::{AccountId, DeviceId};
use starling_wire::{
    AuditAction, AuditEntry, Policy, Role, Text,
    rendezvous::{Request, RequestBody},
};

use super::{Story, Told, Written, outsiders::AT_LAST};
use crate::{
    api::types::{ChatId, Standing},
    engine::{ContactCommand, GroupCommand},
    mls::GroupId,
    testing::world::Who,
};

/// What lies in the logs is compared through inboxes after hours.
const QUIET_MS: u64 = 2 * 3_600_000;

/// The members of a group whose programs are honest, and what they agree on.
pub(super) struct Agreed {
    pub chat: ChatId,
    pub members: Vec<Who>,
    pub epoch: u64,
    /// All devices in its tree.
    pub devices: BTreeSet<DeviceId>,
    /// Accounts that were removed or have left at some time, also if they are in it again.
    pub gone: BTreeSet<[u8; 32]>,
    /// Those that have come more than once.
    pub back: BTreeSet<[u8; 32]>,
}

/// Where a device is in a group: its MLS group, epoch, the address of the log, which follows from the epoch's secrets, and the devices.
type Place = (GroupId, u64, [u8; 32], BTreeSet<DeviceId>);

/// The entries that a request appends to a log.
fn appended_entries(request: Request) -> Vec<Bytes> {
    match request.body {
        Some(RequestBody::LogAppend(append)) => append.entries,
        _ => Vec::new(),
    }
}

impl Story {
    /// Ends the story. Gives what it had in it.
    pub(super) fn end(mut self) -> Told {
        self.make_peace();
        let was_removed = self.remove_hostile();
        self.look();
        let chats = self.chats.clone();
        let groups: Vec<Agreed> = chats.into_iter().filter_map(|chat| self.agreed(chat)).collect();
        let now = self.world.now.wall_ms;
        self.world.asked = Some(Vec::new());
        for group in &groups {
            self.say_at_last(group);
            self.has_heard_the_owner(group);
        }
        self.world.pass(300_000);
        let asked = self.world.asked.take().into_iter().flatten();
        let appended: Vec<Bytes> = asked.flat_map(appended_entries).collect();
        let mut there = 0;
        for group in &groups {
            there += self.have_one_timeline(group, now);
        }
        self.are_told_once(&groups);
        let has_copy_tried = self.nobody_else_reads(&groups, &appended, was_removed);
        let root = self.root();
        Told {
            harm: self.hostile.map(|hostile| hostile.done).unwrap_or_default(),
            kills: self.world.kills,
            together: groups.iter().find(|group| group.chat == root).map_or(0, |group| group.members.len()),
            there,
            copies: usize::from(has_copy_tried),
        }
    }

    /// Everybody runs and is connected, and the home is there and honest, for hours.
    fn make_peace(&mut self) {
        self.world.kill_points.clear();
        self.mend();
        (self.world.direct, self.world.lie) = (true, None);
        self.world.apart.clear();
        let gossip = &mut self.world.gossip;
        (gossip.lost, gossip.doubled, gossip.reordered) = (0, 0, false);
        if let Some(liar) = &mut self.world.liar {
            liar.relent();
        }
        for who in self.everybody() {
            if !self.world.is_running(who) {
                self.world.start(who);
            }
        }
        self.world.pass(180_000);
        for (who, account) in std::mem::take(&mut self.blocked) {
            drop(self.world.begin(who, |reply| ContactCommand::Unblock(account, reply)));
        }
        for _ in 0..3 {
            self.world.pass(QUIET_MS);
        }
        // A process that was killed before its home has taken a removal has removed nobody.
        for (device, at) in self.linked.clone() {
            let id = self.world.of(device).device;
            if !self.world.chain(self.people[at]).has_removed(&id) {
                self.removed.remove(&device);
            }
        }
    }

    /// Whoever leads the honest members removes the one whose program is modified. Gives whether that was possible.
    fn remove_hostile(&mut self) -> bool {
        let Some(hostile) = &self.hostile else { return false };
        let (root, account) = (self.root(), self.world.of(hostile.who).account);
        let Some(by) = self.rulers_of(root).first().copied() else { return false };
        let is_in = |story: &Self| {
            let seen = story.world.group_seen(by, root);
            seen.is_some_and(|group| group.members.iter().any(|member| member.account == account))
        };
        if !is_in(self) {
            return true;
        }
        let role = self.world.group_seen(by, root).and_then(|group| group.role());
        let wanted = self.world.call(by, |reply| GroupCommand::Remove { chat: root, account, reply });
        assert!(wanted.is_ok() || role != Some(Role::Owner), "seed {}: {wanted:?}, for the owner {by}", self.seed);
        self.world.pass(QUIET_MS);
        assert!(wanted.is_err() || !is_in(self), "seed {}: it cannot be removed", self.seed);
        wanted.is_ok()
    }

    fn place(&self, who: Who, chat: ChatId) -> Option<Place> {
        let engine = self.world.engine(who);
        let id = engine.active_group(chat)?;
        let entry = engine.conversations.groups.get(&id)?;
        let devices = entry.members.iter().map(|member| member.device).collect();
        Some((id, entry.epoch(), entry.current_keys()?.address, devices))
    }

    fn policy(&mut self, who: Who, chat: ChatId) -> Option<Policy> {
        let mut policy = None;
        self.world.begin_modified(who, |engine, turn| {
            let mls = engine.mls.clone();
            let Some(id) = engine.active_group(chat) else { return };
            policy = engine.conversations.open(turn, &mls, id).unwrap().and_then(|group| group.policy());
        });
        policy
    }

    fn audit(&mut self, who: Who, chat: ChatId) -> Vec<AuditEntry> {
        let log = self.world.call(who, |reply| GroupCommand::Audit(chat, reply)).unwrap();
        assert_eq!(log.missing, 0, "seed {}: {who} lacks a part of the audit log", self.seed);
        log.entries
    }

    /// What the honest members of a group agree on; none if there are none.
    fn agreed(&mut self, chat: ChatId) -> Option<Agreed> {
        let mut members = self.honest();
        members.retain(|who| self.world.standing(*who, chat) == Some(Standing::Member));
        let first = *members.first()?;
        let seed = self.seed;
        let place = self.place(first, chat);
        let (policy, audit) = (self.policy(first, chat), self.audit(first, chat));
        for who in &members[1..] {
            assert_eq!(self.place(*who, chat), place, "seed {seed}: {who} and {first} of {members:?}");
            assert_eq!(self.policy(*who, chat), policy, "seed {seed}: {who} and {first} of {members:?}");
            assert_eq!(self.audit(*who, chat), audit, "seed {seed}: {who} and {first} of {members:?}");
        }
        let (_, epoch, _, devices) = place.expect("a member has a group");
        self.has_just_these_devices(chat, &members, &devices);
        let gone = audit.iter().filter_map(|entry| match entry.action {
            AuditAction::Removed(account) | AuditAction::Left(account) | AuditAction::Banned(account) => Some(account),
            _ => None,
        });
        let gone = gone.collect();
        let (mut came, mut back) = (BTreeSet::new(), BTreeSet::new());
        for entry in &audit {
            if let AuditAction::Invited(account) = entry.action
                && !came.insert(account)
            {
                back.insert(account);
            }
        }
        Some(Agreed { chat, members, epoch, devices, gone, back })
    }

    /// Of honest accounts just those devices are in the tree that are members for themselves, and of each account all or none.
    fn has_just_these_devices(&mut self, chat: ChatId, members: &[Who], devices: &BTreeSet<DeviceId>) {
        let of_hostile: Vec<Who> = self.everybody().into_iter().filter(|who| self.is_hostiles(*who)).collect();
        let of_hostile: Vec<DeviceId> = of_hostile.into_iter().map(|who| self.world.of(who).device).collect();
        let theirs: BTreeSet<DeviceId> = members.iter().map(|who| self.world.of(*who).device).collect();
        let honest: BTreeSet<DeviceId> =
            devices.iter().filter(|device| !of_hostile.contains(device)).copied().collect();
        assert_eq!(honest, theirs, "seed {}: the tree of {chat:?} and {members:?}", self.seed);
        let accounts: BTreeSet<AccountId> = members.iter().map(|who| self.world.of(*who).account).collect();
        for who in self.honest() {
            let is_of_member = accounts.contains(&self.world.of(who).account);
            assert_eq!(is_of_member, members.contains(&who), "seed {}: {who} of {members:?}", self.seed);
        }
    }

    /// Each writes once more, if it may.
    fn say_at_last(&mut self, group: &Agreed) {
        for who in &group.members {
            self.texts += 1;
            let text = format!("{AT_LAST}{who}-{}", self.texts);
            self.write_on(*who, group.chat, Text { text, ..Text::default() });
            self.world.pass(3_000);
        }
    }

    /// Nothing keeps an owner from writing: so the checks of what was written in the end are about something.
    fn has_heard_the_owner(&self, group: &Agreed) {
        let role = |who: &Who| self.world.group_seen(*who, group.chat).and_then(|seen| seen.role());
        let owners: Vec<Who> = group.members.iter().copied().filter(|who| role(who) == Some(Role::Owner)).collect();
        let wrote = |who: &Who| {
            let is_theirs = |written: &&Written| written.by == *who && written.chat == group.chat;
            self.written.iter().filter(is_theirs).any(|written| written.text.starts_with(AT_LAST))
        };
        let mute: Vec<Who> = owners.into_iter().filter(|who| !wrote(who)).collect();
        assert!(mute.is_empty(), "seed {}: {mute:?} cannot write in {:?}", self.seed, group.chat);
    }
}
