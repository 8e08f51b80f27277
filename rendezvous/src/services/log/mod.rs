//! Logs and inboxes: sealed entries that wait for whoever was not reached.

pub mod quota;

use bytes::Bytes;
use starling_wire::{
    LogVerb, Puzzle, Solution,
    limits::{MAX_ENTRY, MAX_INBOX_ITEM, MAX_SIGNAL},
    rendezvous::{InboxAppend, LogEntry, LogRequest, LogSignal, Refusal, ResponseBody},
    verify_log,
};

use super::{
    Services,
    directory::{
        account_of, is_banned,
        tokens::{self, Outcome},
    },
    presence::page,
    session::{Rejected, Session, key},
};
use crate::{
    clock::now_ms,
    limits::{
        APPEND_BYTES, APPEND_ENTRIES, CLOSE_OVERDRAFT, MAX_FOLLOWED, MAX_PAID, PAGE_BYTES, PAGE_ENTRIES, RECEIPT_BYTES,
        RECEIPT_REPLACES, RECEIPTS_OVERDRAFT,
    },
    store::{Entry, Key, Page, Selection, StoreError, StreamId},
};

/// Checks that the request is signed with the log's key, in this session, for this verb.
fn signed(session: &Session, request: &LogRequest, verb: LogVerb) -> Result<Key, Rejected> {
    let address = key(&request.address)?;
    let payload = request.signed_payload();
    if verify_log(&address, verb, &session.nonce, &payload, &request.signature) {
        Ok(address)
    } else {
        Err(Refusal::Denied.into())
    }
}

fn check_entries(entries: &[Bytes], most: usize) -> Result<(), Rejected> {
    // Sealing and padding add less than a doubling up to 64 KiB and less than 64 KiB above.
    let too_large = |e: &Bytes| e.is_empty() || e.len() > MAX_ENTRY + 64 * 1024;
    let size: usize = entries.iter().map(Bytes::len).sum();
    if entries.is_empty() || entries.len() > most || size > APPEND_BYTES || entries.iter().any(too_large) {
        return Err(Refusal::Malformed.into());
    }
    Ok(())
}

fn closed(entry: Entry) -> ResponseBody {
    ResponseBody::Closed(LogEntry { sequence: entry.sequence, sealed: entry.sealed, closing: true })
}

pub async fn open(session: &mut Session, request: LogRequest) -> Result<ResponseBody, Rejected> {
    let address = signed(session, &request, LogVerb::Open)?;
    let owner = session.registered().await?;
    let services = &session.services;
    services.store.streams.open(StreamId::log(address), owner, services.expiry()).await?;
    Ok(ResponseBody::Done(true))
}

pub async fn append(session: &mut Session, request: LogRequest) -> Result<ResponseBody, Rejected> {
    let address = signed(session, &request, LogVerb::Append)?;
    check_entries(&request.entries, APPEND_ENTRIES)?;
    let services = &session.services;
    let id = StreamId::log(address);
    let head = services.store.streams.head(id).await?.ok_or(Refusal::NotFound)?;
    let mut allowance = services.log_allowance();
    if request.receipt {
        let small = matches!(request.entries.as_slice(), [entry] if entry.len() as u64 <= RECEIPT_BYTES);
        if !small || request.sequences.len() > RECEIPT_REPLACES {
            return Err(Refusal::Malformed.into());
        }
        allowance.stream.entries += RECEIPTS_OVERDRAFT;
        allowance.stream.bytes += RECEIPTS_OVERDRAFT * RECEIPT_BYTES;
        allowance.owner_bytes += RECEIPTS_OVERDRAFT * RECEIPT_BYTES;
        // Before the append, as there may be no other room. The receipts that it replaces say less than it does; if this is cut short between the
        // two, who sent it repeats it.
        remove(services, id, Selection::Each(request.sequences)).await?;
    }
    match services.append(id, head.owner(), false, request.entries.clone(), allowance).await {
        Ok(last) => {
            services.metrics.appended.inc_by(request.entries.len() as u64);
            let first = last + 1 - request.entries.len() as u64;
            let entries: Vec<Entry> = request
                .entries
                .into_iter()
                .zip(first..)
                .map(|(sealed, sequence)| Entry { sequence, sealed, closing: false })
                .collect();
            services.new_entries(address, session.id, &entries);
            Ok(ResponseBody::Appended(last))
        }
        Err(StoreError::Closed(entry)) => Ok(closed(entry)),
        Err(error) => Err(error.into()),
    }
}

/// Closes a log and opens the next: the next first, so that a closed log always has a successor. If this is cut short between the two, or if
/// somebody else closes the log, the next stays empty until it expires.
pub async fn close(session: &mut Session, request: LogRequest) -> Result<ResponseBody, Rejected> {
    let address = signed(session, &request, LogVerb::Close)?;
    check_entries(&request.entries, 1)?;
    let next = key(&request.next)?;
    let sealed = request.entries.into_iter().next().unwrap_or_default();
    let services = &session.services;
    let id = StreamId::log(address);
    let head = services.store.streams.head(id).await?.ok_or(Refusal::NotFound)?;
    let mut allowance = services.log_allowance();
    // A full log can still be closed: otherwise it could never be left.
    allowance.stream.entries = u64::MAX;
    allowance.stream.bytes += CLOSE_OVERDRAFT;
    allowance.owner_bytes += CLOSE_OVERDRAFT;
    if let Some(owner) = head.owner().filter(|_| head.closed == 0) {
        services.store.streams.open(StreamId::log(next), owner, allowance.stream.expires_at).await?;
    }
    match services.close(id, head.owner(), sealed.clone(), allowance).await {
        Ok(sequence) => {
            let entry = Entry { sequence, sealed, closing: true };
            services.new_entries(address, session.id, &[entry]);
            Ok(ResponseBody::Appended(sequence))
        }
        Err(StoreError::Closed(entry)) => Ok(closed(entry)),
        Err(error) => Err(error.into()),
    }
}

