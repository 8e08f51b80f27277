//! History that members hand to who comes into a group.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use starling_keys::{AccountId, StorageKey};
use starling_wire::{
    Body, Clock, Event, EventId, HandedHistory, SealedKey, Text,
    history::{HandedPart, HistoryAuthor, HistoryRow},
};

use super::world::{Who, World};
use crate::{
    api::types::{ChatId, DurableEventKind, GroupSetting, Joining, Message, NewJoinLink, Standing, Via},
    conversation::policy::limits::MAX_HANDED_ROWS,
    engine::{ConversationCommand, GroupCommand},
};

impl World {
    /// Says whether newcomers of a group see what was written before.
    fn show_history(&mut self, who: Who, chat: ChatId, shown: bool) {
        let settings = vec![(GroupSetting::History, u32::from(shown))];
        self.call(who, |reply| GroupCommand::Set { chat, settings, reply }).unwrap();
        self.pass(10_000);
    }

    /// Somebody lets another in, who comes.
    fn let_come(&mut self, who: Who, chat: ChatId, other: Who) {
        self.befriend(who, other);
        self.wish_in(who, chat, &[other]).unwrap();
        self.pass(10_000);
        self.accept(other, chat).unwrap();
        self.pass(40_000);
        assert_eq!(self.standing(other, chat), Some(Standing::Member));
    }

    /// The messages that were handed to somebody: text, and who has handed it on.
    fn handed_to(&self, who: Who, chat: ChatId) -> Vec<(String, AccountId)> {
        let handed = |message: Message| {
            assert_eq!(message.via == Via::Handed, message.handed_on_by.is_some());
            message.handed_on_by.map(|by| (message.text, by))
        };
        self.messages_in(who, chat).into_iter().filter_map(handed).collect()
    }

    /// Who has handed somebody how many messages, as they are told.
    fn told_of_history(&self, who: Who) -> Vec<(AccountId, usize)> {
        let told = self.durable_events(who).into_iter().filter(|event| event.kind == DurableEventKind::GroupHistory);
        told.map(|event| (event.account.unwrap(), event.text.parse().unwrap())).collect()
    }

    /// A member with a modified program hands on what it likes.
    fn hand_on(&mut self, who: Who, chat: ChatId, to: Who, part: &HandedPart) {
        let (account, device, own) = (self.of(to).account, self.of(to).device, self.of(who).device);
        self.modified(who, |engine, turn| {
            let entry = engine.directory().list_of(&account).unwrap().device(&device).unwrap().clone();
            let context = HandedHistory::context(&chat.0, &own.tag());
            let sealed_key = engine.mls.seal_to(&entry.seal_key, &context, &[7; 32]).unwrap();
            let sealed = StorageKey::from_bytes([7; 32]).seal(&context, &part.to_bytes());
            let keys = vec![SealedKey { device: device.tag(), sealed: sealed_key.into() }];
            let history = HandedHistory { sealed: sealed.into(), keys };
            engine.views().announce(turn, chat, Body::HandedHistory(history));
        });
        self.pass(10_000);
    }

    /// What somebody is said to have written at this time, in milliseconds since 1970.
    fn made_up(&mut self, author: Who, id: EventId, text: &str) -> HandedPart {
        let author = HistoryAuthor {
            account: self.of(author).account.as_bytes().to_vec().into(),
            tag: id.device.to_vec().into(),
            label: None,
        };
        let body = Event::encode_body(&Body::Text(Text { text: text.into(), ..Text::default() }));
        let row = HistoryRow { id: id.to_bytes().to_vec().into(), body: body.into(), ..HistoryRow::default() };
        HandedPart { authors: vec![author], rows: vec![row] }
    }
}

fn at(device: [u8; 8], ms: u64, sequence: u64) -> EventId {
    EventId { clock: Clock::at(ms), device, sequence }
}

