//! Short codes: a key exchange with a weak secret over a rendezvous, which ends in an invite, or in another device of our account.

use bytes::Bytes;
use starling_keys::{AccountId, CodeExchange, InviteToken, RendezvousAddr, ShortCode, StorageKey};
use starling_wire::{
    limits::CODE_FAILURES,
    rendezvous::{CodeMessage, Refusal, RequestBody},
};

use super::{
    Account,
    limits::LINK_TIMEOUT_MS,
    link::{Joiner, look_up_joined},
};
use crate::api::error::{Invalid, NodeError, NotAllowed, NotFound, Unreachable};
use crate::{
    account::pending::AccountPending,
    api::{Reply, types::TransientEvent},
    home::{Homes, Pending, Subject},
    limits::REACH_TIMEOUT_MS,
    net::HomeId,
    store::META,
    turn::{EngineError, Fact, Turn},
};

/// A short code that we gave.
pub struct OpenCode {
    pub id: u64,
    pub home: HomeId,
    pub code: Option<ShortCode>,
    /// Of the invite that it leads to; without one it leads into our account.
    pub token: Option<InviteToken>,
    pub attempts: u32,
    /// The key exchanges of those who have tried to link a device, by their messages.
    pub exchanges: Vec<(Bytes, StorageKey)>,
    pub expires_ms: u64,
    /// Until when a place at the rendezvous is waited for.
    pub gives_up_at: u64,
    pub reply: Option<Reply<String>>,
}

/// A short code that somebody gave us.
pub struct UsedCode {
    pub id: u64,
    pub code: ShortCode,
    pub home: RendezvousAddr,
    pub exchange: Option<CodeExchange>,
    /// Our message in that exchange.
    pub pake: Bytes,
    pub gives_up_at: u64,
    pub reply: Option<CodeReply>,
}

impl OpenCode {
    /// How many attempts are answered: who links a device gets no second one.
    pub(crate) fn attempts_answered(&self) -> u32 {
        if self.token.is_some() { CODE_FAILURES } else { 1 }
    }

    /// The key that was exchanged with whose message this was.
    pub(crate) fn exchange(&self, pake: &[u8]) -> Option<&StorageKey> {
        self.exchanges.iter().find(|(theirs, _)| theirs == pake).map(|(_, key)| key)
    }
}

/// Who waits for what a code leads to.
pub enum CodeReply {
    /// For a contact.
    Contact(Reply<AccountId>),
    /// For the account that this device is to join.
    Account(Box<Joiner>),
}

/// Under what an invite is sealed with the key of a code.
pub(crate) const INVITE: &[u8] = b"invite";

impl Account {
    /// A server is gone: it has forgotten the places of our short codes.
    pub fn codes_lost(&mut self, home: &HomeId) {
        for open in self.codes.iter_mut().filter(|c| c.home == *home && c.code.is_some()) {
            open.expires_ms = 0;
        }
        for used in self.used_codes.iter_mut().filter(|used| used.home.peer == *home) {
            if let Some(CodeReply::Account(joiner)) = &mut used.reply {
                joiner.lose_answer();
            }
        }
    }
}

impl Account {
    pub(crate) fn codes_up(&mut self, turn: &mut Turn<'_>, homes: &mut Homes, home: HomeId) {
        let Some(state) = homes.servers.get(&home).filter(|h| h.hello.is_some()) else {
            return;
        };
        if state.registered {
            let waiting: Vec<u64> =
                self.codes.iter().filter(|c| c.home == home && c.code.is_none()).map(|c| c.id).collect();
            for id in waiting {
                homes.request(turn, home, RequestBody::CodeOpen(true), AccountPending::OpenCode(id));
            }
        }
        let waiting: Vec<(u64, CodeMessage)> = self
            .used_codes
            .iter_mut()
            .filter(|c| c.home.peer == home && c.exchange.is_none() && !c.is_connected())
            .filter(|c| homes.serves(&home, &Subject::Code(c.id)))
            .map(|c| {
                let exchange = CodeExchange::start(&c.code);
                let message = CodeMessage {
                    place: c.code.place,
                    pake: Bytes::copy_from_slice(exchange.message()),
                    ..CodeMessage::default()
                };
                (c.exchange, c.pake) = (Some(exchange), message.pake.clone());
                (c.id, message)
            })
            .collect();
        for (id, message) in waiting {
            homes.request(turn, home, RequestBody::CodeTry(message), AccountPending::TryCode(id));
        }
        for used in self.used_codes.iter_mut().filter(|c| c.home.peer == home) {
            if let Some(CodeReply::Account(joiner)) = &used.reply
                && let Some(account) = joiner.looks_up()
            {
                look_up_joined(turn, homes, used, account);
            }
        }
    }

