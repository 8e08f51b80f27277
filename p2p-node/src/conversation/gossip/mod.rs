//! What members of a group pass on to one another: entries of its log, before the log has them or while it cannot be reached.
//!
//! The log says what counts, and in which order. What comes by gossip is shown at once, and kept here until the log has it: it uses up no key, takes
//! no number and is acknowledged to nobody. When it is read in the log it is taken as everything that stands there, and what was shown becomes
//! final; if it does not come to count it is marked. Nothing is believed of a neighbour: envelopes were opened before they come here
//! (`net/gossip.rs`), and who has written an entry follows from its encryption.

mod activity;
mod again;
mod append;
pub(crate) mod limits;
mod missing;
mod recent;
mod settle;
mod take;
mod vain;
mod waiting;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use starling_keys::{AccountId, DeviceId};
use starling_wire::{Clock, EventId, GossipKey, TopicId};

use self::{
    activity::Activity,
    again::Again,
    limits::{GOSSIP_GRACE_MS, MAX_TOPICS, TOPIC_ACTIVITY_MS},
    vain::Vain,
    waiting::Waiting,
};
use super::{Chats, Conversations, context::Context, group::GroupId};
use crate::{
    api::types::ChatId,
    contacts::{ChainsKnown, Directory},
    conversation::GroupEntry,
    net::{NetCommand, gossip::Topic},
    store::{GOSSIPED, GossipRow, Reading, StoreError, prefix},
    turn::{Effect, EngineError, Fact, Schedule, Turn},
};

/// The hash of a message, as its copies are known by.
type MessageHash = [u8; 16];

/// What is passed on in groups.
#[derive(Default)]
pub struct Gossip {
    /// The topic of each group's conversation.
    wanted: BTreeMap<ChatId, Wanted>,
    /// What the network was told to take part in.
    told: BTreeMap<TopicId, Told>,
    /// One of the topics, or which of them are chosen, may be another.
    changed: bool,
    /// What has just come, and what the log may have in a moment.
    waiting: Waiting,
    /// What the log does not have yet.
    held: BTreeMap<ChatId, Held>,
    /// Who is typing in a group, and who was there a moment ago.
    activity: BTreeMap<ChatId, Activity>,
    /// When what the logs lack is passed on again.
    again: BTreeMap<ChatId, Again>,
    /// What came in vain.
    vain: BTreeMap<ChatId, Vain>,
    /// What of the logs this device lacks, and who has asked for what it lacks.
    missing: BTreeMap<ChatId, missing::Missing>,
    /// What others have written lately, as it stood in the logs.
    recent: recent::Recent,
    /// When something is to be done, in steady time.
    due: Schedule<ChatId>,
}

/// The topics of a group.
struct Wanted {
    group: GroupId,
    current: Place,
    /// That of the epoch before, and until when it is kept: others may not have read of the commit yet.
    before: Option<(Place, u64)>,
    /// The chains from which it follows who takes part.
    chains: Option<ChainsKnown>,
    /// When something was written last, in blocks of [`TOPIC_ACTIVITY_MS`].
    activity: u64,
}

impl Wanted {
    /// Whether these are the topics of a group whose current log has this address, and nothing of them is over.
    fn is_of(&self, group: GroupId, address: &[u8], now: u64) -> bool {
        let is_over = self.before.as_ref().is_some_and(|(_, until)| *until <= now);
        self.group == group && self.current.address == address && !is_over
    }
}

/// Who takes part in something: in a group of many one list is shared by all who know it.
type Members = Arc<BTreeMap<DeviceId, AccountId>>;

/// The topic of an epoch.
struct Place {
    epoch: u64,
    /// The address of the epoch's log, which tells it from others of this number.
    address: Vec<u8>,
    key: GossipKey,
    /// The other devices that are in the epoch.
    members: Members,
}

impl Place {
    fn topic(&self) -> TopicId {
        self.key.topic()
    }
}

/// A topic that the network takes part in.
struct Told {
    chat: ChatId,
    group: GroupId,
    epoch: u64,
    members: Members,
}