/// Removes entries, which then count for nobody.
async fn remove(services: &Services, id: StreamId, selection: Selection) -> Result<(), StoreError> {
    let removed = services.store.streams.remove(id, selection).await?;
    services.discount(removed).await
}

pub async fn read(session: &mut Session, request: LogRequest) -> Result<ResponseBody, Rejected> {
    let address = signed(session, &request, LogVerb::Read)?;
    let streams = &session.services.store.streams;
    streams.head(StreamId::log(address)).await?.ok_or(Refusal::NotFound)?;
    // Follow first: an entry that arrives in between is then seen twice rather than never.
    if session.followed.len() < MAX_FOLLOWED && session.followed.insert(address) {
        session.services.follow(session.id, address);
    }
    let Page { entries, more } = streams.read(StreamId::log(address), request.after, PAGE_ENTRIES, PAGE_BYTES).await?;
    session.services.metrics.fetched.inc_by(entries.len() as u64);
    Ok(ResponseBody::Page(page(&address, &entries, more)))
}

pub async fn trim(session: &mut Session, request: LogRequest) -> Result<ResponseBody, Rejected> {
    let address = signed(session, &request, LogVerb::Trim)?;
    if request.sequences.len() > APPEND_ENTRIES * 4 {
        return Err(Refusal::Malformed.into());
    }
    remove(&session.services, StreamId::log(address), Selection::Each(request.sequences)).await?;
    Ok(ResponseBody::Done(true))
}

pub fn signal(session: &mut Session, request: LogRequest) -> Result<ResponseBody, Rejected> {
    let address = signed(session, &request, LogVerb::Signal)?;
    let [sealed] = request.entries.as_slice() else {
        return Err(Refusal::Malformed.into());
    };
    if sealed.len() > MAX_SIGNAL + 64 {
        return Err(Refusal::Malformed.into());
    }
    let signal = ResponseBody::Signal(LogSignal { address: request.address, sealed: sealed.clone() });
    session.services.pass_on(address, session.id, &signal);
    Ok(ResponseBody::Done(true))
}

pub fn leave(session: &mut Session, address: &[u8]) -> Result<ResponseBody, Rejected> {
    let address = key(address)?;
    if session.followed.remove(&address) {
        session.services.unfollow(session.id, address);
    }
    Ok(ResponseBody::Done(true))
}

pub async fn inbox_append(session: &mut Session, append: InboxAppend) -> Result<ResponseBody, Rejected> {
    let device = key(&append.device)?;
    if append.sealed.is_empty() || append.sealed.len() > MAX_INBOX_ITEM {
        return Err(Refusal::Malformed.into());
    }
    let services = session.services.clone();
    if let Some(account) = session.account
        && is_banned(&services, account).await?
    {
        return Err(Refusal::Banned.into());
    }
    let owner = account_of(&services, device).await?.ok_or(Refusal::NotFound)?;
    // What is paid for: this item in this inbox.
    let subject = [&device[..], blake3::hash(&append.sealed).as_bytes()].concat();
    let purpose = *blake3::hash(&subject).as_bytes();
    let id = StreamId::inbox(device);
    let item = vec![append.sealed];
    let sequence = if append.token.is_empty() {
        let solution = Solution(append.solution.ok_or(Refusal::Denied)?);
        let bits = services.policy().limits.inbox_work_bits;
        let puzzle = Puzzle::new("inbox", &services.server_key, &session.nonce, &subject, bits);
        if !puzzle.check(solution) {
            return Err(Refusal::Denied.into());
        }
        if session.paid.len() >= MAX_PAID {
            return Err(Refusal::RateLimited.into());
        }
        if !session.paid.insert(purpose) {
            return Err(Refusal::Denied.into());
        }
        let appended = services.append(id, Some(owner), true, item, services.inbox_allowance()).await;
        if appended.is_err() {
            // The work was for nothing: it counts when there is room again.
            session.paid.remove(&purpose);
        }
        appended?
    } else {
        let records = &*services.store.records;
        let token = token_hash(&append.token)?;
        tokens::pay_with_invite(records, token, owner, now_ms() / 1000, &purpose).await?;
        let appended = services.append(id, Some(owner), true, item, services.inbox_allowance()).await;
        let outcome = if appended.is_ok() { Outcome::Done } else { Outcome::Refused };
        tokens::settle_invite(records, token, &purpose, outcome).await?;
        appended?
    };
    services.new_items(device);
    Ok(ResponseBody::Appended(sequence))
}

/// As `starling_keys::InviteToken::hash` does.
fn token_hash(token: &[u8]) -> Result<Key, Rejected> {
    let token = token.try_into().map_err(|_| Rejected::from(Refusal::Denied))?;
    Ok(starling_keys::InviteToken(token).hash())
}

pub async fn inbox_read(session: &mut Session, after: u64) -> Result<ResponseBody, Rejected> {
    let services = &session.services;
    let id = StreamId::inbox(session.device);
    if after > 0 {
        remove(services, id, Selection::UpTo(after)).await?;
    }
    let Page { entries, more } = services.store.streams.read(id, after, PAGE_ENTRIES, PAGE_BYTES).await?;
    Ok(ResponseBody::Page(page(&[], &entries, more)))
}
