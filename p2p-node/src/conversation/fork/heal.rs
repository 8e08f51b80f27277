//! Healing a fork: of two commits that were followed from one epoch all go on from the same one.

use std::ops::RangeInclusive;

use bytes::Bytes;
use starling_keys::Certificate;
use starling_wire::{Policy, rendezvous::RequestBody};

use super::{left::Restored, parents::commit_hash, told::Told};
use crate::{
    api::types::ChatId,
    conversation::{
        Chats, Conversations,
        context::Context,
        door,
        group::{GroupEntry, GroupId, LogKeys, log_address},
        group_state::{Newcomer, OpenGroup, commit_of, log_row},
        group_store::{epoch_key, value},
        outbox::{LOST_EPOCH, OutItem, outbox_key},
        policy::{
            self,
            audit::{AuditRows, rows_of},
        },
    },
    home::Pending,
    mls::{
        GroupValue, Judged, LiveGroup, Mls, came_by_link,
        policy::{admits, author_of_place},
    },
    store::{LogRow, OUTBOX, OutboxRow, PARENTS, ParentMark, ParentRow, Reading},
    turn::{EngineError, Turn},
};

/// What a commit is to a group that has followed another one from the same epoch.
pub enum Weighed {
    /// Nothing that counts.
    Void,
    /// The one that was followed stays. The log of the other's epoch, where those are who have followed it.
    Loses(LogRow),
    /// All go on from this one.
    Wins(Box<Winner>),
    /// It may be the one, and its secrets cannot be derived here.
    Lost,
    /// Its author is in the group no more, where this device is: so it does not undo that. Others are to be told what did. The log of its epoch.
    Outlived(LogRow),
    /// Others have gone on from an epoch that this device was not in: it has entered by another commit.
    Apart,
    /// This device is not in the group any more where others have followed it: the policy there. None if that does not count where it is.
    Removed(Option<Box<Policy>>),
}

/// A commit that all go on from, and where it leads.
pub struct Winner {
    goes_on: Restored,
    commit: Bytes,
    author: u32,
    /// What was kept of the epoch that it leads on from.
    parent: ParentRow,
    /// It is our own.
    is_own: bool,
    /// Somebody is gone with it who knows the door, or has come in by a link and does not: another door begins.
    shuts_out: bool,
    /// Who has entered by it, or was added.
    pub newcomers: Vec<Newcomer>,
    /// What it adds to the group's audit log.
    audit: AuditRows,
}

/// An epoch that was kept, loaded as it was.
struct Kept {
    row: ParentRow,
    value: GroupValue,
    live: LiveGroup,
    policy: Option<Policy>,
}

impl Kept {
    fn load(
        mls: &Mls,
        (id, epoch): (&GroupId, u64),
        row: ParentRow,
        current: &GroupValue,
    ) -> Result<Self, EngineError> {
        let mut value = value(&row.state, &row.past);
        // Late messages have used up keys of them since.
        value.past.extend(current.past.range(..epoch).map(|(epoch, data)| (*epoch, data.clone())));
        let live = mls.load(id, value.clone())?;
        Ok(Self { policy: live.policy(), row, value, live })
    }
}

/// Where a valid commit has led from a kept epoch.
struct Led {
    to: Restored,
    /// Its place among the commits of that epoch.
    place: u32,
    by: Option<Certificate>,
    /// Who has entered by it.
    newcomer: Option<Newcomer>,
}

impl Led {
    /// All go on from there.
    fn wins(self, from: Kept, commit: &Bytes, is_own: bool) -> Winner {
        let live = &self.to.live;
        let policies = from.policy.zip(live.policy());
        let shuts_out = policies.as_ref().is_some_and(|(before, after)| {
            let by_link = |by: &Certificate| came_by_link(before, after, &by.account());
            policy::shuts_out(before, after) || self.by.as_ref().is_some_and(by_link)
        });
        let audit =
            policies.zip(self.by).map(|((before, after), by)| rows_of(&before, &after, by.account(), live.epoch()));
        let added = || Newcomer::added_between(&from.live, live);
        Winner {
            newcomers: self.newcomer.map_or_else(added, |newcomer| vec![newcomer]),
            audit: audit.unwrap_or_default(),
            commit: commit.clone(),
            author: self.place,
            parent: from.row,
            goes_on: self.to,
            is_own,
            shuts_out,
        }
    }
}

