//! What the modified program of a member does. All of it is made with the member's own keys, and well formed: each is refused, bounded or healed for
//! what it is.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use bytes::Bytes;
use starling_keys::{AccountId, DeviceId};
use starling_wire::{
    Batch, Beacon, Body, Cut, Event, EventId, LogContent, LogVerb, Policy, PolicyMember, Reasons, Role, SealedBeacon,
    Text, TopicId, limits::MAX_ITEM_BEACONS, rendezvous::LogRequest,
};

use super::Story;
use crate::{
    api::types::{ChatId, Standing},
    conversation::group::LogKeys,
    engine::{Engine, GroupCommand},
    home::Pending,
    mls::{GroupId, modified::half_open, policy::Change},
    testing::{epoch_tests::candidate, world::Who},
    turn::Turn,
};

/// So many epochs are made before anybody has seen the first of them.
const AHEAD: usize = 6;
/// So many generations are passed over: the library follows so many …
const FEW_GENERATIONS: u32 = 40;
/// … and not so many.
const MANY_GENERATIONS: u32 = 1_100;

/// A kind of harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Harm {
    /// A commit with a path that only some can open.
    HalfPath,
    /// Commits that follow one another, made in advance.
    EpochsAhead,
    /// Commits of an admin beside the one that removes it.
    Rivals,
    /// Messages of one generation, and of generations far ahead.
    Generations,
    /// Two events with one number.
    OneNumber,
    /// A removed device of which nothing counts.
    ZeroCut,
}

impl Harm {
    /// All kinds.
    pub const ALL: [Self; 6] =
        [Self::HalfPath, Self::EpochsAhead, Self::Rivals, Self::Generations, Self::OneNumber, Self::ZeroCut];
}

/// The member whose program is modified.
pub(super) struct Hostile {
    pub who: Who,
    /// Another device of its account.
    pub twin: Option<Who>,
    /// What it does mostly.
    pub harm: Harm,
    /// How often it has done what.
    pub done: BTreeMap<Harm, usize>,
    /// A copy of its profile from when it was a member.
    pub copy: Option<Who>,
}

impl Hostile {
    pub fn new(who: Who, twin: Option<Who>, harm: Harm) -> Self {
        Self { who, twin, harm, done: BTreeMap::new(), copy: None }
    }
}

/// Asks the home to append an entry to a group's log. Gives whether that was sent.
fn append(engine: &mut Engine, turn: &mut Turn<'_>, id: GroupId, keys: &LogKeys, content: &LogContent) -> bool {
    let Some(home) = engine.conversations.groups.home_of(id) else { return false };
    let (entries, candidate) =
        (vec![keys.seal_entry(&content.to_bytes())], matches!(content, LogContent::Candidate(_)));
    let request = LogRequest { entries, candidate, insist: true, ..LogRequest::default() };
    engine.homes.request_log(turn, home, keys, LogVerb::Append, request, Pending::Nothing)
}

/// Batches of one event each, all with the next number.
fn numbered(engine: &mut Engine, turn: &Turn<'_>, chat: ChatId, texts: &[String]) -> Vec<Vec<u8>> {
    let device = engine.account.device().tag();
    let Some(state) = engine.conversations.chats.get_mut(&chat) else { return Vec::new() };
    state.row.last_sequence += 1;
    state.dirty = true;
    let (sequence, now) = (state.row.last_sequence, turn.agreed_ms());
    let mut batches = Vec::new();
    for text in texts {
        let body = Body::Text(Text { text: text.clone(), ..Text::default() });
        let id = EventId { clock: engine.counters.clock.tick(now), device, sequence };
        state.row.last_clock = id.clock.0;
        batches.push(Batch { events: vec![Event { id, body }], ..Batch::default() }.encode());
    }
    batches
}

/// The removal of somebody below admins who is not of this account.
fn others_removal(before: &Policy, own: &AccountId) -> Option<Change> {
    let is_lower = |member: &&PolicyMember| member.account != *own.as_bytes() && member.role > Role::Admin;
    let victim = before.members.iter().find(is_lower)?.account;
    let mut policy = before.clone();
    policy.remove(&victim);
    Some(Change { policy, reasons: Reasons::default() })
}

/// A message as members pass it on to one another.
fn envelope(keys: &LogKeys, message: &Bytes) -> Option<(TopicId, Bytes)> {
    let sealed = keys.seal_entry(&LogContent::Message(message.clone()).to_bytes());
    keys.gossip.seal(&sealed).map(|envelope| (keys.gossip.topic(), envelope))
}

