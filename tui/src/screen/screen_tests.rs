use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};
use serde_json::json;
use starling_control::{
    event::EventKind,
    methods::{
        contacts::{Code, Invitation},
        devices::LinkCode,
        messages::Found,
    },
    objects::{
        Call, CallPhase, CallStats, Consent, DeliveryState, Group, GroupMember, JoinRequest, Message, MessageKey,
        Reaction, RouteStats,
    },
};
use starling_node::{Clock, EventId, MessageId};

use super::{
    actions::Keys,
    app::{App, Effect},
    config::Config,
    model::Draft,
    requests::Answer,
    testing::{
        answer_chats, answer_contacts, answer_newest, answer_status, call_changed, calls, chat, contact, new_message,
        object, objects, press, screen,
    },
    theme::Theme,
};

fn message(n: u64, own: bool, text: &str) -> Message {
    let id = MessageId(EventId { clock: Clock(n), device: [1; 8], sequence: n });
    super::testing::message(id, 1_700_000_000_000 + n * 60_000, own, text)
}

fn app() -> App {
    app_with(json!({}))
}

/// The same, with what was kept from the last run.
fn app_with(kept: serde_json::Value) -> App {
    let config = Config::default();
    let mut app = App::new(config, Keys::profile("default").unwrap(), Theme::named("mono").unwrap());
    app.answer(Answer::Kept(Ok(object(kept))));
    answer_status(&mut app, "alice", json!({ "registered": true }), json!({ "direct": 1 }));
    let number = "12345 12345 12345 12345 12345 12345 12345 12345 12345 12345 12345 12345";
    answer_contacts(
        &mut app,
        [
            json!({ "account": "b", "chat": "c1", "name": "bob", "own_name": "bob", "presence": "online",
                "path": "direct", "safety_number": number, "devices": ["d"] }),
            json!({ "account": "c", "chat": "c2", "name": "Ελένη with a very long name 🦜🦜🦜 and more" }),
        ],
    );
    let chats = [json!({ "id": "c1", "cipher": "MLS" }), json!({ "id": "c2", "unread": 12, "pinned": true })];
    answer_chats(&mut app, chats);
    let messages = vec![
        message(1, false, "hello **there**"),
        message(2, true, "```rust\nfn main() {}\n```"),
        message(3, false, "שלום 🦜 مرحبا"),
    ];
    answer_newest(&mut app, "c1", messages);
    app
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
fn a_safety_number_is_asked_for_when_its_chat_is_opened_and_shown_when_it_is_there() {
    let mut app = app();
    calls(&mut app);
    let chat = "c2".into();
    app.open(&chat);
    assert!(calls(&mut app).contains(&"contacts.find"));
    app.command("/verify");
    let number = "54321 54321 54321 54321";
    assert!(calls(&mut app).is_empty(), "it is on its way");
    assert!(!screen(&mut app, 80, 24).contains("Compare these numbers"));
    app.answer(Answer::Contact(Ok(object(json!({ "account": "c", "chat": "c2", "safety_number": number })))));
    let shown = screen(&mut app, 80, 24);
    assert!(shown.contains("Compare these numbers") && shown.contains("54321  54321"), "{shown}");
    // Later lists come without it, and it stays.
    answer_contacts(&mut app, [json!({ "account": "c", "chat": "c2", "name": "carol" })]);
    assert!(!calls(&mut app).contains(&"contacts.find"));
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
    assert_eq!(app.chat.open, Some("c2".into()));
    app.key(&KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL));
    press(&mut app, KeyCode::Char('y'));
    assert!(app.quit);
}

#[test]
fn an_error_of_the_node_is_shown_and_the_text_is_not_lost() {
    let mut app = app();
    let refused = Err(crate::error::CliError::new("refused", 6, "bob is blocked"));
    app.answer(Answer::Sent("c1".into(), "precious".into(), refused));
    assert_eq!(app.chat.composer.text(), "precious");
    assert!(screen(&mut app, 80, 24).contains("bob is blocked"));
}

