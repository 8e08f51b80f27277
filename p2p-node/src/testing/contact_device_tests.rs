//! What people see of their contacts' devices: lines in the conversation, alarms, and what becomes of a verification.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use starling_keys::{
    AccountId, DeviceChain, DeviceId, DeviceKey,
    chain::{Joining, Rights, SETTLED_AFTER_S, SignWith},
};
use starling_wire::{Body, DeviceLabel, Devices};

use crate::{
    api::types::{DeviceChange, DurableEventKind, HiddenChange, MessageId},
    engine::{AccountCommand, ContactCommand, ConversationCommand},
    testing::world::{Who, World},
};

/// The lines about the other's devices: what has happened, to which by its name.
fn lines(world: &mut World, who: Who, other: Who) -> Vec<(DeviceChange, String)> {
    let notes = world.device_lines(who, other).into_iter().filter_map(|m| m.device_note);
    notes.map(|note| (note.change, note.name)).collect()
}

/// Where these lines are, and about which device.
fn places(world: &mut World, who: Who, other: Who) -> Vec<(MessageId, Option<DeviceId>)> {
    world.device_lines(who, other).into_iter().map(|line| (line.id, line.device)).collect()
}

fn verify(world: &mut World, who: Who, other: Who) {
    let account = world.of(other).account;
    world.call(who, |reply| ContactCommand::SetVerified(account, true, reply)).unwrap();
}

/// A chain with a device more, signed with the key of `thief`.
fn with_ghost(world: &mut World, thief: Who, chain: &DeviceChain, ghost: &DeviceKey) -> DeviceChain {
    let joining = Joining::sign(ghost, &chain.account, b"seal key of the ghost".to_vec());
    let mut made = None;
    world.modified(thief, |engine, turn| {
        let key = SignWith::Device(&engine.account.identity.device_key);
        made = Some(chain.add(&key, turn.agreed_ms() / 1000, &joining, Rights::Admin).unwrap());
    });
    made.unwrap()
}

/// A modified program of `thief` sends a chain to all devices of a conversation.
fn send(world: &mut World, thief: Who, victim: Who, chain: &DeviceChain) {
    let chat = world.chat(thief, victim);
    let list = chain.as_bytes().to_vec();
    world.modified(thief, |engine, turn| {
        engine.views().announce(turn, chat, Body::Devices(Devices { list, labels: Vec::new() }));
    });
}

/// The same to one device of a contact alone: as it arrives there.
fn send_to(world: &mut World, victim: Who, chain: &DeviceChain, ghost: &DeviceKey, called: &str) {
    let device = ghost.id().as_bytes().to_vec().into();
    let labels = vec![DeviceLabel { device, name: called.into(), kind: "linux".into() }];
    let devices = Devices { list: chain.as_bytes().to_vec(), labels };
    let account = chain.account;
    world.modified(victim, |engine, turn| engine.devices().on_device_list(turn, account, &devices).unwrap());
}

/// What somebody was warned of: who has shown it, what was done to which device, and who has signed it.
fn warnings(world: &World, who: Who) -> Vec<(Option<AccountId>, HiddenChange)> {
    let news = world.durable_events(who).into_iter().filter(|n| n.kind == DurableEventKind::DeviceHidden);
    news.map(|n| (n.account, n.text.parse().unwrap())).collect()
}

