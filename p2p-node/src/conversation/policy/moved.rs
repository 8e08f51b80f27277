//! A group is in another epoch: what its policy says now, who is in it, and what follows.

use std::collections::BTreeSet;

use starling_keys::{AccountId, DeviceId};
use starling_wire::{Body, GroupRules, GroupSetting, Leave, Policy, PolicyMember};

use super::{
    Due, IntentRow, PolicyEntry,
    limits::{INTRODUCE_AFTER_MS, INTRODUCE_TURN_MS, INTRODUCED_AT_ONCE, MAX_LEAVES},
    offers::Answer,
    waiting::Waiting,
};
use crate::{
    api::{
        error::GroupRefusal,
        types::{ChatId, DurableEventKind, TransientEvent},
    },
    contacts::Directory,
    conversation::{Conversations, context::Context, door, group::GroupId, policy::commands::invited},
    mls::policy::{Denied, Place, says_so},
    store::{EventLogRow, IntentKind, StandingRow},
    turn::{EngineError, Fact, Turn},
};

/// What has happened in a group, for who follows it.
pub(super) fn group_event(
    turn: &mut Turn<'_>,
    kind: DurableEventKind,
    chat: ChatId,
    account: &[u8],
    text: &str,
) -> Result<(), EngineError> {
    let (kind, chat) = (kind.stored(), chat.0.to_vec());
    turn.durable_event(EventLogRow {
        kind,
        chat,
        account: account.to_vec(),
        text: text.into(),
        ..EventLogRow::default()
    })
}

impl PolicyEntry {
    /// What the policy says that it did not before.
    fn tell_changes(&self, turn: &mut Turn<'_>, chat: ChatId, now: &Policy) -> Result<(), EngineError> {
        let Some(before) = &self.policy else { return Ok(()) };
        for member in &now.members {
            let was = before.role(&member.account);
            if was.is_some_and(|was| was != member.role) {
                group_event(
                    turn,
                    DurableEventKind::GroupRole,
                    chat,
                    &member.account,
                    super::shown::role_name(member.role),
                )?;
            }
        }
        if (&before.name, &before.topic) != (&now.name, &now.topic) {
            group_event(turn, DurableEventKind::GroupChanged, chat, &[], &now.name)?;
        }
        if before.is_raised_by(now) {
            group_event(turn, DurableEventKind::GroupPolicy, chat, &[], "")?;
        }
        let rules = before.rules.as_ref().zip(now.rules.as_ref());
        if let Some((was, is)) = rules {
            for account in is.bans.iter().filter(|account| !was.bans(account)) {
                group_event(turn, DurableEventKind::GroupBanned, chat, account, "")?;
            }
            let is_set = GroupSetting::ALL.into_iter().any(|setting| was.value(setting) != is.value(setting));
            let channels = |rules: &GroupRules| rules.community.as_ref().map(|community| community.channels.clone());
            if is_set || channels(was) != channels(is) || was.bans.iter().any(|account| !is.bans(account)) {
                group_event(turn, DurableEventKind::GroupPolicy, chat, &[], "")?;
            }
        }
        let is_gone = |m: &&PolicyMember| now.member(&m.account).is_none() && !now.bans(&m.account);
        for member in before.members.iter().filter(is_gone) {
            let left = self.leaves().any(|leave| leave.account == member.account);
            let kind = if left { DurableEventKind::GroupLeft } else { DurableEventKind::GroupRemoved };
            group_event(turn, kind, chat, &member.account, "")?;
        }
        Ok(())
    }
}

