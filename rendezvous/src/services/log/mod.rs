//! Logs and inboxes: sealed entries that wait for whoever was not reached.

pub mod inbox;
pub mod quota;

use bytes::Bytes;
use starling_wire::{
    LogVerb, eraser_of,
    limits::{MAX_ENTRY, MAX_PART_ENTRY, MAX_SIGNAL},
    rendezvous::{Behind, LogRequest, LogSignal, LogUse, Logs, Refusal, ResponseBody},
    verify_log, verify_permit,
};

use super::{
    Services, directory,
    log::quota::messages_share,
    presence::{log_entry, log_page},
    rates,
    session::{Rejected, Session, key},
};
use crate::{
    limits::{
        APPEND_BYTES, APPEND_ENTRIES, CANDIDATE_OVERDRAFT, LOGS_PAGE, LOGS_PER_REQUEST, MAX_FOLLOWED, PAGE_BYTES,
        PAGE_ENTRIES, RECEIPT_BYTES, RECEIPT_REPLACES,
    },
    store::{
        Author, Batch, Entry, Head, Key, Kind, NOBODYS, Page, Selection, StoreError, StreamId, WhenStored, Writer,
    },
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

/// A secret or its hash, if there is one.
fn optional_key(bytes: &[u8]) -> Result<Option<Key>, Rejected> {
    if bytes.is_empty() { Ok(None) } else { key(bytes).map(Some) }
}

/// Which entries a request deletes: those that its secret may.
fn erased(request: &LogRequest) -> Result<Selection, Rejected> {
    let eraser = optional_key(&request.erasing)?.map(|secret| eraser_of(&secret));
    Ok(Selection::Each { sequences: request.sequences.clone(), eraser })
}

pub async fn open(session: &mut Session, request: LogRequest) -> Result<ResponseBody, Rejected> {
    let address = signed(session, &request, LogVerb::Open)?;
    let owner = session.registered().await?;
    let services = &session.services;
    services.open_log(address, owner, None, services.log_allowance(Some(owner)).await?).await?;
    Ok(ResponseBody::Done(true))
}

/// The log before one that is not there yet, if the request shows that log's permit: its address, and what is known of it.
async fn parent(session: &Session, address: Key, request: &LogRequest) -> Result<(Key, Head), Rejected> {
    let parent = optional_key(&request.parent)?.ok_or(Refusal::NotFound)?;
    if !verify_permit(&parent, &session.nonce, &address, &request.permit) {
        return Err(Refusal::Denied.into());
    }
    let head = session.services.store.streams.head(StreamId::log(parent)).await?;
    Ok((parent, head.ok_or(Refusal::NotFound)?))
}

/// A log that is to be appended to. The first append opens it, if its parent lets it: for the same owner, and within the same budget.
async fn opened(session: &Session, address: Key, request: &LogRequest) -> Result<Head, Rejected> {
    let services = &session.services;
    let id = StreamId::log(address);
    if let Some(head) = services.store.streams.head(id).await? {
        return Ok(head);
    }
    let (parent, head) = parent(session, address, request).await?;
    let owner = head.owner().ok_or(Refusal::NotFound)?;
    let mut allowance = services.log_allowance(Some(owner)).await?;
    if request.receipt || request.candidate || request.part {
        allowance.limit = allowance.limit.beyond(Head::default().cost());
    }
    let root = head.root(&StreamId::log(parent));
    services.open_log(address, owner, Some(root), allowance).await?;
    Ok(services.store.streams.head(id).await?.ok_or(Refusal::NotFound)?)
}

/// Candidates of a log after those that an author has read, as many as there is room for, and before what was appended.
async fn unread(services: &Services, id: StreamId, head: &Head, after: u64, before: u64) -> Result<Behind, Rejected> {
    let mut behind = Behind::default();
    let mut bytes = 0;
    for sequence in head.candidates_between(after, before) {
        let page = services.store.streams.read(id, sequence - 1, 1, PAGE_BYTES).await?;
        let Some(entry) = page.entries.into_iter().find(|entry| entry.sequence == sequence) else { continue };
        bytes += entry.sealed.len();
        behind.more = bytes > PAGE_BYTES && !behind.candidates.is_empty();
        if behind.more {
            break;
        }
        behind.candidates.push(log_entry(&entry, true));
    }
    Ok(behind)
}

/// Who appends, as far as shares go: a device or account that is registered, or else a network, as any number of devices can come from one. Who reads
/// the store cannot find out who that is.
struct Appender<'a> {
    session: &'a Session,
    account: Option<Key>,
    is_owner: bool,
}

