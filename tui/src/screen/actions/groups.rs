//! Groups: making them, coming in, going.

use starling_control::{
    methods::groups::{Accept, Decline, Invite, New, Remove},
    objects::{AccountId, ChatId, Group, Standing},
};

use super::{
    super::{app::App, palette::Question},
    Action, command,
};

pub const ACTIONS: &[Action] = &[
    command("group", "NAME [@WHO…]", "make a group and invite contacts into it", make),
    command("join", "NAME", "accept an invitation into a group", |app, name| {
        if let Some(group) = invited(app, name) {
            app.change(Accept { group });
        }
    }),
    command("refuse", "NAME", "decline an invitation into a group", |app, name| {
        if let Some(group) = invited(app, name) {
            app.change(Decline { group });
        }
    }),
    command("bring", "@WHO…", "invite contacts into this group", |app, names| {
        let Some(group) = open_group(app) else { return };
        if let Some(accounts) = contacts(app, names) {
            app.change(Invite { group, accounts });
        }
    }),
    command("expel", "@WHO", "remove somebody from this group", |app, name| {
        let Some(group) = open_group(app) else { return };
        let name = name.trim_start_matches('@');
        let named =
            |g: &Group| g.members.iter().find(|m| starling_text::same(&m.name, name)).map(|m| m.account.clone());
        match app.directory.group(&group).and_then(named) {
            Some(account) => app.change(Remove { group, account }),
            None => app.warn(format!("{name} is not in this group.")),
        }
    }),
    command("leave", "", "leave this group", |app, _| {
        if let Some(group) = open_group(app) {
            app.ask_yes(Question::Leave(group));
        }
    }),
];

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

/// The group that is open. Warns if none is.
fn open_group(app: &mut App) -> Option<ChatId> {
    let group = app.chat.open.clone().filter(|id| app.directory.group(id).is_some());
    if group.is_none() {
        app.warn("Open a group first.".into());
    }
    group
}