impl PolicyEntry {
    /// What is done by a policy: who has left, who is let in, which devices are buried.
    fn settle_with(&mut self, policy: &Policy) {
        self.row
            .leaves
            .retain(|leave| Leave::from_bytes(leave).is_ok_and(|leave| policy.role(&leave.account).is_some()));
        // Whom this device wanted in, and who has not come, is told the way.
        let is_let_in = |account: &AccountId| policy.role(account.as_bytes()).is_some();
        let invites = self.row.intents.iter().filter(|intent| intent.kind() == IntentKind::Invite);
        let let_in: Vec<AccountId> = invites.filter_map(IntentRow::account).filter(is_let_in).collect();
        for account in let_in {
            if !self.row.invited.iter().any(|row| row.account == account.as_bytes()) {
                self.row.invited.push(invited(&account));
            }
        }
        self.row.intents.retain(|intent| {
            let is_buried = || policy.tombstones.iter().any(|t| t.device[..] == intent.device[..]);
            intent.kind() != IntentKind::Bury || !is_buried()
        });
    }

    /// Members whose devices here were all removed, as after a recovery: the others are told the way, as nobody else of theirs knows the new one.
    fn lead_back(&mut self, before: &Policy, now: &Policy, there: &BTreeSet<AccountId>) {
        let new = now.tombstones.iter().filter(|t| before.tombstone(&t.account, &t.device).is_none());
        for account in new.filter_map(|t| AccountId::from_bytes(&t.account[..]).ok()) {
            let is_out = now.role(account.as_bytes()).is_some() && !there.contains(&account);
            if is_out && !self.row.invited.iter().any(|row| row.account == account.as_bytes()) {
                self.row.invited.push(invited(&account));
            }
        }
    }

    /// This device is in the group that it has entered.
    pub(super) fn has_come(&mut self, turn: &mut Turn<'_>, chat: ChatId, own: &AccountId) -> Result<(), EngineError> {
        self.set_standing(StandingRow::Member);
        self.begin_to_take_history();
        (self.row.offer, self.row.invitation) = (None, None);
        self.due.introduce_at = Some(turn.now());
        self.row.introduce = true;
        turn.fact(Fact::ContactsChanged);
        let name = self.policy.as_ref().map_or("", |policy| &policy.name);
        group_event(turn, DurableEventKind::GroupJoined, chat, own.as_bytes(), name)
    }

    /// After how many milliseconds those who have come are told what they lack, once for all who come within them.
    pub(super) fn introduce_after_ms(&self) -> u64 {
        let accounts = self.policy.as_ref().map_or(0, |policy| policy.members.len());
        INTRODUCE_AFTER_MS * accounts.div_ceil(INTRODUCED_AT_ONCE).max(1) as u64
    }
}

/// Whether a policy ends what somebody could do before it: who is gone knows the door.
pub fn shuts_out(before: &Policy, after: &Policy) -> bool {
    after.tombstones.iter().any(|t| before.tombstone(&t.account, &t.device).is_none())
        || before.members.iter().any(|m| after.member(&m.account).is_none())
}

