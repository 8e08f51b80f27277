//! What our user wants changed in a group: what a policy becomes by it, whether that is possible, and what of it is done.

use starling_keys::AccountId;
use starling_wire::{GroupSetting, MAX_GROUP_BANS, MAX_JOIN_LINKS, Policy, PolicyMember, Reasons, Role};

use super::{IntentRow, PolicyEntry, limits::MAX_DONE_INTENTS};
use crate::{
    api::{
        error::{GroupRefusal, NodeError, NotAllowed, NotFound},
        types::ChatId,
    },
    contacts::Directory,
    conversation::Conversations,
    limits::{INVITED_AT_ONCE, REMOVED_AT_ONCE},
    mls::{
        PAST_EPOCHS,
        policy::{Change, Denied, Place, check_change, removed_after},
    },
    store::{DoneRow, IntentKind, StandingRow},
};

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

/// What is to be committed.
pub(super) struct Wanted {
    pub(super) change: Option<Change>,
    /// Intents that are done.
    pub(super) settled: Vec<IntentRow>,
    /// Those that cannot be.
    pub(super) refused: Vec<(IntentRow, Denied)>,
}

impl PolicyEntry {
    /// The change that our user's intents come to.
    pub(super) fn wanted_by_user(&self, own: AccountId, place: Place<'_>, can_be_raised: bool) -> Wanted {
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
        if policy == *before {
            return wanted;
        }
        // Of this and what others want meanwhile the newer stays, however late the commits come.
        let newest = self.row.intents.iter().map(|intent| intent.wanted_ms).max();
        if let Some((rules, newest)) = policy.rules.as_mut().zip(newest.filter(|newest| *newest > 0)) {
            rules.audit.at = newest;
        }
        wanted.change = Some(Change { policy, reasons: Reasons::default() });
        wanted
    }

    /// Takes out what is over: what is done, and what cannot be.
    pub(super) fn settle_wanted(&mut self, wanted: &Wanted, epoch: u64) {
        let is_over = |intent: &IntentRow| {
            wanted.settled.contains(intent) || wanted.refused.iter().any(|(refused, _)| refused == intent)
        };
        self.row.intents.retain(|intent| !is_over(intent));
        self.note_done(&wanted.settled, epoch);
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
}

#[cfg(test)]
mod tests {
    use starling_keys::RecoveryPhrase;

    use super::*;

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
