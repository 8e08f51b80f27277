//! Which home servers the account has, and had.

use starling_keys::RendezvousAddr;

use super::Account;
use crate::{
    api::types::TransientEvent,
    conversation::{GroupEntry, group::GroupId},
    engine::Engine,
    home::Homes,
    limits::{LEFT_HOME_MS, MAX_LEFT_HOMES},
    net::HomeId,
    store::{HomesRow, LeftHomeRow, META},
    turn::{EngineError, Fact, Turn},
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
            if homes.servers.get(&home).is_some_and(|h| h.hello.is_some()) {
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

impl Engine {
    /// Moves to other home servers. Contacts are notified; conversations whose logs we keep elsewhere get a new group at the new home.
    pub(super) fn set_homes(
        &mut self,
        turn: &mut Turn<'_>,
        homes: Vec<RendezvousAddr>,
        token: String,
    ) -> Result<(), EngineError> {
        turn.put(META, b"homes", &HomesRow { homes: homes.iter().map(ToString::to_string).collect() })?;
        let moved = homes != self.account.identity.homes;
        let before = std::mem::replace(&mut self.account.identity.homes, homes);
        self.account.identity.row.registration_token = token;
        self.account.identity.dirty = true;
        for (id, state) in &mut self.homes.servers {
            state.own = self.account.identity.homes.iter().any(|h| h.peer == *id);
            if state.own {
                state.problem = None;
            }
        }
        turn.set_home_offset(self.homes.clock_offset());
        turn.fact(Fact::ReachChanged);
        let now = self.account.identity.homes.clone();
        let renewed =
            moved && self.account.change_chain(turn, |chain, key, time| chain.set_homes(key, time, &now)).is_ok();
        if renewed {
            self.sync().tell_other_devices(turn, None)?;
            self.sync().tell_list(turn);
            self.meeting().renew_invites(turn)?;
            let elsewhere = |g: &GroupEntry| {
                let home = self.conversations.home_address(g);
                g.row.ours
                    && !g.row.dead
                    && !home.is_some_and(|h| self.account.identity.homes.iter().any(|m| m.peer == h.peer))
            };
            let left: Vec<GroupId> =
                self.conversations.groups.values().filter(|g| elsewhere(g)).map(|g| g.id).collect();
            for group in left {
                self.conversations.abandon_group(turn, group);
            }
            self.account.leave_homes(turn, &mut self.homes, before);
        }
        self.account.publish_at_homes(turn, &mut self.homes);
        turn.live(TransientEvent::Net);
        Ok(())
    }
}
