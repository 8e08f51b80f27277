//! What becomes of a device that its account has removed, and of what it was doing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use starling_wire::{Body, CallEnd, CallId, Clock, Cut, CutMessage, Event, EventId, Text};

use crate::{
    api::types::{CallInfo, CallPhase, Via},
    call_media::CallCommand,
    calls::CallRequest,
    engine::{AccountCommand, ContactCommand, ConversationCommand},
    testing::{
        engine_tests::{answer, connect, ring, talk},
        liar::{Liar, Showing, Shown},
        world::{Treatment, Who, World},
    },
};

/// Alice with two devices, and bob.
fn three(seed: u64) -> (World, Who, Who, Who) {
    let mut world = World::new(seed);
    let (alice, bob) = world.friends();
    let laptop = world.linked(alice);
    world.pass(10_000);
    (world, alice, laptop, bob)
}

fn remove(world: &mut World, by: Who, device: Who) {
    let device = world.of(device).device;
    world.call(by, |reply| AccountCommand::RemoveDevice(device, reply)).unwrap();
}

fn phases(world: &mut World, who: Who) -> Vec<CallPhase> {
    world.call(who, CallRequest::List).unwrap().iter().map(|c: &CallInfo| c.phase).collect()
}

/// How somebody's newest call ended, and for how long people talked.
fn noted(world: &mut World, who: Who, other: Who) -> (CallEnd, u64) {
    let note = world.messages(who, other).last().unwrap().call.unwrap();
    (note.why, note.duration_ms)
}

#[test]
fn a_call_of_a_removed_device_ends_at_both_ends() {
    let (mut world, alice, laptop, bob) = three(920);
    let id = ring(&mut world, bob, laptop);
    answer(&mut world, laptop, id);
    connect(&mut world, id, &[laptop, bob]);
    world.pass(10_000);
    remove(&mut world, alice, laptop);
    world.pass(1_000);
    for who in [laptop, bob] {
        assert!(phases(&mut world, who).is_empty(), "{who}");
        assert!(world.of(who).calls.contains(&CallCommand::End(id)), "{who}");
    }
    assert!(world.call(alice, CallRequest::ListOnOtherDevices).unwrap().is_empty());
    for (who, to) in [(alice, bob), (bob, alice)] {
        let (why, duration) = noted(&mut world, who, to);
        assert_eq!(why, CallEnd::HungUp, "{who}");
        assert!((9_000..14_000).contains(&duration), "{who}: {duration}");
    }
}

#[test]
fn a_call_ends_though_the_removed_device_hears_nothing_of_it() {
    let (mut world, alice, laptop, bob) = three(921);
    let id = talk(&mut world, laptop, bob);
    world.kill(laptop);
    remove(&mut world, alice, laptop);
    world.pass(1_000);
    assert!(phases(&mut world, bob).is_empty());
    assert!(world.of(bob).calls.contains(&CallCommand::End(id)));
}

#[test]
fn a_ring_of_a_removed_device_stops() {
    let (mut world, alice, laptop, bob) = three(922);
    ring(&mut world, laptop, bob);
    assert_eq!(phases(&mut world, bob), [CallPhase::Ringing]);
    remove(&mut world, alice, laptop);
    world.pass(1_000);
    assert!(phases(&mut world, bob).is_empty());
}

#[test]
fn a_call_that_a_removed_device_has_handed_over_no_longer_rings() {
    let (mut world, alice, laptop, bob) = three(923);
    let id: CallId = talk(&mut world, bob, laptop);
    world.call(laptop, |reply| CallRequest::Transfer { id, to: None, reply }).unwrap();
    world.pass(500);
    assert_eq!(phases(&mut world, alice), [CallPhase::Ringing]);
    remove(&mut world, alice, laptop);
    world.pass(1_000);
    for who in [alice, laptop, bob] {
        assert!(phases(&mut world, who).is_empty(), "{who}");
    }
}

#[test]
fn after_a_removal_nobody_waits_for_messages_though_an_older_group_is_there() {
    let (mut world, alice, laptop, bob) = three(924);
    let phone = world.linked(bob);
    world.pass(10_000);
    // The conversation's first group has neither: it is older than both devices.
    remove(&mut world, alice, laptop);
    world.say(alice, bob, "to all who are left");
    world.pass(3_000);
    assert_eq!(world.seen(phone, alice), ["alice: to all who are left"]);
}

/// Removes a device, and does not wait for it.
fn begin_to_remove(world: &mut World, by: Who, device: Who, steps: usize) {
    let device = world.of(device).device;
    drop(world.begin(by, |reply| AccountCommand::RemoveDevice(device, reply)));
    for _ in 0..steps {
        world.step();
    }
}

