//! Device chains of accounts: stored on top of the head that is stored, and nothing else but what counts before it for everybody.

use bytes::Bytes;
use starling_keys::{
    DeviceId,
    chain::{ChainError, DeviceChain, Head, Held, Relation, Summary, UnverifiedChain, count_entries},
};
use starling_wire::rendezvous::{ChainSince, Publish, Refusal, ResponseBody};

use super::{claims, forget_device, is_banned, new_account, pay_registration, restart_snapshots, today, tokens};
use crate::{
    clock::now_ms,
    limits::CHAIN_ENTRIES_PER_REQUEST,
    services::session::{Rejected, Session},
    store::{Account, Collection, HeldMark, Key, Records, load, update},
};

/// The end of a stored chain, for somebody who knows its beginning; `None` if that is another chain's, or there is no chain.
pub fn end_after(stored: &[u8], since: &ChainSince) -> Option<Bytes> {
    let known = Head(since.head.as_ref().try_into().ok()?);
    let chain = DeviceChain::from_stored(stored).ok().filter(|chain| !chain.is_empty())?;
    (since.length > 0 && chain.head_at(since.length) == Some(known)).then(|| chain.encode_from(since.length).into())
}

/// Stores a chain, or the end of one. A new account has to pay for it, or hold a token of the operator.
///
/// Anybody can offer a chain of hundreds of entries, so what each step costs is counted or paid for before it: reading by its entries, then the check
/// of signatures by those that are new, and for new accounts also by work or a token.
pub async fn publish(session: &mut Session, publish: Publish) -> Result<ResponseBody, Rejected> {
    let summary = Summary::of(&publish.device_list).map_err(|_| Refusal::Denied)?;
    let entries = count_entries(&publish.device_list).map_err(|_| Refusal::Denied)?;
    session.count_more(entries / CHAIN_ENTRIES_PER_REQUEST)?;
    let services = session.services.clone();
    let records = &*services.store.records;
    let account = *summary.account.as_bytes();
    if is_banned(&services, account).await? {
        return Err(Refusal::Banned.into());
    }
    let (known, _) = load::<Account>(records, Collection::Accounts, account).await?;
    let (device, stored, offered) = (session.device, known.clone(), publish.device_list.clone());
    let now_s = now_ms() / 1000;
    let read = services.workers.run(move || Offer::read(device, stored.as_ref(), &offered, now_s)).await;
    let offer = read.ok_or(Refusal::Internal)??;
    session.count_more(offer.unverified.unverified())?;
    let token = if known.is_none() { pay_registration(session, &publish, &account).await? } else { None };
    let verified = services.workers.run(move || offer.verify()).await;
    let change = verified.ok_or(Refusal::Internal)??;

    // The order is that of `claims`: a request that is cut short anywhere is repeated from the start.
    let mut reserved = Vec::new();
    for device in &change.devices {
        let of = Collection::Devices;
        if let Some(revision) = claims::reserve(records, of, *device, account, known.as_ref(), |_| false).await? {
            reserved.push((*device, revision));
        }
    }
    let gone = store(records, account, known.as_ref(), &change).await?;
    for (device, revision) in reserved {
        claims::confirm(records, Collection::Devices, device, account, revision).await?;
    }
    for device in &gone {
        claims::release(records, Collection::Devices, *device, account).await?;
    }
    // One whose entry lost against another of the same place was not removed: it is about to come back, and what waits for it waits on. After a
    // recovery nobody comes back, also whom the new chain does not know.
    let is_removed = |device: &Key| {
        change.recovers || DeviceId::from_bytes(device).is_ok_and(|device| change.chain.has_removed(&device))
    };
    let removed: Vec<Key> = gone.iter().copied().filter(is_removed).collect();
    for device in &removed {
        forget_device(&services, *device).await?;
    }
    if change.recovers {
        restart_snapshots(&services, account).await?;
    }
    if let Some(token) = token {
        tokens::settle_token(records, token, &account).await?;
    }
    if known.is_none() {
        services.metrics.registrations.inc();
        tracing::debug!("an account has registered");
    }
    if change.is_news {
        let bytes = Bytes::copy_from_slice(change.chain.as_bytes());
        services.new_devices(&[&change.devices[..], &gone].concat(), session.id, &bytes);
        // They learn of it, and come back as the strangers that they are now.
        services.end_sessions(removed);
    }
    session.account = Some(account);
    Ok(ResponseBody::Done(true))
}

