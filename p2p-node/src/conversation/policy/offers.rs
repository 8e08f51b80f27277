//! Invitations: who is invited is told the door, and enters by itself when its user accepts.

use std::collections::BTreeSet;

use bytes::Bytes;
use starling_keys::{AccountId, DeviceId, RendezvousAddr};
use starling_wire::inbox::{GroupOffer, InboxBody};

use super::{
    PolicyEntry, Role,
    items::own_body,
    limits::{MAX_INVITATIONS, MAX_KNOWN_GROUPS},
    streamed::Streamed,
};
use crate::{
    api::{
        error::{GroupRefusal, NodeError, NotAllowed, NotFound},
        problem::ItemRefused,
        types::{ChatId, ChatKind},
    },
    contacts::Directory,
    conversation::{ChatState, Conversations, context::Context, group::GroupId},
    roster::{GroupMember, Roster},
    store::{InvitedRow, OfferRow, OfferedDoor, POLICIES, StandingRow},
    turn::{EngineError, Turn},
};

/// What a device tells the other devices of its account of an invitation; or whoever has asked to be let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was accepted, or the group was made here: the others enter, too.
    Accepted,
    /// It was declined.
    Declined,
    /// Whoever has asked is not let in.
    Refused,
    /// It is in the group, and this leads there now: the others, which are not or were left behind, may know an older way.
    Inside,
}

impl Answer {
    pub(super) const fn number(self) -> u32 {
        match self {
            Self::Accepted => 1,
            Self::Declined => 2,
            Self::Refused => 3,
            Self::Inside => 4,
        }
    }

    fn from_number(number: u32) -> Option<Self> {
        [Self::Accepted, Self::Declined, Self::Refused, Self::Inside]
            .into_iter()
            .find(|answer| answer.number() == number)
    }
}

impl OfferRow {
    pub(super) fn door(&self) -> OfferedDoor {
        OfferedDoor {
            group: self.group.clone(),
            secret: self.secret.clone(),
            home: self.home.clone(),
            link: self.link.clone(),
            ..OfferedDoor::default()
        }
    }
}

impl OfferRow {
    /// The group and the secret of its door.
    pub(super) fn way(&self) -> Vec<u8> {
        [&self.group[..], &self.secret].concat()
    }
}

/// What names a way in.
pub(super) fn hash_of(offer: &GroupOffer) -> Vec<u8> {
    blake3::hash(&[&offer.group[..], &offer.secret].concat()).as_bytes()[..16].to_vec()
}

/// What is kept of an offer, and the conversation that it is of. None if it is malformed.
fn offer_row(turn: &Turn<'_>, from: AccountId, offer: &GroupOffer) -> Option<(ChatId, OfferRow)> {
    let chat = offer.conversation[..].try_into().map(ChatId).ok()?;
    GroupId::try_from(&offer.group[..]).ok().filter(|_| offer.secret.len() == 32)?;
    offer.home.parse::<RendezvousAddr>().ok()?;
    let row = OfferRow {
        group: offer.group.to_vec(),
        secret: offer.secret.to_vec(),
        home: offer.home.clone(),
        name: starling_text::received_name(&offer.name),
        by: from.as_bytes().to_vec(),
        at_ms: turn.wall(),
        link: Vec::new(),
    };
    Some((chat, row))
}

impl PolicyEntry {
    pub(super) fn is_offered_by(&self, account: &AccountId) -> bool {
        self.row.offer.as_ref().is_some_and(|offer| offer.by == account.as_bytes())
    }
}

/// An offer as it is left in an inbox.
pub(super) fn offer_item(dir: Directory<'_>, offer: GroupOffer) -> InboxBody {
    InboxBody { offer: Some(offer), ..own_body(dir) }
}

/// The devices of an account that was invited that do not know of it.
fn untold(dir: Directory<'_>, account: &AccountId, row: &InvitedRow) -> Vec<DeviceId> {
    let devices = dir.list_of(account).into_iter().flat_map(|list| &list.devices).map(|device| device.id);
    devices.filter(|device| !row.told.iter().any(|told| told[..] == device.as_bytes()[..])).collect()
}

