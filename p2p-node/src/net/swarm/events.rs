//! What the swarm reports, as inputs of the state machine.

use std::{net::IpAddr, time::Instant};

use libp2p::{
    Multiaddr, autonat, dcutr,
    multiaddr::Protocol,
    ping,
    swarm::{ConnectionId, SwarmEvent},
};
use starling_wire::streams::{self, Connection};

use super::{
    behaviour::BehaviourEvent,
    cause::dial_problem,
    driver::{Dial, Driver},
    elsewhere::left_of,
    gossip,
    paths::{Path, Picture},
    transports::Transports,
    watch::Changed,
};
use crate::net::{
    ConnectionProblem, IpVersion, NetEvent, Transport,
    connectivity::{Input, NetworkChange, is_circuit},
    device_of,
};

impl Driver {
    pub(super) async fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(event) => self.on_behaviour(event).await,
            SwarmEvent::ListenerClosed { listener_id, .. } => self.report(Input::ListenerClosed(listener_id)).await,
            SwarmEvent::ConnectionEstablished { peer_id: peer, connection_id: id, endpoint, .. } => {
                let relayed = endpoint.is_relayed() || is_circuit(endpoint.get_remote_address());
                let span = tracing::debug_span!("connection", connection = %id, relayed, dialed = endpoint.is_dialer());
                tracing::debug!(parent: &span, "established");
                let path = Path::new(span, endpoint.get_remote_address());
                let datagrams = path.remote().filter(|_| path.transport == Some(Transport::Quic)).map(IpVersion::of);
                let dial = self.take_dial(id, "connected");
                if let Some((named, ip)) = dial.as_ref().and_then(|dial| dial.named.as_ref()).zip(path.remote())
                    && let Some(name) = self.names.connected(named, ip)
                {
                    self.tell(NetEvent::Resolved(name, ip)).await;
                }
                if let Some(Dial { server: Some(server), quic, .. }) = dial {
                    self.transports.connected(Instant::now(), server, quic, endpoint.get_remote_address());
                }
                self.connections.insert(id, path);
                let dial = dial.map(|dial| dial.id);
                let connection = Connection { id, relayed };
                self.report(Input::ConnectionUp { peer, connection, dial, datagrams }).await;
            }
            SwarmEvent::ConnectionClosed { peer_id: peer, connection_id: connection, .. } => {
                if let Some(path) = self.connections.remove(&connection) {
                    tracing::debug!(parent: &path.span, "closed");
                }
                self.report(Input::ConnectionDown { peer, connection }).await;
            }
            SwarmEvent::OutgoingConnectionError { peer_id: peer, error, connection_id } => {
                let problem = self.or_offline(dial_problem(&error));
                let dial = self.take_dial(connection_id, &problem.to_string());
                let dial = match dial.map(|dial| (left_of(&dial.addresses, &error), dial)) {
                    Some((left, dial)) if !left.is_empty() => {
                        self.dial(dial.id, dial.peer, left, dial.named);
                        // It may have failed at once.
                        return self.report(Input::Tick).await;
                    }
                    dial => dial.map(|(_, dial)| dial),
                };
                // That QUIC fails by itself is known of it.
                let others = dial.as_ref().filter(|dial| !Transports::is_quic_alone(&dial.addresses));
                if let Some(server) = others.and_then(|dial| dial.server) {
                    self.transports.failed(&server);
                }
                if let Some(named) = dial.as_ref().and_then(|dial| dial.named.as_ref()) {
                    self.names.failed(named);
                }
                let dial = dial.map(|dial| dial.id);
                self.report(Input::DialFailed { peer, dial, problem }).await;
            }
            // AutoNAT tests no address twice.
            SwarmEvent::NewExternalAddrCandidate { address } if self.left_addresses.is_back(&address) => {
                self.swarm.add_external_address(address);
                self.report_own_addresses().await;
            }
            SwarmEvent::NewListenAddr { .. }
            | SwarmEvent::ExpiredListenAddr { .. }
            | SwarmEvent::ExternalAddrConfirmed { .. }
            | SwarmEvent::ExternalAddrExpired { .. } => self.report_own_addresses().await,
            _ => {}
        }
    }

    /// The system says that the network has changed, or may have.
    pub(super) async fn on_network_changed(&mut self, Changed { suspended, names }: Changed) {
        let before = std::mem::replace(&mut self.picture, Picture::now());
        let outcome = self.picture.compare(&before, &self.connections);
        let rerouted = suspended || outcome.rerouted;
        if self.picture == before && !rerouted && outcome.gone.is_empty() && outcome.moved.is_empty() {
            if names {
                self.report(Input::NamesChanged).await;
            }
            return;
        }
        self.transports.forget();
        tracing::debug!(suspended, rerouted, gone = outcome.gone.len(), moved = outcome.moved.len(), "another network");
        // An interface that has come beside the others, as those of containers do, changes nothing of how we are seen from outside.
        let is_elsewhere = rerouted || !outcome.gone.is_empty() || !outcome.moved.is_empty();
        let networks = self.picture.networks.clone();
        let change = NetworkChange { networks, gone: outcome.gone, moved: outcome.moved, rerouted };
        self.leave_network().await;
        self.tell(NetEvent::NetworkChanged).await;
        self.report(Input::NetworkChanged(change)).await;
        self.leave_addresses(|ip| is_elsewhere || before.has(ip)).await;
        if self.lan.wanted {
            self.change_on_lan();
        }
    }

    async fn report_own_addresses(&mut self) {
        let confirmed = self.swarm.external_addresses().cloned().collect();
        let listening = self.swarm.listeners().cloned().collect();
        let networks = Picture::now().networks;
        self.report(Input::OwnAddresses { confirmed, listening, networks }).await;
    }

    /// Addresses that were confirmed from outside count no more, if they are of the network before and none of this machine now. Those of this network
    /// are learnt from servers again.
    async fn leave_addresses(&mut self, is_of_before: impl Fn(&IpAddr) -> bool) {
        let ip_of = |address: &Multiaddr| match address.iter().next() {
            Some(Protocol::Ip4(ip)) => Some(IpAddr::V4(ip)),
            Some(Protocol::Ip6(ip)) => Some(IpAddr::V6(ip)),
            _ => None,
        };
        let is_left =
            |address: &&Multiaddr| ip_of(address).is_some_and(|ip| is_of_before(&ip) && !self.picture.has(&ip));
        let left: Vec<_> =
            self.swarm.external_addresses().filter(|a| !is_circuit(a)).filter(is_left).cloned().collect();
        if left.is_empty() {
            return;
        }
        for address in left {
            self.swarm.remove_external_address(&address);
            self.left_addresses.leave(address);
        }
        // libp2p does not say so itself.
        self.report_own_addresses().await;
    }

    /// Why a dial has failed: without a network for no other reason.
    pub(super) fn or_offline(&self, problem: ConnectionProblem) -> ConnectionProblem {
        if self.picture.is_offline() { ConnectionProblem::Offline } else { problem }
    }

    fn take_dial(&mut self, connection: ConnectionId, outcome: &str) -> Option<Dial> {
        let dial = self.dials.remove(&connection)?;
        tracing::debug!(parent: &dial.span, outcome, "ended");
        Some(dial)
    }

    /// A member has passed on an entry. While the engine has too much to do it is dropped, and not passed on: the swarm does not wait for what the log
    /// has, too.
    fn on_entry(&mut self, entry: &gossip::Entry) {
        let event = NetEvent::Gossip { topic: entry.topic, entry: entry.sealed.clone() };
        let taken = self.engine.try_send(event).is_ok();
        self.swarm.behaviour_mut().gossip.settle(entry, taken);
    }

    async fn on_behaviour(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Streams(streams::Event::Inbound { peer, stream, connection, .. }) => {
                if let Some(device) = device_of(&peer).filter(|device| self.connectivity.admits(device)) {
                    self.read_from_device(device, stream, connection);
                    self.report(Input::StreamIn { device, connection }).await;
                }
            }
            BehaviourEvent::Gossip(gossip::Event::Entry(entry)) => self.on_entry(&entry),
            BehaviourEvent::Gossip(gossip::Event::Peer(topic)) => {
                // Who is met while the engine has too much to do is met again.
                let _ = self.engine.try_send(NetEvent::GossipPeer(topic));
            }
            BehaviourEvent::Dcutr(dcutr::Event { remote_peer_id, result: Ok(_) }) => {
                self.report(Input::HolePunched(remote_peer_id)).await;
            }
            // Who knows no pings has answered.
            BehaviourEvent::Ping(ping::Event { connection, result: Err(failure), .. })
                if !matches!(failure, ping::Failure::Unsupported) =>
            {
                self.report(Input::Unresponsive(connection)).await;
            }
            BehaviourEvent::Autonat(autonat::v2::client::Event { server, .. }) => {
                self.report(Input::ReachabilityTested(server)).await;
            }
            _ => {}
        }
    }
}
