//! The codecs of a connection, and what its packets pass on their way.

use std::sync::Arc;

use rtc::{
    interceptor::{Registry, Slot, StreamInfo},
    media_stream::MediaStreamTrack,
    peer_connection::configuration::{
        interceptor_registry::{CongestionFeedback, configure_congestion_control, register_default_interceptors},
        media_engine::{MIME_TYPE_H264, MIME_TYPE_OPUS, MediaEngine},
    },
    rtp_transceiver::rtp_sender::{
        RTCPFeedback, RTCRtpCodec, RTCRtpCodecParameters, RTCRtpCodingParameters, RTCRtpEncodingParameters,
        RtpCodecKind,
    },
};
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;

use super::{
    estimate::Shared,
    nack::Nack,
    passthrough::PassthroughInterceptor,
    peer::failed,
    taps::{Seen, Taps},
};
use crate::MediaError;

fn feedback(typ: &str, parameter: &str) -> RTCPFeedback {
    RTCPFeedback { typ: typ.into(), parameter: parameter.into() }
}

/// Opus. Who knows no requests for lost sound, as browsers do not, leaves them out of its description, and none are made.
pub(super) fn audio_codec() -> RTCRtpCodec {
    RTCRtpCodec {
        mime_type: MIME_TYPE_OPUS.into(),
        clock_rate: 48_000,
        channels: 2,
        sdp_fmtp_line: "minptime=10;useinbandfec=1;usedtx=1".into(),
        rtcp_feedback: vec![feedback("nack", "")],
    }
}

/// H.264, without RTX: what is lost is asked for by [`Nack`].
pub(super) fn video_codec() -> RTCRtpCodec {
    RTCRtpCodec {
        mime_type: MIME_TYPE_H264.into(),
        clock_rate: 90_000,
        channels: 0,
        sdp_fmtp_line: "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f".into(),
        rtcp_feedback: vec![
            feedback("nack", ""),
            feedback("nack", "pli"),
            feedback("ccm", "fir"),
            feedback("transport-cc", ""),
        ],
    }
}

/// What a stream carries.
pub(super) fn kind(info: &StreamInfo) -> RtpCodecKind {
    if info.mime_type.eq_ignore_ascii_case(MIME_TYPE_OPUS) { RtpCodecKind::Audio } else { RtpCodecKind::Video }
}

/// A track that this end sends.
pub(super) fn local_track(kind: RtpCodecKind, name: &str, codec: RTCRtpCodec, ssrc: u32) -> Arc<TrackLocalStaticRTP> {
    let coding = RTCRtpCodingParameters { ssrc: Some(ssrc), ..RTCRtpCodingParameters::default() };
    let encoding =
        RTCRtpEncodingParameters { rtp_coding_parameters: coding, codec, ..RTCRtpEncodingParameters::default() };
    Arc::new(TrackLocalStaticRTP::new(MediaStreamTrack::new(
        "starling".into(),
        name.into(),
        name.into(),
        kind,
        vec![encoding],
    )))
}

/// Our codecs, and what RTP packets pass on their way; `seen` and `estimate` learn from that.
pub(super) fn media_engine(seen: &Arc<Seen>, estimate: &Shared) -> Result<(MediaEngine, Registry), MediaError> {
    let mut engine = MediaEngine::default();
    let audio = RTCRtpCodecParameters { rtp_codec: audio_codec(), payload_type: 111 };
    let video = RTCRtpCodecParameters { rtp_codec: video_codec(), payload_type: 125 };
    engine.register_codec(audio, RtpCodecKind::Audio).map_err(failed)?;
    engine.register_codec(video, RtpCodecKind::Video).map_err(failed)?;
    let registry =
        configure_congestion_control(Registry::new(), estimate.clone(), CongestionFeedback::Twcc, &mut engine)
            .map_err(failed)?;
    let registry = register_default_interceptors(registry, &mut engine)
        .map_err(failed)?
        .with(Slot::Pacer, PassthroughInterceptor::with(()))
        .with(Slot::NackGenerator, PassthroughInterceptor::with(Nack::new(seen.clone())))
        .with(Slot::from(900), PassthroughInterceptor::with(Taps::new(seen.clone(), estimate.clone())));
    Ok((engine, registry))
}
