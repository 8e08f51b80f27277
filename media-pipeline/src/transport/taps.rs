//! Looks at RTCP on its way in: key frame requests for our encoder, and the clock of the other side's streams.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use rtc::{
    interceptor::{Packet, StreamInfo, TaggedPacket},
    rtcp::{
        payload_feedbacks::{full_intra_request::FullIntraRequest, picture_loss_indication::PictureLossIndication},
        sender_report::SenderReport,
        transport_feedbacks::transport_layer_nack::{TransportLayerNack, nack_pairs_from_sequence_numbers},
    },
    rtp_transceiver::rtp_sender::RtpCodecKind,
};

use super::{codecs::kind, estimate::Shared, passthrough::Look};
use crate::limits::{MAX_AUDIO_BITS, PACKET, RTP_PAYLOAD, SAMPLE_RATE};

/// A point that a stream's time stamps and the sender's clock have in common (RFC 3550, 6.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockPoint {
    /// NTP time, 32.32 bits of seconds.
    pub ntp: u64,
    /// The stream's time stamp then.
    pub rtp: u32,
}

/// What was seen, for the rest of the pipeline.
#[derive(Debug, Default)]
pub struct Seen {
    /// The other side needs a key frame.
    pub key_wanted: AtomicBool,
    /// How often that was asked.
    pub key_requests: AtomicU64,
    /// Round trip in microseconds, as measured by ICE; 0 when unknown. Written by statistics, read for retransmissions.
    pub round_trip_us: AtomicU32,
    /// How long a packet of sound that comes now waits to be played, in microseconds. Written by playout, read for retransmissions.
    pub audio_wait_us: AtomicU32,
    /// Lost packets of sound are asked for: the other side knows such requests.
    pub asks_for_audio: AtomicBool,
    /// Packets of sound that were asked for and have not come, by stream and sequence number, oldest first.
    asked: Mutex<VecDeque<(u32, u16)>>,
    clocks: Mutex<Vec<(u32, ClockPoint)>>,
}

/// Streams whose clocks are kept: an audio and a video one, and a replacement each.
const MAX_CLOCKS: usize = 4;
/// Packets that were asked for and are remembered: more than playout can wait for.
const MAX_ASKED: usize = 32;

impl Seen {
    /// The newest common point of a stream.
    pub fn clock(&self, ssrc: u32) -> Option<ClockPoint> {
        let clocks = self.clocks.lock().unwrap_or_else(PoisonError::into_inner);
        clocks.iter().find(|(s, _)| *s == ssrc).map(|(_, point)| *point)
    }

    /// Packets of sound were asked for.
    pub fn asked(&self, ssrc: u32, sequences: &[u16]) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        for packet in sequences.iter().map(|sequence| (ssrc, *sequence)) {
            if !asked.contains(&packet) {
                asked.push_back(packet);
            }
        }
        while asked.len() > MAX_ASKED {
            asked.pop_front();
        }
    }

    /// Whether a packet of sound that came was asked for; it is not waited for any more.
    pub fn was_asked(&self, ssrc: u32, sequence: u16) -> bool {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let at = asked.iter().position(|packet| *packet == (ssrc, sequence));
        at.and_then(|at| asked.remove(at)).is_some()
    }

    fn set_clock(&self, ssrc: u32, point: ClockPoint) {
        let mut clocks = self.clocks.lock().unwrap_or_else(PoisonError::into_inner);
        clocks.retain(|(s, _)| *s != ssrc);
        if clocks.len() >= MAX_CLOCKS {
            clocks.remove(0);
        }
        clocks.push((ssrc, point));
    }
}

/// What is sent again may take so much of the rate: 20 % loss needs two fifths. More of it fills the queue that lost the packets.
const AGAIN: f64 = 0.6;
/// And so much while a full queue empties.
const AGAIN_FULL: f64 = 0.08;
/// What is not used for a while is saved up for so long.
const SAVED_S: f64 = 0.3;
/// Bytes of a packet of video, with all its headers.
const PACKET_BYTES: f64 = RTP_PAYLOAD as f64 + HEADER_BYTES;
/// Bytes of a packet of sound.
const AUDIO_PACKET_BYTES: f64 = MAX_AUDIO_BITS as f64 / 8.0 * PACKET as f64 / SAMPLE_RATE as f64 + HEADER_BYTES;
/// Headers from IP to RTP, and what SRTP adds.
const HEADER_BYTES: f64 = 60.0;

/// How much may be sent again.
#[derive(Debug)]
struct Again {
    bytes: f64,
    since: Option<Instant>,
}

impl Again {
    /// How many of these packets, of so many bytes, may be sent again now.
    fn grant(&mut self, now: Instant, estimate: &Shared, wanted: usize, size: f64) -> usize {
        let (target, full) = estimate.with(|e| (e.target(), e.is_falling(now)));
        let rate = target / 8.0 * if full { AGAIN_FULL } else { AGAIN };
        let passed = self.since.map_or(SAVED_S, |since| now.saturating_duration_since(since).as_secs_f64());
        self.since = Some(now);
        self.bytes = (self.bytes + passed * rate).min((SAVED_S * rate).max(4.0 * PACKET_BYTES));
        let granted = wanted.min((self.bytes / size).max(0.0) as usize);
        self.bytes -= granted as f64 * size;
        granted
    }
}

