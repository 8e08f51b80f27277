//! The part of gossipsub that lives in each connection. It is there for members alone: with others nothing is said, and what they open waits unread.

use std::task::{Context, Poll};

use libp2p::swarm::{
    ConnectionHandler, ConnectionHandlerEvent, SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent,
    handler::{ConnectionEvent, FullyNegotiatedInbound},
};

use super::settings::Behaviour;

/// gossipsub's own.
pub type Inner = THandler<Behaviour>;
/// What it says to its behaviour.
pub type FromHandler = THandlerOutEvent<Behaviour>;
/// What accepts its streams.
pub type Accept = <Inner as ConnectionHandler>::InboundProtocol;
/// What opens them.
type Outbound = <Inner as ConnectionHandler>::OutboundProtocol;

/// What the behaviour says to a connection.
pub enum Word {
    /// The peer is a member.
    Open(Box<Inner>),
    /// It is no member any more.
    Shut,
    /// Something may wait to be sent: who says so wakes the connection, which looks.
    Look,
    /// gossipsub's own.
    Inner(THandlerInEvent<Behaviour>),
}

impl std::fmt::Debug for Word {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Open(_) => f.write_str("Open"),
            Self::Shut => f.write_str("Shut"),
            Self::Look => f.write_str("Look"),
            Self::Inner(event) => write!(f, "{event:?}"),
        }
    }
}

/// The handler of one connection.
pub struct Handler {
    accept: Accept,
    inner: Option<Inner>,
    /// The stream that a peer has opened last which is not known to be a member yet: it may have heard of that before us.
    waiting: Option<FullyNegotiatedInbound<Accept, ()>>,
    /// Streams to the peer that were asked for, and are not there yet …
    requested: usize,
    /// … and how many of them nobody waits for any more. gossipsub takes no second one.
    stale: usize,
}

impl Handler {
    /// Of a peer that is no member, as far as is known.
    pub fn shut(accept: Accept) -> Self {
        Self { accept, inner: None, waiting: None, requested: 0, stale: 0 }
    }

    /// Whether a stream that is there now, or has failed, was asked for by one who has gone.
    fn is_stale(&mut self, event: &ConnectionEvent<'_, Accept, Outbound>) -> bool {
        if !event.is_outbound() {
            return false;
        }
        self.requested = self.requested.saturating_sub(1);
        let is_stale = self.stale > 0;
        self.stale = self.stale.saturating_sub(1);
        is_stale
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Word;
    type ToBehaviour = FromHandler;
    type InboundProtocol = Accept;
    type OutboundProtocol = Outbound;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        match &self.inner {
            Some(inner) => inner.listen_protocol(),
            None => SubstreamProtocol::new(self.accept.clone(), ()),
        }
    }

    fn on_behaviour_event(&mut self, word: Word) {
        match word {
            Word::Open(handler) => {
                let mut inner = *handler;
                if let Some(stream) = self.waiting.take() {
                    inner.on_connection_event(ConnectionEvent::FullyNegotiatedInbound(stream));
                }
                (self.inner, self.stale) = (Some(inner), self.requested);
            }
            Word::Shut => (self.inner, self.stale) = (None, self.requested),
            Word::Look => {}
            Word::Inner(event) => {
                if let Some(inner) = &mut self.inner {
                    inner.on_behaviour_event(event);
                }
            }
        }
    }

    fn connection_keep_alive(&self) -> bool {
        // Members stay connected also while others pass on what is written: dialling again costs more.
        self.inner.is_some()
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, (), Self::ToBehaviour>> {
        match &mut self.inner {
            Some(inner) => {
                let polled = inner.poll(cx);
                if matches!(polled, Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { .. })) {
                    self.requested += 1;
                }
                polled
            }
            // A word of the behaviour wakes the connection's task.
            None => Poll::Pending,
        }
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<Self::InboundProtocol, Self::OutboundProtocol>) {
        if self.is_stale(&event) {
            return;
        }
        match &mut self.inner {
            Some(inner) => inner.on_connection_event(event),
            None => {
                if let ConnectionEvent::FullyNegotiatedInbound(stream) = event {
                    self.waiting = Some(stream);
                }
            }
        }
    }
}
