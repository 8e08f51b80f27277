//! The policy of a group: who its accounts are, and what each may do. Every member has the same one, in the group's context.

mod audit;
mod community;
mod context;
mod link;
mod member;
mod proto;
mod role;
mod rules;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use prost::Message as _;

use crate::limits::{MAX_ENTRY, MAX_LARGE};

pub use audit::{AuditAction, AuditEntry, AuditHead, MAX_AUDIT_ENTRY};
pub use community::{
    ChannelEntry, ChannelOf, Community, MAX_CHANNELS, MAX_STATEMENT_LAG, STATEMENT_DOMAIN, STATEMENT_STEPS, Statement,
};
pub use context::PolicyContext;
pub use link::{JoinLink, MAX_JOIN_LINKS};
pub use member::{PolicyMember, Tombstone};
pub use role::Role;
pub use rules::{GroupKind, GroupRules, GroupSetting, MAX_GROUP_BANS, MAX_LIFETIME, MAX_SLOW_MODE, Permissions};

/// An account's id.
type Account = [u8; 32];

/// Accounts of a group whose commits and tree have to fit an entry of a log.
pub const MAX_GROUP_ACCOUNTS: usize = 32;
/// Devices of one, for the same reason: a commit into a tree without inner nodes has 1.2 KB for each, a door 1.7 KB.
pub const MAX_GROUP_LEAVES: usize = 64;
/// Accounts of a [large](Policy::large) group: the policy has 76 bytes for each, is hashed with each message, and comes with each of its changes.
pub const MAX_LARGE_GROUP_ACCOUNTS: usize = 1_000;
/// Devices of one: its door is 3.4 MB then, and a commit into a tree without inner nodes 2.4 MB.
pub const MAX_LARGE_GROUP_LEAVES: usize = 2_000;
/// Accounts and devices that were removed from a group and are remembered. Who would be one more is not removed: another group has to be made.
pub const MAX_GROUP_TOMBSTONES: usize = 256;
/// Of these, devices of one account: no account fills the place of others.
pub const MAX_ACCOUNT_TOMBSTONES: usize = 8;
/// Bytes of a group's name: as many as any name has.
pub const MAX_GROUP_NAME: usize = 512;
/// Bytes of a group's topic.
pub const MAX_TOPIC: usize = 1024;
/// The version of a policy alone, and of groups of programs that kept no record of authors.
pub const POLICY_VERSION: u32 = 1;
/// The version of a policy with a record of who has made the last commits.
pub const POLICY_WITH_AUTHORS: u32 = 2;
/// The version of a policy that says what its accounts may do: permissions, links, bans, the audit log.
pub const POLICY_WITH_RULES: u32 = 3;

/// Who is in a group, and what they may do. A value that was read is in order: accounts are sorted, and there is an owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The conversation: groups that take each other's place are of the same one.
    pub conversation: [u8; 16],
    /// What it is called.
    pub name: String,
    /// What it is about.
    pub topic: String,
    /// Its accounts, in the order of their ids. Those that were invited and have not come yet are among them.
    pub members: Vec<PolicyMember>,
    /// Accounts that were removed or have left, in the order of their ids.
    pub removed: Vec<Account>,
    /// Devices that were removed from their accounts, in the order of accounts and devices.
    pub tombstones: Vec<Tombstone>,
    /// What they may do; none in groups of the versions before [`POLICY_WITH_RULES`].
    pub rules: Option<GroupRules>,
    /// Commits and doors of the group may be stored in parts, so that more may be in it. It is so from the beginning, or never: programs that know no
    /// parts cannot read such a policy, and so are in no such group. Only a group with rules is, and no community, nor a channel of one: a statement of
    /// who is in it stands up to three times in the policy of a community.
    pub large: bool,
}

/// Why a policy was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// It is malformed, not in order, or beyond its limits.
    #[error("not a group's policy")]
    Malformed,
    /// Its rules are not known here: this program has to be updated.
    #[error("the policy of a group of a newer version")]
    Newer,
}