impl Conversations {
    /// The way into a group that is in use.
    pub(super) fn way_into(&self, dir: Directory<'_>, chat: ChatId) -> Option<GroupOffer> {
        let group = self.groups.get(&self.active_group(dir, chat)?)?;
        let door = group.row.door.as_ref()?;
        Some(GroupOffer {
            conversation: Bytes::copy_from_slice(&chat.0),
            group: Bytes::copy_from_slice(&group.id),
            secret: Bytes::copy_from_slice(&door.secret),
            home: group.row.home.clone(),
            name: self.policies.name(&chat).unwrap_or_default().to_owned(),
            answer: 0,
        })
    }

    /// What another device of ours, or one that joins our account, is to know of the groups that we are in.
    pub(crate) fn ways_into_groups(&self, dir: Directory<'_>) -> Vec<GroupOffer> {
        let is_member =
            |chat: &ChatId| self.policies.of.get(chat).is_some_and(|entry| entry.standing() == StandingRow::Member);
        self.group_chats().filter(is_member).filter_map(|chat| self.way_into(dir, chat)).collect()
    }

    /// Tells those whom this device has invited the way in, where they do not know it yet.
    pub(super) fn offer_ways_in(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        chat: ChatId,
    ) -> Result<(), EngineError> {
        let Some(entry) = self.policies.of.get(&chat).filter(|entry| !entry.row.invited.is_empty()) else {
            return Ok(());
        };
        let invited = entry.row.invited.clone();
        let Some((offer, policy)) = self.way_into(cx.dir, chat).zip(entry.policy.clone()) else { return Ok(()) };
        // Nobody could come in before.
        let group = self.active_group(cx.dir, chat).and_then(|id| self.groups.get(&id));
        let Some(group) = group.filter(|group| group.has_log()) else { return Ok(()) };
        // Who was added is in the tree, and may have yet to enter: the door that it knows may end before. Another device of its account, which could
        // tell it the next, may be removed by then.
        let (here, absent): (Vec<&GroupMember>, Vec<&GroupMember>) =
            group.members.iter().partition(|member| group.forks.newest_of(&member.device) > 0);
        let absent: BTreeSet<AccountId> = absent.iter().map(|member| member.account).collect();
        let come: BTreeSet<AccountId> =
            here.iter().map(|member| member.account).filter(|account| !absent.contains(account)).collect();
        let here: BTreeSet<DeviceId> = here.iter().map(|member| member.device).collect();
        let hash = hash_of(&offer);
        let entry = self.policies.of.get_mut(&chat);
        let before = entry.map(|entry| std::mem::take(&mut entry.streamed)).unwrap_or_default();
        let mut streamed = Streamed::default();
        let mut waiting = Vec::new();
        for mut row in invited {
            let Ok(account) = AccountId::from_bytes(&row.account) else { continue };
            if policy.role(account.as_bytes()).is_none() || come.contains(&account) {
                continue;
            }
            // Of who was told another way in its inbox nobody knows which of them it reads first.
            let by_stream = row.offered.is_empty() || row.offered == hash;
            if row.offered != hash {
                (row.offered, row.told) = (hash.clone(), Vec::new());
            }
            let mut devices = untold(cx.dir, &account, &row);
            devices.retain(|device| !here.contains(device));
            if by_stream {
                devices.retain(|device| !streamed.tell(turn, cx, &before, (*device, &offer, &hash[..])));
            }
            // Who has no home that is known is told later.
            if !devices.is_empty() && self.offer_to(turn, cx, (account, &devices), &offer)? {
                row.told.extend(devices.iter().map(|device| device.as_bytes().to_vec()));
            }
            waiting.push(row);
        }
        if let Some(entry) = self.policies.of.get_mut(&chat) {
            entry.row.invited = waiting;
            (entry.streamed, entry.has_untold, entry.dirty) = (streamed, false, true);
        }
        Ok(())
    }

    /// Those whom the user invites once more are told the way once more.
    pub(super) fn tell_again(&mut self, chat: ChatId, accounts: &[AccountId]) {
        if let Some(entry) = self.policies.of.get_mut(&chat) {
            entry.row.invited.retain(|row| !accounts.iter().any(|account| row.account == account.as_bytes()));
            entry.dirty = true;
        }
    }

