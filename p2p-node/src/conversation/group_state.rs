//! The encryption state of a group: messages and commits, taken and made.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use starling_keys::{AccountId, Certificate, DeviceId};
use starling_wire::{Body, Candidate, Devices, Event, LogContent, Policy, SeenEntries};

use super::{
    group::{GroupEntry, GroupMember, LogKeys},
    lead::Lead,
};
use crate::{
    limits::DOOR_WAIT_MS,
    mls::{
        Authored, GroupError, GroupValue, Judged, LiveGroup, Mls, Processed, Welcomed,
        policy::{self, Change},
    },
    store::LogRow,
    turn::{EngineError, Turn},
};

/// The only label under which secrets leave the group; the rest is derived from it.
pub(super) const EXPORT: &str = "starling epoch v1";

/// A commit of ours that waits to win.
pub struct PendingCommit {
    pub after: LiveGroup,
    pub value: GroupValue,
    /// Sealed for the log of the epoch that it ends, as a whole, also where it is sent in parts.
    pub entry: Bytes,
    pub next: LogRow,
    /// What those are to get whom it adds.
    pub welcomes: Vec<Welcomed>,
}

/// What a commit in a log has done.
#[derive(Clone, Debug, PartialEq)]
pub enum Followed {
    /// The group is in its next epoch.
    Yes,
    /// It is, and these devices have come into it; and whether its author was shown other entries of the log than we were.
    With(Vec<Newcomer>, bool),
    /// It is, and the commit's author was shown other entries of the log than we were.
    Differently,
    /// The commit counts for nobody.
    Void,
    /// Others may have followed it, and we cannot.
    Lost,
    /// Others have followed it, and this device is not in the group any more: the policy that counts there.
    Removed(Box<Policy>),
}

/// A device that has come into a group: by a commit of its own, or added by a member.
#[derive(Clone, Debug, PartialEq)]
pub struct Newcomer {
    pub account: AccountId,
    pub device: DeviceId,
    /// What it says of its account's devices; none if it says nothing that can be read.
    pub devices: Option<Devices>,
    /// It was in the group, which has a policy, and has come in place of its own leaf.
    pub again: bool,
}

impl Newcomer {
    /// Who has made a commit, if it was not a member.
    pub(super) fn of(by: &Authored) -> Option<Self> {
        let newcomer = by.newcomer.as_ref()?;
        let devices = match Event::decode_body(&by.note) {
            Ok(Body::Devices(devices)) => Some(devices),
            _ => None,
        };
        let again = by.place == policy::REENTRY;
        Some(Self { account: newcomer.account(), device: newcomer.device(), devices, again })
    }

    /// The devices that a member's commit has added which leads from one state of a group to another.
    pub(super) fn added_between(before: &LiveGroup, after: &LiveGroup) -> Vec<Self> {
        let before: BTreeSet<DeviceId> = before.members().iter().map(Certificate::device).collect();
        let members: Vec<GroupMember> = after.members().iter().map(GroupMember::from).collect();
        members.iter().filter(|member| !before.contains(&member.device)).map(Self::added).collect()
    }

    /// A device that a member has added.
    fn added(member: &GroupMember) -> Self {
        Self { account: member.account, device: member.device, devices: None, again: false }
    }
}

/// The encryption state of a group.
pub struct GroupState {
    pub(super) live: LiveGroup,
    pub(super) pending: Option<PendingCommit>,
    /// Entries that we have encrypted since our last commit.
    pub(super) since_update: u64,
    /// Hashes of the earlier epochs' states as they are stored.
    pub(super) saved_epochs: BTreeMap<u64, [u8; 32]>,
    /// The hash of the ratchet tree that is stored beside the state; empty if it is part of it.
    pub(super) saved_tree: Vec<u8>,
    pub(super) lead: Lead,
    /// The state in an epoch that is over, of which something came late, with the secret of its log.
    pub(super) past: Option<(Vec<u8>, LiveGroup)>,
}

impl GroupState {
    /// Of a group that is not stored yet.
    pub(super) fn new(live: LiveGroup) -> Self {
        let (saved_epochs, saved_tree) = (BTreeMap::new(), Vec::new());
        Self { live, pending: None, since_update: 0, saved_epochs, saved_tree, lead: Lead::default(), past: None }
    }

    /// The devices in the group.
    pub(super) fn members(&self) -> Vec<GroupMember> {
        self.live.members().iter().map(GroupMember::from).collect()
    }

    /// The log of the epoch that the group is in.
    pub(super) fn log(&self) -> Result<LogRow, GroupError> {
        log_row(&self.live)
    }
}

