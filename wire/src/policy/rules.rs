//! What the accounts of a group may do beside their roles: kind, permissions, settings, links, bans.

use std::collections::BTreeSet;

use super::{Account, AuditHead, ChannelOf, Community, JoinLink, MAX_JOIN_LINKS, Role, is_sorted_set};

/// Accounts that are banned from a group. Who would be one more is not banned: another ban has to be lifted.
pub const MAX_GROUP_BANS: usize = 128;
/// The longest time between two messages of an account in slow mode, in seconds.
pub const MAX_SLOW_MODE: u32 = 86_400;
/// The longest lifetime of messages, in seconds.
pub const MAX_LIFETIME: u32 = 366 * 86_400;

/// What a group is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GroupKind {
    /// Its members write.
    Group,
    /// Few write, many read.
    Channel,
    /// It has channels with its membership.
    Community,
}

impl GroupKind {
    pub(super) fn number(self) -> u32 {
        match self {
            Self::Group => 0,
            Self::Channel => 1,
            Self::Community => 2,
        }
    }

    pub(super) fn from_number(number: u32) -> Option<Self> {
        [Self::Group, Self::Channel, Self::Community].into_iter().find(|kind| kind.number() == number)
    }
}

/// The lowest role that may do each thing. Readers may do none of them but comment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permissions {
    /// Writes messages and reacts to them.
    pub post: Role,
    /// Lets accounts in, and makes links.
    pub invite: Role,
    /// Removes and bans accounts with lower roles.
    pub remove: Role,
    /// Pins messages.
    pub pin: Role,
    /// Deletes what accounts with lower roles have written.
    pub delete: Role,
    /// Changes name, topic and settings.
    pub settings: Role,
    /// Mentions everybody at once.
    pub mention_all: Role,
    /// Calls the group.
    pub call: Role,
    /// Answers messages, and reacts to them: whoever writes may do that, too.
    pub comment: Role,
}

impl Permissions {
    /// Those of a new group of a kind.
    pub fn of(kind: GroupKind) -> Self {
        let lowest = match kind {
            GroupKind::Group => Role::Member,
            GroupKind::Channel | GroupKind::Community => Role::Admin,
        };
        Self {
            remove: Role::Moderator,
            pin: Role::Moderator,
            mention_all: Role::Moderator,
            post: lowest,
            call: lowest,
            comment: lowest,
            ..Self::FORMER
        }
    }

    /// What is allowed in groups of the versions without rules. That nobody deletes for others there is not said by this: such groups do not know it.
    pub const FORMER: Self = Self {
        post: Role::Member,
        invite: Role::Admin,
        remove: Role::Admin,
        pin: Role::Admin,
        delete: Role::Moderator,
        settings: Role::Admin,
        mention_all: Role::Admin,
        call: Role::Member,
        comment: Role::Member,
    };

    /// The lowest role that writes a message, which may answer another one.
    pub fn to_write(&self, answers: bool) -> Role {
        if answers { self.post.max(self.comment) } else { self.post }
    }

    /// The ranks of the roles, in the order of [`GroupSetting::ROLES`].
    pub fn to_ranks(self) -> Vec<u32> {
        GroupSetting::ROLES.into_iter().filter_map(|setting| self.get(setting)).map(|role| role.rank().into()).collect()
    }

    /// Reads what [`Permissions::to_ranks`] made.
    pub fn from_ranks(ranks: &[u32]) -> Option<Self> {
        let mut permissions = Self::FORMER;
        if ranks.len() != GroupSetting::ROLES.len() {
            return None;
        }
        for (setting, rank) in GroupSetting::ROLES.into_iter().zip(ranks) {
            *permissions.get_mut(setting)? = Role::from_rank(*rank)?;
        }
        Some(permissions)
    }

    /// The role that a setting names; none of a setting that names none.
    pub fn get(&self, setting: GroupSetting) -> Option<Role> {
        let mut copy = *self;
        copy.get_mut(setting).copied()
    }

