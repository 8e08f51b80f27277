//! How much a path carries, from what the other side reports of each packet (transport-wide congestion control).
//!
//! A pure state machine. Packets that take longer and longer wait in a queue: the rate falls at once to what comes through. Without a queue
//! it grows slowly, and fast by *probes*: short bursts above the rate, which show what the path can do before video depends on it. Loss alone
//! is no sign of too much (radio loses, too) unless there is more of it than before.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use rtc::interceptor::{BandwidthEstimator, PacketReport};

use crate::limits::{AUDIO_BITS, MAX_AUDIO_BITS, MAX_VIDEO_BITS, MIN_VIDEO_BITS, START_BITS};

/// The least that is aimed at: speech.
const MIN_RATE: f64 = (AUDIO_BITS + MIN_VIDEO_BITS / 2) as f64;
/// The most: the best video, speech, and room for repetitions.
const MAX_RATE: f64 = MAX_VIDEO_BITS as f64 * 1.2 + MAX_AUDIO_BITS as f64;
/// What came through is measured over so long.
const WINDOW: Duration = Duration::from_millis(600);
/// The fastest packet of so long is what the path takes without a queue.
const BASE_MEMORY: Duration = Duration::from_secs(10);
/// A queue of so long is too much.
const MAX_QUEUE: Duration = Duration::from_millis(55);
/// Below it the rate may grow.
const QUEUE_FREE: Duration = Duration::from_millis(25);
/// Between probes, when all is well; and when the last one showed nothing new.
const PROBE_EVERY: Duration = Duration::from_millis(1_200);
const PROBE_SELDOM: Duration = Duration::from_secs(6);
/// A queue that was too long is empty after this.
const EMPTIES: Duration = Duration::from_millis(700);
/// Loss above what the path has anyway that counts as too much.
const LOSS_MORE: f64 = 0.10;
/// So many packets in a row that seem lost were in a report that was: by chance alone, one in a thousand at 20 % loss. What a full queue
/// drops is seen by the time that the others spend in it.
const LOST_FEEDBACK: u32 = 4;

/// What the sender is to try: so many bits a second, for some packets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Probe {
    /// Rate of the burst in bits a second.
    pub rate: f64,
    /// Bytes to send at it.
    pub bytes: usize,
}

#[derive(Debug)]
struct ActiveProbe {
    rate: f64,
    /// Departures that belong to it.
    from: Instant,
    until: Option<Instant>,
    first: Option<Duration>,
    last: Duration,
    bytes: usize,
}

/// The estimator.
#[derive(Debug)]
pub struct Estimate {
    target: f64,
    start: Option<Instant>,
    /// Arrivals: when by the other clock, bytes.
    arrived: VecDeque<(Duration, usize)>,
    /// Fastest transit (arrival less departure, in seconds) of each second.
    fastest: VecDeque<(Instant, f64)>,
    /// Smoothed time in queues.
    queue: f64,
    growing: f64,
    /// Share of packets lost, by seconds.
    losses: VecDeque<(Instant, u32, u32)>,
    hold: Option<Instant>,
    overflowed: Option<Instant>,
    grew: Option<Instant>,
    probe: Option<ActiveProbe>,
    next_probe: Option<Instant>,
    /// What is wanted at most: there is no use in probing beyond.
    wanted: f64,
}

impl Default for Estimate {
    fn default() -> Self {
        Self {
            target: f64::from(START_BITS),
            start: None,
            arrived: VecDeque::new(),
            fastest: VecDeque::new(),
            queue: 0.0,
            growing: 0.0,
            losses: VecDeque::new(),
            hold: None,
            overflowed: None,
            grew: None,
            probe: None,
            next_probe: None,
            wanted: MAX_RATE,
        }
    }
}

impl Estimate {
    /// Bits a second that may be sent.
    pub fn target(&self) -> f64 {
        self.target
    }

    /// Time that packets spend in queues.
    pub fn queue(&self) -> Duration {
        Duration::from_secs_f64(self.queue.clamp(0.0, 60.0))
    }

    /// A queue was too long just now, and empties.
    pub fn is_falling(&self, now: Instant) -> bool {
        self.overflowed.is_some_and(|at| now.saturating_duration_since(at) < EMPTIES)
    }

    /// Nobody will send more than this.
    pub fn set_wanted(&mut self, bits: f64) {
        self.wanted = bits.clamp(MIN_RATE, MAX_RATE);
    }

    /// What came through lately, in bits a second.
    pub fn through(&self) -> f64 {
        self.through_in(WINDOW)
    }

    fn through_in(&self, window: Duration) -> f64 {
        let Some((last, _)) = self.arrived.back() else { return 0.0 };
        let mut recent = self.arrived.iter().filter(|(at, _)| last.saturating_sub(*at) <= window);
        let Some((first, _)) = recent.next() else { return 0.0 };
        let time = last.saturating_sub(*first).as_secs_f64();
        let bytes: usize = recent.map(|(_, bytes)| bytes).sum();
        if time < 0.05 { 0.0 } else { bytes as f64 * 8.0 / time }
    }

