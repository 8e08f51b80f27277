//! A removed device whose program ignores that: what it does counts nowhere, and its owner sees that it does it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use starling_keys::{
    AccountId, DeviceChain, DeviceId, DeviceKey,
    chain::{Joining, REMOVED_AFTER_S, Rights, SignWith},
};
use starling_wire::{Body, Call, CallId, CallSignal, RemovedDeviceUse, Text};

use crate::{
    api::{
        problem::HomeProblem,
        types::{Attempt, DurableEventKind, RefusedRemoval},
    },
    engine::{AccountCommand, ConversationCommand},
    mls::modified,
    testing::{
        door_tests::way_in,
        epoch_tests::{append, candidate},
        world::{Who, World},
    },
    turn::Fact,
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

    /// What somebody was told of removed devices, by their own ones.
    fn told(&self, who: Who) -> Vec<String> {
        let own = self.world.engine(who).account.id();
        told(&self.world, who).into_iter().filter(|(by, _)| *by == own).map(|(_, text)| text).collect()
    }

    /// What contacts have told somebody of them.
    fn told_by_contacts(&self, who: Who) -> Vec<(AccountId, String)> {
        let own = self.world.engine(who).account.id();
        told(&self.world, who).into_iter().filter(|(by, _)| *by != own).collect()
    }

    /// The same of alice, if all of it comes from bob: what the laptop has tried.
    fn told_by_bob(&mut self) -> Vec<String> {
        let (device, bob) = (self.world.of(self.laptop).device, self.world.of(self.bob).account);
        let told = self.told_by_contacts(self.alice).into_iter();
        told.map(|(by, text)| {
            assert_eq!(by, bob);
            text.strip_prefix(&format!("{device} ")).unwrap().to_owned()
        })
        .collect()
    }

    /// The laptop's key.
    fn key(&mut self) -> DeviceKey {
        let mut seed = [0; 32];
        self.world.begin_modified(self.laptop, |engine, _| seed = *engine.account.identity.device_key.seed());
        DeviceKey::from_seed(&seed)
    }

    /// The chain from before its removal, in which the laptop has linked another device.
    fn with_ghost(&mut self) -> DeviceChain {
        let (key, ghost) = (self.key(), DeviceKey::generate());
        let joining = Joining::sign(&ghost, &self.before.account, b"seal key of the ghost".to_vec());
        let now_s = self.world.now.wall_ms / 1000;
        self.before.add(&SignWith::Device(&key), now_s, &joining, Rights::Admin).unwrap()
    }

    /// The laptop comes into the conversation, as somebody has told it the way.
    fn enter(&mut self) {
        let key = self.key();
        let path = self.before.path_to(&key.id()).unwrap().to_bytes();
        let door = way_in(&mut self.world, self.alice, self.bob);
        let commit = modified::entering_as(&path, &key, &door.info, None);
        append(&mut self.world, self.alice, self.bob, true, &candidate(&commit));
        self.world.pass(180_000);
    }

    fn texts(&mut self, who: Who, other: Who) -> Vec<String> {
        self.world.messages(who, other).into_iter().map(|message| message.text).collect()
    }
}

/// What somebody was told of removed devices: by whom, and what.
fn told(world: &World, who: Who) -> Vec<(AccountId, String)> {
    let news = world.durable_events(who).into_iter().filter(|n| n.kind == DurableEventKind::DeviceTried);
    news.map(|n| (n.account.unwrap(), n.text)).collect()
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
    assert!(told(&story.world, story.bob).is_empty(), "it is none of bob's");
}

#[test]
fn a_contact_tells_the_owner_once_a_day_what_a_removed_device_has_tried_there() {
    let mut story = removed(9_605);
    for n in 0..3 {
        story.write(&format!("from a thief {n}"));
    }
    story.world.pass(120_000);
    assert_eq!(story.told_by_bob(), ["write"]);
    // As it is seen again, by either side after a restart, and on the next day.
    let (account, device) = (story.world.of(story.alice).account, story.world.of(story.laptop).device);
    let (alice, bob) = (story.alice, story.bob);
    let refused = move |story: &mut Removed| {
        let used = Fact::RefusedDeviceUsed { account, device, attempt: Attempt::Write };
        story.world.modified(bob, |_, turn| turn.fact(used));
        story.world.pass(60_000);
    };
    for who in [bob, alice] {
        story.world.kill(who);
        story.world.start(who);
        story.world.pass(60_000);
        refused(&mut story);
    }
    assert_eq!(story.told_by_bob(), ["write"]);
    story.world.pass(86_400_000);
    refused(&mut story);
    assert_eq!(story.told_by_bob(), ["write", "write"]);
    assert!(told(&story.world, bob).is_empty());
}

