//! Leaving a group: our user's word goes to the members, and any of them commits it.

use starling_keys::{AccountId, DeviceId};
use starling_wire::{Body, LEAVE_DOMAIN, Leave, Role};

use super::PolicyEntry;
use crate::{
    api::{
        error::{GroupRefusal, NodeError, NotAllowed, NotFound},
        types::ChatId,
    },
    conversation::{Conversations, GroupEntry, context::Context},
    mls::policy::{Denied, Place, says_so},
    store::{IntentKind, OfferRow, StandingRow},
    turn::{EngineError, Turn},
};

impl PolicyEntry {
    /// Our user leaves a group that this device may have entered, and does not know: it says so as soon as it is there.
    pub(super) fn leaves_when_entered(&self) -> bool {
        self.standing() == StandingRow::Leaving && self.row.leaving == 0
    }

    /// What our user wanted of the group is not wanted any more; but for removed devices of ours, which are removed in any case.
    fn be_leaving(&mut self) {
        self.set_standing(StandingRow::Leaving);
        self.row.intents.retain(|intent| intent.kind() == IntentKind::Bury);
    }

    /// Whether our user may leave: not as the last owner of others.
    fn check_may_leave(&self, own: &AccountId) -> Result<(), GroupRefusal> {
        let policy = self.policy.as_ref().ok_or(GroupRefusal::NotAMember)?;
        let mut others = policy.members.iter().filter(|member| member.account != *own.as_bytes()).peekable();
        let is_owner = policy.role(own.as_bytes()) == Some(Role::Owner);
        match is_owner && others.peek().is_some() && others.all(|member| member.role != Role::Owner) {
            true => Err(GroupRefusal::LastOwner),
            false => Ok(()),
        }
    }
}

impl Conversations {
    /// Says that we leave. What we have written still reaches the others before.
    pub(super) fn leave(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        chat: ChatId,
    ) -> Result<Result<(), NodeError>, EngineError> {
        let own = cx.dir.account.id();
        let Some(entry) = self.policies.of.get(&chat) else { return Ok(Err(NotFound::Group.into())) };
        let checked = match entry.standing() {
            // Who says so once more does not wait for a group that may never let this device in.
            StandingRow::Leaving if entry.leaves_when_entered() && !self.may_have_entered(chat) => {
                return self.has_left(turn, chat).map(Ok);
            }
            StandingRow::Leaving => return Ok(Ok(())),
            StandingRow::Entering => return self.leave_before_entered(turn, cx, chat).map(Ok),
            // The request stays in the box of the link; who approves it offers what our user then accepts or not.
            StandingRow::Asked => return self.decline(turn, cx, chat),
            StandingRow::Member if self.leads_community_of(&own, chat) => Err(GroupRefusal::Community),
            StandingRow::Member => entry.check_may_leave(&own),
            _ => Err(GroupRefusal::NotAMember),
        };
        let has_group = self.active_group(cx.dir, chat).is_some();
        match checked.and_then(|()| has_group.then_some(()).ok_or(GroupRefusal::NotAMember)) {
            Ok(()) => self.say_leave(turn, cx, chat).map(Ok),
            Err(why) => Ok(Err(NotAllowed::Group(why).into())),
        }
    }

    /// Our user leaves a group that this device is about to enter. It may be in it already, as the answer to its commit can be lost, or false, and so may
    /// other devices of ours: then it goes on, and says so when it is there.
    pub(super) fn leave_before_entered(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &Context<'_>,
        chat: ChatId,
    ) -> Result<(), EngineError> {
        let may_be_in = self.may_have_entered(chat) || !cx.dir.account.other_devices().is_empty();
        let Some(entry) = self.policies.of.get_mut(&chat) else { return Ok(()) };
        if !may_be_in && entry.policy.is_none() {
            return self.has_left(turn, chat);
        }
        entry.row.leaving = 0;
        entry.row.left_way = entry.row.offer.as_ref().map(OfferRow::way).unwrap_or_default();
        entry.be_leaving();
        Ok(())
    }

    /// Our user does not leave after all, if nobody knows of it yet. Gives whether that is so.
    pub(super) fn stay(&mut self, chat: ChatId) -> bool {
        let entry = self.policies.of.get_mut(&chat).filter(|entry| entry.leaves_when_entered());
        entry.map(|entry| entry.set_standing(StandingRow::Entering)).is_some()
    }

    /// This device is in a group: if our user has left it before that, the others hear of it.
    pub(super) fn leave_if_wanted(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        chat: ChatId,
    ) -> Result<(), EngineError> {
        let own = cx.dir.account.id();
        let Some(entry) = self.policies.of.get_mut(&chat).filter(|entry| entry.leaves_when_entered()) else {
            return Ok(());
        };
        if entry.check_may_leave(&own).is_ok() {
            entry.row.offer = None;
            return self.say_leave(turn, cx, chat);
        }
        entry.has_come(turn, chat, &own)?;
        self.report_refused(turn, chat, Denied::NoOwner)
    }

    /// Our user has left a group on another device, which is not in it where this one is: nobody there takes that device's word.
    pub(in crate::conversation) fn leave_as_told(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        chat: ChatId,
        device: DeviceId,
        leave: &Leave,
    ) -> Result<(), EngineError> {
        let own = cx.dir.account.id();
        let Some(group) = self.active_group(cx.dir, chat).and_then(|id| self.groups.get(&id)) else { return Ok(()) };
        let place = Place { group: &group.id, epoch: group.epoch() };
        let Some(entry) = self.policies.of.get(&chat).filter(|entry| entry.standing() == StandingRow::Member) else {
            return Ok(());
        };
        let member = entry.policy.as_ref().and_then(|policy| policy.member(own.as_bytes()));
        let is_theirs = leave.device == *device.as_bytes() && member.is_some_and(|m| says_so(leave, m, place));
        match is_theirs && entry.check_may_leave(&own).is_ok() {
            true => self.say_leave(turn, cx, chat),
            false => Ok(()),
        }
    }

    /// Nothing leads into a group any more: who has left it before it was in is not in it.
    pub(in crate::conversation) fn leave_if_closed(
        &mut self,
        turn: &mut Turn<'_>,
        chat: ChatId,
    ) -> Result<(), EngineError> {
        match self.policies.of.get(&chat).is_some_and(PolicyEntry::leaves_when_entered) {
            true => self.has_left(turn, chat),
            false => Ok(()),
        }
    }

    fn say_leave(&mut self, turn: &mut Turn<'_>, cx: &mut Context<'_>, chat: ChatId) -> Result<(), EngineError> {
        let Some(group) = self.active_group(cx.dir, chat) else { return Ok(()) };
        let group_entry = self.groups.get(&group);
        let epoch = group_entry.map_or(0, GroupEntry::epoch);
        // Other devices of ours have to hear of it, too.
        let is_alone = group_entry.is_none_or(|entry| entry.members.len() <= 1);
        let (account, device) = (*cx.dir.account.id().as_bytes(), *cx.dir.account.device().as_bytes());
        let statement = Leave::statement(&account, &group, epoch);
        let signature = cx.dir.account.identity.device_key.sign(LEAVE_DOMAIN, &statement);
        let id = self.write_event(turn, cx, chat, Body::Leave(Leave { account, device, group, epoch, signature }))?;
        if let Some(entry) = self.policies.of.get_mut(&chat) {
            entry.row.leaving = id.sequence;
            entry.be_leaving();
        }
        match is_alone {
            true => self.has_left(turn, chat),
            false => Ok(()),
        }
    }
}