    /// Takes what the other side says of packets, in the order they were sent.
    pub fn on_reports(&mut self, now: Instant, reports: &[PacketReport]) {
        if reports.is_empty() {
            return;
        }
        let start = *self.start.get_or_insert(now);
        let (mut sent, mut lost, mut queue, mut count) = (0u32, 0u32, 0.0, 0u32);
        let (mut missing, mut missing_bytes) = (0u32, 0);
        for report in reports {
            let Some(arrival) = report.arrival.filter(|_| report.arrived) else {
                missing += 1;
                missing_bytes += report.size + 28;
                continue;
            };
            if missing >= LOST_FEEDBACK {
                // The report of these was lost, not they.
                self.arrived.push_back((arrival, missing_bytes));
            } else {
                (sent, lost) = (sent + missing, lost + missing);
            }
            (missing, missing_bytes) = (0, 0);
            sent += 1;
            self.arrived.push_back((arrival, report.size + 28));
            let departed = report.departure.saturating_duration_since(start).as_secs_f64()
                - start.saturating_duration_since(report.departure).as_secs_f64();
            let transit = arrival.as_secs_f64() - departed;
            match self.fastest.back_mut() {
                Some((since, least)) if now.saturating_duration_since(*since) < Duration::from_secs(1) => {
                    *least = least.min(transit);
                }
                _ => self.fastest.push_back((now, transit)),
            }
            let base = self.fastest.iter().map(|(_, t)| *t).fold(f64::INFINITY, f64::min);
            queue += transit - base;
            count += 1;
            self.probed(report.departure, arrival, report.size + 28);
        }
        if missing < LOST_FEEDBACK {
            (sent, lost) = (sent + missing, lost + missing);
        }
        while self.fastest.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) > BASE_MEMORY) {
            self.fastest.pop_front();
        }
        let newest = self.arrived.back().map_or(Duration::ZERO, |(at, _)| *at);
        while self.arrived.front().is_some_and(|(at, _)| newest.saturating_sub(*at) > WINDOW) {
            self.arrived.pop_front();
        }
        self.losses.push_back((now, sent, lost));
        while self.losses.front().is_some_and(|(at, ..)| now.saturating_duration_since(*at) > BASE_MEMORY) {
            self.losses.pop_front();
        }
        if count > 0 {
            let queue = queue / f64::from(count);
            self.growing = 0.7 * self.growing + 0.3 * (queue - self.queue);
            // Up at once: a bottleneck's queue is full within a tenth of a second.
            self.queue =
                if queue > self.queue { 0.2 * self.queue + 0.8 * queue } else { 0.6 * self.queue + 0.4 * queue };
        }
        self.decide(now);
    }

    fn decide(&mut self, now: Instant) {
        self.conclude(now);
        let through = self.through();
        let probing = self.probe.is_some();
        let queue = self.queue();
        let held = self.hold.is_some_and(|until| now < until);
        let full = queue > MAX_QUEUE && (self.growing > -0.002 || queue > 3 * MAX_QUEUE);
        if full && !held {
            // What came through is what the path carries; a little less empties the queue, a long queue takes more.
            let share = if queue > 2 * MAX_QUEUE { 0.7 } else { 0.85 };
            let now_through = self.through_in(Duration::from_millis(150));
            let fallen = if now_through > 0.0 { share * now_through } else { 0.7 * self.target };
            self.overflowed = Some(now);
            self.fall(now, fallen);
            return;
        }
        if self.too_much_loss(now) && !held && !probing {
            self.fall(now, if through > 0.0 { 0.9 * through } else { 0.7 * self.target });
            return;
        }
        let since = self.grew.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.grew = Some(now);
        if queue < QUEUE_FREE && !held && !probing {
            // 8 % a second; more only with proof that it comes through.
            let grown = self.target * 1.08f64.powf(since.as_secs_f64().min(1.0));
            if through * 1.6 > grown {
                self.target = grown.min(self.wanted.max(MIN_RATE)).max(self.target.min(self.wanted));
            }
        }
        self.target = self.target.clamp(MIN_RATE, MAX_RATE);
    }

    fn fall(&mut self, now: Instant, to: f64) {
        if to < self.target {
            self.target = to.clamp(MIN_RATE, MAX_RATE);
        }
        // Until the reports are of packets sent at the new rate, they say nothing about it.
        self.hold = Some(now + Duration::from_millis(250));
        self.probe = None;
        self.next_probe = Some(now + Duration::from_secs(2));
        self.grew = Some(now);
    }

    fn too_much_loss(&self, now: Instant) -> bool {
        let share = |from: Duration, to: Duration| {
            let (sent, lost) = self
                .losses
                .iter()
                .filter(|(at, ..)| (from..to).contains(&now.saturating_duration_since(*at)))
                .fold((0, 0), |(s, l), (_, sent, lost)| (s + sent, l + lost));
            (sent >= 20).then(|| (f64::from(lost) / f64::from(sent), f64::from(sent)))
        };
        let recent = Duration::from_millis(700);
        let Some((recently, packets)) = share(Duration::ZERO, recent) else { return false };
        // Without a past, only a loss that nobody would want to add to.
        let usual = share(recent, BASE_MEMORY).map_or(0.25, |(usual, _)| usual);
        // Three standard deviations: few packets say little.
        let noise = 3.0 * (usual * (1.0 - usual) / packets).sqrt();
        recently > usual + LOSS_MORE.max(noise)
    }

    /// A probe to send now, if it is time for one.
    pub fn probe(&mut self, now: Instant) -> Option<Probe> {
        self.start?;
        let due = *self.next_probe.get_or_insert(now);
        let calm = self.queue() < QUEUE_FREE && self.hold.is_none_or(|until| now >= until);
        if self.probe.is_some() || now < due || !calm || self.target >= 0.95 * self.wanted {
            return None;
        }
        let rate = (self.target * 2.0).min(self.wanted * 1.1);
        // 40 ms of it: enough to measure, little enough for a queue to take.
        let bytes = (rate * 0.04 / 8.0) as usize;
        let until = None;
        self.probe = Some(ActiveProbe { rate, from: now, until, first: None, last: Duration::ZERO, bytes: 0 });
        self.next_probe = Some(now + PROBE_SELDOM);
        Some(Probe { rate, bytes })
    }

    /// The burst was sent: `from` its first packet `until` its last.
    pub fn probe_sent(&mut self, from: Instant, until: Instant) {
        if let Some(probe) = &mut self.probe {
            (probe.from, probe.until) = (from, Some(until));
        }
    }

    fn probed(&mut self, departure: Instant, arrival: Duration, size: usize) {
        let Some(probe) = &mut self.probe else { return };
        if departure < probe.from || probe.until.is_some_and(|until| departure > until) {
            return;
        }
        if probe.first.is_none() {
            probe.first = Some(arrival);
        } else {
            probe.bytes += size;
        }
        probe.last = probe.last.max(arrival);
    }

    /// What a probe has shown, once its packets had time to arrive.
    fn conclude(&mut self, now: Instant) {
        let Some(probe) = &self.probe else { return };
        let ended = probe.until.map_or(probe.from + Duration::from_millis(500), |until| until);
        if now.saturating_duration_since(ended) < Duration::from_millis(250) {
            return;
        }
        let Some(probe) = self.probe.take() else { return };
        let Some(first) = probe.first else { return };
        let time = probe.last.saturating_sub(first).as_secs_f64();
        if time < 0.005 || probe.bytes < 3_000 {
            return;
        }
        let shown = (probe.bytes as f64 * 8.0 / time).min(probe.rate);
        let clear = shown > 0.85 * probe.rate;
        let proven = if clear { 0.95 * shown } else { 0.85 * shown };
        if proven > self.target {
            self.target = proven.clamp(MIN_RATE, self.wanted.max(MIN_RATE));
            tracing::trace!(proven, "a probe came through");
        }
        if clear {
            self.next_probe = Some(now + PROBE_EVERY.min(Duration::from_millis(300)));
        } else {
            self.next_probe = Some(now + PROBE_SELDOM.min(PROBE_EVERY * 3));
        }
    }
}

