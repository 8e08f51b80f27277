//! Searching messages. Nothing readable is indexed on the disk, so the messages themselves are looked through, newest first.

use std::{collections::VecDeque, ops::Bound};

use starling_keys::AccountId;

use super::page;
use crate::{
    api::{
        error::{Invalid, NodeError},
        types::{ChatId, Message},
    },
    store::{Store, StoreError, prefix},
};

/// Rows of a timeline that are looked through in one step: between two steps a search can be given up, and others get their turn.
const STEP_ROWS: usize = 1_000;
/// Rows that one search looks through. More than a person writes and reads in many years.
const MAX_ROWS: usize = 2_000_000;
/// Messages that one search returns.
const MAX_FOUND: usize = 1_000;
/// Words that one search looks for.
const MAX_WORDS: usize = 64;

/// What to look for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Search {
    /// All of the words, whatever their case and however they are composed, have to be in a message; there is at least one. Separated by white space.
    pub words: String,
    /// In one conversation only.
    pub chat: Option<ChatId>,
    /// Written by one account only.
    pub author: Option<AccountId>,
    /// Not written before this, in milliseconds since 1970.
    pub since_ms: u64,
    /// The newest messages, so many at most; 1,000 is the most that is returned.
    pub limit: usize,
}

/// A search in progress.
#[derive(Debug)]
pub struct Scan {
    words: Vec<String>,
    author: Option<AccountId>,
    since_ms: u64,
    limit: usize,
    /// What is still to be looked through: the conversation, and the key before which the next step begins.
    left: VecDeque<(ChatId, Option<Vec<u8>>)>,
    rows: usize,
    /// Newest first, at most `limit`.
    found: Vec<Message>,
}

impl Scan {
    /// Begins to search these conversations.
    ///
    /// # Errors
    /// [`NodeError::Invalid`] if there is nothing to look for, or too much at once.
    pub fn new(search: &Search, chats: Vec<ChatId>) -> Result<Self, NodeError> {
        let words: Vec<String> = starling_text::folded(&search.words).split_whitespace().map(Into::into).collect();
        if words.is_empty() {
            return Err(Invalid::EmptySearch.into());
        }
        if words.len() > MAX_WORDS {
            return Err(Invalid::TooManySearchWords { max: MAX_WORDS }.into());
        }
        let wanted = |chat: &ChatId| search.chat.is_none_or(|only| only == *chat);
        Ok(Self {
            words,
            author: search.author,
            since_ms: search.since_ms,
            limit: search.limit.min(MAX_FOUND),
            left: chats.into_iter().filter(wanted).map(|chat| (chat, None)).collect(),
            rows: 0,
            found: Vec::new(),
        })
    }

    /// Looks through some more messages. Returns whether there are any left.
    pub fn step(&mut self, store: &Store) -> Result<bool, StoreError> {
        if self.limit == 0 || self.rows >= MAX_ROWS {
            return Ok(false);
        }
        let Some((chat, before)) = self.left.pop_front() else { return Ok(false) };
        let range = prefix(&chat.0);
        let end = before.map_or(range.1, Bound::Excluded);
        let page = page(store, chat, (range.0, end), STEP_ROWS, true)?;
        self.rows += page.rows;
        let mut older = page.rows == STEP_ROWS;
        for message in page.messages {
            if message.sent_ms() < self.earliest() {
                older = false;
                break;
            }
            if self.fits(&message) {
                self.keep(message);
            }
        }
        if let Some(last) = page.last_key.filter(|_| older) {
            self.left.push_front((chat, Some(last)));
        }
        Ok(!self.left.is_empty())
    }

    /// Older messages than this are not wanted, or would not be among the newest.
    fn earliest(&self) -> u64 {
        let oldest_kept = self.found.last().filter(|_| self.found.len() >= self.limit).map(Message::sent_ms);
        self.since_ms.max(oldest_kept.unwrap_or(0))
    }

    fn fits(&self, message: &Message) -> bool {
        if message.deleted || self.author.is_some_and(|wanted| wanted != message.author) {
            return false;
        }
        let text = starling_text::folded(&message.text);
        self.words.iter().all(|word| text.contains(word))
    }

    fn keep(&mut self, message: Message) {
        let at = self.found.partition_point(|kept| kept.id >= message.id);
        self.found.insert(at, message);
        self.found.truncate(self.limit);
    }

    /// What was found so far, newest first.
    pub fn into_found(self) -> Vec<Message> {
        self.found
    }
}
