//! Attacks on a running server, over its sockets: what one address or many strangers do, and what others can do meanwhile.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod client;

use std::net::{Ipv4Addr, SocketAddr};

use client::{Client, PATIENCE, Running};
use libp2p::swarm::DialError;
use starling_wire::rendezvous::{RequestBody, ResponseBody};
use tokio::{
    io::AsyncReadExt,
    net::{TcpSocket, TcpStream},
    time::{Instant, timeout},
};

/// A connection from one of the addresses of this machine that says nothing.
async fn silent(server: &Running, from: Ipv4Addr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    timeout(PATIENCE, socket.connect(server.socket())).await.unwrap().unwrap()
}

#[tokio::test]
async fn silent_connections_lock_nobody_out() {
    let server = Running::start(|config| config.limits.connections_per_minute = 100_000).await;
    let mut held = Vec::new();
    for n in 0..2_100 {
        held.push(silent(&server, Ipv4Addr::new(127, 1, 1, (n % 250) as u8 + 1)).await);
    }
    let mut client = Client::connect(&server).await.unwrap();
    assert_eq!(client.register().await, Some(ResponseBody::Done(true)));
}

#[tokio::test]
async fn a_silent_handshake_ends_soon() {
    let server = Running::start(|_| {}).await;
    let mut stream = silent(&server, Ipv4Addr::LOCALHOST).await;
    let start = Instant::now();
    let mut all = Vec::new();
    // The server says first that it speaks multistream, then gives up.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut all)).await.unwrap();
    assert!(start.elapsed().as_secs() < 8, "{:?}", start.elapsed());
}

#[tokio::test]
async fn one_address_does_not_hold_all_connections() {
    let server = Running::start(|config| config.limits.connections_per_address = 32).await;
    let mut held = Vec::new();
    let refused = loop {
        match Client::connect(&server).await {
            Ok(client) => held.push(client),
            Err(error) => break error,
        }
        assert!(held.len() < 32, "strangers are not limited");
    };
    assert!(matches!(refused, DialError::Transport(_) | DialError::Aborted), "{refused}");
    assert_eq!(held.len(), 4);
    // Who registers is no stranger any more, and makes room for another.
    assert_eq!(held[0].register().await, Some(ResponseBody::Done(true)));
    Client::connect(&server).await.unwrap();
}

#[tokio::test]
async fn a_newcomer_displaces_a_stranger_and_no_member() {
    let server = Running::start(|config| {
        config.limits.connections = 8;
        config.limits.connections_per_address = 512;
    })
    .await;
    let mut member = Client::connect(&server).await.unwrap();
    assert_eq!(member.register().await, Some(ResponseBody::Done(true)));
    let mut strangers = Vec::new();
    for _ in 0..12 {
        strangers.push(Client::connect(&server).await.unwrap());
    }
    let alive = |answer: Option<ResponseBody>| answer.is_some();
    assert!(!alive(strangers[0].ask(RequestBody::LogLeave(vec![0; 32].into())).await));
    assert!(alive(strangers[11].ask(RequestBody::LogLeave(vec![0; 32].into())).await));
    assert!(alive(member.ask(RequestBody::GetSnapshot(true)).await));
}
