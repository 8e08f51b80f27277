//! When received sound is played: a jitter buffer as a state machine, time passed in.
//!
//! It keeps as little delay as the network allows. What the network does is seen from how late packets are compared with the fastest; the
//! delay follows by stretching and shrinking what is played, never by gaps. A packet that is missing at its time is brought back from those
//! after it, or concealed.
//!
//! Where lost packets are asked for (`transport::nack`) and the round trip is short, the delay has room for a request and its answer as long as
//! there is loss; what comes again is no sign of a late network.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{
    Heard, Tick, level,
    opus::{Decoder, has_redundancy},
    stretch,
};
use crate::{
    MediaError,
    limits::{
        MAX_PLAYOUT, MAX_PLAYOUT_PACKETS, MAX_REPAIR_PLAYOUT, MIN_PLAYOUT, PACKET, PLAYOUT_START, SAMPLE_RATE, TICK,
        repair_playout,
    },
};

/// Samples in a millisecond.
const MS: i64 = SAMPLE_RATE as i64 / 1000;
/// How long a lateness is remembered.
const MEMORY: Duration = Duration::from_secs(4);
/// Packets of a burst that are waited for. More would bring more of it back, and cost more in speech that is stretched and shrunk:
/// `starling-bench call --only speech` has figures.
const MAX_BURST: u64 = 3;
/// The delay for bursts fades in so many packets (a minute): what goes up and down with each of them is heard.
const BURSTS_FADE: i64 = 3_000;
/// Packets that the share lost is smoothed over: four seconds.
const LOSS_OVER: f32 = 200.0;
/// Share lost from which packets that come again are worth the delay; below, the next packet brings back what is lost, well enough.
const REPAIRS_FROM: f32 = 0.02;
/// And below which they no longer are.
const REPAIRS_UNTIL: f32 = 0.005;
/// The room for them may become longer by so much before it is given up: a round trip at the limit makes no sound go up and down.
const REPAIR_SLACK: i64 = 30 * MS;
/// Sound that is missing for longer is a pause of the sender's, not a gap.
const MAX_GAP_MS: u64 = 10_000;
/// Nobody has taken sound for so long: what came in the meantime is old. Shorter delays are shrunk.
const STALL: Duration = Duration::from_millis(500);

#[derive(Debug)]
struct Waiting {
    sequence: u64,
    payload: Bytes,
    arrived: Instant,
    /// It was lost, asked for, and came.
    again: bool,
}

/// The delay that is aimed at, and what it follows from. In samples.
#[derive(Debug)]
struct Aim {
    /// Transit times (arrival less time stamp) of the last seconds.
    transits: VecDeque<(Instant, i64)>,
    /// When the first packet came.
    origin: Option<Instant>,
    target: i64,
    /// Delay that brings a burst of losses back: the packet after it has to be there. Fades.
    for_bursts: i64,
    /// Delay in which a lost packet can come again; nothing, if none is asked for.
    repair: Option<i64>,
    /// The delay has room for that now.
    repairs: bool,
    /// Share of packets that are lost on the way, whether they come again or not.
    lost: f32,
}

impl Default for Aim {
    fn default() -> Self {
        let target = PLAYOUT_START.as_millis() as i64 * MS;
        let transits = VecDeque::new();
        Self { transits, origin: None, target, for_bursts: 0, repair: None, repairs: false, lost: 0.0 }
    }
}

impl Aim {
    /// A packet is played, or stood in for.
    fn saw(&mut self, lost: bool) {
        self.lost += (f32::from(u8::from(lost)) - self.lost) / LOSS_OVER;
    }

    /// The delay in which packets that are lost, and would have been as late as the others, can come again; 0 where that is not worth it.
    fn room_for_repairs(&mut self, late: i64) -> i64 {
        let (from, slack) = if self.repairs { (REPAIRS_UNTIL, REPAIR_SLACK) } else { (REPAIRS_FROM, 0) };
        let most = MAX_REPAIR_PLAYOUT.as_millis() as i64 * MS + slack;
        let room = self.repair.map(|repair| repair + late).filter(|room| self.lost > from && *room <= most);
        self.repairs = room.is_some();
        room.unwrap_or(0)
    }
}

