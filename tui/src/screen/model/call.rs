//! A call, as the screen knows it.

use std::time::{Duration, Instant};

use starling_control::objects::{Call, CallPhase, CallStats, Consent, Path, RouteStats, SelfState, Transport};

use crate::verbs::transport_name;

/// A call.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CallState {
    /// As the node has reported it last.
    pub wire: Call,
    /// The name of the other side, safe to be shown.
    pub name: String,
    /// Since when the two talk.
    pub since: Option<Instant>,
    /// As they came last.
    pub stats: CallStats,
}

impl CallState {
    /// A call with somebody of this name, which is safe to be shown.
    pub fn new(wire: Call, name: String) -> Self {
        Self { wire, name, since: None, stats: CallStats::default() }
    }

    /// Somebody calls us, and nobody has answered yet.
    pub fn rings(&self) -> bool {
        !self.wire.outgoing && self.wire.state == CallPhase::Ringing
    }

    /// The two talk, or did until just now.
    pub fn connected(&self) -> bool {
        matches!(self.wire.state, CallPhase::Connected | CallPhase::Interrupted)
    }

    /// When its clock goes on.
    pub fn next_second(&self) -> Option<Instant> {
        let since = self.since.filter(|_| self.connected())?;
        Some(since + Duration::from_secs(since.elapsed().as_secs() + 1))
    }

    /// How long it has lasted.
    pub fn clock(&self) -> String {
        let seconds = self.since.map_or(0, |s| s.elapsed().as_secs());
        match seconds {
            0..3600 => format!("{}:{:02}", seconds / 60, seconds % 60),
            _ => format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60),
        }
    }

    /// What we have turned on.
    pub fn own_media(&self) -> SelfState {
        self.stats.state
    }

    /// To show at once what will be reported soon.
    pub fn own_media_mut(&mut self) -> &mut SelfState {
        &mut self.stats.state
    }

    fn route(&self) -> Option<&RouteStats> {
        self.stats.routes.first()
    }

    /// What the other side has turned on; `None` before that is known.
    pub fn their_media(&self) -> Option<SelfState> {
        Some(self.route()?.state)
    }

    /// How loud they are, from 0 to 1.
    pub fn their_level(&self) -> f32 {
        self.route().map_or(0.0, |route| route.audio.level)
    }

    /// Whether we see them, or will.
    pub fn shows_them(&self) -> bool {
        self.their_media().is_some_and(|media| media.camera)
    }

    /// Somebody records it, with consent or as they say themselves.
    pub fn is_recorded(&self) -> bool {
        self.wire.recording == Consent::Yes
            || self.wire.recorded == Consent::Yes
            || self.own_media().recording
            || self.their_media().is_some_and(|media| media.recording)
    }

    /// Whether its packets go directly to the other side; `None` before that is known.
    pub fn is_direct(&self) -> Option<bool> {
        let path = self.route()?.path.as_deref().filter(|_| self.connected())?;
        Some(path != Path::Relay.as_str())
    }

    /// Path, round trip, loss and rate, in one line. `over` is what is used to our server in place of UDP, where that is blocked or not wanted.
    pub fn quality(&self, over: Option<Transport>) -> String {
        let (Some(direct), Some(route)) = (self.is_direct(), self.route()) else { return String::new() };
        let (audio, video) = (&route.audio, &route.video);
        let packets = audio.packets + audio.lost;
        let loss = if packets > 0 { audio.lost as f64 * 100.0 / packets as f64 } else { 0.0 };
        let mut line = match (direct, over) {
            (true, _) => "direct".to_owned(),
            (false, None) => "through the server".to_owned(),
            (false, Some(Transport::Proxy)) => "through the proxy and the server".to_owned(),
            (false, Some(over)) => format!("through the server over {}", transport_name(over)),
        };
        if let Some(rtt) = route.rtt_ms {
            line.push_str(&format!(" · {rtt:.0} ms"));
        }
        line.push_str(&format!(" · {loss:.1} % lost"));
        line.push_str(&format!(" · {:.0} kbit/s", (route.sent_bps + route.received_bps) as f64 / 1e3));
        if video.fps > 0.5 {
            line.push_str(&format!(" · {}p {:.0} fps", video.height, video.fps));
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use starling_control::objects::{Heard, VideoStats};

    use super::*;

    #[test]
    fn a_line_tells_how_good_a_call_is_once_that_is_known() {
        let mut call = CallState::default();
        call.wire.state = CallPhase::Connected;
        assert_eq!((call.quality(None).as_str(), call.is_direct()), ("", None));
        call.stats.state.microphone = true;
        call.stats.routes = vec![RouteStats {
            path: Some("relay".into()),
            rtt_ms: Some(20.4),
            sent_bps: 1000,
            received_bps: 2000,
            audio: Heard { packets: 99, lost: 1, ..Heard::default() },
            video: VideoStats { height: 360, fps: 15.0, ..VideoStats::default() },
            ..RouteStats::default()
        }];
        let rest = "20 ms · 1.0 % lost · 3 kbit/s · 360p 15 fps";
        assert_eq!(call.quality(None), format!("through the server · {rest}"));
        assert_eq!(call.quality(Some(Transport::Tcp)), format!("through the server over TCP · {rest}"));
        assert_eq!(call.quality(Some(Transport::Proxy)), format!("through the proxy and the server · {rest}"));
        call.stats.routes[0].path = Some("direct".into());
        assert_eq!(call.quality(Some(Transport::Tcp)), format!("direct · {rest}"));
        assert!(call.own_media().microphone && !call.shows_them() && !call.is_recorded());
        call.wire.recorded = Consent::Yes;
        assert!(call.is_recorded());
    }
}
