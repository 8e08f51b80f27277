//! Requests of people who want to become contacts.

use rand::{Rng, seq::SliceRandom};
use starling_keys::{AccountId, DeviceChain};
use starling_wire::inbox::InboxBody;

use super::{Meeting, limits::MAX_REQUESTS};
use crate::{
    api::{
        error::{NodeError, NotAllowed, NotFound},
        types::Request,
    },
    store::{REQUESTS, Reading, RequestRow, prefix},
    turn::{EngineError, Turn},
};

/// An invite that somebody has shown us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShownInvite {
    /// One of ours, which is good and is used once more.
    Good,
    /// One of ours that is used up or has expired.
    Spent,
    /// None that we know.
    None,
}

impl Meeting<'_> {
    /// Keeps a request until the user answers it; whether it is a new one that was kept.
    pub(crate) fn keep_request(
        &self,
        turn: &mut Turn<'_>,
        account: AccountId,
        row: &RequestRow,
    ) -> Result<bool, EngineError> {
        let key = self.cx.store.name("request", account.as_bytes());
        let is_new = turn.get::<RequestRow>(REQUESTS, &key)?.is_none();
        turn.put(REQUESTS, &key, row)?;
        if !is_new {
            return Ok(false);
        }
        let waiting = turn.range::<RequestRow>(REQUESTS, prefix(b""), usize::MAX, false)?;
        if waiting.len() <= MAX_REQUESTS {
            return Ok(true);
        }
        let rows: Vec<&RequestRow> = waiting.iter().map(|(_, row)| row).collect();
        let Some((gone, _)) = waiting.get(gives_way(&rows, turn.rng())) else { return Ok(true) };
        tracing::info!("more contact requests wait than are kept: one of those that came in a row was dropped");
        turn.delete(REQUESTS, gone)?;
        Ok(*gone != key)
    }

    /// Accepts a contact request.
    pub(crate) fn accept(
        &mut self,
        turn: &mut Turn<'_>,
        account: AccountId,
    ) -> Result<Result<(), NodeError>, EngineError> {
        let key = self.cx.store.name("request", account.as_bytes());
        let Some(row) = turn.get::<RequestRow>(REQUESTS, &key)? else {
            return Ok(Err(NotFound::Request.into()));
        };
        let body = InboxBody::from_bytes(&row.body).unwrap_or_default();
        // Checked when the request arrived.
        let Ok(list) = DeviceChain::from_stored(&body.device_list) else {
            return Ok(Err(NotFound::ReadableRequest.into()));
        };
        Ok(self.join(turn, &body, list, false)?.map_err(|why| NotAllowed::Request(why).into()))
    }

    pub(crate) fn requests(&self, turn: &Turn<'_>) -> Result<Vec<Request>, EngineError> {
        let rows = turn.range::<RequestRow>(REQUESTS, prefix(b""), MAX_REQUESTS, false)?;
        let mut requests: Vec<Request> = rows
            .iter()
            .filter_map(|(_, row)| {
                let body = InboxBody::from_bytes(&row.body).ok()?;
                let list = DeviceChain::from_stored(&body.device_list).ok()?;
                Some(Request { account: list.account, name: body.name, greeting: body.greeting, at_ms: row.at_ms })
            })
            .collect();
        requests.sort_by_key(|r| r.at_ms);
        Ok(requests)
    }
}

/// Which of some requests gives way to the others. Those for which something speaks come last. Of the others it is one that came soonest after another:
/// whoever sends many has theirs thinned out, and a request that came by itself stays, whatever comes after it. With several of those chance decides.
fn gives_way(waiting: &[&RequestRow], rng: &mut impl Rng) -> usize {
    let lowest = waiting.iter().map(|row| row.standing).min().unwrap_or_default();
    let mut candidates: Vec<usize> = (0..waiting.len()).filter(|at| waiting[*at].standing == lowest).collect();
    candidates.shuffle(rng);
    candidates.sort_by_key(|at| waiting[*at].at_ms);
    let gaps = candidates.windows(2).map(|pair| (waiting[pair[1]].at_ms - waiting[pair[0]].at_ms, pair[1]));
    let mut gaps: Vec<(u64, usize)> = gaps.collect();
    gaps.shuffle(rng);
    gaps.into_iter().min_by_key(|(gap, _)| *gap).map_or_else(|| candidates.first().copied().unwrap_or(0), |(_, at)| at)
}
