//! The screen as a job of a shell: signals that end it, its editor, and stopping both.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod terminal;

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use starling_tests::World;
use terminal::{PROMPT, Terminal};

const EDIT: &str = "\u{18}\u{5}";

fn executable(path: &Path, script: &str) {
    fs::write(path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn every_signal_that_ends_a_process_and_can_be_caught_restores_the_terminal_and_keeps_the_draft() {
    let world = World::of_friends();
    for (signal, code) in
        [("USR1", 138), ("USR2", 140), ("ALRM", 142), ("XCPU", 152), ("ABRT", 134), ("VTALRM", 154), ("40", 168)]
    {
        let mut screen = Terminal::start(&world, "alice", 80, 24);
        screen.sees(" bob ── ");
        screen.type_keys(&format!("\u{15}before {signal}"));
        screen.sees(&format!("› before {signal}"));
        screen.signal(signal);
        assert_eq!(screen.ends(), code, "{signal}");
        assert!(screen.not_restored().is_empty(), "{signal}: {:?}", screen.not_restored());
        // What it has said may be read a moment after its end.
        screen.sees("has ended the program");
        let text = screen.text();
        assert!(text.contains("has ended the program") && !text.contains('_'), "{signal}:\n{text}");
    }
    Terminal::start(&world, "alice", 80, 24).sees("› before 40");
}

#[test]
fn the_editor_is_a_command_of_the_shell_with_quotes_and_arguments() {
    let world = World::of_friends();
    let spaced = world.dir.path().join("my editor");
    executable(&spaced, "test \"$1\" = --flag && test \"$2\" = 'two words' && echo quoted path > \"$3\"");
    let quoted = format!("'{}' --flag \"two words\"", spaced.display());
    for (editor, text) in [(quoted.as_str(), "quoted path"), ("sh -c 'echo a script > \"$0\"'", "a script")] {
        let mut screen = Terminal::start_with(&world, "alice", 80, 24, &[("EDITOR", editor), ("VISUAL", "")]);
        screen.sees(" bob ── ");
        screen.type_keys(EDIT);
        screen.sees(&format!("› {text}"));
    }
}

/// What an editor does that stops itself at Ctrl-Z, as vim does: a mode of its own, left before the stop and set again after it.
const STOPS: &str = "stty raw -echo; printf 'editing\\r\\n'; dd bs=1 count=1 2>/dev/null >/dev/null; stty sane
    kill -TSTP 0; stty raw -echo; printf 'resumed\\r\\n'; dd bs=1 count=1 2>/dev/null >/dev/null; stty sane; echo after-all > \"$1\"";

#[test]
fn an_editor_that_is_stopped_stops_the_screen_and_finds_the_terminal_as_it_left_it() {
    let world = World::of_friends();
    let editor = world.dir.path().join("editor");
    executable(&editor, STOPS);
    let variables = [("EDITOR", editor.to_str().unwrap()), ("VISUAL", "")];
    let mut screen = Terminal::in_shell(&world, "alice", &variables);
    screen.sees(" bob ── ");
    for _ in 0..5 {
        screen.type_keys("\u{15}");
        screen.waits("an empty draft", |text| !text.contains("after-all"));
        // What it has written before is still there when the screen has gone.
        let opened = |screen: &Terminal| screen.written().matches("editing").count();
        let opened_before = opened(&screen);
        screen.type_keys(EDIT);
        screen.waits("the editor", |_| opened(&screen) > opened_before);
        let prompts = |screen: &Terminal| screen.written().matches(PROMPT).count();
        let resumed = |screen: &Terminal| screen.written().matches("resumed").count();
        let (prompts_before, resumed_before) = (prompts(&screen), resumed(&screen));
        screen.type_keys("z");
        screen.waits("the shell", |_| prompts(&screen) > prompts_before);
        assert_eq!(resumed(&screen), resumed_before, "it goes on while it is stopped");
        screen.type_keys("fg\r");
        screen.waits("the editor", |_| resumed(&screen) > resumed_before);
        let wrong = screen.not_restored();
        assert!(wrong.contains(&"raw mode") && wrong.contains(&"no echo"), "not its mode any more: {wrong:?}");
        screen.type_keys("x");
        screen.sees("› after-all");
    }
}
