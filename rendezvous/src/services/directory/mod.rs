//! The directory: device lists, user names, key packages, invites, snapshots, short codes.

mod codes;

use bytes::Bytes;
use starling_keys::{DeviceList, Verified};
use starling_wire::{
    Puzzle, Solution,
    limits::{MAX_INVITE_USES, MAX_KEY_PACKAGE, MAX_KEY_PACKAGES, MAX_SNAPSHOT, is_username},
    rendezvous::{
        Answer, ClaimedKeyPackages, CodeMessage, Devices, InviteRecord, KeyPackages, Publish, Refusal, Snapshot,
        TurnCredentials,
    },
};

pub use codes::Codes;

use super::{
    relay::turn,
    session::{Rejected, Session, key},
};
use crate::{
    clock::now_ms,
    config::RegistrationMode,
    limits::{CODE_TRIES_PER_SESSION, DEVICES_PER_CLAIM, INVITE_LIFE_S, NAME_UNUSED_DAYS},
    store::{Key, Kind},
};

/// Stores a device list. A new account has to pay for it, or hold a token of the operator.
pub async fn publish(session: &mut Session, publish: Publish) -> Result<Answer, Rejected> {
    let services = session.services.clone();
    let list = Verified::<DeviceList>::from_bytes(&publish.device_list).map_err(|_| Refusal::Denied)?;
    let account = *list.account.as_bytes();
    let devices: Vec<Key> = list.devices.iter().map(|d| *d.certificate.device().as_bytes()).collect();
    // Only a device of the account itself publishes its list.
    if !devices.contains(&session.device) {
        return Err(Refusal::Denied.into());
    }
    // Devices that the account has given up lose their rights.
    let mut gone: Vec<Key> = Vec::new();
    match services.store.account(account).await? {
        Some(record) if record.banned => return Err(Refusal::Banned.into()),
        Some(record) => {
            let known = Verified::<DeviceList>::from_bytes(&record.device_list).ok();
            let before = known.iter().flat_map(|l| &l.devices).map(|d| *d.certificate.device().as_bytes());
            gone.extend(before.filter(|d| !devices.contains(d)));
        }
        None => {
            let policy = services.policy();
            match policy.registration.mode {
                RegistrationMode::Closed => return Err(Refusal::RegistrationClosed.into()),
                RegistrationMode::Invite => {
                    let token = *blake3::hash(publish.token.as_bytes()).as_bytes();
                    services.store.use_registration(token, now_ms() / 1000).await?;
                }
                RegistrationMode::Open => {
                    let puzzle = Puzzle::new(
                        "register",
                        &services.server_key,
                        &session.nonce,
                        &account,
                        policy.registration.work_bits,
                    );
                    if !publish.solution.is_some_and(|s| puzzle.check(Solution(s))) {
                        return Err(Refusal::Denied.into());
                    }
                }
            }
            services.metrics.registrations.inc();
        }
    }
    let concerned = [&devices[..], &gone].concat();
    services.store.put_devices(account, list.version, publish.device_list.clone(), devices, gone).await?;
    services.presence.new_devices(&concerned, session.id, &publish.device_list);
    services.store.seen(account, now_ms() / 86_400_000).await?;
    session.account = Some(account);
    Ok(Answer::Done(true))
}

/// Names are kept only as keyed hashes: the data directory does not tell them.
fn name_hash(session: &Session, name: &str) -> Result<Key, Rejected> {
    if !is_username(name) {
        return Err(Refusal::Malformed.into());
    }
    Ok(*blake3::keyed_hash(&session.services.name_key, name.as_bytes()).as_bytes())
}

pub async fn claim_name(session: &mut Session, name: &str) -> Result<Answer, Rejected> {
    let account = session.registered().await?;
    let name = name_hash(session, name)?;
    let unused_before = (now_ms() / 86_400_000).saturating_sub(NAME_UNUSED_DAYS);
    session.services.store.claim_name(name, account, unused_before).await?;
    Ok(Answer::Done(true))
}

/// Servers for calls, for accounts that are known here. The name is the account's of the day: quotas are counted by it, and who relays does
/// not learn whose it is.
pub async fn turn_credentials(session: &mut Session) -> Result<Answer, Rejected> {
    let account = session.registered().await?;
    let services = session.services.clone();
    let endpoint = services.turn.get().ok_or(Refusal::NotFound)?;
    let now_s = now_ms() / 1000;
    let day = (now_s / 86_400).to_be_bytes();
    let name = blake3::keyed_hash(&endpoint.secret, &[&account[..], &day].concat());
    let user = data_encoding::HEXLOWER.encode(&name.as_bytes()[..8]);
    let lifetime_s = endpoint.hours * 3600;
    let made = turn::credentials(&endpoint.secret, now_s + lifetime_s, &user).map_err(|_| Refusal::Internal)?;
    services.metrics.turn_credentials.inc();
    let urls = vec![format!("stun:{}", endpoint.address), format!("turn:{}?transport=udp", endpoint.address)];
    Ok(Answer::Turn(TurnCredentials { urls, username: made.username, password: made.password, lifetime_s }))
}

pub async fn look_up(session: &mut Session, account: &[u8]) -> Result<Answer, Rejected> {
    let record = session.services.store.account(key(account)?).await?;
    let record = record.filter(|r| !r.banned).ok_or(Refusal::NotFound)?;
    Ok(Answer::DeviceList(record.device_list))
}

