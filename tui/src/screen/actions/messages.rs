//! What is done with a message: the selected one by a key, another by its number.

use starling_control::{
    methods::{groups::Report, messages::Edit},
    objects::{DeliveryState, Via},
};
use starling_node::MessageId;

use super::{
    super::{
        app::{App, Effect, Focus},
        card::Card,
        clock, markup,
        model::{Message, Mode},
        palette::{Palette, Question, Row, Run},
        requests::Answer,
    },
    Action, Place, bindings, command, key,
};
use crate::terminal::safe_line;

pub const ACTIONS: &[Action] = &[
    on_message("up", "k Up", "message above", |app| app.select(-1)),
    on_message("down", "j Down", "message below", |app| app.select(1)),
    on_message("top", "g Home", "oldest message", App::select_first),
    on_message("bottom", "G End", "newest message", App::go_to_newest),
    on_message("reply", "r", "reply to the message", |app| on_selected(app, reply)).or_command(
        "reply",
        "N TEXT",
        "answer message N",
        reply_to_number,
    ),
    on_message("edit", "e", "edit your message", |app| on_selected(app, edit)).or_command(
        "edit",
        "N TEXT",
        "change your message N",
        edit_number,
    ),
    on_message("delete", "d", "delete your message for everyone", |app| on_selected(app, delete)).or_command(
        "delete",
        "N",
        "delete your message N for everyone",
        delete_number,
    ),
    on_message("react", "+", "react with an emoji", |app| on_selected(app, choose_reaction)).or_command(
        "react",
        "N :emoji:",
        "react to message N",
        react_to_number,
    ),
    command("report", "N [REASON]", "report message N to those who moderate this group", report_number),
    on_message("copy", "y", "copy the message's text", |app| {
        on_selected(app, |app, message| app.effects.push(Effect::Copy(message.words().into_owned())));
    }),
    on_message("retry", "R", "send a failed message again", |app| on_selected(app, send_again)),
    on_message("open", "o", "open the message's link", |app| on_selected(app, open_link)),
    on_message("unfold", "x", "show all of a long message", |app| {
        on_selected(app, |app, message| app.chat.timeline.unfold(message.id));
    }),
    on_message("info", "i", "when, how and how far the message came", |app| on_selected(app, show_info)),
    on_message("verify", "v", "compare safety numbers", App::show_verify),
    on_message("go-to-quoted", "q", "go to the message that it answers", |app| {
        on_selected(app, |app, message| match message.reply_to {
            Some(id) => app.go_to(id),
            None => app.say("The message answers no other.".into()),
        });
    }),
    on_message("actions", "Space", "all actions on the message", |app| on_selected(app, show_actions)),
    on_message("compose", "Enter", "back to writing", |app| app.panes.focus = Focus::Composer),
    on_message("filter-help", "?", "help", App::show_help),
];

const NOT_YOURS: &str = "Only your own messages can be changed.";

const fn on_message(name: &'static str, keys: &'static str, help: &'static str, run: fn(&mut App)) -> Action {
    key(name, Place::Timeline, keys, help, run)
}

/// Does something with the selected message; selects the newest if none is.
fn on_selected(app: &mut App, run: fn(&mut App, &Message)) {
    match app.chat.timeline.selected_message().cloned() {
        Some(message) => run(app, &message),
        None => {
            app.select(0);
            if app.chat.timeline.selected.is_none() {
                app.say("There is no message yet.".into());
            }
        }
    }
}

/// The message whose number begins a line, whether it is ours, and what follows. Warns if there is none.
fn numbered<'a>(app: &mut App, line: &'a str) -> Option<(MessageId, bool, &'a str)> {
    if !app.has_open() {
        app.warn("Open a chat first.".into());
        return None;
    }
    let (number, text) = line.split_once(' ').unwrap_or((line, ""));
    let found = number.parse().ok().and_then(|n| app.chat.timeline.by_number(n)).map(|m| (m.id, m.is_own(), text));
    if found.is_none() {
        app.warn(format!("There is no message {number} on the screen: the numbers stand left of each message."));
    }
    found
}

/// The same, if it is ours.
fn own_numbered<'a>(app: &mut App, line: &'a str) -> Option<(MessageId, &'a str)> {
    let (id, own, text) = numbered(app, line)?;
    if !own {
        app.warn(NOT_YOURS.into());
    }
    own.then_some((id, text))
}

fn reply(app: &mut App, message: &Message) {
    app.chat.composer.mode = Mode::Reply(message.id);
    app.panes.focus = Focus::Composer;
}

