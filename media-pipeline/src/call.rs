//! A call: what is captured goes to every route, what comes from a route is a participant.
//!
//! Threads: one captures and encodes sound, one video, one plays; one for each participant decodes video. Tasks: one for each route, which
//! owns its connection. All end with [`Call::end`], or with the last handle.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, watch};

use crate::{
    MediaError,
    audio::{
        AudioSource, TICK_TIME, Tick,
        process::Cleaner,
        receive::{AudioReceive, MakeAudioSink},
        send::{AudioSend, MakeAudioSource},
    },
    control::{Control, Message},
    limits::{EVENT_QUEUE, MAX_ROUTES, PACKET_QUEUE, SAMPLE_RATE},
    outlets::{Outlets, Route},
    participant::{Participant, Participants, SelfState},
    share::Share,
    spec::{AudioIn, AudioOut, MakeVideoSink, VideoIn, VideoOut},
    stats::{CallStats, RouteStats, VideoStats},
    switch::Switch,
    transport::peer::{PathStats, Peer, PeerConfig, PeerEvent, PeerState},
    video::{
        Frame, Pace,
        receive::VideoReceive,
        send::{MakeVideoSource, VideoSend},
    },
};

/// Who shares nothing longer than this is asked for a new way (a restart of ICE).
const RESTART_AFTER: Duration = Duration::from_secs(2);
/// And again, while it is interrupted.
const RESTART_EVERY: Duration = Duration::from_secs(6);
/// After so long without anything a route is given up, whatever is still tried. Longer than a change of networks takes.
const GIVEN_UP: Duration = Duration::from_secs(20);
/// An echo comes after so long: it is heard apart from what was said.
const ECHO: usize = SAMPLE_RATE as usize / 2;
/// Bytes of a shared terminal that are sent at once.
const SHARE_CHUNK: usize = 8 * 1024;

/// What a call captures and where it shows.
#[derive(Clone, Default)]
pub struct CallConfig {
    /// Opens the microphone, or what stands for it.
    pub audio_in: Option<MakeAudioSource>,
    /// What is heard is given back.
    pub echo: bool,
    /// Opens the loudspeaker, or what stands for it.
    pub audio_out: Option<MakeAudioSink>,
    /// Opens the camera, or what stands for it.
    pub video_in: Option<MakeVideoSource>,
    /// Opens a sink for a participant's video, besides the screen.
    pub video_out: Option<MakeVideoSink>,
    /// The microphone is on from the beginning.
    pub microphone: bool,
    /// The camera is.
    pub camera: bool,
    /// How connections are made.
    pub peer: PeerConfig,
}

impl CallConfig {
    /// From what users call sources and sinks.
    pub fn from_specs(audio_in: &AudioIn, audio_out: &AudioOut, video_in: &VideoIn, video_out: &VideoOut) -> Self {
        Self {
            audio_in: audio_in.make(),
            echo: *audio_in == AudioIn::Echo,
            audio_out: audio_out.make(),
            video_in: video_in.make(),
            video_out: video_out.make(),
            microphone: *audio_in != AudioIn::None,
            camera: *video_in != VideoIn::None,
            peer: PeerConfig::default(),
        }
    }
}

/// What happens in a call.
#[derive(Clone, Debug, PartialEq)]
pub enum CallEvent {
    /// A candidate to tell the other end of a route.
    Candidate(u64, String),
    /// Media flow on a route.
    Connected(u64),
    /// Nothing comes on a route; a way round is looked for.
    Interrupted(u64),
    /// A route needs [`Call::restart`]. Only told to the end that made the offer.
    NeedsRestart(u64),
    /// A route is over: it could not be made, or was interrupted for too long.
    Failed(u64),
    /// The other end hung up.
    Left(u64),
    /// Somebody's microphone, camera, hold or sharing changed.
    Changed,
    /// A device or file does not work; the call goes on without it.
    Trouble(String),
    /// A participant's shared terminal: its size, or nothing at its end.
    Shared(u64, Option<(u16, u16)>),
    /// What a participant's terminal shows.
    Output(u64, Vec<u8>),
    /// Keys may be typed for a participant's terminal, or no longer.
    Hand(u64, bool),
}

