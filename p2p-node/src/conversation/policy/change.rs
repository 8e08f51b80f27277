//! Changing the policy of a group: what our user wants, and what any member does where an account has removed a device, or leaves.

use bytes::Bytes;
use starling_keys::{AccountId, DeviceId};
use starling_wire::{GroupSetting, MAX_GROUP_BANS, MAX_JOIN_LINKS, Policy, PolicyMember, Reasons, Role};

use super::{IntentRow, Policies, PolicyEntry, commands::invited};
use crate::{
    api::{
        error::{GroupRefusal, NodeError, NotAllowed, NotFound},
        types::{ChatId, DurableEventKind, TransientEvent},
    },
    contacts::Directory,
    conversation::{
        Conversations, GroupEntry,
        context::Context,
        group::{GroupId, GroupMember},
    },
    limits::{INVITED_AT_ONCE, MAX_DONE_INTENTS, REGROUP_TURN_MS, REMOVED_AT_ONCE},
    mls::{
        PAST_EPOCHS,
        policy::{Change, Denied, Place, check_change, let_leave, may_bury, removed_after, tombstone_by},
    },
    store::{DoneRow, EventLogRow, IntentKind, StandingRow},
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

/// A policy with what an intent wants. `None` if it says that already.
fn with_intent(before: &Policy, policy: &Policy, intent: &IntentRow, own: &AccountId, epoch: u64) -> Option<Policy> {
    let mut after = changed(policy, intent, own, epoch)?;
    after.removed = removed_after(before, &after);
    Some(after)
}

fn changed(policy: &Policy, intent: &IntentRow, own: &AccountId, epoch: u64) -> Option<Policy> {
    let mut after = policy.clone();
    let account = intent.account().map(|account| *account.as_bytes());
    match (intent.kind(), account) {
        (IntentKind::Invite, Some(account)) if policy.role(&account).is_none() => {
            let since = epoch.saturating_add(1);
            after.add(PolicyMember { account, role: Role::Member, by: *own.as_bytes(), since });
        }
        (IntentKind::Remove, Some(account)) => after.remove(&account),
        (IntentKind::Role, Some(account)) => {
            let role = Role::ALL.into_iter().find(|role| u32::from(role.rank()) == intent.role)?;
            after.members.iter_mut().find(|m| m.account == account)?.role = role;
        }
        (IntentKind::Name, _) => after.name.clone_from(&intent.text),
        (IntentKind::Topic, _) => after.topic.clone_from(&intent.text),
        (IntentKind::Ban, Some(account)) => {
            after.remove(&account);
            after.rules.as_mut()?.ban(account);
        }
        (IntentKind::Unban, Some(account)) => after.rules.as_mut()?.unban(&account),
        (IntentKind::Setting, _) => {
            let setting = GroupSetting::from_number(intent.setting)?;
            after.rules.as_mut()?.set(setting, intent.value)?;
        }
        (IntentKind::LinkNew, _) => {
            let link = intent.wanted_link(own)?;
            let rules = after.rules.as_mut()?;
            if rules.link(&link.id).is_none() {
                rules.add_link(link);
            }
        }
        (IntentKind::LinkEnd, _) => {
            let id = intent.link_id()?;
            after.rules.as_mut()?.links.retain(|link| link.id != id);
        }
        (IntentKind::AddChannel | IntentKind::RemoveChannel, _) => intent.change_channels(&mut after)?,
        (IntentKind::Invite | IntentKind::Bury, _) | (_, None) => {}
    }
    // Who is none of its accounts is not removed from it.
    let is_known = |account: [u8; 32]| policy.role(&account).is_some();
    let gone = intent.kind() == IntentKind::Remove && !account.is_some_and(is_known);
    (after != *policy && !gone).then_some(after)
}

/// Whether an intent would bring somebody back of whose removal its user did not know.
fn is_stale(policy: &Policy, intent: &IntentRow) -> bool {
    let was_removed = |account: AccountId| policy.removed.contains(account.as_bytes());
    intent.kind() == IntentKind::Invite && !intent.again && intent.account().is_some_and(was_removed)
}

/// Whether an intent is about what groups of older versions do not have.
pub(super) fn needs_rules(intent: &IntentRow) -> bool {
    use IntentKind::{Ban, LinkEnd, LinkNew, Setting, Unban};
    matches!(intent.kind(), Ban | Unban | Setting | LinkNew | LinkEnd)
}

/// Whether an intent is about what those change who may change settings.
fn is_about_settings(intent: &IntentRow) -> bool {
    matches!(intent.kind(), IntentKind::Name | IntentKind::Topic | IntentKind::Setting)
}

/// Why an intent cannot be, whatever it would make of the policy.
fn check_intent(policy: &Policy, intent: &IntentRow) -> Result<(), Denied> {
    match policy.rules {
        None if needs_rules(intent) => Err(Denied::OldGroup),
        _ if is_stale(policy, intent) => Err(Denied::Removed),
        _ => Ok(()),
    }
}

/// Why a change cannot be: a group without an owner is told apart from others.
fn check(before: &Policy, change: &Change, own: AccountId, place: Place<'_>) -> Result<(), Denied> {
    if !change.policy.members.iter().any(|m| m.role == Role::Owner) {
        // Only owners change what owners are: the role is what is missing.
        let owns = before.role(own.as_bytes()) == Some(Role::Owner);
        return Err(if owns { Denied::NoOwner } else { Denied::Role });
    }
    if change.policy.members.len() > change.policy.most_accounts() {
        return Err(Denied::Full);
    }
    if change.policy.members.iter().any(|m| change.policy.bans(&m.account)) {
        return Err(Denied::Banned);
    }
    if change.policy.rules.as_ref().is_some_and(|rules| rules.bans.len() > MAX_GROUP_BANS) {
        return Err(Denied::TooManyBans);
    }
    if change.policy.rules.as_ref().is_some_and(|rules| rules.links.len() > MAX_JOIN_LINKS) {
        return Err(Denied::TooManyLinks);
    }
    check_change(before, &change.policy, own, &change.reasons, place)
}

/// Whose wish a change is.
#[derive(Clone, Copy)]
enum Wish {
    OfUser,
    /// Whoever's turn it is commits it.
    OfAnybody,
}

/// Makes a change larger, if the larger one is allowed.
fn take_if_possible(before: &Policy, change: &mut Change, with: Change, (own, place): (AccountId, Place<'_>)) {
    if check_change(before, &with.policy, own, &with.reasons, place).is_ok() {
        *change = with;
    }
}

/// What is to be committed.
struct Wanted {
    change: Option<Change>,
    /// Intents that are done.
    settled: Vec<IntentRow>,
    /// Those that cannot be.
    refused: Vec<(IntentRow, Denied)>,
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
        is_single && !has_wishes && !is_waited_for && self.turn_at.is_none() && are_links_good
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

    /// The change that our user's intents come to.
    fn wanted_by_user(&self, own: AccountId, place: Place<'_>, can_be_raised: bool) -> Wanted {
        let mut wanted = Wanted { change: None, settled: Vec::new(), refused: Vec::new() };
        let Some(before) = &self.policy else { return wanted };
        let waits = |intent: &IntentRow| before.rules.is_none() && can_be_raised && needs_rules(intent);
        let mut policy = before.clone();
        let (mut invited, mut removed) = (0, 0);
        for intent in self.row.intents.iter().filter(|intent| intent.kind() != IntentKind::Bury) {
            if invited >= INVITED_AT_ONCE || removed >= REMOVED_AT_ONCE {
                // The rest follows in the next commits, in its order.
                break;
            }
            // The group is about to have rules.
            if waits(intent) {
                continue;
            }
            let after = with_intent(before, &policy, intent, &own, place.epoch);
            if let Err(denied) = check_intent(before, intent)
                && (after.is_some() || needs_rules(intent))
            {
                wanted.refused.push((intent.clone(), denied));
                continue;
            }
            let Some(after) = after else {
                wanted.settled.push(intent.clone());
                continue;
            };
            let change = Change { policy: after, reasons: Reasons::default() };
            match check(before, &change, own, place) {
                Ok(()) => {
                    invited += usize::from(intent.absent || intent.kind() == IntentKind::Invite);
                    let goes = matches!(intent.kind(), IntentKind::Remove | IntentKind::Ban);
                    removed += usize::from(goes && !intent.absent);
                    policy = change.policy;
                }
                Err(denied) => wanted.refused.push((intent.clone(), denied)),
            }
        }
        wanted.change = (policy != *before).then_some(Change { policy, reasons: Reasons::default() });
        wanted
    }

    /// Remembers what was done of what the user wanted for as long as others may go on from another commit.
    fn note_done(&mut self, settled: &[IntentRow], epoch: u64) {
        self.row.done.retain(|done| done.epoch.saturating_add(PAST_EPOCHS as u64) >= epoch);
        let done = settled.iter().map(|intent| DoneRow { intent: Some(intent.clone()), epoch });
        self.row.done.extend(done.take(MAX_DONE_INTENTS.saturating_sub(self.row.done.len())));
        self.dirty = true;
    }

    /// All have gone back to an epoch, and on from another commit: what was done in those after it is wanted again, before what waits, which the user has
    /// wanted later.
    pub(super) fn want_again_from(&mut self, epoch: u64) {
        let again: Vec<DoneRow> = self.row.done.extract_if(.., |done| done.epoch >= epoch).collect();
        let waiting = std::mem::take(&mut self.row.intents);
        self.went_back = true;
        for intent in again.into_iter().filter_map(|done| done.intent).chain(waiting) {
            self.want(intent);
        }
    }
}

impl Policies {
    /// Whether a group has a device that its account has removed, and that goes with a commit which any member may make; or an account that was removed
    /// where we were.
    pub(in crate::conversation) fn has_removed_device(&self, dir: Directory<'_>, group: &GroupEntry) -> bool {
        let entry = group.chat().and_then(|chat| self.of.get(&chat));
        let Some((policy, entry)) = entry.and_then(|entry| Some((entry.policy.as_ref()?, entry))) else { return false };
        if entry.is_held_by(group.members.iter().map(|m| m.account)) {
            return true;
        }
        // Asked in each turn, for whatever is written: all members are looked at when something has changed.
        let from = (dir.chains_known(), entry.changes);
        if let Some((known, found)) = group.has_removed.get()
            && known == from
        {
            return found;
        }
        let goes = |m: &GroupMember| dir.list_of(&m.account).is_some_and(|chain| may_bury(policy, chain, &m.device));
        let found = group.members.iter().any(goes);
        group.has_removed.set(Some((from, found)));
        found
    }
}

impl Conversations {
    /// Whether our user's intents are possible now.
    pub(super) fn check_wanted(
        &self,
        dir: Directory<'_>,
        chat: ChatId,
        intents: &[IntentRow],
    ) -> Result<(), NodeError> {
        let entry = self.policies.of.get(&chat).ok_or(NotFound::Group)?;
        let refused = |why| Err(NotAllowed::Group(why).into());
        let group = self.active_group(dir, chat).and_then(|id| self.groups.get(&id));
        let Some((policy, group)) =
            entry.policy.as_ref().zip(group).filter(|_| entry.standing() == StandingRow::Member)
        else {
            return refused(GroupRefusal::NotAMember);
        };
        let (own, place) = (dir.account.id(), Place { group: &group.id, epoch: group.epoch() });
        // What takes rules waits until the group has them.
        let raised = group.can_be_raised().then(|| policy.raised());
        let policy = raised.as_ref().unwrap_or(policy);
        // All together: so it is known at once whether there is room for as many.
        let mut after = policy.clone();
        for intent in intents {
            let about_somebody = matches!(intent.kind(), IntentKind::Remove | IntentKind::Role);
            if about_somebody && intent.account().is_none_or(|account| policy.role(account.as_bytes()).is_none()) {
                return refused(GroupRefusal::NotInGroup);
            }
            if policy.rules.is_none() && needs_rules(intent) {
                return Err(self.old_group(dir, chat).into());
            }
            after = changed(&after, intent, &own, place.epoch).unwrap_or(after);
        }
        if after != *policy {
            after.removed = removed_after(policy, &after);
            let change = Change { policy: after, reasons: Reasons::default() };
            check(policy, &change, own, place).map_err(|why| NotAllowed::Group(why.into()))?;
        } else if intents.iter().any(is_about_settings)
            && policy.role(own.as_bytes()).is_none_or(|role| role > policy.permissions().settings)
        {
            // It is so already; but whoever may not change it is not told that it was done.
            return refused(GroupRefusal::Role);
        }
        Ok(())
    }

    /// Why a group has no rules: which programs keep it from them, if some do.
    pub(super) fn old_group(&self, dir: Directory<'_>, chat: ChatId) -> NotAllowed {
        match self.old_programs(dir, chat) {
            outdated if outdated.is_empty() => NotAllowed::Group(GroupRefusal::OldGroup),
            outdated => NotAllowed::OldPrograms(outdated),
        }
    }

    /// What any member commits for others: devices that their accounts have removed, and accounts that leave; and those who may, the end of links whose
    /// time is over.
    fn wanted_by_others(&self, dir: Directory<'_>, entry: &PolicyEntry, group: &GroupEntry, now_ms: u64) -> Change {
        let place = Place { group: &group.id, epoch: group.epoch() };
        let before = entry.policy.clone().unwrap_or_else(empty);
        let mut change = Change { policy: before.clone(), reasons: Reasons::default() };
        let buried = entry.row.intents.iter().filter(|intent| intent.kind() == IntentKind::Bury);
        let own = dir.account.id();
        let buried = buried.filter_map(|intent| DeviceId::from_bytes(&intent.device).ok());
        let buried = buried.map(|device| GroupMember { account: own, device });
        // A commit does not remove its own author.
        let others = group.members.iter().copied().filter(|m| m.device != dir.account.device());
        for leave in entry.leaves() {
            let is_in =
                |m: &GroupMember| *m.device.as_bytes() == leave.device && *m.account.as_bytes() == leave.account;
            if leave.account == *own.as_bytes() || !group.members.iter().any(is_in) {
                continue;
            }
            let mut with = change.clone();
            let_leave(&mut with.policy, &leave.account);
            with.policy.removed = removed_after(&before, &with.policy);
            with.reasons.leaves.push(leave);
            take_if_possible(&before, &mut change, with, (own, place));
        }
        for member in others.chain(buried) {
            let chain = dir.list_of(&member.account).filter(|chain| may_bury(&change.policy, chain, &member.device));
            let Some(chain) = chain else { continue };
            let Some(tombstone) = tombstone_by(chain, &member.device) else { continue };
            let bytes = Bytes::copy_from_slice(chain.as_bytes());
            let is_given = change.reasons.chains.contains(&bytes);
            if !(is_given || change.reasons.has_room_for(&bytes)) {
                continue;
            }
            let mut with = change.clone();
            with.reasons.chains.extend((!is_given).then_some(bytes));
            with.policy.bury(tombstone);
            take_if_possible(&before, &mut change, with, (own, place));
        }
        // Nobody judges by a clock: those who may end a link at any time end it when its time is over.
        let mut with = change.clone();
        if let Some(rules) = &mut with.policy.rules {
            rules.links.retain(|link| link.expires == 0 || link.expires > now_ms);
        }
        if with.policy != change.policy {
            take_if_possible(&before, &mut change, with, (own, place));
        }
        // A group is raised by a commit that does nothing else.
        if group.can_be_raised() && change.policy == before && change.reasons.is_empty() {
            let with = Change { policy: before.raised(), reasons: Reasons::default() };
            take_if_possible(&before, &mut change, with, (own, place));
        }
        change
    }

    /// Whether nobody wants anything changed in a group, as far as can be told without going through its members: that is asked in each turn that has to
    /// do with it.
    fn is_settled(&self, dir: Directory<'_>, now_ms: u64, entry: &PolicyEntry, group: &GroupEntry) -> bool {
        entry.is_settled(now_ms) && !group.can_be_raised() && !self.policies.has_removed_device(dir, group)
    }

    /// Prepares a commit that changes the policy, if something is to be changed and it is this device's turn.
    pub(in crate::conversation) fn maybe_change(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        id: GroupId,
    ) -> Result<(), EngineError> {
        let is_ready = |group: &&GroupEntry| !group.row.dead && !group.has_pending && !group.is_newer();
        let Some(group) = self.groups.get(&id).filter(is_ready) else {
            return Ok(());
        };
        let Some(chat) = group.chat().filter(|chat| self.chats.is_group_chat(*chat)) else { return Ok(()) };
        if !group.read.caught_up || group.append.committing || self.usable(turn, cx, id).is_none() {
            return Ok(());
        }
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
        let turn_at = for_others.then(|| entry.turn_at.unwrap_or(turn.now() + wait));
        let is_due = turn_at.is_some_and(|at| at <= turn.now());
        let is_same = entry.turn_at == turn_at && user.settled.is_empty() && user.refused.is_empty();
        let epoch = place.epoch;
        if !is_same && let Some(entry) = self.policies.of.get_mut(&chat) {
            entry.turn_at = turn_at;
            let is_over = |intent: &IntentRow| {
                user.settled.contains(intent) || user.refused.iter().any(|(refused, _)| refused == intent)
            };
            entry.row.intents.retain(|intent| !is_over(intent));
            entry.note_done(&user.settled, epoch);
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
            (entry.row.is_waited_for, entry.turn_at, entry.dirty) = (false, None, true);
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
                entry.turn_at = Some(turn.now() + 100 * REGROUP_TURN_MS);
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

fn empty() -> Policy {
    Policy::new([0; 16], String::new(), [0; 32])
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use starling_keys::{DeviceKey, RecoveryPhrase};

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
        entry.turn_at = Some(7);
        assert!(!entry.is_settled(5));
        entry.turn_at = None;
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

    #[test]
    fn an_old_wish_does_not_bring_back_who_was_removed_since() {
        let [own, other] = [(); 2].map(|()| RecoveryPhrase::generate().account_key().id());
        let mut policy = Policy::new([1; 16], "ops".into(), *own.as_bytes());
        policy.removed.push(*other.as_bytes());
        let place = Place { group: &[2; 16], epoch: 7 };
        for again in [false, true] {
            let mut entry = PolicyEntry::default();
            entry.set_policy(policy.clone());
            entry.want(IntentRow { again, ..IntentRow::about(IntentKind::Invite, &other) });
            let wanted = entry.wanted_by_user(own, place, false);
            assert_eq!((wanted.change.is_some(), wanted.refused.len()), (again, usize::from(!again)));
        }
    }

    #[test]
    fn many_changes_go_out_in_commits_of_bounded_size() {
        let account = |n: u8| starling_keys::AccountKey::from_seed(&[n; 32]).id();
        let own = account(0);
        let mut entry = PolicyEntry::default();
        entry.set_policy(Policy { large: true, ..Policy::new([1; 16], "ops".into(), *own.as_bytes()) });
        for n in 1..=150 {
            entry.want(IntentRow::about(IntentKind::Invite, &account(n)));
        }
        let role = Role::Reader.rank().into();
        entry.want(IntentRow { role, ..IntentRow::about(IntentKind::Role, &account(150)) });
        for n in 1..=20 {
            entry.want(IntentRow::about(IntentKind::Remove, &account(n)));
        }
        let (mut epoch, mut sizes) = (1, Vec::new());
        loop {
            let wanted = entry.wanted_by_user(own, Place { group: &[2; 16], epoch }, false);
            assert!(wanted.refused.is_empty());
            entry.row.intents.retain(|intent| !wanted.settled.contains(intent));
            let Some(change) = wanted.change else { break };
            sizes.push(change.policy.members.len());
            entry.set_policy(change.policy);
            epoch += 1;
        }
        // The third commit has the last who are invited, and whoever of those that go has room in it.
        assert_eq!(sizes, [65, 129, 151 - REMOVED_AT_ONCE, 131]);
        assert!(entry.row.intents.is_empty());
        assert_eq!(entry.policy.as_ref().and_then(|p| p.role(account(150).as_bytes())), Some(Role::Reader));
    }

    #[test]
    fn what_is_done_again_does_not_take_the_place_of_what_was_wanted_later() {
        let mut entry = PolicyEntry::default();
        let topic = |text: &str, wanted_ms| IntentRow::says(IntentKind::Topic, text.into(), wanted_ms);
        entry.note_done(&[topic("first", 1), topic("second", 2)], 5);
        entry.want(topic("third", 3));
        entry.want_again_from(5);
        assert_eq!(entry.row.intents, [topic("third", 3)]);
    }

    #[test]
    fn what_is_done_is_remembered_for_as_long_as_it_can_be_undone() {
        let other = RecoveryPhrase::generate().account_key().id();
        let mut entry = PolicyEntry::default();
        let intent = IntentRow::about(IntentKind::Remove, &other);
        entry.note_done(std::slice::from_ref(&intent), 5);
        entry.want_again_from(6);
        assert!(entry.row.intents.is_empty());
        entry.want_again_from(5);
        assert_eq!(entry.row.intents, std::slice::from_ref(&intent));
        assert!(entry.row.done.is_empty());
        entry.note_done(&[intent], 5);
        entry.note_done(&[], 10);
        assert!(entry.row.done.is_empty());
        let many: Vec<IntentRow> = (0..200).map(|_| IntentRow::about(IntentKind::Remove, &other)).collect();
        entry.note_done(&many, 10);
        assert_eq!(entry.row.done.len(), MAX_DONE_INTENTS);
    }
}
