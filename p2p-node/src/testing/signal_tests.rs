//! Presence signals, and what a member of a conversation may make of the key that seals them for all.
#![allow(clippy::unwrap_used, reason = "tests")]

use libp2p::Multiaddr;
use starling_keys::DeviceId;
use starling_wire::{
    Availability, LogVerb, SIGNAL_DOMAIN, Signal, SignedSignal,
    rendezvous::{LogRequest, RequestBody},
};

use super::world::{Who, World};
use crate::{api::types::Audience, engine::AccountCommand, home::Pending, presence::limits::MAX_DEVICE_ADDRESSES};

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
        let home = engine.conversations.groups.home_of(group).unwrap();
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

/// Who relays them sees when they are sent, and nothing else.
#[test]
fn signals_that_pass_a_server_are_of_one_size() {
    let mut world = World::new(959);
    let (alice, bob) = world.friends();
    world.direct = false;
    world.pass(5_000);
    world.asked = Some(Vec::new());
    let chat = world.chat(alice, bob);
    let set = |world: &mut World, last_seen| {
        world.modified(alice, |engine, _| engine.account.settings.last_seen = last_seen);
    };
    for last_seen in [Audience::Contacts, Audience::Nobody] {
        set(&mut world, last_seen.stored());
        for (typing, ask) in [(true, false), (false, false), (false, true)] {
            world.modified(alice, |engine, turn| {
                let (presence, mut views) = engine.presenting();
                match typing {
                    true => presence.tell_typing(turn, &mut views, chat, true),
                    false => presence.tell_presence(turn, &mut views, chat, ask),
                }
            });
        }
        let addresses: Vec<Multiaddr> =
            (0..MAX_DEVICE_ADDRESSES).map(|n| Multiaddr::try_from(address(n)).unwrap()).collect();
        world.modified(alice, |engine, turn| {
            let (presence, mut views) = engine.presenting();
            presence.set_addresses(turn, &mut views, (addresses, true));
        });
        world.pass(2_000);
    }
    let asked = world.asked.take().unwrap().into_iter();
    let sizes: Vec<usize> = asked
        .filter_map(|request| match request.body? {
            RequestBody::LogSignal(signal) => Some(signal.entries[0].len()),
            _ => None,
        })
        .collect();
    assert!(sizes.len() >= 5 && sizes.iter().all(|size| *size == sizes[0]), "{sizes:?}");
}

/// How many others one is told to read the log of the conversation with another.
fn readers(world: &mut World, who: Who, other: Who) -> u32 {
    let chat = world.chat(who, other);
    let mut others = None;
    world.modified(who, |engine, _| {
        let group = engine.active_group(chat).unwrap();
        others = engine.conversations.groups.get(&group).map(|entry| entry.read.others);
    });
    others.unwrap()
}

#[test]
fn who_hides_presence_is_told_by_no_count_and_no_signal() {
    let mut world = World::new(958);
    let (alice, bob) = world.friends();
    world.direct = false;
    world.cut(alice, bob);
    world.pass(120_000);
    assert_eq!((readers(&mut world, alice, bob), readers(&mut world, bob, alice)), (1, 1));
    let hide = |world: &mut World, audience: Audience| {
        let last_seen = Some(audience.stored());
        let set = |reply| AccountCommand::SetPrivacy { last_seen, receipts: None, typing: None, reply };
        world.call(bob, set).unwrap();
        world.pass(5_000);
    };
    hide(&mut world, Audience::Nobody);
    assert_eq!((readers(&mut world, alice, bob), readers(&mut world, bob, alice)), (0, 1));
    world.asked = Some(Vec::new());
    world.kill(bob);
    world.start(bob);
    world.pass(5_000);
    // Others come, who want to know who is there.
    world.kill(alice);
    world.start(alice);
    world.pass(5_000);
    world.say(alice, bob, "are you there?");
    world.pass(5_000);
    assert_eq!(readers(&mut world, alice, bob), 0);
    assert_eq!(world.seen(bob, alice), ["alice: are you there?"]);
    let device = world.of(bob).device;
    let tag = device.tag();
    let asked = world.asked.take().unwrap();
    let signals = asked.iter().filter_map(|request| match request.body.as_ref()? {
        RequestBody::LogSignal(signal) => Some(signal.entries[0].clone()),
        _ => None,
    });
    let signals: Vec<_> = signals.collect();
    let mut opened = Vec::new();
    let chat = world.chat(alice, bob);
    world.modified(alice, |engine, _| {
        let group = engine.active_group(chat).unwrap();
        let keys = engine.conversations.groups.get(&group).unwrap().current_keys().unwrap();
        opened.extend(signals.iter().filter_map(|sealed| keys.open_signal(sealed)).map(|(tag, _)| tag));
    });
    assert!(!opened.contains(&tag), "signals of who hides");
    hide(&mut world, Audience::Contacts);
    assert_eq!(readers(&mut world, alice, bob), 1);
}
