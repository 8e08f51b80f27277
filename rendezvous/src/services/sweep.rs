//! What is done from time to time: entries and tokens that have expired are deleted, and what requests that were cut short have left behind is
//! put right.
//!
//! A request may be under way while this looks, so a claim is put right only if two sweeps in a row have found it in the same state. A sum is never the
//! same twice on a server that is in use: of it, the difference from what is stored is corrected, as far as two sweeps in a row have found it.

use std::collections::{HashMap, HashSet};

use prost::Message;

use super::{
    Services,
    directory::{claims, forget_device},
    log::quota::Age,
};
use crate::limits::{ACCOUNT_COST, INVITE_COST};
use crate::store::{
    Account, Budget, Claim, Collection, Invite, Key, Records, Revision, Store, StoreError, Token, load,
};

/// Streams or records looked at together.
const PAGE: usize = 1_000;
/// Accounts looked at together: a record may have some kilobytes.
const ACCOUNTS_PAGE: usize = 100;
/// Suspects that are remembered between two sweeps; others wait for a later one.
const MAX_SUSPECTS: usize = 100_000;

/// What looked wrong in the last sweep.
#[derive(Default)]
pub struct Sweep {
    /// Claims that do not agree with their account, by their revision.
    claims: Suspects<(Collection, Key), Revision>,
    /// How much sums are more than what is stored, or less, at least.
    sums: HashMap<Budget, i64>,
    /// Devices without an account that have last-resort key packages, by the revision of those.
    orphans: Suspects<Key, Revision>,
}

/// States that looked wrong, now and the last time.
struct Suspects<K, S> {
    before: HashMap<K, S>,
    now: HashMap<K, S>,
}

impl<K, S> Default for Suspects<K, S> {
    fn default() -> Self {
        Self { before: HashMap::new(), now: HashMap::new() }
    }
}

impl<K: Eq + std::hash::Hash, S: PartialEq> Suspects<K, S> {
    /// Notes what looks wrong; whether it looked so the last time.
    fn is_second_time(&mut self, key: K, state: S) -> bool {
        let second = self.before.get(&key) == Some(&state);
        if self.now.len() < MAX_SUSPECTS {
            self.now.insert(key, state);
        }
        second
    }

    fn end(&mut self) {
        self.before = std::mem::take(&mut self.now);
    }
}

impl Sweep {
    /// Deletes what has expired, then corrects quotas; gives the number of entries deleted. `now` in seconds since 1970.
    pub async fn expire(&mut self, services: &Services, now: u64) -> Result<u64, StoreError> {
        let (mut entries, mut after) = (0, None);
        loop {
            let expired = services.store.streams.expire(after, now).await?;
            for removed in expired.removed {
                entries += removed.entries;
                services.discount(removed).await?;
            }
            after = expired.next;
            if after.is_none() {
                break;
            }
        }
        let records = &*services.store.records;
        let spent = |i: &Invite| i.expires_at <= now || is_spent(i.uses, &i.pending);
        for invite in delete_spent::<Invite>(records, Collection::Invites, spent).await? {
            if let Ok(account) = Key::try_from(invite.account) {
                services.discount_record(account, INVITE_COST).await?;
            }
        }
        delete_spent::<Token>(records, Collection::Tokens, |t| t.expires_at <= now || is_spent(t.uses, &t.pending))
            .await?;
        let differences = differences(&services.store).await?;
        for (budget, now) in &differences {
            let correction = stands(self.sums.get(budget).copied().unwrap_or(0), *now);
            if correction != 0 {
                tracing::debug!(?budget, correction, "corrected what is stored");
                services.store.counters.add(*budget, -correction).await?;
            }
        }
        self.sums = differences;
        Ok(entries)
    }

    /// Counts what is stored while nobody is connected: after a start, sums are of the streams alone.
    pub async fn count(store: &Store) -> Result<(), StoreError> {
        for (budget, difference) in differences(store).await? {
            store.counters.add(budget, -difference).await?;
        }
        Ok(())
    }

