//! The directory: device lists, user names, key packages, invites, snapshots, short codes.

mod chains;
pub mod claims;
mod codes;
mod names;
pub mod tokens;

use bytes::Bytes;
use starling_keys::chain::count_entries;
use starling_wire::{
    Puzzle, Solution,
    limits::{MAX_INVITE_USES, MAX_KEY_PACKAGE, MAX_KEY_PACKAGES, MAX_SNAPSHOT},
    rendezvous::{
        ChainSince, ClaimedKeyPackages, CodeMessage, Devices, InviteRecord, KeyPackages, Publish, Refusal,
        ResponseBody, Snapshot, TurnCredentials,
    },
};

pub use chains::publish;
pub use codes::Codes;
pub use names::{claim_name, claim_name_key, look_up_name, look_up_name_key};

use super::{
    Services,
    log::quota::completed,
    relay::turn,
    session::{Rejected, Session, key},
};
use crate::{
    clock::now_ms,
    config::RegistrationMode,
    limits::{
        CHAIN_ENTRIES_PER_REQUEST, CLOSED_PLACE_COST, CODE_TRIES_PER_SESSION, CODES_PER_SESSION, DEVICES_PER_CLAIM,
        INVITE_COST, INVITE_LIFE_S, RECORDS_BYTES, SNAPSHOT_STEP,
    },
    store::{self, Account, Collection, Invite, Key, StoreError, StreamId, load, replace, update},
};

/// The account that a device belongs to.
pub async fn account_of(services: &Services, device: Key) -> Result<Option<Key>, StoreError> {
    let found = claims::resolve(&*services.store.records, Collection::Devices, device).await?;
    Ok(found.map(|(account, _)| account))
}

/// Whether the operator has banned an account.
pub async fn is_banned(services: &Services, account: Key) -> Result<bool, StoreError> {
    Ok(services.store.records.get(Collection::Bans, account).await?.is_some())
}

/// Notes that an account was here on this day (since 1970).
pub async fn note_seen(services: &Services, account: Key, day: u64) -> Result<(), StoreError> {
    update(&*services.store.records, Collection::Accounts, account, |known: Option<Account>| {
        let known = known.ok_or(StoreError::NotFound)?;
        Ok(Account { seen_day: known.seen_day.max(day), ..known })
    })
    .await
    .map(|_| ())
}

/// Deletes what is stored for a device, if it belongs to no account: what waits for it, and its key packages.
pub(super) async fn forget_device(services: &Services, device: Key) -> Result<(), StoreError> {
    if account_of(services, device).await?.is_some() {
        return Ok(());
    }
    for id in [StreamId::inbox(device), StreamId::key_packages(device)] {
        services.discount(services.store.streams.delete(id).await?).await?;
    }
    store::discard(&*services.store.records, Collection::LastResort, device).await
}

fn today() -> u64 {
    now_ms() / 86_400_000
}

/// The record of an account that registers now.
pub(super) fn new_account() -> Account {
    Account { since_day: today(), ..Account::default() }
}

/// Lets a new account register; gives the token that it has paid with, if any.
async fn pay_registration(session: &Session, publish: &Publish, account: &Key) -> Result<Option<Key>, Rejected> {
    let services = &session.services;
    let policy = services.policy();
    if services.space.is_full() {
        return Err(Refusal::Full.into());
    }
    // What is not paid for does not count: clients ask first, and learn what to do.
    let count = || session.origin.as_ref().map_or(Ok(()), |origin| services.rates.registrations.check(origin));
    match policy.registration.mode {
        RegistrationMode::Closed => Err(Refusal::RegistrationClosed.into()),
        RegistrationMode::Invite => {
            if publish.token.is_empty() {
                return Err(Refusal::Denied.into());
            }
            count()?;
            let token = *blake3::hash(publish.token.as_bytes()).as_bytes();
            tokens::pay_with_token(&*services.store.records, token, account, now_ms() / 1000).await?;
            Ok(Some(token))
        }
        RegistrationMode::Open => {
            let bits = policy.registration.work_bits;
            let puzzle = Puzzle::new("register", &services.server_key, &session.nonce, account, bits);
            let paid = publish.solution.is_some_and(|solution| puzzle.check(Solution(solution)));
            if !paid {
                return Err(Refusal::Denied.into());
            }
            count()?;
            Ok(None)
        }
    }
}

