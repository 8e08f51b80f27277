//! The behaviour: which connections there are, and on which of them a stream is opened.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    task::{Context, Poll, Waker},
};

use futures::channel::oneshot;
use libp2p::{
    Multiaddr, PeerId, StreamProtocol,
    core::{Endpoint, multiaddr::Protocol, transport::PortUse},
    swarm::{
        ConnectionClosed, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler, Stream, THandler,
        THandlerInEvent, THandlerOutEvent, ToSwarm, behaviour::ConnectionEstablished,
    },
};

use super::handler::{Handler, Open};

/// Why a stream could not be opened.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum OpenError {
    /// No connection to this peer.
    #[error("not connected")]
    NotConnected,
    /// The peer does not speak this protocol.
    #[error("the peer does not speak this protocol")]
    Unsupported,
    /// The connection broke.
    #[error("the connection broke")]
    Failed,
}

/// The reason for refusing a connection of a peer that is not let in.
#[derive(Debug, thiserror::Error)]
#[error("not a peer that is let in")]
pub struct Stranger;

/// Who may connect to us. Connections that we make are always allowed.
#[derive(Debug, Clone)]
pub enum Gate {
    /// Everyone.
    Open,
    /// These peers; others are turned away before any protocol starts, so that they learn nothing.
    Only(HashSet<PeerId>),
}

/// One connection to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection {
    /// Its id in this process. It is given when a dial begins, so it does not tell which connection has come first.
    pub id: ConnectionId,
    /// It passes through a relay.
    pub relayed: bool,
}

/// An opened stream and the connection that carries it.
#[derive(Debug)]
pub struct Opened {
    /// The stream.
    pub stream: Stream,
    /// Its connection.
    pub connection: Connection,
}

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// A peer opened a stream.
    Inbound {
        /// Who.
        peer: PeerId,
        /// On which connection.
        connection: Connection,
        /// For which protocol.
        protocol: StreamProtocol,
        /// The stream.
        stream: Stream,
    },
    /// The best connection to a peer is another one now.
    BestConnection {
        /// Who.
        peer: PeerId,
        /// `None` when the last one has closed.
        connection: Option<Connection>,
    },
}

/// Opens and accepts streams.
#[derive(Debug)]
pub struct Behaviour {
    accept: Vec<StreamProtocol>,
    gate: Gate,
    /// Those to each peer in the order in which they have come.
    connections: HashMap<PeerId, Vec<Connection>>,
    actions: VecDeque<ToSwarm<Event, Open>>,
    waker: Option<Waker>,
}

impl Behaviour {
    /// A behaviour that accepts streams of these protocols from those whom the gate lets in.
    pub fn new(accept: &[&'static str], gate: Gate) -> Self {
        Self {
            accept: accept.iter().map(|p| StreamProtocol::new(p)).collect(),
            gate,
            connections: HashMap::new(),
            actions: VecDeque::new(),
            waker: None,
        }
    }

    /// Changes who may connect. Existing connections stay.
    pub fn set_gate(&mut self, gate: Gate) {
        self.gate = gate;
    }

    /// The connection that a stream to this peer would take: direct before relayed, then the one that has come last, as a peer that was restarted
    /// leaves dead ones behind.
    pub fn best(&self, peer: &PeerId) -> Option<Connection> {
        self.connections.get(peer)?.iter().rev().min_by_key(|c| c.relayed).copied()
    }

    /// The connections to a peer that have come before one of them.
    pub fn older(&self, peer: &PeerId, than: ConnectionId) -> Vec<ConnectionId> {
        let all = self.connections.get(peer).map(Vec::as_slice).unwrap_or_default();
        let place = all.iter().position(|c| c.id == than).unwrap_or_default();
        all.iter().take(place).map(|c| c.id).collect()
    }

    /// The relayed connections to a peer.
    pub fn relayed(&self, peer: &PeerId) -> Vec<ConnectionId> {
        let all = self.connections.get(peer).into_iter().flatten();
        all.filter(|c| c.relayed).map(|c| c.id).collect()
    }

    /// Opens a stream on the best connection.
    pub fn open(
        &mut self,
        peer: PeerId,
        protocol: &'static str,
    ) -> impl Future<Output = Result<Opened, OpenError>> + Send + 'static {
        self.open_at(peer, self.best(&peer), protocol)
    }

