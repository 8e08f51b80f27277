//! Inboxes: items that wait for one device. Strangers, holders of invites, contacts and the account's own devices have shares of each, so that none
//! of them crowds out the others.

use std::sync::Arc;

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
    store::{Batch, Bounds, Head, Key, Page, Selection, Share, StoreError, StreamId},
};

/// Who leaves an item, and so whose share it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sender {
    /// Somebody who has paid with work. The oldest of theirs gives way to a new one.
    Stranger,
    /// A holder of an invite's token.
    Invited,
    /// Somebody who shares a log of the account: a contact, or who was one.
    Contact,
    /// Another device of the account.
    OwnDevice,
}

impl Sender {
    /// As stored: 0 is what earlier versions have stored.
    fn class(self) -> u8 {
        match self {
            Self::Stranger => 1,
            Self::Invited => 2,
            Self::Contact => 3,
            Self::OwnDevice => 4,
        }
    }

    /// Percent of an inbox. All but the last together leave a fifth for the account's own devices.
    fn percent(self) -> u64 {
        match self {
            Self::Stranger | Self::Invited => 20,
            Self::Contact => 40,
            Self::OwnDevice => 100,
        }
    }

    /// What this sender may take of an inbox.
    fn share(self, inbox: &Bounds) -> Share {
        let part = |most: u64| most.saturating_mul(self.percent()) / 100;
        Share { entries: part(inbox.entries), bytes: part(inbox.bytes), is_ring: self == Self::Stranger }
    }
}

/// The work that strangers have to do, in leading zero bits: more, the fuller their share is. What displaces others costs 16 times as much.
fn work_bits(base: u32, inbox: &Target) -> u32 {
    let share = Sender::Stranger.share(&inbox.allowance.stream);
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
    let sender = match () {
        () if own => Sender::OwnDevice,
        () if is_vouched_for(session, &append, &subject, owner).await? => Sender::Contact,
        () if !append.token.is_empty() => Sender::Invited,
        () => Sender::Stranger,
    };
    let target = Target { id, head, owner, allowance: services.inbox_allowance(owner).await? };
    let sequence = match sender {
        Sender::OwnDevice | Sender::Contact => target.store(&services, sender, append).await?,
        Sender::Invited => {
            let records = &*services.store.records;
            let token = token_hash(&append.token)?;
            tokens::pay_with_invite(records, token, owner, now_ms() / 1000, &purpose).await?;
            let stored = target.store(&services, sender, append).await;
            let outcome = if stored.is_ok() { Outcome::Done } else { Outcome::Refused };
            tokens::settle_invite(records, token, &purpose, outcome).await?;
            stored?
        }
        Sender::Stranger => {
            let bits = work_bits(services.policy().limits.inbox_work_bits, &target);
            pay_with_work(session, &append, &subject, purpose, bits)?;
            let stored = target.store(&services, sender, append).await;
            if stored.is_err() {
                // The work was for nothing: it counts when there is room again.
                session.paid.remove(&purpose);
            }
            stored?
        }
    };
    services.new_items(device);
    Ok(ResponseBody::Appended(sequence))
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
    async fn store(&self, services: &Arc<Services>, sender: Sender, append: InboxAppend) -> Result<u64, StoreError> {
        let batch = Batch { entries: vec![append.sealed], class: sender.class(), ..Batch::default() };
        let mut allowance = self.allowance;
        allowance.stream.share = sender.share(&allowance.stream);
        Ok(services.append(self.id, self.head.as_ref(), Some(self.owner), batch, allowance).await?.last)
    }
}

/// Whether the item is signed with the key of a log that counts against the receiving account: it, or another member, has given that key away.
async fn is_vouched_for(session: &Session, append: &InboxAppend, subject: &[u8], owner: Key) -> Result<bool, Rejected> {
    if append.log.is_empty() {
        return Ok(false);
    }
    let log = key(&append.log)?;
    if !verify_vouch(&log, &session.nonce, subject, &append.signature) {
        return Err(Refusal::Denied.into());
    }
    // Not known here (any more), or of another account: a token or work may do.
    let head = session.services.store.streams.head(StreamId::log(log)).await?;
    Ok(head.is_some_and(|head| head.owner() == Some(owner)))
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
