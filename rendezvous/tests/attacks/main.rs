//! Attacks on a running server, over its sockets: what one address or many strangers do, and what others can do meanwhile.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod client;
mod disk;

use std::net::{Ipv4Addr, SocketAddr};

use client::{Client, PATIENCE, Running};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use starling_wire::rendezvous::{Refusal, RequestBody, ResponseBody};
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
    // Both ends are here.
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
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
    let ask = || RequestBody::LookUp(vec![0; 32].into());
    let mut strangers = Vec::new();
    for _ in 0..32 {
        strangers.push(Client::connect(&server).await.unwrap());
    }
    let mut held = Vec::new();
    for mut stranger in strangers {
        if stranger.ask(ask()).await.is_some() {
            held.push(stranger);
        }
    }
    assert_eq!(held.len(), 4);
    // Who registers is no stranger any more, and makes room for another.
    assert_eq!(held[0].register().await, Some(ResponseBody::Done(true)));
    held.push(Client::connect(&server).await.unwrap());
    for client in &mut held {
        assert!(client.ask(ask()).await.is_some());
    }
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

fn is_refused(answer: &Option<ResponseBody>, why: Refusal) -> bool {
    matches!(answer, Some(ResponseBody::Refused(refused)) if refused.reason() == why)
}

#[tokio::test]
async fn fresh_keys_do_not_get_fresh_limits() {
    let server = Running::start(|config| {
        config.limits.requests_per_second = 1;
        config.limits.request_burst = 40;
    })
    .await;
    let mut admitted = 0;
    let ask = || RequestBody::LookUp(vec![0; 32].into());
    for _ in 0..10 {
        let mut client = Client::connect(&server).await.unwrap();
        for _ in 0..10 {
            admitted += usize::from(is_refused(&client.ask(ask()).await, Refusal::NotFound));
        }
    }
    assert!((40..80).contains(&admitted), "{admitted} of 100");
    // Who has an account has a limit of its own.
    let server = Running::start(|config| config.limits.request_burst = 40).await;
    let mut member = Client::connect(&server).await.unwrap();
    assert_eq!(member.register().await, Some(ResponseBody::Done(true)));
    let mut stranger = Client::connect(&server).await.unwrap();
    while !is_refused(&stranger.ask(ask()).await, Refusal::RateLimited) {}
    assert!(is_refused(&member.ask(ask()).await, Refusal::NotFound));
}

#[tokio::test]
async fn a_device_begins_few_sessions_on_one_connection() {
    let server = Running::start(|_| {}).await;
    let client = Client::connect(&server).await.unwrap();
    let mut greeted = 0;
    while greeted < 500 && client.is_greeted_again().await {
        greeted += 1;
    }
    assert!((20..500).contains(&greeted), "{greeted}");
    // Who connects again counts as a connection.
    Client::connect(&server).await.unwrap();
}

#[tokio::test]
async fn one_address_registers_a_few_accounts_an_hour() {
    let server = Running::start(|config| config.registration.per_address_per_hour = 3).await;
    for n in 0..5 {
        let mut client = Client::connect(&server).await.unwrap();
        // As clients do: the first time says what has to be done.
        assert!(is_refused(&client.publish(false).await, Refusal::Denied));
        let answer = client.register().await;
        assert_eq!(answer == Some(ResponseBody::Done(true)), n < 3, "{n}: {answer:?}");
    }
}

#[tokio::test]
async fn strangers_hold_few_reservations_and_no_short_codes() {
    let server = Running::start(|config| {
        config.relay.reservations = 32;
        config.limits.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    })
    .await;
    let mut strangers = Vec::new();
    for n in 0..3 {
        strangers.push(Client::connect(&server).await.unwrap());
        assert_eq!(strangers[n].reserve().await, n < 2, "{n}");
    }
    assert!(is_refused(&strangers[2].ask(RequestBody::CodeOpen(true)).await, Refusal::NotRegistered));
    assert_eq!(strangers[2].register().await, Some(ResponseBody::Done(true)));
    assert!(strangers[2].reserve().await);
    assert!(matches!(strangers[2].ask(RequestBody::CodeOpen(true)).await, Some(ResponseBody::CodePlace(_))));
}
