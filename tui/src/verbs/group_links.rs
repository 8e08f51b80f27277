//! `group link`, `group join`, and who asks to be let in.

use std::{
    io::{BufRead, IsTerminal},
    time::{Duration, Instant},
};

use starling_control::{
    lines::GroupDone,
    methods::groups::{Approve, EndLink, Join, Links, Look, NewLink, Refuse, Requests},
    objects::{AccountId, Group, GroupLink, GroupPreview, JoinRequest, Standing},
};

use super::{
    groups::{changed, find_group},
    patience::patiently,
    people::qr,
    print, print_object, say,
};
use crate::{
    cli::{Global, GroupLinks, no_time_span, parse_time_span},
    error::{CliError, CliResult},
    local_time::LocalTimes,
    output::{ask as prompt, complain, print_coloured},
    rpc::Client,
    terminal::safe_line,
};

/// How long it is waited until this device is in a group that it joins.
const COMES_IN: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(100);

pub async fn links(global: &Global, client: &Client, command: GroupLinks) -> CliResult {
    match command {
        GroupLinks::New { group, expires, uses, approval } => {
            let lifetime =
                |expires: &String| parse_time_span(expires).ok_or_else(|| no_time_span(expires, "30m, 12h or 7d"));
            let lifetime_ms = expires.as_ref().map(lifetime).transpose()?;
            let found = find_group(client, &group).await?;
            let wanted = NewLink { group: found.id.clone(), lifetime_ms, uses, approval: Some(approval) };
            let made = client.call(wanted).await?;
            patiently(global, &rendezvous_of(&found.name), wait(client, &found)).await?;
            show_new(global, client, &found, &made).await
        }
        GroupLinks::List { group } => {
            let (found, times) = (find_group(client, &group).await?, LocalTimes::new(global));
            for link in client.call(Links { group: found.id }).await? {
                if global.json { print_object(&link)? } else { show_link(&link, &times)? }
            }
            Ok(())
        }
        GroupLinks::Revoke { group, link } => {
            let found = find_group(client, &group).await?;
            let links = client.call(Links { group: found.id.clone() }).await?;
            let id = link_named(&links, &link)?;
            client.call(EndLink { group: found.id.clone(), link: id }).await?;
            changed(global, client, &found, (&[], "revoked"), |_| true).await
        }
    }
}