/// Which of two commits that lead on from one epoch all go on from: the one with the lower place, and of one author the one with the lower hash. In a
/// direct conversation a place is the author's leaf; in groups roles and removals come before it. Commits by which devices enter come after all of
/// members, by their hashes.
fn precedes(a: (u32, &[u8]), b: (u32, &[u8])) -> bool {
    a < b
}

impl OpenGroup<'_> {
    /// Weighs a commit against the one that was followed from a kept epoch, by the state of that epoch.
    /// `then` are commits that others have followed after it.
    pub fn weigh(
        &mut self,
        turn: &Turn<'_>,
        mls: &Mls,
        epoch: u64,
        (commit, then): (&Bytes, &[Bytes]),
    ) -> Result<Weighed, EngineError> {
        let Some(mark) = self.entry.parent(epoch).cloned() else { return Ok(Weighed::Void) };
        let current = self.state.live.value()?;
        let weighed = self.weigh_from(turn, mls, &mark, (commit, then), &current);
        self.state.live.reset_value(current);
        match weighed {
            Err(error) if error.is_of_this_group() => {
                tracing::error!(%error, "the state of an earlier epoch is damaged");
                self.entry.forget_parent(turn, epoch)?;
                Ok(Weighed::Void)
            }
            weighed => weighed,
        }
    }

    fn weigh_from(
        &self,
        turn: &Turn<'_>,
        mls: &Mls,
        mark: &ParentMark,
        (commit, then): (&Bytes, &[Bytes]),
        current: &GroupValue,
    ) -> Result<Weighed, EngineError> {
        let Some(row) = turn.get::<ParentRow>(PARENTS, &epoch_key(&self.entry.id, mark.epoch))? else {
            return Ok(Weighed::Void);
        };
        if row.state.is_empty() {
            return Ok(Weighed::Apart);
        }
        let mut kept = Kept::load(mls, (&self.entry.id, mark.epoch), row, current)?;
        let of_followed = self.author_of_followed(turn, mls, (mark, &kept.live))?;
        let (judged, left) = self.judge_from(turn, mls, (mark, &kept), commit)?;
        let is_own = matches!(judged, Judged::Underivable);
        let is_out = |policy: Option<Policy>, author: &Option<Certificate>| {
            policy.zip(author.as_ref()).is_some_and(|(policy, author)| !admits(&policy, author))
        };
        let is_first = |place: u32| precedes((place, &commit_hash(commit)), (mark.author, &mark.hash));
        let led = match (judged, left) {
            (Judged::Valid(live, by), left) => {
                let newcomer = Newcomer::of(&by);
                let value = std::mem::take(&mut kept.value);
                let derived = Restored { live: *live, value, since_update: kept.row.since_update };
                Led { to: left.unwrap_or(derived), place: by.place, by: by.author, newcomer }
            }
            (Judged::Underivable, Some(left)) => {
                let (from, leaf) = (&kept.live, kept.live.leaf());
                Led { place: from.place_of(&left.live, leaf), by: from.member_at(leaf), newcomer: None, to: left }
            }
            (Judged::Removed(removal), _) => {
                let is_out = is_out(self.state.live.policy(), &removal.author);
                let counts = is_first(removal.place) && !is_out && removal.author.is_some();
                return Ok(Weighed::Removed(counts.then(|| Box::new(removal.policy))));
            }
            (Judged::Void, _) => return Ok(Weighed::Void),
            (Judged::Underivable, None) => return Ok(Weighed::Lost),
        };
        let live = &led.to.live;
        live.reset_value(led.to.value.clone());
        let comes_back = self.leads_out(turn, mls, (live, then), |at| is_out(at, &of_followed))?;
        match (is_out(self.state.live.policy(), &led.by), comes_back) {
            (true, false) => return Ok(Weighed::Outlived(log_row(live)?)),
            (false, true) => {}
            _ if is_first(led.place) => {}
            _ => return Ok(Weighed::Loses(log_row(live)?)),
        }
        Ok(Weighed::Wins(Box::new(led.wins(kept, commit, is_own))))
    }

    /// Judges a commit by the state of a kept epoch. Also gives where it led, if that is known: it is our own that waited there, or was left.
    fn judge_from(
        &self,
        turn: &Turn<'_>,
        mls: &Mls,
        (mark, kept): (&ParentMark, &Kept),
        commit: &Bytes,
    ) -> Result<(Judged, Option<Restored>), EngineError> {
        let id = self.entry.id;
        let waited = own_commit(&kept.row, &mark.secret).filter(|own| own == commit).and(kept.row.own.as_ref());
        let Some(own) = waited else {
            let left = self.left_commit(turn, mls, (&kept.live, commit))?;
            // What the library thinks is stored has to be of the state that it judges by.
            let judged = mls.load(&id, kept.value.clone())?.judge(commit);
            return Ok((judged, left));
        };
        let value = value(&own.state, &own.past);
        let left = Restored { live: mls.load(&id, value.clone())?, value, since_update: 0 };
        Ok((Judged::Underivable, Some(left)))
    }

    /// Commits that are made and not kept, as a modified program makes as many as it likes: from each epoch that is kept, and from the current one.
    #[cfg(test)]
    pub fn other_commits(&mut self, turn: &Turn<'_>, mls: &Mls, now_ms: u64) -> Result<Vec<(u64, Bytes)>, EngineError> {
        let current = self.state.live.value()?;
        let mut made = Vec::new();
        for mark in &self.entry.row.parents {
            let Some(parent) = turn.get::<ParentRow>(PARENTS, &epoch_key(&self.entry.id, mark.epoch))? else {
                continue;
            };
            if parent.state.is_empty() {
                continue;
            }
            let before = GroupValue { state: parent.state.clone().into(), ..GroupValue::default() };
            let before = mls.load(&self.entry.id, before)?;
            made.push((
                mark.epoch,
                crate::mls::modified::defying(|| before.prepare_update(now_ms, Vec::new()))?.0.into(),
            ));
        }
        self.state.live.reset_value(current.clone());
        let commit = crate::mls::modified::defying(|| self.state.live.prepare_update(now_ms, Vec::new()))?.0;
        made.push((self.entry.epoch(), commit.into()));
        self.state.live.reset_value(current);
        Ok(made)
    }

    /// Commits that follow one another, as a modified program makes them before anybody has seen the first; each with the keys of the log for it.
    #[cfg(test)]
    pub fn commits_in_a_row(&mut self, count: usize, now_ms: u64) -> Result<Vec<(LogKeys, Bytes)>, EngineError> {
        let current = self.state.live.value()?;
        let (mut live, mut made) = (self.state.live.clone(), Vec::<(LogKeys, Bytes)>::new());
        let mut keys = self.entry.current_keys();
        for _ in 0..count {
            let (commit, after) = crate::mls::modified::defying(|| live.prepare_update(now_ms, Vec::new()))?;
            let next = LogKeys::of(&log_row(&after)?);
            let before = LogKeys::of(&log_row(&live)?).map(|keys| keys.key);
            made.extend(keys.take().map(|keys| (keys, commit.into())));
            let with_parent = |mut keys: LogKeys| {
                keys.parent = before;
                keys
            };
            (keys, live) = (next.map(with_parent), after);
        }
        self.state.live.reset_value(current);
        Ok(made)
    }

    /// A commit that adds a device to the current epoch, which is not kept either.
    #[cfg(test)]
    pub fn commit_adding(&mut self, package: &[u8], now_ms: u64) -> Result<Bytes, EngineError> {
        let current = self.state.live.value()?;
        let commit = self.state.live.commit_adding(package, now_ms)?;
        self.state.live.reset_value(current);
        Ok(commit.into())
    }

    /// Goes back to an epoch and on from there by another commit. What was encrypted in the epochs that are left does not count any more; nothing
    /// is encrypted in the epoch itself. Gives the logs that are left.
    pub fn switch(&mut self, turn: &Turn<'_>, epoch: u64, winner: Winner) -> Result<Vec<LogRow>, EngineError> {
        let Winner { goes_on, commit, author, mut parent, is_own, shuts_out, audit, .. } = winner;
        tracing::warn!(epoch, "a group was split: all go on from another commit");
        let left = self.left_way(turn, epoch)?;
        self.entry.keep_audit_rows(turn, &audit)?;
        let entry = &mut *self.entry;
        let (kept, lost): (Vec<LogRow>, Vec<LogRow>) = entry.logs.drain(..).partition(|log| log.epoch <= epoch);
        entry.logs = kept;
        entry.unsaved.logs.extend(lost.iter().map(|log| log.epoch));
        entry.read.under_way.retain(|reading| *reading <= epoch);
        entry.read.again.retain(|reading| *reading <= epoch);
        entry.read.pushed.retain(|reading, _| *reading <= epoch);
        entry.append.under_way = false;
        entry.forks.heard.clear();
        entry.go_back_to(epoch);
        let later: Vec<u64> = entry.row.parents.iter().map(|mark| mark.epoch).filter(|e| *e > epoch).collect();
        for later in later {
            entry.forget_parent(turn, later)?;
        }
        if let Some(mark) = entry.parent_mut(epoch) {
            (mark.hash, mark.author) = (commit_hash(&commit).to_vec(), author);
            let mut log = LogRow::default();
            log.secret.clone_from(&mark.secret);
            (log.epoch, log.ended_ms, log.judged) = (epoch, turn.wall(), true);
            if !entry.logs.iter().any(|log| log.epoch == epoch) {
                entry.put_log(log);
            }
        }
        entry.row.updated_ms = if is_own { turn.wall() } else { parent.updated_ms };
        parent.own = parent.own.take().filter(|_| !is_own);
        parent.commit.clone_from(&commit);
        parent.keep_left(left);
        if let Some(mark) = entry.parent_mut(epoch) {
            mark.has_left = !parent.left.is_empty();
        }
        turn.put(PARENTS, &epoch_key(&entry.id, epoch), &parent)?;
        if let Some(secret) = self.entry.parent(epoch).map(|mark| mark.secret.clone()) {
            self.forget_left(turn, &commit, &secret)?;
        }
        self.forget_pending();
        self.state.live = goes_on.live;
        self.state.live.reset_value(goes_on.value);
        self.state.since_update = goes_on.since_update;
        let log = self.state.log()?;
        self.enter_epoch(log);
        self.entry.row.door = parent.door.clone().or(self.entry.row.door.take());
        self.entry.write_door(is_own);
        if shuts_out {
            door::renew(self)?;
        }
        Ok(lost)
    }
}

