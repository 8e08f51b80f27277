//! Reading what is stored: messages and durable events.

pub mod search;

use std::collections::{BTreeMap, btree_map::Entry};

use starling_keys::{AccountId, DeviceId};
use starling_wire::EventId;

use crate::{
    api::types::{ChatId, DeliveryState, DeviceNote, DurableEvent, DurableEventKind, Message, MessageId, Via},
    conversation::send::state_of,
    events::{self, Summary},
    roster::Progress,
    store::{
        AUTHORS, AuthorRow, CHATS, ChatRow, EVENT_LOG, EventLogRow, EventRow, MEMBERS, MemberRow, Reading, Store,
        StoreError, TIMELINE, prefix,
    },
};

/// A part of a timeline.
pub struct Page {
    /// Its messages.
    pub messages: Vec<Message>,
    /// How many rows it has; not all are messages.
    pub rows: usize,
    /// The key of its last row.
    pub last_key: Option<Vec<u8>>,
}

/// Who has written messages.
struct Author {
    account: AccountId,
    device: Option<DeviceId>,
    own: bool,
    /// What the device is called, and what it is.
    label: (String, String),
}

impl Author {
    fn stored(row: &AuthorRow) -> Option<Self> {
        let account = AccountId::from_stored(&row.account).ok()?;
        let label = (row.name.clone(), row.kind.clone());
        Some(Self { account, device: DeviceId::from_stored(&row.device).ok(), own: row.own, label })
    }
}

/// Messages of a chat within a range of timeline keys.
pub fn messages(
    store: &Store,
    chat: ChatId,
    range: impl std::ops::RangeBounds<Vec<u8>>,
    limit: usize,
    backwards: bool,
) -> Result<Vec<Message>, StoreError> {
    Ok(page(store, chat, range, limit, backwards)?.messages)
}

/// At most `limit` rows of a chat within a range of timeline keys.
pub fn page(
    store: &Store,
    chat: ChatId,
    range: impl std::ops::RangeBounds<Vec<u8>>,
    limit: usize,
    backwards: bool,
) -> Result<Page, StoreError> {
    let read = store.read()?;
    let rows = read.range::<EventRow>(TIMELINE, range, limit, backwards)?;
    let known = Known::of(&read, chat, &rows)?;
    Ok(Page {
        messages: rows.iter().filter_map(|(key, row)| known.message(key, row)).collect(),
        rows: rows.len(),
        last_key: rows.last().map(|(key, _)| key.clone()),
    })
}

/// What the rows of a page are read with.
struct Known {
    chat: ChatId,
    row: ChatRow,
    own_account: Vec<u8>,
    progress: Progress,
    /// Of each other device of our account, by its tag: each other account has its events up to this one.
    elsewhere: BTreeMap<[u8; 8], u64>,
    /// Who is named in the rows, by number.
    authors: BTreeMap<u32, Option<Author>>,
}

impl Known {
    fn of(read: &impl Reading, chat: ChatId, rows: &[(Vec<u8>, EventRow)]) -> Result<Self, StoreError> {
        let row: ChatRow = read.get(CHATS, &chat.0)?.unwrap_or_default();
        let mut members = read.range::<MemberRow>(MEMBERS, prefix(&chat.0), usize::MAX, false)?;
        members.retain(|(_, row)| !row.gone);
        let own = members.iter().find(|(_, member)| member.own);
        let mut authors = BTreeMap::new();
        let named = rows.iter().flat_map(|(_, row)| std::iter::once(row.author).chain(handed_by(row)));
        for number in named {
            if let Entry::Vacant(new) = authors.entry(number) {
                new.insert(read.get(AUTHORS, &number.to_be_bytes())?.and_then(|row| Author::stored(&row)));
            }
        }
        Ok(Self {
            chat,
            row,
            own_account: own.map(|(_, member)| member.account.clone()).unwrap_or_default(),
            progress: Progress::of(members.iter().map(|(_, row)| row)),
            elsewhere: delivered_elsewhere(&members),
            authors,
        })
    }

    fn author(&self, number: u32) -> Option<&Author> {
        self.authors.get(&number)?.as_ref()
    }

