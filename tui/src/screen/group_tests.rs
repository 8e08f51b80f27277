use ratatui::crossterm::event::KeyCode;
use serde_json::{Value, json};
use starling_control::{
    event::EventKind,
    objects::{AccountId, AuditAction, AuditEntry, AuditLog, Role},
};
use starling_node::{Clock, EventId, MessageId};

use super::{
    app::{App, Focus},
    group_form::GroupForm,
    pager::Pager,
    palette::Palette,
    requests::Answer,
    testing::{
        answer_chats, answer_contacts, answer_group, answer_newest, app, calls, chat, contact, message, new_message,
        object, press, screen,
    },
};

const THEN: u64 = 1_700_000_000_000;

fn member(account: &str, name: &str, role: &str) -> Value {
    json!({ "account": account, "name": name, "role": role, "devices": 1, "self": account == "a" })
}

/// Us, bob and carol, who are contacts, and dave, who is none.
fn members(own: &str) -> Vec<Value> {
    vec![
        member("a", "alice", own),
        member("b", "bob", "admin"),
        member("c", "carol", "member"),
        member("d", "dave", "member"),
    ]
}

fn policy() -> Value {
    json!({ "invite": "admin", "remove": "moderator", "pin": "moderator", "delete": "moderator", "settings": "admin",
        "mention_all": "moderator" })
}

/// A message of a minute, by an account.
fn said(minute: u64, account: &str, name: &str, text: &str) -> starling_control::objects::Message {
    let id = MessageId(EventId { clock: Clock::at(THEN + minute * 60_000), device: [1; 8], sequence: minute });
    let mut said = message(id, THEN + minute * 60_000, account == "a", text);
    (said.from.account, said.from.name) = (Some(account.into()), Some(name.into()));
    said
}

fn entry(number: u64, action: AuditAction, account: &str) -> AuditEntry {
    AuditEntry {
        number,
        at: crate::rpc::rfc3339(THEN + number * 60_000).into(),
        by: "b".into(),
        action,
        account: Some(account.into()),
        ..AuditEntry::default()
    }
}

fn answer_audit(app: &mut App, entries: Vec<AuditEntry>) {
    app.answer(Answer::Audit("g1".into(), Ok(AuditLog { complete: true, missing: 0, entries })));
}

/// The open group, in which we have a role.
fn in_group(own: &str) -> App {
    let mut app = app();
    answer_contacts(
        &mut app,
        [
            json!({ "account": "b", "chat": "c1", "name": "bob", "presence": "online" }),
            json!({ "account": "c", "chat": "c2", "name": "carol" }),
        ],
    );
    let listed = json!({ "id": "g1", "kind": "group", "name": "ops" });
    answer_chats(&mut app, [json!({ "id": "c1", "name": "bob" }), listed]);
    answer_group(&mut app, json!({ "role": own, "topic": "what runs", "policy": policy() }), members(own));
    app.open(&"g1".into());
    answer_audit(&mut app, Vec::new());
    answer_newest(&mut app, "g1", vec![said(10, "b", "bob", "hello"), said(11, "c", "carol", "hi")]);
    calls(&mut app);
    app
}

/// The rows of the list on top.
fn rows(app: &mut App) -> Vec<String> {
    let palette = app.layers.find::<Palette>().expect("a list is open");
    palette.rows.iter().map(|row| row.name.clone()).collect()
}

#[test]
fn what_may_not_be_done_to_a_member_cannot_be_chosen() {
    let all = |own: &str, account: &str| {
        let mut app = in_group(own);
        app.show_member(&"g1".into(), &account.into());
        rows(&mut app)
    };
    let write = "write to them";
    assert_eq!(all("admin", "b"), [write, "close"]);
    assert_eq!(all("admin", "d"), ["make moderator", "make reader", "remove", "ban", "close"]);
    assert_eq!(all("moderator", "c"), [write, "remove", "ban", "close"]);
    assert_eq!(all("member", "c"), [write, "close"]);
    assert_eq!(all("member", "a"), ["close"]);
    let of_owner = [write, "make owner", "make moderator", "make member", "make reader", "remove", "ban", "close"];
    assert_eq!(all("owner", "b"), of_owner);
    assert_eq!(all("owner", "a"), ["close"], "the last owner");
}

