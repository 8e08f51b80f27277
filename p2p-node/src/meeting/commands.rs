//! What the user asks of contacts, carried out.

use starling_keys::ShortCode;
use starling_wire::limits::{MAX_GREETING, MAX_INVITE_USES};

use super::{Meeting, decisions::checked_alias};
use crate::{
    account::codes::CodeReply,
    api::error::{Invalid, NodeError},
    contacts::{
        commands::ContactCommand,
        connect::{Connect, ConnectTarget},
    },
    limits::REACH_TIMEOUT_MS,
    turn::{EngineError, Turn},
};

impl Meeting<'_> {
    pub(crate) fn on_contact_command(
        &mut self,
        turn: &mut Turn<'_>,
        command: ContactCommand,
    ) -> Result<(), EngineError> {
        let (reply, result) = match command {
            ContactCommand::List(reply) => {
                let contacts = self.cx.contacts.people.keys().filter_map(|account| self.contact(*account)).collect();
                turn.reply(reply, Ok(contacts));
                return Ok(());
            }
            ContactCommand::Find(who, reply) => {
                let found = self.find_contact(turn, &who)?;
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
                    Ok(code) => self.cx.account.use_code(turn, self.cx.homes, code, home, CodeReply::Contact(reply)),
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
        } else if self.cx.account.identity.homes.is_empty() {
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
