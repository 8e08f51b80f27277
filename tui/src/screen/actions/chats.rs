//! Finding chats and messages, and arranging chats.

use starling_control::{
    methods::chats::Set,
    objects::{Chat, ChatId},
};

use super::{
    super::{
        app::{App, Focus},
        arranging::Step,
        palette::Question,
    },
    Action, Place, command, key,
};
use crate::{cli::parse_time_span, error::contact_asks_on_screen};

pub const FINDING: &[Action] = &[
    key("search", Place::Everywhere, "F4", "search in this chat", App::show_search).or_command(
        "search",
        "TEXT",
        "find messages in this chat",
        App::search,
    ),
    command("chat", "NAME", "open a chat", |app, name| match app.directory.chat_named(name) {
        Some(chat) => app.open(&chat),
        None => {
            let asking = name.trim_start_matches('@');
            let asks = app.directory.asks(asking).then(|| contact_asks_on_screen(asking));
            app.warn(asks.unwrap_or_else(|| format!("There is no chat with {name}.")));
        }
    }),
    key("next-unread", Place::Everywhere, "F3", "next chat with unread messages", open_next_unread),
    in_list("list-up", "k Up", "chat above", |app| app.panes.list.step(false)),
    in_list("list-down", "j Down", "chat below", |app| app.panes.list.step(true)),
    in_list("list-open", "l Enter Right", "open the chat", |app| app.open_row(app.panes.list.at())),
    in_list("list-fold", "h Left Space", "fold a community or a folder, or unfold it", App::fold_row),
    in_list("list-pin", "p", "keep the chat on top, or no longer", |app| {
        if let Some(chat) = app.chosen_chat() {
            set_of(app, chat, |chat| Set { pinned: Some(!chat.pinned), ..Set::default() });
        }
    }),
    in_list("list-move-up", "K Shift-Up", "move the chat up: it is sorted by hand", |app| app.move_row(Step::Up)),
    in_list("list-move-down", "J Shift-Down", "move the chat down: it is sorted by hand", |app| {
        app.move_row(Step::Down)
    }),
    in_list("list-command", "/", "write a command", begin_command),
    in_list("list-help", "?", "help", App::show_help),
    key("previous-chat", Place::Everywhere, "Ctrl-PageUp Alt-Up", "previous chat", |app| app.step_chat(-1)),
    key("next-chat", Place::Everywhere, "Ctrl-PageDown Alt-Down", "next chat", |app| app.step_chat(1)),
];

pub const ARRANGING: &[Action] = &[
    command("pin", "", "keep this chat on top; again to take it back", |app, _| {
        set(app, |chat| Set { pinned: Some(!chat.pinned), ..Set::default() })
    }),
    command("folder", "NAME", "put this chat into a folder of the list; without a name take it out", |app, name| {
        set(app, |_| Set { folder: Some(name.to_owned()), ..Set::default() });
    })
    .bare(),
    command("move", "up|down|top|bottom", "move this chat in the list, which is sorted by hand then", move_chat),
    command("sort", "hand|activity", "sort what stands beside this chat in the list", sort),
    command("fold", "", "fold the channels of this community in the list, or unfold them", |app, _| {
        if let Some(chat) = chat(app) {
            app.fold_community(&chat);
        }
    }),
    command("mute", "TIME", "no notifications, for 1h, 8h, … or for good", mute).bare(),
    command("unmute", "", "notifications again", |app, _| {
        set(app, |_| Set { muted_until_ms: Some(0), ..Set::default() })
    }),
    command("archive", "", "put this chat out of the way", |app, _| {
        set(app, |chat| Set { archived: Some(!chat.archived), ..Set::default() })
    }),
    command("clear", "", "delete this chat's messages here", |app, _| {
        if let Some(chat) = chat(app) {
            app.ask_yes(Question::Clear(chat));
        }
    }),
];

const fn in_list(name: &'static str, keys: &'static str, help: &'static str, run: fn(&mut App)) -> Action {
    key(name, Place::List, keys, help, run)
}

fn begin_command(app: &mut App) {
    app.panes.focus = Focus::Composer;
    app.chat.composer.set("/");
}

fn open_next_unread(app: &mut App) {
    let unread = app.directory.chats.iter().find(|c| c.unread > 0 && Some(&c.id) != app.chat.open.as_ref());
    match unread.map(|c| c.id.clone()) {
        Some(chat) => app.open(&chat),
        None => app.say("Nothing unread.".into()),
    }
}

/// The open chat. Warns if there is none.
fn chat(app: &mut App) -> Option<ChatId> {
    if !app.has_open() {
        app.warn("Open a chat first.".into());
        return None;
    }
    app.chat.open.clone()
}

/// Changes the open chat.
fn set(app: &mut App, change: impl FnOnce(&Chat) -> Set) {
    if let Some(id) = chat(app) {
        set_of(app, id, change);
    }
}

/// Changes a chat.
fn set_of(app: &mut App, id: ChatId, change: impl FnOnce(&Chat) -> Set) {
    if let Some(change) = app.directory.chat(&id).map(change) {
        app.change(Set { chat: id, ..change });
    }
}

fn move_chat(app: &mut App, to: &str) {
    let step = match to {
        "up" => Step::Up,
        "down" => Step::Down,
        "top" => Step::Top,
        "bottom" => Step::Bottom,
        _ => return app.warn("Usage: /move up, down, top or bottom".into()),
    };
    if let Some(chat) = chat(app) {
        app.move_chat(&chat, step);
    }
}

fn sort(app: &mut App, by: &str) {
    if !matches!(by, "hand" | "activity") {
        return app.warn("Usage: /sort hand or activity".into());
    }
    if let Some(chat) = chat(app) {
        app.sort_beside(&chat, by == "activity");
    }
}

fn mute(app: &mut App, time: &str) {
    let until = match parse_time_span(time) {
        _ if time.is_empty() => Some(u64::MAX / 2),
        Some(ms) => Some(crate::rpc::now_ms() + ms),
        None => None,
    };
    match until {
        Some(until) => set(app, |_| Set { muted_until_ms: Some(until), ..Set::default() }),
        None => app.warn(format!("“{time}” is no time: use 1h, 8h, 2d.")),
    }
}
