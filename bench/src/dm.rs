//! Two nodes in two processes over loopback: durable stores, real encryption, a real rendezvous.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context;
use serde_json::json;
use starling_keys::{AccountKey, Invite, RecoveryPhrase, StorageKey};
use starling_node::{ChatId, FeedKind, NetConfig, NewProfile, Node, Origin, ProfileDir, Text, create_profile};
use tokio::{io::AsyncBufReadExt, sync::Semaphore};

use crate::{
    floor,
    measure::{Percentiles, cpu_s, loopback_bytes, now_ns},
    processes::Process,
};

/// Calls of `send` under way at a time in a burst: as many as a busy bot or a paste of lines would have.
const IN_FLIGHT: usize = 4_096;

fn storage_key() -> StorageKey {
    StorageKey::from_bytes([7; 32])
}

fn account() -> AccountKey {
    RecoveryPhrase::generate().account_key()
}

async fn open(dir: &std::path::Path, name: &str, home: &str) -> anyhow::Result<Node> {
    let new = NewProfile {
        account: account(),
        origin: Origin::New,
        name: name.into(),
        bot: true,
        homes: vec![home.parse()?],
        registration_token: String::new(),
        username: String::new(),
    };
    create_profile(ProfileDir::lock(dir)?, &storage_key(), &new)?;
    let net = NetConfig { listen: vec!["/ip4/127.0.0.1/udp/0/quic-v1".parse()?], mdns: false };
    Ok(Node::open(dir, &storage_key(), net).await?)
}

/// Waits until something holds, looking again at each change of the node.
async fn until<T>(node: &Node, mut found: impl AsyncFnMut() -> anyhow::Result<Option<T>>) -> anyhow::Result<T> {
    let mut feed = node.feed();
    let mut live = node.live();
    loop {
        if let Some(found) = found().await? {
            return Ok(found);
        }
        tokio::select! {
            _ = feed.changed() => {}
            _ = live.recv() => {}
            () = tokio::time::sleep(Duration::from_millis(200)) => {}
        }
    }
}

/// The receiving process: prints an invite, then how many messages it has had and when it could have shown the last.
pub async fn peer(dir: PathBuf, home: String) -> anyhow::Result<()> {
    let node = open(&dir, "bob", &home).await?;
    until(&node, async || Ok(node.status().await?.homes.iter().any(|h| h.registered).then_some(()))).await?;
    let (invite, _) = node.invite(1, 3_600_000).await?;
    println!("{invite}");
    tokio::spawn(async {
        let mut line = String::new();
        let _ = tokio::io::BufReader::new(tokio::io::stdin()).read_line(&mut line).await;
        std::process::exit(0);
    });
    let mut feed = node.feed();
    let (mut at, mut count) = (0, 0u64);
    loop {
        let news = node.news_after(at, 8_192)?;
        if news.is_empty() {
            feed.changed().await?;
            continue;
        }
        let new = news.iter().filter(|n| n.kind == FeedKind::New && n.message.is_some()).count() as u64;
        at = news.last().map_or(at, |n| n.sequence);
        if new > 0 {
            count += new;
            println!("{count} {}", now_ns());
        }
    }
}

/// What a burst of messages cost.
struct Burst {
    per_second: f64,
    cpu_us: f64,
    wire_bytes: f64,
}

async fn received(peer: &mut Process, count: u64) -> anyhow::Result<u64> {
    loop {
        let line = peer.line().await?;
        let mut parts = line.split(' ').filter_map(|n| n.parse::<u64>().ok());
        let (n, at) = (parts.next().context("a strange line")?, parts.next().context("a strange line")?);
        if n >= count {
            return Ok(at);
        }
    }
}

fn text(size: usize, n: usize) -> Text {
    Text { text: format!("{n:0>size$}"), ..Text::default() }
}

async fn burst(
    node: &Node,
    chat: ChatId,
    peer: &mut Process,
    had: u64,
    count: usize,
    size: usize,
) -> anyhow::Result<Burst> {
    let own = std::process::id();
    let cpu = cpu_s(own) + cpu_s(peer.pid());
    let bytes = loopback_bytes();
    let start = now_ns();
    let window = Arc::new(Semaphore::new(IN_FLIGHT));
    let sending = async {
        for n in 0..count {
            let permit = window.clone().acquire_owned().await?;
            let (node, text) = (node.clone(), text(size, n));
            tokio::spawn(async move {
                let _ = node.send(chat, vec![text]).await;
                drop(permit);
            });
        }
        anyhow::Ok(())
    };
    let (sent, end) = tokio::join!(sending, received(peer, had + count as u64));
    sent?;
    let seconds = end?.saturating_sub(start) as f64 / 1e9;
    Ok(Burst {
        per_second: count as f64 / seconds,
        cpu_us: (cpu_s(own) + cpu_s(peer.pid()) - cpu) * 1e6 / count as f64,
        wire_bytes: (loopback_bytes() - bytes) as f64 / count as f64,
    })
}

