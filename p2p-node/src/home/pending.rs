//! Requests to rendezvous servers that are not answered yet. What each was for, and what its answer, its refusal or its loss means, is its
//! capability's; here they are only routed.

use starling_wire::{
    CallId, Puzzle,
    rendezvous::{Refusal, RequestBody, Response, ResponseBody},
};

use super::{HomeState, Homes, inbox::HomePending};
use crate::{
    account::pending::AccountPending,
    contacts::pending::ContactPending,
    conversation::pending::LogPending,
    engine::Engine,
    limits::RETRY_REFUSED_MS,
    net::{HomeId, NetCommand, WorkFor},
    turn::{Effect, EngineError, Turn},
};

/// What a request was for.
#[derive(Debug)]
pub enum Pending {
    /// Nobody waits for the answer.
    Nothing,
    Account(AccountPending),
    Contact(ContactPending),
    Log(LogPending),
    Home(HomePending),
    /// STUN and TURN servers for a call.
    CallServers(CallId),
}

impl Pending {
    /// Who has asked, for the log.
    fn capability(&self) -> &'static str {
        match self {
            Self::Nothing => "nobody",
            Self::Account(_) => "account",
            Self::Contact(_) => "contacts",
            Self::Log(_) => "conversation",
            Self::Home(_) => "home",
            Self::CallServers(_) => "calls",
        }
    }

    /// Whether others get something of ours by it: then who wants to stop waits for its answer.
    pub fn delivers(&self) -> bool {
        match self {
            Self::Account(pending) => matches!(pending, AccountPending::PutSnapshot),
            Self::Log(pending) => matches!(pending, LogPending::Append(_) | LogPending::Trim(_)),
            Self::Home(pending) => matches!(pending, HomePending::OutboundItem(_)),
            Self::Nothing | Self::Contact(_) | Self::CallServers(_) => false,
        }
    }
}

impl From<AccountPending> for Pending {
    fn from(pending: AccountPending) -> Self {
        Self::Account(pending)
    }
}

impl From<ContactPending> for Pending {
    fn from(pending: ContactPending) -> Self {
        Self::Contact(pending)
    }
}

impl From<LogPending> for Pending {
    fn from(pending: LogPending) -> Self {
        Self::Log(pending)
    }
}

impl From<HomePending> for Pending {
    fn from(pending: HomePending) -> Self {
        Self::Home(pending)
    }
}

/// A server's refusal of a request.
#[derive(Clone, Copy, Debug)]
pub struct Refused {
    pub home: HomeId,
    pub reason: Refusal,
    /// How long the server asks us to wait, in milliseconds.
    pub retry_after_ms: u64,
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

    /// What a server has refused for now is looked at again when it says, but not at once.
    pub fn retry_later(&mut self, turn: &Turn<'_>, refused: &Refused) {
        self.retry_at(refused.home, turn.now() + refused.retry_after_ms.max(RETRY_REFUSED_MS));
    }
}

impl Engine {
    /// Something came from a server: the answer to a request, or what it sends by itself.
    pub(crate) fn on_response(
        &mut self,
        turn: &mut Turn<'_>,
        home: HomeId,
        response: Response,
    ) -> Result<(), EngineError> {
        let Some(answer) = response.body else {
            return Ok(());
        };
        if response.id == 0 {
            return self.on_push(turn, home, answer);
        }
        let Some(pending) = self.homes.servers.get_mut(&home).and_then(|h| h.pending.remove(&response.id)) else {
            return Ok(());
        };
        let span = tracing::debug_span!("response", request = response.id, of = pending.capability());
        let _entered = span.enter();
        if let ResponseBody::Refused(refused) = answer {
            let reason = Refusal::try_from(refused.reason).unwrap_or(Refusal::Internal);
            tracing::debug!(?reason, "refused");
            return self.on_refusal(turn, pending, &Refused { home, reason, retry_after_ms: refused.retry_after_ms });
        }
        match pending {
            Pending::Nothing => Ok(()),
            Pending::Account(pending) => self.on_account_answer(turn, home, pending, answer),
            Pending::Contact(pending) => self.on_contact_answer(turn, pending, answer),
            Pending::Log(pending) => self.on_log_answer(turn, home, pending, answer),
            Pending::Home(pending) => self.on_home_answer(turn, home, pending, answer),
            Pending::CallServers(id) => {
                if let ResponseBody::Turn(servers) = answer {
                    self.with_calls(turn, |calls, host| calls.on_servers(host, id, servers));
                }
                Ok(())
            }
        }
    }

    fn on_refusal(&mut self, turn: &mut Turn<'_>, pending: Pending, refused: &Refused) -> Result<(), EngineError> {
        match pending {
            Pending::Nothing => {}
            Pending::Account(pending) => self.account.on_account_refusal(turn, &mut self.homes, pending, refused),
            Pending::Contact(pending) => self.on_contact_refusal(turn, pending, refused)?,
            Pending::Log(pending) => self.on_log_refusal(turn, pending, refused)?,
            Pending::Home(pending) => self.on_home_refusal(turn, pending, refused)?,
            Pending::CallServers(id) => self.calls.on_servers_lost(id),
        }
        Ok(())
    }

    /// The connection broke before the answer came. What is durable is asked again when the server is back.
    pub(super) fn on_request_lost(&mut self, turn: &mut Turn<'_>, pending: Pending) {
        match pending {
            Pending::Nothing => {}
            Pending::Account(pending) => self.account.on_account_request_lost(turn, pending),
            Pending::Contact(pending) => self.contacts.on_contact_request_lost(turn, &mut self.homes, &pending),
            Pending::Log(pending) => self.conversations.on_log_request_lost(turn, pending),
            Pending::Home(pending) => self.homes.on_request_lost(pending),
            Pending::CallServers(id) => self.calls.on_servers_lost(id),
        }
    }

    fn on_push(&mut self, turn: &mut Turn<'_>, home: HomeId, answer: ResponseBody) -> Result<(), EngineError> {
        match answer {
            // A hint only: what is deleted at the server is what was read in order.
            ResponseBody::Page(page) if page.address.is_empty() => {
                self.homes.read_inbox(turn, home);
                Ok(())
            }
            ResponseBody::Page(page) => self.on_log_push(turn, home, page),
            // Another device of ours has changed it.
            ResponseBody::DeviceList(bytes) => self.on_pushed_list(turn, &bytes),
            ResponseBody::Signal(signal) => {
                if let Some((group, _)) =
                    <[u8; 32]>::try_from(&*signal.address).ok().and_then(|a| self.conversations.logs.get(&a)).copied()
                {
                    self.on_signal(turn, &group, &signal.sealed, None);
                }
                Ok(())
            }
            ResponseBody::Readers(readers) => {
                self.on_readers(turn, &readers.address, readers.others);
                Ok(())
            }
            ResponseBody::Code(message) => {
                self.on_code(turn, home, &message);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
