//! Histories of our account that do not count: what a removed device has written later, and a home that keeps to it.

use starling_keys::{DeviceChain, chain::Age};

use super::{Account, limits::OTHER_HISTORY_AGAIN_MS};
use crate::{
    api::{problem::HomeProblem, types::TransientEvent},
    home::Homes,
    net::HomeId,
    turn::Turn,
};

impl Account {
    /// Whether somebody who knows only `theirs` accepts ours: a home with a rival history keeps that.
    pub(crate) fn would_teach(&self, theirs: &DeviceChain) -> bool {
        let counts = |ours: &DeviceChain| theirs.reconcile(ours, Age::default()).is_ok_and(|c| c.head() == ours.head());
        self.list().is_some_and(counts)
    }

    /// A server keeps to another history of our account, which does not count here.
    pub(crate) fn has_another_history(&mut self, turn: &mut Turn<'_>, homes: &mut Homes, home: HomeId) {
        if let Some(state) = homes.servers.get_mut(&home) {
            state.problem = Some(HomeProblem::OtherHistory);
        }
        homes.retry_at(home, turn.now() + OTHER_HISTORY_AGAIN_MS);
        self.list_not_published(turn, &HomeProblem::OtherHistory);
        turn.transient_event(TransientEvent::Net);
    }
}
