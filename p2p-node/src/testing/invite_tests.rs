//! Invites, and what a server sees of them.
#![allow(clippy::unwrap_used, reason = "tests")]

use starling_keys::{Invite, InviteToken};

use super::world::World;
use crate::{api::types::ContactState, engine::ContactCommand};

#[test]
fn a_server_that_sees_an_invite_being_used_cannot_use_it() {
    let mut world = World::new(960);
    let [alice, bob, mallory] = ["alice", "bob", "mallory"].map(|name| world.person(name));
    let (link, _) = world.call(alice, |reply| ContactCommand::Invite { uses: 2, lifetime_ms: 60_000, reply }).unwrap();
    let invite: Invite = link.parse().unwrap();
    drop(world.add(bob, &invite));
    world.settle();
    assert_eq!(world.contact(alice, bob).unwrap().state, ContactState::Active, "the invite works");
    // Mallory runs the server, and has what it was shown.
    let shown = world.appended.iter().map(|append| &append.token).find(|token| !token.is_empty()).unwrap();
    let stolen = InviteToken(shown.as_ref().try_into().unwrap());
    drop(world.add(mallory, &Invite { token: Some(stolen), ..invite }));
    world.pass(5_000);
    let known = world.contact(alice, mallory).map(|contact| contact.state);
    assert_ne!(known, Some(ContactState::Active), "the server has become a contact");
}
