//! Inboxes: items that wait for one device. Strangers, holders of invites, contacts and the account's own devices have shares of each, so that none
//! of them crowds out the others.

use std::sync::Arc;

use bytes::Bytes;
use starling_wire::{
    Puzzle, Solution,
    limits::MAX_INBOX_ITEM,
    rendezvous::{InboxAppend, Refusal, ResponseBody},
    verify_vouch,
};

use crate::{
    clock::now_ms,
    limits::{MAX_PAID, MAX_WORK_BITS, PAGE_BYTES, PAGE_ENTRIES},
    services::{
        Services,
        directory::{
            account_of, is_banned,
            tokens::{self, Outcome},
        },
        log::{quota::Allowance, remove},
        presence::page,
        session::{Rejected, Session, key},
    },
    store::{Batch, Bounds, Head, Key, MAX_CLASS, Page, Selection, Share, StoreError, StreamId},
};

/// The class of what those leave who share a conversation: by its first log, so that it is the same in all epochs. Some conversations may have the same
/// one: who has such a conversation cannot find out which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Conversation(u8);

impl Conversation {
    /// The first of their classes.
    const FIRST: u8 = 16;

    fn of(services: &Services, inbox: &Key, root: &Key) -> Self {
        let key = blake3::derive_key("starling 2026 rendezvous inbox shares v1", &services.name_key);
        let hash = blake3::Hasher::new_keyed(&key).update(inbox).update(root).finalize();
        Self(Self::FIRST + hash.as_bytes()[0] % (MAX_CLASS - Self::FIRST + 1))
    }
}

/// Who leaves an item, and so whose share it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sender {
    /// Somebody who has paid with work. The oldest of theirs gives way to a new one.
    Stranger,
    /// A holder of an invite's token.
    Invited,
    /// Somebody who shares a conversation of the account: a contact, or who was one.
    Contact(Conversation),
    /// Another device of the account.
    OwnDevice,
}

impl Sender {
    /// As stored: 0 and 3, of all who share a log together, are what earlier versions have stored.
    fn class(self) -> u8 {
        match self {
            Self::Stranger => 1,
            Self::Invited => 2,
            Self::Contact(conversation) => conversation.0,
            Self::OwnDevice => 4,
        }
    }

    /// Percent of an inbox. All but the last together leave a fifth for the account's own devices.
    fn percent(self) -> u64 {
        match self {
            Self::Stranger | Self::Invited => 20,
            Self::Contact(_) => 40,
            Self::OwnDevice => 100,
        }
    }

    /// What this sender may take of an inbox, which has these items.
    fn share(self, inbox: &Bounds, head: Option<&Head>, bytes: u64) -> Share {
        let part = |most: u64| most.saturating_mul(self.percent()) / 100;
        let all = Share { entries: part(inbox.entries), bytes: part(inbox.bytes), is_ring: self == Self::Stranger };
        let Self::Contact(_) = self else { return all };
        // As conversations share an account's space: each has half as much as is left free.
        let (taken, taken_bytes) = head.map_or((0, 0), of_contacts);
        let half = |all: u64, taken: u64| all.saturating_sub(taken) / 2;
        Share { entries: half(all.entries, taken + 1), bytes: half(all.bytes, taken_bytes + bytes), is_ring: false }
    }
}

/// What all have left who share a conversation: how many items, and their bytes.
fn of_contacts(head: &Head) -> (u64, u64) {
    let is_theirs = |class: u32| class == 3 || class >= u32::from(Conversation::FIRST);
    let theirs = head.classes.iter().filter(|known| is_theirs(known.class));
    theirs.fold((0, 0), |(count, bytes), known| (count + known.count, bytes + known.bytes))
}

/// The work that strangers have to do, in leading zero bits: more, the fuller their share is. What displaces others costs 16 times as much.
fn work_bits(base: u32, inbox: &Target) -> u32 {
    let share = Sender::Stranger.share(&inbox.allowance.stream, None, 0);
    let (count, bytes) = inbox.head.as_ref().map_or((0, 0), |head| head.class(Sender::Stranger.class()));
    let percent = |of: u64, most: u64| of.saturating_mul(100) / most.max(1);
    // The largest item may not fit any more when not quite all bytes are taken.
    let room = share.bytes.saturating_sub(MAX_INBOX_ITEM as u64);
    let more = match percent(count, share.entries).max(percent(bytes, room)) {
        0..50 => 0,
        50..75 => 1,
        75..90 => 2,
        90..100 => 3,
        _ => 4,
    };
    if base == 0 { 0 } else { (base + more).min(MAX_WORK_BITS.max(base)) }
}

