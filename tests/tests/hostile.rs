//! Peers that do not keep to the rules: they are bounded and refused, and the honest go on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::time::Duration;

use bytes::Bytes;
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::{Multiaddr, PeerId, Swarm, SwarmBuilder, identity::Keypair, multiaddr::Protocol, swarm::SwarmEvent};
use starling_keys::{
    AccountKey, DeviceChain, DeviceKey, RecoveryPhrase,
    chain::{Joining, SignWith},
};
use starling_tests::{PATIENCE, World};
use starling_wire::{
    RENDEZVOUS_PROTOCOL,
    rendezvous::{
        KeyPackages, LogRequest, Publish, Refusal, Request, RequestBody, Response, ResponseBody, ServerHello,
    },
    streams::{self, FrameReader, FrameWriter, Gate},
};

type Stream = libp2p::Stream;

/// A client that can be made to misbehave.
struct Client {
    stream: Stream,
    hello: ServerHello,
    _driver: tokio::task::JoinSet<()>,
}

fn swarm(key: Keypair) -> Swarm<streams::Behaviour> {
    SwarmBuilder::with_existing_identity(key)
        .with_tokio()
        .with_quic()
        .with_behaviour(|_| streams::Behaviour::new(&[], Gate::Open))
        .unwrap()
        .with_swarm_config(|c| c.with_idle_connection_timeout(Duration::from_secs(3600)))
        .build()
}

async fn connect(address: &str, key: Keypair) -> Client {
    let address: Multiaddr = address.parse().unwrap();
    let peer: PeerId = address.iter().find_map(|p| if let Protocol::P2p(p) = p { Some(p) } else { None }).unwrap();
    let mut swarm = swarm(key);
    swarm.dial(address).unwrap();
    while !matches!(swarm.select_next_some().await, SwarmEvent::ConnectionEstablished { .. }) {}
    let opened = swarm.behaviour_mut().open(peer, RENDEZVOUS_PROTOCOL);
    let mut driver = tokio::task::JoinSet::new();
    driver.spawn(async move {
        loop {
            swarm.select_next_some().await;
        }
    });
    let mut stream = opened.await.unwrap().stream;
    let mut reader = FrameReader::new(&mut stream);
    let Some(Response { body: Some(ResponseBody::Hello(hello)), .. }) = reader.next().await.unwrap() else {
        panic!("no greeting");
    };
    Client { stream, hello, _driver: driver }
}

impl Client {
    async fn ask(&mut self, ask: RequestBody) -> ResponseBody {
        let (read, write) = (&mut self.stream).split();
        FrameWriter::new(write).send(&Request { id: 7, body: Some(ask) }).await.unwrap();
        let mut reader = FrameReader::new(read);
        loop {
            match reader.next::<Response>().await.unwrap() {
                Some(Response { id: 7, body: Some(answer) }) => return answer,
                Some(_) => {}
                None => panic!("the server has hung up"),
            }
        }
    }

    async fn refused(&mut self, ask: RequestBody) -> Refusal {
        match self.ask(ask).await {
            ResponseBody::Refused(refused) => Refusal::try_from(refused.reason).unwrap(),
            other => panic!("not refused: {other:?}"),
        }
    }

    /// Whether the server ends the stream.
    async fn is_cut_off(&mut self) -> bool {
        let ended = async {
            let mut buffer = [0; 1024];
            loop {
                match self.stream.read(&mut buffer).await {
                    Ok(0) | Err(_) => return,
                    Ok(_) => {}
                }
            }
        };
        tokio::time::timeout(PATIENCE, ended).await.is_ok()
    }
}

fn chain(account: &AccountKey, device: &DeviceKey) -> DeviceChain {
    let joining = Joining::sign(device, &account.id(), vec![1; 1216]);
    DeviceChain::create(account, 1, [0; 32], &joining).unwrap()
}

fn publish(client: &Client, address: &str, account: &AccountKey, list: Bytes) -> Publish {
    let home: starling_keys::RendezvousAddr = address.parse().unwrap();
    let bits = client.hello.register_bits;
    let puzzle = starling_wire::Puzzle::new("register", &home.peer, &client.hello.nonce, account.id().as_bytes(), bits);
    Publish { device_list: list, solution: Some(puzzle.solve().0), token: String::new() }
}

/// Honest people, who have to be able to talk whatever happens.
fn honest(world: &World) {
    let sent = world.json("alice", &["send", "@bob", "still here", "--wait", "delivered"]);
    assert!(matches!(sent["state"].as_str(), Some("delivered" | "read")));
}

