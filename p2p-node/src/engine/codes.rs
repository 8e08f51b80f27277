//! Short codes: a key exchange with a weak secret over a rendezvous, which ends in an invite.

use bytes::Bytes;
use starling_keys::{AccountId, CodeExchange, Invite, InviteToken, RendezvousAddr, ShortCode};
use starling_wire::{
    limits::{CODE_FAILURES, CODE_LIFETIME_S},
    rendezvous::{Ask, CodeMessage, Refusal},
};

use super::{
    Engine, EngineError, Reply,
    contacts::{Connect, Whom},
    homes::Asked,
};
use crate::{
    limits::REACH_TIMEOUT_MS,
    net::HomeId,
    store::Txn,
    types::{Live, NodeError},
};

/// A short code that we gave.
pub struct OpenCode {
    pub id: u64,
    pub home: HomeId,
    pub code: Option<ShortCode>,
    pub token: InviteToken,
    pub attempts: u32,
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
    pub gives_up_at: u64,
    pub reply: Option<Reply<AccountId>>,
}

impl Engine {
    pub(super) fn open_code(&mut self, txn: &Txn<'_>, reply: Reply<String>) -> Result<(), EngineError> {
        let home = self.me.homes.first().map(|h| h.peer);
        let Some(home) = home else {
            self.reply(reply, Err(NodeError::Invalid("a short code needs a home rendezvous".into())));
            return Ok(());
        };
        let expires_ms = self.now + CODE_LIFETIME_S * 1000;
        let Some(token) = self.new_invite(txn, 1, self.wall / 1000 + CODE_LIFETIME_S)?.token else {
            return Ok(());
        };
        let id = self.fresh_id();
        let gives_up_at = self.now + REACH_TIMEOUT_MS;
        let reply = Some(reply);
        self.codes.push(OpenCode { id, home, code: None, token, attempts: 0, expires_ms, gives_up_at, reply });
        self.codes_up(home);
        Ok(())
    }

    pub(super) fn codes_up(&mut self, home: HomeId) {
        let Some(state) = self.homes.get(&home).filter(|h| h.hello.is_some()) else {
            return;
        };
        if state.registered {
            let waiting: Vec<u64> =
                self.codes.iter().filter(|c| c.home == home && c.code.is_none()).map(|c| c.id).collect();
            for id in waiting {
                self.ask(home, Ask::CodeOpen(true), Asked::CodeOpen(id));
            }
        }
        let waiting: Vec<(u64, CodeMessage)> = self
            .used_codes
            .iter_mut()
            .filter(|c| c.home.peer == home && c.exchange.is_none())
            .map(|c| {
                let exchange = CodeExchange::start(&c.code);
                let message = CodeMessage {
                    place: c.code.place,
                    pake: Bytes::copy_from_slice(exchange.message()),
                    ..CodeMessage::default()
                };
                c.exchange = Some(exchange);
                (c.id, message)
            })
            .collect();
        for (id, message) in waiting {
            self.ask(home, Ask::CodeTry(message), Asked::CodeTry(id));
        }
    }

    pub(super) fn code_opened(&mut self, txn: &Txn<'_>, _: HomeId, id: u64, place: u32) -> Result<(), EngineError> {
        let _ = txn;
        if let Some(open) = self.codes.iter_mut().find(|c| c.id == id) {
            let code = ShortCode::generate(place);
            let text = code.to_string();
            open.code = Some(code);
            if let Some(reply) = open.reply.take() {
                self.reply(reply, Ok(text));
            }
        }
        Ok(())
    }

    pub(super) fn code_failed(&mut self, id: u64, reason: Refusal) {
        if let Some(at) = self.codes.iter().position(|c| c.id == id) {
            let mut open = self.codes.remove(at);
            if let Some(reply) = open.reply.take() {
                self.reply(
                    reply,
                    Err(NodeError::Refused(format!("the rendezvous gives no short code now: {reason:?}"))),
                );
            }
        }
    }

    pub(super) fn end_code(&mut self, open: &OpenCode, used: bool) {
        if let Some(code) = &open.code {
            self.ask(open.home, Ask::CodeClose(code.place), Asked::Nothing);
            self.live(Live::CodeEnded { code: code.to_string(), used });
        }
    }

    pub(super) fn use_code(&mut self, code: ShortCode, home: Option<RendezvousAddr>, reply: Reply<AccountId>) {
        let Some(home) = home.or_else(|| self.me.homes.first().cloned()) else {
            return self.reply(reply, Err(NodeError::Invalid("a short code needs a rendezvous".into())));
        };
        let id = self.fresh_id();
        let peer = home.peer;
        self.used_codes.push(UsedCode {
            id,
            code,
            home,
            exchange: None,
            gives_up_at: self.now + REACH_TIMEOUT_MS,
            reply: Some(reply),
        });
        self.net_changed = true;
        self.codes_up(peer);
    }

