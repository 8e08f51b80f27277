//! What a device may still do once its account has given it up.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use starling_wire::{Availability, CallId, Clock, EventId, Text};
use tokio::sync::oneshot;

use super::{
    engine_tests::setup,
    world::{Who, World},
};
use crate::{
    NewDevice, Rights,
    api::{
        Reply,
        error::NotAllowed,
        types::{ChatId, MessageId},
    },
    calls::CallRequest,
    engine::{AccountCommand, Command, ContactCommand, ConversationCommand, HistoryCommand, PresenceCommand},
};

/// A device that was removed, and whom its account talks to.
struct Removed {
    world: World,
    alice: Who,
    bob: Who,
    laptop: Who,
    chat: ChatId,
    message: MessageId,
}

fn removed(seed: u64) -> Removed {
    let mut world = World::new(seed);
    let (alice, bob) = world.friends();
    let laptop = world.linked(alice);
    world.pass(60_000);
    let (device, chat) = (world.of(laptop).device, world.chat_id(laptop, bob));
    let message = world.say(laptop, bob, "while it was ours");
    world.pass(10_000);
    world.call(alice, |reply| AccountCommand::RemoveDevice(device, reply)).unwrap();
    world.pass(60_000);
    Removed { world, alice, bob, laptop, chat, message }
}

#[test]
fn a_removed_device_shows_what_it_has_and_puts_its_own_view_in_order() {
    let Removed { mut world, alice, bob, laptop, chat, .. } = removed(91);
    assert_eq!(world.call(laptop, ContactCommand::List).unwrap().len(), 1);
    world.call(laptop, Command::Status).unwrap();
    world
        .call(laptop, |reply| AccountCommand::SetPrivacy { last_seen: None, receipts: None, typing: None, reply })
        .expect("asking for the settings changes none");
    world.call(laptop, |reply| ConversationCommand::ClearChat(chat, reply)).expect("its own view may be cleared");
    world.pass(60_000);
    assert_eq!(world.contact(alice, bob).unwrap().name, "bob");
}

impl Removed {
    /// A command that the device gives and that has to be refused.
    fn refused<T, C: Into<Command>>(&mut self, command: impl FnOnce(Reply<T>) -> C) {
        let (laptop, mut shown) = (self.laptop, String::new());
        let answer = self.world.call(laptop, |reply| {
            let command = command(reply).into();
            shown = format!("{command:?}");
            command
        });
        let why = answer.err().unwrap_or_else(|| std::panic::panic_any(format!("carried out: {shown}")));
        assert_eq!(why, NotAllowed::Superseded.into(), "{shown}");
    }

    /// The same of those that nobody waits for.
    fn silent(&mut self, command: impl Into<Command>) {
        let command = command.into();
        let mut command = Some(command);
        drop(self.world.begin::<(), Command>(self.laptop, |_| command.take().unwrap()));
        self.world.settle();
    }
}

