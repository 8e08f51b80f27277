//! What the user asks of groups.

use rand::RngExt;
use starling_keys::{AccountId, GroupLink};
use starling_wire::{GroupKind, GroupRules, GroupSetting, MAX_TOPIC, Policy, PolicyMember, Role};

use super::{IntentRow, NewChannel, PolicyEntry, intents::needs_rules, offers::Answer};
use crate::{
    api::{
        Reply,
        error::{GroupRefusal, Invalid, NodeError, NotAllowed, NotFound, Unreachable},
        fail,
        types::{
            AuditLog, ChatId, ChatKind, ContactState, Group, GroupReport, GroupRequest, JoinLinkInfo, JoinPreview,
            Joining, MessageId, NewJoinLink,
        },
    },
    contacts::Directory,
    conversation::{ChatState, Conversations, GroupEntry, context::Context, group::GroupId},
    limits::INVITED_AT_ONCE,
    mls::LiveGroup,
    roster::Roster,
    store::{GroupRow, IntentKind, InvitedRow, StandingRow},
    turn::{EngineError, Fact, Turn},
};

/// A command about groups. Each is a method of `Node`, documented there.
#[derive(Debug)]
#[allow(missing_docs, reason = "each is a method of `Node`, documented there")]
pub enum GroupCommand {
    List(Reply<Vec<Group>>),
    Acquaintances(Reply<Vec<(AccountId, String)>>),
    New { name: String, kind: GroupKind, invite: Vec<AccountId>, reply: Reply<ChatId> },
    Invite { chat: ChatId, accounts: Vec<AccountId>, reply: Reply<()> },
    StopInviting { chat: ChatId, reply: Reply<()> },
    Remove { chat: ChatId, account: AccountId, reply: Reply<()> },
    SetRole { chat: ChatId, account: AccountId, role: Role, reply: Reply<()> },
    Rename { chat: ChatId, name: String, reply: Reply<()> },
    SetTopic { chat: ChatId, topic: String, reply: Reply<()> },
    Ban { chat: ChatId, account: AccountId, reply: Reply<()> },
    Unban { chat: ChatId, account: AccountId, reply: Reply<()> },
    Audit(ChatId, Reply<AuditLog>),
    NewLink { chat: ChatId, wanted: NewJoinLink, reply: Reply<JoinLinkInfo> },
    Links(ChatId, Reply<Vec<JoinLinkInfo>>),
    EndLink { chat: ChatId, link: [u8; 16], reply: Reply<()> },
    LookAtLink(GroupLink, Reply<JoinPreview>),
    Join(GroupLink, Reply<Joining>),
    Requests(ChatId, Reply<Vec<GroupRequest>>),
    RefusedRequests(ChatId, Reply<Vec<GroupRequest>>),
    Approve { chat: ChatId, account: AccountId, reply: Reply<()> },
    Refuse { chat: ChatId, account: AccountId, reply: Reply<()> },
    Report { chat: ChatId, message: MessageId, reason: String, reply: Reply<()> },
    Reports(ChatId, Reply<Vec<GroupReport>>),
    Set { chat: ChatId, settings: Vec<(GroupSetting, u32)>, reply: Reply<()> },
    NewChannel(NewChannel, Reply<ChatId>),
    RemoveChannel { chat: ChatId, channel: ChatId, reply: Reply<()> },
    Accept(ChatId, Reply<()>),
    Decline(ChatId, Reply<()>),
    Leave(ChatId, Reply<()>),
}

impl GroupCommand {
    /// Whether a device that its account has given up may still do this.
    pub(crate) fn is_allowed_after_removal(&self) -> bool {
        matches!(self, Self::List(_) | Self::Acquaintances(_) | Self::Audit(..) | Self::Links(..) | Self::Reports(..))
    }

