//! Profiles and a server as a version of Starling has left them, kept in `tests/fixtures/schema-N`: this version has to open them, and to go
//! on with them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::{fmt::Write as _, fs, path::PathBuf};

use starling_wire::Text;

use super::{
    engine_tests::{ring, talk},
    world::{Who, World},
};
use crate::{
    api::types::{DeliveryState, Message, MessageId},
    calls::CallRequest,
    engine::{Command, ContactCommand, ConversationCommand},
};

const DAY: u64 = 86_400_000;

/// Schemas before the present one.
const OLDER: [u32; 2] = [1, 2];

/// The people of the story whose profiles are kept, in this order.
const PEOPLE: [&str; 3] = ["alice", "laptop", "bob"];

fn directory(schema: u32) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/fixtures/schema-{schema}"))
}

/// Makes two people contacts.
fn befriend(world: &mut World, inviter: Who, other: Who) {
    let invite = world.invite(inviter);
    let mut added = world.add(other, &invite);
    world.pass(10_000);
    added.try_recv().expect("no answer").unwrap();
}

fn send(world: &mut World, who: Who, to: Who, text: Text) -> MessageId {
    let chat = world.chat(who, to);
    world.call(who, |reply| ConversationCommand::Send { chat, texts: vec![text], reply }).unwrap()[0]
}

fn read(world: &mut World, who: Who, other: Who) {
    let chat = world.chat(who, other);
    let upto = world.messages(who, other).last().unwrap().id.0.clock;
    world.call(who, |reply| ConversationCommand::MarkRead { chat, upto, reply }).unwrap();
    world.pass(2_000);
}

fn react(world: &mut World, who: Who, to: Who, message: MessageId, emoji: &str) {
    let chat = world.chat(who, to);
    world.call(who, |reply| ConversationCommand::React { chat, message, emoji: emoji.into(), reply }).unwrap();
    world.pass(1_000);
}

/// Something of everything that a profile can hold. Gives alice, her laptop and bob.
fn story(world: &mut World) -> [Who; 3] {
    let (alice, bob) = world.friends();
    world.stop_server();
    world.kill(bob);
    world.say(alice, bob, "nobody fetched this for a month");
    world.pass(31 * DAY);
    world.heal();
    let laptop = world.linked(alice);
    world.pass(60_000);
    let others = ["carol", "dave", "erin", "frank"].map(|name| world.person(name));
    let [carol, dave, erin, frank] = others;
    befriend(world, alice, carol);
    world.say(carol, alice, "buy this");
    world.pass(2_000);
    let account = world.of(carol).account;
    world.call(alice, |reply| ContactCommand::Block(account, reply)).unwrap();
    befriend(world, laptop, erin);
    world.say(erin, alice, "are you there?");
    world.pass(2_000);
    let account = world.of(erin).account;
    world.call(alice, |reply| ContactCommand::Rename(account, "Erin from work".into(), reply)).unwrap();
    world.call(laptop, |reply| ContactCommand::SetVerified(account, true, reply)).unwrap();
    for who in [alice, laptop] {
        let chat = world.chat(who, erin);
        let muted_until_ms = Some(world.now.wall_ms + 365 * DAY);
        world
            .call(who, |reply| ConversationCommand::SetChat {
                chat,
                pinned: Some(true),
                muted_until_ms,
                archived: None,
                reply,
            })
            .unwrap();
    }
    // One who asks alice, and one whom she has asked.
    let address = starling_keys::Invite { token: None, ..world.invite(alice) };
    drop(world.add(dave, &address));
    world.pass(10_000);
    let address = starling_keys::Invite { token: None, ..world.invite(frank) };
    drop(world.add(alice, &address));
    world.pass(10_000);

    let first = world.say(alice, bob, "read by bob");
    world.pass(2_000);
    let mentions = vec![*world.of(alice).account.as_bytes()];
    let answer = Text { text: "an answer to @alice".into(), reply_to: Some(first.0), mentions, ..Text::default() };
    let answer = send(world, bob, alice, answer);
    world.pass(2_000);
    react(world, alice, bob, answer, "👍");
    react(world, bob, alice, answer, "❤");
    react(world, bob, alice, first, "🎉");
    react(world, bob, alice, first, "");
    let edited = world.say(alice, bob, "with a tpyo");
    let chat = world.chat(alice, bob);
    let text = "with a typo".into();
    world.call(alice, |reply| ConversationCommand::Edit { chat, message: edited, text, reply }).unwrap();
    let deleted = world.say(bob, alice, "said too much");
    let chat = world.chat(bob, alice);
    world.call(bob, |reply| ConversationCommand::Delete { chat, message: deleted, reply }).unwrap();
    world.pass(2_000);
    world.say(laptop, bob, "from the laptop");
    world.pass(2_000);
    read(world, bob, alice);
    read(world, alice, bob);
    let call = talk(world, bob, alice);
    world.pass(5_000);
    world.call(bob, |reply| CallRequest::HangUp { id: call, text: String::new(), reply }).unwrap();
    world.pass(2_000);
    let missed = ring(world, bob, alice);
    world.call(bob, |reply| CallRequest::HangUp { id: missed, text: String::new(), reply }).unwrap();
    world.pass(2_000);
    world.say(alice, bob, "delivered");
    world.say(bob, alice, "not read by alice");
    world.pass(2_000);
    for other in others {
        world.kill(other);
    }
    // What waits in a log, and what waits at home, on both sides.
    world.kill(bob);
    world.kill(laptop);
    world.say(alice, bob, "waits in the log");
    world.pass(2_000);
    world.stop_server();
    world.say(alice, bob, "waits in the outbox");
    world.pass(1_000);
    world.kill(alice);
    world.start(bob);
    world.say(bob, alice, "waits in bob's outbox");
    world.pass(1_000);
    world.kill(bob);
    [alice, laptop, bob]
}

