//! What an idle client costs the server, and how fast its logs are.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::Bytes;
use futures::{AsyncReadExt, StreamExt};
use libp2p::{Multiaddr, PeerId, identity::Keypair, multiaddr::Protocol, swarm::SwarmEvent};
use serde_json::json;
use starling_keys::{DeviceChain, DeviceKey, RecoveryPhrase, chain::Joining};
use starling_wire::{
    LogKey, LogVerb, Puzzle, RENDEZVOUS_PROTOCOL,
    rendezvous::{LogRequest, Publish, Request, RequestBody, Response, ResponseBody, ServerHello},
    streams::{FrameReader, FrameWriter},
};
use tokio::{io::AsyncBufReadExt, task::JoinSet};

use crate::{
    floor::bare_swarm,
    measure::{cpu_s, rss_kib},
    processes::Process,
};

/// Clients in one process: each has a socket and a QUIC endpoint of its own.
const PER_PROCESS: usize = 2_500;
/// Entries in one append, and their size.
const BATCH: usize = 64;
const ENTRY: usize = 1024;

type Reader = FrameReader<futures::io::ReadHalf<libp2p::Stream>>;
type Writer = FrameWriter<futures::io::WriteHalf<libp2p::Stream>>;

async fn connect(home: &Multiaddr, key: Keypair) -> anyhow::Result<(Reader, Writer, ServerHello)> {
    let peer: PeerId = home
        .iter()
        .find_map(|p| if let Protocol::P2p(peer) = p { Some(peer) } else { None })
        .context("an address without a peer")?;
    let mut swarm = bare_swarm(key, "/nothing")?;
    swarm.dial(home.clone())?;
    loop {
        match swarm.select_next_some().await {
            SwarmEvent::ConnectionEstablished { .. } => break,
            SwarmEvent::OutgoingConnectionError { error, .. } => bail!("cannot connect: {error}"),
            _ => {}
        }
    }
    let opened = swarm.behaviour_mut().streams.open(peer, RENDEZVOUS_PROTOCOL);
    tokio::spawn(async move {
        loop {
            swarm.select_next_some().await;
        }
    });
    let (read, write) = opened.await?.stream.split();
    let mut reader = FrameReader::new(read);
    match reader.next::<Response>().await? {
        Some(Response { body: Some(ResponseBody::Hello(hello)), .. }) => Ok((reader, FrameWriter::new(write), hello)),
        _ => bail!("the server does not greet"),
    }
}