/// The log of the epoch that a group is in.
pub(super) fn log_row(live: &LiveGroup) -> Result<LogRow, GroupError> {
    let mut row = LogRow::default();
    (row.epoch, row.secret, row.judged) = (live.epoch(), live.export(EXPORT)?.to_vec(), true);
    row.address = LogKeys::of(&row).map(|keys| keys.address.to_vec()).unwrap_or_default();
    Ok(row)
}

/// The commit in a log's entry; those of version 0.1 are not marked.
pub fn commit_of(content: Vec<u8>) -> Option<Bytes> {
    Some(match LogContent::from_bytes(content.into()).ok()? {
        LogContent::Candidate(candidate) => candidate.commit,
        LogContent::Message(message) => message,
        LogContent::Beacon(_) | LogContent::Part(_) | LogContent::LargeCandidate(_) => return None,
    })
}

/// Whether a log's entry is a candidate whose commit is in parts before it.
pub fn is_in_parts(content: &[u8]) -> bool {
    let content = LogContent::from_bytes(Bytes::copy_from_slice(content));
    matches!(content, Ok(LogContent::LargeCandidate(_)))
}

/// A group together with its encryption state.
pub struct OpenGroup<'a> {
    pub entry: &'a mut GroupEntry,
    pub(super) state: &'a mut GroupState,
    /// Steady time.
    pub(super) now: u64,
}

