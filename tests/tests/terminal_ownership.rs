//! The screen and its terminal: nothing else writes to it, other programs get it whole, and it is restored on every way out, with what was
//! being written kept.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod terminal;

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use starling_tests::{World, until};
use terminal::Terminal;

const CTRL_C: &str = "\u{3}";
const PAGE_UP: &str = "\u{1b}[5~";
const NEXT_CHAT: &str = "\u{1b}[1;3B";

/// What the screen of a profile has kept so far.
fn kept(world: &World, profile: &str) -> String {
    world.json(profile, &["rpc", "screen.get"]).to_string()
}

#[test]
fn signals_restore_the_terminal_and_keep_the_draft() {
    let world = World::of_friends();
    for (signal, code) in [("TERM", 143), ("HUP", 129), ("INT", 130), ("QUIT", 131)] {
        let mut screen = Terminal::start(&world, "alice", 80, 24);
        screen.sees(" bob ── ");
        screen.type_keys(&format!("before {signal}"));
        screen.sees(&format!("before {signal}"));
        screen.signal(signal);
        assert_eq!(screen.ends(), code, "{signal}");
        assert!(screen.not_restored().is_empty(), "{signal}: {:?}", screen.not_restored());
        let mut again = Terminal::start(&world, "alice", 80, 24);
        again.sees(&format!("› before {signal}"));
        again.type_keys("\u{15}");
        again.sees("write a message");
        again.type_keys("/quit\r");
        again.sees("Leave Starling?");
        again.type_keys("y");
        assert_eq!(again.ends(), 0);
        assert!(again.not_restored().is_empty(), "{:?}", again.not_restored());
    }
}

#[test]
fn the_first_run_restores_the_terminal_when_it_is_ended() {
    let world = World::new();
    let mut screen = Terminal::start(&world, "new", 80, 24);
    screen.sees("What shall it be?");
    screen.signal("TERM");
    assert_eq!(screen.ends(), 143);
    assert!(screen.not_restored().is_empty(), "{:?}", screen.not_restored());
}

#[test]
fn a_passphrase_prompt_that_is_ended_leaves_the_echo_on() {
    let world = World::new();
    let secret = world.dir.path().join("secret");
    fs::write(&secret, "correct horse").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let secret = secret.to_str().unwrap();
    world.json("alice", &["init", "--name", "alice", "--passphrase-file", secret]);
    for (end, code) in [(None, 130), (Some("TERM"), 143), (Some("HUP"), 129)] {
        let mut screen = Terminal::start(&world, "alice", 80, 24);
        screen.sees("Passphrase of profile alice:");
        screen.type_keys("corr");
        match end {
            None => screen.type_keys(CTRL_C),
            Some(signal) => screen.signal(signal),
        }
        assert_eq!(screen.ends(), code);
        assert!(screen.not_restored().is_empty(), "{end:?}: {:?}", screen.not_restored());
        assert!(!screen.text().contains("corr"));
    }
    let mut screen = Terminal::start(&world, "alice", 80, 24);
    screen.sees("Passphrase of profile alice:");
    screen.type_keys("wrong\u{15}correct horsf\u{7f}e\r");
    screen.sees("Nobody here yet.");
}

#[test]
fn a_stopped_screen_gives_the_terminal_back_and_takes_it_again() {
    let world = World::of_friends();
    let mut screen = Terminal::start(&world, "alice", 80, 24);
    screen.sees(" bob ── ");
    screen.type_keys("half");
    screen.sees("› half");
    let taken = |screen: &Terminal| screen.written().matches("\u{1b}[?1049h").count();
    assert_eq!(taken(&screen), 1);
    // There is no shell that could let it go on, so it goes on by itself.
    screen.signal("TSTP");
    screen.waits("the terminal, given back and taken again", |_| taken(&screen) >= 2);
    assert!(screen.written().contains("\u{1b}[?1049l"));
    screen.type_keys(" a thought");
    screen.sees("› half a thought");
}

