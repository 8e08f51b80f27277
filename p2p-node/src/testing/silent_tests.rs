//! What is shown of peers that are connected and do not answer.

use starling_wire::Availability;

use super::world::{Who, World};
use crate::{api::types::Status, engine::Command, net::NetEvent};

fn status(world: &mut World, who: Who) -> Status {
    world.call(who, Command::Status).unwrap()
}

#[test]
fn a_contact_whose_device_is_frozen_is_shown_as_away_until_it_answers_again() {
    let mut world = World::new(95);
    let (alice, bob) = world.friends();
    world.pass(1_000);
    let device = world.of(bob).device;
    assert_eq!(world.contact(alice, bob).unwrap().availability, Some(Availability::Online));
    assert_eq!(status(&mut world, alice).peers, (1, 0));
    world.tell(alice, NetEvent::DirectSilent(device, true));
    world.settle();
    let contact = world.contact(alice, bob).unwrap();
    // Its session at the rendezvous is still open, and counts as a reader there.
    assert_eq!((contact.availability, contact.relayed), (Some(Availability::Offline), None));
    assert_eq!(status(&mut world, alice).peers, (0, 0));
    world.tell(alice, NetEvent::DirectSilent(device, false));
    world.settle();
    let contact = world.contact(alice, bob).unwrap();
    assert_eq!((contact.availability, contact.relayed), (Some(Availability::Online), Some(false)));
}

#[test]
fn a_rendezvous_that_is_silent_is_not_shown_as_connected() {
    let mut world = World::new(96);
    let (alice, _) = world.friends();
    world.pass(1_000);
    assert!(status(&mut world, alice).homes.iter().all(|home| home.connected && home.registered));
    let home = world.home_id();
    world.tell(alice, NetEvent::HomeSilent(home, true));
    world.settle();
    let homes = world.call(alice, Command::CheckedStatus).unwrap().homes;
    assert!(homes.iter().all(|home| !home.connected && !home.registered), "{homes:?}");
}
