//! Groups.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Done, requests};
use crate::objects::{AccountId, ChatId, Group, Role};

requests! {
    /// The groups that this account is or was in, and invitations into others, by name.
    List = "groups" -> Vec<Group> => {}

    /// One of them.
    #[derive(Default)]
    Show = "groups.show" -> Group => {
        /// The group: its name, with or without `#`, or its id, with or without `id:`.
        group: String,
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
