//! Whole screens, compared with what is kept in `snapshots/`. After a change that is meant: look at them, then `INSTA_UPDATE=always`.

use ratatui::{Terminal, backend::TestBackend};
use serde_json::json;
use starling_control::{
    event::EventKind,
    objects::{
        AuditEntry, AuditLog, Call, CallPhase, CallStats, DeliveryState, Device, Group, Heard, Message, MessageRef,
        Reaction, RouteStats,
    },
};
use starling_node::{Clock, EventId, MessageId};

use super::{
    actions,
    app::{App, Focus},
    palette::Question,
    panes,
    requests::Answer,
    testing::{
        answer_chats, answer_contacts, answer_group, answer_newest, app, call_changed, chat, contact, object, objects,
    },
};

const SIZES: [(u16, u16); 3] = [(80, 24), (200, 50), (40, 12)];

/// A day in 2023, so that no name of a day depends on when the test runs.
const THEN: u64 = 1_700_000_000_000;

fn id(n: u64) -> MessageId {
    MessageId(EventId { clock: Clock::at(THEN + n * 60_000), device: [1; 8], sequence: n })
}

fn message(n: u64, own: bool, text: &str) -> Message {
    super::testing::message(id(n), THEN + n * 60_000, own, text)
}

/// Long names, emoji, text from right to left, markup, states, reactions, a quotation, a request.
fn full() -> App {
    let mut app = app();
    let number = "12345 ".repeat(12);
    answer_contacts(
        &mut app,
        [
            json!({ "account": "b", "chat": "c1", "name": "bob", "own_name": "robert", "presence": "online",
                "path": "direct", "safety_number": number, "devices": ["d", "e"], "verified": true }),
            json!({ "account": "c", "chat": "c2", "name": "Ελένη with a very long name 🦜🦜🦜 and more",
                "last_seen": crate::rpc::rfc3339(THEN), "typing": true }),
            json!({ "account": "d", "chat": "c3", "name": "مرحبا بالعالم", "state": "blocked" }),
            json!({ "account": "e", "chat": "c4", "name": "שלום", "state": "requested" }),
        ],
    );
    answer_chats(
        &mut app,
        [
            json!({ "id": "c1", "cipher": "MLS 1.0, ML-KEM-768 with X25519", "queued": 2 }),
            json!({ "id": "c2", "unread": 12, "pinned": true, "muted_until": "2999-01-01T00:00:00Z" }),
            json!({ "id": "c3" }),
            json!({ "id": "c4", "archived": true }),
        ],
    );
    let request = json!({ "account": "0123456789abcdef0123", "name": "mallory", "greeting": "hi" });
    app.answer(Answer::Requests(Ok(objects([request]))));
    let mut answer = message(7, true, "an answer");
    (answer.reply_to, answer.state) = (Some(id(3).to_string().into()), DeliveryState::Read);
    let mut liked =
        message(5, true, "liked and edited, and so long that it goes on in the next row of this narrow place");
    let reaction = |emoji: &str, own| Reaction { emoji: emoji.into(), own };
    liked.reactions = vec![reaction("👍", false), reaction("👍", true), reaction("🎉", false)];
    liked.edited = true;
    let mut waits = message(9, true, "on its way");
    waits.state = DeliveryState::Queued;
    let mut gone = message(8, false, "");
    gone.deleted = true;
    let messages = vec![
        message(1, false, "hello **there**, a `word` and *another*"),
        message(2, true, "```rust\nfn main() {}\n```"),
        message(3, false, "שלום 🦜 مرحبا 👩‍👩‍👧 e\u{301}"),
        message(4, false, "- one\n- two\n\n> quoted"),
        liked,
        message(6, false, "https://example.org/some/long/path?with=query"),
        answer,
        gone,
        waits,
    ];
    answer_newest(&mut app, "c1", messages);
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
    check("empty", app());
}

#[test]
fn a_chat() {
    check("chat", full());
}