    /// Fails the command.
    pub(crate) fn refuse(self, error: NodeError) {
        match self {
            Self::List(reply) => fail(reply, error),
            Self::Acquaintances(reply) => fail(reply, error),
            Self::Audit(_, reply) => fail(reply, error),
            Self::NewLink { reply, .. } => fail(reply, error),
            Self::Links(_, reply) => fail(reply, error),
            Self::LookAtLink(_, reply) => fail(reply, error),
            Self::Join(_, reply) => fail(reply, error),
            Self::Requests(_, reply) | Self::RefusedRequests(_, reply) => fail(reply, error),
            Self::Reports(_, reply) => fail(reply, error),
            Self::New { reply, .. } | Self::NewChannel(_, reply) => fail(reply, error),
            Self::Invite { reply, .. }
            | Self::StopInviting { reply, .. }
            | Self::Remove { reply, .. }
            | Self::SetRole { reply, .. }
            | Self::Rename { reply, .. }
            | Self::SetTopic { reply, .. }
            | Self::Ban { reply, .. }
            | Self::Unban { reply, .. }
            | Self::Set { reply, .. }
            | Self::EndLink { reply, .. }
            | Self::Approve { reply, .. }
            | Self::Refuse { reply, .. }
            | Self::Report { reply, .. }
            | Self::RemoveChannel { reply, .. }
            | Self::Accept(_, reply)
            | Self::Decline(_, reply)
            | Self::Leave(_, reply) => fail(reply, error),
        }
    }
}

/// Who waits for a change of a group, and whether it can be done.
type Changed = (Reply<()>, Result<(), NodeError>);

/// The name of a group, as the user gives it.
pub(super) fn checked_group_name(name: &str) -> Result<String, NodeError> {
    starling_text::display_name(name).map_err(|error| Invalid::Name(error).into())
}

/// What the user wants of a group's settings, at this time. A value that a setting cannot have is refused at once.
fn settings_intents(settings: &[(GroupSetting, u32)], wanted_ms: u64) -> Result<Vec<IntentRow>, NodeError> {
    let intent = |(setting, value): &(GroupSetting, u32)| -> Result<IntentRow, NodeError> {
        GroupRules::new(GroupKind::Group).set(*setting, *value).ok_or(Invalid::Setting(setting.name()))?;
        let (kind, setting) = (IntentKind::Setting.into(), setting.number());
        Ok(IntentRow { kind, setting, value: *value, wanted_ms, ..IntentRow::default() })
    };
    settings.iter().map(intent).collect()
}

pub(super) fn refused<T>(why: GroupRefusal) -> Result<T, NodeError> {
    Err(NotAllowed::Group(why).into())
}

/// Whether somebody can be invited: those that messages are exchanged with.
fn check_contacts(dir: Directory<'_>, accounts: &[AccountId]) -> Result<(), NodeError> {
    for account in accounts {
        let person = dir.person(account).ok_or(NotFound::Contact)?;
        match person.state() {
            ContactState::Active if !person.row.key_changed => {}
            ContactState::Active => return Err(NodeError::KeyChanged { name: person.name().to_owned() }),
            ContactState::Outgoing => return Err(NotAllowed::NotAccepted { name: person.name().to_owned() }.into()),
            ContactState::Blocked => return Err(NotAllowed::Blocked { name: Some(person.name().to_owned()) }.into()),
            ContactState::Removed => return refused(GroupRefusal::NotAContact),
        }
    }
    Ok(())
}

