//! What the node does for the methods about groups.

use std::collections::BTreeSet;

use starling_control::{
    Error, Serve,
    methods::{Done, groups},
    objects::{self, ChatKind},
};
use starling_keys::{AccountId, GroupLink, InviteError};
use starling_node::{
    ChatId, Group, GroupKind, GroupRequest, GroupSetting, Joining, NewChannel, NewJoinLink, Node, Role, Standing,
};

use super::{
    convert::{self, Names},
    serve::id,
    session::Session,
};
use crate::error::CliError;

/// The group that somebody means: by its name, or its id; a channel of a community also by `#community/channel`.
pub(super) async fn group(node: &Node, wanted: &str) -> Result<Group, CliError> {
    let groups = node.groups().await?;
    let named = wanted.strip_prefix('#').unwrap_or(wanted);
    let with_id = wanted.strip_prefix("id:").unwrap_or(named);
    if let Some(found) = groups.iter().find(|group| group.id.to_string() == with_id) {
        return Ok(found.clone());
    }
    let whole = |group: &&Group| starling_text::same(&group.name, named);
    let mut found = closest(groups.iter().filter(whole).collect());
    if found.is_empty() {
        let called = groups.iter().filter(|group| is_channel_called(&groups, group, named));
        let (listed, claiming): (Vec<&Group>, Vec<&Group>) =
            called.partition(|channel| community_of(&groups, channel).is_some());
        found = closest(listed);
        if let Some(channel) = claiming.first().filter(|_| found.is_empty()) {
            return Err(not_listed(channel, named));
        }
    }
    match found.as_slice() {
        [one] => Ok((*one).clone()),
        [] => {
            let text = format!("there is no group “{}”", named.escape_debug());
            Err(CliError::not_found(text).hint("see `starling group list`"))
        }
        several => {
            let text = format!("“{}” is the name of {} groups", named.escape_debug(), several.len());
            let names: Vec<String> = several.iter().map(|group| unique_name(&groups, group, several)).collect();
            let error = CliError::usage(text).hint(format!("use one of: {}", names.join(", ")));
            Err(CliError { reason: Some("which_group".into()), ..error })
        }
    }
}

/// Those that are closest to us: a group that we are in goes before invitations, which any contact can send, and those before groups that are over.
fn closest(found: Vec<&Group>) -> Vec<&Group> {
    let place = |group: &&Group| convert::closeness(group.standing);
    let closest = found.iter().map(place).min();
    found.into_iter().filter(|group| closest == Some(place(group))).collect()
}

/// The community that a group says it is a channel of: anybody can make one that says so.
fn claimed_community<'a>(groups: &'a [Group], channel: &Group) -> Option<&'a Group> {
    let id = channel.community()?;
    groups.iter().find(|group| group.id == id)
}

/// The community that a group is a channel of: both say so.
fn community_of<'a>(groups: &'a [Group], channel: &Group) -> Option<&'a Group> {
    let lists = |community: &&Group| community.channels().any(|(listed, _)| listed == channel.id);
    claimed_community(groups, channel).filter(lists)
}

/// A group says that it is a channel of a community, which does not list it.
fn not_listed(channel: &Group, named: &str) -> CliError {
    let text = format!(
        "“{}” is not in the list of channels of its community: somebody else may have made it, or it was removed",
        named.escape_debug()
    );
    let error = CliError::not_found(text).hint(format!(
        "`starling community show` lists the channels; if this group is meant, name it: id:{}",
        channel.id
    ));
    CliError { reason: Some("not_listed".into()), ..error }
}

/// Whether a channel is called so, after the community that it names and a slash. Either name may have slashes of its own.
fn is_channel_called(groups: &[Group], channel: &Group, named: &str) -> bool {
    let Some(community) = claimed_community(groups, channel) else { return false };
    named.match_indices('/').any(|(at, slash)| {
        let (first, second) = (&named[..at], &named[at + slash.len()..]);
        starling_text::same(&community.name, first) && starling_text::same(&channel.name, second)
    })
}

/// What tells one of several groups of a name from the others: the community that it is a channel of, or its id.
fn unique_name(groups: &[Group], group: &Group, several: &[&Group]) -> String {
    let of = |group: &Group| community_of(groups, group).map(|community| community.name.clone());
    match of(group) {
        Some(name) if several.iter().filter(|other| of(other).as_ref() == Some(&name)).count() == 1 => {
            format!("#{name}/{}", group.name)
        }
        _ => format!("id:{}", group.id),
    }
}