/// Entries of a conversation that its log does not have yet.
#[derive(Default)]
struct Held {
    entries: BTreeMap<MessageHash, Entry>,
    bytes: usize,
    /// Since when the log was read to its end, in steady time: what is still not there is appended some time after that.
    readable_since: Option<u64>,
}

/// One of them, as far as it is kept in memory.
struct Entry {
    /// Of the epoch in which it was encrypted.
    topic: TopicId,
    /// Who has written it.
    device: DeviceId,
    /// The messages in it that are shown and not final.
    ids: BTreeSet<EventId>,
    len: usize,
    /// When it came, milliseconds since 1970.
    at_ms: u64,
    /// The same in steady time; 0 if that was in an earlier run.
    since: u64,
    /// When this device has appended it, in steady time; 0 if it has not …
    appended_at: u64,
    /// … and how often.
    appends: u32,
    /// When its epoch was seen to be over, in steady time; 0 if it is not.
    over_at: u64,
}

impl Entry {
    fn stored(row: &GossipRow) -> Option<Self> {
        Some(Self {
            topic: TopicId(row.topic.as_slice().try_into().ok()?),
            device: DeviceId::from_stored(&row.device).ok()?,
            ids: row.ids.chunks_exact(EventId::LEN).filter_map(EventId::from_bytes).collect(),
            len: row.entry.len(),
            at_ms: row.at_ms,
            since: 0,
            appended_at: 0,
            appends: 0,
            over_at: 0,
        })
    }
}

/// The key of a row.
fn gossip_key(chat: ChatId, hash: &MessageHash) -> Vec<u8> {
    [&chat.0[..], hash].concat()
}

impl Gossip {
    /// Loads what the logs did not have.
    pub(super) fn load(read: &impl Reading, chats: &mut Chats) -> Result<Self, StoreError> {
        let mut gossip = Self::default();
        for (key, row) in read.range::<GossipRow>(GOSSIPED, prefix(b""), usize::MAX, false)? {
            let chat = key.get(..16).and_then(|id| id.try_into().ok()).map(ChatId);
            let hash = key.get(16..).and_then(|hash| MessageHash::try_from(hash).ok());
            let (Some(chat), Some(hash), Some(entry)) = (chat, hash, Entry::stored(&row)) else {
                return Err(StoreError::Damaged(GOSSIPED.name()));
            };
            if let Some(state) = chats.get_mut(&chat) {
                state.provisional.extend(&entry.ids);
            }
            gossip.hold(chat, hash, entry);
            // It may have come to its end meanwhile, also in a group that nothing else looks at.
            gossip.due.set(chat, Some(0));
        }
        Ok(gossip)
    }

    fn hold(&mut self, chat: ChatId, hash: MessageHash, entry: Entry) {
        let held = self.held.entry(chat).or_default();
        held.bytes += entry.len;
        held.entries.insert(hash, entry);
    }

    /// Forgets an entry.
    fn release(&mut self, chat: ChatId, hash: &MessageHash) -> Option<Entry> {
        let held = self.held.get_mut(&chat)?;
        let entry = held.entries.remove(hash)?;
        held.bytes -= entry.len;
        if held.entries.is_empty() {
            self.held.remove(&chat);
        }
        Some(entry)
    }

    /// When something is to be done, in steady time.
    pub(super) fn next_due(&self) -> Option<u64> {
        self.due.next().into_iter().chain(self.waiting.next_due()).min()
    }

    /// The devices that take part in something with us, with their accounts and the groups.
    pub(crate) fn members(&self) -> impl Iterator<Item = (GroupId, DeviceId, AccountId)> {
        self.told
            .values()
            .flat_map(|told| told.members.iter().map(move |(device, account)| (told.group, *device, *account)))
    }

    /// The group of a conversation, if it is in the epoch that this place is of, and its topic is one of those that we take part in.
    fn current(&self, chat: &ChatId) -> Option<(GroupId, &Place)> {
        let wanted = self.wanted.get(chat)?;
        self.told.contains_key(&wanted.current.topic()).then_some((wanted.group, &wanted.current))
    }

