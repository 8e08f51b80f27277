//! Groups: making them, coming in, going.

use starling_control::{
    methods::groups::{
        Accept, Approve, Ban, Decline, Look, New, NewLink, Refuse, Remove, Rename, Reports, Requests, Set, SetRole,
        SetTopic, Unban,
    },
    objects::{AccountId, ChatId, ChatKind, Group, JoinRequest, Standing},
};

use super::{
    super::{app::App, model::group::ROLES, palette::Question, requests::Answer},
    Action, Place, command, key,
};
use crate::error::contact_asks_on_screen;

/// What these have in common with what is done about people, see [`super::people`]: `/invite`, `/accept`, `/decline`, `/remove`, `/rename`.
pub const ACTIONS: &[Action] =
    &[
        command("group", "NAME [@WHO…]", "make a group and invite contacts into it", |app, line| {
            make(app, line, ChatKind::Group);
        }),
        command("channel", "NAME [@WHO…]", "make a channel, in which few write and many read", |app, line| {
            make(app, line, ChatKind::Channel);
        }),
        key("members", Place::Everywhere, "", "who is in this group, and what can be done", App::show_members)
            .or_command("members", "", "who is in this group: roles, removing, banning", |app, _| app.show_members()),
        key("audit", Place::Everywhere, "", "who has changed what in this group", App::show_audit).or_command(
            "audit",
            "",
            "who has changed members, roles and settings of this group",
            |app, _| app.show_audit(),
        ),
        key("group-settings", Place::Everywhere, "", "settings of this group", App::show_group_settings).or_command(
            "settings",
            "",
            "settings of this group, as a form",
            |app, _| app.show_group_settings(),
        ),
        in_details("details-up", "k Up", "member above", |app| app.chat.group.members.step(-1)),
        in_details("details-down", "j Down", "member below", |app| app.chat.group.members.step(1)),
        in_details("details-top", "g Home", "first member", |app| app.chat.group.members.step(isize::MIN)),
        in_details("details-bottom", "G End", "last member", |app| app.chat.group.members.step(isize::MAX)),
        in_details("details-find", "/", "find a member as you type", App::show_members),
        in_details("details-open", "l Enter Right Space", "what can be done", App::show_chosen_member),
        in_details("details-help", "?", "help", App::show_help),
        command("role", "@WHO ROLE", "give a member of this group a role", set_role),
        command("ban", "@WHO", "remove somebody, and keep them out until the ban is lifted", |app, name| {
            if let Some((group, account)) = member(app, name) {
                app.change(Ban { group, account });
            }
        }),
        command("unban", "@WHO", "lift a ban: they can be invited again", unban),
        command(
            "set",
            "WHAT VALUE",
            "change a setting of this group: post, invite, remove, delete, slow-mode, history …",
            set,
        ),
        command("topic", "TEXT", "say what this group is about; empty for nothing", |app, topic| {
            if let Some(group) = open_group(app) {
                app.change(SetTopic { group, topic: topic.to_owned() });
            }
        })
        .bare(),
        command("grouplink", "[USES] [approval]", "make a link into this group, and show its QR code", make_link),
        command("join", "LINK", "come into a group by a link", |app, link| {
            let link = link.trim().to_owned();
            let look = Look { link: link.clone() };
            app.ask(look, move |preview| Answer::GroupPreview(link, preview));
        }),
        command("requests", "", "who asks to be let into this group", |app, _| ask_requests(app, None)),
        command("reports", "", "what members have reported in this group, which you moderate", |app, _| {
            if let Some(group) = open_group(app) {
                app.ask(Reports { group: group.clone() }, move |reports| Answer::Reports(group, reports));
            }
        }),
        command("approve", "@WHO", "let somebody in who asks", |app, name| ask_requests(app, Some((name, true)))),
        command("refuse", "@WHO", "do not let somebody in who asks; they are told", |app, name| {
            ask_requests(app, Some((name, false)));
        }),
        command("leave", "", "leave this group", |app, _| {
            if let Some(group) = open_group(app) {
                app.ask_yes(Question::Leave(group));
            }
        }),
    ];

const fn in_details(name: &'static str, keys: &'static str, help: &'static str, run: fn(&mut App)) -> Action {
    key(name, Place::Details, keys, help, run)
}

