//! Renewing keys: when a commit is appended to a log, and what becomes of a log that is lost.

use starling_keys::DeviceId;
use starling_wire::{LogVerb, Reasons, rendezvous::LogRequest};

use super::{
    limits::{
        BLOCKED_AFTER_MS, MAX_COMMIT_REFUSALS, REFRESH_SPREAD_MS, RENEWAL_SPREAD_MS, RENEWED_AT_ONCE,
        UPDATE_AFTER_AWAY_MS, UPDATE_AFTER_ENTRIES, UPDATE_AFTER_MS,
    },
    parts_of,
};
use crate::{
    conversation::{
        Conversations,
        context::Context,
        group::{GroupEntry, GroupId},
        group_state::OpenGroup,
    },
    home::LogPending,
    limits::RETRY_REFUSED_MS,
    mls::policy::Change,
    net::HomeId,
    turn::{Counters, EngineError, Fact, Turn},
};

impl Conversations {
    /// Renews our keys if it is time: the commit is a candidate in the current log.
    pub(super) fn maybe_update(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        id: GroupId,
    ) -> Result<(), EngineError> {
        let now = turn.wall();
        let away = cx.counters.away_ms > UPDATE_AFTER_AWAY_MS;
        if !self.groups.home_of(id).is_some_and(|home| cx.homes.is_up(&home)) {
            return Ok(());
        }
        let groups = self.groups.entries.len();
        let has_policy = self.has_policy(id);
        let Some(entry) = self.groups.get_mut(&id) else { return Ok(()) };
        let waits = entry.row.dead || !entry.row.confirmed || entry.is_newer();
        if !entry.read.caught_up || entry.append.committing || waits || self.is_outdated_group(id) {
            return Ok(());
        }
        let Some(entry) = self.groups.entries.get_mut(&id) else { return Ok(()) };
        let enough = UPDATE_AFTER_ENTRIES + u64::from(entry.id[0]) / 4;
        let since_update = self.groups.states.since_update(&id);
        if entry.append.no_renewal_in == Some(entry.epoch()) {
            return Ok(());
        }
        let device = cx.dir.account.device();
        // The others see by a leaf that its program was updated.
        let is_behind = cx.mls.is_current() && entry.outdated().any(|outdated| outdated == device);
        let is_old = now.saturating_sub(entry.row.updated_ms) > renew_after_ms(id, away);
        // Who comes in by the door would wait for the next epoch.
        let is_blocked = has_policy && entry.current_log().is_some_and(|log| log.blocked);
        let due = since_update >= enough || is_old || is_behind || is_blocked;
        if !entry.has_pending {
            if !due {
                entry.append.renews_at = None;
                return Ok(());
            }
            let of_all = if is_behind { refresh_spread_ms(entry, &device, groups) } else { 0 };
            let of_blocked = if is_blocked { blocked_spread_ms(entry, &device) } else { 0 };
            let spread = renewal_spread_ms(entry, &device).max(of_all).max(of_blocked);
            if *entry.append.renews_at.get_or_insert(turn.now() + spread) > turn.now() {
                return Ok(());
            }
            let Some(mut group) = self.open(turn, cx.mls, id)? else { return Ok(()) };
            let may = group.may_renew() || is_behind && refreshes_leaf(&mut group, turn.agreed_ms());
            if !may {
                group.entry.append.no_renewal_in = Some(group.entry.epoch());
                return Ok(());
            }
            if group.pending().is_none() {
                group.prepare_update(turn.agreed_ms())?;
            }
        }
        if let Some(entry) = self.groups.get_mut(&id) {
            entry.append.committing = true;
        }
        Ok(())
    }

    /// Appends a prepared commit; the turn that prepared it is stored by then.
    pub(super) fn append_commit(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        home: HomeId,
        id: GroupId,
    ) -> Result<(), EngineError> {
        let may_have_parts = self.may_have_parts(id);
        let Some(group) = self.open(turn, cx.mls, id)? else { return Ok(()) };
        let commit = if may_have_parts { group.pending_commit() } else { None };
        if let Some((commit, parts)) = commit.and_then(|commit| parts_of(&commit, true).map(|parts| (commit, parts))) {
            return self.append_parts(turn, cx, (home, id), (&commit, &parts));
        }
        let (Some(entry), Some(log), Some(keys)) =
            (group.pending(), group.entry.current_log(), group.entry.current_keys())
        else {
            return Ok(());
        };
        let request = LogRequest {
            entries: vec![entry.clone()],
            after: log.cursor,
            candidate: true,
            insist: group.entry.append.refusals >= MAX_COMMIT_REFUSALS,
            ..LogRequest::default()
        };
        cx.homes.request_log(turn, home, &keys, LogVerb::Append, request, LogPending::Commit(id));
        Ok(())
    }

    /// A commit was not stored, as there are others before it that we have not read. It is sent again when they were; a server that goes on refusing
    /// it is not asked in a loop.
    pub(crate) fn commit_refused(&mut self, turn: &mut Turn<'_>, cx: &mut Context<'_>, id: GroupId) {
        let Some(entry) = self.groups.get_mut(&id) else { return };
        entry.append.refusals = entry.append.refusals.saturating_add(1);
        if entry.append.refusals > MAX_COMMIT_REFUSALS {
            self.log_stopped(turn, cx, id, None);
        } else {
            self.read_log_again(turn, cx, id);
        }
    }