pub async fn run(single: usize, burst_size: usize) -> anyhow::Result<()> {
    let dir = tempfile::Builder::new().prefix("starling-bench-").tempdir()?;
    let path = |name: &str| dir.path().join(name).display().to_string();
    let mut server = Process::start(&["serve", &path("rendezvous")])?;
    let home = server.line().await?;
    let mut peer = Process::start(&["peer", &path("bob"), &home])?;
    let invite: Invite = peer.line().await?.parse()?;
    let node = open(&dir.path().join("alice"), "alice", &home).await?;
    let account =
        node.connect(invite.address.account, invite.address.homes, invite.token, String::new(), String::new()).await?;
    let chat = until(&node, async || {
        let contacts = node.contacts().await?;
        let direct = contacts.iter().find(|c| c.account == account && c.relayed == Some(false));
        Ok(direct.map(|c| c.chat))
    })
    .await?;

    // Warm, and connected directly.
    let mut had = 0;
    for n in 0..100 {
        node.send(chat, vec![text(256, n)]).await?;
        had += 1;
        received(&mut peer, had).await?;
    }
    let (mut to_event, mut to_durable) = (Vec::new(), Vec::new());
    for n in 0..single {
        let start = now_ns();
        node.send(chat, vec![text(256, n)]).await?;
        to_durable.push(now_ns().saturating_sub(start) as f64 / 1e3);
        had += 1;
        to_event.push(received(&mut peer, had).await?.saturating_sub(start) as f64 / 1e3);
    }
    let (to_event, to_durable) = (Percentiles::of(to_event), Percentiles::of(to_durable));
    let small = burst(&node, chat, &mut peer, had, burst_size, 256).await?;
    had += burst_size as u64;
    let large_count = (burst_size / 10).max(1);
    let large = burst(&node, chat, &mut peer, had, large_count, 4096).await?;

    let bare = floor::stream(single, burst_size, 256).await?;
    let bare_large = floor::stream(1, large_count, 4096).await?;
    let store = floor::store(dir.path(), single, burst_size, 256)?;

    println!("one at a time, 256 bytes          p50 µs    p99 µs");
    let row = |name: &str, p: &Percentiles| println!("  {name:<30} {:>8.0}  {:>8.0}", p.at(50.0), p.at(99.0));
    row("send to the receiver's event", &to_event);
    row("  of it: durable at the sender", &to_durable);
    row("floor: bare stream", &bare.latency_us);
    row("floor: durable row", &store.latency_us);
    let floor_us = bare.latency_us.at(50.0) + 2.0 * store.latency_us.at(50.0);
    println!("  {:<30} {:>8.1}", "ratio to stream + 2 rows (p50)", to_event.at(50.0) / floor_us);
    println!("burst of {burst_size}                    messages/s   CPU µs each   bytes each on the wire");
    let row = |name: &str, r: &Burst| {
        println!("  {name:<28} {:>12.0} {:>13.1} {:>12.0}", r.per_second, r.cpu_us, r.wire_bytes);
    };
    row("256 bytes", &small);
    row("4096 bytes", &large);
    println!("  {:<28} {:>12.0}", "floor: bare stream, 256", bare.per_second);
    println!("  {:<28} {:>12.0}", "floor: bare stream, 4096", bare_large.per_second);
    println!("  {:<28} {:>12.0}", "floor: redb, batches of 512", store.per_second);
    println!("  {:<28} {:>12.2}", "ratio to the stream, 256", small.per_second / bare.per_second);
    println!("  {:<28} {:>12.2}", "ratio to the store, 256", small.per_second / store.per_second);
    println!(
        "{}",
        json!({
            "bench": "dm", "single": single, "burst": burst_size,
            "event_us": { "p50": to_event.at(50.0), "p99": to_event.at(99.0) },
            "durable_us": { "p50": to_durable.at(50.0), "p99": to_durable.at(99.0) },
            "burst_256": { "per_second": small.per_second, "cpu_us": small.cpu_us, "wire_bytes": small.wire_bytes },
            "burst_4096": { "per_second": large.per_second, "cpu_us": large.cpu_us, "wire_bytes": large.wire_bytes },
            "floor": {
                "stream_us": { "p50": bare.latency_us.at(50.0), "p99": bare.latency_us.at(99.0) },
                "row_us": { "p50": store.latency_us.at(50.0), "p99": store.latency_us.at(99.0) },
                "stream_256_per_second": bare.per_second, "stream_4096_per_second": bare_large.per_second,
                "store_per_second": store.per_second,
            },
        })
    );
    node.stop().await;
    peer.say("").await?;
    server.say("").await?;
    Ok(())
}
