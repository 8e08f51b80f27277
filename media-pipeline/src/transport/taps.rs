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
    interceptor::{Interceptor, Packet, StreamInfo, TaggedPacket},
    rtcp::{
        payload_feedbacks::{full_intra_request::FullIntraRequest, picture_loss_indication::PictureLossIndication},
        sender_report::SenderReport,
    },
    sansio::Protocol,
    shared::error::Error,
};

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
    clocks: Mutex<Vec<(u32, ClockPoint)>>,
}

/// Streams whose clocks are kept: an audio and a video one, and a replacement each.
const MAX_CLOCKS: usize = 4;

impl Seen {
    /// The newest common point of a stream.
    pub fn clock(&self, ssrc: u32) -> Option<ClockPoint> {
        let clocks = self.clocks.lock().unwrap_or_else(PoisonError::into_inner);
        clocks.iter().find(|(s, _)| *s == ssrc).map(|(_, point)| *point)
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

/// The interceptor. It changes nothing that passes.
pub(super) struct Taps {
    seen: Arc<Seen>,
    reads: VecDeque<TaggedPacket>,
    writes: VecDeque<TaggedPacket>,
}

impl Taps {
    pub fn new(seen: Arc<Seen>) -> Self {
        Self { seen, reads: VecDeque::new(), writes: VecDeque::new() }
    }
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for Taps {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, message: TaggedPacket) -> Result<(), Error> {
        if let Packet::Rtcp(packets) = &message.message.packet {
            for packet in packets.iter().map(|p| p.as_any()) {
                if packet.is::<PictureLossIndication>() || packet.is::<FullIntraRequest>() {
                    self.seen.key_wanted.store(true, Relaxed);
                    self.seen.key_requests.fetch_add(1, Relaxed);
                } else if let Some(report) = packet.downcast_ref::<SenderReport>() {
                    let point = ClockPoint { ntp: report.ntp_time, rtp: report.rtp_time };
                    self.seen.set_clock(report.ssrc, point);
                }
            }
        }
        self.reads.push_back(message);
        Ok(())
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        self.reads.pop_front()
    }

    fn handle_write(&mut self, message: TaggedPacket) -> Result<(), Error> {
        self.writes.push_back(message);
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.writes.pop_front()
    }
}

impl Interceptor for Taps {
    fn bind_local_stream(&mut self, _: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _: &StreamInfo) {}
    fn bind_remote_stream(&mut self, _: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _: &StreamInfo) {}
}

/// Lets everything pass: takes the place of an interceptor that is not wanted.
#[derive(Default)]
pub(super) struct Pass {
    reads: VecDeque<TaggedPacket>,
    writes: VecDeque<TaggedPacket>,
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for Pass {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, message: TaggedPacket) -> Result<(), Error> {
        self.reads.push_back(message);
        Ok(())
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        self.reads.pop_front()
    }

    fn handle_write(&mut self, message: TaggedPacket) -> Result<(), Error> {
        self.writes.push_back(message);
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.writes.pop_front()
    }
}

impl Interceptor for Pass {
    fn bind_local_stream(&mut self, _: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _: &StreamInfo) {}
    fn bind_remote_stream(&mut self, _: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _: &StreamInfo) {}
}