/// Two devices of ours, as the node lists them.
fn devices() -> Vec<starling_control::objects::Device> {
    objects([
        json!({ "device": "aaaaaaaaaa", "name": "desk", "system": "linux", "this": true, "rights": "admin",
            "added_at": "2026-01-01T10:00:00Z" }),
        json!({ "device": "bbbbbbbbbb", "name": "phone", "system": "android", "rights": "member",
            "added_at": "2026-02-02T10:00:00Z", "linked_by": "aaaaaaaaaa", "connection": "direct" }),
    ])
}

#[test]
fn devices_are_listed_with_what_they_may_do_and_each_can_be_changed() {
    let mut app = app();
    app.command("/devices");
    assert_eq!(calls(&mut app).last(), Some(&"device.list"));
    app.answer(Answer::Devices(Ok(devices())));
    let shown = screen(&mut app, 200, 50);
    for text in ["desk (aaaaaaaa)", "admin, 2026-01-01, by the phrase, this device", "2026-02-02, by desk (aaaaaaaa)"] {
        assert!(shown.contains(text), "“{text}” is missing:\n{shown}");
    }
    press(&mut app, KeyCode::Down);
    press(&mut app, KeyCode::Enter);
    let shown = screen(&mut app, 80, 24);
    assert!(shown.contains("since 2026-02-02, let in by “desk”"), "{shown}");
    calls(&mut app);
    press(&mut app, KeyCode::Char('a'));
    assert_eq!(calls(&mut app), ["device.rights"]);
    app.show_device(&"bbbbbbbbbb".into());
    press(&mut app, KeyCode::Char('h'));
    assert_eq!(calls(&mut app), ["device.give_history"]);
    // To remove it is asked first, and Enter alone does not.
    app.show_device(&"bbbbbbbbbb".into());
    press(&mut app, KeyCode::Char('r'));
    assert!(screen(&mut app, 80, 24).contains("Remove this device"));
    press(&mut app, KeyCode::Enter);
    assert!(calls(&mut app).is_empty());
    app.show_device(&"bbbbbbbbbb".into());
    press(&mut app, KeyCode::Char('r'));
    press(&mut app, KeyCode::Char('y'));
    assert_eq!(calls(&mut app), ["device.remove"]);
}

/// The question on top has been there for a while.
fn was_seen(app: &mut App) {
    app.layers.find::<super::palette::Palette>().unwrap().was_seen();
}

#[test]
fn an_alarm_about_the_account_stays_until_it_is_closed_and_leads_to_its_devices() {
    let mut app = app();
    for device in ["cccccccccc", "dddddddddd"] {
        app.event(EventKind::DeviceTried { device: device.into(), attempt: "call".into(), contact: None });
    }
    app.say("something else".into());
    let shown = screen(&mut app, 80, 24);
    assert!(shown.contains("Your account") && shown.contains("dddddddd"), "{shown}");
    press(&mut app, KeyCode::Enter);
    assert!(screen(&mut app, 80, 24).contains("dddddddd"), "who was typing has not read it");
    was_seen(&mut app);
    press(&mut app, KeyCode::Char('q'));
    assert!(screen(&mut app, 80, 24).contains("cccccccc"));
    calls(&mut app);
    was_seen(&mut app);
    press(&mut app, KeyCode::Char('d'));
    assert_eq!(calls(&mut app), ["device.list"]);
    // A flood of them is bounded.
    for n in 0..100 {
        app.event(EventKind::DeviceTried {
            device: format!("{:02}cccccccc", n % 50).into(),
            attempt: "call".into(),
            contact: None,
        });
    }
    assert_eq!(app.layers.count::<super::palette::Palette>(|_| true), 8);
}

