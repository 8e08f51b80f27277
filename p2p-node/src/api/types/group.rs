//! Groups, as users see them.

use starling_keys::AccountId;
pub use starling_wire::{AuditAction, AuditEntry, GroupKind, GroupRules, GroupSetting, Permissions, Role};

use super::{ChatId, stored_enum};

stored_enum! {
    /// What we are in a group.
    Standing {
        /// A contact has invited us.
        #[default]
        Invited = 0,
        /// We have accepted, and enter.
        Entering = 1,
        /// We are in it.
        Member = 2,
        /// We leave, and the others do not all know.
        Leaving = 3,
        /// We have left.
        Left = 4,
        /// We were removed.
        Removed = 5,
        /// We have declined.
        Declined = 6,
    }
}

/// An account of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupAccount {
    /// The account.
    pub account: AccountId,
    /// What it is called here.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// It is ours.
    pub own: bool,
    /// Its devices in the group; none of one that was invited and has not come yet.
    pub devices: u32,
}

/// A group, or an invitation into one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The conversation: the same for all members.
    pub id: ChatId,
    /// What it is called.
    pub name: String,
    /// What it is about.
    pub topic: String,
    /// What we are in it.
    pub standing: Standing,
    /// Who has invited us, if somebody has.
    pub invited_by: Option<AccountId>,
    /// Its accounts, in the order of their ids. Empty where that is not known (yet).
    pub members: Vec<GroupAccount>,
    /// What its accounts may do beside that; none in groups of older versions, and where it is not known (yet).
    pub rules: Option<GroupRules>,
    /// Something that the user wants of it is still to be done.
    pub changing: bool,
}

/// The audit log of a group: who has changed membership, roles and policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditLog {
    /// Its entries, the oldest first; those that are missing go before them.
    pub entries: Vec<AuditEntry>,
    /// How many of the first entries are not here (yet).
    pub missing: u64,
}

impl Group {
    /// What we may do in it.
    pub fn role(&self) -> Option<Role> {
        self.members.iter().find(|m| m.own).map(|m| m.role)
    }
}
