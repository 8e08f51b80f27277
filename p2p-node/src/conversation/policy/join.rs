//! Coming into a group by a link: what stands in the link's log is read, shown to the user, and followed: by a commit of our own, or by a request
//! where somebody has to approve. What stands there any member, and whoever has the link, can write: it is a claim, until the group's state is seen.

use std::collections::BTreeMap;

use bytes::Bytes;
use starling_keys::{AccountId, GroupLink, RendezvousAddr};
use starling_wire::{
    JOIN_REQUEST_DOMAIN, JoinLink, JoinRequest, LinkCard, LogVerb, MAX_REQUEST_CHAIN,
    inbox::GroupOffer,
    rendezvous::{LogRequest, Page, RequestBody},
};

use super::{
    PolicyEntry,
    cards::{LinkKey, box_keys, log_keys},
    limits::{JOIN_AGAIN_MS, MAX_LOOKS},
    offers::Answer,
};
use crate::{
    api::{
        Reply,
        error::{GroupRefusal, NodeError, NotAllowed, NotFound, Unreachable},
        problem::ItemRefused,
        types::{ChatId, DurableEventKind, JoinPreview, Joining, Standing},
    },
    conversation::{
        Conversations,
        context::Context,
        door::{
            limits::{DOOR_TIMEOUT_MS, MAX_DOOR_PAGES},
            parts::ReadParts,
        },
        group::GroupId,
    },
    home::{JoinPending, LogPending, Pending},
    limits::RETRY_REFUSED_MS,
    mls::policy::Denied,
    net::HomeId,
    store::{EventLogRow, OfferRow, StandingRow},
    turn::{EngineError, Fact, Turn},
};

/// Links that are looked at for the user, and the boxes that are followed.
#[derive(Default)]
pub struct Joins {
    looks: BTreeMap<u64, Look>,
    /// The group and link of each box that is followed, by the box's address.
    pub(super) boxes: BTreeMap<[u8; 32], (GroupId, LinkKey)>,
}

/// A link that is looked at.
struct Look {
    link: GroupLink,
    wish: Wish,
    /// In steady time.
    gives_up_at: u64,
    pages: u32,
    /// Parts of what stands there that were read.
    parts: ReadParts,
    /// The newest that stands in its log, by its epoch and number.
    card: Option<((u64, u64), LinkCard)>,
}

/// What for.
enum Wish {
    Show(Reply<JoinPreview>),
    Join(Reply<Joining>),
}

impl Wish {
    fn fail(self, turn: &mut Turn<'_>, error: NodeError) {
        match self {
            Self::Show(reply) => turn.reply(reply, Err(error)),
            Self::Join(reply) => turn.reply(reply, Err(error)),
        }
    }
}

impl PolicyEntry {
    /// After how many milliseconds we may ask again to be let in, where that was refused.
    fn waits_to_ask(&self, now_ms: u64) -> Option<u64> {
        let until = self.row.refused_ms.saturating_add(JOIN_AGAIN_MS);
        let is_refused = self.standing() == StandingRow::Asked && self.row.refused_ms > 0;
        // A clock that was set back makes nobody wait for longer.
        (is_refused && until > now_ms).then(|| (until - now_ms).min(JOIN_AGAIN_MS))
    }

    /// Our user comes in by a link. If there is an invitation into the group it is kept: our account may be in by it.
    fn come_by_link(&mut self, link: OfferRow) {
        let (before, standing) = (self.row.offer.take(), self.standing());
        let invitation = before.filter(|offer| offer.link.is_empty() && offer.group == link.group);
        match standing {
            StandingRow::Invited | StandingRow::Declined if invitation.is_some() => self.row.invitation = invitation,
            StandingRow::Invited | StandingRow::Declined | StandingRow::Asked => {}
            _ => self.row.invitation = None,
        }
        (self.row.offer, self.dirty) = (Some(link), true);
    }
}

impl Joins {
    /// The servers that links which are looked at lead to.
    pub(crate) fn homes(&self) -> impl Iterator<Item = &RendezvousAddr> {
        self.looks.values().map(|look| &look.link.home)
    }

    /// When one is given up, in steady time.
    pub(crate) fn next_due(&self) -> Option<u64> {
        self.looks.values().map(|look| look.gives_up_at).min()
    }
}

