//! Changing the policy of a group: what our user wants, and what any member does where an account has removed a device, or leaves.

use bytes::Bytes;
use starling_keys::{AccountId, DeviceId};
use starling_wire::{Policy, PolicyMember, Reasons, Role, limits::MAX_ENTRY};

use super::{IntentRow, PolicyEntry, commands::invited};
use crate::{
    api::{
        error::{GroupRefusal, NodeError, NotAllowed, NotFound},
        types::{ChatId, DurableEventKind},
    },
    contacts::Directory,
    conversation::{
        Conversations, GroupEntry,
        context::Context,
        group::{GroupId, GroupMember},
    },
    limits::REGROUP_TURN_MS,
    mls::policy::{Change, Denied, Place, check_change, says_so, tombstone_by},
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
            Denied::Malformed | Denied::Removed | Denied::Tombstone | Denied::Reason => Self::Void,
        }
    }
}

/// A policy with what an intent wants. `None` if it says that already.
fn with_intent(policy: &Policy, intent: &IntentRow, own: &AccountId, epoch: u64) -> Option<Policy> {
    let mut after = policy.clone();
    let account = intent.account().map(|account| *account.as_bytes());
    match (intent.kind(), account) {
        (IntentKind::Invite, Some(account)) if policy.role(&account).is_none() => {
            after.add(PolicyMember { account, role: Role::Member, by: *own.as_bytes(), since: epoch + 1 });
        }
        (IntentKind::Remove, Some(account)) => after.remove(&account),
        (IntentKind::Role, Some(account)) => {
            let role = Role::ALL.into_iter().find(|role| u32::from(role.rank()) == intent.role)?;
            after.members.iter_mut().find(|m| m.account == account)?.role = role;
        }
        (IntentKind::Name, _) => after.name.clone_from(&intent.text),
        (IntentKind::Topic, _) => after.topic.clone_from(&intent.text),
        (IntentKind::Invite | IntentKind::Bury, _) | (_, None) => {}
    }
    // Who is none of its accounts is not removed from it.
    let is_known = |account: [u8; 32]| policy.role(&account).is_some();
    let gone = intent.kind() == IntentKind::Remove && !account.is_some_and(is_known);
    (after != *policy && !gone).then_some(after)
}

/// Why a change cannot be: a group without an owner is told apart from others.
fn check(before: &Policy, change: &Change, own: AccountId, place: Place<'_>) -> Result<(), Denied> {
    if !change.policy.members.iter().any(|m| m.role == Role::Owner) {
        return Err(Denied::NoOwner);
    }
    if change.policy.members.len() > starling_wire::MAX_GROUP_ACCOUNTS {
        return Err(Denied::Full);
    }
    check_change(before, &change.policy, own, &change.reasons, place)
}

/// What is to be committed.
struct Wanted {
    change: Option<Change>,
    /// Intents that are done, or cannot be.
    settled: Vec<IntentRow>,
    refused: Vec<Denied>,
}

impl PolicyEntry {
    /// The change that our user's intents come to.
    fn wanted_by_user(&self, own: AccountId, place: Place<'_>) -> Wanted {
        let mut wanted = Wanted { change: None, settled: Vec::new(), refused: Vec::new() };
        let Some(before) = &self.policy else { return wanted };
        let mut policy = before.clone();
        for intent in self.row.intents.iter().filter(|intent| intent.kind() != IntentKind::Bury) {
            let Some(after) = with_intent(&policy, intent, &own, place.epoch) else {
                wanted.settled.push(intent.clone());
                continue;
            };
            let change = Change { policy: after, reasons: Reasons::default() };
            match check(before, &change, own, place) {
                Ok(()) => policy = change.policy,
                Err(denied) => {
                    wanted.settled.push(intent.clone());
                    wanted.refused.push(denied);
                }
            }
        }
        wanted.change = (policy != *before).then_some(Change { policy, reasons: Reasons::default() });
        wanted
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
        for intent in intents {
            let about_somebody = matches!(intent.kind(), IntentKind::Remove | IntentKind::Role);
            if about_somebody && intent.account().is_none_or(|account| policy.role(account.as_bytes()).is_none()) {
                return refused(GroupRefusal::NotInGroup);
            }
            if let Some(after) = with_intent(policy, intent, &own, place.epoch) {
                let change = Change { policy: after, reasons: Reasons::default() };
                check(policy, &change, own, place).map_err(|why| NotAllowed::Group(why.into()))?;
            }
        }
        Ok(())
    }

