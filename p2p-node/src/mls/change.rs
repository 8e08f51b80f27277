//! Groups with a policy: making one, and commits that change it.

use mls_rs::{
    ExtensionList, MlsMessage,
    group::{
        CommitEffect,
        proposal::{CustomProposal, Proposal},
    },
};
use starling_keys::{AccountId, Certificate, DeviceId};
use starling_wire::{CommitAuthors, MAX_AUTHORS, Policy, PolicyContext};

use super::{
    AFTER_MEMBERS, GroupError, GroupId, LiveGroup, Mls, commits,
    pace::Kind,
    permissions::{audited, first_audited},
    policy::{self, Change, Denied, Place, REASONS},
    rules::certificate,
    time,
};

/// Which group is to be entered.
#[derive(Clone, Copy, Debug)]
pub enum Expected {
    /// That of a direct conversation of these accounts.
    Direct([AccountId; 2]),
    /// One of this conversation, with a policy.
    Group([u8; 16]),
}

impl Expected {
    pub(super) fn has_policy(self) -> bool {
        matches!(self, Self::Group(_))
    }

    /// Whether a group is the one.
    pub fn is_met(self, group: &LiveGroup) -> bool {
        match self {
            Self::Direct(accounts) => {
                let members = group.members();
                let are_theirs = members.iter().all(|member| accounts.contains(&member.account()));
                let has_both = accounts.iter().all(|account| members.iter().any(|m| m.account() == *account));
                are_theirs && has_both && !group.has_policy()
            }
            Self::Group(conversation) => group.policy().is_some_and(|policy| policy.conversation == conversation),
        }
    }
}

/// What a commit says that removes this device: the policy after it. None if it is not such a commit.
pub(super) fn removal(effect: &CommitEffect) -> Option<Policy> {
    let CommitEffect::Removed { new_epoch, .. } = effect else { return None };
    let before = policy::context_of(&new_epoch.prior_state.context.extensions).ok()??;
    let brought = new_epoch.applied_proposals.iter().find_map(|info| match &info.proposal {
        Proposal::GroupContextExtensions(extensions) => policy::context_of(extensions).ok()?,
        _ => None,
    });
    // Without another policy it was this device itself, which has entered again.
    Some(brought.unwrap_or(before).policy)
}

/// The policy that a commit of a group's epoch brings, if it brings one. Nothing of the commit is judged.
pub fn claimed_policy(commit: &[u8], (id, epoch): (&GroupId, u64)) -> Option<Policy> {
    let message = MlsMessage::from_bytes(commit).ok()?;
    if message.group_id() != Some(&id[..]) || message.epoch() != Some(epoch) {
        return None;
    }
    let mut proposals = message.proposals_by_value().into_iter();
    let context = proposals.find_map(|proposal| match proposal {
        Proposal::GroupContextExtensions(extensions) => policy::context_of(extensions).ok()?,
        _ => None,
    });
    context.map(|context| context.policy)
}

impl Mls {
    /// Makes a group with this policy that has this device alone, at this time (milliseconds since 1970), in its first epoch.
    ///
    /// # Errors
    /// If the library refuses.
    pub fn create_with(&self, id: &[u8], policy: &Policy, now_ms: u64) -> Result<LiveGroup, GroupError> {
        let policy = first_audited(policy, now_ms);
        let context = PolicyContext { policy, authors: Some(CommitAuthors::default()) };
        let extensions = policy::extensions_with(&context);
        let mut group =
            self.client.create_group_with_id(id.to_vec(), extensions, ExtensionList::new(), Some(time(now_ms)))?;
        group.commit_builder().commit_time(time(now_ms)).build()?;
        group.apply_pending_commit()?;
        Ok(self.live(group))
    }
}

impl LiveGroup {
    /// The policy that the group has; none in a direct conversation.
    pub fn policy(&self) -> Option<Policy> {
        self.context().map(|context| context.policy)
    }

    /// Whether the last commit was one by which its author's account has come in by a link, into a group that had this policy.
    pub fn came_by_link(&self, before: &Policy) -> bool {
        let Some(PolicyContext { policy, authors: Some(authors) }) = self.context() else { return false };
        let mut new = policy.members.iter().filter(|member| before.role(&member.account).is_none());
        new.any(|member| authors.made_by(&member.account, 1) > 0)
    }

    /// Whether an account has made the last commit.
    pub fn is_last_by(&self, account: &AccountId) -> bool {
        let authors = self.context().and_then(|context| context.authors);
        authors.is_some_and(|authors| authors.made_by(account.as_bytes(), 1) > 0)
    }

    fn context(&self) -> Option<PolicyContext> {
        policy::context_of(&self.group.context().extensions).ok()?
    }

    /// Whether the account of this device has to let others commit first, before it makes a commit of this kind; with what the commit makes of the record
    /// of authors.
    fn check_pace(&self, kind: Kind) -> Result<Option<CommitAuthors>, Denied> {
        let context = self.context().ok_or(Denied::Malformed)?;
        let own = self.member_at(self.leaf()).ok_or(Denied::NotAMember)?;
        commits::check_pace(&context, &self.group.roster(), &own.account(), kind)
    }

