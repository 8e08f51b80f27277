//! The screen itself.

use super::{
    super::{
        app::{App, Effect},
        palette::Question,
        panes::DETAILS_FROM,
        theme::{THEMES, Theme},
    },
    Action, Place, command, key,
};

pub const ACTIONS: &[Action] = &[
    command("theme", "NAME", "dark, light, contrast, terminal or mono", set_theme),
    key("details", Place::Everywhere, "F5", "details of this chat", toggle_details).or_command(
        "details",
        "",
        "details of this chat",
        |app, _| toggle_details(app),
    ),
    key("help", Place::Everywhere, "F1", "all keys and commands; type to filter, Enter runs", App::show_help)
        .or_command("help", "", "all keys and commands", |app, _| app.show_help()),
    key("quit", Place::Everywhere, "", "leave Starling", quit)
        .or_command("quit", "", "leave Starling", |app, _| quit(app)),
    key("palette", Place::Everywhere, "F2 Ctrl-P", "find a chat, a person, a command, a setting", App::show_palette),
    key("next-pane", Place::Everywhere, "F6", "next pane", App::next_pane),
    key("go-on", Place::Panes, "Tab", "completes what is written, or goes to the next pane", App::next_pane),
    key("back", Place::Panes, "Esc", "between the composer and the messages; ends a reply or an edit", App::go_back),
    key("interrupt", Place::Everywhere, "Ctrl-C", "clears the draft, closes a popup, asks to quit", App::interrupt),
    key("redraw", Place::Always, "Ctrl-L", "draw the screen again", |app| app.effects.push(Effect::Redraw)),
    key("send", Place::Composer, "Enter Ctrl-Enter", "send what is written", App::submit),
    key("new-line", Place::Composer, "Ctrl-J Alt-Enter Shift-Enter", "a new line", |app| app.chat.composer.new_line()),
    key("editor", Place::Everywhere, "", "write in $EDITOR; Ctrl-X Ctrl-E does it, too", App::write_in_editor),
    key("page-up", Place::Everywhere, "PageUp", "one page up", |app| app.scroll_pages(-1)),
    key("page-down", Place::Everywhere, "PageDown", "one page down", |app| app.scroll_pages(1)),
];

fn set_theme(app: &mut App, name: &str) {
    match Theme::named(name) {
        Some(theme) => app.set_theme(theme),
        None => app.warn(format!("The themes are {}.", THEMES.join(", "))),
    }
}

fn toggle_details(app: &mut App) {
    app.panes.details = Some(app.panes.layout.details.is_none());
    if app.panes.layout.width < DETAILS_FROM {
        app.say(format!("Details need a window of {DETAILS_FROM} columns."));
    }
}

fn quit(app: &mut App) {
    app.ask_yes(Question::Quit);
}
