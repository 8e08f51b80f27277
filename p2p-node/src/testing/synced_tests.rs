//! Settings are the account's: what is set on one of its devices counts on all, also on those that come later.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use starling_wire::{Clock, Setting, SettingKind, rendezvous::ResponseBody};

use crate::{
    api::types::{Arranged, Chat, ChatId, ContactState, TransientEvent},
    engine::{AccountCommand, ContactCommand, ConversationCommand},
    testing::world::{Who, World},
};

/// Alice with three devices, and bob.
fn four(seed: u64) -> (World, [Who; 3], Who) {
    let mut world = World::new(seed);
    let (alice, bob) = world.friends();
    let laptop = world.linked(alice);
    let phone = world.linked(alice);
    world.pass(10_000);
    (world, [alice, laptop, phone], bob)
}

fn set_chat(world: &mut World, who: Who, other: Who, pinned: Option<bool>, muted_until_ms: Option<u64>) {
    let chat = world.chat(who, other);
    let set = |reply| ConversationCommand::SetChat { chat, pinned, muted_until_ms, archived: None, reply };
    world.call(who, set).unwrap();
}

fn read_all(world: &mut World, who: Who, other: Who) {
    let chat = world.chat(who, other);
    world.call(who, |reply| ConversationCommand::MarkRead { chat, upto: Clock(u64::MAX), reply }).unwrap();
}

fn names(world: &mut World, who: Who) -> (String, String) {
    let mut names = None;
    world.modified(who, |engine, _| {
        let row = &engine.account.identity.row;
        names = Some((row.name.clone(), row.username.clone()));
    });
    names.unwrap()
}

fn privacy(world: &mut World, who: Who) -> [u32; 3] {
    world
        .call(who, |reply| AccountCommand::SetPrivacy { last_seen: None, receipts: None, typing: None, reply })
        .unwrap()
}

fn claim(world: &mut World, who: Who, name: &str) {
    let mut claimed = world.begin(who, |reply| AccountCommand::SetUsername(name.into(), reply));
    world.pass(1_000);
    claimed.try_recv().expect("no answer").unwrap();
}

/// Whom a user name leads to, as somebody finds it.
fn leads_to(world: &mut World, who: Who, name: &str) -> bool {
    let homes = vec![world.home.clone()];
    let mut added = world.begin(who, |reply| ContactCommand::Connect {
        account: None,
        name: Some(name.into()),
        homes,
        token: None,
        greeting: String::new(),
        alias: String::new(),
        reply,
    });
    world.pass(10_000);
    added.try_recv().is_ok_and(|found| found.is_ok())
}

#[test]
fn a_user_name_is_the_accounts_and_the_last_claim_counts() {
    let (mut world, [alice, laptop, phone], _) = four(930);
    claim(&mut world, alice, "alice1");
    for who in [alice, laptop, phone] {
        assert_eq!(names(&mut world, who).1, "alice1", "{who}");
    }
    world.kill(alice);
    claim(&mut world, laptop, "alice2");
    world.kill(laptop);
    world.kill(phone);
    // Nobody is there who could tell it but the home.
    world.start(alice);
    world.pass(10_000);
    assert_eq!(names(&mut world, alice).1, "alice2");
    let carol = world.person("carol");
    assert!(!leads_to(&mut world, carol, "alice1"));
    assert!(leads_to(&mut world, carol, "alice2"));
}

#[test]
fn devices_that_rename_a_contact_in_the_same_millisecond_agree() {
    for seed in 0..4 {
        let (mut world, all, bob) = four(9310 + seed);
        let account = world.of(bob).account;
        for who in all {
            drop(world.begin(who, |reply| ContactCommand::Rename(account, format!("Bob of {who}"), reply)));
        }
        world.pass(10_000);
        let aliases = all.map(|who| world.contact(who, bob).unwrap().name);
        assert!(aliases.iter().all(|alias| *alias == aliases[0]), "seed {seed}: {aliases:?}");
    }
}

#[test]
fn a_name_that_two_devices_set_at_once_is_one_name_for_everybody() {
    for seed in 0..4 {
        let (mut world, all, bob) = four(9320 + seed);
        for who in all {
            drop(world.begin(who, |reply| AccountCommand::SetName(format!("Alice {who}"), reply)));
        }
        world.pass(10_000);
        let own = all.map(|who| names(&mut world, who).0);
        assert!(own.iter().all(|name| *name == own[0]), "seed {seed}: {own:?}");
        assert_eq!(world.contact(bob, all[0]).unwrap().name, own[0], "seed {seed}");
    }
}

