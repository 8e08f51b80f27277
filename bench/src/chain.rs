//! Device chains: what one of many entries costs a contact, at each start and at the first meeting.

use std::time::Instant;

use serde_json::json;
use starling_keys::{
    AccountKey, DeviceChain, DeviceKey,
    chain::{Joining, Rights, SignWith},
};

use crate::measure::Percentiles;

const TIMES: usize = 200;

/// A chain of an account that has linked and removed devices, one after the other.
fn chain(entries: u32) -> anyhow::Result<DeviceChain> {
    let (root, first) = (AccountKey::from_seed(&[1; 32]), DeviceKey::generate());
    let joining = |key: &DeviceKey| Joining::sign(key, &root.id(), vec![7; 1_216]);
    let mut chain = DeviceChain::create(&root, 1, [9; 32], &joining(&first))?;
    let by = SignWith::Device(&first);
    while chain.len() < entries {
        let other = DeviceKey::generate();
        chain = chain.add(&by, 2, &joining(&other), Rights::Member)?;
        if chain.len() < entries {
            chain = chain.remove(&by, 2, other.id())?;
        }
    }
    Ok(chain)
}

/// Microseconds that something takes.
fn times<T, E: std::error::Error + Send + Sync + 'static>(
    mut what: impl FnMut() -> Result<T, E>,
) -> anyhow::Result<Percentiles> {
    let mut all = Vec::new();
    for _ in 0..TIMES {
        let start = Instant::now();
        std::hint::black_box(what()?);
        all.push(start.elapsed().as_secs_f64() * 1e6);
    }
    Ok(Percentiles::of(all))
}

pub fn run() -> anyhow::Result<()> {
    println!("{:<34} {:>10} {:>16} {:>16}", "a device chain", "bytes", "read stored, µs", "read new, µs");
    for entries in [1, 50, 300] {
        let chain = chain(entries)?;
        let bytes = chain.as_bytes();
        let stored = times(|| DeviceChain::from_stored(bytes))?;
        let new = times(|| DeviceChain::from_bytes(bytes))?;
        println!(
            "  {:<32} {:>10} {:>16.0} {:>16.0}",
            format!("{entries} entries"),
            bytes.len(),
            stored.at(50.0),
            new.at(50.0)
        );
        println!(
            "{}",
            json!({ "bench": "chain", "entries": entries, "bytes": bytes.len(), "stored_us": stored.at(50.0), "new_us": new.at(50.0) })
        );
    }
    Ok(())
}
