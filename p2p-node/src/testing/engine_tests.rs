//! Conversations as stories, in the test world.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use starling_wire::{Availability, rendezvous::ResponseBody};

use starling_media::spec;
use starling_wire::{CallEnd, CallId};

use crate::{
    api::{
        problem::{CallProblem, ChatProblem},
        types::{Audience, CallSetup, ContactState, DeliveryState, Message, TransientEvent},
    },
    call_media::{CallCommand, CallInput, Fingerprints, Leg, RouteId},
    calls::CallRequest,
    engine::{AccountCommand, Command, ContactCommand, ConversationCommand, PresenceCommand},
    testing::world::{Who, World},
};

const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;

#[test]
fn an_invite_makes_contacts_and_messages_arrive() {
    let mut world = World::new(1);
    let (alice, bob) = world.friends();
    assert_eq!(world.contact(alice, bob).unwrap().state, ContactState::Active);
    assert_eq!(world.contact(bob, alice).unwrap().name, "alice");
    world.say(alice, bob, "hi");
    world.say(bob, alice, "hello");
    world.pass(2_000);
    assert_eq!(world.seen(alice, bob), ["alice: hi [Delivered]", "bob: hello"]);
    assert_eq!(world.seen(bob, alice), ["alice: hi", "bob: hello [Delivered]"]);
}

#[test]
fn what_was_sent_while_away_waits_in_the_log() {
    let mut world = World::new(2);
    let (alice, bob) = world.friends();
    world.kill(bob);
    for n in 0..20 {
        world.say(alice, bob, &format!("{n}"));
    }
    world.pass(5_000);
    assert!(world.messages(alice, bob).iter().all(|m| m.state == DeliveryState::Sent));
    world.kill(alice);
    world.start(bob);
    world.pass(5_000);
    let texts: Vec<String> = world.messages(bob, alice).into_iter().map(|m| m.text).collect();
    assert_eq!(texts, (0..20).map(|n| n.to_string()).collect::<Vec<_>>());
    // Her receipt waits in the log, too.
    world.start(alice);
    world.pass(5_000);
    assert!(world.messages(alice, bob).iter().all(|m| m.state == DeliveryState::Delivered));
}

#[test]
fn who_is_read_is_told_unless_they_hide_it() {
    let mut world = World::new(3);
    let (alice, bob) = world.friends();
    let read = |world: &mut World, who: Who, other: Who| {
        let chat = world.chat(who, other);
        let upto = world.messages(who, other).last().unwrap().id.0.clock;
        world.call(who, |reply| ConversationCommand::MarkRead { chat, upto, reply }).unwrap();
        world.pass(2_000);
    };
    world.say(alice, bob, "one");
    world.pass(2_000);
    read(&mut world, bob, alice);
    assert_eq!(world.seen(alice, bob), ["alice: one [Read]"]);
    let nobody = Some(Audience::Nobody.stored());
    world
        .call(bob, |reply| AccountCommand::SetPrivacy { last_seen: None, receipts: nobody, typing: nobody, reply })
        .unwrap();
    world.say(alice, bob, "two");
    world.pass(2_000);
    read(&mut world, bob, alice);
    assert_eq!(world.seen(alice, bob)[1], "alice: two [Delivered]");
    // Nor is their typing told.
    let chat = world.chat(bob, alice);
    world.of(alice).live.clear();
    drop(world.begin::<(), _>(bob, |_| PresenceCommand::Typing { chat, typing: true }));
    world.settle();
    assert!(!world.of(alice).live.iter().any(|l| matches!(l, TransientEvent::Typing { .. })));
}

#[test]
fn presence_and_typing_are_seen_by_contacts_even_with_a_wrong_clock() {
    let mut world = World::new(4);
    let (alice, bob) = world.friends();
    assert_eq!(world.contact(alice, bob).unwrap().availability, Some(Availability::Online));
    let chat = world.chat(bob, alice);
    drop(world.begin::<(), _>(bob, |_| PresenceCommand::Typing { chat, typing: true }));
    world.settle();
    assert!(world.contact(alice, bob).unwrap().typing);
    world.pass(10_000);
    assert!(!world.contact(alice, bob).unwrap().typing, "typing ends by itself");
}

