//! The policy of a group: who its accounts are, and what each may do. Every member has the same one, in the group's context.

use std::collections::BTreeSet;

use prost::Message as _;

use crate::CommitAuthors;

/// An account's id.
type Account = [u8; 32];

/// Accounts of one group: its commits and its tree have to fit an entry of a log.
pub const MAX_GROUP_ACCOUNTS: usize = 32;
/// Devices of one group, for the same reason: a commit into a tree without inner nodes has 1.2 KB for each, a door 1.7 KB.
pub const MAX_GROUP_LEAVES: usize = 64;
/// Accounts and devices that were removed from a group and are remembered. Who would be one more is not removed: another group has to be made.
pub const MAX_GROUP_TOMBSTONES: usize = 256;
/// Of these, devices of one account: no account fills the place of others.
pub const MAX_ACCOUNT_TOMBSTONES: usize = 8;
/// Bytes of a group's name: as many as any name has.
pub const MAX_GROUP_NAME: usize = 512;
/// Bytes of a group's topic.
pub const MAX_TOPIC: usize = 1024;
/// Bytes of an encoded policy.
const MAX_POLICY: usize = 48 * 1024;
/// The version of a policy alone, and of groups of programs that kept no record of authors.
pub const POLICY_VERSION: u32 = 1;
/// The version of a policy with a record of who has made the last commits.
pub const POLICY_WITH_AUTHORS: u32 = 2;

/// What an account may do in a group. A role acts on lower ones only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Does everything, and makes others owners.
    Owner,
    /// Invites and removes, gives lower roles, changes name and topic.
    Admin,
    /// Is above members.
    Moderator,
    /// Writes.
    Member,
    /// Reads.
    Reader,
}

impl Role {
    /// All roles, the highest first.
    pub const ALL: [Self; 5] = [Self::Owner, Self::Admin, Self::Moderator, Self::Member, Self::Reader];

    /// Its place, from zero for the highest.
    pub fn rank(self) -> u8 {
        self as u8
    }

    /// Whether it is above another one.
    pub fn is_above(self, other: Self) -> bool {
        self < other
    }

    fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|role| u32::from(role.rank()) == number)
    }
}

/// An account of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyMember {
    /// The account.
    pub account: Account,
    /// What it may do.
    pub role: Role,
    /// The account that has let it in; its own of who has made the group.
    pub by: Account,
    /// The epoch that began when it was let in: what it has signed of an earlier one, it has signed as another member.
    pub since: u64,
}

/// A device that was removed from its account, for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tombstone {
    /// The account.
    pub account: Account,
    /// The device.
    pub device: [u8; 32],
    /// Those of the devices that it has linked which stay, by their ids.
    pub staying: Vec<[u8; 32]>,
}

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
}

/// What the context of a group holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyContext {
    /// Its policy.
    pub policy: Policy,
    /// Who has made its last commits; none in a group of version [`POLICY_VERSION`].
    pub authors: Option<CommitAuthors>,
}

impl PolicyContext {
    /// Encoded. Equal ones have the same bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.policy.to_proto(self.authors.as_ref()).encode_to_vec()
    }

    /// Reads one.
    ///
    /// # Errors
    /// As of [`Policy::from_bytes`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PolicyError> {
        if bytes.len() > MAX_POLICY {
            return Err(PolicyError);
        }
        let encoded = proto::Policy::decode(bytes).map_err(|_| PolicyError)?;
        let authors = match encoded.version {
            POLICY_VERSION => None,
            POLICY_WITH_AUTHORS => Some(CommitAuthors::from_bytes(&encoded.authors).ok_or(PolicyError)?),
            _ => return Err(PolicyError),
        };
        let read = Self { policy: Policy::from_proto(encoded)?, authors };
        // There is one way only to encode it.
        if read.policy.is_in_order() && read.to_bytes() == bytes { Ok(read) } else { Err(PolicyError) }
    }
}

/// Why a policy was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a group's policy, or one of a newer version")]
pub struct PolicyError;