/// Two devices are removed, one shortly after the other; between them, or after them, something happens.
fn nobody_waits_after(seed: u64, between: impl Fn(&mut World), after: impl Fn(&mut World), within: u64) {
    for steps in (0..90).step_by(6) {
        let (mut world, alice, laptop, bob) = three(seed);
        let phone = world.linked(alice);
        world.pass(10_000);
        begin_to_remove(&mut world, alice, laptop, steps);
        between(&mut world);
        begin_to_remove(&mut world, alice, phone, steps);
        after(&mut world);
        world.say(alice, bob, "to all who are left");
        world.pass(within);
        assert_eq!(world.seen(bob, alice), ["alice: to all who are left"], "{steps}");
    }
}

#[test]
fn after_a_second_removal_nobody_waits_for_messages() {
    nobody_waits_after(926, |world| world.pass(3_000), |_| (), 3_000);
}

#[test]
fn after_a_removal_while_the_group_without_another_device_is_made_nobody_waits() {
    nobody_waits_after(927, |_| (), |_| (), 3_000);
}

#[test]
fn a_removal_that_the_death_of_the_server_interrupts_holds_messages_up_for_seconds_only() {
    let restart = |world: &mut World| {
        world.kill_server(0);
        world.pass(1_000);
        world.revive_server(0);
    };
    nobody_waits_after(928, |_| (), restart, 8_000);
    nobody_waits_after(929, restart, |_| (), 8_000);
}

/// The server has died, and nobody has noticed yet: who hears of the removal on a stream asks for the welcome that follows.
#[test]
fn who_hears_of_a_removal_asks_for_what_follows_from_it() {
    let (mut world, alice, laptop, bob) = three(930);
    world.treats = Some(Box::new(|_, _| Some(Treatment::Silence)));
    begin_to_remove(&mut world, alice, laptop, 0);
    world.settle();
    let account = world.of(alice).account;
    assert_eq!(world.listed(bob, account), [world.of(alice).device]);
    let reads = world.engine(bob).homes.servers.values().any(|home| home.inbox.reading);
    assert!(reads);
}

#[test]
fn a_device_that_a_recovery_has_replaced_tells_contacts_and_takes_nothing_more() {
    let mut world = World::new(925);
    let [alice, bob] = ["alice", "bob"].map(|name| world.person(name));
    let invite = world.invite(alice);
    drop(world.add(bob, &invite));
    world.settle();
    let account = world.of(alice).account;
    // Before the account's snapshot has the contact: who recovers it does not know whom to tell.
    let again = world.restored(alice);
    assert!(world.contact(again, bob).is_none());
    world.start(alice);
    world.pass(5_000);
    let recovered = world.of(again).device;
    assert_eq!(world.listed(bob, account), [recovered]);
    world.say(bob, alice, "to who has recovered");
    world.pass(60_000);
    assert!(world.seen(alice, bob).is_empty());
    // The contact asks the new device.
    let with = world.of(bob).account;
    world.call(again, |reply| ContactCommand::Accept(with, reply)).unwrap();
    world.pass(60_000);
    assert_eq!(world.seen(again, bob), ["bob: to who has recovered"]);
}

/// The texts of a conversation.
fn texts(world: &mut World, who: Who, other: Who) -> Vec<String> {
    world.messages(who, other).into_iter().map(|m| m.text).collect()
}

/// Writes without waiting for anything.
fn write(world: &mut World, who: Who, other: Who, text: &str) {
    let chat = world.chat_id(who, other);
    let texts = vec![Text { text: text.into(), ..Default::default() }];
    drop(world.begin(who, |reply| ConversationCommand::Send { chat, texts, reply }));
}

/// An event without a number that says where others end.
fn said(clock: Clock) -> EventId {
    EventId { clock, ..EventId::default() }
}

/// All who are left have the same messages, and those that were there before the removal.
fn agree(world: &mut World, all: &[(Who, Who)], context: u64) {
    let views: Vec<Vec<String>> = all.iter().map(|(who, to)| texts(world, *who, *to)).collect();
    for (view, (who, _)) in views.iter().zip(all) {
        assert_eq!(view, &views[0], "seed {context}, {who}");
    }
    assert!(views[0].contains(&"before".to_owned()), "seed {context}");
}