    fn get_mut(&mut self, setting: GroupSetting) -> Option<&mut Role> {
        Some(match setting {
            GroupSetting::Post => &mut self.post,
            GroupSetting::Invite => &mut self.invite,
            GroupSetting::Remove => &mut self.remove,
            GroupSetting::Pin => &mut self.pin,
            GroupSetting::Delete => &mut self.delete,
            GroupSetting::Settings => &mut self.settings,
            GroupSetting::MentionAll => &mut self.mention_all,
            GroupSetting::Call => &mut self.call,
            GroupSetting::Comment => &mut self.comment,
            GroupSetting::SlowMode | GroupSetting::Lifetime | GroupSetting::History => return None,
        })
    }
}

/// A setting of a group. Its value is a number: a role's rank, seconds, or 1 for yes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GroupSetting {
    /// Who writes.
    Post,
    /// Who lets accounts in.
    Invite,
    /// Who removes accounts.
    Remove,
    /// Who pins messages.
    Pin,
    /// Who deletes what others have written.
    Delete,
    /// Who changes name, topic and settings.
    Settings,
    /// Who mentions everybody.
    MentionAll,
    /// Who calls.
    Call,
    /// How many seconds are between two messages of an account; 0 for none.
    SlowMode,
    /// For how many seconds messages are kept; 0 for ever.
    Lifetime,
    /// Whether newcomers see what was written before.
    History,
    /// Who answers messages.
    Comment,
}

impl GroupSetting {
    /// Those that name a role, in the order in which they are encoded.
    pub const ROLES: [Self; 9] = [
        Self::Post,
        Self::Invite,
        Self::Remove,
        Self::Pin,
        Self::Delete,
        Self::Settings,
        Self::MentionAll,
        Self::Call,
        Self::Comment,
    ];

    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 12] = [
        Self::Post,
        Self::Invite,
        Self::Remove,
        Self::Pin,
        Self::Delete,
        Self::Settings,
        Self::MentionAll,
        Self::Call,
        Self::SlowMode,
        Self::Lifetime,
        Self::History,
        Self::Comment,
    ];

    /// Its number.
    pub fn number(self) -> u32 {
        self as u32
    }

    /// The setting with this number.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|setting| setting.number() == number)
    }

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Post => "post",
            Self::Invite => "invite",
            Self::Remove => "remove",
            Self::Pin => "pin",
            Self::Delete => "delete",
            Self::Settings => "settings",
            Self::MentionAll => "mention_all",
            Self::Call => "call",
            Self::SlowMode => "slow_mode",
            Self::Lifetime => "lifetime",
            Self::History => "history",
            Self::Comment => "comment",
        }
    }

    /// The setting that is called so.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|setting| setting.name() == name)
    }

    /// The lowest role that it can name.
    fn lowest(self) -> Role {
        if self == Self::Comment { Role::Reader } else { Role::Member }
    }

    /// Whether it names a role.
    pub fn is_role(self) -> bool {
        Self::ROLES.contains(&self)
    }
}

/// What a group of version [`super::POLICY_WITH_RULES`] has beside its accounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupRules {
    /// What it is; it stays that.
    pub kind: GroupKind,
    /// Who may do what.
    pub permissions: Permissions,
    /// Seconds between two messages of an account; 0 for none.
    pub slow_mode: u32,
    /// Seconds for which messages are kept; 0 for ever.
    pub lifetime: u32,
    /// Whether newcomers see what was written before they came.
    pub history: bool,
    /// Ways in for whoever has them, in the order of their ids.
    pub links: Vec<JoinLink>,
    /// Accounts that may not come in, in the order of their ids.
    pub bans: Vec<Account>,
    /// Where the audit log stands.
    pub audit: AuditHead,
    /// What it has as a community, if it is one.
    pub community: Option<Community>,
    /// Of which community it is a channel, if it is one.
    pub channel_of: Option<ChannelOf>,
}

