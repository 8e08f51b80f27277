//! What the swarm tells.

use libp2p::{
    Multiaddr, dcutr, mdns,
    multiaddr::Protocol,
    ping,
    swarm::{DialError, SwarmEvent},
};
use starling_wire::streams;

use super::{
    super::{NetEvent, device_of, direct},
    Ended, INBOUND_STREAMS, Net,
    behaviour::BehaviourEvent,
};

impl Net {
    pub(super) async fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(event) => self.on_behaviour(event).await,
            SwarmEvent::ListenerClosed { listener_id, .. } => {
                if let Some(home) = self.listeners.remove(&listener_id).and_then(|id| self.homes.get_mut(&id)) {
                    home.listener = None;
                }
            }
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, .. } => {
                self.dial_ended(&peer_id, connection_id)
            }
            SwarmEvent::OutgoingConnectionError { peer_id: Some(peer), error, connection_id } => {
                self.dial_ended(&peer, connection_id);
                if let Some(id) = device_of(&peer)
                    && self.homes.get(id.as_bytes()).is_some_and(|h| h.requests.is_none())
                {
                    self.tell(NetEvent::HomeDown(*id.as_bytes(), dial_reason(&error))).await;
                }
            }
            SwarmEvent::NewListenAddr { .. }
            | SwarmEvent::ExpiredListenAddr { .. }
            | SwarmEvent::ExternalAddrConfirmed { .. }
            | SwarmEvent::ExternalAddrExpired { .. } => self.tell_addresses().await,
            _ => {}
        }
    }

    async fn on_behaviour(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Streams(streams::Event::Inbound { peer, stream, connection, .. }) => {
                let Some(id) = device_of(&peer) else { return };
                let Some(device) = self.devices.get_mut(&id) else {
                    return;
                };
                device.inbound.retain(|task| !task.is_finished());
                if device.inbound.len() >= INBOUND_STREAMS {
                    device.inbound.remove(0).abort();
                }
                let engine = self.engine.clone();
                let task = self.tasks.spawn(async move {
                    direct::read(id, stream, engine).await;
                    Ended::Inbound
                });
                device.inbound.push(task);
                // Who writes to us is there to be written to.
                match &device.out {
                    None => device.retry.now(),
                    // Who comes by the relay has no direct connection: ours died with a process of theirs.
                    Some((current, _)) if connection.relayed && !current.relayed && connection.id > current.id => {
                        self.swarm.close_connection(current.id);
                    }
                    Some(_) => {}
                }
            }
            BehaviourEvent::Streams(streams::Event::BestConnection { peer, connection }) => {
                let Some(id) = device_of(&peer) else { return };
                tracing::debug!(?connection, "the best connection to a peer has changed");
                match connection {
                    Some(_) if self.devices.contains_key(&id) => self.prefer_best(id, peer),
                    Some(_) => {
                        if let Some(home) = self.homes.get_mut(id.as_bytes())
                            && home.requests.is_none()
                            && !home.opening
                        {
                            home.retry.now();
                        }
                    }
                    None => {
                        if let Some(device) = self.devices.get_mut(&id) {
                            device.retry.now();
                        }
                    }
                }
            }
            BehaviourEvent::Dcutr(dcutr::Event { remote_peer_id, result: Ok(_) }) => {
                if let Some(id) = device_of(&remote_peer_id) {
                    self.prefer_best(id, remote_peer_id);
                }
            }
            BehaviourEvent::Ping(ping::Event { connection, result: Err(_), .. }) => {
                self.swarm.close_connection(connection);
            }
            BehaviourEvent::Mdns(mdns::Event::Discovered(found)) => {
                for (peer, address) in found {
                    let Some(id) = device_of(&peer) else { continue };
                    if !self.targets.contains_key(&id) {
                        continue;
                    }
                    let known = self.lan.entry(id).or_default();
                    if known.len() < 16
                        && known.insert(address)
                        && let Some(device) = self.devices.get_mut(&id)
                    {
                        device.retry.now();
                    }
                }
            }
            BehaviourEvent::Mdns(mdns::Event::Expired(gone)) => {
                for (peer, address) in gone {
                    if let Some(id) = device_of(&peer)
                        && let Some(known) = self.lan.get_mut(&id)
                    {
                        known.remove(&address);
                    }
                }
            }
            _ => {}
        }
    }

    async fn tell_addresses(&mut self) {
        let loopback_home = self.homes.values().flat_map(|h| &h.addresses).any(|a| {
            matches!(&a.host, starling_keys::Host::V4(ip) if ip.is_loopback())
                || matches!(&a.host, starling_keys::Host::V6(ip) if ip.is_loopback())
        });
        let useful = |a: &&Multiaddr| {
            !a.iter().any(|p| match p {
                Protocol::P2pCircuit => true,
                Protocol::Ip4(ip) => ip.is_unspecified() || (ip.is_loopback() && !loopback_home),
                Protocol::Ip6(ip) => {
                    ip.is_unspecified() || ip.is_unicast_link_local() || (ip.is_loopback() && !loopback_home)
                }
                _ => false,
            })
        };
        let external: Vec<Multiaddr> = self.swarm.external_addresses().filter(useful).cloned().collect();
        let public = !external.is_empty();
        let mut own = external;
        for address in self.swarm.listeners().filter(useful) {
            if !own.contains(address) {
                own.push(address.clone());
            }
        }
        own.truncate(starling_wire::limits::MAX_SIGNAL_ADDRESSES);
        if (&own, public) != (&self.addresses.0, self.addresses.1) {
            self.addresses = (own.clone(), public);
            self.tell(NetEvent::Addresses { own, public }).await;
        }
    }
}

/// Why a dial failed, without any address.
fn dial_reason(error: &DialError) -> String {
    let mut text = String::new();
    let mut source: Option<&dyn std::error::Error> = Some(error);
    if let DialError::Transport(errors) = error {
        for (_, error) in errors {
            source = Some(error);
            while let Some(inner) = source {
                text = inner.to_string().to_lowercase();
                source = inner.source();
            }
        }
        source = None;
    }
    while let Some(inner) = source {
        text = inner.to_string().to_lowercase();
        source = inner.source();
    }
    let found = |words: &str| text.contains(words);
    match error {
        DialError::WrongPeerId { .. } => "another server answers at its address".into(),
        _ if found("refused") => "the connection was refused".into(),
        _ if found("unreachable") => "the network is unreachable".into(),
        _ if found("timed out") || found("timeout") => "it does not answer".into(),
        _ if found("dns") || found("resolve") => "its name cannot be resolved".into(),
        _ => "it cannot be reached".into(),
    }
}
