//! What something in a group has cost, and when messages came to whom.

use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::{sync::mpsc, time::timeout};

use super::GIVES_UP;
use crate::{
    measure::{Percentiles, cpu_s, disk_bytes, loopback_bytes},
    processes::Process,
};

/// What a member has got: which member, how many messages, and when it could show the last, in nanoseconds since 1970.
pub type Got = (usize, usize, u64);

/// What an action has cost everybody together, but for the server.
pub struct Cost {
    pub seconds: f64,
    pub cpu_s: f64,
    pub server_cpu_s: f64,
    pub wire_bytes: f64,
    pub disk_bytes: f64,
}

/// Measures what happens until it is asked.
pub struct Meter {
    start: Instant,
    cpu: f64,
    server: Option<(u32, f64)>,
    bytes: u64,
    disk: u64,
}

impl Meter {
    pub fn start(server: Option<&Process>) -> Self {
        let server = server.map(|server| (server.pid(), cpu_s(server.pid())));
        Self {
            start: Instant::now(),
            cpu: cpu_s(std::process::id()),
            server,
            bytes: loopback_bytes(),
            disk: disk_bytes(),
        }
    }

    pub fn cost(&self) -> Cost {
        Cost {
            seconds: self.start.elapsed().as_secs_f64(),
            cpu_s: cpu_s(std::process::id()) - self.cpu,
            server_cpu_s: self.server.map_or(0.0, |(pid, before)| cpu_s(pid) - before),
            wire_bytes: loopback_bytes().saturating_sub(self.bytes) as f64,
            disk_bytes: disk_bytes().saturating_sub(self.disk) as f64,
        }
    }
}

/// Messages at a steady rate.
pub struct Paced {
    /// Milliseconds until a member could show a message, for each of both.
    pub delays: Percentiles,
    /// Messages that a member did not get, of all of all members.
    pub missed: usize,
    /// The share of deliveries within 100 ms.
    pub within_100_ms: f64,
}

/// Which messages have come to whom, and when.
pub struct Arrivals {
    got: mpsc::UnboundedReceiver<Got>,
    /// How many each member has, and the times since [`Arrivals::begin`].
    counts: Vec<usize>,
    before: Vec<usize>,
    times: Vec<Vec<(usize, u64)>>,
}

impl Arrivals {
    pub fn new(got: mpsc::UnboundedReceiver<Got>, members: usize) -> Self {
        Self { got, counts: vec![0; members], before: vec![0; members], times: vec![Vec::new(); members] }
    }

    /// One member more is counted.
    pub fn add_member(&mut self) {
        self.counts.push(0);
        self.before.push(0);
        self.times.push(Vec::new());
    }

    /// A member counts from the beginning again.
    pub fn restart(&mut self, number: usize) {
        (self.counts[number], self.before[number]) = (0, 0);
    }

    /// What comes from now on is what is waited for.
    pub fn begin(&mut self) {
        while let Ok(got) = self.got.try_recv() {
            self.note(got);
        }
        self.before.clone_from(&self.counts);
        self.times.iter_mut().for_each(Vec::clear);
    }

    fn note(&mut self, (number, count, at): Got) {
        if let Some(place) = self.counts.get_mut(number) {
            *place = count;
            self.times[number].push((count, at));
        }
    }

    fn has(&self, number: usize, more: usize) -> bool {
        self.counts[number] >= self.before[number] + more
    }

    /// Waits until each of some members has got so many more than when it began.
    pub async fn each(&mut self, wanted: &[(usize, usize)]) -> anyhow::Result<()> {
        while !wanted.iter().all(|(number, more)| self.has(*number, *more)) {
            let got = timeout(GIVES_UP, self.got.recv()).await.with_context(|| {
                let lacks = wanted.iter().filter(|(number, more)| !self.has(*number, *more));
                let lacks: Vec<_> = lacks.map(|(n, more)| (n, self.before[*n] + more - self.counts[*n])).collect();
                format!("messages do not come (member, how many): {lacks:?}")
            })?;
            self.note(got.context("nobody counts")?);
        }
        Ok(())
    }

    /// The same, with as many for each.
    pub async fn all(&mut self, who: &[usize], more: usize) -> anyhow::Result<()> {
        let wanted: Vec<_> = who.iter().map(|number| (*number, more)).collect();
        self.each(&wanted).await
    }

    /// Whether any of them has got anything.
    pub fn any(&self, who: &[usize]) -> bool {
        who.iter().any(|number| self.has(*number, 1))
    }

    /// When the last of all came.
    pub fn last(&self) -> u64 {
        self.times.iter().flatten().map(|(_, at)| *at).max().unwrap_or(0)
    }

    /// Times from when each of some messages was sent until each of some members had so many.
    pub fn paced(&self, who: &[usize], sent: &[u64]) -> Paced {
        let (mut delays, mut missed) = (Vec::with_capacity(who.len() * sent.len()), 0);
        for number in who {
            let mut times = self.times[*number].iter().peekable();
            for (n, sent) in sent.iter().enumerate() {
                let wanted = self.before[*number] + n + 1;
                while times.peek().is_some_and(|(count, _)| *count < wanted) {
                    times.next();
                }
                match times.peek() {
                    Some((_, at)) => delays.push(at.saturating_sub(*sent) as f64 / 1e6),
                    None => missed += 1,
                }
            }
        }
        let all = delays.len() + missed;
        let limit = Duration::from_millis(100).as_millis() as f64;
        let quick = delays.iter().filter(|delay| **delay <= limit).count();
        let within_100_ms = if all == 0 { 0.0 } else { quick as f64 / all as f64 };
        Paced { delays: Percentiles::of(delays), missed, within_100_ms }
    }
}
