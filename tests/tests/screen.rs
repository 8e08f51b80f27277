//! The screen in a terminal of its own: real keys go in, and what a user would see is looked at.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod terminal;

use std::collections::BTreeSet;

use starling_tests::{Process, World};
use terminal::{Terminal, confirm, words_of};

const ENTER: &str = "\r";
const UP: &str = "\u{1b}[A";
const F6: &str = "\u{1b}[17~";
const F2: &str = "\u{1b}OQ";
const CTRL_C: &str = "\u{3}";

#[test]
fn the_first_run_asks_three_things_and_ends_in_an_empty_screen() {
    let world = World::new();
    let mut screen = Terminal::start(&world, "new", 80, 24);
    screen.sees("What shall it be?");
    screen.type_keys(ENTER);
    screen.sees("What shall others call you?");
    screen.type_keys(ENTER);
    screen.sees("A name is needed");
    screen.type_keys("Ålice 🦊\r");
    screen.sees("Where do you want to meet?");
    screen.type_keys("nonsense\r");
    // Keys that come while the answer is waited for go nowhere.
    screen.sees("was asked for its key");
    screen.type_keys("\u{15}");
    screen.type_keys(&format!("{}\r", world.address));
    screen.sees("A passphrase for this device?");
    screen.type_keys("correct\r");
    screen.sees("once more");
    screen.type_keys("korrect\r");
    screen.sees("not the same");
    screen.type_keys("correct\r");
    screen.sees("I have written it down");
    // Nobody can pass without having seen all words.
    screen.resize(30, 8);
    screen.sees("Make the window larger");
    screen.type_keys(ENTER);
    screen.sees("Not yet");
    screen.resize(80, 24);
    screen.sees("I have written it down");
    let words = words_of(&screen.text());
    screen.type_keys(ENTER);
    screen.sees("What is word");
    screen.type_keys("wrong\r");
    screen.sees("not what was shown");
    confirm(&mut screen, &words);
    screen.sees("Nobody here yet.");
    screen.waits("the name", |t| t.contains("Starling · Ålice"));
    screen.type_keys(CTRL_C);
    screen.sees("Leave Starling?");
    screen.type_keys("y");
    assert_eq!(screen.ends(), 0);
}

#[test]
fn the_first_run_makes_a_device_of_an_account_that_there_is() {
    let world = World::new();
    world.person("alice");
    let _daemon = world.daemon("alice");
    let mut command = world.starling("alice");
    let link = Process::start(command.args(["device", "link", "--yes", "--json"]));
    let offered = link.json();
    let (code, home) = (offered["code"].as_str().unwrap(), offered["rendezvous"].as_str().unwrap());
    let mut screen = Terminal::start(&world, "laptop", 40, 12);
    screen.sees("link to my other device");
    screen.type_keys("2");
    screen.sees("What does the other device");
    screen.type_keys("7-no-such-thing\r");
    // Not the code alone, which was typed.
    screen.sees("a short code is a number");
    assert!(!screen.text().contains("A passphrase"));
    screen.type_keys("\u{15}");
    screen.type_keys(&format!("starling device join {code} --rendezvous {home}\r"));
    screen.sees("A passphrase for this");
    screen.type_keys(ENTER);
    screen.sees("Nobody here yet.");
    assert_eq!(world.json("laptop", &["whoami"])["name"], "alice");
    assert!(link.json()["device"].is_string());
}

#[test]
fn the_first_run_says_why_a_rendezvous_registers_nobody_and_asks_for_a_token() {
    let mut world = World::new();
    world.rendezvous = None;
    let only_with_token = [("STARLING_RENDEZVOUS_REGISTRATION_MODE", "invite")];
    world.start_rendezvous_with("/ip4/127.0.0.1/udp/0/quic-v1", &only_with_token);
    let mut screen = Terminal::start(&world, "new", 40, 12);
    screen.sees("What shall it be?");
    screen.type_keys(ENTER);
    screen.sees("What shall others call you?");
    screen.type_keys("alice\r");
    screen.sees("Where do you want to meet?");
    screen.type_keys(&format!("{}\r", world.address));
    screen.sees("A passphrase for this");
    screen.type_keys(ENTER);
    screen.sees("I have written it down");
    let words = words_of(&screen.text());
    screen.type_keys(ENTER);
    confirm(&mut screen, &words);
    screen.sees("A token of its operator");
    screen.waits("the whole reason", |text| text.contains("does not register") && text.contains("ask its operator"));
    screen.type_keys("no-such-token");
    screen.waits("the token", |text| text.contains("› no-such-token") && !text.contains("does not register"));
    screen.type_keys(ENTER);
    screen.waits("an answer", |text| text.contains("does not register") && text.contains("› no-such-token"));
    screen.type_keys("\u{1b}");
    screen.sees("Nobody here yet.");
}