fn id<const LEN: usize>(bytes: &[u8]) -> Result<[u8; LEN], PolicyError> {
    bytes.try_into().map_err(|_| PolicyError::Malformed)
}

fn is_sorted_set<T: Ord>(items: &[T]) -> bool {
    items.is_sorted_by(|a, b| a < b)
}

impl Policy {
    /// That of a new group, without rules.
    pub fn new(conversation: [u8; 16], name: String, owner: Account) -> Self {
        let member = PolicyMember { account: owner, role: Role::Owner, by: owner, since: 0 };
        let (topic, members) = (String::new(), vec![member]);
        let (removed, tombstones) = (Vec::new(), Vec::new());
        Self { conversation, name, topic, members, removed, tombstones, rules: None, large: false }
    }

    /// With the rules of a new group of a kind.
    #[must_use]
    pub fn with_rules(self, kind: GroupKind) -> Self {
        Self { rules: Some(GroupRules::new(kind)), ..self }
    }

    /// The same group of the version [`POLICY_WITH_RULES`], if it is of one before: nothing else changes by that. Its audit log is still to begin.
    #[must_use]
    pub fn raised(&self) -> Self {
        Self { rules: Some(self.rules.clone().unwrap_or_else(GroupRules::raised)), ..self.clone() }
    }

    /// Whether another policy is of a version with rules, and this one is not.
    pub fn is_raised_by(&self, after: &Self) -> bool {
        self.rules.is_none() && after.rules.is_some()
    }

    /// Most accounts of the group.
    pub fn most_accounts(&self) -> usize {
        if self.large { MAX_LARGE_GROUP_ACCOUNTS } else { MAX_GROUP_ACCOUNTS }
    }

    /// Most devices in it.
    pub fn most_leaves(&self) -> usize {
        if self.large { MAX_LARGE_GROUP_LEAVES } else { MAX_GROUP_LEAVES }
    }

    /// Bytes of its largest commit.
    pub fn largest_commit(&self) -> usize {
        if self.large { MAX_LARGE } else { MAX_ENTRY }
    }

    /// Who may do what.
    pub fn permissions(&self) -> Permissions {
        self.rules.as_ref().map_or(Permissions::FORMER, |rules| rules.permissions)
    }

    /// Whether an account is banned.
    pub fn bans(&self, account: &Account) -> bool {
        self.rules.as_ref().is_some_and(|rules| rules.bans(account))
    }

