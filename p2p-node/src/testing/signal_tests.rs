//! Presence signals, and what a member of a conversation may make of the key that seals them for all.
#![allow(clippy::unwrap_used, reason = "tests")]

use libp2p::Multiaddr;
use starling_keys::DeviceId;
use starling_wire::{Availability, LogVerb, SIGNAL_DOMAIN, Signal, SignedSignal, rendezvous::LogRequest};

use super::world::{Who, World};
use crate::{home::Pending, limits::MAX_DEVICE_ADDRESSES};

/// How a signal is signed.
#[derive(Clone, Copy)]
enum Signature {
    /// As versions did that did not sign.
    None,
    /// By the device that sends it.
    Sender,
}

fn address(n: usize) -> Vec<u8> {
    let address: Multiaddr = format!("/ip4/93.184.216.34/udp/{}/quic-v1", 4000 + n).parse().unwrap();
    address.to_vec()
}

/// `from` sends a signal past the log of its conversation with `to`, in the name of `poses`.
fn send(world: &mut World, from: Who, to: Who, poses: DeviceId, signature: Signature, addresses: Vec<Vec<u8>>) {
    let chat = world.chat(from, to);
    world.modified(from, |engine, turn| {
        let group = engine.active_group(chat).unwrap();
        let keys = engine.conversations.groups.get(&group).unwrap().current_keys().unwrap();
        let sent_ms = turn.agreed_ms() + 1_000;
        let availability = Some(Availability::Online);
        let signal = Signal { sent_ms, typing: true, availability, addresses, ask: false, lan_key: None };
        let key = &engine.account.identity.device_key;
        let plain = match signature {
            Signature::None => signal.encode(),
            Signature::Sender => {
                SignedSignal::encode(&signal, &keys.address, |message| key.sign(SIGNAL_DOMAIN, message))
            }
        };
        let sealed = keys.seal_signal(&poses.tag(), &plain);
        let home = engine.conversations.home_of(group).unwrap();
        let request = LogRequest { entries: vec![sealed.into()], ..LogRequest::default() };
        assert!(engine.homes.request_log(turn, home, &keys, LogVerb::Signal, request, Pending::Nothing));
    });
}

/// Where `who` would dial another device of its account.
fn addresses_of_own(world: &mut World, who: Who, device: DeviceId) -> Vec<Vec<u8>> {
    let mut known = Vec::new();
    world.modified(who, |engine, _| {
        let addresses = engine.account.own_devices.addresses.get(&device);
        known = addresses.into_iter().flatten().map(Multiaddr::to_vec).collect();
    });
    known
}

#[test]
fn a_contact_cannot_pose_as_another_device_of_ours() {
    let mut world = World::new(950);
    let (alice, bob) = world.friends();
    let laptop = world.linked(alice);
    world.pass(10_000);
    world.direct = false;
    world.pass(10_000);
    let posed = world.of(laptop).device;
    for signature in [Signature::None, Signature::Sender] {
        send(&mut world, bob, alice, posed, signature, vec![address(1)]);
        assert!(addresses_of_own(&mut world, alice, posed).is_empty(), "a contact has us dial where it likes");
    }
    // The device itself may.
    send(&mut world, laptop, bob, posed, Signature::Sender, vec![address(2)]);
    assert_eq!(addresses_of_own(&mut world, alice, posed), [address(2)]);
}

#[test]
fn a_device_has_us_dial_few_addresses_and_none_by_name() {
    let mut world = World::new(951);
    let (alice, bob) = world.friends();
    let laptop = world.linked(alice);
    world.pass(10_000);
    world.direct = false;
    world.pass(10_000);
    let device = world.of(laptop).device;
    let name: Multiaddr = "/dns4/intranet.example/tcp/8080".parse().unwrap();
    let many = std::iter::once(name.to_vec()).chain((0..15).map(address)).collect();
    send(&mut world, laptop, bob, device, Signature::Sender, many);
    let known = addresses_of_own(&mut world, alice, device);
    assert_eq!(known, (0..MAX_DEVICE_ADDRESSES).map(address).collect::<Vec<_>>());
}