#[test]
fn two_screens_meet_write_reply_edit_and_delete() {
    let world = World::new();
    world.person("alice");
    world.person("bob");
    let mut alice = Terminal::start(&world, "alice", 80, 24);
    let mut bob = Terminal::start(&world, "bob", 200, 50);
    alice.sees("● online");
    bob.sees("Nobody here yet.");
    let link = world.json("alice", &["invite"])["link"].as_str().unwrap().to_owned();
    bob.type_keys(&format!("/add {link}\r"));
    bob.sees("alice ── ");
    alice.sees("bob ── ");
    bob.type_keys("hello **there** :wave:\r");
    alice.sees("hello there 👋");
    bob.sees("✓✓");
    alice.type_keys("/reply 1 and hello to you\r");
    bob.sees("┌ you: hello");
    bob.sees("and hello to you");
    // A draft survives an edit, and an edit is seen by both.
    bob.type_keys("half a thought");
    // By way of the list to the messages: Esc and a key in one breath would be Alt.
    bob.type_keys(F6);
    bob.type_keys(F6);
    bob.type_keys(UP);
    bob.type_keys(UP);
    bob.type_keys("e");
    bob.sees("edit 1");
    bob.type_keys(" again\r");
    alice.sees("again");
    alice.sees("edited");
    bob.waits("the draft", |t| t.contains("› half a thought"));
    bob.type_keys(CTRL_C);
    bob.type_keys("/delete 1\r");
    bob.sees("Delete the message for everyone?");
    bob.type_keys("y");
    alice.waits("the deletion, also in the quotation", |t| {
        t.contains("deleted") && !t.contains("hello there") && t.contains("┌ bob: deleted")
    });
    // The palette finds; a window that shrinks shows one place at a time.
    alice.type_keys(F2);
    alice.sees("next-unread");
    alice.type_keys("theme mono");
    alice.type_keys(ENTER);
    alice.sees("Theme mono.");
    alice.resize(50, 15);
    alice.waits("one place", |t| t.contains("bob ── ") && !t.contains("▸ Direct"));
    // Paste of many lines stays one message and waits for Enter.
    alice.type_keys("\u{1b}[200~one\ntwo\u{1b}[201~");
    alice.waits("the draft", |t| t.contains("› one") && t.contains("two"));
    assert!(!bob.text().contains("two"));
    alice.type_keys(ENTER);
    bob.sees("two");
}

