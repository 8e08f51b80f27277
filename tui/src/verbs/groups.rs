//! `group`.

use std::time::{Duration, Instant};

use starling_control::{
    lines::{GroupChange, GroupDone},
    methods::groups::{
        Accept, Audit, Ban, Decline, Former, Invite, Leave, List, New, Remove, Rename, Report, Reports, Set, SetRole,
        SetTopic, Show, StopInviting, Unban,
    },
    objects::{AccountId, ChatKind, ContactRef, Group, GroupArrivals, GroupMember, Role, Standing},
};

use super::{
    audit::{self, member_name},
    find, group_links, group_settings, group_updates, node_of,
    patience::patiently,
    people::catch_up,
    print, print_object, say,
};
use crate::{
    cli::{Global, GroupSettings, Groups},
    error::{CliError, CliResult},
    local_time::LocalTimes,
    rpc::Client,
    terminal::safe_line,
};

/// How long a command waits for a change to be committed.
const COMMITS: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(50);

pub async fn groups(global: &Global, command: Groups) -> CliResult {
    let (_, client) = node_of(global).await?;
    let result = run(global, &client, command).await;
    client.finish().await;
    result
}

pub async fn run(global: &Global, client: &Client, command: Groups) -> CliResult {
    catch_up(global, client).await?;
    match command {
        Groups::New { name, channel, community, who } => create(global, client, name, channel, (community, who)).await,
        Groups::List => list(global, client).await,
        Groups::Show { group } => show(global, &find_group(client, &group).await?),
        Groups::Invite { group, stop: true, .. } => stop_inviting(global, client, &group).await,
        Groups::Invite { group, who, .. } => invite(global, client, &group, &who).await,
        Groups::Remove { group, who } => remove(global, client, &group, &who).await,
        Groups::Ban { group, who } => ban(global, client, &group, &who).await,
        Groups::Unban { group, who } => unban(global, client, &group, &who).await,
        Groups::Audit { group } => audit_log(global, client, &group).await,
        Groups::Settings(settings) => set(global, client, *settings).await,
        Groups::Role { group, who, role } => set_role(global, client, &group, &who, role.into()).await,
        Groups::Accept { group } => {
            let found = find_invitation(client, &group).await?;
            client.call(Accept { group: found.id.clone() }).await?;
            group_links::accepted(global, client, found).await
        }
        Groups::Decline { group, block } => {
            let found = find_invitation(client, &group).await?;
            client.call(Decline { group: found.id.clone(), block: block.then_some(true) }).await?;
            done(global, found, "declined")
        }
        Groups::Link(command) => group_links::links(global, client, command).await,
        Groups::Join { link, yes } => group_links::join(global, client, link, yes).await,
        Groups::Requests { group } => group_links::requests(global, client, &group).await,
        Groups::Approve { group, who } => group_links::decide(global, client, &group, &who, true).await,
        Groups::Refuse { group, who } => group_links::decide(global, client, &group, &who, false).await,
        Groups::Report { group, message, reason } => {
            let found = find_group(client, &group).await?;
            client.call(Report { group: found.id.clone(), message: message.into(), reason }).await?;
            done(global, found, "reported")
        }
        Groups::Reports { group } => reports(global, client, &group).await,
        Groups::Leave { group, block } => {
            let found = find_group(client, &group).await?;
            let wanted = Leave { group: found.id.clone(), block: block.then_some(true) };
            client.call(wanted).await.map_err(|error| error.naming(&group, None))?;
            done(global, found, "left")
        }
        Groups::Topic { group, text } => {
            let found = find_group(client, &group).await?;
            client.call(SetTopic { group: found.id.clone(), topic: text }).await?;
            changed(global, client, &found, (&[], "topic"), |_| true).await
        }
        Groups::Rename { group, name } => {
            let found = find_group(client, &group).await?;
            client.call(Rename { group: found.id.clone(), name }).await?;
            changed(global, client, &found, (&[], "renamed"), |_| true).await
        }
    }
}

/// Makes a group, or a channel of a community, and invites contacts into it.
async fn create(
    global: &Global,
    client: &Client,
    name: String,
    channel: bool,
    (community, who): (Option<String>, Vec<String>),
) -> CliResult {
    let invite = Some(accounts(client, &who).await?);
    let kind = channel.then_some(ChatKind::Channel);
    let community = match community {
        Some(community) => Some(find_group(client, &community).await?.id),
        None => None,
    };
    made(global, client, New { name, kind, invite, community, ..New::default() }).await
}

