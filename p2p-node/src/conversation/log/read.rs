//! Reading logs: pages, what is pushed, and the commits that end an epoch.

use bytes::Bytes;
use starling_wire::{
    Candidate, LogContent, LogVerb,
    limits::MAX_ENTRY,
    rendezvous::{LogEntry, LogRequest, Page},
};

use crate::{
    api::types::Via,
    conversation::{
        Conversations, GroupEntry, Groups, context::Context, fork::Teller, group::GroupId, group_state::Followed,
        receive::Taken,
    },
    home::{Homes, LogPending, LogPlace},
    net::HomeId,
    turn::{EngineError, Turn},
};

impl Groups {
    /// A home is gone: nobody is known to read the logs there, and what they have next is not known.
    pub(crate) fn readers_gone(&mut self, home: HomeId) {
        for group in self.groups_at(home) {
            if let Some(entry) = self.entries.get_mut(&group) {
                entry.read.others = 0;
                entry.read.ended.clear();
            }
        }
    }

    pub(super) fn read_log(
        &mut self,
        turn: &mut Turn<'_>,
        homes: &mut Homes,
        home: HomeId,
        id: GroupId,
        epoch: u64,
        after: u64,
    ) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        let Some(keys) = entry.keys_of(epoch) else {
            return;
        };
        if let Some(until) = homes.logs_rest_until(turn.now(), &home) {
            // It was asked too often, and would be so for longer. All logs of the group that are not read to their end are read then.
            entry.read.caught_up = false;
            homes.retry_logs_at(home, until);
            return;
        }
        entry.read.under_way.push(epoch);
        let request = LogRequest { after, ..LogRequest::default() };
        homes.request_log(turn, home, &keys, LogVerb::Read, request, LogPending::Read(id, epoch));
    }
}

impl Conversations {
    /// Opens the log if it is ours and new, and reads every log that was not read to its end.
    pub(crate) fn read_logs(&mut self, turn: &mut Turn<'_>, cx: &mut Context<'_>, id: GroupId) {
        let Some(home) = self.readable(turn, cx, id) else { return };
        let registered = cx.homes.servers.get(&home).is_some_and(|h| h.registered);
        let Some(entry) = self.groups.get_mut(&id) else {
            return;
        };
        if entry.row.ours && !entry.row.log_opened {
            if entry.row.dead {
                entry.end_left();
                return;
            }
            if !entry.append.opening
                && registered
                && let Some(keys) = entry.current_keys()
            {
                entry.append.opening = true;
                cx.homes.request_log(turn, home, &keys, LogVerb::Open, LogRequest::default(), LogPending::Open(id));
            }
            return;
        }
        let due: Vec<(u64, u64)> = entry
            .logs
            .iter()
            .filter(|l| !entry.read.under_way.contains(&l.epoch))
            .map(|l| (l.epoch, l.cursor))
            .collect();
        for (epoch, cursor) in due {
            self.groups.read_log(turn, cx.homes, home, id, epoch, cursor);
        }
    }

    /// The log of an epoch that was left by what a member has told is read to its end, unless a page of it is under way.
    pub(in crate::conversation) fn read_to_end(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        (id, epoch): (GroupId, u64),
    ) {
        let is_due = |entry: &GroupEntry| entry.is_unread(epoch) && !entry.read.under_way.contains(&epoch);
        let Some(entry) = self.groups.get(&id).filter(|entry| is_due(entry)) else { return };
        let cursor = entry.logs.iter().find(|log| log.epoch == epoch).map(|log| log.cursor);
        if let Some((cursor, home)) = cursor.zip(self.readable(turn, cx, id)) {
            self.groups.read_log(turn, cx.homes, home, id, epoch, cursor);
        }
    }

    /// Something was seen that lies ahead: look at the log once more.
    pub(crate) fn read_log_again(&mut self, turn: &mut Turn<'_>, cx: &mut Context<'_>, id: GroupId) {
        if let Some(entry) = self.groups.get_mut(&id) {
            if entry.read.under_way.is_empty() {
                self.read_logs(turn, cx, id);
            } else {
                let epoch = entry.epoch();
                entry.read.again.push(epoch);
            }
        }
    }

    /// A page that was asked for.
    pub(crate) fn on_log_page(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        home: HomeId,
        id: GroupId,
        epoch: u64,
        page: Page,
    ) -> Result<(), EngineError> {
        self.take_log_page(turn, cx, home, (id, epoch), page)?;
        self.leave_read_log(turn, cx, (id, epoch))?;
        self.follow_waiting(turn, cx, id)
    }

