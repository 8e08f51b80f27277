//! Asks for lost video packets again (RFC 4585, generic NACK): soon, paced by the round trip, and a bounded number of times.
//!
//! The library's own generator asks every 100 ms without end; at 20 % loss that is the difference between 13 and 29 frames a second.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use rtc::{
    interceptor::{AttributedPacket, Packet, StreamInfo, TaggedPacket},
    rtcp::transport_feedbacks::transport_layer_nack::{TransportLayerNack, nack_pairs_from_sequence_numbers},
    shared::TransportContext,
};

use super::{passthrough::Look, taps::Seen};
use crate::limits::video_patience;

/// How long a packet may be overtaken before it counts as lost.
const REORDER: Duration = Duration::from_millis(5);
/// Least time between two requests for one packet.
const MIN_RETRY: Duration = Duration::from_millis(20);
/// Share of packets lost above which a request or its answer is lost as well too often to wait for: then two are made in a round trip.
const MUCH_LOSS: f64 = 0.15;
/// Packets that the share lost is smoothed over.
const LOSS_OVER: f64 = 200.0;
/// With fewer packets nothing is said of loss.
const MIN_LOSS_SAMPLES: f64 = 40.0;
/// Requests for one packet.
const TRIES: u8 = 10;
/// Packets that are asked for at a time: beyond, a key frame is cheaper.
const MAX_MISSING: usize = 80;

#[derive(Debug)]
struct Missing {
    since: Instant,
    due: Instant,
    tries: u8,
}

#[derive(Debug, Default)]
struct Stream {
    highest: Option<u64>,
    missing: BTreeMap<u64, Missing>,
    /// Share of packets that had to be asked for, and how many it is known from.
    lost: f64,
    known: f64,
}

impl Stream {
    fn saw(&mut self, sequence: u16, now: Instant) {
        let Some(highest) = self.highest else {
            self.highest = Some(u64::from(sequence) + (1 << 20));
            return;
        };
        let at = highest.saturating_add_signed(i64::from(sequence.wrapping_sub(highest as u16) as i16));
        if at <= highest {
            self.missing.remove(&at);
            return;
        }
        self.highest = Some(at);
        if at - highest > MAX_MISSING as u64 {
            self.missing.clear();
            return;
        }
        self.known = (self.known + 1.0).min(LOSS_OVER);
        self.lost *= 1.0 - 1.0 / self.known.max(MIN_LOSS_SAMPLES);
        for lost in highest + 1..at {
            self.missing.insert(lost, Missing { since: now, due: now + REORDER, tries: 0 });
        }
        while self.missing.len() > MAX_MISSING {
            self.missing.pop_first();
        }
    }

    /// Sequence numbers to ask for now.
    fn due(&mut self, now: Instant, round_trip: Duration) -> Vec<u16> {
        // An answer to a later request would come too late.
        let patience = video_patience(round_trip).saturating_sub(round_trip);
        self.missing.retain(|_, m| m.tries < TRIES && now.saturating_duration_since(m.since) < patience);
        let again = if self.lost > MUCH_LOSS { round_trip / 2 } else { round_trip + round_trip / 8 };
        let mut ask = Vec::new();
        for (at, missing) in self.missing.iter_mut().filter(|(_, m)| m.due <= now) {
            if missing.tries == 0 {
                self.lost += (1.0 - self.lost) / self.known.max(MIN_LOSS_SAMPLES);
            }
            missing.tries += 1;
            missing.due = now + MIN_RETRY.max(again);
            ask.push(*at as u16);
        }
        ask
    }
}

/// Asks for what is missing of each stream.
pub(super) struct Nack {
    seen: Arc<Seen>,
    sender: u32,
    streams: HashMap<u32, Stream>,
}

impl Nack {
    pub fn new(seen: Arc<Seen>) -> Self {
        Self { seen, sender: rand::random(), streams: HashMap::new() }
    }
}

impl Look for Nack {
    fn came(&mut self, message: &mut TaggedPacket) {
        if let Packet::Rtp(packet) = &message.message.packet
            && let Some(stream) = self.streams.get_mut(&packet.header.ssrc)
        {
            stream.saw(packet.header.sequence_number, message.now);
        }
    }

    fn next(&self) -> Option<Instant> {
        self.streams.values().flat_map(|s| s.missing.values().map(|m| m.due)).min()
    }

    fn due(&mut self, now: Instant) -> Vec<TaggedPacket> {
        let round_trip = Duration::from_micros(u64::from(self.seen.round_trip_us.load(Relaxed)));
        let mut asks = Vec::new();
        for (ssrc, stream) in &mut self.streams {
            let ask = stream.due(now, round_trip);
            if ask.is_empty() {
                continue;
            }
            let nacks = nack_pairs_from_sequence_numbers(&ask);
            let nack = TransportLayerNack { sender_ssrc: self.sender, media_ssrc: *ssrc, nacks };
            asks.push(TaggedPacket {
                now,
                transport: TransportContext::default(),
                message: AttributedPacket::new(Packet::Rtcp(vec![Box::new(nack)])),
            });
        }
        asks
    }

    fn begins(&mut self, info: &StreamInfo) {
        if info.rtcp_feedback.iter().any(|f| f.typ == "nack" && f.parameter.is_empty()) {
            self.streams.insert(info.ssrc, Stream::default());
        }
    }

    fn ends(&mut self, info: &StreamInfo) {
        self.streams.remove(&info.ssrc);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_packet_is_asked_for_soon_and_not_for_ever() {
        let (mut stream, start) = (Stream::default(), Instant::now());
        let round_trip = Duration::from_millis(50);
        stream.saw(65_534, start);
        stream.saw(1, start);
        assert!(stream.due(start, round_trip).is_empty(), "it may only be overtaken");
        let mut asked = Vec::new();
        for ms in 0..1_000 {
            let now = start + Duration::from_millis(ms);
            asked.extend(stream.due(now, round_trip).into_iter().map(|s| (ms, s)));
        }
        assert_eq!(asked[..2], [(5, 65_535), (5, 0)]);
        assert_eq!(asked[2].0, 62, "the next request waits for a round trip");
        assert!(asked.len() <= 12, "{asked:?}");
        assert!(stream.missing.is_empty());
    }

    #[test]
    fn with_much_loss_it_is_asked_for_twice_in_a_round_trip() {
        let (start, round_trip) = (Instant::now(), Duration::from_millis(50));
        // Every `of`th packet is lost for good; how often each is asked for.
        let asked = |of: u16| {
            let (mut stream, mut asked) = (Stream::default(), 0);
            for n in (0..2_000u16).filter(|n| n % of != 0) {
                let now = start + Duration::from_millis(u64::from(n) * 5);
                stream.saw(n, now);
                asked += stream.due(now, round_trip).len();
            }
            asked as f64 / f64::from(2_000 / of)
        };
        let (little, much) = (asked(10), asked(5));
        assert!((3.5..4.5).contains(&little), "{little}");
        assert!((6.0..8.5).contains(&much), "{much}");
    }

    #[test]
    fn what_came_is_not_asked_for_and_jumps_are_bounded() {
        let (mut stream, now) = (Stream::default(), Instant::now());
        for sequence in [10, 13, 12, 11] {
            stream.saw(sequence, now);
        }
        assert!(stream.missing.is_empty());
        for n in 0..10_000u16 {
            stream.saw(n.wrapping_mul(300), now);
            assert!(stream.missing.len() <= MAX_MISSING);
        }
    }
}
