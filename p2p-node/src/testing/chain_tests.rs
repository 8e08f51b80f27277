//! The device chain, as stories in the test world: what is on the devices, how one joins, and two that change the account at once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use starling_keys::chain::{ChainError, Summary};
use starling_wire::rendezvous::{Refusal, Refused, RequestBody, ResponseBody};
use tokio::sync::oneshot;

use crate::{
    AccountLink, NewDevice, Origin, Rights,
    api::{
        error::{NodeError, NotAllowed},
        types::TransientEvent,
    },
    engine::{AccountCommand, ContactCommand},
    limits::RETRY_REFUSED_MS,
    testing::world::{Treatment, Who, World},
};

type Joined = oneshot::Receiver<Result<(AccountLink, NewDevice), NodeError>>;

/// A device tries a code that alice has made.
fn try_code(world: &mut World, code: &str) -> Joined {
    let nobody = world.person("nobody");
    let (device, home, code) = (Box::new(NewDevice::generate().unwrap()), world.home.clone(), code.to_owned());
    let (name, kind) = ("laptop".to_owned(), "linux".to_owned());
    let joined = world.begin(nobody, |reply| AccountCommand::JoinAccount {
        code,
        home,
        device,
        name,
        kind,
        asked: oneshot::channel().0,
        reply,
    });
    world.pass(2_000);
    joined
}

/// What asks alice.
fn asking(world: &mut World, alice: Who) -> Option<(starling_keys::DeviceId, String)> {
    world.of(alice).live.iter().find_map(|live| match live {
        TransientEvent::LinkRequested { device, name, .. } => Some((*device, name.clone())),
        _ => None,
    })
}

#[test]
fn a_device_joins_once_the_user_of_another_has_agreed() {
    let mut world = World::new(400);
    let (alice, bob) = world.friends();
    let code = world.call(alice, |reply| AccountCommand::OpenCode(true, reply)).unwrap();
    let mut joined = try_code(&mut world, &code);
    let (device, name) = asking(&mut world, alice).unwrap();
    assert_eq!(name, "laptop");
    assert!(joined.try_recv().is_err(), "nobody has agreed");
    assert_eq!(world.call(alice, AccountCommand::Devices).unwrap().len(), 1);
    let rights = Some(Rights::Member);
    let mut answer = world.begin(alice, |reply| AccountCommand::AnswerLink { device, rights, history: false, reply });
    world.pass(2_000);
    answer.try_recv().expect("no answer").unwrap();
    let (link, keys) = joined.try_recv().unwrap().unwrap();
    assert_eq!((link.name.as_str(), keys.id()), ("alice", device));
    let laptop = world.profile("alice", Origin::Linked(Box::new(link), keys));
    world.pass(10_000);
    world.say(laptop, bob, "from the laptop");
    world.pass(5_000);
    assert_eq!(world.seen(bob, alice), ["alice: from the laptop"]);
    // A member changes nothing of the account.
    let opened = world.call(laptop, |reply| AccountCommand::OpenCode(true, reply));
    assert_eq!(opened.err(), Some(NotAllowed::NotAdmin.into()));
    let answer = world.call(laptop, |reply| AccountCommand::AnswerLink { device, rights, history: false, reply });
    assert!(answer.is_err() && world.call(alice, AccountCommand::Devices).unwrap().len() == 2);
}

#[test]
fn a_device_does_not_join_against_the_users_will_or_with_a_wrong_code() {
    let mut world = World::new(401);
    let alice = world.person("alice");
    let code = world.call(alice, |reply| AccountCommand::OpenCode(true, reply)).unwrap();
    let mut joined = try_code(&mut world, &code);
    let (device, _) = asking(&mut world, alice).unwrap();
    world.call(alice, |reply| AccountCommand::AnswerLink { device, rights: None, history: false, reply }).unwrap();
    world.pass(2_000);
    assert_eq!(joined.try_recv().unwrap().err(), Some(NotAllowed::LinkDeclined.into()));

    world.of(alice).live.clear();
    let code = world.call(alice, |reply| AccountCommand::OpenCode(true, reply)).unwrap();
    let place = code.split('-').next().unwrap();
    let wrong = code.replace(place, "").split('-').skip(1).map(|_| "-zoo").collect::<String>();
    let mut joined = try_code(&mut world, &format!("{place}{wrong}"));
    assert!(joined.try_recv().unwrap().is_err());
    assert_eq!(asking(&mut world, alice), None);
    assert_eq!(world.call(alice, AccountCommand::Devices).unwrap().len(), 1);
}

