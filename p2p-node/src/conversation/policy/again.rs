//! Groups that are entered again: by the group's door, or by the way that a member shows to where it is.

use starling_keys::{AccountId, DeviceId};
use starling_wire::{Door, Policy, PolicyMember, Role};

use super::{IntentRow, PolicyEntry, limits::MAX_FORMER_OWNERS};
use crate::{
    api::types::{ChatId, TransientEvent},
    conversation::{
        Conversations, GroupEntry, context::Context, group::GroupId, limits::REENTER_MS, outbox::LOST_EPOCH,
    },
    mls::LiveGroup,
    store::{GoneRow, IntentKind, OfferedDoor},
    turn::{EngineError, Fact, Turn},
};

impl PolicyEntry {
    /// Remembers as which members accounts were removed: somebody may be let in again later.
    pub(super) fn note_gone(&mut self, now: &Policy) {
        let before = self.policy.iter().flat_map(|policy| &policy.members);
        let gone = before.filter(|member| now.member(&member.account).is_none());
        let gone: Vec<GoneRow> =
            gone.map(|member| GoneRow { account: member.account.to_vec(), since: member.since }).collect();
        self.row.gone.retain(|old| !gone.iter().any(|new| new.account == old.account));
        self.row.gone.extend(gone);
        let barred = &self.row.barred;
        let is_kept = |row: &GoneRow| {
            barred.contains(&row.account) || now.removed.iter().any(|account| row.account == account[..])
        };
        self.row.gone.retain(is_kept);
    }

    /// Remembers as which members accounts have ceased to be owners by commits that this device has followed: each has wanted that itself, as no
    /// valid commit ends it for another.
    pub(super) fn note_former_owners(&mut self, now: &Policy) {
        let Some(before) = &self.policy else { return };
        let owners = |policy: &Policy| -> Vec<PolicyMember> {
            policy.members.iter().filter(|member| member.role == Role::Owner).copied().collect()
        };
        let (were, are) = (owners(before), owners(now));
        let has = |owners: &[PolicyMember], account: &[u8]| owners.iter().any(|owner| owner.account[..] == *account);
        let former = &mut self.row.former_owners;
        // Somebody has made it an owner again.
        former.retain(|row| !has(&are, &row.account) || has(&were, &row.account));
        for owner in were.iter().filter(|owner| !has(&are, &owner.account)) {
            former.retain(|row| row.account != owner.account);
            former.push(GoneRow { account: owner.account.to_vec(), since: owner.since });
        }
        former.drain(..former.len().saturating_sub(MAX_FORMER_OWNERS));
    }

    /// Who is not a member any more, or was let in again, keeps nobody from writing.
    pub(super) fn unbar(&mut self, now: &Policy) {
        let gone = std::mem::take(&mut self.row.gone);
        let is_same = |account: &[u8], since| gone.iter().any(|gone| gone.account == account && gone.since == since);
        let stays = |account: &Vec<u8>| {
            now.members.iter().any(|member| member.account[..] == account[..] && is_same(account, member.since))
        };
        self.row.barred.retain(stays);
        self.row.gone = gone;
    }

    /// Whether one of these accounts, which have devices in the group, was removed where this device was: nothing is written to it.
    pub(super) fn is_held_by(&self, mut accounts: impl Iterator<Item = AccountId>) -> bool {
        !self.row.barred.is_empty()
            && accounts.any(|account| self.row.barred.iter().any(|barred| barred[..] == account.as_bytes()[..]))
    }

    /// Whom we knew as removed, and who is a member where we have come to, as the same member as before.
    fn not_removed(&self, there: &Policy) -> Vec<AccountId> {
        let is_there = |gone: &&GoneRow| {
            let account = gone.account.as_slice().try_into();
            account.is_ok_and(|account| there.member(account).is_some_and(|member| member.since == gone.since))
        };
        self.row.gone.iter().filter(is_there).filter_map(|gone| AccountId::from_bytes(&gone.account).ok()).collect()
    }
}