struct RoutePeer {
    id: u64,
    peer: Arc<Peer>,
    participant: Arc<Participant>,
    offered: bool,
    state: Mutex<RouteState>,
}

#[derive(Default)]
struct RouteState {
    connection: Option<PeerState>,
    path: PathStats,
    sent_bps: u64,
    received_bps: u64,
    fps: f32,
    /// What this end last said that it shows of the other's video.
    want: Option<u32>,
    hand: bool,
}

struct Inner {
    start: Instant,
    config: CallConfig,
    outlets: Arc<Outlets>,
    participants: Arc<Participants>,
    routes: Mutex<BTreeMap<u64, Arc<RoutePeer>>>,
    microphone: Arc<Switch>,
    camera: Arc<Switch>,
    playing: Arc<Switch>,
    state: Mutex<SelfState>,
    level: Arc<AtomicU32>,
    self_view: watch::Sender<Option<Arc<Frame>>>,
    events: mpsc::Sender<CallEvent>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    share: Mutex<Option<Arc<Share>>>,
}

/// A call in progress; clones are handles to the same one.
#[derive(Clone)]
pub struct Call(Arc<Inner>);

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call").finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives back what is heard.
struct EchoSource {
    heard: Arc<Mutex<VecDeque<f32>>>,
    pace: Pace,
}

impl AudioSource for EchoSource {
    fn read(&mut self, tick: &mut Tick) -> Result<bool, MediaError> {
        self.pace.wait();
        let mut heard = lock(&self.heard);
        let enough = heard.len() >= ECHO;
        for sample in tick.iter_mut() {
            *sample = if enough { heard.pop_front().unwrap_or(0.0) } else { 0.0 };
        }
        Ok(true)
    }
}

impl Call {
    /// Begins to capture and to play; nobody is there yet. Has to be called within a tokio runtime.
    pub fn start(config: CallConfig) -> Result<(Self, mpsc::Receiver<CallEvent>), MediaError> {
        let (events, receiver) = mpsc::channel(EVENT_QUEUE);
        let has_sound = config.audio_in.is_some() || config.echo;
        let state = SelfState {
            microphone: config.microphone && has_sound,
            camera: config.camera && config.video_in.is_some(),
            ..SelfState::default()
        };
        let inner = Arc::new(Inner {
            start: Instant::now(),
            outlets: Arc::default(),
            participants: Arc::default(),
            routes: Mutex::default(),
            microphone: Arc::new(Switch::new(state.microphone)),
            camera: Arc::new(Switch::new(state.camera)),
            playing: Arc::new(Switch::new(true)),
            state: Mutex::new(state),
            level: Arc::default(),
            self_view: watch::Sender::new(None),
            events,
            threads: Mutex::default(),
            share: Mutex::default(),
            config,
        });
        let call = Self(inner);
        call.start_threads()?;
        Ok((call, receiver))
    }