#[test]
fn a_member_is_found_in_the_list_and_removed_after_a_question() {
    let mut app = in_group("owner");
    app.command("/members");
    assert_eq!(rows(&mut app), ["you", "bob", "carol", "dave"]);
    assert!(screen(&mut app, 80, 24).contains("#ops — 4 members"));
    for c in "dav".chars() {
        press(&mut app, KeyCode::Char(c));
    }
    press(&mut app, KeyCode::Enter);
    assert!(screen(&mut app, 40, 12).contains("no contact"), "it is readable in a small window");
    // Enter alone changes nothing.
    press(&mut app, KeyCode::Enter);
    assert!(calls(&mut app).is_empty());
    for (key, question, method) in [
        ('x', Some("Remove this member?"), "groups.remove"),
        ('b', Some("Ban this member?"), "groups.ban"),
        ('o', Some("Make them an owner?"), "groups.role"),
        ('m', None, "groups.role"),
    ] {
        app.show_member(&"g1".into(), &"d".into());
        press(&mut app, KeyCode::Char(key));
        if let Some(question) = question {
            let shown = screen(&mut app, 80, 24);
            assert!(shown.contains(question) && shown.contains("dave"), "{shown}");
            assert!(calls(&mut app).is_empty());
            press(&mut app, KeyCode::Char('y'));
        }
        assert_eq!(calls(&mut app), [method], "{key}");
    }
    // Who is banned is in the list, too.
    let banned = json!([{ "account": "e", "name": "Eve" }]);
    answer_group(&mut app, json!({ "banned": banned, "policy": policy() }), members("owner"));
    calls(&mut app);
    app.command("/members");
    for c in "ban".chars() {
        press(&mut app, KeyCode::Char(c));
    }
    press(&mut app, KeyCode::Enter);
    assert_eq!(calls(&mut app), ["groups.unban"]);
}

#[test]
fn five_hundred_members_scroll_in_the_details() {
    let mut app = in_group("owner");
    let mut many = members("owner");
    many.extend((0..500).map(|n| member(&format!("m{n}"), &format!("guest {n:03}"), "reader")));
    answer_group(&mut app, json!({ "policy": policy() }), many);
    let shown = screen(&mut app, 200, 50);
    assert!(shown.contains("504 members") && shown.contains("guest 000") && !shown.contains("guest 499"), "{shown}");
    // From the composer over list and timeline.
    (0..3).for_each(|_| app.next_pane());
    assert_eq!(app.panes.focus, Focus::Details);
    press(&mut app, KeyCode::End);
    let shown = screen(&mut app, 200, 50);
    assert!(shown.contains("guest 499") && !shown.contains("guest 000"), "{shown}");
    press(&mut app, KeyCode::Enter);
    assert!(screen(&mut app, 200, 50).contains("make moderator"));
    press(&mut app, KeyCode::Esc);
    // In a small window there are no details: the key goes where one writes.
    screen(&mut app, 80, 24);
    press(&mut app, KeyCode::Char('x'));
    assert_eq!((app.panes.focus, app.chat.composer.text().as_str()), (Focus::Composer, "x"));
}

