//! Epochs: which commit in a log moves a group, and what members with modified programs can do about it.
#![allow(clippy::unwrap_used, reason = "tests")]

use bytes::Bytes;
use starling_keys::{Certificate, DeviceKey};
use starling_wire::{Candidate, LogContent, LogVerb, rendezvous::LogRequest};

use super::world::{Who, World};
use crate::{
    api::{problem::ChatProblem, types::ChatId},
    conversation::group_state::{self, OpenGroup},
    home::Pending,
    mls::{GroupId, KeyPackages, Mls, PAST_EPOCHS},
    store::{PARENTS, Reading},
};

/// The group of two people's conversation, as one of them has it.
pub(super) fn group(world: &mut World, who: Who, other: Who) -> GroupId {
    let chat = world.chat(who, other);
    let mut group = None;
    world.modified(who, |engine, _| group = engine.active_group(chat));
    group.unwrap()
}

/// Somebody renews their keys now; the commit goes out when the world goes on.
pub(super) fn begin_renewal(world: &mut World, who: Who, other: Who) {
    let chat = world.chat_id(who, other);
    world.begin_modified(who, |engine, turn| {
        let id = engine.active_group(chat).unwrap();
        let (now, mls) = (turn.agreed_ms(), engine.mls.clone());
        let mut group = engine.conversations.open(turn, &mls, id).unwrap().unwrap();
        if group.pending().is_none() {
            group.prepare_update(now).unwrap();
        }
        group.entry.append.committing = true;
        engine.conversations.groups.touch(id);
    });
}

/// An entry is appended to the log, as a candidate or not.
pub(super) fn append(world: &mut World, who: Who, other: Who, candidate: bool, content: &LogContent) {
    let chat = world.chat_id(who, other);
    assert!(append_in(world, who, chat, candidate, content));
}

/// The same of any conversation; whether its home is there.
pub(super) fn append_in(world: &mut World, who: Who, chat: ChatId, candidate: bool, content: &LogContent) -> bool {
    let part = matches!(content, LogContent::Part(_));
    append_as(world, (who, chat), content, &LogRequest { candidate, part, insist: true, ..LogRequest::default() })
}

/// The same, with whatever the server is to make of it.
pub(super) fn append_as(
    world: &mut World,
    (who, chat): (Who, ChatId),
    content: &LogContent,
    request: &LogRequest,
) -> bool {
    let mut is_sent = false;
    world.modified(who, |engine, turn| {
        let group = engine.active_group(chat).unwrap();
        let keys = engine.conversations.groups.get(&group).unwrap().current_keys().unwrap();
        let home = engine.conversations.groups.home_of(group).unwrap();
        let entries = vec![keys.seal_entry(&content.to_bytes())];
        let request = LogRequest { entries, ..request.clone() };
        is_sent = engine.homes.request_log(turn, home, &keys, LogVerb::Append, request, Pending::Nothing);
    });
    is_sent
}

/// The commit of somebody that waits to win.
pub(super) fn pending_commit(world: &mut World, who: Who, other: Who) -> Bytes {
    let chat = world.chat_id(who, other);
    let mut commit = None;
    world.begin_modified(who, |engine, turn| {
        let (id, mls) = (engine.active_group(chat).unwrap(), engine.mls.clone());
        commit = Some(commit_of(&engine.conversations.open(turn, &mls, id).unwrap().unwrap()));
    });
    commit.unwrap()
}

pub(super) fn commit_of(group: &OpenGroup<'_>) -> Bytes {
    let content = group.entry.current_keys().unwrap().open_entry(group.pending().unwrap()).unwrap();
    group_state::commit_of(content).unwrap()
}

pub(super) fn candidate(commit: &[u8]) -> LogContent {
    LogContent::Candidate(Candidate { commit: Bytes::copy_from_slice(commit) })
}

/// Both are in one epoch of one group, and each reads what the other writes.
pub(super) fn go_on(world: &mut World, a: Who, b: Who) {
    for (n, (from, to)) in [(a, b), (b, a)].into_iter().enumerate() {
        let text = format!("still there? {n} {}", world.now.wall_ms);
        world.say(from, to, &text);
        world.pass(30_000);
        let found = world.seen(to, from).iter().filter(|line| line.contains(&text)).count();
        assert_eq!(found, 1, "{text}");
    }
    assert_eq!(group(world, a, b), group(world, b, a));
    assert_eq!(world.epoch(a, b), world.epoch(b, a));
}