impl<'a> Appender<'a> {
    fn new(session: &'a Session, account: Option<Key>, head: &Head) -> Self {
        Self { session, account, is_owner: account.is_some() && account == head.owner() }
    }

    fn tag(&self, context: &str, place: &[u8], known: Key) -> u64 {
        let who = match (self.account, self.session.origin) {
            (None, Some(origin)) => origin.networks().first().map(ToString::to_string).unwrap_or_default().into_bytes(),
            (None, None) => self.session.device.to_vec(),
            (Some(_), _) => known.to_vec(),
        };
        let key = blake3::derive_key(context, &self.session.services.name_key);
        let mut tag = [0; 8];
        blake3::Hasher::new_keyed(&key).update(place).update(&who).finalize_xof().fill(&mut tag);
        u64::from_le_bytes(tag).max(1)
    }

    /// Whose candidates they are: in no two logs the same.
    fn author(&self, address: &Key) -> Author {
        let tag = self.tag("starling 2026 rendezvous log authors v1", address, self.session.device);
        Author { tag, is_owner: self.is_owner }
    }

    /// Whose share of a conversation they take: all devices of an account have one.
    fn writer(&self, root: Key, is_of_commits: bool) -> Writer {
        let place = [&root[..], &[u8::from(is_of_commits)]].concat();
        let known = self.account.unwrap_or_default();
        let tag = self.tag("starling 2026 rendezvous log writers v1", &place, known);
        Writer { tag, is_owner: self.is_owner }
    }
}

/// Parts of candidates are nothing else, and have a size of their own.
fn check_parts(request: &LogRequest) -> Result<(), Rejected> {
    let is_large = |entry: &Bytes| entry.len() > MAX_PART_ENTRY;
    match request.part && (request.candidate || request.receipt || request.entries.iter().any(is_large)) {
        true => Err(Refusal::Malformed.into()),
        false => Ok(()),
    }
}

/// Appends to a log. If there is no room for it, who reads the log is told so, now and then: a device of the account that owns it may
/// make some.
pub async fn append(session: &mut Session, request: LogRequest) -> Result<ResponseBody, Rejected> {
    let (address, is_receipt) = (request.address.clone(), request.receipt);
    let appended = append_signed(session, request).await;
    if !is_receipt
        && let Err(Rejected { reason: Refusal::Full, .. }) = &appended
        && let Ok(log) = key(&address)
        && session.services.rates.full.check_key(&log).is_ok()
    {
        session.services.pass_on(log, session.id, &ResponseBody::LogFull(address));
    }
    appended
}

