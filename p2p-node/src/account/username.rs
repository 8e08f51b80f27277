//! The user name, under which homes lead others to the account.

use starling_wire::{
    limits::is_username,
    rendezvous::{Refusal, RequestBody},
};

use super::Account;
use super::pending::AccountPending;
use crate::{
    api::{
        Reply,
        error::{Invalid, NodeError, NotAllowed, Unreachable},
        problem::HomeProblem,
    },
    home::{Homes, Refused},
    net::HomeId,
    turn::Turn,
};

impl Account {
    /// Asks our homes for a user name; it is ours when one of them says so.
    pub(crate) fn claim_name(&mut self, turn: &mut Turn<'_>, homes: &mut Homes, name: String, reply: Reply<()>) {
        let ours: Vec<_> = homes.servers.iter().filter(|(_, h)| h.own && h.registered).map(|(id, _)| *id).collect();
        if !is_username(&name) {
            return turn.reply(reply, Err(Invalid::Username { given: name }.into()));
        }
        if name == self.identity.row.username && !ours.is_empty() {
            return turn.reply(reply, Ok(()));
        }
        if ours.is_empty() || self.name_reply.is_some() {
            return turn.reply(reply, Err(Unreachable::Home.into()));
        }
        let keys: Vec<_> = ours.iter().filter_map(|home| Some((*home, homes.username_key(*home, &name)?))).collect();
        if keys.is_empty() {
            return turn.reply(reply, Err(Unreachable::OlderHome.into()));
        }
        self.name_reply = Some(reply);
        for (home, key) in keys {
            homes.request(turn, home, RequestBody::ClaimNameKey(key), AccountPending::Username(name.clone()));
        }
    }

    /// A home is to have the user name that we have.
    pub(crate) fn claim_own_name(&self, turn: &mut Turn<'_>, homes: &mut Homes, home: HomeId) {
        let name = self.identity.row.username.clone();
        if name.is_empty() {
            return;
        }
        match homes.username_key(home, &name) {
            Some(key) => homes.request(turn, home, RequestBody::ClaimNameKey(key), AccountPending::Username(name)),
            None => {
                if let Some(state) = homes.servers.get_mut(&home) {
                    state.problem = Some(HomeProblem::WouldSeeUsername);
                }
            }
        }
    }

    /// A home has given us the user name; whether it is a new one.
    pub(crate) fn username_claimed(&mut self, turn: &mut Turn<'_>, name: String) -> bool {
        if name == self.identity.row.username {
            return false;
        }
        self.identity.row.username = name;
        self.identity.dirty = true;
        self.username_answered(turn, Ok(()));
        true
    }

    /// A home has not given us the user name: a new one, or the one that we have elsewhere.
    pub(super) fn username_refused(&mut self, turn: &mut Turn<'_>, homes: &mut Homes, name: &str, refused: &Refused) {
        if name != self.identity.row.username {
            let error = match refused.reason {
                Refusal::Taken => NotAllowed::UsernameTaken { name: name.to_owned() }.into(),
                Refusal::RateLimited => NodeError::RateLimited { retry_after_ms: refused.retry_after_ms },
                _ => NotAllowed::UsernameRefused.into(),
            };
            return self.username_answered(turn, Err(error));
        }
        if let Some(state) = homes.servers.get_mut(&refused.home) {
            state.problem = Some(match refused.reason {
                Refusal::Taken => HomeProblem::UsernameTaken(name.to_owned()),
                Refusal::Malformed => HomeProblem::UsernameMalformed(name.to_owned()),
                _ => HomeProblem::UsernameRefused,
            });
        }
    }

    /// The connection broke before a home has answered.
    pub(super) fn username_lost(&mut self, turn: &mut Turn<'_>) {
        self.username_answered(turn, Err(Unreachable::ConnectionLost.into()));
    }

    fn username_answered(&mut self, turn: &mut Turn<'_>, answer: Result<(), NodeError>) {
        if let Some(reply) = self.name_reply.take() {
            turn.reply(reply, answer);
        }
    }
}
