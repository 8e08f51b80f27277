//! Visits on loopback: what a rendezvous sees of who comes.

use std::{collections::HashMap, time::Duration};

use futures::StreamExt;
use libp2p::{Multiaddr, PeerId, Stream, SwarmBuilder, identity::Keypair, noise, swarm::SwarmEvent, tcp, yamux};
use starling_keys::{DeviceKey, RendezvousAddr};
use starling_wire::{
    RENDEZVOUS_PROTOCOL, VERSION,
    rendezvous::{Response, ResponseBody, ServerHello},
    streams::{self, FrameWriter, Gate},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use super::{NetConfig, NetHandle, start, visit};
use crate::net::{ConnectionProblem, NetCommand, NetEvent, Proxy, Transport, WantedHome, peer_of};

const PATIENCE: Duration = Duration::from_secs(30);

/// What the rendezvous sees.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Came(PeerId),
    Left(PeerId),
}

/// Something that greets like a rendezvous, or says nothing.
async fn rendezvous(greets: bool) -> (RendezvousAddr, mpsc::UnboundedReceiver<Seen>) {
    let key = DeviceKey::from_seed(&[9; 32]);
    let (address, sees) = server(&key, "/ip4/127.0.0.1/tcp/0", greets).await;
    (format!("{address}/p2p/{}", peer_of(&key.id()).unwrap()).parse().unwrap(), sees)
}

/// The same with another key, elsewhere.
async fn server(key: &DeviceKey, listen: &str, greets: bool) -> (Multiaddr, mpsc::UnboundedReceiver<Seen>) {
    let keypair = Keypair::ed25519_from_bytes(*key.seed()).unwrap();
    let mut swarm = SwarmBuilder::with_existing_identity(keypair)
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_quic()
        .with_behaviour(|_| streams::Behaviour::new(&[RENDEZVOUS_PROTOCOL], Gate::Open))
        .unwrap()
        .build();
    swarm.listen_on(listen.parse().unwrap()).unwrap();
    let address = loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            break address;
        }
    };
    let (seen, sees) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut sessions: Vec<FrameWriter<Stream>> = Vec::new();
        loop {
            match swarm.select_next_some().await {
                SwarmEvent::ConnectionEstablished { peer_id, .. } => drop(seen.send(Seen::Came(peer_id))),
                SwarmEvent::ConnectionClosed { peer_id, .. } => drop(seen.send(Seen::Left(peer_id))),
                SwarmEvent::Behaviour(streams::Event::Inbound { stream, .. }) => {
                    let mut writer = FrameWriter::new(stream);
                    if greets {
                        let hello = ServerHello { version: VERSION, ..ServerHello::default() };
                        writer.push(&Response { id: 0, body: Some(ResponseBody::Hello(hello)) });
                        // Who has come may have left again.
                        let _ = writer.flush().await;
                    }
                    sessions.push(writer);
                }
                _ => {}
            }
        }
    });
    (address, sees)
}

/// A device whose engine wants a server, and the key that is to stay unknown.
fn device() -> (NetHandle, mpsc::Receiver<NetEvent>, PeerId) {
    let key = DeviceKey::from_seed(&[1; 32]);
    let (engine, inputs) = mpsc::channel(64);
    let config = NetConfig { listen: vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()], mdns: false, proxy: None };
    (start(&key, &config, engine).unwrap(), inputs, peer_of(&key.id()).unwrap())
}

fn wanted(address: &RendezvousAddr, visit: Option<u64>) -> NetCommand {
    let home = WantedHome { addresses: vec![address.clone()], named: true, visit, ..WantedHome::default() };
    NetCommand::Homes(HashMap::from([(address.peer, home)]))
}

async fn wait_for<T>(inputs: &mut mpsc::Receiver<NetEvent>, fits: impl Fn(NetEvent) -> Option<T>) -> T {
    let look = async {
        loop {
            if let Some(found) = fits(inputs.recv().await.expect("the swarm has stopped")) {
                return found;
            }
        }
    };
    tokio::time::timeout(PATIENCE, look).await.expect("waited in vain")
}

async fn sees(seen: &mut mpsc::UnboundedReceiver<Seen>) -> Seen {
    tokio::time::timeout(PATIENCE, seen.recv()).await.expect("waited in vain").expect("the server has stopped")
}

