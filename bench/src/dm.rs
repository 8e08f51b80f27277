//! Direct messages between two nodes, beside a bare stream and a bare store.

use serde_json::json;

use crate::{
    floor,
    measure::Percentiles,
    pair::{self, Burst, Filled, Pair},
    processes::Process,
};

pub async fn run(single: usize, burst_size: usize) -> anyhow::Result<()> {
    let dir = tempfile::Builder::new().prefix("starling-bench-").tempdir()?;
    let path = |name: &str| dir.path().join(name).display().to_string();
    let mut server = Process::start(&["serve", &path("rendezvous")])?;
    let home = server.line().await?;
    pair::create(&dir.path().join("alice"), "alice", &home)?;
    let nobody = Filled::default();
    let mut pair = Pair::start(&dir.path().join("alice"), &dir.path().join("bob"), &home, nobody).await?;
    // Warm, and connected directly.
    pair.one_at_a_time(100, 256).await?;
    let (to_durable, to_event) = pair.one_at_a_time(single, 256).await?;
    let small = pair.burst(burst_size, 256).await?;
    let large_count = (burst_size / 10).max(1);
    let large = pair.burst(large_count, 4096).await?;

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
    let (mut peer, _) = pair.close().await;
    peer.say("").await?;
    server.say("").await?;
    Ok(())
}