    /// Nothing of a conversation is passed on any more.
    fn leave(&mut self, chat: &ChatId) {
        self.changed |= self.wanted.remove(chat).is_some();
        self.activity.remove(chat);
        self.missing.remove(chat);
        self.recent.forget(chat);
    }

    /// A group is in an epoch. The topic of the epoch before is kept for a time, unless somebody who was there is not any more.
    fn want(&mut self, now: u64, chat: ChatId, group: GroupId, (current, activity): (Place, u64)) {
        let known = self.wanted.remove(&chat).filter(|known| known.group == group);
        let before = known.and_then(|known| {
            if known.current.address == current.address {
                return known.before;
            }
            let follows = known.current.epoch + 1 == current.epoch;
            let all_stay = known.current.members.keys().all(|device| current.members.contains_key(device));
            (follows && all_stay).then_some((known.current, now + GOSSIP_GRACE_MS))
        });
        let before = before.filter(|(_, until)| *until > now).map(|(mut place, until)| {
            if !place.members.keys().all(|device| current.members.contains_key(device)) {
                Arc::make_mut(&mut place.members).retain(|device, _| current.members.contains_key(device));
            }
            (place, until)
        });
        self.wanted.insert(chat, Wanted { group, current, before, chains: None, activity });
        self.changed = true;
    }

    /// The conversations whose topics we take part in: all, or those in which something was written last.
    fn chosen(&self) -> Vec<ChatId> {
        let mut chats: Vec<(&ChatId, &Wanted)> = self.wanted.iter().collect();
        if chats.len() > MAX_TOPICS {
            // Of those that are as lively the ones that are there already stay.
            let rank = |wanted: &Wanted| (wanted.activity, self.told.contains_key(&wanted.current.topic()));
            chats.sort_by_key(|(chat, wanted)| (std::cmp::Reverse(rank(wanted)), **chat));
            chats.truncate(MAX_TOPICS);
        }
        chats.into_iter().map(|(chat, _)| *chat).collect()
    }

    /// Tells the network what to take part in, if that has changed.
    fn tell(&mut self, turn: &mut Turn<'_>) {
        if !std::mem::take(&mut self.changed) {
            return;
        }
        let chosen = self.chosen();
        let current = chosen.iter().filter_map(|chat| Some((chat, self.wanted.get(chat)?)));
        let before = current.clone().filter_map(|(chat, wanted)| {
            let (place, _) = wanted.before.as_ref()?;
            Some((chat, wanted, place))
        });
        // Those of epochs that are over take no place of others.
        let all = current.map(|(chat, wanted)| (chat, wanted, &wanted.current)).chain(before).take(MAX_TOPICS);
        let all: BTreeMap<TopicId, (ChatId, &Wanted, &Place)> =
            all.map(|(chat, wanted, place)| (place.topic(), (*chat, wanted, place))).collect();
        // Others take no more topics of one device than so many: first some are left.
        for topic in self.told.keys().filter(|topic| !all.contains_key(*topic)) {
            turn.emit(Effect::Net(NetCommand::Topic(*topic, None)));
        }
        let mut told = BTreeMap::new();
        for (topic, (chat, wanted, place)) in all {
            if self.told.get(&topic).is_none_or(|told| told.members != place.members) {
                let members = place.members.keys().copied().collect();
                let known = Topic { key: place.key.clone(), members };
                turn.emit(Effect::Net(NetCommand::Topic(topic, Some(known))));
            }
            let (group, epoch, members) = (wanted.group, place.epoch, place.members.clone());
            told.insert(topic, Told { chat, group, epoch, members });
        }
        self.told = told;
        turn.fact(Fact::ReachChanged);
    }
}