#[test]
fn settings_are_a_form_and_go_out_as_one_change() {
    let mut app = in_group("admin");
    app.command("/settings");
    for (width, height) in [(80, 24), (40, 12), (200, 50)] {
        let shown = screen(&mut app, width, height);
        assert!(shown.contains("Settings of #ops") && shown.contains("members +"), "{shown}");
    }
    press(&mut app, KeyCode::Left);
    press(&mut app, KeyCode::End);
    press(&mut app, KeyCode::Char(' '));
    assert!(screen(&mut app, 40, 12).contains("yes"), "the chosen row is seen");
    // Others change something meanwhile: what was touched stays.
    answer_group(&mut app, json!({ "role": "admin", "policy": policy() }), members("admin"));
    calls(&mut app);
    press(&mut app, KeyCode::Enter);
    assert_eq!(calls(&mut app), ["groups.set"]);
    assert!(app.layers.find::<GroupForm>().is_none());
    let mut app = in_group("member");
    app.command("/settings");
    assert!(screen(&mut app, 80, 24).contains("Only admins and above can change this."));
    press(&mut app, KeyCode::Right);
    press(&mut app, KeyCode::Enter);
    assert!(calls(&mut app).is_empty());
}

#[test]
fn the_audit_log_is_read_and_folded_into_the_timeline() {
    let mut app = in_group("member");
    let entries = vec![
        entry(10, AuditAction::Invited, "c"),
        entry(11, AuditAction::Invited, "d"),
        entry(11, AuditAction::Left, "gone"),
    ];
    answer_audit(&mut app, entries);
    let shown = screen(&mut app, 80, 24);
    assert!(shown.contains("carol joined") && shown.contains("dave joined · somebody (gone) left"), "{shown}");
    app.command("/audit");
    let shown = screen(&mut app, 80, 24);
    assert!(shown.contains("Audit log of #ops") && shown.contains("bob invited carol"), "{shown}");
    // It grows while it is open.
    calls(&mut app);
    app.event(EventKind::GroupPolicy { chat: chat("g1", "ops") });
    assert!(calls(&mut app).contains(&"groups.audit"));
    answer_audit(&mut app, vec![entry(12, AuditAction::Banned, "e")]);
    assert!(screen(&mut app, 80, 24).contains("bob banned somebody (e)"));
    press(&mut app, KeyCode::Esc);
    assert!(app.layers.find::<Pager>().is_none());
    // What was asked for the chat that was left does not come here.
    app.open(&"c1".into());
    answer_audit(&mut app, vec![entry(12, AuditAction::Invited, "c")]);
    assert!(!screen(&mut app, 80, 24).contains("carol joined"));
    app.command("/audit");
    assert!(screen(&mut app, 80, 24).contains("Open a group first."));
}

#[test]
fn a_wave_of_members_is_told_in_one_line_and_not_as_remarks() {
    let mut app = in_group("owner");
    app.event(EventKind::GroupJoined { chat: chat("g1", "ops"), member: contact("d", "dave") });
    assert!(app.toast.is_none());
    app.event(EventKind::GroupRole { chat: chat("g1", "ops"), member: contact("a", "alice"), role: Role::Admin });
    assert!(screen(&mut app, 80, 24).contains("you are admin now"));
    let entries = (0..300).map(|n| entry(20, AuditAction::Invited, &format!("m{n}"))).collect();
    answer_audit(&mut app, entries);
    assert!(screen(&mut app, 200, 50).contains("and 298 others joined"));
}

#[test]
fn the_header_says_who_is_there_and_the_composer_who_writes() {
    let mut app = in_group("owner");
    let shown = screen(&mut app, 80, 24);
    assert!(shown.contains("#ops ── 4 members · what runs") && shown.contains("● bob online"), "{shown}");
    assert!(shown.contains("write a message"), "{shown}");
    assert!(screen(&mut app, 40, 12).contains("#ops ── 4 members"));
    let mut only_admins = policy();
    only_admins["post"] = json!("admin");
    answer_group(&mut app, json!({ "role": "member", "policy": only_admins }), members("member"));
    assert!(screen(&mut app, 80, 24).contains("only admins and above write here"));
    let mut slow = policy();
    slow["slow_mode"] = json!(30);
    answer_group(&mut app, json!({ "role": "member", "policy": slow }), members("member"));
    assert!(screen(&mut app, 80, 24).contains("one message in 30 seconds"));
}

