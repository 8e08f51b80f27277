//! Requests to rendezvous servers, refusals of them, and when they are made again.

use starling_wire::{
    Puzzle,
    rendezvous::{Refusal, RequestBody},
};

use super::{HomeState, Homes, LogPending, Pending};
use crate::{
    limits::RETRY_REFUSED_MS,
    mls::GroupId,
    net::{HomeId, NetCommand, WorkFor},
    turn::{Effect, Turn},
};

/// A server's refusal of a request.
#[derive(Clone, Copy, Debug)]
pub struct Refused {
    pub home: HomeId,
    pub reason: Refusal,
    /// How long the server asks us to wait, in milliseconds.
    pub retry_after_ms: u64,
    /// If our work was too little: the leading zero bits that it asks for now; else 0.
    pub work_bits: u32,
}

impl Refused {
    /// Whether the server may take the same request later.
    pub fn is_busy(&self) -> bool {
        matches!(self.reason, Refusal::RateLimited | Refusal::Internal | Refusal::Full)
    }
}

impl HomeState {
    fn insert(&mut self, id: u64, pending: Pending) {
        tracing::trace!(request = id, of = pending.capability(), "sent after this turn");
        self.pending.insert(id, pending);
    }
}

impl Homes {
    /// Sends a request once the turn is durable. It is dropped if we do not use the server (any more).
    pub fn request(&mut self, turn: &mut Turn<'_>, home: HomeId, ask: RequestBody, pending: impl Into<Pending>) {
        let id = turn.fresh_id();
        if let Some(state) = self.servers.get_mut(&home) {
            state.insert(id, pending.into());
            turn.emit(Effect::Net(NetCommand::Request(home, id, ask)));
        }
    }

    /// Sends a request with the work that the server asks for; the work is done outside of the engine.
    pub fn request_with_work(
        &mut self,
        turn: &mut Turn<'_>,
        home: HomeId,
        puzzle: Puzzle,
        work: WorkFor,
        pending: impl Into<Pending>,
    ) {
        let id = turn.fresh_id();
        if let Some(state) = self.servers.get_mut(&home) {
            state.insert(id, pending.into());
            turn.emit(Effect::Net(NetCommand::RequestWithWork(home, id, puzzle, work)));
        }
    }

    /// Answers about the logs of a group in epochs after this one mean nothing any more, but for appends, which the log has taken all the same.
    pub fn forget_log_requests(&mut self, home: HomeId, group: GroupId, epoch: u64) {
        let is_lost = |pending: &Pending| match pending {
            Pending::Log(LogPending::Read(id, read)) => *id == group && *read > epoch,
            Pending::Log(LogPending::Commit(id) | LogPending::Parts(id, ..)) => *id == group,
            _ => false,
        };
        if let Some(state) = self.servers.get_mut(&home) {
            state.pending.retain(|_, pending| !is_lost(pending));
        }
    }

    /// A home does not know this device as one of an account any more: after a while it is told again what we have, and then says what it has itself.
    /// That we were removed may have been hidden from us.
    pub(crate) fn on_not_registered(&mut self, turn: &Turn<'_>, refused: &Refused) {
        if let Some(state) = self.servers.get_mut(&refused.home).filter(|home| home.own && home.registered) {
            state.registered = false;
            self.retry_later(turn, refused);
        }
    }

    /// What a server has refused for now is looked at again when it says, but not at once.
    pub fn retry_later(&mut self, turn: &Turn<'_>, refused: &Refused) {
        self.retry_at(refused.home, turn.now() + refused.retry_after_ms.max(RETRY_REFUSED_MS));
    }
}
