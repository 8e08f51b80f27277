use ratatui::{
    Terminal,
    backend::TestBackend,
    crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers},
};
use serde_json::{Value, json};
use starling_node::{Clock, EventId, MessageId};

use super::{
    actions::Keys,
    app::{App, Call, Tag},
    config::Config,
    model::{CallStats, wire},
    panes,
    theme::Theme,
};

fn message(n: u64, mine: bool, text: &str) -> Value {
    let id = MessageId(EventId { clock: Clock(n), device: [1; 8], sequence: n });
    json!({ "id": id.to_string(), "from": { "self": mine, "name": "bob" }, "text": text, "state": "delivered",
        "sent_at": crate::rpc::rfc3339(1_700_000_000_000 + n * 60_000), "via": "direct", "reactions": [] })
}

fn app() -> App {
    let config = Config::default();
    let mut app = App::new(config, Keys::profile("default").unwrap(), Theme::named("mono").unwrap());
    app.answer(Tag::Kept, Ok(Value::Null));
    app.answer(
        Tag::Status,
        Ok(json!({ "name": "alice", "account": "a", "peers": { "direct": 1, "relayed": 0 },
        "rendezvous": [{ "own": true, "registered": true }] })),
    );
    app.answer(Tag::Contacts, Ok(json!([
        { "account": "b", "chat": "c1", "name": "bob", "own_name": "bob", "state": "active", "presence": "online", "path": "direct",
          "safety_number": "12345 12345 12345 12345 12345 12345 12345 12345 12345 12345 12345 12345", "devices": ["d"] },
        { "account": "c", "chat": "c2", "name": "Ελένη with a very long name 🦜🦜🦜 and more", "state": "active" } ])));
    app.answer(
        Tag::Chats,
        Ok(json!([
        { "id": "c1", "unread": 0, "read_clock": 0, "cipher": "MLS" }, { "id": "c2", "unread": 12, "pinned": true } ])),
    );
    app.answer(
        Tag::Load("c1".into()),
        Ok(json!([
            message(1, false, "hello **there**"),
            message(2, true, "```rust\nfn main() {}\n```"),
            message(3, false, "שלום 🦜 مرحبا"),
        ])),
    );
    app
}

fn screen(app: &mut App, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| panes::draw(app, frame)).unwrap();
    terminal.backend().to_string()
}

fn press(app: &mut App, code: KeyCode) {
    app.key(&KeyEvent::new(code, KeyModifiers::NONE));
}

fn calls(app: &mut App) -> Vec<&'static str> {
    let name = |call: Call| {
        if let Call::Rpc { method, .. } = call { method } else { "other" }
    };
    std::mem::take(&mut app.calls).into_iter().map(name).collect()
}

#[test]
fn every_size_is_drawn() {
    let mut app = app();
    for (width, height) in [(80, 24), (200, 50), (59, 20), (20, 6), (5, 2), (1, 1), (300, 100)] {
        screen(&mut app, width, height);
    }
    let shown = screen(&mut app, 80, 24);
    for text in ["bob", "hello there", "fn main() {}", "online", "12", "✓✓", "Starling · alice"] {
        assert!(shown.contains(text), "“{text}” is missing:\n{shown}");
    }
    assert!(screen(&mut app, 200, 50).contains("12345 12345 12345 12345"), "details slide in on wide screens");
}

#[test]
fn keys_lead_where_they_say() {
    let mut app = app();
    screen(&mut app, 80, 24);
    calls(&mut app);
    for c in "hi".chars() {
        press(&mut app, KeyCode::Char(c));
    }
    press(&mut app, KeyCode::Enter);
    assert_eq!(calls(&mut app), ["typing", "send"]);
    press(&mut app, KeyCode::Up);
    press(&mut app, KeyCode::Char('e'));
    let shown = screen(&mut app, 80, 24);
    assert!(shown.contains("Only your own"), "{shown}");
    press(&mut app, KeyCode::Char('r'));
    assert!(screen(&mut app, 80, 24).contains("reply to 3"));
    press(&mut app, KeyCode::Esc);
    press(&mut app, KeyCode::F(1));
    for c in "unread".chars() {
        press(&mut app, KeyCode::Char(c));
    }
    press(&mut app, KeyCode::Enter);
    assert_eq!(app.open.as_deref(), Some("c2"));
    app.key(&KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL));
    press(&mut app, KeyCode::Char('y'));
    assert!(app.quit);
}

