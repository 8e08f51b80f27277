//! Invitations that come while this device takes its account for a member: into another group of the conversation, by another door, or after a
//! removal that it has not read yet.

use starling_keys::AccountId;
use starling_wire::Policy;

use super::{PolicyEntry, Role};
use crate::{
    api::{
        problem::ItemRefused,
        types::{ChatId, ContactState, DurableEventKind},
    },
    conversation::{Conversations, context::Context, group::GroupId},
    store::{EventLogRow, OfferRow, StandingRow},
    turn::{EngineError, Turn},
};

impl PolicyEntry {
    /// Whether this device is about to enter the group, if only to leave it.
    fn is_entering(&self) -> bool {
        self.standing() == StandingRow::Entering || self.leaves_when_entered()
    }

    /// Keeps a way in for when the log says that we were removed.
    fn keep_offer_again(&mut self, row: OfferRow) {
        (self.row.offered_again, self.dirty) = (Some(row), true);
    }

    /// The way in that was kept, which is kept no more.
    fn take_offer_again(&mut self) -> Option<OfferRow> {
        self.dirty |= self.row.offered_again.is_some();
        self.row.offered_again.take()
    }
}

impl Conversations {
    /// An invitation waits for our user.
    pub(super) fn be_invited(&mut self, turn: &mut Turn<'_>, chat: ChatId, row: OfferRow) -> Result<(), EngineError> {
        let entry = self.policies.of.get_or_insert_with(chat, PolicyEntry::default);
        let again = entry.standing() == StandingRow::Invited && entry.row.offer.is_some();
        let (text, account) = (row.name.clone(), row.by.clone());
        entry.row.offer = Some(row);
        entry.set_standing(StandingRow::Invited);
        if !again {
            let kind = DurableEventKind::GroupInvited.stored();
            turn.durable_event(EventLogRow { kind, chat: chat.0.to_vec(), account, text, ..EventLogRow::default() })?;
        }
        Ok(())
    }

    /// Keeps an invitation for when the log says that we were removed. Of two the one of whom may do more counts, as far as is known here, else the
    /// first: nobody takes the place of what was offered by somebody else.
    fn keep_offer_again(&mut self, chat: ChatId, row: OfferRow) {
        let rank = |offer: &OfferRow| {
            let by = AccountId::from_bytes(&offer.by).ok();
            by.and_then(|by| self.policies.role(&chat, &by)).map_or(u8::MAX, Role::rank)
        };
        let kept = self.policies.of.get(&chat).and_then(|entry| entry.row.offered_again.as_ref());
        // What our user has accepted elsewhere only who may let others in takes the place of, by another way.
        let is_accepted = |kept: &OfferRow| self.is_ours(chat, &kept.by);
        let may_lead = |kept: &OfferRow| rank(&row) <= Role::Admin.rank() && kept.way() != row.way();
        let stays = kept.is_some_and(|kept| match is_accepted(kept) {
            true => !may_lead(kept),
            false => kept.by != row.by && rank(kept) <= rank(&row),
        });
        if !stays && let Some(entry) = self.policies.of.get_mut(&chat) {
            entry.keep_offer_again(row);
        }
    }

    /// Whether an account is ours, in a conversation.
    fn is_ours(&self, chat: ChatId, account: &[u8]) -> bool {
        let own = self.chats.get(&chat).and_then(|state| state.roster.own());
        own.is_some_and(|own| own.as_bytes()[..] == *account)
    }

    /// The group that an offer leads into, if it is known here and not given up.
    fn offered_group(&self, row: &OfferRow) -> Option<GroupId> {
        row.group_id().filter(|id| self.groups.get(id).is_some_and(|group| !group.row.dead))
    }

    /// Another device of ours has accepted an invitation into a group that this one takes its account for a member of, or says by which door it is
    /// entered now: if our account has been removed meanwhile, or this device was left behind, it comes in again by that.
    pub(super) fn keep_way_of_own(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        chat: ChatId,
        row: OfferRow,
    ) -> Result<(), EngineError> {
        let known = self.offered_group(&row);
        let Some(id) = known.filter(|_| !self.is_way_known(&row)) else { return Ok(()) };
        let door = row.door();
        if let Some(entry) = self.policies.of.get_mut(&chat) {
            entry.keep_offer_again(row);
        }
        self.read_log_again(turn, cx, id);
        // It may be entering again already, by a door that is no more.
        self.on_other_door(turn, cx, chat, door)
    }

    /// The secret of the door by which another device of ours has said that a group is entered, if this one has not read on since.
    pub(super) fn told_by_own(&self, chat: ChatId, id: GroupId) -> Option<Vec<u8>> {
        let row = self.policies.of.get(&chat)?.row.offered_again.as_ref()?;
        let is_told = self.is_ours(chat, &row.by) && row.group_id() == Some(id);
        is_told.then(|| row.secret.clone())
    }

    /// Whether a way leads by the door that this device knows of its group.
    fn is_way_known(&self, row: &OfferRow) -> bool {
        let group = row.group_id().and_then(|id| self.groups.get(&id));
        group.and_then(|group| group.row.door.as_ref()).is_some_and(|door| door.secret == row.secret)
    }

    /// Whether a way is the one by which this device was in a group that it is not in any more.
    pub(super) fn has_been_left(&self, chat: ChatId, row: &OfferRow) -> bool {
        let Some(entry) = self.policies.of.get(&chat) else { return false };
        let is_out = matches!(entry.standing(), StandingRow::Removed | StandingRow::Left);
        is_out && (self.is_way_known(row) || entry.row.left_way == row.way())
    }

