//! One peer connection: H.264 and Opus and nothing else, our own requests for lost packets, rate control and pacing.
//!
//! Tasks: the library's driver, which ends with [`Peer::close`]; one that sends ([`Outlet`] feeds it), and one for each remote track and
//! data channel, which end when the connection closes. All queues are bounded: what does not fit is dropped, old video first.

use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use rtc::{
    crypto::SignatureScheme,
    ice::mdns::MulticastDnsMode,
    peer_connection::{
        certificate::{CertificateParams, RTCCertificate},
        configuration::{
            RTCConfiguration, RTCConfigurationBuilder, RTCOfferOptions,
            media_engine::{MIME_TYPE_H264, MIME_TYPE_OPUS},
            setting_engine::SettingEngine,
        },
    },
    rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication,
    rtp_transceiver::rtp_sender::RtpCodecKind,
};
use tokio::sync::mpsc;
use webrtc::{
    data_channel::{DataChannel, DataChannelEvent},
    media_stream::{
        track_local::{TrackLocal, static_rtp::TrackLocalStaticRTP},
        track_remote::{TrackRemote, TrackRemoteEvent},
    },
    peer_connection::{
        PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCIceServer, RTCIceTransportPolicy,
        RTCPeerConnectionIceEvent, RTCPeerConnectionState, RTCSessionDescription, SettingEngineBuilder,
        SrtpProtectionProfile,
    },
    rtp_transceiver::RtpSender,
};

use super::{
    addresses::Addresses,
    candidates::{Candidates, by_relays_alone, without_related},
    codecs::{audio_codec, local_track, media_engine, video_codec},
    estimate::Shared,
    link::Link,
    runtime::MediaRuntime,
    sender::{AUDIO_QUEUE, OutFrame, Outlet, Sender, Sent, Stream},
    taps::{ClockPoint, Seen},
    translator::Translator,
    tunnel::Tunnel,
};
use crate::{
    MediaError,
    limits::{ENCODED_QUEUE, EVENT_QUEUE, MAX_CONTROL, MAX_SDP},
    video::packets::Packet,
};

/// Nothing came for so long: the connection is interrupted, and another path is looked for.
const INTERRUPTED: Duration = Duration::from_millis(800);
/// And after so long it is given up. Longer than a change of networks takes.
const GIVEN_UP: Duration = Duration::from_secs(20);
/// The path is checked so often (RFC 7675), which also brings something when nobody speaks: at 30 % of loss each way, all that comes in
/// the time above is lost once in half an hour.
const KEEP_ALIVE: Duration = Duration::from_millis(200);
/// Checks of a pair of candidates, one each 200 ms, before it counts as dead: those of a new path begin before the other end has its answer.
const CHECKS: u16 = 40;
/// A relay is taken after this time if nothing better has answered: what would be better takes two round trips.
const RELAY_AFTER: Duration = Duration::from_millis(800);
/// The same for an address that was not told, as behind some NATs.
const UNTOLD_AFTER: Duration = Duration::from_millis(300);

/// A STUN and TURN server.
#[derive(Clone, PartialEq, Eq)]
pub struct IceServer {
    /// `stun:host:port` or `turn:host:port`; UDP.
    pub urls: Vec<String>,
    /// User name, for TURN.
    pub username: String,
    /// Password, for TURN.
    pub credential: String,
    /// Another UDP port of the same hosts, which is asked if that of the URL does not answer.
    pub other_port: Option<u16>,
    /// A way to it where no datagrams get through; nothing, if there is none.
    pub tunnel: Option<Tunnel>,
}

impl std::fmt::Debug for IceServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Neither addresses nor passwords belong into logs.
        f.debug_struct("IceServer").field("urls", &self.urls.len()).finish_non_exhaustive()
    }
}

/// How a connection is to be made.
#[derive(Clone, Debug, Default)]
pub struct PeerConfig {
    /// Servers that help.
    pub servers: Vec<IceServer>,
    /// Only through a relay: the other side does not learn our addresses.
    pub relay_only: bool,
    /// The same, and relays are reached through their tunnels alone: no datagram is sent, and no name is looked up.
    pub tunnel_only: bool,
    /// Our addresses on the loopback interface are offered, too: both sides may be on one machine.
    pub loopback: bool,
    /// Where servers with IPv4 addresses are on networks with IPv6 alone.
    pub translator: Option<Translator>,
    /// A bad network, for tests.
    pub link: Option<Link>,
}