#[test]
fn an_error_of_the_node_is_shown_and_the_text_is_not_lost() {
    let mut app = app();
    app.answer(
        Tag::Sent("c1".into(), "precious".into()),
        Err(crate::error::CliError::new("refused", 6, "bob is blocked")),
    );
    assert_eq!(app.composer.text(), "precious");
    assert!(screen(&mut app, 80, 24).contains("bob is blocked"));
}

#[test]
fn hostile_names_and_texts_cannot_reach_the_terminal() {
    let mut app = app();
    app.event(&json!({ "type": "message.new", "chat": { "id": "c1" }, "message": message(9, false, "\u{1b}[2J\u{7}\u{202e}x\u{9b}") }));
    app.event(&json!({ "type": "contact.requested", "contact": { "name": "\u{1b}]0;evil\u{7}" } }));
    let shown = screen(&mut app, 80, 24);
    assert!(!shown.chars().any(|c| c != '\n' && c.is_control()) && !shown.contains('\u{202e}'));
}

/// A call, and how far it is.
fn call_is(app: &mut App, id: &str, name: &str, state: &str, outgoing: bool) {
    let call =
        json!({ "id": id, "state": state, "outgoing": outgoing, "video": true, "recording": "no", "recorded": "no" });
    let kind = if state == "ringing" && !outgoing { "call.incoming" } else { "call.state" };
    app.event(&json!({ "type": kind, "chat": { "id": name, "name": name }, "call": call }));
}

#[test]
fn a_key_is_held_to_talk() {
    use ratatui::crossterm::event::KeyEventKind;
    let mut app = app();
    call_is(&mut app, "1", "bob", "connected", true);
    calls(&mut app);
    press(&mut app, KeyCode::F(12));
    press(&mut app, KeyCode::F(12));
    assert_eq!(calls(&mut app), ["call.set"]);
    assert!(screen(&mut app, 80, 24).contains("talking"));
    app.key_released(&KeyEvent::new_with_kind(KeyCode::F(12), KeyModifiers::NONE, KeyEventKind::Release));
    assert_eq!(calls(&mut app), ["call.set"]);
    assert!(screen(&mut app, 80, 24).contains("mic off"));
    // A terminal that tells of no release: it ends when the key is no longer repeated, or one looks elsewhere.
    press(&mut app, KeyCode::F(12));
    assert!(app.wakes_at().is_some());
    app.talk_until = Some(std::time::Instant::now());
    app.tick();
    assert_eq!(calls(&mut app), ["call.set", "call.set"]);
    press(&mut app, KeyCode::F(12));
    app.focus_changed(false);
    assert!(app.talk_until.is_none());
}

#[test]
fn a_call_is_drawn_at_every_size() {
    let mut app = app();
    for (state, outgoing) in [("ringing", false), ("ringing", true), ("connected", true), ("interrupted", true)] {
        call_is(&mut app, "1", "Ελένη with a very long name 🦜🦜🦜 and more", state, outgoing);
        for view in [false, true] {
            app.call_view = view;
            for (width, height) in [(80, 24), (200, 50), (20, 5), (59, 20), (5, 2), (1, 1), (300, 100)] {
                screen(&mut app, width, height);
            }
        }
    }
}

#[test]
fn a_second_call_waits_and_is_taken() {
    let mut app = app();
    call_is(&mut app, "1", "bob", "connected", true);
    call_is(&mut app, "2", "Ελένη", "ringing", false);
    let shown = screen(&mut app, 80, 24);
    assert!(shown.contains("Ελένη calls, too") && shown.contains("/switch"), "{shown}");
    calls(&mut app);
    app.command("/switch");
    assert!(calls(&mut app).contains(&"call.answer"));
    call_is(&mut app, "2", "Ελένη", "connecting", false);
    call_is(&mut app, "2", "Ελένη", "connected", false);
    assert_eq!(app.call.as_ref().map(|c| c.id.as_str()), Some("2"));
    // Over: the first is there again.
    call_is(&mut app, "2", "Ελένη", "ended", false);
    assert_eq!(app.call.as_ref().map(|c| c.id.as_str()), Some("1"));
    call_is(&mut app, "1", "bob", "ended", true);
    assert!(app.call.is_none() && app.other_calls.is_empty());
}