/// The group that a card names, as the user is shown it.
fn preview(card: &LinkCard, standing: Option<StandingRow>) -> Option<JoinPreview> {
    Some(JoinPreview {
        chat: ChatId(card.conversation),
        name: starling_text::received_name(&card.name),
        topic: card.topic.clone(),
        members: card.members,
        by: AccountId::from_bytes(&card.by).ok()?,
        by_name: starling_text::received_name(&card.by_name),
        approve: card.approve,
        expires_ms: Some(card.expires).filter(|expires| *expires > 0),
        standing: standing.map(|row| Standing::from_stored(u32::try_from(i32::from(row)).unwrap_or_default())),
    })
}

impl Conversations {
    /// The user wants to see where a link leads.
    pub(super) fn look_at_link(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        link: GroupLink,
        reply: Reply<JoinPreview>,
    ) {
        self.look(turn, cx, link, Wish::Show(reply));
    }

    /// The user wants to come in by a link.
    pub(super) fn join_by_link(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        link: GroupLink,
        reply: Reply<Joining>,
    ) {
        self.look(turn, cx, link, Wish::Join(reply));
    }

    fn look(&mut self, turn: &mut Turn<'_>, cx: &mut Context<'_>, link: GroupLink, wish: Wish) {
        if self.joins.looks.len() >= MAX_LOOKS {
            wish.fail(turn, NodeError::RateLimited { retry_after_ms: DOOR_TIMEOUT_MS });
            return;
        }
        let gives_up_at = turn.now() + DOOR_TIMEOUT_MS;
        let (number, look) =
            (turn.fresh_id(), Look { link, wish, gives_up_at, pages: 0, parts: ReadParts::default(), card: None });
        self.joins.looks.insert(number, look);
        turn.fact(Fact::ReachChanged);
        self.ask_for_card(turn, cx, number, 0);
    }

    fn ask_for_card(&mut self, turn: &mut Turn<'_>, cx: &mut Context<'_>, number: u64, after: u64) {
        let Some(look) = self.joins.looks.get(&number) else { return };
        let Some(keys) = log_keys(&look.link.secret.public()) else { return };
        let request = LogRequest { after, ..LogRequest::default() };
        let pending = LogPending::Join(JoinPending::Look(number));
        // Where its server is not connected yet it is read once it is.
        cx.homes.request_log(turn, look.link.home.peer, &keys, LogVerb::Read, request, pending);
    }

    /// A server is connected: the links that lead to it are read.
    pub(crate) fn looks_up(&mut self, turn: &mut Turn<'_>, cx: &mut Context<'_>, home: HomeId) {
        let at_home = |(_, look): &(&u64, &Look)| look.link.home.peer == home;
        let numbers: Vec<u64> = self.joins.looks.iter().filter(at_home).map(|(number, _)| *number).collect();
        for number in numbers {
            if let Some(look) = self.joins.looks.get_mut(&number) {
                (look.pages, look.parts, look.card) = (0, ReadParts::default(), None);
            }
            self.ask_for_card(turn, cx, number, 0);
        }
    }

    /// Links whose server does not answer are given up.
    pub(crate) fn looks_on_time(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now();
        for (_, look) in self.joins.looks.extract_if(.., |_, look| look.gives_up_at <= now) {
            look.wish.fail(turn, Unreachable::GroupHome.into());
            turn.fact(Fact::ReachChanged);
        }
    }

    /// A page of a link's log.
    pub(super) fn on_card_page(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        (number, home): (u64, HomeId),
        page: Page,
    ) -> Result<(), EngineError> {
        let Some(look) = self.joins.looks.get_mut(&number) else { return Ok(()) };
        let Some(keys) = log_keys(&look.link.secret.public()) else { return Ok(()) };
        for entry in &page.entries {
            let content = keys.open_entry(&entry.sealed).and_then(|content| look.parts.whole(content.into()));
            let Some(card) = content.and_then(|content| LinkCard::from_bytes(content).ok()) else { continue };
            let place = (card.epoch, entry.sequence);
            if look.card.as_ref().is_none_or(|(newest, _)| *newest < place) {
                look.card = Some((place, card));
            }
        }
        look.pages += 1;
        if let Some(last) = page.entries.last().filter(|_| page.more && look.pages < MAX_DOOR_PAGES) {
            self.ask_for_card(turn, cx, number, last.sequence);
            return Ok(());
        }
        let leave = RequestBody::LogLeave(Bytes::copy_from_slice(&keys.address));
        cx.homes.request(turn, home, leave, Pending::Nothing);
        let Some(look) = self.joins.looks.remove(&number) else { return Ok(()) };
        turn.fact(Fact::ReachChanged);
        let Some((_, card)) = look.card else {
            look.wish.fail(turn, NotFound::Link.into());
            return Ok(());
        };
        // Nobody judges by a clock who is in; but this program uses no link whose time is over.
        if card.ended || (card.expires > 0 && card.expires <= turn.agreed_ms()) {
            look.wish.fail(turn, NotAllowed::Group(GroupRefusal::LinkEnded).into());
            return Ok(());
        }
        match look.wish {
            Wish::Show(reply) => {
                let standing = self.policies.standing(&ChatId(card.conversation));
                let shown = preview(&card, standing).ok_or_else(|| NotFound::Link.into());
                turn.reply(reply, shown);
                Ok(())
            }
            Wish::Join(reply) => self.join(turn, cx, (look.link, card), reply),
        }
    }

