//! `starling send` through a running daemon: the whole process, beside `starling --version`.

use std::{process::Command, time::Instant};

use anyhow::{Context, ensure};
use serde_json::json;

use crate::{client::Starling, measure::Percentiles, pair, processes::Process};

/// Runs a command to its end; how long it took, in milliseconds.
fn time(mut command: Command) -> anyhow::Result<f64> {
    let start = Instant::now();
    let status = command.status()?;
    let ms = start.elapsed().as_secs_f64() * 1e3;
    ensure!(status.success(), "{command:?} has failed");
    Ok(ms)
}

pub async fn run(count: usize) -> anyhow::Result<()> {
    let dir = tempfile::Builder::new().prefix("starling-bench-").tempdir()?;
    let starling = Starling::beside(dir.path())?;
    let mut server = Process::start(&["serve", &dir.path().join("rendezvous").display().to_string()])?;
    let home = server.line().await?;
    let profile = starling.profile("alice");
    pair::create(&profile, "alice", &home)?;
    let pair = pair::Pair::start(&profile, &dir.path().join("bob"), &home, pair::Filled::default()).await?;
    let (mut peer, to) = pair.close().await;
    let daemon = starling.daemon("alice").await?;

    let (mut floor, mut question, mut send) = (Vec::new(), Vec::new(), Vec::new());
    // The first round warms up.
    for n in 0..=count {
        let version = time(starling.command("alice", &["--version"]))?;
        let asked = time(starling.command("alice", &["rpc", "cursor"]))?;
        let sent = time(starling.command("alice", &["send", &to, &format!("message {n}")]))?;
        if n > 0 {
            floor.push(version);
            question.push(asked);
            send.push(sent);
        }
    }
    let (floor, question, send) = (Percentiles::of(floor), Percentiles::of(question), Percentiles::of(send));

    println!("whole process, through a daemon   p50 ms    p99 ms");
    let row = |name: &str, p: &Percentiles| println!("  {name:<28} {:>9.2} {:>9.2}", p.at(50.0), p.at(99.0));
    row("floor: starling --version", &floor);
    row("starling rpc cursor", &question);
    row("starling send", &send);
    let both = |p: &Percentiles| json!({ "p50": p.at(50.0), "p99": p.at(99.0) });
    println!(
        "{}",
        json!({ "bench": "send", "count": count, "version_ms": both(&floor), "rpc_ms": both(&question), "send_ms": both(&send) })
    );
    daemon.stop().await.context("the daemon did not stop")?;
    peer.say("").await?;
    server.say("").await?;
    Ok(())
}