    fn start_threads(&self) -> Result<(), MediaError> {
        let inner = &self.0;
        let (cleaner, cleaning) = (Cleaner::default(), Arc::new(AtomicBool::new(false)));
        let echo: Arc<Mutex<VecDeque<f32>>> = Arc::default();
        let mut source = inner.config.audio_in.clone();
        let mut tap: Arc<dyn Fn(&Tick) + Send + Sync> = Arc::new(|_| {});
        if inner.config.echo {
            let heard = echo.clone();
            source = Some(Arc::new(move || {
                Ok(Box::new(EchoSource { heard: heard.clone(), pace: Pace::new(TICK_TIME) }) as Box<dyn AudioSource>)
            }));
            tap = Arc::new(move |tick| {
                let mut heard = lock(&echo);
                heard.extend(tick);
                // Whoever gives back nothing (muted) keeps no more than a second.
                let much = heard.len().saturating_sub(2 * ECHO);
                heard.drain(..much);
            });
        }
        if let Some(source) = source {
            let send = AudioSend {
                source,
                switch: inner.microphone.clone(),
                outlets: inner.outlets.clone(),
                cleaner: cleaner.clone(),
                cleaning: cleaning.clone(),
                level: inner.level.clone(),
                tap: Arc::new(|_| {}),
                ended: self.turned_off(|state| state.microphone = false),
                start: inner.start,
                base: rand::random(),
            };
            self.thread("call-audio-in", move || send.run())?;
        }
        if let Some(source) = inner.config.video_in.clone() {
            let send = VideoSend {
                source,
                switch: inner.camera.clone(),
                outlets: inner.outlets.clone(),
                self_view: inner.self_view.clone(),
                ended: self.turned_off(|state| state.camera = false),
                start: inner.start,
                base: rand::random(),
            };
            self.thread("call-video-in", move || send.run())?;
        }
        let receive = AudioReceive {
            sink: inner.config.audio_out.clone(),
            switch: inner.playing.clone(),
            participants: inner.participants.clone(),
            cleaner,
            cleaning,
            tap,
            failed: self.trouble(),
        };
        self.thread("call-audio-out", move || receive.run())
    }

    fn thread(&self, name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), MediaError> {
        let thread = std::thread::Builder::new().name(name.into()).spawn(run);
        let thread = thread.map_err(|e| MediaError::NoDevice(format!("no thread for a call: {e}")))?;
        lock(&self.0.threads).push(thread);
        Ok(())
    }

    /// What a thread calls when its source is over. The call is not kept alive by its threads.
    fn turned_off(&self, change: fn(&mut SelfState)) -> Box<dyn Fn(Option<MediaError>) + Send> {
        let (inner, runtime) = (Arc::downgrade(&self.0), tokio::runtime::Handle::current());
        Box::new(move |why| {
            let Some(inner) = inner.upgrade() else { return };
            change(&mut lock(&inner.state));
            if let Some(why) = why {
                let _ = inner.events.try_send(CallEvent::Trouble(why.to_string()));
            }
            let _ = inner.events.try_send(CallEvent::Changed);
            let call = Self(inner);
            runtime.spawn(async move { call.tell_state().await });
        })
    }

    fn trouble(&self) -> Box<dyn Fn(MediaError) + Send> {
        let events = self.0.events.clone();
        Box::new(move |error| {
            let _ = events.try_send(CallEvent::Trouble(error.to_string()));
        })
    }

    /// A new route, and an offer for its other end.
    pub async fn offer(&self, route: u64) -> Result<String, MediaError> {
        let route = Box::pin(self.add(route, true)).await?;
        Box::pin(route.peer.offer()).await
    }

    /// An answer to an offer: of a new route, or of a known one that is made anew.
    pub async fn answer(&self, route: u64, offer: String) -> Result<String, MediaError> {
        let known = self.route(route);
        let route = match known {
            Some(route) => route,
            None => Box::pin(self.add(route, false)).await?,
        };
        Box::pin(route.peer.answer(offer)).await
    }

    /// The answer to an offer of ours.
    pub async fn accept(&self, route: u64, answer: String) -> Result<(), MediaError> {
        match self.route(route) {
            Some(route) => route.peer.accept(answer).await,
            None => Ok(()),
        }
    }

    /// A candidate of a route's other end.
    pub async fn candidate(&self, route: u64, json: &str) -> Result<(), MediaError> {
        match self.route(route) {
            Some(route) => route.peer.candidate(json).await,
            None => Ok(()),
        }
    }

    /// A new offer for a route, after the network changed.
    pub async fn restart(&self, route: u64) -> Result<String, MediaError> {
        match self.route(route) {
            Some(route) => Box::pin(route.peer.restart()).await,
            None => Err(MediaError::Transport("there is no such route".into())),
        }
    }