#[test]
fn keys_are_renewed_and_the_conversation_goes_on() {
    let mut world = World::new(5);
    let (alice, bob) = world.friends();
    let before = world.epoch(alice, bob);
    for day in 0..10 {
        world.say(alice, bob, &format!("day {day}"));
        world.say(bob, alice, &format!("good {day}"));
        world.pass(DAY);
    }
    let after = world.epoch(alice, bob);
    assert!(after > before + 1, "epoch {before} became {after}");
    assert_eq!(world.epoch(bob, alice), after);
    assert_eq!(world.messages(alice, bob).len(), 20);
    assert_eq!(world.messages(bob, alice).len(), 20);
}

#[test]
fn a_clock_that_is_set_back_stops_nothing() {
    let mut world = World::new(6);
    let (alice, bob) = world.friends();
    world.say(alice, bob, "before");
    world.pass(2_000);
    world.now.wall_ms -= DAY;
    world.say(alice, bob, "after");
    world.say(bob, alice, "I see");
    world.pass(2_000);
    let texts = |world: &mut World, who, other| -> Vec<String> {
        world.messages(who, other).into_iter().map(|m| m.text).collect()
    };
    assert_eq!(texts(&mut world, bob, alice), ["before", "after", "I see"]);
    assert_eq!(texts(&mut world, alice, bob), ["before", "after", "I see"]);
    assert!(world.messages(alice, bob).iter().filter(|m| m.own).all(|m| m.state == DeliveryState::Delivered));
}

#[test]
fn a_full_log_is_shown_and_clears_itself() {
    let mut world = World::new(7);
    let (alice, bob) = world.friends();
    world.kill(bob);
    // Who writes alone has half of it: three of the six find room.
    world.config.limits.log_entries = 8;
    world.reload_server();
    for n in 0..6 {
        world.say(alice, bob, &format!("{n}"));
        world.pass(3_000);
    }
    let chat = world.chat_row(alice, bob);
    assert_eq!(chat.problem, Some(ChatProblem::LogFull));
    assert!(chat.queued > 0);
    world.direct = false;
    world.start(bob);
    world.pass(10 * 60_000);
    assert_eq!(world.messages(bob, alice).len(), 6);
    let chat = world.chat_row(alice, bob);
    assert_eq!((chat.problem, chat.queued), (None, 0));
}

#[test]
fn a_full_inbox_is_shown_and_clears_itself() {
    let mut world = World::new(8);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    world.config.limits.inbox_entries = 0;
    world.reload_server();
    let mut invite = world.invite(alice);
    invite.token = None;
    let mut added = world.add(bob, &invite);
    world.pass(60_000);
    added.try_recv().expect("no answer").unwrap();
    let problem = world.chat_row(bob, alice).problem;
    assert_eq!(problem, Some(ChatProblem::InboxFull));
    world.config.limits.inbox_entries = 100;
    world.reload_server();
    world.pass(10 * 60_000);
    assert_eq!(world.chat_row(bob, alice).problem, None);
    assert_eq!(world.call(alice, ContactCommand::Requests).unwrap().len(), 1);
}

#[test]
fn what_nobody_fetches_for_a_month_fails_visibly_and_the_rest_goes_on() {
    let mut world = World::new(9);
    let (alice, bob) = world.friends();
    world.stop_server();
    world.kill(bob);
    world.say(alice, bob, "lost");
    world.pass(31 * DAY);
    world.say(alice, bob, "found");
    world.heal();
    assert_eq!(world.seen(alice, bob), ["alice: lost [Failed]", "alice: found [Delivered]"]);
    assert_eq!(world.seen(bob, alice), ["alice: found"]);
}

