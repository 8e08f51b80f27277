//! The device that has the history: makes pages of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

use bytes::Bytes;
use prost::Message as _;
use starling_keys::{AccountId, DeviceId};
use starling_wire::{
    Clock, DeviceLabel, EventId,
    history::{DeliveredMark, HistoryAuthor, HistoryPage, HistoryPart, HistoryRequest},
    limits::MAX_HISTORY_ROWS,
};

use super::limits::MAX_HISTORY_EVENTS;
use crate::{
    api::types::{ChatId, ContactState, DeliveryState, DurableEventKind, Via},
    contacts::Directory,
    conversation::{ChatState, Conversations, send::state_of},
    events::{self, copied},
    limits::MAX_HISTORY_WALK,
    store::{AUTHORS, AuthorRow, EventRow, Read, Reading, Store, StoreError, TIMELINE},
    timeline,
};

/// Where pages come from.
pub struct Source<'a> {
    pub store: &'a Store,
    pub conversations: &'a Conversations,
    pub dir: Directory<'a>,
    /// Sequence number of the newest of our durable events.
    pub last_event: u64,
}

/// A page that is being made.
struct Making<'a> {
    source: &'a Source<'a>,
    page: HistoryPage,
    /// The place of each author in the page's list, by its number here.
    authors: BTreeMap<u32, u32>,
    rows: usize,
    bytes: usize,
    budget: usize,
}

impl<'a> Source<'a> {
    /// The page that is asked for, with `budget` bytes of messages, or one message that is longer.
    ///
    /// # Errors
    /// If the store fails.
    pub fn page(&'a self, request: &HistoryRequest, budget: usize) -> Result<HistoryPage, StoreError> {
        let page = HistoryPage { request: Some(request.clone()), changes: self.last_event, ..HistoryPage::default() };
        let read = self.store.read()?;
        let mut making = Making { source: self, page, authors: BTreeMap::new(), rows: 0, bytes: 0, budget };
        match request.since {
            Some(since) => making.changes_since(&read, since)?,
            None => making.walk(&read, &request.before)?,
        }
        Ok(making.page)
    }

    /// A page of what was written in a group since a clock, before a place.
    ///
    /// # Errors
    /// If the store fails.
    pub fn group_page(
        &'a self,
        chat: ChatId,
        (since, before): (Clock, &[u8]),
        budget: usize,
    ) -> Result<HistoryPage, StoreError> {
        let read = self.store.read()?;
        let page = HistoryPage::default();
        let mut making = Making { source: self, page, authors: BTreeMap::new(), rows: 0, bytes: 0, budget };
        making.walk_group(&read, chat, (since, before))?;
        Ok(making.page)
    }

    /// The conversation of a key, with the account that it is with, if it is one that is copied.
    fn conversation(&self, chat: ChatId) -> Option<(&'a ChatState, AccountId)> {
        let with = self.conversations.chats.direct_account(chat)?;
        let known = self.dir.person(&with).is_some_and(|person| person.state() != ContactState::Removed);
        Some((self.conversations.chats.get(&chat)?, with)).filter(|_| known)
    }
}

/// The conversation and the event that a key of the timeline stands for.
fn place_of(key: &[u8]) -> Option<(ChatId, EventId)> {
    Some((ChatId(key.get(..16)?.try_into().ok()?), EventId::from_bytes(key.get(16..)?)?))
}