#[test]
fn several_who_type_are_in_one_line() {
    let mut app = in_group("owner");
    let types = |account: &str, name: &str, typing| EventKind::Typing {
        chat: chat("g1", "ops"),
        typing,
        member: Some(contact(account, name)),
    };
    for (account, name) in [("b", "bob"), ("c", "carol"), ("d", "dave"), ("e", "erin")] {
        app.event(types(account, name, true));
    }
    assert!(screen(&mut app, 80, 24).contains("bob, carol and 2 others are typing…"));
    app.event(types("e", "erin", false));
    // Who has sent it does not type any more.
    app.event(new_message("g1", said(30, "b", "bob", "sent")));
    assert!(screen(&mut app, 80, 24).contains("carol and dave are typing…"));
    assert!(app.wakes_at().is_some(), "that ends by itself");
}

#[test]
fn a_mention_is_counted_in_the_list() {
    let mut app = in_group("owner");
    app.open(&"c1".into());
    for minute in 20..22 {
        let mut mention = said(minute, "b", "bob", "@alice look");
        // Once by name, once with all others.
        if minute == 20 {
            mention.mentions = vec!["a".into()];
        } else {
            mention.mentions_all = true;
        }
        app.event(new_message("g1", mention));
    }
    let listed = |unread: u32| json!({ "id": "g1", "kind": "group", "name": "ops", "unread": unread });
    // The first answer may be from before.
    answer_chats(&mut app, [json!({ "id": "c1", "name": "bob" }), listed(0)]);
    answer_chats(&mut app, [json!({ "id": "c1", "name": "bob" }), listed(7)]);
    assert!(screen(&mut app, 80, 24).contains("@2 7"));
}

#[test]
fn an_invitation_is_accepted_declined_or_left_for_later() {
    let invited = json!({ "standing": "invited", "role": null, "topic": "what runs",
        "invited_by": { "account": "b", "name": "bob" } });
    let answers = [
        ('y', vec!["groups.accept"]),
        ('d', vec!["groups.decline"]),
        ('b', vec!["groups.decline", "contacts.block"]),
        ('n', vec![]),
    ];
    for (key, methods) in answers {
        let mut app = app();
        answer_group(&mut app, invited.clone(), Vec::new());
        calls(&mut app);
        let row = app.panes.list.rows().iter().position(|row| matches!(row, super::model::ListRow::Invitation(_)));
        app.open_row(row.unwrap());
        for (width, height) in [(80, 24), (40, 12)] {
            let shown = screen(&mut app, width, height);
            assert!(shown.contains("bob invites you into #ops."), "{shown}");
        }
        press(&mut app, KeyCode::Char(key));
        assert_eq!(calls(&mut app), methods, "{key}");
    }
    let mut app = app();
    answer_group(&mut app, invited, Vec::new());
    app.show_palette();
    assert!(rows(&mut app).contains(&"#ops".to_owned()), "it is found without the list");
}

#[test]
fn how_far_the_invitations_of_many_are_is_shown_until_all_are_out() {
    let mut app = in_group("owner");
    let accounts = || -> Vec<AccountId> { ["x", "y", "z"].map(AccountId::from).to_vec() };
    app.invite_into("g1".into(), accounts());
    assert_eq!(calls(&mut app), ["groups.invite"]);
    app.answer(Answer::Invited(Ok(())));
    let mut some = members("owner");
    some.push(member("x", "xenia", "member"));
    answer_group(&mut app, json!({ "changing": true, "policy": policy() }), some.clone());
    assert!(screen(&mut app, 80, 24).contains("invited: 1 of 3"));
    // It is looked for again by itself.
    assert!(app.wakes_at().is_some());
    some.extend([member("y", "yves", "member"), member("z", "zoe", "member")]);
    answer_group(&mut app, json!({ "policy": policy() }), some.clone());
    assert!(screen(&mut app, 80, 24).contains("All 3 are invited") && app.inviting.is_none());
    // What is refused is not waited for.
    app.invite_into("g1".into(), accounts());
    app.answer(Answer::Invited(Err(crate::error::CliError::new("refused", 6, "the group is full"))));
    assert!(app.inviting.is_none() && screen(&mut app, 80, 24).contains("the group is full"));
}

