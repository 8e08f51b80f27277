//! Settings, bans, moderators and the audit log of groups.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use starling_wire::{Body, Edit, Role, Text};

use super::world::{Who, World};
use crate::{
    api::{
        error::{GroupRefusal, NodeError, NotAllowed},
        types::{AuditAction, AuditLog, ChatId, DurableEventKind, GroupKind, GroupSetting, MessageId, Standing},
    },
    engine::{ConversationCommand, GroupCommand},
};

impl World {
    fn set(&mut self, who: Who, chat: ChatId, settings: &[(GroupSetting, u32)]) -> Result<(), NodeError> {
        let settings = settings.to_vec();
        self.call(who, |reply| GroupCommand::Set { chat, settings, reply })
    }

    fn ban(&mut self, who: Who, chat: ChatId, other: Who) -> Result<(), NodeError> {
        let account = self.of(other).account;
        self.call(who, |reply| GroupCommand::Ban { chat, account, reply })
    }

    fn unban(&mut self, who: Who, chat: ChatId, other: Who) -> Result<(), NodeError> {
        let account = self.of(other).account;
        self.call(who, |reply| GroupCommand::Unban { chat, account, reply })
    }

    fn answer_to(&mut self, who: Who, chat: ChatId, to: MessageId, text: &str) -> Result<MessageId, NodeError> {
        let texts = vec![Text { text: text.into(), reply_to: Some(to.0), ..Text::default() }];
        self.call(who, |reply| ConversationCommand::Send { chat, texts, reply }).map(|ids| ids[0])
    }

    fn audit(&mut self, who: Who, chat: ChatId) -> AuditLog {
        self.call(who, |reply| GroupCommand::Audit(chat, reply)).unwrap()
    }
}

fn refused<T>(why: GroupRefusal) -> Result<T, NodeError> {
    Err(NotAllowed::Group(why).into())
}

fn rank(role: Role) -> u32 {
    role.rank().into()
}

#[test]
fn who_may_not_change_settings_is_told_so_also_where_they_are_so_already() {
    let mut world = World::new(30);
    let people = world.company(2);
    let chat = world.group_of(&people);
    for settings in [[(GroupSetting::SlowMode, 0)], [(GroupSetting::History, 0)]] {
        assert_eq!(world.set(people[1], chat, &settings), refused(GroupRefusal::Role));
        assert_eq!(world.set(people[0], chat, &settings), Ok(()));
    }
    assert_eq!(world.set(people[1], chat, &[]), Ok(()), "nothing was asked for");
}

#[test]
fn settings_are_the_same_for_all_and_change_what_each_may_do() {
    let mut world = World::new(1);
    let people = world.company(3);
    let chat = world.group_of(&people);
    let posts = [(GroupSetting::Post, rank(Role::Admin)), (GroupSetting::History, 1)];
    assert_eq!(world.set(people[1], chat, &posts), refused(GroupRefusal::Role));
    assert!(world.set(people[0], chat, &[(GroupSetting::SlowMode, u32::MAX)]).is_err());
    world.set(people[0], chat, &posts).unwrap();
    world.pass(10_000);
    for who in &people {
        let rules = world.group_seen(*who, chat).unwrap().rules.unwrap();
        assert_eq!((rules.permissions.post, rules.history), (Role::Admin, true));
        assert!(world.durable_events(*who).iter().any(|event| event.kind == DurableEventKind::GroupPolicy));
    }
    assert_eq!(world.say_in(people[1], chat, "may I?").map(drop), refused(GroupRefusal::Role));
    world.say_in(people[0], chat, "no").unwrap();
    world.pass(5_000);
    assert_eq!(world.texts_in(people[2], chat), ["no"]);
    world.set(people[0], chat, &[(GroupSetting::Post, rank(Role::Member))]).unwrap();
    world.pass(10_000);
    world.say_in(people[1], chat, "now?").unwrap();
    world.pass(5_000);
    assert_eq!(world.texts_in(people[2], chat), ["no", "now?"]);
}

