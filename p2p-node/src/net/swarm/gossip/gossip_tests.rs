//! gossipsub on loopback: what members pass on to one another, and what others do not get.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::{
    collections::{BTreeSet, HashMap},
    net::UdpSocket,
    time::{Duration, Instant},
};

use bytes::Bytes;
use libp2p::{
    Multiaddr, PeerId,
    core::ConnectedPoint,
    swarm::{ConnectionClosed, ConnectionId, FromSwarm, NetworkBehaviour, ToSwarm, behaviour::ConnectionEstablished},
};
use starling_keys::{DeviceId, DeviceKey, RendezvousAddr};
use starling_wire::{GossipKey, TopicId};
use tokio::sync::mpsc;

use super::{Event, Gossip, RESTS_AFTER, Word};
use crate::net::{
    NetCommand, NetConfig, NetEvent, NetHandle, Target, WantedHome, gossip::Topic, peer_of, swarm::start,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// A device with its swarm.
struct Device {
    id: DeviceId,
    address: Multiaddr,
    to: NetHandle,
    from: mpsc::Receiver<NetEvent>,
}

impl Device {
    fn new(seed: u8) -> Self {
        let key = DeviceKey::from_seed(&[seed; 32]);
        let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address: Multiaddr = format!("/ip4/127.0.0.1/udp/{port}/quic-v1").parse().unwrap();
        let (engine, from) = mpsc::channel(64);
        let config = NetConfig { listen: vec![address.clone()], mdns: false, proxy: None };
        let to = start(&key, &config, engine).unwrap();
        // Loopback is dialled only beside a home there; nobody answers at this one.
        let home = peer_of(&DeviceKey::from_seed(&[9; 32]).id()).unwrap();
        let home: RendezvousAddr = format!("/ip4/127.0.0.1/tcp/1/p2p/{home}").parse().unwrap();
        let wanted = WantedHome { addresses: vec![home.clone()], own: true, ..WantedHome::default() };
        to.send(NetCommand::Homes(HashMap::from([(home.peer, wanted)])));
        Self { id: key.id(), address, to, from }
    }

    /// Connects with others, with whom there is nothing but gossip.
    fn knows(&self, others: &[&Device]) {
        let target = |other: &&Device| {
            let addresses = vec![other.address.clone()];
            (other.id, Target { addresses, groups: BTreeSet::from([[1; 16]]), gossip_only: true, ..Target::default() })
        };
        self.to.send(NetCommand::Targets(others.iter().map(target).collect()));
    }

    fn joins(&self, key: &GossipKey, members: &[&Device]) {
        let members = members.iter().map(|member| member.id).filter(|id| *id != self.id).collect();
        let topic = Some(Topic { key: key.clone(), members });
        self.to.send(NetCommand::Topic(key.topic(), topic));
    }

    async fn wait_for(&mut self, fits: impl Fn(&NetEvent) -> bool) -> NetEvent {
        let look = async {
            loop {
                let event = self.from.recv().await.expect("the swarm has stopped");
                if fits(&event) {
                    return event;
                }
            }
        };
        tokio::time::timeout(PATIENCE, look).await.expect("waited in vain")
    }

    async fn hears(&mut self, on: TopicId, text: &[u8]) {
        let is_it = |e: &NetEvent| matches!(e, NetEvent::Gossip { topic, entry, .. } if *topic == on && entry == text);
        self.wait_for(is_it).await;
    }

    async fn meets(&mut self, on: TopicId) {
        let is_it = |e: &NetEvent| matches!(e, NetEvent::GossipPeer(topic) if *topic == on);
        self.wait_for(is_it).await;
    }

    fn says(&self, key: &GossipKey, text: &[u8]) {
        self.to.send(NetCommand::Publish(key.topic(), key.seal(text).unwrap()));
    }
}

#[tokio::test]
async fn what_one_writes_goes_over_members_to_those_it_is_not_connected_with() {
    let (mut alice, mut bob, mut carol) = (Device::new(11), Device::new(12), Device::new(13));
    let key = GossipKey::from_secret(&[1; 32]);
    alice.knows(&[&bob]);
    bob.knows(&[&alice, &carol]);
    carol.knows(&[&bob]);
    for device in [&alice, &bob, &carol] {
        device.joins(&key, &[&alice, &bob, &carol]);
    }
    let topic = key.topic();
    alice.meets(topic).await;
    carol.meets(topic).await;
    // The first may be written before the mesh is there: then it is heard of within a second.
    alice.says(&key, b"one");
    bob.hears(topic, b"one").await;
    carol.hears(topic, b"one").await;
    carol.says(&key, b"two");
    alice.hears(topic, b"two").await;
}

#[tokio::test]
async fn a_device_that_is_no_member_neither_hears_nor_is_heard() {
    let (mut alice, mut bob, mut eve) = (Device::new(14), Device::new(15), Device::new(16));
    let (key, other) = (GossipKey::from_secret(&[1; 32]), GossipKey::from_secret(&[2; 32]));
    alice.knows(&[&bob, &eve]);
    bob.knows(&[&alice]);
    eve.knows(&[&alice]);
    for device in [&alice, &bob] {
        device.joins(&key, &[&alice, &bob]);
    }
    // Eve shares another topic with alice, and has overheard the first.
    for device in [&alice, &eve] {
        device.joins(&other, &[&alice, &eve]);
    }
    alice.meets(other.topic()).await;
    bob.meets(key.topic()).await;
    eve.joins(&key, &[&alice, &bob, &eve]);
    bob.says(&key, b"before");
    alice.hears(key.topic(), b"before").await;
    eve.says(&key, b"hi");
    // That it goes nowhere is seen by time alone: two heartbeats, at which neighbours are also offered what they lack.
    tokio::time::sleep(Duration::from_secs(2)).await;
    bob.says(&key, b"after");
    alice.hears(key.topic(), b"after").await;
    // Nothing of it has come to her.
    while let Ok(event) = eve.from.try_recv() {
        assert!(!matches!(event, NetEvent::Gossip { .. }), "{event:?}");
    }
    let bytes: Bytes = key.seal(b"hi").unwrap();
    assert!(key.open(&bytes).is_ok(), "she could make envelopes of it");
    while let Ok(event) = bob.from.try_recv() {
        assert!(!matches!(event, NetEvent::Gossip { .. }), "{event:?}");
    }
}

#[tokio::test]
async fn who_hears_of_a_topic_later_is_met_all_the_same() {
    let (mut alice, mut bob) = (Device::new(17), Device::new(18));
    let key = GossipKey::from_secret(&[3; 32]);
    alice.knows(&[&bob]);
    bob.knows(&[&alice]);
    alice.joins(&key, &[&alice, &bob]);
    // They are connected for a time before bob knows of the topic: what alice has opened waits. Nothing of that is told to those who use the swarm.
    tokio::time::sleep(Duration::from_secs(2)).await;
    bob.joins(&key, &[&alice, &bob]);
    let topic = key.topic();
    alice.meets(topic).await;
    bob.meets(topic).await;
    bob.says(&key, b"here");
    alice.hears(topic, b"here").await;
    // And no longer once it is left.
    alice.to.send(NetCommand::Topic(topic, None));
    bob.says(&key, b"gone");
    // That nothing comes is seen by time alone: a heartbeat.
    tokio::time::sleep(Duration::from_secs(1)).await;
    while let Ok(event) = alice.from.try_recv() {
        assert!(!matches!(event, NetEvent::Gossip { .. }), "{event:?}");
    }
}

fn connect(gossip: &mut Gossip, id: usize, peer_id: PeerId) {
    let endpoint = ConnectedPoint::Listener { local_addr: Multiaddr::empty(), send_back_addr: Multiaddr::empty() };
    gossip.on_swarm_event(FromSwarm::ConnectionEstablished(ConnectionEstablished {
        peer_id,
        connection_id: ConnectionId::new_unchecked(id),
        endpoint: &endpoint,
        failed_addresses: &[],
        other_established: 0,
    }));
}

#[test]
fn who_subscribes_again_and_again_is_met_once() {
    let (key, member) = (GossipKey::from_secret(&[5; 32]), DeviceKey::from_seed(&[21; 32]).id());
    let topic = Topic { key: key.clone(), members: BTreeSet::from([member]) };
    let peer = peer_of(&member).unwrap();
    let mut gossip = Gossip::new().unwrap();
    gossip.set(key.topic(), Some(topic.clone()));
    connect(&mut gossip, 1, peer);
    let met = (0..100).filter(|_| gossip.on_subscribed(peer, key.topic())).count();
    assert_eq!(met, 1);
    // The engine has not heard of it since the topic was left.
    gossip.set(key.topic(), None);
    gossip.set(key.topic(), Some(topic));
    assert!(gossip.on_subscribed(peer, key.topic()));
}

/// What was sent on a connection that had died unnoticed was lost where another had taken its place before it was closed.
#[test]
fn a_member_is_met_again_where_one_of_several_connections_to_it_ends() {
    let (key, member) = (GossipKey::from_secret(&[6; 32]), DeviceKey::from_seed(&[22; 32]).id());
    let peer_id = peer_of(&member).unwrap();
    let mut gossip = Gossip::new().unwrap();
    gossip.set(key.topic(), Some(Topic { key: key.clone(), members: BTreeSet::from([member]) }));
    connect(&mut gossip, 1, peer_id);
    assert!(gossip.on_subscribed(peer_id, key.topic()));
    connect(&mut gossip, 2, peer_id);
    let endpoint = ConnectedPoint::Listener { local_addr: Multiaddr::empty(), send_back_addr: Multiaddr::empty() };
    let mut met_as_ends = |id, remaining_established| {
        gossip.actions.clear();
        gossip.on_swarm_event(FromSwarm::ConnectionClosed(ConnectionClosed {
            peer_id,
            connection_id: ConnectionId::new_unchecked(id),
            endpoint: &endpoint,
            cause: None,
            remaining_established,
        }));
        let is_met = |action: &ToSwarm<Event, Word>| matches!(action, ToSwarm::GenerateEvent(Event::Peer(topic)) if *topic == key.topic());
        let looks = |action: &ToSwarm<Event, Word>| matches!(action, ToSwarm::NotifyHandler { event: Word::Look, .. });
        (gossip.actions.iter().any(is_met), gossip.actions.iter().filter(|action| looks(action)).count())
    };
    assert_eq!(met_as_ends(1, 1), (true, 1), "what waits goes over the other");
    assert_eq!(met_as_ends(2, 0), (false, 0), "it has gone");
}

#[test]
fn the_heartbeat_stands_still_without_neighbours_and_at_rest() {
    let (key, member) = (GossipKey::from_secret(&[4; 32]), DeviceKey::from_seed(&[19; 32]).id());
    let mut gossip = Gossip::new().unwrap();
    gossip.set(key.topic(), Some(Topic { key: key.clone(), members: BTreeSet::from([member]) }));
    assert!(!gossip.is_busy(Instant::now()), "nobody is there");
    connect(&mut gossip, 1, peer_of(&DeviceKey::from_seed(&[20; 32]).id()).unwrap());
    assert!(!gossip.is_busy(Instant::now()), "somebody who is no member");
    connect(&mut gossip, 2, peer_of(&member).unwrap());
    assert!(gossip.is_busy(Instant::now()));
    assert!(!gossip.is_busy(Instant::now() + RESTS_AFTER));
    gossip.set(key.topic(), None);
    assert!(!gossip.is_busy(Instant::now()), "the topic was left");
}
