//! From what is measured of a call to the types of the control interface.

use starling_control::objects::{CallStats, Heard, PatternSeen, RouteStats, SelfState, VideoStats};
use starling_node::{
    Media,
    media::{self, stats},
};

/// What is measured of a call. It holds its microphone, and so on.
pub fn state(state: media::participant::SelfState) -> SelfState {
    let media::participant::SelfState { microphone, camera, hold, sharing, recording } = state;
    SelfState { microphone, camera, hold, sharing, recording }
}

/// What is measured of a call, and whether its other side lets this one type.
pub fn call(stats: &stats::CallStats, media: Option<&Media>) -> CallStats {
    CallStats {
        at_ms: stats.at_ms,
        state: state(stats.state),
        level: stats.level,
        encoded_frames: stats.encoded_frames,
        skipped_frames: stats.skipped_frames,
        routes: stats.routes.iter().map(route).collect(),
        has_hand: media.is_some_and(Media::has_hand),
    }
}

fn route(route: &stats::RouteStats) -> RouteStats {
    RouteStats {
        route: route.route,
        connection: route.connection.to_owned(),
        path: route.path.map(Into::into),
        rtt_ms: route.rtt_ms,
        target_bps: route.target_bps,
        sent_bps: route.sent_bps,
        received_bps: route.received_bps,
        remote_loss_percent: route.remote_loss_percent,
        sent_height: route.sent_height,
        dropped_frames: route.dropped_frames,
        key_requests: route.key_requests,
        state: state(route.state),
        audio: heard(route.audio),
        video: video(&route.video),
    }
}

fn heard(heard: media::audio::Heard) -> Heard {
    Heard {
        packets: heard.packets,
        again: heard.again,
        lost: heard.lost,
        by_fec: heard.by_fec,
        by_dred: heard.by_dred,
        concealed: heard.concealed,
        late: heard.late,
        longest_gap_ms: heard.longest_gap_ms,
        stretched_ms: heard.stretched_ms,
        shrunk_ms: heard.shrunk_ms,
        delay_ms: heard.delay_ms,
        level: heard.level,
    }
}

fn video(video: &stats::VideoStats) -> VideoStats {
    VideoStats {
        frames: video.frames,
        fps: video.fps,
        width: video.width,
        height: video.height,
        lost_frames: video.lost_frames,
        broken_frames: video.broken_frames,
        key_requests: video.key_requests,
        longest_gap_ms: video.longest_gap_ms,
        pattern: video.pattern.map(pattern),
    }
}

fn pattern(pattern: media::video::pattern::PatternSeen) -> PatternSeen {
    let media::video::pattern::PatternSeen { first, last, received, gaps, out_of_order, bad } = pattern;
    PatternSeen { first, last, received, gaps, out_of_order, bad }
}