#[test]
fn only_who_asks_with_a_code_of_this_screen_is_asked_about() {
    let mut app = app();
    let asks = |code: &str| EventKind::DeviceAsks {
        code: code.into(),
        device: "cccccccccc".into(),
        name: "tablet".into(),
        system: "linux".into(),
        same_network: true,
    };
    app.event(asks("1-of-a-command"));
    assert!(!screen(&mut app, 80, 24).contains("tablet"));
    app.answer(Answer::Link(Ok(LinkCode { code: "2-of-the-screen".into(), rendezvous: None })));
    app.event(asks("2-of-the-screen"));
    let shown = screen(&mut app, 80, 24);
    assert!(shown.contains("tablet") && shown.contains("let it in, with all"), "{shown}");
    assert!(shown.contains("from the same network"), "{shown}");
    calls(&mut app);
    // Who is typing when it comes has not answered.
    press(&mut app, KeyCode::Char('y'));
    assert!(calls(&mut app).is_empty());
    was_seen(&mut app);
    press(&mut app, KeyCode::Char('y'));
    assert_eq!(calls(&mut app), ["device.answer"]);
    app.event(EventKind::CodeEnded { code: "2-of-the-screen".into(), used: true });
    app.event(asks("2-of-the-screen"));
    assert!(calls(&mut app).is_empty());
}

#[test]
fn how_far_the_history_is_copied_is_shown_until_it_is_complete() {
    let mut app = app();
    let copy = |state: &str, done: u64| EventKind::DeviceHistory {
        copy: object(json!({ "device": "bbbbbbbbbb", "state": state, "total": 200, "done": done, "copied": done })),
    };
    app.event(copy("copying", 50));
    assert!(screen(&mut app, 80, 24).contains("history: 25 %"));
    calls(&mut app);
    app.event(copy("complete", 200));
    let shown = screen(&mut app, 80, 24);
    assert!(shown.contains("200 messages have come") && !shown.contains("history: "), "{shown}");
    assert!(calls(&mut app).contains(&"history"), "older messages are fetched");
}

#[test]
fn a_draft_goes_to_other_devices_and_comes_from_them() {
    let mut app = app();
    let from_elsewhere = |text: &str| EventKind::ChatDraft { chat: chat("c1", "bob"), text: text.into() };
    for c in "half".chars() {
        press(&mut app, KeyCode::Char(c));
    }
    calls(&mut app);
    app.keep();
    assert!(calls(&mut app).contains(&"chat.draft"));
    // Who writes here is not disturbed, and what was sent elsewhere is gone here, too.
    app.event(from_elsewhere("another thought"));
    assert_eq!(app.chat.composer.text(), "half");
    app.keep();
    calls(&mut app);
    app.event(from_elsewhere(""));
    assert_eq!(app.chat.composer.text(), "");
    app.event(from_elsewhere("from the train"));
    assert_eq!(app.chat.composer.text(), "from the train");
    app.keep();
    assert!(!calls(&mut app).contains(&"chat.draft"), "it is known there");
    // Of a chat that is not open it waits.
    app.event(EventKind::ChatDraft { chat: chat("c2", "carol"), text: "later".into() });
    app.open(&"c2".into());
    assert_eq!(app.chat.composer.text(), "later");
}

#[test]
fn a_draft_that_is_too_long_for_other_devices_stays_whole_and_nothing_of_it_is_shown_there() {
    let long = "half-a-thought-".repeat(100);
    let from_elsewhere = |text: &str| EventKind::ChatDraft { chat: chat("c1", "bob"), text: text.into() };
    let write = |app: &mut App, text: &str| {
        app.chat.composer.set_draft(Draft { text: text.into(), ..Draft::default() });
        app.keep();
    };
    let mut app = app();
    write(&mut app, "half");
    calls(&mut app);
    write(&mut app, &long);
    assert!(calls(&mut app).contains(&"chat.draft"), "what was there before is taken back");
    write(&mut app, &format!("{long}and more"));
    assert!(!calls(&mut app).contains(&"chat.draft"));
    // Whatever is written, sent or cleared elsewhere, both stay.
    for text in ["", "another thought", ""] {
        app.event(from_elsewhere(text));
        assert_eq!(app.chat.composer.text(), format!("{long}and more"));
        app.keep();
        assert!(!calls(&mut app).contains(&"chat.draft"), "{text}");
    }
    // So it is after the next start.
    let mut app = app_with(json!({ "rows": { "open": "c1", "chat:c1": { "text": long } } }));
    assert_eq!(app.chat.composer.text(), long);
    app.event(from_elsewhere("another thought"));
    assert_eq!(app.chat.composer.text(), long);
}