    /// A server has given a code of ours its place.
    pub(crate) fn code_opened(&mut self, turn: &mut Turn<'_>, id: u64, place: u32) {
        if let Some(open) = self.codes.iter_mut().find(|c| c.id == id) {
            let for_device = open.token.is_none();
            let code = if for_device { ShortCode::generate_for_device(place) } else { ShortCode::generate(place) };
            let text = code.to_string();
            open.code = Some(code);
            if let Some(reply) = open.reply.take() {
                turn.reply(reply, Ok(text));
            }
        }
    }

    pub(crate) fn code_failed(&mut self, turn: &mut Turn<'_>, id: u64, reason: Refusal) {
        if let Some(at) = self.codes.iter().position(|c| c.id == id) {
            let mut open = self.codes.remove(at);
            if let Some(reply) = open.reply.take() {
                let error = match reason {
                    Refusal::RateLimited => NotAllowed::TooManyCodes,
                    reason => NotAllowed::NoCode(reason),
                };
                turn.reply(reply, Err(error.into()));
            }
        }
    }

    pub(crate) fn end_code(&mut self, turn: &mut Turn<'_>, homes: &mut Homes, open: &OpenCode, used: bool) {
        // While the place is open: they get an answer.
        self.drop_candidates(turn, homes, open.id);
        if let Some(code) = &open.code {
            homes.request(turn, open.home, RequestBody::CodeClose(code.place), Pending::Nothing);
            turn.transient_event(TransientEvent::CodeEnded { code: code.to_string(), used });
        }
    }

    /// Ends a code that we gave.
    pub(crate) fn end_code_numbered(&mut self, turn: &mut Turn<'_>, homes: &mut Homes, id: u64, used: bool) {
        if let Some(at) = self.codes.iter().position(|c| c.id == id) {
            let code = self.codes.remove(at);
            self.end_code(turn, homes, &code, used);
        }
    }

    /// A code that somebody gave us has done its work, or is given up.
    pub(super) fn take_used(&mut self, turn: &mut Turn<'_>, id: u64) -> Option<UsedCode> {
        let at = self.used_codes.iter().position(|c| c.id == id)?;
        turn.fact(Fact::ReachChanged);
        Some(self.used_codes.remove(at))
    }

    /// An invite was used: the code that leads to it has done its work.
    pub(crate) fn end_code_of(&mut self, turn: &mut Turn<'_>, homes: &mut Homes, token: &[u8]) {
        if let Some(at) = self.codes.iter().position(|c| c.token.as_ref().is_some_and(|t| t.0 == token)) {
            let code = self.codes.remove(at);
            self.end_code(turn, homes, &code, true);
        }
    }

    /// Who has opened a code does not wait for it any more.
    pub(crate) fn withdraw_code(&mut self, turn: &mut Turn<'_>, homes: &mut Homes, code: &str) {
        let is_it = |open: &&OpenCode| open.code.as_ref().is_some_and(|c| c.to_string() == code);
        // A device that was let in is waited for: it is in the chain.
        if let Some(id) = self.codes.iter().find(is_it).map(|open| open.id)
            && !self.lets_in(id)
        {
            self.end_code_numbered(turn, homes, id, false);
        }
    }

    fn code_answer(&mut self, turn: &mut Turn<'_>, reply: CodeReply, error: NodeError) {
        match reply {
            CodeReply::Contact(reply) => turn.reply(reply, Err(error)),
            CodeReply::Account(joiner) => turn.reply(joiner.reply, Err(error)),
        }
    }

    pub(crate) fn use_code(
        &mut self,
        turn: &mut Turn<'_>,
        homes: &mut Homes,
        code: ShortCode,
        home: Option<RendezvousAddr>,
        reply: CodeReply,
    ) {
        let Some(home) = home.or_else(|| homes.best_of(&self.identity.homes).cloned()) else {
            return self.code_answer(turn, reply, Invalid::CodeWithoutRendezvous.into());
        };
        let id = turn.fresh_id();
        let peer = home.peer;
        self.used_codes.push(UsedCode {
            id,
            code,
            home,
            exchange: None,
            pake: Bytes::new(),
            gives_up_at: turn.now() + REACH_TIMEOUT_MS,
            reply: Some(reply),
        });
        turn.fact(Fact::ReachChanged);
        self.codes_up(turn, homes, peer);
    }

