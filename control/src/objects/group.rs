//! Groups.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AccountId, ChatId, ContactRef, DeviceId, MessageId, Time};

/// A group, or an invitation into one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Group {
    /// Its conversation: the same id for all members.
    pub id: ChatId,
    /// What it is called.
    pub name: String,
    /// What it is about.
    pub topic: String,
    /// What it is: `group`, `channel` or `community`.
    pub kind: super::ChatKind,
    /// What this account is in it.
    pub standing: Standing,
    /// What this account may do in it; null if it is none of its members.
    pub role: Option<Role>,
    /// Who has invited this account, where an invitation waits.
    pub invited_by: Option<ContactRef>,
    /// Its accounts, in the order of their ids.
    pub members: Vec<GroupMember>,
    /// What the roles may do, and what else is set.
    pub policy: GroupPolicy,
    /// Accounts that are banned.
    #[serde(default)]
    pub banned: Vec<ContactRef>,
    /// Something that was wanted of it here is still to be done.
    pub changing: bool,
    /// What keeps something that was written or changed here from the others, if anything does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// A name for that, which stays the same: `log_full`, `removed_member`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem_code: Option<String>,
    /// How far those are who were invited; null if nobody is awaited.
    #[serde(default)]
    pub arriving: Option<GroupArrivals>,
    /// The community that it is a channel of.
    #[serde(default)]
    pub community: Option<ChatId>,
    /// Its channels, if it is a community.
    #[serde(default)]
    pub channels: Vec<GroupChannel>,
    /// Devices whose programs have to be updated, as far as that is known: before what is `fixed` in `policy` can be changed; or, where nothing is,
    /// before they can come in.
    #[serde(default)]
    pub outdated: Vec<OldProgram>,
    /// This program has to be updated before it can be in the group; what is written waits.
    #[serde(default)]
    pub needs_update: bool,
}

/// A device whose program is too old for a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OldProgram {
    /// Whose it is.
    pub account: AccountId,
    /// What they are called here.
    pub name: String,
    /// The device.
    pub device: DeviceId,
    /// What it is called; null if that is not known.
    pub label: Option<String>,
    /// It is of the account of this profile.
    #[serde(rename = "self")]
    pub own: bool,
}

/// How far those are who were invited into a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GroupArrivals {
    /// Accounts that are still to be let in, as was wanted here.
    pub noted: u32,
    /// Accounts that were let in, and have not come.
    pub invited: u32,
    /// Those of them who have accepted, and are about to be added by this device.
    pub accepted: u32,
    /// Accounts that are in.
    pub here: u32,
}

/// A channel of a community.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GroupChannel {
    /// Its conversation.
    pub id: ChatId,
    /// What it is called; null where this account is not in it (yet).
    pub name: Option<String>,
    /// The lowest role that is in it.
    pub lowest: Role,
}

/// An account of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GroupMember {
    /// The account.
    pub account: AccountId,
    /// What it is called here.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// How many of its devices are in the group; 0 of one that was invited and has not come yet.
    pub devices: u32,
    /// It is there now, as far as that can be told: a contact that shows it, or somebody else who has written or typed in the group lately.
    #[serde(default)]
    pub online: bool,
    /// It is the account of this profile.
    #[serde(rename = "self")]
    pub own: bool,
}

/// The lowest role that may do each thing, and what else is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GroupPolicy {
    /// Writes.
    pub post: Role,
    /// Lets others in.
    pub invite: Role,
    /// Removes and bans others, of lower roles.
    pub remove: Role,
    /// Pins messages. Kept for later versions: nothing follows from it yet.
    #[serde(default)]
    pub pin: Role,
    /// Deletes what others, of lower roles, have written; null in a group of an older version, where nobody does.
    #[serde(default)]
    pub delete: Option<Role>,
    /// Changes name, topic and settings.
    pub settings: Role,
    /// Mentions everybody at once.
    #[serde(default)]
    pub mention_all: Role,
    /// Calls the group. Kept for later versions: nothing follows from it yet.
    #[serde(default)]
    pub call: Role,
    /// Answers messages and reacts to them; whoever writes may do that, too.
    #[serde(default)]
    pub comment: Role,
    /// Seconds between two messages of an account; 0 for none.
    #[serde(default)]
    pub slow_mode: u32,
    /// Seconds for which messages are to be kept; 0 for ever. No program deletes them yet.
    #[serde(default)]
    pub lifetime: u32,
    /// Whether who is let in sees what was written before: a member hands them the newest messages.
    #[serde(default)]
    pub history: bool,
    /// An older version has made the group: none of this can be changed, nor can anybody be banned, until all programs in it are updated.
    #[serde(default)]
    pub fixed: bool,
}

/// The audit log of a group: who has changed membership, roles and policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditLog {
    /// Whether all of it is here.
    pub complete: bool,
    /// How many of its first entries are not here (yet): members hand them on.
    pub missing: u64,
    /// The others, the oldest first.
    pub entries: Vec<AuditEntry>,
}

