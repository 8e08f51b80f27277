//! Decisions about devices: direct dials, dials through relays, and the one stream that is written to.
//!
//! When something has changed that all may be reached by, as the network, they are tried in turn: those that are in use or were so until a moment
//! ago first. Each has a budget of early tries of its own, and all have one together, so that a thousand contacts are no storm of dials.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
    time::{Duration, Instant},
};

use libp2p::{Multiaddr, PeerId, multiaddr::Protocol, swarm::ConnectionId};
use starling_keys::DeviceId;
use starling_wire::streams::Connection;

use super::{
    Action, Connectivity, DialFor, NetEvent, Subject, Target, device_of, peer_of,
    peers::{Connections, Device},
};

/// Early tries at once of devices that are in use, or of which something is heard: more than most people have contacts that are there …
pub(super) const EARLY_AT_ONCE: u32 = 64;
/// … and between two more.
pub(super) const EARLY_EVERY: Duration = Duration::from_millis(50);
/// Early tries at once of the others, of which a home would say that they are there …
pub(super) const OTHERS_AT_ONCE: u32 = 16;
/// … and between two more: 1,000 of them have had their turn after 100 s.
pub(super) const OTHERS_EVERY: Duration = Duration::from_millis(100);

impl Connectivity {
    pub(super) fn set_targets(&mut self, now: Instant, mut targets: HashMap<DeviceId, Target>) {
        // Streams to somebody who is no more than a member now end, too.
        let ends = |id: &DeviceId, device: &Device| {
            targets.get(id).is_none_or(|target| target.gossip_only && !device.target.gossip_only)
        };
        let gone: Vec<DeviceId> =
            self.devices.iter().filter(|(id, device)| ends(id, device)).map(|(id, _)| *id).collect();
        for id in gone {
            if let Some(device) = self.devices.remove(&id) {
                self.act(Action::DropStreams(id));
                self.act(Action::Disconnect(device.peer));
            }
            self.devices_due.set(id, None);
            self.end_liveness(Subject::Device(id));
        }
        let mut seeks = false;
        for (id, device) in &mut self.devices {
            if let Some(target) = targets.remove(id)
                && device.target != target
            {
                let moved = !device.target.is_reached_as(&target);
                device.target = target;
                if moved {
                    device.backoff.expedite(now);
                }
                seeks |= device.target.gossip_only;
                self.devices_due.set(*id, device.due().filter(|_| !device.target.gossip_only));
            }
        }
        for (id, target) in targets {
            // What is no key cannot be connected to.
            let Some(peer) = peer_of(&id) else { continue };
            seeks |= target.gossip_only;
            self.devices.insert(id, Device::new(peer, target, now));
            self.schedule_device(&id);
            // It may be connected already, as a rendezvous or by a connection that we have not closed yet.
            self.prefer_best(peer);
            self.watch_member(now, id);
        }
        self.index_members();
        if seeks {
            self.seek_members_soon(now);
        }
        self.admit_known();
    }

    pub(super) fn schedule_device(&mut self, id: &DeviceId) {
        // Members are looked at together.
        let due = self.devices.get(id).filter(|device| !device.target.gossip_only).and_then(Device::due);
        self.devices_due.set(*id, due);
    }

    /// Something has changed, so that a device may be reached now.
    pub(super) fn expedite_device(&mut self, now: Instant, id: &DeviceId) {
        let Some(device) = self.devices.get_mut(id) else { return };
        if device.target.gossip_only {
            device.backoff.expedite(now);
            self.seek_members_soon(now);
        } else if device.due().is_some() {
            let _ = self.take_early_turn(now, id);
        }
        self.schedule_device(id);
    }

    /// The next try to reach a device is due as soon as it is its turn. Returns false if it is not due then because of this.
    pub(super) fn take_early_turn(&mut self, now: Instant, id: &DeviceId) -> bool {
        let at = self.early_turns.next(now);
        let device = self.devices.get_mut(id).filter(|device| !device.target.gossip_only);
        let is_taken = device.is_some_and(|device| device.backoff.take_turn(now, at));
        if is_taken {
            self.early_turns.take(now);
        }
        is_taken
    }

    /// A device that is connected is dialled beside that, in its turn.
    pub(super) fn dial_device_beside(&mut self, now: Instant, id: DeviceId) {
        if self.is_member(Subject::Device(id)) {
            if self.may_dial_device() && self.early_turns.next(now) <= now {
                self.dial_member_beside(now, id);
            }
        } else if self.take_early_turn(now, &id) {
            if let Some(device) = self.devices.get_mut(&id) {
                device.beside = true;
            }
            self.schedule_device(&id);
        }
    }

    fn dial_member_beside(&mut self, now: Instant, id: DeviceId) {
        if let Some(device) = self.devices.get_mut(&id)
            && device.backoff.take_early_try(now)
        {
            let peer = device.peer;
            self.early_turns.take(now);
            self.dial_directly(id, peer);
            self.dial_through_relays(id, peer);
        }
    }

