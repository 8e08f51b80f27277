//! `community`: what it has in common with `group` is done there.

use starling_control::{
    lines::GroupDone,
    methods::groups::{List, New, RemoveChannel},
    objects::{ChatKind, Role},
};

use super::{
    groups::{accounts, find_group, made, run, show_in_list},
    node_of,
    people::catch_up,
    print, print_object,
};
use crate::{
    cli::{Channels, Communities, Global, Groups},
    error::{CliError, CliResult},
    rpc::Client,
};

pub async fn communities(global: &Global, command: Communities) -> CliResult {
    let (_, client) = node_of(global).await?;
    let result = match as_groups(command) {
        Ok(command) => run(global, &client, command).await,
        Err(command) => run_own(global, &client, command).await,
    };
    client.finish().await;
    result
}

/// The command about groups that does it; the command itself if there is none.
fn as_groups(command: Communities) -> Result<Groups, Communities> {
    Ok(match command {
        Communities::Show { community: group } => Groups::Show { group },
        Communities::Invite { community: group, who } => Groups::Invite { group, who, stop: false },
        Communities::Accept { community: group } => Groups::Accept { group },
        Communities::Decline { community: group } => Groups::Decline { group, block: false },
        Communities::Leave { community: group } => Groups::Leave { group, block: false },
        Communities::Remove { community: group, who } => Groups::Remove { group, who },
        Communities::Role { community: group, who, role } => Groups::Role { group, who, role },
        other => return Err(other),
    })
}

async fn run_own(global: &Global, client: &Client, command: Communities) -> CliResult {
    catch_up(global, client).await?;
    match command {
        Communities::New { name, who } => {
            let invite = Some(accounts(client, &who).await?);
            made(global, client, New { name, kind: Some(ChatKind::Community), invite, ..New::default() }).await
        }
        Communities::Channel { command: Channels::New { community, name, few, lowest } } => {
            let community = Some(find_group(client, &community).await?.id);
            let kind = few.then_some(ChatKind::Channel);
            let lowest = lowest.map(Role::from);
            made(global, client, New { name, kind, community, lowest, ..New::default() }).await
        }
        Communities::Channel { command: Channels::Remove { channel } } => {
            let found = find_group(client, &channel).await?;
            let Some(group) = found.community else {
                return Err(CliError::usage("this is no channel of a community").hint("see `starling community show`"));
            };
            client.call(RemoveChannel { group, channel: found.id.clone() }).await?;
            let done = GroupDone { group: found.id, done: "removed".into() };
            if global.json { print_object(&done) } else { print("done") }
        }
        _ => {
            let groups = client.call(List {}).await?;
            groups.iter().filter(|g| g.kind == ChatKind::Community).try_for_each(|g| show_in_list(global, g))
        }
    }
}