    /// The server has no such log, or does not answer about it.
    pub(super) fn look_refused(&mut self, turn: &mut Turn<'_>, number: u64, is_busy: bool) {
        if is_busy {
            // It is asked again when it is connected anew, or given up.
            if let Some(look) = self.joins.looks.get_mut(&number) {
                look.gives_up_at = look.gives_up_at.min(turn.now() + RETRY_REFUSED_MS);
            }
            return;
        }
        if let Some(look) = self.joins.looks.remove(&number) {
            look.wish.fail(turn, NotFound::Link.into());
            turn.fact(Fact::ReachChanged);
        }
    }

    /// The user comes in by a link that was read.
    fn join(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        (link, card): (GroupLink, LinkCard),
        reply: Reply<Joining>,
    ) -> Result<(), EngineError> {
        let chat = ChatId(card.conversation);
        let known = self.policies.standing(&chat);
        let is_other = known.is_none() && self.chats.contains_key(&chat);
        let answer: Option<Result<Joining, NodeError>> = match known {
            Some(StandingRow::Member | StandingRow::Entering) => Some(Ok(Joining::In(chat))),
            Some(StandingRow::Leaving) => Some(Err(NotAllowed::Group(GroupRefusal::NotAMember).into())),
            _ if is_other => Some(Err(NotFound::Link.into())),
            _ if !self.policies.has_room() || !self.make_room(turn)? => {
                Some(Err(NotAllowed::Group(GroupRefusal::TooManyGroups).into()))
            }
            _ => None,
        };
        if let Some(answer) = answer {
            turn.reply(reply, answer);
            return Ok(());
        }
        let key = link.secret.public();
        let row = OfferRow {
            group: card.group.to_vec(),
            secret: JoinLink::log_secret(&key).to_vec(),
            home: link.home.to_string(),
            name: starling_text::received_name(&card.name),
            by: card.by.to_vec(),
            at_ms: turn.wall(),
            link: link.secret.as_bytes().to_vec(),
        };
        if card.approve {
            return self.ask_to_join(turn, cx, (&link, &card), row, reply);
        }
        self.policies.of.get_or_insert_with(chat, PolicyEntry::default).come_by_link(row);
        self.begin_to_enter(turn, cx, chat)?;
        turn.reply(reply, Ok(Joining::Enters(chat)));
        Ok(())
    }

    /// Whether there is an invitation beside the link that our user has used; then that is the way in.
    pub(super) fn take_invitation(&mut self, chat: ChatId) -> bool {
        let Some(entry) = self.policies.of.get_mut(&chat) else { return false };
        let Some(invitation) = entry.row.invitation.take() else { return false };
        (entry.row.offer, entry.dirty) = (Some(invitation), true);
        true
    }

    /// The account of who comes by a link is in the group already: it comes by its invitation, if that is known. Gives whether it is.
    pub(in crate::conversation) fn enter_by_invitation(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        chat: ChatId,
    ) -> Result<bool, EngineError> {
        if self.policies.standing(&chat) != Some(StandingRow::Entering) || !self.take_invitation(chat) {
            return Ok(false);
        }
        self.begin_to_enter(turn, cx, chat)?;
        self.tell_own_devices(turn, cx, chat, Answer::Accepted)?;
        Ok(true)
    }