impl Conversations {
    /// A group is in another epoch, or was made or entered: what its policy says counts from now on.
    pub(in crate::conversation) fn policy_moved(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        id: GroupId,
        entered: bool,
    ) -> Result<(), EngineError> {
        let Some(group) = self.open(turn, cx.mls, id)? else { return Ok(()) };
        let Some((chat, policy)) = group.entry.chat().zip(group.policy()) else { return Ok(()) };
        let (is_waited_for, epoch) = (group.is_waited_for(), group.entry.epoch());
        let made_last = group.state.live.is_last_by(&cx.dir.account.id());
        let there: BTreeSet<AccountId> = group.entry.members.iter().map(|member| member.account).collect();
        let before = self.policies.of.get(&chat).and_then(|entry| entry.policy.clone());
        let (is_shut, by_link) = self.renew_door(turn, cx, id, (before.as_ref(), &policy, entered))?;
        let entry = self.policies.of.get_or_insert_with(chat, PolicyEntry::default);
        entry.tell_changes(turn, chat, &policy)?;
        entry.tell_links(turn, chat, &policy)?;
        let link_is_lost = entry.settle_links(&policy, is_shut);
        let is_overtaken = entry.drop_overtaken(&policy);
        entry.note_gone(&policy);
        entry.note_history(&policy, epoch, entered);
        // What leads to where this device enters it has not followed.
        if !entered {
            entry.note_former_owners(&policy);
        }
        // Whose devices were in it before this epoch, and are now.
        let before_others = self.chats.get(&chat).into_iter().flat_map(|state| state.roster.others());
        let was_held = entry.is_held_by(before_others);
        entry.unbar(&policy);
        let members = self.groups.get(&id).into_iter().flat_map(|group| &group.members);
        let is_held = entry.is_held_by(members.map(|member| member.account));
        let is_free = was_held && !is_held;
        let own = *cx.dir.account.id().as_bytes();
        let comes = policy.role(&own).is_some() && entry.standing() == StandingRow::Entering;
        entry.settle_with(&policy);
        if made_last && let Some(before) = &before {
            entry.lead_back(before, &policy, &there);
        }
        (entry.due.turn_at, entry.row.is_waited_for, entry.made_last) = (None, is_waited_for, made_last);
        let comes_by_link = comes && entry.row.offer.as_ref().is_some_and(|offer| !offer.link.is_empty());
        entry.set_policy(policy.clone());
        if by_link {
            entry.hand_on_all();
        }
        if comes {
            entry.has_come(turn, chat, &cx.dir.account.id())?;
        }
        self.report_undone(turn, chat, (link_is_lost, is_overtaken))?;
        if let Some(group) = self.groups.get_mut(&id) {
            group.sync_links(&policy, &cx.dir.account.id());
        }
        self.settle_requests(turn, chat, &policy)?;
        if comes_by_link {
            self.tell_own_devices(turn, cx, chat, Answer::Accepted)?;
        }
        if was_held != is_held {
            turn.transient_event(TransientEvent::Net);
        }
        if is_free {
            self.write_again(turn, (chat, id))?;
        }
        self.members_moved(turn, cx, (chat, id), (before.as_ref(), entered))
    }

    /// Makes the door anew where the policy ends what somebody could do before it, or somebody has come in by a link; and gives whether it does, and
    /// whether somebody has.
    fn renew_door(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &Context<'_>,
        id: GroupId,
        (before, policy, entered): (Option<&Policy>, &Policy, bool),
    ) -> Result<(bool, bool), EngineError> {
        // Who has come in by a link knows no door but the one that begins with it.
        let by_link = match before {
            Some(before) => self.open(turn, cx.mls, id)?.is_some_and(|group| group.state.live.came_by_link(before)),
            None => false,
        };
        let is_shut = before.is_some_and(|before| shuts_out(before, policy));
        // Where a device enters, the door is as it is there.
        if !entered
            && (is_shut || by_link)
            && let Some(mut group) = self.open(turn, cx.mls, id)?
        {
            door::renew(&mut group)?;
            // New devices of ours are told the new one.
            turn.fact(Fact::ContactsChanged);
        }
        Ok((is_shut, by_link))
    }

    /// The user is told what of its wishes comes to nothing: a link that is lost, what others have overtaken.
    fn report_undone(
        &self,
        turn: &mut Turn<'_>,
        chat: ChatId,
        (link_is_lost, is_overtaken): (bool, bool),
    ) -> Result<(), EngineError> {
        if link_is_lost {
            self.report_refused(turn, chat, Denied::Link)?;
        }
        if is_overtaken {
            let text = GroupRefusal::Overtaken.code();
            group_event(turn, DurableEventKind::GroupRefused, chat, &[], text)?;
        }
        Ok(())
    }

    /// What follows for those who are in a group, or are to come in or go out, from the policy that counts now.
    fn members_moved(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        (chat, id): (ChatId, GroupId),
        (before, entered): (Option<&Policy>, bool),
    ) -> Result<(), EngineError> {
        self.sync_roster(turn, cx.dir, (chat, id), entered)?;
        self.community_moved(turn, cx.dir, chat, before)?;
        self.offer_ways_in(turn, cx, chat)?;
        self.tell_way_to_own(turn, cx, chat)?;
        self.leave_if_wanted(turn, cx, chat)?;
        // What our user wants, and is done by this, is found in this turn.
        self.groups.touch(id);
        Ok(())
    }

