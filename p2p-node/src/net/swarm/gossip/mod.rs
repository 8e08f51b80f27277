//! gossipsub among the members of groups, and nobody else.
//!
//! gossipsub itself tells every peer that it is connected with which topics there are, and takes everybody for a subscriber who says so. So this
//! behaviour stands between it and the swarm: gossipsub knows of connections to members alone, for as long as they share a topic with us. A peer that
//! subscribes to a topic of whose epoch it is no member has overheard it: with that one nothing is exchanged any more.
//!
//! Its heartbeat is a timer that would wake the machine up every second. It goes on only while there are neighbours, and for a moment after something
//! has come from one of them or has gone to one: what it does (telling others what was written, mending the mesh) has no use at rest.
//!
//! Nothing here waits. What a neighbour brings is bounded by [`FRAMES_PER_SECOND`] and the budgets of the `Inspector` before gossipsub looks at it,
//! as that keeps what it has seen; and judged by the `Inspector` after that.

#[cfg(test)]
mod gossip_tests;
mod handler;
mod settings;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;
use libp2p::{
    Multiaddr, PeerId,
    core::{ConnectedPoint, Endpoint, transport::PortUse},
    gossipsub::{self, IdentTopic, MessageAcceptance, MessageId, TopicHash},
    swarm::{
        ConnectionClosed, ConnectionDenied, ConnectionHandler, ConnectionId, FromSwarm, NetworkBehaviour,
        NotifyHandler, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm, behaviour::ConnectionEstablished,
    },
};
use starling_keys::DeviceId;
use starling_wire::TopicId;

use self::{
    handler::{Accept, FromHandler, Handler, Word},
    settings::Behaviour,
};
use super::behaviour::BuildError;
use crate::net::{
    device_of,
    gossip::{Inspector, Topic, Verdict},
    peer_of,
};

/// Frames that one peer may send in a second: each has one envelope in most cases, or says who has which …
const FRAMES_PER_SECOND: u64 = 1_000;
/// … and at once.
const FRAME_BURST: u64 = 4_000;
/// The heartbeat goes on for so long after something has happened: what was written is told for three beats, and forgotten after five.
const RESTS_AFTER: Duration = Duration::from_secs(15);

/// A peer that subscribes to a topic once more within this time is not met again: each time the engine would look at what it may lack.
const MEETS_AGAIN: Duration = Duration::from_secs(10);

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// A member has passed on an entry. It waits for [`Gossip::settle`].
    Entry(Entry),
    /// A member can be reached on a topic: it has come, or one of several connections to it has ended.
    Peer(TopicId),
}

/// An entry that a member has passed on.
#[derive(Debug)]
pub struct Entry {
    /// The topic.
    pub topic: TopicId,
    /// The entry, sealed.
    pub sealed: Bytes,
    message: MessageId,
    source: PeerId,
}

/// A connection to a peer.
struct Link {
    id: ConnectionId,
    endpoint: ConnectedPoint,
    /// gossipsub knows of it.
    open: bool,
}

/// What is known of a peer.
struct Peer {
    /// To find it in the peer's id takes as long as a few packets.
    device: Option<DeviceId>,
    links: Vec<Link>,
    /// Frames that it may still send, and up to when that has grown.
    frames: (u64, Instant),
    /// When it was met on topics of ours.
    met: HashMap<TopicId, Instant>,
}

impl Peer {
    fn new(id: &PeerId) -> Self {
        Self { device: device_of(id), links: Vec::new(), frames: (FRAME_BURST, Instant::now()), met: HashMap::new() }
    }

    fn open_links(&self) -> usize {
        self.links.iter().filter(|link| link.open).count()
    }

    /// Whether it is met on a topic: it was not a moment ago.
    fn is_met(&mut self, now: Instant, id: TopicId) -> bool {
        let is_met = self.met.get(&id).is_none_or(|at| now.saturating_duration_since(*at) >= MEETS_AGAIN);
        if is_met {
            self.met.insert(id, now);
        }
        is_met
    }

    fn may_send(&mut self, now: Instant) -> bool {
        let (left, since) = &mut self.frames;
        let passed = now.saturating_duration_since(*since).as_millis().min(60_000) as u64;
        if passed > 0 {
            (*left, *since) = ((*left + passed * FRAMES_PER_SECOND / 1_000).min(FRAME_BURST), now);
        }
        let may = *left > 0;
        *left = left.saturating_sub(1);
        may
    }
}