    /// An account has other devices: those that are new are told of what it was invited to.
    pub(crate) fn offer_to_devices_of(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        account: &AccountId,
    ) -> Result<(), EngineError> {
        let is_invited = |entry: &PolicyEntry| entry.row.invited.iter().any(|row| row.account == account.as_bytes());
        let chats: Vec<ChatId> =
            self.policies.of.iter().filter(|(_, e)| is_invited(e)).map(|(chat, _)| *chat).collect();
        chats.into_iter().try_for_each(|chat| self.offer_ways_in(turn, cx, chat))
    }

    /// Leaves an offer in the inboxes of devices of an account. Gives whether it knows where they are.
    pub(super) fn offer_to(
        &self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        whom: (AccountId, &[DeviceId]),
        offer: &GroupOffer,
    ) -> Result<bool, EngineError> {
        let place = <[u8; 16]>::try_from(&offer.group[..]).unwrap_or_default();
        let body = offer_item(cx.dir, offer.clone());
        self.leave_for(turn, cx, whom, place, &body)
    }

    /// The other devices of our account do as this one.
    pub(super) fn tell_own_devices(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        chat: ChatId,
        answer: Answer,
    ) -> Result<(), EngineError> {
        let devices: Vec<DeviceId> = cx.dir.account.other_devices().iter().map(|device| device.id).collect();
        if devices.is_empty() {
            return Ok(());
        }
        let offered = || {
            let offer = self.policies.of.get(&chat)?.row.offer.as_ref()?;
            Some(GroupOffer {
                conversation: Bytes::copy_from_slice(&chat.0),
                group: Bytes::copy_from_slice(&offer.group),
                secret: Bytes::copy_from_slice(&offer.secret),
                home: offer.home.clone(),
                name: offer.name.clone(),
                answer: 0,
            })
        };
        let Some(offer) = self.way_into(cx.dir, chat).or_else(offered) else { return Ok(()) };
        if answer == Answer::Accepted {
            self.note_told_own(chat, hash_of(&offer), &devices);
        }
        let offer = GroupOffer { answer: answer.number(), ..offer };
        self.offer_to(turn, cx, (cx.dir.account.id(), &devices), &offer).map(drop)
    }

    /// A contact, or another device of ours, has offered a way into a group. Gives why it does not count.
    pub(crate) fn on_offer(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        from: AccountId,
        offer: &GroupOffer,
    ) -> Result<Result<(), ItemRefused>, EngineError> {
        if Answer::from_number(offer.answer) == Some(Answer::Refused) {
            return self.on_join_refused(turn, &from, offer);
        }
        let Some((chat, row)) = offer_row(turn, from, offer) else { return Ok(Err(ItemRefused::NoOffer)) };
        if from == cx.dir.account.id() {
            // It may have been let in again since this one was not in it any more.
            let may_follow = [
                StandingRow::Invited,
                StandingRow::Declined,
                StandingRow::Removed,
                StandingRow::Left,
                StandingRow::Member,
            ];
            return self.on_answer_of_own(turn, cx, (chat, &may_follow), row, offer.answer).map(Ok);
        }
        let known = self.policies.of.get(&chat);
        if known.is_none() && self.chats.contains_key(&chat) {
            return Ok(Err(ItemRefused::OtherConversation));
        }
        match known.map(PolicyEntry::standing) {
            Some(StandingRow::Asked) if self.awaits_offer(&from, offer) => {
                self.enter_by_offer(turn, cx, chat, row)?;
                return self.tell_own_devices(turn, cx, chat, Answer::Accepted).map(Ok);
            }
            Some(StandingRow::Member | StandingRow::Entering | StandingRow::Leaving) => {
                return self.on_other_way(turn, cx, (chat, from), row);
            }
            // The first one stays until its user has answered it: nobody changes what was offered by somebody else.
            Some(StandingRow::Invited) if known.is_some_and(|entry| !entry.is_offered_by(&from)) => {
                return Ok(Err(ItemRefused::MayNotInvite));
            }
            Some(_) if !self.may_reopen(chat, &from, &row) => return Ok(Err(ItemRefused::MayNotInvite)),
            None if self.invitations() >= MAX_INVITATIONS || !self.make_room(turn)? => {
                return Ok(Err(ItemRefused::TooManyInvitations));
            }
            _ => {}
        }
        self.be_invited(turn, chat, row).map(Ok)
    }