impl OpenGroup<'_> {
    /// Who has made the commit that was followed from an epoch; of those that have entered by one, it is who is new after it.
    fn author_of_followed(
        &self,
        turn: &Turn<'_>,
        mls: &Mls,
        (mark, from): (&ParentMark, &LiveGroup),
    ) -> Result<Option<Certificate>, EngineError> {
        if let Some(leaf) = author_of_place(mark.author) {
            return Ok(from.member_at(leaf));
        }
        let after = if mark.epoch + 1 == self.entry.epoch() {
            self.state.live.members()
        } else {
            let next = turn.get::<ParentRow>(PARENTS, &epoch_key(&self.entry.id, mark.epoch + 1))?;
            let Some(next) = next.filter(|next| !next.state.is_empty()) else { return Ok(None) };
            mls.load(&self.entry.id, value(&next.state, &next.past))?.members()
        };
        let before = from.members();
        Ok(after.into_iter().find(|member| !before.iter().any(|other| other.device() == member.device())))
    }

    /// Whether a group comes to a policy on a way that commits lead from a state. What is stored for the group is another value after it.
    fn leads_out(
        &self,
        turn: &Turn<'_>,
        mls: &Mls,
        (from, commits): (&LiveGroup, &[Bytes]),
        is_out: impl Fn(Option<Policy>) -> bool,
    ) -> Result<bool, EngineError> {
        let mut at = from.clone();
        for commit in commits {
            if is_out(at.policy()) {
                return Ok(true);
            }
            at = match at.judge(commit) {
                Judged::Valid(next, _) => *next,
                Judged::Underivable => match self.left_commit(turn, mls, (&at, commit))? {
                    Some(next) => next.live,
                    None => return Ok(false),
                },
                Judged::Removed(_) | Judged::Void => return Ok(false),
            };
        }
        Ok(is_out(at.policy()))
    }
}