pub async fn look_up_name(session: &mut Session, name: &str) -> Result<Answer, Rejected> {
    let name = name_hash(session, name)?;
    let account = session.services.store.name(name).await?.ok_or(Refusal::NotFound)?;
    look_up(session, &account).await
}

pub async fn publish_key_packages(session: &mut Session, packages: KeyPackages) -> Result<Answer, Rejected> {
    let owner = session.registered().await?;
    let bad = |p: &Bytes| p.is_empty() || p.len() > MAX_KEY_PACKAGE;
    if packages.one_time.len() > MAX_KEY_PACKAGES
        || packages.one_time.iter().any(bad)
        || packages.last_resort.len() > MAX_KEY_PACKAGE
    {
        return Err(Refusal::Malformed.into());
    }
    let (store, device) = (&session.services.store, session.device);
    if !packages.last_resort.is_empty() {
        store.put_last_resort(device, packages.last_resort).await?;
    }
    let stored = store.count(Kind::KeyPackages, device).await? as usize;
    let room = MAX_KEY_PACKAGES.saturating_sub(stored);
    let one_time: Vec<Bytes> = packages.one_time.into_iter().take(room).collect();
    if !one_time.is_empty() {
        let bounds = session.services.inbox_bounds();
        store.append(Kind::KeyPackages, device, Some(owner), one_time, bounds).await?;
    }
    let left = store.count(Kind::KeyPackages, device).await?;
    Ok(Answer::KeyPackagesLeft(left as u32))
}

pub async fn claim_key_packages(session: &mut Session, devices: Devices) -> Result<Answer, Rejected> {
    if devices.devices.is_empty() || devices.devices.len() > DEVICES_PER_CLAIM {
        return Err(Refusal::Malformed.into());
    }
    let mut packages = Vec::with_capacity(devices.devices.len());
    for device in &devices.devices {
        let package = session.services.store.claim_key_package(key(device)?).await?;
        packages.push(package.unwrap_or_default());
    }
    Ok(Answer::KeyPackages(ClaimedKeyPackages { packages }))
}

pub async fn register_invite(session: &mut Session, invite: InviteRecord) -> Result<Answer, Rejected> {
    let account = session.registered().await?;
    if invite.uses > MAX_INVITE_USES {
        return Err(Refusal::Malformed.into());
    }
    let expires_at = invite.expires_at.min(now_ms() / 1000 + INVITE_LIFE_S);
    // One use delivers to each of the account's devices.
    let devices = session
        .services
        .store
        .account(account)
        .await?
        .map_or(1, |a| Verified::<DeviceList>::from_bytes(&a.device_list).map_or(1, |l| l.devices.len() as u32));
    session
        .services
        .store
        .put_invite(key(&invite.token_hash)?, account, invite.uses.saturating_mul(devices.max(1)), expires_at)
        .await?;
    Ok(Answer::Done(true))
}

pub async fn put_snapshot(session: &mut Session, snapshot: Snapshot) -> Result<Answer, Rejected> {
    let account = session.registered().await?;
    if snapshot.sealed.len() > MAX_SNAPSHOT {
        return Err(Refusal::Malformed.into());
    }
    session.services.store.put_snapshot(account, snapshot.version, snapshot.sealed).await?;
    Ok(Answer::Done(true))
}

pub async fn get_snapshot(session: &mut Session) -> Result<Answer, Rejected> {
    let account = session.registered().await?;
    let (version, sealed) = session.services.store.snapshot(account).await?.unwrap_or_default();
    Ok(Answer::Snapshot(Snapshot { version, sealed }))
}

pub fn code_open(session: &mut Session) -> Result<Answer, Rejected> {
    let services = session.services.clone();
    session.codes.retain(|place| services.codes.is_open(*place, now_ms()));
    if session.codes.len() >= crate::limits::CODES_PER_SESSION {
        return Err(Refusal::RateLimited.into());
    }
    let place = services.codes.open(session.id, now_ms()).ok_or(Refusal::Full)?;
    session.codes.push(place);
    Ok(Answer::CodePlace(place))
}

pub fn code_try(session: &mut Session, message: CodeMessage) -> Result<Answer, Rejected> {
    if message.pake.len() > 64 || message.sealed.len() > 4096 {
        return Err(Refusal::Malformed.into());
    }
    session.code_tries += 1;
    if session.code_tries > CODE_TRIES_PER_SESSION {
        return Err(Refusal::RateLimited.into());
    }
    let (owner, attempt) =
        session.services.codes.attempt(message.place, session.id, now_ms()).ok_or(Refusal::NotFound)?;
    let forwarded = Answer::Code(CodeMessage { attempt, ..message });
    if !session.services.presence.tell(owner, forwarded) {
        return Err(Refusal::NotFound.into());
    }
    Ok(Answer::Done(true))
}

pub fn code_reply(session: &mut Session, message: CodeMessage) -> Result<Answer, Rejected> {
    if message.pake.len() > 64 || message.sealed.len() > 4096 {
        return Err(Refusal::Malformed.into());
    }
    let guest = session.services.codes.guest(message.place, message.attempt, session.id).ok_or(Refusal::NotFound)?;
    session.services.presence.tell(guest, Answer::Code(message));
    Ok(Answer::Done(true))
}

pub fn code_close(session: &mut Session, place: u32) -> Result<Answer, Rejected> {
    session.services.codes.close(place, session.id);
    session.codes.retain(|p| *p != place);
    Ok(Answer::Done(true))
}