/// Servers for calls, for accounts that are known here. The name is the account's of the day: quotas are counted by it, and who relays does
/// not learn whose it is.
pub async fn turn_credentials(session: &mut Session) -> Result<ResponseBody, Rejected> {
    let account = session.registered().await?;
    let services = session.services.clone();
    let endpoint = services.turn.get().ok_or(Refusal::NotFound)?;
    let now_s = now_ms() / 1000;
    let user = endpoint.user(&account, now_s / 86_400);
    let lifetime_s = endpoint.hours * 3600;
    let made = turn::credentials(&endpoint.secret, now_s + lifetime_s, &user).map_err(|_| Refusal::Internal)?;
    services.metrics.turn_credentials.inc();
    let urls = endpoint.addresses.iter().flat_map(|at| [format!("stun:{at}"), format!("turn:{at}?transport=udp")]);
    Ok(ResponseBody::Turn(TurnCredentials {
        urls: urls.collect(),
        username: made.username,
        password: made.password,
        lifetime_s,
        other_port: endpoint.other_port.map_or(0, u32::from),
    }))
}

pub async fn look_up(session: &mut Session, account: &[u8]) -> Result<ResponseBody, Rejected> {
    let services = &session.services;
    let account = key(account)?;
    let (record, _) = load::<Account>(&*services.store.records, Collection::Accounts, account).await?;
    let record = record.ok_or(Refusal::NotFound)?;
    if is_banned(services, account).await? {
        return Err(Refusal::NotFound.into());
    }
    Ok(ResponseBody::DeviceList(record.device_list))
}

/// What follows the entries of an account's chain that somebody knows; all of it if it is another chain.
pub async fn look_up_since(session: &mut Session, since: &ChainSince) -> Result<ResponseBody, Rejected> {
    let answer = look_up(session, &since.account).await?;
    let ResponseBody::DeviceList(bytes) = &answer else { return Ok(answer) };
    session.count_more(count_entries(bytes).unwrap_or(0) / CHAIN_ENTRIES_PER_REQUEST)?;
    let (bytes, since) = (bytes.clone(), since.clone());
    let end = session.services.workers.run(move || chains::end_after(&bytes, &since)).await.flatten();
    Ok(end.map_or(answer, ResponseBody::DeviceList))
}

pub async fn publish_key_packages(session: &mut Session, packages: KeyPackages) -> Result<ResponseBody, Rejected> {
    let owner = session.registered().await?;
    let bad = |p: &Bytes| p.is_empty() || p.len() > MAX_KEY_PACKAGE;
    if packages.one_time.len() > MAX_KEY_PACKAGES
        || packages.one_time.iter().any(bad)
        || packages.last_resort.len() > MAX_KEY_PACKAGE
    {
        return Err(Refusal::Malformed.into());
    }
    let (services, device) = (session.services.clone(), session.device);
    if !packages.last_resort.is_empty() {
        replace(&*services.store.records, Collection::LastResort, device, packages.last_resort).await?;
    }
    let id = StreamId::key_packages(device);
    let head = services.store.streams.head(id).await?;
    let stored = head.as_ref().map_or(0, |head| head.count);
    let room = MAX_KEY_PACKAGES.saturating_sub(usize::try_from(stored).unwrap_or(usize::MAX));
    let one_time: Vec<Bytes> = packages.one_time.into_iter().take(room).collect();
    if !one_time.is_empty() {
        let allowance = services.key_package_allowance(owner).await?;
        services.append(id, head.as_ref(), Some(owner), one_time.into(), allowance).await?;
    }
    let left = services.store.streams.head(id).await?.map_or(0, |head| head.count);
    Ok(ResponseBody::KeyPackagesLeft(u32::try_from(left).unwrap_or(u32::MAX)))
}

pub async fn claim_key_packages(session: &mut Session, devices: Devices) -> Result<ResponseBody, Rejected> {
    if devices.devices.is_empty() || devices.devices.len() > DEVICES_PER_CLAIM {
        return Err(Refusal::Malformed.into());
    }
    let services = session.services.clone();
    let is_member = session.registered().await.is_ok();
    let mut packages = Vec::with_capacity(devices.devices.len());
    for device in &devices.devices {
        services.rates.claims.check(&session.asker())?;
        packages.push(claim_key_package(&services, key(device)?, is_member).await?.unwrap_or_default());
    }
    Ok(ResponseBody::KeyPackages(ClaimedKeyPackages { packages }))
}