/// A chain that takes the place of the stored one, and what goes with it.
struct Change {
    chain: DeviceChain,
    /// Its entries up to here were stored.
    common: u32,
    /// Its devices that have shown that they belong to the account.
    devices: Vec<Key>,
    /// There are entries that were not stored.
    is_news: bool,
    /// Among those, one that recovers the account.
    recovers: bool,
}

/// What a device offers, read and compared with what is stored; its signatures are not checked yet.
struct Offer {
    unverified: UnverifiedChain,
    change: Change,
}

impl Offer {
    /// Reads what a device of the account offers, and checks that it would count before what is stored.
    fn read(device: Key, stored: Option<&Account>, offered: &[u8], now_s: u64) -> Result<Self, Rejected> {
        let known = stored.and_then(|stored| DeviceChain::from_stored(&stored.device_list).ok());
        let unverified = UnverifiedChain::read(offered, known.as_ref()).map_err(refusal)?;
        let chain = unverified.claimed().clone();
        // Only a device of the account itself publishes its chain.
        if chain.devices.iter().all(|d| *d.id.as_bytes() != device) {
            return Err(Refusal::Denied.into());
        }
        let change = Change::of(device, stored, known, chain, now_s)?;
        Ok(Self { unverified, change })
    }

    /// The change, if all signatures are right.
    fn verify(self) -> Result<Change, Rejected> {
        self.unverified.verify().map_err(refusal)?;
        Ok(self.change)
    }
}

fn refusal(error: ChainError) -> Refusal {
    if error == ChainError::Gap { Refusal::Stale } else { Refusal::Denied }
}

impl Change {
    /// What a chain changes, if it counts before what is stored.
    fn of(
        device: Key,
        stored: Option<&Account>,
        known: Option<DeviceChain>,
        mut chain: DeviceChain,
        now_s: u64,
    ) -> Result<Self, Rejected> {
        let (mut common, mut is_news) = (0, true);
        if let (Some(known), Some(stored)) = (known.filter(|known| !known.is_empty()), stored) {
            let relation = known.relation(&chain);
            let age = Held::from_marks(stored.held.iter().map(|m| (m.length, m.since))).age(now_s);
            let counts = known.reconcile(&chain, age).map_err(|_| Refusal::Stale)?;
            if counts.head() != chain.head() {
                return Err(Refusal::Stale.into());
            }
            common = known.kept_in(&chain);
            is_news = relation != Relation::Same;
            chain = counts;
        }
        // Devices that were adopted from version 0.1 have not signed that they belong to the account: they show it by being here.
        let was_here = |id: &Key| stored.is_some_and(|stored| stored.devices.iter().any(|known| known == id));
        let shown = chain.state().devices().iter().filter(|d| {
            let id = d.id.as_bytes();
            d.proven || *id == device || was_here(id)
        });
        let devices = shown.map(|d| *d.id.as_bytes()).collect();
        let recovers = chain.recovered_since(common);
        Ok(Self { chain, common, devices, is_news, recovers })
    }
}

/// Compares and swaps: stores a chain if what is stored is still what it was checked against. Gives the devices that the account has given up.
async fn store(
    records: &dyn Records,
    account: Key,
    checked: Option<&Account>,
    change: &Change,
) -> Result<Vec<Key>, Rejected> {
    let mut gone = Vec::new();
    update(records, Collection::Accounts, account, |known: Option<Account>| {
        if known.as_ref().map(|known| &known.device_list) != checked.map(|checked| &checked.device_list) {
            return Err(Rejected::from(Refusal::Stale));
        }
        let known = known.unwrap_or_else(new_account);
        let before = known.devices.iter().filter_map(|device| Key::try_from(device.as_slice()).ok());
        gone = before.filter(|device| !change.devices.contains(device)).collect();
        let mut held = Held::from_marks(known.held.iter().map(|m| (m.length, m.since)));
        held.note(change.common, change.chain.len(), now_ms() / 1000);
        Ok(Account {
            device_list: Bytes::copy_from_slice(change.chain.as_bytes()),
            version: u64::from(change.chain.len()),
            devices: change.devices.iter().map(|device| device.to_vec()).collect(),
            seen_day: known.seen_day.max(today()),
            held: held.marks().iter().map(|(length, since)| HeldMark { length: *length, since: *since }).collect(),
            ..known
        })
    })
    .await?;
    Ok(gone)
}
