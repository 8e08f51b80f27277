//! What tests of the screen share: objects of the control interface, and a profile with two contacts.

use ratatui::{
    Terminal,
    backend::TestBackend,
    crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use starling_control::{
    event::{EventKind, MessageChange},
    objects::{Call, CallPhase, ChatRef, Contact, ContactRef, Group, Message, MessageRef, Rendezvous, Status},
};
use starling_node::MessageId;

use super::{
    actions::Keys,
    app::{App, Effect},
    config::Config,
    panes,
    requests::{Answer, Target},
    theme::Theme,
};

/// An object with the fields that are given, and for the rest what it has by default.
pub fn object<T: Default + Serialize + DeserializeOwned>(given: Value) -> T {
    let mut whole = serde_json::to_value(T::default()).unwrap();
    merge(&mut whole, given);
    serde_json::from_value(whole).unwrap()
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, value) in from {
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

/// Several of them.
pub fn objects<T: Default + Serialize + DeserializeOwned, const N: usize>(given: [Value; N]) -> Vec<T> {
    given.into_iter().map(object).collect()
}

/// A message of bob or, if it is our own, of us.
pub fn message(id: MessageId, at_ms: u64, own: bool, text: &str) -> Message {
    let mut message = Message { id: id.to_string().into(), text: text.into(), ..Message::default() };
    message.from.own = own;
    message.from.name = Some("bob".into());
    message.sent_at = crate::rpc::rfc3339(at_ms).into();
    message.state = starling_control::objects::DeliveryState::Delivered;
    message.via = starling_control::objects::Via::Direct;
    message
}

/// A conversation, for an event.
pub fn chat(id: &str, name: &str) -> ChatRef {
    ChatRef { id: id.into(), name: Some(name.into()), ..ChatRef::default() }
}

/// A contact, for an event.
pub fn contact(account: &str, name: &str) -> ContactRef {
    ContactRef { account: account.into(), name: Some(name.into()) }
}

/// A message has come.
pub fn new_message(chat_id: &str, message: Message) -> EventKind {
    let message = MessageRef::Whole(Box::new(message));
    EventKind::MessageNew(MessageChange { chat: chat(chat_id, "bob"), message, via: None })
}

/// A call in a chat has changed.
pub fn call_changed(chat: ChatRef, call: Call) -> EventKind {
    if call.state == CallPhase::Ringing && !call.outgoing {
        EventKind::CallIncoming { chat, call }
    } else {
        EventKind::CallState { chat, call }
    }
}

/// A screen whose node has answered: a profile without contacts.
pub fn app() -> App {
    let config = Config { notify: "off".into(), ..Config::default() };
    let keys = Keys::profile("default").unwrap();
    let mut app = App::new(config, keys, Theme::named("mono").unwrap());
    app.answer(Answer::Kept(Ok(object(serde_json::json!({})))));
    answer_status(&mut app, "alice", serde_json::json!({ "registered": true }), serde_json::json!({}));
    answer_contacts(&mut app, []);
    answer_chats(&mut app, []);
    app.answer(Answer::Requests(Ok(Vec::new())));
    app
}

/// The node answers who we are: registered at a rendezvous, with devices of others connected.
pub fn answer_status(app: &mut App, name: &str, home: Value, peers: Value) {
    let mut status: Status = object(serde_json::json!({ "name": name, "account": "a", "peers": peers }));
    status.rendezvous = vec![Rendezvous { own: true, ..object(home) }];
    app.answer(Answer::Status(Ok(status)));
}

/// The node answers with contacts.
pub fn answer_contacts<const N: usize>(app: &mut App, contacts: [Value; N]) {
    app.answer(Answer::Contacts(Ok(objects::<Contact, N>(contacts))));
}

/// The node answers with chats.
pub fn answer_chats<const N: usize>(app: &mut App, chats: [Value; N]) {
    app.answer(Answer::Chats(Ok(objects(chats))));
}

/// The node answers with the newest messages of a chat.
pub fn answer_newest(app: &mut App, chat: &str, messages: Vec<Message>) {
    app.answer(Answer::History(chat.into(), Target::Newest, Ok(messages)));
}

/// The node answers with one group, `#ops` with the id `g1`, that we are in, and with its members.
pub fn answer_group(app: &mut App, given: Value, members: Vec<Value>) {
    let ops = serde_json::json!({ "id": "g1", "name": "ops", "kind": "group", "standing": "member", "role": "owner" });
    let mut whole = serde_json::to_value(object::<Group>(ops)).unwrap();
    merge(&mut whole, given);
    let group: Group = serde_json::from_value(whole).unwrap();
    let members = members.into_iter().map(object).collect();
    app.answer(Answer::Groups(Ok(vec![Group { members, ..group }])));
}

/// What is drawn in a window of a size.
pub fn screen(app: &mut App, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| panes::draw(app, frame)).unwrap();
    terminal.backend().to_string()
}

/// Presses a key.
pub fn press(app: &mut App, code: KeyCode) {
    app.key(&KeyEvent::new(code, KeyModifiers::NONE));
}

/// The methods that were called since this was asked last.
pub fn calls(app: &mut App) -> Vec<&'static str> {
    let name = |effect: Effect| match effect {
        Effect::Request(ask) | Effect::RequestInOrder(ask) => ask.method(),
        _ => "other",
    };
    std::mem::take(&mut app.effects).into_iter().map(name).collect()
}