impl Story {
    /// The modified program does this, if it is in the group and reaches the home. It counts as done when what does it has left.
    pub(super) fn harm(&mut self, harm: Harm) {
        let Some(hostile) = &self.hostile else { return };
        let who = hostile.who;
        let chat = self.any_chat();
        let is_member =
            |story: &Self| story.world.is_running(who) && story.world.standing(who, chat) == Some(Standing::Member);
        self.world.kill_points.remove(&who);
        // What no home hears of harms nobody.
        let is_heard = self.world.server_runs() && !self.world.cut_off.contains(&who);
        if !is_heard || !is_member(self) {
            return;
        }
        self.keep_copy(who);
        // What is under way may end its membership.
        self.world.settle();
        if !is_member(self) || self.world.engine(who).active_group(chat).is_none() {
            return;
        }
        let is_done = match harm {
            Harm::HalfPath => self.half_path(who, chat),
            Harm::EpochsAhead => self.epochs_ahead(who, chat),
            Harm::Rivals => self.rivals(who),
            Harm::Generations => self.generations(who, chat),
            Harm::OneNumber => self.one_number(who, chat),
            Harm::ZeroCut => self.zero_cut(who),
        };
        if let Some(hostile) = self.hostile.as_mut().filter(|_| is_done) {
            *hostile.done.entry(harm).or_default() += 1;
        }
    }

    /// Its profile is copied once, while it is a member.
    fn keep_copy(&mut self, who: Who) {
        if self.hostile.as_ref().is_some_and(|hostile| hostile.copy.is_none()) {
            let copy = self.world.copied(who);
            if let Some(hostile) = &mut self.hostile {
                hostile.copy = Some(copy);
            }
        }
    }

    /// Every second secret of its path can be opened by nobody; in public the commit is as valid as any other.
    fn half_path(&mut self, who: Who, chat: ChatId) -> bool {
        let mut is_made = false;
        self.world.begin_modified(who, |engine, turn| {
            let (mls, now) = (engine.mls.clone(), turn.agreed_ms());
            let Some(id) = engine.active_group(chat) else { return };
            let Some(mut group) = engine.conversations.open(turn, &mls, id).unwrap() else { return };
            let (made, secrets) = half_open(|| group.prepare_update(now));
            if made.is_ok() {
                is_made = secrets.whole > 0 && secrets.spoiled > 0;
                group.entry.append.committing = true;
                engine.conversations.groups.touch(id);
            }
        });
        is_made
    }

    /// What follows its commit is there before anybody has seen that.
    fn epochs_ahead(&mut self, who: Who, chat: ChatId) -> bool {
        let mut sent = 0;
        self.world.begin_modified(who, |engine, turn| {
            let (mls, now) = (engine.mls.clone(), turn.agreed_ms());
            let Some(id) = engine.active_group(chat) else { return };
            let Some(mut group) = engine.conversations.open(turn, &mls, id).unwrap() else { return };
            for (keys, commit) in group.commits_in_a_row(AHEAD, now).unwrap_or_default() {
                sent += usize::from(append(engine, turn, id, &keys, &candidate(&commit)));
            }
        });
        sent > 1
    }

    /// While it is removed it commits beside that: in each epoch that it knows, and the removal of somebody else.
    fn rivals(&mut self, who: Who) -> bool {
        let (chat, account) = (self.root(), self.world.of(who).account);
        let Some(by) = self.rulers_of(chat).first().copied() else { return false };
        let mut removal = self.world.begin(by, |reply| GroupCommand::Remove { chat, account, reply });
        self.world.all_at_once(by);
        let is_wanted = matches!(removal.try_recv(), Ok(Ok(())));
        for _ in 0..self.world.one_of(4) {
            self.world.step();
        }
        if !self.world.is_running(who) {
            return false;
        }
        let (mut beacons, mut sent) = (Vec::new(), 0);
        self.world.begin_modified(who, |engine, turn| {
            let (mls, now) = (engine.mls.clone(), turn.agreed_ms());
            let Some(id) = engine.active_group(chat) else { return };
            let Some(mut group) = engine.conversations.open(turn, &mls, id).unwrap() else { return };
            let mut logged = Vec::new();
            for (epoch, commit) in group.other_commits(turn, &mls, now).unwrap_or_default() {
                beacons.extend(group.entry.beacon(epoch, &Beacon::Commit(commit.clone())));
                logged.extend(group.entry.keys_of(epoch).map(|keys| (keys, commit)));
            }
            if let Some(change) = group.policy().and_then(|before| others_removal(&before, &account))
                && group.prepare_change(now, &change).is_ok()
            {
                group.entry.append.committing = true;
            }
            engine.conversations.groups.touch(id);
            for (keys, commit) in logged {
                sent += usize::from(append(engine, turn, id, &keys, &candidate(&commit)));
            }
        });
        self.leave_beacons(who, beacons);
        is_wanted && sent > 0
    }

    /// Beacons are left in somebody's inbox.
    fn leave_beacons(&mut self, who: Who, mut beacons: Vec<SealedBeacon>) {
        let honest = self.honest();
        let to = honest[self.world.one_of(honest.len())];
        let device = self.world.of(to).device;
        beacons.truncate(MAX_ITEM_BEACONS);
        if beacons.is_empty() {
            return;
        }
        self.world.begin_modified(who, |engine, turn| {
            let (conversations, mut cx) = engine.conversing();
            conversations.leave_made(turn, &mut cx, device, beacons).unwrap();
        });
    }

