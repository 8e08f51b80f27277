//! The honest clients, and how long they wait.

use std::time::{Duration, Instant};

use anyhow::bail;
use bytes::Bytes;
use libp2p::Multiaddr;
use starling_keys::DeviceKey;
use starling_wire::{
    LogKey, LogVerb,
    rendezvous::{LogRequest, ResponseBody},
};
use tokio::time::{sleep, timeout};

use crate::session::Session;

/// Something that takes longer than this has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// Medians of the honest clients, in milliseconds.
#[derive(Clone, Copy)]
pub struct Latency {
    pub connect: f64,
    pub send: f64,
    pub receive: f64,
}

/// What clients with accounts see: one connects again and again, one writes, one reads.
pub async fn honest(
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
