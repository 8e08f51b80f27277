//! Groups.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Done, requests};
use crate::objects::{AccountId, AuditLog, ChatId, Group, Role};

requests! {
    /// The groups that this account is or was in, and invitations into others, by name.
    List = "groups" -> Vec<Group> => {}

    /// One of them.
    #[derive(Default)]
    Show = "groups.show" -> Group => {
        /// The group: its name, with or without `#`, or its id, with or without `id:`.
        group: String,
    }

    /// Who has changed a group's membership, roles and settings, and when. Every member can read it, and nobody can change it.
    #[derive(Default)]
    Audit = "groups.audit" -> AuditLog => {
        /// The group.
        group: ChatId,
    }

    /// Makes a group and invites contacts into it.
    #[derive(Default)]
    New = "groups.new" -> Made => {
        /// What it is called.
        name: String,
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
        /// The lowest role that pins messages.
        pin: Option<Role>,
        /// The lowest role that deletes what others, of lower roles, have written.
        delete: Option<Role>,
        /// The lowest role that changes name, topic and settings.
        settings: Option<Role>,
        /// The lowest role that mentions everybody at once.
        mention_all: Option<Role>,
        /// The lowest role that calls the group.
        call: Option<Role>,
        /// Seconds between two messages of an account; 0 for none.
        slow_mode: Option<u32>,
        /// Seconds for which messages are kept; 0 for ever.
        lifetime: Option<u32>,
        /// Whether newcomers see what was written before.
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
    }

    /// Leaves a group. The last owner makes somebody else an owner before.
    #[derive(Default)]
    Leave = "groups.leave" -> Done => {
        /// The group.
        group: ChatId,
    }
}

/// A group that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Made {
    /// Its id.
    pub id: ChatId,
    /// What it is called.
    pub name: String,
}