#[test]
fn a_commit_moves_both_to_the_next_epoch() {
    for direct in [true, false] {
        let mut world = World::new(600);
        let (alice, bob) = world.friends();
        world.direct = direct;
        let (before, epoch) = (group(&mut world, alice, bob), world.epoch(alice, bob));
        for n in 1..=6 {
            let (who, other) = if n % 2 == 0 { (alice, bob) } else { (bob, alice) };
            begin_renewal(&mut world, who, other);
            world.settle();
            assert_eq!((world.epoch(alice, bob), world.epoch(bob, alice)), (epoch + n, epoch + n));
            go_on(&mut world, alice, bob);
        }
        assert_eq!(group(&mut world, alice, bob), before);
    }
}

#[test]
fn garbage_where_commits_stand_buries_no_conversation() {
    for seed in 0..4 {
        let mut world = World::new(610 + seed);
        let (alice, mallory) = world.friends();
        world.direct = seed % 2 == 0;
        let (before, epoch) = (group(&mut world, alice, mallory), world.epoch(alice, mallory));
        let chat = world.chat_id(mallory, alice);
        world.modified(mallory, |engine, turn| {
            let (id, mls, now) = (engine.active_group(chat).unwrap(), engine.mls.clone(), turn.agreed_ms());
            let mut group = engine.conversations.open(turn, &mls, id).unwrap().unwrap();
            group.prepare_update(now).unwrap();
            let (commit, keys) = (commit_of(&group), group.entry.current_keys().unwrap());
            let home = engine.conversations.groups.home_of(id).unwrap();
            // What he could have sent comes last, after what he has made of it.
            let mut flipped = commit.to_vec();
            *flipped.last_mut().unwrap() ^= 1;
            for garbage in [&b""[..], b"garbage", &commit[..commit.len() / 2], &flipped] {
                for content in [candidate(garbage), LogContent::Message(Bytes::copy_from_slice(garbage))] {
                    for marked in [true, false] {
                        let entries = vec![keys.seal_entry(&content.to_bytes())];
                        let request = LogRequest { entries, candidate: marked, insist: true, ..LogRequest::default() };
                        engine.homes.request_log(turn, home, &keys, LogVerb::Append, request, Pending::Nothing);
                    }
                }
            }
        });
        world.pass(60_000);
        assert_eq!(world.epoch(alice, mallory), epoch + 1, "his commit is the first that is valid");
        go_on(&mut world, alice, mallory);
        begin_renewal(&mut world, alice, mallory);
        world.pass(60_000);
        go_on(&mut world, alice, mallory);
        assert_eq!(
            (world.epoch(alice, mallory), group(&mut world, alice, mallory)),
            (epoch + 2, before),
            "seed {seed}"
        );
    }
}

#[test]
fn members_who_commit_at_once_end_in_one_epoch() {
    for seed in 0..6 {
        let mut world = World::new(630 + seed);
        let (alice, bob) = world.friends();
        let before = group(&mut world, alice, bob);
        world.direct = seed % 2 == 0;
        for n in 0..3 {
            begin_renewal(&mut world, alice, bob);
            for _ in 0..world.one_of(4) {
                world.step();
            }
            begin_renewal(&mut world, bob, alice);
            // Both write meanwhile, and one dies.
            for (from, to) in [(alice, bob), (bob, alice)] {
                world.say(from, to, &format!("at once {n} {from}"));
            }
            let dead = [alice, bob][world.one_of(2)];
            for _ in 0..world.one_of(6) {
                world.step();
            }
            world.kill(dead);
            world.start(dead);
            world.pass(60_000);
        }
        go_on(&mut world, alice, bob);
        for (who, other) in [(alice, bob), (bob, alice)] {
            let texts: Vec<String> = world.seen(who, other).into_iter().filter(|t| t.contains("at once")).collect();
            assert_eq!(texts.len(), 6, "seed {seed}: {texts:?}");
        }
        assert_eq!(group(&mut world, alice, bob), before, "seed {seed}");
    }
}