/// The commit of ours that waited in an epoch when another was followed.
pub(super) fn own_commit(parent: &ParentRow, secret: &[u8]) -> Option<Bytes> {
    let own = parent.own.as_ref()?;
    let keys = LogKeys::of_secret(secret)?;
    commit_of(keys.open_entry(&own.entry)?)
}

impl Conversations {
    /// A group goes on from another commit: what was written in the epochs that were left is written again.
    pub(super) fn on_switched(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        told: &Told,
        lost: &[LogRow],
    ) -> Result<(), EngineError> {
        let (from, id, epoch) = (told.from, told.group, told.epoch);
        let home = self.groups.home_of(id);
        for address in lost.iter().filter_map(log_address) {
            self.groups.logs.remove(&address);
            if let Some(home) = home {
                let leave = RequestBody::LogLeave(Bytes::copy_from_slice(&address));
                cx.homes.request(turn, home, leave, Pending::Nothing);
            }
        }
        if let Some(home) = home {
            cx.homes.forget_log_requests(home, id, epoch);
        }
        let Some(entry) = self.groups.get_mut(&id) else { return Ok(()) };
        // Between two there is nobody else to be told.
        if let Some(left) = lost.last().filter(|_| entry.members.len() > 2 || from.device().is_none()) {
            entry.announce_in(epoch, left);
        }
        let parent = entry.logs.iter().find(|log| log.epoch == epoch).and_then(log_address);
        if let Some(address) = parent {
            self.groups.logs.insert(address, (id, epoch));
        }
        if let Some(chat) = self.groups.get(&id).and_then(GroupEntry::chat) {
            self.want_again(chat, epoch + 1);
            self.chats.lose_items(turn, chat, id, epoch + 1..=u64::MAX, 0)?;
            self.chats.lose_receipts(turn, chat);
        }
        self.on_epoch(turn, cx, id)?;
        self.read_logs(turn, cx, id);
        Ok(())
    }

