//! Every bound of the media pipeline, with its reason.

use std::time::Duration;

/// Largest width or height of a picture: what a peer sends beyond is refused before it is decoded.
pub const MAX_DIMENSION: usize = 1920;
/// Bytes of one video frame on the wire: a key frame of 720p at its best quality is a third of it.
pub const MAX_FRAME_BYTES: usize = 512 * 1024;
/// Packets that wait for a missing one: half a second at 4 Mbit/s.
pub const MAX_ASSEMBLY_PACKETS: usize = 512;
/// How long a missing video packet is waited for at least: some retransmissions at a common round trip.
const VIDEO_PATIENCE: Duration = Duration::from_millis(240);
/// And at most, however long the round trip.
const MAX_VIDEO_PATIENCE: Duration = Duration::from_millis(700);
/// Payload bytes of an RTP packet: with SRTP, UDP and IPv6 (or TURN) it stays below 1,280 bytes.
pub const RTP_PAYLOAD: usize = 1_120;

/// Encoded frames on their way to the network: more is old before it is sent.
pub const ENCODED_QUEUE: usize = 4;
/// Received packets on their way to the decoder: a key frame of the largest kind.
pub const PACKET_QUEUE: usize = 512;

/// Least time between two key frames that are asked for: a slow link would carry nothing else.
pub const KEY_FRAME_EVERY: Duration = Duration::from_millis(500);
/// A key frame that was asked for and did not come is asked for again after this, then twice that, and so on.
pub const KEY_FRAME_PATIENCE: Duration = Duration::from_millis(250);
/// The longest such wait.
pub const MAX_KEY_FRAME_PATIENCE: Duration = Duration::from_secs(2);

/// Samples a second of all sound in the pipeline.
pub const SAMPLE_RATE: u32 = 48_000;
/// Samples of 10 ms, the unit of capture, processing and playout.
pub const TICK: usize = 480;
/// Samples of an Opus packet: 20 ms.
pub const PACKET: usize = 960;
/// The longest an Opus packet can be: 120 ms.
pub const MAX_PACKET_SAMPLES: usize = 5_760;
/// Bytes of an Opus packet that are accepted (RFC 6716: 1,275 a frame).
pub const MAX_OPUS_BYTES: usize = 1_275 * 3;

/// Delay of playout at the start.
pub const PLAYOUT_START: Duration = Duration::from_millis(40);
/// The least delay of playout: forward error correction needs the next packet.
pub const MIN_PLAYOUT: Duration = Duration::from_millis(30);
/// The most.
pub const MAX_PLAYOUT: Duration = Duration::from_millis(300);
/// A lost packet of sound is not asked for where the round trip is longer: its answer would come too late for a conversation.
pub const MAX_REPAIR_ROUND_TRIP: Duration = Duration::from_millis(150);
/// Playout has room for a request and its answer up to this delay; what a longer one costs a conversation is more than speech gains.
pub const MAX_REPAIR_PLAYOUT: Duration = Duration::from_millis(190);
/// The room, without the round trip: the packet that shows the loss (20 ms), one that overtakes (5 ms), and what playout keeps anyway and how it
/// varies (45 ms).
const REPAIR_PLAYOUT: Duration = Duration::from_millis(70);
/// Where the round trip is short, a second request and two packets lost in a row have room as well.
const MIN_REPAIR_PLAYOUT: Duration = Duration::from_millis(90);
/// Audio packets that wait to be played: two seconds; what comes beyond is a flood.
pub const MAX_PLAYOUT_PACKETS: usize = 100;

/// Bit rate of speech, in bits a second.
pub const AUDIO_BITS: u32 = 32_000;
/// The same on a path that has room.
pub const MAX_AUDIO_BITS: u32 = 48_000;
/// Video below this is not worth sending: audio goes alone.
pub const MIN_VIDEO_BITS: u32 = 60_000;
/// The most video that is sent.
pub const MAX_VIDEO_BITS: u32 = 2_500_000;
/// What a call begins with, before anything is known of the path.
pub const START_BITS: u32 = 600_000;

/// Remote candidates that are kept until the description is there, or taken for one.
pub const MAX_CANDIDATES: usize = 64;
/// Bytes of one of them.
pub const MAX_CANDIDATE: usize = 2_048;
/// Bytes of a session description that are read: ours have 2,500.
pub const MAX_SDP: usize = 16 * 1024;
/// Bytes of one message on the control channel.
pub const MAX_CONTROL: usize = 16 * 1024;
/// Routes of one call: a full mesh beyond eight needs more upload than people have.
pub const MAX_ROUTES: usize = 8;
/// Events of a call that wait to be read: beyond, statistics are dropped first.
pub const EVENT_QUEUE: usize = 256;

/// Delay of playout in which a lost packet of sound can be asked for and come.
pub fn repair_playout(round_trip: Duration) -> Duration {
    (REPAIR_PLAYOUT + round_trip).max(MIN_REPAIR_PLAYOUT)
}

/// How long after it was missed a lost packet of sound may be asked for, if one that comes now waits so long to be played; not at all while the
/// round trip is not known.
pub fn audio_patience(round_trip: Duration, wait: Duration) -> Duration {
    if round_trip.is_zero() || round_trip > MAX_REPAIR_ROUND_TRIP {
        return Duration::ZERO;
    }
    wait.saturating_sub(round_trip)
}

/// How long a missing video packet is waited for: two requests for it can be answered.
pub fn video_patience(round_trip: Duration) -> Duration {
    (2 * round_trip + Duration::from_millis(60)).clamp(VIDEO_PATIENCE, MAX_VIDEO_PATIENCE)
}
