//! A link that falls and comes back, and the same with the rate control of str0m.

use std::{
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use anyhow::Context;
use serde_json::json;
use starling_media::transport::link::Link;

use super::{Report, end, frames_since, freeze, mesh, reference, route, timed};

/// What the link carries, in kbit/s, one phase after another.
pub const PHASES: [(&str, u64); 3] = [("3,000", 3_000), ("800", 800), ("3,000 again", 3_000)];

pub async fn run(time: Duration, report: &mut Report) -> anyhow::Result<()> {
    println!("\n  a link of 3,000 kbit/s that falls to 800 and comes back (50 ms round trip, 300 ms queue)");
    let link = Link::parse("delay=25,rate=3000000,queue=300,seed=5").context("a link")?;
    let rate = link.rate.clone();
    let (mut sender, mut receiver, seen) = timed((1280, 720), None)?;
    (sender.peer.link, receiver.peer.link) = (Some(link.clone()), Link::parse("delay=25,seed=6"));
    let mesh = mesh(vec![sender, receiver]).await?;
    mesh.calls[1].want(0, 720).await;
    let mut phases = Vec::new();
    for (name, kbit) in PHASES {
        rate.store(kbit * 1000, Relaxed);
        let (since, dropped) = (Instant::now(), link.seen.dropped.load(Relaxed));
        tokio::time::sleep(time.max(Duration::from_secs(8))).await;
        let fps = frames_since(&seen, since) as f64 / since.elapsed().as_secs_f64();
        let (frozen, target) = (freeze(&seen, since), route(&mesh.calls[0], 1).target_bps / 1000);
        let gap = route(&mesh.calls[1], 0).audio.longest_gap_ms;
        let dropped = link.seen.dropped.load(Relaxed) - dropped;
        println!(
            "  {name:>12} kbit/s: {fps:>5.1} fps, longest freeze {frozen:.2} s, aims at {target} kbit/s, {dropped} dropped in the queue, longest gap of sound so far {gap} ms"
        );
        phases.push(json!({ "kbit": kbit, "fps": fps, "freeze_s": frozen, "target_kbit": target, "dropped": dropped, "audio_gap_ms": gap }));
    }
    report.insert("falling_link".into(), phases.into());
    end(mesh).await;
    // In virtual time: as long as ours, and much sooner done.
    let phase = time.max(Duration::from_secs(8));
    let phases = tokio::task::spawn_blocking(move || reference::run(phase)).await??;
    report.insert("falling_link_str0m".into(), phases.into());
    Ok(())
}