/// Nobody who was invited and has not come is waited for any more.
async fn stop_inviting(global: &Global, client: &Client, group: &str) -> CliResult {
    let found = find_group(client, group).await?;
    client.call(StopInviting { group: found.id.clone() }).await?;
    let nobody_waits = |group: &Group| group.arriving.as_ref().is_none_or(|arriving| arriving.noted == 0);
    changed(global, client, &found, (&[], "stopped"), nobody_waits).await
}

/// Invites contacts into a group.
async fn invite(global: &Global, client: &Client, group: &str, who: &[String]) -> CliResult {
    let found = find_group(client, group).await?;
    let accounts = accounts(client, who).await?;
    let has_come = |account: &AccountId| found.members.iter().any(|m| m.account == *account && m.devices > 0);
    let one = who.first().filter(|_| who.len() == 1).map(String::as_str);
    let wanted = Invite { group: found.id.clone(), accounts: accounts.clone() };
    client.call(wanted).await.map_err(|error| error.naming(group, one))?;
    if !global.json && accounts.iter().all(has_come) {
        return print(format!("they are in #{} already", safe_line(&found.name)));
    }
    for (who, _) in who.iter().zip(&accounts).filter(|(_, account)| has_come(account)) {
        say(global, format!("{} is in #{} already.", safe_line(who), safe_line(&found.name)));
    }
    let there = |group: &Group| accounts.iter().all(|account| is_member(group, account, None));
    changed(global, client, &found, (&accounts, "invited"), there).await?;
    let now = find_group(client, &format!("id:{}", found.id)).await?;
    if let Some(who) = group_updates::outdated(&now, |old| accounts.contains(&old.account)).filter(|_| !global.json) {
        say(global, format!("{who} must be updated before it can come in: the invitation waits."));
    }
    Ok(())
}

/// Removes a member from a group.
async fn remove(global: &Global, client: &Client, group: &str, who: &str) -> CliResult {
    let found = find_group(client, group).await?;
    let account = other_member(client, &found, who).await?;
    client.call(Remove { group: found.id.clone(), account: account.clone() }).await?;
    let gone = |group: &Group| !is_member(group, &account, None);
    changed(global, client, &found, (std::slice::from_ref(&account), "removed"), gone).await
}

/// Bans somebody from a group.
async fn ban(global: &Global, client: &Client, group: &str, who: &str) -> CliResult {
    let found = find_group(client, group).await?;
    let account = other_member(client, &found, who).await?;
    client.call(Ban { group: found.id.clone(), account: account.clone() }).await?;
    let is_banned = |group: &Group| group.banned.iter().any(|banned| banned.account == account);
    changed(global, client, &found, (std::slice::from_ref(&account), "banned"), is_banned).await
}

/// Lets somebody who is banned from a group be invited again.
async fn unban(global: &Global, client: &Client, group: &str, who: &str) -> CliResult {
    let found = find_group(client, group).await?;
    let account = banned(client, &found, who).await?;
    client.call(Unban { group: found.id.clone(), account: account.clone() }).await?;
    let is_free = |group: &Group| group.banned.iter().all(|banned| banned.account != account);
    changed(global, client, &found, (std::slice::from_ref(&account), "unbanned"), is_free).await
}

/// Shows a group's audit log.
async fn audit_log(global: &Global, client: &Client, group: &str) -> CliResult {
    let found = find_group(client, group).await?;
    let log = client.call(Audit { group: found.id.clone() }).await?;
    // Programs read accounts, which are the same on all devices.
    let former = if global.json { Vec::new() } else { former(client, &found).await };
    audit::show(global, &found, &former, &log)
}

/// Gives a member another role.
async fn set_role(global: &Global, client: &Client, group: &str, who: &str, role: Role) -> CliResult {
    let found = find_group(client, group).await?;
    let account = member(client, &found, who).await?;
    let wanted = SetRole { group: found.id.clone(), account: account.clone(), role };
    client.call(wanted).await.map_err(|error| error.naming(group, None))?;
    let has_role = |group: &Group| is_member(group, &account, Some(role));
    changed(global, client, &found, (std::slice::from_ref(&account), "role"), has_role).await
}

