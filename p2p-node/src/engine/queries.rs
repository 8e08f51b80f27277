//! What users ask: who is there, which chats there are, how the node is.

use super::Engine;
use crate::{
    api::{
        problem::HomeProblem,
        types::{HomeStatus, Status},
    },
    conversation::group::GroupId,
    home::{HomeState, Pending},
    net::{ConnectionProblem, HomeId},
    turn::Turn,
};

impl Engine {
    /// Makes everything due that waits for a timer: receipts, the snapshot. Gives whether something of it still has to reach a home that is connected.
    pub(crate) fn flush(&mut self, turn: &mut Turn<'_>) -> bool {
        // Who leaves waits for no server that answers nothing.
        let answers = |h: &HomeState| h.hello.is_some() && !h.silent;
        let up = self.homes.servers.values().any(|h| h.own && h.registered && answers(h));
        let mut has_pending = up && (self.counters.row.snapshot_pending || self.account.snapshot_due.is_some());
        if self.account.snapshot_due.is_some() {
            self.account.snapshot_due = Some(turn.now());
        }
        let waiting =
            self.conversations.chats.values().filter(|c| c.receipt_due.is_some()).map(|c| c.id).collect::<Vec<_>>();
        for id in waiting {
            let Some(state) = self.conversations.chats.get_mut(&id) else { continue };
            state.receipt_due = Some(turn.now());
            has_pending |= up;
        }
        has_pending | self.homes.servers.values().any(|h| answers(h) && h.pending.values().any(Pending::delivers))
    }

    /// Whether everything that waited for us at our homes is here.
    pub(crate) fn is_synced(&self) -> bool {
        let own = || self.homes.servers.iter().filter(|(_, h)| h.own);
        // One that is lost is not waited for, as long as there is another.
        let is_read = |(home, h): (&HomeId, &HomeState)| h.inbox.read && h.registered || self.homes.is_lost(home);
        let homes = own().all(is_read) && own().next().is_none_or(|_| own().any(|(home, _)| !self.homes.is_lost(home)));
        let is_up = |id: GroupId| self.conversations.groups.home_of(id).is_some_and(|home| self.homes.is_up(&home));
        let read = |(id, entry): (&GroupId, &crate::conversation::GroupEntry)| {
            entry.read.caught_up
                || entry.row.dead
                || !is_up(*id)
                || !self.conversations.is_linked_group(self.directory(), *id)
        };
        homes && self.conversations.groups.iter().all(read)
    }

    pub(crate) fn status(&self, turn: &Turn<'_>) -> Status {
        let answering = || self.delivery.links.values().filter(|l| !l.silent);
        let direct = answering().filter(|l| !l.relayed).count();
        Status {
            account: self.account.id(),
            device: self.account.device(),
            name: self.account.identity.row.name.clone(),
            bot: self.account.identity.row.bot,
            homes: self
                .homes
                .servers
                .values()
                .map(|h| HomeStatus {
                    address: h.addresses.first().map(ToString::to_string).unwrap_or_default(),
                    own: h.own,
                    connected: h.hello.is_some() && !h.silent,
                    transport: h.transport(),
                    udp_blocked: h.is_udp_blocked(),
                    registered: h.hello.is_some() && !h.silent && h.registered && h.stocked,
                    problem: match self.counters.row.outdated {
                        true => Some(HomeProblem::Outdated),
                        false if h.silent => Some(ConnectionProblem::NoAnswer.into()),
                        false => h.problem.clone(),
                    },
                    clock_offset_ms: h.clock_offset_ms(turn),
                })
                .collect(),
            peers: (direct, answering().count() - direct),
            addresses: self.presence.addresses.0.iter().map(ToString::to_string).collect(),
            public: self.presence.addresses.1,
            queued: self.conversations.chats.values().map(|c| c.outbox.len() as u64).sum(),
            proxy: None,
            requests_waiting: (self.homes.outbound_items.len()
                + usize::from(self.counters.row.greeting_pending)
                + self.contacts.connects.values().filter(|c| c.asked).count()) as u64,
            synced: self.is_synced(),
            removed: self.counters.row.superseded,
            address: self.account.own_invite(None).to_string(),
            username: self.account.identity.row.username.clone(),
        }
    }
}
