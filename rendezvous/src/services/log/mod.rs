//! Logs and inboxes: sealed entries that wait for whoever was not reached.

use bytes::Bytes;
use starling_wire::{
    LogVerb, Puzzle, Solution,
    limits::{MAX_ENTRY, MAX_INBOX_ITEM, MAX_SIGNAL},
    rendezvous::{Answer, InboxAppend, LogEntry, LogRequest, LogSignal, Refusal},
    verify_log,
};

use super::{
    presence::page,
    session::{Rejected, Session, key},
};
use crate::{
    clock::now_ms,
    limits::{
        APPEND_BYTES, APPEND_ENTRIES, MAX_FOLLOWED, MAX_PAID, PAGE_BYTES, PAGE_ENTRIES, RECEIPT_BYTES,
        RECEIPT_REPLACES, RECEIPTS_OVERDRAFT,
    },
    store::{Entry, Key, Kind, StoreError},
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

fn closed(entry: Entry) -> Answer {
    Answer::Closed(LogEntry { sequence: entry.sequence, sealed: entry.sealed, closing: true })
}

pub async fn open(session: &mut Session, request: LogRequest) -> Result<Answer, Rejected> {
    let address = signed(session, &request, LogVerb::Open)?;
    let owner = session.registered().await?;
    let expiry = session.services.expiry();
    session.services.store.open_log(address, owner, expiry).await?;
    Ok(Answer::Done(true))
}

pub async fn append(session: &mut Session, request: LogRequest) -> Result<Answer, Rejected> {
    let address = signed(session, &request, LogVerb::Append)?;
    check_entries(&request.entries, APPEND_ENTRIES)?;
    let mut bounds = session.services.log_bounds();
    let store = &session.services.store;
    if request.receipt {
        let small = matches!(request.entries.as_slice(), [entry] if entry.len() as u64 <= RECEIPT_BYTES);
        if !small || request.sequences.len() > RECEIPT_REPLACES {
            return Err(Refusal::Malformed.into());
        }
        bounds.entries += RECEIPTS_OVERDRAFT;
        bounds.bytes += RECEIPTS_OVERDRAFT * RECEIPT_BYTES;
        bounds.owner_bytes += RECEIPTS_OVERDRAFT * RECEIPT_BYTES;
        store.trim(address, request.sequences).await?;
    }
    match store.append(Kind::Log, address, None, request.entries.clone(), bounds).await {
        Ok(last) => {
            session.services.metrics.appended.inc_by(request.entries.len() as u64);
            let first = last + 1 - request.entries.len() as u64;
            let entries: Vec<Entry> = request
                .entries
                .into_iter()
                .zip(first..)
                .map(|(sealed, sequence)| Entry { sequence, sealed, closing: false })
                .collect();
            session.services.presence.new_entries(address, session.id, &entries);
            Ok(Answer::Appended(last))
        }
        Err(StoreError::Closed(entry)) => Ok(closed(entry)),
        Err(error) => Err(error.into()),
    }
}

pub async fn close(session: &mut Session, request: LogRequest) -> Result<Answer, Rejected> {
    let address = signed(session, &request, LogVerb::Close)?;
    check_entries(&request.entries, 1)?;
    let next = key(&request.next)?;
    let sealed = request.entries.into_iter().next().unwrap_or_default();
    let bounds = session.services.log_bounds();
    let store = &session.services.store;
    match store.close_log(address, sealed.clone(), next, bounds).await {
        Ok(sequence) => {
            let entry = Entry { sequence, sealed, closing: true };
            session.services.presence.new_entries(address, session.id, &[entry]);
            Ok(Answer::Appended(sequence))
        }
        Err(StoreError::Closed(entry)) => Ok(closed(entry)),
        Err(error) => Err(error.into()),
    }
}

pub async fn read(session: &mut Session, request: LogRequest) -> Result<Answer, Rejected> {
    let address = signed(session, &request, LogVerb::Read)?;
    if !session.services.store.has_log(address).await? {
        return Err(Refusal::NotFound.into());
    }
    // Follow first: an entry that arrives in between is then seen twice rather than never.
    if session.followed.len() < MAX_FOLLOWED && session.followed.insert(address) {
        session.services.presence.follow(session.id, address);
    }
    let (entries, more) =
        session.services.store.read(Kind::Log, address, request.after, PAGE_ENTRIES, PAGE_BYTES).await?;
    session.services.metrics.fetched.inc_by(entries.len() as u64);
    Ok(Answer::Page(page(&address, &entries, more)))
}

pub async fn trim(session: &mut Session, request: LogRequest) -> Result<Answer, Rejected> {
    let address = signed(session, &request, LogVerb::Trim)?;
    if request.sequences.len() > APPEND_ENTRIES * 4 {
        return Err(Refusal::Malformed.into());
    }
    session.services.store.trim(address, request.sequences).await?;
    Ok(Answer::Done(true))
}

pub fn signal(session: &mut Session, request: LogRequest) -> Result<Answer, Rejected> {
    let address = signed(session, &request, LogVerb::Signal)?;
    let [sealed] = request.entries.as_slice() else {
        return Err(Refusal::Malformed.into());
    };
    if sealed.len() > MAX_SIGNAL + 64 {
        return Err(Refusal::Malformed.into());
    }
    let signal = Answer::Signal(LogSignal { address: request.address, sealed: sealed.clone() });
    session.services.presence.pass_on(address, session.id, &signal);
    Ok(Answer::Done(true))
}

pub fn leave(session: &mut Session, address: &[u8]) -> Result<Answer, Rejected> {
    let address = key(address)?;
    if session.followed.remove(&address) {
        session.services.presence.unfollow(session.id, address);
    }
    Ok(Answer::Done(true))
}

pub async fn inbox_append(session: &mut Session, append: InboxAppend) -> Result<Answer, Rejected> {
    let device = key(&append.device)?;
    if append.sealed.is_empty() || append.sealed.len() > MAX_INBOX_ITEM {
        return Err(Refusal::Malformed.into());
    }
    let services = session.services.clone();
    if let Some(account) = session.account
        && services.store.account(account).await?.is_some_and(|a| a.banned)
    {
        return Err(Refusal::Banned.into());
    }
    let owner = services.store.account_of(device).await?.ok_or(Refusal::NotFound)?;
    let bounds = services.inbox_bounds();
    let sequence = if append.token.is_empty() {
        let solution = Solution(append.solution.ok_or(Refusal::Denied)?);
        let subject = [&device[..], blake3::hash(&append.sealed).as_bytes()].concat();
        let bits = services.policy().limits.inbox_work_bits;
        let puzzle = Puzzle::new("inbox", &services.server_key, &session.nonce, &subject, bits);
        if !puzzle.check(solution) {
            return Err(Refusal::Denied.into());
        }
        let paid = *blake3::hash(&subject).as_bytes();
        if session.paid.len() >= MAX_PAID {
            return Err(Refusal::RateLimited.into());
        }
        if !session.paid.insert(paid) {
            return Err(Refusal::Denied.into());
        }
        let appended =
            services.store.append(Kind::Inbox, device, Some(owner), vec![append.sealed.clone()], bounds).await;
        if appended.is_err() {
            // The work was for nothing: it counts when there is room again.
            session.paid.remove(&paid);
        }
        appended?
    } else {
        let token = token_hash(&append.token)?;
        services.store.append_with_invite(token, now_ms() / 1000, device, owner, append.sealed.clone(), bounds).await?
    };
    services.presence.new_items(device);
    Ok(Answer::Appended(sequence))
}

/// As `starling_keys::InviteToken::hash` does.
fn token_hash(token: &[u8]) -> Result<Key, Rejected> {
    let token = token.try_into().map_err(|_| Rejected::from(Refusal::Denied))?;
    Ok(starling_keys::InviteToken(token).hash())
}

pub async fn inbox_read(session: &mut Session, after: u64) -> Result<Answer, Rejected> {
    let (store, device) = (&session.services.store, session.device);
    if after > 0 {
        store.delete_up_to(Kind::Inbox, device, after).await?;
    }
    let (entries, more) = store.read(Kind::Inbox, device, after, PAGE_ENTRIES, PAGE_BYTES).await?;
    Ok(Answer::Page(page(&[], &entries, more)))
}
