//! The attacking process: what each attack does, again and again.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context;
use bytes::Bytes;
use data_encoding::HEXLOWER;
use futures::StreamExt;
use libp2p::{Multiaddr, identity::Keypair, multiaddr::Protocol};
use starling_keys::{
    DeviceChain, DeviceKey, RecoveryPhrase,
    chain::{Joining, MAX_ORDINARY_LINKS, SignWith},
};
use starling_wire::{
    LogKey, LogVerb,
    rendezvous::{LogRequest, Publish, RequestBody, ResponseBody},
};
use tokio::{
    net::{TcpSocket, UdpSocket},
    task::JoinSet,
};

use super::{Attack, LOG};
use crate::{floor::bare_swarm, session::Session};

/// Attacks at a time.
const SIDE_BY_SIDE: usize = 8;

/// Attacks until it is killed.
pub async fn run(attack: Attack, home: &str, tcp: &str, victim: &str) -> anyhow::Result<()> {
    let home: Multiaddr = home.parse()?;
    let tcp: Multiaddr = tcp.parse()?;
    let victim: [u8; 32] = HEXLOWER.decode(victim.as_bytes())?.try_into().ok().context("not a device id")?;
    let mut all = JoinSet::new();
    for n in 0..SIDE_BY_SIDE {
        let (home, tcp) = (home.clone(), tcp.clone());
        all.spawn(async move {
            for round in 0.. {
                // Refusals and closed connections are what it gets: it goes on.
                let _ = once(attack, &home, &tcp, victim, n, round).await;
                tokio::task::yield_now().await;
            }
        });
    }
    while all.join_next().await.is_some() {}
    Ok(())
}

async fn once(
    attack: Attack,
    home: &Multiaddr,
    tcp: &Multiaddr,
    victim: [u8; 32],
    n: usize,
    round: u64,
) -> anyhow::Result<()> {
    let last = (round % 250) as u8 + 1;
    // A /16 for each of them: what may come from one in the time of a handshake does not fill the places that strangers have.
    let from_anywhere = Ipv4Addr::new(127, 5 + n as u8, (round / 250 % 4) as u8, last);
    match attack {
        Attack::Handshakes => return silent(tcp, from_anywhere).await,
        Attack::QuicHandshakes => return first_packet(home, from_anywhere).await,
        _ => {}
    }
    let from = Ipv4Addr::new(127, 5, n as u8, last);
    let device = DeviceKey::generate();
    let mut session = Session::connect(home, &device, Some(from)).await?;
    match attack {
        Attack::Logs => fill(&mut session, LogKey::from_secret(&LOG), u64::MAX).await,
        Attack::Accounts => {
            session.register(&device).await?;
            let own = LogKey::from_secret(&rand::random());
            session.log(&own, LogVerb::Open, LogRequest::default()).await?;
            fill(&mut session, own, 200).await
        }
        Attack::Inbox => {
            let mut bits = 0;
            loop {
                let sealed = Bytes::from(rand::random::<[u8; 32]>().repeat(64));
                bits = session.leave_item(victim, sealed, bits).await?.unwrap_or(bits);
            }
        }
        Attack::Requests => {
            for _ in 0..500 {
                session.ask(RequestBody::LookUp(Bytes::copy_from_slice(&rand::random::<[u8; 32]>()))).await?;
            }
            Ok(())
        }
        Attack::Chains => {
            let device_list = long_chain(&device)?;
            loop {
                let publish = Publish { device_list: device_list.clone(), ..Publish::default() };
                session.ask(RequestBody::Publish(publish)).await?;
            }
        }
        Attack::Signals => loop {
            let log = LogKey::from_secret(&LOG);
            for _ in 0..50 {
                let request = LogRequest { entries: vec![Bytes::from(vec![1; 1024])], ..LogRequest::default() };
                session.log(&log, LogVerb::Signal, request).await?;
            }
            session.log(&log, LogVerb::Read, LogRequest::default()).await?;
            session.ask(RequestBody::LogLeave(Bytes::copy_from_slice(&log.address()))).await?;
        },
        Attack::Handshakes | Attack::QuicHandshakes => Ok(()),
    }
}

/// A device chain with as many entries as there may be.
fn long_chain(device: &DeviceKey) -> anyhow::Result<Bytes> {
    let account = RecoveryPhrase::generate().account_key();
    let joining = Joining::sign(device, &account.id(), vec![1; 1216]);
    let mut chain = DeviceChain::create(&account, 1, [0; 32], &joining)?;
    while (chain.len() as usize) < MAX_ORDINARY_LINKS {
        chain = chain.set_homes(&SignWith::Device(device), 1, &[])?;
    }
    Ok(Bytes::copy_from_slice(chain.as_bytes()))
}

/// Fills a log, opens the next behind it, and so on.
async fn fill(session: &mut Session, mut log: LogKey, most: u64) -> anyhow::Result<()> {
    let body = Bytes::from(vec![7; 60_000]);
    for _ in 0..most {
        let entries = LogRequest { entries: vec![body.clone(); 8], ..LogRequest::default() };
        if matches!(session.log(&log, LogVerb::Append, entries).await?, ResponseBody::Appended(_)) {
            continue;
        }
        let next = LogKey::from_secret(blake3::hash(&log.address()).as_bytes());
        session.append_behind(&log, &next, body.clone()).await?;
        log = next;
    }
    Ok(())
}

/// Holds a connection that says nothing for as long as the server does.
async fn silent(tcp: &Multiaddr, from: Ipv4Addr) -> anyhow::Result<()> {
    let port = tcp.iter().find_map(|p| if let Protocol::Tcp(port) = p { Some(port) } else { None });
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((from, 0)))?;
    let stream = socket.connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port.context("no TCP port")?))).await?;
    tokio::spawn(async move {
        let mut byte = [0; 64];
        while let Ok(()) = stream.readable().await {
            match stream.try_read(&mut byte) {
                Ok(0) => return,
                Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => return,
                _ => {}
            }
        }
    });
    Ok(())
}

/// Sends the first packet of a handshake, and no more. Its keys are those of one connection, so that each is taken from a handshake of its own, with a
/// socket that never answers.
async fn first_packet(quic: &Multiaddr, from: Ipv4Addr) -> anyhow::Result<()> {
    let port = quic.iter().find_map(|p| if let Protocol::Udp(port) = p { Some(port) } else { None });
    let port = port.context("no UDP port")?;
    let decoy = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address: Multiaddr = format!("/ip4/127.0.0.1/udp/{}/quic-v1", decoy.local_addr()?.port()).parse()?;
    let mut swarm = bare_swarm(Keypair::generate_ed25519(), "/nothing")?;
    swarm.dial(address)?;
    let mut packet = vec![0; 2_048];
    let len = loop {
        tokio::select! {
            received = decoy.recv(&mut packet) => break received?,
            _ = swarm.select_next_some() => {}
        }
    };
    let socket = UdpSocket::bind((from, 0)).await?;
    socket.send_to(&packet[..len], (Ipv4Addr::LOCALHOST, port)).await?;
    Ok(())
}