fn reply_to_number(app: &mut App, line: &str) {
    match numbered(app, line) {
        Some((id, _, "")) => app.chat.composer.mode = Mode::Reply(id),
        Some((id, _, text)) => app.send(text, Some(id)),
        None => {}
    }
}

fn edit(app: &mut App, message: &Message) {
    if !message.is_own() {
        return app.warn(NOT_YOURS.into());
    }
    app.chat.composer.edit(message.id, &message.wire.text);
    app.panes.focus = Focus::Composer;
}

fn edit_number(app: &mut App, line: &str) {
    if let (Some((id, text)), Some(chat)) = (own_numbered(app, line), app.chat.open.clone()) {
        app.change_in_order(Edit { chat, message: id.to_string().into(), text: markup::emoji(text) });
    }
}

fn delete(app: &mut App, message: &Message) {
    match message.is_own() {
        true => app.ask_yes(Question::Delete(message.id)),
        false => app.warn(NOT_YOURS.into()),
    }
}

fn delete_number(app: &mut App, line: &str) {
    if let Some((id, _)) = own_numbered(app, line) {
        app.ask_yes(Question::Delete(id));
    }
}

fn choose_reaction(app: &mut App, _: &Message) {
    let common = ["👍", "❤️", "😂", "😮", "😢", "🎉", "👎"];
    let known = common.iter().filter_map(|e| emojis::get(e));
    let rows = known.chain(emojis::iter().filter(|e| !common.contains(&e.as_str()))).map(|e| {
        let code = e.shortcode().map(|s| format!(":{s}:")).unwrap_or_default();
        Row::new(format!("{e} {}", e.name()), code, "", Run::Emoji(e.as_str().to_owned()))
    });
    app.layers.push(Palette::new("React", rows.collect()));
}

fn react_to_number(app: &mut App, line: &str) {
    if let Some((id, _, emoji)) = numbered(app, line) {
        app.react(id, markup::emoji(emoji.trim()).trim());
    }
}

fn report_number(app: &mut App, line: &str) {
    let Some(group) = app.open_group().map(|chat| chat.id.clone()) else {
        return app.warn("Open a group first.".into());
    };
    match numbered(app, line) {
        Some((_, true, _)) => app.warn("That is your own message.".into()),
        Some((id, false, reason)) => {
            let reason = Some(reason.trim().to_owned()).filter(|reason| !reason.is_empty());
            let said = "It was reported to those who moderate this group.".to_owned();
            let report = Report { group, message: id.to_string().into(), reason };
            app.ask(report, |result| Answer::Said(said, result.map(drop)));
        }
        None => {}
    }
}

fn send_again(app: &mut App, message: &Message) {
    if message.is_own() && message.state() == DeliveryState::Failed {
        app.send(&message.wire.text, message.reply_to);
    } else {
        app.say("The message has not failed.".into());
    }
}

fn open_link(app: &mut App, message: &Message) {
    match markup::links(&message.words()).into_iter().next() {
        Some(link) => app.effects.push(Effect::Open(link)),
        None => app.say("The message has no link.".into()),
    }
}

fn show_info(app: &mut App, message: &Message) {
    let (day, time) = clock::local(message.at_ms);
    let via = match message.wire.via {
        Via::Direct => "came directly",
        Via::Relay => "came through the relay",
        Via::Log => "waited at the rendezvous",
        Via::Copy => "copied from another of your devices",
        Via::Own => "written here",
        Via::Gossip if message.state() == DeliveryState::Failed => "passed on by a member; the log has no place for it",
        Via::Gossip => "passed on by a member; not in the log yet",
        Via::Handed => "from before you came; nobody can check who wrote it",
    };
    let mut lines = vec![String::new(), format!("{day}, {time}"), via.to_owned()];
    if let Some(member) = &message.wire.handed_on_by {
        lines.push(format!("handed on by {}", safe_line(member.name.as_deref().unwrap_or("a member"))));
    }
    if message.is_own() {
        lines.push(format!("state: {}", message.state().as_str()));
    }
    lines.push(format!("id: {}", message.id));
    app.layers.push(Card::new("The message", lines, Some(message.id.to_string())));
}

fn show_actions(app: &mut App, _: &Message) {
    let on_messages = bindings().into_iter().filter(|binding| binding.place == Place::Timeline);
    let rows = on_messages.map(|b| Row::new(b.name, b.help, app.settings.keys.keys_of(b.name), Run::Action(b)));
    let mut palette = Palette::new("On this message", rows.collect());
    palette.filters = false;
    app.layers.push(palette);
}