async fn append_signed(session: &mut Session, request: LogRequest) -> Result<ResponseBody, Rejected> {
    let address = signed(session, &request, LogVerb::Append)?;
    check_entries(&request.entries, if request.candidate { 1 } else { APPEND_ENTRIES })?;
    check_parts(&request)?;
    let account = session.not_banned().await?;
    let services = &session.services;
    let id = StreamId::log(address);
    let head = opened(session, address, &request).await?;
    if let Some(owner) = head.owner()
        && directory::is_banned(services, owner).await?
    {
        // It has room for nothing.
        return Err(Refusal::Full.into());
    }
    let appender = Appender::new(session, account, &head);
    let batch = Batch {
        entries: request.entries.clone(),
        class: 0,
        writer: Some(appender.writer(head.root(&id), request.candidate || request.part)),
        eraser: if request.part { Some(NOBODYS) } else { optional_key(&request.eraser)? },
        candidate: request.candidate.then(|| appender.author(&address)),
        part: request.part.then(|| appender.author(&address)),
        then: passed_on(session, address, &request),
    };
    let mut allowance = services.log_allowance(head.owner()).await?;
    allowance.limit = allowance.limit.of_writer(appender.is_owner);
    if request.part {
        // They have shares of their own, and count against those of the conversation.
        (allowance.stream.entries, allowance.stream.bytes) = (u64::MAX, u64::MAX);
    } else if request.candidate {
        if !request.insist {
            let behind = unread(services, id, &head, request.after, u64::MAX).await?;
            if !behind.candidates.is_empty() {
                return Ok(ResponseBody::Behind(behind));
            }
        }
        // A full log can still be left, also if others have filled their shares.
        let overdraft = CANDIDATE_OVERDRAFT.saturating_mul(head.authors.len() as u64 + 1);
        allowance = allowance.beside_commits(&head);
        allowance.stream.entries = u64::MAX;
        allowance.stream.bytes = allowance.stream.bytes.saturating_add(overdraft);
        allowance.limit = allowance.limit.beyond(overdraft);
    } else {
        allowance.stream.share = messages_share(&allowance.stream, &head, &batch, appender.is_owner);
        allowance = allowance.beside_commits(&head);
    }
    if request.receipt {
        let small = matches!(request.entries.as_slice(), [entry] if entry.len() as u64 <= RECEIPT_BYTES);
        if !small || request.sequences.len() > RECEIPT_REPLACES {
            return Err(Refusal::Malformed.into());
        }
        allowance = allowance.for_receipt();
        // Before the append, as there may be no other room. The receipts that it replaces say less than it does; if this is cut short between the
        // two, who sent it repeats it.
        remove(services, id, erased(&request)?).await?;
    }
    let head = services.append(id, Some(&head), None, batch, allowance).await?;
    answered(session, address, &head, request).await
}

/// Passes on what a request appends to a log once it is stored, so that all are pushed it in the order of the log: who is pushed an entry before the
/// one that stands before it has to ask for that.
fn passed_on(session: &Session, address: Key, request: &LogRequest) -> WhenStored {
    let (services, from) = (session.services.clone(), session.id);
    let (appended, stay) = (request.entries.clone(), request.candidate || request.part);
    WhenStored::new(move |head| {
        let first = (head.last + 1).saturating_sub(appended.len() as u64);
        let entry = |(sealed, sequence): (&Bytes, u64)| Entry { sequence, sealed: sealed.clone() };
        let entries: Vec<Entry> = appended.iter().zip(first..).map(entry).collect();
        services.new_entries(address, from, &entries, stay);
    })
}

/// Answers whoever has appended to a log: with the commits that it has not read, if there are some.
async fn answered(session: &Session, address: Key, head: &Head, request: LogRequest) -> Result<ResponseBody, Rejected> {
    let services = &session.services;
    services.metrics.appended.inc_by(request.entries.len() as u64);
    let last = head.last;
    let first = last + 1 - request.entries.len() as u64;
    let behind = unread(services, StreamId::log(address), head, request.after, first).await?;
    Ok(match behind.candidates.is_empty() {
        true => ResponseBody::Appended(last),
        false => ResponseBody::Behind(Behind { last, ..behind }),
    })
}