#[test]
fn what_is_set_on_one_device_counts_on_the_others_at_once() {
    let (mut world, [alice, laptop, phone], bob) = four(933);
    set_chat(&mut world, laptop, bob, Some(true), Some(5_000));
    let set = |reply| AccountCommand::SetPrivacy { last_seen: Some(2), receipts: Some(2), typing: Some(2), reply };
    world.call(phone, set).unwrap();
    world.settle();
    for who in [alice, laptop, phone] {
        let Chat { pinned, muted_until_ms, .. } = world.chat_row(who, bob);
        assert_eq!((pinned, muted_until_ms), (true, 5_000), "{who}");
        assert_eq!(privacy(&mut world, who), [2; 3], "{who}");
    }
    // How far was read is told to our devices also if contacts are not told.
    world.say(bob, alice, "hi");
    world.pass(5_000);
    read_all(&mut world, phone, bob);
    world.settle();
    for who in [alice, laptop, phone] {
        assert_eq!(world.chat_row(who, bob).unread, 0, "{who}");
    }
}

#[test]
fn devices_that_are_not_connected_hear_of_it_through_the_home() {
    let (mut world, [alice, laptop, phone], bob) = four(934);
    world.direct = false;
    for who in [alice, laptop, phone] {
        world.cut(who, bob);
    }
    world.pass(60_000);
    world.kill(phone);
    set_chat(&mut world, alice, bob, Some(true), None);
    set_chat(&mut world, laptop, bob, None, Some(7_000));
    world.pass(10_000);
    world.kill(alice);
    world.start(phone);
    world.pass(10_000);
    for who in [laptop, phone] {
        let Chat { pinned, muted_until_ms, .. } = world.chat_row(who, bob);
        assert_eq!((pinned, muted_until_ms), (true, 7_000), "{who}");
    }
}

#[test]
fn a_restored_device_has_the_settings() {
    let (mut world, [alice, laptop, phone], bob) = four(935);
    set_chat(&mut world, laptop, bob, Some(true), Some(u64::MAX));
    claim(&mut world, phone, "alice");
    drop(world.begin(alice, |reply| AccountCommand::SetName("Alice the second".into(), reply)));
    let set = |reply| AccountCommand::SetPrivacy { last_seen: Some(1), receipts: Some(2), typing: Some(1), reply };
    world.call(alice, set).unwrap();
    let carol = world.person("carol");
    let invite = world.invite(carol);
    let mut added = world.add(alice, &invite);
    world.pass(10_000);
    added.try_recv().expect("no answer").unwrap();
    let account = world.of(carol).account;
    world.call(laptop, |reply| ContactCommand::Block(account, reply)).unwrap();
    world.pass(10_000);
    for who in [laptop, phone] {
        world.kill(who);
    }
    let restored = world.restored(alice);
    world.pass(10_000);
    let Chat { pinned, muted_until_ms, .. } = world.chat_row(restored, bob);
    assert_eq!((pinned, muted_until_ms), (true, u64::MAX));
    assert_eq!(names(&mut world, restored), ("Alice the second".into(), "alice".into()));
    assert_eq!(privacy(&mut world, restored), [1, 2, 1]);
    assert_eq!(world.contact(restored, carol).unwrap().state, ContactState::Blocked);
}

#[test]
fn a_contact_and_a_program_of_ours_set_nothing() {
    use starling_wire::{Setting, SettingKind};
    let (mut world, [alice, laptop, phone], bob) = four(936);
    let device = world.of(phone).device;
    let set = |reply| AccountCommand::SetRights { device, rights: starling_keys::chain::Rights::Bot, reply };
    world.call(alice, set).unwrap();
    world.pass(5_000);
    let theirs = world.of(bob).device;
    let setting = Setting {
        kind: SettingKind::Name as i32,
        clock: u64::MAX,
        value: bytes::Bytes::from_static(b"Mallory"),
        ..Setting::default()
    };
    world.modified(laptop, |engine, turn| {
        for device in [device, theirs] {
            engine.sync().on_settings(turn, &device, std::slice::from_ref(&setting)).unwrap();
        }
    });
    assert_eq!(names(&mut world, laptop).0, "alice");
}

