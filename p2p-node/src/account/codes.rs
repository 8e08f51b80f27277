//! Short codes: a key exchange with a weak secret over a rendezvous, which ends in an invite, or in another device of our account.

use bytes::Bytes;
use starling_keys::{AccountId, CodeExchange, Invite, InviteToken, MAX_DEVICES, RendezvousAddr, ShortCode};
use starling_wire::{
    inbox::DeviceLink,
    limits::{CODE_FAILURES, CODE_LIFETIME_S},
    rendezvous::{CodeMessage, Refusal, RequestBody},
};

use super::Account;
use crate::api::error::{CodePurpose, Invalid, NodeError, NotAllowed, NotFound, Unreachable};
use crate::{
    account::pending::AccountPending,
    api::Reply,
    api::types::TransientEvent,
    contacts::connect::{Connect, ConnectTarget},
    engine::Engine,
    home::Homes,
    home::Pending,
    limits::REACH_TIMEOUT_MS,
    net::HomeId,
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
    /// Its place at the rendezvous was given back: it may be another code's.
    closed: bool,
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
    pub reply: Option<CodeReply>,
}

impl OpenCode {
    /// How many attempts are answered: who links a device gets no second one.
    fn attempts_answered(&self) -> u32 {
        if self.token.is_some() { CODE_FAILURES } else { 1 }
    }
}

/// Who waits for what a code leads to.
#[derive(Debug)]
pub enum CodeReply {
    /// For a contact.
    Contact(Reply<AccountId>),
    /// For the account that this device is to join.
    Account(Reply<DeviceLink>),
}

/// Under what an invite, or an account, is sealed with the key of a code: one is not taken for the other.
const INVITE: &[u8] = b"invite";
const ACCOUNT: &[u8] = b"account";

impl Account {
    /// A server is gone: it has forgotten the places of our short codes.
    pub fn codes_lost(&mut self, home: &HomeId) {
        for open in self.codes.iter_mut().filter(|c| c.home == *home && c.code.is_some()) {
            open.expires_ms = 0;
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
            homes.request(turn, home, RequestBody::CodeTry(message), AccountPending::TryCode(id));
        }
    }