#[test]
fn hostile_names_and_texts_cannot_reach_the_terminal() {
    let mut app = app();
    app.event(new_message("c1", message(9, false, "\u{1b}[2J\u{7}\u{202e}x\u{9b}")));
    app.event(EventKind::ContactRequested { contact: contact("m", "\u{1b}]0;evil\u{7}") });
    let shown = screen(&mut app, 80, 24);
    assert!(!shown.chars().any(|c| c != '\n' && c.is_control()) && !shown.contains('\u{202e}'));
}

/// A call, and how far it is.
fn call_is(app: &mut App, id: &str, name: &str, state: CallPhase, outgoing: bool) {
    let mut call = Call { id: id.into(), state, outgoing, video: true, ..Call::default() };
    call.chat.id = name.into();
    app.event(call_changed(chat(name, name), call));
}

#[test]
fn a_key_is_held_to_talk() {
    use ratatui::crossterm::event::KeyEventKind;
    let mut app = app();
    call_is(&mut app, "1", "bob", CallPhase::Connected, true);
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
    app.calls.talk_until = Some(std::time::Instant::now());
    app.tick();
    assert_eq!(calls(&mut app), ["call.set", "call.set"]);
    press(&mut app, KeyCode::F(12));
    app.focus_changed(false);
    assert!(app.calls.talk_until.is_none());
}

#[test]
fn a_call_is_drawn_at_every_size() {
    let mut app = app();
    for (state, outgoing) in [
        (CallPhase::Ringing, false),
        (CallPhase::Ringing, true),
        (CallPhase::Connected, true),
        (CallPhase::Interrupted, true),
    ] {
        call_is(&mut app, "1", "Ελένη with a very long name 🦜🦜🦜 and more", state, outgoing);
        for view in [false, true] {
            app.calls.is_large = view;
            for (width, height) in [(80, 24), (200, 50), (20, 5), (59, 20), (5, 2), (1, 1), (300, 100)] {
                screen(&mut app, width, height);
            }
        }
    }
}

#[test]
fn a_second_call_waits_and_is_taken() {
    let mut app = app();
    call_is(&mut app, "1", "bob", CallPhase::Connected, true);
    call_is(&mut app, "2", "Ελένη", CallPhase::Ringing, false);
    let shown = screen(&mut app, 80, 24);
    assert!(shown.contains("Ελένη calls, too") && shown.contains("/switch"), "{shown}");
    calls(&mut app);
    app.command("/switch");
    assert!(calls(&mut app).contains(&"call.answer"));
    call_is(&mut app, "2", "Ελένη", CallPhase::Connecting, false);
    call_is(&mut app, "2", "Ελένη", CallPhase::Connected, false);
    assert_eq!(app.calls.shown.as_ref().map(|c| c.wire.id.as_str()), Some("2"));
    // Over: the first is there again.
    call_is(&mut app, "2", "Ελένη", CallPhase::Ended, false);
    assert_eq!(app.calls.shown.as_ref().map(|c| c.wire.id.as_str()), Some("1"));
    call_is(&mut app, "1", "bob", CallPhase::Ended, true);
    assert!(app.calls.shown.is_none() && app.calls.others.is_empty());
}

#[test]
fn a_recording_is_asked_for_and_seen() {
    let mut app = app();
    let event = |recording: Consent, recorded: Consent| {
        let state = CallPhase::Connected;
        let call = Call { id: "1".into(), state, outgoing: true, recording, recorded, ..Call::default() };
        call_changed(chat("c1", "bob"), call)
    };
    app.event(event(Consent::No, Consent::Asked));
    let shown = screen(&mut app, 80, 24);
    assert!(shown.contains("bob asks to record") && shown.contains("/record yes"), "{shown}");
    calls(&mut app);
    app.command("/record yes");
    assert_eq!(calls(&mut app), ["call.consent"]);
    app.event(event(Consent::No, Consent::Yes));
    assert!(screen(&mut app, 80, 24).contains("● REC"));
    app.event(event(Consent::Yes, Consent::No));
    assert!(screen(&mut app, 80, 24).contains("● REC"));
    app.command("/record stop");
    assert_eq!(calls(&mut app), ["call.record"]);
    app.event(event(Consent::No, Consent::No));
    assert!(!screen(&mut app, 80, 24).contains("REC"));
}