/// The behaviour.
pub struct Gossip {
    inner: Behaviour,
    accept: Accept,
    inspector: Inspector,
    peers: HashMap<PeerId, Peer>,
    /// How many of their connections gossipsub knows of.
    open: usize,
    /// The peers of the members of all topics.
    members: HashSet<PeerId>,
    /// Those with whom nothing is exchanged, though they are members of something.
    shut_out: HashSet<PeerId>,
    actions: VecDeque<ToSwarm<Event, Word>>,
    /// Until when gossipsub's timers are of use.
    busy_until: Instant,
    waker: Option<Waker>,
}

impl Gossip {
    /// One that takes part in nothing.
    ///
    /// # Errors
    /// If our settings of gossipsub are not valid.
    pub fn new() -> Result<Self, BuildError> {
        // What accepts streams follows from the settings, and only a handler says what it is.
        let (nobody, nowhere) = (PeerId::random(), Multiaddr::empty());
        let of_nobody = settings::build()?.handle_established_inbound_connection(
            ConnectionId::new_unchecked(0),
            nobody,
            &nowhere,
            &nowhere,
        )?;
        Ok(Self {
            inner: settings::build()?,
            accept: of_nobody.listen_protocol().upgrade().clone(),
            inspector: Inspector::default(),
            peers: HashMap::new(),
            open: 0,
            members: HashSet::new(),
            shut_out: HashSet::new(),
            actions: VecDeque::new(),
            busy_until: Instant::now(),
            waker: None,
        })
    }

    /// Takes part in a topic, with these members; or no longer.
    pub fn set(&mut self, id: TopicId, topic: Option<Topic>) {
        let name = IdentTopic::new(id.to_text());
        let (known, stays) = (self.inspector.has(&id), topic.is_some());
        let moved = self.inspector.set(id, topic);
        for peer in moved.gone.iter().filter_map(peer_of) {
            self.members.remove(&peer);
        }
        self.members.extend(moved.came.iter().filter_map(peer_of));
        self.shut_out.retain(|peer| self.members.contains(peer));
        if !stays {
            self.inner.unsubscribe(&name);
            for peer in self.peers.values_mut() {
                peer.met.remove(&id);
            }
        }
        for peer in self.peers.keys().copied().collect::<Vec<_>>() {
            self.admit(peer);
        }
        if stays && !known {
            if let Err(error) = self.inner.set_topic_params(name.clone(), settings::topic_scores()) {
                tracing::warn!(error, "a topic has no scores");
            }
            if let Err(error) = self.inner.subscribe(&name) {
                tracing::warn!(%error, "a topic cannot be subscribed to");
            }
        }
        if stays {
            self.look_at_subscribers(id, &name.hash());
        }
        self.stir();
    }

    /// Passes an envelope of ours on.
    pub fn publish(&mut self, id: TopicId, envelope: &Bytes) {
        if !self.inspector.has(&id) {
            return;
        }
        self.inspector.note_sent(&id, envelope);
        if let Err(error) = self.inner.publish(TopicHash::from_raw(id.to_text()), envelope.to_vec()) {
            tracing::debug!(%error, "nobody takes an envelope now");
        }
        self.stir();
    }

    /// Whether an entry was taken over: only then it is passed on to others.
    pub fn settle(&mut self, entry: &Entry, taken: bool) {
        if !taken {
            self.inspector.forget(&entry.topic, &entry.sealed);
        }
        let acceptance = if taken { MessageAcceptance::Accept } else { MessageAcceptance::Ignore };
        self.report(&entry.message, &entry.source, acceptance);
    }

    fn report(&mut self, message: &MessageId, source: &PeerId, acceptance: MessageAcceptance) {
        self.inner.report_message_validation_result(message, source, acceptance);
        self.stir();
    }

    /// Something has happened: gossipsub has something to do, now and for a moment.
    fn stir(&mut self) {
        self.busy_until = Instant::now() + RESTS_AFTER;
        self.wake();
    }

