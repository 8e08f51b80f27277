//! Group conversations: what their policy is, what our user wants changed of it, who was invited.
//!
//! Who is in a group follows from its policy, which is in the context of its MLS group. Accounts come in by entering through the door
//! (`conversation/door`): who invites adds the account to the policy and tells it the door. What changes the policy is a commit, which follows from
//! *intents*: they are durable until a commit has done them, or they have become impossible; whichever commit wins, the next is made anew of what is left.

mod adds;
mod again;
mod answers;
pub(in crate::conversation) mod audit;
mod cards;
mod change;
pub mod commands;
mod community;
mod for_others;
mod history;
mod intents;
mod invited_again;
mod items;
mod join;
mod leave;
pub(crate) mod limits;
mod link_work;
mod links;
mod moved;
mod offers;
mod overtaken;
mod own_devices;
mod present;
mod refusals;
mod reports;
mod requests;
mod shown;
mod streamed;
mod waiting;
mod welcomes;

pub use community::NewChannel;
pub use join::Joins;
pub use link_work::LinkWork;
pub(in crate::conversation) use moved::shuts_out;

use starling_keys::AccountId;
use starling_wire::{Body, GroupKind, Leave, Permissions, Policy, Role};

use self::limits::MAX_GROUP_CHATS;
use super::{
    ChatState, Chats, Conversations,
    group::{GroupEntry, GroupId},
};
use crate::{
    api::{
        Reply,
        error::{GroupRefusal, NodeError, NotAllowed, NotFound},
        types::{ChatId, ChatKind, Joining},
    },
    store::{GoneRow, IntentKind, IntentRow, OfferRow, POLICIES, PolicyRow, Reading, StandingRow, StoreError, prefix},
    turn::{EngineError, Schedule, Tracked, Turn},
};

/// What is known of group conversations.
#[derive(Default)]
pub struct Policies {
    of: Tracked<ChatId, PolicyEntry>,
    /// When something is to be done of one, in steady time.
    due: Schedule<ChatId>,
}

/// When this device does in a group what any member may do, each at its turn, in steady time.
#[derive(Default)]
struct Due {
    /// It commits what any member may commit.
    turn_at: Option<u64>,
    /// It tells others who we are.
    introduce_at: Option<u64>,
    /// It hands on the audit log.
    hand_on_at: Option<u64>,
    /// It hands the history to those who have come.
    history_at: Option<u64>,
    /// It tells the ways into channels.
    tell_ways_at: Option<u64>,
}

impl Due {
    /// The times that are known.
    fn times(&self) -> impl Iterator<Item = u64> {
        let times = [self.turn_at, self.introduce_at, self.hand_on_at, self.history_at, self.tell_ways_at];
        times.into_iter().flatten()
    }
}

/// What is known of one.
#[derive(Default)]
pub struct PolicyEntry {
    row: PolicyRow,
    policy: Option<Policy>,
    due: Due,
    /// What others have handed on of the audit log.
    handed: audit::Handed,
    /// Until when the group is not entered again, in steady time: each time is a commit for all others.
    rests_until: u64,
    /// It is entered again then.
    enters_again: bool,
    /// Who waits to hear that our request to be let in is in the link's box.
    asks: Option<Reply<Joining>>,
    /// The user was told that this program has to be updated.
    told_newer: bool,
    /// All have gone back to an epoch before: what the policy says in another way after that was not changed by it.
    went_back: bool,
    /// Our account has made the last commit that was followed in this run.
    made_last: bool,
    /// How often the policy has become another in this run.
    changes: u64,
    /// Devices that wait to be added by this one.
    waiting: waiting::Waiting,
    /// Devices that were told the way in on their streams.
    streamed: streamed::Streamed,
    /// Somebody may not know the way in: this device was started, or the group's log is there now.
    has_untold: bool,
    dirty: bool,
}

impl PolicyEntry {
    fn stored(row: PolicyRow) -> Self {
        let policy = Policy::from_bytes(&row.policy).ok();
        let has_untold = !row.invited.is_empty();
        Self { row, policy, has_untold, ..Self::default() }
    }

    fn standing(&self) -> StandingRow {
        self.row.standing()
    }

    fn is_in(&self) -> bool {
        matches!(self.standing(), StandingRow::Entering | StandingRow::Member | StandingRow::Leaving)
    }

    fn set_standing(&mut self, standing: StandingRow) {
        self.row.standing = standing.into();
        self.dirty = true;
    }

    fn set_policy(&mut self, policy: Policy) {
        self.row.policy = policy.to_bytes();
        self.policy = Some(policy);
        self.changes += 1;
        self.dirty = true;
    }