mod proto {
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Policy {
        #[prost(uint32, tag = "1")]
        pub version: u32,
        #[prost(bytes = "vec", tag = "2")]
        pub conversation: Vec<u8>,
        #[prost(string, tag = "3")]
        pub name: String,
        #[prost(string, tag = "4")]
        pub topic: String,
        #[prost(message, repeated, tag = "5")]
        pub members: Vec<Member>,
        #[prost(bytes = "vec", repeated, tag = "6")]
        pub removed: Vec<Vec<u8>>,
        #[prost(message, repeated, tag = "7")]
        pub tombstones: Vec<Tombstone>,
        #[prost(bytes = "vec", tag = "8")]
        pub authors: Vec<u8>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Member {
        #[prost(bytes = "vec", tag = "1")]
        pub account: Vec<u8>,
        #[prost(uint32, tag = "2")]
        pub role: u32,
        #[prost(bytes = "vec", tag = "3")]
        pub by: Vec<u8>,
        #[prost(uint64, tag = "4")]
        pub since: u64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Tombstone {
        #[prost(bytes = "vec", tag = "1")]
        pub account: Vec<u8>,
        #[prost(bytes = "vec", tag = "2")]
        pub device: Vec<u8>,
        #[prost(bytes = "vec", repeated, tag = "3")]
        pub staying: Vec<Vec<u8>>,
    }
}

fn id<const LEN: usize>(bytes: &[u8]) -> Result<[u8; LEN], PolicyError> {
    bytes.try_into().map_err(|_| PolicyError)
}

fn is_sorted_set<T: Ord>(items: &[T]) -> bool {
    items.is_sorted_by(|a, b| a < b)
}

impl Tombstone {
    fn read(tombstone: &proto::Tombstone) -> Result<Self, PolicyError> {
        let staying = tombstone.staying.iter().map(|device| id(device)).collect::<Result<_, _>>()?;
        Ok(Self { account: id(&tombstone.account)?, device: id(&tombstone.device)?, staying })
    }

    fn key(&self) -> (Account, [u8; 32]) {
        (self.account, self.device)
    }
}

impl Policy {
    /// That of a new group.
    pub fn new(conversation: [u8; 16], name: String, owner: Account) -> Self {
        let member = PolicyMember { account: owner, role: Role::Owner, by: owner, since: 0 };
        let topic = String::new();
        Self { conversation, name, topic, members: vec![member], removed: Vec::new(), tombstones: Vec::new() }
    }

    /// Encoded. Two equal policies have the same bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.to_proto(None).encode_to_vec()
    }

    fn to_proto(&self, authors: Option<&CommitAuthors>) -> proto::Policy {
        let member = |m: &PolicyMember| proto::Member {
            account: m.account.to_vec(),
            role: m.role.rank().into(),
            by: m.by.to_vec(),
            since: m.since,
        };
        let tombstone = |t: &Tombstone| proto::Tombstone {
            account: t.account.to_vec(),
            device: t.device.to_vec(),
            staying: t.staying.iter().map(|device| device.to_vec()).collect(),
        };
        proto::Policy {
            version: if authors.is_some() { POLICY_WITH_AUTHORS } else { POLICY_VERSION },
            conversation: self.conversation.to_vec(),
            name: self.name.clone(),
            topic: self.topic.clone(),
            members: self.members.iter().map(member).collect(),
            removed: self.removed.iter().map(|account| account.to_vec()).collect(),
            tombstones: self.tombstones.iter().map(tombstone).collect(),
            authors: authors.map(CommitAuthors::to_bytes).unwrap_or_default(),
        }
    }

    /// Reads one.
    ///
    /// # Errors
    /// If it is malformed, not in order, beyond its limits, or of another version: its rules are not known here.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PolicyError> {
        let read = PolicyContext::from_bytes(bytes)?;
        if read.authors.is_none() { Ok(read.policy) } else { Err(PolicyError) }
    }