#[test]
fn nothing_but_the_screen_can_write_to_the_terminal() {
    let world = World::of_friends();
    let screen = Terminal::start(&world, "alice", 80, 24);
    screen.sees(" bob ── ");
    if !starling_tests::can_look_into(screen.pid()) {
        return;
    }
    for fd in [1, 2] {
        let to = fs::read_link(format!("/proc/{}/fd/{fd}", screen.pid())).unwrap();
        assert!(to.ends_with("starling/starling.log"), "{fd}: {}", to.display());
        assert_eq!(fs::metadata(to).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn sound_libraries_do_not_write_over_the_screen() {
    let world = World::of_friends();
    let mut alice =
        Terminal::start_with(&world, "alice", 80, 24, &[("STARLING_AUDIO_IN", ""), ("STARLING_AUDIO_OUT", "")]);
    alice.sees(" bob ── ");
    let bob = Terminal::start(&world, "bob", 80, 24);
    bob.sees(" alice ── ");
    alice.type_keys("/call\r");
    bob.sees("☎ alice · call");
    alice.sees("☎ bob");
    assert!(!alice.written().contains("ALSA"), "{}", alice.text());
}

#[test]
fn drafts_the_open_chat_and_the_place_in_it_survive_a_kill() {
    let world = World::of_friends();
    world.person("carol");
    world.befriend("alice", "carol");
    let place = |text: &str| {
        let lines = text.lines().filter_map(|l| l.split("line ").nth(1)?.split('.').next()?.parse::<u64>().ok());
        lines.collect::<Vec<_>>()
    };
    let lines: String = (1..=120).map(|n| format!("line {n}.\n")).collect();
    assert_eq!(world.send_lines("alice", "@bob", &lines), 0);
    let mut screen = Terminal::start(&world, "alice", 80, 24);
    screen.waits("a chat, and the list", |text| text.contains(" ── ") && text.contains("carol"));
    screen.type_keys("/chat carol\r");
    screen.sees(" carol ── ");
    screen.type_keys("for carol");
    screen.sees("› for carol");
    screen.type_keys("\u{15}/chat bob\r");
    screen.sees("line 120.");
    screen.type_keys("/chat carol\r");
    screen.sees(" carol ── ");
    screen.type_keys("for carol");
    screen.sees("› for carol");
    // The palette leaves the draft alone.
    screen.type_keys("\u{1b}OQ");
    screen.sees("next-unread");
    screen.type_keys("bob\r");
    screen.sees("line 120.");
    screen.type_keys(PAGE_UP);
    screen.type_keys(PAGE_UP);
    screen.waits("older lines", |text| !text.contains("line 120.") && text.contains("line 8"));
    screen.type_keys("for bob");
    let before = screen.sees("› for bob");
    // The place at which it stands now, not one that it has passed.
    let now = place(&before);
    until("everything is kept", || {
        let kept = kept(&world, "alice");
        (kept.contains("for carol") && kept.contains("for bob") && kept.contains("\"place\":[")).then_some(())
    });
    screen.signal("KILL");
    screen.ends();
    drop(screen);
    assert!(!starling_tests::bytes_below(&world.dir.path().join("profiles")).windows(9).any(|w| w == b"for carol"));

    let mut again = Terminal::start(&world, "alice", 80, 24);
    again.sees("› for bob");
    again.waits("the same lines", |text| place(text) == now);
    again.type_keys("\u{1b}OQ");
    again.sees("next-unread");
    again.type_keys("carol\r");
    again.sees("› for carol");
    again.type_keys(NEXT_CHAT);
}

/// An editor whose behaviour is a shell script: `$1` is the file.
fn editor(world: &World, script: &str) -> PathBuf {
    let path = world.dir.path().join("editor");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    path
}

#[test]
fn an_editor_owns_the_terminal_with_its_keys_and_whatever_becomes_of_it_the_draft_is_kept() {
    let world = World::of_friends();
    let path = editor(&world, "exit 0");
    let mut screen =
        Terminal::start_with(&world, "alice", 200, 24, &[("EDITOR", path.to_str().unwrap()), ("VISUAL", "")]);
    screen.sees(" bob ── ");
    screen.type_keys("half a thought");
    screen.sees("› half a thought");
    let edit = "\u{18}\u{5}";
    // One that is no full-screen program: Ctrl-C and Ctrl-\ are its own.
    editor(
        &world,
        "trap 'echo interrupt-is-mine' INT; trap 'echo quit-is-mine' QUIT; echo ready-to-edit\n\
         while ! read -r line; do :; done; echo \"$(cat \"$1\") and $line\" > \"$1\"",
    );
    screen.type_keys(edit);
    screen.sees("ready-to-edit");
    assert!(screen.not_restored().is_empty(), "{:?}", screen.not_restored());
    screen.type_keys(CTRL_C);
    screen.sees("interrupt-is-mine");
    screen.type_keys("\u{1c}");
    screen.sees("quit-is-mine");
    screen.type_keys("the other half\r");
    screen.sees("› half a thought and the other half");

    for (script, says) in [
        ("echo lost > \"$1\"; exit 3", "did not end well"),
        ("stty raw -echo; printf '\\033[?1049h\\033[?25l'; kill -9 $$", "did not end well"),
        ("trap - INT; kill -INT $$", "did not end well"),
        ("rm \"$1\"", "has left no text"),
    ] {
        editor(&world, script);
        // The remark about the one before may still be there: this one has been, when the terminal was taken once more.
        let taken = |screen: &Terminal| screen.written().matches("\u{1b}[?1049h").count();
        let before = taken(&screen);
        screen.type_keys(edit);
        let draft = "› half a thought and the other half";
        // In one picture, which may come in parts.
        let is_back = |text: &str| taken(&screen) > before && text.contains(says) && text.contains(draft);
        screen.waits(&format!("“{says}” and the draft after {script}"), is_back);
        screen.type_keys("\u{c}");
    }
    fs::remove_file(&path).unwrap();
    screen.type_keys(edit);
    screen.sees("cannot be started");

    // Stopped where no shell could let it go on: it goes on by itself.
    editor(&world, "kill -STOP $$; echo went-on > \"$1\"");
    screen.type_keys(edit);
    screen.sees("› went-on");

    // Ended while the editor runs.
    // Its word is another one than that of the first, which is still there when the screen has gone.
    editor(&world, "echo ready-to-be-ended; sleep 1000");
    screen.type_keys(edit);
    screen.sees("ready-to-be-ended");
    screen.signal("TERM");
    assert_eq!(screen.ends(), 143);
    assert!(screen.not_restored().is_empty(), "{:?}", screen.not_restored());
    let again = Terminal::start(&world, "alice", 80, 24);
    again.sees("› went-on");
}

#[test]
fn a_dumb_terminal_and_one_without_a_name_get_the_plain_chat() {
    let world = World::of_friends();
    for term in ["dumb", ""] {
        let mut chat = Terminal::start_with(&world, "alice", 80, 24, &[("TERM", term)]);
        chat.sees("Chat with bob");
        chat.type_keys("in plain lines\r");
        chat.sees("written.");
        chat.type_keys("/quit\r");
        assert_eq!(chat.ends(), 0);
        assert!(!chat.written().contains('\u{1b}'), "{:?}", chat.written());
    }
    world.person("carol");
    world.befriend("alice", "carol");
    let mut chat = Terminal::start_with(&world, "alice", 80, 24, &[("TERM", "dumb")]);
    chat.sees("With whom?");
    chat.type_keys("nobody\r");
    chat.sees("Error:");
    chat.type_keys("carol\r");
    chat.sees("Chat with carol");
}

#[test]
fn a_question_quotes_the_message_that_its_number_means() {
    let world = World::of_friends();
    let mut screen = Terminal::start(&world, "alice", 80, 24);
    screen.sees(" bob ── ");
    for n in 1..=3 {
        screen.type_keys(&format!("thought {n}\r"));
        screen.waits("it", |text| text.contains(&format!("thought {n}")) && text.contains("write a message"));
    }
    let text = screen.text();
    let line = text.lines().find(|l| l.contains("thought 2")).unwrap();
    let number = line.split('│').nth(2).unwrap_or(line).split_whitespace().next().unwrap().to_owned();
    screen.type_keys(&format!("/delete {number}\r"));
    screen.waits("the question, with the message", |text| {
        text.contains("Delete the message for everyone?") && text.contains("“thought 2”")
    });
    screen.type_keys("n");
}