    /// Notes what the user wants.
    fn want(&mut self, intent: IntentRow) {
        if !self.row.intents.contains(&intent) {
            // What was wanted before, and would be undone by it, is not wanted any more.
            self.row.intents.retain(|before| !intent.supersedes(before));
            self.row.intents.push(intent);
            self.dirty = true;
        }
    }

    fn leaves(&self) -> impl Iterator<Item = Leave> {
        self.row.leaves.iter().filter_map(|leave| Leave::from_bytes(leave).ok())
    }
}

impl IntentRow {
    fn about(kind: IntentKind, account: &AccountId) -> Self {
        Self { kind: kind.into(), account: account.as_bytes().to_vec(), ..Self::default() }
    }

    /// A name or topic.
    fn says(kind: IntentKind, text: String, wanted_ms: u64) -> Self {
        Self { kind: kind.into(), text, wanted_ms, ..Self::default() }
    }

    fn account(&self) -> Option<AccountId> {
        AccountId::from_bytes(&self.account).ok()
    }

    /// The id of the link that it is about.
    fn link_id(&self) -> Option<[u8; 16]> {
        self.link.as_ref()?.id.as_slice().try_into().ok()
    }

    /// Whether it says something else of what an earlier one is about.
    fn supersedes(&self, before: &Self) -> bool {
        use IntentKind::{AddChannel, Ban, LinkEnd, LinkNew, Name, RemoveChannel, Role, Setting, Topic, Unban};
        match (self.kind(), before.kind()) {
            (Name, Name) | (Topic, Topic) => true,
            (Setting, Setting) => self.setting == before.setting,
            (LinkEnd, LinkNew) => self.link_id() == before.link_id(),
            (AddChannel, RemoveChannel) | (RemoveChannel, AddChannel) => self.channel == before.channel,
            (Role, Role) | (Ban, Unban) | (Unban, Ban) => self.account == before.account,
            _ => false,
        }
    }
}

impl OfferRow {
    fn group_id(&self) -> Option<GroupId> {
        self.group.as_slice().try_into().ok()
    }
}

impl Policies {
    /// Loads them from the profile.
    pub(super) fn load(read: &impl Reading) -> Result<Self, StoreError> {
        let mut policies = Self::default();
        for (key, row) in read.range::<PolicyRow>(POLICIES, prefix(b""), usize::MAX, false)? {
            let chat = key.as_slice().try_into().map(ChatId).map_err(|_| StoreError::Damaged(POLICIES.name()))?;
            policies.of.insert(chat, PolicyEntry::stored(row));
        }
        Ok(policies)
    }

    /// Writes what this turn has changed, and notes what is due later.
    pub(crate) fn save(&mut self, turn: &Turn<'_>) -> Result<bool, EngineError> {
        let mut changed = false;
        for chat in self.of.take_touched() {
            let Some(entry) = self.of.settle(&chat) else { continue };
            // What is due by now waits for something else.
            let again = entry.enters_again.then_some(entry.rests_until);
            let expires = entry.next_expiry(turn);
            let due = entry.due.times().chain(again).chain(expires);
            let due = due.chain(entry.waiting.due()).chain(entry.streamed.due());
            let due = due.filter(|at| *at > turn.now()).min();
            self.due.set(chat, due);
            if std::mem::take(&mut entry.dirty) {
                turn.put(POLICIES, &chat.0, &entry.row)?;
                changed = true;
            }
        }
        Ok(changed)
    }

    /// When something is due next, in steady time.
    pub(crate) fn next_due(&self) -> Option<u64> {
        self.due.next()
    }

    /// What is known of who is in a group.
    pub(super) fn policy(&self, chat: &ChatId) -> Option<&Policy> {
        self.of.get(chat)?.policy.as_ref()
    }

    /// Where we stand in a group.
    pub(super) fn standing(&self, chat: &ChatId) -> Option<StandingRow> {
        self.of.get(chat).map(PolicyEntry::standing)
    }

    /// Whether our user wants something changed in a group that is not done yet.
    pub(crate) fn has_wishes(&self, chat: &ChatId) -> bool {
        self.of.get(chat).is_some_and(|entry| !entry.row.intents.is_empty())
    }

    /// Until when a group is not entered again, in steady time.
    pub(super) fn rests_until(&self, chat: &ChatId) -> u64 {
        self.of.get(chat).map_or(0, |entry| entry.rests_until)
    }

    /// As which members accounts have ceased to be owners of a group where this device was.
    pub(super) fn former_owners(&self, chat: &ChatId) -> &[GoneRow] {
        self.of.get(chat).map(|entry| entry.row.former_owners.as_slice()).unwrap_or_default()
    }