#[test]
fn text_from_others_is_shown_and_not_obeyed_wherever_it_stands() {
    let evil = "x\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}y";
    let mut app = app();
    answer_contacts(
        &mut app,
        [json!({ "account": "b", "chat": "c1", "name": evil, "own_name": format!("{evil}!"), "safety_number": evil,
            "last_seen": evil, "devices": [evil] })],
    );
    answer_chats(&mut app, [json!({ "id": "c1", "queued": 3, "problem": evil, "cipher": evil })]);
    let request = json!({ "account": evil, "name": evil, "greeting": evil, "at": evil });
    app.answer(Answer::Requests(Ok(objects([request]))));
    answer_status(&mut app, evil, json!({ "problem": evil }), json!({}));
    let mut odd = message(4, false, evil);
    odd.from.name = Some(evil.into());
    odd.reactions = vec![Reaction { emoji: evil.into(), own: false }];
    app.event(new_message("c1", odd.clone()));
    let check = |app: &mut App, what: &str| {
        for (width, height) in [(200, 50), (80, 24), (40, 12)] {
            let shown = screen(app, width, height);
            let obeyed = |c: char| c != '\n' && (c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c));
            assert!(!shown.contains(obeyed), "{what}: {shown:?}");
        }
        let bell = |effect: &Effect| matches!(effect, Effect::Ring(bytes) if bytes.windows(2).any(|w| w == b"\x1b[" || w == b"0;"));
        assert!(!app.effects.iter().any(bell), "{what}: {:?}", app.effects);
    };
    check(&mut app, "the chat");
    app.show_palette();
    check(&mut app, "the palette");
    app.show_request(&evil.into());
    check(&mut app, "a request");
    app.show_verify();
    check(&mut app, "the safety number");
    app.show_devices(objects([json!({ "device": evil, "name": evil, "added_at": evil })]));
    check(&mut app, "devices");
    let (link, code, home) = (evil.to_owned(), evil.to_owned(), Some(evil.to_owned()));
    let answers = [
        Answer::Invite(Ok(Invitation { link, expires_at: evil.into(), uses: 1 })),
        Answer::Code(Ok(Code { code: code.clone() })),
        Answer::Link(Ok(LinkCode { code, rendezvous: home })),
        Answer::Found(String::new(), Ok(vec![Found { chat: chat("c1", evil), message: odd }])),
        Answer::Changed(Err(crate::error::CliError::new("refused", 6, evil.to_owned()).hint(evil))),
    ];
    for answer in answers {
        let what = format!("{answer:?}");
        app.answer(answer);
        check(&mut app, &what);
    }
    let (who, device, reason) = (contact(evil, evil), evil.into(), evil.to_owned());
    let events = [
        EventKind::ContactRequested { contact: who.clone() },
        EventKind::ContactAccepted { contact: who.clone() },
        EventKind::ContactKeyChanged { contact: who },
        EventKind::DeviceLinked { device },
        EventKind::DeviceRemoved { device: evil.into() },
        EventKind::NodeFailed { reason },
    ];
    for event in events {
        let what = event.name();
        app.event(event);
        check(&mut app, what);
    }
    for state in [CallPhase::Ringing, CallPhase::Connected, CallPhase::Ended] {
        let given = json!({ "id": "1", "emoji": evil, "trouble": evil, "text": evil, "recorded": "asked" });
        app.event(call_changed(chat("c1", evil), Call { state, ..object(given) }));
        for view in [false, true] {
            app.calls.is_large = view;
            check(&mut app, state.as_str());
        }
    }
    app.handle_event(&Event::Paste(evil.into()));
    check(&mut app, "a draft");
}

