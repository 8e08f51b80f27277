use std::time::Duration;

use ratatui::crossterm::event::KeyCode;
use serde_json::{Value, json};
use starling_control::objects::{AuditAction, AuditEntry, AuditLog, ChatId, Group};

use super::{
    app::{App, Focus},
    requests::Answer,
    testing::{answer_chats, answer_contacts, app, calls, object, objects, press, screen},
};
use crate::local_time::in_zone;

/// A community with two channels, one that only says that it is a channel of it, and a group.
fn groups() -> Vec<Group> {
    let channel = |id: &str| json!({ "id": id, "name": null, "lowest": "reader" });
    objects([
        json!({ "id": "k", "name": "club", "kind": "community", "standing": "member",
            "channels": [channel("k1"), channel("k2")] }),
        json!({ "id": "k1", "name": "releases", "kind": "channel", "community": "k", "standing": "member" }),
        json!({ "id": "k2", "name": "talk", "kind": "group", "community": "k", "standing": "member" }),
        json!({ "id": "f", "name": "forged", "kind": "group", "community": "k", "standing": "member" }),
        json!({ "id": "g", "name": "ops", "kind": "group", "standing": "member" }),
    ])
}

fn listed(more: [(&str, Value); 2]) -> [Value; 6] {
    let chat = |id: &str, kind: &str, name: &str| {
        let mut chat = json!({ "id": id, "kind": kind, "name": name });
        for (_, given) in more.iter().filter(|(of, _)| *of == id) {
            chat.as_object_mut().unwrap().extend(given.as_object().unwrap().clone());
        }
        chat
    };
    [
        chat("c1", "direct", "bob"),
        chat("k", "community", "club"),
        chat("k1", "channel", "releases"),
        chat("k2", "group", "talk"),
        chat("f", "group", "forged"),
        chat("g", "group", "ops"),
    ]
}

const PLAIN: [(&str, Value); 2] = [("", Value::Null), ("", Value::Null)];

/// The list of chats has the focus.
fn in_list() -> App {
    let mut app = app();
    answer_contacts(&mut app, [json!({ "account": "b", "chat": "c1", "name": "bob" })]);
    app.answer(Answer::Groups(Ok(groups())));
    answer_chats(&mut app, listed(PLAIN));
    app.open(&"c1".into());
    app.panes.focus = Focus::List;
    calls(&mut app);
    app
}

/// Chooses the row of a chat.
fn choose(app: &mut App, chat: &str) {
    let wanted = ChatId::from(chat);
    let row = app.panes.list.rows().iter().position(|row| row.chat() == Some(&wanted));
    assert!(app.panes.list.choose(row.expect("it is listed")));
}

/// Whether some words are on the screen one below the other.
fn is_below(app: &mut App, words: [&str; 2]) -> bool {
    let shown = screen(app, 80, 24);
    let row = |word: &str| shown.lines().position(|line| line.contains(word)).expect(word);
    row(words[0]) < row(words[1])
}

#[test]
fn channels_stand_below_their_community_unless_they_only_say_so() {
    let mut app = in_list();
    let shown = screen(&mut app, 80, 24);
    assert!(shown.contains(" - ◇ club") && shown.contains("     » releases"), "{shown}");
    assert!(shown.contains("   # forged") && !shown.contains("     # forged"), "{shown}");
    assert!(!shown.contains("club/"), "{shown}");
}

#[test]
fn a_community_is_folded_on_all_devices_and_shows_what_is_unread_in_it() {
    let mut app = in_list();
    choose(&mut app, "k");
    press(&mut app, KeyCode::Char('h'));
    assert_eq!(calls(&mut app), ["chat.set"]);
    let folded = [("k", json!({ "folded": true, "unread": 1 })), ("k1", json!({ "unread": 6 }))];
    answer_chats(&mut app, listed(folded));
    let shown = screen(&mut app, 80, 24);
    assert!(shown.contains("+ ◇ club") && !shown.contains("releases"), "{shown}");
    assert!(shown.lines().any(|line| line.contains("club") && line.contains(" 7")), "{shown}");
    // It is found all the same, and seen while it is open.
    app.show_palette();
    assert!(screen(&mut app, 80, 24).contains("club/releases"));
    press(&mut app, KeyCode::Esc);
    app.panes.focus = Focus::Composer;
    app.open(&"k1".into());
    assert!(screen(&mut app, 80, 24).contains("     » releases"));
    calls(&mut app);
    app.command("/fold");
    assert_eq!(calls(&mut app), ["chat.set"], "the community of the channel");
    assert!(screen(&mut app, 80, 24).contains(" - ◇ club"));
}