    /// Encoded. Two equal policies have the same bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.to_proto(None).encode_to_vec()
    }

    /// Reads one.
    ///
    /// # Errors
    /// If it is malformed, not in order, beyond its limits, has a record of authors, or is of another version: its rules are not known here.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PolicyError> {
        let read = PolicyContext::from_bytes(bytes)?;
        let is_alone = match &read.policy.rules {
            Some(_) => read.authors.as_ref().is_some_and(|authors| authors.accounts() == 0),
            None => read.authors.is_none(),
        };
        if is_alone { Ok(read.policy) } else { Err(PolicyError::Malformed) }
    }

    /// The version that it is of, in a group with a record of authors.
    pub fn version(&self) -> u32 {
        if self.rules.is_some() { POLICY_WITH_RULES } else { POLICY_WITH_AUTHORS }
    }

    /// Whether it is within its limits, with what will stand beside it in the group's context, and says nothing twice.
    pub fn is_in_order(&self) -> bool {
        self.says_nothing_twice() && self.fits()
    }

    fn says_nothing_twice(&self) -> bool {
        let accounts: Vec<Account> = self.members.iter().map(|m| m.account).collect();
        let tombstones: Vec<_> = self.tombstones.iter().map(Tombstone::key).collect();
        self.name.len() <= MAX_GROUP_NAME
            && !self.name.is_empty()
            && self.topic.len() <= MAX_TOPIC
            && accounts.len() <= self.most_accounts()
            && self.removed.len() <= MAX_GROUP_TOMBSTONES
            && tombstones.len() <= MAX_GROUP_TOMBSTONES
            && is_sorted_set(&accounts)
            && is_sorted_set(&self.removed)
            && is_sorted_set(&tombstones)
            && self.tombstones.iter().all(|t| is_sorted_set(&t.staying) && self.member(&t.account).is_some())
            && self.tombstones.chunk_by(|a, b| a.account == b.account).all(|of| of.len() <= MAX_ACCOUNT_TOMBSTONES)
            && self.members.iter().any(|m| m.role == Role::Owner)
            && !self.removed.iter().any(|account| self.member(account).is_some())
            && self.rules.as_ref().is_none_or(|rules| {
                rules.is_in_order() && !rules.bans.iter().any(|account| self.member(account).is_some())
            })
            && !(self.large && (self.community().is_some() || self.channel_of().is_some()))
    }

    /// An account of the group.
    pub fn member(&self, account: &Account) -> Option<&PolicyMember> {
        self.members.iter().find(|m| m.account == *account)
    }

    /// What an account may do; `None` if it is none of the group's.
    pub fn role(&self, account: &Account) -> Option<Role> {
        self.member(account).map(|m| m.role)
    }

    /// A device that was removed from its account.
    pub fn tombstone(&self, account: &Account, device: &[u8; 32]) -> Option<&Tombstone> {
        self.tombstones.iter().find(|t| t.account == *account && t.device == *device)
    }

    /// With one more account.
    pub fn add(&mut self, member: PolicyMember) {
        self.removed.retain(|account| *account != member.account);
        let at = self.members.partition_point(|m| m.account < member.account);
        self.members.insert(at, member);
    }

    /// Without an account, and the links that it could know. Its devices need not be remembered: they are not told the next door. Of more than
    /// [`MAX_GROUP_TOMBSTONES`] accounts that were removed those are forgotten that come first and do not go now.
    pub fn remove(&mut self, account: &Account) {
        self.remove_all(&[*account]);
    }

    /// Without some accounts, in whatever order: see [`Policy::remove`].
    pub fn remove_all(&mut self, accounts: &[Account]) {
        let gone: BTreeSet<Account> = accounts.iter().copied().filter(|a| self.member(a).is_some()).collect();
        self.members.retain(|m| !gone.contains(&m.account));
        self.tombstones.retain(|t| !gone.contains(&t.account));
        if let Some(rules) = self.rules.as_mut().filter(|_| !gone.is_empty()) {
            rules.end_links(&gone);
        }
        let mut removed: BTreeSet<Account> = self.removed.iter().copied().chain(gone.iter().copied()).collect();
        while removed.len() > MAX_GROUP_TOMBSTONES
            && let Some(first) = removed.iter().find(|account| !gone.contains(*account)).copied()
        {
            removed.remove(&first);
        }
        self.removed = removed.into_iter().collect();
    }

    /// Whose the group becomes if some accounts go: where no owner is left, of those with the highest role the one with the lowest id.
    pub fn heir(&self, gone: &[Account]) -> Option<Account> {
        let stays = || self.members.iter().filter(|m| !gone.contains(&m.account));
        if stays().any(|m| m.role == Role::Owner) {
            return None;
        }
        stays().min_by_key(|m| (m.role, m.account)).map(|m| m.account)
    }

    /// With a device that was removed, if there is room for it; without the links that it could know.
    pub fn bury(&mut self, tombstone: Tombstone) {
        let of_account = self.tombstones.iter().filter(|t| t.account == tombstone.account).count();
        if of_account >= MAX_ACCOUNT_TOMBSTONES || self.member(&tombstone.account).is_none() {
            return;
        }
        if let Err(at) = self.tombstones.binary_search_by_key(&tombstone.key(), Tombstone::key) {
            self.tombstones.insert(at, tombstone);
            if let Some(rules) = &mut self.rules {
                rules.end_links(&BTreeSet::new());
            }
        }
    }
}
