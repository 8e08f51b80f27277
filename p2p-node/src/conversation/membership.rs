//! Which conversations other accounts take part in, and what is known of the members of one.

use std::collections::BTreeMap;

use rand::RngExt;
use starling_keys::{AccountId, DeviceId};
use starling_wire::{Clock, Setting, SettingKind};

use super::{ChatState, Chats, Conversations, GroupEntry};
use crate::{
    account::group_subject,
    api::{
        problem::ChatProblem,
        types::{Chat, ChatId, ChatKind, ContactState, TransientEvent},
    },
    contacts::{Directory, Person},
    roster::Roster,
    store::StandingRow,
    turn::Turn,
};

/// The conversations of each account but ours.
#[derive(Default)]
pub struct Memberships(BTreeMap<AccountId, Vec<(ChatKind, ChatId)>>);

impl Memberships {
    /// The conversations that another account takes part in.
    pub fn of<'a>(&'a self, account: &AccountId) -> impl Iterator<Item = ChatId> + use<'a> {
        self.0.get(account).into_iter().flatten().map(|(_, chat)| *chat)
    }
}

impl Memberships {
    /// An account takes part in one more conversation.
    pub(super) fn join(&mut self, account: AccountId, kind: ChatKind, chat: ChatId) {
        let of = self.0.entry(account).or_default();
        if !of.contains(&(kind, chat)) {
            of.push((kind, chat));
        }
    }

    /// An account takes part in a conversation no longer.
    pub(super) fn leave(&mut self, account: &AccountId, chat: ChatId) {
        if let Some(of) = self.0.get_mut(account) {
            of.retain(|(_, other)| *other != chat);
        }
    }
}

impl Chats {
    /// Adds a conversation.
    pub fn insert(&mut self, state: ChatState) {
        for account in state.roster.others() {
            self.memberships.join(account, state.kind(), state.id);
        }
        self.states.insert(state.id, state);
    }

    /// The conversations that another account takes part in.
    pub fn of<'a>(&'a self, account: &AccountId) -> impl Iterator<Item = ChatId> + use<'a> {
        self.memberships.of(account)
    }

    /// The direct conversation with another account.
    pub fn direct_with(&self, account: &AccountId) -> Option<ChatId> {
        let of = self.memberships.0.get(account)?;
        of.iter().find(|(kind, _)| *kind == ChatKind::Direct).map(|(_, chat)| *chat)
    }
}

impl Conversations {
    /// The conversations with a group that they use for which `wanted` holds, the most recent last.
    pub(crate) fn by_activity(&self, dir: Directory<'_>, wanted: impl Fn(&GroupEntry) -> bool) -> Vec<ChatId> {
        let of_group = |chat: &ChatId| self.active_group(dir, *chat).and_then(|id| self.groups.get(&id));
        let is_wanted = |state: &&ChatState| of_group(&state.id).is_some_and(&wanted);
        let mut chats: Vec<(u64, ChatId)> =
            self.chats.values().filter(is_wanted).map(|state| (state.row.newest, state.id)).collect();
        chats.sort_unstable();
        chats.into_iter().map(|(_, chat)| chat).collect()
    }

    /// Whether somebody in a conversation is one whom we exchange messages with; or we are in the group that it is of.
    pub(crate) fn is_reachable(&self, dir: Directory<'_>, chat: ChatId) -> bool {
        let state = self.chats.get(&chat);
        if state.is_some_and(ChatState::is_group) {
            return self.policies.is_in(&chat);
        }
        state.is_some_and(|state| dir.people(state.roster.others()).any(Person::is_linked))
    }

    /// The conversations that this turn has to do with: touched themselves, or their group or contact was.
    pub(crate) fn touched_chats(&mut self, dir: Directory<'_>) -> Vec<ChatId> {
        for group in self.groups.touched() {
            let chat = self.groups.get(&group).and_then(GroupEntry::chat);
            if let Some(chat) = chat {
                self.chats.touch(chat);
            }
        }
        for account in dir.contacts.people.touched() {
            let chats: Vec<ChatId> = self.chats.of(&account).collect();
            chats.into_iter().for_each(|chat| self.chats.touch(chat));
        }
        self.chats.touched()
    }
}

impl Chats {
    /// With whom a direct conversation is.
    pub(crate) fn direct_account(&self, chat: ChatId) -> Option<AccountId> {
        let state = self.states.get(&chat).filter(|state| state.kind() == ChatKind::Direct)?;
        state.roster.others().next()
    }