impl PeerConfig {
    /// Whether no path but those through relays is wanted.
    pub fn is_relayed(&self) -> bool {
        self.relay_only || self.tunnel_only
    }
}

/// State of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerState {
    /// Media flow.
    Connected,
    /// Nothing came for a while.
    Interrupted,
    /// It is over.
    Failed,
}

/// What happens on a connection.
#[derive(Debug)]
pub enum PeerEvent {
    /// A candidate to tell the other side, as JSON.
    Candidate(String),
    /// The state changed.
    State(PeerState),
    /// The control channel is open.
    ControlOpen,
    /// A message on the control channel.
    Control(Bytes),
}

/// Takes received packets, on the task that reads them: it must not wait.
pub trait MediaIn: Send + Sync + 'static {
    /// A packet of sound.
    fn audio(&self, ssrc: u32, packet: Packet);
    /// A packet of video.
    fn video(&self, ssrc: u32, packet: Packet);
}

/// State of the path, as of the last second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PathStats {
    /// Media go through a relay.
    pub relayed: Option<bool>,
    /// Round trip.
    pub round_trip: Option<Duration>,
    /// The address of this machine that it begins at.
    pub local: Option<IpAddr>,
    /// Where it ends.
    pub remote: Option<IpAddr>,
    /// Bytes of the connection so far, out and in.
    pub bytes: (u64, u64),
}

struct Handler {
    events: mpsc::Sender<PeerEvent>,
    media: Arc<dyn MediaIn>,
    remote: Arc<Remote>,
    candidates: Arc<Candidates>,
    relay_only: bool,
}

/// The other side's tracks and channel.
#[derive(Default)]
struct Remote {
    video: Mutex<Option<Arc<dyn TrackRemote>>>,
    control: tokio::sync::Mutex<Option<Arc<dyn DataChannel>>>,
    ready: AtomicBool,
}

#[async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_ice_candidate(&self, event: RTCPeerConnectionIceEvent) {
        let Ok(mut candidate) = event.candidate.to_json() else { return };
        if self.relay_only {
            // The policy sees to it already; an address that slips through cannot be taken back.
            if !candidate.candidate.contains("typ relay") {
                return;
            }
            candidate.candidate = without_related(&candidate.candidate);
        }
        if let Some(json) = self.candidates.ours(candidate) {
            let _ = self.events.try_send(PeerEvent::Candidate(json));
        }
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        let state = match state {
            RTCPeerConnectionState::Connected => PeerState::Connected,
            RTCPeerConnectionState::Disconnected => PeerState::Interrupted,
            RTCPeerConnectionState::Failed => PeerState::Failed,
            _ => return,
        };
        let _ = self.events.send(PeerEvent::State(state)).await;
    }

    async fn on_data_channel(&self, channel: Arc<dyn DataChannel>) {
        *self.remote.control.lock().await = Some(channel.clone());
        tokio::spawn(read_channel(channel, self.events.clone(), self.remote.clone()));
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        let kind = track.kind().await;
        if kind == RtpCodecKind::Video {
            *self.remote.video.lock().unwrap_or_else(PoisonError::into_inner) = Some(track.clone());
        }
        let media = self.media.clone();
        // Ends with the track.
        tokio::spawn(async move {
            while let Some(event) = track.poll().await {
                match event {
                    TrackRemoteEvent::OnRtpPacket(packet) => {
                        let ssrc = packet.header.ssrc;
                        let packet = Packet {
                            sequence: packet.header.sequence_number,
                            timestamp: packet.header.timestamp,
                            marker: packet.header.marker,
                            payload: packet.payload,
                        };
                        match kind {
                            RtpCodecKind::Video => media.video(ssrc, packet),
                            _ => media.audio(ssrc, packet),
                        }
                    }
                    TrackRemoteEvent::OnEnded => break,
                    _ => {}
                }
            }
        });
    }
}