/// Changes what is set in a group; without anything to change, shows it.
async fn set(global: &Global, client: &Client, settings: GroupSettings) -> CliResult {
    let found = find_group(client, &settings.group).await?;
    let role = |role: Option<crate::cli::GroupRole>| role.map(Role::from);
    let nothing = Set { group: found.id.clone(), ..Set::default() };
    let wanted = Set {
        group: found.id.clone(),
        post: role(settings.post),
        invite: role(settings.invite),
        remove: role(settings.remove),
        pin: role(settings.pin),
        delete: role(settings.delete),
        settings: role(settings.settings),
        mention_all: role(settings.mention_all),
        call: role(settings.call),
        comment: role(settings.comment),
        slow_mode: settings.slow_mode,
        lifetime: settings.lifetime,
        history: settings.history,
    };
    if wanted == nothing {
        return group_settings::show(global, &found);
    }
    if wanted.pin.is_some() || wanted.call.is_some() || wanted.lifetime.is_some() {
        say(
            global,
            "Who may pin, who may call and the lifetime of messages are kept for later versions: nothing follows from them yet.",
        );
    }
    client.call(wanted).await?;
    changed(global, client, &found, (&[], "settings"), |_| true).await
}

async fn reports(global: &Global, client: &Client, group: &str) -> CliResult {
    let (found, times) = (find_group(client, group).await?, LocalTimes::new(global));
    for report in client.call(Reports { group: found.id }).await? {
        if global.json {
            print_object(&report)?;
            continue;
        }
        let name = |who: &ContactRef| safe_line(who.name.as_deref().unwrap_or(who.account.as_str()));
        let reason = report.reason.as_deref().map(|reason| format!(": {}", safe_line(reason))).unwrap_or_default();
        let at = times.minute(&report.at);
        print(format!("{at}  {} reports {}{reason}", name(&report.by), name(&report.author)))?;
        let proof = if report.confirmed { "" } else { "  (not confirmed: this device does not have the message)" };
        print(format!("  {}{proof}", safe_line(&report.text)))?;
        print(format!("  {}", report.message))?;
    }
    Ok(())
}

/// Somebody who is banned from a group: by name, or by account.
async fn banned(client: &Client, group: &Group, who: &str) -> CliResult<AccountId> {
    let name = who.strip_prefix('@').unwrap_or(who);
    let is_meant = |known: &str| starling_text::same(known, name);
    let mut found = group
        .banned
        .iter()
        .filter(|b| b.account.as_str() == name || b.name.as_deref().is_some_and(is_meant))
        .map(|b| b.account.clone());
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        _ => outside(client, group, who).await,
    }
}

/// A member who is to go: nobody removes themselves.
async fn other_member(client: &Client, group: &Group, who: &str) -> CliResult<AccountId> {
    let account = member(client, group, who).await?;
    match group.members.iter().any(|m| m.own && m.account == account) {
        true => Err(CliError::usage("that is you").hint("`starling group leave` leaves a group")),
        false => Ok(account),
    }
}

/// Somebody who is not in a group, or not any more: a contact, somebody who was in it, or anybody by account.
async fn outside(client: &Client, group: &Group, who: &str) -> CliResult<AccountId> {
    let name = who.strip_prefix('@').unwrap_or(who);
    let mut found = match find(client, who).await {
        Err(error) if error.code == "not_found" => Vec::new(),
        found => vec![found?.account],
    };
    let is_meant = |known: &ContactRef| known.name.as_deref().is_some_and(|known| starling_text::same(known, name));
    let former = former(client, group).await.into_iter().filter(is_meant).map(|known| known.account);
    let former: Vec<AccountId> = former.filter(|account| !found.contains(account)).collect();
    found.extend(former);
    match found.as_slice() {
        [one] => Ok(one.clone()),
        [] if is_account(name) => Ok(name.into()),
        [] => {
            let text = format!("nobody called “{}” is in #{}", safe_line(name), safe_line(&group.name));
            Err(CliError::not_found(text)
                .hint("`starling group show` names the members; name who is gone by account: `starling group audit`"))
        }
        several => {
            let accounts: Vec<&str> = several.iter().map(AccountId::as_str).collect();
            Err(CliError::usage(format!("several are called {}", safe_line(name)))
                .hint(format!("name the account: {}", accounts.join(", "))))
        }
    }
}