#[test]
fn a_change_while_an_answer_is_on_its_way_is_asked_for_again() {
    let mut app = app();
    calls(&mut app);
    let state = |n: u64, state: DeliveryState| EventKind::MessageState {
        chat: chat("c1", "bob"),
        message: MessageKey { id: message(n, true, "").id },
        state,
        reason: None,
    };
    answer_chats(&mut app, [json!({ "id": "c1", "queued": 1 })]);
    app.event(state(2, DeliveryState::Sent));
    assert_eq!(calls(&mut app), ["chats"]);
    // It is delivered before the answer comes, which is from before.
    app.event(state(2, DeliveryState::Delivered));
    assert!(calls(&mut app).is_empty(), "one at a time");
    answer_chats(&mut app, [json!({ "id": "c1", "queued": 1 })]);
    assert_eq!(calls(&mut app), ["chats"]);
    answer_chats(&mut app, [json!({ "id": "c1", "queued": 0 })]);
    assert!(calls(&mut app).is_empty());
    assert!(!screen(&mut app, 200, 50).contains("to be sent"));
}

#[test]
fn what_happens_while_history_is_on_its_way_is_not_lost() {
    let mut app = app();
    app.load_newest();
    let mut sent = message(2, true, "```rust\nfn main() {}\n```");
    sent.state = DeliveryState::Queued;
    let id = sent.id.clone();
    let page = vec![message(1, false, "hello **there**"), sent];
    app.event(new_message("c1", message(9, false, "just now")));
    let (message, state) = (MessageKey { id }, DeliveryState::Read);
    app.event(EventKind::MessageState { chat: chat("c1", "bob"), message, state, reason: None });
    // The answer is from before both.
    answer_newest(&mut app, "c1", page);
    let shown = screen(&mut app, 80, 24);
    assert!(shown.contains("just now") && shown.contains("✓✓ read") && !shown.contains('⏳'), "{shown}");
}

#[test]
fn the_header_and_the_call_agree_about_the_way() {
    let mut app = app();
    for (link, peers, route, says, way) in [
        ("relay", json!({ "direct": 0, "relayed": 1 }), "direct", "direct · 1 peer", "direct"),
        ("direct", json!({ "direct": 1, "relayed": 0 }), "relay", "relayed · 1 peer", "through the server"),
    ] {
        answer_contacts(&mut app, [json!({ "account": "b", "chat": "c1", "name": "bob", "path": link })]);
        answer_status(&mut app, "alice", json!({ "registered": true }), peers);
        call_is(&mut app, "1", "bob", CallPhase::Connected, true);
        app.calls.is_large = true;
        if let Some(call) = &mut app.calls.shown {
            call.wire.chat.id = "c1".into();
            let route = RouteStats { path: Some(route.into()), rtt_ms: Some(20.0), ..RouteStats::default() };
            call.stats = CallStats { routes: vec![route], ..CallStats::default() };
        }
        let shown = screen(&mut app, 80, 24);
        assert!(shown.contains(says) && shown.contains(&format!("{way} · 20 ms")), "{shown}");
    }
}

#[test]
fn what_a_server_is_connected_over_is_shown_unless_it_is_quic() {
    let mut app = app();
    let tcp = || json!({ "registered": true, "transport": "tcp", "udp_blocked": true });
    for (home, relayed, says) in [
        (json!({ "registered": true }), 0, "● online  "),
        (json!({ "registered": true, "transport": "quic" }), 0, "● online  "),
        (tcp(), 0, "● online · TCP "),
        (tcp(), 2, "● relayed · TCP "),
        (json!({ "registered": true, "transport": "websocket" }), 0, "● online · WebSocket "),
        (json!({ "registered": true, "transport": "proxy" }), 1, "● relayed · proxy "),
    ] {
        answer_status(&mut app, "alice", home, json!({ "direct": 0, "relayed": relayed }));
        let shown = screen(&mut app, 80, 24);
        assert!(shown.contains(says), "{says}: {shown}");
    }
    answer_status(&mut app, "alice", tcp(), json!({}));
    call_is(&mut app, "1", "bob", CallPhase::Connected, true);
    app.calls.is_large = true;
    if let Some(call) = &mut app.calls.shown {
        call.wire.chat.id = "c1".into();
        let route = RouteStats { path: Some("relay".into()), rtt_ms: Some(20.0), ..RouteStats::default() };
        call.stats = CallStats { routes: vec![route], ..CallStats::default() };
    }
    let shown = screen(&mut app, 80, 24);
    assert!(shown.contains("through the server over TCP · 20 ms"), "{shown}");
    answer_status(&mut app, "alice", json!({ "registered": true, "transport": "proxy" }), json!({}));
    let shown = screen(&mut app, 80, 24);
    assert!(shown.contains("through the proxy and the server · 20 ms"), "{shown}");
}