#[test]
fn who_is_blocked_delivers_nothing() {
    let mut world = World::new(10);
    let (alice, bob) = world.friends();
    let account = world.of(alice).account;
    world.call(bob, |reply| ContactCommand::Block(account, reply)).unwrap();
    world.say(alice, bob, "let me in");
    world.pass(60_000);
    assert!(world.messages(bob, alice).is_empty());
    world.call(bob, |reply| ContactCommand::Unblock(account, reply)).unwrap();
    world.pass(180_000);
    world.say(alice, bob, "thanks");
    world.pass(180_000);
    assert!(world.seen(bob, alice).contains(&"alice: thanks".to_owned()));
}

#[test]
fn a_server_that_rolls_a_device_list_back_is_not_believed() {
    let mut world = World::new(11);
    let (alice, bob) = world.friends();
    let devices = world.contact(bob, alice).unwrap().devices;
    // Whatever the server says about devices from now on was said by somebody else.
    let mallory = world.person("mallory");
    let forged = {
        let list = world.call(mallory, Command::Status).unwrap();
        list.device
    };
    world.lie = Some(Box::new(|_, response| {
        if let Some(ResponseBody::DeviceList(list)) = &mut response.body {
            let mut bytes = list.to_vec();
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
            *list = bytes.into();
        }
    }));
    world.kill(bob);
    world.start(bob);
    world.pass(DAY);
    let now = world.contact(bob, alice).unwrap();
    assert_eq!(now.devices, devices);
    assert!(!now.key_changed && !now.devices.contains(&forged));
    world.say(alice, bob, "still here");
    world.pass(60_000);
    assert_eq!(world.seen(bob, alice), ["alice: still here"]);
}

#[test]
fn entries_that_are_replayed_reordered_or_garbled_by_the_server_do_no_harm() {
    for seed in 0..6 {
        let mut world = World::new(100 + seed);
        let (alice, bob) = world.friends();
        world.direct = false;
        let mut kept = Vec::new();
        let mut count = 0u64;
        world.lie = Some(Box::new(move |_, response| {
            let Some(ResponseBody::Page(page)) = &mut response.body else { return };
            if page.address.is_empty() {
                return;
            }
            count += 1;
            kept.extend(page.entries.iter().take(2).cloned());
            match (seed + count) % 4 {
                0 => page.entries.reverse(),
                1 => page.entries.extend(kept.iter().rev().take(3).cloned()),
                2 => {
                    if let Some(entry) = page.entries.first_mut() {
                        entry.sealed = vec![0x5a; entry.sealed.len()].into();
                    }
                }
                _ => {}
            }
        }));
        world.pass(1_000);
        for n in 0..10 {
            world.say(alice, bob, &format!("a{n}"));
            world.say(bob, alice, &format!("b{n}"));
            world.pass(2_000);
        }
        // Nobody sees anything twice, or anything that was not written.
        for (who, other) in [(alice, bob), (bob, alice)] {
            let mut texts: Vec<String> = world.messages(who, other).into_iter().map(|m| m.text).collect();
            let all = texts.len();
            texts.sort();
            texts.dedup();
            assert_eq!(texts.len(), all, "seed {seed}");
            assert!(texts.iter().all(|t| t.len() == 2), "{texts:?}");
        }
        // And once the server is honest, or is not needed, the rest arrives.
        world.lie = None;
        for who in [alice, bob] {
            world.kill(who);
        }
        world.heal();
        world.pass(HOUR);
        let (a, b) = (world.messages(alice, bob).len(), world.messages(bob, alice).len());
        assert_eq!((a, b), (20, 20), "seed {seed}: {:?} {:?}", world.seen(alice, bob), world.seen(bob, alice));
    }
}

#[test]
fn a_node_that_runs_for_months_hears_of_new_people() {
    let mut world = World::new(13);
    let (alice, bob) = world.friends();
    // The server forgets empty inboxes and counts from 1 again; here it forgets them all.
    world.forget_everything();
    world.pass(HOUR);
    let carol = world.person("carol");
    let invite = world.invite(alice);
    let mut added = world.add(carol, &invite);
    world.pass(60_000);
    added.try_recv().expect("no answer").unwrap();
    assert_eq!(world.contact(alice, carol).unwrap().state, ContactState::Active);
    world.say(alice, bob, "and we go on");
    world.pass(180_000);
    assert_eq!(world.seen(bob, alice), ["alice: and we go on"]);
}