    /// It is not entered again by its door.
    pub(super) fn enters_not_again(&mut self, chat: &ChatId) {
        if let Some(entry) = self.of.get_mut(chat) {
            entry.enters_again = false;
        }
    }

    /// A group is not entered again before this time, in steady time: another has come first.
    pub(super) fn rest(&mut self, chat: &ChatId, until: u64) {
        if let Some(entry) = self.of.get_mut(chat) {
            entry.rests_until = until;
        }
    }

    /// What an account may do in a group.
    fn role(&self, chat: &ChatId, account: &AccountId) -> Option<Role> {
        self.of.get(chat)?.policy.as_ref()?.role(account.as_bytes())
    }

    /// Whether somebody who was removed where we were, and has a device in a group, keeps us from writing.
    pub(super) fn is_held(&self, group: &GroupEntry) -> bool {
        let entry = group.chat().and_then(|chat| self.of.get(&chat));
        entry.is_some_and(|entry| entry.is_held_by(group.members.iter().map(|member| member.account)))
    }

    /// Who may do what in a group.
    pub(super) fn permissions(&self, chat: &ChatId) -> Permissions {
        self.policy(chat).map_or(Permissions::FORMER, Policy::permissions)
    }

    /// What kind of group a conversation is.
    pub(super) fn group_kind(&self, chat: &ChatId) -> GroupKind {
        let rules = self.policy(chat).and_then(|policy| policy.rules.as_ref());
        rules.map_or(GroupKind::Group, |rules| rules.kind)
    }

    /// How long somebody waits between two messages in a group, in milliseconds; not who may remove others.
    pub(super) fn slow_ms(&self, chat: &ChatId, role: Option<Role>) -> u64 {
        self.policy(chat).map_or(0, |policy| slow_ms(policy, role))
    }

    /// Whether our user may do something in a group that takes a role, or one above it.
    pub(super) fn check_may_write(&self, chat: &ChatId, own: &AccountId, lowest: Role) -> Result<(), NodeError> {
        let entry = self.of.get(chat).ok_or(NotFound::Chat)?;
        let refused = |why| Err(NotAllowed::Group(why).into());
        match (entry.standing(), self.role(chat, own)) {
            // What it allows cannot be read.
            (StandingRow::Member, None) if entry.policy.is_none() => refused(GroupRefusal::NewGroup),
            // What is written while it is entered waits.
            (StandingRow::Member | StandingRow::Entering, Some(role)) if role > lowest => refused(GroupRefusal::Role),
            (StandingRow::Member | StandingRow::Entering, _) => Ok(()),
            _ => refused(GroupRefusal::NotAMember),
        }
    }

    /// Whether we are in a group, or about to be.
    pub(super) fn is_in(&self, chat: &ChatId) -> bool {
        self.of.get(chat).is_some_and(PolicyEntry::is_in)
    }

    /// Whether there is room for one more group that we are in.
    pub(super) fn has_room(&self) -> bool {
        self.of.values().filter(|entry| entry.is_in()).count() < MAX_GROUP_CHATS
    }

    /// The conversation's name.
    pub(super) fn name(&self, chat: &ChatId) -> Option<&str> {
        let entry = self.of.get(chat)?;
        let offered = entry.row.offer.as_ref().map(|offer| offer.name.as_str());
        entry.policy.as_ref().map(|policy| policy.name.as_str()).or(offered)
    }

    /// Whether a group is of a version that this program cannot be in: it stands before its door, or was in it with a newer program.
    pub(super) fn is_too_new(&self, chat: &ChatId) -> bool {
        self.of.get(chat).is_some_and(|entry| match entry.standing() {
            StandingRow::Entering | StandingRow::Leaving => entry.told_newer,
            StandingRow::Member => entry.policy.is_none(),
            _ => false,
        })
    }

    /// Whether an account is one of a group's.
    pub(crate) fn has_account(&self, account: &AccountId) -> bool {
        let mut entries = self.of.iter().filter_map(|(_, entry)| entry.policy.as_ref());
        entries.any(|policy| policy.role(account.as_bytes()).is_some())
    }
}

impl ChatState {
    /// Whether it is a group's.
    pub fn is_group(&self) -> bool {
        self.kind() == ChatKind::Group
    }
}

