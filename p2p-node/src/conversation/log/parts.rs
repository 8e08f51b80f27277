//! Commits of large groups that do not fit an entry of a log: their parts are kept as they are read, until the log is left. A commit counts at the
//! place of the entry that names its parts, if all of them stand before it; so it does for all who read the log, whenever they do.

use bytes::Bytes;
use starling_wire::{LogContent, LogVerb, PartNames, cut, part_name, rendezvous::LogRequest};

use super::limits::{MAX_COMMIT_REFUSALS, PART_BYTES, PARTS_AT_ONCE};
use crate::{
    conversation::{
        Conversations, GroupEntry,
        context::Context,
        fork::commit_hash,
        group::{GroupId, LogKeys},
        group_store::epoch_key,
    },
    home::LogPending,
    limits::WHOLE_BYTES,
    net::HomeId,
    store::{PARTS, PartRow, Reading, StoreError},
    turn::{EngineError, Turn},
};

/// The parts of a commit or door, where it may have some and does not fit an entry.
pub fn parts_of(body: &Bytes, may_have_parts: bool) -> Option<Vec<Bytes>> {
    (may_have_parts && body.len() > WHOLE_BYTES).then(|| cut(body, PART_BYTES))
}

/// The key of a part that was read in the log of an epoch. Where a fork is healed there is another log with the number of an epoch: what stood in the
/// one before counts for those alone who have read that.
fn part_key(id: &GroupId, epoch: u64, log: &[u8; 32], name: &[u8; 32]) -> Vec<u8> {
    [&epoch_key(id, epoch)[..], blake3::keyed_hash(log, name).as_bytes()].concat()
}

/// What a request appends.
pub(in crate::conversation) struct Batch {
    pub request: LogRequest,
    /// How many parts are in the log once it is done; none if this is what names them.
    pub upto: Option<usize>,
}

impl Batch {
    /// The next of what makes up a commit in parts, of which the log has the first `sent`: some more, or what names them all.
    pub fn next(keys: &LogKeys, parts: &[Bytes], sent: usize) -> Self {
        let seal = |content: &LogContent| keys.seal_entry(&content.to_bytes());
        let upto = parts.len().min(sent.saturating_add(PARTS_AT_ONCE));
        if sent < upto {
            let entries = parts[sent..upto].iter().map(|part| seal(&LogContent::Part(part.clone()))).collect();
            return Self { request: LogRequest { entries, part: true, ..LogRequest::default() }, upto: Some(upto) };
        }
        let entries = vec![seal(&LogContent::LargeCandidate(PartNames::of(parts)))];
        Self { request: LogRequest { entries, candidate: true, ..LogRequest::default() }, upto: None }
    }
}

impl Conversations {
    /// Whether commits and doors of a group may be in parts.
    pub(in crate::conversation) fn may_have_parts(&self, id: GroupId) -> bool {
        let chat = self.groups.get(&id).and_then(GroupEntry::chat);
        chat.and_then(|chat| self.policies.policy(&chat)).is_some_and(|policy| policy.large)
    }

    /// A part was read in the log of an epoch, under this number.
    pub(super) fn keep_part(
        &mut self,
        turn: &Turn<'_>,
        (id, epoch): (GroupId, u64),
        sequence: u64,
        part: Bytes,
    ) -> Result<(), EngineError> {
        if !self.may_have_parts(id) {
            return Ok(());
        }
        let Some(entry) = self.groups.get_mut(&id) else { return Ok(()) };
        let Some(keys) = entry.keys_of(epoch).filter(|_| entry.count_part(epoch, part.len())) else { return Ok(()) };
        let key = part_key(&id, epoch, &keys.address, &part_name(&part));
        // A log may be read once more from its beginning.
        let is_first = turn.get::<PartRow>(PARTS, &key)?.is_none_or(|known| known.sequence > sequence);
        if is_first {
            turn.put(PARTS, &key, &PartRow { sequence, part })?;
        }
        Ok(())
    }

    /// The commit whose parts an entry names that stands in the log of an epoch under this number; none if one of them does not stand before it.
    pub(super) fn join_parts(
        &self,
        turn: &Turn<'_>,
        (id, epoch): (GroupId, u64),
        sequence: u64,
        names: &PartNames,
    ) -> Result<Option<Bytes>, EngineError> {
        let keys = self.groups.get(&id).and_then(|entry| entry.keys_of(epoch));
        let Some(keys) = keys.filter(|_| self.may_have_parts(id)) else { return Ok(None) };
        let commit = names.join(|name| {
            let row = turn.get::<PartRow>(PARTS, &part_key(&id, epoch, &keys.address, name))?;
            Ok::<_, StoreError>(row.filter(|row| row.sequence < sequence).map(|row| row.part))
        })?;
        if commit.is_none() {
            tracing::debug!(group = id[0], "a commit lacks parts: it counts for nobody");
        }
        Ok(commit)
    }

    /// Appends the next parts of our commit, or what names them.
    pub(super) fn append_parts(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        (home, id): (HomeId, GroupId),
        (commit, parts): (&Bytes, &[Bytes]),
    ) -> Result<(), EngineError> {
        let Some(entry) = self.groups.get_mut(&id).filter(|entry| !entry.append.parts_under_way) else { return Ok(()) };
        let Some((log, keys)) = entry.current_log().zip(entry.current_keys()) else { return Ok(()) };
        let (epoch, after) = (log.epoch, log.cursor);
        // What was read there was sent before, also if its answer was lost.
        while let Some(part) = parts.get(entry.append.parts)
            && turn.get::<PartRow>(PARTS, &part_key(&id, epoch, &keys.address, &part_name(part)))?.is_some()
        {
            entry.append.parts += 1;
        }
        let Batch { mut request, upto } = Batch::next(&keys, parts, entry.append.parts);
        request.after = after;
        request.insist = request.candidate && entry.append.refusals >= MAX_COMMIT_REFUSALS;
        entry.append.parts_under_way = upto.is_some();
        let pending = upto.map_or(LogPending::Commit(id), |upto| LogPending::Parts(id, commit_hash(commit), upto));
        cx.homes.request_log(turn, home, &keys, LogVerb::Append, request, pending);
        Ok(())
    }

    /// The log has taken parts of a commit of ours.
    pub(in crate::conversation) fn on_parts_appended(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        (id, commit): (GroupId, [u8; 32]),
        upto: usize,
    ) -> Result<(), EngineError> {
        let Some(group) = self.open(turn, cx.mls, id)? else { return Ok(()) };
        group.entry.append.parts_under_way = false;
        // It may have been given up meanwhile, as another has won.
        if group.pending_commit().is_some_and(|pending| commit_hash(&pending) == commit) {
            let append = &mut group.entry.append;
            (append.parts, append.committing) = (append.parts.max(upto), true);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stood_in_another_log_of_this_number_is_not_found() {
        let key = |epoch, log: u8, name: u8| part_key(&[1; 16], epoch, &[log; 32], &[name; 32]);
        assert_eq!(key(5, 1, 1), key(5, 1, 1));
        assert_ne!(key(5, 1, 1), key(5, 2, 1), "the same part, in the log after another commit");
        assert_ne!(key(5, 1, 1), key(5, 1, 2));
        assert!(key(5, 1, 1).starts_with(&epoch_key(&[1; 16], 5)), "it is deleted with the log");
    }
}