    /// Our account is in a group, as its snapshot says.
    pub(crate) fn on_known_group(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        offer: &GroupOffer,
    ) -> Result<(), EngineError> {
        let Some((chat, row)) = offer_row(turn, cx.dir.account.id(), offer) else {
            tracing::warn!("a group of the snapshot cannot be entered");
            return Ok(());
        };
        // A snapshot may be older than what this device knows of a group.
        self.on_answer_of_own(turn, cx, (chat, &[StandingRow::Invited]), row, Answer::Accepted.number())
    }

    /// Whether somebody may invite into a conversation that we were in, or have declined: into another group of it only who could let others in.
    fn may_reopen(&self, chat: ChatId, from: &AccountId, row: &OfferRow) -> bool {
        let known = |entry: &PolicyEntry| entry.row.offer.as_ref().is_some_and(|offer| offer.group == row.group);
        let was_in = self.chats.get(&chat).is_some_and(|state| state.row.groups.contains(&row.group));
        let is_same = was_in || self.policies.of.get(&chat).is_some_and(known);
        let has_policy = self.policies.of.get(&chat).is_some_and(|entry| entry.policy.is_some());
        is_same || !has_policy || self.policies.role(&chat, from).is_some_and(|role| role <= Role::Admin)
    }

    /// Makes room for one more invitation: those that were declined first are forgotten. Gives whether there is.
    pub(super) fn make_room(&mut self, turn: &Turn<'_>) -> Result<bool, EngineError> {
        if self.policies.of.len() < MAX_KNOWN_GROUPS {
            return Ok(true);
        }
        let declined = self
            .policies
            .of
            .iter()
            .filter(|(chat, entry)| entry.standing() == StandingRow::Declined && !self.chats.contains_key(chat));
        let first = declined.min_by_key(|(_, entry)| entry.row.offer.as_ref().map_or(0, |offer| offer.at_ms));
        let Some(chat) = first.map(|(chat, _)| *chat) else { return Ok(false) };
        self.policies.of.remove(&chat);
        turn.delete(POLICIES, &chat.0)?;
        Ok(true)
    }

    /// How many invitations wait for the user.
    fn invitations(&self) -> usize {
        self.policies.of.values().filter(|entry| entry.standing() == StandingRow::Invited).count()
    }

