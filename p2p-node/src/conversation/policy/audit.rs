//! The audit log of a group: its entries follow from the commits that this device follows, and what was before that members hand to it. The policy has
//! a hash over all of them, so nobody can leave one out, or make one up.

use std::collections::BTreeSet;

use bytes::Bytes;
use starling_keys::AccountId;
use starling_wire::{AuditEntry, AuditHead, AuditPart, Body, MAX_AUDIT_PART, Policy};

use super::{PolicyEntry, limits::MAX_AUDIT_PARTS};
use crate::{
    api::{
        error::{NodeError, NotFound},
        types::{AuditLog, ChatId},
    },
    contacts::Directory,
    conversation::{
        Conversations, GroupEntry, context::Context, group::GroupId, group_state::OpenGroup, policy::change::turn_of,
    },
    mls::audit_of,
    store::{AUDIT, AuditRow, Reading, StandingRow},
    turn::{EngineError, Turn},
};

/// Rows of the log, by their numbers.
pub type AuditRows = Vec<(u64, AuditRow)>;

fn key(chat: ChatId, number: u64) -> Vec<u8> {
    [&chat.0[..], &number.to_be_bytes()].concat()
}

fn rows_after(mut head: AuditHead, entries: &[AuditEntry]) -> AuditRows {
    let mut rows = Vec::new();
    for entry in entries {
        rows.push((head.count, AuditRow { entry: entry.to_bytes(), before: head.hash.to_vec() }));
        head = head.with(entry);
    }
    rows
}

/// What a commit of an account adds to the log that leads from one policy to another, in the epoch that it begins.
pub fn rows_of(before: &Policy, after: &Policy, author: AccountId, epoch: u64) -> AuditRows {
    let head = before.rules.as_ref().map(|rules| rules.audit).unwrap_or_default();
    rows_after(head, &audit_of(before, after, author, epoch))
}

/// Stores rows.
pub fn keep(turn: &Turn<'_>, chat: ChatId, rows: &AuditRows) -> Result<(), EngineError> {
    for (number, row) in rows {
        turn.put(AUDIT, &key(chat, *number), row)?;
    }
    Ok(())
}

/// What this device has of a log: its last entries, without a gap.
struct Known {
    /// The entries, the oldest first.
    entries: Vec<AuditEntry>,
    /// How many are missing before them.
    missing: u64,
    /// The hash of those that are missing.
    before: [u8; 32],
}

/// What others have handed on of a log since somebody came who lacks it.
#[derive(Default)]
pub(super) struct Handed {
    /// How many entries it had then: those after them whoever came knows. 0 if that is not known any more.
    upto: u64,
    /// The parts, by the numbers of their first entries.
    parts: BTreeSet<u64>,
}

impl Handed {
    /// Notes a part that somebody has handed on. Gives whether all have been handed on that this device would.
    fn note(&mut self, own: &[AuditPart], part: &AuditPart) -> bool {
        let end = part.first.saturating_add(part.entries.len() as u64);
        let is_long_enough = self.upto > 0 && end >= self.upto;
        let is_same = |own: &AuditPart| {
            (own.first, own.before) == (part.first, part.before)
                && own.entries.starts_with(&part.entries)
                // The log may have got longer since that was handed on.
                && (is_long_enough || own.entries.len() == part.entries.len())
        };
        if own.iter().any(is_same) {
            self.parts.insert(part.first);
        }
        own.iter().all(|own| self.parts.contains(&own.first))
    }
}

/// The entries that the head of a log vouches for.
fn known(read: &impl Reading, chat: ChatId, head: AuditHead) -> Result<Known, EngineError> {
    let (mut entries, mut missing, mut wanted) = (Vec::new(), head.count, head.hash);
    while let Some(number) = missing.checked_sub(1) {
        let Some(row) = read.get::<AuditRow>(AUDIT, &key(chat, number))? else { break };
        let (Ok(entry), Ok(before)) = (AuditEntry::from_bytes(&row.entry), <[u8; 32]>::try_from(&row.before[..]))
        else {
            break;
        };
        // It may be one of a way that is left.
        if (AuditHead { hash: before, ..AuditHead::default() }).with(&entry).hash != wanted {
            break;
        }
        (missing, wanted) = (number, before);
        entries.push(entry);
    }
    entries.reverse();
    Ok(Known { entries, missing, before: wanted })
}

