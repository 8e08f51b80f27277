//! Which home servers the account has, and had.

use starling_keys::RendezvousAddr;

use super::{
    Account,
    limits::{LEFT_HOME_MS, MAX_LEFT_HOMES},
};
use crate::{
    home::Homes,
    net::HomeId,
    store::LeftHomeRow,
    turn::{Fact, Turn},
};

impl Account {
    /// Servers that are not our homes any more are notified where we are: contacts look us up there until they know.
    pub(crate) fn leave_homes(&mut self, turn: &mut Turn<'_>, homes: &mut Homes, before: Vec<RendezvousAddr>) {
        let until_ms = turn.agreed_ms() + LEFT_HOME_MS;
        let here = |h: &RendezvousAddr| self.identity.homes.iter().any(|m| m.peer == h.peer);
        let left: Vec<RendezvousAddr> = before.into_iter().filter(|h| !here(h)).collect();
        let ours: Vec<HomeId> = self.identity.homes.iter().map(|h| h.peer).collect();
        let changes = self.own_devices.changes();
        changes.left_homes.retain(|l| l.address.parse::<RendezvousAddr>().is_ok_and(|l| !ours.contains(&l.peer)));
        changes.left_homes.extend(left.iter().map(|h| LeftHomeRow { address: h.to_string(), until_ms }));
        let surplus = changes.left_homes.len().saturating_sub(MAX_LEFT_HOMES);
        changes.left_homes.drain(..surplus);
        turn.fact(Fact::ReachChanged);
        for home in left.iter().map(|h| h.peer) {
            if homes.is_up(&home) {
                self.publish(turn, homes, home);
            }
        }
    }

    pub(crate) fn has_left(&self, home: HomeId) -> bool {
        let peer = |l: &LeftHomeRow| l.address.parse::<RendezvousAddr>().map(|l| l.peer);
        self.own_devices.changes.left_homes.iter().any(|l| peer(l) == Ok(home))
    }

    /// A server that was our home knows where we are, or does not want to.
    pub(crate) fn forget_left(&mut self, turn: &mut Turn<'_>, home: HomeId) {
        let peer = |l: &LeftHomeRow| l.address.parse::<RendezvousAddr>().map(|l| l.peer);
        self.own_devices.changes().left_homes.retain(|l| peer(l) != Ok(home));
        turn.fact(Fact::ReachChanged);
    }

    /// A server that was our home and has not answered for long is given up.
    pub(crate) fn expire_left_homes(&mut self, turn: &mut Turn<'_>) {
        let now = turn.wall().min(turn.agreed_ms());
        if self.own_devices.changes.left_homes.iter().any(|l| l.until_ms < now) {
            self.own_devices.changes().left_homes.retain(|l| l.until_ms >= now);
            turn.fact(Fact::ReachChanged);
        }
    }
}