async fn read_channel(channel: Arc<dyn DataChannel>, events: mpsc::Sender<PeerEvent>, remote: Arc<Remote>) {
    while let Some(event) = channel.poll().await {
        let event = match event {
            DataChannelEvent::OnOpen => {
                remote.ready.store(true, Relaxed);
                PeerEvent::ControlOpen
            }
            DataChannelEvent::OnMessage(message) if message.data.len() <= MAX_CONTROL => {
                // A channel that was announced by the other side may be open before it is looked at.
                if !remote.ready.swap(true, Relaxed) && events.send(PeerEvent::ControlOpen).await.is_err() {
                    break;
                }
                PeerEvent::Control(message.data.freeze())
            }
            DataChannelEvent::OnClose => break,
            _ => continue,
        };
        // Waiting here slows the other side down, which is what a flood deserves.
        if events.send(event).await.is_err() {
            break;
        }
    }
}

/// A connection.
pub struct Peer {
    connection: Arc<dyn PeerConnection>,
    /// The other side is told of no way but those through relays.
    relay_only: bool,
    remote: Arc<Remote>,
    candidates: Arc<Candidates>,
    seen: Arc<Seen>,
    sent: Arc<Sent>,
    events: mpsc::Sender<PeerEvent>,
    outlet: Outlet,
    start: Mutex<Option<SenderParts>>,
}

struct SenderParts {
    audio: (Arc<TrackLocalStaticRTP>, Arc<dyn RtpSender>, u32),
    video: (Arc<TrackLocalStaticRTP>, Arc<dyn RtpSender>, u32),
    audio_in: mpsc::Receiver<(Bytes, u32)>,
    video_in: mpsc::Receiver<OutFrame>,
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peer").finish_non_exhaustive()
    }
}

pub(super) fn failed(error: impl std::fmt::Display) -> MediaError {
    MediaError::Transport(error.to_string())
}

/// Of the certificate in a description.
fn fingerprint(sdp: &str) -> String {
    let line = sdp.lines().find_map(|line| line.trim().strip_prefix("a=fingerprint:"));
    line.unwrap_or_default().to_uppercase()
}

/// Of the connection that a description is of: its session id, which all its descriptions have in common (RFC 9429, 5.2.2).
fn session(sdp: &str) -> Option<&str> {
    sdp.lines().find_map(|line| line.trim().strip_prefix("o="))?.split_ascii_whitespace().nth(1)
}

/// The certificate of one end of a call, the same on all its connections: both ends see by it that nobody else has come between them.
pub fn certificate() -> Result<RTCCertificate, MediaError> {
    let provider = rtc::crypto::default_provider().map_err(failed)?;
    let params = CertificateParams::new(vec!["starling".to_owned()]).map_err(failed)?;
    RTCCertificate::generate(provider.crypto(), SignatureScheme::EcdsaP256Sha256, params).map_err(failed)
}

/// The servers that help the connection, and its certificate.
fn configuration(config: &PeerConfig, certificate: RTCCertificate) -> RTCConfiguration {
    let servers = config.servers.iter().map(|server| RTCIceServer {
        urls: server.urls.clone(),
        username: server.username.clone(),
        credential: server.credential.clone(),
    });
    let policy = if config.is_relayed() { RTCIceTransportPolicy::Relay } else { RTCIceTransportPolicy::All };
    RTCConfigurationBuilder::new()
        .with_ice_servers(servers.collect())
        .with_ice_transport_policy(policy)
        .with_certificates(vec![certificate])
        .build()
}

/// How media are encrypted. Not by AES-GCM: a packet that is sent again has the same index, and so the same nonce, but another header, for congestion
/// control. Of two such packets GCM gives away the key by which it authenticates (RFC 7714, section 8.4); HMAC does not, and what is encrypted is the same.
const SRTP: SrtpProtectionProfile = SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80;

fn settings() -> SettingEngine {
    SettingEngineBuilder::new()
        .with_multicast_dns_mode(MulticastDnsMode::Disabled)
        .with_ice_timeouts(Some(INTERRUPTED), Some(GIVEN_UP), Some(KEEP_ALIVE))
        .with_ice_connection_attempts(None, Some(CHECKS))
        .with_prflx_acceptance_min_wait(Some(UNTOLD_AFTER))
        .with_relay_acceptance_min_wait(Some(RELAY_AFTER))
        // A restart binds new sockets.
        .with_discard_local_candidates_during_ice_restart(true)
        .with_srtp_protection_profiles(vec![SRTP])
        .build()
}