#[test]
fn a_recording_is_asked_for_and_seen() {
    let mut app = app();
    let event = |recording: &str, recorded: &str| {
        let call =
            json!({ "id": "1", "state": "connected", "outgoing": true, "recording": recording, "recorded": recorded });
        json!({ "type": "call.state", "chat": { "id": "c1", "name": "bob" }, "call": call })
    };
    app.event(&event("no", "asked"));
    let shown = screen(&mut app, 80, 24);
    assert!(shown.contains("bob asks to record") && shown.contains("/record yes"), "{shown}");
    calls(&mut app);
    app.command("/record yes");
    assert_eq!(calls(&mut app), ["call.consent"]);
    app.event(&event("no", "yes"));
    assert!(screen(&mut app, 80, 24).contains("● REC"));
    app.event(&event("yes", "no"));
    assert!(screen(&mut app, 80, 24).contains("● REC"));
    app.command("/record stop");
    assert_eq!(calls(&mut app), ["call.record"]);
    app.event(&event("no", "no"));
    assert!(!screen(&mut app, 80, 24).contains("REC"));
}

#[test]
fn text_from_others_is_shown_and_not_obeyed_wherever_it_stands() {
    let evil = "x\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}y";
    let mut app = app();
    app.answer(
        Tag::Contacts,
        Ok(json!([{ "account": "b", "chat": "c1", "name": evil, "own_name": format!("{evil}!"),
        "state": evil, "presence": evil, "path": evil, "safety_number": evil, "last_seen": evil, "devices": [evil] }])),
    );
    app.answer(Tag::Chats, Ok(json!([{ "id": "c1", "queued": 3, "problem": evil, "cipher": evil }])));
    app.answer(Tag::Requests, Ok(json!([{ "account": evil, "name": evil, "greeting": evil }])));
    let home = json!({ "own": true, "registered": false, "problem": evil });
    app.answer(Tag::Status, Ok(json!({ "name": evil, "account": evil, "rendezvous": [home] })));
    let mut odd = message(4, false, evil);
    odd["from"]["name"] = evil.into();
    odd["reactions"] = json!([{ "emoji": evil, "self": false }]);
    app.event(&json!({ "type": "message.new", "chat": { "id": "c1" }, "message": odd }));
    let check = |app: &mut App, what: &str| {
        for (width, height) in [(200, 50), (80, 24), (40, 12)] {
            let shown = screen(app, width, height);
            let obeyed = |c: char| c != '\n' && (c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c));
            assert!(!shown.contains(obeyed), "{what}: {shown:?}");
        }
        let bell =
            |call: &Call| matches!(call, Call::Ring(bytes) if bytes.windows(2).any(|w| w == b"\x1b[" || w == b"0;"));
        assert!(!app.calls.iter().any(bell), "{what}: {:?}", app.calls);
    };
    check(&mut app, "the chat");
    app.show_palette();
    check(&mut app, "the palette");
    app.show_request(evil);
    check(&mut app, "a request");
    app.show_verify();
    check(&mut app, "the safety number");
    app.show_devices(&wire::list(&json!([{ "device": evil, "added_at": evil, "connection": evil }]), wire::own_device));
    check(&mut app, "devices");
    for (what, tag, answer) in [
        ("an invite", Tag::Invite, json!({ "link": evil })),
        ("a code", Tag::Code, json!({ "code": evil })),
        ("a link", Tag::Link, json!({ "code": evil, "rendezvous": evil })),
        ("privacy", Tag::Privacy, json!({ "last_seen": evil, "receipts": evil, "typing": evil })),
        ("a hit", Tag::Found(String::new()), json!([odd])),
    ] {
        app.answer(tag, Ok(answer));
        check(&mut app, what);
    }
    app.answer(Tag::Changed, Err(crate::error::CliError::new("refused", 6, evil.to_owned()).hint(evil)));
    check(&mut app, "an error");
    for event in [
        "contact.requested",
        "contact.accepted",
        "contact.key_changed",
        "device.linked",
        "device.removed",
        "node.failed",
    ] {
        app.event(
            &json!({ "type": event, "contact": { "account": evil, "name": evil }, "device": evil, "reason": evil }),
        );
        check(&mut app, event);
    }
    for state in ["ringing", "connected", "ended"] {
        let call = json!({ "id": "1", "state": state, "outgoing": false, "emoji": evil, "trouble": evil, "reason": evil,
            "text": evil, "recording": "no", "recorded": "asked" });
        let kind = if state == "ringing" { "call.incoming" } else { "call.state" };
        app.event(&json!({ "type": kind, "chat": { "id": "c1", "name": evil }, "call": call }));
        for view in [false, true] {
            app.call_view = view;
            check(&mut app, state);
        }
    }
    app.handle_event(&Event::Paste(evil.into()));
    check(&mut app, "a draft");
}

