//! What honest clients see of a server under attack: the time to connect, to store an entry and to be told of one, quiet and during each attack. The
//! attacker has one core, server and honest clients the other.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::ValueEnum;
use data_encoding::HEXLOWER;
use libp2p::{Multiaddr, multiaddr::Protocol};
use serde_json::json;
use starling_keys::{
    DeviceChain, DeviceKey, RecoveryPhrase,
    chain::{Joining, MAX_ORDINARY_LINKS, SignWith},
};
use starling_wire::{
    LogKey, LogVerb,
    rendezvous::{LogRequest, Publish, RequestBody, ResponseBody},
};
use tokio::{
    net::TcpSocket,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{processes::Process, session::Session};

/// The core of the server and the honest clients, and that of the attacker.
const CORES: [&str; 2] = ["0", "1"];
/// The key of the log that the honest clients use, and the attacker has, too.
const LOG: [u8; 32] = [9; 32];
/// Attacks at a time.
const SIDE_BY_SIDE: usize = 8;
/// Honest clients wait at most so many times as long as when it is quiet, whatever the attack.
const MAX_RATIO: f64 = 3.0;
/// Something that takes longer than this has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the attacker does, as fast as it can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Attack {
    /// With the key of a log: fills it, closes it, fills the next.
    Logs,
    /// Connections that say nothing, from 250 addresses.
    Handshakes,
    /// New accounts, each of which stores what it may.
    Accounts,
    /// Items of strangers in an inbox.
    Inbox,
    /// Sessions with new keys, and requests.
    Requests,
    /// Long device chains of accounts that nobody pays for.
    Chains,
    /// Signals, and reading and leaving in turn, in a log that others read.
    Signals,
}

/// Medians of the honest clients, in milliseconds.
#[derive(Clone, Copy)]
struct Latency {
    connect: f64,
    send: f64,
    receive: f64,
}

/// The greatest of some ratios. What cannot be compared is as bad as can be.
fn worst_of(ratios: &[f64]) -> f64 {
    ratios.iter().fold(0.0, |worst, ratio| if ratio.is_nan() { f64::INFINITY } else { worst.max(*ratio) })
}

/// Measures all attacks, or some.
///
/// # Errors
/// If one of them makes honest clients wait more than [`MAX_RATIO`] times as long.
pub async fn run(only: Vec<Attack>, seconds: u64) -> anyhow::Result<()> {
    pin(std::process::id(), CORES[0]);
    let attacks = if only.is_empty() { Attack::value_variants().to_vec() } else { only };
    println!("medians in ms: to connect, to store an entry, to be told of it");
    println!("{:>12} {:>26} {:>26} {:>20}", "attack", "quiet", "attacked", "ratio");
    let (mut worst, mut too_much) = (0.0_f64, Vec::new());
    for attack in attacks {
        let (quiet, attacked) = measure(attack, Duration::from_secs(seconds)).await?;
        let ratios = [attacked.connect / quiet.connect, attacked.send / quiet.send, attacked.receive / quiet.receive];
        let name = format!("{attack:?}").to_lowercase();
        let ratio = worst_of(&ratios);
        worst = worst.max(ratio);
        if ratio > MAX_RATIO {
            too_much.push(format!("{name} ({ratio:.2})"));
        }
        let show = |l: Latency| format!("{:.2} {:.2} {:.2}", l.connect, l.send, l.receive);
        let shown = ratios.map(|ratio| format!("{ratio:.2}")).join(" ");
        println!("{name:>12} {:>26} {:>26} {shown:>20}", show(quiet), show(attacked));
        println!(
            "{}",
            json!({
                "bench": "attack", "attack": name, "quiet_ms": [quiet.connect, quiet.send, quiet.receive],
                "attacked_ms": [attacked.connect, attacked.send, attacked.receive], "ratios": ratios,
            })
        );
    }
    println!("worst ratio {worst:.2}");
    if too_much.is_empty() {
        return Ok(());
    }
    bail!("honest clients wait more than {MAX_RATIO} times as long under: {}", too_much.join(", "))
}

