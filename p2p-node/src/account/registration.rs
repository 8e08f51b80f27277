//! Registering the account at its homes: its device list, and key packages by which others begin conversations with this device.

use bytes::Bytes;
use starling_keys::chain::Head;
use starling_wire::{
    Puzzle,
    rendezvous::{KeyPackages, Publish, Refusal, Registration, RequestBody},
};

use super::Account;
use super::pending::AccountPending;
use crate::{
    api::{problem::HomeProblem, types::TransientEvent},
    home::{Homes, Pending, limits::MAX_WORK_BITS},
    limits::RETRY_REFUSED_MS,
    net::{HomeId, WorkFor},
    turn::Turn,
};

impl Account {
    /// Registers, or brings our chain up to date. A restored profile, and one of version 0.1, first looks at what its account has.
    pub(crate) fn publish(&mut self, turn: &mut Turn<'_>, homes: &mut Homes, home: HomeId) {
        match self.identity.list.as_ref().filter(|list| !list.is_empty()) {
            None => {
                let account = Bytes::copy_from_slice(self.id().as_bytes());
                homes.request(turn, home, RequestBody::LookUp(account), AccountPending::OwnList);
            }
            Some(list) => {
                let publish = Publish {
                    device_list: Bytes::copy_from_slice(list.as_bytes()),
                    solution: None,
                    token: self.identity.row.registration_token.clone(),
                };
                let head = list.head();
                homes.request(turn, home, RequestBody::Publish(publish), AccountPending::Publish(head));
            }
        }
    }

    /// A server is there: our home is to know our devices, and one that was our home where we are.
    pub(crate) fn publish_on_up(&mut self, turn: &mut Turn<'_>, homes: &mut Homes, home: HomeId) {
        if homes.servers.get(&home).is_some_and(|h| h.own) || self.has_left(home) {
            self.publish(turn, homes, home);
        }
    }

    pub(crate) fn publish_at_homes(&mut self, turn: &mut Turn<'_>, homes: &mut Homes) {
        let ours: Vec<_> = self.identity.homes.iter().map(|h| h.peer).collect();
        for home in ours {
            if homes.is_up(&home) {
                self.publish(turn, homes, home);
            }
        }
    }

    /// A server does not know our account: we are its first device there.
    pub(super) fn on_not_found(&mut self, turn: &mut Turn<'_>, homes: &mut Homes, home: HomeId) {
        if self.identity.row.joins {
            return self.has_forgotten(turn, homes, home);
        }
        if self.identity.list.as_ref().is_none_or(|list| list.is_empty()) && self.begin_chain(turn, None).is_err() {
            return;
        }
        self.publish(turn, homes, home);
    }

    /// A device that joins its account believes no server that knows less of it than the device that has linked it.
    fn has_forgotten(&mut self, turn: &mut Turn<'_>, homes: &mut Homes, home: HomeId) {
        let at = turn.now() + RETRY_REFUSED_MS;
        if let Some(state) = homes.servers.get_mut(&home) {
            state.problem = Some(HomeProblem::UnknownDevices);
        }
        homes.retry_at(home, at);
        turn.transient_event(TransientEvent::Net);
    }

    pub(super) fn on_publish_refused(
        &mut self,
        turn: &mut Turn<'_>,
        homes: &mut Homes,
        (home, head): (HomeId, Head),
        reason: Refusal,
    ) {
        let Some(state) = homes.servers.get_mut(&home) else {
            return;
        };
        let Some(hello) = state.hello.clone() else {
            return;
        };
        if state.problem == Some(HomeProblem::Superseded) {
            // It was asked before that was known, and this is why it refuses.
            return;
        }
        let open = Registration::try_from(hello.registration) == Ok(Registration::Open);
        let problem = match reason {
            Refusal::Denied if open && hello.register_bits > MAX_WORK_BITS => HomeProblem::RegistrationWork,
            Refusal::Denied if open && state.problem != Some(HomeProblem::Registering) => {
                // We are new here: registering costs some work.
                state.problem = Some(HomeProblem::Registering);
                let Some(list) = &self.identity.list else { return };
                let puzzle = Puzzle::new("register", &home, &hello.nonce, self.id().as_bytes(), hello.register_bits);
                let publish = Publish {
                    device_list: Bytes::copy_from_slice(list.as_bytes()),
                    solution: None,
                    token: String::new(),
                };
                let pending = AccountPending::Publish(list.head());
                homes.request_with_work(turn, home, puzzle, WorkFor::Publish(publish), pending);
                return;
            }
            Refusal::Stale => {
                if state.stale.replace(head) == Some(head) {
                    // What it has is looked at just now, or was.
                    let is_asked = |pending: &Pending| matches!(pending, Pending::Account(AccountPending::OwnList));
                    if !state.pending.values().any(is_asked) {
                        self.has_another_history(turn, homes, home);
                    }
                    return;
                }
                let account = Bytes::copy_from_slice(self.id().as_bytes());
                homes.request(turn, home, RequestBody::LookUp(account), AccountPending::OwnList);
                return;
            }
            Refusal::Denied if !open => HomeProblem::NeedsToken,
            Refusal::RegistrationClosed => HomeProblem::RegistrationClosed,
            Refusal::Banned => HomeProblem::Banned,
            Refusal::RateLimited => HomeProblem::RateLimited,
            Refusal::Full => HomeProblem::Full,
            _ => HomeProblem::RegistrationRefused,
        };
        state.problem = Some(problem.clone());
        homes.retry_at(home, turn.now() + 60_000);
        self.list_not_published(turn, &problem);
        turn.transient_event(TransientEvent::Net);
    }

    pub(crate) fn check_packages(&mut self, turn: &mut Turn<'_>, homes: &mut Homes, home: HomeId) {
        homes.request(
            turn,
            home,
            RequestBody::PublishKeyPackages(KeyPackages::default()),
            AccountPending::KeyPackages { filled: false },
        );
    }
}