#[test]
fn a_contact_tells_the_owner_that_a_removed_device_calls() {
    let mut story = removed(9_606);
    story.defy();
    let chat = story.world.chat_id(story.laptop, story.bob);
    let signal = CallSignal::Ring { video: false, offer: "v=0".into(), commitment: None };
    let ring = Call { id: CallId([3; 16]), signal };
    story.world.modified(story.laptop, move |engine, turn| {
        engine.views().announce(turn, chat, Body::Call(ring));
    });
    story.world.pass(180_000);
    assert_eq!(story.told_by_bob(), ["call"]);
}

#[test]
fn a_removed_device_that_enters_a_conversation_is_shown_to_its_owner_who_is_told_so_by_the_contact_as_well() {
    let mut story = removed(9_607);
    let device = story.world.of(story.laptop).device;
    // Before that an entry may be an old one that was read late.
    story.world.pass(REMOVED_AFTER_S * 1_000);
    story.enter();
    assert_eq!(story.told(story.alice), [format!("{device} enter")]);
    assert_eq!(story.told_by_bob(), ["enter"]);
    story.world.say(story.alice, story.bob, "not for the laptop");
    story.world.pass(10_000);
    assert!(!story.texts(story.laptop, story.bob).contains(&"not for the laptop".to_owned()));
}

#[test]
fn a_removed_device_that_links_another_is_shown_to_its_owner_and_links_none() {
    let mut story = removed(9_608);
    let (own, device) = (story.world.of(story.alice).device, story.world.of(story.laptop).device);
    let (alice, bob, account) = (story.alice, story.bob, story.world.of(story.alice).account);
    let chain = story.with_ghost();
    let shown = chain.clone();
    story.world.modified(alice, move |engine, turn| assert!(engine.devices().on_own_list(turn, shown).unwrap()));
    assert_eq!(story.told(alice), [format!("{device} link")]);
    story.world.modified(bob, move |engine, turn| {
        engine.contacts.take_chain(turn, account, chain).unwrap().unwrap();
    });
    story.world.pass(60_000);
    assert_eq!(story.told_by_bob(), ["link"]);
    for who in [alice, bob] {
        assert_eq!(story.world.listed(who, account), [own], "{who}");
    }
}

#[test]
fn what_a_device_wrote_before_its_removal_is_no_attempt_however_late_a_contact_reads_it() {
    let mut world = World::new(9_609);
    let (alice, bob) = world.friends();
    let laptop = world.linked(alice);
    world.pass(10_000);
    world.kill(bob);
    world.say(laptop, bob, "last words");
    world.pass(5_000);
    let device = world.of(laptop).device;
    remove(&mut world, alice, device);
    world.kill(laptop);
    world.pass(60_000);
    world.start(bob);
    world.pass(180_000);
    let texts: Vec<String> = world.messages(bob, alice).into_iter().map(|message| message.text).collect();
    assert_eq!(texts, ["last words"]);
    let own = world.of(alice).account;
    assert!(told(&world, alice).iter().all(|(by, _)| *by == own), "{:?}", told(&world, alice));
}

#[test]
fn what_somebody_says_of_removed_devices_counts_from_contacts_and_of_what_was_removed_and_is_bounded() {
    let mut story = removed(9_610);
    let (own, device) = (story.world.of(story.alice).device, story.world.of(story.laptop).device);
    let (alice, bob) = (story.alice, story.bob);
    let (contact, stranger) = (story.world.of(bob).account, story.world.person("mallory"));
    let stranger = story.world.of(stranger).account;
    let says = |device: &DeviceId, attempt| RemovedDeviceUse { device: *device.as_bytes(), attempt };
    let chat = story.world.chat_id(bob, alice);
    story.world.modified(bob, move |engine, turn| {
        let unknown = DeviceKey::generate().id();
        // A device that she has, one that she never had, and what nobody knows.
        for used in [says(&own, 1), says(&unknown, 1), says(&device, 0), says(&device, 77)] {
            engine.views().announce(turn, chat, Body::RemovedDeviceUse(used));
        }
    });
    story.world.modified(alice, move |engine, turn| {
        engine.devices().on_reported_use(turn, stranger, says(&device, 1)).unwrap();
    });
    story.world.pass(60_000);
    assert!(told(&story.world, alice).is_empty());
    for _ in 0..3 {
        story.world.modified(alice, move |engine, turn| {
            for attempt in 0..20 {
                engine.devices().on_reported_use(turn, contact, says(&device, attempt)).unwrap();
            }
        });
    }
    assert_eq!(story.told_by_bob(), ["write", "call", "enter", "remove", "link"]);
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
    let told = told(&world, alice);
    assert!(told.contains(&(account, format!("{gone} remove"))), "{told:?}");
}