#[test]
fn contacts_see_on_all_devices_once_when_a_device_joins_or_leaves() {
    let mut world = World::new(500);
    let (alice, bob) = world.friends();
    let other = world.linked(bob);
    world.pass(10_000);
    verify(&mut world, bob, alice);
    assert_eq!(lines(&mut world, bob, alice), [], "what was there at first is no news");
    let laptop = world.linked(alice);
    world.pass(10_000);
    let joined = (DeviceChange::Joined, "laptop".to_owned());
    assert_eq!(lines(&mut world, bob, alice), std::slice::from_ref(&joined));
    let device = world.of(laptop).device;
    world.call(alice, |reply| AccountCommand::RemoveDevice(device, reply)).unwrap();
    world.pass(30_000);
    let left = (DeviceChange::Left, "laptop".to_owned());
    assert_eq!(lines(&mut world, bob, alice), [joined, left]);
    for who in [bob, other] {
        assert_eq!(places(&mut world, who, alice), places(&mut world, bob, alice), "{who}");
        let told = world.durable_events(who).iter().filter(|n| n.kind == DurableEventKind::ContactDevices).count();
        assert_eq!(told, 2, "{who}");
        assert!(world.device_lines(who, alice).iter().all(|line| line.device == Some(device)));
    }
    let contact = world.contact(bob, alice).unwrap();
    assert!(contact.verified && !contact.key_changed, "the chain is one");
    // They do not count as unread, and nobody reacts to them.
    assert_eq!(world.chat_row(bob, alice).unread, 0);
    let (chat, message) = (world.chat(bob, alice), world.device_lines(bob, alice)[0].id);
    let emoji = "👍".to_owned();
    assert!(world.call(bob, |reply| ConversationCommand::React { chat, message, emoji, reply }).is_err());
}

#[test]
fn a_recovery_is_an_alarm_and_ends_a_verification() {
    let mut world = World::new(501);
    let (alice, bob) = world.friends();
    verify(&mut world, bob, alice);
    let again = world.restored(alice);
    world.pass(60_000);
    assert_eq!(lines(&mut world, bob, again).iter().map(|l| l.0).collect::<Vec<_>>(), [DeviceChange::Recovered]);
    let contact = world.contact(bob, again).unwrap();
    assert!(contact.key_changed);
    assert_eq!(world.chat_row(bob, again).unread, 1);
    assert!(world.durable_events(bob).iter().any(|n| n.kind == DurableEventKind::KeyChanged));
}

#[test]
fn a_fork_is_an_alarm_once_and_ends_a_verification() {
    let mut world = World::new(502);
    let (alice, bob) = world.friends();
    let other = world.linked(bob);
    world.pass(10_000);
    verify(&mut world, bob, alice);
    let old = world.chain(alice);
    let _laptop = world.linked(alice);
    // Everybody has held the entry for long.
    world.pass(SETTLED_AFTER_S * 1000 + 60_000);
    world.pass(5_000);
    let before = lines(&mut world, bob, alice).len();
    for n in 0..3 {
        let rival = with_ghost(&mut world, alice, &old, &DeviceKey::from_seed(&[n; 32]));
        send(&mut world, alice, bob, &rival);
        world.pass(10_000);
    }
    for who in [bob, other] {
        let lines = lines(&mut world, who, alice);
        assert_eq!(lines.iter().filter(|l| l.0 == DeviceChange::Forked).count(), 1, "{who}: {lines:?}");
        assert_eq!(lines.len(), before + 1);
        assert!(world.contact(who, alice).unwrap().key_changed);
        assert_eq!(world.contact(who, alice).unwrap().devices.len(), 2, "the other chain was not taken");
    }
    assert_eq!(places(&mut world, bob, alice), places(&mut world, other, alice));
}

