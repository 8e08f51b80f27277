//! The audit log of a group: who has changed membership, roles and policy. It follows from the commits, and the policy has its length and a hash of it.

use prost::Message as _;

use super::{Account, GroupRules, GroupSetting, Policy, PolicyError, Role, id, proto};

/// Bytes of an encoded entry.
pub const MAX_AUDIT_ENTRY: usize = 2048;
/// What entries are hashed for.
const DOMAIN: &str = "starling group audit v1";

/// Where the audit log of a group stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuditHead {
    /// How many entries it has.
    pub count: u64,
    /// The hash of all of them: of the last one, and of the hash before it.
    pub hash: [u8; 32],
    /// When its last entries were made, milliseconds since 1970, as their author says.
    pub at: u64,
}

impl AuditHead {
    /// With one more entry.
    #[must_use]
    pub fn with(self, entry: &AuditEntry) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(DOMAIN);
        hasher.update(&self.hash);
        hasher.update(&entry.to_bytes());
        Self { count: self.count.saturating_add(1), hash: *hasher.finalize().as_bytes(), at: entry.at }
    }

    pub(super) fn is_in_order(&self) -> bool {
        self.count > 0 || *self == Self::default()
    }
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditAction {
    /// The group was made.
    Made,
    /// It was given a name.
    Renamed(String),
    /// It was given a topic.
    Topic(String),
    /// An account was let in.
    Invited(Account),
    /// An account was given a role.
    Role(Account, Role),
    /// An account was removed.
    Removed(Account),
    /// An account has left.
    Left(Account),
    /// An account was banned.
    Banned(Account),
    /// A ban was lifted.
    Unbanned(Account),
    /// A setting was given another value.
    Setting(GroupSetting, u32),
    /// A link was made.
    LinkMade([u8; 16]),
    /// A link does not count any more.
    LinkEnded([u8; 16]),
    /// A link can be used less often.
    LinkUsed([u8; 16]),
    /// A community has one more channel, of this conversation.
    ChannelAdded([u8; 16]),
    /// A channel is none of a community any more.
    ChannelRemoved([u8; 16]),
    /// The group of an older version was raised to the one with rules: nothing of before stands in the log.
    Raised,
}

/// An entry of the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// The epoch that began with it.
    pub epoch: u64,
    /// When it was made, milliseconds since 1970, as its author says.
    pub at: u64,
    /// The account that has done it.
    pub by: Account,
    /// What.
    pub action: AuditAction,
}

impl AuditEntry {
    /// Encoded. Equal ones have the same bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.to_proto().encode_to_vec()
    }

    /// Reads one.
    ///
    /// # Errors
    /// If it is malformed, too large, or not encoded in the one way.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PolicyError> {
        if bytes.len() > MAX_AUDIT_ENTRY {
            return Err(PolicyError::Malformed);
        }
        let entry = proto::AuditEntry::decode(bytes).map_err(|_| PolicyError::Malformed)?;
        let read = Self::from_proto(&entry).ok_or(PolicyError::Malformed)?;
        if read.to_bytes() == bytes { Ok(read) } else { Err(PolicyError::Malformed) }
    }

    fn to_proto(&self) -> proto::AuditEntry {
        let mut entry =
            proto::AuditEntry { epoch: self.epoch, at: self.at, by: self.by.to_vec(), ..proto::AuditEntry::default() };
        let (action, subject, number, text): (u32, &[u8], u32, &str) = match &self.action {
            AuditAction::Made => (1, &[], 0, ""),
            AuditAction::Renamed(name) => (2, &[], 0, name.as_str()),
            AuditAction::Topic(topic) => (3, &[], 0, topic.as_str()),
            AuditAction::Invited(account) => (4, account, 0, ""),
            AuditAction::Role(account, role) => (5, account, role.rank().into(), ""),
            AuditAction::Removed(account) => (6, account, 0, ""),
            AuditAction::Left(account) => (7, account, 0, ""),
            AuditAction::Banned(account) => (8, account, 0, ""),
            AuditAction::Unbanned(account) => (9, account, 0, ""),
            AuditAction::Setting(setting, value) => (10 + setting.number(), &[], *value, ""),
            AuditAction::LinkMade(link) => (40, link, 0, ""),
            AuditAction::LinkEnded(link) => (41, link, 0, ""),
            AuditAction::LinkUsed(link) => (42, link, 0, ""),
            AuditAction::ChannelAdded(channel) => (43, channel, 0, ""),
            AuditAction::ChannelRemoved(channel) => (44, channel, 0, ""),
            AuditAction::Raised => (45, &[], 0, ""),
        };
        entry.action = action;
        entry.subject = subject.to_vec();
        entry.number = number;
        entry.text = text.to_owned();
        entry
    }

    fn from_proto(entry: &proto::AuditEntry) -> Option<Self> {
        let account = || id::<32>(&entry.subject).ok();
        let link = || id::<16>(&entry.subject).ok();
        let action = match entry.action {
            1 => AuditAction::Made,
            2 => AuditAction::Renamed(entry.text.clone()),
            3 => AuditAction::Topic(entry.text.clone()),
            4 => AuditAction::Invited(account()?),
            5 => AuditAction::Role(account()?, Role::from_rank(entry.number)?),
            6 => AuditAction::Removed(account()?),
            7 => AuditAction::Left(account()?),
            8 => AuditAction::Banned(account()?),
            9 => AuditAction::Unbanned(account()?),
            40 => AuditAction::LinkMade(link()?),
            41 => AuditAction::LinkEnded(link()?),
            42 => AuditAction::LinkUsed(link()?),
            43 => AuditAction::ChannelAdded(link()?),
            44 => AuditAction::ChannelRemoved(link()?),
            45 => AuditAction::Raised,
            setting => AuditAction::Setting(GroupSetting::from_number(setting.checked_sub(10)?)?, entry.number),
        };
        Some(Self { epoch: entry.epoch, at: entry.at, by: id(&entry.by).ok()?, action })
    }
}

