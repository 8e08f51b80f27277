//! What is known of a call now.

use std::sync::atomic::Ordering::Relaxed;

use super::{Call, lock, routes::RoutePeer};
use crate::{
    stats::{CallStats, RouteStats, VideoStats},
    transport::peer::PeerState,
};

impl Call {
    /// Everything that is known now.
    pub fn stats(&self) -> CallStats {
        let routes = self.all_routes().iter().map(|route| self.route_stats(route)).collect();
        CallStats {
            at_ms: self.0.start.elapsed().as_millis() as u64,
            state: *lock(&self.0.state),
            level: f32::from_bits(self.0.level.load(Relaxed)),
            encoded_frames: self.0.outlets.encoded.load(Relaxed),
            skipped_frames: self.0.outlets.skipped.load(Relaxed),
            routes,
        }
    }

    fn route_stats(&self, route: &RoutePeer) -> RouteStats {
        let out = self.0.outlets.all().into_iter().find(|r| r.id == route.id);
        let state = lock(&route.state);
        let participant = &route.participant;
        let (pattern, (width, height), longest) = participant.picture();
        let outlet = route.peer.outlet();
        RouteStats {
            route: route.id,
            connection: match state.connection {
                None => "connecting",
                Some(PeerState::Connected) => "connected",
                Some(PeerState::Interrupted) => "interrupted",
                Some(PeerState::Failed) => "failed",
            },
            path: state.path.relayed.map(|relayed| if relayed { "relay" } else { "direct" }),
            rtt_ms: state.path.round_trip.map(|t| t.as_secs_f64() * 1e3),
            target_bps: outlet.estimate.target(),
            sent_bps: state.sent_bps,
            received_bps: state.received_bps,
            remote_loss_percent: out.as_ref().map_or(0, |o| o.loss_percent.load(Relaxed)),
            sent_height: out.map_or(0, |o| o.height.load(Relaxed)),
            dropped_frames: route.peer.sent().dropped_frames.load(Relaxed),
            key_requests: outlet.seen.key_requests.load(Relaxed),
            state: *lock(&participant.state),
            audio: participant.heard(),
            video: VideoStats {
                frames: participant.video.frames.get(),
                fps: state.fps,
                width,
                height,
                lost_frames: participant.video.lost_frames.get(),
                broken_frames: participant.video.broken_frames.get(),
                key_requests: participant.video.key_requests.get(),
                longest_gap_ms: longest.as_millis() as u64,
                pattern,
            },
        }
    }
}