    fn take_log_page(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        home: HomeId,
        (id, epoch): (GroupId, u64),
        page: Page,
    ) -> Result<(), EngineError> {
        if let Some(entry) = self.groups.get_mut(&id) {
            entry.read.under_way.retain(|e| *e != epoch);
        }
        let cursor_of = |this: &Self| {
            let entry = this.groups.get(&id)?;
            entry.logs.iter().find(|log| log.epoch == epoch).map(|log| log.cursor)
        };
        let was_current = self.groups.get(&id).is_some_and(|entry| entry.epoch() == epoch);
        let (address, before) = (self.groups.log_place(id, epoch).map(|place| place.address), cursor_of(self));
        self.on_log_entries(turn, cx, id, epoch, page.entries)?;
        let cursor = cursor_of(self);
        if self.groups.log_place(id, epoch).map(|place| place.address) != address
            || self.waits_for_devices(turn, cx.dir, id)
        {
            // The epoch of this number is another one now, and its log is read from its beginning; or it is read later.
            return Ok(());
        }
        let Some(entry) = self.groups.get_mut(&id).filter(|entry| !entry.is_newer()) else {
            return Ok(());
        };
        let is_current = entry.epoch() == epoch;
        // Of a log that is over a page with nothing new is the last, whatever its home says.
        let more = page.more && (is_current || cursor > before);
        // What it says of a commit may have come into the log after this page.
        let has_more = entry.read.take_pushed(epoch).is_some_and(|pushed| Some(pushed) > cursor);
        let again = has_more || entry.read.again.contains(&epoch) || (was_current && entry.is_unread(epoch));
        entry.read.again.retain(|e| *e != epoch);
        match cursor {
            Some(cursor) if more || again => self.groups.read_log(turn, cx.homes, home, id, epoch, cursor),
            Some(_) if is_current => {
                (entry.read.caught_up, entry.append.behind) = (true, false);
                entry.end_left();
                entry.forks.log_read();
                if let Some(chat) = entry.chat() {
                    self.forget_offer_again(chat);
                }
            }
            Some(_) => drop(entry.read.ended.insert(epoch)),
            None => {}
        }
        Ok(())
    }

    /// Leaves the log of an epoch that is over, if it was followed for what members had told alone and has been read as far as that counts.
    pub(in crate::conversation) fn leave_read_log(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        (id, epoch): (GroupId, u64),
    ) -> Result<(), EngineError> {
        let is_left = |entry: &GroupEntry| {
            let is_over = epoch + 1 < entry.epoch() && !entry.is_unread(epoch);
            is_over && entry.logs.iter().any(|log| log.epoch == epoch)
        };
        let Some(entry) = self.groups.get(&id).filter(|entry| is_left(entry)) else { return Ok(()) };
        let chat = entry.chat();
        self.leave_past_logs(turn, cx, id)?;
        // What of ours was not found there is written again.
        chat.map_or(Ok(()), |chat| self.renew_outbox(turn, cx, chat))
    }

    /// Leaves the logs of a group that are not read any more.
    fn leave_past_logs(&mut self, turn: &mut Turn<'_>, cx: &mut Context<'_>, id: GroupId) -> Result<(), EngineError> {
        let epochs = |this: &Self| this.groups.get(&id).map(|g| g.logs.iter().map(|log| log.epoch).collect::<Vec<_>>());
        let before = epochs(self).unwrap_or_default();
        self.leave_ended_logs(turn, cx, id);
        let after = epochs(self).unwrap_or_default();
        let mut left = before.into_iter().filter(|epoch| !after.contains(epoch));
        left.try_for_each(|left| self.lose_unread(turn, (id, left)))
    }