    /// Another device of ours is in a group, or has declined to be.
    fn on_answer_of_own(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        (chat, may_follow): (ChatId, &[StandingRow]),
        row: OfferRow,
        answer: u32,
    ) -> Result<(), EngineError> {
        let standing = self.policies.of.get(&chat).map(PolicyEntry::standing);
        let answer = Answer::from_number(answer);
        if answer == Some(Answer::Inside) && self.is_entering_elsewhere(chat, &row) {
            return self.enter_by_new_way(turn, cx, chat, row);
        }
        // Our user has come back on another device, by another way than the one that was left on this one.
        let is_back = |entry: &PolicyEntry| entry.leaves_when_entered() && entry.row.left_way != row.way();
        let has_come_back = answer != Some(Answer::Inside) && self.policies.of.get(&chat).is_some_and(is_back);
        let stays = has_come_back && self.stay(chat);
        // Another device was let in by the link by which this one comes: it knows the group's own door.
        let by_link = |entry: &PolicyEntry| entry.row.offer.as_ref().is_some_and(|offer| !offer.link.is_empty());
        let comes_by_link = |entry: &PolicyEntry| {
            matches!(entry.standing(), StandingRow::Asked | StandingRow::Entering) && by_link(entry)
        };
        let stays = stays || self.policies.of.get(&chat).is_some_and(comes_by_link);
        let may_follow = standing.is_none_or(|standing| may_follow.contains(&standing));
        let may_enter = stays || may_follow && !self.has_been_left(chat, &row);
        match answer {
            Some(Answer::Accepted | Answer::Inside) if standing == Some(StandingRow::Member) => {
                if may_follow {
                    self.keep_way_of_own(turn, cx, chat, row)
                } else {
                    Ok(())
                }
            }
            Some(Answer::Accepted | Answer::Inside) if may_enter && self.policies.has_room() => {
                self.enter_by_offer(turn, cx, chat, row)
            }
            Some(Answer::Declined) if standing == Some(StandingRow::Invited) => {
                if let Some(entry) = self.policies.of.get_mut(&chat) {
                    entry.set_standing(StandingRow::Declined);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The user accepts an invitation.
    pub(super) fn accept(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        chat: ChatId,
    ) -> Result<Result<(), NodeError>, EngineError> {
        match self.policies.of.get(&chat).map(PolicyEntry::standing) {
            Some(StandingRow::Invited | StandingRow::Declined) => {}
            // Our user has asked by a link, and was invited before.
            Some(StandingRow::Asked) if self.take_invitation(chat) => {}
            Some(StandingRow::Entering | StandingRow::Member) => return Ok(Ok(())),
            Some(StandingRow::Leaving) if self.stay(chat) => return Ok(Ok(())),
            _ => return Ok(Err(NotFound::Group.into())),
        }
        if !self.policies.has_room() {
            return Ok(Err(NotAllowed::Group(GroupRefusal::TooManyGroups).into()));
        }
        let is_asked = self.ask_to_be_added(turn, cx, chat)?;
        self.begin_to_enter(turn, cx, chat)?;
        if is_asked {
            self.chats.note_asked(chat);
        }
        self.tell_own_devices(turn, cx, chat, Answer::Accepted)?;
        Ok(Ok(()))
    }

    /// The user declines one.
    pub(super) fn decline(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        chat: ChatId,
    ) -> Result<Result<(), NodeError>, EngineError> {
        let Some(entry) = self.policies.of.get_mut(&chat) else { return Ok(Err(NotFound::Group.into())) };
        match entry.standing() {
            StandingRow::Invited => {
                entry.set_standing(StandingRow::Declined);
                self.tell_own_devices(turn, cx, chat, Answer::Declined)?;
                Ok(Ok(()))
            }
            StandingRow::Asked => {
                entry.set_standing(StandingRow::Declined);
                Ok(Ok(()))
            }
            StandingRow::Entering if entry.policy.is_none() => self.leave_before_entered(turn, cx, chat).map(Ok),
            _ => Ok(Err(NotFound::Group.into())),
        }
    }

    /// The user has blocked somebody: what they have invited us into is declined.
    pub(crate) fn decline_offers_of(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        account: &AccountId,
    ) -> Result<(), EngineError> {
        let waits = |entry: &PolicyEntry| entry.standing() == StandingRow::Invited && entry.is_offered_by(account);
        let chats: Vec<ChatId> = self.policies.of.iter().filter(|(_, e)| waits(e)).map(|(chat, _)| *chat).collect();
        for chat in chats {
            // An invitation that waits can always be declined.
            let _ = self.decline(turn, cx, chat)?;
        }
        Ok(())
    }

    /// Enters the group that this offer leads into.
    pub(super) fn enter_by_offer(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        chat: ChatId,
        row: OfferRow,
    ) -> Result<(), EngineError> {
        self.policies.of.get_or_insert_with(chat, PolicyEntry::default).row.offer = Some(row);
        self.begin_to_enter(turn, cx, chat)
    }

    /// Enters the group that was offered.
    pub(super) fn begin_to_enter(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        chat: ChatId,
    ) -> Result<(), EngineError> {
        if !self.chats.contains_key(&chat) {
            self.chats.insert(ChatState::new(chat, ChatKind::Group, Roster::of(cx.dir.account.id(), &[])));
        }
        let Some(entry) = self.policies.of.get_mut(&chat) else { return Ok(()) };
        let Some(door) = entry.row.offer.as_ref().map(OfferRow::door) else { return Ok(()) };
        match entry.standing() {
            // Who has left it meanwhile enters to say so, in this group.
            StandingRow::Leaving => (entry.row.leaving, entry.dirty) = (0, true),
            _ => entry.set_standing(StandingRow::Entering),
        }
        self.enter_by(turn, cx, chat, door)
    }
}