    async fn add(&self, id: u64, offered: bool) -> Result<Arc<RoutePeer>, MediaError> {
        if lock(&self.0.routes).len() >= MAX_ROUTES {
            return Err(MediaError::Transport(format!("a call has at most {MAX_ROUTES} others")));
        }
        let (packets, receiver) = std::sync::mpsc::sync_channel(PACKET_QUEUE);
        let participant = Arc::new(Participant::new(id, packets)?);
        let (peer, events) = Box::pin(Peer::new(&self.0.config.peer, participant.clone())).await?;
        let peer = Arc::new(peer);
        participant.connected_by(&peer);
        let sink = match self.0.config.video_out.as_ref().map(|make| make()) {
            None => None,
            Some(Ok(sink)) => Some(sink),
            Some(Err(error)) => {
                let _ = self.0.events.try_send(CallEvent::Trouble(error.to_string()));
                None
            }
        };
        let video = VideoReceive { packets: receiver, participant: participant.clone(), sink, failed: self.trouble() };
        self.thread("call-video-out", move || video.run())?;
        self.0.participants.add(participant.clone());
        let route = Arc::new(RoutePeer { id, peer, participant, offered, state: Mutex::default() });
        lock(&self.0.routes).insert(id, route.clone());
        tokio::spawn(Self(self.0.clone()).drive(route.clone(), events));
        Ok(route)
    }

    /// A route ends; the others go on.
    pub async fn remove(&self, id: u64) {
        let Some(route) = lock(&self.0.routes).remove(&id) else { return };
        self.0.outlets.remove(id);
        self.0.participants.remove(id);
        route.participant.leave();
        route.peer.control(&Message::Control(Control::Bye).encode()).await;
        // Time for the farewell to leave; it is also told by other means.
        tokio::time::sleep(Duration::from_millis(60)).await;
        route.peer.close().await;
    }

    /// Ends everything; files are complete when this returns.
    pub async fn end(&self) {
        let ids: Vec<u64> = lock(&self.0.routes).keys().copied().collect();
        *lock(&self.0.share) = None;
        self.0.microphone.end();
        self.0.camera.end();
        futures::future::join_all(ids.iter().map(|id| self.remove(*id))).await;
        self.0.playing.end();
        let threads = std::mem::take(&mut *lock(&self.0.threads));
        let join = move || threads.into_iter().for_each(|thread| drop(thread.join()));
        let _ = tokio::time::timeout(Duration::from_secs(3), tokio::task::spawn_blocking(join)).await;
    }

    fn route(&self, id: u64) -> Option<Arc<RoutePeer>> {
        lock(&self.0.routes).get(&id).cloned()
    }

    fn all_routes(&self) -> Vec<Arc<RoutePeer>> {
        lock(&self.0.routes).values().cloned().collect()
    }

    /// Fingerprints of both certificates of a route, as in the descriptions.
    pub async fn fingerprints(&self, id: u64) -> Vec<String> {
        match self.route(id) {
            Some(route) => route.peer.fingerprints().await,
            None => Vec::new(),
        }
    }

    /// Turns the microphone on or off; off, no device is open.
    pub async fn set_microphone(&self, on: bool) {
        let on = on && (self.0.config.audio_in.is_some() || self.0.config.echo);
        let hold = {
            let mut state = lock(&self.0.state);
            state.microphone = on;
            state.hold
        };
        self.0.microphone.set(on && !hold);
        self.tell_state().await;
    }

    /// Turns the camera on or off.
    pub async fn set_camera(&self, on: bool) {
        let on = on && self.0.config.video_in.is_some();
        let hold = {
            let mut state = lock(&self.0.state);
            state.camera = on;
            state.hold
        };
        self.0.camera.set(on && !hold);
        self.tell_state().await;
    }

