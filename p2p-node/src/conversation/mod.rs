//! Conversations: their MLS groups and logs, what is sent into them and what comes out of them.

mod acknowledge;
mod allowed;
mod apply;
mod authors;
mod chats;
pub mod commands;
mod context;
mod cut;
pub mod door;
pub mod fork;
pub mod gossip;
pub mod group;
mod group_homes;
pub mod group_state;
pub mod group_store;
mod groups;
mod held;
mod lead;
mod leaves;
pub(crate) mod limits;
mod loaded_states;
pub mod log;
pub mod logged;
pub mod membership;
mod messages;
#[cfg(test)]
mod modified;
pub mod outbox;
mod outdated;
pub mod pending;
mod place;
pub mod policy;
pub mod receive;
pub mod regroup;
mod replace;
pub mod send;
mod stranded;
mod unreadable;
mod writable;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use starling_wire::EventId;

pub use chats::Chats;
pub use context::{Connections, Context};
pub use group::GroupEntry;
pub use group_state::GroupState;
pub use groups::Groups;

use crate::{
    api::{
        problem::ChatProblem,
        types::{ChatId, ChatKind},
    },
    events::Draft,
    mls::Mls,
    roster::{Authors, Roster},
    store::{
        AUTHORS, AuthorRow, CHATS, ChatRow, MEMBERS, MemberRow, OUTBOX, OutboxRow, Reading, Store, StoreError, Table,
        prefix,
    },
    turn::{EngineError, Turn},
};

/// All conversations with their groups. What needs one of its parts is a method of that part.
#[derive(Default)]
pub struct Conversations {
    pub chats: Chats,
    pub groups: Groups,
    pub authors: Authors,
    pub regroup: regroup::Regroup,
    /// Conversations whose group this device enters.
    pub entering: door::Entering,
    pub logged: logged::LoggedEntries,
    /// What is known of groups beside their MLS groups.
    pub policies: policy::Policies,
    /// What members of groups pass on to one another.
    pub gossip: gossip::Gossip,
    /// Links into groups that are looked at, and the boxes that are followed.
    pub joins: policy::Joins,
    /// Hashes of what was processed.
    pub seen: receive::SeenMessages,
    /// Members that are where nothing leads to from here.
    pub apart: fork::Apart,
    /// What members are answered who have left beacons in our inbox.
    inbox_answers: fork::InboxAnswers,
}

/// A conversation in memory.
pub struct ChatState {
    pub id: ChatId,
    pub row: ChatRow,
    pub roster: Roster,
    pub outbox: VecDeque<outbox::OutItem>,
    /// Written in this turn, not yet encrypted.
    pub pending: Vec<starling_wire::Event>,
    /// What events of this turn have changed in the timeline.
    pub draft: Draft,
    /// Events that wait until they are due.
    pub held: BTreeSet<EventId>,
    /// Events that are kept until this program is updated, with their sizes in bytes.
    pub unreadable: BTreeMap<EventId, usize>,
    /// Messages that came by gossip and are not final.
    pub provisional: BTreeSet<EventId>,
    /// When a receipt is to be sent, in steady time …
    pub receipt_due: Option<u64>,
    /// … and when one was last appended to a log, in this run.
    pub receipt_at: Option<u64>,
    pub presence_sent_ms: u64,
    /// What was ready by then goes to the log at once, although all others are connected.
    pub hastened_ms: u64,
    /// When a message was last written here in slow mode, in this run, milliseconds since 1970.
    pub written_ms: Option<u64>,
    /// What keeps messages from getting through, until it is over.
    pub problem: Option<ChatProblem>,
    pub dirty: bool,
}

impl Conversations {
    /// Loads them from the profile.
    pub fn load(read: &impl Reading, mls: &Mls) -> Result<Self, EngineError> {
        let mut conversations = Self::default();
        conversations.regroup.look.all();
        for (key, row) in read.range::<AuthorRow>(AUTHORS, prefix(b""), usize::MAX, false)? {
            let number = key.as_slice().try_into().map(u32::from_be_bytes).map_err(|_| EngineError::Identity)?;
            conversations.authors.insert(number, &row);
        }
        conversations.chats.load_chats(read)?;
        conversations.load_groups(read, mls)?;
        conversations.policies = policy::Policies::load(read)?;
        conversations.logged = logged::LoggedEntries::load(read)?;
        conversations.gossip = gossip::Gossip::load(read, &mut conversations.chats)?;
        Ok(conversations)
    }