#[test]
fn a_device_that_a_thief_shows_to_a_contact_alone_is_seen_by_its_owner() {
    let mut world = World::new(510);
    let (alice, bob) = world.friends();
    let laptop = world.linked(alice);
    world.pass(10_000);
    let (thief, ghost) = (world.of(laptop).device, DeviceKey::from_seed(&[66; 32]));
    world.kill(alice);
    // The thief has the laptop's key, and its own program; the laptop itself is off for the user.
    let chain = world.chain(laptop);
    let extended = with_ghost(&mut world, laptop, &chain, &ghost);
    world.kill(laptop);
    send_to(&mut world, bob, &extended, &ghost, "ghost");
    world.pass(5_000);
    assert_eq!(lines(&mut world, bob, alice).last(), Some(&(DeviceChange::Joined, "ghost".to_owned())));
    assert!(world.listed(bob, chain.account).contains(&ghost.id()));
    world.start(alice);
    world.pass(20_000);
    let by = Some(world.of(bob).account);
    let hidden = HiddenChange { change: "joined".into(), device: ghost.id(), by: Some(thief), name: "ghost".into() };
    assert_eq!(warnings(&world, alice), [(by, hidden)]);
    // It is on the list, and can be removed for everybody, with the device that was stolen.
    for device in [ghost.id(), thief] {
        let mut removed = world.begin(alice, |reply| AccountCommand::RemoveDevice(device, reply));
        world.pass(10_000);
        removed.try_recv().expect("no answer").unwrap();
    }
    let own = world.of(alice).device;
    assert_eq!(world.listed(bob, chain.account), [own]);
    assert_eq!(world.listed(alice, chain.account), [own]);
    world.say(alice, bob, "to you alone");
    world.pass(20_000);
    assert_eq!(world.seen(bob, alice), ["alice: to you alone"]);
}

#[test]
fn a_hidden_device_is_seen_by_its_owner_in_a_receipt_even_if_the_first_sign_was_lost() {
    let mut world = World::new(511);
    let (alice, bob) = world.friends();
    let laptop = world.linked(alice);
    world.pass(10_000);
    let ghost = DeviceKey::from_seed(&[66; 32]);
    let chain = world.chain(laptop);
    let extended = with_ghost(&mut world, laptop, &chain, &ghost);
    let account = chain.account;
    // As a profile of an earlier version would have it: known, and nobody was shown it.
    world.modified(bob, |engine, turn| {
        engine.contacts.people.get_mut(&account).unwrap().take_chain(extended, turn.agreed_ms() / 1000).unwrap();
    });
    assert_eq!(warnings(&world, alice), []);
    world.say(alice, bob, "hello");
    let (chat, upto) = (world.chat(bob, alice), starling_wire::Clock(u64::MAX));
    world.pass(5_000);
    world.call(bob, |reply| ConversationCommand::MarkRead { chat, upto, reply }).unwrap();
    world.pass(20_000);
    assert_eq!(warnings(&world, alice).iter().map(|(_, hidden)| hidden.device).collect::<Vec<_>>(), [ghost.id()]);
}

#[test]
fn a_second_history_that_a_contact_refuses_is_shown_to_the_owner() {
    let mut world = World::new(512);
    let (alice, bob) = world.friends();
    let old = world.chain(alice);
    let laptop = world.linked(alice);
    world.pass(SETTLED_AFTER_S * 1000 + 60_000);
    world.pass(5_000);
    let ghost = DeviceKey::from_seed(&[66; 32]);
    let rival = with_ghost(&mut world, alice, &old, &ghost);
    send_to(&mut world, bob, &rival, &ghost, "ghost");
    world.pass(20_000);
    for who in [alice, laptop] {
        let warned = warnings(&world, who);
        assert_eq!(
            warned.iter().map(|(_, h)| (h.change.as_str(), h.device)).collect::<Vec<_>>(),
            [("forked", ghost.id())]
        );
        assert_eq!(world.listed(who, old.account).len(), 2, "it was not taken");
    }
}

#[test]
fn nobody_is_warned_of_what_the_account_has_done_itself() {
    let mut world = World::new(513);
    let (alice, bob) = world.friends();
    let other = world.linked(bob);
    world.pass(10_000);
    let laptop = world.linked(alice);
    let phone = world.begin_linking(laptop);
    world.pass(30_000);
    let device = world.of(phone).device;
    world.call(alice, |reply| AccountCommand::RemoveDevice(device, reply)).unwrap();
    world.pass(30_000);
    world.say(alice, bob, "hello");
    world.pass(10_000);
    for who in [alice, laptop, bob, other] {
        assert_eq!(warnings(&world, who), [], "{who}");
    }
}