    /// Our request to be let into a group was refused. It stays where it is: whoever may invite can let us in all the same.
    pub(super) fn on_join_refused(
        &mut self,
        turn: &mut Turn<'_>,
        from: &AccountId,
        offer: &GroupOffer,
    ) -> Result<Result<(), ItemRefused>, EngineError> {
        let chat = offer.conversation[..].try_into().map(ChatId).ok().filter(|_| self.awaits_offer(from, offer));
        let now_ms = turn.agreed_ms();
        let entry = chat.and_then(|chat| Some((chat, self.policies.of.get_mut(&chat)?)));
        // Said twice it holds no longer than said once.
        let asked =
            entry.filter(|(_, entry)| entry.standing() == StandingRow::Asked && entry.waits_to_ask(now_ms).is_none());
        let Some((chat, entry)) = asked else { return Ok(Err(ItemRefused::NoOffer)) };
        (entry.row.refused_ms, entry.dirty) = (now_ms, true);
        let (kind, text) = (DurableEventKind::GroupRefused.stored(), GroupRefusal::RequestRefused.code().to_owned());
        turn.durable_event(EventLogRow { kind, chat: chat.0.to_vec(), text, ..EventLogRow::default() })?;
        Ok(Ok(()))
    }

    /// Leaves a request in the box of a link.
    fn ask_to_join(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        (link, card): (&GroupLink, &LinkCard),
        row: OfferRow,
        reply: Reply<Joining>,
    ) -> Result<(), EngineError> {
        let known = self.policies.of.get(&ChatId(card.conversation));
        if let Some(retry_after_ms) = known.and_then(|entry| entry.waits_to_ask(turn.agreed_ms())) {
            turn.reply(reply, Err(NotAllowed::JoinRefused { retry_after_ms }.into()));
            return Ok(());
        }
        let key = link.secret.public();
        let chain = cx.dir.account.list().map(|chain| Bytes::copy_from_slice(chain.as_bytes()));
        let chain = chain.filter(|chain| chain.len() <= MAX_REQUEST_CHAIN);
        let keys = box_keys(&key).zip(log_keys(&key));
        let Some((chain, (mut keys, log))) = chain.zip(keys) else {
            turn.reply(reply, Err(NotAllowed::Group(GroupRefusal::Void).into()));
            return Ok(());
        };
        // If its owner could not open it, the first request does, as a log that follows the link's.
        keys.parent = Some(log.key);
        let identity = &cx.dir.account.identity;
        let mut request = JoinRequest {
            account: *cx.dir.account.id().as_bytes(),
            device: *cx.dir.account.device().as_bytes(),
            chain,
            name: identity.row.name.clone(),
            at: turn.agreed_ms(),
            signature: [0; 64],
        };
        let statement = request.statement(&card.group, &JoinLink::id_of(&key));
        request.signature = identity.device_key.sign(JOIN_REQUEST_DOMAIN, &statement);
        let entries = vec![keys.seal_entry(&request.to_bytes())];
        let append = LogRequest { entries, ..LogRequest::default() };
        let pending = LogPending::Join(JoinPending::Ask(ChatId(card.conversation)));
        if !cx.homes.request_log(turn, link.home.peer, &keys, LogVerb::Append, append, pending) {
            turn.reply(reply, Err(Unreachable::GroupHome.into()));
            return Ok(());
        }
        let entry = self.policies.of.get_or_insert_with(ChatId(card.conversation), PolicyEntry::default);
        entry.come_by_link(row);
        entry.row.refused_ms = 0;
        entry.set_standing(StandingRow::Asked);
        entry.asks = Some(reply);
        Ok(())
    }

    /// The box has our request, or has not taken it.
    pub(super) fn asked(&mut self, turn: &mut Turn<'_>, chat: ChatId, result: Result<(), NodeError>) {
        let Some(entry) = self.policies.of.get_mut(&chat) else { return };
        let is_over = result.is_err() && entry.standing() == StandingRow::Asked;
        if let Some(reply) = entry.asks.take() {
            turn.reply(reply, result.map(|()| Joining::Asked(chat)));
        }
        if is_over {
            entry.set_standing(StandingRow::Declined);
        }
    }

    /// A link leads in no more, or not our account: the user is told why.
    pub(in crate::conversation) fn link_failed(
        &mut self,
        turn: &mut Turn<'_>,
        chat: ChatId,
        denied: Denied,
    ) -> Result<(), EngineError> {
        self.report_refused(turn, chat, denied)?;
        self.has_left(turn, chat)
    }

    /// Whether somebody who is no contact may offer the way into a group: our user has asked for it.
    pub(crate) fn awaits_offer(&self, from: &AccountId, offer: &GroupOffer) -> bool {
        let Ok(chat) = offer.conversation[..].try_into().map(ChatId) else { return false };
        let Some(entry) = self.policies.of.get(&chat) else { return false };
        let Some(known) = entry.row.offer.as_ref().filter(|known| known.group[..] == offer.group[..]) else {
            return false;
        };
        match entry.standing() {
            StandingRow::Asked => true,
            StandingRow::Entering => known.by == from.as_bytes(),
            _ => false,
        }
    }
}
