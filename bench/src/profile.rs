//! A profile with thousands of conversations and contacts: what a message costs beside them, and how long its start takes.

use anyhow::Context;
use serde_json::json;

use crate::{
    client::Starling,
    pair::{self, Filled, Pair},
    processes::Process,
};

/// Bytes of a message.
const SIZE: usize = 256;
/// Messages one at a time before a burst: connected directly by then, and warm.
const WARM: usize = 100;

/// What was measured of one profile.
struct Measured {
    start_ms: f64,
    rss_mib: f64,
    cpu_us: f64,
}

/// Measures both ends filled alike.
async fn measure(name: &str, filled: Filled, burst: usize, rounds: usize) -> anyhow::Result<Measured> {
    let dir = tempfile::Builder::new().prefix("starling-bench-").tempdir()?;
    let starling = Starling::beside(dir.path())?;
    let mut server = Process::start(&["serve", &dir.path().join("rendezvous").display().to_string()])?;
    let home = server.line().await?;
    let profile = starling.profile(name);
    pair::create(&profile, name, &home)?;
    filled.fill(&profile)?;
    let daemon = starling.daemon(name).await?;
    let (start_ms, rss_mib) = (daemon.answered.as_secs_f64() * 1e3, daemon.rss_kib as f64 / 1024.0);
    daemon.stop().await.context("the daemon did not stop")?;

    let mut pair = Pair::start(&profile, &dir.path().join("peer"), &home, filled).await?;
    pair.one_at_a_time(WARM, SIZE).await?;
    let mut cpu_us = f64::INFINITY;
    for _ in 0..rounds {
        cpu_us = cpu_us.min(pair.burst(burst, SIZE).await?.cpu_us);
    }
    let (mut peer, _) = pair.close().await;
    peer.say("").await?;
    server.say("").await?;
    Ok(Measured { start_ms, rss_mib, cpu_us })
}

pub async fn run(filled: Filled, burst: usize, rounds: usize) -> anyhow::Result<()> {
    let empty = measure("empty", Filled::default(), burst, rounds).await?;
    let full = measure("full", filled, burst, rounds).await?;

    let Filled { conversations, contacts } = filled;
    println!("{conversations} other conversations, {contacts} contacts    empty      full     ratio");
    let row = |name: &str, empty: f64, full: f64| {
        println!("  {name:<38} {empty:>9.1} {full:>9.1} {:>9.2}", full / empty);
    };
    row("CPU of a message in a burst, µs", empty.cpu_us, full.cpu_us);
    row("start to the first answer, ms", empty.start_ms, full.start_ms);
    row("resident memory then, MiB", empty.rss_mib, full.rss_mib);
    let of = |m: &Measured| json!({ "cpu_us": m.cpu_us, "start_ms": m.start_ms, "rss_mib": m.rss_mib });
    println!(
        "{}",
        json!({
            "bench": "profile", "conversations": conversations, "contacts": contacts, "burst": burst,
            "empty": of(&empty), "full": of(&full), "cpu_ratio": full.cpu_us / empty.cpu_us,
        })
    );
    Ok(())
}