    /// A page that was pushed.
    pub(crate) fn on_log_push(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        home: HomeId,
        page: Page,
    ) -> Result<(), EngineError> {
        let Ok(address) = <[u8; 32]>::try_from(&*page.address) else { return Ok(()) };
        let Some((id, epoch)) = self.groups.logs.get(&address).copied() else {
            self.on_box_push(turn, cx, &address);
            return Ok(());
        };
        let Some(entry) = self.groups.get_mut(&id) else {
            return Ok(());
        };
        if entry.read.under_way.contains(&epoch) {
            // The page that is under way may hold what came before this: taken in order, nothing is skipped.
            entry.read.note_pushed(epoch, &page);
            return Ok(());
        }
        let cursor = entry.logs.iter().find(|l| l.epoch == epoch).map(|l| l.cursor);
        let next = page.entries.first().map(|e| e.sequence);
        let follows = cursor.zip(next).is_some_and(|(cursor, next)| next.saturating_sub(1) <= cursor);
        if page.more || !follows {
            // Pushes of two writers may overtake each other, and who has appended is not told what.
            self.groups.read_log(turn, cx.homes, home, id, epoch, cursor.unwrap_or(0));
            return Ok(());
        }
        self.on_log_entries(turn, cx, id, epoch, page.entries)?;
        self.leave_read_log(turn, cx, (id, epoch))
    }

