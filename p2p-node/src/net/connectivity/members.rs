//! Members of groups with whom there is nothing but what is passed on there. Some of them are dialled where too few others are connected; all may
//! dial us.

use std::time::{Duration, Instant};

use libp2p::{PeerId, swarm::ConnectionId};
use starling_keys::DeviceId;

use super::{Action, Connectivity, DialFor, Errand, peers::Device};
use crate::mls::GroupId;

/// Connected members of a group beyond which no others are dialled: as many as gossipsub has in a mesh. Everybody dials as many, so all hang
/// together.
pub const ENOUGH_MEMBERS: usize = 6;
/// Dials to such members under way at a time: they may be many, and most of them away.
pub const MAX_MEMBER_DIALS: usize = 8;
/// A member that is not needed, or has to wait for others, is looked at again after this time.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

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

    /// How many devices of a group are connected, whatever else there is with them.
    fn connected_members(&self, group: &GroupId) -> usize {
        let members = self.members.get(group).into_iter().flatten();
        let peers = members.filter_map(|id| self.devices.get(id)).map(|device| &device.peer);
        peers.filter(|peer| self.is_connected(peer)).take(ENOUGH_MEMBERS).count()
    }

    /// Whether a member is of use.
    fn needs_member(&self, device: &Device) -> bool {
        device.target.groups.iter().any(|group| self.connected_members(group) < ENOUGH_MEMBERS)
    }

    fn member_dials(&self) -> usize {
        let is_member = |id: &DeviceId| self.devices.get(id).is_some_and(|device| device.target.gossip_only);
        self.dials.values().filter(|what| matches!(what, DialFor::Device(id) if is_member(id))).count()
    }

    /// Dials a member, if it is of use.
    pub(super) fn try_member(&mut self, now: Instant, id: DeviceId) {
        let has_home = self.homes.values().any(|home| home.reserve && home.is_up());
        let Some(device) = self.devices.get(&id) else { return };
        let peer = device.peer;
        if self.is_connected(&peer) {
            return self.schedule_device(&id);
        }
        if !self.needs_member(device) || self.member_dials() >= MAX_MEMBER_DIALS {
            self.agenda.set(Errand::Device(id), Some(now + LOOK_AGAIN));
            return;
        }
        if let Some(device) = self.devices.get_mut(&id) {
            device.tried(now, has_home, &mut self.rng);
        }
        self.dial_directly(id, peer);
        self.dial_through_relays(id, peer);
        self.schedule_device(&id);
    }

    /// Relayed connections to a member are of no use beside a direct one.
    pub(super) fn prefer_direct(&mut self, peer: &PeerId) {
        let Some(all) = self.connections.get(peer).filter(|all| all.best().is_some_and(|best| !best.relayed)) else {
            return;
        };
        let relayed: Vec<ConnectionId> = all.relayed().collect();
        relayed.into_iter().for_each(|connection| self.act(Action::Close(connection)));
    }
}
