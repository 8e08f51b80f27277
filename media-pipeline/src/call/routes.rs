//! The routes of a call: how each is made, what comes from it, and how it ends.

use std::{
    sync::{Arc, Mutex, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use tokio::{
    sync::{Notify, mpsc},
    time::sleep_until,
};

use super::{
    Call, CallEvent, lock,
    origins::Origins,
    repair::{Repair, Step},
};
use crate::{
    MediaError,
    control::{Control, Message},
    limits::{MAX_ROUTES, PACKET_QUEUE},
    outlets::Route,
    participant::Participant,
    transport::{
        addresses,
        peer::{PathStats, Peer, PeerEvent, PeerState},
    },
    video::receive::VideoReceive,
};

/// Bytes of a shared terminal that are sent at once.
const SHARE_CHUNK: usize = 8 * 1024;

/// A route, and who is at its other end.
pub(super) struct RoutePeer {
    pub id: u64,
    pub peer: Arc<Peer>,
    pub participant: Arc<Participant>,
    pub state: Mutex<RouteState>,
    /// Its state has changed otherwise than by an event of its connection.
    changed: Notify,
}

pub(super) struct RouteState {
    pub connection: Option<PeerState>,
    repair: Repair,
    /// Where it was begun, until it is connected.
    origins: Origins,
    pub path: PathStats,
    pub sent_bps: u64,
    pub received_bps: u64,
    pub fps: f32,
    /// What this end last said that it shows of the other's video.
    pub want: Option<u32>,
    /// It may type into our terminal.
    pub hand: bool,
}

impl RouteState {
    fn new(offers: bool) -> Self {
        Self {
            connection: None,
            repair: Repair::new(offers),
            origins: Origins::new(addresses::here()),
            path: PathStats::default(),
            sent_bps: 0,
            received_bps: 0,
            fps: 0.0,
            want: None,
            hand: false,
        }
    }
}

impl RoutePeer {
    /// Its path is seen in another way than by its own events.
    fn renewed(&self, change: impl FnOnce(&mut Repair)) {
        change(&mut lock(&self.state).repair);
        self.changed.notify_one();
    }
}

impl Call {
    /// A new route, and an offer for its other end.
    pub async fn offer(&self, route: u64) -> Result<String, MediaError> {
        let route = Box::pin(self.add(route, true)).await?;
        lock(&route.state).repair.offered(Instant::now());
        Box::pin(route.peer.offer()).await
    }

    /// An answer to an offer: of a new route, or of a known one that is made again.
    ///
    /// Where the offers of a connection are ours to make, one of its other end is refused and counts as [`Call::reconnect`]. So of two offers that
    /// cross, ours is the one that is answered, and the ends never change their roles in ICE and DTLS. A browser takes its own offer back when ours
    /// comes (RFC 9429, section 4.1.10.2).
    pub async fn answer(&self, route: u64, offer: String) -> Result<String, MediaError> {
        let mut known = self.route(route);
        if let Some(old) = &known
            && !old.peer.knows(&offer).await
        {
            // Another connection in place of one that did not come to be there.
            self.detach(route);
            old.peer.close().await;
            known = None;
        }
        let route = match known {
            Some(route) if lock(&route.state).repair.makes_offers() => {
                route.renewed(|repair| repair.requested(Instant::now()));
                return Err(MediaError::Transport("the offers are this end's to make".into()));
            }
            Some(route) => route,
            None => Box::pin(self.add(route, false)).await?,
        };
        let answer = Box::pin(route.peer.answer(offer)).await?;
        route.renewed(|repair| repair.answered(Instant::now()));
        Ok(answer)
    }

    /// The answer to an offer of ours; one that nobody waits for is ignored.
    pub async fn accept(&self, route: u64, answer: String) -> Result<(), MediaError> {
        match self.route(route) {
            Some(route) if lock(&route.state).repair.accepted(Instant::now()) => route.peer.accept(answer).await,
            _ => Ok(()),
        }
    }

    /// A candidate of a route's other end.
    pub async fn candidate(&self, route: u64, json: &str) -> Result<(), MediaError> {
        match self.route(route) {
            Some(route) => route.peer.candidate(json).await,
            None => Ok(()),
        }
    }

    /// The other end of a route asks for a new offer.
    pub fn reconnect(&self, route: u64) {
        if let Some(route) = self.route(route) {
            route.renewed(|repair| repair.requested(Instant::now()));
        }
    }

    /// This machine is in another network, or has other addresses: routes that begin at one that is gone are repaired at once, and so are those that are
    /// interrupted; those that go through a relay, or by another interface than what is sent now, look for a better path in a while. Those that are
    /// not connected yet are to be made again.
    pub async fn network_changed(&self) {
        // Without any network, the next change is waited for. Tunnels are of connections that are replaced by themselves.
        if self.0.config.peer.tunnel_only || addresses::here().is_empty() {
            return;
        }
        let all = addresses::all();
        for route in self.all_routes() {
            let path = route.peer.path().await;
            let lost = path.local.is_some_and(|ip| !all.contains(&ip));
            // The first leg of one through a relay goes elsewhere.
            let ends = path.local.zip(path.remote).filter(|_| path.relayed == Some(false) && !lost);
            let is_detour = ends.is_some_and(|(local, remote)| addresses::is_detour(local, remote));
            route.renewed(|repair| {
                repair.network_changed(lost, Instant::now());
                repair.on_detour(is_detour, Instant::now());
            });
            let is_made_again = {
                let mut state = lock(&route.state);
                !state.repair.has_begun() && state.origins.take_lost(&all, addresses::here(), Instant::now())
            };
            if is_made_again {
                let _ = self.0.events.try_send(CallEvent::NeedsOffer(route.id));
            }
        }
    }

    /// A new offer for a route, after the network changed.
    pub async fn restart(&self, route: u64) -> Result<String, MediaError> {
        match self.route(route) {
            Some(route) => {
                let offer = Box::pin(route.peer.restart()).await?;
                route.renewed(|repair| repair.offered(Instant::now()));
                Ok(offer)
            }
            None => Err(MediaError::Transport("there is no such route".into())),
        }
    }

    async fn add(&self, id: u64, offered: bool) -> Result<Arc<RoutePeer>, MediaError> {
        if lock(&self.0.routes).len() >= MAX_ROUTES {
            return Err(MediaError::Transport(format!("a call has at most {MAX_ROUTES} others")));
        }
        let (packets, receiver) = std::sync::mpsc::sync_channel(PACKET_QUEUE);
        let participant = Arc::new(Participant::new(id, packets)?);
        let (peer, events) =
            Box::pin(Peer::new(&self.0.config.peer, self.0.certificate.clone(), participant.clone())).await?;
        let peer = Arc::new(peer);
        participant.connected_by(&peer);
        let sink = match self.0.config.video_out.as_ref().map(|make| make()) {
            None => None,
            Some(Ok(sink)) => Some(sink),
            Some(Err(error)) => {
                let _ = self.0.events.try_send(CallEvent::Trouble(error));
                None
            }
        };
        let video = VideoReceive { packets: receiver, participant: participant.clone(), sink, failed: self.trouble() };
        self.thread("call-video-out", move || video.run())?;
        self.end_record().await;
        self.0.participants.add(participant.clone());
        let state = Mutex::new(RouteState::new(offered));
        let route = Arc::new(RoutePeer { id, peer, participant, state, changed: Notify::new() });
        lock(&self.0.routes).insert(id, route.clone());
        tokio::spawn(Self(self.0.clone()).drive(route.clone(), events));
        Ok(route)
    }

    /// A new offer in place of a connection that could not be made; nothing if it was made in the meantime.
    pub async fn offer_again(&self, route: u64) -> Result<Option<String>, MediaError> {
        if self.is_connected(route) {
            return Ok(None);
        }
        if let Some(old) = self.detach(route) {
            old.peer.close().await;
        }
        self.offer(route).await.map(Some)
    }

    /// Takes a route away, without a word to its other end. Its connection is its caller's to close.
    fn detach(&self, id: u64) -> Option<Arc<RoutePeer>> {
        let route = lock(&self.0.routes).remove(&id)?;
        self.0.outlets.remove(id);
        self.0.participants.remove(id);
        route.participant.leave();
        Some(route)
    }

    /// A route ends; the others go on.
    pub async fn remove(&self, id: u64) {
        let Some(route) = self.detach(id) else { return };
        route.peer.control(&Message::Control(Control::Bye).encode()).await;
        // Time for the farewell to leave; it is also told by other means.
        tokio::time::sleep(Duration::from_millis(60)).await;
        route.peer.close().await;
    }

    /// Fingerprints of both certificates of a route, as in the descriptions.
    pub async fn fingerprints(&self, id: u64) -> Vec<String> {
        match self.route(id) {
            Some(route) => route.peer.fingerprints().await,
            None => Vec::new(),
        }
    }

    pub(super) fn is_connected(&self, id: u64) -> bool {
        self.route(id).is_some_and(|r| lock(&r.state).connection == Some(PeerState::Connected))
    }

    /// The task of a route. It keeps only what it needs, so that a call whose handles are gone ends.
    async fn drive(self, route: Arc<RoutePeer>, mut events: mpsc::Receiver<PeerEvent>) {
        let mut second = tokio::time::interval(Duration::from_secs(1));
        second.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut counted = (PathStats::default().bytes, 0u64, Instant::now());
        let weak = Arc::downgrade(&self.0);
        drop(self);
        loop {
            let due = lock(&route.state).repair.next();
            let repair = async {
                match due {
                    Some(due) => sleep_until(due.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                event = events.recv() => {
                    let (Some(event), Some(inner)) = (event, weak.upgrade()) else { return };
                    let call = Self(inner);
                    if !call.has(&route) {
                        return;
                    }
                    // What never was is not interrupted.
                    if matches!(event, PeerEvent::State(PeerState::Interrupted)) && !lock(&route.state).repair.has_begun() {
                        continue;
                    }
                    call.on_peer(&route, event).await;
                }
                () = repair => {
                    let Some(inner) = weak.upgrade() else {
                        route.peer.close().await;
                        return;
                    };
                    let call = Self(inner);
                    if !call.has(&route) {
                        return;
                    }
                    call.repair(&route).await;
                }
                () = route.changed.notified() => {}
                () = route.participant.key_needed.notified() => route.peer.request_key().await,
                _ = second.tick() => {
                    let Some(inner) = weak.upgrade() else {
                        route.peer.close().await;
                        return;
                    };
                    let call = Self(inner);
                    if !call.has(&route) {
                        return;
                    }
                    counted = call.each_second(&route, counted).await;
                }
            }
        }
    }

    /// Does what is due for a route without a path, or with one that may be a detour.
    async fn repair(&self, route: &Arc<RoutePeer>) {
        let (step, broken) = {
            let mut state = lock(&route.state);
            (state.repair.step(Instant::now()), state.repair.is_broken())
        };
        let Some(step) = step else { return };
        let event = match step {
            Step::Restart => CallEvent::NeedsRestart(route.id),
            Step::RequestOffer => CallEvent::NeedsOffer(route.id),
            Step::GiveUp => return self.on_peer(route, PeerEvent::State(PeerState::Failed)).await,
        };
        if broken && self.is_connected(route.id) {
            // It is dead in one direction, or will be noticed to be.
            self.on_peer(route, PeerEvent::State(PeerState::Interrupted)).await;
        }
        let _ = self.0.events.try_send(event);
    }

    /// Whether a route is still one of this call: another may have taken its number.
    fn has(&self, route: &Arc<RoutePeer>) -> bool {
        self.route(route.id).is_some_and(|known| Arc::ptr_eq(&known, route))
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
            if let Some(relayed) = path.relayed {
                // Where nothing but relays is wanted there is no better path to be looked for.
                state.repair.on_path(relayed && !self.0.config.peer.is_relayed());
            }
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
            PeerEvent::State(state) => self.on_state(route, state).await,
            PeerEvent::ControlOpen => self.show_state(route).await,
            PeerEvent::Control(bytes) => match Message::decode(&bytes) {
                Some(Message::Control(control)) => self.on_control(route, control).await,
                Some(Message::Output(bytes)) => {
                    let _ = self.0.events.send(CallEvent::Output(id, bytes)).await;
                }
                Some(Message::Input(bytes)) => {
                    // Only who was handed the keyboard.
                    if lock(&route.state).hand
                        && let Some(share) = &lock(&self.0.share).current
                    {
                        share.type_in(&bytes);
                    }
                }
                None => {}
            },
        }
    }

    async fn on_state(&self, route: &Arc<RoutePeer>, state: PeerState) {
        let id = route.id;
        let first = {
            let mut known = lock(&route.state);
            known.connection = Some(state);
            let first = state == PeerState::Connected && !known.repair.has_begun();
            known.repair.on_state(state, Instant::now());
            first
        };
        let event = match state {
            PeerState::Connected => {
                if first {
                    if let Err(error) = route.peer.start_sending().await {
                        let _ = self.0.events.try_send(CallEvent::Trouble(error));
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

    /// Tells a participant what is switched on here and what is wanted of it, and shows it the terminal that is shared.
    async fn show_state(&self, route: &Arc<RoutePeer>) {
        let state = *lock(&self.0.state);
        let want = lock(&route.state).want;
        route.peer.control(&Message::Control(Control::State(state)).encode()).await;
        if let Some(height) = want {
            route.peer.control(&Message::Control(Control::Want { height }).encode()).await;
        }
        let share = lock(&self.0.share).current.clone();
        if let Some(share) = share {
            let (columns, rows) = share.size();
            route.peer.control(&Message::Control(Control::Share { columns, rows }).encode()).await;
            for chunk in share.contents().chunks(SHARE_CHUNK) {
                route.peer.control(&Message::Output(chunk.to_vec()).encode()).await;
            }
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
            Control::Unknown => {}
        }
    }
}
