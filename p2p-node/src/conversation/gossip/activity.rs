//! Who is typing in a group, who was there a moment ago, and who floods it. Typing goes past the log, by gossip alone: nothing of it is stored, and
//! what is lost is not said again. Of who is there nobody sends anything: who has written or typed lately is.

use std::collections::BTreeMap;

use starling_keys::{AccountId, DeviceId};
use starling_wire::{SIGNAL_DOMAIN, Signal, SignedSignal, TopicId};

use super::limits::{
    ACTIVE_MS, FLOOD_MESSAGES, GROUP_TYPING_EVERY_MS, GROUP_TYPING_LEAST_MS, GROUP_TYPING_MS, MAX_ACTIVE, MAX_TYPISTS,
    SLOWED_MS, TYPING_ACCOUNTS,
};
use crate::{
    api::types::{ChatId, ContactState, TransientEvent},
    contacts::{Directory, Person},
    conversation::{Conversations, context::Context, group::GroupId},
    limits::SIGNAL_AGE_MS,
    net::NetCommand,
    roster::GroupMember,
    turn::{Effect, Turn},
};

/// A device whose user has typed in a group.
#[derive(Debug)]
struct Typist {
    account: AccountId,
    /// When its newest signal was sent, as it says: an older one is a replay.
    newest_ms: u64,
    /// When a signal of it was last taken that it types, in steady time.
    began_at: Option<u64>,
    /// Until when it types, in steady time; none if it does not.
    until: Option<u64>,
    /// When something of it was last taken, in steady time.
    taken_at: u64,
}

/// What an account has done lately.
#[derive(Debug, Default)]
struct Active {
    /// When it has last written or typed, in steady time.
    at: u64,
    /// The newest minute that its messages are stamped in, and how many have come since the first of that minute: stamps that go back start nothing
    /// anew.
    minute: u64,
    count: u32,
    /// Until when it counts as flooding the group, in steady time.
    slowed_until: u64,
}

/// What goes on in a group beside its messages.
#[derive(Debug, Default)]
pub(super) struct Activity {
    typists: BTreeMap<DeviceId, Typist>,
    /// What accounts have done lately.
    active: BTreeMap<AccountId, Active>,
    /// When this device has last said that its user types, in steady time.
    said_at: Option<u64>,
    /// It has not said since that its user has stopped.
    says: bool,
    /// The stamp of the last signal of this device.
    said_ms: u64,
}

impl Activity {
    fn types(&self, account: &AccountId) -> bool {
        self.typists.values().any(|typist| typist.account == *account && typist.until.is_some())
    }

    /// A device of a member has said that its user types, or has stopped. Gives what is to be shown of the account, if something is.
    fn take(&mut self, now: u64, member: GroupMember, (sent_ms, typing): (u64, bool)) -> Option<bool> {
        if !self.typists.contains_key(&member.device) {
            // What is older than the signals that are taken at all needs not be remembered.
            self.typists.retain(|_, typist| typist.until.is_some() || now < typist.taken_at + 2 * SIGNAL_AGE_MS);
            if self.typists.len() >= MAX_TYPISTS {
                return None;
            }
        }
        let typist = self.typists.entry(member.device).or_insert(Typist {
            account: member.account,
            newest_ms: 0,
            began_at: None,
            until: None,
            taken_at: now,
        });
        if sent_ms <= typist.newest_ms {
            return None;
        }
        (typist.newest_ms, typist.taken_at) = (sent_ms, now);
        if typing {
            if typist.began_at.is_some_and(|at| now < at + GROUP_TYPING_LEAST_MS) {
                return None;
            }
            (typist.began_at, typist.until) = (Some(now), Some(now + GROUP_TYPING_MS));
            self.note_active(now, member.account);
            return Some(true);
        }
        let typed = typist.until.take().is_some();
        (typed && !self.types(&member.account)).then_some(false)
    }

    /// An account types no longer: it has written what it typed. Gives whether it did.
    fn stop(&mut self, account: &AccountId) -> bool {
        let mut typed = false;
        for typist in self.typists.values_mut().filter(|typist| typist.account == *account) {
            typed |= typist.until.take().is_some();
        }
        typed
    }