    fn is_busy(&self, now: Instant) -> bool {
        self.open > 0 && now < self.busy_until
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Those who had subscribed to a topic before we did, or before its members were others, are met now; or they are no members of it.
    fn look_at_subscribers(&mut self, id: TopicId, name: &TopicHash) {
        let mut subscribers = Vec::new();
        for (peer, topics) in self.inner.all_peers() {
            if topics.into_iter().any(|topic| topic == name) {
                subscribers.push(*peer);
            }
        }
        for peer in subscribers {
            if self.on_subscribed(peer, id) {
                self.actions.push_back(ToSwarm::GenerateEvent(Event::Peer(id)));
            }
        }
    }

    /// A peer has subscribed to a topic. Whether it is a member of it that is met now.
    fn on_subscribed(&mut self, peer: PeerId, id: TopicId) -> bool {
        match self.device(&peer).and_then(|device| self.inspector.is_member(&id, &device)) {
            Some(true) => self.peers.get_mut(&peer).is_some_and(|known| known.is_met(Instant::now(), id)),
            // It may be ahead of us: what we do not take part in we cannot judge.
            None => false,
            Some(false) => {
                tracing::warn!("a device has subscribed to what it is no member of");
                self.shut_out.insert(peer);
                self.admit(peer);
                false
            }
        }
    }

    /// Tells gossipsub of the connections to a peer that is a member, and takes those of others away from it.
    fn admit(&mut self, peer: PeerId) {
        let admitted = self.members.contains(&peer) && !self.shut_out.contains(&peer);
        let Some(known) = self.peers.get_mut(&peer) else { return };
        let (mut others, mut changed) = (known.open_links(), false);
        for link in known.links.iter_mut().filter(|link| link.open != admitted) {
            let word = if admitted {
                match open(&mut self.inner, peer, link, others) {
                    Ok(handler) => Word::Open(Box::new(handler)),
                    Err(error) => {
                        tracing::warn!(%error, "a connection without gossip");
                        continue;
                    }
                }
            } else {
                close(&mut self.inner, peer, link, others - 1);
                Word::Shut
            };
            (link.open, changed) = (admitted, true);
            if admitted {
                (others, self.open) = (others + 1, self.open + 1);
            } else {
                (others, self.open) = (others - 1, self.open - 1);
            }
            let handler = NotifyHandler::One(link.id);
            self.actions.push_back(ToSwarm::NotifyHandler { peer_id: peer, handler, event: word });
        }
        if changed {
            self.stir();
        }
    }

    /// A connection to a member has ended. If there are others gossipsub, to which the member has not gone, says nothing again of what was on its way
    /// there; on a connection that was not the first it has said no topics, though the other side may have begun anew, and opens no stream until
    /// something else happens there. So it hears of one of them as of the first, the others look at what waits, and the member is met again.
    fn go_on_with(&mut self, peer: PeerId) {
        let Some(known) = self.peers.get(&peer) else { return };
        let Some(first) = known.links.iter().find(|link| link.open) else { return };
        announce(&mut self.inner, peer, first, 0);
        for link in known.links.iter().filter(|link| link.open) {
            let handler = NotifyHandler::One(link.id);
            self.actions.push_back(ToSwarm::NotifyHandler { peer_id: peer, handler, event: Word::Look });
        }
        self.actions.extend(known.met.keys().map(|id| ToSwarm::GenerateEvent(Event::Peer(*id))));
    }

    fn device(&self, peer: &PeerId) -> Option<DeviceId> {
        self.peers.get(peer).map_or_else(|| device_of(peer), |known| known.device)
    }

    /// Leaves of a frame what its sender may bring.
    fn strain(&mut self, now: Instant, peer: &PeerId, event: &mut FromHandler) {
        let FromHandler::Message { rpc, .. } = event else { return };
        let Some(device) = self.device(peer) else { return rpc.messages.clear() };
        rpc.messages.retain(|message| self.inspector.admits(now, &device, message.data.len()));
    }

    /// What gossipsub says.
    fn on_event(&mut self, event: gossipsub::Event) -> Option<Event> {
        match event {
            gossipsub::Event::Message { propagation_source: source, message_id: message, message: said } => {
                let (topic, from) = (TopicId::from_text(said.topic.as_str()), self.device(&source));
                let Some((topic, from)) = topic.zip(from) else {
                    self.report(&message, &source, MessageAcceptance::Reject);
                    return None;
                };
                let sealed = match self.inspector.judge(&from, &topic, &said.data) {
                    Verdict::Accept(sealed) => sealed,
                    Verdict::Ignore => {
                        self.report(&message, &source, MessageAcceptance::Ignore);
                        return None;
                    }
                    Verdict::Reject => {
                        self.report(&message, &source, MessageAcceptance::Reject);
                        return None;
                    }
                };
                Some(Event::Entry(Entry { topic, sealed, message, source }))
            }
            gossipsub::Event::Subscribed { peer_id, topic, .. } => {
                let topic = TopicId::from_text(topic.as_str())?;
                self.on_subscribed(peer_id, topic).then_some(Event::Peer(topic))
            }
            _ => None,
        }
    }
}

/// Tells gossipsub of a connection. Gives what handles it there.
fn open(inner: &mut Behaviour, peer: PeerId, link: &Link, others: usize) -> Result<handler::Inner, ConnectionDenied> {
    let address = link.endpoint.get_remote_address();
    let handler = if link.endpoint.is_dialer() {
        inner.handle_established_outbound_connection(link.id, peer, address, Endpoint::Dialer, PortUse::Reuse)?
    } else {
        inner.handle_established_inbound_connection(link.id, peer, address, address)?
    };
    announce(inner, peer, link, others);
    Ok(handler)
}

/// Tells gossipsub that a connection is there, beside so many others. If there are none it tells the peer its topics.
fn announce(inner: &mut Behaviour, peer: PeerId, link: &Link, others: usize) {
    inner.on_swarm_event(FromSwarm::ConnectionEstablished(ConnectionEstablished {
        peer_id: peer,
        connection_id: link.id,
        endpoint: &link.endpoint,
        failed_addresses: &[],
        other_established: others,
    }));
}

/// A heartbeat leaves what it has to say, and its next timer, to another call.
fn poll_twice(
    inner: &mut Behaviour,
    cx: &mut Context<'_>,
) -> Poll<ToSwarm<gossipsub::Event, THandlerInEvent<Behaviour>>> {
    match inner.poll(cx) {
        Poll::Pending => inner.poll(cx),
        ready @ Poll::Ready(_) => ready,
    }
}

/// Takes a connection away from gossipsub.
fn close(inner: &mut Behaviour, peer: PeerId, link: &Link, remaining: usize) {
    inner.on_swarm_event(FromSwarm::ConnectionClosed(ConnectionClosed {
        peer_id: peer,
        connection_id: link.id,
        endpoint: &link.endpoint,
        cause: None,
        remaining_established: remaining,
    }));
}

impl NetworkBehaviour for Gossip {
    type ConnectionHandler = Handler;
    type ToSwarm = Event;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::shut(self.accept.clone()))
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::shut(self.accept.clone()))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(ConnectionEstablished { peer_id, connection_id, endpoint, .. }) => {
                let link = Link { id: connection_id, endpoint: endpoint.clone(), open: false };
                self.peers.entry(peer_id).or_insert_with(|| Peer::new(&peer_id)).links.push(link);
                self.admit(peer_id);
            }
            FromSwarm::ConnectionClosed(ConnectionClosed { peer_id, connection_id, .. }) => {
                let Some(peer) = self.peers.get_mut(&peer_id) else { return };
                let Some(at) = peer.links.iter().position(|link| link.id == connection_id) else { return };
                let link = peer.links.remove(at);
                if link.open {
                    self.open -= 1;
                    close(&mut self.inner, peer_id, &link, peer.open_links());
                }
                if peer.links.is_empty() {
                    self.peers.remove(&peer_id);
                }
                if link.open {
                    self.go_on_with(peer_id);
                    self.stir();
                }
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, id: ConnectionId, mut event: THandlerOutEvent<Self>) {
        let now = Instant::now();
        let Some(known) = self.peers.get_mut(&peer) else { return };
        // What was on its way when the connection was shut is nothing to gossipsub, nor is what comes too fast.
        let is_open = known.links.iter().any(|link| link.id == id && link.open);
        if is_open && known.may_send(now) {
            self.strain(now, &peer, &mut event);
            self.inner.on_connection_handler_event(peer, id, event);
            self.stir();
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        loop {
            if let Some(action) = self.actions.pop_front() {
                return Poll::Ready(action);
            }
            let polled = if self.is_busy(Instant::now()) { poll_twice(&mut self.inner, cx) } else { Poll::Pending };
            match polled {
                Poll::Ready(ToSwarm::GenerateEvent(event)) => {
                    if let Some(event) = self.on_event(event) {
                        return Poll::Ready(ToSwarm::GenerateEvent(event));
                    }
                }
                Poll::Ready(ToSwarm::NotifyHandler { peer_id, handler, event }) => {
                    return Poll::Ready(ToSwarm::NotifyHandler { peer_id, handler, event: Word::Inner(event) });
                }
                // Whom we connect to others decide.
                Poll::Ready(_) => {}
                Poll::Pending => {
                    self.waker = Some(cx.waker().clone());
                    return Poll::Pending;
                }
            }
        }
    }
}
