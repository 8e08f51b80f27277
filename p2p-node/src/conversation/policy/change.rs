//! Changing the policy of a group: whose turn it is, the commit that follows from what is wanted, and what the user is told if it cannot be made.

use starling_keys::{AccountId, DeviceId};
use starling_wire::Role;

use super::{IntentRow, PolicyEntry, commands::invited, intents::needs_rules};
use crate::{
    api::{
        error::GroupRefusal,
        types::{ChatId, DurableEventKind, TransientEvent},
    },
    contacts::Directory,
    conversation::{
        Conversations, GroupEntry,
        context::Context,
        group::{GroupId, GroupMember},
        limits::REGROUP_TURN_MS,
    },
    mls::policy::{Change, Denied, Place},
    store::{EventLogRow, IntentKind, StandingRow},
    turn::{EngineError, Turn},
};

impl From<Denied> for GroupRefusal {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::NotAMember => Self::NotAMember,
            Denied::Role => Self::Role,
            Denied::NoOwner => Self::LastOwner,
            Denied::Full => Self::Full,
            Denied::Removed => Self::Removed,
            Denied::Banned => Self::Banned,
            Denied::TooManyBans => Self::TooManyBans,
            Denied::Link => Self::LinkEnded,
            Denied::TooManyLinks => Self::TooManyLinks,
            Denied::OldGroup | Denied::OldProgram => Self::OldGroup,
            Denied::NewGroup => Self::NewGroup,
            Denied::Community => Self::Community,
            Denied::Malformed
            | Denied::Tombstone
            | Denied::Reason
            | Denied::TooSoon
            | Denied::Audit
            | Denied::Statement => Self::Void,
        }
    }
}

/// Whose wish a change is.
#[derive(Clone, Copy)]
enum Wish {
    OfUser,
    /// Whoever's turn it is commits it.
    OfAnybody,
}

impl PolicyEntry {
    /// Whether neither our user nor those who leave want anything, nobody waits to be added or has to wait for a commit of somebody else, and no link's
    /// time is over. Of communities and their channels that cannot be said so simply.
    fn is_settled(&self, now_ms: u64) -> bool {
        let Some(policy) = &self.policy else { return false };
        let is_single = policy.community().is_none() && policy.channel_of().is_none();
        let has_wishes = !self.row.intents.is_empty() || !self.row.leaves.is_empty();
        let links = policy.rules.as_ref().map(|rules| &rules.links[..]).unwrap_or_default();
        let are_links_good = links.iter().all(|link| link.expires == 0 || link.expires > now_ms);
        let is_waited_for = self.row.is_waited_for || self.waiting.due().is_some();
        is_single && !has_wishes && !is_waited_for && self.due.turn_at.is_none() && are_links_good
    }

    /// After how many milliseconds a device commits what others may as well. Who is in a community only those say who lead it: nobody else is waited for.
    fn turn_in(&self, group: &GroupEntry, own: &AccountId, device: &DeviceId) -> u64 {
        let leads = |m: &GroupMember| {
            let role = self.policy.as_ref().and_then(|policy| policy.role(m.account.as_bytes()));
            role.is_some_and(|role| role <= Role::Moderator)
        };
        match self.restates(own) {
            true => REGROUP_TURN_MS * place_among(group, device, leads),
            false => turn_of(group, device),
        }
    }
}

impl Conversations {
    /// Whether nobody wants anything changed in a group, as far as can be told without going through its members: that is asked in each turn that has to
    /// do with it.
    fn is_settled(&self, dir: Directory<'_>, now_ms: u64, entry: &PolicyEntry, group: &GroupEntry) -> bool {
        entry.is_settled(now_ms) && !group.can_be_raised() && !self.policies.has_removed_device(dir, group)
    }

    /// The conversation of a group, if it has a policy that a commit of ours could change now.
    fn changeable(&self, turn: &Turn<'_>, cx: &Context<'_>, id: GroupId) -> Option<ChatId> {
        let is_ready = |group: &&GroupEntry| !group.row.dead && !group.has_pending && !group.is_newer();
        let group = self.groups.get(&id).filter(is_ready)?;
        let chat = group.chat().filter(|chat| self.chats.is_group_chat(*chat))?;
        let may_commit = group.read.caught_up && !group.append.committing && self.usable(turn, cx, id).is_some();
        may_commit.then_some(chat)
    }