    /// Those who have not said for some time that they type. They have stopped.
    fn expire(&mut self, now: u64) -> Vec<AccountId> {
        let mut stopped = Vec::new();
        for typist in self.typists.values_mut().filter(|typist| typist.until.is_some_and(|until| until <= now)) {
            typist.until = None;
            stopped.push(typist.account);
        }
        stopped.sort();
        stopped.dedup();
        stopped.retain(|account| !self.types(account));
        stopped
    }

    /// When the first of them counts as having stopped, in steady time.
    fn next_due(&self) -> Option<u64> {
        self.typists.values().filter_map(|typist| typist.until).min()
    }

    fn note_active(&mut self, now: u64, account: AccountId) -> Option<&mut Active> {
        if !self.active.contains_key(&account) && self.active.len() >= MAX_ACTIVE {
            self.active.retain(|_, active| now < active.at + ACTIVE_MS || now < active.slowed_until);
            if self.active.len() >= MAX_ACTIVE {
                return None;
            }
        }
        let active = self.active.entry(account).or_default();
        active.at = now;
        Some(active)
    }

    /// An account has written a message, at this time by its clock. Gives whether it floods the group from now on.
    fn note_written(&mut self, now: u64, account: AccountId, at_ms: u64) -> bool {
        let Some(active) = self.note_active(now, account) else { return false };
        let minute = at_ms / 60_000;
        if minute > active.minute {
            (active.minute, active.count) = (minute, 0);
        }
        active.count = active.count.saturating_add(1);
        if active.count <= FLOOD_MESSAGES {
            return false;
        }
        let begins = active.slowed_until <= now;
        if begins {
            active.slowed_until = now + SLOWED_MS;
        }
        begins
    }

    fn is_active(&self, now: u64, account: &AccountId) -> bool {
        self.active.get(account).is_some_and(|active| now < active.at + ACTIVE_MS)
    }

    /// Whether this device says now that its user types, or has stopped. Gives the stamp of the signal.
    fn may_say(&mut self, now: u64, agreed_ms: u64, typing: bool) -> Option<u64> {
        let due = match typing {
            true => self.said_at.is_none_or(|at| at + GROUP_TYPING_EVERY_MS <= now),
            false => self.says,
        };
        if !due {
            return None;
        }
        if typing {
            self.said_at = Some(now);
        }
        self.says = typing;
        // Of two in the same millisecond the second would be taken for a replay.
        self.said_ms = agreed_ms.max(self.said_ms + 1);
        Some(self.said_ms)
    }
}

impl Conversations {
    /// Whether typing is shown in a group: in a large one each sign would go to many who do not look.
    fn shows_typing(&self, chat: ChatId) -> bool {
        self.chats.get(&chat).is_some_and(|state| state.roster.accounts().count() <= TYPING_ACCOUNTS)
    }

    /// Whether an account may write in a group.
    fn may_post(&self, chat: ChatId, account: &AccountId) -> bool {
        let lowest = self.policies.permissions(&chat).to_write(true);
        self.role_in(chat, account).is_some_and(|role| role <= lowest)
    }

    /// Passes on that our user types in a group, or has stopped.
    pub(crate) fn publish_typing(&mut self, turn: &mut Turn<'_>, dir: Directory<'_>, chat: ChatId, typing: bool) {
        if !self.shows_typing(chat) || !self.may_post(chat, &dir.account.id()) {
            return;
        }
        let Some((id, place)) = self.gossip.current(&chat) else { return };
        let (topic, epoch) = (place.topic(), place.epoch);
        let Some(keys) = self.groups.get(&id).and_then(|group| group.keys_of(epoch)) else { return };
        if self.has_revoked_member(dir, chat, id) {
            return;
        }
        let activity = self.gossip.activity.entry(chat).or_default();
        let Some(sent_ms) = activity.may_say(turn.now(), turn.agreed_ms(), typing) else { return };
        // Where we are is for contacts, and so is whether we are there.
        let signal = Signal { sent_ms, typing, availability: None, addresses: Vec::new(), ask: false, lan_key: None };
        let key = &dir.account.identity.device_key;
        let signed = SignedSignal::encode(&signal, &keys.address, |message| key.sign(SIGNAL_DOMAIN, message));
        let sealed = keys.seal_signal(&dir.account.device().tag(), &signed);
        if let Some(envelope) = keys.gossip.seal(&sealed) {
            turn.emit(Effect::Net(NetCommand::Publish(topic, envelope)));
        }
    }