#[test]
fn who_is_banned_is_out_and_nobody_lets_them_in_until_that_is_lifted() {
    let mut world = World::new(2);
    let people = world.company(3);
    let chat = world.group_of(&people);
    assert_eq!(world.ban(people[1], chat, people[2]), refused(GroupRefusal::Role));
    world.ban(people[0], chat, people[2]).unwrap();
    world.pass(10_000);
    assert_eq!(world.standing(people[2], chat), Some(Standing::Removed));
    for who in &people {
        let banned = |event: &crate::api::types::DurableEvent| event.kind == DurableEventKind::GroupBanned;
        assert!(world.durable_events(*who).iter().any(banned), "{who} does not know");
    }
    assert_eq!(world.wish_in(people[0], chat, &[people[2]]), refused(GroupRefusal::Banned));
    assert!(world.accept(people[2], chat).is_err());
    world.pass(10_000);
    assert_eq!(world.standing(people[2], chat), Some(Standing::Removed));
    world.unban(people[0], chat, people[2]).unwrap();
    world.pass(10_000);
    assert_eq!(world.group_seen(people[1], chat).unwrap().members.len(), 2, "to lift a ban lets nobody in");
    world.wish_in(people[0], chat, &[people[2]]).unwrap();
    world.pass(10_000);
    world.accept(people[2], chat).unwrap();
    world.pass(10_000);
    assert_eq!(world.standing(people[2], chat), Some(Standing::Member));
}

#[test]
fn moderators_remove_members_and_delete_what_they_have_written() {
    let mut world = World::new(3);
    let people = world.company(4);
    let chat = world.group_of(&people);
    world.wish_role(people[0], chat, people[1], Role::Moderator).unwrap();
    world.pass(10_000);
    let (of_owner, of_member) =
        (world.say_in(people[0], chat, "mine").unwrap(), world.say_in(people[2], chat, "rubbish").unwrap());
    world.pass(5_000);
    let mut delete = |who, message| world.call(who, |reply| ConversationCommand::Delete { chat, message, reply });
    assert!(delete(people[1], of_owner).is_err() && delete(people[3], of_member).is_err());
    delete(people[1], of_member).unwrap();
    world.pass(5_000);
    for who in &people {
        let deleted = world.messages_in(*who, chat).iter().filter(|m| m.deleted).map(|m| m.id).collect::<Vec<_>>();
        assert_eq!(deleted, [of_member], "{who}");
    }
    assert_eq!(world.wish_out(people[1], chat, people[0]), refused(GroupRefusal::Role));
    world.wish_out(people[1], chat, people[2]).unwrap();
    world.pass(10_000);
    assert_eq!(world.standing(people[2], chat), Some(Standing::Removed));
}

#[test]
fn slow_mode_says_how_long_to_wait() {
    let mut world = World::new(4);
    let people = world.company(2);
    let chat = world.group_of(&people);
    world.set(people[0], chat, &[(GroupSetting::SlowMode, 30)]).unwrap();
    world.pass(10_000);
    world.say_in(people[1], chat, "one").unwrap();
    world.pass(10_000);
    let Err(NodeError::RateLimited { retry_after_ms }) = world.say_in(people[1], chat, "two") else {
        panic!("it did not have to wait");
    };
    assert!((1..=21_000).contains(&retry_after_ms), "{retry_after_ms}");
    for n in 0..3 {
        world.say_in(people[0], chat, &format!("owners need not wait {n}")).unwrap();
    }
    world.pass(retry_after_ms);
    world.say_in(people[1], chat, "two").unwrap();
    world.pass(10_000);
    assert_eq!(world.texts_in(people[0], chat).len(), 5);
    assert_eq!(world.texts_in(people[1], chat), world.texts_in(people[0], chat));
}

#[test]
fn all_have_one_audit_log_and_who_comes_later_is_handed_it() {
    let mut world = World::new(5);
    let people = world.company(4);
    let chat = world.group_of(&people[..3]);
    world.wish_role(people[0], chat, people[1], Role::Admin).unwrap();
    world.pass(10_000);
    world.set(people[1], chat, &[(GroupSetting::SlowMode, 5)]).unwrap();
    world.pass(10_000);
    world.leave(people[2], chat).unwrap();
    world.pass(30_000);
    world.wish_in(people[0], chat, &[people[3]]).unwrap();
    world.pass(10_000);
    world.accept(people[3], chat).unwrap();
    world.pass(60_000);
    let log = world.audit(people[0], chat);
    let account = |at: usize| *world.of(people[at]).account.as_bytes();
    let accounts = [0, 1, 2, 3].map(account);
    let mut others = [accounts[1], accounts[2]];
    others.sort_unstable();
    let actions: Vec<AuditAction> = log.entries.iter().map(|entry| entry.action.clone()).collect();
    assert_eq!(
        actions,
        [
            AuditAction::Made,
            AuditAction::Invited(others[0]),
            AuditAction::Invited(others[1]),
            AuditAction::Role(accounts[1], Role::Admin),
            AuditAction::Setting(GroupSetting::SlowMode, 5),
            AuditAction::Left(accounts[2]),
            AuditAction::Invited(accounts[3]),
        ]
    );
    assert_eq!((log.missing, log.entries[4].by), (0, accounts[1]));
    for who in [people[1], people[3]] {
        assert_eq!(world.audit(who, chat), log, "{who}");
    }
}