#[test]
fn a_draft_with_an_answer_and_an_offer() {
    let mut app = full();
    app.chat.composer.mode = super::composer::Mode::Reply(id(3));
    app.chat.composer.paste("a first line\nand @bo");
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
    app.show_request(&"0123456789abcdef0123".into());
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
    let call = Call { id: "1".into(), state: CallPhase::Ringing, video: true, ..Call::default() };
    app.event(call_changed(chat("c1", "bob"), call));
    app.toast = None;
    check("ringing", app);
}

#[test]
fn a_call() {
    let mut app = full();
    let (state, emoji) = (CallPhase::Connected, "🦜 🍎 🚲 ⚓".into());
    let call = Call { id: "1".into(), state, outgoing: true, emoji, ..Call::default() };
    app.event(call_changed(chat("c1", "bob"), call));
    app.toast = None;
    if let Some(call) = &mut app.calls.shown {
        // Its clock stands still.
        call.since = None;
        let audio = Heard { packets: 99, lost: 1, level: 0.1, ..Heard::default() };
        let path = Some("direct".to_owned());
        let routes = vec![RouteStats { path, rtt_ms: Some(20.0), audio, ..RouteStats::default() }];
        call.stats = CallStats { level: 0.2, routes, ..CallStats::default() };
        call.stats.state.microphone = true;
    }
    check("call", app);
}

/// Devices of ours: one with a long name, one that was let in by another, one with a name from right to left.
fn devices() -> Vec<Device> {
    objects([
        json!({ "device": "aaaaaaaaaa", "name": "desk", "system": "linux", "this": true, "rights": "admin",
            "added_at": "2026-01-01T10:00:00Z" }),
        json!({ "device": "bbbbbbbbbb", "name": "the old laptop that stands in the kitchen 🦜", "system": "linux",
            "rights": "member", "added_at": "2026-02-02T10:00:00Z", "linked_by": "aaaaaaaaaa", "connection": "direct" }),
        json!({ "device": "cccccccccc", "name": "هاتف", "system": "android", "rights": "bot",
            "added_at": "2026-03-03T10:00:00Z", "linked_by": "bbbbbbbbbb", "connection": "relay" }),
        json!({ "device": "dddddddddd", "rights": "admin", "added_at": "2026-04-04T10:00:00Z",
            "linked_by": "eeeeeeeeee" }),
    ])
}

#[test]
fn the_devices_of_an_account() {
    let mut app = full();
    app.answer(Answer::Devices(Ok(devices())));
    check("devices", app);
}

#[test]
fn a_device_and_what_can_be_done_to_it() {
    let mut app = full();
    app.devices.listed = devices();
    app.show_device(&"bbbbbbbbbb".into());
    check("device", app);
}

const CODE: &str = "7-uniform-quiz-acid-zoo";

#[test]
fn a_code_for_another_device() {
    let mut app = full();
    let home = "/dns4/rendezvous.example/udp/4001/quic-v1/p2p/12D3KooWGC6tVbQ2hAqDGyy5ayYv8iVbc3DvYuHpXmWJ8i7hHFB1";
    let link = json!({ "code": CODE, "rendezvous": home });
    app.answer(Answer::Link(Ok(serde_json::from_value(link).unwrap())));
    check("link", app);
}

#[test]
fn a_device_that_asks_to_join() {
    let mut app = full();
    app.devices.codes = vec![CODE.into()];
    app.event(EventKind::DeviceAsks {
        code: CODE.into(),
        device: "ffffffffff".into(),
        name: "a phone with a name that nobody would give one 🦜".into(),
        system: "android".into(),
        same_network: false,
    });
    check("asks", app);
}

#[test]
fn a_new_device_that_enters_and_copies_the_history() {
    let mut app = full();
    app.event(EventKind::DeviceEntered { device: "aaaaaaaaaa".into(), ready: 7, conversations: 200 });
    let copy = json!({ "state": "copying", "device": "bbbbbbbbbb", "done": 31, "total": 100, "copied": 31_000 });
    app.event(EventKind::DeviceHistory { copy: object(copy) });
    app.toast = None;
    check("entering", app);
}

