//! Groups in the test world.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use starling_wire::Text;

use super::{
    servers::At,
    world::{Who, World},
};
use crate::{
    api::{
        error::NodeError,
        types::{ChatId, Group, GroupKind, MessageId, Role, Standing},
    },
    conversation::GroupEntry,
    engine::{ConversationCommand, GroupCommand},
};

impl World {
    /// Makes contacts of two that are there.
    pub fn befriend(&mut self, a: Who, b: Who) {
        let invite = self.invite(a);
        let mut added = self.add(b, &invite);
        self.pass(5_000);
        added.try_recv().expect("no answer").unwrap();
    }

    /// So many people, each a contact of the first.
    pub fn company(&mut self, count: usize) -> Vec<Who> {
        self.company_at((0..count).map(|_| &[0][..]))
    }

    /// The same, with homes at these servers.
    pub fn company_at<'a>(&mut self, homes: impl Iterator<Item = &'a [At]>) -> Vec<Who> {
        let people: Vec<Who> = homes.enumerate().map(|(n, homes)| self.person_at(&format!("p{n}"), homes)).collect();
        for other in &people[1..] {
            self.befriend(people[0], *other);
        }
        people
    }

    /// Somebody makes a group and invites others.
    pub fn found(&mut self, who: Who, others: &[Who]) -> ChatId {
        self.found_of(who, GroupKind::Group, others)
    }

    /// The same of a kind.
    pub fn found_of(&mut self, who: Who, kind: GroupKind, others: &[Who]) -> ChatId {
        let invite = others.iter().map(|other| self.of(*other).account).collect();
        self.call(who, |reply| GroupCommand::New { name: "ops".into(), kind, invite, reply }).unwrap()
    }

    /// Somebody accepts an invitation; the answer is what they see of it at once.
    pub fn accept(&mut self, who: Who, chat: ChatId) -> Result<(), NodeError> {
        self.call(who, |reply| GroupCommand::Accept(chat, reply))
    }

    /// A group of these people, in which all are.
    pub fn group_of(&mut self, people: &[Who]) -> ChatId {
        self.kind_of(GroupKind::Group, people)
    }

    /// One of a kind.
    pub fn kind_of(&mut self, kind: GroupKind, people: &[Who]) -> ChatId {
        let chat = self.found_of(people[0], kind, &people[1..]);
        self.pass(2_000);
        for who in &people[1..] {
            self.accept(*who, chat).unwrap();
        }
        self.pass(30_000);
        chat
    }

    pub fn wish_in(&mut self, who: Who, chat: ChatId, others: &[Who]) -> Result<(), NodeError> {
        let accounts = others.iter().map(|other| self.of(*other).account).collect();
        self.call(who, |reply| GroupCommand::Invite { chat, accounts, reply })
    }

    pub fn wish_out(&mut self, who: Who, chat: ChatId, other: Who) -> Result<(), NodeError> {
        let account = self.of(other).account;
        self.call(who, |reply| GroupCommand::Remove { chat, account, reply })
    }

    pub fn wish_role(&mut self, who: Who, chat: ChatId, other: Who, role: Role) -> Result<(), NodeError> {
        let account = self.of(other).account;
        self.call(who, |reply| GroupCommand::SetRole { chat, account, role, reply })
    }

    pub fn leave(&mut self, who: Who, chat: ChatId) -> Result<(), NodeError> {
        self.call(who, |reply| GroupCommand::Leave(chat, reply))
    }

    /// Somebody writes into a group.
    pub fn say_in(&mut self, who: Who, chat: ChatId, text: &str) -> Result<MessageId, NodeError> {
        let texts = vec![Text { text: text.into(), ..Text::default() }];
        self.call(who, |reply| ConversationCommand::Send { chat, texts, reply }).map(|ids| ids[0])
    }

    /// The texts of a group's messages, as somebody sees them.
    pub fn texts_in(&self, who: Who, chat: ChatId) -> Vec<String> {
        self.messages_in(who, chat).into_iter().map(|message| message.text).collect()
    }

    /// A group as somebody sees it.
    pub fn group_seen(&self, who: Who, chat: ChatId) -> Option<Group> {
        let engine = self.engine(who);
        let groups = engine.conversations.group_list(engine.directory(), self.now.steady_ms);
        groups.into_iter().find(|group| group.id == chat)
    }

    pub fn standing(&self, who: Who, chat: ChatId) -> Option<Standing> {
        self.group_seen(who, chat).map(|group| group.standing)
    }

    /// The epoch of a group that somebody is in, and the devices there.
    pub fn epoch_in(&self, who: Who, chat: ChatId) -> Option<(u64, usize)> {
        let engine = self.engine(who);
        let id = engine.active_group(chat)?;
        engine.conversations.groups.get(&id).map(|group: &GroupEntry| (group.epoch(), group.members.len()))
    }
}
