//! STUN and TURN on the ports of QUIC of a real server.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Instant;

use futures::FutureExt;
use libp2p::{SwarmBuilder, identity::Keypair, multiaddr::Protocol, swarm::dummy};
use rtc::turn::client::Event;
use tokio::{net::UdpSocket, time::timeout};
use tokio_util::task::AbortOnDropHandle;

use super::*;
use crate::services::relay::turn::user_tests::User;

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A device that has connected over QUIC.
async fn connected(address: &Multiaddr) -> Swarm<dummy::Behaviour> {
    let mut swarm = SwarmBuilder::with_existing_identity(Keypair::ed25519_from_bytes([5; 32]).unwrap())
        .with_tokio()
        .with_quic()
        .with_behaviour(|_| dummy::Behaviour)
        .unwrap()
        .with_swarm_config(|config| config.with_idle_connection_timeout(PATIENCE))
        .build();
    swarm.dial(address.clone()).unwrap();
    loop {
        match timeout(PATIENCE, swarm.select_next_some()).await.unwrap() {
            SwarmEvent::ConnectionEstablished { .. } => return swarm,
            SwarmEvent::OutgoingConnectionError { error, .. } => unreachable!("{error}"),
            _ => {}
        }
    }
}

async fn stun_answers(at: SocketAddr) {
    let from = UdpSocket::bind(SocketAddr::new(at.ip(), 0)).await.unwrap();
    // A binding request, as short as it can be.
    let request = [[0x00, 0x01, 0x00, 0x00], [0x21, 0x12, 0xa4, 0x42], [1; 4], [2; 4], [3; 4]].concat();
    from.send_to(&request, at).await.unwrap();
    let mut buffer = [0; 256];
    let (length, by) = timeout(PATIENCE, from.recv_from(&mut buffer)).await.unwrap().unwrap();
    assert_eq!((by, &buffer[..2]), (at, &[0x01, 0x01][..]));
    assert!(length > 20);
}

async fn data(user: &mut User) -> (SocketAddr, Vec<u8>) {
    let Event::DataIndicationOrChannelData(_, from, data) = user.event().await else { unreachable!("no data") };
    (from, data.to_vec())
}

/// Somebody at a port of QUIC, and somebody at the port of TURN.
async fn talk(secret: &[u8], (at, beside): (SocketAddr, SocketAddr)) {
    let mut one = User::new(secret, "anna", at).await;
    let mut other = User::new(secret, "berta", beside).await;
    let mut relayed = Vec::new();
    for user in [&mut one, &mut other] {
        user.client.allocate(Instant::now()).unwrap();
        let Event::AllocateResponse(_, address) = user.event().await else { unreachable!("not allocated") };
        relayed.push(address);
    }
    let (ours, theirs) = (relayed[0], relayed[1]);
    for (user, own, peer) in [(&mut one, ours, theirs), (&mut other, theirs, ours)] {
        user.client.relay(own).unwrap().create_permission(Instant::now(), peer).unwrap();
        assert!(matches!(user.event().await, Event::CreatePermissionResponse(..)));
    }
    // The first goes in a Send indication, and a channel is bound; the later ones go through it.
    for _ in 0..3 {
        one.client.relay(ours).unwrap().send_to(Instant::now(), b"there", theirs).unwrap();
        one.flush().await;
        assert_eq!(data(&mut other).await, (ours, b"there".to_vec()));
        other.client.relay(theirs).unwrap().send_to(Instant::now(), b"back", ours).unwrap();
        other.flush().await;
        assert_eq!(data(&mut one).await, (theirs, b"back".to_vec()));
    }
    assert!(one.sent_in_channels > 0);
}

#[tokio::test]
async fn quic_stun_and_turn_live_on_one_port() {
    let dir = tempfile::tempdir().unwrap();
    let listen = ["/ip4/127.0.0.1/udp/0/quic-v1", "/ip6/::1/udp/0/quic-v1"].map(|address| address.parse().unwrap());
    let config = Config {
        data_dir: dir.path().join("data"),
        listen: listen.into(),
        http: ([127, 0, 0, 1], 0).into(),
        ..Config::default()
    };
    let (_stop, stopped) = watch::channel(false);
    let server = Server::start(&config, stopped).await.unwrap();
    let addresses = server.ready().addresses.clone();
    let turn = server.services.turn.get().unwrap();
    let (secret, asked_at, other_port) = (turn.secret, turn.addresses.clone(), turn.other_port);
    let _serving = AbortOnDropHandle::new(tokio::spawn(server.run()));
    let mut ports = Vec::new();
    for address in &addresses {
        let port = address.iter().find_map(|part| if let Protocol::Udp(port) = part { Some(port) } else { None });
        let at = SocketAddr::new(address.ip_addr().unwrap(), port.unwrap());
        let beside = asked_at.iter().find(|other| other.ip() == at.ip()).unwrap();
        let mut before = connected(address).await;
        stun_answers(at).await;
        talk(&secret, (at, *beside)).await;
        connected(address).await;
        while let Some(event) = before.next().now_or_never().flatten() {
            assert!(!matches!(event, SwarmEvent::ConnectionClosed { .. }), "{event:?}");
        }
        ports.push(at.port());
    }
    assert_eq!((ports.len(), other_port), (2, ports.first().copied()));
}