    /// Confirms claims that count and deletes those that do not. Looks at all of the directory: to be called less often.
    pub async fn repair_claims(&mut self, services: &Services) -> Result<(), StoreError> {
        let records = &*services.store.records;
        for collection in [Collection::Devices, Collection::Names] {
            let mut after = None;
            loop {
                let page = records.scan(collection, after, PAGE).await?;
                let Some((last, _)) = page.last() else { break };
                after = Some(*last);
                for (key, record) in page {
                    let claim = Claim::decode(record.value).map_err(|e| StoreError::Failed(e.to_string()))?;
                    let counts = counts(records, collection, &key, &claim).await?;
                    if (claim.confirmed && counts) || !self.claims.is_second_time((collection, key), record.revision) {
                        continue;
                    }
                    tracing::debug!(?collection, counts, "put a claim right");
                    let repaired = if counts {
                        let confirmed = Claim { confirmed: true, ..claim }.encode_to_vec();
                        records.put(collection, key, record.revision, confirmed.into()).await.map(|_| ())
                    } else {
                        records.delete(collection, key, record.revision).await
                    };
                    match repaired {
                        Ok(()) | Err(StoreError::Conflict) => {}
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        self.claims.end();
        self.delete_orphans(services).await
    }

    /// Deletes last-resort key packages of devices that belong to no account.
    async fn delete_orphans(&mut self, services: &Services) -> Result<(), StoreError> {
        let (records, mut after) = (&*services.store.records, None);
        loop {
            let page = records.scan(Collection::LastResort, after, ACCOUNTS_PAGE).await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(*last);
            for (device, record) in page {
                let belongs = claims::resolve(records, Collection::Devices, device).await?.is_some();
                if !belongs && self.orphans.is_second_time(device, record.revision) {
                    forget_device(services, device).await?;
                }
            }
        }
        self.orphans.end();
        Ok(())
    }
}

/// How much each sum differs from what is stored, at least: requests go on while this counts. Positive if the sum is too high.
async fn differences(store: &Store) -> Result<HashMap<Budget, i64>, StoreError> {
    let mut before = HashMap::new();
    for budget in store.counters.keys().await? {
        before.insert(budget, store.counters.get(budget).await?);
    }
    let mut counted: HashMap<Budget, u64> = before.keys().map(|budget| (*budget, 0)).collect();
    let young = count_records(&*store.records, &mut counted).await?;
    let mut after = None;
    loop {
        let page = store.streams.scan(after, PAGE).await?;
        let Some((last, _)) = page.last() else { break };
        after = Some(*last);
        for (id, head) in page {
            let is_young = head.owner().is_some_and(|owner| young.contains(&owner));
            let of_young = is_young.then_some((Budget::Young, head.cost()));
            for (budget, cost) in head.budgets(&id).into_iter().chain(of_young) {
                *counted.entry(budget).or_default() += cost;
            }
        }
    }
    let mut differences = HashMap::new();
    for (budget, counted) in counted {
        let (before, after) = (before.get(&budget).copied().unwrap_or(0), store.counters.get(budget).await?);
        // What was appended meanwhile is in the later sum, and in what was counted or not.
        let (low, high) = (before.min(after), before.max(after));
        let difference = if low > counted { signed(low - counted) } else { -signed(counted.saturating_sub(high)) };
        if difference != 0 && differences.len() < MAX_SUSPECTS {
            differences.insert(budget, difference);
        }
    }
    Ok(differences)
}

/// What two differences have in common.
fn stands(before: i64, now: i64) -> i64 {
    if before.signum() == now.signum() { now.signum() * before.abs().min(now.abs()) } else { 0 }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn is_spent(uses: u32, pending: &[Vec<u8>]) -> bool {
    uses == 0 && pending.is_empty()
}

async fn counts(records: &dyn Records, collection: Collection, key: &Key, claim: &Claim) -> Result<bool, StoreError> {
    let Ok(holder) = Key::try_from(claim.account.as_slice()) else {
        return Ok(false);
    };
    let (account, _) = load::<Account>(records, Collection::Accounts, holder).await?;
    Ok(account.is_some_and(|account| claims::is_named(&account, collection, key)))
}

/// What records take: of each account its own, its snapshot and its invites. Gives the accounts that are young.
async fn count_records(records: &dyn Records, counted: &mut HashMap<Budget, u64>) -> Result<HashSet<Key>, StoreError> {
    let (mut young, mut after) = (HashSet::new(), None);
    loop {
        let page = records.scan(Collection::Accounts, after, ACCOUNTS_PAGE).await?;
        let Some((last, _)) = page.last() else { break };
        after = Some(*last);
        for (key, record) in page {
            let size = record.value.len() as u64;
            let account = Account::decode(record.value).map_err(|e| StoreError::Failed(e.to_string()))?;
            let size = size + ACCOUNT_COST + account.snapshot_bytes;
            *counted.entry(Budget::All).or_default() += size;
            if Age::since(account.since_day).is_young() {
                young.insert(key);
                *counted.entry(Budget::Young).or_default() += size;
            }
            *counted.entry(Budget::Records(key)).or_default() += account.snapshot_bytes;
        }
    }
    let mut after = None;
    loop {
        let page = records.scan(Collection::Invites, after, PAGE).await?;
        let Some((last, _)) = page.last() else { return Ok(young) };
        after = Some(*last);
        for (_, record) in page {
            let invite = Invite::decode(record.value).map_err(|e| StoreError::Failed(e.to_string()))?;
            *counted.entry(Budget::All).or_default() += INVITE_COST;
            if let Ok(account) = Key::try_from(invite.account) {
                *counted.entry(Budget::Records(account)).or_default() += INVITE_COST;
                if young.contains(&account) {
                    *counted.entry(Budget::Young).or_default() += INVITE_COST;
                }
            }
        }
    }
}

/// Deletes the records of a collection that are of no use any more, and gives them.
async fn delete_spent<T: Message + Default>(
    records: &dyn Records,
    collection: Collection,
    is_spent: impl Fn(&T) -> bool,
) -> Result<Vec<T>, StoreError> {
    let (mut spent, mut after) = (Vec::new(), None);
    loop {
        let page = records.scan(collection, after, PAGE).await?;
        let Some((last, _)) = page.last() else { return Ok(spent) };
        after = Some(*last);
        for (key, record) in page {
            let value = T::decode(record.value).map_err(|e| StoreError::Failed(e.to_string()))?;
            if is_spent(&value) {
                match records.delete(collection, key, record.revision).await {
                    Ok(()) => spent.push(value),
                    Err(StoreError::Conflict) => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }
}
