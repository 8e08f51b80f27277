//! Groups: making them, coming in, going.

use starling_control::{
    methods::groups::{Accept, Decline, Invite, New, Remove, Rename, SetRole, SetTopic},
    objects::{AccountId, ChatId, Group, Role, Standing},
};

use super::{
    super::{app::App, palette::Question},
    Action, command,
};

/// What these have in common with what is done about people, see [`super::people`]: `/invite`, `/accept`, `/decline`, `/remove`, `/rename`.
pub const ACTIONS: &[Action] = &[
    command("group", "NAME [@WHO…]", "make a group and invite contacts into it", make),
    command("role", "@WHO ROLE", "give a member of this group a role", set_role),
    command("topic", "TEXT", "say what this group is about; empty for nothing", |app, topic| {
        if let Some(group) = open_group(app) {
            app.change(SetTopic { group, topic: topic.to_owned() });
        }
    })
    .bare(),
    command("leave", "", "leave this group", |app, _| {
        if let Some(group) = open_group(app) {
            app.ask_yes(Question::Leave(group));
        }
    }),
];

/// Invites contacts, each named with `@`, into the group that is open.
pub(super) fn invite(app: &mut App, names: &str) {
    let Some(group) = open_group(app) else { return };
    if let Some(accounts) = contacts(app, names) {
        app.change(Invite { group, accounts });
    }
}

/// Accepts an invitation into a group.
pub(super) fn accept(app: &mut App, name: &str) {
    if let Some(group) = invited(app, name) {
        app.change(Accept { group });
    }
}

/// Declines an invitation into a group.
pub(super) fn decline(app: &mut App, name: &str) {
    if let Some(group) = invited(app, name) {
        app.change(Decline { group });
    }
}

/// Removes somebody from the group that is open.
pub(super) fn remove(app: &mut App, name: &str) {
    if let Some((group, account)) = member(app, name) {
        app.change(Remove { group, account });
    }
}

/// Gives the group that is open another name; `false` if what is open is none.
pub(super) fn rename(app: &mut App, name: &str) -> bool {
    let Some(group) = shown_group(app) else { return false };
    app.change(Rename { group, name: name.trim_start_matches('#').to_owned() });
    true
}

fn set_role(app: &mut App, line: &str) {
    let (name, word) = line.rsplit_once(' ').unwrap_or((line, ""));
    let roles = [Role::Owner, Role::Admin, Role::Moderator, Role::Member, Role::Reader];
    match roles.into_iter().find(|role| role.as_str() == word) {
        Some(role) => {
            if let Some((group, account)) = member(app, name.trim()) {
                app.change(SetRole { group, account, role });
            }
        }
        None => app.warn("Usage: /role @WHO owner, admin, moderator, member or reader".into()),
    }
}

/// Somebody in the group that is open. Warns if there is none.
fn member(app: &mut App, name: &str) -> Option<(ChatId, AccountId)> {
    let group = open_group(app)?;
    let name = name.trim_start_matches('@');
    let named = |g: &Group| g.members.iter().find(|m| starling_text::same(&m.name, name)).map(|m| m.account.clone());
    let account = app.directory.group(&group).and_then(named);
    if account.is_none() {
        app.warn(format!("{name} is not in this group."));
    }
    Some((group, account?))
}

fn make(app: &mut App, line: &str) {
    let (name, who) = line.split_once(" @").unwrap_or((line, ""));
    let who = if who.is_empty() { String::new() } else { format!("@{who}") };
    if let Some(accounts) = contacts(app, &who) {
        app.change(New { name: name.trim().to_owned(), invite: Some(accounts) });
    }
}

/// The accounts of contacts, each named with `@`. Warns if one is none.
fn contacts(app: &mut App, names: &str) -> Option<Vec<AccountId>> {
    let mut accounts = Vec::new();
    for name in names.split('@').map(str::trim).filter(|name| !name.is_empty()) {
        match app.directory.contacts.iter().find(|c| starling_text::same(&c.name, name)) {
            Some(contact) => accounts.push(contact.account.clone()),
            None => {
                app.warn(format!("There is no contact {name}."));
                return None;
            }
        }
    }
    Some(accounts)
}

/// An invitation by its group's name. Warns if there is none.
fn invited(app: &mut App, name: &str) -> Option<ChatId> {
    let name = name.trim_start_matches('#');
    let fits = |group: &&Group| group.standing == Standing::Invited && starling_text::same(&group.name, name);
    let found: Vec<ChatId> = app.directory.groups.iter().filter(fits).map(|group| group.id.clone()).collect();
    match found.as_slice() {
        [one] => Some(one.clone()),
        [] => {
            app.warn(format!("There is no invitation into #{name}."));
            None
        }
        // Anybody may call a group so: the list shows who invites.
        _ => {
            app.warn(format!("Several groups called #{name} invite you: choose one in the list."));
            None
        }
    }
}

/// The group that is open, if one is.
fn shown_group(app: &App) -> Option<ChatId> {
    app.chat.open.clone().filter(|id| app.directory.group(id).is_some())
}

/// The same. Warns if none is.
fn open_group(app: &mut App) -> Option<ChatId> {
    let group = shown_group(app);
    if group.is_none() {
        app.warn("Open a group first.".into());
    }
    group
}