#[test]
fn a_change_while_an_answer_is_on_its_way_is_asked_for_again() {
    let mut app = app();
    calls(&mut app);
    let state = |n: u64, state: &str| {
        let id = message(n, true, "")["id"].clone();
        json!({ "type": "message.state", "chat": { "id": "c1" }, "message": { "id": id }, "state": state })
    };
    app.answer(Tag::Chats, Ok(json!([{ "id": "c1", "queued": 1 }])));
    app.event(&state(2, "sent"));
    assert_eq!(calls(&mut app), ["chats"]);
    // It is delivered before the answer comes, which is from before.
    app.event(&state(2, "delivered"));
    assert!(calls(&mut app).is_empty(), "one at a time");
    app.answer(Tag::Chats, Ok(json!([{ "id": "c1", "queued": 1 }])));
    assert_eq!(calls(&mut app), ["chats"]);
    app.answer(Tag::Chats, Ok(json!([{ "id": "c1", "queued": 0 }])));
    assert!(calls(&mut app).is_empty());
    assert!(!screen(&mut app, 200, 50).contains("to be sent"));
}

#[test]
fn what_happens_while_history_is_on_its_way_is_not_lost() {
    let mut app = app();
    app.load_newest();
    let mut sent = message(2, true, "```rust\nfn main() {}\n```");
    sent["state"] = "queued".into();
    let page = json!([message(1, false, "hello **there**"), sent]);
    app.event(&json!({ "type": "message.new", "chat": { "id": "c1" }, "message": message(9, false, "just now") }));
    let id = sent["id"].clone();
    app.event(&json!({ "type": "message.state", "chat": { "id": "c1" }, "message": { "id": id }, "state": "read" }));
    // The answer is from before both.
    app.answer(Tag::Load("c1".into()), Ok(page));
    let shown = screen(&mut app, 80, 24);
    assert!(shown.contains("just now") && shown.contains("✓✓ read") && !shown.contains('⏳'), "{shown}");
}

#[test]
fn the_header_and_the_call_agree_about_the_way() {
    let mut app = app();
    for (link, peers, route, says) in [
        ("relay", json!({ "direct": 0, "relayed": 1 }), "direct", "direct · 1 peer"),
        ("direct", json!({ "direct": 1, "relayed": 0 }), "relay", "relayed · 1 peer"),
    ] {
        let contact = json!({ "account": "b", "chat": "c1", "name": "bob", "state": "active", "path": link });
        app.answer(Tag::Contacts, Ok(json!([contact])));
        let home = json!({ "own": true, "registered": true });
        app.answer(Tag::Status, Ok(json!({ "name": "alice", "account": "a", "peers": peers, "rendezvous": [home] })));
        call_is(&mut app, "1", "bob", "connected", true);
        app.call_view = true;
        if let Some(call) = &mut app.call {
            call.chat = "c1".into();
            let stats = json!({ "routes": [{ "path": route, "rtt_ms": 20 }] });
            call.stats = CallStats::from_bytes(stats.to_string().as_bytes());
        }
        let shown = screen(&mut app, 80, 24);
        let way = says.split(' ').next().unwrap();
        assert!(shown.contains(says) && shown.contains(&format!("{way} · 20 ms")), "{shown}");
    }
}