#[test]
fn a_burst_is_shown_in_the_order_in_which_it_was_sent() {
    let world = World::of_friends();
    let mut alice = Terminal::start(&world, "alice", 80, 40);
    alice.sees("bob ── ");
    let lines: String = (501..=520).map(|n| format!("burst {n}\n")).collect();
    assert_eq!(world.send_lines("bob", "@alice", &lines), 0);
    let order = |text: &str| {
        text.split("burst ").skip(1).map(|s| s.get(..3).unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    let expected: Vec<String> = (501..=520).map(|n| n.to_string()).collect();
    // All different: while lines move up, half of a picture has one twice.
    let are_all = |text: &str| order(text).len() == 20 && BTreeSet::from_iter(order(text)).len() == 20;
    let text = alice.waits("all of them", are_all);
    assert_eq!(order(&text), expected, "{text}");
    // What is written at once is in order, too.
    let own = Terminal::start(&world, "bob", 80, 40);
    let text = own.waits("all of them", are_all);
    assert_eq!(order(&text), expected, "{text}");
    alice.type_keys("/quit\r");
}

#[test]
fn a_frozen_rendezvous_is_shown_as_not_answering_until_it_answers_again() {
    let world = World::of_friends();
    let mut screen = Terminal::start(&world, "alice", 120, 36);
    screen.sees("● online");
    let rendezvous = world.rendezvous.as_ref().unwrap();
    rendezvous.signal("STOP");
    // It is asked for something: bob is not there, so this goes to the server.
    screen.type_keys("are you there?\r");
    screen.sees("no server: it d");
    rendezvous.signal("CONT");
    screen.sees("● online");
    screen.waits("what was written is sent", |text| text.contains("are you there?") && !text.contains('⏳'));
}

#[test]
fn hostile_text_is_shown_and_not_obeyed() {
    let world = World::of_friends();
    let alice = Terminal::start(&world, "alice", 80, 24);
    alice.sees("bob ── ");
    for text in
        ["\u{1b}]0;owned\u{7}\u{1b}[2J", "\u{202e}gnp.exe", "a\u{0301}\u{0301}\u{0301}\u{0301}\u{0301}\u{0301}b"]
    {
        world.json("bob", &["send", "@alice", text]);
    }
    world.json("bob", &["send", "@alice", "the end"]);
    let text = alice.sees("the end");
    assert!(text.contains("␛]0;owned␇␛[2J") && text.contains("⍰gnp.exe"), "{text}");
    assert!(text.contains("Starling · alice"), "the screen was not cleared:\n{text}");
}

#[test]
fn a_call_is_answered_by_a_key_while_typing_and_shows_pictures() {
    let world = World::of_friends();
    let _alice = world.daemon("alice");
    let mut screen = Terminal::start(&world, "alice", 100, 30);
    screen.sees("write a message");
    screen.type_keys("half a thou");
    let mut call = world.starling("bob");
    call.args(["call", "start", "@alice", "--json", "--audio-in", "tone", "--audio-out", "none"]);
    call.args(["--video-in", "pattern:320x180@15"]);
    let bob = Process::start(&mut call);
    screen.sees("☎ bob · video call");
    // The keys go on into the draft.
    screen.type_keys("ght");
    screen.sees("half a thought");
    screen.type_keys("\u{1b}[20~");
    bob.wait_for("the connection", |e| e["call"]["state"] == "connected");
    screen.sees("F7 mic");
    // Pictures: many cells of half blocks in many colours.
    screen.waits("pictures", |text| text.matches('▀').count() > 500);
    let colours: std::collections::HashSet<String> = {
        let shown = screen.shown.lock().unwrap();
        let cell = |y: u16, x: u16| format!("{:?}", shown.screen().cell(y, x).unwrap().fgcolor());
        (4..20).flat_map(|y| (30..90).map(move |x| (y, x))).map(|(y, x)| cell(y, x)).collect()
    };
    assert!(colours.len() > 8, "{colours:?}");
    // Small, beside the messages, and away.
    screen.type_keys("\u{1b}[21~");
    screen.waits("the corner", |text| (20..500).contains(&text.matches('▀').count()));
    screen.type_keys("\u{1b}[20~");
    bob.wait_for("the end", |e| e["call"]["state"] == "ended");
    screen
        .waits("its note, and the draft", |text| text.contains("☎ video call, 0:") && text.contains("half a thought"));
}

#[test]
fn a_terminal_is_shared_between_two_screens_and_the_keyboard_handed_over() {
    let world = World::of_friends();
    let mut alice = Terminal::start(&world, "alice", 120, 36);
    let mut bob = Terminal::start(&world, "bob", 100, 30);
    alice.sees("bob ── ");
    bob.sees("alice ── ");
    alice.type_keys("/call\r");
    bob.sees("☎ alice · call");
    bob.type_keys("\u{1b}[20~");
    // The time that it has lasted: the keys are shown before.
    alice.sees("☎ bob 0:");
    bob.sees("☎ alice 0:");
    alice.type_keys("/share sh -c 'echo shared-by-alice; cat'\r");
    bob.sees("shared-by-alice");
    bob.sees("alice's terminal, 80×24");
    alice.sees("SHARED");
    // Read only, until she lets him.
    bob.type_keys("/type not-allowed\r");
    bob.sees("has not handed over the keyboard");
    alice.type_keys("/type typed-by-alice\r");
    bob.sees("typed-by-alice");
    assert!(!bob.text().contains("not-allowed"));
    bob.sees("read only");
    alice.type_keys("/hand\r");
    bob.sees("you may type");
    bob.type_keys("/type typed-by-bob\r");
    // What he typed is what the command was given: it says it again.
    bob.waits("his keys in it", |text| text.matches("typed-by-bob").count() >= 2);
    alice.type_keys("/hand back\r");
    bob.sees("read only");
    alice.type_keys("/share stop\r");
    bob.waits("the end of it", |text| !text.contains("alice's terminal"));
    alice.waits("the end of its mark", |text| !text.contains("SHARED"));
    alice.type_keys("/hangup\r");
    bob.sees("The call is over");
}