    fn check_change_pace(&self, before: &Policy, change: &Change) -> Result<Option<CommitAuthors>, Denied> {
        let own = self.member_at(self.leaf()).ok_or(Denied::NotAMember)?;
        self.check_pace(Kind::of_change(before, &change.policy, &own.account()))
    }

    /// Whether this device may renew its keys now; in a group with a policy others may have to commit first.
    pub fn may_renew(&self) -> bool {
        !self.has_policy() || self.check_pace(Kind::Renewal).is_ok()
    }

    /// Whether it may change the policy now, or others have to commit first.
    pub fn may_change(&self, change: &Change) -> bool {
        self.policy().is_some_and(|before| self.check_change_pace(&before, change).is_ok())
    }

    /// Whether somebody else has made so many commits in a row that soon it has to wait for one of another account.
    pub fn is_waited_for(&self) -> bool {
        let own = self.member_at(self.leaf());
        let authors = self.context().and_then(|context| context.authors);
        authors
            .zip(own)
            .is_some_and(|(authors, own)| authors.in_a_row_by_another(own.account().as_bytes()) >= MAX_AUTHORS / 2)
            && self.may_renew()
    }

    /// The devices whose leaves say that their programs are older than the version which groups are raised to: this one, too, until its keys are
    /// renewed.
    pub fn outdated(&self) -> Vec<DeviceId> {
        let roster = self.group.roster();
        let lacks = roster.members_iter().filter(|member| !commits::follows_raises(member));
        lacks.filter_map(|member| certificate(&member.signing_identity)).map(|device| device.device()).collect()
    }

    /// Whether the group is of an older version, and may be raised by a commit, as all its devices follow that. Not where no record of authors is
    /// kept, which was before there were releases.
    pub fn can_be_raised(&self) -> bool {
        let has_record = |context: PolicyContext| context.authors.is_some() && context.policy.rules.is_none();
        self.context().is_some_and(has_record) && commits::all_follow_raises(&self.group.roster())
    }

    /// Whether the policy is of a version that is not known here: nothing of the group can be judged until this program is updated.
    pub fn is_newer(&self) -> bool {
        policy::context_of(&self.group.context().extensions) == Err(Denied::NewGroup)
    }

    /// Whether it has one.
    pub fn has_policy(&self) -> bool {
        self.group.context().extensions.has_extension(policy::POLICY)
    }

    /// A commit at this time (milliseconds since 1970) that changes the policy, and says `note` to the members: the commit's bytes, and the group as it
    /// will be. Devices that may not be there any more go. This group stays as it is.
    ///
    /// # Errors
    /// If the policy does not allow it.
    pub fn prepare_change(
        &self,
        change: &Change,
        now_ms: u64,
        note: Vec<u8>,
    ) -> Result<(Vec<u8>, LiveGroup), GroupError> {
        let mut after = self.clone();
        let goes: Vec<u32> = policy::members(&self.group.roster())
            .filter(|(_, device)| !policy::admits(&change.policy, device))
            .map(|(leaf, _)| leaf)
            .collect();
        let before = self.policy().ok_or(GroupError::Malformed)?;
        let authors = self.check_change_pace(&before, change).map_err(|_| GroupError::Malformed)?;
        let own = self.member_at(self.leaf()).ok_or(GroupError::Certificate)?.account();
        let place = (Place { group: self.id(), epoch: self.epoch() }, now_ms);
        let policy = audited(&before, &change.policy, own, &change.reasons, place);
        let context = PolicyContext { policy, authors };
        let mut commit = after.group.change().commit_builder().commit_time(time(now_ms)).authenticated_data(note);
        commit = commit.set_group_context_ext(policy::extensions_with(&context))?;
        for leaf in goes {
            commit = commit.remove_member(leaf)?;
        }
        if !change.reasons.is_empty() {
            commit = commit.custom_proposal(CustomProposal::new(REASONS, change.reasons.to_bytes()));
        }
        let commit = commit.build()?;
        let bytes = commit.commit_message.to_bytes()?;
        after.group.change().apply_pending_commit()?;
        after.senders.clear();
        Ok((bytes, after))
    }

    /// The place among rivals of a commit by which a device comes in.
    pub fn place_of_entry(&self, newcomer: &Certificate) -> u32 {
        let was_there = || self.members().iter().any(|member| member.device() == newcomer.device());
        match self.has_policy() {
            true if was_there() => policy::REENTRY,
            true => policy::ENTRY,
            false => AFTER_MEMBERS,
        }
    }

    /// The place among rivals of a commit of the member at a leaf that leads to `after`.
    pub fn place_of(&self, after: &LiveGroup, leaf: u32) -> u32 {
        after.policy().and_then(|after| self.place_of_change(&after, leaf)).unwrap_or(leaf)
    }

    /// The same of one that brings this policy; none without a policy before it, or an author.
    pub(super) fn place_of_change(&self, after: &Policy, leaf: u32) -> Option<u32> {
        let author = self.group.roster().member_with_index(leaf).ok()?;
        let author = certificate(&author.signing_identity)?.account();
        Some(policy::place_of(&self.policy()?, after, &author, leaf))
    }
}
