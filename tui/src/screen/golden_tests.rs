//! Whole screens, compared with what is kept in `snapshots/`. After a change that is meant: look at them, then `INSTA_UPDATE=always`.

use ratatui::{Terminal, backend::TestBackend};
use serde_json::{Value, json};
use starling_node::{Clock, EventId, MessageId};

use super::{
    actions::{self, Keys},
    app::{App, Tag},
    config::Config,
    model::CallStats,
    palette::Question,
    panes,
    theme::Theme,
};

const SIZES: [(u16, u16); 3] = [(80, 24), (200, 50), (40, 12)];

/// A day in 2023, so that no name of a day depends on when the test runs.
const THEN: u64 = 1_700_000_000_000;

fn id(n: u64) -> MessageId {
    MessageId(EventId { clock: Clock::at(THEN + n * 60_000), device: [1; 8], sequence: n })
}

fn message(n: u64, mine: bool, text: &str) -> Value {
    json!({ "id": id(n).to_string(), "from": { "self": mine, "name": "bob" }, "text": text, "state": "delivered",
        "sent_at": crate::rpc::rfc3339(THEN + n * 60_000), "via": "direct", "reactions": [] })
}

fn empty() -> App {
    let config = Config { notify: "off".into(), ..Config::default() };
    let mut app = App::new(config, Keys::profile("default").unwrap(), Theme::named("mono").unwrap());
    app.answer(Tag::Kept, Ok(Value::Null));
    let home = json!({ "own": true, "registered": true });
    app.answer(Tag::Status, Ok(json!({ "name": "alice", "account": "a", "peers": {}, "rendezvous": [home] })));
    for tag in [Tag::Contacts, Tag::Chats, Tag::Requests] {
        app.answer(tag, Ok(json!([])));
    }
    app
}

/// Long names, emoji, text from right to left, markup, states, reactions, a quotation, a request.
fn full() -> App {
    let mut app = empty();
    let number = "12345 ".repeat(12);
    app.answer(
        Tag::Contacts,
        Ok(json!([
        { "account": "b", "chat": "c1", "name": "bob", "own_name": "robert", "state": "active", "presence": "online",
          "path": "direct", "safety_number": number, "devices": ["d", "e"], "verified": true },
        { "account": "c", "chat": "c2", "name": "Ελένη with a very long name 🦜🦜🦜 and more", "state": "active",
          "last_seen": crate::rpc::rfc3339(THEN), "typing": true },
        { "account": "d", "chat": "c3", "name": "مرحبا بالعالم", "state": "blocked" },
        { "account": "e", "chat": "c4", "name": "שלום", "state": "requested" } ])),
    );
    app.answer(
        Tag::Chats,
        Ok(json!([
        { "id": "c1", "unread": 0, "cipher": "MLS 1.0, ML-KEM-768 with X25519", "queued": 2 },
        { "id": "c2", "unread": 12, "pinned": true, "muted_until": "2999-01-01T00:00:00Z" },
        { "id": "c3", "unread": 0 }, { "id": "c4", "unread": 0, "archived": true } ])),
    );
    app.answer(Tag::Requests, Ok(json!([{ "account": "0123456789abcdef0123", "name": "mallory", "greeting": "hi" }])));
    let mut answer = message(7, true, "an answer");
    (answer["reply_to"], answer["state"]) = (id(3).to_string().into(), "read".into());
    let mut liked =
        message(5, true, "liked and edited, and so long that it goes on in the next row of this narrow place");
    liked["reactions"] =
        json!([{ "emoji": "👍", "self": false }, { "emoji": "👍", "self": true }, { "emoji": "🎉", "self": false }]);
    liked["edited"] = true.into();
    let mut waits = message(9, true, "on its way");
    waits["state"] = "queued".into();
    let mut gone = message(8, false, "");
    gone["deleted"] = true.into();
    app.answer(
        Tag::Load("c1".into()),
        Ok(json!([
            message(1, false, "hello **there**, a `word` and *another*"),
            message(2, true, "```rust\nfn main() {}\n```"),
            message(3, false, "שלום 🦜 مرحبا 👩‍👩‍👧 e\u{301}"),
            message(4, false, "- one\n- two\n\n> quoted"),
            liked,
            message(6, false, "https://example.org/some/long/path?with=query"),
            answer,
            gone,
            waits,
        ])),
    );
    app
}

fn check(name: &str, mut app: App) {
    for (width, height) in SIZES {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        // Twice: places are known from the first drawing on.
        for _ in 0..2 {
            terminal.draw(|frame| panes::draw(&mut app, frame)).unwrap();
        }
        insta::assert_snapshot!(format!("{name}-{width}x{height}"), terminal.backend());
    }
}

#[test]
fn an_empty_profile() {
    check("empty", empty());
}

#[test]
fn a_chat() {
    check("chat", full());
}

#[test]
fn a_draft_with_an_answer_and_an_offer() {
    let mut app = full();
    app.composer.mode = super::composer::Mode::Reply(id(3));
    app.composer.paste("a first line\nand @bo");
    check("draft", app);
}

#[test]
fn the_palette() {
    let mut app = full();
    app.show_palette();
    check("palette", app);
}

#[test]
fn the_help() {
    let mut app = full();
    app.show_help();
    check("help", app);
}

#[test]
fn a_question() {
    let mut app = full();
    app.ask_yes(Question::Delete(id(5)));
    check("question", app);
}

#[test]
fn a_request() {
    let mut app = full();
    app.show_request("0123456789abcdef0123");
    check("request", app);
}

#[test]
fn the_actions_on_a_message() {
    let mut app = full();
    let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
    terminal.draw(|frame| panes::draw(&mut app, frame)).unwrap();
    app.select(0);
    app.act(actions::binding("actions").unwrap());
    check("actions", app);
}

#[test]
fn an_invite() {
    let mut app = full();
    app.show_invite("starling:invite/0123456789abcdefghijklmnopqrstuvwxyz");
    check("invite", app);
}

#[test]
fn a_call_that_rings() {
    let mut app = full();
    let call = json!({ "id": "1", "state": "ringing", "video": true, "recording": "no", "recorded": "no" });
    app.event(&json!({ "type": "call.incoming", "chat": { "id": "c1", "name": "bob" }, "call": call }));
    app.toast = None;
    check("ringing", app);
}

#[test]
fn a_call() {
    let mut app = full();
    let call = json!({ "id": "1", "state": "connected", "outgoing": true, "emoji": "🦜 🍎 🚲 ⚓", "recording": "no", "recorded": "no" });
    app.event(&json!({ "type": "call.state", "chat": { "id": "c1", "name": "bob" }, "call": call }));
    app.toast = None;
    if let Some(call) = &mut app.call {
        // Its clock stands still.
        call.since = None;
        let stats = json!({ "state": { "microphone": true }, "level": 0.2,
            "routes": [{ "path": "direct", "rtt_ms": 20, "audio": { "packets": 99, "lost": 1, "level": 0.1 } }] });
        call.stats = CallStats::from_bytes(stats.to_string().as_bytes());
    }
    check("call", app);
}