    /// Puts the call on hold: nothing is captured, nothing is sent.
    pub async fn set_hold(&self, hold: bool) {
        let state = {
            let mut state = lock(&self.0.state);
            state.hold = hold;
            *state
        };
        self.0.microphone.set(state.microphone && !hold);
        self.0.camera.set(state.camera && !hold);
        self.hold_routes();
        self.tell_state().await;
    }

    fn hold_routes(&self) {
        let ours = lock(&self.0.state).hold;
        for out in self.0.outlets.all() {
            let theirs = self.0.participants.get(out.id).is_some_and(|p| lock(&p.state).hold);
            out.held.store(ours || theirs, Relaxed);
        }
    }

    /// Tells a route's other end how high its video is shown here (0: not at all).
    pub async fn want(&self, id: u64, height: u32) {
        let Some(route) = self.route(id) else { return };
        lock(&route.state).want = Some(height);
        route.peer.control(&Message::Control(Control::Want { height }).encode()).await;
    }

    async fn tell_state(&self) {
        let _ = self.0.events.try_send(CallEvent::Changed);
        let state = *lock(&self.0.state);
        self.tell(Control::State(state)).await;
    }

    async fn tell(&self, control: Control) {
        let message = Message::Control(control).encode();
        for route in self.all_routes() {
            route.peer.control(&message).await;
        }
    }

    /// Bytes of sound and video that were sent on a route, without headers and repetitions.
    pub fn payload_sent(&self, id: u64) -> u64 {
        self.route(id).map_or(0, |route| route.peer.sent().bytes.load(Relaxed))
    }

    /// The newest frame of a participant.
    pub fn view(&self, id: u64) -> Option<watch::Receiver<Option<Arc<Frame>>>> {
        self.0.participants.get(id).map(|p| p.view.subscribe())
    }

    /// The newest frame of our own camera, small.
    pub fn self_view(&self) -> watch::Receiver<Option<Arc<Frame>>> {
        self.0.self_view.subscribe()
    }

    /// Shares a terminal with all: a command line, or the user's shell.
    pub async fn share(&self, command: Option<&str>, columns: u16, rows: u16) -> Result<(), MediaError> {
        if lock(&self.0.share).is_some() {
            return Err(MediaError::Spec("a terminal is shared already; end it first".into()));
        }
        let (inner, runtime) = (Arc::downgrade(&self.0), tokio::runtime::Handle::current());
        let share = Share::start(command, columns, rows, move |bytes| {
            let Some(inner) = inner.upgrade() else { return };
            let call = Self(inner);
            match bytes {
                Some(bytes) => {
                    // A slow path slows the command down, as a slow terminal does.
                    let message = Message::Output(bytes.to_vec()).encode();
                    runtime.block_on(async {
                        for route in call.all_routes() {
                            for _ in 0..200 {
                                if route.peer.control(&message).await || !call.is_connected(route.id) {
                                    break;
                                }
                                tokio::time::sleep(Duration::from_millis(20)).await;
                            }
                        }
                    });
                }
                None => runtime.block_on(call.end_share()),
            }
        })?;
        let (columns, rows) = share.size();
        *lock(&self.0.share) = Some(Arc::new(share));
        lock(&self.0.state).sharing = true;
        self.tell(Control::Share { columns, rows }).await;
        self.tell_state().await;
        Ok(())
    }

    /// No longer shares.
    pub async fn end_share(&self) {
        let share = lock(&self.0.share).take();
        if share.is_some() {
            lock(&self.0.state).sharing = false;
            for route in self.all_routes() {
                lock(&route.state).hand = false;
            }
            self.tell(Control::ShareEnd).await;
            self.tell_state().await;
        }
    }

    /// Hands the keyboard of the terminal that is shared here to a participant, or takes it back.
    pub async fn hand(&self, id: u64, given: bool) {
        if let Some(route) = self.route(id) {
            lock(&route.state).hand = given;
            route.peer.control(&Message::Control(Control::Hand { given }).encode()).await;
        }
    }