    fn from_proto(policy: proto::Policy) -> Result<Self, PolicyError> {
        let member = |m: &proto::Member| {
            let role = Role::from_number(m.role).ok_or(PolicyError)?;
            Ok(PolicyMember { account: id(&m.account)?, role, by: id(&m.by)?, since: m.since })
        };
        Ok(Self {
            conversation: id(&policy.conversation)?,
            name: policy.name,
            topic: policy.topic,
            members: policy.members.iter().map(member).collect::<Result<_, _>>()?,
            removed: policy.removed.iter().map(|account| id(account)).collect::<Result<_, _>>()?,
            tombstones: policy.tombstones.iter().map(Tombstone::read).collect::<Result<_, _>>()?,
        })
    }

    /// Whether it is within its limits and says nothing twice.
    pub fn is_in_order(&self) -> bool {
        let accounts: Vec<Account> = self.members.iter().map(|m| m.account).collect();
        let tombstones: Vec<_> = self.tombstones.iter().map(Tombstone::key).collect();
        self.name.len() <= MAX_GROUP_NAME
            && !self.name.is_empty()
            && self.topic.len() <= MAX_TOPIC
            && accounts.len() <= MAX_GROUP_ACCOUNTS
            && self.removed.len() <= MAX_GROUP_TOMBSTONES
            && tombstones.len() <= MAX_GROUP_TOMBSTONES
            && is_sorted_set(&accounts)
            && is_sorted_set(&self.removed)
            && is_sorted_set(&tombstones)
            && self.tombstones.iter().all(|t| is_sorted_set(&t.staying) && self.member(&t.account).is_some())
            && self.tombstones.chunk_by(|a, b| a.account == b.account).all(|of| of.len() <= MAX_ACCOUNT_TOMBSTONES)
            && self.members.iter().any(|m| m.role == Role::Owner)
            && !self.removed.iter().any(|account| self.member(account).is_some())
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

    /// Without an account. Its devices need not be remembered: they are not told the next door. Of more than [`MAX_GROUP_TOMBSTONES`] accounts that
    /// were removed those are forgotten that come first and do not go now.
    pub fn remove(&mut self, account: &Account) {
        self.remove_all(&[*account]);
    }

    /// Without some accounts, in whatever order: see [`Policy::remove`].
    pub fn remove_all(&mut self, accounts: &[Account]) {
        let gone: BTreeSet<Account> = accounts.iter().copied().filter(|a| self.member(a).is_some()).collect();
        self.members.retain(|m| !gone.contains(&m.account));
        self.tombstones.retain(|t| !gone.contains(&t.account));
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

    /// With a device that was removed, if there is room for it.
    pub fn bury(&mut self, tombstone: Tombstone) {
        let of_account = self.tombstones.iter().filter(|t| t.account == tombstone.account).count();
        if of_account >= MAX_ACCOUNT_TOMBSTONES || self.member(&tombstone.account).is_none() {
            return;
        }
        if let Err(at) = self.tombstones.binary_search_by_key(&tombstone.key(), Tombstone::key) {
            self.tombstones.insert(at, tombstone);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        let mut policy = Policy::new([1; 16], "ops".into(), [5; 32]);
        for n in [7, 3, 9] {
            policy.add(PolicyMember { account: [n; 32], role: Role::Member, by: [5; 32], since: 2 });
        }
        policy.remove(&[7; 32]);
        policy.bury(Tombstone { account: [3; 32], device: [4; 32], staying: vec![[1; 32], [2; 32]] });
        policy
    }

    #[test]
    fn a_policy_is_read_back() {
        let policy = policy();
        assert_eq!(Policy::from_bytes(&policy.to_bytes()), Ok(policy.clone()));
        assert_eq!(policy.members.iter().map(|m| m.account[0]).collect::<Vec<_>>(), [3, 5, 9]);
        assert_eq!((policy.role(&[5; 32]), policy.role(&[7; 32])), (Some(Role::Owner), None));
        let authors = [None, Some(CommitAuthors::default()), Some(CommitAuthors::default().with(&[3; 32]))];
        for authors in authors {
            let context = PolicyContext { policy: policy.clone(), authors };
            assert_eq!(PolicyContext::from_bytes(&context.to_bytes()), Ok(context.clone()));
            // Without the record it is another version, whose rules are others.
            assert_eq!(Policy::from_bytes(&context.to_bytes()).is_ok(), context.authors.is_none());
        }
    }

    #[test]
    fn a_policy_that_is_not_in_order_is_refused() {
        let broken: [fn(&mut Policy); 6] = [
            |p| p.members.reverse(),
            |p| p.members.iter_mut().for_each(|m| m.role = Role::Admin),
            |p| p.removed.push([3; 32]),
            |p| p.name.clear(),
            |p| p.topic = "x".repeat(MAX_TOPIC + 1),
            |p| {
                for n in 10..50 {
                    p.add(PolicyMember { account: [n; 32], role: Role::Member, by: [5; 32], since: 2 });
                }
            },
        ];
        for change in broken {
            let mut policy = policy();
            change(&mut policy);
            assert_eq!(Policy::from_bytes(&policy.to_bytes()), Err(PolicyError));
        }
        for version in [2, 3] {
            let newer = [&policy().to_bytes()[..], &[0x08, version]].concat();
            assert_eq!(Policy::from_bytes(&newer), Err(PolicyError));
            assert_eq!(PolicyContext::from_bytes(&newer), Err(PolicyError));
        }
    }

    #[test]
    fn no_account_fills_the_place_of_others() {
        let mut policy = policy();
        for n in 0..=u8::MAX {
            policy.bury(Tombstone { account: [3; 32], device: [n; 32], staying: Vec::new() });
        }
        policy.bury(Tombstone { account: [9; 32], device: [1; 32], staying: Vec::new() });
        assert_eq!(policy.tombstones.len(), MAX_ACCOUNT_TOMBSTONES + 1);
        let mut fuller = policy.clone();
        fuller.tombstones.insert(0, Tombstone { account: [3; 32], device: [0; 32], staying: Vec::new() });
        assert_eq!(Policy::from_bytes(&fuller.to_bytes()), Err(PolicyError));
        policy.remove(&[3; 32]);
        assert_eq!(policy.tombstones.len(), 1, "who is gone needs none");
        policy.removed = (50..=u8::MAX).chain([0]).map(|n| [n; 32]).collect();
        policy.removed.sort_unstable();
        for n in 60..=u8::MAX {
            policy.add(PolicyMember { account: [n; 32], role: Role::Member, by: [5; 32], since: 2 });
            policy.remove(&[n; 32]);
            assert!(policy.is_in_order() && policy.removed.contains(&[n; 32]));
        }
    }

    #[test]
    fn a_group_always_has_an_owner() {
        let policy = policy();
        assert_eq!(policy.heir(&[]), None);
        assert_eq!(policy.heir(&[[3; 32]]), None);
        assert_eq!(policy.heir(&[[5; 32]]), Some([3; 32]));
        assert_eq!(policy.heir(&[[3; 32], [5; 32]]), Some([9; 32]));
        assert_eq!(policy.heir(&[[3; 32], [5; 32], [9; 32]]), None);
    }

    #[test]
    fn a_full_policy_fits() {
        let mut policy = policy();
        policy.members.clear();
        for n in 0..MAX_GROUP_ACCOUNTS as u8 {
            policy.add(PolicyMember { account: [n; 32], role: Role::Owner, by: [5; 32], since: u64::MAX });
        }
        policy.removed = (100..=u8::MAX).map(|n| [n; 32]).collect();
        policy.tombstones.clear();
        for n in 0..=u8::MAX {
            policy.bury(Tombstone { account: [n % 32; 32], device: [n; 32], staying: vec![[n; 32]] });
        }
        assert_eq!(policy.tombstones.len(), MAX_GROUP_TOMBSTONES);
        let authors = (0..=u8::MAX).fold(CommitAuthors::default(), |authors, n| authors.with(&[n; 32]));
        let context = PolicyContext { policy, authors: Some(authors) };
        assert_eq!(PolicyContext::from_bytes(&context.to_bytes()), Ok(context));
    }
}
