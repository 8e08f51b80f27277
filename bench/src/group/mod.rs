//! Groups: real nodes in this process, each with a store of its own, over loopback and one real server, beside gossipsub alone. All share the processors
//! of this machine, so what is said of many members is what all of them do, on those.

mod bare;
mod company;
mod cost;
mod state;

use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};
use tokio::time::sleep;

use self::{company::Company, cost::Cost};
use crate::measure::rss_kib;

/// Whatever a group does is done by then, or never.
const GIVES_UP: Duration = Duration::from_secs(600);
/// Messages at a steady rate: ten a second.
const EVERY: Duration = Duration::from_millis(100);
/// Members who have just come in connect, and learn who the others are: that is over then. gossipsub alone has as long for its meshes.
const SETTLES: Duration = Duration::from_secs(8);
/// Senders who write at the same time.
const SENDERS: usize = 10;
/// Texts in each call of a burst.
const TOGETHER: usize = 64;
/// Of those who come back at once, so many at most: each opens its profile, and all share this machine.
const RUSH: usize = 500;

/// What is measured.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Wanted {
    /// Messages sent at a steady rate of ten a second, to each size.
    #[arg(long, default_value_t = 100)]
    single: usize,
    /// Messages in a burst, and that a member has missed.
    #[arg(long, default_value_t = 2_000)]
    burst: usize,
    /// Bytes of each.
    #[arg(long, default_value_t = 1_024)]
    size: usize,
    /// Groups of 20 in which one profile is.
    #[arg(long, default_value_t = 1_000)]
    groups: u32,
}

fn row(name: &str, value: String) {
    println!("  {name:<58} {value:>14}");
}

/// A steady rate, and gossipsub alone at the same.
async fn steady(company: &mut Company, wanted: Wanted) -> anyhow::Result<Value> {
    let Wanted { single, size, .. } = wanted;
    let members = company.members.len();
    sleep(SETTLES).await;
    let (paced, cost) = company.paced(single, size, EVERY).await?;
    let (floor, floor_cost) = bare::paced(members, single, size, EVERY).await?;
    let cpu = |cost: &Cost| cost.cpu_s * 1e6 / (single * members) as f64;
    let times_payload = |cost: &Cost| cost.wire_bytes / (single * size * members) as f64;
    let of_bare = cost.wire_bytes / floor_cost.wire_bytes;
    row("10 a second: a member has it, ms p50 (gossipsub alone)", both(paced.delays.at(50.0), floor.delays.at(50.0)));
    row("  p99", both(paced.delays.at(99.0), floor.delays.at(99.0)));
    row("  slowest", both(paced.delays.at(100.0), floor.delays.at(100.0)));
    row("  within 100 ms, %", both(paced.within_100_ms * 100.0, floor.within_100_ms * 100.0));
    row("  missed", format!("{} ({})", paced.missed, floor.missed));
    row("  CPU µs for each message and member", both(cpu(&cost), cpu(&floor_cost)));
    row("  bytes on the wire, times payload and members", both(times_payload(&cost), times_payload(&floor_cost)));
    row("  bytes on the wire, times those of gossipsub alone", format!("{of_bare:.2}"));
    row("  bytes on disk for each message and member", format!("{:.0}", cost.disk_bytes / (single * members) as f64));
    Ok(json!({
        "ms": { "p50": paced.delays.at(50.0), "p99": paced.delays.at(99.0), "max": paced.delays.at(100.0) },
        "within_100_ms": paced.within_100_ms, "cpu_us": cpu(&cost), "times_payload": times_payload(&cost),
        "bare_ms": { "p50": floor.delays.at(50.0), "p99": floor.delays.at(99.0), "max": floor.delays.at(100.0) },
        "bare_missed": floor.missed, "bare_cpu_us": cpu(&floor_cost), "bare_times_payload": times_payload(&floor_cost),
        "times_bare": of_bare, "disk_bytes": cost.disk_bytes / (single * members) as f64,
    }))
}

fn both(own: f64, floor: f64) -> String {
    format!("{own:.1} ({floor:.1})")
}

/// Bursts: of the first member, and of several at once, many in a call and one by one.
async fn bursts(company: &mut Company, wanted: Wanted) -> anyhow::Result<Value> {
    let Wanted { burst, size, .. } = wanted;
    let members = company.members.len();
    let senders = SENDERS.min(members - 1);
    let mut told = serde_json::Map::new();
    for (name, senders, together) in [
        ("one writes in bursts", 1, TOGETHER),
        ("several write in bursts", senders, TOGETHER),
        ("several write one by one", senders, 1),
    ] {
        let each = burst.div_ceil(senders);
        let cost = company.burst(senders, (each, together), size).await?;
        let count = each * senders;
        let rate = count as f64 / cost.seconds;
        let cpu = cost.cpu_s * 1e6 / (count * members) as f64;
        row(&format!("{name} ({senders}): messages/s until all have them"), format!("{rate:.0}"));
        row("  CPU µs for each message and member", format!("{cpu:.0}"));
        row("  CPU µs of the server for each message", format!("{:.0}", cost.server_cpu_s * 1e6 / count as f64));
        row(
            "  bytes on the wire, times payload and members",
            format!("{:.2}", cost.wire_bytes / (count * size * members) as f64),
        );
        row(
            "  bytes on disk for each message and member",
            format!("{:.0}", cost.disk_bytes / (count * members) as f64),
        );
        let figures = json!({
            "senders": senders, "per_second": rate, "cpu_us": cpu, "server_cpu_us": cost.server_cpu_s * 1e6 / count as f64,
            "times_payload": cost.wire_bytes / (count * size * members) as f64,
            "disk_bytes": cost.disk_bytes / (count * members) as f64,
        });
        told.insert(name.replace(' ', "_"), figures);
    }
    Ok(told.into())
}