impl Peer {
    /// Makes a connection; nothing is sent before an offer or answer is made.
    pub async fn new(
        config: &PeerConfig,
        certificate: RTCCertificate,
        media: Arc<dyn MediaIn>,
    ) -> Result<(Self, mpsc::Receiver<PeerEvent>), MediaError> {
        let seen = Arc::new(Seen::default());
        let estimate = Shared::new();
        let (engine, registry) = media_engine(&seen, &estimate)?;
        let (events, receiver) = mpsc::channel(EVENT_QUEUE);
        let remote = Arc::new(Remote::default());
        let candidates = Arc::new(Candidates::default());
        let (told, relay_only) = (candidates.clone(), config.is_relayed());
        let handler = Handler { events: events.clone(), media, remote: remote.clone(), candidates: told, relay_only };
        let builder = PeerConnectionBuilder::new()
            .with_configuration(configuration(config, certificate))
            .with_media_engine(engine)
            .with_interceptor_registry(registry)
            .with_setting_engine(settings())
            .with_runtime(Arc::new(MediaRuntime::new(config)))
            .with_handler(Arc::new(handler))
            .with_udp_addrs(vec![Addresses { loopback: config.loopback, unused: config.tunnel_only }])
            .with_data_channel_send_buffer_limit(256 * 1024);
        let connection = Box::pin(builder.build()).await.map_err(failed)?;
        let connection: Arc<dyn PeerConnection> = Arc::new(connection);
        let (audio_ssrc, video_ssrc) = (rand::random(), rand::random());
        let audio = local_track(RtpCodecKind::Audio, "audio", audio_codec(), audio_ssrc);
        let video = local_track(RtpCodecKind::Video, "video", video_codec(), video_ssrc);
        let audio_sender = connection.add_track(audio.clone() as Arc<dyn TrackLocal>).await.map_err(failed)?;
        let video_sender = connection.add_track(video.clone() as Arc<dyn TrackLocal>).await.map_err(failed)?;
        let (audio_out, audio_in) = mpsc::channel(AUDIO_QUEUE);
        let (video_out, video_in) = mpsc::channel(ENCODED_QUEUE);
        let outlet = Outlet::new(audio_out, video_out, seen.clone(), estimate.clone());
        let start = SenderParts {
            audio: (audio, audio_sender, audio_ssrc),
            video: (video, video_sender, video_ssrc),
            audio_in,
            video_in,
        };
        let peer = Self {
            connection,
            relay_only,
            remote,
            candidates,
            seen,
            sent: Arc::default(),
            events,
            outlet,
            start: Mutex::new(Some(start)),
        };
        Ok((peer, receiver))
    }

    /// Makes an offer (SDP). Candidates follow as events.
    pub async fn offer(&self) -> Result<String, MediaError> {
        self.offer_with(None).await
    }

    async fn offer_with(&self, options: Option<RTCOfferOptions>) -> Result<String, MediaError> {
        if self.remote.control.lock().await.is_none() {
            let channel = self.connection.create_data_channel("control", None).await.map_err(failed)?;
            *self.remote.control.lock().await = Some(channel.clone());
            tokio::spawn(read_channel(channel, self.events.clone(), self.remote.clone()));
        }
        let offer = self.connection.create_offer(options).await.map_err(failed)?;
        self.describe(offer).await
    }

    /// Answers an offer.
    pub async fn answer(&self, offer: String) -> Result<String, MediaError> {
        self.described(RTCSessionDescription::offer(checked(offer)?).map_err(failed)?).await?;
        let answer = self.connection.create_answer(None).await.map_err(failed)?;
        self.describe(answer).await
    }

