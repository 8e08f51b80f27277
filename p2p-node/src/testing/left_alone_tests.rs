//! What becomes of members whom a fork has left alone, or kept waiting, for what only others know or may do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use starling_wire::Role;

use super::{
    apart_tests::{meet, read_each_other},
    fork_tests::showing,
    liar::{Liar, Showing, Shown},
    world::World,
};
use crate::{
    api::types::Standing,
    contacts::limits::{FIRST_LOOK_UP_MS, LOOK_UPS_EVERY_MS},
    conversation::fork::limits::SEEK_AFTER_MS,
    engine::{AccountCommand, GroupCommand},
    mls::PAST_EPOCHS,
};

/// Dave has come in where bob is, who has removed him, and who is never there again. Where alice is dave was invited, and has no device: carol, who comes
/// to her and removes nobody, need not wait for anybody to remove him there.
#[test]
fn who_was_removed_and_has_no_device_where_the_owner_is_keeps_nobody_from_writing() {
    let mut world = World::new(916);
    world.liar = Some(Liar::new(1, |_| Shown::Now));
    let people = world.company(4);
    let (alice, bob, carol, dave) = (people[0], people[1], people[2], people[3]);
    let chat = world.found(alice, &people[1..]);
    world.pass(2_000);
    for who in [bob, carol] {
        world.accept(who, chat).unwrap();
        world.pass(10_000);
    }
    world.wish_role(alice, chat, bob, Role::Admin).unwrap();
    world.pass(30_000);
    world.direct = false;
    world.pass(5_000);
    let is_apart = move |s: Showing| s.is_commit && (s.author == alice) != (s.reader == alice);
    world.liar.as_mut().unwrap().shows(move |s| if is_apart(s) { Shown::Never } else { Shown::Now });
    world.call(bob, |reply| GroupCommand::Rename { chat, name: "ours".into(), reply }).unwrap();
    world.pass(10_000);
    world.accept(dave, chat).unwrap();
    world.pass(30_000);
    let devices = |world: &World, who| world.epoch_in(who, chat).map(|(_, devices)| devices);
    assert_eq!((devices(&world, bob), devices(&world, alice)), (Some(4), Some(3)));
    world.wish_out(bob, chat, dave).unwrap();
    world.pass(10_000);
    assert_eq!(world.standing(dave, chat), Some(Standing::Removed));
    for n in 0..=PAST_EPOCHS {
        for who in [alice, bob] {
            let name = format!("{who}-{n}");
            world.call(who, |reply| GroupCommand::Rename { chat, name, reply }).unwrap();
            world.pass(3_000);
        }
    }
    world.say_in(carol, chat, "still here, apart").unwrap();
    world.pass(10_000);
    world.kill(bob);
    meet(&mut world, &[alice, carol, dave]);
    world.pass(40 * 60_000);
    assert_eq!(world.epoch_in(carol, chat), world.epoch_in(alice, chat));
    assert!(world.group_seen(alice, chat).unwrap().members.iter().any(|m| m.account == world.people[dave].account));
    world.say_in(carol, chat, "still here, together").unwrap();
    world.pass(30_000);
    assert_eq!(world.texts_in(alice, chat), ["still here, apart", "still here, together"]);
    assert!(world.texts_in(dave, chat).is_empty());
}

/// Bob, who leads, is no contact of carol's, and does not hear that she has removed her tablet: it is still in the group where he is.
#[test]
fn who_does_not_come_to_a_leader_tells_it_which_devices_were_removed() {
    let mut world = World::new(917);
    let people = world.company(4);
    let (alice, bob, carol, dave) = (people[0], people[1], people[2], people[3]);
    let tablet = world.linked(carol);
    world.pass(60_000);
    let chat = world.group_of(&people);
    world.wish_role(alice, chat, bob, Role::Owner).unwrap();
    world.pass(30_000);
    world.wish_role(alice, chat, alice, Role::Member).unwrap();
    world.pass(30_000);
    let devices = |world: &World, who| world.epoch_in(who, chat).map(|(_, devices)| devices);
    assert_eq!(devices(&world, bob), Some(5));
    world.direct = false;
    world.pass(5_000);
    world.liar = Some(showing(move |s| (s.author == bob) == (s.reader == bob)));
    for n in 0..=PAST_EPOCHS + 1 {
        let name = n.to_string();
        world.call(bob, |reply| GroupCommand::Rename { chat, name, reply }).unwrap();
        world.pass(3_000);
    }
    let device = world.of(tablet).device;
    world.call(carol, |reply| AccountCommand::RemoveDevice(device, reply)).unwrap();
    world.pass(60_000);
    assert_eq!((devices(&world, alice), devices(&world, bob)), (Some(4), Some(5)));
    for who in [carol, tablet, dave] {
        world.kill(who);
    }
    meet(&mut world, &[alice, bob]);
    world.pass(40 * 60_000);
    assert_eq!(world.epoch_in(alice, chat), world.epoch_in(bob, chat));
    assert_eq!(devices(&world, bob), Some(4));
    read_each_other(&mut world, chat, &[alice, bob]);
}