/// What has to stand in the audit log of the channels of a community.
fn audited_channels(before: &GroupRules, after: &GroupRules) -> Vec<AuditAction> {
    let Some((before, after)) = before.community.as_ref().zip(after.community.as_ref()) else { return Vec::new() };
    let removed = before.channels.iter().filter(|channel| after.channel(&channel.conversation).is_none());
    let added = after.channels.iter().filter(|channel| before.channel(&channel.conversation).is_none());
    let removed = removed.map(|channel| AuditAction::ChannelRemoved(channel.conversation));
    removed.chain(added.map(|channel| AuditAction::ChannelAdded(channel.conversation))).collect()
}

impl Policy {
    /// What has to stand in the audit log for a change from this policy to another, of which some accounts leave by their own word: in this order for
    /// everybody.
    pub fn audited_changes(&self, after: &Self, leaving: &[Account]) -> Vec<AuditAction> {
        let mut actions = Vec::new();
        if self.is_raised_by(after) {
            actions.push(AuditAction::Raised);
        }
        if self.name != after.name {
            actions.push(AuditAction::Renamed(after.name.clone()));
        }
        if self.topic != after.topic {
            actions.push(AuditAction::Topic(after.topic.clone()));
        }
        actions.extend(self.audited_members(after, leaving));
        if let Some((before, after)) = self.rules.as_ref().zip(after.rules.as_ref()) {
            let new_bans = after.bans.iter().filter(|account| !before.bans(account));
            actions.extend(new_bans.map(|account| AuditAction::Banned(*account)));
            let lifted = before.bans.iter().filter(|account| !after.bans(account));
            actions.extend(lifted.map(|account| AuditAction::Unbanned(*account)));
            let settings = GroupSetting::ALL.into_iter();
            let changed = settings.filter(|setting| before.value(*setting) != after.value(*setting));
            actions.extend(changed.map(|setting| AuditAction::Setting(setting, after.value(setting))));
            let ended = before.links.iter().filter(|link| after.link(&link.id).is_none());
            actions.extend(ended.map(|link| AuditAction::LinkEnded(link.id)));
            for link in &after.links {
                match before.link(&link.id) {
                    None => actions.push(AuditAction::LinkMade(link.id)),
                    Some(was) if was.uses != link.uses => actions.push(AuditAction::LinkUsed(link.id)),
                    Some(_) => {}
                }
            }
            actions.extend(audited_channels(before, after));
        }
        actions
    }

    fn audited_members(&self, after: &Self, leaving: &[Account]) -> Vec<AuditAction> {
        let mut actions = Vec::new();
        for member in self.members.iter().filter(|m| after.member(&m.account).is_none()) {
            let left = leaving.contains(&member.account);
            let gone = if left { AuditAction::Left } else { AuditAction::Removed };
            actions.push(gone(member.account));
        }
        for member in &after.members {
            let was = self.role(&member.account);
            if was.is_none() {
                actions.push(AuditAction::Invited(member.account));
            }
            if was.unwrap_or(Role::Member) != member.role {
                actions.push(AuditAction::Role(member.account, member.role));
            }
        }
        actions
    }

    /// The entries of a change to another policy by an account, which begins an epoch; as of what time its author says in the new policy.
    pub fn audit_entries(&self, after: &Self, leaving: &[Account], by: Account, epoch: u64) -> Vec<AuditEntry> {
        let at = after.rules.as_ref().map_or(0, |rules| rules.audit.at);
        let entry = |action| AuditEntry { epoch, at, by, action };
        self.audited_changes(after, leaving).into_iter().map(entry).collect()
    }

    /// The entries of a new group: it was made, by the account that has let in itself, and others with it.
    pub fn first_audit_entries(&self) -> Vec<AuditEntry> {
        let Some(owner) = self.members.iter().find(|m| m.account == m.by).map(|m| m.account) else { return Vec::new() };
        let at = self.rules.as_ref().map_or(0, |rules| rules.audit.at);
        let entry = |action| AuditEntry { epoch: 0, at, by: owner, action };
        let others = self.members.iter().filter(|m| m.account != owner);
        let invited = others.map(|m| AuditAction::Invited(m.account));
        [AuditAction::Made].into_iter().chain(invited).map(entry).collect()
    }
}