/// Lines about the devices of bob.
fn noted() -> App {
    let mut app = full();
    let line = |n, change: &str, name: &str| {
        let mut line = message(n, false, "");
        line.device_note = Some(object(json!({ "change": change, "name": name, "system": "linux" })));
        line
    };
    let lines = vec![
        line(1, "joined", "phone"),
        line(2, "left", "phone"),
        line(3, "forked", "desk"),
        line(4, "recovered", "new desk"),
    ];
    answer_newest(&mut app, "c1", lines);
    app
}

#[test]
fn what_has_happened_to_the_devices_of_a_contact() {
    check("noted", noted());
}

#[test]
fn an_alarm_about_the_devices_of_a_contact() {
    let mut app = full();
    let mut line = message(10, false, "");
    line.device_note = Some(object(json!({ "change": "forked", "name": "desk", "system": "linux" })));
    let message = MessageRef::Whole(Box::new(line));
    app.event(EventKind::ContactDevices { chat: chat("c1", "bob"), message, device_note: None });
    check("fork", app);
}

#[test]
fn an_alarm_about_the_own_account() {
    let mut app = full();
    app.event(EventKind::DeviceHidden {
        contact: contact("b", "bob"),
        change: "joined".into(),
        device: "gggggggggg".into(),
        name: "a ghost".into(),
        by: Some("bbbbbbbbbb".into()),
    });
    check("hidden", app);
}

/// A group of 500 in which we are an admin: a long topic, names in all scripts, members who have not come, and what its audit log says.
fn group() -> App {
    let mut app = full();
    let member = |account: &str, name: &str, role: &str, devices: u32| {
        let own = account == "a";
        json!({ "account": account, "name": name, "role": role, "devices": devices, "self": own })
    };
    let mut members = vec![
        member("a", "alice", "admin", 2),
        member("b", "bob", "owner", 1),
        member("c", "Ελένη with a very long name 🦜🦜🦜 and more", "moderator", 1),
        member("d", "مرحبا بالعالم", "member", 1),
        member("n", "", "member", 1),
        member("w", "walter", "member", 0),
    ];
    members.extend((0..494).map(|n| member(&format!("m{n}"), &format!("guest {n:03}"), "reader", 1)));
    let policy = json!({ "invite": "admin", "remove": "moderator", "pin": "moderator", "delete": "moderator",
        "settings": "admin", "mention_all": "owner", "slow_mode": 30, "lifetime": 7 * 86_400 });
    let topic = "what runs, what does not, and who is on call 🦜 this week, next week and in the week after that one";
    let banned = json!([{ "account": "0123456789abcdef", "name": "mallory" }]);
    let given = json!({ "name": "operations and everything else", "role": "admin", "topic": topic, "policy": policy,
        "banned": banned });
    answer_group(&mut app, given, members);
    let listed = json!({ "id": "g1", "kind": "group", "name": "operations and everything else" });
    answer_chats(&mut app, [json!({ "id": "c1", "unread": 3 }), listed]);
    app.open(&"g1".into());
    let entry = |number: u64, minute: u64, action: &str, account: &str, more: serde_json::Value| {
        let at = crate::rpc::rfc3339(THEN + minute * 60_000);
        let given = json!({ "number": number, "at": at, "by": "b", "action": action, "account": account });
        AuditEntry { role: serde_json::from_value(more).unwrap(), ..object(given) }
    };
    let mut entries = vec![entry(3, 0, "made", "b", json!(null))];
    for (n, account) in ["a", "c", "d", "m1", "m2"].into_iter().enumerate() {
        entries.push(entry(4 + n as u64, 2, "invited", account, json!(null)));
    }
    entries.push(entry(9, 2, "left", "d", json!(null)));
    entries.push(entry(10, 4, "role", "c", json!("moderator")));
    entries.push(entry(11, 5, "invited", "w", json!(null)));
    entries.push(entry(12, 5, "banned", "0123456789abcdef", json!(null)));
    entries.push(entry(13, 8, "invited", "m3", json!(null)));
    app.answer(Answer::Audit("g1".into(), Ok(AuditLog { complete: false, missing: 2, entries })));
    let by = |mut message: Message, account: &str, name: &str| {
        (message.from.account, message.from.name) = (Some(account.into()), Some(name.into()));
        message
    };
    let messages = vec![
        by(message(1, false, "the deploy is done"), "b", "bob"),
        by(message(3, false, "שלום 🦜"), "d", "مرحبا بالعالم"),
        by(message(4, false, "and soon after"), "c", "Ελένη with a very long name 🦜🦜🦜 and more"),
        by(message(6, true, "thanks"), "a", "alice"),
    ];
    answer_newest(&mut app, "g1", messages);
    app.toast = None;
    app
}

