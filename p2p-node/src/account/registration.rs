//! Registering the account at its homes: its device list, and key packages by which others begin conversations with this device.

use bytes::Bytes;
use starling_keys::{DeviceChain, chain::Head};
use starling_wire::{
    Puzzle,
    rendezvous::{KeyPackages, Publish, Refusal, Registration, RequestBody},
};

use super::Account;
use super::pending::AccountPending;
use crate::{
    api::types::TransientEvent,
    engine::Engine,
    home::Homes,
    limits::{KEY_PACKAGE_STOCK, MAX_KEY_PACKAGE_SECRETS, MAX_WORK_BITS, RETRY_REFUSED_MS},
    net::{HomeId, WorkFor},
    turn::{EngineError, Fact, Turn},
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
            if homes.servers.get(&home).is_some_and(|h| h.hello.is_some()) {
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
            let problem =
                "it does not know the account's devices: another device of the account has to go online first";
            state.problem = Some(problem.into());
        }
        homes.retry_at(home, at);
        turn.live(TransientEvent::Net);
    }

    pub(super) fn on_publish_refused(&mut self, turn: &mut Turn<'_>, homes: &mut Homes, home: HomeId, reason: Refusal) {
        let Some(state) = homes.servers.get_mut(&home) else {
            return;
        };
        let Some(hello) = state.hello.clone() else {
            return;
        };
        let open = Registration::try_from(hello.registration) == Ok(Registration::Open);
        let problem = match reason {
            Refusal::Denied if open && hello.register_bits > MAX_WORK_BITS => {
                "it asks for more work than any registration is worth"
            }
            Refusal::Denied if open && state.problem.as_deref() != Some("registering") => {
                // We are new here: registering costs some work.
                state.problem = Some("registering".into());
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
                let account = Bytes::copy_from_slice(self.id().as_bytes());
                homes.request(turn, home, RequestBody::LookUp(account), AccountPending::OwnList);
                return;
            }
            Refusal::Denied if !open => "it registers only holders of a token: ask its operator for one",
            Refusal::RegistrationClosed => "it takes no new accounts",
            Refusal::Banned => "its operator has banned this account",
            Refusal::RateLimited => "it asks us to slow down",
            _ => "it refused to register this account",
        };
        state.problem = Some(problem.into());
        homes.retry_at(home, turn.now() + 60_000);
        self.list_not_published(turn, problem);
        turn.live(TransientEvent::Net);
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

impl Engine {
    /// What a server has refused of the account's is asked for again.
    pub(crate) fn account_retries(&mut self, turn: &mut Turn<'_>, home: HomeId) {
        let own = self.homes.servers.get(&home).is_some_and(|h| h.own);
        if self.homes.is_registered(&home) {
            self.account.check_packages(turn, &mut self.homes, home);
            self.check_snapshot(turn, home);
        } else if !self.counters.row.superseded && (own || self.account.has_left(home)) {
            self.account.publish(turn, &mut self.homes, home);
        }
    }

    pub(super) fn on_registered(&mut self, turn: &mut Turn<'_>, home: HomeId, head: Head) -> Result<(), EngineError> {
        let newest = self.account.list().is_some_and(|l| l.head() == head);
        let Some(state) = self.homes.servers.get_mut(&home) else {
            return Ok(());
        };
        (state.registered, state.problem) = (true, None);
        if !state.own {
            self.account.forget_left(turn, home);
            return Ok(());
        }
        if newest {
            self.list_published(turn)?;
        }
        turn.fact(Fact::HomeRegistered(home));
        turn.live(TransientEvent::Net);
        Ok(())
    }

    /// A home knows us: it is to have our key packages and snapshot, and our user name once we know that no other device has chosen another.
    pub(crate) fn account_registered(&mut self, turn: &mut Turn<'_>, home: HomeId) {
        self.account.check_packages(turn, &mut self.homes, home);
        self.check_snapshot(turn, home);
    }

    /// A home is to have our user name.
    pub(super) fn claim_username(&mut self, turn: &mut Turn<'_>, home: HomeId) {
        let username = self.account.identity.row.username.clone();
        if !username.is_empty() {
            self.homes.request(
                turn,
                home,
                RequestBody::ClaimName(username.clone()),
                AccountPending::Username(username),
            );
        }
    }

    /// Reads the snapshot if other devices may have changed it, or that was not done yet; then stores ours if it is newer.
    pub(super) fn check_snapshot(&mut self, turn: &mut Turn<'_>, home: HomeId) {
        if self.counters.row.snapshot == 0 || !self.account.other_devices().is_empty() {
            self.homes.request(turn, home, RequestBody::GetSnapshot(true), AccountPending::Snapshot);
            return;
        }
        if self.counters.row.snapshot_owed {
            self.account.snapshot_soon(turn, &mut self.counters);
        }
        self.claim_username(turn, home);
    }

    /// What our account has at a server: we looked it up to begin our chain, or as the server does not take ours.
    pub(super) fn on_looked_up(&mut self, turn: &mut Turn<'_>, home: HomeId, bytes: &[u8]) -> Result<(), EngineError> {
        let ours = |l: &DeviceChain| l.account == self.account.id();
        // A list of version 0.1 is signed with the root, too, and stands before every chain.
        let read = DeviceChain::from_bytes(bytes).or_else(|_| DeviceChain::from_list(bytes));
        let known = read.ok().filter(ours);
        let own = self.account.list().cloned();
        let has_chain = own.as_ref().is_some_and(|own| !own.is_empty());
        let newer_list = |theirs: &DeviceChain| own.as_ref().is_some_and(|own| theirs.version > own.version);
        match known {
            // A profile of version 0.1 goes on with what another device has made of its account; so does any with what counts.
            Some(theirs) if !theirs.is_empty() && own.is_some() => {
                if !self.on_own_list(turn, theirs.clone())? {
                    return Ok(());
                }
                self.compare_shown(turn)?;
                if !self.account.would_teach(&theirs) {
                    self.account.has_another_history(turn, &mut self.homes, home);
                    return Ok(());
                }
            }
            // It was removed before there was a chain.
            Some(theirs) if !has_chain && newer_list(&theirs) && theirs.device(&self.account.device()).is_none() => {
                self.on_own_list(turn, theirs)?;
                return Ok(());
            }
            _ if has_chain => {}
            theirs => {
                if let Err(error) = self.account.begin_chain(turn, theirs.as_ref()) {
                    if let Some(state) = self.homes.servers.get_mut(&home) {
                        state.problem = Some(error.to_string());
                    }
                    turn.live(TransientEvent::Net);
                    return Ok(());
                }
            }
        }
        self.account.publish(turn, &mut self.homes, home);
        Ok(())
    }

    /// A server sends our account's chain: another device of ours has changed it.
    pub(crate) fn on_pushed_list(&mut self, turn: &mut Turn<'_>, bytes: &[u8]) -> Result<(), EngineError> {
        match self.read_chain(bytes) {
            Some(list) if list.account == self.account.id() && self.account.is_newer(&list) => {
                self.on_own_list(turn, list).map(|_| ())
            }
            _ => Ok(()),
        }
    }

    /// A home says how many of our key packages are left.
    pub(super) fn on_packages_left(
        &mut self,
        turn: &mut Turn<'_>,
        home: HomeId,
        left: u32,
        filled: bool,
    ) -> Result<(), EngineError> {
        let missing = KEY_PACKAGE_STOCK.saturating_sub(left);
        if !filled && missing > KEY_PACKAGE_STOCK / 2 {
            self.fill_packages(turn, home, missing)?;
        } else if let Some(state) = self.homes.servers.get_mut(&home) {
            state.stocked = true;
            turn.live(TransientEvent::Net);
        }
        Ok(())
    }

    /// New one-time key packages, and a last-resort one for when they run out.
    fn fill_packages(&mut self, turn: &mut Turn<'_>, home: HomeId, count: u32) -> Result<(), EngineError> {
        let (now, mut packages) = (turn.agreed_ms(), KeyPackages::default());
        for _ in 0..count {
            packages.one_time.push(self.mls.key_package(false, now)?.into());
        }
        packages.last_resort = self.mls.key_package(true, now)?.into();
        self.mls.packages().prune(now, MAX_KEY_PACKAGE_SECRETS);
        self.homes.request(
            turn,
            home,
            RequestBody::PublishKeyPackages(packages),
            AccountPending::KeyPackages { filled: true },
        );
        Ok(())
    }
}