#[test]
fn two_devices_that_link_others_at_the_same_time_both_do() {
    for seed in 0..4 {
        let mut world = World::new(410 + seed);
        let (alice, bob) = world.friends();
        let laptop = world.linked(alice);
        world.pass(5_000);
        let phone = world.begin_linking(alice);
        let tablet = world.begin_linking(laptop);
        world.pass(120_000);
        for who in [alice, laptop, phone, tablet, bob] {
            let account = world.of(alice).account;
            assert_eq!(world.listed(who, account).len(), 4, "seed {seed}: {who}");
        }
    }
}

#[test]
fn the_root_is_on_no_device() {
    let mut world = World::new(420);
    let (alice, bob) = world.friends();
    let laptop = world.linked(alice);
    world.pass(5_000);
    assert!(!world.has_root(alice) && !world.has_root(bob) && !world.has_root(laptop));
    // It is there again for a recovery, and only until that is done.
    let again = world.restored(alice);
    world.pass(20_000);
    assert!(!world.has_root(again));
    assert!(world.contact(again, bob).is_some(), "the contacts are back");
    world.pass(60_000);
    world.say(again, bob, "after all");
    world.pass(10_000);
    assert_eq!(world.seen(bob, alice), ["alice: after all"]);
}

/// Whether a device knows that its account has given it up.
fn is_out(world: &mut World, who: Who) -> bool {
    let name = "other".to_owned();
    world.call(who, |reply| AccountCommand::SetName(name, reply)).err() == Some(NotAllowed::Superseded.into())
}

#[test]
fn a_device_that_runs_recovers_its_account_and_is_its_only_one() {
    let mut world = World::new(430);
    let (alice, bob) = world.friends();
    let laptop = world.linked(alice);
    world.pass(10_000);
    world.recover(alice);
    let (account, own) = (world.of(alice).account, world.of(alice).device);
    for who in [alice, bob] {
        assert_eq!(world.listed(who, account), [own], "{who}");
    }
    assert!(is_out(&mut world, laptop) && !is_out(&mut world, alice) && !world.has_root(alice));
    world.say(alice, bob, "after all");
    world.say(bob, alice, "good");
    world.pass(60_000);
    assert_eq!(world.seen(bob, alice), ["alice: after all", "bob: good [Delivered]"]);
    assert!(world.messages(laptop, bob).is_empty());
}

#[test]
fn only_the_root_recovers_an_account() {
    let mut world = World::new(432);
    let (alice, _) = world.friends();
    let laptop = world.linked(alice);
    world.pass(10_000);
    let recovery = world.call(alice, AccountCommand::Recovery).unwrap();
    let other = starling_keys::RecoveryPhrase::generate().account_key();
    assert!(recovery.sign(&other, 1).is_err());
    // What an admin signs is no recovery.
    let chain = world.chain(laptop).as_bytes().to_vec();
    assert!(world.call(alice, |reply| AccountCommand::Recover(chain, reply)).is_err());
    assert_eq!(world.call(alice, AccountCommand::Devices).unwrap().len(), 2);
}

#[test]
fn an_account_from_which_a_thief_has_removed_its_owner_comes_back_on_a_new_device() {
    let mut world = World::new(431);
    let (alice, bob) = world.friends();
    let thief = world.linked(alice);
    world.pass(10_000);
    let (account, own) = (world.of(alice).account, world.of(alice).device);
    let mut removed = world.begin(thief, |reply| AccountCommand::RemoveDevice(own, reply));
    world.pass(30_000);
    removed.try_recv().expect("no answer").unwrap();
    let ghost = world.linked(thief);
    world.pass(30_000);
    assert!(is_out(&mut world, alice));
    assert!(!world.listed(alice, account).contains(&own), "it knows what counts");
    // A removed key never comes back, not even with the phrase.
    assert_eq!(world.signed_recovery(alice).err(), Some(ChainError::KnownDevice));
    let back = world.restored(alice);
    world.pass(60_000);
    let own = world.of(back).device;
    for who in [back, bob] {
        assert_eq!(world.listed(who, account), [own], "{who}");
    }
    assert!(is_out(&mut world, thief) && is_out(&mut world, ghost));
    world.say(back, bob, "it is me");
    world.pass(60_000);
    assert_eq!(world.seen(bob, back), ["alice: it is me"]);
    assert!(world.messages(thief, bob).is_empty());
}