/// Bob has let dave in where alice is not, and has come to her since: where dave is nobody is any more.
#[test]
fn who_was_let_in_where_nobody_is_any_more_hears_that_it_is_no_member() {
    let mut world = World::new(918);
    world.liar = Some(Liar::new(1, |_| Shown::Now));
    let people = world.company(4);
    let (alice, bob, carol, dave) = (people[0], people[1], people[2], people[3]);
    world.befriend(bob, dave);
    let chat = world.group_of(&people[..3]);
    world.wish_role(alice, chat, bob, Role::Admin).unwrap();
    world.pass(30_000);
    world.direct = false;
    world.pass(5_000);
    let is_apart = move |s: Showing| s.is_commit && (s.author == alice) != (s.reader == alice);
    world.liar.as_mut().unwrap().shows(move |s| if is_apart(s) { Shown::Never } else { Shown::Now });
    world.wish_in(bob, chat, &[dave]).unwrap();
    world.pass(10_000);
    world.accept(dave, chat).unwrap();
    world.pass(30_000);
    assert_eq!(world.epoch_in(dave, chat), world.epoch_in(bob, chat));
    for n in 0..=PAST_EPOCHS {
        for who in [alice, bob] {
            let name = format!("{who}-{n}");
            world.call(who, |reply| GroupCommand::Rename { chat, name, reply }).unwrap();
            world.pass(3_000);
        }
    }
    meet(&mut world, &people);
    world.pass(40 * 60_000);
    assert_eq!(world.standing(dave, chat), Some(Standing::Removed));
    read_each_other(&mut world, chat, &[alice, bob, carol]);
    assert!(world.texts_in(dave, chat).is_empty());
}

/// Alice has written where bob is, and has removed him since: he is never shown that, and neither has started again.
#[test]
fn who_is_not_shown_that_the_owner_has_removed_it_hears_it_from_her() {
    let mut world = World::new(921);
    world.liar = Some(Liar::new(1, |_| Shown::Now));
    let people = world.company(3);
    let (alice, bob, carol) = (people[0], people[1], people[2]);
    let chat = world.group_of(&people);
    world.say_in(alice, chat, "here").unwrap();
    world.pass(30_000);
    world.direct = false;
    world.pass(5_000);
    let hides = move |s: Showing| s.is_commit && s.reader == bob;
    world.liar.as_mut().unwrap().shows(move |s| if hides(s) { Shown::Never } else { Shown::Now });
    world.wish_out(alice, chat, bob).unwrap();
    world.pass(10_000);
    assert_eq!(world.standing(bob, chat), Some(Standing::Member));
    world.liar.as_mut().unwrap().relent();
    world.direct = true;
    world.pass(2 * SEEK_AFTER_MS);
    assert_eq!(world.standing(bob, chat), Some(Standing::Removed));
    read_each_other(&mut world, chat, &[alice, carol]);
    assert_eq!(world.texts_in(bob, chat), ["here"]);
}

/// Bob leads, and is no owner any more where he is: carol has not followed that he has ceased to be one, and nobody else shows her the way.
#[test]
fn who_is_no_owner_any_more_leads_others_to_where_it_is_none() {
    let mut world = World::new(922);
    let people = world.company(4);
    let (alice, bob, carol, dave) = (people[0], people[1], people[2], people[3]);
    world.befriend(bob, carol);
    let chat = world.group_of(&people);
    for who in [bob, dave] {
        world.wish_role(alice, chat, who, Role::Owner).unwrap();
        world.pass(10_000);
    }
    world.wish_role(alice, chat, alice, Role::Member).unwrap();
    world.pass(30_000);
    world.direct = false;
    world.pass(5_000);
    world.liar = Some(showing(move |s| (s.author == carol) == (s.reader == carol)));
    world.wish_role(bob, chat, bob, Role::Admin).unwrap();
    world.pass(5_000);
    for n in 0..=PAST_EPOCHS {
        let name = n.to_string();
        world.call(bob, |reply| GroupCommand::Rename { chat, name, reply }).unwrap();
        world.pass(3_000);
    }
    assert_ne!(world.epoch_in(carol, chat), world.epoch_in(bob, chat));
    for who in [alice, dave] {
        world.kill(who);
    }
    meet(&mut world, &[bob, carol]);
    world.pass(40 * 60_000);
    assert_eq!(world.epoch_in(carol, chat), world.epoch_in(bob, chat));
    read_each_other(&mut world, chat, &[bob, carol]);
}