/// Those who were in a group and are not any more, with what they are called here. A group of an older version has no log that says so.
async fn former(client: &Client, group: &Group) -> Vec<ContactRef> {
    client.call(Former { group: group.id.clone() }).await.unwrap_or_default()
}

/// Whether a text is written as accounts are.
fn is_account(text: &str) -> bool {
    text.len() == 52 && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'2'..=b'7'))
}

fn done(global: &Global, group: Group, what: &str) -> CliResult {
    let done = GroupDone { group: group.id, done: what.into() };
    if global.json { print_object(&done) } else { print("done") }
}

/// A group by `#name`, name or id.
pub async fn find_group(client: &Client, group: &str) -> CliResult<Group> {
    client.call(Show { group: group.to_owned() }).await
}

/// A group that the user was invited into: there may be another one of that name that they are in.
async fn find_invitation(client: &Client, group: &str) -> CliResult<Group> {
    let name = group.strip_prefix('#').unwrap_or(group);
    let is_meant =
        |g: &Group| matches!(g.standing, Standing::Invited | Standing::Declined) && starling_text::same(&g.name, name);
    let mut invitations: Vec<Group> = client.call(List {}).await?.into_iter().filter(is_meant).collect();
    match (invitations.pop(), invitations.is_empty()) {
        (Some(one), true) => Ok(one),
        _ => find_group(client, group).await,
    }
}

/// Whether an account is in a group, and has a role there.
fn is_member(group: &Group, account: &AccountId, role: Option<Role>) -> bool {
    group.members.iter().any(|member| member.account == *account && role.is_none_or(|role| member.role == role))
}