    /// The message that a row is, if it is one.
    fn message(&self, key: &[u8], row: &EventRow) -> Option<Message> {
        let id = EventId::from_bytes(key.get(16..)?)?;
        let author = self.author(row.author)?;
        let (text, call, device_note) = match events::summary(row)? {
            Summary::Message(text) => (text, None, None),
            Summary::Call(note) => (Default::default(), Some(note), None),
            Summary::Device(change) => {
                let (name, system) = author.label.clone();
                let note = DeviceNote { change, name, system };
                (Default::default(), None, Some(note))
            }
        };
        let reactions = row.reactions.iter().filter(|r| !r.emoji.is_empty());
        Some(Message {
            id: MessageId(id),
            chat: self.chat,
            author: author.account,
            device: author.device,
            own: author.own,
            text: row.edited.clone().unwrap_or(text.text),
            reply_to: text.reply_to.map(MessageId),
            mentions: text.mentions.iter().filter_map(|m| AccountId::from_bytes(m).ok()).collect(),
            mentions_all: text.mentions_all,
            edited: row.edited.is_some(),
            deleted: row.deleted,
            reactions: reactions.map(|r| (r.emoji.clone(), r.account == self.own_account)).collect(),
            state: self.state(author, id, row),
            via: Via::from_stored(row.via),
            handed_on_by: handed_by(row).and_then(|by| Some(self.author(by)?.account)),
            call,
            device_note,
        })
    }

    /// How far a message has come.
    fn state(&self, author: &Author, id: EventId, row: &EventRow) -> DeliveryState {
        if row.undone {
            DeliveryState::Failed
        } else if author.own && Via::from_stored(row.via) == Via::Own {
            state_of(&self.row, self.progress, id)
        } else if author.own {
            state_elsewhere(self.elsewhere.get(&id.device).copied().unwrap_or_default(), self.progress, id)
        } else {
            DeliveryState::Delivered
        }
    }
}

/// Who has handed a row on, by number.
fn handed_by(row: &EventRow) -> Option<u32> {
    events::handed::is_handed(row).then_some(row.handed_by)
}

/// Of each other device of our account, by its tag: each other account has its events up to this one.
fn delivered_elsewhere(members: &[(Vec<u8>, MemberRow)]) -> BTreeMap<[u8; 8], u64> {
    let devices = members.iter().filter(|(_, member)| member.own).flat_map(|(_, member)| &member.devices);
    devices.filter_map(|row| Some((DeviceId::from_bytes(&row.device).ok()?.tag(), row.delivered))).collect()
}

/// How far a message has come that another device of ours has written, and of which it says that its events up to `delivered` were delivered.
fn state_elsewhere(delivered: u64, progress: Progress, id: EventId) -> DeliveryState {
    if id.clock.0 <= progress.read {
        DeliveryState::Read
    } else if id.sequence <= delivered {
        DeliveryState::Delivered
    } else {
        DeliveryState::Sent
    }
}

/// Durable events after a sequence number, oldest first, about `limit` of them.
pub fn events_after(store: &Store, after: u64, limit: usize) -> Result<Vec<DurableEvent>, StoreError> {
    let read = store.read()?;
    let mut events = Vec::new();
    // The row that holds `after + 1` may begin before it.
    let start = read
        .range::<EventLogRow>(EVENT_LOG, ..=(after + 1).to_be_bytes().to_vec(), 1, true)?
        .into_iter()
        .next()
        .map_or_else(|| vec![0; 8], |(key, _)| key);
    for (key, row) in read.range::<EventLogRow>(EVENT_LOG, start.., limit, false)? {
        let Ok(first) = key.as_slice().try_into().map(u64::from_be_bytes) else {
            continue;
        };
        let chat = row.chat.as_slice().try_into().ok().map(ChatId);
        let account = AccountId::from_stored(&row.account).ok();
        let one = |sequence, message| DurableEvent {
            sequence,
            at_ms: row.at_ms,
            kind: DurableEventKind::from_stored(row.kind),
            chat,
            message,
            state: DeliveryState::from_stored(row.state),
            account,
            text: row.text.clone(),
        };
        if row.ids.is_empty() {
            if first > after {
                events.push(one(first, None));
            }
            continue;
        }
        for (id, sequence) in row.ids.chunks_exact(EventId::LEN).zip(first..) {
            if sequence > after {
                events.push(one(sequence, EventId::from_bytes(id).map(MessageId)));
            }
        }
        if events.len() >= limit {
            break;
        }
    }
    Ok(events)
}