#[test]
fn an_account_can_be_restored_where_the_server_has_forgotten_it() {
    let mut world = World::new(14);
    let (alice, bob) = world.friends();
    world.pass(5_000);
    let again = world.restored(alice);
    world.forget_everything();
    world.pass(HOUR);
    // Its contacts were in the lost snapshot: bob adds it again, and believes the list that it has now.
    let invite = world.invite(again);
    let mut added = world.add(bob, &invite);
    world.pass(60_000);
    added.try_recv().expect("no answer").unwrap();
    world.say(bob, again, "welcome back");
    world.pass(60_000);
    assert_eq!(world.seen(again, bob), ["bob: welcome back"]);
}

#[test]
fn moving_to_a_server_is_told_to_contacts() {
    let mut world = World::new(15);
    let (alice, bob) = world.friends();
    let before = world.contact(bob, alice).unwrap();
    // The same server by another address: what contacts know has to follow.
    let home: starling_keys::RendezvousAddr = world.home.to_string().replace("127.0.0.1", "127.0.0.2").parse().unwrap();
    let homes = vec![home.clone()];
    world.call(alice, |reply| AccountCommand::SetHomes { homes, token: String::new(), reply }).unwrap();
    world.pass(60_000);
    assert_eq!(world.contact(bob, alice).unwrap().devices, before.devices);
    world.say(bob, alice, "still there?");
    world.pass(60_000);
    assert_eq!(world.seen(alice, bob), ["bob: still there?"]);
    assert!(world.homes_of(bob, alice).contains(&home));
}

/// What is promised, under everything that can happen at once.
#[test]
fn nothing_is_lost_or_doubled_whatever_happens() {
    let rounds = std::env::var("STARLING_WORLD_ROUNDS").ok().and_then(|r| r.parse().ok()).unwrap_or(25);
    for seed in 0..rounds {
        let mut world = World::new(1000 + seed);
        let (alice, bob) = world.friends();
        let mut written = [0, 0];
        for _ in 0..120 {
            match world.one_of(12) {
                0 => world.direct = !world.direct,
                1 => world.cut(alice, bob),
                2 if world.server_runs() => world.stop_server(),
                2 => world.start_server(),
                3 => {
                    let who = world.one_of(2);
                    if world.is_running(who) { world.kill(who) } else { world.start(who) }
                }
                4 => {
                    let ms = [100, 2_000, 60_000, HOUR, DAY][world.one_of(5)];
                    world.pass(ms);
                }
                5 | 6 => {
                    for _ in 0..world.one_of(40) {
                        world.step();
                    }
                }
                _ => {
                    let who = world.one_of(2);
                    if world.is_running(who) {
                        // Durable when the call has its answer, and then nothing may lose it.
                        let text = format!("{who}-{}", written[who]);
                        let chat = world.chat(who, 1 - who);
                        let texts = vec![starling_wire::Text { text, ..Default::default() }];
                        world.call(who, |reply| ConversationCommand::Send { chat, texts, reply }).unwrap();
                        written[who] += 1;
                    }
                }
            }
        }
        world.heal();
        world.pass(2 * HOUR);
        let views: Vec<Vec<(String, DeliveryState, bool)>> = [(alice, bob), (bob, alice)]
            .map(|(who, other)| world.messages(who, other).into_iter().map(|m| (m.text, m.state, m.own)).collect())
            .into();
        let texts: Vec<Vec<&str>> = views.iter().map(|v| v.iter().map(|m| m.0.as_str()).collect()).collect();
        assert_eq!(texts[0], texts[1], "seed {seed}: both see the same in the same order");
        for who in [alice, bob] {
            let prefix = format!("{who}-");
            let own: Vec<&str> = texts[0].iter().copied().filter(|t| t.starts_with(&prefix)).collect();
            let expected: Vec<String> = (0..written[who]).map(|n| format!("{prefix}{n}")).collect();
            assert_eq!(own, expected, "seed {seed}");
            let undelivered = views[who].iter().filter(|m| m.2 && m.1 != DeliveryState::Delivered).count();
            assert_eq!(undelivered, 0, "seed {seed}");
        }
    }
}