fn line(message: &Message) -> String {
    let Message { own, text, reply_to, mentions, edited, deleted, reactions, state, via, call, .. } = message;
    let mut line = format!("{} {state:?} {via:?} {text:?}", if *own { "→" } else { "←" });
    for (said, what) in [(reply_to.is_some(), "answers"), (*edited, "edited"), (*deleted, "deleted")] {
        if said {
            write!(line, " {what}").unwrap();
        }
    }
    if !mentions.is_empty() {
        write!(line, " mentions {}", mentions.len()).unwrap();
    }
    if let Some(call) = call {
        write!(line, " call {:?} {}", call.why, call.duration_ms).unwrap();
    }
    for (emoji, own) in reactions {
        write!(line, " {emoji}{}", if *own { " own" } else { "" }).unwrap();
    }
    line
}

/// Everything that a profile shows, while nothing can be reached.
fn shown(world: &mut World, who: Who) -> String {
    let mut out = String::new();
    let mut contacts = world.call(who, ContactCommand::List).unwrap();
    contacts.sort_by(|a, b| a.name.cmp(&b.name));
    let chats = world.call(who, ConversationCommand::List).unwrap();
    for contact in &contacts {
        let (name, own, devices) = (&contact.name, &contact.own_name, contact.devices.len());
        let verified = if contact.verified { " verified" } else { "" };
        writeln!(out, "contact {name:?} ({own}) {:?}{verified}, {devices} devices", contact.state).unwrap();
        let Some(chat) = chats.iter().find(|c| c.id == contact.chat) else { continue };
        let flags = [(chat.pinned, " pinned"), (chat.archived, " archived"), (chat.muted_until_ms > 0, " muted")];
        let flags: String = flags.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect();
        writeln!(out, "chat{flags}: {} unread, {} queued", chat.unread, chat.queued).unwrap();
        for message in world.messages_in(who, contact.chat) {
            writeln!(out, "{}", line(&message)).unwrap();
        }
    }
    for request in world.call(who, ContactCommand::Requests).unwrap() {
        writeln!(out, "request of {} {:?}", request.name, request.greeting).unwrap();
    }
    let status = world.call(who, Command::Status).unwrap();
    writeln!(out, "{} in the outbox, {} parcels", status.queued, status.requests_waiting).unwrap();
    let news = world.durable_events(who);
    writeln!(out, "{} pieces of news, the last {:?}", news.len(), news.last().map(|n| n.kind)).unwrap();
    out
}