#[test]
fn a_commit_that_another_member_has_put_into_the_log_is_ours() {
    let mut world = World::new(660);
    let (alice, mallory) = world.friends();
    let (before, epoch) = (group(&mut world, alice, mallory), world.epoch(alice, mallory));
    begin_renewal(&mut world, alice, mallory);
    let commit = pending_commit(&mut world, alice, mallory);
    // It is sealed once more, and stands before hers.
    append(&mut world, mallory, alice, false, &candidate(&commit));
    world.pass(30_000);
    go_on(&mut world, alice, mallory);
    assert_eq!(world.epoch(alice, mallory), epoch + 1);
    // Once more, in the next epoch: there it is void.
    append(&mut world, mallory, alice, true, &candidate(&commit));
    go_on(&mut world, alice, mallory);
    assert_eq!(world.epoch(alice, mallory), epoch + 1);
    assert_eq!(group(&mut world, alice, mallory), before);
}

/// A key package of a device that somebody's account has certified and that is in no chain of it.
pub(super) fn unlisted_device(world: &mut World, who: Who) -> Bytes {
    let (key, account, now_ms) = (DeviceKey::generate(), world.of(who).account, world.now.wall_ms);
    let certificate = Certificate::issue(&world.phrases[&account], key.id(), now_ms / 1000);
    Mls::new(&certificate, &key, KeyPackages::default()).unwrap().key_package(false, now_ms).unwrap().into()
}

/// A commit of somebody's that adds a device to the group with another.
pub(super) fn commit_adding(world: &mut World, (who, other): (Who, Who), package: &[u8]) -> Bytes {
    let (chat, mut commit) = (world.chat_id(who, other), Bytes::new());
    world.begin_modified(who, |engine, turn| {
        let (id, mls, now) = (engine.active_group(chat).unwrap(), engine.mls.clone(), turn.agreed_ms());
        let mut group = engine.conversations.open(turn, &mls, id).unwrap().unwrap();
        commit = group.commit_adding(package, now).unwrap();
    });
    commit
}

#[test]
fn a_leaf_that_no_account_lists_enters_no_group() {
    let mut world = World::new(665);
    let (alice, mallory) = world.friends();
    let (before, epoch) = (group(&mut world, alice, mallory), world.epoch(alice, mallory));
    let package = unlisted_device(&mut world, mallory);
    let commit = commit_adding(&mut world, (mallory, alice), &package);
    append(&mut world, mallory, alice, true, &candidate(&commit));
    world.pass(30_000);
    go_on(&mut world, alice, mallory);
    begin_renewal(&mut world, alice, mallory);
    world.pass(30_000);
    go_on(&mut world, alice, mallory);
    assert_eq!((group(&mut world, alice, mallory), world.epoch(alice, mallory)), (before, epoch + 1));
    world.modified(alice, |engine, _| {
        assert_eq!(engine.conversations.groups.get(&before).unwrap().members.len(), 2);
    });
}

#[test]
fn garbage_of_a_member_keeps_nobody_from_renewing_keys() {
    for (seed, alice_owns) in [(675, true), (676, false)] {
        let mut world = World::new(seed);
        let (first, second) = world.friends();
        let (alice, mallory) = if alice_owns { (second, first) } else { (first, second) };
        let (before, epoch) = (group(&mut world, alice, mallory), world.epoch(alice, mallory));
        for n in 0..70 {
            append(&mut world, mallory, alice, true, &candidate(format!("garbage {n}").as_bytes()));
        }
        begin_renewal(&mut world, alice, mallory);
        world.pass(60_000);
        assert_eq!((group(&mut world, alice, mallory), world.epoch(alice, mallory)), (before, epoch + 1));
        go_on(&mut world, alice, mallory);
    }
}

#[test]
fn endless_renewals_of_a_member_stop_no_messages() {
    let mut world = World::new(670);
    let (alice, mallory) = world.friends();
    world.direct = false;
    for n in 0..30 {
        begin_renewal(&mut world, mallory, alice);
        let chat = world.chat_id(alice, mallory);
        let texts = vec![starling_wire::Text { text: format!("message {n}"), ..Default::default() }];
        drop(world.begin(alice, |reply| crate::conversation::commands::ConversationCommand::Send {
            chat,
            texts,
            reply,
        }));
        for _ in 0..world.one_of(12) {
            world.step();
        }
    }
    world.pass(120_000);
    let seen = world.seen(mallory, alice);
    for n in 0..30 {
        let text = format!("message {n}");
        assert_eq!(seen.iter().filter(|line| line.ends_with(&text)).count(), 1, "{text}: {seen:?}");
    }
    go_on(&mut world, alice, mallory);
}

