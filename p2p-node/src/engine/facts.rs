//! What follows from facts, for each capability that they mean something to.

use super::Engine;
use crate::{
    api::types::TransientEvent,
    turn::{EngineError, Fact, Turn},
};

/// How many rounds of facts an input may lead to. What a fact leads to may emit others, but none leads back to itself: the longest chain is four.
const MAX_ROUNDS: usize = 8;

impl Engine {
    /// Routes the facts that were emitted up to now, and those that follow from them.
    ///
    /// # Errors
    /// [`EngineError::Facts`] if they lead to others without an end.
    pub(super) fn route_facts(&mut self, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        for _ in 0..MAX_ROUNDS {
            let facts = turn.take_facts();
            if facts.is_empty() {
                return Ok(());
            }
            for fact in facts {
                self.follow(turn, fact)?;
            }
        }
        if turn.take_facts().is_empty() { Ok(()) } else { Err(EngineError::Facts) }
    }

    /// What follows from a fact, one line for each capability that it means something to.
    fn follow(&mut self, turn: &mut Turn<'_>, fact: Fact) -> Result<(), EngineError> {
        match fact {
            Fact::HomeUp(home) => {
                self.account.publish_on_up(turn, &mut self.homes, home);
                self.logs_up(turn, home);
                self.conversations.trims_up(turn, &mut self.homes, home)?;
                self.conversations.receipts_up(turn, home);
                self.contacts.connects_up(turn, &mut self.homes, home);
                self.outbound_items_up(turn, home);
                self.account.codes_up(turn, &mut self.homes, home);
            }
            Fact::HomeRegistered(home) => {
                self.account_registered(turn, home);
                self.homes.read_inbox(turn, home);
                self.register_invites(turn, home)?;
                self.logs_up(turn, home);
                self.account.codes_up(turn, &mut self.homes, home);
                self.regroup(turn)?;
            }
            Fact::HomeRetry(home) => {
                self.account_retries(turn, home);
                if self.homes.is_registered(&home) {
                    self.homes.read_inbox(turn, home);
                    self.register_invites(turn, home)?;
                    self.regroup(turn)?;
                }
                self.outbound_items_up(turn, home);
                self.unread_logs_up(turn, home);
                self.conversations.trims_up(turn, &mut self.homes, home)?;
            }
            Fact::HomeDown(home) => {
                self.conversations.readers_gone(home);
                self.account.codes_lost(&home);
            }
            Fact::ParcelsWait(home) => self.outbound_items_up(turn, home),
            Fact::LinkUp(device) => {
                for chat in self.chats_of(&device) {
                    self.read_again(turn, chat);
                    self.tell_presence(turn, chat, true);
                }
            }
            Fact::LinkDown(device) => {
                self.receipts_of_lost_link(turn, &device);
                self.contact_left(turn, &device);
            }
            Fact::DevicesChanged(account) => {
                self.delivery.net_changed = true;
                self.conversations.regroup.look = true;
                if account == self.account.id() {
                    // Which groups fit, and who is waited for, may have changed for all of them.
                    self.conversations.chats.touch_all();
                } else {
                    self.contacts.people.touch(account);
                }
            }
            Fact::OwnDeviceAdded(_) => {
                self.account.end_device_codes(turn, &mut self.homes);
                self.counters.row.greeting_owed = true;
                self.snapshot_soon(turn);
            }
            Fact::OwnDeviceRemoved(device) => drop(self.delivery.links.remove(&device)),
            Fact::AccountSuperseded => {
                self.homes.superseded();
                self.conversations.regroup.stop();
            }
            Fact::ContactsChanged => self.snapshot_soon(turn),
            Fact::ContactUnlinked(account) => {
                let chat = self.chat_with(turn, account);
                self.with_calls(turn, |calls, host| calls.end_all_in(host, chat))?;
                self.drop_links_of(&account);
                self.leave_logs(turn, account);
                self.snapshot_soon(turn);
            }
            Fact::ReachChanged => self.delivery.net_changed = true,
            Fact::InviteUsed(token) => self.account.end_code_of(turn, &mut self.homes, &token),
            Fact::GroupDamaged => {
                self.regroup(turn)?;
                turn.live(TransientEvent::Net);
            }
            Fact::LogOpened(group) => self.parcels_of_group_up(turn, group),
        }
        Ok(())
    }
}