/// Takes a one-time key package of a device, or copies its last-resort one: when there is no other, when too many were claimed of late, and for
/// strangers when half of them are gone.
async fn claim_key_package(services: &Services, device: Key, is_member: bool) -> Result<Option<Bytes>, StoreError> {
    let id = StreamId::key_packages(device);
    let left = services.store.streams.head(id).await?.map_or(0, |head| head.count);
    let one_time = if is_member { left > 0 } else { left > MAX_KEY_PACKAGES as u64 / 2 };
    if one_time
        && services.rates.claimed.check_key(&device).is_ok()
        && let Some((entry, removed)) = services.store.streams.pop(id).await?
    {
        services.discount(removed).await?;
        return Ok(Some(entry.sealed));
    }
    Ok(services.store.records.get(Collection::LastResort, device).await?.map(|record| record.value))
}

pub async fn register_invite(session: &mut Session, invite: InviteRecord) -> Result<ResponseBody, Rejected> {
    let account = session.registered().await?;
    if invite.uses > MAX_INVITE_USES {
        return Err(Refusal::Malformed.into());
    }
    let expires_at = invite.expires_at.min(now_ms() / 1000 + INVITE_LIFE_S);
    let services = session.services.clone();
    let token = key(&invite.token_hash)?;
    if invite.uses == 0 {
        return revoke_invite(&services, token, account).await;
    }
    completed(async move { put_invite(&services, account, token, invite.uses, expires_at).await }).await
}

async fn put_invite(
    services: &Services,
    account: Key,
    token: Key,
    uses: u32,
    expires_at: u64,
) -> Result<ResponseBody, Rejected> {
    let records = &*services.store.records;
    let cost = if load::<Invite>(records, Collection::Invites, token).await?.0.is_none() { INVITE_COST } else { 0 };
    services.charge_record(account, cost, RECORDS_BYTES).await?;
    // One use delivers to each of the account's devices.
    let (record, _) = load::<Account>(records, Collection::Accounts, account).await?;
    let devices = record.map_or(1, |record| u32::try_from(record.devices.len()).unwrap_or(u32::MAX)).max(1);
    let put = update(records, Collection::Invites, token, |known: Option<Invite>| {
        let known = known.unwrap_or_else(|| Invite { account: account.to_vec(), ..Invite::default() });
        if known.account != account {
            return Err(Rejected::from(Refusal::Taken));
        }
        Ok(Invite { uses: uses.saturating_mul(devices), expires_at, ..known })
    });
    match put.await {
        Ok(_) => Ok(ResponseBody::Done(true)),
        Err(error) => {
            services.discount_record(account, cost).await?;
            Err(error)
        }
    }
}

async fn revoke_invite(services: &Services, token: Key, account: Key) -> Result<ResponseBody, Rejected> {
    let records = &*services.store.records;
    let (known, revision) = load::<Invite>(records, Collection::Invites, token).await?;
    match known {
        None => {}
        Some(known) if known.account != account => return Err(Refusal::Taken.into()),
        Some(_) => {
            records.delete(Collection::Invites, token, revision).await?;
            services.discount_record(account, INVITE_COST).await?;
        }
    }
    Ok(ResponseBody::Done(true))
}

pub async fn put_snapshot(session: &mut Session, snapshot: Snapshot) -> Result<ResponseBody, Rejected> {
    let account = session.registered().await?;
    if snapshot.sealed.len() > MAX_SNAPSHOT {
        return Err(Refusal::Malformed.into());
    }
    let (services, version) = (session.services.clone(), snapshot.version);
    let devices = completed(async move { replace_snapshot(&services, account, snapshot).await }).await?;
    session.services.new_snapshot(&devices, session.id, version);
    Ok(ResponseBody::Done(true))
}

/// Stores a snapshot in place of an older one. Gives the account's devices.
async fn replace_snapshot(services: &Services, account: Key, snapshot: Snapshot) -> Result<Vec<Key>, Rejected> {
    let records = &*services.store.records;
    let bytes = snapshot.sealed.len() as u64;
    let known = load::<Account>(records, Collection::Accounts, account).await?.0.ok_or(Refusal::NotRegistered)?;
    let more = bytes.saturating_sub(known.snapshot_bytes);
    services.charge_record(account, more, RECORDS_BYTES).await?;
    let put = update(records, Collection::Snapshots, account, |known: Option<store::Snapshot>| {
        let known = known.map_or(0, |known| known.version);
        let highest = known.saturating_add(SNAPSHOT_STEP).max(now_ms() / 1000);
        if !(known.saturating_add(1)..=highest).contains(&snapshot.version) {
            return Err(Rejected::from(Refusal::Stale));
        }
        Ok(store::Snapshot { version: snapshot.version, sealed: snapshot.sealed.clone() })
    });
    if let Err(error) = put.await {
        services.discount_record(account, more).await?;
        return Err(error);
    }
    update(records, Collection::Accounts, account, |known: Option<Account>| {
        let known = known.ok_or(Refusal::NotRegistered)?;
        Ok::<_, Rejected>(Account { snapshot_bytes: bytes, ..known })
    })
    .await?;
    services.discount_record(account, known.snapshot_bytes.saturating_sub(bytes)).await?;
    Ok(known.devices.iter().filter_map(|device| device.as_slice().try_into().ok()).collect())
}

