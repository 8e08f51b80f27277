//! What an idle client costs the server, and how fast its logs are.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::Bytes;
use libp2p::Multiaddr;
use serde_json::json;
use starling_keys::DeviceKey;
use starling_wire::{
    LogKey, LogVerb,
    rendezvous::{LogRequest, ResponseBody},
};
use tokio::{io::AsyncBufReadExt, task::JoinSet};

use crate::{
    measure::{cpu_s, rss_kib},
    processes::Process,
    session::Session,
};

/// Clients in one process: each has a socket and a QUIC endpoint of its own.
const PER_PROCESS: usize = 2_500;
/// Entries in one append, and their size.
const BATCH: usize = 64;
const ENTRY: usize = 1024;

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
                if let Ok(client) = Session::connect(&home, &DeviceKey::generate(), None).await {
                    return Ok(client);
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Session::connect(&home, &DeviceKey::generate(), None).await
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

/// What idle clients cost the server.
struct Crowd {
    /// Resident memory of the server for each, in KiB.
    kib_each: f64,
    /// Cores that the server uses for all of them together.
    idle_cores: f64,
    /// CPU of the server to connect one, in milliseconds.
    connect_ms: f64,
    connected_in: Duration,
}

/// Connects so many clients, and looks at the server while they are idle.
async fn crowd(server: &Process, home: &str, count: usize) -> anyhow::Result<Crowd> {
    let before = rss_kib(server.pid());
    let (cpu, start) = (cpu_s(server.pid()), Instant::now());
    let mut processes = Vec::new();
    let mut left = count;
    while left > 0 {
        let n = left.min(PER_PROCESS);
        left -= n;
        let mut process = Process::start(&["clients", home, &n.to_string()])?;
        process.line().await.context("clients cannot connect")?;
        processes.push(process);
    }
    let connected_in = start.elapsed();
    let connect_cpu = cpu_s(server.pid()) - cpu;
    // Handshakes leave buffers that are given back; then a quiet minute's worth of keep-alives is measured for some seconds.
    tokio::time::sleep(Duration::from_secs(if count > 0 { 5 } else { 0 })).await;
    let kib_each = rss_kib(server.pid()).saturating_sub(before) as f64 / count as f64;
    let (cpu, start) = (cpu_s(server.pid()), Instant::now());
    tokio::time::sleep(Duration::from_secs(if count > 0 { 20 } else { 0 })).await;
    let idle_cores = (cpu_s(server.pid()) - cpu) / start.elapsed().as_secs_f64();
    for process in &mut processes {
        process.say("").await?;
    }
    Ok(Crowd { kib_each, idle_cores, connect_ms: connect_cpu * 1e3 / count as f64, connected_in })
}

/// A registered device fills a log; gives the entries a second.
async fn append(session: &mut Session, log: &LogKey, entries: usize) -> anyhow::Result<f64> {
    let body = Bytes::from(vec![7; ENTRY]);
    let start = Instant::now();
    for _ in 0..entries.div_ceil(BATCH) {
        let request = LogRequest { entries: vec![body.clone(); BATCH], ..LogRequest::default() };
        match session.log(log, LogVerb::Append, request).await? {
            ResponseBody::Appended(_) => {}
            other => bail!("an append was refused: {other:?}"),
        }
    }
    Ok((entries.div_ceil(BATCH) * BATCH) as f64 / start.elapsed().as_secs_f64())
}

/// Reads a log to its end; gives the entries a second.
async fn fetch(session: &mut Session, log: &LogKey) -> anyhow::Result<f64> {
    let start = Instant::now();
    let (mut after, mut fetched) = (0, 0usize);
    loop {
        let request = LogRequest { after, ..LogRequest::default() };
        match session.log(log, LogVerb::Read, request).await? {
            ResponseBody::Page(page) => {
                fetched += page.entries.len();
                after = page.entries.last().map_or(after, |e| e.sequence);
                if !page.more {
                    return Ok(fetched as f64 / start.elapsed().as_secs_f64());
                }
            }
            other => bail!("a read was refused: {other:?}"),
        }
    }
}

pub async fn run(count: usize, entries: usize) -> anyhow::Result<()> {
    let dir = tempfile::Builder::new().prefix("starling-bench-").tempdir()?;
    let mut server = Process::start(&["serve", &dir.path().join("rendezvous").display().to_string()])?;
    let home = server.line().await?;
    let address: Multiaddr = home.parse()?;

    let crowd = crowd(&server, &home, count).await?;
    let device = DeviceKey::generate();
    let mut session = Session::connect(&address, &device, None).await.context("connecting")?;
    session.register(&device).await.context("registering")?;
    let log = LogKey::from_secret(&[9; 32]);
    session.log(&log, LogVerb::Open, LogRequest::default()).await?;
    let appended = append(&mut session, &log, entries).await?;
    let fetched = fetch(&mut session, &log).await?;
    let floor = crate::floor::store(dir.path(), 500, entries, ENTRY)?;

    println!("{count} idle clients");
    println!("  memory each                {:>10.1} KiB", crowd.kib_each);
    println!("  CPU idle, all together     {:>10.2} % of a core", crowd.idle_cores * 100.0);
    println!("  CPU to connect one         {:>10.2} ms", crowd.connect_ms);
    println!("  connected in               {:>10.1} s", crowd.connected_in.as_secs_f64());
    println!("log, entries of {ENTRY} bytes, durable, one client");
    println!("  append, batches of {BATCH}      {appended:>10.0} /s");
    println!("  fetch                      {fetched:>10.0} /s");
    println!(
        "  floor: redb, batches of 512 {:>9.0} /s, one row p50 {:.0} µs",
        floor.per_second,
        floor.latency_us.at(50.0)
    );
    println!("  ratio append to floor      {:>10.2}", appended / floor.per_second);
    println!(
        "{}",
        json!({
            "bench": "rendezvous", "clients": count, "kib_per_client": crowd.kib_each,
            "idle_cpu_cores": crowd.idle_cores, "connect_cpu_ms": crowd.connect_ms,
            "append_per_second": appended, "fetch_per_second": fetched, "floor_rows_per_second": floor.per_second,
        })
    );
    server.say("").await?;
    Ok(())
}
