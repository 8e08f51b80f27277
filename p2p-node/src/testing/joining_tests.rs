//! A device joins its account while another one recovers it with the phrase: whichever comes first, all agree on who belongs to it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use super::world::{Who, World};
use crate::{
    api::error::{NodeError, NotAllowed},
    engine::AccountCommand,
};

/// Recovers the account on a device as its user would, who tries again if somebody else has changed the account's devices meanwhile.
fn recover(world: &mut World, who: Who) {
    for _ in 0..3 {
        let bytes = world.signed_recovery(who).unwrap().as_bytes().to_vec();
        let mut done = world.begin(who, |reply| AccountCommand::Recover(bytes, reply));
        world.pass(20_000);
        if done.try_recv().expect("no answer").is_ok() {
            return;
        }
    }
    panic!("it does not recover");
}

fn set_name(world: &mut World, who: Who) -> Result<(), NodeError> {
    world.call(who, |reply| AccountCommand::SetName("other".into(), reply))
}

#[test]
fn a_device_joins_while_its_account_is_recovered() {
    let (mut first, mut later) = (0, 0);
    for steps in (0..40).step_by(3) {
        let mut world = World::new(1_700 + steps);
        let (alice, bob) = world.friends();
        let phone = world.linked(alice);
        world.pass(10_000);
        // The recovery is on its way while the tablet asks.
        let bytes = world.signed_recovery(phone).unwrap().as_bytes().to_vec();
        let mut done = world.begin(phone, |reply| AccountCommand::Recover(bytes, reply));
        for _ in 0..steps {
            world.step();
        }
        let tablet = world.link_within(alice, 100);
        world.pass(20_000);
        if done.try_recv().expect("no answer").is_err() {
            recover(&mut world, phone);
        }
        world.pass(60_000);
        match tablet {
            Some(_) => first += 1,
            None => later += 1,
        }
        let (account, own) = (world.of(phone).account, world.of(phone).device);
        assert_eq!(set_name(&mut world, phone), Ok(()), "{steps}");
        for who in [phone, bob] {
            assert_eq!(world.listed(who, account), [own], "{steps}: as {who} sees it");
        }
        for who in [alice].into_iter().chain(tablet) {
            assert_eq!(set_name(&mut world, who), Err(NotAllowed::Superseded.into()), "{steps}: {who}");
        }
        world.say(phone, bob, "it is me");
        world.say(bob, phone, "good");
        world.pass(60_000);
        assert_eq!(world.seen(bob, phone), ["alice: it is me", "bob: good [Delivered]"], "{steps}");
        for who in [alice].into_iter().chain(tablet) {
            assert!(world.messages(who, bob).is_empty(), "{steps}: {who} reads on");
        }
    }
    assert!(first > 0 && later > 0, "{first} joined first, {later} did not");
}
