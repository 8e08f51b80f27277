//! Renewing keys: when a log is closed with a commit, and what becomes of one that is lost.

use bytes::Bytes;
use starling_wire::{LogVerb, rendezvous::LogRequest};

use crate::{
    conversation::{
        Conversations,
        context::Context,
        group::{GroupEntry, GroupId, LogKeys, log_address},
    },
    home::LogPending,
    limits::{RETRY_REFUSED_MS, UPDATE_AFTER_AWAY_MS, UPDATE_AFTER_ENTRIES, UPDATE_AFTER_MS},
    net::HomeId,
    turn::{Counters, EngineError, Turn},
};

impl Conversations {
    /// The log of a group is closed; if it is a damaged one, nothing more is to be done.
    pub(crate) fn damaged_closed(&mut self, id: GroupId) {
        if let Some(entry) = self.groups.get_mut(&id)
            && std::mem::take(&mut entry.row.damaged)
        {
            entry.touch();
        }
    }

    /// Renews our keys if it is time: the commit travels as the closing entry of the current log.
    pub(super) fn maybe_update(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        id: GroupId,
    ) -> Result<(), EngineError> {
        let now = turn.wall();
        let away = cx.counters.away_ms > UPDATE_AFTER_AWAY_MS;
        let Some(entry) = self.groups.get_mut(&id) else {
            return Ok(());
        };
        if !entry.caught_up || entry.closing || !entry.row.confirmed {
            return Ok(());
        }
        let enough = UPDATE_AFTER_ENTRIES + u64::from(entry.id[0]) / 4;
        let since_update = self.states.since_update(&id);
        let due = since_update >= enough || now.saturating_sub(entry.row.updated_ms) > renew_after_ms(id, away);
        if !entry.has_pending {
            if !due {
                return Ok(());
            }
            let Some(mut group) = self.open(turn, cx.mls, id)? else { return Ok(()) };
            group.prepare_update(turn.agreed_ms())?;
        }
        if let Some(entry) = self.groups.get_mut(&id) {
            entry.closing = true;
        }
        Ok(())
    }

    /// Sends a prepared commit; the turn that prepared it has been stored by then.
    pub(super) fn close_log(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        home: HomeId,
        id: GroupId,
    ) -> Result<(), EngineError> {
        let Some(group) = self.open(turn, cx.mls, id)? else { return Ok(()) };
        let (Some((entry, next)), Some(keys)) = (group.pending(), group.entry.current_keys()) else {
            return Ok(());
        };
        let Some(next) = log_address(next) else {
            return Ok(());
        };
        let request =
            LogRequest { entries: vec![entry.clone()], next: Bytes::copy_from_slice(&next), ..LogRequest::default() };
        cx.homes.request_log(turn, home, &keys, LogVerb::Close, request, LogPending::Close(id));
        Ok(())
    }

    /// Closes the log of a group whose encryption state cannot be read, if its home is up: the others leave it as well then, and write where we can
    /// read.
    pub(crate) fn close_damaged(&mut self, turn: &mut Turn<'_>, cx: &mut Context<'_>, id: GroupId) {
        let damaged = self.groups.get(&id).filter(|group| group.row.damaged);
        let Some((keys, home)) = damaged.and_then(GroupEntry::current_keys).zip(self.home_of(id)) else {
            return;
        };
        if !self.is_linked_group(cx.dir, id) {
            return;
        }
        // A log is closed with a commit: nothing is none, so nobody goes on after it.
        let request = LogRequest {
            entries: vec![keys.seal_entry(&[])],
            next: Bytes::copy_from_slice(&LogKeys::random(turn.rng()).address),
            ..LogRequest::default()
        };
        cx.homes.request_log(turn, home, &keys, LogVerb::Close, request, LogPending::Close(id));
    }

    /// The server does not have a log. One that was there before has expired or was lost.
    pub(crate) fn log_lost(&mut self, turn: &mut Turn<'_>, id: GroupId) {
        let known = self
            .groups
            .get(&id)
            .is_some_and(|g| g.row.log_opened || g.epoch() > 1 || g.current_log().is_some_and(|l| l.cursor > 0));
        if known {
            self.abandon_group(turn, id);
        }
    }

    /// An append or read was refused, or its log is closed.
    pub(crate) fn log_stopped(&mut self, turn: &mut Turn<'_>, cx: &mut Context<'_>, id: GroupId, wait: bool) {
        let now = turn.now();
        if let Some(entry) = self.groups.get_mut(&id) {
            entry.appending = false;
            entry.opening = false;
            entry.reading.clear();
            if wait {
                entry.retry_at = now + RETRY_REFUSED_MS;
            }
        }
        if !wait {
            self.read_log_again(turn, cx, id);
            if let Some(entry) = self.groups.get_mut(&id) {
                // Until the closing entry was read; a server that keeps it from us is not asked in a loop.
                entry.retry_at = now + RETRY_REFUSED_MS;
            }
        }
    }
}

/// When a group's keys are renewed at the latest, by the clock; unless something else has to happen first.
pub fn renewal_due(counters: &Counters, entry: &GroupEntry) -> Option<u64> {
    let away = counters.away_ms > UPDATE_AFTER_AWAY_MS;
    let ready = entry.caught_up && !entry.closing && entry.row.confirmed;
    ready.then(|| entry.row.updated_ms + renew_after_ms(entry.id, away) + 1)
}

/// For how long a group keeps its keys, in milliseconds. It differs from group to group, so that both sides do not commit at once.
fn renew_after_ms(group: GroupId, away: bool) -> u64 {
    let after = UPDATE_AFTER_MS + u64::from(group[0]) * 60_000;
    if away { after.min(UPDATE_AFTER_AWAY_MS) } else { after }
}