#[test]
fn what_a_device_writes_until_its_removal_is_known_is_on_no_device() {
    let (mut world, alice, laptop, bob) = three(924);
    world.say(laptop, bob, "before");
    world.pass(5_000);
    // The home is away, and so is who removes it: the removal is not done yet, and nobody else knows of it.
    world.stop_server();
    world.apart = [alice].into();
    world.cut(alice, laptop);
    world.cut(alice, bob);
    let device = world.of(laptop).device;
    let mut removed = world.begin(alice, |reply| AccountCommand::RemoveDevice(device, reply));
    world.settle();
    if removed.try_recv().is_ok() {
        // It needs a home to begin with.
        world.start_server();
        world.pass(5_000);
        removed = world.begin(alice, |reply| AccountCommand::RemoveDevice(device, reply));
        world.all_at_once(alice);
        world.stop_server();
    }
    for text in ["1", "2", "3"] {
        world.say(laptop, bob, text);
    }
    world.pass(1_000);
    assert_eq!(texts(&mut world, bob, alice), ["before", "1", "2", "3"]);
    world.start_server();
    world.apart = [].into();
    world.pass(120_000);
    drop(removed);
    world.say(bob, alice, "after");
    world.pass(5_000);
    for (who, to) in [(alice, bob), (bob, alice)] {
        assert_eq!(texts(&mut world, who, to), ["before", "after"], "{who}");
    }
    assert_eq!(world.chat_row(bob, alice).unread, 1);
}

#[test]
fn contacts_that_are_connected_hear_of_a_removal_without_a_server() {
    for seed in 0..2 {
        let mut world = World::new(9_500 + seed);
        let (alice, bob) = world.friends();
        let (laptop, tablet, phone) = (world.linked(alice), world.linked(alice), world.linked(bob));
        world.pass(10_000);
        world.say(laptop, bob, "before");
        world.pass(60_000);
        let (device, account) = (world.of(laptop).device, world.of(alice).account);
        let mut removed = world.begin(tablet, |reply| AccountCommand::RemoveDevice(device, reply));
        // Until the home has it, and no longer.
        while removed.try_recv().is_err() {
            assert!(world.step(), "no answer");
        }
        world.stop_server();
        world.settle();
        for who in [alice, tablet, bob, phone] {
            assert!(!world.listed(who, account).contains(&device), "seed {seed}: {who}");
        }
        for who in [bob, phone] {
            world.say(who, alice, "not to the laptop");
            world.pass(5_000);
        }
        assert_eq!(texts(&mut world, laptop, bob), ["before"], "seed {seed}");
        world.start_server();
        world.pass(180_000);
        for (who, to) in [(alice, bob), (tablet, bob), (bob, alice), (phone, alice)] {
            assert_eq!(
                texts(&mut world, who, to),
                ["before", "not to the laptop", "not to the laptop"],
                "{seed}: {who}"
            );
        }
        assert_eq!(texts(&mut world, laptop, bob), ["before"], "seed {seed}");
    }
}

#[test]
fn what_the_removing_device_has_everybody_gets() {
    let (mut world, alice, laptop, bob) = three(925);
    let phone = world.linked(bob);
    world.pass(10_000);
    world.say(laptop, bob, "before");
    world.pass(5_000);
    // Bob's second device is away while the laptop writes its last words, and the log with them is read after the removal is known.
    world.kill(phone);
    world.say(laptop, bob, "last words");
    world.pass(1_000);
    remove(&mut world, alice, laptop);
    world.pass(10_000);
    world.start(phone);
    world.pass(60_000);
    for (who, to) in [(alice, bob), (bob, alice), (phone, alice)] {
        assert_eq!(texts(&mut world, who, to), ["before", "last words"], "{who}");
    }
}

#[test]
fn all_agree_on_what_was_written_around_a_removal() {
    let rounds = std::env::var("STARLING_WORLD_ROUNDS").ok().and_then(|r| r.parse().ok()).unwrap_or(8);
    for seed in 0..rounds {
        let mut world = World::new(9_400 + seed);
        let (alice, bob) = world.friends();
        let (laptop, tablet, phone) = (world.linked(alice), world.linked(alice), world.linked(bob));
        world.pass(10_000);
        world.say(laptop, bob, "before");
        world.pass(5_000);
        let honest = [(alice, bob), (tablet, bob), (bob, alice), (phone, alice)];
        let device = world.of(laptop).device;
        let at = world.one_of(20);
        for n in 0..40 {
            if n == at {
                drop(world.begin(alice, |reply| AccountCommand::RemoveDevice(device, reply)));
            }
            let (who, to) = [(laptop, bob), honest[n % 4]][world.one_of(2)];
            write(&mut world, who, to, &format!("{who}-{n}"));
            for _ in 0..world.one_of(6) {
                world.step();
            }
        }
        world.pass(300_000);
        agree(&mut world, &honest, seed);
    }
}

