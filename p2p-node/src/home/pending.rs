//! Requests to rendezvous servers, refusals of them, and when they are made again.

use starling_wire::{
    Puzzle,
    rendezvous::{self, Refusal, RequestBody},
};

use super::{HomeState, Homes, LogPending, Pending};
use crate::{
    limits::{MAX_RETRY_MS, RETRY_REFUSED_MS},
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
    /// When the same may be asked again, in steady time: when the server says, within bounds.
    pub again_at: u64,
    /// The server has said when: what waits for its logs is asked then, and nothing else.
    pub is_paced: bool,
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
    pub(crate) fn on_not_registered(&mut self, refused: &Refused) {
        if let Some(state) = self.servers.get_mut(&refused.home).filter(|home| home.own && home.registered) {
            state.registered = false;
            self.retry_later(refused);
        }
    }

    /// A server has refused a request.
    pub fn refused(&mut self, now: u64, home: HomeId, pending: &Pending, said: &rendezvous::Refused) -> Refused {
        let reason = Refusal::try_from(said.reason).unwrap_or(Refusal::Internal);
        let rendezvous::Refused { retry_after_ms, work_bits, .. } = *said;
        // Each visit to another's server is a connection of its own: they are not begun one after the other.
        let says_when = reason == Refusal::RateLimited && retry_after_ms > 0 && !self.is_visited(&home);
        let paced = self.servers.get_mut(&home).filter(|_| says_when && pending.is_urgent());
        let (is_paced, again_at) = match paced {
            Some(state) => (true, state.log_pace.refused(now, retry_after_ms)),
            None => (false, now.saturating_add(retry_after_ms.clamp(RETRY_REFUSED_MS, MAX_RETRY_MS))),
        };
        Refused { home, reason, retry_after_ms, work_bits, again_at, is_paced }
    }

    /// A server has answered a request.
    pub fn answered(&mut self, now: u64, home: HomeId, pending: &Pending) {
        if let Some(state) = self.servers.get_mut(&home).filter(|_| pending.is_urgent()) {
            state.log_pace.answered(now);
        }
    }

    /// Until when a server is asked for no pages of logs, as it was asked too often.
    pub fn logs_rest_until(&self, now: u64, home: &HomeId) -> Option<u64> {
        self.servers.get(home).map(|state| state.log_pace.until()).filter(|until| *until > now)
    }

    /// What a server has refused for now is looked at again when it says, but not at once.
    pub fn retry_later(&mut self, refused: &Refused) {
        match refused.is_paced {
            true => self.retry_logs_at(refused.home, refused.again_at),
            false => self.retry_at(refused.home, refused.again_at),
        }
    }
}
