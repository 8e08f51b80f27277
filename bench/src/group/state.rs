//! A profile that is in many groups: its start, its memory, and what it does at rest.

use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::row;
use crate::{
    client::Starling,
    measure::{cpu_s, loopback_bytes, rss_kib},
    pair::{create, storage_key},
    processes::Process,
};

/// Logs and doors of all groups are at the server by then.
const SETTLES: Duration = Duration::from_secs(120);
/// How long the quiet is looked at.
const REST: Duration = Duration::from_secs(60);

/// Measures a profile in so many groups of so many accounts.
pub async fn run(groups: u32, members: u32) -> anyhow::Result<Value> {
    let dir = tempfile::Builder::new().prefix("starling-bench-").tempdir()?;
    let starling = Starling::beside(dir.path())?;
    let mut server = Process::start(&["serve", &dir.path().join("rendezvous").display().to_string()])?;
    let home = server.line().await?;
    let profile = starling.profile("groups");
    create(&profile, "groups", &home)?;
    let start = Instant::now();
    starling_node::bench::fill_groups(&profile, &storage_key(), groups, members)?;
    let made_s = start.elapsed().as_secs_f64();
    // The first time it brings the logs to the server.
    let daemon = starling.daemon("groups").await?;
    sleep(SETTLES).await;
    daemon.stop().await.context("the daemon did not stop")?;
    let daemon = starling.daemon("groups").await?;
    let (start_ms, rss_mib) = (daemon.answered.as_secs_f64() * 1e3, daemon.rss_kib as f64 / 1024.0);
    sleep(SETTLES / 4).await;
    let (cpu, bytes) = (cpu_s(daemon.pid()), loopback_bytes());
    sleep(REST).await;
    let (cpu_ms, bytes) = ((cpu_s(daemon.pid()) - cpu) * 1e3, loopback_bytes().saturating_sub(bytes) as f64);
    let later_mib = rss_kib(daemon.pid()) as f64 / 1024.0;
    daemon.stop().await.context("the daemon did not stop")?;
    server.say("").await?;
    println!("{groups} groups of {members}");
    row("made, seconds", format!("{made_s:.1}"));
    row("start to the first answer, ms", format!("{start_ms:.0}"));
    row("resident memory then, MiB", format!("{rss_mib:.0}"));
    row("resident memory later, MiB", format!("{later_mib:.0}"));
    row("CPU in a minute of rest, ms", format!("{cpu_ms:.0}"));
    row("bytes on the wire in it", format!("{bytes:.0}"));
    Ok(json!({
        "groups": groups, "members": members, "start_ms": start_ms, "rss_mib": rss_mib, "rss_later_mib": later_mib,
        "rest_cpu_ms": cpu_ms, "rest_bytes": bytes,
    }))
}