/// Alice's laptop removes her tablet and is removed at once, before anybody has heard from it where the tablet's messages end; she removes it when
/// it is gone for good, or while it is there.
fn a_remover_is_removed(seed: u64, dies: bool, after: u64) {
    let mut world = World::new(9_600 + seed);
    let (alice, bob) = world.friends();
    let (laptop, tablet, phone) = (world.linked(alice), world.linked(alice), world.linked(bob));
    world.pass(10_000);
    world.say(tablet, bob, "before");
    world.pass(10_000);
    // What the tablet writes now only bob gets.
    world.stop_server();
    for who in [alice, laptop, phone] {
        for other in [tablet, bob] {
            world.cut(who, other);
        }
    }
    world.apart = [alice, laptop, phone].into();
    for text in ["1", "2"] {
        world.say(tablet, bob, text);
    }
    world.pass(5_000);
    assert_eq!(texts(&mut world, bob, alice), ["before", "1", "2"]);
    world.kill(tablet);
    world.start_server();
    world.pass(20_000);
    for (by, device) in [(laptop, tablet), (alice, laptop)] {
        let device = world.of(device).device;
        let mut done = world.begin(by, |reply| AccountCommand::RemoveDevice(device, reply));
        while done.try_recv().is_err() {
            assert!(world.step(), "no answer");
        }
        if by == laptop && dies {
            world.kill(laptop);
            world.pass(after);
        }
        // Otherwise her removal strikes the laptop's.
        let (account, gone) = (world.of(alice).account, world.of(tablet).device);
        while world.listed(alice, account).contains(&gone) {
            assert!(world.step(), "alice does not hear of it");
        }
    }
    world.pass(300_000);
    agree(&mut world, &[(alice, bob), (bob, alice), (phone, alice)], seed);
}

#[test]
fn all_agree_where_a_device_ends_though_who_removed_it_was_removed_as_well() {
    for seed in 0..3 {
        a_remover_is_removed(seed, true, 0);
        a_remover_is_removed(seed, false, 0);
        // Stolen, and missed later.
        a_remover_is_removed(seed, true, 3_600_000);
    }
}

#[test]
fn who_came_after_a_message_takes_it_from_nobody() {
    let mut world = World::new(928);
    let (alice, bob) = world.friends();
    let phone = world.linked(bob);
    world.say(alice, bob, "before");
    world.say(bob, alice, "an answer");
    world.pass(5_000);
    // A new device takes the place of the old one, and has nothing of what that has written.
    let laptop = world.linked(alice);
    let tablet = world.linked_with_history(alice);
    world.pass(30_000);
    assert!(texts(&mut world, laptop, bob).is_empty());
    remove(&mut world, laptop, alice);
    world.pass(60_000);
    let all = ["before", "an answer"];
    for (who, to) in [(bob, alice), (phone, alice), (tablet, bob)] {
        assert_eq!(texts(&mut world, who, to), all, "{who}");
    }
}

#[test]
fn who_answers_for_a_remover_takes_nothing_from_a_device_that_was_gone_before() {
    let mut world = World::new(929);
    let (alice, bob) = world.friends();
    let (laptop, phone) = (world.linked(alice), world.linked(alice));
    world.pass(10_000);
    world.say(phone, bob, "the first of the phone");
    world.pass(5_000);
    remove(&mut world, laptop, phone);
    world.pass(5_000);
    let desk = world.linked(alice);
    world.pass(60_000);
    let tablet = world.linked_with_history(alice);
    world.pass(30_000);
    // The desk answers now for what the laptop has said of the phone, which it has never heard.
    remove(&mut world, desk, laptop);
    world.pass(60_000);
    for (who, to) in [(bob, alice), (alice, bob), (tablet, bob)] {
        assert_eq!(texts(&mut world, who, to), ["the first of the phone"], "{who}");
    }
}

/// Found by real processes: all had read what came last, and it was taken back from all.
#[test]
fn what_the_remover_has_read_counts_though_something_before_it_has_not_come() {
    let mut world = World::new(930);
    world.liar = Some(Liar::new(1, |_| Shown::Now));
    let (phone, bob) = world.friends();
    let laptop = world.linked(phone);
    world.pass(10_000);
    world.say(phone, bob, "first");
    world.pass(5_000);
    world.direct = false;
    world.pass(5_000);
    let withheld = move |s: Showing| (s.author, s.reader, s.is_commit) == (phone, laptop, false);
    let liar = world.liar.as_mut().unwrap();
    liar.shows(move |s| if withheld(s) { Shown::Never } else { Shown::Now });
    world.say(phone, bob, "lost on the way");
    world.pass(5_000);
    world.liar.as_mut().unwrap().relent();
    world.say(phone, bob, "last");
    world.pass(10_000);
    assert_eq!(texts(&mut world, laptop, bob), ["first", "last"]);
    // Not as if it came anew.
    let unread = world.chat_row(bob, phone).unread;
    remove(&mut world, laptop, phone);
    world.pass(60_000);
    assert_eq!(world.chat_row(bob, laptop).unread, unread - 1);
    let desk = world.linked_with_history(laptop);
    world.pass(60_000);
    for (who, to) in [(laptop, bob), (bob, laptop), (desk, bob)] {
        assert_eq!(texts(&mut world, who, to), ["first", "last"], "{who}");
    }
}

