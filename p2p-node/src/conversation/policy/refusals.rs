//! Refusals of those who ask to be let into a group: they stand in the link's box behind the requests, so that all devices of all who may let somebody
//! in show the same. What no device in the group has signed, of an account that may, counts for nothing.

use starling_keys::{AccountId, DeviceId};
use starling_wire::{JOIN_REFUSAL_DOMAIN, JoinLink, JoinRefusal, LogVerb, Policy, rendezvous::LogRequest};

use super::{
    cards::{LinkKey, box_keys},
    limits::MAX_REFUSALS_AT_ONCE,
    requests::{key, rows},
};
use crate::{
    api::types::ChatId,
    conversation::{Conversations, context::Context, group::GroupId},
    home::{JoinPending, LogPending},
    store::{JOIN_REQUESTS, JoinRequestRow, Reading},
    turn::{EngineError, Turn},
};

impl Conversations {
    /// Our refusal of a request, as it is put into the box of the link.
    pub(super) fn signed_refusal(
        &self,
        cx: &Context<'_>,
        (chat, account): (ChatId, AccountId),
        link: &[u8],
        at: u64,
    ) -> Option<Vec<u8>> {
        let group = self.active_group(cx.dir, chat)?;
        let link: &[u8; 16] = link.try_into().ok()?;
        let (by, device) = (*cx.dir.account.id().as_bytes(), *cx.dir.account.device().as_bytes());
        let mut refusal = JoinRefusal { account: *account.as_bytes(), by, device, at, signature: [0; 64] };
        let statement = refusal.statement(&group, link);
        refusal.signature = cx.dir.account.identity.device_key.sign(JOIN_REFUSAL_DOMAIN, &statement);
        Some(refusal.to_bytes())
    }

    /// A refusal that was read in the box of a link, if it is one by a device in the group whose account may let others in.
    pub(super) fn checked_refusal(
        &self,
        bytes: &[u8],
        (group, link): (&GroupId, &[u8; 16]),
        policy: &Policy,
    ) -> Option<JoinRefusal> {
        let refusal = JoinRefusal::from_bytes(bytes).ok()?;
        let device = DeviceId::from_bytes(&refusal.device).ok()?;
        let members = &self.groups.get(group)?.members;
        let is_there = members.iter().any(|m| m.device == device && *m.account.as_bytes() == refusal.by);
        let may = policy.role(&refusal.by).is_some_and(|role| role <= policy.permissions().invite);
        let is_signed = || device.verify(JOIN_REFUSAL_DOMAIN, &refusal.statement(group, link), &refusal.signature);
        (is_there && may && is_signed()).then_some(refusal)
    }

    /// Puts our refusals into the box of a link that was read: those that are not there yet, some at a time.
    pub(super) fn tell_refusals(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        (chat, id): (ChatId, GroupId),
        link: LinkKey,
    ) -> Result<(), EngineError> {
        let Some(home) = self.usable(turn, cx, id) else { return Ok(()) };
        let known = self.groups.get(&id).and_then(|entry| entry.known_keys());
        let Some((mut keys, known)) = box_keys(&link).zip(known) else { return Ok(()) };
        keys.parent = Some(known.key);
        let link = JoinLink::id_of(&link);
        let is_due = |row: &JoinRequestRow| row.refused && !row.refusal.is_empty() && row.link == link;
        for row in rows(turn, chat)?.into_iter().filter(is_due).take(MAX_REFUSALS_AT_ONCE) {
            let Ok(account) = AccountId::from_bytes(&row.account) else { continue };
            let request = LogRequest { entries: vec![keys.seal_entry(&row.refusal)], ..LogRequest::default() };
            let pending = LogPending::Join(JoinPending::Refusal(chat, account));
            cx.homes.request_log(turn, home, &keys, LogVerb::Append, request, pending);
        }
        Ok(())
    }
}

/// The box has our refusal.
pub(super) fn refusal_told(turn: &Turn<'_>, chat: ChatId, account: &AccountId) -> Result<(), EngineError> {
    let place = key(chat, account.as_bytes());
    let Some(row) = turn.get::<JoinRequestRow>(JOIN_REQUESTS, &place)? else { return Ok(()) };
    Ok(turn.put(JOIN_REQUESTS, &place, &JoinRequestRow { refusal: Vec::new(), ..row })?)
}

/// Another device has refused a request: it is not shown here any more either.
pub(super) fn note_refusal(turn: &Turn<'_>, chat: ChatId, refusal: &JoinRefusal) -> Result<(), EngineError> {
    let place = key(chat, &refusal.account);
    let row = turn.get::<JoinRequestRow>(JOIN_REQUESTS, &place)?;
    let Some(row) = row.filter(|row| !row.refused) else { return Ok(()) };
    // Nobody has it count for longer by a clock that is ahead.
    let refused_ms = refusal.at.clamp(1, turn.agreed_ms().max(1));
    Ok(turn.put(JOIN_REQUESTS, &place, &JoinRequestRow { refused: true, refused_ms, ..row })?)
}