fn world_with_friends() -> (World, starling_tests::Process) {
    let world = World::of_friends();
    let bob = world.daemon("bob");
    (world, bob)
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_are_too_long_or_garbage_end_the_stream_and_nothing_else() {
    let (world, _bob) = world_with_friends();
    // A length of 4 GiB, then of one byte over the limit; then no message at all.
    for bytes in [vec![0xff; 4], (1024u32 * 1024 + 1).to_be_bytes().to_vec(), [&[0, 0, 0, 9][..], &[0xff; 9]].concat()]
    {
        let mut client = connect(&world.address, Keypair::generate_ed25519()).await;
        client.stream.write_all(&bytes).await.unwrap();
        client.stream.flush().await.unwrap();
        assert!(client.is_cut_off().await, "{bytes:?}");
    }
    honest(&world);
    let log = std::fs::read_to_string(world.dir.path().join("rendezvous.log")).unwrap();
    assert!(!log.contains("127.0.0.1") && !log.contains("panicked"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_and_old_device_chains_are_refused() {
    let (world, _bob) = world_with_friends();
    let account = RecoveryPhrase::generate().account_key();
    let device = DeviceKey::generate();
    let mut client = connect(&world.address, Keypair::ed25519_from_bytes(*device.seed()).unwrap()).await;
    // Signatures that are not the account's.
    let mallory = RecoveryPhrase::generate().account_key();
    let good = chain(&account, &device);
    let mut forged = good.as_bytes().to_vec();
    forged[100] ^= 1;
    let ask = RequestBody::Publish(publish(&client, &world.address, &account, forged.into()));
    assert_eq!(client.refused(ask).await, Refusal::Denied);
    // A chain that does not have the device that brings it.
    let other = chain(&mallory, &DeviceKey::generate());
    let ask =
        RequestBody::Publish(publish(&client, &world.address, &mallory, Bytes::copy_from_slice(other.as_bytes())));
    assert_eq!(client.refused(ask).await, Refusal::Denied);
    // No work, no registration; and before it nothing that needs one.
    let newer = good.set_homes(&SignWith::Device(&device), 2, &[]).unwrap();
    let good = Bytes::copy_from_slice(good.as_bytes());
    let newer = Bytes::copy_from_slice(newer.as_bytes());
    let free = Publish { device_list: newer.clone(), solution: None, token: String::new() };
    assert_eq!(client.refused(RequestBody::Publish(free)).await, Refusal::Denied);
    let packages = KeyPackages::default();
    assert_eq!(client.refused(RequestBody::PublishKeyPackages(packages)).await, Refusal::NotRegistered);
    let ask = RequestBody::Publish(publish(&client, &world.address, &account, newer));
    assert!(matches!(client.ask(ask).await, ResponseBody::Done(_)));
    // Rolled back.
    let ask = RequestBody::Publish(publish(&client, &world.address, &account, good));
    assert_eq!(client.refused(ask).await, Refusal::Stale);
    // A log that one has no key of.
    let request = LogRequest { address: vec![9; 32].into(), signature: vec![1; 64].into(), ..LogRequest::default() };
    assert_eq!(client.refused(RequestBody::LogRead(request)).await, Refusal::Denied);
    honest(&world);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_without_end_is_told_to_wait_and_a_silent_crowd_does_no_harm() {
    let (world, _bob) = world_with_friends();
    // More than strangers of one address may have, and no more than it may make at once: who comes takes the place of the oldest.
    let mut crowd = Vec::new();
    for _ in 0..100 {
        crowd.push(connect(&world.address, Keypair::generate_ed25519()).await);
    }
    let mut client = connect(&world.address, Keypair::generate_ed25519()).await;
    let mut limited = false;
    for _ in 0..6_000 {
        if client.refused(RequestBody::LookUp(vec![1; 32].into())).await == Refusal::RateLimited {
            limited = true;
            break;
        }
    }
    assert!(limited);
    honest(&world);
    drop(crowd);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_never_reads_is_cut_off_and_holds_up_nobody() {
    let (world, _bob) = world_with_friends();
    let mut client = connect(&world.address, Keypair::generate_ed25519()).await;
    // Requests without end, whose answers are never read.
    let mut request = bytes::BytesMut::new();
    starling_wire::write_frame(&Request { id: 1, body: Some(RequestBody::LookUpName("nobody".into())) }, &mut request);
    let flood = async {
        loop {
            if client.stream.write_all(&request).await.is_err() || client.stream.flush().await.is_err() {
                return;
            }
        }
    };
    // The server takes no more from it once its answers pile up: the writing stands still. That is seen by time alone, and with too little of it the
    // flood is only shorter.
    let _ = tokio::time::timeout(Duration::from_secs(3), flood).await;
    honest(&world);
}