#[tokio::test]
async fn each_visit_has_a_key_of_its_own_and_ends_with_its_connection() {
    let (address, mut seen) = rendezvous(true).await;
    let (net, mut inputs, own) = device();
    let over_tcp = |event| matches!(event, NetEvent::HomeUp(_, _, Some(Transport::Tcp))).then_some(());
    let mut keys = Vec::new();
    for number in 1..4 {
        net.send(wanted(&address, Some(number)));
        wait_for(&mut inputs, over_tcp).await;
        for _ in 0..1 + usize::from(number > 1) {
            match sees(&mut seen).await {
                Seen::Came(peer) => keys.push(peer),
                Seen::Left(peer) => assert!(keys.contains(&peer)),
            }
        }
    }
    net.send(NetCommand::Homes(HashMap::new()));
    while !matches!(sees(&mut seen).await, Seen::Left(peer) if peer == keys[2]) {}
    assert_eq!(keys.len(), 3);
    keys.push(own);
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 4, "a key was seen twice, or it was the device's");
    // As a home, it is told who we are.
    net.send(wanted(&address, None));
    while sees(&mut seen).await != Seen::Came(own) {}
    // It knows no pings, and is a home all the same: its connection was closed each time, often before it had greeted.
    wait_for(&mut inputs, over_tcp).await;
    let down = |event| matches!(event, NetEvent::HomeDown(..)).then_some(());
    let lost = tokio::time::timeout(Duration::from_secs(1), wait_for(&mut inputs, down)).await;
    assert!(lost.is_err(), "the session was lost");
}

#[tokio::test]
async fn a_server_is_reached_where_another_one_answers_sooner_at_one_of_its_addresses() {
    let (liar, honest) = (DeviceKey::from_seed(&[8; 32]), DeviceKey::from_seed(&[9; 32]));
    // QUIC is dialled first.
    let (wrong, _seen) = server(&liar, "/ip4/127.0.0.1/udp/0/quic-v1", true).await;
    let (right, _seen) = server(&honest, "/ip4/127.0.0.1/tcp/0", true).await;
    let peer = peer_of(&honest.id()).unwrap();
    let begun = visit::begin(peer, vec![wrong.clone(), right], None).await;
    assert_eq!(begun.err(), None);
    assert_eq!(visit::begin(peer, vec![wrong], None).await.err(), Some(ConnectionProblem::OtherServer));
}

#[tokio::test]
async fn a_server_that_says_nothing_is_no_rendezvous() {
    let (address, _seen) = rendezvous(false).await;
    let (net, mut inputs, _) = device();
    net.send(wanted(&address, Some(1)));
    let late = |event| matches!(event, NetEvent::HomeDelayed { .. }).then_some(());
    wait_for(&mut inputs, late).await;
    let problem = |event| if let NetEvent::HomeDown(_, problem) = event { Some(problem) } else { None };
    assert_eq!(wait_for(&mut inputs, problem).await, ConnectionProblem::NoAnswer);
}

/// The user name that a client of SOCKS shows where one is asked for.
async fn user_name(mut client: TcpStream) -> Option<String> {
    let (mut greeting, mut head) = ([0; 4], [0; 2]);
    client.read_exact(&mut greeting).await.ok()?;
    assert_eq!(greeting, [5, 2, 0, 2], "who wants no user name gets none");
    client.write_all(&[5, 2]).await.ok()?;
    client.read_exact(&mut head).await.ok()?;
    let mut user = vec![0; usize::from(head[1])];
    client.read_exact(&mut user).await.ok()?;
    String::from_utf8(user).ok()
}

#[tokio::test]
async fn visits_and_the_session_with_a_home_are_strangers_to_each_other_for_a_socks_proxy() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy: Proxy = format!("socks5h://{}", listener.local_addr().unwrap()).parse().unwrap();
    // Of the next client that stays for as long as it takes.
    let name = async || {
        loop {
            if let Some(name) = user_name(listener.accept().await.unwrap().0).await {
                break name;
            }
        }
    };
    let server = peer_of(&DeviceKey::from_seed(&[9; 32]).id()).unwrap();
    let home: RendezvousAddr = format!("/ip4/192.0.2.1/tcp/4001/p2p/{server}").parse().unwrap();

    let (engine, _inputs) = mpsc::channel(64);
    let config = NetConfig { listen: vec![], mdns: false, proxy: Some(proxy.clone()) };
    let node = start(&DeviceKey::from_seed(&[1; 32]), &config, engine).unwrap();
    let wanted = WantedHome { addresses: vec![home.clone()], own: true, ..WantedHome::default() };
    node.send(NetCommand::Homes(HashMap::from([(home.peer, wanted)])));
    let of_home = tokio::time::timeout(PATIENCE, name()).await.unwrap();
    drop(node);

    let mut of_visits = Vec::new();
    for _ in 0..2 {
        let visit = Box::pin(visit::begin(server, home.multiaddrs(), Some(proxy.clone())));
        // The device may have come to its home once more before it ended. The proxy ends a visit once it knows the name.
        let another = async {
            loop {
                let shown = name().await;
                if shown != of_home {
                    break shown;
                }
            }
        };
        let (shown, begun) = tokio::time::timeout(PATIENCE, async { tokio::join!(another, visit) }).await.unwrap();
        assert!(begun.is_err());
        of_visits.push(shown);
    }
    assert_ne!(of_visits[0], of_visits[1]);
}
