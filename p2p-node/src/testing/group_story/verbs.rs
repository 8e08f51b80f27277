//! What users do.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use starling_keys::GroupLink;
use starling_wire::{JoinLink, Role, Text};
use tokio::sync::oneshot::error::TryRecvError;

use super::{Story, Written};
use crate::{
    api::{
        Reply,
        types::{ChatId, GroupSetting, NewJoinLink, Standing},
    },
    engine::{AccountCommand, ContactCommand, ConversationCommand, GroupCommand},
    testing::world::Who,
};

/// A device that is not linked after so many steps of the world is given up.
const LINK_STEPS: usize = 400;

impl Story {
    /// A user wants something; it happens when the world goes on.
    pub(super) fn wish(&mut self, who: Who, command: impl FnOnce(Reply<()>) -> GroupCommand) {
        if self.world.is_running(who) {
            drop(self.world.begin(who, command));
        }
    }

    pub(super) fn write(&mut self) {
        let (who, chat) = (self.any(), self.any_chat());
        self.texts += 1;
        let text = format!("{who}-{}", self.texts);
        let mentions_all = self.world.one_of(8) == 0;
        self.write_on(who, chat, Text { text, mentions_all, ..Text::default() });
    }

    /// Somebody writes, if that is possible.
    pub(super) fn write_on(&mut self, who: Who, chat: ChatId, text: Text) {
        if !self.world.is_running(who) {
            return;
        }
        let texts = vec![text.clone()];
        let mut sent = self.world.begin(who, |reply| ConversationCommand::Send { chat, texts, reply });
        self.world.all_at_once(who);
        let Ok(Ok(ids)) = sent.try_recv() else { return };
        if !self.is_hostiles(who) {
            self.written.push(Written { text: text.text, by: who, chat, id: ids[0] });
        }
    }

    /// Somebody who may do much, or anybody.
    fn ruler(&mut self) -> Who {
        if self.world.one_of(2) == 0 { self.people[0] } else { self.any() }
    }

    /// Members are invited, removed and given roles, and the settings changed, by who may do that or not.
    pub(super) fn govern(&mut self) {
        let (who, at, root) = (self.ruler(), self.world.one_of(self.people.len()), self.root());
        let (chat, account) = (self.any_chat(), self.world.of(self.people[at]).account);
        let n = self.texts;
        match self.world.one_of(16) {
            0..5 => self.wish(who, |reply| GroupCommand::Invite { chat: root, accounts: vec![account], reply }),
            5 => self.wish(who, |reply| GroupCommand::Remove { chat: root, account, reply }),
            6 => self.wish(who, |reply| GroupCommand::Ban { chat, account, reply }),
            7 => self.wish(who, |reply| GroupCommand::Unban { chat, account, reply }),
            8..11 => {
                let roles = [Role::Admin, Role::Admin, Role::Moderator, Role::Member, Role::Member, Role::Reader];
                let mut role = roles[self.world.one_of(roles.len())];
                if self.world.one_of(8) == 0 && !self.is_hostiles(self.people[at]) {
                    role = Role::Owner;
                }
                self.wish(who, |reply| GroupCommand::SetRole { chat: root, account, role, reply });
            }
            11 => self.wish(who, |reply| GroupCommand::Rename { chat, name: format!("name {n}"), reply }),
            12 | 13 => self.wish(who, |reply| GroupCommand::SetTopic { chat, topic: format!("topic {n}"), reply }),
            _ => {
                let settings = vec![self.setting()];
                self.wish(who, |reply| GroupCommand::Set { chat, settings, reply });
            }
        }
    }

    fn setting(&mut self) -> (GroupSetting, u32) {
        let rank = |role: Role| u32::from(role.rank());
        match self.world.one_of(6) {
            0 => (GroupSetting::SlowMode, [0, 0, 2][self.world.one_of(3)]),
            1 => (GroupSetting::MentionAll, rank(Role::ALL[self.world.one_of(4)])),
            2 => (GroupSetting::Invite, rank([Role::Admin, Role::Member][self.world.one_of(2)])),
            3 => (GroupSetting::Post, rank([Role::Member, Role::Member, Role::Moderator][self.world.one_of(3)])),
            4 => (GroupSetting::Comment, rank(Role::Member)),
            _ => (GroupSetting::Remove, rank([Role::Moderator, Role::Admin][self.world.one_of(2)])),
        }
    }

    /// A conversation that somebody is invited into.
    fn invited_into(&self, who: Who) -> Option<ChatId> {
        let is_invited = |chat: &&ChatId| self.world.standing(who, **chat) == Some(Standing::Invited);
        self.chats.iter().find(is_invited).copied()
    }

    /// Somebody accepts or declines, or leaves.
    pub(super) fn answer(&mut self) {
        let (who, chat) = (self.any(), self.any_chat());
        if !self.world.is_running(who) {
            return;
        }
        match (self.invited_into(who), self.world.one_of(12)) {
            (Some(chat), 0..11) => self.wish(who, |reply| GroupCommand::Accept(chat, reply)),
            (Some(chat), _) => self.wish(who, |reply| GroupCommand::Decline(chat, reply)),
            (None, 0) => self.wish(who, |reply| GroupCommand::Leave(chat, reply)),
            (None, 1) => self.leave_and_block(who, chat),
            // Of those who are invited somebody answers.
            (None, _) => {
                let devices = self.devices();
                let mut running = devices.into_iter().filter(|who| self.world.is_running(*who));
                let found = running.find_map(|who| Some((who, self.invited_into(who)?)));
                if let Some((who, chat)) = found {
                    self.wish(who, |reply| GroupCommand::Accept(chat, reply));
                }
            }
        }
    }