/// The logs of the session's account, some at a time.
pub async fn list(session: &mut Session, after: &[u8]) -> Result<ResponseBody, Rejected> {
    let owner = session.registered().await?;
    let streams = &session.services.store.streams;
    let after = if after.is_empty() { None } else { Some(StreamId::log(key(after)?)) };
    let ids = streams.of_owner(owner, after, LOGS_PAGE + 1).await?;
    let mut logs = Vec::new();
    let ids: Vec<StreamId> = ids.into_iter().filter(|id| id.kind == Kind::Log).collect();
    session.count_more(ids.len() / LOGS_PER_REQUEST)?;
    for id in ids.iter().take(LOGS_PAGE) {
        let Some(head) = streams.head(*id).await? else { continue };
        logs.push(LogUse {
            address: Bytes::copy_from_slice(&id.address),
            root: Bytes::copy_from_slice(&head.root(id)),
            entries: head.count,
            cost: head.cost(),
        });
    }
    Ok(ResponseBody::Logs(Logs { logs, more: ids.len() > LOGS_PAGE }))
}

/// Deletes a log of the session's account.
pub async fn delete(session: &mut Session, address: &[u8]) -> Result<ResponseBody, Rejected> {
    let owner = session.registered().await?;
    let services = &session.services;
    let id = StreamId::log(key(address)?);
    let head = services.store.streams.head(id).await?;
    if head.ok_or(Refusal::NotFound)?.owner() != Some(owner) {
        return Err(Refusal::NotFound.into());
    }
    services.discount(services.store.streams.delete(id).await?).await?;
    Ok(ResponseBody::Done(true))
}

/// Removes entries, which then count for nobody.
async fn remove(services: &Services, id: StreamId, selection: Selection) -> Result<(), StoreError> {
    let removed = services.store.streams.remove(id, selection).await?;
    services.discount(removed).await
}

pub async fn read(session: &mut Session, request: LogRequest) -> Result<ResponseBody, Rejected> {
    let address = signed(session, &request, LogVerb::Read)?;
    let streams = &session.services.store.streams;
    if streams.head(StreamId::log(address)).await?.is_none() {
        // Nobody has written in this epoch yet.
        parent(session, address, &request).await?;
    }
    // Follow first: an entry that arrives in between is then seen twice rather than never.
    if session.followed.contains(&address) || session.followed.len() < MAX_FOLLOWED {
        session.followed.insert(address);
        session.services.follow(session.id, address, request.unseen);
    }
    let id = StreamId::log(address);
    let Page { entries, more } = streams.read(id, request.after, PAGE_ENTRIES, PAGE_BYTES).await?;
    // After that: what is in the page is in the head.
    let head = streams.head(id).await?.unwrap_or_default();
    session.services.metrics.fetched.inc_by(entries.len() as u64);
    Ok(ResponseBody::Page(log_page(&address, &entries, more, |sequence| head.stays(sequence))))
}

pub async fn trim(session: &mut Session, request: LogRequest) -> Result<ResponseBody, Rejected> {
    let address = signed(session, &request, LogVerb::Trim)?;
    if request.sequences.len() > APPEND_ENTRIES * 4 {
        return Err(Refusal::Malformed.into());
    }
    session.not_banned().await?;
    remove(&session.services, StreamId::log(address), erased(&request)?).await?;
    Ok(ResponseBody::Done(true))
}

pub async fn signal(session: &mut Session, request: LogRequest) -> Result<ResponseBody, Rejected> {
    let address = signed(session, &request, LogVerb::Signal)?;
    let [sealed] = request.entries.as_slice() else {
        return Err(Refusal::Malformed.into());
    };
    if sealed.len() > MAX_SIGNAL + 64 {
        return Err(Refusal::Malformed.into());
    }
    session.not_banned().await?;
    let signal = ResponseBody::Signal(LogSignal { address: request.address, sealed: sealed.clone() });
    session.services.pass_on(address, session.id, &signal);
    Ok(ResponseBody::Done(true))
}

pub fn leave(session: &mut Session, address: &[u8]) -> Result<ResponseBody, Rejected> {
    let address = key(address)?;
    if session.followed.contains(&address) {
        session.services.rates.leaves.check_key(&session.device).map_err(rates::wait)?;
    }
    if session.followed.remove(&address) {
        session.services.unfollow(session.id, address);
    }
    Ok(ResponseBody::Done(true))
}
