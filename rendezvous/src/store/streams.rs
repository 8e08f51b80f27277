//! Streams: numbered entries, appended in order.

use async_trait::async_trait;
use bytes::Bytes;

use super::{Budget, Key, StoreError, WhenStored, Writer, WriterCost};

/// The kinds of streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// An epoch log; the address is its public key.
    Log = 1,
    /// A device's inbox.
    Inbox = 2,
    /// A device's one-time key packages.
    KeyPackages = 3,
}

/// Which stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId {
    /// What it is.
    pub kind: Kind,
    /// Whose, or its public key.
    pub address: Key,
}

impl StreamId {
    /// The log with this public key.
    pub fn log(address: Key) -> Self {
        Self { kind: Kind::Log, address }
    }

    /// The inbox of a device.
    pub fn inbox(device: Key) -> Self {
        Self { kind: Kind::Inbox, address: device }
    }

    /// The one-time key packages of a device.
    pub fn key_packages(device: Key) -> Self {
        Self { kind: Kind::KeyPackages, address: device }
    }
}

/// One entry of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Counts from 1 in each stream; a number is never used again.
    pub sequence: u64,
    /// Sealed bytes.
    pub sealed: Bytes,
}

/// What is known of a stream besides its entries.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Head {
    /// Sequence number of the newest entry, also if it was removed; 0 before the first.
    #[prost(uint64, tag = "1")]
    pub last: u64,
    /// How many entries there are.
    #[prost(uint64, tag = "2")]
    pub count: u64,
    /// Bytes of the entries.
    #[prost(uint64, tag = "3")]
    pub bytes: u64,
    /// The account whose quota they count against: 32 bytes, or none.
    #[prost(bytes = "vec", tag = "4")]
    pub owner: Vec<u8>,
    /// Sequence number of the entry that closed a stream of version 0.1; 0 if there is none. Nothing closes a stream any more.
    #[prost(uint64, tag = "5")]
    pub closed: u64,
    /// When the stream itself may go, in seconds since 1970.
    #[prost(uint64, tag = "6")]
    pub expires_at: u64,
    /// A log: the address of its conversation's first log; none in that.
    #[prost(bytes = "vec", tag = "7")]
    pub root: Vec<u8>,
    /// What there is of each class but the first.
    #[prost(message, repeated, tag = "8")]
    pub classes: Vec<ClassUse>,
    /// The sequence numbers of the candidates, in their order.
    #[prost(uint64, repeated, tag = "9")]
    pub candidates: Vec<u64>,
    /// What each author has of them.
    #[prost(message, repeated, tag = "10")]
    pub authors: Vec<AuthorUse>,
    /// The sequence numbers of parts of candidates, in their order.
    #[prost(uint64, repeated, tag = "11")]
    pub parts: Vec<u64>,
}

/// What an author has of a stream's candidates.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct AuthorUse {
    /// [`Author::tag`].
    #[prost(fixed64, tag = "1")]
    pub tag: u64,
    /// [`Author::is_owner`].
    #[prost(bool, tag = "2")]
    pub is_owner: bool,
    /// How many.
    #[prost(uint64, tag = "3")]
    pub count: u64,
    /// Their bytes.
    #[prost(uint64, tag = "4")]
    pub bytes: u64,
    /// How many parts of candidates.
    #[prost(uint64, tag = "5")]
    pub parts: u64,
    /// Their bytes.
    #[prost(uint64, tag = "6")]
    pub part_bytes: u64,
}

/// What a stream has of a class of entries.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ClassUse {
    /// The class.
    #[prost(uint32, tag = "1")]
    pub class: u32,
    /// How many entries.
    #[prost(uint64, tag = "2")]
    pub count: u64,
    /// Their bytes.
    #[prost(uint64, tag = "3")]
    pub bytes: u64,
    /// In a log: [`Writer::tag`]; 0 if there is none.
    #[prost(fixed64, tag = "4")]
    pub tag: u64,
}

impl Head {
    /// The account whose quota the entries count against.
    pub fn owner(&self) -> Option<Key> {
        self.owner.as_slice().try_into().ok()
    }

    /// A log: the address of its conversation's first log.
    pub fn root(&self, id: &StreamId) -> Key {
        self.root.as_slice().try_into().unwrap_or(id.address)
    }