#[test]
fn a_snapshot_with_a_number_that_nobody_counts_to_stops_no_link() {
    let mut world = World::new(433);
    let (alice, bob) = world.friends();
    world.pass(10_000);
    world.lie = Some(Box::new(|_, response| {
        if let Some(ResponseBody::Snapshot(snapshot)) = &mut response.body {
            snapshot.version = u64::MAX;
        }
    }));
    let laptop = world.linked(alice);
    world.pass(10_000);
    world.lie = None;
    for who in [alice, laptop] {
        world.kill(who);
        world.start(who);
    }
    world.pass(60_000);
    // The old device answers once its snapshot is stored.
    let phone = world.linked_with_history(alice);
    world.pass(60_000);
    world.say(bob, alice, "to all");
    world.pass(10_000);
    assert_eq!(world.seen(phone, bob), ["bob: to all"]);
}

#[test]
fn a_device_from_which_a_recovery_was_hidden_learns_of_it_when_the_server_is_honest_again() {
    let mut world = World::new(434);
    let (alice, bob) = world.friends();
    let laptop = world.linked(alice);
    world.pass(60_000);
    world.kill(bob);
    let account = world.of(alice).account;
    let (before, present) = (bytes::Bytes::copy_from_slice(world.chain(laptop).as_bytes()), world.how_many());
    // Who comes with the phrase is told that there is no such account, and begins it anew; the laptop is told that nothing has changed.
    world.lie = Some(Box::new(move |who, response| {
        let Some(ResponseBody::DeviceList(list)) = &mut response.body else { return };
        if Summary::of(list).is_ok_and(|summary| summary.account != account) {
            return;
        }
        if who == laptop {
            *list = before.clone();
        } else if who >= present {
            let refused = Refused { reason: Refusal::NotFound.into(), ..Refused::default() };
            response.body = Some(ResponseBody::Refused(refused));
        }
    }));
    let back = world.restored(alice);
    world.pass(60_000);
    let (own, old) = (world.of(back).device, world.of(laptop).device);
    assert_eq!(world.listed(back, account), [own]);
    assert!(world.listed(laptop, account).contains(&old), "nobody has told it");
    world.lie = None;
    world.pass(1_200_000);
    assert!(is_out(&mut world, laptop));
    assert_eq!(world.listed(laptop, account), [own]);
}

#[test]
fn a_home_that_knows_a_device_no_more_is_told_its_chain_again_and_not_in_a_hurry() {
    let mut world = World::new(435);
    let (alice, bob) = world.friends();
    world.linked(alice);
    world.pass(60_000);
    let forgets = |ask: &RequestBody| matches!(ask, RequestBody::GetSnapshot(_) | RequestBody::PutSnapshot(_));
    world.treats = Some(Box::new(move |_, ask| {
        let refused = Refused { reason: Refusal::NotRegistered.into(), ..Refused::default() };
        forgets(ask).then_some(Treatment::Refusal(refused))
    }));
    let published = |world: &World| {
        let asked = world.asked.iter().flatten();
        asked.filter(|request| matches!(request.body, Some(RequestBody::Publish(_)))).count()
    };
    world.asked = Some(Vec::new());
    let account = world.of(bob).account;
    world.call(alice, |reply| ContactCommand::Rename(account, "Bobby".into(), reply)).unwrap();
    world.pass(60_000);
    // Two devices, each at once and then after each pause.
    let most = 2 * (1 + 60_000 / usize::try_from(RETRY_REFUSED_MS).unwrap());
    assert!((1..=most).contains(&published(&world)), "{}", published(&world));
    world.treats = None;
    world.pass(60_000);
    world.asked = Some(Vec::new());
    world.pass(60_000);
    assert_eq!(published(&world), 0, "it knows them again");
    let phone = world.linked(alice);
    world.pass(60_000);
    assert_eq!(world.contact(phone, bob).unwrap().name, "Bobby", "the snapshot is there");
}