    pub(super) fn on_log_entries(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        id: GroupId,
        epoch: u64,
        entries: Vec<LogEntry>,
    ) -> Result<(), EngineError> {
        let is_newer = self.groups.get(&id).is_some_and(GroupEntry::is_newer);
        let cannot_be_read = is_newer || self.is_outdated_group(id);
        if cannot_be_read || !self.is_linked_group(cx.dir, id) || self.waits_for_devices(turn, cx.dir, id) {
            // The cursor stays: should they be let in again, or this program be updated, this is read then.
            return Ok(());
        }
        let address = self.groups.log_place(id, epoch).map(|place| place.address);
        for entry in entries {
            let Some(group) = self.groups.get_mut(&id) else {
                return Ok(());
            };
            let Some(keys) = group.keys_of(epoch).filter(|keys| Some(keys.address) == address) else {
                // One of them has led to another epoch of the same number.
                return Ok(());
            };
            if !group.advance(epoch, entry.sequence, &entry.sealed) {
                continue;
            }
            let place = self.groups.log_place(id, epoch);
            let content = keys.open_entry(&entry.sealed).map(|content| LogContent::from_bytes(content.into()));
            let may_end = entry.stays && !matches!(content, Some(Ok(LogContent::Part(_))));
            let (taken, own) = match content {
                Some(Ok(content)) => self.on_log_content(turn, cx, (id, epoch), &entry, content)?,
                Some(Err(_)) | None => {
                    tracing::warn!("a log entry cannot be opened");
                    (Taken::Nothing, None)
                }
            };
            if may_end && let Some(group) = self.groups.get_mut(&id) {
                group.note_candidate(epoch);
            }
            self.note_written(cx, (id, epoch), taken, entry.sealed.len());
            let for_us_alone = self.groups.get(&id).is_some_and(|g| g.members.len() == 2);
            match place {
                Some(place) if taken == Taken::Own => {
                    self.take_own(turn, cx, (place, id, epoch), entry.sequence, own)?;
                }
                Some(place) if matches!(taken, Taken::Receipts(_)) && for_us_alone => {
                    self.logged.found_needless(turn, &place, entry.sequence)?;
                    self.trim_chat(turn, cx.homes, place.chat);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Takes what an entry of a log holds. Gives what it was and, of a message of ours, its ciphertext.
    fn on_log_content(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        (id, epoch): (GroupId, u64),
        entry: &LogEntry,
        content: LogContent,
    ) -> Result<(Taken, Option<Bytes>), EngineError> {
        let mut own = None;
        let taken = match content {
            LogContent::Message(message) if self.is_behind_winner(id, epoch) => {
                self.pass_over(turn, cx, (id, epoch), &message)?;
                Taken::BesideCommits
            }
            LogContent::Message(message) => {
                let taken = self.on_message(turn, cx, id, None, Via::Log, &message)?;
                self.gossip_logged(turn, id, &message)?;
                // Commits of version 0.1 are not marked.
                let is_ours = taken == Taken::Own && self.groups.get(&id).is_some_and(|g| g.has_pending);
                if (taken == Taken::Commit || is_ours) && message.len() <= MAX_ENTRY {
                    self.on_commit(turn, cx, (id, epoch), &message)?;
                }
                own = Some(message).filter(|_| taken == Taken::Own && !is_ours);
                taken
            }
            LogContent::Candidate(Candidate { commit }) => {
                if commit.len() <= MAX_ENTRY {
                    self.on_commit(turn, cx, (id, epoch), &commit)?;
                }
                Taken::Commit
            }
            // What its author can delete does not count: who reads the log later would not find it.
            LogContent::Part(_) | LogContent::LargeCandidate(_) if !entry.stays => Taken::Nothing,
            LogContent::Part(part) => {
                self.keep_part(turn, (id, epoch), entry.sequence, part)?;
                Taken::BesideCommits
            }
            LogContent::LargeCandidate(names) => {
                if let Some(commit) = self.join_parts(turn, (id, epoch), entry.sequence, &names)? {
                    self.on_commit(turn, cx, (id, epoch), &commit)?;
                }
                Taken::Commit
            }
            LogContent::Beacon(beacon) => {
                self.on_beacon(turn, cx, Teller::Log, id, &beacon)?;
                Taken::BesideCommits
            }
        };
        Ok((taken, own))
    }

    /// Something of ours stands in a log: a message, or what goes with commits.
    fn take_own(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        (place, id, epoch): (LogPlace, GroupId, u64),
        sequence: u64,
        message: Option<Bytes>,
    ) -> Result<(), EngineError> {
        self.found_own(turn, &place, sequence)?;
        if let Some(message) = message {
            self.judge_own(turn, cx.dir, (place.chat, id, epoch), &message)?;
            self.own_logged(turn, cx, (place, epoch), &message)?;
        }
        Ok(())
    }

    /// A commit was read in the log of an epoch. The first valid one moves the group to the next; what comes after it does not count.
    fn on_commit(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        (id, epoch): (GroupId, u64),
        commit: &Bytes,
    ) -> Result<(), EngineError> {
        let Some(entry) = self.groups.get(&id).filter(|entry| !entry.row.dead || entry.row.left) else { return Ok(()) };
        if entry.was_told(epoch) {
            return self.on_told_commit(turn, cx, Teller::Winner, (id, epoch), std::slice::from_ref(commit));
        }
        if entry.epoch() != epoch {
            return Ok(());
        }
        let Some(mut group) = self.open(turn, cx.mls, id)? else { return Ok(()) };
        match group.follow(turn, cx.mls, (commit, false))? {
            Followed::Yes => self.on_epoch(turn, cx, id),
            Followed::With(newcomers, differs) => {
                self.let_all_in(turn, cx.dir, id, newcomers)?;
                self.on_epoch(turn, cx, id)?;
                if differs { self.groups.report_fork(turn, (id, epoch)) } else { Ok(()) }
            }
            Followed::Differently => {
                self.on_epoch(turn, cx, id)?;
                self.groups.report_fork(turn, (id, epoch))
            }
            Followed::Void => Ok(()),
            // The others may have gone on where we cannot: with us they can only in another group.
            Followed::Lost => self.go_on_elsewhere(turn, cx, id),
            Followed::Removed(policy) => self.on_removed(turn, cx, id, &policy),
        }
    }

    /// Members have gone on where this device cannot follow: it enters a group again by its door; of a direct conversation another is made.
    pub(in crate::conversation) fn go_on_elsewhere(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        id: GroupId,
    ) -> Result<(), EngineError> {
        if self.has_policy(id) {
            return self.enter_again(turn, cx, id);
        }
        self.abandon_group(turn, id);
        Ok(())
    }

    /// A group has come to its next epoch: messages go into another log now.
    pub(in crate::conversation) fn on_epoch(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        id: GroupId,
    ) -> Result<(), EngineError> {
        self.leave_past_logs(turn, cx, id)?;
        self.on_room(turn, id);
        let Some(group) = self.groups.get_mut(&id) else { return Ok(()) };
        group.append.retry_at = 0;
        let (epoch, chat) = (group.epoch(), group.chat());
        if let Some(keys) = group.current_keys() {
            self.groups.logs.insert(keys.address, (id, epoch));
        }
        if let Some(home) = self.readable(turn, cx, id) {
            self.groups.read_log(turn, cx.homes, home, id, epoch, 0);
        }
        self.policy_moved(turn, cx, id, false)?;
        self.tell_beacons(turn, cx, id);
        self.show_way_to_next(turn, cx, id)?;
        self.groups.plan_items(turn, cx, id);
        self.retry_future(turn, cx, id)?;
        // Nothing was said while a device was there that its account had removed.
        if let Some(chat) = chat.filter(|chat| self.chats.is_group_chat(*chat)) {
            self.chats.tell_untold(turn, cx.dir, chat);
        }
        chat.map_or(Ok(()), |chat| self.renew_outbox(turn, cx, chat))
    }
}