#[test]
fn a_group_with_five_hundred_members() {
    check("group", group());
}

#[test]
fn a_group_in_which_several_type_and_admins_write() {
    let mut app = group();
    for (account, name) in [("b", "bob"), ("c", "Ελένη with a very long name 🦜🦜🦜"), ("d", "مرحبا"), ("m1", "x")]
    {
        let member = Some(contact(account, name));
        app.event(EventKind::Typing { chat: chat("g1", "operations"), typing: true, member });
    }
    check("group-typing", app);
}

#[test]
fn the_members_of_a_group() {
    let mut app = group();
    app.show_members();
    check("members", app);
}

#[test]
fn a_member_and_what_can_be_done_about_it() {
    let mut app = group();
    app.show_member(&"g1".into(), &"c".into());
    check("member", app);
}

#[test]
fn the_settings_of_a_group() {
    let mut app = group();
    app.show_group_settings();
    check("settings", app);
}

#[test]
fn the_audit_log_of_a_group() {
    let mut app = group();
    app.show_audit();
    check("audit", app);
}

/// A list with folders, a community whose channels are folded and one whose are not, a group that we have asked to be let into, and long names.
fn arranged() -> App {
    let mut app = full();
    let long = "A community with a very long name 🦜🦜🦜 and more";
    let group = |id: &str, name: &str, more: serde_json::Value| {
        let given = json!({ "id": id, "name": name, "standing": "member", "role": "member" });
        let mut whole = serde_json::to_value(object::<Group>(given)).unwrap();
        whole.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value::<Group>(whole).unwrap()
    };
    let channel = |id: &str| json!({ "id": id, "name": null, "lowest": "reader" });
    let groups = vec![
        group("k1", "club", json!({ "kind": "community", "channels": [channel("k2"), channel("k3")] })),
        group("k2", "releases", json!({ "kind": "channel", "community": "k1" })),
        group("k3", "مرحبا بالعالم وكل من فيه", json!({ "community": "k1" })),
        group("l1", long, json!({ "kind": "community", "channels": [channel("l2")] })),
        group("l2", "שלום", json!({ "kind": "channel", "community": "l1" })),
        group("w1", "where somebody has to let us in 🦜", json!({ "standing": "asked", "role": null })),
    ];
    app.answer(Answer::Groups(Ok(groups)));
    answer_chats(
        &mut app,
        [
            json!({ "id": "c1" }),
            json!({ "id": "c2", "folder": "work, and what else there is 🦜", "unread": 3 }),
            json!({ "id": "k1", "kind": "community", "name": "club" }),
            json!({ "id": "k2", "kind": "channel", "name": "releases", "unread": 4 }),
            json!({ "id": "k3", "kind": "group", "name": "مرحبا بالعالم وكل من فيه" }),
            json!({ "id": "l1", "kind": "community", "name": long, "folded": true }),
            json!({ "id": "l2", "kind": "channel", "name": "שלום", "unread": 12 }),
            json!({ "id": "c3", "folder": "רשימה" }),
        ],
    );
    app.fold_folder("work, and what else there is 🦜");
    app.panes.focus = Focus::List;
    app.relist();
    app
}

#[test]
fn a_list_with_folders_and_communities() {
    check("list", arranged());
}

#[test]
fn an_invitation_into_a_group() {
    let mut app = full();
    let by = json!({ "account": "b", "name": "bob" });
    let given =
        json!({ "name": "operations", "standing": "invited", "role": null, "topic": "what runs", "invited_by": by });
    answer_group(&mut app, given, Vec::new());
    app.show_invitation(&"g1".into());
    check("invitation", app);
}