#[test]
fn names_of_members_are_completed_and_mentioned_in_a_group() {
    let mut app = in_group("owner");
    for c in "@dav".chars() {
        press(&mut app, KeyCode::Char(c));
    }
    press(&mut app, KeyCode::Tab);
    assert_eq!(app.chat.composer.text(), "@dave ");
    app.chat.composer.clear();
    app.open(&"c1".into());
    for c in "@dav".chars() {
        press(&mut app, KeyCode::Char(c));
    }
    assert!(app.chat.composer.offers.is_empty(), "he is no contact");
}

#[test]
fn hostile_groups_are_drawn_at_every_size() {
    let evil = "x\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}y שלום 🦜🦜🦜 and so long that it has no end anywhere";
    let mut app = in_group("owner");
    answer_chats(&mut app, [json!({ "id": "g1", "kind": "group", "name": evil })]);
    let mut people = members("owner");
    people.extend((0..40).map(|n| member(&format!("{n}{evil}"), evil, "member")));
    people.push(member("n", "", "reader"));
    let banned = json!([{ "account": evil, "name": evil }]);
    let given = json!({ "name": evil, "topic": evil.repeat(40), "banned": banned, "policy": policy() });
    answer_group(&mut app, given, people);
    let mut renamed = entry(12, AuditAction::Renamed, evil);
    renamed.text = Some(evil.repeat(10));
    let setting = object::<AuditEntry>(json!({ "action": "setting", "setting": evil, "value": evil, "by": evil }));
    answer_audit(&mut app, vec![entry(1, AuditAction::Invited, evil), renamed, setting]);
    app.event(EventKind::Typing { chat: chat("g1", evil), typing: true, member: Some(contact(evil, evil)) });
    let check = |app: &mut App, what: &str| {
        for (width, height) in [(200, 50), (80, 24), (40, 12), (20, 6), (5, 2)] {
            let shown = screen(app, width, height);
            let obeyed = |c: char| c != '\n' && (c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c));
            assert!(!shown.contains(obeyed), "{what}: {shown:?}");
        }
    };
    check(&mut app, "the group");
    type Open = fn(&mut App);
    let open: [(&str, Open); 4] = [
        ("members", App::show_members),
        ("audit log", App::show_audit),
        ("settings", App::show_group_settings),
        ("a member", |app| app.show_member(&"g1".into(), &"n".into())),
    ];
    for (what, open) in open {
        open(&mut app);
        check(&mut app, what);
        press(&mut app, KeyCode::Esc);
    }
    let invited =
        json!({ "standing": "invited", "name": evil, "topic": evil, "invited_by": { "account": evil, "name": evil } });
    answer_group(&mut app, invited, Vec::new());
    app.show_invitation(&"g1".into());
    check(&mut app, "an invitation");
}

#[test]
fn who_asks_to_be_a_contact_is_not_invited_and_is_said_to_ask() {
    let mut app = in_group("owner");
    app.answer(Answer::Requests(Ok(vec![object(json!({ "account": "f", "name": "Frank" }))])));
    calls(&mut app);
    for (command, said) in [
        ("/invite @frank", "asks to be a contact"),
        ("/group dev @frank", "asks to be a contact"),
        ("/chat @frank", "asks to be a contact"),
        ("/invite @eve", "no contact"),
        ("/chat eve", "no chat"),
    ] {
        app.toast = None;
        app.command(command);
        assert!(calls(&mut app).is_empty(), "{command}");
        assert!(app.toast.as_ref().is_some_and(|toast| toast.is_warning && toast.text.contains(said)), "{command}");
    }
}