/// Why nothing can be written to a group that this account is not in yet, if it has asked to be let in or has an invitation; else `None`.
pub(super) async fn not_in_yet(node: &Node, chat: &str) -> Option<CliError> {
    let groups = node.groups().await.ok()?;
    let group = groups.iter().find(|group| group.id.to_string() == chat)?;
    let (reason, text, hint) = match group.standing {
        Standing::Asked => (
            "asked",
            format!("your request to be let into #{} waits: somebody there has to approve it", group.name),
            format!("`starling group show id:{}` says whether you are in", group.id),
        ),
        Standing::Invited => (
            "invited",
            format!("you are invited into #{}, and not in it yet", group.name),
            format!("accept first: starling group accept id:{}", group.id),
        ),
        _ => return None,
    };
    Some(CliError { reason: Some(reason.into()), ..CliError::new("refused", 6, text).hint(hint) })
}

/// The groups with the names of everybody in them.
async fn names(node: &Node) -> Result<Names, Error> {
    Ok(Names::load(node).await.map_err(CliError::from)?)
}

impl Serve<groups::List> for Session {
    async fn serve(&self, _: groups::List) -> Result<Vec<objects::Group>, Error> {
        let node = &self.served.node;
        let (groups, names) = (node.groups().await.map_err(CliError::from)?, names(node).await?);
        Ok(groups.iter().map(|group| names.group(group)).collect())
    }
}

impl Serve<groups::Show> for Session {
    async fn serve(&self, request: groups::Show) -> Result<objects::Group, Error> {
        let node = &self.served.node;
        let found = group(node, &request.group).await?;
        Ok(names(node).await?.group(&found))
    }
}

impl Serve<groups::Audit> for Session {
    async fn serve(&self, request: groups::Audit) -> Result<objects::AuditLog, Error> {
        let group = id("group", request.group.as_str())?;
        let log = self.served.node.audit_of(group).await.map_err(CliError::from)?;
        Ok(convert::audit_log(&log))
    }
}

impl Serve<groups::Former> for Session {
    async fn serve(&self, request: groups::Former) -> Result<Vec<objects::ContactRef>, Error> {
        let node = &self.served.node;
        let chat: ChatId = id("group", request.group.as_str())?;
        let (log, names) = (node.audit_of(chat).await.map_err(CliError::from)?, names(node).await?);
        let found = group(node, &format!("id:{chat}")).await?;
        let entries = convert::audit_log(&log).entries;
        let in_log = entries.iter().filter_map(|entry| entry.account.as_ref()?.as_str().parse::<AccountId>().ok());
        let bans = found.rules.iter().flat_map(|rules| &rules.bans);
        let banned = bans.filter_map(|account| AccountId::from_bytes(account).ok());
        let accounts: BTreeSet<AccountId> = in_log.chain(banned).collect();
        let is_gone = |account: &AccountId| found.members.iter().all(|member| member.account != *account);
        Ok(accounts.into_iter().filter(is_gone).map(|account| names.account(account)).collect())
    }
}

impl Serve<groups::New> for Session {
    async fn serve(&self, request: groups::New) -> Result<groups::Made, Error> {
        let node = &self.served.node;
        let accounts = accounts("invite", request.invite.unwrap_or_default())?;
        check_no_slash(&request.name)?;
        let kind = match request.kind.unwrap_or(ChatKind::Group) {
            ChatKind::Group => GroupKind::Group,
            ChatKind::Channel => GroupKind::Channel,
            ChatKind::Community => GroupKind::Community,
            ChatKind::Direct => return Err(Error::invalid_param("kind", "a direct conversation is no group")),
        };
        let made = match &request.community {
            Some(_) if !accounts.is_empty() => {
                return Err(Error::invalid_param("invite", "a channel has the members of its community"));
            }
            Some(community) => {
                let lowest = request.lowest.map_or(Role::Reader, node_role);
                let community = id("community", community.as_str())?;
                check_channel_name(node, community, &request.name).await?;
                let channel = NewChannel { community, name: request.name, kind, lowest };
                node.new_channel(channel).await
            }
            None => node.new_group(request.name, kind, accounts).await,
        };
        let made = made.map_err(CliError::from)?;
        let found = group(node, &format!("id:{made}")).await?;
        Ok(groups::Made { id: made.to_string().into(), name: found.name })
    }
}

/// Refuses a name that reads as that of a channel after its community. Groups that others have named so go by their ids, too.
fn check_no_slash(name: &str) -> Result<(), CliError> {
    match name.contains('/') {
        true => Err(CliError::usage("a group cannot have a “/” in its name: #COMMUNITY/CHANNEL names a channel")
            .hint("choose another name; `starling community channel new` makes a channel")),
        false => Ok(()),
    }
}