impl Conversations {
    /// A group that this device cannot go on in is entered again by its door; not again and again.
    pub(crate) fn enter_again(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        id: GroupId,
    ) -> Result<(), EngineError> {
        let Some(entry) = self.groups.get_mut(&id).filter(|entry| !entry.row.dead) else { return Ok(()) };
        entry.forks.is_stuck = true;
        let Some(entry) = self.groups.get(&id) else { return Ok(()) };
        let Some(chat) = entry.chat() else { return Ok(()) };
        if let Some(policy) = self.policies.of.get_mut(&chat) {
            policy.enters_again = policy.rests_until > turn.now();
            if policy.enters_again {
                return Ok(());
            }
            policy.rests_until = turn.now() + REENTER_MS;
        }
        // Another device of ours may know a newer door than this one, which was left behind.
        let known = || entry.row.door.as_ref().map(|door| door.secret.clone());
        let Some(secret) = self.told_by_own(chat, id).or_else(known) else { return Ok(()) };
        let door = OfferedDoor { group: id.to_vec(), secret, home: entry.row.home.clone(), ..OfferedDoor::default() };
        tracing::warn!("a group cannot be gone on in: it is entered again");
        // Until that is done it stays as it is: were there nobody inside, nobody could come in.
        self.enter_by(turn, cx, chat, door)
    }

    /// Accounts of a group whom the user invites once more are told its door: their devices may have been away for so long that they have to enter
    /// again, and know a door of before somebody was removed.
    pub(super) fn tell_door_again(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        chat: ChatId,
        accounts: &[AccountId],
    ) -> Result<(), EngineError> {
        let Some(offer) = self.way_into(cx.dir, chat) else { return Ok(()) };
        for account in accounts {
            let devices = cx.dir.list_of(account).into_iter().flat_map(|list| &list.devices);
            let devices: Vec<DeviceId> = devices.map(|device| device.id).collect();
            self.offer_to(turn, cx, (*account, &devices), &offer)?;
        }
        Ok(())
    }

    /// Somebody who may let others in says which door a group has that this device is in. It counts where that is entered again, by another door.
    pub(super) fn on_other_door(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        chat: ChatId,
        door: OfferedDoor,
    ) -> Result<(), EngineError> {
        let known = self.chats.get(&chat).and_then(|state| state.row.door.as_ref());
        let is_other = known.is_some_and(|known| {
            let is_door = known.link.is_empty() && !known.apart;
            is_door && known.group == door.group && known.secret != door.secret
        });
        if is_other { self.enter_by(turn, cx, chat, door) } else { Ok(()) }
    }

    /// Whether nothing leads on for this device from where it is in a group: it has to come in again, and leads nobody there.
    pub(in crate::conversation) fn is_stuck(&self, entry: &GroupEntry) -> bool {
        let enters_again = |door: &OfferedDoor| !door.apart && door.group == entry.id;
        let offered = entry.chat().and_then(|chat| self.chats.offered(chat));
        entry.forks.is_stuck || offered.is_some_and(enters_again)
    }

    /// A group that this device is in at a place where the others are not is entered again by the way that one of them has shown, if the way `fits`. Gives
    /// whether that has begun.
    pub(in crate::conversation) fn enter_by_way(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        (id, secret): (GroupId, Vec<u8>),
        door: &Door,
        fits: impl Fn(&LiveGroup) -> bool,
    ) -> Result<bool, EngineError> {
        let Some((chat, home)) = self.groups.get(&id).and_then(|e| Some((e.chat()?, e.row.home.clone()))) else {
            return Ok(false);
        };
        let Some(policy) = self.policies.of.get_mut(&chat).filter(|policy| policy.rests_until <= turn.now()) else {
            return Ok(false);
        };
        let enters_again = std::mem::take(&mut policy.enters_again);
        let offered = OfferedDoor { group: id.to_vec(), secret, home, apart: true, ..OfferedDoor::default() };
        let begun = self.enter_shown(turn, cx, (chat, offered), door, fits)?;
        if let Some(policy) = self.policies.of.get_mut(&chat) {
            match begun {
                true => policy.rests_until = turn.now() + REENTER_MS,
                false => policy.enters_again = enters_again,
            }
        }
        Ok(begun)
    }

    pub(in crate::conversation) fn delete_group(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        chat: ChatId,
        id: GroupId,
    ) -> Result<(), EngineError> {
        crate::conversation::group_store::delete(turn, &id)?;
        self.groups.remove_group(cx.mls, &id);
        if let Some(state) = self.chats.get_mut(&chat) {
            state.row.groups.retain(|group| group[..] != id);
            state.dirty = true;
        }
        Ok(())
    }