    /// Others have come who do not know who we are: the devices of each account tell them, one after the other, and soon those who come after them, too.
    pub(super) fn introduce_soon(&mut self, turn: &Turn<'_>, dir: Directory<'_>, chat: ChatId) {
        let own = dir.account.id();
        let group = self.active_group(dir, chat).and_then(|id| self.groups.get(&id));
        let before = group
            .map_or(0, |g| g.members.iter().filter(|m| m.account == own && m.device < dir.account.device()).count());
        let Some(entry) = self.policies.of.get_mut(&chat) else { return };
        (entry.row.introduce, entry.dirty) = (true, true);
        let after = entry.introduce_after_ms();
        let spread = u64::from(dir.account.device().tag()[0]) * after / 256;
        // Another device of ours that is there comes first, and then this one need not.
        let turns = before as u64 * INTRODUCE_TURN_MS;
        entry.due.introduce_at.get_or_insert(turn.now() + after + spread + turns);
    }

    /// Tells the members of groups who we are, where that is due; and leaves those that know that we do.
    pub(crate) fn pump_policies(&mut self, turn: &mut Turn<'_>, cx: &mut Context<'_>) -> Result<(), EngineError> {
        for chat in self.policies.of.touched() {
            let Some(entry) = self.policies.of.get(&chat) else { continue };
            let enters_again = entry.enters_again && entry.rests_until <= turn.now();
            let hands_on = entry.row.hand_on && entry.due.hand_on_at.is_none_or(|at| at <= turn.now());
            let tells_ways = entry.row.tell_ways && entry.due.tell_ways_at.is_none_or(|at| at <= turn.now());
            let tells_offers = entry.has_ways_to_tell(turn.now());
            if entry.row.introduce && entry.due.introduce_at.is_none_or(|at| at <= turn.now()) {
                self.introduce(turn, cx, chat);
            }
            if hands_on {
                self.hand_on(turn, cx, chat)?;
            }
            if tells_ways {
                self.tell_ways(turn, cx, chat);
            }
            if tells_offers {
                self.offer_ways_in(turn, cx, chat)?;
            }
            self.hand_history_if_due(turn, cx, chat)?;
            if enters_again && let Some(id) = self.active_group(cx.dir, chat) {
                match self.apart.seeks(&id) {
                    // A member that leads is asked for the way: the door would lead where this device is.
                    true => self.policies.enters_not_again(&chat),
                    false => self.enter_again(turn, cx, id)?,
                }
            }
        }
        for chat in self.chats.touched() {
            let Some(entry) = self.policies.of.get(&chat) else { continue };
            let has_said = self.chats.get(&chat).is_some_and(|state| state.row.sent_upto >= entry.row.leaving);
            if entry.standing() == StandingRow::Leaving && entry.row.leaving > 0 && has_said {
                self.has_left(turn, chat)?;
            }
        }
        Ok(())
    }

    /// Another device of ours has said in a group who we are.
    pub(crate) fn introduced_elsewhere(&mut self, chat: ChatId) {
        if let Some(entry) = self.policies.of.get_mut(&chat).filter(|entry| entry.row.introduce) {
            (entry.row.introduce, entry.due.introduce_at, entry.dirty) = (false, None, true);
        }
    }

    fn introduce(&mut self, turn: &mut Turn<'_>, cx: &mut Context<'_>, chat: ChatId) {
        let Some(entry) = self.policies.of.get_mut(&chat) else { return };
        (entry.row.introduce, entry.due.introduce_at, entry.dirty) = (false, None, true);
        if entry.standing() != StandingRow::Member {
            return;
        }
        let profile = cx.dir.account.profile();
        self.chats.announce(turn, cx, chat, Body::Profile(profile));
        let chain = cx.dir.account.list().map(|chain| chain.as_bytes().to_vec());
        if let Some(list) = chain {
            let labels = self.authors.labels_of(cx.dir, &cx.dir.account.id());
            self.chats.announce(turn, cx, chat, Body::Devices(starling_wire::Devices { list, labels }));
        }
    }