impl Conversations {
    /// Answers what the user asks of groups, and makes groups and links; what changes a group is done by `change_group`.
    pub(crate) fn on_group_command(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        command: GroupCommand,
    ) -> Result<(), EngineError> {
        match command {
            GroupCommand::List(reply) => {
                let groups = self.group_list(cx.dir, turn.now());
                turn.reply(reply, Ok(groups));
            }
            GroupCommand::Acquaintances(reply) => turn.reply(reply, Ok(cx.dir.contacts.acquaintances.names())),
            GroupCommand::Audit(chat, reply) => {
                let log = self.audit_log(turn, cx.dir, chat)?;
                turn.reply(reply, log);
            }
            GroupCommand::NewLink { chat, wanted, reply } => {
                let made = self.new_link(turn, cx, chat, wanted);
                turn.reply(reply, made);
            }
            GroupCommand::Links(chat, reply) => {
                let links = self.links_of(cx, chat);
                turn.reply(reply, links);
            }
            GroupCommand::LookAtLink(link, reply) => self.look_at_link(turn, cx, link, reply),
            GroupCommand::Join(link, reply) => self.join_by_link(turn, cx, link, reply),
            GroupCommand::Requests(chat, reply) => {
                let requests = self.requests_of(turn, cx, chat, false)?;
                turn.reply(reply, requests);
            }
            GroupCommand::RefusedRequests(chat, reply) => {
                let requests = self.requests_of(turn, cx, chat, true)?;
                turn.reply(reply, requests);
            }
            GroupCommand::Reports(chat, reply) => {
                let reports = self.reports_of(turn, cx, chat)?;
                turn.reply(reply, reports);
            }
            GroupCommand::New { name, kind, invite, reply } => {
                let made = self.new_group(turn, cx, (&name, kind), invite)?;
                turn.reply(reply, made);
            }
            GroupCommand::NewChannel(wanted, reply) => {
                let made = self.new_channel(turn, cx, &wanted)?;
                turn.reply(reply, made);
            }
            change => {
                if let Some((reply, result)) = self.change_group(turn, cx, change)? {
                    turn.reply(reply, result);
                }
            }
        }
        Ok(())
    }

    /// What the user wants to be done in a group, and whether that can be; nothing for other commands.
    fn change_group(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        command: GroupCommand,
    ) -> Result<Option<Changed>, EngineError> {
        let about = |kind, account: &AccountId| IntentRow::about(kind, account);
        let wanted_ms = turn.agreed_ms();
        Ok(Some(match command {
            GroupCommand::Invite { chat, accounts, reply } => (reply, self.invite(cx.dir, chat, &accounts)),
            GroupCommand::StopInviting { chat, reply } => (reply, self.stop_inviting(cx.dir, chat)),
            GroupCommand::Remove { chat, account, reply } => {
                (reply, self.want(cx.dir, chat, vec![about(IntentKind::Remove, &account)]))
            }
            GroupCommand::SetRole { chat, account, role, reply } => {
                let intent = IntentRow { role: role.rank().into(), wanted_ms, ..about(IntentKind::Role, &account) };
                (reply, self.want(cx.dir, chat, vec![intent]))
            }
            GroupCommand::Rename { chat, name, reply } => {
                let intent = |text| IntentRow::says(IntentKind::Name, text, wanted_ms);
                let name = checked_group_name(&name);
                (reply, name.and_then(|name| self.want(cx.dir, chat, vec![intent(name)])))
            }
            GroupCommand::SetTopic { chat, topic, reply } => (reply, self.set_topic(cx.dir, chat, (topic, wanted_ms))),
            GroupCommand::Ban { chat, account, reply } => {
                (reply, self.want(cx.dir, chat, vec![about(IntentKind::Ban, &account)]))
            }
            GroupCommand::Unban { chat, account, reply } => {
                (reply, self.want(cx.dir, chat, vec![about(IntentKind::Unban, &account)]))
            }
            GroupCommand::Set { chat, settings, reply } => {
                let intents = settings_intents(&settings, wanted_ms);
                (reply, intents.and_then(|intents| self.want(cx.dir, chat, intents)))
            }
            GroupCommand::EndLink { chat, link, reply } => (reply, self.end_link(cx, chat, link)),
            GroupCommand::Approve { chat, account, reply } => (reply, self.approve(turn, cx, chat, account)?),
            GroupCommand::Refuse { chat, account, reply } => (reply, self.refuse_request(turn, cx, chat, account)?),
            GroupCommand::Report { chat, message, reason, reply } => {
                (reply, self.report(turn, cx, (chat, message), reason)?)
            }
            GroupCommand::RemoveChannel { chat, channel, reply } => (reply, self.remove_channel(cx.dir, chat, channel)),
            GroupCommand::Accept(chat, reply) => (reply, self.accept(turn, cx, chat)?),
            GroupCommand::Decline(chat, reply) => (reply, self.decline(turn, cx, chat)?),
            GroupCommand::Leave(chat, reply) => (reply, self.leave_with_channels(turn, cx, chat)?),
            // They are no changes of a group.
            GroupCommand::List(_)
            | GroupCommand::Acquaintances(_)
            | GroupCommand::Audit(..)
            | GroupCommand::NewLink { .. }
            | GroupCommand::Links(..)
            | GroupCommand::LookAtLink(..)
            | GroupCommand::Join(..)
            | GroupCommand::Requests(..)
            | GroupCommand::RefusedRequests(..)
            | GroupCommand::Reports(..)
            | GroupCommand::New { .. }
            | GroupCommand::NewChannel(..) => return Ok(None),
        }))
    }