    /// Honest members who lead a group, the highest first.
    pub(super) fn rulers_of(&self, chat: ChatId) -> Vec<Who> {
        let leads = |who: Who| {
            let group = self.world.group_seen(who, chat).filter(|group| group.standing == Standing::Member)?;
            let role = group.role().filter(|role| *role <= Role::Admin)?;
            Some((role.rank(), who))
        };
        let running = self.honest().into_iter().filter(|who| self.world.is_running(*who));
        let mut found: Vec<(u8, Who)> = running.filter_map(leads).collect();
        found.sort_unstable();
        found.into_iter().map(|(_, who)| who).collect()
    }

    /// Two messages of one generation, one that comes after others which are never sent, and one that comes after too many of these.
    fn generations(&mut self, who: Who, chat: ChatId) -> bool {
        self.texts += 1;
        let texts = ["once", "again", "ahead", "far ahead"].map(|what| format!("{who}-{} {what}", self.texts));
        let mut sent = 0;
        self.world.begin_modified(who, |engine, turn| {
            let mls = engine.mls.clone();
            let Some(id) = engine.active_group(chat) else { return };
            // Each has a number of its own: that is not what they are refused for.
            let mut batches = Vec::new();
            for text in &texts {
                batches.extend(numbered(engine, turn, chat, std::slice::from_ref(text)));
            }
            let Some(group) = engine.conversations.open(turn, &mls, id).unwrap() else { return };
            let Some(keys) = group.entry.current_keys() else { return };
            let ahead = [0, 0, FEW_GENERATIONS, MANY_GENERATIONS];
            let messages: Vec<Bytes> =
                batches.iter().zip(ahead).filter_map(|(batch, ahead)| group.encrypt_ahead(ahead, batch).ok()).collect();
            for message in messages {
                sent += usize::from(append(engine, turn, id, &keys, &LogContent::Message(message)));
            }
        });
        sent == texts.len()
    }

    /// Two messages with one number: the log has one first, and the other is passed on to some.
    fn one_number(&mut self, who: Who, chat: ChatId) -> bool {
        self.texts += 1;
        let texts = ["this", "that"].map(|what| format!("{who}-{} {what}", self.texts));
        let (mut sent, mut passed_on) = (0, None);
        self.world.begin_modified(who, |engine, turn| {
            let mls = engine.mls.clone();
            let Some(id) = engine.active_group(chat) else { return };
            let batches = numbered(engine, turn, chat, &texts);
            let Some(mut group) = engine.conversations.open(turn, &mls, id).unwrap() else { return };
            let messages: Vec<Bytes> = batches.iter().filter_map(|batch| group.encrypt(batch).ok()).collect();
            let Some(keys) = group.entry.current_keys() else { return };
            engine.conversations.groups.touch(id);
            passed_on = messages.last().and_then(|message| envelope(&keys, message));
            for message in messages {
                sent += usize::from(append(engine, turn, id, &keys, &LogContent::Message(message)));
            }
        });
        if let Some((topic, envelope)) = passed_on.filter(|_| self.world.gossip.on) {
            for to in self.honest() {
                if self.world.one_of(2) == 0 {
                    self.world.bring(who, to, topic, envelope.clone());
                }
            }
        }
        sent == texts.len()
    }

    /// Its account removes a device, of whose messages it says that none counts; and says the same of devices that are not its own.
    fn zero_cut(&mut self, who: Who) -> bool {
        let mut chats = self.chats.clone();
        chats.retain(|chat| self.world.standing(who, *chat) == Some(Standing::Member));
        let twin = self.hostile.as_mut().and_then(|hostile| hostile.twin.take());
        if let Some(twin) = twin {
            self.forget_events(who, twin, &chats);
            self.remove_device(twin, 1);
            self.world.pass(5_000);
        }
        if !self.world.is_running(who) {
            return false;
        }
        let others: Vec<DeviceId> = self.honest().into_iter().map(|other| self.world.of(other).device).collect();
        self.world.begin_modified(who, |engine, turn| {
            for (chat, device) in chats.iter().flat_map(|chat| others.iter().map(move |device| (*chat, device))) {
                let cut = Cut { device: *device.as_bytes(), ..Cut::default() };
                let (conversations, mut cx) = engine.conversing();
                conversations.write_event(turn, &mut cx, chat, Body::Cut(cut)).unwrap();
            }
        });
        let chain = self.world.chain(who);
        twin.is_some_and(|twin| chain.has_removed(&self.world.of(twin).device))
    }

    /// A device writes, and stops; another one of its account knows nothing of that any more, so that it says so when the first is removed.
    fn forget_events(&mut self, who: Who, device: Who, chats: &[ChatId]) {
        for chat in chats {
            self.texts += 1;
            let text = format!("{device}-{} of no account", self.texts);
            self.write_on(device, *chat, Text { text, ..Text::default() });
        }
        self.world.pass(2_000);
        self.world.kill(device);
        if !self.world.is_running(who) {
            return;
        }
        let (account, id) = (self.world.of(device).account, self.world.of(device).device);
        self.world.begin_modified(who, |engine, _| {
            for chat in chats {
                let Some(state) = engine.conversations.chats.get_mut(chat) else { continue };
                let row = state.roster.device_mut(account, &id);
                (row.received, row.cut_upto) = (0, 0);
                row.early.clear();
                state.dirty = true;
            }
        });
    }
}
