//! A call: what is captured goes to every route, what comes from a route is a participant.
//!
//! Threads: one captures and encodes sound, one video, one plays; one for each participant decodes video. Tasks: one for each route, which
//! owns its connection. All end with [`Call::end`], or with the last handle.

mod direct;
mod origins;
mod recording;
mod repair;
mod report;
mod routes;
mod terminal;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rtc::peer_connection::certificate::RTCCertificate;
use tokio::sync::{mpsc, watch};

use self::{
    recording::{Active, HEARD, SAID},
    routes::RoutePeer,
};
use crate::{
    MediaError,
    audio::{
        AudioSource, TICK_TIME, Tick,
        process::Cleaner,
        receive::{AudioReceive, MakeAudioSink},
        send::{AudioSend, MakeAudioSource},
    },
    control::{Control, Message},
    limits::{EVENT_QUEUE, SAMPLE_RATE},
    outlets::Outlets,
    participant::{Participants, SelfState},
    spec::{AudioIn, AudioOut, MakeVideoSink, VideoIn, VideoOut},
    switch::Switch,
    transport::peer::{PeerConfig, certificate},
    video::{
        Frame, Pace,
        send::{MakeVideoSource, VideoSend},
    },
};

/// An echo comes after so long: it is heard apart from what was said.
const ECHO: usize = SAMPLE_RATE as usize / 2;

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
    /// A route needs a new offer of its other end, who made the first: there, [`Call::reconnect`]. The end that makes the offers is told so of a route
    /// that is not connected yet, and that begins at an address that is gone: [`Call::offer_again`].
    NeedsOffer(u64),
    /// A route is over: it could not be made, or was interrupted for too long.
    Failed(u64),
    /// The other end hung up.
    Left(u64),
    /// Somebody's microphone, camera, hold or sharing changed.
    Changed,
    /// A device or file does not work; the call goes on without it.
    Trouble(MediaError),
    /// A participant's shared terminal: its size, or nothing at its end.
    Shared(u64, Option<(u16, u16)>),
    /// What a participant's terminal shows.
    Output(u64, Vec<u8>),
    /// The recording of this number is over; whether its file is complete.
    Recorded(u32, bool),
    /// Keys may be typed for a participant's terminal, or no longer.
    Hand(u64, bool),
}

struct Inner {
    start: Instant,
    config: CallConfig,
    certificate: RTCCertificate,
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
    share: Mutex<terminal::Sharing>,
    recording: Mutex<Option<Active>>,
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

/// Told of each tick of sound.
type Tap = Arc<dyn Fn(&Tick) + Send + Sync>;

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

/// A source that gives back what is heard; and what is to be told of it, which also tells `heard`.
fn echo_of(heard: Tap) -> (MakeAudioSource, Tap) {
    let echo: Arc<Mutex<VecDeque<f32>>> = Arc::default();
    let given = echo.clone();
    let source: MakeAudioSource = Arc::new(move || {
        Ok(Box::new(EchoSource { heard: given.clone(), pace: Pace::new(TICK_TIME) }) as Box<dyn AudioSource>)
    });
    let tap: Tap = Arc::new(move |tick: &Tick| {
        heard(tick);
        let mut echo = lock(&echo);
        echo.extend(tick);
        // Whoever gives back nothing (muted) keeps no more than a second.
        let much = echo.len().saturating_sub(2 * ECHO);
        echo.drain(..much);
    });
    (source, tap)
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
            recording: Mutex::default(),
            certificate: certificate()?,
            config,
        });
        let call = Self(inner);
        call.start_threads()?;
        Ok((call, receiver))
    }

    fn start_threads(&self) -> Result<(), MediaError> {
        let inner = &self.0;
        let (cleaner, cleaning) = (Cleaner::default(), Arc::new(AtomicBool::new(false)));
        let (mut source, mut tap) = (inner.config.audio_in.clone(), self.recorded(HEARD));
        if inner.config.echo {
            let (echo, heard) = echo_of(tap);
            (source, tap) = (Some(echo), heard);
        }
        if let Some(source) = source {
            let send = AudioSend {
                source,
                switch: inner.microphone.clone(),
                outlets: inner.outlets.clone(),
                cleaner: cleaner.clone(),
                cleaning: cleaning.clone(),
                level: inner.level.clone(),
                tap: self.recorded(SAID),
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

    /// Has what is said or heard recorded, while something is. The call is not kept alive by it.
    fn recorded(&self, which: usize) -> Tap {
        let inner = Arc::downgrade(&self.0);
        Arc::new(move |tick: &Tick| {
            if let Some(inner) = inner.upgrade()
                && let Some(active) = &*lock(&inner.recording)
            {
                active.taps[which].put(tick);
            }
        })
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
                let _ = inner.events.try_send(CallEvent::Trouble(why));
            }
            let _ = inner.events.try_send(CallEvent::Changed);
            let call = Self(inner);
            runtime.spawn(async move { call.tell_state().await });
        })
    }

    fn trouble(&self) -> Box<dyn Fn(MediaError) + Send> {
        let events = self.0.events.clone();
        Box::new(move |error| {
            let _ = events.try_send(CallEvent::Trouble(error));
        })
    }

    /// Ends everything; files are complete when this returns.
    pub async fn end(&self) {
        let ids: Vec<u64> = lock(&self.0.routes).keys().copied().collect();
        lock(&self.0.share).current = None;
        self.end_record().await;
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

    /// The routes that there are, oldest first.
    pub fn routes(&self) -> Vec<u64> {
        lock(&self.0.routes).keys().copied().collect()
    }

    fn all_routes(&self) -> Vec<Arc<RoutePeer>> {
        lock(&self.0.routes).values().cloned().collect()
    }

    /// Turns the microphone on or off; off, no device is open.
    pub async fn set_microphone(&self, on: bool) {
        let on = on && (self.0.config.audio_in.is_some() || self.0.config.echo);
        self.switch(|state| state.microphone = on);
        self.tell_state().await;
    }

    /// Changes what is captured. In one piece, so that nothing opens while the call is put on hold elsewhere.
    fn switch(&self, change: impl FnOnce(&mut SelfState)) {
        let mut state = lock(&self.0.state);
        change(&mut state);
        self.0.microphone.set(state.microphone && !state.hold);
        self.0.camera.set(state.camera && !state.hold);
    }

    /// Captures nothing more, at once. [`Call::end`] does the rest.
    pub fn silence(&self) {
        self.0.microphone.end();
        self.0.camera.end();
    }

    /// Turns the camera on or off.
    pub async fn set_camera(&self, on: bool) {
        let on = on && self.0.config.video_in.is_some();
        self.switch(|state| state.camera = on);
        self.tell_state().await;
    }

    /// Puts the call on hold: nothing is captured, nothing is sent.
    pub async fn set_hold(&self, hold: bool) {
        self.switch(|state| state.hold = hold);
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
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.microphone.end();
        self.camera.end();
        self.playing.end();
        if let Some(recording) = lock(&self.recording).take() {
            recording.switch.end();
        }
    }
}