/// Loss as told to the sender: counted since it was last asked for.
#[derive(Debug, Default)]
struct Loss {
    /// Packets that should have come.
    due: u64,
    missing: u64,
    bursts: u64,
    /// Packets and bursts lost, fading.
    pattern: (f32, f32),
}

/// The jitter buffer of one participant.
#[derive(Debug)]
pub struct Playout {
    decoder: Decoder,
    /// Packets by their extended time stamp.
    waiting: BTreeMap<i64, Waiting>,
    /// Decoded and not played.
    ready: VecDeque<f32>,
    /// Time stamp of the next sample to decode.
    head: Option<i64>,
    /// Sequence number of the last packet that was decoded.
    decoded: u64,
    newest: Option<(u64, i64)>,
    /// How long the newest packet waits to be played, from when it came.
    wait: Duration,
    /// Until then a new burst of speech is held back, to have the delay that is aimed at.
    hold_until: Option<Instant>,
    /// Samples that were played while nothing was there.
    starved: i64,
    /// When sound was taken last.
    taken: Option<Instant>,
    aim: Aim,
    /// Smoothed delay, in samples.
    delay: f32,
    since_stretch: u32,
    gap_ms: u64,
    loss: Loss,
    heard: Heard,
}

impl Playout {
    /// An empty buffer.
    pub fn new() -> Result<Self, MediaError> {
        Ok(Self {
            decoder: Decoder::new()?,
            waiting: BTreeMap::new(),
            ready: VecDeque::new(),
            head: None,
            decoded: 0,
            newest: None,
            wait: Duration::ZERO,
            hold_until: None,
            starved: 0,
            taken: None,
            aim: Aim::default(),
            delay: 0.0,
            since_stretch: 0,
            gap_ms: 0,
            loss: Loss::default(),
            heard: Heard::default(),
        })
    }

    /// Takes a packet that arrived at `now`.
    pub fn push(&mut self, sequence: u16, timestamp: u32, payload: Bytes, now: Instant) {
        self.take(sequence, timestamp, payload, now, false);
    }

    /// Takes a packet that was lost and asked for: how late it is says nothing about the network.
    pub fn push_again(&mut self, sequence: u16, timestamp: u32, payload: Bytes, now: Instant) {
        self.take(sequence, timestamp, payload, now, true);
    }

    /// Lost packets are asked for, over this round trip; nothing, if they are not.
    pub fn set_repair(&mut self, round_trip: Option<Duration>) {
        self.aim.repair = round_trip.map(|round_trip| repair_playout(round_trip).as_micros() as i64 * MS / 1000);
    }

    /// How long the newest packet waits to be played, from when it came: a lost one that is asked for has to come before its own time.
    pub fn wait(&self) -> Duration {
        self.wait
    }

    fn take(&mut self, sequence: u16, timestamp: u32, payload: Bytes, now: Instant, again: bool) {
        if !self.decoder.samples_in(&payload).is_ok_and(|n| n <= 6 * PACKET) {
            return;
        }
        let (sequence, at) = match self.newest {
            None => (u64::from(sequence) + (1 << 20), i64::from(timestamp) + (1 << 36)),
            Some((last, at)) => (
                last.saturating_add_signed(i64::from(sequence.wrapping_sub(last as u16) as i16)),
                at.saturating_add(i64::from(timestamp.wrapping_sub(at as u32) as i32)),
            ),
        };
        if self.newest.is_none_or(|(last, _)| sequence > last) {
            self.newest = Some((sequence, at));
            self.wait = self.until(at, now);
        }
        if !again {
            self.saw_transit(at, now);
        }
        if self.waiting.len() >= MAX_PLAYOUT_PACKETS {
            self.catch_up();
        }
        if self.head.is_some_and(|head| at < head) {
            self.heard.late += 1;
            return;
        }
        self.waiting.insert(at, Waiting { sequence, payload, arrived: now, again });
    }

