//! What is done from time to time: entries and tokens that have expired are deleted, and what requests that were cut short have left behind is
//! put right.
//!
//! A request may be under way while this looks, so something is put right only if two sweeps in a row have found it in the same state.

use std::collections::HashMap;

use prost::Message;

use super::{Services, directory::claims};
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
    /// Sums that are not those of the streams: both of them.
    sums: Suspects<Budget, (u64, u64)>,
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
        delete_spent::<Invite>(records, Collection::Invites, |i| i.expires_at <= now || is_spent(i.uses, &i.pending))
            .await?;
        delete_spent::<Token>(records, Collection::Tokens, |t| t.expires_at <= now || is_spent(t.uses, &t.pending))
            .await?;
        self.correct_quotas(&services.store).await?;
        Ok(entries)
    }

    /// Corrects the sums of what accounts store.
    async fn correct_quotas(&mut self, store: &Store) -> Result<(), StoreError> {
        let mut counted: HashMap<Budget, u64> = store.counters.keys().await?.into_iter().map(|key| (key, 0)).collect();
        let mut after = None;
        loop {
            let page = store.streams.scan(after, PAGE).await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(*last);
            for (id, head) in page {
                for budget in Budget::of_stream(id.kind, head.root(&id), head.owner()) {
                    *counted.entry(budget).or_default() += head.cost();
                }
            }
        }
        count_records(&*store.records, &mut counted).await?;
        for (budget, counted) in counted {
            let sum = store.counters.get(budget).await?;
            if sum != counted && self.sums.is_second_time(budget, (sum, counted)) {
                tracing::debug!(sum, counted, "corrected what is stored");
                store.counters.correct(budget, sum, counted).await?;
            }
        }
        self.sums.end();
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
        Ok(())
    }
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

/// What records take: of each account its own, its snapshot and its invites.
async fn count_records(records: &dyn Records, counted: &mut HashMap<Budget, u64>) -> Result<(), StoreError> {
    let mut after = None;
    loop {
        let page = records.scan(Collection::Accounts, after, ACCOUNTS_PAGE).await?;
        let Some((last, _)) = page.last() else { break };
        after = Some(*last);
        for (key, record) in page {
            let size = record.value.len() as u64;
            let account = Account::decode(record.value).map_err(|e| StoreError::Failed(e.to_string()))?;
            *counted.entry(Budget::All).or_default() += size + ACCOUNT_COST + account.snapshot_bytes;
            *counted.entry(Budget::Records(key)).or_default() += account.snapshot_bytes;
        }
    }
    let mut after = None;
    loop {
        let page = records.scan(Collection::Invites, after, PAGE).await?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        after = Some(*last);
        for (_, record) in page {
            let invite = Invite::decode(record.value).map_err(|e| StoreError::Failed(e.to_string()))?;
            *counted.entry(Budget::All).or_default() += INVITE_COST;
            if let Ok(account) = Key::try_from(invite.account) {
                *counted.entry(Budget::Records(account)).or_default() += INVITE_COST;
            }
        }
    }
}

/// Deletes the records of a collection that are of no use any more.
async fn delete_spent<T: Message + Default>(
    records: &dyn Records,
    collection: Collection,
    is_spent: impl Fn(&T) -> bool,
) -> Result<(), StoreError> {
    let mut after = None;
    loop {
        let page = records.scan(collection, after, PAGE).await?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        after = Some(*last);
        for (key, record) in page {
            let value = T::decode(record.value).map_err(|e| StoreError::Failed(e.to_string()))?;
            if is_spent(&value) {
                match records.delete(collection, key, record.revision).await {
                    Ok(()) | Err(StoreError::Conflict) => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }
}