// Calls.

pub fn setup() -> CallSetup {
    CallSetup {
        audio_in: spec::AudioIn::None,
        audio_out: spec::AudioOut::None,
        video_in: spec::VideoIn::None,
        video_out: spec::VideoOut::None,
        camera: false,
        relay_only: false,
    }
}

/// The only leg of a call of two.
pub fn leg(call: CallId) -> Leg {
    Leg { call, route: RouteId(0) }
}

/// Starts a call and lets its media make an offer.
pub fn ring(world: &mut World, who: Who, other: Who) -> CallId {
    let chat = world.chat(who, other);
    let id = world.call(who, |reply| CallRequest::Start { chat, setup: setup(), reply }).unwrap();
    world.pass(100);
    world.media(who, CallInput::Offer(leg(id), 0, format!("offer of {who}")));
    world.settle();
    id
}

fn states(world: &mut World, who: Who) -> Vec<&'static str> {
    let live = std::mem::take(&mut world.of(who).live);
    live.iter()
        .filter_map(|l| if let TransientEvent::Call(call) = l { Some(call.phase.as_str()) } else { None })
        .collect()
}

#[test]
fn a_call_rings_is_answered_and_leaves_a_note() {
    let mut world = World::new(40);
    let (alice, bob) = world.friends();
    let id = ring(&mut world, alice, bob);
    assert_eq!(states(&mut world, bob), ["ringing"]);
    world.call(bob, |reply| CallRequest::Answer { id, setup: setup(), reply }).unwrap();
    world.pass(100);
    assert!(world.of(bob).calls.iter().any(|c| matches!(c, CallCommand::Start { offer: Some(_), .. })));
    world.media(bob, CallInput::Answer(leg(id), "answer".into()));
    world.settle();
    assert!(world.of(alice).calls.contains(&CallCommand::Accept(leg(id), 0, "answer".into())));
    for who in [alice, bob] {
        world.media(who, CallInput::Connected(leg(id), Fingerprints::new()));
    }
    world.pass(5_000);
    world.call(alice, |reply| CallRequest::HangUp { id, text: String::new(), reply }).unwrap();
    world.settle();
    for (who, other) in [(alice, bob), (bob, alice)] {
        let note = world.messages(who, other).last().unwrap().call.unwrap();
        assert_eq!((note.id, note.why), (id, CallEnd::HungUp));
        assert!(note.duration_ms >= 4_000, "{note:?}");
        assert!(world.of(who).calls.contains(&CallCommand::End(id)));
    }
    assert_eq!(world.chat_row(bob, alice).unread, 0);
}

#[test]
fn nobody_answers_and_the_other_sees_a_missed_call_even_after_a_restart() {
    let mut world = World::new(41);
    let (alice, bob) = world.friends();
    ring(&mut world, alice, bob);
    world.pass(70_000);
    for (who, other) in [(alice, bob), (bob, alice)] {
        assert_eq!(world.messages(who, other).last().unwrap().call.unwrap().why, CallEnd::NoAnswer);
    }
    assert_eq!(world.chat_row(bob, alice).unread, 1);
    // While he is away: it does not ring hours later.
    world.kill(bob);
    ring(&mut world, alice, bob);
    world.pass(70_000);
    world.pass(HOUR);
    world.of(bob).live.clear();
    world.start(bob);
    world.pass(10_000);
    assert!(!states(&mut world, bob).contains(&"ringing"));
    assert_eq!(world.chat_row(bob, alice).unread, 2);
}