fn words<'a>(texts: &[&'a str], by: AccountId) -> Vec<(String, AccountId)> {
    texts.iter().map(|text: &&'a str| ((*text).to_owned(), by)).collect()
}

#[test]
fn who_comes_is_handed_what_was_written_before_by_whoever_let_them_in() {
    let mut world = World::new(1500);
    let people = world.company(3);
    let chat = world.group_of(&people);
    let (alice, bob, carol) = (people[0], people[1], people[2]);
    world.show_history(alice, chat, true);
    let one = world.say_in(alice, chat, "one").unwrap();
    world.pass(2_000);
    let two = world.say_in(bob, chat, "two").unwrap();
    let gone = world.say_in(carol, chat, "gone").unwrap();
    world.pass(5_000);
    world
        .call(alice, |reply| ConversationCommand::Edit { chat, message: one, text: "one, better".into(), reply })
        .unwrap();
    world.call(carol, |reply| ConversationCommand::Delete { chat, message: gone, reply }).unwrap();
    world.call(carol, |reply| ConversationCommand::React { chat, message: two, emoji: "👍".into(), reply }).unwrap();
    world.pass(5_000);
    let late = world.person("late");
    world.let_come(alice, chat, late);
    let by = world.of(alice).account;
    assert_eq!(world.handed_to(late, chat), words(&["one, better", "two"], by));
    let messages = world.messages_in(late, chat);
    let authors: Vec<AccountId> = messages.iter().map(|message| message.author).collect();
    assert_eq!(authors, [world.of(alice).account, world.of(bob).account]);
    assert!(messages[0].edited && messages[1].reactions.len() == 1);
    assert_eq!(world.told_of_history(late).iter().map(|(_, count)| count).sum::<usize>(), 2);
    assert!(world.told_of_history(late).iter().all(|(member, _)| *member == by), "nobody else has handed it on, too");
    for who in [alice, bob, carol] {
        assert!(world.told_of_history(who).is_empty());
    }
    // It is no news, and nobody hears that it was read.
    let news =
        |event: &crate::api::types::DurableEvent| event.kind == DurableEventKind::New && event.chat == Some(chat);
    assert!(!world.durable_events(late).iter().any(news));
    let row = world.call(late, ConversationCommand::List).unwrap().into_iter().find(|row| row.id == chat).unwrap();
    assert_eq!(row.unread, 0);
    // What is said of it from now on counts as everywhere.
    world
        .call(bob, |reply| ConversationCommand::Edit { chat, message: two, text: "two, better".into(), reply })
        .unwrap();
    world.call(late, |reply| ConversationCommand::React { chat, message: one, emoji: "❤".into(), reply }).unwrap();
    world.pass(10_000);
    assert_eq!(world.texts_in(late, chat), ["one, better", "two, better"]);
    assert_eq!(world.messages_in(alice, chat)[0].reactions.len(), 1);
    // A restart changes nothing, and brings nothing twice.
    for who in [alice, late] {
        world.kill(who);
        world.start(who);
    }
    world.pass(60_000);
    assert_eq!(world.texts_in(late, chat), ["one, better", "two, better"]);
}

#[test]
fn where_newcomers_see_nothing_nothing_is_taken_and_a_later_change_is_for_those_after_it() {
    let mut world = World::new(1501);
    let people = world.company(2);
    let chat = world.group_of(&people);
    let (alice, mallory) = (people[0], people[1]);
    world.say_in(alice, chat, "before").unwrap();
    world.pass(5_000);
    let early = world.person("early");
    world.let_come(alice, chat, early);
    assert!(world.texts_in(early, chat).is_empty());
    let tag = world.of(alice).device.tag();
    let part = world.made_up(alice, at(tag, 1_000, 1), "made up");
    world.hand_on(mallory, chat, early, &part);
    assert!(world.texts_in(early, chat).is_empty(), "the policy says that it sees nothing");
    world.show_history(alice, chat, true);
    let late = world.person("late");
    world.let_come(alice, chat, late);
    assert_eq!(world.handed_to(late, chat), words(&["before"], world.of(alice).account));
    world.hand_on(mallory, chat, early, &part);
    assert!(world.texts_in(early, chat).is_empty(), "it came before that");
    // And back.
    world.show_history(alice, chat, false);
    let last = world.person("last");
    world.let_come(alice, chat, last);
    assert!(world.texts_in(last, chat).is_empty());
    world.hand_on(mallory, chat, late, &part);
    assert_eq!(world.texts_in(late, chat), ["before"]);
}

#[test]
fn who_has_come_by_a_link_with_nobody_there_is_handed_it_when_somebody_is() {
    let mut world = World::new(1502);
    let people = world.company(3);
    let chat = world.group_of(&people);
    let (alice, bob, carol) = (people[0], people[1], people[2]);
    world.show_history(alice, chat, true);
    for n in 0..30 {
        world.say_in(people[n % 3], chat, &format!("message {n} of those that were there before")).unwrap();
        world.pass(500);
    }
    world.pass(5_000);
    let wanted = NewJoinLink { uses: Some(5), ..NewJoinLink::default() };
    let made = world.call(alice, |reply| GroupCommand::NewLink { chat, wanted, reply }).unwrap();
    world.pass(10_000);
    let link: starling_keys::GroupLink = made.link.unwrap().parse().unwrap();
    people.iter().for_each(|who| world.kill(*who));
    let late = world.person("late");
    world.pass(5_000);
    let mut answer = world.begin(late, |reply| GroupCommand::Join(link, reply));
    world.pass(30_000);
    assert_eq!(answer.try_recv().expect("no answer"), Ok(Joining::Enters(chat)));
    assert_eq!(world.standing(late, chat), Some(Standing::Member));
    world.say_in(late, chat, "hello").unwrap();
    world.pass(5_000);
    assert_eq!(world.texts_in(late, chat), ["hello"]);
    // Not the one who has made the link, which may be away for long.
    world.start(carol);
    world.pass(60_000);
    let by = world.of(carol).account;
    let handed = world.handed_to(late, chat);
    assert_eq!(handed.len(), 30);
    assert!(handed.iter().all(|(_, member)| *member == by));
    let expected = world.texts_in(carol, chat);
    assert_eq!(world.texts_in(late, chat), expected, "in the same order, with what was written since");
    // The others see that it was done.
    let told = world.told_of_history(late);
    for who in [alice, bob] {
        world.start(who);
    }
    world.pass(120_000);
    assert_eq!(world.told_of_history(late), told);
    assert_eq!(world.texts_in(late, chat), expected);
}

#[test]
fn what_a_member_makes_up_takes_the_place_of_nothing_and_is_bounded() {
    let mut world = World::new(1503);
    let people = world.company(3);
    let chat = world.group_of(&people);
    let (alice, mallory, carol) = (people[0], people[1], people[2]);
    world.show_history(alice, chat, true);
    world.say_in(alice, chat, "before").unwrap();
    world.pass(5_000);
    let late = world.person("late");
    world.let_come(alice, chat, late);
    let said = world.say_in(carol, chat, "since").unwrap();
    world.pass(10_000);
    assert_eq!(world.texts_in(late, chat), ["before", "since"]);
    let (of_carol, of_late) = (world.of(carol).device.tag(), world.of(late).device.tag());
    let future = world.messages_in(late, chat)[1].sent_ms() + 3_600_000;
    let refused = [
        world.made_up(carol, said.0, "another text"),
        world.made_up(late, at([9; 8], 1_000, 1), "as if it had come from another device of the newcomer"),
        world.made_up(carol, at(of_late, 1_000, 1), "as if from the newcomer's device"),
        world.made_up(carol, at(of_carol, future, 77), "still to be written"),
    ];
    for part in &refused {
        world.hand_on(mallory, chat, late, part);
        assert_eq!(world.texts_in(late, chat), ["before", "since"]);
    }
    let part = world.made_up(carol, at(of_carol, 1_000, 1), "long ago");
    world.hand_on(mallory, chat, late, &part);
    assert_eq!(world.texts_in(late, chat), ["long ago", "before", "since"]);
    assert_eq!(world.handed_to(late, chat)[0].1, world.of(mallory).account, "it is shown whose word that is");
    // More than is taken at all.
    for n in 0..4 {
        let mut rows = Vec::new();
        for m in 0..20 {
            rows.extend(world.made_up(carol, at(of_carol, 2_000 + n * 100 + m, 2 + n * 100 + m), "and more").rows);
        }
        let authors = part.authors.clone();
        world.hand_on(mallory, chat, late, &HandedPart { authors, rows });
    }
    let handed = world.handed_to(late, chat).len();
    assert!((20..=MAX_HANDED_ROWS).contains(&handed), "{handed}");
    assert_eq!(world.texts_in(late, chat).last().unwrap(), "since");
}
