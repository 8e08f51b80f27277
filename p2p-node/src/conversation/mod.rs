//! Conversations: their MLS groups and logs, what is sent into them and what comes out of them.

mod apply;
pub mod authors;
pub mod commands;
pub mod group;
pub mod group_store;
pub mod log;
pub mod logged;
pub mod membership;
mod messages;
pub mod pending;
pub mod receive;
pub mod regroup;
pub mod roster;
pub mod send;

use std::{
    collections::{HashMap, VecDeque},
    ops::Bound,
};

pub use group::GroupEntry;

use crate::{
    api::types::{ChatId, ChatKind},
    events::Draft,
    limits::OUTBOX_ROWS,
    mls::Mls,
    store::{
        AUTHORS, AuthorRow, CHATS, ChatRow, GROUPS, GroupRow, LOGGED, LoggedRow, MEMBERS, MemberRow, OUTBOX, OutboxRow,
        Reading, prefix,
    },
    turn::{EngineError, Tracked},
};

/// All conversations with their groups.
#[derive(Default)]
pub struct Conversations {
    pub chats: Tracked<ChatId, ChatState>,
    pub memberships: membership::Memberships,
    pub groups: Tracked<group::GroupId, GroupEntry>,
    /// The group and epoch of each log, by the log's address.
    pub logs: HashMap<[u8; 32], (group::GroupId, u64)>,
    pub authors: authors::Authors,
    pub regroup: regroup::Regroup,
    pub logged: logged::LoggedRows,
}

/// A conversation in memory.
pub struct ChatState {
    pub id: ChatId,
    pub row: ChatRow,
    pub roster: roster::Roster,
    pub outbox: VecDeque<send::OutItem>,
    /// Written in this turn, not yet encrypted.
    pub pending: Vec<starling_wire::Event>,
    /// What events of this turn have changed in the timeline.
    pub draft: Draft,
    /// When a receipt is to be sent.
    pub receipt_due: Option<u64>,
    pub presence_sent_ms: u64,
    /// What keeps messages from getting through, until it is over.
    pub problem: Option<&'static str>,
    pub dirty: bool,
}

impl Conversations {
    /// Loads them from the profile.
    pub fn load(read: &impl Reading, mls: &Mls) -> Result<Self, EngineError> {
        let mut conversations = Self::default();
        conversations.regroup.look = true;
        for (key, row) in read.range::<AuthorRow>(AUTHORS, prefix(b""), usize::MAX, false)? {
            let number = key.as_slice().try_into().map(u32::from_be_bytes).map_err(|_| EngineError::Identity)?;
            conversations.authors.insert(number, &row);
        }
        for (key, row) in read.range::<ChatRow>(CHATS, prefix(b""), usize::MAX, false)? {
            let id = ChatId(key.as_slice().try_into().map_err(|_| EngineError::Identity)?);
            conversations.insert(ChatState::load(read, id, row)?);
        }
        for (key, row) in read.range::<GroupRow>(GROUPS, prefix(b""), usize::MAX, false)? {
            let id: group::GroupId = key.as_slice().try_into().map_err(|_| EngineError::Identity)?;
            let stored = group_store::StoredGroup::read(read, &id, row)?;
            conversations.insert_group(GroupEntry::load(mls, id, stored)?);
        }
        let logged = read.range::<LoggedRow>(LOGGED, prefix(b""), usize::MAX, false)?;
        conversations.logged = logged.into_iter().map(|(key, row)| (key, logged::Logged::stored(row))).collect();
        Ok(conversations)
    }

    pub fn insert_group(&mut self, entry: GroupEntry) {
        for log in &entry.logs {
            if let Some(keys) = group::LogKeys::of(log) {
                self.logs.insert(keys.address, (entry.id, log.epoch));
            }
        }
        self.groups.insert(entry.id, entry);
    }
}

impl ChatState {
    /// One that begins now.
    pub fn new(id: ChatId, kind: ChatKind, roster: roster::Roster) -> Self {
        let row = ChatRow { kind: kind.stored(), ..ChatRow::default() };
        Self { dirty: true, ..Self::with(id, row, roster) }
    }

    fn load(read: &impl Reading, id: ChatId, row: ChatRow) -> Result<Self, EngineError> {
        let members = read.range::<MemberRow>(MEMBERS, prefix(&id.0), usize::MAX, false)?;
        let mut state = Self::with(id, row, roster::Roster::stored(members.into_iter().map(|(_, row)| row)));
        // In pieces: what it holds in memory of an entry is small, its row is not.
        let (mut start, end) = prefix(&id.0);
        loop {
            let rows = read.range::<OutboxRow>(OUTBOX, (start, end.clone()), OUTBOX_ROWS, false)?;
            let Some((last, _)) = rows.last() else { return Ok(state) };
            start = Bound::Excluded(last.clone());
            state.outbox.extend(rows.iter().map(|(_, row)| send::OutItem::from_row(row)));
        }
    }

    /// What kind of conversation it is.
    pub fn kind(&self) -> ChatKind {
        ChatKind::from_stored(self.row.kind)
    }

    fn with(id: ChatId, row: ChatRow, roster: roster::Roster) -> Self {
        Self {
            id,
            row,
            roster,
            outbox: VecDeque::new(),
            pending: Vec::new(),
            draft: Draft::default(),
            receipt_due: None,
            presence_sent_ms: 0,
            problem: None,
            dirty: false,
        }
    }
}