impl PolicyEntry {
    /// Whoever has come by a link does not know either what the log says of that: it is handed on, too.
    pub(super) fn hand_on_all(&mut self) {
        let rules = self.policy.as_ref().and_then(|policy| policy.rules.as_ref());
        let upto = rules.map_or(0, |rules| rules.audit.count);
        if self.row.hand_on {
            self.handed = Handed { upto, parts: BTreeSet::new() };
        }
    }
}

impl Conversations {
    /// The head of a group's log, as its policy has it.
    fn audit_head(&self, chat: ChatId) -> Option<AuditHead> {
        self.policies.policy(&chat)?.rules.as_ref().map(|rules| rules.audit)
    }

    /// The log of a group, as far as it is here.
    pub(super) fn audit_log(
        &self,
        turn: &Turn<'_>,
        dir: Directory<'_>,
        chat: ChatId,
    ) -> Result<Result<AuditLog, NodeError>, EngineError> {
        if self.policies.policy(&chat).is_none() {
            return Ok(Err(NotFound::Group.into()));
        }
        let Some(head) = self.audit_head(chat) else {
            return Ok(Err(self.old_group(dir, chat).into()));
        };
        let Known { entries, missing, .. } = known(turn, chat, head)?;
        Ok(Ok(AuditLog { entries, missing }))
    }

    /// This device has made a group: the log begins.
    pub(super) fn begin_audit(&self, turn: &Turn<'_>, chat: ChatId) -> Result<(), EngineError> {
        let entries = self.policies.policy(&chat).filter(|policy| policy.rules.is_some());
        let entries = entries.map(Policy::first_audit_entries).unwrap_or_default();
        keep(turn, chat, &rows_after(AuditHead::default(), &entries))
    }

    /// A device has come that has nothing of the log: one of those that are there hands it on, one after the other until one has.
    pub(in crate::conversation) fn hand_on_soon(&mut self, turn: &Turn<'_>, dir: Directory<'_>, id: GroupId) {
        let Some((group, chat)) = self.groups.get(&id).and_then(|group| Some((group, group.chat()?))) else { return };
        let turns = turn_of(group, &dir.account.device());
        let Some(head) = self.audit_head(chat) else { return };
        if let Some(entry) = self.policies.of.get_mut(&chat) {
            (entry.row.hand_on, entry.dirty) = (true, true);
            entry.handed = Handed { upto: head.count, parts: BTreeSet::new() };
            let at = turn.now() + entry.introduce_after_ms() + turns;
            entry.due.hand_on_at.get_or_insert(at);
        }
    }

    /// Hands the log on, the newest part first: each can be checked by what is known after it.
    pub(super) fn hand_on(&mut self, turn: &Turn<'_>, cx: &mut Context<'_>, chat: ChatId) -> Result<(), EngineError> {
        let head = self.audit_head(chat);
        let Some(entry) = self.policies.of.get_mut(&chat) else { return Ok(()) };
        (entry.row.hand_on, entry.due.hand_on_at, entry.dirty) = (false, None, true);
        let is_member = entry.standing() == StandingRow::Member;
        let Some(head) = head.filter(|_| is_member) else { return Ok(()) };
        let log = known(turn, chat, head)?;
        if log.missing > 0 {
            return Ok(());
        }
        for part in handed_parts(&log.entries) {
            self.chats.announce(turn, cx, chat, Body::Audit(part));
        }
        Ok(())
    }

    /// A member hands on a part of the log. What does not lead to what this device knows counts for nothing.
    pub(crate) fn on_audit_part(&mut self, turn: &Turn<'_>, chat: ChatId, part: &AuditPart) -> Result<(), EngineError> {
        let Some(head) = self.audit_head(chat) else { return Ok(()) };
        let log = known(turn, chat, head)?;
        let mut at = AuditHead { count: part.first, hash: part.before, at: 0 };
        let mut rows = Vec::new();
        for bytes in &part.entries {
            if at.count == log.missing {
                break;
            }
            let Ok(entry) = AuditEntry::from_bytes(bytes) else { return Ok(()) };
            rows.push((at.count, AuditRow { entry: bytes.to_vec(), before: at.hash.to_vec() }));
            at = at.with(&entry);
        }
        let is_true = (at.count, at.hash) == (log.missing, log.before);
        if is_true && !rows.is_empty() {
            keep(turn, chat, &rows)?;
        }
        // A member who hands on less than that keeps nobody else from it.
        if log.missing == 0
            && let Some(entry) = self.policies.of.get_mut(&chat).filter(|entry| entry.row.hand_on)
            && entry.handed.note(&handed_parts(&log.entries), part)
        {
            (entry.row.hand_on, entry.due.hand_on_at, entry.dirty) = (false, None, true);
        }
        Ok(())
    }
}