    /// The server does not have a log. One that was there before has expired or was lost.
    pub(crate) fn log_lost(&mut self, turn: &mut Turn<'_>, id: GroupId) {
        let known = self
            .groups
            .get(&id)
            .is_some_and(|g| g.row.log_opened || g.epoch() > 1 || g.current_log().is_some_and(|l| l.cursor > 0));
        if known && self.has_policy(id) {
            // Nobody makes another one of its group: it is looked for again. It may have been deleted as others have gone on for long.
            if let Some(entry) = self.groups.get_mut(&id) {
                entry.append.retry_at = turn.now() + RETRY_REFUSED_MS;
            }
            turn.fact(Fact::GroupLost(id));
        } else if known {
            self.abandon_group(turn, id);
            // The others find that, too; and the log of a group that was not used any more ends by its age.
            if let Some(entry) = self.groups.get_mut(&id) {
                entry.row.unreplaced = false;
            }
        }
    }

    /// An append or read was refused until `again_at`, in steady time; or, without that, there is something to be read before another is made.
    pub(crate) fn log_stopped(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        id: GroupId,
        again_at: Option<u64>,
    ) {
        if let Some(entry) = self.groups.get_mut(&id) {
            (entry.append.under_way, entry.append.parts_under_way) = (false, false);
            entry.append.opening = false;
            // What was asked for and is not here is read when the home is asked again.
            entry.read.caught_up &= entry.read.under_way.is_empty();
            entry.read.under_way.clear();
            if let Some(at) = again_at {
                entry.append.retry_at = entry.append.retry_at.max(at);
            }
        }
        if again_at.is_none() {
            self.read_log_again(turn, cx, id);
            if let Some(entry) = self.groups.get_mut(&id) {
                // Until our commit was read; a server that keeps it from us is not asked in a loop.
                entry.append.retry_at = turn.now() + RETRY_REFUSED_MS;
            }
        }
    }
}

/// When a group's keys are renewed at the latest, by the clock; unless something else has to happen first.
pub fn renewal_due(counters: &Counters, entry: &GroupEntry) -> Option<u64> {
    let away = counters.away_ms > UPDATE_AFTER_AWAY_MS;
    let ready = entry.read.caught_up && !entry.append.committing && entry.row.confirmed;
    let ready = ready && entry.append.no_renewal_in != Some(entry.epoch()) && entry.append.renews_at.is_none();
    ready.then(|| entry.row.updated_ms + renew_after_ms(entry.id, away) + 1)
}

/// After how many milliseconds a device of a group with many renews its keys once that is due: those of many may be due at the same time, as after a
/// server was away for long, and only one commit of all that are made in an epoch counts.
fn renewal_spread_ms(group: &GroupEntry, device: &DeviceId) -> u64 {
    let members = group.members.len() as u64;
    if group.members.len() <= RENEWED_AT_ONCE {
        return 0;
    }
    place_of(group, device) % (members * RENEWAL_SPREAD_MS)
}

/// After how many milliseconds a device ends an epoch in whose log a candidate stands that ends nothing. In small groups, too, one of them is enough.
fn blocked_spread_ms(group: &GroupEntry, device: &DeviceId) -> u64 {
    BLOCKED_AFTER_MS + place_of(group, device) % (group.members.len().max(1) as u64 * RENEWAL_SPREAD_MS)
}

/// Prepares a commit that brings the policy which is there, if that may be made where keys may not be renewed: in groups without rules it counts as a
/// change. Else a device that has made the last commit, and was updated after it, would keep the group from rules until somebody else commits.
fn refreshes_leaf(group: &mut OpenGroup<'_>, now_ms: u64) -> bool {
    let Some(policy) = group.policy() else { return false };
    let same = Change { policy, reasons: Reasons::default() };
    group.may_change(&same)
        && group.prepare_change(now_ms, &same).inspect_err(|error| tracing::warn!(%error, "a leaf stays old")).is_ok()
}

/// After how many milliseconds a device that was updated shows that in a group: not at once in all of so many.
fn refresh_spread_ms(group: &GroupEntry, device: &DeviceId, groups: usize) -> u64 {
    place_of(group, device) % (1 + groups as u64 * REFRESH_SPREAD_MS)
}

/// A number that is another for each device and group.
fn place_of(group: &GroupEntry, device: &DeviceId) -> u64 {
    let hash = blake3::hash(&[&group.id[..], device.as_bytes()].concat());
    hash.as_bytes().iter().take(8).fold(0_u64, |place, byte| place << 8 | u64::from(*byte))
}

/// For how long a group keeps its keys, in milliseconds. It differs from group to group, so that both sides do not commit at once.
fn renew_after_ms(group: GroupId, away: bool) -> u64 {
    let after = UPDATE_AFTER_MS + u64::from(group[0]) * 60_000;
    if away { after.min(UPDATE_AFTER_AWAY_MS) } else { after }
}
