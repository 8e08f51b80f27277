//! Outbound items for an inbox at a server that is lost go to another home of the same account.

use std::collections::BTreeSet;

use starling_keys::{AccountId, RendezvousAddr};

use super::Homes;
use crate::{
    net::HomeId,
    store::OUTBOUND_ITEMS,
    turn::{EngineError, Fact, HomeFact, Turn},
};

impl Homes {
    /// Has what waits for inboxes at a lost server go to other homes of the accounts that it is for, if they answer. What says which commits we have
    /// followed is left at each home anyway.
    pub fn redirect_outbound_items(
        &mut self,
        turn: &mut Turn<'_>,
        lost: HomeId,
        homes_of: impl Fn(&AccountId) -> Vec<RendezvousAddr>,
    ) -> Result<(), EngineError> {
        if self.is_lost_for_long(&lost) {
            self.requeue_kept(turn, lost)?;
        }
        let waits = |(_, item): &(&Vec<u8>, &super::OutboundItem)| item.may_move() && item.home() == Some(lost);
        let other = |(key, item): (&Vec<u8>, &super::OutboundItem)| {
            let account = AccountId::from_bytes(&item.row.account).ok()?;
            let to = homes_of(&account).into_iter().find(|home| home.peer != lost && self.answers(&home.peer))?;
            Some((key.clone(), to))
        };
        let redirected: Vec<(Vec<u8>, RendezvousAddr)> =
            self.outbound_items.iter().filter(waits).filter_map(other).collect();
        for (key, to) in redirected {
            let Some(item) = self.outbound_items.get_mut(&key) else { continue };
            let before = std::mem::replace(&mut item.row.home, to.to_string());
            if item.row.first_home.is_empty() {
                item.row.first_home = before;
            }
            // Should the lost one have it, it comes twice, and is taken once.
            item.under_way = false;
            turn.put(OUTBOUND_ITEMS, &key, &item.row)?;
            turn.fact(Fact::Home(to.peer, HomeFact::OutboundItemsWait));
            turn.fact(Fact::ReachChanged);
        }
        Ok(())
    }

    /// For whom something waits at a lost server that may go to another home of theirs.
    pub fn recipients_at_lost(&self) -> BTreeSet<AccountId> {
        let items = self.outbound_items.values();
        let waits = items.filter(|item| item.may_move() && item.home().is_some_and(|home| self.is_lost(&home)));
        waits.filter_map(|item| AccountId::from_bytes(&item.row.account).ok()).collect()
    }

    /// An outbound item was refused for good where it was redirected to: it waits for the home that it was for. Gives whether it was one.
    pub(super) fn return_outbound_item(&mut self, turn: &mut Turn<'_>, key: &[u8]) -> Result<bool, EngineError> {
        let Some(item) = self.outbound_items.get_mut(key).filter(|item| !item.row.first_home.is_empty()) else {
            return Ok(false);
        };
        item.row.home = std::mem::take(&mut item.row.first_home);
        (item.stays, item.under_way) = (true, false);
        turn.put(OUTBOUND_ITEMS, key, &item.row)?;
        turn.fact(Fact::ReachChanged);
        Ok(true)
    }
}
