//! Groups, as users see them.

use starling_keys::{AccountId, DeviceId};
pub use starling_wire::{AuditAction, AuditEntry, GroupKind, GroupRules, GroupSetting, Permissions, Role};

use super::{ChatId, MessageId, stored_enum};
use crate::api::problem::ChatProblem;

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
        /// We have asked to be let in, by a link that somebody has to approve.
        Asked = 7,
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
    /// It is there now, as far as that can be told: a contact that shows it, or somebody else who has written or typed in the group lately.
    pub online: bool,
}

/// A device whose program is too old for a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OldProgram {
    /// Whose it is.
    pub account: AccountId,
    /// What they are called here.
    pub name: String,
    /// It is of our account.
    pub own: bool,
    /// The device.
    pub device: DeviceId,
    /// What it is called; empty if that is not known.
    pub label: String,
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
    /// Who has let us in, as a member: none of a group that we have made.
    pub let_in_by: Option<AccountId>,
    /// Its accounts, in the order of their ids. Empty where that is not known (yet).
    pub members: Vec<GroupAccount>,
    /// What its accounts may do beside that; none in groups of older versions, and where it is not known (yet).
    pub rules: Option<GroupRules>,
    /// Something that the user wants of it is still to be done.
    pub changing: bool,
    /// What keeps something that was written or changed here from the others, if anything does.
    pub problem: Option<ChatProblem>,
    /// Devices whose programs have to be updated, as far as that is known: before the group can have rules; or, if it has them, before they can come
    /// in.
    pub outdated: Vec<OldProgram>,
    /// This program has to be updated before it can be in the group.
    pub needs_update: bool,
    /// How far those are whom this device or others have invited.
    pub arriving: Arriving,
}

/// How far those are who were invited into a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arriving {
    /// Accounts that this device is still to let in.
    pub noted: u32,
    /// Accounts that were let in, and have no device in the group.
    pub invited: u32,
    /// Those of them whose devices this one is about to add.
    pub accepted: u32,
    /// Accounts that are in.
    pub here: u32,
}

/// The audit log of a group: who has changed membership, roles and policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditLog {
    /// Its entries, the oldest first; those that are missing go before them.
    pub entries: Vec<AuditEntry>,
    /// How many of the first entries are not here (yet).
    pub missing: u64,
}

/// A link into a group that is to be made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NewJoinLink {
    /// How long it leads in, in milliseconds; none for ever.
    pub lifetime_ms: Option<u64>,
    /// How many accounts may come in by it; none for any number.
    pub uses: Option<u32>,
    /// Whether somebody who may invite has to approve.
    pub approve: bool,
}

/// A link into a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinLinkInfo {
    /// Its id.
    pub id: [u8; 16],
    /// The link itself; none of one that was made elsewhere.
    pub link: Option<String>,
    /// Who has made it.
    pub by: AccountId,
    /// When it ends, milliseconds since 1970, if it does by itself.
    pub expires_ms: Option<u64>,
    /// How many accounts may still come in by it; none for any number.
    pub uses: Option<u32>,
    /// Whether somebody who may invite has to approve.
    pub approve: bool,
}

/// Where a link into a group leads, as any member, and whoever has the link, may claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinPreview {
    /// The conversation.
    pub chat: ChatId,
    /// What it is called.
    pub name: String,
    /// What it is about. It may have anything in it.
    pub topic: String,
    /// How many accounts it has.
    pub members: u32,
    /// Who has made the link.
    pub by: AccountId,
    /// What they are called there.
    pub by_name: String,
    /// Whether somebody has to approve.
    pub approve: bool,
    /// When the link ends, milliseconds since 1970, if it does by itself.
    pub expires_ms: Option<u64>,
    /// What we are in the group already, if something.
    pub standing: Option<Standing>,
}

/// What has become of coming in by a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joining {
    /// This device enters the group.
    Enters(ChatId),
    /// Somebody has to approve: the request is where they find it.
    Asked(ChatId),
    /// We are in it already.
    In(ChatId),
}

/// Somebody who asks to be let into a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupRequest {
    /// The account.
    pub account: AccountId,
    /// What it calls itself.
    pub name: String,
    /// When its request was read here, milliseconds since 1970.
    pub at_ms: u64,
    /// The id of the link that it has.
    pub link: [u8; 16],
}

/// A report of a message to those who moderate a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupReport {
    /// Who reports.
    pub by: AccountId,
    /// The message.
    pub message: MessageId,
    /// Its author. If it is not confirmed that is the reporter's word.
    pub author: AccountId,
    /// Its text when it was reported.
    pub text: String,
    /// This device had the message itself, of this author and with this text; else both are the reporter's word.
    pub confirmed: bool,
    /// Why it is reported; empty if that was not said.
    pub reason: String,
    /// When the report was read here, milliseconds since 1970.
    pub at_ms: u64,
}

impl Group {
    /// What it is.
    pub fn kind(&self) -> GroupKind {
        self.rules.as_ref().map_or(GroupKind::Group, |rules| rules.kind)
    }

    /// The community that it is a channel of.
    pub fn community(&self) -> Option<ChatId> {
        self.rules.as_ref()?.channel_of.map(|of| ChatId(of.community))
    }

    /// The channels of a community, each with the lowest role that is in it.
    pub fn channels(&self) -> impl Iterator<Item = (ChatId, Role)> {
        let channels = self.rules.iter().filter_map(|rules| rules.community.as_ref()).flat_map(|of| &of.channels);
        channels.map(|channel| (ChatId(channel.conversation), channel.lowest))
    }

    /// What we may do in it.
    pub fn role(&self) -> Option<Role> {
        self.members.iter().find(|m| m.own).map(|m| m.role)
    }
}
