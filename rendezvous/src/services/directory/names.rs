//! User names. Clients send what a slow hash makes of a name for this server, and what is kept is a keyed hash of that: the server never sees the name,
//! and neither it nor who has its disk finds out one without guessing it. Which names there may be is for clients to say.
//!
//! Programs before this sent the name. Such a one is turned into its key at once. What was stored then is found by the name until its account claims
//! it again, which clients do whenever they come.

use starling_keys::username_key;
use starling_wire::{
    limits::is_username,
    rendezvous::{Refusal, ResponseBody},
};

use super::{claims, look_up, today};
use crate::{
    limits::NAME_UNUSED_DAYS,
    services::{
        Services, rates,
        session::{Rejected, Session, key},
    },
    store::{Account, Collection, Key, load, update},
};

/// Where a name is kept.
#[derive(Clone, Copy)]
struct Places {
    now: Key,
    /// Where an earlier version kept it, if the name is known.
    before: Option<Key>,
}

impl Places {
    fn of_key(services: &Services, name: &[u8]) -> Result<Self, Rejected> {
        let place = blake3::derive_key("starling 2026 rendezvous user name keys v1", &services.name_key);
        Ok(Self { now: *blake3::keyed_hash(&place, &key(name)?).as_bytes(), before: None })
    }

    /// Takes some milliseconds of a processor.
    async fn of_name(services: &Services, name: &str) -> Result<Self, Rejected> {
        if !is_username(name) {
            return Err(Refusal::Malformed.into());
        }
        let before = *blake3::keyed_hash(&services.name_key, name.as_bytes()).as_bytes();
        let (server, name) = (services.server_key, name.to_owned());
        let made = services.workers.run(move || username_key(&server, &name)).await.ok_or(Refusal::Internal)?;
        Ok(Self { before: Some(before), ..Self::of_key(services, &made)? })
    }
}

/// As [`claim_name_key`], for the name itself.
pub async fn claim_name(session: &mut Session, name: &str) -> Result<ResponseBody, Rejected> {
    let account = session.registered().await?;
    session.services.rates.look_ups.check(&session.asker())?;
    let places = Places::of_name(&session.services, name).await?;
    claim(session, account, places).await
}

/// Takes a name, giving up the one that the account had; a name whose account was not here for long is free.
pub async fn claim_name_key(session: &mut Session, name: &[u8]) -> Result<ResponseBody, Rejected> {
    let account = session.registered().await?;
    let places = Places::of_key(&session.services, name)?;
    claim(session, account, places).await
}

async fn claim(session: &Session, account: Key, places: Places) -> Result<ResponseBody, Rejected> {
    let records = &*session.services.store.records;
    let name = places.now;
    let unused_before = today().saturating_sub(NAME_UNUSED_DAYS);
    let is_free = |holder: &Account| holder.seen_day < unused_before;
    let (known, _) = load::<Account>(records, Collection::Accounts, account).await?;
    // Clients claim the one that they have again and again.
    let has = |place: Key| known.as_ref().is_some_and(|known| known.name == place);
    if !has(name) && !places.before.is_some_and(has) {
        session.services.rates.names_of_account.check_key(&account).map_err(rates::wait)?;
        if let Some(origin) = &session.origin {
            session.services.rates.names.check(origin)?;
        }
    }
    if let Some(before) = places.before
        && let Some((holder, record)) = claims::resolve(records, Collection::Names, before).await?
        && holder != account
        && !is_free(&record)
    {
        return Err(Refusal::Taken.into());
    }
    let reserved = claims::reserve(records, Collection::Names, name, account, known.as_ref(), is_free).await?;
    let Some(reserved) = reserved else {
        return Ok(ResponseBody::Done(true));
    };
    let mut old = Vec::new();
    update(records, Collection::Accounts, account, |known: Option<Account>| {
        let mut known = known.ok_or(Refusal::NotRegistered)?;
        old = std::mem::replace(&mut known.name, name.to_vec());
        Ok::<_, Rejected>(known)
    })
    .await?;
    claims::confirm(records, Collection::Names, name, account, reserved).await?;
    if let Ok(old) = Key::try_from(old)
        && old != name
    {
        claims::release(records, Collection::Names, old, account).await?;
    }
    Ok(ResponseBody::Done(true))
}

/// As [`look_up_name_key`], for the name itself.
pub async fn look_up_name(session: &mut Session, name: &str) -> Result<ResponseBody, Rejected> {
    session.services.rates.look_ups.check(&session.asker())?;
    let places = Places::of_name(&session.services, name).await?;
    find(session, places).await
}

/// The device chain of the account with a name.
pub async fn look_up_name_key(session: &mut Session, name: &[u8]) -> Result<ResponseBody, Rejected> {
    let places = Places::of_key(&session.services, name)?;
    session.services.rates.look_ups.check(&session.asker())?;
    find(session, places).await
}

async fn find(session: &mut Session, places: Places) -> Result<ResponseBody, Rejected> {
    let records = session.services.store.records.clone();
    let mut found = claims::resolve(&*records, Collection::Names, places.now).await?;
    if let (None, Some(before)) = (&found, places.before) {
        found = claims::resolve(&*records, Collection::Names, before).await?;
    }
    let (account, _) = found.ok_or(Refusal::NotFound)?;
    look_up(session, &account).await
}