impl OpenGroup<'_> {
    /// The group's whole state as a value.
    pub fn value(&mut self) -> Result<GroupValue, GroupError> {
        self.state.live.value()
    }

    /// Encrypts a batch; gives the message.
    pub fn encrypt(&mut self, batch: &[u8]) -> Result<Bytes, GroupError> {
        let message = self.state.live.encrypt(batch)?;
        self.state.lead.note_encrypted(self.now);
        self.entry.unsaved.mls |= !self.state.lead.covers_encrypted();
        Ok(message.into())
    }

    /// Encrypts a batch that counts towards the next renewal of our keys.
    pub fn encrypt_counted(&mut self, batch: &[u8]) -> Result<Bytes, GroupError> {
        self.state.since_update += 1;
        self.encrypt(batch)
    }

    /// Takes a message. A commit is recognised, and not followed.
    pub fn process(&mut self, message: &[u8]) -> Processed {
        let processed = self.state.live.process(message);
        if matches!(processed, Processed::Application { .. }) {
            self.state.lead.note_decrypted(self.now);
        }
        processed
    }

    /// What a message is, without taking it: the state stays as it is, and the message can be taken later.
    pub fn preview(&mut self, message: &[u8]) -> Processed {
        self.state.live.preview(message)
    }

    /// Our commit that waits to win, sealed for the log.
    pub fn pending(&self) -> Option<&Bytes> {
        self.state.pending.as_ref().map(|pending| &pending.entry)
    }

    /// The same, as it is.
    pub(super) fn pending_commit(&self) -> Option<Bytes> {
        let keys = self.entry.current_keys();
        self.pending().zip(keys).and_then(|(entry, keys)| commit_of(keys.open_entry(entry)?))
    }

    /// Whether a commit is our own that waits to win, whoever has put it into the log.
    pub(super) fn is_pending(&self, commit: &[u8]) -> bool {
        self.pending_commit().is_some_and(|own| own == commit)
    }

    /// The policy of the group; none in a direct conversation.
    pub fn policy(&self) -> Option<Policy> {
        self.state.live.policy()
    }

    /// Whether our keys may be renewed now, or others have to commit first.
    pub fn may_renew(&self) -> bool {
        self.state.live.may_renew()
    }

    /// Whether we may change the policy now, or others have to commit first.
    pub fn may_change(&self, change: &Change) -> bool {
        self.state.live.may_change(change)
    }

    /// Whether somebody else may soon have to wait for a commit of another account.
    pub fn is_waited_for(&self) -> bool {
        self.state.live.is_waited_for()
    }

    /// The last entries of the log that we have read, as a commit names them.
    pub(super) fn seen(&self) -> Vec<u8> {
        let seen = self.entry.current_log().and_then(|log| log.seen.as_ref());
        seen.map(SeenEntries::to_bytes).unwrap_or_default()
    }

    /// Prepares a commit that renews our keys. It is stored before it is sent: if we win and crash, we have to know the epoch after it.
    pub fn prepare_update(&mut self, now_ms: u64) -> Result<(), GroupError> {
        let current = self.state.live.value()?;
        let made = self.state.live.prepare_update(now_ms, self.seen());
        self.keep_pending(current, made).map(drop)
    }

    /// Prepares one that changes the policy, and gives its size.
    pub fn prepare_change(&mut self, now_ms: u64, change: &Change) -> Result<usize, GroupError> {
        let current = self.state.live.value()?;
        let made = self.state.live.prepare_change(change, now_ms, self.seen());
        self.keep_pending(current, made)
    }

    /// Keeps a commit that was made, and gives its size.
    pub(super) fn keep_pending(
        &mut self,
        current: GroupValue,
        made: Result<(Vec<u8>, LiveGroup), GroupError>,
    ) -> Result<usize, GroupError> {
        let live = &self.state.live;
        let (commit, mut after) = made.inspect_err(|_| live.reset_value(current.clone()))?;
        let size = commit.len();
        let keys = self.entry.current_keys().ok_or(GroupError::Malformed)?;
        let candidate = LogContent::Candidate(Candidate { commit: commit.into() });
        let entry = keys.seal_entry(&candidate.to_bytes());
        let value = after.value()?;
        self.state.live.reset_value(current);
        let next = log_row(&after)?;
        self.state.pending = Some(PendingCommit { after, value, entry, next, welcomes: Vec::new() });
        (self.entry.has_pending, self.entry.append.parts, self.entry.append.parts_under_way) = (true, 0, false);
        (self.entry.unsaved.mls, self.entry.unsaved.pending) = (true, true);
        Ok(size)
    }

    /// A commit stands in the log of the current epoch, and no valid one before it; or a member was `told` that another has followed it.
    pub fn follow(
        &mut self,
        turn: &Turn<'_>,
        mls: &Mls,
        (commit, told): (&Bytes, bool),
    ) -> Result<Followed, EngineError> {
        let before: BTreeSet<DeviceId> = self.entry.members.iter().map(|member| member.device).collect();
        if self.is_pending(commit) {
            self.follow_pending(turn, commit, told)?;
            return Ok(self.with_added(&before, false));
        }
        let left = self.left_here(turn, mls, commit)?;
        match (self.state.live.judge(commit), left) {
            (Judged::Valid(next, by), left) => {
                let newcomer = Newcomer::of(&by);
                self.entry.note_reached(by.author.as_ref().map(Certificate::device));
                self.keep_audit_to(turn, &next, by.author.as_ref().map(Certificate::account))?;
                let seen = SeenEntries::from_bytes(by.note.into()).unwrap_or_default();
                let ours = self.entry.current_log().and_then(|log| log.seen.as_ref());
                let differs = ours.is_some_and(|ours| ours.contradicts(&seen));
                self.keep_parent(turn, commit, by.place, told)?;
                match left {
                    Some(left) => self.restore(turn, commit, left)?,
                    None => self.state.live = *next,
                }
                self.forget_pending();
                let log = self.state.log()?;
                self.enter_epoch(log);
                // Its author does that.
                self.entry.write_door(false);
                Ok(match newcomer {
                    Some(newcomer) => Followed::With(vec![newcomer], false),
                    None => self.with_added(&before, differs),
                })
            }
            // Our own.
            (Judged::Underivable, Some(left)) => {
                let author = self.state.live.place_of(&left.live, self.state.live.leaf());
                self.keep_audit_to(turn, &left.live, self.own_account())?;
                self.keep_parent(turn, commit, author, told)?;
                self.restore(turn, commit, left)?;
                self.forget_pending();
                let log = self.state.log()?;
                self.enter_epoch(log);
                self.entry.write_door(true);
                Ok(self.with_added(&before, false))
            }
            (Judged::Removed(removal), _) => {
                let author = removal.author.as_ref().map(Certificate::account);
                let policies = (self.policy(), &removal.policy);
                self.keep_audit(turn, (policies.0.as_ref(), Some(policies.1)), (author, self.state.live.epoch() + 1))?;
                Ok(Followed::Removed(Box::new(removal.policy)))
            }
            (Judged::Void, _) => Ok(Followed::Void),
            (Judged::Underivable, None) => Ok(Followed::Lost),
        }
    }

    /// Our commit that waits to win is the one that stands there.
    fn follow_pending(&mut self, turn: &Turn<'_>, commit: &Bytes, told: bool) -> Result<(), EngineError> {
        let live = &self.state.live;
        let after = self.state.pending.as_ref().map(|pending| live.place_of(&pending.after, live.leaf()));
        let author = after.unwrap_or_else(|| live.leaf());
        if let Some(pending) = &self.state.pending {
            self.keep_audit_to(turn, &pending.after, self.own_account())?;
        }
        self.keep_parent(turn, commit, author, told)?;
        self.adopt_pending();
        self.entry.row.updated_ms = turn.wall();
        Ok(())
    }

    /// What a member's commit has done that was followed from a group of these devices.
    fn with_added(&mut self, before: &BTreeSet<DeviceId>, differs: bool) -> Followed {
        let added = self.entry.members.iter().filter(|member| !before.contains(&member.device));
        let added: Vec<Newcomer> = added.map(Newcomer::added).collect();
        if !added.is_empty() {
            self.entry.note_added(self.now);
        }
        match (added.is_empty(), differs) {
            (false, _) => Followed::With(added, differs),
            (true, true) => Followed::Differently,
            (true, false) => Followed::Yes,
        }
    }

    /// Stores what a commit of an account adds to the group's audit log that leads to its next epoch.
    fn keep_audit_to(&self, turn: &Turn<'_>, next: &LiveGroup, author: Option<AccountId>) -> Result<(), EngineError> {
        let (before, after) = (self.policy(), next.policy());
        self.keep_audit(turn, (before.as_ref(), after.as_ref()), (author, next.epoch()))
    }

    fn own_account(&self) -> Option<AccountId> {
        let live = &self.state.live;
        live.member_at(live.leaf()).map(|own| own.account())
    }

    /// Whether a commit would count, if it stands in the log of the current epoch and no valid one before it.
    pub fn would_count(&self, commit: &[u8]) -> bool {
        self.is_pending(commit) || !matches!(self.state.live.judge(commit), Judged::Void)
    }

    /// Our commit has won: the epoch after it begins.
    fn adopt_pending(&mut self) {
        let Some(pending) = self.forget_pending() else { return };
        self.state.live = pending.after;
        self.state.live.reset_value(pending.value);
        let epoch = pending.next.epoch;
        if !pending.welcomes.is_empty() {
            self.entry.note_added(self.now);
        }
        self.entry.welcomes = pending.welcomes.into_iter().map(|welcomed| (epoch, welcomed)).collect();
        self.state.since_update = 0;
        self.entry.append.renews_at = None;
        self.enter_epoch(pending.next);
        self.entry.write_door(true);
        self.entry.door_waits_until = self.door_can_wait().then_some(self.now + DOOR_WAIT_MS);
    }

    pub(super) fn forget_pending(&mut self) -> Option<PendingCommit> {
        let pending = self.state.pending.take();
        self.entry.unsaved.pending |= pending.is_some();
        self.entry.has_pending = false;
        pending
    }

    /// After a commit: a new log.
    pub(super) fn enter_epoch(&mut self, log: LogRow) {
        (self.entry.append.committing, self.entry.append.refusals, self.entry.append.behind) = (false, 0, false);
        (self.entry.append.no_renewal_in, self.entry.append.parts) = (None, 0);
        self.entry.unsaved.logs.insert(log.epoch);
        self.entry.logs.push(log);
        self.entry.members = self.state.members();
        self.entry.has_removed.set(None);
        self.entry.note_leaves(&self.state.live);
        self.entry.read.caught_up = false;
        self.entry.forks.moved(&self.entry.members);
        self.entry.read.others = 0;
        (self.entry.unsaved.row, self.entry.unsaved.mls) = (true, true);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use starling_keys::{AccountKey, DeviceKey};
    use starling_wire::{GroupKind, PolicyMember, Role};

    use super::*;
    use crate::mls::KeyPackages;

    #[test]
    fn whoever_was_not_there_before_a_commit_was_added_by_it() {
        let [owner, other] = [1, 2].map(|n| AccountKey::from_seed(&[n; 32]));
        let device = |account: &AccountKey| {
            let key = DeviceKey::generate();
            let certificate = Certificate::issue(account, key.id(), 1);
            (key.id(), Mls::new(&certificate, &key, KeyPackages::default()).unwrap())
        };
        let ((_, ours), (added, theirs)) = (device(&owner), device(&other));
        let (id, now_ms) = ([1; 16], 1_800_000_000_000);
        let [by, account] = [&owner, &other].map(|account| *account.id().as_bytes());
        let mut policy = Policy::new([7; 16], "ops".into(), by).with_rules(GroupKind::Group);
        policy.add(PolicyMember { account, role: Role::Member, by, since: 0 });
        let before = ours.create_with(&id, &policy, now_ms).unwrap();
        let package = Bytes::from(theirs.package_for(&id, now_ms).unwrap());
        let (_, after, _) = before.prepare_adds(&[package], now_ms, Vec::new()).unwrap();
        let newcomer = Newcomer { account: other.id(), device: added, devices: None, again: false };
        assert_eq!(Newcomer::added_between(&before, &after), [newcomer]);
        assert!(Newcomer::added_between(&after, &after).is_empty());
    }
}
