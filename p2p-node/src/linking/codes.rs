//! Short codes: opened, and answered step by step.

use bytes::Bytes;
use prost::Message as _;
use starling_keys::{CodeExchange, Invite, MAX_DEVICES};
use starling_wire::{
    limits::CODE_LIFETIME_S,
    rendezvous::{CodeMessage, RequestBody},
};

use super::Linking;
use crate::{
    account::{
        codes::{CodeReply, INVITE, OpenCode},
        link::OFFER,
    },
    api::{
        Reply,
        error::{CodePurpose, Invalid, NodeError, NotAllowed},
    },
    contacts::connect::{Connect, ConnectTarget},
    home::Pending,
    limits::REACH_TIMEOUT_MS,
    net::HomeId,
    turn::{EngineError, Turn},
};

impl Linking<'_> {
    /// Opens a code: for somebody to become a contact, or for another device to join our account.
    pub(crate) fn open_code(
        &mut self,
        turn: &mut Turn<'_>,
        for_device: bool,
        reply: Reply<String>,
    ) -> Result<(), EngineError> {
        let home = self.cx.homes.best_of(&self.cx.account.identity.homes).map(|h| h.peer);
        let Some(home) = home else {
            turn.reply(reply, Err(Invalid::CodeWithoutHome.into()));
            return Ok(());
        };
        let expires_ms = turn.now() + CODE_LIFETIME_S * 1000;
        if for_device && self.cx.account.other_devices().len() + 1 >= MAX_DEVICES {
            turn.reply(reply, Err(NotAllowed::TooManyDevices { max: MAX_DEVICES }.into()));
            return Ok(());
        }
        if for_device && !self.cx.account.is_admin() {
            turn.reply(reply, Err(NotAllowed::NotAdmin.into()));
            return Ok(());
        }
        if for_device && self.cx.counters.row.snapshot_pending {
            // Its first look at our contacts comes soon.
            self.cx.account.snapshot_due = Some(turn.now());
        }
        let token = if for_device {
            None
        } else {
            self.meeting().new_invite(turn, 1, turn.wall() / 1000 + CODE_LIFETIME_S)?.token
        };
        let id = turn.fresh_id();
        let gives_up_at = turn.now() + REACH_TIMEOUT_MS;
        let reply = Some(reply);
        self.cx.account.codes.push(OpenCode {
            id,
            home,
            code: None,
            token,
            attempts: 0,
            exchanges: Vec::new(),
            expires_ms,
            gives_up_at,
            reply,
        });
        self.cx.account.codes_up(turn, self.cx.homes, home);
        Ok(())
    }

    /// Answers an attempt at a code of ours: with an invite, or with the account that a device may ask to join.
    fn answer_attempt(&mut self, turn: &mut Turn<'_>, home: HomeId, id: u64, message: &CodeMessage) {
        let offer = self.cx.account.link_offer();
        let Some(open) = self.cx.account.codes.iter_mut().find(|c| c.id == id) else { return };
        open.attempts += 1;
        let (place, attempt) = (message.place, message.attempt);
        if open.attempts > open.attempts_answered() {
            // An empty reply ends the attempt at once.
            let nothing = CodeMessage { place, attempt, ..CodeMessage::default() };
            self.cx.homes.request(turn, home, RequestBody::CodeReply(nothing), Pending::Nothing);
            return;
        }
        let Some(code) = open.code.clone() else { return };
        let exchange = CodeExchange::start(&code);
        let pake = Bytes::copy_from_slice(exchange.message());
        let Ok(key) = exchange.finish(&message.pake) else { return };
        let sealed = match open.token.clone() {
            Some(token) => key.seal(INVITE, self.cx.account.own_invite(Some(token)).to_string().as_bytes()),
            None => {
                let sealed = key.seal(OFFER, &offer.encode_to_vec());
                open.exchanges.push((message.pake.clone(), key));
                sealed
            }
        };
        let reply = CodeMessage { place, attempt, pake, sealed: sealed.into(), ..CodeMessage::default() };
        self.cx.homes.request(turn, home, RequestBody::CodeReply(reply), Pending::Nothing);
    }

    /// A step of a short code: an attempt at ours, or the answer to our attempt.
    pub(crate) fn on_code(
        &mut self,
        turn: &mut Turn<'_>,
        home: HomeId,
        message: &CodeMessage,
    ) -> Result<(), EngineError> {
        let ours = self
            .cx
            .account
            .codes
            .iter_mut()
            .find(|c| c.home == home && c.code.as_ref().is_some_and(|code| code.place == message.place));
        if let Some(open) = ours {
            let (id, for_device) = (open.id, open.token.is_none());
            if message.sealed.is_empty() {
                self.answer_attempt(turn, home, id, message);
                return Ok(());
            }
            if for_device && open.exchange(&message.pake).is_some() {
                self.cx.account.on_link_request(turn, id, home, message);
                return Ok(());
            }
        }
        let Some(at) =
            self.cx.account.used_codes.iter().position(|c| c.home.peer == home && c.code.place == message.place)
        else {
            return Ok(());
        };
        let mut used = self.cx.account.used_codes.remove(at);
        let key = used.exchange.take().and_then(|exchange| exchange.finish(&message.pake).ok());
        let Some(reply) = used.reply.take() else { return Ok(()) };
        let opens = |context: &[u8]| key.as_ref().and_then(|key| key.open(context, &message.sealed).ok());
        let wrong = |wanted: CodePurpose, other: CodePurpose, misused: bool| {
            NodeError::NotAllowed(if misused { NotAllowed::CodeIsFor(other) } else { NotAllowed::WrongCode(wanted) })
        };
        let reply = match reply {
            CodeReply::Contact(reply) => reply,
            CodeReply::Account(joiner) => {
                let misused = opens(INVITE).is_some();
                let error = wrong(CodePurpose::Device, CodePurpose::Contact, misused);
                return self.cx.account.on_join_message(turn, self.cx.homes, used, joiner, key, message, error);
            }
        };
        let opened = opens(INVITE);
        let misused = opened.is_none() && opens(OFFER).is_some();
        let invite = opened.and_then(|link| std::str::from_utf8(&link).ok()?.parse::<Invite>().ok());
        let Some(invite) = invite else {
            turn.reply(reply, Err(wrong(CodePurpose::Contact, CodePurpose::Device, misused)));
            return Ok(());
        };
        let until = turn.now() + REACH_TIMEOUT_MS;
        let connect = Connect {
            token: invite.token,
            reply: Some(reply),
            ..Connect::to(ConnectTarget::Account(invite.address.account), invite.address.homes, until)
        };
        if let Err(error) = self.meeting().connect(turn, connect) {
            tracing::error!(%error, "cannot use a code");
        }
        Ok(())
    }
}
