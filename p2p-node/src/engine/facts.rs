//! What follows from facts, for each capability that they mean something to.

use starling_keys::{
    AccountId, DeviceChain, DeviceId,
    chain::{Change, ChangeKind},
};
use starling_wire::Devices;

use super::Engine;
use crate::{
    api::{
        problem::ChatProblem,
        types::{ChatId, DurableEventKind, TransientEvent},
    },
    calls::Calls,
    contacts::Directory,
    conversation::ChatState,
    mls::GroupId,
    net::HomeId,
    roster::GroupMember,
    turn::{EngineError, EventFact, Fact, HomeFact, Turn},
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
            Fact::Home(home, fact) => self.follow_home(turn, home, fact)?,
            Fact::LinkUp(device) => self.on_link_up(turn, device)?,
            Fact::LinkDown(device) => self.on_link_down(turn, device),
            Fact::LinkSilent(device) => self.on_device_away(turn, device),
            Fact::LinkAnswers(device) => self.on_device_back(turn, device),
            Fact::RemovedDeviceUsed { device, attempt } => self.devices().note_tried(turn, device, attempt)?,
            Fact::RefusedDeviceUsed { account, device, attempt } => {
                self.devices().tell_owner(turn, account, device, attempt);
            }
            Fact::DevicesChanged(account) => self.on_devices_changed(turn, account)?,
            Fact::ContactDevices { account, withdrawn, changes } => {
                self.on_contact_devices(turn, account, &withdrawn, &changes)?;
            }
            Fact::MemberChain { account, chain } => self.on_member_chain(turn, account, chain)?,
            Fact::ContactSentChain(account) => self.devices().echo_chain(turn, account),
            Fact::ContactChainMisused(chain) => self.devices().send_back(turn, &chain),
            Fact::ContactForked(chain) => self.on_contact_forked(turn, &chain)?,
            Fact::OwnDeviceAdded(_) => self.on_own_device_added(turn),
            Fact::OwnDeviceRemoved(device) => self.on_own_device_removed(turn, device),
            Fact::AudienceChanged => self.on_audience_changed(turn),
            Fact::Certified => self.on_certified()?,
            Fact::ProfileOutdated => self.on_profile_outdated(turn)?,
            Fact::OwnDeviceCopied(device) => self.on_own_device_copied(turn, device)?,
            Fact::AccountSuperseded => self.on_account_superseded(turn)?,
            Fact::ContactsChanged => self.account.snapshot_soon(turn, &mut self.counters),
            Fact::ContactUnlinked(account) => self.on_contact_unlinked(turn, account)?,
            Fact::ReachChanged => self.reach.changed = true,
            Fact::InviteUsed(token) => self.account.end_code_of(turn, &mut self.homes, &token),
            Fact::DeviceJoined { account, device } => {
                self.contacts.owners.note_joined(&GroupMember { account, device });
            }
            Fact::LogOpened(group) => self.homes.outbound_items_of_group_up(turn, group),
            Fact::GroupDamaged => self.on_group_damaged(turn)?,
            Fact::GroupEntered(group) => self.on_group_entered(turn, group),
            Fact::GroupAbandoned => self.meeting().regroup(turn)?,
            Fact::GroupLost(group) => {
                let (conversations, mut cx) = self.conversing();
                conversations.enter_again(turn, &mut cx, group)?;
            }
            Fact::WelcomeSent(group) => {
                let (conversations, cx) = self.conversing();
                conversations.welcome_sent(turn, &cx, group)?;
            }
            Fact::OutboundItemProblem { account, problem } => self.on_outbound_item_problem(turn, account, problem),
            Fact::OwnDeviceAt { device, addresses, lan_key } => {
                self.account.own_devices.addresses.insert(device, addresses);
                self.account.own_devices.lan_keys.extend(lan_key.map(|key| (device, key)));
                turn.fact(Fact::ReachChanged);
            }
            Fact::Event(fact) => self.follow_event(turn, fact)?,
        }
        Ok(())
    }

    /// What follows from what a server did.
    fn follow_home(&mut self, turn: &mut Turn<'_>, home: HomeId, fact: HomeFact) -> Result<(), EngineError> {
        match fact {
            HomeFact::Up => self.on_home_up(turn, home)?,
            HomeFact::Registered => self.on_home_registered(turn, home)?,
            HomeFact::Retry => self.on_home_retry(turn, home)?,
            HomeFact::RetryLogs => {
                let (conversations, mut cx) = self.conversing();
                conversations.paced_logs_up(turn, &mut cx, home);
            }
            HomeFact::Down => {
                self.conversations.groups.readers_gone(home);
                self.conversations.pass_on_without(turn, home);
                self.account.codes_lost(&home);
            }
            HomeFact::Lost => {
                self.conversations.strand(home);
                self.redirect_outbound_items(turn)?;
            }
            HomeFact::Answers => {
                self.conversations.look_at_stranded();
                self.redirect_outbound_items(turn)?;
                self.send_outbound_items(turn, home);
            }
            HomeFact::OutboundItemsWait if self.homes.is_lost(&home) => self.redirect_outbound_items(turn)?,
            HomeFact::OutboundItemsWait => self.send_outbound_items(turn, home),
        }
        Ok(())
    }

    fn on_link_down(&mut self, turn: &mut Turn<'_>, device: DeviceId) {
        let dir = Directory { account: &self.account, contacts: &self.contacts };
        self.conversations.chats.receipts_of_lost_link(turn, dir, &device);
        self.on_device_away(turn, device);
    }

    /// A device has gone, or does not answer.
    fn on_device_away(&mut self, turn: &mut Turn<'_>, device: DeviceId) {
        let (presence, mut views) = self.presenting();
        presence.contact_left(turn, &mut views, &device);
        let dir = Directory { account: &self.account, contacts: &self.contacts };
        self.conversations.chats.strand_with(dir, &self.homes, &device);
    }

    /// A device that did not answer does again.
    fn on_device_back(&mut self, turn: &mut Turn<'_>, device: DeviceId) {
        for chat in self.conversations.chats.chats_of(self.directory(), &device) {
            let (presence, mut views) = self.presenting();
            presence.tell_presence(turn, &mut views, chat, true);
        }
    }

    /// A contact's chain has other changes than were known.
    fn on_contact_devices(
        &mut self,
        turn: &mut Turn<'_>,
        account: AccountId,
        withdrawn: &[Change],
        changes: &[Change],
    ) -> Result<(), EngineError> {
        if changes.iter().any(|change| change.kind == ChangeKind::Left) {
            // Our conversation gets a group without it.
            self.homes.expect_items(turn);
        }
        self.devices().show_contact_devices(turn, account, withdrawn, changes)
    }

    /// A member of a group has shown the chain of another account of it.
    fn on_member_chain(&mut self, turn: &mut Turn<'_>, account: AccountId, chain: Vec<u8>) -> Result<(), EngineError> {
        let devices = Devices { list: chain, labels: Vec::new() };
        self.devices().on_device_list(turn, account, &devices)
    }

    /// A contact's chain contradicts the one that was known for long.
    fn on_contact_forked(&mut self, turn: &mut Turn<'_>, chain: &DeviceChain) -> Result<(), EngineError> {
        self.devices().show_fork(turn, chain)?;
        self.devices().send_back(turn, chain);
        Ok(())
    }

    fn on_own_device_added(&mut self, turn: &mut Turn<'_>) {
        self.counters.row.greeting_pending = true;
        self.account.snapshot_soon(turn, &mut self.counters);
    }

    /// What certifies this device is another: groups show it from now on.
    fn on_certified(&mut self) -> Result<(), EngineError> {
        let identity = &self.account.identity;
        self.mls = self.mls.certified(&identity.certificate, &identity.device_key)?;
        Ok(())
    }

    fn on_own_device_removed(&mut self, turn: &mut Turn<'_>, device: DeviceId) {
        self.delivery.links.remove(&device);
        self.devices().send_chain_on_streams(turn);
        // Our conversations get groups without it.
        self.homes.expect_items(turn);
        // It is not to read what is written from now on.
        self.account.snapshot_soon(turn, &mut self.counters);
    }

    /// The devices of an account, ours or a contact's, are others.
    fn on_devices_changed(&mut self, turn: &mut Turn<'_>, account: AccountId) -> Result<(), EngineError> {
        self.reach.changed = true;
        if account == self.account.id() {
            self.conversations.regroup.look.all();
            // Which groups fit, and who is waited for, may have changed for all of them.
            self.conversations.chats.touch_all();
            self.history().devices_changed(turn);
        } else {
            let conversations = &mut self.conversations;
            conversations.regroup.look.at_each(conversations.chats.memberships.of(&account));
            conversations.touch_groups_with(&account);
            self.contacts.people.touch(account);
            self.contacts.connects_moved(turn, &mut self.homes, &account);
            let (conversations, mut cx) = self.conversing();
            conversations.offer_to_devices_of(turn, &mut cx, &account)?;
        }
        self.with_calls(turn, |calls, host| calls.devices_changed(host, account))?;
        Ok(())
    }

    /// A group cannot be read, and was given up.
    fn on_group_damaged(&mut self, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        self.meeting().regroup(turn)?;
        turn.transient_event(TransientEvent::Net);
        Ok(())
    }

    fn on_group_entered(&mut self, turn: &mut Turn<'_>, group: GroupId) {
        let members = self.conversations.groups.get(&group).map(|group| group.members.clone());
        members.iter().flatten().for_each(|member| self.contacts.owners.note_joined(member));
        self.history().group_entered(turn, group);
    }

    /// Something keeps an item from somebody's inbox, or nothing does any more: their conversation shows it.
    fn on_outbound_item_problem(&mut self, turn: &mut Turn<'_>, account: AccountId, problem: Option<ChatProblem>) {
        if let Some(chat) = self.conversations.chats.direct_with(&account) {
            self.conversations.chats.set_problem(turn, chat, problem);
        }
    }

    /// This profile is an older copy of its device.
    fn on_profile_outdated(&mut self, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        self.conversations.regroup.stop();
        self.reach.changed = true;
        self.with_calls(turn, Calls::account_superseded)?;
        turn.transient_event(TransientEvent::Net);
        Ok(())
    }

    /// The user is warned once of a device of ours that is there twice.
    fn on_own_device_copied(&mut self, turn: &mut Turn<'_>, device: DeviceId) -> Result<(), EngineError> {
        if self.account.own_devices.copied.insert(device) {
            turn.account_event(DurableEventKind::DeviceCopied, self.account.id(), &device.to_string())?;
        }
        Ok(())
    }

    /// This device is no longer one of its account.
    fn on_account_superseded(&mut self, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        // The device that has taken our place may not know whom we know.
        self.devices().send_chain_on_streams(turn);
        self.homes.superseded();
        self.conversations.regroup.stop();
        self.with_calls(turn, Calls::account_superseded)?;
        Ok(())
    }

    /// What follows from what was written into conversations.
    fn follow_event(&mut self, turn: &mut Turn<'_>, fact: EventFact) -> Result<(), EngineError> {
        match fact {
            EventFact::Arrived(chat) => self.conversations.chats.write_draft(turn, chat)?,
            EventFact::AckDue { device, chat, group } => self.on_ack_due(turn, device, chat, group),
            EventFact::Receipt { chat, device, upto, clock } => {
                let (conversations, mut cx) = self.conversing();
                conversations.acknowledged(turn, &mut cx, chat, device, (upto, clock))?;
            }
            EventFact::Missing { chat, device, missing } => {
                let (conversations, cx) = self.conversing();
                conversations.on_missing(turn, &cx, (chat, device), missing);
            }
            EventFact::Acknowledged { chat, device, upto } => self.on_acknowledged(turn, chat, device, upto)?,
            EventFact::Delivered(chat) => self.delivery.schedule_delivered(&self.account, chat),
            EventFact::OutboxRenewed(chat) => {
                let dir = Directory { account: &self.account, contacts: &self.contacts };
                self.delivery.rewind(&self.conversations, dir, chat);
            }
            EventFact::Wrote { chat, account, at_ms } => {
                let (presence, mut views) = self.presenting();
                presence.has_written(turn, &mut views, chat, account, at_ms);
            }
            EventFact::Profile { account, profile, event } => {
                self.contacts.on_profile(turn, account, profile, event)?;
            }
            EventFact::MemberProfile { account, profile, event } => {
                self.contacts.on_member_profile(turn, account, &profile, event);
            }
            EventFact::Introduced(chat) => self.conversations.introduced_elsewhere(chat),
            EventFact::Leave { chat, account, device, leave } => {
                let dir = Directory { account: &self.account, contacts: &self.contacts };
                self.conversations.on_leave(turn, dir, chat, (account, device), &leave)?;
            }
            EventFact::Audit { chat, part } => self.conversations.on_audit_part(turn, chat, &part)?,
            EventFact::Ways { chat, account, ways } => {
                let (conversations, mut cx) = self.conversing();
                conversations.on_ways(turn, &mut cx, (chat, account), &ways)?;
            }
            EventFact::Report { chat, account, device, report } => {
                let (conversations, mut cx) = self.conversing();
                conversations.on_report(turn, &mut cx, (chat, account, device), &report)?;
            }
            EventFact::HandedHistory { from, history } => {
                let (conversations, mut cx) = self.conversing();
                conversations.on_handed_history(turn, &mut cx, &from, &history)?;
            }
            EventFact::Set(chat, what) => self.sync().set_of_chat(turn, chat, what)?,
            EventFact::Cut { chat, account, via, said, cut } => {
                let dir = Directory { account: &self.account, contacts: &self.contacts };
                self.conversations.apply_cut(turn, dir, chat, (account, via, said), &cut)?;
            }
            EventFact::KnownChain { chat, from, chain } => self.devices().on_known_chain(turn, chat, from, &chain),
            EventFact::DeviceList { account, devices } => self.devices().on_device_list(turn, account, &devices)?,
            EventFact::RemovedDeviceUse { account, used } => self.devices().on_reported_use(turn, account, used)?,
            EventFact::CallSignal(sender, call) => {
                self.with_calls(turn, |calls, host| calls.on_signal(host, &sender, call))?;
            }
        }
        Ok(())
    }

    /// A device waits to hear that its events are here: on its stream, or by a receipt in the log.
    fn on_ack_due(&mut self, turn: &mut Turn<'_>, device: DeviceId, chat: ChatId, group: GroupId) {
        // In a large group an author would be answered each message by everybody that it is connected to. Devices of ours are told all the same, as
        // they find out by that whether one of them is a copy.
        let acknowledges = self.conversations.chats.get(&chat).is_none_or(ChatState::acknowledges);
        if !acknowledges && !self.account.has_other(&device) {
            return;
        }
        if !self.delivery.schedule_ack(device, chat, group) {
            self.conversations.chats.schedule_receipt(turn, chat);
        }
    }

    /// A device has more of our events of a conversation: they are sent to it no more.
    fn on_acknowledged(
        &mut self,
        turn: &mut Turn<'_>,
        chat: ChatId,
        device: DeviceId,
        upto: u64,
    ) -> Result<(), EngineError> {
        self.delivery.acknowledged(turn, chat, device, upto);
        let of_chat = |group: &_| self.conversations.groups.get(group).is_none_or(|g| g.chat() == Some(chat));
        self.homes.forget_kept(turn, &device, of_chat)?;
        Ok(())
    }

    fn on_link_up(&mut self, turn: &mut Turn<'_>, device: DeviceId) -> Result<(), EngineError> {
        self.devices().send_chain_on_stream(turn, device);
        self.sync().tell_all_settings(turn, &device);
        self.history().link_up(turn, device)?;
        let (conversations, mut cx) = self.conversing();
        conversations.beacons_to(turn, &mut cx, device);
        for chat in self.conversations.chats.chats_of(self.directory(), &device) {
            let (conversations, mut cx) = self.conversing();
            conversations.chats.read_again(turn, &mut cx, chat);
            let (presence, mut views) = self.presenting();
            presence.tell_presence(turn, &mut views, chat, true);
        }
        Ok(())
    }

    fn on_home_up(&mut self, turn: &mut Turn<'_>, home: HomeId) -> Result<(), EngineError> {
        self.account.publish_on_up(turn, &mut self.homes, home);
        {
            let (conversations, mut cx) = self.conversing();
            conversations.logs_up(turn, &mut cx, home);
            conversations.doors_up(turn, &mut cx, home);
            conversations.looks_up(turn, &mut cx, home);
        }
        self.conversations.trims_up(turn, &mut self.homes, home)?;
        let dir = Directory { account: &self.account, contacts: &self.contacts };
        self.conversations.receipts_up(turn, dir, home);
        self.contacts.connects_up(turn, &mut self.homes, home);
        self.send_outbound_items(turn, home);
        self.account.codes_up(turn, &mut self.homes, home);
        Ok(())
    }

    fn on_home_registered(&mut self, turn: &mut Turn<'_>, home: HomeId) -> Result<(), EngineError> {
        self.devices().account_registered(turn, home);
        self.devices().ask_for_own_chain(turn);
        self.homes.read_inbox(turn, home);
        self.meeting().register_invites(turn, home)?;
        {
            let (conversations, mut cx) = self.conversing();
            conversations.logs_registered(turn, &mut cx, home);
        }
        self.account.codes_up(turn, &mut self.homes, home);
        self.meeting().regroup(turn)?;
        self.conversations.look_at_stranded();
        Ok(())
    }

    /// Logs are read again, counted among their readers or not.
    fn on_audience_changed(&mut self, turn: &mut Turn<'_>) {
        let unseen = self.account.is_unseen();
        if std::mem::replace(&mut self.homes.unseen, unseen) == unseen {
            return;
        }
        let groups: Vec<_> = self.conversations.groups.keys().copied().collect();
        for group in groups {
            let (conversations, mut cx) = self.conversing();
            conversations.read_log_again(turn, &mut cx, group);
        }
    }

    fn on_home_retry(&mut self, turn: &mut Turn<'_>, home: HomeId) -> Result<(), EngineError> {
        self.devices().account_retries(turn, home);
        if self.homes.is_registered(&home) {
            self.homes.read_inbox(turn, home);
            self.meeting().register_invites(turn, home)?;
            self.meeting().regroup(turn)?;
        }
        self.send_outbound_items(turn, home);
        {
            let (conversations, mut cx) = self.conversing();
            conversations.unread_logs_up(turn, &mut cx, home);
        }
        self.conversations.trims_up(turn, &mut self.homes, home)?;
        Ok(())
    }

    fn on_contact_unlinked(&mut self, turn: &mut Turn<'_>, account: AccountId) -> Result<(), EngineError> {
        let chat = self.views().chat_with(turn, account);
        self.with_calls(turn, |calls, host| calls.end_all_in(host, chat))?;
        let dir = Directory { account: &self.account, contacts: &self.contacts };
        self.delivery.drop_links_of(dir, &account);
        let (conversations, mut cx) = self.conversing();
        conversations.leave_logs(turn, &mut cx, account);
        // They recognise us on no LAN any more, and the others learn how they do.
        self.account.identity.renew_lan_key();
        turn.fact(Fact::ReachChanged);
        let (presence, mut views) = self.presenting();
        presence.tell_presence_to_all(turn, &mut views);
        self.account.snapshot_soon(turn, &mut self.counters);
        Ok(())
    }
}
