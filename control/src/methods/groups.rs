//! Groups.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ASKS_OTHERS, Done, requests};
use crate::objects::{
    AccountId, AuditLog, ChatId, ChatKind, ContactRef, Group, GroupLink, GroupPreview, GroupReport, JoinRequest,
    MessageId, Role, Standing,
};

requests! {
    /// The groups that this account is or was in, and invitations into others, by name.
    List = "groups" -> Vec<Group> => {}

    /// One of them.
    #[derive(Default)]
    Show = "groups.show" -> Group => {
        /// The group: its name, with or without `#`, `#community/channel`, or its id, with or without `id:`.
        group: String,
    }

    /// Who has changed a group's membership, roles and settings, and when. Every member can read it, and nobody can change it.
    #[derive(Default)]
    Audit = "groups.audit" -> AuditLog => {
        /// The group.
        group: ChatId,
    }

    /// Those who were in a group and are not any more, and those who are banned, as far as its audit log is known here.
    #[derive(Default)]
    Former = "groups.former" -> Vec<ContactRef> => {
        /// The group.
        group: ChatId,
    }

    /// The links into a group.
    #[derive(Default)]
    Links = "groups.links" -> Vec<GroupLink> => {
        /// The group.
        group: ChatId,
    }

    /// Makes a link into a group. It leads in once the group is not `changing` any more. It ends when somebody goes who could know it, unless it needs
    /// approval.
    #[derive(Default)]
    NewLink = "groups.new_link" -> GroupLink => {
        /// The group.
        group: ChatId,
        /// How long it leads in, in milliseconds; for ever if it is not given.
        lifetime_ms: Option<u64>,
        /// How many accounts may come in by it; any number if it is not given.
        uses: Option<u32>,
        /// Whether somebody who may let others in has to approve.
        approval: Option<bool>,
    }

    /// Ends a link into a group.
    #[derive(Default)]
    EndLink = "groups.end_link" -> Done => {
        /// The group.
        group: ChatId,
        /// The id of the link.
        link: String,
    }

    /// Where a link leads.
    #[derive(Default)]
    Look = "groups.look" -> GroupPreview, within |_| ASKS_OTHERS => {
        /// The link.
        link: String,
    }

    /// Comes into a group by a link, or asks to be let in. Events tell when it is done.
    #[derive(Default)]
    Join = "groups.join" -> Joined, within |_| ASKS_OTHERS => {
        /// The link.
        link: String,
    }

    /// Those who ask to be let into a group, the oldest first.
    #[derive(Default)]
    Requests = "groups.requests" -> Vec<JoinRequest> => {
        /// The group.
        group: ChatId,
        /// Also those who were refused: they can be let in all the same.
        #[serde(skip_serializing_if = "Option::is_none")]
        refused: Option<bool>,
    }

    /// Lets somebody in who asks.
    #[derive(Default)]
    Approve = "groups.approve" -> Done => {
        /// The group.
        group: ChatId,
        /// Whom.
        account: AccountId,
    }

    /// Does not let somebody in who asks. They are not told.
    #[derive(Default)]
    Refuse = "groups.refuse" -> Done => {
        /// The group.
        group: ChatId,
        /// Whom.
        account: AccountId,
    }

    /// Reports a message to those who moderate a group, but not to its author. Nobody else can read what is reported, and why.
    #[derive(Default)]
    Report = "groups.report" -> Done => {
        /// The group.
        group: ChatId,
        /// The message.
        message: MessageId,
        /// Why.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    }

    /// What members of a group have reported to this account, which moderates it, the oldest first.
    #[derive(Default)]
    Reports = "groups.reports" -> Vec<GroupReport> => {
        /// The group.
        group: ChatId,
    }

    /// Makes a group and invites contacts into it.
    #[derive(Default)]
    New = "groups.new" -> Made => {
        /// What it is called.
        name: String,
        /// What it is: a group, if that is not given, a channel or a community.
        #[serde(skip_serializing_if = "Option::is_none")]
        kind: Option<ChatKind>,
        /// The community that it is a channel of: then it has the members and roles of that, and nobody else is invited.
        #[serde(skip_serializing_if = "Option::is_none")]
        community: Option<ChatId>,
        /// The lowest role of the community that is in it; all, if that is not given.
        #[serde(skip_serializing_if = "Option::is_none")]
        lowest: Option<Role>,
        /// Whom to invite.
        invite: Option<Vec<AccountId>>,
    }

    /// Invites contacts into a group, also those who were removed from it. Events tell when they have come.
    #[derive(Default)]
    Invite = "groups.invite" -> Done => {
        /// The group.
        group: ChatId,
        /// Whom.
        accounts: Vec<AccountId>,
    }

    /// Lets nobody else come into a group whom this account has invited: those who have not come are invited no longer.
    #[derive(Default)]
    StopInviting = "groups.stop_inviting" -> Done => {
        /// The group.
        group: ChatId,
    }

    /// Removes an account from a group.
    #[derive(Default)]
    Remove = "groups.remove" -> Done => {
        /// The group.
        group: ChatId,
        /// Whom.
        account: AccountId,
    }

    /// Bans an account from a group: it is removed, if it is there, and does not come in by any device, link or invitation until the ban is lifted.
    #[derive(Default)]
    Ban = "groups.ban" -> Done => {
        /// The group.
        group: ChatId,
        /// Whom.
        account: AccountId,
    }

    /// Lifts the ban of an account. It is not let in by that.
    #[derive(Default)]
    Unban = "groups.unban" -> Done => {
        /// The group.
        group: ChatId,
        /// Whom.
        account: AccountId,
    }

    /// Changes settings of a group; those that are not given stay as they are.
    #[derive(Default)]
    Set = "groups.set" -> Done => {
        /// The group.
        group: ChatId,
        /// The lowest role that writes.
        post: Option<Role>,
        /// The lowest role that lets others in.
        invite: Option<Role>,
        /// The lowest role that removes and bans others, of lower roles.
        remove: Option<Role>,
        /// The lowest role that pins messages. Kept for later versions: nothing follows from it yet.
        pin: Option<Role>,
        /// The lowest role that deletes what others, of lower roles, have written.
        delete: Option<Role>,
        /// The lowest role that changes name, topic and settings.
        settings: Option<Role>,
        /// The lowest role that mentions everybody at once.
        mention_all: Option<Role>,
        /// The lowest role that calls the group. Kept for later versions: nothing follows from it yet.
        call: Option<Role>,
        /// The lowest role that answers messages.
        comment: Option<Role>,
        /// Seconds between two messages of an account; 0 for none.
        slow_mode: Option<u32>,
        /// Seconds for which messages are to be kept; 0 for ever. No program deletes them yet.
        lifetime: Option<u32>,
        /// Whether who is let in from now on sees what was written before: a member hands them the newest messages.
        history: Option<bool>,
    }

    /// Gives an account of a group a role.
    #[derive(Default)]
    SetRole = "groups.role" -> Done => {
        /// The group.
        group: ChatId,
        /// Whom.
        account: AccountId,
        /// Which.
        role: Role,
    }

    /// Gives a group another name.
    #[derive(Default)]
    Rename = "groups.rename" -> Done => {
        /// The group.
        group: ChatId,
        /// The name.
        name: String,
    }

    /// Says what a group is about.
    #[derive(Default)]
    SetTopic = "groups.topic" -> Done => {
        /// The group.
        group: ChatId,
        /// What; empty for nothing.
        topic: String,
    }

    /// Ends a channel of a community for all its members.
    #[derive(Default)]
    RemoveChannel = "groups.remove_channel" -> Done => {
        /// The community.
        group: ChatId,
        /// The channel.
        channel: ChatId,
    }

    /// Accepts an invitation into a group.
    #[derive(Default)]
    Accept = "groups.accept" -> Done => {
        /// The group.
        group: ChatId,
    }

    /// Declines an invitation into a group.
    #[derive(Default)]
    Decline = "groups.decline" -> Done => {
        /// The group.
        group: ChatId,
        /// Whether to block whoever has invited this account, too.
        #[serde(skip_serializing_if = "Option::is_none")]
        block: Option<bool>,
    }

    /// Leaves a group. The last owner makes somebody else an owner before.
    #[derive(Default)]
    Leave = "groups.leave" -> Done => {
        /// The group.
        group: ChatId,
        /// Whether to block whoever has let this account in, too.
        #[serde(skip_serializing_if = "Option::is_none")]
        block: Option<bool>,
    }
}

/// What has become of coming in by a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Joined {
    /// The group.
    pub group: ChatId,
    /// What this account is in it now: `entering`, `asked`, or `member`.
    pub standing: Standing,
}

/// A group that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Made {
    /// Its id.
    pub id: ChatId,
    /// What it is called.
    pub name: String,
}