/// Leaves an item in a device's inbox.
pub async fn append(session: &mut Session, append: InboxAppend) -> Result<ResponseBody, Rejected> {
    let device = key(&append.device)?;
    if append.sealed.is_empty() || append.sealed.len() > MAX_INBOX_ITEM {
        return Err(Refusal::Malformed.into());
    }
    let services = session.services.clone();
    session.not_banned().await?;
    let owner = account_of(&services, device).await?.ok_or(Refusal::NotFound)?;
    if is_banned(&services, owner).await? {
        return Err(Refusal::NotFound.into());
    }
    let subject = append.subject();
    let purpose = *blake3::hash(&subject).as_bytes();
    let id = StreamId::inbox(device);
    let head = services.store.streams.head(id).await?;
    let own = account_of(&services, session.device).await? == Some(owner);
    let sender = match shared_conversation(session, &append, &subject, owner).await? {
        _ if own => Sender::OwnDevice,
        Some(root) => Sender::Contact(Conversation::of(&services, &device, &root)),
        None if !append.token.is_empty() => Sender::Invited,
        None => Sender::Stranger,
    };
    let target = Target { id, head, owner, allowance: services.inbox_allowance(owner).await? };
    let sequence = match sender {
        Sender::OwnDevice => target.store(&services, sender, append.sealed).await?,
        Sender::Contact(_) => match target.store(&services, sender, append.sealed.clone()).await {
            // Somebody in this conversation has filled its share: with work, the item is taken as a stranger's.
            Err(StoreError::Full) if append.solution.is_some() => {
                leave_as_stranger(session, &target, append, &subject, purpose).await?
            }
            stored => stored?,
        },
        Sender::Invited => {
            let records = &*services.store.records;
            let token = token_hash(&append.token)?;
            tokens::pay_with_invite(records, token, owner, now_ms() / 1000, &purpose).await?;
            let stored = target.store(&services, sender, append.sealed).await;
            let outcome = if stored.is_ok() { Outcome::Done } else { Outcome::Refused };
            tokens::settle_invite(records, token, &purpose, outcome).await?;
            stored?
        }
        Sender::Stranger => leave_as_stranger(session, &target, append, &subject, purpose).await?,
    };
    services.new_items(device);
    Ok(ResponseBody::Appended(sequence))
}

/// Leaves an item that is paid for with work.
async fn leave_as_stranger(
    session: &mut Session,
    target: &Target,
    append: InboxAppend,
    subject: &[u8],
    purpose: Key,
) -> Result<u64, Rejected> {
    let services = session.services.clone();
    let bits = work_bits(services.policy().limits.inbox_work_bits, target);
    pay_with_work(session, &append, subject, purpose, bits)?;
    let stored = target.store(&services, Sender::Stranger, append.sealed).await;
    if stored.is_err() {
        // The work was for nothing: it counts when there is room again.
        session.paid.remove(&purpose);
    }
    Ok(stored?)
}

/// An inbox that something is left in.
struct Target {
    id: StreamId,
    head: Option<Head>,
    owner: Key,
    /// For all who leave something, together.
    allowance: Allowance,
}

impl Target {
    async fn store(&self, services: &Arc<Services>, sender: Sender, sealed: Bytes) -> Result<u64, StoreError> {
        let share = sender.share(&self.allowance.stream, self.head.as_ref(), sealed.len() as u64);
        let batch = Batch { entries: vec![sealed], class: sender.class(), ..Batch::default() };
        let mut allowance = self.allowance;
        allowance.stream.share = share;
        Ok(services.append(self.id, self.head.as_ref(), Some(self.owner), batch, allowance).await?.last)
    }
}

/// The conversation, by its first log, whose log has signed the item, if that counts against the receiving account: it, or another member, has given
/// that log's key away.
async fn shared_conversation(
    session: &Session,
    append: &InboxAppend,
    subject: &[u8],
    owner: Key,
) -> Result<Option<Key>, Rejected> {
    if append.log.is_empty() {
        return Ok(None);
    }
    let log = key(&append.log)?;
    if !verify_vouch(&log, &session.nonce, subject, &append.signature) {
        return Err(Refusal::Denied.into());
    }
    // Not known here (any more), or of another account: a token or work may do.
    let id = StreamId::log(log);
    let head = session.services.store.streams.head(id).await?;
    Ok(head.filter(|head| head.owner() == Some(owner)).map(|head| head.root(&id)))
}

/// Checks a proof of work, which pays once.
fn pay_with_work(
    session: &mut Session,
    append: &InboxAppend,
    subject: &[u8],
    purpose: Key,
    bits: u32,
) -> Result<(), Rejected> {
    let too_little = Rejected::work(bits);
    let Some(solution) = append.solution else { return Err(too_little) };
    let puzzle = Puzzle::new("inbox", &session.services.server_key, &session.nonce, subject, bits);
    if !puzzle.check(Solution(solution)) {
        return Err(too_little);
    }
    if session.paid.len() >= MAX_PAID {
        return Err(Refusal::RateLimited.into());
    }
    if session.paid.insert(purpose) { Ok(()) } else { Err(Refusal::Denied.into()) }
}

/// As `starling_keys::InviteTicket::hash` does.
fn token_hash(token: &[u8]) -> Result<Key, Rejected> {
    let token = token.try_into().map_err(|_| Rejected::from(Refusal::Denied))?;
    Ok(starling_keys::InviteTicket(token).hash())
}

/// Reads the inbox of the session's device after a sequence number, and deletes what comes before.
pub async fn read(session: &mut Session, after: u64) -> Result<ResponseBody, Rejected> {
    let services = &session.services;
    let id = StreamId::inbox(session.device);
    if after > 0 {
        remove(services, id, Selection::UpTo(after)).await?;
    }
    let Page { entries, more } = services.store.streams.read(id, after, PAGE_ENTRIES, PAGE_BYTES).await?;
    Ok(ResponseBody::Page(page(&[], &entries, more)))
}