impl Conversations {
    /// The group of a conversation in which entries are passed on.
    fn gossiping(&self, cx: &Context<'_>, chat: ChatId) -> Option<GroupId> {
        let state = self.chats.get(&chat)?;
        let is_ours = !state.row.outdated && !cx.counters.row.outdated && !cx.counters.row.superseded;
        if !state.is_group() || !is_ours || !self.policies.is_in(&chat) {
            return None;
        }
        self.active_group(cx.dir, chat).filter(|id| self.groups.get(id).is_some_and(|entry| !entry.row.dead))
    }

    /// Plans which topic a conversation has. Who takes part follows from the epoch and the chains: while these are the same nobody is looked at.
    fn plan_topic(&mut self, turn: &Turn<'_>, cx: &Context<'_>, chat: ChatId) {
        let Some(id) = self.gossiping(cx, chat) else { return self.gossip.leave(&chat) };
        let Some((entry, state)) = self.groups.get(&id).zip(self.chats.get(&chat)) else { return };
        let Some(log) = entry.current_log() else { return };
        let (chains, activity) = (cx.dir.chains_known(), Clock(state.row.newest).ms() / TOPIC_ACTIVITY_MS);
        let has_many = self.gossip.wanted.len() > MAX_TOPICS;
        let known = self.gossip.wanted.get_mut(&chat);
        let known = known.filter(|known| known.is_of(id, &log.address, turn.now()));
        let members = match &known {
            Some(known) if known.chains == Some(chains) => known.current.members.clone(),
            _ => Arc::new(taking_part(cx.dir, entry)),
        };
        if let Some(known) = known.filter(|known| known.current.members == members) {
            // It may have become one of those that are taken part in.
            self.gossip.changed |= has_many && known.activity != activity;
            (known.activity, known.chains) = (activity, Some(chains));
            return;
        }
        let Some(keys) = entry.current_keys() else { return };
        let place = Place { epoch: log.epoch, address: log.address.clone(), key: keys.gossip, members };
        self.gossip.want(turn.now(), chat, id, (place, activity));
        if let Some(wanted) = self.gossip.wanted.get_mut(&chat) {
            wanted.chains = Some(chains);
        }
    }

    /// Conversations in which something is due.
    pub(crate) fn gossip_on_time(&mut self, turn: &Turn<'_>) {
        for chat in self.gossip.due.take_due(turn.now()) {
            self.chats.touch(chat);
        }
    }

    /// Passes on what this turn has written, and settles what was passed on to us.
    pub(crate) fn pump_gossip(&mut self, turn: &mut Turn<'_>, cx: &mut Context<'_>) -> Result<(), EngineError> {
        let touched: Vec<ChatId> =
            self.touched_chats(cx.dir).into_iter().filter(|chat| self.chats.is_group_chat(*chat)).collect();
        for chat in &touched {
            self.plan_topic(turn, cx, *chat);
        }
        self.gossip.tell(turn);
        for chat in touched {
            self.publish_new(turn, cx, chat);
            let types = self.expire_typing(turn, chat);
            let again = self.pass_on_again(turn, cx, chat)?;
            let settles = self.settle_gossip(turn, chat)?;
            self.answer_missing(turn, cx, chat)?;
            let appends = self.append_for_others(turn, cx, chat)?;
            let asks = self.ask_for_missing(turn, cx, chat);
            let ends = self.gossip.wanted.get(&chat).and_then(|wanted| wanted.before.as_ref()).map(|(_, until)| *until);
            let all = settles.into_iter().chain(appends).chain(asks).chain(again).chain(ends).chain(types);
            let due = all.filter(|due| *due > turn.now()).min();
            self.gossip.due.set(chat, due);
        }
        Ok(())
    }
}

/// The other devices that take part in what is passed on in a group: not those that their accounts have removed.
fn taking_part(dir: Directory<'_>, entry: &GroupEntry) -> BTreeMap<DeviceId, AccountId> {
    let me = dir.account.device();
    let is_removed =
        |account: &AccountId, device: &DeviceId| dir.list_of(account).is_some_and(|list| list.has_removed(device));
    let others = entry.members.iter().filter(|m| m.device != me && !is_removed(&m.account, &m.device));
    others.map(|member| (member.device, member.account)).collect()
}