#[test]
fn what_was_appended_behind_a_commit_comes_again_in_the_next_epoch() {
    for seed in 0..3 {
        let mut world = World::new(680 + seed);
        let (alice, bob) = world.friends();
        world.direct = false;
        world.pass(5_000);
        // Bob's server keeps from him what is pushed, so he writes behind a commit that he has not read.
        let epoch = world.epoch(bob, alice);
        let hidden = bob;
        world.lie = Some(Box::new(move |who, response| {
            if who == hidden && response.id == 0 {
                response.body = None;
            }
        }));
        begin_renewal(&mut world, alice, bob);
        world.settle();
        assert_eq!((world.epoch(alice, bob), world.epoch(bob, alice)), (epoch + 1, epoch));
        world.say(bob, alice, "late");
        world.pass(15_000);
        world.lie = None;
        assert_eq!(world.epoch(bob, alice), epoch + 1, "the answer has said so");
        assert!(world.seen(alice, bob).iter().any(|line| line.contains("late")));
        go_on(&mut world, alice, bob);
    }
}

/// How many states of ended epochs somebody keeps.
fn kept_parents(world: &World, who: Who) -> usize {
    world.store(who).read().unwrap().keys(PARENTS).unwrap().len()
}

#[test]
fn the_states_of_the_last_epochs_are_kept_for_a_week_and_not_longer() {
    let mut world = World::new(690);
    let (alice, bob) = world.friends();
    let before = world.epoch(alice, bob);
    for n in 1..=6 {
        begin_renewal(&mut world, alice, bob);
        world.pass(5_000);
        for who in [alice, bob] {
            assert_eq!(kept_parents(&world, who), PAST_EPOCHS.min(n));
        }
    }
    assert_eq!(world.epoch(alice, bob), before + 6);
    // They are there after a restart, and end in whatever turn comes after their time.
    world.kill(alice);
    world.start(alice);
    world.pass(6 * 86_400_000);
    assert_eq!(kept_parents(&world, alice), PAST_EPOCHS);
    world.pass(2 * 86_400_000);
    world.say(alice, bob, "a turn");
    assert!(kept_parents(&world, alice) < PAST_EPOCHS, "only those of a renewal since");
}

/// Who writes without end fills a share of its own: what the others write goes on, in this epoch and the next.
#[test]
fn a_member_who_floods_a_log_holds_up_nobody_elses_messages() {
    let mut world = World::new(680);
    world.config.limits.log_entries = 40;
    world.reload_server();
    let (alice, mallory) = world.friends();
    let laptop = world.linked(alice);
    world.pass(120_000);
    world.direct = false;
    world.pass(5_000);
    let arrived = |world: &mut World, text: &str| {
        let texts = world.messages(laptop, mallory).into_iter().map(|m| m.text);
        texts.filter(|known| known == text).count()
    };
    let flood = |world: &mut World| {
        for n in 0..40 {
            append(world, mallory, alice, false, &LogContent::Message(Bytes::from(format!("garbage {n}"))));
        }
    };
    flood(&mut world);
    let epoch = world.epoch(alice, mallory);
    world.say(alice, mallory, "goes on");
    world.pass(60_000);
    assert_eq!((world.epoch(laptop, mallory), arrived(&mut world, "goes on")), (epoch, 1));
    begin_renewal(&mut world, alice, mallory);
    world.pass(60_000);
    assert_eq!(world.epoch(laptop, mallory), epoch + 1);
    flood(&mut world);
    world.say(alice, mallory, "and on");
    world.pass(60_000);
    assert_eq!(arrived(&mut world, "and on"), 1);
    // Whose share is full is told so, and says it on streams.
    world.say(mallory, alice, "waits");
    world.pass(60_000);
    let problem = world.chat_row(mallory, alice).problem;
    assert_eq!(problem, Some(ChatProblem::LogFull));
    world.direct = true;
    go_on(&mut world, alice, mallory);
    assert_eq!(arrived(&mut world, "waits"), 1);
}
