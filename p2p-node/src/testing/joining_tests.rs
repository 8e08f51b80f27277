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

/// Alice's phone recovers her account, and a tablet joins it by the device that she had before: the recovery is begun so many steps before the tablet
/// asks, or when that was let in. Gives whether it was.
fn joins_and_recovers(seed: u64, steps: Option<usize>) -> bool {
    let mut world = World::new(seed);
    let (alice, bob) = world.friends();
    let phone = world.linked(alice);
    world.pass(10_000);
    let early = if steps.is_none() { world.link_within(alice, 1_000) } else { None };
    let bytes = world.signed_recovery(phone).unwrap().as_bytes().to_vec();
    let mut done = world.begin(phone, |reply| AccountCommand::Recover(bytes, reply));
    for _ in 0..steps.unwrap_or_default() {
        world.step();
    }
    let tablet = early.or_else(|| world.link_within(alice, 100));
    world.pass(20_000);
    if done.try_recv().expect("no answer").is_err() {
        recover(&mut world, phone);
    }
    world.pass(60_000);
    let (account, own) = (world.of(phone).account, world.of(phone).device);
    assert_eq!(set_name(&mut world, phone), Ok(()), "{seed}");
    for who in [phone, bob] {
        assert_eq!(world.listed(who, account), [own], "{seed}: as {who} sees it");
    }
    let out = [alice].into_iter().chain(tablet);
    for who in out.clone() {
        assert_eq!(set_name(&mut world, who), Err(NotAllowed::Superseded.into()), "{seed}: {who}");
    }
    world.say(phone, bob, "it is me");
    world.say(bob, phone, "good");
    world.pass(60_000);
    assert_eq!(world.seen(bob, phone), ["alice: it is me", "bob: good [Delivered]"], "{seed}");
    for who in out {
        assert!(world.messages(who, bob).is_empty(), "{seed}: {who} reads on");
    }
    tablet.is_some()
}

#[test]
fn a_device_joins_while_its_account_is_recovered() {
    let early = (0..3).filter(|n| joins_and_recovers(1_700 + n, None)).count();
    assert_eq!(early, 3, "it was let in before");
    for steps in (0..40).step_by(5) {
        joins_and_recovers(1_710 + steps as u64, Some(steps));
    }
}
