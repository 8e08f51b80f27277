//! What the node's user asks of it. Each capability has its commands, with what is allowed, beside its state; here they are only routed.

use super::Engine;
pub use crate::{
    account::commands::AccountCommand, contacts::commands::ContactCommand, conversation::commands::ConversationCommand,
    conversation::policy::commands::GroupCommand, history::commands::HistoryCommand,
    presence::commands::PresenceCommand,
};
use crate::{
    api::{
        Reply,
        error::{NodeError, NotAllowed},
        fail,
        types::Status,
    },
    calls::CallRequest,
    net::NetCommand,
    turn::{Effect, EngineError, Turn},
};

/// A command of the node's user.
#[derive(Debug)]
pub enum Command {
    /// How the node is.
    Status(Reply<Status>),
    /// The same once all connections were probed.
    CheckedStatus(Reply<Status>),
    /// Whether others still have to get something of ours.
    Flush(Reply<bool>),
    /// Our account: devices, names, homes, settings.
    Account(AccountCommand),
    /// People, requests and invites.
    Contact(ContactCommand),
    /// Conversations and what is in them.
    Conversation(ConversationCommand),
    /// Groups: who is in them, and what they may do.
    Group(GroupCommand),
    /// The copying of the history between devices of the account.
    History(HistoryCommand),
    /// What others see of the user now.
    Presence(PresenceCommand),
    /// Calls.
    Call(CallRequest),
}

impl Command {
    /// Whether a device that its account has given up may still do this: look at what it has, and put its own view in order. Nothing that
    /// is sent, signed, or counts for the account is allowed, and each capability decides on every command that it gets.
    fn is_allowed_after_removal(&self) -> bool {
        match self {
            Self::Status(_) | Self::CheckedStatus(_) | Self::Flush(_) => true,
            Self::Account(command) => command.is_allowed_after_removal(),
            Self::Contact(command) => command.is_allowed_after_removal(),
            Self::Conversation(command) => command.is_allowed_after_removal(),
            Self::Group(command) => command.is_allowed_after_removal(),
            Self::History(command) => command.is_allowed_after_removal(),
            Self::Presence(command) => command.is_allowed_after_removal(),
            Self::Call(request) => request.is_allowed_after_removal(),
        }
    }

    /// Fails a command.
    fn refuse(self, error: NodeError) {
        match self {
            Self::Status(reply) | Self::CheckedStatus(reply) => fail(reply, error),
            Self::Flush(reply) => fail(reply, error),
            Self::Account(command) => command.refuse(error),
            Self::Contact(command) => command.refuse(error),
            Self::Conversation(command) => command.refuse(error),
            Self::Group(command) => command.refuse(error),
            Self::History(command) => command.refuse(error),
            // Nobody waits for these.
            Self::Presence(_) => {}
            Self::Call(request) => request.refuse(error),
        }
    }
}

/// Makes a command of each capability's own.
macro_rules! commands {
    ($($variant:ident($capability:ty)),* $(,)?) => {
        $(impl From<$capability> for Command {
            fn from(command: $capability) -> Self {
                Self::$variant(command)
            }
        })*
    };
}

commands! {
    Account(AccountCommand),
    Contact(ContactCommand),
    Conversation(ConversationCommand),
    Group(GroupCommand),
    History(HistoryCommand),
    Presence(PresenceCommand),
    Call(CallRequest),
}

impl Engine {
    pub(crate) fn on_command(&mut self, turn: &mut Turn<'_>, command: Command) -> Result<(), EngineError> {
        if self.counters.row.superseded && !command.is_allowed_after_removal() {
            command.refuse(NotAllowed::Superseded.into());
            return Ok(());
        }
        if self.counters.row.outdated && !command.is_allowed_after_removal() {
            command.refuse(NotAllowed::Outdated.into());
            return Ok(());
        }
        match command {
            Command::Status(reply) => {
                let status = self.status(turn);
                turn.reply(reply, Ok(status));
                Ok(())
            }
            Command::CheckedStatus(reply) => {
                self.reach.status_after_check.push(reply);
                turn.emit(Effect::Net(NetCommand::Check));
                Ok(())
            }
            Command::Flush(reply) => {
                let has_pending = self.flush(turn);
                turn.reply(reply, Ok(has_pending));
                Ok(())
            }
            Command::Account(command) => self.devices().on_account_command(turn, command),
            Command::Contact(command) => self.meeting().on_contact_command(turn, command),
            Command::Conversation(command) => {
                let (conversations, mut cx) = self.conversing();
                conversations.on_conversation_command(turn, &mut cx, command)
            }
            Command::Group(command) => {
                let (conversations, mut cx) = self.conversing();
                conversations.on_group_command(turn, &mut cx, command)
            }
            Command::History(command) => self.history().on_command(turn, command),
            Command::Presence(command) => {
                let (presence, mut views) = self.presenting();
                presence.on_command(turn, &mut views, command);
                Ok(())
            }
            Command::Call(request) => self.with_calls(turn, |calls, host| calls.on_request(host, request)),
        }
    }
}