    /// What this end is from now on. Sockets are bound and candidates found after this.
    async fn describe(&self, description: RTCSessionDescription) -> Result<String, MediaError> {
        self.candidates.described_here(&description.sdp);
        self.connection.set_local_description(description).await.map_err(failed)?;
        let description = self.connection.local_description().await;
        let sdp = description.map(|d| d.sdp).ok_or_else(|| failed("there is no local description"))?;
        // What was found meanwhile is in it.
        Ok(if self.relay_only { by_relays_alone(&sdp) } else { sdp })
    }

    /// Takes the answer to our offer.
    pub async fn accept(&self, answer: String) -> Result<(), MediaError> {
        self.described(RTCSessionDescription::answer(checked(answer)?).map_err(failed)?).await
    }

    /// A new offer that looks for new ways, from sockets on the addresses that this machine has now (on both ends: the other one does so when it answers).
    /// Not by `restart_ice`, which has sockets bound and candidates found before there is a description that they belong to.
    pub async fn restart(&self) -> Result<String, MediaError> {
        Box::pin(self.offer_with(Some(RTCOfferOptions { ice_restart: true }))).await
    }

    async fn described(&self, description: RTCSessionDescription) -> Result<(), MediaError> {
        let sdp = description.sdp.clone();
        self.connection.set_remote_description(description).await.map_err(failed)?;
        for candidate in self.candidates.described_there(&sdp) {
            let _ = self.connection.add_ice_candidate(candidate).await;
        }
        Ok(())
    }

    /// Takes a candidate of the other side (JSON). Those that come too early wait; beyond a number they are ignored.
    pub async fn candidate(&self, json: &str) -> Result<(), MediaError> {
        match self.candidates.theirs(json)? {
            Some(candidate) => self.connection.add_ice_candidate(candidate).await.map_err(failed),
            None => Ok(()),
        }
    }

    /// Fingerprints of our certificate and theirs, as in the descriptions.
    pub async fn fingerprints(&self) -> Vec<String> {
        let both = [self.connection.local_description().await, self.connection.remote_description().await];
        both.iter().flatten().map(|description| fingerprint(&description.sdp)).collect()
    }

    /// Whether an offer is of the connection at the other end that we know.
    pub async fn knows(&self, offer: &str) -> bool {
        let known = self.connection.remote_description().await;
        known.is_none_or(|known| fingerprint(&known.sdp) == fingerprint(offer) && session(&known.sdp) == session(offer))
    }

    /// Where to put what is to be sent.
    pub fn outlet(&self) -> Outlet {
        self.outlet.clone()
    }

    /// Counters.
    pub fn sent(&self) -> &Sent {
        &self.sent
    }

    /// A common point of a stream of the other side's and its clock.
    pub fn clock(&self, ssrc: u32) -> Option<ClockPoint> {
        self.seen.clock(ssrc)
    }

    /// Round trip as last measured; nothing while it is not known.
    pub fn round_trip(&self) -> Duration {
        Duration::from_micros(self.seen.round_trip_us.load(Relaxed).into())
    }

    /// Round trip of requests for lost sound; nothing while it is not known, or if none are made.
    pub fn audio_repair(&self) -> Option<Duration> {
        let round_trip = self.round_trip();
        (self.seen.asks_for_audio.load(Relaxed) && !round_trip.is_zero()).then_some(round_trip)
    }

    /// Whether a packet of sound that came was asked for.
    pub fn was_asked(&self, ssrc: u32, sequence: u16) -> bool {
        self.seen.was_asked(ssrc, sequence)
    }

    /// How long a packet of sound that comes now waits to be played, for who asks for lost ones.
    pub fn audio_waits(&self, wait: Duration) {
        self.seen.audio_wait_us.store(u32::try_from(wait.as_micros()).unwrap_or(u32::MAX), Relaxed);
    }

    /// Asks the other side for a key frame.
    pub async fn request_key(&self) {
        let track = self.remote.video.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(track) = track
            && let Some(media_ssrc) = track.ssrcs().await.first().copied()
        {
            let request = PictureLossIndication { sender_ssrc: 0, media_ssrc };
            let _ = track.write_rtcp(vec![Box::new(request)]).await;
        }
    }

    /// Sends a message on the control channel; false if it is not open or takes nothing more.
    pub async fn control(&self, message: &[u8]) -> bool {
        let channel = self.remote.control.lock().await.clone();
        match channel {
            Some(channel) if self.remote.ready.load(Relaxed) => channel.try_send(BytesMut::from(message)).await.is_ok(),
            _ => false,
        }
    }