/// A process with many idle clients.
pub async fn clients(home: &str, count: usize) -> anyhow::Result<()> {
    let home: Multiaddr = home.parse()?;
    let mut all = Vec::with_capacity(count);
    let mut opening = JoinSet::new();
    for _ in 0..count {
        if opening.len() >= 64
            && let Some(done) = opening.join_next().await
        {
            all.push(done??);
        }
        let home = home.clone();
        opening.spawn(async move {
            // The server bounds the handshakes that are under way; real clients come again, too.
            for _ in 0..50 {
                if let Ok(client) = connect(&home, Keypair::generate_ed25519()).await {
                    return Ok(client);
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            connect(&home, Keypair::generate_ed25519()).await
        });
    }
    while let Some(done) = opening.join_next().await {
        all.push(done??);
    }
    println!("{}", all.len());
    let mut line = String::new();
    tokio::io::BufReader::new(tokio::io::stdin()).read_line(&mut line).await?;
    Ok(())
}

async fn ask(reader: &mut Reader, writer: &mut Writer, id: u64, ask: RequestBody) -> anyhow::Result<ResponseBody> {
    writer.send(&Request { id, body: Some(ask) }).await?;
    loop {
        match reader.next::<Response>().await? {
            Some(Response { id: of, body: Some(answer) }) if of == id => return Ok(answer),
            Some(_) => {}
            None => bail!("the server has closed the connection"),
        }
    }
}

pub async fn run(count: usize, entries: usize) -> anyhow::Result<()> {
    let dir = tempfile::Builder::new().prefix("starling-bench-").tempdir()?;
    let mut server = Process::start(&["serve", &dir.path().join("rendezvous").display().to_string()])?;
    let home = server.line().await?;
    let address: Multiaddr = home.parse()?;

    let before = rss_kib(server.pid());
    let cpu = cpu_s(server.pid());
    let start = Instant::now();
    let mut crowd = Vec::new();
    let mut left = count;
    while left > 0 {
        let n = left.min(PER_PROCESS);
        left -= n;
        let mut process = Process::start(&["clients", &home, &n.to_string()])?;
        process.line().await.context("clients cannot connect")?;
        crowd.push(process);
    }
    let connected = start.elapsed();
    let connect_cpu = cpu_s(server.pid()) - cpu;
    // Handshakes leave buffers that are given back; then a quiet minute's worth of keep-alives is measured for some seconds.
    tokio::time::sleep(Duration::from_secs(if count > 0 { 5 } else { 0 })).await;
    let memory = rss_kib(server.pid()).saturating_sub(before) as f64 / count as f64;
    let (cpu, start) = (cpu_s(server.pid()), Instant::now());
    tokio::time::sleep(Duration::from_secs(if count > 0 { 20 } else { 0 })).await;
    let idle = (cpu_s(server.pid()) - cpu) / start.elapsed().as_secs_f64();
    for process in &mut crowd {
        process.say("").await?;
    }

    // One registered device, one log.
    let device = DeviceKey::generate();
    let key = Keypair::ed25519_from_bytes(*device.seed())?;
    let (mut reader, mut writer, hello) = connect(&address, key).await.context("connecting")?;
    let account = RecoveryPhrase::generate().account_key();
    let joining = Joining::sign(&device, &account.id(), vec![1; 1216]);
    let list = DeviceChain::create(&account, 1, [0; 32], &joining)?;
    let server_key: starling_keys::RendezvousAddr = home.parse()?;
    let puzzle = Puzzle::new("register", &server_key.peer, &hello.nonce, account.id().as_bytes(), hello.register_bits);
    let publish = Publish {
        device_list: Bytes::copy_from_slice(list.as_bytes()),
        solution: Some(puzzle.solve().0),
        token: String::new(),
    };
    let registered = ask(&mut reader, &mut writer, 1, RequestBody::Publish(publish)).await.context("registering")?;
    if !matches!(registered, ResponseBody::Done(_)) {
        bail!("cannot register: {registered:?}");
    }
    let log = LogKey::from_secret(&[9; 32]);
    let signed = |mut request: LogRequest, verb| {
        request.address = Bytes::copy_from_slice(&log.address());
        request.signature = Bytes::copy_from_slice(&log.sign(verb, &hello.nonce, &request.signed_payload()));
        request
    };
    ask(&mut reader, &mut writer, 2, RequestBody::LogOpen(signed(LogRequest::default(), LogVerb::Open))).await?;
    let body = Bytes::from(vec![7; ENTRY]);
    let start = Instant::now();
    let mut id = 3;
    for _ in 0..entries.div_ceil(BATCH) {
        let request = LogRequest { entries: vec![body.clone(); BATCH], ..LogRequest::default() };
        match ask(&mut reader, &mut writer, id, RequestBody::LogAppend(signed(request, LogVerb::Append))).await? {
            ResponseBody::Appended(_) => id += 1,
            other => bail!("an append was refused: {other:?}"),
        }
    }
    let appended = (entries.div_ceil(BATCH) * BATCH) as f64 / start.elapsed().as_secs_f64();
    let start = Instant::now();
    let (mut after, mut fetched) = (0, 0usize);
    loop {
        let request = LogRequest { after, ..LogRequest::default() };
        match ask(&mut reader, &mut writer, id, RequestBody::LogRead(signed(request, LogVerb::Read))).await? {
            ResponseBody::Page(page) => {
                id += 1;
                fetched += page.entries.len();
                after = page.entries.last().map_or(after, |e| e.sequence);
                if !page.more {
                    break;
                }
            }
            other => bail!("a read was refused: {other:?}"),
        }
    }
    let fetch_rate = fetched as f64 / start.elapsed().as_secs_f64();
    let floor = crate::floor::store(dir.path(), 500, entries, ENTRY)?;

    println!("{count} idle clients");
    println!("  memory each                {memory:>10.1} KiB");
    println!("  CPU idle, all together     {:>10.2} % of a core", idle * 100.0);
    println!("  CPU to connect one         {:>10.2} ms", connect_cpu * 1e3 / count as f64);
    println!("  connected in               {:>10.1} s", connected.as_secs_f64());
    println!("log, entries of {ENTRY} bytes, durable, one client");
    println!("  append, batches of {BATCH}      {appended:>10.0} /s");
    println!("  fetch                      {fetch_rate:>10.0} /s");
    println!(
        "  floor: redb, batches of 512 {:>9.0} /s, one row p50 {:.0} µs",
        floor.per_second,
        floor.latency_us.at(50.0)
    );
    println!("  ratio append to floor      {:>10.2}", appended / floor.per_second);
    println!(
        "{}",
        json!({
            "bench": "rendezvous", "clients": count, "kib_per_client": memory, "idle_cpu_cores": idle,
            "connect_cpu_ms": connect_cpu * 1e3 / count as f64, "append_per_second": appended,
            "fetch_per_second": fetch_rate, "floor_rows_per_second": floor.per_second,
        })
    );
    server.say("").await?;
    Ok(())
}