/// The parts of a log that are handed on, the newest first.
fn handed_parts(entries: &[AuditEntry]) -> Vec<AuditPart> {
    parts(entries).into_iter().rev().take(MAX_AUDIT_PARTS).collect()
}

/// The whole log in parts that fit a message, the oldest first.
fn parts(entries: &[AuditEntry]) -> Vec<AuditPart> {
    let (mut parts, mut head, mut size) = (Vec::<AuditPart>::new(), AuditHead::default(), 0);
    for entry in entries {
        let bytes = Bytes::from(entry.to_bytes());
        size += bytes.len() + 4;
        match parts.last_mut().filter(|_| size <= MAX_AUDIT_PART) {
            Some(part) => part.entries.push(bytes),
            None => {
                size = bytes.len() + 4;
                parts.push(AuditPart { first: head.count, before: head.hash, entries: vec![bytes] });
            }
        }
        head = head.with(entry);
    }
    parts
}

impl OpenGroup<'_> {
    /// Stores what a commit of an account adds to the group's log.
    pub(in crate::conversation) fn keep_audit(
        &self,
        turn: &Turn<'_>,
        (before, after): (Option<&Policy>, Option<&Policy>),
        (author, epoch): (Option<AccountId>, u64),
    ) -> Result<(), EngineError> {
        // Where a group is raised the log begins.
        let Some((before, after)) = before.zip(after).filter(|(_, after)| after.rules.is_some()) else {
            return Ok(());
        };
        match (self.entry.chat(), author) {
            (Some(chat), Some(author)) => keep(turn, chat, &rows_of(before, after, author, epoch)),
            _ => Ok(()),
        }
    }
}

impl GroupEntry {
    /// Stores rows of its group's log.
    pub(in crate::conversation) fn keep_audit_rows(
        &self,
        turn: &Turn<'_>,
        rows: &AuditRows,
    ) -> Result<(), EngineError> {
        self.chat().map_or(Ok(()), |chat| keep(turn, chat, rows))
    }
}

#[cfg(test)]
mod tests {
    use starling_wire::AuditAction;

    use super::*;

    #[test]
    fn who_hands_on_less_than_there_is_keeps_nobody_else_from_it() {
        let entry = |n: u64| AuditEntry { epoch: n, at: n, by: [1; 32], action: AuditAction::Topic("x".repeat(1_000)) };
        let entries: Vec<AuditEntry> = (0..2_000).map(entry).collect();
        for (count, upto) in [(100, 100), (2_000, 2_000), (110, 100), (100, 0)] {
            let own = handed_parts(&entries[..count]);
            let theirs = handed_parts(&entries[..count.min(usize::try_from(upto).unwrap()).max(100)]);
            assert!(own.len() <= MAX_AUDIT_PARTS && own.len() > 2);
            let mut handed = Handed { upto, parts: BTreeSet::new() };
            let mut short = own[0].clone();
            short.entries.truncate(1);
            let forged = AuditPart { before: [7; 32], ..own[0].clone() };
            for part in [&own[own.len() - 1], &short, &forged] {
                assert!(!handed.note(&own, part));
            }
            let taken: Vec<bool> = theirs.iter().map(|part| handed.note(&own, part)).collect();
            assert!(taken[..taken.len() - 2].iter().all(|whole| !whole) && taken[taken.len() - 1]);
        }
        // After a restart only what is whole counts.
        let own = handed_parts(&entries[..110]);
        let mut handed = Handed::default();
        assert!(handed_parts(&entries[..100]).iter().all(|part| !handed.note(&own, part)));
    }

    #[test]
    fn the_parts_of_a_log_lead_from_one_to_the_next() {
        let entry = |n: u64| AuditEntry { epoch: n, at: n, by: [1; 32], action: AuditAction::Topic("x".repeat(1_000)) };
        let entries: Vec<AuditEntry> = (0..100).map(entry).collect();
        let parts = parts(&entries);
        assert!(parts.len() > 2);
        let mut head = AuditHead::default();
        for part in &parts {
            assert_eq!((part.first, part.before), (head.count, head.hash));
            assert!(part.entries.iter().map(|bytes| bytes.len()).sum::<usize>() <= MAX_AUDIT_PART);
            for entry in &part.entries {
                head = head.with(&AuditEntry::from_bytes(entry).unwrap());
            }
        }
        assert_eq!(head, entries.iter().fold(AuditHead::default(), AuditHead::with));
    }
}