    /// The direct conversation with an account, made if needed.
    pub(crate) fn chat_with(&mut self, turn: &mut Turn<'_>, own: AccountId, account: AccountId) -> ChatId {
        if let Some(chat) = self.direct_with(&account) {
            return chat;
        }
        let id = ChatId(turn.rng().random());
        self.insert(ChatState::new(id, ChatKind::Direct, Roster::of(own, &[account])));
        id
    }

    /// Every contact has a conversation: makes those that are missing among the contacts of this turn.
    pub(crate) fn make_direct_chats(&mut self, turn: &mut Turn<'_>, dir: Directory<'_>) {
        for account in dir.contacts.people.touched() {
            self.chat_with(turn, dir.account.id(), account);
        }
    }

    /// The conversations in which a device takes part.
    pub(crate) fn chats_of(&self, dir: Directory<'_>, device: &DeviceId) -> Vec<ChatId> {
        match dir.account_of(device) {
            Some(account) if account == dir.account.id() => self.states.keys().copied().collect(),
            Some(account) => self.of(&account).collect(),
            None => Vec::new(),
        }
    }

    /// Notes what keeps a conversation's messages from getting through, or that nothing does any more.
    pub(crate) fn set_problem(&mut self, turn: &mut Turn<'_>, chat: ChatId, problem: Option<ChatProblem>) {
        if let Some(state) = self.states.get_mut(&chat)
            && !(state.row.outdated && problem.is_none())
            && state.problem != problem
        {
            state.problem = problem;
            turn.transient_event(TransientEvent::Net);
        }
    }
}

impl Conversations {
    /// The conversations as users see them: pinned ones first, and the newest of them first.
    pub(crate) fn chat_list(&self, dir: Directory<'_>) -> Vec<Chat> {
        // Not those that nothing was ever written in, and nothing can be.
        let listed = |c: &&ChatState| {
            let begun = !c.row.groups.is_empty() || c.row.newest > 0;
            if c.is_group() {
                return begun || self.policies.is_in(&c.id);
            }
            begun && dir.people(c.roster.others()).any(|p| p.state() != ContactState::Removed)
        };
        let mut chats: Vec<Chat> = self.chats.values().filter(listed).map(|c| self.listed_chat(dir, c)).collect();
        chats.sort_by_key(|c| (!c.pinned, std::cmp::Reverse(c.newest_ms), c.id));
        chats
    }

    /// A conversation as users see it.
    fn listed_chat(&self, dir: Directory<'_>, c: &ChatState) -> Chat {
        let (synced, with) = (&dir.account.synced, self.chats.direct_account(c.id));
        let subject = match &with {
            Some(with) if !c.is_group() => *with.as_bytes(),
            _ => group_subject(c.id),
        };
        let arranged = synced.arrangement(&subject);
        // Another device may have set it of a group before this one was in there.
        let of_group = |kind| synced.about(kind, &subject).filter(|_| c.is_group()).and_then(Setting::number);
        Chat {
            id: c.id,
            kind: c.kind(),
            group: self.policies.group_kind(&c.id),
            members: c.roster.members(),
            name: self.name_of(dir, c),
            unread: c.row.unread,
            newest_ms: Clock(c.row.newest).ms(),
            pinned: of_group(SettingKind::Pinned).map_or(c.row.pinned, |pinned| pinned == 1),
            muted_until_ms: of_group(SettingKind::MutedUntil).unwrap_or(c.row.muted_until_ms),
            archived: c.row.archived,
            read: Clock(c.row.read),
            queued: c.queued_messages(),
            problem: self.problem_of(dir, c),
            cipher: "MLS, ML-KEM-768 + X25519, AES-128-GCM",
            draft: with.and_then(|with| synced.draft_elsewhere(&with, &dir.account.device())),
            folder: arranged.folder,
            place: arranged.place,
            folded: arranged.folded,
        }
    }

    /// Whether somebody who was removed where this device was keeps it from writing to a group.
    pub(super) fn is_held(&self, dir: Directory<'_>, state: &ChatState) -> bool {
        let active = || self.groups.get(&self.active_group(dir, state.id)?);
        let is_member = self.policies.standing(&state.id) == Some(StandingRow::Member);
        is_member && active().is_some_and(|group| self.policies.is_held(group))
    }
}

impl GroupEntry {
    /// The conversation that it belongs to.
    pub fn chat(&self) -> Option<ChatId> {
        self.row.chat.as_slice().try_into().ok().map(ChatId)
    }
}

impl Conversations {
    /// What a conversation is called here.
    pub(crate) fn name_of(&self, dir: Directory<'_>, state: &ChatState) -> String {
        let of_group = state.is_group().then(|| self.policies.name(&state.id)).flatten();
        let people = || dir.people(state.roster.others()).map(Person::name).collect::<Vec<_>>().join(", ");
        of_group.map_or_else(people, str::to_owned)
    }
}
