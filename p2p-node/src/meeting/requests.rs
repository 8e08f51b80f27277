//! Requests of people who want to become contacts.

use starling_keys::{AccountId, DeviceChain};
use starling_wire::inbox::InboxBody;

use super::Meeting;
use crate::{
    api::{
        error::{NodeError, NotAllowed, NotFound},
        types::Request,
    },
    limits::MAX_REQUESTS,
    store::{REQUESTS, Reading, RequestRow, prefix},
    turn::{EngineError, Turn},
};

impl Meeting<'_> {
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
        Ok(self.join(turn, &body, list, false)?.map_err(|why| NotAllowed::Request { problem: why.to_string() }.into()))
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
