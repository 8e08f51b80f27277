//! What a removed device can do later with an old copy of its profile, where a server has forgotten what happened.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use starling_keys::{AccountId, DeviceId, chain::REMOVED_AFTER_S};

use crate::{
    api::{
        problem::HomeProblem,
        types::{DurableEventKind, RefusedRemoval},
    },
    engine::AccountCommand,
    testing::world::{Who, World},
};

/// Alice with a phone and a tablet, bob, and a copy of the phone's profile from before the phone was removed, some time ago. The server has lost
/// all that it had, and only the copy runs.
struct Stolen {
    world: World,
    account: AccountId,
    alice: Who,
    tablet: Who,
    bob: Who,
    thief: Who,
}

fn stolen(seed: u64) -> Stolen {
    let mut world = World::new(seed);
    let (alice, bob) = world.friends();
    let (phone, tablet) = (world.linked(alice), world.linked(alice));
    world.pass(10_000);
    for who in [alice, phone, tablet] {
        world.say(who, bob, "before");
    }
    world.pass(60_000);
    let thief = world.copied(phone);
    world.kill(phone);
    let device = world.of(phone).device;
    let mut removed = world.begin(alice, |reply| AccountCommand::RemoveDevice(device, reply));
    world.pass(30_000);
    removed.try_recv().expect("no answer").unwrap();
    world.pass((REMOVED_AFTER_S + 60) * 1000);
    world.kill(alice);
    world.kill(tablet);
    world.forget_everything();
    world.start(thief);
    world.pass(20_000);
    Stolen { account: world.of(alice).account, world, alice, tablet, bob, thief }
}

fn remove(world: &mut World, by: Who, device: DeviceId) {
    let mut removed = world.begin(by, |reply| AccountCommand::RemoveDevice(device, reply));
    world.pass(30_000);
    removed.try_recv().expect("no answer").unwrap();
}

/// What somebody was warned of.
fn warnings(world: &World, who: Who) -> Vec<RefusedRemoval> {
    let news = world.durable_events(who).into_iter().filter(|n| n.kind == DurableEventKind::DeviceRefused);
    news.map(|n| n.text.parse().unwrap()).collect()
}

#[test]
fn a_removed_device_does_not_remove_its_remover_where_the_server_has_forgotten() {
    let Stolen { mut world, account, alice, tablet, bob, thief } = stolen(940);
    let [own, other, gone] = [alice, tablet, thief].map(|who| world.of(who).device);
    remove(&mut world, thief, own);
    let ghost = world.linked(thief);
    world.pass(20_000);
    for who in [alice, tablet] {
        world.start(who);
    }
    world.pass(120_000);
    for who in [alice, tablet, bob] {
        assert_eq!(world.listed(who, account), [own, other], "{who}");
    }
    for who in [alice, tablet] {
        assert_eq!(warnings(&world, who), [RefusedRemoval { by: gone, device: own, stands: false }], "{who}");
        assert_eq!(world.home_problem(who), Some(HomeProblem::OtherHistory), "{who}");
        world.say(who, bob, "we are here");
    }
    world.say(bob, alice, "still you");
    world.pass(1_200_000);
    assert_eq!(warnings(&world, alice).len(), 1, "once");
    // The phrase settles it at the server, too.
    world.recover(alice);
    world.pass(1_200_000);
    for who in [alice, bob] {
        assert_eq!(world.listed(who, account), [own], "{who}");
    }
    assert_eq!(world.home_problem(alice), None);
    world.say(alice, bob, "all is well");
    world.pass(120_000);
    let texts = |world: &mut World, who, other| -> Vec<String> {
        world.messages(who, other).into_iter().map(|m| m.text).collect()
    };
    for (who, to) in [(alice, bob), (bob, alice)] {
        let seen = texts(&mut world, who, to);
        for text in ["we are here", "still you", "all is well"] {
            assert!(seen.iter().any(|seen| seen == text), "{who}: {seen:?}");
        }
    }
    for who in [thief, ghost] {
        assert!(!texts(&mut world, who, bob).iter().any(|text| text != "before"), "{who}");
    }
}

#[test]
fn a_server_that_was_told_an_old_history_is_told_the_one_that_counts() {
    let Stolen { mut world, account, alice, tablet, bob, thief } = stolen(941);
    let [own, other, gone] = [alice, tablet, thief].map(|who| world.of(who).device);
    // The thief has removed who has done it no harm, too; that never stood.
    remove(&mut world, thief, other);
    for who in [alice, tablet] {
        world.start(who);
    }
    world.pass(120_000);
    for who in [alice, tablet, bob] {
        assert_eq!(world.listed(who, account), [own, other], "{who}");
        assert_eq!(world.home_problem(who), None, "{who}");
    }
    assert_eq!(warnings(&world, alice), [RefusedRemoval { by: gone, device: other, stands: false }]);
    world.say(tablet, bob, "as before");
    world.say(bob, alice, "good");
    world.pass(300_000);
    let seen: Vec<String> = world.messages(bob, alice).into_iter().map(|m| m.text).collect();
    assert_eq!(seen.iter().filter(|text| ["as before", "good"].contains(&text.as_str())).count(), 2, "{seen:?}");
}