    /// A member has passed on what is no entry of a log.
    pub(super) fn on_gossip_signal(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &Context<'_>,
        topic: TopicId,
        sealed: &[u8],
    ) -> Option<()> {
        let told = self.gossip.told.get(&topic)?;
        let (chat, id, epoch) = (told.chat, told.group, told.epoch);
        if !self.shows_typing(chat) {
            return None;
        }
        let (sender, signal) = self.open_signal(id, epoch, sealed)?;
        let own = cx.dir.account.id();
        let is_blocked = |person: &Person| person.state() == ContactState::Blocked;
        // What our other devices do is not shown.
        if sender.account == own
            || cx.dir.person(&sender.account).is_some_and(is_blocked)
            || cx.dir.list_of(&sender.account).is_some_and(|list| list.has_removed(&sender.device))
            || signal.sent_ms.abs_diff(turn.agreed_ms()) > SIGNAL_AGE_MS
            || !self.may_post(chat, &sender.account)
        {
            return None;
        }
        let activity = self.gossip.activity.entry(chat).or_default();
        let typing = activity.take(turn.now(), sender, (signal.sent_ms, signal.typing))?;
        turn.transient_event(TransientEvent::Typing { chat, typing, member: Some(sender.account) });
        // When it ends is planned at the end of this turn.
        self.chats.touch(chat);
        Some(())
    }

    /// A signal in the envelope of an epoch, and the device that has signed it. All members have the key of the seal.
    fn open_signal(&self, id: GroupId, epoch: u64, sealed: &[u8]) -> Option<(GroupMember, Signal)> {
        let group = self.groups.get(&id)?;
        let keys = group.keys_of(epoch)?;
        let (tag, plain) = keys.open_signal(sealed)?;
        let signed = SignedSignal::decode(&plain).ok()?;
        let sender = group.members.iter().find(|member| member.device.tag() == tag).copied()?;
        let verify = |message: &[u8], signature: &[u8]| sender.device.verify(SIGNAL_DOMAIN, message, signature);
        signed.is_authentic(false, &keys.address, verify).then_some((sender, signed.signal))
    }

    /// Those who have typed until now have stopped. Gives when to look again, in steady time.
    pub(super) fn expire_typing(&mut self, turn: &mut Turn<'_>, chat: ChatId) -> Option<u64> {
        let activity = self.gossip.activity.get_mut(&chat)?;
        for account in activity.expire(turn.now()) {
            turn.transient_event(TransientEvent::Typing { chat, typing: false, member: Some(account) });
        }
        activity.next_due()
    }

    /// Somebody has written a message in a group, at this time by their clock, in milliseconds since 1970.
    pub(crate) fn has_written_in_group(&mut self, turn: &mut Turn<'_>, chat: ChatId, account: AccountId, at_ms: u64) {
        // What is read of earlier days says nothing of who is there.
        if at_ms.abs_diff(turn.agreed_ms()) > ACTIVE_MS {
            return;
        }
        let activity = self.gossip.activity.entry(chat).or_default();
        if activity.note_written(turn.now(), account, at_ms) {
            tracing::debug!("a member floods a group");
            turn.transient_event(TransientEvent::Slowed { chat, account, for_ms: SLOWED_MS });
        }
        if activity.stop(&account) {
            turn.transient_event(TransientEvent::Typing { chat, typing: false, member: Some(account) });
        }
    }

    /// Whether a member of a group has written or typed there lately.
    pub(in crate::conversation) fn is_active(&self, now: u64, chat: ChatId, account: &AccountId) -> bool {
        self.gossip.activity.get(&chat).is_some_and(|activity| activity.is_active(now, account))
    }
}

#[cfg(test)]
mod tests {
    use starling_keys::{AccountKey, DeviceKey};

    use super::*;

    fn member(account: u8, device: u8) -> GroupMember {
        GroupMember {
            account: AccountKey::from_seed(&[account; 32]).id(),
            device: DeviceKey::from_seed(&[device; 32]).id(),
        }
    }