    /// Something has changed, so that all may be reached now: each in its turn. One that has a turn keeps it, however often this happens.
    pub(super) fn expedite_all_devices(&mut self, now: Instant) {
        for id in self.devices_by_use() {
            let Some(device) = self.devices.get_mut(&id) else { continue };
            let turns = if device.is_in_use(now) { &mut self.early_turns } else { &mut self.other_turns };
            if device.target.gossip_only {
                // A few of them are dialled at a time.
                device.backoff.expedite(now);
            } else if device.due().is_some() && device.backoff.expedite_to(now, turns.next(now)) {
                turns.take(now);
            }
            self.schedule_device(&id);
        }
        self.seek_members_soon(now);
    }

    /// All devices: those with a stream, then the others, and of both those first that were used last.
    pub(super) fn devices_by_use(&self) -> Vec<DeviceId> {
        let mut all: Vec<(&DeviceId, &Device)> = self.devices.iter().collect();
        all.sort_by_key(|(_, device)| Reverse((device.out.is_some(), device.used)));
        all.into_iter().map(|(id, _)| *id).collect()
    }

    pub(super) fn try_device(&mut self, now: Instant, id: DeviceId) {
        let has_home = self.homes.values().any(|home| home.reserve && home.is_up());
        let Some(device) = self.devices.get_mut(&id) else { return };
        device.tried(now, has_home, &mut self.rng);
        let (peer, linked, beside) = (device.peer, device.out.is_some(), std::mem::take(&mut device.beside));
        match self.best(&peer) {
            Some(best) if !beside && (!best.relayed || !linked) => self.open_stream(id, best.id),
            _ => {
                self.dial_directly(id, peer);
                // A second dial, since one stale direct address fails the whole of the first.
                if beside || !linked {
                    self.dial_through_relays(id, peer);
                }
            }
        }
        self.schedule_device(&id);
    }

    /// Dials the device's own addresses: also beside a relayed connection, as a direct one is better, and beside a dial to addresses that have
    /// changed.
    pub(super) fn dial_directly(&mut self, id: DeviceId, peer: PeerId) {
        let Some(device) = self.devices.get(&id) else { return };
        let addresses = device.direct_addresses(&self.reach);
        if addresses.is_empty() || device.dialing.as_ref().is_some_and(|(_, to)| *to == addresses) {
            return;
        }
        let dial = self.dial(DialFor::Device(id), peer, addresses.clone());
        if let Some(device) = self.devices.get_mut(&id) {
            device.dialing = Some((dial, addresses));
        }
    }

    /// Dials through the relays that we are connected to: a dial to another one would compete with our own.
    pub(super) fn dial_through_relays(&mut self, id: DeviceId, peer: PeerId) {
        let Some(device) = self.devices.get(&id) else { return };
        let relays = device.target.relays.iter().filter(|relay| self.is_connected(&relay.peer_id()));
        let ways = relays.filter_map(|relay| relay.multiaddrs().into_iter().next());
        let circuits: Vec<Multiaddr> = ways.map(|way| way.with(Protocol::P2pCircuit)).collect();
        if circuits.is_empty() || device.dialing_relays.as_ref().is_some_and(|(_, to)| *to == circuits) {
            return;
        }
        let dial = self.dial(DialFor::Device(id), peer, circuits.clone());
        if let Some(device) = self.devices.get_mut(&id) {
            device.dialing_relays = Some((dial, circuits));
        }
    }

    fn open_stream(&mut self, id: DeviceId, on: ConnectionId) {
        if let Some(device) = self.devices.get_mut(&id) {
            device.opening = Some(on);
            let peer = device.peer;
            self.act(Action::OpenStream { device: id, peer, on });
            self.schedule_device(&id);
        }
    }

    /// Moves the stream to the best connection.
    pub(super) fn prefer_best(&mut self, peer: PeerId) {
        let Some(all) = self.connections.get(&peer) else { return };
        let Some(best) = all.best() else { return };
        let Some((id, device)) = device_of(&peer).and_then(|id| Some((id, self.devices.get(&id)?))) else { return };
        if device.target.gossip_only {
            return self.prefer_direct(&peer);
        }
        // A stream that is being opened on a connection which died with the peer's process would take ten seconds to fail: another one is opened.
        let in_use = device.out.is_some_and(|(current, _)| all.rank(&current) <= all.rank(&best));
        if device.opening != Some(best.id) && !in_use {
            self.open_stream(id, best.id);
        }
    }

    /// Closes what more connections there are to a device than are of use, but for the one that has just come: it may be the only one that lives.
    pub(super) fn close_excess(&mut self, peer: PeerId, newest: ConnectionId) {
        let Some(device) = device_of(&peer).and_then(|id| self.devices.get(&id)) else { return };
        let all = self.connections.get(&peer);
        for connection in all.map(|all| all.excess(|id| id == newest || device.uses(id))).unwrap_or_default() {
            self.act(Action::Close(connection));
        }
    }

