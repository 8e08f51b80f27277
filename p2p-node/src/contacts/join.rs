//! Joining the conversation that somebody has made with us.

use starling_keys::{DeviceChain, DeviceId, RendezvousAddr};
use starling_wire::{Body, Profile, inbox::InboxBody};

use super::{ChainNews, ChainRefused, Person};
use crate::{
    api::types::{ContactState, DurableEventKind},
    conversation::{GroupEntry, group::GroupId},
    engine::Engine,
    store::{GroupRow, REQUESTS},
    turn::{EngineError, Fact, Turn},
};

impl Engine {
    /// Joins the conversation that somebody has made with us, or another device of ours with them.
    pub(crate) fn join(
        &mut self,
        turn: &mut Turn<'_>,
        body: &InboxBody,
        list: DeviceChain,
        own: bool,
    ) -> Result<Result<(), &'static str>, EngineError> {
        let account = list.account;
        let now_s = turn.agreed_ms() / 1000;
        let unlisted = DeviceId::from_bytes(&body.device).is_ok_and(|sender| {
            let known = self.contacts.people.get(&account).and_then(|p| p.list.as_ref());
            known.is_some_and(|known| known.has_removed(&sender))
        });
        if !own && unlisted {
            return Ok(Err("from a device that its account has removed"));
        }
        if let Some(person) = self.contacts.people.get(&account)
            && let Err(error) = person.check_chain(&list, now_s)
            // A device that was away knows less of its account than we do.
            && (error != ChainRefused::Past || person.list.is_none())
        {
            return Ok(Err("a device chain from the past, or one that contradicts the one known"));
        }
        let Some(welcome) = &body.welcome else {
            return Ok(Err("no welcome"));
        };
        let Ok(group) = GroupId::try_from(&*welcome.group) else {
            return Ok(Err("no group id"));
        };
        if self.conversations.groups.contains_key(&group) {
            return Ok(Ok(()));
        }
        let live = match self.mls.join(&welcome.message) {
            Ok(live) => live,
            Err(error) => {
                tracing::warn!(%error, "a welcome cannot be used");
                return Ok(Err("a welcome that cannot be used"));
            }
        };
        let me = self.account.id();
        let members = live.members();
        let ours_and_theirs = members.iter().all(|m| m.account() == me || m.account() == account);
        if live.id() != group || !ours_and_theirs || !members.iter().any(|m| m.account() == account) {
            return Ok(Err("a group with others in it"));
        }
        let chat = self.chat_with(turn, account);
        let home = welcome.home.parse::<RendezvousAddr>().map(|h| h.to_string()).unwrap_or_default();
        // Who made it has no home of its own: then its log is ours to open.
        let ours = !own
            && list.homes.is_empty()
            && welcome
                .home
                .parse::<RendezvousAddr>()
                .is_ok_and(|w| self.account.identity.homes.iter().any(|h| h.peer == w.peer));
        let row = GroupRow {
            chat: chat.0.to_vec(),
            home,
            ours,
            confirmed: !own,
            updated_ms: turn.wall(),
            ..GroupRow::default()
        };
        let was = self.contacts.people.get(&account).map(Person::state);
        let now = turn.wall();
        let person = self.contacts.people.get_or_insert_with(account, || Person::new(&account, now));
        if !own {
            person.row.state = ContactState::Active.stored();
            if !body.name.is_empty() {
                person.row.name.clone_from(&body.name);
            }
            person.row.bot = body.bot;
        }
        // One that is from the past says nothing new.
        let news = person.take_chain(list, now_s).unwrap_or(ChainNews::Known);
        let alarm = news == ChainNews::Replaced && person.row.verified;
        person.row.key_changed |= alarm;
        person.dirty = true;
        self.contacts.index(&account);
        turn.fact(Fact::DevicesChanged(account));
        let entry = GroupEntry::new(group, live, row)?;
        self.add_group(turn, chat, entry)?;
        self.read_logs(turn, group);
        if own {
            // Who made it has told them who we are.
            return Ok(Ok(()));
        }
        let profile =
            Body::Profile(Profile { name: self.account.identity.row.name.clone(), bot: self.account.identity.row.bot });
        self.announce(turn, chat, profile);
        if alarm {
            turn.account_news(DurableEventKind::KeyChanged, account, "")?;
        }
        if was != Some(ContactState::Active) {
            turn.fact(Fact::ContactsChanged);
            turn.account_news(DurableEventKind::ContactAccepted, account, "")?;
            self.said_of(turn, account)?;
        }
        turn.delete(REQUESTS, &self.store.name("request", account.as_bytes()))?;
        Ok(Ok(()))
    }
}