    /// Leaves out what is old, so that what comes next has the delay that is aimed at: nobody took sound for a while, takes it too slowly, or it is
    /// a flood. A full buffer that gave up one packet for each that comes would give up each before its turn, and never play one.
    fn catch_up(&mut self) {
        let keep = (self.aim.target / PACKET as i64) as usize + 1;
        let old = self.waiting.len().saturating_sub(keep);
        if old == 0 {
            return;
        }
        (0..old).for_each(|_| drop(self.waiting.pop_first()));
        if let (Some(head), Some((first, next))) = (self.head.as_mut(), self.waiting.first_key_value()) {
            *head = *first;
            self.decoded = next.sequence - 1;
        }
        self.heard.shrunk_ms += (old * PACKET) as u64 / MS as u64;
        (self.starved, self.hold_until, self.delay) = (0, None, 0.0);
    }

    /// How long until what has this time stamp is played.
    fn until(&self, at: i64, now: Instant) -> Duration {
        let Some(head) = self.head else { return samples(self.aim.target) };
        let held = self.hold_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        let ahead = at.saturating_sub(head).min(MAX_GAP_MS as i64 * MS);
        held + samples(ahead - self.starved + self.ready.len() as i64)
    }

    /// The next 10 ms.
    pub fn pull(&mut self, tick: &mut Tick, now: Instant) -> Result<(), MediaError> {
        if self.taken.replace(now).is_some_and(|last| now.saturating_duration_since(last) > STALL) {
            self.catch_up();
        }
        while self.ready.len() < TICK {
            self.refill(now)?;
        }
        for (sample, ready) in tick.iter_mut().zip(self.ready.drain(..TICK)) {
            *sample = ready;
        }
        self.heard.level = level(tick);
        Ok(())
    }

    /// Time stamp (48 kHz, of the sender) of what is played now; nothing before the first packet.
    pub fn playing(&self) -> Option<u32> {
        self.head.map(|head| (head - self.ready.len() as i64) as u32)
    }

    /// What was heard so far.
    pub fn heard(&self) -> Heard {
        Heard { delay_ms: (self.delay as i64 / MS).max(0) as u64, ..self.heard }
    }

    /// Loss since this was last asked: percent, and mean number of packets in a row.
    pub fn loss(&mut self) -> (u8, f32) {
        let (due, missing, bursts) = (self.loss.due, self.loss.missing, self.loss.bursts);
        (self.loss.due, self.loss.missing, self.loss.bursts) = (0, 0, 0);
        let percent = (missing * 100).checked_div(due).unwrap_or(0).min(100) as u8;
        // One second has few bursts: the last ten together tell how long they are.
        let (all, count) = self.loss.pattern;
        self.loss.pattern = (all * 0.9 + missing as f32, count * 0.9 + bursts as f32);
        (percent, if self.loss.pattern.1 < 0.5 { 1.0 } else { self.loss.pattern.0 / self.loss.pattern.1 })
    }

    /// How late packets come decides the delay that is aimed at.
    fn saw_transit(&mut self, at: i64, now: Instant) {
        let origin = *self.aim.origin.get_or_insert(now);
        let arrival = (now - origin).as_micros() as i64 * MS / 1000;
        self.aim.transits.push_back((now, arrival - at));
        while self.aim.transits.front().is_some_and(|(then, _)| now.saturating_duration_since(*then) > MEMORY) {
            self.aim.transits.pop_front();
        }
        if self.aim.transits.len() < 10 {
            return;
        }
        let mut late: Vec<i64> = self.aim.transits.iter().map(|(_, t)| *t).collect();
        late.sort_unstable();
        let fastest = late[0];
        let nearly_all = late[(late.len() - 1) * 97 / 100] - fastest;
        // A packet is 20 ms long, and the one after it is needed for the correction of errors.
        self.aim.for_bursts -= (self.aim.for_bursts / BURSTS_FADE).max(1).min(self.aim.for_bursts);
        let for_repairs = self.aim.room_for_repairs(nearly_all);
        let wanted = (nearly_all + PACKET as i64 + TICK as i64).max(self.aim.for_bursts).max(for_repairs);
        let bounds = (MIN_PLAYOUT.as_millis() as i64 * MS, MAX_PLAYOUT.as_millis() as i64 * MS);
        let wanted = wanted.clamp(bounds.0, bounds.1);
        // Up at once, down slowly.
        self.aim.target =
            if wanted > self.aim.target { wanted } else { self.aim.target - (self.aim.target - wanted) / 50 };
    }