/// How long somebody with this role waits between two messages in a group with this policy, in milliseconds.
pub(in crate::conversation) fn slow_ms(policy: &Policy, role: Option<Role>) -> u64 {
    let Some(rules) = policy.rules.as_ref() else { return 0 };
    let waits = role.is_none_or(|role| role > rules.permissions.remove);
    if waits { u64::from(rules.slow_mode) * 1_000 } else { 0 }
}

/// Whether an event counts that somebody with this role has sent: what a group's policy says; and in a direct conversation nobody leaves.
pub(in crate::conversation) fn may_send(kind: ChatKind, role: Option<Role>, policy: Permissions, body: &Body) -> bool {
    match (kind, body) {
        (
            ChatKind::Direct,
            Body::Leave(_) | Body::Audit(_) | Body::Ways(_) | Body::Report(_) | Body::HandedHistory(_),
        ) => false,
        (ChatKind::Direct, _) => true,
        // Calls of more than two are not known yet; and what devices do that were removed contacts tell each other alone.
        (ChatKind::Group, Body::Call(_) | Body::RemovedDeviceUse(_)) => false,
        (ChatKind::Group, Body::Text(text)) => {
            role.is_some_and(|role| role <= policy.to_write(text.reply_to.is_some()))
        }
        // Of which messages follows from them.
        (ChatKind::Group, Body::Edit(_) | Body::Reaction(_)) => role.is_some_and(|role| role <= policy.to_write(true)),
        (ChatKind::Group, Body::Delete(_)) => role.is_some_and(|role| role <= policy.to_write(true).max(policy.delete)),
        (ChatKind::Group, _) => role.is_some(),
    }
}

impl Conversations {
    /// All go on from another commit than the one that has led to an epoch: what was done since is wanted again.
    pub(super) fn want_again(&mut self, chat: ChatId, epoch: u64) {
        if let Some(entry) = self.policies.of.get_mut(&chat) {
            entry.want_again_from(epoch);
        }
    }

    /// Whether an MLS group is that of a conversation with a policy.
    pub(crate) fn has_policy(&self, id: GroupId) -> bool {
        self.groups.get(&id).and_then(GroupEntry::chat).is_some_and(|chat| self.chats.is_group_chat(chat))
    }

    /// What an account may do in a conversation; none in a direct one.
    pub(super) fn role_in(&self, chat: ChatId, account: &AccountId) -> Option<Role> {
        self.policies.role(&chat, account)
    }

    /// A device of our account was removed: the groups that it may enter, or is in, bury it.
    pub(super) fn bury_own(&mut self, turn: &Turn<'_>, device: &starling_keys::DeviceId) {
        let in_group = |(chat, entry): (&ChatId, &PolicyEntry)| {
            let may_be_in = matches!(entry.standing(), StandingRow::Entering | StandingRow::Member);
            (may_be_in || entry.leaves_when_entered()).then_some(*chat)
        };
        let chats: Vec<ChatId> = self.policies.of.iter().filter_map(in_group).collect();
        for chat in chats {
            if let Some(entry) = self.policies.of.get_mut(&chat) {
                let kind = IntentKind::Bury.into();
                entry.want(IntentRow { kind, device: device.as_bytes().to_vec(), ..IntentRow::default() });
                entry.due.turn_at.get_or_insert(turn.now());
            }
            self.touch_groups_of(chat);
        }
    }

    /// The groups of a conversation are looked at in this turn.
    fn touch_groups_of(&mut self, chat: ChatId) {
        let ids = self.chats.get(&chat).map(|state| state.row.groups.clone()).unwrap_or_default();
        for id in ids.iter().filter_map(|id| GroupId::try_from(id.as_slice()).ok()) {
            self.groups.touch(id);
        }
    }

    /// The devices of an account have changed: the groups that it is in are looked at.
    pub(crate) fn touch_groups_with(&mut self, account: &AccountId) {
        let chats: Vec<ChatId> = self.chats.of(account).filter(|chat| self.chats.is_group_chat(*chat)).collect();
        chats.into_iter().for_each(|chat| self.touch_groups_of(chat));
    }

    /// Groups in which something is due.
    pub(crate) fn policies_on_time(&mut self, turn: &mut Turn<'_>) {
        for chat in self.policies.due.take_due(turn.now()) {
            self.policies.of.touch(chat);
            self.touch_groups_of(chat);
        }
    }

    /// The groups that this device has to do with, by their conversations.
    pub(crate) fn group_chats(&self) -> impl Iterator<Item = ChatId> {
        self.policies.of.keys().copied()
    }
}

impl Chats {
    /// Whether a conversation is a group's.
    pub(crate) fn is_group_chat(&self, chat: ChatId) -> bool {
        self.states.get(&chat).is_some_and(ChatState::is_group)
    }
}