/// Where bob is nothing is left of alice's devices, as she has recovered her account: where her new device is he was removed.
#[test]
#[ignore = "open: where a server lies like that, her new device does not come in"]
fn who_was_removed_by_a_device_that_it_was_not_shown_hears_it_from_that() {
    let mut world = World::new(923);
    let people = world.company(3);
    let (alice, bob, carol) = (people[0], people[1], people[2]);
    let chat = world.group_of(&people);
    world.pass(60_000);
    world.direct = false;
    world.pass(5_000);
    world.liar = Some(showing(move |s| (s.author == bob) == (s.reader == bob)));
    let again = world.restored(alice);
    world.pass(60 * 60_000);
    assert_eq!(world.standing(again, chat), Some(Standing::Member));
    assert_eq!(world.epoch_in(bob, chat).map(|(_, devices)| devices), Some(2), "he has removed her old device himself");
    world.wish_out(again, chat, bob).unwrap();
    world.pass(60_000);
    assert_ne!(world.standing(bob, chat), Some(Standing::Removed), "he is not shown it");
    meet(&mut world, &[bob, again]);
    world.pass(30 * 60_000);
    assert_eq!(world.standing(bob, chat), Some(Standing::Removed));
    read_each_other(&mut world, chat, &[again, carol]);
    assert!(world.texts_in(bob, chat).is_empty());
}

/// Carol has lost her device and recovered her account, and bob, who is no contact of hers, is not shown her new device: nobody else is where he is.
#[test]
fn who_is_no_contact_of_a_member_finds_which_of_its_devices_were_removed() {
    let mut world = World::new(924);
    let people = world.company(3);
    let (alice, bob, carol) = (people[0], people[1], people[2]);
    let chat = world.group_of(&people);
    world.pass(60_000);
    world.kill(alice);
    world.liar = Some(showing(move |s| (s.author == bob) == (s.reader == bob)));
    let again = world.restored(carol);
    world.pass(60_000);
    world.kill(again);
    let devices = |world: &World| world.epoch_in(bob, chat).map(|(_, devices)| devices);
    assert_eq!(devices(&world), Some(3), "nobody has told him");
    world.pass(FIRST_LOOK_UP_MS + LOOK_UPS_EVERY_MS);
    assert_eq!(devices(&world), Some(2), "the one that she has lost is out");
    let account = world.people[carol].account;
    assert!(world.group_seen(bob, chat).unwrap().members.iter().any(|member| member.account == account));
}

/// Alice, who has made bob an owner and left, was the only one whom carol would have followed.
#[test]
#[ignore = "open: she is told after more than an hour and a half, or not at all"]
fn who_was_kept_apart_until_all_who_led_had_left_is_out_and_can_be_invited_again() {
    let mut world = World::new(919);
    let people = world.company(4);
    let (alice, bob, carol, dave) = (people[0], people[1], people[2], people[3]);
    world.befriend(bob, carol);
    let chat = world.group_of(&people);
    world.pass(30_000);
    world.direct = false;
    world.pass(5_000);
    world.liar = Some(showing(move |s| (s.author == carol) == (s.reader == carol)));
    world.wish_role(alice, chat, bob, Role::Owner).unwrap();
    world.pass(10_000);
    for n in 0..=PAST_EPOCHS {
        let name = n.to_string();
        world.call(alice, |reply| GroupCommand::Rename { chat, name, reply }).unwrap();
        world.pass(3_000);
    }
    // Others commit between many of hers.
    world.pass(5 * 60_000);
    world.leave(alice, chat).unwrap();
    world.pass(60_000);
    assert_eq!(world.standing(alice, chat), Some(Standing::Left));
    meet(&mut world, &people);
    world.pass(30 * 60_000);
    assert_eq!(world.standing(carol, chat), Some(Standing::Member), "she may still come to it");
    world.pass(60 * 60_000);
    assert_eq!(world.standing(carol, chat), Some(Standing::Removed));
    read_each_other(&mut world, chat, &[bob, dave]);
    assert!(world.texts_in(carol, chat).is_empty());
    // She has a device there that is not with the others any more.
    world.wish_out(bob, chat, carol).unwrap();
    world.pass(10_000);
    world.wish_in(bob, chat, &[carol]).unwrap();
    world.pass(10_000);
    world.accept(carol, chat).unwrap();
    world.pass(60_000);
    assert_eq!(world.epoch_in(carol, chat), world.epoch_in(bob, chat));
    world.say_in(carol, chat, "back").unwrap();
    world.pass(30_000);
    assert!(world.texts_in(dave, chat).contains(&"back".to_owned()));
}