    /// What there is of a class of entries: how many, and their bytes.
    pub fn class(&self, class: u8) -> (u64, u64) {
        let found = self.classes.iter().find(|known| known.class == u32::from(class));
        found.map_or((0, 0), |known| (known.count, known.bytes))
    }

    /// The candidates after a sequence number and before another. What closed a stream of version 0.1 is one, too.
    pub fn candidates_between(&self, after: u64, before: u64) -> impl Iterator<Item = u64> {
        let closing = Some(self.closed).filter(|closed| *closed > 0);
        closing.into_iter().chain(self.candidates.iter().copied()).filter(move |n| *n > after && *n < before)
    }

    /// Whether an entry is a candidate, or a part of one, which nobody deletes.
    pub fn stays(&self, sequence: u64) -> bool {
        let is_closing = self.closed > 0 && self.closed == sequence;
        is_closing || self.candidates.contains(&sequence) || self.parts.contains(&sequence)
    }

    /// All that is stored of the stream, as [`Removed::cost`].
    pub fn cost(&self) -> u64 {
        cost(1, self.count, self.bytes)
    }

    /// What it counts against, and how much.
    pub fn budgets(&self, id: &StreamId) -> Vec<(Budget, u64)> {
        Budget::of_stream(id.kind, self.root(id), self.owner(), self.cost(), &self.writers())
    }

    /// Whether there is room for a batch, if it has parts of candidates.
    fn takes_parts(&self, author: Author, new: u64, bounds: &CandidateBounds) -> bool {
        let own = self.authors.iter().find(|known| known.is(author)).map_or(0, |known| known.parts);
        let of_others: u64 = self.authors.iter().filter(|known| !known.is_owner).map(|known| known.parts).sum();
        own + new <= bounds.parts_each && (author.is_owner || of_others + new <= bounds.parts_of_others)
    }

    /// Whether there is room for a batch, if it has candidates or parts of some.
    pub(super) fn takes_candidates(&self, batch: &Batch, bounds: &CandidateBounds) -> bool {
        let new = batch.entries.len() as u64;
        if let Some(author) = batch.part {
            return self.takes_parts(author, new, bounds);
        }
        let Some(author) = batch.candidate else { return true };
        let own = self.authors.iter().find(|known| known.is(author));
        let (count, bytes) = own.map_or((0, 0), |known| (known.count, known.bytes));
        // Those of earlier versions have no author.
        let of_owner: u64 = self.authors.iter().filter(|known| known.is_owner).map(|known| known.count).sum();
        let of_others = (self.candidates.len() as u64).saturating_sub(of_owner);
        count + new <= bounds.each
            && bytes + batch.bytes() <= bounds.each_bytes
            && (author.is_owner || of_others + new <= bounds.others)
    }

    /// Counts the candidates of a batch that is appended after `last`, or parts of some.
    pub(super) fn count_candidates(&mut self, batch: &Batch) {
        let Some(author) = batch.candidate.or(batch.part) else { return };
        let new = batch.entries.len() as u64;
        let numbers = if batch.candidate.is_some() { &mut self.candidates } else { &mut self.parts };
        numbers.extend((self.last + 1..).take(batch.entries.len()));
        if !self.authors.iter().any(|known| known.is(author)) {
            self.authors.push(AuthorUse { tag: author.tag, is_owner: author.is_owner, ..AuthorUse::default() });
        }
        for known in self.authors.iter_mut().filter(|known| known.is(author)) {
            let (count, bytes) = match batch.candidate {
                Some(_) => (&mut known.count, &mut known.bytes),
                None => (&mut known.parts, &mut known.part_bytes),
            };
            *count += new;
            *bytes += batch.bytes();
        }
    }

    /// An entry is gone. If it was the last candidate, which has expired, shares are free again: those of one log expire together, and parts before
    /// what names them.
    pub(super) fn forget_candidate(&mut self, sequence: u64) {
        let candidates = self.candidates.len();
        self.candidates.retain(|candidate| *candidate != sequence);
        self.parts.retain(|part| *part != sequence);
        let was_last = self.candidates.is_empty() && candidates > 0;
        if was_last || self.count == 0 {
            self.authors.clear();
        }
    }

    /// Candidates and their parts, as far as they count against the shares of authors: how many, and their bytes.
    pub fn of_authors(&self) -> (u64, u64) {
        let parts: u64 = self.authors.iter().map(|author| author.parts).sum();
        let bytes = self.authors.iter().map(|author| author.bytes + author.part_bytes).sum();
        (self.candidates.len() as u64 + parts, bytes)
    }

