//! Registering the account at its homes: what they know of it, and what they are to have.

use starling_keys::{DeviceChain, chain::Head};
use starling_wire::rendezvous::{KeyPackages, RequestBody};

use super::{
    AccountDevices,
    limits::{KEY_PACKAGE_STOCK, MAX_KEY_PACKAGE_SECRETS},
};
use crate::{
    account::pending::AccountPending,
    api::{
        error::{NodeError, NotAllowed},
        problem::HomeProblem,
        types::TransientEvent,
    },
    net::HomeId,
    turn::{EngineError, Fact, HomeFact, Turn},
};

impl AccountDevices<'_> {
    /// What a server has refused of the account's is asked for again.
    pub(crate) fn account_retries(&mut self, turn: &mut Turn<'_>, home: HomeId) {
        let own = self.cx.homes.servers.get(&home).is_some_and(|h| h.own);
        let is_refused = self.cx.homes.servers.get_mut(&home).is_some_and(|state| state.stale.take().is_some());
        if self.cx.homes.is_registered(&home) && !is_refused {
            self.cx.account.check_packages(turn, self.cx.homes, home);
            self.check_snapshot(turn, home);
        } else if !self.cx.counters.row.superseded && (own || self.cx.account.has_left(home)) {
            self.cx.account.publish(turn, self.cx.homes, home);
        }
    }

    pub(super) fn on_registered(&mut self, turn: &mut Turn<'_>, home: HomeId, head: Head) -> Result<(), EngineError> {
        let newest = self.cx.account.list().is_some_and(|l| l.head() == head);
        let Some(state) = self.cx.homes.servers.get_mut(&home) else {
            return Ok(());
        };
        let was_registered = std::mem::replace(&mut state.registered, true);
        (state.problem, state.stale) = (None, None);
        if !state.own {
            self.cx.account.forget_left(turn, home);
            return Ok(());
        }
        if newest {
            self.list_published(turn)?;
        }
        if was_registered {
            // The session goes on: what it has read of inbox and logs, it follows.
            self.account_registered(turn, home);
        } else {
            turn.fact(Fact::Home(home, HomeFact::Registered));
        }
        turn.transient_event(TransientEvent::Net);
        Ok(())
    }

    /// A home knows us: it is to have our key packages and snapshot, and our user name once we know that no other device has chosen another.
    pub(crate) fn account_registered(&mut self, turn: &mut Turn<'_>, home: HomeId) {
        self.cx.account.check_packages(turn, self.cx.homes, home);
        self.check_snapshot(turn, home);
    }

    /// A home is to have our user name.
    pub(super) fn claim_username(&mut self, turn: &mut Turn<'_>, home: HomeId) {
        self.cx.account.claim_own_name(turn, self.cx.homes, home);
    }

    /// Reads the snapshot if other devices may have changed it, or that was not done yet; then stores ours if it is newer.
    pub(super) fn check_snapshot(&mut self, turn: &mut Turn<'_>, home: HomeId) {
        if self.cx.counters.row.snapshot == 0 || !self.cx.account.other_devices().is_empty() {
            self.cx.homes.request(turn, home, RequestBody::GetSnapshot(true), AccountPending::Snapshot);
            return;
        }
        if self.cx.counters.row.snapshot_pending {
            self.cx.account.snapshot_soon(turn, self.cx.counters);
        }
        self.claim_username(turn, home);
    }

    /// What our account has at a server: we looked it up to begin our chain, or as the server does not take ours.
    pub(super) fn on_looked_up(&mut self, turn: &mut Turn<'_>, home: HomeId, bytes: &[u8]) -> Result<(), EngineError> {
        let ours = |l: &DeviceChain| l.account == self.cx.account.id();
        // A list of version 0.1 is signed with the root, too, and stands before every chain.
        let read = DeviceChain::from_bytes(bytes).or_else(|_| DeviceChain::from_list(bytes));
        let known = read.ok().filter(ours);
        let own = self.cx.account.list().cloned();
        let has_chain = own.as_ref().is_some_and(|own| !own.is_empty());
        let newer_list = |theirs: &DeviceChain| own.as_ref().is_some_and(|own| theirs.version > own.version);
        match known {
            // A profile of version 0.1 goes on with what another device has made of its account; so does any with what counts.
            Some(theirs) if !theirs.is_empty() && own.is_some() => {
                if !self.on_own_list(turn, theirs.clone())? {
                    return Ok(());
                }
                self.compare_shown(turn)?;
                if self.is_refused(home, &theirs) || !self.cx.account.would_teach(&theirs) {
                    self.cx.account.has_another_history(turn, self.cx.homes, home);
                    return Ok(());
                }
            }
            // It was removed before there was a chain.
            Some(theirs) if !has_chain && newer_list(&theirs) && theirs.device(&self.cx.account.device()).is_none() => {
                self.on_own_list(turn, theirs)?;
                return Ok(());
            }
            _ if has_chain => {}
            theirs => {
                if let Err(error) = self.cx.account.begin_chain(turn, theirs.as_ref()) {
                    if let Some(state) = self.cx.homes.servers.get_mut(&home) {
                        state.problem = Some(match error {
                            NodeError::NotAllowed(NotAllowed::Chain(error)) => HomeProblem::Chain(error),
                            // Only the root could begin a chain, and it is not here.
                            _ => HomeProblem::UnknownDevices,
                        });
                    }
                    turn.transient_event(TransientEvent::Net);
                    return Ok(());
                }
            }
        }
        self.cx.account.publish(turn, self.cx.homes, home);
        Ok(())
    }

    /// Whether a server has refused just the chain that we have: what it has itself, which was looked at since, does not count here.
    fn is_refused(&self, home: HomeId, theirs: &DeviceChain) -> bool {
        let refused = self.cx.homes.servers.get(&home).and_then(|state| state.stale);
        let own = self.cx.account.list().map(DeviceChain::head);
        refused.is_some() && refused == own && own != Some(theirs.head())
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
        } else if let Some(state) = self.cx.homes.servers.get_mut(&home) {
            state.stocked = true;
            turn.transient_event(TransientEvent::Net);
        }
        Ok(())
    }

    /// New one-time key packages, and a last-resort one for when they run out.
    fn fill_packages(&mut self, turn: &mut Turn<'_>, home: HomeId, count: u32) -> Result<(), EngineError> {
        let (now, mut packages) = (turn.agreed_ms(), KeyPackages::default());
        for _ in 0..count {
            packages.one_time.push(self.cx.mls.key_package(false, now)?.into());
        }
        packages.last_resort = self.cx.mls.key_package(true, now)?.into();
        self.cx.mls.packages().prune(now, MAX_KEY_PACKAGE_SECRETS);
        self.cx.homes.request(
            turn,
            home,
            RequestBody::PublishKeyPackages(packages),
            AccountPending::KeyPackages { filled: true },
        );
        Ok(())
    }
}
