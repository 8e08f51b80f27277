//! What comes to our inboxes: items of our own devices, requests and welcomes of others.

use starling_keys::{AccountId, DeviceChain, DeviceId};
use starling_wire::{inbox::InboxBody, rendezvous::Page};
use zeroize::Zeroizing;

use crate::{
    api::{
        problem::ItemRefused,
        types::{Attempt, ContactState, DurableEventKind},
    },
    contacts::Person,
    devices::AccountDevices,
    history::{History, HistoryExchange},
    home::ReceivedItem,
    meeting::{Meeting, ShownInvite},
    mls::GroupId,
    net::HomeId,
    store::RequestRow,
    turn::{EngineError, Fact, Turn},
    views::Views,
};

/// Takes what others have left for this device.
pub struct Inbox<'a> {
    pub cx: Views<'a>,
    pub history: &'a mut History,
}

impl Inbox<'_> {
    fn meeting(&mut self) -> Meeting<'_> {
        Meeting { cx: self.cx.reborrow() }
    }

    fn devices(&mut self) -> AccountDevices<'_> {
        AccountDevices { cx: self.cx.reborrow(), history: self.history }
    }

    fn history(&mut self) -> HistoryExchange<'_> {
        HistoryExchange { cx: self.cx.reborrow(), history: self.history }
    }

    /// Items of our inbox.
    pub(crate) fn on_page(&mut self, turn: &mut Turn<'_>, home: HomeId, page: Page) -> Result<(), EngineError> {
        let entries = self.cx.homes.on_inbox_page(turn, home, page);
        if entries.is_empty() {
            return Ok(());
        }
        let secret = Zeroizing::new(self.cx.account.identity.row.seal_secret.clone());
        for entry in entries {
            let (own, public) = (self.cx.account.device(), &self.cx.account.identity.seal_public);
            let taken = match ReceivedItem::open(self.cx.mls, own, &secret, public, &entry.sealed) {
                Ok(item) => {
                    let (device, account) = (item.sender, item.list.as_ref().map(|list| list.account));
                    let taken = self.on_item(turn, item)?;
                    if let (Err(ItemRefused::RemovedDevice), Some(account)) = (&taken, account) {
                        self.note_removed(turn, account, device);
                    }
                    taken
                }
                Err(why) => Err(why),
            };
            if let Err(error) = taken {
                tracing::debug!(%error, "an inbox item was dropped");
            }
        }
        // Asked after this turn's commit: only then does the server delete what was read.
        self.cx.homes.read_inbox(turn, home);
        self.cx.account.check_packages(turn, self.cx.homes, home);
        Ok(())
    }

    /// An item of a device was refused because its account has removed it.
    fn note_removed(&self, turn: &mut Turn<'_>, account: AccountId, device: DeviceId) {
        let now_s = turn.agreed_ms() / 1000;
        let person = self.cx.contacts.people.get(&account);
        if person.is_some_and(|person| person.has_removed_before(&device, now_s)) {
            turn.fact(Fact::RefusedDeviceUsed { account, device, attempt: Attempt::Write });
        }
    }

    fn on_item(&mut self, turn: &mut Turn<'_>, item: ReceivedItem) -> Result<Result<(), ItemRefused>, EngineError> {
        let ReceivedItem { sender, list, body, encoded } = item;
        let Some(list) = list else {
            let (conversations, mut cx) = self.cx.conversing();
            if !cx.dir.may_talk(&sender) {
                return Ok(Err(ItemRefused::Stranger));
            }
            return conversations.on_left_beacons(turn, &mut cx, sender, &body.beacons).map(Ok);
        };
        let list_account = list.account;
        if list.account == self.cx.account.id() {
            let taken = self.devices().on_item_of_own(turn, sender, &body, list)?;
            if taken.is_ok() {
                self.cx.account.note_heard(turn, sender);
            }
            return match taken {
                Ok(true) if body.offer.is_some() => self.on_group_offer(turn, list_account, &body),
                Ok(true) if !body.history.is_empty() => self.history().on_message(turn, sender, &body.history).map(Ok),
                Ok(true) => self.devices().on_other_device(turn, &body),
                other => Ok(other.map(drop)),
            };
        }
        let account = list.account;
        let known = self.cx.contacts.people.get(&account).map(Person::state);
        if known == Some(ContactState::Blocked) {
            return Ok(Err(ItemRefused::Blocked));
        }
        if body.is_about_group() {
            return self.on_group_item(turn, sender, &list, &body);
        }
        let group = body.welcome.as_ref().and_then(|w| GroupId::try_from(&*w.group).ok());
        if group.is_some_and(|g| self.cx.conversations.groups.contains_key(&g)) {
            // Delivered twice: it uses its invite up once.
            return Ok(Ok(()));
        }
        let shown = self.meeting().use_invite(turn, &body.token)?;
        if shown == ShownInvite::Good || matches!(known, Some(ContactState::Active | ContactState::Outgoing)) {
            return self.meeting().join(turn, &body, list, false);
        }
        let standing = match (known, shown) {
            (Some(_), _) => 2,
            (None, ShownInvite::Spent) => 1,
            (None, _) => 0,
        };
        let row = RequestRow { body: encoded, at_ms: turn.wall(), standing };
        if self.meeting().keep_request(turn, account, &row)? {
            turn.account_event(DurableEventKind::ContactRequested, account, &body.name)?;
        }
        Ok(Ok(()))
    }

    /// A contact invites into a group, or has added this device.
    fn on_group_item(
        &mut self,
        turn: &mut Turn<'_>,
        sender: DeviceId,
        list: &DeviceChain,
        body: &InboxBody,
    ) -> Result<Result<(), ItemRefused>, EngineError> {
        let account = list.account;
        let awaits = |offer| self.cx.conversations.awaits_offer(&account, offer);
        if !self.cx.contacts.people.contains_key(&account) && body.offer.as_ref().is_some_and(awaits) {
            // Our user has asked to be let in: whoever does that need not be known.
            return self.on_group_offer(turn, account, body);
        }
        let now_s = turn.agreed_ms() / 1000;
        let person = self.cx.contacts.people.get(&account).filter(|person| person.is_linked());
        let Some(person) = person else {
            // Nothing of strangers appears unasked.
            return Ok(Err(ItemRefused::Stranger));
        };
        if person.would_not_have(&sender, list, now_s) {
            return Ok(Err(ItemRefused::RemovedDevice));
        }
        self.cx.contacts.on_newer_list(turn, self.cx.account, account, list.as_bytes())?;
        let Some(added) = &body.added else { return self.on_group_offer(turn, account, body) };
        let (conversations, mut cx) = self.cx.conversing();
        Ok(conversations.on_added(turn, &mut cx, account, added))
    }

    /// A way into a group.
    fn on_group_offer(
        &mut self,
        turn: &mut Turn<'_>,
        from: AccountId,
        body: &InboxBody,
    ) -> Result<Result<(), ItemRefused>, EngineError> {
        let Some(offer) = &body.offer else { return Ok(Ok(())) };
        let (conversations, mut cx) = self.cx.conversing();
        conversations.on_offer(turn, &mut cx, from, offer)
    }
}
