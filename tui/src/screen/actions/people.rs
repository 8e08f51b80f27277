//! Meeting people, and what is said and done about them.

use starling_control::{
    methods::contacts::{Invite, OpenCode, Rename, Unblock},
    objects::AccountId,
};

use super::{
    super::{
        app::{App, Effect},
        palette::{Question, Verdict},
        requests::Answer,
    },
    Action, Place, command, groups, key,
};

pub const ACTIONS: &[Action] = &[
    key("invite", Place::Everywhere, "", "make an invite link", make_invite).or_command(
        "invite",
        "[@WHO…]",
        "make an invite link, or invite contacts into this group",
        |app, names| if names.is_empty() { make_invite(app) } else { groups::invite(app, names) },
    ),
    command("code", "", "make a short code to read out, such as 271828-uniform-quiz", |app, _| {
        app.ask(OpenCode { while_connected: None }, Answer::Code);
    }),
    command("add", "INVITE|CODE|USER@HOST", "add somebody", |app, what| {
        app.effects.push(Effect::Add(what.to_owned()));
        app.say("Adding …".into());
    }),
    command("accept", "NAME|#GROUP", "accept a request, or an invitation into a group", |app, name| {
        if name.starts_with('#') { groups::accept(app, name) } else { answer_request(app, Verdict::Accept, name) }
    }),
    command("decline", "NAME|#GROUP", "decline a request, or an invitation into a group", |app, name| {
        if name.starts_with('#') { groups::decline(app, name) } else { answer_request(app, Verdict::Decline, name) }
    }),
    command("block", "", "shut this person out", |app, _| question(app, Question::Block)),
    command("unblock", "", "let this person in again", |app, _| {
        if let Some(account) = person(app) {
            app.change(Unblock { account });
        }
    }),
    command("remove", "[@WHO]", "remove this contact, or a member of this group", |app, name| {
        if name.is_empty() { question(app, Question::Remove) } else { groups::remove(app, name) }
    }),
    command(
        "rename",
        "NAME",
        "your own name for this person, empty for theirs; in a group its name for all",
        |app, name| {
            if groups::rename(app, name) {
                return;
            }
            if let Some(account) = person(app) {
                app.change(Rename { account, name: name.to_owned() });
            }
        },
    )
    .bare(),
    command("verify", "", "compare safety numbers", |app, _| app.show_verify()),
    command("trust", "", "trust this person's changed devices", |app, _| question(app, Question::Trust)),
];

fn make_invite(app: &mut App) {
    app.ask(Invite::default(), Answer::Invite);
}

/// The account of the person in the open chat. Warns if there is none.
fn person(app: &mut App) -> Option<AccountId> {
    let account = app.open_contact().map(|contact| contact.account.clone());
    if account.is_none() {
        app.warn("Open a chat first.".into());
    }
    account
}

fn question(app: &mut App, about: fn(AccountId) -> Question) {
    if let Some(account) = person(app) {
        app.ask_yes(about(account));
    }
}

fn answer_request(app: &mut App, verdict: Verdict, name: &str) {
    let request = app.directory.requests.iter().find(|r| starling_text::same(&r.name, name));
    match request.map(|r| r.account.clone()) {
        Some(account) => app.answer_request(verdict, account),
        None => app.warn(format!("There is no request from {name}.")),
    }
}