/// Waits a moment until a change of a group has come about.
async fn wait(client: &Client, group: &Group) -> CliResult {
    let deadline = Instant::now() + COMES_IN;
    while find_group(client, &format!("id:{}", group.id)).await?.changing && Instant::now() < deadline {
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

/// Shows a link that was made, if it was.
async fn show_new(global: &Global, client: &Client, group: &Group, made: &GroupLink) -> CliResult {
    let is_there = client.call(Links { group: group.id.clone() }).await?.iter().any(|link| link.id == made.id);
    let waits = find_group(client, &format!("id:{}", group.id)).await?.changing;
    if !is_there && !waits {
        return Err(
            CliError::new("refused", 6, "the group has changed meanwhile: no link was made").hint("make it again")
        );
    }
    if global.json {
        return print_object(made);
    }
    let link = made.link.as_deref().unwrap_or_default();
    print(link)?;
    if std::io::stdout().is_terminal() {
        for line in qr(link)? {
            // Explicit black on white: dark themes would invert it, and cameras would not read it.
            print_coloured("38;2;0;0;0;48;2;255;255;255", &line)?;
        }
    }
    if waits {
        say(global, "It leads in as soon as the rendezvous of the group can be reached.");
    }
    let name = safe_line(&group.name);
    say(
        global,
        match made.approval {
            true => format!("Whoever has it can ask to be let into #{name}: starling group requests '#{name}'"),
            false => format!(
                "Whoever has it comes into #{name}, and sees who is in it. It ends when somebody leaves or is removed."
            ),
        },
    );
    Ok(())
}

/// A link as two lines: what it lets in, and how it is written.
fn show_link(link: &GroupLink, times: &LocalTimes) -> CliResult {
    let uses = match link.uses {
        None => "any number of uses".to_owned(),
        Some(1) => "1 use left".to_owned(),
        Some(uses) => format!("{uses} uses left"),
    };
    let expires = link.expires_at.as_ref().map_or("no end".to_owned(), |at| format!("until {}", times.minute(at)));
    let approval = if link.approval { "approval" } else { "open" };
    let by = link.by.name.as_deref().unwrap_or(link.by.account.as_str());
    let written = link.link.as_deref().unwrap_or("made on another device");
    print(format!("{}  {approval:<8}  {uses}, {expires}, by {}", link.id, safe_line(by)))?;
    print(format!("  {written}"))
}

/// The id of a link, by itself, the id, or the beginning of that.
fn link_named(links: &[GroupLink], named: &str) -> CliResult<String> {
    let is_meant = |link: &&GroupLink| {
        let is_written = link.link.as_deref().is_some_and(|link| link.eq_ignore_ascii_case(named.trim()));
        is_written || (named.len() >= 4 && link.id.starts_with(&named.to_lowercase()))
    };
    let found: Vec<&GroupLink> = links.iter().filter(is_meant).collect();
    match found.as_slice() {
        [one] => Ok(one.id.clone()),
        [] => Err(CliError::not_found("there is no such link into this group").hint("see `starling group link list`")),
        _ => Err(CliError::usage("several links begin so: write more of the id")),
    }
}

pub async fn join(global: &Global, client: &Client, link: String, yes: bool) -> CliResult {
    let leads_to = "the rendezvous that the link names";
    let preview = patiently(global, leads_to, client.call(Look { link: link.clone() })).await?;
    if matches!(preview.standing, Some(Standing::Member | Standing::Entering)) {
        return joined(global, &preview, preview.standing.unwrap_or_default());
    }
    if !yes {
        ask(global, &preview)?;
    }
    let answer = patiently(global, leads_to, client.call(Join { link })).await?;
    let id = format!("id:{}", answer.group);
    let standing = match answer.standing {
        Standing::Entering => patiently(global, &rendezvous_of(&preview.name), comes_in(client, &id)).await?,
        other => other,
    };
    joined(global, &preview, standing)
}

/// What changes of a group, and ways into it, wait for.
pub(super) fn rendezvous_of(group: &str) -> String {
    format!("the rendezvous of #{}", safe_line(group))
}

/// What is said to somebody who is not in a group yet: its rendezvous may be away, and so may everybody who could let this device in.
fn enters_later(name: &str) -> String {
    format!("noted: you come into #{name} once its rendezvous has what leads there, or a member who is online tells")
}

/// Waits until this device is in, or knows that it does not come in.
async fn comes_in(client: &Client, group: &str) -> CliResult<Standing> {
    let deadline = Instant::now() + COMES_IN;
    loop {
        let now = find_group(client, group).await?.standing;
        if now != Standing::Entering || Instant::now() >= deadline {
            return Ok(now);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Waits until this device has entered a group whose invitation was accepted: what others write until then is not for it.
pub async fn accepted(global: &Global, client: &Client, group: Group) -> CliResult {
    let id = format!("id:{}", group.id);
    let standing = patiently(global, &rendezvous_of(&group.name), comes_in(client, &id)).await?;
    let name = safe_line(&group.name);
    if matches!(standing, Standing::Left | Standing::Removed | Standing::Declined) {
        let why = match standing {
            Standing::Removed => ": you were removed before you came in",
            _ => "",
        };
        return Err(CliError::new("refused", 6, format!("the invitation into #{name} holds no more{why}"))
            .hint("only who is in the group can invite you again"));
    }
    if global.json {
        return print_object(&GroupDone { group: group.id, done: "accepted".into() });
    }
    print(match standing {
        Standing::Member => format!("you are in #{name}"),
        _ => enters_later(&name),
    })
}

fn joined(global: &Global, preview: &GroupPreview, standing: Standing) -> CliResult {
    let name = safe_line(&preview.name);
    if matches!(standing, Standing::Left | Standing::Removed | Standing::Declined) {
        return Err(CliError::new("link_ended", 6, "the link does not lead into the group any more")
            .hint("ask for another one"));
    }
    if global.json {
        return print_object(&GroupDone { group: preview.id.clone(), done: standing.as_str().into() });
    }
    print(match standing {
        Standing::Member => format!("you are in #{name}"),
        Standing::Asked => format!("asked: somebody has to let you into #{name}, and this profile enters then"),
        _ => enters_later(&name),
    })
}

/// Shows where a link leads, and asks.
fn ask(global: &Global, preview: &GroupPreview) -> CliResult {
    if global.no_input || global.json || !std::io::stdin().is_terminal() {
        return Err(CliError::usage("joining a group has to be confirmed").hint("add --yes"));
    }
    let by = preview.by.name.as_deref().unwrap_or(preview.by.account.as_str());
    let mut lines = vec![format!("group    #{}", safe_line(&preview.name))];
    if !preview.topic.is_empty() {
        lines.push(format!("topic    {}", safe_line(&preview.topic)));
    }
    lines.push(format!("members  {}", preview.members));
    lines.push(format!("link by  {}", safe_line(by)));
    lines.push(match preview.approval {
        true => "Somebody who may let others in has to approve. They see your name and account; until then you see nothing of the group.".into(),
        false => "You come in at once. All members see your name, your account and your devices.".into(),
    });
    for line in lines {
        complain(line);
    }
    prompt(if preview.approval { "Ask to be let in? [y/N]" } else { "Join? [y/N]" });
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    match answer.trim().to_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(CliError::usage("nothing was done")),
    }
}

pub async fn requests(global: &Global, client: &Client, group: &str) -> CliResult {
    let (found, times) = (find_group(client, group).await?, LocalTimes::new(global));
    for request in client.call(Requests { group: found.id, refused: None }).await? {
        if global.json {
            print_object(&request)?;
            continue;
        }
        print(format!("{:<24} {}  {}", safe_line(&request.name), times.minute(&request.at), request.account))?;
    }
    Ok(())
}

pub async fn decide(global: &Global, client: &Client, group: &str, who: &str, approves: bool) -> CliResult {
    let found = find_group(client, group).await?;
    // Who was refused can be let in all the same.
    let refused = approves.then_some(true);
    let requests = client.call(Requests { group: found.id.clone(), refused }).await?;
    let account = asking(&requests, who)?;
    let id = found.id.clone();
    if !approves {
        client.call(Refuse { group: id, account }).await?;
        let done = GroupDone { group: found.id, done: "refused".into() };
        return if global.json { print_object(&done) } else { print("refused") };
    }
    let wanted = Approve { group: id, account: account.clone() };
    client.call(wanted).await.map_err(|error| error.naming(group, Some(who)))?;
    let is_in = |group: &Group| group.members.iter().any(|member| member.account == account);
    changed(global, client, &found, (std::slice::from_ref(&account), "approved"), is_in).await
}

/// Somebody who asks, by name or account: anybody may call themselves anything.
fn asking(requests: &[JoinRequest], who: &str) -> CliResult<AccountId> {
    let name = who.strip_prefix('@').unwrap_or(who);
    let is_meant =
        |request: &&JoinRequest| request.account.as_str() == name || starling_text::same(&request.name, name);
    let found: Vec<&JoinRequest> = requests.iter().filter(is_meant).collect();
    match found.as_slice() {
        [one] => Ok(one.account.clone()),
        [] => Err(CliError::not_found("they do not ask to be let in").hint("see `starling group requests`")),
        several => {
            let accounts: Vec<&str> = several.iter().map(|request| request.account.as_str()).collect();
            Err(CliError::usage(format!("several who ask are called {}", safe_line(name)))
                .hint(format!("name the account: {}", accounts.join(", "))))
        }
    }
}
