//! The encoding of policies and of entries of the audit log.

use super::{
    AuditHead, ChannelEntry, ChannelOf, Community, GroupKind, GroupRules, JoinLink, POLICY_VERSION,
    POLICY_WITH_AUTHORS, POLICY_WITH_RULES, Permissions, PolicyError, PolicyMember, Role, Tombstone, id,
};
use crate::CommitAuthors;

#[derive(Clone, PartialEq, prost::Message)]
pub struct Version {
    #[prost(uint32, tag = "1")]
    pub version: u32,
}

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
    pub tombstones: Vec<TombstoneOf>,
    #[prost(bytes = "vec", tag = "8")]
    pub authors: Vec<u8>,
    #[prost(message, optional, tag = "9")]
    pub rules: Option<Rules>,
    #[prost(bool, tag = "10")]
    pub large: bool,
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
pub struct TombstoneOf {
    #[prost(bytes = "vec", tag = "1")]
    pub account: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub device: Vec<u8>,
    #[prost(bytes = "vec", repeated, tag = "3")]
    pub staying: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Rules {
    #[prost(uint32, tag = "1")]
    pub kind: u32,
    #[prost(uint32, repeated, tag = "2")]
    pub permissions: Vec<u32>,
    #[prost(uint32, tag = "3")]
    pub slow_mode: u32,
    #[prost(uint32, tag = "4")]
    pub lifetime: u32,
    #[prost(bool, tag = "5")]
    pub history: bool,
    #[prost(message, repeated, tag = "6")]
    pub links: Vec<Link>,
    #[prost(bytes = "vec", repeated, tag = "7")]
    pub bans: Vec<Vec<u8>>,
    #[prost(uint64, tag = "8")]
    pub audit_count: u64,
    #[prost(bytes = "vec", tag = "9")]
    pub audit_hash: Vec<u8>,
    #[prost(uint64, tag = "10")]
    pub audit_at: u64,
    #[prost(message, optional, tag = "20")]
    pub community: Option<CommunityOf>,
    #[prost(message, optional, tag = "21")]
    pub channel_of: Option<ChannelIn>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct CommunityOf {
    #[prost(message, repeated, tag = "1")]
    pub channels: Vec<Channel>,
    #[prost(message, repeated, tag = "2")]
    pub statements: Vec<StatedBy>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Channel {
    #[prost(bytes = "vec", tag = "1")]
    pub conversation: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub group: Vec<u8>,
    #[prost(uint32, tag = "3")]
    pub lowest: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct StatedBy {
    #[prost(uint32, tag = "1")]
    pub role: u32,
    #[prost(bytes = "vec", tag = "2")]
    pub statement: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ChannelIn {
    #[prost(bytes = "vec", tag = "1")]
    pub community: Vec<u8>,
    #[prost(uint32, tag = "2")]
    pub lowest: u32,
    #[prost(uint64, repeated, tag = "3")]
    pub numbers: Vec<u64>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Statement {
    #[prost(bytes = "vec", tag = "1")]
    pub community: Vec<u8>,
    #[prost(uint64, tag = "2")]
    pub number: u64,
    #[prost(message, repeated, tag = "3")]
    pub members: Vec<StatedMember>,
    #[prost(bytes = "vec", tag = "4")]
    pub certificate: Vec<u8>,
    #[prost(bytes = "vec", tag = "5")]
    pub signature: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct StatedMember {
    #[prost(bytes = "vec", tag = "1")]
    pub account: Vec<u8>,
    #[prost(uint32, tag = "2")]
    pub role: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Link {
    #[prost(bytes = "vec", tag = "1")]
    pub id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub key: Vec<u8>,
    #[prost(uint64, tag = "3")]
    pub expires: u64,
    #[prost(uint32, optional, tag = "4")]
    pub uses: Option<u32>,
    #[prost(bool, tag = "5")]
    pub approve: bool,
    #[prost(bytes = "vec", tag = "6")]
    pub by: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct AuditEntry {
    #[prost(uint64, tag = "1")]
    pub epoch: u64,
    #[prost(uint64, tag = "2")]
    pub at: u64,
    #[prost(bytes = "vec", tag = "3")]
    pub by: Vec<u8>,
    #[prost(uint32, tag = "4")]
    pub action: u32,
    #[prost(bytes = "vec", tag = "5")]
    pub subject: Vec<u8>,
    #[prost(uint32, tag = "6")]
    pub number: u32,
    #[prost(string, tag = "7")]
    pub text: String,
}

fn ids<const LEN: usize>(encoded: &[Vec<u8>]) -> Result<Vec<[u8; LEN]>, PolicyError> {
    encoded.iter().map(|one| id(one)).collect()
}

fn bytes<const LEN: usize>(ids: &[[u8; LEN]]) -> Vec<Vec<u8>> {
    ids.iter().map(|one| one.to_vec()).collect()
}

impl super::Policy {
    pub(super) fn to_proto(&self, authors: Option<&CommitAuthors>) -> Policy {
        let member = |m: &PolicyMember| Member {
            account: m.account.to_vec(),
            role: m.role.rank().into(),
            by: m.by.to_vec(),
            since: m.since,
        };
        let tombstone = |t: &Tombstone| TombstoneOf {
            account: t.account.to_vec(),
            device: t.device.to_vec(),
            staying: bytes(&t.staying),
        };
        Policy {
            version: match (&self.rules, authors) {
                (Some(_), _) => POLICY_WITH_RULES,
                (None, Some(_)) => POLICY_WITH_AUTHORS,
                (None, None) => POLICY_VERSION,
            },
            conversation: self.conversation.to_vec(),
            name: self.name.clone(),
            topic: self.topic.clone(),
            members: self.members.iter().map(member).collect(),
            removed: bytes(&self.removed),
            tombstones: self.tombstones.iter().map(tombstone).collect(),
            authors: authors.map(CommitAuthors::to_bytes).unwrap_or_default(),
            rules: self.rules.as_ref().map(GroupRules::to_proto),
            large: self.large,
        }
    }

    pub(super) fn from_proto(policy: Policy) -> Result<Self, PolicyError> {
        let member = |m: &Member| -> Result<PolicyMember, PolicyError> {
            let role = Role::from_rank(m.role).ok_or(PolicyError::Malformed)?;
            Ok(PolicyMember { account: id(&m.account)?, role, by: id(&m.by)?, since: m.since })
        };
        let tombstone = |t: &TombstoneOf| -> Result<Tombstone, PolicyError> {
            Ok(Tombstone { account: id(&t.account)?, device: id(&t.device)?, staying: ids(&t.staying)? })
        };
        // Each version has just what belongs to it.
        let is_with_rules = policy.version == POLICY_WITH_RULES;
        if is_with_rules != policy.rules.is_some() || policy.large && !is_with_rules {
            return Err(PolicyError::Malformed);
        }
        Ok(Self {
            conversation: id(&policy.conversation)?,
            name: policy.name,
            topic: policy.topic,
            members: policy.members.iter().map(member).collect::<Result<_, _>>()?,
            removed: ids(&policy.removed)?,
            tombstones: policy.tombstones.iter().map(tombstone).collect::<Result<_, _>>()?,
            rules: policy.rules.as_ref().map(GroupRules::from_proto).transpose()?,
            large: policy.large,
        })
    }
}

impl GroupRules {
    fn to_proto(&self) -> Rules {
        let link = |link: &JoinLink| Link {
            id: link.id.to_vec(),
            key: link.key.to_vec(),
            expires: link.expires,
            uses: link.uses,
            approve: link.approve,
            by: link.by.to_vec(),
        };
        Rules {
            kind: self.kind.number(),
            permissions: self.permissions.to_ranks(),
            slow_mode: self.slow_mode,
            lifetime: self.lifetime,
            history: self.history,
            links: self.links.iter().map(link).collect(),
            bans: bytes(&self.bans),
            audit_count: self.audit.count,
            audit_hash: self.audit.hash.to_vec(),
            audit_at: self.audit.at,
            community: self.community.as_ref().map(Community::to_proto),
            channel_of: self.channel_of.map(ChannelOf::to_proto),
        }
    }

    fn from_proto(rules: &Rules) -> Result<Self, PolicyError> {
        let link = |link: &Link| -> Result<JoinLink, PolicyError> {
            Ok(JoinLink {
                id: id(&link.id)?,
                key: id(&link.key)?,
                expires: link.expires,
                uses: link.uses,
                approve: link.approve,
                by: id(&link.by)?,
            })
        };
        Ok(Self {
            kind: GroupKind::from_number(rules.kind).ok_or(PolicyError::Malformed)?,
            permissions: Permissions::from_ranks(&rules.permissions).ok_or(PolicyError::Malformed)?,
            slow_mode: rules.slow_mode,
            lifetime: rules.lifetime,
            history: rules.history,
            links: rules.links.iter().map(link).collect::<Result<_, _>>()?,
            bans: ids(&rules.bans)?,
            audit: AuditHead { count: rules.audit_count, hash: id(&rules.audit_hash)?, at: rules.audit_at },
            community: rules.community.as_ref().map(Community::from_proto).transpose()?,
            channel_of: rules.channel_of.as_ref().map(ChannelOf::from_proto).transpose()?,
        })
    }
}

fn role(rank: u32) -> Result<Role, PolicyError> {
    Role::from_rank(rank).ok_or(PolicyError::Malformed)
}

impl Community {
    fn to_proto(&self) -> CommunityOf {
        let channel = |channel: &ChannelEntry| Channel {
            conversation: channel.conversation.to_vec(),
            group: channel.group.to_vec(),
            lowest: channel.lowest.rank().into(),
        };
        let stated = |(role, statement): &(Role, super::Statement)| StatedBy {
            role: role.rank().into(),
            statement: statement.to_bytes(),
        };
        CommunityOf {
            channels: self.channels.iter().map(channel).collect(),
            statements: self.statements.iter().map(stated).collect(),
        }
    }

    fn from_proto(community: &CommunityOf) -> Result<Self, PolicyError> {
        let channel = |channel: &Channel| -> Result<ChannelEntry, PolicyError> {
            Ok(ChannelEntry {
                conversation: id(&channel.conversation)?,
                group: id(&channel.group)?,
                lowest: role(channel.lowest)?,
            })
        };
        let stated = |stated: &StatedBy| -> Result<(Role, super::Statement), PolicyError> {
            Ok((role(stated.role)?, super::Statement::from_bytes(&stated.statement)?))
        };
        Ok(Self {
            channels: community.channels.iter().map(channel).collect::<Result<_, _>>()?,
            statements: community.statements.iter().map(stated).collect::<Result<_, _>>()?,
        })
    }
}

impl ChannelOf {
    fn to_proto(self) -> ChannelIn {
        let (community, numbers) = (self.community.to_vec(), self.numbers.to_vec());
        ChannelIn { community, lowest: self.lowest.rank().into(), numbers }
    }

    fn from_proto(channel: &ChannelIn) -> Result<Self, PolicyError> {
        let numbers = channel.numbers.as_slice().try_into().map_err(|_| PolicyError::Malformed)?;
        Ok(Self { community: id(&channel.community)?, lowest: role(channel.lowest)?, numbers })
    }
}