    /// Samples from what is played now to the end of the newest packet.
    fn buffered(&self) -> i64 {
        let (Some(head), Some((at, _))) = (self.head, self.waiting.last_key_value()) else {
            return self.ready.len() as i64;
        };
        at + PACKET as i64 - head + self.ready.len() as i64
    }

    /// Decodes what comes next, or something in its place.
    fn refill(&mut self, now: Instant) -> Result<(), MediaError> {
        let Some((first, arrived, sequence)) =
            self.waiting.first_key_value().map(|(at, w)| (*at, w.arrived, w.sequence))
        else {
            return self.starve();
        };
        let head = match self.head {
            Some(head) => head,
            None => {
                // The very first packet: wait until the delay is there.
                self.hold_until.get_or_insert(arrived + samples(self.aim.target));
                self.decoded = sequence - 1;
                first
            }
        };
        if first > head && self.starved > 0 {
            if sequence == self.decoded + 1 {
                // The sender was silent. What comes now gets the delay that is aimed at.
                self.head = Some(first);
                self.hold_until = Some(arrived + samples(self.aim.target));
            } else {
                self.saw_burst(sequence.saturating_sub(self.decoded + 1));
                // What was concealed in the meantime is not concealed again.
                self.head = Some(head + self.starved.min(first - head));
                let lost = (self.starved.min(first - head) / PACKET as i64) as u64;
                self.count_lost(lost);
                self.heard.concealed += lost;
            }
            self.starved = 0;
            return self.refill(now);
        }
        if let Some(until) = self.hold_until {
            if now < until {
                self.ready.extend(self.decoder.conceal()?.iter().copied().take(TICK));
                return Ok(());
            }
            self.hold_until = None;
        }
        self.head = Some(head);
        self.starved = 0;
        if first > head {
            return self.bring_back(head, first, sequence);
        }
        let Some((at, packet)) = self.waiting.pop_first() else { return self.starve() };
        self.decoded = packet.sequence;
        self.heard.packets += 1;
        self.heard.again += u64::from(packet.again);
        self.aim.saw(packet.again);
        self.loss.due += 1;
        self.gap_ms = 0;
        let pcm = match self.decoder.decode(&packet.payload) {
            Ok(pcm) => pcm.to_vec(),
            Err(_) => vec![0.0; PACKET],
        };
        self.head = Some(at + pcm.len() as i64);
        self.stretch(&pcm);
        Ok(())
    }

    /// Nothing is there: silence of the sender's, or the network is late. Time does not go on for the stream.
    fn starve(&mut self) -> Result<(), MediaError> {
        let pcm = self.decoder.conceal()?;
        self.starved += pcm.len() as i64;
        self.ready.extend(pcm);
        Ok(())
    }