#[test]
fn a_removed_device_changes_nothing_of_the_account_whatever_it_asks() {
    let mut test = removed(92);
    let (account, device) = (test.world.of(test.bob).account, test.world.of(test.alice).device);
    let (home, chat, message) = (test.world.home.clone(), test.chat, test.message);
    let before = (test.world.entries_at_server(), test.world.appended.len());

    test.refused(|reply| AccountCommand::OpenCode(true, reply));
    test.refused(|reply| AccountCommand::OpenCode(false, reply));
    test.refused(|reply| AccountCommand::AnswerLink { device, rights: Some(Rights::Admin), history: false, reply });
    test.refused(|reply| AccountCommand::SetRights { device, rights: Rights::Bot, reply });
    let (code, new) = ("1-zoo-zoo-zoo-zoo".to_owned(), Box::new(NewDevice::generate().unwrap()));
    let at = home.clone();
    test.refused(|reply| AccountCommand::JoinAccount {
        code,
        home: at,
        device: new,
        name: "mine".into(),
        kind: String::new(),
        asked: oneshot::channel().0,
        reply,
    });
    test.refused(|reply| AccountCommand::RemoveDevice(device, reply));
    for changed in 0..3 {
        let set = |at| (at == changed).then_some(1);
        let (last_seen, receipts, typing) = (set(0), set(1), set(2));
        test.refused(|reply| AccountCommand::SetPrivacy { last_seen, receipts, typing, reply });
    }
    test.refused(|reply| AccountCommand::SetDraft { chat, text: "mine".into(), reply });
    test.refused(|reply| HistoryCommand::Give(device, reply));
    test.refused(|reply| HistoryCommand::Get(Some(device), reply));
    test.refused(HistoryCommand::Cancel);
    test.refused(|reply| AccountCommand::SetName("mine".into(), reply));
    test.refused(|reply| AccountCommand::SetUsername("mine".into(), reply));
    test.refused(|reply| AccountCommand::Storage { delete: None, reply });
    let homes = vec![home.clone()];
    test.refused(|reply| AccountCommand::SetHomes { homes, token: String::new(), reply });

    test.refused(|reply| ContactCommand::Invite { uses: 1, lifetime_ms: 60_000, reply });
    test.refused(|reply| ContactCommand::UseCode { code: "1-zoo-zoo-zoo".into(), home: None, reply });
    test.refused(|reply| ContactCommand::Connect {
        account: Some(account),
        name: None,
        homes: vec![home.clone()],
        token: None,
        greeting: String::new(),
        alias: String::new(),
        reply,
    });
    test.refused(|reply| ContactCommand::Accept(account, reply));
    test.refused(|reply| ContactCommand::Decline(account, reply));
    test.refused(|reply| ContactCommand::Rename(account, "mine".into(), reply));
    test.refused(|reply| ContactCommand::SetVerified(account, true, reply));
    test.refused(|reply| ContactCommand::Trust(account, reply));
    test.refused(|reply| ContactCommand::Block(account, reply));
    test.refused(|reply| ContactCommand::Unblock(account, reply));
    test.refused(|reply| ContactCommand::Remove(account, reply));

    let texts = || vec![Text { text: "from nobody".into(), ..Text::default() }];
    test.refused(|reply| ConversationCommand::Send { chat, texts: texts(), reply });
    test.refused(|reply| ConversationCommand::Edit { chat, message, text: "never said".into(), reply });
    test.refused(|reply| ConversationCommand::Delete { chat, message, reply });
    test.refused(|reply| ConversationCommand::React { chat, message, emoji: "👍".into(), reply });

    let id = CallId([1; 16]);
    test.refused(CallRequest::Servers);
    test.refused(|reply| CallRequest::Start { chat, setup: setup(), reply });
    test.refused(|reply| CallRequest::Answer { id, setup: setup(), reply });
    test.refused(|reply| CallRequest::Transfer { id, to: Some(device), reply });
    test.refused(|reply| CallRequest::Fetch { chat: None, setup: setup(), reply });
    test.refused(|reply| CallRequest::Record { id, path: Some("/nowhere".into()), reply });
    test.refused(|reply| CallRequest::Consent { id, agree: true, reply });
    test.refused(|reply| CallRequest::Talk { id, for_ms: Some(1_000), reply });

    test.silent(PresenceCommand::Typing { chat, typing: true });
    test.silent(PresenceCommand::SetAvailability(Availability::Online));
    // What it may: reading is its own affair, and nobody learns of it.
    let read = EventId::default().clock.max(Clock(u64::MAX));
    test.world.call(test.laptop, |reply| ConversationCommand::MarkRead { chat, upto: read, reply }).unwrap();
    test.world.pass(60_000);

    let Removed { mut world, alice, bob, laptop, .. } = test;
    assert_eq!((world.entries_at_server(), world.appended.len()), before, "it has left something at the server");
    assert_eq!(world.seen(bob, alice), ["alice: while it was ours"]);
    assert_eq!(world.contact(alice, bob).unwrap().name, "bob");
    assert_eq!(world.contact(bob, alice).unwrap().name, "alice");
    assert!(world.call(alice, AccountCommand::Devices).unwrap().iter().all(|d| d.id != world.of(laptop).device));
}