    /// Leaves a group; and with a community its channels.
    fn leave_with_channels(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        chat: ChatId,
    ) -> Result<Result<(), NodeError>, EngineError> {
        let left = self.leave(turn, cx, chat)?;
        if left.is_ok() {
            self.leave_channels(turn, cx, chat)?;
        }
        Ok(left)
    }

    /// Wants contacts to be invited, also those who were removed.
    fn invite(&mut self, dir: Directory<'_>, chat: ChatId, accounts: &[AccountId]) -> Result<(), NodeError> {
        check_contacts(dir, accounts)?;
        let policy = self.policies.policy(&chat);
        let was_removed = |account: &AccountId| policy.is_some_and(|p| p.removed.contains(account.as_bytes()));
        let intent = |account: &AccountId| IntentRow {
            again: was_removed(account),
            ..IntentRow::about(IntentKind::Invite, account)
        };
        let intents = accounts.iter().map(intent).collect();
        self.want(dir, chat, intents)?;
        self.tell_again(chat, accounts);
        Ok(())
    }

    fn set_topic(
        &mut self,
        dir: Directory<'_>,
        chat: ChatId,
        (topic, wanted_ms): (String, u64),
    ) -> Result<(), NodeError> {
        if topic.len() > MAX_TOPIC {
            return Err(Invalid::TopicTooLong { max: MAX_TOPIC }.into());
        }
        self.want(dir, chat, vec![IntentRow::says(IntentKind::Topic, topic, wanted_ms)])
    }

    fn remove_channel(&mut self, dir: Directory<'_>, chat: ChatId, channel: ChatId) -> Result<(), NodeError> {
        let community = self.policies.policy(&chat).and_then(Policy::community);
        match community.map(|community| community.channel(&channel.0).is_some()) {
            None => refused(GroupRefusal::NotACommunity),
            Some(false) => Err(NotFound::Group.into()),
            Some(true) => self.want(dir, chat, vec![IntentRow::remove_channel(channel)]),
        }
    }

    /// Makes a group and invites contacts into it.
    fn new_group(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        (name, kind): (&str, GroupKind),
        mut invite: Vec<AccountId>,
    ) -> Result<Result<ChatId, NodeError>, EngineError> {
        let own = cx.dir.account.id();
        invite.sort();
        invite.dedup();
        invite.retain(|account| *account != own);
        if !self.policies.has_room() {
            return Ok(refused(GroupRefusal::TooManyGroups));
        }
        let name = match checked_group_name(name).and_then(|name| check_contacts(cx.dir, &invite).map(|()| name)) {
            Ok(name) => name,
            Err(error) => return Ok(Err(error)),
        };
        let homes = &cx.dir.account.identity.homes;
        let home = homes.iter().find(|h| cx.homes.answers(&h.peer)).or(homes.first());
        // At a server that keeps no parts of commits a group stays as small as its commits have to be.
        let hello = home.and_then(|home| cx.homes.servers.get(&home.peer)?.hello.as_ref());
        let large = kind != GroupKind::Community && hello.is_none_or(|hello| hello.parts);
        let Some(home) = home.map(ToString::to_string) else { return Ok(Err(Unreachable::Home.into())) };
        let chat = ChatId(turn.rng().random());
        let policy = Policy::new(chat.0, name, *own.as_bytes()).with_rules(kind);
        let mut policy = Policy { large, ..policy };
        #[cfg(test)]
        {
            policy = crate::mls::modified::former(policy);
        }
        if invite.len() >= policy.most_accounts() {
            return Ok(refused(GroupRefusal::Full));
        }
        // As later: the rest follows in the next commits.
        let (first, rest) = invite.split_at(invite.len().min(INVITED_AT_ONCE));
        for account in first {
            let (account, by) = (*account.as_bytes(), *own.as_bytes());
            policy.add(PolicyMember { account, role: Role::Member, by, since: 0 });
        }
        self.add_group_chat(cx.dir, chat, first);
        if let Some(entry) = self.policies.of.get_mut(&chat) {
            rest.iter().for_each(|account| entry.want(IntentRow::about(IntentKind::Invite, account)));
        }
        self.make_mls_group(turn, cx, chat, &policy, home)?;
        self.tell_own_devices(turn, cx, chat, Answer::Accepted)?;
        turn.fact(Fact::ContactsChanged);
        Ok(Ok(chat))
    }