#[test]
fn in_a_channel_few_write_and_the_others_answer_only_if_that_is_set() {
    let mut world = World::new(6);
    let people = world.company(3);
    let chat = world.kind_of(GroupKind::Channel, &people);
    assert_eq!(world.group_seen(people[1], chat).unwrap().kind(), GroupKind::Channel);
    assert_eq!(world.say_in(people[1], chat, "may I?").map(drop), refused(GroupRefusal::Role));
    let post = world.say_in(people[0], chat, "news").unwrap();
    world.pass(5_000);
    assert_eq!(world.answer_to(people[1], chat, post, "well done").map(drop), refused(GroupRefusal::Role));
    world.set(people[0], chat, &[(GroupSetting::Comment, rank(Role::Member))]).unwrap();
    world.pass(10_000);
    let answer = world.answer_to(people[1], chat, post, "well done").unwrap();
    assert_eq!(world.say_in(people[1], chat, "mine").map(drop), refused(GroupRefusal::Role));
    let unknown = MessageId(starling_wire::EventId { sequence: 99, ..post.0 });
    assert!(world.answer_to(people[2], chat, unknown, "to nothing").is_err());
    let (message, text) = (answer, "very well done".to_owned());
    world.call(people[1], |reply| ConversationCommand::Edit { chat, message, text, reply }).unwrap();
    world.pass(5_000);
    for who in &people {
        assert_eq!(world.texts_in(*who, chat), ["news", "very well done"], "{who}");
    }
    // Who may not post any more changes no posts, but answers.
    world.wish_role(people[0], chat, people[2], Role::Admin).unwrap();
    world.pass(10_000);
    let post = world.say_in(people[2], chat, "more news").unwrap();
    world.pass(5_000);
    world.wish_role(people[0], chat, people[2], Role::Member).unwrap();
    world.pass(10_000);
    world.begin_modified(people[2], |engine, turn| {
        let body = Body::Edit(Edit { target: post.0, text: "rubbish".into() });
        let (conversations, mut cx) = engine.conversing();
        conversations.write_event(turn, &mut cx, chat, body).unwrap();
    });
    world.pass(10_000);
    for who in [people[0], people[1]] {
        assert_eq!(world.texts_in(who, chat), ["news", "very well done", "more news"], "{who}");
    }
}

#[test]
fn everybody_is_mentioned_by_those_alone_who_may() {
    let mut world = World::new(1203);
    let people = world.company(3);
    let chat = world.group_of(&people);
    let (alice, bob) = (people[0], people[1]);
    let send = |world: &mut World, who: Who| {
        let texts = vec![Text { text: "@all look".into(), mentions_all: true, ..Text::default() }];
        world.call(who, |reply| ConversationCommand::Send { chat, texts, reply })
    };
    assert_eq!(send(&mut world, bob).err(), Some(NotAllowed::Group(GroupRefusal::Role).into()));
    send(&mut world, alice).unwrap();
    world.pass(5_000);
    // A program that ignores that sends a message which mentions nobody.
    world.begin_modified(bob, |engine, turn| {
        let (conversations, mut cx) = engine.conversing();
        let text = Text { text: "@all buy".into(), mentions_all: true, ..Text::default() };
        conversations.write_event(turn, &mut cx, chat, Body::Text(text)).unwrap();
    });
    world.pass(10_000);
    for who in &people {
        let seen = world.messages_in(*who, chat);
        let seen: Vec<(&str, bool)> = seen.iter().map(|m| (m.text.as_str(), m.mentions_all)).collect();
        assert_eq!(seen, [("@all look", true), ("@all buy", false)], "{who}");
    }
}
