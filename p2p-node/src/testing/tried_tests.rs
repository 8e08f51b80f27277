//! A removed device whose program ignores that: what it does counts nowhere, and its owner sees that it does it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use starling_keys::{AccountId, DeviceChain, DeviceId};
use starling_wire::Text;

use crate::{
    api::{
        problem::HomeProblem,
        types::{DurableEventKind, RefusedRemoval},
    },
    engine::{AccountCommand, ConversationCommand},
    testing::world::{Who, World},
};

/// Alice with a laptop that she removes, and bob. Nobody is connected with the laptop.
struct Removed {
    world: World,
    alice: Who,
    laptop: Who,
    bob: Who,
    /// The chain that still has the laptop.
    before: DeviceChain,
}

fn remove(world: &mut World, by: Who, device: DeviceId) {
    let mut removed = world.begin(by, |reply| AccountCommand::RemoveDevice(device, reply));
    world.pass(30_000);
    removed.try_recv().expect("no answer").unwrap();
}

fn removed(seed: u64) -> Removed {
    let mut world = World::new(seed);
    let (alice, bob) = world.friends();
    let laptop = world.linked(alice);
    world.pass(10_000);
    world.say(laptop, bob, "before");
    world.pass(5_000);
    let before = world.engine(alice).account.list().unwrap().clone();
    world.apart = [laptop].into();
    let device = world.of(laptop).device;
    remove(&mut world, alice, device);
    world.pass(120_000);
    Removed { world, alice, laptop, bob, before }
}

impl Removed {
    /// The laptop's program forgets that it was removed.
    fn defy(&mut self) {
        let before = self.before.clone();
        self.world.modified(self.laptop, move |engine, _| {
            engine.account.identity.list = Some(before);
            engine.counters.row.superseded = false;
        });
    }

    fn write(&mut self, text: &str) {
        self.defy();
        let chat = self.world.chat_id(self.laptop, self.bob);
        let texts = vec![Text { text: text.into(), ..Default::default() }];
        drop(self.world.begin(self.laptop, |reply| ConversationCommand::Send { chat, texts, reply }));
        self.world.pass(60_000);
    }

    /// What somebody was told of removed devices.
    fn told(&self, who: Who) -> Vec<String> {
        let news = self.world.durable_events(who).into_iter().filter(|n| n.kind == DurableEventKind::DeviceTried);
        news.map(|n| n.text).collect()
    }

    fn texts(&mut self, who: Who, other: Who) -> Vec<String> {
        self.world.messages(who, other).into_iter().map(|message| message.text).collect()
    }
}

#[test]
fn a_removed_device_that_writes_is_shown_to_its_owner_once_a_day() {
    let mut story = removed(9_600);
    let device = story.world.of(story.laptop).device;
    assert_eq!(story.told(story.alice), [] as [String; 0], "it has done nothing");
    for n in 0..3 {
        story.write(&format!("from a thief {n}"));
    }
    assert_eq!(story.told(story.alice), [format!("{device} write")]);
    story.world.pass(86_400_000);
    story.write("from a thief, the next day");
    assert_eq!(story.told(story.alice).len(), 2);
    for (who, other) in [(story.alice, story.bob), (story.bob, story.alice)] {
        assert_eq!(story.texts(who, other), ["before"], "{who}");
    }
    assert_eq!(story.told(story.bob), [] as [String; 0], "it is none of bob's");
}

#[test]
fn a_removed_device_that_writes_to_devices_of_its_owner_is_shown() {
    let mut story = removed(9_602);
    let device = story.world.of(story.laptop).device;
    story.defy();
    story.world.modified(story.laptop, |engine, turn| engine.sync().tell_other_devices(turn, None).unwrap());
    story.world.pass(60_000);
    assert_eq!(story.told(story.alice), [format!("{device} write")]);
    // It comes again after a restart: it is still the same day.
    story.world.kill(story.alice);
    story.world.start(story.alice);
    story.world.modified(story.laptop, |engine, turn| engine.sync().tell_other_devices(turn, None).unwrap());
    story.world.pass(60_000);
    assert_eq!(story.told(story.alice).len(), 1);
}

/// Alice with a tablet, and a phone that is stolen: its copy runs where the server has forgotten that it was removed a minute ago.
fn stolen(seed: u64) -> (World, [Who; 4], AccountId) {
    let mut world = World::new(seed);
    let (alice, bob) = world.friends();
    let (phone, tablet) = (world.linked(alice), world.linked(alice));
    world.pass(60_000);
    let thief = world.copied(phone);
    world.kill(phone);
    let device = world.of(phone).device;
    remove(&mut world, alice, device);
    world.kill(alice);
    world.kill(tablet);
    world.forget_everything();
    world.start(thief);
    world.pass(20_000);
    let account = world.of(alice).account;
    (world, [alice, tablet, bob, thief], account)
}

fn warnings(world: &World, who: Who) -> Vec<RefusedRemoval> {
    let news = world.durable_events(who).into_iter().filter(|n| n.kind == DurableEventKind::DeviceRefused);
    news.map(|n| n.text.parse().unwrap()).collect()
}

#[test]
fn a_device_that_a_removed_one_has_removed_within_minutes_says_so_on_all_devices() {
    let (mut world, [alice, tablet, bob, thief], account) = stolen(9_603);
    let [own, other, gone] = [alice, tablet, thief].map(|who| world.of(who).device);
    remove(&mut world, thief, own);
    for who in [alice, tablet] {
        world.start(who);
    }
    world.pass(120_000);
    // Nobody can tell who of the two was first, so both removals stand; the thief has won nothing by that.
    for who in [tablet, bob] {
        assert_eq!(world.listed(who, account), [other], "{who}");
    }
    assert_eq!(world.home_problem(alice), Some(HomeProblem::Superseded));
    let expected = RefusedRemoval { by: gone, device: own, stands: true };
    for who in [alice, tablet] {
        assert_eq!(warnings(&world, who), [expected], "{who}");
    }
    world.pass(600_000);
    assert_eq!(warnings(&world, tablet).len(), 1, "once");
}

#[test]
fn a_removed_device_that_removes_a_third_within_minutes_is_seen_and_changes_nothing() {
    let (mut world, [alice, tablet, bob, thief], account) = stolen(9_604);
    let [own, other, gone] = [alice, tablet, thief].map(|who| world.of(who).device);
    remove(&mut world, thief, other);
    for who in [alice, tablet] {
        world.start(who);
    }
    world.pass(120_000);
    for who in [alice, tablet, bob] {
        assert_eq!(world.listed(who, account), [own, other], "{who}");
    }
    let told = |who| -> Vec<String> {
        world
            .durable_events(who)
            .into_iter()
            .filter(|n| n.kind == DurableEventKind::DeviceTried)
            .map(|n| n.text)
            .collect()
    };
    assert!(told(alice).contains(&format!("{gone} remove")), "{:?}", told(alice));
}