    /// Prepares a commit that changes the policy, if something is to be changed and it is this device's turn.
    pub(in crate::conversation) fn maybe_change(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        id: GroupId,
    ) -> Result<(), EngineError> {
        let Some(chat) = self.changeable(turn, cx, id) else { return Ok(()) };
        self.keep_who_came(chat, id);
        let Some(group) = self.groups.get(&id) else { return Ok(()) };
        let (dir, now_ms) = (cx.dir, turn.agreed_ms());
        let may_change = |entry: &&PolicyEntry| {
            entry.standing() == StandingRow::Member && !self.is_settled(dir, now_ms, entry, group)
        };
        let Some(entry) = self.policies.of.get(&chat).filter(may_change) else {
            return Ok(());
        };
        let (own, place) = (cx.dir.account.id(), Place { group: &id, epoch: group.epoch() });
        let user = entry.wanted_by_user(own, place, group.can_be_raised());
        let carried = self.carried_change(cx.dir, chat, group);
        let is_carried = carried.is_some();
        let waits_for_rules = group.can_be_raised() && entry.row.intents.iter().any(needs_rules);
        let in_turn = if waits_for_rules { 0 } else { entry.turn_in(group, &own, &cx.dir.account.device()) };
        // Whoever has signed a statement carries it on at once; others do where that one is gone.
        let (others, wait) = match carried {
            Some((change, true)) => (change, 0),
            Some((change, false)) => (change, REGROUP_TURN_MS + in_turn),
            None => (self.wanted_by_others(cx.dir, entry, group, turn.agreed_ms()), in_turn),
        };
        let changes = entry.restates(&own) || entry.policy.as_ref().is_some_and(|policy| *policy != others.policy);
        let for_others = changes || entry.row.is_waited_for;
        let turn_at = for_others.then(|| entry.due.turn_at.unwrap_or(turn.now() + wait));
        let is_due = turn_at.is_some_and(|at| at <= turn.now());
        let is_same = entry.due.turn_at == turn_at && user.settled.is_empty() && user.refused.is_empty();
        let epoch = place.epoch;
        if !is_same && let Some(entry) = self.policies.of.get_mut(&chat) {
            entry.due.turn_at = turn_at;
            entry.settle_wanted(&user, epoch);
            entry.dirty = true;
        }
        for (_, denied) in &user.refused {
            self.report_refused(turn, chat, *denied)?;
        }
        self.invite_again(turn, cx, chat, &user.settled)?;
        // What is removed from a community goes from its channels before anything else.
        if is_carried && is_due && self.prepare(turn, cx, (chat, id), &others, Wish::OfAnybody)? {
            return Ok(());
        }
        if let Some(change) = user.change
            && self.prepare(turn, cx, (chat, id), &change, Wish::OfUser)?
        {
            return Ok(());
        }
        if self.add_waiting(turn, cx, (chat, id))? {
            return Ok(());
        }
        match is_due {
            true if changes => self.prepare(turn, cx, (chat, id), &others, Wish::OfAnybody).map(drop),
            true => self.let_others_go_on(turn, cx, (chat, id)),
            false => Ok(()),
        }
    }

    /// Somebody has made so many commits in a row that soon it has to wait for one of another account: this is one.
    fn let_others_go_on(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        (chat, id): (ChatId, GroupId),
    ) -> Result<(), EngineError> {
        if let Some(entry) = self.policies.of.get_mut(&chat) {
            (entry.row.is_waited_for, entry.due.turn_at, entry.dirty) = (false, None, true);
        }
        let Some(mut group) = self.open(turn, cx.mls, id)?.filter(|group| group.is_waited_for()) else {
            return Ok(());
        };
        group.prepare_update(turn.agreed_ms())?;
        group.entry.append.committing = true;
        Ok(())
    }

    /// Whom the user invites who was invited before is told the way once more, if it has come or not.
    fn invite_again(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        chat: ChatId,
        settled: &[IntentRow],
    ) -> Result<(), EngineError> {
        let invites = settled.iter().filter(|intent| intent.kind() == IntentKind::Invite);
        let roster = self.chats.get(&chat).map(|state| &state.roster);
        let has_come = |account: &AccountId| roster.is_some_and(|roster| roster.accounts().any(|a| a == *account));
        let (come, accounts): (Vec<AccountId>, Vec<AccountId>) =
            invites.filter_map(IntentRow::account).partition(has_come);
        self.tell_door_again(turn, cx, chat, &come)?;
        if accounts.is_empty() {
            return Ok(());
        }
        let Some(entry) = self.policies.of.get_mut(&chat) else { return Ok(()) };
        for account in accounts {
            // What follows from a commit of ours was told with it.
            if !entry.row.invited.iter().any(|row| row.account == account.as_bytes()) {
                entry.row.invited.push(invited(&account));
                entry.dirty = true;
            }
        }
        self.offer_ways_in(turn, cx, chat)
    }