/// Members that come, go, and catch up.
async fn members(company: &mut Company, dir: &std::path::Path, wanted: Wanted) -> anyhow::Result<Value> {
    let Wanted { burst, size, .. } = wanted;
    let (added, reads_ms) = company.add(dir).await?;
    row("one more: until they can read, ms", format!("{reads_ms:.0}"));
    row("  until all see it, ms", format!("{:.0}", added.seconds * 1e3));
    row("  KB on the wire", format!("{:.0}", added.wire_bytes / 1e3));
    let removed = company.remove().await?;
    row("one less: until 99 % are in the new epoch, ms", format!("{:.0}", removed.seconds * 1e3));
    row("  KB on the wire", format!("{:.0}", removed.wire_bytes / 1e3));
    // In a group of two nobody else would be there.
    let batches = company.catch_up(1, (burst, TOGETHER), size).await?;
    let batches = burst as f64 / batches.seconds;
    row("catching up what came in bursts: messages/s, with the start", format!("{batches:.0}"));
    let single = company.catch_up(1, (burst, 1), size).await?;
    let single = burst as f64 / single.seconds;
    row("  what came one by one", format!("{single:.0}"));
    let away = (company.members.len() - 1).min(RUSH);
    let rush = company.catch_up(away, (wanted.single, 1), size).await?;
    row(&format!("{away} come at once: until all have all, s"), format!("{:.1}", rush.seconds));
    row("  CPU of the server for each, ms", format!("{:.1}", rush.server_cpu_s * 1e3 / away as f64));
    row("  memory of the server, MB", format!("{:.0}", rss_kib(company.server.pid()) as f64 / 1e3));
    Ok(json!({
        "added_reads_ms": reads_ms, "added_ms": added.seconds * 1e3, "added_bytes": added.wire_bytes,
        "removed_ms": removed.seconds * 1e3, "removed_bytes": removed.wire_bytes,
        "catch_up_bursts_per_second": batches, "catch_up_single_per_second": single,
        "rush": { "members": away, "seconds": rush.seconds, "server_cpu_ms": rush.server_cpu_s * 1e3 / away as f64 },
    }))
}

/// What is measured of one size.
async fn measure(size: usize, wanted: Wanted) -> anyhow::Result<Value> {
    let dir = tempfile::Builder::new().prefix("starling-bench-").tempdir()?;
    println!("{size} members, messages of {} bytes", wanted.size);
    let (mut company, founded, [waits, others]) = Company::found(dir.path(), size).await?;
    row("all came in, seconds", format!("{:.1}", founded.seconds));
    row("  the longest wait for the founder's node, ms (another's)", both(waits.at(100.0), others.at(100.0)));
    row("  99 of 100 waited at most, ms", both(waits.at(99.0), others.at(99.0)));
    row("  MB on the wire", format!("{:.1}", founded.wire_bytes / 1e6));
    let steady = steady(&mut company, wanted).await?;
    let bursts = bursts(&mut company, wanted).await?;
    let members = members(&mut company, dir.path(), wanted).await?;
    let rss = rss_kib(std::process::id());
    row("memory of all nodes, MB", format!("{:.0}", rss as f64 / 1e3));
    company.end().await?;
    Ok(json!({
        "members": size, "founded_s": founded.seconds, "founder_waits_ms": waits.at(100.0),
        "founder_waits_p99_ms": waits.at(99.0), "others_wait_ms": others.at(100.0), "others_wait_p99_ms": others.at(99.0),
        "founded_bytes": founded.wire_bytes, "steady": steady, "bursts": bursts, "changes": members, "rss_kib": rss,
    }))
}

pub async fn run(sizes: &[usize], wanted: Wanted) -> anyhow::Result<()> {
    ensure!(sizes.iter().all(|members| *members >= 2), "a group has two members at least");
    let mut told = Vec::new();
    for size in sizes {
        told.push(measure(*size, wanted).await?);
    }
    let state = if wanted.groups > 0 { state::run(wanted.groups, 20).await? } else { Value::Null };
    println!(
        "{}",
        json!({ "bench": "group", "burst": wanted.burst, "size": wanted.size, "sizes": told, "state": state })
    );
    Ok(())
}