/// The group once nothing in it is to be committed any more, or as it is after a moment.
async fn committed(client: &Client, group: &Group) -> CliResult<Group> {
    let deadline = Instant::now() + COMMITS;
    loop {
        let now = find_group(client, &format!("id:{}", group.id)).await?;
        if !now.changing || Instant::now() >= deadline {
            return Ok(now);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Waits a moment until a change of a group has come about, and says what has, or what is still to.
pub(super) async fn changed(
    global: &Global,
    client: &Client,
    group: &Group,
    (accounts, done): (&[AccountId], &str),
    is_made: impl Fn(&Group) -> bool,
) -> CliResult {
    let waits_for = group_links::rendezvous_of(&group.name);
    let now = patiently(global, &waits_for, committed(client, group)).await?;
    if !now.changing && !is_made(&now) {
        // Somebody else was faster: an event says what stands against it.
        return Err(CliError::new("refused", 6, "the group has changed meanwhile: nothing was done")
            .hint(format!("see starling group show id:{}", group.id)));
    }
    if global.json {
        let (group, accounts, done) = (group.id.clone(), accounts.to_vec(), done.to_owned());
        let problem_code = now.problem_code.filter(|_| now.changing);
        return print_object(&GroupChange { group, accounts, done, waits: now.changing, problem_code });
    }
    match (now.changing, done) {
        (true, _) => {
            let name = safe_line(&group.name);
            print(format!(
                "noted: it is done as soon as the rendezvous of #{name} can be reached and has room for it"
            ))?;
            if let Some(problem) = now.problem {
                say(global, format!("Now it waits: {}.", safe_line(&problem)));
            }
            Ok(())
        }
        (false, "role" | "settings" | "topic") => print("done"),
        (false, done) => print(done),
    }
}

/// Makes a group, and says what it is called.
pub async fn made(global: &Global, client: &Client, wanted: New) -> CliResult {
    let invites = wanted.invite.as_ref().is_some_and(|invite| !invite.is_empty());
    let in_community = wanted.community.is_some();
    let made = client.call(wanted).await?;
    if global.json {
        return print_object(&made);
    }
    print(format!("#{}  id:{}", safe_line(&made.name), made.id))?;
    if invites {
        say(global, "They are invited, and come in when they accept: starling group accept");
    }
    if in_community {
        say(global, "The members of the community come in by themselves.");
    }
    Ok(())
}

/// The accounts of contacts.
pub async fn accounts(client: &Client, who: &[String]) -> CliResult<Vec<AccountId>> {
    let mut accounts = Vec::new();
    for who in who {
        accounts.push(find(client, who).await?.account);
    }
    Ok(accounts)
}

/// A member of a group, who need not be a contact: by name, or by account.
async fn member(client: &Client, group: &Group, who: &str) -> CliResult<AccountId> {
    let name = who.strip_prefix('@').unwrap_or(who);
    let fits = |m: &&GroupMember| m.account.as_str() == name || starling_text::same(&m.name, name);
    let found: Vec<&GroupMember> = group.members.iter().filter(fits).collect();
    match found.as_slice() {
        [one] => Ok(one.account.clone()),
        [] => outside(client, group, who).await,
        several => {
            let accounts: Vec<&str> = several.iter().map(|m| m.account.as_str()).collect();
            Err(CliError::usage(format!("several members are called {}", safe_line(name)))
                .hint(format!("name the account: {}", accounts.join(", "))))
        }
    }
}

async fn list(global: &Global, client: &Client) -> CliResult {
    client.call(List {}).await?.iter().try_for_each(|group| show_in_list(global, group))
}

/// A group as one line.
pub fn show_in_list(global: &Global, group: &Group) -> CliResult {
    if global.json {
        return print_object(group);
    }
    let note = match group.standing {
        Standing::Member => group.role.map(|role| role.as_str().to_owned()).unwrap_or_default(),
        Standing::Invited => {
            let by = group.invited_by.as_ref().and_then(|by| by.name.as_deref()).unwrap_or_default();
            format!("{} invites you: starling group accept id:{}", safe_line(by), group.id)
        }
        other => other.as_str().to_owned(),
    };
    let members = match group.members.len() {
        0 => String::new(),
        count => group_updates::counted_members(count),
    };
    let kind = if group.kind == ChatKind::Group { "" } else { group.kind.as_str() };
    let what = [kind, &members].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ");
    print(format!("#{:<23} {what:<21} {note}", safe_line(&group.name)).trim_end())
}

/// How far those are who were invited.
fn words_of_arrivals(arriving: &GroupArrivals) -> String {
    let GroupArrivals { noted, invited, accepted, here } = arriving;
    let parts = [(here, "in"), (accepted, "accepted"), (invited, "invited"), (noted, "to be invited")];
    let parts = parts.into_iter().filter(|(count, _)| **count > 0);
    parts.map(|(count, what)| format!("{count} {what}")).collect::<Vec<_>>().join(", ")
}

fn show(global: &Global, group: &Group) -> CliResult {
    if global.json {
        return print_object(group);
    }
    print(format!("{:<12}  #{}", group.kind.as_str(), safe_line(&group.name)))?;
    print(format!("conversation  id:{}", group.id))?;
    if !group.topic.is_empty() {
        print(format!("topic         {}", safe_line(&group.topic)))?;
    }
    if let Some(problem) = &group.problem {
        print(format!("problem       {}", safe_line(problem)))?;
    }
    if let Some(arriving) = &group.arriving {
        print(format!("arriving      {}", words_of_arrivals(arriving)))?;
    }
    print(format!("you           {}", group.role.map_or(group.standing.as_str(), |role| role.as_str())))?;
    for member in &group.members {
        let devices = match member.devices {
            // Who is in a group knows which devices are; others have heard of its members alone.
            0 if group.standing != Standing::Member => String::new(),
            0 => "invited".to_owned(),
            1 => "1 device".to_owned(),
            n => format!("{n} devices"),
        };
        let name = if member.own { "you".to_owned() } else { member_name(member) };
        let online = if member.online { " · online" } else { "" };
        print(format!("  {name:<24} {:<10} {devices}{online}", member.role.as_str()).trim_end())?;
    }
    let online = group.members.iter().filter(|member| member.online).count();
    if online > 0 {
        print(format!("online        {online}"))?;
    }
    for line in group_updates::updates(group) {
        print(format!("update        {line}"))?;
    }
    if let Some(community) = &group.community {
        print(format!("community     id:{community}"))?;
    }
    for channel in &group.channels {
        let name = channel.name.as_deref().map_or_else(|| "(not known here)".to_owned(), safe_line);
        let whom = if channel.lowest == Role::Reader { "" } else { channel.lowest.as_str() };
        print(format!("  #{name:<23} {whom:<10} id:{}", channel.id))?;
    }
    Ok(())
}