    /// Opens a stream on a given connection; fails if it is closed.
    pub fn open_on(
        &mut self,
        peer: PeerId,
        on: ConnectionId,
        protocol: &'static str,
    ) -> impl Future<Output = Result<Opened, OpenError>> + Send + 'static {
        let connection = self.connections.get(&peer).and_then(|all| all.iter().find(|c| c.id == on)).copied();
        self.open_at(peer, connection, protocol)
    }

    fn open_at(
        &mut self,
        peer: PeerId,
        connection: Option<Connection>,
        protocol: &'static str,
    ) -> impl Future<Output = Result<Opened, OpenError>> + Send + 'static {
        let (reply, opened) = oneshot::channel();
        if let Some(connection) = connection {
            self.actions.push_back(ToSwarm::NotifyHandler {
                peer_id: peer,
                handler: NotifyHandler::One(connection.id),
                event: Open { protocol: StreamProtocol::new(protocol), reply },
            });
            if let Some(waker) = self.waker.take() {
                waker.wake();
            }
        }
        async move {
            let connection = connection.ok_or(OpenError::NotConnected)?;
            let stream = opened.await.map_err(|_| OpenError::Failed)??;
            Ok(Opened { stream, connection })
        }
    }

    fn with_change(&mut self, peer: PeerId, change: impl FnOnce(&mut Vec<Connection>)) {
        let before = self.best(&peer);
        let connections = self.connections.entry(peer).or_default();
        change(connections);
        if connections.is_empty() {
            self.connections.remove(&peer);
        }
        let connection = self.best(&peer);
        if connection != before {
            self.actions.push_back(ToSwarm::GenerateEvent(Event::BestConnection { peer, connection }));
        }
    }
}

fn is_relayed(addr: &Multiaddr) -> bool {
    addr.iter().any(|p| matches!(p, Protocol::P2pCircuit))
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Event;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        match &self.gate {
            Gate::Only(peers) if !peers.contains(&peer) => Err(ConnectionDenied::new(Stranger)),
            _ => Ok(Handler::new(self.accept.clone())),
        }
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::new(self.accept.clone()))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(ConnectionEstablished { peer_id, connection_id, endpoint, .. }) => {
                let connection = Connection {
                    id: connection_id,
                    relayed: endpoint.is_relayed() || is_relayed(endpoint.get_remote_address()),
                };
                self.with_change(peer_id, |list| list.push(connection));
            }
            FromSwarm::ConnectionClosed(ConnectionClosed { peer_id, connection_id, .. }) => {
                self.with_change(peer_id, |list| list.retain(|c| c.id != connection_id))
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        id: ConnectionId,
        (stream, protocol): THandlerOutEvent<Self>,
    ) {
        let known = self.connections.get(&peer).and_then(|list| list.iter().find(|c| c.id == id));
        if let Some(connection) = known.copied() {
            self.actions.push_back(ToSwarm::GenerateEvent(Event::Inbound { peer, connection, protocol, stream }));
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        match self.actions.pop_front() {
            Some(action) => Poll::Ready(action),
            None => {
                self.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_connection_that_has_come_last_is_the_best_whatever_its_number() {
        let mut behaviour = Behaviour::new(&[], Gate::Open);
        let peer = PeerId::random();
        let all = [(3, false), (1, false), (2, true)];
        let all = all.map(|(id, relayed)| Connection { id: ConnectionId::new_unchecked(id), relayed });
        for connection in all {
            behaviour.with_change(peer, |list| list.push(connection));
        }
        assert_eq!(behaviour.best(&peer), Some(all[1]));
        assert_eq!(behaviour.older(&peer, all[1].id), [all[0].id]);
        assert!(behaviour.older(&peer, all[0].id).is_empty());
        behaviour.with_change(peer, |list| list.retain(|c| c.relayed));
        assert_eq!(behaviour.best(&peer), Some(all[2]));
    }
}
