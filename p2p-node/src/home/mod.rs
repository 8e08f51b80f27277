//! Rendezvous servers: registering, key packages, the inbox, and what their answers mean.

pub mod inbox;
mod pending;
mod wanted;

use std::collections::{BTreeMap, HashMap};

use starling_keys::RendezvousAddr;
use starling_wire::rendezvous::{Ask, ServerHello};

pub use pending::{Pending, Refused};

use crate::{
    account::pending::AccountPending,
    api::types::Live,
    net::HomeId,
    store::{PARCELS, ParcelRow, Reading, prefix},
    turn::{Engine, EngineError, Turn},
};

pub const SUPERSEDED: &str = "this device is no longer one of its account: it was removed, or the account was restored on another device, which has \
                              taken its place; this profile can only be read";

/// A rendezvous that we use.
#[derive(Default)]
pub struct HomeState {
    pub addresses: Vec<RendezvousAddr>,
    /// One that we have chosen; others are contacts'.
    pub own: bool,
    pub hello: Option<ServerHello>,
    pub registered: bool,
    /// Our key packages are there: others can begin a conversation with us.
    pub stocked: bool,
    pub problem: Option<String>,
    /// It does not answer, though the connection is there.
    pub silent: bool,
    pub clock_offset_ms: i64,
    /// Its clock minus our steady time, which no change of our clock moves.
    pub steady_offset_ms: i64,
    pub inbox: inbox::InboxState,
    /// Requests without an answer, by the number that they were sent under.
    pub pending: HashMap<u64, Pending>,
    /// When to try again what was refused.
    pub retry_at: Option<u64>,
}

impl HomeState {
    pub fn due(&self) -> Option<u64> {
        self.hello.as_ref().and(self.retry_at)
    }
}

/// The rendezvous servers that we use, and what is to be left in inboxes there.
#[derive(Default)]
pub struct Homes {
    pub servers: HashMap<HomeId, HomeState>,
    /// What waits for others' inboxes, by its key in the store.
    pub parcels: BTreeMap<Vec<u8>, inbox::Parcel>,
}

impl Homes {
    /// Loads what waits from the profile.
    pub fn load(read: &impl Reading) -> Result<Self, EngineError> {
        let mut homes = Self::default();
        for (key, row) in read.range::<ParcelRow>(PARCELS, prefix(b""), usize::MAX, false)? {
            homes.parcels.insert(key, inbox::Parcel::new(row));
        }
        Ok(homes)
    }

    /// Our home's clock minus our steady time, while it is connected.
    pub fn clock_offset(&self) -> Option<i64> {
        self.servers.values().find(|h| h.own && h.hello.is_some()).map(|h| h.steady_offset_ms)
    }
}

impl Engine {
    pub(crate) fn home_up(
        &mut self,
        turn: &mut Turn<'_>,
        home: HomeId,
        hello: &ServerHello,
    ) -> Result<(), EngineError> {
        let (now, steady) = (turn.wall(), turn.now());
        let Some(state) = self.homes.servers.get_mut(&home) else {
            return Ok(());
        };
        let lost = std::mem::take(&mut state.pending);
        for pending in lost.into_values() {
            self.on_request_lost(turn, pending);
        }
        let Some(state) = self.homes.servers.get_mut(&home) else {
            return Ok(());
        };
        state.hello = Some(hello.clone());
        (state.registered, state.stocked) = (false, false);
        state.inbox.restart();
        state.retry_at = None;
        state.problem = None;
        state.silent = false;
        state.clock_offset_ms = (hello.time_ms as i64).saturating_sub(now as i64);
        state.steady_offset_ms = (hello.time_ms as i64).saturating_sub(steady as i64);
        let own = state.own;
        turn.set_home_offset(self.homes.clock_offset());
        if own || self.has_left(home) {
            self.publish(turn, home);
        }
        self.logs_up(turn, home);
        self.trims_up(turn, home)?;
        self.receipts_up(turn, home);
        self.connects_up(turn, home);
        self.parcels_up(turn, home);
        self.codes_up(turn, home);
        turn.live(Live::Net);
        Ok(())
    }

    /// A server that is overloaded or frozen: what waits for it is kept, and what is shown is true.
    pub(crate) fn home_silent(&mut self, turn: &mut Turn<'_>, home: HomeId, silent: bool) {
        if let Some(state) = self.homes.servers.get_mut(&home) {
            state.silent = silent;
            turn.live(Live::Net);
        }
    }

    pub(crate) fn home_down(&mut self, turn: &mut Turn<'_>, home: HomeId, reason: String) {
        let Some(state) = self.homes.servers.get_mut(&home) else {
            return;
        };
        state.hello = None;
        state.silent = false;
        state.problem = Some(reason);
        let lost = std::mem::take(&mut state.pending);
        turn.set_home_offset(self.homes.clock_offset());
        for pending in lost.into_values() {
            self.on_request_lost(turn, pending);
        }
        for group in self.groups_at(home) {
            if let Some(entry) = self.conversations.groups.get_mut(&group) {
                entry.readers = 0;
            }
        }
        // The server has forgotten the places of our short codes.
        for open in self.account.codes.iter_mut().filter(|c| c.home == home && c.code.is_some()) {
            open.expires_ms = 0;
        }
        turn.live(Live::Net);
    }

    pub(crate) fn homes_on_time(&mut self, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        let due: Vec<HomeId> = self
            .homes
            .servers
            .iter()
            .filter(|(_, h)| h.due().is_some_and(|at| at <= turn.now()))
            .map(|(id, _)| *id)
            .collect();
        for home in due {
            if let Some(state) = self.homes.servers.get_mut(&home) {
                state.retry_at = None;
                state.inbox.reading = false;
                if state.own && !state.registered && !self.counters.row.superseded {
                    self.publish(turn, home);
                } else if state.own {
                    self.homes.read_inbox(turn, home);
                    self.check_packages(turn, home);
                    self.register_invites(turn, home)?;
                    if self.counters.row.snapshot == 0 {
                        self.homes.request(turn, home, Ask::GetSnapshot(true), AccountPending::Snapshot);
                    } else if self.counters.row.snapshot_owed {
                        self.snapshot_soon(turn);
                    }
                    self.regroup(turn)?;
                } else if self.has_left(home) {
                    self.publish(turn, home);
                }
            }
            self.parcels_up(turn, home);
            for id in self.groups_at(home) {
                if self.conversations.groups.get(&id).is_some_and(|g| !g.caught_up) {
                    self.read_logs(turn, id);
                }
            }
            self.trims_up(turn, home)?;
        }
        Ok(())
    }
}