    /// Adds the conversation of a group that we are a member of.
    fn add_group_chat(&mut self, dir: Directory<'_>, chat: ChatId, invite: &[AccountId]) {
        self.chats.insert(ChatState::new(chat, ChatKind::Group, Roster::of(dir.account.id(), &[])));
        let entry = self.policies.of.get_or_insert_with(chat, PolicyEntry::default);
        entry.set_standing(StandingRow::Member);
        entry.row.invited = invite.iter().map(invited).collect();
    }

    /// Makes an MLS group with a policy for a conversation, which has this device alone.
    pub(super) fn make_mls_group(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        chat: ChatId,
        policy: &Policy,
        home: String,
    ) -> Result<GroupId, EngineError> {
        let group: GroupId = turn.rng().random();
        let live = cx.mls.create_with(&group, policy, turn.agreed_ms())?;
        self.add_mls_group(turn, cx, (chat, home), (group, live))?;
        Ok(group)
    }

    /// Adds a group that was made outside of a turn, with all its members.
    #[cfg(feature = "bench")]
    pub(crate) fn add_made_group(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        (chat, home): (ChatId, String),
        made: (GroupId, LiveGroup),
    ) -> Result<(), EngineError> {
        self.add_group_chat(cx.dir, chat, &[]);
        self.add_mls_group(turn, cx, (chat, home), made)
    }

    fn add_mls_group(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        (chat, home): (ChatId, String),
        (group, live): (GroupId, LiveGroup),
    ) -> Result<(), EngineError> {
        let row = GroupRow {
            chat: chat.0.to_vec(),
            home,
            ours: true,
            confirmed: true,
            updated_ms: turn.wall(),
            ..GroupRow::default()
        };
        let made = GroupEntry::new(group, live, row)?;
        self.add_group(turn, cx, chat, made)?;
        self.policy_moved(turn, cx, group, false)?;
        self.begin_audit(turn, chat)?;
        self.read_logs(turn, cx, group);
        Ok(())
    }

    /// Notes what the user wants of a group, if that is possible now.
    pub(super) fn want(&mut self, dir: Directory<'_>, chat: ChatId, intents: Vec<IntentRow>) -> Result<(), NodeError> {
        self.check_wanted(dir, chat, &intents)?;
        if let Some(entry) = self.policies.of.get_mut(&chat) {
            let has_rules = entry.policy.as_ref().is_some_and(|policy| policy.rules.is_some());
            if !has_rules && intents.iter().any(needs_rules) {
                // What waits for rules does not wait for this device's turn to raise the group.
                entry.due.turn_at = None;
            }
            intents.into_iter().for_each(|intent| entry.want(intent));
        }
        self.touch_groups_of(chat);
        Ok(())
    }
}

/// An account that is still to be told the way in.
pub(super) fn invited(account: &AccountId) -> InvitedRow {
    InvitedRow { account: account.as_bytes().to_vec(), ..InvitedRow::default() }
}