#[test]
fn all_that_the_remover_has_read_counts_however_much_came_early() {
    let mut world = World::new(931);
    world.liar = Some(Liar::new(1, |_| Shown::Now));
    let (phone, bob) = world.friends();
    let laptop = world.linked(phone);
    world.pass(10_000);
    world.direct = false;
    let withheld = move |s: Showing| (s.author, s.reader, s.is_commit) == (phone, laptop, false);
    let mut expected = Vec::new();
    for part in 0..3 {
        world.liar.as_mut().unwrap().shows(move |s| if withheld(s) { Shown::Never } else { Shown::Now });
        world.say(phone, bob, &format!("lost {part}"));
        world.pass(5_000);
        world.liar.as_mut().unwrap().relent();
        for n in 0..40 {
            let text = format!("{part}.{n} {}", "x".repeat(1_000));
            world.say(phone, bob, &text);
            expected.push(text);
        }
        world.pass(10_000);
    }
    assert_eq!(texts(&mut world, laptop, bob), expected);
    remove(&mut world, laptop, phone);
    world.pass(60_000);
    let desk = world.linked_with_history(laptop);
    world.pass(60_000);
    for (who, to) in [(laptop, bob), (bob, laptop), (desk, bob)] {
        assert_eq!(texts(&mut world, who, to), expected, "{who}");
    }
}

#[test]
fn nobody_cuts_off_a_device_that_is_not_removed_or_not_theirs() {
    let (mut world, alice, laptop, bob) = three(926);
    world.say(alice, bob, "from alice");
    world.say(bob, alice, "from bob");
    world.pass(5_000);
    let chat = world.chat(bob, alice);
    let (account, own) = (world.of(alice).account, world.of(bob).account);
    let devices = [world.of(alice).device, world.of(bob).device, world.of(laptop).device];
    world.modified(bob, |engine, turn| {
        for device in devices {
            let cut = Cut { device: *device.as_bytes(), ..Default::default() };
            for account in [account, own] {
                let (conversations, cx) = engine.conversing();
                conversations
                    .apply_cut(turn, cx.dir, chat, (account, Via::Direct, said(Clock::at(turn.wall()))), &cut)
                    .unwrap();
            }
        }
    });
    assert_eq!(texts(&mut world, bob, alice), ["from alice", "from bob"]);
}

#[test]
fn a_cut_neither_takes_old_messages_back_nor_puts_new_ones_where_they_stay() {
    let (mut world, alice, laptop, bob) = three(927);
    world.say(laptop, bob, "long ago");
    world.pass(3_600_000);
    let (account, device) = (world.of(alice).account, world.of(laptop).device);
    remove(&mut world, alice, laptop);
    world.pass(60_000);
    let (chat, now) = (world.chat(bob, alice), Clock::at(world.now.wall_ms));
    let text = |text: &str| Event::encode_body(&Body::Text(Text { text: text.into(), ..Text::default() }));
    let message = |clock, sequence, what| CutMessage { clock, sequence, body: text(what) };
    world.modified(bob, |engine, turn| {
        let (conversations, cx) = engine.conversing();
        let from = (account, Via::Direct, said(now));
        let none = Cut { device: *device.as_bytes(), ..Cut::default() };
        conversations.apply_cut(turn, cx.dir, chat, from, &none).unwrap();
        let messages = vec![
            message(Clock::at(1), 60, "before everything"),
            message(Clock(u64::MAX), 61, "at the end for ever"),
            message(Clock::at(now.ms() - 3_000_000), 62, "an hour ago"),
        ];
        let more = Cut { device: *device.as_bytes(), upto: 64, early: Vec::new(), since_ms: 0, messages };
        conversations.apply_cut(turn, cx.dir, chat, from, &more).unwrap();
    });
    assert_eq!(texts(&mut world, bob, alice), ["long ago"]);
    world.pass(120_000);
    assert_eq!(texts(&mut world, bob, alice), ["long ago"]);
}