/// Refuses a second channel of one name, as neither could be named then.
async fn check_channel_name(node: &Node, community: ChatId, name: &str) -> Result<(), CliError> {
    let groups = node.groups().await?;
    let is_there = |g: &Group| {
        community_of(&groups, g).is_some_and(|of| of.id == community)
            && convert::closeness(g.standing) == 0
            && starling_text::same(&g.name, name.trim())
    };
    match groups.iter().any(is_there) {
        true => {
            let text = format!("the community has a channel “{}” already", name.trim().escape_debug());
            Err(CliError::usage(text).hint("choose another name"))
        }
        false => Ok(()),
    }
}

fn link(text: &str) -> Result<GroupLink, Error> {
    text.parse().map_err(|error: InviteError| Error::invalid_param("link", error))
}

impl Serve<groups::Links> for Session {
    async fn serve(&self, request: groups::Links) -> Result<Vec<objects::GroupLink>, Error> {
        let node = &self.served.node;
        let links = node.join_links(id("group", request.group.as_str())?).await.map_err(CliError::from)?;
        let names = names(node).await?;
        Ok(links.iter().map(|link| names.join_link(link)).collect())
    }
}

impl Serve<groups::NewLink> for Session {
    async fn serve(&self, request: groups::NewLink) -> Result<objects::GroupLink, Error> {
        let node = &self.served.node;
        let wanted = NewJoinLink {
            lifetime_ms: request.lifetime_ms,
            uses: request.uses,
            approve: request.approval.unwrap_or_default(),
        };
        let group = id("group", request.group.as_str())?;
        let made = node.new_join_link(group, wanted).await.map_err(CliError::from)?;
        Ok(names(node).await?.join_link(&made))
    }
}

impl Serve<groups::EndLink> for Session {
    async fn serve(&self, request: groups::EndLink) -> Result<Done, Error> {
        let link =
            convert::link_of(&request.link).ok_or_else(|| Error::invalid_param("link", "not the id of a link"))?;
        let group = id("group", request.group.as_str())?;
        self.served.node.end_join_link(group, link).await.map_err(CliError::from)?;
        Ok(Done {})
    }
}

impl Serve<groups::Look> for Session {
    async fn serve(&self, request: groups::Look) -> Result<objects::GroupPreview, Error> {
        let node = &self.served.node;
        let preview = node.look_at_link(link(&request.link)?).await.map_err(CliError::from)?;
        Ok(names(node).await?.join_preview(&preview))
    }
}

impl Serve<groups::Join> for Session {
    async fn serve(&self, request: groups::Join) -> Result<groups::Joined, Error> {
        let joining = self.served.node.join_group(link(&request.link)?).await.map_err(CliError::from)?;
        let (group, standing) = match joining {
            Joining::Enters(group) => (group, objects::Standing::Entering),
            Joining::Asked(group) => (group, objects::Standing::Asked),
            Joining::In(group) => (group, objects::Standing::Member),
        };
        Ok(groups::Joined { group: group.to_string().into(), standing })
    }
}

impl Serve<groups::Requests> for Session {
    async fn serve(&self, request: groups::Requests) -> Result<Vec<objects::JoinRequest>, Error> {
        let (node, group) = (&self.served.node, id("group", request.group.as_str())?);
        let mut requests = node.join_requests(group).await.map_err(CliError::from)?;
        if request.refused.unwrap_or_default() {
            requests.extend(node.refused_requests(group).await.map_err(CliError::from)?);
        }
        let shown = |request: &GroupRequest| objects::JoinRequest {
            account: request.account.to_string().into(),
            name: request.name.clone(),
            at: convert::time(request.at_ms),
            link: convert::link_id(&request.link),
        };
        Ok(requests.iter().map(shown).collect())
    }
}

impl Serve<groups::Report> for Session {
    async fn serve(&self, request: groups::Report) -> Result<Done, Error> {
        let group = id("group", request.group.as_str())?;
        let message = id("message", request.message.as_str())?;
        let reason = request.reason.unwrap_or_default();
        self.served.node.report_message(group, message, reason).await.map_err(CliError::from)?;
        Ok(Done {})
    }
}

impl Serve<groups::Reports> for Session {
    async fn serve(&self, request: groups::Reports) -> Result<Vec<objects::GroupReport>, Error> {
        let node = &self.served.node;
        let reports = node.reports_in(id("group", request.group.as_str())?).await.map_err(CliError::from)?;
        let names = names(node).await?;
        Ok(reports.iter().map(|report| names.report(report)).collect())
    }
}

fn accounts(param: &str, given: Vec<objects::AccountId>) -> Result<Vec<AccountId>, Error> {
    given.iter().enumerate().map(|(i, account)| id(&format!("{param}[{i}]"), account.as_str())).collect()
}