    /// Begins to send, once connected; does nothing the second time.
    pub async fn start_sending(&self) -> Result<(), MediaError> {
        let parts = self.start.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(parts) = parts else { return Ok(()) };
        let audio = payload_type(&parts.audio.1, MIME_TYPE_OPUS).await?;
        let video = payload_type(&parts.video.1, MIME_TYPE_H264).await?;
        let sender = Sender::new(
            Stream::new(parts.audio.0, parts.audio.2, audio),
            Stream::new(parts.video.0, parts.video.2, video),
            &self.outlet,
            self.sent.clone(),
        );
        tokio::spawn(sender.run(parts.audio_in, parts.video_in));
        Ok(())
    }

    /// Looks at the path; also tells the round trip to who asks for lost packets.
    pub async fn path(&self) -> PathStats {
        use rtc::statistics::{StatsSelector, report::RTCStatsReportEntry};
        let report = self.connection.get_stats(Instant::now(), StatsSelector::None).await;
        let mut stats = PathStats::default();
        let mut selected = String::new();
        for entry in report.iter() {
            if let RTCStatsReportEntry::Transport(transport) = entry {
                selected.clone_from(&transport.selected_candidate_pair_id);
                stats.bytes = (transport.bytes_sent, transport.bytes_received);
            }
        }
        let pair = report.iter().find_map(|entry| match entry {
            RTCStatsReportEntry::IceCandidatePair(pair) if pair.stats.id == selected => Some(pair),
            _ => None,
        });
        if let Some(pair) = pair {
            stats.round_trip = (pair.current_round_trip_time > 0.0 && pair.current_round_trip_time < 60.0)
                .then(|| Duration::from_secs_f64(pair.current_round_trip_time));
            stats.local = report.iter().find_map(|entry| match entry {
                RTCStatsReportEntry::LocalCandidate(c) if c.stats.id.ends_with(&pair.local_candidate_id) => {
                    // Those beside that of the machine are related to it.
                    let related = Some(&c.related_address).filter(|address| !address.is_empty());
                    related.or(c.address.as_ref())?.parse().ok()
                }
                _ => None,
            });
            stats.remote = report.iter().find_map(|entry| match entry {
                RTCStatsReportEntry::RemoteCandidate(c) if c.stats.id.ends_with(&pair.remote_candidate_id) => {
                    c.address.as_ref()?.parse().ok()
                }
                _ => None,
            });
            let kinds = report.iter().filter_map(|entry| match entry {
                // Their names here are those of the pair with a prefix.
                RTCStatsReportEntry::LocalCandidate(c) | RTCStatsReportEntry::RemoteCandidate(c)
                    if c.stats.id.ends_with(&pair.local_candidate_id)
                        || c.stats.id.ends_with(&pair.remote_candidate_id) =>
                {
                    Some(c.candidate_type.to_string() == "relay")
                }
                _ => None,
            });
            stats.relayed = kinds.reduce(|a, b| a || b);
        }
        if let Some(round_trip) = stats.round_trip {
            self.seen.round_trip_us.store(round_trip.as_micros() as u32, Relaxed);
        }
        stats
    }

    /// Ends the connection and its tasks.
    pub async fn close(&self) {
        if let Err(error) = self.connection.close().await {
            tracing::debug!(%error, "closing a peer connection");
        }
    }
}

fn checked(sdp: String) -> Result<String, MediaError> {
    if sdp.len() > MAX_SDP { Err(failed("the session description is too long")) } else { Ok(sdp) }
}

/// What was agreed on for a codec; the other side may number it differently.
async fn payload_type(sender: &Arc<dyn RtpSender>, mime: &str) -> Result<u8, MediaError> {
    let parameters = sender.get_parameters().await.map_err(failed)?;
    let codecs = parameters.rtp_parameters.codecs;
    let codec = codecs.iter().find(|c| c.rtp_codec.mime_type.eq_ignore_ascii_case(mime));
    codec.map(|c| c.payload_type).ok_or_else(|| failed(format!("the other side does not take {mime}")))
}