    /// Whether this device is about to enter a group by another way than this one.
    pub(super) fn is_entering_elsewhere(&self, chat: ChatId, row: &OfferRow) -> bool {
        let Some(entry) = self.policies.of.get(&chat) else { return false };
        entry.is_entering()
            && entry.row.offer.as_ref().is_none_or(|offer| offer.link.is_empty() && offer.way() != row.way())
    }

    /// Another device of ours is in the group that this one is about to enter, and the way that this one knows may have ended.
    pub(super) fn enter_by_new_way(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        chat: ChatId,
        row: OfferRow,
    ) -> Result<(), EngineError> {
        let Some(entry) = self.policies.of.get_mut(&chat) else { return Ok(()) };
        if entry.leaves_when_entered() {
            entry.row.left_way = row.way();
        }
        self.enter_by_offer(turn, cx, chat, row)
    }

    /// We were removed from a group, and somebody has invited us again before this device has read that; but not whom our user has blocked since. If
    /// our user has accepted it on another device this one comes in again, too.
    pub(super) fn be_invited_again(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        chat: ChatId,
    ) -> Result<(), EngineError> {
        let row = self.policies.of.get_mut(&chat).and_then(PolicyEntry::take_offer_again);
        let Some(row) = row else { return Ok(()) };
        if self.is_ours(chat, &row.by) {
            return self.enter_by_offer(turn, cx, chat, row);
        }
        let by = AccountId::from_bytes(&row.by).ok();
        let person = by.and_then(|by| cx.dir.person(&by));
        if person.is_some_and(|person| person.state() == ContactState::Blocked) {
            return Ok(());
        }
        self.be_invited(turn, chat, row)
    }

    /// We accepted an invitation, and were removed before this device was in. Gives whether it does not enter any more.
    pub(in crate::conversation) fn be_out_before_entered(
        &mut self,
        turn: &mut Turn<'_>,
        own: &AccountId,
        chat: ChatId,
        policy: &Policy,
    ) -> Result<bool, EngineError> {
        let Some(entry) = self.policies.of.get(&chat) else { return Ok(false) };
        if entry.leaves_when_entered() {
            return self.has_left(turn, chat).map(|()| true);
        }
        if entry.standing() != StandingRow::Entering {
            return Ok(false);
        }
        let is_banned = policy.bans(own.as_bytes());
        let kind = if is_banned { DurableEventKind::GroupBanned } else { DurableEventKind::GroupRemoved };
        let (kind, account) = (kind.stored(), own.as_bytes().to_vec());
        turn.durable_event(EventLogRow { kind, chat: chat.0.to_vec(), account, ..EventLogRow::default() })?;
        self.be_out(turn, chat, StandingRow::Removed)?;
        Ok(true)
    }

    /// The log of a group was read to its end: who is a member then needs no invitation.
    pub(in crate::conversation) fn forget_offer_again(&mut self, chat: ChatId) {
        let is_kept = self.policies.of.get(&chat).is_some_and(|entry| entry.row.offered_again.is_some());
        if is_kept && let Some(entry) = self.policies.of.get_mut(&chat) {
            entry.take_offer_again();
        }
    }

    /// Another way into the conversation of a group that we are in, or are about to enter: it counts from those who may let others in. Where we
    /// enter, it may be the same group with another door; where the group that we had is given up, another takes its place.
    pub(in crate::conversation) fn on_other_way(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        (chat, from): (ChatId, AccountId),
        row: OfferRow,
    ) -> Result<Result<(), ItemRefused>, EngineError> {
        let leads = self.policies.role(&chat, &from).is_some_and(|role| role <= Role::Admin);
        let own = *cx.dir.account.id().as_bytes();
        let Some(entry) = self.policies.of.get(&chat) else { return Ok(Ok(())) };
        let known = self.offered_group(&row);
        if let Some(id) = known.filter(|_| entry.standing() == StandingRow::Member) {
            let door = row.door();
            // What the log says of us is not read yet, perhaps. It is, before this counts.
            self.keep_offer_again(chat, row);
            self.read_log_again(turn, cx, id);
            // Or we were left behind, and the door that we know is no more.
            return if leads { self.on_other_door(turn, cx, chat, door).map(Ok) } else { Ok(Ok(())) };
        }
        let enters = entry.is_entering();
        let offered = entry.row.offer.as_ref().is_some_and(|offer| offer.by == row.by);
        // No device of ours is in it that could tell: members do, and the door that is known says who these are.
        let is_alike = |offer: &&OfferRow| offer.link.is_empty() && offer.by[..] == own[..] && offer.group == row.group;
        let of_own = enters && entry.row.offer.as_ref().filter(is_alike).is_some();
        let (by_member, mut row) = (of_own && self.entering.is_there(&chat, &from) == Some(true), row);
        if of_own && !offered && self.entering.is_there(&chat, &from).is_none() {
            self.entering.note_told(&chat, from, row);
            return Ok(Ok(()));
        }
        if by_member && !(leads || offered) {
            row.by = own.to_vec();
        }
        if !(leads || enters && offered || by_member) {
            return Ok(Err(ItemRefused::MayNotInvite));
        }
        if known.is_some() {
            return self.on_other_door(turn, cx, chat, row.door()).map(Ok);
        }
        if self.active_group(cx.dir, chat).is_some() && !enters {
            return Ok(Ok(()));
        }
        self.enter_by_offer(turn, cx, chat, row).map(Ok)
    }
}