/// What the profiles show, one after the other.
fn all_shown(world: &mut World, people: &[Who]) -> String {
    let mut out = String::new();
    for (who, name) in people.iter().zip(PEOPLE) {
        world.start(*who);
        write!(out, "# {name}\n\n{}\n", shown(world, *who)).unwrap();
        world.kill(*who);
    }
    out
}

/// Where the fixtures of a schema are, and their people in a world at that time.
fn open(seed: u64, schema: u32) -> (PathBuf, World) {
    let from = directory(schema);
    let world = World::of_fixture(seed, &from, &PEOPLE);
    (from, world)
}

#[test]
fn a_profile_of_an_older_version_shows_everything_that_it_has() {
    for schema in OLDER {
        let (from, mut world) = open(9_001, schema);
        let expected = fs::read_to_string(from.join("shown.txt")).unwrap();
        assert_eq!(all_shown(&mut world, &[0, 1, 2]), expected, "schema {schema}");
    }
}

#[test]
fn profiles_of_an_older_version_go_on_where_they_were() {
    OLDER.into_iter().for_each(goes_on);
}

fn goes_on(schema: u32) {
    let (_, mut world) = open(9_002, schema);
    let people @ [alice, laptop, bob] = [0, 1, 2];
    people.into_iter().for_each(|who| world.start(who));
    // The first builds kept the secret of the account's root on every device.
    assert!(schema > 1 || people.into_iter().all(|who| world.has_root(who)));
    world.heal();
    for who in people {
        assert!(!world.has_root(who), "schema {schema}: {who} keeps the root of its account");
    }
    let waiting = ["waits in the log", "waits in the outbox", "waits in bob's outbox"];
    for (who, other) in [(alice, bob), (laptop, bob), (bob, alice)] {
        let texts: Vec<String> = world.messages(who, other).into_iter().map(|m| m.text).collect();
        for text in waiting {
            assert_eq!(texts.iter().filter(|t| *t == text).count(), 1, "{who}: {text}");
        }
    }
    let device = world.of(laptop).device;
    for (who, other) in [(alice, bob), (laptop, bob), (bob, alice)] {
        let message = world.messages(who, other).into_iter().find(|m| m.text == "from the laptop").unwrap();
        assert_eq!((message.device, message.own), (Some(device), who != bob), "{who}");
        assert_eq!(message.author, world.of(alice).account);
    }
    world.say(alice, bob, "after");
    world.say(laptop, bob, "after that");
    world.pass(5_000);
    let last: Vec<String> = world.seen(bob, alice).split_off(world.messages(bob, alice).len() - 2);
    assert_eq!(last, ["alice: after", "alice: after that"]);
    assert!(world.messages(alice, bob).iter().any(|m| m.text == "after" && m.state == DeliveryState::Delivered));
}

#[test]
fn a_stolen_file_does_not_say_who_has_written() {
    let mut world = World::new(9_003);
    let people = story(&mut world);
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path();
    world.keep(&people.into_iter().zip(PEOPLE).collect::<Vec<_>>(), to);
    for name in PEOPLE {
        let file = fs::read(to.join(name).join("profile.redb")).unwrap();
        let holds = |what: &[u8]| file.windows(what.len()).any(|bytes| bytes == what);
        for who in 0..world.how_many() {
            let device = world.of(who).device;
            assert!(!holds(device.as_bytes()), "{name}'s file has the id of device {who}");
            assert!(!holds(&device.tag()), "{name}'s file has the tag of device {who}");
        }
    }
}

#[test]
#[ignore = "writes the fixture of the present schema; run once, before the schema changes"]
fn write_the_fixture() {
    let mut world = World::new(9_000);
    let people = story(&mut world);
    let to = directory(crate::store::SCHEMA);
    fs::create_dir_all(&to).unwrap();
    world.keep(&people.into_iter().zip(PEOPLE).collect::<Vec<_>>(), &to);
    let shown = all_shown(&mut world, &people);
    fs::write(to.join("shown.txt"), shown).unwrap();
}
