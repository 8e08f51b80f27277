//! Groups, as users of a node make and change them.

use starling_keys::{AccountId, GroupLink};

use super::Node;
use crate::{
    api::{
        error::NodeError,
        types::{
            AuditLog, ChatId, Group, GroupKind, GroupReport, GroupRequest, GroupSetting, JoinLinkInfo, JoinPreview,
            Joining, MessageId, NewJoinLink, Role,
        },
    },
    conversation::policy::NewChannel,
    engine::GroupCommand,
};

impl Node {
    /// The groups that we are or were in, and invitations into others, by name.
    pub async fn groups(&self) -> Result<Vec<Group>, NodeError> {
        self.call(GroupCommand::List).await
    }

    /// What members of groups that are no contacts call themselves.
    pub async fn acquaintances(&self) -> Result<Vec<(AccountId, String)>, NodeError> {
        self.call(GroupCommand::Acquaintances).await
    }

    /// Makes a group of a kind and invites contacts into it. It can be written in at once.
    pub async fn new_group(&self, name: String, kind: GroupKind, invite: Vec<AccountId>) -> Result<ChatId, NodeError> {
        self.call(|reply| GroupCommand::New { name, kind, invite, reply }).await
    }

    /// Invites contacts into a group, also those who were removed from it. When this is ready it is durable that this is wanted; events tell the rest.
    pub async fn invite_into(&self, chat: ChatId, accounts: Vec<AccountId>) -> Result<(), NodeError> {
        self.call(|reply| GroupCommand::Invite { chat, accounts, reply }).await
    }

    /// Lets nobody else come into a group whom this account has invited: those who have not come are invited no longer.
    pub async fn stop_inviting(&self, chat: ChatId) -> Result<(), NodeError> {
        self.call(|reply| GroupCommand::StopInviting { chat, reply }).await
    }

    /// Removes an account from a group.
    pub async fn remove_from(&self, chat: ChatId, account: AccountId) -> Result<(), NodeError> {
        self.call(|reply| GroupCommand::Remove { chat, account, reply }).await
    }

    /// Gives an account of a group a role.
    pub async fn set_role(&self, chat: ChatId, account: AccountId, role: Role) -> Result<(), NodeError> {
        self.call(|reply| GroupCommand::SetRole { chat, account, role, reply }).await
    }

    /// Gives a group a name.
    pub async fn rename_group(&self, chat: ChatId, name: String) -> Result<(), NodeError> {
        self.call(|reply| GroupCommand::Rename { chat, name, reply }).await
    }

    /// Gives a group a topic.
    pub async fn set_topic(&self, chat: ChatId, topic: String) -> Result<(), NodeError> {
        self.call(|reply| GroupCommand::SetTopic { chat, topic, reply }).await
    }

    /// Bans an account from a group: it is removed, and comes in by nothing until the ban is lifted.
    pub async fn ban_from(&self, chat: ChatId, account: AccountId) -> Result<(), NodeError> {
        self.call(|reply| GroupCommand::Ban { chat, account, reply }).await
    }

    /// Lifts the ban of an account. It may be invited again; it is not let in by this.
    pub async fn unban_from(&self, chat: ChatId, account: AccountId) -> Result<(), NodeError> {
        self.call(|reply| GroupCommand::Unban { chat, account, reply }).await
    }

    /// Gives settings of a group other values.
    pub async fn set_in_group(&self, chat: ChatId, settings: Vec<(GroupSetting, u32)>) -> Result<(), NodeError> {
        self.call(|reply| GroupCommand::Set { chat, settings, reply }).await
    }

    /// Makes a channel of a community, with the community's members and roles. The community lists it when its rendezvous can be reached.
    pub async fn new_channel(&self, channel: NewChannel) -> Result<ChatId, NodeError> {
        self.call(|reply| GroupCommand::NewChannel(channel, reply)).await
    }

