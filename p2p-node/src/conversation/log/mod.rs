//! Epoch logs at a rendezvous: requests to them, and when they are used.

mod append;
mod behind;
mod judged;
pub(super) mod limits;
mod parts;
mod read;
mod receipts;
mod renewal;
mod room;
mod writers;

pub(super) use parts::{Batch, parts_of};
pub use renewal::renewal_due;
pub use room::LogRoom;

use bytes::Bytes;
use starling_keys::AccountId;
use starling_wire::{
    LogVerb, eraser_of,
    rendezvous::{LogRequest, RequestBody},
};

use crate::{
    api::types::ChatId,
    contacts::Directory,
    conversation::{
        Conversations, Groups,
        context::Context,
        group::{GroupEntry, GroupId, LogKeys, log_address},
    },
    home::{Homes, Pending},
    limits::MIN_RETRY_MS,
    net::HomeId,
    store::LogRow,
    turn::Turn,
};

impl Homes {
    /// A signed request to a log of a group, if its home is up.
    pub fn request_log(
        &mut self,
        turn: &mut Turn<'_>,
        home: HomeId,
        keys: &LogKeys,
        verb: LogVerb,
        mut request: LogRequest,
        pending: impl Into<Pending>,
    ) -> bool {
        let hello = self.servers.get(&home).and_then(|h| h.hello.as_ref());
        let Some(nonce) = hello.map(|h| h.nonce.clone()) else {
            return false;
        };
        let secret = self.eraser_secret(&keys.address);
        if verb == LogVerb::Append && request.eraser.is_empty() {
            request.eraser = Bytes::copy_from_slice(&eraser_of(&secret));
        }
        request.unseen = self.unseen && verb == LogVerb::Read;
        if !request.sequences.is_empty() && request.erasing.is_empty() {
            request.erasing = Bytes::copy_from_slice(&secret);
        }
        if let Some(parent) = keys.parent.as_ref().filter(|_| matches!(verb, LogVerb::Append | LogVerb::Read)) {
            request = parent.followed_by(&nonce, &keys.address, request);
        }
        self.request(turn, home, keys.key.request(verb, &nonce, request), pending);
        true
    }
}

impl Conversations {
    /// A log of an account's direct conversation that a home has, if the account is its owner there.
    pub(crate) fn shared_log(&self, account: &AccountId, home: HomeId) -> Option<LogKeys> {
        let chat = self.chats.direct_with(account)?;
        let shared = |group: &&GroupEntry| {
            group.row.chat == chat.0 && !group.row.ours && self.groups.home_of(group.id) == Some(home)
        };
        self.groups.values().find(shared)?.known_keys()
    }

    /// The groups whose logs are at a home, when it comes up.
    pub(crate) fn logs_up(&mut self, turn: &mut Turn<'_>, cx: &mut Context<'_>, home: HomeId) {
        for id in self.groups.groups_at(home) {
            if let Some(entry) = self.groups.get_mut(&id) {
                entry.read.under_way.clear();
                entry.read.ended.clear();
                entry.forks.begin_session();
                (entry.append.under_way, entry.append.committing, entry.append.opening, entry.read.caught_up) =
                    (false, false, false, false);
                (entry.append.behind, entry.append.retry_at, entry.forks.announcing) = (false, 0, false);
                (entry.writing_door, entry.append.parts_under_way) = (false, false);
                entry.door_is_old = entry.has_door_to_write();
                entry.link_work.begin_session();
                entry.room.begin_session();
            }
            self.leave_ended_logs(turn, cx, id);
            self.read_logs(turn, cx, id);
        }
    }

    /// Our account is registered at a home: what waited for that goes on, and logs of ours that are new are opened. What is read already, or being read, is
    /// not asked for again.
    pub(crate) fn logs_registered(&mut self, turn: &mut Turn<'_>, cx: &mut Context<'_>, home: HomeId) {
        for id in self.groups.groups_at(home) {
            let Some(entry) = self.groups.get_mut(&id) else { continue };
            entry.append.retry_at = 0;
            if !entry.read.caught_up || (entry.row.ours && !entry.row.log_opened) {
                self.read_logs(turn, cx, id);
            }
        }
    }

    /// Logs at a home that were not read to their end, and boxes that were not there.
    pub(crate) fn unread_logs_up(&mut self, turn: &mut Turn<'_>, cx: &mut Context<'_>, home: HomeId) {
        for id in self.groups.groups_at(home) {
            if self.groups.get(&id).is_some_and(|g| !g.read.caught_up || g.has_unread_logs()) {
                self.read_logs(turn, cx, id);
            }
            self.look_at_boxes_again(id);
        }
    }