    pub(super) fn code_try_refused(&mut self, id: u64, reason: Refusal) {
        if let Some(at) = self.used_codes.iter().position(|c| c.id == id) {
            let mut used = self.used_codes.remove(at);
            self.net_changed = true;
            if let Some(reply) = used.reply.take() {
                let error = match reason {
                    Refusal::RateLimited => NodeError::RateLimited { retry_after_ms: 10_000 },
                    _ => NodeError::NotFound(
                        "there is no such code: it is used, burnt by wrong guesses, or older than ten minutes".into(),
                    ),
                };
                self.reply(reply, Err(error));
            }
        }
    }

    /// A step of a short code: an attempt at ours, or the answer to our attempt.
    pub(super) fn on_code(&mut self, txn: &Txn<'_>, home: HomeId, message: &CodeMessage) {
        let ours = self
            .codes
            .iter_mut()
            .find(|c| c.home == home && c.code.as_ref().is_some_and(|code| code.place == message.place));
        if let Some(open) = ours
            && message.sealed.is_empty()
        {
            open.attempts += 1;
            let (attempts, token) = (open.attempts, open.token.clone());
            let Some(code) = open.code.clone() else { return };
            if attempts <= CODE_FAILURES {
                let exchange = CodeExchange::start(&code);
                let pake = Bytes::copy_from_slice(exchange.message());
                let Ok(key) = exchange.finish(&message.pake) else {
                    return;
                };
                let link = self.own_invite(Some(token)).to_string();
                let reply = CodeMessage {
                    place: message.place,
                    attempt: message.attempt,
                    pake,
                    sealed: key.seal(b"invite", link.as_bytes()).into(),
                };
                self.ask(home, Ask::CodeReply(reply), Asked::Nothing);
            }
            return;
        }
        let Some(at) = self.used_codes.iter().position(|c| c.home.peer == home && c.code.place == message.place) else {
            return;
        };
        let mut used = self.used_codes.remove(at);
        let (Some(exchange), Some(reply)) = (used.exchange.take(), used.reply.take()) else {
            return;
        };
        let invite = exchange
            .finish(&message.pake)
            .ok()
            .and_then(|key| key.open(b"invite", &message.sealed).ok())
            .and_then(|link| std::str::from_utf8(&link).ok()?.parse::<Invite>().ok());
        let Some(invite) = invite else {
            let why = "the code is wrong: check it, or ask for a new one (three wrong guesses burn it)";
            return self.reply(reply, Err(NodeError::Refused(why.into())));
        };
        let connect = Connect {
            whom: Whom::Account(invite.address.account),
            homes: invite.address.homes,
            token: invite.token,
            greeting: String::new(),
            alias: String::new(),
            called: String::new(),
            list: None,
            claimed: Vec::new(),
            asked: false,
            gives_up_at: self.now + REACH_TIMEOUT_MS,
            reply: Some(reply),
        };
        if let Err(error) = self.connect(txn, connect) {
            tracing::error!(%error, "cannot use a code");
        }
    }

    /// Codes that are too old or were tried too often.
    pub(super) fn expire_codes(&mut self) {
        let now = self.now;
        while let Some(at) = self.used_codes.iter().position(|c| c.gives_up_at <= now) {
            let mut used = self.used_codes.remove(at);
            self.net_changed = true;
            if let Some(reply) = used.reply.take() {
                self.reply(
                    reply,
                    Err(NodeError::Unreachable("nobody answers: both sides have to be online for a short code".into())),
                );
            }
        }
        let ended = |c: &OpenCode| {
            c.expires_ms <= now || c.attempts > CODE_FAILURES || (c.code.is_none() && c.gives_up_at <= now)
        };
        while let Some(at) = self.codes.iter().position(ended) {
            let mut open = self.codes.remove(at);
            if let Some(reply) = open.reply.take() {
                let problem = "our rendezvous cannot be reached, and a short code needs it: see `starling doctor`";
                self.reply(reply, Err(NodeError::Unreachable(problem.into())));
            }
            self.end_code(&open, false);
        }
        let burnt: Vec<usize> = self
            .codes
            .iter()
            .enumerate()
            .filter(|(_, c)| c.attempts >= CODE_FAILURES && c.expires_ms > now + 30_000)
            .map(|(i, _)| i)
            .collect();
        for at in burnt {
            // The third answer may have been right: it is given half a minute.
            self.codes[at].expires_ms = now + 30_000;
        }
    }
}