    /// Ends a channel of a community for all.
    pub async fn remove_channel(&self, community: ChatId, channel: ChatId) -> Result<(), NodeError> {
        self.call(|reply| GroupCommand::RemoveChannel { chat: community, channel, reply }).await
    }

    /// The audit log of a group, as far as it is here.
    pub async fn audit_of(&self, chat: ChatId) -> Result<AuditLog, NodeError> {
        self.call(|reply| GroupCommand::Audit(chat, reply)).await
    }

    /// Makes a link into a group. It leads in once a commit has made it: then the group is not changing any more.
    pub async fn new_join_link(&self, chat: ChatId, wanted: NewJoinLink) -> Result<JoinLinkInfo, NodeError> {
        self.call(|reply| GroupCommand::NewLink { chat, wanted, reply }).await
    }

    /// The links into a group.
    pub async fn join_links(&self, chat: ChatId) -> Result<Vec<JoinLinkInfo>, NodeError> {
        self.call(|reply| GroupCommand::Links(chat, reply)).await
    }

    /// Ends a link: nobody comes in by it any more.
    pub async fn end_join_link(&self, chat: ChatId, link: [u8; 16]) -> Result<(), NodeError> {
        self.call(|reply| GroupCommand::EndLink { chat, link, reply }).await
    }

    /// Where a link leads.
    pub async fn look_at_link(&self, link: GroupLink) -> Result<JoinPreview, NodeError> {
        self.call(|reply| GroupCommand::LookAtLink(link, reply)).await
    }

    /// Comes in by a link, or asks to be let in. Events tell the rest.
    pub async fn join_group(&self, link: GroupLink) -> Result<Joining, NodeError> {
        self.call(|reply| GroupCommand::Join(link, reply)).await
    }

    /// Those who ask to be let into a group, the oldest first.
    pub async fn join_requests(&self, chat: ChatId) -> Result<Vec<GroupRequest>, NodeError> {
        self.call(|reply| GroupCommand::Requests(chat, reply)).await
    }

    /// Those who have asked, and were refused: they can be let in all the same.
    pub async fn refused_requests(&self, chat: ChatId) -> Result<Vec<GroupRequest>, NodeError> {
        self.call(|reply| GroupCommand::RefusedRequests(chat, reply)).await
    }

    /// Reports a message to those who moderate a group: nobody else can read what is reported, and why.
    pub async fn report_message(&self, chat: ChatId, message: MessageId, reason: String) -> Result<(), NodeError> {
        self.call(|reply| GroupCommand::Report { chat, message, reason, reply }).await
    }

    /// What members of a group that we moderate have reported, the oldest first.
    pub async fn reports_in(&self, chat: ChatId) -> Result<Vec<GroupReport>, NodeError> {
        self.call(|reply| GroupCommand::Reports(chat, reply)).await
    }

    /// Lets somebody in who asks.
    pub async fn approve_join(&self, chat: ChatId, account: AccountId) -> Result<(), NodeError> {
        self.call(|reply| GroupCommand::Approve { chat, account, reply }).await
    }

    /// Does not let somebody in who asks. They are told, and can ask again after a day.
    pub async fn refuse_join(&self, chat: ChatId, account: AccountId) -> Result<(), NodeError> {
        self.call(|reply| GroupCommand::Refuse { chat, account, reply }).await
    }

    /// Accepts an invitation into a group: this device enters it, and the account's others do.
    pub async fn accept_group(&self, chat: ChatId) -> Result<(), NodeError> {
        self.call(|reply| GroupCommand::Accept(chat, reply)).await
    }

    /// Declines one.
    pub async fn decline_group(&self, chat: ChatId) -> Result<(), NodeError> {
        self.call(|reply| GroupCommand::Decline(chat, reply)).await
    }

    /// Leaves a group.
    pub async fn leave_group(&self, chat: ChatId) -> Result<(), NodeError> {
        self.call(|reply| GroupCommand::Leave(chat, reply)).await
    }
}
