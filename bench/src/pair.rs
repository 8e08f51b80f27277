//! Two nodes in two processes over loopback: durable stores, real encryption, a real rendezvous.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use starling_keys::{Invite, RecoveryPhrase, StorageKey};
use starling_node::{ChatId, DurableEventKind, NetConfig, NewProfile, Node, Origin, ProfileDir, Text, create_profile};
use tokio::{io::AsyncBufReadExt, sync::Semaphore};

use crate::{
    measure::{Percentiles, cpu_s, loopback_bytes, now_ns},
    processes::Process,
};

/// Calls of `send` under way at a time in a burst: as many as a busy bot or a paste of lines would have.
const IN_FLIGHT: usize = 4_096;

/// What a profile has beside the conversation that is measured.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct Filled {
    /// Other conversations.
    #[arg(long, default_value_t = 5_000)]
    pub conversations: u32,
    /// Those of them that are with contacts.
    #[arg(long, default_value_t = 2_000)]
    pub contacts: u32,
}

impl Filled {
    /// Adds it to a profile that nobody has open.
    pub fn fill(self, dir: &Path) -> anyhow::Result<()> {
        Ok(starling_node::bench::fill(dir, &storage_key(), self.conversations, self.contacts)?)
    }
}

/// The key of the bench's profiles.
pub fn storage_key() -> StorageKey {
    StorageKey::from_bytes([7; 32])
}

/// Makes a profile.
pub fn create(dir: &Path, name: &str, home: &str) -> anyhow::Result<()> {
    let new = NewProfile {
        origin: Origin::New(RecoveryPhrase::generate().account_key()),
        name: name.into(),
        bot: true,
        homes: vec![home.parse()?],
        registration_token: String::new(),
        username: String::new(),
    };
    create_profile(ProfileDir::lock(dir)?, &storage_key(), new)?;
    Ok(())
}

/// Opens one.
pub async fn open(dir: &Path) -> anyhow::Result<Node> {
    let net = NetConfig { listen: vec!["/ip4/127.0.0.1/udp/0/quic-v1".parse()?], mdns: false, proxy: None };
    Ok(Node::open(dir, &storage_key(), net).await?)
}

/// Waits until something holds, looking again at each change of the node.
pub async fn until<T>(node: &Node, mut found: impl AsyncFnMut() -> anyhow::Result<Option<T>>) -> anyhow::Result<T> {
    let mut last_event = node.last_event();
    let mut transient = node.transient_events();
    loop {
        if let Some(found) = found().await? {
            return Ok(found);
        }
        tokio::select! {
            _ = last_event.changed() => {}
            _ = transient.recv() => {}
            () = tokio::time::sleep(Duration::from_millis(200)) => {}
        }
    }
}

/// The receiving process: prints an invite, then how many messages it has had and when it could have shown the last.
pub async fn peer(dir: PathBuf, home: String, filled: Filled) -> anyhow::Result<()> {
    create(&dir, "bob", &home)?;
    filled.fill(&dir)?;
    let node = open(&dir).await?;
    until(&node, async || Ok(node.status().await?.homes.iter().any(|h| h.registered).then_some(()))).await?;
    let (invite, _) = node.invite(1, 3_600_000).await?;
    println!("{invite}");
    tokio::spawn(async {
        let mut line = String::new();
        let _ = tokio::io::BufReader::new(tokio::io::stdin()).read_line(&mut line).await;
        std::process::exit(0);
    });
    let mut last_event = node.last_event();
    let (mut at, mut count) = (0, 0u64);
    loop {
        let events = node.events_after(at, 8_192)?;
        if events.is_empty() {
            last_event.changed().await?;
            continue;
        }
        let new = events.iter().filter(|n| n.kind == DurableEventKind::New && n.message.is_some()).count() as u64;
        at = events.last().map_or(at, |n| n.sequence);
        if new > 0 {
            count += new;
            println!("{count} {}", now_ns());
        }
    }
}