#[cfg(test)]
impl Conversations {
    /// How many entries of a conversation are kept, as its log does not have them.
    pub(crate) fn gossip_kept(&self, chat: &ChatId) -> usize {
        self.gossip.held.get(chat).map_or(0, |held| held.entries.len())
    }
}

#[cfg(test)]
mod tests {
    use starling_keys::{AccountKey, DeviceKey};

    use super::*;

    fn member(n: u8) -> (DeviceId, AccountId) {
        (DeviceKey::from_seed(&[n; 32]).id(), AccountKey::from_seed(&[n; 32]).id())
    }

    fn place(group: u8, epoch: u64, members: &[u8]) -> Place {
        let (mut secret, members) = ([group; 32], Arc::new(members.iter().map(|n| member(*n)).collect()));
        secret[..8].copy_from_slice(&epoch.to_be_bytes());
        let key = GossipKey::from_secret(&secret);
        Place { epoch, address: secret.to_vec(), key, members }
    }

    fn chat(n: u8) -> ChatId {
        ChatId([n; 16])
    }

    #[test]
    fn the_topic_before_is_kept_for_a_time_unless_somebody_has_gone() {
        let mut gossip = Gossip::default();
        let before = |gossip: &Gossip| gossip.wanted[&chat(1)].before.as_ref().map(|(place, _)| place.epoch);
        gossip.want(0, chat(1), [1; 16], (place(1, 5, &[1, 2]), 0));
        assert_eq!(before(&gossip), None);
        gossip.want(10, chat(1), [1; 16], (place(1, 6, &[1, 2, 3]), 0));
        assert_eq!(before(&gossip), Some(5));
        // Of the same epoch, with a device that its account has removed: it is no member of the one before, either.
        gossip.want(20, chat(1), [1; 16], (place(1, 6, &[1, 3]), 0));
        let members = |place: &Place| place.members.keys().copied().collect::<BTreeSet<_>>();
        let kept = gossip.wanted[&chat(1)].before.as_ref().map(|(place, _)| members(place));
        assert_eq!(kept, Some(BTreeSet::from([member(1).0])));
        gossip.want(30, chat(1), [1; 16], (place(1, 7, &[1]), 0));
        assert_eq!(before(&gossip), None, "a member was removed");
        gossip.want(40, chat(1), [1; 16], (place(1, 8, &[1, 2]), 0));
        gossip.want(40 + GOSSIP_GRACE_MS, chat(1), [1; 16], (place(1, 8, &[1, 2]), 0));
        assert_eq!(before(&gossip), None, "the time is over");
        gossip.want(50 + GOSSIP_GRACE_MS, chat(1), [1; 16], (place(1, 4, &[1, 2]), 0));
        assert_eq!(before(&gossip), None, "it has gone back to where another way begins");
    }

    #[test]
    fn of_many_groups_the_liveliest_are_taken_part_in() {
        let mut gossip = Gossip::default();
        for n in 0..120 {
            gossip.want(0, chat(n), [n; 16], (place(n, 1, &[1]), u64::from(n / 10)));
        }
        let chosen: BTreeSet<ChatId> = gossip.chosen().into_iter().collect();
        assert_eq!(chosen.len(), MAX_TOPICS);
        assert!(chosen.contains(&chat(119)) && chosen.contains(&chat(30)) && !chosen.contains(&chat(0)));
        // Those of the same time do not take turns.
        for n in 0..120 {
            let (group, current) = ([n; 16], place(n, 1, &[1]));
            let told = Told { chat: chat(n), group, epoch: 1, members: current.members.clone() };
            if chosen.contains(&chat(n)) {
                gossip.told.insert(current.topic(), told);
            }
        }
        assert_eq!(gossip.chosen().into_iter().collect::<BTreeSet<_>>(), chosen);
        gossip.want(1, chat(0), [0; 16], (place(0, 1, &[1]), 50));
        assert!(gossip.chosen().contains(&chat(0)));
    }
}
