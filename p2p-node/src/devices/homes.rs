//! Moving to other home servers.

use starling_keys::RendezvousAddr;

use super::AccountDevices;
use crate::{
    api::types::TransientEvent,
    conversation::{GroupEntry, group::GroupId},
    store::{HomesRow, META},
    turn::{EngineError, Fact, Turn},
};

impl AccountDevices<'_> {
    /// Moves to other home servers. Contacts are notified; conversations whose logs we keep elsewhere get a new group at the new home.
    pub(super) fn set_homes(
        &mut self,
        turn: &mut Turn<'_>,
        homes: Vec<RendezvousAddr>,
        token: String,
    ) -> Result<(), EngineError> {
        turn.put(META, b"homes", &HomesRow { homes: homes.iter().map(ToString::to_string).collect() })?;
        let moved = homes != self.cx.account.identity.homes;
        let before = std::mem::replace(&mut self.cx.account.identity.homes, homes);
        self.cx.account.identity.row.registration_token = token;
        self.cx.account.identity.dirty = true;
        for (id, state) in &mut self.cx.homes.servers {
            state.own = self.cx.account.identity.homes.iter().any(|h| h.peer == *id);
            if state.own {
                state.problem = None;
            }
        }
        turn.set_home_offset(self.cx.homes.clock_offset());
        turn.fact(Fact::ReachChanged);
        let now = self.cx.account.identity.homes.clone();
        let renewed =
            moved && self.cx.account.change_chain(turn, |chain, key, time| chain.set_homes(key, time, &now)).is_ok();
        if renewed {
            self.sync().tell_other_devices(turn, None)?;
            self.sync().tell_list(turn);
            self.send_chain_on_streams(turn);
            self.meeting().renew_invites(turn)?;
            let elsewhere = |g: &GroupEntry| {
                let home = self.cx.conversations.groups.home_address(g);
                g.row.ours
                    && !g.row.dead
                    // One with a policy stays where it is: nobody makes another.
                    && !self.cx.conversations.has_policy(g.id)
                    && !home.is_some_and(|h| self.cx.account.identity.homes.iter().any(|m| m.peer == h.peer))
            };
            let left: Vec<GroupId> =
                self.cx.conversations.groups.values().filter(|g| elsewhere(g)).map(|g| g.id).collect();
            for group in left {
                self.cx.conversations.abandon_group(turn, group);
            }
            self.cx.account.leave_homes(turn, self.cx.homes, before);
        }
        self.cx.account.publish_at_homes(turn, self.cx.homes);
        turn.transient_event(TransientEvent::Net);
        Ok(())
    }
}
