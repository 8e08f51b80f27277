//! Members of groups with whom there is nothing but what is passed on there. Some of them are dialled where too few others are connected; all may
//! dial us.
//!
//! They are looked at together, and only while some are missing, more and more seldom: however many are away, there is rest. There is no stream to
//! them that could end, so that their connections live, and stay in the memory of the network, follows from probes (`liveness`).

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use libp2p::{PeerId, swarm::ConnectionId};
use rand::seq::SliceRandom;
use starling_keys::DeviceId;

use super::{
    Action, Connectivity, DialFor, Errand, Subject,
    peers::{Device, MAX_DEVICE_WAIT},
};
use crate::mls::GroupId;

/// Connected members of a group beyond which no others are dialled: as many as gossipsub has in a mesh. Everybody dials as many, so all hang
/// together.
pub const ENOUGH_MEMBERS: usize = 6;
/// Dials to such members under way at a time: they may be many, and most of them away.
pub const MAX_MEMBER_DIALS: usize = 8;
/// While members are missing others are tried after this time, which doubles …
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// … after so many looks …
const LOOKS: u32 = 4;
/// … up to this while a home of ours is there: who comes dials us, and what is written stands in the log.
const LOOK_AT_REST: Duration = Duration::from_secs(600);

impl Connectivity {
    /// The targets are others.
    pub(super) fn index_members(&mut self) {
        self.members.clear();
        for (id, device) in &self.devices {
            for group in &device.target.groups {
                self.members.entry(*group).or_default().push(*id);
            }
        }
    }

    /// Whether there is nothing with a peer but gossip.
    pub(super) fn is_member(&self, subject: Subject) -> bool {
        match subject {
            Subject::Device(id) => self.devices.get(&id).is_some_and(|device| device.target.gossip_only),
            Subject::Home(_) => false,
        }
    }

    /// How many devices of a group are connected, whatever else there is with them.
    fn connected_members(&self, group: &GroupId) -> usize {
        let members = self.members.get(group).into_iter().flatten();
        let peers = members.filter_map(|id| self.devices.get(id)).map(|device| &device.peer);
        peers.filter(|peer| self.is_connected(peer)).take(ENOUGH_MEMBERS).count()
    }

    /// The members that would be of use, and are not connected.
    fn missing_members(&self) -> Vec<DeviceId> {
        let small = |group: &&GroupId| self.connected_members(group) < ENOUGH_MEMBERS;
        let groups: BTreeSet<GroupId> = self.members.keys().filter(small).copied().collect();
        let is_missing = |device: &Device| {
            let target = &device.target;
            target.gossip_only && !target.groups.is_disjoint(&groups) && !self.is_connected(&device.peer)
        };
        self.devices.iter().filter(|(_, device)| is_missing(device)).map(|(id, _)| *id).collect()
    }

    fn next_try(&self, id: &DeviceId) -> Option<Instant> {
        self.devices.get(id).map(|device| device.backoff.due())
    }

    fn member_dials(&self) -> usize {
        let is_member = |what: &&DialFor| matches!(what, DialFor::Device(id) if self.is_member(Subject::Device(*id)));
        self.dials.values().filter(is_member).count()
    }

    /// Something has changed, so that members may be missing, or be reached now.
    pub(super) fn seek_members_soon(&mut self, now: Instant) {
        if !self.members.is_empty() {
            self.member_looks = 0;
            self.agenda.set(Errand::Members, Some(now));
        }
    }

    /// Dials some of the members that are missing, in an order of its own: nobody is dialled by all others.
    pub(super) fn seek_members(&mut self, now: Instant) {
        let has_home = self.homes.values().any(|home| home.reserve && home.is_up());
        let missing = self.missing_members();
        let is_due = |id: &&DeviceId| self.next_try(id).is_some_and(|at| at <= now);
        let mut due: Vec<DeviceId> = missing.iter().filter(is_due).copied().collect();
        due.shuffle(&mut self.rng);
        // Who was tried before comes after the others.
        due.sort_by_key(|id| self.next_try(id));
        for id in due {
            if self.member_dials() >= MAX_MEMBER_DIALS || !self.may_dial_device() {
                break;
            }
            self.try_member(now, id, has_home);
        }
        let wait = LOOK_AGAIN * (1 << (self.member_looks / LOOKS).min(8));
        let wait = wait.min(if has_home { LOOK_AT_REST } else { MAX_DEVICE_WAIT });
        self.member_looks = self.member_looks.saturating_add(1);
        let next = missing.iter().filter_map(|id| self.next_try(id)).min();
        self.agenda.set(Errand::Members, next.map(|next| next.max(now + wait)));
    }

    fn try_member(&mut self, now: Instant, id: DeviceId, has_home: bool) {
        let Some(device) = self.devices.get_mut(&id) else { return };
        let peer = device.peer;
        device.tried(now, has_home, &mut self.rng);
        self.dial_directly(id, peer);
        self.dial_through_relays(id, peer);
    }

    /// The connection that is used with a member has come or gone, or is another one.
    pub(super) fn watch_member(&mut self, now: Instant, id: DeviceId) {
        let subject = Subject::Device(id);
        if !self.is_member(subject) {
            return;
        }
        if self.connection_of(subject).is_some() {
            self.begin_liveness(now, subject);
        } else {
            self.end_liveness(subject);
        }
    }

    /// Relayed connections to a member are of no use beside a direct one, and those that do not answer beside one that does.
    pub(super) fn prefer_direct(&mut self, peer: &PeerId) {
        let Some((all, best)) = self.connections.get(peer).and_then(|all| Some((all, all.best()?))) else { return };
        let unused = all.suspects().chain(all.relayed().filter(|_| !best.relayed));
        let unused: BTreeSet<ConnectionId> = unused.filter(|id| *id != best.id).collect();
        unused.into_iter().for_each(|connection| self.act(Action::Close(connection)));
    }
}