/// Serves methods that ask something of a group.
macro_rules! serve_done {
    ($($method:ty: |$node:ident, $request:ident, $group:ident| $done:expr;)*) => {$(
        impl Serve<$method> for Session {
            async fn serve(&self, $request: $method) -> Result<Done, Error> {
                let $node = &self.served.node;
                let $group = id("group", $request.group.as_str())?;
                let () = $done.await.map_err(CliError::from)?;
                Ok(Done {})
            }
        }
    )*};
}

serve_done! {
    groups::Invite: |node, request, group| node.invite_into(group, accounts("accounts", request.accounts)?);
    groups::StopInviting: |node, request, group| node.stop_inviting(group);
    groups::Remove: |node, request, group| node.remove_from(group, id("account", request.account.as_str())?);
    groups::Ban: |node, request, group| node.ban_from(group, id("account", request.account.as_str())?);
    groups::Unban: |node, request, group| node.unban_from(group, id("account", request.account.as_str())?);
    groups::Set: |node, request, group| node.set_in_group(group, settings(&request));
    groups::SetRole: |node, request, group| {
        node.set_role(group, id("account", request.account.as_str())?, node_role(request.role))
    };
    groups::SetTopic: |node, request, group| node.set_topic(group, request.topic);
    groups::RemoveChannel: |node, request, group| {
        node.remove_channel(group, id("channel", request.channel.as_str())?)
    };
    groups::Approve: |node, request, group| node.approve_join(group, id("account", request.account.as_str())?);
    groups::Refuse: |node, request, group| node.refuse_join(group, id("account", request.account.as_str())?);
    groups::Accept: |node, request, group| node.accept_group(group);
}

impl Serve<groups::Rename> for Session {
    async fn serve(&self, request: groups::Rename) -> Result<Done, Error> {
        let group = id("group", request.group.as_str())?;
        check_no_slash(&request.name)?;
        self.served.node.rename_group(group, request.name).await.map_err(CliError::from)?;
        Ok(Done {})
    }
}

impl Serve<groups::Decline> for Session {
    async fn serve(&self, request: groups::Decline) -> Result<Done, Error> {
        let node = &self.served.node;
        let group = id("group", request.group.as_str())?;
        let blocked = whom_to_block(node, group, request.block).await?;
        node.decline_group(group).await.map_err(CliError::from)?;
        block(node, blocked).await
    }
}

impl Serve<groups::Leave> for Session {
    async fn serve(&self, request: groups::Leave) -> Result<Done, Error> {
        let node = &self.served.node;
        let group = id("group", request.group.as_str())?;
        let blocked = whom_to_block(node, group, request.block).await?;
        node.leave_group(group).await.map_err(CliError::from)?;
        block(node, blocked).await
    }
}

/// Who has invited this account into a group, or let it in, if they are to be blocked.
async fn whom_to_block(node: &Node, wanted: ChatId, block: Option<bool>) -> Result<Option<AccountId>, Error> {
    if block != Some(true) {
        return Ok(None);
    }
    let found = group(node, &format!("id:{wanted}")).await?;
    let by = found.let_in_by.or(found.invited_by);
    by.map(Some).ok_or_else(|| Error::invalid_param("block", "nobody is known to have invited this account"))
}

async fn block(node: &Node, account: Option<AccountId>) -> Result<Done, Error> {
    if let Some(account) = account {
        node.block(account).await.map_err(CliError::from)?;
    }
    Ok(Done {})
}

/// The settings that a request names, with their values.
fn settings(request: &groups::Set) -> Vec<(GroupSetting, u32)> {
    let role = |role: Option<objects::Role>| role.map(|role| u32::from(node_role(role).rank()));
    let named = [
        (GroupSetting::Post, role(request.post)),
        (GroupSetting::Invite, role(request.invite)),
        (GroupSetting::Remove, role(request.remove)),
        (GroupSetting::Pin, role(request.pin)),
        (GroupSetting::Delete, role(request.delete)),
        (GroupSetting::Settings, role(request.settings)),
        (GroupSetting::MentionAll, role(request.mention_all)),
        (GroupSetting::Call, role(request.call)),
        (GroupSetting::Comment, role(request.comment)),
        (GroupSetting::SlowMode, request.slow_mode),
        (GroupSetting::Lifetime, request.lifetime),
        (GroupSetting::History, request.history.map(u32::from)),
    ];
    named.into_iter().filter_map(|(setting, value)| Some((setting, value?))).collect()
}

fn node_role(role: objects::Role) -> Role {
    match role {
        objects::Role::Owner => Role::Owner,
        objects::Role::Admin => Role::Admin,
        objects::Role::Moderator => Role::Moderator,
        objects::Role::Member => Role::Member,
        objects::Role::Reader => Role::Reader,
    }
}
