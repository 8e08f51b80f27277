//! What the user asks of the account, carried out.

use super::AccountDevices;
use crate::account::commands::checked_name;
use crate::{
    account::{codes::CodeReply, commands::AccountCommand, link::Joiner},
    api::error::Invalid,
    turn::{EngineError, Turn},
};

impl AccountDevices<'_> {
    pub(crate) fn on_account_command(
        &mut self,
        turn: &mut Turn<'_>,
        command: AccountCommand,
    ) -> Result<(), EngineError> {
        match command {
            AccountCommand::OpenCode(for_device, reply) => self.linking().open_code(turn, for_device, reply)?,
            AccountCommand::CloseCode(code, reply) => {
                self.cx.account.withdraw_code(turn, self.cx.homes, &code);
                turn.reply(reply, Ok(()));
            }
            AccountCommand::AnswerLink { device, rights, history, reply } => {
                return self.linking().answer(turn, device, (rights, history), reply);
            }
            AccountCommand::Describe { name, kind, reply } => {
                let described = self.sync().describe_device(turn, &name, &kind)?;
                turn.reply(reply, described);
            }
            AccountCommand::SetRights { device, rights, reply } => {
                self.cx.account.set_rights(turn, self.cx.homes, device, rights, reply)
            }
            AccountCommand::JoinAccount { code, home, device, name, kind, asked, reply } => match code.parse() {
                Ok(code) => {
                    let joiner = CodeReply::Account(Box::new(Joiner::new(*device, (name, kind), asked, reply)));
                    self.cx.account.use_code(turn, self.cx.homes, code, Some(home), joiner);
                }
                Err(error) => turn.reply(reply, Err(Invalid::Code(error).into())),
            },
            AccountCommand::ResumeJoin(reply) => self.cx.account.resume_join(turn, self.cx.homes, reply)?,
            AccountCommand::Devices(reply) => {
                let devices = self.device_list();
                turn.reply(reply, Ok(devices));
            }
            AccountCommand::RemoveDevice(device, reply) => {
                self.cx.account.remove_device(turn, self.cx.homes, device, reply)
            }
            AccountCommand::Recovery(reply) => {
                let recovery = self.cx.account.recovery();
                turn.reply(reply, recovery);
            }
            AccountCommand::Recover(chain, reply) => self.recover(turn, &chain, reply),
            AccountCommand::SetPrivacy { last_seen, receipts, typing, reply } => {
                let now = self.sync().set_privacy(turn, last_seen, receipts, typing)?;
                turn.reply(reply, Ok(now));
            }
            AccountCommand::SetName(name, reply) => {
                let result = match checked_name(&name) {
                    Ok(name) => Ok(self.sync().set_name(turn, &name)?),
                    Err(error) => Err(error),
                };
                turn.reply(reply, result);
            }
            AccountCommand::SetDraft { chat, text, reply } => {
                let set = self.sync().set_draft(turn, chat, &text)?;
                turn.reply(reply, set);
            }
            AccountCommand::Arrange(changes, reply) => {
                let set = self.sync().arrange(turn, changes)?;
                turn.reply(reply, set);
            }
            AccountCommand::SetUsername(name, reply) => self.cx.account.claim_name(turn, self.cx.homes, name, reply),
            AccountCommand::Storage { delete, reply } => {
                self.cx.account.ask_storage(turn, self.cx.homes, delete, reply);
            }
            AccountCommand::SetHomes { homes, token, reply } => {
                self.set_homes(turn, homes, token)?;
                turn.reply(reply, Ok(()));
            }
        }
        Ok(())
    }
}