#[test]
fn of_two_words_for_a_device_the_second_is_kept_until_it_is_delivered() {
    let (mut world, [alice, laptop, phone], bob) = four(937);
    let account = world.of(bob).account;
    world.kill(laptop);
    for name in ["first", "second"] {
        drop(world.begin(alice, |reply| ContactCommand::Rename(account, name.into(), reply)));
        world.all_at_once(alice);
    }
    // The server has taken the first, and the connection breaks before it has taken the second.
    let first = world.appended.len();
    world.answer_one(alice);
    world.all_at_once(alice);
    world.stop_server();
    world.start_server();
    world.pass(60_000);
    assert!(world.appended.len() > first);
    world.start(laptop);
    world.pass(10_000);
    for who in [alice, laptop, phone] {
        assert_eq!(world.contact(who, bob).unwrap().name, "second", "{who}");
    }
}

#[test]
fn a_setting_that_is_stamped_ahead_of_the_time_keeps_nobody_from_setting_it_again() {
    let (mut world, [alice, laptop, phone], _) = four(905);
    let forged = Setting {
        kind: SettingKind::Name as i32,
        clock: u64::MAX,
        device: u64::MAX,
        value: "for ever".into(),
        ..Setting::default()
    };
    for who in [alice, laptop] {
        world.modified(who, |engine, turn| engine.sync().take_settings(turn, std::slice::from_ref(&forged)).unwrap());
    }
    world.call(phone, |reply| AccountCommand::SetName("alice the second".into(), reply)).unwrap();
    world.pass(10_000);
    for who in [alice, laptop, phone] {
        assert_eq!(names(&mut world, who).0, "alice the second", "{who}");
    }
}

fn draft(world: &mut World, who: Who, other: Who) -> Option<String> {
    world.chat_row(who, other).draft
}

fn write_draft(world: &mut World, who: Who, other: Who, text: &str) {
    let chat = world.chat(who, other);
    world.call(who, |reply| AccountCommand::SetDraft { chat, text: text.into(), reply }).unwrap();
    world.settle();
}

#[test]
fn a_draft_is_on_all_devices_and_the_last_one_counts() {
    let (mut world, [alice, laptop, phone], bob) = four(940);
    world.kill(phone);
    write_draft(&mut world, alice, bob, "half a thought");
    assert_eq!(draft(&mut world, laptop, bob).as_deref(), Some("half a thought"));
    assert_eq!(draft(&mut world, alice, bob), None, "it is its own");
    write_draft(&mut world, laptop, bob, "another thought");
    assert_eq!(draft(&mut world, alice, bob).as_deref(), Some("another thought"));
    let told = |news: &TransientEvent| matches!(news, TransientEvent::Draft { text, .. } if text == "another thought");
    assert!(world.of(alice).live.iter().any(told));
    // One that was away, with the others gone.
    world.pass(20_000);
    world.kill(alice);
    world.kill(laptop);
    world.start(phone);
    world.pass(10_000);
    assert_eq!(draft(&mut world, phone, bob).as_deref(), Some("another thought"));
    write_draft(&mut world, phone, bob, "");
    world.start(alice);
    world.pass(10_000);
    assert_eq!(draft(&mut world, alice, bob).as_deref(), Some(""));
    let chat = world.chat(phone, bob);
    let long = |reply| AccountCommand::SetDraft { chat, text: "x".repeat(2_000), reply };
    assert!(world.call(phone, long).is_err());
}

#[test]
fn a_contact_is_verified_and_trusted_on_all_devices() {
    let (mut world, [alice, laptop, phone], bob) = four(941);
    let account = world.of(bob).account;
    world.call(laptop, |reply| ContactCommand::SetVerified(account, true, reply)).unwrap();
    world.pass(10_000);
    for who in [alice, laptop, phone] {
        assert!(world.contact(who, bob).unwrap().verified, "{who}");
    }
    // Somebody else may be there now, and the user of one device says that it is him.
    let restored = world.restored(bob);
    world.pass(60_000);
    for who in [alice, laptop, phone] {
        assert!(world.contact(who, bob).unwrap().key_changed, "{who}");
    }
    world.kill(phone);
    world.call(alice, |reply| ContactCommand::Trust(account, reply)).unwrap();
    world.pass(10_000);
    world.start(phone);
    world.pass(60_000);
    for who in [alice, laptop, phone] {
        let contact = world.contact(who, bob).unwrap();
        assert_eq!((contact.key_changed, contact.verified), (false, false), "{who}");
    }
    world.say(phone, restored, "is it you?");
    world.pass(60_000);
    assert_eq!(world.messages(restored, phone).last().unwrap().text, "is it you?");
}