#[test]
fn commands_about_people_are_about_groups_where_one_is_meant() {
    let mut app = app();
    let member: GroupMember = object(json!({ "account": "b", "name": "Bob Smith", "role": "member" }));
    let banned = json!([{ "account": "e", "name": "Eve" }]);
    let ops = json!({ "id": "g1", "name": "ops", "standing": "member", "role": "owner", "banned": banned });
    let ops = object(ops);
    let dev = object(json!({ "id": "g2", "name": "dev", "standing": "invited" }));
    app.answer(Answer::Groups(Ok(vec![Group { members: vec![member], ..ops }, dev])));
    answer_chats(&mut app, [json!({ "id": "c1", "name": "bob" }), json!({ "id": "g1", "name": "ops" })]);
    answer_contacts(&mut app, [json!({ "account": "b", "chat": "c1", "name": "bob" })]);
    app.open(&"g1".into());
    calls(&mut app);
    let commands = [
        ("/invite @bob", "groups.invite"),
        ("/invite", "invite"),
        ("/accept #dev", "groups.accept"),
        ("/decline #dev", "groups.decline"),
        ("/role @Bob Smith admin", "groups.role"),
        ("/topic what we run", "groups.topic"),
        ("/topic", "groups.topic"),
        ("/rename operations", "groups.rename"),
        ("/remove @Bob Smith", "groups.remove"),
        ("/ban @Bob Smith", "groups.ban"),
        ("/unban @Eve", "groups.unban"),
        ("/set slow-mode 30", "groups.set"),
        ("/set post admin", "groups.set"),
        ("/set history yes", "groups.set"),
        ("/grouplink", "groups.new_link"),
        ("/grouplink 5 approval", "groups.new_link"),
        ("/join starling:anything", "groups.look"),
        ("/requests", "groups.requests"),
        ("/reports", "groups.reports"),
        ("/approve @Frank", "groups.requests"),
        ("/refuse @Frank", "groups.requests"),
    ];
    for (command, method) in commands {
        app.command(command);
        assert_eq!(calls(&mut app), [method], "{command}");
    }
    for command in ["/set post king", "/set colour red", "/set slow-mode soon", "/unban @Bob Smith", "/grouplink soon"]
    {
        app.command(command);
        assert!(calls(&mut app).is_empty(), "{command}");
    }
    for command in ["/role @Bob Smith king", "/role @carol admin", "/remove @carol", "/accept #ops"] {
        app.command(command);
        assert!(calls(&mut app).is_empty(), "{command}");
    }
    let asks = |account: &str| JoinRequest { account: account.into(), name: "Frank".into(), ..JoinRequest::default() };
    for (asking, approves, method) in [
        (vec![asks("f")], true, Some("groups.approve")),
        (vec![asks("f")], false, Some("groups.refuse")),
        (vec![asks("f"), asks("g")], true, None),
        (Vec::new(), true, None),
    ] {
        app.answer(Answer::JoinRequests("g1".into(), Some(("Frank".into(), approves)), Ok(asking)));
        assert_eq!(calls(&mut app), method.into_iter().collect::<Vec<_>>());
    }
    app.open(&"c1".into());
    calls(&mut app);
    app.command("/rename Bobby");
    assert_eq!(calls(&mut app), ["contacts.rename"]);
}