impl Making<'_> {
    /// What stands before a place: each conversation from its newest message.
    fn walk(&mut self, read: &Read<'_>, before: &[u8]) -> Result<(), StoreError> {
        if before.is_empty() {
            self.page.total = read.count(TIMELINE)?;
        }
        let end = if before.is_empty() { Bound::Unbounded } else { Bound::Excluded(before.to_vec()) };
        let (mut last, mut is_last_page) = (Vec::new(), true);
        read.visit(TIMELINE, (Bound::Unbounded, end), true, &mut |key, sealed| {
            let row = || read.decode(TIMELINE, key, sealed).map(Some);
            if self.page.walked >= MAX_HISTORY_WALK || !self.add(read, key, row)? {
                is_last_page = false;
                return Ok(false);
            }
            self.page.walked += 1;
            last = key.to_vec();
            Ok(true)
        })?;
        if !is_last_page {
            self.page.next = last.into();
        }
        Ok(())
    }

    /// What stands before a place of a group, from its newest message to those of a clock.
    fn walk_group(&mut self, read: &Read<'_>, chat: ChatId, (since, before): (Clock, &[u8])) -> Result<(), StoreError> {
        let Some(state) = self.source.conversations.chats.get(&chat) else { return Ok(()) };
        let start = Bound::Included(events::key(chat, events::first_with(since)));
        let end = match before {
            before if before.starts_with(&chat.0) => Bound::Excluded(before.to_vec()),
            _ => Bound::Included(events::key(chat, events::last_with(Clock(u64::MAX)))),
        };
        if let (Bound::Included(start), Bound::Excluded(end)) = (&start, &end)
            && start >= end
        {
            return Ok(());
        }
        let (mut last, mut is_last_page) = (Vec::new(), true);
        read.visit(TIMELINE, (start, end), true, &mut |key, sealed| {
            let row = || read.decode(TIMELINE, key, sealed).map(Some);
            let Some((_, id)) = place_of(key) else { return Ok(true) };
            if self.page.walked >= MAX_HISTORY_WALK || !self.add_to(read, (state, None), id, row)? {
                is_last_page = false;
                return Ok(false);
            }
            self.page.walked += 1;
            last = key.to_vec();
            Ok(true)
        })?;
        if !is_last_page {
            self.page.next = last.into();
        }
        Ok(())
    }

    /// What our durable events have said since a number.
    fn changes_since(&mut self, read: &Read<'_>, since: u64) -> Result<(), StoreError> {
        let events = timeline::events_after(self.source.store, since, MAX_HISTORY_EVENTS)?;
        let (mut upto, mut seen) = (since, BTreeSet::new());
        self.page.more = events.len() >= MAX_HISTORY_EVENTS;
        for event in events {
            let of_message = matches!(
                event.kind,
                DurableEventKind::New
                    | DurableEventKind::Edited
                    | DurableEventKind::Deleted
                    | DurableEventKind::Reaction
                    | DurableEventKind::Call
                    | DurableEventKind::ContactDevices
            );
            if let (Some(chat), Some(message), true) = (event.chat, event.message, of_message) {
                let key = events::key(chat, message.0);
                let row = || read.get(TIMELINE, &key);
                if seen.insert(key.clone()) && !self.add(read, &key, row)? {
                    self.page.more = true;
                    break;
                }
            }
            upto = event.sequence;
        }
        self.page.changes = upto;
        Ok(())
    }

    /// Adds what is to be copied of a row; `false` if there is no room for it.
    fn add(
        &mut self,
        read: &Read<'_>,
        key: &[u8],
        row: impl FnOnce() -> Result<Option<EventRow>, StoreError>,
    ) -> Result<bool, StoreError> {
        let Some((chat, id)) = place_of(key) else { return Ok(true) };
        let Some((state, with)) = self.source.conversation(chat) else { return Ok(true) };
        self.add_to(read, (state, Some(with)), id, row)
    }

    /// The same of a conversation with an account, or of a group.
    fn add_to(
        &mut self,
        read: &Read<'_>,
        (state, with): (&ChatState, Option<AccountId>),
        id: EventId,
        row: impl FnOnce() -> Result<Option<EventRow>, StoreError>,
    ) -> Result<bool, StoreError> {
        let Some(row) = row()? else { return Ok(true) };
        if Via::from_stored(row.via) == Via::Gossip {
            // Whether it counts the log says, to each device.
            return Ok(true);
        }
        // What nobody else has yet comes by itself, and what failed never came to anybody.
        let is_ours = Via::from_stored(row.via) == Via::Own && self.source.conversations.authors.is_own(row.author);
        let unsent = |state| matches!(state, DeliveryState::Queued | DeliveryState::Failed);
        // What counts for nobody is marked where it was written.
        if row.undone {
            return Ok(true);
        }
        if is_ours && unsent(state_of(&state.row, state.roster.progress(), id)) || events::summary(&row).is_none() {
            return Ok(true);
        }
        let author = row.author;
        let mut row = copied::to_wire(id, row);
        let length = row.encoded_len() + 8;
        if self.rows >= MAX_HISTORY_ROWS || (self.rows > 0 && self.bytes + length > self.budget) {
            return Ok(false);
        }
        let Some(author) = self.author(read, author)? else { return Ok(true) };
        row.author = author;
        (self.rows, self.bytes) = (self.rows + 1, self.bytes + length);
        let with = with.map(|with| Bytes::copy_from_slice(with.as_bytes())).unwrap_or_default();
        let same = self.page.parts.last().is_some_and(|part| part.with == with);
        if !same {
            let part = self.source.part(state, with);
            self.bytes += part.encoded_len();
            self.page.parts.push(part);
        }
        if let Some(part) = self.page.parts.last_mut() {
            part.rows.push(row);
        }
        Ok(true)
    }

    /// The place of an author in the page's list.
    fn author(&mut self, read: &Read<'_>, number: u32) -> Result<Option<u32>, StoreError> {
        if let Some(place) = self.authors.get(&number) {
            return Ok(Some(*place));
        }
        let Some(row) = read.get::<AuthorRow>(AUTHORS, &number.to_be_bytes())? else { return Ok(None) };
        let label = DeviceLabel { device: row.device.into(), name: row.name, kind: row.kind };
        let author = HistoryAuthor { account: row.account.into(), tag: row.tag.into(), label: Some(label) };
        self.bytes += author.encoded_len();
        let place = u32::try_from(self.page.authors.len()).unwrap_or(u32::MAX);
        self.page.authors.push(author);
        self.authors.insert(number, place);
        Ok(Some(place))
    }
}

impl Source<'_> {
    /// A part of a conversation, without messages: how far they were read and delivered.
    fn part(&self, state: &ChatState, with: Bytes) -> HistoryPart {
        let progress = state.roster.progress();
        let mark = |device: DeviceId, upto| DeliveredMark { device: Bytes::copy_from_slice(device.as_bytes()), upto };
        let this = mark(self.dir.account.device(), progress.delivered);
        let others = state.roster.devices().filter(|row| row.delivered > 0);
        let others = others.filter_map(|row| Some(mark(DeviceId::from_bytes(&row.device).ok()?, row.delivered)));
        HistoryPart {
            with,
            read: state.row.read,
            read_by_them: progress.read,
            delivered: std::iter::once(this).chain(others).collect(),
            rows: Vec::new(),
        }
    }
}