    /// Types into a terminal: our own shared one, or that of a participant who handed us the keyboard.
    pub async fn type_in(&self, id: Option<u64>, bytes: &[u8]) {
        match id.and_then(|id| self.route(id)) {
            Some(route) => {
                route.peer.control(&Message::Input(bytes.to_vec()).encode()).await;
            }
            None => {
                if let Some(share) = &*lock(&self.0.share) {
                    share.type_in(bytes);
                }
            }
        }
    }

    fn is_connected(&self, id: u64) -> bool {
        self.route(id).is_some_and(|r| lock(&r.state).connection == Some(PeerState::Connected))
    }

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

    /// The task of a route. It keeps only what it needs, so that a call whose handles are gone ends.
    async fn drive(self, route: Arc<RoutePeer>, mut events: mpsc::Receiver<PeerEvent>) {
        let mut second = tokio::time::interval(Duration::from_secs(1));
        second.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut counted = (PathStats::default().bytes, 0u64, Instant::now());
        // When it was interrupted, and when the next new way is tried.
        let mut interrupted: Option<(Instant, Instant)> = None;
        let (weak, id) = (Arc::downgrade(&self.0), route.id);
        drop(self);
        loop {
            tokio::select! {
                event = events.recv() => {
                    let (Some(event), Some(inner)) = (event, weak.upgrade()) else { return };
                    let call = Self(inner);
                    match event {
                        PeerEvent::State(PeerState::Connected) => interrupted = None,
                        PeerEvent::State(PeerState::Interrupted | PeerState::Failed) if interrupted.is_none() => {
                            interrupted = Some((Instant::now(), Instant::now() + RESTART_AFTER));
                        }
                        _ => {}
                    }
                    call.on_peer(&route, event).await;
                }
                () = route.participant.key_needed.notified() => route.peer.request_key().await,
                _ = second.tick() => {
                    let Some(inner) = weak.upgrade() else {
                        route.peer.close().await;
                        return;
                    };
                    let call = Self(inner);
                    if call.route(id).is_none() {
                        return;
                    }
                    if let Some((since, due)) = &mut interrupted {
                        let now = Instant::now();
                        if now - *since >= GIVEN_UP {
                            interrupted = None;
                            call.on_peer(&route, PeerEvent::State(PeerState::Failed)).await;
                        } else if route.offered && now >= *due {
                            *due = now + RESTART_EVERY;
                            let _ = call.0.events.try_send(CallEvent::NeedsRestart(id));
                        }
                    }
                    counted = call.each_second(&route, counted).await;
                }
            }
        }
    }

    async fn each_second(
        &self,
        route: &RoutePeer,
        (bytes, frames, then): ((u64, u64), u64, Instant),
    ) -> ((u64, u64), u64, Instant) {
        let path = route.peer.path().await;
        let (now, decoded) = (Instant::now(), route.participant.video.frames.get());
        let time = (now - then).as_secs_f64().max(0.001);
        let rate = |new: u64, old: u64| (new.saturating_sub(old) as f64 * 8.0 / time) as u64;
        let connected = {
            let mut state = lock(&route.state);
            state.sent_bps = rate(path.bytes.0, bytes.0);
            state.received_bps = rate(path.bytes.1, bytes.1);
            state.fps = (decoded.saturating_sub(frames) as f64 / time) as f32;
            state.path = path;
            state.connection == Some(PeerState::Connected)
        };
        if connected {
            let (percent, burst) = route.participant.loss();
            let burst = (burst * 10.0).clamp(10.0, 250.0) as u8;
            route.peer.control(&Message::Control(Control::Loss { percent, burst }).encode()).await;
        }
        (path.bytes, decoded, now)
    }