/// A recovered account counts its snapshots from the start, whatever its earlier devices have counted to; the snapshot stays, to be read once more.
pub(super) async fn restart_snapshots(services: &Services, account: Key) -> Result<(), StoreError> {
    let records = &*services.store.records;
    if load::<store::Snapshot>(records, Collection::Snapshots, account).await?.0.is_none() {
        return Ok(());
    }
    update(records, Collection::Snapshots, account, |known: Option<store::Snapshot>| {
        Ok::<_, StoreError>(store::Snapshot { version: 0, ..known.unwrap_or_default() })
    })
    .await
    .map(|_| ())
}

pub async fn get_snapshot(session: &mut Session) -> Result<ResponseBody, Rejected> {
    let account = session.registered().await?;
    let records = &*session.services.store.records;
    let (known, _) = load::<store::Snapshot>(records, Collection::Snapshots, account).await?;
    let store::Snapshot { version, sealed } = known.unwrap_or_default();
    Ok(ResponseBody::Snapshot(Snapshot { version, sealed }))
}

pub async fn code_open(session: &mut Session) -> Result<ResponseBody, Rejected> {
    session.registered().await?;
    let services = session.services.clone();
    session.codes.retain(|place| services.codes.is_open(*place, now_ms()));
    if session.codes.len() >= CODES_PER_SESSION {
        return Err(Refusal::RateLimited.into());
    }
    let place = services.codes.open(session.id, session.origin, now_ms()).ok_or(Refusal::Full)?;
    session.codes.push(place);
    Ok(ResponseBody::CodePlace(place))
}

pub fn code_try(session: &mut Session, message: CodeMessage) -> Result<ResponseBody, Rejected> {
    if message.pake.len() > 64 || message.sealed.len() > 4096 {
        return Err(Refusal::Malformed.into());
    }
    if let Some(origin) = &session.origin {
        session.services.rates.guesses.check(origin)?;
    }
    session.code_tries += 1;
    if session.code_tries > CODE_TRIES_PER_SESSION {
        return Err(Refusal::RateLimited.into());
    }
    let codes = &session.services.codes;
    let found = if message.sealed.is_empty() {
        codes.attempt(message.place, session.id, now_ms())
    } else {
        codes.continued(message.place, session.id, now_ms())
    };
    let Some(attempt) = found else {
        if let Some(origin) = &session.origin {
            session.services.rates.guesses.check_n(origin, CLOSED_PLACE_COST)?;
        }
        return Err(Refusal::NotFound.into());
    };
    let same_network = attempt.is_near(session.origin);
    let forwarded = ResponseBody::Code(CodeMessage { attempt: attempt.number, same_network, ..message });
    if !session.services.store.fanout.send(attempt.owner, forwarded) {
        return Err(Refusal::NotFound.into());
    }
    Ok(ResponseBody::Done(true))
}

pub fn code_reply(session: &mut Session, message: CodeMessage) -> Result<ResponseBody, Rejected> {
    if message.pake.len() > 64 || message.sealed.len() > 4096 {
        return Err(Refusal::Malformed.into());
    }
    let guest = session.services.codes.guest(message.place, message.attempt, session.id).ok_or(Refusal::NotFound)?;
    session.services.store.fanout.send(guest, ResponseBody::Code(message));
    Ok(ResponseBody::Done(true))
}

/// Who has opened a code is gone: those who have tried it get an empty answer, as nobody else will answer them.
pub fn code_abandoned(services: &Services, place: u32, owner: store::SubscriberId) {
    for (attempt, guest) in (1..).zip(services.codes.close(place, owner)) {
        services.store.fanout.send(guest, ResponseBody::Code(CodeMessage { place, attempt, ..CodeMessage::default() }));
    }
}

pub fn code_close(session: &mut Session, place: u32) -> Result<ResponseBody, Rejected> {
    session.services.codes.close(place, session.id);
    session.codes.retain(|p| *p != place);
    Ok(ResponseBody::Done(true))
}
