//! What can be used a number of times: invites of accounts and registration tokens of the operator.
//!
//! Using one and doing what it is used for are separate steps. What was paid for is pending until it is done: who repeats a request that was
//! cut short does not pay twice, and nobody gets more than was paid for, apart from a repetition of the same.

use starling_wire::rendezvous::Refusal;

use crate::{
    limits::MAX_PENDING,
    services::session::Rejected,
    store::{Collection, Invite, Key, Records, StoreError, Token, update},
};

/// Pays for `purpose`, unless that was paid for and is pending.
fn pay(uses: &mut u32, pending: &mut Vec<Vec<u8>>, purpose: &Key) -> Result<(), Rejected> {
    if pending.iter().any(|paid| paid == purpose) {
        return Ok(());
    }
    *uses = uses.checked_sub(1).ok_or(Refusal::Denied)?;
    pending.push(purpose.to_vec());
    if pending.len() > MAX_PENDING {
        pending.remove(0);
    }
    Ok(())
}

/// How a use ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// What was paid for is done.
    Done,
    /// It was refused: the use counts again.
    Refused,
}

fn settle(uses: &mut u32, pending: &mut Vec<Vec<u8>>, purpose: &Key, outcome: Outcome) {
    let before = pending.len();
    pending.retain(|paid| paid != purpose);
    if outcome == Outcome::Refused && pending.len() < before {
        *uses = uses.saturating_add(1);
    }
}

/// Pays for `purpose` with an invite of `account`.
pub async fn pay_with_invite(
    records: &dyn Records,
    token: Key,
    account: Key,
    now: u64,
    purpose: &Key,
) -> Result<(), Rejected> {
    update(records, Collection::Invites, token, |invite: Option<Invite>| {
        let good = |invite: &Invite| invite.account == account && invite.expires_at > now;
        let mut invite = invite.filter(good).ok_or(Refusal::Denied)?;
        pay(&mut invite.uses, &mut invite.pending, purpose)?;
        Ok::<_, Rejected>(invite)
    })
    .await?;
    Ok(())
}

/// What an invite has paid for is no longer pending.
pub async fn settle_invite(
    records: &dyn Records,
    token: Key,
    purpose: &Key,
    outcome: Outcome,
) -> Result<(), StoreError> {
    let settled = update(records, Collection::Invites, token, |invite: Option<Invite>| {
        let mut invite = invite.ok_or(StoreError::NotFound)?;
        settle(&mut invite.uses, &mut invite.pending, purpose, outcome);
        Ok(invite)
    });
    match settled.await {
        // Revoked in the meantime.
        Ok(_) | Err(StoreError::NotFound) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Pays for the registration of an account with a token of the operator.
pub async fn pay_with_token(records: &dyn Records, token: Key, account: &Key, now: u64) -> Result<(), Rejected> {
    update(records, Collection::Tokens, token, |known: Option<Token>| {
        let mut known = known.filter(|known| known.expires_at > now).ok_or(Refusal::Denied)?;
        pay(&mut known.uses, &mut known.pending, account)?;
        Ok::<_, Rejected>(known)
    })
    .await?;
    Ok(())
}

/// The account is registered.
pub async fn settle_token(records: &dyn Records, token: Key, account: &Key) -> Result<(), StoreError> {
    let settled = update(records, Collection::Tokens, token, |known: Option<Token>| {
        let mut known = known.ok_or(StoreError::NotFound)?;
        settle(&mut known.uses, &mut known.pending, account, Outcome::Done);
        Ok(known)
    });
    match settled.await {
        // Expired in the meantime.
        Ok(_) | Err(StoreError::NotFound) => Ok(()),
        Err(error) => Err(error),
    }
}