    /// Prepares a change. `false` if it has to wait until others have committed: their programs do that soon (`let_others_go_on`).
    fn prepare(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        (chat, id): (ChatId, GroupId),
        change: &Change,
        wish: Wish,
    ) -> Result<bool, EngineError> {
        let change = &self.with_statement(cx, chat, change);
        let Some(mut group) = self.open(turn, cx.mls, id)? else { return Ok(true) };
        if !group.may_change(change) {
            return Ok(false);
        }
        match group.prepare_change(turn.agreed_ms(), change) {
            Ok(size) if size <= change.policy.largest_commit() => {
                group.entry.append.committing = true;
                return Ok(true);
            }
            Ok(size) => tracing::error!(size, "a commit that changes a group is too large"),
            Err(error) => tracing::error!(%error, "a commit that changes a group cannot be made"),
        }
        group.forget_pending();
        // It would be tried again and again.
        let Some(entry) = self.policies.of.get_mut(&chat) else { return Ok(true) };
        match wish {
            Wish::OfUser => {
                entry.row.intents.retain(|intent| intent.kind() == IntentKind::Bury);
                entry.dirty = true;
                self.report_refused(turn, chat, Denied::Malformed)?;
            }
            Wish::OfAnybody => {
                entry.due.turn_at = Some(turn.now() + 100 * REGROUP_TURN_MS);
            }
        }
        Ok(true)
    }

    /// The user is told, once, that this program has to be updated to be in a group.
    pub(in crate::conversation) fn report_newer(
        &mut self,
        turn: &mut Turn<'_>,
        chat: ChatId,
    ) -> Result<(), EngineError> {
        let entry = self.policies.of.get_mut(&chat);
        match entry.is_some_and(|entry| !std::mem::replace(&mut entry.told_newer, true)) {
            true => {
                turn.transient_event(TransientEvent::Net);
                self.report_refused(turn, chat, Denied::NewGroup)
            }
            false => Ok(()),
        }
    }

    /// The user is told that a change of a group cannot be made.
    pub(super) fn report_refused(&self, turn: &mut Turn<'_>, chat: ChatId, denied: Denied) -> Result<(), EngineError> {
        let text = GroupRefusal::from(denied).code().to_owned();
        let kind = DurableEventKind::GroupRefused.stored();
        turn.durable_event(EventLogRow { kind, chat: chat.0.to_vec(), text, ..EventLogRow::default() })
    }
}

/// After how many milliseconds a device commits what any member may: in an order that is another for each epoch, one after the other.
pub(super) fn turn_of(group: &GroupEntry, device: &DeviceId) -> u64 {
    REGROUP_TURN_MS * place_among(group, device, |_| true)
}

/// The place of a device in that order, of those members that count.
pub(super) fn place_among(group: &GroupEntry, device: &DeviceId, counts: impl Fn(&GroupMember) -> bool) -> u64 {
    let epoch = group.epoch().to_be_bytes();
    let key = |device: &DeviceId| *blake3::hash(&[&group.id[..], &epoch, device.as_bytes()].concat()).as_bytes();
    let own = key(device);
    group.members.iter().filter(|m| counts(m) && key(&m.device) < own).count() as u64
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use bytes::Bytes;
    use starling_keys::{DeviceKey, RecoveryPhrase};
    use starling_wire::Policy;

    use super::*;

    #[test]
    fn a_group_in_which_nobody_wants_anything_is_not_gone_through() {
        let [own, other] = [(); 2].map(|()| RecoveryPhrase::generate().account_key().id());
        let mut entry = PolicyEntry::default();
        assert!(!entry.is_settled(5), "nothing is known of it");
        let policy = Policy::new([1; 16], "ops".into(), *own.as_bytes());
        entry.set_policy(policy.with_rules(starling_wire::GroupKind::Group));
        assert!(entry.is_settled(5));
        entry.want(IntentRow::about(IntentKind::Invite, &other));
        assert!(!entry.is_settled(5));
        entry.row.intents.clear();
        entry.due.turn_at = Some(7);
        assert!(!entry.is_settled(5));
        entry.due.turn_at = None;
        entry.row.is_waited_for = true;
        assert!(!entry.is_settled(5));
        entry.row.is_waited_for = false;
        entry.row.leaves.push(vec![1]);
        assert!(!entry.is_settled(5));
        entry.row.leaves.clear();
        assert!(entry.is_settled(5));
        entry.waiting.take(5, (other, DeviceKey::generate().id()), Bytes::from_static(b"a package"), (false, 0));
        assert!(!entry.is_settled(5), "somebody has accepted an invitation");
    }
}