    /// Somebody leaves, and blocks who has let them in.
    fn leave_and_block(&mut self, who: Who, chat: ChatId) {
        let seen = self.world.group_seen(who, chat);
        let by = seen.and_then(|group| group.let_in_by.or(group.invited_by));
        self.wish(who, |reply| GroupCommand::Leave(chat, reply));
        if let Some(by) = by {
            drop(self.world.begin(who, |reply| ContactCommand::Block(by, reply)));
            self.blocked.push((who, by));
        }
    }

    /// Links are made, used and ended, and who asks by them is let in or not.
    pub(super) fn use_links(&mut self) {
        let (ruler, chat) = (self.ruler(), self.any_chat());
        let at = self.world.one_of(self.people.len());
        let account = self.world.of(self.people[at]).account;
        match self.world.one_of(8) {
            0 | 1 => self.make_link(ruler, chat),
            2..5 => self.join_by_link(),
            5 => self.end_link(ruler, chat),
            6 => self.wish(ruler, |reply| GroupCommand::Approve { chat, account, reply }),
            _ => self.wish(ruler, |reply| match at % 3 {
                0 => GroupCommand::Refuse { chat, account, reply },
                _ => GroupCommand::Approve { chat, account, reply },
            }),
        }
    }

    fn make_link(&mut self, who: Who, chat: ChatId) {
        if !self.world.is_running(who) {
            return;
        }
        let lifetime_ms = [None, None, Some(60_000)][self.world.one_of(3)];
        let uses = [None, Some(1), Some(3)][self.world.one_of(3)];
        let wanted = NewJoinLink { lifetime_ms, uses, approve: self.world.one_of(3) == 0 };
        let made = self.world.begin(who, |reply| GroupCommand::NewLink { chat, wanted, reply });
        self.making.push(made);
    }

    /// Takes the links that were made since. A QR code has the text of a link, which is what it is read from.
    pub(super) fn take_links(&mut self) {
        for mut answer in std::mem::take(&mut self.making) {
            match answer.try_recv() {
                Ok(Ok(made)) => {
                    let text = made.link.expect("its own link");
                    let read: GroupLink = text.parse().unwrap();
                    assert_eq!(read.to_string(), text);
                    self.links.push(text);
                }
                Err(TryRecvError::Empty) => self.making.push(answer),
                Ok(Err(_)) | Err(TryRecvError::Closed) => {}
            }
        }
    }

    fn any_link(&mut self) -> Option<GroupLink> {
        let at = self.world.one_of(self.links.len().max(1));
        self.links.get(at).map(|text| text.parse().unwrap())
    }

    fn join_by_link(&mut self) {
        let (who, link) = (self.any(), self.any_link());
        if let Some(link) = link.filter(|_| self.world.is_running(who)) {
            drop(self.world.begin(who, |reply| GroupCommand::Join(link, reply)));
        }
    }

    fn end_link(&mut self, who: Who, chat: ChatId) {
        if let Some(link) = self.any_link() {
            let link = JoinLink::id_of(&link.secret.public());
            self.wish(who, |reply| GroupCommand::EndLink { chat, link, reply });
        }
    }

    /// A device is linked, or one that was linked is removed.
    pub(super) fn change_devices(&mut self) {
        let at = self.world.one_of(self.people.len());
        if self.world.one_of(2) == 0 {
            self.link(at);
            return;
        }
        let there = self.linked.iter().copied().filter(|(device, at)| !self.removed.contains(device) && *at != 1);
        let there: Vec<(Who, usize)> = there.collect();
        if !there.is_empty() {
            let (device, at) = there[self.world.one_of(there.len())];
            self.remove_device(device, at);
        }
    }

    fn link(&mut self, at: usize) {
        let who = self.people[at];
        let count = self.linked.iter().filter(|(_, of)| *of == at).count();
        if count > 1 || self.is_hostiles(who) || !self.world.is_running(who) || !self.world.server_runs() {
            return;
        }
        // It has to stay there until its device is linked.
        self.world.kill_points.clear();
        let cut_off = self.cut_off_but(who);
        self.world.cut_off(cut_off);
        if let Some(device) = self.world.link_within(who, LINK_STEPS) {
            self.note_linked(device, at);
        }
    }

    pub(super) fn remove_device(&mut self, device: Who, at: usize) {
        let by = self.people[at];
        if self.world.is_running(by) {
            let id = self.world.of(device).device;
            drop(self.world.begin(by, |reply| AccountCommand::RemoveDevice(id, reply)));
            self.removed.insert(device);
        }
    }

    /// A channel of a community is ended.
    pub(super) fn end_channel(&mut self) {
        let (root, who) = (self.root(), self.people[0]);
        if self.chats.len() > 1 && self.world.one_of(3) == 0 {
            let channel = self.chats[1 + self.world.one_of(self.chats.len() - 1)];
            self.wish(who, |reply| GroupCommand::RemoveChannel { chat: root, channel, reply });
        }
    }
}