    /// What any member commits for others: devices that their accounts have removed, and accounts that leave.
    fn wanted_by_others(&self, dir: Directory<'_>, entry: &PolicyEntry, group: &GroupEntry) -> Change {
        let place = Place { group: &group.id, epoch: group.epoch() };
        let mut change = Change { policy: entry.policy.clone().unwrap_or_else(empty), reasons: Reasons::default() };
        let buried = entry.row.intents.iter().filter(|intent| intent.kind() == IntentKind::Bury);
        let own = dir.account.id();
        let buried = buried.filter_map(|intent| DeviceId::from_bytes(&intent.device).ok());
        let buried = buried.map(|device| GroupMember { account: own, device });
        // A commit does not remove its own author.
        let others = group.members.iter().copied().filter(|m| m.device != dir.account.device());
        for member in others.chain(buried) {
            let Some(chain) = dir.list_of(&member.account).filter(|chain| chain.has_removed(&member.device)) else {
                continue;
            };
            let Some(tombstone) = tombstone_by(chain, &member.device) else { continue };
            let is_known = change.policy.tombstone(&tombstone.account, &tombstone.device).is_some();
            let bytes = Bytes::copy_from_slice(chain.as_bytes());
            let is_given = change.reasons.chains.contains(&bytes);
            if is_known || !(is_given || change.reasons.has_room_for(&bytes)) {
                continue;
            }
            if !is_given {
                change.reasons.chains.push(bytes);
            }
            change.policy.bury(tombstone);
        }
        for leave in entry.leaves() {
            let member = change.policy.member(&leave.account).copied();
            let is_in =
                |m: &GroupMember| *m.device.as_bytes() == leave.device && *m.account.as_bytes() == leave.account;
            let own_leaves = leave.account == *own.as_bytes();
            if member.is_some_and(|m| says_so(&leave, &m, place)) && group.members.iter().any(is_in) && !own_leaves {
                change.policy.remove(&leave.account);
                change.reasons.leaves.push(leave);
            }
        }
        change
    }

    /// Prepares a commit that changes the policy, if something is to be changed and it is this device's turn.
    pub(in crate::conversation) fn maybe_change(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        id: GroupId,
    ) -> Result<(), EngineError> {
        let Some(group) = self.groups.get(&id).filter(|group| !group.row.dead && !group.has_pending) else {
            return Ok(());
        };
        let Some(chat) = group.chat().filter(|chat| self.chats.is_group_chat(*chat)) else { return Ok(()) };
        if !group.read.caught_up || group.append.committing || self.usable(turn, cx, id).is_none() {
            return Ok(());
        }
        let Some(entry) = self.policies.of.get(&chat).filter(|entry| entry.standing() == StandingRow::Member) else {
            return Ok(());
        };
        let (own, place) = (cx.dir.account.id(), Place { group: &id, epoch: group.epoch() });
        let user = entry.wanted_by_user(own, place);
        let others = self.wanted_by_others(cx.dir, entry, group);
        let for_others = entry.policy.as_ref().is_some_and(|policy| *policy != others.policy);
        let turn_at =
            for_others.then(|| entry.turn_at.unwrap_or(turn.now() + turn_of(group, &cx.dir.account.device())));
        let is_due = turn_at.is_some_and(|at| at <= turn.now());
        let is_same = entry.turn_at == turn_at && user.settled.is_empty();
        let change = match user.change {
            Some(change) => Some(change),
            None if is_due => Some(others),
            None => None,
        };
        if !is_same && let Some(entry) = self.policies.of.get_mut(&chat) {
            entry.turn_at = turn_at;
            entry.row.intents.retain(|intent| !user.settled.contains(intent));
            entry.dirty = true;
        }
        for denied in user.refused {
            self.report_refused(turn, chat, denied)?;
        }
        self.invite_again(turn, cx, chat, &user.settled)?;
        let Some(change) = change else { return Ok(()) };
        self.prepare(turn, cx, (chat, id), &change)
    }

    /// Whom the user invites who was invited before, and has not come, is told the way once more.
    fn invite_again(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        chat: ChatId,
        settled: &[IntentRow],
    ) -> Result<(), EngineError> {
        let invites = settled.iter().filter(|intent| intent.kind() == IntentKind::Invite);
        let accounts: Vec<AccountId> = invites.filter_map(IntentRow::account).collect();
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

    fn prepare(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        (chat, id): (ChatId, GroupId),
        change: &Change,
    ) -> Result<(), EngineError> {
        let Some(mut group) = self.open(turn, cx.mls, id)? else { return Ok(()) };
        match group.prepare_change(turn.agreed_ms(), change) {
            Ok(size) if size <= MAX_ENTRY => {
                group.entry.append.committing = true;
                return Ok(());
            }
            Ok(size) => tracing::error!(size, "a commit that changes a group is too large"),
            Err(error) => tracing::error!(%error, "a commit that changes a group cannot be made"),
        }
        group.forget_pending();
        // It would be tried again and again.
        if let Some(entry) = self.policies.of.get_mut(&chat) {
            entry.row.intents.clear();
            entry.turn_at = Some(turn.now() + 100 * REGROUP_TURN_MS);
            entry.dirty = true;
        }
        self.report_refused(turn, chat, Denied::Malformed)
    }

    /// The user is told that a change of a group cannot be made.
    fn report_refused(&self, turn: &mut Turn<'_>, chat: ChatId, denied: Denied) -> Result<(), EngineError> {
        let text = GroupRefusal::from(denied).to_string();
        let kind = DurableEventKind::GroupRefused.stored();
        turn.durable_event(EventLogRow { kind, chat: chat.0.to_vec(), text, ..EventLogRow::default() })
    }
}

/// After how many milliseconds a device commits what any member may: in an order that is another for each epoch, one after the other.
fn turn_of(group: &GroupEntry, device: &DeviceId) -> u64 {
    let epoch = group.epoch().to_be_bytes();
    let key = |device: &DeviceId| *blake3::hash(&[&group.id[..], &epoch, device.as_bytes()].concat()).as_bytes();
    let own = key(device);
    let before = group.members.iter().filter(|m| key(&m.device) < own).count();
    REGROUP_TURN_MS * before as u64
}

fn empty() -> Policy {
    Policy::new([0; 16], String::new(), [0; 32])
}