#[test]
fn both_call_at_once_and_one_call_is_left() {
    for seed in 42..62 {
        let mut world = World::new(seed);
        let (alice, bob) = world.friends();
        let mut ids = Vec::new();
        for (who, other) in [(alice, bob), (bob, alice)] {
            let chat = world.chat(who, other);
            ids.push(world.call(who, |reply| CallRequest::Start { chat, setup: setup(), reply }).unwrap());
        }
        world.pass(50);
        for (who, id) in [(alice, ids[0]), (bob, ids[1])] {
            world.media(who, CallInput::Offer(leg(id), 0, format!("offer of {who}")));
        }
        world.pass(2_000);
        // The one whose call counts waits for an answer; the other answers it.
        let answers = [alice, bob].map(|who| {
            let starts = world.of(who).calls.iter();
            starts.filter(|c| matches!(c, CallCommand::Start { offer: Some(_), .. })).count()
        });
        assert_eq!(answers.iter().sum::<usize>(), 1, "seed {seed}: {answers:?}");
    }
}

#[test]
fn who_calls_somebody_that_rings_answers() {
    let mut world = World::new(64);
    let (alice, bob) = world.friends();
    let id = ring(&mut world, alice, bob);
    let chat = world.chat(bob, alice);
    assert_eq!(world.call(bob, |reply| CallRequest::Start { chat, setup: setup(), reply }).unwrap(), id);
    world.pass(100);
    assert!(world.of(bob).calls.iter().any(|c| matches!(c, CallCommand::Start { offer: Some(_), .. })));
}

/// Answers a call, with all that its media say then.
pub fn answer(world: &mut World, who: Who, id: CallId) {
    world.call(who, |reply| CallRequest::Answer { id, setup: setup(), reply }).unwrap();
    world.pass(100);
    world.media(who, CallInput::Answer(leg(id), format!("answer of {who}")));
}

/// Media flow.
pub fn connect(world: &mut World, id: CallId, who: &[Who]) {
    for who in who {
        world.media(*who, CallInput::Connected(leg(id), Fingerprints::new()));
    }
}

/// A call of two that is connected.
pub fn talk(world: &mut World, caller: Who, called: Who) -> CallId {
    let id = ring(world, caller, called);
    answer(world, called, id);
    connect(world, id, &[caller, called]);
    id
}

#[test]
fn a_recording_needs_consent_of_the_other_side() {
    let mut world = World::new(65);
    let (alice, bob) = world.friends();
    let id = talk(&mut world, alice, bob);
    let path = std::path::PathBuf::from("talk.ogg");
    let records = |world: &mut World| {
        let calls = world.of(alice).calls.iter().filter_map(|c| match c {
            CallCommand::Record(_, _, path) => Some(path.is_some()),
            _ => None,
        });
        calls.collect::<Vec<bool>>()
    };
    // An answer that nobody asked for is none.
    assert!(world.call(bob, |reply| CallRequest::Consent { id, agree: true, reply }).is_err());
    let ask = |world: &mut World| {
        let path = Some(path.clone());
        world.call(alice, |reply| CallRequest::Record { id, path, reply })
    };
    ask(&mut world).unwrap();
    assert!(ask(&mut world).is_err());
    world.settle();
    assert!(records(&mut world).is_empty());
    world.call(bob, |reply| CallRequest::Consent { id, agree: true, reply }).unwrap();
    world.settle();
    assert_eq!(records(&mut world), [true]);
    // Taken back.
    world.call(bob, |reply| CallRequest::Consent { id, agree: false, reply }).unwrap();
    world.settle();
    assert_eq!(records(&mut world), [true, false]);
    // Who asks again and again is no longer heard.
    for _ in 0..20 {
        ask(&mut world).unwrap();
        world.settle();
        world.call(alice, |reply| CallRequest::Record { id, path: None, reply }).unwrap();
        world.settle();
    }
    let asked = |m: &Message| m.call.is_some_and(|c| c.recording == Some(starling_wire::Recording::Asked));
    let asked = world.messages(bob, alice).iter().filter(|m| asked(m)).count();
    assert_eq!(asked, usize::from(crate::calls::limits::MAX_RECORD_ASKS));
}