    /// We have left, and the others know, or there is no way to them.
    pub(super) fn has_left(&mut self, turn: &mut Turn<'_>, chat: ChatId) -> Result<(), EngineError> {
        self.be_out(turn, chat, StandingRow::Left)
    }

    /// We are not in a group any more.
    pub(super) fn be_out(
        &mut self,
        turn: &mut Turn<'_>,
        chat: ChatId,
        standing: StandingRow,
    ) -> Result<(), EngineError> {
        let Some(entry) = self.policies.of.get_mut(&chat) else { return Ok(()) };
        if entry.standing() == standing {
            return Ok(());
        }
        entry.set_standing(standing);
        entry.due = Due::default();
        entry.row.intents.clear();
        entry.row.invited.clear();
        entry.row.invitation = None;
        entry.end_history();
        entry.waiting = Waiting::default();
        let ids = self.chats.get(&chat).map(|state| state.row.groups.clone()).unwrap_or_default();
        for id in ids.iter().filter_map(|id| GroupId::try_from(id.as_slice()).ok()) {
            if let Some(group) = self.groups.get_mut(&id) {
                group.give_up();
            }
        }
        // It may be about to come in again.
        self.stop_entering(chat);
        turn.fact(Fact::ReachChanged);
        turn.fact(Fact::ContactsChanged);
        Ok(())
    }

    /// A commit has removed this device from a group: from its account's membership, or from its account.
    pub(in crate::conversation) fn on_removed(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        id: GroupId,
        policy: &Policy,
    ) -> Result<(), EngineError> {
        let Some(chat) = self.groups.get(&id).and_then(super::super::group::GroupEntry::chat) else { return Ok(()) };
        let (own, device) = (cx.dir.account.id(), cx.dir.account.device());
        let is_member = policy.role(own.as_bytes()).is_some();
        if is_member && policy.tombstone(own.as_bytes(), device.as_bytes()).is_none() {
            // By another program with our key, or a mistake: we may come in again.
            return self.enter_again(turn, cx, id);
        }
        let standing = self.policies.of.get(&chat).map(PolicyEntry::standing);
        if let Some(entry) = self.policies.of.get_mut(&chat) {
            entry.set_policy(policy.clone());
        }
        let left = standing == Some(StandingRow::Leaving);
        if !left {
            let is_banned = policy.bans(own.as_bytes());
            let kind = if is_banned { DurableEventKind::GroupBanned } else { DurableEventKind::GroupRemoved };
            group_event(turn, kind, chat, own.as_bytes(), "")?;
        }
        self.be_out(turn, chat, if left { StandingRow::Left } else { StandingRow::Removed })?;
        if left {
            // Our user has left it since.
            self.forget_offer_again(chat);
            return Ok(());
        }
        self.be_invited_again(turn, cx, chat)
    }

    /// A device says that its account leaves a group.
    pub(crate) fn on_leave(
        &mut self,
        turn: &mut Turn<'_>,
        dir: Directory<'_>,
        chat: ChatId,
        (account, device): (AccountId, DeviceId),
        leave: &Leave,
    ) -> Result<(), EngineError> {
        let Some(group) = self.active_group(dir, chat).and_then(|id| self.groups.get(&id)) else { return Ok(()) };
        let (id, epoch) = (group.id, group.epoch());
        let Some(entry) = self.policies.of.get_mut(&chat) else { return Ok(()) };
        let member = entry.policy.as_ref().and_then(|policy| policy.member(account.as_bytes()).copied());
        let is_theirs = leave.account == *account.as_bytes() && leave.device == *device.as_bytes();
        let place = Place { group: &id, epoch };
        if !is_theirs || !member.is_some_and(|member| says_so(leave, &member, place)) {
            return Ok(());
        }
        if account == dir.account.id() {
            // Another device of ours has said so.
            return self.be_out(turn, chat, StandingRow::Left);
        }
        let bytes = leave.to_bytes();
        if !entry.row.leaves.contains(&bytes) && entry.row.leaves.len() < MAX_LEAVES {
            entry.row.leaves.push(bytes);
            entry.dirty = true;
        }
        self.groups.touch(id);
        Ok(())
    }
}