    /// Writes what has changed in this turn. Gives whether something has.
    pub fn save(&mut self, turn: &mut Turn<'_>, store: &Store, mls: &Mls) -> Result<bool, EngineError> {
        let mut changed = false;
        for id in self.chats.take_touched() {
            let Some(chat) = self.chats.settle(&id) else { continue };
            if std::mem::take(&mut chat.dirty) {
                changed = true;
                turn.put(CHATS, &id.0, &chat.row)?;
            }
            changed |= chat.roster.save(turn, store, id)?;
        }
        for id in self.groups.take_touched() {
            if let Some(group) = self.groups.entries.settle(&id) {
                changed |= group.save(turn, &mut self.groups.states)?;
            }
        }
        changed |= self.policies.save(turn)?;
        self.groups.states.shrink(turn, mls)?;
        Ok(changed)
    }

    /// When something is due, in steady time.
    pub fn next_due(&self) -> Option<u64> {
        let dues = [
            self.regroup.next_due(),
            self.entering.next_due(),
            self.policies.next_due(),
            self.joins.next_due(),
            self.apart.next_due(),
            self.gossip.next_due(),
        ];
        dues.into_iter().flatten().min()
    }
}

impl Chats {
    fn load_chats(&mut self, read: &impl Reading) -> Result<(), EngineError> {
        let of_chat = |table: Table, key: &[u8]| {
            let id = key.get(..16).and_then(|id| id.try_into().ok()).map(ChatId);
            id.ok_or(StoreError::Damaged(table.name()))
        };
        let mut members: BTreeMap<ChatId, Vec<MemberRow>> = BTreeMap::new();
        read.each(MEMBERS, |key, row| {
            members.entry(of_chat(MEMBERS, key)?).or_default().push(row?);
            Ok(())
        })?;
        // What is kept in memory of an entry is small, its row is not.
        let mut outboxes: BTreeMap<ChatId, VecDeque<outbox::OutItem>> = BTreeMap::new();
        read.each(OUTBOX, |key, row| {
            let row: OutboxRow = row?;
            outboxes.entry(of_chat(OUTBOX, key)?).or_default().push_back(outbox::OutItem::from_row(&row));
            Ok(())
        })?;
        let mut held = held::load(read)?;
        let mut unreadable = unreadable::load(read, &mut held)?;
        read.each::<ChatRow>(CHATS, |key, row| {
            let id = of_chat(CHATS, key)?;
            let roster = Roster::stored(members.remove(&id).unwrap_or_default());
            let outbox = outboxes.remove(&id).unwrap_or_default();
            let held = held.remove(&id).unwrap_or_default();
            let unreadable = unreadable.remove(&id).unwrap_or_default();
            self.insert(ChatState { outbox, held, unreadable, ..ChatState::with(id, row?, roster) });
            Ok(())
        })?;
        Ok(())
    }
}

impl Groups {
    /// Adds a group that was made or joined.
    pub fn insert_group(&mut self, (entry, state): (GroupEntry, GroupState)) {
        self.states.insert(entry.id, state);
        self.insert_entry(entry);
    }

    fn insert_entry(&mut self, entry: GroupEntry) {
        for log in &entry.logs {
            if let Some(address) = group::log_address(log) {
                self.logs.insert(address, (entry.id, log.epoch));
            }
        }
        self.homes.insert(entry.id, &entry.row.home);
        self.entries.insert(entry.id, entry);
    }

    /// Forgets a group whose rows are deleted.
    pub fn remove_group(&mut self, mls: &Mls, id: &group::GroupId) {
        self.states.remove(id);
        mls.forget(id);
        let Some(entry) = self.entries.remove(id) else { return };
        self.homes.remove(id, &entry.row.home);
        for address in entry.logs.iter().filter_map(group::log_address) {
            self.logs.remove(&address);
        }
    }
}

impl ChatState {
    /// One that begins now.
    pub fn new(id: ChatId, kind: ChatKind, roster: Roster) -> Self {
        let row = ChatRow { kind: kind.stored(), ..ChatRow::default() };
        Self { dirty: true, ..Self::with(id, row, roster) }
    }

    /// What kind of conversation it is.
    pub fn kind(&self) -> ChatKind {
        ChatKind::from_stored(self.row.kind)
    }

    fn with(id: ChatId, row: ChatRow, roster: Roster) -> Self {
        let problem = row.outdated.then_some(ChatProblem::Outdated);
        Self {
            id,
            row,
            roster,
            outbox: VecDeque::new(),
            pending: Vec::new(),
            draft: Draft::default(),
            held: BTreeSet::new(),
            unreadable: BTreeMap::new(),
            provisional: BTreeSet::new(),
            receipt_due: None,
            receipt_at: None,
            presence_sent_ms: 0,
            hastened_ms: 0,
            written_ms: None,
            problem,
            dirty: false,
        }
    }
}
