//! Messages between devices of the account about groups that one of them has entered after the other.

use starling_keys::{DeviceId, chain::Rights};
use starling_wire::{
    Clock,
    history::{GroupHistoryPage, GroupHistoryRequest, HistoryMessage, HistoryStep},
};

use super::{HistoryExchange, limits::GROUP_HISTORY_BACK_MS, receive::take_group_page};
use crate::{
    api::types::ChatId,
    contacts::Directory,
    conversation::GroupEntry,
    mls::GroupId,
    turn::{EngineError, Turn},
    views::Views,
};

impl HistoryExchange<'_> {
    /// This device has entered a group: what was written there since its account came, and before, the devices that were there give it.
    pub(crate) fn group_entered(&mut self, turn: &Turn<'_>, id: GroupId) {
        let Some((chat, epoch, sources)) = self.companions(&id) else { return };
        // Of a group that it enters again it lacks what is newer than what it has; what was written late may be older.
        let newest = self.cx.conversations.chats.get(&chat).map_or(0, |state| state.row.newest);
        let is_copied = sources.iter().any(|source| self.history.permission_of(source) != 0);
        let since = match is_copied {
            // With a permission it gets all; what it has may be from others, who give what was written since it was linked.
            true => 0,
            false => Clock::at(Clock(newest).ms().saturating_sub(GROUP_HISTORY_BACK_MS)).0,
        };
        self.history.groups.want(turn, chat, (id, epoch), (sources.as_slice(), since));
    }

    /// A device lets its history be copied: that of the groups that this one is in, too.
    pub(super) fn want_groups(&mut self, turn: &Turn<'_>, source: DeviceId) {
        let ids: Vec<GroupId> = self.cx.conversations.groups.keys().copied().collect();
        for id in ids {
            if let Some((chat, epoch, sources)) = self.companions(&id)
                && sources.contains(&source)
            {
                self.history.groups.want(turn, chat, (id, epoch), (std::slice::from_ref(&source), 0));
            }
        }
    }

    /// The conversation of a group that this device is in, the epoch, and the other devices of the account that are there.
    fn companions(&self, id: &GroupId) -> Option<(ChatId, u64, Vec<DeviceId>)> {
        let group = self.cx.conversations.groups.get(id).filter(|group| !group.row.dead)?;
        let chat = group.chat().filter(|chat| self.cx.conversations.chats.is_group_chat(*chat))?;
        let others = self.cx.account.other_devices();
        let is_there =
            |device: &&starling_keys::DeviceEntry| device.rights != Rights::Bot && group.has_member(&device.id);
        Some((chat, group.epoch(), others.iter().filter(is_there).map(|device| device.id).collect()))
    }

    /// Asks for what is lacking of groups, when it is time.
    pub(super) fn ask_for_groups(&mut self, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        let now = turn.now();
        if self.history.groups.next_due().is_none_or(|due| due > now) {
            return Ok(());
        }
        if self.cx.counters.row.superseded {
            self.history.groups.stop();
            return Ok(());
        }
        let Views { account, conversations, delivery, .. } = self.cx.reborrow();
        let is_source = |device: &DeviceId| account.has_other(device);
        let is_in = |chat: &ChatId, group: &[u8]| {
            let group = GroupId::try_from(group).ok().and_then(|id| conversations.groups.get(&id));
            group.is_some_and(|group| !group.row.dead && group.chat() == Some(*chat))
        };
        self.history.groups.retain(turn.wall(), is_source, is_in);
        let due = self.history.groups.take_due(now, |device| delivery.links.contains_key(device));
        for (source, request) in due {
            let grant = self.history.permission_of(&source);
            self.send(turn, source, &HistoryMessage { grant, step: Some(HistoryStep::GroupRequest(request)) })?;
        }
        Ok(())
    }

    /// Sends a page of a group to a device that has entered it later: one in a turn.
    pub(super) fn serve_group(
        &mut self,
        turn: &mut Turn<'_>,
        to: DeviceId,
        grant: u64,
        request: &GroupHistoryRequest,
    ) -> Result<(), EngineError> {
        let is_granted = grant != 0 && self.history.grant_of(turn, &to) == Some(grant);
        let Some(chat) = self.served_chat(&to, request) else { return Ok(()) };
        if !self.history.served_groups.insert(to) {
            return Ok(());
        }
        // Of what was written before it was linked it gets what the users of both devices have agreed on.
        let linked = if is_granted { Clock::default() } else { self.linked_at(&to) };
        let since = Clock(request.since).max(linked);
        let page = self.source().group_page(chat, (since, &request.before[..]), self.budget_for(&to))?;
        let page = GroupHistoryPage { request: Some(request.clone()), page: Some(page) };
        self.say(turn, to, grant, HistoryStep::GroupPage(page))
    }

    /// The conversation that a request is about, if this device has all that stands before the first epoch of the one that asks.
    fn served_chat(&self, to: &DeviceId, request: &GroupHistoryRequest) -> Option<ChatId> {
        let id = GroupId::try_from(&request.group[..]).ok()?;
        let is_there = |group: &&GroupEntry| !group.row.dead && group.has_member(to) && group.epoch() >= request.epoch;
        let chat = self.cx.conversations.groups.get(&id).filter(is_there)?.chat()?;
        let is_group = chat.0[..] == request.conversation[..] && self.cx.conversations.chats.is_group_chat(chat);
        is_group.then_some(chat)
    }

    /// When a device was linked to the account, as the account's chain says; the end of time if it is not on it.
    fn linked_at(&self, device: &DeviceId) -> Clock {
        let entry = self.cx.account.list().and_then(|list| list.device(device));
        entry.map_or(Clock(u64::MAX), |entry| Clock::at(entry.added_at.min(u64::from(u32::MAX)) * 1_000))
    }

    /// A page of a group has come.
    pub(super) fn on_group_page(
        &mut self,
        turn: &mut Turn<'_>,
        from: DeviceId,
        grant: u64,
        answer: &GroupHistoryPage,
    ) -> Result<(), EngineError> {
        let permission = self.history.permission_of(&from);
        if permission != 0 && grant != permission {
            // It was asked for before that was given, and lacks what goes with it: it is asked for once more.
            return Ok(());
        }
        let Some((chat, page)) = self.history.groups.awaited(&from, answer).zip(answer.page.as_ref()) else {
            return Ok(());
        };
        let own = self.cx.account.device();
        let since = if permission != 0 { Clock::default() } else { self.linked_at(&own) };
        let Views { account, contacts, conversations, .. } = self.cx.reborrow();
        take_group_page(turn, conversations, Directory { account, contacts }, chat, (page, since))?;
        self.history.groups.note_taken(turn.now(), chat, &from, &page.next);
        Ok(())
    }
}
