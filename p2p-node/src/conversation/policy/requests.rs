//! Those who ask to be let into a group by a link that somebody has to approve. Their requests stand in a box of the link; the devices of those who
//! may invite follow it. What is not signed by a device of the account that asks counts for nothing; each account asks once, and the oldest are
//! kept. Who is refused is told so, and may ask again after a day.

use bytes::Bytes;
use starling_keys::{AccountId, DeviceChain, DeviceId};
use starling_wire::{
    Devices, JOIN_REQUEST_DOMAIN, JoinLink, JoinRequest, LogVerb, Policy,
    inbox::GroupOffer,
    rendezvous::{LogRequest, Page},
};

use super::{
    IntentKind, IntentRow,
    cards::{LinkKey, box_keys},
    commands::invited,
    limits::{JOIN_AGAIN_EARLIER_MS, JOIN_AGAIN_MS, MAX_JOIN_REQUESTS},
    offers::{Answer, offer_item},
    refusals::note_refusal,
};
use crate::{
    api::{
        error::{GroupRefusal, NodeError, NotAllowed, NotFound},
        types::{ChatId, DurableEventKind, GroupRequest},
    },
    conversation::{Conversations, GroupEntry, context::Context, group::GroupId},
    home::{JoinPending, LogPending, Recipient, Sealing},
    store::{EventLogRow, JOIN_REQUESTS, JoinRequestRow, Reading, prefix},
    turn::{EngineError, EventFact, Turn},
};

pub(super) fn key(chat: ChatId, account: &[u8]) -> Vec<u8> {
    [&chat.0[..], account].concat()
}