/// An estimate that the sender and the interceptor share.
#[derive(Clone, Debug, Default)]
pub struct Shared {
    inner: Arc<Mutex<Estimate>>,
    /// Bits a second, to be read without the lock.
    target: Arc<AtomicU32>,
}

impl Shared {
    /// A new estimate.
    pub fn new() -> Self {
        let shared = Self::default();
        shared.target.store(START_BITS, Relaxed);
        shared
    }

    /// Bits a second that may be sent.
    pub fn target(&self) -> u32 {
        self.target.load(Relaxed)
    }

    /// Does something with the estimate.
    pub fn with<T>(&self, act: impl FnOnce(&mut Estimate) -> T) -> T {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let result = act(&mut inner);
        self.target.store(inner.target() as u32, Relaxed);
        result
    }
}

impl BandwidthEstimator for Shared {
    fn on_reports(&mut self, now: Instant, reports: &[PacketReport]) {
        self.with(|estimate| estimate.on_reports(now, reports));
    }

    fn target_bitrate(&self) -> f64 {
        f64::from(self.target())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng, rngs::SmallRng};

    /// A sender that follows the estimate, on a path with a bottleneck.
    struct Path {
        estimate: Estimate,
        start: Instant,
        ms: u64,
        /// Bits a second.
        rate: f64,
        free: f64,
        loss: f64,
        rng: SmallRng,
        under_way: VecDeque<(f64, PacketReport)>,
        credit: f64,
        number: u64,
        dropped: u32,
        longest: f64,
        probe: Option<(Probe, Instant, f64)>,
    }