    pub(super) fn stream_in(&mut self, now: Instant, id: &DeviceId, connection: Connection) {
        if let Some(device) = self.devices.get_mut(id) {
            device.inbound = Some(connection.id);
        }
        match self.devices.get(id).map(|device| device.out) {
            // It is there to be written to.
            Some(None) => self.expedite_device(now, id),
            // A device that comes through the relay has no direct connection: ours died with a process of theirs.
            Some(Some((current, _))) if connection.relayed && !current.relayed => {
                let all = peer_of(id).and_then(|peer| self.connections.get(&peer));
                if all.is_some_and(|all| all.came_after(connection.id, current.id)) {
                    self.act(Action::Close(current.id));
                }
            }
            _ => {}
        }
    }

    pub(super) fn stream_opened(&mut self, now: Instant, id: DeviceId, on: ConnectionId, connection: Connection) {
        let Some(device) = self.devices.get_mut(&id) else { return };
        match device.opening {
            Some(opening) if opening == on => device.opening = None,
            // A better connection has come meanwhile, and a stream is being opened there.
            Some(_) => return,
            None => {}
        }
        if device.out.is_some_and(|(current, _)| current == connection) {
            // A second one on the same connection, asked for while another connection came and went.
            self.schedule_device(&id);
            return;
        }
        let peer = device.peer;
        (device.out, device.used) = (Some((connection, now)), Some(now));
        device.beside = false;
        device.backoff.session_began();
        self.begin_liveness(now, Subject::Device(id));
        let relayed = connection.relayed;
        self.act(Action::Tell(NetEvent::DirectUp { device: id, relayed }));
        if relayed {
            // A direct path is looked for beside it.
            self.expedite_device(now, &id);
        }
        let all = self.connections.get(&peer).into_iter();
        // Those that do not answer; and relayed ones beside a direct one, which DCUtR would keep open for ever.
        let superseded = |all: &Connections| -> Vec<ConnectionId> {
            let unused = all.suspects().chain(all.relayed().filter(|_| !relayed));
            unused.filter(|id| *id != connection.id).collect()
        };
        let superseded: BTreeSet<ConnectionId> = all.flat_map(superseded).collect();
        for connection in superseded {
            self.act(Action::Close(connection));
        }
        self.prefer_best(peer);
        self.schedule_device(&id);
    }

    pub(super) fn stream_failed(&mut self, now: Instant, id: &DeviceId, on: ConnectionId) {
        if let Some(device) = self.devices.get_mut(id).filter(|device| device.opening == Some(on)) {
            device.opening = None;
            device.backoff.expedite(now);
            self.schedule_device(id);
            self.end_lost_stream(now, *id);
        }
    }

    /// Ends the stream to a device if its connection is closed, unless another one is on its way: whoever writes nothing does not notice, and its end
    /// would not be reported before something is written.
    pub(super) fn end_lost_stream(&mut self, now: Instant, id: DeviceId) {
        let Some(device) = self.devices.get(&id).filter(|device| device.opening.is_none()) else { return };
        let Some((connection, _)) = device.out else { return };
        if self.connections.get(&device.peer).is_none_or(|all| !all.contains(connection.id)) {
            self.act(Action::DropStream(id));
            self.stream_ended(now, id, connection);
        }
    }

    pub(super) fn stream_stalled(&mut self, now: Instant, id: &DeviceId) {
        if let Some(device) = self.devices.get_mut(id)
            && let Some((_, since)) = device.out.take()
        {
            device.used = Some(now);
            device.backoff.session_ended(since, now);
            self.end_liveness(Subject::Device(*id));
            self.expedite_device(now, id);
        }
    }

    pub(super) fn stream_ended(&mut self, now: Instant, id: DeviceId, connection: Connection) {
        // Unless a newer stream has taken its place.
        if let Some(device) = self.devices.get_mut(&id)
            && device.stream_ended(connection, now)
        {
            device.used = Some(now);
            self.end_liveness(Subject::Device(id));
            self.act(Action::Tell(NetEvent::DirectDown(id)));
            self.expedite_device(now, &id);
        }
    }

    pub(super) fn found_on_lan(&mut self, now: Instant, peer: PeerId, address: Multiaddr) {
        if let Some(id) = device_of(&peer)
            && let Some(device) = self.devices.get_mut(&id)
            && device.found_on_lan(address)
        {
            self.expedite_device(now, &id);
        }
    }

    pub(super) fn expired_on_lan(&mut self, peer: PeerId, address: &Multiaddr) {
        if let Some(device) = device_of(&peer).and_then(|id| self.devices.get_mut(&id)) {
            device.expired_on_lan(address);
        }
    }
}