/// An entry of it. The same on all devices of all members.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditEntry {
    /// Its number, from 1.
    pub number: u64,
    /// When, as who has done it says.
    pub at: Time,
    /// The epoch of the group that began with it.
    pub epoch: u64,
    /// Who has done it.
    pub by: AccountId,
    /// What.
    pub action: AuditAction,
    /// The account that it was done to.
    pub account: Option<AccountId>,
    /// The role that the account was given.
    pub role: Option<Role>,
    /// The setting that was changed, as `groups.set` calls it.
    pub setting: Option<String>,
    /// What it was set to.
    pub value: Option<String>,
    /// The new name or topic.
    pub text: Option<String>,
    /// The link.
    pub link: Option<String>,
    /// The channel of the community.
    #[serde(default)]
    pub channel: Option<ChatId>,
}

/// A link into a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GroupLink {
    /// Its id, as the audit log and events name it.
    pub id: String,
    /// The link itself; null if another device has made it.
    pub link: Option<String>,
    /// Who has made it.
    pub by: ContactRef,
    /// When it ends; null if it does not end by itself.
    pub expires_at: Option<Time>,
    /// How many accounts may still come in by it; null for any number.
    pub uses: Option<u32>,
    /// Somebody who may let others in has to approve.
    pub approval: bool,
}

/// Where a link into a group leads, as whoever has it is told: any member can claim that.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GroupPreview {
    /// The group.
    pub id: ChatId,
    /// What it is called.
    pub name: String,
    /// What it is about.
    pub topic: String,
    /// How many accounts it has.
    pub members: u32,
    /// Who has made the link.
    pub by: ContactRef,
    /// Somebody who may let others in has to approve: whoever comes asks, and waits.
    pub approval: bool,
    /// When the link ends; null if it does not end by itself.
    pub expires_at: Option<Time>,
    /// What this account is in the group already; null if nothing.
    pub standing: Option<Standing>,
}

/// Somebody who asks to be let into a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JoinRequest {
    /// The account.
    pub account: AccountId,
    /// What it calls itself.
    pub name: String,
    /// When the request was read here.
    pub at: Time,
    /// The id of the link that it has.
    pub link: String,
}

/// A report of a message to those who moderate a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GroupReport {
    /// The message.
    pub message: MessageId,
    /// Its author.
    pub author: ContactRef,
    /// Its text when it was reported, or the beginning of it.
    pub text: String,
    /// This device had the message itself, of this author and with this text; else both are the reporter's word.
    pub confirmed: bool,
    /// Who reports.
    pub by: ContactRef,
    /// Why, if that was said.
    pub reason: Option<String>,
    /// When the report was read here.
    pub at: Time,
}

words! {
    /// What became of a link into a group.
    #[derive(Default)]
    LinkChange {
        /// It was made.
        #[default]
        Made = "made",
        /// Somebody has come in by it.
        Used = "used",
        /// It was ended, it was used up, or its time is over; or somebody is gone who could know it.
        Ended = "ended",
    }
}

words! {
    /// What was done in a group.
    #[derive(Default)]
    AuditAction {
        /// It was made.
        #[default]
        Made = "made",
        /// It was given a name.
        Renamed = "renamed",
        /// It was given a topic.
        Topic = "topic",
        /// An account was let in.
        Invited = "invited",
        /// An account was given a role.
        Role = "role",
        /// An account was removed.
        Removed = "removed",
        /// An account has left.
        Left = "left",
        /// An account was banned.
        Banned = "banned",
        /// The ban of an account was lifted.
        Unbanned = "unbanned",
        /// A setting was changed.
        Setting = "setting",
        /// A link was made.
        LinkMade = "link_made",
        /// A link was ended.
        LinkEnded = "link_ended",
        /// A link was used.
        LinkUsed = "link_used",
        /// A community has one more channel.
        ChannelAdded = "channel_added",
        /// A channel of a community was ended.
        ChannelRemoved = "channel_removed",
        /// The group of an older version was raised to the present one: the log begins with that.
        Raised = "raised",
    }
}

words! {
    /// What this account is in a group.
    #[derive(Default)]
    Standing {
        /// It was invited, and has not answered.
        #[default]
        Invited = "invited",
        /// It has accepted, and its devices enter.
        Entering = "entering",
        /// It is a member.
        Member = "member",
        /// It has said that it leaves.
        Leaving = "leaving",
        /// It has left.
        Left = "left",
        /// It was removed.
        Removed = "removed",
        /// It has declined.
        Declined = "declined",
        /// It has asked to be let in, by a link that somebody has to approve.
        Asked = "asked",
    }
}

words! {
    /// What an account may do in a group.
    #[derive(Default)]
    Role {
        /// Everything.
        Owner = "owner",
        /// Invites and removes, gives lower roles, changes name, topic and settings.
        Admin = "admin",
        /// Removes and bans members and readers, and deletes what they have written.
        Moderator = "moderator",
        /// Writes.
        #[default]
        Member = "member",
        /// Reads.
        Reader = "reader",
    }
}