#[test]
fn no_device_has_the_last_word_on_a_contact_for_ever() {
    let (mut world, [alice, laptop, phone], bob) = four(1_090);
    let account = world.of(bob).account;
    world.modified(laptop, |engine, turn| {
        let person = engine.contacts.people.get_mut(&account).unwrap();
        (person.row.said_ms, person.row.named_clock) = (u64::MAX - 1, u64::MAX - 1);
        (person.row.alias, person.dirty) = ("pinned".into(), true);
        engine.sync().tell_other_devices(turn, Some(account)).unwrap();
    });
    world.pass(200_000);
    for state in [ContactState::Blocked, ContactState::Active, ContactState::Blocked] {
        let said = |reply| match state {
            ContactState::Blocked => ContactCommand::Block(account, reply),
            _ => ContactCommand::Unblock(account, reply),
        };
        world.call(alice, said).unwrap();
        world.pass(10_000);
        assert_eq!(world.contact(phone, bob).unwrap().state, state);
    }
}

/// The home does not have, or hides, the newest entries of the account's chain, among them who has written its snapshot.
#[test]
fn an_account_restored_from_an_old_chain_has_its_contacts() {
    let mut world = World::new(931);
    let (alice, bob) = world.friends();
    let old = bytes::Bytes::copy_from_slice(world.chain(alice).as_bytes());
    let laptop = world.linked(alice);
    world.pass(10_000);
    let account = world.of(bob).account;
    world.call(laptop, |reply| ContactCommand::Rename(account, "Bobby".into(), reply)).unwrap();
    world.pass(60_000);
    world.kill(laptop);
    let present = world.how_many();
    world.lie = Some(Box::new(move |who, response| {
        if who >= present
            && let Some(ResponseBody::DeviceList(list)) = &mut response.body
        {
            *list = old.clone();
        }
    }));
    let again = world.restored(alice);
    world.pass(60_000);
    assert_eq!(world.contact(again, bob).unwrap().name, "Bobby");
    world.lie = None;
    world.start(laptop);
    world.pass(600_000);
    world.say(bob, again, "welcome back");
    world.pass(60_000);
    assert_eq!(world.seen(again, bob), ["bob: welcome back"]);
}

/// A chat as it is in somebody's list.
fn listed(world: &mut World, who: Who, chat: ChatId) -> Chat {
    world.call(who, ConversationCommand::List).unwrap().into_iter().find(|c| c.id == chat).unwrap()
}

#[test]
fn how_conversations_are_arranged_counts_on_all_devices_also_of_groups() {
    let (mut world, [alice, laptop, phone], bob) = four(942);
    let group = world.group_of(&[alice, bob]);
    let direct = world.chat(alice, bob);
    world.kill(phone);
    let changes = vec![
        (group, Arranged::Folder("work".into())),
        (group, Arranged::Place(2)),
        (direct, Arranged::Place(1)),
        (group, Arranged::Folded(true)),
    ];
    world.call(alice, |reply| AccountCommand::Arrange(changes, reply)).unwrap();
    let pin = |reply| ConversationCommand::SetChat {
        chat: group,
        pinned: Some(true),
        muted_until_ms: Some(7_000),
        archived: None,
        reply,
    };
    world.call(alice, pin).unwrap();
    world.pass(10_000);
    world.start(phone);
    world.pass(60_000);
    for who in [alice, laptop, phone] {
        let chat = listed(&mut world, who, group);
        assert_eq!((chat.folder.as_str(), chat.place, chat.folded), ("work", Some(2), true), "{who}");
        assert_eq!((chat.pinned, chat.muted_until_ms), (true, 7_000), "{who}");
        assert_eq!(world.chat_row(who, bob).place, Some(1), "{who}");
    }
    // It is taken back on another device.
    let back = vec![(group, Arranged::Folder(String::new())), (group, Arranged::Place(0))];
    world.call(phone, |reply| AccountCommand::Arrange(back, reply)).unwrap();
    world.pass(10_000);
    for who in [alice, laptop, phone] {
        let chat = listed(&mut world, who, group);
        assert_eq!((chat.folder.as_str(), chat.place, chat.folded), ("", None, true), "{who}");
    }
}

#[test]
fn what_cannot_be_arranged_is_refused_as_a_whole() {
    let (mut world, [alice, ..], bob) = four(943);
    let direct = world.chat(alice, bob);
    for wrong in [(ChatId([9; 16]), Arranged::Place(1)), (direct, Arranged::Folder("\u{200b}".into()))] {
        let changes = vec![(direct, Arranged::Place(1)), wrong];
        assert!(world.call(alice, |reply| AccountCommand::Arrange(changes, reply)).is_err());
        assert_eq!(world.chat_row(alice, bob).place, None);
    }
}
