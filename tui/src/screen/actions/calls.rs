//! Calls.

use ratatui::crossterm::event::KeyEventKind;
use starling_control::methods::calls::{Hand, HangUp, Set, Share, Start, Take, Transfer, Type, Unshare};

use super::{
    super::{app::App, model::CallState, requests::Answer},
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
        in_this(app, |app, call| app.tell(HangUp { call: call.wire.id.clone(), text: Some(words.to_owned()) }));
    }),
    in_call("microphone", "F7", "microphone on or off, in a call", toggle_microphone).or_command(
        "mic",
        "",
        "microphone on or off, in a call",
        |app, _| in_this(app, |app, _| toggle_microphone(app)),
    ),
    in_call("talk", "F12", "hold to talk while the microphone is off, in a call", |app| {
        if app.calls.shown.is_none() {
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
            app.tell_in_order(Set { call: call.wire.id.clone(), hold: Some(hold), ..Set::default() });
        });
    }),
    command("switch", "", "answer a second call, or go back to the first", |app, _| {
        in_this(app, |app, _| app.switch_call());
    }),
    command("transfer", "[DEVICE]", "hand the call over to another device of yours; it rings there", |app, device| {
        in_this(app, |app, call| {
            let device = (!device.is_empty()).then(|| device.into());
            let transfer = Transfer { call: call.wire.id.clone(), device };
            app.ask(transfer, |result| Answer::Transferred(result.map(drop)));
        });
    }),
    command("take", "[video]", "take the call that another device of yours has", |app, what| {
        app.tell(Take::new(None, App::call_media(what == "video")));
    }),
    command("record", "[FILE|stop|yes|no]", "ask to record the call, or answer who asks", |app, what| {
        in_this(app, |app, call| app.record(call, what));
    }),
    command("share", "[COMMAND|stop]", "show a terminal in the call; they see what it prints", share),
    command("type", "TEXT", "type into the terminal that is shared in the call", |app, text| {
        in_this(app, |app, call| {
            app.tell_in_order(Type { call: call.wire.id.clone(), text: format!("{text}\r"), own: None, route: None });
        });
    }),
    command("hand", "[back]", "let the other side type into your terminal", |app, what| {
        in_this(app, |app, call| {
            let given = what != "back";
            app.tell(Hand { call: call.wire.id.clone(), given, route: None });
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
    match app.calls.shown.clone() {
        Some(call) => run(app, &call),
        None => app.say(NO_CALL.into()),
    }
}

fn call(app: &mut App, what: &str) {
    let Some(chat) = app.chat.open.clone().filter(|_| app.open_contact().is_some()) else {
        return app.warn("Open a chat first.".into());
    };
    app.tell(Start::new(chat, App::call_media(what == "video")));
}

fn answer_or_hang_up(app: &mut App) {
    in_this(app, |app, call| match call.rings() {
        true => app.answer_call(call, call.wire.video),
        false => app.tell(HangUp { call: call.wire.id.clone(), text: None }),
    });
}

fn answer(app: &mut App, what: &str) {
    in_this(app, |app, call| match call.rings() {
        true => app.answer_call(call, call.wire.video || what == "video"),
        false => app.say("No call rings.".into()),
    });
}

// Absolute values, in order: twice in a breath must not overtake itself.

fn toggle_microphone(app: &mut App) {
    let Some(on) = app.calls.shown.as_ref().map(|call| call.own_media().microphone) else {
        return app.say("There is no call.".into());
    };
    app.calls.talk_until = None;
    app.set_microphone(!on);
}

fn toggle_camera(app: &mut App) {
    let Some(on) = app.calls.shown.as_ref().map(|call| call.own_media().camera) else {
        return app.say("There is no call.".into());
    };
    app.set_camera(!on);
}

fn toggle_view(app: &mut App) {
    in_this(app, |app, _| app.calls.is_large = !app.calls.is_large);
}

fn share(app: &mut App, what: &str) {
    in_this(app, |app, call| {
        if what == "stop" {
            return app.tell(Unshare { call: call.wire.id.clone() });
        }
        let command = (!what.is_empty()).then(|| what.to_owned());
        app.tell(Share { call: call.wire.id.clone(), command, ..Share::default() });
        app.say("They see what it prints; /type types into it, /hand lets them type, /share stop ends it.".into());
    });
}