#[test]
fn a_line_about_a_device_is_not_ahead_of_the_time() {
    let mut world = World::new(520);
    let (alice, bob) = world.friends();
    world.pass(10_000);
    let ghost = DeviceKey::from_seed(&[67; 32]);
    let chain = world.chain(alice);
    let joining = Joining::sign(&ghost, &chain.account, b"seal key of the ghost".to_vec());
    let mut extended = None;
    world.modified(alice, |engine, _| {
        let key = SignWith::Device(&engine.account.identity.device_key);
        extended = Some(chain.add(&key, u64::MAX / 1000, &joining, Rights::Admin).unwrap());
    });
    send_to(&mut world, bob, &extended.unwrap(), &ghost, "ghost");
    world.pass(5_000);
    let lines = places(&mut world, bob, alice);
    assert_eq!(lines.len(), 1);
    assert!(lines[0].0.0.clock.ms() <= world.now.wall_ms + 1_000, "{lines:?}");
}

/// What was written before a recovery was known waits until the user has decided about it, and goes on then, whichever way they say so.
#[test]
fn all_that_waits_for_a_recovered_account_goes_on_once_it_is_trusted() {
    for verifies in [true, false] {
        let mut world = World::new(530);
        let (alice, bob) = world.friends();
        let account = world.of(alice).account;
        let laptop = world.linked(alice);
        world.pass(10_000);
        verify(&mut world, bob, alice);
        world.kill(laptop);
        world.direct = false;
        world.cut(alice, bob);
        world.stop_server();
        world.say(bob, alice, "while you were away");
        world.kill(bob);
        world.start_server();
        world.recover(alice);
        let chain = world.chain(alice).as_bytes().to_vec();
        world.stop_server();
        world.start(bob);
        // Another contact has told him.
        world.modified(bob, |engine, turn| {
            engine.contacts.on_newer_list(turn, &engine.account, account, &chain).unwrap();
        });
        world.start_server();
        world.direct = true;
        world.pass(60_000);
        assert!(world.contact(bob, alice).unwrap().key_changed);
        assert!(world.seen(alice, bob).is_empty(), "it was for devices that are trusted");
        match verifies {
            true => verify(&mut world, bob, alice),
            false => world.call(bob, |reply| ContactCommand::Trust(account, reply)).unwrap(),
        }
        world.pass(20_000);
        assert_eq!(world.seen(bob, alice), ["bob: while you were away [Delivered]"], "verified: {verifies}");
        assert_eq!(world.chat_row(bob, alice).queued, 0, "verified: {verifies}");
    }
}

#[test]
fn a_new_device_that_was_told_entries_which_do_not_count_takes_those_that_do() {
    let mut world = World::new(509);
    let (alice, bob) = world.friends();
    let phone = world.linked(bob);
    world.pass(10_000);
    let (account, lost, base) = (world.of(bob).account, world.of(bob).device, world.chain(bob));
    // Bob's phone has removed his other device, and nobody knows it yet; that one has added another meanwhile, and only alice knows that.
    drop(world.begin(phone, |reply| AccountCommand::RemoveDevice(lost, reply)));
    world.all_at_once(phone);
    world.kill(phone);
    let ghost = DeviceKey::from_seed(&[59; 32]);
    let added = with_ghost(&mut world, bob, &base, &ghost);
    world.kill(bob);
    send_to(&mut world, alice, &added, &ghost, "tablet");
    assert_eq!(world.listed(alice, account).len(), 3);
    // What alice knows is in the next snapshot.
    world.call(alice, |reply| ContactCommand::Rename(account, "Bobby".into(), reply)).unwrap();
    world.pass(10_000);
    let laptop = world.linked(alice);
    world.pass(10_000);
    assert!(world.listed(laptop, account).is_empty(), "what the home has does not go on from what alice knows");
    world.start(phone);
    world.pass(60_000);
    let left = [world.of(phone).device];
    for who in [phone, alice, laptop] {
        assert_eq!(world.listed(who, account), left, "{who}");
    }
}