#[test]
fn a_connection_that_cannot_be_made_is_tried_anew_a_few_times() {
    let mut world = World::new(66);
    let (alice, bob) = world.friends();
    let id = ring(&mut world, alice, bob);
    world.call(bob, |reply| CallRequest::Answer { id, setup: setup(), reply }).unwrap();
    world.pass(100);
    world.media(bob, CallInput::Answer(leg(id), "answer".into()));
    world.settle();
    world.media(bob, CallInput::Failed(leg(id), CallProblem::ConnectionLost));
    // Only he has noticed; for her it is not over, nor was it ever there. She tries by herself after a while.
    world.media(alice, CallInput::Interrupted(leg(id)));
    world.pass(crate::calls::limits::CALL_TRY_MS + 1_000);
    let again = |world: &mut World| world.of(alice).calls.iter().filter(|c| **c == CallCommand::Again(leg(id))).count();
    assert_eq!(again(&mut world), 1);
    world.media(alice, CallInput::Offer(leg(id), 1, "another offer".into()));
    world.settle();
    assert!(world.of(bob).calls.contains(&CallCommand::Restart(leg(id), 1, "another offer".into())));
    // One that was overtaken by a newer one is of no use; an answer tells which it is to.
    for (number, offer) in [(3, "the newest"), (2, "an older one")] {
        world.media(alice, CallInput::Offer(leg(id), number, offer.into()));
        world.settle();
        assert_eq!(world.of(bob).calls.contains(&CallCommand::Restart(leg(id), number, offer.into())), number == 3);
    }
    world.media(bob, CallInput::Restarted(leg(id), 3, "answer".into()));
    world.settle();
    assert!(world.of(alice).calls.contains(&CallCommand::Accept(leg(id), 3, "answer".into())));
    for tries in 2..=usize::from(crate::calls::limits::CALL_TRIES) {
        world.media(alice, CallInput::Failed(leg(id), CallProblem::ConnectionLost));
        assert_eq!(again(&mut world), tries.min(usize::from(crate::calls::limits::CALL_TRIES) - 1));
    }
    world.settle();
    for who in [alice, bob] {
        assert!(world.of(who).calls.contains(&CallCommand::End(id)));
    }
}

#[test]
fn a_clock_that_is_set_ends_no_call_and_makes_none_longer() {
    let mut world = World::new(67);
    let (alice, bob) = world.friends();
    let id = ring(&mut world, alice, bob);
    // The steady time follows a clock that is set ahead, since a machine may have slept; it is not set back.
    (world.now.wall_ms, world.now.steady_ms) = (world.now.wall_ms + DAY, world.now.steady_ms + DAY);
    world.pass(5_000);
    answer(&mut world, bob, id);
    connect(&mut world, id, &[alice, bob]);
    world.pass(10_000);
    (world.now.wall_ms, world.now.steady_ms) = (world.now.wall_ms + DAY, world.now.steady_ms + DAY);
    world.pass(10_000);
    world.now.wall_ms -= 3 * DAY;
    world.pass(10_000);
    world.call(alice, |reply| CallRequest::HangUp { id, text: String::new(), reply }).unwrap();
    world.settle();
    for (who, other) in [(alice, bob), (bob, alice)] {
        let note = world.messages(who, other).into_iter().find_map(|m| m.call).unwrap();
        assert_eq!(note.why, CallEnd::HungUp);
        assert!((30_000..32_000).contains(&note.duration_ms), "{}", note.duration_ms);
    }
}

#[test]
fn who_rings_a_thousand_times_is_heard_a_few() {
    let mut world = World::new(63);
    let (alice, bob) = world.friends();
    for _ in 0..100 {
        let id = ring(&mut world, alice, bob);
        // After the first few it has ended by itself: bob is busy.
        let _ = world.call(alice, |reply| CallRequest::HangUp { id, text: String::new(), reply });
        world.pass(500);
    }
    let rings = states(&mut world, bob).iter().filter(|s| **s == "ringing").count();
    assert!((1..=6).contains(&rings), "{rings}");
    assert!(world.chat_row(bob, alice).unread <= 6);
}