    /// Packets from `head` to `first` are missing, and `first` is there.
    fn bring_back(&mut self, head: i64, first: i64, sequence: u64) -> Result<(), MediaError> {
        let missing = first - head;
        if sequence == self.decoded + 1 {
            // A pause of the sender's: its noise.
            let pcm = self.decoder.conceal()?;
            let length = (pcm.len() as i64).min(missing);
            self.ready.extend(&pcm[..length as usize]);
            self.head = Some(head + length);
            self.gap_ms = 0;
            return Ok(());
        }
        let packets = (missing as u64).div_ceil(PACKET as u64);
        self.count_lost(packets);
        self.saw_burst(sequence.saturating_sub(self.decoded + 1));
        self.decoded = sequence - 1;
        let Some(next) = self.waiting.first_key_value().map(|(_, w)| w.payload.clone()) else { return Ok(()) };
        // Beyond 120 ms of a burst only the newest part is worth bringing back.
        let burst = missing.min(6 * PACKET as i64);
        self.head = Some(first);
        // What cannot be brought back from a broken packet is concealed.
        if has_redundancy(&next)
            && let Ok(pcm) = self.decoder.recover_burst(&next, burst as usize).map(<[f32]>::to_vec)
        {
            self.heard.by_dred += packets;
            self.ready.extend(pcm);
            return Ok(());
        }
        for _ in 1..packets.min(6) {
            let pcm = self.decoder.conceal()?.to_vec();
            self.heard.concealed += 1;
            self.ready.extend(pcm);
        }
        match self.decoder.recover(&next).map(<[f32]>::to_vec) {
            Ok(pcm) => {
                self.heard.by_fec += 1;
                self.ready.extend(pcm);
            }
            Err(_) => {
                self.heard.concealed += 1;
                self.ready.extend(self.decoder.conceal()?);
            }
        }
        Ok(())
    }

    /// `missing` packets in a row were lost, as seen from the numbers of those around them.
    fn saw_burst(&mut self, missing: u64) {
        // Also for a single one: its correction is in the next packet, which has to be there in time.
        if missing > 0 {
            self.aim.for_bursts =
                self.aim.for_bursts.max((missing.min(MAX_BURST) as i64 + 1) * PACKET as i64 + TICK as i64);
        }
    }

    fn count_lost(&mut self, packets: u64) {
        if packets == 0 {
            return;
        }
        self.heard.lost += packets;
        // A network that was away for long is no network that loses much.
        (0..packets.min(MAX_BURST)).for_each(|_| self.aim.saw(true));
        self.loss.missing += packets;
        self.loss.due += packets;
        self.loss.bursts += 1;
        self.gap_ms = packets * 20;
        if self.gap_ms < MAX_GAP_MS {
            self.heard.longest_gap_ms = self.heard.longest_gap_ms.max(self.gap_ms);
        }
    }

    /// Hands decoded sound on, a little longer or shorter where the delay is not what is aimed at.
    fn stretch(&mut self, pcm: &[f32]) {
        let now = (self.buffered() + pcm.len() as i64) as f32;
        self.delay = if self.delay == 0.0 { now } else { self.delay * 0.9 + now * 0.1 };
        self.since_stretch += 1;
        let (delay, target) = (self.delay as i64, self.aim.target);
        let far_too_much = delay > 2 * target + 100 * MS;
        let too_much = delay > target + 15 * MS && now as i64 > target;
        let too_little = delay < target - 12 * MS && (now as i64) < target;
        if (too_much && self.since_stretch >= 3) || far_too_much {
            if let Some(short) = stretch::shrink(pcm, far_too_much) {
                let less = pcm.len() - short.len();
                self.heard.shrunk_ms += (less as i64 / MS) as u64;
                self.delay -= less as f32;
                self.since_stretch = 0;
                self.ready.extend(short);
                return;
            }
        } else if too_little
            && self.since_stretch >= 2
            && let Some(long) = stretch::grow(pcm, delay < target / 2)
        {
            let more = long.len() - pcm.len();
            self.heard.stretched_ms += (more as i64 / MS) as u64;
            self.delay += more as f32;
            self.since_stretch = 0;
            self.ready.extend(long);
            return;
        }
        self.ready.extend(pcm);
    }
}

fn samples(count: i64) -> Duration {
    Duration::from_micros((count.max(0) * 1000 / MS) as u64)
}

#[cfg(test)]
#[path = "playout_tests.rs"]
mod tests;