    #[test]
    fn typing_ends_by_itself_unless_it_is_said_again() {
        let (mut activity, alice) = (Activity::default(), member(1, 1));
        assert_eq!(activity.take(0, alice, (1, true)), Some(true));
        assert_eq!(activity.take(GROUP_TYPING_EVERY_MS, alice, (2, true)), Some(true), "it is said again");
        assert!(activity.expire(GROUP_TYPING_MS).is_empty());
        assert_eq!(activity.next_due(), Some(GROUP_TYPING_EVERY_MS + GROUP_TYPING_MS));
        assert_eq!(activity.expire(GROUP_TYPING_EVERY_MS + GROUP_TYPING_MS), [alice.account]);
        assert_eq!(activity.next_due(), None);
        assert_eq!(activity.take(60_000, alice, (3, false)), None, "they did not type any more");
    }

    #[test]
    fn a_replay_and_a_flood_show_nothing() {
        let (mut activity, alice) = (Activity::default(), member(1, 1));
        assert_eq!(activity.take(0, alice, (7, true)), Some(true));
        assert_eq!(activity.take(1, alice, (8, false)), Some(false));
        assert_eq!(activity.take(GROUP_TYPING_LEAST_MS, alice, (7, true)), None, "a replay");
        let shown = (0..1_000).filter(|&n| activity.take(2, alice, (9 + n, n % 2 == 0)).is_some()).count();
        assert_eq!(shown, 0);
        let mut activity = Activity::default();
        let shown = (0..=255).filter(|&n| activity.take(0, member(1, n), (1, true)).is_some()).count();
        assert_eq!(shown, MAX_TYPISTS, "no more are remembered");
    }

    #[test]
    fn an_account_types_until_all_its_devices_have_stopped() {
        let mut activity = Activity::default();
        activity.take(0, member(1, 1), (1, true));
        activity.take(0, member(1, 2), (1, true));
        assert_eq!(activity.take(1, member(1, 1), (2, false)), None);
        assert_eq!(activity.take(1, member(1, 2), (2, false)), Some(false));
        activity.take(10_000, member(1, 1), (3, true));
        assert!(activity.stop(&member(1, 1).account) && !activity.stop(&member(1, 1).account));
    }

    #[test]
    fn this_device_says_it_every_5_s_and_that_it_has_stopped_once() {
        let mut activity = Activity::default();
        assert_eq!(activity.may_say(0, 1_000, false), None);
        assert_eq!(activity.may_say(0, 1_000, true), Some(1_000));
        assert_eq!(activity.may_say(GROUP_TYPING_EVERY_MS - 1, 1_000, true), None);
        assert_eq!(activity.may_say(1, 1_000, false), Some(1_001), "after the one before");
        assert_eq!(activity.may_say(1, 1_000, false), None);
        assert_eq!(activity.may_say(2, 1_000, true), None);
        assert_eq!(activity.may_say(GROUP_TYPING_EVERY_MS, 9_000, true), Some(9_000));
    }

    #[test]
    fn who_is_active_is_so_for_a_time() {
        let (mut activity, alice) = (Activity::default(), member(1, 1).account);
        activity.note_active(5, alice);
        assert!(activity.is_active(4 + ACTIVE_MS, &alice) && !activity.is_active(5 + ACTIVE_MS, &alice));
        assert!(!activity.is_active(5, &member(2, 2).account));
    }

    #[test]
    fn who_floods_is_told_of_once_whatever_their_clock_says() {
        let (mut activity, alice) = (Activity::default(), member(1, 1).account);
        let most = u64::from(FLOOD_MESSAGES);
        for n in 0..most {
            assert!(!activity.note_written(n, alice, 60_000 * 7), "{n}");
        }
        // The next minute begins with nothing, unless stamps only go to and fro.
        assert!(!activity.note_written(1_000, alice, 60_000 * 8));
        let begins = (0..most + 10).filter(|&n| activity.note_written(1_000 + n, alice, 60_000 * (7 + n % 2)));
        assert_eq!(begins.count(), 1);
        assert!(!activity.note_written(2_000, alice, 60_000 * 8), "it goes on");
        let later = 2_000 + SLOWED_MS;
        let begins = (0..=most).filter(|&n| activity.note_written(later + n, alice, 60_000 * 9));
        assert_eq!(begins.count(), 1, "again");
    }
}