    /// Counts an entry that is added (or, with `added` false, removed).
    pub(super) fn count_entry(&mut self, class: u8, bytes: u64, added: bool) {
        let change = |sum: &mut u64, by: u64| *sum = if added { *sum + by } else { sum.saturating_sub(by) };
        change(&mut self.count, 1);
        change(&mut self.bytes, bytes);
        if class == 0 {
            return;
        }
        let class = u32::from(class);
        if !self.classes.iter().any(|known| known.class == class) {
            self.classes.push(ClassUse { class, ..ClassUse::default() });
        }
        for known in self.classes.iter_mut().filter(|known| known.class == class) {
            change(&mut known.count, 1);
            change(&mut known.bytes, bytes);
        }
        self.classes.retain(|known| known.count > 0);
    }
}

/// What an entry takes beside its bytes: its key, its expiry and its part of a page.
const ENTRY_COST: u64 = 64;
/// What a stream takes beside its entries.
const STREAM_COST: u64 = 256;

fn cost(streams: u64, entries: u64, bytes: u64) -> u64 {
    streams * STREAM_COST + entries_cost(entries, bytes)
}

/// What so many entries with so many bytes take.
pub(super) fn entries_cost(entries: u64, bytes: u64) -> u64 {
    entries * ENTRY_COST + bytes
}

/// Entries that are appended together.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Sealed bytes.
    pub entries: Vec<Bytes>,
    /// Whose they are, as far as shares count: 0 to [`MAX_CLASS`]. Those of a writer have a class of their own instead.
    pub class: u8,
    /// Who appends them to a log.
    pub writer: Option<Writer>,
    /// Before they expire, only who shows this deletes them one by one. Without it, everybody may who may delete at all.
    pub eraser: Option<Key>,
    /// They are candidates of this author, which nobody deletes one by one.
    pub candidate: Option<Author>,
    /// They are parts of candidates of this author. That nobody deletes them one by one is up to their eraser: [`NOBODYS`].
    pub part: Option<Author>,
    /// What is done once they are stored.
    pub then: WhenStored,
}

/// The eraser of entries that nobody deletes one by one: it is the hash of no secret.
pub const NOBODYS: Key = [0; 32];

/// Who has appended a candidate, as far as that tells authors of one stream from each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Author {
    /// The same for all candidates of an author in this stream, and in no other stream.
    pub tag: u64,
    /// It is a device of the account that owns the stream.
    pub is_owner: bool,
}

impl AuthorUse {
    fn is(&self, author: Author) -> bool {
        (self.tag, self.is_owner) == (author.tag, author.is_owner)
    }
}

/// What bounds a stream's candidates. An author has a share of its own, so that whoever fills it keeps nobody else from appending one.
#[derive(Clone, Copy, Debug, Default)]
pub struct CandidateBounds {
    /// Most of one author.
    pub each: u64,
    /// Most bytes of one author.
    pub each_bytes: u64,
    /// Most of all who are no devices of the owner.
    pub others: u64,
    /// Most parts of one author.
    pub parts_each: u64,
    /// Most parts of all who are no devices of the owner.
    pub parts_of_others: u64,
}

/// The last class of entries.
pub const MAX_CLASS: u8 = 127;

impl Batch {
    /// What it will take, apart from the stream.
    pub fn cost(&self) -> u64 {
        cost(0, self.entries.len() as u64, self.bytes())
    }

    /// Bytes of the entries.
    pub fn bytes(&self) -> u64 {
        self.entries.iter().map(|entry| entry.len() as u64).sum()
    }
}

impl From<Vec<Bytes>> for Batch {
    fn from(entries: Vec<Bytes>) -> Self {
        Self { entries, ..Self::default() }
    }
}

/// What an append has done.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Appended {
    /// The stream with the new entries, whose last has the number `head.last`.
    pub head: Head,
    /// What has given way.
    pub displaced: Removed,
}

/// What bounds a stream.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Most entries.
    pub entries: u64,
    /// Most bytes.
    pub bytes: u64,
    /// When the new entries expire, in seconds since 1970. Entries of one stream expire in their order.
    pub expires_at: u64,
    /// What the class of the new entries may take of that.
    pub share: Share,
    /// Most candidates.
    pub candidates: CandidateBounds,
}