    async fn on_peer(&self, route: &Arc<RoutePeer>, event: PeerEvent) {
        let id = route.id;
        match event {
            PeerEvent::Candidate(json) => {
                let _ = self.0.events.send(CallEvent::Candidate(id, json)).await;
            }
            PeerEvent::State(state) => {
                let first = lock(&route.state).connection.replace(state).is_none();
                let event = match state {
                    PeerState::Connected => {
                        if first {
                            if let Err(error) = route.peer.start_sending().await {
                                let _ = self.0.events.try_send(CallEvent::Trouble(error.to_string()));
                            }
                            self.0.outlets.add(id, route.peer.outlet());
                            self.hold_routes();
                        }
                        let _ = route.peer.path().await;
                        CallEvent::Connected(id)
                    }
                    PeerState::Interrupted => CallEvent::Interrupted(id),
                    PeerState::Failed => CallEvent::Failed(id),
                };
                let _ = self.0.events.send(event).await;
            }
            PeerEvent::ControlOpen => {
                let state = *lock(&self.0.state);
                let want = lock(&route.state).want;
                route.peer.control(&Message::Control(Control::State(state)).encode()).await;
                if let Some(height) = want {
                    route.peer.control(&Message::Control(Control::Want { height }).encode()).await;
                }
                let share = lock(&self.0.share).clone();
                if let Some(share) = share {
                    let (columns, rows) = share.size();
                    route.peer.control(&Message::Control(Control::Share { columns, rows }).encode()).await;
                    for chunk in share.contents().chunks(SHARE_CHUNK) {
                        route.peer.control(&Message::Output(chunk.to_vec()).encode()).await;
                    }
                }
            }
            PeerEvent::Control(bytes) => match Message::decode(&bytes) {
                Some(Message::Control(control)) => self.on_control(route, control).await,
                Some(Message::Output(bytes)) => {
                    let _ = self.0.events.send(CallEvent::Output(id, bytes)).await;
                }
                Some(Message::Input(bytes)) => {
                    // Only who was handed the keyboard.
                    if lock(&route.state).hand
                        && let Some(share) = &*lock(&self.0.share)
                    {
                        share.type_in(&bytes);
                    }
                }
                None => {}
            },
        }
    }

    async fn on_control(&self, route: &Arc<RoutePeer>, control: Control) {
        let id = route.id;
        let out: Option<Arc<Route>> = self.0.outlets.all().into_iter().find(|r| r.id == id);
        match control {
            Control::State(state) => {
                let before = std::mem::replace(&mut *lock(&route.participant.state), state);
                if before.camera != state.camera {
                    route.participant.video_paused();
                    if !state.camera {
                        route.participant.view.send_replace(None);
                    }
                }
                self.hold_routes();
                let _ = self.0.events.try_send(CallEvent::Changed);
            }
            Control::Want { height } => {
                if let Some(out) = out {
                    out.wanted_height.store(height.min(720), Relaxed);
                }
            }
            Control::Loss { percent, burst } => {
                if let Some(out) = out {
                    // The last seconds together: a single one says little.
                    let before = u32::from(out.loss_percent.load(Relaxed));
                    let smooth = (before * 2 + u32::from(percent.min(100))).div_ceil(3);
                    out.loss_percent.store(smooth.min(100) as u8, Relaxed);
                    if percent > 0 {
                        out.loss_burst.store(burst.max(10), Relaxed);
                    }
                }
            }
            Control::Share { columns, rows } => {
                let size = (columns.clamp(20, 400), rows.clamp(5, 400));
                let _ = self.0.events.send(CallEvent::Shared(id, Some(size))).await;
            }
            Control::ShareEnd => {
                let _ = self.0.events.send(CallEvent::Shared(id, None)).await;
            }
            Control::Hand { given } => {
                let _ = self.0.events.send(CallEvent::Hand(id, given)).await;
            }
            Control::Bye => {
                let _ = self.0.events.send(CallEvent::Left(id)).await;
            }
            Control::RecordAsk | Control::RecordAnswer { .. } | Control::Unknown => {}
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.microphone.end();
        self.camera.end();
        self.playing.end();
    }
}