    /// A log is read no more, and we have followed a commit that was not read there: what we have appended may stand where nobody reads it. It is
    /// written again.
    pub(in crate::conversation) fn lose_unread(
        &mut self,
        turn: &Turn<'_>,
        (id, epoch): (GroupId, u64),
    ) -> Result<(), EngineError> {
        let entry = self.groups.get(&id).filter(|entry| entry.was_told(epoch));
        entry.and_then(GroupEntry::chat).map_or(Ok(()), |chat| self.chats.lose_items(turn, chat, id, epoch..=epoch, 0))
    }
}

impl Chats {
    /// What waits and was encrypted in some epochs of a group has to be encrypted again, beyond an event's number: that is durable with what follows from it.
    pub(in crate::conversation) fn lose_items(
        &mut self,
        turn: &Turn<'_>,
        chat: ChatId,
        id: GroupId,
        epochs: RangeInclusive<u64>,
        beyond: u64,
    ) -> Result<(), EngineError> {
        let Some(state) = self.states.get_mut(&chat) else { return Ok(()) };
        let lost = |item: &&mut OutItem| item.group == id && item.last > beyond && epochs.contains(&item.epoch);
        for item in state.outbox.iter_mut().filter(lost) {
            let key = outbox_key(chat, item.first);
            if let Some(mut row) = turn.get::<OutboxRow>(OUTBOX, &key)? {
                row.epoch = LOST_EPOCH;
                turn.put(OUTBOX, &key, &row)?;
            }
            (item.epoch, item.message) = (LOST_EPOCH, None);
        }
        Ok(())
    }

    /// Receipts in logs that were left may have reached nobody.
    pub(in crate::conversation) fn lose_receipts(&mut self, turn: &Turn<'_>, chat: ChatId) {
        let Some(state) = self.states.get_mut(&chat) else { return };
        for device in
            state.roster.devices().filter(|device| device.told > 0).map(|d| d.device.clone()).collect::<Vec<_>>()
        {
            if let Ok(device) = starling_keys::DeviceId::from_stored(&device)
                && let Some(row) = state.roster.known_mut(&device)
            {
                row.told = 0;
            }
        }
        (state.row.read_logged, state.row.delivered_logged) = (0, 0);
        state.schedule_receipt(turn.now());
        state.dirty = true;
    }
}
