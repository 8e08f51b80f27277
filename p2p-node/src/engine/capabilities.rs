//! The capabilities, each with what it reads and uses of the others.

use starling_keys::AccountId;

use super::Engine;
use crate::{
    calls::{CallHost, Calls, NodeHost},
    contacts::Directory,
    conversation::{Context, Conversations},
    devices::AccountDevices,
    history::{History, HistoryExchange},
    home::Vouching,
    inbox::Inbox,
    linking::Linking,
    meeting::Meeting,
    mls::GroupId,
    net::HomeId,
    presence::{self, Presence},
    sync::AccountSync,
    turn::{EngineError, Turn},
    views::Views,
};

impl Engine {
    /// Who is who.
    pub(crate) fn directory(&self) -> Directory<'_> {
        Directory { account: &self.account, contacts: &self.contacts }
    }

    /// The conversations, with what they read and use of the rest.
    pub(crate) fn conversing(&mut self) -> (&mut Conversations, Context<'_>) {
        let dir = Directory { account: &self.account, contacts: &self.contacts };
        let (links, homes, counters) = (&self.delivery, &mut self.homes, &mut self.counters);
        (&mut self.conversations, Context { dir, links, mls: &self.mls, homes, counters })
    }

    /// What steps with people and with our own devices use.
    pub(crate) fn views(&mut self) -> Views<'_> {
        self.views_and_history().0
    }

    fn views_and_history(&mut self) -> (Views<'_>, &mut History) {
        let views = Views {
            account: &mut self.account,
            contacts: &mut self.contacts,
            conversations: &mut self.conversations,
            delivery: &self.delivery,
            homes: &mut self.homes,
            mls: &self.mls,
            counters: &mut self.counters,
            store: &self.store,
        };
        (views, &mut self.history)
    }

    /// What the devices of our account have in common.
    pub(crate) fn sync(&mut self) -> AccountSync<'_> {
        AccountSync { cx: self.views() }
    }

    /// How somebody becomes a contact.
    pub(crate) fn meeting(&mut self) -> Meeting<'_> {
        Meeting { cx: self.views() }
    }

    /// Short codes, and how a device joins our account.
    pub(crate) fn linking(&mut self) -> Linking<'_> {
        let (cx, history) = self.views_and_history();
        Linking { cx, history }
    }

    /// The devices of our account.
    pub(crate) fn devices(&mut self) -> AccountDevices<'_> {
        let (cx, history) = self.views_and_history();
        AccountDevices { cx, history }
    }

    /// What comes to our inboxes.
    pub(crate) fn inbox(&mut self) -> Inbox<'_> {
        let (cx, history) = self.views_and_history();
        Inbox { cx, history }
    }

    /// The copying of the history.
    pub(crate) fn history(&mut self) -> HistoryExchange<'_> {
        let (cx, history) = self.views_and_history();
        HistoryExchange { cx, history }
    }

    /// Hands an input over to the calls.
    pub(crate) fn with_calls<T>(
        &mut self,
        turn: &mut Turn<'_>,
        work: impl FnOnce(&mut Calls, &mut dyn CallHost) -> T,
    ) -> T {
        let mut calls = std::mem::take(&mut self.calls);
        let result = work(&mut calls, &mut NodeHost { cx: self.views(), turn });
        self.calls = calls;
        result
    }

    /// Presence, with what it reads and uses of the rest.
    pub(crate) fn presenting(&mut self) -> (&mut Presence, presence::Views<'_>) {
        let views = presence::Views {
            account: &self.account,
            contacts: &mut self.contacts,
            conversations: &mut self.conversations,
            homes: &mut self.homes,
            links: &self.delivery,
        };
        (&mut self.presence, views)
    }

    pub(crate) fn make_direct_chats(&mut self, turn: &mut Turn<'_>) {
        let dir = Directory { account: &self.account, contacts: &self.contacts };
        self.conversations.chats.make_direct_chats(turn, dir);
    }

    #[cfg(test)]
    pub(crate) fn active_group(&self, chat: crate::api::types::ChatId) -> Option<GroupId> {
        self.conversations.active_group(self.directory(), chat)
    }

    /// Conversations whose group does not fit get another, when it is time.
    pub(super) fn regroup_on_time(&mut self, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        let (conversations, mut cx) = self.conversing();
        let due = conversations.regroups_due(turn, &mut cx)?;
        let moves = conversations.take_stranded(turn, &cx);
        if moves || !due.is_empty() {
            self.meeting().regroup(turn)?;
            let dir = Directory { account: &self.account, contacts: &self.contacts };
            self.conversations.regrouped(turn, dir, due);
        }
        self.meeting().enter_groups(turn)
    }

    /// What waits for inboxes at lost servers goes to other homes of those whom it is for.
    pub(super) fn redirect_outbound_items(&mut self, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        let (account, contacts) = (&self.account, &self.contacts);
        let homes_of = |of: &AccountId| match contacts.people.get(of) {
            Some(person) => person.homes(),
            None if *of == account.id() => account.identity.homes.clone(),
            None => Vec::new(),
        };
        for home in self.homes.lost() {
            self.homes.redirect_outbound_items(turn, home, homes_of)?;
        }
        Ok(())
    }

    /// Delivers what waits for inboxes at a server.
    pub(super) fn send_outbound_items(&mut self, turn: &mut Turn<'_>, home: HomeId) {
        let groups = &self.conversations.groups;
        // Whoever joins may write at once: the log has to be there before.
        let may_join = |id: &GroupId| groups.get(id).is_none_or(|g| !g.row.ours || g.row.log_opened || g.row.dead);
        let conversations = &self.conversations;
        // Where this device is not to be known it is a stranger, who works.
        let is_visited = self.homes.is_visited(&home);
        self.homes.ask_for_visit(turn, &home);
        let vouch = |account: &AccountId, nonce: &[u8], subject: &[u8]| {
            let keys = conversations.shared_log(account, home).filter(|_| !is_visited)?;
            Some(Vouching { log: keys.address, signature: keys.key.vouch(nonce, subject) })
        };
        self.homes.send_outbound_items(turn, home, self.account.id(), may_join, vouch);
    }
}