#[test]
fn chats_are_moved_by_hand_and_sorted_by_activity_again() {
    let mut app = in_list();
    assert!(is_below(&mut app, ["◇ club", "# ops"]));
    choose(&mut app, "g");
    press(&mut app, KeyCode::Char('K'));
    assert!(is_below(&mut app, ["◇ club", "# ops"]) && is_below(&mut app, ["# ops", "# forged"]));
    press(&mut app, KeyCode::Char('K'));
    assert_eq!(calls(&mut app), ["chats.arrange"; 2]);
    assert!(is_below(&mut app, ["# ops", "◇ club"]) && is_below(&mut app, ["◇ club", "» releases"]));
    assert_eq!(app.panes.list.rows()[app.panes.list.at()].chat(), Some(&"g".into()), "it is still chosen");
    press(&mut app, KeyCode::Char('J'));
    press(&mut app, KeyCode::Char('J'));
    press(&mut app, KeyCode::Char('J'));
    assert!(is_below(&mut app, ["# forged", "# ops"]));
    calls(&mut app);
    app.open(&"g".into());
    calls(&mut app);
    app.command("/move top");
    assert!(is_below(&mut app, ["# ops", "◇ club"]));
    app.command("/sort activity");
    assert_eq!(calls(&mut app), ["chats.arrange"; 2]);
    assert!(is_below(&mut app, ["◇ club", "# ops"]));
    app.command("/move sideways");
    assert!(app.toast.as_ref().is_some_and(|toast| toast.is_warning));
}

#[test]
fn a_chat_is_put_into_a_folder_that_can_be_folded() {
    let mut app = in_list();
    app.open(&"g".into());
    calls(&mut app);
    app.command("/folder work");
    assert_eq!(calls(&mut app), ["chat.set"]);
    answer_chats(&mut app, listed([("g", json!({ "folder": "work", "unread": 2 })), PLAIN[0].clone()]));
    assert!(is_below(&mut app, [" - work", "# ops"]) && is_below(&mut app, ["# ops", "Direct"]));
    app.open(&"c1".into());
    app.panes.focus = Focus::List;
    app.relist();
    assert!(app.panes.list.choose(0));
    calls(&mut app);
    press(&mut app, KeyCode::Enter);
    assert_eq!(calls(&mut app), ["screen.set"]);
    let shown = screen(&mut app, 80, 24);
    assert!(shown.contains("+ work") && !shown.contains("# ops"), "{shown}");
    // Pinned with one key.
    choose(&mut app, "k2");
    press(&mut app, KeyCode::Char('p'));
    assert_eq!(calls(&mut app), ["chat.set"]);
}

#[test]
fn the_order_does_not_flicker_while_much_is_written() {
    let mut app = in_list();
    app.panes.focus = Focus::Composer;
    for turn in 0..20 {
        let mut chats = listed(PLAIN);
        chats[4..].rotate_left((turn + 1) % 2);
        answer_chats(&mut app, chats);
    }
    let mut chats = listed(PLAIN);
    chats[4..].rotate_left(1);
    answer_chats(&mut app, chats);
    assert!(is_below(&mut app, ["# forged", "# ops"]));
    let wakes = app.wakes_at().expect("it is looked at again");
    assert!(wakes <= std::time::Instant::now() + Duration::from_secs(2));
}

#[test]
fn a_group_that_has_to_let_us_in_is_listed_as_waiting() {
    let mut app = in_list();
    let mut all = groups();
    all.push(object(json!({ "id": "w", "name": "closed", "standing": "asked" })));
    app.answer(Answer::Groups(Ok(all)));
    let shown = screen(&mut app, 80, 24);
    assert!(shown.contains("Waiting") && shown.contains("… #closed"), "{shown}");
    app.open_row(1);
    assert!(screen(&mut app, 80, 24).contains("Your request to be let into #closed waits"));
}

#[test]
fn the_audit_log_and_requests_have_local_times() {
    let mut app = in_list();
    app.open(&"g".into());
    let at = crate::rpc::rfc3339(1_700_000_000_000);
    let entry =
        AuditEntry { at: at.clone().into(), by: "b".into(), action: AuditAction::Made, ..AuditEntry::default() };
    app.answer(Answer::Audit("g".into(), Ok(AuditLog { complete: true, missing: 0, entries: vec![entry] })));
    in_zone("JST-9", || {
        app.show_audit();
        let shown = screen(&mut app, 80, 24);
        assert!(shown.contains("15 November 2023") && shown.contains("07:13  bob made the group"), "{shown}");
        press(&mut app, KeyCode::Esc);
        let asks = object(json!({ "account": "x", "name": "xenia", "at": at }));
        app.show_join_requests(&[asks], &"g".into());
        assert!(screen(&mut app, 80, 24).contains("15 November 2023 07:13"));
    });
}