/// Of what passes it changes requests for lost packets: it keeps them within bounds.
pub(super) struct Taps {
    seen: Arc<Seen>,
    estimate: Shared,
    again: Again,
    /// The stream of our sound.
    audio: Option<u32>,
}

impl Taps {
    pub fn new(seen: Arc<Seen>, estimate: Shared) -> Self {
        Self { seen, estimate, again: Again { bytes: 0.0, since: None }, audio: None }
    }

    /// Requests as far as they are granted.
    fn bounded(&mut self, now: Instant, nack: &TransportLayerNack) -> TransportLayerNack {
        let mut asked: Vec<u16> = nack.nacks.iter().flat_map(|pair| pair.packet_list()).collect();
        let size = if self.audio == Some(nack.media_ssrc) { AUDIO_PACKET_BYTES } else { PACKET_BYTES };
        let granted = self.again.grant(now, &self.estimate, asked.len(), size);
        asked.truncate(granted);
        TransportLayerNack { nacks: nack_pairs_from_sequence_numbers(&asked), ..nack.clone() }
    }
}

impl Look for Taps {
    fn sends(&mut self, info: &StreamInfo) {
        if kind(info) == RtpCodecKind::Audio {
            self.audio = Some(info.ssrc);
        }
    }

    fn came(&mut self, message: &mut TaggedPacket) {
        let now = message.now;
        let Packet::Rtcp(packets) = &mut message.message.packet else { return };
        for slot in packets.iter_mut() {
            if let Some(nack) = slot.as_any().downcast_ref::<TransportLayerNack>() {
                *slot = Box::new(self.bounded(now, nack));
                continue;
            }
            let packet = slot.as_any();
            if packet.is::<PictureLossIndication>() || packet.is::<FullIntraRequest>() {
                self.seen.key_wanted.store(true, Relaxed);
                self.seen.key_requests.fetch_add(1, Relaxed);
            } else if let Some(report) = packet.downcast_ref::<SenderReport>() {
                let point = ClockPoint { ntp: report.ntp_time, rtp: report.rtp_time };
                self.seen.set_clock(report.ssrc, point);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_again_stays_within_its_share() {
        let (estimate, start) = (Shared::new(), Instant::now());
        let mut again = Again { bytes: 0.0, since: None };
        // All is asked for, all the time, for ten seconds.
        let granted: usize = (0..500u32)
            .map(|n| again.grant(start + n * std::time::Duration::from_millis(20), &estimate, 80, PACKET_BYTES))
            .sum();
        let share = granted as f64 * PACKET_BYTES * 8.0 / 10.0 / f64::from(estimate.target());
        assert!((0.5..0.68).contains(&share), "{share}");
        // A few are always sent at once.
        assert!(again.grant(start + std::time::Duration::from_secs(20), &estimate, 5, PACKET_BYTES) >= 4);
    }

    #[test]
    fn sound_that_is_sent_again_takes_its_own_size() {
        let (estimate, now) = (Shared::new(), Instant::now());
        let mut taps = Taps::new(Arc::default(), estimate);
        taps.sends(&StreamInfo { ssrc: 7, mime_type: "audio/opus".into(), ..StreamInfo::default() });
        taps.sends(&StreamInfo { ssrc: 8, mime_type: "video/H264".into(), ..StreamInfo::default() });
        let asked: Vec<u16> = (0..500).collect();
        let mut granted = |media_ssrc, now| {
            let nacks = nack_pairs_from_sequence_numbers(&asked);
            let nack = taps.bounded(now, &TransportLayerNack { sender_ssrc: 1, media_ssrc, nacks });
            nack.nacks.iter().map(|pair| pair.packet_list().len()).sum::<usize>()
        };
        let video = granted(8, now);
        // All that was saved up is there again.
        let sound = granted(7, now + std::time::Duration::from_secs(1));
        assert!(video > 4 && sound > 6 * video, "{sound} and {video}");
    }

    #[test]
    fn what_was_asked_for_is_known_once_and_bounded() {
        let seen = Seen::default();
        seen.asked(1, &[5, 6]);
        seen.asked(1, &[5]);
        assert!(seen.was_asked(1, 5) && !seen.was_asked(1, 5), "it came twice");
        assert!(!seen.was_asked(2, 6), "another stream");
        for sequence in 0..1_000 {
            seen.asked(1, &[sequence]);
        }
        assert_eq!(seen.asked.lock().unwrap_or_else(PoisonError::into_inner).len(), MAX_ASKED);
        assert!(seen.was_asked(1, 999) && !seen.was_asked(1, 6));
    }
}