impl GroupRules {
    /// Those of a new group.
    pub fn new(kind: GroupKind) -> Self {
        Self {
            kind,
            permissions: Permissions::of(kind),
            slow_mode: 0,
            lifetime: 0,
            history: false,
            links: Vec::new(),
            bans: Vec::new(),
            audit: AuditHead::default(),
            community: (kind == GroupKind::Community).then(Community::default),
            channel_of: None,
        }
    }

    /// Those that a group of a version without rules is given: what its members may do stays what it was, and its audit log is still to begin.
    pub fn raised() -> Self {
        Self { permissions: Permissions::FORMER, ..Self::new(GroupKind::Group) }
    }

    /// The value of a setting.
    pub fn value(&self, setting: GroupSetting) -> u32 {
        match (setting, self.permissions.get(setting)) {
            (_, Some(role)) => role.rank().into(),
            (GroupSetting::SlowMode, _) => self.slow_mode,
            (GroupSetting::Lifetime, _) => self.lifetime,
            _ => self.history.into(),
        }
    }

    /// Gives a setting a value. `None`, and nothing changes, if it cannot have that one.
    pub fn set(&mut self, setting: GroupSetting, value: u32) -> Option<()> {
        match setting {
            GroupSetting::SlowMode => self.slow_mode = Some(value).filter(|value| *value <= MAX_SLOW_MODE)?,
            GroupSetting::Lifetime => self.lifetime = Some(value).filter(|value| *value <= MAX_LIFETIME)?,
            GroupSetting::History => self.history = Some(value).filter(|value| *value <= 1)? == 1,
            _ => {
                let role = Role::from_rank(value).filter(|role| *role <= setting.lowest())?;
                *self.permissions.get_mut(setting)? = role;
            }
        }
        Some(())
    }

    /// A link, by its id.
    pub fn link(&self, id: &[u8; 16]) -> Option<&JoinLink> {
        self.links.iter().find(|link| link.id == *id)
    }

    /// With one more link.
    pub fn add_link(&mut self, link: JoinLink) {
        let at = self.links.partition_point(|other| other.id < link.id);
        self.links.insert(at, link);
    }

    /// With one use of a link less; without the link, if that was its last.
    pub fn use_link(&mut self, id: &[u8; 16]) {
        self.links.retain(|link| link.id != *id || link.uses != Some(1));
        if let Some(link) = self.links.iter_mut().find(|link| link.id == *id) {
            link.uses = link.uses.map(|uses| uses.saturating_sub(1));
        }
    }

    /// Without the links that somebody who goes could know, and use to read of the group; and without those that these accounts have made.
    pub(super) fn end_links(&mut self, gone: &BTreeSet<Account>) {
        self.links.retain(|link| link.approve && !gone.contains(&link.by));
    }

    /// Whether an account is banned.
    pub fn bans(&self, account: &Account) -> bool {
        self.bans.binary_search(account).is_ok()
    }

    /// With one more account that is banned.
    pub fn ban(&mut self, account: Account) {
        if let Err(at) = self.bans.binary_search(&account) {
            self.bans.insert(at, account);
        }
    }

    /// Without the ban of an account.
    pub fn unban(&mut self, account: &Account) {
        self.bans.retain(|banned| banned != account);
    }

    pub(super) fn is_in_order(&self) -> bool {
        let links: Vec<[u8; 16]> = self.links.iter().map(|link| link.id).collect();
        self.slow_mode <= MAX_SLOW_MODE
            && self.lifetime <= MAX_LIFETIME
            && GroupSetting::ROLES.into_iter().all(|s| self.permissions.get(s).is_some_and(|role| role <= s.lowest()))
            && links.len() <= MAX_JOIN_LINKS
            && is_sorted_set(&links)
            && self.links.iter().all(|link| link.uses != Some(0))
            && self.bans.len() <= MAX_GROUP_BANS
            && is_sorted_set(&self.bans)
            && self.audit.is_in_order()
            && self.community.is_some() == (self.kind == GroupKind::Community)
            && self.community.as_ref().is_none_or(|community| community.is_in_order() && self.channel_of.is_none())
    }
}