    pub(crate) fn code_try_refused(&mut self, turn: &mut Turn<'_>, id: u64, reason: Refusal) {
        if let Some(at) = self.used_codes.iter().position(|c| c.id == id) {
            let mut used = self.used_codes.remove(at);
            turn.fact(Fact::ReachChanged);
            if let Some(reply) = used.reply.take() {
                let error = match reason {
                    Refusal::RateLimited => NodeError::RateLimited { retry_after_ms: 10_000 },
                    _ => NotFound::Code.into(),
                };
                self.code_answer(turn, reply, error);
            }
        }
    }

    /// Codes that are too old or were tried too often.
    pub(crate) fn expire_codes(&mut self, turn: &mut Turn<'_>, homes: &mut Homes) {
        let now = turn.now();
        while let Some(at) = self.used_codes.iter().position(|c| c.gives_up_at <= now) {
            let mut used = self.used_codes.remove(at);
            turn.fact(Fact::ReachChanged);
            if let Some(reply) = used.reply.take() {
                self.code_answer(turn, reply, Unreachable::CodeOwner.into());
            }
        }
        let ended = |c: &OpenCode| {
            c.expires_ms <= now || c.attempts > CODE_FAILURES || (c.code.is_none() && c.gives_up_at <= now)
        };
        while let Some(at) = self.codes.iter().position(ended) {
            let mut open = self.codes.remove(at);
            if let Some(reply) = open.reply.take() {
                turn.reply(reply, Err(Unreachable::HomeForCode.into()));
            }
            self.end_code(turn, homes, &open, false);
        }
        let burnt: Vec<usize> = self
            .codes
            .iter()
            .enumerate()
            .filter(|(_, c)| c.attempts >= c.attempts_answered() && c.expires_ms > now + 30_000)
            .filter(|(_, c)| !self.candidates.iter().any(|candidate| candidate.code == c.id))
            .map(|(i, _)| i)
            .collect();
        for at in burnt {
            // The third answer may have been right: it is given half a minute.
            self.codes[at].expires_ms = now + 30_000;
        }
    }
}

impl UsedCode {
    /// It leads into an account, whose home becomes ours; and not to a contact.
    pub(crate) fn is_link(&self) -> bool {
        matches!(&self.reply, Some(CodeReply::Account(_)))
    }

    /// The code was right: a device that joins waits for the user of the other one.
    fn is_connected(&self) -> bool {
        matches!(&self.reply, Some(CodeReply::Account(joiner)) if joiner.is_connected())
    }
}

impl Account {
    /// The other side of a code has offered its account, or has answered.
    #[allow(clippy::too_many_arguments, reason = "the parts of one step")]
    pub(crate) fn on_join_message(
        &mut self,
        turn: &mut Turn<'_>,
        homes: &mut Homes,
        mut used: UsedCode,
        mut joiner: Box<Joiner>,
        key: Option<StorageKey>,
        message: &CodeMessage,
        wrong: NodeError,
    ) -> Result<(), EngineError> {
        if joiner.is_connected() {
            match joiner.answered(&message.sealed) {
                Ok(account) => look_up_joined(turn, homes, &mut used, account),
                Err(error) => {
                    turn.reply(joiner.reply, Err(error));
                    return Ok(());
                }
            }
        } else {
            let ask = key.and_then(|key| joiner.ask(key, &message.sealed, message.place, used.pake.clone()));
            let Some(ask) = ask else {
                turn.reply(joiner.reply, Err(wrong));
                return Ok(());
            };
            turn.put(META, b"joining", &joiner.row(&used.home))?;
            used.gives_up_at = turn.now() + LINK_TIMEOUT_MS;
            if let Some(asked) = joiner.take_asked() {
                turn.reply(asked, Ok(()));
            }
            homes.request(turn, used.home.peer, RequestBody::CodeTry(ask), AccountPending::TryCode(used.id));
        }
        used.reply = Some(CodeReply::Account(joiner));
        self.used_codes.push(used);
        Ok(())
    }
}
