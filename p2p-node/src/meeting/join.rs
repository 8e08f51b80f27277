//! Joining the conversation that somebody has made with us.

use starling_keys::{DeviceChain, DeviceId, RendezvousAddr};
use starling_wire::{
    Body,
    inbox::{InboxBody, Welcome},
};

use super::Meeting;
use crate::{
    api::{
        problem::ItemRefused,
        types::{ChatId, ContactState, DurableEventKind},
    },
    contacts::{ChainNews, ChainRefused, Person},
    conversation::{GroupEntry, group::GroupId},
    mls::LiveGroup,
    store::{GroupRow, REQUESTS},
    turn::{EngineError, Fact, Turn},
};

impl Meeting<'_> {
    /// Joins the conversation that somebody has made with us, or another device of ours with them.
    pub(crate) fn join(
        &mut self,
        turn: &mut Turn<'_>,
        body: &InboxBody,
        list: DeviceChain,
        own: bool,
    ) -> Result<Result<(), ItemRefused>, EngineError> {
        let (account, now_s) = (list.account, turn.agreed_ms() / 1000);
        let checked = self.cx.contacts.people.get(&account).map(|person| person.check_chain(&list, now_s));
        if let Some(Err(refused @ ChainRefused::Fork(_))) = checked {
            self.cx.contacts.refused_chain(turn, account, &list, refused)?;
        }
        let (group, live, welcome) = match self.open_welcome(body, &list, own, now_s) {
            Ok(Some(opened)) => opened,
            Ok(None) => return Ok(Ok(())),
            Err(why) => return Ok(Err(why)),
        };
        live.members().iter().for_each(|member| self.cx.contacts.owners.note_joined(&member.into()));
        if self.cx.contacts.check_devices(self.cx.account, &list).is_err() {
            return Ok(Err(ItemRefused::ForeignDevice));
        }
        let chat = self.cx.chat_with(turn, account);
        let row = self.joined_row(turn, chat, welcome, &list, own);
        let was = self.cx.contacts.people.get(&account).map(Person::state);
        let known = self.cx.contacts.people.get(&account).is_some_and(|person| person.list.is_some());
        let now = turn.wall();
        let person = self.cx.contacts.people.get_or_insert_with(account, || Person::new(&account, now));
        if !own {
            person.row.state = ContactState::Active.stored();
            // It may be older than the one that they have given themselves in the conversation.
            person.row.rename(&body.name, (0, 0));
            person.row.bot = body.bot;
        }
        person.dirty = true;
        // One that is from the past says nothing new.
        let news = self.cx.contacts.take_chain(turn, account, list)?;
        if !own {
            if known && news.is_ok_and(|news| news != ChainNews::Known) {
                turn.fact(Fact::ContactSentChain(account));
            }
            self.cx.take_labels(turn, account, &body.labels)?;
        }
        let entry = GroupEntry::new(group, live, row)?;
        self.cx.conversations.on_replaced(self.cx.homes, chat, &welcome.replaces);
        self.add_group(turn, chat, entry)?;
        self.cx.read_logs(turn, group);
        if own {
            // The device that made it has sent them our profile.
            return Ok(Ok(()));
        }
        let profile = Body::Profile(self.cx.account.profile());
        self.cx.announce(turn, chat, profile);
        if was != Some(ContactState::Active) {
            turn.fact(Fact::ContactsChanged);
            turn.account_event(DurableEventKind::ContactAccepted, account, "")?;
            self.sync().said_of(turn, account)?;
        }
        turn.delete(REQUESTS, &self.cx.store.name("request", account.as_bytes()))?;
        Ok(Ok(()))
    }

    /// Opens the welcome of an inbox item, without changing anything. `None` if its group was joined before; an error says why it is refused.
    fn open_welcome<'a>(
        &self,
        body: &'a InboxBody,
        list: &DeviceChain,
        own: bool,
        now_s: u64,
    ) -> Result<Option<(GroupId, LiveGroup, &'a Welcome)>, ItemRefused> {
        let account = list.account;
        let known = self.cx.contacts.people.get(&account);
        // A recovery brings a device back that somebody else had removed.
        let is_foreign = |sender: &DeviceId| known.is_some_and(|person| person.would_not_have(sender, list, now_s));
        if !own && DeviceId::from_bytes(&body.device).is_ok_and(|sender| is_foreign(&sender)) {
            return Err(ItemRefused::RemovedDevice);
        }
        if let Some(person) = known
            && let Err(error) = person.check_chain(list, now_s)
            // A device that was away knows less of its account than we do.
            && (error != ChainRefused::Past || person.list.is_none())
        {
            return Err(ItemRefused::OldChain);
        }
        let welcome = body.welcome.as_ref().ok_or(ItemRefused::NoWelcome)?;
        let group = GroupId::try_from(&*welcome.group).map_err(|_| ItemRefused::NoWelcome)?;
        let chat = self.cx.conversations.chats.direct_with(&account);
        let was_replaced = chat.is_some_and(|chat| self.cx.conversations.chats.was_replaced(chat, &group));
        if self.cx.conversations.groups.contains_key(&group) || was_replaced {
            return Ok(None);
        }
        let live = self.cx.mls.join(&welcome.message).map_err(|error| {
            tracing::warn!(%error, "a welcome cannot be used");
            ItemRefused::UnusableWelcome
        })?;
        let (me, members) = (self.cx.account.id(), live.members());
        let ours_and_theirs = members.iter().all(|m| m.account() == me || m.account() == account);
        if live.has_policy()
            || live.id() != group
            || !ours_and_theirs
            || !members.iter().any(|m| m.account() == account)
        {
            return Err(ItemRefused::OthersInGroup);
        }
        Ok(Some((group, live, welcome)))
    }

    /// The row of a group that was joined by a welcome.
    fn joined_row(&self, turn: &Turn<'_>, chat: ChatId, welcome: &Welcome, list: &DeviceChain, own: bool) -> GroupRow {
        let home = welcome.home.parse::<RendezvousAddr>().ok();
        let is_own_home = |home: &RendezvousAddr| self.cx.account.identity.homes.iter().any(|h| h.peer == home.peer);
        GroupRow {
            chat: chat.0.to_vec(),
            // Who made it has no home of its own: then its log is ours to open.
            ours: !own && list.homes.is_empty() && home.as_ref().is_some_and(is_own_home),
            home: home.map(|home| home.to_string()).unwrap_or_default(),
            confirmed: !own,
            updated_ms: turn.wall(),
            ..GroupRow::default()
        }
    }
}
