#![allow(clippy::unwrap_used, reason = "tests")]

use libp2p::{noise, tcp};
use starling_keys::{DeviceKey, Host};
use tokio::{io::AsyncWriteExt, net::TcpListener};

use super::*;
use crate::net::{peer_of, swarm::cause_tests::captive_portal};

/// Somebody with a key of ours, on loopback; the port.
async fn server(key: &DeviceKey) -> u16 {
    let keypair = Keypair::ed25519_from_bytes(*key.seed()).unwrap();
    let mut swarm = SwarmBuilder::with_existing_identity(keypair)
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|_| streams::Behaviour::new(&[], Gate::Open))
        .unwrap()
        .build();
    swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
    let port = loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            break address.to_string().rsplit('/').next().unwrap().parse().unwrap();
        }
    };
    tokio::spawn(async move {
        loop {
            swarm.select_next_some().await;
        }
    });
    port
}

#[tokio::test]
async fn a_server_without_a_certificate_for_its_name_tells_its_key_and_nobody_vouches_for_it() {
    let key = DeviceKey::from_seed(&[9; 32]);
    let place = ServerPlace { host: Host::V4([127, 0, 0, 1].into()), port: server(&key).await };
    let Introduction { address, vouched } = introduce(&place, None).await.unwrap();
    assert!(!vouched && place.is_of(&address));
    assert_eq!(Some(address.peer_id()), peer_of(&key.id()));
}

/// What comes of asking at a port of loopback, by TCP and by TLS.
async fn asked(port: u16) -> ConnectionProblem {
    let addresses = [format!("/ip4/127.0.0.1/tcp/{port}"), format!("/ip4/127.0.0.1/tcp/{port}/wss")];
    let addresses: [Multiaddr; 2] = addresses.map(|address| address.parse().unwrap());
    answer(&addresses, None, || visit::build(None)).await.unwrap_err()
}

#[tokio::test]
async fn what_is_no_server_is_not_asked_in_vain() {
    assert_eq!(asked(captive_portal().await).await, ConnectionProblem::Intercepted);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    assert_eq!(asked(port).await, ConnectionProblem::Refused);
}

#[tokio::test]
async fn who_never_stops_talking_is_left() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move { while stream.write_all(&[0xff; 4096]).await.is_ok() {} });
        }
    });
    asked(port).await;
}

#[tokio::test]
async fn who_is_vouched_for_is_preferred_and_whoever_answers_is_better_than_nobody() {
    let soon = async |answer: Result<u8, u8>| {
        tokio::task::yield_now().await;
        answer
    };
    let now = async |answer: Result<u8, u8>| answer;
    assert_eq!(preferred(soon(Ok(1)), now(Ok(2))).await, Ok((1, true)));
    assert_eq!(preferred(now(Ok(1)), soon(Ok(2))).await, Ok((1, true)));
    assert_eq!(preferred(soon(Err(1)), now(Ok(2))).await, Ok((2, false)));
    assert_eq!(preferred(now(Err(1)), soon(Ok(2))).await, Ok((2, false)));
    assert_eq!(preferred(soon(Ok(1)), now(Err(2))).await, Ok((1, true)));
    assert_eq!(preferred(soon(Err(1)), now(Err(2))).await, Err(2));
}