pub(super) fn rows(read: &impl Reading, chat: ChatId) -> Result<Vec<JoinRequestRow>, EngineError> {
    let rows = read.range::<JoinRequestRow>(JOIN_REQUESTS, prefix(&chat.0), usize::MAX, false)?;
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

/// A request that was read in the box of a link into a group, if it is one that its account has signed.
fn checked(bytes: Vec<u8>, (group, link): (&GroupId, &[u8; 16]), policy: &Policy) -> Option<JoinRequest> {
    let request = JoinRequest::from_bytes(bytes.into()).ok().filter(|request| !policy.bans(&request.account))?;
    let chain = DeviceChain::from_bytes(&request.chain).ok()?;
    let device = DeviceId::from_bytes(&request.device).ok()?;
    let is_theirs = *chain.account.as_bytes() == request.account && chain.device(&device).is_some();
    let is_signed = device.verify(JOIN_REQUEST_DOMAIN, &request.statement(group, link), &request.signature);
    (is_theirs && is_signed).then_some(request)
}

impl Conversations {
    /// Whether our user lets others into a group.
    fn may_approve(&self, cx: &Context<'_>, chat: ChatId) -> bool {
        self.policies
            .role(&chat, &cx.dir.account.id())
            .is_some_and(|role| role <= self.policies.permissions(&chat).invite)
    }

    /// Reads the boxes of links into a group that are not followed yet.
    pub(in crate::conversation) fn read_boxes(&mut self, turn: &mut Turn<'_>, cx: &mut Context<'_>, id: GroupId) {
        let Some(entry) = self.groups.get(&id).filter(|entry| entry.row.links.iter().any(|row| row.approve)) else {
            return;
        };
        if !entry.chat().is_some_and(|chat| self.may_approve(cx, chat)) {
            return;
        }
        // Before its card is written there is nothing to follow.
        let is_new = |key: &LinkKey| !entry.link_work.follows(key);
        let new: Vec<LinkKey> = entry
            .row
            .links
            .iter()
            .filter(|row| row.approve && !row.ended && !row.due && !row.opens)
            .filter_map(|row| row.key.as_slice().try_into().ok())
            .filter(is_new)
            .collect();
        for key in new {
            self.read_box(turn, cx, id, key);
        }
    }

    fn read_box(&mut self, turn: &mut Turn<'_>, cx: &mut Context<'_>, id: GroupId, key: LinkKey) {
        let Some(home) = self.usable(turn, cx, id) else { return };
        let Some(mut keys) = box_keys(&key) else { return };
        let Some(entry) = self.groups.get_mut(&id) else { return };
        let Some(row) = entry.row.links.iter().find(|row| row.key == key) else { return };
        let request = LogRequest { after: row.read, ..LogRequest::default() };
        // Neither the box nor the link's log may be there yet: by a log of the group that is, the box is followed until the first request comes.
        keys.parent = entry.known_keys().map(|known| known.key);
        let pending = LogPending::Join(JoinPending::Box(id, key));
        if cx.homes.request_log(turn, home, &keys, LogVerb::Read, request, pending) {
            entry.link_work.begin_page(key);
            self.joins.boxes.insert(keys.address, (id, key));
        }
    }

    /// Something was pushed that may be of a box.
    pub(in crate::conversation) fn on_box_push(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        address: &[u8; 32],
    ) {
        let Some((id, key)) = self.joins.boxes.get(address).copied() else { return };
        let is_under_way = self.groups.get_mut(&id).is_some_and(|entry| entry.link_work.note_pushed(key));
        if !is_under_way {
            self.read_box(turn, cx, id, key);
        }
    }

    /// A page of a box.
    pub(super) fn on_box_page(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        (id, key): (GroupId, LinkKey),
        page: Page,
    ) -> Result<(), EngineError> {
        let Some(chat) = self.groups.get(&id).and_then(GroupEntry::chat) else { return Ok(()) };
        let Some((keys, policy)) = box_keys(&key).zip(self.policies.policy(&chat).cloned()) else { return Ok(()) };
        let link = JoinLink::id_of(&key);
        let mut last = 0;
        let mut is_full = false;
        for entry in &page.entries {
            let content = keys.open_entry(&entry.sealed).unwrap_or_default();
            if let Some(refusal) = self.checked_refusal(&content, (&id, &link), &policy) {
                note_refusal(turn, chat, &refusal)?;
            } else if let Some(request) = checked(content, (&id, &link), &policy) {
                match policy.role(&request.account) {
                    Some(_) => self.answer_invited(turn, cx, (chat, id), (&link, &request))?,
                    None => is_full = !keep(turn, chat, &link, &request)?,
                }
                if is_full {
                    // The rest stays in the box until some are decided.
                    break;
                }
            }
            last = entry.sequence;
        }
        let Some(entry) = self.groups.get_mut(&id) else { return Ok(()) };
        let again = entry.link_work.end_page(&key);
        if let Some(row) = entry.row.links.iter_mut().find(|row| row.key == key && row.read < last) {
            row.read = last;
            entry.touch();
        }
        if (page.more || again) && !is_full {
            self.read_box(turn, cx, id, key);
            return Ok(());
        }
        self.tell_refusals(turn, cx, (chat, id), key)
    }

    /// Whoever asks is in the policy: it was invited, and does not know the way any more, or never did. It is told that, once until the group has
    /// another policy, as whoever has the link can repeat requests.
    fn answer_invited(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        (chat, id): (ChatId, GroupId),
        (link, request): (&[u8; 16], &JoinRequest),
    ) -> Result<(), EngineError> {
        let Ok(account) = AccountId::from_bytes(&request.account) else { return Ok(()) };
        let place = key(chat, &request.account);
        let has_come = |entry: &GroupEntry| entry.members.iter().any(|member| member.account == account);
        if self.groups.get(&id).is_none_or(has_come) || turn.get::<JoinRequestRow>(JOIN_REQUESTS, &place)?.is_some() {
            return Ok(());
        }
        turn.put(JOIN_REQUESTS, &place, &JoinRequestRow::of(request, link, turn.wall()))?;
        let devices = Devices { list: request.chain.to_vec(), labels: Vec::new() };
        turn.facts([EventFact::DeviceList { account, devices }]);
        self.tell_again(chat, &[account]);
        if let Some(entry) = self.policies.of.get_mut(&chat) {
            entry.row.invited.push(invited(&account));
        }
        self.offer_ways_in(turn, cx, chat)
    }

    /// It was not read.
    pub(super) fn box_not_read(&mut self, (id, key): (GroupId, LinkKey), refused: bool) {
        let Some(entry) = self.groups.get_mut(&id) else { return };
        // If it is refused there is nothing yet, or not for us: it is looked at again after a while.
        entry.link_work.fail_page(key, refused);
    }

    /// Those who ask to be let in, or those who were refused; the oldest first.
    pub(super) fn requests_of(
        &self,
        turn: &Turn<'_>,
        cx: &Context<'_>,
        chat: ChatId,
        refused: bool,
    ) -> Result<Result<Vec<GroupRequest>, NodeError>, EngineError> {
        let Some(policy) = self.policies.policy(&chat) else { return Ok(Err(NotFound::Group.into())) };
        if !self.may_approve(cx, chat) {
            return Ok(Err(NotAllowed::Group(GroupRefusal::Role).into()));
        }
        // Who is in already was told the way.
        let waits = |account: &AccountId| policy.role(account.as_bytes()).is_none();
        let shown = |row: JoinRequestRow| {
            let account = AccountId::from_bytes(&row.account).ok().filter(|_| row.refused == refused).filter(waits)?;
            Some(GroupRequest { account, name: row.name, at_ms: row.at_ms, link: row.link.as_slice().try_into().ok()? })
        };
        let mut requests: Vec<GroupRequest> = rows(turn, chat)?.into_iter().filter_map(shown).collect();
        requests.sort_by_key(|request| (request.at_ms, request.account));
        Ok(Ok(requests))
    }

    /// Our user lets somebody in who asks.
    pub(super) fn approve(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        chat: ChatId,
        account: AccountId,
    ) -> Result<Result<(), NodeError>, EngineError> {
        if turn.get::<JoinRequestRow>(JOIN_REQUESTS, &key(chat, account.as_bytes()))?.is_none() {
            return Ok(Err(NotFound::JoinRequest.into()));
        }
        // Whoever sees the request knows that the account was in the group, if it was.
        let intent = IntentRow { again: true, ..IntentRow::about(IntentKind::Invite, &account) };
        let result = self.want(cx.dir, chat, vec![intent]);
        if result.is_ok() {
            self.tell_again(chat, &[account]);
        }
        Ok(result)
    }

    /// Our user does not. They are told, and may ask again after a day; and our user may let them in until then.
    pub(super) fn refuse_request(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        chat: ChatId,
        account: AccountId,
    ) -> Result<Result<(), NodeError>, EngineError> {
        if !self.may_approve(cx, chat) {
            return Ok(Err(NotAllowed::Group(GroupRefusal::Role).into()));
        }
        let key = key(chat, account.as_bytes());
        let Some(row) = turn.get::<JoinRequestRow>(JOIN_REQUESTS, &key)?.filter(|row| !row.refused) else {
            return Ok(Err(NotFound::JoinRequest.into()));
        };
        self.tell_refused(turn, cx, (chat, account), &row)?;
        let refused_ms = turn.agreed_ms();
        let refusal = self.signed_refusal(cx, (chat, account), &row.link, refused_ms).unwrap_or_default();
        turn.put(JOIN_REQUESTS, &key, &JoinRequestRow { refused: true, refused_ms, refusal, ..row })?;
        // There is room for another, and the others who may let somebody in are told.
        self.look_into_boxes(chat);
        Ok(Ok(()))
    }

    /// Tells whoever has asked that they are not let in.
    fn tell_refused(
        &self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        (chat, account): (ChatId, AccountId),
        row: &JoinRequestRow,
    ) -> Result<(), EngineError> {
        let chain = DeviceChain::from_bytes(&row.chain).ok();
        let Some((chain, group)) = chain.zip(self.active_group(cx.dir, chat)) else { return Ok(()) };
        let Some(home) = cx.homes.best_of(&chain.homes).map(ToString::to_string) else { return Ok(()) };
        // There is no secret: a program that does not know this answer takes it for no offer.
        let offer = GroupOffer {
            conversation: Bytes::copy_from_slice(&chat.0),
            group: Bytes::copy_from_slice(&group),
            name: self.policies.name(&chat).unwrap_or_default().to_owned(),
            answer: Answer::Refused.number(),
            ..GroupOffer::default()
        };
        let body = offer_item(cx.dir, offer);
        let sealing = Sealing { mls: cx.mls, key: &cx.dir.account.identity.device_key };
        let mut place = [0; 16];
        place.copy_from_slice(&blake3::keyed_hash(account.as_bytes(), &group).as_bytes()[..16]);
        for device in &chain.devices {
            let recipient = Recipient { account, device, home: &home };
            cx.homes.leave_item(turn, &sealing, &recipient, place, &body)?;
        }
        Ok(())
    }

    /// There is room for more requests: what was left in the boxes is read.
    fn look_into_boxes(&mut self, chat: ChatId) {
        let ids = self.chats.get(&chat).map(|state| state.row.groups.clone()).unwrap_or_default();
        for id in ids.iter().filter_map(|id| GroupId::try_from(id.as_slice()).ok()) {
            self.look_at_boxes_again(id);
        }
    }

    /// The boxes of links into a group are looked at again in this turn.
    pub(in crate::conversation) fn look_at_boxes_again(&mut self, id: GroupId) {
        if self.groups.get(&id).is_some_and(|entry| entry.link_work.follows_boxes())
            && let Some(entry) = self.groups.get_mut(&id)
        {
            entry.link_work.look_again();
        }
    }

    /// The group has another policy: who is in it, or banned, does not ask any more. What those who were let in have shown of their devices is taken.
    pub(super) fn settle_requests(
        &mut self,
        turn: &mut Turn<'_>,
        chat: ChatId,
        policy: &Policy,
    ) -> Result<(), EngineError> {
        if policy.rules.is_none() {
            return Ok(());
        }
        let mut has_room = false;
        for row in rows(turn, chat)? {
            let Ok(account) = AccountId::from_bytes(&row.account) else { continue };
            let is_in = policy.role(account.as_bytes()).is_some();
            if !is_in && !policy.bans(account.as_bytes()) {
                continue;
            }
            if is_in {
                let devices = Devices { list: row.chain, labels: Vec::new() };
                turn.facts([EventFact::DeviceList { account, devices }]);
            }
            turn.delete(JOIN_REQUESTS, &key(chat, account.as_bytes()))?;
            has_room = true;
        }
        if has_room {
            self.look_into_boxes(chat);
        }
        Ok(())
    }
}

impl JoinRequestRow {
    fn of(request: &JoinRequest, link: &[u8; 16], at_ms: u64) -> Self {
        Self {
            account: request.account.to_vec(),
            chain: request.chain.to_vec(),
            name: starling_text::received_name(&request.name),
            at_ms,
            link: link.to_vec(),
            refused: false,
            refused_ms: 0,
            refusal: Vec::new(),
        }
    }

    /// Whether a request that was signed at this time is another one than that which was refused: whoever has the link can repeat that.
    fn is_over(&self, signed_ms: u64, now_ms: u64) -> bool {
        // Where both are read late it has come here after it was refused elsewhere.
        let since_ms = if self.refused_ms > 0 { self.refused_ms } else { self.at_ms };
        let again_ms = since_ms.saturating_add(JOIN_AGAIN_MS - JOIN_AGAIN_EARLIER_MS);
        self.refused && again_ms <= signed_ms.min(now_ms)
    }
}

/// Keeps a request, and tells the user. Gives whether there was room for it.
fn keep(turn: &mut Turn<'_>, chat: ChatId, link: &[u8; 16], request: &JoinRequest) -> Result<bool, EngineError> {
    let place = key(chat, &request.account);
    let before = turn.get::<JoinRequestRow>(JOIN_REQUESTS, &place)?;
    let now_ms = turn.agreed_ms();
    if before.as_ref().is_some_and(|before| !before.is_over(request.at, now_ms)) {
        return Ok(true);
    }
    let known = rows(turn, chat)?;
    if before.is_none() && known.len() >= MAX_JOIN_REQUESTS {
        // Those that were refused first may ask again.
        let oldest = known.iter().filter(|row| row.refused).min_by_key(|row| row.at_ms);
        let Some(oldest) = oldest else { return Ok(false) };
        turn.delete(JOIN_REQUESTS, &key(chat, &oldest.account))?;
    }
    let row = JoinRequestRow::of(request, link, turn.wall());
    turn.put(JOIN_REQUESTS, &place, &row)?;
    let name = row.name;
    let (kind, account) = (DurableEventKind::GroupRequest.stored(), request.account.to_vec());
    turn.durable_event(EventLogRow { kind, chat: chat.0.to_vec(), account, text: name, ..EventLogRow::default() })?;
    Ok(true)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use starling_keys::{DeviceKey, RecoveryPhrase, chain::Joining};
    use starling_wire::GroupKind;

    use super::*;

    #[test]
    fn who_was_refused_asks_again_with_another_request_and_not_before_a_day() {
        let row = JoinRequestRow { at_ms: 1_000, refused: true, refused_ms: 5_000, ..JoinRequestRow::default() };
        let again = row.refused_ms + JOIN_AGAIN_MS;
        assert!(row.is_over(again, again));
        assert!(!row.is_over(900, again), "it is the one that was refused");
        assert!(!row.is_over(again, again / 2), "its clock is ahead");
        assert!(!JoinRequestRow { refused: false, ..row.clone() }.is_over(again, again), "it waits");
        // What an older version has refused counts from when it came.
        let older = JoinRequestRow { refused_ms: 0, ..row };
        assert!(older.is_over(again, again) && !older.is_over(900, again));
    }

    #[test]
    fn what_no_device_of_the_account_has_signed_for_this_link_is_no_request() {
        let owner = RecoveryPhrase::generate().account_key().id();
        let policy = Policy::new([1; 16], "ops".into(), *owner.as_bytes()).with_rules(GroupKind::Group);
        for garbage in [Vec::new(), vec![0xff; 64], vec![1; 40_000]] {
            assert!(checked(garbage, (&[2; 16], &[3; 16]), &policy).is_none());
        }
        let (root, key, other) =
            (RecoveryPhrase::generate().account_key(), DeviceKey::generate(), DeviceKey::generate());
        let chain = DeviceChain::create(&root, 1, [0; 32], &Joining::sign(&key, &root.id(), vec![1; 32])).unwrap();
        let request = |by: &DeviceKey, account: AccountId, chain: &[u8]| {
            let mut request = JoinRequest {
                account: *account.as_bytes(),
                device: *by.id().as_bytes(),
                chain: Bytes::copy_from_slice(chain),
                name: "bob".into(),
                at: 1,
                signature: [0; 64],
            };
            request.signature = by.sign(JOIN_REQUEST_DOMAIN, &request.statement(&[2; 16], &[3; 16]));
            request.to_bytes()
        };
        let good = || request(&key, root.id(), chain.as_bytes());
        assert!(checked(good(), (&[2; 16], &[3; 16]), &policy).is_some());
        assert!(checked(good(), (&[3; 16], &[3; 16]), &policy).is_none(), "of another group");
        assert!(checked(good(), (&[2; 16], &[2; 16]), &policy).is_none(), "of another link");
        for forged in [
            request(&other, root.id(), chain.as_bytes()),
            request(&key, owner, chain.as_bytes()),
            request(&key, root.id(), b"no chain"),
        ] {
            assert!(checked(forged, (&[2; 16], &[3; 16]), &policy).is_none());
        }
        let mut banned = policy.clone();
        banned.rules.as_mut().unwrap().ban(*root.id().as_bytes());
        assert!(checked(good(), (&[2; 16], &[3; 16]), &banned).is_none());
    }
}
