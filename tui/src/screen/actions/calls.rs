//! Calls.

use ratatui::crossterm::event::KeyEventKind;
use serde_json::json;

use super::{
    super::{
        app::{App, Tag},
        model::CallState,
    },
    Action, Place, command, key,
};

pub const ACTIONS: &[Action] = &[
    command("call", "[video]", "call this person; video: with the camera", call),
    in_call("answer", "F9", "answer a call, or hang up", answer_or_hang_up).or_command(
        "answer",
        "[video]",
        "answer the call",
        answer,
    ),
    command("hangup", "[WORDS]", "end the call, or turn it away", |app, words| {
        in_this(app, |app, call| app.ask(Tag::Nothing, "call.hangup", json!({ "call": call.id, "text": words })));
    }),
    in_call("microphone", "F7", "microphone on or off, in a call", toggle_microphone).or_command(
        "mic",
        "",
        "microphone on or off, in a call",
        |app, _| in_this(app, |app, _| toggle_microphone(app)),
    ),
    in_call("talk", "F12", "hold to talk while the microphone is off, in a call", |app| {
        if app.call.is_none() {
            return app.say("There is no call.".into());
        }
        app.talk_key(KeyEventKind::Press);
    }),
    in_call("camera", "F8", "camera on or off, in a call", toggle_camera).or_command(
        "camera",
        "",
        "camera on or off, in a call",
        |app, _| in_this(app, |app, _| toggle_camera(app)),
    ),
    in_call("call-view", "F10", "the call large, or small in the corner", toggle_view).or_command(
        "view",
        "",
        "the call large, or small in the corner",
        |app, _| toggle_view(app),
    ),
    command("hold", "", "put the call on hold; again to take it back", |app, _| {
        in_this(app, |app, call| {
            let hold = !call.own_media().hold;
            app.ask_in_order(Tag::Nothing, "call.set", json!({ "call": call.id, "hold": hold }));
        });
    }),
    command("switch", "", "answer a second call, or go back to the first", |app, _| {
        in_this(app, |app, _| app.switch_call());
    }),
    command("transfer", "[DEVICE]", "hand the call over to another device of yours; it rings there", |app, device| {
        in_this(app, |app, call| {
            let device = (!device.is_empty()).then_some(device);
            app.ask(Tag::Transferred, "call.transfer", json!({ "call": call.id, "device": device }));
        });
    }),
    command("take", "[video]", "take the call that another device of yours has", |app, what| {
        app.ask(Tag::Nothing, "call.take", App::call_params(what == "video"));
    }),
    command("record", "[FILE|stop|yes|no]", "ask to record the call, or answer who asks", |app, what| {
        in_this(app, |app, call| app.record(call, what));
    }),
    command("share", "[COMMAND|stop]", "show a terminal in the call; they see what it prints", share),
    command("type", "TEXT", "type into the terminal that is shared in the call", |app, text| {
        in_this(app, |app, call| {
            let own = call.own_media().sharing;
            let params = json!({ "call": call.id, "own": own, "text": format!("{text}\r") });
            app.ask_in_order(Tag::Nothing, "call.type", params);
        });
    }),
    command("hand", "[back]", "let the other side type into your terminal", |app, what| {
        in_this(app, |app, call| {
            let given = what != "back";
            app.ask(Tag::Nothing, "call.hand", json!({ "call": call.id, "given": given }));
            app.say(if given { "They may type into your terminal." } else { "Only you type." }.into());
        });
    }),
];

const NO_CALL: &str = "There is no call: /call makes one.";

const fn in_call(name: &'static str, keys: &'static str, help: &'static str, run: fn(&mut App)) -> Action {
    key(name, Place::InCall, keys, help, run)
}

/// Does something in the call that is shown; says if there is none.
fn in_this(app: &mut App, run: impl FnOnce(&mut App, &CallState)) {
    match app.call.clone() {
        Some(call) => run(app, &call),
        None => app.say(NO_CALL.into()),
    }
}

fn call(app: &mut App, what: &str) {
    let Some(chat) = app.open.clone().filter(|_| app.open_contact().is_some()) else {
        return app.warn("Open a chat first.".into());
    };
    let mut params = App::call_params(what == "video");
    params["chat"] = chat.into();
    app.ask(Tag::Nothing, "call.start", params);
}

fn answer_or_hang_up(app: &mut App) {
    in_this(app, |app, call| match call.rings() {
        true => app.answer_call(call, call.video),
        false => app.ask(Tag::Nothing, "call.hangup", json!({ "call": call.id })),
    });
}

fn answer(app: &mut App, what: &str) {
    in_this(app, |app, call| match call.rings() {
        true => app.answer_call(call, call.video || what == "video"),
        false => app.say("No call rings.".into()),
    });
}

// Absolute values, in order: twice in a breath must not overtake itself.

fn toggle_microphone(app: &mut App) {
    let Some(on) = app.call.as_ref().map(|call| call.own_media().microphone) else {
        return app.say("There is no call.".into());
    };
    app.talk_until = None;
    app.set_call("microphone", !on);
}

fn toggle_camera(app: &mut App) {
    let Some(on) = app.call.as_ref().map(|call| call.own_media().camera) else {
        return app.say("There is no call.".into());
    };
    app.set_call("camera", !on);
}

fn toggle_view(app: &mut App) {
    in_this(app, |app, _| app.call_view = !app.call_view);
}

fn share(app: &mut App, what: &str) {
    in_this(app, |app, call| {
        if what == "stop" {
            return app.ask(Tag::Nothing, "call.unshare", json!({ "call": call.id }));
        }
        let mut params = json!({ "call": call.id, "columns": 80, "rows": 24 });
        if !what.is_empty() {
            params["command"] = what.into();
        }
        app.ask(Tag::Nothing, "call.share", params);
        app.say("They see what it prints; /type types into it, /hand lets them type, /share stop ends it.".into());
    });
}
