//! Claims: which account a device or a user name belongs to.
//!
//! Two records have to agree, and they are written one after the other: the claim, which names the account, and the account, which names its devices and
//! its user name. A claim counts if its account names it, so the account's record decides, and is written in the middle:
//!
//! 1. [`reserve`]: the claim names the account, unconfirmed. Only a claim that does not count may be taken over from another account.
//! 2. The account's record names the device or name.
//! 3. [`confirm`]: the claim cannot be taken over any more. This fails if somebody did in the meantime.
//! 4. [`release`]: claims that the account does not name any more are deleted.
//!
//! Cut short after 1, the claim counts for nothing, and the account or anybody else may reserve it again. After 2, it counts, and the account's next
//! attempt or the sweep confirms it. After 3, what is left to release counts for nothing.

use prost::Message;

use crate::{
    services::session::Rejected,
    store::{Account, Claim, Collection, Key, Records, Revision, StoreError, load},
};
use starling_wire::rendezvous::Refusal;

/// Tries of [`reserve`]: each lost one means that somebody else has just reserved the same.
const MAX_TRIES: usize = 16;

/// Whether an account's record names what is claimed.
pub fn is_named(account: &Account, collection: Collection, key: &Key) -> bool {
    match collection {
        Collection::Devices => account.devices.iter().any(|device| device == key),
        _ => account.name == key,
    }
}

/// The account that a device or name belongs to.
pub async fn resolve(
    records: &dyn Records,
    collection: Collection,
    key: Key,
) -> Result<Option<(Key, Account)>, StoreError> {
    let (claim, _) = load::<Claim>(records, collection, key).await?;
    let Some(holder) = claim.and_then(|claim| Key::try_from(claim.account).ok()) else {
        return Ok(None);
    };
    let (account, _) = load::<Account>(records, Collection::Accounts, holder).await?;
    Ok(account.filter(|account| is_named(account, collection, &key)).map(|account| (holder, account)))
}

/// Step 1. Gives what [`confirm`] needs, or `None` if the claim is confirmed already and `known`, the account's record, names it. A claim that
/// counts for another account is refused, unless `is_free` gives it up.
pub async fn reserve(
    records: &dyn Records,
    collection: Collection,
    key: Key,
    account: Key,
    known: Option<&Account>,
    is_free: impl Fn(&Account) -> bool,
) -> Result<Option<Revision>, Rejected> {
    let named = known.is_some_and(|known| is_named(known, collection, &key));
    for _ in 0..MAX_TRIES {
        let (claim, revision) = load::<Claim>(records, collection, key).await?;
        if let Some(claim) = claim {
            if claim.account == account {
                if claim.confirmed && named {
                    return Ok(None);
                }
            } else if claim.confirmed
                && let Ok(holder) = Key::try_from(claim.account)
                && let (Some(holder), _) = load::<Account>(records, Collection::Accounts, holder).await?
                && is_named(&holder, collection, &key)
                && !is_free(&holder)
            {
                return Err(Refusal::Taken.into());
            }
        }
        match records.put(collection, key, revision, encode(account, false)).await {
            Ok(revision) => return Ok(Some(revision)),
            Err(StoreError::Conflict) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Refusal::Taken.into())
}

/// Step 3.
pub async fn confirm(
    records: &dyn Records,
    collection: Collection,
    key: Key,
    account: Key,
    reserved: Revision,
) -> Result<(), Rejected> {
    match records.put(collection, key, reserved, encode(account, true)).await {
        Ok(_) => Ok(()),
        Err(StoreError::Conflict) => Err(Refusal::Taken.into()),
        Err(error) => Err(error.into()),
    }
}

/// Step 4: if the claim is still this account's.
pub async fn release(records: &dyn Records, collection: Collection, key: Key, account: Key) -> Result<(), StoreError> {
    let (claim, revision) = load::<Claim>(records, collection, key).await?;
    if claim.is_none_or(|claim| claim.account != account) {
        return Ok(());
    }
    match records.delete(collection, key, revision).await {
        // Somebody has taken it over.
        Err(StoreError::Conflict) => Ok(()),
        deleted => deleted,
    }
}

fn encode(account: Key, confirmed: bool) -> bytes::Bytes {
    Claim { account: account.to_vec(), confirmed }.encode_to_vec().into()
}