/// A class's part of a stream.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// Most entries.
    pub entries: u64,
    /// Most bytes.
    pub bytes: u64,
    /// If there are more, the oldest of the class give way; else the new ones are refused.
    pub is_ring: bool,
}

impl Share {
    /// All of the stream.
    pub const WHOLE: Self = Self { entries: u64::MAX, bytes: u64::MAX, is_ring: false };
}

/// Which entries to remove. Candidates stay.
#[derive(Clone, Debug)]
pub enum Selection {
    /// All up to and with this sequence number.
    UpTo(u64),
    /// These, as far as they have no eraser or this one; those that are not there are ignored.
    Each {
        /// Their numbers.
        sequences: Vec<u64>,
        /// The eraser that is shown.
        eraser: Option<Key>,
    },
}

/// What was removed from a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// The account whose quota it counted against.
    pub owner: Option<Key>,
    /// The kind of the stream, and of a log the address of its conversation's first log; none if nothing was removed.
    pub of: Option<(Kind, Key)>,
    /// Entries.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Streams that are gone as a whole.
    pub streams: u64,
    /// Whose entries they were, as far as that is known.
    pub writers: Vec<WriterCost>,
}

impl Removed {
    /// Nothing of a stream yet.
    pub(super) fn of(id: &StreamId, head: &Head) -> Self {
        Self { owner: head.owner(), of: Some((id.kind, head.root(id))), ..Self::default() }
    }

    /// Bytes on the disk, about: rows have a price of their own, so that many small ones are no way around a quota.
    pub fn cost(&self) -> u64 {
        cost(self.streams, self.entries, self.bytes)
    }
}

/// Some entries of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// In order.
    pub entries: Vec<Entry>,
    /// There are more after them.
    pub more: bool,
}

/// What one step of expiry removed, and where the next begins.
#[derive(Clone, Debug, Default)]
pub struct Expired {
    /// For each stream that lost entries or is gone.
    pub removed: Vec<Removed>,
    /// The last stream that was looked at; `None` after the last of all.
    pub next: Option<StreamId>,
}

/// How much is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Streams.
    pub streams: u64,
    /// Entries in them.
    pub entries: u64,
}

/// Streams. Each call is atomic and durable when its future is ready, for one stream; a call whose future is dropped may have happened.
#[async_trait]
pub trait Streams: Send + Sync {
    /// What is known of a stream, if it exists.
    async fn head(&self, id: StreamId) -> Result<Option<Head>, StoreError>;
    /// Creates a stream; one that exists stays as it is. Gives whether it is new. `root` is the first log of a log's conversation, if it is another.
    async fn open(&self, id: StreamId, owner: Key, root: Option<Key>, expires_at: u64) -> Result<bool, StoreError>;
    /// Appends all entries or none. With an owner, a stream that does not exist is created; without one it is [`StoreError::NotFound`].
    async fn append(
        &self,
        id: StreamId,
        owner: Option<Key>,
        batch: Batch,
        bounds: Bounds,
    ) -> Result<Appended, StoreError>;
    /// Entries after a sequence number, up to `limit` entries and about `max_bytes`; at least one, if there is one.
    async fn read(&self, id: StreamId, after: u64, limit: usize, max_bytes: usize) -> Result<Page, StoreError>;
    /// Removes entries.
    async fn remove(&self, id: StreamId, selection: Selection) -> Result<Removed, StoreError>;
    /// Deletes a stream with all that is in it.
    async fn delete(&self, id: StreamId) -> Result<Removed, StoreError>;
    /// Takes the first entry away.
    async fn pop(&self, id: StreamId) -> Result<Option<(Entry, Removed)>, StoreError>;
    /// Removes what has expired from some streams after `after`, and those streams that are empty and have expired themselves.
    async fn expire(&self, after: Option<StreamId>, now: u64) -> Result<Expired, StoreError>;
    /// Some streams after `after`, in order.
    async fn scan(&self, after: Option<StreamId>, limit: usize) -> Result<Vec<(StreamId, Head)>, StoreError>;
    /// Some streams of an owner after `after`, in order.
    async fn of_owner(&self, owner: Key, after: Option<StreamId>, limit: usize) -> Result<Vec<StreamId>, StoreError>;
    /// How much there is.
    async fn totals(&self) -> Result<Totals, StoreError>;
}