    /// A server has given a code of ours its place.
    pub(super) fn code_opened(&mut self, turn: &mut Turn<'_>, id: u64, place: u32) {
        if let Some(open) = self.codes.iter_mut().find(|c| c.id == id) {
            let code = ShortCode::generate(place);
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
                turn.reply(reply, Err(NotAllowed::NoCode(reason).into()));
            }
        }
    }

    pub(crate) fn end_code(&mut self, turn: &mut Turn<'_>, homes: &mut Homes, open: &OpenCode, used: bool) {
        if let Some(code) = &open.code {
            if !open.closed {
                homes.request(turn, open.home, RequestBody::CodeClose(code.place), Pending::Nothing);
            }
            turn.live(TransientEvent::CodeEnded { code: code.to_string(), used });
        }
    }

    /// An invite was used: the code that leads to it has done its work.
    pub(crate) fn end_code_of(&mut self, turn: &mut Turn<'_>, homes: &mut Homes, token: &[u8]) {
        if let Some(at) = self.codes.iter().position(|c| c.token.as_ref().is_some_and(|t| t.0 == token)) {
            let code = self.codes.remove(at);
            self.end_code(turn, homes, &code, true);
        }
    }

    /// A device of ours was linked: the code that it used has done its work.
    pub(crate) fn end_device_codes(&mut self, turn: &mut Turn<'_>, homes: &mut Homes) {
        let used: Vec<OpenCode> = self.codes.extract_if(.., |c| c.token.is_none() && c.code.is_some()).collect();
        for open in used {
            self.end_code(turn, homes, &open, true);
        }
    }

    fn code_answer(&mut self, turn: &mut Turn<'_>, reply: CodeReply, error: NodeError) {
        match reply {
            CodeReply::Contact(reply) => turn.reply(reply, Err(error)),
            CodeReply::Account(reply) => turn.reply(reply, Err(error)),
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
        let Some(home) = home.or_else(|| self.identity.homes.first().cloned()) else {
            return self.code_answer(turn, reply, Invalid::CodeWithoutRendezvous.into());
        };
        let id = turn.fresh_id();
        let peer = home.peer;
        self.used_codes.push(UsedCode {
            id,
            code,
            home,
            exchange: None,
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

    /// What makes another device one of our account.
    fn device_link(&self) -> DeviceLink {
        DeviceLink {
            account_seed: self.identity.account_key.seed().to_vec(),
            name: self.identity.row.name.clone(),
            bot: self.identity.row.bot,
            homes: self.identity.homes.iter().map(ToString::to_string).collect(),
            username: self.identity.row.username.clone(),
            list_version: self.list().map_or(0, |l| l.version),
            full_name: String::new(),
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
            .map(|(i, _)| i)
            .collect();
        for at in burnt {
            // The third answer may have been right: it is given half a minute.
            self.codes[at].expires_ms = now + 30_000;
        }
    }
}

impl Engine {
    /// Opens a code: for somebody to become a contact, or for another device to join our account.
    pub(crate) fn open_code(
        &mut self,
        turn: &mut Turn<'_>,
        for_device: bool,
        reply: Reply<String>,
    ) -> Result<(), EngineError> {
        let home = self.account.identity.homes.first().map(|h| h.peer);
        let Some(home) = home else {
            turn.reply(reply, Err(Invalid::CodeWithoutHome.into()));
            return Ok(());
        };
        let expires_ms = turn.now() + CODE_LIFETIME_S * 1000;
        if for_device && self.account.other_devices().len() + 1 >= MAX_DEVICES {
            turn.reply(reply, Err(NotAllowed::TooManyDevices { max: MAX_DEVICES }.into()));
            return Ok(());
        }
        if for_device && self.counters.row.snapshot_owed {
            // Its first look at our contacts comes soon.
            self.account.snapshot_due = Some(turn.now());
        }
        let token =
            if for_device { None } else { self.new_invite(turn, 1, turn.wall() / 1000 + CODE_LIFETIME_S)?.token };
        let id = turn.fresh_id();
        let gives_up_at = turn.now() + REACH_TIMEOUT_MS;
        let reply = Some(reply);
        self.account.codes.push(OpenCode {
            id,
            home,
            code: None,
            token,
            attempts: 0,
            closed: false,
            expires_ms,
            gives_up_at,
            reply,
        });
        self.account.codes_up(turn, &mut self.homes, home);
        Ok(())
    }

    /// A step of a short code: an attempt at ours, or the answer to our attempt.
    pub(crate) fn on_code(&mut self, turn: &mut Turn<'_>, home: HomeId, message: &CodeMessage) {
        let ours =
            self.account.codes.iter_mut().find(|c| {
                c.home == home && !c.closed && c.code.as_ref().is_some_and(|code| code.place == message.place)
            });
        if let Some(open) = ours
            && message.sealed.is_empty()
        {
            open.attempts += 1;
            let (answered, token) = (open.attempts <= open.attempts_answered(), open.token.clone());
            let Some(code) = open.code.clone() else { return };
            open.closed = token.is_none();
            if answered {
                let exchange = CodeExchange::start(&code);
                let pake = Bytes::copy_from_slice(exchange.message());
                let Ok(key) = exchange.finish(&message.pake) else {
                    return;
                };
                let for_device = token.is_none();
                let sealed = match token {
                    Some(token) => key.seal(INVITE, self.own_invite(Some(token)).to_string().as_bytes()),
                    None => key.seal(ACCOUNT, &self.account.device_link().to_bytes()),
                };
                let (place, attempt) = (message.place, message.attempt);
                let reply = CodeMessage { place, attempt, pake, sealed: sealed.into() };
                self.homes.request(turn, home, RequestBody::CodeReply(reply), Pending::Nothing);
                if for_device {
                    self.homes.request(turn, home, RequestBody::CodeClose(place), Pending::Nothing);
                }
            }
            return;
        }
        let Some(at) =
            self.account.used_codes.iter().position(|c| c.home.peer == home && c.code.place == message.place)
        else {
            return;
        };
        let mut used = self.account.used_codes.remove(at);
        let (Some(exchange), Some(reply)) = (used.exchange.take(), used.reply.take()) else {
            return;
        };
        let context = if matches!(reply, CodeReply::Contact(_)) { INVITE } else { ACCOUNT };
        let other = if context == INVITE { ACCOUNT } else { INVITE };
        let key = exchange.finish(&message.pake).ok();
        let open = |context: &[u8]| key.as_ref().and_then(|key| key.open(context, &message.sealed).ok());
        let opened = open(context);
        let misused = opened.is_none() && open(other).is_some();
        let wrong = || {
            NodeError::NotAllowed(match (context, misused) {
                (INVITE, false) => NotAllowed::WrongCode(CodePurpose::Contact),
                (_, false) => NotAllowed::WrongCode(CodePurpose::Device),
                (INVITE, true) => NotAllowed::CodeIsFor(CodePurpose::Device),
                (_, true) => NotAllowed::CodeIsFor(CodePurpose::Contact),
            })
        };
        let reply = match reply {
            CodeReply::Contact(reply) => reply,
            CodeReply::Account(reply) => {
                let link = opened.and_then(|plain| DeviceLink::from_bytes(&plain).ok());
                return turn.reply(reply, link.ok_or_else(wrong));
            }
        };
        let invite = opened.and_then(|link| std::str::from_utf8(&link).ok()?.parse::<Invite>().ok());
        let Some(invite) = invite else {
            return turn.reply(reply, Err(wrong()));
        };
        let until = turn.now() + REACH_TIMEOUT_MS;
        let connect = Connect {
            token: invite.token,
            reply: Some(reply),
            ..Connect::to(ConnectTarget::Account(invite.address.account), invite.address.homes, until)
        };
        if let Err(error) = self.connect(turn, connect) {
            tracing::error!(%error, "cannot use a code");
        }
    }
}