    impl Path {
        fn new(rate: f64, loss: f64) -> Self {
            Self {
                estimate: Estimate::default(),
                start: Instant::now(),
                ms: 0,
                rate,
                free: 0.0,
                loss,
                rng: SmallRng::seed_from_u64(3),
                under_way: VecDeque::new(),
                credit: 0.0,
                number: 0,
                dropped: 0,
                longest: 0.0,
                probe: None,
            }
        }

        fn send(&mut self, size: usize) {
            let now = self.ms as f64 / 1e3;
            let free = self.free.max(now);
            let fits = free - now < 0.3;
            self.dropped += u32::from(!fits);
            if fits {
                self.free = free + (size + 28) as f64 * 8.0 / self.rate;
                self.longest = self.longest.max(self.free - now);
            }
            let arrived = fits && self.rng.random_range(0.0..1.0) >= self.loss;
            let arrival = self.free + 0.025;
            let report = PacketReport {
                ssrc: 1,
                id: self.number,
                rtp_sequence_number: self.number as u16,
                is_twcc: true,
                twcc_sequence_number: self.number as u16,
                size,
                arrived,
                departure: self.start + Duration::from_millis(self.ms),
                arrival: arrived.then(|| Duration::from_secs_f64(arrival)),
                ecn: Default::default(),
            };
            self.number += 1;
            self.under_way.push_back((arrival + 0.025, report));
        }

        /// Some time; gives the mean rate that was aimed at.
        fn run(&mut self, ms: u64) -> f64 {
            let (end, mut sum) = (self.ms + ms, 0.0);
            while self.ms < end {
                let now = self.start + Duration::from_millis(self.ms);
                self.credit += self.estimate.target() / 8.0 / 1e3;
                // Frames, each of some packets.
                if self.ms.is_multiple_of(33) {
                    while self.credit >= 1_100.0 {
                        self.credit -= 1_100.0;
                        self.send(1_100);
                    }
                }
                if self.probe.is_none()
                    && let Some(probe) = self.estimate.probe(now)
                {
                    self.probe = Some((probe, now, 0.0));
                }
                if let Some((probe, from, mut sent)) = self.probe.take() {
                    let due = probe.rate / 8.0 * (now - from).as_secs_f64();
                    while sent < due && sent < probe.bytes as f64 {
                        self.send(1_100);
                        sent += 1_100.0;
                    }
                    if sent >= probe.bytes as f64 {
                        self.estimate.probe_sent(from, now);
                    } else {
                        self.probe = Some((probe, from, sent));
                    }
                }
                if self.ms.is_multiple_of(50) {
                    let mut reports = Vec::new();
                    while self.under_way.front().is_some_and(|(at, _)| *at <= self.ms as f64 / 1e3) {
                        reports.extend(self.under_way.pop_front().map(|(_, r)| r));
                    }
                    self.estimate.on_reports(now, &reports);
                }
                sum += self.estimate.target();
                self.ms += 1;
            }
            sum / ms as f64
        }
    }

    #[test]
    fn it_finds_what_a_path_carries_and_follows_it() {
        let mut path = Path::new(3e6, 0.0);
        path.run(5_000);
        let found = path.run(5_000);
        assert!(found > 2.0e6, "after five seconds {found}");
        path.rate = 0.8e6;
        (path.dropped, path.longest) = (0, 0.0);
        path.run(1_500);
        path.longest = 0.0;
        let low = path.run(10_000);
        assert!((0.5e6..0.85e6).contains(&low), "{low}");
        assert!(path.dropped < 60, "{} dropped", path.dropped);
        assert!(path.longest < 0.2, "a queue of {} s", path.longest);
        path.rate = 3e6;
        path.run(6_000);
        let back = path.run(5_000);
        assert!(back > 1.8e6, "{back}");
    }

    #[test]
    fn loss_that_is_always_there_does_not_slow_it() {
        let mut path = Path::new(2e6, 0.2);
        path.run(8_000);
        let found = path.run(5_000);
        assert!(found > 0.9e6, "{found}");
    }

    #[test]
    fn a_narrow_path_is_not_overrun() {
        let mut path = Path::new(0.3e6, 0.0);
        path.run(2_000);
        (path.dropped, path.longest) = (0, 0.0);
        let found = path.run(10_000);
        assert!((0.15e6..0.33e6).contains(&found), "{found}");
        assert!(path.dropped < 10 && path.longest < 0.25, "{} {}", path.dropped, path.longest);
    }
}