async fn measure(attack: Attack, time: Duration) -> anyhow::Result<(Latency, Latency)> {
    let dir = tempfile::Builder::new().prefix("starling-bench-").tempdir()?;
    let mut server = Process::start(&["serve-limited", &dir.path().join("rendezvous").display().to_string()])?;
    pin(server.pid(), CORES[0]);
    let home = server.line().await?;
    let tcp = server.line().await?;
    let address: Multiaddr = home.parse()?;
    let (alice, bob) = (DeviceKey::generate(), DeviceKey::generate());
    let mut writer = Session::connect(&address, &alice, None).await?;
    writer.register(&alice).await?;
    let log = LogKey::from_secret(&LOG);
    let own = LogKey::from_secret(&[8; 32]);
    for log in [&log, &own] {
        writer.log(log, LogVerb::Open, LogRequest::default()).await?;
    }
    let mut reader = Session::connect(&address, &bob, None).await?;
    reader.register(&bob).await?;
    for log in [&log, &own] {
        reader.log(log, LogVerb::Read, LogRequest::default()).await?;
    }
    let quiet = honest(&address, &mut writer, &mut reader, &own, time).await.context("quiet")?;
    let kind = attack.to_possible_value().context("an attack without a name")?;
    let victim = HEXLOWER.encode(alice.id().as_bytes());
    let attacker = Process::start(&["attacker", kind.get_name(), &home, &tcp, &victim])?;
    pin(attacker.pid(), CORES[1]);
    // Until it is at its full rate.
    sleep(Duration::from_secs(2)).await;
    let attacked = honest(&address, &mut writer, &mut reader, &own, time).await.context("attacked")?;
    drop(attacker);
    server.say("").await?;
    Ok((quiet, attacked))
}

/// What clients with accounts see: one connects again and again, one writes, one reads.
async fn honest(
    home: &Multiaddr,
    writer: &mut Session,
    reader: &mut Session,
    log: &LogKey,
    time: Duration,
) -> anyhow::Result<Latency> {
    let (mut connect, mut send, mut receive) = (Vec::new(), Vec::new(), Vec::new());
    let end = Instant::now() + time;
    let mut n = 0_u64;
    while Instant::now() < end {
        let start = Instant::now();
        let session = timeout(PATIENCE, Session::connect(home, &DeviceKey::generate(), None)).await??;
        connect.push(start.elapsed());
        drop(session);
        n += 1;
        let body = Bytes::from([&n.to_le_bytes()[..], &[7; 248]].concat());
        let request = LogRequest { entries: vec![body.clone()], ..LogRequest::default() };
        let start = Instant::now();
        let stored = async {
            match writer.log(log, LogVerb::Append, request).await? {
                ResponseBody::Appended(_) => Ok(start.elapsed()),
                other => bail!("an honest append was refused: {other:?}"),
            }
        };
        let told = async {
            while !reader.pushed_entries().await?.contains(&body) {}
            anyhow::Ok(start.elapsed())
        };
        let (stored, told) = timeout(PATIENCE, async { tokio::try_join!(stored, told) }).await??;
        send.push(stored);
        receive.push(told);
        // New connections of one address have a rate.
        sleep(Duration::from_millis(100)).await;
    }
    let median = |mut all: Vec<Duration>| {
        all.sort_unstable();
        all.get(all.len() / 2).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
    };
    Ok(Latency { connect: median(connect), send: median(send), receive: median(receive) })
}

/// Pins a process to a core, as far as the system has `taskset` and that core.
fn pin(pid: u32, core: &str) {
    let mut command = std::process::Command::new("taskset");
    let pinned = command.args(["-a", "-c", "-p", core, &pid.to_string()]).output();
    if !pinned.is_ok_and(|output| output.status.success()) {
        println!("process {pid} is not pinned to core {core}: taskset failed");
    }
}

/// The attacking process: until it is killed.
pub async fn attacker(attack: Attack, home: &str, tcp: &str, victim: &str) -> anyhow::Result<()> {
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
    let from = Ipv4Addr::new(127, 5, n as u8, (round % 250) as u8 + 1);
    if attack == Attack::Handshakes {
        return silent(tcp, from).await;
    }
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
        Attack::Handshakes => Ok(()),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_of_ratios_is_the_greatest_and_what_is_none_is_worse() {
        assert!((worst_of(&[1.0, 2.9, 0.5]) - 2.9).abs() < 1e-9);
        assert!(worst_of(&[1.0, 2.9]) <= MAX_RATIO && worst_of(&[1.0, 3.1]) > MAX_RATIO);
        assert!(worst_of(&[1.0, f64::NAN, 2.0]).is_infinite());
    }
}
