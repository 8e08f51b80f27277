//! What the user asks of contacts.

use starling_keys::{AccountId, InviteToken, RendezvousAddr, ShortCode};
use starling_wire::limits::{MAX_GREETING, MAX_INVITE_USES};

use super::{
    connect::{Connect, ConnectTarget},
    state::checked_alias,
};
use crate::api::error::{Invalid, NodeError};
use crate::{
    account::codes::CodeReply,
    api::{
        Reply, fail,
        types::{Contact, Request},
    },
    engine::Engine,
    limits::REACH_TIMEOUT_MS,
    turn::{EngineError, Turn},
};

/// A command about contacts. Each is a method of `Node`, documented there.
#[derive(Debug)]
#[allow(missing_docs, reason = "each is a method of `Node`, documented there")]
pub enum ContactCommand {
    List(Reply<Vec<Contact>>),
    Find(String, Reply<Contact>),
    Requests(Reply<Vec<Request>>),
    Invite {
        uses: u32,
        lifetime_ms: u64,
        reply: Reply<(String, u64)>,
    },
    UseCode {
        code: String,
        home: Option<RendezvousAddr>,
        reply: Reply<AccountId>,
    },
    Connect {
        account: Option<AccountId>,
        name: Option<String>,
        homes: Vec<RendezvousAddr>,
        token: Option<InviteToken>,
        greeting: String,
        alias: String,
        reply: Reply<AccountId>,
    },
    Accept(AccountId, Reply<()>),
    Decline(AccountId, Reply<()>),
    Rename(AccountId, String, Reply<()>),
    SetVerified(AccountId, bool, Reply<()>),
    Trust(AccountId, Reply<()>),
    Block(AccountId, Reply<()>),
    Unblock(AccountId, Reply<()>),
    Remove(AccountId, Reply<()>),
}

impl ContactCommand {
    /// Whether a device that its account has given up may still do this.
    pub(crate) fn is_allowed_after_removal(&self) -> bool {
        match self {
            Self::List(_) | Self::Find(..) | Self::Requests(_) => true,
            Self::Invite { .. }
            | Self::UseCode { .. }
            | Self::Connect { .. }
            | Self::Accept(..)
            | Self::Decline(..)
            | Self::Rename(..)
            | Self::SetVerified(..)
            | Self::Trust(..)
            | Self::Block(..)
            | Self::Unblock(..)
            | Self::Remove(..) => false,
        }
    }

    /// Fails the command.
    pub(crate) fn refuse(self, error: NodeError) {
        match self {
            Self::List(reply) => fail(reply, error),
            Self::Find(_, reply) => fail(reply, error),
            Self::Requests(reply) => fail(reply, error),
            Self::Invite { reply, .. } => fail(reply, error),
            Self::UseCode { reply, .. } | Self::Connect { reply, .. } => fail(reply, error),
            Self::Accept(_, reply)
            | Self::Decline(_, reply)
            | Self::Rename(_, _, reply)
            | Self::SetVerified(_, _, reply)
            | Self::Trust(_, reply)
            | Self::Block(_, reply)
            | Self::Unblock(_, reply)
            | Self::Remove(_, reply) => fail(reply, error),
        }
    }
}

impl Engine {
    pub(crate) fn on_contact_command(
        &mut self,
        turn: &mut Turn<'_>,
        command: ContactCommand,
    ) -> Result<(), EngineError> {
        let (reply, result) = match command {
            ContactCommand::List(reply) => {
                let contacts = self.contacts.people.keys().filter_map(|account| self.contact(*account)).collect();
                turn.reply(reply, Ok(contacts));
                return Ok(());
            }
            ContactCommand::Find(who, reply) => {
                let found = self.find_contact(&who);
                turn.reply(reply, found);
                return Ok(());
            }
            ContactCommand::Requests(reply) => {
                let requests = self.requests(turn)?;
                turn.reply(reply, Ok(requests));
                return Ok(());
            }
            ContactCommand::Invite { uses, lifetime_ms, reply } => {
                let invite = self.invite(turn, uses, lifetime_ms)?;
                turn.reply(reply, invite);
                return Ok(());
            }
            ContactCommand::UseCode { code, home, reply } => {
                match code.parse::<ShortCode>() {
                    Ok(code) => self.account.use_code(turn, &mut self.homes, code, home, CodeReply::Contact(reply)),
                    Err(error) => turn.reply(reply, Err(Invalid::Code(error).into())),
                }
                return Ok(());
            }
            ContactCommand::Connect { account, name, homes, token, greeting, alias, reply } => {
                let whom = match (account, name) {
                    (Some(account), _) => ConnectTarget::Account(account),
                    (None, Some(name)) => ConnectTarget::Name(name),
                    (None, None) => return Ok(()),
                };
                let alias = match checked_greeting(&greeting).and_then(|()| checked_alias(&alias)) {
                    Ok(alias) => alias,
                    Err(error) => {
                        turn.reply(reply, Err(error));
                        return Ok(());
                    }
                };
                let until = turn.now() + REACH_TIMEOUT_MS;
                let connect = Connect { token, greeting, alias, reply: Some(reply), ..Connect::to(whom, homes, until) };
                return self.connect(turn, connect);
            }
            ContactCommand::Accept(account, reply) => (reply, self.accept(turn, account)?),
            ContactCommand::Decline(account, reply) => (reply, self.decline(turn, account)?),
            ContactCommand::Rename(account, name, reply) => (reply, self.rename(turn, account, &name)?),
            ContactCommand::SetVerified(account, verified, reply) => {
                (reply, self.set_verified(turn, account, verified)?)
            }
            ContactCommand::Trust(account, reply) => (reply, self.trust(turn, account)?),
            ContactCommand::Block(account, reply) => (reply, self.block(turn, account)?),
            ContactCommand::Unblock(account, reply) => (reply, self.unblock(turn, account)?),
            ContactCommand::Remove(account, reply) => (reply, self.remove_contact(turn, account)?),
        };
        turn.reply(reply, result);
        Ok(())
    }

    /// An invite, and when it expires, in seconds since 1970.
    fn invite(
        &mut self,
        turn: &mut Turn<'_>,
        uses: u32,
        lifetime_ms: u64,
    ) -> Result<Result<(String, u64), NodeError>, EngineError> {
        let problem = if uses == 0 || uses > MAX_INVITE_USES {
            Invalid::InviteUses { max: MAX_INVITE_USES }
        } else if lifetime_ms < 1_000 {
            Invalid::InviteLifetime
        } else if self.account.identity.homes.is_empty() {
            Invalid::InviteWithoutHome
        } else {
            let expires_at = (turn.agreed_ms() + lifetime_ms) / 1000;
            return Ok(Ok((self.new_invite(turn, uses, expires_at)?.to_string(), expires_at)));
        };
        Ok(Err(problem.into()))
    }
}

fn checked_greeting(greeting: &str) -> Result<(), NodeError> {
    if greeting.len() > MAX_GREETING {
        return Err(Invalid::GreetingTooLong { max: MAX_GREETING }.into());
    }
    Ok(())
}
