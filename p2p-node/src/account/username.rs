//! The user name, under which homes lead others to the account.

use starling_wire::{limits::is_username, rendezvous::Ask};

use crate::{
    api::{Reply, types::NodeError},
    home::Asked,
    turn::{Engine, Turn},
};

impl Engine {
    /// Asks our homes for a user name; it is ours when one of them says so.
    pub(super) fn claim_name(&mut self, turn: &mut Turn<'_>, name: String, reply: Reply<()>) {
        let homes: Vec<_> =
            self.homes.servers.iter().filter(|(_, h)| h.own && h.registered).map(|(id, _)| *id).collect();
        if !is_username(&name) {
            let problem =
                format!("“{}” is no user name: 2 to 32 of a-z 0-9 . _ -, a letter or digit first", name.escape_debug());
            return turn.reply(reply, Err(NodeError::Invalid(problem)));
        }
        if name == self.account.identity.row.username && !homes.is_empty() {
            return turn.reply(reply, Ok(()));
        }
        if homes.is_empty() || self.account.name_reply.is_some() {
            let problem = "our rendezvous cannot be reached now: try again later".into();
            return turn.reply(reply, Err(NodeError::Unreachable(problem)));
        }
        self.account.name_reply = Some(reply);
        for home in homes {
            self.ask(turn, home, Ask::ClaimName(name.clone()), Asked::Name(name.clone()));
        }
    }

    pub(crate) fn name_answered(&mut self, turn: &mut Turn<'_>, answer: Result<(), NodeError>) {
        if let Some(reply) = self.account.name_reply.take() {
            turn.reply(reply, answer);
        }
    }
}