/// What a burst of messages cost.
pub struct Burst {
    pub per_second: f64,
    /// Of both processes.
    pub cpu_us: f64,
    pub wire_bytes: f64,
}

/// A message of so many bytes that ends with its number.
pub fn text(size: usize, n: usize) -> Text {
    // Not by a width: the formatter would write 4,096 single characters, which costs more than sealing them.
    let mut text = "0".repeat(size.saturating_sub(12));
    text.push_str(&format!("{n:012}"));
    Text { text, ..Text::default() }
}

/// A node in this process, and one in another that prints what it has received.
pub struct Pair {
    node: Node,
    chat: ChatId,
    account: String,
    peer: Process,
    /// Messages that the peer has received.
    received: u64,
}

impl Pair {
    /// Opens the profile in `dir`, makes another in `peer_dir`, and connects them. The peer's is filled like that of this process is.
    pub async fn start(dir: &Path, peer_dir: &Path, home: &str, filled: Filled) -> anyhow::Result<Self> {
        let (conversations, contacts) = (filled.conversations.to_string(), filled.contacts.to_string());
        let args = ["peer", &peer_dir.display().to_string(), home];
        let filled = ["--conversations", &conversations, "--contacts", &contacts];
        let mut peer = Process::start(&[&args[..], &filled[..]].concat())?;
        let invite: Invite = peer.line().await?.parse()?;
        let node = open(dir).await?;
        let address = invite.address;
        let account = node.connect(address.account, address.homes, invite.token, String::new(), String::new()).await?;
        let chat = until(&node, async || {
            let contacts = node.contacts().await?;
            let direct = contacts.iter().find(|c| c.account == account && c.relayed == Some(false));
            Ok(direct.map(|c| c.chat))
        })
        .await?;
        Ok(Self { node, chat, account: account.to_string(), peer, received: 0 })
    }

    /// Waits until the peer has received so many more messages; when it could have shown the last.
    async fn receive(&mut self, more: usize) -> anyhow::Result<u64> {
        let count = self.received + more as u64;
        loop {
            let line = self.peer.line().await?;
            let mut parts = line.split(' ').filter_map(|n| n.parse::<u64>().ok());
            let (n, at) = (parts.next().context("a strange line")?, parts.next().context("a strange line")?);
            if n >= count {
                self.received = count;
                return Ok(at);
            }
        }
    }

    /// Sends messages, each when the one before was received. Microseconds until it is durable here, and until the peer could show it.
    pub async fn one_at_a_time(&mut self, count: usize, size: usize) -> anyhow::Result<(Percentiles, Percentiles)> {
        let (mut to_durable, mut to_event) = (Vec::new(), Vec::new());
        for n in 0..count {
            let start = now_ns();
            self.node.send(self.chat, vec![text(size, n)]).await?;
            to_durable.push(now_ns().saturating_sub(start) as f64 / 1e3);
            to_event.push(self.receive(1).await?.saturating_sub(start) as f64 / 1e3);
        }
        Ok((Percentiles::of(to_durable), Percentiles::of(to_event)))
    }

    /// Sends messages as fast as they go.
    pub async fn burst(&mut self, count: usize, size: usize) -> anyhow::Result<Burst> {
        let own = std::process::id();
        let other = self.peer.pid();
        let cpu = cpu_s(own) + cpu_s(other);
        let bytes = loopback_bytes();
        let start = now_ns();
        let (node, chat) = (self.node.clone(), self.chat);
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
        let (sent, end) = tokio::join!(sending, self.receive(count));
        sent?;
        let seconds = end?.saturating_sub(start) as f64 / 1e9;
        Ok(Burst {
            per_second: count as f64 / seconds,
            cpu_us: (cpu_s(own) + cpu_s(other) - cpu) * 1e6 / count as f64,
            wire_bytes: (loopback_bytes() - bytes) as f64 / count as f64,
        })
    }

    /// Stops this side's node. The peer goes on; with its account.
    pub async fn close(self) -> (Process, String) {
        self.node.stop().await;
        (self.peer, self.account)
    }
}