    pub(super) fn enter_by(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        chat: ChatId,
        door: OfferedDoor,
    ) -> Result<(), EngineError> {
        let ids = self.chats.get(&chat).map(|state| state.row.groups.clone()).unwrap_or_default();
        let ids = ids.iter().filter(|id| **id != door.group).filter_map(|id| GroupId::try_from(id.as_slice()).ok());
        let is_dead = |id: &GroupId| self.groups.get(id).is_none_or(|group| group.row.dead);
        let of_door = GroupId::try_from(door.group.as_slice()).ok().filter(is_dead);
        let dead: Vec<GroupId> = ids.chain(of_door.filter(|id| self.groups.contains_key(id))).collect();
        for id in dead {
            self.delete_group(turn, cx, chat, id)?;
        }
        let before = self.chats.get(&chat).and_then(|state| state.row.door.clone());
        let before = before.filter(|before| before.group == door.group);
        // A commit that was sent may be in: without its state nobody would write the way to the epoch after it.
        let (entering, sent) = before.map(|before| (before.entering.clone(), before.sent)).unwrap_or_default();
        self.stop_entering(chat);
        if let Some(state) = self.chats.get_mut(&chat) {
            state.row.door = Some(OfferedDoor { entering, sent, ..door });
        }
        turn.fact(Fact::ReachChanged);
        self.enter(turn, cx, chat)
    }

    /// This device was in a group at another place, and has come to where another member is. Who was removed where it was, and not here, is to go here, too,
    /// if our user may do that; as long as a device of theirs is here nothing is written, and what was written without them is not written again.
    pub(in crate::conversation) fn bar_removed(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &Context<'_>,
        (chat, id): (ChatId, GroupId),
    ) -> Result<(), EngineError> {
        let Some(policy) = self.open(turn, cx.mls, id)?.and_then(|group| group.policy()) else { return Ok(()) };
        let role = policy.role(cx.dir.account.id().as_bytes());
        let Some(entry) = self.policies.of.get_mut(&chat) else { return Ok(()) };
        for account in entry.not_removed(&policy) {
            let theirs = policy.role(account.as_bytes());
            if theirs.zip(role).is_some_and(|(theirs, ours)| ours <= Role::Admin && ours.is_above(theirs)) {
                entry.want(IntentRow::about(IntentKind::Remove, &account));
            }
            let account = account.as_bytes().to_vec();
            if !entry.row.barred.contains(&account) {
                entry.row.barred.push(account);
                entry.dirty = true;
                turn.transient_event(TransientEvent::Net);
            }
        }
        Ok(())
    }

    /// What others may not have been able to read where this device was is written again, unless somebody is there who was not to read it.
    pub(in crate::conversation) fn write_again(
        &mut self,
        turn: &Turn<'_>,
        (chat, id): (ChatId, GroupId),
    ) -> Result<(), EngineError> {
        if self.groups.get(&id).is_some_and(|group| self.policies.is_held(group)) {
            return Ok(());
        }
        self.chats.lose_items(turn, chat, id, LOST_EPOCH + 1..=u64::MAX, 0)?;
        self.chats.lose_receipts(turn, chat);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_ceased_to_be_an_owner_is_remembered_until_it_is_one_again() {
        let (alice, bob) = ([1; 32], [2; 32]);
        let mut policy = Policy::new([7; 16], "ops".into(), alice);
        let member = |role| PolicyMember { account: bob, role, by: alice, since: 3 };
        policy.members.push(member(Role::Owner));
        let with_bob = |role| Policy { members: vec![policy.members[0], member(role)], ..policy.clone() };
        let mut entry = PolicyEntry::default();
        entry.set_policy(with_bob(Role::Owner));
        let mut moved = |to: Policy| {
            entry.note_former_owners(&to);
            entry.set_policy(to);
            entry.row.former_owners.iter().map(|row| (row.account.clone(), row.since)).collect::<Vec<_>>()
        };
        let remembered = [(bob.to_vec(), 3)];
        assert_eq!(moved(with_bob(Role::Reader)), remembered);
        assert_eq!(moved(with_bob(Role::Member)), remembered);
        assert!(moved(with_bob(Role::Owner)).is_empty());
        // It leaves.
        assert_eq!(moved(Policy { members: vec![policy.members[0]], ..policy.clone() }), remembered);
    }

    #[test]
    fn who_was_an_owner_still_where_this_device_has_come_to_is_remembered_there() {
        let (alice, bob) = ([1; 32], [2; 32]);
        let mut policy = Policy::new([7; 16], "ops".into(), alice);
        policy.members.push(PolicyMember { account: bob, role: Role::Owner, by: alice, since: 3 });
        let mut entry = PolicyEntry::default();
        entry.row.former_owners.push(GoneRow { account: bob.to_vec(), since: 3 });
        entry.set_policy(policy.clone());
        entry.note_former_owners(&policy);
        assert_eq!(entry.row.former_owners.len(), 1);
    }
}
