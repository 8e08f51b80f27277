//! Two swarms on loopback: what the state machine decides is carried out.

use std::{collections::HashMap, net::UdpSocket, time::Duration};

use libp2p::Multiaddr;
use starling_keys::{DeviceId, DeviceKey, RendezvousAddr};
use starling_wire::direct::{Ack, DirectFrame};
use tokio::sync::mpsc;

use super::{NetConfig, NetHandle, start};
use crate::net::{NetCommand, NetEvent, Target, WantedHome, peer_of};

const PATIENCE: Duration = Duration::from_secs(30);

async fn swarm(key: &DeviceKey, listen: Multiaddr) -> (NetHandle, mpsc::Receiver<NetEvent>) {
    let (engine, inputs) = mpsc::channel(64);
    let config = NetConfig { listen: vec![listen], mdns: false, proxy: None };
    (start(key, &config, engine).unwrap(), inputs)
}

/// Waits for an event that fits.
async fn wait_for(inputs: &mut mpsc::Receiver<NetEvent>, fits: impl Fn(&NetEvent) -> bool) -> NetEvent {
    let look = async {
        loop {
            let event = inputs.recv().await.expect("the swarm has stopped");
            if fits(&event) {
                return event;
            }
        }
    };
    tokio::time::timeout(PATIENCE, look).await.expect("waited in vain")
}

fn targets(device: DeviceId, addresses: Vec<Multiaddr>) -> NetCommand {
    NetCommand::Targets(HashMap::from([(device, Target { relays: vec![], addresses, ..Target::default() })]))
}

/// Loopback is dialled only beside a home there; nobody answers at this one.
fn home_on_loopback() -> NetCommand {
    let home = peer_of(&DeviceKey::from_seed(&[9; 32]).id()).unwrap();
    let home: RendezvousAddr = format!("/ip4/127.0.0.1/tcp/1/p2p/{home}").parse().unwrap();
    NetCommand::Homes(HashMap::from([(
        home.peer,
        WantedHome { addresses: vec![home], own: true, ..WantedHome::default() },
    )]))
}

#[tokio::test]
async fn two_devices_connect_exchange_frames_and_notice_that_one_has_left() {
    let (alice, bob) = (DeviceKey::from_seed(&[1; 32]), DeviceKey::from_seed(&[2; 32]));
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address: Multiaddr = format!("/ip4/127.0.0.1/udp/{port}/quic-v1").parse().unwrap();
    let (to_alice, mut from_alice) = swarm(&alice, address.clone()).await;
    let (to_bob, mut from_bob) = swarm(&bob, "/ip4/127.0.0.1/udp/0/quic-v1".parse().unwrap()).await;
    for to in [&to_alice, &to_bob] {
        to.send(home_on_loopback());
    }
    to_alice.send(targets(bob.id(), vec![]));
    to_bob.send(targets(alice.id(), vec![address]));
    wait_for(&mut from_bob, |e| matches!(e, NetEvent::DirectUp { relayed: false, .. })).await;
    wait_for(&mut from_alice, |e| matches!(e, NetEvent::DirectUp { relayed: false, .. })).await;
    for (to, from, sender) in [(&to_bob, &mut from_alice, bob.id()), (&to_alice, &mut from_bob, alice.id())] {
        let ack = Ack { group: vec![7; 16].into(), upto: 5, clock: 9 };
        let receiver = if sender == bob.id() { alice.id() } else { bob.id() };
        to.send(NetCommand::Direct(receiver, DirectFrame { acks: vec![ack], ..DirectFrame::default() }));
        let event = wait_for(from, |e| matches!(e, NetEvent::Direct(_, frame) if !frame.acks.is_empty())).await;
        assert!(matches!(event, NetEvent::Direct(device, _) if device == sender));
    }
    to_bob.send(NetCommand::Leave);
    // The end of a stream is noticed by whoever writes to it.
    let write = async {
        loop {
            to_alice.send(NetCommand::Direct(bob.id(), DirectFrame::default()));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        _ = wait_for(&mut from_alice, |e| matches!(e, NetEvent::DirectDown(device) if *device == bob.id())) => {}
        () = write => {}
    }
}

/// A device in a thread of its own, which stands still from a word until the next, and says when it does.
fn device_that_freezes(
    key: DeviceKey,
    peer: DeviceId,
    address: Multiaddr,
) -> (std::sync::mpsc::Sender<()>, mpsc::Receiver<()>) {
    let (word, words) = std::sync::mpsc::channel::<()>();
    let (frozen, freezes) = mpsc::channel(1);
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (to, mut from) = swarm(&key, "/ip4/127.0.0.1/udp/0/quic-v1".parse().unwrap()).await;
            to.send(home_on_loopback());
            to.send(targets(peer, vec![address]));
            loop {
                match words.try_recv() {
                    Ok(()) if frozen.try_send(()).is_err() || words.recv().is_err() => return,
                    Err(std::sync::mpsc::TryRecvError::Disconnected) => return,
                    _ => drop(tokio::time::timeout(Duration::from_millis(10), from.recv()).await),
                }
            }
        });
    };
    std::thread::spawn(run);
    (word, freezes)
}

#[tokio::test]
async fn a_device_that_freezes_is_silent_while_it_is_frozen() {
    let (alice, bob) = (DeviceKey::from_seed(&[3; 32]), DeviceKey::from_seed(&[4; 32]));
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address: Multiaddr = format!("/ip4/127.0.0.1/udp/{port}/quic-v1").parse().unwrap();
    let (to_alice, mut from_alice) = swarm(&alice, address.clone()).await;
    to_alice.send(targets(bob.id(), vec![]));
    let bobs = bob.id();
    let (word, mut freezes) = device_that_freezes(bob, alice.id(), address);
    wait_for(&mut from_alice, |e| matches!(e, NetEvent::DirectUp { .. })).await;
    // Whoever is there answers.
    to_alice.send(NetCommand::Check);
    let event = wait_for(&mut from_alice, |e| matches!(e, NetEvent::Checked | NetEvent::DirectSilent(..))).await;
    assert!(matches!(event, NetEvent::Checked), "{event:?}");
    word.send(()).unwrap();
    freezes.recv().await.unwrap();
    to_alice.send(NetCommand::Check);
    wait_for(&mut from_alice, |e| matches!(e, NetEvent::DirectSilent(device, true) if *device == bobs)).await;
    wait_for(&mut from_alice, |e| matches!(e, NetEvent::Checked)).await;
    word.send(()).unwrap();
    wait_for(&mut from_alice, |e| matches!(e, NetEvent::DirectSilent(device, false) if *device == bobs)).await;
}
