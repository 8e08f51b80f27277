//! The floor: the same bytes over a bare libp2p stream with batched frames, and rows into a bare redb with an fsync.

use std::{path::Path, time::Instant};

use anyhow::Context;
use bytes::Bytes;
use futures::{AsyncReadExt, StreamExt};
use libp2p::{
    Multiaddr, PeerId, Swarm, SwarmBuilder,
    identity::Keypair,
    multiaddr::Protocol,
    noise, ping,
    swarm::{NetworkBehaviour, SwarmEvent},
    tcp, yamux,
};
use redb::{Database, Durability, TableDefinition};
use starling_wire::{
    DIRECT_PROTOCOL,
    direct::{DirectFrame, Entry},
    streams::{self, FrameReader, FrameWriter, Gate},
};
use tokio::io::AsyncBufReadExt;

use crate::{
    measure::{Percentiles, now_ns},
    processes::Process,
};

/// Streams, and the pings by which a server sees that a client is alive.
#[derive(NetworkBehaviour)]
pub struct Bare {
    pub streams: streams::Behaviour,
    ping: ping::Behaviour,
}

/// A swarm over QUIC and TCP with nothing but streams and pings.
pub fn bare_swarm(key: Keypair, accept: &'static str) -> anyhow::Result<Swarm<Bare>> {
    Ok(SwarmBuilder::with_existing_identity(key)
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)?
        .with_quic_config(|mut quic| {
            quic.max_idle_timeout = 60_000;
            quic.keep_alive_interval = std::time::Duration::from_secs(20);
            quic
        })
        .with_behaviour(|_| Bare {
            streams: streams::Behaviour::new(&[accept], Gate::Open),
            ping: ping::Behaviour::new(ping::Config::new().with_interval(std::time::Duration::from_secs(3600))),
        })?
        .with_swarm_config(|c| c.with_idle_connection_timeout(std::time::Duration::from_secs(3600)))
        .build())
}

/// The receiving process: prints its address, then for each frame the time and how many entries it has had.
pub async fn sink() -> anyhow::Result<()> {
    let key = Keypair::generate_ed25519();
    let peer = key.public().to_peer_id();
    let mut swarm = bare_swarm(key, DIRECT_PROTOCOL)?;
    swarm.listen_on("/ip4/127.0.0.1/udp/0/quic-v1".parse()?)?;
    tokio::spawn(async {
        let mut line = String::new();
        let _ = tokio::io::BufReader::new(tokio::io::stdin()).read_line(&mut line).await;
        std::process::exit(0);
    });
    loop {
        match swarm.select_next_some().await {
            SwarmEvent::NewListenAddr { address, .. } => println!("{}", address.with(Protocol::P2p(peer))),
            SwarmEvent::Behaviour(BareEvent::Streams(streams::Event::Inbound { stream, .. })) => {
                tokio::spawn(async move {
                    let mut reader = FrameReader::new(stream);
                    let mut count = 0;
                    while let Ok(Some(frame)) = reader.next::<DirectFrame>().await {
                        count += frame.entries.len();
                        println!("{count} {}", now_ns());
                    }
                });
            }
            _ => {}
        }
    }
}

/// What the floor is.
pub struct Floor {
    pub latency_us: Percentiles,
    pub per_second: f64,
}

/// Measures the bare stream.
pub async fn stream(single: usize, burst: usize, size: usize) -> anyhow::Result<Floor> {
    let mut sink = Process::start(&["sink"])?;
    let address: Multiaddr = sink.line().await?.parse()?;
    let peer: PeerId = address
        .iter()
        .find_map(|p| if let Protocol::P2p(peer) = p { Some(peer) } else { None })
        .context("an address without a peer")?;
    let mut swarm = bare_swarm(Keypair::generate_ed25519(), DIRECT_PROTOCOL)?;
    swarm.dial(address)?;
    while !matches!(swarm.select_next_some().await, SwarmEvent::ConnectionEstablished { .. }) {}
    let opened = swarm.behaviour_mut().streams.open(peer, DIRECT_PROTOCOL);
    let driver = tokio::spawn(async move {
        loop {
            swarm.select_next_some().await;
        }
    });
    let (_read, write) = opened.await?.stream.split();
    let mut writer = FrameWriter::new(write);
    let entry = Entry { group: Bytes::from_static(&[1; 16]), message: vec![7; size].into() };
    let mut latency = Vec::with_capacity(single);
    for _ in 0..single {
        let start = now_ns();
        writer.push(&DirectFrame { entries: vec![entry.clone()], ..DirectFrame::default() });
        writer.flush().await?;
        let line = sink.line().await?;
        let at: u64 = line.split(' ').nth(1).and_then(|t| t.parse().ok()).context("a strange line")?;
        latency.push(at.saturating_sub(start) as f64 / 1e3);
    }
    let start = now_ns();
    let per_frame = (64 * 1024 / (size + 32)).max(1);
    let reading = async {
        loop {
            let line = sink.line().await?;
            let mut parts = line.split(' ').filter_map(|n| n.parse::<u64>().ok());
            let (count, at) = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
            if count >= (single + burst) as u64 {
                return anyhow::Ok(at);
            }
        }
    };
    let writing = async {
        let mut left = burst;
        while left > 0 {
            let n = per_frame.min(left);
            left -= n;
            writer.push(&DirectFrame { entries: vec![entry.clone(); n], ..DirectFrame::default() });
            writer.flush().await?;
        }
        anyhow::Ok(())
    };
    let (end, written) = tokio::join!(reading, writing);
    written?;
    let seconds = end?.saturating_sub(start) as f64 / 1e9;
    driver.abort();
    Ok(Floor { latency_us: Percentiles::of(latency), per_second: burst as f64 / seconds })
}

const ROWS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("rows");

/// Durable commits of one row, and rows a second in batches of 512.
pub fn store(dir: &Path, single: usize, burst: usize, size: usize) -> anyhow::Result<Floor> {
    let db = Database::create(dir.join("floor.redb"))?;
    let row = vec![7; size + 64];
    let mut next = 0u64;
    let mut commit = |rows: usize| -> anyhow::Result<()> {
        let mut txn = db.begin_write()?;
        txn.set_durability(Durability::Immediate)?;
        {
            let mut table = txn.open_table(ROWS)?;
            for _ in 0..rows {
                table.insert(next, row.as_slice())?;
                next += 1;
            }
        }
        txn.commit()?;
        Ok(())
    };
    let mut latency = Vec::with_capacity(single);
    for _ in 0..single {
        let start = Instant::now();
        commit(1)?;
        latency.push(start.elapsed().as_secs_f64() * 1e6);
    }
    let start = Instant::now();
    for _ in 0..burst.div_ceil(512) {
        commit(512)?;
    }
    let rate = burst as f64 / start.elapsed().as_secs_f64();
    Ok(Floor { latency_us: Percentiles::of(latency), per_second: rate })
}