    /// A home that was asked too often is asked again: for logs that were not read to their end, of few groups at once. What has to wait longer is
    /// asked for after that.
    pub(crate) fn paced_logs_up(&mut self, turn: &mut Turn<'_>, cx: &mut Context<'_>, home: HomeId) {
        let now = turn.now();
        let (mut asked, mut next) = (0, cx.homes.logs_rest_until(now, &home));
        if let Some(until) = next {
            cx.homes.retry_logs_at(home, until);
            return;
        }
        for id in self.groups.groups_at(home) {
            let Some(entry) = self.groups.get(&id).filter(|entry| entry.has_logs_to_ask_for()) else { continue };
            let again_at = if asked < limits::LOGS_READ_AGAIN { entry.append.retry_at } else { now + MIN_RETRY_MS };
            if again_at > now {
                next = Some(next.map_or(again_at, |next| next.min(again_at)));
            } else if self.readable(turn, cx, id).is_some() {
                self.read_logs(turn, cx, id);
                asked += 1;
            }
        }
        if let Some(at) = next {
            cx.homes.retry_logs_at(home, at);
        }
    }

    pub(crate) fn is_linked_group(&self, dir: Directory<'_>, id: GroupId) -> bool {
        let chat = self.groups.get(&id).and_then(|g| g.row.chat.as_slice().try_into().ok()).map(ChatId);
        chat.is_some_and(|chat| self.is_reachable(dir, chat))
    }

    /// Stops following the logs of conversations of an account in which nobody is left whom we exchange messages with.
    pub(crate) fn leave_logs(&mut self, turn: &mut Turn<'_>, cx: &mut Context<'_>, account: AccountId) {
        let chats: Vec<ChatId> = self.chats.of(&account).filter(|chat| !self.is_reachable(cx.dir, *chat)).collect();
        let of_chat = |g: &&GroupEntry| chats.iter().any(|chat| g.row.chat == chat.0);
        let logs: Vec<(GroupId, Vec<[u8; 32]>)> = self
            .groups
            .values()
            .filter(of_chat)
            .map(|g| (g.id, g.logs.iter().filter_map(log_address).collect()))
            .collect();
        for (id, addresses) in logs {
            let Some(home) = self.groups.home_of(id) else { continue };
            if let Some(entry) = self.groups.get_mut(&id) {
                entry.read.caught_up = false;
            }
            for address in addresses {
                cx.homes.request(turn, home, RequestBody::LogLeave(Bytes::copy_from_slice(&address)), Pending::Nothing);
            }
        }
    }

    /// A linked person's group that is gone on in, and whose home is up.
    pub(in crate::conversation) fn usable(&self, turn: &Turn<'_>, cx: &Context<'_>, id: GroupId) -> Option<HomeId> {
        self.readable(turn, cx, id).filter(|_| self.groups.get(&id).is_some_and(|entry| !entry.row.dead))
    }

    /// The same, or one that was left as its home did not answer.
    pub(in crate::conversation) fn readable(&self, turn: &Turn<'_>, cx: &Context<'_>, id: GroupId) -> Option<HomeId> {
        let entry = self.groups.get(&id)?;
        let is_over = entry.row.dead && !entry.row.left;
        if !self.is_linked_group(cx.dir, id) || is_over || entry.append.retry_at > turn.now() {
            return None;
        }
        let home = self.groups.home_of(id)?;
        cx.homes.servers.get(&home)?.hello.as_ref().map(|_| home)
    }
}

impl GroupEntry {
    /// Whether it has logs that were not read to their end, and of which no page is under way. One of ours that is new has to be opened before.
    fn has_logs_to_ask_for(&self) -> bool {
        let is_idle = self.logs.iter().any(|log| !self.read.under_way.contains(&log.epoch));
        let is_unread = !self.read.caught_up || self.has_unread_logs();
        is_idle && is_unread && (!self.row.ours || self.row.log_opened)
    }
}

impl Groups {
    /// Stops following those of a group's logs in which nobody writes any more; gives them.
    fn leave_ended_logs(&mut self, turn: &mut Turn<'_>, cx: &mut Context<'_>, id: GroupId) -> Vec<LogRow> {
        let Some(home) = self.home_of(id) else { return Vec::new() };
        let Some(entry) = self.entries.get_mut(&id) else { return Vec::new() };
        let left = entry.leave_logs(turn.wall());
        for address in left.iter().filter_map(log_address) {
            self.logs.remove(&address);
            cx.homes.request(turn, home, RequestBody::LogLeave(Bytes::copy_from_slice(&address)), Pending::Nothing);
        }
        left
    }
}