/// Invites contacts, each named with `@`, into the group that is open.
pub(super) fn invite(app: &mut App, names: &str) {
    let Some(group) = open_group(app) else { return };
    if let Some(accounts) = contacts(app, names) {
        app.invite_into(group, accounts);
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
        app.change(Decline { group, block: None });
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
    match ROLES.into_iter().find(|role| role.as_str() == word) {
        Some(role) => {
            if let Some((group, account)) = member(app, name.trim()) {
                app.change(SetRole { group, account, role });
            }
        }
        None => app.warn("Usage: /role @WHO owner, admin, moderator, member or reader".into()),
    }
}

fn unban(app: &mut App, name: &str) {
    let Some(group) = open_group(app) else { return };
    let name = name.trim_start_matches('@');
    let is_meant = |known: &str| starling_text::same(known, name);
    let banned = app.directory.group(&group).and_then(|g| {
        let mut banned = g.banned.iter();
        let found = banned.find(|b| b.account.as_str() == name || b.name.as_deref().is_some_and(is_meant));
        found.map(|b| b.account.clone())
    });
    match banned {
        Some(account) => app.change(Unban { group, account }),
        None => app.warn(format!("{name} is not banned from this group.")),
    }
}

fn set(app: &mut App, line: &str) {
    let Some(group) = open_group(app) else { return };
    match settings(group, line) {
        Some(wanted) => {
            if wanted.pin.is_some() || wanted.call.is_some() || wanted.lifetime.is_some() {
                app.say("This is kept for later versions: nothing follows from it yet.".into());
            }
            app.change(wanted);
        }
        None => app.warn(
            "Usage: /set post, invite, remove, delete, settings, mention-all or comment ROLE; /set slow-mode SECONDS; \
             /set history yes or no. Kept for later versions: pin or call ROLE, lifetime SECONDS"
                .into(),
        ),
    }
}

/// What a line asks to be set in a group: what, and its value.
fn settings(group: ChatId, line: &str) -> Option<Set> {
    let (what, value) = line.trim().split_once(' ')?;
    let value = value.trim();
    let mut wanted = Set { group, ..Set::default() };
    let role = || ROLES.into_iter().find(|role| role.as_str() == value);
    let seconds = || value.parse().ok();
    match what.replace('_', "-").as_str() {
        "post" => wanted.post = Some(role()?),
        "invite" => wanted.invite = Some(role()?),
        "remove" => wanted.remove = Some(role()?),
        "pin" => wanted.pin = Some(role()?),
        "delete" => wanted.delete = Some(role()?),
        "settings" => wanted.settings = Some(role()?),
        "mention-all" => wanted.mention_all = Some(role()?),
        "call" => wanted.call = Some(role()?),
        "comment" => wanted.comment = Some(role()?),
        "slow-mode" => wanted.slow_mode = Some(seconds()?),
        "lifetime" => wanted.lifetime = Some(seconds()?),
        "history" if value == "yes" || value == "no" => wanted.history = Some(value == "yes"),
        _ => return None,
    }
    Some(wanted)
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

fn make_link(app: &mut App, line: &str) {
    let Some(group) = open_group(app) else { return };
    let mut wanted = NewLink { group, ..NewLink::default() };
    for word in line.split_whitespace() {
        match (word, word.parse()) {
            ("approval", _) => wanted.approval = Some(true),
            (_, Ok(uses)) => wanted.uses = Some(uses),
            _ => return app.warn("Usage: /grouplink, /grouplink 10, /grouplink approval".into()),
        }
    }
    app.ask(wanted, Answer::GroupLink);
}

/// Asks who asks to be let in; one of them may be named, with whether they are let in.
fn ask_requests(app: &mut App, named: Option<(&str, bool)>) {
    let Some(group) = open_group(app) else { return };
    let named = named.map(|(name, approves)| (name.trim_start_matches('@').trim().to_owned(), approves));
    // Who was refused can be let in all the same.
    let refused = named.as_ref().is_some_and(|(_, approves)| *approves).then_some(true);
    app.ask(Requests { group: group.clone(), refused }, move |asking| Answer::JoinRequests(group, named, asking));
}

impl App {
    /// Lets somebody in who asks, or does not.
    pub fn decide_join(&mut self, group: ChatId, name: &str, approves: bool, asking: &[JoinRequest]) {
        let is_meant =
            |request: &&JoinRequest| request.account.as_str() == name || starling_text::same(&request.name, name);
        let found: Vec<&JoinRequest> = asking.iter().filter(is_meant).collect();
        match (found.as_slice(), approves) {
            ([one], true) => self.change(Approve { group, account: one.account.clone() }),
            ([one], false) => self.change(Refuse { group, account: one.account.clone() }),
            ([], _) => self.warn(format!("{name} does not ask to be let into this group.")),
            // Anybody can call themselves anything.
            _ => self.warn(format!("Several who ask are called {name}: name the account, see /requests.")),
        }
    }
}

fn make(app: &mut App, line: &str, kind: ChatKind) {
    let (name, who) = line.split_once(" @").unwrap_or((line, ""));
    let who = if who.is_empty() { String::new() } else { format!("@{who}") };
    if let Some(accounts) = contacts(app, &who) {
        app.change(New { name: name.trim().to_owned(), kind: Some(kind), invite: Some(accounts), ..New::default() });
    }
}

/// The accounts of contacts, each named with `@`. Warns if one is none.
fn contacts(app: &mut App, names: &str) -> Option<Vec<AccountId>> {
    let mut accounts = Vec::new();
    for name in names.split('@').map(str::trim).filter(|name| !name.is_empty()) {
        match app.directory.contacts.iter().find(|c| starling_text::same(&c.name, name)) {
            Some(contact) => accounts.push(contact.account.clone()),
            None => {
                let asks = app.directory.asks(name).then(|| contact_asks_on_screen(name));
                app.warn(asks.unwrap_or_else(|| format!("There is no contact {name}.")));
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
